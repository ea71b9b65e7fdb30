# SPDX-License-Identifier: MIT
"""Booleans and integers that are computed at run time: frames of float32, which hold whole numbers below 2^24 exactly.

`codes.Tensor.dtype` tells what such a frame stands for: "bool", "int8", "uint8", "int16", "uint16" (any number of that
type), or "whole 300" (an int32 or int64 from -300 to 300; "whole" where only the model's data bound it). The dtype
"int32" is something else: ids of a graph input, which only an embedding takes. "unrounded" is float32 where the file
has integers of 8 bits, by a range that a stream does not know; what is made of it is float32 as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..file.nodes import OnnxNode
from . import emit, provenance
from .context import Length, Walk
from .provenance import Layout, Tensor

BOOL, WHOLE, FLOAT, UNROUNDED = "bool", "whole", "float32", "unrounded"
#: smallest and largest number of a type
RANGES = {"bool": (0, 1), "int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535)}
#: types that a frame may stand for
KINDS = (*RANGES, WHOLE)
#: from here on not every whole number is a float32
EXACT = 2**24


def kind(dtype: str) -> str:
    """A dtype without its bound."""
    return dtype.partition(" ")[0]


def whole(node: OnnxNode, bound: float) -> str:
    """The dtype of integers from -bound to bound; refuses those that float32 frames do not hold exactly."""
    if bound >= EXACT:
        shown = f"its integers can reach {int(bound)}" if np.isfinite(bound) else "nothing bounds its integers"
        node.unsupported(
            f"{shown}; in float32 frames whole numbers are exact below {EXACT} (2^24), larger ones are not supported"
        )
    return f"{WHOLE} {int(bound)}"


def bound(dtype: str) -> float:
    """How large the numbers of an integer dtype can be."""
    if kind(dtype) == WHOLE:
        given = dtype.partition(" ")[2]
        return int(given) if given else np.inf
    low, high = RANGES[dtype]
    return max(-low, high)


def common(node: OnnxNode, dtypes: list[str]) -> str:
    """The dtype of tensors that are joined."""
    if len({kind(d) for d in dtypes}) > 1:
        node.unsupported(f"joins {' and '.join(sorted({kind(d) for d in dtypes}))}, expected one dtype")
    return max(dtypes, key=lambda d: bound(d) if kind(d) == WHOLE else 0)


def take(node: OnnxNode, operand: Any, dtypes: tuple[str, ...], what: str = "its input") -> tuple[Layout, np.ndarray]:
    """Layout and frame elements of a computed operand of one of `dtypes`."""
    take_kind(node, operand, dtypes, what)
    layout, elements = operand.split()
    return layout, elements


def take_kind(node: OnnxNode, operand: Any, dtypes: tuple[str, ...], what: str = "its input") -> None:
    """Refuse what is no computed operand of one of `dtypes`."""
    if isinstance(operand, Length):
        node.unsupported("sequence lengths are used for more than sequence_lens of a recurrent node")
    if not isinstance(operand, Tensor):
        node.unsupported(f"{what} is {'missing' if operand is None else 'a constant'}, expected a computed tensor")
    if kind(operand.dtype) not in dtypes:
        shown = {"int32": "ids (integers)", WHOLE: "integers"}.get(kind(operand.dtype), operand.dtype)
        node.unsupported(f"{what} holds {shown}, expected {' or '.join(dtypes)}")


def dtype_of(operand: Any) -> str:
    """The dtype that an operand stands for; a constant's, as a computed tensor would have it."""
    if isinstance(operand, np.ndarray):
        name = str(operand.dtype)
        if name in ("int32", "int64"):
            return f"{WHOLE} {int(np.abs(operand.astype(np.float64)).max(initial=0))}"
        return name
    return str(operand.dtype)


def numbers(node: OnnxNode, array: np.ndarray, what: str) -> np.ndarray:
    """A constant of any dtype that float32 holds exactly, as float32."""
    if array.dtype.kind not in "fiub":
        node.unsupported(f"{what} has dtype {array.dtype}, expected float32")
    if array.dtype.kind == "f" and array.dtype != np.float32:
        node.unsupported(f"{what} has dtype {array.dtype}, expected float32; convert the model to float32")
    if array.dtype.kind in "iu" and (np.abs(array.astype(np.float64)) >= EXACT).any():
        node.unsupported(
            f"{what} has dtype {array.dtype} and numbers from 2^24 on, which float32 does not hold exactly"
        )
    return array.astype(np.float32)


def lift(walk: Walk, node: OnnxNode, operand: Any, what: str = "a constant input") -> Any:
    """A constant operand as a tensor of a constant's elements; others as they are."""
    if not isinstance(operand, np.ndarray):
        return operand
    dtype = dtype_of(operand)
    table = walk.builder.constant(numbers(node, operand, what))
    return Tensor(table, ("",) * operand.ndim, dtype)


def together(
    walk: Walk, node: OnnxNode, operands: list[Any], dtypes: tuple[str, ...]
) -> tuple[Layout, list[np.ndarray]]:
    """Operands of one dtype, broadcast to one shape: their layout and the elements of each in its frame."""
    lifted = [lift(walk, node, o) for o in operands]
    for operand in lifted:
        take(node, operand, dtypes)
    if len({kind(o.dtype) for o in lifted}) > 1:
        node.unsupported(f"its inputs have dtypes {[o.dtype for o in lifted]}, expected one")
    try:
        shape = np.broadcast_shapes(*(o.shape for o in lifted))
    except ValueError:
        node.shape_error(f"inputs of shapes {[o.shape for o in lifted]} do not fit together")
    walk.builder.check_size(shape, f"{node.op} node {node.name!r}")
    layout, frames = provenance.broadcast(lifted, shape)
    walk.count(node, shape, layout.outer)
    check_final(walk, node, frames)
    return layout, frames


def check_final(walk: Walk, node: OnnxNode, tables: list[np.ndarray]) -> None:
    """Refuse to combine what exists once per sequence with what exists at every timestep."""
    if not walk.builder.sequence:
        return
    varying = [t for t in tables if not walk.builder.is_constant(t)]
    if len({walk.builder.is_final(t) for t in varying}) > 1:
        node.unsupported("combines what is known only at the end of the sequence with every timestep")


def arithmetic(walk: Walk, node: OnnxNode, op: str, a: Any, b: Any) -> Tensor:
    """add, sub, mul, max or min of integers, whose result is bounded."""
    layout, tables = together(walk, node, [a, b], (WHOLE,))
    x, y = (bound(dtype_of(o)) for o in (a, b))
    reach = {"add": x + y, "sub": x + y, "mul": x * y, "max": max(x, y), "min": max(x, y)}
    if op not in reach:
        node.unsupported("is not computed for integers, expected float32")
    dtype = whole(node, reach[op])
    return layout.tensor(emit.elementwise(walk.builder, op, tables), dtype)


def truncate(walk: Walk, table: np.ndarray) -> np.ndarray:
    """Numbers without their fraction: sign(x) * floor(|x|)"""
    builder = walk.builder
    size = emit.activation(builder, emit.activation(builder, table, "abs"), "floor")
    return emit.elementwise(builder, "mul", [emit.activation(builder, table, "sign"), size])
