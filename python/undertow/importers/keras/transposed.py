# SPDX-License-Identifier: MIT
"""Transposed convolution of Keras, inside a frame and along time.

Output s m + r of an axis with stride s is the sum over t of W[r + before - t s] x[m + t], so the s outputs of one
position are those of a convolution with stride 1 and s times as many filters, which are then put side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np

from ...errors import UnsupportedError
from ...ir.activations import IDENTITY, Activation
from ...ir.grids import Axis, convolve, gather
from .. import _blocks as blocks
from . import strides
from .activations import activation
from .builder import Builder, Tensor, activate
from .config import Config
from .sizes import check_axes, sizes
from .tables import Layer
from .weights import Weights

#: outputs that a stride makes of one input, at most
MAX_PHASES = 4096


@dataclass(frozen=True)
class _Axis:
    """One axis: `before` outputs are cut off in front, `behind` more than size * stride are kept at the end."""

    size: int
    stride: int
    before: int
    behind: int

    @property
    def taps(self) -> range:
        """The t of the sum above."""
        return range(
            -((self.size - 1 - self.before) // self.stride), (self.stride - 1 + self.before) // self.stride + 1
        )

    @property
    def window(self) -> Axis:
        """Positions m as far as there are outputs."""
        more = -(-self.behind // self.stride)
        return Axis(len(self.taps), before=-self.taps[0], after=self.taps[-1] + more)

    def n_out(self, n: int) -> int:
        return n * self.stride + self.behind


def transposed(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> Tensor:
    """Conv1DTranspose and Conv2DTranspose."""
    rank = check_axes(b, layer, x)
    filters, kernel = config.count("filters"), sizes(config, "kernel_size", rank)
    steps = sizes(config, "strides", rank, 1)
    padding = config.expect("padding", "valid", "same")
    for n in sizes(config, "dilation_rate", rank, 1):
        if n != 1:
            raise UnsupportedError(f"{layer.where}: dilation_rate = {n} is not supported; expected 1")
    if prod(steps) > MAX_PHASES:
        raise UnsupportedError(
            f"{layer.where}: strides = {list(steps)} make {prod(steps)} outputs of each input, expected at most "
            f"{MAX_PHASES}"
        )
    act, use_bias = activation(config), config.flag("use_bias", True)
    config.finish()
    if x.time and not x.rows:
        raise strides.NeedsSteps(layer, f"strides = {steps[0]}", 1)
    axes = []
    for k, s in zip(kernel, steps, strict=True):
        more = max(k - s, 0)
        axes.append(_Axis(k, s, more // 2 if padding == "same" else 0, 0 if padding == "same" else more))
    channels = b.graph.shape(x.value)[-1]
    spec = layer.row.spec(kernel=(*kernel, filters, channels), bias=(filters,) if use_bias else None)
    W, *bias = weights.take(layer.where, spec)

    value, windows, counts = x.value, [axis.window for axis in axes], list(b.graph.shape(x.value)[:-1])
    if x.time:
        value = _timesteps(b, layer, x, axes[0])
        windows[0] = Axis(len(axes[0].taps))
    ends = [axis.n_out(n) for axis, n in zip(axes, counts, strict=True)]
    blocks.check_frame(layer.where, prod(ends) * filters)
    fused = act if isinstance(act, Activation) else IDENTITY
    y = convolve(
        b.graph,
        value,
        _phases(W, axes),
        np.tile(bias[0], prod(steps)) if bias else None,
        windows,
        name=layer.name,
        activation=fused,
    )
    y = gather(b.graph, y, _side_by_side(b.graph.shape(y)[:-1], steps, filters, ends), f"{layer.name}_frame")
    result = replace(x, value=y, rows=x.rows and ends[0])
    return result if isinstance(act, Activation) else activate(b, layer, result, act)


def _timesteps(b: Builder, layer: Layer, x: Tensor, axis: _Axis) -> str:
    if axis.behind:
        raise UnsupportedError(
            f"{layer.where}: padding = 'valid' with kernel_size = {axis.size} and strides = {axis.stride} along time "
            "goes on behind the last timestep; expected padding = 'same', or the clip's size: shapes="
        )
    taps = axis.taps
    return strides.timesteps(b, layer, x, -taps[0], x.rows + len(taps) - 1, b.gate(layer, x) if taps[0] else [])


def _phases(W: np.ndarray, axes: list[_Axis]) -> np.ndarray:
    """(*kernel, filters, channels) as (*taps, channels, phases * filters)."""
    *_, filters, channels = W.shape
    steps = [axis.stride for axis in axes]
    kernel = np.zeros((*(len(axis.taps) for axis in axes), channels, prod(steps), filters), W.dtype)
    for phase, remainders in enumerate(product(*(range(s) for s in steps))):
        for at in product(*(range(len(axis.taps)) for axis in axes)):
            k = [r + axis.before - axis.taps[i] * axis.stride for r, axis, i in zip(remainders, axes, at, strict=True)]
            if all(0 <= n < axis.size for n, axis in zip(k, axes, strict=True)):
                kernel[at][:, phase] = W[tuple(k)].T
    return kernel.reshape(*kernel.shape[:-2], -1)


def _side_by_side(counts: tuple[int, ...], steps: tuple[int, ...], filters: int, ends: list[int]) -> np.ndarray:
    """Positions m of every axis, with their phases, as positions of the output, cut where it ends."""
    rank = len(steps)
    order = np.arange(prod(counts) * prod(steps) * filters).reshape(*counts, *steps, filters)
    order = order.transpose(*(axis for i in range(rank) for axis in (i, rank + i)), 2 * rank)
    order = order.reshape(*(n * s for n, s in zip(counts, steps, strict=True)), filters)
    return order[tuple(slice(n) for n in ends)]
