# SPDX-License-Identifier: MIT
"""TensorFlow Lite files against TensorFlow Lite's own interpreter (tests/data/generate_tflite.py)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from frames import assert_same_bits
from onnx_files import onnx, peer
from tflite_files import calls, files
from tolerances import FLOAT32_PEER, TFLITE_FRAMES_IN_8_BITS
from undertow import ModelWarning
from undertow.cli import main
from undertow.importers import tflite
from undertow.importers.onnx.file.read import check_model
from undertow.importers.tflite.file import read
from undertow.importers.tflite.translate import translated
from undertow.weights.in_memory import as_path

FILES = files()
NETS = [name for name in FILES if name.startswith("net_")]
#: files of one operator that keeps a state between calls
KEEPS = [name for name in FILES if name.startswith(("op_lstm", "op_svdf", "op_rnn", "op_uni")) and "both" not in name]
#: networks that keep a state from call to call
GOES_ON = ("net_stateful", "net_stateful_step", "net_packed_states", "net_gru_step")


def program(name: str) -> Any:
    model, made = translated(onnx, read(as_path(FILES[name])))
    return check_model(model), made


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("op_") and "int8" not in name])
def test_an_operator_becomes_nodes_that_compute_the_same(name: str) -> None:
    """The program of ONNX, run by ONNX Runtime, gives what the interpreter gives, call after call."""
    model, made = program(name)
    kept = {state.value: np.zeros(state.shape, np.float32) for state in made.states}
    for given, expected in zip(calls(name, "in"), calls(name, "out"), strict=True):
        results = peer(model, {**given, **kept})
        for key, array in expected.items():
            assert results[key].shape == array.shape
            np.testing.assert_allclose(results[key], array, rtol=0, atol=FLOAT32_PEER)
        kept = {state.value: results[state.output] for state in made.states}


def loaded(name: str) -> Any:
    return undertow.load(FILES[name])


def rows(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return array.reshape(-1, *shape)


@pytest.mark.parametrize("name", KEEPS)
def test_an_operator_with_a_state_goes_on_in_a_stream(name: str) -> None:
    model = loaded(name)
    X = np.concatenate([rows(call["x"], model.inputs["x"].shape) for call in calls(name, "in")])
    (key,) = model.outputs
    expected = [
        rows(call[key], model.outputs[key].shape) for call in calls(name, "out", "plain/") or calls(name, "out")
    ]
    np.testing.assert_allclose(model.run(X), np.concatenate(expected), rtol=0, atol=FLOAT32_PEER)
    stream = model.stream()
    assert_same_bits(np.concatenate([stream.run(chunk) for chunk in np.array_split(X, 3)]), model.run(X))
    rounded = np.concatenate([rows(call[key], model.outputs[key].shape) for call in calls(name, "out")])
    np.testing.assert_allclose(model.run(X), rounded, rtol=0, atol=TFLITE_FRAMES_IN_8_BITS)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.filterwarnings("ignore::undertow.ModelWarning")
def test_a_network_gives_what_the_interpreter_gives(name: str) -> None:
    """Each call of the file is a sequence of its own, or a stream goes on where the file has states."""
    model = loaded(name)
    goes_on = model.stream().run if name in GOES_ON else model.run
    for given, expected in zip(calls(name, "in"), calls(name, "out", "plain/") or calls(name, "out"), strict=True):
        X = {key: rows(given[key], value.shape) for key, value in model.inputs.items()}
        results = goes_on(X)
        results = results if isinstance(results, dict) else {next(iter(model.outputs)): results}
        assert results.keys() == model.outputs.keys()
        for key, result in results.items():
            whole = result.size == expected[key].size
            last = result if whole else result[-1]  # of a sequence that the file gives the end of
            np.testing.assert_allclose(last.reshape(expected[key].shape), expected[key], rtol=0, atol=FLOAT32_PEER)


def test_frames_in_8_bits_are_near() -> None:
    """TensorFlow Lite rounds frames before it multiplies them with weights in 8 bits; undertow does not."""
    model = loaded("net_int8")
    for given, expected in zip(calls("net_int8", "in"), calls("net_int8", "out"), strict=True):
        (x,), (y,) = given.values(), expected.values()
        np.testing.assert_allclose(model.run(x[0]), y[0], rtol=0, atol=TFLITE_FRAMES_IN_8_BITS)


def test_what_is_told_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = tflite.load(as_path(FILES["net_wake_gru"])).notes
    assert notes[0] == "TensorFlow Lite"
    walked = r"time: axis 1 of 'keras_tensor', walked by WHILE operator 'sequential[\w/]*/gru[\w/]*/while'"
    assert any(re.fullmatch(walked, note) for note in notes)
    notes = tflite.load(as_path(FILES["net_int8"])).notes
    assert "3 tensors of weights are int8; they are widened to float32" in notes[-1]
    assert "8 tensors of weights are float16" in tflite.load(as_path(FILES["net_float16"])).notes[-1]
    notes = tflite.load(as_path(FILES["op_lstm"])).notes
    assert any("walked by UNIDIRECTIONAL_SEQUENCE_LSTM operator 'unidirectional_sequence_lstm_0'" in n for n in notes)
    path = tmp_path / "wake.tflite"
    path.write_bytes(FILES["net_wake_gru"])
    assert main(["info", str(path)]) == 0
    assert "TensorFlow Lite" in capsys.readouterr().out
    assert main(["info", str(path), "--graph"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"WHILE +1 +1 +", shown) and re.search(r"FULLY_CONNECTED +3 +3 +.*dense", shown), shown
    assert main(["verify", str(path)]) == 0
    assert "float64 reference" in capsys.readouterr().out


def test_weights_are_stored_once_whatever_the_length() -> None:
    """A loop of twelve rounds is a cell, and holds the weights that the file has."""
    model = loaded("net_wake_gru")
    assert [node.op for node in model.graph.nodes].count("gru") == 1
    assert model.n_parameters < 12976 / 4


@pytest.mark.parametrize("name", ["lstm", "lstms", "gru_before", "masked", "both_ways"])
def test_what_operators_keep_is_the_state_of_a_stream(name: str) -> None:
    """Keras 2's LSTMs are operators with variables; a frame is one timestep all the same, and no state is an input."""
    model = loaded(f"net_keras_2_{name}")
    assert [value.shape for value in model.inputs.values()] == [(5,) if name == "lstm" else (4,)]
    assert {*model.outputs} == {"output_0"} and model.states


def test_packed_states_are_told_by_their_name() -> None:
    """Two LSTMs, whose states are slices of one tensor, as in DTLN's files."""
    model = undertow.load(FILES["net_packed_states"])
    assert {*model.inputs} == {"frame"} and {*model.outputs} == {"output_0"}
    assert [node.op for node in model.graph.nodes].count("lstm") == 2


def test_a_clip_says_what_to_convert() -> None:
    with pytest.warns(ModelWarning, match=r"FULLY_CONNECTED operator .*keras\.Input\(batch_shape=\("):
        model = undertow.load(FILES["net_unrolled"])
    assert model.inputs["keras_tensor_23"].shape == (5, 4)


def test_options_are_those_of_onnx_files() -> None:
    model = undertow.load(FILES["net_open_lstm"], shapes={"keras_tensor_15": [1, 6, 5]}, states={})
    assert next(iter(model.inputs.values())).shape in ((5,), (6, 5))
    with pytest.raises(undertow.ShapeError, match="the model has no input 'x'"):
        undertow.load(FILES["net_open_lstm"], fixed={"x": np.zeros(1)})
    with pytest.raises(TypeError, match="takes no keras_version"):
        undertow.load(FILES["net_open_lstm"], keras_version="3")
