# SPDX-License-Identifier: MIT
"""`undertow convert`: any model to a .tow file, its weights in any precision."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from .._text import escaped, listed, shown
from ..inspect.describe import human_bytes, precision_of
from ..ir.ops import OPS
from ..passes.precisions import AUTO
from . import _frames, _sound
from ._common import (
    UsageError,
    add_command,
    add_judge,
    add_model,
    check_folder,
    check_tolerance,
    frames_proven,
    number,
    tell,
    warn,
    warn_of_others,
)

#: frames of a proof: enough for a state to be far from its start
_PROOF_FRAMES = 32

_KEYS = """\
  model, output, file_bytes, parameters, hash
  precisions     of the layers that have weights: layer -> precision
  proof_frames   0: the file holds no proof
  calibration    with --calibrate, else null: frames, sequences, tolerance, layers (name, precision, bytes_before,
                 bytes_after, alone), all, judge, float32_step_us, refused, notes; alone and all: max, rms, relative,
                 late, longest, judged (data, late, worst, in the judge's measure), step_us
"""


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "convert",
        convert,
        "write a model as .tow, with smaller weights if you like",
        "Write a model as one .tow file, which loads in milliseconds, needs no importer, and is what the C library\n"
        "reads. Matrices that were pruned in blocks (8 or 16 outputs by 4 inputs, all zero) are stored and multiplied\n"
        "without their zeros where that is faster.\n\n"
        "--weights int8 stores every matrix and embedding table in 8 bits (or int16, float16, bfloat16, int4). With\n"
        "--calibrate it rounds int16, int8 and int4 weights, and smooths what they multiply, so that the output errs\n"
        "less on your own frames, and prints what they cost there, layer by layer; with --tolerance it writes\n"
        "nothing where the output errs by more.\n\n"
        "--weights auto is int16 for every weight. With --calibrate and --tolerance it is for each weight the fastest\n"
        "precision with which the output stays within --tolerance, or a smaller one where that is hardly slower: the\n"
        "largest |output - float32 output|, in the units of the output, over all frames of --calibrate and over\n"
        "10,000 steps in which they are repeated. Float32 is what MODEL holds, widened.\n"
        "--judge says what the tolerance is of instead: decisions, decibels, per cent.",
        "  undertow convert model.onnx                  writes model.tow\n"
        "  undertow convert model.onnx small.tow --weights int8\n"
        "  undertow convert model.keras -o small.tow --weights int8\n"
        "  undertow convert model.onnx --weights auto --tolerance 1e-2 --calibrate data.npy\n"
        "  undertow convert model.onnx --weights auto --tolerance 0.999 --judge argmax --calibrate data.npy\n"
        "  undertow convert model.onnx --proof data.npy      verify then proves that any machine computes the same\n",
        _KEYS,
    )
    add_model(
        parser,
        weights="how to store weights: float32, float16, int16, bfloat16, int8, int4, fixed8, auto, or JSON "
        '\'{"layer": "int8"}\' with a precision for each layer',
    )
    parser.add_argument("out", metavar="OUT", nargs="?", help="the .tow to write; the same as -o OUT")
    parser.add_argument("-o", "--output", metavar="OUT", help="default: MODEL with .tow in place of its suffix")
    parser.add_argument(
        "--calibrate",
        metavar="FRAMES",
        help="frames to measure errors on: a file that `undertow run` reads, .npy ..., whose frames are one stream; or "
        "NumPy arrays (N, T, ...) with one axis more: N sequences, each from a fresh start",
    )
    parser.add_argument(
        "--dense", action="store_true", help="store matrices that were pruned in blocks like any other, zeros included"
    )
    parser.add_argument(
        "--tolerance",
        type=number,
        help="largest error of the output that is allowed; with --judge, in its measure: the least share of decisions, "
        "the least SI-SDR, most per cent",
    )
    add_judge(parser)
    parser.add_argument(
        "--proof",
        metavar="FRAMES",
        help=f"keep the first {_PROOF_FRAMES} frames of a file in the .tow, and digests of what they give: verify, and "
        "load(check=True) then prove on any machine that the file, the kernels and the CPU give the same bits",
    )
    _sound.add_options(parser)


def convert(args: argparse.Namespace) -> int:
    import undertow

    if args.out and args.output:
        raise UsageError(f"{args.out} and -o {args.output}: two files to write; give one of them")
    if args.out and Path(args.out).suffix.lower() != ".tow":
        raise UsageError(f"{args.out}: expected the file to write, a name that ends in .tow; one model is converted")
    output = Path(args.output or args.out or Path(args.model).with_suffix(".tow"))
    if output.suffix.lower() != ".tow":
        raise UsageError(f"-o {output}: expected a name that ends in .tow")
    if output.exists() and Path(args.model).exists() and output.samefile(args.model):
        raise UsageError(f"{output} is the model itself; name another file with -o")
    check_folder("-o", str(output))
    if args.weights == "auto" and args.tolerance is None and args.calibrate is not None:
        raise UsageError("--weights auto with --calibrate needs --tolerance: how much error is allowed on these frames")
    if args.weights is None and (args.tolerance is not None or args.calibrate is not None):
        raise UsageError("--tolerance and --calibrate say what --weights may cost; --weights is missing")
    if args.calibrate is None and args.proof is None and (given := _sound.options_given(args)):
        raise UsageError(f"{given[0]} says how to cut the sound of --calibrate or --proof, which are missing")
    if args.tolerance is not None and args.calibrate is None:
        raise UsageError("--tolerance needs --calibrate: the frames on which the error is measured")
    if args.judge is not None and args.calibrate is None:
        raise UsageError("--judge needs --calibrate: the frames on which it judges")
    check_tolerance(args)
    if args.dense and args.calibrate is not None:
        raise UsageError("--dense goes without --calibrate, which measures what is written otherwise")
    # Weights that stay as they are, said so: a .tow file, too, is then looked through for pruned matrices.
    changes = {"weights": args.weights or {}, "sparse": False if args.dense else "auto"}
    calibration = None
    if args.calibrate is None:
        model = _sound.load_model(args, check=True, **changes)
    else:
        model, calibration = _calibrated(args)
    proof, said = (None, "") if args.proof is None else _proof(args, model)
    if proof is None and not model.proof_frames and (n_lost := frames_proven(args.model)):
        as_it_was = undertow.load(args.model)
        if as_it_was.hash == model.hash:
            model = as_it_was
        else:
            warn(f"{args.model}: its proof, of {n_lost} frames, is of the file as it was; --proof FRAMES makes another")
    model.save(output, proof=proof)
    if args.weights == "auto" and calibration is None:
        said += "\n" + _auto(model)
    n_bytes = output.stat().st_size
    facts = {
        "model": args.model,
        "output": str(output),
        "file_bytes": n_bytes,
        "parameters": model.n_parameters,
        "hash": model.hash.hex(),
        "precisions": {n.name: precision for n in model.graph.nodes if (precision := precision_of(n))},
        "proof_frames": model.proof_frames if proof is None else len(next(iter(proof.values()))),
        "calibration": None if calibration is None else calibration.facts(),
    }
    text = f"{escaped(str(output))}: {human_bytes(n_bytes)}, {model.n_parameters:,} parameters{said}"
    tell(args, facts, text if calibration is None else f"{calibration}\n{text}")
    return 0


def _auto(model: Any) -> str:
    """What --weights auto has done where no frames were given."""
    plain = [
        f"{shown(node.name)} {key}"
        for node in model.graph.nodes
        for key in OPS[node.op].reducible
        if key in node.weights and key not in node.precisions
    ]
    if not any(key in node.weights for node in model.graph.nodes for key in OPS[node.op].reducible):
        return "  auto: the model has no weights with a precision to choose, and stays as it is"
    but = f", but {listed(plain)}, which it cannot hold" if plain else ""
    return (
        f"  auto: every weight is in {AUTO}{but}; with --calibrate FRAMES and --tolerance each is in the fastest "
        "precision that keeps to that"
    )


def _proof(args: argparse.Namespace, model: Any) -> tuple[dict[str, np.ndarray], str]:
    """The frames of --proof, and what to say of them."""
    X = _frames.read(args.proof, model, args)
    n = len(next(iter(X.values())))
    if n == 0:
        raise UsageError(f"--proof {args.proof}: has no frames")
    first = f"the first {_PROOF_FRAMES} of {n:,}" if n > _PROOF_FRAMES else f"all {n}"
    X = {name: np.ascontiguousarray(x[:_PROOF_FRAMES]) for name, x in X.items()}
    return X, f"; proof: {first} frames of {escaped(args.proof)}"


def _calibrated(args: argparse.Namespace) -> tuple[Any, Any]:
    from ..accuracy import calibrate
    from ..model import Model

    model = _sound.load_model(args, weights=None, check=True)
    warn_of_others(args.model, model, args.weights)
    X = _frames.read(args.calibrate, model, args, several=True)
    X = {name: np.ascontiguousarray(x) for name, x in X.items()}  # frames of sound may share their memory
    if args.weights == "auto":
        calibration = calibrate.search(model.graph, X, args.tolerance, args.isa, args.judge)
    else:
        calibration = calibrate.measure(model.graph, args.weights, X, args.tolerance, args.isa, args.judge)
    return Model.from_graph(calibration.graph, args.isa), calibration
