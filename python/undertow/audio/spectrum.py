# SPDX-License-Identifier: MIT
"""Spectra of sound, frame by frame, for models that hear frequencies; part of `undertow.audio`.

A frame is `size` samples under the square root of a Hann window (periodic), `hop` after the one before. Taken twice,
when sound becomes spectra and when spectra become sound, the window adds up to a constant (Allen and Rabiner, "A
unified approach to short-time Fourier analysis and synthesis", 1977). Frame k ends before sample (k + 1) * hop, so it
can be had as soon as its samples are there: as if (size - hop) zeros went before the sound.
"""

from __future__ import annotations

from operator import index

import numpy as np

from ..errors import ShapeError
from .framing import frames, overlap_add


def window(size: int) -> np.ndarray:
    """The square root of a periodic Hann window: float64 of shape (`size`,).

    >>> window(4).round(3)
    array([0.   , 0.707, 1.   , 0.707])
    """
    return np.sin(np.pi * np.arange(size) / size)


def stft(samples: np.ndarray, size: int = 512, hop: int = 256) -> np.ndarray:
    """Spectra of sound.

    For sound that arrives in pieces, take the frames of `Framer(frame=hop, context=size - hop)` and give each
    `np.fft.rfft(frame * window(size))`.

    Args:
        samples: float32 of shape (T,).
        size: samples of a frame, even.
        hop: from frame to frame; size is a multiple of it, twice or more.

    Returns:
        float32 of shape (n_frames, size / 2 + 1, 2): real and imaginary parts, not scaled. The last frames hear zeros
        after the sound, so that `istft` gives every sample back.

    Raises:
        TypeError, ShapeError: as `frames`.
        ValueError: size and hop do not go together.

    >>> sound = np.random.default_rng(0).normal(size=16000).astype(np.float32)
    >>> spectra = stft(sound)
    >>> spectra.shape
    (64, 257, 2)
    >>> bool(np.abs(istft(spectra)[:16000] - sound).max() < 1e-5)
    True
    """

    _check(size, hop)
    rows = frames(np.concatenate([samples, np.zeros(size - hop, np.float32)]), hop, size - hop) if len(samples) else ()
    if not len(rows):
        return np.zeros((0, size // 2 + 1, 2), np.float32)
    spectra = np.fft.rfft(rows * window(size))
    return np.stack([spectra.real, spectra.imag], axis=-1).astype(np.float32)


def istft(spectra: np.ndarray, size: int = 512, hop: int = 256) -> np.ndarray:
    """Sound of spectra: what undoes `stft`, but for rounding.

    Args:
        spectra: (n_frames, size / 2 + 1, 2), real and imaginary parts.
        size, hop: as of `stft`.

    Returns:
        float32 of shape ((n_frames - size / hop + 1) * hop,): the samples of which all frames are there.

    Raises:
        ShapeError: spectra have another shape. ValueError: size and hop do not go together.

    >>> istft(np.zeros((64, 257, 2), np.float32)).shape
    (16128,)
    """

    _check(size, hop)
    spectra = np.asarray(spectra)
    if spectra.ndim != 3 or spectra.shape[1:] != (size // 2 + 1, 2):
        raise ShapeError(f"spectra have shape {spectra.shape}, expected (T, {size // 2 + 1}, 2) for a size of {size}")
    blocks = np.fft.irfft(spectra[..., 0] + 1j * spectra[..., 1].astype(np.float64), size)
    # The squares of the windows that cover a sample add up to size / (2 hop).
    return overlap_add(blocks * window(size) * (2 * hop / size), hop)[size - hop : max(len(blocks) * hop, size - hop)]


def _check(size: int, hop: int) -> None:
    size, hop = index(size), index(hop)
    if hop < 1 or size < 2 * hop or size % hop or size % 2:
        raise ValueError(f"size is {size} and hop {hop}; expected an even size that is 2, 3, 4 ... times the hop")
