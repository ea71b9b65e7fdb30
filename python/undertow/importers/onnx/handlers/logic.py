# SPDX-License-Identifier: MIT
"""ONNX comparisons, logic and choices on computed values: booleans are frames of 0 and 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..file.nodes import OnnxNode
from ..frames import emit, provenance
from ..frames.context import Walk
from ..frames.integers import (
    BOOL,
    FLOAT,
    KINDS,
    RANGES,
    WHOLE,
    bound,
    check_final,
    common,
    kind,
    lift,
    take,
    together,
    truncate,
    whole,
)
from ..frames.movement import move
from ..frames.provenance import Mixed, Tensor
from ..traits import traits
from .argmax import compared_ids, places_of_ids


def compare(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow()
    if node.op == "Equal" and (places := places_of_ids(walk, node, operands)) is not None:
        return places
    if (compared := compared_ids(walk, node, operands, getattr(np, traits(node.op).of))) is not None:
        return compared
    allowed = (FLOAT, *KINDS) if node.op == "Equal" else (FLOAT, *(k for k in KINDS if k != BOOL))
    layout, tables = together(walk, node, operands, allowed)
    return [layout.tensor(emit.elementwise(walk.builder, traits(node.op).of, tables), BOOL)]


def connect(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow()
    layout, tables = together(walk, node, operands, (BOOL,))
    elements = emit.elementwise(walk.builder, traits(node.op).of, tables)
    if node.op == "Xor":
        elements = emit.affine(walk.builder, elements, -1.0, 1.0)
    return [layout.tensor(elements, BOOL)]


def logical_not(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow()
    layout, elements = take(node, operands[0], (BOOL,))
    walk.count(node, layout.shape, layout.outer)
    return [layout.tensor(emit.affine(walk.builder, elements, -1.0, 1.0), BOOL)]


def where(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """A choice that is known while loading only moves elements; a computed one is an op."""
    node.allow()
    condition, *values = operands
    if condition is None or any(v is None for v in values):
        node.format_error("an input is missing")
    lifted = [lift(walk, node, v) for v in values]
    dtype = common(node, [v.dtype for v in lifted])
    shape = np.broadcast_shapes(*(x.shape for x in operands))
    if isinstance(condition, np.ndarray):
        try:
            layout, tables = provenance.broadcast(lifted, shape)
        except Mixed:
            return list(move(walk, node, operands))
        chosen = provenance.frame_of(condition, layout)
        if chosen is None:  # it tells timesteps apart, which a later op may make good
            return list(move(walk, node, operands))
        walk.count(node, shape)
        return [layout.tensor(np.where(chosen, *tables), dtype)]
    take(node, condition, (BOOL,), "its condition")
    for value in lifted:
        take(node, value, (FLOAT, *KINDS))
    layout, tables = provenance.broadcast([condition, *lifted], shape)
    check_final(walk, node, tables)
    walk.count(node, shape)
    return [layout.tensor(emit.elementwise(walk.builder, "where", tables), dtype)]


# -- dtypes ---------------------------------------------------------------------------------------------------------


def cast(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """Between numbers that float32 frames hold: a change of name, a comparison with 0, or a truncation."""
    node.allow("to", "saturate", "round_mode")
    x, to = operands[0], node.attrs.get("to")
    onnx = walk.evaluator.onnx
    try:
        name, shown = str(onnx.helper.tensor_dtype_to_np_dtype(to)), onnx.TensorProto.DataType.Name(to)
    except (KeyError, TypeError, ValueError):
        node.unsupported(f"attribute to={to!r} is no dtype")
    return [_convert(walk, node, x, name, f"attribute to={shown}")]


def cast_like(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow("saturate", "round_mode")
    x, like = operands
    name = str(like.dtype)
    if isinstance(x, np.ndarray):
        if name not in (FLOAT, BOOL):
            node.unsupported(f"converts a constant to {name}, expected float32 or bool")
        return [x.astype(name)]
    return [_convert(walk, node, x, "int64" if kind(name) == WHOLE else name, f"a conversion to {name}")]


def _convert(walk: Walk, node: OnnxNode, x: Any, name: str, what: str) -> Tensor:
    if isinstance(x, Tensor) and x.dtype == "int32":  # ids
        if name not in ("int32", "int64"):
            node.unsupported(f"{what} is not supported for ids, expected int32 or int64")
        return x
    to, builder = WHOLE if name in ("int32", "int64") else name, walk.builder
    if isinstance(x, Tensor) and to == kind(x.dtype):
        return x  # whatever it is made of
    layout, elements = take(node, x, (FLOAT, *KINDS))
    walk.count(node, layout.shape, layout.outer)
    if to == FLOAT:
        return layout.tensor(elements, FLOAT)
    if to == BOOL:
        zero = np.broadcast_to(builder.constant(np.float32(0)), elements.shape)
        same = emit.elementwise(builder, "equal", [elements, zero])
        return layout.tensor(emit.affine(builder, same, -1.0, 1.0), BOOL)
    if to == WHOLE:
        if x.dtype == FLOAT:
            return layout.tensor(truncate(walk, elements), WHOLE)
        return layout.tensor(elements, whole(node, bound(x.dtype)))
    if to not in RANGES:
        half = "; load the float32 model, with weights='float16' if its size matters" if to.endswith("float16") else ""
        node.unsupported(f"{what} is not supported; float32 frames hold float32, bool and integers exactly{half}")
    low, high = RANGES.get(x.dtype, (-np.inf, np.inf))
    if kind(x.dtype) == WHOLE:
        low, high = -bound(x.dtype), bound(x.dtype)
    if low < RANGES[to][0] or high > RANGES[to][1]:
        node.unsupported(f"{what} is not supported for {x.dtype}: what does not fit would wrap around")
    return layout.tensor(elements, to)
