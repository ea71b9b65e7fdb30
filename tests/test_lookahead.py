# SPDX-License-Identifier: MIT
"""Models that look ahead: a stream gives late, to the bit, what the whole sequence gives, however it is cut."""

import numpy as np
import pytest

import undertow
from networks import cell
from test_window import add_conv, stack
from undertow import reference
from undertow.accuracy.verify import verify
from undertow.ir.graph import Graph
from undertow.model import Model
from undertow.passes.precisions import with_weights

ISAS = [name for name, runs in undertow.isas().items() if runs]


def two_paths(op, seed=0):
    """An input that meets, five frames later, what two convolutions and a cell make of it."""
    rng = np.random.default_rng(seed)
    g = Graph(f"two paths {op}")
    x, z = g.input("x", 3), g.input("z", 2)
    a, _ = add_conv(g, rng, x, (-1, 0, 1, 3), 6, "a", "relu")
    h = cell(g, rng, op, a, 17, "first", start=True)[0]
    b, _ = add_conv(g, rng, h, (-2, 0, 2), 6, "b", "tanh")
    k = cell(g, rng, op, g.add("concat", [b, x, z]), 9, "second", start=True)[-1]
    state = g.state("sum.value", 9, rng.normal(size=9))
    total = g.add("add", [g.add("activation", [g.add("state_read", states=[state])], attrs={"activation": HALF}), k])
    g.add("state_write", [total], states=[state])
    g.output("total", total)
    g.output("a", a)
    g.output("z", z)
    g.output("constant", g.add("constant", weights={"value": rng.normal(size=2)}))
    return g


HALF = undertow.ir.activations.Activation("affine", 0.5, 0.0)


def far():
    """A convolution without a bias that looks further than a block of a stream is long."""
    g = Graph("far")
    rng = np.random.default_rng(4)
    y, _ = add_conv(g, rng, g.input("x", 2), (-70, -3, 60), 5, "far", "sigmoid")
    (h,) = cell(g, rng, "lstm", y, 8, "lstm")[:1]
    g.output("y", h)
    return g


def late_and_back():
    """Looks ahead inside, and is causal as a whole: only what is before the start must be told from the rest."""
    rng = np.random.default_rng(5)
    g = Graph("back")
    a, _ = add_conv(g, rng, g.input("x", 2), (0, 2), 4, "a")
    (h,) = cell(g, rng, "gru", a, 5, "gru", start=True)
    y, _ = add_conv(g, rng, h, (-3, -2), 4, "b")
    g.output("y", y)
    return g


def rows_and_steps():
    """Cells over rows and steps of a frame, behind look-ahead."""
    rng = np.random.default_rng(6)
    g = Graph("rows")
    a, _ = add_conv(g, rng, g.input("x", 2), (-1, 0, 1), 24, "a", "tanh")
    rows = g.add("reshape", [a], attrs={"shape": (4, 6)})
    h = cell(g, rng, "gru", rows, 5, "rows", start=True)[0]
    b, _ = add_conv(g, rng, g.add("reshape", [h], attrs={"shape": (20,)}), (0, 2), 12, "b", "tanh")
    steps = g.add("reshape", [b], attrs={"shape": (2, 6)})
    c = cell(g, rng, "lstm", steps, 3, "steps", steps=True)[0]
    g.output("y", c)
    return g


GRAPHS = {
    "rows": rows_and_steps,
    "stack": lambda: stack()[0],
    **{op: lambda op=op: two_paths(op) for op in ("rnn", "gru", "lstm")},
    **{p: lambda p=p: with_weights(two_paths("lstm"), p) for p in ("int8", "float16")},
    "far": far,
    "back": late_and_back,
}
LATENCY = {"rows": 3, "stack": 2, "far": 60, "back": 0}


def frames(model, T, seed=0):
    rng = np.random.default_rng([T, seed])
    return {name: rng.normal(size=(T, *v.shape)).astype(np.float32) for name, v in model.inputs.items()}


def one(X):
    return next(iter(X.values())) if len(X) == 1 else X


def cut(X, start, stop):
    return one({name: x[start:stop] for name, x in X.items()})


def named(Y, model):
    return Y if isinstance(Y, dict) else {next(iter(model.outputs)): Y}


def joined(parts, model):
    parts = [named(p, model) for p in parts]
    return {name: np.concatenate([p[name] for p in parts]) for name in model.outputs}


def assert_same_bits(a, b, model, what=""):
    for name, y in named(a, model).items():
        assert y.tobytes() == np.ascontiguousarray(named(b, model)[name]).tobytes(), f"{name} differs {what}"


@pytest.mark.parametrize("T", [0, 1, 2, 4, 7, 47, 48, 49, 130])
@pytest.mark.parametrize("name", GRAPHS)
def test_against_the_reference_of_the_whole_sequence(name, T):
    graph = GRAPHS[name]()
    model = Model.from_graph(graph)
    assert model.latency == LATENCY.get(name, 5)
    X = frames(model, T)
    got = named(model.run(one(X)), model)
    expected = reference.run(graph, one(X), rounding=True)
    for output, y in named(expected, model).items():
        assert got[output].shape == y.shape
        np.testing.assert_allclose(got[output], y, atol=2e-2 if name == "int8" else 2e-5, rtol=2e-5)


@pytest.mark.parametrize("T", [1, 3, 6, 100])
@pytest.mark.parametrize("name", GRAPHS)
def test_chunks_and_steps_then_flush_equal_the_whole(name, T, isa):
    model = Model.from_graph(GRAPHS[name](), isa)
    X, d = frames(model, T), model.latency
    whole = model.run(one(X))
    stream = model.stream()
    steps = [stream.step(one({n: x[t] for n, x in X.items()})) for t in range(T)]
    rows = joined([{n: y[None] for n, y in named(s, model).items()} for s in steps] + [stream.flush()], model)
    for y in rows.values():
        assert not y[: min(d, T + d)].any()
    assert_same_bits({n: y[d:] for n, y in rows.items()}, whole, model, "step by step")
    rng = np.random.default_rng(T)
    for _ in range(4):
        stream, parts, t = model.stream(), [], 0
        while t < T:
            n = int(rng.integers(0, 60))
            parts.append(stream.run(cut(X, t, t + n)))
            t += n
        assert_same_bits(joined([*parts, stream.flush()], model), rows, model, "in chunks")
        stream.reset()
        assert_same_bits(joined([stream.run(one(X)), stream.flush()], model), rows, model, "after reset")


@pytest.mark.parametrize("name", GRAPHS)
def test_same_bits_on_every_isa(name):
    X = frames(Model.from_graph(GRAPHS[name]()), 90)
    models = [Model.from_graph(GRAPHS[name](), isa) for isa in ISAS]
    first = models[0].run(one(X))
    for model in models[1:]:
        assert_same_bits(model.run(one(X)), first, model, model.isa)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("at", [0, 1, 3, 20])
def test_snapshots_forks_and_proposals_carry_what_is_late(name, at):
    model = Model.from_graph(GRAPHS[name]())
    X = frames(model, 40)
    stream = model.stream()
    stream.run(cut(X, 0, at))
    snapshot, twin = stream.snapshot(), stream.fork()
    stream.propose(one({n: x[39 - at] for n, x in X.items()}))
    stream.rollback()
    tail = joined([stream.run(cut(X, at, 40)), stream.flush()], model)
    for other in (twin, model.stream(snapshot)):
        assert_same_bits(joined([other.run(cut(X, at, 40)), other.flush()], model), tail, model)
    flushed = model.stream(snapshot)
    early = flushed.flush()
    whole = model.run(cut(X, 0, at))
    d = model.latency
    got = {n: y[max(0, d - at) :] for n, y in named(early, model).items()}
    assert_same_bits(got, {n: y[max(0, at - d) :] for n, y in named(whole, model).items()}, model)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("threads", [1, 2])
def test_pools_of_streams_at_different_ages(name, threads):
    model = Model.from_graph(GRAPHS[name]())
    d, n = model.latency, 7
    X = [frames(model, 30, seed) for seed in range(n)]
    with model.pool(n, threads) as pool:
        ids = pool.open(n)
        got = [[] for _ in range(n)]
        started = [5 * i for i in range(n)]
        for t in range(started[-1] + 30):  # stream i starts after 5 i timesteps, and ends 30 frames later
            live = [i for i in range(n) if 0 <= t - started[i] < 30]
            batch = one({k: np.stack([X[i][k][t - started[i]] for i in live]) for k in model.inputs})
            Y = named(pool.step(ids[live], batch), model)
            for row, i in enumerate(live):
                got[i].append({k: y[row][None] for k, y in Y.items()})
            for i in live:
                if t - started[i] == 29:
                    tail = named(pool.flush(ids[[i]]), model)
                    assert all(y.shape[:2] == (1, d) for y in tail.values())
                    got[i].append({k: y[0] for k, y in tail.items()})
        for i in range(n):
            rows = {k: y[d:] for k, y in joined(got[i], model).items()}
            assert_same_bits(rows, model.run(one(X[i])), model, f"stream {i}")
        pool.reset(ids)
        T = 30
        ys = pool.run(ids, one({k: np.stack([x[k] for x in X]) for k in model.inputs}))
        tails = pool.flush(ids)
        for i in range(n):
            rows = joined([{k: y[i] for k, y in named(z, model).items()} for z in (ys, tails)], model)
            assert_same_bits({k: y[d : T + d] for k, y in rows.items()}, model.run(one(X[i])), model, f"run {i}")


@pytest.mark.parametrize("name", ["lstm", "gru", "int8", "back"])
def test_a_team_gives_the_same_bits(name):
    model = Model.from_graph(GRAPHS[name]())
    X = frames(model, 70)
    alone, team = model.stream(), undertow.stream.Stream(model, 0, 2, False, 1)
    if team.threads != 2:
        pytest.skip("needs two CPUs: a team of two has one thread here")
    for start, stop in ((0, 1), (1, 3), (3, 60), (60, 70)):
        assert_same_bits(team.run(cut(X, start, stop)), alone.run(cut(X, start, stop)), model)
    assert_same_bits(team.flush(), alone.flush(), model)
    assert team.snapshot() == alone.snapshot()


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("T", [0, 2, 50])
def test_the_whole_sequence_of_the_c_interface(name, T):
    model = Model.from_graph(GRAPHS[name]())
    X = frames(model, T)
    Y, state = model.run_with_state(one(X))
    ys, finals = model._core.run_sequence(list(X.values()), T, T, [None] * len(model.states))
    assert_same_bits(Y, dict(zip(model.outputs, ys, strict=True)), model)
    for final, expected in zip(finals, state.values(), strict=True):
        assert final.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["stack", "lstm"])
def test_a_stream_that_goes_on_after_a_flush(name):
    """Cells continue where they were; windows see a gap of `latency` zeros."""
    model = Model.from_graph(GRAPHS[name]())
    X = frames(model, 60)
    streams, rows = (model.stream(), model.stream()), []
    for stream, block in zip(streams, (60, 1), strict=True):
        stream.run(cut(X, 0, 30))
        stream.flush()
        rows.append(joined([stream.run(cut(X, t, t + block)) for t in range(30, 60, block)], model))
    assert_same_bits(*rows, model)
    assert streams[0].snapshot() == streams[1].snapshot()


def test_final_states_are_those_of_the_sequence():
    graph = GRAPHS["gru"]()
    model = Model.from_graph(graph)
    X = frames(model, 25)
    _, got = model.run_with_state(X)
    _, expected = reference.run(graph, X, return_state=True)
    for name, state in expected.items():
        np.testing.assert_allclose(got[name], state, atol=2e-5)


@pytest.mark.parametrize("name", GRAPHS)
def test_verify_and_trace(name, tmp_path):
    model = Model.from_graph(GRAPHS[name]())
    assert verify(model, frames=40).ok
    trace = model.stream().trace(one(frames(model, 9)))
    assert all(len(y) == 9 for y in trace.outputs.values())
    path = tmp_path / "model.tow"
    model.save(path)
    again = undertow.load(path)
    assert again.latency == model.latency
    assert Model.from_graph(again.graph).hash == model.hash


def test_print_says_the_latency():
    model = Model.from_graph(GRAPHS["stack"]())
    assert "latency" in str(model) and "2 frames" in str(model)
    assert "latency" not in str(Model.from_graph(late_and_back()))


def test_models_without_look_ahead_flush_nothing():
    g = Graph("plain")
    g.output("y", cell(g, np.random.default_rng(0), "gru", g.input("x", 3), 4)[0])
    model = Model.from_graph(g)
    assert model.latency == 0
    stream = model.stream()
    stream.run(np.ones((3, 3), np.float32))
    before = stream.snapshot()
    assert stream.flush().shape == (0, 4)
    assert stream.snapshot() == before


def test_flush_writes_where_it_is_told_to_and_refuses_the_rest():
    model = Model.from_graph(GRAPHS["gru"]())
    stream = model.stream()
    out = {name: np.full((5, *v.shape), 7.0, np.float32) for name, v in model.outputs.items()}
    assert stream.flush(out)["a"] is out["a"]
    assert not out["a"].any()
    with pytest.raises(undertow.ShapeError, match=r"\(5, 6\)"):
        stream.flush({"a": np.zeros((4, 6), np.float32)})
    stream.propose(one({n: x[0] for n, x in frames(model, 1).items()}))
    with pytest.raises(undertow.StateError):
        stream.flush()
    with pytest.raises(undertow.UnsupportedError, match="looks 5 frames ahead"):
        model.run(frames(model, 4), length=3)


def test_a_whole_sequence_model_sees_everything_at_once():
    rng = np.random.default_rng(0)
    g = Graph("backwards")
    a, _ = add_conv(g, rng, g.input("x", 3), (-1, 0, 2), 4, "a")
    h = cell(g, rng, "gru", a, 5, "gru", reverse=True)[0]
    w = g.add("window", [h], attrs={"taps": (-2, 1)})
    g.output("y", w)
    model = Model.from_graph(g)
    assert not model.streamable and model.latency == 0
    x = rng.normal(size=(20, 3)).astype(np.float32)
    np.testing.assert_allclose(model.run(x), reference.run(g, x), atol=1e-5)


@pytest.mark.parametrize("gate", [np.nan, np.inf, 2.0])
def test_a_gate_of_any_number_is_shut_behind_the_end(gate):
    """A register that adds up frames whose gate is open: those of a flush are none, whatever the gate holds there."""
    g = Graph("gated")
    x = g.input("x", 3)
    late = g.add("reshape", [g.add("window", [x], attrs={"taps": (2,)})], attrs={"shape": (3,)})
    state = g.state("sum.value", 3)
    total = g.add("add", [g.add("state_read", states=[state]), late])
    held = g.add("constant", weights={"value": np.float32([gate])})
    g.add("state_write", [total, g.add("activation", [held], attrs={"activation": HALF})], states=[state])
    g.output("total", total)
    model, X = Model.from_graph(g), np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    assert model.latency == 2
    np.testing.assert_allclose(model.run(X), reference.run(g, X), atol=1e-6)
    stream = model.stream()
    stream.run(X), stream.flush()
    want = np.concatenate([X[2:], np.zeros((2, 3))]).sum(0)
    np.testing.assert_allclose(stream.state["sum.value"], want, atol=1e-6)
