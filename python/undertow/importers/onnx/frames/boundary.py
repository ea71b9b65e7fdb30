# SPDX-License-Identifier: MIT
"""Sequences whose first frames are something else than the rest: differences behind a first frame, the frame before
with the first one twice, padding that repeats the edge or holds a number.

A gate tells the first frames of a sequence from the rest (`Builder.exists`), so all of these are exact in a stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..file.nodes import OnnxNode
from ..traits import traits
from . import emit, provenance
from .builder import Builder
from .context import Walk
from .provenance import Layout, Mixed, Tensor

#: so many frames behind the end may hold the last one; each needs a choice of its own
MAX_HELD = 256


@dataclass
class _Rows:
    """Rows of a tensor along one axis: their codes, and what these say. The rows from `first` on are whole frames in
    order, `back` frames before the row's own one."""

    table: np.ndarray
    first: int
    back: int
    layout: Layout
    frame: np.ndarray


def headed(builder: Builder, tensor: Tensor) -> Tensor | None:
    """The tensor as frames, where it has as many rows as there are timesteps, the last of them frames in order and the
    first something else: zeros, a constant, frames of another value, or the first frame again and again."""
    if tensor.dtype != "float32":
        return None
    for axis in (a for a, n in enumerate(tensor.shape) if n == builder.n_steps):
        rows = _ordered(builder, tensor, axis)
        head = None if rows is None else _head(builder, tensor, rows, axis)
        if rows is None or head is None:
            continue
        tail = rows.frame
        if rows.back:
            window = builder.add("window", [builder.value(tail)], attrs={"taps": (-rows.back,)})
            tail = builder.elements(window).reshape(tail.shape)
        chosen = choose(builder, -rows.first, tail, head)
        outer = rows.layout.outer
        steps = np.arange(builder.n_steps).reshape([-1 if a == axis else 1 for a in range(len(tensor.shape))])
        shape = [1 if a in outer else n for a, n in enumerate(tensor.shape)]
        items = tensor.items.take([-1], axis)
        return Tensor(provenance.encode(steps, items, chosen.reshape(shape)), tensor.labels, tensor.dtype)
    return None


def _ordered(builder: Builder, tensor: Tensor, axis: int) -> _Rows | None:
    n = builder.n_steps
    table = np.moveaxis(tensor.codes, axis, 0).reshape(n, -1)
    steps = np.moveaxis(tensor.steps, axis, 0).reshape(n, -1)
    back = n - 1 - int(steps[-1].min())
    same = table - table[-1] == provenance.encode(np.arange(n) - n, -1, 0)[:, None]
    fits = same.all(1) & (steps == (np.arange(n) - back)[:, None]).all(1)
    first = int(np.flatnonzero(~fits).max(initial=-1)) + 1
    if back < 0 or first == 0 or n - first < 2:
        return None
    try:
        layout, frame = provenance.split(tensor.codes.take(np.arange(first, n), axis), tensor.labels)
    except Mixed:
        return None
    if axis not in layout.outer or builder.is_final(frame):
        return None
    return _Rows(table, first, back, layout, frame)


def _head(builder: Builder, tensor: Tensor, rows: _Rows, axis: int) -> np.ndarray | None:
    """What the first frames hold, as elements of every frame."""
    first = tensor.codes.take(np.arange(rows.first), axis)
    steps = np.moveaxis(tensor.steps, axis, 0)[: rows.first].reshape(rows.first, -1)
    row = Tensor(first.take([0], axis), tensor.labels)
    elements = row.elements
    outer = [a for a in rows.layout.outer if a != axis]
    if any((elements != elements.take([0], a)).any() for a in outer):
        return None
    elements = elements[tuple(0 if a in rows.layout.outer else slice(None) for a in range(elements.ndim))]
    alike = (np.moveaxis(first, axis, 0) == np.moveaxis(first, axis, 0)[:1]).all()
    if (steps < 0).all():
        return elements if alike and builder.is_constant(elements) and (row.items < 0).all() else None
    whole = Tensor(tensor.codes.take([-1], axis), tensor.labels)
    if (row.items != whole.items).any() or builder.is_final(elements):
        return None
    if (steps == 0).all() and alike:
        return first_frame(builder, elements)
    numbers = np.moveaxis(first, axis, 0).reshape(rows.first, -1)
    own = numbers - provenance.encode(steps, -1, 0) == (numbers - provenance.encode(steps, -1, 0))[:1]
    return elements if own.all() and (steps == np.arange(rows.first)[:, None]).all() else None


def choose(builder: Builder, tap: int, there: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Elements of `there` where the frame `tap` frames after this one is one of the sequence."""
    exists = np.broadcast_to(builder.elements(builder.exists(tap)).reshape(()), there.shape)
    return emit.elementwise(builder, "where", [exists, there, np.broadcast_to(otherwise, there.shape)])


def first_frame(builder: Builder, elements: np.ndarray, late: int = 0) -> np.ndarray:
    """At every frame the first one of the sequence, which is number `late`; this one until then."""
    unique, inverse = np.unique(elements, return_inverse=True)
    state = builder.graph.state(f"{builder.name('first')}.frame", (unique.size,))
    read = builder.elements(builder.graph.add("state_read", [], name=builder.name("read"), states=[state]))
    chosen = choose(builder, -late - 1, read, unique)
    builder.graph.add("state_write", [builder.value(chosen)], name=builder.name("write"), states=[state])
    return chosen[inverse.reshape(-1)].reshape(elements.shape)


def aligned(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """Operands that are the same sequence cut at different ends, x[1:] and x[:-1], as frames of the latest: what was
    earlier comes through a window, and the first frames have no result. Others as they are."""
    builder = walk.builder
    if not traits(node.op).together or sum(isinstance(o, Tensor) for o in operands) < 2:
        return operands
    mine = {i: a for i, o in enumerate(operands) if (a := walk.time_axis(o)) is not None}
    if len(mine) < 2:
        return operands
    if node.op == "Concat" and any(int(node.attrs["axis"]) % len(operands[i].shape) == a for i, a in mine.items()):
        return operands
    starts: dict[int, int] = {}
    for i, axis in mine.items():
        n = operands[i].shape[axis]
        steps = np.moveaxis(operands[i].steps, axis, 0).reshape(n, -1)
        if operands[i].dtype != "float32" or (steps != steps[0, 0] + np.arange(n)[:, None]).any() or steps[0, 0] < 0:
            return operands
        starts[i] = int(steps[0, 0])
    first = max(starts.values())
    sizes = {(len(operands[i].shape) - a, operands[i].shape[a]) for i, a in mine.items()}
    if len(set(starts.values())) < 2 or len(sizes) > 1 or first + next(iter(sizes))[1] != builder.n_steps:
        return operands
    shifted = list(operands)
    for i, start in starts.items():
        tensor = operands[i]
        if start == first:
            continue
        layout, frame = tensor.split()
        if builder.is_final(frame):
            return operands
        window = builder.add("window", [builder.value(frame)], attrs={"taps": (start - first,)})
        late = layout.tensor(builder.elements(window).reshape(layout.frame_shape))
        shifted[i] = Tensor(late.codes + provenance.encode(first - start - 1, -1, 0), late.labels, late.dtype)
    walk.left_out = max(walk.left_out, first)
    return shifted


@dataclass
class Fill:
    """What padding holds: elements of a constant, or where there are none the frame at that end of the sequence."""

    elements: np.ndarray | None


def filling(builder: Builder, x: Tensor, axis: int, first: int, end: int, back: bool) -> tuple[int, Fill | None]:
    """How many rows at the start (or the end) of x, which has zeros before `first` and from `end` on, are padding with
    something else than zeros, and with what."""
    at, beside = (end - 1, end - 2) if back else (first, first + 1)
    row = x.codes.take([at], axis)
    of_time = bool((Tensor(row, x.labels).steps >= 0).any())
    if end - first < 2 or (of_time and (row != x.codes.take([beside], axis)).any()):
        return 0, None  # as nearly always
    table, steps = (np.moveaxis(a, axis, 0)[first:end] for a in (x.codes, x.steps))
    if back:
        table, steps = table[::-1], steps[::-1]
    n = len(table)
    table, steps = table.reshape(n, -1), steps.reshape(n, -1)
    timeless = [bool((row < 0).all()) for row in steps]
    again = [*(bool((a == b).all()) for a, b in pairwise(table)), False]
    if (end < x.shape[axis] if back else first) or not (again[0] or timeless[0]) or all(timeless):
        return 0, None
    count = (timeless if timeless[0] else again).index(False)
    if not timeless[0]:
        at_other_end = again[-2::-1].index(False) if False in again[:-1] else n
        repeats = any(again[count : n - 1 - at_other_end])  # all rows do, as where something made them longer
        return (0, None) if repeats or at_other_end == n else (count, Fill(None))
    row = x.elements.take([x.shape[axis] - 1 if back else 0], axis)
    alike = (table[:count] == table[0]).all() and builder.is_constant(row)
    return (count, Fill(row)) if alike else (0, None)


def filled(
    walk: Walk,
    node: OnnxNode,
    fills: tuple[Fill | None, Fill | None],
    frame: np.ndarray,
    late: int,
    places: np.ndarray,
    table: np.ndarray,
) -> np.ndarray:
    """Rows `table` of a window at `places`, offsets in frames, of a sequence that lacks its first `late` frames: those
    outside of it are what padding holds there. frame: the elements of one."""
    builder, table = walk.builder, table.copy()
    before, after = (_constant(node, fill, frame) for fill in fills)
    reach = int(places.max(initial=0))
    last: dict[int, np.ndarray] = {}
    if fills[1] is not None and after is None:
        if reach > MAX_HELD:
            node.unsupported(f"repeats the last frame for {reach} frames behind it, at most {MAX_HELD} are supported")
        walk.count(node, (reach, frame.size))
        last = _last_frames(builder, frame, reach)
    if fills[0] is not None and before is None:
        before = first_frame(builder, frame, late)
    for place in np.unique(places).tolist():
        mine = places == place
        row = last.get(place, table[np.argmax(mine)])
        if after is not None and place > 0:
            row = choose(builder, place, row, after)
        if before is not None and place < late:
            row = choose(builder, place - late, row, before)
        table[mine] = row
    return table


def _constant(node: OnnxNode, fill: Fill | None, frame: np.ndarray) -> np.ndarray | None:
    """The elements of constant padding, in the shape of a frame, which has size 1 along the batch."""
    elements = None if fill is None else fill.elements
    for axis, n in enumerate(frame.shape) if elements is not None else ():
        if n == 1 and elements is not None:
            if (elements != elements.take([0], axis)).any():
                node.unsupported("its input is padded along time with numbers that differ between items of the batch")
            elements = elements.take([0], axis)
    return elements


def _last_frames(builder: Builder, frame: np.ndarray, reach: int) -> dict[int, np.ndarray]:
    """The frames 1 to `reach` after this one; the last one of the sequence where there is none."""
    if reach < 1:
        return {}
    unique, inverse = np.unique(frame, return_inverse=True)
    window = builder.add("window", [builder.value(unique)], attrs={"taps": tuple(range(1, reach + 1))})
    rows = builder.elements(window).reshape(reach, -1)
    of_tap: dict[int, np.ndarray] = {0: unique}
    for tap in range(1, reach + 1):
        of_tap[tap] = choose(builder, tap, rows[tap - 1], of_tap[tap - 1])
    del of_tap[0]
    return {tap: row[inverse.reshape(-1)].reshape(frame.shape) for tap, row in of_tap.items()}


__all__ = ["Fill", "aligned", "choose", "filled", "filling", "first_frame", "headed"]
