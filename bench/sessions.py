# SPDX-License-Identifier: MIT
"""Calls of `undertow.compat.onnxruntime` beside ONNX Runtime's on one file: frames, sequences, batches, new sizes."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np

import undertow.compat.onnxruntime as ours

from . import models
from .clock import Statement, measure
from .report import Goal, Table

GATES = {"LSTM": 4, "GRU": 3}
#: what is called -> cell, inputs, units, both ways, float16, whether states come in and go out
FILES: dict[str, tuple[str, int, int, bool, bool, bool]] = {
    "LSTM 64": ("LSTM", 64, 64, False, False, False),
    "GRU 64": ("GRU", 64, 64, False, False, False),
    "LSTM 128": ("LSTM", 128, 128, False, False, False),
    "LSTM 80 to 256, both ways": ("LSTM", 80, 256, True, False, False),
    "GRU 16, states given": ("GRU", 8, 16, False, False, True),
    "GRU 16, states given, float16": ("GRU", 8, 16, False, True, True),
    "LSTM 16, both ways, states given": ("LSTM", 8, 16, True, False, True),
}
#: items, timesteps
SEQUENCES, SMALL = [(1, 1), (1, 10), (1, 100), (8, 1), (32, 1), (32, 20)], [(1, 1), (1, 10), (8, 1), (64, 1)]
SIZES = {name: SEQUENCES if FILES[name][2] > 16 else SMALL for name in FILES}
#: how many times faster than ONNX Runtime
TARGET = 1.0
#: lengths that were not seen before
N_NEW = 40


def file(cell: str, n_inputs: int, n_hidden: int, both_ways: bool, half: bool, given: bool, start: bool = False) -> Any:
    """x [N, T, inputs] (and h, c [directions, N, units]) -> y [N, T, directions, units] (and what they end with), N and
    T open. start: what a sequence starts from is computed from another input, z [N, inputs].
    """
    from onnx import TensorProto, helper, numpy_helper

    rng, directions, kind = np.random.default_rng(3), 1 + both_ways, TensorProto.FLOAT16 if half else TensorProto.FLOAT
    rows, states = GATES[cell] * n_hidden, (["h", "c"] if cell == "LSTM" else ["h"]) if given or start else []
    shapes = {"W": (rows, n_inputs), "R": (rows, n_hidden), "B": (2 * rows,)}
    arrays = {name: rng.standard_normal((directions, *shape)) / n_hidden**0.5 for name, shape in shapes.items()}
    ends = [f"{name}_out" for name in states] if given else []
    settings = {"hidden_size": n_hidden, "direction": "bidirectional" if both_ways else "forward"}
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"], perm=[1, 0, 2]),
        helper.make_node(cell, ["turned", "W", "R", "B", "", *states], ["Y", *ends], **settings),
        helper.make_node("Transpose", ["Y"], ["y"], perm=[2, 0, 1, 3]),
    ]
    info = helper.make_tensor_value_info
    inputs = [info("x", kind, ["N", "T", n_inputs])]
    state = [directions, "N", n_hidden]
    if start:
        arrays["D"] = rng.standard_normal((n_inputs, n_hidden)) / n_inputs**0.5
        nodes = [
            helper.make_node("MatMul", ["z", "D"], ["product"]),
            helper.make_node("Tanh", ["product"], ["start"]),
            helper.make_node("Unsqueeze", ["start", "axis"], ["h"]),
            *nodes,
        ]
        inputs.append(info("z", kind, ["N", n_inputs]))
    else:
        inputs += [info(name, kind, state) for name in states]
    tensors = [numpy_helper.from_array(a.astype(np.float16 if half else np.float32), n) for n, a in arrays.items()]
    tensors.append(numpy_helper.from_array(np.array([0]), "axis"))
    outputs = [info("y", kind, ["N", "T", directions, n_hidden]), *(info(name, kind, state) for name in ends)]
    graph = helper.make_graph(nodes, "calls", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def feeds(rng: np.random.Generator, session: Any, N: int, T: int) -> dict[str, np.ndarray]:
    sizes = {"N": N, "T": T}
    return {
        port.name: rng.standard_normal([sizes.get(n, n) for n in port.shape]).astype(
            np.float16 if "16" in port.type else np.float32
        )
        for port in session.get_inputs()
    }


def calls(seconds: float) -> Table:
    """seconds: for each file and size."""
    rng = np.random.default_rng(2)
    result = Table(
        "One call of a session, sizes open in the file (us, median)",
        ["file", "items x timesteps", "undertow", "ORT", "vs ORT"],
    )
    for name, said in FILES.items():
        mine, theirs = ours.InferenceSession(file(*said)), models.ort_session(file(*said))
        for N, T in SIZES[name]:
            feed = feeds(rng, theirs, N, T)
            for a, b in zip(mine.run(None, feed), theirs.run(None, feed), strict=True):
                assert np.abs(a.astype(np.float64) - b).max() < (5e-3 if a.dtype == np.float16 else 1e-5)
            statements = [
                Statement("run(None, feed)", {"run": session.run, "feed": feed}) for session in (mine, theirs)
            ]
            times = measure(statements, seconds)
            result.mark_noise(f"{name}, {N} x {T}", [t.spread for t in times])
            ratio = Goal(times[1].times_slower_than(times[0]), TARGET)
            result.rows.append([name, f"{N} x {T}", times[0].median, times[1].median, ratio])
    return result


def new_sizes() -> Table:
    """The first call of each of some lengths."""
    rng = np.random.default_rng(4)
    result = Table(
        f"The first call of a length, median of {N_NEW} (us, on the wall)", ["file", "undertow", "ORT", "vs ORT"]
    )
    kinds = {name: file(*FILES[name]) for name in ("LSTM 64", "LSTM 80 to 256, both ways")}
    kinds["GRU 64, started from an input"] = file("GRU", 64, 64, False, False, False, True)
    for name, data in kinds.items():
        took: list[list[float]] = [[], []]
        sessions = [ours.InferenceSession(data), models.ort_session(data)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the time that sizes take
            for T in range(2, 4 + N_NEW):
                feed = feeds(rng, sessions[0], 1, T)
                for session, times in zip(sessions, took, strict=True):
                    begin = time.perf_counter()
                    session.run(None, feed)
                    times.append((time.perf_counter() - begin) * 1e6)
        mine, theirs = (float(np.median(times[2:])) for times in took)
        result.rows.append([name, mine, theirs, theirs / mine])
    return result


def tables(seconds: float) -> list[Table]:
    """seconds: for each file and size."""
    return [calls(seconds), new_sizes()]
