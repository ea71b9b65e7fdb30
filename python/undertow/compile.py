# SPDX-License-Identifier: MIT
"""From a Graph to the bytes of a .tow file: drop what no output needs, then lay out."""

from __future__ import annotations

from . import tow
from .errors import ShapeError, UnsupportedError
from .graph import Graph


def prune(graph: Graph) -> Graph:
    """A graph without the nodes and states that neither an output nor a state register needs."""
    needed = set(graph.outputs.values())
    keep = []
    for node in reversed(graph.nodes):
        if node.op == "state_write" or needed.intersection(node.outputs):
            keep.append(node)
            needed.update(node.inputs)
    pruned = Graph(graph.name)
    pruned.source = graph.source
    # What a state was before the timestep is read first, and its next value written last.
    rank = {"state_read": 0, "state_write": 2}
    pruned.nodes = sorted(keep[::-1], key=lambda node: rank.get(node.op, 1))
    pruned.inputs = list(graph.inputs)
    pruned.outputs = dict(graph.outputs)
    states = {s for node in keep for s in node.states}
    pruned.states = {name: s for name, s in graph.states.items() if name in states}
    values = {*graph.inputs, *(v for node in keep for v in node.outputs)}
    pruned.values = {name: v for name, v in graph.values.items() if name in values}
    return pruned


def compile_graph(graph: Graph) -> bytes:
    """Give the .tow bytes of a graph.

    Raises:
        ShapeError: the graph has no input or no output.
        UnsupportedError: it mixes state registers, which go frame by frame, with whole-sequence layers.
    """
    if not graph.inputs or not graph.outputs:
        raise ShapeError(
            f"graph {graph.name!r} has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; "
            "it needs one of each"
        )
    graph = prune(graph)
    whole = graph.whole_sequence_nodes()
    registers = [node for node in graph.nodes if node.op in ("state_read", "state_write")]
    if whole and registers:
        node, reason = whole[0]
        raise UnsupportedError(
            f"{node.op} {node.name!r} needs the whole sequence ({reason}), but state {registers[0].states[0]!r} "
            "is carried frame by frame: they cannot be in one model"
        )
    return tow.write(graph)
