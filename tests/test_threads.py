# SPDX-License-Identifier: MIT
"""A model in many threads, a stream in one at a time."""

import sys
import threading
import time
from collections.abc import Mapping

import numpy as np
import pytest

import undertow
from frames import bits, vectors
from networks import cell, single, zoo, zoo_input
from undertow import _inputs
from undertow.ir.graph import Graph
from undertow.model import Model

BUSY = "at work in another thread"
HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


def gru(hidden=32, n_in=4, **options):
    return Model.from_graph(single(np.random.default_rng(1), "gru", n_in, hidden, **options))


def in_threads(work, n):
    """work(i) in n threads at once; the first exception that one of them raised is raised here."""
    errors, gate = [], threading.Barrier(n)

    def guarded(i):
        try:
            gate.wait()
            work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.fixture
def eager_switching():
    """Threads change places as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


# -- a model belongs to everybody -------------------------------------------------------------------------------------


def test_many_streams_in_many_threads_equal_lone_ones(isa, eager_switching):
    model = Model.from_graph(single(np.random.default_rng(1), "gru", 4, 32), isa)
    n_threads, n_streams, T = 6, 4, 600
    X = [[vectors(T, 4, 10 * i + k) for k in range(n_streams)] for i in range(n_threads)]
    Y = [[np.full((T, 32), np.nan, np.float32) for _ in range(n_streams)] for _ in range(n_threads)]

    def work(i):
        rng = np.random.default_rng(i)
        streams, at = [model.stream() for _ in range(n_streams)], [0] * n_streams
        while any(t < T for t in at):  # hop between this thread's streams, by steps and by runs
            k = int(rng.integers(n_streams))
            t, n = at[k], int(rng.choice([0, 1, 2, 7, 90]))
            if n == 0 and t < T:
                streams[k].step(X[i][k][t], Y[i][k][t])
                n = 1
            elif n:
                Y[i][k][t : t + n] = streams[k].run(X[i][k][t : t + n])
            at[k] = t + n

    in_threads(work, n_threads)
    for xs, ys in zip(X, Y, strict=True):
        for x, y in zip(xs, ys, strict=True):
            np.testing.assert_array_equal(bits(y), bits(model.run(x)))


def test_streams_with_names_in_many_threads(eager_switching):
    model = Model.from_graph(zoo())
    X = [zoo_input(200, seed) for seed in range(4)]
    Y = [None] * 4

    def work(i):
        stream, parts = model.stream(), []
        for t in range(0, 200, 8):
            parts.append(stream.run({name: x[t : t + 8] for name, x in X[i].items()}))
        Y[i] = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}

    in_threads(work, 4)
    for x, y in zip(X, Y, strict=True):
        for name, expected in model.run(x).items():
            np.testing.assert_array_equal(bits(y[name]), bits(expected))


def test_whole_sequences_in_many_threads(eager_switching):
    model = gru(reverse=True)  # not a stream's work: the other way into the engine
    X = [vectors(300, 4, seed) for seed in range(4)]
    expected = [model.run(x) for x in X]

    def work(i):
        for _ in range(10):
            np.testing.assert_array_equal(bits(model.run(X[i])), bits(expected[i]))

    in_threads(work, 4)


def test_models_are_loaded_in_many_threads():
    expected = undertow.load(undertow.example("digits")).run(vectors(8, 8))

    def work(_):
        for _ in range(50):
            model = undertow.load(undertow.example("digits"))
            np.testing.assert_array_equal(model.run(vectors(8, 8)), expected)

    in_threads(work, 4)


# -- a stream belongs to one ------------------------------------------------------------------------------------------


def long_run(model, seconds=0.4 if HAS_GIL else 2.0):  # without one, a thread that starts another may come late
    """(stream, X, out) of a run that takes about that long."""
    (value,) = model.inputs.values()
    probe = vectors(2000, *value.shape)
    start = time.perf_counter()
    model.stream().run(probe)
    T = max(2000, int(2000 * seconds / (time.perf_counter() - start)))
    (output,) = model.outputs.values()
    return model.stream(), vectors(T, *value.shape), np.zeros((T, *output.shape), np.float32)


def wait_until_busy(stream, thread):
    while thread.is_alive():
        try:
            stream.snapshot()  # reads only
        except RuntimeError:
            return
    raise AssertionError("the run was over before it was seen")


def test_a_stream_at_work_refuses_other_threads_and_goes_on_unharmed():
    model = gru(128)
    stream, X, out = long_run(model)
    snapshot, x = model.stream().snapshot(), vectors(1, 4)[0]
    model.stream().trace(X[:3])  # imports what it needs
    thread = threading.Thread(target=stream.run, args=(X, out))
    thread.start()
    wait_until_busy(stream, thread)
    attempts = {
        "step": lambda: stream.step(x),
        "run": lambda: stream.run(X[:3]),
        "run none": lambda: stream.run(X[:0]),
        "reset": lambda: stream.reset(),
        "reset to": lambda: stream.reset(to=snapshot),
        "settle": lambda: stream.settle(x, 3),
        "snapshot": lambda: stream.snapshot(),
        "restore": lambda: stream.restore(snapshot),
        "fork": lambda: stream.fork(),
        "read": lambda: stream.state["cell.h"],
        "write": lambda: stream.state.__setitem__("cell.h", np.zeros(128)),
        "trace": lambda: stream.trace(X[:3]),
    }
    raised = {}
    for name, attempt in attempts.items():
        try:
            attempt()
        except RuntimeError as error:
            raised[name] = BUSY in str(error)
    assert thread.is_alive(), "the run was over before every attempt was made"
    thread.join()
    assert raised == dict.fromkeys(attempts, True)
    reference = model.stream()
    assert np.array_equal(bits(out), bits(reference.run(X)))
    assert stream.snapshot() == reference.snapshot()
    stream.step(x)  # free again


def test_a_large_step_refuses_other_threads_too():
    model = gru(1200)  # large enough to give up the GIL
    stream, x = model.stream(), vectors(1, 4)[0]
    refused, stop = [], threading.Event()

    def meddle():
        while not stop.is_set():
            try:
                stream.snapshot()
            except RuntimeError as error:
                refused.append(str(error))

    thread = threading.Thread(target=meddle)
    thread.start()
    taken, deadline = 0, time.monotonic() + 20
    while not refused and time.monotonic() < deadline:
        try:
            y = stream.step(x)
            taken += 1
        except RuntimeError:  # no step is ever refused: reading never holds the stream
            stop.set()
            raise
    stop.set()
    thread.join()
    assert refused and BUSY in refused[0]
    np.testing.assert_array_equal(bits(y), bits(model.run(np.tile(x, (taken, 1)))[-1]))


class Meddler(Mapping):
    """A dict of inputs that, when it is read, has another thread start a run on the same stream."""

    def __init__(self, inputs, start):
        self.inputs, self.start = inputs, start

    def __getitem__(self, name):
        if self.start:
            self.start()
            self.start = None
        return self.inputs[name]

    def __iter__(self):
        return iter(self.inputs)

    def __len__(self):
        return len(self.inputs)


def two_inputs():
    graph = Graph("two")
    a, b = graph.input("a", 2), graph.input("b", 2)
    (y,) = cell(graph, np.random.default_rng(2), "gru", graph.add("concat", [a, b]), 64)
    graph.output("y", y)
    return Model.from_graph(graph)


@pytest.mark.parametrize("way", ["step", "run"])
def test_a_run_that_begins_while_another_call_reads_its_inputs_by_name(way):
    model = two_inputs()
    stream = model.stream()
    X = {"a": vectors(150_000, 2), "b": vectors(150_000, 2, 1)}
    out = {"y": np.zeros((150_000, 64), np.float32)}
    thread = threading.Thread(target=stream.run, args=(X, out))

    def start():
        thread.start()
        wait_until_busy(stream, thread)

    few = {name: x[:3] if way == "run" else x[0] for name, x in X.items()}
    with pytest.raises(RuntimeError, match=BUSY):
        getattr(stream, way)(Meddler(few, start))
    assert thread.is_alive()
    thread.join()
    assert np.array_equal(bits(out["y"]), bits(model.stream().run(X)))


@pytest.mark.parametrize("way", ["step", "run"])
def test_a_run_that_begins_while_another_call_converts_its_input(way, monkeypatch):
    model = gru(128)
    stream, X, out = long_run(model)
    thread = threading.Thread(target=stream.run, args=(X, out))
    convert = _inputs.coerce

    def slow(*args):
        monkeypatch.setattr(_inputs, "coerce", convert)
        thread.start()
        wait_until_busy(stream, thread)
        return convert(*args)

    monkeypatch.setattr(_inputs, "coerce", slow)
    strided = vectors(3, 8)[:, ::2]
    with pytest.raises(RuntimeError, match=BUSY):
        getattr(stream, way)(strided if way == "run" else strided[0])
    thread.join()
    assert np.array_equal(bits(out), bits(model.stream().run(X)))


def test_threads_that_fight_for_a_stream_lose_no_frame(eager_switching):
    """Every call counts in full or is refused in full."""
    graph = Graph("sum")
    x, total = graph.input("x", 1), graph.state("sum.value", (1,))
    y = graph.add("add", [graph.add("state_read", states=[total]), x])
    graph.add("state_write", [y], states=[total])
    graph.output("y", y)
    stream = Model.from_graph(graph).stream()
    taken = [0] * 6

    def work(i):
        ones, strided = np.ones((500, 1), np.float32), np.ones((500, 2), np.float32)[:, ::2]
        for k in range(100):
            X = (ones, strided, ones[:1])[(i + k) % 3]
            try:
                stream.run(X)
            except RuntimeError:
                continue
            taken[i] += len(X)

    in_threads(work, 6)
    assert stream.state["sum.value"] == sum(taken) > 0


# -- the GIL ----------------------------------------------------------------------------------------------------------


def ticks_during(work):
    """How often this thread got to run while another one was inside work(), which is not interrupted by force."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    span, ticks, ticking = [], [], threading.Event()

    def timed():
        ticking.wait()
        begin = time.perf_counter()
        work()
        span.extend([begin, time.perf_counter()])

    thread = threading.Thread(target=timed)
    try:
        thread.start()
        while thread.is_alive():
            ticks.append(time.perf_counter())
            ticking.set()
            time.sleep(0.002)
    finally:
        thread.join()
        sys.setswitchinterval(before)
    begin, end = span
    return sum(begin < tick < end for tick in ticks)


def test_run_lets_other_threads_run():
    stream, X, out = long_run(gru(128), 0.3)
    assert ticks_during(lambda: stream.run(X, out)) > 10


def test_whole_sequences_let_other_threads_run():
    model = gru(64, reverse=True)
    X = vectors(40_000, 4)
    assert ticks_during(lambda: model.run(X)) > 5


def test_large_steps_let_other_threads_run():
    stream, x = gru(1200).stream(), vectors(1, 4)[0]

    def work():
        end = time.perf_counter() + 0.3
        while time.perf_counter() < end:
            stream.step(x)

    assert ticks_during(work) > 10


@pytest.mark.skipif(not HAS_GIL, reason="needs a GIL to hold")
def test_ticks_are_a_fair_witness():
    def stubborn():
        end = time.perf_counter() + 0.1
        while time.perf_counter() < end:
            pass

    assert ticks_during(stubborn) <= 1
