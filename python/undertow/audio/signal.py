# SPDX-License-Identifier: MIT
"""Sound files and channels."""

from __future__ import annotations

import os
import wave
from operator import index
from pathlib import Path

import numpy as np

from .. import _files
from ..errors import Error, FormatError, ShapeError, UnsupportedError
from ..weights.contents import open_file
from . import wav
from .resampling import resample


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
    samples, file_rate = read(path)
    try:
        return resample(to_mono(samples, channel), file_rate, rate)
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
