# SPDX-License-Identifier: MIT
"""Whether a Graph is one: for whoever changes graphs, in tests."""

from __future__ import annotations

from dataclasses import replace

from .._text import quoted
from ..errors import InternalError
from . import superframes
from .graph import Graph
from .nodes import Node, Value
from .ops import OPS


def check(graph: Graph) -> None:
    """Compare what a graph says of itself with what its nodes give.

    Every value has one producer, which stands before its readers, and the shape that the producer gives it; nothing is
    kept that nobody makes; names of nodes differ; a state is a layer's own or a register, written once; a frame has at
    least one timestep, and a note is one line.

    Raises:
        InternalError: it does not; names the node, value or state.
    """
    if said := superframes.wrong(graph):
        raise InternalError(said)
    if lines := [note for note in graph.notes if "\n" in note]:
        raise InternalError(f"a note of several lines: {quoted(lines[0])}")
    makers = dict.fromkeys(graph.inputs, "an input")
    names: set[str] = set()
    twin = graph.copy()  # what is inferred may be noted in attributes and values
    for node in twin.nodes:
        where = f"{node.op} {quoted(node.name)}"
        if node.name in names:
            raise InternalError(f"{where}: another node has this name")
        names.add(node.name)
        for value in node.inputs:
            if value not in makers:
                raise InternalError(f"{where}: input {quoted(value)} is not made before")
        for state in node.states:
            if state not in twin.states:
                raise InternalError(f"{where}: state {quoted(state)} does not exist")
        _check_outputs(twin, node, where)
        for value in node.outputs:
            if value in makers:
                raise InternalError(f"{where}: {makers[value]} makes {quoted(value)} as well")
            makers[value] = where
        OPS[node.op].check_precisions(node)
    for name, value in twin.outputs.items():
        if value not in makers:
            raise InternalError(f"output {quoted(name)}: nothing makes {quoted(value)}")
    if left := makers.keys() ^ twin.values.keys():
        raise InternalError(f"values that are made and those that are known differ: {', '.join(sorted(left))}")
    _check_states(twin)


def _check_outputs(graph: Graph, node: Node, where: str) -> None:
    known = [graph.values.get(value) for value in node.outputs]
    inferred = [value for _, value in OPS[node.op].infer(graph, replace(node, attrs=dict(node.attrs)))]
    if len(known) != len(inferred):
        raise InternalError(f"{where}: has {len(known)} outputs, gives {len(inferred)}")
    for value, gives in zip(known, inferred, strict=True):
        if value is None:
            raise InternalError(f"{where}: an output has no value")
        if _facts(value) != _facts(gives):
            raise InternalError(f"{where}: {quoted(value.name)} is {_facts(value)}, it gives {_facts(gives)}")


def _facts(value: Value) -> tuple[object, ...]:
    return value.shape, value.dtype, value.once


def _check_states(graph: Graph) -> None:
    owner: dict[str, str] = {}
    read = {state for node in graph.nodes if OPS[node.op].reads_register for state in node.states}
    for node in graph.nodes:
        for state in node.states if not OPS[node.op].reads_register else ():
            if state in owner or (not OPS[node.op].writes_register and state in read):
                raise InternalError(f"{node.op} {quoted(node.name)}: state {quoted(state)} is another node's as well")
            owner[state] = node.name
    for state in graph.states:
        if state not in owner and state not in read:
            raise InternalError(f"state {quoted(state)}: no node has it")


__all__ = ["check"]
