# SPDX-License-Identifier: MIT
"""A chain of layers as a graph or a model."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import ShapeError
from ..graph import Graph
from ..ir import superframes
from ..model import Model
from .base import Layer, Stack


def build_sequential(
    layers: Iterable[Layer], name: str = "model", input_shape: int | Iterable[int] | None = None
) -> Graph:
    """The graph of `layers` one after the other, with one input "input" and one output "output".

    Args:
        layers: in the order in which a frame passes them.
        name: of the graph, and so of the model.
        input_shape: one frame's shape; needed only when no layer says it (activations alone).

    Raises:
        ShapeError: a layer does not take what the one before it gives; the message names both.

    >>> undertow.build_sequential([undertow.Dense(np.eye(2), name="head")], "small")
    Graph 'small'
      input   input  (2,) float32
      head  dense  input -> head.out  (2,) float32
      output  output = head.out
    """
    stack = Stack(layers)
    shape = stack.input_shape if input_shape is None else input_shape
    if shape is None:
        raise ShapeError(f"{stack!r}: no layer says the shape of its input; give input_shape")
    graph = Graph(name)
    x = graph.input("input", shape, stack.input_dtype)
    graph.output("output", stack.add_to(graph, x))
    graph.origin.contents = graph.origin.taken.copy()
    if stack.timesteps is not None:
        graph.frames_in, graph.frames_out = stack.timesteps
        graph.note(superframes.note(graph))
    return graph


def Sequential(
    layers: Iterable[Layer], name: str = "model", input_shape: int | Iterable[int] | None = None, isa: str | None = None
) -> Model:
    """A model that passes every frame through `layers` one after the other.

    Args:
        layers, name, input_shape: as for `build_sequential`; so are the errors.
        isa: force an instruction set by name, as in `undertow.load`.

    >>> lesson = undertow.Sequential([undertow.RNN([[1.0]], [[1.0]], activation="identity")])  # a sum that remembers
    >>> lesson.run(np.float32([[1], [2], [3]])).ravel()
    array([1., 3., 6.], dtype=float32)
    """
    return Model.from_graph(build_sequential(layers, name, input_shape), isa=isa)
