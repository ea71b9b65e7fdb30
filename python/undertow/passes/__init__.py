# SPDX-License-Identifier: MIT
"""What is done to a Graph."""
