# SPDX-License-Identifier: MIT
"""A model as a graph, for programs that build or read one: `Graph` and what it consists of."""

from .ir.graph import Graph, Node, State, Value

__all__ = ["Graph", "Node", "State", "Value"]
