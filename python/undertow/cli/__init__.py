# SPDX-License-Identifier: MIT
"""The command `undertow`: one module per subcommand, each with `add(subparsers)` and a function of its arguments.

Exit codes: 0 ok, 1 verification failed or tolerance missed, 2 wrong usage, 3 unusable file or unsupported model, 130
interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence

from ..errors import Error, ISAError, ToleranceError
from . import bench, convert, demo, info, run, trace, verify
from ._common import UsageError

_EPILOG = """\
examples:
  undertow info model.onnx                what is in it: layers, shapes, state, scratch, instruction set
  undertow verify model.onnx              compare with ONNX Runtime, whole and streamed
  undertow run model.onnx features.npy -o out.npy
  sensor | undertow run model.onnx        one line of numbers in, one line out, as they come
  undertow convert model.onnx -o model.tow
  undertow convert model.onnx --weights int8 -o small.tow

`undertow COMMAND --help` has more of them.
exit codes: 0 ok, 1 verification failed or tolerance missed, 2 wrong usage, 3 unusable file or unsupported model
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code."""
    parser = argparse.ArgumentParser(
        prog="undertow",
        description="Run exported recurrent networks (RNN, LSTM, GRU) over streams.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in (demo, info, run, verify, convert, bench, trace):
        command.add(subparsers)
    try:
        args = parser.parse_args(argv)
        if args.version:
            print(f"undertow {info.version()}")
            return 0
        if not args.command:
            parser.print_help()
            return 2
        code: int = args.function(args)
        sys.stdout.flush()  # here, where a closed pipe is still caught
        return code
    except SystemExit as stop:  # argparse has printed what was wrong
        return int(stop.code or 0)
    except BrokenPipeError:  # `| head` has seen enough
        with contextlib.suppress(Exception):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if "--debug" in (sys.argv[1:] if argv is None else argv):
            raise
        line, rest = _message(error)
        print(f"undertow: error: {line}{rest}", file=sys.stderr)
        return 2 if isinstance(error, (UsageError, ISAError)) else 1 if isinstance(error, ToleranceError) else 3


def _message(error: Exception) -> tuple[str, str]:
    """One line that says it all, and the lines below it, if any: an importer may print the code to write instead."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fspath(error.filename)}: {error.strerror}", ""
    line, newline, rest = (str(error).strip() or type(error).__name__).partition("\n")
    # Errors that a user can act on say what to do. Anything else is our fault, and its class helps us.
    if not isinstance(error, (Error, OSError, UsageError, ImportError, ValueError)):
        line = f"{type(error).__name__}: {line} (`undertow --debug ...` shows where)"
    return line, newline + rest
