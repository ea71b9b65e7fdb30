# SPDX-License-Identifier: MIT
"""Operators that compute along axes: sums, norms, the largest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..file.nodes import OnnxNode
from .reach import Context, Operand, Reach, Unclear, join, numbers, reach, with_settings


def reduce(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    x = reach(operands[0])
    axes = numbers(node, operands, 1, "axes")
    if not axes:
        if node.attrs.get("noop_with_empty_axes", 0):
            return [x]
        axes = list(range(len(x.shape)))
    return [x.over(axes, bool(node.attrs.get("keepdims", 1)))]


def softmax(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Along one axis; before operator set 13 along that and all behind it."""
    x = reach(operands[0])
    newer = node.opset >= 13
    axis = int(node.attrs.get("axis", -1 if newer else 1)) % len(x.shape)
    if x.low is None or not newer:
        return [x.spread([axis] if newer else range(axis, len(x.shape)))]
    low = np.broadcast_to(x.low, x.shape)
    low = low & ~low.all(axis=axis, keepdims=True)  # of a row without others, all count
    rows = np.bitwise_or.reduce(np.where(low, np.uint64(0), x.bits), axis=axis, keepdims=True)
    return [replace(Reach.of(x.shape, np.where(low, np.uint64(0), rows)), zero=low)]


def one_axis(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """LpNormalization."""
    return [reach(operands[0]).spread([int(node.attrs.get("axis", -1))])]


def from_axis(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Layer and RMS norms: along an axis and all behind it, with scales that broadcast; then the statistics. Those that
    `patterns` found have axes of their own.
    """
    x = reach(operands[0])
    axes = node.attrs.get("axes") or range(int(node.attrs.get("axis", -1)) % len(x.shape), len(x.shape))
    rest = [reach(o) for o in operands[1:] if o is not None]
    return [join(x.shape, [x.spread(axes), *rest]), x.over(axes), x.over(axes)]


def cumulative(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """CumSum: on what lies before along the axis."""
    x = reach(operands[0])
    (axis,) = numbers(node, operands, 1, "axis") or [0]
    axis %= len(x.shape)
    bits = np.moveaxis(x.along([axis]), axis, 0)
    bits = bits[::-1] if node.attrs.get("reverse", 0) else bits
    so_far = np.bitwise_or.accumulate(bits)
    if node.attrs.get("exclusive", 0):
        so_far = np.concatenate([np.zeros_like(so_far[:1]), so_far[:-1]])
    so_far = so_far[::-1] if node.attrs.get("reverse", 0) else so_far
    return [Reach.of(x.shape, np.moveaxis(so_far, 0, axis))]


def arg(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    return [reach(operands[0]).over([int(node.attrs.get("axis", 0))], bool(node.attrs.get("keepdims", 1)))]


def one_hot(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    index, depth = reach(operands[0]), operands[1]
    if not isinstance(depth, np.ndarray):
        raise Unclear("the depth is computed at run time")
    axis = int(node.attrs.get("axis", -1)) % (len(index.shape) + 1)
    shape = list(index.shape)
    shape.insert(axis, 1)
    indices = index.reshape(shape)
    shape[axis] = int(depth.ravel()[0])
    return [with_settings(indices.expand(shape), operands[2:])]


def over_places(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Global pools: over all axes but the first two."""
    x = reach(operands[0])
    return [x.over(range(2, len(x.shape)))]


def each_channel(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """InstanceNormalization."""
    x = reach(operands[0])
    return [with_settings(x.spread(range(2, len(x.shape))), operands[1:])]


def channel_groups(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """GroupNormalization: along a group of channels and all axes behind them."""
    x = reach(operands[0])
    n = int(node.attrs.get("num_groups", 1))
    parted = x.reshape([x.shape[0], n, x.shape[1] // n, *x.shape[2:]])
    return [with_settings(parted.spread(range(2, len(parted.shape))).reshape(x.shape), operands[1:])]
