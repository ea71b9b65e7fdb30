# SPDX-License-Identifier: MIT
"""Inputs that say how long each sequence of a padded batch is: of a stream, the number of timesteps so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from onnx_files import FLOAT, INT64, TensorProto, cell, graph_of, node, onnxruntime, random, save, session_of
from tolerances import FLOAT32_PEER
from undertow.errors import UnsupportedError

onnxruntime()
I, H = 3, 4
INT32 = TensorProto.INT32
#: y [N, T, H] of a GRU over x [N, T, I]
CELL = [
    node("Transpose", "x", "xt", perm=[1, 0, 2]),
    node("GRU", "xt W R", "Y", hidden_size=H),
    node("Squeeze", "Y first", "s"),
    node("Transpose", "s", "h", perm=[1, 0, 2]),
]
#: m [N, T] of booleans: which timesteps are before the length
MASK = [
    node("Shape", "x", "shape"),
    node("Gather", "shape one", "steps", axis=0),
    node("Range", "zero steps one", "at"),
    node("Unsqueeze", "at start", "row"),
    node("Unsqueeze", "n first", "column"),
    node("Less", "row column", "m"),
]
COLUMN = [*MASK, node("Unsqueeze", "m second", "mc")]
MASKED = [*COLUMN, node("Cast", "mc", "f", to=FLOAT), node("Mul", "h f", "hm")]
TOTAL = [*MASKED, node("ReduceSum", "hm first", "total", keepdims=0)]
LAST = [node("Sub", "n one", "last")]
CASES: dict[str, list[Any]] = {
    "the rows before it": [*MASKED, node("Identity", "hm", "y")],
    "the mean": [
        *TOTAL,
        node("Cast", "n", "k", to=FLOAT),
        node("Unsqueeze", "k first", "c"),
        node("Div", "total c", "y"),
    ],
    "the mean, by the mask": [*TOTAL, node("ReduceSum", "f first", "c", keepdims=0), node("Div", "total c", "y")],
    "the mean, not by nothing": [
        *TOTAL,
        node("ReduceSum", "f first", "c", keepdims=0),
        node("Clip", "c unit", "d"),
        node("Div", "total d", "y"),
    ],
    "the sum over the root of it": [
        *TOTAL,
        node("Cast", "n", "k", to=FLOAT),
        node("Unsqueeze", "k first", "c"),
        node("Mul", "total c", "y"),
    ],
    "the largest": [*COLUMN, node("Where", "mc h low", "hm"), node("ReduceMax", "hm", "y", axes=[1], keepdims=0)],
    "shares of the rows": [
        *COLUMN,
        node("Where", "mc h low", "hm"),
        node("Softmax", "hm", "w", axis=1),
        node("Mul", "w h", "hw"),
        node("ReduceSum", "hw first", "y", keepdims=0),
    ],
    "the last row, by elements": [
        *LAST,
        node("Reshape", "last rows", "r"),
        node("Shape", "r", "rs"),
        node("Expand", "r wide", "e"),
        node("GatherElements", "h e", "g", axis=1),
        node("Squeeze", "g first", "y"),
    ],
}
#: h * (t == n - 1), summed up
BY_NUMBER = [
    *MASK[:4],
    *LAST,
    node("Unsqueeze", "last first", "column"),
    node("Equal", "row column", "m"),
    node("Unsqueeze", "m second", "mc"),
    node("Cast", "mc", "f", to=FLOAT),
    node("Mul", "h f", "hm"),
    node("ReduceSum", "hm first", "y", keepdims=0),
]
NUMBERS = {
    "zero": np.array(0),
    "one": np.array(1),
    "start": np.array([0]),
    "first": np.array([1]),
    "second": np.array([2]),
    "low": np.float32(-1e9),
    "unit": np.float32(1),
    "rows": np.array([-1, 1, 1]),
    "wide": np.array([1, 1, H]),
}


def file_of(folder: Path, rng: np.random.Generator, nodes: list[Any], x: list[Any], n: tuple[Any, int], **more) -> Path:
    made = [*CELL, *nodes]
    kind = n[1]
    weights = {**cell(rng, "GRU", I, H), **NUMBERS, **more}
    if kind == INT32:
        weights["one"] = weights["one"].astype(np.int64)
    used = {name for one in made for name in one.input}
    weights = {name: array for name, array in weights.items() if name in used}
    return save(graph_of(made, {"x": x, "n": n}, ["y"], weights), folder)


@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize("case", CASES)
def test_each_row_is_what_a_sequence_that_ends_there_gives(case, batch, tmp_path, rng) -> None:
    path = file_of(tmp_path, rng, CASES[case], [batch, "T", I], ([batch], INT64))
    model, session, X = undertow.load(path), session_of(path), random(rng, 9, I)
    assert list(model.inputs) == ["x"]
    assert "lengths: input 'n', of one sequence the number of its timesteps" in model.source
    stream = model.stream()
    rows = np.stack([stream.step(x) for x in X])
    for t in (1, 2, 5, 9):
        (expected,) = session.run(None, {"x": X[None, :t], "n": np.array([t])})
        expected = expected.reshape(-1, H)[-1]
        np.testing.assert_allclose(rows[t - 1], expected, rtol=0, atol=FLOAT32_PEER)
    np.testing.assert_array_equal(model.run(X), rows)
    if batch == "N":  # of a padded batch, each sequence as it is without its padding
        padded = np.zeros((2, 9, I), np.float32)
        padded[0], padded[1, :5] = X, X[2:7]
        (expected,) = session.run(None, {"x": padded, "n": np.array([9, 5])})
        for got, want, n in zip(model.run([X, X[2:7]]), expected, (9, 5), strict=True):
            row = want[n - 1] if want.ndim == 2 else want
            np.testing.assert_allclose(got[-1], row, rtol=0, atol=FLOAT32_PEER)


def test_one_row_of_many_is_refused(tmp_path, rng) -> None:
    path = file_of(tmp_path, rng, BY_NUMBER, [1, "T", I], ([1], INT64))
    with pytest.raises(UnsupportedError):
        undertow.load(path)


def test_the_row_before_the_length_by_gather(tmp_path, rng) -> None:
    nodes = [*CELL[:3], *LAST, node("Gather", "s last", "y", axis=0)]
    weights = {**cell(rng, "GRU", I, H), "first": np.array([1]), "one": np.array([1])}
    path = save(graph_of(nodes, {"x": [1, "T", I], "n": ([1], INT64)}, ["y"], weights), tmp_path)
    model, X = undertow.load(path), random(rng, 7, I)
    (expected,) = session_of(path).run(None, {"x": X[None], "n": np.array([7])})
    np.testing.assert_allclose(model.run(X)[-1].ravel(), expected.ravel(), rtol=0, atol=FLOAT32_PEER)


def test_lengths_go_into_cells_and_elsewhere(tmp_path, rng) -> None:
    """pack_padded_sequence, and the mean by its lengths."""
    nodes = [
        CELL[0],
        node("Cast", "n", "lens", to=INT32),
        node("GRU", "xt W R none lens", "Y", hidden_size=H),
        *CELL[2:],
        node("ReduceSum", "h first", "total", keepdims=0),
        node("Cast", "n", "k", to=FLOAT),
        node("Unsqueeze", "k first", "c"),
        node("Div", "total c", "y"),
    ]
    nodes[2].input[3] = ""
    weights = {**cell(rng, "GRU", I, H), "first": np.array([1])}
    path = save(graph_of(nodes, {"x": ["N", "T", I], "n": (["N"], INT64)}, ["y"], weights), tmp_path)
    model, X = undertow.load(path), random(rng, 7, I)
    for t in (1, 7):
        (expected,) = session_of(path).run(None, {"x": X[None, :t], "n": np.array([t])})
        np.testing.assert_allclose(model.run(X[:t])[-1], expected[0], rtol=0, atol=FLOAT32_PEER)


@pytest.mark.parametrize("dims", [[], [1, 1]])
def test_lengths_of_other_ranks(dims, tmp_path, rng) -> None:
    nodes = [*MASK[:4], node("Reshape", "n start", "column"), node("Less", "row column", "m"), *COLUMN[6:], *MASKED[7:]]
    nodes[4] = node("Reshape", "n column_shape", "column")
    nodes.append(node("Identity", "hm", "y"))
    path = file_of(tmp_path, rng, nodes, [1, "T", I], (dims, INT64), column_shape=np.array([1, 1]))
    X = random(rng, 6, I)
    (expected,) = session_of(path).run(None, {"x": X[None], "n": np.full(dims, 6)})
    np.testing.assert_allclose(undertow.load(path).run(X), expected[0], rtol=0, atol=FLOAT32_PEER)


@pytest.mark.parametrize("batch", [1, "N"])
def test_of_a_fixed_size_the_length_is_bound(batch, tmp_path, rng) -> None:
    """By the caller; of an open batch there is no array to bind, and it is all of the size."""
    nodes = [node("Unsqueeze", "n first", "column"), node("Less", "at column", "m"), *COLUMN[6:], *MASKED[7:]]
    nodes.append(node("Identity", "hm", "y"))
    path = file_of(tmp_path, rng, nodes, [batch, 8, I], ([batch], INT64), at=np.arange(8)[None])
    fixed = {}
    if batch == 1:
        with pytest.raises(UnsupportedError, match=r"bind it with fixed=\{'n': array\}"):
            undertow.load(path)
        fixed = {"n": np.array([8])}
    X = random(rng, 8, I)
    (expected,) = session_of(path).run(None, {"x": X[None], "n": np.array([8])})
    np.testing.assert_allclose(undertow.load(path, fixed=fixed).run(X), expected[0], rtol=0, atol=FLOAT32_PEER)


@pytest.mark.parametrize("batch", [1, "N"])
def test_a_sum_over_the_size_of_time(batch, tmp_path, rng) -> None:
    """Without any length: y.sum(1) / y.shape[1]"""
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape one", "steps", axis=0),
        node("Cast", "steps", "k", to=FLOAT),
        node("ReduceSum", "h first", "total", keepdims=0),
        node("Div", "total k", "y"),
    ]
    weights = {**cell(rng, "GRU", I, H), "first": np.array([1]), "one": np.array(1)}
    path = save(graph_of([*CELL, *nodes], {"x": [batch, "T", I]}, ["y"], weights), tmp_path)
    model, X = undertow.load(path), random(rng, 300, I)
    for t in (1, 2, 300):
        (expected,) = session_of(path).run(None, {"x": X[None, :t]})
        np.testing.assert_allclose(model.run(X)[t - 1], expected[0], rtol=0, atol=FLOAT32_PEER)


@pytest.mark.parametrize("most", [4, 100, 1000])
def test_a_number_that_stops_growing_is_refused(most, tmp_path, rng) -> None:
    """The sum over min(T, most)."""
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape one", "steps", axis=0),
        node("Min", "steps most", "least"),
        node("Cast", "least", "k", to=FLOAT),
        node("ReduceSum", "h first", "total", keepdims=0),
        node("Div", "total k", "y"),
    ]
    weights = {**cell(rng, "GRU", I, H), "first": np.array([1]), "one": np.array(1), "most": np.array(most)}
    path = save(graph_of([*CELL, *nodes], {"x": [1, "T", I]}, ["y"], weights), tmp_path)
    with pytest.raises(UnsupportedError, match="depends on"):
        undertow.load(path)


#: what else integers are
OTHERS: dict[str, list[Any]] = {
    "an id that counts from 1": [*LAST, node("Gather", "table last", "row", axis=0), node("Add", "h row", "y")],
    "compared with a number": [
        node("Equal", "n rate", "m"),
        node("Cast", "m", "k", to=FLOAT),
        node("Mul", "h k", "y"),
    ],
    "compared with what is computed": [
        node("Cast", "n", "k", to=FLOAT),
        node("Less", "h k", "m"),
        node("Cast", "m", "y", to=FLOAT),
    ],
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_integers_are_no_lengths(case, tmp_path, rng) -> None:
    more = {"table": random(rng, 5, H), "rate": np.array(16000)}
    path = file_of(tmp_path, rng, OTHERS[case], [1, "T", I], ([1], INT64), **more)
    with pytest.raises(UnsupportedError, match=r"ids.*where 'n' stays the same"):
        undertow.load(path)


@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize("op", ["Less", "Equal"])
def test_a_level_that_a_frame_has_as_a_scale_is_no_length(op, batch, tmp_path, rng) -> None:
    """k < level for each element k of a frame, or which one is the level: no mask over timesteps."""
    nodes = [node("Unsqueeze", "n one", "level"), node(op, "places level", "m"), node("Cast", "m", "scale", to=FLOAT)]
    nodes.append(node("Add", "x scale", "y"))
    weights = {"places": np.arange(6)[None], "one": np.array([1])}
    inputs = {"x": [batch, 6], "n": ([batch], INT64)}
    path = save(graph_of(nodes, inputs, ["y"], weights), tmp_path)
    try:
        found = sorted(undertow.load(path).inputs)
    except UnsupportedError as error:
        found = "ids (integers)" in str(error) and ["n", "x"]
    assert found == ["n", "x"]


def test_with_a_bound_length_it_is_what_it_was_bound_to(tmp_path, rng) -> None:
    """Nothing is taken for granted of an input that the caller gives."""
    path = file_of(tmp_path, rng, CASES["the rows before it"], [1, "T", I], ([1], INT64))
    with pytest.raises(UnsupportedError, match=r"depends on|differs between timesteps"):
        undertow.load(path, fixed={"n": np.array([4])})


def test_a_length_along_what_is_no_time_is_refused(tmp_path, rng) -> None:
    """A mean of fixed size that is no stream: as one clip it would be that of the full length for ever."""
    nodes = CASES["the mean"]
    path = file_of(tmp_path, rng, nodes, ["N", 9, I], (["N"], INT64))
    with pytest.raises(
        UnsupportedError, match=r"'n' says how long sequences along axis 1 of 'x' are.*fixed=\{'n': array\}"
    ):
        undertow.load(path)
