# SPDX-License-Identifier: MIT
"""Sound as frames of a model, and its outputs as sound: --frame, --context, --hop, --stft, --rate, --channel."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from .. import audio
from ..errors import ShapeError
from ._common import UsageError, positive_int

#: What `undertow.audio.read` is asked for.
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
_OPTIONS = ("frame", "context", "hop", "stft", "rate", "channel")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --frame, --context, --hop, --stft, --rate and --channel."""
    group = parser.add_argument_group(
        "sound",
        "A frame is CONTEXT samples from before (zeros at the start) and FRAME samples from k * HOP on; the last\n"
        "one is filled up with zeros. Without options: as many samples as the model takes, without overlap.",
    )
    add = group.add_argument
    add("--frame", type=positive_int, metavar="N", help="new samples of a frame (default: what CONTEXT leaves)")
    add("--context", type=_count, metavar="N", help="samples from before (default: what FRAME leaves)")
    add("--hop", type=positive_int, metavar="N", help="samples from frame to frame (default: FRAME)")
    add(
        "--stft",
        type=_size_and_hop,
        metavar="SIZE,HOP",
        help="for models that take and give spectra, (SIZE / 2 + 1, 2): real and imaginary parts under the square root "
        "of a Hann window",
    )
    add("--rate", type=positive_int, metavar="HZ", help="the rate that the model wants; other sound is resampled")
    add("--channel", type=_channel, metavar="N|mix", help="which channel, counted from 0; mix: the mean of all")


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def _size_and_hop(text: str) -> tuple[int, int]:
    size, hop = map(int, text.split(","))
    return size, hop


def _channel(text: str) -> int | str:
    return text if text == "mix" else _count(text)


@dataclass(frozen=True)
class Sound:
    """How the frames that a model was given lie in a sound.

    Attributes:
        samples: float32 (T,) or (T, channels), as the model hears them.
        rate: samples per second.
        hop: samples from frame to frame.
        spectrum: samples that a spectrum was taken of; 0 where frames are sound.
    """

    samples: np.ndarray
    rate: int
    hop: int
    spectrum: int = 0

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def output_rate(self, size: int, blocks: bool = False) -> int:
        """Samples per second of what a model gives, `size` numbers a frame.

        blocks: outputs overlap and are added up, `hop` apart.

        Raises:
            UsageError: it is no whole number.
        """
        if self.spectrum and (blocks or size != self.spectrum + 2):
            what = "--overlap-add goes without --stft" if blocks else f"the model gives {size} numbers a frame"
            raise UsageError(f"{what}; with --stft, spectra of {self.spectrum + 2} numbers become sound")
        if blocks or self.spectrum:
            return self.rate
        if self.rate * size % self.hop:
            raise UsageError(
                f"the model gives {size} numbers for {self.hop} samples, which is no sound of a whole number of Hz; "
                "write a .npy or .csv"
            )
        return self.rate * size // self.hop

    def joined(self, Y: np.ndarray, blocks: bool = False) -> np.ndarray:
        """Outputs (n_frames, ...) as sound of the length of the input, (T,)."""
        Y = Y.reshape(len(Y), prod(Y.shape[1:]))
        if self.spectrum:
            return audio.istft(Y.reshape(len(Y), -1, 2), self.spectrum, self.hop)[: len(self.samples)]
        sound = audio.overlap_add(Y, self.hop) if blocks else Y.reshape(-1)
        return sound[: len(self.samples) * (1 if blocks else Y.shape[1]) // (1 if blocks else self.hop)]


def options_given(args: argparse.Namespace) -> list[str]:
    """The options of sound that stand on the command line."""
    return [f"--{name}" for name in _OPTIONS if getattr(args, name, None) is not None]


def read(path: str, model: Any, args: argparse.Namespace) -> tuple[dict[str, np.ndarray], Sound]:
    """Read a sound file as frames of a model's one input: (input name -> (T, *frame), how they lie in it).

    Raises:
        UsageError: options that do not fit the model.
        ShapeError: sound does not fit the model.
    """
    if len(model.inputs) != 1:
        raise ShapeError(f"{path}: sound fits a model with one input; this one has {list(model.inputs)}")
    ((name, value),) = model.inputs.items()
    if value.dtype != "float32":
        raise ShapeError(f"{path}: sound does not fit an input of ids")
    if getattr(args, "stft", None) is not None:
        return _spectra(path, name, value, args)
    frame, context, hop = _framing(value, args)
    samples, rate = audio.read(path)
    channel = getattr(args, "channel", None)
    if value.size > 1 and channel is None and samples.shape[1] == value.size:
        if _cuts(args):
            raise UsageError(
                f"{path}: {samples.shape[1]} channels are one frame each; with --frame, --context or --hop, choose "
                "one with --channel"
            )
        samples, rate = _at_rate(samples, rate, args)
        return {name: samples.reshape(-1, *value.shape)}, Sound(samples, rate, 1)
    mono, rate = _mono(path, samples, rate, value, args)
    X = audio.frames(mono, frame, context, hop)
    return {name: X.reshape(len(X), *value.shape)}, Sound(mono, rate, hop)


def _spectra(path: str, name: str, value: Any, args: argparse.Namespace) -> tuple[dict[str, np.ndarray], Sound]:
    if _cuts(args):
        raise UsageError("--stft says how to cut sound; it goes without --frame, --context and --hop")
    size, hop = args.stft
    if value.size != size + 2 or value.shape[-1:] != (2,):
        raise UsageError(
            f"--stft {size},{hop}: the model takes frames of shape {value.shape}, expected ({size // 2 + 1}, 2)"
        )
    mono, rate = _mono(path, *audio.read(path), value, args)
    try:
        X = audio.stft(mono, size, hop)
    except ValueError as error:
        raise UsageError(f"--stft {size},{hop}: {error}") from None
    return {name: X.reshape(len(X), *value.shape)}, Sound(mono, rate, hop, size)


def _mono(path: str, samples: np.ndarray, rate: int, value: Any, args: argparse.Namespace) -> tuple[np.ndarray, int]:
    """One channel at the rate that is wanted, and this rate."""
    channel = getattr(args, "channel", None)
    if channel is None and samples.shape[1] > 1:
        raise ShapeError(
            f"{path}: {samples.shape[1]} channels do not fit a frame of shape {value.shape}; take one with "
            "--channel 0, or their mean with --channel mix"
        )
    try:
        return _at_rate(audio.to_mono(samples, channel), rate, args)
    except ShapeError as error:
        raise ShapeError(f"{path}: {error}") from None


def _at_rate(samples: np.ndarray, rate: int, args: argparse.Namespace) -> tuple[np.ndarray, int]:
    wanted = getattr(args, "rate", None) or rate
    return audio.resample(samples, rate, wanted), wanted


def _cuts(args: argparse.Namespace) -> bool:
    return any(getattr(args, name, None) is not None for name in ("frame", "context", "hop"))


def _framing(value: Any, args: argparse.Namespace) -> tuple[int, int, int]:
    """Samples that are new, samples from before, samples from frame to frame."""
    frame, context, hop = (getattr(args, name, None) for name in ("frame", "context", "hop"))
    if context is None:
        context = 0 if frame is None else value.size - frame
    if frame is None:
        frame = value.size - context
    if frame < 1 or context < 0 or frame + context != value.size:
        given = ", ".join(f"--{n} {getattr(args, n)}" for n in ("frame", "context") if getattr(args, n) is not None)
        raise UsageError(
            f"{given}: the model takes frames of {value.size} numbers, which --context and --frame must sum up to"
        )
    return frame, context, frame if hop is None else hop
