# SPDX-License-Identifier: MIT
"""ONNX transposed convolutions, along axes of a frame and along time.

One with stride s is s ordinary ones, one for each remainder of an output's place by s (and so on for every axis), which
share out the kernel's taps. Along time it gives s rows for every row of its input: a frame of more timesteps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ..file import limits
from ..file.nodes import OnnxNode, float_constant
from ..frames import time_windows
from ..frames.builder import ZERO
from ..frames.context import Walk
from ..frames.provenance import Tensor, Uncut
from ..frames.superframes import rate_of
from ..frames.windows import Axis, check_not_time, image, integers, paddings
from .convolution import CONV, bias, check_kernel, inside, products

#: outputs along an axis, (n, taps) inputs that they are made of (-1: none), taps of the kernel
_Phase = tuple[np.ndarray, np.ndarray, np.ndarray]


def conv_transpose(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow(*CONV, "output_padding", "output_shape")
    W = float_constant(node, operands[1], "W")
    x = operands[0]
    time = walk.time_axis(x)
    picture = None if time is not None and time >= 2 else image(walk, node, x)
    kernel = check_kernel(node, W, len(x.shape))
    groups = int(node.attrs.get("group", 1))
    if groups < 1 or W.shape[0] != x.shape[1] or W.shape[0] % groups:
        node.shape_error(f"W has shape {W.shape} and group={groups}, the input {x.shape[1]} channels")
    b = bias(node, operands, W.shape[1] * groups)
    axes = _axes(node, x.shape[2:], kernel)
    # (C, M / groups, *kernel) -> (M, C / groups, *kernel)
    C, M = W.shape[:2]
    W = W.reshape(groups, C // groups, M, *kernel).swapaxes(1, 2).reshape(M * groups, C // groups, *kernel)
    if time is not None and time >= 2 and not (axes[time - 2].is_trivial and rate_of(walk, x) is None):
        return [_along_time(walk, node, x, W, b, groups, axes, time)]
    picture = picture or image(walk, node, x)
    check_not_time(walk, node, picture, axes)
    axes = inside(picture, axes)
    phases = [[_phase(axis, r) for r in range(axis.stride)] for axis in axes]
    sizes = [axis.n_out for axis in axes]
    return [picture.result(_compute(walk, node, picture.elements, sizes, phases, W, b, groups))]


def _compute(
    walk: Walk,
    node: OnnxNode,
    elements: np.ndarray,
    sizes: Sequence[int],
    phases: Sequence[Sequence[_Phase]],
    W: np.ndarray,
    b: np.ndarray | None,
    groups: int,
) -> np.ndarray:
    """W (M, C / groups, *kernel) over a table [items, C, *spatial]; gives one [items, M, *sizes]."""
    n_out = len(W)
    walk.count(node, (elements.shape[0], n_out, *sizes))
    result = np.full((elements.shape[0], n_out, *sizes), ZERO, np.int64)
    for phase in product(*phases):
        outputs, places, chosen = zip(*phase, strict=True)
        if any(o.size == 0 for o in outputs):
            continue
        where = np.ix_(np.arange(result.shape[0]), np.arange(n_out), *outputs)
        if any(k.size == 0 for k in chosen):  # no tap of the kernel meets these outputs: they are the bias
            fill = walk.builder.constant(np.zeros(n_out) if b is None else b).reshape(1, -1, *[1] * len(sizes))
            result[where] = np.broadcast_to(fill, result[where].shape)
            continue
        windows = _gather(walk, node, elements, places)
        part = W[np.ix_(np.arange(n_out), np.arange(W.shape[1]), *chosen)]
        result[where] = products(walk, node, windows, len(sizes), part, b, groups)
    return result


# -- along time -----------------------------------------------------------------------------------------------------


def _along_time(
    walk: Walk,
    node: OnnxNode,
    x: Tensor,
    W: np.ndarray,
    b: np.ndarray | None,
    groups: int,
    axes: Sequence[Axis],
    time: int,
) -> Tensor:
    """Row r of every frame is made of the rows around number r // stride of the input.

    Where more or fewer rows come out than so many for every frame, the first ones are missing, or the last ones lie
    behind the end of the sequence.
    """
    spec = axes[time - 2]
    below = (spec.kernel - 1) * spec.dilation > spec.before
    of = time_windows.take(walk, node, x, time, replace(spec, before=0, after=0), below)
    time_windows.check_batch(node, of, axes, time)
    n_rows = of.rate * spec.stride
    walk.has_rates = walk.has_rates or n_rows > 1
    first = max(0, n_rows * walk.builder.n_steps - spec.n_out)
    walk.left_out = max(walk.left_out, -(-first // n_rows))

    uncut = np.arange(n_rows) - first + spec.before  # the place of each row before anything is cut off
    time_phases: list[_Phase] = []
    for remainder in range(spec.stride):
        outputs = np.flatnonzero(uncut % spec.stride == remainder)
        chosen = np.arange(spec.kernel)
        chosen = chosen[(remainder - chosen * spec.dilation) % spec.stride == 0]
        places = (uncut[outputs, None] - chosen * spec.dilation) // spec.stride - of.before + of.late
        time_phases.append((outputs, places, chosen))
    every = np.unique(np.concatenate([places.ravel() for _, places, _ in time_phases]))
    table = time_windows.entries(walk, node, of, time, every)
    phases = []
    for a, axis in enumerate(axes, 2):
        inner = replace(axis, n_in=1, n_out=1) if a in of.layout.outer else axis
        phases.append([_phase(inner, r) for r in range(inner.stride)])
    phases[time - 2] = [(outputs, np.searchsorted(every, places), chosen) for outputs, places, chosen in time_phases]
    sizes = [n_rows if a == time else 1 if a in of.layout.outer else axis.n_out for a, axis in enumerate(axes, 2)]
    elements = _compute(walk, node, table, sizes, phases, W, b, groups)

    def cut(before: int, after: int) -> Tensor:
        less = replace(spec, before=spec.before + before, after=spec.after + after, n_out=spec.n_out - before - after)
        return _along_time(walk, node, x, W, b, groups, [*axes[: time - 2], less, *axes[time - 1 :]], time)

    result = time_windows.rows_of(of.tensor, of.layout, time, elements, first, spec.n_out)
    return Uncut(result.codes, result.labels, result.dtype, time, cut)


# -- where the taps lie ---------------------------------------------------------------------------------------------


def _axes(node: OnnxNode, sizes: Sequence[int], kernel: Sequence[int]) -> list[Axis]:
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


def _phase(axis: Axis, remainder: int) -> _Phase:
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


def _gather(walk: Walk, node: OnnxNode, elements: np.ndarray, places: Sequence[np.ndarray]) -> np.ndarray:
    """Windows at explicit places: items, C, *outputs, *taps."""
    shape = (*elements.shape[:2], *(p.shape[0] for p in places), *(p.shape[1] for p in places))
    walk.count(node, shape)
    n = len(places)
    for i, place in enumerate(places):
        where = 2 + 2 * i
        elements = elements.take(np.maximum(place, 0), where)
        spread = [1] * elements.ndim
        spread[where : where + 2] = place.shape
        elements = np.where((place >= 0).reshape(spread), elements, ZERO)
    return elements.transpose(0, 1, *range(2, 2 + 2 * n, 2), *range(3, 3 + 2 * n, 2))
