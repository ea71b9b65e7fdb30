# SPDX-License-Identifier: MIT
"""A bound on the frames that a sequence may have: a register that counts them says it by its name.

What a graph computes of more is NaN. Streams and pools refuse them before that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from .._text import shown

#: most frames that may be said: windows look no further back
MOST = 1 << 20
_NAME = re.compile(r"seen\.at_most_([1-9]\d{0,6})(\.value)?")


def counting(most: int) -> str:
    """The name of the register that counts the frames of sequences of at most so many.

    >>> counting(512)
    'seen.at_most_512'
    """
    return f"seen.at_most_{most}"


def bound_of(states: Iterable[str]) -> tuple[int, int]:
    """(number of the state that counts, the most frames), of the names of a graph's states; (-1, 0) without a bound.

    >>> bound_of(["lstm_1.h", "seen.at_most_512"])
    (1, 512)
    """
    for number, name in enumerate(states):
        if match := _NAME.fullmatch(name):
            return number, int(match[1])
    return -1, 0


def checked_bound(caller: str, most: int | None, option: str = "max_frames") -> int | None:
    """What a caller's max_frames= says, or another option.

    Raises:
        TypeError: it is no integer. ValueError: it is below 1, or beyond `MOST`.
    """
    if most is None:
        return None
    if isinstance(most, bool | np.bool_) or not isinstance(most, int | np.integer):
        raise TypeError(f"{caller}: {option} is {shown(repr(most))}, expected a number of frames")
    if not 1 <= most <= MOST:
        raise ValueError(f"{caller}: {option} is {most}, expected 1 to {MOST} frames")
    return int(most)


__all__ = ["MOST", "bound_of", "checked_bound", "counting"]
