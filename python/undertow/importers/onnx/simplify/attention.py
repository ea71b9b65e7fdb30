# SPDX-License-Identifier: MIT
"""Where a program computes attention, for what is said of a node there that goes through no reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ..file.nodes import OnnxNode
from ..traits import MOVEMENT, traits

#: at most that high are numbers that masks put in place of scores, or add: a softmax leaves no weight of them
NO_SCORE = -1e6
#: nodes in a row between the products and the softmax of an attention, and around these
_MOST = 16


@dataclass
class Attention:
    """What a node gives -> the softmax of the attention that it is a node of (inside: from queries, keys and values,
    none of which is a constant, to what is weighed), or stands in front of or behind (beside: nodes that move, scale or
    project elements).
    """

    inside: dict[str, OnnxNode] = field(default_factory=dict)
    beside: dict[str, OnnxNode] = field(default_factory=dict)


def attention_in(nodes: list[OnnxNode], constants: Mapping[str, object]) -> Attention:
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

    attention = Attention()
    for softmax in (node for node in nodes if node.op == "Softmax"):
        inside = [*run(softmax, before), *run(softmax, after)]
        scores = [node for node in run(softmax, before) if is_product(node)]
        weighed = [node for node in run(softmax, after) if is_product(node)]
        if not (scores and weighed):
            continue
        beside = [n for node in [*scores, *weighed] for n in run(node, before)]
        beside += [n for node in weighed for n in run(node, after)]
        for table, members in ((attention.inside, [softmax, *inside]), (attention.beside, beside)):
            for node in members:
                table.update({name: softmax for name in node.outputs if name and name not in table})
    return attention


__all__ = ["NO_SCORE", "Attention", "attention_in"]
