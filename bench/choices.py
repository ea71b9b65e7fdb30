# SPDX-License-Identifier: MIT
"""Whether `undertow convert --weights auto` knows what is fastest: its model of a step against the stopwatch."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np

import undertow
from undertow.accuracy import costs
from undertow.accuracy.choice import LADDER
from undertow.accuracy.step_cost import layer_ps
from undertow.ir.graph import Graph
from undertow.ir.ops import OPS
from undertow.model import Model
from undertow.tow.sizes import weight_bytes

from . import accuracy, whole
from .clock import Statement, measure
from .report import Goal, Table

PRECISIONS = ("float32", *reversed(LADDER))
#: what the choice may take longer than the fastest of all that were timed
LOSS = 1.15
#: (columns, frames of a step): layers K x K
DENSE = (
    (8, 1),
    (16, 1),
    (32, 1),
    (48, 1),
    (64, 1),
    (128, 1),
    (256, 1),
    (512, 1),
    (16, 32),
    (32, 32),
    (64, 32),
    (256, 32),
)
#: (inputs, units) of a GRU, and of an LSTM
CELLS = ((8, 16), (8, 48), (32, 32), (64, 64), (128, 128), (256, 256), (512, 512))
LSTMS = ((2, 24), (8, 20), (11, 64), (64, 64))
#: bytes of float32 weights that layers share, so that the time of a call is little beside theirs
CHAIN = 128 * 1024


def dense(K: int, n_frames: int, rng: np.random.Generator) -> Graph:
    """Layers in a row."""
    g = Graph(f"dense {K} x {K}" + (f", {n_frames} frames" if n_frames > 1 else ""))
    x = g.input("x", K if n_frames == 1 else (n_frames, K))
    for i in range(max(1, min(16, CHAIN // (4 * K * K)))):
        x = g.add("dense", [x], name=f"d{i}", weights={"W": rng.normal(size=(K, K)) / np.sqrt(K)})
    g.output("y", x)
    return g


def cell(op: str, n_inputs: int, n_units: int, rng: np.random.Generator) -> Graph:
    """A gru with reset after, or an lstm."""
    g = Graph(f"{op} {n_inputs} to {n_units}")
    gates = {"gru": 3, "lstm": 4}[op]
    weights = {
        "W": rng.normal(size=(gates, n_units, n_inputs)) / np.sqrt(n_inputs),
        "R": rng.normal(size=(gates, n_units, n_units)) / np.sqrt(n_units),
    }
    states = [g.state(name, n_units) for name in (["h"] if op == "gru" else ["h", "c"])]
    attrs = {"reset_after": True} if op == "gru" else {}
    g.add(op, [g.input("x", n_inputs)], name="cell", weights=weights, states=states, attrs=attrs)
    g.output("y", g.nodes[-1].outputs[0])
    return g


def fastest(graph: Graph) -> dict[str, dict[str, str]]:
    """What the model of a step takes for each weight, where any error is allowed."""
    keys = {node.name: [key for key in OPS[node.op].reducible if key in node.weights] for node in graph.nodes}
    n_bytes = {
        precision: sum(weight_bytes(node, dict.fromkeys(keys[node.name], precision)) for node in graph.nodes)
        for precision in PRECISIONS
    }
    return {
        node.name: min(
            (
                dict(zip(keys[node.name], option, strict=True))
                for option in product(PRECISIONS, repeat=len(keys[node.name]))
            ),
            key=lambda chosen, node=node: layer_ps(graph, node, chosen, n_bytes),
        )
        for node in graph.nodes
    }


def table(seconds: float) -> Table:
    """seconds: for each network."""
    rng = np.random.default_rng(6)
    columns = ["layers", *(f"{precision} us" for precision in PRECISIONS), "chosen", "us", "chosen / fastest"]
    result = Table("What is fastest in a step, as --weights auto takes it, and as it is", columns)
    graphs = [dense(*sizes, rng) for sizes in DENSE] + [cell("gru", *sizes, rng) for sizes in CELLS]
    graphs += [cell("lstm", *sizes, rng) for sizes in LSTMS]
    for graph in graphs:
        model = Model.from_graph(graph)
        chosen = fastest(graph)
        models = [*(model.with_weights(precision) for precision in PRECISIONS), model.with_weights(chosen)]
        x = rng.standard_normal(next(iter(model.inputs.values())).shape).astype(np.float32)
        times = measure([Statement("step(x)", {"step": m.stream().step, "x": x}) for m in models], seconds)
        result.mark_noise(graph.name, [t.spread for t in times])
        named = ", ".join(dict.fromkeys(p for by_key in chosen.values() for p in by_key.values()))
        loss = max(times[-1].times_slower_than(other) for other in times[:-1])
        row = [graph.name, *(t.median for t in times[:-1]), named, times[-1].median, Goal(loss, LOSS, True)]
        result.rows.append(row)
        print(f"  choices: {graph.name} done", file=sys.stderr)
    return result


def models() -> Iterator[tuple[str, Model, np.ndarray]]:
    """Real models, and frames that came with them: name, model, (T, *frame)."""
    folder = Path(os.environ.get("UNDERTOW_MODELS", ""))
    for name, (place, make) in accuracy.CASES.items():
        yield name, *make(folder / place)
    for case in whole.CASES:
        if case.name not in accuracy.CASES and "silero" not in case.name:
            model = case.load(folder / "stage2")
            (value,) = model.inputs.values()
            yield case.name, model, case.frames(folder / "stage2").reshape(-1, *value.shape)


def costs_table(seconds: float) -> Table:
    """seconds: for each model and precision."""
    small = PRECISIONS[1:]
    columns = ["model", "KiB", *(f"{p} %" for p in small), *(f"{p} x" for p in small)]
    title = (
        "What each precision costs and saves of real models: RMS error in per cent of the output's, and times faster"
    )
    result = Table(title, columns)
    if "UNDERTOW_MODELS" not in os.environ:
        result.notes.append("not measured: UNDERTOW_MODELS is not set to the folder of models")
        return result
    try:
        for name, model, X in models():
            by_precision = {c.precision: c for c in costs.measured(model, {next(iter(model.inputs)): X}, None, seconds)}
            measured = [by_precision[p] for p in small]
            errors = [c.relative and 100 * c.relative for c in measured]
            size = by_precision["float32"].bytes / 1024
            result.rows.append([name, f"{size:,.0f}", *errors, *(c.ratio for c in measured)])
            print(f"  choices: {name} done", file=sys.stderr)
    except (undertow.Error, ImportError) as error:
        result.notes.append(f"left out from here on: {error}")
    result.notes.append(
        "on the frames that came with each model, nothing rounded for data; a step from Python, in turns"
    )
    return result


def tables(seconds: float) -> list[Table]:
    return [table(seconds), costs_table(seconds / 2)]
