# SPDX-License-Identifier: MIT
"""Parsers make of two bytes an object of hundreds: what they take is counted in a file's bytes, before they run."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from load_apart import EACH, FREE, load_apart, measured
from onnx_files import model_of, node, save
from undertow.budget import MEMORY, MEMORY_EACH, Held
from undertow.errors import FormatError
from undertow.importers.onnx.file.read import read_model
from undertow.importers.onnx.file.wire import parsed_bytes as messages_bytes
from undertow.weights import json_text, read_weights

onnx = pytest.importorskip("onnx", reason='needs the onnx package: pip install "undertow[onnx]"')
MODEL = onnx.ModelProto.DESCRIPTOR


# -- protobuf ---------------------------------------------------------------------------------------------------------


def field(number: int, content: bytes) -> bytes:
    """A field of the wire format that holds bytes, text or a message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    groups = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def graph_of(*fields: bytes) -> bytes:
    return b"\x08\x0a" + field(8, b"\x10\x11") + field(7, b"".join(fields))


def attribute_of(content: bytes) -> bytes:
    return graph_of(field(1, field(4, b"Relu") + field(5, content)))


#: what there is very much of -> (its bytes once, a file that holds them)
MANY: dict[str, tuple[bytes, Any]] = {
    "nodes": (field(1, b""), graph_of),
    "attributes": (field(5, b""), lambda many: graph_of(field(1, many))),
    "attributes that hold tensors": (field(5, field(5, b"")), lambda many: graph_of(field(1, many))),
    "nodes that hold graphs": (field(1, field(5, field(6, b""))), graph_of),
    "graphs": (field(11, b""), attribute_of),
    "tensors": (field(5, b""), graph_of),
    "sparse tensors": (field(15, b""), graph_of),
    "types": (field(13, field(2, field(1, b""))), graph_of),
    "sizes": (field(1, b""), lambda many: graph_of(field(11, field(2, field(1, field(2, many)))))),
    "names": (field(1, b""), lambda many: graph_of(field(1, many))),
    "texts": (field(9, b""), attribute_of),
    "integers": (b"\1", lambda many: attribute_of(field(8, many))),
    "integers, one by one": (b"\x40\1", attribute_of),
    "numbers of a tensor": (b"\1", lambda many: graph_of(field(5, field(7, many)))),
    "entries": (field(14, b""), lambda many: graph_of() + many),
}


@measured
@pytest.mark.parametrize("what", MANY)
def test_messages_are_counted_before_they_are_parsed(what: str, tmp_path: Path) -> None:
    """A file of so many that it is nearly refused for them takes what it may; one of some more is."""
    once, file_of = MANY[what]
    n_bytes = messages_bytes(file_of(once * 1000), MODEL, 2**62) - messages_bytes(file_of(b""), MODEL, 2**62)
    n = int(0.97 * MEMORY / (n_bytes / 1000 - MEMORY_EACH * len(once)))
    path = tmp_path / "m.onnx"
    path.write_bytes(file_of(once * n))
    made, taken = load_apart(path)
    assert isinstance(made, str) and "once parsed" not in made, made
    assert taken < FREE + EACH * path.stat().st_size, f"{taken / 2**20:.0f} MiB"
    path.write_bytes(file_of(once * (n + n // 20)))
    with pytest.raises(undertow.UnsupportedError, match="its graph, once parsed, takes more memory"):
        undertow.load(path)


def test_a_large_graph_is_not_too_much(tmp_path: Path) -> None:
    """As many nodes as may be, the type of each tensor written down, names as PyTorch makes them."""
    n, names = 2**14, "/encoder/rnn/layers.0/cell/Relu_output_{}"
    nodes = [node("Relu", names.format(i) if i else "x", names.format(i + 1)) for i in range(n)]
    model = model_of(nodes, {"x": [1, 4]}, {names.format(n): [1, 4]}, {})
    for i in range(1, n):
        value = onnx.helper.make_tensor_value_info(names.format(i), onnx.TensorProto.FLOAT, ["batch", 4])
        model.graph.value_info.append(value)
    path = save(model, tmp_path)
    with Held.of_file(path.stat().st_size):
        assert len(read_model(path).graph.node) == n


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08",
        b"\x3a",
        b"\x3a\x05\x0a",
        b"\xff" * 30,
        b"\x3a" + b"\xff" * 9 + b"\x01",
        b"\x3a" + b"\xff" * 11,
        b"\x0b\x0b\x0b",
        b"\x3f",
        b"\x0d\x00",
        b"\x09\x00\x00",
        b"\x3a\x02\x0a\xff",
    ],
    ids=lambda data: data.hex(),
)
def test_no_bytes_are_too_odd_to_count(data: bytes) -> None:
    assert 0 < messages_bytes(data, MODEL, 2**30) < 10_000


def test_counting_ends_early() -> None:
    data = graph_of(field(1, b"") * 1_000_000)
    assert 10**6 < messages_bytes(data, MODEL, 10**6) < 10**6 + 1000


def test_weights_count_as_nothing() -> None:
    weights = field(9, bytes(10**6)) + field(4, np.ones(1000, np.float32).tobytes())
    assert messages_bytes(graph_of(field(5, weights)), MODEL, 2**30) < 2000


# -- JSON -------------------------------------------------------------------------------------------------------------

#: what there is very much of -> a text of so many
TEXTS = {
    "lists": lambda n: "[" + ",".join(["[]"] * n) + "]",
    "lists of one": lambda n: "[" + ",".join(["[0.5]"] * n) + "]",
    "objects": lambda n: "[" + ",".join(["{}"] * n) + "]",
    "objects of one": lambda n: "[" + ",".join(['{"a":0}'] * n) + "]",
    "objects of six": lambda n: "[" + ",".join(['{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0}'] * n) + "]",
    "texts": lambda n: "[" + ",".join(['"ab"'] * n) + "]",
    "numbers": lambda n: "[" + ",".join(["1e9"] * n) + "]",
    "integers": lambda n: "[" + ",".join(["999"] * n) + "]",
    "keys": lambda n: "{" + ",".join(f'"{i:x}":[]' for i in range(n)) + "}",
    "tensors": lambda n: (
        "{" + ",".join(f'"{i}":{{"dtype":"F32","shape":[1],"data_offsets":[{i},{i + 4}]}}' for i in range(n)) + "}"
    ),
}


@pytest.mark.parametrize("hook", [None, dict], ids=["plain", "pairs"])
@pytest.mark.parametrize("what", TEXTS)
def test_what_json_becomes_is_bounded_by_its_text(what: str, hook: Any) -> None:
    text = TEXTS[what](50_000).encode()
    tracemalloc.start()
    try:
        parsed = json_text.parse(text, "here", hook)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert parsed == json.loads(text)
    assert json_text.parsed_bytes(text) > taken - 5 * len(text)


def in_rtneural(text: bytes, path: Path) -> Path:
    path = path / "m.json"
    path.write_bytes(b'{"in_shape":[null,1],"layers":' + text + b"}")
    return path


def in_nam(text: bytes, path: Path) -> Path:
    path = path / "m.nam"
    path.write_bytes(b'{"version":"0.5.4","config":' + text + b"}")
    return path


def in_keras(text: bytes, path: Path) -> Path:
    path = path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("config.json", b'{"class_name":' + text + b"}")
        archive.writestr("model.weights.h5", b"")
    return path


def in_safetensors(text: bytes, path: Path) -> Path:
    path, text = path / "m.safetensors", b'{"a":' + text + b"}"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return path


@measured
@pytest.mark.parametrize("where", [in_rtneural, in_nam, in_keras, in_safetensors], ids=lambda f: f.__name__)
def test_json_is_counted_before_it_is_parsed(where: Any, tmp_path: Path) -> None:
    path = where(TEXTS["lists"](1_500_000).encode(), tmp_path)
    made, taken = load_apart(path)
    assert "once parsed" in made
    assert taken < FREE, f"{taken / 2**20:.0f} MiB"


def test_weights_in_json_are_counted_before_they_are_parsed(tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    path.write_text('{"w":' + TEXTS["lists of one"](1_000_000) + "}")
    with pytest.raises(FormatError, match=r"its JSON, once parsed, needs \d+ bytes.* larger max_bytes"):
        read_weights(path)
    arrays = read_weights(path, max_bytes=2**30)
    assert [array.shape for array in arrays.values()] == [(1_000_000, 1)]


def test_numbers_as_frameworks_write_them_are_not_too_much(tmp_path: Path) -> None:
    """Columns of one number each, rounded to two digits, are the most that a model holds."""
    kernel = [[round(x, 2)] for x in np.random.default_rng(0).random(300_000)]
    assert json_text.parsed_bytes(json.dumps(kernel).encode()) < MEMORY + MEMORY_EACH * len(json.dumps(kernel))
