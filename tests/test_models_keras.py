# SPDX-License-Identifier: MIT
"""Real Keras and RTNeural files and their peers' test vectors, through every way of running them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracle
import undertow
from keras_files import check, layer, sequential, write_h5
from tolerances import FLOAT32_MODEL
from undertow import reference
from undertow.errors import ShapeError, UnsupportedError
from undertow.importers import keras, rtneural

pytest.importorskip("h5py", reason="needs h5py: pip install h5py")

MODELS = Path(os.environ.get("UNDERTOW_MODELS", ""))
needs_models = pytest.mark.skipif(
    "UNDERTOW_MODELS" not in os.environ, reason="needs real models: set UNDERTOW_MODELS to their folder"
)
pytestmark = needs_models


# -- Keras-js: one layer per case, weights and results as JSON -------------------------------------------------------


def cases(file: str) -> dict[str, Any]:
    path = MODELS / "vectors" / "keras-cases" / file
    return json.loads(path.read_text()) if "UNDERTOW_MODELS" in os.environ else {}


def array(entry: dict[str, Any]) -> np.ndarray:
    return np.array(entry["data"], np.float32).reshape(entry["shape"])


SETTINGS = cases("layer_configs.json")
RECURRENT = {**cases("LSTM.json"), **cases("GRU.json"), **cases("SimpleRNN.json")}
ROLES = ("kernel:0", "recurrent_kernel:0", "bias:0")


@pytest.mark.parametrize("case", sorted(RECURRENT))
def test_keras_cases(case: str, tmp_path: Path) -> None:
    entry, texts = RECURRENT[case], SETTINGS[case]
    settings = {k: v if k.endswith("activation") else json.loads(v) for k, v in texts.items()}
    shape = settings.pop("inputShape")
    cls = case.split(".")[1]
    model = sequential(layer(cls, "cell", **settings, batch_input_shape=[1, *shape]))
    weights = [(f"cell/{role}", array(w)) for role, w in zip(ROLES, entry["weights"], strict=False)]
    graph = keras.load(write_h5(tmp_path / "m.h5", model, {"cell": weights}, "2.0.4"))
    X, state = array(entry["input"]), None
    if settings["stateful"]:  # the vectors give the second call
        state = {k: v.astype(np.float32) for k, v in reference.evaluate(graph, X).state.items()}
    check(graph, {graph.inputs[0]: X}, {"cell": array(entry["expected"])}, FLOAT32_MODEL, state, case)


BIDIRECTIONAL = [("SimpleRNN", "sum"), ("SimpleRNN", "mul"), ("SimpleRNN", "concat"), ("SimpleRNN", "ave")]
BIDIRECTIONAL += [("SimpleRNN", "concat"), ("GRU", "concat"), ("LSTM", "concat"), ("SimpleRNN", "sum")]


@pytest.mark.parametrize("number", range(8))
def test_keras_bidirectional_cases(number: int, tmp_path: Path) -> None:
    entry = cases("Bidirectional.json")[f"wrappers.Bidirectional.{number}"]
    cls, mode = BIDIRECTIONAL[number]
    X, expected = array(entry["input"]), array(entry["expected"])
    gates = {} if cls == "SimpleRNN" else {"recurrent_activation": "hard_sigmoid"}
    inner = layer(cls, "cell", units=4, activation="tanh", return_sequences=expected.ndim == 2, **gates)
    model = sequential(layer("Bidirectional", "both", merge_mode=mode, layer=inner, batch_input_shape=[None, *X.shape]))
    names = [f"both/{way}/{role}" for way in ("forward", "backward") for role in ROLES]
    weights = list(zip(names, map(array, entry["weights"]), strict=True))
    graph = keras.load(write_h5(tmp_path / "m.h5", model, {"both": weights}, "2.0.4"))
    check(graph, {graph.inputs[0]: X}, {"both": expected}, FLOAT32_MODEL, label=f"Bidirectional.{number}")


def test_keras_time_distributed_dense(tmp_path: Path) -> None:
    entry = cases("TimeDistributed.json")["wrappers.TimeDistributed.0"]
    X = array(entry["input"])
    inner = layer("Dense", "dense", units=4, activation="linear")
    model = sequential(layer("TimeDistributed", "td", layer=inner, batch_input_shape=[None, *X.shape]))
    weights = list(zip(["td/kernel:0", "td/bias:0"], map(array, entry["weights"]), strict=True))
    graph = keras.load(write_h5(tmp_path / "m.h5", model, {"td": weights}, "2.0.4"))
    check(graph, {graph.inputs[0]: X}, {"td": array(entry["expected"])}, FLOAT32_MODEL, label="TimeDistributed.0")


def test_keras_time_distributed_convolution(tmp_path: Path) -> None:
    entry = cases("TimeDistributed.json")["wrappers.TimeDistributed.1"]
    X, expected = array(entry["input"]), array(entry["expected"])
    kernel, bias = map(array, entry["weights"])
    inner = layer("Conv2D", "conv", filters=len(bias), kernel_size=list(kernel.shape[:2]), activation="linear")
    model = sequential(layer("TimeDistributed", "td", layer=inner, batch_input_shape=[None, *X.shape]))
    weights = [("td/kernel:0", kernel), ("td/bias:0", bias)]
    graph = keras.load(write_h5(tmp_path / "m.h5", model, {"td": weights}, "2.0.4"))
    check(graph, {graph.inputs[0]: X}, {"td": expected}, FLOAT32_MODEL, label="TimeDistributed.1")


# -- whole models ----------------------------------------------------------------------------------------------------


def test_surname_classifier() -> None:
    folder = MODELS / "stage1" / "ethnicolr"
    graph = keras.load(next(folder.glob("*.h5")))
    with np.load(next(folder.glob("*expected*.npz"))) as golden:
        for i, (ids, y) in enumerate(zip(golden["input"], golden["output"], strict=True)):
            X = {graph.inputs[0]: ids.astype(np.int32)}
            check(graph, X, {next(iter(graph.outputs)): y}, FLOAT32_MODEL, label=f"ethnicolr, row {i}")


def test_klon_centaur() -> None:
    path = next((MODELS / "stage1" / "klon-centaur").glob("*.json"))
    file = json.loads(path.read_text())
    graph = rtneural.load(path)
    t = np.arange(400) / 48000
    tone = np.sin(2 * np.pi * 220 * t) * np.minimum(t * 400, 1)
    X = np.stack([tone, np.full_like(t, 0.5), np.linspace(0, 1, len(t))], axis=1).astype(np.float32)
    # by hand, with weights straight from the JSON: dense, GRU with reset after, dense
    d0, gru, d1 = ([np.array(w, np.float32).astype(np.float64) for w in l["weights"]] for l in file["layers"])
    Y, _ = oracle.gru(
        (X @ d0[0] + d0[1])[:, None], gru[0].T[None], gru[1].T[None], gru[2].reshape(1, -1), linear_before_reset=1
    )
    expected = Y[:, 0, 0] @ d1[0] + d1[1]
    check(graph, {"input": X}, {"output": expected}, FLOAT32_MODEL, label="klon-centaur")


RTNEURAL = MODELS / "vectors" / "rtneural"


@pytest.mark.parametrize("name", ["conv", "dense", "gru", "gru_1d", "gru_torch", "lstm", "lstm_1d", "lstm_torch"])
def test_rtneural_vectors(name: str) -> None:
    bare = {"assume_as_wired": True} if name.endswith("_torch") else {}
    graph = rtneural.load(RTNEURAL / "models" / f"{name}.json", **bare)
    X, Y = (np.loadtxt(RTNEURAL / "test_data" / f"{name}_{axis}_python.csv", dtype=np.float32) for axis in "xy")
    if name == "dense":  # frames up to 500 in size, scaled so that every layer works in its range
        assert np.abs(X).max() > 100
    check(graph, {"input": X.reshape(-1, 1)}, {"output": Y.reshape(-1, 1)}, FLOAT32_MODEL, label=f"rtneural {name}")


def test_rtneural_convolutions_without_padding() -> None:
    """The exporter's clip of 128 frames gives 16 outputs: those of the windows that end at the last 16 frames."""
    graph = rtneural.load(RTNEURAL / "models" / "conv_stateless.json")
    X, Y = (np.loadtxt(RTNEURAL / "test_data" / f"conv_stateless_{a}_python.csv", dtype=np.float32) for a in "xy")
    y = undertow.Model.from_graph(graph).run(X.reshape(-1, 1))
    np.testing.assert_allclose(y[-16:, 0], Y, rtol=0, atol=FLOAT32_MODEL)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("conv2d", "conv2d"),
        ("conv1d_torch", "Conv1d"),
        ("conv1d_torch_stride_3", "Conv1d"),
        ("microtcn/conv1", "Conv1d"),
        ("microtcn/relu", r"\(32,\)"),
    ],
)
def test_rtneural_layers_that_are_refused(name: str, says: str) -> None:
    with pytest.raises(UnsupportedError, match=says):
        rtneural.load(RTNEURAL / "models" / f"{name}.json")


def test_rtneural_bad_lstm_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"layer 0 \(lstm\).*\(1, 80\)"):
        rtneural.load(RTNEURAL / "models" / "bad_lstm.json")


def test_weights_without_a_wiring_are_refused_with_advice() -> None:
    path = MODELS / "stage2" / "textgenrnn" / "textgenrnn_weights.hdf5"
    with pytest.raises(UnsupportedError, match="read_weights"):
        keras.load(path)
