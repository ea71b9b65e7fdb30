# SPDX-License-Identifier: MIT
"""Habits of exporters and of people who patch their files, against ONNX Runtime: each test is one such pattern."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import onnx_files
import undertow
from onnx_files import FLOAT, INT64, TensorProto, cell, graph_of, info, peer, session_of, stepped
from undertow.errors import FormatError, ShapeError, UnsupportedError
from undertow.importers.onnx.driver import Driver


def node(op, inputs, outputs, **attrs):
    """Exporters name their nodes."""
    return onnx_files.node(op, inputs, outputs, name=f"{op}_{outputs.split()[0]}", **attrs)


def random(rng, *shape):
    return onnx_files.random(rng, *shape) / 2


def save(tmp_path, nodes, inputs, outputs, weights):
    return onnx_files.save(graph_of(nodes, inputs, outputs, weights), tmp_path)


# -- products by stacks of matrices ---------------------------------------------------------------------------------

T, GROUPS, K, J = 12, 3, 4, 5


def grouped(rng, tmp_path, product):
    """Features in groups, each with a matrix of its own, then a GRU: [1, T, GROUPS * K] -> [1, T, J]"""
    nodes = [
        node("Shape", "x", "shape"),
        node("Slice", "shape zero two", "lead"),
        node("Concat", "lead groups", "apart", axis=0),
        node("Reshape", "x apart", "g"),
        *product,
        node("Concat", "lead joined", "together", axis=0),
        node("Reshape", "p together", "f"),
        node("Transpose", "f", "steps", perm=[1, 0, 2]),
        node("GRU", "steps W R B", "Y", hidden_size=J, linear_before_reset=1),
        node("Squeeze", "Y one", "h"),
        node("Transpose", "h", "y", perm=[1, 0, 2]),
    ]
    weights = {
        **cell(rng, "GRU", GROUPS * J, J, bias=True),
        "M": random(rng, GROUPS, K, J),
        "zero": np.array([0]),
        "one": np.array([1]),
        "two": np.array([2]),
        "groups": np.array([GROUPS, K]),
        "joined": np.array([GROUPS * J]),
    }
    return save(tmp_path, nodes, [info("x", [1, "T", GROUPS * K])], [info("y", [1, "T", J])], weights)


@pytest.mark.parametrize(
    "product",
    [
        [node("Einsum", "g M", "p", equation="btgi,gih->btgh")],
        [node("Einsum", "M g", "p", equation="gih,btgi->btgh")],
        [
            node("Transpose", "g", "rows", perm=[0, 2, 1, 3]),
            node("MatMul", "rows M", "q"),
            node("Transpose", "q", "p", perm=[0, 2, 1, 3]),
        ],
        [
            node("Transpose", "M", "Mt", perm=[0, 2, 1]),
            node("Transpose", "g", "columns", perm=[0, 2, 3, 1]),
            node("MatMul", "Mt columns", "q"),
            node("Transpose", "q", "p", perm=[0, 3, 1, 2]),
        ],
    ],
    ids=["einsum", "einsum, swapped", "time in rows", "time in columns"],
)
def test_a_stack_of_matrices_along_time(product, tmp_path, rng):
    path = grouped(rng, tmp_path, product)
    X = random(rng, T, GROUPS * K)
    expected = peer(path, {"x": X[None]})["y"][0]
    made = undertow.load(path).stream().run(X)
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-6)


def test_a_product_that_sums_over_time_is_refused(tmp_path, rng):
    nodes = [
        node("Squeeze", "Y one", "h"),
        node("Transpose", "h", "columns", perm=[1, 2, 0]),
        node("Transpose", "h", "rows", perm=[1, 0, 2]),
        node("MatMul", "columns rows", "y"),
    ]
    nodes.insert(0, node("GRU", "x W R B", "Y", hidden_size=J))
    weights = {**cell(rng, "GRU", K, J, bias=True), "one": np.array([1])}
    path = save(tmp_path, nodes, [info("x", ["T", 1, K])], [info("y", [1, J, J])], weights)
    with pytest.raises(UnsupportedError, match="sums over time"):
        undertow.load(path)


# -- an open axis that is no batch ----------------------------------------------------------------------------------


def test_a_padded_open_axis_is_never_taken_for_a_batch_of_one(tmp_path, rng):
    """Read as a batch of one, a convolution along it would see nothing but zeros around each frame."""
    nodes = [
        node("Pad", "x pads", "padded"),
        node("Conv", "padded C", "c"),
        node("Reshape", "c fixed", "r"),  # which no reading with several timesteps gets past
        node("GRU", "r W R B", "Y h", hidden_size=J),
    ]
    weights = {
        **cell(rng, "GRU", 4 * K, J, bias=True),
        "pads": np.array([0, 0, 2, 0, 0, 0, 0, 0]),
        "C": random(rng, 4, 2, 3, 1),
        "fixed": np.array([1, 1, 4 * K]),
    }
    path = save(tmp_path, nodes, [info("x", [1, 2, "S", K])], [info("h", [1, 1, J])], weights)
    with pytest.raises(ShapeError, match="Reshape"):
        undertow.load(path)


# -- what changes nothing -------------------------------------------------------------------------------------------


def test_a_state_that_a_setting_times_zero_is_added_to(tmp_path, rng):
    """Exporters keep an unused input alive so."""
    nodes = [
        node("Slice", "state zero one", "h0"),
        node("Slice", "state one two", "c0"),
        node("Unsqueeze", "x zero", "step"),
        node("LSTM", "step W R B  h0 c0", "Y h c", hidden_size=J),
        node("Concat", "h c", "both", axis=0),
        node("Mul", "sr nothing", "none"),
        node("Cast", "none", "none_f", to=FLOAT),
        node("Add", "both none_f", "state_out"),
        node("Sub", "h none_f", "h1"),
        node("Squeeze", "h1 zero", "y"),
    ]
    nodes[3].input[:] = ["step", "W", "R", "B", "", "h0", "c0"]
    weights = {**cell(rng, "LSTM", K, J, bias=True), **{n: np.array([i]) for i, n in enumerate(("zero", "one", "two"))}}
    weights["nothing"] = np.array(0)
    path = save(
        tmp_path,
        nodes,
        [info("x", ["N", K]), info("state", [2, "N", J]), info("sr", [], INT64)],
        [info("y", ["N", J]), info("state_out", [2, "N", J])],
        weights,
    )
    with pytest.raises(UnsupportedError, match=r"bind it with fixed="):
        undertow.load(path)
    model = undertow.load(path, fixed={"sr": 16000})
    assert "state: input 'state', output 'state_out'" in model.source
    X = random(rng, T, K)
    expected = stepped(path, {"x": X[:, None]}, {"state": ("state_out", (2, 1, J))}, {"sr": np.array(16000)})["y"]
    np.testing.assert_allclose(model.stream().run(X), expected[:, 0], rtol=0, atol=1e-6)


def test_a_mean_over_the_one_step_of_a_step(tmp_path, rng):
    """[1, 1, J] -> mean over its axis of time, which a model of one step has once."""
    nodes = [
        node("GRU", "x W R B  h", "Y h_out", hidden_size=J),
        node("Squeeze", "Y one", "r"),
        node("ReduceMean", "r", "y", axes=[0], keepdims=0),
    ]
    nodes[0].input[:] = ["x", "W", "R", "B", "", "h"]
    path = save(
        tmp_path,
        nodes,
        [info("x", [1, 1, K]), info("h", [1, 1, J])],
        [info("y", [1, J]), info("h_out", [1, 1, J])],
        {**cell(rng, "GRU", K, J, bias=True), "one": np.array([1])},
    )
    X = random(rng, T, K)
    expected = stepped(path, {"x": X[:, None, None]}, {"h": ("h_out", (1, 1, J))})["y"]
    model = undertow.load(path)
    assert list(model.states) and list(model.outputs) == ["y"]
    np.testing.assert_allclose(model.stream().run(X).reshape(T, J), expected[:, 0], rtol=0, atol=1e-6)


# -- nodes in any order ---------------------------------------------------------------------------------------------


def unsorted(rng, tmp_path, order, **more):
    nodes = [
        node("Slice", "state zero one", "h0"),
        node("GRU", "x W R B  h0", "Y h_out", hidden_size=J),
        node("Squeeze", "Y one", "y"),
    ]
    nodes[1].input[:] = ["x", "W", "R", "B", "", "h0"]
    for i, names in more.items():
        nodes[int(i[1:])].input[:] = names
    weights = {**cell(rng, "GRU", K, J, bias=True), "zero": np.array([0]), "one": np.array([1])}
    inputs = [info("x", ["T", 1, K]), info("state", [1, 1, J])]
    return save(
        tmp_path, [nodes[i] for i in order], inputs, [info("y", ["T", 1, J]), info("h_out", [1, 1, J])], weights
    )


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (2, 0, 1)])
def test_nodes_that_stand_before_what_they_use(order, tmp_path, rng):
    """A patched file has its new nodes at the end; ONNX Runtime minds as little."""
    path = unsorted(rng, tmp_path, order)
    X = random(rng, T, K)
    expected = peer(path, {"x": X[:, None], "state": np.zeros((1, 1, J), np.float32)})["y"][:, 0]
    np.testing.assert_allclose(undertow.load(path).stream().run(X), expected, rtol=0, atol=1e-6)


def test_nodes_on_a_cycle_are_refused(tmp_path, rng):
    path = unsorted(rng, tmp_path, (0, 1, 2), n0=["h_out", "zero", "one"])
    with pytest.raises(FormatError, match="topologically sorted"):
        undertow.load(path)


# -- which output is the state --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [("out", "hn"), ("hn", "out")])
def test_what_a_cell_gives_stays_an_output(order, tmp_path, rng):
    """In a step `out` and `hn` hold the same numbers; the state is the one that the cell ends with."""
    nodes = [node("GRU", "x W R B  h0", "Y hn", hidden_size=J), node("Squeeze", "Y one", "out")]
    nodes[0].input[:] = ["x", "W", "R", "B", "", "h0"]
    outputs = [info(name, [1, 1, J]) for name in order]
    weights = {**cell(rng, "GRU", K, J, bias=True), "one": np.array([1])}
    path = save(tmp_path, nodes, [info("x", [1, 1, K]), info("h0", [1, 1, J])], outputs, weights)
    model = undertow.load(path)
    assert list(model.outputs) == ["out"]
    X = random(rng, T, K)
    expected = stepped(path, {"x": X[:, None, None]}, {"h0": ("hn", (1, 1, J))})["out"]
    np.testing.assert_allclose(model.stream().run(X).reshape(T, J), expected[:, 0, 0], rtol=0, atol=1e-6)


def test_states_that_the_start_of_an_episode_resets(tmp_path, rng):
    """Recurrent policies multiply their states by 1 - start; h and c have one shape, their node tells them apart."""
    nodes = [
        node("Sub", "one_f start", "keep"),
        node("Mul", "h keep", "h0"),
        node("Mul", "c keep", "c0"),
        node("Unsqueeze", "x zero", "step"),
        node("LSTM", "step W R B  h0 c0", "Y hn cn", hidden_size=J),
        node("Squeeze", "Y zeros", "y"),
    ]
    nodes[4].input[:] = ["step", "W", "R", "B", "", "h0", "c0"]
    weights = {**cell(rng, "LSTM", K, J, bias=True), "zero": np.array([0]), "zeros": np.array([0, 1])}
    weights["one_f"] = np.float32(1)
    states = ("h", "c")
    path = save(
        tmp_path,
        nodes,
        [info("x", [1, K]), *(info(s, [1, 1, J]) for s in states), info("start", [1])],
        [info("y", [1, J]), *(info(f"{s}n", [1, 1, J]) for s in reversed(states))],
        weights,
    )
    model = undertow.load(path)
    assert list(model.outputs) == ["y"]
    stream, session = model.stream(), session_of(path)
    carried = {s: np.zeros((1, 1, J), np.float32) for s in states}
    for t, frame in enumerate(random(rng, T, K)):
        start = np.float32([t % 5 == 0])
        y, c, h = session.run(None, {"x": frame[None], "start": start, **carried})
        carried = {"h": h, "c": c}
        shaped = {name: a.reshape(model.inputs[name].shape) for name, a in (("x", frame), ("start", start))}
        np.testing.assert_allclose(np.ravel(stream.step(shaped)), y[0], rtol=0, atol=1e-6)


# -- what errors propose --------------------------------------------------------------------------------------------


def test_the_size_that_an_error_asks_for_is_enough(tmp_path, rng):
    """Bands of a spectrum as rows of a GRU: beside a batch of any size nothing tells them from its items."""
    nodes = [
        node("Softmax", "x", "mixed", axis=2),
        node("Transpose", "mixed", "m", perm=[0, 2, 1, 3]),
        node("Shape", "x", "shape"),
        node("Slice", "shape one two", "n"),
        node("Concat", "rows n last", "to", axis=0),
        node("Reshape", "m to", "r"),
        node("Transpose", "r", "steps", perm=[1, 0, 2]),
        node("GRU", "steps W R B", "Y", hidden_size=J),
        node("Squeeze", "Y one", "y"),
    ]
    sizes = {"one": np.array([1]), "two": np.array([2]), "rows": np.array([-1]), "last": np.array([K])}
    path = save(
        tmp_path,
        nodes,
        [info("x", ["B", "T", 3, K])],
        [info("y", None)],
        {**cell(rng, "GRU", K, J, bias=True), **sizes},
    )
    with pytest.raises(UnsupportedError, match=r"axis 0 of 'x' is a batch.*shapes=\{'x': \[1, None, 3, 4\]\}"):
        undertow.load(path)
    X = random(rng, T, 3, K)
    expected = peer(path, {"x": X[None]})["y"]
    model = undertow.load(path, shapes={"x": [1, None, 3, K]})
    np.testing.assert_allclose(model.stream().run(X).reshape(expected.shape), expected, rtol=0, atol=1e-6)


def test_a_condition_of_the_whole_sequence_can_be_bound(tmp_path, rng):
    nodes = [node("GRU", "x W R B", "Y", hidden_size=J), node("Mul", "Y knob", "y")]
    path = save(
        tmp_path,
        nodes,
        [info("x", ["T", 1, K]), info("knob", [1, J])],
        [info("y", None)],
        cell(rng, "GRU", K, J, bias=True),
    )
    X, knob = random(rng, T, K), random(rng, 1, J)
    expected = peer(path, {"x": X[:, None], "knob": knob})["y"]
    model = undertow.load(path, fixed={"knob": knob})
    np.testing.assert_allclose(model.stream().run(X).reshape(expected.shape), expected, rtol=0, atol=1e-6)


# -- readings that fail leave nothing behind ------------------------------------------------------------------------


def test_readings_that_failed_are_forgotten(tmp_path, rng, monkeypatch):
    """Each holds tables of every element of every tensor: of large models no two fit into memory."""
    nodes = [
        node("Conv", "x C", "c", pads=[1, 1]),
        node("Transpose", "c", "steps", perm=[2, 0, 1]),
        node("LSTM", "steps W R B", "Y", hidden_size=J, direction="bidirectional"),
        node("ReduceProd", "Y", "y", axes=[0], keepdims=0),
    ]
    weights = {"C": random(rng, K, K, 3), **cell(rng, "LSTM", K, J, directions=2, bias=True)}
    path = save(tmp_path, nodes, [info("x", [1, K, 9])], [info("y", [2, 1, J])], weights)
    alive, most, begin = [], [], Driver.run

    def run(walk):
        gc.collect()  # walks are on cycles of references of their own
        alive.append(weakref.ref(walk))
        most.append(sum(ref() is not None for ref in alive))
        begin(walk)

    monkeypatch.setattr(Driver, "run", run)
    with pytest.warns(undertow.ModelWarning, match="nothing is remembered"):
        model = undertow.load(path)
    assert len(most) > 5 and max(most) <= 2
    X = random(rng, K, 9)
    expected = peer(path, {"x": X[None]})["y"]
    np.testing.assert_allclose(model.run(X[None])[0].reshape(expected.shape), expected, rtol=0, atol=1e-6)


# -- ids that do not look it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TensorProto.UINT8, FLOAT], ids=["bytes", "float32"])
def test_ids_that_a_cast_makes_integers(kind, tmp_path, rng):
    """Keras declares the ids of an embedding as float32, and who reads text as bytes, as uint8."""
    nodes = [
        node("Cast", "x", "ids", to=INT64),
        node("Gather", "table ids", "e"),
        node("Transpose", "e", "steps", perm=[1, 0, 2]),
        node("GRU", "steps W R B", "Y", hidden_size=J),
        node("Squeeze", "Y one", "h"),
        node("Transpose", "h", "y", perm=[1, 0, 2]),
    ]
    weights = {**cell(rng, "GRU", K, J, bias=True), "table": random(rng, 20, K), "one": np.array([1])}
    path = save(tmp_path, nodes, [info("x", [1, "T"], kind)], [info("y", [1, "T", J])], weights)
    ids = rng.integers(0, 20, T)
    given = ids.astype(np.uint8 if kind == TensorProto.UINT8 else np.float32)
    expected = peer(path, {"x": given[None]})["y"][0]
    model = undertow.load(path)
    assert model.inputs["x"].n_ids == 20
    np.testing.assert_allclose(model.stream().run(ids.astype(np.int32)), expected, rtol=0, atol=1e-6)


def test_bytes_that_are_numbers_too_are_no_ids(tmp_path, rng):
    nodes = [
        node("Cast", "x", "ids", to=INT64),
        node("Gather", "table ids", "e"),
        node("Cast", "x", "f", to=FLOAT),
        node("Unsqueeze", "f last", "g"),
        node("Mul", "e g", "y"),
    ]
    weights = {"table": random(rng, 20, K), "last": np.array([-1])}
    path = save(tmp_path, nodes, [info("x", ["T"], TensorProto.UINT8)], [info("y", ["T", K])], weights)
    with pytest.raises(UnsupportedError, match="Gather"):
        undertow.load(path)
