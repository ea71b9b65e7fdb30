# SPDX-License-Identifier: MIT
"""Loops that were written out for a few timesteps, of which an exporter has computed in advance and thrown away what it
could: each is streamed, against the cell in float64; what too few copies do not tell is a clip of the file's length.
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext

import numpy as np
import pytest

import undertow
from onnx_files import helper, model_of, session_of

K, J, FRAMES = 3, 4, 9


class Numbers:
    """The cells' operators on float64 arrays."""

    def __init__(self):
        self.rng = np.random.default_rng(5)

    def weight(self, *shape):
        return (self.rng.standard_normal(shape) * 0.5).astype(np.float32)

    def op(self, op, *inputs, **attrs):
        arrays = [np.asarray(a, None if np.asarray(a).dtype.kind == "i" else np.float64) for a in inputs]
        a = arrays[0]
        match op:
            case "Gather":
                return a.take(int(arrays[1]), attrs["axis"])
            case "Concat":
                return np.concatenate(arrays, attrs["axis"])
            case "Unsqueeze":
                return np.expand_dims(a, tuple(arrays[1]))
            case "Sigmoid":
                return 1 / (1 + np.exp(-a))
            case "MatMul" | "Add" | "Sub" | "Mul" | "Div":
                function = {
                    "MatMul": np.matmul,
                    "Add": np.add,
                    "Sub": np.subtract,
                    "Mul": np.multiply,
                    "Div": np.divide,
                }
                return function[op](a, arrays[1])
            case "Max":
                return np.maximum(a, arrays[1])
            case _:
                return {"Tanh": np.tanh, "Exp": np.exp, "Relu": lambda v: np.maximum(v, 0)}[op](a)


class File(Numbers):
    """The cells' operators as nodes; what only depends on constants is computed in advance, as exporters do."""

    def __init__(self):
        super().__init__()
        self.nodes, self.weights = [], {}

    def const(self, array):
        array = np.asarray(array)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        for name, known in self.weights.items():
            if known.dtype == array.dtype and known.shape == array.shape and np.array_equal(known, array):
                return name
        self.weights[f"c{len(self.weights)}"] = array
        return f"c{len(self.weights) - 1}"

    def op(self, op, *inputs, **attrs):
        if not any(isinstance(a, str) for a in inputs):
            return super().op(op, *inputs, **attrs).astype(np.float32)
        names = [a if isinstance(a, str) else self.const(a) for a in inputs]
        key = (op, tuple(names), tuple(attrs.items()))
        known = next((node for node in self.nodes if node[0] == key), None)  # nodes that are alike are one
        if known is None:
            known = key, helper.make_node(op, names, [f"v{len(self.nodes)}"], name=f"n{len(self.nodes)}", **attrs)
            self.nodes.append(known)
        return known[1].output[0]

    def save(self, path, output, n, shape=None):
        wanted, kept = {output}, []
        for _, node in reversed(self.nodes):
            if wanted & set(node.output):
                wanted |= set(node.input)
                kept.insert(0, node)
        used = {name: array for name, array in self.weights.items() if name in wanted}
        path.write_bytes(model_of(kept, {"x": list(shape or (1, n, K))}, [output], used, 18).SerializeToString())
        return path


def rnn(f):
    W, R, b = f.weight(K, J), f.weight(J, J), f.weight(J)

    def step(x, h):
        h = f.op("Tanh", f.op("Add", f.op("Add", f.op("MatMul", h, R), b), f.op("MatMul", x, W)))
        return h, [h]

    return step, [np.zeros((1, J), np.float32)]


def lstm(f):
    W = [f.weight(K, J) for _ in range(4)]
    R = [f.weight(J, J) for _ in range(4)]

    def step(x, h, c):
        gates = [f.op("Add", f.op("MatMul", x, w), f.op("MatMul", h, r)) for w, r in zip(W, R, strict=True)]
        i, forget, o = (f.op("Sigmoid", gate) for gate in gates[:3])
        c = f.op("Add", f.op("Mul", forget, c), f.op("Mul", i, f.op("Tanh", gates[3])))
        h = f.op("Mul", o, f.op("Tanh", c))
        return h, [h, c]

    return step, [np.zeros((1, J), np.float32)] * 2


def average(f):
    def step(x, h):
        h = f.op("Add", f.op("Mul", h, np.float32(0.75)), f.op("Mul", x, np.float32(0.25)))
        return h, [h]

    return step, [np.zeros((1, K), np.float32)]


def sru(f):
    """The output's gate takes the state from before and the one from after."""
    W, v, r = f.weight(K, J), f.weight(J), f.weight(J)

    def step(x, c):
        u = f.op("MatMul", x, W)
        forget = f.op("Sigmoid", f.op("Add", u, f.op("Mul", v, c)))
        gate = f.op("Sigmoid", f.op("Add", u, f.op("Mul", r, c)))
        one = f.op("Sub", np.float32(1), forget)
        c = f.op("Add", f.op("Mul", forget, c), f.op("Mul", one, u))
        return f.op("Mul", gate, c), [c]

    return step, [np.zeros((1, J), np.float32)]


def rotation(f):
    """A complex state in one tensor [1, 2, J]: its second half is still zeros after the first timestep."""
    W, re, im, a, b = f.weight(K, J), f.weight(J), f.weight(J), f.weight(J), f.weight(J)

    def step(x, s):
        h, g = (f.op("Gather", s, np.array(i), axis=1) for i in range(2))
        h_new = f.op("Add", f.op("Sub", f.op("Mul", re, h), f.op("Mul", im, g)), f.op("MatMul", x, W))
        g_new = f.op("Add", f.op("Mul", re, g), f.op("Mul", im, h))
        s = f.op("Concat", *(f.op("Unsqueeze", part, np.array([1])) for part in (h_new, g_new)), axis=1)
        return f.op("Add", f.op("Mul", h_new, a), f.op("Mul", g_new, b)), [s]

    return step, [np.zeros((1, 2, J), np.float32)]


def wkv(f):
    """Sums under a running maximum, which starts far below zero; the last update of all three is used by nobody."""
    W, V, u, w = f.weight(K, J), f.weight(K, J), f.weight(J), f.weight(J)

    def step(x, a, b, p):
        k, v = f.op("MatMul", x, W), f.op("MatMul", x, V)
        bonus = f.op("Add", k, u)
        top = f.op("Max", p, bonus)
        old, new = f.op("Exp", f.op("Sub", p, top)), f.op("Exp", f.op("Sub", bonus, top))
        y = f.op("Div", f.op("Add", f.op("Mul", old, a), f.op("Mul", new, v)), f.op("Add", f.op("Mul", old, b), new))
        decayed = f.op("Add", p, w)
        top = f.op("Max", decayed, k)
        old, new = f.op("Exp", f.op("Sub", decayed, top)), f.op("Exp", f.op("Sub", k, top))
        a = f.op("Add", f.op("Mul", old, a), f.op("Mul", new, v))
        return y, [a, f.op("Add", f.op("Mul", old, b), new), top]

    zeros = np.zeros((1, J), np.float32)
    return step, [zeros, zeros, zeros - np.float32(1e30)]


def echo(f):
    """Two timesteps ago: a state that is what another was."""
    W, R = f.weight(K, J), f.weight(J, J)

    def step(x, near, far):
        y = f.op("Tanh", f.op("Add", f.op("MatMul", x, W), f.op("MatMul", far, R)))
        return y, [y, near]

    return step, [np.zeros((1, J), np.float32)] * 2


def written_out(f, cell, n, last):
    step, states = cell(f)
    rows = []
    for t in range(n):
        y, states = step(f.op("Gather", "x", np.array(t), axis=1), *states)
        rows.append(y if last else f.op("Unsqueeze", y, np.array([1])))
    return y if last else f.op("Concat", *rows, axis=1)


CELLS = [rnn, lstm, average, sru, rotation, wkv, echo]
#: (cell, whether only the last timestep is used) -> copies that are too few
TOO_FEW = {
    (sru, True): {2},
    (rotation, False): {2},
    (rotation, True): {2, 4, 7},
    (wkv, False): {2},
    (wkv, True): {2, 3, 4, 7},
    (echo, False): {2},
    (echo, True): {2, 3, 4, 7},
}


@pytest.mark.parametrize("n", [2, 3, 4, 7])
@pytest.mark.parametrize("last", [False, True], ids=["all", "last"])
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_a_few_copies(cell, last, n, tmp_path):
    f = File()
    path = f.save(tmp_path / "m.onnx", written_out(f, cell, n, last), n)
    X = np.random.default_rng(1).standard_normal((FRAMES, K)).astype(np.float32)
    step, states = cell(Numbers())
    expected = []
    for x in X:
        y, states = step(x[None], *states)
        expected.append(y[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", undertow.ModelWarning)  # of a clip
        model = undertow.load(path)
    if n in TOO_FEW.get((cell, last), ()):
        assert model.inputs["x"].shape == (n, K)
        np.testing.assert_allclose(np.reshape(model.run(X[None, :n]), (-1, J))[-1], expected[n - 1], rtol=0, atol=1e-5)
        return
    assert model.inputs["x"].shape == (K,)
    assert model.stream().state
    stream = model.stream()
    np.testing.assert_allclose([stream.step(x) for x in X], expected, rtol=0, atol=1e-5)
    (whole,) = session_of(path).run(None, {"x": X[None, :n]})
    np.testing.assert_allclose(np.ravel(whole)[-len(expected[0]) :], expected[n - 1], rtol=0, atol=1e-5)


def test_two_channels_of_the_same_weights_are_no_loop(tmp_path):
    f = File()
    W = f.weight(K, J)
    sides = [f.op("Tanh", f.op("MatMul", f.op("Gather", "x", np.array(t), axis=1), W)) for t in range(2)]
    output = f.op("Concat", *(f.op("Unsqueeze", side, np.array([1])) for side in sides), axis=1)
    assert undertow.load(f.save(tmp_path / "m.onnx", output, 2)).stream().state == {}


def test_a_running_mean_of_two_is_no_loop_of_the_second_weight(tmp_path):
    f = File()
    first, second = (f.op("Gather", "x", np.array(t), axis=1) for t in range(2))
    one = f.op("Div", first, np.float32(1))
    mean = f.op("Add", one, f.op("Div", f.op("Sub", second, one), np.float32(2)))
    output = f.op("Concat", *(f.op("Unsqueeze", row, np.array([1])) for row in (one, mean)), axis=1)
    model = undertow.load(f.save(tmp_path / "m.onnx", output, 2))
    assert model.inputs["x"].shape == (2, K)


def test_a_tree_over_four_timesteps_is_no_loop(tmp_path):
    """Pairs are merged by one layer, and their results by the same."""
    f = File()
    W = f.weight(2 * K, K)
    level = [f.op("Gather", "x", np.array(t), axis=1) for t in range(4)]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=True)
        level = [f.op("Tanh", f.op("MatMul", f.op("Concat", a, b, axis=1), W)) for a, b in pairs]
    assert undertow.load(f.save(tmp_path / "m.onnx", level[0], 4)).inputs["x"].shape == (4, K)


def test_a_row_of_the_state_before_beside_one_of_the_last_is_no_stream(tmp_path):
    """h_0 and 2 h_1 as two rows: of two copies nothing tells a row of each timestep from one of both states."""
    f = File()
    step, states = rnn(f)
    rows = []
    for t in range(2):
        h, states = step(f.op("Gather", "x", np.array(t), axis=1), *states)
        rows.append(h if t == 0 else f.op("Mul", h, np.float32(2)))
    output = f.op("Concat", *(f.op("Unsqueeze", row, np.array([1])) for row in rows), axis=1)
    with pytest.warns(undertow.ModelWarning):
        model = undertow.load(f.save(tmp_path / "m.onnx", output, 2))
    assert model.inputs["x"].shape == (2, K)


@pytest.mark.parametrize("n", [3, 4])
def test_an_average_that_starts_with_the_first_frame_is_warned_of(n, tmp_path):
    f = File()
    h = f.op("Gather", "x", np.array(0), axis=1)
    rows = [h]
    for t in range(1, n):
        x = f.op("Gather", "x", np.array(t), axis=1)
        h = f.op("Add", f.op("Mul", h, np.float32(0.9)), f.op("Mul", x, np.float32(0.1)))
        rows.append(h)
    output = f.op("Concat", *(f.op("Unsqueeze", row, np.array([1])) for row in rows), axis=1)
    with pytest.warns(undertow.ModelWarning, match="of which each timestep has a copy that needs the one before"):
        model = undertow.load(f.save(tmp_path / "m.onnx", output, n))
    assert model.inputs["x"].shape == (n, K)


def from_a_state(tmp_path, n, returned, changed):
    """A loop over x [1, n, K] that starts from an input, and gives its rows y and a state: as it is, half of it, or the
    one before the last.
    """
    f = File()
    step, _ = rnn(f)
    name = {"h_out": "h", "carry": "hidden", "p": "b"}[returned]
    h, rows, states = name, [], [name]
    for t in range(n):
        h, _ = step(f.op("Gather", "x", np.array(t), axis=1), h)
        rows.append(f.op("Unsqueeze", h, np.array([1])))
        states.append(h)
    last = {"": h, "halved": f.op("Mul", h, np.float32(0.5)), "before": states[-2]}[changed]
    nodes = [node for _, node in f.nodes]
    nodes.append(helper.make_node("Concat", rows, ["y"], axis=1))
    nodes.append(helper.make_node("Identity", [last], [returned]))
    used = {name for node in nodes for name in node.input}
    weights = {name: array for name, array in f.weights.items() if name in used}
    model = model_of(nodes, {"x": [1, n, K], name: [1, J]}, {"y": [1, n, J], returned: [1, J]}, weights, 18)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "m.onnx"


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("returned", ["h_out", "carry"])
def test_a_loop_whose_state_is_returned(returned, n, tmp_path):
    model = undertow.load(from_a_state(tmp_path, n, returned, ""))
    step, (h,) = rnn(Numbers())
    X, expected = np.random.default_rng(1).standard_normal((FRAMES, K)).astype(np.float32), []
    for x in X:
        h, _ = step(x[None], h)
        expected.append(h[0])
    stream = model.stream()
    np.testing.assert_allclose([stream.step(x) for x in X], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n", [3, 5])
@pytest.mark.parametrize("changed", ["halved", "before"])
@pytest.mark.parametrize("returned", ["h_out", "carry", "p"])
def test_a_loop_whose_state_is_returned_changed(returned, changed, n, tmp_path):
    """A frame is a whole call, where names tell the state."""
    path = from_a_state(tmp_path, n, returned, changed)
    if returned == "p":
        with pytest.raises(undertow.UnsupportedError, match=r"'b'.*'p'"):
            undertow.load(path)
        return
    model, session = undertow.load(path), session_of(path)
    stream, state = model.stream(), np.zeros((1, J), np.float32)
    name = next(one.name for one in session.get_inputs() if one.name != "x")
    for x in np.random.default_rng(1).standard_normal((4, n, K)).astype(np.float32):
        y, state = session.run(["y", returned], {"x": x[None], name: state})
        np.testing.assert_allclose(stream.step(x), y[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("sizes", [(3, 3), (4, 3), (2, 2)], ids=str)
@pytest.mark.parametrize("inner", ["GRU", "CumSum", "loop"])
def test_a_loop_over_frames_behind_what_goes_along_the_bands_is_asked_about(inner, sizes, tmp_path):
    """x [1, n, bands, K]: which of the two is time, sizes do not say."""
    n, bands = sizes
    f = File()
    flat = "x"
    if inner == "GRU":
        W, R = f.weight(1, 3 * K, K), f.weight(1, 3 * K, K)
        rows = f.op("Reshape", flat, np.array([n, bands, K]))
        turned = f.op("Transpose", rows, perm=(1, 0, 2))
        f.nodes.append(("", helper.make_node("GRU", [turned, f.const(W), f.const(R)], ["Y", "Y_h"], hidden_size=K)))
        bands_last = f.op("Transpose", "Y_h", perm=(0, 1, 2))
    elif inner == "CumSum":
        bands_last = f.op("Gather", f.op("CumSum", flat, np.array(2)), np.array(bands - 1), axis=2)
    else:
        W, R, h = f.weight(K, K), f.weight(K, K), np.zeros((1, n, K), np.float32)
        for b in range(bands):
            h = f.op(
                "Tanh", f.op("Add", f.op("MatMul", f.op("Gather", flat, np.array(b), axis=2), W), f.op("MatMul", h, R))
            )
        bands_last = h
    step, states = rnn(f)
    rows = []
    for t in range(n):
        y, states = step(f.op("Gather", bands_last, np.array(t), axis=1), *states)
        rows.append(f.op("Unsqueeze", y, np.array([1])))
    path = f.save(tmp_path / "m.onnx", f.op("Concat", *rows, axis=1), n, (1, n, bands, K))
    with pytest.raises(undertow.UnsupportedError, match="cannot tell"):
        undertow.load(path)


@pytest.mark.parametrize("n", [2, 4])
def test_rows_that_differ_by_a_table_are_no_frame(n, tmp_path):
    """h_t + b_t: the rows of the file are its timesteps, and no stream goes on with b."""
    f = File()
    rows = f.op("Add", written_out(f, rnn, n, last=False), f.weight(n, J))
    with pytest.warns(undertow.ModelWarning) if n > 2 else nullcontext():
        model = undertow.load(f.save(tmp_path / "m.onnx", rows, n))
    assert model.inputs["x"].shape == (n, K)


def test_a_loop_of_numbers_of_their_own_behind_one_along_the_bands(tmp_path):
    """x [1, n, bands, K]: the loop over n cannot be a Scan, and is one all the same."""
    n, bands = 4, 3
    f = File()
    W, R, h = f.weight(K, K), f.weight(K, K), np.zeros((1, n, K), np.float32)
    for band in range(bands):
        x = f.op("Gather", "x", np.array(band), axis=2)
        h = f.op("Tanh", f.op("Add", f.op("MatMul", x, W), f.op("MatMul", h, R)))
    step, states = rnn(f)
    rows = []
    for t in range(n):
        y, _ = step(f.op("Gather", h, np.array(t), axis=1), *states)
        states = [f.op("Mul", y, f.weight(J))]
        rows.append(f.op("Unsqueeze", y, np.array([1])))
    path = f.save(tmp_path / "m.onnx", f.op("Concat", *rows, axis=1), n, (1, n, bands, K))
    with pytest.warns(undertow.ModelWarning, match="a copy that needs the one before"):
        assert undertow.load(path).inputs["x"].shape == (n, bands, K)


def test_a_loop_inside_of_each_copy_of_another(tmp_path):
    """for t: h = 0; for b: h = tanh(W x_tb + R h); s = tanh(R h + V s). The inner one is a frame's."""
    n, bands = 3, 2
    f = File()
    W, R, V, s, rows = f.weight(K, J), f.weight(J, J), f.weight(J, J), np.zeros((1, J), np.float32), []
    for t in range(n):
        frame, h = f.op("Gather", "x", np.array(t), axis=1), np.zeros((1, J), np.float32)
        for band in range(bands):
            x = f.op("Gather", frame, np.array(band), axis=1)
            h = f.op("Tanh", f.op("Add", f.op("MatMul", x, W), f.op("MatMul", h, R)))
        s = f.op("Tanh", f.op("Add", f.op("MatMul", h, R), f.op("MatMul", s, V)))
        rows.append(f.op("Unsqueeze", s, np.array([1])))
    path = f.save(tmp_path / "m.onnx", f.op("Concat", *rows, axis=1), n, (1, n, bands, K))
    model = undertow.load(path)
    X = np.random.default_rng(1).standard_normal((1, n, bands, K)).astype(np.float32)
    (want,) = session_of(path).run(None, {"x": X})
    assert model.inputs["x"].shape == (bands, K)
    np.testing.assert_allclose(model.run(X[0]), want[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("what", ["end0", "row0", "gives0"])
def test_names_that_the_loop_would_get(what, tmp_path):
    """The file has a value of that name, which is something else."""
    f = File()
    output = written_out(f, lstm, 3, last=False)
    named = f"{output}.{what}"
    f.nodes.append(("", helper.make_node("Relu", ["x"], [named])))
    f.nodes.append(("", helper.make_node("ReduceSum", [named], ["z"], keepdims=1)))
    result = f.op("Add", output, "z")
    path = f.save(tmp_path / "m.onnx", result, 3)
    X = np.random.default_rng(1).standard_normal((1, 3, K)).astype(np.float32)
    (want,) = session_of(path).run(None, {"x": X})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", undertow.ModelWarning)  # of a clip
        model = undertow.load(path)
    np.testing.assert_allclose(np.ravel(model.run(X)), want.ravel(), rtol=0, atol=1e-5)


def test_a_row_of_each_timestep_that_is_not_computed_alike_is_no_frame(tmp_path):
    """tanh(W x_0 + R h) and tanh(W x_1 + R h_0 + c): a stream would give both rows in each step."""
    f = File()
    W, R, rows, h = f.weight(K, J), f.weight(J, J), [], np.zeros((1, J), np.float32)
    for t in range(2):
        total = f.op("Add", f.op("MatMul", f.op("Gather", "x", np.array(t), axis=1), W), f.op("MatMul", h, R))
        h = f.op("Tanh", total if t == 0 else f.op("Add", total, np.float32(1e-3)))
        rows.append(f.op("Unsqueeze", h, np.array([1])))
    path = f.save(tmp_path / "m.onnx", f.op("Concat", *rows, axis=1), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", undertow.ModelWarning)  # of a clip
        assert undertow.load(path).inputs["x"].shape == (2, K)
