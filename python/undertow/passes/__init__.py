# SPDX-License-Identifier: MIT
"""What is done to a Graph between its importer and its file: nothing that it computes changes but by a rounding.

`PIPELINE` is the one list, in order, for every importer and for models written in Python; `run` goes through it, from
where a graph stands in it. What is asked for beside it has functions of its own: `precisions`, blocks of zeros
(`sparsify`), and windows that look ahead (`latency`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .._progress import tell
from .._text import shown
from ..ir.graph import Graph
from .attention import attend
from .express import express
from .filters import depthwise
from .fuse import fuse, rounds
from .join_dense import join
from .layout import order
from .outer_products import apart
from .rebuild_cells import Moved, recover
from .shifts import window
from .symmetric_dense import halve
from .unused import tidy


@dataclass
class Report:
    """What passes have found, for `Graph.notes`, the elements of arrays that they have looked through, and states that
    are gone, with those that hold their elements now, and which.
    """

    notes: list[str] = field(default_factory=list)
    work: int = 0
    moved: Moved = field(default_factory=dict)


@dataclass(frozen=True)
class Pass:
    """One step of the pipeline, which changes a graph in place.

    name: it is done once with a graph, which notes it. why: what it is for, and why it stands where it stands.
    """

    name: str
    run: Callable[[Graph], Report]
    why: str


def _tidy(graph: Graph) -> Report:
    tidy(graph)
    return Report()


def _cells(graph: Graph) -> Report:
    recovered, work, moved = recover(graph)
    if recovered:
        tidy(graph)
    return Report([f"recovered: {shown(name)} from products, sums and registers" for name in recovered], work, moved)


def _fuse(graph: Graph) -> Report:
    fuse(graph)
    return Report()


def _symmetric_dense(graph: Graph) -> Report:
    halved = [] if rounds(graph) else halve(graph)
    return Report([f"halved: {shown(name)}, whose rows are mirror images of themselves" for name in halved])


def _shifts(graph: Graph) -> Report:
    windows, moved = window(graph)
    if windows:
        tidy(graph)
    return Report([f"window: {shown(name)}, from a register that shifts" for name in windows], 0, moved)


def _attention(graph: Graph) -> Report:
    names = attend(graph)
    if names:
        tidy(graph)
    return Report([f"attention: {shown(name)}, from a softmax between two products" for name in names])


def _filters(graph: Graph) -> Report:
    if depthwise(graph):
        tidy(graph)
    return Report()


def _outer_products(graph: Graph) -> Report:
    if not rounds(graph) and apart(graph):
        tidy(graph)
    return Report()


def _join_dense(graph: Graph) -> Report:
    join(graph)
    return Report()


def _express(graph: Graph) -> Report:
    express(graph)
    tidy(graph)
    return Report()


def _layout(graph: Graph) -> Report:
    order(graph)
    return Report()


#: that without which nobody can say what a graph is: whether it has a cell, whether it can be streamed
ESSENTIAL = (
    Pass("tidy", _tidy, "exporters leave nodes that nobody reads, and write the bias of a layer behind it"),
    Pass("cells", _cells, "a cell is found in the formulas that an exporter wrote, before others change them"),
    Pass("shifts", _shifts, "a register that only shifts is a window, which a stream keeps where nothing moves"),
)
PIPELINE = (
    *ESSENTIAL,
    Pass("attention", _attention, "queries, keys and values are found before others take scales and views for theirs"),
    Pass(
        "outer_products",
        _outer_products,
        "a matrix times an outer product is vectors, before views of both are settled",
    ),
    Pass("filters", _filters, "a convolution over time is one layer, before others take its weights for scales"),
    Pass("fuse", _fuse, "a layer takes in the scale, shift and activation behind it: fewer nodes, each a call"),
    Pass("symmetric_dense", _symmetric_dense, "needs the scales of `fuse` inside of the matrix whose rows it compares"),
    Pass(
        "layout",
        _layout,
        "elements are moved to where they are read, by all selections that there are then",
    ),
    Pass("clean", _tidy, "what moved inputs of layers that are gone has no reader any more"),
    Pass("join_dense", _join_dense, "a product for all that expressions read, which look through its slices"),
    Pass(
        "express", _express, "small ops between layers cost their calls: one walk does them all, when views are settled"
    ),
)

#: called after each pass, for tests: with the graph, and the name of the pass
watchers: list[Callable[[Graph, str], None]] = []


def run(graph: Graph, passes: Iterable[Pass] = PIPELINE) -> Report:
    """Run those passes, in place, that the graph has not been through; what they have found joins its notes.

    >>> import numpy as np, undertow
    >>> graph = undertow.Graph("demo")
    >>> x = graph.add("dense", [graph.input("x", 2)], weights={"W": np.full((2, 2), 0.5)})
    >>> graph.output("y", graph.add("affine", [x], weights={"scale": np.full(2, 3.0), "shift": np.ones(2)}))
    >>> _ = run(graph)
    >>> [(node.op, node.weights["W"].tolist()) for node in graph.nodes]
    [('dense', [[1.5, 1.5], [1.5, 1.5]])]
    """
    total = Report()
    for step in passes:
        if step.name in graph.passed:
            continue
        tell(f"rewriting the graph: {step.name}")
        report = step.run(graph)
        graph.passed.append(step.name)
        total.notes += report.notes
        total.work += report.work
        total.moved |= report.moved
        for watcher in watchers:
            watcher(graph, step.name)
    graph.note(*total.notes)
    return total


__all__ = ["ESSENTIAL", "PIPELINE", "Moved", "Pass", "Report", "run", "watchers"]
