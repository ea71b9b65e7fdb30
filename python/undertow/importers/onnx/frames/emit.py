# SPDX-License-Identifier: MIT
"""Add Graph ops to what a walk builds, from tables of element numbers.

An op may compute its elements in any order, and movement ops have left them in the one that the ONNX model wants. Every
function here looks for the order in which its inputs lie in memory already, so that a transpose costs nothing unless
something needs its rows in another order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ....ir.activations import Activation
from . import provenance
from .builder import Builder


def unary(builder: Builder, op: str, table: np.ndarray, **settings: Any) -> np.ndarray:
    """An elementwise op of one input; equal elements are computed once."""
    flat = table.ravel()
    if provenance.ascends(flat):
        return builder.elements(builder.add(op, [builder.value(flat)], **settings)).reshape(table.shape)
    unique, inverse = _different(flat)
    del flat
    result = builder.elements(builder.add(op, [builder.value(unique)], **settings))
    return result.ravel()[inverse].reshape(table.shape)


def activation(builder: Builder, table: np.ndarray, kind: str | Activation, *parameters: float) -> np.ndarray:
    function = Activation(kind, *parameters) if isinstance(kind, str) else kind
    return unary(builder, "activation", table, attrs={"activation": function})


def affine(builder: Builder, table: np.ndarray, scale: Any, shift: Any) -> np.ndarray:
    """table * scale + shift; scale and shift broadcast to the table."""
    flat = table.ravel()
    weights = [np.asarray(w, np.float32) for w in (scale, shift)]
    weights = [(w if w.shape == table.shape else np.broadcast_to(w, table.shape)).ravel() for w in weights]
    order: Any = slice(None)
    back = order
    if not provenance.ascends(flat):
        unique, inverse = _different(flat)
        first = np.empty(unique.size, np.int64)
        first[inverse] = np.arange(flat.size)
        if all(np.array_equal(w, w[first][inverse], equal_nan=True) for w in weights):
            order, back = first, inverse
        else:
            order = np.argsort(flat, kind="stable")
            back = np.argsort(order)
    value = builder.value(flat[order])
    shape = builder.graph.shape(value)
    scale, shift = (w[order].reshape(shape) for w in weights)
    result = builder.add("affine", [value], weights={"scale": scale, "shift": shift})
    return builder.elements(result).ravel()[back].reshape(table.shape)


def elementwise(builder: Builder, op: str, tables: Iterable[np.ndarray]) -> np.ndarray:
    """An elementwise op of several inputs, whose tables have one shape."""
    tables = list(tables)
    shape = tables[0].shape
    flats = [t.ravel() for t in tables]
    order: Any = slice(None)
    back = order
    if not all(provenance.is_run(f) for f in flats):
        orders = [order, *(np.argsort(f, kind="stable") for f in flats)]
        order = max(orders, key=lambda o: sum(provenance.is_run(f[o]) for f in flats))
        back = order if isinstance(order, slice) else np.argsort(order)
    values = [builder.value(f[order]) for f in flats]
    if len({builder.graph.shape(v) for v in values}) > 1:
        values = [builder.value(builder.elements(v), (flats[0].size,)) for v in values]
    result = builder.elements(builder.add(op, values)).ravel()
    return result[back].reshape(shape)


def reduce(builder: Builder, kind: str, table: np.ndarray, axes: Iterable[int]) -> np.ndarray:
    """The sum, max, min or prod over axes, which vanish."""
    axes = {a % table.ndim for a in axes}
    order = _memory_order(table, range(table.ndim))
    places = [i for i, a in enumerate(order) if a in axes]
    if places and places[-1] - places[0] + 1 > len(places):  # other axes lie in between
        order = [a for a in order if a not in axes] + [a for a in order if a in axes]
        places = list(range(table.ndim - len(axes), table.ndim))
    moved = table.transpose(order)
    first = places[0] if places else 0
    before, n, after = (
        int(np.prod(s, dtype=np.int64))
        for s in (moved.shape[:first], moved.shape[first : first + len(places)], moved.shape[first + len(places) :])
    )
    rest = [a for a in order if a not in axes]
    if n > 1:
        value = builder.value(moved, (before, n, after))
        moved = builder.elements(builder.add("reduce", [value], attrs={"kind": kind}))
    result = moved.reshape([table.shape[a] for a in rest])
    return result.transpose(np.argsort(rest)) if rest else result


def mean(builder: Builder, table: np.ndarray, axes: Iterable[int]) -> np.ndarray:
    axes = {a % table.ndim for a in axes}
    total = reduce(builder, "sum", table, axes)
    return affine(builder, total, 1.0 / max(1, table.size // max(1, total.size)), 0.0)


def dense(builder: Builder, table: np.ndarray, W: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """W (M, K) along the last axis of a table (..., K); b (M,)."""
    value, back = _rows(builder, table, 1)
    return back(builder.add("dense", [value], weights={"W": W, "b": b}), (len(W),))


def depthwise(builder: Builder, table: np.ndarray, W: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """Sums over the taps of a table (..., K, C), each with W (K, C); b (C,)."""
    if table.ndim == 2:
        table = table[None]
        return depthwise(builder, table, W, b)[0]
    value, back = _rows(builder, table, 2)
    if len(builder.graph.shape(value)) == 2:
        value = builder.value(builder.elements(value), (1, *table.shape[-2:]))
    return back(builder.add("depthwise", [value], weights={"W": W, "b": b}), table.shape[-1:])


def matmul(builder: Builder, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Products of tables (..., I, K) and (..., K, J) with equal leading axes."""
    stack = int(np.prod(a.shape[:-2], dtype=np.int64))
    lead = (stack,) if stack > 1 else ()
    values = [builder.value(t, (*lead, *t.shape[-2:])) for t in (a, b)]
    product = builder.add("matmul", values)
    return builder.elements(product).reshape(*a.shape[:-1], b.shape[-1])


def rowwise(builder: Builder, op: str, table: np.ndarray, **settings: Any) -> np.ndarray:
    """An op that works along the last axis of a table and keeps its shape: softmax, layer norm."""
    value, back = _rows(builder, table, 1)
    return back(builder.add(op, [value], **settings), table.shape[-1:])


# -- order ----------------------------------------------------------------------------------------------------------


def _different(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """numpy.unique with return_inverse; no sort where numbers lie close."""
    low, high = int(flat.min()), int(flat.max())
    if high - low >= 4 * flat.size:
        return np.unique(flat, return_inverse=True)
    present = np.zeros(high - low + 1, bool)
    for part in provenance.parts(flat.size):
        present[flat[part] - low] = True
    rank = np.cumsum(present, dtype=np.int32)
    inverse = np.empty(flat.size, np.int32)
    for part in provenance.parts(flat.size):
        inverse[part] = rank[flat[part] - low] - 1
    return np.flatnonzero(present) + low, inverse


def _memory_order(table: np.ndarray, axes: Iterable[int]) -> list[int]:
    """Axes, those first along which elements lie far apart."""
    start = table[(0,) * table.ndim]

    def stride(axis: int) -> int:
        step = [0] * table.ndim
        step[axis] = 1
        return abs(int(table[tuple(step)] - start)) if table.shape[axis] > 1 else 0

    return sorted(axes, key=stride, reverse=True)


def _rows(builder: Builder, table: np.ndarray, n_inner: int) -> tuple[str, Any]:
    """A value of shape (rows, *inner), or of inner where there is one row, and what puts a result back into order."""
    n_outer = table.ndim - n_inner
    order = _memory_order(table, range(n_outer))
    moved = table.transpose(*order, *range(n_outer, table.ndim))
    inner = table.shape[n_outer:]
    n_rows = table.size // int(np.prod(inner, dtype=np.int64))
    value = builder.value(moved, inner if n_rows == 1 else (n_rows, *inner))

    def back(computed: str, new_inner: tuple[int, ...]) -> np.ndarray:
        result = builder.elements(computed).reshape(*moved.shape[:n_outer], *new_inner)
        return result.transpose(*np.argsort(order).tolist(), *range(n_outer, result.ndim))

    return value, back
