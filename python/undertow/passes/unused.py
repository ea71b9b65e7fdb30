# SPDX-License-Identifier: MIT
"""Clear away what an import leaves behind: nodes that nobody reads, biases and activations of dense layers."""

from __future__ import annotations

import numpy as np

from ..ir import loops
from ..ir.activations import IDENTITY
from ..ir.graph import Graph, Node
from ..ir.ops import OPS


def tidy(graph: Graph) -> None:
    """Fuse dense + shift, dense + activation, then drop nodes and states without a use. Changes the graph in place."""
    _fuse(graph)
    _drop(graph)


def _fuse(graph: Graph) -> None:
    uses: dict[str, int] = {}
    for node in graph.nodes:
        for value in node.inputs:
            uses[value] = uses.get(value, 0) + 1
    for value in graph.outputs.values():
        uses[value] = uses.get(value, 0) + 1
    producer = {output: node for node in graph.nodes for output in node.outputs}
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.nodes:
        node.inputs = tuple(renamed.get(v, v) for v in node.inputs)
        before = producer.get(node.inputs[0]) if len(node.inputs) == 1 else None
        alone = before is not None and len(before.outputs) == 1 and uses[before.outputs[0]] == 1
        if before is not None and alone and _absorb(before, node):
            renamed[node.outputs[0]] = before.outputs[0]
            uses[before.outputs[0]] = uses.get(node.outputs[0], 0)
            del graph.values[node.outputs[0]]
        else:
            kept.append(node)
    graph.nodes = kept
    graph.outputs = {name: renamed.get(v, v) for name, v in graph.outputs.items()}


def _absorb(dense: Node, node: Node) -> bool:
    """Let a dense layer do what the only node that reads it does, when that changes no rounding."""
    if dense.op != "dense" or dense.attrs["activation"] != IDENTITY:
        return False
    if node.op == "affine" and "b" not in dense.weights and (node.weights["scale"] == 1).all():
        rows = node.weights["shift"].reshape(-1, len(dense.weights["W"]))
        if (rows != rows[:1]).any():
            return False  # the layer is applied to rows, each with another shift
        dense.weights["b"] = np.ascontiguousarray(rows[0])
        return True
    if node.op == "activation":
        dense.attrs["activation"] = node.attrs["activation"]
        return True
    return False


def _drop(graph: Graph) -> None:
    needed = set(graph.outputs.values())
    states: set[str] = set()
    while True:  # a state that is read keeps alive what writes it
        before = len(needed), len(states)
        for node in reversed(graph.nodes):
            writes = OPS[node.op].writes_register and node.states[0] in states
            if writes or needed & set(node.outputs):
                needed |= set(node.inputs)
                states |= set(node.states)
        # A cell whose state is read elsewhere moves that state on, whether or not its output is used.
        for node in graph.nodes:
            if not OPS[node.op].is_register and states & set(node.states):
                needed |= set(node.outputs)
        if before == (len(needed), len(states)):
            break
    graph.nodes = [
        n for n in graph.nodes if needed & set(n.outputs) or (OPS[n.op].writes_register and n.states[0] in states)
    ]
    kept = {output for node in graph.nodes for output in node.outputs} | set(graph.inputs)
    graph.values = {name: value for name, value in graph.values.items() if name in kept}
    graph.states = {name: state for name, state in graph.states.items() if name in states}


def prune(graph: Graph) -> Graph:
    """A graph without the nodes and states that neither an output nor a state register needs."""
    needed, read = set(graph.outputs.values()), set[str]()
    while True:
        keep, n_read = [], len(read)
        for node in reversed(graph.nodes):
            # Whoever writes a state that is read stays, and is refused by the file if the state is its own.
            op = OPS[node.op]
            if op.writes_register or needed.intersection(node.outputs) or read.intersection(node.states):
                keep.append(node)
                needed.update(node.inputs)
                read.update(node.states if op.reads_register else ())
        if len(read) == n_read:
            break
    pruned = graph.blank()
    pruned.nodes = loops.in_order(keep[::-1])
    pruned.inputs = list(graph.inputs)
    pruned.outputs = dict(graph.outputs)
    states = {s for node in keep for s in node.states}
    pruned.states = {name: s for name, s in graph.states.items() if name in states}
    values = {*graph.inputs, *(v for node in keep for v in node.outputs)}
    pruned.values = {name: v for name, v in graph.values.items() if name in values}
    return pruned
