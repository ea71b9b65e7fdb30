# SPDX-License-Identifier: MIT
"""Loops and Scans over constants, run while loading, round by round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from ..file import limits
from ..file.nodes import Body, OnnxNode
from ..file.protos import Scope, needed, wrong_number
from .fold import Evaluator
from .scan import scan_layout


class Rounds(Protocol):
    """What runs the graph of one round, and keeps what it finds."""

    constants: dict[str, np.ndarray]
    evaluator: Evaluator

    def count(self) -> None: ...

    def body(
        self, node: OnnxNode, graph: Any, outer: Scope, known: Mapping[str, np.ndarray], protos: list[Any]
    ) -> Body: ...


def run_constant(resolver: Rounds, node: OnnxNode, graph: Any, scope: Scope) -> None:
    """Run a Loop or Scan all of whose inputs are known; what it gives becomes constants."""
    known = [resolver.constants[name] if name else None for name in node.inputs]
    if node.op == "Loop":
        results = _run_loop(resolver, node, graph, scope, known)
    else:
        results = _run_scan(resolver, node, graph, scope, known)
    if len(results) < len(node.outputs):
        wrong_number(node, len(results), len(node.outputs))
    resolver.constants.update({name: a for name, a in zip(node.outputs, results, strict=False) if name})


def _step(
    resolver: Rounds, node: OnnxNode, graph: Any, scope: Scope, protos: list[Any], given: list[Any]
) -> list[np.ndarray]:
    """What one round gives."""
    if len(given) != len(graph.input):
        wrong_number(node, len(graph.input), len(given), "inputs of its graph")
    resolver.count()  # rounds of an empty body, too
    n_known = len(resolver.constants)
    named = {v.name: a for v, a in zip(graph.input, given, strict=True)}
    body = resolver.body(node, graph, scope, named, protos)
    if body.nodes:
        body.nodes[0].unsupported("cannot be computed while loading, inside of a loop over constants")
    results = [resolver.constants[name] for name in body.outputs]
    while len(resolver.constants) > n_known:  # the round's own, which nobody can ask for any more
        resolver.constants.popitem()
    return results


def _stack(resolver: Rounds, node: OnnxNode, rows: list[np.ndarray], axis: int = 0) -> np.ndarray:
    resolver.evaluator.charge(node, len(rows) * rows[0].size)
    return np.stack(rows, axis)


def _run_loop(resolver: Rounds, node: OnnxNode, graph: Any, scope: Scope, known: list[Any]) -> list[np.ndarray]:
    trips, going, *carried = [*known, None][: max(len(known), 2)]
    n_carried = len(carried)
    limit = limits.MAX_TRIPS if trips is None else int(trips.reshape(()))
    collected: list[list[np.ndarray]] = [[] for _ in range(len(graph.output) - 1 - n_carried)]
    protos = needed(graph.node, [v.name for v in graph.output])
    alive, n = going is None or bool(going.reshape(())), 0
    while alive and n < limit:
        if n >= limits.MAX_TRIPS:
            node.unsupported(f"runs {limit} times, at most {limits.MAX_TRIPS} are computed while loading")
        results = _step(resolver, node, graph, scope, protos, [np.array(n, np.int64), np.array(alive), *carried])
        alive, carried, n = bool(results[0].reshape(())), results[1 : 1 + n_carried], n + 1
        for rows, row in zip(collected, results[1 + n_carried :], strict=True):
            rows.append(row)
    if alive and n == limits.MAX_TRIPS and trips is None:
        node.unsupported(f"did not end after {n} rounds, at most {limits.MAX_TRIPS} are computed while loading")
    if not n and collected:
        node.unsupported("runs 0 times; what it collects would be empty")
    return [*carried, *(_stack(resolver, node, rows) for rows in collected)]


def _run_scan(resolver: Rounds, node: OnnxNode, graph: Any, scope: Scope, known: list[Any]) -> list[np.ndarray]:
    layout = scan_layout(node, len(graph.output), [None if a is None else a.ndim for a in known])
    carried, scanned = known[: layout.n_carried], known[layout.n_carried :]
    n_steps = scanned[0].shape[layout.input_axes[0]]
    if any(a.shape[axis] != n_steps for a, axis in zip(scanned, layout.input_axes, strict=True)):
        node.shape_error(f"its scan inputs have shapes {[a.shape for a in scanned]}, of different lengths")
    if not 0 < n_steps <= limits.MAX_TRIPS:
        node.unsupported(f"runs {n_steps} times; 1 to {limits.MAX_TRIPS} are computed while loading")
    collected: list[list[np.ndarray]] = [[] for _ in layout.output_axes]
    protos = needed(graph.node, [v.name for v in graph.output])
    for t in range(n_steps):
        rows = [
            a.take(n_steps - 1 - t if back else t, axis)
            for a, axis, back in zip(scanned, layout.input_axes, layout.input_backwards, strict=True)
        ]
        results = _step(resolver, node, graph, scope, protos, [*carried, *rows])
        carried = results[: layout.n_carried]
        for kept, row in zip(collected, results[layout.n_carried :], strict=True):
            kept.append(row)
    outs = zip(collected, layout.output_axes, layout.output_backwards, strict=True)
    return [*carried, *(_stack(resolver, node, rows[::-1] if back else rows, axis) for rows, axis, back in outs)]


__all__ = ["run_constant"]
