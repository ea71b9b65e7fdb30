# SPDX-License-Identifier: MIT
"""Read an .onnx file without trusting it: limits, external data only from the model's own folder, the checker."""

from __future__ import annotations

import heapq
import os
import stat
from collections import Counter
from collections.abc import Iterator
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ...._text import cause, quoted, shown
from ....budget import MEMORY, MEMORY_EACH, room
from ....errors import FormatError, UnsupportedError
from ....weights.contents import read_within
from ....weights.in_memory import as_path, folder_of
from ..traits import RUNTIME, traits
from . import limits
from .wire import parsed_bytes

#: the operator set from which ONNX itself has LayerNormalization
_LAYER_NORM_FROM = 17


def require_onnx(of: str = "onnx") -> Any:
    """The `onnx` package, or an ImportError that says how to get it, for files of a kind."""
    try:
        import onnx
        import onnx.reference
    except ImportError as error:
        raise ImportError(f'reading .{of} files needs the onnx package: pip install "undertow[{of}]"') from error
    return onnx


def read_model(path: str | os.PathLike[str]) -> Any:
    """Give the checked `onnx.ModelProto` of a file, external data read into it.

    Raises:
        FormatError: not an ONNX file, damaged, or its external data lies where it must not.
        UnsupportedError: beyond a limit of `undertow.importers.onnx.file.limits`.
        TooMuch: its messages take more memory than the file may hold.
        ImportError: the onnx package is missing.
    """
    onnx = require_onnx()
    path = as_path(path)
    data = read_within(path, limits.MAX_FILE_BYTES)
    model = onnx.ModelProto()
    most = min(MEMORY + MEMORY_EACH * len(data), limits.MAX_PARSED_BYTES)
    n_bytes = parsed_bytes(data, model.DESCRIPTOR, most)
    if n_bytes > most:
        raise UnsupportedError(
            f"{path}: its graph, once parsed, takes more memory than the {most >> 20} MiB that it may"
        )
    room(n_bytes, 1, str(path), "its graph, once parsed,")
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError; its module differs between protobuf versions
        raise FormatError(f"{path}: not an ONNX file, or damaged: {error}") from error
    return check_model(model, path)


def check_model(model: Any, path: Path | None = None) -> Any:
    """Apply limits, read external data (from beside `path`), run onnx's checker. Gives the model, functions inlined."""
    onnx = require_onnx()
    where = str(path) if path else "model"
    if not model.HasField("graph") or not model.opset_import:
        raise FormatError(f"{where}: not an ONNX model: it has no graph or no operator set")
    _check_ports(model.graph, where)
    check_size_of(model.graph, where)
    _check_text(model, where)
    if model.functions:
        _check_functions(model, where)
    _check_tensors(onnx, model, path, where)
    _sort(model.graph)
    _name_domain(onnx, model)
    # Peers load files whose inputs or outputs have no shape, and nothing here relies on it: the checker need not mind.
    bare = [v for v in [*model.graph.input, *model.graph.output] if v.type.HasField("tensor_type")]
    bare = [v for v in bare if not v.type.tensor_type.HasField("shape")]
    for value in bare:
        value.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise FormatError(f"{where}: onnx's checker refuses it: {_first_line(error)}") from cause(error)
    finally:
        for value in bare:
            value.type.tensor_type.ClearField("shape")
    if model.functions:
        import onnx.inliner

        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as error:
            raise FormatError(f"{where}: its functions cannot be inlined: {_first_line(error)}") from cause(error)
        check_size_of(model.graph, where)
        _check_tensors(onnx, model, path, where)
    return model


def _name_domain(onnx: Any, model: Any) -> None:
    """Give operators that ONNX Runtime writes into operator sets without them the domain of its own ones."""
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    names = {"SimplifiedLayerNormalization"} | ({"LayerNormalization"} if opset < _LAYER_NORM_FROM else set())
    early = [n for n in _nodes(model.graph) if n.op_type in names and n.domain in ("", "ai.onnx")]
    if not early:
        return
    for node in early:
        node.domain = RUNTIME
    if all(o.domain != RUNTIME for o in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(RUNTIME, 1))


def carried_on(model: Any) -> dict[str, str]:
    """Inputs that are the state of an operator which has one -> the outputs that are that state after it."""
    inputs, outputs = {v.name for v in model.graph.input}, {v.name for v in model.graph.output}
    pairs: dict[str, str] = {}
    for node in model.graph.node:
        op = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        for slot, result in traits(op).carries_on:
            ends = [*node.input[slot : slot + 1], *node.output[result : result + 1]]
            if len(ends) == 2 and ends[0] in inputs and ends[1] in outputs:
                pairs.setdefault(*ends)
    return {name: output for name, output in pairs.items() if list(pairs.values()).count(output) == 1}


def _check_ports(graph: Any, where: str) -> None:
    """Refuse more inputs and outputs than a model has; what is asked of pairs of them is asked of each pair."""
    if len(graph.input) + len(graph.output) > limits.MAX_PORTS:
        weights = {tensor.name for tensor in graph.initializer}  # old files list them as inputs too
        n = len(graph.output) + sum(value.name not in weights for value in graph.input)
        _limit(where, "inputs and outputs", n, limits.MAX_PORTS)


def _check_text(model: Any, where: str) -> None:
    """Refuse names that are no UTF-8: protobuf gives those as bytes."""
    for graph in graphs_of(model.graph):
        _all_text([graph.name, *(v.name for v in (*graph.input, *graph.output, *graph.initializer))], where)
        _all_text([d.dim_param for v in (*graph.input, *graph.output) for d in v.type.tensor_type.shape.dim], where)
    for node in (*_nodes(model.graph), *(n for f in model.functions for n in f.node)):
        own = [node.name, node.op_type, node.domain, *node.input, *node.output]
        _all_text([*own, *(a.name for a in node.attribute)], where)
    for f in model.functions:
        _all_text([f.name, f.domain, *f.input, *f.output, *f.attribute], where)
    _all_text([model.producer_name, model.producer_version, *(o.domain for o in model.opset_import)], where)


def _all_text(names: list[Any], where: str) -> None:
    for name in () if {str}.issuperset(map(type, names)) else names:
        if not isinstance(name, str):
            raise FormatError(f"{where}: damaged: the name {name[:40]!r} is not UTF-8")


def _check_functions(model: Any, where: str) -> None:
    """Refuse functions in functions, and what would become too large where they are called."""
    functions = {(f.domain, f.name): f for f in model.functions}
    for function in functions.values():
        if any(a.type in (a.GRAPH, a.GRAPHS) for node in function.node for a in node.attribute):
            raise UnsupportedError(f"{where}: function {function.name!r} holds nested graphs, which is not supported")
        if any((n.domain, n.op_type) in functions for n in function.node):
            raise UnsupportedError(
                f"{where}: function {function.name!r} calls another function, which is not supported"
            )
    calls = [functions.get((node.domain, node.op_type)) for node in _nodes(model.graph)]
    counted = Counter(id(f) for f in calls if f is not None)
    sizes = {id(f): sum(limits.nodes_of(len(n.input) + len(n.output)) for n in f.node) for f in functions.values()}
    _limit(where, "nodes", sum(counted[k] * n for k, n in sizes.items()), limits.MAX_NODES)
    n_bytes = sum(counted[id(f)] * f.ByteSize() for f in functions.values())
    _limit(where, "bytes of functions where they are called", n_bytes, limits.MAX_INLINED_BYTES)


def _check_tensors(onnx: Any, model: Any, path: Path | None, where: str) -> None:
    total = 0
    for tensor in _tensors(model.graph, where):
        total += _check_tensor(onnx, tensor, path, where)
        _limit(where, "bytes of tensors", total, limits.MAX_TOTAL_BYTES)


def _tensors(graph: Any, where: str) -> Iterator[Any]:
    """Every tensor of a graph and of the graphs inside it."""
    for inner in graphs_of(graph):
        yield from inner.initializer
        if inner.sparse_initializer:
            name = inner.sparse_initializer[0].values.name
            raise UnsupportedError(f"{where}: initializer {name!r} is sparse, which is not supported")
        for node in inner.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                    raise UnsupportedError(
                        f"{where}: {shown(node.op_type)} node {quoted(node.name)} holds a sparse tensor: not supported"
                    )


def check_size_of(graph: Any, where: str) -> None:
    """Refuse too many nodes, graphs, or graphs inside of graphs."""
    todo, n_nodes, n_graphs = [(graph, 1)], 0, 1
    while todo:
        graph, depth = todo.pop()
        _limit(where, "levels of nested graphs", depth, limits.MAX_NESTING)
        n_nodes += sum(limits.nodes_of(len(node.input) + len(node.output)) for node in graph.node)
        _limit(where, "nodes", n_nodes, limits.MAX_NODES)
        _limit(where, "inputs and outputs of a graph", len(graph.input) + len(graph.output), limits.MAX_NODES)
        for node in graph.node:
            for attribute in node.attribute:
                n_graphs += len(attribute.graphs)
                _limit(where, "graphs inside of nodes", n_graphs, limits.MAX_NODES)
                if attribute.HasField("g"):
                    todo.append((attribute.g, depth + 1))
                todo += [(g, depth + 1) for g in attribute.graphs]


def graphs_of(graph: Any) -> Iterator[Any]:
    """A graph and those inside it."""
    todo = [graph]
    while todo:
        graph = todo.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    todo.append(attribute.g)
                todo += attribute.graphs


def _nodes(graph: Any) -> Iterator[Any]:
    for inner in graphs_of(graph):
        yield from inner.node


def _sort(graph: Any) -> None:
    """Put the nodes of a graph, and of those inside it, where what they use stands before them.

    The format asks for this order, but peers load files without it. Nodes keep their places as far as possible; those
    on a cycle come last, as they were, and the checker refuses them.
    """
    for node in graph.node:
        for attribute in node.attribute:
            for body in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                _sort(body)
    maker = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    needs = [{maker[name] for name in _used(node) if name in maker} - {i} for i, node in enumerate(graph.node)]
    if all(max(before, default=-1) < i for i, before in enumerate(needs)):
        return
    waiting: dict[int, list[int]] = {}
    for i, before in enumerate(needs):
        for j in before:
            waiting.setdefault(j, []).append(i)
    missing = [len(before) for before in needs]
    ready = [i for i, n in enumerate(missing) if n == 0]
    order = []
    while ready:
        order.append(heapq.heappop(ready))
        for i in waiting.get(order[-1], ()):
            missing[i] -= 1
            if missing[i] == 0:
                heapq.heappush(ready, i)
    nodes = list(graph.node)
    order += sorted(set(range(len(nodes))) - set(order))
    copies = []
    for i in order:
        copies.append(type(nodes[i])())
        copies[-1].CopyFrom(nodes[i])
    del graph.node[:]
    graph.node.extend(copies)


def _used(node: Any) -> set[str]:
    """The names a node takes, those that graphs inside of it take from outside included."""
    used = set(node.input)
    for attribute in node.attribute:
        for body in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
            own = {t.name for t in body.initializer} | {v.name for v in body.input}
            own |= {name for inner in body.node for name in inner.output}
            taken = {v.name for v in body.output}.union(*(_used(inner) for inner in body.node))
            used |= taken - own
    return used


def file_bytes(model: Any) -> int:
    """Bytes of a checked model, its external data included; weights of fewer than 32 bits as if they had 32."""
    kinds = require_onnx().TensorProto.DataType
    wide = {kinds.Value(name) for name in ("FLOAT", "DOUBLE", "INT32", "UINT32", "INT64", "UINT64", "STRING")}
    narrow = (tensor for tensor in _tensors(model.graph, "model") if tensor.data_type not in wide)
    return int(model.ByteSize()) + sum(4 * prod(tensor.dims) for tensor in narrow)


def node_types(model: Any) -> Counter[str]:
    """Operator -> how many nodes of it a checked model holds, graphs inside of nodes included."""
    return Counter(node.op_type for node in _nodes(model.graph))


def _check_tensor(onnx: Any, tensor: Any, path: Path | None, where: str) -> int:
    """Check one tensor's size against its data; read external data. Gives its bytes."""
    name = f"{where}: tensor {quoted(tensor.name)}"
    if len(tensor.dims) > limits.MAX_RANK or any(d < 0 for d in tensor.dims):
        raise FormatError(f"{name}: shape {list(tensor.dims)} is not possible")
    n_elements = prod(tensor.dims)
    if tensor.data_type == onnx.TensorProto.STRING:
        return 0
    try:
        item_bytes = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except KeyError:
        raise FormatError(f"{name}: data type {tensor.data_type} does not exist") from None
    n_bytes = n_elements * item_bytes
    _limit(name, "bytes", n_bytes, limits.MAX_TENSOR_BYTES)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        tensor.raw_data = _external_data(tensor, path, name, n_bytes)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    held = len(tensor.raw_data) or sum(
        len(getattr(tensor, kind)) for kind in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
    )
    if n_elements and not held:
        raise FormatError(f"{name}: shape {list(tensor.dims)} needs {n_bytes} bytes, found none")
    if tensor.raw_data and item_bytes > 1 and len(tensor.raw_data) != n_bytes:
        raise FormatError(f"{name}: shape {list(tensor.dims)} needs {n_bytes} bytes, found {len(tensor.raw_data)}")
    return max(n_bytes, held)


def _external_data(tensor: Any, path: Path | None, name: str, n_bytes: int) -> bytes:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    _all_text([*entries, *entries.values()], name)
    location = entries.get("location", "")
    folder = folder_of(path) if path else None
    if folder is None:
        raise UnsupportedError(
            f"{name}: its data lies in {location!r}, but nothing tells in which folder: load the path of the .onnx "
            "file, or the model that onnx.load(path) gives, which has read it"
        )
    parts = PurePosixPath(location).parts
    windows = PureWindowsPath(location)
    if not parts or ".." in windows.parts or windows.anchor or location.startswith("/") or "\0" in location:
        raise FormatError(f"{name}: external data {location!r} must lie inside the model's folder")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", n_bytes))
    except ValueError:
        raise FormatError(f"{name}: external data offset or length is not a number: {entries}") from None
    if offset < 0 or length != n_bytes:
        raise FormatError(f"{name}: external data has offset {offset}, length {length}, expected {n_bytes} bytes")
    file = folder
    try:
        for part in parts:
            file = file / part
            if stat.S_ISLNK(os.lstat(file).st_mode):
                raise FormatError(
                    f"{name}: external data {location!r} leads through the link {file}, which is not followed"
                )
        descriptor = os.open(
            file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
        )
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                raise FormatError(
                    f"{name}: external data {location!r} is not a plain file of its own (a link, or no file)"
                )
            if offset + length > status.st_size:
                raise FormatError(f"{name}: {location!r} has {status.st_size} bytes, expected {offset + length}")
            stream.seek(offset)
            return stream.read(length)
    except FileNotFoundError as error:
        others = sorted(p.name for p in folder.glob("*.data") if p.is_file())
        beside = f"; found {', '.join(map(repr, others[:3]))}" if others else ""
        raise FormatError(
            f"{name}: external data {location!r} is missing: the file must lie beside the model, as it was written, "
            f"and keep its name{beside}; torch.onnx.export(..., external_data=False) writes one file"
        ) from error
    except OSError as error:
        raise FormatError(f"{name}: external data {location!r} cannot be read: {error.strerror}") from error


def _limit(where: str, what: str, number: int, allowed: int) -> None:
    if number > allowed:
        raise UnsupportedError(f"{where}: {number} {what}, at most {allowed} are read")


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
