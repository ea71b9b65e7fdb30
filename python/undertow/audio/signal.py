# SPDX-License-Identifier: MIT
"""Sound files and channels."""

from __future__ import annotations

import os
from operator import index

import numpy as np

from ..errors import ShapeError
from .reading import reading
from .resampling import resample
from .writing import writing


def read(path: str | os.PathLike[str]) -> tuple[np.ndarray, int]:
    """Read a sound file.

    Args:
        path: a .wav of 8, 16, 24 or 32 bit PCM, of floats, mu-law or A-law; anything else that soundfile reads, where
            installed: WAVs of ADPCM and GSM, .flac, .ogg, .mp3, .aiff, .w64, .au, .caf ...

    Returns:
        (samples, rate): float32 of shape (T, channels), full scale at -1 and 1; samples per second.

    Raises:
        FormatError: not a sound file, or cut short.
        UnsupportedError: a .wav that is compressed or of an unusual sample size, where soundfile does not read it.

    >>> samples, rate = undertow.audio.read("speech.wav")             # doctest: +SKIP
    >>> samples.shape, rate                                           # doctest: +SKIP
    ((480000, 1), 16000)
    """
    with reading(path) as sound:
        pieces = [sound.read(sound.n_samples or 0)]
        while len(piece := sound.read(1 << 16)):  # some formats say less than they hold
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces), sound.rate


def write(path: str | os.PathLike[str], samples: np.ndarray, rate: int) -> int:
    """Write sound; the suffix says the format.

    Args:
        path: .wav, of 16 bits; .flac, .ogg, .opus, .mp3, .aiff, .au, .caf, .w64 ..., which soundfile writes, of 16 bits
            where they are PCM.
        samples: floats of shape (T,) or (T, channels), full scale at -1 and 1. NaN becomes silence.
        rate: samples per second.

    Returns:
        How many samples had to be cut to full scale.

    Raises:
        TypeError: samples are not floats, or the rate is no whole number. ShapeError: samples have another shape.
        UnsupportedError: another suffix, or a format that does not hold such a rate, so many channels, or no samples.
        ImportError: soundfile is missing.
        OSError: it cannot be written; what was there before stays as it is.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "tone.wav")
    >>> tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    >>> undertow.audio.write(path, tone, 16000)
    0
    >>> undertow.audio.load(path, rate=16000).shape
    (16000,)
    """
    samples, rate = np.asarray(samples), index(rate)
    if samples.dtype.kind != "f":
        raise TypeError(
            f"samples are {samples.dtype}, expected floats with full scale at -1 and 1; of int16: x / 32768"
        )
    if samples.ndim not in (1, 2):
        raise ShapeError(f"samples have shape {samples.shape}, expected (T,) or (T, channels)")
    with writing(path, rate, 1 if samples.ndim == 1 else samples.shape[1]) as sound:
        sound.write(samples)
    return sound.n_cut


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
