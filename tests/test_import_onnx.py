# SPDX-License-Identifier: MIT
# ruff: noqa: E402 (imports follow the check that an optional package is there)
"""The ONNX importer against ONNX Runtime: cells with every attribute, ops beside them, states, and refusals."""

from __future__ import annotations

import itertools
import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from tolerances import FLOAT32_PEER

onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from onnx import TensorProto, helper, numpy_helper

from undertow import Model, reference
from undertow.errors import Error, FormatError, ShapeError, UnsupportedError
from undertow.importers.onnx import limits, load

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


# -- helpers --------------------------------------------------------------------------------------------------------


def make(nodes, inputs, outputs, weights=None, opset=17):
    """A model; inputs: name -> shape, or (shape, type)."""
    infos = []
    for name, shape in inputs.items():
        shape, kind = shape if isinstance(shape, tuple) else (shape, TensorProto.FLOAT)
        infos.append(helper.make_tensor_value_info(name, kind, shape))
    graph = helper.make_graph(
        nodes,
        "demo",
        infos,
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(w), n) for n, w in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node(op, inputs, outputs, **attrs):
    return helper.make_node(op, inputs.split(), outputs.split(), **attrs)


def save(model, tmp_path, name="model.onnx"):
    path = tmp_path / name
    path.write_bytes(model.SerializeToString())
    return path


def peer(model, feeds):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options)
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


def random(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def last_row(graph, name, y):
    """An output that is given once, also where a stream gives it with every frame."""
    return y[-1] if y.ndim > len(graph.values[graph.outputs[name]].shape) else y


def agree(graph, X, expected, once=(), atol=FLOAT32_PEER, **kwargs):
    """Outputs of the Graph, in float64, against (T, *frame) arrays."""
    made = reference.evaluate(graph, X, **kwargs).outputs
    assert set(made) == set(expected)
    for name, e in expected.items():
        y = last_row(graph, name, made[name]) if name in once else made[name]
        np.testing.assert_allclose(y, e, rtol=0, atol=atol, err_msg=name)


# -- cells: every attribute -----------------------------------------------------------------------------------------

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
    model = make([made], {"X": ["T", 1, I]}, {n: outputs[n] for n in kept}, weights, opset=14)
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
        model = make([cell], {"X": [1, "T", I] if layout else ["T", 1, I]}, shapes, w, opset=14)
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
        model = make([lstm, *nodes], {"X": ["T", "N", 3]}, {"z": [1, "N", 2]}, weights)
        graph = load(save(model, tmp_path))
        assert [n.op for n in graph.nodes][:2] == ["lstm", "last"], way
        made = reference.evaluate(graph, X[:, 0]).outputs["z"][-1]
        np.testing.assert_allclose(made, peer(model, {"X": X})["z"][:, 0], atol=FLOAT32_PEER)
    model = make([lstm, node("Gather", "Y start", "z", axis=0)], {"X": ["T", "N", 3]}, {"z": None}, weights)
    with pytest.raises(UnsupportedError, match=r"Gather node 'z'.*timestep 0"):
        load(save(model, tmp_path))
    for end in (5, 3):
        weights["end"] = np.array([end])
        model = make([lstm, node("Slice", "Y start end axis", "z")], {"X": ["T", "N", 3]}, {"z": None}, weights)
        with pytest.raises(UnsupportedError):
            load(save(model, tmp_path))


def test_sequence_lens(tmp_path):
    rng = np.random.default_rng(3)
    weights = {"W": random(rng, 2, 12, 3), "R": random(rng, 2, 12, 4), "seven": np.array([7], np.int32)}
    gru = node("GRU", "X W R  lens", "Y Y_h", hidden_size=4, direction="bidirectional")
    gru.input[:] = ["X", "W", "R", "", "lens"]
    inputs = {"X": ["T", "N", 3], "lens": (["N"], TensorProto.INT32)}
    model = make([gru], inputs, {"Y": ["T", 2, "N", 4], "Y_h": [2, "N", 4]}, weights)
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
        load(save(make([gru], {"X": [9, 1, 3]}, {"Y": [9, 2, 1, 4]}, weights), tmp_path))


# -- the ops beside the cells ---------------------------------------------------------------------------------------


def _frame_cases():
    """name -> (nodes from x to y, weights, opset, batch); x is [T, N, 4]."""
    rng = np.random.default_rng(7)
    w = lambda *s: random(rng, *s)  # noqa: E731
    positive = np.abs(w(4)) + np.float32(0.5)
    cases = {
        "matmul_add_relu": (
            [node("MatMul", "x W", "a"), node("Add", "a b", "c"), node("Relu", "c", "y")],
            {"W": w(4, 3), "b": w(3)},
        ),
        "bias_first": ([node("MatMul", "x W", "a"), node("Add", "b a", "y")], {"W": w(4, 3), "b": w(1, 1, 3)}),
        "gemm_flat": (
            [
                node("Reshape", "x s", "f"),
                node("Gemm", "f W b", "g", alpha=0.5, beta=2.0, transB=1),
                node("Reshape", "g back", "y"),
            ],
            {"s": np.array([-1, 4]), "W": w(3, 4), "b": w(3), "back": np.array([-1, 1, 3])},
            17,
            1,
        ),
        "matmul_rows": (
            [node("Reshape", "x s", "r"), node("MatMul", "r W", "m"), node("Reshape", "m back", "y")],
            {"s": np.array([0, 0, 2, 2]), "W": w(2, 5), "back": np.array([0, 0, 10])},
        ),
        "matrix_on_the_left": (
            [node("Unsqueeze", "x ax", "u"), node("MatMul", "W u", "m"), node("Squeeze", "m ax", "y")],
            {"ax": np.array([3]), "W": w(3, 4)},
        ),
        "residual": ([node("Tanh", "x", "a"), node("Add", "a x", "b"), node("Mul", "b x", "y")], {}),
        "broadcast": (
            [node("Slice", "x s e ax", "c"), node("Mul", "x c", "y")],
            {"s": np.array([1]), "e": np.array([2]), "ax": np.array([2])},
        ),
        "constants": (
            [
                node("Sub", "one x", "a"),
                node("Div", "a d", "b"),
                node("Sub", "b d", "c"),
                node("Max", "c z", "m"),
                node("Min", "d m", "n"),
                node("Mul", "n d", "p"),
                node("Div", "d two", "q"),
                node("Add", "p q", "y"),
            ],
            {"one": np.float32(1), "d": positive, "z": np.float32(-0.3), "two": np.float32(2)},
        ),
        "constant_over_input": ([node("Exp", "x", "e"), node("Div", "d e", "y")], {"d": positive}),
        "clip_inputs": ([node("Clip", "x lo hi", "y")], {"lo": np.float32(-0.4), "hi": np.float32(0.6)}),
        "clip_one_side": ([helper.make_node("Clip", ["x", "", "hi"], ["y"])], {"hi": np.float32(0.6)}),
        "clip_attributes": ([node("Clip", "x", "y", min=-0.1, max=0.2)], {}, 9),
        "softmax": ([node("Softmax", "x", "y")], {}),
        "softmax_of_rows": (
            [node("Reshape", "x s", "r"), node("Softmax", "r", "m", axis=2), node("Reshape", "m b", "y")],
            {"s": np.array([0, 0, 2, 2]), "b": np.array([0, 0, 4])},
        ),
        "softmax_before_13": ([node("Softmax", "x", "y", axis=2)], {}, 11),
        "log_softmax": ([node("LogSoftmax", "x", "y", axis=-1)], {}),
        "layer_norm": ([node("LayerNormalization", "x g b", "y", axis=-1, epsilon=1e-3)], {"g": w(4), "b": w(4)}),
        "layer_norm_taken_apart": (
            [
                node("ReduceMean", "x", "m", axes=[-1]),
                node("Sub", "x m", "d"),
                node("Pow", "d two", "s"),
                node("ReduceMean", "s", "v", axes=[-1]),
                node("Add", "v eps", "ve"),
                node("Sqrt", "ve", "r"),
                node("Div", "d r", "n"),
                node("Mul", "n g", "ng"),
                node("Add", "ng b", "y"),
            ],
            {"two": np.float32(2), "eps": np.float32(1e-3), "g": w(4), "b": w(4)},
            13,
        ),
        "batch_norm": (
            [
                node("Transpose", "x", "t", perm=[1, 2, 0]),
                node("BatchNormalization", "t s b m v", "n", epsilon=1e-3),
                node("Transpose", "n", "y", perm=[2, 0, 1]),
            ],
            {"s": w(4), "b": w(4), "m": w(4), "v": positive},
        ),
        "split_concat": (
            [node("Split", "x p", "a b c", axis=2), node("Concat", "c x a", "y", axis=2)],
            {"p": np.array([1, 1, 2])},
        ),
        "concat_with_a_constant": (
            [
                node("Shape", "x", "n"),
                node("Slice", "n z two", "tn"),
                node("Concat", "tn one", "sh", axis=0),
                node("ConstantOfShape", "sh", "zeros"),
                node("Concat", "zeros x", "y", axis=2),
            ],
            {"z": np.array([0]), "two": np.array([2]), "one": np.array([3])},
        ),
        "turn_and_back": (
            [
                node("Transpose", "x", "a", perm=[2, 1, 0]),
                node("Flatten", "a", "f", axis=2),
                node("Sigmoid", "f", "s"),
                node("Transpose", "s", "t", perm=[1, 0]),
                node("Unsqueeze", "t ax", "y"),
            ],
            {"ax": np.array([1])},
            17,
            1,
        ),
        "gather_places": ([node("Gather", "x i", "y", axis=2)], {"i": np.array([3, 0, -1])}),
        "reduce": (
            [
                node("ReduceMean", "x", "m", axes=[2]),
                node("ReduceSum", "x ax", "s", keepdims=0),
                node("Unsqueeze", "s ax", "u"),
                node("Concat", "m u", "y", axis=2),
            ],
            {"ax": np.array([2])},
        ),
        "pow": (
            [node("Pow", "x two", "a"), node("Pow", "x three", "b"), node("Sum", "a b x", "y")],
            {"two": np.float32(2), "three": np.float32(3)},
        ),
        "mean": ([node("Neg", "x", "a"), node("Exp", "x", "b"), node("Mean", "a b x", "y")], {}),
        "prelu": ([node("PRelu", "x s", "y")], {"s": w(4)}),
        "dropout_cast_identity": (
            [node("Dropout", "x r", "a"), node("Cast", "a", "b", to=1), node("Identity", "b", "y")],
            {"r": np.float32(0.5)},
        ),
        "thresholded_at_the_threshold": (
            [
                node("Mul", "x zero", "a"),
                node("Add", "a half", "b"),
                node("Concat", "b x", "c", axis=2),
                node("ThresholdedRelu", "c", "y", alpha=0.5),
            ],
            {"zero": np.float32(0), "half": np.float32(0.5)},
        ),
        "time_sliced_whole": (
            [node("Slice", "x z e z", "a"), node("Tanh", "a", "y")],
            {"z": np.array([0]), "e": np.array([2**63 - 1])},
        ),
    }
    for op, attrs in {
        "Relu": {},
        "Tanh": {},
        "Sigmoid": {},
        "Softsign": {},
        "Softplus": {},
        "Exp": {},
        "Neg": {},
        "LeakyRelu": {"alpha": 0.3},
        "Elu": {"alpha": 0.7},
        "Selu": {},
        "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
        "ThresholdedRelu": {"alpha": 0.5},
        "Celu": {"alpha": 1.7},
        "HardSwish": {},
    }.items():
        cases[op] = ([node(op, "x", "y", **attrs)], {})
    return cases


@pytest.mark.parametrize("name", [*_frame_cases()])
def test_frame_ops(name, tmp_path):
    nodes, weights, *rest = _frame_cases()[name]
    batch = rest[1] if len(rest) > 1 else "N"
    model = make(nodes, {"x": ["T", batch, 4]}, {"y": ["T", batch, None]}, weights, opset=rest[0] if rest else 17)
    graph = load(save(model, tmp_path))
    X = random(np.random.default_rng(11), 5, 1, 4)
    expected = peer(model, {"x": X})["y"]
    agree(graph, X[:, 0], {"y": expected[:, 0]})
    if name == "matmul_add_relu":
        assert [n.op for n in graph.nodes] == ["dense"]
    if "layer_norm" in name:
        assert graph.nodes[0].op == "layer_norm"


def test_embedding_and_cast_of_ids(tmp_path):
    rng = np.random.default_rng(4)
    weights = {"table": random(rng, 6, 3), "W": random(rng, 1, 4, 3), "R": random(rng, 1, 4, 4)}
    nodes = [
        node("Cast", "ids", "i", to=7),
        node("Gather", "table i", "e"),
        node("Transpose", "e", "t", perm=[1, 0, 2]),
        node("RNN", "t W R", "Y", hidden_size=4),
        node("Transpose", "Y", "yt", perm=[2, 0, 1, 3]),
    ]
    model = make(nodes, {"ids": (["N", "T"], TensorProto.INT32)}, {"yt": ["N", "T", 1, 4]}, weights)
    graph = load(save(model, tmp_path))
    assert graph.values["ids"].dtype == "int32" and graph.shape("ids") == () and graph.values["ids"].n_ids == 6
    ids = np.array([[5, 0, 3, 3]], np.int32)
    agree(graph, ids[0], {"yt": peer(model, {"ids": ids})["yt"][0]})


def test_several_inputs_and_outputs(tmp_path):
    rng = np.random.default_rng(6)
    weights = {"W": random(rng, 1, 9, 5), "R": random(rng, 1, 9, 3), "one": np.array([1])}
    nodes = [
        node("Concat", "a b", "x", axis=2),
        node("GRU", "x W R", "Y", hidden_size=3),
        node("Squeeze", "Y one", "y"),
        node("Sigmoid", "b", "p"),
    ]
    model = make(nodes, {"a": ["T", "N", 2], "b": ["T", "N", 3]}, {"y": ["T", "N", 3], "p": ["T", "N", 3]}, weights)
    graph = load(save(model, tmp_path))
    a, b = random(rng, 4, 1, 2), random(rng, 4, 1, 3)
    expected = peer(model, {"a": a, "b": b})
    agree(graph, {"a": a[:, 0], "b": b[:, 0]}, {name: e[:, 0] for name, e in expected.items()})


# -- states ---------------------------------------------------------------------------------------------------------


def _stream_by_hand(model, X, states):
    """What a caller of a single-step model does: feed every step its states. states: input -> (output, start)."""
    now = {name: start for name, (_, start) in states.items()}
    rows = []
    for x in X:
        made = peer(model, {"x": x, **now})
        now = {name: made[output] for name, (output, _) in states.items()}
        rows.append({name: y for name, y in made.items() if name not in {o for o, _ in states.values()}})
    return rows


def test_single_step_with_states(tmp_path):
    """h and c of two layers stacked in one tensor each, batch axis of size 1, names that say nothing."""
    rng = np.random.default_rng(8)
    weights = {f"{k}{i}": random(rng, 1, 12, 4 if k == "W" and i == 0 else 3) for k in "WR" for i in (0, 1)}
    weights |= {"one": np.array([1]), "zero": np.array([0]), "D": random(rng, 3, 2)}
    nodes = [
        node("Unsqueeze", "x zero", "u"),
        node("Split", "p", "h0 h1", axis=0),
        node("Split", "q", "c0 c1", axis=0),
        helper.make_node("LSTM", ["u", "W0", "R0", "", "", "h0", "c0"], ["Y0", "hn0", "cn0"], hidden_size=3),
        node("Squeeze", "Y0 one", "y0"),
        helper.make_node("LSTM", ["y0", "W1", "R1", "", "", "h1", "c1"], ["Y1", "hn1", "cn1"], hidden_size=3),
        node("Squeeze", "hn1 zero", "last"),
        node("MatMul", "last D", "y"),
        node("Concat", "hn0 hn1", "r", axis=0),
        node("Concat", "cn0 cn1", "s", axis=0),
    ]
    inputs = {"x": [1, 4], "p": [2, 1, 3], "q": [2, 1, 3]}
    model = make(nodes, inputs, {"s": [2, 1, 3], "y": [1, 2], "r": [2, 1, 3]}, weights, opset=13)
    graph = load(save(model, tmp_path))
    assert graph.inputs == ["x"] and list(graph.outputs) == ["y"]
    assert sorted(graph.states) == ["lstm_1.c", "lstm_1.h", "lstm_2.c", "lstm_2.h"]
    assert [n.op for n in graph.nodes] == ["lstm", "lstm", "dense"]
    assert "state: input 'p', output 'r'" in graph.source and "state: input 'q', output 's'" in graph.source
    X = random(rng, 6, 1, 4)
    start = np.zeros((2, 1, 3), np.float32)
    rows = _stream_by_hand(model, X, {"p": ("r", start), "q": ("s", start)})
    agree(graph, X[:, 0], {"y": np.concatenate([r["y"] for r in rows])})


def test_state_that_frame_ops_read_too(tmp_path):
    """A head that looks at the state before the step, which the cell keeps for itself: a register beside it."""
    rng = np.random.default_rng(9)
    weights = {"W": random(rng, 1, 9, 4), "R": random(rng, 1, 9, 3), "one": np.array([1])}
    nodes = [
        helper.make_node("GRU", ["x", "W", "R", "", "", "h"], ["Y", "hn"], hidden_size=3),
        node("Squeeze", "Y one", "a"),
        node("Sub", "a h", "y"),
    ]
    model = make(nodes, {"x": [1, 1, 4], "h": [1, 1, 3]}, {"y": [1, 1, 3], "hn": [1, 1, 3]}, weights)
    graph = load(save(model, tmp_path))
    assert sorted(graph.states) == ["gru_1.h", "gru_1.h.before"]
    X = random(rng, 5, 1, 1, 4)
    rows = _stream_by_hand(model, X, {"h": ("hn", np.zeros((1, 1, 3), np.float32))})
    expected = np.concatenate([r["y"][0] for r in rows])
    agree(graph, X[:, 0, 0], {"y": expected})
    np.testing.assert_allclose(Model.from_graph(graph).run(X[:, 0, 0]), expected, rtol=0, atol=FLOAT32_PEER)


def _textbook_cell(outputs):
    """h2 = tanh(x W + h R), y = h2 D, of plain frame ops."""
    rng = np.random.default_rng(10)
    weights = {"W": random(rng, 2, 3), "R": random(rng, 3, 3), "D": random(rng, 3, 2)}
    nodes = [
        node("MatMul", "x W", "a"),
        node("MatMul", "h R", "b"),
        node("Add", "a b", "s"),
        node("Tanh", "s", "h2"),
        node("MatMul", "h2 D", "y"),
    ]
    return make(nodes, {"x": [1, 2], "h": [1, 3]}, outputs, weights)


def test_plain_recurrence_becomes_a_register(tmp_path):
    model = _textbook_cell({"y": [1, 2], "h2": [1, 3]})
    X = random(np.random.default_rng(1), 7, 1, 2)
    rows = _stream_by_hand(model, X, {"h": ("h2", np.zeros((1, 3), np.float32))})
    expected = {"y": np.concatenate([r["y"] for r in rows])}
    graph = load(save(model, tmp_path), states={"h": "h2"})
    agree(graph, X[:, 0], expected)
    told = load(save(model, tmp_path))  # x has y's shape, but only h and h2 make a cell
    assert told.inputs == ["x"]
    agree(told, X[:, 0], expected)
    plain = load(save(model, tmp_path), states={})
    assert plain.inputs == ["x", "h"] and not plain.states


def test_plain_recurrence_is_found_by_shape(tmp_path):
    rng = np.random.default_rng(12)
    weights = {
        "W": random(rng, 4, 3),
        "R": random(rng, 3, 3),
        "D": random(rng, 3, 2),
        "lo": np.float32(-2),
        "hi": np.float32(2),
    }
    nodes = [
        node("MatMul", "x W", "a"),
        node("MatMul", "h R", "b"),
        node("Add", "a b", "s"),
        node("Clip", "s lo hi", "h2"),
        node("MatMul", "h2 D", "y"),
    ]
    model = make(nodes, {"x": ["N", 4], "h": ["N", 3]}, {"y": ["N", 2], "h2": ["N", 3]}, weights)
    graph = load(save(model, tmp_path))
    assert graph.inputs == ["x"] and list(graph.states) == ["rnn_1.h"] and list(graph.outputs) == ["y"]
    X = random(rng, 7, 1, 4)
    rows = _stream_by_hand(model, X, {"h": ("h2", np.zeros((1, 3), np.float32))})
    agree(graph, X[:, 0], {"y": np.concatenate([r["y"] for r in rows])})


@pytest.mark.parametrize(
    ("states", "error", "message"),
    [
        ({"nothing": "h2"}, ShapeError, "no input 'nothing'"),
        ({"h": "nothing"}, ShapeError, "no output 'nothing'"),
        ({"h": "y"}, ShapeError, "state input 'h' has shape"),
        ({"h": "h2", "x": "h2"}, ShapeError, "one output"),
    ],
)
def test_states_that_do_not_fit(states, error, message, tmp_path):
    with pytest.raises(error, match=message):
        load(save(_textbook_cell({"y": [1, 2], "h2": [1, 3]}), tmp_path), states=states)


def test_a_cell_beside_carried_states_must_not_forget(tmp_path):
    rng = np.random.default_rng(13)
    weights = {
        "W": random(rng, 1, 9, 4),
        "R": random(rng, 1, 9, 3),
        "W2": random(rng, 1, 3, 3),
        "R2": random(rng, 1, 3, 3),
        "one": np.array([1]),
    }
    nodes = [
        helper.make_node("GRU", ["x", "W", "R", "", "", "h"], ["Y", "hn"], hidden_size=3),
        node("Squeeze", "Y one", "a"),
        node("RNN", "a W2 R2", "_ y", hidden_size=3),
    ]
    nodes[-1].output[:] = ["", "y"]
    scale = node("Mul", "hn hn", "other")  # and no output returns the state: not a pair
    model = make(nodes, {"x": [1, 1, 4], "h": [1, 1, 3]}, {"y": [1, 1, 3], "hn": [1, 1, 3]}, weights)
    with pytest.raises(UnsupportedError, match=r"RNN node 'y': initial_h .* forget"):
        load(save(model, tmp_path))
    graph = load(save(model, tmp_path), shapes={"x": [None, 1, 4]})
    assert sorted(graph.states) == ["gru_1.h", "rnn_1.h"]
    # Where no output returns the state, h is where a sequence starts.
    outputs = {"y": [1, 1, 3], "other": [1, 1, 3]}
    model = make([*nodes, scale], {"x": [1, 1, 4], "h": [1, 1, 3]}, outputs, weights)
    assert load(save(model, tmp_path)).inputs == ["x"]


# -- PyTorch's exports ----------------------------------------------------------------------------------------------


def _torch_model(torch, cell, layers, bidirectional, batch_first, norm, last, states, ids):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(11, 5) if ids else None
            self.cell = getattr(torch.nn, cell)(5, 8, layers, bidirectional=bidirectional, batch_first=batch_first)
            width = 16 if bidirectional else 8
            self.norm = torch.nn.LayerNorm(width) if norm else torch.nn.Identity()
            self.head = torch.nn.Sequential(torch.nn.Linear(width, 6), torch.nn.ELU(), torch.nn.Linear(6, 3))

        def forward(self, x, *state):
            x = self.embedding(x) if ids else x
            y, end = self.cell(x, (state if len(state) > 1 else state[0]) if state else None)
            if last:
                y = y[:, -1] if batch_first else y[-1]
            y = self.head(self.norm(y))
            return (y, *(end if isinstance(end, tuple) else (end,))) if states else y

    return Net().eval()


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize(
    "settings",
    [
        {"cell": "LSTM", "layers": 2},
        {"cell": "GRU", "layers": 2, "batch_first": False},
        {"cell": "RNN", "layers": 1, "bidirectional": True},
        {"cell": "LSTM", "layers": 2, "bidirectional": True, "norm": True},
        {"cell": "GRU", "layers": 1, "norm": True, "dynamic": False},
        {"cell": "GRU", "layers": 1, "ids": True},
        {"cell": "LSTM", "layers": 1, "last": True},
        {"cell": "LSTM", "layers": 2, "states": True},
        {"cell": "GRU", "layers": 3, "states": True, "batch_first": False},
        {"cell": "LSTM", "layers": 1, "states": True, "dynamic": False},
    ],
    ids=lambda s: "-".join(f"{k}={v}" for k, v in s.items()),
)
def test_pytorch_exports(settings, opset, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    options = {"bidirectional": False, "batch_first": True, "norm": False, "last": False, "states": False, "ids": False}
    dynamic, settings = settings.get("dynamic", True), options | {k: v for k, v in settings.items() if k != "dynamic"}
    torch.manual_seed(3)
    model = _torch_model(torch, **settings)
    T, N = 9, 2 if dynamic else 1
    x = torch.randint(0, 11, (N, T)) if settings["ids"] else torch.randn(N, T, 5)
    x = x if settings["batch_first"] else x.transpose(0, 1).contiguous()
    n_states = (2 if settings["cell"] == "LSTM" else 1) if settings["states"] else 0
    rows = settings["layers"] * (2 if settings["bidirectional"] else 1)
    states = tuple(torch.randn(rows, N, 8) for _ in range(n_states))
    time, batch = (1, 0) if settings["batch_first"] else (0, 1)
    names = ["x", *(f"s{i}" for i in range(n_states))]
    axes = {"x": {time: "a", batch: "b"}, **{n: {1: "b"} for n in names[1:]}} if dynamic else None
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (x, *states),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=names,
            output_names=["y", *(f"e{i}" for i in range(n_states))],
            dynamic_axes=axes,
        )
    graph = load(path)
    assert graph.inputs == ["x"] and list(graph.outputs) == ["y"]
    assert len(graph.states) == rows * (2 if settings["cell"] == "LSTM" else 1)

    one = x.select(batch, 0)
    start = {}
    for i, state in enumerate(states):
        cells = sorted({name.rsplit(".", 1)[0] for name in graph.states})
        start |= {f"{name}.{'hc'[i]}": state[k, 0].numpy() for k, name in enumerate(cells)}
    with torch.no_grad():
        made = model(x, *states)
    y = (made[0] if settings["states"] else made).numpy()
    expected = y[0] if settings["batch_first"] or settings["last"] else y[:, 0]
    agree(graph, one.numpy(), {"y": expected}, once=("y",) if settings["last"] else (), state=start)


# -- refusals -------------------------------------------------------------------------------------------------------


def _cell_model(op="LSTM", drop=(), weights=None, inputs=None, opset=14, dtype=np.float32, **attrs):
    rng, G = np.random.default_rng(0), GATES[op]
    w = {"W": random(rng, 1, G * 3, 2).astype(dtype), "R": random(rng, 1, G * 3, 3).astype(dtype), **(weights or {})}
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    made = helper.make_node(op, ["X", "W", "R"], ["Y"], **{"hidden_size": 3, **attrs})
    model = make(
        [made],
        inputs or {"X": (["T", "N", 2], kind)},
        {"Y": None},
        {k: v for k, v in w.items() if k not in drop},
        opset,
    )
    model.graph.output[0].type.tensor_type.elem_type = kind
    return model


REFUSED = {
    "activation": (
        lambda: _cell_model(activations=["Sigmoid", "Mish", "Tanh"]),
        UnsupportedError,
        "LSTM node 'Y'.*'Mish'",
    ),
    "activation count": (
        lambda: _cell_model(activations=["Sigmoid"]),
        UnsupportedError,
        "activations=.*1 names, expected 3",
    ),
    "alpha left over": (
        lambda: _cell_model(activation_alpha=[0.5]),
        UnsupportedError,
        "activation_alpha=.*1 values more",
    ),
    "clip": (lambda: _cell_model(clip=0.0), UnsupportedError, "clip=0"),
    "direction": (lambda: _cell_model(direction="sideways"), UnsupportedError, "direction='sideways'"),
    "layout": (lambda: _cell_model(layout=2), UnsupportedError, "layout=2"),
    "hidden_size": (lambda: _cell_model(hidden_size=4), ShapeError, "hidden_size=4"),
    "weights": (lambda: _cell_model(weights={"W": np.zeros((1, 12, 5), np.float32)}), ShapeError, "X has shape"),
    "one gate short": (lambda: _cell_model(weights={"W": np.zeros((1, 11, 2), np.float32)}), ShapeError, "W has shape"),
    "float64": (lambda: _cell_model(dtype=np.float64), UnsupportedError, "'X' has dtype float64"),
    "float16": (lambda: _cell_model(dtype=np.float16), UnsupportedError, "'X' has dtype float16"),
    "old operator set": (lambda: _cell_model(opset=6), UnsupportedError, "operator set 6"),
    "weights as inputs": (
        lambda: _cell_model(drop=("W",), inputs={"X": ["T", "N", 2], "W": [1, 12, 2]}),
        UnsupportedError,
        "W is computed at run time.*fixed=",
    ),
    "features from time": (
        lambda: make(
            [node("Transpose", "x", "t", perm=[0, 2, 1]), node("Softmax", "t", "y")], {"x": ["N", "T", 4]}, {"y": None}
        ),
        UnsupportedError,
        "Softmax node 'y'.*time",
    ),
    "unknown operator": (
        lambda: make([node("Det", "x", "y")], {"x": ["T", 3, 3]}, {"y": None}),
        UnsupportedError,
        "Det node 'y'",
    ),
    "attention": (
        lambda: make(
            [node("Transpose", "x", "k", perm=[0, 2, 1]), node("MatMul", "x k", "y")], {"x": ["N", "T", 3]}, {"y": None}
        ),
        UnsupportedError,
        "MatMul node 'y'.*time",
    ),
    "mean over time": (
        lambda: make([node("ReduceMean", "x", "y", axes=[0])], {"x": ["T", "N", 3]}, {"y": None}),
        UnsupportedError,
        "ReduceMean node 'y'",
    ),
    "time shifted": (
        lambda: make(
            [node("Slice", "x a b z", "s"), node("Tanh", "s", "y")],
            {"x": ["T", "N", 3]},
            {"y": None},
            {"a": np.array([1]), "b": np.array([2**31 - 1]), "z": np.array([0])},
        ),
        UnsupportedError,
        "y",
    ),
    "cast": (
        lambda: make([node("Cast", "x", "y", to=10)], {"x": ["T", "N", 3]}, {"y": None}),
        UnsupportedError,
        "Cast node 'y'.*FLOAT16",
    ),
    "length baked in": (
        lambda: make(
            [node("Add", "x p", "y")], {"x": ["T", "N", 3]}, {"y": None}, {"p": np.ones((7, 1, 3), np.float32)}
        ),
        ShapeError,
        "Add node 'y'.*11 timesteps",
    ),
    "position": (
        lambda: make(
            [
                node("Shape", "x", "s"),
                node("Gather", "s z", "n"),
                node("Cast", "n", "f", to=1),
                node("Mul", "x f", "y"),
            ],
            {"x": ["T", "N", 3]},
            {"y": None},
            {"z": np.array(0)},
        ),
        UnsupportedError,
        "depends on the number of timesteps",
    ),
    "training dropout": (
        lambda: make(
            [node("Dropout", "x r t", "y")],
            {"x": ["T", "N", 3]},
            {"y": None},
            {"r": np.float32(0.5), "t": np.array(True)},
        ),
        UnsupportedError,
        "Dropout node 'y'.*training",
    ),
    "string input": (
        lambda: make([node("Identity", "x", "y")], {"x": (["T"], TensorProto.STRING)}, {"y": None}),
        UnsupportedError,
        "'x'",
    ),
    "too many open axes": (
        lambda: make([node("Tanh", "x", "y")], {"x": ["a", "b", "c"]}, {"y": None}),
        UnsupportedError,
        "shapes=",
    ),
}


@pytest.mark.parametrize("name", [*REFUSED])
def test_refused_by_name(name, tmp_path):
    build, error, message = REFUSED[name]
    with pytest.raises(error, match=message) as caught:
        load(save(build(), tmp_path))
    assert "model.onnx" in str(caught.value)


def test_options(tmp_path):
    model = _cell_model(drop=("W",), inputs={"X": ["T", "N", 2], "W": [1, 12, 2]})
    W = random(np.random.default_rng(0), 1, 12, 2)
    assert load(save(model, tmp_path), fixed={"W": W}).inputs == ["X"]
    with pytest.raises(ShapeError, match="no input 'V'"):
        load(save(model, tmp_path), fixed={"V": W})
    with pytest.raises(ShapeError, match="declares"):
        load(save(model, tmp_path), fixed={"W": W[0]})
    with pytest.raises(ShapeError, match="declares"):
        load(save(model, tmp_path), fixed={"W": W}, shapes={"X": [2, 2]})
    open_ = make([node("Tanh", "x", "y")], {"x": ["a", "b", "c"]}, {"y": None})
    assert load(save(open_, tmp_path), shapes={"x": [10, 1, 5]}).shape("x") == (5,)
    assert load(save(open_, tmp_path), shapes={"x": [None, None, 5]}).shape("x") == (5,)
    assert load(save(open_, tmp_path), shapes={"x": [None, 4, 5]}).shape("x") == (4, 5)


# -- hostile files --------------------------------------------------------------------------------------------------


def test_damaged_files_end_in_typed_errors(tmp_path):
    data = _cell_model().SerializeToString()
    rng = np.random.default_rng(0)
    damaged = [data[:n] for n in range(0, len(data), 7)]
    for _ in range(400):
        flipped = bytearray(data)
        flipped[rng.integers(len(data))] ^= 1 << rng.integers(8)
        damaged.append(bytes(flipped))
    path = tmp_path / "damaged.onnx"
    for piece in damaged:
        path.write_bytes(piece)
        try:
            load(path)  # flipped weights are still a model
        except Error as error:
            assert "damaged.onnx" in str(error)
    path.write_bytes(b"\x80 this is no protobuf")
    with pytest.raises(FormatError, match=r"damaged\.onnx"):
        load(path)


def _external(tmp_path, location, **more):
    model = _cell_model()
    tensor = model.graph.initializer[0]
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    return save(model, folder), data


def test_external_data(tmp_path):
    path, data = _external(tmp_path, "deep/weights.bin", offset=4, length=96)
    (path.parent / "deep").mkdir()
    (path.parent / "deep" / "weights.bin").write_bytes(b"skip" + data)
    np.testing.assert_array_equal(
        load(path).nodes[0].weights["W"], load(save(_cell_model(), tmp_path)).nodes[0].weights["W"]
    )
    (path.parent / "deep" / "weights.bin").write_bytes(b"skip" + data[:-1])
    with pytest.raises(FormatError, match="99 bytes, expected 100"):
        load(path)
    (path.parent / "deep" / "weights.bin").unlink()
    (path.parent / "model.onnx.data").write_bytes(data)
    with pytest.raises(FormatError, match=r"keep its name; found 'model.onnx.data'"):
        load(path)


@pytest.mark.parametrize(
    "location",
    ["../w.bin", "/etc/hostname", "a/../../w.bin", "..\\w.bin", "C:\\w.bin", "", "link", "hard", "linked/w.bin"],
)
def test_external_data_must_stay_inside(location, tmp_path):
    path, data = _external(tmp_path, location)
    (tmp_path / "w.bin").write_bytes(data)
    (path.parent / "a").mkdir()
    os.symlink(tmp_path / "w.bin", path.parent / "link")
    os.symlink(tmp_path, path.parent / "linked")
    os.link(tmp_path / "w.bin", path.parent / "hard")
    with pytest.raises(FormatError, match=r"inside the model's folder|link"):
        load(path)


@pytest.mark.parametrize(("key", "value"), [("length", 10**12), ("offset", -4), ("offset", "x"), ("length", 95)])
def test_external_data_with_odd_places(key, value, tmp_path):
    path, data = _external(tmp_path, "w.bin", **{key: value})
    (path.parent / "w.bin").write_bytes(data)
    with pytest.raises(FormatError, match="offset"):
        load(path)


def _bomb(nodes, weights, **inputs):
    return make(nodes, {"x": ["T", "N", 2], **inputs}, {"y": None}, weights)


BOMBS = {
    "ConstantOfShape": ([node("ConstantOfShape", "s", "c"), node("Add", "x c", "y")], {"s": np.array([10**6, 10**6])}),
    "Expand": ([node("Expand", "c s", "e"), node("Add", "x e", "y")], {"c": np.float32(1), "s": np.array([10**9, 2])}),
    "Tile": (
        [node("Tile", "c s", "e"), node("Add", "x e", "y")],
        {"c": np.ones(2, np.float32), "s": np.array([10**10])},
    ),
    "Range": (
        [node("Range", "a b c", "e"), node("Add", "x e", "y")],
        {"a": np.float32(0), "b": np.float32(1e12), "c": np.float32(1)},
    ),
    "Pad": (
        [node("Pad", "c s", "e"), node("Add", "x e", "y")],
        {"c": np.ones(2, np.float32), "s": np.array([0, 10**11])},
    ),
    "outer": (
        [node("Mul", "c r", "m"), node("Add", "x m", "y")],
        {"c": np.ones((10**5, 1), np.float32), "r": np.ones((1, 10**5), np.float32)},
    ),
    "computed": ([node("Expand", "x s", "y")], {"s": np.array([10**8, 1, 1, 1])}),
    "combined": ([node("Add", "x c", "y")], {"c": np.ones((10**6, 1, 1, 1, 1), np.float32)}),
}


@pytest.mark.parametrize("name", [*BOMBS])
def test_small_files_cannot_ask_for_much_memory(name, tmp_path):
    with pytest.raises(UnsupportedError, match="elements"):
        load(save(_bomb(*BOMBS[name]), tmp_path))


def test_limits(tmp_path, monkeypatch):
    path = save(_cell_model(), tmp_path)
    for name, message in (
        ("MAX_FILE_BYTES", "bytes"),
        ("MAX_NODES", "nodes"),
        ("MAX_TENSOR_BYTES", "'W'"),
        ("MAX_TOTAL_BYTES", "bytes of tensors"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(limits, name, 0)
            with pytest.raises(UnsupportedError, match=message):
                load(path)
    model = _cell_model()
    model.graph.initializer[0].dims[1] = 10**15
    with pytest.raises(Error, match="'W'"):
        load(save(model, tmp_path))
    model = _cell_model()
    graph = model.graph
    for _ in range(limits.MAX_NESTING + 1):
        inner = helper.make_graph([], "inner", [], [])
        graph.node.append(helper.make_node("If", ["c"], ["o"], then_branch=inner, else_branch=inner))
        graph = graph.node[-1].attribute[0].g
    with pytest.raises(UnsupportedError, match="nested graphs"):
        load(save(model, tmp_path))


def test_real_models(tmp_path):
    """A denoiser whose two LSTM states lie in one tensor, on its last axis."""
    root = os.environ.get("UNDERTOW_MODELS")
    if not root:
        pytest.skip("UNDERTOW_MODELS is not set")
    graph = load(Path(root) / "stage2" / "dtln-mask" / "model_1.onnx")
    with np.load(Path(root) / "stage2" / "dtln-mask" / "expected_ort.npz") as expected:
        X, Y = expected["input"].reshape(-1, 257), expected["output"].reshape(-1, 257)
    np.testing.assert_allclose(reference.run(graph, X), Y, atol=1e-5)
