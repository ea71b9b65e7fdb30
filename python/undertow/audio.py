# SPDX-License-Identifier: MIT
"""Sound: files, frames with overlap, sampling rates, spectra.

A WAV needs no other package; other formats go through soundfile, resampling through soxr, both of `undertow[audio]`.

>>> import numpy as np
>>> from undertow import audio
>>> samples = np.arange(1, 6, dtype=np.float32)
>>> audio.frames(samples, frame=2, context=1)
array([[0., 1., 2.],
       [2., 3., 4.],
       [4., 5., 0.]], dtype=float32)
"""

from __future__ import annotations

import os
import wave
from math import gcd
from operator import index
from pathlib import Path

import numpy as np

from . import _files, _wav
from .errors import FormatError, ShapeError, UnsupportedError
from .spectrum import istft, stft, window
from .weights.contents import open_file

__all__ = [
    "Framer",
    "frames",
    "istft",
    "load",
    "overlap_add",
    "read",
    "resample",
    "stft",
    "to_mono",
    "window",
    "write",
]

#: A rate is a number in the file: a wrong one must not turn a small file into all of the memory.
_MAX_STRETCH = 256


def read(path: str | os.PathLike[str]) -> tuple[np.ndarray, int]:
    """Read a sound file.

    Args:
        path: a .wav of 8, 16, 24 or 32 bit PCM or of floats; anything else that soundfile reads, where installed.

    Returns:
        (samples, rate): float32 of shape (T, channels), full scale at -1 and 1; samples per second.

    Raises:
        FormatError: not a sound file, or cut short.
        UnsupportedError: compressed or of an unusual sample size.
    """
    path = Path(path)
    with open_file(path) as file:
        data = file.read()
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return _wav.parse(path, data)
    try:
        import soundfile
    except ImportError:
        raise FormatError(
            f'{path}: not a WAV file; for other formats: pip install "undertow[audio]", or convert it to WAV'
        ) from None
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except RuntimeError as error:
        raise FormatError(f"{path}: {error}") from None
    return samples, int(rate)


def write(path: str | os.PathLike[str], samples: np.ndarray, rate: int) -> int:
    """Write float samples of shape (T,) or (T, channels) as a 16-bit WAV; give how many had to be cut to full scale.

    Raises:
        OSError: it cannot be written; what was there before stays as it is.
    """
    samples = np.asarray(samples, np.float64)
    samples = samples[:, None] if samples.ndim == 1 else samples
    scaled = np.rint(np.nan_to_num(samples) * 32768.0)
    whole = np.clip(scaled, -32768, 32767)
    with _files.opened(path) as file, wave.open(file, "wb") as sound:
        sound.setnchannels(samples.shape[1])
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(whole.astype("<i2").tobytes())
    return int(np.count_nonzero(whole != scaled))


def load(path: str | os.PathLike[str], rate: int, channel: int | str | None = None) -> np.ndarray:
    """Read a sound file as a model takes it: one channel, at the rate that it was trained on.

    Args:
        path: as for `read`.
        rate: samples per second to resample to, as `resample` does, where the file has another rate.
        channel: which channel, counted from 0; or "mix" for the mean of all. Needed where the file has several.

    Returns:
        float32 of shape (T,).

    Raises:
        FormatError, UnsupportedError: as `read`.
        ShapeError: the file has several channels and `channel` is None, or it has no such channel.
        ImportError: the rates differ and nothing is installed that resamples.
    """
    samples, found = read(path)
    try:
        return resample(to_mono(samples, channel), found, rate)
    except ShapeError as error:
        raise ShapeError(f"{path}: {error}") from None


def to_mono(samples: np.ndarray, channel: int | str | None = None) -> np.ndarray:
    """One channel of (T, channels), as (T,): the only one, the one counted `channel` from 0, or "mix", their mean.

    Raises:
        ShapeError: there are several and `channel` is None, or there is no such channel.
    """
    samples = np.asarray(samples)
    if samples.ndim != 2 or not samples.shape[1]:
        raise ShapeError(f"samples have shape {samples.shape}, expected (T, channels)")
    n_channels = samples.shape[1]
    if channel == "mix":
        return samples.mean(axis=1, dtype=np.float64).astype(np.float32) if n_channels > 1 else samples[:, 0]
    if channel is None:
        if n_channels > 1:
            raise ShapeError(f'{n_channels} channels where one is wanted; take one by number, from 0, or "mix" them')
        channel = 0
    if isinstance(channel, str) or not 0 <= index(channel) < n_channels:
        raise ShapeError(f'channel {channel!r} does not exist; expected 0 to {n_channels - 1}, or "mix"')
    return np.ascontiguousarray(samples[:, index(channel)])


def resample(samples: np.ndarray, rate: int, to: int) -> np.ndarray:
    """float32 samples of shape (T,) or (T, channels) at another rate.

    By soxr (its quality HQ) where installed, or else by `scipy.signal.resample_poly`, which differs from it near the
    upper end of the band. Samples at the rate that is wanted are given as they are.

    Raises:
        ImportError: neither is installed.
        UnsupportedError: a rate is not above 0, or one is more than 256 times the other.
    """
    rate, to = index(rate), index(to)
    if min(rate, to) < 1 or max(rate, to) > _MAX_STRETCH * min(rate, to):
        raise UnsupportedError(f"cannot resample from {rate} Hz to {to} Hz")
    if rate == to:
        return samples
    _require_float32(samples)
    try:
        import soxr
    except ImportError:
        pass
    else:
        return np.asarray(soxr.resample(samples, rate, to, quality="HQ"), np.float32)
    try:
        from scipy.signal import resample_poly
    except ImportError:
        raise ImportError(
            f'the sound is at {rate} Hz and {to} Hz are wanted: resampling needs soxr: pip install "undertow[audio]"'
        ) from None
    common = gcd(rate, to)
    return np.asarray(resample_poly(samples.astype(np.float64), to // common, rate // common), np.float32)


def frames(
    samples: np.ndarray, frame: int = 512, context: int = 0, hop: int | None = None, *, pad: bool = True
) -> np.ndarray:
    """Cut sound into the frames that a model takes one by one.

    Frame k holds `context` samples that went before, then `frame` samples from k * hop on. Before the first sample
    there are zeros.

    Args:
        samples: float32 of shape (T,).
        frame: samples of a frame that are new, if hop is not smaller.
        context: samples from before in front of them.
        hop: from frame to frame; `frame` when omitted.
        pad: fill the last frame up with zeros, so that no sample is lost; False leaves such a frame out.

    Returns:
        (n_frames, context + frame), a read-only view in which overlapping frames share their memory: rows for
        `Stream.step`, or the whole for `Model.run`.

    Raises:
        TypeError: samples are not float32.
        ShapeError: samples have another shape.
        ValueError: a size is out of range.
    """
    frame, context, hop = _sizes(frame, context, hop)
    _require_float32(samples, (1,))
    n = len(samples)
    n_frames = count_frames(n, frame, hop) if pad else max(0, (n - frame) // hop + 1)
    missing = max(0, (n_frames - 1) * hop + frame - n)
    ready = np.concatenate([np.zeros(context, np.float32), samples, np.zeros(missing, np.float32)])
    return _windows(ready, context + frame, hop, n_frames)


def count_frames(n_samples: int, frame: int, hop: int) -> int:
    """How many frames hold every sample that any frame can hold, the last one filled up with zeros."""
    if n_samples <= frame:
        return int(n_samples > 0)
    return min(1 - (frame - n_samples) // hop, -(-n_samples // hop))


class Framer:
    """`frames` for sound that arrives in pieces of any length: the same frames, each as soon as it is complete.

    >>> framer = Framer(frame=2, context=1)
    >>> for piece in ([1.0, 2.0, 3.0], [4.0, 5.0]):
    ...     for x in framer.push(np.array(piece, np.float32)):
    ...         print(x)
    [0. 1. 2.]
    [2. 3. 4.]
    >>> framer.flush()
    array([[4., 5., 0.]], dtype=float32)
    """

    def __init__(self, frame: int = 512, context: int = 0, hop: int | None = None) -> None:
        """Arguments and errors as of `frames`."""
        self.frame, self.context, self.hop = _sizes(frame, context, hop)
        self.reset()

    def reset(self) -> None:
        """Forget all samples: what comes next is the beginning of a sound."""
        self._kept = np.zeros(self.context, np.float32)
        self._skip = 0  # samples to come that no frame holds
        self._n_samples = self._n_frames = 0

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take float32 samples of shape (T,), give the frames that they complete: (n, context + frame).

        Raises:
            TypeError, ShapeError: as `frames`.
        """
        _require_float32(samples, (1,))
        self._n_samples += len(samples)
        ready = np.concatenate([self._kept, samples[self._skip :]])
        self._skip = max(0, self._skip - len(samples))
        size = self.context + self.frame
        n = max(0, (len(ready) - size) // self.hop + 1)
        self._n_frames += n
        self._skip += max(0, n * self.hop - len(ready))
        self._kept = ready[n * self.hop :].copy()
        return _windows(ready, size, self.hop, n)

    def flush(self) -> np.ndarray:
        """End the sound: the frame that is not complete, filled up with zeros, as (1, context + frame); or (0, ...) if
        no sample is left. Then start anew."""
        n = count_frames(self._n_samples, self.frame, self.hop) - self._n_frames
        size = self.context + self.frame
        last = np.concatenate([self._kept, np.zeros(size, np.float32)])[:size]
        self.reset()
        return _windows(last, size, self.hop, n)


def overlap_add(blocks: np.ndarray, hop: int) -> np.ndarray:
    """Join blocks of sound that lie `hop` samples apart, adding where they overlap: what undoes `frames` for models
    that give windowed blocks.

    Args:
        blocks: (n, size) floats; block k begins at sample k * hop.

    Returns:
        float32 of shape ((n - 1) * hop + size,), sums taken in float64.
    """
    blocks = np.asarray(blocks)
    if blocks.ndim != 2 or hop < 1:
        raise ShapeError(f"blocks of shape {blocks.shape} {hop} samples apart; expected (n, size) and a hop above 0")
    n, size = blocks.shape
    result = np.zeros((n - 1) * hop + size if n else 0)
    for k, block in enumerate(blocks):
        result[k * hop : k * hop + size] += block
    return result.astype(np.float32)


def _windows(samples: np.ndarray, size: int, hop: int, n: int) -> np.ndarray:
    if n == 0:
        return np.zeros((0, size), np.float32)
    return np.lib.stride_tricks.sliding_window_view(samples, size)[::hop][:n]


def _sizes(frame: int, context: int, hop: int | None) -> tuple[int, int, int]:
    frame, context, hop = index(frame), index(context), index(frame if hop is None else hop)
    if frame < 1 or context < 0 or hop < 1:
        raise ValueError(f"frame is {frame}, context {context}, hop {hop}; expected at least 1, 0 and 1")
    return frame, context, hop


def _require_float32(samples: np.ndarray, ranks: tuple[int, ...] = (1, 2)) -> None:
    dtype = getattr(samples, "dtype", type(samples).__name__)
    if dtype != np.float32:
        how = "x.astype(np.float32) / 32768" if dtype == np.int16 else "np.asarray(x, np.float32)"
        raise TypeError(f"samples are {dtype}, expected a float32 array with full scale at -1 and 1; try {how}")
    if samples.ndim not in ranks:
        raise ShapeError(
            f"samples have shape {samples.shape}, expected (T,): one channel; take x[:, 0], or x.mean(axis=1)"
        )
