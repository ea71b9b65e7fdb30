# SPDX-License-Identifier: MIT
"""Weights in fewer bits: what number stands for what (csrc/FORMAT.md, "Precisions"). Layouts: `undertow.tow.packing`.

A Graph keeps its weights as float32 and says in `Node.precisions` how a file stores them. Reading a file gives the
numbers that it stores, and storing those again gives the same file: every function here finds its own results again.

A weight has shape (..., K); its last axis is the one that a product sums over, or the columns of a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import NoReturn

import numpy as np

from ..errors import ShapeError, UnsupportedError

#: name -> dtype code of a file, from the most exact to the smallest
CODES = {"float32": 0, "float16": 2, "int16": 8, "bfloat16": 3, "int8": 4, "int4": 5}
#: the same for matrices that a file stores in blocks (`undertow.tow.sparse`): numbers of float32 and int8
SPARSE_CODES = {"sparse float32": 6, "sparse int8": 7}
#: the same of matrices of cells, which compute in integers (`undertow.ir.fixed`)
FIXED = "fixed8"
FIXED_CODES = {FIXED: 9}
#: what one precision for all weights stores those as that are not of such a cell
BESIDE_FIXED = "int8"
#: every code of a file
ALL_CODES = CODES | SPARSE_CODES | FIXED_CODES
#: columns of a weight in int8 or int4: 127 * 127 * 2^17 still fits the 32-bit sum of a product
MAX_COLUMNS = 131072
#: weights of integers, which meet frames of integers
INTEGERS = ("int16", "int8", "int4")
#: those of which a matrix may have a smoothing: `Node.smoothing`
SMOOTHED = ("int16", "int8")
#: the largest exponent of a smoothing
MOST_SMOOTHED = 40
#: neighbours along k that share one scale of int4
GROUP = 32
#: columns of int16 whose products an int32 can sum
STRETCH = 256

_SMALLEST_NORMAL = np.float32(2.0**-126)
#: rows of larger numbers are 0 in no precision
_SMALL = 1e-6
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Quantised:
    """Integers and the factors that make them weights: w[..., k] = q[..., k] scale[...], of int4 one for each group.

    Attributes:
        q: (..., K) int16, in -limit(K)..limit(K); int8, in -127..127 or -7..7 of int4.
        scale: float32 (...) of int16, int8 and fixed8; float16 (..., ceil(K / 32)) of int4.
    """

    q: np.ndarray
    scale: np.ndarray

    def values(self) -> np.ndarray:
        """The weights that these numbers mean, float32."""
        if self.scale.ndim < self.q.ndim:
            return self.q * self.scale[..., None]
        scale = np.repeat(self.scale.astype(np.float32), GROUP, axis=-1)[..., : self.q.shape[-1]]
        return self.q * scale


def check(precision: str, what: str) -> None:
    """Refuse a precision that does not exist; `what` names the weight."""
    if not isinstance(precision, str) or precision not in ALL_CODES:
        names = ", ".join([*CODES, FIXED])
        raise UnsupportedError(f"{what}: precision {precision!r} does not exist; precisions: {names}")


def numbers(precision: str) -> str:
    """The precision of the numbers alone: "sparse int8" is "int8"."""
    return precision.removeprefix("sparse ")


def limit(K: int) -> int:
    """The largest magnitude of an int16 weight of K columns, and of the frames that it meets: the products of STRETCH
    columns, or of K, fit an int32.

    >>> from undertow.ir.precision import limit
    >>> limit(16), limit(64), limit(256), limit(1024)
    (11585, 5792, 2896, 2896)
    """
    return min(32767, isqrt(0x7FFFFFFF // min(K, STRETCH)))


def bits(taps: int) -> int:
    """p of 2^p, the largest integer of a channel that meets a filter of int16: the largest power of two within `limit`.

    >>> from undertow.ir.precision import bits
    >>> bits(3), bits(9), bits(256)
    (14, 13, 11)
    """
    return limit(taps).bit_length() - 1


def smoothed(w: np.ndarray, smoothing: np.ndarray, what: str = "weight") -> np.ndarray:
    """The weights (..., K) that a file stores beside a smoothing (K,): w 2^smoothing, exactly. Zeros for rows whose
    int8 scale would be below 2^-86: divided by 2^40 they would not be what they were.

    Raises:
        UnsupportedError: a weight becomes infinite.
    """
    with np.errstate(over="ignore"):
        result = np.ldexp(w, smoothing.astype(np.int32)).astype(np.float32)
    lost = np.isinf(result) & np.isfinite(w)
    if lost.any():
        at = np.unravel_index(int(lost.argmax()), w.shape)
        index = ", ".join(str(int(i)) for i in at)
        raise UnsupportedError(
            f"{what}[{index}] is {w[at]:.9g}, and its column is smoothed by 2^{int(smoothing[at[-1]])}: more than a "
            "float32 number holds; smooth it less"
        )
    result[_top(result) < np.float32(127 * 2.0**-86)] = 0
    return result


def checked_smoothing(smoothing: np.ndarray, K: int, what: str) -> np.ndarray:
    """Refuse what is no smoothing of K columns; `what` names the weight."""
    exponents = np.asarray(smoothing)
    if exponents.shape != (K,) or exponents.dtype.kind not in "iu":
        raise ShapeError(
            f"{what}: a smoothing of shape {exponents.shape} and dtype {exponents.dtype}; expected {K} integers, one "
            "for each column"
        )
    if exponents.min() < 0 or exponents.max() > MOST_SMOOTHED:
        raise ShapeError(
            f"{what}: a smoothing from {exponents.min()} to {exponents.max()}; expected 0 to {MOST_SMOOTHED}"
        )
    return exponents.astype(np.int8)


def unsmoothed(w: np.ndarray, smoothing: np.ndarray) -> np.ndarray:
    """Inverse of `smoothed`."""
    return np.ldexp(w, -smoothing.astype(np.int32)).astype(np.float32)


def quantise(w: np.ndarray, precision: str, what: str = "weight") -> Quantised:
    """The integers nearest to float32 weights; symmetric, so that 0 stays 0.

    A scale is 0, and its integers too, where all weights are 0 or so small that the scale would be subnormal (int8,
    below 1.5e-36: kernels flush those; int16, below 2^-86, so that smoothing finds it again) or 0 (int4, below 2e-7).
    Scales of int16 have 9 significant bits: times an integer they are a float32 number. Those of fixed8, whose integers
    are bytes too, have 15.

    Args:
        w: (..., K) float32.
        precision: "int16", "int8", "int4" or "fixed8".
        what: names the weight in errors.

    Raises:
        UnsupportedError: a weight is NaN or infinite, an int4 scale exceeds float16, or K exceeds MAX_COLUMNS.
    """
    _refuse_columns(w, precision, what)
    _refuse_nonfinite(w, precision, what)
    if precision == "int8":
        scale = _top(w) / np.float32(127)
        scale[scale < _SMALLEST_NORMAL] = 0
        with np.errstate(over="ignore"):  # the largest float32 number must come back finite
            scale = np.where(np.isinf(scale * np.float32(127)), np.nextafter(scale, np.float32(0)), scale)
        return Quantised(_integers(w, scale[..., None], 127), scale)
    if precision == FIXED:
        scale = _fixed_scales(_top(w))
        return Quantised(_integers(w, scale[..., None], 127), scale)
    if precision == "int16":
        most = limit(w.shape[-1])
        scale = _int16_scales(_top(w), most)
        return Quantised(_integers(w, scale[..., None], most), scale)
    *rows, K = w.shape
    groups = _padded(w, GROUP).reshape(*rows, -1, GROUP)
    scale = _int4_scales(_top(groups))
    if np.isinf(scale).any():
        at = np.unravel_index(int(np.abs(w).argmax()), w.shape)
        _refuse(what, at, w[at], precision, f"weights up to {7 * 65504} (float16 scales)")
    q = _integers(groups, scale.astype(np.float32)[..., None], 7)
    return Quantised(np.ascontiguousarray(q.reshape(*rows, -1)[..., :K]), scale)


def narrow(w: np.ndarray, precision: str, what: str = "weight") -> np.ndarray:
    """Float32 weights rounded to 16 bits, ties to even: float16 numbers, or bfloat16 ones as uint16 bits.

    Raises:
        UnsupportedError: a weight is NaN or infinite, or becomes infinite.
    """
    _refuse_nonfinite(w, precision, what)
    narrowed: np.ndarray
    if precision == "float16":
        with np.errstate(over="ignore"):
            narrowed = w.astype(np.float16)
        lost, limit = np.isinf(narrowed), "weights up to 65504"
    else:
        bits = np.ascontiguousarray(w, np.float32).view(np.uint32)
        narrowed = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
        lost, limit = narrowed & 0x7FFF == 0x7F80, "weights up to 3.38953139e38"
    if lost.any():
        at = np.unravel_index(int(lost.argmax()), w.shape)
        _refuse(what, at, w[at], precision, limit)
    return narrowed


def widen(narrowed: np.ndarray) -> np.ndarray:
    """The float32 numbers of what `narrow` gave; exact."""
    if narrowed.dtype == np.float16:
        return narrowed.astype(np.float32)
    return (narrowed.astype(np.uint32) << 16).view(np.float32)


def stored(w: np.ndarray, precision: str, what: str = "weight", smoothing: np.ndarray | None = None) -> np.ndarray:
    """The float32 numbers that remain of `w` in a file of this precision. Raises what `quantise` and `narrow` do."""
    precision = numbers(precision)
    if precision == "float32":
        return w
    if precision in SMOOTHED and smoothing is not None:
        return unsmoothed(quantise(smoothed(w, smoothing, what), precision, what).values(), smoothing)
    if precision in (*INTEGERS, FIXED):
        return quantise(w, precision, what).values()
    return widen(narrow(w, precision, what))


def most_summed(K: int, precision: str) -> float:
    """The largest weight of K columns whose products in these integers never overflow: an integer sum of them times
    their scale is a float32 number, whatever the frame. Infinite of precisions that have no such limit."""
    if precision not in ("int16", "int8"):
        return float("inf")
    return _LARGEST / ((limit(K) if precision == "int16" else 127) * K)


def check_sums(w: np.ndarray, precision: str, what: str = "weight") -> None:
    """Refuse a matrix (..., K) whose products may overflow in integers where they do not in float32.

    Raises:
        UnsupportedError: names the weight, and the largest that goes.
    """
    K, precision = w.shape[-1], numbers(precision)
    most = most_summed(K, precision)
    if (np.abs(w) > most).any():
        at = np.unravel_index(int(np.abs(w).argmax()), w.shape)
        _refuse(what, at, w[at], precision, f"weights up to {most:.3g} in {K} columns, whose sums float32 holds")


def n_lost(w: np.ndarray, precision: str) -> int:
    """How many rows of a weight (..., K) are so small that a precision stores zeros for them."""
    rows = w.reshape(-1, w.shape[-1])
    top = _top(rows)
    small = rows[(top > 0) & (top < _SMALL)]
    return int((~stored(small, precision).any(axis=-1)).sum()) if len(small) else 0


def _top(w: np.ndarray) -> np.ndarray:
    """max|w| over the last axis, without an array of |w|."""
    return np.abs(np.maximum(w.max(axis=-1), -w.min(axis=-1))).astype(np.float32)  # never -0


def _integers(w: np.ndarray, scale: np.ndarray, most: int) -> np.ndarray:
    q = np.divide(w, scale, out=np.zeros(w.shape, np.float32), where=scale > 0)
    np.clip(np.rint(q, out=q), -most, most, out=q)  # a subnormal float16 scale is coarse: q may lie beyond
    return q.astype(np.int8 if most <= 127 else np.int16)


def _int16_scales(top: np.ndarray, most: int) -> np.ndarray:
    """Scales of 9 significant bits for rows whose largest weight is `top`, not smaller than top / most.

    Rounding a scale up may leave the largest integer below `most`; what is stored would then have a smaller scale than
    the one it was stored with. Scales only fall, so that the search ends.
    """
    scale = _with_9_bits(top / np.float32(most))
    while True:
        held = np.minimum(np.floor(_LARGEST / np.where(scale > 0, scale, 1).astype(np.float64)), most)
        q = np.divide(top, scale, out=np.zeros_like(top), where=scale > 0)
        again = _with_9_bits(np.minimum(np.rint(q), held.astype(np.float32)) * scale / np.float32(most))
        if np.array_equal(again, scale):
            return scale
        scale = again


def _fixed_scales(top: np.ndarray) -> np.ndarray:
    """Scales of 15 significant bits, top / 127 rounded up; 0 below 2^-86. 127 times one is a float32 number."""
    scale = top / np.float32(127)
    bits = (scale.view(np.uint32) + 0x1FF) & 0xFFFFFE00
    too_large = bits.view(np.float32) > np.float32(_LARGEST) / np.float32(127)
    bits = (bits - np.where(too_large, 0x200, 0)).astype(np.uint32)
    return np.where(scale < np.float32(2.0**-86), np.float32(0), bits.view(np.float32))


def _with_9_bits(scale: np.ndarray) -> np.ndarray:
    """Rounded up; 0 below 2^-86."""
    bits = (np.ascontiguousarray(scale, np.float32).view(np.uint32) + 0x7FFF) & 0xFFFF8000
    return np.where(scale < np.float32(2.0**-86), np.float32(0), bits.astype(np.uint32).view(np.float32))


def _int4_scales(top: np.ndarray) -> np.ndarray:
    """float16 scales for groups whose largest weight is `top`.

    Where the scale is a subnormal float16, rounding it may leave the largest integer below 7; the scale of what is
    stored is then smaller than the one it was stored with. Scales only fall, so that the search ends. An infinite
    scale is left to the caller.
    """
    with np.errstate(over="ignore"):
        scale = (top / np.float32(7)).astype(np.float16)
    while np.isfinite(scale).all():
        wide = scale.astype(np.float32)
        q = np.divide(top, wide, out=np.zeros_like(top), where=wide > 0)
        again = (np.minimum(np.rint(q), 7) * wide / np.float32(7)).astype(np.float16)
        if np.array_equal(again, scale):
            break
        scale = again
    return scale


def _padded(w: np.ndarray, multiple: int) -> np.ndarray:
    return np.pad(w, [(0, 0)] * (w.ndim - 1) + [(0, -w.shape[-1] % multiple)])


def _refuse_columns(w: np.ndarray, precision: str, what: str) -> None:
    if w.shape[-1] > MAX_COLUMNS:
        raise UnsupportedError(
            f"{what} has {w.shape[-1]} columns; {precision} takes at most {MAX_COLUMNS}: "
            "store it as float16, bfloat16 or float32"
        )


def _refuse_nonfinite(w: np.ndarray, precision: str, what: str) -> None:
    finite = np.isfinite(w)
    if not finite.all():
        at = np.unravel_index(int(finite.argmin()), w.shape)
        _refuse(what, at, w[at], precision, "finite weights")


def _refuse(what: str, at: tuple, value: float, precision: str, expected: str) -> NoReturn:
    index = ", ".join(str(int(i)) for i in at)
    raise UnsupportedError(f"{what}[{index}] is {value:.9g}; {precision} takes {expected}: store it as float32")
