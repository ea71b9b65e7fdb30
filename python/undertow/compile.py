# SPDX-License-Identifier: MIT
"""From a Graph to the bytes of a .tow file: choose precisions, drop what no output needs, then lay out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from . import packing, precision, runs, sparse, tow
from .errors import ShapeError, UnsupportedError
from .graph import Graph, Node
from .lookahead import lower
from .ops import CATALOGUE, check_precisions

#: one precision for every weight; or layer -> precision, or layer -> weight key -> precision
Precisions = str | Mapping[str, str | Mapping[str, str]]


def with_weights(graph: Graph, precisions: Precisions, *, layers: Iterable[str] | None = None) -> Graph:
    """A copy of a graph whose file stores its weights in the given precisions: "float32", "float16", "bfloat16",
    "int8" or "int4"; for matrices also "sparse float32" or "sparse int8" (`undertow.sparse.with_blocks` finds those
    that are worth it). Weights stay float32 in the graph until it is compiled.

    Args:
        graph: stays as it is.
        precisions: one for every matrix and embedding table, or a mapping from the name of a layer to a precision or
            to a mapping of its weight keys ("W", "R", "projection", "table") to precisions. Layers and keys that a
            mapping does not name stay as they are.
        layers: where precisions is a string, the layers that it is for; all when omitted.

    Raises:
        UnsupportedError: a precision, layer or key does not exist.
        TypeError: layers beside a mapping.

    >>> import numpy as np, undertow
    >>> g = undertow.Graph("demo")
    >>> x = g.input("x", 3)
    >>> g.output("y", g.add("dense", [x], name="head", weights={"W": np.ones((2, 3))}))
    >>> with_weights(g, "int8").nodes[0].precisions
    {'W': 'int8'}
    """
    changed = graph.copy()
    able = {node.name: node for node in changed.nodes if CATALOGUE[node.op].reducible}
    if not isinstance(precisions, Mapping):
        precision.check(precisions, f"graph {graph.name!r}")
        precisions = dict.fromkeys(able if layers is None else layers, precisions)
    elif layers is not None:
        raise TypeError("layers= goes with one precision for all of them; a mapping names its layers itself")
    for name, chosen in precisions.items():
        if name not in able:
            raise UnsupportedError(
                f"graph {graph.name!r}: layer {name!r} has no weights with a precision; layers that have: "
                f"{', '.join(able) or 'none'}"
            )
        node = able[name]
        if not isinstance(chosen, Mapping):
            chosen = {key: chosen for key in CATALOGUE[node.op].reducible if key in node.weights}
        node.precisions.update(chosen)
        check_precisions(node)
    return changed


def weight_bytes(node: Node, precisions: Mapping[str, str] | None = None) -> int:
    """Bytes of a node's weights in a file, padding of rows included; in its own precisions where none are given."""
    precisions = node.precisions if precisions is None else precisions
    total = 0
    for key, w in node.weights.items():
        if key == "table":
            total += packing.table_bytes(len(w), w.shape[1], precisions.get(key, "float32"))
        elif key in CATALOGUE[node.op].reducible:
            gates, rows, columns = w.reshape(-1, *w.shape[-2:]).shape
            parts = (2, 1) if node.op == "gru" and key == "R" and not node.attrs["reset_after"] else (gates,)
            name = precisions.get(key, "float32")
            if name in precision.SPARSE_CODES:
                pieces = np.split(w.reshape(gates, rows, columns), np.cumsum(parts)[:-1])
                total += sum(sparse.tensor_bytes(piece, name) for piece in pieces)
            else:
                total += sum(packing.matrix_bytes(G, rows, columns, name) for G in parts)
        elif node.op in tow.CELLS or (node.op == "depthwise" and key == "W"):
            rows = 3 if key == "rb_n" else len(w)
            total += 4 * rows * packing.PANEL * packing.panels(w.shape[-1])
        else:
            n = runs.WORDS * len(runs.find(w, node.attrs["sizes"])) if key == "indices" else w.size
            total += 4 * packing.PANEL * packing.panels(n)
    return total


def prune(graph: Graph) -> Graph:
    """A graph without the nodes and states that neither an output nor a state register needs."""
    needed, read = set(graph.outputs.values()), set[str]()
    while True:
        keep, n_read = [], len(read)
        for node in reversed(graph.nodes):
            # Whoever writes a state that is read stays, and is refused by the file if the state is its own.
            if node.op == "state_write" or needed.intersection(node.outputs) or read.intersection(node.states):
                keep.append(node)
                needed.update(node.inputs)
                read.update(node.states if node.op == "state_read" else ())
        if len(read) == n_read:
            break
    pruned = Graph(graph.name)
    pruned.source = graph.source
    # What a state was before the timestep is read first, and its next value written last.
    rank = {"present": 0, "state_read": 0, "state_write": 2}
    pruned.nodes = sorted(keep[::-1], key=lambda node: rank.get(node.op, 1))
    pruned.inputs = list(graph.inputs)
    pruned.outputs = dict(graph.outputs)
    states = {s for node in keep for s in node.states}
    pruned.states = {name: s for name, s in graph.states.items() if name in states}
    values = {*graph.inputs, *(v for node in keep for v in node.outputs)}
    pruned.values = {name: v for name, v in graph.values.items() if name in values}
    return pruned


def compile_graph(graph: Graph) -> bytes:
    """Give the .tow bytes of a graph.

    Raises:
        ShapeError: the graph has no input or no output.
        UnsupportedError: it mixes state registers, which go frame by frame, with whole-sequence layers; a loop over a
            state looks ahead; or weights do not fit their precision.
    """
    if not graph.inputs or not graph.outputs:
        raise ShapeError(
            f"graph {graph.name!r} has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; "
            "it needs one of each"
        )
    graph = prune(graph)
    for node in graph.nodes:
        check_precisions(node)
    graph.check_registers()
    return tow.write(prune(lower(graph)))
