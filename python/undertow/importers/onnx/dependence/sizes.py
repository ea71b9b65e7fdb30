# SPDX-License-Identifier: MIT
"""What follows from the sizes of the inputs, and meets what is computed from them: factors, masks, bounds, lengths.

A value that is 0 for the lengths that are tried, as T // 30 is, may be another one for longer sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..file.nodes import OnnxNode
from .reach import Operand, Reach

#: recurrent nodes, whose sequence_lens goes with the length of X
_CELLS = ("RNN", "GRU", "LSTM")

_PLACES = ("Reshape", "Expand", "Gather", "Slice", "Unsqueeze", "Squeeze", "Tile", "Split", "Loop", "Scan")


def summary(node: OnnxNode, slot: int, operands: Sequence[Operand]) -> Any:
    """What must be the same for every length of a known operand; None where nothing need be.

    The array; of the bounds of a slice, how far from the ends they lie; of lengths, how far from all.
    """
    value = operands[slot]
    assert isinstance(value, np.ndarray)
    x = operands[0]
    if isinstance(x, Reach) and (axis := _axis_of_lengths(node, slot)) is not None:
        return tuple(np.unique(value - x.shape[axis]).tolist())
    if node.op == "Slice" and isinstance(x, Reach) and slot in (1, 2):
        return _bounds(value, operands, x)
    if node.op == "Pad" and slot == 1:
        return tuple(value.ravel().tolist())
    if node.op in _PLACES or (node.op in ("GatherElements", "GatherND") and slot == 1):
        return None  # where to is for the walk to see
    return value


def _axis_of_lengths(node: OnnxNode, slot: int) -> int | None:
    """The axis of input 0 of which a slot holds lengths, one for each item; None where it holds something else."""
    if node.op in _CELLS and slot == 4:
        return int(node.attrs.get("layout", 0))
    return int(node.attrs.get("time_axis", 0)) if node.op == "ReverseSequence" and slot == 1 else None


def same(here: Any, there: Any) -> bool:
    """Whether two summaries, for different lengths, agree. Along axes whose sizes differ an array must be alike; where
    it is not, each timestep has its own, which the walk knows how to make, or refuses.
    """
    if not isinstance(here, np.ndarray) or not isinstance(there, np.ndarray):
        return bool(here == there)
    if here.ndim != there.ndim:
        return False
    for axis in (a for a in range(here.ndim) if here.shape[a] != there.shape[a]):
        if not _alike(here, axis):
            return True
        if not _alike(there, axis):
            return False
        here, there = here.take([0], axis), there.take([0], axis)
    return bool(np.array_equal(here, there, equal_nan=here.dtype.kind == "f"))


def _alike(array: np.ndarray, axis: int) -> bool:
    if array.shape[axis] == 0:
        return False
    first = np.broadcast_to(array.take([0], axis), array.shape)
    return bool(np.array_equal(first, array, equal_nan=array.dtype.kind == "f"))


def _bounds(value: np.ndarray, operands: Sequence[Operand], x: Reach) -> Any:
    axes = operands[3] if len(operands) > 3 and isinstance(operands[3], np.ndarray) else np.arange(value.size)
    if axes.size != value.size:
        return None
    bounds = []
    for n, axis in zip(value.ravel().tolist(), axes.ravel().tolist(), strict=True):
        size = x.shape[axis]
        at = min(max(n + size if n < 0 else n, 0), size)
        bounds.append(("start", at) if at < size - at else ("end", size - at))
    return tuple(bounds)


__all__ = ["same", "summary"]
