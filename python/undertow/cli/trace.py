# SPDX-License-Identifier: MIT
"""`undertow trace`: see what a model remembers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..accuracy.verify import one_or_all
from ..errors import ShapeError
from . import _frames, _sound
from ._common import UsageError, add_command, add_model, check_folder, check_picture, tell
from ._summary import in_short

_KEYS = """\
  model, input, frames, output, plot
  states, outputs   by name: shape, min, max, mean, rms, not_finite
"""


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "trace",
        trace,
        "show the hidden state over time",
        "Step through the input and keep the state after every frame: as a picture (--plot, needs matplotlib), as a\n"
        ".npz (-o; arrays state/NAME and output/NAME), and in a line per state.",
        "  undertow trace model.onnx input.npy --plot memory.png\n  undertow trace model.onnx input.csv -o trace.npz\n",
        _KEYS,
    )
    add_model(parser)
    parser.add_argument("input", metavar="INPUT", help="as for `undertow run`; - for standard input")
    parser.add_argument("--plot", metavar="OUT", help="write heat maps, time to the right: .png, .svg or .pdf")
    parser.add_argument("-o", "--output", metavar="OUT", help="write the numbers: .npz")
    _sound.add_options(parser)


def trace(args: argparse.Namespace) -> int:
    if args.output is not None and Path(args.output).suffix.lower() != ".npz":
        raise UsageError(f"-o {args.output}: expected a name that ends in .npz")
    if args.output is not None:
        check_folder("-o", args.output)
    if args.plot is not None:
        check_picture("--plot", args.plot)
    from ..inspect.trace import trace as follow

    model = _sound.load_model(args)
    if args.plot is not None and not model.states:
        raise UsageError(f"--plot {args.plot}: nothing to draw, the model has no state")
    if args.input == "-":
        _frames.refuse_sound_options("standard input", args)
        X = _frames.stack(list(_frames.lines(_frames.standard_input(), "standard input", model)), model)
    else:
        X, _ = _frames.read(args.input, model, args)
    traced = follow(model.stream(), one_or_all(X))
    if args.plot is not None and not traced.n_steps:
        raise ShapeError(f"--plot {args.plot}: nothing to draw, the input has no frames")
    if args.output is not None:
        traced.save(args.output)
    if args.plot is not None:
        traced.plot(args.plot)
    facts = {
        "model": args.model,
        "input": args.input,
        "frames": traced.n_steps,
        "output": args.output,
        "plot": args.plot,
        "states": in_short(traced),
        "outputs": in_short(traced.outputs),
    }
    tell(args, facts, traced)
    return 0
