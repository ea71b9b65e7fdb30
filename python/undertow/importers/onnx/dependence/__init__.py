# SPDX-License-Identifier: MIT
"""What each element of an ONNX graph's outputs depends on, told from the nodes of the file alone.

With the walk that builds a Graph this shares the simplified nodes and onnx's evaluator of constants, and no idea: it
knows nothing of frames, only of sets. The search asks it whether a reading of the axes can be right.
"""

from .numbers import Numbers
from .reach import MAX_CELLS, Operand, Reach, Unclear
from .sizes import same
from .trace import Trace, Walked, trace

__all__ = ["MAX_CELLS", "Numbers", "Operand", "Reach", "Trace", "Unclear", "Walked", "same", "trace"]
