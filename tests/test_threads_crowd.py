# SPDX-License-Identifier: MIT
"""Many threads at one stream, one pool, one file: with the GIL and, in a Python that has none, without.

The model adds up its frames, which are ones: its state is the number of frames that it has taken, so whatever was torn
or lost shows.
"""

import copy
import io
import os
import pickle
import subprocess
import sys
import sysconfig
import time

import numpy as np
import pytest

import undertow
from frames import assert_same_bits, vectors
from networks import single
from test_threads import BUSY, eager_switching, in_threads  # noqa: F401
from undertow.ir.graph import Graph
from undertow.model import Model

N_THREADS = 6
ONE, ONES = np.ones(1, np.float32), np.ones((40, 1), np.float32)

pytestmark = pytest.mark.usefixtures("eager_switching")


def counter(n=1):
    """A model whose state is the sum of its frames, n numbers each."""
    graph = Graph("sum")
    x, total = graph.input("x", n), graph.state("sum.value", (n,))
    y = graph.add("add", [graph.add("state_read", states=[total]), x])
    graph.add("state_write", [y], states=[total])
    graph.output("y", y)
    return Model.from_graph(graph)


def tries(attempt, *errors):
    """What it gives, or None where another thread was in the way."""
    try:
        return attempt()
    except RuntimeError as error:
        assert BUSY in str(error)
    except errors:
        pass
    return None


def sum_of(stream):
    return stream.state["sum.value"][0]


# -- one stream --------------------------------------------------------------------------------------------------------


def test_steps_and_runs_of_one_stream_count_in_full():
    stream, taken = counter().stream(), [0] * N_THREADS

    def work(i):
        for k in range(400):
            if (i + k) % 4:
                taken[i] += tries(lambda: stream.step(ONE)) is not None
            elif tries(lambda: stream.run(ONES)) is not None:
                taken[i] += len(ONES)

    in_threads(work, N_THREADS)
    assert sum_of(stream) == stream.position == sum(taken) > 0


def test_proposals_of_one_stream_are_kept_or_undone_in_full():
    stream, kept = counter().stream(), [0] * N_THREADS

    def work(i):
        for k in range(300):
            if tries(lambda: stream.propose(ONE), undertow.StateError) is None:
                continue
            # Nobody else may settle it by accident: all threads go on only with proposals that they made.
            if (i + k) % 2:
                stream.commit()
                kept[i] += 1
            else:
                stream.rollback()

    in_threads(work, N_THREADS)
    assert sum_of(stream) == stream.position == sum(kept) > 0


def test_copies_of_a_stream_at_work_are_whole():
    """State and position are taken at one moment, by snapshots, forks, pickles and copies."""
    model = counter(3)
    stream, rows, at_work = model.stream(), np.ones((7, 3), np.float32), [True] * 4
    copies = [stream.fork, lambda: copy.copy(stream), lambda: pickle.loads(pickle.dumps(stream)), stream.snapshot]

    def work(i):
        if i >= len(copies):
            while any(at_work):
                tries(lambda: stream.run(rows) if i % 2 else stream.step(rows[0]))
            return
        try:
            for _ in range(60):
                other = tries(copies[i])
                if isinstance(other, bytes):
                    other = model.stream(other)
                elif other is not None:
                    assert sum_of(other) == other.position
                assert other is None or len(set(other.state["sum.value"])) == 1
        finally:
            at_work[i] = False

    in_threads(work, N_THREADS)
    assert sum_of(stream) == stream.position


def test_states_written_and_reset_meanwhile_are_whole():
    model = counter(5)
    stream, rows, start = model.stream(), np.ones((3, 5), np.float32), model.stream().snapshot()
    calls = [
        lambda: stream.run(rows),
        lambda: stream.state.__setitem__("sum.value", np.full(5, 100)),
        lambda: stream.reset(to={"sum.value": np.full(5, 7)}),
        lambda: stream.restore(start),
    ]

    def work(i):
        for _ in range(150):
            if i < len(calls):
                tries(calls[i])
            else:
                state = tries(lambda: np.array(stream.state["sum.value"]))
                assert state is None or len(set(state)) == 1, state

    in_threads(work, N_THREADS)
    assert len(set(stream.state["sum.value"])) == 1


def test_streams_share_a_team_of_their_own_each():
    """Streams of several threads, made, stepped and dropped in several threads."""
    model = Model.from_graph(single(np.random.default_rng(3), "gru", 4, 130))
    X = vectors(20, 4)
    expected = model.run(X)

    def work(i):
        for _ in range(4):
            stream = model.stream(threads=min(2, os.cpu_count() or 1), measure=False)
            assert_same_bits(stream.run(X), expected)
            assert_same_bits(stream.fork().run(X[:3]), stream.run(X[:3]))

    in_threads(work, 3)


# -- one pool ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_a_pool_that_is_fought_for_loses_nothing(threads):
    """Each thread has streams of its own in one pool: opens, steps, runs, proposes, forks and closes them."""
    pool = counter().pool(64, threads=threads)
    closed = [0] * N_THREADS

    def insist(attempt):
        while (result := tries(attempt)) is None:
            time.sleep(0)
        return result

    def done(attempt):
        return insist(lambda: (attempt(), True))

    def work(i):
        rng = np.random.default_rng(i)
        for _ in range(12):
            ids = insist(lambda: pool.open(3))
            sums = np.zeros(3)
            for _ in range(8):
                some = rng.permutation(3)[: int(rng.integers(1, 4))]
                mine = ids[some]
                match int(rng.integers(5)):
                    case 0:
                        sums[some] += 1
                        Y = insist(lambda mine=mine: pool.step(mine, np.ones((len(mine), 1), np.float32)))
                        np.testing.assert_array_equal(Y[:, 0], sums[some])
                    case 1:
                        Y = insist(lambda mine=mine: pool.run(mine, np.ones((len(mine), 9, 1), np.float32)))
                        np.testing.assert_array_equal(Y[:, :, 0], sums[some][:, None] + np.arange(1, 10))
                        sums[some] += 9
                    case 2:
                        insist(lambda mine=mine: pool.propose(mine, np.ones((len(mine), 1), np.float32)))
                        if rng.random() < 0.5:
                            done(lambda mine=mine: pool.commit(mine))
                            sums[some] += 1
                        else:
                            done(lambda mine=mine: pool.rollback(mine))
                    case 3:
                        (fork,) = insist(lambda mine=mine: pool.fork(mine[:1]))
                        (total,) = insist(lambda fork=fork: pool.state(fork)["sum.value"])
                        assert total == sums[some[0]]
                        done(lambda fork=fork: pool.close(fork))
                        closed[i] += 1
                    case 4:
                        done(lambda mine=mine: pool.reset(mine, to={"sum.value": [5.0]}))
                        sums[some] = 5
            for k, id in enumerate(ids):
                (total,) = insist(lambda id=id: pool.state(id)["sum.value"])
                assert total == sums[k]
            done(lambda ids=ids: pool.close(ids))
            closed[i] += 3

    in_threads(work, N_THREADS)
    assert len(pool) == 0 and sum(closed) > 0
    assert len(set(pool.open(64).tolist())) == 64  # every place came back, once


def test_a_pool_is_shut_down_once():
    for _ in range(20):
        pool = counter().pool(4, threads=2)
        ids = pool.open(4)
        X = np.ones((4, 1), np.float32)

        def work(i, pool=pool, ids=ids, X=X):
            if i % 2:
                tries(lambda: pool.step(ids, X), undertow.PoolError)
            else:
                tries(pool.shutdown)

        in_threads(work, 4)
        tries(pool.shutdown)
        with pytest.raises(undertow.PoolError, match="shut down"):
            pool.step(ids, X)


# -- models and files --------------------------------------------------------------------------------------------------


def test_whole_sequences_side_by_side_in_many_threads():
    """They share a room that one call leaves to the next, if nobody else is in it."""
    model = Model.from_graph(single(np.random.default_rng(1), "gru", 4, 16, reverse=True))
    X = [vectors(n, 4, n) for n in (30, 7, 19)]
    expected = [model.run(x) for x in X]

    def work(_):
        for _ in range(20):
            for y, want in zip(model.run(X), expected, strict=True):
                assert_same_bits(y, want)

    in_threads(work, N_THREADS)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets nobody replace a file that is mapped")
def test_a_file_is_saved_and_loaded_in_many_threads(tmp_path):
    """Who loads finds one of the models, whole."""
    path = tmp_path / "model.tow"
    models = [Model.from_graph(single(np.random.default_rng(k), "gru", 3, 8)) for k in range(3)]
    hashes = {model.hash: model for model in models}
    models[0].save(path)
    X = vectors(5, 3)

    def work(i):
        for k in range(25):
            if i < 3:
                models[(i + k) % 3].save(path)
            else:
                model = undertow.load(path, check=True, mapped=bool(k % 2))
                assert_same_bits(model.run(X), hashes[model.hash].run(X))

    in_threads(work, N_THREADS)
    assert [p.name for p in tmp_path.iterdir()] == ["model.tow"]


def test_a_model_is_described_converted_and_pickled_in_many_threads():
    """All that a Model works out later, when it is asked."""
    expected = undertow.load(undertow.example("digits"))
    X, small = vectors(8, 8), undertow.load(undertow.example("digits")).with_weights("int8")
    model = undertow.load(undertow.example("digits"))

    def work(i):
        for _ in range(5):
            assert str(model) == str(expected)
            assert model.with_weights("int8").hash == small.hash
            assert_same_bits(pickle.loads(pickle.dumps(model)).run(X), expected.run(X))

    in_threads(work, N_THREADS)


def test_onnx_files_are_imported_in_many_threads():
    pytest.importorskip("onnx", reason='needs the onnx package: pip install "undertow[onnx]"')
    from onnx_files import bytes_of, model_of, node, random

    rng = np.random.default_rng(2)
    weights = {"W": random(rng, 1, 24, 4), "R": random(rng, 1, 24, 8)}
    gru = node("GRU", "x W R", "y", hidden_size=8)
    data = bytes_of(model_of([gru], {"x": ["T", 1, 4]}, {"y": ["T", 1, 1, 8]}, weights))
    expected = undertow.load(io.BytesIO(data))

    def work(_):
        for _ in range(3):
            assert undertow.load(io.BytesIO(data)).hash == expected.hash

    in_threads(work, 4)


# -- the modules -------------------------------------------------------------------------------------------------------


def python(code):
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_package_is_imported_by_many_threads_at_once():
    code = """
import sys, threading
gate, models = threading.Barrier(8), []

def work():
    gate.wait()
    import undertow
    models.append(undertow.load(undertow.example("digits")))

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(models), {type(model._core) for model in models} == {sys.modules["undertow._core"].Model})
"""
    assert python(code) == "8 True"


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="needs a Python that can do without the GIL"
)
def test_the_gil_stays_off():
    code = """
import sys, undertow
undertow.load(undertow.example("digits")).stream()
print(sys._is_gil_enabled())
"""
    assert python(code) == "False"
