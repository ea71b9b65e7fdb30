# SPDX-License-Identifier: MIT
"""Reduced weights in the engine, against the oracle of precisions, on every instruction set.

Cells are compared one timestep at a time, each from the state that the engine reached: from one state, engine and
oracle round the same hidden state to the same integers, and what remains is the float32 of the cell update.
"""

from functools import lru_cache

import numpy as np
import pytest

import undertow
from frames import assert_same_bits
from networks import counter, single, zoo, zoo_input
from oracle_precision import Cell, Filters, Matrix, stored_row
from test_cells import OPTIONS
from test_streaming import cut
from tolerances import FLOAT32_UPDATE
from undertow import reference
from undertow.ir import precision
from undertow.ir.graph import Graph
from undertow.model import Model
from undertow.passes.precisions import with_weights

ISAS = [name for name, runs in undertow.isas().items() if runs]
REDUCED = ["float16", "bfloat16", "int16", "int8", "int4"]
INTEGERS = ["int16", "int8", "int4"]


def dense_graph(rng, K, M, bias=True):
    g = Graph("dense")
    w = {"W": rng.normal(size=(M, K)) * 10.0 ** rng.integers(-2, 2, (M, 1))}
    if bias:
        w["b"] = rng.normal(size=M)
    g.output("y", g.add("dense", [g.input("x", K)], name="dense", weights=w))
    return g


def frames(rng, K):
    """Frames of every kind: ordinary, silent on both sides of the threshold, huge, tiny, lopsided, and no numbers."""
    x = rng.normal(size=(14, K)).astype(np.float32)
    x[1] = 0
    x[2] = np.float32(2.0**-100) * np.sign(x[2])
    x[3] = np.nextafter(np.float32(2.0**-100), np.float32(0)) * np.sign(x[3])
    x[4] = x[4] / np.abs(x[4]).max() * np.float32(3e38)
    x[5] *= np.float32(1e-25)
    x[6, 0] = 1e4  # one large number, and the others lost in its shadow
    x[7] = np.finfo(np.float32).max
    x[8, K // 2] = np.nan
    x[9, -1] = np.inf
    x[10, 0] = -np.inf
    x[11] = np.arange(K) % 255 - 127  # every integer, without rounding
    x[12] = (np.arange(K) % 127 + 0.5).clip(max=127)  # ties, which go to the even one
    x[13] = -0.0
    return x


# -- layers without memory --------------------------------------------------------------------------------------------


@lru_cache
def dense_case(name, K, M, bias):
    rng = np.random.default_rng(K)
    g = with_weights(dense_graph(rng, K, M, bias), name)
    X = frames(rng, K)
    w = g.nodes[0].weights
    matrix = Matrix(w["W"], name)
    return g, X, np.array([matrix.times(x, w.get("b")) for x in X])


@pytest.mark.parametrize(
    ("K", "M", "bias"), [(1, 1, True), (31, 17, True), (33, 16, False), (100, 40, True), (519, 18, True)]
)
@pytest.mark.parametrize("name", INTEGERS)
def test_dense_to_the_bit(name, K, M, bias, isa):
    g, X, Y = dense_case(name, K, M, bias)
    got = Model.from_graph(g, isa).run(X)
    finite = np.isfinite(X).all(axis=1)
    assert np.isnan(got[~finite]).all(), "a frame that is no number must give none"
    wrong = [t for t in np.flatnonzero(finite) if not np.array_equal(got[t], Y[t], equal_nan=True)]
    assert not wrong, f"frame {wrong[0]}: expected {Y[wrong[0]]}, got {got[wrong[0]]} on {isa}"
    assert np.array_equal(got[1], g.nodes[0].weights.get("b", np.zeros(M, np.float32))), "silence leaves the bias"
    assert np.array_equal(reference.run(g, X, rounding=True), Y.astype(np.float64), equal_nan=True)


def filters_graph(W, b, n_rows, precisions):
    g = Graph("filters")
    x = g.input("x", (n_rows, *W.shape))
    weights = {"W": W} if b is None else {"W": W, "b": b}
    g.output("y", g.add("depthwise", [x], name="dw", weights=weights, precisions=precisions))
    return g


@lru_cache
def filters_case(n_rows, taps, channels, bias):
    rng = np.random.default_rng(taps)
    W = (rng.normal(size=(taps, channels)) * 10.0 ** rng.integers(-3, 3, channels)).astype(np.float32)
    W[:, channels // 2] = 0
    b = rng.normal(size=channels).astype(np.float32) if bias else None
    loudness = 10.0 ** rng.integers(-6, 6, (8, 1, 1, channels))
    X = (rng.normal(size=(8, n_rows, taps, channels)) * loudness).astype(np.float32)
    X[1] = 0
    X[2, ..., ::2] *= np.float32(2.0**-104)  # about where silence begins
    for c in range(0, channels, 2):
        X[3, :, c % taps, c] = (np.nan, np.inf, -np.inf, 3e38)[c // 2 % 4]
    X[4] = np.sign(X[4]) * np.float32(2.0) ** rng.integers(-101, 120, X[4].shape)
    X[5] = np.nextafter(np.abs(X[4]), np.float32(0))
    oracle = Filters(W)
    return W, b, X, np.array([[oracle.times(row, b) for row in x] for x in X])


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, True), (5, 3, 17, False), (3, 2, 40, True), (2, 7, 16, True), (1, 520, 3, True)], ids=str
)
def test_depthwise_to_the_bit(shape, isa):
    W, b, X, Y = filters_case(*shape)
    g = filters_graph(W, b, shape[0], {"W": "int16"})
    got = Model.from_graph(g, isa).run(X)
    assert np.array_equal(got, Y, equal_nan=True)
    assert np.array_equal(np.isnan(got), ~np.isfinite(X).all(axis=2)), "a channel that is no number gives none, alone"
    assert np.array_equal(got[1], np.broadcast_to(0 if b is None else b, got[1].shape)), "silence leaves the bias"
    assert np.array_equal(reference.run(g, X, rounding=True), Y.astype(np.float64), equal_nan=True)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_widened_weights_give_the_bits_of_float32(name, isa):
    """16 bits are widened exactly, and what follows is what float32 weights of the same numbers do."""
    rng = np.random.default_rng(2)
    graphs = [dense_graph(rng, 37, 33), *(single(rng, op, 13, 21, **o) for op, many in OPTIONS.items() for o in many)]
    for g in graphs:
        X = frames(rng, *g.shape("x"))[[0, 1, 5, 6, 11, 12, 4, 8]]
        reduced, same = with_weights(g, name), g.copy()
        for node in same.nodes:
            for key in reduced.nodes[0].precisions:
                node.weights[key] = precision.stored(node.weights[key], name)
        a, b = (Model.from_graph(graph, isa).run(X) for graph in (reduced, same))
        assert_same_bits(*((y if isinstance(y, dict) else {"y": y}) for y in (a, b)), f"{g.name} {name}")


@pytest.mark.parametrize("name", REDUCED)
@pytest.mark.parametrize("width", [1, 5, 32, 50])
def test_embedding_to_the_bit(name, width, isa):
    rng = np.random.default_rng(width)
    g = Graph("embedding")
    table = (rng.normal(size=(9, width)) * 10.0 ** rng.integers(-3, 3, (9, 1))).astype(np.float32)
    table[4] = 0
    g.output("y", g.add("embedding", [g.input("ids", (2,), "int32")], weights={"table": table}))
    ids = rng.integers(0, 9, (30, 2)).astype(np.int32)
    rows = np.array([stored_row(row, name) for row in table])
    assert np.array_equal(Model.from_graph(with_weights(g, name), isa).run(ids), rows[ids])


# -- smoothing --------------------------------------------------------------------------------------------------------


def smoothed(g, name, seed=0):
    """A graph with weights in int16 or int8, each matrix smoothed by other exponents; small weights by the largest."""
    rng, g = np.random.default_rng(seed), g.copy()
    for node in g.nodes:
        for key in {"W", "R", "projection"} & set(node.weights):
            node.smoothing[key] = rng.integers(0, 8, node.weights[key].shape[-1])
            node.smoothing[key][0] = precision.MOST_SMOOTHED
            node.weights[key] = node.weights[key].copy()
            node.weights[key][..., 0] *= np.float32(2.0**-38)
    return with_weights(g, name)


@lru_cache
def smoothed_dense_case(name, K, M):
    rng = np.random.default_rng(K)
    g = smoothed(dense_graph(rng, K, M), name)
    X, node = frames(rng, K), g.nodes[0]
    X[6, 0] = 1e18  # loud enough to be heard through the smallest factor
    matrix = Matrix(node.weights["W"], name, node.smoothing["W"])
    return g, X, np.array([matrix.times(x, node.weights["b"]) for x in X])


@pytest.mark.parametrize(("K", "M"), [(2, 17), (35, 16), (520, 3)])
@pytest.mark.parametrize("name", precision.SMOOTHED)
def test_smoothed_dense_to_the_bit(name, K, M, isa):
    g, X, Y = smoothed_dense_case(name, K, M)
    got = Model.from_graph(g, isa).run(X)
    finite = np.isfinite(X).all(axis=1)
    assert np.isnan(got[~finite]).all()
    wrong = [t for t in np.flatnonzero(finite) if not np.array_equal(got[t], Y[t], equal_nan=True)]
    assert not wrong, f"frame {wrong[0]}: expected {Y[wrong[0]]}, got {got[wrong[0]]} on {isa}"
    assert np.array_equal(reference.run(g, X, rounding=True), Y.astype(np.float64), equal_nan=True)
    plain = with_weights(dense_graph(np.random.default_rng(K), K, M), name)
    assert not np.array_equal(Model.from_graph(plain, isa).run(X[:1]), got[:1])


@pytest.mark.parametrize("name", precision.SMOOTHED)
@pytest.mark.parametrize(
    "op,options",
    [("rnn", {}), ("gru", {"reset_after": True}), ("gru", {"reset_after": False}), ("lstm", {"projection": 9})],
    ids=str,
)
def test_smoothed_cells(op, options, name, isa):
    """One timestep at a time against the oracle, then in chunks, and abreast: the bits of steps."""
    rng = np.random.default_rng(7)
    g = smoothed(single(rng, op, 9, 17, **options), name)
    X = rng.normal(size=(8, 9)).astype(np.float32)
    X[3], X[4, 0] = 0, 1e12
    one_step_at_a_time(g, isa, X)
    model = Model.from_graph(g, isa)
    steps = np.stack([row_of(y) for y in map(model.stream().step, X)])
    stream = model.stream()
    chunks = np.concatenate([row_of(stream.run(X[i : i + n])) for i, n in ((0, 1), (1, 5), (6, 2))])
    np.testing.assert_array_equal(chunks.view(np.uint32), steps.view(np.uint32))
    pool = model.pool(5)
    ids = pool.open(5)
    for t, x in enumerate(X):
        abreast = row_of(pool.step(ids, np.stack([x, -x, x, 0 * x, x])))
        np.testing.assert_array_equal(abreast[4].view(np.uint32), steps[t].view(np.uint32))
    assert_same_bits(as_dict(model.run(X)), as_dict(Model.from_graph(g, ISAS[-1]).run(X)), f"{isa} and {ISAS[-1]}")


def as_dict(y):
    return y if isinstance(y, dict) else {"y": y}


def row_of(y):
    """All outputs beside one another."""
    return np.concatenate(list(as_dict(y).values()), axis=-1)


# -- cells ------------------------------------------------------------------------------------------------------------


@lru_cache
def rnn_case(name, hidden):
    """A graph, and for all pairs of frame and hidden state both products."""
    rng = np.random.default_rng(hidden)
    g = with_weights(single(rng, "rnn", 37, hidden, activations=(undertow.Activation("identity"),)), name)
    w = g.nodes[0].weights
    W, R = Matrix(w["W"][0], name), Matrix(w["R"][0], name)
    X, H = frames(rng, 37), frames(rng, hidden)[:8]
    X = X[np.isfinite(X).all(axis=1)]
    return g, [(x, W.times(x, w["b"][0])) for x in X], [(h, R.times(h)) for h in H]


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("hidden", [1, 17, 48])
def test_rnn_to_the_bit(name, hidden, isa):
    """Both halves of a timestep and the one addition that joins them, seen through an activation that does nothing."""
    g, xs, hs = rnn_case(name, hidden)
    model = Model.from_graph(g, isa)
    for x, Wx in xs:
        for h, Rh in hs:
            with np.errstate(all="ignore"):
                expected = Wx + Rh
            got = model.stream(state={"cell.h": h}).step(x)
            assert np.array_equal(got, expected, equal_nan=True), f"expected {expected}, got {got} on {isa}"


_cells, _computed = {}, {}


def expected_states(model, x, before):
    """What the oracle gives, once for all instruction sets that reached the same state."""
    key = (model.hash, x.tobytes(), *(state.tobytes() for state in before))
    if key not in _computed:
        if model.hash not in _cells:  # of rational numbers: what takes long to make
            node = model.graph.nodes[0]
            _cells[model.hash] = Cell(node.op, node.weights, node.attrs, node.precisions, node.smoothing)
        _computed[key] = _cells[model.hash].step(x, *before)
    return _computed[key]


def one_step_at_a_time(g, isa, X):
    """Largest difference to the oracle over all states and timesteps."""
    model = Model.from_graph(g, isa)
    stream, worst = model.stream(), 0.0
    for t, x in enumerate(X):
        before = [np.array(stream.state[name]) for name in model.states]
        stream.step(x)
        for name, expected in zip(model.states, expected_states(model, x, before), strict=True):
            error = np.abs(stream.state[name] - expected) / np.maximum(1, np.abs(expected))
            assert error.max() < FLOAT32_UPDATE, f"frame {t}: {name} errs by {error.max():.3g} on {isa}"
            worst = max(worst, error.max())
    return worst


@pytest.mark.parametrize("name", REDUCED)
@pytest.mark.parametrize(
    "op,options", [(op, o) for op, many in OPTIONS.items() for o in many if not o.get("reverse")], ids=str
)
def test_cells(op, options, name, isa):
    rng = np.random.default_rng(7)
    for n_in, hidden in ((5, 3), (33, 20)):
        g = with_weights(single(rng, op, n_in, hidden, **options), name)
        X = rng.normal(size=(8, n_in)).astype(np.float32)
        X[3] = 0
        one_step_at_a_time(g, isa, X)


@pytest.mark.parametrize("name", REDUCED)
@pytest.mark.parametrize("op", ["rnn", "gru", "lstm"])
def test_huge_frames_and_frames_that_are_no_numbers(op, name, isa):
    """A gate is driven to its end by 3e38; NaN and infinity in a frame make NaN of int8 and int4 states."""
    rng = np.random.default_rng(4)
    g = with_weights(single(rng, op, 6, 19), name)
    g.nodes[0].weights["W"] *= 0.01  # so that no sum overflows
    X = frames(rng, 6)[[0, 4, 0, 7, 0, 1]]
    one_step_at_a_time(g, isa, X)
    if name in INTEGERS:
        model = Model.from_graph(g, isa)
        for bad in frames(rng, 6)[8:11]:
            stream = model.stream()
            stream.step(X[0])
            y = stream.step(bad)
            y = y if isinstance(y, dict) else {"y": y}
            assert all(np.isnan(v).all() for v in y.values())
            stream.reset()
            assert np.isfinite(stream.state["cell.h"]).all()


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("op", ["rnn", "gru", "lstm"])
def test_large_inputs_leave_the_recurrent_half_its_precision(op, name, isa):
    """x and h are rounded each for itself: an x of 1e4 takes no precision from an h within [-1, 1]."""
    rng = np.random.default_rng(6)
    g = single(rng, op, 8, 24)
    g.nodes[0].weights["W"] *= 1e-4
    g = with_weights(g, name)
    X = (rng.normal(size=(12, 8)) * 1e4).astype(np.float32)
    one_step_at_a_time(g, isa, X)
    # Rounding h takes at most half a step of 1/127 of its largest number for each weight: far from what a step of
    # 1e4 / 127, that of x, would take.
    exact = with_weights(g, "float32")
    node = exact.nodes[0]
    for key, chosen in g.nodes[0].precisions.items():
        node.weights[key] = precision.stored(node.weights[key], chosen)
    h = rng.uniform(-1, 1, 24).astype(np.float32)
    silent = np.zeros(8, np.float32)
    state = {"cell.h": h}
    a, b = (Model.from_graph(graph, isa).stream(state=state) for graph in (g, exact))
    a, b = (
        np.concatenate([np.ravel(y) for y in (s.values() if isinstance(s, dict) else [s])])
        for s in (a.step(silent), b.step(silent))
    )
    bound = np.abs(node.weights["R"]).sum(axis=-1).max() / 254
    assert 0 < np.abs(a - b).max() < bound


# -- the laws ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REDUCED)
def test_run_equals_steps_equals_chunks(name, isa):
    model = Model.from_graph(with_weights(zoo(), name), isa)
    X = zoo_input(101)
    X["x"][7] = 0
    X["x"][20] *= 1e4
    whole = model.run(X)
    stream = model.stream()
    steps = [stream.step({key: x[t] for key, x in X.items()}) for t in range(101)]
    assert_same_bits({key: np.stack([s[key] for s in steps]) for key in whole}, whole, "step by step")
    rng = np.random.default_rng(0)
    for _ in range(5):
        stream, parts, t = model.stream(), [], 0
        while t < 101:
            n = int(rng.integers(0, 60))
            parts.append(stream.run(cut(X, t, t + n)))
            t += n
        assert_same_bits({key: np.concatenate([p[key] for p in parts]) for key in whole}, whole, "in chunks")


@pytest.mark.parametrize("name", REDUCED)
def test_same_bits_on_every_isa(name):
    rng = np.random.default_rng(3)
    X = zoo_input(120)
    X["x"][3:6] = frames(rng, 7)[[1, 2, 4]]
    outputs = [Model.from_graph(with_weights(zoo(), name), isa).run(X) for isa in ISAS]
    for isa, other in zip(ISAS, outputs, strict=True):
        assert_same_bits(other, outputs[0], f"between {isa} and {ISAS[0]}")
    for op in ("rnn", "gru", "lstm"):
        for hidden in (1, 16, 31, 48, 65, 130):
            g = with_weights(single(rng, op, 13, hidden), name)
            x = np.concatenate([frames(rng, 13)[:8], rng.normal(size=(40, 13)).astype(np.float32)])
            runs = [Model.from_graph(g, isa).run(x) for isa in ISAS]
            runs = [y if isinstance(y, dict) else {"y": y} for y in runs]
            for other in runs[1:]:
                assert_same_bits(other, runs[0], f"{op} {hidden}")


# -- the reference ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REDUCED)
@pytest.mark.parametrize("op,options", [(op, o) for op, many in OPTIONS.items() for o in many], ids=str)
def test_reference_rounds_as_the_engine_does(op, options, name):
    """One timestep from random states: the reference against the oracle, and against float64 with stored weights."""
    rng = np.random.default_rng(11)
    g = with_weights(single(rng, op, 33, 18, **options), name)
    node = g.nodes[0]
    cell = Cell(op, node.weights, node.attrs, node.precisions)
    exact = Cell(op, {k: precision.stored(w, node.precisions.get(k, "float32")) for k, w in node.weights.items()},
                 node.attrs, {})  # fmt: skip
    for _ in range(3):
        x = rng.normal(size=(1, 33)).astype(np.float32)
        state = {n: rng.uniform(-1, 1, s.shape).astype(np.float32) for n, s in g.states.items()}
        for rounding, oracle in ((True, cell), (False, exact)):
            _, got = reference.run(g, x, state, return_state=True, rounding=rounding)
            for key, expected in zip(g.states, oracle.step(x[0], *state.values()), strict=True):
                np.testing.assert_allclose(got[key], expected, rtol=0, atol=1e-12)


# -- the public face --------------------------------------------------------------------------------------------------


def test_models_and_files_in_other_precisions(tmp_path):
    model = Model.from_graph(zoo())
    small = model.with_weights("int8")
    assert small.file_bytes < model.file_bytes and small.hash != model.hash and small.isa == model.isa
    assert {n.name: n.precisions for n in small.graph.nodes if n.precisions}["gru_1"] == {"W": "int8", "R": "int8"}
    assert not any(n.precisions for n in model.graph.nodes)
    X = zoo_input(30)
    small.save(tmp_path / "small.tow")
    model.save(tmp_path / "model.tow")
    for loaded in (
        undertow.load(tmp_path / "small.tow"),
        undertow.load(tmp_path / "model.tow", weights="int8"),
        undertow.load(tmp_path / "small.tow", weights="int8"),
    ):
        assert loaded.hash == small.hash
        assert_same_bits(loaded.run(X), small.run(X))
    mixed = undertow.load(tmp_path / "model.tow", "scalar", weights={"lstm_1": "int4", "gru_2": {"R": "float16"}})
    assert mixed.isa == "scalar"
    assert {n.name for n in mixed.graph.nodes if n.precisions} == {"lstm_1", "gru_2"}
    snapshot = small.stream().snapshot()
    with pytest.raises(undertow.StateError):
        model.stream(snapshot)


def test_errors_of_the_public_face(tmp_path):
    model = Model.from_graph(zoo())
    with pytest.raises(undertow.UnsupportedError, match="precision 'int3' does not exist"):
        model.with_weights("int3")
    with pytest.raises(undertow.UnsupportedError, match="layer 'lstm' has no weights with a precision"):
        model.with_weights({"lstm": "int8"})
    path = tmp_path / "model.tow"
    model.save(path)
    with pytest.raises(undertow.UnsupportedError, match=r"model\.tow: .*precision 'tiny' does not exist"):
        undertow.load(path, weights="tiny")
    with pytest.raises(TypeError, match="no importer options"):
        undertow.load(path, weights="int8", states={})
    g = dense_graph(np.random.default_rng(0), 4, 3)
    g.nodes[0].weights["W"][1, 2] = np.nan
    with pytest.raises(undertow.UnsupportedError, match=r"dense 'dense': W\[1, 2\] is nan"):
        Model.from_graph(g).with_weights("int8")


def test_models_without_such_weights_stay_as_they_are():
    model = Model.from_graph(counter())
    assert model.with_weights("int8").hash == model.hash
