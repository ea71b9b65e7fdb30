# SPDX-License-Identifier: MIT
"""The only writer, and a reader, of the .tow format (csrc/FORMAT.md): Graph to bytes and back, nothing lost.

Validation of untrusted files is the C++ reader's work (csrc/format.cpp); `read` expects bytes that have passed it.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from .._text import quoted
from ..errors import Error, FormatError
from ..ir import runs
from ..ir.activations import BY_CODE, Activation
from ..ir.graph import Graph, Node, Value
from ..ir.ops import elementwise, frames
from . import versions
from .container import COUNTS, FRAMES_AT, HASH_AT, HEADER, NONE, Reader, Writer, align, dims
from .packing import pack, pack_bias, pack_table, pad, precision_of, unpack, unpack_bias, unpack_table

BINARY, REDUCTIONS = tuple(elementwise.BINARY), tuple(frames.REDUCTIONS)
MAGIC = b"\x89TOW\r\n\x1a\n"
#: characters of the source that a file keeps
MAX_SOURCE = 4096

REVERSE, VARIANT, MASKED, STEPS = 1, 2, 4, 8

KIND = {
    "dense": 1, "activation": 2, **dict.fromkeys(BINARY, 3), "affine": 4, "softmax": 5, "log_softmax": 5,
    "layer_norm": 6, "concat": 7, "select": 8, "reshape": 9, "embedding": 10, "constant": 11, "rnn": 12, "gru": 13,
    "lstm": 14, "state_read": 15, "state_write": 16, "last": 17, "flip": 18, "depthwise": 19, "reduce": 20,
    "matmul": 21, "where": 22, "window": 23, "present": 27,
}  # fmt: skip
#: activations of a cell and the attribute behind flag VARIANT
CELLS = {"rnn": (1, ""), "gru": (2, "reset_after"), "lstm": (3, "input_forget")}
#: of a cell with rows, steps, or no state: added to its kind
FRAMED = 12
#: where in a node's tensors the weights stand that may have a precision; a GRU's R_n, number 3, has that of R
REDUCIBLE = {
    "dense": {"W": 0},
    "embedding": {"table": 0},
    "rnn": {"W": 0, "R": 2},
    "gru": {"W": 0, "R": 2},
    "lstm": {"W": 0, "R": 2, "projection": 4},
}


def _f32(x: float) -> int:
    return struct.unpack("<I", struct.pack("<f", x))[0]


def _from_f32(word: int) -> float:
    return struct.unpack("<f", struct.pack("<I", word))[0]


def _act_words(*acts: Activation) -> list[int]:
    return [word for a in acts for word in (a.code, _f32(a.alpha), _f32(a.beta))]


def _act(words: list[int]) -> Activation:
    return Activation(BY_CODE[words[0]], _from_f32(words[1]), _from_f32(words[2]))


# --- nodes: (tensors, params) of each op, and back -----------------------------------------------------------------


def _encode(graph: Graph, node: Node) -> tuple[list[np.ndarray | None], list[int]]:
    w, a = node.weights, node.attrs
    vector = lambda key: None if key not in w else pad(w[key])  # noqa: E731
    if node.op == "dense":
        return [_matrix(node, "W", w["W"]), vector("b")], _act_words(a["activation"])
    if node.op == "depthwise":
        return [pad(w["W"]), vector("b")], _act_words(a["activation"])
    if node.op == "reduce":
        return [], [REDUCTIONS.index(a["kind"])]
    if node.op == "activation":
        return [], _act_words(a["activation"])
    if node.op in BINARY:
        return [], [BINARY.index(node.op)]
    if node.op == "affine":
        return [pad(w["scale"].reshape(-1)), pad(w["shift"].reshape(-1))], []
    if node.op in ("softmax", "log_softmax"):
        return [], [int(node.op == "log_softmax")]
    if node.op == "layer_norm":
        return [vector("scale"), vector("shift")], [_f32(a["eps"])]
    if node.op == "select":
        found = runs.find(w["indices"], a["sizes"])
        return [pad(found.reshape(-1))], [len(found)]
    if node.op == "embedding":
        return [pack_table(w["table"], node.precisions.get("table", "float32"), f"embedding {node.name!r}: table")], []
    if node.op == "constant":
        return [pad(w["value"].reshape(-1))], []
    if node.op == "last":
        return [], [REVERSE * a["reverse"] | MASKED * a["masked"]]
    if node.op == "window":
        return [], [tap & 0xFFFFFFFF for tap in a["taps"]]
    if node.op == "present":
        return [], [a["latency"]]
    if node.op in CELLS:
        return _encode_cell(graph, node)
    return [], []


def _matrix(node: Node, key: str, W: np.ndarray, name: str = "") -> np.ndarray:
    return pack(W, node.precisions.get(key, "float32"), f"{node.op} {node.name!r}: {name or key}")


def _encode_cell(graph: Graph, node: Node) -> tuple[list[np.ndarray | None], list[int]]:
    w, a = node.weights, node.attrs
    b = pack_bias(w["b"]) if "b" in w else None
    R = w["R"]
    tensors: list[np.ndarray | None] = [_matrix(node, "W", w["W"]), b]
    if node.op == "rnn":
        tensors += [_matrix(node, "R", R)]
    elif node.op == "lstm":
        peephole = pad(w["peephole"]) if "peephole" in w else None
        projection = _matrix(node, "projection", w["projection"]) if "projection" in w else None
        tensors += [_matrix(node, "R", R), peephole, projection]
    elif a["reset_after"]:
        rb = np.zeros(R.shape[:2], np.float32)
        rb[2] = w.get("rb_n", 0.0)
        tensors += [_matrix(node, "R", R), None, pack_bias(rb)]
    else:
        tensors += [_matrix(node, "R", R[:2]), _matrix(node, "R", R[2:], "R_n"), None]
    flags = REVERSE * a["reverse"] | VARIANT * bool(a.get(CELLS[node.op][1])) | MASKED * a["masked"]
    flags |= STEPS * a["steps"]
    hidden = [w["W"].shape[1]] if _framed(graph, node) else []
    return tensors, [*_act_words(*a["activations"]), flags, _f32(a["clip"] or 0.0), *hidden]


def _framed(graph: Graph, node: Node) -> bool:
    """Whether a node is a cell with rows or steps in its frames, or without states."""
    return node.op in CELLS and (len(graph.shape(node.inputs[0])) > 1 or not node.states)


def _decode(op: str, tensors: list[Any], params: list[int], sizes: _Sizes) -> tuple[dict, dict]:
    """weights and attrs of a node: the inverse of `_encode`."""
    cut = lambda t, *shape: None if t is None else t[: prod(shape)].reshape(shape)  # noqa: E731
    x, y = sizes.inputs, sizes.outputs
    weights: dict[str, np.ndarray | None] = {}
    attrs: dict[str, Any] = {}
    if op == "dense":
        weights = {"W": unpack(tensors[0], 1, y[0][-1], x[0][-1])[0], "b": cut(tensors[1], y[0][-1])}
        attrs = {"activation": _act(params)}
    elif op == "depthwise":
        _, taps, channels = x[0]
        weights = {"W": tensors[0].reshape(taps, -1)[:, :channels], "b": cut(tensors[1], channels)}
        attrs = {"activation": _act(params)}
    elif op == "reduce":
        attrs = {"kind": REDUCTIONS[params[0]]}
    elif op == "activation":
        attrs = {"activation": _act(params)}
    elif op == "affine":
        weights = {"scale": cut(tensors[0], *x[0]), "shift": cut(tensors[1], *x[0])}
    elif op == "layer_norm":
        weights = {"scale": cut(tensors[0], x[0][-1]), "shift": cut(tensors[1], x[0][-1])}
        attrs = {"eps": _from_f32(params[0])}
    elif op == "select":
        found = tensors[0][: runs.WORDS * params[0]]
        weights = {"indices": runs.expand(found, [prod(shape) for shape in x]).reshape(y[0])}
    elif op == "reshape":
        attrs = {"shape": y[0]}
    elif op == "embedding":
        weights = {"table": unpack_table(tensors[0], prod(y[0]) // prod(x[0]))}
    elif op == "constant":
        weights = {"value": cut(tensors[0], *y[0])}
    elif op == "last":
        attrs = {"reverse": bool(params[0] & REVERSE), "masked": bool(params[0] & MASKED)}
    elif op == "window":
        attrs = {"taps": tuple(tap - (tap >> 31 << 32) for tap in params)}
    elif op == "present":
        attrs = {"latency": params[0]}
    elif op in CELLS:
        return _decode_cell(op, tensors, params, sizes)
    return weights, attrs


def _decode_cell(op: str, t: list[Any], params: list[int], sizes: _Sizes) -> tuple[dict, dict]:
    n_acts, variant = CELLS[op]
    G = {"rnn": 1, "gru": 3, "lstm": 4}[op]
    flags, clip, *more = params[3 * n_acts :]
    hidden = more[0] if more else sizes.states[-1][-1]
    n_in, fed_back = sizes.inputs[0][-1], sizes.outputs[0][-1]
    weights: dict[str, Any] = {"W": unpack(t[0], G, hidden, n_in)}
    weights["b"] = None if t[1] is None else unpack_bias(t[1], G, hidden)
    if op == "gru" and not flags & VARIANT:
        if t[2].dtype != t[3].dtype:
            raise FormatError(
                f"a gru has R in {precision_of(t[2])} and R_n in {precision_of(t[3])}; expected one of them"
            )
        weights["R"] = np.concatenate([unpack(t[2], 2, hidden, hidden), unpack(t[3], 1, hidden, hidden)])
    else:
        weights["R"] = unpack(t[2], G, hidden, fed_back)
    if op == "gru" and flags & VARIANT:
        rb = unpack_bias(t[4], G, hidden)
        if rb[:2].any():
            raise FormatError("a gru has a recurrent bias for gates z and r; expected zeros, b has it")
        weights["rb_n"] = rb[2]
    if op == "lstm":
        weights["peephole"] = None if t[3] is None else t[3].reshape(3, -1)[:, :hidden]
        weights["projection"] = None if t[4] is None else unpack(t[4], 1, fed_back, hidden)[0]
    attrs = {
        "activations": tuple(_act(params[3 * i :]) for i in range(n_acts)),
        "clip": _from_f32(clip) or None,
        "reverse": bool(flags & REVERSE),
        "masked": bool(flags & MASKED),
        "steps": bool(flags & STEPS),
    }
    if variant:
        attrs[variant] = bool(flags & VARIANT)
    return weights, attrs


@dataclass
class _Sizes:
    """Frame shapes around a node."""

    inputs: list[tuple[int, ...]]
    outputs: list[tuple[int, ...]]
    states: list[tuple[int, ...]]


# --- writing -------------------------------------------------------------------------------------------------------


def write(graph: Graph) -> bytes:
    """Give the bytes of a .tow file. Nodes must all be needed, in an order that can run (see `undertow.compile`)."""
    out = Writer()
    owned = [s for node in graph.nodes if node.op not in ("state_read", "state_write") for s in node.states]
    state_order = [*owned, *(s for s in graph.states if s not in set(owned))]
    source = graph.source[:MAX_SOURCE]
    title = out.title(graph.name) + out.title(source)
    used = {v for node in graph.nodes for v in node.inputs} | set(graph.outputs.values())
    node_outputs = {  # a cell state that nothing reads need not be computed into a frame
        node.name: node.outputs[:1] if node.op == "lstm" and node.outputs[1] not in used else node.outputs
        for node in graph.nodes
    }
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
    for node in graph.nodes:
        tensors, params = _encode(graph, node)
        counts = [len(node.inputs), len(node_outputs[node.name]), len(node.states), len(tensors), len(params)]
        nodes += [KIND[node.op] + FRAMED * _framed(graph, node), *out.name(node.name), *counts, len(words)]
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
    for dtype, array in out.tensors:
        table += [dtype, 0, offset & 0xFFFFFFFF, offset >> 32, array.size & 0xFFFFFFFF, array.size >> 32]
        offset = align(offset + array.nbytes)
    metadata = (
        struct.pack(f"<{n_words}I", *counts, *title, *table, *values, *states, *outputs, *nodes, *words) + out.text
    )

    blob = bytearray(offset)
    blob[HEADER : HEADER + len(metadata)] = metadata
    at = align(HEADER + metadata_bytes)
    for _, array in out.tensors:
        blob[at : at + array.nbytes] = array.tobytes()
        at = align(at + array.nbytes)
    _seal(blob, len(metadata), versions.header(graph.frames_in, graph.frames_out, source))
    return bytes(blob)


def digest(blob: bytes | bytearray | memoryview) -> bytes:
    """The model hash: 16 bytes of BLAKE2b over metadata and weights."""
    return hashlib.blake2b(memoryview(blob)[HEADER:]).digest()[:16]


def check_hash(blob: bytes | memoryview) -> None:
    """Compare the hash in a file's header with that of its bytes.

    Raises:
        FormatError: they differ, so the file is damaged: not the one that was written.
    """
    stored, found = bytes(blob[HASH_AT : HASH_AT + 16]), digest(blob)
    if stored != found:
        raise FormatError(
            f"the file is damaged: the hash of its metadata and weights is {found.hex()}, its header says "
            f"{stored.hex()}; fetch or convert it again"
        )


def _seal(blob: bytearray, metadata_bytes: int, said: tuple[int, int, int]) -> None:
    """Fill in the header of a file whose metadata and weights stand. said: version, timesteps of inputs and outputs."""
    version, *frames = said
    start = (MAGIC, version, 0, len(blob), metadata_bytes, 0, digest(blob))
    blob[:HEADER] = struct.pack("<8sIIQII16sII8x", *start, *frames)
    crc = zlib.crc32(blob[HEADER : HEADER + metadata_bytes], zlib.crc32(blob[32:64], zlib.crc32(blob[:28])))
    blob[28:32] = struct.pack("<I", crc)


# --- reading -------------------------------------------------------------------------------------------------------


def read(blob: bytes | memoryview) -> Graph:
    """Give the graph in the bytes of a .tow file that `undertow` has accepted. Weights are copies, unpadded.

    Raises:
        FormatError: the bytes do not start like a .tow file, or say what a Graph cannot: the engine looks at the size
            of a frame where a Graph looks at its axes.
    """
    if bytes(blob[:8]) != MAGIC:
        raise FormatError("not a .tow file (no .tow signature in its first bytes)")
    r = Reader(blob)
    n_tensors, n_values, n_states, n_inputs, n_outputs, n_nodes, n_words, _ = r.counts
    graph = Graph(r.name(r.take(2)))
    graph.source = r.name(r.take(2))
    (version,), (frames_in, frames_out) = struct.unpack_from("<I", blob, 8), struct.unpack_from("<II", blob, FRAMES_AT)
    graph.frames_in, graph.frames_out = versions.frames(version, frames_in, frames_out, graph.source)
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
    ops = {kind: op for op, kind in KIND.items()} | {KIND[op] + FRAMED: op for op in CELLS}
    for kind, *name, n_in, n_out, n_st, n_te, n_pa, at in nodes:
        took = [words[at : at + n_in]]
        for n in (n_st, n_te, n_pa):
            start = at + sum(len(t) for t in took)
            took.append(words[start : start + n])
        ins, sts, tes, params = took
        op = ops[kind]
        op = BINARY[params[0]] if kind == 3 else ("softmax", "log_softmax")[params[0]] if kind == 5 else op
        outs = range(next_value, next_value + n_out)
        sizes = _Sizes(
            [shape(values[i], 4) for i in ins], [shape(values[o], 4) for o in outs], [shape(states[s], 3) for s in sts]
        )
        arrays = [None if t == NONE else r.tensor(tensors[t]) for t in tes]
        stored = {key: arrays[i] for key, i in REDUCIBLE.get(op, {}).items()}
        what = f"{op} {quoted(r.name(name))}"
        try:
            with np.errstate(all="ignore"):  # damaged scales may be anything
                weights, attrs = _decode(op, arrays, params, sizes)
        except (ValueError, IndexError) as error:
            if isinstance(error, Error):
                raise
            raise FormatError(f"{what}: its weights do not fit its frames, {sizes}: {error}") from error
        made = graph.add(
            op,
            [names[i] for i in ins],
            name=r.name(name),
            attrs=attrs,
            weights=weights,
            states=[state_names[s] for s in sts],
            precisions={key: precision_of(tensor) for key, tensor in stored.items() if tensor is not None},
        )
        made = (made,) if isinstance(made, str) else made or ()
        for o, value in zip(outs, made, strict=False):
            names[o] = value
            if graph.shape(value) != shape(values[o], 4):
                raise FormatError(f"{what} gives frames of {graph.shape(value)}, the file says {shape(values[o], 4)}")
        next_value += n_out
    for record in outputs:
        graph.output(r.name(record), names[record[2]])
    return graph
