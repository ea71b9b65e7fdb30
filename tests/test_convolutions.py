# SPDX-License-Identifier: MIT
"""Convolutions of a stream take their taps from rings, and go together with what a residual layer does: bits, states
and proposals stay those of the way node by node, which pools go."""

import numpy as np
import pytest

import undertow
from frames import assert_same_bits, vectors
from undertow import reference
from undertow.ir.activations import Activation
from undertow.ir.graph import Graph
from undertow.model import Model
from undertow.passes.latency import lower

ISAS = [isa for isa, runnable in undertow.isas().items() if runnable]
ACTIVATIONS = ["tanh", "relu", "leaky_relu", "identity", "silu"]


def dense(g, rng, x, m, name, activation="identity", bias=True):
    (k,) = g.shape(x)
    weights = {"W": rng.normal(size=(m, k)) / np.sqrt(k)} | ({"b": rng.normal(size=m) / 4} if bias else {})
    act = Activation(activation, 0.1) if activation == "leaky_relu" else Activation(activation)
    return g.add("dense", [x], name=name, weights=weights, attrs={"activation": act})


def seen(g, x, taps, name, beside=(), first=True):
    """The frames under the taps, and what stands beside them."""
    (width,) = g.shape(x)
    flat = g.add("window", [x], name=f"{name}.window", attrs={"taps": taps})
    flat = g.add("reshape", [flat], name=f"{name}.taps", attrs={"shape": (len(taps) * width,)})
    if not beside:
        return flat
    return g.add("concat", [flat, *beside] if first else [*beside, flat], name=f"{name}.inputs")


def residual(channels, taps, *, n_in=1, kept=False, first=True, head=None, order="sum mix", seed=0):
    """Layers like those of a WaveNet: a convolution beside the input, a sum from layer to layer, a way around."""
    rng = np.random.default_rng(seed)
    g = Graph("residual")
    audio = g.input("x", n_in)
    x, total = dense(g, rng, audio, channels, "in", bias=False), None
    for i, taps_of_layer in enumerate(taps):
        name = f"layer_{i}"
        inputs = seen(g, x, taps_of_layer, name, [audio], first)
        z = dense(g, rng, inputs, channels, name, ACTIVATIONS[i % 5], bias=i != 1)
        if kept and i == 1:
            g.output("z", z)
        for what in order.split():
            if what == "sum":
                total = g.add("add", [total, z], name=f"{name}.total") if total else z
            elif what == "mix":
                mixed = dense(g, rng, z, channels, f"{name}.out", bias=i != 2)
                x = g.add("add", [mixed, x] if i % 2 else [x, mixed], name=f"{name}.sum")
    if head:
        total = dense(g, rng, seen(g, total, head, "head"), 1, "head")
    g.output("y", total)
    g.output("last", x)
    return g


PAST = [(-2, -1, 0), (-90, -45, 0), (-5, -3), (-7, 0), (-60, -50, -40, -1, 0), (-1,)]
GRAPHS = {
    "narrow": lambda: residual(3, PAST, head=(-6, -4, -1, 0)),
    "pairs": lambda: residual(2, PAST, n_in=2, kept=True, seed=1),
    "one": lambda: residual(1, PAST, head=(-1, 0), seed=2),
    "four": lambda: residual(4, PAST, order="mix sum", seed=3),
    "eight": lambda: residual(8, PAST, head=(-6, -4, -1, 0), kept=True, seed=4),
    "panel": lambda: residual(16, PAST, order="mix sum", seed=5),
    "odd": lambda: residual(11, PAST, n_in=3, seed=6),
    "wide": lambda: residual(19, PAST, head=(-3, 0), seed=7),
    "beside": lambda: residual(5, PAST, first=False, seed=8),
    "plain": lambda: residual(3, PAST, order="sum", seed=9),
    "ahead": lambda: residual(4, [(-2, 0, 1), (-1, 0), (-3, 0, 2)], seed=10),
}


def together(parts):
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def stepped(stream, X):
    return together([{name: y[None].copy() for name, y in stream.step(x).items()} for x in X])


def by_nodes(model, X):
    """Every timestep of a pool of two, whose windows stand in their states; and what the first one remembers."""
    pool = model.pool(2)
    ids = pool.open(2)
    y = together([{name: y[:1].copy() for name, y in pool.step(ids, np.stack([x, x])).items()} for x in X])
    return y, pool.snapshot(ids[0])


@pytest.mark.parametrize("name", GRAPHS)
def test_rings_change_no_bit(name):
    graph = GRAPHS[name]()
    X = vectors(230, *graph.shape("x"))
    X[150], X[160:164, 0] = 0, (1e-40, -0.0, 3e38, 1e-30)
    if name != "ahead":
        truth = reference.run(lower(graph), X[:150].astype(np.float64))
    expected = None
    for isa in ISAS:
        model = Model.from_graph(graph, isa=isa)
        y, snapshot = by_nodes(model, X)
        expected = expected or y
        assert_same_bits(y, expected, isa)
        if name != "ahead":
            for output in y:
                np.testing.assert_allclose(y[output][:150], truth[output], rtol=0, atol=2e-5)
        for cuts in ([230], [1] * 230, [64, 1, 2, 3, 17, 16, 31, 48, 48], [33, 15, 1, 1, 47, 49, 50, 34]):
            stream, ends = model.stream(), np.cumsum(cuts)
            got = together([stream.run(X[end - n : end]) for n, end in zip(cuts, ends, strict=True)])
            assert_same_bits(got, expected, f"{isa} {cuts[:3]}")
            assert stream.snapshot() == snapshot


@pytest.mark.parametrize("name", ["narrow", "eight", "wide"])
def test_states_are_those_of_the_file_whenever_somebody_looks(name):
    model = Model.from_graph(GRAPHS[name]())
    X = vectors(200, 1, seed=3)
    stream = model.stream()
    stream.run(X[:70])
    past = stream.state["layer_1.window"]  # the last 90 frames of what the layer before gave
    np.testing.assert_array_equal(past, model.stream().trace(X[:70])["layer_1.window.past"][-1])
    assert not past[:20].any() and past[20:].all()

    fork, saved = stream.fork(), stream.snapshot()
    assert_same_bits(stream.propose(X[70]), fork.step(X[70]))
    stream.rollback()
    assert stream.snapshot() == saved
    assert_same_bits(stream.propose(X[70]), model.stream(saved).step(X[70]))
    stream.commit()
    assert stream.snapshot() == fork.snapshot()
    assert_same_bits(stream.step(X[71]), fork.step(X[71]))
    stream.restore(saved)
    twin = model.stream(saved)
    assert_same_bits(stream.run(X[70:100]), stepped(twin, X[70:100]))
    stream.state["layer_1.window"] = twin.state["layer_1.window"] = past  # behind a block, and behind a single step
    assert_same_bits(stream.run(X[100:150]), stepped(twin, X[100:150]))
    assert stream.snapshot() == twin.snapshot() != saved
    stream.restore(saved)
    assert stream.snapshot() == saved
    assert_same_bits(stream.run(X[70:100]), model.stream(saved).run(X[70:100]))
    stream.reset()
    assert_same_bits(stream.run(X), model.stream().run(X))
