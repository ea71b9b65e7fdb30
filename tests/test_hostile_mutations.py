# SPDX-License-Identifier: MIT
"""Random damage of small models of every format: `undertow.load` gives a model or an undertow error, nothing else.

The seeds are fixed; UNDERTOW_MUTATIONS=5000 tries more of them.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from keras_files import GOLDEN
from test_import_nam import STACKS, as_file, capture, container, wavenet
from test_import_rnnoise import SMALL, as_blob, as_c, as_source, as_text, integers, network
from undertow.errors import Error

#: mutations of each format
N = int(os.environ.get("UNDERTOW_MUTATIONS", "120"))
NUMBERS = [0, 1, -1, 2, 3, 7, 1000, 2**16, 2**24, 2**27, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**31), -(2**63)]


def loads_or_refuses(path: Path, what: str) -> str:
    """How the load of a damaged file ended; any exception that is not undertow's own fails."""
    try:
        undertow.load(path)
    except Error as error:
        assert str(error), what
        return type(error).__name__
    except Exception as error:
        pytest.fail(f"{what}: {type(error).__name__}: {error}")
    return "loaded"


def flip(data: bytes, rng: random.Random) -> bytes:
    """Damage at one to sixteen places: bits, bytes, cut and repeated stretches; sometimes a truncated file."""
    made = bytearray(data)
    kind = rng.choice(["bit", "bit", "byte", "cut", "repeat", "ones", "zeros"])
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        i = rng.randrange(len(made))
        if kind == "bit":
            made[i] ^= 1 << rng.randrange(8)
        elif kind == "byte":
            made[i] = rng.randrange(256)
        elif kind == "cut" and len(made) > 100:
            del made[i : i + rng.randrange(1, 50)]
        elif kind == "repeat":
            j = rng.randrange(len(made))
            made[i:i] = made[j : j + rng.randrange(1, 200)]
        elif kind in ("ones", "zeros"):
            made[i : i + 4] = (b"\xff" if kind == "ones" else b"\0") * 4
    return bytes(made[: rng.randrange(len(made))]) if rng.random() < 0.05 else bytes(made)


def check(files: dict[str, bytes], change: Any, suffix: str, tmp_path: Path, n: int = N) -> None:
    """`n` mutations of files, half of them by `change`, half of them of bytes."""
    ends: dict[str, int] = {}
    for seed in range(n):
        rng = random.Random(seed)
        name = rng.choice(sorted(files))
        data = change(files[name], rng) if change is not None and rng.random() < 0.6 else flip(files[name], rng)
        path = tmp_path / f"damaged{suffix}"
        path.write_bytes(data)
        end = loads_or_refuses(path, f"{name}, seed {seed}")
        ends[end] = ends.get(end, 0) + 1
    assert ends.keys() - {"loaded"}, f"no mutation was refused: {ends}"


# -- JSON and text ----------------------------------------------------------------------------------------------------


def change_json(data: bytes, rng: random.Random) -> bytes:
    """Other values, types and missing keys at one to three places."""
    table = json.loads(data)
    for _ in range(rng.choice([1, 1, 2, 3])):
        where, key = rng.choice(list(_places(table)))
        if key not in (where if isinstance(where, dict) else range(len(where))):
            continue
        old, dice = where[key], rng.random()
        if dice < 0.1:
            del where[key]
        elif isinstance(old, (int, float)) and dice < 0.8:
            where[key] = rng.choice([*NUMBERS, 1.5, float("nan"), float("inf"), 10**30, 10**400])
        elif isinstance(old, str) and dice < 0.7:
            where[key] = rng.choice(["", "x", "LSTM", "Bidirectional", "relu", "\ud800", "a" * 1000])
        else:
            where[key] = rng.choice([None, [], {}, "x", 0, -1, 2**40, [1, 2], [[]], {"a": 1}, True, [2**40] * 3])
    return json.dumps(table).encode("utf-8", "surrogatepass")


def _places(table: Any) -> Iterator[tuple[Any, Any]]:
    items = table.items() if isinstance(table, dict) else enumerate(table[:300]) if isinstance(table, list) else ()
    for key, value in items:
        yield table, key
        yield from _places(value)


def change_number(data: bytes, rng: random.Random) -> bytes:
    """Another whole number somewhere in a text, or in the JSON inside of an HDF5 file, of the same length there."""
    config = re.search(rb'\{"[\x20-\x7e]{200,}\}', data)
    start, end = config.span() if config else (0, min(len(data), 4000))
    found = list(re.finditer(rb"-?\d+", data[start:end]))
    if not found:
        return flip(data, rng)
    spot = rng.choice(found)
    a, b = start + spot.start(), start + spot.end()
    number = b"9" * (b - a) if config else str(rng.choice(NUMBERS)).encode()
    return data[:a] + number + data[b:]


def test_nam(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    tables = {name: wavenet(rng, STACKS[name]) for name in ("one", "two", "A2")}
    tables |= {"lstm": as_file(*capture(rng, n_layers=2)), "container": container(rng)[1]}
    check({name: json.dumps(t).encode() for name, t in tables.items()}, change_json, ".nam", tmp_path)


def test_rnnoise(tmp_path: Path) -> None:
    first, second = integers(np.random.default_rng(0), SMALL), network(0)[0]
    check({"text": as_text(SMALL, first).encode()}, change_number, ".rnnn", tmp_path, N // 2)
    check(
        {"c": as_c(SMALL, first).encode(), "source": as_source(second).encode()}, change_number, ".c", tmp_path, N // 2
    )
    check({"binary": as_blob(second)}, None, ".bin", tmp_path, N // 2)


def test_keras(tmp_path: Path) -> None:
    def change(data: bytes, rng: random.Random) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
            for name in old.namelist():
                member = old.read(name)
                if name == "config.json":
                    member = change_json(member, rng)
                elif rng.random() < 0.2:
                    member = flip(member, rng)
                new.writestr(name, member)
        return buffer.getvalue()

    check({p.name: p.read_bytes() for p in GOLDEN.glob("*.keras")}, change, ".keras", tmp_path)


def test_keras_hdf5(tmp_path: Path) -> None:
    files = {p.name: gzip.decompress(p.read_bytes()) for p in GOLDEN.glob("*.h5.gz")}
    check(files, change_number, ".h5", tmp_path)


# -- ONNX -------------------------------------------------------------------------------------------------------------


def graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)


def change_onnx(data: bytes, rng: random.Random) -> bytes:
    """The fields of one to three places of the protobuf: attributes, sizes, types, names, order, weights."""
    onnx = pytest.importorskip("onnx", reason="needs ONNX: pip install onnx")
    model = onnx.ModelProto()
    model.ParseFromString(data)
    for _ in range(rng.choice([1, 1, 2, 3])):
        graph = rng.choice(list(graphs(model.graph)))
        change = rng.choice([_attribute, _attribute, _size, _size, _weights, _weights, _names, _order, _kind])
        if graph.node and (graph.input or graph.output):
            change(onnx, model, graph, rng)
    return bytes(model.SerializeToString())


def _attribute(onnx: Any, model: Any, graph: Any, rng: random.Random) -> None:
    node = rng.choice(graph.node)
    if not node.attribute:
        return
    at = rng.randrange(len(node.attribute))
    attribute, dice = node.attribute[at], rng.random()
    if dice < 0.15:
        del node.attribute[at]
    elif attribute.type == attribute.INT:
        attribute.i = rng.choice(NUMBERS)
    elif attribute.type == attribute.INTS and attribute.ints and dice < 0.7:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(NUMBERS)
    elif attribute.type == attribute.INTS:
        attribute.ints.append(rng.choice(NUMBERS))
    elif attribute.type == attribute.FLOAT:
        attribute.f = rng.choice([0.0, -1.0, 1e38, float("nan"), float("inf")])
    elif attribute.type == attribute.STRING:
        attribute.s = rng.choice([b"", b"x", b"\xff\xfe", b"bidirectional", b"reflect", b"SAME_LOWER"])


def _size(onnx: Any, model: Any, graph: Any, rng: random.Random) -> None:
    dims = rng.choice([*graph.input, *graph.output]).type.tensor_type.shape.dim
    dice = rng.random()
    if dims and dice < 0.6:
        rng.choice(dims).dim_value = rng.choice(NUMBERS)
    elif dims and dice < 0.75:
        rng.choice(dims).dim_param = rng.choice(["T", "N", ""])
    elif dims and dice < 0.85:
        del dims[rng.randrange(len(dims))]
    else:
        dims.add().dim_value = rng.choice([0, 1, 2, 5000])


def _weights(onnx: Any, model: Any, graph: Any, rng: random.Random) -> None:
    found = [*graph.initializer, *(a.t for n in graph.node for a in n.attribute if a.HasField("t"))]
    if not found:
        return
    tensor, dice = rng.choice(found), rng.random()
    if dice < 0.2 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
    elif dice < 0.3:
        tensor.data_type = rng.randrange(24)
    else:
        try:
            array = np.array(onnx.numpy_helper.to_array(tensor))
        except Exception:  # an earlier change has damaged it
            return
        if array.size and array.dtype.kind in "if":
            number = rng.choice(NUMBERS if array.dtype.kind == "i" else [np.nan, np.inf, 0.0, 1e38])
            array.reshape(-1)[rng.randrange(array.size)] = np.array(number).astype(array.dtype)
        if rng.random() < 0.3 and array.ndim:
            array = array[: rng.randrange(len(array) + 1)]
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))


def _names(onnx: Any, model: Any, graph: Any, rng: random.Random) -> None:
    names = [x for n in graph.node for x in (*n.input, *n.output)] + [v.name for v in graph.input] + ["", "nothing"]
    node, dice = rng.choice(graph.node), rng.random()
    if node.input and dice < 0.6:
        node.input[rng.randrange(len(node.input))] = rng.choice(names)
    elif node.output and dice < 0.8:
        node.output[rng.randrange(len(node.output))] = rng.choice(names)
    elif dice < 0.9:
        node.input.append(rng.choice(names))
    elif node.input:
        del node.input[-1]


def _order(onnx: Any, model: Any, graph: Any, rng: random.Random) -> None:
    nodes = list(graph.node)
    rng.shuffle(nodes)
    copies = [type(n)() for n in nodes]
    for copy, node in zip(copies, nodes, strict=True):
        copy.CopyFrom(node)
    del graph.node[:]
    graph.node.extend(copies)


def _kind(onnx: Any, model: Any, graph: Any, rng: random.Random) -> None:
    from undertow.importers.onnx.operators import COMPUTED

    if rng.random() < 0.2:
        model.opset_import[0].version = rng.choice([0, -1, 7, 9, 11, 13, 18, 22, 99])
    elif rng.random() < 0.5:
        rng.choice([*graph.input, *graph.output]).type.tensor_type.elem_type = rng.randrange(24)
    else:
        rng.choice(graph.node).op_type = rng.choice(sorted(COMPUTED))


#: of ONNX's own node tests: recurrent cells, structures, windows, movement, formulas of whole layers
NODE_TESTS = re.compile(
    r"test_(lstm|gru|simple_rnn|scan|loop|if|conv|averagepool_2d|maxpool_1d|pad|edge_pad|slice|gather|scatter|split|tile|"
    r"expand|reshape|einsum|reduce_l2|cumsum|qlinear|dequantize|depthtospace|layer_normalization_4d|softmax_axis|"
    r"group_normalization\w*expanded|hardswish_expanded|where|clip|matmul|gemm|range|constantofshape|onehot)\w*"
)


def test_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs ONNX: pip install onnx")
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnx's own, about the data of its tests
        models = {c.name: c.model for c in collect_testcases(None) if NODE_TESTS.fullmatch(c.name)}
    files = {name: m.SerializeToString() for name, m in models.items() if m.ByteSize() < 20_000}
    assert len(files) > 200
    check(files, change_onnx, ".onnx", tmp_path, 2 * N)
