# SPDX-License-Identifier: MIT
"""The only writer, and a reader, of the .tow format (csrc/FORMAT.md): Graph to bytes and back, nothing lost.

Validation of untrusted files is the C++ reader's work (csrc/format.cpp); `read` expects bytes that have passed it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from .._text import quoted
from ..errors import Error, FormatError
from ..ir.graph import Graph, Node, Value
from ..ir.ops import OPS, Frames, Op, Weight, of_kind
from . import versions
from .container import COUNTS, FRAMES_AT, HASH_AT, HEADER, NONE, Reader, Writer, align, checksum, dims
from .packing import LAYOUTS, pad, precision_of, smoothing_of
from .proof import without

MAGIC = b"\x89TOW\r\n\x1a\n"
#: characters of the source that a file keeps
MAX_SOURCE = 4096


# --- writing -------------------------------------------------------------------------------------------------------


def write(graph: Graph) -> bytes:
    """Give the bytes of a .tow file. Nodes must all be needed, in an order that can run (see `undertow.compile`)."""
    out = Writer()
    owned = dict.fromkeys(s for node in graph.nodes if not OPS[node.op].is_register for s in node.states)
    state_order = [*owned, *(s for s in graph.states if s not in owned)]
    source = graph.source[:MAX_SOURCE]
    title = out.title(graph.name) + out.title(source)
    used = {v for node in graph.nodes for v in node.inputs} | set(graph.outputs.values())
    node_outputs = {node.name: OPS[node.op].written(node, used) for node in graph.nodes}
    order = [*graph.inputs, *(v for node in graph.nodes for v in node_outputs[node.name])]
    value_index = {name: i for i, name in enumerate(order)}
    state_index = {name: i for i, name in enumerate(state_order)}

    values: list[int] = []
    for name in order:
        v = graph.values[name]
        n_ids = 0 if v.dtype == "float32" else v.n_ids or 2**31 - 1
        values += [*out.name(name), int(v.dtype == "int32"), n_ids, *dims(v.shape)]
    states: list[int] = []
    for s in map(graph.states.__getitem__, state_order):
        init = None if s.init is None else pad(s.init.reshape(-1))
        states += [*out.name(s.name), out.tensor(init), *dims(s.shape)]
    outputs = [word for name, value in graph.outputs.items() for word in (*out.name(name), value_index[value])]
    nodes: list[int] = []
    words: list[int] = []
    kinds = set()
    for node in graph.nodes:
        kind, tensors, params = _encode(graph, node)
        kinds.add(kind)
        counts = [len(node.inputs), len(node_outputs[node.name]), len(node.states), len(tensors), len(params)]
        nodes += [kind, *out.name(node.name), *counts, len(words)]
        words += [value_index[v] for v in node.inputs] + [state_index[s] for s in node.states]
        words += [out.tensor(t) for t in tensors] + params
    out.text += b"\0" * (-len(out.text) % 4)

    counts = [len(out.tensors), len(order), len(graph.states), len(graph.inputs), len(graph.outputs), len(graph.nodes)]
    counts += [len(words), len(out.text)]
    n_words = (
        COUNTS + len(title) + 6 * len(out.tensors) + len(values) + len(states) + len(outputs) + len(nodes) + len(words)
    )
    metadata_bytes = 4 * n_words + len(out.text)
    offset = align(HEADER + metadata_bytes)
    table: list[int] = []
    for dtype, flags, array in out.tensors:
        table += [dtype, flags, offset & 0xFFFFFFFF, offset >> 32, array.size & 0xFFFFFFFF, array.size >> 32]
        offset = align(offset + array.nbytes)
    metadata = (
        struct.pack(f"<{n_words}I", *counts, *title, *table, *values, *states, *outputs, *nodes, *words) + out.text
    )

    blob = bytearray(offset)
    blob[HEADER : HEADER + len(metadata)] = metadata
    at = align(HEADER + metadata_bytes)
    for *_, array in out.tensors:
        np.frombuffer(blob, np.uint8)[at : at + array.nbytes] = array.reshape(-1).view(np.uint8)
        at = align(at + array.nbytes)
    newest = max(
        [versions.of_tensor(code, flags) for code, flags, _ in out.tensors]
        + [versions.of_kind(kind) for kind in kinds],
        default=1,
    )
    out.tensors.clear()  # of which the file is a copy, and its bytes are another
    _seal(blob, len(metadata), versions.header(graph.frames_in, graph.frames_out, graph.sample_rate, source, newest))
    return bytes(blob)


def _encode(graph: Graph, node: Node) -> tuple[int, list[np.ndarray | None], list[int]]:
    """(kind, tensors, params) of a node"""
    op, shape = OPS[node.op], graph.shape
    states = [graph.states[s].shape for s in node.states]
    frames = Frames([shape(v) for v in node.inputs], [shape(v) for v in node.outputs], states)
    arrays = op.split(node)
    tensors = [
        None
        if array is None
        else LAYOUTS[weight.layout].pack(
            array,
            node.precisions.get(weight.key, "float32"),
            f"{node.op} {node.name!r}: {weight.name}",
            node.smoothing.get(weight.key),
        )
        for weight, array in zip(op.stored, arrays, strict=True)
    ]
    return op.kind(node, frames), tensors, op.params(node, arrays, frames)


def digest(blob: bytes | bytearray | memoryview) -> bytes:
    """The model hash: 16 bytes of BLAKE2b over metadata and weights."""
    return hashlib.blake2b(memoryview(blob)[HEADER:]).digest()[:16]


def check_hash(blob: bytes | memoryview) -> None:
    """Compare the hash in a file's header with that of its bytes, of which a proof is none.

    Raises:
        FormatError: they differ, so the file is damaged: not the one that was written.
    """
    stored, computed = bytes(blob[HASH_AT : HASH_AT + 16]), digest(without(blob))
    if stored != computed:
        raise FormatError(
            f"the file is damaged: the hash of its metadata and weights is {computed.hex()}, its header says "
            f"{stored.hex()}; fetch or convert it again"
        )


def _seal(blob: bytearray, metadata_bytes: int, said: tuple[int, ...]) -> None:
    """Fill in the header of a file whose metadata and weights stand. said: version, timesteps of inputs and outputs,
    sample rate."""
    version, *rest = said
    start = (MAGIC, version, 0, len(blob), metadata_bytes, 0, digest(blob))
    blob[:HEADER] = struct.pack("<8sIIQII16sIII4x", *start, *rest)
    checksum(blob)


# --- reading -------------------------------------------------------------------------------------------------------


def read(blob: bytes | memoryview) -> Graph:
    """Give the graph in the bytes of a .tow file that `undertow` has accepted. Weights are copies, unpadded.

    Raises:
        FormatError: the bytes do not start like a .tow file, or say what a Graph cannot: the engine looks at the size
            of a frame where a Graph looks at its axes.
    """
    if bytes(blob[:8]) != MAGIC:
        raise FormatError("not a .tow file (no .tow signature in its first bytes)")
    if len(blob) < HEADER:
        raise FormatError(f"file is truncated: it ends within its header of {HEADER} bytes")
    r = Reader(blob)
    n_tensors, n_values, n_states, n_inputs, n_outputs, n_nodes, n_words, _ = r.counts
    graph = Graph(r.name(r.take(2)))
    graph.source = r.name(r.take(2))
    (version,), (frames_in, frames_out, rate) = (
        struct.unpack_from("<I", blob, 8),
        struct.unpack_from("<III", blob, FRAMES_AT),
    )
    graph.frames_in, graph.frames_out = versions.frames(version, frames_in, frames_out, graph.source)
    graph.sample_rate = rate or None
    tensors = [r.take(6) for _ in range(n_tensors)]
    values = [r.take(13) for _ in range(n_values)]
    states = [r.take(12) for _ in range(n_states)]
    outputs = [r.take(3) for _ in range(n_outputs)]
    nodes = [r.take(9) for _ in range(n_nodes)]
    words = r.take(n_words)

    shape = lambda record, at: tuple(record[at + 1 : at + 1 + record[at]])  # noqa: E731
    names = [r.name(v) for v in values]
    for i in range(n_inputs):
        graph.input(names[i], shape(values[i], 4), ("float32", "int32")[values[i][2]])
        if values[i][2]:
            graph.values[names[i]] = Value(names[i], shape(values[i], 4), "int32", False, values[i][3])
    for s in states:
        state_shape = shape(s, 3)
        init = None if s[2] == NONE else r.tensor(tensors[s[2]])[: prod(state_shape)].reshape(state_shape)
        graph.state(r.name(s), state_shape, init)
    state_names = list(graph.states)
    next_value = n_inputs
    for kind, *name, n_in, n_out, n_st, n_te, n_pa, at in nodes:
        took = [words[at : at + n_in]]
        for n in (n_st, n_te, n_pa):
            start = at + sum(len(t) for t in took)
            took.append(words[start : start + n])
        ins, sts, tes, params = took
        op = of_kind(kind, params)
        outs = range(next_value, next_value + n_out)
        frames = Frames(
            [shape(values[i], 4) for i in ins], [shape(values[o], 4) for o in outs], [shape(states[s], 3) for s in sts]
        )
        arrays = [None if t == NONE else r.tensor(tensors[t]) for t in tes]
        what = f"{op.name} {quoted(r.name(name))}"
        try:
            with np.errstate(all="ignore"):  # damaged scales may be anything
                precisions, smoothing = _precisions(op, arrays), _smoothing(op, arrays, params, frames)
                weights, attrs = _decode(op, arrays, params, frames)
        except (ValueError, IndexError) as error:
            if isinstance(error, Error):
                raise
            raise FormatError(f"{what}: its weights do not fit its frames, {frames}: {error}") from error
        results = graph.add(
            op.name,
            [names[i] for i in ins],
            name=r.name(name),
            attrs=attrs,
            weights=weights,
            states=[state_names[s] for s in sts],
            precisions=precisions,
            smoothing=smoothing,
        )
        results = (results,) if isinstance(results, str) else results or ()
        for o, value in zip(outs, results, strict=False):
            names[o] = value
            if graph.shape(value) != shape(values[o], 4):
                raise FormatError(f"{what} gives frames of {graph.shape(value)}, the file says {shape(values[o], 4)}")
        next_value += n_out
    for record in outputs:
        graph.output(r.name(record), names[record[2]])
    return graph


def _precisions(op: Op, tensors: Sequence[np.ndarray | None]) -> dict[str, str]:
    """How a node's weights are stored, by key."""
    first_of: dict[str, Weight] = {}
    precisions: dict[str, str] = {}
    for weight, tensor in zip(op.stored, tensors, strict=True):
        if tensor is None or not weight.reducible:
            continue
        name, other = precision_of(tensor), first_of.setdefault(weight.key, weight)
        if precisions.setdefault(weight.key, name) != name:
            raise FormatError(
                f"a {op.name} has {other.name} in {precisions[weight.key]} and {weight.name} in {name}; "
                "expected one of them"
            )
    return precisions


def _smoothing(
    op: Op, tensors: Sequence[np.ndarray | None], params: Sequence[int], frames: Frames
) -> dict[str, np.ndarray]:
    """How the columns of a node's matrices are smoothed, by key."""
    smoothing: dict[str, np.ndarray | None] = {}
    for weight, tensor, shape in zip(op.stored, tensors, op.stored_shapes(params, frames), strict=True):
        if tensor is None or not weight.reducible:
            continue
        exponents = smoothing_of(tensor, shape[-1])
        other = smoothing.setdefault(weight.key, exponents)
        unlike = (other is None) != (exponents is None)
        if unlike or (other is not None and exponents is not None and not np.array_equal(other, exponents)):
            raise FormatError(
                f"a {op.name} smooths {weight.name} unlike another part of {weight.key}; expected one smoothing"
            )
    return {key: exponents for key, exponents in smoothing.items() if exponents is not None}


def _decode(
    op: Op, tensors: Sequence[np.ndarray | None], params: Sequence[int], frames: Frames
) -> tuple[dict[str, np.ndarray | None], dict[str, Any]]:
    """weights and attrs of a node: the inverse of `_encode`"""
    arrays = [
        None if tensor is None else LAYOUTS[weight.layout].unpack(tensor, shape)
        for weight, tensor, shape in zip(op.stored, tensors, op.stored_shapes(params, frames), strict=True)
    ]
    return op.join(arrays, params, frames), op.attributes(params, frames)
