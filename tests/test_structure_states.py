# SPDX-License-Identifier: MIT
"""ONNX models of one step with odd states, recurrence inside of a frame, and clips, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from decomposed import BODIES, H, I, T, ops
from onnx_files import graph_of, info, node, peer, random, save, stepped
from tolerances import FLOAT32_PEER
from undertow import reference
from undertow.errors import UnsupportedError
from undertow.importers.onnx import load


@pytest.mark.parametrize("stack", ["first", "last", "flat"])
@pytest.mark.parametrize("name", ["lstm", "lstm_peephole"])
def test_step_with_a_stacked_state(name, stack, tmp_path, rng):
    """One tensor holds h and c, stacked on the first, the last or inside of an axis; the cell is taken apart."""
    body, weights, _ = BODIES[name][0](rng)
    axis = {"first": 0, "last": 2, "flat": 1}[stack]
    shape = {"first": [2, 1, H], "last": [1, H, 2], "flat": [1, 2 * H]}[stack]
    if stack == "flat":
        before = [node("Split", "state", "h c", axis=1)]
        after = [node("Concat", "h_next c_next", "state_out", axis=1)]
    else:
        before = [node("Gather", f"state {k}", s, axis=axis) for k, s in (("at0", "h"), ("at1", "c"))]
        after = [node("Unsqueeze", f"{s}_next ax", f"{s}_u") for s in "hc"]
        after.append(node("Concat", "h_u c_u", "state_out", axis=axis))
    held = {**weights, "at0": np.array(0), "at1": np.array(1), "ax": np.array([axis])}
    nodes = [*before, *body, *after, node("Identity", "h_next", "y")]
    outer = graph_of(
        nodes,
        [info("x", [1, I]), info("state", shape)],
        [info("y", [1, H]), info("state_out", ["a", "b", "c"][: len(shape)])],  # declared shapes say nothing
        held,
    )
    path = save(outer, tmp_path)
    graph = load(path)
    assert "lstm" in ops(graph) and "state_write" not in ops(graph)
    X = random(rng, T, I)
    expected = stepped(path, {"x": X[:, None]}, {"state": ("state_out", shape)})["y"][:, 0]
    np.testing.assert_allclose(reference.run(graph, X), expected, rtol=0, atol=FLOAT32_PEER)


def history_file(tmp_path, rng, write):
    """A causal convolution with a cache of the last two frames, in each of the ways to write it back."""
    ways = {
        "slice": [node("Slice", "window from end last", "cache_out")],
        "scatter": [
            node("Slice", "cache from end last", "old"),
            node("Concat", "old xs", "parts", axis=2),
            node("Transpose", "cache", "rows", perm=[2, 0, 1]),
            node("Transpose", "parts", "new_rows", perm=[2, 0, 1]),
            node("ScatterND", "rows places new_rows", "written"),
            node("Transpose", "written", "cache_out", perm=[1, 2, 0]),
        ],
    }
    nodes = [
        node("Unsqueeze", "x last", "xs"),
        node("Concat", "cache xs", "window", axis=2),
        node("Reshape", "window flat", "row"),
        node("MatMul", "row K", "made"),
        node("Tanh", "made", "y"),
        *ways[write],
    ]
    weights = {
        "last": np.array([2]),
        "from": np.array([1]),
        "end": np.array([2**31 - 1]),
        "flat": np.array([1, 3 * I]),
        "places": np.array([[0], [1]]),
        "K": random(rng, 3 * I, I),
    }
    inputs = [info("x", [1, I]), info("cache", [1, I, 2])]
    return save(graph_of(nodes, inputs, [info("y", [1, I]), info("cache_out", [1, I, 2])], weights), tmp_path)


@pytest.mark.parametrize("write", ["slice", "scatter"])
def test_cache_of_frames(write, tmp_path, rng):
    """x and y have one shape as well: the cache is told by being moved into its output."""
    path = history_file(tmp_path, rng, write)
    graph = load(path)
    assert graph.inputs == ["x"] and list(graph.outputs) == ["y"]
    assert "state: input 'cache', output 'cache_out'" in graph.source
    X = random(rng, T, 1, I)
    expected = stepped(path, {"x": X}, {"cache": ("cache_out", (1, I, 2))})["y"]
    made = reference.run(graph, X[:, 0])
    np.testing.assert_allclose(made.reshape(T, I), expected[:, 0], rtol=0, atol=FLOAT32_PEER)


def twin_states(tmp_path, rng, h_out="h_out", g_out="g_out"):
    nodes = [
        node("MatMul", "x A", "a"),
        node("Add", "a h", "s"),
        node("Add", "s g", "u"),
        node("Tanh", "u", h_out),
        node("Relu", "u", g_out),
        node("Add", f"{h_out} {g_out}", "y"),
    ]
    inputs = [info("x", [1, I]), info("h", [1, H]), info("g", [1, H])]
    outputs = [info("y", [1, H]), info(h_out, [1, H]), info(g_out, [1, H])]
    return save(graph_of(nodes, inputs, outputs, {"A": random(rng, I, H)}), tmp_path)


def test_two_pairings_are_not_guessed(tmp_path, rng):
    path = twin_states(tmp_path, rng, "p", "q")
    with pytest.raises(UnsupportedError, match=r"'h' could be returned by .*say it with states=\{"):
        load(path)
    pairs = {"h": "p", "g": "q"}
    X = random(rng, T, 1, I)
    expected = stepped(path, {"x": X}, {name: (output, (1, H)) for name, output in pairs.items()})["y"]
    made = reference.run(load(path, states=pairs), X[:, 0])
    np.testing.assert_allclose(made, expected[:, 0], rtol=0, atol=FLOAT32_PEER)


def test_two_pairings_are_told_by_names(tmp_path, rng):
    path = twin_states(tmp_path, rng)
    pairs = {"h": "h_out", "g": "g_out"}
    X = random(rng, T, 1, I)
    expected = stepped(path, {"x": X}, {name: (output, (1, H)) for name, output in pairs.items()})["y"]
    np.testing.assert_allclose(reference.run(load(path), X[:, 0]), expected[:, 0], rtol=0, atol=FLOAT32_PEER)
    swapped = twin_states(tmp_path, rng, "g_out", "h_out")  # the names decide, and follow nothing else
    assert "state: input 'h', output 'h_out'" in load(swapped).source


def test_recurrence_inside_of_a_frame(tmp_path, rng):
    """A bidirectional GRU over the bands of a frame, then one GRU over time for each band."""
    bands = 6
    weights = {
        "W": random(rng, 2, 3 * H, I),
        "R": random(rng, 2, 3 * H, H),
        "V": random(rng, 1, 3 * H, 2 * H),
        "S": random(rng, 1, 3 * H, H),
        "shape": np.array([0, 0, -1]),
    }
    nodes = [
        node("Transpose", "x", "by_band", perm=[1, 0, 2]),  # (bands, 1, I)
        node("GRU", "by_band W R", "Y1", hidden_size=H, direction="bidirectional"),  # (bands, 2, 1, H)
        node("Transpose", "Y1", "T1", perm=[2, 0, 1, 3]),
        node("Reshape", "T1 shape2", "in2"),  # (1, bands, 2 H)
        node("GRU", "in2 V S  h", "Y2 h_out", hidden_size=H),
        node("Squeeze", "Y2 one", "y"),
    ]
    nodes[4].input[:] = ["in2", "V", "S", "", "", "h"]
    weights |= {"shape2": np.array([1, bands, 2 * H]), "one": np.array([1])}
    inputs = [info("x", [1, bands, I]), info("h", [1, bands, H])]
    path = save(graph_of(nodes, inputs, [info("y", [1, bands, H]), info("h_out", [1, bands, H])], weights), tmp_path)
    graph = load(path)
    assert [s.shape for s in graph.states.values()] == [(bands, H)]
    X = random(rng, T, 1, bands, I)
    expected = stepped(path, {"x": X}, {"h": ("h_out", (1, bands, H))})["y"]
    made = reference.run(graph, X[:, 0])
    np.testing.assert_allclose(made.reshape(T, bands, H), expected[:, 0], rtol=0, atol=FLOAT32_PEER)


def test_clip_as_one_frame(tmp_path, rng):
    """Shares of timesteps that are multiplied over time can only be computed for the whole clip."""
    weights = {"A": random(rng, I, 1)}
    nodes = [node("MatMul", "X A", "score"), node("Softmax", "score", "share", axis=1)]
    nodes += [node("Mul", "X share", "weighted"), node("ReduceProd", "weighted", "Y", axes=[1], keepdims=0)]
    path = save(graph_of(nodes, [info("X", [1, "T", I])], [info("Y", [1, I])], weights), tmp_path)
    with pytest.raises(UnsupportedError, match=r"ReduceProd node .*over time.*shapes=\{'X': \[1, T, 5\]\}"):
        load(path)
    graph = load(path, shapes={"X": [1, 12, I]})
    X = random(rng, 3, 12, I)
    expected = np.concatenate([peer(path, {"X": x[None]})["Y"] for x in X])
    np.testing.assert_allclose(reference.run(graph, X), expected, rtol=0, atol=FLOAT32_PEER)


def test_sequence_written_out_by_the_exporter(tmp_path, rng):
    """Ten steps of a cell one after the other, of which the last is wanted; of an open length, only the first ten."""
    weights = {"A": random(rng, I, H), "B": random(rng, H, H), "h": np.zeros((1, H), np.float32)}
    nodes, h = [], "h"
    for t in range(10):
        weights[f"t{t}"] = np.array(t)
        nodes += [
            node("Gather", f"X t{t}", f"x{t}", axis=1),
            node("MatMul", f"x{t} A", f"a{t}"),
            node("MatMul", f"{h} B", f"b{t}"),
        ]
        nodes += [node("Add", f"a{t} b{t}", f"s{t}"), node("Tanh", f"s{t}", f"h{t}")]
        h = f"h{t}"
    nodes.append(node("Identity", h, "Y"))
    with pytest.raises(UnsupportedError, match="takes timestep 0"):
        load(save(graph_of(nodes, [info("X", [1, "T", I])], [info("Y", [1, H])], weights), tmp_path))
    path = save(graph_of(nodes, [info("X", [1, 10, I])], [info("Y", [1, H])], weights), tmp_path)
    X = random(rng, 10, I)
    expected = peer(path, {"X": X[None]})["Y"]
    np.testing.assert_allclose(
        np.reshape(reference.run(load(path), X), (-1, H))[-1:], expected, rtol=0, atol=FLOAT32_PEER
    )
