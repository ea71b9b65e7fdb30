# SPDX-License-Identifier: MIT
"""The Python face: what goes in, what comes out, and what the errors say."""

import re

import numpy as np
import pytest

import undertow
from networks import single, zoo, zoo_input
from undertow.ir.graph import Graph
from undertow.model import Model


@pytest.fixture
def model():
    return Model.from_graph(single(np.random.default_rng(0), "gru", 4, 6, name="gru_1"))


def frames(*shape):
    return np.zeros(shape, np.float32)


def test_public_names():
    assert sorted(undertow.__all__) == sorted(set(undertow.__all__))
    for name in undertow.__all__:
        assert getattr(undertow, name).__doc__, f"{name} has no docstring"


@pytest.mark.parametrize(
    "x, error, message",
    [
        (np.zeros(4), TypeError, r"x must be float32 with shape \(4,\), got float64 \(4,\); try np.ascontiguousarray"),
        (frames(5), undertow.ShapeError, r"x must be float32 with shape \(4,\), got float32 \(5,\)"),
        (frames(3, 4), undertow.ShapeError, r"for several timesteps use run\(X\)"),
        ([0, 0, 0, 0], TypeError, r"x must be a NumPy array, float32 with shape \(4,\), got list"),
        (np.zeros(4, np.int32), TypeError, "got int32"),
        (np.zeros(4, "U1"), TypeError, "got <U1"),
        (None, TypeError, "got NoneType"),
    ],
)
def test_wrong_frames(model, x, error, message):
    stream = model.stream()
    before = stream.snapshot()
    with pytest.raises(error, match=message):
        stream.step(x)
    assert stream.snapshot() == before


def test_wrong_sequences(model):
    stream = model.stream()
    with pytest.raises(undertow.ShapeError, match=r"shape \(T, 4\).*for one timestep use step\(x\)"):
        stream.run(frames(4))
    with pytest.raises(undertow.ShapeError, match=r"try np.ascontiguousarray\(x.T\)"):
        stream.run(frames(4, 100))
    with pytest.raises(TypeError, match="float64"):
        model.run(np.zeros((3, 4)))


def test_out_is_used_and_checked(model):
    stream = model.stream()
    out = frames(6)
    assert stream.step(frames(4), out) is out
    Y = frames(5, 6)
    assert stream.run(frames(5, 4), out=Y) is Y
    read_only = frames(6)
    read_only.flags.writeable = False
    for bad in (frames(5), np.zeros(6), read_only, frames(6, 2)[:, 0], [0] * 6):
        with pytest.raises(undertow.ShapeError, match="out for y must be"):
            stream.step(frames(4), bad)
    with pytest.raises(undertow.ShapeError, match=r"shape \(5, 6\)"):
        stream.run(frames(5, 4), out=frames(4, 6))


def test_out_in_place_of_the_input():
    model = Model.from_graph(single(np.random.default_rng(0), "gru", 6, 6))
    X = np.random.default_rng(1).normal(size=(200, 6)).astype(np.float32)
    expected = model.run(X)
    Y = X.copy()
    assert np.array_equal(model.stream().run(Y, out=Y), expected)
    assert np.array_equal(Y, expected)
    for x, y in ((X[:-1], X[1:]), (X[1:], X[:-1])):
        with pytest.raises(ValueError, match="out for y shares memory with x"):
            model.stream().run(x, out=y)
    halves = X.reshape(400, 3)
    wide = Model.from_graph(single(np.random.default_rng(0), "gru", 3, 6))
    with pytest.raises(ValueError, match="shares memory"):
        wide.stream().run(halves[:200], out=X)


def test_strided_input_is_read_right(model):
    X = np.random.default_rng(0).normal(size=(7, 8)).astype(np.float32)
    assert np.array_equal(model.stream().run(X[:, ::2]), model.run(np.ascontiguousarray(X[:, ::2])))
    assert np.array_equal(model.stream().step(X[0, ::2]), model.run(X[:1, ::2])[0])
    swapped = X[:, :4].astype(">f4")
    assert np.array_equal(model.stream().run(swapped.astype(np.float32)), model.run(X[:, :4]))


def test_several_inputs_by_name():
    stream = Model.from_graph(zoo()).stream()
    X = zoo_input(3)
    with pytest.raises(TypeError, match="input must be a dict with x, ids"):
        stream.run(X["x"])
    with pytest.raises(KeyError, match="expected x, ids"):
        stream.run({"x": X["x"]})
    with pytest.raises(KeyError, match="got x, ids, z"):
        stream.run({**X, "z": X["x"]})
    with pytest.raises(undertow.ShapeError, match="x 3, ids 2"):
        stream.run({"x": X["x"], "ids": X["ids"][:2]})
    out = {"soft": frames(3, 2, 3)}
    got = stream.run(X, out=out)
    assert got["soft"] is out["soft"] and set(got) == set(stream.model.outputs)
    assert stream.run(X, out=got) is got
    backwards = dict(reversed(X.items()))
    again = stream.model.stream().run(backwards)
    assert all(np.array_equal(again[name], y) for name, y in stream.model.run(X).items())
    with pytest.raises(KeyError, match=r"out: expected .*, got soft, z"):
        stream.run(X, out={"soft": out["soft"], "z": X["x"]})
    with pytest.raises(KeyError, match="input: expected x, ids, got x, z"):
        stream.run({"x": X["x"], "z": X["ids"]})


def embedding_model():
    g = Graph("ids")
    g.output("y", g.add("embedding", [g.input("id", (), "int32")], weights={"table": np.arange(15.0).reshape(5, 3)}))
    return Model.from_graph(g)


def test_ids_in_any_whole_form():
    stream = embedding_model().stream()
    for id in (2, np.int64(2), np.array(2), np.array(2, np.uint8), np.float32(2), np.array(2.0)):
        assert stream.step(id).tolist() == [6, 7, 8]
    for ids in ([0, 4], np.array([0, 4], np.int64), np.float32([0, 4])):
        assert stream.run(ids)[1].tolist() == [12, 13, 14]


@pytest.mark.parametrize("id", [-1, 5, 2**40, -(2**31)])
def test_ids_out_of_range(id):
    model = embedding_model()
    for call in (
        lambda: model.stream().step(id),
        lambda: model.run([id]),
        lambda: model.stream().run(np.array([0, id])),
    ):
        with pytest.raises(ValueError, match=re.escape("id holds ids of 0 to 4")):
            call()


def test_ids_that_are_no_ids():
    stream = embedding_model().stream()
    for bad in (1.5, np.nan, np.inf, -np.inf):
        with pytest.raises(TypeError, match="whole numbers"):
            stream.step(np.float32(bad))
    with pytest.raises(TypeError):
        stream.step(True)


@pytest.mark.parametrize("reverse", [False, True], ids=["streamed", "whole"])
def test_ids_that_are_given_back(reverse):
    g = Graph("ids")
    ids = g.input("ids", 2, "int32")
    e = g.add("embedding", [ids], weights={"table": np.ones((9, 1))})
    x = g.add("reshape", [e], attrs={"shape": (2,)})
    rnn = single(np.random.default_rng(0), "rnn", 2, 3).nodes[0]
    h = g.add("rnn", [x], weights=rnn.weights, states=[g.state("h", 3)], attrs={"reverse": reverse})
    g.output("h", h)
    g.output("ids", ids)
    model = Model.from_graph(g)
    X = np.array([[8, 0], [1, 7], [3, 3]], np.int32)
    found = model.run(X)["ids"]
    assert model.streamable != reverse
    assert found.dtype == np.int32 and np.array_equal(found, X)


def test_state_by_name():
    model = Model.from_graph(zoo())
    stream = model.stream()
    stream.run(zoo_input(5))
    state = stream.state
    assert list(state) == ["lstm_1.h", "lstm_1.c", "gru_1.h", "gru_2.h", "rnn_1.h"]
    h, c = state["lstm_1"]
    assert h.shape == c.shape == (20,)
    assert np.array_equal(state["lstm_1"].c, state["lstm_1.c"])
    assert state["gru_1"].shape == (19,)
    state["lstm_1"] = (c, h)
    assert np.array_equal(state["lstm_1.h"], c) and np.array_equal(state["lstm_1.c"], h)
    state["lstm_1"] = {"h": h, "c": c}
    state["gru_1"] = np.arange(19.0)
    assert state["gru_1.h"].tolist() == list(range(19))
    for read in (h, state["lstm_1"].c, state["gru_1"]):
        with pytest.raises(ValueError, match="read-only"):  # it is a copy, in which 7 would be lost
            read[:] = 7
    with pytest.raises(undertow.ShapeError, match=r"'gru_1.h' has shape \(19,\), got \(20,\)"):
        state["gru_1"] = np.zeros(20)
    with pytest.raises(KeyError, match="no state 'gru_9'"):
        state["gru_9"]
    with pytest.raises(undertow.StateError, match="got 1 values"):
        state["lstm_1"] = [h]


def test_a_half_wrong_state_changes_nothing():
    stream = Model.from_graph(zoo()).stream()
    before = stream.snapshot()
    with pytest.raises(undertow.ShapeError):
        stream.state["lstm_1"] = (np.ones(20), np.ones(21))
    assert stream.snapshot() == before


def test_initial_state_given_by_the_user(model):
    h = np.linspace(-1, 1, 6)
    X = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    by_hand = model.stream()
    by_hand.state["gru_1"] = h
    expected = by_hand.run(X)
    assert np.array_equal(model.stream(state={"gru_1": h}).run(X), expected)
    assert np.array_equal(model.stream(state={"gru_1.h": h}).run(X), expected)
    assert np.array_equal(model.run(X, state={"gru_1": h}), expected)
    by_hand.reset(to={"gru_1": h})
    assert np.array_equal(by_hand.run(X), expected)
    with pytest.raises(undertow.ShapeError):
        by_hand.reset(to={"gru_1": h[:5]})
    with pytest.raises(KeyError, match="no state 'lstm'"):
        model.run(X, state={"lstm": h})


def test_final_state(model):
    X = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    Y, final = model.run_with_state(X)
    assert np.array_equal(final["gru_1.h"], Y[-1])


def test_description(model):
    text = str(model)
    assert "gru_1  gru" in text and "reset before" in text and "of state and" in text
    assert model.n_parameters == 3 * 6 * (4 + 6 + 1)
    assert model.inputs["x"].shape == (4,) and model.outputs["y"].shape == (6,)
    assert repr(model).startswith("<undertow.Model 'gru'")
    assert model.name in repr(model.stream())


def test_isa_is_forced_or_refused(isa):
    graph = single(np.random.default_rng(0), "rnn", 2, 3)
    assert Model.from_graph(graph, isa).isa == isa
    with pytest.raises(undertow.ISAError, match=f'isa "pentium" cannot run here; available:.*{isa}'):
        Model.from_graph(graph, "pentium")


def test_isa_from_the_environment(isa, monkeypatch):
    monkeypatch.setenv("UT_ISA", isa)
    assert Model.from_graph(single(np.random.default_rng(0), "rnn", 2, 3)).isa == isa
