# SPDX-License-Identifier: MIT
"""Passes over a graph that was written by hand, whose author knows its states by name."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from ..ir.graph import Graph, Node
from ..ir.ops import OPS
from . import PIPELINE, Moved, run


def finish(graph: Graph) -> Graph:
    """A graph after all passes; `graph` stays as it is. Each state that it had and needs is there under its name: a
    cell that is found in formulas keeps the names of their registers, or is not looked for where it would hold them in
    another form. A register that only shifts is a window's state then, (frames, *shape), the oldest first.

    >>> from undertow.ir.graph import Graph
    >>> g = Graph("delayed")
    >>> x = g.input("x", 16)
    >>> before = g.add("state_read", states=[g.state("before", 16)])
    >>> _ = g.add("state_write", [x], states=["before"])
    >>> g.output("y", g.add("sub", [x, before]))
    >>> after = finish(g)
    >>> list(after.states), [node.op for node in after.nodes]
    (['before'], ['expression'])
    """
    for without in ((), ("cells",)):
        after = graph.copy()
        apart = _take_out(after)
        moved = run(after, [p for p in PIPELINE if p.name not in without]).moved
        _put_back(after, graph, apart)
        if _restore(after, graph, moved):
            break
    return after


def _take_out(graph: Graph) -> list[Node]:
    """Registers that no output depends on, which only `stream.state` shows, and which passes would drop: what they give
    becomes an input, what they take an output. Gives the nodes that read and write them.
    """
    needed, states, n = set(graph.outputs.values()), set[str](), -1
    while n < len(states):
        n = len(states)
        for node in reversed(graph.nodes):
            if needed.intersection(node.outputs) or states.intersection(node.states):
                needed.update(node.inputs)
                states.update(node.states)
    apart = [node for node in graph.nodes if OPS[node.op].is_register and node.states[0] not in states]
    graph.nodes = [node for node in graph.nodes if node not in apart]
    for node in apart:
        graph.inputs += node.outputs
        graph.outputs |= {_shown(node, value): value for value in node.inputs}
    return apart


def _shown(node: Node, value: str) -> str:
    return f"{node.name}\n{value}"


def _put_back(graph: Graph, before: Graph, apart: list[Node]) -> None:
    for node in apart:
        node.inputs = tuple(graph.outputs.pop(_shown(node, value)) for value in node.inputs)
        graph.inputs = [name for name in graph.inputs if name not in node.outputs]
        graph.states[node.states[0]] = replace(before.states[node.states[0]])
    reads = [node for node in apart if node.outputs]
    graph.nodes = [*reads, *graph.nodes, *(node for node in apart if not node.outputs)]


def _restore(graph: Graph, before: Graph, moved: Moved) -> bool:
    """Give states that took the place of a register its name; says whether there is one for each register."""
    windows = {s for node in graph.nodes if node.op == "window" for s in node.states}
    names: dict[str, str] = {}
    for state, pieces in moved.items():
        if state not in before.states:
            continue
        new, positions = pieces[0]
        old = before.states[state]
        same = np.array_equal(positions.reshape(-1), np.arange(prod(old.shape)))
        whole = len(pieces) == 1 and same and new in graph.states and graph.states[new].shape == old.shape
        if new in names or not (whole or new in windows):
            return False
        names[new] = state
    graph.states = {
        names.get(name, name): replace(state, name=names.get(name, name)) for name, state in graph.states.items()
    }
    for node in graph.nodes:
        node.states = tuple(names.get(s, s) for s in node.states)
    return True


__all__ = ["finish"]
