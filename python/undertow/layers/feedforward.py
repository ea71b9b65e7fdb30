# SPDX-License-Identifier: MIT
"""The layers that stand beside recurrent ones: dense, embedding, activations, normalisation, residual."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir.activations import Activation, as_activation
from ..ir.graph import Graph
from .base import Layer, Stack, node_name, numbers, vector

#: Names that `Dense` and `Activate` take besides those of `activations.KINDS`: ops over a whole frame.
_FRAME_ACTIVATIONS = ("softmax", "log_softmax")


def _activate(graph: Graph, x: str, activation: Activation | str, name: str) -> str:
    if isinstance(activation, str):
        return graph.add(activation, [x], name=name)
    return graph.add("activation", [x], name=name, attrs={"activation": activation})


def _parse(activation: Activation | str | None) -> Activation | str:
    if isinstance(activation, str) and activation in _FRAME_ACTIVATIONS:
        return activation
    return as_activation(activation)


class Dense(Layer):
    """y = activation(W x + b).

    Args:
        W: (outputs, inputs).
        b: (outputs,), or None.
        activation: "relu", "tanh" ... (the kinds of `Activation`), an `Activation`, "softmax", "log_softmax"; or None.
        name: of the layer; its node and states are named after it. Numbered by its kind unless given.

    Raises:
        ShapeError, TypeError: W or b has another shape, or holds no numbers.
        UnsupportedError: an activation of this name does not exist.

    >>> head = undertow.Dense([[1.0, -1.0]], b=[0.5], activation="relu", name="head")
    >>> undertow.Sequential([head]).run(np.float32([[2, 1], [0, 3]]))
    array([[1.5],
           [0. ]], dtype=float32)
    """

    _takes_rows = True

    def __init__(
        self, W: Any, b: Any = None, *, activation: Activation | str | None = None, name: str | None = None
    ) -> None:
        self.name = name
        self.W = numbers(W, f"{self!r}: W")
        if self.W.ndim != 2 or not self.W.size:
            raise ShapeError(f"{self!r}: W has shape {self.W.shape}, expected (outputs, inputs)")
        self.b = None if b is None else vector(b, f"{self!r}: b", self.W.shape[0])
        self.activation = _parse(activation)
        self.input_shape = (self.W.shape[1],)

    def add_to(self, graph: Graph, x: str) -> str:
        name = node_name(graph, self.name, "dense")
        attrs = {} if isinstance(self.activation, str) else {"activation": self.activation}
        weights = {"W": self.W} if self.b is None else {"W": self.W, "b": self.b}
        y: str = graph.add("dense", [x], name=name, attrs=attrs, weights=weights)
        return (
            _activate(graph, y, self.activation, f"{name}_{self.activation}") if isinstance(self.activation, str) else y
        )

    @classmethod
    def from_torch(
        cls, weights: Any, prefix: str = "", *, activation: Activation | str | None = None, name: str | None = None
    ) -> Dense:
        """torch.nn.Linear: `prefix`.weight (outputs, inputs) and, when it is there, `prefix`.bias.

        Arguments and errors as of `LSTM.from_torch`; `activation` as of `Dense`.

        >>> undertow.Dense.from_torch({"head.weight": np.ones((2, 16)), "head.bias": np.zeros(2)}, "head")
        Dense 'head'(16 -> 2)
        """
        from .from_torch import dense

        return dense(cls, weights, prefix, activation, name)

    @classmethod
    def from_keras(
        cls,
        weights: Any,
        prefix: str | None = None,
        *,
        activation: Activation | str | None = None,
        name: str | None = None,
    ) -> Dense:
        """keras.layers.Dense: kernel (inputs, outputs), bias. Arguments as of `LSTM.from_keras`.

        >>> undertow.Dense.from_keras([np.ones((16, 2)), np.zeros(2)], activation="softmax")
        Dense(16 -> 2)
        """
        from .from_keras import dense

        return dense(cls, weights, prefix, activation, name)

    @classmethod
    def from_tf(
        cls,
        weights: Any,
        prefix: str | None = None,
        *,
        activation: Activation | str | None = None,
        name: str | None = None,
    ) -> Dense:
        """A TensorFlow projection [inputs, outputs] with its bias: a list of the two, or kernel and bias in a dict.

        Arguments as of `LSTM.from_tf`; `activation` and `name` as of `Dense`.

        >>> undertow.Dense.from_tf([np.ones((16, 2)), np.zeros(2)])
        Dense(16 -> 2)
        """
        from .from_tf import dense

        return dense(cls, weights, prefix, activation, name)

    def __repr__(self) -> str:
        size = f"({self.W.shape[1]} -> {self.W.shape[0]})" if hasattr(self, "b") else ""
        return f"Dense{f' {self.name!r}' if self.name else ''}{size}"


class Embedding(Layer):
    """Row `id` of a table; the input is one int32 id per timestep, below the number of rows.

    Args:
        table: (ids, width).
        name: of the layer; its node and states are named after it. Numbered by its kind unless given.

    >>> letters = undertow.Embedding(np.arange(6).reshape(3, 2))
    >>> undertow.Sequential([letters]).run(np.int32([2, 0]))
    array([[4., 5.],
           [0., 1.]], dtype=float32)
    """

    input_dtype = "int32"
    input_shape = ()

    def __init__(self, table: Any, *, name: str | None = None) -> None:
        self.name = name
        self.table = numbers(table, f"{self!r}: table")
        if self.table.ndim != 2 or not self.table.size:
            raise ShapeError(f"{self!r}: table has shape {self.table.shape}, expected (ids, width)")

    def add_to(self, graph: Graph, x: str) -> str:
        y: str = graph.add(
            "embedding", [x], name=node_name(graph, self.name, "embedding"), weights={"table": self.table}
        )
        return y

    @classmethod
    def from_torch(cls, weights: Any, prefix: str = "", *, name: str | None = None) -> Embedding:
        """torch.nn.Embedding: `prefix`.weight (ids, width). Arguments as of `LSTM.from_torch`.

        >>> undertow.Embedding.from_torch({"letters.weight": np.ones((5, 2))}, "letters").input_dtype
        'int32'
        """
        from .from_torch import tensor

        return cls(tensor(weights, prefix, "weight", 2, "Embedding"), name=name or prefix or None)

    @classmethod
    def from_keras(cls, weights: Any, prefix: str | None = None, *, name: str | None = None) -> Embedding:
        """keras.layers.Embedding: embeddings (ids, width). Arguments as of `LSTM.from_keras`.

        >>> undertow.Embedding.from_keras([np.ones((5, 2))]).input_dtype
        'int32'
        """
        from .from_keras import named

        (table,) = named(weights, prefix, ("embeddings",), "Embedding.from_keras")
        return cls(table, name=name)


class Activate(Layer):
    """An activation by itself.

    Args:
        activation: as for `Dense`.
        name: of the layer; its node and states are named after it. Numbered by its kind unless given.

    >>> undertow.Activate(undertow.Activation("leaky_relu", 0.2))
    Activate('leaky_relu, 0.2')
    """

    def __init__(self, activation: Activation | str, *, name: str | None = None) -> None:
        self.activation, self.name = _parse(activation), name

    def add_to(self, graph: Graph, x: str) -> str:
        kind = self.activation if isinstance(self.activation, str) else self.activation.kind
        return _activate(graph, x, self.activation, node_name(graph, self.name, kind))

    def __repr__(self) -> str:
        return f"Activate({str(self.activation)!r})"


class Softmax(Activate):
    """exp(x) / sum(exp(x)) over the last axis of a frame.

    Args:
        name: of the layer; its node and states are named after it. Numbered by its kind unless given.

    >>> undertow.Sequential([undertow.Softmax()], input_shape=3).run(np.float32([[1, 1, 1]])).round(3)
    array([[0.333, 0.333, 0.333]], dtype=float32)
    """

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__("softmax", name=name)


class LogSoftmax(Activate):
    """The logarithm of a softmax over the last axis of a frame.

    Args:
        name: of the layer; its node and states are named after it. Numbered by its kind unless given.

    >>> undertow.Sequential([undertow.LogSoftmax()], input_shape=2).run(np.float32([[0, 0]])).round(4)
    array([[-0.6931, -0.6931]], dtype=float32)
    """

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__("log_softmax", name=name)


class LayerNorm(Layer):
    """(x - mean) / sqrt(variance + eps) * scale + shift over the last axis.

    Args:
        scale, shift: (n,) each, or None.
        eps: 1e-5 is PyTorch's default, 1e-3 Keras's.
        name: of the layer; its node and states are named after it. Numbered by its kind unless given.

    >>> norm = undertow.LayerNorm(scale=[1, 1], shift=[0, 10])
    >>> undertow.Sequential([norm], input_shape=2).run(np.float32([[1, 3]])).round(3)
    array([[-1., 11.]], dtype=float32)
    """

    def __init__(self, scale: Any = None, shift: Any = None, *, eps: float = 1e-5, name: str | None = None) -> None:
        self.name, self.eps = name, float(eps)
        self.weights = {}
        for key, value in (("scale", scale), ("shift", shift)):
            if value is not None:
                array = numbers(value, f"LayerNorm: {key}")
                self.weights[key] = vector(array, f"LayerNorm: {key}", array.size)

    def add_to(self, graph: Graph, x: str) -> str:
        name = node_name(graph, self.name, "layer_norm")
        y: str = graph.add("layer_norm", [x], name=name, attrs={"eps": self.eps}, weights=self.weights)
        return y

    @classmethod
    def from_torch(cls, weights: Any, prefix: str = "", *, eps: float = 1e-5, name: str | None = None) -> LayerNorm:
        """torch.nn.LayerNorm over one axis: `prefix`.weight and, when it is there, `prefix`.bias.

        Arguments as of `LSTM.from_torch`; `eps`, which is not in the file, as of `LayerNorm`.

        >>> undertow.LayerNorm.from_torch({"norm.weight": np.ones(2), "norm.bias": np.zeros(2)}, "norm")
        LayerNorm('norm')
        """
        from .from_torch import optional, tensor

        scale = tensor(weights, prefix, "weight", 1, "LayerNorm")
        return cls(scale, optional(weights, prefix, "bias"), eps=eps, name=name or prefix or None)

    @classmethod
    def from_keras(
        cls, weights: Any, prefix: str | None = None, *, eps: float = 1e-3, name: str | None = None
    ) -> LayerNorm:
        """keras.layers.LayerNormalization over the last axis, with center and scale: gamma, beta.

        Arguments as of `LSTM.from_keras`; `eps`, which is not in the file, as of `LayerNorm`.

        >>> undertow.LayerNorm.from_keras([np.ones(2), np.zeros(2)], name="norm")
        LayerNorm('norm')
        """
        from .from_keras import named

        gamma, beta = named(weights, prefix, ("gamma", "beta"), "LayerNorm.from_keras")
        return cls(gamma, beta, eps=eps, name=name)


class ScaleShift(Layer):
    """y = x * scale + shift, elementwise: input scaling, or a batch norm folded into two vectors.

    Args:
        scale, shift: numbers, or arrays of the frame's shape.
        name: of the layer; its node and states are named after it. Numbered by its kind unless given.

    >>> undertow.Sequential([undertow.ScaleShift(0.5, [0, 1])]).run(np.float32([[2, 2]]))
    array([[1., 2.]], dtype=float32)
    """

    def __init__(self, scale: Any = 1.0, shift: Any = 0.0, *, name: str | None = None) -> None:
        self.name = name
        scale, shift = numbers(scale, "ScaleShift: scale"), numbers(shift, "ScaleShift: shift")
        try:
            shape = np.broadcast_shapes(scale.shape, shift.shape)
        except ValueError as error:
            raise ShapeError(f"ScaleShift: scale has shape {scale.shape} and shift {shift.shape}") from error
        self.scale, self.shift = scale, shift
        # One number stands for every element, so only larger ones say the shape of a frame.
        self.input_shape = shape if int(np.prod(shape)) > 1 else None

    def add_to(self, graph: Graph, x: str) -> str:
        shape = graph.shape(x)
        arrays = {}
        for key, value in (("scale", self.scale), ("shift", self.shift)):
            if value.size != 1 and value.shape != shape:
                raise ShapeError(f"ScaleShift: {key} has shape {value.shape}, but the input {x!r} {shape}")
            arrays[key] = np.full(shape, value.item()) if value.size == 1 else value
        y: str = graph.add("affine", [x], name=node_name(graph, self.name, "scale_shift"), weights=arrays)
        return y

    @classmethod
    def from_torch_batch_norm(
        cls, weights: Any, prefix: str = "", *, eps: float = 1e-5, name: str | None = None
    ) -> ScaleShift:
        """torch.nn.BatchNorm1d as it is in inference: running_mean, running_var and, if affine, weight and bias.

        Arguments as of `LSTM.from_torch`; `eps`, which is not in the file, as of `BatchNorm`.

        >>> w = {"norm.running_mean": np.ones(2), "norm.running_var": np.ones(2)}
        >>> undertow.ScaleShift.from_torch_batch_norm(w, "norm")
        ScaleShift((2,))
        """
        from .from_torch import batch_norm

        scale, shift = batch_norm(weights, prefix, eps)
        return cls(scale, shift, name=name or prefix or None)

    def __repr__(self) -> str:
        return f"ScaleShift({'any shape' if self.input_shape is None else self.input_shape})"


class Residual(Stack):
    """y = x + f(x), where f is the layers one after the other and keeps the shape.

    Args:
        layers: one, or several in their order.
        name: of the sum; "residual" with a number unless given.

    Raises:
        ShapeError: when it is added to a graph, where f changes the shape.

    >>> undertow.Sequential([undertow.Residual(undertow.Dense([[2.0]]))]).run(np.float32([[1]]))
    array([[3.]], dtype=float32)
    """

    def __init__(self, layers: Iterable[Layer] | Layer, name: str | None = None) -> None:
        super().__init__([layers] if isinstance(layers, Layer) else layers, name)

    def add_to(self, graph: Graph, x: str) -> str:
        y = super().add_to(graph, x)
        if graph.shape(y) != graph.shape(x):
            raise ShapeError(
                f"{self!r}: gives frames of shape {graph.shape(y)} for {graph.shape(x)}; both must be equal to be added"
            )
        total: str = graph.add("add", [x, y], name=node_name(graph, self.name, "residual"))
        return total
