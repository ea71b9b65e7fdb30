# SPDX-License-Identifier: MIT
"""Where frames come from: files, standard input as lines, raw samples or a WAV, a microphone; all in pieces."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import stat
import sys
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .._text import escaped
from ..audio import pcm, wav
from ..audio.reading import reading
from ..errors import UnsupportedError
from . import _frames, _sound
from ._common import UsageError, say, warn
from ._hearing import Hearing, hearing_of
from ._outputs import files_of
from ._signals import Stop, exit_code, name_of

Arrays = dict[str, np.ndarray]
Pieces = Generator[Arrays, None, None]

#: Samples that are read from a file at a time.
_BLOCK = 1 << 14
#: Samples that are taken from a pipe at the most, of those that are there.
_READY = 1 << 12
#: How files begin that are no WAV and no lines of numbers.
_OTHERS = {b"fLaC": ".flac", b"OggS": ".ogg", b"FORM": ".aiff", b"caff": ".caf", b"riff": ".w64", b"ID3": ".mp3"}


@dataclass
class Source:
    """Frames as they come.

    Attributes:
        pieces: (input name -> (n, *frame)), again and again.
        hearing: how they lie in a sound; None of numbers.
        n_frames: about how many there will be; None where nothing tells.
        live: somebody may wait for each answer.
        stop: what ends it before its end; `stop.signal` says whether that was so.
    """

    pieces: Pieces
    hearing: Hearing | None = None
    n_frames: int | None = None
    live: bool = False
    stop: Stop = field(default_factory=lambda: Stop(False))


def opened(args: argparse.Namespace, model: Any, stack: ExitStack) -> Source:
    """What INPUT, --raw and --live say; files are open as long as the stack.

    Raises:
        UsageError, ShapeError, FormatError, OSError: it cannot be read, or does not fit the model.
    """
    path = args.input
    if path == "-":
        return _standard_input(args, model)
    if Path(path).is_dir():
        raise UsageError(_loop(path, args))
    suffix = Path(path).suffix.lower()
    if suffix in _sound.SUFFIXES:
        if args.raw is not None and args.output != "-":
            raise UsageError(f"--raw: {path} says itself what is in it; --raw is for - and files without a header")
        reader = stack.enter_context(reading(path))
        hearing = hearing_of(path, reader.channels, reader.rate, model, args)
        return Source(_of_file(reader, hearing), hearing, hearing.count(reader.n_samples))
    if args.raw is not None and suffix not in _frames.SUFFIXES:
        return _raw(path, stack.enter_context(open(path, "rb")), args, model)
    _refuse_raw(args, path)
    X = _frames.read_arrays(path, model, args)
    return Source((piece for piece in [X]), None, len(next(iter(X.values()))))


def code_of(source: Source, args: argparse.Namespace) -> int:
    """The exit code of a run of it, with a word where a signal ended it; of a microphone, Ctrl-C is how it ends."""
    number = source.stop.signal
    if number is None or (number == signal.SIGINT and getattr(args, "live", False)):
        return 0
    files = ", ".join(files_of(args))
    holds = f"; what came before it is in {files}" if files else ""
    say(f"undertow: ended by {name_of(number)}{escaped(holds)}", file=sys.stderr)
    return exit_code(number)


def whole(source: Source, model: Any) -> Arrays:
    """All frames, for what cannot take them as they come."""
    pieces = list(source.pieces)
    return {
        name: np.concatenate([np.zeros((0, *value.shape), value.dtype), *(piece[name] for piece in pieces)])
        for name, value in model.inputs.items()
    }


def _loop(folder: str, args: argparse.Namespace) -> str:
    suffixes = {p.suffix for p in sorted(Path(folder).iterdir()) if p.suffix.lower() in _sound.SUFFIXES}
    suffix = min(suffixes, default=".wav")
    place = shlex.quote(folder.rstrip("/"))
    return (
        f"{folder}: a folder; each recording is a stream of its own: for f in {place}/*{suffix}; do "
        f'undertow run {shlex.quote(args.model)} "$f" -o "${{f%{suffix}}}.csv" OPTIONS; done'
    )


def _refuse_raw(args: argparse.Namespace, where: str) -> None:
    if args.raw is not None:
        raise UsageError(f"--raw: {where} holds numbers; --raw is for sound without a header, from - or a file")


def _of_file(reader: Any, hearing: Hearing) -> Pieces:
    while len(samples := reader.read(_BLOCK)):
        yield {hearing.name: hearing.push(samples)}
    yield {hearing.name: hearing.flush()}


def _of_pipe(reader: Any, hearing: Hearing, stop: Stop) -> Pieces:
    nothing = np.zeros((0, hearing.channels), np.float32)
    with stop.watching():
        while len(samples := stop.unless(lambda: reader.read_ready(_READY), nothing)):
            yield {hearing.name: hearing.push(samples)}
    yield {hearing.name: hearing.flush()}


def _stop_of(file: Any, args: argparse.Namespace) -> Stop:
    """A signal ends what comes as somebody makes it, and not the run, where files are to be kept."""
    try:
        is_whole = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (AttributeError, OSError, ValueError):
        is_whole = False
    return Stop(not is_whole and bool(files_of(args)))


# -- standard input ---------------------------------------------------------------------------------------------------


def _standard_input(args: argparse.Namespace, model: Any) -> Source:
    binary = getattr(sys.stdin, "buffer", None)
    if args.raw is not None and not (args.output == "-" and _sniffed(binary) == b"RIFF"):
        if binary is None or sys.stdin.isatty():
            raise UsageError("--raw: raw samples come through a pipe: arecord -f S16_LE -r 16000 | undertow run ... -")
        return _raw("standard input", binary, args, model)
    head = _sniffed(binary)
    if head == b"RIFF":
        reader, stop = _wav_of_pipe(binary), _stop_of(binary, args)
        hearing = hearing_of("standard input", reader.channels, reader.rate, model, args)
        return Source(_of_pipe(reader, hearing, stop), hearing, hearing.count(reader.n_samples), True, stop)
    for begin, suffix in _OTHERS.items():
        if head.startswith(begin):
            raise UsageError(
                f"standard input begins as a {suffix} file, of which a pipe cannot be read; give the file, or pipe it "
                "through ffmpeg -i - -f wav -"
            )
    _frames.refuse_sound_options("standard input", args)
    stop = _stop_of(sys.stdin, args)
    return Source(_lines(model, stop), None, None, True, stop)


def _lines(model: Any, stop: Stop) -> Pieces:
    frames = _frames.lines(_frames.standard_input(), "standard input", model)
    with stop.watching():
        while (frame := stop.unless(lambda: next(frames, None), None)) is not None:
            yield {name: x[None] for name, x in frame.items()}


def _wav_of_pipe(binary: Any) -> wav.Reader:
    try:
        return wav.Reader("standard input", binary)
    except UnsupportedError as error:
        raise UnsupportedError(
            f"{error}. That is of a pipe; given by its name, a file of another encoding is read by soundfile (pip "
            'install "undertow[audio]"), and ffmpeg -i - -f wav -c:a pcm_s16le - makes PCM of it in a pipe'
        ) from None


def _sniffed(binary: Any) -> bytes:
    """The first bytes of a pipe, which stay in it."""
    if binary is None or sys.stdin.isatty() or not hasattr(binary, "peek"):
        return b""
    return bytes(binary.peek(4)[:4])


# -- raw samples ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Raw:
    """What --raw says: FORMAT[,HZ[,CHANNELS]]."""

    name: str
    rate: int | None = None
    channels: int = 1


def raw_format(text: str) -> Raw:
    """argparse type."""
    words = text.split(",")
    try:
        name = pcm.format_name(words[0])
    except UnsupportedError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if len(words) > 3 or not all(word.isascii() and word.isdecimal() and word.strip("0") for word in words[1:]):
        raise argparse.ArgumentTypeError(f"{text!r}: expected FORMAT, FORMAT,HZ or FORMAT,HZ,CHANNELS")
    for what, word, most in zip(("Hz", "channels"), words[1:], (_sound.MAX_RATE, wav.MAX_CHANNELS), strict=False):
        if len(word) > 20 or int(word) > most:
            raise argparse.ArgumentTypeError(f"{text!r}: {word[:20]} {what} cannot be; expected 1 to {most}")
    return Raw(name, *map(int, words[1:]))


class _RawReader:
    """Raw samples of a binary file, as they come."""

    def __init__(self, name: str, file: Any, raw: Raw) -> None:
        self._name, self._file, self._raw = name, file, raw
        self._frame_bytes = raw.channels * pcm.sample_bytes(raw.name)
        self._cut = b""

    def read_ready(self, n: int) -> np.ndarray:
        while True:
            part = self._file.read1(n * self._frame_bytes - len(self._cut))
            data = self._cut + part
            end = len(data) // self._frame_bytes * self._frame_bytes
            self._cut = data[end:]
            if not part and self._cut:
                n_bytes = f"{len(self._cut)} bytes of {self._frame_bytes}"
                warn(f"{self._name}: ends within a sample: {n_bytes}; is it another --raw?")
            if end or not part:
                return pcm.decode(self._raw.name, data[:end], self._raw.channels)


def _raw(name: str, file: Any, args: argparse.Namespace, model: Any) -> Source:
    raw: Raw = args.raw
    if raw.rate is None and args.rate is None:
        raise UsageError(
            f"--raw {raw.name}: raw samples do not say their rate; give it: --raw {raw.name},HZ, or --rate HZ where it "
            "is the model's, too"
        )
    if raw.rate is None and model.sample_rate not in (None, args.rate):
        raise UsageError(
            f"--rate {args.rate}: the model hears sound at {model.sample_rate} Hz; if the samples come at {args.rate} "
            f"Hz: --raw {raw.name},{args.rate}"
        )
    hearing = hearing_of(name, raw.channels, raw.rate or args.rate, model, args)
    stop = _stop_of(file, args)
    return Source(_of_pipe(_RawReader(name, file, raw), hearing, stop), hearing, None, True, stop)
