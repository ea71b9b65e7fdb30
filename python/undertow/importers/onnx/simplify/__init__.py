# SPDX-License-Identifier: MIT
"""A file's program before any axis is known: what can be computed while loading is, loops are found."""
