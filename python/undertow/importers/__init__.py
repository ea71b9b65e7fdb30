# SPDX-License-Identifier: MIT
"""One module per file format; each turns a file into a `Graph` or says by name what it cannot compute."""
