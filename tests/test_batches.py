# SPDX-License-Identifier: MIT
"""Several sequences in one call of `Model.run`: the bits of each alone."""

from __future__ import annotations

import os

import numpy as np
import pytest

import undertow
from networks import single
from undertow import LSTM, Bidirectional, Dense, Graph, Model, Sequential, _batches

RNG = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) / 2).astype(np.float32)


def lstm(n_in: int, n: int, **options) -> LSTM:
    return LSTM(weights(4 * n, n_in), weights(4 * n, n), weights(4 * n), gate_order="ifgo", **options)


def whole() -> Model:
    """One that needs the whole sequence, and gives one result of it."""
    both = Bidirectional(lstm(3, 4), lstm(3, 4, reverse=True))
    return Sequential([both, undertow.Average(), Dense(weights(2, 8), weights(2))], input_shape=3)


def streaming() -> Model:
    return Sequential([lstm(3, 20), Dense(weights(2, 20), weights(2))], input_shape=3)


def ahead() -> Model:
    """One that looks two frames ahead, of two inputs and two outputs."""
    g = Graph("ahead")
    x, u = g.input("x", 3), g.input("u", 3)
    window = g.add("window", [g.add("add", [x, u])], attrs={"taps": (-1, 0, 2)})
    flat = g.add("reshape", [window], attrs={"shape": (9,)})
    cell = single(RNG, "gru", 9, 5).nodes[0]
    g.state("cell.h", (5,))
    y = g.add("gru", [flat], name="cell", weights=cell.weights, attrs=cell.attrs, states=["cell.h"])
    g.output("y", y)
    g.output("sum", flat)
    return Model.from_graph(g)


def sequences(model: Model, lengths):
    one = [
        {name: RNG.normal(size=(n, *v.shape)).astype(np.float32) for name, v in model.inputs.items()} for n in lengths
    ]
    return one if len(model.inputs) > 1 else [next(iter(item.values())) for item in one]


def same(model: Model, many, alone) -> bool:
    if len(model.outputs) == 1:
        return all(np.array_equal(y, want) for y, want in zip(many, alone, strict=True))
    return all(np.array_equal(many[name][i], want[name]) for i, want in enumerate(alone) for name in want)


@pytest.mark.parametrize("make", [streaming, whole, ahead])
@pytest.mark.parametrize("lengths", [[5] * 2, [7] * 9, [9, 4, 2, 9, 1, 4]])
def test_the_bits_of_each_alone(make, lengths):
    model = make()
    items = sequences(model, lengths)
    alone = [model.run(item) for item in items]
    ragged = {name: [item[name] for item in items] for name in model.inputs} if len(model.inputs) > 1 else items
    many = model.run(ragged)
    assert same(model, many, alone)
    if len(set(lengths)) == 1:
        array = {n: np.stack(x) for n, x in ragged.items()} if isinstance(ragged, dict) else np.stack(ragged)
        stacked = model.run(array)
        assert same(model, stacked, alone)
        ys = stacked.values() if isinstance(stacked, dict) else [stacked]
        assert all(isinstance(y, np.ndarray) and len(y) == len(lengths) for y in ys)


def of_two_layers() -> Model:
    """A convolution and two layers both ways that start from numbers of their own; of them the last timestep counts."""
    g = Graph("both")
    x = g.input("x", 3)
    window = g.add("window", [x], attrs={"taps": (-1, 0, 1)})
    y = g.add("reshape", [window], attrs={"shape": (9,)})
    for layer, n_in, n in (("a", 9, 5), ("b", 10, 16)):
        ways = []
        for way in ("forwards", "backwards"):
            cell = single(RNG, "gru", n_in, n, reverse=way == "backwards").nodes[0]
            state = g.state(f"{layer}_{way}.h", (n,), weights(n))
            name = f"{layer}_{way}"
            ways.append(g.add("gru", [y], name=name, weights=cell.weights, attrs=cell.attrs, states=[state]))
        y = g.add("concat", ways)
    g.output("y", y)
    ends = [g.add("last", [way], attrs={"reverse": way == ways[1], "masked": False}) for way in ways]
    g.output("ends", g.add("concat", ends))
    return Model.from_graph(g)


def rooms(model: Model, n: int):
    return [np.zeros(v.shape if v.once else (n, *v.shape), np.float32) for v in model.outputs.values()]


def goes_side_by_side(model: Model, items) -> bool:
    return model._core.run_sequences(
        [[x] for x in items], [len(x) for x in items], [rooms(model, len(x)) for x in items]
    )


@pytest.mark.parametrize("make", [whole, of_two_layers])
@pytest.mark.parametrize("lengths", [[9] * 4, [9, 4, 2, 9, 1, 4], list(range(1, 60))])
@pytest.mark.parametrize("threads", [1, 2])
def test_whole_sequences_go_side_by_side(make, lengths, threads):
    model = make()
    if threads > len(os.sched_getaffinity(0)):
        pytest.skip("needs two CPUs")
    items = sequences(model, lengths)
    assert goes_side_by_side(model, sorted(items, key=lambda x: -len(x)))
    many, alone = model.run(items, threads=threads), [model.run(item) for item in items]
    for name in model.outputs if len(model.outputs) > 1 else [None]:
        for i, want in enumerate(alone):
            got, want = (many[i], want) if name is None else (many[name][i], want[name])
            assert got.tobytes() == want.tobytes() and got.shape == want.shape


def test_a_result_that_meets_every_timestep_is_computed_one_by_one():
    g = Graph("joined")
    x = g.input("x", 3)
    flipped = g.add("flip", [x])
    end = g.add("last", [flipped], attrs={"reverse": False, "masked": False})
    g.output("y", g.add("add", [x, end]))
    model = Model.from_graph(g)
    items = sequences(model, [5, 4, 4, 2])
    assert not goes_side_by_side(model, items)
    assert same(model, model.run(items), [model.run(item) for item in items])


def test_more_threads_than_cpus():
    with pytest.raises(ValueError, match="threads is 100000, expected 1 to"):
        whole().run(np.zeros((4, 5, 3), np.float32), threads=100000)


@pytest.mark.parametrize(
    ("lengths", "change", "message"),
    [
        ([3, 5], lambda xs, ys: (xs[::-1], ys[::-1]), "frames"),
        ([5, 3], lambda xs, ys: (xs[:1], ys), "number of sequences"),
        ([5, 3], lambda xs, ys: (xs, ys[:1]), "number of sequences"),
        ([5, 3], lambda xs, ys: ([xs[0], []], ys), "inputs"),
        ([5, 3], lambda xs, ys: (xs, [ys[0], []]), "outputs"),
        ([5, 4], lambda xs, ys: (xs, ys), "an input does not fit"),
        ([5, 3], lambda xs, ys: ([[x.astype(np.float64) for x in one] for one in xs], ys), "an input does not fit"),
        ([5, 3], lambda xs, ys: (xs, [ys[0], [y[..., :1] for y in ys[1]]]), "an output does not fit"),
    ],
)
def test_nothing_beyond_an_array_is_read_or_written(lengths, change, message):
    model = of_two_layers()
    xs = [[np.zeros((n, 3), np.float32)] for n in (5, 3)]
    inputs, outputs = change(xs, [rooms(model, n) for n in (5, 3)])
    with pytest.raises(ValueError, match=message):
        model._core.run_sequences(inputs, lengths, outputs)


def test_an_output_that_may_not_be_written_is_refused():
    model, xs = of_two_layers(), [[np.zeros((5, 3), np.float32)] for _ in range(2)]
    ys = [rooms(model, 5), rooms(model, 5)]
    ys[1][0].flags.writeable = False
    with pytest.raises(ValueError, match="not writeable"):
        model._core.run_sequences(xs, [5, 5], ys)


def test_each_starts_from_the_state_that_is_given():
    model = streaming()
    items, start = sequences(model, [5] * 6), {"lstm_1": {"h": np.ones(20, np.float32), "c": np.ones(20, np.float32)}}
    many = model.run(items, state=start)
    assert same(model, many, [model.run(item, state=start) for item in items])
    assert not np.array_equal(many[0], model.run(items[0]))


def test_lengths_of_each():
    model = Model.from_graph(single(RNG, "gru", 3, 4, masked=True))
    items = sequences(model, [6, 6, 6, 6])
    many = model.run(np.stack(items), length=[6, 3, 0, 2])
    assert same(model, many, [model.run(item, length=n) for item, n in zip(items, (6, 3, 0, 2), strict=True)])
    assert same(model, model.run(items, length=3), [model.run(item, length=3) for item in items])
    with pytest.raises(undertow.ShapeError, match="length has 3 numbers, X has 4 sequences"):
        model.run(items, length=[1, 2, 3])


def test_timesteps_of_several_in_a_frame():
    g = Graph("strided")
    x = g.input("x", (2, 3))
    g.frames_in = 2
    g.output("y", g.add("reshape", [x], attrs={"shape": (6,)}))
    model = Model.from_graph(g)
    timesteps = [RNG.normal(size=(n, 3)).astype(np.float32) for n in (4, 2, 6, 4)]
    assert same(model, model.run(timesteps), [model.run(x) for x in timesteps])


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (lambda items: [items[0], items[1][:, :2], *items[2:]], undertow.ShapeError, r"^sequence 1: input must be"),
        (lambda items: [*items[:3], items[3].astype(float)], TypeError, r"^sequence 3: input must be float32"),
        (lambda items: np.stack(items).transpose(0, 2, 1), undertow.ShapeError, r"try np\.ascontiguousarray\(x\.T\)"),
        (lambda items: [items[0].tolist()], TypeError, "must be a NumPy array"),
    ],
)
def test_what_does_not_fit_is_named(X, error, message):
    model = streaming()
    with pytest.raises(error, match=message):
        model.run(X(sequences(model, [5] * 4)))


def test_inputs_of_other_numbers_of_sequences():
    model = ahead()
    x, u = (RNG.normal(size=(n, 5, 3)).astype(np.float32) for n in (3, 4))
    with pytest.raises(undertow.ShapeError, match="x 3, u 4"):
        model.run({"x": x, "u": u})
    with pytest.raises(undertow.ShapeError, match="x: an array of sequences and u: one sequence"):
        model.run({"x": x, "u": u[0]})


@pytest.mark.parametrize("make", [streaming, whole, ahead])
def test_no_sequences(make):
    model = make()
    shapes = {name: (0, 5, *v.shape) for name, v in model.inputs.items()}
    given = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    found = model.run(given if len(given) > 1 else next(iter(given.values())))
    for name, v in model.outputs.items():
        y = found[name] if len(model.outputs) > 1 else found
        assert y.shape == (0, *(() if v.once else (5,)), *v.shape) and y.dtype == np.float32
    if len(given) == 1:
        assert model.run([]) == []


@pytest.mark.parametrize("order", ["write", "read, write, read", "write, read"])
def test_registers_of_no_loop(order):
    """A register that is read behind its last write, if at all: there is no loop to keep its rows apart."""
    g = Graph(order)
    x = g.input("x", 3)
    held = g.state("held", (3,), np.float32([1, 2, 3]))
    reads = []
    for word in order.split(", "):
        if word == "read":
            reads.append(g.add("state_read", states=[held]))
        else:
            g.add("state_write", [g.add("add", [x, *reads[:1]]) if reads else x], states=[held])
    back = g.add("flip", [x])
    for i, value in enumerate([*reads, back]):
        g.output(f"y{i}", g.add("add", [value, x]))
    model = Model.from_graph(g)
    assert not model.streamable
    X = sequences(model, (7, 3, 5, 1))
    assert same(model, model.run(X), [model.run(x) for x in X])


def test_a_length_that_no_layer_heeds_is_refused():
    X = np.zeros((4, 5, 3), np.float32)
    for model in (streaming(), whole()):
        with pytest.raises(undertow.UnsupportedError, match="has no layer with sequence lengths, so all frames"):
            model.run(X, length=3)
        model.run(X, length=5)
    g = single(RNG, "gru", 3, 4, masked=True)
    state = g.state("sum.value", (4,))
    y = g.add("add", [g.add("state_read", states=[state]), next(iter(g.outputs.values()))])
    g.add("state_write", [y], states=[state])
    g.output("total", y)
    with pytest.raises(undertow.UnsupportedError, match="goes on from frame to frame, as a mean does"):
        Model.from_graph(g).run(X[0], length=3)


@pytest.mark.parametrize("n_bytes", [1, 3000])
def test_bits_do_not_depend_on_how_much_is_copied_at_a_time(monkeypatch, n_bytes):
    model = Model.from_graph(single(np.random.default_rng(7), "gru", 3, 5))
    rng = np.random.default_rng(8)
    X = [rng.normal(size=(n, 3)).astype(np.float32) for n in (40, 7, 33, 40, 1)]
    expected = [model.run(x) for x in X]
    monkeypatch.setattr(_batches, "_COPIED_BYTES", n_bytes)
    monkeypatch.setattr(_batches, "_LEAST_FRAMES", 3)
    sizes = []
    put = _batches._put

    def counted(rows, which, begin, end, result):
        sizes.append((len(which), end - begin))
        put(rows, which, begin, end, result)

    monkeypatch.setattr(_batches, "_put", counted)
    for y, want in zip(model.run(X), expected, strict=True):
        np.testing.assert_array_equal(y, want)
    assert all(frames <= max(3, n_bytes // (4 * streams * 8)) for streams, frames in sizes)
    assert sum(frames for _, frames in sizes) == 40
