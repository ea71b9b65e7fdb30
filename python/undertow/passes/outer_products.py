# SPDX-License-Identifier: MIT
"""A matrix times an outer product, A (u v^T), becomes (A u) v^T: a product with a vector, and an outer product.

So stands the delta rule in what people write of RWKV-7 and its kin: `state + state @ ab` with ab = a b^T. Of I x K x J
products K + J remain for each of I rows; sums move by their rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from ..ir.graph import Graph, Node
from ..ir.ops import OPS
from .edit import replace_value, sort_nodes


def apart(graph: Graph) -> list[str]:
    """Take such products apart, in place; gives their names."""
    names = []
    for node in [n for n in graph.nodes if n.op == "matmul"]:
        if _rewrite(graph, node):
            names.append(node.name)
    if names:
        sort_nodes(graph)
    return names


@dataclass
class _Vectors:
    """u (lead, K) and v (lead, J) as (value, indices of its elements), of a matrix u v^T."""

    u: tuple[str, np.ndarray]
    v: tuple[str, np.ndarray]


def _rewrite(graph: Graph, node: Node) -> bool:
    shapes = [graph.shape(v) for v in node.inputs]
    (rows, inner), columns = shapes[0][-2:], shapes[1][-1]
    lead = prod(shapes[0][:-2])
    if min(rows, inner, columns) == 1:
        return False
    for side in (1, 0):
        vectors = _outer(graph, node.inputs[side], lead, *shapes[side][-2:])
        if vectors is None:
            continue
        other = _shaped(graph, node.inputs[1 - side], (lead, *shapes[1 - side][-2:]))
        if side == 1:  # A (u v^T)
            column = graph.add("matmul", [other, _taken(graph, vectors.u, (lead, inner, 1))], name=f"{node.name}_u")
            result = graph.add("matmul", [column, _taken(graph, vectors.v, (lead, 1, columns))], name=f"{node.name}_v")
        else:  # (u v^T) B
            row = graph.add("matmul", [_taken(graph, vectors.v, (lead, 1, inner)), other], name=f"{node.name}_v")
            result = graph.add("matmul", [_taken(graph, vectors.u, (lead, rows, 1)), row], name=f"{node.name}_u")
        replace_value(graph, node.outputs[0], result)
        return True
    return False


def _outer(graph: Graph, value: str, lead: int, rows: int, columns: int) -> _Vectors | None:
    """What a matrix is an outer product of, for each of `lead`; None where it is none."""
    producer = {v: n for n in graph.nodes for v in n.outputs}
    while (node := producer.get(value)) is not None and node.op == "reshape":
        value = node.inputs[0]
    if node is None or node.op not in ("matmul", "mul"):
        return None
    if node.op == "matmul":
        a, b = (graph.shape(v) for v in node.inputs)
        if a[-1] != 1 or (prod(a[:-2]), a[-2], b[-1]) != (lead, rows, columns):
            return None
        of_rows = np.arange(lead * rows).reshape(lead, rows)
        return _Vectors((node.inputs[0], of_rows), (node.inputs[1], np.arange(lead * columns).reshape(lead, columns)))
    factors = [_elements(graph, producer, v) for v in node.inputs]
    grids = [(source, indices.reshape(lead, rows, columns)) for source, indices in factors]
    for u, v in (grids, grids[::-1]):
        if (u[1] == u[1][:, :, :1]).all() and (v[1] == v[1][:, :1]).all():
            return _Vectors((u[0], u[1][:, :, 0]), (v[0], v[1][:, 0]))
    return None


def _elements(graph: Graph, producer: dict[str, Node], value: str) -> tuple[str, np.ndarray]:
    """The value that another is elements of, and which, seen through views and a selection from one input."""
    indices = np.arange(graph.values[value].size)
    while (node := producer.get(value)) is not None:
        if node.op == "select" and len(node.inputs) == 1:
            indices = node.weights["indices"].reshape(-1)[indices]
        elif not OPS[node.op].is_view or len(node.inputs) != 1:
            break
        value = node.inputs[0]
    return value, indices


def _taken(graph: Graph, vector: tuple[str, np.ndarray], shape: tuple[int, ...]) -> str:
    value, indices = vector
    if indices.size != graph.values[value].size or (indices.reshape(-1) != np.arange(indices.size)).any():
        value = graph.add("select", [value], weights={"indices": indices.astype(np.int32)})
    return _shaped(graph, value, shape)


def _shaped(graph: Graph, value: str, shape: tuple[int, ...]) -> str:
    return value if graph.shape(value) == shape else str(graph.add("reshape", [value], attrs={"shape": shape}))


__all__ = ["apart"]
