# SPDX-License-Identifier: MIT
"""What the subcommands share: the model argument, small formatting, the progress bar."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from ..precision import CODES


class UsageError(Exception):
    """Arguments that are well-formed each but do not go together."""


def add_command(
    subparsers: Any, name: str, function: Any, summary: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """Add a subcommand with its help; examples end up below the options."""
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(function=function)
    # SUPPRESS: the subcommand must not reset what stood before it.
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )
    return parser


_WEIGHTS = (
    "store weights as float16, bfloat16, int8 or int4 (float32 where the file says so); or JSON, "
    '\'{"layer": "int8"}\', with a precision for each layer'
)


def add_model(parser: argparse.ArgumentParser, nargs: str | None = None, weights: str = _WEIGHTS) -> None:
    """Add MODEL, --isa, --option and --weights."""
    parser.add_argument(
        "model", metavar="MODEL", nargs=nargs, help="an exported model: .onnx, .keras, .h5, .json, .pt, .npz, .tow ..."
    )
    parser.add_argument("--isa", help="force an instruction set, such as scalar, avx2, avx512, neon")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the file's importer (see undertow.load); VALUE is JSON, or else text; may be repeated",
    )
    parser.add_argument("--weights", metavar="PRECISION", type=precisions, help=weights)


def precisions(text: str) -> Any:
    """argparse type: the name of a precision, or a JSON object of layers."""
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from None
    if text not in (*CODES, "auto"):
        raise argparse.ArgumentTypeError(f"{text!r} is no precision; precisions: {', '.join(CODES)}")
    return text


def load_model(args: argparse.Namespace, **changes: Any) -> Any:
    """Load MODEL as `undertow.load` does; `changes` are arguments of it that go before those of the command line."""
    import undertow

    if {"weights": args.weights, **changes}["weights"] == "auto":
        raise UsageError("--weights auto is for `undertow convert`, which is given frames to try precisions on")

    options = {}
    for option in args.option:
        name, sign, value = option.partition("=")
        if not sign or not name.isidentifier():
            raise UsageError(f"--option {option!r}: expected NAME=VALUE")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    if not Path(args.model).exists():
        raise FileNotFoundError(2, "no such file", args.model)
    try:
        return undertow.load(args.model, **{"isa": args.isa, "weights": args.weights, **changes}, **options)
    except TypeError as error:
        if not options:
            raise
        raise UsageError(f"--option: {error}") from error  # a name that this importer does not take


def positive_int(text: str) -> int:
    """argparse type: a whole number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def positive_float(text: str) -> float:
    """argparse type: a number above 0."""
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def warn(message: str) -> None:
    """One line on standard error."""
    print(f"undertow: warning: {message}", file=sys.stderr)


class Progress:
    """A bar on a terminal, and nothing anywhere else; shown only once the work has taken half a second."""

    def __init__(self, total: int, what: str = "frames", stream: TextIO | None = None):
        self.total, self.what, self.done = total, what, 0
        self._stream = sys.stderr if stream is None else stream
        self._active = total > 0 and self._stream.isatty()
        self._start = time.monotonic()
        self._next = self._start + 0.5
        self._drawn = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def advance(self, n: int) -> None:
        """Say that n more are done."""
        self.done += n
        now = time.monotonic()
        if not self._active or now < self._next:
            return
        self._next, self._drawn = now + 0.1, True
        part = self.done / self.total
        rate = self.done / (now - self._start)
        left = (self.total - self.done) / rate if rate else 0.0
        bar = ("#" * round(30 * part)).ljust(30, ".")
        self._stream.write(f"\r[{bar}] {part:4.0%}  {rate:,.0f} {self.what}/s  {left:.0f} s left\x1b[K")
        self._stream.flush()
