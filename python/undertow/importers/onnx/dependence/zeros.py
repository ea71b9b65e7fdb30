# SPDX-License-Identifier: MIT
"""Recurrences that an exporter cut off behind their first step: they start from zeros, and never go on.

Traced with one timestep, h' = tanh(W x + R h) leaves R times zeros in the file, and i * g + f * c the product of f with
zeros. With several timesteps R is a factor of the next steps too, so there nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..file.nodes import OnnxNode
from .reach import Operand, Reach

#: products -> slots of both matrices
PRODUCTS = {"MatMul": (0, 1), "Gemm": (0, 1)}
#: others of which a weight that two share tells that a recurrence goes on
_OTHERS = ("Conv", "ConvInteger", "Einsum", "MatMulInteger", "QLinearConv", "QLinearMatMul")


@dataclass
class Starts:
    """What nodes multiply with zeros that no input brings."""

    #: nodes that multiply a constant matrix with zeros, and that matrix
    of_zeros: list[tuple[OnnxNode, np.ndarray]] = field(default_factory=list)
    #: constant matrices of all other products, each as often as it is one
    matrices: list[np.ndarray] = field(default_factory=list)
    #: output -> the node that multiplies something computed with zeros, or with something else computed
    gates: dict[str, OnnxNode] = field(default_factory=dict)
    products: set[str] = field(default_factory=set)

    def look(self, node: OnnxNode, operands: Sequence[Operand]) -> None:
        """Note a node that is about to be run."""
        if node.op == "Mul":
            known = [o for o in operands if isinstance(o, np.ndarray)]
            if len(known) == 1 and known[0].ndim > 1 and known[0].size > 1 and not known[0].any():
                self.gates[node.outputs[0]] = node
            elif not known:
                self.products.add(node.outputs[0])
            return
        if node.op in _OTHERS:
            self.matrices += [o for o in operands if isinstance(o, np.ndarray) and o.ndim > 1 and o.any()]
        if node.op not in PRODUCTS:
            return
        pair = [operands[slot] for slot in PRODUCTS[node.op]]
        for mine, other in (pair, pair[::-1]):
            if not isinstance(mine, np.ndarray) or mine.ndim != 2 or not mine.any():
                continue
            if isinstance(other, Reach):
                self.matrices.append(mine)
            elif isinstance(other, np.ndarray) and other.size > 1 and not other.any():
                self.of_zeros.append((node, mine))

    def lost(self, nodes: Iterable[OnnxNode]) -> OnnxNode | None:
        """A node of a recurrence that does not go on, if there is one. nodes: of the graph itself."""
        for node, matrix in self.of_zeros:
            if not any(_alike(matrix, other) for other in self.matrices):
                return node
        if not self.gates or self._goes_on():
            return None
        for node in nodes:  # a cell: i * g + f * 0
            mine = set(node.inputs) & self.gates.keys() - self.products
            if node.op == "Add" and mine and set(node.inputs) & self.products:
                return self.gates[mine.pop()]
        return None

    def _goes_on(self) -> bool:
        """Whether two products share a matrix."""
        seen: dict[tuple[int, float], np.ndarray] = {}
        for matrix in self.matrices:
            key = matrix.size, float(matrix.min())
            if key in seen and _alike(matrix, seen[key]):
                return True
            seen[key] = matrix
        return False


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two matrices are the same, or each other's transpose."""
    if a is b:
        return True
    return a.size == b.size and (np.array_equal(a, b) or np.array_equal(a.T, b))


__all__ = ["PRODUCTS", "Starts"]
