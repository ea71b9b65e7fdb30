# SPDX-License-Identifier: MIT
"""A Graph as the tensors of its file: the frames and states that the inputs of a call hold, and the outputs again."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from ...errors import ShapeError, UnsupportedError
from ...ir.graph import Graph
from .frames.context import Place
from .search import Imported

Arrays = Mapping[str, np.ndarray]


class Tensors:
    """How the inputs, outputs and states of an `Imported` lie in the tensors of its file.

    Attributes:
        n_steps, n_items: timesteps and items of the batch that a call has; None where the Graph is that of any number,
            whatever the file says.
        input_shapes: of inputs and state inputs, -1 where a size is that of time or of the batch, and open.
    """

    def __init__(self, imported: Imported) -> None:
        reading = imported.reading
        self.imported, self._axes = imported, reading.axes
        self._n_steps, self._n_items = reading.n_steps, reading.n_items
        self._outputs = {name: _Output(place, reading.n_steps) for name, place in imported.outputs.items()}
        plain = not imported.has_rates and reading.frames == 1
        plain = plain and all(output.is_plain for output in self._outputs.values())
        timed = any(time is not None for time, _ in reading.axes.values())
        self.n_steps = None if plain and timed and reading.n_steps > 1 else reading.n_steps
        self.n_items = None if plain and reading.n_items > 1 else reading.n_items
        shapes = {name: place.layout.shape for name, place in imported.inputs.items()}
        shapes |= {name: shape for name, (shape, _) in imported.state_layouts.items()}
        self.input_shapes = {name: self._open(name, shape) for name, shape in shapes.items()}

    def _open(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        time, batch = self._axes[name]
        return tuple(
            -1 if (a == time and self.n_steps is None) or (a == batch and self.n_items is None) else n
            for a, n in enumerate(shape)
        )

    def sizes(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int] | None:
        """Timesteps and items of a call with inputs of these shapes; None where it is none of this reading."""
        steps, items = {self.n_steps} - {None}, {self.n_items} - {None}
        for name, expected in self.input_shapes.items():
            shape, (time, batch) = shapes[name], self._axes[name]
            if len(shape) != len(expected) or any(n not in (-1, m) for n, m in zip(expected, shape, strict=True)):
                return None
            steps |= {n for a, n in enumerate(shape) if a == time and expected[a] < 0}
            items |= {n for a, n in enumerate(shape) if a == batch and expected[a] < 0}
        if len(steps) != 1 or len(items) != 1:
            return None
        n_steps, n_items = steps.pop(), items.pop()
        late = max((output.late for output in self._outputs.values()), default=0)
        return (n_steps, n_items) if n_steps and n_items and n_steps > late else None

    def frames(self, arrays: Arrays, n_steps: int, n_items: int) -> dict[str, np.ndarray]:
        """Input of the Graph -> (items, timesteps, *frame)."""
        frames = {}
        for name, place in self.imported.inputs.items():
            time, batch = self._axes[name]
            outer = [a for a in (batch, time) if a is not None]
            array = np.asarray(arrays[name], np.float32 if place.dtype == "float32" else None)
            array = np.moveaxis(array, outer, range(len(outer)))
            array = array.reshape(n_items if batch is not None else 1, n_steps if time is not None else 1, *place.frame)
            frames[name] = np.broadcast_to(array, (n_items, n_steps, *place.frame))
        return frames

    def states(self, arrays: Arrays, n_items: int) -> dict[str, np.ndarray]:
        """State of the Graph -> (items, *its shape)."""
        states = {}
        for name, fields in self.imported.state_inputs.items():
            batch = self.imported.state_layouts[name][1]
            array = np.asarray(arrays[name], np.float32)
            flat = (array[None] if batch is None else np.moveaxis(array, batch, 0)).reshape(-1, self._n_elements(name))
            for field, positions in fields:
                shape = self.imported.graph.states[field].shape
                states[field] = np.broadcast_to(flat[:, positions], (n_items, len(positions))).reshape(n_items, *shape)
        return states

    def _n_elements(self, name: str) -> int:
        """Of one item of a state input."""
        shape, batch = self.imported.state_layouts[name]
        return prod(n for axis, n in enumerate(shape) if axis != batch)

    def lengths(self, arrays: Arrays, n_steps: int, n_items: int) -> list[int] | None:
        """The timesteps of each item that count, as inputs say; None without such inputs.

        Raises:
            ShapeError, UnsupportedError: they are out of range, or inputs differ in them.
        """
        names = self.imported.length_inputs
        if not names:
            return None
        each = [np.broadcast_to(np.asarray(arrays[name]).reshape(-1), n_items) for name in names]
        for of_item in zip(*each, strict=True):
            if len({int(n) for n in of_item}) > 1:
                said = sorted({int(n) for n in of_item})
                raise UnsupportedError(f"inputs {names} give different lengths {said} to one sequence")
        lengths = [int(n) for n in each[0]]
        for n in lengths:
            if not 0 <= n <= n_steps:
                raise ShapeError(f"input {names[0]!r} gives length {n}, expected 0 to {n_steps}")
        return lengths

    def output_shape(self, name: str, n_steps: int, n_items: int) -> tuple[int, ...]:
        """The shape of an output of the file."""
        return self._outputs[name].shape(n_steps, n_items)

    def wrong_length(self, arrays: Arrays) -> str:
        """What input says another length of sequences than theirs, for which the Graph is, and which; or ""."""
        for name, (of, axis) in self.imported.full_lengths.items():
            given, size = np.unique(arrays[name]), arrays[of].shape[axis]
            if given.tolist() != [size]:
                return f"input {name!r} says lengths {given.tolist()[:8]} of sequences of {size} timesteps"
        return ""

    def axes(self, name: str) -> tuple[int, int]:
        """Which axis of an input or output is time, and which the batch; -1 where none is. Where the timesteps or
        items of an output do not stand in order along one, `rows` tell of them.
        """
        output = self._outputs.get(name)
        time, batch = self._axes.get(name, (None, None)) if output is None else output.axes()
        return (-1 if time is None else time, -1 if batch is None else batch)

    def state_axis(self, name: str) -> int:
        """Which axis of a state input is the batch, or -1."""
        batch = self.imported.state_layouts[name][1]
        return -1 if batch is None else batch

    def outer(self, name: str) -> tuple[int, ...]:
        """The axes of an output that are none of a frame."""
        return self._outputs[name].place.layout.outer

    def first(self, name: str) -> tuple[int, int]:
        """The timestep and the item that an output begins with, or is of where no axis is time or the batch; timestep
        -1 is the last, -2 the last that counts where inputs give lengths.
        """
        step, item = self._outputs[name].first()
        counts = step == -1 and self.imported.length_inputs and _is_masked(self.imported.graph, name)
        return -2 if counts else step, item

    def rows(self, name: str, once: bool) -> np.ndarray | None:
        """Which of the rows (items x timesteps) that the Graph gives for an output stand where, over `outer`; None
        where they stand in order. once: the Graph gives one for each item.
        """
        output = self._outputs[name]
        if output.is_plain:
            return None
        assert self.n_steps is not None and self.n_items is not None
        return output.rows(1 if once else self.n_steps, self.n_steps, self.n_items)

    def outputs(
        self, results: Arrays, n_steps: int, n_items: int, lengths: list[int] | None = None
    ) -> dict[str, np.ndarray]:
        """Outputs of the file from those of the Graph: (items, timesteps, *frame), or (items, *frame) if given once."""
        tensors = {}
        for name, output in self._outputs.items():
            given = np.asarray(results[name])
            if given.ndim == len(output.place.frame) + 1:
                given = given[:, None]
            last = np.full(n_items, given.shape[1] - 1)
            if lengths is not None and _is_masked(self.imported.graph, output.place.name):
                last = np.maximum(lengths, 1) - 1
            tensors[name] = output.tensor(given, last, n_steps, n_items)
        return tensors


class _Output:
    """Where the frames of an output lie.

    is_plain: time and batch are axes of their own, in order. late: timesteps at the start that it has not.
    """

    def __init__(self, place: Place, n_steps: int) -> None:
        self.place, self._layout = place, place.layout
        self._steps, self._items = place.layout.steps, place.layout.items
        outer = place.layout.outer
        self._time, self._batch = (_axis_of(table, outer) for table in (self._steps, self._items))
        self.late = n_steps - place.layout.shape[self._time] if self._time is not None else 0
        expected = (self._time is None or self._is_range(self._steps, self._time, self.late)) and (
            self._batch is None or self._is_range(self._items, self._batch, 0)
        )
        one_each = all(
            axis is not None or not table.size or (table == table.flat[0]).all()
            for axis, table in ((self._time, self._steps), (self._batch, self._items))
        )
        self.is_plain = expected and one_each and (self._time is None or self._time != self._batch)

    def _is_range(self, table: np.ndarray, axis: int, first: int) -> bool:
        at = self._layout.outer.index(axis)
        size = table.shape[at]
        along = np.arange(first, first + size).reshape([size if a == at else 1 for a in range(table.ndim)])
        return bool(size and (table == along).all())

    def shape(self, n_steps: int, n_items: int) -> tuple[int, ...]:
        shape = list(self._layout.shape)
        if self.is_plain and self._time is not None:
            shape[self._time] = n_steps - self.late
        if self.is_plain and self._batch is not None:
            shape[self._batch] = n_items
        return tuple(shape)

    def axes(self) -> tuple[int | None, int | None]:
        return (self._time, self._batch) if self.is_plain else (None, None)

    def first(self) -> tuple[int, int]:
        steps, items = (np.ravel(table) for table in (self._steps, self._items))
        step = self.late if self._time is not None else max(int(steps[0]), -1)
        return step, 0 if self._batch is not None else max(int(items[0]), 0)

    def rows(self, n_given: int, n_steps: int, n_items: int) -> np.ndarray:
        """As `Tensors.rows`, n_given of them for each item."""
        last = np.full(n_items, n_given - 1)
        items, steps = self._places(last, n_steps, n_items)
        return np.ravel(items * n_given + np.minimum(steps, n_given - 1)).astype(np.intp)

    def _places(self, last: np.ndarray, n_steps: int, n_items: int) -> tuple[np.ndarray, np.ndarray]:
        """Items and timesteps over the outer axes."""
        shape, layout = self.shape(n_steps, n_items), self._layout
        outer = [shape[a] for a in layout.outer]
        steps, items = self._steps, self._items
        if self.is_plain:
            along = dict(zip(layout.outer, np.indices(outer, sparse=True), strict=True)) if outer else {}
            steps = along[self._time] + self.late if self._time is not None else np.full(outer, steps.flat[0])
            items = along[self._batch] if self._batch is not None else np.full(outer, items.flat[0])
        items = np.maximum(np.broadcast_to(items, outer), 0)
        return items, np.where(np.broadcast_to(steps, outer) < 0, last[items], steps)

    def tensor(self, given: np.ndarray, last: np.ndarray, n_steps: int, n_items: int) -> np.ndarray:
        """The tensor, of (items, timesteps, *frame)."""
        shape, layout = self.shape(n_steps, n_items), self._layout
        outer = [shape[a] for a in layout.outer]
        items, steps = self._places(last, n_steps, n_items)
        frame = [shape[a] for a in layout.frame]
        rows = np.reshape(given[items, np.minimum(steps, given.shape[1] - 1)], (*outer, *frame))
        order = np.argsort([*layout.outer, *layout.frame]).astype(np.intp)
        return np.asarray(np.transpose(rows, order), order="C")


def _axis_of(table: np.ndarray, outer: tuple[int, ...]) -> int | None:
    """The axis along which timesteps or items go; None where there is none, or several."""
    varying = [axis for at, axis in enumerate(outer) if table.shape[at] > 1 and (table != table.take([0], at)).any()]
    return varying[0] if len(varying) == 1 else None


def _is_masked(graph: Graph, output: str) -> bool:
    """Whether an output is the last frame of a masked sequence."""
    producer = {value: node for node in graph.nodes for value in node.outputs}
    todo, masked = [graph.outputs[output]], set()
    while todo:
        node = producer.get(todo.pop())
        if node is not None and node.op == "last":
            masked.add(bool(node.attrs["masked"]))
        elif node is not None:
            todo += node.inputs
    if len(masked) > 1:
        raise UnsupportedError(f"output {output!r} joins the last valid frame of a sequence with the last one of all")
    return masked == {True}


__all__ = ["Tensors"]
