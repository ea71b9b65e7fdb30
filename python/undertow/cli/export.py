# SPDX-License-Identifier: MIT
"""`undertow export`: a model as source code, for boards and other places without Python."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .._text import escaped
from ..export import SYSTEM_HEADERS, TARGETS, files, hash_of, is_of_model, source, write
from ..export.c.text import identifier
from ..inspect.describe import human_bytes, precision_of
from ._common import UsageError, add_command, add_model, load_model, tell

_KEYS = """\
  model, to, name, hash
  files          paths of what was written
  kept           those of a project's files that were there, and stay as they are
  replaced       hash of the model whose files were there; null where there were none
  weight_bytes   constants, in flash
  state_bytes    RAM of a stream, scratch of a step included
  latency        frames by which outputs come later
  precisions     of the layers that have weights: layer -> precision
"""


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "export",
        export,
        "write a model as C, for boards and other small places",
        "Write a model as NAME.h and NAME.c: C99 without heap, loader or library, with the weights as constants. The\n"
        "header says how to call it: NAME_reset(&state), then NAME_step(&state, x, y) for each frame. It computes the\n"
        "bits that `undertow run` does, with any compiler, on CPUs with and without an FPU.\n\n"
        "--weights int16 makes it smaller, and on Cortex-M4 and its like faster; int8 is smaller again. Without an\n"
        "FPU (Cortex-M0+, RP2040, ESP32-C3) fixed8 is the fastest: recurrent cells in integers alone.\n\n"
        "--to puts the two files into the folder shape of an ecosystem, with an example that reads a sensor or a\n"
        "microphone: a firmware for a bare Cortex-M, a library of Arduino or PlatformIO, a module of Zephyr, or a\n"
        "project of the Pico SDK, of ESP-IDF or of libDaisy. Exported again, the two files and README.md are\n"
        "replaced and the rest stays yours. Where files of two models have one name, tell them apart by --name or -o.",
        "  undertow export model.onnx                       writes model-c/model.h and model.c\n"
        "  undertow export model.onnx -o firmware/src --name keyword --weights int8\n"
        "  undertow export model.onnx --to cortex-m -o firmware && make -C firmware run\n"
        "  undertow export model.onnx --to arduino -o ~/Arduino/libraries/keyword\n",
        _KEYS,
    )
    add_model(parser)
    parser.add_argument("--to", choices=TARGETS, default="c", help="what to write; c: the two files alone (default)")
    parser.add_argument("-o", "--output", metavar="DIR", help="folder to write to; default: NAME-c, or what --to says")
    parser.add_argument(
        "--name", help="of the files, functions and macros: an identifier of C; default: made of MODEL's name"
    )


def export(args: argparse.Namespace) -> int:
    name = args.name or identifier(Path(args.model).stem, fallback="model")
    if not args.name and name in SYSTEM_HEADERS:
        name += "_model"
    folder = Path(args.output or f"{name}-{args.to}")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"-o {folder}: is a file, expected a folder")
    model = load_model(args)
    try:
        text = source(model, name)
        planned = [folder / file for file in files(text, args.to)]
    except ValueError as error:
        if isinstance(error, NotImplementedError):
            raise
        raise UsageError(f"--name: {error}") from None
    (header,) = (path for path in planned if is_of_model(path, name) and path.suffix == ".h")
    before = hash_of(header)
    paths = write(model, folder, args.to, name)
    kept = [path for path in planned if path not in paths]
    facts = {
        "model": args.model,
        "to": args.to,
        "name": name,
        "hash": model.hash.hex(),
        "files": [str(path) for path in paths],
        "kept": [str(path) for path in kept],
        "replaced": before,
        "weight_bytes": text.facts.weight_bytes,
        "state_bytes": text.facts.state_bytes,
        "latency": model.latency,
        "precisions": {n.name: precision for n in model.graph.nodes if (precision := precision_of(n))},
    }
    lines = [escaped(str(path)) for path in paths]
    lines += [f"{escaped(str(path))}: kept as it is" for path in kept]
    if before not in (None, model.hash.hex()):
        lines.append(f"these replace model {before}; give --name or -o to keep several")
    lines.append(
        f"{human_bytes(text.facts.weight_bytes)} of weights in flash, {human_bytes(text.facts.state_bytes)} of RAM for "
        f"each stream; {escaped(str(header))} says how to call it"
    )
    tell(args, facts, "\n".join(lines))
    return 0
