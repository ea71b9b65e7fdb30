# SPDX-License-Identifier: MIT
"""The operators beside the cells of an ONNX model, embeddings, several inputs and outputs, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_files import TensorProto, agree, helper, model_of, node, peer, random, save
from undertow.importers.onnx import load


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
    model = model_of(nodes, {"x": ["T", batch, 4]}, {"y": ["T", batch, None]}, weights, opset=rest[0] if rest else 17)
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
    model = model_of(nodes, {"ids": (["N", "T"], TensorProto.INT32)}, {"yt": ["N", "T", 1, 4]}, weights)
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
    model = model_of(nodes, {"a": ["T", "N", 2], "b": ["T", "N", 3]}, {"y": ["T", "N", 3], "p": ["T", "N", 3]}, weights)
    graph = load(save(model, tmp_path))
    a, b = random(rng, 4, 1, 2), random(rng, 4, 1, 3)
    expected = peer(model, {"a": a, "b": b})
    agree(graph, {"a": a[:, 0], "b": b[:, 0]}, {name: e[:, 0] for name, e in expected.items()})
