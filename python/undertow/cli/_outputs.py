# SPDX-License-Identifier: MIT
"""Where outputs go, as they come: lines, files of numbers and of sound, raw samples, segments of speech."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from .. import _files, audio
from ..audio import labels, pcm, writing
from . import _frames
from ._common import UsageError, check_folder, say, wants_json, warn
from ._hearing import Hearing

Arrays = dict[str, np.ndarray]


class Sink:
    """Takes outputs of a model."""

    #: Frames that it wants to be given at a time, at the most.
    chunk = 1 << 30

    def take(self, Y: Arrays) -> None:
        """Output name -> (n, *frame), or *frame where it is given once."""

    def end(self) -> None:
        """There are no more."""


class Lines(Sink):
    """A line per frame on standard output."""

    def __init__(self, model: Any, flush: bool) -> None:
        self._model, self._flush = model, flush

    def take(self, Y: Arrays) -> None:
        for text in _frames.as_lines(Y, self._model):
            say(text, flush=self._flush)


class TextFile(Sink):
    """A line per frame in a file."""

    def __init__(self, path: str, model: Any, stack: ExitStack) -> None:
        self._model, self._file = model, stack.enter_context(_files.opened(path))

    def take(self, Y: Arrays) -> None:
        self._file.writelines(f"{text}\n".encode() for text in _frames.as_lines(Y, self._model))


class ArrayFile(Sink):
    """All of them, as .npy or .npz."""

    def __init__(self, path: str, model: Any) -> None:
        self._path, self._outputs = path, model.outputs
        self._pieces: dict[str, list[np.ndarray]] = {name: [] for name in model.outputs}

    def take(self, Y: Arrays) -> None:
        for name, y in Y.items():
            self._pieces[name].append(y)

    def end(self) -> None:
        Y = {}
        for name, value in self._outputs.items():
            pieces = self._pieces[name]
            is_once = bool(pieces) and pieces[0].ndim == len(value.shape)
            Y[name] = pieces[0] if is_once else np.concatenate([np.zeros((0, *value.shape), np.float32), *pieces])
        with _files.opened(self._path) as file:
            if self._path.lower().endswith(".npz"):
                np.savez(file, **Y)  # type: ignore[arg-type]
            else:
                np.save(file, next(iter(Y.values())))


class SoundSink(Sink):
    """The only output, as sound."""

    def __init__(self, hearing: Hearing, model: Any, blocks: bool, instead: str = "write a .npy or .csv") -> None:
        ((self._name, value),) = model.outputs.items()
        self.rate = hearing.output_rate(value.size, blocks, instead)
        self._joined = hearing.joined(value.size, blocks)
        self.channels = self._joined.channels

    def take(self, Y: Arrays) -> None:
        self.hear(self._joined.push(Y[self._name]))

    def end(self) -> None:
        self.hear(self._joined.end())

    def hear(self, samples: np.ndarray) -> None:
        """Samples (T, channels)."""
        raise NotImplementedError


class SoundFile(SoundSink):
    """Sound in a file."""

    def __init__(self, path: str, hearing: Hearing, model: Any, blocks: bool, stack: ExitStack) -> None:
        super().__init__(hearing, model, blocks)
        self._path = path
        self._file = stack.enter_context(writing.writing(path, self.rate, self.channels))

    def hear(self, samples: np.ndarray) -> None:
        self._file.write(samples)

    def end(self) -> None:
        super().end()
        if self._file.n_cut:
            warn(f"{self._path}: {self._file.n_cut} samples beyond full scale were cut; write a .npy to keep them")


class RawSound(SoundSink):
    """Raw samples on standard output."""

    def __init__(self, name: str, hearing: Hearing, model: Any, blocks: bool) -> None:
        super().__init__(hearing, model, blocks, "leave -o out for lines of numbers")
        self._format, self._n_cut = name, 0
        self._file: Any = getattr(sys.stdout, "buffer", None)
        if self._file is None or sys.stdout.isatty():
            raise UsageError("-o -: raw samples go through a pipe: undertow run ... -o - --raw s16le | aplay ...")
        if self.rate != hearing.source_rate:
            say(f"undertow: standard output: {name} at {self.rate} Hz, {self.channels} channels", file=sys.stderr)

    def hear(self, samples: np.ndarray) -> None:
        data, n_cut = pcm.encode(self._format, samples)
        self._n_cut += n_cut
        if data:
            self._file.write(data)
            self._file.flush()

    def end(self) -> None:
        super().end()
        if self._n_cut:
            warn(f"standard output: {self._n_cut} samples beyond full scale were cut; --raw f32le keeps them")


class Segments(Sink):
    """Segments of speech, in a file or, as they come, as lines of seconds on standard output."""

    def __init__(self, path: str, of: str, hearing: Hearing, model: Any, given: dict[str, Any]) -> None:
        """of: the name of the recording."""
        ((self._name, _),) = model.outputs.items()
        self._hearing, self._path, self._of = hearing, path, of
        try:
            self._segmenter = audio.Segmenter(hearing.hop, hearing.rate, **given)
        except ValueError as error:
            raise UsageError(f"--segments: {error}") from None
        self.segments: list[audio.Segment] = []

    def take(self, Y: Arrays) -> None:
        self._keep(self._segmenter.push(Y[self._name]))

    def end(self) -> None:
        self._keep(self._segmenter.flush(self._hearing.n_samples))
        if self._path != "-":
            audio.write_segments(self._path, self.segments, name=self._of)

    def _keep(self, segments: list[audio.Segment]) -> None:
        self.segments += segments
        if self._path == "-":
            for s in segments:
                say(f"{s.start_s:.3f} {s.end_s:.3f}", flush=True)


#: option -> argument of `audio.Segmenter`
_RULES = {
    "threshold": "threshold", "neg_threshold": "neg_threshold", "min_speech": "min_speech_duration_ms",
    "max_speech": "max_speech_duration_s", "min_silence": "min_silence_duration_ms", "speech_pad": "speech_pad_ms",
}  # fmt: skip


def add_segment_options(parser: argparse.ArgumentParser) -> None:
    """Add --segments and the rules of it."""
    add = parser.add_argument_group(
        "segments of speech",
        "Of a model that gives the probability of speech in each frame; rules and defaults of silero-vad.",
    ).add_argument
    add(
        "--segments",
        metavar="OUT",
        help=f"write where speech begins and ends: {', '.join(labels.FORMATS)} (labels of Audacity); - prints seconds",
    )
    add("--threshold", type=float, metavar="P", help="speech begins at this probability (default: 0.5)")
    add("--neg-threshold", type=float, metavar="P", help="and is silence below this one (default: 0.15 less)")
    add("--min-speech", type=float, metavar="MS", help="what is no longer is dropped (default: 250)")
    add("--max-speech", type=float, metavar="S", help="what is longer is cut (default: nothing is)")
    add("--min-silence", type=float, metavar="MS", help="silence that ends a segment (default: 100)")
    add("--speech-pad", type=float, metavar="MS", help="added on both sides (default: 30)")


def segment_rules(args: argparse.Namespace) -> dict[str, Any]:
    """What the options say, as arguments of `audio.Segmenter`.

    Raises:
        UsageError: rules without --segments.
    """
    given = {argument: getattr(args, name) for name, argument in _RULES.items() if getattr(args, name) is not None}
    if given and args.segments is None:
        name = next(name for name in _RULES if getattr(args, name) is not None)
        raise UsageError(f"--{name.replace('_', '-')} is a rule of --segments, which is missing")
    return given


def check(args: argparse.Namespace, model: Any, hearing: Hearing | None) -> None:
    """Refuse outputs that cannot be written, before the work and not after it.

    Raises:
        UsageError: with what to write instead.
    """
    path = args.output
    suffix = Path(path or "").suffix.lower()
    is_sound = path == "-" or suffix in writing.FORMATS
    if args.overlap_add and not is_sound:
        raise UsageError("--overlap-add joins blocks into sound: it needs an -o that ends in .wav")
    if args.segments is not None:
        _check_segments(args, model, hearing)
    if path is None:
        return
    if path == "-" and args.raw is None:
        raise UsageError("-o - writes raw samples, in a format that you name: -o - --raw s16le; lines need no -o")
    if path != "-" and suffix not in _frames.SUFFIXES and not is_sound:
        raise UsageError(
            f"-o {path}: expected .npy, .npz, .csv, .txt, or sound: .wav, .flac, .ogg and others that soundfile writes"
        )
    if (suffix == ".npy" or is_sound) and len(model.outputs) > 1:
        raise UsageError(f"-o {path}: the model has {len(model.outputs)} outputs; use .npz or .csv")
    if is_sound:
        what = f"a {suffix}" if suffix else "sound"
        if hearing is None:
            raise UsageError(f"-o {path}: {what} comes out only where a sound file goes in")
        hearing.output_rate(next(iter(model.outputs.values())).size, args.overlap_add)
        if path != "-":
            writing.check(path)
    check_folder("-o", path)


def _check_segments(args: argparse.Namespace, model: Any, hearing: Hearing | None) -> None:
    sizes = [value.size for value in model.outputs.values()]
    if sizes != [1]:
        raise UsageError(f"--segments: the model gives {sizes} numbers a frame; expected one, how likely speech is")
    if hearing is None:
        raise UsageError("--segments: seconds are known where sound goes in; of numbers, use undertow.audio.segments")
    if hearing.channels > 1:
        raise UsageError("--segments: the model hears channels; choose one with --channel")
    if args.segments == "-":
        if args.output == "-":
            raise UsageError("--segments - and -o - both go to standard output; name a file for one of them")
        return
    if Path(args.segments).suffix.lower() not in labels.FORMATS:
        raise UsageError(f"--segments {args.segments}: expected - or a name that ends in {', '.join(labels.FORMATS)}")
    check_folder("--segments", args.segments)


def files_of(args: argparse.Namespace) -> list[str]:
    """The files that a run writes."""
    named = (getattr(args, name, None) for name in ("output", "segments", "plot"))
    return [path for path in named if path not in (None, "-")]


def sinks_of(args: argparse.Namespace, model: Any, hearing: Hearing | None, live: bool, stack: ExitStack) -> list[Sink]:
    """What -o and --segments say; lines on standard output where nothing says anything."""
    sinks: list[Sink] = []
    path, suffix = args.output, Path(args.output or "").suffix.lower()
    if path == "-":
        assert hearing is not None  # `check` has seen to it
        sinks.append(RawSound(args.raw.name, hearing, model, args.overlap_add))
    elif path is not None and suffix in writing.FORMATS:
        assert hearing is not None
        sinks.append(SoundFile(path, hearing, model, args.overlap_add, stack))
    elif path is not None:
        is_array = suffix in (".npy", ".npz")
        sinks.append(ArrayFile(path, model) if is_array else TextFile(path, model, stack))
    elif args.segments is None and not args.play and not wants_json(args):
        sinks.append(Lines(model, live))
    if args.segments is not None:
        assert hearing is not None
        of = Path(args.segments if args.input == "-" else args.input).stem
        sinks.append(Segments(args.segments, of, hearing, model, segment_rules(args)))
    return sinks
