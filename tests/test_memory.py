# SPDX-License-Identifier: MIT
"""A stream holds what its model says, for ever; everything is given back, in whatever order."""

import copy
import ctypes
import gc
import itertools
import os
import pickle
import shutil
import sys
import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pytest

import undertow
from frames import vectors
from networks import single, zoo, zoo_input
from undertow.model import Model

STATM = Path("/proc/self/statm")
LIBC = ctypes.CDLL(None) if STATM.exists() else None
resident_only = pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from /proc")

#: Growth of resident memory that is noise: the allocator and the interpreter keep some pages of their own. One lost
#: reference in each of 10^5 calls is 3 MB or more.
NOISE = 1 << 20


def resident():
    """Bytes, without those that the allocator keeps for later: a leak could hide in them."""
    gc.collect()
    if hasattr(LIBC, "malloc_trim"):
        LIBC.malloc_trim(0)
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth(work, n, warm=None):
    """Bytes of resident memory that n calls of work() add, after some to warm up."""
    for _ in range(min(n, 2000) if warm is None else warm):
        work()
    before = resident()
    for _ in range(n):
        work()
    return resident() - before


@pytest.fixture
def model():
    return Model.from_graph(single(np.random.default_rng(1), "gru", 4, 16))


# -- what a stream holds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["zoo", "gru"])
def test_a_stream_is_state_scratch_and_a_little(name, model):
    model = Model.from_graph(zoo()) if name == "zoo" else model
    held = sum(4 * int(np.prod(state.shape)) for state in model.states.values())
    assert held <= model.state_bytes <= held + 64 * (1 + len(model.states))  # fields are padded to 16 floats
    parts = 2 * model.state_bytes + model.scratch_bytes  # a proposal keeps the state from before it
    assert parts <= model.stream_bytes <= parts + 512


@resident_only
def test_streams_take_the_memory_that_the_model_says(model):
    model.stream()
    before, n = resident(), 2000
    streams = [model.stream() for _ in range(n)]
    each = (resident() - before) / n
    assert model.stream_bytes * 0.95 < each < model.stream_bytes + 1024
    del streams


@resident_only
def test_forks_take_no_more_than_streams(model):
    stream = model.stream()
    before, n = resident(), 2000
    forks = [stream.fork() for _ in range(n)]
    assert (resident() - before) / n < model.stream_bytes + 1024
    del forks


# -- 10^6 timesteps ---------------------------------------------------------------------------------------------------


@resident_only
def test_steps_into_out_are_flat(model):
    stream, x, out = model.stream(), vectors(1, 4)[0], np.empty(16, np.float32)
    assert growth(lambda: stream.step(x, out=out), 1_000_000) < NOISE


@resident_only
def test_steps_are_flat(model):
    stream, x = model.stream(), vectors(1, 4)[0]
    assert growth(lambda: stream.step(x), 300_000) < NOISE


@resident_only
def test_runs_are_flat(model):
    stream, X, out = model.stream(), vectors(1000, 4), np.empty((1000, 16), np.float32)
    assert growth(lambda: stream.run(X, out=out), 500, 10) < NOISE
    assert growth(lambda: stream.run(X), 500, 10) < NOISE


@resident_only
def test_converted_and_named_inputs_are_flat(model):
    stream, strided = model.stream(), vectors(1, 8)[0, ::2]
    assert growth(lambda: stream.step(strided), 50_000) < NOISE
    several, X = Model.from_graph(zoo()).stream(), zoo_input(1)
    x = {name: value[0] for name, value in X.items()}
    out = several.step(x)
    assert growth(lambda: several.step(x), 20_000) < NOISE
    assert growth(lambda: several.step(x, out=out), 20_000) < NOISE
    assert growth(lambda: several.run(X), 20_000) < NOISE


@resident_only
@pytest.mark.parametrize("threads", [1, 2])
def test_pools_are_flat(model, threads):
    pool, X, Y = model.pool(64, threads), vectors(64, 4), np.empty((64, 16), np.float32)
    ids, live = pool.open(32), []

    def churn():
        live.extend(pool.open(4))
        live.extend(pool.fork(live[-4:]))
        pool.step(live[-8:], X[:8])
        pool.restore(live[0], pool.snapshot(live[1]))
        pool.state(live[0])["cell"] = np.zeros(16)
        pool.propose(live[:2], X[:2])
        pool.rollback(live[:2])
        pool.close(live)
        live.clear()

    assert growth(lambda: pool.step(ids, X[:32], out=Y[:32]), 100_000) < NOISE
    assert growth(lambda: pool.run(ids, X[:32, None]), 50_000) < NOISE
    assert growth(churn, 20_000) < NOISE


@resident_only
def test_pools_give_everything_back(model):
    def work():
        with model.pool(100, threads=2) as pool:
            pool.step(pool.open(100), vectors(100, 4))
        model.pool(1000).open(1000)

    assert growth(work, 300, 20) < NOISE


@resident_only
def test_a_pool_takes_memory_as_streams_open(model):
    pool, before = model.pool(1_000_000), resident()
    pool.open(1000)
    assert resident() - before < 1000 * (2 * model.state_bytes + 100) + NOISE


@resident_only
def test_whole_sequences_are_flat(model):
    backwards = Model.from_graph(single(np.random.default_rng(1), "gru", 4, 16, reverse=True))
    X = vectors(100, 4)
    for each in (model, backwards):
        assert growth(lambda each=each: each.run(X, state={"cell": np.zeros(16)}), 3000, 100) < NOISE


def steps_under_watch(stream, x, out, n):
    """(blocks that n steps leave allocated, bytes that they hold at their highest), by Python's own allocators."""
    step, turns = stream.step, itertools.repeat(None, n)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in itertools.repeat(None, 100):
            step(x, out=out)
        blocks = sys.getallocatedblocks()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for _ in turns:
            step(x, out=out)
        peak = tracemalloc.get_traced_memory()[1]
        return sys.getallocatedblocks() - blocks, peak - before
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="counts blocks of CPython's allocator")
def test_steps_into_out_allocate_nothing(model):
    """Not even for a moment. test_noalloc.cpp holds the same of the engine below."""
    several, X = Model.from_graph(zoo()).stream(), {name: value[0] for name, value in zoo_input(1).items()}
    # Room for an object or two of the interpreter's own. A step that kept one would leave 100,000; one that made an
    # array for a moment would show its 96 bytes and more.
    blocks, peak = steps_under_watch(model.stream(), vectors(1, 4)[0], np.empty(16, np.float32), 100_000)
    assert (blocks < 10, peak < 96) == (True, True), (blocks, peak)
    blocks, _ = steps_under_watch(several, X, several.step(X), 20_000)
    assert blocks < 10


def test_the_watch_sees_what_a_step_makes(model):
    """The test of the test: a step without `out` makes an array: it shows at the peak and, when kept, in the blocks."""
    stream, x, kept = model.stream(), vectors(1, 4)[0], []

    class Makes:
        def step(self, x, out):
            return stream.step(x)

    class Keeps:
        def step(self, x, out):
            kept.append(stream.step(x))

    assert steps_under_watch(Makes(), x, None, 1000)[1] > 96
    assert steps_under_watch(Keeps(), x, None, 1000)[0] > 1000


@pytest.mark.slow
@resident_only
def test_ten_million_steps_are_flat(model):
    stream, x, out = model.stream(), vectors(1, 4)[0], np.empty(16, np.float32)
    X, outs = vectors(1000, 4), np.empty((1000, 16), np.float32)
    assert growth(lambda: stream.step(x, out=out), 10_000_000) < NOISE
    assert growth(lambda: stream.run(X, out=outs), 10_000, 10) < NOISE


def test_out_is_the_only_thing_a_step_touches(model):
    stream, x, out = model.stream(), vectors(1, 4)[0], np.empty(16, np.float32)
    X, outs = vectors(5, 4), np.empty((5, 16), np.float32)
    before = [sys.getrefcount(a) for a in (x, out, X, outs, stream, model)]
    for _ in range(100):
        assert stream.step(x, out) is out and stream.step(x, out=out) is out
        assert stream.run(X, outs) is outs
    assert [sys.getrefcount(a) for a in (x, out, X, outs, stream, model)] == before


# -- what is given back -----------------------------------------------------------------------------------------------


@resident_only
def test_snapshots_forks_and_resets_do_not_leak(model):
    stream = model.stream()
    stream.run(vectors(9, 4))
    snapshot, h = stream.snapshot(), np.zeros(16, np.float32)
    stream.settle(vectors(1, 4)[0], 5)
    works = {
        "snapshot": (lambda: stream.snapshot(), 100_000),
        "fork": (lambda: stream.fork(), 100_000),
        "restore": (lambda: stream.restore(snapshot), 100_000),
        "reset": (lambda: stream.reset(), 100_000),
        "reset to": (lambda: stream.reset(to="settled"), 100_000),
        "stream": (lambda: model.stream(), 100_000),
        "stream from": (lambda: model.stream(snapshot), 50_000),
        "read": (lambda: stream.state["cell.h"], 30_000),
        "write": (lambda: stream.state.__setitem__("cell.h", h), 30_000),
        "settle": (lambda: stream.settle(h[:4], 3), 10_000),
        "trace": (lambda: stream.trace(vectors(2, 4)), 2_000),
    }
    assert {name: growth(work, n) >= NOISE for name, (work, n) in works.items()} == dict.fromkeys(works, False)


@resident_only
def test_refused_calls_do_not_leak(model):
    stream, x, snapshot = model.stream(), vectors(1, 4)[0], bytearray(model.stream().snapshot())
    snapshot[-1] ^= 1

    def refused(call):
        def work():
            with pytest.raises((ValueError, TypeError, KeyError, undertow.Error)):
                call()

        return work

    works = {
        "shape": lambda: stream.step(x[:3]),
        "dtype": lambda: stream.step(x.astype(np.float64)),
        "out": lambda: stream.step(x, out=x),
        "run": lambda: stream.run(x),
        "snapshot": lambda: stream.restore(bytes(snapshot[:-1])),
        "name": lambda: stream.state["nobody"],
        "blob": lambda: Model(b"not a model"),
    }
    assert {name: growth(refused(call), 5_000) >= NOISE for name, call in works.items()} == dict.fromkeys(works, False)
    count = sys.getrefcount(x)
    for _ in range(100):
        refused(works["out"])()
    assert sys.getrefcount(x) == count


@resident_only
def test_loading_leaves_nothing_behind():
    path = undertow.example("digits")
    x = vectors(1, 8)[0]

    def work():
        undertow.load(path).stream().step(x)

    descriptors = Path("/proc/self/fd")
    work()
    before = len(list(descriptors.iterdir()))
    assert growth(work, 1000, 100) < NOISE
    assert len(list(descriptors.iterdir())) == before
    assert growth(lambda: Model(path.read_bytes()), 1000, 100) < NOISE  # copied, not mapped


# -- who keeps whom ---------------------------------------------------------------------------------------------------


def test_a_stream_keeps_its_model(model):
    X = vectors(20, 4)
    expected = model.run(X)
    watch, stream = weakref.ref(model), model.stream()
    fork = stream.fork()
    assert stream.model is model and fork.model is model
    del model, stream
    gc.collect()
    if watch() is None:
        pytest.fail("the model is gone while a stream lives")
    np.testing.assert_array_equal(fork.run(X), expected)


def test_everything_goes_with_the_last_stream():
    model = Model.from_graph(single(np.random.default_rng(1), "gru", 4, 16))
    stream = model.stream()
    state = stream.state
    watches = [weakref.ref(model), weakref.ref(stream)]
    del model, stream
    gc.collect()
    assert all(watch() is not None for watch in watches)  # the state view keeps both
    state["cell"] = np.ones(16)
    np.testing.assert_array_equal(state["cell"], np.ones(16))
    del state
    gc.collect()
    assert [watch() for watch in watches] == [None, None]


def test_copies_and_results_outlive_everything(model, tmp_path):
    X = vectors(20, 4)
    expected, stream = model.run(X), model.stream()
    Y, h, snapshot, graph = stream.run(X), stream.state["cell"], stream.snapshot(), model.graph
    model.save(tmp_path / "model.tow")
    del model, stream
    gc.collect()
    np.testing.assert_array_equal(Y, expected)
    np.testing.assert_array_equal(h, expected[-1])
    again = Model.from_graph(graph).stream(snapshot)
    np.testing.assert_array_equal(again.state["cell"], h)
    blob = bytearray((tmp_path / "model.tow").read_bytes())
    again = Model(blob)
    del blob
    np.testing.assert_array_equal(again.run(X), expected)


@pytest.mark.skipif(sys.platform == "win32", reason="a mapped file cannot be deleted there")
def test_a_mapped_file_may_be_deleted_or_replaced(tmp_path):
    path = tmp_path / "model.tow"
    shutil.copy(undertow.example("digits"), path)
    X = vectors(8, 8)
    model = undertow.load(path)
    assert model.mapped
    expected, stream = model.run(X), model.stream()
    path.unlink()
    np.testing.assert_array_equal(stream.run(X), expected)
    Model.from_graph(single(np.random.default_rng(1), "gru", 4, 16)).save(path)  # another model, same name
    np.testing.assert_array_equal(model.run(X), expected)
    assert list(undertow.load(path).states) == ["cell.h"]
    del model
    gc.collect()
    stream.reset()
    np.testing.assert_array_equal(stream.run(X), expected)


@pytest.mark.skipif(sys.platform == "win32", reason="a mapped file cannot be replaced there")
def test_a_model_may_be_saved_over_its_own_file(tmp_path):
    path = tmp_path / "model.tow"
    shutil.copy(undertow.example("digits"), path)
    X, model = vectors(8, 8), undertow.load(path)
    expected, stream = model.run(X), model.stream()
    model.save(path)
    np.testing.assert_array_equal(stream.run(X), expected)
    np.testing.assert_array_equal(undertow.load(path).run(X), expected)
    assert [p.name for p in tmp_path.iterdir()] == ["model.tow"]


def test_copies_hold_memory_of_their_own_and_give_it_back():
    for make in (Model.stream, lambda model: model.pool(3)):
        model = Model.from_graph(zoo())
        held = make(model)
        copies = [copy.copy(held), copy.deepcopy(held), pickle.loads(pickle.dumps(held))]
        models = [weakref.ref(model), weakref.ref(copies[2].model)]
        of_copies = [weakref.ref(other) for other in copies]
        assert copies[0].model is copies[1].model is model
        del copies, held
        gc.collect()
        assert all(reference() is None for reference in (*of_copies, models[1]))
        del model
        gc.collect()
        assert models[0]() is None


def test_interrupted_construction_is_cleaned_up():
    """Stream(...) of something that is no model raises; nothing half-made is used or freed twice."""
    for nonsense in (None, 1, object(), "model"):
        with pytest.raises((TypeError, AttributeError)):
            undertow.Stream(nonsense)
    whole = Model.from_graph(single(np.random.default_rng(1), "gru", 4, 16, reverse=True))
    with pytest.raises(undertow.Error):
        undertow.Stream(whole)
