# SPDX-License-Identifier: MIT
"""Convolutions and pools: each place on a window of others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....budget import room
from ..file.nodes import OnnxNode
from .reach import Context, Operand, Reach, Unclear, reach, with_settings


@dataclass
class _Window:
    """How a window lies along one axis of `size` places: `count` windows."""

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    count: int


def _windows(node: OnnxNode, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> list[_Window]:
    n = len(sizes)
    strides, dilations = (list(node.attrs.get(key) or [1] * n) for key in ("strides", "dilations"))
    pads, mode = list(node.attrs.get("pads") or [0] * 2 * n), node.attrs.get("auto_pad", "NOTSET")
    windows = []
    for i, (size, k) in enumerate(zip(sizes, kernel, strict=True)):
        wide = (k - 1) * dilations[i] + 1
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            count = -(-size // strides[i])
            total = max((count - 1) * strides[i] + wide - size, 0)
            before = total // 2 if mode == "SAME_UPPER" else total - total // 2
        else:
            before, after = (0, 0) if mode == "VALID" else (pads[i], pads[n + i])
            left = size + before + after - wide
            up = node.attrs.get("ceil_mode", 0)
            count = (-(-left // strides[i]) if up else left // strides[i]) + 1
            if up and (count - 1) * strides[i] >= size + before:
                count -= 1  # a window that begins behind the end is none
        if count < 1:
            raise Unclear(f"a window of {wide} does not fit into {size} places")
        windows.append(_Window(size, k, strides[i], dilations[i], before, count))
    return windows


def _slide(bits: np.ndarray, axis: int, window: _Window) -> np.ndarray:
    """Bits of all windows along an axis."""
    if bits.shape[axis] == 1:
        return bits
    rows = np.moveaxis(bits, axis, 0)
    room(window.count * rows[0].size, 16)
    slid = np.zeros((window.count, *rows.shape[1:]), np.uint64)
    if window.count < window.kernel:
        for at in range(window.count):
            first = at * window.stride - window.before
            behind = -(-max(0, -first) // window.dilation) * window.dilation
            last = min(first + (window.kernel - 1) * window.dilation + 1, window.size)
            if first + behind < last:
                slid[at] = np.bitwise_or.reduce(rows[first + behind : last : window.dilation])
    else:
        for tap in range(window.kernel):
            index = np.arange(window.count) * window.stride + tap * window.dilation - window.before
            inside = (index >= 0) & (index < window.size)
            slid[inside] |= rows[index[inside]]
    return np.moveaxis(slid, 0, axis)


def _convolved(node: OnnxNode, x: Reach, kernel_shape: tuple[int, ...]) -> Reach:
    group = int(node.attrs.get("group", 1))
    n_out = kernel_shape[0]
    if len(kernel_shape) != len(x.shape) or x.shape[1] % group or n_out % group:
        raise Unclear(f"a kernel of {kernel_shape} does not fit {x.shape}")
    bits = _by_groups(x, group, n_out)
    windows = _windows(node, x.shape[2:], kernel_shape[2:])
    for i, window in enumerate(windows):
        bits = _slide(bits, i + 2, window)
    return Reach.of([x.shape[0], n_out, *(w.count for w in windows)], bits)


def _by_groups(x: Reach, group: int, n_out: int) -> np.ndarray:
    """Bits with the channels of each group joined, as often as a group has outputs."""
    if x.bits.shape[1] == 1:
        return x.bits
    parted = x.bits.reshape(x.bits.shape[0], group, x.shape[1] // group, *x.bits.shape[2:])
    return np.repeat(np.bitwise_or.reduce(parted, axis=2), n_out // group, axis=1)


def conv(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    return [with_settings(_convolved(node, reach(operands[0]), reach(operands[1]).shape), operands[1:])]


def qlinear_conv(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    return [with_settings(_convolved(node, reach(operands[0]), reach(operands[3]).shape), operands[1:])]


def conv_transpose(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Each place is added to a window of the result."""
    x, kernel = reach(operands[0]), reach(operands[1]).shape
    group, n = int(node.attrs.get("group", 1)), len(x.shape) - 2
    if len(kernel) != n + 2:
        raise Unclear(f"a kernel of {kernel} does not fit {x.shape}")
    bits = _by_groups(x, group, kernel[1] * group)
    strides, dilations = (list(node.attrs.get(key) or [1] * n) for key in ("strides", "dilations"))
    extra, pads = (list(node.attrs.get(key) or [0] * 2 * n) for key in ("output_padding", "pads"))
    wanted, mode = node.attrs.get("output_shape"), node.attrs.get("auto_pad", "NOTSET")
    shape = [x.shape[0], kernel[1] * group]
    for i in range(n):
        size, k, stride = x.shape[2 + i], kernel[2 + i], strides[i]
        whole = stride * (size - 1) + extra[i] + (k - 1) * dilations[i] + 1
        before = 0 if mode == "VALID" else pads[i]
        length = whole - before - (0 if mode == "VALID" else pads[n + i])
        if wanted or mode.startswith("SAME"):
            length = int(list(wanted)[-n:][i]) if wanted else size * stride
            total = max(whole - length, 0)
            before = total - total // 2 if mode == "SAME_LOWER" else total // 2
        shape.append(length)
        axis = 2 + i
        if bits.shape[axis] > 1:
            rows = np.moveaxis(bits, axis, 0)
            room(length * rows[0].size, 16)
            laid = np.zeros((length, *rows.shape[1:]), np.uint64)
            for tap in range(k):
                index = np.arange(size) * stride + tap * dilations[i] - before
                inside = (index >= 0) & (index < length)
                laid[index[inside]] |= rows[inside]
            bits = np.moveaxis(laid, 0, axis)
    return [with_settings(Reach.of(shape, bits), operands[1:])]


def pool(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    x = reach(operands[0])
    windows = _windows(node, x.shape[2:], tuple(int(k) for k in node.attrs["kernel_shape"]))
    bits = x.bits
    for i, window in enumerate(windows):
        bits = _slide(bits, i + 2, window)
    pooled = Reach.of([*x.shape[:2], *(w.count for w in windows)], bits)
    return [pooled] * len(node.outputs)
