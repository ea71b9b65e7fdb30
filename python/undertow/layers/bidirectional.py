# SPDX-License-Identifier: MIT
"""Two recurrent layers over the same input, one per direction of time."""

from __future__ import annotations

from ..errors import ShapeError, UnsupportedError
from ..ir.activations import Activation
from ..ir.graph import Graph
from .base import Layer, node_name
from .recurrent import Cell

_MERGES = ("concat", "sum", "mul", "ave")


class Bidirectional(Layer):
    """One layer forwards and one backwards over the same input; legal in `Model.run`, not in a stream.

    Args:
        forward, backward: two cells of equal input; `backward` must have been made with ``reverse=True``.
        merge: "concat" (forward first), "sum", "mul" or "ave".
        name: of the merge; each cell has its own.

    Raises:
        TypeError, ValueError, ShapeError, UnsupportedError: the two do not go together, or `merge` is none of these.

    >>> ways = [undertow.RNN([[1.0]], [[1.0]], activation="identity", reverse=reverse) for reverse in (False, True)]
    >>> undertow.Sequential([undertow.Bidirectional(*ways)]).run(np.float32([[1], [2], [3]]))
    array([[1., 6.],
           [3., 5.],
           [6., 3.]], dtype=float32)
    """

    def __init__(self, forward: Layer, backward: Layer, merge: str = "concat", name: str | None = None) -> None:
        self.name = name
        if not isinstance(forward, Cell) or not isinstance(backward, Cell):
            raise TypeError(f"Bidirectional takes two of RNN, GRU, LSTM, got {forward!r} and {backward!r}")
        if forward.reverse or not backward.reverse:
            raise ValueError("Bidirectional: the first layer must run forwards and the second have reverse=True")
        if forward.input_shape != backward.input_shape:
            raise ShapeError(f"Bidirectional: the inputs differ: {forward.input_shape} and {backward.input_shape}")
        if forward.return_sequences != backward.return_sequences:
            raise ValueError("Bidirectional: both layers must have the same return_sequences")
        if merge not in _MERGES:
            raise UnsupportedError(f"Bidirectional: merge {merge!r} is not supported; supported: {', '.join(_MERGES)}")
        if merge != "concat" and forward.output_size != backward.output_size:
            raise ShapeError(
                f"Bidirectional: merge {merge!r} needs equal widths, "
                f"got {forward.output_size} and {backward.output_size}"
            )
        self.forward, self.backward, self.merge = forward, backward, merge
        self.input_shape = forward.input_shape
        self.return_sequences = forward.return_sequences

    @property
    def output_size(self) -> int:
        """Width of the frames that both give together.

        >>> undertow.Bidirectional(*ways).output_size
        2
        """
        return self.forward.output_size + (self.backward.output_size if self.merge == "concat" else 0)

    def add_to(self, graph: Graph, x: str) -> str:
        both = [self.forward.add_to(graph, x), self.backward.add_to(graph, x)]
        op = {"concat": "concat", "mul": "mul"}.get(self.merge, "add")
        name = node_name(graph, self.name and f"{self.name}_{self.merge}", self.merge)
        merged: str = graph.add(op, both, name=name)
        if self.merge == "ave":
            merged = graph.add(
                "activation", [merged], name=f"{name}_half", attrs={"activation": Activation("affine", 0.5, 0.0)}
            )
        return merged

    def __repr__(self) -> str:
        return f"Bidirectional({self.forward!r}, {self.backward!r}, {self.merge!r})"
