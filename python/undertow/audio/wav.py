# SPDX-License-Identifier: MIT
"""The bytes of a .wav file: PCM of 8 to 32 bits, and floats."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from ..errors import FormatError, UnsupportedError

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_MAX_CHANNELS = 256


def parse(path: Path, data: bytes) -> tuple[np.ndarray, int]:
    """(samples (T, channels) float32, rate) of a RIFF WAVE file; errors as of `undertow.audio.read`."""
    # Not the wave module: before Python 3.12 it refuses WAVE_FORMAT_EXTENSIBLE, the usual form of 24 bits, and
    # it knows no floats.
    header = None
    at = 12
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if kind == b"fmt ":
            if size < 16 or at + size > len(data):
                raise FormatError(f"{path}: the fmt chunk is cut short")
            header = data[at : at + size]
        elif kind == b"data":
            if header is None:
                raise FormatError(f"{path}: the data come before their fmt chunk")
            # A recorder that was stopped hard leaves a size of 0 or 2^32 - 1: take what is there.
            end = len(data) if size in (0, 0xFFFFFFFF) else at + size
            if end > len(data):
                raise FormatError(f"{path}: cut short: {len(data) - at} bytes of samples, expected {size}")
            return _decode(path, header, data[at:end])
        at += size + size % 2
    raise FormatError(f"{path}: no samples in it (no data chunk)")


def _decode(path: Path, header: bytes, raw: bytes) -> tuple[np.ndarray, int]:
    code, n_channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", header)
    if code == _EXTENSIBLE and len(header) >= 26:
        (code,) = struct.unpack_from("<H", header, 24)
    if not 1 <= n_channels <= _MAX_CHANNELS or rate == 0:
        raise FormatError(f"{path}: {n_channels} channels at {rate} Hz cannot be")
    if (code, bits) not in ((_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)):
        raise UnsupportedError(
            f"{path}: WAV encoding {code} with {bits} bits is not supported; "
            "expected PCM of 8, 16, 24 or 32 bits, or floats"
        )
    frame_bytes = n_channels * bits // 8
    raw = raw[: len(raw) // frame_bytes * frame_bytes]
    if code == _FLOAT:
        with np.errstate(all="ignore"):  # a sample beyond float32 is infinite, as it may be in a file of float32
            samples = np.frombuffer(raw, f"<f{bits // 8}").astype(np.float32)
    elif bits == 8:
        samples = (np.frombuffer(raw, np.uint8).astype(np.float32) - 128.0) / 128.0
    elif bits == 24:
        padded = np.zeros((len(raw) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        samples = (padded.view("<i4")[:, 0] / 2.0**31).astype(np.float32)
    else:
        samples = (np.frombuffer(raw, f"<i{bits // 8}") / 2.0 ** (bits - 1)).astype(np.float32)
    return samples.reshape(-1, n_channels), rate
