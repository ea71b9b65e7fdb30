# SPDX-License-Identifier: MIT
"""What a pool refuses, it refuses by a clear typed error, and every stream stays as it was."""

import gc
import threading
import weakref

import numpy as np
import pytest

import undertow
from frames import assert_same_bits, cut, frames
from networks import single, zoo
from undertow import PoolError, ShapeError, StateError, UnsupportedError, _inputs
from undertow.ir.graph import Graph
from undertow.model import Model


def gru(hidden=21, **options):
    return Model.from_graph(single(np.random.default_rng(5), "gru", 5, hidden, **options))


@pytest.fixture
def pool():
    return gru().pool(6)


def refuses(pool, ids, error, match, call, *args, **kwargs):
    """call(*args) raises, and the streams of the pool and its number of them stay."""
    before, n = [pool.snapshot(i) for i in ids], len(pool)
    with pytest.raises(error, match=match):
        call(*args, **kwargs)
    assert [pool.snapshot(i) for i in ids] == before and len(pool) == n


def calls_with_ids(pool, X):
    """Every call that takes ids: f(ids) with as many frames as ids."""
    rows = lambda ids: np.ascontiguousarray(X[: np.size(ids)])  # noqa: E731
    return [
        lambda ids: pool.step(ids, rows(ids)),
        lambda ids: pool.run(ids, rows(ids)[:, None]),
        lambda ids: pool.propose(ids, rows(ids)),
        pool.close,
        pool.commit,
        pool.rollback,
        pool.reset,
        pool.fork,
    ]


def test_closed_foreign_and_invented_ids(pool):
    ids = pool.open(4)
    gone, X = ids[3], frames(pool.model, 6)
    pool.run(ids, X[:4, None])
    pool.close(gone)
    (again,) = pool.open()  # in the place of the one that left
    assert again != gone and again & 0xFFFFFFFF == gone & 0xFFFFFFFF
    foreign = pool.model.pool(6).open(1)[0]
    live = [*ids[:3], again]
    for wrong in (gone, foreign, 0, 1, -1, -(2**63), 2**63 - 1, again + (1 << 32), again | 0xFFFFFFFF):
        for call in calls_with_ids(pool, X):
            first = [wrong], np.array([wrong, ids[2]])
            later = [] if call in (pool.commit, pool.rollback) else [[ids[0], wrong], ids[[1, 0, 3, 2]]]
            for named in (*first, *later) if wrong == gone else (*first, *later[:1]):
                refuses(pool, live, PoolError, f"{wrong}: no stream of this pool", call, named)
        for call in (pool.snapshot, pool.state, lambda i: pool.restore(i, pool.snapshot(again))):
            refuses(pool, live, PoolError, "no stream of this pool", call, wrong)
        assert wrong not in pool


def test_the_same_id_twice(pool):
    ids, X = pool.open(3), frames(pool.model, 6)
    for call in [*calls_with_ids(pool, X)[:4], pool.reset]:
        refuses(pool, ids, PoolError, r"ids\[2\] .* twice", call, ids[[1, 0, 1]])
    for call in calls_with_ids(pool, X)[:3]:
        refuses(pool, ids, PoolError, "twice", call, np.resize(ids, 6))
        refuses(pool, ids, PoolError, "twice", call, np.resize(ids, 6)[::-1].copy())
    with pytest.raises(PoolError, match="twice"):
        pool.step(np.resize(ids, 1000), frames(pool.model, 1000))  # far more than there is room for
    pool.step(ids, X[:3])


def test_more_streams_than_capacity(pool):
    ids = pool.open(4)
    refuses(pool, ids, PoolError, "no room for 3 more: 4 of 6", pool.open, 3)
    refuses(pool, ids, PoolError, "no room for 3 more", pool.fork, ids[:3])
    refuses(pool, ids, PoolError, "no room for 1000", pool.fork, np.resize(ids, 1000))
    refuses(pool, ids, PoolError, "no room", pool.open, 2**62)
    refuses(pool, ids, ValueError, "expected the number", pool.open, -1)
    refuses(pool, ids, TypeError, "integer", pool.open, 1.0)
    assert len(pool.open(0)) == 0 and len(pool.open(2)) == 2


def test_ids_of_the_wrong_kind(pool):
    ids, X = pool.open(3), frames(pool.model, 3)
    step = lambda wrong: pool.step(wrong, X)  # noqa: E731
    for wrong in (ids.astype(float), ids > 0, ["a"], None, "abc", ids.astype(object), [1.5], np.empty(0)):
        refuses(pool, ids, TypeError, "ids must be integers", step, wrong)
        refuses(pool, ids, TypeError, "ids must be integers", pool.close, wrong)
    refuses(pool, ids, ShapeError, "one axis", step, ids[:, None])
    refuses(pool, ids, ShapeError, "one axis", step, ids[0])
    refuses(pool, ids, ShapeError, "one id, got 2", pool.snapshot, ids[:2])


def test_arrays_of_the_wrong_kind(pool):
    ids, X = pool.open(3), frames(pool.model, 3)
    Y = np.empty((3, 21), np.float32)
    for error, match, wrong in [
        (TypeError, "float32 with shape \\(3, 5\\), got float64", X.astype(float)),
        (TypeError, "float32 with shape \\(3, 5\\), got list", X.tolist()),
        (ShapeError, "shape \\(3, 5\\), got float32 \\(2, 5\\)", X[:2]),
        (ShapeError, "shape \\(3, 5\\), got float32 \\(3, 4\\)", X[:, :4].copy()),
        (ShapeError, "shape \\(3, 5\\), got float32 \\(5,\\)", X[0]),
        (ShapeError, "use run", X[:, None]),
        (TypeError, "X must be a dict|must be a NumPy array", None),
        (KeyError, "expected x, got z", {"z": X}),
    ]:
        refuses(pool, ids, error, match, pool.step, ids, wrong)
        refuses(pool, ids, error, match, pool.propose, ids, wrong)
    refuses(pool, ids, ShapeError, r"\(3, T, 5\).*use step", pool.run, ids, X)
    refuses(pool, ids, ShapeError, r"\(3, T, 5\)", pool.run, ids, X[:2, None])
    for out in (Y[:2], Y.astype(float), Y[:, ::-1], Y.T, Y[:, None], [1], "y"):
        refuses(pool, ids, ShapeError, "out for y .* shape \\(3, 21\\)", pool.step, ids, X, out=out)
    Y.flags.writeable = False
    refuses(pool, ids, ShapeError, "writable", pool.step, ids, X, out=Y)
    T = np.empty((3, 3, 21), np.float32)
    refuses(pool, ids, ShapeError, "\\(3, 2, 21\\)", pool.run, ids, np.stack([X, X], 1), out=T)
    pool.step(ids, X)


def test_named_arrays_of_the_wrong_kind():
    pool = Model.from_graph(zoo()).pool(3)
    ids, X = pool.open(3), frames(pool.model, 3, 2)
    refuses(pool, ids, ShapeError, "x 2, ids 1", pool.run, ids, {"x": X["x"], "ids": X["ids"][:, :1].copy()})
    refuses(pool, ids, ValueError, "ids of 0 to 10, got", pool.run, ids, {"x": X["x"], "ids": X["ids"] + 5})
    refuses(pool, ids, KeyError, "expected x, ids, got x", pool.run, ids, {"x": X["x"]})
    refuses(pool, ids, TypeError, "X must be a dict", pool.run, ids, X["x"])
    refuses(pool, ids, KeyError, "out", pool.run, ids, X, out={"hard": X["x"]})


def test_overlapping_memory():
    pool = gru(hidden=5).pool(4)
    ids, memory = pool.open(4), np.zeros(200, np.float32)
    X = memory[:20].reshape(4, 5)
    for start in (1, 5, 15):
        refuses(pool, ids, ValueError, "shares memory", pool.step, ids, X, memory[start : start + 20].reshape(4, 5))
    narrow = gru(hidden=3).pool(4)
    refuses(narrow, [], ValueError, "shares memory", narrow.step, narrow.open(4), X, memory[:12].reshape(4, 3))
    pool.step(ids, X, memory[20:40].reshape(4, 5))


def test_states_and_snapshots_of_other_models(pool):
    ids, other = pool.open(2), gru(hidden=22).stream()
    for damaged in (other.snapshot(), b"", pool.snapshot(ids[0])[:-1], pool.snapshot(ids[0]) + b"\0"):
        refuses(pool, ids, StateError, "snapshot", pool.restore, ids[0], damaged)
        refuses(pool, ids, StateError, "snapshot", pool.reset, ids, damaged)
        refuses(pool, ids, StateError, "snapshot", pool.open, 1, snapshot=damaged)
    refuses(pool, ids, KeyError, "no state", pool.open, state={"h": np.zeros(21)})
    refuses(pool, ids, ShapeError, "shape", pool.reset, ids, to={"cell": np.zeros(22)})
    refuses(pool, ids, TypeError, "bytes-like", pool.reset, ids, to="settled")
    refuses(pool, ids, TypeError, "bytes-like", pool.restore, ids[0], 5)


def test_making_a_pool():
    model = gru()
    for wrong in (0, -1, 2**31, 2**70):
        with pytest.raises(ValueError, match="capacity"):
            model.pool(wrong)
    for wrong in (0, -1, 257):
        with pytest.raises(ValueError, match="threads"):
            model.pool(1, threads=wrong)
    for wrong in (1.5, "4", None):
        with pytest.raises(TypeError):
            model.pool(wrong)
        with pytest.raises(TypeError):
            model.pool(1, threads=wrong)
    with pytest.raises(UnsupportedError, match="cell"):
        gru(reverse=True).pool(4)
    graph = Graph("wide")  # more states than there are addresses
    register = graph.state("s", (1 << 16,))
    graph.output("y", graph.add("state_read", states=[register]))
    graph.add("state_write", [graph.input("x", 1 << 16)], states=[register])
    with pytest.raises(MemoryError):
        Model.from_graph(graph).pool(2**31 - 1)


def test_shutdown():
    model = gru()
    pool = model.pool(4, threads=2)
    with pool as entered:
        ids = entered.open(2)
    X = frames(model, 2)
    for call in [
        *calls_with_ids(pool, X),
        pool.snapshot,
        pool.state,
        lambda i: pool.open(),
        lambda i: pool.__enter__(),
    ]:
        with pytest.raises(PoolError, match="shut down"):
            call(ids[:1])
    assert len(pool) == 0 and ids[0] not in pool
    pool.shutdown()


def test_a_pool_at_work_refuses_other_threads():
    model = gru(hidden=128)
    pool, T = model.pool(40, threads=2), 1500
    ids, X = pool.open(40), frames(model, 40, T)
    expected = pool.run(ids, X)
    pool.reset(ids)
    Y, refused = np.zeros_like(expected), 0
    thread = threading.Thread(target=pool.run, args=(ids, X, Y))
    thread.start()
    calls = [*calls_with_ids(pool, X[:, 0]), pool.snapshot, lambda i: pool.open(), lambda i: pool.shutdown()]
    while thread.is_alive():
        try:
            pool.snapshot(ids[0])  # reads only
        except RuntimeError:
            break
    for call in calls:  # far shorter than the run
        if thread.is_alive():
            try:
                call(ids[:1])
            except RuntimeError as error:
                assert "at work in another thread" in str(error)
                refused += 1
    thread.join()
    assert refused
    assert_same_bits(Y, expected)


def test_streams_that_end_while_a_call_reads_its_input(pool, monkeypatch):
    ids, X = pool.open(3), frames(pool.model, 3)
    expected, coerce = pool.step(ids, X), _inputs.coerce
    pool.reset(ids)

    def meddle(*args):
        pool.close(ids[1])
        return coerce(*args)

    monkeypatch.setattr(_inputs, "coerce", meddle)
    with pytest.raises(PoolError, match="no stream of this pool"):
        pool.step(ids, np.asfortranarray(X))
    monkeypatch.undo()
    assert_same_bits(pool.step(ids[[0, 2]], X[[0, 2]]), cut(expected, [0, 2]))


def test_the_model_lives_as_long_as_its_pool():
    model = gru()
    X = frames(model, 2)
    expected = model.pool(2)
    expected = expected.step(expected.open(2), X)
    pool = model.pool(2)
    del model
    gc.collect()
    assert_same_bits(pool.step(pool.open(2), X), expected)
    gone = weakref.ref(pool.model)
    assert repr(pool) == "<undertow.Pool of 'gru', 2 of 2 streams open, 1 threads>"
    assert type(pool) is undertow.Pool
    del pool
    gc.collect()
    assert gone() is None
