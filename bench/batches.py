# SPDX-License-Identifier: MIT
"""Several whole sequences in one call, of two layers both ways, against ONNX Runtime's batch of the same file."""

from __future__ import annotations

import numpy as np

import undertow

from . import models
from .clock import Statement, measure
from .models import Contender
from .report import Goal, Table

#: cell, units each way, sequences, timesteps -> how many times faster than ONNX Runtime, for each sequence
TARGETS = {
    ("LSTM", 128, 32, 40): 1.0,
    ("LSTM", 128, 8, 100): None,
    ("LSTM", 32, 32, 40): None,
    ("GRU", 128, 32, 40): None,
    ("GRU", 256, 16, 100): None,
}
GATES = {"LSTM": 4, "GRU": 3}
N_LAYERS = 2


def file(cell: str, size: int) -> bytes:
    """x [time, batch, size] -> y [time, batch, 2 size], both open."""
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(7)
    nodes, arrays, x, width = [], {"shape": np.array([0, 0, -1])}, "x", size
    for layer in range(N_LAYERS):
        names = {kind: f"{kind}{layer}" for kind in ("W", "R", "B", "Y", "turned", "y")}
        rows = GATES[cell] * size
        for kind, shape in (("W", (2, rows, width)), ("R", (2, rows, size)), ("B", (2, 2 * rows))):
            arrays[names[kind]] = (rng.standard_normal(shape) / np.sqrt(size)).astype(np.float32)
        reset = {"linear_before_reset": 1} if cell == "GRU" else {}
        inputs = [x, names["W"], names["R"], names["B"]]
        nodes += [
            helper.make_node(cell, inputs, [names["Y"]], hidden_size=size, direction="bidirectional", **reset),
            helper.make_node("Transpose", [names["Y"]], [names["turned"]], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [names["turned"], "shape"], [names["y"]]),
        ]
        x, width = names["y"], 2 * size
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "both ways",
        [info("x", 1, ["time", "batch", size])],
        [info(x, 1, ["time", "batch", width])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def contenders(cell: str, size: int, X: np.ndarray) -> list[Contender]:
    """X: (batch, time, size). All sequences in one call, one after the other, and in one of ONNX Runtime's."""
    model, session = undertow.load(file(cell, size)), models.ort_session(file(cell, size))
    x = np.ascontiguousarray(X.transpose(1, 0, 2))
    names = {"run": model.run, "X": X, "session": session.run, "x": x}
    return [
        Contender("undertow", Statement("run(X)", names), lambda X: model.run(X)),
        Contender(
            "one by one", Statement("for one in X: run(one)", names), lambda X: np.stack([model.run(one) for one in X])
        ),
        Contender(
            "ORT",
            Statement("session(None, {'x': x})", names),
            lambda X: session.run(None, {"x": np.ascontiguousarray(X.transpose(1, 0, 2))})[0].transpose(1, 0, 2),
        ),
    ]


def table(seconds: float) -> Table:
    columns = ["cell, units each way, sequences x timesteps", "undertow", "one by one", "ORT", "vs ORT"]
    result = Table(
        f"Several sequences in one call, {N_LAYERS} layers both ways (us for each sequence, median)", columns
    )
    missing: list[str] = []
    rng = np.random.default_rng(8)
    with models.optional("ORT", missing):
        for (cell, size, n, T), target in TARGETS.items():
            X = rng.standard_normal((n, T, size)).astype(np.float32)
            ours = contenders(cell, size, X)
            models.check(ours, X)
            times = measure([c.statement for c in ours], seconds)
            result.mark_noise(f"{cell} {size}", [t.spread for t in times])
            ratio: float | Goal = times[2].times_slower_than(times[0])
            if target is not None:
                ratio = Goal(ratio, target)
            result.rows.append([f"{cell} {size}, {n} x {T}", *(t.median / n for t in times), ratio])
    result.notes += missing
    return result
