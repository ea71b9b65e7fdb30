# SPDX-License-Identifier: MIT
"""A softmax over time, as attention pools a sequence: sum over t of softmax(score)_t x_t.

The shares themselves are known with the last timestep, but what they weigh can be summed up as frames come: with m the
largest score so far, sum_t exp(score_t - m) x_t over sum_t exp(score_t - m), where both sums are multiplied with
exp(m before - m after) whenever m grows. M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax",
2018. So a softmax along time is a `Shares` until a node sums its products up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..file.nodes import OnnxNode
from ..frames import emit, provenance
from ..frames.builder import Builder
from ..frames.context import Shares, Walk
from ..frames.movement import move
from ..frames.provenance import Tensor
from ..frames.time_windows import held_before
from ..traits import traits
from .cumulative import SumSoFar, along_time, read, rows_of_frames, write
from .elementwise import combine
from .reduce import given_axes

#: below every score; exp(this - a score) is 0
_NO_SCORE = np.float32(-1e30)


def apply(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """What a node makes of a softmax over time."""
    handle = _HANDLERS.get(node.op, _moved if traits(node.op).moves is not None else None)
    results = handle(walk, node, operands) if handle is not None else None
    if results is None:
        node.unsupported(
            "takes a softmax over time, which is known with the last timestep only; expected that frames are "
            "multiplied with it and summed over time"
        )
    return results


def _moved(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any] | None:
    if sum(isinstance(operand, Shares) for operand in operands) != 1 or not isinstance(operands[0], Shares):
        return None
    shares, rest = operands[0], operands[1:]
    scores = [moved for moved in move(walk, node, [shares.scores, *rest]) if isinstance(moved, Tensor)]
    if shares.values is None:
        results = [Shares(moved) for moved in scores]
    else:
        values = [moved for moved in move(walk, node, [shares.values, *rest]) if isinstance(moved, Tensor)]
        results = [Shares(*both) for both in zip(scores, values, strict=True)]
    return results if len(results) == len(node.outputs) else None


def _product(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any] | None:
    shares, other = operands if isinstance(operands[0], Shares) else operands[::-1]
    if isinstance(other, Shares):
        return None
    return [_times(walk, node, shares, other)]


def _times(walk: Walk, node: OnnxNode, shares: Shares, other: Any) -> Shares:
    if isinstance(other, np.ndarray):
        other = Tensor(walk.builder.constant(other), ("",) * other.ndim)
    values = other if shares.values is None else combine(walk, node, "mul", shares.values, other)
    return replace(shares, values=values)


def _sum(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any] | None:
    shares = operands[0]
    if shares.values is None:
        return None
    node.allow("axes", "keepdims", "noop_with_empty_axes")
    rank = max(len(shares.scores.shape), len(shares.values.shape))
    axes = given_axes(node, operands, rank)
    if axes is None:
        return [shares]
    return [_summed(walk, node, shares, axes, bool(node.attrs.get("keepdims", 1)))]


def _matrix_product(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any] | None:
    a, b = operands
    if isinstance(a, Shares) and isinstance(b, Shares):
        return None
    ranks = [len((operand.scores if isinstance(operand, Shares) else operand).shape) for operand in operands]
    lead = "abcdefgh"
    if min(ranks) < 2 or max(ranks) > len(lead):
        return None
    terms = [lead[max(ranks) - rank : max(ranks) - 2] + ends for rank, ends in zip(ranks, ("ik", "kj"), strict=True)]
    return _contraction(walk, node, operands, terms, lead[: max(ranks) - 2] + "ij")


def _einsum(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any] | None:
    left, arrow, out = str(node.attrs.get("equation", "")).replace(" ", "").partition("->")
    terms = left.split(",")
    if "." in left or not arrow or len(terms) != 2 or any(len(set(term)) != len(term) for term in (*terms, out)):
        return None
    return _contraction(walk, node, operands, terms, out)


def _contraction(walk: Walk, node: OnnxNode, operands: list[Any], terms: list[str], out: str) -> list[Any] | None:
    """A sum of products over the letters that are not in `out`."""
    mine = 0 if isinstance(operands[0], Shares) else 1
    shares, other = operands[mine], operands[1 - mine]
    if isinstance(other, Shares) or not set(out) <= set("".join(terms)):
        return None
    if isinstance(other, np.ndarray):
        other = Tensor(walk.builder.constant(other), ("",) * other.ndim)
    order = out + "".join(sorted(set("".join(terms)) - set(out)))
    spread = Shares(
        _spread(shares.scores, terms[mine], order),
        None if shares.values is None else _spread(shares.values, terms[mine], order),
    )
    weighed = _times(walk, node, spread, _spread(other, terms[1 - mine], order))
    return [_summed(walk, node, weighed, list(range(len(out), len(order))), False)]


def _spread(tensor: Tensor, term: str, order: str) -> Tensor:
    """A tensor with an axis for each letter of `order`, of size 1 where it has none."""
    have = [term.index(letter) for letter in order if letter in term]
    codes = tensor.codes.transpose(have)
    shape = [tensor.shape[term.index(letter)] if letter in term else 1 for letter in order]
    labels = tuple(tensor.labels[term.index(letter)] if letter in term else "" for letter in order)
    return Tensor(codes.reshape(shape), labels)


def _summed(walk: Walk, node: OnnxNode, shares: Shares, axes: list[int], keep: bool) -> Tensor:
    builder, both = walk.builder, [tensor for tensor in (shares.scores, shares.values) if tensor is not None]
    shape = np.broadcast_shapes(*(tensor.shape for tensor in both))
    builder.check_size(shape, node.where)
    scores, values = (_broadcast(tensor, shape) for tensor in both)
    times = [axis for axis in range(len(shape)) if along_time(walk, scores, axis)]
    if len(times) != 1 or times[0] not in axes:
        node.unsupported(f"sums up shares of timesteps along axes {axes} of {shape}, expected time among them")
    (time,) = times
    if any(not tensor.codes.take([0], time).any() for tensor in (scores, values)):
        node.unsupported(f"sums up along axis {time} of {shape}, which is time and begins with padding")
    walk.count(node, shape)
    _, score_rows, late = rows_of_frames(walk, node, scores, time)
    layout, value_rows, value_late = rows_of_frames(walk, node, values, time)
    if late != value_late or any(builder.is_final(row) for row in (*score_rows, *value_rows)):
        node.unsupported("weighs frames by shares of other timesteps")
    rest = [axis for axis in axes if axis != time]
    if any(axis in layout.outer for axis in rest):
        node.unsupported(f"works along axes {rest} of {shape}, of which one is the batch")
    pooled = _pooled(builder, score_rows, value_rows, late).reshape(value_rows[0].shape)
    if rest:
        pooled = np.expand_dims(emit.reduce(builder, "sum", pooled, rest), tuple(rest))
    return final(builder, values, time, rest, pooled, keep)


def _pooled(builder: Builder, score_rows: list[np.ndarray], value_rows: list[np.ndarray], late: int) -> np.ndarray:
    """The weighted mean of all rows so far; equal scores are looked at once."""
    rate = len(score_rows)
    scores, inverse = np.unique(np.stack(score_rows).reshape(rate, -1), axis=1, return_inverse=True)
    inverse = inverse.reshape(-1)
    weights, sums = _Weights(builder, scores.shape[1]), SumSoFar(builder, value_rows[0].size, "sum")
    builder.pooled.update(sums.states)
    for row, values in enumerate(value_rows):
        first = -((row - late) // rate)
        weight, decay = weights.add(scores[row], first)
        weighed = emit.elementwise(builder, "mul", [held_before(builder, values.reshape(-1), first), weight[inverse]])
        sums.add(weighed, decay[inverse])
    weights.write()
    sums.write()
    return emit.elementwise(builder, "div", [sums.total, weights.so_far.total[inverse]])


def log_sum_exp(builder: Builder, rows: list[np.ndarray], late: int) -> np.ndarray:
    """log(sum of exp(x)) of all rows so far: m + log(sum of exp(x - m))."""
    weights = _Weights(builder, rows[0].size)
    for row, elements in enumerate(rows):
        weights.add(elements, -((row - late) // len(rows)))
    weights.write()
    total = emit.activation(builder, weights.so_far.total, "log")
    return emit.elementwise(builder, "add", [weights.top, total])


class _Weights:
    """The largest of n scores so far, and the sum of exp(score - that) for each."""

    def __init__(self, builder: Builder, n: int) -> None:
        self.builder, self.so_far = builder, SumSoFar(builder, n, "weights")
        self.state = builder.graph.state(f"{builder.name('softmax')}.top", (n,), np.full(n, _NO_SCORE))
        self.top = read(builder, self.state)
        builder.pooled.update([self.state, *self.so_far.states])

    def add(self, score: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
        """(what a score counts, what those before it count of what they did). first: the frame that has the first."""
        builder = self.builder
        score = held_before(builder, score, first, float(_NO_SCORE))
        before, self.top = self.top, emit.elementwise(builder, "max", [self.top, score])
        weight, decay = (
            emit.activation(builder, emit.elementwise(builder, "sub", [of, self.top]), "exp") for of in (score, before)
        )
        self.so_far.add(weight, decay)
        return weight, decay

    def write(self) -> None:
        self.so_far.write()
        write(self.builder, self.state, self.top)


def _broadcast(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    labels = ("",) * (len(shape) - len(tensor.shape)) + tensor.labels
    return Tensor(np.broadcast_to(tensor.codes, shape), labels)


def final(builder: Builder, x: Tensor, time: int, axes: list[int], pooled: np.ndarray, keep: bool) -> Tensor:
    """What is known with the last timestep, of x whose `time` and `axes` it has summed up. pooled: elements in the
    shape of one row of x, with size 1 along the batch, time and axes.
    """
    items = x.items.take([0], time)
    for axis in axes:
        items = items.take([0], axis)
    codes = provenance.encode(-1, items, np.broadcast_to(builder.derive("last", pooled), items.shape))
    gone = {time, *axes}
    labels = tuple("" if a in gone else label for a, label in enumerate(x.labels))
    if keep:
        return Tensor(codes, labels)
    rest = [a for a in range(len(x.shape)) if a not in gone]
    return Tensor(codes.reshape([codes.shape[a] for a in rest]), tuple(labels[a] for a in rest))


def _cast(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any] | None:
    """Shares stay what they are where they become float32, which they are."""
    if node.op == "CastLike":
        x, like = operands
        if isinstance(like, Shares):
            return [x.astype(np.float32)] if isinstance(x, np.ndarray) else None
        return [x] if str(like.dtype) == "float32" else None
    return [operands[0]] if node.attrs.get("to") == walk.evaluator.onnx.TensorProto.FLOAT else None


def _chosen(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any] | None:
    """Where, by a condition that is known and the same everywhere: as a row that is masked as a whole is none."""
    condition, *values = operands
    if not isinstance(condition, np.ndarray) or condition.all() != condition.any():
        return None
    chosen = values[0 if condition.all() else 1]
    fits = isinstance(chosen, Shares) and chosen.values is None and condition.ndim <= len(chosen.scores.shape)
    return [chosen] if fits else None


_HANDLERS: dict[str, Callable[[Walk, OnnxNode, list[Any]], list[Any] | None]] = {
    "Cast": _cast,
    "CastLike": _cast,
    "Mul": _product,
    "Where": _chosen,
    "ReduceSum": _sum,
    "MatMul": _matrix_product,
    "Einsum": _einsum,
}

__all__ = ["apply", "final", "log_sum_exp"]
