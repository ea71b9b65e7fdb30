# SPDX-License-Identifier: MIT
"""TensorFlow Lite files that tests find in tests/data, with what the interpreter computes for them, or build."""

from __future__ import annotations

import json
import struct
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from undertow.importers.tflite import schema

_DATA = Path(__file__).parent / "data" / "tflite.npz"


@cache
def golden() -> dict[str, np.ndarray]:
    """Name -> bytes of a file, or numbers of its calls; see tests/data/generate_tflite.py."""
    with np.load(_DATA) as stored:
        index = json.loads(stored["index"].tobytes())
        flat = {"files": stored["files"], "numbers": stored["numbers"]}
    arrays = {}
    for name, (start, shape) in index.items():
        array = flat["numbers" if "/" in name else "files"]
        arrays[name] = array[start : start + int(np.prod(shape))].reshape(shape)
    return arrays


def files() -> dict[str, bytes]:
    """Name -> the bytes of a file."""
    return {name: array.tobytes() for name, array in golden().items() if "/" not in name}


def calls(name: str, kind: str, of: str = "") -> list[dict[str, np.ndarray]]:
    """What went into ("in") the calls of a file one by one, or came out ("out"); of="plain/": with widened weights."""
    given: list[dict[str, Any]] = []
    for key, array in golden().items():
        prefix = f"{name}/{of}{len(given)}/{kind}/"
        if not key.startswith(prefix) and given:
            prefix = f"{name}/{of}{len(given) - 1}/{kind}/"
        if key.startswith(prefix):
            if int(key[len(f"{name}/{of}") :].partition("/")[0]) == len(given):
                given.append({})
            given[-1][key[len(prefix) :]] = array
    return given


# -- files that tests build -------------------------------------------------------------------------------------------


def packed(name: str, fields: dict[str, Any]) -> bytes:
    """A table of the schema and all that it holds. Fields are numbers, text, bytes, arrays, dicts (tables), lists of
    dicts, and of a union a pair (name of its table, dict)."""
    out = bytearray(b"\0\0\0\0TFL3")
    struct.pack_into("<I", out, 0, _table(out, name, fields))
    return bytes(out)


def _table(out: bytearray, name: str, fields: dict[str, Any]) -> int:
    numbers = {field.name: (number, field.kind) for number, field in schema.TABLES[name].items()}
    out += bytes(-len(out) % 8)
    layout, n_slots = len(out), max((numbers[key][0] + 1 for key in fields), default=0)
    out += bytes(4 + 2 * n_slots)
    out += bytes(-len(out) % 8)
    at = len(out)
    out += bytes(8 + 8 * len(fields))
    struct.pack_into("<HH", out, layout, 4 + 2 * n_slots, 8 + 8 * len(fields))
    struct.pack_into("<i", out, at, at - layout)
    for i, (key, value) in enumerate(fields.items()):
        (number, kind), place = numbers[key], 8 + 8 * i
        struct.pack_into("<H", out, layout + 4 + 2 * number, place)
        place += at
        if isinstance(value, (bool, int, float, np.number)):
            array = np.array(value, "?" if kind == "?" else f"<{kind or 'u4'}")
            out[place : place + array.itemsize] = array.tobytes()
        else:
            child = _child(out, kind, value)
            struct.pack_into("<I", out, place, child - place)
    return at


def _child(out: bytearray, kind: str, value: Any) -> int:
    if isinstance(value, dict):
        return _table(out, kind, value)
    if isinstance(value, tuple):
        return _table(out, *value)
    out += bytes(-len(out) % 8)
    out += bytes(4)  # so that what follows the length is aligned
    at = len(out)
    if isinstance(value, list) and kind[1:-1] in schema.TABLES:
        out += struct.pack("<I", len(value)) + bytes(4 * len(value))
        for i, fields in enumerate(value):
            place = at + 4 + 4 * i
            struct.pack_into("<I", out, place, _table(out, kind[1:-1], fields) - place)
        return at
    if isinstance(value, (str, bytes)):
        data = value.encode() if isinstance(value, str) else value
        out += struct.pack("<I", len(data)) + data + b"\0"
    else:
        array = np.asarray(value, f"<{kind[1:-1]}" if kind[:1] == "[" else "u1")
        out += struct.pack("<I", array.size) + array.tobytes()
    return at


class Build:
    """A file under construction: a first graph, or one inside of it."""

    def __init__(self, inside: Build | None = None) -> None:
        self.root = inside.root if inside else self
        self.graph: dict[str, Any] = {"tensors": [], "inputs": [], "outputs": [], "operators": [], "name": "main"}
        if inside is None:
            self.codes: list[dict[str, Any]] = []
            self.buffers: list[dict[str, Any]] = [{}]
            self.graphs: list[dict[str, Any]] = []
        self.root.graphs.append(self.graph)
        self.number = len(self.root.graphs) - 1

    def tensor(self, name: str, shape: Any, kind: str = "FLOAT32", data: Any = None, **more: Any) -> int:
        fields: dict[str, Any] = {"name": name, "type": schema.TYPES.index(kind), "shape": [n or 1 for n in shape]}
        if None in shape:
            fields["shape_signature"] = [-1 if n is None else n for n in shape]
        if data is not None:
            self.root.buffers.append({"data": data if isinstance(data, bytes) else np.asarray(data).tobytes()})
            fields["buffer"] = len(self.root.buffers) - 1
        self.graph["tensors"].append(fields | more)
        return len(self.graph["tensors"]) - 1

    def constant(self, array: Any, name: str = "") -> int:
        array = np.asarray(array)
        kinds = {"f": ("FLOAT32", np.float32), "i": ("INT32", np.int32), "b": ("BOOL", np.bool_)}
        kind, dtype = kinds[array.dtype.kind]
        return self.tensor(name or f"constant {len(self.graph['tensors'])}", array.shape, kind, array.astype(dtype))

    def input(self, name: str, shape: Any, kind: str = "FLOAT32") -> int:
        self.graph["inputs"].append(self.tensor(name, shape, kind))
        return int(self.graph["inputs"][-1])

    def op(self, op: str, inputs: Any, shape: Any, options: str = "", kind: str = "FLOAT32", **values: Any) -> int:
        """An operator of one output, "y" and a number; its options by the name of their table."""
        output = self.tensor(f"y{len(self.graph['operators'])}", shape, kind)
        self.operator(op, inputs, [output], options, **values)
        return output

    def operator(self, op: str, inputs: Any, outputs: Any, options: str = "", **values: Any) -> None:
        code = schema.OPERATORS.index(op.split(" ")[0])
        self.root.codes.append({"builtin_code": code, "deprecated_builtin_code": min(code, 127)})
        if op.startswith("CUSTOM "):
            self.root.codes[-1]["custom_code"] = op.removeprefix("CUSTOM ")
        fields = {"opcode_index": len(self.root.codes) - 1, "inputs": inputs, "outputs": outputs}
        if options:
            number = next(n for n, name in schema.OPTIONS.items() if name == options)
            fields |= {"builtin_options_type": number, "builtin_options": (options, values)}
        self.graph["operators"].append(fields)

    def file(self, *outputs: int, **more: Any) -> bytes:
        """The bytes, of a first graph with these outputs. more: other fields of the model."""
        self.graph["outputs"] = list(outputs)
        fields = {"version": 3, "operator_codes": self.codes, "subgraphs": self.graphs, "buffers": self.buffers}
        return packed("Model", fields | more)
