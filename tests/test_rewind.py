# SPDX-License-Identifier: MIT
"""Timesteps that are undone: what is kept, what forgets it, and what is refused.

That bits are those of a stream that never took them, random models show too: `rewound` in laws_streams and laws_crowds.
"""

import copy
import pickle
import threading

import numpy as np
import pytest

from frames import assert_same_bits, cut, frames
from networks import cached, counter, framed, single, zoo
from undertow import PoolError, ShapeError, StateError
from undertow.model import Model
from undertow.stream import Stream

GRAPHS = {"zoo": zoo, "counter": counter, "framed": framed, "cached": cached}


@pytest.fixture(scope="module", params=sorted(GRAPHS))
def any_model(request):
    return Model.from_graph(GRAPHS[request.param]())


@pytest.fixture(scope="module")
def model():
    return Model.from_graph(single(np.random.default_rng(0), "lstm", 5, 21, start=True))


def together(model, **options):
    """A stream whose two threads share every layer with weights, however small."""
    return Stream(model, 0, 2, measure=False, least=0, **options)


@pytest.mark.parametrize("block", [1, 3, None])
@pytest.mark.parametrize("k", [1, 4, 40])
def test_there_and_back(any_model, k, block):
    """To and fro by any number, by steps and runs; 40 is more than any window here looks back."""
    rng, T = np.random.default_rng(k), 90
    X, plain = frames(any_model, T), any_model.stream()
    states, rows = [plain.snapshot()], []
    for t in range(T):
        rows.append(plain.step(cut(X, t)))
        states.append(plain.snapshot())
    block = min(block or any_model.block, any_model.block)
    stream, at, kept = any_model.stream(block=block, rewind=k), 0, 0
    for _ in range(60):
        n = min(int(rng.integers(0, k + 3)), T - at)
        if rng.random() < 0.5:
            Y = stream.run(cut(X, slice(at, at + n)))
            for t in range(n):
                assert_same_bits(cut(Y, t), rows[at + t])
        else:
            for t in range(at, at + n):
                assert_same_bits(stream.step(cut(X, t)), rows[t])
        at, kept = at + n, min(kept + n, k)
        back = int(rng.integers(0, kept + 1))
        stream.rewind(back)
        at, kept = at - back, kept - back
        assert (stream.position, stream.kept) == (at, kept)
        assert stream.snapshot() == states[at]


def test_threads_of_one_stream(any_model):
    X, plain = frames(any_model, 12), any_model.stream()
    if any_model.graph.n_parameters == 0:
        pytest.skip("no weights to share")
    plain.run(cut(X, slice(0, 6)))
    stream = together(any_model, rewind=5)
    stream.run(cut(X, slice(0, 9)))
    stream.step(cut(X, 9))
    stream.rewind(4)
    assert stream.snapshot() == plain.snapshot()
    assert_same_bits(stream.run(cut(X, slice(6, 12))), plain.run(cut(X, slice(6, 12))))
    other = stream.fork()
    other.rewind(5)
    assert other.position == 7


def test_more_than_is_kept(model):
    stream, X = model.stream(rewind=3), frames(model, 9)
    assert stream.kept == 0
    stream.rewind(0)
    stream.run(X[:2])
    before = stream.snapshot()
    for n in (3, 4, 10**30):
        with pytest.raises(StateError, match=rf"rewind\({n}\): the last 2 timesteps are kept, of at most 3"):
            stream.rewind(n)
    with pytest.raises(ValueError, match=r"rewind\(-1\): expected 0 or more"):
        stream.rewind(-1)
    with pytest.raises(TypeError):
        stream.rewind(1.0)
    assert (stream.snapshot(), stream.position, stream.kept) == (before, 2, 2)
    stream.run(X[2:])
    assert stream.kept == 3
    stream.rewind()
    stream.rewind(2)
    with pytest.raises(StateError, match="the last 0 timesteps are kept"):
        stream.rewind()
    with pytest.raises(StateError, match=r"no timesteps are kept; model.stream\(..., rewind=k\)"):
        model.stream().rewind(1)
    model.stream().rewind(0)


def test_how_many_to_keep(model):
    for make in (model.stream, lambda rewind: model.pool(2, rewind=rewind)):
        with pytest.raises(ValueError, match="rewind is -1"):
            make(rewind=-1)
        with pytest.raises(TypeError):
            make(rewind=1.5)
        with pytest.raises((MemoryError, OverflowError, ValueError)):
            make(rewind=1 << 60)
    with pytest.raises(ValueError, match="rewind is -2"):
        Stream(model, rewind=-2)


def test_what_forgets(any_model):
    """Whatever changes the state other than by a timestep; and nothing that is refused."""
    stream, X = any_model.stream(rewind=4), frames(any_model, 6)
    name = next(iter(any_model.states))
    snapshot, field = stream.snapshot(), np.array(stream.state[name])
    for change in (
        stream.reset,
        lambda: stream.restore(snapshot),
        lambda: stream.reset(to=snapshot),
        lambda: stream.reset(to={name: field}),
        lambda: stream.settle(cut(X, 0), 2),
        lambda: stream.state.__setitem__(name, field),
    ):
        stream.run(X)
        with pytest.raises(StateError):
            stream.restore(b"")
        with pytest.raises((ShapeError, KeyError)):
            stream.reset(to={name: np.zeros(1000, np.float32)})
        assert stream.kept == 4
        change()
        assert stream.kept == 0
        stream.step(cut(X, 0))
        stream.rewind(1)
        assert stream.kept == 0


def test_a_flush(model):
    stream = model.stream(rewind=2)
    stream.run(frames(model, 3))
    stream.flush()  # which gives no frames, and is nothing
    assert stream.kept == 2
    ahead = Model.from_graph(late())
    stream, pool = ahead.stream(rewind=2), ahead.pool(1, rewind=2)
    (i,) = pool.open()
    X = frames(ahead, 5)
    stream.run(X)
    pool.run([i], X[None])
    stream.rewind(1)
    pool.rewind(i, 1)
    twin = ahead.stream()
    twin.run(X[:4])
    Y = twin.flush()
    assert_same_bits(stream.flush(), Y)
    assert_same_bits(pool.flush([i]), Y[None])
    assert stream.kept == 0 and list(pool.kept(i)) == [0]


def late():
    from undertow import Conv1D, Sequential

    return Sequential([Conv1D(np.random.default_rng(3).normal(size=(5, 2, 2)), padding="same")]).graph


def test_forks_keep_the_same(any_model):
    X = frames(any_model, 12)
    stream = any_model.stream(rewind=4)
    stream.run(cut(X, slice(0, 7)))
    fork = stream.fork()
    stream.run(cut(X, slice(7, 12)))
    fork.rewind(3)
    twin = any_model.stream()
    twin.run(cut(X, slice(0, 4)))
    assert (fork.kept, fork.position, stream.kept) == (1, 4, 4)
    assert fork.snapshot() == twin.snapshot()
    twin.run(cut(X, slice(4, 10)))
    stream.rewind(2)
    assert stream.snapshot() == twin.snapshot()
    assert any_model.stream(rewind=0).fork().kept == 0


def test_copies_keep_as_many_from_now_on(model):
    X = frames(model, 5)
    stream, pool = model.stream(rewind=2), model.pool(3, rewind=2)
    ids = pool.open(2)
    stream.run(X)
    pool.run(ids, np.stack([X, X]))
    for again in (copy.copy(stream), pickle.loads(pickle.dumps(stream))):
        assert (again.kept, again.position) == (0, 5)
        assert_same_bits(again.run(X), stream.fork().run(X))
        again.rewind(2)
        assert again.kept == 0
    again = pickle.loads(pickle.dumps(pool))
    assert list(again.kept(ids)) == [0, 0]
    again.run(ids, np.stack([X, X]))
    again.rewind(ids, 2)


@pytest.mark.parametrize("k", [1, 2])
def test_proposals(any_model, k):
    """What is proposed takes no place of what is kept, until it is committed."""
    X, states = frames(any_model, 9), []
    stream, pool = any_model.stream(rewind=k), any_model.pool(1, rewind=k)
    (i,) = pool.open()
    twin = any_model.stream()
    for t in range(6):
        states.append(twin.snapshot())
        twin.step(cut(X, t))
        stream.step(cut(X, t))
        pool.step([i], cut(X, slice(t, t + 1)))
    for commit in (False, True, False, False):
        stream.propose(cut(X, 7))
        pool.propose([i], cut(X, slice(7, 8)))
        with pytest.raises(StateError, match="proposal is pending"):
            stream.rewind(1)
        with pytest.raises(StateError, match="proposal pending"):
            pool.rewind(i, 1)
        with pytest.raises(StateError, match="proposal pending"):
            pool.kept(i)
        if commit:
            stream.commit()
            pool.commit(i)
            stream.rewind(1)
            pool.rewind(i, 1)
            assert stream.kept == k - 1 and list(pool.kept(i)) == [k - 1]
            assert stream.snapshot() == pool.snapshot(i) == twin.snapshot()
            stream.step(cut(X, 6))
            pool.step([i], cut(X, slice(6, 7)))
            states.append(twin.snapshot())
            twin.step(cut(X, 6))
        else:
            stream.rollback()
            pool.rollback(i)
        assert stream.kept == k and list(pool.kept(i)) == [k]
        assert stream.snapshot() == pool.snapshot(i) == twin.snapshot()
    stream.rewind(k)
    pool.rewind(i, k)
    assert stream.snapshot() == pool.snapshot(i) == states[-k]


def test_a_stream_at_work_refuses_other_threads():
    large = Model.from_graph(single(np.random.default_rng(1), "lstm", 64, 1500))
    stream, X, seen = large.stream(rewind=2), frames(large, 60), set()
    thread = threading.Thread(target=lambda: stream.run(X))
    thread.start()
    while thread.is_alive():
        try:
            stream.rewind(0)
        except RuntimeError as error:
            seen.add(str(error))
    thread.join()
    assert len(seen) == 1 and "at work in another thread" in seen.pop()
    twin = large.stream()
    twin.run(X[:58])
    stream.rewind(2)
    assert stream.snapshot() == twin.snapshot()


def test_a_pool(model):
    pool, X = model.pool(6, rewind=3), frames(model, 3, 8)
    ids = pool.open(3)
    pool.run(ids, X)
    pool.rewind(ids, [0, 3, 1])
    for i, x, n in zip(ids, X, (8, 5, 7), strict=True):
        twin = model.stream()
        twin.run(x[:n])
        assert pool.snapshot(i) == twin.snapshot()
    np.testing.assert_array_equal(pool.kept(ids[::-1]), [2, 0, 3])
    before = [pool.snapshot(i) for i in ids]
    with pytest.raises(StateError, match=r"rewind of ids\[1\] by 1: the last 0 timesteps are kept, of at most 3"):
        pool.rewind(ids, 1)
    for wrong, error in (
        ([1, 2], ShapeError),
        (np.ones(3), TypeError),
        ([[1, 1, 1]], ShapeError),
        (-1, ValueError),
        ([0, 0, -1], ValueError),
        ("1", TypeError),
        (np.uint64(2**63), StateError),
    ):
        with pytest.raises(error):
            pool.rewind(ids, wrong)
    for wrong in ([ids[0], ids[0]], [7]):
        with pytest.raises(PoolError):
            pool.rewind(wrong, 0)
        with pytest.raises(PoolError):
            pool.kept(wrong)
    assert before == [pool.snapshot(i) for i in ids] and list(pool.kept(ids)) == [3, 0, 2]
    pool.rewind([], [])
    copies = pool.fork(ids[[0, 2, 0]])
    assert list(pool.kept(copies)) == [3, 2, 3]
    pool.step(ids, X[:, 0])  # the forks have histories of their own
    pool.rewind(copies, [3, 2, 1])
    for i, x, n in zip(copies, X[[0, 2, 0]], (5, 5, 7), strict=True):
        twin = model.stream()
        twin.run(x[:n])
        assert pool.snapshot(i) == twin.snapshot()
    with pytest.raises(StateError, match=r"model.pool\(..., rewind=k\)"):
        plain = model.pool(1)
        plain.rewind(plain.open(), 1)


def test_what_a_pool_forgets(model):
    pool, X = model.pool(2, rewind=3), frames(model, 2, 4)
    ids = pool.open(2)
    snapshot = pool.snapshot(ids[0])
    for change in (
        lambda: pool.reset(ids[0]),
        lambda: pool.reset(ids[0], to=snapshot),
        lambda: pool.restore(ids[0], snapshot),
        lambda: pool.state(ids[0]).__setitem__("cell.c", np.ones(21)),
    ):
        pool.run(ids, X)
        change()
        assert list(pool.kept(ids)) == [0, 3]
    pool.run(ids, X)
    pool.close(ids[0])
    (new,) = pool.open()  # at the place of the one that was closed
    assert list(pool.kept(new)) == [0]


def test_a_model_without_states():
    from undertow import Dense, Sequential

    model = Sequential([Dense(np.ones((3, 2)))])
    stream, pool = model.stream(rewind=2), model.pool(2, rewind=2)
    (i,) = pool.open()
    stream.run(np.ones((3, 2), np.float32))
    pool.run([i], np.ones((1, 3, 2), np.float32))
    stream.rewind(1)
    pool.rewind(i, 1)
    assert (stream.position, stream.kept, list(pool.kept(pool.fork(i)))) == (2, 1, [1])
