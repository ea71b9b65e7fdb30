# SPDX-License-Identifier: MIT
"""Sound files, channels and sampling rates."""

from __future__ import annotations

import os
import wave
from math import gcd
from operator import index
from pathlib import Path

import numpy as np

from .. import _files
from ..errors import Error, FormatError, ShapeError, UnsupportedError
from ..weights.contents import open_file
from . import wav
from .framing import require_float32

#: A rate is a number in the file: a wrong one must not turn a small file into all of the memory.
_MAX_STRETCH = 256


def read(path: str | os.PathLike[str]) -> tuple[np.ndarray, int]:
    """Read a sound file.

    Args:
        path: a .wav of 8, 16, 24 or 32 bit PCM or of floats; anything else that soundfile reads, where installed:
            telephone WAVs (mu-law, A-law, ADPCM, GSM), .flac, .ogg, .mp3, .aiff, .w64, .au, .caf ...

    Returns:
        (samples, rate): float32 of shape (T, channels), full scale at -1 and 1; samples per second.

    Raises:
        FormatError: not a sound file, or cut short.
        UnsupportedError: a .wav that is compressed or of an unusual sample size, where soundfile does not read it.

    >>> samples, rate = undertow.audio.read("speech.wav")             # doctest: +SKIP
    >>> samples.shape, rate                                           # doctest: +SKIP
    ((480000, 1), 16000)
    """
    path = Path(path)
    with open_file(path) as file:
        data = file.read()
    refused: Error = FormatError(f"{path}: not a WAV file")
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        try:
            return wav.parse(path, data)
        except UnsupportedError as error:
            refused = error
    try:
        import soundfile
    except ImportError:
        refused.args = (f'{refused}; for others: pip install "undertow[audio]", or convert it to PCM',)
        raise refused from None
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except RuntimeError as error:
        refused.args = (f"{refused}; nor does soundfile read it: {error}",)
        raise refused from None
    return samples, int(rate)


def write(path: str | os.PathLike[str], samples: np.ndarray, rate: int) -> int:
    """Write float samples as a 16-bit WAV; give how many had to be cut to full scale.

    Args:
        path: of the file.
        samples: (T,) or (T, channels), full scale at -1 and 1.
        rate: samples per second.

    Raises:
        OSError: it cannot be written; what was there before stays as it is.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "tone.wav")
    >>> tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    >>> undertow.audio.write(path, tone, 16000)
    0
    >>> undertow.audio.load(path, rate=16000).shape
    (16000,)
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

    >>> samples = undertow.audio.load("speech.wav", rate=16000)       # doctest: +SKIP
    """
    samples, file_rate = read(path)
    try:
        return resample(to_mono(samples, channel), file_rate, rate)
    except ShapeError as error:
        raise ShapeError(f"{path}: {error}") from None


def to_mono(samples: np.ndarray, channel: int | str | None = None) -> np.ndarray:
    """One channel of sound.

    Args:
        samples: (T, channels).
        channel: counted from 0; or "mix" for the mean of all; None for the only one.

    Returns: (T,).

    Raises:
        ShapeError: there are several and `channel` is None, or there is no such channel.

    >>> to_mono(np.float32([[0, 1], [0.5, 1]]), "mix")
    array([0.5 , 0.75], dtype=float32)
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
    """Sound at another rate.

    Args:
        samples: float32 of shape (T,) or (T, channels).
        rate: samples per second that it has.
        to: that it is to have.

    Returns: float32 samples, about T * to / rate of them.

    By soxr (its quality HQ) where installed, or else by `scipy.signal.resample_poly`, which differs from it near the
    upper end of the band. Samples at the rate that is wanted are given as they are.

    Raises:
        ImportError: neither is installed.
        UnsupportedError: a rate is not above 0, or one is more than 256 times the other.

    >>> resample(np.zeros(48000, np.float32), 48000, to=16000).shape       # doctest: +SKIP
    (16000,)
    """
    rate, to = index(rate), index(to)
    if min(rate, to) < 1 or max(rate, to) > _MAX_STRETCH * min(rate, to):
        raise UnsupportedError(f"cannot resample from {rate} Hz to {to} Hz")
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
        raise ImportError(
            f'the sound is at {rate} Hz and {to} Hz are wanted: resampling needs soxr: pip install "undertow[audio]"'
        ) from None
    common = gcd(rate, to)
    return np.asarray(resample_poly(samples.astype(np.float64), to // common, rate // common), np.float32)
