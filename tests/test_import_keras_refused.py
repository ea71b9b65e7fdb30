# SPDX-License-Identifier: MIT
"""The Keras importer's refusals: what is not computed is named, and damaged or hostile files end in typed errors."""

from __future__ import annotations

import contextlib
import gzip
import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_files import GOLDEN, keras2_input, keras2_model, layer, sequential, with_swapped_types, write_h5
from undertow.errors import Error, FormatError, ShapeError, UnsupportedError
from undertow.importers import keras

h5py = pytest.importorskip("h5py", reason="needs h5py: pip install h5py")

rng = np.random.default_rng(8)


def weights(*shape: int) -> np.ndarray:
    return (rng.normal(size=shape) * 0.5).astype(np.float32)


# -- refused by name --------------------------------------------------------------------------------------------------

IN3 = {"batch_input_shape": [None, None, 3]}
LSTM = {"units": 2, "activation": "tanh", "recurrent_activation": "sigmoid"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    (layer("InputLayer", "x", ragged=True, **IN3), "ragged = True"),
    (layer("InputLayer", "x", sparse=True, **IN3), "sparse = True"),
    (layer("Conv3D", "c", filters=2, **IN3), "Conv3D 'c'"),
    (layer("Lambda", "l", function="...", **IN3), "Lambda 'l'"),
    (layer("MyCell>LSTM", "l", **LSTM, **IN3), "not one of Keras's own"),
    ({**layer("LSTM", "l", **LSTM, **IN3), "registered_name": "mine>LSTM"}, "mine>LSTM"),
    ({**layer("LSTM", "l", **LSTM, **IN3), "module": "mine.layers"}, "mine.layers.LSTM"),
    (layer("LSTM", "l", **LSTM, peepholes=True, **IN3), "peepholes = True"),
    (layer("LSTM", "l", **{**LSTM, "activation": "gelu"}, **IN3), "activation = 'gelu'"),
    (layer("LSTM", "l", **{**LSTM, "activation": "softmax"}, **IN3), "activation = 'softmax'"),
    (layer("LSTM", "l", **LSTM, dtype="float16", **IN3), "float16"),
    (layer("LSTM", "l", **LSTM, dtype={"config": {"name": "mixed_bfloat16"}}, **IN3), "mixed_bfloat16"),
    (layer("LSTM", "l", **LSTM, batch_input_shape=[None, 3]), "no time axis"),
    (layer("LSTM", "l", **LSTM, batch_input_shape=[None, None, None]), "open"),
    (layer("LSTM", "l", **LSTM, batch_input_shape=[None, None, 3, 4]), r"shape \(3, 4\)"),
    (layer("Dense", "d", units=2, quantization_config={"bits": 8}, **IN3), "quantization_config"),
    (layer("Dense", "d", units=2, lora_rank=4, **IN3), "lora_rank"),
    (layer("Flatten", "f", **IN3), "Flatten 'f'"),
    (layer("Reshape", "r", target_shape=[3, -1], **IN3), "moves the time axis"),
    (layer("Permute", "p", dims=[2, 1], **IN3), "move the time axis"),
    (layer("Softmax", "s", axis=1, **IN3), "axis = 1"),
    (layer("BatchNormalization", "b", axis=1, epsilon=1e-3, **IN3), "axis = 1"),
    (layer("BatchNormalization", "b", renorm=True, epsilon=1e-3, **IN3), "renorm = True"),
    (layer("LayerNormalization", "n", axis=-1, epsilon=1e-3, rms_scaling=True, **IN3), "rms_scaling = True"),
    (layer("ReLU", "r", max_value=6.0, threshold=1.0, negative_slope=0.0, **IN3), "max_value = 6.0"),
    (layer("PReLU", "p", shared_axes=None, **IN3), "shared_axes"),
    (layer("Masking", "m", mask_value=0.0, **IN3), "Masking 'm'"),
    (layer("Bidirectional", "b", layer=layer("ConvLSTM2D", "c"), **IN3), "ConvLSTM2D"),
    (layer("Bidirectional", "b", layer=layer("LSTM", "l", **LSTM), merge_mode="max", **IN3), "merge_mode = 'max'"),
    (layer("RNN", "r", cell=layer("PeepholeLSTMCell", "p", **LSTM), **IN3), "PeepholeLSTMCell"),
    (layer("TimeDistributed", "t", layer=layer("LSTM", "l", **LSTM), **IN3), "no time axis"),
]


@pytest.mark.parametrize(("table", "says"), REFUSED, ids=[f"{t['class_name']}-{s[:24]}" for t, s in REFUSED])
def test_refused_by_name(table: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = write_h5(tmp_path / "model.h5", sequential(table), {table["config"]["name"]: []})
    with pytest.raises(UnsupportedError, match=says) as caught:
        keras.load(path)
    assert str(path) in str(caught.value)


def test_final_states_have_no_place_in_a_sequential_model(tmp_path: Path) -> None:
    table = layer("LSTM", "l", **LSTM, return_state=True, **IN3)
    arrays = [("l/kernel:0", weights(3, 8)), ("l/recurrent_kernel:0", weights(2, 8)), ("l/bias:0", weights(8))]
    with pytest.raises(UnsupportedError, match="LSTM 'l': several outputs"):
        keras.load(write_h5(tmp_path / "model.h5", sequential(table), {"l": arrays}))


CELL = layer("SimpleRNN", "r", units=2, activation="tanh", use_bias=False, stateful=True)
CELL_ARRAYS = [("r/kernel:0", weights(3, 2)), ("r/recurrent_kernel:0", weights(2, 2))]


@pytest.mark.parametrize("wrapped", [False, True])
def test_states_that_calls_share_are_refused(wrapped: bool, tmp_path: Path) -> None:
    """A stream would keep one state for each call; so for a layer in a model that is called twice."""
    inner = sequential(layer("InputLayer", "i", **IN3), CELL, name="it")
    shared = (
        inner if wrapped else {**CELL, "config": {**CELL["config"], "name": "it"}},
        [[["x", 0, 0]], [["y", 0, 0]]],
    )
    config = keras2_model(
        [
            keras2_input("x", None, 3),
            keras2_input("y", None, 3),
            shared,
            (layer("Add", "a"), [[["it", 0, 0], ["it", 1, 0]]]),
        ],
        [["x", 0, 0], ["y", 0, 0]],
        [["a", 0, 0]],
    )
    with pytest.raises(UnsupportedError, match="stateful = True of a layer that is called several times"):
        keras.load(write_h5(tmp_path / "m.h5", config, {"it": CELL_ARRAYS}))


def test_states_that_clips_hand_on_are_refused(tmp_path: Path) -> None:
    """Keras would begin the next clip where the one before has ended."""
    clip = {**CELL, "config": {**CELL["config"], "batch_input_shape": [1, 5, 3]}}
    path = write_h5(tmp_path / "m.h5", sequential(clip), {"r": CELL_ARRAYS})
    assert keras.load(path).states
    with pytest.raises(UnsupportedError, match="stateful = True of a sequence inside a frame"):
        keras.load(path, shapes={"input": (1, 5, 3)})


def test_a_single_timestep_beside_all_of_another_is_refused(tmp_path: Path) -> None:
    config = keras2_model(
        [keras2_input("x", None, 3), keras2_input("y", 1, 3), (layer("Add", "a"), [[["x", 0, 0], ["y", 0, 0]]])],
        [["x", 0, 0], ["y", 0, 0]],
        [["a", 0, 0]],
    )
    with pytest.raises(UnsupportedError, match="Add 'a': an input of a single timestep meets all of another"):
        keras.load(write_h5(tmp_path / "m.h5", config, {}))


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (layer("Reshape", "r", target_shape=[2, -1]), r"target_shape \[2, -1\] moves the time axis"),
        (layer("PReLU", "p", shared_axes=[2]), r"shared_axes = \[2\] is not supported; expected the time axis"),
    ],
)
def test_timesteps_of_a_frame_stay_apart(table: dict[str, Any], says: str, tmp_path: Path) -> None:
    """Two of them are in a frame here, as many as the layer says."""
    up = layer("UpSampling1D", "u", size=2, **IN3)
    with pytest.raises(UnsupportedError, match=says):
        keras.load(write_h5(tmp_path / "m.h5", sequential(up, table), {"p": [("p/alpha:0", weights(2, 1))]}))


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([[["x", 0, 0, {"training": True}]]], "training = True"),
        ([[["x", 0, 0, {"mask": ["y", 0, 0]}]]], "mask ="),
        ([[["_CONSTANT_VALUE", -1, 3.0, {}]]], "_CONSTANT_VALUE"),
        (
            [
                {
                    "args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 0, 0]}}, 1.0],
                    "kwargs": {},
                }
            ],
            "argument 1",
        ),
        ([{"args": [1.0], "kwargs": {}}], "called with 1.0"),
    ],
)
def test_calls_with_more_than_tensors_are_refused(nodes: list[Any], says: str, tmp_path: Path) -> None:
    config = keras2_model(
        [keras2_input("x", None, 3), (layer("Dropout", "d", rate=0.5), nodes)], [["x", 0, 0]], [["d", 0, 0]]
    )
    with pytest.raises(UnsupportedError, match=says):
        keras.load(write_h5(tmp_path / "m.h5", config, {}))


def test_inputs_of_two_kinds_are_refused(tmp_path: Path) -> None:
    config = keras2_model(
        [
            keras2_input("x", None, 3),
            keras2_input("fixed", 3),
            (layer("Concatenate", "a"), [[["x", 0, 0, {}], ["fixed", 0, 0, {}]]]),
        ],
        [["x", 0, 0], ["fixed", 0, 0]],
        [["a", 0, 0]],
    )
    with pytest.raises(UnsupportedError, match="Concatenate 'a': its inputs differ in their axes"):
        keras.load(write_h5(tmp_path / "m.h5", config, {}))


# -- damaged files ----------------------------------------------------------------------------------------------------


def dense_model(**more: Any) -> dict[str, Any]:
    return sequential(layer("Dense", "d", **{"units": 2, "activation": "linear", **IN3, **more}))


KERNEL, BIAS = ("d/kernel:0", weights(3, 2)), ("d/bias:0", weights(2))
DAMAGED: list[tuple[Any, list[Any], type[Error], str]] = [
    (dense_model(), [KERNEL], ShapeError, r"shapes \[\(3, 2\)\], expected kernel \(3, 2\), bias \(2,\)"),
    (dense_model(), [BIAS, KERNEL], ShapeError, "expected kernel"),
    (dense_model(), [("e/bias:0", KERNEL[1]), BIAS], FormatError, "'e/bias:0' stands where 'kernel'"),
    (dense_model(), [KERNEL, BIAS, ("d/more:0", weights(2))], FormatError, "d/more:0"),
    (
        dense_model(),
        [KERNEL, ("d/bias:0", weights(2).astype(np.float64))],
        UnsupportedError,
        "bias has elements of float",
    ),
    (dense_model(), [KERNEL, ("d/bias:0", np.zeros(2, np.int32))], UnsupportedError, "int32"),
    (dense_model(units=10**12), [KERNEL, BIAS], FormatError, "units must be a whole number"),
    (sequential(), [], FormatError, "1 to 2000 layers"),
    ({"class_name": "MyModel", "config": {}}, [], UnsupportedError, "MyModel"),
    ({"class_name": "Sequential"}, [], FormatError, "config must be an object"),
    ({"class_name": 3}, [], FormatError, "class_name"),
    ([1, 2], [], FormatError, "JSON object"),
    ("{", [], FormatError, "not valid JSON"),
    ("[" * 100_000, [], FormatError, "nested too deeply|not valid"),
    (b"\xff\xfe{", [], FormatError, "UTF-8"),
]


@pytest.mark.parametrize(("config", "arrays", "error", "says"), DAMAGED, ids=[d[3][:20] for d in DAMAGED])
def test_models_that_do_not_fit(config: Any, arrays: list[Any], error: type[Error], says: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=says):
        keras.load(write_h5(tmp_path / "m.h5", config, {"d": arrays}))


def test_circles_unknown_layers_and_models_in_models(tmp_path: Path) -> None:
    def load(layers: list[Any], outputs: list[Any]) -> None:
        keras.load(
            write_h5(tmp_path / "m.h5", keras2_model([keras2_input("x", None, 3), *layers], [["x", 0, 0]], outputs), {})
        )

    drop = layer("Dropout", "d", rate=0.5)
    other = layer("Dropout", "e", rate=0.5)
    with pytest.raises(FormatError, match="circle"):
        load([(drop, [[["e", 0, 0, {}]]]), (other, [[["d", 0, 0, {}]]])], [["d", 0, 0]])
    with pytest.raises(FormatError, match="neither an input nor a call"):
        load([(drop, [[["nobody", 0, 0, {}]]])], [["d", 0, 0]])
    with pytest.raises(FormatError, match="not an output of any layer"):
        load([(drop, [[["x", 0, 0, {}]]])], [["d", 0, 7]])
    with pytest.raises(FormatError, match="two layers"):
        load([(drop, []), (drop, [])], [["d", 0, 0]])
    model = dense_model()
    for _ in range(40):
        model = sequential(layer("InputLayer", "x", **IN3), model)
    with pytest.raises(FormatError, match="nested more than"):
        keras.load(write_h5(tmp_path / "m.h5", model, {}))


def test_a_model_that_widens_itself_is_stopped(tmp_path: Path) -> None:
    layers = [keras2_input("x", None, 3)]
    before = "x"
    for i in range(60):
        layers.append((layer("Concatenate", f"c{i}", axis=-1), [[[before, 0, 0, {}], [before, 0, 0, {}]]]))
        before = f"c{i}"
    with pytest.raises(ShapeError, match="a frame of"):
        keras.load(write_h5(tmp_path / "m.h5", keras2_model(layers, [["x", 0, 0]], [[before, 0, 0]]), {}))


def test_hdf5_that_keras_does_not_write_is_refused(tmp_path: Path) -> None:
    def with_kernel(name: str, make: Callable[[Any], None]) -> Path:
        path = write_h5(tmp_path / f"{name}.h5", dense_model(use_bias=False), {"d": [KERNEL]})
        with h5py.File(path, "r+") as file:
            group = file["model_weights/d/d"]
            del group["kernel:0"]
            make(group)
        return path

    def elsewhere(group: Any) -> None:
        group.create_dataset("kernel:0", (3, 2), "f4", external=[(str(tmp_path / "secret"), 0, 24)])

    for name, make, error, says in (
        ("soft", lambda g: g.__setitem__("kernel:0", h5py.SoftLink("/model_weights")), UnsupportedError, "link"),
        ("other", lambda g: g.__setitem__("kernel:0", h5py.ExternalLink("x.h5", "/k")), UnsupportedError, "link"),
        ("elsewhere", elsewhere, UnsupportedError, "another file"),
        ("lzf", lambda g: g.create_dataset("kernel:0", data=KERNEL[1], compression="lzf"), UnsupportedError, "LZF"),
        ("gone", lambda g: None, FormatError, "missing"),
    ):
        with pytest.raises(error, match=says):
            keras.load(with_kernel(name, make))
    packed = with_kernel("packed", lambda g: g.create_dataset("kernel:0", data=KERNEL[1], compression="gzip"))
    assert keras.load(packed).nodes
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["w"] = KERNEL[1]
    with pytest.raises(UnsupportedError, match=r"(?s)weights but no wiring.*read_weights"):
        keras.load(tmp_path / "plain.h5")


def test_archives_that_are_not_models(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    for members, says in (
        ({"readme": b""}, "no config.json"),
        ({"config.json": b"{}"}, "no model.weights.h5"),
        ({"config.json": b"[]", "model.weights.h5": b""}, "JSON objects"),
        ({"config.json": b"{}", "model.weights.h5": b"no"}, "HDF5"),
        ({"config.json": b"{}", "model.weights.h5": b"\0" * 30_000_000}, "claims 30000000 bytes"),
    ):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        with pytest.raises(FormatError, match=says):
            keras.load(path)
    path.write_bytes(b"hello")
    with pytest.raises(FormatError, match="not a Keras file"):
        keras.load(path)
    with pytest.raises(FileNotFoundError):
        keras.load(tmp_path / "nothing.keras")


def damaged(data: bytes, n: int) -> list[bytes]:
    """Truncations and flipped bytes; the seed is fixed."""
    chance = random.Random(len(data))
    cases = [data[: chance.randrange(len(data))] for _ in range(n // 4)]
    for _ in range(n):
        copy = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 8))):
            copy[chance.randrange(len(copy))] ^= 1 << chance.randrange(8)
        cases.append(bytes(copy))
    return cases


def repacked(data: bytes, n: int) -> list[bytes]:
    """Archives whose members are damaged while their checksums are right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    cases = []
    for name in ("config.json", "model.weights.h5"):
        for bad in damaged(members[name], n):
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                for other, content in members.items():
                    archive.writestr(other, bad if other == name else content)
            cases.append(buffer.getvalue())
    return cases


@pytest.mark.parametrize("name", ["dense", "decoder", "text"])
def test_damaged_files_end_in_a_typed_error(name: str, tmp_path: Path) -> None:
    legacy = gzip.decompress((GOLDEN / f"{name}.h5.gz").read_bytes())
    archive = (GOLDEN / f"{name}.keras").read_bytes()
    refused = 0
    for file, cases in (("m.h5", damaged(legacy, 300)), ("m.keras", damaged(archive, 200) + repacked(archive, 150))):
        for data in cases:
            (tmp_path / file).write_bytes(data)
            try:
                keras.load(tmp_path / file)  # a flipped bit of a weight is a model all the same
            except Error as error:
                assert str(tmp_path / file) in str(error)
                refused += 1
    assert refused > 300


def test_configuration_texts_with_swapped_types(tmp_path: Path) -> None:
    """Every value of a configuration replaced by values of other types ends in a model or a typed error."""
    for path in with_swapped_types(GOLDEN / "decoder.keras", tmp_path / "m.keras"):
        with contextlib.suppress(Error):
            keras.load(path)
