# SPDX-License-Identifier: MIT
"""The options that say how a model hears sound: --frame, --context, --hop, --stft, --rate, --channel."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import Error
from . import _common
from ._common import UsageError, positive_int, say, warn, whole

#: What `undertow.audio.read` is asked for.
SUFFIXES = (
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au",
    ".snd", ".caf", ".voc", ".sph", ".nist",
)  # fmt: skip
#: Samples per second: beyond what any converter gives.
MAX_RATE = 100_000_000
#: --stft auto
_AUTO = (0, 0)
_OPTIONS = ("frame", "context", "hop", "stft", "rate", "channel")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --frame, --context, --hop, --stft, --rate and --channel."""
    group = parser.add_argument_group(
        "sound",
        "A frame is CONTEXT samples from before (zeros at the start) and FRAME samples from k * HOP on; the last\n"
        "one is filled up with zeros. Without options: as many samples as the model takes, without overlap, where\n"
        "its frames can be samples one after another. Sound at another rate than the file of the model states, or\n"
        "--fixed says, is resampled.",
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
        "of a Hann window; auto: SIZE as the model takes it, and half of it as HOP",
    )
    add(
        "--rate",
        type=_rate,
        metavar="HZ",
        help="the rate that the model wants, where its file does not state it; other sound is resampled",
    )
    add("--channel", type=_channel, metavar="N|mix", help="which channel, counted from 0; mix: the mean of all")


def _count(text: str) -> int:
    number = whole(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def _rate(text: str) -> int:
    number = positive_int(text)
    if number > MAX_RATE:
        raise argparse.ArgumentTypeError(f"{text} Hz cannot be; expected 1 to {MAX_RATE}")
    return number


def _size_and_hop(text: str) -> tuple[int, int]:
    if text == "auto":
        return _AUTO
    sizes = text.split(",")
    if len(sizes) != 2:
        raise argparse.ArgumentTypeError(f"{text!r}: expected SIZE,HOP such as 512,256, or auto")
    return whole(sizes[0]), whole(sizes[1])


def _channel(text: str) -> int | str:
    if text != "mix" and not text.lstrip("-").isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no channel; expected a number, from 0, or mix")
    return text if text == "mix" else _count(text)


def options_given(args: argparse.Namespace) -> list[str]:
    """The options of sound that stand on the command line."""
    return [f"--{name}" for name in _OPTIONS if getattr(args, name, None) is not None]


def load_model(args: argparse.Namespace, **changes: Any) -> Any:
    """`_common.load_model`, with the size of a frame that a file leaves open where --frame and --context tell it."""
    try:
        return _common.load_model(args, **changes)
    except Error as error:
        told = [shapes for options in error.options if (shapes := _sized(options, args)) is not None]
        if not told:
            _tell_of_frames(error, args)
            raise
        try:
            model = _common.load_model(argparse.Namespace(**{**vars(args), "shape": told[0]}), **changes)
        except Error as other:
            raise UsageError(
                f"--frame {args.frame} and --context {args.context} make it {_line(told[0])}: {other}"
            ) from error
    say(f"undertow: {_line(told[0])}, as --frame {args.frame} and --context {args.context} tell", file=sys.stderr)
    return model


def _tell_of_frames(error: Error, args: argparse.Namespace) -> None:
    """Say in an error how sound would tell a size that it asks for."""
    heard = Path(getattr(args, "input", None) or getattr(args, "calibrate", None) or "").suffix.lower() in SUFFIXES
    frame, context = args.frame, args.context
    both = argparse.Namespace(**{**vars(args), "frame": frame or 1, "context": context or 0})
    if heard and any(_sized(options, both) for options in error.options):
        missing = (
            "--context is missing, 0 if frames hold new samples alone" if frame is not None else "--frame is missing"
        )
        is_one = (frame is None) != (context is None)
        how = "or with --frame and --context, of sound, which tell the size"
        error.args = (f"{error}; {how}" + (f" ({missing})" if is_one else ""),)


def _sized(options: Mapping[str, Any], args: argparse.Namespace) -> list[str] | None:
    """What --shape is where advice leaves one number to the user: the samples of a frame."""
    shapes = options.get("shapes", {})
    names = {n for shape in shapes.values() for n in shape if isinstance(n, str)}
    if options.keys() != {"shapes"} or len(names) != 1 or args.shape or args.frame is None or args.context is None:
        return None
    if any(isinstance(n, str) and [m for m in shape if m not in (1, n)] for shape in shapes.values() for n in shape):
        return None  # a frame of other sizes beside is no row of samples
    size = args.frame + args.context
    put = lambda n: "?" if n is None else str(size if isinstance(n, str) else n)  # noqa: E731
    return [f"{name}={','.join(map(put, shape))}" for name, shape in shapes.items()]


def _line(shapes: list[str]) -> str:
    return " ".join(f"--shape {shape}" for shape in shapes)


def check_framing(path: str, value: Any, cutting: tuple[int, int, int], args: argparse.Namespace) -> None:
    """Refuse, or warn of, frames of several numbers that nobody has said to be samples.

    Raises:
        UsageError: as `_check_samples`.
    """
    if cuts(args):
        if getattr(args, "context", None) is None and cutting[0] < value.size:
            _check_samples(path, value)
        return
    _check_samples(path, value)
    warn(
        f"{path}: the model takes frames of shape {value.shape}, filled with samples after each other; say "
        f"--frame {value.size} if that is right. Features of sound, such as mel bands, go in as a .npy"
    )


def _check_samples(path: str, value: Any) -> None:
    """Refuse frames that look like spectra, or are no row of samples, where --frame does not say that they are sound.

    Raises:
        UsageError: with the line to type.
    """
    size, asked = _size_of_spectra(value), f"--frame {value.size}"
    takes = f"{path}: the model takes frames of shape {value.shape}"
    if size:
        raise UsageError(
            f"{takes}, as spectra of {size} samples have them, real and imaginary parts: --stft {size},{size // 2}, or "
            f"another hop; {asked} if they are {value.size} samples after each other"
        )
    if sum(n > 1 for n in value.shape) > 1:
        raise UsageError(
            f"{takes}, which are no row of samples; give such frames as a .npy, or say {asked} if they are "
            f"{value.size} samples after each other"
        )
    n_bins = value.size - 1
    if n_bins >= 16 and n_bins & (n_bins - 1) == 0:
        raise UsageError(
            f"{takes}, as magnitudes of spectra of {2 * n_bins} samples have them; give such frames as a .npy, or say "
            f"{asked} if they are {value.size} samples after each other"
        )


def _size_of_spectra(value: Any) -> int:
    """Samples that spectra of a frame's shape are taken of, (size / 2 + 1, 2) with axes of 1 anywhere; or 0."""
    axes = [n for n in value.shape if n > 1]
    return 2 * (axes[0] - 1) if len(axes) == 2 and value.shape[-1] == 2 and axes[0] > 2 else 0


def size_and_hop(value: Any, args: argparse.Namespace) -> tuple[int, int]:
    """What --stft says, or tells from the frame of a model.

    Raises:
        UsageError: the model does not take such spectra.
    """
    if cuts(args):
        raise UsageError("--stft says how to cut sound; it goes without --frame, --context and --hop")
    size, hop = args.stft
    if args.stft == _AUTO:
        size = _size_of_spectra(value)
        hop = size // 2
        if not size:
            raise UsageError(
                f"--stft auto: the model takes frames of shape {value.shape}, expected (SIZE / 2 + 1, 2); give others, "
                "magnitudes of spectra say, as a .npy"
            )
        say(f"undertow: --stft {size},{hop}; say another hop where the model was trained with one", file=sys.stderr)
    if value.size != size + 2 or value.shape[-1:] != (2,):
        raise UsageError(
            f"--stft {size},{hop}: the model takes frames of shape {value.shape}, expected ({size // 2 + 1}, 2)"
        )
    return size, hop


def wanted_rate(where: str, rate: int, model: Any, args: argparse.Namespace) -> int:
    """The rate that is asked for, or else that the model states, or else that of the sound.

    Raises:
        UsageError: --rate is another than the model's own.
    """
    asked: int | None = getattr(args, "rate", None)
    if asked is not None and model.sample_rate not in (None, asked):
        raise UsageError(
            f"--rate {asked}: the model hears sound at {model.sample_rate} Hz, as its file or --fixed says; leave "
            "--rate out, and other sound is resampled"
        )
    return int(asked or model.sample_rate or rate)


def cuts(args: argparse.Namespace) -> bool:
    return any(getattr(args, name, None) is not None for name in ("frame", "context", "hop"))


def framing(value: Any, args: argparse.Namespace) -> tuple[int, int, int]:
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
