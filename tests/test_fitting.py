# SPDX-License-Identifier: MIT
"""Rounding weights to data: against the formula done slowly, what it keeps, what it gains, and which frames it sees."""

import numpy as np
import pytest

from networks import cell, single
from undertow import reference, tow
from undertow.accuracy import calibrate, fitting, trials
from undertow.accuracy.fitting import DAMPING, compensated
from undertow.accuracy.layerwise import inner_values
from undertow.accuracy.trials import Form, Trials
from undertow.compile import compile_graph
from undertow.ir import precision
from undertow.ir.graph import Graph
from undertow.model import Model
from undertow.passes import smoothing
from undertow.passes.precisions import with_weights


def correlated(n, K, rank, seed=0):
    """Frames that mostly lie in a few directions, as hidden states and features do."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, K)) + 0.05 * rng.normal(size=(n, K))
    return X.astype(np.float32)


def slowly(w, X, name):
    """Optimal brain quantisation of one row after the other: the inverse is updated, not factorised."""
    nearest = precision.quantise(w, name)
    K = w.shape[1]
    size = K if name == "int8" else 32
    H = X.T.astype(np.float64) @ X.astype(np.float64) / len(X)
    H += (DAMPING + K / len(X)) * np.trace(H) / K * np.eye(K)
    out = np.zeros((len(w), K), np.int64)
    for r, row in enumerate(w.astype(np.float64)):
        inverse = np.linalg.inv(H)
        row = row.copy()
        for k in range(K):
            group = slice(k // size * size, k // size * size + size)
            scale = float(nearest.scale.reshape(len(w), -1)[r, k // size])
            limit = np.abs(nearest.q[r, group]).max()
            q = np.clip(np.rint(row[k] / scale), -limit, limit) if scale else 0
            out[r, k] = nearest.q[r, k] if abs(nearest.q[r, k]) == limit else q
            error = (row[k] - out[r, k] * scale) / inverse[k, k]
            row -= error * inverse[k]
            inverse = inverse - np.outer(inverse[:, k], inverse[k]) / inverse[k, k]
    return out


@pytest.mark.parametrize("name", ["int8", "int4"])
@pytest.mark.parametrize("K", [1, 33, 130])
def test_against_the_formula(name, K):
    w = np.random.default_rng(K).normal(size=(7, K)).astype(np.float32)
    X = correlated(200, K, 5)
    assert np.array_equal(precision.quantise(compensated(w, X, name), name).q, slowly(w, X, name))


@pytest.mark.parametrize("name", ["int8", "int4"])
def test_what_is_rounded_to_data_is_stored_as_it_is(name):
    rng = np.random.default_rng(1)
    for low, high in ((-2, 2), (-8, -4)):  # the second: scales that are subnormal float16, or zero
        w = (rng.normal(size=(50, 70)) * 10.0 ** rng.uniform(low, high, (50, 1))).astype(np.float32)
        w[3] = 0
        w[4, :40] = 0
        found = compensated(w, correlated(300, 70, 4), name)
        assert np.array_equal(precision.stored(found, name), found)
        a, b = precision.quantise(found, name), precision.quantise(w, name)
        assert np.array_equal(a.scale, b.scale)
        assert not found[3].any() and not found[4, :32].any()


@pytest.mark.parametrize("name", ["int8", "int4"])
def test_products_with_the_data_err_less(name):
    w = np.random.default_rng(2).normal(size=(40, 64)).astype(np.float32)
    X, unseen = correlated(800, 64, 8)[:400], correlated(800, 64, 8)[400:]
    for frames in (X, unseen):
        nearest, fitted = (
            np.sqrt(np.mean((frames @ (v - w).T) ** 2)) for v in (precision.stored(w, name), compensated(w, X, name))
        )
        assert fitted < nearest / 2


def test_data_that_says_nothing_leaves_the_nearest():
    w = np.random.default_rng(3).normal(size=(9, 40)).astype(np.float32)
    nearest = precision.stored(w, "int8")
    eye = np.eye(40, dtype=np.float32)  # no column can stand in for another
    for X in (eye, eye * 1e-10, eye[:0], np.zeros((5, 40), np.float32), np.full((5, 40), np.nan, np.float32)):
        assert np.array_equal(compensated(w, X, "int8"), nearest)


@pytest.mark.parametrize(
    "options",
    [
        {"op": "rnn", "start": True},
        {"op": "gru"},
        {"op": "gru", "clip": 0.5, "start": True, "bias": False},
        {"op": "gru", "reset_after": True, "reverse": True, "start": True},
        {"op": "lstm", "projection": 3, "start": True},
    ],
    ids=str,
)
def test_every_matrix_sees_what_it_multiplies(options, monkeypatch):
    g = single(np.random.default_rng(0), n_in=5, hidden=7, **options)
    node, X = g.nodes[0], correlated(40, 5, 3)
    values, same = inner_values(Model.from_graph(g), g, {"x": X})
    assert same
    seen = {}

    def look(w, x, name, what, smoothing):
        assert smoothing is None
        seen[what[-1], len(w)] = x
        return w

    monkeypatch.setattr(fitting, "compensated", look)
    found = fitting.fitted(node, dict.fromkeys(("W", "R", "projection"), "int8"), g, [values])
    assert set(found) == {"W", "R"} and all(np.array_equal(w, node.weights[key]) for key, w in found.items())
    truth = reference.evaluate(g, X)
    h = truth.states["cell.h"]
    start = g.states["cell.h"].init
    start = np.zeros(h.shape[1:]) if start is None else start
    before = np.concatenate([h[1:], start[None]]) if node.attrs["reverse"] else np.concatenate([start[None], h[:-1]])
    gates = len(node.weights["W"])
    np.testing.assert_array_equal(seen["W", gates * 7], X)
    if options["op"] == "gru" and not node.attrs["reset_after"]:
        np.testing.assert_allclose(seen["R", 14], before, atol=1e-6)
        w = {key: v.astype(np.float64) for key, v in node.weights.items()}
        a = X @ w["W"][1].T + before @ w["R"][1].T + (w["b"][1] if "b" in w else 0)
        a = a if node.attrs["clip"] is None else np.clip(a, -node.attrs["clip"], node.attrs["clip"])
        np.testing.assert_allclose(seen["R", 7], before / (1 + np.exp(-a)), atol=1e-6)
    else:
        np.testing.assert_allclose(seen["R", gates * 7], before, atol=1e-6)
    alone = dict(seen)
    fitting.fitted(node, dict.fromkeys(("W", "R", "projection"), "int8"), g, [values, values])
    for key, rows in alone.items():  # the second sequence starts afresh
        np.testing.assert_array_equal(seen[key], np.concatenate([rows, rows]))


@pytest.mark.parametrize("name", ["int8", "int4"])
def test_smoothed_weights_are_rounded_as_they_are_stored(name):
    w, X = np.random.default_rng(6).normal(size=(7, 40)).astype(np.float32), correlated(200, 40, 5)
    exponents = np.random.default_rng(7).integers(0, 7, 40).astype(np.int8)
    factors = 2.0 ** exponents.astype(np.float32)
    inside = compensated(w, X, name, smoothing=exponents) * factors
    assert np.array_equal(precision.quantise(inside, name).q, slowly(w * factors, X / factors, name))
    assert np.array_equal(precision.stored(inside, name), inside)


@pytest.mark.parametrize("options", [{"op": "gru"}, {"op": "lstm", "projection": 3, "start": True}], ids=str)
def test_what_multiplies_inputs_is_smoothed_and_nothing_else(options):
    g = single(np.random.default_rng(0), n_in=5, hidden=7, **options)
    node, X = g.nodes[0], correlated(40, 5, 3)
    X[:, 2] *= 100
    values, _ = inner_values(Model.from_graph(g), g, {"x": X})
    keys = list(node.weights)
    (chosen,) = fitting.smoothed_for(node, keys, g, [values]).items()
    assert (
        chosen[0] == "W" and np.array_equal(chosen[1], smoothing.from_data(node.weights["W"], X)) and chosen[1][2] > 0
    )
    twice = fitting.smoothed_for(node, keys, g, [values, values])
    assert np.array_equal(twice["W"], chosen[1])
    assert not fitting.smoothed_for(node, ["R", "b"], g, [values]) and not fitting.smoothed_for(node, keys, g, [])
    rounded = fitting.fitted(node, dict.fromkeys(("W", "R"), "int8"), g, [values], dict([chosen]))
    plain = fitting.fitted(node, dict.fromkeys(("W", "R"), "int8"), g, [values])
    assert np.array_equal(rounded["R"], plain["R"])
    gates = node.weights["W"].reshape(-1, 5)
    assert np.array_equal(rounded["W"].reshape(-1, 5), compensated(gates, X, "int8", smoothing=chosen[1]))
    assert not smoothing.without_data(node, node.weights)
    node.weights["W"][..., 1] *= 300
    assert set(smoothing.without_data(node, node.weights)) == {"W"} and not smoothing.without_data(node, ["R", "b"])


def model():
    rng = np.random.default_rng(5)
    g = Graph("fit")
    (h,) = cell(g, rng, "gru", g.input("x", 12), 40, "gru", reset_after=True)
    g.output("y", g.add("dense", [h], name="head", weights={"W": rng.normal(size=(6, 40)) / 6}))
    return g


@pytest.mark.parametrize("name", ["int8", "int4"])
def test_a_model_fitted_to_data(name):
    g, X = model(), correlated(600, 12, 3)
    seen, unseen = X[:400], X[400:]
    plain, fit = with_weights(g, name), calibrate.fit(g, name, {"x": seen})
    assert [n.precisions for n in fit.nodes] == [n.precisions for n in plain.nodes]
    for node in tow.read(compile_graph(fit)).nodes:
        mine = next(n for n in fit.nodes if n.name == node.name)
        for key in node.precisions:
            assert np.array_equal(node.weights[key], mine.weights[key])
    errors = []
    for graph in (plain, fit):
        Y = [Model.from_graph(graph).run(x) - Model.from_graph(g).run(x) for x in (seen, unseen)]
        errors.append([np.sqrt(np.mean(y**2)) for y in Y])
    assert errors[1][0] < errors[0][0] and errors[1][1] < errors[0][1]
    if name == "int4":
        assert errors[1][1] < 0.7 * errors[0][1]


def test_rounding_to_data_that_does_not_help_is_not_used(monkeypatch):
    g, X = model(), {"x": correlated(50, 12, 3)}
    monkeypatch.setattr(trials, "fitted", lambda node, *_: {"W": np.zeros_like(node.weights["W"])})
    found, plain = calibrate.fit(g, "int8", X), with_weights(g, "int8")
    assert compile_graph(found) == compile_graph(plain)


def test_rounding_that_helps_alone_but_not_together_is_given_up():
    g, X = model(), {"x": correlated(50, 12, 3)}
    bench = Trials(with_weights(g, "float32"), X, None)
    chosen = {"gru": {"R": "int8"}, "head": {"W": "int8"}}
    for layer, keys in chosen.items():
        node = next(node for node in g.nodes if node.name == layer)
        for key, name in keys.items():
            off = precision.stored(node.weights[key] * np.float32(1.01), name)
            bench._forms[(layer, key), name] = Form(off)
    bench.settle(chosen)
    assert compile_graph(bench.reduced(chosen)) == compile_graph(with_weights(g, chosen))


def test_a_layer_whose_data_changes_is_rounded_to_the_nearest():
    """Of two layers side by side, one sees in the last third what it has not seen before."""
    rng = np.random.default_rng(3)
    g = Graph("two")
    weights = {name: rng.normal(size=(16, 64)).astype(np.float32) for name in ("steady", "shifted")}
    for name, W in weights.items():
        g.output(name, g.add("dense", [g.input(f"x of {name}", 64)], name=name, weights={"W": W}))
    mixed = rng.normal(size=(3, 64))  # few directions, so that rounding has room for them
    X = {"x of steady": rng.normal(size=(300, 3)) @ mixed, "x of shifted": rng.normal(size=(300, 3)) @ mixed}
    X["x of shifted"][200:] = rng.normal(size=(100, 3)) @ rng.normal(size=(3, 64))
    X["x of steady"] *= 10
    fitted = calibrate.fit(g, "int4", {name: x.astype(np.float32) for name, x in X.items()})
    kept = {node.name: np.array_equal(node.weights["W"], weights[node.name]) for node in fitted.nodes}
    assert kept == {"steady": False, "shifted": True}
