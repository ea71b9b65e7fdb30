# SPDX-License-Identifier: MIT
"""`undertow certify`: one page of evidence about a model on this machine, for people and for programs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import _files
from .._text import escaped
from ..accuracy.certificate import certify as measure
from ..accuracy.certificate_page import as_page
from . import _sound
from ._common import UsageError, add_command, add_model, as_json, check_folder, importer_options, positive_float, tell
from .compare import add_data, frames_of
from .info import version

_DESCRIPTION = """\
Measure a model on your data and write what was found as one HTML page, which needs nothing but a browser, and as JSON
beside it: what a safety file, or a release, needs to hold.
  errors    of the weights as the file stores them, and in float32, float16, bfloat16, int16, int8 and int4: against a
            float64 evaluation of the same graph, and of an .onnx file against ONNX Runtime, where that can be fed
  laws      the same bits on every instruction set, and step by step as in whole sequences; outputs that are numbers
  time      of single steps: p50, p90, p99, p99.9, the largest, and a histogram of all
  memory    of the file, the plan, and a stream
  hashes    of the model, its file, the data, and the outputs; versions of all that took part
The hash in a .tow file, and its proof, are checked first. Exits with 1 if a law is broken, or --tolerance is missed."""

_KEYS = """\
  schema, ok, date
  versions, cpu_features
  model          file, file_bytes, file_sha256, name, hash, notes, isa, proof_frames, and of `undertow info`: inputs,
                 outputs, layers, state, parameters, multiply_adds, streamable, latency, frames_in, frames_out,
                 sample_rate, warnings
  data           from, file_sha256, frames, hash
  tolerance      allowed, largest_error, holds
  laws           law, holds
  precisions     precision, file_bytes, outputs (as `undertow compare`), bits (instruction set: hash), us (what,
                 n_calls, p50, p90, p99, p99.9, max); or precision and refused
  onnxruntime    version, outputs, notes
  memory         file_bytes, model_bytes, state_bytes, scratch_bytes, bytes_per_step
  histogram      edges_us, n_calls
"""


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "certify",
        certify,
        "write a page of evidence: errors, bits, times, memory, hashes",
        _DESCRIPTION,
        "  undertow certify model.tow --data features.npy -o report.html      and report.json\n"
        "  undertow certify model.onnx --data x.npy --tolerance 1e-5 -o report.html\n"
        "  undertow certify model.tow --data x.npy --json\n",
        _KEYS,
    )
    add_model(parser)
    add_data(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="the page, .html; JSON goes beside it, .json (default: MODEL.certificate.html)",
    )
    parser.add_argument(
        "--tolerance", type=positive_float, help="largest |output - float64 reference| that is allowed, as stored"
    )
    parser.add_argument(
        "--seconds", type=positive_float, default=1.0, help="to spend on the steps of each precision (default: 1)"
    )
    _sound.add_options(parser)


def certify(args: argparse.Namespace) -> int:
    output = Path(args.output) if args.output else Path(f"{Path(args.model).name}.certificate.html")
    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"-o {output}: expected a name that ends in .html")
    check_folder("-o", str(output))
    writes = args.output is not None or not args.json
    model = _sound.load_model(args, check=True)
    X, data_from = frames_of(args, model)
    facts = measure(
        model,
        Path(args.model),
        X,
        None if args.data is None else Path(args.data),
        version=version(),
        data_from=data_from,
        options=importer_options(args),
        tolerance=args.tolerance,
        seconds=args.seconds,
    )
    paths = [output, output.with_suffix(".json")] if writes else []
    if writes:
        _files.write(output, as_page(facts))
        _files.write(paths[1], as_json(facts) + "\n")
    held = sum(law["holds"] for law in facts["laws"])
    verdict = "ok" if facts["ok"] else "FAILED"
    text = (
        f"{verdict}: {held} of {len(facts['laws'])} laws hold, largest error "
        f"{facts['tolerance']['largest_error']:.3g} on {facts['data']['frames']:,} frames ({facts['data']['from']})"
    )
    tell(args, facts, "\n".join([text, *(f"  {escaped(str(path))}" for path in paths)]))
    return 0 if facts["ok"] else 1


__all__ = ["add", "certify"]
