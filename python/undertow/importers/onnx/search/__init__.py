# SPDX-License-Identifier: MIT
"""What the axes, inputs and outputs of a file are: which is time, which the batch, which a state."""

from .search import Imported, import_program

__all__ = ["Imported", "import_program"]
