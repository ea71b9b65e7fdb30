# SPDX-License-Identifier: MIT
"""Registers that only shift become windows: what an exporter writes as cat(state[1:], x), or rolls.

Each element of such a register is what one element of `x` was some timesteps ago, so a window over x has them all. A
stream keeps windows in rings, where nothing moves, and goes through a block of frames at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Graph, Node
from ..ir.ops import MAX_TAP, OPS
from .edit import replace_value, sort_nodes
from .rebuild_cells import Moved

#: elements of a register up to which is looked
_MOST = 1 << 20


@dataclass(frozen=True)
class _Shift:
    """A register whose element i was, when it was written, element `place[i]` of `x`, `age[i]` timesteps before."""

    read: Node
    write: Node
    x: str
    age: np.ndarray
    place: np.ndarray


def window(graph: Graph) -> tuple[list[str], Moved]:
    """Replace registers in place; gives the names of the windows, and where states went."""
    names: list[str] = []
    moved: Moved = {}
    for write in [node for node in graph.nodes if OPS[node.op].writes_register]:
        shift = _shift(graph, write)
        if shift is not None and (name := _replace(graph, shift, moved)):
            names.append(name)
    if names:
        sort_nodes(graph)
    return names, moved


def _shift(graph: Graph, write: Node) -> _Shift | None:
    size = graph.values[write.inputs[0]].size
    reads = [n for n in graph.nodes if OPS[n.op].reads_register and n.states == write.states]
    if len(reads) != 1 or len(write.inputs) != 1 or not 1 < size <= _MOST:
        return None
    producer = {v: n for n in graph.nodes for v in n.outputs}
    sources, of, place = elements(graph, producer, write.inputs[0])
    held = reads[0].outputs[0]
    others = [s for s in sources if s != held]
    if held not in sources or len(others) != 1 or producer.get(others[0], write).op == "constant":
        return None
    is_held = of == sources.index(held)
    # Each element of the register points at the one that it was before, and twice as far each time.
    back = np.where(is_held, place, np.arange(size))
    age = is_held.astype(np.int64)
    for _ in range(size.bit_length()):
        age, back = age + age[back], back[back]
    if is_held[back].any():
        return None  # elements that go round, or stay
    place = place[back]
    (x,) = others
    if _depends(producer, x, held):
        return None
    return _Shift(reads[0], write, x, age, place)


def elements(graph: Graph, producer: dict[str, Node], value: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Behind what moves: the values that hold the elements of a value, which of them holds each, and where."""
    node = producer.get(value)
    size = graph.values[value].size
    if node is None or not OPS[node.op].moves:
        return [value], np.zeros(size, np.int64), np.arange(size)
    sources: list[str] = []
    of, place = [], []
    for name in node.inputs:
        inner, inner_of, inner_place = elements(graph, producer, name)
        numbers = []
        for source in inner:
            if source not in sources:
                sources.append(source)
            numbers.append(sources.index(source))
        of.append(np.array(numbers)[inner_of])
        place.append(inner_place)
    joined_of, joined_place = np.concatenate(of), np.concatenate(place)
    taken = OPS[node.op].taken(node)
    if taken is not None:
        joined_of, joined_place = joined_of[taken.reshape(-1)], joined_place[taken.reshape(-1)]
    used = [s for i, s in enumerate(sources) if (joined_of == i).any()]
    number = np.array([used.index(s) if s in used else -1 for s in sources])
    return used, number[joined_of], joined_place


def _depends(producer: dict[str, Node], value: str, on: str) -> bool:
    todo, seen = [value], set[str]()
    while todo:
        name = todo.pop()
        if name == on:
            return True
        if name not in seen:
            seen.add(name)
            todo += producer[name].inputs if name in producer else ()
    return False


def _replace(graph: Graph, shift: _Shift, moved: Moved) -> str:
    (state,) = shift.write.states
    places = np.unique(shift.place)
    graph.nodes = [n for n in graph.nodes if n is not shift.write]
    shown = _shown(graph, shift)
    ages = np.unique(np.concatenate([age for age, _ in shown.values()])) if shown else np.array([1])
    span = int(ages[-1])
    taps = tuple(-int(a) for a in reversed(ages))
    column = np.full(int(places[-1]) + 1, -1)
    column[places] = np.arange(len(places))
    at = np.full((span, len(places)), -1)  # the register's element that holds each of the window's
    row = span - 1 - shift.age
    at[row[row >= 0], column[shift.place[row >= 0]]] = np.flatnonzero(row >= 0)
    one_each = at.size == (row >= 0).sum()  # two that were one element of x may start as two numbers
    known = one_each and all(place.max() < len(column) and (column[place] >= 0).all() for _, place in shown.values())
    if not 0 < span <= MAX_TAP or not known or (at < 0).any():
        graph.nodes.append(shift.write)
        return ""
    old = graph.states[state]
    name = graph.unique_name(f"{state.removesuffix('.value')}_window")
    x = shift.x
    if len(places) != graph.values[x].size:
        x = graph.add("select", [x], name=f"{name}_x", weights={"indices": places})
    shape = graph.shape(x)
    init = None if old.init is None else old.init.reshape(-1)[at].reshape(span, *shape)
    past = f"{name}.past"
    graph.state(past, (span, *shape), init)
    frames = graph.add("window", [x], name=name, attrs={"taps": taps}, states=[past])
    position = np.zeros(span + 1, np.int64)
    position[ages] = np.arange(len(ages))[::-1]
    for i, (value, (age, place)) in enumerate(shown.items()):
        indices = (position[age] * len(places) + column[place]).astype(np.int32)
        replace_value(graph, value, _taken(graph, frames, indices, f"{name}_{i + 1}"))
    moved[state] = [(past, at.reshape(-1))]
    return name


def _shown(graph: Graph, shift: _Shift) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Values that hold the register's elements and others of x, and nothing else, where what computes or shows reads
    them: of each element how many timesteps ago it was x, and where in x. With others, they are read from the register.
    """
    producer = {v: n for n in graph.nodes for v in n.outputs}
    held = shift.read.outputs[0]
    reaches = {held}  # values that what moves makes of the register
    for node in graph.nodes:
        if OPS[node.op].moves and reaches.intersection(node.inputs):
            reaches.update(node.outputs)
    read = {v for n in graph.nodes if not OPS[n.op].moves for v in n.inputs} | set(graph.outputs.values())
    result = {}
    for value in [v for v in (held, *producer) if v in reaches and v in read]:
        sources, of, place = elements(graph, producer, value)
        if held not in sources:
            continue
        if not set(sources) <= {held, shift.x}:
            sources, of, place = [held], np.zeros(len(shift.age), np.int64), np.arange(len(shift.age))
            value = held
        is_held = of == sources.index(held)
        before = np.where(is_held, place, 0)
        result[value] = np.where(is_held, shift.age[before] + 1, 0), np.where(is_held, shift.place[before], place)
    return result


def _taken(graph: Graph, frames: str, indices: np.ndarray, name: str) -> str:
    if np.array_equal(indices, np.arange(graph.values[frames].size)):
        return str(graph.add("reshape", [frames], name=name, attrs={"shape": (indices.size,)}))
    return str(graph.add("select", [frames], name=name, weights={"indices": indices}))


__all__ = ["elements", "window"]
