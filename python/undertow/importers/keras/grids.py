# SPDX-License-Identifier: MIT
"""Convolution, pooling and padding of Keras: over the axes of a frame, and where that is exact over time as well.

Over time a convolution sees a window of frames: with padding "causal", "same" (which looks ahead), or "valid", whose
first frames are missing unless a ZeroPadding has made as many as the convolution takes away.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from ...budget import room
from ...errors import FormatError, UnsupportedError
from ...ir.activations import IDENTITY, Activation
from ...ir.grids import Axis, convolve, gather, pool
from ...ir.ops import MAX_TAP
from ...layers import Average
from ...layers.averages import LargestSoFar
from .. import _blocks as blocks
from . import strides
from .activations import activation
from .builder import Builder, Tensor, activate
from .config import MAX_WIDTH, Config, brief
from .sizes import check_axes, sizes
from .tables import Layer
from .weights import Spec, Weights

Pads = list[tuple[int, int]]


# -- convolution ----------------------------------------------------------------------------------------------------


def convolution(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    """Conv1D and 2D, depthwise and separable ones."""
    rank, row = check_axes(b, layer, x), layer.row
    channels = b.graph.shape(x.value)[-1]
    kernel = sizes(config, "kernel_size", rank)
    steps, dilations = sizes(config, "strides", rank, 1), sizes(config, "dilation_rate", rank, 1)
    padding = config.expect("padding", "valid", "same", "causal")
    groups, act, use_bias = 1, activation(config), config.flag("use_bias", True)
    multiplier = 1 if row.of == "full" else config.count("depth_multiplier")
    filters = channels * multiplier if row.of == "depthwise" else config.count("filters")
    bias_shape = (filters,) if use_bias else None
    depthwise_shape = (*kernel, channels, multiplier)
    choices: list[Spec]
    if row.of == "full":
        groups = config.get("groups", 1)
        if type(groups) is not int or groups < 1 or channels % groups or filters % groups:
            raise FormatError(f"{layer.where}: groups = {brief(groups)} for {channels} channels and {filters} filters")
        choices = [row.spec(kernel=(*kernel, channels // groups, filters), bias=bias_shape)]
    elif row.of == "separable":
        pointwise = (*[1] * rank, channels * multiplier, filters)
        choices = [row.spec(depthwise_kernel=depthwise_shape, pointwise_kernel=pointwise, bias=bias_shape)]
    else:
        choices = [row.spec(**{role: depthwise_shape}, bias=bias_shape) for role in ("kernel", "depthwise_kernel")]
    config.finish()
    axes = [Axis(k, s, d) for k, s, d in zip(kernel, steps, dilations, strict=True)]
    value, axes, missing = _window(b, layer, x, axes, padding)
    arrays = weights.take(layer.where, *choices)
    bias = arrays.pop() if use_bias else None
    fused = act if isinstance(act, Activation) else IDENTITY
    W = arrays[0]
    if row.of == "full":
        y = convolve(b.graph, value, W, bias, axes, name=layer.name, groups=groups, activation=fused)
    else:
        depthwise = W.reshape(*kernel, 1, -1)  # outputs of one channel stand together
        if len(arrays) == 1:
            y = convolve(b.graph, value, depthwise, bias, axes, name=layer.name, groups=channels, activation=fused)
        else:
            y = convolve(b.graph, value, depthwise, None, axes, name=f"{layer.name}_depthwise", groups=channels)
            y = convolve(b.graph, y, arrays[1], bias, [Axis(1)] * rank, name=layer.name, activation=fused)
    if x.time and not x.rows:
        shape = b.graph.shape(y)[1:]
        y = gather(b.graph, y, np.arange(prod(shape)).reshape(shape), f"{layer.name}_frame")
    length = None if x.length is None else x.length - missing
    rows = x.rows and b.graph.shape(y)[0]
    result = replace(x, value=y, padded=(0, 0), length=length, late=x.late + missing, rows=rows)
    return result if isinstance(act, Activation) else activate(b, layer, result, act)


_ELSE = "give the clip's size: shapes="


def _window(b: Builder, layer: Layer, x: Tensor, axes: list[Axis], padding: str) -> tuple[str, list[Axis], int]:
    """(the frames to convolve over, with time as their first axis; the axes as they are padded; how many frames fewer
    come out than there were)."""
    shape = b.graph.shape(x.value)
    grid = axes[x.time :]
    if padding == "same":
        grid = [axis.same(n) for axis, n in zip(grid, shape[bool(x.rows) : -1], strict=True)]
    if not x.time:
        if padding == "causal":  # Conv1D alone has it; before Keras 2.6 others ignored it
            if len(axes) > 1:
                raise UnsupportedError(f"{layer.where}: padding = 'causal' is not supported in a frame of two axes")
            grid = [replace(grid[0], before=grid[0].reach - 1)]
        return x.value, grid, 0
    first = axes[0]
    if first.reach > MAX_TAP:
        raise UnsupportedError(f"{layer.where}: a window over {first.reach} frames; expected at most {MAX_TAP}")
    if x.rows or first.stride != 1:
        value, missing = strides.window(b, layer, x, first, padding)
        return value, [first, *grid], missing
    past, ahead = x.padded
    if padding == "same":
        past, ahead = past + (first.reach - 1) // 2, ahead + first.reach - 1 - (first.reach - 1) // 2
    elif padding == "causal":
        past += first.reach - 1
    missing = first.reach - 1 - past - ahead
    if missing < 0 or (x.padded != (0, 0) and padding != "valid"):
        raise UnsupportedError(
            f"{layer.where}: padding = {padding!r} behind {x.padded} frames of padding gives more frames than it "
            f"takes; expected 'causal' or 'same' without them, or 'valid' behind at most {first.reach - 1} ({_ELSE})"
        )
    gate = b.gate(layer, x) if past + ahead else []  # padding stands beside the frames that x has
    past += missing
    if first.size == 1:
        value = gather(b.graph, x.value, np.arange(prod(shape)).reshape(1, *shape), f"{layer.name}_row")
    else:
        taps = tuple(k * first.dilation - past for k in range(first.size))
        value = b.graph.add("window", [x.value, *gate], name=f"{layer.name}_frames", attrs={"taps": taps})
    return value, [Axis(first.size), *grid], missing


# -- pooling --------------------------------------------------------------------------------------------------------


def pooling(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    """MaxPooling and AveragePooling.

    A mean leaves padding out, as TensorFlow and JAX do. (Keras on PyTorch repeats the last element instead, where
    "same" pads one end more than the other.)
    """
    rank = check_axes(b, layer, x)
    size = sizes(config, "pool_size", rank, 2)
    steps = sizes(config, "strides", rank, list(size))
    padding = config.expect("padding", "valid", "same")
    config.finish()
    rows = 0
    if x.time and not x.rows and size[0] != 1 and steps[0] == 1:
        return _moving(b, layer, x, [Axis(k, s) for k, s in zip(size, steps, strict=True)], padding)
    if x.time and (size[0] != 1 or steps[0] != 1):
        if size[0] != steps[0]:
            raise UnsupportedError(
                f"{layer.where}: pool_size = {size[0]} and strides = {steps[0]} along time is not supported; "
                f"expected strides of 1 or of the pool's size ({_ELSE})"
            )
        rows = strides.divide(b, layer, x, steps[0])
    axes = [Axis(k, s) for k, s in zip(size, steps, strict=True)][x.time and not x.rows :]
    if not axes:
        return x
    if padding == "same":
        axes = [axis.same(n) for axis, n in zip(axes, b.graph.shape(x.value)[:-1], strict=True)]
    return replace(x, value=pool(b.graph, x.value, layer.row.of, axes, name=layer.name), rows=rows or x.rows)


def _moving(b: Builder, layer: Layer, x: Tensor, axes: list[Axis], padding: str) -> Tensor:
    """A pool that moves on by one timestep: over a window of frames, of which those count that there are."""
    graph, shape, size = b.graph, b.graph.shape(x.value), axes[0].size
    grid = [axis.same(n) if padding == "same" else axis for axis, n in zip(axes[1:], shape[:-1], strict=True)]
    ahead = size - 1 - (size - 1) // 2 if padding == "same" else 0
    missing = 0 if padding == "same" else size - 1
    if size > MAX_TAP:
        raise UnsupportedError(f"{layer.where}: a window over {size} frames; expected at most {MAX_TAP}")
    blocks.check_frame(layer.where, size * prod(shape))
    attrs = {"taps": tuple(range(ahead + 1 - size, ahead + 1))}
    gate = b.gate(layer, x) if padding == "same" else []
    value = graph.add("window", [x.value, *gate], name=f"{layer.name}_frames", attrs=attrs)
    there = ""
    if padding == "same":
        one = graph.add("constant", [], name=f"{layer.name}_one", weights={"value": np.ones(1, np.float32)})
        there = graph.add("window", [one, *gate], name=f"{layer.name}_there", attrs=attrs)
    if there and layer.row.of == "max":
        flags = gather(
            graph, there, np.repeat(np.arange(size), prod(shape)).reshape(size, *shape), f"{layer.name}_flags"
        )
        least = np.full((size, *shape), np.finfo(np.float32).min, np.float32)
        lowest = graph.add("constant", [], name=f"{layer.name}_lowest", weights={"value": least})
        value = graph.add("where", [flags, value, lowest], name=f"{layer.name}_inside")
    y = pool(graph, value, layer.row.of, [Axis(size), *grid], name=layer.name)
    frame = graph.shape(y)[1:]
    y = gather(graph, y, np.arange(prod(frame)).reshape(frame), f"{layer.name}_frame")
    if there and layer.row.of == "average":  # of `size` timesteps, of which zeros stand for those that are not there
        share = {"W": np.full((1, size), 1.0 / size, np.float32)}
        n = graph.add("dense", [gather(graph, there, np.arange(size), f"{layer.name}_which")], weights=share)
        n = gather(graph, n, np.zeros(frame, np.int64), f"{layer.name}_shares")
        y = graph.add("div", [y, n], name=f"{layer.name}_mean_of_those")
    length = None if x.length is None else x.length - missing
    return replace(x, value=y, length=length, late=x.late + missing)


def global_pooling(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    """Over the axes of a frame; over time, of the frames so far."""
    rank = check_axes(b, layer, x)
    keep = config.flag("keepdims")
    config.finish()
    if x.late:
        raise UnsupportedError(
            f"{layer.where}: over time of which the first {x.late} frames are missing, for a convolution before it "
            "has no padding; expected padding = 'causal' or 'same' there, or the clip's size: shapes="
        )
    *grid, channels = b.graph.shape(x.value)
    value = x.value
    if grid:
        axes = [Axis(n) for n in grid]
        value = pool(b.graph, value, layer.row.of, axes, name=f"{layer.name}_frame" if x.time else layer.name)
    shape = (*[1] * (rank if keep else 0), channels)
    value = gather(b.graph, value, np.arange(channels).reshape(shape), f"{layer.name}_shape")
    if not x.time:
        return x.like(value)
    # a mean of means: every frame has as many elements
    so_far = Average(name=layer.name) if layer.row.of == "average" else LargestSoFar(name=layer.name)
    return replace(x, value=so_far.add_to(b.graph, value), time=False, length=None, rows=0)


# -- padding, cropping, repeating -----------------------------------------------------------------------------------


def _pads(config: Config, key: str, rank: int) -> Pads:
    """Keras's three ways to say how much stands before and behind each axis."""
    stated = config.required(key)
    each = [stated] * rank if type(stated) is int else stated
    if rank == 1 and isinstance(stated, list) and len(stated) == 2 and all(type(n) is int for n in stated):
        each = [stated]
    pads = [(n, n) if type(n) is int else n for n in each] if isinstance(each, list) and len(each) == rank else []
    good = [p for p in pads if isinstance(p, (list, tuple)) and len(p) == 2]
    if len(good) != rank or not all(type(n) is int and 0 <= n <= MAX_WIDTH for p in good for n in p):
        raise FormatError(f"{config.where}: {key} must say how much before and behind {rank} axes, got {brief(stated)}")
    return [(p[0], p[1]) for p in good]


def zero_padding(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    rank = check_axes(b, layer, x)
    pads = _pads(config, "padding", rank)
    config.finish()
    shape = b.graph.shape(x.value)
    order = np.arange(prod(shape)).reshape(shape)
    inner = [*pads[x.time :], (0, 0)]
    _check_size(b, layer, [n + sum(p) for n, p in zip(shape, inner, strict=True)])
    value = gather(b.graph, x.value, np.pad(order, inner, constant_values=-1), layer.name)
    return replace(x, value=value, padded=pads[0] if x.time else (0, 0))


def cropping(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    rank = check_axes(b, layer, x)
    pads = _pads(config, "cropping", rank)
    config.finish()
    cropped = pads[0][0] if x.time else 0
    if x.time and pads[0][1] != 0:
        raise UnsupportedError(
            f"{layer.where}: cropping = {pads[0]} along time is not supported; expected none behind the end ({_ELSE})"
        )
    shape = b.graph.shape(x.value)
    inner = pads[x.time :]
    if any(before + after >= n for (before, after), n in zip(inner, shape, strict=False)):
        raise FormatError(f"{layer.where}: cropping {inner} leaves nothing of frames {shape}")
    cut = tuple(slice(before, n - after) for (before, after), n in zip(inner, shape, strict=False))
    value = gather(b.graph, x.value, np.arange(prod(shape)).reshape(shape)[cut], layer.name)
    length = None if x.length is None else x.length - cropped
    return replace(x, value=value, length=length, late=x.late + cropped)


def up_sampling(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    rank = check_axes(b, layer, x)
    times = sizes(config, "size", rank, 2)
    config.finish()
    if x.time and not x.rows and times[0] != 1:
        raise strides.NeedsSteps(layer, f"size = {times[0]}", 1)
    shape = b.graph.shape(x.value)
    inner = times[x.time and not x.rows :]
    _check_size(b, layer, [prod(shape), *inner])
    order = np.arange(prod(shape)).reshape(shape)
    for axis, n in enumerate(inner):
        order = np.repeat(order, n, axis=axis)
    return replace(x, value=gather(b.graph, x.value, order, layer.name), rows=x.rows * times[0])


def _check_size(b: Builder, layer: Layer, factors: list[int]) -> None:
    blocks.check_frame(layer.where, prod(factors))
    room(prod(factors), 2 * 8, layer.where)
