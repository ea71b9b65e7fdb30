# SPDX-License-Identifier: MIT
"""`undertow convert`: any model to a .tow file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..describe import human_bytes
from ._common import UsageError, add_command, add_model, load_model


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "convert",
        convert,
        "write a model as .tow",
        "Write a model as one .tow file, which loads in milliseconds, needs no importer, and is what the C library\n"
        "reads.",
        "  undertow convert model.onnx                  writes model.tow\n"
        "  undertow convert model.keras -o small.tow\n",
    )
    add_model(parser)
    parser.add_argument("-o", "--output", metavar="OUT", help="default: MODEL with .tow in place of its suffix")


def convert(args: argparse.Namespace) -> int:
    output = Path(args.output) if args.output else Path(args.model).with_suffix(".tow")
    if output.suffix.lower() != ".tow":
        raise UsageError(f"-o {output}: expected a name that ends in .tow")
    if output.exists() and Path(args.model).exists() and output.samefile(args.model):
        raise UsageError(f"{output} is the model itself; name another file with -o")
    if not output.parent.is_dir():
        raise UsageError(f"-o {output}: there is no folder {output.parent}")
    model = load_model(args)
    model.save(output)
    print(f"{output}: {human_bytes(output.stat().st_size)}, {model.n_parameters:,} parameters")
    return 0
