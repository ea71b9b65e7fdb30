# SPDX-License-Identifier: MIT
"""Changes to the wiring of a graph that passes over it share."""

from __future__ import annotations

from ..ir.graph import Graph


def replace_value(graph: Graph, old: str, new: str) -> None:
    """Let every reader of a value read another one of as many elements."""
    users = [node for node in graph.nodes if old in node.inputs]
    shown = [name for name, value in graph.outputs.items() if value == old]
    if not users and not shown:
        return
    shape = graph.values[old].shape
    if graph.values[new].shape != shape:
        new = graph.add("reshape", [new], attrs={"shape": shape})
    for node in users:
        node.inputs = tuple(new if value == old else value for value in node.inputs)
    for name in shown:
        graph.outputs[name] = new


def sort_nodes(graph: Graph) -> None:
    """Put the nodes in an order in which they can run, changing as little as possible."""
    ready = set(graph.inputs)
    left, ordered = list(graph.nodes), []
    while left:
        waiting = []
        for node in left:
            if all(value in ready for value in node.inputs):
                ordered.append(node)
                ready.update(node.outputs)
            else:
                waiting.append(node)
        if len(waiting) == len(left):
            raise AssertionError("nodes feed each other in a circle")
        left = waiting
    graph.nodes = ordered


__all__ = ["replace_value", "sort_nodes"]
