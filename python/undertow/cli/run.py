# SPDX-License-Identifier: MIT
"""`undertow run`: frames in, outputs out, as they come."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..accuracy.verify import by_name, one_or_all
from ..errors import ShapeError
from ..inspect.picture import MAX_COLUMNS, MAX_LINES, Panel, draw, figure_class
from . import _frames, _sound
from ._common import Progress, UsageError, add_command, add_model, as_json, say, wants_json
from ._summary import Summary

#: Frames handed to the engine at a time: large enough for its block kernels, small enough for a live bar.
_CHUNK = 256

Arrays = dict[str, np.ndarray]
Show = Callable[[Arrays, Any], None]


_KEYS = """\
  model, input, output, plot, frames, seconds
  outputs        by name: shape, min, max, mean, rms, not_finite (how many numbers are not); -o keeps the numbers
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
        "with undertow[audio]); - or nothing: "
        "lines of numbers, separated by comma or space, from standard input",
    )
    parser.add_argument(
        "-o", "--output", metavar="OUT", help=".npy, .npz, .csv, .txt, or .wav for sound; default: print"
    )
    parser.add_argument(
        "--plot", metavar="OUT", help="draw input, output and hidden state over time: .png, .svg or .pdf"
    )
    parser.add_argument(
        "--overlap-add", action="store_true", help="-o OUT.wav: add up the outputs where they overlap, --hop apart"
    )
    _sound.add_options(parser)


def run(args: argparse.Namespace) -> int:
    plotted = args.plot is not None
    if plotted:
        _check_plot(args.plot)
    model = _sound.load_model(args)
    summary, start = Summary(model) if wants_json(args) else None, time.perf_counter()
    sound = None
    if args.input == "-":
        _frames.refuse_sound_options("standard input", args)
        _frames.check_output(args.output, model, None, args.overlap_add)
        if model.streamable and args.output is None and not plotted:
            return _live(model) if summary is None else _counted(args, summary, _live(model, summary), start)
        frames = list(_frames.lines(_frames.standard_input(), "standard input", model))
        X = _frames.stack(frames, model)
    else:
        X, sound = _frames.read(args.input, model, args)
        _frames.check_output(args.output, model, sound, args.overlap_add)

    n_steps = len(next(iter(X.values())))
    show = None if args.output is not None else _print if summary is None else summary.take
    if model.streamable:
        with Progress(
            n_steps if show is None or not sys.stdout.isatty() else 0, seconds=sound.seconds if sound else None
        ) as progress:
            Y, states = _stream(model, X, n_steps, show, progress, plotted)
    else:
        Y, states = by_name(model.run(one_or_all(X)), model.outputs), {}
        if show is not None:
            show(Y, model)
    if args.output is not None:
        _frames.write(args.output, Y, model, sound, args.overlap_add)
    if plotted:
        _plot(args.plot, model, X, Y, states, sound)
    if summary is not None:
        if show is None:
            summary.take(Y, model)
        _counted(args, summary, n_steps, start)
    return 0


def _counted(args: argparse.Namespace, summary: Summary, n_frames: int, start: float) -> int:
    """What --json says of a run."""
    facts = {key: getattr(args, key) for key in ("model", "input", "output", "plot")}
    spent = time.perf_counter() - start
    say(as_json({**facts, "frames": n_frames, "seconds": spent, "outputs": summary.data()}))
    return 0


def _stream(
    model: Any, X: Arrays, n_steps: int, show: Show | None, progress: Progress, remember: bool
) -> tuple[Arrays, Arrays]:
    """Run a stream in chunks. Gives outputs, of the frames of X if the model looks ahead, and states as time passes.

    show: gets outputs as they come. remember: states, as often as a picture has columns; outputs are kept for a picture
    or if nobody is shown them.
    """
    stream, late = model.stream(), model.latency
    chunk = min(_CHUNK, -(-n_steps // MAX_COLUMNS)) if remember else _CHUNK
    every = -(-n_steps // (MAX_COLUMNS * max(chunk, 1)))  # of so many chunks, the state is kept once
    empty = {name: np.zeros((0, *value.shape), np.float32) for name, value in model.outputs.items()}
    rows, kept = [empty], []

    def take(Y: Any, n_early: int) -> None:
        named = {name: np.array(y[n_early:]) for name, y in by_name(Y, model.outputs).items()}
        if show is not None:
            show(named, model)
        if show is None or remember:
            rows.append(named)

    for i, start in enumerate(range(0, n_steps, chunk or 1)):
        part = {name: x[start : start + chunk] for name, x in X.items()}
        take(stream.run(one_or_all(part)), max(0, min(late - start, chunk)))
        if remember and i % every == 0:
            kept.append({name: np.array(stream.state[name]) for name in model.states})
        progress.advance(min(chunk, n_steps - start))
    if late:
        take(stream.flush(), max(0, late - n_steps))
    outputs = {name: np.concatenate([y[name] for y in rows]) for name in empty}
    return outputs, {name: np.array([state[name] for state in kept]) for name in model.states if kept}


def _print(Y: Arrays, model: Any) -> None:
    for text in _frames.as_lines(Y, model):
        say(text)


def _live(model: Any, summary: Summary | None = None) -> int:
    """A line in, a line out, flushed: the other end of a pipe may be a machine that waits for it.

    With a summary, that takes the lines, and the number of frames is given back.
    """
    stream, late, n = model.stream(), model.latency, 0
    for n, frame in enumerate(_frames.lines(_frames.standard_input(), "standard input", model), 1):
        y = stream.step(one_or_all(frame))
        if n > late and summary is not None:
            summary.take({name: y[None] for name, y in by_name(y, model.outputs).items()}, model)
        elif n > late:
            say(_frames.as_line(by_name(y, model.outputs)), flush=True)
    if late:
        rows = {name: y[max(0, late - n) :] for name, y in by_name(stream.flush(), model.outputs).items()}
        (_print if summary is None else summary.take)(rows, model)
    return 0 if summary is None else n


# -- a picture --------------------------------------------------------------------------------------------------------


def _check_plot(path: str) -> None:
    """Refuse a picture that cannot be drawn before the work."""
    figure_class()
    if Path(path).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"--plot {path}: expected a name that ends in .png, .svg or .pdf")
    if not Path(path).parent.is_dir():
        raise UsageError(f"--plot {path}: there is no folder {Path(path).parent}")


def _plot(path: str, model: Any, X: Arrays, Y: Arrays, states: Arrays, sound: Any) -> None:
    """Input, outputs and states below each other: sound as it is heard, numbers a frame as lines or a heat map."""
    n_steps = len(next(iter(X.values())))
    if n_steps == 0:
        raise ShapeError(f"--plot {path}: nothing to draw, the input has no frames")
    panels = []
    for name, x in X.items():
        heard = x.reshape(n_steps, -1) if sound is None else sound.samples.reshape(len(sound.samples), -1)
        panels.append(Panel(_title("input", name), _few(heard), "channel" if sound is not None else "element"))
    for name, y in Y.items():
        if y.ndim > len(model.outputs[name].shape):
            size = model.outputs[name].size
            is_sound = sound is not None and size == (sound.spectrum + 2 if sound.spectrum else sound.hop)
            rows = sound.joined(y)[:, None] if is_sound else y.reshape(len(y), size)
            panels.append(Panel(_title("output", name), _few(rows), "element"))
    panels += [Panel(name, s.reshape(len(s), -1), lines=False) for name, s in states.items()]
    end, label = (float(n_steps), "frame") if sound is None else (sound.seconds, "seconds")
    draw(panels, end, label, path)


def _title(kind: str, name: str) -> str:
    return name if name == kind else f"{kind} {name}"


def _few(rows: np.ndarray) -> np.ndarray:
    """Rows of a heat map thinned out to what can be seen; lines draw all of theirs."""
    if rows.shape[1] <= MAX_LINES or len(rows) <= MAX_COLUMNS:
        return rows
    return rows[np.linspace(0, len(rows), MAX_COLUMNS, endpoint=False).astype(int)]
