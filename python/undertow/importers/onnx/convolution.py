# SPDX-License-Identifier: MIT
"""ONNX convolutions whose spatial axes lie inside one frame: windows gathered by element tables, then a dense layer.

Frames come out with channels last, whatever the model's axes say, and stay so until an op needs another order: the rows
of a window are then runs of memory. A transposed convolution with stride s is s ordinary ones, one for each remainder
of an output's place by s (and so on for every axis), which share out the kernel's taps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import prod
from typing import Any

import numpy as np

from . import along, emit, limits
from .builder import ZERO
from .codes import Tensor
from .nodes import OnnxNode, float_constant
from .walk import Handler, Walk
from .windows import Axis, Image, check_not_time, image, integers, paddings, taps, time_axis, window_axes

_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def check_kernel(node: OnnxNode, W: np.ndarray, rank: int) -> tuple[int, ...]:
    if W.ndim != rank or 0 in W.shape:
        node.shape_error(f"W has shape {W.shape}, expected {rank} axes")
    kernel = tuple(node.attrs.get("kernel_shape", W.shape[2:]))
    if kernel != W.shape[2:]:
        node.shape_error(f"attribute kernel_shape={list(kernel)}, but W has shape {W.shape}")
    return kernel


def check_groups(node: OnnxNode, n_channels: int, n_taken: int, n_out: int) -> int:
    groups = int(node.attrs.get("group", 1))
    if groups < 1 or n_channels % groups or n_out % groups or n_channels // groups != n_taken:
        node.shape_error(
            f"attribute group={groups} does not fit {n_channels} channels and a weight for {n_taken} -> {n_out}"
        )
    return groups


def _bias(node: OnnxNode, operands: list[Any], n_out: int) -> np.ndarray | None:
    if len(operands) < 3 or operands[2] is None:
        return None
    b = float_constant(node, operands[2], "B")
    if b.shape != (n_out,):
        node.shape_error(f"B has shape {b.shape}, expected ({n_out},)")
    return b


def _conv(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow(*_CONV)
    W = float_constant(node, operands[1], "W")
    x = operands[0]
    if isinstance(x, Tensor):
        kernel = check_kernel(node, W, len(x.shape))
        groups = check_groups(node, x.shape[1] if len(x.shape) > 1 else 0, W.shape[1], len(W))
        axes = window_axes(node, x.shape[2:], kernel)
        b = _bias(node, operands, len(W))
        time = time_axis(walk, x)
        if time is not None and time >= 2 and not axes[time - 2].is_trivial:
            return [along.convolution(walk, node, x, W, b, groups, axes, time - 2, convolve)]
    picture = image(walk, node, x)
    check_not_time(walk, node, picture, axes)
    return [picture.result(convolve(walk, node, picture.elements, inside(picture, axes), W, b, groups))]


def inside(picture: Image, axes: Sequence[Axis]) -> list[Axis]:
    """The axes as a frame has them: time and batch are of size 1 there."""
    return [replace(axis, n_in=1, n_out=1) if 2 + i in picture.outer else axis for i, axis in enumerate(axes)]


def convolve(
    walk: Walk,
    node: OnnxNode,
    elements: np.ndarray,
    axes: Sequence[Axis],
    W: np.ndarray,
    b: np.ndarray | None,
    groups: int,
) -> np.ndarray:
    """W (M, C / groups, *kernel) over a table [items, C, *spatial]; gives one [items, M, *n_out]."""
    found, _ = taps(walk, node, elements, axes)  # items, C, *out, *kernel
    return _products(walk, node, found, len(axes), W, b, groups)


def _products(
    walk: Walk, node: OnnxNode, found: np.ndarray, n_axes: int, W: np.ndarray, b: np.ndarray | None, groups: int
) -> np.ndarray:
    n_items, n_channels = found.shape[:2]
    outputs, kernel = found.shape[2 : 2 + n_axes], found.shape[2 + n_axes :]
    n_out, n_taken = W.shape[:2]
    walk.count(node, (n_items, n_out, *outputs))
    order = [0, *range(2, found.ndim), 1]
    found = found.transpose(order).reshape(n_items, *outputs, int(np.prod(kernel, dtype=np.int64)), n_channels)
    W = W.reshape(n_out, n_taken, -1).swapaxes(1, 2)  # M, taps, C / groups
    if n_taken == 1 and groups > 1:
        wide = found.repeat(n_out // groups, -1)
        made = emit.depthwise(walk.builder, wide, W[:, :, 0].T, b)
        return np.moveaxis(made, -1, 1)
    if groups > limits.MAX_GROUPS:
        node.unsupported(f"attribute group={groups} is not supported, expected at most {limits.MAX_GROUPS}")
    parts = []
    for part, w, shift in zip(
        np.split(found, groups, -1),
        np.split(W, groups),
        [None] * groups if b is None else np.split(b, groups),
        strict=True,
    ):
        rows = part.reshape(*part.shape[:-2], -1)
        parts.append(emit.dense(walk.builder, rows, w.reshape(len(w), -1), shift))
    return np.moveaxis(np.concatenate(parts, -1), -1, 1)


# -- transposed -----------------------------------------------------------------------------------------------------


def _conv_transpose(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow(*_CONV, "output_padding", "output_shape")
    W = float_constant(node, operands[1], "W")
    picture = image(walk, node, operands[0])
    rank = picture.elements.ndim
    kernel = check_kernel(node, W, rank)
    groups = int(node.attrs.get("group", 1))
    if groups < 1 or W.shape[0] != picture.elements.shape[1] or W.shape[0] % groups:
        node.shape_error(f"W has shape {W.shape} and group={groups}, the input {picture.elements.shape[1]} channels")
    n_out = W.shape[1] * groups
    b = _bias(node, operands, n_out)
    axes = _transposed_axes(node, picture.tensor.shape[2:], kernel)
    check_not_time(walk, node, picture, axes)
    axes = inside(picture, axes)
    # (C, M / groups, *kernel) -> (M, C / groups, *kernel)
    C, M = W.shape[:2]
    W = W.reshape(groups, C // groups, M, *kernel).swapaxes(1, 2).reshape(n_out, C // groups, *kernel)

    walk.count(node, (picture.elements.shape[0], n_out, *(axis.n_out for axis in axes)))
    result = np.full((picture.elements.shape[0], n_out, *(axis.n_out for axis in axes)), ZERO, np.int64)
    for phase in product(*([_phase(axis, r) for r in range(axis.stride)] for axis in axes)):
        outputs, places, chosen = zip(*phase, strict=True)
        if any(o.size == 0 for o in outputs):
            continue
        where = np.ix_(np.arange(result.shape[0]), np.arange(n_out), *outputs)
        if any(k.size == 0 for k in chosen):  # no tap of the kernel meets these outputs: they are the bias
            if b is not None:
                fill = walk.builder.constant(b).reshape(1, -1, *[1] * len(axes))
                result[where] = np.broadcast_to(fill, result[where].shape)
            continue
        windows = _gather(walk, node, picture.elements, axes, places)
        part = W[np.ix_(np.arange(n_out), np.arange(W.shape[1]), *chosen)]
        result[where] = _products(walk, node, windows, len(axes), part, b, groups)
    return [picture.result(result)]


def _transposed_axes(node: OnnxNode, sizes: Sequence[int], kernel: Sequence[int]) -> list[Axis]:
    """Axis.n_out and pads as the ONNX specification of ConvTranspose has them; pads are cut off from the output."""
    n = len(sizes)
    strides, dilations = integers(node, "strides", n, 1), integers(node, "dilations", n, 1)
    if prod(strides) > limits.MAX_PHASES:
        node.unsupported(f"attribute strides={strides} is not supported, expected a product up to {limits.MAX_PHASES}")
    extra = integers(node, "output_padding", n, 0, 0)
    pads = paddings(node, n)
    auto = node.attrs.get("auto_pad", "NOTSET") or "NOTSET"
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        node.unsupported(f"attribute auto_pad={auto!r} is not supported")
    shape = node.attrs.get("output_shape")
    if shape is not None:
        shape = [int(s) for s in shape][-n:]
    axes = []
    for i, (size, taps_) in enumerate(zip(sizes, kernel, strict=True)):
        full = strides[i] * (size - 1) + extra[i] + (taps_ - 1) * dilations[i] + 1
        before, after = pads[i], pads[n + i]
        target = None if shape is None else shape[i]
        if target is None and auto in ("SAME_UPPER", "SAME_LOWER"):
            target = size * strides[i]
        if target is not None:
            total = max(0, full - target)
            before = total // 2 if auto == "SAME_UPPER" else total - total // 2
            after = total - before
        n_out = full - before - after if target is None else target
        if n_out < 1 or n_out > limits.MAX_TRACED_ELEMENTS:
            node.shape_error(f"its output would have {n_out} elements along an axis")
        axes.append(Axis(size, taps_, strides[i], dilations[i], before, after, n_out))
    return axes


def _phase(axis: Axis, remainder: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs o whose place o + before has this remainder by the stride: (outputs, (n, taps) inputs, kernel taps).

    Tap k of input i adds to output i * stride + k * dilation - before. Inputs that do not exist are marked by -1.
    """
    outputs = np.arange((remainder - axis.before) % axis.stride, axis.n_out, axis.stride)
    chosen = np.arange(axis.kernel)
    chosen = chosen[(remainder - chosen * axis.dilation) % axis.stride == 0]
    places = (outputs[:, None] + axis.before - chosen[None, :] * axis.dilation) // axis.stride
    exists = (places >= 0) & (places < axis.n_in)
    used = exists.any(axis=0) if len(outputs) else np.zeros(len(chosen), bool)
    return outputs, np.where(exists, places, -1)[:, used], chosen[used]


def _gather(
    walk: Walk, node: OnnxNode, elements: np.ndarray, axes: Sequence[Axis], places: Sequence[np.ndarray]
) -> np.ndarray:
    """Windows at explicit places: items, C, *outputs, *taps."""
    shape = (*elements.shape[:2], *(p.shape[0] for p in places), *(p.shape[1] for p in places))
    walk.count(node, shape)
    n = len(axes)
    for i, place in enumerate(places):
        where = 2 + 2 * i
        elements = elements.take(np.maximum(place, 0), where)
        spread = [1] * elements.ndim
        spread[where : where + 2] = place.shape
        elements = np.where((place >= 0).reshape(spread), elements, ZERO)
    return elements.transpose(0, 1, *range(2, 2 + 2 * n, 2), *range(3, 3 + 2 * n, 2))


HANDLERS: dict[str, Handler] = {"Conv": _conv, "ConvTranspose": _conv_transpose}
