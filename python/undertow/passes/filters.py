# SPDX-License-Identifier: MIT
"""Sums over the frames of a window, each channel weighted by itself, become depthwise layers: convolutions over time
that an exporter wrote as a product with weights and a sum.
"""

from __future__ import annotations

import numpy as np

from ..ir.graph import Graph, Node
from .edit import replace_value, sort_nodes
from .shifts import elements


def depthwise(graph: Graph) -> bool:
    """Replace them in place; says whether there were any."""
    changed = False
    for node in [node for node in graph.nodes if node.op == "reduce" and node.attrs["kind"] == "sum"]:
        changed = _replace(graph, node) or changed
    if changed:
        sort_nodes(graph)
    return changed


def _replace(graph: Graph, total: Node) -> bool:
    producer = {v: n for n in graph.nodes for v in n.outputs}
    sources, _, place = elements(graph, producer, total.inputs[0])
    scaled = producer.get(sources[0])
    if len(sources) != 1 or scaled is None or scaled.op != "affine":
        return False
    sources, _, behind = elements(graph, producer, scaled.inputs[0])
    window = producer.get(sources[0])
    if len(sources) != 1 or window is None or window.op != "window":
        return False
    outer, n, inner = graph.shape(total.inputs[0])

    def rows(flat: np.ndarray) -> np.ndarray:
        """(outputs, n): what each output is a sum of."""
        return flat.reshape(outer, n, inner).transpose(0, 2, 1).reshape(outer * inner, n)

    n_taps = len(window.attrs["taps"])
    n_channels = graph.values[window.outputs[0]].size // n_taps
    tap, channel = np.divmod(rows(behind[place]), n_channels)
    fits = n == n_taps and (channel == channel[:, :1]).all() and (np.sort(tap, axis=1) == np.arange(n_taps)).all()
    order = channel[:, 0]
    if not fits or not np.array_equal(np.sort(order), np.arange(n_channels)):
        return False
    scale, shift = (rows(scaled.weights[key].reshape(-1)[place]) for key in ("scale", "shift"))
    W, b = np.zeros((n_taps, n_channels), np.float32), np.zeros(n_channels)
    W[tap, channel] = scale
    b[order] = shift.sum(axis=1, dtype=np.float64)
    name = graph.unique_name(total.name + "_filter")
    shape = (1, n_taps, n_channels)
    frames = graph.add("reshape", [window.outputs[0]], name=f"{name}_frames", attrs={"shape": shape})
    weights = {"W": W, **({"b": b.astype(np.float32)} if b.any() else {})}
    result = graph.add("depthwise", [frames], name=name, weights=weights)
    if (order != np.arange(n_channels)).any():
        result = graph.add("select", [result], name=f"{name}_order", weights={"indices": order.astype(np.int32)})
    replace_value(graph, total.outputs[0], result)
    return True


__all__ = ["depthwise"]
