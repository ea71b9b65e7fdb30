# SPDX-License-Identifier: MIT
"""A certificate (`certificate.certify`) as one HTML page that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..inspect.describe import human_bytes
from ..inspect.html import Markup, code, heading, items, page, paragraph, table, text, verdict
from .comparison import SIZES

#: of the picture, in pixels: its drawing and what is left for labels
_WIDTH, _HEIGHT, _LEFT, _BELOW = 720, 150, 64, 34


def as_page(facts: Mapping[str, Any]) -> str:
    """The page of a certificate."""
    model, data, versions = facts["model"], facts["data"], facts["versions"]
    title = f"undertow certificate: {model['name']}"
    return page(
        title,
        heading(title, 1),
        paragraph(Markup(f"{verdict(facts['ok'])} &middot; {text(facts['date'])} &middot; {text(_summary(facts))}")),
        heading("What was measured"),
        _subject(model, data),
        heading("On what"),
        table([[key, value] for key, value in versions.items()] + [["cpu features", " ".join(facts["cpu_features"])]]),
        heading("Laws"),
        table([[law["law"], verdict(law["holds"], "holds" if law["holds"] else "BROKEN")] for law in facts["laws"]]),
        heading("Errors against a float64 evaluation of the same graph"),
        _errors(facts["precisions"]),
        paragraph(_of_tolerance(facts["tolerance"])),
        heading("Errors against ONNX Runtime"),
        _peer(facts["onnxruntime"]),
        heading(f"Time of a {facts['precisions'][0]['us']['what']}, microseconds"),
        _times(facts["precisions"]),
        _histogram(facts["histogram"]),
        paragraph(
            "Called from Python, one after the other, with warm caches. A percentile that too few calls were made for "
            "is left out. Times are of this machine as it was then; they are no promise.",
            dim=True,
        ),
        heading("Memory"),
        table([[SIZES[key], human_bytes(n), f"{n:,}"] for key, n in facts["memory"].items()], ["", "", "bytes"], [2]),
        heading("Bits on each instruction set"),
        _bits(facts["precisions"]),
        paragraph("Hashes are of all outputs and the final state, over the data above.", dim=True),
        heading("Layers"),
        _layers(model["layers"]),
        items(model["notes"]),
        items([f"warning: {warning}" for warning in model["warnings"]]),
    )


def _summary(facts: Mapping[str, Any]) -> str:
    held = sum(law["holds"] for law in facts["laws"])
    return (
        f"{held} of {len(facts['laws'])} laws hold; largest error {facts['tolerance']['largest_error']:.3g} on "
        f"{facts['data']['frames']:,} frames"
    )


def _subject(model: Mapping[str, Any], data: Mapping[str, Any]) -> Markup:
    size = "" if model["file_bytes"] is None else f", {model['file_bytes']:,} bytes"
    frames = [
        [kind, f"{value['name']} {tuple(value['shape'])} {value['dtype']}"]
        for kind in ("input", "output")
        for value in model[f"{kind}s"]
    ]
    states = [
        ["state", f"{state['name']} {tuple(state['shape'])}, starts {state['starts']}"] for state in model["state"]
    ]
    return table(
        [
            ["file", f"{model['file']}{size}"],
            ["SHA-256", code(model["file_sha256"] or "a folder: none")],
            ["model hash", code(model["hash"])],
            ["proof in the file", f"{model['proof_frames']} frames" if model["proof_frames"] else "none"],
            *frames,
            *states,
            ["parameters", f"{model['parameters']:,}, about {model['multiply_adds']:,} multiply-adds a step"],
            ["streams", _streams(model)],
            ["data", f"{data['frames']:,} frames: {data['from']}"],
            ["SHA-256 of the data's file", code(data["file_sha256"] or "none")],
            ["hash of the frames", code(data["hash"])],
        ]
    )


def _streams(model: Mapping[str, Any]) -> str:
    if not model["streamable"]:
        return "no: it needs whole sequences"
    return f"yes, outputs {model['latency']} frames late" if model["latency"] else "yes"


def _errors(rows: Sequence[Mapping[str, Any]]) -> Markup:
    lines: list[list[Any]] = []
    for row in rows:
        if "refused" in row:
            lines.append([row["precision"], "", "", "", "", "", "", row["refused"]])
            continue
        for output in row["outputs"]:
            lines.append([row["precision"], f"{row['file_bytes']:,}", *_of_output(output)])
    head = ["weights", "file, bytes", "output", "largest error", "RMS", "of RMS of output", "decisions", "agree"]
    return table(lines, head, [1, 3, 4, 5])


def _of_output(output: Mapping[str, Any]) -> list[str]:
    agree = f"{output['n_agree']:,} of {output['n_decisions']:,} ({output['agreement']:.4%})"
    numbers = [f"{output['max']:.3g}", f"{output['rms']:.3g}", f"{output['relative']:.4%}"]
    return [output["name"], *numbers, output["decision"], agree]


def _of_tolerance(tolerance: Mapping[str, Any]) -> Markup:
    if tolerance["allowed"] is None:
        return text("No tolerance was given: these numbers decide nothing.")
    words = f"largest error {tolerance['largest_error']:.3g} as stored, tolerance {tolerance['allowed']:g}"
    return Markup(f"{verdict(tolerance['holds'])} {text(words)}")


def _peer(peer: Mapping[str, Any]) -> Markup:
    parts = items(peer["notes"])
    if peer["outputs"]:
        head = ["output", "largest error", "RMS", "of RMS of output", "decisions", "agree"]
        rows = table([_of_output(output) for output in peer["outputs"]], head, [1, 2, 3])
        parts = Markup(paragraph(f"ONNX Runtime {peer['version']}, same file, same frames") + rows + parts)
    return parts


def _times(rows: Sequence[Mapping[str, Any]]) -> Markup:
    names = [name for name in rows[0]["us"] if name.startswith("p")]
    lines = []
    for row in rows:
        if "us" in row:
            us = row["us"]
            numbers = ["-" if us[name] is None else f"{us[name]:.2f}" for name in names]
            lines.append([row["precision"], f"{us['n_calls']:,}", *numbers, f"{us['max']:.2f}"])
    return table(lines, ["weights", "calls", *names, "max"], range(1, len(names) + 3))


def _histogram(facts: Mapping[str, Any]) -> Markup:
    """Bars over a logarithmic axis; their height is the logarithm of the number of calls."""
    edges, counts = np.log10(facts["edges_us"]), np.asarray(facts["n_calls"], float)
    first, last = float(edges[0]), float(edges[-1])
    x = _LEFT + (edges - first) / (last - first) * (_WIDTH - _LEFT - 10)
    heights = np.where(counts > 0, np.log10(np.maximum(counts, 1)) + 0.3, 0.0)
    top = float(heights.max()) or 1.0
    bars = [
        f'<rect x="{left:.1f}" y="{_HEIGHT - h / top * (_HEIGHT - 14):.1f}" width="{max(right - left - 0.5, 0.8):.1f}" '
        f'height="{h / top * (_HEIGHT - 14):.1f}" fill="#4285f4"/>'
        for left, right, h in zip(x[:-1], x[1:], heights, strict=True)
        if h
    ]
    ticks = [
        f'<text x="{_LEFT + (at - first) / (last - first) * (_WIDTH - _LEFT - 10):.1f}" y="{_HEIGHT + 14}" '
        f'text-anchor="middle">{10.0**at:g}</text>'
        for at in _ticks(first, last)
    ]
    most = int(counts.max())
    labels = [
        f'<text x="{_LEFT - 4}" y="14" text-anchor="end">{most:,}</text>',
        f'<text x="{_LEFT - 4}" y="{_HEIGHT}" text-anchor="end">1</text>',
        f'<text x="{(_WIDTH + _LEFT) // 2}" y="{_HEIGHT + 30}" text-anchor="middle">microseconds of a call</text>',
    ]
    return Markup(
        f'<figure><svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT + _BELOW}" role="img" '
        f'aria-label="how many calls took how long" font-family="system-ui,sans-serif" font-size="11" fill="#5f6368">'
        f'<line x1="{_LEFT}" y1="{_HEIGHT}" x2="{_WIDTH}" y2="{_HEIGHT}" stroke="#dadce0"/>'
        f"{''.join(bars + ticks + labels)}</svg></figure>"
    )


def _ticks(first: float, last: float) -> list[float]:
    """Powers of ten between the ends; where there are fewer than two, also 2 and 5 times them."""
    factors: tuple[float, ...] = (1.0,)
    if np.floor(last) - np.ceil(first) < 1:
        factors = (1.0, 2.0, 5.0)
    powers = range(int(np.floor(first)), int(np.ceil(last)) + 1)
    return [at for power in powers for f in factors if first <= (at := power + float(np.log10(f))) <= last]


def _bits(rows: Sequence[Mapping[str, Any]]) -> Markup:
    isas = list(rows[0]["bits"])
    lines: list[list[Any]] = []
    for row in rows:
        if "bits" in row:
            same = len(set(row["bits"].values())) == 1
            hashes = [code(row["bits"][isa]) for isa in isas]
            shown_once = (
                [Markup(f"{hashes[0]} on {text(', '.join(isas))}")]
                if same
                else [Markup("<br>".join(f"{text(isa)} {digest}" for isa, digest in zip(isas, hashes, strict=True)))]
            )
            lines.append([row["precision"], verdict(same, "equal" if same else "DIFFERENT"), *shown_once])
    return table(lines, ["weights", "", "hash"])


def _layers(layers: Sequence[Mapping[str, Any]]) -> Markup:
    rows = [
        [layer["name"], layer["op"], f"{layer['parameters']:,}", layer["precision"], layer["variant"]]
        for layer in layers
    ]
    return table(rows, ["layer", "op", "parameters", "weights", "variant"], [2])


__all__ = ["as_page"]
