# SPDX-License-Identifier: MIT
"""A model of one input takes `{"x": frame}` wherever it takes the frame, and `{"y": frame}` as `out=`."""

from collections import OrderedDict
from types import MappingProxyType

import numpy as np
import pytest

import undertow
from frames import assert_same_bits, frames
from networks import single
from undertow.ir.graph import Graph
from undertow.model import Model

X = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


def gru():
    return Model.from_graph(single(np.random.default_rng(5), "gru", 5, 21))


def embedding():
    graph = Graph("embedding")
    ids = graph.input("word", (), "int32")
    table = graph.add("embedding", [ids], name="table", weights={"table": np.eye(7, dtype=np.float32)})
    graph.output("vector", table)
    return Model.from_graph(graph)


def calls(model, x, out):
    """Name -> what a call gives with an array, and with it in a dict."""
    stream, pool = model.stream(), model.pool(4)
    ids = pool.open(2)
    two, both = np.stack([X[0]] * 2), np.stack([X[:3]] * 2)

    def alone(call, *args):
        stream.reset()
        pool.reset(ids)
        return call(*args)

    def proposed(x, out=None):
        y = stream.propose(x, out)
        stream.commit()
        return y

    def crowd_proposed(x):
        y = pool.propose(ids, x)
        pool.commit(ids)
        return y

    def traced(x):
        return next(iter(stream.trace(x).values()))

    for name, call, given in (
        ("step", stream.step, X[0]),
        ("step, out=", lambda x: stream.step(x, out(())), X[0]),
        ("run", stream.run, X),
        ("run, out=", lambda x: stream.run(x, out((6,))), X),
        ("propose", proposed, X[0]),
        ("propose, out=", lambda x: proposed(x, out(())), X[0]),
        ("settle", lambda x: stream.settle(x, 3), X[0]),
        ("trace", traced, X),
        ("pool.step", lambda x: pool.step(ids, x), two),
        ("pool.step, out=", lambda x: pool.step(ids, x, out((2,))), two),
        ("pool.run", lambda x: pool.run(ids, x), both),
        ("pool.propose", crowd_proposed, two),
        ("Model.run", model.run, X),
        ("Model.run_with_state", lambda x: model.run_with_state(x)[0], X),
    ):
        yield name, lambda x, call=call: alone(call, x), given


@pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType])
def test_a_dict_of_one_array_is_that_array(kind):
    model = gru()
    x, y = next(iter(model.inputs)), next(iter(model.outputs))
    arrays = calls(model, x, lambda lead: np.empty((*lead, 21), np.float32))
    dicts = calls(model, x, lambda lead: kind({y: np.empty((*lead, 21), np.float32)}))
    for (name, plain, given), (_, named, _) in zip(arrays, dicts, strict=True):
        assert_same_bits(np.asarray(named(kind({x: given}))), np.asarray(plain(given)), name)


def test_out_in_a_dict_is_written_to_and_given_back():
    model = gru()
    y = next(iter(model.outputs))
    stream, own = model.stream(), np.empty(21, np.float32)
    assert stream.step(X[0], out={y: own}) is own
    assert np.array_equal(own, model.run(X)[0])
    assert stream.run(X[:2], out={}).shape == (2, 21)
    assert stream.flush(out={y: np.empty((0, 21), np.float32)}).shape == (0, 21)


def test_a_wrong_name_names_the_right_one():
    model = gru()
    x, y = next(iter(model.inputs)), next(iter(model.outputs))
    for _, call, given in calls(model, x, lambda lead: np.empty((*lead, 21), np.float32)):
        for wrong in ({"frame": given}, {}, {x: given, "frame": given}):
            with pytest.raises(KeyError, match=f"expected {x}, got "):
                call(wrong)
    stream = model.stream()
    for call in (stream.step, stream.propose):
        with pytest.raises(KeyError, match=f"out: expected {y}, got z"):
            call(X[0], out={"z": np.empty(21, np.float32)})
    with pytest.raises(KeyError, match=f"out: expected {y}, got z"):
        stream.run(X, out={"z": np.empty((6, 21), np.float32)})
    assert stream.position == 0


def test_what_a_dict_holds_is_checked_as_an_array_is():
    model = gru()
    (x,) = model.inputs
    stream = model.stream()
    with pytest.raises(undertow.ShapeError, match="for several timesteps use run"):
        stream.step({x: X})
    with pytest.raises(TypeError, match="float64"):
        stream.run({x: X.astype(np.float64)})
    with pytest.raises(TypeError, match="must be a NumPy array"):
        stream.step({x: {x: X[0]}})
    with pytest.raises(TypeError, match="must be a NumPy array"):
        stream.step([0.0] * 5)


def test_ids_come_in_a_dict_too():
    model = embedding()
    stream = model.stream()
    for given in (3, np.int32(3), np.array(3)):
        assert np.array_equal(stream.step({"word": given}), np.eye(7)[3])
    assert np.array_equal(stream.run({"word": [1, 2]}), np.eye(7)[[1, 2]])
    with pytest.raises(ValueError, match="ids of 0 to 6"):
        stream.step({"word": 7})
    with pytest.raises(KeyError, match="expected word, got words"):
        stream.step({"words": 3})


def test_a_dict_costs_an_array_nothing():
    model = gru()
    stream, out = model.stream(), np.empty(21, np.float32)
    assert stream.step(frames(model), out) is out
