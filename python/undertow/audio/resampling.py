# SPDX-License-Identifier: MIT
"""Sound at another sampling rate, whole or as it comes."""

from __future__ import annotations

from math import gcd
from operator import index
from typing import Any

import numpy as np

from ..errors import ShapeError, UnsupportedError
from .framing import require_float32

#: A rate is a number in the file: a wrong one must not turn a small file into all of the memory.
_MAX_STRETCH = 256

_MISSING = 'the sound is at {} Hz and {} Hz are wanted: resampling needs soxr: pip install "undertow[audio]"'


def resample(samples: np.ndarray, rate: int, to: int) -> np.ndarray:
    """Sound at another rate.

    Args:
        samples: float32 of shape (T,) or (T, channels).
        rate: samples per second that it has.
        to: that it is to have.

    Returns:
        float32 samples, about T * to / rate of them.

    By soxr (its quality HQ) where installed, or else by `scipy.signal.resample_poly`, which differs from it near the
    upper end of the band. Samples at the rate that is wanted are given as they are. `Resampler` does the same for sound
    that arrives in pieces.

    Raises:
        ImportError: neither is installed.
        UnsupportedError: a rate is not above 0, or one is more than 256 times the other.

    >>> resample(np.zeros(48000, np.float32), 48000, to=16000).shape       # doctest: +SKIP
    (16000,)
    """
    rate, to = _checked(rate, to)
    if rate == to:
        return samples
    require_float32(samples)
    try:
        import soxr
    except ImportError:
        pass
    else:
        return np.asarray(soxr.resample(samples, rate, to, quality="HQ"), np.float32)
    try:
        from scipy.signal import resample_poly
    except ImportError:
        raise ImportError(_MISSING.format(rate, to)) from None
    common = gcd(rate, to)
    return np.asarray(resample_poly(samples.astype(np.float64), to // common, rate // common), np.float32)


class Resampler:
    """`resample` by soxr for sound that arrives in pieces of any length: the same bits, however it is cut.

    What comes out is behind what went in by the reach of its filter, `delay`: about 20 ms where the rates of speech are
    halved, and it comes in pieces of its own, for soxr computes blocks.

    >>> resampler = Resampler(48000, 16000)                                     # doctest: +SKIP
    >>> pieces = [resampler.push(piece) for piece in microphone]                # doctest: +SKIP
    >>> pieces.append(resampler.flush())                                        # doctest: +SKIP
    """

    def __init__(self, rate: int, to: int, channels: int = 1) -> None:
        """
        Args:
            rate, to: samples per second that go in, and that come out; where they are equal, sound goes through.
            channels: of the sound; 1 for samples of shape (T,), and (T, channels) from 2 on.

        Raises:
            ImportError: the rates differ and soxr is not installed.
            UnsupportedError: a rate is not above 0, or one is more than 256 times the other.
            ValueError: there are no channels.
        """
        self.rate, self.to = _checked(rate, to)
        self.channels = index(channels)
        if self.channels < 1:
            raise ValueError(f"channels is {channels}, expected at least 1")
        self._stream: Any = None
        if self.rate != self.to:
            try:
                from soxr import ResampleStream
            except ImportError:
                raise ImportError(_MISSING.format(rate, to)) from None
            self._stream = ResampleStream(self.rate, self.to, self.channels, dtype="float32", quality="HQ")

    @property
    def delay(self) -> float:
        """Seconds of sound that went in and have not come out.

        >>> Resampler(16000, 16000).delay                   # nothing to do, nothing to wait for
        0.0
        """
        return 0.0 if self._stream is None else float(self._stream.delay()) / self.to

    def reset(self) -> None:
        """Forget all samples: what comes next is the beginning of a sound.

        >>> same = Resampler(16000, 16000)
        >>> same.reset()
        """
        if self._stream is not None:
            self._stream.clear()

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take `samples`, float32 of shape (T,), or (T, channels) where there are several; give those that are ready.

        Raises:
            TypeError: samples are not float32. ShapeError: they have another shape.

        Returns: float32 of shape (n,) or (n, channels); n may be 0.

        >>> Resampler(16000, 16000).push(np.zeros(160, np.float32)).shape
        (160,)
        >>> resampler.push(np.zeros(480, np.float32))       # needs soxr  # doctest: +SKIP
        """
        require_float32(samples, (1,) if self.channels == 1 else (2,))
        if self.channels > 1 and samples.shape[1] != self.channels:
            raise ShapeError(f"samples have shape {samples.shape}, expected (T, {self.channels})")
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(np.ascontiguousarray(samples)), np.float32)

    def flush(self) -> np.ndarray:
        """End the sound: the samples that are left. Then start anew.

        Returns: float32 of shape (n,) or (n, channels).

        >>> Resampler(16000, 16000).flush().shape
        (0,)
        """
        nothing = np.zeros((0, self.channels)[: 1 if self.channels == 1 else 2], np.float32)
        if self._stream is None:
            return nothing
        rest = np.asarray(self._stream.resample_chunk(nothing, last=True), np.float32)
        self._stream.clear()
        return rest


def _checked(rate: int, to: int) -> tuple[int, int]:
    rate, to = index(rate), index(to)
    if min(rate, to) < 1 or max(rate, to) > _MAX_STRETCH * min(rate, to):
        raise UnsupportedError(f"cannot resample from {rate} Hz to {to} Hz")
    return rate, to
