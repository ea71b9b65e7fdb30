# SPDX-License-Identifier: MIT
"""Sound files written as sound comes: .wav by Python itself, others by soundfile; whole or not at all."""

from __future__ import annotations

import os
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .. import _files
from ..errors import UnsupportedError

#: suffix -> libsndfile's format and kind of samples; 16 bits where they are PCM
FORMATS = {
    ".wav": ("WAV", "PCM_16"), ".wave": ("WAV", "PCM_16"), ".bwf": ("WAV", "PCM_16"), ".rf64": ("RF64", "PCM_16"),
    ".w64": ("W64", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS"), ".oga": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"), ".mp3": ("MP3", "MPEG_LAYER_III"), ".aiff": ("AIFF", "PCM_16"),
    ".aif": ("AIFF", "PCM_16"), ".aifc": ("AIFF", "PCM_16"), ".au": ("AU", "PCM_16"), ".snd": ("AU", "PCM_16"),
    ".caf": ("CAF", "PCM_16"), ".voc": ("VOC", "PCM_16"), ".sph": ("NIST", "PCM_16"), ".nist": ("NIST", "PCM_16"),
}  # fmt: skip
_WAV = (".wav", ".wave", ".bwf")
#: of which libsndfile writes no file that can be read, without samples
_NEVER_EMPTY = (".flac", ".opus", ".mp3")


class Writer:
    """A sound file under construction.

    Attributes:
        n_cut: samples that had to be cut to full scale.
        n_rows: samples of each channel.
    """

    def __init__(self, channels: int) -> None:
        self.channels, self.n_cut, self.n_rows = channels, 0, 0

    def write(self, samples: np.ndarray) -> None:
        """Append float samples of shape (T,) or (T, channels). NaN becomes silence."""
        rows = np.nan_to_num(np.asarray(samples, np.float64).reshape(-1, self.channels))
        scaled = np.rint(rows * 32768.0)
        whole = np.clip(scaled, -32768, 32767)
        self.n_rows += len(rows)
        self.n_cut += int(np.count_nonzero(whole != scaled))
        self._append(whole)

    def _append(self, whole: np.ndarray) -> None:
        """Samples as whole numbers of 16 bits."""
        raise NotImplementedError


class _Wave(Writer):
    def __init__(self, sound: wave.Wave_write, channels: int) -> None:
        super().__init__(channels)
        self._sound = sound

    def _append(self, whole: np.ndarray) -> None:
        self._sound.writeframesraw(whole.astype("<i2").tobytes())


class _Piped(Writer):
    """A pipe takes a header once, with the size in it: it is written in the end."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.pieces: list[np.ndarray] = []

    def _append(self, whole: np.ndarray) -> None:
        self.pieces.append(whole.astype("<i2"))


class _Soundfile(Writer):
    def __init__(self, sound: Any, channels: int) -> None:
        super().__init__(channels)
        self._sound = sound

    def _append(self, whole: np.ndarray) -> None:
        self._sound.write(whole.astype(np.int16))


@contextmanager
def writing(path: str | os.PathLike[str], rate: int, channels: int = 1) -> Iterator[Writer]:
    """A file to append samples to, which becomes `path` when the block ends without an exception.

    Raises:
        UnsupportedError, ImportError: as `check`, or its format does not hold such a rate, so many channels, or no
            samples.
        OSError: it cannot be written; what was there before stays as it is.
    """
    check(path)
    suffix = _suffix(path)
    if not 0 < rate < 1 << 32:
        raise UnsupportedError(f"{os.fsdecode(path)}: sound at {rate} Hz cannot be; expected 1 to {(1 << 32) - 1}")
    with _files.opened(path) as file:
        if suffix not in _WAV:
            with _by_soundfile(file, path, suffix, rate, channels) as writer:
                yield writer
            return
        if file.seekable():
            with _header(file, rate, channels) as sound:
                yield (writer := _Wave(sound, channels))
            return
        piped = _Piped(channels)
        yield piped
        with _header(file, rate, channels) as sound:
            sound.writeframes(b"".join(piece.tobytes() for piece in piped.pieces))


def check(path: str | os.PathLike[str]) -> None:
    """Refuse a name that no sound can be written to.

    Raises:
        UnsupportedError: its suffix is of no format that is known.
        ImportError: soundfile, which writes that format, is missing.
    """
    suffix = _suffix(path)
    if suffix not in FORMATS:
        raise UnsupportedError(f"{os.fsdecode(path)}: expected a name that ends in {', '.join(FORMATS)}")
    if suffix not in _WAV:
        try:
            import soundfile  # noqa: F401
        except ImportError:
            raise ImportError(
                f'{os.fsdecode(path)}: soundfile writes {suffix}: pip install "undertow[audio]"; or write a .wav'
            ) from None


def _suffix(path: str | os.PathLike[str]) -> str:
    return Path(os.fsdecode(path)).suffix.lower()


@contextmanager
def _header(file: BinaryIO, rate: int, channels: int) -> Iterator[wave.Wave_write]:
    with wave.open(file, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        yield sound


@contextmanager
def _by_soundfile(
    file: BinaryIO, path: str | os.PathLike[str], suffix: str, rate: int, channels: int
) -> Iterator[Writer]:
    import soundfile

    kind, subtype = FORMATS[suffix]
    try:
        sound = soundfile.SoundFile(file, "w", rate, channels, format=kind, subtype=subtype)
    except (RuntimeError, ValueError) as error:
        why = str(error).rpartition(">: ")[2].removeprefix("Error : ").rstrip(".")
        raise UnsupportedError(
            f"{os.fsdecode(path)}: no {suffix} of {channels} channels at {rate} Hz: {why}; write a .wav"
        ) from None
    with sound:
        yield (writer := _Soundfile(sound, channels))
    if suffix in _NEVER_EMPTY and not writer.n_rows:
        raise UnsupportedError(f"{os.fsdecode(path)}: there are no samples, and no {suffix} is empty; write a .wav")
