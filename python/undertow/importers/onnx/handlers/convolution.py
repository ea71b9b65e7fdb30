# SPDX-License-Identifier: MIT
"""ONNX convolutions whose spatial axes lie inside one frame: windows gathered by element tables, then a dense layer.

Frames come out with channels last, whatever the model's axes say, and stay so until an op needs another order: the rows
of a window are then runs of memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..file import limits
from ..file.nodes import OnnxNode, float_constant
from ..frames import emit, time_windows
from ..frames.context import Walk
from ..frames.provenance import Tensor
from ..frames.superframes import rate_of
from ..frames.windows import Axis, Image, check_not_time, image, taps, window_axes

CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


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


def bias(node: OnnxNode, operands: list[Any], n_out: int) -> np.ndarray | None:
    if len(operands) < 3 or operands[2] is None:
        return None
    b = float_constant(node, operands[2], "B")
    if b.shape != (n_out,):
        node.shape_error(f"B has shape {b.shape}, expected ({n_out},)")
    return b


def conv(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow(*CONV)
    W = float_constant(node, operands[1], "W")
    x = operands[0]
    if isinstance(x, Tensor):
        kernel = check_kernel(node, W, len(x.shape))
        groups = check_groups(node, x.shape[1] if len(x.shape) > 1 else 0, W.shape[1], len(W))
        time = time_windows.time_of(walk, node, x)
        axes = window_axes(node, x.shape[2:], kernel)
        b = bias(node, operands, len(W))
        if time is not None and not (axes[time].is_trivial and rate_of(walk, x) is None):
            return [time_windows.convolution(walk, node, x, W, b, groups, axes, time, convolve)]
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
    # items, C, *out, *kernel; nobody keeps the table, so that it goes once it stands in another order
    return products(walk, node, taps(walk, node, elements, axes)[0], len(axes), W, b, groups)


def products(
    walk: Walk, node: OnnxNode, windows: np.ndarray, n_axes: int, W: np.ndarray, b: np.ndarray | None, groups: int
) -> np.ndarray:
    n_items, n_channels = windows.shape[:2]
    outputs, kernel = windows.shape[2 : 2 + n_axes], windows.shape[2 + n_axes :]
    n_out, n_taken = W.shape[:2]
    walk.count(node, (n_items, n_out, *outputs))
    order = [0, *range(2, windows.ndim), 1]
    windows = windows.transpose(order).reshape(n_items, *outputs, int(np.prod(kernel, dtype=np.int64)), n_channels)
    W = W.reshape(n_out, n_taken, -1).swapaxes(1, 2)  # M, taps, C / groups
    if n_taken == 1 and groups > 1:
        wide = windows.repeat(n_out // groups, -1)
        result = emit.depthwise(walk.builder, wide, W[:, :, 0].T, b)
        return np.moveaxis(result, -1, 1)
    if groups > limits.MAX_GROUPS:
        node.unsupported(f"attribute group={groups} is not supported, expected at most {limits.MAX_GROUPS}")
    parts = []
    for part, w, shift in zip(
        np.split(windows, groups, -1),
        np.split(W, groups),
        [None] * groups if b is None else np.split(b, groups),
        strict=True,
    ):
        rows = part.reshape(*part.shape[:-2], -1)
        parts.append(emit.dense(walk.builder, rows, w.reshape(len(w), -1), shift))
    result = parts[0] if len(parts) == 1 else np.concatenate(parts, -1)  # which would copy one table, too
    return np.moveaxis(result, -1, 1)
