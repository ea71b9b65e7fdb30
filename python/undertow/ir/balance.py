# SPDX-License-Identifier: MIT
"""Rounding rows of weights so that their errors cancel.

Rounded each to its nearest integer, K weights of a row err by half a step at most, and their sum by about sqrt(K / 12)
steps; by K times as much as one of them where they are equal, as in a row that takes a mean. What they multiply is
seldom around zero: magnitudes, levels, what follows a relu have means, and a mean meets the error of the sum. So a few
of the weights, those nearest to the middle between two integers, go to the other of the two, until the sum is right to
half a step.
"""

from __future__ import annotations

import numpy as np

#: Weights this near to an integer, in steps, are that integer: what a file stores is found again. A float32 product of
#: a scale and an integer up to 32767 is off by 32767 * 2^-24 steps at most.
SETTLED = 2.0**-8
#: Weights that are looked at at a time, so that there is no second array of all of them in float64, let alone ten.
_AT_ONCE = 1 << 17


def balanced(wanted: np.ndarray, means: np.ndarray | None = None) -> np.ndarray:
    """Integers for weights in steps, each one of the two around it, whose errors cancel along the last axis.

    The largest magnitude of a row is not exceeded, and keeps its integer: the scale that made these steps is found
    again. Integers are found again as they are.

    Args:
        wanted: (..., K) weights divided by their scales; a row of them shares one scale.
        means: (K,) the means of what they multiply, in any unit; all equal when omitted.

    Returns:
        (..., K) float64 integers q: |q - wanted| < 1, and |sum of means (q - wanted)| is at most half of the step that
        would have come next, if there were weights enough to go; not counting those that are integers (`SETTLED`).

    Raises:
        ValueError: means of another shape, or that are not finite.

    >>> import numpy as np
    >>> from undertow.ir.balance import balanced
    >>> balanced(np.array([[7.0, 1.3, 1.3, 1.3, 1.3]]))
    array([[7., 2., 1., 1., 1.]])
    """
    K = wanted.shape[-1]
    gains = np.ones(K) if means is None else np.asarray(means, np.float64)
    if gains.shape != (K,) or not np.isfinite(gains).all():
        raise ValueError(f"means of shape {gains.shape}, expected {K} finite numbers, one for each column")
    if wanted.size == 0:
        return np.zeros(wanted.shape)
    rows, some = wanted.reshape(-1, K), max(1, _AT_ONCE // K)
    parts = [_of_rows(rows[i : i + some].astype(np.float64), gains) for i in range(0, len(rows), some)]
    return np.concatenate(parts).reshape(wanted.shape)


def _of_rows(rows: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """`balanced` of some rows (n, K) float64."""
    q = np.rint(rows)
    left = rows - q  # at most 1/2
    left[np.abs(left) < SETTLED] = 0
    limit = np.abs(q).max(axis=1, keepdims=True, initial=0)
    missing = left @ gains  # what the row lacks
    towards = np.sign(left)
    gained = towards * gains * np.sign(missing)[:, None]
    free = (gained > 0) & (np.abs(q) < limit)
    # going to the other integer adds 1 - 2 |left| to the sum of squared errors, and brings the row on by `gained`
    price = np.divide(1 - 2 * np.abs(left), gained, out=np.full(rows.shape, np.inf), where=free)
    order = np.argsort(price, axis=1, kind="stable")
    brought = np.where(np.take_along_axis(free, order, 1), np.take_along_axis(gained, order, 1), 0)
    nearer = np.cumsum(brought, axis=1) - brought / 2 < np.abs(missing)[:, None]
    goes = np.logical_and.accumulate(nearer & (brought > 0), axis=1)
    changes = np.zeros(rows.shape)
    np.put_along_axis(changes, order, goes * np.take_along_axis(towards, order, 1), 1)
    return q + changes
