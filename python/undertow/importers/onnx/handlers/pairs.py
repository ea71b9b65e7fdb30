# SPDX-License-Identifier: MIT
"""Attention of every timestep to timesteps before it: sum over j of softmax over j of (score_ij + mask_ij) times v_j.

The scores of all pairs of timesteps are a tensor that grows with the square of the length, but row i needs those
j alone that its mask leaves. So a product of queries and keys of all timesteps is `Pairs` until its softmax is known:
what is computed of it by then is put off. A mask that leaves the same lags i - j for every i makes a window of frames
of the keys, and of the values; a frame before the first one gets no weight, as in the file, where it is not there.

Which lags a mask leaves is never read off one length: it is computed again, by the file's own nodes, for many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..advice import Advice
from ..file import limits
from ..file.nodes import OnnxNode
from ..frames import emit
from ..frames.context import Pairs, Walk, Weighed
from ..frames.provenance import Layout, Mixed, Tensor
from ..retry import Retry
from ..simplify.attention import NO_SCORE
from ..traits import traits
from .cumulative import along_time, rows_of_frames

#: lengths for which masks are computed, beside those at the numbers that they are made with, and the largest of these
_LENGTHS, _LONGEST = (1, 2, 3, 5, 8, 33, 64), 4096
#: what a frame before the first one has added to its score, and scores of a file are above half of
_BEFORE = 1e30


def are_pairs(walk: Walk, a: Any, b: Any) -> bool:
    """Whether a product of a and b is one of every timestep with every timestep."""
    both = isinstance(a, Tensor) and isinstance(b, Tensor) and min(len(a.shape), len(b.shape)) > 1
    return both and along_time(walk, a, len(a.shape) - 2) and along_time(walk, b, len(b.shape) - 1)


def product(node: OnnxNode, a: Tensor, b: Tensor) -> Pairs:
    """Of queries a (..., T, d) and keys b (..., d, T)."""
    try:
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        lead = None
    if lead is None or a.shape[-1] != b.shape[-2]:
        node.shape_error(f"inputs of shapes {a.shape} and {b.shape} cannot be multiplied")
    labels = (*b.labels[:-2], b.labels[-1], b.labels[-2])
    keys = Tensor(np.swapaxes(b.codes, -1, -2), labels, b.dtype)
    return Pairs(node, a, keys, (*lead, a.shape[-2], b.shape[-1]))


def apply(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    """What a node makes of scores of pairs of timesteps, or of weights."""
    handle = _HANDLERS.get(node.op, _put_off if traits(node.op).alone else None)
    results = handle(walk, node, operands) if handle is not None else None
    if results is None:
        node.unsupported(
            "takes a product of every timestep with every timestep; expected that it is scaled, masked, goes through "
            "a softmax along its last axis, and weighs frames"
        )
    return results


def _put_off(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any] | None:
    """A node that computes each element of scores, with constants."""
    pairs = [o for o in operands if o is not None and not isinstance(o, np.ndarray)]
    if len(pairs) != 1 or not isinstance(pairs[0], Pairs) or any(node.outputs[1:]):
        return None
    (scores,) = pairs
    shape = np.broadcast_shapes(*(o.shape for o in operands if o is not None))
    if shape != scores.shape:
        return None
    return [replace(scores, steps=(*scores.steps, (node, tuple(operands))))]


def _shape(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow("start", "end")
    start, end = (node.attrs.get(key) for key in ("start", "end"))
    return [np.array(operands[0].shape[slice(start, end)], np.int64)]


def _same(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any] | None:
    to = node.attrs.get("to", walk.evaluator.onnx.TensorProto.FLOAT)
    return [operands[0]] if to == walk.evaluator.onnx.TensorProto.FLOAT else None


def _same_as(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any] | None:
    """CastLike: of float32 numbers, to those."""
    x, like = operands
    if str(like.dtype) != "float32":
        return None
    return [x.astype(np.float32) if isinstance(x, np.ndarray) else x]


def _is_nan(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any] | None:
    """Weights are numbers, as each timestep sees itself: what an exporter does where it sees none is not needed."""
    weighed = operands[0]
    return [replace(weighed, asked=True)] if isinstance(weighed, Weighed) else None


def _where(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any] | None:
    condition, there, otherwise = operands
    if isinstance(condition, np.ndarray) and isinstance(there if condition.all() else otherwise, Weighed):
        # rows that see nothing, of which there are none: `other_lengths` asks whether that is so for others
        return [there if condition.all() else otherwise] if condition.all() == condition.any() else None
    if isinstance(condition, Weighed):
        return [otherwise] if condition.asked and isinstance(otherwise, Weighed) and not otherwise.asked else None
    return _put_off(walk, node, operands) if isinstance(condition, np.ndarray) else None


def _softmax(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any] | None:
    node.allow("axis")
    (scores,) = operands
    rank = len(scores.shape)
    axis = int(node.attrs.get("axis", 1 if node.opset < 13 else -1)) % rank
    if not isinstance(scores, Pairs) or axis != rank - 1:
        return None
    return [_Weights(walk, node, scores).weighed()]


def _matrix_product(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any] | None:
    weighed, values = operands[:2]
    if not isinstance(weighed, Weighed) or weighed.asked or not isinstance(values, Tensor) or len(values.shape) < 2:
        return None
    if not along_time(walk, values, len(values.shape) - 2):
        return None
    if values.shape[-2] != weighed.shape[-1]:
        node.shape_error(f"inputs of shapes {weighed.shape} and {values.shape} cannot be multiplied")
    builder, shares = walk.builder, weighed.shares
    rows = _window(walk, node, values, weighed.lags)
    lead = np.broadcast_shapes(shares.shape[:-2], rows.shape[:-2])
    if lead != shares.shape[:-2]:
        node.unsupported(f"weighs values of shape {values.shape} with weights of shape {weighed.shape}")
    n = rows.shape[-1]
    means = emit.matmul(builder, shares, np.broadcast_to(rows, (*lead, *rows.shape[-2:])))
    layout = weighed.layout
    shape = (*layout.shape[:-1], n)
    result = Layout(shape, layout.outer, layout.origin, layout.labels).tensor(means)
    return [Tensor(result.codes.reshape((*weighed.shape[:-1], n)), _joined(result, weighed.shape), result.dtype)]


def _joined(result: Tensor, shape: tuple[int, ...]) -> tuple[str, ...]:
    """The labels of a result in the rank of `shape`, which may have joined its first two axes."""
    return result.labels if len(result.shape) == len(shape) else ("", *result.labels[2:])


def _einsum(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any] | None:
    """Weights (..., i, j) and values (..., j, d), in any order of the values' axes."""
    weighed, values = operands[:2]
    left, _, out = str(node.attrs.get("equation", "")).replace(" ", "").partition("->")
    terms = left.split(",")
    if not isinstance(weighed, Weighed):
        weighed, values, terms = values, weighed, terms[::-1]
    if not isinstance(weighed, Weighed) or not isinstance(values, Tensor) or len(terms) != 2 or "." in left:
        return None
    w, v = terms
    new = [c for c in v if c not in w]
    if any(len(set(t)) != len(t) for t in (w, v, out)) or len(new) != 1 or w[-1] in out or w[-1] not in v:
        return None
    ordered = [c for c in w[:-2] if c in v] + [w[-1], new[0]]
    if sorted(ordered) != sorted(v) or sorted(out) != sorted([*w[:-1], new[0]]) or len(ordered) != len(w):
        return None
    turned = _turned(values, [v.index(c) for c in ordered])
    results = _matrix_product(walk, node, [weighed, turned])
    have = [*w[:-1], new[0]]
    return None if results is None else [_turned(results[0], [have.index(c) for c in out])]


def einsum_pairs(walk: Walk, node: OnnxNode, a: Any, b: Any) -> Pairs | None:
    """The scores of an Einsum of queries and keys, where it is one of every timestep with every timestep."""
    left, arrow, out = str(node.attrs.get("equation", "")).replace(" ", "").partition("->")
    terms = left.split(",")
    tensors = isinstance(a, Tensor) and isinstance(b, Tensor)
    if not tensors or not arrow or "." in left or len(terms) != 2 or len(out) < 2:
        return None
    i, j, lead = out[-2], out[-1], out[:-2]
    if i not in terms[0]:
        a, b, terms = b, a, terms[::-1]
    p, q = terms
    met = [c for c in p if c in q and c not in out]
    whole = [set(p) == {*lead, i, *met}, set(q) == {*lead, j, *met}, len(met) == 1, len(p) == len(q) == len(out)]
    if not all(whole) or any(len(set(t)) != len(t) for t in (p, q, out)):
        return None
    queries = _turned(a, [p.index(c) for c in (*lead, i, *met)])
    keys = _turned(b, [q.index(c) for c in (*lead, *met, j)])
    return product(node, queries, keys) if are_pairs(walk, queries, keys) else None


def _turned(tensor: Tensor, order: list[int]) -> Tensor:
    return Tensor(tensor.codes.transpose(order), tuple(tensor.labels[a] for a in order), tensor.dtype)


# -- frames of a window ----------------------------------------------------------------------------------------------


def _apart(walk: Walk, x: Tensor) -> Tensor:
    """A tensor whose first axis, where it joins the batch with heads, is taken apart."""
    n = walk.builder.n_items
    if n < 2 or len(x.shape) != 3 or x.shape[0] <= n or x.shape[0] % n:
        return x
    items = x.items[:, 0, 0].reshape(n, -1)
    if (items != np.arange(n)[:, None]).any():
        return x
    return Tensor(x.codes.reshape(n, -1, *x.shape[1:]), ("", *x.labels), x.dtype)


def _rows(walk: Walk, node: OnnxNode, x: Tensor) -> tuple[Layout, np.ndarray]:
    """The layout of frames of (..., T, d), and the elements of one, of size 1 along time and the batch."""
    if x.dtype != "float32":
        node.unsupported(f"attends to frames of dtype {x.dtype}, expected float32")
    time = len(x.shape) - 2
    layout, rows, late = rows_of_frames(walk, node, x, time)
    if len(rows) > 1 or late:
        node.unsupported(
            f"attends along axis {time} of {x.shape}, which is time, of which a frame has {len(rows)} and the first "
            f"{late} are missing; expected one each"
        )
    if walk.builder.is_final(rows[0]):
        node.unsupported(f"attends along axis {time} of {x.shape}, some of which is known at the end alone")
    return layout, rows[0]


def _window(walk: Walk, node: OnnxNode, x: Tensor, lags: np.ndarray) -> np.ndarray:
    """The elements of the frames `lags` before each of (..., T, d): (..., lags, d)."""
    _, row = _rows(walk, node, _apart(walk, x))
    return _of_frames(walk, node, row, lags)


def _of_frames(walk: Walk, node: OnnxNode, row: np.ndarray, lags: np.ndarray) -> np.ndarray:
    builder = walk.builder
    unique, inverse = np.unique(row.ravel(), return_inverse=True)
    if lags.size > limits.MAX_TAPS or int(np.abs(lags).max()) * unique.size > limits.MAX_WINDOW_ELEMENTS:
        node.unsupported(
            f"attends to {lags.size} timesteps of {unique.size} numbers: beyond {limits.MAX_WINDOW_ELEMENTS} elements"
        )
    walk.count(node, (lags.size, *row.shape))
    if lags.tolist() == [0]:
        frames = unique[None]
    else:
        taps = tuple(-lag for lag in lags.tolist())
        frames = builder.elements(builder.add("window", [builder.value(unique)], attrs={"taps": taps}))
    table = frames.reshape(lags.size, -1)[:, inverse.reshape(-1)].reshape(lags.size, *row.shape)
    return np.moveaxis(table, 0, -2)[..., 0, :, :]


# -- from scores to weights -------------------------------------------------------------------------------------------


class _Weights:
    """Makes the weights of one attention."""

    def __init__(self, walk: Walk, node: OnnxNode, scores: Pairs) -> None:
        self.walk, self.node, self.scores = walk, node, scores
        #: whether all earlier timesteps are weighed
        self.endless = False

    def weighed(self) -> Weighed:
        walk, node, scores = self.walk, self.node, self.scores
        lags = self._lags()
        query = _apart(walk, scores.query)
        layout, queries = _rows(walk, scores.node, query)
        keys = _window(walk, scores.node, scores.keys, lags)
        lead = np.broadcast_shapes(queries.shape[:-2], keys.shape[:-2])
        if lead != queries.shape[:-2]:
            scores.node.unsupported(f"multiplies queries of shape {query.shape} with keys of {scores.keys.shape}")
        columns = np.broadcast_to(np.swapaxes(keys, -1, -2), (*lead, keys.shape[-1], lags.size))
        walk.count(node, (*lead, 1, lags.size))
        products = emit.matmul(walk.builder, queries, columns)
        own = Layout((*query.shape[:-1], lags.size), layout.outer, layout.origin, (*layout.labels[:-1], ""))
        computed = own.tensor(products)
        for step, operands in scores.steps:
            computed = self._again(step, operands, computed, lags)
        elements = computed.split()[1].reshape(products.shape)
        elements = self._begun(elements, lags)
        shares = emit.rowwise(walk.builder, "softmax", elements)
        return Weighed(scores.shape, own, shares, lags)

    def _begun(self, elements: np.ndarray, lags: np.ndarray) -> np.ndarray:
        """Scores of which those of frames that the sequence does not have get no weight."""
        builder = self.walk.builder
        if self.endless:
            number, nothing = self.walk.counters.bounded(self.walk.program.max_frames or 1)
            distances = builder.constant(lags.astype(np.float32))
            there = emit.elementwise(builder, "greater_equal", [np.broadcast_to(number, lags.shape), distances])
            bias = emit.affine(builder, there, _BEFORE, -_BEFORE)
            bias = emit.elementwise(builder, "add", [bias, np.broadcast_to(nothing, lags.shape)])
            return emit.elementwise(builder, "add", [elements, np.broadcast_to(bias, elements.shape)])
        if lags.tolist() == [0]:
            return elements
        one = builder.constant(np.ones(1, np.float32))
        there = _of_frames(self.walk, self.node, one.reshape(1, 1), lags).reshape(-1)
        bias = emit.affine(builder, there, _BEFORE, -_BEFORE)
        return emit.elementwise(builder, "add", [elements, np.broadcast_to(bias, elements.shape)])

    def _again(self, step: OnnxNode, operands: tuple[Any, ...], computed: Tensor, lags: np.ndarray) -> Tensor:
        """A step that was put off, on the scores of a window."""
        given: list[Any] = []
        for slot, operand in enumerate(operands):
            if isinstance(operand, Pairs):
                operand = computed
            elif isinstance(operand, np.ndarray) and not _is_one(operand):
                operand = self._of_lags(step, slot, operand).at(lags)
            given.append(operand)
        if step.op == "Where" and given[0].all() == given[0].any():
            chosen = given[1 if given[0].all() else 2]
            if chosen is computed:
                return computed
        if step.op in ("Add", "Sub") and isinstance(given[1], np.ndarray) and not given[1].any():
            return computed
        if step.op == "Add" and isinstance(given[0], np.ndarray) and not given[0].any():
            return computed
        (result,) = self.walk.apply(step, given)
        if not isinstance(result, Tensor) or result.shape != computed.shape:
            step.unsupported("takes a product of every timestep with every timestep")
        return result

    # -- which lags ---------------------------------------------------------------------------------------------------

    def _lags(self) -> np.ndarray:
        """The lags i - j that masks leave, the longest first.

        Raises:
            Mixed: there are no masks. Retry: they leave all earlier timesteps, of which nobody says how many there are.
            UnsupportedError: they leave other lags in each row, or all later timesteps.
        """
        left = None
        masks = list(self._masks())
        if not masks:
            raise Mixed(
                "every timestep is weighed for every timestep, later ones included, for there is no mask that leaves "
                "earlier ones"
            )
        length = min(mask.length for mask in masks)
        for mask in masks:
            mine = mask.low[mask.length - length : mask.length + length - 1]
            left = ~mine if left is None else left & ~mine
        assert left is not None
        lags = np.flatnonzero(left) - (length - 1)
        if 0 not in lags:
            self.node.unsupported("masks each timestep for itself, which leaves nothing for the first")
        least, most = int(lags[0]), int(lags[-1])
        if least == 1 - length:
            self.node.unsupported("weighs all later timesteps for each timestep, which a stream has not seen")
        if most < length - 1:
            return lags[::-1]
        bound = self.walk.program.max_frames
        if bound is None:
            raise Retry(
                f"{self.node.where}: weighs all earlier timesteps for each timestep, which has no bound",
                [[Advice("where sequences have at most N frames, load", max_frames="N")]],
            )
        if least < 0:
            self.node.unsupported("weighs all earlier timesteps, and later ones, for each timestep")
        if length < bound:
            self.node.unsupported(f"has a mask of at most {length} timesteps, max_frames is {bound}")
        self.endless = True
        return lags[lags < bound][::-1]

    def _masks(self) -> Iterator[_OfLags]:
        """What each step that masks adds or puts, as numbers below `NO_SCORE` where it masks."""
        masked = False
        for step, operands in self.scores.steps:
            low = self._low(step, operands)
            if low is not None:
                masked = True
                yield low
            elif masked and step.op not in ("Add", "Cast", "Identity"):
                step.unsupported("stands between a mask and the softmax; expected nothing there")

    def _low(self, step: OnnxNode, operands: tuple[Any, ...]) -> _OfLags | None:
        """Where a step masks, if it does."""
        if step.op == "Add":
            for slot, operand in enumerate(operands):
                if isinstance(operand, np.ndarray) and (operand <= NO_SCORE).any():
                    numbers = self._of_lags(step, slot, operand)
                    return replace(numbers, low=_all_alike(step, numbers.numbers <= NO_SCORE))
        if step.op == "Where":
            condition = self._of_lags(step, 0, operands[0])
            mine = next(slot for slot in (1, 2) if isinstance(operands[slot], Pairs))
            other = operands[3 - mine]
            chosen = _all_alike(step, condition.numbers.astype(bool) == (mine == 2))
            if not (other <= NO_SCORE).all():
                step.unsupported(
                    f"puts {float(other.max()):g} in place of scores; expected at most {NO_SCORE:g}, which no weight "
                    "is left of"
                )
            return replace(condition, low=chosen)
        return None

    def _of_lags(self, step: OnnxNode, slot: int, array: np.ndarray) -> _OfLags:
        """A constant as a function of the lag: as the file's nodes compute it, for many lengths.

        Raises:
            UnsupportedError: it is none.
        """
        walk = self.walk
        longest: np.ndarray | None = None
        ended = False
        own = walk.builder.n_steps
        near = {n + i for n in walk.made_with(step.inputs[slot]) for i in (-1, 0, 1, 2)}
        if max(near, default=0) > _LONGEST:
            step.unsupported(f"has a constant that is made with the number {max(near) - 2}, at most {_LONGEST - 2}")
        for length in sorted(n for n in {own, own + 1, own + 2, *_LENGTHS, *near} if n > 0):
            here = array if length == own else walk.longer(step.inputs[slot], length - own)
            if here is None or here.shape[-2:] != (length, length) or here.ndim != array.ndim:
                if longest is not None and length > own + 2:
                    ended = True
                    break  # a table that stands in the file goes no further
                step.unsupported(f"has a constant of shape {array.shape}, which is not known for other lengths")
            if not np.array_equal(here[..., 1:, 1:], here[..., :-1, :-1], equal_nan=here.dtype.kind == "f"):
                step.unsupported(
                    f"has a constant of shape {array.shape} beside scores of timesteps that is no function of how "
                    "far they are apart"
                )
            of_lag = _by_lag(here)
            if longest is not None:
                shorter = (longest.shape[-1] + 1) // 2
                inner = of_lag[..., length - shorter : length + shorter - 1]
                if not np.array_equal(inner, longest, equal_nan=inner.dtype.kind == "f"):
                    step.unsupported(f"has a constant beside scores of timesteps that is another one for {length}")
            longest = of_lag
        assert longest is not None
        of_lags, bound = _OfLags(longest), walk.program.max_frames or 0
        if ended or of_lags.length >= bound:
            return of_lags
        if of_lags.goes_on(max(near, default=1)):
            more = [(0, 0)] * (longest.ndim - 1) + [(bound - of_lags.length,) * 2]
            return _OfLags(np.pad(longest, more, mode="edge"))
        if bound > _LONGEST:
            step.unsupported(f"has a constant that differs between all lags; expected max_frames of {_LONGEST} at most")
        here = walk.longer(step.inputs[slot], bound - own)
        known = here is not None and here.shape[-2:] == (bound, bound)
        return _OfLags(_by_lag(here)) if here is not None and known else of_lags


@dataclass
class _OfLags:
    """A constant as a function of the lag: numbers (..., 2 length - 1), of lags 1 - length to length - 1. low: the same
    of a mask, where it leaves nothing."""

    numbers: np.ndarray
    low: Any = None

    @property
    def length(self) -> int:
        return (self.numbers.shape[-1] + 1) // 2

    def goes_on(self, first: int) -> bool:
        """Whether the numbers of all lags from `first` on are one, and those of later timesteps."""
        behind, ahead = self.numbers[..., self.length - 1 + first :], self.numbers[..., : self.length - first]
        enough = min(behind.shape[-1], ahead.shape[-1]) > 8
        return enough and all(np.array_equal(a, np.broadcast_to(a[..., :1], a.shape)) for a in (behind, ahead))

    def at(self, lags: np.ndarray) -> np.ndarray:
        """Of some lags: (..., 1, lags)."""
        return self.numbers[..., None, lags + self.length - 1]


def _by_lag(array: np.ndarray) -> np.ndarray:
    """(..., T, T), a function of row - column, as that: (..., 2 T - 1), the latest columns first."""
    return np.concatenate([array[..., 0, :0:-1], array[..., :, 0]], axis=-1)


def _is_one(array: np.ndarray) -> bool:
    """Whether a constant is the same for all pairs of timesteps."""
    return all(n == 1 for n in array.shape[-2:])


def _all_alike(step: OnnxNode, low: np.ndarray) -> np.ndarray:
    """A mask (..., n) that is the same for all heads and items: (n,)."""
    flat = low.reshape(-1, low.shape[-1])
    if (flat != flat[:1]).any():
        step.unsupported("masks timesteps for some heads, or items of the batch, and not for others")
    return np.asarray(flat[0])


_HANDLERS: dict[str, Callable[[Walk, OnnxNode, list[Any]], list[Any] | None]] = {
    "Identity": _same,
    "Cast": _same,
    "CastLike": _same_as,
    "Shape": _shape,
    "IsNaN": _is_nan,
    "Where": _where,
    "Softmax": _softmax,
    "MatMul": _matrix_product,
    "Einsum": _einsum,
}

__all__ = ["apply", "are_pairs", "einsum_pairs", "product"]
