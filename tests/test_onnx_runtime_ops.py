# SPDX-License-Identifier: MIT
"""Operators of ONNX Runtime's own domain, against it: each alone, and as its optimiser and its quantiser write them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from onnx_files import (
    cell,
    graph_of,
    helper,
    model_of,
    node,
    onnx,
    onnxruntime,
    peer,
    random,
    save,
    session_of,
    stepped,
)
from tolerances import FLOAT32_PEER
from undertow.errors import FormatError, UnsupportedError
from undertow.importers.onnx.traits import RUNTIME, RUNTIME_OPERATORS

onnxruntime()
K, T = 6, 11
S, Z = np.float32(0.02), np.uint8(120)
#: of a second operand and of a result
S2, Z2, SY, ZY = np.float32(0.013), np.uint8(131), np.float32(0.03), np.uint8(99)


def runtime_model(nodes: list[Any], inputs: Any, outputs: Any, weights: Any = None, opset: int = 17) -> Any:
    model = model_of(nodes, inputs, outputs, weights, opset)
    model.opset_import.append(helper.make_opsetid(RUNTIME, 1))
    return model


def one(op: str, inputs: str, outputs: str = "r", **attrs: Any) -> Any:
    made = node(op, inputs, outputs, name="it", **attrs)
    made.domain = RUNTIME
    return made


def bytes_like(rng: np.random.Generator, *shape: int, signed: bool = False) -> np.ndarray:
    low, high = (-128, 128) if signed else (0, 256)
    return rng.integers(low, high, shape).astype(np.int8 if signed else np.uint8)


RNG = np.random.default_rng(5)
W = random(RNG, K, K)
ROW, ROW2 = random(RNG, K), random(RNG, K)
B8, B8S = bytes_like(RNG, K, K), bytes_like(RNG, K, K, signed=True)
KERNEL, BIAS = random(RNG, 3, K, 3), random(RNG, 3)
KERNEL8, BIAS32 = bytes_like(RNG, 3, K, 3, signed=True), RNG.integers(-500, 500, 3).astype(np.int32)
LINE = {"S": S, "Z": Z, "SY": SY, "ZY": ZY, "S2": S2, "Z2": Z2}
X8 = node("QuantizeLinear", "x S Z", "x8")  # of x [T, K]
Y8 = node("QuantizeLinear", "x S2 Z2", "y8")
LAST = {"turned": np.array([1, K, -1]), "line": np.array([-1, 3]), "wide": np.array([1, -1, 1, K])}
#: [T, K] -> [1, K, T], padded in front, and back from [1, 3, T]
TO_LINE = [node("Transpose", "x", "xt", perm=[1, 0]), node("Reshape", "xt turned", "xl")]


def behind(value: str) -> list[Any]:
    """[1, 3, T] -> y [T, 3]"""
    return [node("Transpose", value, "back", perm=[0, 2, 1]), node("Reshape", "back line", "y")]


def of_bytes(op: str, inputs: str, **attrs: Any) -> list[Any]:
    return [X8, Y8, one(op, inputs, "r8", **attrs), node("DequantizeLinear", "r8 SY ZY", "y")]


back16 = helper.make_node("DequantizeLinear", ["i", "s", "z"], ["y"], name="back", domain=RUNTIME)

#: operator -> its cases: nodes from x [T, K] to y, and weights
CASES: dict[str, list[tuple[list[Any], dict[str, Any]]]] = {
    "BiasGelu": [([one("BiasGelu", "x b", "y")], {"b": ROW})],
    "Gelu": [([one("Gelu", "x", "y")], {})],
    "FastGelu": [([one("FastGelu", "x b", "y")], {"b": ROW}), ([one("FastGelu", "x", "y")], {})],
    "QuickGelu": [([one("QuickGelu", "x", "y", alpha=a)], {}) for a in (1.702, 1.0)],
    "SkipLayerNormalization": [
        ([one("SkipLayerNormalization", "x x g b c", "y")], {"g": ROW, "b": ROW2, "c": ROW2}),
        ([one("SkipLayerNormalization", "x x g b", "y", epsilon=1e-3)], {"g": ROW, "b": ROW2}),
        (
            [
                helper.make_node("SkipLayerNormalization", ["x", "x", "g"], ["n", "", "", "s"], domain=RUNTIME),
                node("Add", "n s", "y"),
            ],
            {"g": ROW},
        ),
    ],
    "SkipSimplifiedLayerNormalization": [
        ([one("SkipSimplifiedLayerNormalization", "x x g c", "y", epsilon=1e-5)], {"g": ROW, "c": ROW2}),
    ],
    "CausalConvWithState": [
        (
            [
                *TO_LINE,
                one("CausalConvWithState", "xl taps b", "c last", activation="silu", dilation=2),
                node("Transpose", "c", "back", perm=[0, 2, 1]),
                node("Reshape", "back flat", "y"),
            ],
            {"taps": random(RNG, K, 1, 3), "b": ROW, "flat": np.array([-1, K])},
        )
    ],
    "LinearAttention": [
        (
            [
                node("Reshape", "x rows", "xr"),
                one("LinearAttention", "xr xr xr", "r last", q_num_heads=3, kv_num_heads=3, update_rule="linear"),
                node("Reshape", "r flat", "y"),
            ],
            {"rows": np.array([1, -1, K]), "flat": np.array([-1, K])},
        )
    ],
    "RotaryEmbedding": [
        (
            [
                node("Reshape", "x rows", "xr"),
                one("RotaryEmbedding", "xr at cos sin", "r", interleaved=1),
                node("Reshape", "r flat", "y"),
            ],
            {
                "rows": np.array([-1, 3, 1, 2]),
                "flat": np.array([-1, K]),
                "at": np.array([2]),
                "cos": random(RNG, 4, 1),
                "sin": random(RNG, 4, 1),
            },
        )
    ],
    "SimplifiedLayerNormalization": [],  # in test_onnx_positions.py: ONNX Runtime has it in ONNX's domain alone
    "FusedMatMul": [
        ([one("FusedMatMul", "x W", "y", alpha=0.5)], {"W": W}),
        ([one("FusedMatMul", "x W", "y", transB=1)], {"W": random(RNG, 3, K)}),
    ],
    "TransposeMatMul": [([one("TransposeMatMul", "x W", "y", transB=1, alpha=2.0)], {"W": random(RNG, 3, K)})],
    "FusedGemm": [
        ([one("FusedGemm", "x W b", "y", transB=1, activation=kind, **more)], {"W": W, "b": ROW})
        for kind, more in (
            ("Relu", {}),
            ("Tanh", {"alpha": 0.5, "beta": 2.0}),
            ("LeakyRelu", {"activation_alpha": 0.2}),
            ("HardSigmoid", {"activation_alpha": 0.3, "activation_beta": 0.4}),
        )
    ],
    "FusedConv": [
        ([*TO_LINE, one("FusedConv", "xl k b", "c", pads=[2, 0], activation=kind, **more), *behind("c")], {})
        for kind, more in (
            ("Relu", {}),
            ("LeakyRelu", {"activation_params": [0.2]}),
            ("Clip", {"activation_params": [-0.5, 0.5]}),
            ("HardSigmoid", {"activation_params": [0.3, 0.4]}),
        )
    ],
    "LayerNormalization": [],  # test_layer_norm_of_older_operator_sets
    "MatMulIntegerToFloat": [
        ([X8, one("MatMulIntegerToFloat", "x8 B S S2 Z BZ b", "y")], {"B": B8, "BZ": np.uint8(127), "b": ROW}),
        (
            [X8, one("MatMulIntegerToFloat", "x8 B S BS Z BZ", "y")],
            {"B": B8S, "BS": abs(ROW), "BZ": np.zeros(K, np.int8)},
        ),
    ],
    "QGemm": [
        (of_bytes("QGemm", "x8 S Z B S2 BZ C SY ZY", transB=1), {"B": B8S, "BZ": np.int8(3), "C": BIAS32.repeat(2)}),
        ([X8, one("QGemm", "x8 S Z B S2 BZ C", "y", alpha=0.5)], {"B": B8, "BZ": np.uint8(99), "C": BIAS32.repeat(2)}),
    ],
    "QLinearAdd": [(of_bytes("QLinearAdd", "x8 S Z y8 S2 Z2 SY ZY"), {})],
    "QLinearMul": [(of_bytes("QLinearMul", "x8 S Z y8 S2 Z2 SY ZY"), {})],
    "QLinearSigmoid": [(of_bytes("QLinearSigmoid", "x8 S Z SY ZY"), {"SY": np.float32(1 / 256), "ZY": np.uint8(0)})],
    "QLinearLeakyRelu": [(of_bytes("QLinearLeakyRelu", "x8 S Z SY ZY", alpha=0.1), {})],
    "QLinearSoftmax": [
        (
            of_bytes("QLinearSoftmax", "x8 S Z SY ZY", axis=axis, opset=opset),
            {"SY": np.float32(1 / 256), "ZY": np.uint8(0)},
        )
        for axis, opset in ((-1, 13), (1, 12))
    ],
    "QLinearConcat": [(of_bytes("QLinearConcat", "SY ZY x8 S Z y8 S2 Z2", axis=1), {})],
    "QLinearWhere": [
        (
            [node("Greater", "x zero", "positive"), *of_bytes("QLinearWhere", "positive x8 S Z y8 S2 Z2 SY ZY")],
            {"zero": np.float32(0)},
        )
    ],
    "QLinearConv": [
        (
            [
                *TO_LINE,
                node("QuantizeLinear", "xl S Z", "x8"),
                one("QLinearConv", "x8 S Z k8 ks kz SY ZY c8", "r", pads=[2, 0]),
                node("DequantizeLinear", "r SY ZY", "f"),
                *behind("f"),
            ],
            {"SY": np.float32(0.7)},
        ),
        (
            [
                node("QuantizeLinear", "x S Z", "q"),
                node("Reshape", "q rows", "x8"),
                one("QLinearConv", "x8 S Z k8 ks kz SY ZY c8", "r", pads=[2, 0], channels_last=1),
                node("DequantizeLinear", "r SY ZY", "f"),
                node("Reshape", "f line", "y"),
            ],
            {"SY": np.float32(0.7), "rows": np.array([1, -1, K])},
        ),
    ],
    "QLinearAveragePool": [
        (
            [
                X8,
                node("Reshape", "x8 wide", "w8"),
                one("QLinearAveragePool", "w8 S Z SY ZY", "r", kernel_shape=[1, 2], **more),
                node("DequantizeLinear", "r SY ZY", "f"),
                node("Reshape", "f rows", "y"),
            ],
            {"wide": np.array(wide), "rows": np.array(rows)},
        )
        for wide, rows, more in (
            ([-1, 1, 1, K], [-1, K - 1], {}),
            ([-1, 1, K, 1], [-1, K - 1], {"channels_last": 1}),
        )
    ],
    "QLinearGlobalAveragePool": [
        (
            [
                X8,
                node("Reshape", "x8 wide", "w8"),
                one("QLinearGlobalAveragePool", "w8 S Z SY ZY", "r", channels_last=last),
                node("DequantizeLinear", "r SY ZY", "f"),
                node("Reshape", "f rows", "y"),
            ],
            {"wide": np.array([-1, 2, 1, 3]), "rows": np.array([-1, 3 if last else 2])},
        )
        for last in (0, 1)
    ],
    "NhwcMaxPool": [
        (
            [
                X8,
                node("Reshape", "x8 wide", "w8"),
                one("NhwcMaxPool", "w8", "r", kernel_shape=[1, 2]),
                node("DequantizeLinear", "r S Z", "f"),
                node("Reshape", "f rows", "y"),
            ],
            {"wide": np.array([-1, 1, K, 1]), "rows": np.array([-1, K - 1])},
        )
    ],
    "QuantizeLinear": [
        (
            [one("QuantizeLinear", "x s z", "q"), node("Identity", "q", "i"), back16],
            {"s": np.float32(1e-3), "z": np.int16(5)},
        )
    ],
    "DequantizeLinear": [
        ([X8, one("DequantizeLinear", "x8 S Z", "y")], {}),
    ],
    "DynamicQuantizeMatMul": [],  # below, with DynamicQuantizeLSTM
    "DynamicQuantizeLSTM": [],
}
SHARED = {
    **LINE,
    **LAST,
    "k": KERNEL,
    "b": BIAS,
    "k8": KERNEL8,
    "ks": np.float32(0.01),
    "kz": np.int8(0),
    "c8": BIAS32,
}


def test_every_row_is_tried() -> None:
    assert {f"{RUNTIME}.{op}" for op in CASES} == RUNTIME_OPERATORS.keys()


@pytest.mark.parametrize(("op", "number"), [(op, i) for op, cases in CASES.items() for i in range(len(cases))])
def test_an_operator_gives_what_onnx_runtime_gives(op: str, number: int, tmp_path: Path) -> None:
    nodes, weights = CASES[op][number]
    used = {name for made in nodes for name in made.input}
    weights = {name: array for name, array in {**SHARED, **weights}.items() if name in used}
    source = runtime_model(nodes, {"x": ["T", K]}, ["y"], weights)
    model = undertow.load(save(source, tmp_path))
    for n in (1, T):
        X = random(np.random.default_rng(n), n, K)
        want = peer(source, {"x": X}, optimise=False)["y"]
        got = model.run(X).reshape(want.shape)
        if op.startswith("Q") and op != "QuickGelu":
            # of integers: the same, or the next one where float32 stands halfway between both
            steps = np.rint(abs(got - want) / weights.get("SY", S if "s" not in weights else 1e-3))
            assert steps.max() <= 1
            assert (steps > 0).mean() <= 0.02
        else:
            np.testing.assert_allclose(got, want, rtol=0, atol=FLOAT32_PEER)


def test_layer_norm_of_older_operator_sets(tmp_path: Path) -> None:
    """Of ONNX only since operator set 17; ONNX Runtime writes it into older ones."""
    weights = {"g": ROW, "b": ROW2}
    source = model_of([node("LayerNormalization", "x g b", "y", epsilon=1e-3)], {"x": ["T", K]}, ["y"], weights, 13)
    X = random(np.random.default_rng(0), T, K)
    got = undertow.load(save(source, tmp_path)).run(X)
    np.testing.assert_allclose(got, peer(source, {"x": X}, optimise=False)["y"], rtol=0, atol=FLOAT32_PEER)


# -- what is rounded while it runs ------------------------------------------------------------------------------------

H = 8


def quantised(folder: Path, source: Any, **options: Any) -> Path:
    """A file as ONNX Runtime's dynamic quantiser makes it."""
    quantization = pytest.importorskip("onnxruntime.quantization", reason="needs its parts: pip install onnxruntime")
    path = save(source, folder, "float.onnx")
    quantization.quantize_dynamic(path, folder / "int8.onnx", **options)
    return folder / "int8.onnx"


def of_lstm(rng: np.random.Generator, n_steps: Any, n_items: Any = 1, **attrs: Any) -> Any:
    """x [T, N, K] -> LSTM -> a product -> y [T, N, 3]; with states as inputs and outputs."""
    nodes = [
        node("LSTM", "x W R B none h c", "Y h_out c_out", hidden_size=H, **attrs),
        node("Squeeze", "Y one", "s"),
        node("MatMul", "s V", "y"),
    ]
    nodes[0].input[4] = ""
    weights = {**cell(rng, "LSTM", K, H, bias=True), "V": random(rng, H, 3), "one": np.array([1])}
    states = {name: [1, n_items, H] for name in ("h", "c")}
    outputs = {"y": [n_steps, n_items, 3], "h_out": [1, n_items, H], "c_out": [1, n_items, H]}
    return graph_of(nodes, {"x": [n_steps, n_items, K], **states}, outputs, weights)


@pytest.mark.parametrize("options", [{}, {"per_channel": True, "reduce_range": True}], ids=["tensor", "channel"])
@pytest.mark.parametrize(
    "attrs", [{}, {"clip": 0.4, "activations": ["HardSigmoid", "Relu", "Tanh"], "input_forget": 1}]
)
def test_a_step_is_rounded_as_onnx_runtime_rounds_it(options, attrs, tmp_path, rng) -> None:
    if "input_forget" in attrs:
        attrs = {**attrs, "activation_alpha": [0.3], "activation_beta": [0.4]}
    path = quantised(tmp_path, of_lstm(rng, 1, **attrs), **options)
    assert any(made.op_type == "DynamicQuantizeLSTM" for made in onnx.load(path).graph.node)
    model, X = undertow.load(path), random(rng, 60, 1, 1, K)
    states = {name: (f"{name}_out", (1, 1, H)) for name in ("h", "c")}
    expected = stepped(path, {"x": X}, states)["y"].reshape(60, 3)
    apart = abs(model.run(X.reshape(60, K)) - expected).max(1)
    # Where float32 stands halfway between two bytes, one of them is as good, and the next steps see that.
    assert (apart < FLOAT32_PEER).mean() > 0.9
    assert apart.max() < 0.02 * abs(expected).max()
    assert "warning" not in model.source


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("options", [{}, {"per_channel": True}], ids=["tensor", "channel"])
def test_a_sequence_is_not_rounded_and_says_so(direction, options, tmp_path, rng) -> None:
    """Its integer weights, as the floats that they stand for, in a float LSTM and a float product."""
    D = 2 if direction == "bidirectional" else 1
    nodes = [
        node("LSTM", "x W R B", "Y", hidden_size=H, direction=direction),
        node("Transpose", "Y", "t", perm=[0, 2, 1, 3]),
        node("Reshape", "t rows", "s"),
        node("MatMul", "s V", "y"),
    ]
    weights = {**cell(rng, "LSTM", K, H, D, bias=True), "V": random(rng, D * H, 3), "rows": np.array([0, 0, -1])}
    source = graph_of(nodes, {"x": ["T", 1, K]}, {"y": ["T", 1, 3]}, weights)
    path = quantised(tmp_path, source, **options)
    with pytest.warns(undertow.ModelWarning, match=r"DynamicQuantizeLSTM node .* is rounded to 8 bits, by the largest"):
        model = undertow.load(path)
    assert any("which a stream knows too late" in line for line in model.source.splitlines())
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    for name in "WR":
        scale, zero = (arrays[f"{name}_{what}"].reshape(D, 1, -1) for what in ("scale", "zero_point"))
        weights[name] = ((arrays[f"{name}_quantized"] - zero.astype(np.float32)) * scale).transpose(0, 2, 1)
    scale, zero = arrays["V_scale"], arrays["V_zero_point"].astype(np.float32)
    weights["V"] = (arrays["V_quantized"] - zero) * scale
    X = random(rng, 40, 1, K)
    (expected,) = session_of(graph_of(nodes, {"x": ["T", 1, K]}, ["y"], weights)).run(None, {"x": X})
    np.testing.assert_allclose(model.run(X[:, 0]), expected[:, 0], rtol=0, atol=FLOAT32_PEER)
    # what ONNX Runtime gives differs by less than a byte's rounding of what goes into a sum
    (rounded,) = session_of(path).run(None, {"x": X})
    assert 0 < abs(rounded - expected).max() < 0.02 * abs(expected).max()


def test_convolutions_along_time_are_not_rounded(tmp_path, rng) -> None:
    nodes = [
        node("Pad", "x pads", "p"),
        node("Conv", "p k b", "c"),
        node("Relu", "c", "y"),
    ]
    weights = {"k": random(rng, 3, K, 3), "b": random(rng, 3), "pads": np.array([0, 0, 2, 0, 0, 0])}
    path = quantised(tmp_path, graph_of(nodes, {"x": [1, K, "T"]}, {"y": [1, 3, "T"]}, weights))
    assert any(made.op_type == "ConvInteger" for made in onnx.load(path).graph.node)
    with pytest.warns(undertow.ModelWarning, match="is rounded to 8 bits"):
        model = undertow.load(path)
    X = random(rng, 30, K)
    (expected,) = session_of(path).run(None, {"x": X.T[None]})
    assert abs(model.run(X) - expected[0].T).max() < 0.02 * abs(expected).max()


def test_a_clip_is_rounded_as_a_whole(tmp_path, rng) -> None:
    """Of a fixed size, all of it is one frame, and its range is known."""
    source = graph_of([node("MatMul", "x V", "y")], {"x": [5, K]}, {"y": [5, 3]}, {"V": random(rng, K, 3)})
    path = quantised(tmp_path, source)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = undertow.load(path)
    X = random(rng, 4, 5, K)
    expected = np.stack([session_of(path).run(None, {"x": x})[0] for x in X])
    np.testing.assert_allclose(model.run(X), expected, rtol=0, atol=FLOAT32_PEER)


def test_a_product_of_a_final_state_is_rounded_as_onnx_runtime_does(tmp_path, rng) -> None:
    """Only that is known when it is asked for: the last state of a sequence so far."""
    nodes = [node("GRU", "x W R", "Y h", hidden_size=H), node("Squeeze", "h zero", "s"), node("MatMul", "s V", "y")]
    weights = {**cell(rng, "GRU", K, H), "V": random(rng, H, 3), "zero": np.array([0])}
    path = quantised(tmp_path, graph_of(nodes, {"x": ["T", 1, K]}, {"y": [1, 3]}, weights))
    model, X = undertow.load(path), random(rng, 20, 1, K)
    for n in (1, 7, 20):
        (expected,) = session_of(path).run(None, {"x": X[:n]})
        np.testing.assert_allclose(model.run(X[:n, 0])[-1], expected[0], rtol=0, atol=FLOAT32_PEER)


# -- files that ONNX Runtime has optimised ----------------------------------------------------------------------------


def network(rng: np.random.Generator) -> Any:
    """[1, T, K] -> convolution, GRU, what the optimiser fuses -> [1, T, 3]."""
    nodes = [
        node("Transpose", "x", "xt", perm=[0, 2, 1]),
        node("Conv", "xt k kb", "c", pads=[2, 0]),
        node("Relu", "c", "r"),
        node("Transpose", "r", "rt", perm=[2, 0, 1]),
        node("GRU", "rt W R B", "Y", hidden_size=H),
        node("Squeeze", "Y one", "s"),
        node("Transpose", "s", "st", perm=[1, 0, 2]),
        node("Add", "st st", "twice"),
        node("LayerNormalization", "twice g b", "n"),
        node("MatMul", "n V", "p"),
        node("Add", "p g", "pb"),
        node("Div", "pb root", "d"),
        node("Erf", "d", "e"),
        node("Add", "e unit", "e1"),
        node("Mul", "pb e1", "m"),
        node("Mul", "m half", "gelu"),
        node("Mul", "gelu quick", "q"),
        node("Sigmoid", "q", "qs"),
        node("Mul", "gelu qs", "z"),
        node("MatMul", "z U", "u"),
        node("Mul", "u half", "y"),
    ]
    weights = {
        **cell(rng, "GRU", H, H, bias=True),
        "k": random(rng, H, K, 3),
        "kb": random(rng, H),
        "one": np.array([1]),
        "g": random(rng, H),
        "b": random(rng, H),
        "V": random(rng, H, H),
        "U": random(rng, H, 3),
        "root": np.float32(np.sqrt(2)),
        "unit": np.float32(1),
        "half": np.float32(0.5),
        "quick": np.float32(1.702),
    }
    return graph_of(nodes, {"x": [1, "T", K]}, {"y": [1, "T", 3]}, weights)


def optimised(folder: Path, source: Any, level: str) -> Path:
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(folder / f"{level}.onnx")
    ort.InferenceSession(str(save(source, folder)), options, providers=["CPUExecutionProvider"])
    return folder / f"{level}.onnx"


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("level", ["BASIC", "EXTENDED"])
def test_optimised_files(level, opset, tmp_path, rng) -> None:
    source = helper.make_model(network(rng), opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    if opset < 17:  # which has no LayerNormalization
        (norm,) = (made for made in source.graph.node if made.op_type == "LayerNormalization")
        norm.op_type, norm.input[:] = "Mul", norm.input[:2]
    path = optimised(tmp_path, source, level)
    fused = {made.op_type for made in onnx.load(path).graph.node if made.domain == RUNTIME}
    assert level == "BASIC" or {"FusedConv", "QuickGelu"} <= fused
    X = random(rng, 23, K)
    (expected,) = session_of(source, optimise=False).run(None, {"x": X[None]})
    np.testing.assert_allclose(undertow.load(path).run(X), expected[0], rtol=0, atol=FLOAT32_PEER)


def test_attention_of_an_optimised_clip(tmp_path, rng) -> None:
    """Transposes and factors become settings of FusedMatMul, which also moves an axis in front of the others."""
    nodes = [
        node("Transpose", "x", "xt", perm=[1, 0, 2]),  # T, 1, K
        node("Tanh", "xt", "a"),
        node("Transpose", "a", "keys", perm=[1, 2, 0]),
        node("Transpose", "a", "queries", perm=[1, 0, 2]),
        node("MatMul", "queries keys", "scores"),
        node("Mul", "scores tenth", "scaled"),
        node("Softmax", "scaled", "shares", axis=-1),
        node("MatMul", "shares queries", "y"),
    ]
    source = graph_of(nodes, {"x": [1, T, K]}, {"y": [1, T, K]}, {"tenth": np.float32(0.1)})
    path = optimised(tmp_path, source, "EXTENDED")
    assert "FusedMatMul" in {made.op_type for made in onnx.load(path).graph.node}
    X = random(rng, 2, T, K)
    model = undertow.load(path)
    expected = [session_of(source).run(None, {"x": x[None]})[0] for x in X]
    np.testing.assert_allclose(model.run(X).reshape(2, T, K), np.concatenate(expected), rtol=0, atol=FLOAT32_PEER)


# -- refused by name --------------------------------------------------------------------------------------------------


def test_what_was_laid_out_for_one_processor_says_the_way_out(tmp_path) -> None:
    made = helper.make_node("ReorderInput", ["x"], ["y"], name="it", domain=f"{RUNTIME}.nchwc")
    model = model_of([made], {"x": [1, 8, "T"]}, ["y"])
    model.opset_import.append(helper.make_opsetid(f"{RUNTIME}.nchwc", 1))
    with pytest.raises(
        UnsupportedError, match=r"nchwc\.ReorderInput node 'it'.*optimise it at level ORT_ENABLE_EXTENDED"
    ):
        undertow.load(save(model, tmp_path))


REFUSED = {
    "no scale": (one("DynamicQuantizeLSTM", "x x x", "y"), "a weight is computed at run time", {}),
    "an activation": (
        one("FusedGemm", "x W", "y", activation="Affine"),
        "activation='Affine' is not supported",
        {"W": W},
    ),
    "numbers": (
        one("FusedGemm", "x W", "y", activation="Relu", activation_alpha=2.0),
        r"attribute activation_alpha=2\.0 is not one of activation 'Relu'",
        {"W": W},
    ),
    "a setting": (one("Gelu", "x", "y", mode=3), r"Gelu node 'it': attribute mode=3 is not supported", {}),
    "an operator": (
        one("GroupQueryAttention", "x", "y"),
        "GroupQueryAttention node 'it'.*this one is not computed",
        {},
    ),
    "a missing input": (helper.make_node("FusedMatMul", ["x", ""], ["y"], "it", domain=RUNTIME), "lacks an input", {}),
    "inputs of a Concat": (one("QLinearConcat", "S Z x", "y", axis=1), "has 3 inputs, expected two, and three", LINE),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_computed_is_refused_by_name(case, tmp_path) -> None:
    made, message, weights = REFUSED[case]
    weights = {name: array for name, array in weights.items() if name in made.input}
    with pytest.raises((UnsupportedError, FormatError), match=message):
        undertow.load(save(runtime_model([made], {"x": ["T", K]}, ["y"], weights), tmp_path))


def test_errors_name_the_node_of_the_file(tmp_path) -> None:
    """Not one of those that stand for it."""
    made = one("BiasGelu", "x b", "y")
    source = runtime_model([made], {"x": ["T", K]}, ["y"], {"b": np.zeros(K + 1, np.float32)})
    with pytest.raises(undertow.Error, match=r"BiasGelu node 'it' \(Add in its definition\)"):
        undertow.load(save(source, tmp_path))
