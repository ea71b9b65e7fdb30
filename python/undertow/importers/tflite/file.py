# SPDX-License-Identifier: MIT
"""A TensorFlow Lite file read without trust: its tensors, operators and graphs, every number of them checked."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, NoReturn

import numpy as np

from ..._text import quoted, shown
from ...budget import room, watch
from ...errors import FormatError, UnsupportedError
from ...weights.contents import read_within
from ...weights.in_memory import as_path
from . import limits
from .flat import Flat, Table
from .schema import DTYPES, OPERATORS, OPTIONS, QUANTISED, TYPES

_MAGIC = b"TFL3"
#: the only version of the schema that files have
_VERSION = 3


@dataclass(eq=False)
class Tensor:
    """A tensor of a graph: what its constant is made of, or that it is computed.

    shape: None for sizes that the file leaves open. data: the bytes of a constant, None of what is computed. scale,
    zero_point, axis: of quantised constants, one scale for all or one for each place along the axis.
    """

    name: str
    shape: list[int | None]
    kind: str
    data: np.ndarray | None
    is_variable: bool
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int

    @property
    def where(self) -> str:
        return f"tensor {quoted(self.name)}"

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_quantised(self) -> bool:
        return self.kind in QUANTISED and self.scale.size > 0

    def array(self) -> np.ndarray:
        """The constant as it takes part in computing: what is quantised, or float16, as the float32 that it stands for.

        Raises:
            FormatError: its bytes do not make its shape.
            UnsupportedError: a type that is not read.
        """
        if self.kind not in DTYPES or self.data is None:
            raise UnsupportedError(f"{self.where}: constants of type {self.kind} are not supported")
        dtype, shape = DTYPES[self.kind], [n or 0 for n in self.shape]
        n_bytes = prod(shape) * dtype.itemsize
        if self.data.size != n_bytes:
            raise FormatError(
                f"{self.where}: {self.kind} of shape {shape} needs {n_bytes} bytes, found {self.data.size}"
            )
        room(prod(shape) * 3, 4, where=self.where)
        if self.kind == "BOOL":
            return (self.data != 0).reshape(shape)
        array = np.frombuffer(self.data.tobytes(), dtype).reshape(shape)
        if self.kind == "FLOAT16":
            return array.astype(np.float32)
        return self._dequantised(array) if self.is_quantised else array

    def _dequantised(self, array: np.ndarray) -> np.ndarray:
        n = self.scale.size
        if self.zero_point.size not in (n, 0) or (n > 1 and not 0 <= self.axis < array.ndim):
            raise FormatError(
                f"{self.where}: {n} scales along axis {self.axis} with {self.zero_point.size} zero points, of shape "
                f"{list(array.shape)}"
            )
        if n > 1 and array.shape[self.axis] != n:
            raise FormatError(
                f"{self.where}: {n} scales along axis {self.axis}, which has {array.shape[self.axis]} places"
            )
        if not np.isfinite(self.scale).all():
            raise FormatError(f"{self.where}: a scale is {self.scale[~np.isfinite(self.scale)][0]}")
        zero = self.zero_point if self.zero_point.size else np.zeros(n, np.int64)
        if (np.abs(zero) > 2**16).any():
            raise FormatError(f"{self.where}: a zero point is {zero[np.argmax(np.abs(zero))]}, beyond its type")
        along = [n if n > 1 and i == self.axis else 1 for i in range(array.ndim)]
        centred = array.astype(np.float32) - zero.astype(np.float32).reshape(along)
        return centred * self.scale.astype(np.float32).reshape(along)


@dataclass(eq=False)
class Operator:
    """An operator of a graph; inputs that are left out are -1."""

    op: str
    inputs: list[int]
    outputs: list[int]
    options: dict[str, Any]
    where: str

    def unsupported(self, message: str) -> NoReturn:
        raise UnsupportedError(f"{self.where}: {message}")

    def format_error(self, message: str) -> NoReturn:
        raise FormatError(f"{self.where}: {message}")


@dataclass(eq=False)
class Subgraph:
    name: str
    tensors: list[Tensor]
    inputs: list[int]
    outputs: list[int]
    operators: list[Operator]

    @cached_property
    def places(self) -> dict[int, int]:
        """Tensor -> which input of the graph it is."""
        return {i: k for k, i in enumerate(self.inputs)}

    @cached_property
    def makers(self) -> dict[int, Operator]:
        """Tensor -> the operator that computes it."""
        return {i: operator for operator in reversed(self.operators) for i in operator.outputs}

    @cached_property
    def readers(self) -> dict[int, list[Operator]]:
        """Tensor -> the operators that take it."""
        readers: dict[int, list[Operator]] = {}
        for operator in self.operators:
            for i in dict.fromkeys(operator.inputs):
                readers.setdefault(i, []).append(operator)
        return readers


@dataclass(eq=False)
class File:
    """What a file holds; names: of inputs and outputs of the first graph, as its signature has them. n_bytes: what it
    takes in memory.
    """

    subgraphs: list[Subgraph] = field(default_factory=list)
    n_bytes: int = 0
    input_names: dict[int, str] = field(default_factory=dict)
    output_names: dict[int, str] = field(default_factory=dict)


def read(path: str | os.PathLike[str]) -> File:
    """The graphs of a file.

    Raises:
        FormatError: not a TensorFlow Lite file, or damaged.
        UnsupportedError: beyond a limit, or something in it that is not known.
    """
    path = as_path(path)
    data = read_within(path, limits.MAX_FILE_BYTES)
    where = shown(path.name)
    if data[4:8] != _MAGIC:
        raise FormatError(f"{where}: not a TensorFlow Lite file: bytes 4 to 7 are {data[4:8]!r}, expected {_MAGIC!r}")
    return _Reader(Flat(data, where)).file()


class _Reader:
    def __init__(self, flat: Flat) -> None:
        self.flat, self.where = flat, flat.where
        self.held = File()
        watch(self.held)
        self.n_tensors = self.n_operators = 0

    def file(self) -> File:
        model = self.flat.root("Model")
        if model["version"] != _VERSION:
            raise UnsupportedError(f"{self.where}: version {model['version']} of the schema, expected {_VERSION}")
        self.buffers, self.codes = model["buffers"], [self._code(code) for code in self._few(model, "operator_codes")]
        graphs = model["subgraphs"]
        self._limit("graphs", len(graphs), limits.MAX_GRAPHS)
        if not len(graphs):
            raise FormatError(f"{self.where}: it holds no graph")
        self.held.subgraphs += (self._graph(graphs[i], i) for i in range(len(graphs)))
        self._sign(model, self.held)
        return self.held

    def _count(self, n_bytes: int, what: str) -> None:
        """Count what is about to be made.

        Raises:
            TooMuch: it is more than a file of this size may hold.
        """
        room(n_bytes, 1, self.where, what)
        self.held.n_bytes += n_bytes

    def _few(self, table: Table, name: str) -> Iterable[Table]:
        tables = table[name]
        self._limit(name, len(tables), limits.MAX_PORTS)
        return (tables[i] for i in range(len(tables)))

    def _code(self, code: Table) -> str:
        self._count(limits.RECORD_BYTES, "its list of operators")
        number = max(code["deprecated_builtin_code"], code["builtin_code"])
        if not 0 <= number < len(OPERATORS):
            raise UnsupportedError(f"{self.where}: operator {number} is not known")
        return f"CUSTOM {shown(code['custom_code'])}" if OPERATORS[number] == "CUSTOM" else OPERATORS[number]

    def _graph(self, graph: Table, number: int) -> Subgraph:
        tensors, operators = graph["tensors"], graph["operators"]
        self.n_tensors += len(tensors)
        self.n_operators += len(operators)
        self._limit("tensors", self.n_tensors, limits.MAX_TENSORS)
        self._limit("operators", self.n_operators, limits.MAX_OPERATORS)
        self._count((len(tensors) + len(operators)) * limits.RECORD_BYTES, "its graph")
        read = [self._tensor(tensors[i], i) for i in range(len(tensors))]
        name = graph["name"] or f"graph {number}"
        inputs, outputs = (self._indices(graph, key, len(read), shown(name)) for key in ("inputs", "outputs"))
        subgraph = Subgraph(shown(name), read, inputs, outputs, [])
        subgraph.operators += (self._operator(operators[i], subgraph, i) for i in range(len(operators)))
        return subgraph

    def _indices(self, table: Table, name: str, n: int, where: str, least: int = 0) -> list[int]:
        numbers = table[name]
        self._limit(f"{name} of {where}", len(numbers), limits.MAX_PORTS)
        self._count(len(numbers) * limits.PORT_BYTES, "its graph")
        for i in numbers.tolist():
            if not least <= i < n:
                raise FormatError(f"{self.where}: {where}: {name} hold tensor {i}, but there are {n}")
        return list(map(int, numbers))

    def _tensor(self, table: Table, number: int) -> Tensor:
        name = table["name"] or f"tensor {number}"
        self._count(2 * len(name), "its names")
        where = f"{self.where}: tensor {quoted(name)}"
        shape, signature = table["shape"], table["shape_signature"]
        if max(shape.size, signature.size) > limits.MAX_RANK:
            raise UnsupportedError(
                f"{where}: {max(shape.size, signature.size)} axes, at most {limits.MAX_RANK} are read"
            )
        if (shape < 0).any() or (signature < -1).any() or (signature.size and signature.size != shape.size):
            raise FormatError(f"{where}: shape {shape.tolist()} with signature {signature.tolist()} is not possible")
        kind = table["type"]
        if not 0 <= kind < len(TYPES):
            raise UnsupportedError(f"{where}: type {kind} is not known")
        if "sparsity" in table:
            raise UnsupportedError(f"{where}: it is stored sparse, which is not supported; convert without sparsity")
        if table["external_buffer"]:
            raise UnsupportedError(f"{where}: it lies in another file, which is not supported")
        quantization = table["quantization"]
        empty = np.zeros(0)
        scale, zero, axis = empty, empty, 0
        if quantization is not None:
            if quantization["details_type"]:
                raise UnsupportedError(f"{where}: quantisation of kind {quantization['details_type']} is not supported")
            scale, zero, axis = (quantization[key] for key in ("scale", "zero_point", "quantized_dimension"))
        data = self._data(table["buffer"], where)
        sizes = [None if n < 0 else int(n) for n in (signature if signature.size else shape)]
        if data is not None:
            sizes = [int(n) for n in shape]
        return Tensor(name, sizes, TYPES[kind], data, table["is_variable"], scale, zero, axis)

    def _data(self, number: int, where: str) -> np.ndarray | None:
        if number >= len(self.buffers):
            raise FormatError(f"{where}: it lies in buffer {number}, but there are {len(self.buffers)}")
        buffer = self.buffers[number]
        if buffer["offset"] > 1 or buffer["size"] > 1:
            raise UnsupportedError(f"{where}: its data lies behind the graph, as of files beyond 2 GiB: not supported")
        data = buffer["data"]
        return data if data.size else None

    def _operator(self, table: Table, graph: Subgraph, number: int) -> Operator:
        index = table["opcode_index"]
        if index >= len(self.codes):
            raise FormatError(f"{self.where}: {graph.name}: operator {number} is of code {index} of {len(self.codes)}")
        op, where = self.codes[index], f"operator {number} of {graph.name}"
        n = len(graph.tensors)
        inputs, outputs = self._indices(table, "inputs", n, where, -1), self._indices(table, "outputs", n, where)
        about = graph.tensors[outputs[0]].name if outputs else number
        where = f"{op} operator {quoted(about)}"
        if table["builtin_options_2_type"]:
            raise UnsupportedError(f"{where}: options of kind {table['builtin_options_2_type']} of a second list")
        kind, options = table["builtin_options_type"], {"": ""}
        if kind:
            of = OPTIONS.get(kind, "")
            if not of:
                return Operator(op, inputs, outputs, {"": f"options of kind {kind}"}, where)
            union = table.union("builtin_options", of)
            if union is None:
                raise FormatError(f"{self.where}: {where}: its options are missing")
            options = {"": of, **union.values()}
            for key, value in options.items():
                if isinstance(value, np.ndarray) and value.size > limits.MAX_RANK:
                    raise UnsupportedError(
                        f"{where}: {key} has {value.size} numbers, at most {limits.MAX_RANK} are read"
                    )
        return Operator(op, inputs, outputs, options, where)

    def _sign(self, model: Table, file: File) -> None:
        """Take the names of the one signature of the first graph; of several, none is the model's."""
        named = [signature for signature in self._few(model, "signature_defs") if not signature["subgraph_index"]]
        if len(named) != 1:
            return
        for key, names in (("inputs", file.input_names), ("outputs", file.output_names)):
            for entry in self._few(named[0], key):
                names[entry["tensor_index"]] = entry["name"]

    def _limit(self, what: str, number: int, allowed: int) -> None:
        if number > allowed:
            raise UnsupportedError(f"{self.where}: {number} {what}, at most {allowed} are read")


__all__ = ["File", "Operator", "Subgraph", "Tensor", "read"]
