# SPDX-License-Identifier: MIT
"""Recurrences that an exporter cut off behind their first step: they start from a constant, and never go on.

Traced with one timestep, h' = tanh(W x + R h) leaves R times zeros in the file, i * g + f * c the product of f with
zeros, and n + z * (h - n) the difference of zeros and n. With several timesteps R is a factor of the next steps too, so
there nothing is lost. A learned start leaves R times a row of numbers that is added to something computed. Where an
exporter has folded R times zeros into a bias, what it notes of the module of each node tells that one of PyTorch's
recurrent layers was there. a * h + x leaves x, and numbers of its shape and batch, that it is summed with: which says
little beside other memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..file.nodes import OnnxNode
from ..simplify.starts import is_row
from .reach import Operand, Reach

#: products -> slots of both matrices
PRODUCTS = {"MatMul": (0, 1), "Gemm": (0, 1)}
#: before the names of what PyTorch's exporter notes of a node
_NOTES = "pkg.torch.onnx."
#: others of which a weight that two share tells that a recurrence goes on
_OTHERS = ("Conv", "ConvInteger", "Einsum", "MatMulInteger", "QLinearConv", "QLinearMatMul")


@dataclass
class Starts:
    """What nodes multiply with zeros that no input brings.

    bound: constants that are not the file's. picked: what is computed from one place along an axis, as a loop over time
    takes timesteps.
    """

    bound: set[str] = field(default_factory=set)
    picked: set[str] = field(default_factory=set)
    #: nodes that multiply a constant matrix with zeros, or with a row that a recurrence may start from, and that matrix
    of_zeros: list[tuple[OnnxNode, np.ndarray]] = field(default_factory=list)
    #: constant matrices of all other products, each as often as it is one
    matrices: list[np.ndarray] = field(default_factory=list)
    #: output -> the node that multiplies something computed with zeros, or with something else computed
    gates: dict[str, OnnxNode] = field(default_factory=dict)
    products: set[str] = field(default_factory=set)
    #: output -> the node that subtracts something computed from zeros: its own, and those of products with it
    differences: dict[str, OnnxNode] = field(default_factory=dict)
    #: sums of something computed and zeros of its shape, one batch item's
    sums: list[OnnxNode] = field(default_factory=list)
    #: sums and products of something computed and numbers of its shape, one batch item's
    rows: list[OnnxNode] = field(default_factory=list)

    def look(self, node: OnnxNode, operands: Sequence[Operand]) -> None:
        """Note a node that is about to be run."""
        self._look_at_rows(node, operands)
        if node.op == "Mul":
            known = [o for o in operands if isinstance(o, np.ndarray)]
            if len(known) == 1 and _are_zeros(known[0]):
                self.gates[node.outputs[0]] = node
            elif not known:
                self.products.add(node.outputs[0])
                for name in node.inputs:
                    if name in self.differences:
                        self.differences[node.outputs[0]] = self.differences[name]
            return
        if node.op == "Sub" and isinstance(operands[1], Reach) and _are_zeros(operands[0]):
            self.differences[node.outputs[0]] = node
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
            elif isinstance(other, np.ndarray) and other.size > 1 and (not other.any() or is_row(other)):
                self.of_zeros.append((node, mine))

    def _look_at_rows(self, node: OnnxNode, operands: Sequence[Operand]) -> None:
        if node.op not in ("Add", "Mul") or self.picked.isdisjoint(node.inputs):
            return
        if not self.bound.isdisjoint(node.inputs):
            return
        for mine, other in (operands, operands[::-1]):
            if not isinstance(mine, Reach) or not isinstance(other, np.ndarray) or other.ndim != len(mine.shape):
                continue
            if other.ndim > 1 and other.size > 1 == other.shape[0]:
                if (1, *mine.shape[1:]) == other.shape and other.any():
                    self.rows.append(node)
                elif node.op == "Add" and not other.any():
                    is_full = all(n in (1, size) for n, size in zip(mine.shape[1:], other.shape[1:], strict=True))
                    self.sums += [node] if is_full else []

    @property
    def may_be_lost(self) -> OnnxNode | None:
        """A node that may be all that is left of a recurrence; of several timesteps there is more."""
        return None if self._goes_on() else next(iter([*self.sums, *self.rows]), None)

    def lost(self, nodes: Iterable[OnnxNode]) -> OnnxNode | None:
        """A node of a recurrence that does not go on, if there is one. nodes: of the graph itself."""
        for node, matrix in self.of_zeros:
            if not any(_alike(matrix, other) for other in self.matrices):
                return node
        nodes = list(nodes)
        if (noted := _noted(nodes)) is not None:
            return noted
        if not (self.gates or self.differences) or self._goes_on():
            return None
        for node in nodes:
            if node.op != "Add":
                continue
            mine = set(node.inputs) & self.gates.keys() - self.products
            if mine and set(node.inputs) & self.products:  # i * g + f * 0
                return self.gates[mine.pop()]
            for name, other in (node.inputs, node.inputs[::-1]):
                if name in self.products and name in self.differences and self.differences[name].inputs[1] == other:
                    return self.differences[name]  # n + z * (0 - n)
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


def _are_zeros(operand: Operand) -> bool:
    """Whether it is a matrix of zeros."""
    return isinstance(operand, np.ndarray) and operand.ndim > 1 and operand.size > 1 and not operand.any()


def _noted(nodes: Iterable[OnnxNode]) -> OnnxNode | None:
    """A node that PyTorch's exporter made of a recurrent layer of which no node reads the recurrent weights.

    It notes the classes of the modules around each node, their names, and the call that the node was made of.
    """
    first: dict[str, OnnxNode] = {}
    whole = set()
    read: set[str] = set()  # a quantiser puts others in place of a product, without notes
    for node in _all(nodes):
        read.update(node.inputs)
        if not getattr(node.proto, "metadata_props", ()):
            continue
        notes = {entry.key: entry.value for entry in getattr(node.proto, "metadata_props", ())}
        classes, names = (
            re.findall(r"'([^']*)'", notes.get(_NOTES + key, "")) for key in ("class_hierarchy", "name_scopes")
        )
        layer = next((i for i, name in enumerate(classes) if name.startswith("torch.nn.modules.rnn.")), None)
        if layer is None or _NOTES + "fx_node" not in notes:
            continue
        scope = names[layer] if layer < len(names) else ""  # each says all of those before it
        first.setdefault(scope, node)
        if "weight_hh" in notes[_NOTES + "fx_node"]:
            whole.add(scope)
    return next(
        (
            node
            for scope, node in first.items()
            if scope not in whole and not any(name.startswith(f"{scope}.weight_hh".lstrip(".")) for name in read)
        ),
        None,
    )


def _all(nodes: Iterable[OnnxNode]) -> Iterator[OnnxNode]:
    """The nodes, and those of their bodies."""
    for node in nodes:
        yield node
        for body in node.bodies.values():
            yield from _all(body.nodes)


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two matrices are the same, or each other's transpose."""
    if a is b:
        return True
    return a.size == b.size and (np.array_equal(a, b) or np.array_equal(a.T, b))


__all__ = ["PRODUCTS", "Starts"]
