# SPDX-License-Identifier: MIT
"""`undertow convert`: any model to a .tow file, its weights in any precision."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from .._text import escaped
from ..inspect.describe import human_bytes
from . import _frames, _sound
from ._common import UsageError, add_command, add_model, positive_float, say


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "convert",
        convert,
        "write a model as .tow, with smaller weights if you like",
        "Write a model as one .tow file, which loads in milliseconds, needs no importer, and is what the C library\n"
        "reads. Matrices that were pruned in blocks (8 or 16 outputs by 4 inputs, all zero) are stored and multiplied\n"
        "without their zeros where that is faster.\n\n"
        "--weights int8 stores every matrix and embedding table in 8 bits (or float16, bfloat16, int4). With\n"
        "--calibrate it rounds int8 and int4 weights so that the output errs least on your own frames, and prints\n"
        "what they cost there, layer by layer; with --tolerance it writes nothing where the output errs by more.\n\n"
        "--weights auto chooses for each weight the smallest of int4, int8 and float16 with which the output stays\n"
        "within --tolerance: the largest |output - float32 output|, in the units of the output, over all frames of\n"
        "--calibrate and over 10,000 steps in which they are repeated. It starts with the weights of most bytes.",
        "  undertow convert model.onnx                  writes model.tow\n"
        "  undertow convert model.keras -o small.tow --weights int8\n"
        "  undertow convert model.onnx --weights auto --tolerance 1e-2 --calibrate data.npy\n",
    )
    add_model(
        parser,
        weights="how to store weights: float32, float16, bfloat16, int8, int4, auto, or JSON "
        '\'{"layer": "int8"}\' with a precision for each layer',
    )
    parser.add_argument("-o", "--output", metavar="OUT", help="default: MODEL with .tow in place of its suffix")
    parser.add_argument(
        "--calibrate",
        metavar="FRAMES",
        help="frames to measure errors on: a file that `undertow run` reads, .npy ...",
    )
    parser.add_argument(
        "--dense", action="store_true", help="store matrices that were pruned in blocks like any other, zeros included"
    )
    parser.add_argument("--tolerance", type=positive_float, help="largest error of the output that is allowed")
    _sound.add_options(parser)


def convert(args: argparse.Namespace) -> int:
    output = Path(args.output) if args.output else Path(args.model).with_suffix(".tow")
    if output.suffix.lower() != ".tow":
        raise UsageError(f"-o {output}: expected a name that ends in .tow")
    if output.exists() and Path(args.model).exists() and output.samefile(args.model):
        raise UsageError(f"{output} is the model itself; name another file with -o")
    if not output.parent.is_dir():
        raise UsageError(f"-o {output}: there is no folder {output.parent}")
    if args.weights == "auto" and (args.tolerance is None or args.calibrate is None):
        raise UsageError("--weights auto needs --tolerance and --calibrate: how much error, and on which frames")
    if args.weights is None and (args.tolerance is not None or args.calibrate is not None):
        raise UsageError("--tolerance and --calibrate say what --weights may cost; --weights is missing")
    if args.calibrate is None and (given := _sound.options_given(args)):
        raise UsageError(f"{given[0]} says how to cut the sound of --calibrate, which is missing")
    if args.tolerance is not None and args.calibrate is None:
        raise UsageError("--tolerance needs --calibrate: the frames on which the error is measured")
    if args.dense and args.calibrate is not None:
        raise UsageError("--dense goes without --calibrate, which measures what is written otherwise")
    # Weights that stay as they are, said so: a .tow file, too, is then looked through for pruned matrices.
    changes = {"weights": args.weights or {}, "sparse": False if args.dense else "auto"}
    model = _sound.load_model(args, **changes) if args.calibrate is None else _calibrated(args)
    model.save(output)
    say(f"{escaped(str(output))}: {human_bytes(model.file_bytes)}, {model.n_parameters:,} parameters")
    return 0


def _calibrated(args: argparse.Namespace) -> Any:
    from ..accuracy import calibrate
    from ..model import Model

    model = _sound.load_model(args, weights=None)
    X = _frames.read(args.calibrate, model, args)
    X = {name: np.ascontiguousarray(x) for name, x in X.items()}  # frames of sound may share their memory
    if args.weights == "auto":
        calibration = calibrate.search(model.graph, X, args.tolerance, args.isa)
    else:
        calibration = calibrate.measure(model.graph, args.weights, X, args.tolerance, args.isa)
    say(calibration)
    return Model.from_graph(calibration.graph, args.isa)
