# SPDX-License-Identifier: MIT
"""What is refused leaves a stream as it was: also where reading an argument runs Python code that uses the stream."""

import threading

import numpy as np
import pytest

import undertow
from frames import frames
from networks import single
from undertow import ShapeError
from undertow.ir.graph import Graph
from undertow.model import Model


@pytest.fixture
def model():
    return Model.from_graph(single(np.random.default_rng(5), "lstm", 5, 21))


class Intruder:
    """An array that does something else first, whenever it is read."""

    def __init__(self, array, act):
        self.array, self.act = array, act

    def __array__(self, dtype=None, copy=None):
        self.act()
        return self.array


class Busy:
    """Another thread in a long `run` of the stream, from when it is entered until it has ended."""

    def __init__(self, run):
        self.run, self.began, self.result = run, threading.Event(), None

    def __enter__(self):
        self.thread = threading.Thread(target=self.work)
        return self

    def __exit__(self, *exception):
        self.thread.join()

    def work(self):
        self.result = self.run()

    def start(self, busy):
        """Start it, and come back once it is at work."""
        self.thread.start()
        while not busy():
            pass


def is_busy(call):
    try:
        call()
    except RuntimeError:
        return True
    return False


def large():
    return Model.from_graph(single(np.random.default_rng(1), "gru", 64, 192))


def test_a_stream_at_work_is_not_changed_by_states_that_are_read_meanwhile():
    model = large()
    X = np.random.default_rng(2).standard_normal((20_000, 64)).astype(np.float32)
    expected = model.run(X)
    stream = model.stream()
    for change in (
        lambda state: stream.reset(state),
        lambda state: stream.state.__setitem__("cell.h", state["cell.h"]),
    ):
        stream.reset()
        with Busy(lambda: stream.run(X)) as other:
            zeros = Intruder(np.zeros(192, np.float32), lambda: other.start(lambda: is_busy(stream.snapshot)))
            with pytest.raises(RuntimeError, match="at work in another thread"):
                change({"cell.h": zeros})
        np.testing.assert_array_equal(other.result, expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda pool, ids, state: pool.reset(ids, state),
        lambda pool, ids, state: pool.open(1, state=state),
        lambda pool, ids, state: pool.state(ids[0]).__setitem__("cell.h", state["cell.h"]),
    ],
    ids=["reset", "open", "state"],
)
def test_a_pool_at_work_is_not_changed_by_states_that_are_read_meanwhile(change):
    model = large()
    X = np.random.default_rng(2).standard_normal((1, 20_000, 64)).astype(np.float32)
    expected = model.run(X[0])
    pool = model.pool(2)
    ids = pool.open(1)
    busy = lambda: is_busy(lambda: pool.snapshot(ids[0]))  # noqa: E731
    with Busy(lambda: pool.run(ids, X)) as other, pytest.raises(RuntimeError, match="at work in another thread"):
        change(pool, ids, {"cell.h": Intruder(np.zeros(192, np.float32), lambda: other.start(busy))})
    np.testing.assert_array_equal(other.result[0], expected)
    assert len(pool) == 1


def test_states_that_do_not_fit_change_nothing(model):
    stream = model.stream()
    stream.run(frames(model, 9))
    before = stream.snapshot()
    right, wrong = np.ones(21, np.float32), np.ones(20, np.float32)
    for change, error in (
        (lambda: stream.reset({"cell.h": right, "cell.c": wrong}), ShapeError),
        (lambda: stream.reset({"cell.h": right, "nobody": right}), KeyError),
        (lambda: stream.state.__setitem__("cell", (right, wrong)), ShapeError),
        (lambda: stream._set_states([0, 1], [right, wrong]), ShapeError),
        (lambda: stream._set_states([0], [right.astype(np.float64)]), ShapeError),
        (lambda: stream._set_states([2], [right]), IndexError),
        (lambda: stream._set_states([-1], [right]), IndexError),
        (lambda: stream._get_state(2), IndexError),
        (lambda: stream._get_state(-1), IndexError),
        (lambda: stream.reset(b"no snapshot"), undertow.StateError),
        (lambda: stream.restore(before[:-1]), undertow.StateError),
        (lambda: stream.settle(np.ones(4, np.float32), 5), ShapeError),
        (lambda: stream.settle(np.ones(5), 5), TypeError),
    ):
        with pytest.raises(error):
            change()
        assert stream.snapshot() == before and stream.position == 9


def test_whole_sequences_check_what_they_are_given(model):
    core = model._core
    x = np.ones((3, 5), np.float32)
    core.run_sequence([x], 3, 3, [None, None])
    for inputs, n, length, states in (
        ([], 3, 3, [None, None]),
        ([x], 4, 4, [None, None]),
        ([x], 3, 4, [None, None]),
        ([x.astype(np.float64)], 3, 3, [None, None]),
        ([x[:, ::-1]], 3, 3, [None, None]),
        ([x], 3, 3, [None]),
        ([x], 3, 3, [np.ones(20, np.float32), None]),
        ([x], 1 << 62, 3, [None, None]),
    ):
        with pytest.raises(ValueError, match="run_sequence"):
            core.run_sequence(inputs, n, length, states)


def two_outputs():
    g = Graph("two")
    x = g.input("x", 4)
    g.output("a", g.add("activation", [x], attrs={"activation": undertow.Activation("relu")}))
    g.output("b", g.add("activation", [x], attrs={"activation": undertow.Activation("affine", 2.0, 1.0)}))
    return Model.from_graph(g)


def test_outputs_that_overlap_are_refused():
    model = two_outputs()
    X, room = np.ones((3, 4), np.float32), np.zeros((8, 4), np.float32)
    stream, pool = model.stream(), model.pool(3)
    ids = pool.open(3)
    rows = X[:, None]
    for first, second in ((room[:3], room[:3]), (room[:3], room[2:5]), (room[2:5], room[:3])):
        room[:] = 0
        for call in (
            lambda a, b: stream.run(X, out={"a": a, "b": b}),
            lambda a, b: pool.run(ids, rows, out={"a": a[:, None], "b": b[:, None]}),
            lambda a, b: pool.step(ids, X, out={"a": a, "b": b}),
        ):
            with pytest.raises(ValueError, match="shares memory with out for"):
                call(first, second)
            assert not room.any()
    with pytest.raises(ValueError, match="shares memory with out for"):
        stream.step(X[0], out={"a": room[0], "b": room[0]})
    with pytest.raises(ValueError, match="shares memory with out for"):
        stream.propose(X[0], out={"a": room[0], "b": room[0]})
    stream.run(X, out={"a": room[:3], "b": room[3:6]})  # side by side
    assert (room[:3] == 1).all() and (room[3:6] == 3).all()
    stream.step(X[0], out={"a": room[6], "b": room[7]})


def test_outputs_of_a_flush_that_overlap_are_refused():
    g = Graph("ahead")
    x = g.input("x", 2)
    late = g.add("window", [x], attrs={"taps": (0, 1, 2)})
    g.output("a", late)
    g.output("b", g.add("activation", [late], attrs={"activation": undertow.Activation("relu")}))
    model = Model.from_graph(g)
    stream, pool = model.stream(), model.pool(1)
    ids, room = pool.open(1), np.zeros((2, 3, 2), np.float32)
    stream.run(np.ones((4, 2), np.float32))
    for call in (
        lambda: stream.flush(out={"a": room, "b": room}),
        lambda: pool.flush(ids, out={"a": room[None], "b": room[None]}),
    ):
        with pytest.raises(ValueError, match="shares memory with out for"):
            call()


def test_many_names_of_one_kind():
    """Streams and pools of models with many inputs and outputs count them once."""
    g = Graph("many")
    values = [g.input(f"x{i}", 1) for i in range(300)]
    for i, value in enumerate(values):
        g.output(f"y{i}", value)
    model = Model.from_graph(g)
    x = {name: np.full((2, 1), i, np.float32) for i, name in enumerate(model.inputs)}
    y = model.stream().run(x)
    assert list(y) == list(model.outputs) and all((y[f"y{i}"] == i).all() for i in range(300))
