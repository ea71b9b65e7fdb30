# SPDX-License-Identifier: MIT
"""The RTNeural importer: its three dialects against the oracle, refusals by name, hostile JSON."""

from __future__ import annotations

import json
import random
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracle
import undertow
from keras_files import check
from tolerances import FLOAT32_MODEL
from undertow import reference
from undertow.errors import Error, FormatError, ModelWarning, ShapeError, UnsupportedError
from undertow.importers import nam, rtneural

rng = np.random.default_rng(11)


def weights(*shape: int) -> np.ndarray:
    return (rng.normal(size=shape) * 0.5).astype(np.float32)


def entry(kind: str, units: int, *arrays: np.ndarray, activation: str = "", **more: Any) -> dict[str, Any]:
    lists = [a.tolist() if isinstance(a, np.ndarray) else a for a in arrays]
    return {"type": kind, "activation": activation, "shape": [None, None, units], "weights": lists, **more}


def write(path: Path, *layers: dict[str, Any], n_in: int = 1, **more: Any) -> Path:
    path.write_text(json.dumps({"in_shape": [None, None, n_in], "layers": layers, **more}))
    return path


def by_hand_gru(X: np.ndarray, K: np.ndarray, R: np.ndarray, b: np.ndarray) -> np.ndarray:
    return oracle.gru(X[:, None], K.T[None], R.T[None], b.reshape(1, -1), linear_before_reset=1)[0][:, 0, 0]


def by_hand_lstm(X: np.ndarray, K: np.ndarray, R: np.ndarray, b: np.ndarray) -> np.ndarray:
    """K (inputs, 4H) in order i f c o; ONNX wants i o f c."""

    def onnx(w: np.ndarray) -> np.ndarray:
        return np.concatenate([np.split(w, 4)[k] for k in (0, 3, 1, 2)])

    B = np.concatenate([onnx(b), 0 * b])[None]
    return oracle.lstm(X[:, None], onnx(K.T)[None], onnx(R.T)[None], B)[0][:, 0, 0]


# -- layers -----------------------------------------------------------------------------------------------------------


def test_every_layer_of_the_keras_dialect(tmp_path: Path) -> None:
    X = rng.normal(size=(40, 2)).astype(np.float32)
    d0, b0 = weights(2, 4), weights(4)
    gru = weights(4, 15), weights(5, 15), weights(2, 15)
    lstm = weights(5, 12), weights(3, 12), weights(12)
    gamma, beta, mean, variance = weights(3), weights(3), weights(3), abs(weights(3)) + 0.5
    slope, d1 = weights(3), weights(3, 6)
    path = write(
        tmp_path / "m.json",
        entry("time-distributed-dense", 4, d0, b0, activation="tanh"),
        entry("gru", 5, *gru, activation="tanh"),
        entry("lstm", 3, *lstm),
        entry("batchnorm", 3, gamma, beta, mean, variance, epsilon=0.01),
        entry("prelu", 3, slope[None]),
        entry("batchnorm", 3, mean, variance, epsilon=0.5),
        entry("dense", 6, d1, activation="elu"),
        entry("activation", 6, activation="softmax"),
        n_in=2,
        author="nobody",
        metadata={"samplerate": 48000},
    )
    y = np.tanh(X.astype(np.float64) @ d0 + b0)
    y = by_hand_lstm(by_hand_gru(y, *gru), *lstm)
    y = (y - mean) / np.sqrt(variance + 0.01) * gamma + beta
    y = np.where(y > 0, y, slope * y)
    y = ((y - mean) / np.sqrt(variance + 0.5)) @ d1
    y = np.where(y > 0, y, np.exp(y) - 1)
    y = np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)
    check(rtneural.load(path), {"input": X}, {"output": y}, FLOAT32_MODEL, label="layers")


def test_convolutions_see_the_past(tmp_path: Path) -> None:
    X = rng.normal(size=(30, 2)).astype(np.float32)
    k0, b0, k1, b1, k2 = weights(3, 2, 4), weights(4), weights(2, 2, 6), weights(6), weights(1, 6, 1)
    keras_input = {"type": "unknown", "activation": "", "shape": [[None, None, 2]], "weights": []}
    path = write(
        tmp_path / "m.json",
        keras_input,  # the exporter knows no InputLayer
        entry("conv1d", 4, k0, b0, activation="tanh", kernel_size=[3], dilation=[2]),
        entry("conv1d", 6, k1, b1, kernel_size=[2], dilation=[3], groups=2),
        entry("conv1d", 1, k2, activation="relu", kernel_size=[1], dilation=[1], groups=1),
        n_in=2,
    )
    y, rows = X.astype(np.float64), []
    for t in range(30):
        rows.append(b0 + sum(y[t - 2 * (2 - k)] @ k0[k] for k in range(3) if t >= 2 * (2 - k)))
    y, rows = np.tanh(rows), []
    for t in range(30):
        halves = [
            sum(
                y[t - 3 * (1 - k), 2 * g : 2 * g + 2] @ k1[k][:, 3 * g : 3 * g + 3]
                for k in range(2)
                if t >= 3 * (1 - k)
            )
            for g in range(2)
        ]
        rows.append(b1 + np.concatenate(halves))
    y = np.maximum(np.array(rows) @ k2[0], 0)
    check(rtneural.load(path), {"input": X}, {"output": y}, FLOAT32_MODEL, label="conv1d")


def test_a_neural_amp_modeler_capture_in_a_json_file(tmp_path: Path) -> None:
    config = {"input_size": 1, "hidden_size": 2, "num_layers": 1}
    capture = {"version": "0.5.4", "architecture": "LSTM", "config": config, "weights": weights(39).tolist()}
    for name in ("a.json", "a.nam", "a"):
        (tmp_path / name).write_text(json.dumps(capture))
    assert rtneural.load(tmp_path / "a.json").source == nam.load(tmp_path / "a.nam").source
    X = rng.normal(size=(9, 1)).astype(np.float32)
    wanted, *others = (undertow.load(tmp_path / name).run(X) for name in ("a.nam", "a.json", "a"))
    for y in others:
        np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize(
    ("n_in", "in_gain", "out_gain"), [(1, 0.0, 0.0), (1, 6.0, -12.5), (3, -3.0, 2.0), (1, -90.0, None)]
)
def test_skip_and_gains_of_plugin_models(n_in: int, in_gain: float, out_gain: float | None, tmp_path: Path) -> None:
    X = rng.normal(size=(30, n_in)).astype(np.float32)
    lstm, W, b = (weights(n_in, 8), weights(2, 8), weights(8)), weights(2, 1), weights(1)
    more = {"in_skip": 1, "in_gain": in_gain, "out_gain": out_gain}
    path = write(tmp_path / "m.json", entry("lstm", 2, *lstm), entry("dense", 1, W, b), n_in=n_in, **more)

    def factor(gain: float | None) -> float:
        return 1.0 if gain is None else 10 ** (gain / 20) if gain > -90 else 0.0

    x = X.astype(np.float64)
    x[:, 0] *= factor(in_gain)
    expected = (by_hand_lstm(x, *lstm) @ W + b + x[:, :1]) * factor(out_gain)
    check(rtneural.load(path), {"input": X}, {"output": expected}, FLOAT32_MODEL, label=f"skip, {in_gain} dB")


# -- PyTorch dialects -------------------------------------------------------------------------------------------------


def torch_layer(op: str, n_in: int, units: int, prefix: str, number: int, bias: bool = True) -> dict[str, Any]:
    rows = {"lstm": 4, "gru": 3, "rnn": 1}[op] * units
    arrays = {"weight_ih": weights(rows, n_in), "weight_hh": weights(rows, units)}
    if bias:
        arrays |= {"bias_ih": weights(rows), "bias_hh": weights(rows)}
    return {f"{prefix}{kind}_l{number}": a for kind, a in arrays.items()}


def torch_by_hand(op: str, X: np.ndarray, tensors: dict[str, Any], prefix: str, number: int) -> np.ndarray:
    order = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}[op]  # i f g o -> i o f g, r z n -> z r n

    def onnx(kind: str) -> np.ndarray:
        w = tensors[f"{prefix}{kind}_l{number}"]
        return np.concatenate([np.split(w, len(order))[k] for k in order])

    B = np.concatenate([onnx("bias_ih"), onnx("bias_hh")])[None] if f"{prefix}bias_ih_l0" in tensors else None
    more = {"linear_before_reset": 1} if op == "gru" else {}
    run = {"lstm": oracle.lstm, "gru": oracle.gru, "rnn": oracle.rnn}[op]
    return run(X[:, None], onnx("weight_ih")[None], onnx("weight_hh")[None], B, **more)[0][:, 0, 0]


def as_json(tensors: dict[str, Any]) -> dict[str, Any]:
    return {k: v.tolist() for k, v in tensors.items()}


@pytest.mark.parametrize(
    ("op", "bias", "n_in", "n_out", "skip", "n_layers"),
    [
        ("lstm", True, 1, 1, 1, 1),
        ("gru", True, 2, 1, 1, 2),
        ("lstm", False, 1, 1, 0, 3),
        ("rnn", True, 3, 2, 2, 1),
        ("gru", False, 2, 3, 1, 1),
    ],
)
def test_model_data_with_state_dict(
    op: str, bias: bool, n_in: int, n_out: int, skip: int, n_layers: int, tmp_path: Path
) -> None:
    units = 4
    tensors: dict[str, Any] = {}
    for number in range(n_layers):
        tensors |= torch_layer(op, units if number else n_in, units, "rec.", number, bias)
    tensors |= {"lin.weight": weights(n_out, units), "lin.bias": weights(n_out)}
    data = {"model": "SimpleRNN", "input_size": n_in, "skip": skip, "output_size": n_out, "unit_type": op.upper()}
    data |= {"num_layers": n_layers, "hidden_size": units, "bias_fl": True}
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"model_data": data, "state_dict": as_json(tensors)}))
    X = rng.normal(size=(25, n_in)).astype(np.float32)
    y: np.ndarray = X
    for number in range(n_layers):
        y = torch_by_hand(op, y, tensors, "rec.", number)
    y = y @ tensors["lin.weight"].T + tensors["lin.bias"] + (X[:, :skip] if skip else 0.0)
    check(rtneural.load(path), {"input": X}, {"output": y}, FLOAT32_MODEL, label=f"model_data {op} x{n_layers}")


def test_state_dict_of_one_chain(tmp_path: Path) -> None:
    tensors = {**torch_layer("gru", 2, 3, "first.", 0), **torch_layer("lstm", 3, 4, "core.second.", 0)}
    tensors |= torch_layer("lstm", 4, 4, "core.second.", 1) | {"head.weight": weights(1, 4), "head.bias": weights(1)}
    path = tmp_path / "m.json"
    path.write_text(json.dumps(as_json(tensors)))
    X = rng.normal(size=(25, 2)).astype(np.float32)
    y = torch_by_hand("gru", X, tensors, "first.", 0)
    for number in (0, 1):
        y = torch_by_hand("lstm", y, tensors, "core.second.", number)
    places = "behind 'first' .GRU. and behind 'core.second' .LSTM. and behind 'head'"
    with pytest.warns(ModelWarning, match=f"nothing is applied {places}") as told:
        rtneural.load(path)
    graph = rtneural.load(path, assume_as_wired=True)
    check(
        graph,
        {"input": X},
        {"output": y @ tensors["head.weight"].T + tensors["head.bias"]},
        FLOAT32_MODEL,
        label="chain",
    )
    assert list(graph.states) == [
        "first.h",
        "core.second_l0.h",
        "core.second_l0.c",
        "core.second_l1.h",
        "core.second_l1.c",
    ]
    _, _, lines = str(told[0].message).partition("Write the wiring, for example:\n")
    scope: dict[str, Any] = {"undertow": undertow}
    exec(textwrap.dedent(lines.replace('"sigmoid"', "None")), scope)  # our own words
    np.testing.assert_allclose(scope["model"].run(X), reference.run(graph, X), rtol=0, atol=FLOAT32_MODEL)


# -- refused ----------------------------------------------------------------------------------------------------------

D11 = entry("dense", 1, [[1.0]], [0.0])
LSTM1 = torch_layer("lstm", 1, 2, "rec.", 0)
LIN = {"lin.weight": weights(1, 2), "lin.bias": weights(1)}
DATA = {
    "input_size": 1,
    "skip": 1,
    "output_size": 1,
    "unit_type": "LSTM",
    "num_layers": 1,
    "hidden_size": 2,
    "bias_fl": True,
}


def layers(*entries: Any, **more: Any) -> dict[str, Any]:
    return {"in_shape": [None, None, 1], "layers": list(entries), **more}


def trained(tensors: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    return {"model_data": {**DATA, **data}, "state_dict": as_json(tensors or {**LSTM1, **LIN})}


CONV = {"kernel_size": [1], "dilation": [1]}
INPUT = {"type": "unknown", "activation": "", "shape": [[None, None, 1]], "weights": []}

REFUSED: list[tuple[Any, type[Error], str]] = [
    (layers(entry("conv2d", 1, [[[[1.0]]]], [0.0])), UnsupportedError, "layer 0: layer type 'conv2d'"),
    (layers(entry("conv1d", 1, [[[1.0]]], [0.0], **CONV, strides=2)), UnsupportedError, "'strides' = 2"),
    (layers(entry("conv1d", 1, [[[1.0]]], [0.0])), FormatError, "'kernel_size' must be a whole number"),
    (
        layers(entry("conv1d", 1, [[[1.0]]], [0.0], kernel_size=[2], dilation=[1])),
        ShapeError,
        r"expected \[\(2, 1, 1\)",
    ),
    (layers(entry("conv1d", 1, [[[1.0]]], [0.0], **CONV, groups=3)), ShapeError, "groups = 3"),
    (layers({**INPUT, "shape": [[None, 5]]}, D11), UnsupportedError, "layer 0: layer type 'unknown'"),
    (layers(D11, INPUT), UnsupportedError, "layer 1: layer type 'unknown'"),
    (layers(INPUT), UnsupportedError, "layer 0: layer type 'unknown'"),
    ({"one": layers(D11), "two": layers(D11)}, FormatError, "2 networks \\('one', 'two'\\): save each"),
    (
        {"dilations": [1, 2], "variables": [], "filter_width": 3},
        FormatError,
        "it holds 'dilations', 'variables', 'filter_width': another program's",
    ),
    (layers(D11, entry("batchnorm2d", 1)), UnsupportedError, "layer 1: layer type 'batchnorm2d'"),
    (layers(entry("unknown", 1)), UnsupportedError, "'unknown'"),
    (layers({**D11, "activation": "gelu"}), UnsupportedError, "'gelu'"),
    (layers({**D11, "dilation": [2]}), UnsupportedError, "'dilation'"),
    (layers(D11, dropout=0.5), UnsupportedError, "'dropout' = 0.5"),
    (layers(D11, in_skip=2), UnsupportedError, "in_skip is 2"),
    (layers(D11, in_gain="loud"), FormatError, "'in_gain' must be a number"),
    (layers(entry("dense", 2, [[1.0, 1.0]]), in_skip=1), UnsupportedError, "2 outputs"),
    (layers(entry("lstm", 1, weights(1, 4), weights(1, 4), weights(4), activation="relu")), UnsupportedError, "'relu'"),
    (layers(entry("lstm", 2, weights(1, 4), weights(1, 4), weights(4))), ShapeError, r"expected \[\(1, 8\)"),
    (layers(entry("gru", 1, weights(1, 3), weights(1, 3), weights(3))), ShapeError, r"\(2, 3\)"),
    (layers(entry("batchnorm", 1, weights(1), weights(1))), FormatError, "'epsilon' is missing"),
    (layers(entry("activation", 3, activation="tanh")), ShapeError, "ends in 3, expected 1"),
    (layers(entry("dense", 2, [[1.0, 2.0], [3.0]])), FormatError, "differ in length"),
    (layers(entry("dense", 1, [["1.0"]])), FormatError, "expected numbers, got '1.0'"),
    (layers(entry("dense", 1, [[True]])), FormatError, "expected numbers, got True"),
    (layers(entry("dense", 1, [[None]])), FormatError, "expected numbers, got None"),
    (layers(entry("dense", 1, [[1e39]])), FormatError, "float32"),
    (layers(entry("dense", 1, [[10**400]])), FormatError, "too large"),
    (layers(entry("dense", 1, [])), FormatError, "expected a list of numbers"),
    (layers({"type": "dense"}), FormatError, "'shape'"),
    (layers({**D11, "shape": [None, -3]}), FormatError, "number of channels"),
    (layers({**D11, "shape": [10**9]}), ShapeError, "a frame of 1000000000"),
    (layers(), FormatError, "1 to 1000 layers"),
    (layers("dense"), FormatError, "layer 0 must be an object"),
    ({"layers": [D11]}, FormatError, "in_shape"),
    (trained(unit_type="Transformer"), UnsupportedError, "'Transformer'"),
    (trained(model="RecNet"), UnsupportedError, "'RecNet'"),
    (trained(skip=3), UnsupportedError, "skip is 3"),
    (trained(hidden_size=40), ShapeError, "hidden_size 40, but the weights have 2"),
    (trained(unit_type="GRU"), FormatError, "'rec', 'lstm'"),
    (trained(conv=1), UnsupportedError, "'conv'"),
    (trained({**LSTM1, **LIN, "rec.weight_hr_l0": weights(1, 2)}), UnsupportedError, "weight_hr_l0"),
    (trained({**LSTM1, **LIN, "rec.weight_ih_l0_reverse": weights(8, 1)}), UnsupportedError, "reverse"),
    (trained({k: v for k, v in {**LSTM1, **LIN}.items() if "bias_hh" not in k}), FormatError, "both biases or none"),
    (trained({**LSTM1, **LIN, "rec.weight_ih_l0": weights(8, 2), "rec.bias_ih_l0": weights(7)}), ShapeError, "bias_ih"),
    ({"model_data": DATA}, FormatError, "state_dict"),
    (as_json({"a.weight": weights(2, 1), "b.weight": weights(1, 2)}), UnsupportedError, "read_weights"),
    (as_json({**LIN, **LSTM1}), UnsupportedError, "without a wiring"),
    (as_json(torch_layer("rnn", 1, 2, "rec.", 0)), UnsupportedError, "tanh or relu"),
    (as_json({"c.weight": weights(2, 1, 3)}), UnsupportedError, "Conv1d"),
    (as_json({**LSTM1, "lin.weight": weights(1, 3)}), ShapeError, "takes 3 inputs"),
    ({}, FormatError, "expected 'layers'"),
    ([], FormatError, "the JSON is a list"),
    (3, FormatError, "the JSON is a int"),
]


@pytest.mark.parametrize(("content", "error", "says"), REFUSED, ids=[f"{i}-{r[2][:24]}" for i, r in enumerate(REFUSED)])
def test_refused(content: Any, error: type[Error], says: str, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(content))
    with pytest.raises(error, match=says) as caught:
        rtneural.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "not valid JSON"),
        (b'{"layers": [', "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b'{"layers": ' + b"[" * 200_000, "not valid JSON|nested too deeply"),
        (b'{"in_shape": [1], "layers": [{"type": "dense", "weights": [[' + b"9" * 10_000 + b"]]}]}", "JSON"),
    ],
)
def test_hostile_json(text: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_bytes(text)
    with pytest.raises(FormatError, match=says):
        rtneural.load(tmp_path / "m.json")


def test_too_large_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtneural, "MAX_FILE_BYTES", 1 << 20)
    (tmp_path / "m.json").write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(FormatError, match="larger than 1 MiB"):
        rtneural.load(tmp_path / "m.json")


def test_damaged_files_end_in_a_typed_error(tmp_path: Path) -> None:
    chance = random.Random(5)
    texts = [
        json.dumps(
            layers(entry("gru", 2, weights(1, 6), weights(2, 6), weights(2, 6)), entry("dense", 1, weights(2, 1)))
        ),
        json.dumps(trained()),
    ]
    path = tmp_path / "m.json"
    for data in map(str.encode, texts):
        for _ in range(400):
            copy = bytearray(data)
            for _ in range(chance.choice((1, 1, 3))):
                copy[chance.randrange(len(copy))] = chance.choice(b'"0123456789,:[]{}nutfalse\x00\xff-.eE')
            path.write_bytes(copy[: chance.randrange(len(copy))] if chance.random() < 0.2 else copy)
            try:
                rtneural.load(path)
            except Error as error:
                assert str(path) in str(error)
