# SPDX-License-Identifier: MIT
"""ONNX operators between numbers and places: ArgMax and ArgMin, OneHot."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..file.nodes import OnnxNode, flat
from ..frames import emit
from ..frames.builder import Builder
from ..frames.context import Walk
from ..frames.integers import BOOL, WHOLE, numbers, take, whole
from ..frames.provenance import Layout, Tensor
from ..traits import traits
from .elementwise import take_apart
from .reduce import axis_of, check_axes, without


def arg(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """The first place (or the last) whose number no other exceeds: the least place among those, all others being n."""
    node.allow("axis", "keepdims", "select_last_index")
    x = operands[0]
    layout, elements = take_apart(walk, node, x)
    axis = axis_of(node, x)
    check_axes(walk, node, x, layout, [axis])
    n, place = x.shape[axis], layout.frame.index(axis)
    dtype = whole(node, n)
    last = bool(node.attrs.get("select_last_index", 0))
    builder = walk.builder
    if traits(node.op).of == "min":
        elements = emit.affine(builder, elements, -1.0, 0.0)
    most = np.broadcast_to(np.expand_dims(emit.reduce(builder, "max", elements, [place]), place), elements.shape)
    is_less = emit.elementwise(builder, "less", [elements, most])
    places = builder.constant(_along(np.arange(n), elements.ndim, place))
    rest = builder.constant(np.float32(-1 if last else n))
    tables = [is_less, *(np.broadcast_to(t, elements.shape) for t in (rest, places))]
    indices = emit.reduce(builder, "max" if last else "min", emit.elementwise(builder, "where", tables), [place])
    kept = without(walk, node, x, layout, indices, [axis], bool(node.attrs.get("keepdims", 1)))
    return [Tensor(kept.codes, kept.labels, dtype)]


def _along(values: np.ndarray, rank: int, axis: int) -> np.ndarray:
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)


def one_hot(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """A comparison of every index with every place; of ids, which no op but an embedding reads, rows of a table."""
    node.allow("axis")
    indices, depth, values = operands
    if not isinstance(indices, Tensor) or not isinstance(depth, np.ndarray) or not isinstance(values, np.ndarray):
        node.unsupported("its depth or values are computed at run time, expected constants")
    n = int(depth.reshape(()))
    rank = len(indices.shape)
    axis = int(node.attrs.get("axis", -1))
    if not -rank - 1 <= axis <= rank or n < 1 or values.shape != (2,):
        node.shape_error(f"attribute axis={axis}, depth {n} and values of shape {values.shape} do not fit together")
    axis %= rank + 1
    off, on = (float(v) for v in numbers(node, values, "values"))
    dtype = "float32" if values.dtype == np.float32 else str(values.dtype)
    if values.dtype.kind == "i":
        dtype = whole(node, max(abs(off), abs(on)))
    layout, elements = take(node, indices, ("int32", "float32", WHOLE), "indices")
    walk.count(node, (*indices.shape, n))
    builder = walk.builder
    encoded = (
        _rows(builder, elements, n, off, on) if indices.dtype == "int32" else _compared(builder, elements, n, off, on)
    )
    out = Layout((*indices.shape, n), layout.outer, layout.origin, (*indices.labels, "")).tensor(encoded, dtype)
    labels = list(indices.labels)
    labels.insert(axis, "")
    return [Tensor(np.moveaxis(out.codes, -1, axis), tuple(labels), dtype)]


def places_of_ids(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any] | None:
    """Equal of ids and of all numbers from 0, along an axis of its own: a OneHot written out. None: it is none."""
    ids, places = operands if isinstance(operands[0], Tensor) else operands[::-1]
    if not isinstance(ids, Tensor) or ids.dtype != "int32" or not isinstance(places, np.ndarray):
        return None
    n = places.size
    if not ids.shape or ids.shape[-1] != 1 or places.shape[-1:] != (n,) or (places.ravel() != np.arange(n)).any():
        return None
    layout, elements = ids.split()
    shape = (*ids.shape[:-1], n)
    if places.ndim > len(shape):
        return None
    walk.count(node, shape)
    encoded = _rows(walk.builder, elements[..., 0], n, 0.0, 1.0)
    return [Layout(shape, layout.outer, layout.origin, (*ids.labels[:-1], "")).tensor(encoded, BOOL)]


def compared_ids(walk: Walk, node: OnnxNode, operands: list[Any], op: Any) -> list[Any] | None:
    """A comparison of ids with one number: a column of a table with as many rows as those that ids pick. None: none."""
    at = next((i for i, o in enumerate(operands) if isinstance(o, Tensor) and o.dtype == "int32"), None)
    if at is None:
        return None
    ids, number, n = operands[at], operands[1 - at], _n_ids(walk)
    if not isinstance(number, np.ndarray) or number.size != 1 or n is None or number.ndim > len(ids.shape):
        return None
    layout, elements = ids.split()
    walk.count(node, layout.shape, layout.outer)
    places, value = np.arange(n), int(number.reshape(()))
    table = (op(places, value) if at == 0 else op(value, places)).astype(np.float32)
    builder = walk.builder
    column = builder.add("embedding", [builder.value(elements, None, "int32")], weights={"table": table[:, None]})
    return [layout.tensor(builder.elements(column).reshape(elements.shape), BOOL)]


def _n_ids(walk: Walk) -> int | None:
    """How many rows the tables have that ids pick from; None where there are none, or of several sizes."""
    known = walk.program.constants
    picks = [node.inputs for node in flat(walk.program.nodes) if node.op == "Gather"]
    sizes = {
        len(known[table]) for table, index in picks if table in known and known[table].ndim > 1 and index not in known
    }
    return sizes.pop() if len(sizes) == 1 else None


def _rows(builder: Builder, ids: np.ndarray, n: int, off: float, on: float) -> np.ndarray:
    table = np.where(np.eye(n, dtype=bool), on, off)
    value = builder.add("embedding", [builder.value(ids, None, "int32")], weights={"table": table})
    return builder.elements(value).reshape(*ids.shape, n)


def _compared(builder: Builder, indices: np.ndarray, n: int, off: float, on: float) -> np.ndarray:
    """Indices from -n on; others are nowhere."""
    spread = np.broadcast_to(indices[..., None], (*indices.shape, n))
    equal = [
        emit.elementwise(builder, "equal", [spread, np.broadcast_to(builder.constant(p), spread.shape)])
        for p in (np.arange(n), np.arange(-n, 0))
    ]
    return emit.affine(builder, emit.elementwise(builder, "max", equal), on - off, off)
