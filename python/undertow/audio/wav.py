# SPDX-License-Identifier: MIT
"""The bytes of a .wav file as they come: PCM of 8 to 32 bits, floats, and the laws of telephones."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, UnsupportedError
from . import pcm

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_ENCODINGS = {
    (_PCM, 8): "u8", (_PCM, 16): "s16le", (_PCM, 24): "s24le", (_PCM, 32): "s32le", (_FLOAT, 32): "f32le",
    (_FLOAT, 64): "f64le", (_ALAW, 8): "alaw", (_MULAW, 8): "mulaw",
}  # fmt: skip
MAX_CHANNELS = 256
#: A program that writes to a pipe cannot know the size: it says 0, or about 2^31 or 2^32.
_UNKNOWN = 0x7FF00000
_PIECE = 1 << 16


class Reader:
    """A RIFF WAVE file that is read from its beginning to its end.

    Attributes:
        rate: samples per second. channels: how many.
        n_samples: of each channel; None where the file does not say.
    """

    def __init__(self, name: str | Path, file: Any, n_bytes: int | None = None) -> None:
        """
        Args:
            name: what errors call it.
            file: binary; only its `read` is used.
            n_bytes: its size, where it is known.

        Raises:
            FormatError: it is none, or cut short. UnsupportedError: of another encoding.
        """
        self._name, self._file, self._at, self._n_bytes = name, file, 0, n_bytes
        self._left = self._find_samples()  # bytes; None: up to the end
        self._frame_bytes = self.channels * pcm.sample_bytes(self._encoding)
        self.n_samples = None if self._left is None else self._left // self._frame_bytes
        self._cut = b""

    def read(self, n: int) -> np.ndarray:
        """The next n samples, or as many as are left: float32 of shape (T, channels).

        Raises:
            FormatError: the file ends before its size says so.
        """
        n_bytes = self._within(n * self._frame_bytes - len(self._cut))
        part = self._file.read(n_bytes)
        self._count(part, len(part) < n_bytes)
        return self._decoded(part)

    def read_ready(self, n: int) -> np.ndarray:
        """As `read`, of a pipe: as many of the next n as are there, at least one but for the end."""
        while True:
            n_bytes = self._within(n * self._frame_bytes - len(self._cut))
            part = self._file.read1(n_bytes) if n_bytes else b""
            self._count(part, n_bytes > 0 and not part)
            samples = self._decoded(part)
            if len(samples) or not part:
                return samples

    def _within(self, n_bytes: int) -> int:
        return n_bytes if self._left is None else min(n_bytes, self._left)

    def _decoded(self, part: bytes) -> np.ndarray:
        data = self._cut + part
        end = len(data) // self._frame_bytes * self._frame_bytes
        self._cut = data[end:]
        return pcm.decode(self._encoding, data[:end], self.channels)

    def _count(self, part: bytes, ended: bool) -> None:
        if self._left is not None:
            self._left -= len(part)
            if ended:
                raise self._cut_short(self._left)

    def _cut_short(self, n_missing: int) -> FormatError:
        size = self._size
        return FormatError(f"{self._name}: cut short: {size - n_missing} bytes of samples, expected {size}")

    def _find_samples(self) -> int | None:
        head = self._file.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            raise FormatError(f"{self._name}: not a WAV file")
        self._at = 12
        header = b""
        while len(chunk := self._file.read(8)) == 8:
            self._at += 8
            kind, size = struct.unpack("<4sI", chunk)
            if kind == b"data":
                return self._begin(header, size)
            is_header = kind == b"fmt "
            kept = self._file.read(min(size, 40)) if is_header else b""
            is_whole = self._skip(size - len(kept))
            if is_header and (size < 16 or not is_whole):
                raise FormatError(f"{self._name}: the fmt chunk is cut short")
            header = kept or header
            self._file.read(size % 2)
            self._at += size + size % 2
        raise FormatError(f"{self._name}: no samples in it (no data chunk)")

    def _skip(self, n: int) -> bool:
        while n > 0 and (part := self._file.read(min(n, _PIECE))):
            n -= len(part)
        return n == 0

    def _begin(self, header: bytes, size: int) -> int | None:
        if not header:
            raise FormatError(f"{self._name}: the data come before their fmt chunk")
        code, self.channels, self.rate, _, _, bits = struct.unpack_from("<HHIIHH", header)
        if code == _EXTENSIBLE and len(header) >= 26:
            (code,) = struct.unpack_from("<H", header, 24)
        if not 1 <= self.channels <= MAX_CHANNELS or self.rate == 0:
            raise FormatError(f"{self._name}: {self.channels} channels at {self.rate} Hz cannot be")
        if (code, bits) not in _ENCODINGS:
            raise UnsupportedError(
                f"{self._name}: WAV encoding {code} with {bits} bits is not supported; "
                "expected PCM of 8, 16, 24 or 32 bits, floats, mu-law or A-law"
            )
        self._encoding = _ENCODINGS[code, bits]
        self._size = size
        # A recorder that was stopped hard leaves a size of 0 or 2^32 - 1, too: take what is there.
        if size in (0, 0xFFFFFFFF) or (self._n_bytes is None and size >= _UNKNOWN):
            return None if self._n_bytes is None else self._n_bytes - self._at
        if self._n_bytes is not None and self._at + size > self._n_bytes:
            raise self._cut_short(size - (self._n_bytes - self._at))
        return size


def parse(path: Path, data: bytes) -> tuple[np.ndarray, int]:
    """(samples (T, channels) float32, rate) of a RIFF WAVE file; errors as of `undertow.audio.read`."""
    reader = Reader(path, io.BytesIO(data), len(data))
    return reader.read(reader.n_samples or 0), reader.rate
