# SPDX-License-Identifier: MIT
"""Ops that only move elements, run on the codes of tensors: one element of the result is one of an operand."""

from __future__ import annotations

from math import lcm, prod
from typing import Any

import numpy as np

from ....budget import room
from ..file import limits
from ..file.nodes import OnnxNode
from ..traits import traits
from .context import Length, Operand, Walk
from .integers import common, dtype_of, kind, numbers
from .moves import cut, data_slots, labels_after
from .provenance import COPIES, Mixed, Tensor
from .settle import settle
from .superframes import rate_of, stretch
from .timeless import at_every_step

INT32_MAX = 2**31 - 1


def move(walk: Walk, node: OnnxNode, operands: list[Operand]) -> list[Tensor | np.ndarray]:
    """Run an op that only moves elements, on codes. What a Split leaves without elements is known."""
    tensors = [o for o in operands if isinstance(o, Tensor)]
    for i, operand in enumerate(operands):
        if isinstance(operand, Length):
            node.unsupported("sequence lengths are used for more than sequence_lens of a recurrent node")
        if isinstance(operand, Tensor) and i in traits(node.op).chosen_by:
            node.unsupported(
                f"input {node.inputs[i]!r} (a shape, index or condition) is computed from frames at run time"
            )
    dtype = common(node, [t.dtype for t in tensors])
    like = tensors[0]
    if node.op == "Concat":
        like = next((t for t in tensors if (t.steps >= 0).any()), like)
        axis = int(node.attrs["axis"])
        operands = at_every_step(walk.builder, operands, like, axis)
    if node.attrs.get("reduction", "none") != "none":
        node.unsupported(f"attribute reduction={node.attrs['reduction']!r} is not supported, expected none")
    if node.op == "Slice":
        _check_slice(walk, node, operands)
        if (less := cut(walk.evaluator, node, operands)) is not None:
            return [less]
    if node.op in ("Slice", "Reshape"):
        walk.factor = lcm(walk.factor, stretch(walk, node, operands))
    arrays: list[Any] = []
    distinct = {id(o): o for o in operands if isinstance(o, Tensor)}
    room(sum(prod(o.shape) for o in distinct.values()), COPIES * 8)  # together: they are held until the op has run
    tables = {key: o.codes for key, o in distinct.items()}
    for i, operand in enumerate(operands):
        if isinstance(operand, Tensor):
            operand = tables[id(operand)]
        elif operand is not None and i in data_slots(node):
            operand = _lift(walk, node, i, operand, like)  # type: ignore[arg-type]
        arrays.append(operand)
    results = walk.evaluator.run(node, arrays, limits.MAX_TRACED_ELEMENTS, COPIES)
    moved: list[Tensor | np.ndarray] = []
    for name, result in zip(node.outputs, results, strict=False):
        walk.count(node, result.shape)
        if result.size == 0 and node.op == "Split" and dtype == "float32":
            moved.append(np.zeros(result.shape, np.float32))
            continue
        if result.size == 0:
            node.unsupported(f"gives a tensor of shape {result.shape}, which is empty")
        labels = labels_after(node, operands, tensors[0], result.shape)
        tensor = Tensor(result.astype(np.int64, copy=False), labels, dtype)
        first = name in walk.joined and not tensor.steps.any() and not walk.builder.graph.whole_sequence_nodes()
        waits = name in walk.shapes_alone or first
        moved.append(tensor if waits else settle(walk.builder, tensor))
    return moved


def _lift(walk: Walk, node: OnnxNode, slot: int, constant: np.ndarray, like: Tensor) -> np.ndarray:
    """Codes for a constant that is moved together with a computed tensor."""
    if kind(dtype_of(constant)) != kind(like.dtype):
        node.unsupported(f"constant input {node.inputs[slot]!r} has dtype {constant.dtype}, expected {like.dtype}")
    elements = walk.builder.constant(numbers(node, constant, f"constant input {node.inputs[slot]!r}"))
    if node.op == "Concat" and constant.ndim == len(like.shape):
        axis = int(node.attrs["axis"]) % max(constant.ndim, 1)
        try:
            layout, _ = like.split()
        except Mixed:
            axis_and_rate = rate_of(walk, like)
            padded = axis_and_rate is not None and axis_and_rate[0] == axis and not constant.any()
            return np.zeros(constant.shape, np.int64) if padded else elements
        if axis in layout.outer and not constant.any() and (layout.steps >= 0).any():
            return np.zeros(constant.shape, np.int64)  # as if padded: see `along`
        if axis not in layout.outer and all(n == like.shape[a] for a, n in enumerate(constant.shape) if a != axis):
            origin = layout.origin.reshape([n if a in layout.outer else 1 for a, n in enumerate(like.shape)])
            return np.broadcast_to(origin, constant.shape) | elements
    return elements


def _check_slice(walk: Walk, node: OnnxNode, operands: list[Operand]) -> None:
    """A slice that keeps all timesteps tried must keep any number of them; one baked into the file might not."""
    data = operands[0]
    if not walk.builder.sequence or not isinstance(data, Tensor):
        return
    given = [node.attrs.get(key) for key in ("starts", "ends", "axes", "steps")]
    for i, operand in enumerate(operands[1:5]):
        given[i] = operand.tolist() if isinstance(operand, np.ndarray) else given[i]
    starts, ends = given[0] or [], given[1] or []
    axes, strides = given[2] or range(len(starts)), given[3] or [1] * len(starts)
    steps = data.steps
    for start, end, axis, stride in zip(starts, ends, axes, strides, strict=True):
        n = data.shape[axis]
        whole = stride == 1 and (start == 0 or start <= -n) and end >= n
        sure = (start == 0 or start <= -INT32_MAX) and (end == n or end >= INT32_MAX)
        if whole and not sure and (steps != steps.take([0], axis)).any():
            node.unsupported(f"keeps timesteps from {start} to {end} only")


__all__ = ["move"]
