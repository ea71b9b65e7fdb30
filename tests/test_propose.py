# SPDX-License-Identifier: MIT
"""A proposed timestep can be kept or undone, to the bit, in streams and in pools."""

import threading

import numpy as np
import pytest

from frames import assert_same_bits, cut, frames
from networks import GRAPHS, single
from undertow import PoolError, StateError
from undertow.model import Model


@pytest.fixture
def model():
    return Model.from_graph(GRAPHS["gru"]())


@pytest.mark.parametrize("name", GRAPHS)
def test_a_stream_that_proposes(name, isa):
    model = Model.from_graph(GRAPHS[name](), isa)
    stream, plain = model.stream(), model.stream()
    X, wrong = frames(model, 20), frames(model, 20, seed=1)
    for t in range(20):
        before = stream.snapshot()
        stream.propose(cut(wrong, t))
        stream.rollback()
        assert stream.snapshot() == before
        expected = plain.step(cut(X, t))
        out = (
            None
            if t % 2
            else {k: np.empty_like(y) for k, y in expected.items()}
            if isinstance(expected, dict)
            else np.empty_like(expected)
        )
        y = stream.propose(cut(X, t), out=out)
        if out is not None and not isinstance(out, dict):
            assert y is out
        assert_same_bits(y, expected)
        stream.commit()
        assert stream.snapshot() == plain.snapshot()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", GRAPHS)
def test_a_pool_that_proposes(name, threads, isa):
    model = Model.from_graph(GRAPHS[name](), isa)
    n, rng = 30, np.random.default_rng(2)
    pool, plain = model.pool(n, threads), model.pool(n)
    ids, same = pool.open(n), plain.open(n)
    for t in range(20):
        X = frames(model, n, seed=t)
        order = rng.permutation(n)
        Y = pool.propose(ids[order], cut(X, order))
        kept = rng.permutation(n)[: rng.integers(0, n + 1)]
        undone = np.setdiff1d(np.arange(n), kept)
        pool.commit(ids[kept])
        pool.rollback(ids[undone])
        rows = np.argsort(order)[kept]
        assert_same_bits(cut(Y, rows), plain.step(same[kept], cut(X, kept)), f"timestep {t}")
        assert [pool.snapshot(i) for i in ids] == [plain.snapshot(i) for i in same]


def calls_of(stream, x):
    """Everything that reads or changes a stream."""
    snapshot = stream.model.stream().snapshot()
    return {
        "step": lambda: stream.step(x),
        "propose": lambda: stream.propose(x),
        "run": lambda: stream.run(x[None]),
        "reset": stream.reset,
        "settle": lambda: stream.settle(x, 3),
        "snapshot": stream.snapshot,
        "restore": lambda: stream.restore(snapshot),
        "fork": stream.fork,
        "trace": lambda: stream.trace(x[None]),
        "read": lambda: stream.state["cell"],
        "write": lambda: stream.state.__setitem__("cell", np.zeros(21)),
    }


def test_a_pending_proposal_refuses_everything_else(model):
    stream, twin, x = model.stream(), model.stream(), frames(model)
    stream.step(x)
    twin.step(x)
    y = stream.propose(x)
    for name, call in calls_of(stream, x).items():
        with pytest.raises(StateError, match=r"commit\(\) or rollback\(\)"):
            call()
            raise AssertionError(name)
    stream.rollback()
    assert stream.snapshot() == twin.snapshot()
    np.testing.assert_array_equal(stream.step(x), y)


def test_what_there_is_to_settle(model):
    stream, x = model.stream(), frames(model)
    for settle in (stream.commit, stream.rollback):
        with pytest.raises(StateError, match="no proposal"):
            settle()
        stream.propose(x)
        settle()
        with pytest.raises(StateError, match="no proposal"):
            settle()
    with pytest.raises(TypeError):
        stream.propose(x.astype(np.float64))
    stream.step(x)  # a refused proposal is none


def test_a_pending_proposal_in_a_pool(model):
    pool = model.pool(4)
    ids, X = pool.open(3), frames(model, 3)
    snapshots = [pool.snapshot(i) for i in ids]
    pool.propose(ids[:2], X[:2])
    calls = {
        "step": lambda: pool.step(ids, X),
        "run": lambda: pool.run(ids, X[:, None]),
        "propose": lambda: pool.propose(ids[::-1], X),
        "reset": lambda: pool.reset(ids),
        "fork": lambda: pool.fork(ids[[1]]),
        "snapshot": lambda: pool.snapshot(ids[0]),
        "restore": lambda: pool.restore(ids[1], snapshots[0]),
        "read": lambda: pool.state(ids[0])["cell"],
        "write": lambda: pool.state(ids[1]).__setitem__("cell", np.zeros(21)),
    }
    for name, call in calls.items():
        with pytest.raises(StateError, match=r"proposal pending: commit\(ids\) or rollback\(ids\)"):
            call()
            raise AssertionError(name)
    for settle in (pool.commit, pool.rollback):
        with pytest.raises(StateError, match="no proposal"):
            settle(ids)  # the third has none, so the others keep theirs
        with pytest.raises(PoolError, match="twice"):
            settle(ids[[0, 0]])
    pool.rollback(ids[0])
    pool.close(ids[1])  # and its proposal
    assert pool.snapshot(ids[0]) == snapshots[0]
    (new,) = pool.open()
    pool.step([new], X[:1])
    with pytest.raises(StateError, match="no proposal"):
        pool.commit(new)


def test_a_proposal_at_work_refuses_other_threads(model):
    large = Model.from_graph(single(np.random.default_rng(1), "lstm", 64, 1500))
    stream, seen = large.stream(), set()
    x = frames(large)

    def work():
        for _ in range(30):
            stream.propose(x)
            stream.rollback()

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        try:
            stream.snapshot()
        except (RuntimeError, StateError) as error:
            seen.add(type(error))
    thread.join()
    assert seen <= {RuntimeError, StateError} and RuntimeError in seen
    assert stream.snapshot() == large.stream().snapshot()
