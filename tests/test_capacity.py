# SPDX-License-Identifier: MIT
"""Steps whose caches come back with a row more each time: rings of `capacity=` rows, an error once they are full."""

from __future__ import annotations

import numpy as np
import pytest

import undertow
from onnx_files import helper, info, model_of, node, random, save, session_of
from tolerances import FLOAT32_PEER
from undertow import ShapeError, StateError, UnsupportedError

D, HEADS, ROWS = 6, 2, 7


def one_cache(rng, more=(), behind="c", names=("h_in", "h_out", "cache", "cache_out")):
    """An RNN whose query of its past states is added to what it gives; `more` and `behind` change what is given."""
    h, h_out, cache, cache_out = names
    weights = {name: random(rng, D, D) / 2 for name in ("W", "R", "Q")} | {"out": random(rng, D, 2)}
    nodes = [
        node("MatMul", "x W", "a"),
        node("MatMul", f"{h} R", "b"),
        node("Add", "a b", "sum"),
        node("Tanh", "sum", h_out),
        node("Unsqueeze", f"{h_out} rows", "row"),
        node("Concat", f"{cache} row", "rows_now", axis=1),
        node("Identity", "rows_now", cache_out),
        node("MatMul", "row Q", "q"),
        node("Transpose", "rows_now", "columns", perm=[0, 2, 1]),
        node("MatMul", "q columns", "scores"),
        node("Softmax", "scores", "shares", axis=-1),
        node("MatMul", "shares rows_now", "context"),
        node("Squeeze", "context rows", "c"),
        *more,
        node("MatMul", f"{behind} out", "y"),
    ]
    inputs = {"x": [1, D], h: [1, D], cache: [1, "P", D]}
    outputs = [info("y", [1, 2]), info(h_out, [1, D]), info(cache_out, [1, "P1", D])]
    return model_of(nodes, inputs, outputs, weights | {"rows": np.array([1])})


def keys_and_values(rng, opset):
    """ONNX's own operator with past and present, causal, of a step."""
    weights = {f"W{k}": random(rng, D, D) / 2 for k in "qkv"}
    attention = helper.make_node(
        "Attention", ["q", "k", "v", "", "pk", "pv"], ["y", "pk_out", "pv_out"],
        q_num_heads=HEADS, kv_num_heads=HEADS, is_causal=1,
    )  # fmt: skip
    nodes = [*[node("MatMul", f"x W{k}", k) for k in "qkv"], attention]
    rows = [1, HEADS, "P", D // HEADS]
    outputs = [info("y", [1, 1, D]), *[info(f"p{k}_out", [1, HEADS, None, D // HEADS]) for k in "kv"]]
    return model_of(nodes, {"x": [1, 1, D], "pk": rows, "pv": rows}, outputs, weights, opset)


def grown(file, X, states, empty):
    """The outputs of a file whose caches grow, step by step from `empty`."""
    session = session_of(file)
    names = [o.name for o in session.get_outputs()]
    carried, rows = dict(empty), []
    for x in X:
        made = dict(zip(names, session.run(None, {"x": x, **carried}), strict=True))
        carried = {name: made[output] for name, output in states.items()}
        rows.append(made["y"].ravel())
    return np.array(rows)


CACHED = {"h_in": "h_out", "cache": "cache_out"}
EMPTY = {"h_in": np.zeros((1, D), np.float32), "cache": np.zeros((1, 0, D), np.float32)}
CASES = {
    "one cache": (one_cache, CACHED, EMPTY, (1, D)),
    **{
        f"keys and values, {opset}": (
            lambda rng, opset=opset: keys_and_values(rng, opset),
            {"pk": "pk_out", "pv": "pv_out"},
            dict.fromkeys(("pk", "pv"), np.zeros((1, HEADS, 0, D // HEADS), np.float32)),
            (1, 1, D),
        )
        for opset in (23, 24)
    },
}


@pytest.mark.parametrize("case", CASES)
def test_a_cache_that_grows_is_a_ring_until_it_is_full(case, rng, tmp_path):
    make, states, empty, shape = CASES[case]
    file = make(rng)
    model = undertow.load(save(file, tmp_path), capacity=ROWS)
    assert list(model.inputs) == ["x"] and list(model.outputs) == ["y"] and model.max_frames == ROWS
    X = random(rng, ROWS, *shape)
    frames = X.reshape(ROWS, *model.inputs["x"].shape)
    stream = model.stream()
    Y = np.array([stream.step(frame).ravel() for frame in frames])
    np.testing.assert_allclose(Y, grown(file, X, states, empty), rtol=0, atol=FLOAT32_PEER)
    snapshot = stream.snapshot()
    with pytest.raises(StateError, match="has had 7 frames, and 1 more are beyond the 7"):
        stream.step(frames[0])
    assert stream.snapshot() == snapshot
    stream.reset()
    np.testing.assert_array_equal(stream.run(frames).reshape(ROWS, -1), Y)


def test_the_ring_is_read_where_it_lies(rng, tmp_path):
    model = undertow.load(save(one_cache(rng), tmp_path), capacity=ROWS)
    ops = [n.op for n in model.graph.nodes]
    assert ops.count("attend") == 1 and ops.count("window") == 1


def test_states_may_be_said(rng, tmp_path):
    """Names that tell nothing: the cache is told by its rows, the rest by the caller."""
    names = ("first", "second", "third", "fourth")
    file = one_cache(rng, names=names)
    path = save(file, tmp_path)
    for said in ({"first": "second"}, {"first": "second", "third": "fourth"}):
        model = undertow.load(path, capacity=ROWS, states=said)
        X = random(rng, ROWS, 1, D)
        empty = {"first": EMPTY["h_in"], "third": EMPTY["cache"]}
        expected = grown(file, X, {"first": "second", "third": "fourth"}, empty)
        np.testing.assert_allclose(model.run(X[:, 0]), expected, rtol=0, atol=FLOAT32_PEER)


def test_without_it_the_advice_is_what_works(rng, tmp_path):
    path = save(one_cache(rng), tmp_path)
    with pytest.raises(
        ShapeError, match="'cache' is a cache that grows: load with capacity=N, with your number"
    ) as told:
        undertow.load(path)
    assert told.value.options == [{"capacity": "N"}]
    assert undertow.load(path, capacity=2).max_frames == 2


MEAN = [node("ReduceMean", "rows_now", "mean", axes=[1], keepdims=0), node("Add", "c mean", "both")]
LENGTH = [
    node("Shape", "rows_now", "sizes"),
    node("Gather", "sizes rows", "n"),
    node("Cast", "n", "number", to=1),
    node("Add", "c number", "both"),
]


@pytest.mark.parametrize("more", [MEAN, LENGTH], ids=["a mean of the rows", "the number of rows"])
def test_what_else_is_made_of_the_rows_is_refused(more, rng, tmp_path):
    path = save(one_cache(rng, more, "both"), tmp_path)
    with pytest.raises(UnsupportedError, match="output 'y' is made of all rows of a cache, and not by a softmax"):
        undertow.load(path, capacity=ROWS)
    with pytest.raises(ShapeError) as told:
        undertow.load(path)
    assert "capacity" not in str(told.value)


def test_bad_capacities_are_refused(rng, tmp_path):
    path = save(one_cache(rng), tmp_path)
    for given, error, message in (
        (0, ValueError, "capacity is 0, expected 1 to"),
        (1, ShapeError, "capacity=1: a cache of one row"),
        (2.5, TypeError, "capacity is 2.5, expected a number"),
    ):
        with pytest.raises(error, match=message):
            undertow.load(path, capacity=given)
    fixed = one_cache(rng)
    fixed.graph.input[2].type.tensor_type.shape.dim[1].dim_value = 4
    with pytest.raises(UnsupportedError, match="capacity=7: no input of the file is a cache that grows"):
        undertow.load(save(fixed, tmp_path), capacity=ROWS)
