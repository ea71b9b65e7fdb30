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
    "inputs": (field(11, b""), graph_of),
    "outputs without a name": (field(12, field(1, b"")), graph_of),
    "entries of unknown fields": (field(14, b"\x98\x06\x01"), lambda many: graph_of() + many),
    "unknown fields": (b"\x98\x06\x01", lambda many: graph_of() + many),
    "operator sets": (field(8, field(1, b"")), lambda many: graph_of() + many),
    "annotations": (field(14, field(2, b"")), graph_of),
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
    with pytest.raises(undertow.UnsupportedError, match=r"its graph, once parsed, takes more memory than the \d+ MiB"):
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


@pytest.mark.parametrize("value", [-1, -128, 0, 127])
def test_integers_are_not_too_much(value: int, tmp_path: Path) -> None:
    """A number below zero has ten bytes, and weights of int8 are often written so."""
    rng = np.random.default_rng(0)
    model = model_of(
        [node("MatMul", "x W", "y")], {"x": ["T", 1, 4]}, {"y": ["T", 1, 2]}, {"W": rng.random((4, 2), np.float32)}
    )
    tensor = onnx.helper.make_tensor("kernel", onnx.TensorProto.INT8, [500_000], [value] * 500_000)
    assert not tensor.raw_data
    model.graph.initializer.append(tensor)
    path = save(model, tmp_path)
    assert undertow.load(path).inputs["x"].shape == (4,)


def test_counting_takes_no_memory() -> None:
    """However many messages there are, inside of each other or one after the other, or parts of one."""
    many = [field(1, field(5, b"\x08\x01")) * 200_000, field(14, field(4, field(2, b""))) * 200_000]
    deep = b""
    for _ in range(3000):
        deep = field(1, field(5, field(6, deep)))
    for data in (graph_of(*many), graph_of(deep), graph_of(field(11, field(2, field(4, field(1, b"")) * 300_000)))):
        tracemalloc.start()
        try:
            messages_bytes(data, MODEL, 2**40)
            assert tracemalloc.get_traced_memory()[1] < 2**19
        finally:
            tracemalloc.stop()


def test_a_large_file_may_have_no_larger_graph(tmp_path: Path) -> None:
    """What weights allow, nodes and names do not take."""
    path = tmp_path / "m.onnx"
    path.write_bytes(graph_of(field(5, field(9, bytes(60 << 20)))) + field(14, b"") * 1_100_000)
    with pytest.raises(undertow.UnsupportedError, match="than the 128 MiB that it may"):
        undertow.load(path)


def test_inputs_and_outputs_are_counted(tmp_path: Path) -> None:
    """What is asked of pairs of them would take minutes. Weights that old files list as inputs are none."""
    n = 300
    nodes = [node("Add", f"x{i} W{i}", f"y{i}") for i in range(n)]
    inputs, outputs = ({f"{name}{i}": ["T", 1, 2] for i in range(n)} for name in "xy")
    weights = {f"W{i}": np.ones((1, 1, 2), np.float32) for i in range(n)}
    with pytest.raises(undertow.UnsupportedError, match="600 inputs and outputs, at most 512 are read"):
        undertow.load(save(model_of(nodes, inputs, outputs, weights), tmp_path))
    chain = [node("Add", f"v{i} W{i}" if i else "x W0", f"v{i + 1}") for i in range(n)]
    model = model_of(chain, {"x": ["T", 1, 2]}, {f"v{n}": ["T", 1, 2]}, weights)
    for name in weights:
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, 2]))
    for i in range(n):
        spare = onnx.helper.make_tensor(f"spare{i}", onnx.TensorProto.FLOAT, [1], [0.0])
        model.graph.initializer.append(spare)
        model.graph.input.append(onnx.helper.make_tensor_value_info(spare.name, onnx.TensorProto.FLOAT, [1]))
    assert len(model.graph.input) > 512
    assert list(undertow.load(save(model, tmp_path)).inputs) == ["x"]


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
