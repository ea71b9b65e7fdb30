# SPDX-License-Identifier: MIT
"""Timing: statements taking turns in one run on one core, medians of rounds, and what machine that was.

What counts is the processor time of this process. On a quiet core that is the time on the wall, for every contender
computes on one thread and never waits; on a shared machine it leaves out the turns of other programs.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
import timeit
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

#: Seconds that a contender runs before the next has its turn: long beside the clock, short beside a machine's drift.
TURN = 2e-3
#: Rounds at least, however long one takes; and where so few seconds are given that only a first look is wanted.
FEWEST, FEWEST_QUICK, QUICK = 7, 3, 0.5


@dataclass
class Statement:
    """Python code to time, as its user would write it.

    Attributes:
        code: what is repeated.
        names: the variables that `code` and `setup` see.
        setup: runs before every turn.
        per: timesteps that one execution of `code` stands for; times are divided by it.
    """

    code: str
    names: Mapping[str, Any] = field(default_factory=dict)
    setup: str = "pass"
    per: int = 1

    def timer(self, clock: Callable[[], float]) -> timeit.Timer:
        return timeit.Timer(self.code, self.setup, timer=clock, globals=dict(self.names))


@dataclass
class Times:
    """Microseconds of one contender in every round."""

    rounds: np.ndarray

    @property
    def median(self) -> float:
        return float(np.median(self.rounds))

    @property
    def spread(self) -> float:
        """Half the range between the quartiles, as a share of the median."""
        low, high = np.quantile(self.rounds, (0.25, 0.75))
        return float((high - low) / 2 / self.median)

    def times_slower_than(self, other: Times) -> float:
        """Median of the ratios of neighbours in time, in which a slow spell of the machine cancels."""
        return float(np.median(self.rounds / other.rounds))


def measure(
    statements: Sequence[Statement], seconds: float, clock: Callable[[], float] = time.process_time
) -> list[Times]:
    """Time the statements in turns: A B C A B C ... until about `seconds` have gone, warm-up not counted.

    Every turn begins with one execution that does not count: it pays for the caches that the others have used.

    Args:
        clock: for contenders of more than one thread, whose processor time is no measure, `time.perf_counter`.
    """
    timers = [s.timer(clock) for s in statements]
    repeats = [_repeats(timer) for timer in timers]
    turns = sum(max(TURN, n * once) + once for n, once in repeats)
    found: list[list[float]] = [[] for _ in statements]
    for _ in range(max(FEWEST if seconds >= QUICK else FEWEST_QUICK, round(seconds / turns))):
        for statement, timer, (n, _once), times in zip(statements, timers, repeats, found, strict=True):
            timer.timeit(1)
            times.append(timer.timeit(n) / n / statement.per * 1e6)
    return [Times(np.array(times)) for times in found]


def _repeats(timer: timeit.Timer) -> tuple[int, float]:
    """How often to run in one turn, and the seconds of one execution. Warms up on the way."""
    n, spent, once = 1, 0.0, 0.0
    while spent < 20 * TURN:
        seconds = timer.timeit(n)
        spent += seconds
        once = max(seconds / n, 1e-9)
        n = max(1, min(round(TURN / once), 10 * n))
    return n, once


def pin(core: int | None) -> int | None:
    """Hold this process (and its children) on one core; the last one that it may use, unless told. Gives the core."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0)) if core is None else core
    os.sched_setaffinity(0, {core})
    return core


@contextmanager
def unpinned() -> Iterator[int]:
    """Every core that the system lets this process use, for what is started inside. Gives how many these are."""
    if not hasattr(os, "sched_setaffinity"):
        yield os.cpu_count() or 1
        return
    held = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield len(os.sched_getaffinity(0))
    finally:
        os.sched_setaffinity(0, held)


def machine(core: int | None) -> dict[str, str]:
    """Where the numbers were taken: for the head of every report."""
    root = Path(__file__).resolve().parents[1]
    governor = _text(Path(f"/sys/devices/system/cpu/cpu{core or 0}/cpufreq/scaling_governor"))
    cpu = next(
        (line.split(":")[1].strip() for line in _text(Path("/proc/cpuinfo")).splitlines() if "model name" in line), ""
    )
    about = {
        "cpu": f"{cpu or platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "core": "not held" if core is None else f"{core}",
        "governor": governor or "unknown",
        "load": " ".join(f"{x:.2f}" for x in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "commit": _git(root, "rev-parse", "--short", "HEAD")
        + (" and changes" if _git(root, "status", "--porcelain") else ""),
    }
    return about | {
        package: v
        for package in ("numpy", "onnxruntime", "torch", "openvino", "tract", "MNN")
        if (v := version(package))
    }


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()
