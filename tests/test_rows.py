# SPDX-License-Identifier: MIT
"""Recurrent cells with rows side by side and with steps inside of one frame."""

import numpy as np
import pytest

import networks
import oracle
from tolerances import FLOAT64_AGREE
from undertow import reference
from undertow.activations import Activation
from undertow.errors import ShapeError, UnsupportedError
from undertow.graph import Graph

#: ONNX's gate order out of undertow's
ORDER = {"rnn": [0], "gru": [0, 1, 2], "lstm": [0, 3, 1, 2]}
OPTIONS = [
    pytest.param("rnn", {}, id="rnn"),
    pytest.param("rnn", {"bias": False, "clip": 0.4}, id="rnn-clip"),
    pytest.param("gru", {"reset_after": True}, id="gru-after"),
    pytest.param("gru", {}, id="gru-before"),
    pytest.param("gru", {"clip": 0.5, "activations": (Activation("hard_sigmoid"), Activation("relu"))}, id="gru-odd"),
    pytest.param("lstm", {}, id="lstm"),
    pytest.param("lstm", {"peephole": True, "input_forget": True}, id="lstm-peephole"),
    pytest.param("lstm", {"projection": 3, "peephole": True}, id="lstm-projection"),
]
#: rows B and steps L of a frame; None: no such axis
SHAPES = [(3, None), (None, 4), (3, 4), (1, 1), (None, None)]
STARTS = ["states", "inputs", "zero"]


def build(op, options, rows, steps, start, reverse=False, n_in=5, hidden=6, seed=3):
    """A graph of one cell with outputs y (and c)."""
    rng = np.random.default_rng(seed)
    g = Graph(op)
    shape = (*(() if steps is None else (steps,)), *(() if rows is None else (rows,)), n_in)
    x, given = g.input("x", shape), None
    sizes = [("h0", options.get("projection") or hidden), *([("c0", hidden)] if op == "lstm" else [])]
    if start != "states":
        given = [g.input(s, (*(() if rows is None else (rows,)), n)) for s, n in sizes] if start == "inputs" else []
    out = networks.cell(
        g, rng, op, x, hidden, given=given, start=start == "states", steps=steps is not None, reverse=reverse, **options
    )
    for name, value in zip(("y", "c"), out, strict=False):
        g.output(name, value)
    return g


def frames(graph, T=5, seed=1):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(T, *graph.shape(name))).astype(np.float32) for name in graph.inputs}


def by_oracle(graph, X, state=None):
    """The cell of `build` in float64 by the oracle, one row of one frame at a time: (outputs, final states)."""
    (node,) = graph.nodes
    w, attrs = {k: np.asarray(v, np.float64) for k, v in node.weights.items()}, node.attrs
    G, H = w["W"].shape[:2]
    order = ORDER[node.op]
    onnx = lambda a: a[order].reshape(1, G * H, *a.shape[2:])  # noqa: E731
    bias = np.zeros((2, G, H))
    bias[0] = w.get("b", 0.0)
    if "rb_n" in w:
        bias[1, 2] = w["rb_n"]
    options = {"clip": attrs["clip"], "activations": [(a.kind, a.alpha, a.beta) for a in attrs["activations"]]}
    if node.op == "gru":
        options["linear_before_reset"] = int(attrs["reset_after"])
    if node.op == "lstm":
        options["input_forget"] = int(attrs["input_forget"])
        options["peephole"] = w["peephole"][[0, 2, 1]].reshape(1, -1) if "peephole" in w else None
        options["projection"] = w["projection"][None] if "projection" in w else None
    B = np.concatenate([bias[0][order].reshape(-1), bias[1][order].reshape(-1)])[None]

    x = X["x"].astype(np.float64)
    x = x if attrs["steps"] else x[:, None]
    by_row = x.ndim == 4
    x = x if by_row else x[:, :, None]  # (T, L, B, I)
    T, L, n_rows, _ = x.shape
    P = w["R"].shape[2]
    y, c = np.zeros((T, L, n_rows, P)), np.zeros((T, L, n_rows, H))
    starts = [graph.states[s].init if state is None else state[s] for s in node.states]
    h_end, c_end = np.zeros((n_rows, P)), np.zeros((n_rows, H))
    for b in range(n_rows):
        row = lambda s: np.asarray(s, np.float64).reshape(n_rows, -1)[b]  # noqa: E731, B023
        now = [row(s) for s in starts]
        for t in range(T):
            if not node.states:
                now = [row(X[name][t]) for name in graph.inputs[1:]] or [np.zeros(P), np.zeros(H)]
            walk = range(L)[::-1] if attrs["reverse"] else range(L)
            for step in walk:
                start = {"h0": now[0][None, None], **({"c0": now[1][None, None]} if node.op == "lstm" else {})}
                found = getattr(oracle, node.op)(
                    x[t, step, b][None, None], onnx(w["W"]), onnx(w["R"]), B, **start, **options
                )
                now = [found[1][0, 0], *([found[2][0, 0]] if node.op == "lstm" else [])]
                y[t, step, b] = now[0]
                if node.op == "lstm":
                    c[t, step, b] = now[1]
        h_end[b] = now[0]
        if node.op == "lstm":
            c_end[b] = now[1]

    def as_frame(a):
        a = a if by_row else a[:, :, 0]
        return a if attrs["steps"] else a[:, 0]

    outputs = {"y": as_frame(y), **({"c": as_frame(c)} if node.op == "lstm" else {})}
    ends = [h_end, c_end] if by_row else [h_end[0], c_end[0]]
    return outputs, dict(zip(node.states, ends, strict=False))


def cases():
    for rows, steps in SHAPES:
        for start in STARTS:
            if steps is not None:
                yield rows, steps, start, True
            if steps is not None or start != "zero":
                yield rows, steps, start, False


@pytest.mark.parametrize(("op", "options"), OPTIONS)
@pytest.mark.parametrize(("rows", "steps", "start", "reverse"), list(cases()))
def test_reference_is_oracle(op, options, rows, steps, start, reverse):
    graph = build(op, options, rows, steps, start, reverse)
    X = frames(graph, 3)
    expected, ends = by_oracle(graph, X)
    got, state = reference.run(graph, X, return_state=True)
    got = got if isinstance(got, dict) else {"y": got}
    assert not graph.whole_sequence_nodes()
    for name, want in expected.items():
        np.testing.assert_allclose(got[name], want, rtol=0, atol=FLOAT64_AGREE)
    assert set(state) == set(ends)
    for name, want in ends.items():
        np.testing.assert_allclose(state[name], want, rtol=0, atol=FLOAT64_AGREE)


def test_reference_of_no_frames_keeps_the_shapes():
    graph = build("lstm", {"projection": 3}, 2, 4, "zero")
    outputs = reference.run(graph, frames(graph, 0))
    assert outputs["y"].shape == (0, 4, 2, 3)
    assert outputs["c"].shape == (0, 4, 2, 6)


def test_rows_without_steps_that_run_backwards_need_the_whole_sequence():
    graph = build("gru", {}, 3, None, "states", reverse=True)
    assert [node.op for node, _ in graph.whole_sequence_nodes()] == ["gru"]
    X = frames(graph, 4)
    forwards = build("gru", {}, 3, None, "states")
    want = reference.run(forwards, {"x": X["x"][::-1]})[::-1]
    np.testing.assert_allclose(reference.run(graph, X), want, rtol=0, atol=FLOAT64_AGREE)


def test_a_cell_that_forgets_is_given_once_where_its_inputs_are():
    g = Graph()
    g.input("x", 1)
    k = g.add("constant", weights={"value": np.ones((4, 2))})
    (y,) = networks.cell(g, np.random.default_rng(0), "gru", k, 3, given=[], steps=True)
    assert g.values[y].once


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"shape": (2, 3, 5)}, ShapeError, r"expected \(5,\) or \(rows, 5\)"),
        ({"shape": (5,), "attrs": {"steps": True}}, ShapeError, r"expected \(steps, 5\) or \(steps, rows, 5\)"),
        ({"shape": (3, 4)}, ShapeError, "expected"),
        ({"shape": (3, 5), "attrs": {"masked": True}}, UnsupportedError, "masked"),
        ({"shape": (5,), "states": False}, ShapeError, "has 0 states"),
        ({"shape": (3, 5), "state_shape": (6,)}, ShapeError, r"expected \(3, 6\)"),
        ({"shape": (3, 5), "h0": (6,), "states": False}, ShapeError, r"h0 .* expected \(3, 6\)"),
        ({"shape": (5,), "h0": (6,)}, ShapeError, "expected one of the two"),
        ({"shape": (5,), "h0": (6,), "states": False, "attrs": {"reverse": True}}, ShapeError, "no time to walk"),
        ({"shape": (5,), "h0": (6,), "states": False, "attrs": {"masked": True}}, UnsupportedError, "masked"),
    ],
)
def test_what_does_not_fit_is_refused(change, error, words):
    g = Graph()
    rng = np.random.default_rng(0)
    inputs = [g.input("x", change["shape"])] + ([g.input("h", change["h0"])] if "h0" in change else [])
    state_shape = change.get("state_shape", (*change["shape"][:-1], 6))
    states = [g.state("gru.h", state_shape)] if change.get("states", True) else []
    with pytest.raises(error, match=words):
        g.add("gru", inputs, weights=networks.weights(rng, "gru", 5, 6), states=states, attrs=change.get("attrs"))
