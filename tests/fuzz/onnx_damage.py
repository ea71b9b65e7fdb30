# SPDX-License-Identifier: MIT
"""Damage of ONNX models: any field of any message of the protobuf, and changes that keep a model plausible."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from fuzz.cases import Case, Link, Pipe
from fuzz.damage import NUMBERS, flip

# -- any field of any message -----------------------------------------------------------------------------------------


def messages(message: Any) -> Iterator[Any]:
    """A message and all inside of it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for inner in value if _repeated(field) else [value]:
            yield from messages(inner)


def _repeated(field: Any) -> bool:
    return bool(field.is_repeated) if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED


def change_field(model: Any, rng: random.Random, message: Any = None) -> None:
    """One field of a message: set, cleared, added, taken out, doubled, moved, or copied from another such message."""
    found = list(messages(model))
    message = rng.choice(found) if message is None else message
    fields = [f for f, _ in message.ListFields()] if rng.random() < 0.8 else list(message.DESCRIPTOR.fields)
    if not fields:
        return
    field = rng.choice(fields)
    name = field.name
    kind = field.message_type
    alike = [m for m in found if kind is not None and m.DESCRIPTOR.full_name == kind.full_name]
    if _repeated(field):
        values = getattr(message, name)
        at, dice = rng.randrange(len(values)) if len(values) else -1, rng.random()
        if at >= 0 and dice < 0.25:
            del values[at]
        elif field.message_type is None:
            new = _scalar(field, values[at] if at >= 0 else None, model, rng)
            if at >= 0 and dice < 0.7:
                values[at] = new
            else:
                values.append(new)
        elif at >= 0 and dice < 0.5:
            copy = type(values[at])()
            copy.CopyFrom(values[rng.randrange(len(values))])
            values[at].CopyFrom(copy)
        elif at >= 0 and dice < 0.7:
            copy = type(values[at])()
            copy.CopyFrom(values[at])
            del values[at]
            values.insert(rng.randrange(len(values) + 1), copy)
        elif alike:
            copy = type(alike[0])()
            copy.CopyFrom(rng.choice(alike))
            values.add().CopyFrom(copy)
        else:
            values.add()
    elif field.message_type is not None:
        if alike and rng.random() < 0.6:
            copy = type(alike[0])()
            copy.CopyFrom(rng.choice(alike))
            getattr(message, name).CopyFrom(copy)
        elif rng.random() < 0.5:
            message.ClearField(name)
        else:
            getattr(message, name).SetInParent()
    elif rng.random() < 0.1:
        message.ClearField(name)
    else:
        setattr(message, name, _scalar(field, getattr(message, name), model, rng))


def _scalar(field: Any, old: Any, model: Any, rng: random.Random) -> Any:
    kind = field.cpp_type
    if kind in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return rng.choice([0.0, -1.0, 0.5, 1e38, float("nan"), float("inf"), float("-inf")])
    if kind == field.CPPTYPE_ENUM:
        return rng.choice([v.number for v in field.enum_type.values])
    if kind == field.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if kind == field.CPPTYPE_STRING:
        if field.type == field.TYPE_BYTES:
            return rng.choice([b"", flip(old or b"", rng), b"\xff\xfe", b"bidirectional", b"SAME_LOWER", b"reflect"])
        names = [n for g in graphs(model.graph) for n in _names_of(g)]
        return rng.choice([*rng.sample(names, min(len(names), 4)), "", "x" * 500, "\x1b[2J", "T", "ai.onnx.ml"])
    low, high = {
        field.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
        field.CPPTYPE_UINT32: (0, 2**32 - 1),
        field.CPPTYPE_UINT64: (0, 2**64 - 1),
    }.get(kind, (-(2**63), 2**63 - 1))
    near = [*range(-3, 20), (old or 0) + 1, (old or 0) - 1, -(old or 0), 2 * (old or 0)]
    return min(max(rng.choice([*NUMBERS, *near]), low), high)


def _names_of(graph: Any) -> list[str]:
    return [x for n in graph.node for x in (*n.input, *n.output)] + [v.name for v in (*graph.input, *graph.initializer)]


# -- changes that keep it plausible -----------------------------------------------------------------------------------


def graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for inner in graph.node:
        for attribute in inner.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)


def change_onnx(data: bytes, rng: random.Random) -> bytes:
    """One to three places of the protobuf: attributes, sizes, types, names, order, weights, or any field at all."""
    model = onnx.ModelProto()
    model.ParseFromString(data)
    plausible = [_attribute, _attribute, _size, _size, _weights, _weights, _names, _order, _kind, _operator]
    for _ in range(rng.choice([1, 1, 2, 3])):
        graph = rng.choice(list(graphs(model.graph)))
        if rng.random() < 0.4:
            change_field(model, rng)
        elif graph.node and (graph.input or graph.output):
            rng.choice(plausible)(model, graph, rng)
    return bytes(model.SerializeToString())


def _attribute(model: Any, graph: Any, rng: random.Random) -> None:
    node = rng.choice(graph.node)
    if not node.attribute:
        return
    at = rng.randrange(len(node.attribute))
    attribute, dice = node.attribute[at], rng.random()
    if dice < 0.15:
        del node.attribute[at]
    elif attribute.type == attribute.INT:
        attribute.i = rng.choice([*NUMBERS, min(attribute.i, 2**63 - 2) + 1, -max(attribute.i, 1 - 2**63)])
    elif attribute.type == attribute.INTS and attribute.ints and dice < 0.7:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(NUMBERS)
    elif attribute.type == attribute.INTS:
        attribute.ints.append(rng.choice(NUMBERS))
    elif attribute.type == attribute.FLOAT:
        attribute.f = rng.choice([0.0, -1.0, 1e38, float("nan"), float("inf")])
    elif attribute.type == attribute.STRING:
        attribute.s = rng.choice([b"", b"x", b"\xff\xfe", b"bidirectional", b"reflect", b"SAME_LOWER"])


def _size(model: Any, graph: Any, rng: random.Random) -> None:
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


def _weights(model: Any, graph: Any, rng: random.Random) -> None:
    found = [*graph.initializer, *(a.t for n in graph.node for a in n.attribute if a.HasField("t"))]
    if not found:
        return
    tensor, dice = rng.choice(found), rng.random()
    if dice < 0.2 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
    elif dice < 0.3:
        tensor.data_type = rng.randrange(26)
    else:
        try:
            array = np.array(numpy_helper.to_array(tensor))
        except Exception:  # an earlier change has damaged it
            return
        if array.size and array.dtype.kind in "if":
            number = rng.choice(NUMBERS if array.dtype.kind == "i" else [np.nan, np.inf, 0.0, 1e38])
            with np.errstate(all="ignore"):
                array.reshape(-1)[rng.randrange(array.size)] = np.array(number).astype(array.dtype)
        if rng.random() < 0.3 and array.ndim:
            array = array[: rng.randrange(len(array) + 1)]
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _names(model: Any, graph: Any, rng: random.Random) -> None:
    names = [*_names_of(graph), "", "nothing"]
    node, dice = rng.choice(graph.node), rng.random()
    if node.input and dice < 0.6:
        node.input[rng.randrange(len(node.input))] = rng.choice(names)
    elif node.output and dice < 0.8:
        node.output[rng.randrange(len(node.output))] = rng.choice(names)
    elif dice < 0.9:
        node.input.append(rng.choice(names))
    elif node.input:
        del node.input[-1]


def _order(model: Any, graph: Any, rng: random.Random) -> None:
    nodes = list(graph.node)
    rng.shuffle(nodes)
    copies = [type(n)() for n in nodes]
    for copy, shuffled in zip(copies, nodes, strict=True):
        copy.CopyFrom(shuffled)
    del graph.node[:]
    graph.node.extend(copies)


def _kind(model: Any, graph: Any, rng: random.Random) -> None:
    if rng.random() < 0.4 and model.opset_import:
        model.opset_import[0].version = rng.choice([0, -1, 7, 9, 11, 13, 18, 22, 99])
    else:
        rng.choice([*graph.input, *graph.output]).type.tensor_type.elem_type = rng.randrange(26)


def _operator(model: Any, graph: Any, rng: random.Random) -> None:
    """Another operator for a node, or a node more behind one."""
    node, dice = rng.choice(graph.node), rng.random()
    if dice < 0.5 or not node.output:
        node.op_type = rng.choice(_operators())
        return
    name = rng.choice(node.output)
    for reader in graph.node:
        reader.input[:] = [f"{name}_" if n == name else n for n in reader.input]
    others = rng.sample(_names_of(graph), rng.choice([0, 0, 1]))
    graph.node.append(helper.make_node(rng.choice(_operators()), [name, *others], [f"{name}_"]))


@cache
def _operators() -> list[str]:
    return sorted({s.name for s in onnx.defs.get_all_schemas() if s.domain == ""})


# -- data outside of the file -----------------------------------------------------------------------------------------

#: what lies outside of the folder, and must never be in a weight
SECRET = np.full(12, 12345.0, np.float32).tobytes()
_PLACES = [
    *("w.bin", "sub/w.bin", "./w.bin", "w.bin/", "sub/../w.bin", "sub\\w.bin", "w.bin\0x", "w.bin\n", "model.onnx"),
    *("", ".", "sub", "missing", "x" * 300, "\ud7ff", "link.bin", "folder/secret.bin", "pipe"),
    *("../secret.bin", "..\\secret.bin", "C:\\x", "~/x", "file:///etc/passwd"),
    *("/etc/passwd", "//etc/passwd", "/dev/zero", "/proc/self/environ"),
]
_COUNTS = [
    *("0", "4", "48", "47", "49", "-4", "64", str(2**63), str(10**30), "9" * 5000),
    *("x", "", " 0 ", "1e3", "0x10", "+0", "4_8", "\u0664"),
]


def outside(data: bytes, rng: random.Random) -> Case:
    """A model whose weight lies in another file, or where none should be: links, pipes, devices, other folders."""
    model = onnx.ModelProto()
    model.ParseFromString(data)
    found = [t for t in model.graph.initializer if t.name == "W"] or list(model.graph.initializer)
    tensor = found[0] if found else model.graph.initializer.add(name="W", data_type=1, dims=[4, 3])
    raw = numpy_helper.to_array(tensor).tobytes()
    tensor.CopyFrom(onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, data_location=1))
    entries = {"location": "w.bin" if rng.random() < 0.3 else rng.choice(_PLACES)}
    for key in ("offset", "length", "checksum", "offset2"):
        if rng.random() < 0.4:
            entries[key] = rng.choice(["0", str(len(raw)), *_COUNTS])
    keys = list(entries) + ([rng.choice(sorted(entries))] if rng.random() < 0.1 else [])
    rng.shuffle(keys)
    for key in keys:
        tensor.external_data.add(key=key, value=entries[key])
    if rng.random() < 0.2:
        change_field(model, rng, tensor) if rng.random() < 0.5 else _weights(model, model.graph, rng)
    proto = bytes(model.SerializeToString())
    held = b"\0" * rng.choice([0, 0, 4, 64]) + raw + b"\0" * rng.choice([0, 0, 1, 1000])
    files = {
        "in/model.onnx": proto if rng.random() < 0.9 else flip(proto, rng),
        "in/w.bin": held if rng.random() < 0.9 else flip(held, rng),
        "in/sub/w.bin": held,
        "in/link.bin": Link("../secret.bin"),
        "in/folder": Link(".."),
        "in/pipe": Pipe(),
        "secret.bin": SECRET,
    }
    if rng.random() < 0.2:
        files["in/w.bin"] = rng.choice([Pipe(), Link("/dev/zero"), Link("w.bin"), Link("missing"), b""])
    return Case(files, f"external data {entries}")
