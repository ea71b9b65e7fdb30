# SPDX-License-Identifier: MIT
"""Numbers of a file that the length of a sequence meets: delays, bounds of slices, what sizes are compared with.

What a length of 7 cannot show may begin with the 12th timestep, so somebody must look at longer ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..file.nodes import OnnxNode
from .reach import Operand, Reach

#: what computes a size, or a place, from another one and a number
_ARITHMETIC = frozenset(["Add", "Sub", "Range", "Mod"])
#: what comes out otherwise from some number on
_COMPARISONS = frozenset(["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Min", "Max", "Clip"])
#: larger ones mean "to the end"; a constant of more numbers than that is a table
_LARGEST, _MOST = 2**20, 64


@dataclass
class Numbers:
    """What a trace has met.

    lengths: numbers that a length meets. thresholds: those that it is compared with. decisions: what came of
    comparisons of single numbers, in order.
    """

    lengths: set[int] = field(default_factory=set)
    thresholds: set[int] = field(default_factory=set)
    decisions: list[tuple[OnnxNode, bool]] = field(default_factory=list)

    def look(
        self, node: OnnxNode, operands: Sequence[Operand], are_constants: Sequence[bool], results: Sequence[Operand]
    ) -> None:
        """Note what a node on sizes does, where some of its operands stand in the file."""
        if node.op not in _ARITHMETIC and node.op not in _COMPARISONS:
            return
        pairs = list(zip(operands, are_constants, strict=True))
        for operand, is_constant in pairs[:2] if node.op == "Range" else pairs:  # by how much it goes on is no length
            if is_constant and isinstance(operand, np.ndarray):
                integers = _integers(operand)
                self.lengths |= integers
                if node.op in _COMPARISONS:
                    self.thresholds |= integers
        result = results[0]
        if node.op in _COMPARISONS and isinstance(result, np.ndarray) and result.size == 1:
            first = operands[0]
            chosen = result == first if result.dtype.kind != "b" and isinstance(first, np.ndarray) else result
            self.decisions.append((node, bool(np.all(chosen))))

    def look_along(self, node: OnnxNode, operands: Sequence[Operand]) -> None:
        """Note by how much a node shifts, cuts or lengthens an axis along which something differs."""
        x = next((o for o in operands if isinstance(o, Reach) and o.shape), None)
        if x is None or all(n == 1 for n in x.bits.shape):
            return
        if node.op in ("Slice", "Pad"):
            for values in [*node.attrs.values(), *operands[1:]]:
                if isinstance(values, (list, tuple, np.ndarray)):
                    self.lengths |= _integers(np.asarray(values))
        elif node.op == "Concat":
            axis = int(node.attrs["axis"]) % len(x.shape)
            known = [o for o in operands if isinstance(o, np.ndarray) and o.ndim == len(x.shape)]
            self.lengths |= {o.shape[axis] for o in known if x.bits.shape[axis] > 1}


def _integers(array: np.ndarray) -> set[int]:
    if array.size > _MOST or array.dtype.kind not in "iuf":
        return set()
    finite: Iterable[float] = np.abs(array[np.isfinite(array)] if array.dtype.kind == "f" else array).ravel().tolist()
    return {int(np.ceil(n)) for n in finite if n < _LARGEST}


__all__ = ["Numbers"]
