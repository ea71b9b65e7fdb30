# SPDX-License-Identifier: MIT
"""Let one node do what several did: scales, shifts (batch norms among them) and activations behind a weighted layer.

Products of weights and scales are made in float64 and rounded once, so an output moves by a rounding of its weights. A
model that rounds numbers to integers keeps its scales: there a last bit can decide. So does a matrix of integers, whose
sums are exact as they are.
"""

from __future__ import annotations

import numpy as np

from ..ir.activations import IDENTITY
from ..ir.graph import Graph, Node
from ..ir.ops import OPS

_STEPS = ("round", "floor", "ceil", "sign")


def fuse(graph: Graph) -> None:
    """Move affine and activation nodes into what they follow, also through reshapes. Changes the graph in place."""
    uses: dict[str, int] = {}
    for value in (*(v for node in graph.nodes for v in node.inputs), *graph.outputs.values()):
        uses[value] = uses.get(value, 0) + 1
    producer = {output: node for node in graph.nodes for output in node.outputs}
    exact = rounds(graph)
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.nodes:
        node.inputs = tuple(renamed.get(v, v) for v in node.inputs)
        before = _source(node, producer, uses) if node.op in ("affine", "activation") else None
        absorbed = before is not None and _absorb(before, node, graph, exact)
        if absorbed or (node.inputs and node.inputs[0] in producer and _changes_nothing(node)):
            (value,), (gone,) = node.inputs, node.outputs
            renamed[gone] = value
            uses[value] += uses.get(gone, 0) - 1
            graph.values.pop(gone)
        else:
            kept.append(node)
    graph.nodes = kept
    graph.outputs = {name: renamed.get(value, value) for name, value in graph.outputs.items()}


def rounds(graph: Graph) -> bool:
    """Whether a model rounds numbers to integers, so that a last bit can decide."""
    return any(n.op == "activation" and n.attrs["activation"].kind in _STEPS for n in graph.nodes)


def _changes_nothing(node: Node) -> bool:
    return node.op == "affine" and bool((node.weights["scale"] == 1).all() and (node.weights["shift"] == 0).all())


def _source(node: Node, producer: dict[str, Node], uses: dict[str, int]) -> Node | None:
    """What computes the input of a node, seen through views; None where another node reads it too."""
    value = node.inputs[0]
    while uses[value] == 1 and value in producer:
        before = producer[value]
        if not OPS[before.op].is_view:
            return before
        value = before.inputs[0]
    return None


def _absorb(before: Node, node: Node, graph: Graph, exact: bool) -> bool:
    op = OPS[before.op]
    if before.attrs.get("activation", IDENTITY) != IDENTITY:
        return False
    if node.op == "activation":
        if op.applies_activation:
            before.attrs["activation"] = node.attrs["activation"]
        return op.applies_activation
    if exact or before.precisions:
        return False
    scale, shift = (node.weights[key].reshape(-1).astype(np.float64) for key in ("scale", "shift"))
    with np.errstate(all="ignore"):
        rescaled = op.rescaled(before.weights, graph.shape(before.outputs[0]), scale, shift) or {}
        fused = {key: np.asarray(array, np.float32, order="C") for key, array in rescaled.items()}
    if not fused or not all(np.isfinite(array).all() for array in fused.values()):
        return False
    W = before.weights.get("W")
    if W is not None and np.array_equal(W, np.rint(W)) and not (np.abs(np.frexp(scale)[0]) == 0.5).all():
        return False
    before.weights = fused
    return True
