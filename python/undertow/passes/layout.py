# SPDX-License-Identifier: MIT
"""Hold elements in the order in which they are read, so that a `select` copies pieces instead of single elements.

Exporters keep images and spectra as (channel, place), the engine's layers read and write rows of channels, and between
the two stand transposes. Two orders are free and are chosen here:

* that of frames which elementwise nodes compute from selections, for selections (`_Region`);
* that of the columns of a dense layer or a cell which reads a selection. A column that sees nothing but padding goes.

The second changes the order of a sum, so an output moves by its rounding. Rows of a dense layer that the selection
behind it leaves out, as pooling does at the edge of an image, are not computed. A selection that takes elements many
times, as the windows of an image do, takes them from a frame in which they stand as it reads them, if that is less
work.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from ..budget import TooMuch, room
from ..ir.graph import Graph, Node
from ..ir.ops import OPS
from .fuse import rounds

_GROUPED = ("int4",)  # precisions whose columns share scales
_PIECE = 8  # neighbours that the engine copies as one piece
_BYTES_EACH = 32  # that choosing takes for each element of a selection
_CALL = 48  # elements that are copied one by one while the engine comes to another node


def order(graph: Graph) -> None:
    """Choose orders that make selections cheaper. Changes the graph in place; its inputs, outputs and states stay.

    A selection so large that there is no room to choose stays as it is.
    """
    uses = _Uses(graph)
    for region in _regions(graph, uses):
        with suppress(TooMuch):
            region.choose(graph)
    exact = rounds(graph)
    for node in [node for node in graph.nodes if node.op == "select"]:
        with suppress(TooMuch):
            room(node.weights["indices"].size, _BYTES_EACH)
            _take_in_order(graph, node, uses)
            if not exact:
                _order_columns(graph, node, uses)
            _leave_out_rows(graph, node, uses)
            _drop_idle(graph, node)


def cost(indices: np.ndarray) -> float:
    """What a selection takes, in elements that are copied one by one: a run of neighbours is copied faster."""
    flat = indices.reshape(-1)
    ends = np.append(np.flatnonzero(np.diff(flat) != 1), flat.size - 1)
    lengths = np.diff(ends, prepend=-1)
    return float(np.where(lengths < _PIECE, lengths, _PIECE / 2 + lengths / 8).sum())


class _Uses:
    """Who makes a value and who reads it."""

    def __init__(self, graph: Graph) -> None:
        self.producer = {output: node for node in graph.nodes for output in node.outputs}
        self.shown = set(graph.outputs.values())
        self.readers: dict[str, dict[str, Node]] = {}  # of a value, by name
        for node in graph.nodes:
            for value in node.inputs:
                self.readers.setdefault(value, {})[node.name] = node

    def of(self, value: str) -> list[Node]:
        return list(self.readers.get(value, {}).values())

    def alone_before(self, node: Node, op: str) -> Node | None:
        """The node of this op whose output is all that a node reads, and read by it alone."""
        before = self.producer.get(node.inputs[0]) if len(node.inputs) == 1 else None
        if before is None or before.op != op or node.inputs[0] in self.shown or len(self.of(node.inputs[0])) != 1:
            return None
        return before


# --- frames between elementwise nodes --------------------------------------------------------------------------------


@dataclass
class _Region:
    """Elementwise nodes that exchange frames: the frames have one order."""

    nodes: list[Node] = field(default_factory=list)
    sources: dict[str, Node] = field(default_factory=dict)  # selections and constants that they read
    targets: dict[str, Node] = field(default_factory=dict)  # selections that read them

    def choose(self, graph: Graph) -> None:
        size = graph.values[self.nodes[0].outputs[0]].size
        frames = {output for node in self.nodes for output in node.outputs}
        selects = [node for node in self.sources.values() if node.op == "select"]
        room((len(selects) + len(self.targets)) * size, _BYTES_EACH)
        orders = [np.argsort(node.weights["indices"].reshape(-1), kind="stable") for node in selects]
        orders += [_as_read(graph, node, frames, size) for node in self.targets.values()]

        def total(new: np.ndarray) -> float:  # element new[i] at place i
            before = sum(cost(node.weights["indices"].reshape(-1)[new]) for node in selects)
            return before + sum(cost(_moved(graph, node, frames, new)) for node in self.targets.values())

        best = min(orders, key=total)
        if total(best) >= total(np.arange(size)):
            return
        for node in (*self.sources.values(), *self.nodes):
            for key, w in node.weights.items():
                node.weights[key] = np.ascontiguousarray(w.reshape(-1)[best].reshape(w.shape))
        for node in self.targets.values():
            node.weights["indices"] = _moved(graph, node, frames, best)


def _regions(graph: Graph, uses: _Uses) -> list[_Region]:
    """The regions whose order is nobody else's business."""
    region_of: dict[str, _Region] = {}
    for node in graph.nodes:
        if not OPS[node.op].elementwise:
            continue
        near = [region_of[v] for v in node.inputs if v in region_of]
        home = near[0] if near else _Region()
        for other in near[1:]:
            if other is not home:
                home.nodes += other.nodes
                region_of.update({v: home for n in other.nodes for v in n.outputs})
        home.nodes.append(node)
        region_of[node.outputs[0]] = home
    regions = {id(region): region for region in region_of.values()}
    return [region for region in regions.values() if _is_free(region, uses)]


def _is_free(region: _Region, uses: _Uses) -> bool:
    """Whether only selections, and constants of its own, reach a region and only selections leave it; notes them."""
    inside = {node.name for node in region.nodes}
    for value in {v for node in region.nodes for v in (*node.inputs, *node.outputs)}:
        producer = uses.producer.get(value)
        if producer is None or value in uses.shown:
            return False
        others = [reader for reader in uses.of(value) if reader.name not in inside]
        if producer.name in inside:
            if any(reader.op != "select" for reader in others):
                return False
            region.targets.update({reader.name: reader for reader in others})
        else:
            if others or producer.op not in ("select", "constant"):
                return False
            region.sources[producer.name] = producer
    return bool(region.targets) and any(node.op == "select" for node in region.sources.values())


def _moved(graph: Graph, node: Node, frames: set[str], new: np.ndarray) -> np.ndarray:
    """The indices of a selection once element new[i] of each of `frames` is at place i."""
    place = np.empty(len(new), np.int64)
    place[new] = np.arange(len(new))
    starts = np.cumsum([0, *(graph.values[v].size for v in node.inputs)])
    table = np.arange(starts[-1])
    for value, start in zip(node.inputs, starts[:-1], strict=True):
        if value in frames:
            table[start : start + len(new)] = start + place
    return np.ascontiguousarray(table[node.weights["indices"]], np.int32)


def _as_read(graph: Graph, node: Node, frames: set[str], size: int) -> np.ndarray:
    """The elements of one of `frames` as a selection comes upon them, then those that it does not read."""
    at = next(i for i, value in enumerate(node.inputs) if value in frames)
    start = sum(graph.values[v].size for v in node.inputs[:at])
    read = node.weights["indices"].reshape(-1) - start
    _, first = np.unique(np.concatenate([read[(read >= 0) & (read < size)], np.arange(size)]), return_index=True)
    return np.argsort(first, kind="stable")


# --- windows ---------------------------------------------------------------------------------------------------------


def _take_in_order(graph: Graph, node: Node, uses: _Uses) -> None:
    """Let a selection take from another, in whose result those are neighbours that it reads one behind the other."""
    indices = node.weights["indices"]
    if indices.ndim < 2 or graph.values[node.outputs[0]].once:
        return
    rows = indices.reshape(-1, indices.shape[-1])
    padding = _zeros(graph, node, uses)
    moved = ~padding[rows]
    n_distinct = np.unique(rows[moved]).size
    if rows.size < 2 * n_distinct or n_distinct == 0:
        return
    room(rows.size, 4 * _BYTES_EACH)
    order = _neighbours(rows, moved)
    table = np.zeros(len(padding), np.int64)
    table[order] = np.arange(n_distinct)
    from_order = np.where(moved, table[rows], n_distinct)
    as_it_is = min(cost(rows), cost(rows[:, np.argsort(rows[moved.sum(axis=1).argmax()], kind="stable")]))
    if cost(order) + cost(from_order) + _CALL >= as_it_is:
        return
    name = f"{node.name}_order"
    ordered = graph.add("select", node.inputs, name=name, weights={"indices": order.astype(np.int32)})
    graph.nodes.insert(graph.nodes.index(node), graph.nodes.pop())
    first, inputs = graph.nodes[graph.nodes.index(node) - 1], [str(ordered)]
    if not moved.all():
        inputs.append(graph.add("constant", name=f"{node.name}_zero", weights={"value": np.zeros(1, np.float32)}))
        graph.nodes.insert(0, graph.nodes.pop())
    _drop_idle(graph, first)
    node.inputs, node.attrs["sizes"] = tuple(inputs), tuple(graph.values[v].size for v in inputs)
    node.weights["indices"] = from_order.reshape(indices.shape).astype(np.int32)


def _neighbours(rows: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """The elements that rows read, each once: behind each the one that most rows read there, if most read it there."""
    n = int(rows.max()) + 1
    pairs = moved[:, :-1] & moved[:, 1:] & (rows[:, :-1] != rows[:, 1:])
    keys, times = np.unique(rows[:, :-1][pairs].astype(np.int64) * n + rows[:, 1:][pairs], return_counts=True)
    before, behind = np.divmod(keys, n)
    next_of = _most_often(before, behind, times, n)
    last_of = _most_often(behind, before, times, n)
    elements = np.unique(rows[moved])
    order: list[int] = []
    seen = np.zeros(n, bool)
    linked = (last_of[elements] >= 0) & (next_of[last_of[elements]] == elements)
    for head in (*elements[~linked], *elements):  # the second time those that go round
        at = int(head)
        while at >= 0 and not seen[at]:
            seen[at] = True
            order.append(at)
            behind_it = int(next_of[at])
            at = behind_it if behind_it >= 0 and last_of[behind_it] == at else -1
    return np.array(order)


def _most_often(of: np.ndarray, which: np.ndarray, times: np.ndarray, n: int) -> np.ndarray:
    """For each of n the partner that it has most often, the first of equals; -1 where it has none."""
    result = np.full(n, -1)
    order = np.lexsort((-which, times))
    result[of[order]] = which[order]
    return result


# --- columns ---------------------------------------------------------------------------------------------------------


def _order_columns(graph: Graph, node: Node, uses: _Uses) -> None:
    (value,) = node.outputs
    readers = uses.of(value)
    matrices = [(reader, OPS[reader.op].input_matrix) for reader in readers]
    fits = all(key and reader.inputs.count(value) == 1 and reader.inputs[0] == value for reader, key in matrices)
    if not fits or value in uses.shown:
        return
    if any(reader.precisions.get(key) in _GROUPED or key in reader.smoothing for reader, key in matrices):
        return
    indices = node.weights["indices"]
    rows = indices.reshape(-1, indices.shape[-1])
    padding = _zeros(graph, node, uses)[rows]
    weights = [reader.weights[key] for reader, key in matrices]
    idle = padding.all(axis=0) & np.all([np.isfinite(W).reshape(-1, W.shape[-1]).all(axis=0) for W in weights], axis=0)
    idle[0] &= not idle.all()
    columns = np.flatnonzero(~idle)
    model = rows[padding.sum(axis=1).argmin()]  # a row in the middle of the image, where there is one
    sorted_columns = columns[np.argsort(model[columns], kind="stable")]
    if cost(rows[:, sorted_columns]) < cost(rows[:, columns]):
        columns = sorted_columns
    elif len(columns) == len(idle):
        return
    chosen = np.ascontiguousarray(rows[:, columns]).reshape(*indices.shape[:-1], len(columns))
    node.weights["indices"] = chosen
    graph.values[value] = replace(graph.values[value], shape=chosen.shape)
    for (reader, key), W in zip(matrices, weights, strict=True):
        reader.weights[key] = np.ascontiguousarray(W[..., columns])


def _zeros(graph: Graph, node: Node, uses: _Uses) -> np.ndarray:
    """Which of the elements that a selection may take are zero whatever the frame."""
    parts = []
    for value in node.inputs:
        producer = uses.producer.get(value)
        fixed = producer.weights["value"].reshape(-1) == 0 if producer and producer.op == "constant" else None
        parts.append(np.zeros(graph.values[value].size, bool) if fixed is None else fixed)
    return np.concatenate(parts)


def _leave_out_rows(graph: Graph, node: Node, uses: _Uses) -> None:
    """Where a selection takes whole rows of a dense layer, and each at most once, have the selection before the layer
    give it these rows alone, in the order in which they are taken.
    """
    dense = uses.alone_before(node, "dense")
    source = uses.alone_before(dense, "select") if dense else None
    indices = node.weights["indices"]
    if dense is None or source is None or indices.shape[-1:] != (len(dense.weights["W"]),):
        return
    starts = indices[..., :1]
    width = source.weights["indices"].shape[-1]
    whole = (starts % indices.shape[-1] == 0).all() and (indices == starts + np.arange(indices.shape[-1])).all()
    once = {graph.values[value].once for value in (*node.outputs, *dense.outputs)}
    if not whole or np.unique(starts).size < starts.size or len(once) == 2:
        return
    rows = source.weights["indices"].reshape(-1, width)
    source.weights["indices"] = np.ascontiguousarray(rows[starts[..., 0] // indices.shape[-1]])
    for value, last in ((source.outputs[0], width), (dense.outputs[0], indices.shape[-1])):
        graph.values[value] = replace(graph.values[value], shape=(*indices.shape[:-1], last))
    node.attrs["sizes"] = (indices.size,)
    node.weights["indices"] = np.arange(indices.size, dtype=np.int32).reshape(indices.shape)


def _drop_idle(graph: Graph, node: Node) -> None:
    """Take out inputs that a selection no longer reads, and make a reshape of one that moves nothing."""
    indices = node.weights["indices"]
    if len(node.inputs) > 1:
        sizes = np.array([graph.values[v].size for v in node.inputs])
        starts = np.cumsum([0, *sizes])
        owner = np.searchsorted(starts, indices, side="right") - 1
        kept = np.unique(owner)
        once = all(graph.values[node.inputs[i]].once for i in kept)
        if once != graph.values[node.outputs[0]].once:
            return
        shift = np.zeros(len(sizes), np.int64)
        shift[kept] = starts[kept] - np.cumsum([0, *sizes[kept]])[:-1]
        node.inputs = tuple(node.inputs[i] for i in kept)
        node.attrs["sizes"] = tuple(sizes[kept].tolist())
        node.weights["indices"] = np.ascontiguousarray(indices - shift[owner], np.int32)
    elif graph.values[node.inputs[0]].once != graph.values[node.outputs[0]].once:
        return
    flat = node.weights["indices"].reshape(-1)
    if node.attrs["sizes"] == (flat.size,) and (flat == np.arange(flat.size)).all():
        node.op, node.attrs, node.weights = "reshape", {"shape": indices.shape}, {}
