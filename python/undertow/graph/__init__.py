# SPDX-License-Identifier: MIT
"""A model as mathematics, for cells of your own: `Graph`, the values that it gives, and functions of them."""

from ..ir.graph import Node, State, Value
from .building import Graph
from .functions import *  # noqa: F403
from .functions import __all__ as _functions
from .symbols import Register, Symbol

__all__ = ["Graph", "Node", "Register", "State", "Symbol", "Value", *_functions]
