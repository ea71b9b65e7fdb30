# SPDX-License-Identifier: MIT
"""A pool gives every stream the bits that it has alone: in any company, order and number of threads."""

import multiprocessing
import os
import threading
from pathlib import Path

import numpy as np
import pytest

import undertow
from frames import assert_same_bits, cut, frames
from networks import cached, counter, framed, round_trip_graphs, single, zoo
from undertow.ir.activations import Activation
from undertow.model import Model
from undertow.passes.precisions import with_weights

TASKS = Path("/proc/self/task")

CELLS = {
    "rnn": ("rnn", {"activations": (Activation("relu"),), "clip": 2.0}),
    "gru": ("gru", {}),
    "gru_reset_after": ("gru", {"reset_after": True, "start": True}),
    "lstm": ("lstm", {"start": True}),
    "lstm_options": ("lstm", {"peephole": True, "input_forget": True, "clip": 3.0}),
    "lstm_projection": ("lstm", {"projection": 7}),
}


def cell(name, hidden=21, n_in=5):
    op, options = CELLS[name]
    return single(np.random.default_rng(3), op, n_in, hidden, **options)


GRAPHS = {
    **{name: lambda name=name: cell(name) for name in CELLS},
    "zoo": zoo,
    "counter": counter,
    "framed": framed,
    "cached": cached,
    **{f"round_trip_{i}": lambda i=i: round_trip_graphs()[i] for i in (1, 2, 3, 4)},
    **{
        f"zoo_{p}": lambda p=p: with_weights(zoo(), p)
        for p in ("float16", "bfloat16", "int16", "int8", "int4", "fixed8")
    },
    "framed_int8": lambda: with_weights(framed(), "int8"),
    "projection_int8": lambda: with_weights(cell("lstm_projection"), "int8"),
}


def alone(model, X, n):
    """(output, snapshot) of n streams that run by themselves."""
    streams = [model.stream() for _ in range(n)]
    Y = [stream.run(cut(X, i)) for i, stream in enumerate(streams)]
    stacked = {k: np.stack([y[k] for y in Y]) for k in Y[0]} if isinstance(Y[0], dict) else np.stack(Y)
    return stacked, [stream.snapshot() for stream in streams]


# -- the same bits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRAPHS)
def test_every_op_in_a_pool(name, isa):
    model = Model.from_graph(GRAPHS[name](), isa)
    n, T = 70, 5
    X = frames(model, n, T)
    expected, snapshots = alone(model, X, n)
    with model.pool(n) as pool:
        ids = pool.open(n)
        assert_same_bits(pool.run(ids, X), expected, "run")
        assert [pool.snapshot(i) for i in ids] == snapshots
        pool.reset(ids)
        for t in range(T):
            assert_same_bits(pool.step(ids, cut(X, np.s_[:, t])), cut(expected, np.s_[:, t]), f"step {t}")
        assert [pool.snapshot(i) for i in ids] == snapshots


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_every_size_and_number_of_threads(name, threads, isa):
    model = Model.from_graph(cell(name, hidden=150), isa)  # large enough that even two streams are shared out
    X = frames(model, 70, 3)
    expected, _ = alone(model, X, 70)
    with model.pool(70, threads) as pool:
        for n in range(1, 71):
            ids = pool.open(n)
            assert_same_bits(pool.step(ids, cut(X, np.s_[:n, 0])), cut(expected, np.s_[:n, 0]), f"{n} streams")
            assert_same_bits(pool.run(ids, cut(X, np.s_[:n, 1:])), cut(expected, np.s_[:n, 1:]), f"{n} streams")
            pool.close(ids)


def test_more_streams_than_a_tile_holds(isa):
    model = Model.from_graph(cell("lstm", hidden=17), isa)
    n = 2 * 96 + 1 + 30
    X = frames(model, n, 4)
    expected, snapshots = alone(model, X, n)
    for threads in (1, 3):
        pool = model.pool(n, threads)
        ids = pool.open(n)
        assert_same_bits(pool.run(ids, X), expected)
        assert [pool.snapshot(i) for i in ids] == snapshots


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", ["zoo", "zoo_int8", "counter", "lstm_options"])
def test_any_subset_in_any_order(name, threads, isa):
    model = Model.from_graph(GRAPHS[name](), isa)
    rng, n = np.random.default_rng(4), 40
    pool, streams = model.pool(n, threads), [model.stream() for _ in range(n)]
    ids = pool.open(n)
    for round_ in range(25):
        chosen = rng.permutation(n)[: rng.integers(0, n + 1)]
        X = frames(model, len(chosen), 3, seed=round_)
        Y = pool.run(ids[chosen], X)
        for row, i in enumerate(chosen):
            assert_same_bits(cut(Y, row), streams[i].run(cut(X, row)), f"stream {i}, row {row}")
    assert [pool.snapshot(i) for i in ids] == [s.snapshot() for s in streams]


def test_nan_stays_in_its_stream(isa):
    model = Model.from_graph(cell("gru"), isa)
    pool, X = model.pool(30), frames(model, 30, 4)
    expected, _ = alone(model, X, 30)
    X[7] = np.nan
    Y = pool.run(pool.open(30), X)
    assert np.isnan(Y[7]).all()
    others = np.arange(30) != 7
    assert_same_bits(Y[others], expected[others])


# -- coming and going -------------------------------------------------------------------------------------------------


def test_streams_join_and_leave_without_touching_others():
    model = Model.from_graph(cell("lstm"))
    pool = model.pool(5)
    a, b, c = pool.open(3)
    before = [pool.snapshot(i) for i in (a, c)]
    pool.step([b], frames(model, 1))
    pool.close(b)
    d, e, f = pool.open(3)
    assert [pool.snapshot(i) for i in (a, c)] == before
    assert pool.snapshot(d) == pool.snapshot(e) == pool.snapshot(f) == model.stream().snapshot()
    assert len({*map(int, (a, b, c, d, e, f))}) == 6
    assert (len(pool), pool.n_open, pool.capacity, pool.threads) == (5, 5, 5, 1)
    assert d in pool and int(d) in pool and b not in pool and "x" not in pool and 0 not in pool
    pool.close([a, c, d, e, f])
    assert len(pool) == 0 and len(pool.open(5)) == 5


def test_open_from_a_state_or_a_snapshot():
    model = Model.from_graph(zoo())
    stream = model.stream()
    stream.run(frames(model, 4))
    pool = model.pool(4)
    (a,) = pool.open(snapshot=stream.snapshot())
    assert pool.snapshot(a) == stream.snapshot()
    b, c = pool.open(2, state={"gru_1": np.full(19, 0.25)})
    same = model.stream(state={"gru_1": np.full(19, 0.25)})
    assert pool.snapshot(b) == pool.snapshot(c) == same.snapshot()
    (d,) = pool.open(snapshot=stream.snapshot(), state={"gru_1": np.full(19, 0.5)})
    stream.state["gru_1"] = np.full(19, 0.5)
    assert pool.snapshot(d) == stream.snapshot()


def test_reset_restore_and_state():
    model = Model.from_graph(cell("lstm"))
    stream, pool = model.stream(), model.pool(3)
    ids = pool.open(3)
    pool.run(ids, frames(model, 3, 4))
    stream.run(frames(model, 6))
    pool.restore(ids[1], stream.snapshot())
    assert pool.snapshot(ids[1]) == stream.snapshot()
    pool.reset(ids[[2]], to=stream.snapshot())
    assert pool.snapshot(ids[2]) == stream.snapshot()
    other = model.stream(pool.snapshot(ids[0]))  # and the other way round
    X = frames(model, 3)
    assert_same_bits(cut(pool.step(ids, X), 0), other.step(X[0]))
    state = pool.state(ids[0])
    np.testing.assert_array_equal(state["cell"].c, other.state["cell"].c)
    state["cell.h"] = np.full(21, 0.125)
    assert (pool.state(int(ids[0]))["cell.h"] == 0.125).all()
    np.testing.assert_array_equal(state["cell.c"], other.state["cell.c"])
    pool.reset(ids, to={"cell.h": np.full(21, 0.5)})
    assert {pool.snapshot(i) for i in ids} == {model.stream(state={"cell.h": np.full(21, 0.5)}).snapshot()}
    pool.reset(ids[0])
    assert pool.snapshot(ids[0]) == model.stream().snapshot() != pool.snapshot(ids[1])


def test_fork():
    model = Model.from_graph(cell("gru"))
    pool = model.pool(6)
    a, b = pool.open(2)
    pool.run([a, b], frames(model, 2, 4))
    new = pool.fork([b, a, b])
    assert [pool.snapshot(i) for i in new] == [pool.snapshot(i) for i in (b, a, b)]
    before = pool.snapshot(b)
    pool.step(new, frames(model, 3))
    assert pool.snapshot(b) == before
    assert len(pool.fork(a)) == 1


def test_a_state_of_no_fields():
    model = Model.from_graph(undertow.Sequential([undertow.Dense(np.eye(3))]).graph)
    pool, X = model.pool(4), frames(model, 4)
    ids = pool.open(4)
    np.testing.assert_array_equal(pool.step(ids, X), X)
    pool.propose(ids, X)
    pool.rollback(ids)
    assert pool.snapshot(ids[0]) == model.stream().snapshot()


# -- arrays -----------------------------------------------------------------------------------------------------------


def test_out_is_used_in_place():
    model = Model.from_graph(zoo())
    pool = model.pool(5)
    ids, X = pool.open(5), frames(model, 5, 3)
    expected = pool.run(ids, X)
    pool.reset(ids)
    out = {name: np.full_like(y, np.nan) for name, y in expected.items()}
    returned = pool.run(ids, X, out=out)
    assert all(returned[name] is out[name] for name in out)
    assert_same_bits(out, expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_frame_on_frame_in_place(threads):
    model = Model.from_graph(cell("gru", hidden=300, n_in=300))
    pool, X = model.pool(50, threads), frames(model, 50, 3)
    expected, _ = alone(model, X, 50)
    ids = pool.open(50)
    assert pool.run(ids, X, out=X) is X
    assert_same_bits(X, expected)


def test_ids_and_inputs_of_other_kinds():
    model = Model.from_graph(zoo())
    pool = model.pool(4)
    ids, X = pool.open(4), frames(model, 4)
    expected = pool.step(ids, X)
    wide = {"x": np.stack([X["x"]] * 2, 1)[:, 0], "ids": X["ids"].astype(np.uint8)}
    for other in (list(map(int, ids)), tuple(ids), ids.astype(np.uint64), np.stack([ids] * 2, 1)[:, 0]):
        pool.reset(ids)
        assert_same_bits(pool.step(other, wide), expected)
    assert pool.step([], cut(X, np.s_[:0]))["soft"].shape == (0, 2, 3)
    assert pool.run(ids, frames(model, 4, 0))["log"].shape == (4, 0, 6)


# -- threads ----------------------------------------------------------------------------------------------------------


def tasks():
    return {task.name for task in TASKS.iterdir()}


def ran(task):
    """Nanoseconds of processor time that a thread has had."""
    return int((TASKS / task / "schedstat").read_text().split()[0])


@pytest.mark.skipif(not TASKS.exists(), reason="threads are counted in /proc")
def test_threads_work_and_end():
    model = Model.from_graph(cell("lstm", hidden=256))
    before = tasks()
    pool = model.pool(64, threads=3)
    own = tasks() - before
    assert len(own) == 2
    ids, X = pool.open(64), frames(model, 64, 20)
    start = {task: ran(task) for task in own}
    for _ in range(200):
        pool.run(ids, X)
        if all(ran(task) > start[task] + 10_000_000 for task in own):
            break
    else:
        raise AssertionError("a thread of the pool has not worked")
    pool.shutdown()
    assert not own & tasks()
    other = model.pool(2, threads=2)
    assert len(tasks() - before) == 1
    del other
    assert not tasks() - before


def in_child(pool, ids, X, path):
    path.write_bytes(pool.run(ids, X).tobytes())
    pool.shutdown()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_pool_works_in_a_forked_process(tmp_path):
    model = Model.from_graph(cell("gru", hidden=200))
    pool, X = model.pool(64, threads=3), frames(model, 64, 2)
    ids = pool.open(64)
    pool.run(ids, X)
    paths = [tmp_path / str(i) for i in range(3)]
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=in_child, args=(pool, ids, X, path)) for path in paths]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert {path.read_bytes() for path in paths} == {pool.run(ids, X).tobytes()}


def test_pools_in_many_threads_of_one_model():
    model = Model.from_graph(cell("gru", hidden=150))
    X = frames(model, 30, 40)
    expected, _ = alone(model, X, 30)
    wrong = []

    def work():
        for _ in range(5):
            with model.pool(30, threads=2) as pool:
                Y = pool.run(pool.open(30), X)
                if Y.tobytes() != expected.tobytes():
                    wrong.append(Y)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
