# SPDX-License-Identifier: MIT
"""Convolution along time: a window of frames, and one product."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..activations import Activation, as_activation
from ..errors import ShapeError
from ..graph import Graph
from ..grids import Axis, convolve, gather
from .base import Layer, node_name, numbers, vector


class Conv1D(Layer):
    """A convolution along time over frames of features.

    y_t[m] = activation(b[m] + sum over k, c of W[k, c, m] x_{t + k * dilation - past}[c]), with zeros outside of the
    sequence; the window holds (window - 1) * dilation frames beside the present one.

    Args:
        W: (window, channels / groups, outputs).
        b: (outputs,), or None.
        dilation: timesteps from tap to tap.
        padding: "causal" (all of the window lies in the past), "same" (as Keras and torch: half of it, rounded down,
            does, and the rest is looked ahead, which a stream gives with latency), or the number of frames in the past.
        groups: outputs of a group see the channels of that group alone.
        activation: a kind of `activations.KINDS` or an `Activation`; None for none.

    Every frame gives a frame. A convolution without padding, or with a stride, gives fewer: it is no layer of a stream.
    For a convolution over an axis inside of a frame see `FrameConv1D`.
    """

    def __init__(
        self,
        W: Any,
        b: Any = None,
        *,
        dilation: int = 1,
        padding: int | str = "causal",
        groups: int = 1,
        activation: Activation | str | None = None,
        name: str | None = None,
    ) -> None:
        self.name, self.groups, self.dilation = name, int(groups), int(dilation)
        self.W = numbers(W, "Conv1D: W")
        if self.W.ndim != 3 or not self.W.size:
            raise ShapeError(f"Conv1D: W has shape {self.W.shape}, expected (window, channels / groups, outputs)")
        if self.dilation < 1 or self.groups < 1:
            raise ValueError(f"Conv1D: dilation is {dilation} and groups {groups}, expected at least 1")
        self.b = None if b is None else vector(b, "Conv1D: b", self.W.shape[-1])
        self.activation = as_activation(activation)
        span = (self.W.shape[0] - 1) * self.dilation
        known: dict[int | str, int] = {"causal": span, "same": span // 2}
        past = known.get(padding, padding)
        if not isinstance(past, (int, np.integer)) or not 0 <= past <= span:
            raise ValueError(f"Conv1D: padding is {padding!r}, expected 'causal', 'same' or 0 to {span}")
        self.past = int(past)
        self.input_shape = (self.W.shape[1] * self.groups,)

    def add_to(self, graph: Graph, x: str) -> str:
        name, n = node_name(graph, self.name, "conv1d"), self.W.shape[0]
        if graph.shape(x) != self.input_shape:
            raise ShapeError(f"{self!r}: takes frames of shape {self.input_shape}, {x!r} has {graph.shape(x)}")
        taps = tuple(k * self.dilation - self.past for k in range(n))
        frames = graph.add("window", [x], name=f"{name}_frames", attrs={"taps": taps})
        y = convolve(
            graph, frames, self.W, self.b, [Axis(n)], name=name, groups=self.groups, activation=self.activation
        )
        return gather(graph, y, np.arange(self.W.shape[-1]), f"{name}_frame")

    @classmethod
    def from_torch(
        cls,
        weights: Any,
        prefix: str = "",
        *,
        dilation: int = 1,
        padding: int | str = "causal",
        groups: int = 1,
        activation: Activation | str | None = None,
        name: str | None = None,
    ) -> Conv1D:
        """torch.nn.Conv1d over (batch, channels, time): `prefix`.weight (outputs, channels / groups, window), .bias.

        torch itself knows no "causal": modules pad by hand, with (window - 1) * dilation zeros in front. Its
        ``padding=n`` is this one's where n is half of the window.
        """
        from .from_torch import optional, tensor

        W = tensor(weights, prefix, "weight", 3, "Conv1D").transpose(2, 1, 0)
        bias = optional(weights, prefix, "bias")
        settings = {"dilation": dilation, "padding": padding, "groups": groups, "activation": activation}
        return cls(W, bias, name=name or prefix or None, **settings)  # type: ignore[arg-type]

    @classmethod
    def from_keras(
        cls,
        weights: Any,
        prefix: str | None = None,
        *,
        dilation: int = 1,
        padding: int | str = "causal",
        groups: int = 1,
        activation: Activation | str | None = None,
        name: str | None = None,
    ) -> Conv1D:
        """keras.layers.Conv1D over (batch, time, channels): kernel and bias (see LSTM.from_keras)."""
        from .from_keras import keras_activation, named

        kernel, bias = named(weights, prefix, ("kernel", "bias"), "Conv1D.from_keras", 1)
        act = as_activation(keras_activation(activation, "Conv1D.from_keras"))
        return cls(kernel, bias, dilation=dilation, padding=padding, groups=groups, activation=act, name=name)

    def __repr__(self) -> str:
        window, taken, given = self.W.shape
        return f"Conv1D{f' {self.name!r}' if self.name else ''}({taken * self.groups} -> {given}, window {window})"
