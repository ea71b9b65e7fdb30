# SPDX-License-Identifier: MIT
"""A model before and after its import: tables of what became what, and the graph as a picture, for `info --graph`.

Pictures need the package graphviz and the program `dot`; the description that `dot` draws from needs neither.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from .. import _files
from .._text import quoted, shown
from ..errors import UnsupportedError
from ..ir.graph import Graph, Node
from ..ir.ops import OPS
from .describe import Described, table, variant

#: What a picture may be written as.
SUFFIXES = (".svg", ".png", ".pdf", ".dot")
#: Above so many nodes, `dot` takes minutes and nobody finds anything.
MAX_NODES = 2000


def census(model: Described) -> dict[str, Any]:
    """What the file held and what the graph holds, as plain data.

    Returns:
        "before": for each type of node or layer how many are in the file, how many of them are computed when a stream
        runs (loops written out), and op -> nodes that they became; "after": for each op its nodes, parameters and
        bytes. "before" is empty for a .tow file, which does not keep it.
    """
    from ..tow.sizes import weight_bytes

    ops = {node.name: node.op for node in model.graph.nodes}
    origin = model.origin
    kinds = sorted({*origin.contents, *origin.taken}, key=lambda kind: (-origin.contents[kind], kind))
    after: dict[str, dict[str, int]] = {}
    for node in model.graph.nodes:
        row = after.setdefault(node.op, {"nodes": 0, "parameters": 0, "bytes": 0})
        row["nodes"] += 1
        row["parameters"] += node.n_parameters
        row["bytes"] += weight_bytes(node)
    return {
        "before": {
            kind: {
                "in_file": origin.contents[kind],
                "computed": origin.taken[kind],
                "became": dict(origin.became(kind, ops).most_common()),
            }
            for kind in kinds
        },
        "after": dict(sorted(after.items(), key=lambda item: (-item[1]["parameters"], item[0]))),
    }


def tables(model: Described) -> str:
    """`census` as two tables."""
    counts = census(model)
    lines: list[str] = []
    if counts["before"]:
        rows = [["in the file", "nodes", "computed", "became"]]
        for kind, facts in counts["before"].items():
            names = _counted(facts["became"])
            if not names:
                names = "part of others" if facts["computed"] else "(known while loading)"
            rows.append([kind, str(facts["in_file"]), str(facts["computed"]), names])
        sums = (sum(facts[key] for facts in counts["before"].values()) for key in ("in_file", "computed"))
        rows.append(["all", *map(str, sums), f"{len(model.graph.nodes)} nodes"])
        lines += [table(rows), ""]
    rows = [["in the model", "nodes", "parameters", "bytes"]]
    rows += [
        [op, *(f"{row[key]:,}" for key in ("nodes", "parameters", "bytes"))] for op, row in counts["after"].items()
    ]
    return "\n".join([*lines, table(rows)])


def _counted(ops: dict[str, int]) -> str:
    return ", ".join(f"{n} {op}" if n > 1 else op for op, n in ops.items())


def write(model: Described, path: str | os.PathLike[str]) -> None:
    """Draw the model: its file as a table, its graph beside it, states dashed.

    Args:
        path: .svg, .png or .pdf; or .dot for the description alone, which needs nothing installed.

    Raises:
        ImportError: the package graphviz, or the program `dot`, is missing.
        UnsupportedError: the graph has too many nodes to be looked at, or the suffix is none of these.
        OSError: it cannot be written; what was there before stays as it is.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UnsupportedError(f"{path}: a graph is written as {', '.join(SUFFIXES)}")
    description = dot(model)
    if suffix == ".dot":
        _files.write(path, description)
        return
    try:
        import graphviz
    except ImportError:
        raise ImportError('pictures of graphs need graphviz: pip install "undertow[graph]"; or write a .dot') from None
    try:
        picture = graphviz.Source(description).pipe(format=suffix[1:])
    except graphviz.ExecutableNotFound:
        raise ImportError(
            "pictures of graphs need the program dot: install your system's package graphviz; or write a .dot"
        ) from None
    _files.write(path, picture)


def dot(model: Described) -> str:
    """The model in the language of graphviz."""
    graph = model.graph
    if len(graph.nodes) > MAX_NODES:
        raise UnsupportedError(f"{quoted(model.name)} has {len(graph.nodes)} nodes; at most {MAX_NODES} are drawn")
    lines = [
        "digraph model {",
        '  node [shape=box, style="rounded,filled", fillcolor=white, fontname="sans-serif", fontsize=11];',
        '  edge [fontname="sans-serif", fontsize=9, color="#555555"];',
        f'  label={_label([model.name])}; labelloc=t; fontname="sans-serif";',
        *_before(model),
    ]
    values: dict[str, str] = {}
    for i, name in enumerate(graph.inputs):
        lines.append(f'  i{i} [label={_label([name])}, shape=ellipse, fillcolor="#e8f0fe"];')
        values[name] = f"i{i}"
    for i, node in enumerate(graph.nodes):
        colour = "#fde7c8" if node.states else "#e6f4ea" if OPS[node.op].landmark else "white"
        lines.append(f'  n{i} [label={_label(_words(graph, node))}, fillcolor="{colour}"];')
        for value in node.inputs:
            lines.append(f"  {values[value]} -> n{i} [label={_label([_size(graph, value)])}];")
        values.update(dict.fromkeys(node.outputs, f"n{i}"))
    for i, (name, value) in enumerate(graph.outputs.items()):
        lines.append(f'  o{i} [label={_label([name])}, shape=ellipse, fillcolor="#e8f0fe"];')
        lines.append(f"  {values[value]} -> o{i} [label={_label([_size(graph, value)])}];")
    places = {name: f"s{i}" for i, name in enumerate(graph.states)}
    for state in graph.states.values():
        label = _label([state.name, _shape(state.shape)])
        lines.append(f'  {places[state.name]} [label={label}, shape=cylinder, fillcolor="#fff8e1"];')
    for i, node in enumerate(graph.nodes):
        for name in node.states:
            op = OPS[node.op]
            ends = f"{places[name]} -> n{i}" if op.reads_register else f"n{i} -> {places[name]}"
            both = "" if op.is_register else ", dir=both"
            lines.append(f"  {ends} [style=dashed, constraint=false{both}];")
    return "\n".join([*lines, "}", ""])


def _before(model: Described) -> list[str]:
    """The file's nodes as one box beside the graph."""
    kinds = census(model)["before"]
    if not kinds:
        return []
    rows = [f"{facts['in_file']:>5}  {kind}" for kind, facts in kinds.items()]
    label = _label(["in the file:", *rows], left=True)
    return [f'  before [label={label}, shape=note, style=filled, fillcolor="#f1f3f4", fontname="monospace"];']


def _words(graph: Graph, node: Node) -> list[str]:
    words = [
        node.name,
        node.op if node.name.rpartition("_")[0] != node.op and node.name != node.op else "",
        variant(graph, node),
    ]
    precisions = Counter(node.precisions.values())
    return [word for word in words if word] + [", ".join(precisions)] * bool(precisions)


def _size(graph: Graph, value: str) -> str:
    return _shape(graph.shape(value))


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _label(lines: list[str], left: bool = False) -> str:
    """A string of graphviz. Names come from files: nothing in them may end it, or mean something to graphviz."""
    plain = (shown(line).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") for line in lines)
    return '"' + ("".join(f"{line}\\l" for line in plain) if left else "\\n".join(plain)) + '"'
