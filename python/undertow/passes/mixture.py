# SPDX-License-Identifier: MIT
"""A finer precision for the weights that cost least, beside a coarse one for all others.

Where the first or the last matrix of a model is small, it is often what errs most: nothing averages its errors out,
and a row of a head is one number of the output. A table costs no product at all.
"""

from __future__ import annotations

from math import prod

from ..errors import UnsupportedError
from ..ir.graph import Graph, Node
from ..ir.ops import OPS, Layout

#: Share of a model's multiply-adds that the finer precision may take: integers of 16 bits cost at most about twice as
#: much as those of 8, so a step costs at most about a fifth more.
SHARE = 0.2


def mixed(graph: Graph, coarse: str, fine: str, share: float = SHARE) -> dict[str, dict[str, str]]:
    """Precisions for `undertow.passes.precisions.with_weights`: `fine` for every table and for the matrices of fewest
    multiply-adds, as many as have at most this share of them together; `coarse` for the others. Filters that do not
    have both stay as they are.

    Args:
        graph: stays as it is.
        coarse, fine: names of precisions, such as "int8" and "int16".
        share: from 0, where tables alone are finer, to 1, where everything is.

    Raises:
        UnsupportedError: a share outside of 0 to 1.

    >>> import undertow
    >>> from undertow.passes.mixture import mixed
    >>> mixed(undertow.load(undertow.example("digits")).graph, "int8", "float16")
    {'memory': {'W': 'float16', 'R': 'int8'}, 'head': {'W': 'float16'}}
    """
    if not 0 <= share <= 1:
        raise UnsupportedError(f"share is {share}, expected 0 to 1: of the multiply-adds of graph {graph.name!r}")
    costs = {
        (node.name, weight.key): multiply_adds(graph, node, weight.key)
        for node in graph.nodes
        for weight in OPS[node.op].weights
        if weight.reducible and weight.key in node.weights
        if weight.layout is not Layout.FILTERS or {coarse, fine} <= {*weight.precisions}
    }
    room = share * sum(costs.values())
    chosen = dict.fromkeys(costs, coarse)
    for weight, cost in sorted(costs.items(), key=lambda item: item[1]):
        if cost > room:
            break
        chosen[weight] = fine
        room -= cost
    by_layer: dict[str, dict[str, str]] = {}
    for (layer, key), precision in chosen.items():
        by_layer.setdefault(layer, {})[key] = precision
    return by_layer


def multiply_adds(graph: Graph, node: Node, key: str) -> int:
    """Of a weight, for one timestep: its size, for each row that it multiplies; 0 for a table, which is looked up."""
    (layout,) = {weight.layout for weight in OPS[node.op].weights if weight.key == key}
    frame = graph.shape(node.inputs[0])
    rows = frame[0] if layout is Layout.FILTERS else prod(frame[:-1])
    return 0 if layout is Layout.TABLE else rows * node.weights[key].size
