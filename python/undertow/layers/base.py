# SPDX-License-Identifier: MIT
"""What every layer offers, and the checks they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir.graph import Graph


class Layer:
    """Weights with a meaning, not yet in a graph. `add_to` may be called on several graphs, or twice on one.

    A layer of your own is a class with an `add_to` that does mathematics with values, or calls `Graph.add`; of a
    function, `Cell` makes one.

    >>> class Doubled(undertow.Layer):
    ...     def add_to(self, graph, x):
    ...         return 2 * x
    >>> undertow.Sequential([Doubled()], input_shape=2).run(np.float32([[1, -3]]))
    array([[ 2., -6.]], dtype=float32)
    """

    #: The frame that this layer takes; None when it takes any shape and gives the same one.
    input_shape: tuple[int, ...] | None = None
    input_dtype: str = "float32"
    name: str | None = None
    #: Timesteps of a frame that this layer takes, and of one that it gives, where it strides along time.
    timesteps: tuple[int, int] | None = None
    #: Whether it takes each row of a frame (rows, width) by itself, such as the timesteps of a chunk.
    _takes_rows = False

    def add_to(self, graph: Any, x: str) -> str:
        """Add the layer's nodes and states to a graph.

        Args:
            graph: an `undertow.Graph`, that takes them; it is changed.
            x: the value that they are fed with, such as `Graph.input` gives; its operators make nodes, too.

        Returns: the value that they give.

        Raises:
            ShapeError: `x` has not the shape that the weights need.

        >>> graph = undertow.Graph("twice")
        >>> graph.output("y", Doubled().add_to(graph, graph.input("x", 2)))
        >>> undertow.Model.from_graph(graph).run(np.float32([[1, -3]]))
        array([[ 2., -6.]], dtype=float32)
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})" if self.name else f"{type(self).__name__}()"


class Stack(Layer):
    """Layers one after the other, as one layer.

    Args:
        layers: in the order in which a frame passes them.
        name: of the whole, for messages; each layer has its own.

    Raises:
        TypeError, ValueError: something is not a layer, or there is none.

    >>> undertow.Stack([undertow.Dense(np.eye(3)), undertow.Activate("relu")])
    Stack([Dense(3 -> 3), Activate('relu')])
    """

    def __init__(self, layers: Iterable[Layer], name: str | None = None) -> None:
        self.layers = check_layers(layers)
        self.name = name

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @property
    def input_shape(self) -> tuple[int, ...] | None:  # type: ignore[override]
        """The frame that the first of them takes which says so; None where none does.

        >>> undertow.Stack([undertow.Activate("relu"), undertow.Dense(np.eye(3))]).input_shape
        (3,)
        """
        # A layer without a shape of its own passes the shape on, so the next one's holds for it.
        return next((layer.input_shape for layer in self.layers if layer.input_shape is not None), None)

    @property
    def input_dtype(self) -> str:  # type: ignore[override]
        """ "float32", or "int32" where the first layer takes ids.

        >>> undertow.Stack([undertow.Embedding(np.eye(5)), undertow.Dense(np.eye(5))]).input_dtype
        'int32'
        """
        return self.layers[0].input_dtype

    @property
    def timesteps(self) -> tuple[int, int] | None:  # type: ignore[override]
        """Timesteps of a frame that they take and of one that they give; None where they do not stride along time.

        >>> undertow.Stack([undertow.Conv1D(np.ones((4, 1, 2)), stride=2)]).timesteps
        (2, 1)
        """
        timesteps = [layer.timesteps for layer in self.layers if layer.timesteps is not None]
        return (timesteps[0][0], timesteps[-1][1]) if timesteps else None

    def add_to(self, graph: Graph, x: str) -> str:
        for i, layer in enumerate(self.layers):
            shape = graph.shape(x)
            taken = shape[-1:] if layer._takes_rows else shape
            if layer.input_shape not in (None, taken, ()):
                before = f"layer {i - 1} ({self.layers[i - 1]!r}) gives" if i else "the input has"
                raise ShapeError(
                    f"layer {i} ({layer!r}) takes frames of shape {layer.input_shape}, but {before} {shape}"
                )
            graph.origin.take(type(layer).__name__)
            x = layer.add_to(graph, x)
        graph.origin.leave()
        return x

    def __repr__(self) -> str:
        return f"{type(self).__name__}([{', '.join(map(repr, self.layers))}])"


def check_layers(layers: Iterable[Layer]) -> list[Layer]:
    """A non-empty list of `Layer`; TypeError naming the first thing that is not one."""
    layers = list(layers)
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(
                f"layer {i} is a {type(layer).__module__}.{type(layer).__name__}, expected an undertow layer such as "
                "undertow.LSTM.from_torch(weights, prefix)"
            )
    if not layers:
        raise ValueError("a sequence of layers needs at least one layer")
    return layers


def node_name(graph: Graph, given: str | None, kind: str) -> str:
    """A name that no node has: `given` made unique, else kind_1, kind_2 ..."""
    if given:
        return graph.unique_name(given)
    n = 1
    while graph.unique_name(f"{kind}_{n}") != f"{kind}_{n}":
        n += 1
    return f"{kind}_{n}"


def numbers(value: Any, what: str) -> np.ndarray:
    """`value` as a float64 array; TypeError when it does not hold real numbers."""
    if hasattr(value, "detach"):  # a torch tensor, perhaps one that requires a gradient
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise TypeError(f"{what}: not an array of numbers: {error}") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what} has dtype {array.dtype}, expected real numbers")
    return array.astype(np.float64)


def vector(value: Any, what: str, n: int) -> np.ndarray:
    """`value` as n numbers; axes of length 1 are dropped."""
    array = numbers(value, what)
    if array.size != n or array.squeeze().ndim > 1:
        raise ShapeError(f"{what} has shape {array.shape}, expected ({n},)")
    return array.reshape(n)
