# SPDX-License-Identifier: MIT
"""Lists that a Loop appends to, as torch.jit.script writes `rows.append(h)` and `torch.stack(rows, 1)`, against ONNX
Runtime."""

from __future__ import annotations

import numpy as np
import pytest

import undertow
from decomposed import H, I, N, T, ops, rnn_body, sequence_agrees
from onnx_files import BOOL, FLOAT, INT64, graph_of, helper, info, node, random, save, session_of
from undertow.errors import UnsupportedError


def rows_of(name):
    """A list of tensors."""
    return helper.make_value_info(name, helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None)))


def list_file(tmp_path, rng, part, behind, outputs, insert="rows part", dims=("T", N, I), weights=None):
    """h of each timestep is appended as `part`; behind: what becomes of the list "all"."""
    nodes, inner_weights, _ = rnn_body(rng)
    body = graph_of(
        [node("Gather", "X i", "x", axis=0), *nodes, *part, node("SequenceInsert", insert, "more"),
         node("Identity", "on", "on_next")],
        [info("i", [], INT64), info("on", [], BOOL), "h", rows_of("rows")],
        [info("on_next", [], BOOL), "h_next", rows_of("more")],
        inner_weights,
    )  # fmt: skip
    held = {"h_0": np.zeros((N, H), np.float32), "true": np.array(True), "zero": np.array(0), **(weights or {})}
    nodes = [
        node("Shape", "X", "shape"),
        node("Gather", "shape zero", "count", axis=0),
        helper.make_node("SequenceEmpty", [], ["none"]),
        node("Loop", "count true h_0 none", "h_T all", body=body),
        *behind,
    ]
    return save(graph_of(nodes, [info("X", list(dims))], outputs, held), tmp_path)


SAME = [node("Identity", "h_next", "part")]
ROWS = {
    "stack along the first axis": (SAME, [node("ConcatFromSequence", "all", "Y", axis=0, new_axis=1)]),
    "stack along the second": (
        SAME,
        [node("ConcatFromSequence", "all", "y", axis=1, new_axis=1), node("Transpose", "y", "Y", perm=[1, 0, 2])],
    ),
    "stack along the last": (
        SAME,
        [node("ConcatFromSequence", "all", "y", axis=-1, new_axis=1), node("Transpose", "y", "Y", perm=[2, 0, 1])],
    ),
    "cat along the first axis": (
        [node("Unsqueeze", "h_next first", "part")],
        [node("ConcatFromSequence", "all", "Y", axis=0)],
    ),
    "cat along the second": (
        [node("Unsqueeze", "h_next second", "part")],
        [node("ConcatFromSequence", "all", "y", axis=-2), node("Transpose", "y", "Y", perm=[1, 0, 2])],
    ),
}
AXES = {"first": np.array([0]), "second": np.array([1])}


@pytest.mark.parametrize("dims", [("T", N, I), (T, N, I)], ids=["open", "fixed"])
@pytest.mark.parametrize("kind", ROWS)
def test_a_list_that_is_joined(kind, dims, tmp_path, rng):
    part, behind = ROWS[kind]
    used = {name: array for name, array in AXES.items() if any(name in one.input for one in part)}
    path = list_file(tmp_path, rng, part, behind, [info("Y", [dims[0], N, H])], dims=dims, weights=used)
    if dims[0] == T:
        X = random(rng, T, 1, I)
        path = list_file(tmp_path, rng, part, behind, [info("Y", [T, 1, H])], dims=(T, 1, I), weights={**used, **ONE})
        model = undertow.load(path)
        np.testing.assert_allclose(model.run(X[:, 0]), session_of(path).run(None, {"X": X})[0][:, 0], atol=1e-5)
    else:
        assert ops(sequence_agrees(path, random(rng, T, N, I))) == ["rnn"]


ONE = {"h_0": np.zeros((1, H), np.float32)}


def test_the_last_of_a_list(tmp_path, rng):
    last = [node("SequenceAt", "all end", "y")]
    path = list_file(tmp_path, rng, SAME, last, [info("y", [N, H])], weights={"end": np.array(-1)})
    X = random(rng, T, N, I)
    want = session_of(path).run(None, {"X": X})[0]
    for item in range(N):
        np.testing.assert_allclose(undertow.load(path).run(X[:, item])[-1], want[item], atol=1e-5)


@pytest.mark.parametrize("end", [None, 0, -1])
def test_a_list_that_grows_at_the_front(end, tmp_path, rng):
    """Its order is that of time backwards: a whole sequence, but for the first of its parts, which a stream has."""
    behind = [node("ConcatFromSequence", "all", "Y", axis=0, new_axis=1)]
    if end is not None:
        behind = [node("SequenceAt", "all end", "Y")]
    weights = {} if end is None else {"end": np.array(end)}
    path = list_file(tmp_path, rng, SAME, behind, [info("Y", None)], "rows part zero", weights=weights)
    model = undertow.load(path)
    assert model.streamable == (end == 0)
    for length in (1, T, 30):
        X = random(rng, length, N, I)
        Y = session_of(path).run(None, {"X": X})[0]
        for item in range(N):
            want = Y[:, item] if end is None else Y[item]
            found = model.run(X[:, item])
            np.testing.assert_allclose((found[-1] if end == 0 else found).ravel(), want.ravel(), atol=1e-5)


def test_a_list_of_two_rows_is_refused(tmp_path, rng):
    """Joined along an axis of two rows."""
    behind = [node("ConcatFromSequence", "all", "Y", axis=0)]
    part = [node("Concat", "h_next h_next", "part", axis=0)]
    path = list_file(tmp_path, rng, part, behind, [info("Y", ["rows", H])])
    with pytest.raises(UnsupportedError, match="Sequence"):
        undertow.load(path)


def test_names_that_a_collected_list_would_get(tmp_path, rng):
    """The file has a value of that name, which is something else."""
    part, behind = ROWS["stack along the first axis"]
    behind = [
        node("ConcatFromSequence", "all", "stacked", axis=0, new_axis=1),
        node("Add", "stacked all.rows", "Y"),
    ]
    shift = {"all.rows": random(rng, H)}
    path = list_file(tmp_path, rng, part, behind, [info("Y", ["T", N, H])], weights=shift)
    sequence_agrees(path, random(rng, T, N, I))
