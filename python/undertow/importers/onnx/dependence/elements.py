# SPDX-License-Identifier: MIT
"""Operators that compute each element from those in its place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..file.nodes import OnnxNode
from ..simplify.attention import NO_SCORE
from .reach import Context, Operand, Reach, broadcast, join, reach, with_settings


def each(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Element by element, operands broadcast; a second output (of Dropout: which were kept) like the first."""
    joined = broadcast(operands)
    if node.op in ("Cast", "Dropout") and isinstance(operands[0], Reach):
        joined = replace(joined, low=operands[0].low, zero=operands[0].zero)
    return [joined] * len(node.outputs)


def added(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Add: what a mask lowers stays low."""
    joined = broadcast(operands)
    lows = [low for operand in operands if (low := _low(operand, joined.shape)) is not None]
    return [replace(joined, low=np.logical_or.reduce(lows)) if lows else joined]


def _low(operand: Operand, shape: tuple[int, ...]) -> np.ndarray | None:
    """Where an operand is low, broadcast to a shape."""
    low = operand.low if isinstance(operand, Reach) else None
    if isinstance(operand, np.ndarray) and operand.dtype.kind == "f" and (operand <= NO_SCORE).any():
        low = operand <= NO_SCORE
    return None if low is None else np.broadcast_to(_of_rank(operand, low, shape), shape)


def _zero(operand: Operand, shape: tuple[int, ...]) -> np.ndarray | None:
    zero = operand.zero if isinstance(operand, Reach) else None
    if isinstance(operand, np.ndarray) and operand.dtype.kind == "f" and (operand == 0).any():
        zero = operand == 0
    return None if zero is None else np.broadcast_to(_of_rank(operand, zero, shape), shape)


def _of_rank(operand: Operand, table: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return table.reshape((1,) * (len(shape) - table.ndim) + table.shape)


def choice(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Where: by a known condition, of one operand or the other."""
    condition = operands[0]
    joined = broadcast(operands)
    shape = joined.shape
    none = np.zeros((1,) * len(shape), bool)
    tables: list[np.ndarray | None] = []
    for known in (_low, _zero):
        there, otherwise = (known(o, shape) for o in operands[1:3])
        some = there is not None or otherwise is not None
        there, otherwise = (none if table is None else table for table in (there, otherwise))
        chosen = np.where(condition, there, otherwise) if isinstance(condition, np.ndarray) else there & otherwise
        tables.append(np.broadcast_to(chosen, shape) if some and chosen.any() else None)
    if isinstance(condition, np.ndarray):
        there, otherwise = (reach(o).expand(shape).bits for o in operands[1:3])
        joined = Reach.of(shape, np.where(condition, there, otherwise))
    return [replace(joined, low=tables[0], zero=tables[1])]


def by_channel(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Each element with numbers of its channel, axis 1."""
    x = reach(operands[0])
    n_after = len(x.shape) - 2
    rest = [reach(o) for o in operands[1:] if o is not None]
    return [join(x.shape, [x, *(r.reshape([r.shape[0], *[1] * n_after]) for r in rest)])]


def scaled(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Each element of the first operand, with settings that all share."""
    return [with_settings(reach(operands[0]), operands[1:])]


def by_range(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """DynamicQuantizeLinear: each element on itself. Its range is that of one timestep of one item, or left out
    (`handlers.quantized`); of a frame's elements, each is rounded by the others' too, which is not said here.
    """
    x = reach(operands[0])
    return [x, Reach.none(()), Reach.none(())]


def shape(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Shape, which is known."""
    x = reach(operands[0])
    start, end = (node.attrs.get(key) for key in ("start", "end"))
    return [np.array(x.shape[slice(start, end)], np.int64)]


def size(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Size, which is known."""
    return [np.array(np.prod(reach(operands[0]).shape, dtype=np.int64), np.int64)]
