# SPDX-License-Identifier: MIT
"""One text of a file after the other is evil, in every format: whether it loads or not, nothing of it gets out raw."""

from __future__ import annotations

import io
import json
import pickle
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import test_import_nam
import test_import_rnnoise
import test_import_rtneural
import undertow
from evil import EVIL, EVIL_PATH, in_json, in_pickle, in_proto, looked_at
from keras_files import GOLDEN, layer, sequential, write_h5
from onnx_files import INT64, bytes_of, cell, graph_of, helper, model_of, node, random
from test_contents import as_npz, as_safetensors, lstm
from test_weights import torch_zip
from undertow.compile import compile_graph

RNG = np.random.default_rng(0)


def onnx_files() -> Iterator[Any]:
    """Models with text in every place: names, sizes, strings, domains, functions, graphs in nodes, external data."""
    model = model_of(
        [
            node("Conv", "x C", "c", auto_pad="SAME_UPPER", kernel_shape=[3], name="conv"),
            node("Einsum", "K K", "k", equation="ij,ij->i", name="einsum"),
            node("Transpose", "c", "t", perm=[2, 0, 1], name="transpose"),
            node("GRU", "t W R", "h", hidden_size=4, direction="forward", activations=["Sigmoid", "Tanh"], name="gru"),
            node("Add", "h k", "y", name="add"),
        ],
        {"x": [1, 3, "T"]},
        {"y": ["T", 1, 1, 4]},
        {"C": random(RNG, 3, 3, 3), "K": random(RNG, 4, 4), **cell(RNG, "GRU", 3, 4)},
    )
    model.producer_name, model.producer_version, model.domain, model.doc_string = "pytorch", "2", "org", "a model"
    helper.set_model_props(model, {"key": "value"})
    yield model

    def branch(name: str, *factor: str) -> Any:
        return graph_of([node("Mul", f"x {name}2", name)], {}, {name: ["T", 1, 3]}, {f"{name}2": np.float32(2)}, name)

    chosen = node("If", "c", "y", then_branch=branch("a"), else_branch=branch("b"), name="if")
    inputs = {"x": ["T", 1, 3], "rate": ([], INT64)}
    yield model_of([node("Equal", "rate k", "c"), chosen], inputs, {"y": ["T", 1, 3]}, {"k": np.array(3)})

    called = helper.make_node("Twice", ["x"], ["y"], domain="mine", name="call")
    model = model_of([called], {"x": ["T", 1, 3]}, {"y": None})
    twice = [helper.make_node("Add", ["a", "a"], ["b"], name="twice")]
    model.functions.append(helper.make_function("mine", "Twice", ["a"], ["b"], twice, [helper.make_opsetid("", 17)]))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    yield model

    padded = [node("Pad", "K p", "k", mode="reflect", name="pad"), node("Add", "x k", "y")]
    yield model_of(padded, {"x": ["T", 1, 3]}, {"y": None}, {"K": random(RNG, 1, 1), "p": np.array([0, 0, 0, 2])})
    yield model_of([node("Attention", "x x x", "y", name="a")], {"x": ["T", 1, 3]}, {"y": None}, opset=23)
    yield model_of(
        [node("Add", "x a", "y"), node("Add", "x b", "z")], {n: [1, 3] for n in "xab"}, {"y": None, "z": None}
    )
    words = node("Constant", "", "t", value=helper.make_tensor("v", 8, [1], [b"1.5"]))
    yield model_of([words, node("Cast", "t", "f", to=1), node("Add", "x f", "y")], {"x": ["T", 1, 3]}, {"y": None})

    model = model_of([node("Add", "x K", "y")], {"x": ["T", 1, 3]}, {"y": None}, {"K": random(RNG, 3)})
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    for key, value in {"location": "weights.data", "offset": "0", "length": "12"}.items():
        tensor.external_data.add(key=key, value=value)
    yield model


def of_onnx(folder: Path) -> Iterator[bytes]:
    (folder / "weights.data").write_bytes(bytes(12))
    for model in onnx_files():
        yield bytes_of(model)
        yield from map(bytes_of, in_proto(model))


def as_text(trees: Iterator[Any]) -> Iterator[bytes]:
    return (json.dumps(tree).encode() for tree in trees)


def of_nam(_: Path) -> Iterator[bytes]:
    stack = test_import_nam.stack
    wavenet = test_import_nam.wavenet(RNG, [stack(1, 3, 2, [1, 2], gated=True), stack(3, 2, 1, [1])])
    for tree in (test_import_nam.as_file(*test_import_nam.capture(RNG)), wavenet):
        yield from as_text(in_json(tree))
        yield from as_text(in_json(tree, "\ud800"))


def of_rtneural(_: Path) -> Iterator[bytes]:
    entry, weights = test_import_rtneural.entry, test_import_rtneural.weights
    dense = entry("dense", 2, weights(1, 2), weights(2), activation="tanh")
    recurrent = entry("lstm", 3, weights(2, 12), weights(3, 12), weights(12))
    for tree in (test_import_rtneural.layers(dense, recurrent), test_import_rtneural.trained()):
        yield from as_text(in_json(tree))
        yield from as_text(in_json(tree, "\ud800"))


def rezipped(data: bytes, changed: dict[str, bytes], renamed: dict[str, str] | None = None) -> bytes:
    """A zip archive with other contents of some members, or other names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr((renamed or {}).get(name, name), changed.get(name, old.read(name)))
    return buffer.getvalue()


def of_keras(_: Path) -> Iterator[bytes]:
    data = (GOLDEN / "decoder.keras").read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    for name in ("config.json", "metadata.json"):
        for text in as_text(in_json(json.loads(files[name]))):
            yield rezipped(data, {name: text})
    for text in as_text(in_json(json.loads(files["config.json"]), "\ud800")):
        yield rezipped(data, {"config.json": text})
    for name in files:
        yield rezipped(data, {}, {name: name + EVIL})


def of_h5(folder: Path) -> Iterator[bytes]:
    config = sequential(
        layer("LSTM", "l", units=3, batch_input_shape=[None, None, 2], return_sequences=True),
        layer("Dense", "d", units=2, activation="relu"),
    )
    lstm = [("l/kernel:0", (2, 12)), ("l/recurrent_kernel:0", (3, 12)), ("l/bias:0", (12,))]
    shapes = {"l": lstm, "d": [("d/kernel:0", (3, 2)), ("d/bias:0", (2,))]}
    weights = {group: [(name, random(RNG, *shape)) for name, shape in some] for group, some in shapes.items()}
    for tree in in_json(config):
        yield write_h5(folder / "made.h5", tree, weights).read_bytes()
    for group, arrays in weights.items():
        others = {name: some for name, some in weights.items() if name != group}
        yield write_h5(folder / "made.h5", config, {**others, group + EVIL_PATH: arrays}).read_bytes()
        for i, (name, array) in enumerate(arrays):
            changed = [*arrays[:i], (name + EVIL_PATH, array), *arrays[i + 1 :]]
            yield write_h5(folder / "made.h5", config, {**weights, group: changed}).read_bytes()
    yield write_h5(folder / "made.h5", f'{{"a": "{EVIL}', weights, EVIL).read_bytes()


def of_hdf5(folder: Path) -> Iterator[bytes]:
    import h5py

    def soft(file: Any) -> None:
        file["s"] = h5py.SoftLink(f"/{EVIL_PATH}")

    def external(file: Any) -> None:
        file["e"] = h5py.ExternalLink(EVIL_PATH, EVIL_PATH)

    def words(file: Any) -> None:
        file["w"] = np.array([EVIL.encode()], "S200")

    def record(file: Any) -> None:
        file["r"] = np.zeros(2, [(EVIL_PATH, "f4")])

    for add in (soft, external, words, record, lambda file: None):
        with h5py.File(folder / "made.h5", "w") as file:
            file[f"a{EVIL_PATH}/b{EVIL_PATH}"] = np.ones((3, 4), np.float32)
            file.attrs[EVIL_PATH] = EVIL
            add(file)
        yield (folder / "made.h5").read_bytes()


def of_torch(folder: Path) -> Iterator[bytes]:
    here = Path(__file__).parent / "data" / "formats"
    for name in ("state_dict.pt", "module.pt", "scripted.pt", "protocol4.pt"):
        data = (here / name).read_bytes()
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            (pickled,) = [n for n in names if n.endswith("data.pkl")]
            changed = list(in_pickle(archive.read(pickled)))
        for made in changed[:60]:
            yield rezipped(data, {pickled: made})
        for member in names[:12]:
            yield rezipped(data, {}, {member: member + EVIL})
    entry = b"\x80\x02}X\x01\x00\x00\x00a" + f"cevil{EVIL_PATH.split()[0]}\nname\n".encode() + b")\x81s."
    yield torch_zip(folder / "made.pt", entry).read_bytes()


def of_pickle(_: Path) -> Iterator[bytes]:
    for protocol in (0, 2, 4):
        yield from in_pickle(pickle.dumps(lstm(), protocol))


def of_safetensors(_: Path) -> Iterator[bytes]:
    data = as_safetensors(lstm())
    end = 8 + int.from_bytes(data[:8], "little")
    tree = {**json.loads(data[8:end]), "__metadata__": {"format": "pt"}}
    for text in (*as_text(in_json(tree)), *as_text(in_json(tree, "\ud800"))):
        yield struct.pack("<Q", len(text)) + text + data[end:]


def of_npz(_: Path) -> Iterator[bytes]:
    data = as_npz(lstm())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            yield rezipped(data, {}, {name: name + EVIL})
            yield rezipped(data, {}, {name: name.replace(".npy", f"{EVIL}.npy")})
            yield rezipped(data, {name: archive.read(name).replace(b"'<f4'", b"'\x1b\x9b'")})


def of_rnnoise(_: Path) -> Iterator[bytes]:
    sizes = test_import_rnnoise.SMALL
    arrays = test_import_rnnoise.integers(RNG, sizes)
    lines = test_import_rnnoise.as_text(sizes, arrays).split("\n")
    for i, line in enumerate(lines):
        yield "\n".join([*lines[:i], line + EVIL, *lines[i + 1 :]]).encode()
    source = test_import_rnnoise.as_c(sizes, arrays)
    for word in sorted(set(re.findall(r"\b[a-zA-Z]\w*", source))):
        yield re.sub(rf"\b{word}\b", lambda match: match[0] + EVIL, source).encode()
    arrays, _ = test_import_rnnoise.network(3)
    blob = test_import_rnnoise.as_blob(arrays)
    for name in arrays:
        yield blob.replace(name.encode() + b"\0", (name[:-4] + "\x1b\n\x9b").encode() + b"\0", 1)


def of_tow(_: Path) -> Iterator[bytes]:
    g = undertow.Graph(f"g{EVIL}")
    g.source = f"made{EVIL}".replace("\n", "")  # its lines are lines
    x = g.input(f"x{EVIL}", 3)
    W, R = random(RNG, 3, 4, 3), random(RNG, 3, 4, 4)
    state = g.state(f"s{EVIL}.h", 4, np.ones(4))
    h = g.add("gru", [x], name=f"n{EVIL}", weights={"W": W, "R": R}, states=[state])
    g.output(f"y{EVIL}", g.add("flip", [h], name=f"f{EVIL}"))
    g.output(f"z{EVIL}", h)
    blob = compile_graph(g)
    yield blob
    for i in range(64, 64 + 700, 8):  # damaged, what says so may name nodes
        yield blob[:i] + bytes([blob[i] ^ 0x15]) + blob[i + 1 :]


FORMATS = {
    "onnx": of_onnx, "nam": of_nam, "json": of_rtneural, "keras": of_keras, "h5": of_h5, "hdf5": of_hdf5,
    "pt": of_torch, "pkl": of_pickle, "safetensors": of_safetensors, "npz": of_npz, "c": of_rnnoise, "tow": of_tow,
}  # fmt: skip
WEIGHTS = ("h5", "hdf5", "pt", "pkl", "safetensors", "npz", "c")


@pytest.mark.parametrize("suffix", FORMATS)
def test_evil_text_stays_text(suffix: str, tmp_path: Path) -> None:
    if suffix in ("h5", "hdf5"):
        pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    path, n = tmp_path / f"model.{suffix}", 0
    for data in FORMATS[suffix](tmp_path):
        n += 1
        path.write_bytes(data)
        looked_at(path)
        if suffix in WEIGHTS:
            looked_at(path, undertow.read_weights)
    assert n >= 5


@pytest.mark.parametrize("suffix", FORMATS)
def test_evil_names_of_files(suffix: str, tmp_path: Path) -> None:
    if suffix in ("h5", "hdf5"):
        pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    data = next(FORMATS[suffix](tmp_path))
    for name in (f"{EVIL_PATH}.{suffix}", f"\udcff.{suffix}", f"{EVIL_PATH}.x"):
        (tmp_path / name).write_bytes(data)
        looked_at(tmp_path / name)
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        looked_at(tmp_path / name)
