# SPDX-License-Identifier: MIT
"""Operators that compute each element from those in its place."""

from __future__ import annotations

import numpy as np

from ..file.nodes import OnnxNode
from .reach import Context, Operand, Reach, broadcast, join, reach, with_settings


def each(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Element by element, operands broadcast; a second output (of Dropout: which were kept) like the first."""
    return [broadcast(operands)] * len(node.outputs)


def choice(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Where: by a known condition, of one operand or the other."""
    condition = operands[0]
    joined = broadcast(operands)
    if isinstance(condition, np.ndarray):
        there, otherwise = (reach(o).expand(joined.shape).bits for o in operands[1:3])
        return [Reach.of(joined.shape, np.where(condition, there, otherwise))]
    return [joined]


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
