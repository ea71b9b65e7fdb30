# SPDX-License-Identifier: MIT
"""Right files of every format, small ones, for the fuzzing to start from."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tempfile
import wave
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import tflite_files
import undertow
from fuzz.cases import Seeds
from fuzz.damage import unzip, zipped
from fuzz.tow_damage import fitted
from keras_files import GOLDEN, layer, sequential, write_h5, write_keras
from test_import_nam import STACKS, as_file, capture, container, wavenet
from test_import_rnnoise import SMALL, as_blob, as_c, as_source, as_text, integers, network
from test_import_rtneural import D11, INPUT, entry, layers, trained
from test_weights import python_2, tensor_pkl

DATA = GOLDEN.parent
FORMATS = DATA / "formats"
CORPUS = Path(__file__).parent / "corpus"


@cache
def tow() -> Seeds:
    """The files of tests/data/tow but the largest, and those that earlier findings were made of, made to fit."""
    files = {p.name: p.read_bytes() for p in sorted((DATA / "tow").glob("*.tow"))}
    files |= {p.name: fitted(p.read_bytes()) for p in sorted(CORPUS.glob("*.tow"))}
    return {name: blob for name, blob in files.items() if len(blob) < 20_000}


@cache
def streamable() -> Seeds:
    """Those of tests/data/tow that can be streamed."""
    files = {p.name: tow()[p.name] for p in (DATA / "tow").glob("*.tow") if p.name in tow()}
    return {name: blob for name, blob in files.items() if undertow.Model(blob).streamable}


@cache
def tflite() -> Seeds:
    """Networks, and files of one operator in which something tells time."""
    tell = (
        "net_",
        "op_lstm",
        "op_svdf",
        "op_rnn",
        "op_uni",
        "op_conv_s",
        "op_depth",
        "op_max_pool",
        "op_mean",
        "op_pad",
    )
    return {f"{name}.tflite": data for name, data in tflite_files.files().items() if name.startswith(tell)}


@cache
def torch() -> Seeds:
    """.pt files: state_dicts, checkpoints, whole modules, TorchScript; of today and before 1.6; in a bundle."""
    found = {p.name: p.read_bytes() for p in sorted(FORMATS.glob("*.pt"))}
    pickled = zipped({"a/data.pkl": tensor_pkl(), "a/data/0": struct.pack("<2f", 3, 4)})
    found["one.pt"] = pickled
    found["bundle.zip"] = zipped({"policy.pth": found["state_dict.pt"], "vars.pth": pickled, "data": b"{}"})
    return found


@cache
def pickles() -> Seeds:
    """Pickles of dicts of arrays in every protocol, and Python 2's."""
    arrays = {"w": np.ones((2, 3), np.float32), "b": np.ones(2), "n": [1, 2.5, None, True, (b"x", "y")]}
    found = {f"protocol{p}.pkl": pickle.dumps(arrays, p) for p in range(6)}
    for binary in (False, True):
        found[f"python2_{'binary' if binary else 'text'}.pkl"] = python_2(np.arange(3, dtype=np.float64), binary)
    found["gru.pkl"] = pickle.dumps(_gru())
    return found


def _gru() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 4), "bias_ih_l0": (12,), "bias_hh_l0": (12,)}
    return {f"gru.{k}": rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}


@cache
def safetensors() -> Seeds:
    files = [FORMATS / "dtypes.safetensors", undertow.example("digits").with_suffix(".safetensors")]
    found = {p.name: p.read_bytes() for p in files}
    header, body = {}, b""
    for name, array in _gru().items():
        span = [len(body), len(body) + array.nbytes]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": span}
        body += array.tobytes()
    text = json.dumps(header).encode()
    found["gru.safetensors"] = struct.pack("<Q", len(text)) + text + body
    return found


@cache
def npz() -> Seeds:
    buffer, found = io.BytesIO(), {"arrays.npz": (FORMATS / "arrays.npz").read_bytes()}
    np.savez(buffer, **_gru())
    found["gru.npz"] = _timeless(buffer.getvalue())
    np.savez(buffer := io.BytesIO(), a=np.zeros((0, 3)), b=np.ones((3, 2), order="F"), c=np.array("text"))
    found["orders.npz"] = _timeless(buffer.getvalue())
    return found


def _timeless(archive: bytes) -> bytes:
    """Without the time at which it was written: a seed must give the same case tomorrow."""
    return zipped(unzip(archive))


@cache
def frames() -> Seeds:
    """Frames of 8 numbers for the command line's `run`: as .npy, .npz, numbers in lines, and sound."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6, 8)).astype(np.float32)
    np.save(one := io.BytesIO(), X)
    np.savez(several := io.BytesIO(), x=X)
    lines = "\n".join(",".join(map(str, row)) for row in X.tolist()).encode()
    arrays = {"x.npy": one.getvalue(), "x.npz": _timeless(several.getvalue())}
    texts = {"x.csv": lines, "x.txt": b"# no frames\n" + lines}
    return arrays | texts | {"x.wav": wav()["float32.wav"]}


@cache
def keras() -> Seeds:
    found = {p.name: p.read_bytes() for p in sorted(GOLDEN.glob("*.keras"))}
    with tempfile.TemporaryDirectory() as folder:
        for name, (table, arrays) in _networks().items():
            paths = {f"layers/{_PLACES[n]}/vars/{i}": a for n, of in arrays.items() for i, (_, a) in enumerate(of)}
            found[f"{name}.keras"] = _timeless(write_keras(Path(folder) / "m.keras", table, paths).read_bytes())
    return found


@cache
def keras_h5() -> Seeds:
    found = {p.name.removesuffix(".gz"): gzip.decompress(p.read_bytes()) for p in sorted(GOLDEN.glob("*.h5.gz"))}
    with tempfile.TemporaryDirectory() as folder:
        for name, (table, arrays) in _networks().items():
            found[f"{name}.h5"] = write_h5(Path(folder) / "m.h5", table, arrays).read_bytes()
    return found


#: layers of `_networks` -> where a .keras archive holds their arrays
_PLACES = {
    "c": "conv1d",
    "bn": "batch_normalization",
    "s": "separable_conv1d",
    "ln": "layer_normalization",
    "p": "p_re_lu",
    "d": "dense",
    "g": "gru/cell",
    "t": "conv1d_transpose",
    "tc": "time_distributed/layer",
}


def _networks() -> dict[str, Any]:
    """Models of layers that the golden files lack: table, and layer -> (weight, array)."""
    rng = np.random.default_rng(0)

    def of(name: str, **shapes: tuple[int, ...]) -> list[tuple[str, np.ndarray]]:
        return [(f"{name}/{key}:0", rng.uniform(0.1, 1, shape).astype(np.float32)) for key, shape in shapes.items()]

    start = layer("InputLayer", "x", batch_input_shape=[None, None, 3], dtype="float32")
    conv = {"kernel_size": [3], "strides": [1], "padding": "causal", "dilation_rate": [1], "activation": "relu"}
    chain = sequential(
        start,
        layer("Conv1D", "c", filters=4, use_bias=True, data_format="channels_last", groups=1, **conv),
        layer("BatchNormalization", "bn", axis=[2], epsilon=0.001, center=True, scale=True, momentum=0.99),
        layer("SeparableConv1D", "s", filters=4, depth_multiplier=1, use_bias=False, **conv),
        layer("LayerNormalization", "ln", axis=[2], epsilon=0.001, center=True, scale=True),
        layer("PReLU", "p", shared_axes=[1]),
        layer("Dropout", "drop", rate=0.5),
        layer("Dense", "d", units=2, activation="softmax", use_bias=True),
    )
    pair = {**conv, "strides": [2], "padding": "valid", "kernel_size": [2]}
    gates = {"activation": "tanh", "recurrent_activation": "sigmoid"}
    strided = sequential(
        start,
        layer("Conv1D", "c", filters=4, use_bias=False, **pair),
        layer("GRU", "g", units=4, return_sequences=True, reset_after=True, **gates),
        layer("UpSampling1D", "u", size=2),
        layer("Conv1DTranspose", "t", filters=2, kernel_size=[4], strides=[2], padding="same", use_bias=True),
    )
    plane = {"strides": [1, 1], "padding": "same", "activation": "linear"}
    picture = sequential(
        layer("InputLayer", "x", batch_input_shape=[None, None, 6, 6, 1], dtype="float32"),
        layer("TimeDistributed", "tc", layer=layer("Conv2D", "c", filters=2, kernel_size=[3, 3], **plane)),
        layer("TimeDistributed", "tp", layer=layer("MaxPooling2D", "p", pool_size=[2, 2], strides=[2, 2])),
        layer("TimeDistributed", "tf", layer=layer("Flatten", "f")),
        layer("Permute", "pm", dims=[1, 2]),
        layer("Reshape", "r", target_shape=[-1, 18]),
    )
    channels = {"gamma": (4,), "beta": (4,), "moving_mean": (4,), "moving_variance": (4,)}
    return {
        "chain": (
            chain,
            {
                "c": of("c", kernel=(3, 3, 4), bias=(4,)),
                "bn": of("bn", **channels),
                "s": of("s", depthwise_kernel=(3, 4, 1), pointwise_kernel=(1, 4, 4)),
                "ln": of("ln", gamma=(4,), beta=(4,)),
                "p": of("p", alpha=(1, 4)),
                "d": of("d", kernel=(4, 2), bias=(2,)),
            },
        ),
        "strided": (
            strided,
            {
                "c": of("c", kernel=(2, 3, 4)),
                "g": of("g", kernel=(4, 12), recurrent_kernel=(4, 12), bias=(2, 12)),
                "t": of("t", kernel=(4, 2, 4), bias=(2,)),
            },
        ),
        "picture": (picture, {"tc": of("tc", kernel=(3, 3, 1, 2), bias=(2,))}),
    }


@cache
def hdf5() -> Seeds:
    """Files of every generation of HDF5's format: old and new groups, chunks, filters, many members."""
    from test_hdf5 import KINDS

    return {f"{name}.h5": data for name, data in KINDS.items()} | {"weights.h5": (FORMATS / "weights.h5").read_bytes()}


@cache
def rtneural() -> Seeds:
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return rng.uniform(0.1, 1, shape)

    conv = {"kernel_size": [2], "dilation": [3], "groups": 1}
    chain = layers(
        entry("conv1d", 2, weights(2, 1, 2), weights(2), **conv),
        entry("batchnorm", 2, weights(2), weights(2), weights(2), weights(2) ** 2, epsilon=0.001),
        entry("prelu", 2, weights(2)),
        entry("gru", 2, weights(2, 6), weights(2, 6), weights(2, 6)),
        entry("lstm", 2, weights(2, 8), weights(2, 8), weights(8)),
        entry("activation", 2, activation="tanh"),
        entry("dense", 1, weights(2, 1), weights(1), activation="elu"),
        in_gain=3.0,
        out_gain=-2,
        in_skip=1,
        samplerate=44100,
    )
    tables = {"chain": chain, "input": layers(INPUT, D11), "trained": trained(), "state_dict": trained()["state_dict"]}
    return {f"{name}.json": json.dumps(table).encode() for name, table in tables.items()}


@cache
def nam() -> Seeds:
    rng = np.random.default_rng(1)
    tables = {name: wavenet(rng, STACKS[name]) for name in ("one", "two", "A2")}
    tables |= {"lstm": as_file(*capture(rng, n_layers=2)), "container": container(rng)[1]}
    return {f"{name}.nam": json.dumps(table).encode() for name, table in tables.items()}


@cache
def rnnoise() -> Seeds:
    first, second = integers(np.random.default_rng(0), SMALL), network(0)[0]
    texts = {"old.rnnn": as_text(SMALL, first), "old.c": as_c(SMALL, first), "new.c": as_source(second)}
    blobs = {"new.bin": as_blob(second), "int8.bin": as_blob(network(0, int8=True)[0])}
    return {name: text.encode() for name, text in texts.items()} | blobs


@cache
def wav() -> Seeds:
    made = {}
    for width in (1, 2, 3, 4):
        with wave.open(buffer := io.BytesIO(), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(width)
            file.setframerate(16000)
            file.writeframes(bytes(range(2 * 2 * width * 8)))
        made[f"{8 * width}.wav"] = buffer.getvalue()
    samples = np.linspace(-1, 1, 20)
    for code, form in ((3, "<f4"), (3, "<f8")):
        raw, width = samples.astype(form).tobytes(), np.dtype(form).itemsize
        head = struct.pack("<HHIIHH", code, 1, 8000, 8000 * width, width, 8 * width)
        made[f"float{8 * width}.wav"] = riff((b"fmt ", head), (b"fact", b"\0" * 4), (b"data", raw))
    guid = b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
    head = struct.pack("<HHIIHHHHIH", 0xFFFE, 1, 8000, 24000, 3, 24, 22, 24, 4, 1) + guid
    made["extensible.wav"] = riff((b"fmt ", head), (b"LIST", b"odd"), (b"data", bytes(range(30))))
    return made


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(raw)) + raw + b"\0" * (len(raw) % 2) for kind, raw in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body
