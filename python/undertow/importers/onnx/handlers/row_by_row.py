# SPDX-License-Identifier: MIT
"""Ops that compute row by row, of tensors along whose time a frame has several rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..file.nodes import OnnxNode
from ..frames.context import Handler, Walk
from ..frames.provenance import Tensor
from ..frames.superframes import fold, rate_of, unfold
from ..traits import ACROSS, ALONG, CHANNELS, COLUMNS, EACH, traits
from . import matrix
from .reduce import given_axes


@dataclass
class _Time:
    """Time of all operands: so many axes from the end, so many rows of a frame."""

    from_end: int
    rate: int


def by_rows(walk: Walk, node: OnnxNode, operands: list[Any], apply: Handler) -> list[Any] | None:
    """Compute a node row by row; None where no operand has several rows in a frame, or the op cannot be told so."""
    rates = [rate_of(walk, o) for o in operands]
    times = {(len(o.shape) - f[0], f[1]) for o, f in zip(operands, rates, strict=True) if f is not None}
    if len(times) != 1:
        return None
    time = _Time(*times.pop())
    if node.op == "Gemm":
        return _gemm(walk, node, operands, time)
    across = traits(node.op).rows == ACROSS
    changed = _reduction(node, operands, time) if across else _changed(node, operands, time)
    if changed is None:
        return None
    if across:
        operands, rates = operands[:1], rates[:1]
    apart, heads = [], set()
    for operand, f in zip(operands, rates, strict=True):
        if f is None:
            with_rows = _widened(node, operand, time)
        else:
            unfolded = unfold(operand, *f)
            with_rows = None if unfolded is None else unfolded[0]
            heads.add(0 if unfolded is None else unfolded[1])
        if (with_rows is None and operand is not None) or len(heads) > 1:
            return None
        apart.append(with_rows)
    (head,) = heads
    results = apply(walk, changed, apart)
    return [fold(r, time.rate, head) if isinstance(r, Tensor) else r for r in results]


def _changed(node: OnnxNode, operands: list[Any], time: _Time) -> OnnxNode | None:
    """The node for operands whose time is two axes; None where it works along time, or is no op of rows."""
    rows = traits(node.op).rows
    if rows == EACH:
        return node
    rank = len(operands[0].shape)
    at = rank - time.from_end
    if rows == COLUMNS:
        return node if time.from_end >= 2 else None
    if rows == CHANNELS:
        return node if at >= 2 else None
    if "axes" in node.attrs:  # a layer norm that an exporter took apart
        return _over(node, [int(a) % rank for a in node.attrs["axes"]], at)
    if rows == ALONG:
        old = node.op in ("Softmax", "LogSoftmax") and node.opset < 13
        axis = int(node.attrs.get("axis", 1 if old else -1)) % rank
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
    if traits(node.op).rows not in (EACH, COLUMNS) or not isinstance(operand, (np.ndarray, Tensor)):
        return operand
    rank = len(operand.shape)
    at = rank - time.from_end
    if at < 0 or (traits(node.op).rows == COLUMNS and time.from_end == 2):
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


__all__ = ["by_rows"]
