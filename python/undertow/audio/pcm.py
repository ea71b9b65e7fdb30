# SPDX-License-Identifier: MIT
"""Samples as raw bytes, without a header, as pipes carry them: `arecord -t raw`, `ffmpeg -f s16le`, `aplay`."""

from __future__ import annotations

import numpy as np

from ..errors import UnsupportedError

#: name, as ffmpeg's -> dtype of a sample; s24le has none
_DTYPES = {
    "u8": "u1", "s8": "i1", "s16le": "<i2", "s16be": ">i2", "s24le": "", "s32le": "<i4", "s32be": ">i4",
    "f32le": "<f4", "f32be": ">f4", "f64le": "<f8", "f64be": ">f8", "mulaw": "u1", "alaw": "u1",
}  # fmt: skip
#: names of arecord and aplay
_ALSA = {"float": "f32le", "float_le": "f32le", "float_be": "f32be", "float64_le": "f64le", "mu_law": "mulaw"}
_ALSA |= {"a_law": "alaw", "s24_3le": "s24le", "ulaw": "mulaw", "s16": "s16le", "s32": "s32le", "f32": "f32le"}

NAMES = tuple(_DTYPES)


def format_name(text: str) -> str:
    """A format's name as it stands in `NAMES`, told as ffmpeg or arecord tells it: s16le, S16_LE.

    Raises:
        UnsupportedError: there is none of that name.
    """
    name = text.strip().lower()
    name = _ALSA.get(name, name if name in _DTYPES else name.replace("_", ""))
    if name not in _DTYPES:
        raise UnsupportedError(f"{text!r} is no format of raw samples; expected one of {', '.join(NAMES)}")
    return name


def sample_bytes(name: str) -> int:
    """Bytes of one sample."""
    return 3 if name == "s24le" else np.dtype(_DTYPES[name]).itemsize


def decode(name: str, data: bytes, channels: int = 1) -> np.ndarray:
    """float32 of shape (T, channels), full scale at -1 and 1, of bytes that are whole samples of all channels."""
    if name == "s24le":
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        samples = (padded.view("<i4")[:, 0] / 2.0**31).astype(np.float32)
    else:
        numbers = np.frombuffer(data, _DTYPES[name])
        if name in _COMPANDED:
            samples = _COMPANDED[name][numbers]
        elif name[0] == "f":
            with np.errstate(all="ignore"):  # a sample beyond float32 is infinite, as it may be in float32 itself
                samples = numbers.astype(np.float32)
        elif name == "u8":
            samples = (numbers.astype(np.float32) - 128.0) / 128.0
        else:
            samples = (numbers / 2.0 ** (8 * numbers.dtype.itemsize - 1)).astype(np.float32)
    return samples.reshape(-1, channels)


def encode(name: str, samples: np.ndarray) -> tuple[bytes, int]:
    """Bytes of samples (T,) or (T, channels), and how many of them were cut to full scale. NaN becomes silence."""
    samples = np.asarray(samples, np.float64).reshape(-1)
    if name[0] == "f":
        return samples.astype(_DTYPES[name]).tobytes(), 0
    samples = np.nan_to_num(samples)
    if name in _COMPANDED:
        return _companded(name, samples)
    bits = 8 * sample_bytes(name)
    scaled = np.rint(samples * 2.0 ** (bits - 1))
    whole = np.clip(scaled, -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1)
    n_cut = int(np.count_nonzero(whole != scaled))
    if name == "s24le":
        return whole.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes(), n_cut
    return (whole + 128 if name == "u8" else whole).astype(_DTYPES[name]).tobytes(), n_cut


def _mulaw() -> np.ndarray:
    """The 256 values of mu-law (ITU-T G.711, table 2): a sign, 3 bits of segment, 4 bits of step; all bits inverted."""
    code = ~np.arange(256, dtype=np.uint8)
    segment, step = (code >> 4) & 7, (code & 15).astype(np.float64)
    size = ((2 * step + 33) * 2.0**segment - 33) * 4
    return (np.where(code & 128, -size, size) / 32768).astype(np.float32)


def _alaw() -> np.ndarray:
    """The 256 values of A-law (ITU-T G.711, table 1), where every other bit is inverted."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    segment, step = (code >> 4) & 7, (code & 15).astype(np.float64)
    size = np.where(segment == 0, 2 * step + 1, (2 * step + 33) * 2.0 ** (np.maximum(segment, 1) - 1.0)) * 8
    return (np.where(code & 128, size, -size) / 32768).astype(np.float32)


_COMPANDED = {"mulaw": _mulaw(), "alaw": _alaw()}


def _companded(name: str, samples: np.ndarray) -> tuple[bytes, int]:
    """The code of the nearest value of a law."""
    values = _COMPANDED[name].astype(np.float64)
    order = np.argsort(values, kind="stable")
    order = order[(order != 127) | (name != "mulaw")]  # its second zero
    ranked = values[order]
    borders = (ranked[1:] + ranked[:-1]) / 2
    # Full scale is the last value and half a step, as it is for PCM.
    n_cut = int(np.count_nonzero(np.abs(samples) > 1.0))
    return order[np.searchsorted(borders, samples)].astype(np.uint8).tobytes(), n_cut
