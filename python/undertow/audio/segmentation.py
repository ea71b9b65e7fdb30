# SPDX-License-Identifier: MIT
"""Speech as segments: where it begins and ends, told from how likely each frame of a sound is speech.

The rules are those of silero-vad's `get_speech_timestamps`, under its names and with its numbers where none are given,
so that what was tuned there holds here:

* Speech begins with a frame at or above `threshold`, and ends where frames fall below `neg_threshold` and none comes
  back to `threshold` for `min_silence_duration_ms`: what lies between the two thresholds changes nothing.
* Segments of no more than `min_speech_duration_ms` are dropped.
* One that gets longer than `max_speech_duration_s` is cut: at the longest silence in it that is longer than
  `min_silence_at_max_speech` (the first of equals), and goes on behind it; at the frame itself where it has none.
  Without `use_max_poss_sil_at_max_speech`, at the last such silence.
* `speech_pad_ms` are added on both sides, and where two segments are closer than that twice, each takes half of the
  silence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np

from ..errors import ShapeError


@dataclass(frozen=True)
class Segment:
    """A part of a sound: samples[start:end].

    Args:
        start, end: its first sample, and the one behind its last.
        rate: samples per second.

    >>> Segment(8000, 24000, rate=16000).end_s
    1.5
    """

    start: int
    end: int
    rate: int

    @property
    def start_s(self) -> float:
        """Seconds from the beginning of the sound to that of the segment.

        >>> Segment(8000, 24000, rate=16000).start_s
        0.5
        """
        return self.start / self.rate

    @property
    def end_s(self) -> float:
        """Seconds from the beginning of the sound to the end of the segment.

        >>> Segment(8000, 24000, rate=16000).end_s
        1.5
        """
        return self.end / self.rate

    @property
    def duration_s(self) -> float:
        """Seconds that it lasts.

        >>> Segment(8000, 24000, rate=16000).duration_s
        1.0
        """
        return (self.end - self.start) / self.rate

    def __str__(self) -> str:
        return f"{self.start_s:.3f} s to {self.end_s:.3f} s"


class Segmenter:
    """`segments` for probabilities that come frame by frame: the same segments, each as soon as nothing can change it.

    That is when its silence is long enough and padding cannot meet the next one. `speaking` and `since` tell at once
    that speech has begun, before it is known whether it lasts.

    >>> segmenter = Segmenter(hop=512, rate=16000)
    >>> for p in [0.1, 0.9, 0.9] + 8 * [0.8] + 10 * [0.0]:
    ...     for segment in segmenter.push(p):
    ...         print(segment)
    0.002 s to 0.382 s
    """

    def __init__(
        self,
        hop: int = 512,
        rate: int = 16000,
        *,
        threshold: float = 0.5,
        neg_threshold: float | None = None,
        min_speech_duration_ms: float = 250,
        max_speech_duration_s: float = math.inf,
        min_silence_duration_ms: float = 100,
        speech_pad_ms: float = 30,
        min_silence_at_max_speech: float = 98,
        use_max_poss_sil_at_max_speech: bool = True,
    ) -> None:
        """Arguments and errors as of `segments`."""
        self.hop, self.rate = index(hop), index(rate)
        if self.hop < 1 or self.rate < 1:
            raise ValueError(f"hop is {hop} and rate {rate}; expected at least 1 each")
        self.threshold = float(threshold)
        self.neg_threshold = max(threshold - 0.15, 0.01) if neg_threshold is None else float(neg_threshold)
        if not 0 <= self.threshold <= 1 or not 0 <= self.neg_threshold <= 1:
            raise ValueError(f"threshold is {threshold} and neg_threshold {neg_threshold}; expected 0 to 1")
        if neg_threshold is not None and neg_threshold > threshold:
            raise ValueError(
                f"neg_threshold is {neg_threshold}, above threshold {threshold}: speech would end where it begins"
            )
        times = {
            "min_speech_duration_ms": min_speech_duration_ms,
            "max_speech_duration_s": max_speech_duration_s,
            "min_silence_duration_ms": min_silence_duration_ms,
            "speech_pad_ms": speech_pad_ms,
            "min_silence_at_max_speech": min_silence_at_max_speech,
        }
        for name, time in times.items():
            if not time >= 0:
                raise ValueError(f"{name} is {time}, expected at least 0")
        self._pad = self.rate * speech_pad_ms / 1000
        self._min_speech = self.rate * min_speech_duration_ms / 1000
        self._max_speech = self.rate * max_speech_duration_s - self.hop - 2 * self._pad
        self._min_silence = self.rate * min_silence_duration_ms / 1000
        self._min_cut = self.rate * min_silence_at_max_speech / 1000
        self._longest = use_max_poss_sil_at_max_speech
        self.reset()

    def reset(self) -> None:
        """Forget all frames: what comes next is the beginning of a sound.

        >>> segmenter.reset()
        >>> segmenter.speaking
        False
        """
        self._n_frames = 0
        self._start: int | None = None  # of the speech that goes on
        self._silent: int | None = None  # since when it has been quiet, inside of that speech
        self._pauses: list[tuple[int, int]] = []  # (end, start) of silences inside of it where it may be cut
        self._closed: list[list[float]] = []  # [start, end] of segments that wait for their padding; starts have theirs

    @property
    def speaking(self) -> bool:
        """Whether speech goes on, short silences in it included.

        >>> completed = segmenter.push([0.9, 0.9])
        >>> segmenter.speaking
        True
        """
        return self._start is not None

    @property
    def since(self) -> float | None:
        """Seconds from the beginning of the sound to that of the speech that goes on, padding included; or None.

        >>> segmenter.reset()
        >>> segmenter.since is None
        True
        >>> completed = segmenter.push([0.1, 0.9])
        >>> segmenter.since                                 # 512 samples, less 30 ms of padding
        0.002
        """
        return None if self._start is None else max(0.0, self._start - self._pad) / self.rate

    def push(self, probabilities: Any) -> list[Segment]:
        """Take `probabilities` of the next frames, one or (n,); give the segments that they complete.

        Raises:
            ValueError: they are not between 0 and 1. ShapeError: there are several for a frame.

        >>> completed = segmenter.push(20 * [0.9] + 20 * [0.0])
        >>> [segment.duration_s > 0.5 for segment in completed]
        [True]
        """
        ready: list[Segment] = []
        for probability in _probabilities(probabilities).tolist():
            at = self._n_frames * self.hop
            self._n_frames += 1
            self._take(probability, at)
            ready += self._padded(at + self.hop)
        return ready

    def flush(self, n_samples: int | None = None) -> list[Segment]:
        """End the sound: the segments that are left. Then start anew.

        Args:
            n_samples: of the sound, where zeros filled up its last frame; the frames' own when omitted.

        Returns: a list of `Segment`, empty where none is left.

        >>> completed = segmenter.push(20 * [0.9])
        >>> len(segmenter.flush())
        1
        """
        n = self._n_frames * self.hop if n_samples is None else index(n_samples)
        if self._start is not None and n - self._start > self._min_speech:
            self._close(self._start, n)
        self._start = None
        ready = self._padded(None, n)
        self.reset()
        return ready

    def _take(self, probability: float, at: int) -> None:
        """One frame, which begins at sample `at`."""
        speech = probability >= self.threshold
        if self._start is None:
            if speech:
                self._start = at
            return
        if speech and self._silent is not None:
            self._resume(at)
        if at - self._start > self._max_speech and not self._cut(at):
            return
        if self._start is None or probability >= self.neg_threshold:
            return
        if self._silent is None:
            self._silent = at
        silence = at - self._silent
        if not self._longest and silence > self._min_cut:
            self._pauses = [(self._silent, 0)]
        if silence >= self._min_silence:
            if self._silent - self._start > self._min_speech:
                self._close(self._start, self._silent)
            self._forget()

    def _resume(self, at: int) -> None:
        """Speech comes back before the silence was long enough to end it."""
        assert self._silent is not None
        if self._longest:
            if at - self._silent > self._min_cut:
                self._pauses.append((self._silent, at))
        elif self._pauses and self._pauses[0][1] < self._pauses[0][0]:
            self._pauses = [(self._pauses[0][0], at)]
        self._silent = None

    def _cut(self, at: int) -> bool:
        """Cut speech that is too long. Gives whether the frame is looked at further."""
        assert self._start is not None
        if not self._pauses:
            self._close(self._start, at)
            self._forget()
            return False
        end, start = max(self._pauses, key=lambda pause: pause[1] - pause[0])
        self._close(self._start, end)
        self._forget()
        if start > end:  # speech came back behind that silence
            self._start = start
        return True

    def _forget(self) -> None:
        self._start = self._silent = None
        self._pauses = []

    def _close(self, start: int, end: int) -> None:
        """A segment that stays. The silence before it is shared with the one before, if that is near."""
        begin: float = start
        if self._closed:
            before = self._closed[-1]
            silence = start - before[1]
            if silence < 2 * self._pad:
                before[1] += silence // 2
                begin = max(0, begin - silence // 2)
            else:
                before[1] += self._pad
                begin = int(max(0, begin - self._pad))
        else:
            begin = int(max(0, begin - self._pad))
        self._closed.append([begin, end])

    def _padded(self, now: int | None, n_samples: int | None = None) -> list[Segment]:
        """Segments that no frame from `now` on can change; all of them where it is None."""
        n_ready = len(self._closed) - 1
        if self._closed and (now is None or self._is_far(self._closed[-1][1], now)):
            self._closed[-1][1] += self._pad
            n_ready += 1
        if n_ready < 1:
            return []
        ready, self._closed = self._closed[:n_ready], self._closed[n_ready:]
        limit = math.inf if n_samples is None else n_samples
        return [Segment(int(start), int(min(end, limit)), self.rate) for start, end in ready]

    def _is_far(self, end: float, now: int) -> bool:
        """Whether what comes after `end` is too far away to share its silence, and the sound surely that long."""
        after = now if self._start is None else min(now, self._start)
        return after - end >= 2 * self._pad and now - self.hop >= end + self._pad


def segments(
    probabilities: Any,
    hop: int = 512,
    rate: int = 16000,
    *,
    n_samples: int | None = None,
    threshold: float = 0.5,
    neg_threshold: float | None = None,
    min_speech_duration_ms: float = 250,
    max_speech_duration_s: float = math.inf,
    min_silence_duration_ms: float = 100,
    speech_pad_ms: float = 30,
    min_silence_at_max_speech: float = 98,
    use_max_poss_sil_at_max_speech: bool = True,
) -> list[Segment]:
    """Segments of speech from how likely each frame is speech, by the rules of silero-vad.

    Args:
        probabilities: one for each frame, 0 to 1; of shape (T,), or (T, 1) as `Stream.run` gives them.
        hop: samples from frame to frame.
        rate: samples per second.
        n_samples: of the sound, where zeros filled up its last frame; T * hop when omitted.
        threshold: speech begins at it.
        neg_threshold: and is silence below it; threshold - 0.15, but at least 0.01, when omitted.
        min_speech_duration_ms: what is no longer is dropped.
        max_speech_duration_s: what is longer is cut.
        min_silence_duration_ms: silence that ends a segment.
        speech_pad_ms: what is added on both sides.
        min_silence_at_max_speech: silence, in ms, where what is too long may be cut.
        use_max_poss_sil_at_max_speech: cut at the longest of them; False: at the last one.

    Returns:
        `Segment`s in their order. `samples[s.start : s.end]` is one's sound, `s.start_s` and `s.end_s` are seconds.

    Raises:
        ValueError: probabilities or times are out of range, or not numbers. ShapeError: several for a frame.

    >>> segments([0.1, 0.9, 0.9] + 8 * [0.8] + 10 * [0.0])
    [Segment(start=32, end=6112, rate=16000)]
    """
    segmenter = Segmenter(
        hop,
        rate,
        threshold=threshold,
        neg_threshold=neg_threshold,
        min_speech_duration_ms=min_speech_duration_ms,
        max_speech_duration_s=max_speech_duration_s,
        min_silence_duration_ms=min_silence_duration_ms,
        speech_pad_ms=speech_pad_ms,
        min_silence_at_max_speech=min_silence_at_max_speech,
        use_max_poss_sil_at_max_speech=use_max_poss_sil_at_max_speech,
    )
    return [*segmenter.push(probabilities), *segmenter.flush(n_samples)]


def _probabilities(given: Any) -> np.ndarray:
    array = np.asarray(given, np.float64)
    rows = array.reshape(1) if array.ndim == 0 else array
    if rows.ndim > 1 and rows.size == len(rows):
        rows = rows.reshape(-1)
    if rows.ndim != 1:
        raise ShapeError(f"probabilities have shape {array.shape}, expected (T,): one for each frame")
    if not ((rows >= 0) & (rows <= 1)).all():
        wrong = rows[~((rows >= 0) & (rows <= 1))][0]
        raise ValueError(f"probabilities must be 0 to 1, got {wrong:.6g}; of logits z they are 1 / (1 + np.exp(-z))")
    return rows
