# SPDX-License-Identifier: MIT
"""`undertow run`: frames in, outputs out, as they come."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np

from ..verify import by_name, one_or_all
from . import _frames
from ._common import Progress, add_command, add_model, load_model

#: Frames handed to the engine at a time: large enough for its block kernels, small enough for a live bar.
_CHUNK = 256


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "run",
        run,
        "stream input through a model",
        "Stream input through a model. Without -o, or from standard input, outputs are printed as they come: one line\n"
        "of numbers per frame, all outputs in order. A model that needs the whole sequence waits for its end.",
        "  undertow run model.onnx features.npy -o out.npy\n"
        "  undertow run amp.json guitar.wav -o amped.wav     one sample a frame\n"
        "  undertow run model.tow log.csv | tail -1          the output after the last line\n"
        "  sensor | undertow run model.tow                   live: a line in, a line out\n",
    )
    add_model(parser)
    parser.add_argument(
        "input",
        metavar="INPUT",
        nargs="?",
        default="-",
        help=".npy (T, *frame), .npz (an array per input), .csv or .txt (a line per frame), .wav; - or nothing: "
        "lines of numbers, separated by comma or space, from standard input",
    )
    parser.add_argument(
        "-o", "--output", metavar="OUT", help=".npy, .npz, .csv, .txt, or .wav for sound; default: print"
    )


def run(args: argparse.Namespace) -> int:
    model = load_model(args)
    if args.input == "-":
        _frames.check_output(args.output, model, None)
        if model.streamable and args.output is None:
            return _live(model)
        frames = list(_frames.lines(_frames.standard_input(), "standard input", model))
        X, rate = _frames.stack(frames, model), None
    else:
        X, rate = _frames.read(args.input, model)
        _frames.check_output(args.output, model, rate)

    n_steps = len(next(iter(X.values())))
    if not model.streamable:
        Y = by_name(model.run(one_or_all(X)), model.outputs)
        if args.output is None:
            for text in _frames.as_lines(Y, model):
                print(text)
        else:
            _frames.write(args.output, Y, model, rate)
        return 0

    stream = model.stream()
    rows: list[dict[str, np.ndarray]] = []
    skip = model.latency  # output frames from before the first one
    with Progress(n_steps if args.output or not sys.stdout.isatty() else 0) as progress:
        for start in range(0, n_steps + 1, _CHUNK):
            part = {name: x[start : start + _CHUNK] for name, x in X.items()}
            Y = by_name(stream.run(one_or_all(part)), model.outputs)
            if start + _CHUNK > n_steps:
                tail = by_name(stream.flush(), model.outputs)
                Y = {name: np.concatenate([y, tail[name]]) for name, y in Y.items()}
            n_rows = len(next(iter(Y.values())))
            Y = {name: y[skip:] for name, y in Y.items()}
            skip -= min(skip, n_rows)
            if args.output is None:
                for text in _frames.as_lines(Y, model):
                    print(text)
            else:
                rows.append({name: np.array(y) for name, y in Y.items()})
            progress.advance(min(_CHUNK, n_steps - start))
    if args.output is not None:
        empty = {name: np.zeros((0, *value.shape), np.float32) for name, value in model.outputs.items()}
        _frames.write(
            args.output, {name: np.concatenate([y[name] for y in (empty, *rows)]) for name in empty}, model, rate
        )
    return 0


def _live(model: Any) -> int:
    """A line in, a line out, flushed: the other end of a pipe may be a machine that waits for it."""
    stream = model.stream()
    skip = model.latency  # output frames from before the first one
    for frame in _frames.lines(_frames.standard_input(), "standard input", model):
        y = by_name(stream.step(one_or_all(frame)), model.outputs)
        if skip == 0:
            print(_frames.as_line(y), flush=True)
        skip -= skip > 0
    for text in _frames.as_lines({name: y[skip:] for name, y in by_name(stream.flush(), model.outputs).items()}, model):
        print(text)
    return 0
