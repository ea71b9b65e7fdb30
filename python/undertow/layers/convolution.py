# SPDX-License-Identifier: MIT
"""A convolution along time."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ..ir.activations import Activation, as_activation
from ..ir.graph import Graph
from ..ir.grids import Axis, convolve, gather
from .base import Layer, node_name, numbers, vector


class Conv1D(Layer):
    """A convolution along time, over frames of shape (channels,).

    y_t[m] = activation(b[m] + sum over k, c of W[k, c, m] x_{t + tap(k)}[c]),  zeros before the start and after the end

    With a stride, stride timesteps make one frame of shape (stride, channels), and y_t is that of timestep t * stride.
    Where another layer with a stride follows, this one gives several `steps` in a frame: (steps, outputs), from frames
    of shape (steps * stride, channels). `Model.frames_in` and `frames_out` say so of the whole chain.

    Args:
        W: (window, channels / groups, outputs).
        b: (outputs,), or None.
        dilation: timesteps from one tap to the next.
        stride: timesteps from one output to the next.
        steps: outputs in one frame: the product of the strides behind this layer.
        padding: where the taps lie; the last one is (window - 1) * dilation frames, the reach, after the first.
            "causal": the last tap is the frame itself. "same": half the reach lies ahead, the odd frame too, as in
            Keras and PyTorch. A number p: p zeros at both ends, as in PyTorch; twice p must be at most the reach.
            "valid" or 0: none. What is ahead is latency of the model, which `Model.latency` sums up.

            Where padding is less than the reach, the exporter's layer gives fewer frames, and the first ones are those
            that are missing: y_t is that of the window that ends at t (or p frames later). The frames before them are
            computed too, with zeros before the start; drop ceil((reach + 1 - 2 p) / stride) - 1 of them, without
            a stride reach - 2 p, to have the exporter's.
        groups: outputs of a group see the channels of that group alone.
        activation: a kind of `Activation`, or one; None for none.
        name: of the layer; its node and states are named after it. Numbered by its kind unless given.

    Raises:
        ShapeError: W or b has the wrong shape.
        ValueError: a setting that makes no sense.
        UnsupportedError: padding of more than the reach, which makes more frames than there are.

    >>> difference = undertow.Conv1D(np.reshape([-1.0, 1.0], (2, 1, 1)))          # x_t - x_(t-1)
    >>> undertow.Sequential([difference]).run(np.float32([[1], [4], [9]])).ravel()
    array([1., 3., 5.], dtype=float32)
    """

    def __init__(
        self,
        W: Any,
        b: Any = None,
        *,
        dilation: int = 1,
        stride: int = 1,
        steps: int = 1,
        padding: int | str = "causal",
        groups: int = 1,
        activation: Activation | str | None = None,
        name: str | None = None,
    ) -> None:
        self.name, self.groups, self.dilation = name, int(groups), int(dilation)
        self.stride, self.steps = int(stride), int(steps)
        self.W = numbers(W, f"{self!r}: W")
        if self.W.ndim != 3 or not self.W.size:
            raise ShapeError(f"{self!r}: W has shape {self.W.shape}, expected (window, channels / groups, outputs)")
        window, taken, n_out = self.W.shape
        self.b = None if b is None else vector(b, f"{self!r}: b", n_out)
        self.activation = as_activation(activation)
        if self.groups < 1 or n_out % self.groups:
            raise ValueError(f"{self!r}: groups is {groups}, expected a divisor of {n_out}, the number of outputs")
        for what, given in (("dilation", self.dilation), ("stride", self.stride), ("steps", self.steps)):
            if given < 1:
                raise ValueError(f"{self!r}: {what} is {given}, expected at least 1")
        rows, self.n_in = self.steps * self.stride, taken * self.groups
        self.input_shape = (self.n_in,) if rows == 1 else (rows, self.n_in)
        self.timesteps = (rows, self.steps) if rows > 1 else None
        self.before = _before(window, self.dilation, self.stride, padding, repr(self))

    def add_to(self, graph: Graph, x: str) -> str:
        if graph.shape(x) != self.input_shape:
            raise ShapeError(f"{self!r}: takes frames of shape {self.input_shape}, but {x!r} has {graph.shape(x)}")
        name = node_name(graph, self.name, "conv1d")
        n_out = self.W.shape[2]
        frames, axis = self._frames(graph, x, name)
        y = convolve(graph, frames, self.W, self.b, [axis], name=name, groups=self.groups, activation=self.activation)
        shape = (n_out,) if self.steps == 1 else (self.steps, n_out)
        return str(graph.add("reshape", [y], name=f"{name}_frame", attrs={"shape": shape}))

    def _frames(self, graph: Graph, x: str, name: str) -> tuple[str, Axis]:
        """The timesteps that the windows of one frame lie on, and how the windows do."""
        window, rows = len(self.W), self.steps * self.stride
        if rows == 1:
            taps = tuple(k * self.dilation - self.before for k in range(window))
            return str(graph.add("window", [x], name=f"{name}_window", attrs={"taps": taps})), Axis(window)
        axis = Axis(window, self.stride, self.dilation)
        n = (self.steps - 1) * self.stride + axis.reach  # timesteps from the first one on, which is before this frame
        first = -self.before // rows
        taps = tuple(range(first, (n - 1 - self.before) // rows + 1))
        frames = x if taps == (0,) else graph.add("window", [x], name=f"{name}_window", attrs={"taps": taps})
        places = np.arange(n * self.n_in).reshape(n, self.n_in) + (-self.before - first * rows) * self.n_in
        return gather(graph, frames, places, f"{name}_timesteps"), axis

    @classmethod
    def from_torch(
        cls,
        weights: Any,
        prefix: str = "",
        *,
        dilation: int = 1,
        stride: int = 1,
        steps: int = 1,
        padding: int | str = 0,
        groups: int = 1,
        activation: Activation | str | None = None,
        name: str | None = None,
    ) -> Conv1D:
        """torch.nn.Conv1d over time: `prefix`.weight (outputs, channels / groups, window), `prefix`.bias if there.

        `dilation`, `stride`, `padding` and `groups` are not in the file; say them as in torch, or padding="causal" for
        a layer behind a pad (or before a cut) that makes it so. `weights`, `prefix` and `name` as of `LSTM.from_torch`,
        `steps` and `activation` as of `Conv1D`.

        Raises:
            ShapeError: a tensor is missing, or has another shape.

        >>> undertow.Conv1D.from_torch({"c.weight": np.ones((8, 2, 3)), "c.bias": np.zeros(8)}, "c").input_shape
        (2,)
        """
        from .from_torch import optional, tensor

        return cls(
            np.transpose(tensor(weights, prefix, "weight", 3, cls.__name__), (2, 1, 0)),
            optional(weights, prefix, "bias"),
            dilation=dilation,
            stride=stride,
            steps=steps,
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
        stride: int = 1,
        steps: int = 1,
        padding: str = "valid",
        groups: int = 1,
        activation: Activation | str | None = None,
        name: str | None = None,
    ) -> Conv1D:
        """keras.layers.Conv1D over time: kernel (window, channels / groups, outputs) and bias.

        `weights` and `prefix` as of `LSTM.from_keras`; the others are not in the file, and as of `Conv1D`.

        Raises:
            ShapeError: an array is missing, or has another shape.

        >>> undertow.Conv1D.from_keras([np.ones((3, 2, 8)), np.zeros(8)], padding="causal").input_shape
        (2,)
        """
        from .from_keras import keras_activation, named

        kernel, bias = named(weights, prefix, ("kernel", "bias"), "Conv1D.from_keras", 1)
        return cls(
            kernel,
            bias,
            dilation=dilation,
            stride=stride,
            steps=steps,
            padding=padding,
            groups=groups,
            activation=as_activation(keras_activation(activation, "Conv1D.from_keras")),
            name=name,
        )


def _before(window: int, dilation: int, stride: int, padding: int | str, what: str) -> int:
    """How many timesteps the first tap of output t lies before timestep t * stride."""
    reach = (window - 1) * dilation
    if padding == "causal":
        return reach
    if padding == "same":
        return max(reach + 1 - stride, 0) // 2
    if padding == "valid":
        padding = 0
    if isinstance(padding, str) or not isinstance(padding, (int, np.integer)) or padding < 0:
        raise ValueError(f"{what}: padding is {padding!r}, expected a number, 'causal', 'same' or 'valid'")
    missing = -((2 * int(padding) - reach - 1) // stride) - 1
    if missing < 0:
        raise UnsupportedError(
            f"{what}: padding of {padding} at both ends makes more frames than there are, for the window reaches "
            f"over {reach} others; if what is too many is cut off behind, padding='causal' is that layer"
        )
    return int(padding) + missing * stride
