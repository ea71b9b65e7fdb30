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
from .framing import Framer, OverlapAdd, frames, require_float32


def window(size: int) -> np.ndarray:
    """The square root of a periodic Hann window: float64 of shape (`size`,).

    >>> window(4).round(3)
    array([0.   , 0.707, 1.   , 0.707])
    """
    return np.sin(np.pi * np.arange(size) / size)


def stft(samples: np.ndarray, size: int = 512, hop: int = 256) -> np.ndarray:
    """Spectra of sound.

    `Spectra` gives the same for sound that arrives in pieces.

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
    require_float32(samples, (1,))
    behind = np.zeros(size - hop if len(samples) else 0, np.float32)
    return _forward(frames(np.concatenate([samples, behind]), hop, size - hop), window(size))


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
    spectra = _checked(spectra, size)
    joined = OverlapAdd(size, hop)
    samples = np.concatenate([joined.push(_backward(spectra, size, hop)), joined.flush()])
    return samples[size - hop : max(len(spectra) * hop, size - hop)]


class Spectra:
    """`stft` and `istft` for sound that arrives in pieces of any length: the same bits, however it is cut.

    A spectrum comes with the last of its `hop` new samples. Sound that `join` gives back is `latency` samples,
    size - hop, behind the sound that was pushed: so a hop of 256 at a size of 512 and 16 kHz makes 16 ms to fill a
    frame and 16 ms until all frames that reach a sample are there.

    >>> spectra = Spectra(size=8, hop=4)
    >>> sound = np.sin(np.arange(18, dtype=np.float32))
    >>> out = [spectra.join(spectra.push(piece)) for piece in np.split(sound, [3, 11])]     # or a model between them
    >>> out.append(spectra.join(spectra.flush()))
    >>> np.abs(np.concatenate(out) - sound).max() < 1e-6
    np.True_
    """

    def __init__(self, size: int = 512, hop: int = 256) -> None:
        """Arguments and errors as of `stft`."""
        _check(size, hop)
        self.size, self.hop, self.latency = size, hop, size - hop
        self._window = window(size)
        self._framer = Framer(hop, context=size - hop)
        self._joined = OverlapAdd(size, hop)
        self.reset()

    def reset(self) -> None:
        """Forget all samples and spectra: what comes next is the beginning of a sound.

        >>> spectra.reset()
        """
        self._framer.reset()
        self._joined.reset()
        self._n_pushed = self._n_joined = 0
        self._skip = self.latency  # zeros that went before the sound
        self._ended = False

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take float32 samples of shape (T,), give the spectra that they complete: (n, size / 2 + 1, 2).

        After a `flush` this is the beginning of another sound.

        Raises:
            TypeError, ShapeError: as `frames`.

        >>> spectra.push(np.zeros(10, np.float32)).shape    # size 8, hop 4: two spectra, and two samples that wait
        (2, 5, 2)
        """
        if self._ended:
            self.reset()
        rows = self._framer.push(samples)
        self._n_pushed += len(samples)
        return _forward(rows, self._window)

    def flush(self) -> np.ndarray:
        """End the sound: the last spectra, which hear zeros after it. `join` gives its last samples for them.

        Returns: (n, size / 2 + 1, 2) float32.

        >>> begun = spectra.push(np.zeros(10, np.float32))
        >>> spectra.flush().shape
        (2, 5, 2)
        """
        if self._ended or not self._n_pushed:
            self._ended = True
            return np.zeros((0, self.size // 2 + 1, 2), np.float32)
        self._ended = True
        rows = self._framer.push(np.zeros(self.latency, np.float32))
        return _forward(np.concatenate([rows, self._framer.flush()]), self._window)

    def join(self, spectra: np.ndarray) -> np.ndarray:
        """Take spectra (n, size / 2 + 1, 2), or one of them, as a model gives them; give the samples that they
        complete: float32 of shape (T,). Behind `flush`, none beyond those that were pushed.

        Raises:
            ShapeError: spectra have another shape.

        >>> spectra.reset()
        >>> spectra.join(spectra.push(np.ones(8, np.float32))).shape       # late by size - hop
        (4,)
        """
        spectra = np.asarray(spectra)
        checked = _checked(spectra[None] if spectra.shape == (self.size // 2 + 1, 2) else spectra, self.size)
        samples = self._joined.push(_backward(checked, self.size, self.hop))
        n = min(self._skip, len(samples))
        self._skip -= n
        samples = samples[n:]
        if self._ended:
            samples = samples[: max(0, self._n_pushed - self._n_joined)]
        self._n_joined += len(samples)
        return samples


def _forward(rows: np.ndarray, shape: np.ndarray) -> np.ndarray:
    spectra = np.fft.rfft(rows * shape)
    return np.stack([spectra.real, spectra.imag], axis=-1).astype(np.float32)


def _backward(spectra: np.ndarray, size: int, hop: int) -> np.ndarray:
    """Blocks (n, size) under the window. The squares of the windows over a sample add up to size / (2 hop)."""
    blocks = np.fft.irfft(spectra[..., 0] + 1j * spectra[..., 1].astype(np.float64), size)
    return np.asarray(blocks * window(size) * (2 * hop / size))


def _checked(spectra: np.ndarray, size: int) -> np.ndarray:
    spectra = np.asarray(spectra)
    if spectra.ndim != 3 or spectra.shape[1:] != (size // 2 + 1, 2):
        raise ShapeError(f"spectra have shape {spectra.shape}, expected (T, {size // 2 + 1}, 2) for a size of {size}")
    return spectra


def _check(size: int, hop: int) -> None:
    size, hop = index(size), index(hop)
    if hop < 1 or size < 2 * hop or size % hop or size % 2:
        raise ValueError(f"size is {size} and hop {hop}; expected an even size that is 2, 3, 4 ... times the hop")
