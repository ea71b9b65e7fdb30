# SPDX-License-Identifier: MIT
"""Sound as frames: cut with overlap, whole or as it comes, and added up again."""

from __future__ import annotations

from operator import index

import numpy as np

from ..errors import ShapeError


def frames(
    samples: np.ndarray, frame: int = 512, context: int = 0, hop: int | None = None, *, pad: bool = True
) -> np.ndarray:
    """Cut sound into the frames that a model takes one by one.

    Frame k holds `context` samples that went before, then `frame` samples from k * hop on. Before the first sample
    there are zeros.

    Args:
        samples: float32 of shape (T,).
        frame: samples of a frame that are new, if hop is not smaller.
        context: samples from before in front of them.
        hop: from frame to frame; `frame` when omitted.
        pad: fill the last frame up with zeros, so that no sample is lost; False leaves such a frame out.

    Returns:
        (n_frames, context + frame), a read-only view in which overlapping frames share their memory: rows for
        `Stream.step`, or the whole for `Model.run`.

    Raises:
        TypeError: samples are not float32.
        ShapeError: samples have another shape.
        ValueError: a size is out of range.

    >>> frames(np.float32([1, 2, 3, 4, 5]), frame=2, context=1)
    array([[0., 1., 2.],
           [2., 3., 4.],
           [4., 5., 0.]], dtype=float32)
    """
    frame, context, hop = _sizes(frame, context, hop)
    require_float32(samples, (1,))
    n = len(samples)
    n_frames = count_frames(n, frame, hop) if pad else max(0, (n - frame) // hop + 1)
    missing = max(0, (n_frames - 1) * hop + frame - n)
    ready = np.concatenate([np.zeros(context, np.float32), samples, np.zeros(missing, np.float32)])
    return _windows(ready, context + frame, hop, n_frames)


def count_frames(n_samples: int, frame: int, hop: int) -> int:
    """How many frames hold every sample that any frame can hold, the last one filled up with zeros."""
    if n_samples <= frame:
        return int(n_samples > 0)
    return min(1 - (frame - n_samples) // hop, -(-n_samples // hop))


class Framer:
    """`frames` for sound that arrives in pieces of any length: the same frames, each as soon as it is complete.

    Args:
        frame, context, hop: as of `frames`; so are the errors.

    >>> framer = Framer(frame=2, context=1)
    >>> for piece in ([1.0, 2.0, 3.0], [4.0, 5.0]):
    ...     for x in framer.push(np.array(piece, np.float32)):
    ...         print(x)
    [0. 1. 2.]
    [2. 3. 4.]
    >>> framer.flush()
    array([[4., 5., 0.]], dtype=float32)
    """

    def __init__(self, frame: int = 512, context: int = 0, hop: int | None = None) -> None:
        self.frame, self.context, self.hop = _sizes(frame, context, hop)
        self.reset()

    def reset(self) -> None:
        """Forget all samples: what comes next is the beginning of a sound.

        >>> framer.reset()
        >>> framer.push(np.float32([7, 8]))                 # zeros before them again
        array([[0., 7., 8.]], dtype=float32)
        """
        self._kept = np.zeros(self.context, np.float32)
        self._skip = 0  # samples to come that no frame holds
        self._n_samples = self._n_frames = 0

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take `samples`, float32 of shape (T,), and give the frames that they complete: (n, context + frame).

        Raises:
            TypeError, ShapeError: as `frames`.

        >>> framer.push(np.zeros(7, np.float32)).shape      # three frames, and one sample that waits
        (3, 3)
        """
        require_float32(samples, (1,))
        self._n_samples += len(samples)
        ready = np.concatenate([self._kept, samples[self._skip :]])
        self._skip = max(0, self._skip - len(samples))
        size = self.context + self.frame
        n = max(0, (len(ready) - size) // self.hop + 1)
        self._n_frames += n
        self._skip += max(0, n * self.hop - len(ready))
        self._kept = ready[n * self.hop :].copy()
        return _windows(ready, size, self.hop, n)

    def flush(self) -> np.ndarray:
        """End the sound: the frame that is not complete, filled up with zeros. Then start anew.

        Returns: (1, context + frame); (0, context + frame) if no sample is left.

        >>> frames = framer.push(np.float32([1, 2, 3]))
        >>> framer.flush()
        array([[2., 3., 0.]], dtype=float32)
        """
        n = count_frames(self._n_samples, self.frame, self.hop) - self._n_frames
        size = self.context + self.frame
        last = np.concatenate([self._kept, np.zeros(size, np.float32)])[:size]
        self.reset()
        return _windows(last, size, self.hop, n)


class OverlapAdd:
    """`overlap_add` for blocks that come one by one: each sample as soon as no later block reaches it.

    What comes out is late by `latency` samples, size - hop: the first hop samples of a block are complete with it.

    >>> joined = OverlapAdd(size=3, hop=2)
    >>> joined.push(np.array([[1, 2, 3], [10, 20, 30]], np.float32))
    array([ 1.,  2., 13., 20.], dtype=float32)
    >>> joined.flush()
    array([30.], dtype=float32)
    """

    def __init__(self, size: int, hop: int) -> None:
        """
        Args:
            size: samples of a block. hop: from block to block.

        Raises:
            ValueError: a size is below 1.
        """
        self.size, self.hop = index(size), index(hop)
        if self.size < 1 or self.hop < 1:
            raise ValueError(f"size is {size} and hop {hop}; expected at least 1 each")
        self.latency = max(0, self.size - self.hop)
        self.reset()

    def reset(self) -> None:
        """Forget all blocks: what comes next is the first block of a sound.

        >>> joined.reset()
        """
        self._kept = np.zeros(self.latency)  # samples that later blocks reach, summed up so far
        self._begun = False

    def push(self, blocks: np.ndarray) -> np.ndarray:
        """Take `blocks` (n, size), or one of them (size,); give the samples that they complete: float32 of shape (T,).

        Raises:
            ShapeError: blocks have another shape.

        >>> joined.push(np.float32([1, 2, 3]))              # one block: its first hop samples are complete
        array([1., 2.], dtype=float32)
        """
        blocks = np.asarray(blocks)
        rows = blocks[None] if blocks.ndim == 1 else blocks
        if rows.ndim != 2 or rows.shape[1] != self.size:
            raise ShapeError(f"blocks have shape {blocks.shape}, expected (n, {self.size})")
        gap = max(0, self.hop - self.size)  # between blocks that do not meet
        complete = np.zeros(len(rows) * self.hop + self.latency)
        complete[: self.latency] = self._kept
        for k, block in enumerate(rows):
            complete[k * self.hop : k * self.hop + self.size] += block
        end = len(rows) * self.hop
        self._kept = complete[end : end + self.latency]
        samples = complete[:end].astype(np.float32)
        if gap and len(rows):
            before = np.zeros(gap if self._begun else 0, np.float32)
            samples = np.concatenate([before, samples[: end - gap]])
        self._begun |= len(rows) > 0
        return samples

    def flush(self) -> np.ndarray:
        """End the sound: the samples that only the last blocks reach. Then start anew.

        Returns: float32 of shape (size - hop,), or (0,) where no block came.

        >>> samples = joined.push(np.float32([1, 2, 3]))
        >>> joined.flush()
        array([3.], dtype=float32)
        """
        rest = self._kept[: self.latency if self._begun else 0].astype(np.float32)
        self.reset()
        return rest


def overlap_add(blocks: np.ndarray, hop: int) -> np.ndarray:
    """Join blocks of sound that lie `hop` samples apart, adding where they overlap: what undoes `frames` for models
    that give windowed blocks.

    Args:
        blocks: (n, size) floats; block k begins at sample k * hop.
        hop: samples from block to block.

    Returns:
        float32 of shape ((n - 1) * hop + size,), sums taken in float64.

    Raises:
        ShapeError: blocks have another shape, or hop is not above 0.

    >>> overlap_add(np.ones((3, 4)), hop=2)
    array([1., 1., 2., 2., 2., 2., 1., 1.], dtype=float32)
    """
    blocks = np.asarray(blocks)
    if blocks.ndim != 2 or hop < 1:
        raise ShapeError(f"blocks of shape {blocks.shape} {hop} samples apart; expected (n, size) and a hop above 0")
    if not blocks.size:
        return np.zeros(0, np.float32)
    joined = OverlapAdd(blocks.shape[1], hop)
    return np.concatenate([joined.push(blocks), joined.flush()])


def _windows(samples: np.ndarray, size: int, hop: int, n: int) -> np.ndarray:
    if n == 0:
        return np.zeros((0, size), np.float32)
    return np.lib.stride_tricks.sliding_window_view(samples, size)[::hop][:n]


def _sizes(frame: int, context: int, hop: int | None) -> tuple[int, int, int]:
    frame, context, hop = index(frame), index(context), index(frame if hop is None else hop)
    if frame < 1 or context < 0 or hop < 1:
        raise ValueError(f"frame is {frame}, context {context}, hop {hop}; expected at least 1, 0 and 1")
    return frame, context, hop


def require_float32(samples: np.ndarray, ranks: tuple[int, ...] = (1, 2)) -> None:
    dtype = getattr(samples, "dtype", type(samples).__name__)
    if dtype != np.float32:
        how = "x.astype(np.float32) / 32768" if dtype == np.int16 else "np.asarray(x, np.float32)"
        raise TypeError(f"samples are {dtype}, expected a float32 array with full scale at -1 and 1; try {how}")
    if samples.ndim not in ranks:
        wanted = "(T, channels)" if 1 not in ranks else "(T,): one channel; take x[:, 0], or x.mean(axis=1)"
        raise ShapeError(f"samples have shape {samples.shape}, expected {wanted}")
