# SPDX-License-Identifier: MIT
"""ONNX operators that combine elements of one frame: products with constants, norms, softmax, embeddings, sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import codes, limits
from .codes import Layout, Tensor
from .elementwise import affine, combine, take_apart
from .nodes import OnnxNode, float_constant
from .walk import Handler, Walk


def dense(walk: Walk, node: OnnxNode, x: Tensor, W: np.ndarray, b: np.ndarray | None = None) -> Tensor:
    """W (M, K) applied along the last axis of x, which must belong to the frame; b (M,)."""
    layout, elements = take_apart(walk, node, x)
    n_out, n_in = W.shape
    if not x.shape or x.shape[-1] != n_in:
        node.shape_error(f"input has shape {x.shape}, weight takes {n_in}")
    if len(x.shape) - 1 in layout.outer:
        node.unsupported("it sums over time (or over the batch)")
    rows = elements.reshape(-1, n_in)
    if len(rows) > limits.MAX_ROWS:
        node.unsupported(f"is applied to {len(rows)} rows inside one frame, at most {limits.MAX_ROWS} are supported")
    shape = (*x.shape[:-1], n_out)
    walk.count(node, shape)
    builder = walk.builder
    made = []
    for row in rows:
        value = builder.add("dense", [builder.value(row, (n_in,))], weights={"W": W, "b": b})
        made.append(builder.elements(value))
    labels = (*x.labels[:-1], "")
    return Layout(shape, layout.outer, layout.origin, labels).tensor(np.stack(made))


def _swap(x: Tensor) -> Tensor:
    """The last two axes exchanged."""
    labels = [*x.labels[:-2], x.labels[-1], x.labels[-2]]
    return Tensor(np.swapaxes(x.codes, -1, -2), tuple(labels), x.dtype)


def _axis(x: Tensor, axis: int, shape: tuple[int, ...], labels: tuple[str, ...]) -> Tensor:
    return Tensor(x.codes.reshape(shape), labels, x.dtype)


def _matmul(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow()
    a, b = operands
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        node.unsupported("multiplies two computed tensors; one must be a constant matrix")
    W = float_constant(node, b if isinstance(a, Tensor) else a, "the matrix")
    while (
        W.ndim > 2 and W.shape[0] == 1 and W.ndim - 1 >= 2 and len((a if isinstance(a, Tensor) else b).shape) >= W.ndim
    ):
        W = W[0]
    if W.ndim > 2 or W.ndim == 0:
        node.unsupported(f"the matrix has shape {W.shape}; a stack of matrices is not supported")
    if isinstance(a, Tensor):
        result = dense(walk, node, a, W.T if W.ndim == 2 else W[None])
        if W.ndim == 1:
            result = _axis(result, -1, result.shape[:-1], result.labels[:-1])
        return [result]
    if len(b.shape) == 1:
        result = dense(walk, node, b, W if W.ndim == 2 else W[None])
        return [result if W.ndim == 2 else _axis(result, -1, (), ())]
    result = _swap(dense(walk, node, _swap(b), W if W.ndim == 2 else W[None]))
    if W.ndim == 1:
        result = _axis(result, -2, (*result.shape[:-2], result.shape[-1]), (*result.labels[:-2], result.labels[-1]))
    return [result]


def _gemm(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow("alpha", "beta", "transA", "transB")
    a, b = operands[:2]
    c = operands[2] if len(operands) > 2 else None
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        node.unsupported("multiplies two computed tensors; one must be a constant matrix")
    for x in (a, b):
        if len(x.shape) != 2:
            node.shape_error(f"inputs have shapes {a.shape} and {b.shape}, expected two axes each")
    if node.attrs.get("transA"):
        a = _swap(a) if isinstance(a, Tensor) else a.T
    if node.attrs.get("transB"):
        b = _swap(b) if isinstance(b, Tensor) else b.T
    alpha, beta = np.float32(node.attrs.get("alpha", 1.0)), np.float32(node.attrs.get("beta", 1.0))
    if isinstance(c, np.ndarray):
        c = float_constant(node, c, "C") * beta
        bias_is_row = c.ndim < 2 or c.shape[0] == 1
    elif c is not None and beta != 1:
        c = affine(walk, node, c, beta, 0.0)
    if isinstance(b, Tensor):
        result = _swap(dense(walk, node, _swap(b), float_constant(node, a, "A") * alpha))
    else:
        W = float_constant(node, b, "B").T * alpha
        if isinstance(c, np.ndarray) and bias_is_row:
            if c.size not in (1, len(W)):
                node.shape_error(f"C has shape {c.shape}, expected {len(W)} elements or one")
            return [dense(walk, node, a, W, np.broadcast_to(c.reshape(-1), (len(W),)))]
        result = dense(walk, node, a, W)
    return [result if c is None else combine(walk, node, "add", result, c)]


def _check_axes(node: OnnxNode, x: Tensor, layout: Layout, axes: list[int]) -> None:
    """Refuse to work along time or batch; beside axes of the frame, one of size 1 does no harm."""
    alone = all(x.labels[a] for a in axes)
    for axis in axes:
        if axis in layout.outer or alone:
            node.unsupported(f"works along axis {axis} of {x.shape}, which is time or the batch")


def _rows(walk: Walk, node: OnnxNode, x: Any, axes: list[int]) -> tuple[Layout, str, tuple[int, ...], list[int]]:
    """x with `axes` flattened into the last: (layout, value of shape (rows, n) or (n,), its shape, order)."""
    layout, elements = take_apart(walk, node, x)
    _check_axes(node, x, layout, axes)
    frame = list(layout.frame)
    order = [frame.index(a) for a in frame if a not in axes] + [frame.index(a) for a in axes]
    n = int(np.prod([x.shape[a] for a in axes], dtype=np.int64))
    moved = elements.transpose(order)
    shape = (n,) if moved.size == n else (moved.size // n, n)
    return layout, walk.builder.value(moved, shape), tuple(moved.shape), order


def _back(walk: Walk, layout: Layout, value: str, moved: tuple[int, ...], order: list[int]) -> Tensor:
    """The inverse of `_rows` for a value of the same shape."""
    return layout.tensor(walk.builder.elements(value).reshape(moved).transpose(np.argsort(order)))


def _softmax(op: str) -> Handler:
    def handle(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
        node.allow("axis")
        x = operands[0]
        rank = len(x.shape)
        # Before operator set 13 everything from `axis` on was one row.
        axis = int(node.attrs.get("axis", 1 if node.opset < 13 else -1))
        axis += rank if axis < 0 else 0
        axes = list(range(axis, rank)) if node.opset < 13 else [axis]
        if not 0 <= axis < max(rank, 1):
            node.shape_error(f"attribute axis={node.attrs.get('axis')} does not fit an input of shape {x.shape}")
        layout, value, moved, order = _rows(walk, node, x, axes)
        return [_back(walk, layout, walk.builder.add(op, [value]), moved, order)]

    return handle


def _layer_norm(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow("axis", "axes", "epsilon", "stash_type")
    if any(node.outputs[1:]):
        node.unsupported("its outputs Mean and InvStdDev are not supported")
    x = operands[0]
    rank = len(x.shape)
    axis = int(node.attrs.get("axis", -1))
    axes = sorted({int(a) % max(rank, 1) for a in node.attrs.get("axes", range(axis % max(rank, 1), rank))})
    layout, value, moved, order = _rows(walk, node, x, axes)
    weights = {}
    for key, slot in (("scale", 1), ("shift", 2)):
        if len(operands) > slot and operands[slot] is not None:
            array = float_constant(node, operands[slot], "Scale" if slot == 1 else "B")
            try:
                weights[key] = np.broadcast_to(array, [x.shape[a] for a in axes]).reshape(-1)
            except ValueError:
                node.unsupported(
                    f"{'Scale' if slot == 1 else 'B'} has shape {array.shape}; expected {[x.shape[a] for a in axes]}"
                )
    epsilon = float(node.attrs.get("epsilon", 1e-5))
    made = walk.builder.add("layer_norm", [value], attrs={"eps": epsilon}, weights=weights)
    return [_back(walk, layout, made, moved, order)]


def _gather(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """Rows of a constant table chosen by ids are an embedding; known places in a computed tensor are movement."""
    node.allow("axis")
    table, ids = operands
    if not isinstance(ids, Tensor):
        return list(walk.move(node, operands))
    if isinstance(table, Tensor) or ids.dtype != "int32":
        node.unsupported("picks by a computed index; only ids of a graph input into a constant table are supported")
    table = float_constant(node, table, "the table")
    if int(node.attrs.get("axis", 0)) % max(table.ndim, 1) != 0 or table.ndim < 1:
        node.unsupported(f"attribute axis={node.attrs.get('axis')} is not supported with computed ids, expected 0")
    layout, elements = codes.split(ids.codes, ids.labels)
    shape = (*ids.shape, *table.shape[1:])
    walk.count(node, shape)
    builder = walk.builder
    value = builder.add(
        "embedding", [builder.value(elements, None, "int32")], weights={"table": table.reshape(len(table), -1)}
    )
    labels = (*ids.labels, *[""] * (table.ndim - 1))
    out = Layout(shape, layout.outer, layout.origin, labels)
    return [out.tensor(builder.elements(value).reshape(out.frame_shape))]


def _reduce(mean: bool) -> Handler:
    """A sum or mean over axes of the frame is a dense layer of equal weights."""

    def handle(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
        node.allow("axes", "keepdims", "noop_with_empty_axes")
        x = operands[0]
        axes = node.attrs.get("axes")
        if len(operands) > 1 and operands[1] is not None:
            if not isinstance(operands[1], np.ndarray):
                node.unsupported("its axes are computed at run time")
            axes = operands[1].tolist()
        if not axes and node.attrs.get("noop_with_empty_axes"):
            return [x]
        rank = len(x.shape)
        axes = sorted({a % rank for a in axes} if axes else range(rank))
        layout, _ = take_apart(walk, node, x)
        _check_axes(node, x, layout, axes)
        rest = [a for a in range(rank) if a not in axes]
        n = int(np.prod([x.shape[a] for a in axes], dtype=np.int64))
        table = x.codes.transpose(rest + axes).reshape([x.shape[a] for a in rest] + [n])
        rows = Tensor(table, (*[x.labels[a] for a in rest], ""))
        made = dense(walk, node, rows, np.full((1, n), 1.0 / n if mean else 1.0, np.float32))
        if not node.attrs.get("keepdims", 1):
            return [_axis(made, -1, made.shape[:-1], made.labels[:-1])]
        labels = tuple("" if a in axes else x.labels[a] for a in range(rank))
        return [_axis(made, -1, tuple(1 if a in axes else n for a, n in enumerate(x.shape)), labels)]

    return handle


def _shape(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow("start", "end")
    shape = operands[0].shape[node.attrs.get("start", 0) : node.attrs.get("end", None)]
    return [np.array(shape, np.int64)]


def _size(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow()
    return [np.array(codes.n_elements(operands[0].shape), np.int64)]


HANDLERS: dict[str, Handler] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Softmax": _softmax("softmax"),
    "LogSoftmax": _softmax("log_softmax"),
    "LayerNormalization": _layer_norm,
    "Gather": _gather,
    "ReduceMean": _reduce(mean=True),
    "ReduceSum": _reduce(mean=False),
    "Shape": _shape,
    "Size": _size,
}
