# SPDX-License-Identifier: MIT
"""Several timesteps in one frame of the Graph: tensors along whose axis of time every frame has `rate` rows.

Where strides divide time, one frame of the Graph is a super-frame of S = `Reading.frames` timesteps of the inputs:
timestep t is row t mod S of frame t // S. What was strided by s has S / s rows a frame. Movement ops need not know; a
convolution or a cell along time looks for the rate itself; for an op that computes row by row, the axis of time is
taken apart into frames and rows, and the rows are an axis of the frame like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

import numpy as np

from ...errors import UnsupportedError
from . import codes, matrix
from .codes import Layout, Tensor
from .nodes import OnnxNode
from .reduce import REDUCTIONS, given_axes
from .walk import Walk

#: timesteps in one frame, at most
MAX_FRAMES = 4096


class NeedsRate(UnsupportedError):
    """A node needs `factor` times as many timesteps in a frame."""

    def __init__(self, message: str, factor: int) -> None:
        super().__init__(message)
        self.factor = factor


def divided(node: OnnxNode, rate: int, stride: int, axis: int, shape: tuple[int, ...]) -> int:
    """Rows in a frame after a stride.

    Raises:
        NeedsRate: the stride does not divide the rows.
    """
    if rate % stride:
        raise NeedsRate(
            f"{node.where}: has a stride of {stride} along time (axis {axis} of {shape}), expected 1 "
            "where the model is not read in frames of several timesteps, which needs an axis of time of open size",
            stride // gcd(rate, stride),
        )
    return rate // stride


def rate_of(walk: Walk, tensor: Any) -> tuple[int, int] | None:
    """(axis of time, rows of a frame along it), if these are more than one."""
    if not walk.has_rates or not isinstance(tensor, Tensor) or tensor.codes.size == 0:
        return None
    steps = tensor.steps
    varying = [a for a in range(steps.ndim) if (steps != steps.take([0], a)).any()]
    if len(varying) != 1:
        return None
    axis = varying[0]
    origin = (tensor.codes - tensor.elements).swapaxes(0, axis)
    row = origin.reshape(len(origin), -1)[:, 0]
    row = row[row != 0]  # without the padding
    changes = np.flatnonzero(np.diff(row))
    rate = int(np.diff(changes, prepend=-1, append=row.size - 1).max())  # frames at the ends may not be complete
    return (axis, rate) if rate > 1 else None


def stretch(walk: Walk, node: OnnxNode, operands: list[Any]) -> int:
    """How many times as many rows a frame needs for a slice that takes every k-th timestep, or a reshape that makes one
    of k: 1 where it is neither, or they are there."""
    data = operands[0]
    if not walk.builder.sequence or walk.reading.fixed_time or not isinstance(data, Tensor) or not data.codes.size:
        return 1
    steps = data.steps
    varying = [a for a in range(steps.ndim) if (steps != steps.take([0], a)).any()]
    if len(varying) != 1:
        return 1
    found = rate_of(walk, data)
    rate = 1 if found is None else found[1]
    k = 1
    if node.op == "Slice" and len(operands) > 4 and all(isinstance(o, np.ndarray) for o in operands[3:5]):
        axes = operands[3].ravel() % steps.ndim
        k = max((abs(int(s)) for a, s in zip(axes, operands[4].ravel(), strict=True) if a == varying[0]), default=1)
    elif node.op == "Reshape" and isinstance(operands[1], np.ndarray) and operands[1].size:
        last, wanted = data.shape[-1], int(operands[1].ravel()[-1])
        k = wanted // last if varying[0] != steps.ndim - 1 and wanted > last and wanted % last == 0 else 1
    return k // gcd(rate, k)


def unfold(tensor: Tensor, axis: int, rate: int) -> tuple[Tensor, int] | None:
    """Time of several rows in a frame as two axes (frames, rows), and how many rows the first frame lacks, which are
    filled in as those of the second are; None where a frame in between, or the last one, is not complete."""
    table, shape = tensor.codes, tensor.shape
    head = -shape[axis] % rate
    if head:
        if shape[axis] < 2 * rate:
            return None
        index = np.arange(rate - head, rate)
        first = table.take([0], axis)
        filled = (first - (first & codes._ELEMENT)) | (table.take(index, axis) & codes._ELEMENT)
        table = np.concatenate([filled, table], axis)
    made = table.reshape(*shape[:axis], table.shape[axis] // rate, rate, *shape[axis + 1 :])
    origin = made - (made & codes._ELEMENT)
    if (origin != origin.take([0], axis + 1)).any():
        return None
    return Tensor(made, (*tensor.labels[: axis + 1], "", *tensor.labels[axis + 1 :]), tensor.dtype), head


def fold(tensor: Tensor, rate: int, head: int = 0) -> Tensor:
    """The reverse, for the axis of time of what was computed: the rows of a frame follow it."""
    steps, shape = tensor.steps, tensor.shape
    axis = next(a for a in range(steps.ndim) if (steps != steps.take([0], a)).any())
    if shape[axis + 1] != rate:
        raise codes.Mixed(f"a tensor of shape {shape} has lost the {rate} rows of a frame")
    made = tensor.codes.reshape(*shape[:axis], shape[axis] * rate, *shape[axis + 2 :])
    made = made[(slice(None),) * axis + (slice(head, None),)]
    return Tensor(made, (*tensor.labels[: axis + 1], *tensor.labels[axis + 2 :]), tensor.dtype)


def rows(tensor: Tensor, axis: int, rate: int, whole: bool = True) -> tuple[Layout, list[np.ndarray]]:
    """The layout of one row of every frame, and the elements of each row. whole: no frame may lack rows; otherwise the
    first one may lack its first rows.

    Raises:
        Mixed: there are no such rows.
    """
    found = unfold(tensor, axis, rate)
    if found is None or (whole and found[1]):
        raise codes.Mixed(
            f"axis {axis} of shape {tensor.shape} is time with {rate} rows in a frame, but frames at its ends are not "
            "complete (a convolution along time has too little or too much padding)"
        )
    parts = [codes.split(found[0].codes.take(i, axis + 1), tensor.labels) for i in range(rate)]
    return parts[0][0], [elements for _, elements in parts]


# -- ops that compute row by row ------------------------------------------------------------------------------------

#: ops of elements, whose operands are broadcast
_BROADCAST = frozenset(
    """Abs Add And Cast CastLike Ceil Celu Clip Cos Div Dropout Elu Equal Erf Exp Floor Gelu Greater
    GreaterOrEqual HardSigmoid HardSwish LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mul Neg Not Or PRelu Pow
    Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum Swish Tanh ThresholdedRelu
    Where Xor""".split()  # noqa: SIM905
)
#: op -> its attribute axis where the node has none: from the end
_ALONG = {"LayerNormalization": -1, "RMSNormalization": -1, "LpNormalization": -1, "Softmax": -1, "LogSoftmax": -1}

Apply = Callable[[Walk, OnnxNode, list[Any]], list[Any]]


@dataclass
class _Time:
    """Time of all operands: so many axes from the end, so many rows of a frame."""

    from_end: int
    rate: int


def by_rows(walk: Walk, node: OnnxNode, operands: list[Any], apply: Apply) -> list[Any] | None:
    """Compute a node row by row; None where no operand has several rows in a frame, or the op cannot be told so."""
    found = [rate_of(walk, o) for o in operands]
    times = {(len(o.shape) - f[0], f[1]) for o, f in zip(operands, found, strict=True) if f is not None}
    if len(times) != 1:
        return None
    time = _Time(*times.pop())
    if node.op == "Gemm":
        return _gemm(walk, node, operands, time)
    changed = _reduction(node, operands, time) if node.op in REDUCTIONS else _changed(node, operands, time)
    if changed is None:
        return None
    if node.op in REDUCTIONS:
        operands, found = operands[:1], found[:1]
    apart, heads = [], set()
    for operand, f in zip(operands, found, strict=True):
        if f is None:
            made = _widened(node, operand, time)
        else:
            unfolded = unfold(operand, *f)
            made = None if unfolded is None else unfolded[0]
            heads.add(0 if unfolded is None else unfolded[1])
        if (made is None and operand is not None) or len(heads) > 1:
            return None
        apart.append(made)
    (head,) = heads
    results = apply(walk, changed, apart)
    return [fold(r, time.rate, head) if isinstance(r, Tensor) else r for r in results]


def _changed(node: OnnxNode, operands: list[Any], time: _Time) -> OnnxNode | None:
    """The node for operands whose time is two axes; None where it works along time, or is no op of rows."""
    if node.op in _BROADCAST:
        return node
    rank = len(operands[0].shape)
    at = rank - time.from_end
    if node.op == "MatMul":
        return node if time.from_end >= 2 else None
    if node.op == "BatchNormalization":
        return node if at >= 2 else None
    if "axes" in node.attrs:  # a layer norm that an exporter took apart
        return _over(node, [int(a) % rank for a in node.attrs["axes"]], at)
    if node.op in _ALONG:
        old = node.op in ("Softmax", "LogSoftmax") and node.opset < 13
        axis = int(node.attrs.get("axis", 1 if old else _ALONG[node.op])) % rank
        if axis <= at and (axis == at or node.op not in ("Softmax", "LogSoftmax", "LpNormalization") or old):
            return None
        return replace(node, attrs={**node.attrs, "axis": axis + (axis > at)})
    return None


def _over(node: OnnxNode, axes: Sequence[int], at: int) -> OnnxNode | None:
    """The node with attribute axes, time at axis `at` being two."""
    if at in axes:
        return None
    return replace(node, attrs={**node.attrs, "axes": [a + (a > at) for a in axes]})


def _reduction(node: OnnxNode, operands: list[Any], time: _Time) -> OnnxNode | None:
    rank = len(operands[0].shape)
    axes = given_axes(node, operands, rank)
    return None if axes is None else _over(node, axes, rank - time.from_end)


def _widened(node: OnnxNode, operand: Any, time: _Time) -> Any:
    """An operand that every row meets alike, for operands whose time is two axes; None where they differ."""
    if node.op not in (*_BROADCAST, "MatMul") or not isinstance(operand, (np.ndarray, Tensor)):
        return operand
    rank = len(operand.shape)
    at = rank - time.from_end
    if at < 0 or (node.op == "MatMul" and time.from_end == 2):
        return operand
    if operand.shape[at] != 1:
        return None
    shape = (*operand.shape[:at], 1, *operand.shape[at:])
    if isinstance(operand, np.ndarray):
        return operand.reshape(shape)
    labels = (*operand.labels[: at + 1], "", *operand.labels[at + 1 :])
    return Tensor(operand.codes.reshape(shape), labels, operand.dtype)


def _gemm(walk: Walk, node: OnnxNode, operands: list[Any], time: _Time) -> list[Any] | None:
    """A @ B + C with rows of A in time, as a matrix product of three axes."""
    a, b = operands[:2]
    c = operands[2] if len(operands) > 2 else None
    if time.from_end != 2 or node.attrs.get("transA") or not isinstance(a, Tensor) or not isinstance(b, np.ndarray):
        return None
    apart = unfold(a, 0, time.rate)
    if apart is None or not (c is None or (isinstance(c, np.ndarray) and (c.ndim < 2 or c.shape[0] == 1))):
        return None
    node.allow("alpha", "beta", "transA", "transB")
    W = matrix.float_constant(node, b, "B")
    W = (W if node.attrs.get("transB") else W.T) * np.float32(node.attrs.get("alpha", 1.0))
    if c is not None:
        c = matrix.float_constant(node, c, "C").reshape(-1) * np.float32(node.attrs.get("beta", 1.0))
        if c.size not in (1, len(W)):
            node.shape_error(f"C has {c.size} elements, expected {len(W)} or one")
        c = np.broadcast_to(c, (len(W),))
    return [fold(matrix.dense(walk, node, apart[0], W, c), time.rate, apart[1])]


__all__ = ["MAX_FRAMES", "NeedsRate", "by_rows", "divided", "fold", "rate_of", "rows", "unfold"]
