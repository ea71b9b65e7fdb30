# SPDX-License-Identifier: MIT
"""`undertow demo`: a small network reads handwritten digits row by row and says, after each row, what it believes.

`undertow demo NAME` runs one of the examples (`_examples`), which are scripts.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np

from .._text import listed
from ..loading import load
from ..support import example
from . import _examples
from ._common import UsageError, add_command, say, tell, wants_json

#: Beliefs shown after each row, and the cells of a full bar: with the picture they fill 78 columns.
_TOP, _BAR = 3, 10

#: Images in digits.npz.
HELD_OUT = 60

#: How many digits are shown.
DIGITS = 5

#: Its first six images show six different digits.
SEED = 8

#: Seconds spent on the step time at the end.
_TIMING = 0.1


_KEYS = """\
  name           of the example; null with --list
  lines          what it printed
  files          what it wrote, or --source and --notebook did
  replaced       those of them that took the place of files with other bytes
  examples       with --list: name and title of each
"""


@dataclass(frozen=True)
class Glyphs:
    """What a row and a bar are drawn with, from empty to full, and the picture's edge."""

    shades: str
    fractions: str
    edge: str


BLOCKS = Glyphs(" ░▒▓█", " ▏▎▍▌▋▊▉█", "│")
ASCII = Glyphs(" .:+#", " #", "|")


def glyphs_for(stream: TextIO) -> Glyphs:
    """Block characters if the stream can take them."""
    try:
        (BLOCKS.shades + BLOCKS.fractions + BLOCKS.edge).encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def draw_row(pixels: np.ndarray, glyphs: Glyphs) -> str:
    """Eight pixels, 0 to 16, two columns each."""
    levels = np.rint(pixels * ((len(glyphs.shades) - 1) / 16)).astype(int)
    return glyphs.edge + "".join(glyphs.shades[level] * 2 for level in levels) + glyphs.edge


def draw_bar(part: float, glyphs: Glyphs) -> str:
    """A bar of `_BAR` columns, filled to `part` (0 to 1)."""
    n = len(glyphs.fractions) - 1
    full, rest = divmod(round(part * _BAR * n), n)
    return (glyphs.fractions[-1] * full + glyphs.fractions[rest] * (full < _BAR)).ljust(_BAR)


def draw_beliefs(beliefs: np.ndarray, glyphs: Glyphs) -> str:
    """The likeliest digits, likeliest first."""
    best = np.argsort(-beliefs, kind="stable")[:_TOP]
    return "  ".join(f"{digit} {draw_bar(float(beliefs[digit]), glyphs)} {beliefs[digit]:4.0%}" for digit in best)


def show(digits: int = DIGITS, delay: float = 0.0, seed: int = SEED) -> int:
    """Stream that many held-out digits (up to `HELD_OUT`), pausing `delay` seconds after each row.

    Returns: how many answers were right.
    """
    model = load(example("digits"))
    with np.load(example("digits").with_suffix(".npz")) as data:
        images, labels = data["images"], data["labels"]
    glyphs = glyphs_for(sys.stdout)
    chosen = np.random.default_rng(seed).permutation(len(images))[:digits]
    frames = images[chosen] / np.float32(16)

    say(f"A GRU of {model.states['memory.h'].shape[0]} units reads handwritten digits that it was not trained on,")
    say("one row a step, and says after each row what it believes.")
    stream = model.stream()
    right = 0
    for i in range(digits):
        say(f"\ndigit {i + 1} of {digits}", flush=True)
        stream.reset()
        for pixels, frame in zip(images[chosen[i]], frames[i], strict=True):
            beliefs = stream.step(frame)
            say(f"  {draw_row(pixels, glyphs)}  {draw_beliefs(beliefs, glyphs)}".rstrip(), flush=True)
            time.sleep(delay)
        answer, label = int(beliefs.argmax()), int(labels[chosen[i]])
        right += answer == label
        say(f"  says {answer}, is {label}: {'right' if answer == label else 'wrong'}")
    seconds, steps = _time_steps(model, frames)
    say(f"\n{right} of {digits} right; {1e6 * seconds / steps:.2f} us a step (mean of {steps:,} calls, {model.isa})")
    return right


def _time_steps(model: Any, frames: np.ndarray) -> tuple[float, int]:
    """(seconds, steps) of streaming these digits again and again, printing nothing."""
    stream, out = model.stream(), np.empty(10, np.float32)
    rows = list(frames.reshape(-1, 8))
    steps, start, seconds = 0, time.perf_counter(), 0.0
    while seconds < _TIMING:
        for row in rows:
            stream.step(row, out)
        steps += len(rows)
        seconds = time.perf_counter() - start
    return seconds, steps


def _between(kind: Callable[[str], Any], low: float, high: float) -> Callable[[str], Any]:
    """argparse type: a number from low to high."""

    def parse(text: str) -> Any:
        number = kind(text)
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{text} is not {low:g} to {high:g}")
        return number

    parse.__name__ = kind.__name__  # argparse says "invalid int value"
    return parse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="an example of --list (default: digits, shown as they come in)"
    )
    parser.add_argument("--list", action="store_true", help="list the examples, a line each")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FOLDER",
        help="where pictures and other files go; pictures are saved there rather than shown (default: pictures are "
        "shown where there is a screen, and the rest is written to the current folder)",
    )
    parser.add_argument(
        "--source",
        nargs="?",
        const="-",
        metavar="FILE",
        help="print the example's script, or copy it to FILE, in place of running it",
    )
    parser.add_argument("--notebook", metavar="FILE", help="write the example as a notebook, .ipynb")
    digits = parser.add_argument_group("of the digits as they come in")
    digits.add_argument(
        "--digits",
        type=_between(int, 1, HELD_OUT),
        metavar="N",
        help=f"how many to show, up to {HELD_OUT} (default: {DIGITS})",
    )
    digits.add_argument(
        "--delay",
        type=_between(float, 0, 60),
        metavar="SECONDS",
        help="pause after each row (default: 0.1 on a terminal, otherwise 0)",
    )
    digits.add_argument(
        "--seed",
        type=_between(int, 0, 2**32 - 1),
        metavar="N",
        help=f"which digits: another seed, other ones (default: {SEED})",
    )


#: options of the digits as they come in, and of a script
_OF_DIGITS, _OF_SCRIPTS = ("digits", "delay", "seed"), ("output", "source", "notebook")


def demo(args: argparse.Namespace) -> int:
    if not wants_json(args):
        _answered(args)
        return 0
    with redirect_stdout(io.StringIO()) as printed:
        facts = _answered(args)
    tell(args, {"lines": printed.getvalue().splitlines(), "files": [], "replaced": [], **facts}, "")
    return 0


def _answered(args: argparse.Namespace) -> dict[str, Any]:
    """Do what is asked for. Returns: what --json says beside what is printed."""
    if args.list:
        return _list()
    of_digits, of_scripts = (
        [option for option in options if getattr(args, option) is not None] for options in (_OF_DIGITS, _OF_SCRIPTS)
    )
    name = args.name or "digits"
    if of_digits and name != "digits":
        option = of_digits[0]
        raise UsageError(f"--{option} is for the digits: undertow demo --{option} {getattr(args, option)}")
    if of_digits and of_scripts:
        raise UsageError(f"--{of_digits[0]} is for digits as they come in, --{of_scripts[0]} for a script: take one")
    as_they_come = of_digits or (args.name is None and not of_scripts)
    return {"name": name, **(_show_digits(args) if as_they_come else _script(name, args))}


def _list() -> dict[str, Any]:
    titles = {name: _examples.title(name) for name in _examples.names()}
    width = max(map(len, titles))
    say(*(f"{name.ljust(width)}  {title}" for name, title in titles.items()))
    return {"name": None, "examples": titles}


def _show_digits(args: argparse.Namespace) -> dict[str, Any]:
    delay = args.delay
    if delay is None:
        delay = 0.1 if sys.stdout.isatty() else 0.0
    show(DIGITS if args.digits is None else args.digits, delay, SEED if args.seed is None else args.seed)
    say("more examples: undertow demo --list")
    return {}


def _script(name: str, args: argparse.Namespace) -> dict[str, Any]:
    if args.source is not None and args.notebook is not None:
        raise UsageError("--source and --notebook: give one of them")
    if args.source == "-":
        say(_examples.script(name).read_text(encoding="utf-8").rstrip("\n"))
        return {}
    if args.source is not None or args.notebook is not None:
        if args.source is not None:
            path = _examples.write_source(name, args.source)
        else:
            path = _examples.write_notebook(name, args.notebook)
        say(f"wrote {path}")
        return {"files": [path]}
    outcome = _examples.run(name, args.output, on_screen=not wants_json(args))
    pictures = [path for path in outcome.files if path.suffix == ".png"]
    notes = [f"pictures: {listed(pictures)}"] if pictures else []
    notes += [f"files of these names were replaced: {listed(outcome.replaced)}"] if outcome.replaced else []
    notes += [] if outcome.draws else ['the pictures need matplotlib: pip install "undertow[plot]"']
    say("", *notes, _words(name), flush=True)
    outcome.show()
    return {"files": outcome.files, "replaced": outcome.replaced}


def _words(name: str) -> str:
    """Where it is said what an example shows."""
    return f"in words: undertow demo {name} --source, --notebook FILE, or the gallery"


def add(subparsers: Any) -> None:
    """Register the subcommand `demo`."""
    parser = add_command(
        subparsers,
        "demo",
        demo,
        "watch a network read handwritten digits row by row; run the examples",
        "Without a NAME: stream handwritten digits through the example model, row by row, and\n"
        "show what it believes after each row. Nothing is needed but this package.\n"
        "With one: run that example. Each is a script to read, change, and open as a notebook.",
        "  undertow demo\n  undertow demo --digits 60 --delay 0\n  undertow demo --seed 7 --delay 0.3\n"
        "  undertow demo --list\n  undertow demo lesson\n  undertow demo lesson -o pictures\n"
        "  undertow demo lesson --source my_lesson.py\n  undertow demo lesson --notebook lesson.ipynb\n",
        _KEYS,
    )
    add_arguments(parser)
