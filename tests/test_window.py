# SPDX-License-Identifier: MIT
"""Windows over time: what they mean for a whole sequence, and that their lowered form, flushed, means the same."""

import numpy as np
import pytest

import undertow
from networks import cell
from undertow import reference
from undertow.ir.graph import Graph
from undertow.passes.latency import latencies, lower


def window_of(x, taps):
    """By the definition: y[t, i] = x[t + taps[i]], zeros outside."""
    y = np.zeros((len(x), len(taps), *x.shape[1:]))
    for t in range(len(x)):
        for i, tap in enumerate(taps):
            if 0 <= t + tap < len(x):
                y[t, i] = x[t + tap]
    return y


def conv(x, W, b, taps):
    """x (T, C), W (M, len(taps), C): a convolution that pads with zeros."""
    return np.einsum("tkc,mkc->tm", window_of(x, taps), W) + b


def add_conv(g, rng, x, taps, m, name, activation="identity"):
    (c,) = g.shape(x)
    W, b = rng.normal(size=(m, len(taps), c)).astype(np.float32), rng.normal(size=m).astype(np.float32)
    w = g.add("window", [x], name=f"{name}.window", attrs={"taps": taps})
    flat = g.add("reshape", [w], attrs={"shape": (len(taps) * c,)})
    act = {"activation": undertow.ir.activations.Activation(activation)}
    return g.add("dense", [flat], name=name, weights={"W": W.reshape(m, -1), "b": b}, attrs=act), (W, b, taps)


@pytest.mark.parametrize("taps", [(0,), (-1,), (2,), (-2, 0), (-3, -1), (-1, 0, 1), (1, 4), (-5, 0, 7)])
def test_one_window(taps):
    x = np.random.default_rng(0).normal(size=(9, 2, 3))
    g = Graph("one")
    g.output("y", g.add("window", [g.input("x", (2, 3))], attrs={"taps": taps}))
    expected = window_of(x, taps)
    np.testing.assert_array_equal(reference.run(g, x), expected)
    low = lower(g)
    assert low.latency == max(0, taps[-1])
    np.testing.assert_array_equal(reference.run(low, x), expected)


def stack(seed=0):
    """Convolutions with biases, two of which look ahead, a cell between and one behind them, and a short cut."""
    rng = np.random.default_rng(seed)
    g = Graph("stack")
    x = g.input("x", 3)
    a, p = add_conv(g, rng, x, (-2, 0, 2), 4, "a", "tanh")
    (h,) = cell(g, rng, "gru", a, 5, "gru", start=True)
    b, q = add_conv(g, rng, h, (-1, 0, 1), 4, "b", "sigmoid")
    (k,) = cell(g, rng, "gru", b, 4, "late", start=True, reset_after=True)
    c, r = add_conv(g, rng, k, (-3, -2), 4, "c")
    short, s = add_conv(g, rng, x, (-1, 0), 4, "short")
    g.output("y", g.add("add", [g.add("add", [c, a]), short]))
    g.output("h", h)
    return g, (p, q, r, s)


def test_a_stack_against_convolutions_written_out():
    g, (p, q, r, s) = stack()
    low = lower(g)
    assert low.latency == 2  # that of a and h; c reads what is 3 frames late, but two frames back
    for T in (0, 1, 2, 3, 5, 30):
        x = np.random.default_rng(T).normal(size=(T, 3))
        a = np.tanh(conv(x, *p))
        gru, late = (next(n for n in g.nodes if n.name == name) for name in ("gru", "late"))
        h = cell_alone(g, gru, a)
        k = cell_alone(g, late, 1 / (1 + np.exp(-conv(h, *q))))
        y = conv(k, *r) + a + conv(x, *s)
        for graph in (g, low):
            got = reference.run(graph, x)
            np.testing.assert_allclose(got["h"], h, atol=1e-12)
            np.testing.assert_allclose(got["y"], y, atol=1e-12)


def cell_alone(g, node, x):
    """Cells have tests of their own."""
    alone = Graph("alone")
    states = [alone.state(s, g.states[s].shape, g.states[s].init) for s in node.states]
    v = alone.input("x", x.shape[1:])
    alone.output("y", alone.add("gru", [v], name="c", weights=node.weights, attrs=node.attrs, states=states))
    return reference.run(alone, x)


def test_final_states_are_those_at_the_end_of_the_sequence():
    rng = np.random.default_rng(3)
    g = Graph("g")
    a, _ = add_conv(g, rng, g.input("x", 3), (-1, 0, 2), 4, "a")
    (h,) = cell(g, rng, "gru", a, 5, "gru")
    b, _ = add_conv(g, rng, h, (0, 1), 2, "b")
    g.output("y", b)
    x = rng.normal(size=(7, 3))
    _, state = reference.run(g, x, return_state=True)
    _, late = reference.run(lower(g), x, return_state=True)
    np.testing.assert_allclose(late["gru.h"], state["gru.h"], atol=1e-12)


def test_registers_are_as_late_as_what_is_written_to_them():
    g = Graph("sum")
    x = g.input("x", 2)
    ahead = g.add("reshape", [g.add("window", [x], attrs={"taps": (1,)})], attrs={"shape": (2,)})
    state = g.state("sum.value", 2, np.array([0.5, 1.0]))
    y = g.add("add", [g.add("state_read", states=[state]), ahead])
    g.add("state_write", [y], states=[state])
    g.output("y", y)
    g.output("x", x)
    low = lower(g)
    assert low.latency == 1
    X = np.random.default_rng(0).normal(size=(6, 2))
    expected = np.cumsum(np.concatenate([X[1:], np.zeros((1, 2))]), axis=0) + np.array([0.5, 1.0])
    for graph in (g, low):
        got, final = reference.run(graph, X, return_state=True)
        np.testing.assert_allclose(got["y"], expected, atol=1e-12)
        np.testing.assert_array_equal(got["x"], X)
        np.testing.assert_allclose(final["sum.value"], expected[-1], atol=1e-12)


def loop(taps):
    g = Graph("loop")
    x = g.input("x", 2)
    state = g.state("loop.value", 2)
    total = g.add("add", [g.add("state_read", states=[state]), x])
    w = g.add("window", [total], name="w", attrs={"taps": taps})
    y = g.add("select", [w], weights={"indices": np.array([0, 1])})
    g.add("state_write", [y], states=[state])
    g.output("y", y)
    return g


def test_a_window_inside_of_a_loop():
    g = loop((-2, 0))
    X = np.random.default_rng(1).normal(size=(8, 2))
    totals, written = [], np.zeros(2)
    for x in X:
        totals.append(written + x)
        written = totals[-3] if len(totals) > 2 else np.zeros(2)
    expected = np.array([np.zeros(2), np.zeros(2), *totals[:-2]])
    for graph in (g, lower(g)):
        np.testing.assert_allclose(reference.run(graph, X), expected, atol=1e-12)


def test_a_loop_that_looks_ahead_is_refused():
    with pytest.raises(undertow.UnsupportedError, match=r"loop\.value.*look-ahead cannot stand inside a loop"):
        lower(loop((-2, 1)))
    with pytest.raises(undertow.UnsupportedError, match=r"'w'.*inside a loop"):
        reference.run(loop((-2, 1)), np.zeros((3, 2)))


def test_latencies_by_value():
    g, _ = stack()
    late = latencies(g)
    assert late["x"] == 0 and late["a.out"] == late["gru.h"] == 2 and late["late.h"] == 3 and late["c.out"] == 1


def test_graphs_without_look_ahead_stay_as_they_are():
    g = Graph("plain")
    g.output("y", cell(g, np.random.default_rng(0), "lstm", g.input("x", 3), 4)[0])
    assert lower(g) is g
    h, _ = stack()
    low = lower(h)
    assert lower(low) is low
    causal = Graph("causal")
    causal.output("y", add_conv(causal, np.random.default_rng(0), causal.input("x", 3), (-2, 0), 4, "a")[0])
    assert [n.op for n in lower(causal).nodes] == [n.op for n in causal.nodes]
    assert lower(causal).latency == 0


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({}, "taps are"),
        ({"taps": ()}, "taps are"),
        ({"taps": (1, 1)}, "ascending"),
        ({"taps": (0, -1)}, "ascending"),
        ({"taps": (-(1 << 21), 0)}, "at most"),
    ],
)
def test_taps_that_make_no_sense(attrs, message):
    g = Graph("bad")
    x = g.input("x", 3)
    with pytest.raises(undertow.ShapeError, match=message):
        g.add("window", [x], name="w", attrs=attrs)
