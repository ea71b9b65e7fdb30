# SPDX-License-Identifier: MIT
"""Every cell with every option against the float64 oracle, on every instruction set."""

import numpy as np
import pytest

import oracle
from networks import N_ACTS, single
from tolerances import FLOAT32_CELL, FLOAT32_MODEL
from undertow.ir.activations import KINDS, SIGMOID, TANH, Activation
from undertow.ir.graph import Graph
from undertow.model import Model

# undertow gate order -> ONNX gate order, which the oracle speaks
TO_ONNX = {"rnn": [0], "gru": [0, 1, 2], "lstm": [0, 3, 1, 2]}
SIZES = [(1, 1), (5, 3), (16, 16), (15, 17), (40, 33), (7, 64), (130, 100)]


def expected(graph, X):
    """The same layer through the oracle: Y (T, H) and, for an LSTM, the final c."""
    node = graph.nodes[0]
    w, a = node.weights, node.attrs
    order = TO_ONNX[node.op]
    hidden = w["W"].shape[1]
    flat = lambda m: m[order].reshape(-1, m.shape[-1])[None]  # noqa: E731
    bias = w.get("b", np.zeros((len(order), hidden)))[order].astype(np.float64)
    recurrent_bias = np.zeros_like(bias)
    if "rb_n" in w:
        recurrent_bias[2] = w["rb_n"]
    B = np.concatenate([bias, recurrent_bias]).reshape(1, -1)
    h0, *c0 = [np.zeros(s.shape) if s.init is None else s.init for s in graph.states.values()]
    specs = [(act.kind, act.alpha, act.beta) for act in a["activations"]]
    options = {"direction": "reverse" if a["reverse"] else "forward", "activations": specs, "clip": a["clip"]}
    args = (X[:, None], flat(w["W"]), flat(w["R"]), B)
    if node.op == "rnn":
        Y, _ = oracle.rnn(*args, h0=h0[None, None], **options)
        return Y[:, 0, 0], None
    if node.op == "gru":
        Y, _ = oracle.gru(*args, h0=h0[None, None], linear_before_reset=int(a["reset_after"]), **options)
        return Y[:, 0, 0], None
    P = w["peephole"][[0, 2, 1]].reshape(1, -1) if "peephole" in w else None
    Y, _, C = oracle.lstm(
        *args, h0=h0[None, None], c0=c0[0][None, None], peephole=P, input_forget=int(a["input_forget"]),
        projection=w["projection"][None] if "projection" in w else None, **options,
    )  # fmt: skip
    return Y[:, 0, 0], C[0, 0]


def check(graph, isa, T, tolerance, seed=1):
    X = np.random.default_rng(seed).normal(size=(T, graph.shape("x")[0])).astype(np.float32)
    model = Model.from_graph(graph, isa)
    assert model.isa == isa
    got = model.run(X)
    Y, c = expected(graph, X.astype(np.float64))
    y = got["y"] if isinstance(got, dict) else got
    error = np.abs(y - Y)
    worst = np.unravel_index(error.argmax(), error.shape)
    assert error.max() < tolerance, f"at {worst}: expected {Y[worst]!r}, got {y[worst]!r} on {isa}"
    if c is not None:
        last = got["c"][0 if graph.nodes[0].attrs["reverse"] else -1]
        np.testing.assert_allclose(last, c, rtol=tolerance, atol=tolerance)


OPTIONS = {
    "rnn": [{}, {"bias": False, "start": True}, {"reverse": True}, {"activations": (Activation("relu"),), "clip": 3.0}],
    "gru": [
        {}, {"reset_after": True}, {"start": True, "clip": 1.0}, {"reverse": True, "reset_after": True, "bias": False},
    ],
    "lstm": [
        {}, {"peephole": True}, {"input_forget": True}, {"clip": 0.7}, {"projection": 2},
        {"reverse": True, "start": True},
        {"peephole": True, "projection": 3, "clip": 1.5, "input_forget": True, "start": True, "reverse": True},
    ],
}  # fmt: skip


@pytest.mark.parametrize("n_in,hidden", SIZES)
@pytest.mark.parametrize("op,options", [(op, o) for op, many in OPTIONS.items() for o in many], ids=str)
def test_against_oracle(op, options, n_in, hidden, isa):
    if options.get("projection", 0) > hidden:
        options = {**options, "projection": 1}
    rng = np.random.default_rng(hidden * 1000 + n_in)
    check(single(rng, op, n_in, hidden, **options), isa, 12, FLOAT32_CELL if hidden <= 64 else FLOAT32_MODEL)


@pytest.mark.parametrize("op,place", [(op, place) for op, n in N_ACTS.items() for place in range(n)])
@pytest.mark.parametrize("kind", [k for k in KINDS if KINDS[k][0] < 13])  # those that ONNX lists for cells
def test_every_activation_in_every_place(op, place, kind, isa):
    acts = list({"rnn": [TANH], "gru": [SIGMOID, TANH], "lstm": [SIGMOID, TANH, TANH]}[op])
    parameters = {"affine": (0.3, 0.1), "leaky_relu": (0.2,), "thresholded_relu": (0.3,), "scaled_tanh": (0.8, 0.6)}
    acts[place] = Activation(kind, *parameters.get(kind, ()))
    rng = np.random.default_rng(place)
    # Two timesteps: unbounded activations make the recurrence expand, and rounding with it.
    check(single(rng, op, 9, 21, activations=tuple(acts), start=True), isa, 2, FLOAT32_CELL * 4)


@pytest.mark.parametrize("op", N_ACTS)
def test_a_thousand_steps(op, isa):
    check(single(np.random.default_rng(3), op, 11, 24), isa, 1000, FLOAT32_MODEL)


def test_first_lesson():
    """h = tanh(I x) for x = (0.5, -0.5): the digits of a textbook."""
    import undertow

    model = undertow.Sequential([undertow.RNN(np.eye(2), np.zeros((2, 2)))])
    assert (
        model.stream().step(np.array([0.5, -0.5], np.float32)).round(4).tolist()
        == np.float32([0.4621, -0.4621]).tolist()
    )


def test_clamping_state():
    """h = clip(a h + b x, -2, 2)."""
    import undertow

    act = undertow.Activation("clip", -2, 2)
    stream = undertow.Sequential([undertow.RNN([[1.0]], [[0.5]], activation=act)]).stream()
    seen = [float(stream.step(np.float32([x]))[0]) for x in (1, 1, 1, 1, -9, 0)]
    assert seen == [1.0, 1.5, 1.75, 1.875, -2.0, -1.0]


@pytest.mark.parametrize("op", ["rnn", "gru", "lstm"])
def test_a_masked_cell_with_a_gate_ends_where_its_sequence_does(op):
    """Also where the gate has been shut before, so that the cell goes frame by frame."""
    rng = np.random.default_rng(3)
    node = single(rng, op, 5, 4, masked=True).nodes[0]
    g = Graph()
    x, gate = g.input("x", 5), g.input("gate", 1)
    states = [g.state(f"cell.{letter}", (4,)) for letter in ("hc" if op == "lstm" else "h")]
    y = g.add(op, [x, gate], name="cell", weights=node.weights, attrs=node.attrs, states=states)
    g.output("y", y[0] if isinstance(y, tuple) else y)
    model = Model.from_graph(g)
    X = {"x": rng.standard_normal((12, 5)).astype(np.float32), "gate": np.ones((12, 1), np.float32)}
    X["gate"][[1, 6, 9]] = 0
    for n in (2, 7, 9, 12):
        Y, end = model.run_with_state(X, length=n)
        short, expected_end = model.run_with_state({name: x[:n] for name, x in X.items()})
        assert Y[:n].tobytes() == short.tobytes() and not Y[n:].any()
        assert {name: state.tobytes() for name, state in end.items()} == {
            name: state.tobytes() for name, state in expected_end.items()
        }
