# SPDX-License-Identifier: MIT
"""Halve dense layers whose rows are mirror images of themselves: the Fourier bases of a transform by convolution.

A row w that is symmetric, w[k] = w[c - k], needs x[k] + x[c - k] only; an antisymmetric one x[k] - x[c - k]. Cosines
and sines under a symmetric window are such rows, about c = K (a periodic window) or c = K - 1. So half of the products
is left, and half of the weights; an output moves by the rounding of those sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.graph import Graph, Node
from ..tow.packing import PANEL, panels
from .edit import replace_value, sort_nodes

_FEWEST_PRODUCTS = 4096  # below, the products cost no more than the sums and moves
_GAIN = 0.75  # of the products that were there, the most that may be left


def halve(graph: Graph) -> list[str]:
    """Replace every such layer, in place; gives the names of the layers.

    What moved their inputs is left without a use and is for the caller to prune.
    """
    halved = []
    for node in list(graph.nodes):
        mirror = _mirror(node) if node.op == "dense" else None
        if mirror is not None:
            _insert(graph, node, mirror)
            halved.append(node.name)
    if halved:
        sort_nodes(graph)
    return halved


@dataclass
class _Mirror:
    """Column first[i] is the mirror image of second[i]; where they are the same, the column stands in the middle."""

    first: np.ndarray
    second: np.ndarray
    even: np.ndarray  # rows that are symmetric
    odd: np.ndarray  # antisymmetric, and not zero
    rest: np.ndarray

    def products(self, n_columns: int) -> int:
        halves = PANEL * len(self.first) * (panels(len(self.even)) + panels(len(self.odd)))
        return halves + PANEL * n_columns * panels(len(self.rest))


def _mirror(node: Node) -> _Mirror | None:
    W = node.weights["W"]
    M, K = W.shape
    if node.precisions or M * K < _FEWEST_PRODUCTS or not np.isfinite(W).all():
        return None
    k = np.arange(K)
    mirrors = [_about(W, image) for image in ((K - k) % K, K - 1 - k)]
    best = min(mirrors, key=lambda mirror: mirror.products(K))
    return best if best.products(K) <= _GAIN * PANEL * K * panels(M) else None


def _about(W: np.ndarray, image: np.ndarray) -> _Mirror:
    mirrored = W[:, image]
    even = (mirrored == W).all(axis=1)
    odd = (mirrored == -W).all(axis=1) & ~even
    # Pairs first: their columns stand as they stood, so that the first halves are copied in one piece.
    k = np.arange(len(image))
    first = np.concatenate([k[k < image], k[k == image]])
    return _Mirror(first, image[first], *(np.flatnonzero(rows) for rows in (even, odd, ~even & ~odd)))


def _insert(graph: Graph, node: Node, mirror: _Mirror) -> None:
    (x,), (y,) = node.inputs, node.outputs
    W = node.weights["W"][:, mirror.first]
    # A column in the middle meets itself: x + x under half of its weight, x - x under none.
    middle = mirror.first == mirror.second
    sides = [_pick(graph, node, x, columns) for columns in (mirror.first, mirror.second)]
    parts = []
    for kind, op, rows, of_middle in (("even", "add", mirror.even, 0.5), ("odd", "sub", mirror.odd, 0.0)):
        if len(rows):
            joined = graph.add(op, sides, name=f"{node.name}_{op}")
            parts.append(_dense(graph, node, kind, joined, W[rows] * np.where(middle, of_middle, 1.0), rows))
    if len(mirror.rest):
        parts.append(_dense(graph, node, "rest", x, node.weights["W"][mirror.rest], mirror.rest))

    # Where each element of y went: part after part, each a frame of rows.
    groups = [rows for rows in (mirror.even, mirror.odd, mirror.rest) if len(rows)]
    place = np.empty(graph.shape(y), np.int64).reshape(-1, len(W))
    start = 0
    for rows in groups:
        place[:, rows] = start + np.arange(len(place) * len(rows)).reshape(-1, len(rows))
        start += len(place) * len(rows)
    for reader in [n for n in graph.nodes if n.op == "select" and y in n.inputs]:
        _read_parts(graph, reader, y, parts, place.reshape(-1))
    graph.nodes = [n for n in graph.nodes if n is not node]
    if y in graph.outputs.values() or any(y in n.inputs for n in graph.nodes):
        indices = place.reshape(graph.shape(y))
        replace_value(graph, y, graph.add("select", parts, name=f"{node.name}_rows", weights={"indices": indices}))
    del graph.values[y]


def _dense(graph: Graph, node: Node, kind: str, x: str, W: np.ndarray, rows: np.ndarray) -> str:
    b = {"b": node.weights["b"][rows]} if "b" in node.weights else {}
    return graph.add("dense", [x], name=f"{node.name}_{kind}", attrs=node.attrs, weights={"W": W, **b})


def _pick(graph: Graph, node: Node, x: str, columns: np.ndarray) -> str:
    """Columns of the rows of x; straight from where a selection takes them."""
    producer = next((n for n in graph.nodes if x in n.outputs), None)
    if producer is not None and producer.op == "select":
        inputs, rows = producer.inputs, producer.weights["indices"]
    else:
        inputs, rows = (x,), np.arange(graph.values[x].size).reshape(graph.shape(x))
    return graph.add("select", inputs, name=f"{node.name}_side", weights={"indices": rows[..., columns]})


def _read_parts(graph: Graph, reader: Node, y: str, parts: list[str], place: np.ndarray) -> None:
    """Let a selection read `parts` instead of y, whose element i is element place[i] of theirs."""
    inputs: list[str] = []
    table, n_before = [], 0
    for value in reader.inputs:
        new = parts if value == y else [value]
        table.append(n_before + (place if value == y else np.arange(graph.values[value].size)))
        inputs += new
        n_before += sum(graph.values[v].size for v in new)
    reader.inputs = tuple(inputs)
    reader.attrs["sizes"] = tuple(graph.values[v].size for v in inputs)
    reader.weights["indices"] = np.ascontiguousarray(np.concatenate(table)[reader.weights["indices"]], np.int32)
