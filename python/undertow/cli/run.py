# SPDX-License-Identifier: MIT
"""`undertow run`: frames in, outputs out, as they come."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from typing import Any

import numpy as np

from .._text import escaped
from ..accuracy.verify import by_name, one_or_all
from ..audio import pcm
from . import _live, _outputs, _picture, _sound, _sources
from ._common import Progress, UsageError, add_command, add_model, as_json, check_picture, say, wants_json
from ._hearing import tell_of_rate
from ._signals import name_of
from ._summary import Summary

#: Frames handed to the engine at a time: large enough for its block kernels, small enough for a live bar.
_CHUNK = 256

Arrays = dict[str, np.ndarray]

_KEYS = """\
  model, input, output, plot, frames, seconds
  outputs        by name: shape, min, max, mean, rms, not_finite (how many numbers are not); -o keeps the numbers
  segments       with --segments: of speech, each as start and end in seconds; else null
  ended_by       the signal that ended a pipe or a microphone, such as SIGTERM, and the files were kept; else null
"""


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "run",
        run,
        "stream input through a model",
        "Stream input through a model. Without -o, or from standard input, outputs are printed as they come: one line\n"
        "of numbers per frame, all outputs in order. A model that needs the whole sequence waits for its end. Outputs\n"
        "of a model that looks ahead belong to the frames of the input: the first come late, none is missing.",
        "  undertow run silero_vad.onnx speech.wav --fixed sr=16000 --frame 512 --context 64 --plot speech.png\n"
        "  undertow run silero_vad.onnx speech.wav --fixed sr=16000 --frame 512 --context 64 --segments speech.srt\n"
        "  undertow run gtcrn_simple.onnx noisy.wav --stft 512,256 -o clean.flac\n"
        "  arecord -f S16_LE -r 16000 | undertow run gtcrn_simple.onnx - --raw s16le,16000 --stft 512,256 -o - |\n"
        "      aplay -f S16_LE -r 16000\n"
        "  undertow run gtcrn_simple.onnx --live --play --rate 16000 --stft 512,256 -o clean.wav\n"
        "  undertow run model.onnx features.npy -o out.npy\n"
        "  undertow run amp.json guitar.wav -o amped.wav     one sample a frame\n"
        "  undertow run model.tow log.csv | tail -1          the output after the last line\n"
        "  sensor | undertow run model.tow                   live: a line in, a line out\n",
        _KEYS,
    )
    add_model(parser)
    parser.add_argument(
        "input",
        metavar="INPUT",
        nargs="?",
        default="-",
        help=".npy (T, *frame), .npz (an array per input), .csv or .txt (a line per frame), .wav (other sound files "
        "with undertow[audio]); - or nothing: standard input, as lines of numbers, separated by comma or space, as a "
        ".wav, or with --raw as samples",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help=".npy, .npz, .csv, .txt; sound as .wav, or .flac, .ogg, .opus, .mp3 ... with undertow[audio]; - with "
        "--raw: samples on standard output; default: print",
    )
    parser.add_argument(
        "--raw",
        type=_sources.raw_format,
        metavar="FORMAT[,HZ[,CHANNELS]]",
        help="INPUT or -o - is sound without a header, as arecord, aplay and ffmpeg pipe it: "
        f"{', '.join(pcm.NAMES)}; without HZ at --rate",
    )
    parser.add_argument(
        "--plot", metavar="OUT", help="draw input, output and hidden state over time: .png, .svg or .pdf"
    )
    parser.add_argument(
        "--overlap-add", action="store_true", help="sound out: add up the outputs where they overlap, --hop apart"
    )
    _outputs.add_segment_options(parser)
    _live.add_options(parser)
    _sound.add_options(parser)


def run(args: argparse.Namespace) -> int:
    if args.plot is not None:
        check_picture("--plot", args.plot)
    _outputs.segment_rules(args)
    _live.refuse_without(args)
    if wants_json(args) and "-" in (args.output, args.segments):
        option = "-o" if args.output == "-" else "--segments"
        raise UsageError(f"{option} - and --json both take standard output; write to a file")
    model = _sound.load_model(args)
    summary, start = Summary(model) if wants_json(args) else None, time.perf_counter()
    microphone = speaker = None
    with ExitStack() as stack:
        if args.live:
            source, microphone = _live.opened(args, model)
        else:
            source = _sources.opened(args, model, stack)
        stack.callback(source.pieces.close)
        hearing = source.hearing
        _outputs.check(args, model, hearing)
        if hearing is not None:
            where = "microphone" if args.live else "standard input" if args.input == "-" else args.input
            tell_of_rate(where, hearing, model, args)
        sinks = _outputs.sinks_of(args, model, hearing, source.live, stack)
        if summary is not None:
            sinks.append(summary)
        if args.play and hearing is not None:
            speaker = _live.Speaker(args, hearing, model, stack)
            sinks.append(speaker)
            assert microphone is not None  # there is no --play without --live
            microphone.speaker = speaker
        picture = None if args.plot is None else _picture.Picture(args.plot, model, hearing)
        if picture is not None:
            sinks.append(picture)
        n_frames = (_stream if model.streamable else _whole)(model, source, sinks, picture)
        if microphone is not None:
            microphone.require_sound()  # else files stay what they were
        for sink in sinks:
            sink.end()
        if microphone is not None:
            microphone.report(speaker)
        speech = next((sink for sink in sinks if isinstance(sink, _outputs.Segments)), None)
        if picture is not None:
            picture.draw(speech)
    if microphone is not None and microphone.fault:
        kept = ", ".join(map(escaped, _outputs.files_of(args)))
        raise _live.DeviceError(microphone.fault + (f"; what was heard before is in {kept}" if kept else ""))
    if summary is not None:
        facts = {key: getattr(args, key) for key in ("model", "input", "output", "plot")}
        segments = None if speech is None else [{"start": s.start_s, "end": s.end_s} for s in speech.segments]
        facts |= {"frames": n_frames, "seconds": time.perf_counter() - start}
        facts |= {"outputs": summary.data(), "segments": segments}
        ended_by = source.stop.signal
        say(as_json({**facts, "ended_by": None if ended_by is None else name_of(ended_by)}))
    return _sources.code_of(source, args)


def _stream(model: Any, source: _sources.Source, sinks: list[_outputs.Sink], picture: _picture.Picture | None) -> int:
    """Run a stream; sinks get the outputs of the frames that went in, late ones of a model that looks ahead too.

    Returns: how many frames went in.
    """
    stream, late, n_taken = model.stream(), model.latency, 0
    bar = source.n_frames is not None and not any(isinstance(s, _outputs.Lines) and sys.stdout.isatty() for s in sinks)
    hearing, n_frames = source.hearing, source.n_frames or 0
    seconds = None if hearing is None else n_frames * hearing.hop / hearing.rate
    with Progress(n_frames if bar else 0, seconds=seconds) as progress:
        for X in source.pieces:
            n_steps = len(next(iter(X.values())))
            start = 0
            while start < n_steps:
                chunk = min(_CHUNK, *(sink.chunk for sink in sinks))
                part = {name: x[start : start + chunk] for name, x in X.items()}
                n = min(chunk, n_steps - start)
                Y = by_name(stream.run(one_or_all(part)), model.outputs)
                if picture is not None:
                    picture.hear(part, stream)
                _give(sinks, Y, max(0, min(late - n_taken, n)))
                n_taken += n
                start += n
                progress.advance(n)
        if late:
            _give(sinks, by_name(stream.flush(), model.outputs), max(0, late - n_taken))
        progress.finish(None if hearing is None else hearing.seconds)
    return n_taken


def _give(sinks: list[_outputs.Sink], Y: Arrays, n_early: int) -> None:
    named = {name: np.array(y[n_early:]) for name, y in Y.items()}
    if len(next(iter(named.values()))):
        for sink in sinks:
            sink.take(named)


def _whole(model: Any, source: _sources.Source, sinks: list[_outputs.Sink], picture: _picture.Picture | None) -> int:
    """Run a model that needs all of the sequence. Returns: how many frames went in."""
    frames = _sources.whole(source, model)
    Y = by_name(model.run(one_or_all(frames)), model.outputs)
    if picture is not None:
        picture.hear(frames, None)
    for sink in sinks:
        sink.take(Y)
    return len(next(iter(frames.values())))
