# SPDX-License-Identifier: MIT
"""`undertow compare`: two models, or one in two precisions, on the same frames."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from ..accuracy.comparison import compare as compare_models
from ..accuracy.peer import random_inputs
from ..errors import ShapeError
from . import _frames, _sound
from ._common import (
    UsageError,
    add_command,
    add_judge,
    add_model,
    check_tolerance,
    number,
    positive_float,
    positive_int,
    tell,
)

_DESCRIPTION = """\
Run the same frames through two models, and time their steps in turns. A is MODEL; B is another file, or A with
--weights. Says, for each output, the largest error, RMS, RMS as a share of the RMS of A's output, and in how many
decisions the two agree: the largest of several numbers, or whether a single one is above a threshold. And the time of a
step, sizes of the files and of what a stream holds.

Inputs and outputs go by their names, or else, where their shapes are the same, one after the other.
With --tolerance, exits with 1 if an output errs by more; with --judge, if B does worse in its measure."""

_KEYS = """\
  model, other   the files
  ok, tolerance  whether the largest error of every output stays within the tolerance (null: none was given)
  judge, judged  of --judge, else null: its name, and what it found, in which the tolerance is then
  frames, data   how many, and where they are from
  a, b           name, hash, isa, parameters, precisions, multiply_adds, streamable, latency
  outputs        name, other (its name in B), max, rms, relative, frame, decision, n_decisions, n_agree, agreement
  speed          what, a_us, b_us, a_p99_us, b_p99_us, ratio (B by A), low, high (its quartiles)
  sizes          file_bytes, model_bytes, state_bytes, scratch_bytes, bytes_per_step: a, b
  notes          what else there is to know
"""


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "compare",
        compare,
        "compare two models, or one in two precisions, on data",
        _DESCRIPTION,
        "  undertow compare model.onnx model.tow\n"
        "  undertow compare model.onnx --weights int8 --data features.npy\n"
        "  undertow compare old.tow new.tow --data x.npy --tolerance 1e-3 --json\n",
        _KEYS,
    )
    add_model(parser, weights="how B stores its weights: float16, int16, bfloat16, int8, int4, or JSON for each layer")
    parser.add_argument(
        "other",
        metavar="B",
        nargs="?",
        help="the other model; without it, --weights makes B of MODEL. Options of importers go to both, but for a .tow",
    )
    add_data(parser)
    parser.add_argument(
        "--tolerance", type=number, help="largest error of an output that is allowed; or in the judge's measure"
    )
    add_judge(parser, "; B is held against A")
    parser.add_argument("--threshold", type=float, help="decide by this number, not by the largest of several")
    parser.add_argument(
        "--seconds", type=positive_float, default=0.5, help="to spend on the steps of each (default: 0.5)"
    )
    _sound.add_options(parser)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add --data, --frames and --seed."""
    parser.add_argument("--data", metavar="FRAMES", help="a file that `undertow run` reads: .npy, .csv, .wav ...")
    parser.add_argument(
        "--frames", type=positive_int, help="of the data, from its start; or random ones (default: 200)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of random frames (default: 0)")


def frames_of(args: argparse.Namespace, model: Any) -> tuple[dict[str, np.ndarray], str]:
    """The frames that --data, --frames and --seed ask for, and what to call them."""
    if args.data is None:
        if given := _sound.options_given(args):
            raise UsageError(f"{given[0]} says how to cut the sound of --data, which is missing")
        n = args.frames or 200
        said = f"random (seed {args.seed}), for want of --data: errors and decisions on real frames may be others"
        return random_inputs(model, n, np.random.default_rng(args.seed)), said
    X = _frames.read(args.data, model, args)
    n = len(next(iter(X.values())))
    if n == 0:
        raise ShapeError(f"{args.data}: has no frames; at least one is needed")
    if args.frames and args.frames > n:
        raise UsageError(f"--frames {args.frames}: {args.data} has {n}")
    X = {name: np.ascontiguousarray(x[: args.frames]) for name, x in X.items()}
    return X, args.data if not args.frames or args.frames == n else f"{args.data}, the first of {n:,}"


def compare(args: argparse.Namespace) -> int:
    if args.other is None and args.weights is None:
        raise UsageError("nothing to compare MODEL with: name another model, or give --weights for it")
    check_tolerance(args)
    a = _sound.load_model(args, weights=None, check=True)
    other = argparse.Namespace(**{**vars(args), "model": args.other or args.model})
    if args.other is not None and Path(args.other).suffix.lower() == ".tow":
        other.option, other.fixed, other.shape, other.states = [], [], [], []
    b = _sound.load_model(other, check=True)
    X, data_from = frames_of(args, a)
    report = compare_models(
        a, b, X, data_from=data_from, tolerance=args.tolerance, threshold=args.threshold, seconds=args.seconds,
        judge=args.judge,
    )  # fmt: skip
    tell(args, {"model": args.model, "other": args.other, **report.data()}, report)
    return 0 if report.ok else 1


__all__ = ["add", "add_data", "compare", "frames_of"]
