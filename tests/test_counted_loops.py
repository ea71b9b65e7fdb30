# SPDX-License-Identifier: MIT
"""Loops that carry a counter and compare it with a length, in every form that exporters write, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from onnx_files import BOOL, INT64, TensorProto, graph_of, info, node, onnx, onnxruntime, random, save
from undertow.errors import UnsupportedError

I, H, T = 5, 8, 12
INT32, FLOAT = TensorProto.INT32, TensorProto.FLOAT
#: how a round says that there is another one; `next` is the counter behind it, `i` within
CONDITIONS = {
    "less": [node("Less", "next n", "on")],
    "less of floats": [
        node("Cast", "next", "next_f", to=1),
        node("Cast", "n", "n_f", to=1),
        node("Less", "next_f n_f", "on"),
    ],
    "greater": [node("Greater", "n next", "on")],
    "less or equal": [node("Add", "next one", "more"), node("LessOrEqual", "more n", "on")],
    "greater or equal": [node("Sub", "n one", "last"), node("GreaterOrEqual", "last next", "on")],
    "of the round's own": [node("Sub", "n one", "last"), node("Less", "i last", "on")],
    "not at the end": [node("GreaterOrEqual", "next n", "ended"), node("Not", "ended", "on")],
    "not at either end": [
        node("GreaterOrEqual", "next n", "ended"),
        node("Greater", "next many", "late"),
        node("Or", "ended late", "over"),
        node("Not", "over", "on"),
    ],
    "both": [node("Less", "next n", "here"), node("And", "here going", "on")],
    "two limits": [node("Less", "next n", "here"), node("Less", "next many", "there"), node("And", "here there", "on")],
}


def file_of(
    folder: Path,
    rng: np.random.Generator,
    condition: list[Any],
    kind: int = INT32,
    shape: tuple[int, ...] = (),
    trips: str = "",
    more: tuple[str, ...] = ("Y",),
    open_batch: bool = True,
) -> Path:
    """h = tanh(W x_i + R h) over an input [batch, time, I], as `while i < n`."""
    dtype = {INT32: np.int32, INT64: np.int64}[kind]
    at = [node("Reshape", "i scalar", "at")] if shape else [node("Identity", "i", "at")]
    body = graph_of(
        [
            *at,
            node("Gather", "X_t at", "x", axis=0),
            node("MatMul", "x W", "a"),
            node("MatMul", "h R", "b"),
            node("Add", "a b", "s"),
            node("Tanh", "s", "h_next"),
            node("Identity", "h_next", "row"),
            node("Add", "i one", "next"),
            *condition,
            node("Identity", "n", "n_next"),
        ],
        [
            info("round", [], INT64),
            info("going", [], BOOL),
            info("i", shape, kind),
            info("h", ["batch", H]),
            info("n", shape, kind),
        ],
        [
            info("on", None, BOOL),
            info("next", shape, kind),
            info("h_next", ["batch", H]),
            info("n_next", shape, kind),
            "row",
        ],
    )
    outside = [
        node("Transpose", "X", "X_t", perm=[1, 0, 2]),
        node("Shape", "X_t", "sizes"),
        node("Gather", "sizes zero", "length", axis=0),
        node("Cast", "length", "length_k", to=kind),
        node("Reshape", "length_k shape", "n_0"),
        node("Gather", "sizes one_i", "batch_size", axis=0),
        node("Unsqueeze", "batch_size first", "batch_1"),
        node("Concat", "batch_1 hidden", "state_shape", axis=0),
        node("Expand", "nothing state_shape", "h_0"),
        node("Loop", f"{trips or 'EMPTY'} true i_0 h_0 n_0", "i_T h_T n_T rows", body=body),
        node("Transpose", "rows", "Y", perm=[1, 0, 2]),
        node("Cast", "i_T", "count", to=1),
        node("Cast", "n_T", "size", to=1),
    ]
    if not trips:
        outside[9].input[0] = ""
    weights = {
        "W": random(rng, I, H) * np.float32(0.4),
        "R": random(rng, H, H) * np.float32(0.4),
        "one": np.ones(shape, dtype),
        "many": np.full(shape, 2**31 - 1, dtype),
        "i_0": np.zeros(shape, dtype),
        "true": np.array(True),
        "zero": np.array(0),
        "one_i": np.array(1),
        "first": np.array([0]),
        "hidden": np.array([H]),
        "nothing": np.zeros((), np.float32),
        "shape": np.array(shape, np.int64),
        "scalar": np.zeros(0, np.int64),
        "largest": np.array(2**63 - 1),
        "thousand": np.array(1000),
    }
    outputs = {"Y": ["batch", "time", H], "h_T": ["batch", H], "count": [], "size": []}
    batch: Any = "batch" if open_batch else 1
    graph = graph_of(outside, {"X": [batch, "time", I]}, {name: outputs[name] for name in more}, weights)
    return save(graph, folder)


def agrees(path: Path, rng: np.random.Generator, output: str = "Y") -> undertow.Model:
    X = random(rng, 2, T, I)
    session = onnxruntime().InferenceSession(str(path))
    model = undertow.load(path)
    for item in X:
        (expected,) = session.run([output], {"X": item[None]})
        np.testing.assert_allclose(model.run(item), expected[0], atol=1e-5)
        stream = model.stream()
        rows = np.stack([stream.step(frame) for frame in item])
        np.testing.assert_allclose(rows, expected[0], atol=1e-5)
    return model


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_loop_until_a_counter_has_reached_the_length_walks_time(condition, tmp_path, rng):
    model = agrees(file_of(tmp_path, rng, CONDITIONS[condition]), rng)
    assert list(model.states) == ["rnn_1.h"]


@pytest.mark.parametrize("kind", [INT32, INT64])
@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("trips", ["", "largest"])
@pytest.mark.parametrize("open_batch", [True, False])
def test_counters_of_any_kind(kind, shape, trips, open_batch, tmp_path, rng):
    condition = CONDITIONS["less"]
    if shape:
        condition = [node("Less", "next n", "on_1"), node("Reshape", "on_1 scalar", "on")]
    agrees(file_of(tmp_path, rng, condition, kind, shape, trips, open_batch=open_batch), rng)


def test_a_limit_that_is_lower_than_the_length_is_no_time(tmp_path, rng):
    """At most 1,000 rounds: longer sequences would end otherwise than they begin."""
    path = file_of(tmp_path, rng, CONDITIONS["less"], trips="thousand")
    with pytest.raises(UnsupportedError, match="axis 1 of 'X'"):
        undertow.load(path)


def test_a_counter_that_grows_by_two_is_none(tmp_path, rng):
    condition = [node("Add", "next one", "far"), node("Less", "far n", "on")]
    path = file_of(tmp_path, rng, condition)
    model = onnx.load(path)
    body = next(n for n in model.graph.node if n.op_type == "Loop").attribute[0].g
    body.output[1].name = "far"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedError, match="axis 1 of 'X'"):
        undertow.load(path)


def test_where_a_counter_ends(tmp_path, rng):
    """Both are sizes, which a stream does not have; where all are given, they are right."""
    path = file_of(tmp_path, rng, CONDITIONS["less"], more=("Y", "count", "size"))
    model = undertow.load(path, shapes={"X": [1, T, I]})
    X = random(rng, 1, T, I)
    expected = onnxruntime().InferenceSession(str(path)).run(None, {"X": X})
    assert "walked by Loop node" in model.source
    found = model.run(X[0])
    for name, want in zip(("Y", "count", "size"), expected, strict=True):
        if name != "Y":  # of every frame
            assert (found[name] == want.ravel()[0]).all()
        else:
            np.testing.assert_allclose(found[name].reshape(want.shape), want, atol=1e-5)


@pytest.mark.parametrize("op", ["Less", "LessOrEqual", "Greater"])
@pytest.mark.parametrize("down", [False, True])
def test_limits_between_whole_numbers(op, down, tmp_path, rng):
    """i < 3.5 holds as long as i <= 3.5 and as not i > 3.5: a loop inside of a frame runs 4 times, up or down."""
    far = "next limit" if not down else "limit next"
    on = [node(op, far, "on")] if op != "Greater" else [node("Greater", far, "over"), node("Not", "over", "on")]
    body = graph_of(
        [
            node("Tanh", "h", "h_next"),
            node("Sub" if down else "Add", "i one", "step"),
            node("Cast", "step", "next", to=1),
            *on,
        ],
        [info("round", [], INT64), info("going", [], BOOL), info("i", [], INT64), "h"],
        [info("on", [], BOOL), info("step", [], INT64), "h_next"],
    )
    start, limit = (0, 3.5) if not down else (7, 3.5)
    weights = {"one": np.int64(1), "limit": np.float32(limit), "i_0": np.int64(start), "true": np.array(True)}
    loop = node("Loop", "EMPTY true i_0 X", "i_T Y", body=body)
    loop.input[0] = ""
    path = save(graph_of([loop], {"X": ["time", 1, I]}, {"Y": ["time", 1, I]}, weights), tmp_path)
    X = random(rng, T, 1, I)
    (expected,) = onnxruntime().InferenceSession(str(path)).run(None, {"X": X})
    model = undertow.load(path, time_axis=0)
    np.testing.assert_allclose(model.run(X[:, 0]), expected[:, 0], atol=1e-5)
    (expression,) = model.graph.nodes
    assert len(expression.attrs["program"].instructions) == 4


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_counters_that_are_no_integers_are_none(kind, tmp_path, rng):
    """A float counter gathers rounding, so it is a carried value like any other, and refused where it decides."""
    body = graph_of(
        [
            node("Gather", "X round", "x", axis=0),
            node("Add", "h x", "h_next"),
            node("Add", "i one", "next"),
            node("Less", "next n", "on"),
            node("Identity", "h_next", "row"),
        ],
        [info("round", [], INT64), info("going", [], BOOL), info("i", [], FLOAT if kind == np.float32 else 11), "h"],
        [info("on", [], BOOL), info("next", [], FLOAT if kind == np.float32 else 11), "h_next", "row"],
    )
    outside = [
        node("Shape", "X", "sizes"),
        node("Gather", "sizes zero", "length", axis=0),
        node("Cast", "length", "n", to=FLOAT if kind == np.float32 else 11),
        node("Loop", "largest true i_0 h_0", "i_T h_T Y", body=body),
    ]
    weights = {
        "one": kind(1),
        "i_0": kind(0),
        "true": np.array(True),
        "zero": np.array(0),
        "largest": np.array(2**63 - 1),
        "h_0": np.zeros((1, I), np.float32),
    }
    path = save(graph_of(outside, {"X": ["time", 1, I]}, {"Y": ["time", 1, I]}, weights), tmp_path)
    with pytest.raises(UnsupportedError, match="runs until its condition says otherwise"):
        undertow.load(path)
