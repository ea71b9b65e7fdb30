# SPDX-License-Identifier: MIT
"""Layers over the axes of one frame: convolution, pooling, and what moves axes. Time is none of these axes.

Frames are (*axes, channels) as in Keras, or with ``channels_first=True`` (channels, *axes) as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, TypeVar

import numpy as np

from ..errors import ShapeError
from ..ir.activations import Activation, as_activation
from ..ir.graph import Graph
from ..ir.grids import Axis, convolve, gather, pool
from .base import Layer, node_name, numbers, vector

_Self = TypeVar("_Self", bound="_FrameConv")
Sizes = int | Sequence[int]


def _each(value: Sizes, rank: int, what: str, least: int = 1) -> tuple[int, ...]:
    """One number per axis."""
    values = (value,) * rank if isinstance(value, (int, np.integer)) else tuple(value)
    if len(values) != rank or not all(isinstance(n, (int, np.integer)) and n >= least for n in values):
        raise ValueError(f"{what} is {value!r}, expected {rank} whole number{'s' * (rank > 1)} of at least {least}")
    return tuple(int(n) for n in values)


def _axes(
    grid: tuple[int, ...], size: Sizes, stride: Sizes, dilation: Sizes, padding: Sizes | str, what: str
) -> list[Axis]:
    rank = len(grid)
    sizes, strides = _each(size, rank, f"{what}: size"), _each(stride, rank, f"{what}: stride")
    dilations = _each(dilation, rank, f"{what}: dilation")
    if isinstance(padding, str):
        if padding not in ("valid", "same"):
            raise ValueError(f"{what}: padding is {padding!r}, expected a number, 'valid' or 'same'")
        axes = [Axis(k, s, d) for k, s, d in zip(sizes, strides, dilations, strict=True)]
        return [axis.same(n) for axis, n in zip(axes, grid, strict=True)] if padding == "same" else axes
    pads = _each(padding, rank, f"{what}: padding", least=0)
    return [Axis(k, s, d, p, p) for k, s, d, p in zip(sizes, strides, dilations, pads, strict=True)]


class _OverAxes(Layer):
    """What convolution and pooling share: `rank` axes beside the channels, which stand first or last."""

    rank = 1
    channels_first = False

    def _channels_last(self, graph: Graph, x: str, name: str) -> str:
        shape = graph.shape(x)
        if len(shape) != self.rank + 1:
            order = "(channels, *axes)" if self.channels_first else "(*axes, channels)"
            raise ShapeError(f"{self!r}: takes frames of {self.rank + 1} axes, {order}; {x!r} has shape {shape}")
        if not self.channels_first:
            return x
        order_ = np.moveaxis(np.arange(prod(shape)).reshape(shape), 0, -1)
        return gather(graph, x, order_, f"{name}_in")

    def _as_given(self, graph: Graph, y: str, name: str) -> str:
        if not self.channels_first:
            return y
        shape = graph.shape(y)
        order = np.moveaxis(np.arange(prod(shape)).reshape(shape), -1, 0)
        return gather(graph, y, order, f"{name}_out")


class _FrameConv(_OverAxes):
    """A convolution over the axes of a frame; see `FrameConv1D`."""

    def __init__(
        self,
        W: Any,
        b: Any = None,
        *,
        stride: Sizes = 1,
        dilation: Sizes = 1,
        padding: Sizes | str = 0,
        groups: int = 1,
        activation: Activation | str | None = None,
        channels_first: bool = False,
        name: str | None = None,
    ) -> None:
        self.name, self.channels_first, self.groups = name, bool(channels_first), int(groups)
        what = type(self).__name__
        self.W = numbers(W, f"{what}: W")
        if self.W.ndim != self.rank + 2 or not self.W.size:
            raise ShapeError(f"{what}: W has shape {self.W.shape}, expected {self.rank} axes, then channels, outputs")
        self.b = None if b is None else vector(b, f"{what}: b", self.W.shape[-1])
        self.activation = as_activation(activation)
        self.stride, self.dilation, self.padding = stride, dilation, padding
        _axes(self.W.shape[: self.rank], self.W.shape[: self.rank], stride, dilation, padding, what)  # settings alone

    def add_to(self, graph: Graph, x: str) -> str:
        name = node_name(graph, self.name, f"conv{self.rank}d")
        value = self._channels_last(graph, x, name)
        grid = graph.shape(value)[:-1]
        axes = _axes(grid, self.W.shape[: self.rank], self.stride, self.dilation, self.padding, repr(self))
        y = convolve(graph, value, self.W, self.b, axes, name=name, groups=self.groups, activation=self.activation)
        return self._as_given(graph, y, name)

    @classmethod
    def from_torch(
        cls: type[_Self],
        weights: Any,
        prefix: str = "",
        *,
        stride: Sizes = 1,
        dilation: Sizes = 1,
        padding: Sizes | str = 0,
        groups: int = 1,
        activation: Activation | str | None = None,
        name: str | None = None,
    ) -> _Self:
        """torch.nn.Conv1d or Conv2d: `prefix`.weight (outputs, channels / groups, *window), `prefix`.bias if there.

        Frames are (channels, *axes). `stride`, `dilation`, `padding` and `groups` are not in the file; say them as in
        torch. `weights`, `prefix` and `name` as of `LSTM.from_torch`, `activation` as of `FrameConv1D`.

        Raises:
            ShapeError: a tensor is missing, or has another shape.

        >>> undertow.FrameConv2D.from_torch({"c.weight": np.ones((8, 1, 3, 3))}, "c")
        FrameConv2D 'c'(1 -> 8, window [3, 3])
        """
        from .from_torch import optional, tensor

        W = tensor(weights, prefix, "weight", cls.rank + 2, cls.__name__)
        return cls(
            np.moveaxis(W, (0, 1), (-1, -2)),
            optional(weights, prefix, "bias"),
            stride=stride,
            dilation=dilation,
            padding=padding,
            groups=groups,
            activation=activation,
            channels_first=True,
            name=name or prefix or None,
        )

    @classmethod
    def from_keras(
        cls: type[_Self],
        weights: Any,
        prefix: str | None = None,
        *,
        stride: Sizes = 1,
        dilation: Sizes = 1,
        padding: Sizes | str = "valid",
        groups: int = 1,
        activation: Activation | str | None = None,
        name: str | None = None,
    ) -> _Self:
        """keras.layers.Conv1D or Conv2D: kernel (*window, channels / groups, outputs) and bias.

        Frames are (*axes, channels). `weights` and `prefix` as of `LSTM.from_keras`; the others are not in the file,
        and as of `FrameConv1D`.

        Raises:
            ShapeError: an array is missing, or has another shape.

        >>> undertow.FrameConv2D.from_keras([np.ones((3, 3, 1, 8)), np.zeros(8)])
        FrameConv2D(1 -> 8, window [3, 3])
        """
        from .from_keras import keras_activation, named

        who = f"{cls.__name__}.from_keras"
        kernel, bias = named(weights, prefix, ("kernel", "bias"), who, 1)
        return cls(
            kernel,
            bias,
            stride=stride,
            dilation=dilation,
            padding=padding,
            groups=groups,
            activation=as_activation(keras_activation(activation, who)),
            name=name,
        )

    def __repr__(self) -> str:
        if not hasattr(self, "W"):
            return super().__repr__()
        *kernel, taken, given = self.W.shape
        return f"{type(self).__name__}{f' {self.name!r}' if self.name else ''}({taken} -> {given}, window {kernel})"


class FrameConv1D(_FrameConv):
    """A convolution along one axis inside a frame, such as frequency.

    y[i, m] = activation(b[m] + sum over k, c of W[k, c, m] x[i * stride + k * dilation - padding, c])

    Args:
        W: (window, channels / groups, outputs).
        b: (outputs,), or None.
        stride, dilation: whole numbers (for FrameConv2D also one per axis).
        padding: zeros at both ends: a number, "valid" (none), or "same" (as many outputs as inputs / stride, with the
            odd zero behind, as in Keras).
        groups: outputs of a group see the channels of that group alone.
        activation: a kind of `Activation`, or one; None for none.
        channels_first: frames are (channels, n) instead of (n, channels).
        name: of the layer; its node and states are named after it. Numbered by its kind unless given.

    Raises:
        ShapeError, TypeError, ValueError: an array or a setting that does not fit.

    >>> smooth = undertow.FrameConv1D(np.full((3, 1, 1), 1 / 3), padding="same")
    >>> undertow.Sequential([smooth], input_shape=(4, 1)).run(np.float32([[[3], [0], [0], [3]]])).ravel()
    array([1., 1., 1., 1.], dtype=float32)
    """

    rank = 1


class FrameConv2D(_FrameConv):
    """A convolution along two axes inside a frame.

    Args:
        W: (rows, columns, channels / groups, outputs).
        b, stride, dilation, padding, groups, activation, channels_first, name: as for `FrameConv1D`; so are the errors.

    >>> undertow.FrameConv2D(np.ones((3, 3, 1, 8)), padding="same")
    FrameConv2D(1 -> 8, window [3, 3])
    """

    rank = 2


class _FramePool(_OverAxes):
    kind = ""

    def __init__(
        self,
        size: Sizes,
        *,
        stride: Sizes | None = None,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        count_padding: bool | None = None,
        channels_first: bool = False,
        rank: int | None = None,
        name: str | None = None,
    ) -> None:
        self.rank = int(rank) if rank is not None else (1 if isinstance(size, (int, np.integer)) else len(size))
        self.name, self.channels_first = name, bool(channels_first)
        self.size, self.stride = size, size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.count_padding = self.channels_first if count_padding is None else bool(count_padding)
        _axes((1 << 20,) * self.rank, size, self.stride, dilation, padding, type(self).__name__)

    def add_to(self, graph: Graph, x: str) -> str:
        name = node_name(graph, self.name, f"{self.kind}_pool")
        value = self._channels_last(graph, x, name)
        axes = _axes(graph.shape(value)[:-1], self.size, self.stride, self.dilation, self.padding, repr(self))
        y = pool(graph, value, self.kind, axes, name=name, count_padding=self.count_padding)
        return self._as_given(graph, y, name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size})"


class FrameMaxPool(_FramePool):
    """The maximum of every window over the axes of a frame.

    Args:
        size: a number for one axis, or one number per axis.
        stride: from window to window; `size` unless given.
        padding, dilation, channels_first, name: as for `FrameConv1D`. Padding never is the maximum.
        rank: how many axes there are, for a `size` given as one number.
        count_padding: of averages alone.

    >>> halved = undertow.Sequential([undertow.FrameMaxPool(2)], input_shape=(4, 1))
    >>> halved.run(np.float32([[[1], [5], [2], [3]]])).ravel()
    array([5., 3.], dtype=float32)
    """

    kind = "max"


class FrameAveragePool(_FramePool):
    """The mean of every window over the axes of a frame.

    Args:
        size, stride, padding, dilation, channels_first, rank, name: as for `FrameMaxPool`.
        count_padding: divide by the size of the window in the padding too. Unless given, as the framework of this
            layout does: torch (channels first) counts it, Keras does not.

    >>> halved = undertow.Sequential([undertow.FrameAveragePool(2)], input_shape=(4, 1))
    >>> halved.run(np.float32([[[1], [5], [2], [3]]])).ravel()
    array([3. , 2.5], dtype=float32)
    """

    kind = "average"


class BatchNorm(Layer):
    """(x - mean) / sqrt(variance + eps) * scale + shift with stored statistics, one of each per channel.

    Args:
        mean, variance, scale, shift: (channels,); scale and shift may be None.
        eps: 1e-5 is PyTorch's default, 1e-3 Keras's.
        channels_first: the channels are the first axis of a frame instead of the last one.
        name: of the layer; its node and states are named after it. Numbered by its kind unless given.

    >>> undertow.BatchNorm(mean=[0, 1], variance=[1, 4], name="norm")
    BatchNorm 'norm'(2 channels)
    """

    def __init__(
        self,
        mean: Any,
        variance: Any,
        scale: Any = None,
        shift: Any = None,
        *,
        eps: float = 1e-5,
        channels_first: bool = False,
        name: str | None = None,
    ) -> None:
        self.name, self.channels_first = name, bool(channels_first)
        mean = numbers(mean, "BatchNorm: mean")
        n = mean.size
        mean, variance = vector(mean, "BatchNorm: mean", n), vector(variance, "BatchNorm: variance", n)
        self.scale = 1 / np.sqrt(variance + float(eps))
        if scale is not None:
            self.scale = self.scale * vector(scale, "BatchNorm: scale", n)
        self.shift = -mean * self.scale
        if shift is not None:
            self.shift = self.shift + vector(shift, "BatchNorm: shift", n)

    def add_to(self, graph: Graph, x: str) -> str:
        shape = graph.shape(x)
        axis = 0 if self.channels_first else -1
        if not shape or shape[axis] != self.scale.size:
            raise ShapeError(f"{self!r}: {x!r} has shape {shape}, expected {self.scale.size} channels on axis {axis}")
        along = (-1, *[1] * (len(shape) - 1)) if self.channels_first else (-1,)
        arrays = {
            key: np.broadcast_to(a.reshape(along), shape) for key, a in (("scale", self.scale), ("shift", self.shift))
        }
        y: str = graph.add("affine", [x], name=node_name(graph, self.name, "batch_norm"), weights=arrays)
        return y

    @classmethod
    def from_torch(cls, weights: Any, prefix: str = "", *, eps: float = 1e-5, name: str | None = None) -> BatchNorm:
        """torch.nn.BatchNorm1d or 2d over (channels, *axes): running_mean, running_var, weight and bias if affine.

        Arguments as of `LSTM.from_torch`; `eps`, which is not in the file, as of `BatchNorm`.

        >>> w = {"norm.running_mean": np.zeros(2), "norm.running_var": np.ones(2)}
        >>> undertow.BatchNorm.from_torch(w, "norm")
        BatchNorm 'norm'(2 channels)
        """
        from .from_torch import optional, tensor

        mean, variance = (tensor(weights, prefix, key, 1, "BatchNorm") for key in ("running_mean", "running_var"))
        affine = [optional(weights, prefix, key) for key in ("weight", "bias")]
        return cls(mean, variance, *affine, eps=eps, channels_first=True, name=name or prefix or None)

    @classmethod
    def from_keras(
        cls, weights: Any, prefix: str | None = None, *, eps: float = 1e-3, name: str | None = None
    ) -> BatchNorm:
        """keras.layers.BatchNormalization over the last axis, with center and scale: gamma, beta, mean, variance.

        Arguments as of `LSTM.from_keras`; `eps`, which is not in the file, as of `BatchNorm`.

        >>> undertow.BatchNorm.from_keras([np.ones(2), np.zeros(2), np.zeros(2), np.ones(2)])
        BatchNorm(2 channels)
        """
        from .from_keras import named

        names = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = named(weights, prefix, names, "BatchNorm.from_keras")
        return cls(mean, variance, gamma, beta, eps=eps, name=name)

    def __repr__(self) -> str:
        return f"BatchNorm{f' {self.name!r}' if self.name else ''}({self.scale.size} channels)"


class Reshape(Layer):
    """The same elements in another shape.

    Args:
        shape: of the frame that it gives; -1 stands for what is left.
        name: of the layer; its node and states are named after it. Numbered by its kind unless given.

    >>> Reshape((-1, 2))
    Reshape((-1, 2))
    """

    def __init__(self, shape: int | Iterable[int], *, name: str | None = None) -> None:
        self.shape = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(int(n) for n in shape)
        self.name = name
        if self.shape.count(-1) > 1 or any(n < 1 and n != -1 for n in self.shape):
            raise ValueError(f"Reshape: shape is {self.shape}, expected sizes of at least 1 and at most one -1")

    def add_to(self, graph: Graph, x: str) -> str:
        size, known = graph.values[x].size, prod(n for n in self.shape if n != -1)
        shape = tuple(size // known if n == -1 else n for n in self.shape)
        if prod(shape) != size:
            raise ShapeError(f"{self!r}: {x!r} has shape {graph.shape(x)}, which is {size} elements")
        y: str = graph.add("reshape", [x], name=node_name(graph, self.name, "reshape"), attrs={"shape": shape})
        return y

    def __repr__(self) -> str:
        return f"Reshape({self.shape})"


class Flatten(Reshape):
    """All elements of a frame on one axis, the last one fastest.

    Args:
        name: of the layer; its node and states are named after it. Numbered by its kind unless given.

    >>> undertow.Sequential([undertow.Flatten()], input_shape=(2, 3)).outputs["output"].shape
    (6,)
    """

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__((-1,), name=name)

    def __repr__(self) -> str:
        return "Flatten()"


class Permute(Layer):
    """The axes of a frame in another order.

    Args:
        axes: for each axis of what is given, which one of the input it is, counted from 0.
        name: of the layer; its node and states are named after it. Numbered by its kind unless given.

    >>> undertow.Sequential([undertow.Permute((1, 0))], input_shape=(2, 3)).outputs["output"].shape
    (3, 2)
    """

    def __init__(self, axes: Sequence[int], *, name: str | None = None) -> None:
        self.axes, self.name = tuple(int(a) for a in axes), name
        if sorted(self.axes) != list(range(len(self.axes))):
            raise ValueError(f"Permute: axes are {self.axes}, expected each of 0 to {len(self.axes) - 1} once")

    def add_to(self, graph: Graph, x: str) -> str:
        shape = graph.shape(x)
        if len(shape) != len(self.axes):
            raise ShapeError(f"{self!r}: {x!r} has shape {shape}, expected {len(self.axes)} axes")
        order = np.arange(prod(shape)).reshape(shape).transpose(self.axes)
        return gather(graph, x, order, node_name(graph, self.name, "permute"))

    def __repr__(self) -> str:
        return f"Permute({self.axes})"
