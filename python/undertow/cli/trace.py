# SPDX-License-Identifier: MIT
"""`undertow trace`: see what a model remembers."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..accuracy.verify import one_or_all
from ..errors import ShapeError
from . import _sound, _sources
from ._common import UsageError, add_command, add_model, check_folder, check_picture, say, tell, wants_json
from ._hearing import tell_of_rate
from ._summary import in_short

_KEYS = """\
  model, input, frames, output, plot
  states, outputs   by name: shape, min, max, mean, rms, not_finite
"""

#: Frames whose states are held at a time where nobody wants them all.
_CHUNK = 256


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
    parser.set_defaults(raw=None)


def trace(args: argparse.Namespace) -> int:
    if args.output is not None and Path(args.output).suffix.lower() != ".npz":
        raise UsageError(f"-o {args.output}: expected a name that ends in .npz")
    if args.output is not None:
        check_folder("-o", args.output)
    if args.plot is not None:
        check_picture("--plot", args.plot)
    from ..inspect.trace import Outline
    from ..inspect.trace import trace as follow

    model = _sound.load_model(args)
    if args.plot is not None and not model.states:
        raise UsageError(f"--plot {args.plot}: nothing to draw, the model has no state")
    with ExitStack() as stack:
        source = _sources.opened(args, model, stack)
        if source.hearing is not None:
            tell_of_rate("standard input" if args.input == "-" else args.input, source.hearing, model, args)
        if args.output is None and not wants_json(args):
            outline = Outline(model.stream())
            for piece in source.pieces:
                for start in range(0, len(next(iter(piece.values()))), _CHUNK):
                    outline.push({name: x[start : start + _CHUNK] for name, x in piece.items()})
            if args.plot is not None:
                _require_frames(args, outline.n_steps)
                outline.plot(args.plot)
            say(outline)
            return _sources.code_of(source, args)
        X = _sources.whole(source, model)
    traced = follow(model.stream(), one_or_all(X))
    if args.output is not None:
        traced.save(args.output)
    if args.plot is not None:
        _require_frames(args, traced.n_steps)
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
    return _sources.code_of(source, args)


def _require_frames(args: argparse.Namespace, n_steps: int) -> None:
    if not n_steps:
        raise ShapeError(f"--plot {args.plot}: nothing to draw, the input has no frames")
