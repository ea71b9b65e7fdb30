# SPDX-License-Identifier: MIT
"""Choose how the columns of a weight are smoothed (`Node.smoothing`): powers of two between weights and frames.

W x = (W 2^e) (2^-e x), column by column, without any rounding. But a row of integer weights shares one scale, and so
does a frame of integers: what is small beside the largest keeps few bits. A column of large weights, or of inputs that
are loud, takes bits from all others; e moves that to the side that can bear it.

With frames of the data, the e of several candidates is taken that has the least `expected_error`, none among them:
columns at the power alpha of their inputs and 1 - alpha of their weights (G. Xiao et al., "SmoothQuant: Accurate and
Efficient Post-Training Quantization for Large Language Models", 2022, equation 4), by largest numbers and by RMS.
Without, columns move a quarter of the way to equal weights, so that only a column that is 4 times as large as the
others, or as small, moves at all: nothing is known of the inputs, and they may be as unequal the other way round. Of
twelve real models (`python -m bench choices`) int8 of noaa-sugar-creek then errs by 2.7 in place of 7.2 %, of nsnet2 by
14 in place of 22, of silero by 3.0 in place of 3.2, of gtcrn by 1.0 in place of 1.2, of klon-centaur by 0.9 in place of
0.7. int16 has bits enough, and its rows are rounded against each other (`undertow.ir.balance`), which other columns
disturb: on half of nsnet2's data it erred by 0.60 in place of 0.24 % (`python -m bench accuracy`), so it is left alone.

It is for matrices that multiply inputs. Hidden states lie in one range for all units, and nothing is gained there.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ..ir.nodes import Node
from ..ir.ops import INPUT, OPS, Layout

#: Exponents reach from 0 to this, half of it to either side of the median: what was quiet in the data may be loud
#: another day, and is not turned up by more.
RANGE = 6
#: The exponent of columns whose weights are all zero: whatever their inputs are, no other's bits are spent on them.
UNUSED = 40
#: What is smoothed where no data is known.
ALONE = ("int8",)
#: Of the way to equal weights, where no data is known.
WITHOUT_DATA = 0.25
#: Powers of the inputs that are tried.
_ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
#: Frames whose largest number is looked for, at most, evenly among all.
_FRAMES = 512


def from_weights(w: np.ndarray) -> np.ndarray:
    """The exponents for a weight of which nothing else is known; columns of zeros count for nothing.

    Args:
        w: (..., K) float32.

    Returns:
        (K,) int8, 0 to RANGE; all 0 where no column is 4 times as large or small as others.

    Raises:
        UnsupportedError: a weight is NaN or infinite.

    >>> import numpy as np
    >>> from undertow.passes.smoothing import from_weights
    >>> from_weights(np.array([[1.0, 0.01, 0.9, 1.1]], np.float32))
    array([0, 2, 0, 0], dtype=int8)
    """
    largest = np.sqrt(_squares(w).max(axis=0))
    return _exponents(-WITHOUT_DATA * _log2(largest))


def without_data(node: Node, keys: Iterable[str]) -> dict[str, np.ndarray]:
    """`from_weights` of those of `keys` that are matrices of numbers for the input of a node, where it is not all 0."""
    smoothable = {w.key for w in OPS[node.op].weights if w.multiplies == INPUT and w.layout is Layout.MATRIX}
    finite = [key for key in keys if key in smoothable and np.isfinite(node.weights[key]).all()]
    chosen = {key: from_weights(node.weights[key]) for key in finite}
    return {key: exponents for key, exponents in chosen.items() if exponents.any()}


def from_data(w: np.ndarray, X: np.ndarray) -> np.ndarray:
    """The exponents with which w x errs least on frames of the data, where integers have as many bits in w as in x.

    Frames that are not finite are left out: their products are NaN in any case. A column that is zero in all frames is
    as loud as the others, for what is known of it.

    Args:
        w: (..., K) float32.
        X: (n, K) what the matrix multiplies.

    Returns:
        (K,) int8, 0 to RANGE, or UNUSED in a column of zeros; all 0 where no candidate errs less by a twentieth of the
        mean square, or X is silent.

    Raises:
        UnsupportedError: a weight is NaN or infinite.
        ShapeError: X is not (n, K).

    >>> import numpy as np
    >>> from undertow.passes.smoothing import from_data
    >>> loud = np.array([[100.0, 1.0, -1.0, 1.0], [-100.0, -1.0, 1.0, 1.0]])
    >>> from_data(np.ones((3, 4), np.float32), loud)
    array([3, 0, 0, 0], dtype=int8)
    """
    weights, frames = _squares(w), _frames(w, X)
    none = np.zeros(weights.shape[1], np.int8)
    if not frames.any() or not weights.any():
        return none
    unused = ~weights.any(axis=0)
    candidates = [none, np.where(unused, UNUSED, none)]
    of_weights = [_log2(np.sqrt(s)) for s in (weights.max(axis=0), weights.mean(axis=0))]
    of_frames = [_log2(np.sqrt(s)) for s in (frames.max(axis=0), frames.mean(axis=0))]
    for alpha, ours, theirs in product(_ALPHAS, of_weights, of_frames):
        candidates.append(np.where(unused, UNUSED, _exponents(alpha * theirs - (1 - alpha) * ours)))
    errors = [_error(weights, frames, e) for e in candidates]
    best = int(np.argmin(errors))
    return candidates[best].astype(np.int8) if errors[best] < 0.95 * errors[0] else none


def expected_error(w: np.ndarray, X: np.ndarray, exponents: np.ndarray, limit: int) -> float:
    """The mean square, over frames and rows, by which rounding moves w x, in the square of its unit.

    Rounding to the nearest of evenly spaced numbers errs by their distance times something even in -1/2..1/2, which is
    1/12 in the mean square, and all roundings are taken to be independent: sum over k of (scale of row r 2^-e_k)^2
    x_k^2 / 12 for those of w, and of (scale of x 2^e_k)^2 w_rk^2 / 12 for those of x.

    Args:
        w: (..., K) float32.
        X: (n, K) what the matrix multiplies.
        exponents: (K,) integers.
        limit: the largest integer of weights and of frames: 127 for int8.

    Raises:
        UnsupportedError, ShapeError: as `from_data`.
    """
    weights, frames = _squares(w), _frames(w, X)
    if len(frames) == 0:
        return 0.0
    return _error(weights, frames, exponents) / (12 * limit**2 * len(weights))


def _error(weights: np.ndarray, frames: np.ndarray, exponents: np.ndarray) -> float:
    """12 limit^2 times the sum over rows of the mean square error; takes squares of weights and of frames."""
    factors = 4.0 ** exponents.astype(np.float64)
    of_weights = (weights * factors).max(axis=1).sum() * (frames.mean(axis=0) / factors).sum()
    some = frames[np.linspace(0, len(frames) - 1, min(len(frames), _FRAMES)).astype(int)]
    of_frames = (weights.sum(axis=0) * factors).sum() * (some / factors).max(axis=1).mean()
    return float(of_weights + of_frames)


def _exponents(wanted: np.ndarray) -> np.ndarray:
    """(K,) real exponents, NaN where nothing is known, which goes with the middle -> integers from 0 to RANGE."""
    known = np.isfinite(wanted)
    if not known.any():
        return np.zeros(len(wanted), np.int8)
    centred = np.rint(np.where(known, wanted - np.median(wanted[known]), 0.0))
    exponents = np.clip(centred, -RANGE // 2, RANGE // 2)
    return (exponents - exponents.min()).astype(np.int8)


def _log2(magnitudes: np.ndarray) -> np.ndarray:
    """NaN of 0."""
    return np.log2(magnitudes, out=np.full(magnitudes.shape, np.nan), where=magnitudes > 0)


def _squares(w: np.ndarray) -> np.ndarray:
    """(rows, K) float64 squares of weights (..., K)."""
    rows = np.asarray(w, np.float64).reshape(-1, w.shape[-1])
    if not np.isfinite(rows).all():
        at = np.unravel_index(int(np.isfinite(w).argmin()), w.shape)
        index = ", ".join(str(int(i)) for i in at)
        raise UnsupportedError(f"weight[{index}] is {w[at]}; smoothing takes finite weights: store it as float32")
    return np.square(rows)


def _frames(w: np.ndarray, X: np.ndarray) -> np.ndarray:
    """(n, K) float64 squares of the finite frames of X."""
    frames = np.asarray(X, np.float64)
    if frames.ndim != 2 or frames.shape[1] != w.shape[-1]:
        raise ShapeError(f"frames have shape {frames.shape}, expected (n, {w.shape[-1]}): the weight is {w.shape}")
    return np.square(frames[np.isfinite(frames).all(axis=1)])
