# SPDX-License-Identifier: MIT
"""Sound files read piece by piece: .wav by ourselves, others by soundfile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import Error, FormatError, UnsupportedError
from ..weights.contents import bytes_of, open_file
from . import wav


class Reader(Protocol):
    """Sound that is read from its beginning to its end.

    Attributes:
        rate: samples per second. channels: how many.
        n_samples: of each channel; None where nothing says it.
    """

    rate: int
    channels: int

    @property
    def n_samples(self) -> int | None: ...

    def read(self, n: int) -> np.ndarray:
        """The next n samples, or as many as are left: float32 of shape (T, channels)."""


class _Soundfile:
    def __init__(self, path: Path, sound: Any) -> None:
        self._path, self._sound = path, sound
        self.rate, self.channels, self.n_samples = int(sound.samplerate), int(sound.channels), int(sound.frames)

    def read(self, n: int) -> np.ndarray:
        try:
            return np.asarray(self._sound.read(n, dtype="float32", always_2d=True))
        except RuntimeError as error:
            raise FormatError(f"{self._path}: soundfile cannot read on: {error}") from None


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[Reader]:
    """A sound file to read from; what it may be, and errors, as of `undertow.audio.read`."""
    path = Path(path)
    refused: Error = FormatError(f"{path}: not a WAV file")
    with open_file(path) as file:
        head = file.read(12)
        file.seek(0)
        if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
            try:
                reader = wav.Reader(path, file, bytes_of(file))
            except UnsupportedError as error:
                refused = error
            else:
                yield reader
                return
    try:
        import soundfile
    except ImportError:
        refused.args = (f'{refused}; for others: pip install "undertow[audio]", or convert it to PCM',)
        raise refused from None
    try:
        sound = soundfile.SoundFile(path)
    except RuntimeError as error:
        refused.args = (f"{refused}; nor does soundfile read it: {error}",)
        raise refused from None
    with sound:
        yield _Soundfile(path, sound)
