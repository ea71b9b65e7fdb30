# SPDX-License-Identifier: MIT
"""What the subcommands share: the model argument, small formatting, the progress bar."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any, NoReturn, TextIO

import numpy as np

from .._text import escaped, lines
from ..accuracy.judge import Judge
from ..errors import Error
from ..inspect.picture import figure_class
from ..ir.precision import BESIDE_FIXED, CODES, FIXED
from ..passes.precisions import beside_fixed, wrong_pair
from ..tow import MAGIC
from ..weights.contents import open_file
from . import _progress_bar


class UsageError(Error):
    """Arguments that are well-formed each but do not go together."""


class Misuse(SystemExit):
    """argparse has said on standard error what was wrong; `message` is that."""

    def __init__(self, message: str) -> None:
        super().__init__(2)
        self.message = message


class Answer(SystemExit):
    """An option has answered in place of the command: `facts` with --json, else `text`."""

    def __init__(self, facts: Any, text: str) -> None:
        super().__init__(0)
        self.facts, self.text = facts, text


class Parser(argparse.ArgumentParser):
    """Repeats in its errors what it was given, as one line."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As of 3.13: before it, argparse takes an argument that may be missing for missing where an option is next."""
        namespace, others = super().parse_known_args(args, namespace)
        late = [a for a in self._get_positional_actions() if a.nargs == "?" and getattr(namespace, a.dest) == a.default]
        if late and len(others) == 1 and (others[0] == "-" or not others[0].startswith("-")):
            setattr(namespace, late[0].dest, others.pop())
        return namespace, others

    def error(self, message: str) -> NoReturn:
        try:
            super().error(escaped(message))
        except SystemExit:
            raise Misuse(escaped(message)) from None


def say(*texts: object, file: TextIO | None = None, flush: bool = False) -> None:
    """The one place that prints: control characters never get past it, and what `file` cannot encode is escaped too.

    Newlines count as ours. Whoever makes a line out of text from a file has escaped them with `_text.shown`.
    """
    file = sys.stdout if file is None else file
    text = "\n".join(lines(str(text)) for text in texts)
    _progress_bar.clear()
    try:
        print(text, file=file, flush=flush)
    except UnicodeEncodeError:
        coding = file.encoding
        print(text.encode(coding, "backslashreplace").decode(coding), file=file, flush=flush)


def add_command(
    subparsers: Any, name: str, function: Any, summary: str, description: str, examples: str, keys: str = ""
) -> argparse.ArgumentParser:
    """Add a subcommand with its help; examples end up below the options.

    keys: what its --json says, a line for each key. Without them it has no --json, or adds its own.
    """
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"examples:\n{examples}" + (f"\nkeys of --json:\n{keys}{_ALL_KEYS}" if keys else ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if keys:
        parser.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS,
            help="print one JSON object and nothing else; its keys are below",
        )  # fmt: skip
    parser.set_defaults(function=function, has_json=bool(keys))
    # SUPPRESS: the subcommand must not reset what stood before it.
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )
    return parser


_ALL_KEYS = (
    "  error          instead of all others, where the exit code is not that of an answer: kind, message, exit_code\n"
    'A number that JSON has not is the text "NaN", "Infinity" or "-Infinity".\n'
)


def wants_json(args: argparse.Namespace) -> bool:
    """Whether standard output takes one JSON object and nothing else."""
    return getattr(args, "json", False) is True


def has_json(args: argparse.Namespace) -> bool:
    """Whether the command has an answer in JSON."""
    return bool(args.has_json)


def tell(args: argparse.Namespace, facts: Any, text: object) -> None:
    """Print the answer of a command: `facts` with --json, else `text`."""
    say(as_json(facts) if wants_json(args) else text)


def as_json(facts: Any) -> str:
    """Facts as one JSON object that every parser reads: what is no number in JSON is a text."""
    return json.dumps(_in_json(facts), indent=2, allow_nan=False)


def _in_json(fact: Any) -> Any:
    if isinstance(fact, Mapping):
        return {str(key): _in_json(value) for key, value in fact.items()}
    if isinstance(fact, list | tuple):
        return [_in_json(value) for value in fact]
    if isinstance(fact, np.generic):
        fact = fact.item()
    if isinstance(fact, float) and not math.isfinite(fact):
        return "NaN" if math.isnan(fact) else "Infinity" if fact > 0 else "-Infinity"
    return str(fact) if isinstance(fact, PurePath) else fact


_WEIGHTS = (
    "store weights as float16, int16, bfloat16, int8, int4 or fixed8 (float32 where the file says so); auto, which is "
    "int16; int8+int16: int8, and int16 where that costs least; "
    'or JSON, \'{"layer": "int8"}\', with a precision for each layer'
)


def add_model(parser: argparse.ArgumentParser, nargs: str | None = None, weights: str = _WEIGHTS) -> None:
    """Add MODEL and how to load it: --isa, --weights, --fixed, --shape, --states, --option."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs=nargs,
        help="an exported model: .onnx, .tflite, .keras, .h5, .json, .pt, .npz, .tow ...",
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
    parser.add_argument(
        "--fixed",
        action="append",
        default=[],
        metavar="INPUT=VALUE",
        help="bind an input of an .onnx or .tflite file that selects a branch or stays the same, such as sr=16000; "
        "VALUE is a number, a JSON list, or a .npy file; may be repeated",
    )
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="INPUT=N,N",
        help="the shape of an input of an .onnx or .tflite file that leaves it open or declares it wrong, such as "
        "input=1,576; ? keeps an axis open; may be repeated",
    )
    parser.add_argument(
        "--states",
        action="append",
        default=[],
        metavar="IN=OUT",
        help="an input and an output of an .onnx or .tflite file that carry a state, where they are not recognised, "
        "such as state=stateN; `none`: there are none; may be repeated",
    )


def precisions(text: str) -> Any:
    """argparse type: the name of a precision, or a JSON object of layers."""
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text, object_pairs_hook=_each_once)
        except json.JSONDecodeError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from None
    parts = text.split("+")
    if text != "auto" and any(part not in CODES and part != FIXED for part in parts):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no precision; precisions: {', '.join(CODES)}, {FIXED}, auto, or two of them, as int8+int16"
        )
    if len(parts) > 1 and (wrong := wrong_pair(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} {wrong}")
    return text


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, none of whose names stands in it twice."""
    named = dict(pairs)
    for name in named:
        if sum(other == name for other, _ in pairs) > 1:
            raise argparse.ArgumentTypeError(f"{name!r} is given twice; a name stands once in an object")
    return named


def add_judge(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Add --judge."""
    parser.add_argument(
        "--judge",
        metavar="JUDGE",
        type=judge,
        help="what people judge by: argmax (share of frames whose largest number is the same), threshold=0.5 (share of "
        "numbers on the same side of 0.5), sisdr (SI-SDR of sound, in dB), rms (per cent of the output's RMS), max "
        f"(the largest error); argmax:NAME where there are several outputs{more}",
    )


def judge(text: str) -> Judge:
    """argparse type: a judge of two outputs."""
    try:
        return Judge.parse(text)
    except Error as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def number(text: str) -> float:
    """argparse type: a number, as of a tolerance, which may be below 0 in decibels."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def check_tolerance(args: argparse.Namespace) -> None:
    """Refuse a --tolerance that is none in the measure of --judge before the work."""
    if args.tolerance is not None:
        try:
            (args.judge or Judge()).checked(args.tolerance)
        except Error as error:
            raise UsageError(f"--{error}") from None


def load_model(args: argparse.Namespace, **changes: Any) -> Any:
    """Load MODEL as `undertow.load` does; `changes` are arguments of it that go before those of the command line."""
    import undertow

    options = importer_options(args)
    if not Path(args.model).exists():
        raise FileNotFoundError(2, "no such file", args.model)
    settings = {"isa": args.isa, "weights": args.weights, **changes}
    try:
        model = undertow.load(args.model, **settings, **options)
    except TypeError as error:
        if not options:
            raise
        raise UsageError(f"{_given(args)}: {error}") from error  # a name that this importer does not take
    warn_of_others(args.model, model, settings["weights"])
    return model


def warn_of_others(path: str, model: Any, weights: Any) -> None:
    """Say which cells fixed8 for all is not for."""
    if weights == FIXED and (others := beside_fixed(model.graph)):
        warn(f"{path}: {'; '.join(others)}: {BESIDE_FIXED} in place of {FIXED}")


def frames_proven(path: str) -> int | None:
    """Frames of the proof in a .tow file, 0 where it holds none; None of another format."""
    import undertow

    with open_file(path) as file:
        if file.read(len(MAGIC)) != MAGIC:
            return None
    return undertow.load(path).proof_frames


def importer_options(args: argparse.Namespace) -> dict[str, Any]:
    """Options of `undertow.load` for the importer, those that were given."""
    options: dict[str, Any] = {
        "fixed": _named(args.fixed, "--fixed", "INPUT=VALUE", _array),
        "shapes": _named(args.shape, "--shape", "INPUT=N,N", _dims),
    }
    if args.states == ["none"]:
        options["states"] = {}
    else:
        options["states"] = _named(args.states, "--states", "IN=OUT", lambda text, _: text) or None
    given = {name: value for name, value in options.items() if value or (name == "states" and value is not None)}
    return {**given, **_named(args.option, "--option", "NAME=VALUE", json_or_text)}


def _given(args: argparse.Namespace) -> str:
    names = ("option", "fixed", "shape", "states")
    return ", ".join(f"--{name}" for name in names if getattr(args, name))


def _named(given: Iterable[str], option: str, form: str, value_of: Callable[[str, str], Any]) -> dict[str, Any]:
    """NAME=VALUE, several times, as a dict. Names of tensors may hold any character but =."""
    named: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not name or not sign or (option == "--option" and not name.isidentifier()):
            raise UsageError(f"{option} {text!r}: expected {form}")
        converted = value_of(value, f"{option} {name}")
        if name in named:
            raise UsageError(f"{option} {name}: given twice")
        named[name] = converted
    return named


def json_or_text(value: str, _: str) -> Any:
    """VALUE of --option: JSON, or else the text itself."""
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _array(value: str, what: str) -> Any:
    if value.endswith(".npy"):
        with open_file(value) as file:
            try:
                return np.load(file, allow_pickle=False)
            except Exception as error:  # numpy raises a dozen kinds on damaged files
                raise UsageError(f"{what}: {value} is not a readable .npy file: {error}") from None
    try:
        array = np.asarray(json.loads(value))
    except ValueError as error:  # no JSON, or lists of different lengths
        raise UsageError(f"{what}: {value!r} is neither a number, nor a JSON list, nor a .npy file: {error}") from None
    if array.dtype.kind not in "biuf":
        raise UsageError(f"{what}: {value!r} is not made of numbers")
    return array


def _dims(value: str, what: str) -> list[int | None]:
    words = [word.strip() for word in value.strip("[]() ").split(",")] if value.strip("[]() ") else []
    if any(word != "?" and not (word.isascii() and word.isdecimal() and int(word)) for word in words):
        raise UsageError(f"{what}: {value!r} is no shape; expected sizes such as 1,576, ? for an open one")
    return [None if word == "?" else int(word) for word in words]


def check_picture(option: str, path: str) -> None:
    """Refuse a picture that cannot be drawn before the work."""
    figure_class()
    if Path(path).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"{option} {path}: expected a name that ends in .png, .svg or .pdf")
    check_folder(option, path)


def check_folder(option: str, path: str) -> None:
    """Refuse a file that cannot be written for want of a folder before the work."""
    if not Path(path).parent.is_dir():
        raise UsageError(f"{option} {path}: there is no folder {Path(path).parent}")


def whole(text: str) -> int:
    """argparse type: a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def positive_int(text: str) -> int:
    """argparse type: a whole number above 0."""
    number = whole(text)
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
    say(f"undertow: warning: {escaped(message)}", file=sys.stderr)


class Progress:
    """How far a run of frames is: told to the bar of the command, if there is one.

    seconds: what the whole of it would last if it came live. The bar tells then how much faster than that it goes, and
    a line in the end does, too, on a terminal.
    """

    def __init__(self, total: int, what: str = "frames", stream: TextIO | None = None, seconds: float | None = None):
        self.total, self.what, self.seconds, self.done = total, what, seconds, 0
        self._stream = sys.stderr if stream is None else stream
        self._active = total > 0 and self._stream.isatty()
        self._bar = _progress_bar.Bar(self._stream)
        self._bar.unit = f" {what}"
        self._start = time.monotonic()

    def __enter__(self) -> Progress:
        if self._active:
            self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._active:
            return
        self._bar.__exit__()
        if self.seconds and self.done == self.total:
            spent = time.monotonic() - self._start
            self._stream.write(
                f"{self.total:,} {self.what}, {self.seconds:.1f} s of sound in {spent:.2f} s: {self._factor(spent)}\n"
            )
        self._stream.flush()

    def _factor(self, spent: float) -> str:
        """How often faster than live."""
        return f"{(self.seconds or 0.0) * self.done / self.total / max(spent, 1e-9):,.3g}x real time"

    def finish(self, seconds: float | None = None) -> None:
        """Say that it is done, where the total was an estimate; and what it would last."""
        self.total = self.done
        self.seconds = self.seconds if seconds is None else seconds

    def advance(self, n: int) -> None:
        """Say that n more are done."""
        self.done += n
        if self._active:
            self._bar(self.what, min(self.done, self.total), self.total)  # which may be an estimate
            self._bar.note = self._factor(time.monotonic() - self._start) if self.seconds else ""
