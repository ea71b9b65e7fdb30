# SPDX-License-Identifier: MIT
"""The command `undertow`: one module per subcommand, each with `add(subparsers)` and a function of its arguments.

Exit codes: 0 ok, 1 verification failed or tolerance missed, 2 wrong usage, 3 unusable file or device, or unsupported
model, 130 interrupted, 143 terminated (128 and the number of the signal).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

from .._progress import listening
from .._text import MAX_LINE, shown
from ..errors import Error, ISAError, ModelWarning, ToleranceError
from . import bench, certify, compare, completion, convert, demo, doctor, export, info, run, trace, verify
from ._common import Answer, Misuse, Parser, UsageError, as_json, has_json, say, tell, wants_json
from ._progress_bar import Bar
from ._signals import Terminated, exit_code, raised
from ._words import in_shell

_EPILOG = """\
examples:
  undertow info model.onnx                what is in it: layers, shapes, state, scratch, instruction set
  undertow verify model.onnx              compare with ONNX Runtime, whole and streamed
  undertow run model.onnx features.npy -o out.npy
  sensor | undertow run model.onnx        one line of numbers in, one line out, as they come
  undertow convert model.onnx -o model.tow
  undertow convert model.onnx --weights int8 -o small.tow
  undertow export model.onnx              C for a board: no heap, no library
  undertow compare model.onnx small.tow --data features.npy      error, decisions, speed, size
  undertow certify small.tow --data features.npy -o report.html  a page of evidence
  undertow doctor                         what is installed, what is missing, whether all is well

`undertow COMMAND --help` has more of them.
exit codes: 0 ok, 1 verification failed or tolerance missed, 2 wrong usage, 3 unusable file or device,
  or unsupported model, 130 interrupted, 143 terminated
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code."""
    parser = Parser(
        prog="undertow",
        description="Run exported recurrent networks (RNN, LSTM, GRU) over streams.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output: the version, an error")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in (demo, info, run, verify, convert, export, bench, trace, compare, certify, doctor, completion):
        command.add(subparsers)
    parser.set_defaults(whole=parser)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _run(parser, argv)


def _run(parser: Parser, argv: Sequence[str] | None) -> int:
    given = sys.argv[1:] if argv is None else argv
    in_json = "--json" in given  # until it is known whether that is an option here
    try:
        args = parser.parse_args(argv)
        in_json = wants_json(args)
        if args.version:
            tell(args, {"version": info.version()}, f"undertow {info.version()}")
            return 0
        if not args.command:
            if in_json:
                raise UsageError("--json is for a COMMAND, or for --version; neither is given")
            parser.print_help()
            return 2
        if in_json and not has_json(args):
            raise UsageError(f"--json: `undertow {args.command}` has no answer in JSON; leave --json out")
        with raised(), Bar(sys.stderr) as bar, listening(bar):
            code: int = args.function(args)
        sys.stdout.flush()  # here, where a closed pipe is still caught
        return code
    except Misuse as misuse:
        return _failed(in_json, "UsageError", misuse.message, 2)
    except Answer as answer:
        if in_json or answer.text:
            say(as_json(answer.facts) if in_json else answer.text)
        return 0
    except SystemExit as stop:  # after --help
        return int(stop.code or 0)
    except BrokenPipeError:  # `| head` has seen enough
        with contextlib.suppress(Exception):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Terminated as stop:
        return _failed(in_json, "Terminated", f"ended by {stop}", exit_code(stop.signal))
    except KeyboardInterrupt:
        return _failed(in_json, "KeyboardInterrupt", "interrupted", 130)
    except Exception as error:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()  # what was said before stands before it, where both go the same way
        if "--debug" in given:
            say(traceback.format_exc().rstrip(), file=sys.stderr)
        else:
            message, table = _message(error), ""
            if isinstance(error, ToleranceError):  # what it was measured on comes first, and last what came of it
                message, _, table = message.partition("\n")
            say(*filter(None, [table]), f"undertow: error: {message}", file=sys.stderr)
        code = 2 if isinstance(error, (UsageError, ISAError)) else 1 if isinstance(error, ToleranceError) else 3
        return _failed(in_json, type(error).__name__, _message(error), code)


def _failed(in_json: bool, kind: str, message: str, code: int) -> int:
    """Say an error once more for programs, where they were promised JSON."""
    if in_json:
        with contextlib.suppress(BrokenPipeError):
            say(as_json({"error": {"kind": kind, "message": message, "exit_code": code}}), flush=True)
    return code


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """A warning of Python or NumPy may quote a file, too."""
    if issubclass(category, ModelWarning):
        first, *more = (shown(text, MAX_LINE) for text in in_shell(str(message)).split("\n"))
        say(f"undertow: warning: {first}", *more, file=sys.stderr if file is None else file)
        return
    said = warnings.formatwarning(shown(message, MAX_LINE), category, filename, lineno, line)
    say(said.rstrip(), file=sys.stderr if file is None else file)


def _message(error: Exception) -> str:
    """One line that says it all; below it, where an importer prints the code to write instead, the lines of that."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{shown(error.filename, MAX_LINE)}: {error.strerror}"
    if isinstance(error, Error) and str(error).strip():
        return in_shell(str(error).strip())
    line = shown(" ".join(str(error).split()) or type(error).__name__, MAX_LINE)
    # Errors that a user can act on say what to do. Anything else is our fault, and its class helps us.
    if not isinstance(error, (Error, OSError, ImportError, ValueError)):
        line = f"{type(error).__name__}: {line} (`undertow --debug ...` shows where)"
    return line
