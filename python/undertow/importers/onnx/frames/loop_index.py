# SPDX-License-Identifier: MIT
"""Inside of a loop over time: this timestep of a sequence, told by the number of the round; and that number itself,
which registers count.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from ..file.nodes import OnnxNode
from . import provenance
from .context import Iteration, Walk
from .integers import whole
from .provenance import Mixed, Tensor
from .settle import settle

#: dtypes that hold the number of a round, as far as a sequence may go
_HELD = ("int32", "int64", "float32")
_COMPARISONS = ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")


def take_step(walk: Walk, tensor: Tensor, axis: int, late: int = 0) -> Tensor:
    """The frame of "this timestep" of a tensor whose `axis` is the model's time, without so many of its first frames.

    Raises:
        Mixed: the axis is not all of time, in order.
    """
    n_steps = walk.builder.n_steps
    shape = [1] * len(tensor.shape)
    shape[axis] = -1
    if walk.builder.sequence and (
        tensor.shape[axis] != n_steps - late or (tensor.steps != np.arange(late, n_steps).reshape(shape)).any()
    ):
        raise Mixed(f"axis {axis} of shape {tensor.shape} is not the time of the model from its start to its end")
    elements, items = tensor.elements, tensor.items
    if (elements != elements.take([0], axis)).any():
        raise Mixed(f"axis {axis} of shape {tensor.shape} mixes timesteps with elements of a frame")
    table = provenance.encode(-1, items.take(0, axis), elements.take(0, axis))
    return Tensor(table, tuple(label for a, label in enumerate(tensor.labels) if a != axis), tensor.dtype)


def turned(walk: Walk, tensor: Tensor, axis: int) -> Tensor:
    """The same sequence backwards along `axis`."""
    return settle(walk.builder, Tensor(np.flip(tensor.codes, axis), tensor.labels, tensor.dtype))


def by_iteration(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """What a loop over time does with the number of its round: pick this timestep, or as many from the end."""
    first = operands[0]
    if isinstance(first, Iteration) and node.op in ("Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape"):
        known = [np.zeros(first.shape, first.dtype), *operands[1:]]
        if any(isinstance(o, Iteration) for o in known):
            _refuse(node)
        (result,) = walk.evaluator.run(node, known)
        if str(result.dtype) not in _HELD:
            _refuse(node)  # of a bool or a byte something else is left
        return [replace(first, shape=result.shape, dtype=str(result.dtype))]
    if node.op == "Neg":
        return [_times(first, -1, first.shape)]
    if node.op in ("Add", "Sub", "Mul") and (shifted := _shifted(node.op, operands)) is not None:
        return [shifted]
    if node.op == "Gather" and isinstance(first, Tensor) and isinstance(operands[1], Iteration):
        return [_pick(walk, node, first, operands[1], int(node.attrs.get("axis", 0)))]
    if node.op == "Slice" and isinstance(first, Tensor) and len(operands) >= 3:
        return [_slice(walk, node, first, operands)]
    return _counted(walk, node, operands)


def _counted(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """What a node gives that computes with the number of the round, which registers count: in float32, where it is the
    nearest to the file's; as an integer where it is compared, or divided for a remainder."""
    rounds = [o for o in operands if isinstance(o, Iteration)]
    if any(o.late or o.backwards for o in rounds):
        _refuse(node)
    if node.op == "Mod" and rounds == operands[:1] and isinstance(operands[1], np.ndarray):
        return [_remainder(walk, node, rounds[0], operands[1])]
    known = [o for o in operands if isinstance(o, np.ndarray)]
    if any(o.dtype != "float32" for o in rounds) and (
        node.op not in _COMPARISONS or any((np.abs(o) >= 2**24).any() for o in known)
    ):
        _refuse(node)
    numbers = list(operands)
    if node.op in _COMPARISONS:
        numbers = [o.astype(np.float32) if isinstance(o, np.ndarray) else o for o in operands]
    for i, one in enumerate(operands):
        if isinstance(one, Iteration):
            elements = walk.counters.counted(np.ones(1), np.full(1, one.offset))
            if elements is None:
                _refuse(node)
            numbers[i] = _number(elements, one.shape)
    return list(walk.apply(node, numbers))


def _remainder(walk: Walk, node: OnnxNode, number: Iteration, divisor: np.ndarray) -> Tensor:
    by = int(divisor.reshape(-1)[0]) if divisor.size == 1 and divisor.dtype.kind in "iu" else 0
    if not 0 < by < 2**24 or number.dtype == "float32" or (node.attrs.get("fmod", 0) and number.offset < 0):
        _refuse(node)
    shape = np.broadcast_shapes(number.shape, divisor.shape)
    return _number(walk.counters.remainder(by, number.offset % by), shape, whole(node, by - 1))


def _number(elements: np.ndarray, shape: tuple[int, ...], dtype: str = "float32") -> Tensor:
    return Tensor(np.broadcast_to(provenance.encode(-1, -1, elements.reshape(())), shape), ("",) * len(shape), dtype)


def _refuse(node: OnnxNode) -> NoReturn:
    node.unsupported(
        "computes with the number of a round of a loop over time; supported are picking this round's timestep, "
        "comparing with a constant, remainders, and what is computed of it in float32"
    )


def _times(iteration: Iteration, factor: int, shape: tuple[int, ...]) -> Iteration:
    """The number of the round, times 1 or -1."""
    backwards = iteration.backwards != (factor < 0)
    return replace(iteration, offset=iteration.offset * factor, shape=shape, backwards=backwards)


def _shifted(op: str, operands: list[Any]) -> Iteration | None:
    """A whole number more or less than the number of the round, or that backwards; None of anything else."""
    a, b = operands
    if isinstance(a, Iteration) == isinstance(b, Iteration):
        return None
    iteration, other = (a, b) if isinstance(a, Iteration) else (b, a)
    if not isinstance(other, np.ndarray) or other.size != 1 or other.dtype.kind not in "iuf":
        return None
    if not np.abs(number := other.reshape(())) < 2**31 or number != np.round(number):
        return None
    by, shape = int(number), np.broadcast_shapes(iteration.shape, other.shape)
    if op == "Mul":
        return _times(iteration, by, shape) if by in (1, -1) else None
    if op == "Sub" and iteration is b:
        iteration = _times(iteration, -1, shape)
    elif op == "Sub":
        by = -by
    return replace(iteration, offset=iteration.offset + by, shape=shape)


def _pick(walk: Walk, node: OnnxNode, data: Tensor, at: Iteration, axis: int) -> Tensor:
    axis %= len(data.shape)
    if at.backwards and at.late:
        node.unsupported("goes backwards in time through what a convolution without padding has cut frames off")
    first = walk.builder.n_steps - 1 if at.backwards else 0
    if at.offset not in ((first, -1) if at.backwards else (0,)):
        node.unsupported(
            f"picks the timestep {at.offset - first:+d} rounds away from its own; only its own can be told in a loop"
        )
    walk.builder.sequence = True
    try:
        frame = take_step(walk, turned(walk, data, axis) if at.backwards else data, axis, at.late)
    finally:
        walk.builder.sequence = False
    table, labels = frame.codes, list(frame.labels)
    for _ in at.shape:
        table = np.expand_dims(table, axis)
        labels.insert(axis, "T")
    return Tensor(table, tuple(labels), data.dtype)


def _slice(walk: Walk, node: OnnxNode, data: Tensor, operands: list[Any]) -> Tensor:
    starts, ends, axes, strides = [*operands[1:5], *[None] * (5 - len(operands))][:4]
    plain = all(o is None or (isinstance(o, np.ndarray) and o.size == 1) for o in (axes, strides))
    if not (isinstance(starts, Iteration) and isinstance(ends, Iteration) and plain):
        _refuse(node)
    if (
        ends.backwards != starts.backwards
        or ends.offset - starts.offset != 1
        or (strides is not None and int(strides.reshape(())) != 1)
    ):
        node.unsupported("takes more than one timestep in a round of a loop over time")
    axis = 0 if axes is None else int(axes.reshape(()))
    return _pick(walk, node, data, replace(starts, shape=(1,)), axis)
