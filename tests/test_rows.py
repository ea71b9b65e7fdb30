# SPDX-License-Identifier: MIT
"""Recurrent cells with rows side by side and with steps inside of one frame."""

import numpy as np
import pytest

import networks
import oracle
import undertow
from tolerances import FLOAT32_CELL, FLOAT64_AGREE
from undertow import reference
from undertow.errors import ShapeError, UnsupportedError
from undertow.ir.activations import Activation
from undertow.ir.graph import Graph
from undertow.model import Model

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


# -- the engine -------------------------------------------------------------------------------------------------------


def by_name(y, graph):
    return y if isinstance(y, dict) else {next(iter(graph.outputs)): y}


def one(X):
    return X if len(X) > 1 else next(iter(X.values()))


def same_bits(got, expected, what=""):
    for name, want in expected.items():
        got_bits, want_bits = (np.ascontiguousarray(y, np.float32).view(np.uint32) for y in (got[name], want))
        np.testing.assert_array_equal(got_bits, want_bits, f"{name} {what}")


@pytest.mark.parametrize(("op", "options"), OPTIONS)
@pytest.mark.parametrize(("rows", "steps", "start", "reverse"), list(cases()))
def test_engine_is_oracle(op, options, rows, steps, start, reverse, isa):
    graph = build(op, options, rows, steps, start, reverse)
    X = frames(graph, 4)
    expected, ends = by_oracle(graph, X)
    got, state = Model.from_graph(graph, isa).run_with_state(X)
    got = by_name(got, graph)
    for name, want in expected.items():
        np.testing.assert_allclose(got[name], want, rtol=0, atol=FLOAT32_CELL)
    for name, want in ends.items():
        np.testing.assert_allclose(state[name], want, rtol=0, atol=FLOAT32_CELL)


def ordinary(graph, X, isa):
    """The cell of `build` by the ordinary layer, row by row and step by step: (outputs, final states)."""
    (node,) = graph.nodes
    steps = node.attrs["steps"]
    x = X["x"] if steps else X["x"][:, None]
    by_row = x.ndim == 4
    x = x if by_row else x[:, :, None]
    T, L, n_rows, n_in = x.shape
    plain = Graph()
    plain.input("x", n_in)
    widths = [node.weights["R"].shape[2], node.weights["R"].shape[1]][: 2 if node.op == "lstm" else 1]
    states = [plain.state(f"cell.{s}", (n,)) for s, n in zip("hc", widths, strict=False)]
    attrs = node.attrs | {"steps": False, "reverse": node.attrs["reverse"] and not steps}
    out = plain.add(
        node.op, ["x"], name="cell", attrs=attrs, weights=node.weights, states=states, precisions=node.precisions
    )
    for name, value in zip("yc", out if isinstance(out, tuple) else (out,), strict=False):
        plain.output(name, value)
    model = Model.from_graph(plain, isa)
    turn = slice(None, None, -1) if steps and node.attrs["reverse"] else slice(None)
    outputs = {name: np.zeros((T, L, n_rows, n), np.float32) for name, n in zip("yc", widths, strict=False)}
    ends = {s: np.zeros((n_rows, n), np.float32) for s, n in zip(states, widths, strict=True)}
    for b in range(n_rows):
        row = lambda a: np.asarray(a, np.float32).reshape(n_rows, -1)[b]  # noqa: E731, B023
        pieces = [range(T)] if node.states else [[t] for t in range(T)]
        for ts in pieces:
            given = [graph.states[s].init for s in node.states] or [X[name][ts[0]] for name in graph.inputs[1:]]
            now = {s: row(a) for s, a in zip(states, given, strict=False)}
            walked = x[ts, turn, b].reshape(-1, n_in)
            y, now = model.run_with_state(walked, state=now)
            for name, value in by_name(y, plain).items():
                outputs[name][ts, turn, b] = value.reshape(len(ts), L, -1)
        for s in states:
            ends[s][b] = now[s]

    def as_frame(a):
        a = a if by_row else a[:, :, 0]
        return a if steps else a[:, 0]

    return {name: as_frame(a) for name, a in outputs.items()}, [e if by_row else e[0] for e in ends.values()]


PRECISIONS = ["float32", "float16", "bfloat16", "int16", "int8", "int4", "sparse float32", "sparse int8"]


@pytest.mark.parametrize(
    ("hidden", "precision"), [(3, "float32"), (16, "float32"), *((21, precision) for precision in PRECISIONS)]
)
@pytest.mark.parametrize(("rows", "steps", "start", "reverse"), list(cases()))
@pytest.mark.parametrize(("op", "options"), OPTIONS)
def test_bits_are_those_of_ordinary_layers(op, options, hidden, rows, steps, start, reverse, precision):
    """In blocks, step by step, and in a pool."""
    graph = build(op, options, rows, steps, start, reverse, hidden=hidden)
    (node,) = graph.nodes
    keys = [key for key in ("W", "R", "projection") if key in node.weights]
    node.precisions.update(dict.fromkeys(keys, precision) if precision != "float32" else {})
    X = frames(graph, 13)
    isa = next(name for name, runs in undertow.isas().items() if runs)
    expected, ends = ordinary(graph, X, isa)
    model = Model.from_graph(graph, isa)
    got, state = model.run_with_state(X)
    same_bits(by_name(got, graph), expected, "in blocks")
    same_bits(state, dict(zip(node.states, ends, strict=False)), "at the end")

    stream = model.stream()
    stepped = [by_name(stream.step(one({name: x[t] for name, x in X.items()})), graph) for t in range(13)]
    same_bits({name: np.stack([y[name] for y in stepped]) for name in expected}, expected, "step by step")
    for name, end in zip(node.states, ends, strict=False):
        assert stream.state[name].shape == graph.states[name].shape
        same_bits({name: stream.state[name]}, {name: end}, "of the stream")

    pool = model.pool(3)
    ids = pool.open(3)
    wrong = frames(graph, 13, seed=8)
    for t in range(13):
        both = {name: np.stack([wrong[name][t], x[t], -x[t]]) for name, x in X.items()}
        y = by_name(pool.step(ids, one(both)), graph)
        same_bits({name: a[1] for name, a in y.items()}, {name: a[t] for name, a in expected.items()}, "in a pool")


@pytest.mark.parametrize(("op", "options"), OPTIONS)
@pytest.mark.parametrize("rows", [1, 3])
def test_whole_sequences_backwards_with_rows(op, options, rows, isa):
    graph = build(op, options, rows, None, "states", reverse=True, hidden=18)
    X = frames(graph, 60)
    model = Model.from_graph(graph, isa)
    assert not model.streamable
    got, state = model.run_with_state(X)
    expected, ends = ordinary(graph, X, isa)
    same_bits(by_name(got, graph), expected)
    same_bits(state, dict(zip(graph.nodes[0].states, ends, strict=False)))


@pytest.mark.parametrize("name", ["framed", "cached"])
def test_networks_keep_the_laws(name):
    """Every cut of a stream, every instruction set, one thread or two; and the reference."""
    graph = getattr(networks, name)()
    X = frames(graph, 150)
    expected = reference.run(graph, X)
    first = None
    for isa in [name for name, runs in undertow.isas().items() if runs]:
        model = Model.from_graph(graph, isa)
        whole = model.run(X)
        for output, want in expected.items():
            np.testing.assert_allclose(whole[output], want, rtol=0, atol=2e-5)
        first = first or whole
        same_bits(whole, first, f"on {isa}")
        stream, parts = model.stream(), []
        for start, stop in [(0, 1), (1, 2), (2, 50), (50, 57), (57, 150)]:
            parts.append(stream.run(X["x"][start:stop]))
        same_bits({output: np.concatenate([p[output] for p in parts]) for output in whole}, first, "in chunks")
        pool = model.pool(40)
        ids = pool.open(40)
        Y = pool.run(ids, np.ascontiguousarray(np.broadcast_to(X["x"][:30], (40, 30, *X["x"].shape[1:]))))
        for output, y in Y.items():
            same_bits({output: y}, {output: np.broadcast_to(first[output][:30], y.shape)}, "of a pool")


def test_frames_behind_the_last_one_are_given_once():
    """In a whole sequence, a cell that forgets walks the one frame that is left."""
    rng = np.random.default_rng(0)
    g = Graph()
    x = g.input("x", 6)
    (h,) = networks.cell(g, rng, "gru", g.add("flip", [x]), 12)
    end = g.add("reshape", [g.add("last", [h])], attrs={"shape": (3, 4)})
    (y,) = networks.cell(g, rng, "gru", end, 5, "inner", given=[], steps=True)
    g.output("y", y)
    X = {"x": rng.normal(size=(70, 6)).astype(np.float32)}
    got = Model.from_graph(g).run(X)
    assert got.shape == (3, 5)
    np.testing.assert_allclose(got, reference.run(g, X), rtol=0, atol=FLOAT32_CELL)


def test_what_print_and_states_say():
    model = Model.from_graph(networks.framed())
    text = str(model)
    assert "5 steps of a frame, backwards, reset after, sigmoid tanh, forgets" in text
    assert "5 rows, forwards" in text
    assert "4 steps of a frame, 2 rows, forwards, tanh, starts from an input" in text
    stream = model.stream()
    h, c = stream.state["over_time"]
    assert h.shape == c.shape == (5, 17)
    stream.state["kept"] = np.ones((2, 16))
    assert (stream.state["kept.h"] == 1).all()
