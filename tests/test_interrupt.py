# SPDX-License-Identifier: MIT
"""A long run answers Ctrl-C between frames, and says between which: nothing is lost and nothing is half done."""

import signal

import numpy as np
import pytest

from networks import cell
from undertow import decode
from undertow.ir.graph import Graph
from undertow.model import Model

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="has no timers that send signals")

N = 100


class Stopped(Exception):
    pass


@pytest.fixture
def model():
    """Some microseconds a frame, of one number in and one out: seconds of work in little memory."""
    rng = np.random.default_rng(0)
    g = Graph("long")
    (h,) = cell(g, rng, "gru", g.input("x", 1), 192)
    g.output("y", g.add("dense", [h], weights={"W": rng.normal(size=(1, 192)) / 14}))
    g.output("h", g.add("select", [h], weights={"indices": np.arange(3)}))
    return Model.from_graph(g)


def stopped(call, handler=None, after=0.15):
    """Whether call() was ended by what a handler of signals raised."""

    def stop(*_):
        raise Stopped

    before = signal.signal(signal.SIGALRM, handler or stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        call()
    except Stopped:
        return True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return False


def signals_of(n_frames, *lead):
    return np.random.default_rng(1).standard_normal((*lead, n_frames, 1)).astype(np.float32)


def test_a_stream_stops_between_frames_and_goes_on(model):
    X = signals_of(1_000_000)
    out = {"y": np.full((len(X), 1), np.nan, np.float32), "h": np.full((len(X), 3), np.nan, np.float32)}
    stream = model.stream()
    stream.run(X[:7])
    assert stream.position == 7
    assert stopped(lambda: stream.run(X, out=out))
    taken = stream.position - 7
    assert 0 < taken < len(X)
    other = model.stream()
    other.run(X[:7])
    expected = other.run(X[: taken + N])
    for name, y in out.items():
        np.testing.assert_array_equal(y[:taken], expected[name][:taken])
        assert np.isnan(y[taken:]).all()
    rest = stream.run(X[taken : taken + N])
    for name, y in rest.items():
        np.testing.assert_array_equal(y, expected[name][taken:])
    assert stream.snapshot() == other.snapshot() and stream.position == other.position == 7 + taken + N


def test_a_handler_that_raises_nothing_is_called_and_the_run_goes_on(model):
    X, seen = signals_of(100_000), []
    stream = model.stream()
    assert not stopped(lambda: seen.append(stream.run(X)), lambda *_: seen.append("signal"), 0.1)
    assert seen[0] == "signal" and len(seen) == 2 and stream.position == len(X)
    np.testing.assert_array_equal(seen[1]["y"][:N], model.run(X[:N])["y"])


def test_a_handler_may_not_use_the_stream(model):
    """It runs between frames of a run, which the stream is still in."""
    X, errors = signals_of(1_000_000), []
    stream = model.stream()

    def handler(*_):
        try:
            stream.reset()
        except RuntimeError as error:
            errors.append(str(error))
            raise Stopped from None

    assert stopped(lambda: stream.run(X), handler)
    assert "at work" in errors[0] and stream.position > 0
    stream.reset()
    assert stream.position == 0


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("n", [1, 3])
def test_a_pool_stops_all_its_streams_behind_the_same_frame(model, n, threads):
    X = signals_of(500_000, n)
    pool = model.pool(n, threads)
    ids = pool.open(n)
    out = {"y": np.full((*X.shape[:2], 1), np.nan, np.float32), "h": np.full((*X.shape[:2], 3), np.nan, np.float32)}
    assert stopped(lambda: pool.run(ids, X, out=out))
    taken = pool.advanced
    assert 0 < taken < X.shape[1]
    rest = pool.run(ids, np.ascontiguousarray(X[:, taken : taken + N]))
    assert pool.advanced == N
    for i in range(n):
        expected = model.run(X[i, : taken + N])
        for name, y in out.items():
            np.testing.assert_array_equal(y[i, :taken], expected[name][:taken])
            assert np.isnan(y[i, taken:]).all()
            np.testing.assert_array_equal(rest[name][i], expected[name][taken:])


@pytest.mark.parametrize("k", [3, 100_000])
@pytest.mark.parametrize("of_pool", [False, True])
def test_what_was_kept_when_it_stopped(model, of_pool, k):
    """Nothing of a run whose last frames were not reached, or all frames since it began."""
    X = signals_of(100_000 if k > 3 else 1_000_000)
    if of_pool:
        pool = model.pool(1, rewind=k)
        ids = pool.open(1)
        pool.run(ids, X[None, :2])
        assert stopped(lambda: pool.run(ids, X[None]))
        taken, (kept,) = pool.advanced, pool.kept(ids)
        pool.rewind(ids, kept)
        state = pool.snapshot(ids[0])
    else:
        stream = model.stream(rewind=k)
        stream.run(X[:2])
        assert stopped(lambda: stream.run(X))
        taken, kept = stream.position - 2, stream.kept
        stream.rewind(kept)
        state = stream.snapshot()
    assert 0 < taken < len(X) and kept == (0 if k == 3 else taken + 2)
    twin = model.stream()
    if kept == 0:
        twin.run(X[:2])
        twin.run(X[:taken])
    assert state == twin.snapshot()


@pytest.mark.skipif(len(getattr(__import__("os"), "sched_getaffinity", lambda _: [0])(0)) < 2, reason="needs two CPUs")
def test_a_stream_of_two_threads_stops_too(model):
    X = signals_of(300_000)
    stream = model.stream(threads=2, measure=False)
    assert stopped(lambda: stream.run(X))
    taken = stream.position
    assert 0 < taken < len(X)
    got = stream.run(X[taken : taken + N])["y"]
    np.testing.assert_array_equal(got, model.run(X[: taken + N])["y"][taken:])


@pytest.mark.parametrize("kind", ["stream", "pool", "threads"])
def test_a_flush_stops(kind):
    """And a reset takes back what it has done."""
    rng = np.random.default_rng(0)
    g = Graph("late")
    h = g.add("dense", [g.input("x", 1)], weights={"W": rng.normal(size=(1024, 1))})
    for _ in range(3):  # a cell does not move in a flush
        h = g.add("dense", [h], weights={"W": rng.normal(size=(1024, 1024)) / 32})
    few = g.add("select", [h], weights={"indices": np.arange(3)})
    ahead = g.add("window", [few], attrs={"taps": (0, 8000)})
    g.output("y", g.add("select", [ahead], weights={"indices": np.arange(6)}))
    model = Model.from_graph(g)
    assert model.latency == 8000
    X = signals_of(20)
    expected = model.run(X)
    if kind == "pool":
        pool = model.pool(2)
        ids = pool.open(2)
        pool.run(ids, np.stack([X, X]))
        assert stopped(lambda: pool.flush(ids), after=0.05)
        assert 0 < pool.advanced < 8000
        pool.reset(ids)
        pool.run(ids, np.stack([X, X]))
        got = pool.flush(ids)[0]
    else:
        stream = model.stream(threads=2, measure=False) if kind == "threads" else model.stream()
        stream.run(X)
        assert stopped(stream.flush, after=0.05)
        assert stream.position == len(X)
        stream.reset()
        stream.run(X)
        got = stream.flush()
    np.testing.assert_array_equal(got[-20:], expected)


def test_settling_stops_and_leaves_the_stream():
    g = Graph("never at rest")
    state = g.state("count", (1,))
    count = g.add("add", [g.add("state_read", states=[state]), g.input("x", 1)])
    g.add("state_write", [count], states=[state])
    g.output("y", count)
    stream = Model.from_graph(g).stream()
    stream.run(signals_of(7))
    before = stream.snapshot()
    assert stopped(lambda: stream.settle(np.ones(1, np.float32), 10**9), after=0.05)
    assert stream.snapshot() == before and stream.position == 7


def test_model_run_stops(model):
    X = signals_of(1_000_000)
    assert stopped(lambda: model.run(X))
    assert model.run(X[:N])["y"].shape == (N, 1)


def test_position_counts_frames(model):
    X = signals_of(20)
    stream = model.stream()
    stream.run(X[:5])
    stream.step(X[5])
    assert stream.position == 6
    stream.propose(X[6])
    assert stream.position == 7
    stream.rollback()
    assert stream.position == 6
    stream.propose(X[6])
    stream.commit()
    assert stream.position == 7 and stream.fork().position == 7
    snapshot = stream.snapshot()
    for begin in (stream.reset, lambda: stream.restore(snapshot), lambda: stream.settle(X[0], 3)):
        stream.run(X[:2])
        begin()
        assert stream.position == 0
    stream.run(X[:2])
    stream.flush()
    assert stream.position == 2
    with pytest.raises(AttributeError):
        stream.position = 5


@pytest.mark.parametrize("op", ["gru", "lstm"])
def test_a_whole_sequence_stops_too(op):
    """Of a model that cannot be streamed nothing is left; the next run is as if there had been none."""
    rng = np.random.default_rng(0)
    g = Graph("backwards")
    h, *_ = cell(g, rng, op, g.input("x", 1), 192, reverse=True)
    g.output("y", g.add("dense", [h], weights={"W": rng.normal(size=(3, 192)) / 14}))
    model, X = Model.from_graph(g), signals_of(400_000)
    assert not model.streamable
    assert stopped(lambda: model.run(X))
    few = model.run(X[:N])
    heard = []
    assert not stopped(lambda: heard.append(model.run(X[:20_000])), lambda *_: heard.append("signal"), 0.02)
    assert "signal" in heard
    (whole,) = [y for y in heard if not isinstance(y, str)]
    np.testing.assert_array_equal(whole, model.run(X[:20_000]))
    assert few.shape == (N, 3)


def test_decoders_stop_between_ids_and_frames():
    rng, n = np.random.default_rng(3), 64
    g = Graph("long")
    (h,) = cell(g, rng, "gru", g.add("embedding", [g.input("ids", (), "int32")], weights={"table": np.eye(n)}), n)
    g.output("y", g.add("dense", [h], weights={"W": rng.normal(size=(n, n))}))
    model, joiner = Model.from_graph(g), Graph("joiner")
    both = [joiner.input("encoded", n), joiner.input("predicted", n)]
    joiner.output("y", joiner.add("add", both))
    stream = model.stream()
    assert stopped(lambda: decode.greedy(stream, 0, 10**12))
    assert stream.position > 0
    before = stream.position
    assert decode.greedy(stream, 0, 5).size == 5 and stream.position == before + 5
    prompt = np.zeros(10_000_000, np.int32)
    for call in (
        lambda: decode.greedy(stream, prompt, 1),
        lambda: decode.beam(model, prompt, width=2),
        lambda: decode.beam(model, 0, width=2, steps=10**12),
        lambda: decode.batch(model, [0, 1], 10**12),
    ):
        assert stopped(call)
    X = rng.normal(size=(200_000, n)).astype(np.float32)
    for width in (1, 3):
        t = decode.Transducer(model, Model.from_graph(joiner), width=width)
        assert stopped(lambda t=t: t.push(X), after=0.08)
        taken = t.n_frames
        assert 0 < taken < len(X)
        t.push(X[taken : taken + 50])
        whole = decode.Transducer(model, Model.from_graph(joiner), width=width)
        whole.push(X[: taken + 50])
        assert t.ids.tobytes() == whole.ids.tobytes()
