# SPDX-License-Identifier: MIT
"""Values that the engine writes in parts, because one op alone reads them row by row (csrc/ops/parts.cpp): to the bit
what they are where they are written whole, as they must be for another reader, and what float64 says.
"""

import os

import numpy as np
import pytest

import undertow
from undertow import tow
from undertow.ir.activations import Activation
from undertow.ir.graph import Graph
from undertow.model import Model
from undertow.passes import run as passes
from undertow.passes.precisions import with_weights

ISAS = [name for name, runs in undertow.isas().items() if runs]
RELU = Activation("relu")
#: many times the 48 rows that are computed at once, and no multiple of them
N_ROWS = 1210


def stretches(size, n, rng):
    """n indices below `size` in stretches of all strides that begin and end anywhere, also inside of a row."""
    pieces = []
    while sum(map(len, pieces)) < n:
        stride, count = rng.integers(-2, 4), rng.integers(1, 200)
        start = rng.integers(0, size)
        piece = start + stride * np.arange(count)
        pieces += [piece[(piece >= 0) & (piece < size)]] * int(rng.integers(1, 4))
    return np.concatenate(pieces)[:n].astype(np.int32)


def weights(rng, *shape):
    return (rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)


def chain(kind, rng):
    """A graph whose values are large, each read by the next op alone; and the same in float64."""
    g = Graph(kind)
    x = g.input("x", (60, 70))
    K, M, N = 30, 21, 5
    if kind == "depthwise":
        indices = stretches(4200, N_ROWS * N * M, rng).reshape(N_ROWS, N, M)
        W, b = weights(rng, N, M), weights(rng, M)
        rows = g.add("select", [x], weights={"indices": indices})
        y = g.add("depthwise", [rows], weights={"W": W, "b": b}, attrs={"activation": RELU})
        g.output("y", y)
        return g, lambda X: np.maximum((X.reshape(len(X), -1)[:, indices] * W).sum(2) + b, 0)
    indices = stretches(4200, N_ROWS * K, rng).reshape(N_ROWS, K)
    W, b, V = weights(rng, M, K), weights(rng, M), weights(rng, 33, M)
    rows = g.add("select", [x], weights={"indices": indices})
    deep = g.add("dense", [rows], weights={"W": W, "b": b}, attrs={"activation": RELU})
    if kind == "two dense layers":
        g.output("y", g.add("dense", [deep], weights={"W": V}))
        return g, lambda X: np.maximum(X.reshape(len(X), -1)[:, indices] @ W.T + b, 0) @ V.T
    most = g.add("reduce", [g.add("reshape", [deep], attrs={"shape": (N_ROWS // N, N, M)})], attrs={"kind": "max"})
    g.output("y", g.add("dense", [most], weights={"W": V}))
    shape = (-1, N_ROWS // N, N, M)
    return g, lambda X: np.maximum(X.reshape(len(X), -1)[:, indices] @ W.T + b, 0).reshape(shape).max(2) @ V.T


def shown(graph):
    """The same, of which all values are outputs too: nobody reads them alone."""
    other = graph.copy()
    for i, value in enumerate([v for node in graph.nodes for v in node.outputs if v != graph.outputs["y"]]):
        other.output(f"also {i}", value)
    return other


@pytest.mark.parametrize("kind", ["pooled", "two dense layers", "depthwise"])
@pytest.mark.parametrize("isa", ISAS)
def test_values_in_parts_are_those_that_are_written_whole(kind, isa):
    rng = np.random.default_rng(len(kind))
    graph, formula = chain(kind, rng)
    X = rng.normal(size=(3, 60, 70)).astype(np.float32)
    model = Model.from_graph(graph, isa)
    Y = model.run(X)
    np.testing.assert_allclose(Y, formula(X.astype(np.float64)), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(Y, Model.from_graph(shown(graph), isa).run(X)["y"])
    stream, pool = model.stream(), model.pool(3)
    np.testing.assert_array_equal([stream.step(x) for x in X], Y)
    np.testing.assert_array_equal(pool.step(pool.open(3), X), Y)


@pytest.mark.parametrize("isa", ISAS)
def test_rows_of_integers_are_quantised_in_parts_as_they_are_whole(isa):
    rng = np.random.default_rng(3)
    graph = with_weights(chain("two dense layers", rng)[0], "int8")
    X = rng.normal(size=(2, 60, 70)).astype(np.float32)
    np.testing.assert_array_equal(Model.from_graph(graph, isa).run(X), Model.from_graph(shown(graph), isa).run(X)["y"])


@pytest.mark.skipif(len(getattr(os, "sched_getaffinity", lambda _: [0])(0)) < 2, reason="needs two CPUs")
def test_a_team_shares_rows_of_values_that_are_written_whole():
    rng = np.random.default_rng(6)
    indices = stretches(3000, 700 * 96, rng).reshape(700, 96)
    W, V = weights(rng, 352, 96), weights(rng, 7, 352)  # 128 KiB and more are shared
    g = Graph("team")
    rows = g.add("select", [g.input("x", 3000)], weights={"indices": indices})
    deep = g.add("dense", [rows], weights={"W": W}, attrs={"activation": RELU})
    g.output("y", g.add("dense", [deep], weights={"W": V}))
    model, x = Model.from_graph(g), rng.normal(size=3000).astype(np.float32)
    team = model.stream(threads=2, measure=False)
    assert team.threads == 2
    y = team.step(x)
    np.testing.assert_array_equal(y, model.stream().step(x))
    expected = np.maximum(x.astype(np.float64)[indices] @ W.T, 0) @ V.T
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("where", ["behind", "out of", "into"])
def test_a_value_that_goes_into_a_loop_or_out_of_it_is_written_whole(where):
    """A register makes frames wait for each other; what stands before and behind the loop takes all of them at once.
    The value that may be written in parts is made and read behind the loop, made in it, or read in it: in files as
    others may write them, for `Model.from_graph` moves what need not be in a loop out of it.
    """
    rng = np.random.default_rng(4)
    indices, W = stretches(64, 1024 * 20, rng).reshape(1024, 20), weights(rng, 16, 20)
    g = Graph("loop")
    x = g.input("x", 64)
    g.state("sum", 64)
    if where == "into":
        rows = g.add("select", [g.add("add", [x, x])], weights={"indices": indices})
    total = g.add("add", [g.add("state_read", states=["sum"]), x])
    if where == "out of":
        rows = g.add("select", [total], weights={"indices": indices})
    if where == "into":
        y = g.add("dense", [rows], weights={"W": W})
    g.add("state_write", [total], states=["sum"])
    if where == "behind":
        rows = g.add("select", [total], weights={"indices": indices})
    if where != "into":
        y = g.add("dense", [rows], weights={"W": W})
    g.output("y", g.add("flip", [y]))
    X = rng.normal(size=(7, 64)).astype(np.float32)
    read = 2.0 * X.astype(np.float64) if where == "into" else np.cumsum(X.astype(np.float64), axis=0)
    expected = read[:, indices] @ W.T
    np.testing.assert_allclose(undertow.load(tow.write(g)).run(X), expected[::-1], rtol=1e-4, atol=1e-4)


def test_rows_that_a_selection_leaves_out_are_not_computed():
    """Pooling that does not divide an image takes only some rows of the convolution before it."""
    rng = np.random.default_rng(5)
    g = Graph("edge")
    rows = g.add("select", [g.input("x", 50)], weights={"indices": stretches(50, 11 * 6, rng).reshape(11, 6)})
    W = weights(rng, 4, 6)
    deep = g.add("dense", [rows], weights={"W": W}, attrs={"activation": RELU})
    taken = np.array([[9, 1], [4, 3], [0, 10]])
    pooled = g.add("select", [deep], weights={"indices": taken[..., None] * 4 + np.arange(4)})
    g.output("y", g.add("reduce", [pooled], attrs={"kind": "max"}))
    before = Model.from_graph(g)
    assert [g.shape(v) for v in (rows, deep)] == [(11, 6), (11, 4)]
    passes(g)
    after = Model.from_graph(g)
    assert [(node.op, after.graph.shape(node.outputs[0])) for node in after.graph.nodes][:2] == [
        ("select", (3, 2, 6)),
        ("dense", (3, 2, 4)),
    ]
    assert [node.op for node in after.graph.nodes].count("select") == 1
    X = rng.normal(size=(4, 50)).astype(np.float32)
    np.testing.assert_allclose(after.run(X), before.run(X), rtol=1e-6, atol=1e-6)
    truth = np.maximum(X.astype(np.float64)[:, rows_of(before)] @ W.T, 0)[:, taken].max(2)
    np.testing.assert_allclose(after.run(X), truth, rtol=1e-5, atol=1e-6)


def rows_of(model):
    return next(node.weights["indices"] for node in model.graph.nodes if node.op == "select")
