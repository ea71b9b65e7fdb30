# SPDX-License-Identifier: MIT
"""Loops over time that an exporter has written out: each is streamed, against ONNX Runtime on the file as it is."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

import undertow
from onnx_files import helper, model_of, session_of

N, K, J = 5, 3, 4


class File:
    """A file that is written node by node: [1, N, K] -> what `save` is told."""

    def __init__(self, seed=11, opset=18):
        self.rng, self.opset = np.random.default_rng(seed), opset
        self.nodes, self.weights = [], {}

    def random(self, *shape):
        return (self.rng.standard_normal(shape) * 0.5).astype(np.float32)

    def const(self, array, name=None):
        name = name or f"c{len(self.weights)}"
        self.weights[name] = np.asarray(array)
        return name

    def op(self, op, *inputs, n_outputs=1, **attrs):
        outputs = [f"{op.lower()}{len(self.nodes)}" + f"_{i}" * (n_outputs > 1) for i in range(n_outputs)]
        self.nodes.append(helper.make_node(op, inputs, outputs, name=f"node{len(self.nodes)}", **attrs))
        return outputs if n_outputs > 1 else outputs[0]

    def pick(self, kind, x, t, axis=1):
        """Timestep t of x, as exporters write it."""
        if kind == "Gather":
            return self.op("Gather", x, self.const(np.array(t)), axis=axis)
        end = N + 7 if t == N - 1 else t + 1
        one = self.op("Slice", x, *(self.const(np.array([n])) for n in (t, end, axis)))
        return self.op("Squeeze", one, self.const(np.array([axis])))

    def save(self, path, outputs, x_shape=(1, N, K)):
        model = model_of(self.nodes, {"x": list(x_shape)}, list(outputs), self.weights, self.opset)
        path.write_bytes(model.SerializeToString())
        return path


def ops(model):
    return sorted(node.op for node in model.graph.nodes)


def check(path, streams=True):
    """Every output, whole and step by step; gives the model."""
    with nullcontext() if streams else pytest.warns(undertow.ModelWarning, match="a copy that needs the one before"):
        model = undertow.load(path)
    X = np.random.default_rng(3).standard_normal((N, K)).astype(np.float32)
    expected = session_of(path).run(None, {"x": X[None]})
    if not streams:
        assert model.inputs["x"].shape == (N, K)  # a clip
        for y, want in zip([model.run(X[None])], expected, strict=True):
            np.testing.assert_allclose(np.ravel(y), want.ravel(), rtol=0, atol=1e-6)
        return model
    assert model.inputs["x"].shape == (K,)
    made, stream = model.run(X), model.stream()
    stepped = [stream.step(x) for x in X]
    if len(model.outputs) == 1:
        made, stepped = {next(iter(model.outputs)): made}, [{next(iter(model.outputs)): y} for y in stepped]
    for (name, y), want in zip(made.items(), expected, strict=True):
        np.testing.assert_array_equal(np.stack([row[name] for row in stepped]), y)
        y = y[-1] if want.size < y.size else y  # what the file gives once per sequence, a stream gives at every step
        np.testing.assert_allclose(np.ravel(y), want.ravel(), rtol=0, atol=1e-6)
    return model


def rnn(f, pick="Gather", start=None, W=None, R=None, b=None):
    """What torch.export leaves of nn.RNN: W x of the whole sequence, then R h of one timestep after the other."""
    W = f.const(f.random(K, J) if W is None else W)
    R = [f.const(f.random(J, J))] * N if R is None else R
    b = f.const(f.random(J) if b is None else b)
    wx, h, states = f.op("MatMul", "x", W), start, []
    if pick == "Split":
        parts = f.op("Split", wx, f.const(np.ones(N, np.int64)), n_outputs=N, axis=1)
        parts = [f.op("Squeeze", part, f.const(np.array([1]))) for part in parts]
    else:
        parts = [f.pick(pick, wx, t) for t in range(N)]
    for t in range(N):
        before = f.weights[b] if h is None else f.op("Add", f.op("MatMul", h, R[t]), b)
        before = f.const(before[None]) if h is None else before
        h = f.op("Tanh", f.op("Add", before, parts[t]))
        states.append(h)
    return states


def stacked(f, values, axis=1):
    return f.op("Concat", *(f.op("Unsqueeze", v, f.const(np.array([axis]))) for v in values), axis=axis)


@pytest.mark.parametrize("pick", ["Gather", "Slice", "Split"])
@pytest.mark.parametrize("start", ["computed in advance", "zeros", "numbers"])
def test_an_rnn(pick, start, tmp_path):
    f = File()
    h = {"computed in advance": None, "zeros": np.zeros((1, J), np.float32), "numbers": f.random(1, J)}[start]
    states = rnn(f, pick, None if h is None else f.const(h))
    model = check(f.save(tmp_path / "m.onnx", [stacked(f, states)]))
    assert ops(model) == ["rnn"]


def test_the_last_copy_is_used_alone(tmp_path):
    f = File()
    states = rnn(f)
    head = f.op("MatMul", states[-1], f.const(f.random(J, 2)))
    assert "last" in ops(check(f.save(tmp_path / "m.onnx", [stacked(f, states), head])))


def test_two_layers_one_after_the_other(tmp_path):
    f = File()
    lower = stacked(f, rnn(f))
    R, b = f.const(f.random(J, J)), f.const(f.random(J))
    wx, h, states = f.op("MatMul", lower, f.const(f.random(J, J))), f.const(np.zeros((1, J), np.float32)), []
    for t in range(N):
        h = f.op("Tanh", f.op("Add", f.op("Add", f.op("MatMul", h, R), b), f.pick("Slice", wx, t)))
        states.append(h)
    assert ops(check(f.save(tmp_path / "m.onnx", [stacked(f, states)]))) == ["rnn", "rnn"]


def lstm(f, n_heads=1, last=False):
    W, U, b = f.const(f.random(K, 4 * J)), f.const(f.random(J, 4 * J)), f.const(f.random(4 * J))
    heads = [f.const(f.random(J, 2)) for _ in range(n_heads)]
    h = c = f.const(np.zeros((1, J), np.float32))
    rows = [[] for _ in heads]
    for t in range(N):
        gates = f.op("Add", f.op("Add", f.op("MatMul", f.pick("Gather", "x", t), W), f.op("MatMul", h, U)), b)
        # each copy with a constant of its own, as the older exporter writes them
        i, o, g, q = f.op("Split", gates, f.const(np.full(4, J)), n_outputs=4, axis=1)
        c = f.op("Add", f.op("Mul", f.op("Sigmoid", g), c), f.op("Mul", f.op("Sigmoid", i), f.op("Tanh", q)))
        h = f.op("Mul", f.op("Sigmoid", o), f.op("Tanh", c))
        for row, head in zip(rows, heads, strict=True):
            row.append(f.op("MatMul", h, head))
    return [rows[0][-1]] if last else [stacked(f, row) for row in rows]


def test_an_lstm(tmp_path):
    f = File()
    assert ops(check(f.save(tmp_path / "m.onnx", lstm(f)))) == ["dense", "lstm"]


def test_an_lstm_of_which_the_last_copy_is_used_alone(tmp_path):
    """Nobody joins what the copies give, and all but the last of their heads are without a use."""
    f = File()
    assert ops(check(f.save(tmp_path / "m.onnx", lstm(f, last=True)))) == ["dense", "last", "lstm"]


@pytest.mark.parametrize("start", [None, "numbers"])
def test_an_rnn_of_which_the_last_copy_is_used_alone(start, tmp_path):
    f = File()
    h = rnn(f, start=start and f.const(f.random(1, J)))[-1]
    made = f.op("Add", f.op("MatMul", h, f.const(f.random(J, 2))), f.const(f.random(2)))
    assert ops(check(f.save(tmp_path / "m.onnx", [made]))) == ["dense", "last", "rnn"]


def test_a_last_copy_that_differs(tmp_path):
    f = File()
    R = [f.const(f.random(J, J))] * (N - 1) + [f.const(f.random(J, J))]
    check(f.save(tmp_path / "m.onnx", [rnn(f, R=R)[-1]]), streams=False)


def test_two_outputs_of_one_loop(tmp_path):
    """The cell is computed once."""
    f = File()
    assert ops(check(f.save(tmp_path / "m.onnx", lstm(f, 2)))).count("lstm") == 1


def test_what_a_copy_takes_of_the_input_before(tmp_path):
    """y = tanh(W x + U x'), x' of the timestep before."""
    f = File()
    W, U, before, rows = f.const(f.random(K, J)), f.const(f.random(K, J)), f.const(np.zeros((1, K), np.float32)), []
    for t in range(N):
        x = f.pick("Gather", "x", t)
        rows.append(f.op("Tanh", f.op("Add", f.op("MatMul", x, W), f.op("MatMul", before, U))))
        before = x
    check(f.save(tmp_path / "m.onnx", [stacked(f, rows)]))


def test_axes_as_attributes(tmp_path):
    """Squeeze and Unsqueeze before operator set 13."""
    f = File(opset=12)
    W, R, h, rows = f.const(f.random(K, J)), f.const(f.random(J, J)), f.const(np.zeros((1, 1, J), np.float32)), []
    for t in range(N):
        x = f.op("Slice", "x", *(f.const(np.array([n])) for n in (t, t + 1, 1)))
        h = f.op("Tanh", f.op("Add", f.op("MatMul", x, W), f.op("MatMul", h, R)))
        rows.append(h)
    check(f.save(tmp_path / "m.onnx", [f.op("Concat", *rows, axis=1)]))


@pytest.mark.parametrize("gemm", [False, True])
@pytest.mark.parametrize("starts", ["zeros", "numbers"])
def test_a_first_copy_without_what_adds_zeros(starts, gemm, tmp_path):
    """tf2onnx leaves out R h of the first copy, and makes what it can a Gemm; right, as long as h was zeros there."""
    f = File()
    W, R, b = f.const(f.random(K, J)), f.const(f.random(J, J)), f.const(f.random(J))
    h, rows = None, []
    c = f.const(np.zeros((1, J), np.float32) if starts == "zeros" else f.random(1, J))
    for t in range(N):
        x = f.pick("Gather", "x", t)
        rh = None if h is None else f.op("MatMul", h, R)
        if gemm:
            gates = f.op("Gemm", x, W, b) if h is None else f.op("Add", f.op("Gemm", x, W, rh), b)
        else:
            gates = f.op("MatMul", x, W)
            gates = f.op("Add", gates if h is None else f.op("Add", gates, rh), b)
        c = f.op("Add", f.op("Mul", c, f.op("Sigmoid", gates)), f.op("Tanh", gates))
        h = f.op("Tanh", c)
        rows.append(h)
    model = check(f.save(tmp_path / "m.onnx", [stacked(f, rows)]))
    assert {"rnn", "state_write"} & set(ops(model))


def test_a_first_copy_that_is_like_an_addend_and_like_the_sum(tmp_path):
    """h R + (x W + b) as two Gemms, and x W + (b + 0) of the first copy as one, whose bias has become a row."""
    f = File()
    W, R, b = f.const(f.random(K, J)), f.const(f.random(J, J)), f.random(J)
    row, bias, h, rows = f.const(b[None]), f.const(b), None, []
    for t in range(N):
        x = f.pick("Gather", "x", t)
        gates = f.op("Gemm", x, W, row) if h is None else f.op("Gemm", h, R, f.op("Gemm", x, W, bias))
        h = f.op("Tanh", gates)
        rows.append(h)
    assert ops(check(f.save(tmp_path / "m.onnx", [stacked(f, rows)]))) == ["rnn"]


@pytest.mark.parametrize("order", ["xhm", "hxm", "xmh", "hmx"])
def test_a_first_copy_of_a_sum_that_lacks_one_of_three(order, tmp_path):
    """h = tanh(U x + R h + V m), m = A m + x: with h zeros, an addend of the inner sum is missing, or the outer sum."""
    f = File()
    W = {"x": f.const(f.random(K, J)), "h": f.const(f.random(J, J)), "m": f.const(f.random(K, J))}
    A, h, m, rows = f.const(f.random(K, K)), None, f.const(np.zeros((1, K), np.float32)), []
    for t in range(N):
        x = f.pick("Gather", "x", t)
        m = f.op("Add", f.op("MatMul", m, A), x)
        terms = [f.op("MatMul", v, W[k]) for k in order if (v := {"x": x, "h": h, "m": m}[k]) is not None]
        total = terms[0]
        for term in terms[1:]:
            total = f.op("Add", total, term)
        h = f.op("Tanh", total)
        rows.append(h)
    check(f.save(tmp_path / "m.onnx", [stacked(f, rows)]))


def test_a_first_copy_without_what_is_no_zeros(tmp_path):
    """Where h was other numbers, R h was left out by whoever wrote the net: it is carried beside h, from zeros."""
    f = File()
    W, R = f.const(f.random(K, J)), f.const(f.random(J, J))
    h, rows = f.const(f.random(1, J)), []
    for t in range(N):
        a = f.op("MatMul", f.pick("Gather", "x", t), W)
        a = a if t == 0 else f.op("Add", a, f.op("MatMul", h, R))
        h = f.op("Tanh", f.op("Add", a, h))
        rows.append(h)
    assert len(check(f.save(tmp_path / "m.onnx", [stacked(f, rows)])).states) == 2


# -- what only looks like a loop stays one frame --------------------------------------------------------------------


def test_a_copy_with_other_weights(tmp_path):
    f = File()
    R = [f.const(f.random(J, J))] * (N - 1) + [f.const(f.random(J, J))]
    check(f.save(tmp_path / "m.onnx", [stacked(f, rnn(f, R=R))]), streams=False)


def test_a_first_copy_that_did_not_start_from_zeros(tmp_path):
    f = File()
    states = rnn(f, b=np.zeros(J, np.float32))
    first = f.nodes[[n.op_type for n in f.nodes].index("Add")]
    f.weights[first.input[0]] = f.random(1, J)  # R h, of an h that nobody knows
    check(f.save(tmp_path / "m.onnx", [stacked(f, states)]))


def test_a_copy_in_the_middle_that_somebody_needs(tmp_path):
    f = File()
    states = rnn(f)
    f.nodes.append(helper.make_node("Add", [stacked(f, states), states[1]], ["y"]))
    check(f.save(tmp_path / "m.onnx", ["y"]), streams=False)


def test_timesteps_out_of_order(tmp_path):
    f = File()
    wx, h, rows = f.op("MatMul", "x", f.const(f.random(K, J))), f.const(np.zeros((1, J), np.float32)), []
    R = f.const(f.random(J, J))
    for t in (1, 0, 2, 3, 4):
        h = f.op("Tanh", f.op("Add", f.op("MatMul", h, R), f.pick("Gather", wx, t)))
        rows.append(h)
    check(f.save(tmp_path / "m.onnx", [stacked(f, rows)]), streams=False)


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_copies_that_start_from_what_the_first_computes(factor, tmp_path):
    """x_t / 2 + x_(t - 1) / 2, with the first timestep in place of the one before it."""
    f = File()
    half, rows, before = f.const(np.float32(factor)), [], None
    for t in range(N):
        now = f.op("Mul", f.pick("Gather", "x", t), half)
        before = now if before is None else before
        rows.append(f.op("Add", now, before))
        before = now
    check(f.save(tmp_path / "m.onnx", [stacked(f, rows)]), streams=False)
