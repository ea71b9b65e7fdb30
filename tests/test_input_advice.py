# SPDX-License-Identifier: MIT
"""What `step`, `run` and pools say to an input that does not fit as it is: each line of advice is followed."""

import re

import numpy as np
import pytest

import undertow
from undertow.ir.graph import Graph
from undertow.model import Model


def identity(shape, dtype="float32"):
    """A model whose output is its input, so that what arrives can be seen."""
    g = Graph("same")
    x = g.input("x", shape, dtype)
    if dtype == "int32":
        g.output("y", g.add("embedding", [x], weights={"table": np.arange(50.0).reshape(50, 1)}))
    else:
        g.output("y", g.add("activation", [x]))
    return Model.from_graph(g)


def calls(model):
    pool = model.pool(2)
    ids = pool.open(2)
    return {
        "step": model.stream().step,
        "run": model.stream().run,
        "model.run": model.run,
        "pool.step": lambda x: pool.step(ids, x),
    }


def refused(call, x):
    with pytest.raises((TypeError, ValueError)) as error:
        call(x)
    return str(error.value)


def advice(message):
    """The expressions of a message: "try A", or "try A for sound, B for other numbers"."""
    (said,) = re.findall(r"; try (.+)$", message)
    said = said.partition(": one sequence")[0].removesuffix(" for other numbers")
    return said.split(" for sound, ")


def followed(call, x, **names):
    """What the call gives for each line of advice that it gives for x."""
    message = refused(call, x)
    return [np.asarray(call(eval(line, {"np": np, "x": x, **names}))) for line in advice(message)]


SOUND = np.int16([0, 16384, -32768])


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize("x", [0.5, -2, 0, np.float32(0.5), np.array(0.5, np.float32), float("nan"), float("inf")])
def test_a_number_is_a_frame_of_one(shape, x):
    stream = identity(shape).stream()
    for given in (x, {"x": x}):
        y = stream.step(given)
        assert y.shape == shape and np.array_equal(y, np.full(shape, x, np.float32), equal_nan=True)


def test_a_number_beyond_float32_is_refused():
    stream = identity((1,)).stream()
    for x in (1e39, -(10**400)):
        with pytest.raises((ValueError, OverflowError), match=r"beyond|large"):
            stream.step(x)
    assert stream.position == 0


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("x", [True, np.float64(0.5), np.float16(0.5), np.int64(3), np.array(0.5)])
def test_other_numbers_have_a_dtype_and_get_advice(shape, x):
    (y, *_) = followed(identity(shape).stream().step, x)
    assert y == np.float32(x)


@pytest.mark.parametrize("how", ["step", "run", "model.run", "pool.step"])
@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.tolist(), lambda x: tuple(x.tolist()), lambda x: x.astype(np.float64), lambda x: x.astype(">f4"),
        lambda x: x.astype(np.float16), lambda x: x.astype(np.uint8), lambda x: x.astype(bool),
    ],
)  # fmt: skip
def test_other_arrays_and_lists(how, make):
    shape = {"step": (3,), "run": (4, 3), "model.run": (4, 3), "pool.step": (2, 3)}[how]
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    given = make(x)
    (y,) = followed(calls(identity((3,)))[how], given)
    assert np.array_equal(y, np.asarray(given, np.float32))


def test_sound_in_integers_is_scaled():
    model = identity((1,))
    sound, plain = followed(model.stream().run, SOUND)
    assert np.array_equal(sound[:, 0], [0, 0.5, -1]) and np.array_equal(plain[:, 0], SOUND)
    sound, plain = followed(model.stream().step, SOUND[1:2])
    assert sound == 0.5 and plain == 16384
    sound, _ = followed(identity((3,)).stream().step, SOUND)
    assert np.array_equal(sound, [0, 0.5, -1])
    sound, _ = followed(model.stream().run, np.int32([2**30, -(2**31)]))
    assert np.array_equal(sound[:, 0], [0.5, -1])


@pytest.mark.parametrize(
    ("shape", "how", "given", "expected"),
    [
        ((1,), "run", (5,), (5, 1)),
        ((3,), "step", (1, 3), (3,)),
        ((3, 1), "step", (3,), (3, 1)),
        ((3,), "run", (3, 5), (5, 3)),
        ((3,), "run", (1, 5, 3), (5, 3)),
        ((1,), "pool.step", (2,), (2, 1)),
    ],
)
def test_shapes_that_hold_the_same_numbers(shape, how, given, expected):
    x = np.arange(np.prod(given), dtype=np.float32).reshape(given)
    (y,) = followed(calls(identity(shape))[how], x)
    assert y.shape == expected and set(y.ravel()) == set(x.ravel())
    (y,) = followed(calls(identity(shape))[how], x.tolist())  # and of a list the same
    assert y.shape == expected


@pytest.mark.parametrize(
    ("how", "given", "words"),
    [
        ("step", (5, 3), "for several timesteps use run(X)"),
        ("run", (3,), "for one timestep use step(x)"),
        ("run", (4, 5, 3), "for several sequences use model.run(X), or a pool"),
        ("pool.step", (2, 5, 3), "for several timesteps use run(ids, X)"),
    ],
)
def test_other_calls_that_take_it(how, given, words):
    x = np.zeros(given, np.float32)
    model = identity((3,))
    assert words in refused(calls(model)[how], x) and words in refused(calls(model)[how], x.tolist())


def test_what_cannot_be_told_has_no_advice():
    model = identity((8,))
    for x in (0.5, np.zeros(9, np.float32), np.zeros(9), [1.0, [2.0]], "hello", None, np.zeros(8, complex), object()):
        message = refused(model.stream().step, x)
        assert "try" not in message and "(8,)" in message
    assert "expected numbers" in refused(model.stream().step, "hello")


@pytest.mark.parametrize("make", ["zeros", "double", "grad", "half"])
def test_tensors_of_torch(make):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    x = torch.arange(3.0)
    x = {"zeros": x, "double": x.double(), "grad": x.clone().requires_grad_(), "half": x.bfloat16()}[make]
    (y,) = followed(identity((3,)).stream().step, x)
    assert np.array_equal(y, [0, 1, 2])
    (y,) = followed(identity((1,)).stream().run, x)
    assert np.array_equal(y[:, 0], [0, 1, 2])
    ids = identity((), "int32").stream()
    (y,) = followed(ids.run, torch.tensor([3, 7]))
    assert np.array_equal(y[:, 0], [3, 7])


def test_ids_still_come_in_any_integers():
    stream = identity((), "int32").stream()
    assert [stream.step(x).item() for x in (7, np.int64(7), np.uint8(7))] == [7, 7, 7]
    with pytest.raises(TypeError):
        stream.step(True)
    with pytest.raises(undertow.ShapeError):
        stream.step([1, 2])
