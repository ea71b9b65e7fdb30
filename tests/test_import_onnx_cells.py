# SPDX-License-Identifier: MIT
"""RNN, GRU and LSTM nodes of ONNX with every attribute, against ONNX Runtime."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

import undertow
from onnx_files import GATES, INT64, TensorProto, helper, last_row, model_of, node, peer, random, save, session_of
from tolerances import FLOAT32_PEER
from undertow import reference
from undertow.errors import UnsupportedError
from undertow.importers.onnx import load

ACTIVATIONS = {
    "Relu": 0,
    "Tanh": 0,
    "Sigmoid": 0,
    "Affine": 2,
    "LeakyRelu": 1,
    "ThresholdedRelu": 1,
    "ScaledTanh": 2,
    "HardSigmoid": 2,
    "Elu": 1,
    "Softsign": 0,
    "Softplus": 0,
}


def random_cell(rng, op, direction):
    """(model, names of its outputs, T, I): one node with attributes and optional inputs drawn by chance."""
    T, I, H, D, G = *(int(n) for n in rng.integers(1, 6, 3)), 2 if direction == "bidirectional" else 1, GATES[op]
    attrs = {"direction": direction, "hidden_size": H}
    weights = {"W": random(rng, D, G * H, I) * 0.7, "R": random(rng, D, G * H, H) * 0.5}
    if rng.random() < 0.7:
        per_cell = {"RNN": 1, "GRU": 2, "LSTM": 3}[op]
        names = [str(n) for n in rng.choice(list(ACTIVATIONS), D * per_cell)]
        attrs["activations"] = names
        n_alpha, n_beta = sum(ACTIVATIONS[n] >= 1 for n in names), sum(ACTIVATIONS[n] >= 2 for n in names)
        if n_alpha:
            attrs["activation_alpha"] = [float(a) for a in rng.uniform(0.1, 0.9, n_alpha)]
        if n_beta:
            attrs["activation_beta"] = [float(b) for b in rng.uniform(0.1, 0.9, n_beta)]
    if rng.random() < 0.4:
        attrs["clip"] = float(rng.uniform(0.2, 1.0))
    if op == "GRU":
        attrs["linear_before_reset"] = int(rng.integers(2))
    if op == "LSTM" and rng.random() < 0.3:
        attrs["input_forget"] = 1
    slots = ["X", "W", "R", "", "", ""] + (["", ""] if op == "LSTM" else [])
    for slot, name, shape in (
        (3, "B", (D, 2 * G * H)),
        (5, "h0", (D, 1, H)),
        (6, "c0", (D, 1, H)),
        (7, "P", (D, 3 * H)),
    ):
        if slot < len(slots) and rng.random() < 0.6:
            slots[slot], weights[name] = name, random(rng, *shape) * 0.5
    while not slots[-1]:
        slots.pop()
    outputs = {"Y": [None, D, 1, H], "Y_h": [D, 1, H], **({"Y_c": [D, 1, H]} if op == "LSTM" else {})}
    kept = [n for n in outputs if rng.random() < 0.7] or ["Y"]
    made = helper.make_node(op, slots, [n if n in kept else "" for n in outputs], **attrs)
    model = model_of([made], {"X": ["T", 1, I]}, {n: outputs[n] for n in kept}, weights, opset=14)
    return model, T, I


@pytest.mark.parametrize(("op", "direction"), [*itertools.product(GATES, ["forward", "reverse", "bidirectional"])])
def test_cells_with_random_attributes(op, direction, tmp_path):
    worst = 0.0
    for seed in range(25):
        rng = np.random.default_rng([seed, *map(ord, op + direction)])
        model, T, n_in = random_cell(rng, op, direction)
        X = random(rng, T, 1, n_in)
        expected = peer(model, {"X": X})
        graph = load(save(model, tmp_path))
        made = reference.evaluate(graph, X[:, 0]).outputs
        for name, e in expected.items():
            e = e[:, :, 0] if name == "Y" else e[:, 0]
            y = made[name] if name == "Y" else last_row(graph, name, made[name])
            # Unbounded activations let some of these random networks grow: compare relative to their size.
            error = np.abs(y - e).max() / max(1.0, np.abs(e).max())
            worst = max(worst, error)
            assert error < 2e-5, f"seed {seed}: {name} differs by {error}: {model.graph.node[0]}"
    print(f"{op} {direction}: largest error {worst:.2g}")


@pytest.mark.parametrize("op", [*GATES])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_layout_1_is_layout_0_transposed(op, direction, tmp_path):
    """ONNX Runtime refuses layout=1; compare with the same weights in layout 0."""
    rng = np.random.default_rng(5)
    T, I, H, D, G = 6, 3, 4, 2 if direction == "bidirectional" else 1, GATES[op]
    h0 = random(rng, D, 1, H)
    weights = {"W": random(rng, D, G * H, I), "R": random(rng, D, G * H, H), "h0": h0}
    X = random(rng, T, 1, I)
    graphs = []
    for layout in (0, 1):
        w = {**weights, "h0": h0.swapaxes(0, 1) if layout else h0}
        cell = helper.make_node(
            op, ["X", "W", "R", "", "", "h0"], ["Y", "Y_h"], hidden_size=H, direction=direction, layout=layout
        )
        shapes = {"Y": ["N", "T", D, H], "Y_h": ["N", D, H]} if layout else {"Y": ["T", "N", D, H], "Y_h": [D, "N", H]}
        # h0 is a constant of one row, so that the batch must be 1
        model = model_of([cell], {"X": [1, "T", I] if layout else ["T", 1, I]}, shapes, w, opset=14)
        graphs.append(load(save(model, tmp_path)))
    first, second = (reference.evaluate(g, X[:, 0]).outputs for g in graphs)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_y_h_and_last_timestep(tmp_path):
    """Y[-1], by Slice, by Gather and through Shape, is `last`; Y[0] is refused in a model that could stream."""
    rng = np.random.default_rng(2)
    weights = {
        "W": random(rng, 1, 8, 3),
        "R": random(rng, 1, 8, 2),
        "minus": np.array([-1]),
        "end": np.array([2**31 - 1]),
        "axis": np.array([0]),
        "m1": np.array(-1),
        "one": np.array([1]),
        "start": np.array([0]),
    }
    lstm = node("LSTM", "X W R", "Y", hidden_size=2)
    ways = {
        "slice": [node("Slice", "Y minus end axis", "s"), node("Squeeze", "s axis", "z")],
        "gather": [node("Gather", "Y m1", "z", axis=0)],
        "shape": [
            node("Shape", "Y", "shape"),
            node("Slice", "shape start one", "steps"),
            node("Sub", "steps one", "at"),
            node("Gather", "Y at", "s", axis=0),
            node("Squeeze", "s axis", "z"),
        ],
    }
    X = random(rng, 5, 1, 3)
    for way, nodes in ways.items():
        model = model_of([lstm, *nodes], {"X": ["T", "N", 3]}, {"z": [1, "N", 2]}, weights)
        graph = load(save(model, tmp_path))
        assert [n.op for n in graph.nodes][:2] == ["lstm", "last"], way
        made = reference.evaluate(graph, X[:, 0]).outputs["z"][-1]
        np.testing.assert_allclose(made, peer(model, {"X": X})["z"][:, 0], atol=FLOAT32_PEER)
    model = model_of([lstm, node("Gather", "Y start", "z", axis=0)], {"X": ["T", "N", 3]}, {"z": None}, weights)
    with pytest.raises(UnsupportedError, match=r"Gather node 'z'.*timestep 0"):
        load(save(model, tmp_path))
    for end in (5, 3):
        weights["end"] = np.array([end])
        model = model_of([lstm, node("Slice", "Y start end axis", "z")], {"X": ["T", "N", 3]}, {"z": None}, weights)
        with pytest.raises(UnsupportedError):
            load(save(model, tmp_path))


def test_sequence_lens(tmp_path):
    rng = np.random.default_rng(3)
    weights = {"W": random(rng, 2, 12, 3), "R": random(rng, 2, 12, 4), "seven": np.array([7], np.int32)}
    gru = node("GRU", "X W R  lens", "Y Y_h", hidden_size=4, direction="bidirectional")
    gru.input[:] = ["X", "W", "R", "", "lens"]
    inputs = {"X": ["T", "N", 3], "lens": (["N"], TensorProto.INT32)}
    model = model_of([gru], inputs, {"Y": ["T", 2, "N", 4], "Y_h": [2, "N", 4]}, weights)
    graph = load(save(model, tmp_path))
    assert graph.inputs == ["X"] and "lengths: input 'lens'" in graph.source
    X = random(rng, 6, 1, 3)
    for length in (6, 4, 1, 0):
        made = reference.evaluate(graph, X[:, 0], length=length).outputs
        expected = peer(model, {"X": X, "lens": np.array([length], np.int32)})
        np.testing.assert_allclose(made["Y"], expected["Y"][:, :, 0], atol=FLOAT32_PEER)
        np.testing.assert_allclose(made["Y_h"], expected["Y_h"][:, 0], atol=FLOAT32_PEER)
    gru.input[:] = ["X", "W", "R", "", "seven"]
    with pytest.raises(UnsupportedError, match=r"GRU node 'Y': sequence_lens is the constant \[7\]"):
        load(save(model_of([gru], {"X": [9, 1, 3]}, {"Y": [9, 2, 1, 4]}, weights), tmp_path))


def test_what_is_given_once_stands_in_the_last_row_of_the_length(tmp_path):
    rng = np.random.default_rng(3)
    gru = helper.make_node("GRU", ["X", "W", "R", "", "lens"], ["Y", "Y_h"], hidden_size=4)
    weights = {"W": random(rng, 1, 12, 3), "R": random(rng, 1, 12, 4)}
    inputs = {"X": ["T", "N", 3], "lens": (["N"], TensorProto.INT32)}
    model = model_of([gru], inputs, {"Y": ["T", 1, "N", 4], "Y_h": [1, "N", 4]}, weights)
    streams, X = undertow.load(save(model, tmp_path)), random(rng, 6, 1, 3)
    for length in (6, 4, 1):
        got = streams.run(X[:, 0], length=length)
        expected = peer(model, {"X": X, "lens": np.array([length], np.int32)})
        np.testing.assert_allclose(got["Y"].ravel(), expected["Y"].ravel(), atol=FLOAT32_PEER)
        np.testing.assert_allclose(got["Y_h"][length - 1].ravel(), expected["Y_h"].ravel(), atol=FLOAT32_PEER)


def sorting(folder: Path, rng: np.random.Generator, batch: int | str) -> Path:
    """pack_padded_sequence(enforce_sorted=False): items in the order of their lengths, and back."""
    nodes = [
        node("TopK", "n k", "lengths order", axis=0),
        node("Gather", "x order", "sorted", axis=0),
        node("Transpose", "sorted", "steps", perm=[1, 0, 2]),
        node("Cast", "lengths", "sequence_lens", to=6),
        helper.make_node("GRU", ["steps", "W", "R", "", "sequence_lens"], ["Y", "Y_h"], hidden_size=3),
        node("Squeeze", "Y one", "ys"),
        node("Transpose", "ys", "y", perm=[1, 0, 2]),
    ]
    weights = {"W": random(rng, 1, 9, 4), "R": random(rng, 1, 9, 3), "one": np.array([1]), "k": np.array([1])}
    if batch != 1:
        nodes[:0] = [node("Shape", "n", "items")]
        nodes[1].input[1] = "items"
        del weights["k"]
    inputs = {"x": [batch, "T", 4], "n": ([batch], INT64)}
    return save(model_of(nodes, inputs, {"y": None, "Y_h": None}, weights), folder)


def test_of_one_item_there_is_nothing_to_sort(tmp_path, rng):
    path = sorting(tmp_path, rng, 1)
    model, X = undertow.load(path), random(rng, 9, 4)
    for n in (9, 5, 1):
        y, h = session_of(path).run(None, {"x": X[None], "n": np.array([n])})
        got = model.run(X, length=n)
        np.testing.assert_allclose(got["y"], y[0], atol=1e-6)
        np.testing.assert_allclose(got["Y_h"][n - 1].ravel(), h.ravel(), atol=1e-6)


def test_items_that_are_sorted_load_one_at_a_time(tmp_path, rng):
    path = sorting(tmp_path, rng, "b")
    model, X = undertow.load(path), random(rng, 9, 4)
    assert list(model.inputs) == ["x"]
    assert "batch: one item; the file sorts the items of a batch by their lengths" in model.source
    for n in (9, 5):
        y, _ = session_of(path).run(None, {"x": X[None], "n": np.array([n])})
        np.testing.assert_allclose(model.run(X, length=n)["y"], y[0], atol=1e-6)


def test_items_that_are_sorted_by_what_is_computed_are_refused(tmp_path, rng):
    """As a search over beams, which are none of each other's business only where there is one."""
    nodes = [
        node("ReduceMax", "x", "top", axes=[1, 2], keepdims=0),
        node("Shape", "top", "items"),
        node("TopK", "top items", "best order", axis=0),
        node("Gather", "x order", "sorted", axis=0),
        node("Transpose", "sorted", "steps", perm=[1, 0, 2]),
        node("GRU", "steps W R", "Y", hidden_size=3),
    ]
    weights = {"W": random(rng, 1, 9, 4), "R": random(rng, 1, 9, 3)}
    path = save(model_of(nodes, {"x": ["b", "T", 4]}, {"Y": None}, weights), tmp_path)
    with pytest.raises(UnsupportedError, match=r"TopK node"):
        undertow.load(path)
