# SPDX-License-Identifier: MIT
"""ONNX pools and padding along axes of one frame, and the norms over spatial axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..file import limits
from ..file.nodes import OnnxNode, float_constant
from ..frames import emit, provenance, time_windows
from ..frames.context import Handler, Walk
from ..frames.provenance import Tensor
from ..frames.settle import settle
from ..frames.superframes import rate_of
from ..frames.windows import Axis, Image, check_not_time, image, integers, taps, window_axes
from .convolution import inside
from .elementwise import take_apart
from .powers import power

_POOL = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")


def _pool(compute: Callable[..., np.ndarray], *more: str) -> Handler:
    def handle(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
        node.allow(*_POOL, *more)
        if any(node.outputs[1:]):
            node.unsupported("its output Indices is not supported")
        x = operands[0]
        if isinstance(x, Tensor):
            kernel = integers(node, "kernel_shape", len(x.shape) - 2, 0)
            time = time_windows.time_of(walk, node, x)
            axes = window_axes(node, x.shape[2:], kernel)
            if time is not None and not (axes[time].is_trivial and rate_of(walk, x) is None):
                return [time_windows.pool(walk, node, x, axes, time, compute)]
        picture = image(walk, node, x)
        check_not_time(walk, node, picture, axes)
        axes = inside(picture, axes)
        windows, valid = taps(walk, node, picture.elements, axes)
        n = len(axes)
        outputs = windows.shape[2 : 2 + n]
        windows = windows.reshape(*windows.shape[: 2 + n], -1)
        valid = np.broadcast_to(valid.reshape(*outputs, -1), (*outputs, windows.shape[-1]))
        walk.count(node, windows.shape[:-1])
        return [picture.result(compute(walk, node, windows, valid, axes))]

    return handle


def _max(walk: Walk, node: OnnxNode, windows: np.ndarray, valid: np.ndarray, axes: list[Axis]) -> np.ndarray:
    if node.attrs.get("storage_order", 0):
        node.unsupported(f"attribute storage_order={node.attrs['storage_order']} is not supported, expected 0")
    if not valid.any(-1).all():
        node.unsupported("a window lies in the padding as a whole")
    # A tap in the padding takes part as another tap of its window, which changes no maximum.
    instead = np.take_along_axis(windows, np.broadcast_to(valid.argmax(-1), windows.shape[:-1])[..., None], -1)
    return emit.reduce(walk.builder, "max", np.where(valid, windows, instead), [-1])


def _average(walk: Walk, node: OnnxNode, windows: np.ndarray, valid: np.ndarray, axes: list[Axis]) -> np.ndarray:
    counted = valid.sum(-1)
    if node.attrs.get("count_include_pad", 0):
        # What a last window of ceil_mode has behind the padding does not count.
        counted = np.ones((), np.int64)
        for axis in axes:
            here = (axis.places < axis.n_in + axis.after).sum(-1)
            counted = counted[..., None] * here
    if not counted.all():
        node.unsupported("a window lies in the padding as a whole")
    total = emit.reduce(walk.builder, "sum", windows, [-1])
    return emit.affine(walk.builder, total, np.float32(1.0) / counted, 0.0)


def _lp(walk: Walk, node: OnnxNode, windows: np.ndarray, valid: np.ndarray, axes: list[Axis]) -> np.ndarray:
    return _norm(walk, node, windows, [-1], int(node.attrs.get("p", 2)))


def _norm(walk: Walk, node: OnnxNode, table: np.ndarray, along: list[int], p: int) -> np.ndarray:
    """(sum |x|^p)^(1/p)"""
    builder = walk.builder
    if p == 1:
        return emit.reduce(builder, "sum", emit.activation(builder, table, "abs"), along)
    if p < 1 or p > limits.MAX_POWER:
        node.unsupported(f"attribute p={p} is not supported, expected 1 to {limits.MAX_POWER}")
    if p != 2:
        sizes = emit.activation(builder, table, "abs")
        return power(builder, emit.reduce(builder, "sum", power(builder, sizes, float(p)), along), 1.0 / p)
    total = emit.reduce(builder, "sum", emit.elementwise(builder, "mul", [table, table]), along)
    return emit.activation(builder, total, "sqrt")


def _global(compute: Callable[[Walk, OnnxNode, np.ndarray, list[int]], np.ndarray], *names: str) -> Handler:
    def handle(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
        node.allow(*names)
        picture = _whole_image(walk, node, operands[0])
        walk.count(node, picture.elements.shape[:2])
        pooled = compute(walk, node, picture.elements, list(range(2, picture.elements.ndim)))
        return [picture.result(pooled.reshape(*pooled.shape, *[1] * len(picture.spatial)))]

    return handle


def _whole_image(walk: Walk, node: OnnxNode, operand: Any, least: int = 3) -> Image:
    picture = image(walk, node, operand, least=least)
    for axis in picture.outer:
        if axis >= 2:
            node.unsupported(f"works along axis {axis} of {picture.tensor.shape}, which is time or the batch")
    return picture


# -- norms over spatial axes ----------------------------------------------------------------------------------------


def instance_norm(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow("epsilon")
    picture = _whole_image(walk, node, operands[0])
    return [_normalised(walk, node, picture, operands, picture.elements.shape[1])]


def group_norm(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow("epsilon", "num_groups", "stash_type")
    picture = _whole_image(walk, node, operands[0], least=2)
    groups = int(node.attrs.get("num_groups", 1))
    if groups < 1 or picture.elements.shape[1] % groups:
        node.shape_error(f"attribute num_groups={groups} does not divide {picture.elements.shape[1]} channels")
    return [_normalised(walk, node, picture, operands, groups)]


def _normalised(walk: Walk, node: OnnxNode, picture: Image, operands: list[Any], groups: int) -> Tensor:
    """A layer norm over each group of channels and all spatial axes, then scale and shift of each channel."""
    elements = picture.elements
    n_channels = elements.shape[1]
    weights = []
    for slot, name in ((1, "scale"), (2, "B")):
        w = float_constant(node, operands[slot], name)
        if node.op == "GroupNormalization" and node.opset < 21 and w.shape == (groups,):
            w = w.repeat(n_channels // groups)
        if w.shape != (n_channels,):
            node.shape_error(f"{name} has shape {w.shape}, expected ({n_channels},)")
        weights.append(w.reshape(1, -1, *[1] * len(picture.spatial)))
    rows = elements.reshape(elements.shape[0], groups, -1)
    epsilon = float(node.attrs.get("epsilon", 1e-5))
    normalised = emit.rowwise(walk.builder, "layer_norm", rows, attrs={"eps": epsilon}).reshape(elements.shape)
    walk.count(node, elements.shape)
    return picture.result(emit.affine(walk.builder, normalised, *weights))


# -- padding --------------------------------------------------------------------------------------------------------


def pad(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """Padding with elements of the frame itself, or with a constant."""
    node.allow("mode", "pads", "value")
    x = operands[0]
    if not isinstance(x, Tensor):
        node.unsupported("its input is a constant, but how it is padded is computed")
    mode = node.attrs.get("mode", "constant")
    numpy_mode = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}.get(mode)
    if numpy_mode is None:
        node.unsupported(f"attribute mode={mode!r} is not supported, expected constant, reflect, edge or wrap")
    pads = pad_widths(node, operands, len(x.shape))
    if all(width == (0, 0) for width in pads):
        return [x]  # whatever it would be filled with
    axis_and_rate = rate_of(walk, x)
    if (
        axis_and_rate is not None
        and mode == "constant"
        and all(p == (0, 0) for a, p in enumerate(pads) if a != axis_and_rate[0])
    ):
        walk.count(node, tuple(n + sum(map(abs, p)) for n, p in zip(x.shape, pads, strict=True)))
        return [time_windows.padding(x, axis_and_rate[0], pads[axis_and_rate[0]], _fill(walk, node, operands))]
    if axis_and_rate is not None and pads[axis_and_rate[0]] != (0, 0) and mode != "constant":
        node.unsupported(
            f"pads axis {axis_and_rate[0]} of {x.shape}, which is time, with mode={mode!r} in frames of several "
            "timesteps, expected mode='constant'"
        )
    layout, elements = x.split() if x.dtype != "float32" else take_apart(walk, node, x)
    time = walk.time_axis(x)
    over_time = (0, 0)
    for axis in range(len(x.shape)):
        may_pad = axis == time and mode in ("constant", "edge")
        if pads[axis] != (0, 0) and not may_pad and (axis in layout.outer or walk.stands_for_more(x, axis)):
            node.unsupported(f"pads axis {axis} of {x.shape}, which is time or the batch, with mode={mode!r}")
        if axis == time:
            over_time, pads[axis] = pads[axis], (0, 0)
    shape = tuple(n + before + after for n, (before, after) in zip(x.shape, pads, strict=True))
    if min(shape, default=1) < 1:
        node.unsupported(f"gives a tensor of shape {shape}, which is empty")
    walk.count(node, shape)
    widths = [pads[a] for a in layout.frame]
    elements = elements[
        tuple(slice(max(0, -b), n - max(0, -a)) for n, (b, a) in zip(elements.shape, widths, strict=True))
    ]
    widths = [(max(0, b), max(0, a)) for b, a in widths]
    if not widths:
        padded = elements  # a frame of one number: only time is padded
    elif numpy_mode != "constant":
        if mode == "reflect" and any(max(w) >= n for n, w in zip(elements.shape, widths, strict=True)):
            node.unsupported(f"reflects pads {pads} beyond an input of shape {x.shape}")
        padded = np.pad(elements, widths, numpy_mode)  # type: ignore[call-overload]
    else:
        padded = np.pad(elements, widths, constant_values=_fill(walk, node, operands))
    tensor = provenance.Layout(shape, layout.outer, layout.origin, x.labels).tensor(padded, x.dtype)
    labels = tuple(label if n == 1 else "" for label, n in zip(x.labels, shape, strict=True))
    result = Tensor(tensor.codes, labels, x.dtype)
    if over_time != (0, 0) and time is not None:
        walk.count(node, tuple(n + sum(map(abs, over_time)) * (a == time) for a, n in enumerate(shape)))
        fill = None if mode == "edge" else _fill(walk, node, operands)
        result = time_windows.padding(result, time, over_time, fill)
        result = settle(walk.builder, result)
    return [result]


def pad_widths(node: OnnxNode, operands: list[Any], rank: int) -> list[tuple[int, int]]:
    """(before, after) of every axis of a Pad node; negative where it crops."""
    pads = node.attrs.get("pads")
    if len(operands) > 1 and operands[1] is not None:
        if not isinstance(operands[1], np.ndarray):
            node.unsupported("its pads are computed at run time, expected a constant")
        pads = operands[1].ravel().tolist()
    axes = list(range(rank))
    if len(operands) > 3 and operands[3] is not None:
        if not isinstance(operands[3], np.ndarray):
            node.unsupported("its axes are computed at run time, expected a constant")
        axes = [int(a) % max(rank, 1) for a in operands[3].ravel()]
    if pads is None or len(pads) != 2 * len(axes) or len(set(axes)) != len(axes):
        node.shape_error(f"its pads are {pads} for axes {axes}, expected two numbers for each")
    widths = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        widths[axis] = (int(pads[i]), int(pads[len(axes) + i]))
        if max(abs(n) for n in widths[axis]) > limits.MAX_REACH:
            node.unsupported(f"pads {pads}, expected at most {limits.MAX_REACH} elements")
    return widths


def _fill(walk: Walk, node: OnnxNode, operands: list[Any]) -> int:
    """The element number of what a constant padding is filled with."""
    given = operands[2] if len(operands) > 2 else None
    if isinstance(given, Tensor):
        node.unsupported(f"its constant_value {node.inputs[2]!r} is computed at run time, expected a constant")
    value = float(node.attrs.get("value", 0.0)) if given is None else float(np.asarray(given).reshape(()))
    if not np.isfinite(value):
        node.unsupported(f"pads with {value}, expected a finite number")
    return 0 if value == 0 else int(walk.builder.constant(np.array([value], np.float32))[0])


_max_pool = _pool(_max, "storage_order")


def max_pool(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """Of bytes too: the largest of them is one of them."""
    x = operands[0]
    if not isinstance(x, Tensor) or x.dtype not in ("int8", "uint8"):
        return _max_pool(walk, node, operands)
    results = _max_pool(walk, node, [Tensor(x.codes, x.labels), *operands[1:]])
    return [Tensor(y.codes, y.labels, x.dtype) for y in results]


average_pool = _pool(_average, "count_include_pad")
lp_pool = _pool(_lp, "p")
global_max_pool = _global(lambda w, n, t, axes: emit.reduce(w.builder, "max", t, axes))
global_average_pool = _global(lambda w, n, t, axes: emit.mean(w.builder, t, axes))
global_lp_pool = _global(lambda w, n, t, axes: _norm(w, n, t, axes, int(n.attrs.get("p", 2))), "p")
