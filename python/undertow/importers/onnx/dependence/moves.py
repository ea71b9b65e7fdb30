# SPDX-License-Identifier: MIT
"""Operators that move elements."""

from __future__ import annotations

from math import prod

import numpy as np

from ....budget import room
from ..file.nodes import OnnxNode
from ..traits import traits
from .reach import Context, Operand, Reach, Unclear, broadcast, numbers, reach


def identity(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    return [operands[0]]


def transpose(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    x = reach(operands[0])
    return [x.transpose(node.attrs.get("perm", range(len(x.shape))[::-1]))]


def reshape(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    x = reach(operands[0])
    wanted = numbers(node, operands, 1, "shape")
    if wanted is None:
        raise Unclear("no shape is given")
    if not node.attrs.get("allowzero", 0):
        wanted = [x.shape[a] if n == 0 else n for a, n in enumerate(wanted)]
    if -1 in wanted:
        known = prod(n for n in wanted if n != -1)
        wanted = [prod(x.shape) // max(known, 1) if n == -1 else n for n in wanted]
    return [x.reshape(wanted)]


def flatten(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    x = reach(operands[0])
    axis = int(node.attrs.get("axis", 1))
    axis += len(x.shape) if axis < 0 else 0
    return [x.reshape([prod(x.shape[:axis]), prod(x.shape[axis:])])]


def squeeze(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    x = reach(operands[0])
    axes = numbers(node, operands, 1, "axes")
    gone = {a for a, n in enumerate(x.shape) if n == 1} if axes is None else {a % len(x.shape) for a in axes}
    return [x.reshape([n for a, n in enumerate(x.shape) if a not in gone])]


def unsqueeze(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    x = reach(operands[0])
    axes = numbers(node, operands, 1, "axes") or []
    rank = len(x.shape) + len(axes)
    new = {a % rank for a in axes}
    sizes = iter(x.shape)
    return [x.reshape([1 if a in new else next(sizes) for a in range(rank)])]


def cut(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Slice."""
    x = reach(operands[0])
    starts, ends = numbers(node, operands, 1, "starts") or [], numbers(node, operands, 2, "ends") or []
    axes = numbers(node, operands, 3, "axes") or list(range(len(starts)))
    for i, axis in enumerate(axes):
        step = (numbers(node, operands, 4, "steps") or [1] * len(starts))[i]
        end = None if step < 0 and ends[i] < -x.shape[axis] else ends[i]
        x = x.take(axis % len(x.shape), slice(starts[i], end, step))
    return [x]


def split(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    x = reach(operands[0])
    axis = int(node.attrs.get("axis", 0)) % len(x.shape)
    sizes = numbers(node, operands, 1, "split")
    if sizes is None:
        each = -(-x.shape[axis] // len(node.outputs))
        sizes = [min(each, x.shape[axis] - each * i) for i in range(len(node.outputs))]
    ends = np.cumsum(sizes).tolist()
    empty = np.zeros([0 if a == axis else n for a, n in enumerate(x.shape)], np.float32)
    return [x.take(axis, slice(end - n, end)) if n else empty for end, n in zip(ends, sizes, strict=True)]


def concat(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    reaches = [reach(o) for o in operands if not (isinstance(o, np.ndarray) and o.size == 0)]
    axis = int(node.attrs["axis"]) % len(reaches[0].shape)
    first = reaches[0].shape
    if any((*r.shape[:axis], *r.shape[axis + 1 :]) != (*first[:axis], *first[axis + 1 :]) for r in reaches):
        raise Unclear("what is joined has different shapes")
    others = [a for a in range(len(first)) if a != axis and any(r.bits.shape[a] > 1 for r in reaches)]
    parts = [r.along([*others, axis]) for r in reaches]
    shape = [sum(r.shape[axis] for r in reaches) if a == axis else n for a, n in enumerate(first)]
    room(sum(part.size for part in parts), 16)
    return [Reach.of(shape, np.concatenate(parts, axis))]


def expand(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    x = reach(operands[0])
    wanted = numbers(node, operands, 1, "shape") or []
    try:
        return [x.expand(np.broadcast_shapes(x.shape, tuple(wanted)))]
    except ValueError:
        raise Unclear(f"{x.shape} does not expand to {wanted}") from None


def tile(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    x = reach(operands[0])
    times = numbers(node, operands, 1, "repeats") or []
    copies = [n if m > 1 else 1 for n, m in zip(times, x.bits.shape, strict=True)]
    room(x.bits.size * prod(copies), 16)
    bits = np.tile(x.bits, copies)
    return [Reach.of([n * k for n, k in zip(x.shape, times, strict=True)], bits)]


def gather(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    data, index = reach(operands[0]), operands[1]
    axis = int(node.attrs.get("axis", 0)) % len(data.shape)
    if isinstance(index, np.ndarray):
        n = data.shape[axis]
        if index.size and not -n <= index.min() <= index.max() < n:
            raise Unclear("an index lies outside")
        return [data.take(axis, index.astype(np.int64))]
    picked = reach(index)  # any row may be picked
    n_after = len(data.shape) - axis - 1
    rows = data.over([axis], keep=False)
    rows = rows.reshape([*rows.shape[:axis], *[1] * len(picked.shape), *rows.shape[axis:]])
    return [broadcast([rows, picked.reshape([*picked.shape, *[1] * n_after])])]


def by_table(context: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Any other, run on the bits themselves."""
    slots = traits(node.op).moves or ()
    arrays: list[np.ndarray | None] = []
    for slot, operand in enumerate(operands):
        if operand is None or slot not in slots:
            if isinstance(operand, Reach):
                raise Unclear(f"input {node.inputs[slot]!r} is computed at run time")
            arrays.append(operand)
            continue
        one = reach(operand)
        arrays.append(one.along(range(len(one.shape))).view(np.int64))
    return [Reach.of(a.shape, a.view(np.uint64)) for a in context.evaluate(node, arrays)]


def pad(_: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """Zeros, or a number that is given; the first and last elements again; a mirror; the other end."""
    x = reach(operands[0])
    pads = numbers(node, operands, 1, "pads") or []
    axes = numbers(node, operands, 3, "axes") or list(range(len(x.shape)))
    mode, value = node.attrs.get("mode", "constant"), operands[2] if len(operands) > 2 else None
    shape, bits = list(x.shape), x.bits
    filled = value.everything if isinstance(value, Reach) else np.uint64(0)
    for i, axis in enumerate(axes):
        axis, before, after = axis % len(shape), pads[i], pads[len(axes) + i]
        n = shape[axis]
        shape[axis] += before + after
        if shape[axis] < 1:
            raise Unclear(f"an axis of {n} is cut to {shape[axis]}")
        if before or after:
            room(shape[axis], 32)
            index = np.arange(-before, n + after)
            inside = (index >= 0) & (index < n)
            if mode == "reflect":
                index = np.abs((index + n - 1) % max(2 * n - 2, 1) - (n - 1))
            index = index % n if mode == "wrap" else np.clip(index, 0, n - 1)
            room(bits.size // bits.shape[axis] * shape[axis], 24)
            full = np.broadcast_to(bits, [n if a == axis else m for a, m in enumerate(bits.shape)])
            bits = full.take(index, axis)
            if mode == "constant":
                bits = np.where(inside.reshape([-1 if a == axis else 1 for a in range(len(shape))]), bits, filled)
    return [Reach.of(shape, bits)]
