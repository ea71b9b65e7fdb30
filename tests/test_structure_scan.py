# SPDX-License-Identifier: MIT
"""ONNX models that walk time, or constants, in a Scan, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

import undertow
from decomposed import BODIES, H, I, N, T, lstm_body, ops, rnn_body, sequence_agrees
from frames import assert_same_bits
from onnx_files import BOOL, INT64, graph_of, info, node, peer, random, save, session_of
from tolerances import FLOAT32_PEER


def scan_file(tmp_path, body, batch=N, start=None, steps="T"):
    nodes, weights, states = body
    inner = graph_of(
        [*nodes, node("Identity", "h_next", "row")],
        [*states, "x"],
        [*(f"{s}_next" for s in states), "row"],
        weights,
    )
    starts = {f"{s}_0": np.zeros((batch, H), np.float32) if start is None else start[s] for s in states}
    scan = node(
        "Scan", " ".join([*starts, "X"]), " ".join([*(f"{s}_T" for s in states), "Y"]), num_scan_inputs=1, body=inner
    )
    outer = graph_of([scan], [info("X", [steps, batch, I])], [info("Y", [steps, batch, H])], starts)
    return save(outer, tmp_path)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", BODIES)
def test_scan_over_time(name, batch, tmp_path, rng):
    make, op = BODIES[name]
    path = scan_file(tmp_path, make(rng), batch)
    graph = sequence_agrees(path, random(rng, T, batch, I))
    if op is None:
        assert "state_write" in ops(graph) and not {"rnn", "gru", "lstm"} & set(ops(graph))
        assert "register: " in graph.source
    else:
        assert ops(graph) == [op], "one cell and nothing else is left"
        assert f"recovered: {op}_1" in graph.source


@pytest.mark.parametrize("name", ["lstm", "gru_after_torch", "sru"])
def test_scan_starts_where_the_file_says(name, tmp_path, rng):
    start = {"h": random(rng, 1, H), "c": random(rng, 1, H)}
    sequence_agrees(scan_file(tmp_path, BODIES[name][0](rng), start=start), random(rng, T, 1, I))


def test_scan_of_a_projected_sequence(tmp_path, rng):
    """Exporters take x W out of the loop, over all timesteps at once; the cell takes it back."""
    nodes, weights, _ = lstm_body(rng)
    nodes = [n for n in nodes if not n.output[0].startswith("xw_")]
    for n in nodes:
        n.input[:] = ["xw" + name[2:] + "_t" if name.startswith("xw_") else name for name in n.input]
    slices = [node("Split", "z", " ".join(f"xw_{k}_t" for k in "ifgo"), axis=1)]
    inner = graph_of(
        [*slices, *nodes, node("Identity", "h_next", "row")],
        ["h", "c", "z"],
        ["h_next", "c_next", "row"],
        {k: w for k, w in weights.items() if k[0] != "W"},
    )
    outside = {
        "W": np.concatenate([weights[f"W_{k}"] for k in "ifgo"], 1),
        "h_0": np.zeros((N, H), np.float32),
        "c_0": np.zeros((N, H), np.float32),
    }
    scan = node("Scan", "h_0 c_0 XW", "h_T c_T Y", num_scan_inputs=1, body=inner)
    outer = graph_of([node("MatMul", "X W", "XW"), scan], [info("X", ["T", N, I])], [info("Y", ["T", N, H])], outside)
    graph = sequence_agrees(save(outer, tmp_path), random(rng, T, N, I))
    assert ops(graph) == ["lstm"] and graph.nodes[0].weights["W"].shape == (4, H, I)


def test_scan_over_constants_is_computed(tmp_path, rng):
    body = graph_of([node("Add", "s a", "s_next"), node("Tanh", "s_next", "row")], ["s", "a"], ["s_next", "row"])
    scan = node("Scan", "zero A", "s W", num_scan_inputs=1, scan_output_axes=[1], scan_input_directions=[1], body=body)
    weights = {"A": random(rng, I, I), "zero": np.zeros(I, np.float32)}
    nodes = [scan, node("MatMul", "X W", "Y")]
    path = save(graph_of(nodes, [info("X", ["T", N, I])], [info("Y", ["T", N, I])], weights), tmp_path)
    sequence_agrees(path, random(rng, T, N, I))


BACKWARDS = {
    "input": {"scan_input_directions": [1]},
    "output": {"scan_output_directions": [1]},
    "both": {"scan_input_directions": [1], "scan_output_directions": [1]},
}


@pytest.mark.parametrize("batch", [1, N])
@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("turned", BACKWARDS)
def test_scan_backwards_in_time(turned, name, batch, tmp_path, rng):
    """A whole sequence, from its end: what the file gives, for other lengths too."""
    nodes, weights, states = BODIES[name][0](rng)
    rows = [*nodes, node("Identity", "h_next", "row")]
    inner = graph_of(rows, [*states, "x"], [*(f"{s}_next" for s in states), "row"], weights)
    starts = {f"{s}_0": random(rng, 1, H).repeat(batch, 0) for s in states}
    finals = [f"{s}_T" for s in states]
    scan = node(
        "Scan", " ".join([*starts, "X"]), " ".join([*finals, "Y"]), num_scan_inputs=1, body=inner, **BACKWARDS[turned]
    )
    outer = graph_of([scan], [info("X", ["T", batch, I])], [info(n, None) for n in ("Y", "h_T")], starts)
    path = save(outer, tmp_path)
    model = undertow.load(path)
    assert not model.streamable
    for length in (1, T, 3 * T):
        X = random(rng, length, batch, I)
        Y, end = session_of(path).run(None, {"X": X})
        for i in range(batch):
            found = model.run(X[:, i])
            np.testing.assert_allclose(found["Y"], Y[:, i], rtol=0, atol=FLOAT32_PEER)
            np.testing.assert_allclose(found["h_T"].reshape(H), end[i], rtol=0, atol=FLOAT32_PEER)


def test_one_scan_both_ways(tmp_path, rng):
    """Two scan inputs, of which one runs backwards."""
    nodes, weights, _ = rnn_body(rng)
    inner = graph_of([*nodes, node("Add", "h_next back", "row")], ["h", "x", "back"], ["h_next", "row"], weights)
    scan = node("Scan", "h_0 X Z", "h_T Y", num_scan_inputs=2, scan_input_directions=[0, 1], body=inner)
    before = [node("MatMul", "X V", "Z")]
    held = {"h_0": np.zeros((1, H), np.float32), "V": random(rng, I, H)}
    path = save(graph_of([*before, scan], [info("X", ["T", 1, I])], [info("Y", ["T", 1, H])], held), tmp_path)
    model, X = undertow.load(path), random(rng, 11, 1, I)
    (expected,) = session_of(path).run(None, {"X": X})
    np.testing.assert_allclose(model.run(X[:, 0]), expected[:, 0], rtol=0, atol=FLOAT32_PEER)


@pytest.mark.parametrize("turned", BACKWARDS)
def test_scan_backwards_behind_a_convolution_without_padding_is_refused(turned, tmp_path, rng):
    nodes, weights, _ = rnn_body(rng)
    inner = graph_of([*nodes, node("Identity", "h_next", "row")], ["h", "x"], ["h_next", "row"], weights)
    before = [
        node("Transpose", "X", "forward", perm=[1, 2, 0]),
        node("Conv", "forward F", "cut"),
        node("Transpose", "cut", "Z", perm=[2, 0, 1]),
    ]
    scan = node("Scan", "h_0 Z", "h_T Y", num_scan_inputs=1, body=inner, **BACKWARDS[turned])
    held = {"h_0": np.zeros((1, H), np.float32), "F": random(rng, I, I, 3)}
    path = save(graph_of([*before, scan], [info("X", ["T", 1, I])], [info("Y", None)], held), tmp_path)
    with pytest.raises(undertow.UnsupportedError, match="backwards in time"):
        undertow.load(path)


@pytest.mark.parametrize("steps", ["T", T])
@pytest.mark.parametrize("loop", ["Scan", "Loop"])
@pytest.mark.parametrize("name", [name for name, (_, op) in BODIES.items() if op] + ["sru"])
def test_a_loop_behind_a_convolution_without_padding(name, loop, steps, tmp_path, rng):
    """Its rounds are the timesteps but the first two, in which the cell waits."""
    make, op = BODIES[name]
    nodes, weights, states = make(rng)
    rows = [*(f"{s}_next" for s in states), "row"]
    nodes = [*nodes, node("Identity", f"{states[0]}_next", "row")]
    weights |= {"F": random(rng, I, I, 3) * 0.5, "true": np.array(True), "zero": np.array(0)}
    weights |= {f"{s}_0": np.zeros((1, H), np.float32) for s in states}
    outside = [node("Transpose", "X", "forward", perm=[1, 2, 0]), node("Conv", "forward F", "cut"),
               node("Transpose", "cut", "Z", perm=[2, 0, 1])]  # fmt: skip
    starts, ends = " ".join(f"{s}_0" for s in states), " ".join(f"{s}_T" for s in states)
    if loop == "Scan":
        body = graph_of(nodes, [*states, "x"], rows)
        outside.append(node("Scan", f"{starts} Z", f"{ends} Y", num_scan_inputs=1, body=body))
    else:
        nodes = [node("Gather", "Z round", "x", axis=0), *nodes, node("Identity", "on", "on_next")]
        body = graph_of(
            nodes, [info("round", [], INT64), info("on", [], BOOL), *states], [info("on_next", [], BOOL), *rows]
        )
        outside += [node("Shape", "Z", "shape"), node("Gather", "shape zero", "count", axis=0)]
        outside.append(node("Loop", f"count true {starts}", f"{ends} Y", body=body))
    ports = [info("X", [steps, 1, I])], [info("Y", None), info("h_T", [1, H])]
    path = save(graph_of(outside, *ports, weights), tmp_path)
    model, X = undertow.load(path), random(rng, T, 1, I)
    expected, got = peer(path, {"X": X}), model.run(X[:, 0])
    np.testing.assert_allclose(got["Y"][2:], expected["Y"][:, 0], rtol=0, atol=FLOAT32_PEER)
    np.testing.assert_allclose(got["h_T"][-1].reshape(1, H), expected["h_T"], rtol=0, atol=FLOAT32_PEER)
    cells = {"rnn", "gru", "lstm"} & {n.op for n in model.graph.nodes}
    assert cells == ({op} if op else set())
    stream = model.stream()
    chunks = [stream.run(chunk) for chunk in np.array_split(X[:, 0], 4)]
    for key, whole in got.items():
        assert_same_bits(np.concatenate([chunk[key] for chunk in chunks]), whole)
