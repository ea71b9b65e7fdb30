# SPDX-License-Identifier: MIT
"""Two recurrent layers over the same input, one per direction of time: over whole sequences, or over chunks."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ..ir.activations import Activation
from ..ir.graph import Graph
from .base import Layer, node_name
from .recurrent import Cell

_MERGES = ("concat", "sum", "mul", "ave")


class Bidirectional(Layer):
    """One layer forwards and one backwards over the same input; legal in `Model.run`, and with `lookahead` in a stream.

    With `lookahead` the layer is a latency-controlled one: a frame of the model is `chunk` timesteps, (chunk, inputs).
    The first layer carries its state on from chunk to chunk; the second starts anew for each, `lookahead` timesteps
    behind its end, or at the end of the sequence where that comes first. A stream gives the outputs of a chunk when it
    has all that they look at: `Model.latency` says how many frames later. Trained layers can be used as they are; the
    more they look ahead, the nearer are the outputs to those over the whole sequence.

    Args:
        forward, backward: two cells of equal input; `backward` must have been made with ``reverse=True``.
        merge: "concat" (forward first), "sum", "mul" or "ave".
        name: of the merge; each cell has its own.
        lookahead: timesteps beyond a chunk that the second layer sees, 1 or more; None for the whole sequence.
        chunk: timesteps in a frame; as many as `lookahead` unless given.

    Raises:
        TypeError, ValueError, ShapeError, UnsupportedError: the two do not go together, or `merge` is none of these.

    >>> ways = [undertow.RNN([[1.0]], [[1.0]], activation="identity", reverse=reverse) for reverse in (False, True)]
    >>> undertow.Sequential([undertow.Bidirectional(*ways)]).run(np.float32([[1], [2], [3]]))
    array([[1., 6.],
           [3., 5.],
           [6., 3.]], dtype=float32)
    >>> undertow.Sequential([undertow.Bidirectional(*ways, lookahead=1, chunk=2)]).run(np.float32([[1], [2], [3], [4]]))
    array([[ 1.,  6.],
           [ 3.,  5.],
           [ 6.,  7.],
           [10.,  4.]], dtype=float32)
    """

    def __init__(
        self,
        forward: Layer,
        backward: Layer,
        merge: str = "concat",
        name: str | None = None,
        *,
        lookahead: int | None = None,
        chunk: int | None = None,
    ) -> None:
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
        self.lookahead, self.chunk = self._in_chunks(lookahead, chunk)
        if self.lookahead and self.chunk > 1:
            self.input_shape = (self.chunk, *(forward.input_shape or ()))
            self.timesteps = (self.chunk, self.chunk)

    def _in_chunks(self, lookahead: int | None, chunk: int | None) -> tuple[int, int]:
        """Both as numbers, 0 for none."""
        if lookahead is None:
            if chunk is not None:
                raise ValueError("Bidirectional: chunk is given without lookahead")
            return 0, 0
        ahead, n = int(lookahead), int(lookahead if chunk is None else chunk)
        if ahead < 1 or n < 1:
            raise ValueError(f"Bidirectional: lookahead is {ahead} and chunk {n}, expected timesteps of at least 1")
        if not self.return_sequences:
            raise ValueError("Bidirectional: lookahead gives outputs of each chunk, so return_sequences must be True")
        bounds = [getattr(self.forward, key, None) for key in ("cell_clip", "proj_clip")]
        if any(most is not None for most in bounds):
            raise UnsupportedError("Bidirectional: cell_clip and proj_clip are not supported with lookahead")
        return ahead, n

    @property
    def output_size(self) -> int:
        """Width of the frames that both give together.

        >>> undertow.Bidirectional(*ways).output_size
        2
        """
        return self.forward.output_size + (self.backward.output_size if self.merge == "concat" else 0)

    def add_to(self, graph: Graph, x: str) -> str:
        both = (
            self._chunked(graph, x)
            if self.lookahead
            else [way.add_to(graph, x) for way in (self.forward, self.backward)]
        )
        op = {"concat": "concat", "mul": "mul"}.get(self.merge, "add")
        name = node_name(graph, self.name and f"{self.name}_{self.merge}", self.merge)
        if self.lookahead and op == "concat":
            # Timestep by timestep: a concat is of whole frames.
            widths = [self.forward.output_size, self.backward.output_size]
            ends = [np.arange(self.chunk * w, dtype=np.int32).reshape(self.chunk, w) for w in widths]
            ends[1] += ends[0].size
            merged: str = graph.add("select", both, name=name, weights={"indices": np.concatenate(ends, axis=1)})
        else:
            merged = graph.add(op, both, name=name)
        if self.merge == "ave":
            merged = graph.add(
                "activation", [merged], name=f"{name}_half", attrs={"activation": Activation("affine", 0.5, 0.0)}
            )
        if self.lookahead and self.chunk == 1:
            merged = graph.add("reshape", [merged], name=f"{name}_frame", attrs={"shape": (self.output_size,)})
        return merged

    def _chunked(self, graph: Graph, x: str) -> list[str]:
        """What each way gives for a chunk, (chunk, width)."""
        n, (n_in,) = self.chunk, self.forward.input_shape or (0,)
        if n == 1:
            x = graph.add("reshape", [x], name="chunk", attrs={"shape": (1, n_in)})
        name = node_name(graph, self.forward.name, self.forward.kind)
        states = [
            graph.state(f"{name}.{letter}", (self.forward._width(letter),), self.forward.initial.get(letter))
            for letter in self.forward.letters
        ]
        before = self._steps(graph, self.forward, name, [x], states)[0]
        return [before, self._from_ahead(graph, x)]

    def _from_ahead(self, graph: Graph, x: str) -> str:
        """The way back through each chunk that is seen, the last one first. A chunk behind the end of the sequence is
        none: what it leaves is replaced by a start.
        """
        back, n, (n_in,) = self.backward, self.chunk, self.forward.input_shape or (0,)
        name = node_name(graph, back.name, back.kind)
        one = graph.add("constant", [], name=f"{name}_one", weights={"value": np.ones(1, np.float32)})
        starts = []
        for letter in back.letters:
            first = back.initial.get(letter)
            value = np.zeros(back._width(letter)) if first is None else first
            starts.append(graph.add("constant", [], name=f"{name}_{letter}0", weights={"value": value}))
        passed = starts
        reach = -(-self.lookahead // n)
        for k in range(reach, 0, -1):
            ahead = graph.add("window", [x], name=f"{name}_ahead_{k}", attrs={"taps": (k,)})
            rows = min(n, self.lookahead - (k - 1) * n)
            rows_of = np.arange(rows * n_in, dtype=np.int32).reshape(rows, n_in)
            seen = graph.add("select", [ahead], name=f"{name}_seen_{k}", weights={"indices": rows_of})
            left = self._steps(graph, back, f"{name}_from_{k}", [seen, *passed])
            there = graph.add("window", [one], name=f"{name}_is_{k}", attrs={"taps": (k,)})
            passed = [
                self._where(graph, there, all_steps, start, f"{name}_{letter}_{k}")
                for letter, all_steps, start in zip(back.letters, left, starts, strict=True)
            ]
        return self._steps(graph, back, name, [x, *passed])[0]

    def _steps(
        self, graph: Graph, cell: Cell, name: str, inputs: list[str], states: list[str] | None = None
    ) -> list[str]:
        """A cell along the timesteps of a frame; gives each of its states at all of them."""
        attrs = {**cell.attrs, "steps": True}
        out = graph.add(cell.kind, inputs, name=name, attrs=attrs, weights=cell.weights, states=states or [])
        return [out] if isinstance(out, str) else list(out)

    def _where(self, graph: Graph, there: str, steps: str, start: str, name: str) -> str:
        """A state after the last step backwards, which is the first row; or a start, where there was no chunk."""
        width = graph.shape(start)
        row = graph.add("select", [steps], name=f"{name}_row", weights={"indices": np.arange(*width, dtype=np.int32)})
        flag = graph.add("select", [there], name=f"{name}_there", weights={"indices": np.zeros(width, np.int32)})
        return str(graph.add("where", [flag, row, start], name=f"{name}_start"))

    def __repr__(self) -> str:
        chunks = f", lookahead={self.lookahead}, chunk={self.chunk}" if self.lookahead else ""
        return f"Bidirectional({self.forward!r}, {self.backward!r}, {self.merge!r}{chunks})"
