# SPDX-License-Identifier: MIT
"""A convolution along time."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..activations import Activation, as_activation
from ..errors import ShapeError, UnsupportedError
from ..graph import Graph
from ..grids import Axis, convolve
from .base import Layer, node_name, numbers, vector


class Conv1D(Layer):
    """A convolution along time, over frames of shape (channels,).

    y_t[m] = activation(b[m] + sum over k, c of W[k, c, m] x_{t + tap(k)}[c]),  zeros before the start and after the end

    Args:
        W: (window, channels / groups, outputs).
        b: (outputs,), or None.
        dilation: frames from one tap to the next.
        padding: where the taps lie; the last one is (window - 1) * dilation frames, the reach, after the first.
            "causal": the last tap is the frame itself. "same": half the reach lies ahead, the odd frame too, as in
            Keras and PyTorch. A number p: p zeros at both ends, as in PyTorch; twice p must be at most the reach.
            "valid" or 0: none. What is ahead is latency of the model, which `Model.latency` sums up.

            Where padding is less than the reach, the exporter's layer gives fewer frames, and the first ones are those
            that are missing: y_t is that of the window that ends at t (or p frames later). The frames before them are
            computed too, with zeros before the start; drop reach - 2 p of them to have the exporter's.
        groups: outputs of a group see the channels of that group alone.
        activation: a kind of `activations.KINDS` or an `Activation`; None for none.

    Raises:
        ShapeError: W or b has the wrong shape.
        ValueError: a setting that makes no sense.
        UnsupportedError: padding of more than the reach, which makes more frames than there are.
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
        self.W = numbers(W, f"{self!r}: W")
        if self.W.ndim != 3 or not self.W.size:
            raise ShapeError(f"{self!r}: W has shape {self.W.shape}, expected (window, channels / groups, outputs)")
        window, taken, n_out = self.W.shape
        self.b = None if b is None else vector(b, f"{self!r}: b", n_out)
        self.activation = as_activation(activation)
        if self.groups < 1 or n_out % self.groups:
            raise ValueError(f"{self!r}: groups is {groups}, expected a divisor of {n_out}, the number of outputs")
        if self.dilation < 1:
            raise ValueError(f"{self!r}: dilation is {dilation}, expected at least 1")
        self.input_shape = (taken * self.groups,)
        self.taps = _taps(window, self.dilation, padding, repr(self))

    def add_to(self, graph: Graph, x: str) -> str:
        if graph.shape(x) != self.input_shape:
            raise ShapeError(f"{self!r}: takes frames of shape {self.input_shape}, but {x!r} has {graph.shape(x)}")
        name = node_name(graph, self.name, "conv1d")
        window, _, n_out = self.W.shape
        frames = graph.add("window", [x], name=f"{name}_window", attrs={"taps": self.taps})
        y = convolve(
            graph,
            frames,
            self.W,
            self.b,
            [Axis(window, 1, 1)],
            name=name,
            groups=self.groups,
            activation=self.activation,
        )
        return str(graph.add("reshape", [y], name=f"{name}_frame", attrs={"shape": (n_out,)}))

    @classmethod
    def from_torch(
        cls,
        weights: Any,
        prefix: str = "",
        *,
        dilation: int = 1,
        padding: int | str = 0,
        groups: int = 1,
        activation: Activation | str | None = None,
        name: str | None = None,
    ) -> Conv1D:
        """torch.nn.Conv1d over time: `prefix`.weight (outputs, channels / groups, window), `prefix`.bias if there.

        Dilation, padding and groups are not in the file; say them as in torch, or padding="causal" for a layer behind
        a pad (or before a cut) that makes it so.
        """
        from .from_torch import optional, tensor

        return cls(
            np.transpose(tensor(weights, prefix, "weight", 3, cls.__name__), (2, 1, 0)),
            optional(weights, prefix, "bias"),
            dilation=dilation,
            padding=padding,
            groups=groups,
            activation=activation,
            name=name or prefix or None,
        )

    @classmethod
    def from_keras(
        cls,
        weights: Any,
        prefix: str | None = None,
        *,
        dilation: int = 1,
        padding: str = "valid",
        groups: int = 1,
        activation: Activation | str | None = None,
        name: str | None = None,
    ) -> Conv1D:
        """keras.layers.Conv1D over time: kernel (window, channels / groups, outputs) and bias (see LSTM.from_keras)."""
        from .from_keras import keras_activation, named

        kernel, bias = named(weights, prefix, ("kernel", "bias"), "Conv1D.from_keras", 1)
        return cls(
            kernel,
            bias,
            dilation=dilation,
            padding=padding,
            groups=groups,
            activation=as_activation(keras_activation(activation, "Conv1D.from_keras")),
            name=name,
        )


def _taps(window: int, dilation: int, padding: int | str, what: str) -> tuple[int, ...]:
    reach = (window - 1) * dilation
    if isinstance(padding, str):
        ahead = {"causal": 0, "same": reach - reach // 2, "valid": 0}.get(padding)
        if ahead is None:
            raise ValueError(f"{what}: padding is {padding!r}, expected a number, 'causal', 'same' or 'valid'")
    elif isinstance(padding, (int, np.integer)) and padding >= 0:
        ahead = int(padding)
        if 2 * ahead > reach:
            raise UnsupportedError(
                f"{what}: padding of {ahead} at both ends makes more frames than there are, for the window reaches "
                f"over {reach} others; if what is too many is cut off behind, padding='causal' is that layer"
            )
    else:
        raise ValueError(f"{what}: padding is {padding!r}, expected a number, 'causal', 'same' or 'valid'")
    return tuple(k * dilation - (reach - ahead) for k in range(window))
