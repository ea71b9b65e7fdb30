# SPDX-License-Identifier: MIT
"""Loops over time that compute with the number of their round, branches that it or the frames choose, and loops in
series, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

import undertow
from decomposed import H, I, N, T, gate_weights, ops, rnn_body, sequence_agrees
from onnx_files import BOOL, FLOAT, INT64, TensorProto, graph_of, helper, info, node, random, save, session_of
from test_structure_lists import rows_of
from tolerances import FLOAT32_PEER
from undertow.errors import UnsupportedError

COUNT = [node("Shape", "X", "shape"), node("Gather", "shape zero", "count", axis=0)]


def rounds_file(tmp_path, rng, behind, weights=None, n=N):
    """h of an RNN cell; `behind` makes the row of each round of h_next, of the number i and of x."""
    nodes, inner_weights, _ = rnn_body(rng)
    body = graph_of(
        [node("Gather", "X i", "x", axis=0), *nodes, *behind, node("Identity", "on", "on_next")],
        [info("i", [], INT64), info("on", [], BOOL), "h"],
        [info("on_next", [], BOOL), "h_next", "row"],
        inner_weights,
    )
    held = {"h_0": np.zeros((n, H), np.float32), "true": np.array(True), "zero": np.array(0), **(weights or {})}
    loop = node("Loop", "count true h_0", "h_T Y", body=body)
    return save(graph_of([*COUNT, loop], [info("X", ["T", n, I])], [info("Y", ["T", n, H])], held), tmp_path)


def used_by(nodes):
    """The names that nodes and their branches use."""
    inner = [used_by(a.g.node) for one in nodes for a in one.attribute if a.HasField("g")]
    return {name for one in nodes for name in one.input}.union(*inner)


def branches(picks, then, other, weights=None):
    """`row` of either branch."""
    sides = [graph_of(nodes, [], ["out"], weights) for nodes in (then, other)]
    return helper.make_node("If", [picks], ["row"], then_branch=sides[0], else_branch=sides[1])


TANH, HALF = [node("Tanh", "h_next", "out")], [node("Mul", "h_next half", "out")]
NUMBERS = {name: np.int64(n) for name, n in (("zero", 0), ("one", 1), ("two", 2), ("three", 3), ("seven", 7))}
FLOATS = {"half": np.float32(0.5), "one_f": np.float32(1), "low": np.float32(-0.1)}
ROUNDS = {
    "the first": [node("Equal", "i zero", "picks"), branches("picks", TANH, HALF)],
    "but the first": [node("Greater", "i zero", "picks"), branches("picks", TANH, HALF)],
    "from the third on": [node("LessOrEqual", "three i", "picks"), branches("picks", TANH, HALF)],
    "i + 1 below 3": [node("Add", "i one", "n"), node("Less", "n three", "picks"), branches("picks", TANH, HALF)],
    "every second": [
        node("Mod", "i two", "rest"),
        node("Equal", "rest zero", "picks"),
        branches("picks", TANH, HALF),
    ],
    "every third, from the second on": [
        node("Add", "i seven", "n"),
        node("Mod", "n three", "rest"),
        node("Less", "rest two", "picks"),
        branches("picks", TANH, HALF),
    ],
    "not": [node("Less", "i two", "early"), node("Not", "early", "picks"), branches("picks", TANH, HALF)],
    "either of two": [
        node("Equal", "i two", "p"),
        node("Equal", "i seven", "q"),
        node("Or", "p q", "picks"),
        branches("picks", TANH, HALF),
    ],
    "by two of its numbers": [
        node("Greater", "i two", "late"),
        node("Mod", "i three", "rest"),
        node("Equal", "rest one", "third"),
        node("And", "late third", "picks"),
        branches("picks", TANH, HALF),
    ],
    "one after another": [
        node("Mod", "i three", "rest"),
        node("Equal", "rest zero", "picks"),
        branches(
            "picks",
            [node("Add", "i one", "n"), node("Cast", "n", "f", to=FLOAT), node("Div", "h_next f", "out")],
            [
                node("Mod", "i two", "second"),
                node("Equal", "second one", "odd"),
                helper.make_node(
                    "If",
                    ["odd"],
                    ["out"],
                    then_branch=graph_of(TANH, [], ["out"]),
                    else_branch=graph_of(HALF, [], ["out"]),
                ),
            ],
        ),
    ],
    "by a float": [
        node("Cast", "i", "f", to=FLOAT),
        node("Mul", "f half", "g"),
        node("Greater", "g one_f", "picks"),
        branches("picks", TANH, HALF),
    ],
    "divided by": [node("Add", "i one", "n"), node("Cast", "n", "f", to=FLOAT), node("Div", "h_next f", "row")],
    "times its exponential": [
        node("Cast", "i", "f", to=FLOAT),
        node("Mul", "f low", "g"),
        node("Exp", "g", "e"),
        node("Mul", "h_next e", "row"),
    ],
}


@pytest.mark.parametrize("kind", ROUNDS)
def test_what_the_number_of_a_round_decides(kind, tmp_path, rng):
    names = used_by(ROUNDS[kind])
    weights = {name: a for name, a in {**NUMBERS, **FLOATS}.items() if name in names}
    path = rounds_file(tmp_path, rng, ROUNDS[kind], weights)
    sequence_agrees(path, random(rng, 12, N, I))
    model, X = undertow.load(path), random(rng, 12, I)
    stream = model.stream()
    assert np.array_equal([stream.step(x) for x in X], model.run(X))


def test_a_count_beyond_what_it_is_kept_in(tmp_path, rng):
    """The count is kept in two parts, of which the lower one ends at 4096."""
    behind = [node("Add", "i one", "n"), node("Cast", "n", "f", to=FLOAT), node("Div", "h_next f", "row")]
    path = rounds_file(tmp_path, rng, behind, {"one": np.int64(1)}, n=1)
    X = random(rng, 9000, 1, I)
    want = session_of(path).run(None, {"X": X})[0][:, 0] * np.arange(1, 9001)[:, None]
    np.testing.assert_allclose(undertow.load(path).run(X[:, 0]) * np.arange(1, 9001)[:, None], want, atol=1e-5)


def test_branches_in_branches_and_what_is_not_chosen(tmp_path, rng):
    """The root of what is below 0 is computed, and not chosen."""
    root = [node("Sqrt", "h_next", "out")]
    deep = graph_of(root, [], ["out"]), graph_of(HALF, [], ["out"])
    inner = [
        node("ReduceMin", "h_next", "least", keepdims=0),
        node("GreaterOrEqual", "least none", "whole"),
        helper.make_node("If", ["whole"], ["out"], then_branch=deep[0], else_branch=deep[1]),
    ]
    behind = [node("Greater", "i two", "picks"), branches("picks", inner, TANH)]
    weights = {"two": np.int64(2), "half": np.float32(0.5), "none": np.float32(0)}
    path = rounds_file(tmp_path, rng, behind, weights, n=1)
    X = random(rng, 40, 1, I)
    want = session_of(path).run(None, {"X": X})[0][:, 0]
    assert np.isfinite(want).all() and (want[3:] >= 0).all(1).any() and (want[3:] < 0).any(1).any()
    model = undertow.load(path)
    np.testing.assert_allclose(model.run(X[:, 0]), want, atol=FLOAT32_PEER)
    stream = model.stream()
    assert np.array_equal([stream.step(x) for x in X[:, 0]], model.run(X[:, 0]))


def test_a_step_that_frames_decide(tmp_path, rng):
    """A step file that moves its state where the frame is loud."""
    then = graph_of([node("Add", "p h", "s"), node("Tanh", "s", "out")], [], ["out"])
    other = graph_of([node("Identity", "h", "out")], [], ["out"])
    nodes = [
        node("MatMul", "x W", "p"),
        node("ReduceMax", "x", "top", keepdims=0),
        node("Greater", "top half", "loud"),
        helper.make_node("If", ["loud"], ["h_out"], then_branch=then, else_branch=other),
        node("Neg", "h_out", "y"),
    ]
    weights = {"W": random(rng, I, H), "half": np.float32(0.5)}
    outputs = [info("y", [1, H]), info("h_out", [1, H])]
    path = save(graph_of(nodes, [info("x", [1, I]), info("h", [1, H])], outputs, weights), tmp_path)
    stream, session, h = undertow.load(path).stream(), session_of(path), np.zeros((1, H), np.float32)
    for x in random(rng, 30, 1, I):
        y, h = session.run(None, {"x": x, "h": h})
        np.testing.assert_allclose(stream.step(x[0]), y[0], atol=FLOAT32_PEER)


REFUSED = {
    "of other shapes": (
        [node("Greater", "i one", "picks"), branches("picks", [node("Concat", "h_next h_next", "out", axis=1)], TANH)],
        r"If node .*of which frames choose one, give values of shapes \(\d, 8\) and \(\d, 4\)",
    ),
    "integers": ([node("Mul", "i two", "n"), node("Cast", "n", "f", to=FLOAT), node("Mul", "h_next f", "row")],
                 "Mul node .*computes with the number of a round"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused(kind, tmp_path, rng):
    behind, message = REFUSED[kind]
    names = used_by(behind)
    weights = {name: a for name, a in {**NUMBERS, **FLOATS}.items() if name in names}
    with pytest.raises(UnsupportedError, match=message):
        undertow.load(rounds_file(tmp_path, rng, behind, weights))


def test_one_item_of_a_batch_decides_for_none_else(tmp_path, rng):
    sides = [graph_of([node(op, "x", "out")], [], ["out"]) for op in ("Tanh", "Relu")]
    body = graph_of(
        [
            node("Gather", "X i", "x", axis=0),
            node("Gather", "x zero", "first", axis=0),
            node("ReduceMax", "first", "top", keepdims=0),
            node("Greater", "top half", "picks"),
            helper.make_node("If", ["picks"], ["row"], then_branch=sides[0], else_branch=sides[1]),
            node("Identity", "on", "on_next"),
        ],
        [info("i", [], INT64), info("on", [], BOOL)],
        [info("on_next", [], BOOL), "row"],
    )
    nodes = [*COUNT, node("Loop", "count true", "Y", body=body)]
    held = {"true": np.array(True), "zero": np.array(0), "half": np.float32(0.5)}
    path = save(graph_of(nodes, [info("X", ["T", "batch", I])], [info("Y", ["T", "batch", I])], held), tmp_path)
    with pytest.raises(UnsupportedError, match="along it output 'Y' of one item depends on other items"):
        undertow.load(path)


@pytest.mark.parametrize("to", [BOOL, TensorProto.INT8, TensorProto.UINT8])
def test_a_number_that_a_cast_changes_is_refused(to, tmp_path, rng):
    """float(bool(i)) is 1 from the second round on."""
    behind = [node("Cast", "i", "small", to=to), node("Cast", "small", "f", to=FLOAT), node("Mul", "h_next f", "row")]
    with pytest.raises(UnsupportedError, match=r"Cast node .*computes with the number of a round"):
        undertow.load(rounds_file(tmp_path, rng, behind))


def test_sizes_beside_the_number_stay_integers(tmp_path, rng):
    behind = [node("Cast", "i", "f", to=FLOAT), node("Expand", "f sizes", "wide"), node("Mul", "h_next wide", "row")]
    path = rounds_file(tmp_path, rng, behind, {"sizes": np.array([1, H])})
    sequence_agrees(path, random(rng, 12, N, I))


def test_rounds_behind_what_looks_ahead(tmp_path, rng):
    """The frames come late, and the count with them."""
    nodes, inner_weights, _ = rnn_body(rng)
    count = [node("Add", "i one", "n"), node("Cast", "n", "f", to=FLOAT), node("Div", "h_next f", "part")]
    picks = [node("Greater", "i two", "picks"), branches("picks", [node("Identity", "part", "out")], HALF)]
    body = graph_of(
        [node("Gather", "C i", "x", axis=0), *nodes, *count, *picks, node("Identity", "on", "on_next")],
        [info("i", [], INT64), info("on", [], BOOL), "h"],
        [info("on_next", [], BOOL), "h_next", "row"],
        inner_weights,
    )
    nodes = [
        node("Transpose", "X", "channels", perm=[1, 2, 0]),
        node("Conv", "channels K", "convolved", pads=[1, 2]),
        node("Transpose", "convolved", "C", perm=[2, 0, 1]),
        *COUNT,
        node("Loop", "count true h_0", "h_T Y", body=body),
    ]
    held = {
        "h_0": np.zeros((1, H), np.float32), "true": np.array(True), "zero": np.array(0), "one": np.int64(1),
        "two": np.int64(2), "half": np.float32(0.5), "K": random(rng, I, I, 4),
    }  # fmt: skip
    path = save(graph_of(nodes, [info("X", ["T", 1, I])], [info("Y", ["T", 1, H])], held), tmp_path)
    model = undertow.load(path)
    assert model.latency == 2
    for length in (1, 2, 3, 12):
        X = random(rng, length, 1, I)
        want = session_of(path).run(None, {"X": X})[0][:, 0]
        np.testing.assert_allclose(model.run(X[:, 0]), want, atol=FLOAT32_PEER)
        stream = model.stream()
        made = [stream.step(x) for x in X[:, 0]] + list(stream.flush())
        np.testing.assert_array_equal(made[2:], model.run(X[:, 0]))


def test_a_branch_that_remembers_is_refused(tmp_path, rng):
    nodes, inner_weights, _ = rnn_body(rng)
    body = graph_of(
        [
            node("Gather", "X i", "x", axis=0),
            *nodes,
            node("Identity", "on", "on_next"),
            node("Identity", "h_next", "row"),
        ],
        [info("i", [], INT64), info("on", [], BOOL), "h"],
        [info("on_next", [], BOOL), "h_next", "row"],
        inner_weights,
    )
    sides = [
        graph_of([node("Loop", "count true h_0", "h_T out", body=body)], [], ["out"]),
        graph_of([node("MatMul", "X W_x", "out")], [], ["out"]),
    ]
    nodes = [
        *COUNT,
        node("ReduceMax", "knob", "top", keepdims=0),
        node("Greater", "top half", "picks"),
        helper.make_node("If", ["picks"], ["Y"], then_branch=sides[0], else_branch=sides[1]),
    ]
    held = {
        "h_0": np.zeros((N, H), np.float32), "true": np.array(True), "zero": np.array(0), "half": np.float32(0.5),
        "W_x": random(rng, I, H),
    }  # fmt: skip
    inputs = [info("X", ["T", N, I]), info("knob", [2])]
    path = save(graph_of(nodes, inputs, [info("Y", ["T", N, H])], held), tmp_path)
    with pytest.raises(UnsupportedError, match="frames at run time, and a branch of it remembers something"):
        undertow.load(path)


# -- loops in series ---------------------------------------------------------------------------------------------------


def layer(rng, number, frames, count, n_in):
    """A Loop over the parts of a list, as custom_lstms.py of PyTorch has it: the list that it appends to."""
    k = str(number)
    weights = {f"{name}{k}": a for name, a in gate_weights(rng, "a").items()}
    weights[f"W_a{k}"] = random(rng, n_in, H)
    body = graph_of(
        [
            node("SequenceAt", f"{frames} i{k}", f"x{k}"),
            node("MatMul", f"x{k} W_a{k}", f"p{k}"),
            node("MatMul", f"h{k} R_a{k}", f"q{k}"),
            node("Add", f"p{k} q{k}", f"s{k}"),
            node("Tanh", f"s{k}", f"h_next{k}"),
            node("SequenceInsert", f"rows{k} h_next{k}", f"more{k}"),
            node("Identity", f"on{k}", f"on_next{k}"),
        ],
        [info(f"i{k}", [], INT64), info(f"on{k}", [], BOOL), rows_of(f"rows{k}"), f"h{k}"],
        [info(f"on_next{k}", [], BOOL), rows_of(f"more{k}"), f"h_next{k}"],
        {name: a for name, a in weights.items() if name[:2] in ("W_", "R_")},
    )
    empty = helper.make_node("SequenceEmpty", [], [f"none{k}"])
    return [empty, node("Loop", f"{count} true none{k} h_0", f"all{k} h_T{k}", body=body)]


def unbound(tensor, name):
    """`tensor.unbind(0)`, as PyTorch exports it."""
    split = node("SplitToSequence", f"{tensor} one", name, axis=0, keepdims=0)
    return [split, node("SequenceLength", name, f"n_{name}")]


@pytest.mark.parametrize("dims", [("T", N, I), (T, 1, I)], ids=["open", "fixed"])
@pytest.mark.parametrize("between", ["stacked", "list"])
def test_loops_in_series(between, dims, tmp_path, rng):
    second = "all1" if between == "list" else "frames2"
    stacked = [node("ConcatFromSequence", "all1", "hidden", axis=0, new_axis=1), *unbound("hidden", "frames2")]
    nodes = [
        *unbound("X", "frames1"),
        *layer(rng, 1, "frames1", "n_frames1", I),
        *(stacked if between == "stacked" else [node("SequenceLength", "all1", "n_all1")]),
        *layer(rng, 2, second, f"n_{second}", H),
        node("ConcatFromSequence", "all2", "Y", axis=0, new_axis=1),
    ]
    held = {"h_0": np.zeros((dims[1], H), np.float32), "true": np.array(True), "one": np.array(1)}
    path = save(graph_of(nodes, [info("X", list(dims))], [info("Y", [dims[0], dims[1], H])], held), tmp_path)
    if dims[0] == "T":
        assert ops(sequence_agrees(path, random(rng, T, N, I))) == ["rnn", "rnn"]
    else:
        X = random(rng, T, 1, I)
        want = session_of(path).run(None, {"X": X})[0]
        np.testing.assert_allclose(undertow.load(path).run(X[:, 0]), want[:, 0], atol=FLOAT32_PEER)


def test_a_loop_that_carries_nothing(tmp_path, rng):
    """What each round collects is made of its own timestep, of the last to the first."""
    body = graph_of(
        [
            node("Sub", "last i", "j"),
            node("Gather", "X j", "x", axis=0),
            node("Tanh", "x", "row"),
            node("Identity", "on", "on_next"),
        ],
        [info("i", [], INT64), info("on", [], BOOL)],
        [info("on_next", [], BOOL), "row"],
    )
    nodes = [*COUNT, node("Sub", "count one", "last"), node("Loop", "count true", "Y", body=body)]
    held = {"true": np.array(True), "zero": np.array(0), "one": np.array(1)}
    path = save(graph_of(nodes, [info("X", ["T", N, I])], [info("Y", ["T", N, I])], held), tmp_path)
    sequence_agrees(path, random(rng, T, N, I))
