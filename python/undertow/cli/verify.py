# SPDX-License-Identifier: MIT
"""`undertow verify`: is what the engine computes what the model says?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .._text import escaped
from ..accuracy.peer import CannotFeed
from ._common import (
    UsageError,
    add_command,
    add_judge,
    add_model,
    frames_proven,
    importer_options,
    load_model,
    positive_float,
    positive_int,
    tell,
)

_KEYS = """\
  model, ok, against, isa, frames, seed, tolerance, largest_error
  checks         name, ok, same_bits (null: not asked), error, output, frame, element, expected, got, where
  notes          what else was seen
  explained      errors above the tolerance that float32 may make of this model: as checks, from error on
  exact, growth  of reduced weights: what errors are measured from; first, last, max, rms, relative, judged (what
                 --judge finds, else null) of each stretch
  proof          of a .tow file: frames (0: it holds none), ok (null: it holds none); null of another format
"""


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "verify",
        verify,
        "compare with ONNX Runtime or a float64 reference",
        "Run random frames through a model whole, in random chunks and step by step, and compare every number with\n"
        "ONNX Runtime (an .onnx file, where onnxruntime is installed and can be fed) or else with undertow's float64\n"
        "reference. Errors are |got - expected| / max(s, |expected|), s being the largest |expected| of the output,\n"
        "and 1 at most. The three ways must also agree to the bit.\n"
        "Without --tolerance a larger error passes where the model multiplies roundings, and a note says so: where\n"
        "its outputs move as far with all of its numbers off by 2^-22 of themselves, which the reference computes.\n"
        "ONNX Runtime is also given different sequences side by side, other lengths, and more rows along each axis\n"
        "that the file leaves open, so that axes and states which were taken for others show; notes say how states\n"
        "were fed.\n"
        "The hash that a .tow file holds is compared with one of its bytes first: a damaged file is an error. If it\n"
        "holds a proof (undertow convert --proof), that is computed, too, and a line says so.\n"
        "Exits with 1 when the comparison fails.\n\n"
        "A model with weights in less than float32 is compared layer by layer with the reference, which rounds as the\n"
        "engine does. A table shows what the reduced weights change as a stream gets longer, up to 10,000 frames:\n"
        "against the model named by --against, against MODEL itself where --weights reduces it, or else against the\n"
        "same weights in float32. It decides nothing; with --judge it says what that finds, too.",
        "  undertow verify model.onnx\n"
        "  undertow verify model.onnx --isa scalar --frames 5000 --seed 3\n"
        "  undertow verify model.tow --tolerance 1e-6\n"
        "  undertow verify small.tow --against model.onnx\n"
        "  undertow verify model.onnx --weights int8\n",
        _KEYS,
    )
    add_model(parser)
    parser.add_argument("--frames", type=positive_int, default=200, help="length of the sequence (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the random frames and chunks (default: 0)")
    parser.add_argument(
        "--tolerance",
        type=positive_float,
        help="largest error that passes (default: 1e-5, and more where float32 can do no better)",
    )
    parser.add_argument(
        "--against",
        metavar="auto|onnxruntime|reference|MODEL",
        default="auto",
        help="what to compare with (default: ONNX Runtime where possible, else the float64 reference); a file is the "
        "model whose weights were reduced",
    )
    add_judge(parser, ". A column of the table of reduced weights, on random frames: those of compare are yours")


def verify(args: argparse.Namespace) -> int:
    import undertow

    from ..accuracy.verify import verify as compare

    model = load_model(args, check=True)
    path = args.model if Path(args.model).suffix.lower() == ".onnx" else None
    against, exact = args.against, None
    if against not in ("auto", "onnxruntime", "reference"):
        if not Path(against).exists():
            raise UsageError(f"--against {against}: expected auto, onnxruntime, reference, or a model file")
        against, exact = "auto", undertow.load(against, isa=args.isa)
    elif args.weights:
        exact = load_model(args, weights=None)
    try:
        report = compare(
            model, path, frames=args.frames, seed=args.seed, tolerance=args.tolerance, against=against, exact=exact,
            options=importer_options(args), judge=args.judge,
        )  # fmt: skip
    except CannotFeed as error:
        raise UsageError(str(error)) from None
    if args.judge is not None and not report.growth:
        raise UsageError("--judge is of streams of reduced weights, or --against another model; here is none")
    n_proven = frames_proven(args.model)
    proof = None if n_proven is None else {"frames": n_proven, "ok": True if n_proven else None}
    head, _, rest = str(report).partition("\n")
    if n_proven:  # a proof that does not hold has ended in an error: loading computes it
        head += f"\n  proof: the file's own {n_proven} frames give the bits that it says, on {model.isa}"
    elif n_proven == 0:
        head += "\n  proof: the file holds none (undertow convert --proof FRAMES makes one)"
    tell(args, {"model": args.model, **report.data(), "proof": proof}, f"{escaped(args.model)}: {head}\n{rest}")
    return 0 if report.ok else 1
