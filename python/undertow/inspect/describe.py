# SPDX-License-Identifier: MIT
"""What is in a model, as plain data and as the text that `print(model)` and `undertow info` show."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from .._text import MAX_LINE, escaped, quoted, shown
from ..errors import FormatError
from ..ir.graph import Graph, Node, Value
from ..ir.ops import OPS
from ..ir.origin import Origin
from ..tow.sizes import weight_bytes
from ..tow.sparse import densities

#: Above so many nodes, small ones share a line.
MANY_LAYERS = 24
#: from so many rows on, those in the middle share one
MAX_ROWS = 80
#: Shapes of inputs (outputs) in one line.
MAX_SHAPES = 3


class Described(Protocol):
    """What is asked of a `Model`."""

    @property
    def graph(self) -> Graph: ...
    @property
    def name(self) -> str: ...
    @property
    def origin(self) -> Origin: ...
    @property
    def inputs(self) -> Mapping[str, Value]: ...
    @property
    def outputs(self) -> Mapping[str, Value]: ...
    @property
    def n_parameters(self) -> int: ...
    @property
    def state_bytes(self) -> int: ...
    @property
    def scratch_bytes(self) -> int: ...
    @property
    def step_bytes(self) -> int: ...
    @property
    def multiply_adds(self) -> int: ...
    @property
    def bytes_per_step(self) -> int: ...
    @property
    def isa(self) -> str: ...
    @property
    def streamable(self) -> bool: ...
    @property
    def latency(self) -> int: ...
    @property
    def frames_in(self) -> int: ...
    @property
    def frames_out(self) -> int: ...
    @property
    def sample_rate(self) -> int | None: ...
    @property
    def proof_frames(self) -> int: ...


def describe(model: Described) -> dict[str, Any]:
    """Everything that there is to say about a model, as plain data."""
    graph = model.graph
    warnings = _not_finite(graph.nodes)
    try:
        proof_frames = model.proof_frames
    except FormatError as error:  # of the proof alone
        proof_frames = 0
        warnings.append(str(error))

    def frame(name: str, value: Any) -> dict[str, Any]:
        facts = {"name": name, "shape": list(value.shape), "dtype": value.dtype}
        return {**facts, "ids": value.n_ids} if value.n_ids is not None else facts

    return {
        "name": model.name,
        "source": graph.source,
        "notes": list(graph.notes),
        "inputs": [frame(name, value) for name, value in model.inputs.items()],
        "outputs": [frame(name, value) for name, value in model.outputs.items()],
        "layers": layers_of(graph),
        "state": [
            {"name": s.name, "shape": list(s.shape), "starts": "at zero" if s.init is None else "from the model"}
            for s in graph.states.values()
        ],
        "parameters": model.n_parameters,
        "dtype": ", ".join(dict.fromkeys(p for node in graph.nodes for p in _precisions(node).values())) or "float32",
        "weight_bytes": sum(weight_bytes(node) for node in graph.nodes),
        "state_bytes": model.state_bytes,
        "scratch_bytes": model.scratch_bytes,
        "step_bytes": model.step_bytes,
        "multiply_adds": model.multiply_adds,
        "bytes_per_step": model.bytes_per_step,
        "isa": model.isa,
        "streamable": model.streamable,
        "latency": model.latency,
        "frames_in": model.frames_in,
        "frames_out": model.frames_out,
        "sample_rate": model.sample_rate,
        "proof_frames": proof_frames,
        "not_streamable": [f"{node.op} {quoted(node.name)}: {reason}" for node, reason in graph.whole_sequence_nodes()],
        "warnings": warnings,
    }


def layers_of(graph: Graph) -> list[dict[str, Any]]:
    """The nodes of a graph, as plain data."""
    return [
        {
            "name": node.name,
            "op": node.op,
            "inputs": [list(graph.shape(value)) for value in node.inputs],
            "outputs": [list(graph.shape(value)) for value in node.outputs],
            "parameters": node.n_parameters,
            "bytes": weight_bytes(node),
            "precision": precision_of(node),
            "density": densities(node),
            "variant": variant(graph, node),
        }
        for node in graph.nodes
    ]


def precision_of(node: Node) -> str:
    """How the weights of a layer are stored: "int8", or "W int8, R float16"; "" where there is nothing to choose."""
    precisions = _precisions(node)
    if len(set(precisions.values())) > 1:
        return ", ".join(f"{key} {precision}" for key, precision in precisions.items())
    return next(iter(precisions.values()), "")


def _precisions(node: Node) -> dict[str, str]:
    return {key: node.precisions.get(key, "float32") for key in OPS[node.op].reducible if key in node.weights}


def _timesteps(facts: dict[str, Any]) -> str:
    return f"{facts['frames_in']} timesteps of the inputs, {facts['frames_out']} of the outputs"


def _left(density: dict[str, float]) -> str:
    """Of matrices that are stored in blocks, the share that is stored."""
    shares = ", ".join(f"{key} {share:.0%}" for key, share in density.items())
    return f" ({shares} left)" if shares else ""


def variant(graph: Graph, node: Node) -> str:
    """What tells this node from others of its op, in a few words."""
    return ", ".join(OPS[node.op].words(node, [graph.shape(value) for value in node.inputs]))


def _not_finite(nodes: list[Node]) -> list[str]:
    problems = []
    for node in nodes:
        for key, w in node.weights.items():
            for what, n in (("NaN", int(np.isnan(w).sum())), ("infinite", int(np.isinf(w).sum()))):
                if n:
                    problems.append(f"{node.op} {quoted(node.name)}: {n} of {w.size} numbers of {key} are {what}")
    return problems


def text(facts: dict[str, Any], every: bool = False) -> str:
    """Facts in lines. Of models with many layers, runs of small ones share a line unless `every` one is wanted."""

    def frames(kind: str) -> list[list[str]]:
        return [
            [kind, shown(f["name"]), shape_of(f["shape"]), f["dtype"] + (f" below {f['ids']}" if f.get("ids") else "")]
            for f in facts[f"{kind}s"]
        ]

    layers = [["layer", "op", "in", "out", "parameters", "bytes", "precision", "variant"]]
    runs = runs_of(facts["layers"], every)
    if not every and len(runs) > MAX_ROWS:
        middle = [layer for run in runs[MAX_ROWS // 2 : -MAX_ROWS // 4] for layer in run]
        runs = [*runs[: MAX_ROWS // 2], middle, *runs[-MAX_ROWS // 4 :]]
    for run in runs:
        layers.append(_row(run[0]) if len(run) == 1 else _row_of_many(run))
    lines = [shown(facts["name"]), *_notes(facts["notes"]), ""]
    lines += [table(frames("input") + frames("output")), "", table(layers), ""]
    if len(layers) <= len(facts["layers"]):
        lines += [f"  {len(facts['layers'])} nodes; undertow info --all gives each of them a line", ""]
    states = [
        [
            "state" if i == 0 else "",
            f"{shown(s['name'])} {shape_of(s['shape'])}"
            + ("" if s["starts"] == "at zero" else " starts from the model"),
        ]
        for i, s in enumerate(facts["state"])
    ]
    streams = "yes" if facts["streamable"] else "no: " + "; ".join(facts["not_streamable"])
    lines.append(
        table(
            [
                ["parameters", f"{facts['parameters']:,} ({human_bytes(facts['weight_bytes'])} of {facts['dtype']})"],
                *states,
                ["memory", f"{human_bytes(facts['state_bytes'])} of state and "
                 f"{human_bytes(facts['scratch_bytes'])} of scratch per stream; "
                 f"{human_bytes(facts['step_bytes'])} in all for one that only steps"],
                ["work", f"about {facts['multiply_adds']:,} multiply-adds and "
                 f"{human_bytes(facts['bytes_per_step'])} a step"],
                ["isa", facts["isa"]],
                ["streams", streams],
                *([["latency", f"{facts['latency']} frames"]] if facts["latency"] else []),
                *([["frame", _timesteps(facts)]] if facts["frames_in"] > 1 else []),
                *([["rate", f"{facts['sample_rate']:,} Hz"]] if facts["sample_rate"] else []),
                *([["proof", f"{facts['proof_frames']} frames, which load(check=True) and verify compute"]]
                  if facts["proof_frames"] else []),
            ]
        )
    )  # fmt: skip
    return "\n".join(lines)


def _notes(notes: list[str]) -> list[str]:
    """Where the model came from; in a column of its own, so that no line of it passes for a fact of ours."""
    said = [shown(re.sub(" +", " ", note).strip(), MAX_LINE) for note in notes]
    if len(said) > MAX_ROWS:
        said[MAX_ROWS:] = [f"... and {len(said) - MAX_ROWS} more lines"]
    return [f"  {'source' if i == 0 else '':6}  {line}".rstrip() for i, line in enumerate(said)]


def shape_of(dims: list[int]) -> str:
    """A shape as Python writes it."""
    return "(" + ", ".join(map(str, dims)) + ("," if len(dims) == 1 else "") + ")"


def _row(layer: dict[str, Any]) -> list[str]:
    return [
        shown(layer["name"]),
        layer["op"],
        " ".join(map(shape_of, layer["inputs"][:MAX_SHAPES])) + _more(layer["inputs"]),
        " ".join(map(shape_of, layer["outputs"][:MAX_SHAPES])) + _more(layer["outputs"]),
        f"{layer['parameters']:,}",
        f"{layer['bytes']:,}",
        layer["precision"] + _left(layer["density"]),
        layer["variant"],
    ]


def _more(shapes: list[Any]) -> str:
    return f" and {len(shapes) - MAX_SHAPES} more" if len(shapes) > MAX_SHAPES else ""


def _row_of_many(run: list[dict[str, Any]]) -> list[str]:
    ops = Counter(layer["op"] for layer in run)
    names = ", ".join(f"{n} {op}" if n > 1 else op for op, n in ops.most_common())
    outputs = [layer["outputs"][0] for layer in run if layer["outputs"]]
    parameters, size = (sum(layer[key] for layer in run) for key in ("parameters", "bytes"))
    return [f"... {len(run)} nodes", "", "", shape_of(outputs[-1]) if outputs else "",
            f"{parameters:,}", f"{size:,}", "", names]  # fmt: skip


def runs_of(layers: list[dict[str, Any]], every: bool) -> list[list[dict[str, Any]]]:
    """Layers one by one; where there are many, those between the large ones together."""
    runs: list[list[dict[str, Any]]] = []
    for layer in layers:
        small = not every and len(layers) > MANY_LAYERS and not OPS[layer["op"]].landmark
        if small and runs and not OPS[runs[-1][0]["op"]].landmark:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return runs


def human_bytes(n: int) -> str:
    """1536 -> '1.5 KiB'."""
    size, unit = float(n), "bytes"
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{n:,} {'byte' if n == 1 else 'bytes'}" if unit == "bytes" else f"{size:.1f} {unit}"


def table(rows: list[list[str]], indent: str = "  ") -> str:
    """Columns padded to their widest cell; a cell is one line, whatever its text holds."""
    rows = [[escaped(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    )
