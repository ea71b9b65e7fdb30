# SPDX-License-Identifier: MIT
"""What files say of the rate of the sound that their models hear."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..ir.superframes import MAX_RATE

#: an input that is a rate: sr, fs, sample_rate, sampling_rate, sampleRate, audio_sr, sr_hz, rate ... and no bit_rate
_NAMES = re.compile(
    r"(?:(?:.*_)?(?:sr|fs|samp(?:le|ling)?_?(?:rate|freq|frequency))|(?:audio_|sound_|input_)?rate)(?:_hz)?(?:_in|_input)?"
)
#: what sound is sampled at; of other numbers a name as short as `rate` may say anything
_LEAST, _MOST = 4000, 768000


def whole_rate(number: Any) -> int | None:
    """A number of Hz as a graph holds it; None of what is none, or is not whole."""
    if isinstance(number, bool) or not isinstance(number, (int, float)) or number != number:
        return None
    return int(number) if 1 <= number <= MAX_RATE and number == int(number) else None


def bound_rate(name: str, value: Any) -> int | None:
    """The rate that an input is bound to: of its name and its number; None where either says that it is none.

    >>> bound_rate("sr", 16000), bound_rate("sampleRate", [8000]), bound_rate("sr", 1), bound_rate("steps", 16000)
    (16000, 8000, None, None)
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.partition(":")[0]).lower()
    array = np.asarray(value)
    if (
        not _NAMES.fullmatch(re.sub(r"[^a-z0-9]+", "_", words).strip("_"))
        or array.size != 1
        or array.dtype.kind not in "iuf"
    ):
        return None
    rate = whole_rate(array.reshape(-1)[0].item())
    return rate if rate is not None and _LEAST <= rate <= _MOST else None


def stated_rate(notes: Iterable[tuple[str, str]]) -> int | None:
    """The rate that a file states in notes, names and texts; None where none does, or two differ."""
    rates = {bound_rate(name, float(text)) for name, text in notes if re.fullmatch(r"\d{1,7}(\.0*)?", text.strip())}
    rates.discard(None)
    return rates.pop() if len(rates) == 1 else None


__all__ = ["bound_rate", "stated_rate", "whole_rate"]
