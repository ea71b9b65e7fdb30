# SPDX-License-Identifier: MIT
"""Where a program computes attention, for what is said of a node there that goes through no reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ..file.nodes import OnnxNode
from ..traits import MOVEMENT, traits

#: nodes in a row between the products and the softmax of an attention, and around these
_MOST = 16


def attending(nodes: list[OnnxNode], constants: Mapping[str, object]) -> dict[str, OnnxNode]:
    """What nodes around an attention give -> its softmax: from queries, keys and values, none of which is a constant,
    to what is weighed, with the nodes beside these that move, scale or project elements.
    """
    producer = {result: node for node in nodes for result in node.outputs if result}
    readers: dict[str, list[OnnxNode]] = {}
    for node in nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)

    def before(node: OnnxNode) -> list[OnnxNode]:
        return [producer[name] for name in node.inputs if name in producer]

    def after(node: OnnxNode) -> list[OnnxNode]:
        return [reader for name in node.outputs for reader in readers.get(name, [])]

    def is_product(node: OnnxNode) -> bool:
        pair = node.inputs[:2]
        return traits(node.op).handler.startswith("matrix.") and len(pair) == 2 and not constants.keys() & set(pair)

    def is_way(node: OnnxNode) -> bool:
        kind = traits(node.op)
        return node.op in MOVEMENT or kind.alone or node.op == "Where" or kind.handler.startswith("matrix.")

    def run(start: OnnxNode, step: Callable[[OnnxNode], list[OnnxNode]]) -> Iterator[OnnxNode]:
        """The nodes that are reached through moves, single elements and weights, with the first of others."""
        front, reached = [start], {id(start)}
        for _ in range(_MOST):
            front = list({id(n): n for node in front for n in step(node) if id(n) not in reached}.values())
            reached |= {id(node) for node in front}
            yield from front
            front = [node for node in front if is_way(node) and not is_product(node)]

    around: dict[str, OnnxNode] = {}
    for softmax in (node for node in nodes if node.op == "Softmax"):
        scores = [node for node in run(softmax, before) if is_product(node)]
        weighed = [node for node in run(softmax, after) if is_product(node)]
        if not (scores and weighed):
            continue
        beside = [n for node in scores for n in run(node, before)] + [n for node in weighed for n in run(node, after)]
        values = [n for node in weighed for n in run(node, before)]
        for node in [*scores, *weighed, *beside, *values]:
            around.update({name: softmax for name in node.outputs if name and name not in around})
    return around


__all__ = ["attending"]
