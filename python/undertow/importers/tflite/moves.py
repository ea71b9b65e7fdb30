# SPDX-License-Identifier: MIT
"""Operators that move elements, and those that reduce along axes."""

from __future__ import annotations

import numpy as np

from .file import Operator
from .scope import COMPUTED, Scope

#: an end beyond every axis
_END = 2**31 - 1


def reshape(scope: Scope, operator: Operator, _: str) -> list[str]:
    x = operator.inputs[0]
    if len(operator.inputs) > 1 and not scope.is_constant(operator.inputs[1]):
        return [scope.node("Reshape", [scope.value(x), scope.as_int64(operator.inputs[1], "shape")])]
    if len(operator.inputs) > 1:
        sizes = scope.integers(operator.inputs[1], "shape")
    else:
        sizes = [int(n) for n in operator.options.get("new_shape", ())]
    if 0 in sizes:
        scope.unsupported(f"a shape of {sizes}, which has no elements, is not supported")
    return [scope.node("Reshape", [scope.value(x), scope.int64(sizes)])]


def expand_dims(scope: Scope, operator: Operator, _: str) -> list[str]:
    x, axis = operator.inputs
    return [scope.node("Unsqueeze", [scope.value(x), scope.int64(scope.integers(axis, "axis")[:1])])]


def squeeze(scope: Scope, operator: Operator, _: str) -> list[str]:
    x = operator.inputs[0]
    axes = [int(a) for a in operator.options.get("squeeze_dims", ())]
    sizes = scope.tensor(x).shape
    if not axes and None in sizes:
        scope.unsupported(f"{scope.tensor(x).where} has open sizes {sizes}, so which axes go is not known")
    axes = axes or [a for a, n in enumerate(sizes) if n == 1]
    return [scope.node("Squeeze", [scope.value(x), scope.int64(axes)]) if axes else scope.value(x)]


def transpose(scope: Scope, operator: Operator, _: str) -> list[str]:
    x, order = operator.inputs
    return [scope.node("Transpose", [scope.value(x)], perm=scope.integers(order, "order"))]


def concatenation(scope: Scope, operator: Operator, _: str) -> list[str]:
    return [scope.node("Concat", [scope.value(i) for i in operator.inputs], axis=operator.options.get("axis", 0))]


def split(scope: Scope, operator: Operator, _: str) -> list[str]:
    axis, x = operator.inputs
    n = len(operator.outputs)
    if operator.options.get("num_splits", n) != n:
        scope.format_error(f"num_splits={operator.options['num_splits']} with {n} outputs")
    along = scope.integers(axis, "axis")
    return list(scope.node("Split", [scope.value(x)], n, axis=along[0] if along else 0, num_outputs=n))


def split_v(scope: Scope, operator: Operator, _: str) -> list[str]:
    x, sizes, axis = operator.inputs
    parts, along, n = scope.integers(sizes, "sizes"), scope.integers(axis, "axis"), len(operator.outputs)
    if len(parts) != n or len(along) != 1:
        scope.format_error(f"sizes {parts} along axis {along} with {n} outputs")
    if -1 in parts:
        shape = dict(enumerate(scope.tensor(x).shape))
        total = shape.get(along[0] % max(len(shape), 1))
        if total is None or parts.count(-1) > 1:
            scope.unsupported(f"sizes {parts} of an open axis {along[0]} are not supported")
        rest = total - sum(part for part in parts if part != -1)
        parts = [rest if part == -1 else part for part in parts]
    if min(parts) < 0 or not any(parts):
        scope.format_error(f"sizes {parts} are not possible")
    whole = [part for part in parts if part]
    pieces = list(scope.node("Split", [scope.value(x), scope.int64(whole)], len(whole), axis=along[0]))
    return [pieces.pop(0) if part else _nothing(scope, i) for part, i in zip(parts, operator.outputs, strict=True)]


def _nothing(scope: Scope, output: int) -> str:
    """A tensor without elements."""
    return scope.constant(np.zeros([n or 0 for n in scope.tensor(output).shape], np.float32))


def pack(scope: Scope, operator: Operator, _: str) -> list[str]:
    axis = operator.options.get("axis", 0)
    parts = [scope.node("Unsqueeze", [scope.value(i), scope.int64([axis])]) for i in operator.inputs]
    return [scope.node("Concat", parts, axis=axis)]


def unpack(scope: Scope, operator: Operator, _: str) -> list[str]:
    axis, n = operator.options.get("axis", 0), len(operator.outputs)
    if operator.options.get("num", n) != n:
        scope.format_error(f"num={operator.options['num']} with {n} outputs")
    x = scope.value(operator.inputs[0])
    parts = scope.node("Split", [x], n, axis=axis, num_outputs=n) if n > 1 else [x]
    return [scope.node("Squeeze", [part, scope.int64([axis])]) for part in parts]


def gather(scope: Scope, operator: Operator, _: str) -> list[str]:
    x, places = operator.inputs
    return [scope.node("Gather", [scope.value(x), scope.value(places)], axis=operator.options.get("axis", 0))]


def embedding(scope: Scope, operator: Operator, _: str) -> list[str]:
    ids, rows = operator.inputs
    return [scope.node("Gather", [scope.value(rows), scope.value(ids)], axis=0)]


def slice_(scope: Scope, operator: Operator, _: str) -> list[str]:
    x, begin, size = operator.inputs
    rank = scope.tensor(x).rank
    axes = scope.int64(list(range(rank)))
    if scope.is_constant(size) and scope.is_constant(begin):
        starts, sizes = scope.integers(begin, "begin"), scope.integers(size, "size")
        if len(starts) != rank or len(sizes) != rank or min([*starts, *(n + 1 for n in sizes)], default=0) < 0:
            scope.format_error(f"begin {starts} and size {sizes} do not go with {rank} axes")
        ends = [_END if n == -1 else at + n for at, n in zip(starts, sizes, strict=True)]
        return [scope.node("Slice", [scope.value(x), scope.int64(starts), scope.int64(ends), axes])]
    at = scope.as_int64(begin, "begin")
    if scope.is_constant(size) and {*scope.integers(size, "size")} == {-1}:
        return [scope.node("Slice", [scope.value(x), at, scope.int64([_END] * rank), axes])]
    n = scope.as_int64(size, "size")
    behind = scope.node("Add", [at, n])
    rest = scope.node("Equal", [n, scope.int64([-1])])
    end = scope.node("Where", [rest, scope.int64([_END]), behind])
    return [scope.node("Slice", [scope.value(x), at, end, axes])]


def strided_slice(scope: Scope, operator: Operator, _: str) -> list[str]:
    x, begin, end, stride = operator.inputs
    options, rank = operator.options, scope.tensor(x).rank
    from_start, to_end, single = (options.get(f"{key}_mask", 0) for key in ("begin", "end", "shrink_axis"))
    steps = scope.integers(stride, "strides")
    n = len(steps)
    if n > rank or 0 in steps:
        scope.format_error(f"strides {steps} do not go with {rank} axes")
    axes = scope.int64(list(range(n)))
    fixed = scope.is_constant(begin) and scope.is_constant(end)
    if not fixed and (from_start or to_end or single):
        scope.unsupported("begin or end is computed and some of it is masked, which is not supported")
    if not fixed:
        at, behind = scope.as_int64(begin, "begin"), scope.as_int64(end, "end")
        return [scope.node("Slice", [scope.value(x), at, behind, axes, scope.int64(steps)])]
    starts, ends = scope.integers(begin, "begin"), scope.integers(end, "end")
    if len(starts) != n or len(ends) != n:
        scope.format_error(f"begin {starts}, end {ends} and strides {steps} differ in length")
    gone = [a for a in range(n) if single >> a & 1]
    for a in range(n):
        if a in gone:
            starts[a] = 0 if from_start >> a & 1 else starts[a]
            steps[a], ends[a] = 1, starts[a] + 1 if starts[a] != -1 else _END
            continue
        if from_start >> a & 1:
            starts[a] = 0 if steps[a] > 0 else _END
        if to_end >> a & 1:
            ends[a] = _END if steps[a] > 0 else -_END
    y = scope.value(x)
    if any((starts[a], ends[a], steps[a]) != (0, _END, 1) for a in range(n)):
        y = scope.node("Slice", [y, scope.int64(starts), scope.int64(ends), axes, scope.int64(steps)])
    return [scope.node("Squeeze", [y, scope.int64(gone)]) if gone else y]


def reverse(scope: Scope, operator: Operator, _: str) -> list[str]:
    x, axes = operator.inputs
    along = scope.integers(axes, "axes")
    n = len(along)
    around = [scope.int64(numbers) for numbers in ([-1] * n, [-_END] * n, along, [-1] * n)]
    return [scope.node("Slice", [scope.value(x), *around])]


def _pads(scope: Scope, operator: Operator) -> str:
    rank, pads = scope.tensor(operator.inputs[0]).rank, scope.integers(operator.inputs[1], "paddings")
    if len(pads) != 2 * rank or min(pads, default=0) < 0:
        scope.format_error(f"paddings {pads} do not go with {rank} axes")
    return scope.int64([*pads[::2], *pads[1::2]])


def pad(scope: Scope, operator: Operator, _: str) -> list[str]:
    value = [scope.value(i) for i in operator.inputs[2:]]
    return [scope.node("Pad", [scope.value(operator.inputs[0]), _pads(scope, operator), *value])]


def mirror_pad(scope: Scope, operator: Operator, _: str) -> list[str]:
    if operator.options.get("mode", 0) != 0:
        scope.unsupported(f"mode={operator.options['mode']} is not supported; expected 0, REFLECT")
    return [scope.node("Pad", [scope.value(operator.inputs[0]), _pads(scope, operator)], mode="reflect")]


def tile(scope: Scope, operator: Operator, _: str) -> list[str]:
    x, times = operator.inputs
    return [scope.node("Tile", [scope.value(x), scope.as_int64(times, "multiples")])]


def shape_(scope: Scope, operator: Operator, _: str) -> list[str]:
    return [_of_type(scope, scope.node("Shape", [scope.value(operator.inputs[0])]), operator.outputs[0])]


def fill(scope: Scope, operator: Operator, _: str) -> list[str]:
    sizes, value = operator.inputs
    return [scope.node("Expand", [scope.value(value), scope.as_int64(sizes, "dims")])]


def broadcast_to(scope: Scope, operator: Operator, _: str) -> list[str]:
    x, sizes = operator.inputs
    return [scope.node("Expand", [scope.value(x), scope.as_int64(sizes, "shape")])]


def zeros_like(scope: Scope, operator: Operator, _: str) -> list[str]:
    kind = scope.tensor(operator.inputs[0]).kind
    dtypes = {"FLOAT32": np.float32, "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_}
    sizes = scope.node("Shape", [scope.value(operator.inputs[0])])
    return [scope.node("Expand", [scope.constant(np.zeros((), dtypes.get(kind, np.float32))), sizes])]


def range_(scope: Scope, operator: Operator, _: str) -> list[str]:
    return [scope.node("Range", [scope.value(i) for i in operator.inputs])]


# -- along axes -------------------------------------------------------------------------------------------------------


def reduce(scope: Scope, operator: Operator, op: str) -> list[str]:
    x, axes = operator.inputs
    along = scope.integers(axes, "axes")
    if not along:
        return [scope.value(x)]
    keep = int(operator.options.get("keep_dims", False))
    return [scope.node(op, [scope.value(x), scope.int64(along)], keepdims=keep)]


def any_(scope: Scope, operator: Operator, op: str) -> list[str]:
    """Whether one or all of some booleans are true: the largest or smallest of 0 and 1."""
    x, axes = operator.inputs
    along, keep = scope.integers(axes, "axes"), int(operator.options.get("keep_dims", False))
    number = scope.node("Cast", [scope.value(x)], to=COMPUTED["FLOAT32"])
    return [scope.node("Cast", [scope.node(op, [number, scope.int64(along)], keepdims=keep)], to=COMPUTED["BOOL"])]


def arg(scope: Scope, operator: Operator, op: str) -> list[str]:
    x, axis = operator.inputs
    along = scope.integers(axis, "axis")
    if len(along) != 1:
        scope.format_error(f"axis {along}, expected one")
    place = scope.node(op, [scope.value(x)], axis=along[0], keepdims=0)
    return [_of_type(scope, place, operator.outputs[0])]


def cumsum(scope: Scope, operator: Operator, _: str) -> list[str]:
    x, axis = operator.inputs
    attrs = {key: int(operator.options.get(key, False)) for key in ("exclusive", "reverse")}
    return [scope.node("CumSum", [scope.value(x), scope.int64(scope.integers(axis, "axis")[0])], **attrs)]


def _of_type(scope: Scope, value: str, output: int) -> str:
    """An int64 in the type of the operator's output."""
    kind = scope.tensor(output).kind
    return value if kind == "INT64" else str(scope.node("Cast", [value], to=COMPUTED[kind]))
