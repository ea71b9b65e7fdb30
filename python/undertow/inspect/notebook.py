# SPDX-License-Identifier: MIT
"""Models, graphs, streams and pools as a notebook shows them: tables, and the graph as a small picture of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._text import shown
from ..errors import Error
from ..ir.graph import Graph
from ..states import StateView
from .describe import MAX_ROWS, describe, human_bytes, layers_of, runs_of, shape_of
from .html import Markup, block, heading, items, paragraph, table, text

#: rows of layers that a table shows, and boxes of a picture
MAX_LAYERS, MAX_BOXES = 40, 40
#: of a box in pixels, and between two of them; of a letter of 11 pixels
_HEIGHT, _GAP, _LETTER = 34, 20, 6.2
_KINDS = {"frame": "#e8f0fe", "state": "#fde7c8", "weights": "#e6f4ea", "": "#ffffff"}


@dataclass
class _Box:
    """A box of the picture: two lines of text, what it is, and from which boxes it reads."""

    title: str
    words: str
    kind: str
    reads: set[int]


def model_html(model: Any) -> str:
    """A `Model`: what goes in and comes out, its layers, what it remembers, what it costs."""
    facts = describe(model)
    frames = [
        [kind, frame["name"], shape_of(frame["shape"]), _dtype(frame), "one frame"]
        for kind in ("input", "output")
        for frame in facts[f"{kind}s"]
    ]
    states = [["state", s["name"], shape_of(s["shape"]), "float32", f"starts {s['starts']}"] for s in facts["state"]]
    streams = "yes" if facts["streamable"] else "no: " + "; ".join(facts["not_streamable"])
    memory = f"{human_bytes(facts['state_bytes'])} of state, {human_bytes(facts['scratch_bytes'])} of scratch"
    timesteps = f"{facts['frames_in']} timesteps in, {facts['frames_out']} out"
    costs = [
        ["parameters", f"{facts['parameters']:,} ({human_bytes(facts['weight_bytes'])} of {facts['dtype']})"],
        ["memory of a stream", memory],
        ["work", f"about {facts['multiply_adds']:,} multiply-adds and {human_bytes(facts['bytes_per_step'])} a step"],
        ["streams", streams],
        *([["latency", f"{facts['latency']} frames"]] if facts["latency"] else []),
        *([["a frame", timesteps]] if facts["frames_in"] > 1 else []),
        *([["rate", f"{facts['sample_rate']:,} Hz"]] if facts["sample_rate"] else []),
        *([["proof", f"{facts['proof_frames']} frames"]] if facts["proof_frames"] else []),
        ["instruction set", facts["isa"]],
    ]  # fmt: skip
    return block(
        heading(facts["name"] or "model", 2),
        table(frames + states, ["", "name", "shape", "dtype", ""]),
        _layers(facts["layers"]),
        table(costs),
        items([f"warning: {warning}" for warning in facts["warnings"]]),
        _folded("how the file was read", facts["notes"][:MAX_ROWS]),
        graph_svg(model.graph),
    )


def graph_html(graph: Graph) -> str:
    """A `Graph`: its frames and layers."""
    frames = [["input", name, shape_of(list(graph.shape(name))), graph.values[name].dtype] for name in graph.inputs]
    frames += [["output", name, shape_of(list(graph.shape(value))), ""] for name, value in graph.outputs.items()]
    frames += [["state", s.name, shape_of(list(s.shape)), ""] for s in graph.states.values()]
    return block(
        heading(graph.name or "graph", 2),
        table(frames, ["", "name", "shape", "dtype"]),
        _layers(layers_of(graph)),
        _folded("how the file was read", list(graph.notes)[:MAX_ROWS]),
        graph_svg(graph),
    )


def stream_html(stream: Any) -> str:
    """A `Stream`: where it stands, and what it remembers now."""
    rows = [["frames taken", f"{stream.position:,}"], ["threads", f"{stream.threads}"]]
    return block(heading(f"stream of {shown(stream.model.name)}"), table(rows), _states(stream.state))


def states_html(view: Mapping[str, np.ndarray]) -> str:
    """What a stream remembers now: `stream.state`."""
    return block(_states(view))


def _states(view: Mapping[str, np.ndarray]) -> Markup:
    try:
        states = [_state(name, view[name]) for name in view]
    except (Error, RuntimeError) as error:  # a proposal is pending, or another thread is at work
        return paragraph(str(error))
    if not states:
        return paragraph("it has no state")
    return table(states, ["state", "shape", "least", "largest", "RMS", ""], [2, 3, 4])


def pool_html(pool: Any) -> str:
    """A `Pool`: how full it is."""
    model = pool.model
    return block(
        heading(f"pool of {shown(model.name)}"),
        table(
            [
                ["open", f"{pool.n_open:,} of {pool.capacity:,} streams"],
                ["threads", f"{pool.threads}"],
                ["state", f"{human_bytes(model.state_bytes)} each"],
            ]
        ),
    )


def _state(name: str, state: np.ndarray) -> list[Any]:
    finite = np.asarray(state, np.float64)[np.isfinite(state)]
    if not finite.size:
        return [name, shape_of(list(state.shape)), "-", "-", "-", _strip(state)]
    rms = float(np.sqrt((finite**2).mean()))
    numbers = [f"{finite.min():.3g}", f"{finite.max():.3g}", f"{rms:.3g}"]
    return [name, shape_of(list(state.shape)), *numbers, _strip(state)]


def _strip(state: np.ndarray, most: int = 128) -> Markup:
    """The numbers of a state side by side: blue below zero, white at zero, red above."""
    numbers = np.asarray(state, np.float64).reshape(-1)[:most]
    largest = float(np.abs(numbers[np.isfinite(numbers)]).max(initial=0.0)) or 1.0
    width = max(2, min(12, 384 // max(len(numbers), 1)))
    cells = []
    for i, x in enumerate(numbers):
        share = round(255 * (1 - min(abs(x) / largest, 1))) if np.isfinite(x) else 128
        colour = (share, share, share) if not np.isfinite(x) else (255, share, share) if x > 0 else (share, share, 255)
        cells.append(f'<rect x="{i * width}" width="{width}" height="14" fill="rgb{colour}"/>')
    size = f'width="{max(len(numbers), 1) * width}" height="14"'
    return Markup(f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">{"".join(cells)}</svg>')


def _dtype(frame: dict[str, Any]) -> str:
    return frame["dtype"] + (f" below {frame['ids']}" if frame.get("ids") else "")


def _layers(layers: list[dict[str, Any]]) -> Markup:
    rows = []
    runs = runs_of(layers, False)
    for run in runs[:MAX_LAYERS]:
        first = run[0]
        outputs = [layer["outputs"][0] for layer in run if layer["outputs"]]
        name, op = (first["name"], first["op"]) if len(run) == 1 else (f"... {len(run)} nodes", "")
        numbers = [f"{sum(layer[key] for layer in run):,}" for key in ("parameters", "bytes")]
        words = [first["precision"], first["variant"]] if len(run) == 1 else ["", ""]
        rows.append([name, op, shape_of(outputs[-1]) if outputs else "", *numbers, *words])
    more = (
        paragraph(f"and {len(runs) - MAX_LAYERS} more rows: print(model)", dim=True) if len(runs) > MAX_LAYERS else ""
    )
    head = ["layer", "op", "out", "parameters", "bytes", "precision", "variant"]
    return Markup(table(rows, head, [3, 4]) + more)


def _folded(title: str, lines: Sequence[str]) -> Markup:
    lines = [line for line in lines if line.strip()]
    return Markup(f"<details><summary>{text(title)}</summary>{items(lines)}</details>" if lines else "")


# -- the graph --------------------------------------------------------------------------------------------------------


def graph_svg(graph: Graph) -> Markup:
    """A graph from top to bottom: inputs, nodes (runs of small ones in one box), outputs; what reads what as lines."""
    boxes = _boxes(graph)
    if len(boxes) > MAX_BOXES:
        return paragraph(f"{len(graph.nodes)} nodes are more than fit here: undertow info MODEL --graph OUT.svg", True)
    width = max(140.0, 24 + _LETTER * max((len(line) for box in boxes for line in (box.title, box.words)), default=0))
    left = 12.0 + 9 * _lanes(boxes)
    parts = []
    for j, box in enumerate(boxes):
        y = 6 + j * (_HEIGHT + _GAP)
        parts.append(
            f'<rect x="{left:.0f}" y="{y}" width="{width:.0f}" height="{_HEIGHT}" rx="6" fill="{_KINDS[box.kind]}" '
            f'stroke="#80868b"/><text x="{left + 10:.0f}" y="{y + 14}" font-weight="600">{text(box.title)}</text>'
            f'<text x="{left + 10:.0f}" y="{y + 27}" fill="#5f6368">{text(box.words)}</text>'
        )
        if box.kind == "state":
            x = left + width
            parts.append(
                f'<path d="M{x:.0f} {y + 24} c16 0 16 -14 2 -14" fill="none" stroke="#b06000" '
                'marker-end="url(#ut-arrow)"/>'
            )
        for i in sorted(box.reads):
            start = 6 + i * (_HEIGHT + _GAP) + _HEIGHT
            if i == j - 1:
                x = left + width / 2
                path = f"M{x:.0f} {start} L{x:.0f} {y - 1}"
            else:  # past the boxes between them, on their left
                lane = left - 8 - 9 * min(j - i - 2, 5)
                middle = start - _HEIGHT / 2
                path = f"M{left:.0f} {middle:.0f} H{lane:.0f} V{y + _HEIGHT / 2:.0f} H{left - 1:.0f}"
            parts.append(f'<path d="{path}" fill="none" stroke="#80868b" marker-end="url(#ut-arrow)"/>')
    size = f'width="{left + width + 24:.0f}" height="{len(boxes) * (_HEIGHT + _GAP)}"'
    return Markup(
        f'<figure><svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui,sans-serif" font-size="11" '
        'role="img" aria-label="the graph"><defs><marker id="ut-arrow" viewBox="0 0 8 8" refX="7" refY="4" '
        'markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8z" fill="#80868b"/></marker></defs>'
        f"{''.join(parts)}</svg></figure>"
    )


def _lanes(boxes: Sequence[_Box]) -> int:
    """How many lines stand beside each other on the left of the boxes."""
    spans = [j - i - 1 for j, box in enumerate(boxes) for i in box.reads if i < j - 1]
    return min(max(spans, default=0), 6)


def _boxes(graph: Graph) -> list[_Box]:
    boxes: list[_Box] = []
    place: dict[str, int] = {}  # value -> box
    for name in graph.inputs:
        boxes.append(_Box(shown(name, 40), f"input {shape_of(list(graph.shape(name)))}", "frame", set()))
        place[name] = len(boxes) - 1
    nodes = iter(graph.nodes)
    for run in runs_of(layers_of(graph), False):
        members = [next(nodes) for _ in run]
        reads = {place[value] for node in members for value in node.inputs if value in place}
        outputs = [layer["outputs"][0] for layer in run if layer["outputs"]]
        to = f" to {shape_of(outputs[-1])}" if outputs else ""
        first = run[0]
        title, words = (first["name"], f"{first['op']}{to}") if len(run) == 1 else (f"{len(run)} nodes", to.strip())
        held = [state for node in members for state in node.states]
        kind = "state" if held else "weights" if any(layer["parameters"] for layer in run) else ""
        if held:
            words += f", remembers {', '.join(held)}"
        boxes.append(_Box(shown(title, 40), shown(words, 70), kind, reads))
        place.update((value, len(boxes) - 1) for node in members for value in node.outputs)
    for name, value in graph.outputs.items():
        words = f"output {shape_of(list(graph.shape(value)))}"
        boxes.append(_Box(shown(name, 40), words, "frame", {place[value]}))
    return boxes


# Graphs and states stand further down, and know nothing of who shows them.
setattr(Graph, "_repr_html_", graph_html)  # noqa: B010
setattr(StateView, "_repr_html_", states_html)  # noqa: B010

__all__ = [
    "MAX_BOXES",
    "MAX_LAYERS",
    "graph_html",
    "graph_svg",
    "model_html",
    "pool_html",
    "states_html",
    "stream_html",
]
