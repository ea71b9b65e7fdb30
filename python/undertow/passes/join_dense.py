# SPDX-License-Identifier: MIT
"""Dense layers of one input, whose outputs meet nothing but expressions, become one: an expression reads slices where
they lie, and one product takes a call less for each layer. Rows do not know of each other, so no number changes.
"""

from __future__ import annotations

import numpy as np

from ..ir.activations import IDENTITY
from ..ir.graph import Graph, Node
from ..ir.ops import OPS
from .edit import replace_value, sort_nodes


def join(graph: Graph) -> bool:
    """Join them in place; says whether there were any."""
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for value in node.inputs:
            readers.setdefault(value, []).append(node)
    shown = set(graph.outputs.values())
    of_input: dict[str, list[Node]] = {}
    for node in graph.nodes:
        plain = node.op == "dense" and len(graph.shape(node.inputs[0])) == 1 and not node.precisions
        if plain and _meets_expressions(node.outputs[0], readers, shown):
            of_input.setdefault(node.inputs[0], []).append(node)
    joined = [(value, nodes) for value, nodes in of_input.items() if len(nodes) > 1]
    for value, nodes in joined:
        _join(graph, value, nodes)
    if joined:
        sort_nodes(graph)
    return bool(joined)


def _meets_expressions(value: str, readers: dict[str, list[Node]], shown: set[str]) -> bool:
    if value in shown or value not in readers:
        return False
    for node in readers[value]:
        if OPS[node.op].in_expressions:
            continue
        view = OPS[node.op].moves and len(node.inputs) == 1
        if not view or not all(_meets_expressions(v, readers, shown) for v in node.outputs):
            return False
    return True


def _join(graph: Graph, value: str, nodes: list[Node]) -> None:
    rows = [len(n.weights["W"]) for n in nodes]
    weights = {"W": np.concatenate([n.weights["W"] for n in nodes])}
    if any("b" in n.weights for n in nodes):
        zeros = [np.zeros(n, np.float32) for n in rows]
        weights["b"] = np.concatenate([n.weights.get("b", z) for n, z in zip(nodes, zeros, strict=True)])
    graph.nodes = [n for n in graph.nodes if n not in nodes]
    together = graph.add("dense", [value], name="_".join(n.name for n in nodes)[:64], weights=weights)
    start = 0
    for node, n in zip(nodes, rows, strict=True):
        indices = np.arange(start, start + n, dtype=np.int32)
        result = graph.add("select", [together], name=f"{node.name}_rows", weights={"indices": indices})
        if node.attrs["activation"] != IDENTITY:
            attrs = {"activation": node.attrs["activation"]}
            result = graph.add("activation", [result], name=f"{node.name}_activation", attrs=attrs)
        old = node.outputs[0]
        replace_value(graph, old, result)
        del graph.values[old]
        start += n


__all__ = ["join"]
