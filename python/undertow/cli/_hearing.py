# SPDX-License-Identifier: MIT
"""Sound as frames of a model, and what the model gives as sound, piece by piece, for files, pipes and microphones."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib.util import find_spec
from math import prod
from typing import Any

import numpy as np

from .. import audio
from ..audio.framing import count_frames
from ..errors import ShapeError
from . import _sound
from ._common import UsageError, say


class Hearing:
    """How a model hears one sound.

    Attributes:
        name: of the model's input.
        rate: samples per second, as the model hears them.
        hop: samples from frame to frame.
        spectrum: samples that a spectrum is taken of; 0 where frames are sound.
        frame, new: samples of a frame, and how many of them are new; of channels, one frame is one sample of each.
        channels: of what the model hears.
        n_samples: heard so far.
        ended: no more will come.
        listeners: called with each piece of what the model hears, (T, channels).
    """

    def __init__(
        self, name: str, shape: tuple[int, ...], rate: int, channels: int, cutting: tuple[int, int, int] | None
    ) -> None:
        """cutting: samples of a frame that are new, samples from before, hop; (size, 0, hop) with `as_spectra`; None of
        channels."""
        self.name, self.rate, self.channels = name, rate, channels
        self._shape = shape
        self.spectrum, self.frame, self.new, self.hop = 0, 1, 1, 1
        self._spectra: audio.Spectra | None = None
        self._framer: audio.Framer | None = None
        if cutting is not None:
            self.new, context, self.hop = cutting
            self.frame = self.new + context
            self._framer = audio.Framer(*cutting)
        self.n_samples, self.ended = 0, False
        self.listeners: list[Callable[[np.ndarray], None]] = []
        self._pick: Callable[[np.ndarray], np.ndarray] = lambda samples: samples
        self._resampler: Any = None
        self.source_rate = rate

    def as_spectra(self, size: int, hop: int) -> Hearing:
        """Frames are spectra.

        Raises:
            ValueError: as of `audio.stft`.
        """
        self._spectra, self._framer = audio.Spectra(size, hop), None
        self.spectrum, self.hop = size, hop
        return self

    @property
    def seconds(self) -> float:
        return self.n_samples / self.rate

    @property
    def latency(self) -> float:
        """Seconds from a sample to the frame that holds it, or the sound that its spectra become, at the most."""
        return (self.spectrum or self.hop) / self.rate

    def count(self, n_samples: int | None) -> int | None:
        """About how many frames so many samples of the source make."""
        if n_samples is None:
            return None
        n = n_samples * self.rate // self.source_rate
        if self._framer is not None:
            return count_frames(n, self.new, self.hop)
        return -(-(n + self.spectrum - self.hop) // self.hop) if self.spectrum and n else n

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Samples (T, channels) of the source, at its rate, as frames (n, *shape)."""
        heard = self._pick(samples)
        return self._frames(heard if self._resampler is None else self._resampler.push(heard), False)

    def flush(self) -> np.ndarray:
        """The end of the sound, as frames."""
        rest = np.zeros((0, self.channels)[: 1 if self.channels == 1 else 2], np.float32)
        if self._resampler is not None:
            rest = self._resampler.flush()
        self.ended = True
        return self._frames(rest, True)

    def _frames(self, heard: np.ndarray, ends: bool) -> np.ndarray:
        self.n_samples += len(heard)
        for listen in self.listeners:
            listen(heard.reshape(len(heard), self.channels))
        cutter = self._spectra or self._framer
        rows = heard if cutter is None else cutter.push(heard)
        if cutter is not None and ends:
            rows = np.concatenate([rows, cutter.flush()])
        return rows.reshape(len(rows), *self._shape)

    # -- and back --------------------------------------------------------------------------------------------------

    def output_rate(self, size: int, blocks: bool = False, instead: str = "write a .npy or .csv") -> int:
        """Samples per second of what a model gives, `size` numbers a frame.

        blocks: outputs overlap and are added up, `hop` apart.

        Raises:
            UsageError: it is no whole number, or no sound.
        """
        if self.spectrum and (blocks or size != self.spectrum + 2):
            what = "--overlap-add goes without --stft" if blocks else f"the model gives {size} numbers a frame"
            raise UsageError(f"{what}; with --stft, spectra of {self.spectrum + 2} numbers become sound")
        if blocks and size < self.hop:
            raise UsageError(
                f"--overlap-add: the model gives {size} numbers, and frames are {self.hop} samples apart; {instead}"
            )
        if blocks or self.spectrum or self.channels > 1:
            return self.rate
        gives = f"the model gives {size} numbers for {self.hop} samples"
        if self.hop > self.new:
            raise UsageError(f"{gives}, of which it hears {self.new}, which is no sound without gaps; {instead}")
        if size > self.hop and self.frame > self.hop:
            raise UsageError(f"{gives}, and its frames overlap: --overlap-add adds up blocks that do; else {instead}")
        if size > 1 and self.frame == 1:
            raise UsageError(f"{gives}, which may be channels or a higher rate; {instead}")
        if self.rate * size % self.hop:
            raise UsageError(f"{gives}, which is no sound of a whole number of Hz; {instead}")
        return self.rate * size // self.hop

    def joined(self, size: int, blocks: bool = False) -> Joined:
        """What makes sound of outputs of `size` numbers a frame."""
        return Joined(self, size, blocks)


class Joined:
    """Outputs as sound of the length of the input.

    Attributes:
        channels: of the sound.
    """

    def __init__(self, hearing: Hearing, size: int, blocks: bool) -> None:
        self._hearing, self._size = hearing, size
        self._spectra = audio.Spectra(hearing.spectrum, hearing.hop) if hearing.spectrum else None
        self._blocks = audio.OverlapAdd(size, hearing.hop) if blocks else None
        self.channels = size if hearing.channels > 1 and not blocks else 1
        self._n_out = 0

    def push(self, Y: np.ndarray) -> np.ndarray:
        """Outputs (n, ...) as the samples that they complete, (T, channels)."""
        Y = Y.reshape(len(Y), prod(Y.shape[1:]))
        if self._spectra is not None:
            return self._cut(self._spectra.join(Y.reshape(len(Y), self._hearing.spectrum // 2 + 1, 2)))
        return self._cut(Y.reshape(-1) if self._blocks is None else self._blocks.push(Y))

    def end(self) -> np.ndarray:
        """The samples that are left, when all frames are there."""
        return self._cut(np.zeros(0, np.float32) if self._blocks is None else self._blocks.flush())

    def _cut(self, samples: np.ndarray) -> np.ndarray:
        """Without what zeros behind the sound made."""
        rows, hearing = samples.reshape(-1, self.channels), self._hearing
        if hearing.ended and self.channels == 1 and hearing.channels == 1:
            whole = self._blocks is not None or self._spectra is not None
            limit = hearing.n_samples if whole else hearing.n_samples * self._size // hearing.hop
            rows = rows[: max(0, limit - self._n_out)]
        self._n_out += len(rows)
        return rows


class _Whole:
    """Resamples where nothing is installed that does it piece by piece: all of it in the end."""

    def __init__(self, rate: int, to: int, channels: int) -> None:
        self.rate, self.to = rate, to
        self._pieces = [np.zeros((0, channels)[: 1 if channels == 1 else 2], np.float32)]

    def push(self, samples: np.ndarray) -> np.ndarray:
        self._pieces.append(samples)
        return samples[:0]

    def flush(self) -> np.ndarray:
        return audio.resample(np.concatenate(self._pieces), self.rate, self.to)


def hearing_of(
    where: str, channels: int, rate: int, model: Any, args: argparse.Namespace, live: bool = False
) -> Hearing:
    """How a model hears sound of so many channels at this rate, as the options say.

    live: it comes as time passes, and must be heard as it comes.

    Raises:
        UsageError: options that do not fit the model. ShapeError: sound does not fit the model. ImportError: the sound
        must be resampled, and nothing is installed that does it.
    """
    if len(model.inputs) != 1:
        raise ShapeError(f"{where}: sound fits a model with one input; this one has {list(model.inputs)}")
    ((name, value),) = model.inputs.items()
    if value.dtype != "float32":
        raise ShapeError(f"{where}: sound does not fit an input of ids")
    channel, size_and_hop, cutting = getattr(args, "channel", None), None, None
    if getattr(args, "stft", None) is not None:
        size_and_hop = _sound.size_and_hop(value, args)
    else:
        cutting = _sound.framing(value, args)
    wanted = _sound.wanted_rate(where, rate, model, args)
    as_channels = size_and_hop is None and value.size > 1 and channel is None and channels == value.size
    if as_channels:
        if _sound.cuts(args):
            raise UsageError(
                f"{where}: {channels} channels are one frame each; with --frame, --context or --hop, choose "
                "one with --channel"
            )
        hearing = Hearing(name, value.shape, wanted, channels, None)
    else:
        _check_channel(where, channels, value, channel)
        if cutting is not None and value.size not in (1, model.frames_in):
            _sound.check_framing(where, value, cutting, args)
        hearing = Hearing(name, value.shape, wanted, 1, cutting)
        hearing._pick = lambda samples: audio.to_mono(samples, channel)
    if size_and_hop is not None:
        try:
            hearing.as_spectra(*size_and_hop)
        except ValueError as error:
            raise UsageError(f"--stft {size_and_hop[0]},{size_and_hop[1]}: {error}") from None
    hearing.source_rate = rate
    if rate != wanted:
        try:
            hearing._resampler = audio.Resampler(rate, wanted, hearing.channels)
        except ImportError:
            if live or find_spec("scipy") is None:
                raise
            hearing._resampler = _Whole(rate, wanted, hearing.channels)
    return hearing


def tell_of_rate(where: str, hearing: Hearing, model: Any, args: argparse.Namespace) -> None:
    """Say once at which rate sound is heard: where it is resampled though nobody has asked, or nothing tells it."""
    came, rate = hearing.source_rate, hearing.rate
    if came != rate and (getattr(args, "rate", None) is None or getattr(args, "live", False)):
        say(f"undertow: {where}: resampled from {came} Hz to {rate} Hz, which the model hears", file=sys.stderr)
    if model.sample_rate is None and getattr(args, "rate", None) is None:
        say(
            f"undertow: {where}: heard at its {hearing.rate} Hz; the file of the model states no rate, --rate HZ does",
            file=sys.stderr,
        )


def _check_channel(where: str, channels: int, value: Any, channel: Any) -> None:
    if channel is None and channels > 1:
        raise ShapeError(
            f"{where}: {channels} channels do not fit a frame of shape {value.shape}; take one with "
            "--channel 0, or their mean with --channel mix"
        )
    try:
        audio.to_mono(np.zeros((0, channels), np.float32), channel)
    except ShapeError as error:
        raise ShapeError(f"{where}: {error}") from None
