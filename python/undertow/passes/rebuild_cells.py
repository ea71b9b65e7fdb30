# SPDX-License-Identifier: MIT
"""Put the cells that `recover` finds into a graph, in place of the ops and registers that they were made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..budget import Budget, Spent
from ..ir.graph import Graph
from ..ir.ops import OPS
from .cells import Cell, find, inputs_of
from .edit import replace_value, sort_nodes
from .linear import Linear
from .vectors import Vector, shifted, table

#: a cell may have so many weights, and so many times those of its graph: of an elementwise recurrence, and of a few
#: numbers that are spread over a frame, it would hold the square of what the file has
_WEIGHTS, _TIMES = 2**21, 4
#: work of the search in one graph, and for each of its weights
_WORK, _WORK_EACH = 2**27, 64


#: state that is gone -> those that hold its elements now, and which
Moved = dict[str, list[tuple[str, np.ndarray]]]


def recover(graph: Graph) -> tuple[list[str], int, Moved]:
    """Replace cells that were taken apart, in place; gives the names of the new nodes, the work that it took, and where
    states went.

    A cell whose matrices would be much larger than what the graph holds stays as it is, and so do those that are not
    found within a bounded search: they stream through their registers, only slower. Registers that this leaves without
    a use are for the caller to prune.
    """
    n = graph.n_parameters
    budget = Budget(8 * (_WEIGHTS + _TIMES * n), _WORK + _WORK_EACH * n)
    names: list[str] = []
    moved: Moved = {}
    n_before = -1
    try:
        while n_before < len(names):  # with the cells of one round there, others may show
            n_before = len(names)
            none: set[tuple[str, str]] = set()
            while (cell := find(graph, budget, none)) is not None:
                names.append(_insert(graph, cell, moved))
    except Spent:
        pass
    return names, budget.used, moved


def _insert(graph: Graph, cell: Cell, moved: Moved) -> str:
    name = _next(graph, cell.op)
    inputs = inputs_of(cell)
    W = _stacked([(form, inputs) for form in cell.gates])
    R = _stacked([(form, [of]) for form, of in cell.recurrent])
    x = _input(graph, inputs, name)
    b = np.stack([form.bias for form in cell.gates])
    states = []
    for letter, part in zip("hc", cell.parts, strict=False):
        init = graph.states[part.state].init
        start = None if init is None else init.reshape(-1)[table(part.positions)]
        states.append(graph.state(f"{name}.{letter}", (len(part.positions),), start))
    weights = {"W": W, "R": R, "b": b, **cell.weights}
    gate = [cell.parts[0].gate] if cell.parts[0].gate else []
    outputs = graph.add(cell.op, [x, *gate], name=name, attrs=cell.attrs, weights=weights, states=states)
    ends = [outputs] if isinstance(outputs, str) else list(outputs)
    for part, output in zip(cell.parts, ends, strict=False):
        if part.held:
            replace_value(graph, part.held, output)
        replace_value(graph, part.next.source, output)
    _drop_unread(graph)
    for state in dict.fromkeys(part.state for part in cell.parts):
        taken = [
            (new, table(part.positions)) for new, part in zip(states, cell.parts, strict=True) if part.state == state
        ]
        moved[state] = _release(graph, state, taken, name, dict(zip(states, ends, strict=False)))
    sort_nodes(graph)
    return name


def _stacked(forms: Sequence[tuple[Linear, Sequence[Vector]]]) -> np.ndarray:
    """The coefficients of forms, one gate after another: float32 (gates, rows, elements)."""
    first, of = forms[0]
    stacked = np.empty((len(forms), first.size, sum(vector.size for vector in of)), np.float32)
    for gate, (form, vectors) in zip(stacked, forms, strict=True):
        gate[:] = form.matrix(vectors)
    return stacked


def _next(graph: Graph, op: str) -> str:
    n = 1
    while graph.unique_name(f"{op}_{n}") != f"{op}_{n}":
        n += 1
    return f"{op}_{n}"


def _input(graph: Graph, inputs: Sequence[Vector], name: str) -> str:
    """The value that the cell takes."""
    sources = [vector.source for vector in inputs]
    sizes = [graph.values[source].size for source in sources]
    whole = [vector == Vector(vector.source, range(n)) for vector, n in zip(inputs, sizes, strict=True)]
    if len(sources) == 1 and whole[0]:
        (x,) = sources
        if graph.values[x].shape != (sizes[0],):
            x = graph.add("reshape", [x], name=f"{name}_x", attrs={"shape": (sizes[0],)})
        return x
    if len(sources) > 1 and all(whole):
        return graph.add("concat", sources, name=f"{name}_x")
    starts = np.cumsum([0, *sizes]).tolist()
    indices = np.concatenate([shifted(table(v.index), start) for v, start in zip(inputs, starts, strict=False)])
    joined = sources[0] if len(sources) == 1 else graph.add("concat", sources, name=f"{name}_joined")
    return graph.add("select", [joined], name=f"{name}_x", weights={"indices": indices})


def _release(
    graph: Graph, state: str, taken: list[tuple[str, np.ndarray]], cell: str, ends: dict[str, str]
) -> list[tuple[str, np.ndarray]]:
    """Take elements out of a register: a smaller one stays for the rest. A cell's state is its own: who read it from
    the register reads what the cell gave at the timestep before, kept in a register again; `ends`: state -> that value.
    Gives the states that hold the elements now, and which.
    """
    old = graph.states[state]
    size = int(np.prod(old.shape, dtype=np.int64))
    rest = np.setdiff1d(np.arange(size), np.concatenate([positions for _, positions in taken]))
    users = [node for node in graph.nodes if node.states == (state,)]
    (write,) = (node for node in users if OPS[node.op].writes_register)
    reads = [node for node in users if OPS[node.op].reads_register]
    graph.nodes = [node for node in graph.nodes if node is not write]
    pieces = list(taken)
    if len(rest):
        init = None if old.init is None else old.init.reshape(-1)[rest]
        kept = graph.state(_unused(graph, f"{state}.rest"), (len(rest),), init)
        pieces.append((kept, rest))
    wanted = [node for node in reads if _is_read(graph, node.outputs[0])]
    holding = list(pieces)
    if wanted:
        holding += [(_unused(graph, f"{new}.before"), positions) for new, positions in pieces if new in ends]
        values = [_before(graph, new, ends[new]) if new in ends else _read(graph, new) for new, _ in pieces]
        order = np.argsort(np.concatenate([positions for _, positions in pieces]))
        joined = values[0] if len(values) == 1 else graph.add("concat", values, name=f"{cell}_{state}")
        if (order != np.arange(size)).any():
            joined = graph.add("select", [joined], name=f"{cell}_order", weights={"indices": order})
        for node in wanted:
            replace_value(graph, node.outputs[0], joined)
    if len(rest):
        (written,) = write.inputs
        part = graph.add("select", [written], name=f"{cell}_rest", weights={"indices": rest})
        graph.add("state_write", [part], name=f"{kept}.write", states=[kept])
    graph.nodes = [node for node in graph.nodes if node not in reads]
    for node in reads:
        for value in node.outputs:
            del graph.values[value]
    del graph.states[state]
    return holding


def _read(graph: Graph, state: str) -> str:
    return graph.add("state_read", [], name=f"{state}.read", states=[state])


def _before(graph: Graph, state: str, value: str) -> str:
    """What a cell's state was before the timestep: a register that starts as the state does and is written after it."""
    kept = graph.state(_unused(graph, f"{state}.before"), graph.states[state].shape, graph.states[state].init)
    read = _read(graph, kept)
    graph.add("state_write", [value], name=f"{kept}.write", states=[kept])
    return read


def _unused(graph: Graph, name: str) -> str:
    while name in graph.states:
        name += "_"
    return name


def _drop_unread(graph: Graph) -> None:
    """Drop the nodes that no output is made of and nothing that holds a state."""
    producer = {value: node for node in graph.nodes for value in node.outputs}
    todo = [*graph.outputs.values(), *(value for node in graph.nodes if node.states for value in node.inputs)]
    read: set[str] = set()
    while todo:
        value = todo.pop()
        if value not in read:
            read.add(value)
            todo += producer[value].inputs if value in producer else ()
    kept = []
    for node in graph.nodes:
        if node.states or not read.isdisjoint(node.outputs):
            kept.append(node)
            continue
        for value in node.outputs:
            del graph.values[value]
    graph.nodes = kept


def _is_read(graph: Graph, value: str) -> bool:
    return value in graph.outputs.values() or any(value in node.inputs for node in graph.nodes)


__all__ = ["recover"]
