# SPDX-License-Identifier: MIT
"""Loops in ONNX models, over time, inside of a frame, over constants, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

import undertow
from decomposed import BODIES, H, I, N, T, ops, rnn_body, sequence_agrees
from onnx_files import BOOL, FLOAT, INT64, graph_of, info, node, onnx, onnxruntime, random, save, session_of, stepped
from tolerances import FLOAT32_PEER
from undertow.errors import UnsupportedError
from undertow.importers.onnx import load
from undertow.importers.onnx.file import limits


def loop_file(tmp_path, rng, pick, trips, weights=None, outside=()):
    """A Loop over time that picks its timestep from outside by the number of the round."""
    nodes, inner_weights, _ = rnn_body(rng)
    body = graph_of(
        [*pick, *nodes, node("Identity", "on", "on_next"), node("Identity", "h_next", "row")],
        [info("i", [], INT64), info("on", [], BOOL), "h"],
        [info("on_next", [], BOOL), "h_next", "row"],
        inner_weights,
    )
    held = {"h_0": np.zeros((N, H), np.float32), "true": np.array(True), "zero": np.array(0), **(weights or {})}
    loop = node("Loop", f"{trips} true h_0", "h_T Y", body=body)
    nodes = [*outside, loop]
    return save(graph_of(nodes, [info("X", ["T", N, I])], [info("Y", ["T", N, H])], held), tmp_path)


COUNT = [node("Shape", "X", "shape"), node("Gather", "shape zero", "count", axis=0)]


@pytest.mark.parametrize(
    "pick",
    [
        [node("Gather", "X i", "x", axis=0)],
        [
            node("Unsqueeze", "i first", "from"),
            node("Add", "from one", "to"),
            node("Slice", "X from to first", "xs"),
            node("Squeeze", "xs first", "x"),
        ],
    ],
    ids=["gather", "slice"],
)
def test_loop_over_time(pick, tmp_path, rng):
    more = {"first": np.array([0]), "one": np.array([1])} if len(pick) > 1 else {}
    graph = sequence_agrees(loop_file(tmp_path, rng, pick, "count", more, COUNT), random(rng, T, N, I))
    assert ops(graph) == ["rnn"]


FROM_THE_END = {
    "n - 1 - i": [node("Sub", "count one", "last"), node("Sub", "last i", "j")],
    "-1 - i": [node("Neg", "i", "minus"), node("Sub", "minus one", "j")],
    "i * -1 + n - 1": [
        node("Neg", "one", "minus_one"),
        node("Mul", "i minus_one", "minus"),
        node("Sub", "count one", "last"),
        node("Add", "minus last", "j"),
    ],
}


@pytest.mark.parametrize("index", FROM_THE_END)
def test_a_loop_that_picks_from_the_end(index, tmp_path, rng):
    pick = [*FROM_THE_END[index], node("Gather", "X j", "x", axis=0)]
    path = loop_file(tmp_path, rng, pick, "count", {"one": np.array(1)}, COUNT)
    model = undertow.load(path)
    assert not model.streamable
    for length in (1, T, 3 * T):
        X = random(rng, length, N, I)
        (expected,) = session_of(path).run(None, {"X": X})
        np.testing.assert_allclose(model.run(X[:, 0]), expected[:, 0], rtol=0, atol=FLOAT32_PEER)


def test_a_factor_behind_a_loop_that_depends_on_the_length(tmp_path, rng):
    """1 + T // 30, which is 1 for the lengths that are walked."""
    pick = [node("Gather", "X i", "x", axis=0)]
    path = loop_file(tmp_path, rng, pick, "count", {"thirty": np.array(30), "one": np.float32(1)}, COUNT)
    model = onnx.load(path)
    factor = [node("Div", "count thirty", "n"), node("Cast", "n", "f", to=1), node("Add", "f one", "factor")]
    model.graph.node.extend([*factor, node("Mul", "Y factor", "Z")])
    model.graph.output[0].name = "Z"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedError, match="depends on a size that is open"):
        undertow.load(path)


def test_a_length_that_no_round_has(tmp_path, rng):
    """Half a round is refused, whatever a cast would make of it."""
    cast = [node("Cast", "i", "f", to=1), node("Add", "f half", "g"), node("Cast", "g", "j", to=7)]
    pick = [*cast, node("Gather", "X j", "x", axis=0)]
    path = loop_file(tmp_path, rng, pick, "count", {"half": np.float32(-0.5)}, COUNT)
    with pytest.raises(UnsupportedError, match="picks by a computed index"):
        undertow.load(path)


@pytest.mark.parametrize(
    ("pick", "message"),
    [
        ([node("Sub", "i one", "j"), node("Gather", "X j", "x", axis=0)], "-1 rounds away"),
        ([node("Mul", "i count", "j"), node("Gather", "X j", "x", axis=0)], "number of a round"),
        ([node("ReduceMean", "X", "x", axes=[0], keepdims=0)], "ReduceMean"),
    ],
)
def test_loop_that_looks_elsewhere_is_refused(pick, message, tmp_path, rng):
    path = loop_file(tmp_path, rng, pick, "count", {"one": np.array(1)}, COUNT)
    with pytest.raises(UnsupportedError, match=message):
        load(path)


def test_loop_with_a_number_of_rounds_in_the_file_is_no_time(tmp_path, rng):
    """7 rounds are 7 rounds, even if 7 timesteps are tried while loading."""
    path = loop_file(tmp_path, rng, [node("Gather", "X i", "x", axis=0)], "seven", {"seven": np.array(7)})
    with pytest.raises(UnsupportedError, match=r"timestep 0 of 7|Gather"):
        load(path)


@pytest.mark.parametrize("rounds", [T, T - 1])
def test_as_many_rounds_as_a_fixed_axis_is_long_walk_it(rounds, tmp_path, rng):
    """One cell, and none of its weights twice; of fewer rounds the rest of the axis is never read, so it is no time."""
    nodes, weights, _ = rnn_body(rng)
    body = graph_of(
        [node("Gather", "X i", "x", axis=0), *nodes, node("Identity", "on", "on_next")],
        [info("i", [], INT64), info("on", [], BOOL), "h"],
        [info("on_next", [], BOOL), "h_next"],
        weights,
    )
    held = {"h_0": np.zeros((1, H), np.float32), "true": np.array(True), "rounds": np.array(rounds)}
    loop = node("Loop", "rounds true h_0", "h_T", body=body)
    path = save(graph_of([loop], [info("X", [T, 1, I])], [info("h_T", [1, H])], held), tmp_path)
    X = random(rng, T, 1, I)
    want = onnxruntime().InferenceSession(str(path)).run(None, {"X": X})[0]
    if rounds == T:
        model = undertow.load(path)
        assert ops(model.graph) == ["rnn", "last"]
        np.testing.assert_allclose(model.run(X[:, 0])[-1:], want, atol=1e-5)
    else:
        with pytest.warns(undertow.ModelWarning, match="Loop node 'h_T' goes through the rows of each frame"):
            model = undertow.load(path)
        assert "walked by" not in model.source
        frame = X.reshape(model.inputs["X"].shape)
        np.testing.assert_allclose(model.stream().step(frame).reshape(want.shape), want, atol=1e-5)


def test_loop_inside_of_a_frame_is_written_out(tmp_path, rng):
    """y_t = A(A(A(x_t)))"""
    body = graph_of(
        [node("MatMul", "y A", "z"), node("Tanh", "z", "y_next"), node("Identity", "on", "on_next")],
        [info("i", [], INT64), info("on", [], BOOL), "y"],
        [info("on_next", [], BOOL), "y_next"],
        {"A": random(rng, I, I)},
    )
    loop = node("Loop", "three  X", "Y", body=body)
    loop.input[:] = ["three", "", "X"]
    path = save(graph_of([loop], [info("X", ["T", N, I])], [info("Y", ["T", N, I])], {"three": np.array(3)}), tmp_path)
    graph = sequence_agrees(path, random(rng, T, N, I))
    assert ops(graph).count("dense") == 3


def powers_loop(rounds):
    """A weight computed by a Loop over constants: A to the power of 2^rounds, its rows scaled by the round."""
    body = graph_of(
        [
            node("MatMul", "a a", "a_next"),
            node("Cast", "i", "row", to=FLOAT),
            node("Less", "i stop", "on_next"),
        ],
        [info("i", [], INT64), info("on", [], BOOL), "a"],
        [info("on_next", [], BOOL), "a_next", "row"],
        {"stop": np.array(2)},
    )
    return node("Loop", f"{rounds} true A", "W scale", body=body)


def test_loop_over_constants_is_computed(tmp_path, rng):
    """It ends by its condition after round 2."""
    weights = {"A": random(rng, I, I) * 0.4, "true": np.array(True), "many": np.array(100)}
    nodes = [
        powers_loop("many"),
        node("ReduceSum", "scale", "s", keepdims=0),
        node("MatMul", "X W", "XW"),
        node("Mul", "XW s", "Y"),
    ]
    graph = graph_of(nodes, [info("X", ["T", N, I])], [info("Y", ["T", N, I])], weights)
    sequence_agrees(save(graph, tmp_path), random(rng, T, N, I))


def test_loops_have_a_limit(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(limits, "MAX_TRIPS", 2)
    weights = {"A": random(rng, I, I) * 0.4, "true": np.array(True), "many": np.array(100)}
    nodes = [powers_loop("many"), node("MatMul", "X W", "Y")]
    path = save(graph_of(nodes, [info("X", ["T", N, I])], [info("Y", ["T", N, I])], weights), tmp_path)
    with pytest.raises(UnsupportedError, match="runs 100 times, at most 2"):
        load(path)


def test_empty_rounds_are_counted(tmp_path, rng):
    """Loops inside of loops, without a single node to compute: they end in an error, soon."""

    def nest(depth):
        inner = [] if depth == 0 else [node("Loop", "many true v", f"w{depth}", body=nest(depth - 1))]
        names = [info(f"i{depth}", [], INT64), info(f"on{depth}", [], BOOL), f"v{depth}"]
        return graph_of(inner, names, [info(f"on{depth}", [], BOOL), f"w{depth}" if depth else "v0"])

    weights = {"many": np.array(4000), "true": np.array(True), "v": np.ones(I, np.float32)}
    nodes = [node("Loop", "many true v", "w", body=nest(3)), node("Add", "X w", "Y")]
    path = save(graph_of(nodes, [info("X", ["T", N, I])], [info("Y", ["T", N, I])], weights), tmp_path)
    with pytest.raises(UnsupportedError, match="nodes after branches and loops"):
        load(path)


@pytest.mark.parametrize("name", [name for name, (_, op) in BODIES.items() if op])
def test_a_loop_of_one_round_is_a_step(name, tmp_path, rng):
    """What Keras makes of a layer of one timestep whose caller has the state."""
    make, op = BODIES[name]
    nodes, weights, states = make(rng)
    body = graph_of(
        [node("Gather", "X round", "x", axis=0), *nodes, node("Identity", "on", "on_next")],
        [info("round", [], INT64), info("on", [], BOOL), *states],
        [info("on_next", [], BOOL), *(f"{s}_next" for s in states)],
        weights,
    )
    before, after = " ".join(states), " ".join(f"{s}_out" for s in states)
    outside = [node("Loop", f"one true {before}", after, body=body), node("Neg", f"{states[0]}_out", "y")]
    held = {"one": np.array(1), "true": np.array(True)}
    inputs = {"X": [1, 1, I], **{s: [1, H] for s in states}}
    path = save(graph_of(outside, inputs, {"y": [1, H], **{f"{s}_out": [1, H] for s in states}}, held), tmp_path)
    model, X = undertow.load(path), random(rng, 7, 1, 1, I)
    assert list(model.inputs) == ["X"] and [n.op for n in model.graph.nodes if n.states] == [op]
    want = stepped(path, {"X": X}, {s: (f"{s}_out", (1, H)) for s in states})["y"]
    stream = model.stream()
    for x, y in zip(X, want, strict=True):
        np.testing.assert_allclose(stream.step(x.reshape(model.inputs["X"].shape)), y[0], rtol=0, atol=FLOAT32_PEER)
