# SPDX-License-Identifier: MIT
"""Damages files of every format and reads them: each must end in a model, arrays or an error of undertow's own.

    python tests/fuzz/readers.py --seconds 3600                      # all readers in turn; tables in the end
    python tests/fuzz/readers.py --reader onnx --seconds 600         # one of them
    python tests/fuzz/readers.py --reader onnx --seed 123            # one case again, with all that is to say of it
    python tests/fuzz/readers.py --reader onnx --seed 123 --keep x   # and its files in the folder x

A finding is any other exception, a broken law of models (`laws`), a crash, a hang, too much memory, a file that is
opened or a program that is started because a file says so. What was found is printed with the seed that gives it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz import children
from fuzz.children import Outcome
from fuzz.targets import READERS

#: seconds that each reader has before it is the next one's turn
TURN = 20


@dataclass
class Tally:
    """What a reader has come to so far."""

    cases: int = 0
    seconds: float = 0.0
    ends: Counter[str] = field(default_factory=Counter)
    messages: set[str] = field(default_factory=set)
    refused: int = 0
    #: kind of finding -> how often, and the first of them
    findings: dict[str, tuple[int, Outcome]] = field(default_factory=dict)
    slowest: Outcome | None = None

    def add(self, outcome: Outcome) -> bool:
        """Count an outcome; True if it is a finding of a new kind."""
        self.cases += 1
        self.ends[outcome.end] += 1
        if self.slowest is None or outcome.seconds > self.slowest.seconds:
            self.slowest = outcome
        if outcome.found:
            kind = f"{outcome.end}: {plain(outcome.message)}"
            n, first = self.findings.get(kind, (0, outcome))
            self.findings[kind] = n + 1, first
            return n == 0
        self.refused += outcome.refused
        if outcome.refused and outcome.message:
            self.messages.add(plain(outcome.message))
        return False

    def row(self, name: str) -> str:
        read = self.cases - self.refused - sum(n for n, _ in self.findings.values())
        slowest = f"{self.slowest.seconds:.1f} s, seed {self.slowest.number}" if self.slowest else ""
        return (
            f"{name:14}{self.cases:8}{self.seconds / 3600:8.2f}{read:9}{self.refused:9}{len(self.messages):10}"
            f"{len(self.findings):10}   {slowest}"
        )


HEAD = f"{'reader':14}{'cases':>8}{'CPU h':>8}{'read':>9}{'refused':>9}{'messages':>10}{'findings':>10}   slowest"


def row_of_run(target: str, tallies: Iterable[Tally]) -> str:
    """A row for the table of long runs in README.md."""
    tallies = list(tallies)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    hours, cases = sum(t.seconds for t in tallies) / 3600, sum(t.cases for t in tallies)
    findings = sum(len(t.findings) for t in tallies)
    return f"| {date.today()} | {commit.stdout.strip() or '?'} | {target} | {hours:.2f} | {cases} | - | {findings} |"


def cpu_seconds() -> float:
    """That this process and its children have taken: others may want the CPU too."""
    return sum(os.times()[:4])


def plain(message: str) -> str:
    """A message without names and numbers, which tells one reason for refusing from another."""
    message = re.sub(r"/\S+|'[^']*'|\"[^\"]*\"|\[[^\]]*\]|\([^)]*\)|\{[^}]*\}", "*", message)
    return re.sub(r"[-\d.]*\d", "#", message)[:160]


def said(name: str, outcome: Outcome) -> str:
    """A line that says how a case went and how to have it again."""
    return f"--reader '{name}' --seed {outcome.number} ({outcome.how}): {outcome.end}: {outcome.message}"


def keep(name: str, outcome: Outcome, folder: Path) -> None:
    """The files of a case, in a folder of their own."""
    for number, make in children.made(name, READERS[name], [outcome.number]):
        make().write(folder / f"{name.replace(' ', '_')}-{number}")


def fuzz(names: list[str], seed: int, seconds: float | None, cases: int | None, kept: Path | None) -> dict[str, Tally]:
    """All of them in turn, until the time is over or each has had its cases."""
    tallies = {name: Tally() for name in names}
    seeds = {name: itertools.count(seed) for name in names}
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        for name, tally in tallies.items():
            left = itertools.islice(seeds[name], cases - tally.cases) if cases is not None else seeds[name]
            before = cpu_seconds()
            until = None if end is None else min(end, time.monotonic() + TURN)
            last = seed - 1
            for outcome in children.run(READERS[name], children.made(name, READERS[name], left), until):
                last = outcome.number
                if tally.add(outcome):
                    print(said(name, outcome), flush=True)
                    if kept:
                        keep(name, outcome, kept)
            if last >= seed:
                seeds[name] = itertools.count(last + 1)
            tally.seconds += cpu_seconds() - before
            if end is not None and time.monotonic() >= end:
                return tallies
        if end is None or (cases is not None and all(t.cases >= cases for t in tallies.values())):
            return tallies


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", choices=READERS, action="append", help="one reader, or several; all if not given")
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    parser.add_argument("--seconds", type=float, help="for how long")
    parser.add_argument("--cases", type=int, help="how many of each reader; 1 if no time is given either")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where to put the files of what is found")
    parser.add_argument("--messages", action="store_true", help="print one message for each reason to refuse a file")
    args = parser.parse_args()
    names = args.reader or list(READERS)
    if args.seconds is None and args.cases is None:
        (outcome,) = children.run(READERS[names[0]], children.made(names[0], READERS[names[0]], [args.seed]))
        print(said(names[0], outcome))
        if args.keep:
            keep(names[0], outcome, args.keep)
        return int(outcome.found)
    tallies = fuzz(names, args.seed, args.seconds, args.cases, args.keep)
    print(f"\n{HEAD}")
    for name, tally in tallies.items():
        print(tally.row(name))
    for name, tally in tallies.items():
        for n, first in tally.findings.values():
            print(f"{n} times: {said(name, first)}")
    for name, tally in tallies.items() if args.messages else ():
        print(f"\n{name}: {dict(tally.ends)}", *sorted(tally.messages), sep="\n  ")
    print(f"\n{row_of_run(', '.join(args.reader or ['readers']), tallies.values())}")
    return int(any(tally.findings for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
