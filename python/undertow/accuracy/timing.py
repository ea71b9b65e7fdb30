# SPDX-License-Identifier: MIT
"""How long single calls take: every one of them recorded, warm and cold, as percentiles and as a histogram.

A call is timed by itself with `time.perf_counter_ns` before and after it. What the clock costs (`timer_cost`) is part
of every number and is said, not subtracted. Times go to memory that is there before the first call. Python's garbage
collector rests meanwhile: its turns belong to the program around the calls.

Warm: calls follow each other. Cold: before each call the process sleeps and then reads a buffer (`Cold`), so that the
call finds neither its weights, its state nor its code in the caches that the buffer fills.
"""

from __future__ import annotations

import gc
import math
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._progress import tell
from .._text import shown
from ..inspect.picture import figure_class, save

Call = Callable[[], Any]

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
#: Contenders take turns this often, so that a slow spell of the machine meets all of them.
ROUNDS = 10
#: Most calls that a time budget asks for.
MOST_CALLS = 1_000_000
#: Bins of the histogram for a factor of ten.
_BINS = 50
_WARM_UP_NS = 50_000_000


@dataclass(frozen=True)
class Series:
    """Calls of one kind.

    Attributes:
        what: "step", "chunk" or "pool".
        who: the library that was called.
        cache: "warm" or "cold".
        times: (n,) int64, nanoseconds of every single call.
        n_frames: timesteps of a stream in one call.
        n_streams: streams that advance in one call.
    """

    what: str
    who: str
    cache: str
    times: np.ndarray
    n_frames: int = 1
    n_streams: int = 1

    def percentile(self, q: float) -> float | None:
        """Microseconds that q % of the calls did not exceed; None where there are too few calls to say."""
        if len(self.times) * (100 - q) < 100 - 1e-9:
            return None
        rank = math.ceil(round(len(self.times) * q / 100, 6)) - 1  # rounded: 99.9 % of 1000 are 999, not 999.0000001
        return float(np.partition(self.times, rank)[rank]) / 1e3

    @property
    def max(self) -> float:
        """Microseconds."""
        return float(self.times.max()) / 1e3

    @property
    def label(self) -> str:
        return {"chunk": f"chunk of {self.n_frames}", "pool": f"pool of {self.n_streams}"}.get(self.what, self.what)

    def histogram(self) -> tuple[np.ndarray, np.ndarray]:
        """(edges in microseconds, n + 1 of them, evenly spaced in their logarithm; calls in each of the n bins)."""
        times = np.maximum(self.times, 1)
        first, last = np.floor(np.log10(times.min()) * _BINS), np.floor(np.log10(times.max()) * _BINS) + 1
        edges = 10 ** (np.arange(first, last + 1) / _BINS)
        edges[0], edges[-1] = min(edges[0], times.min()), max(edges[-1], times.max())  # rounding of log10
        return edges / 1e3, np.histogram(times, edges)[0]

    def data(self) -> dict[str, Any]:
        """All but the single times, for JSON."""
        edges, counts = self.histogram()
        us = {f"p{q:g}": self.percentile(q) for q in PERCENTILES}
        return {
            "what": self.what,
            "who": self.who,
            "cache": self.cache,
            "n_frames": self.n_frames,
            "n_streams": self.n_streams,
            "n_calls": len(self.times),
            "us": {"min": float(self.times.min()) / 1e3, **us, "max": self.max},
            "histogram": {"edges_us": [round(float(edge), 6) for edge in edges], "n_calls": counts.tolist()},
        }


class Cold:
    """What happens before each cold call: a sleep, then a walk through a buffer.

    Attributes:
        pause_ms: milliseconds to sleep; other programs have their turn, and the CPU may go to rest.
        sweep_bytes: size of the buffer. The default, four times the second-level cache, leaves nothing of what the last
            call used in the caches and the TLB of this core; the last-level cache, which is larger, keeps what it can.
    """

    def __init__(self, pause_ms: float = 1.0, sweep_bytes: int | None = None):
        self.pause_ms = pause_ms
        self.sweep_bytes = 4 * private_cache_bytes() if sweep_bytes is None else sweep_bytes
        self._buffer = np.ones(self.sweep_bytes // 8, np.int64)  # written: pages of their own, not the page of zeros

    def __call__(self) -> None:
        if self.pause_ms:
            time.sleep(self.pause_ms / 1e3)
        self._buffer.sum()

    def __str__(self) -> str:
        return f"a pause of {self.pause_ms:g} ms and a walk through {self.sweep_bytes / 2**20:g} MiB before each call"


def private_cache_bytes() -> int:
    """Second-level cache of a core, where the system tells; else 2 MiB, more than most have."""
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, size = ((folder / name).read_text().strip() for name in ("level", "size"))
        except OSError:
            continue
        if level == "2" and size.endswith("K") and size[:-1].isdigit():
            return int(size[:-1]) * 1024
    return 2 << 20


def timer_cost(n: int = 100_000) -> float:
    """Nanoseconds that the clock adds to every time: the median between two readings with nothing in between."""
    times = array("q", bytes(8 * n))
    _fill(times, 0, n, None)
    return float(np.median(np.frombuffer(times, np.int64)))


def calls_in(call: Call, seconds: float, cold: Cold | None = None) -> int:
    """Warm up, and say how many calls, each with what `cold` does before it, take about so long: 1 to 10^6."""
    n, start = 0, time.perf_counter_ns()
    while n == 0 or time.perf_counter_ns() - start < _WARM_UP_NS:
        if cold:
            cold()
        call()
        n += 1
    once = (time.perf_counter_ns() - start) / n
    return int(min(max(seconds * 1e9 / once, 1), MOST_CALLS))


def record(
    calls: Sequence[Call], n_calls: Sequence[int], cold: Cold | None = None, what: str = "timing calls"
) -> list[np.ndarray]:
    """Nanoseconds of every single call.

    Args:
        calls: the contenders; they take turns. Warm: some calls each; cold: one call each.
        n_calls: how many of each.
        cold: what to do before every call; None for warm.
        what: what a bar calls it.

    Returns:
        An int64 array of n_calls[i] for each of the calls.
    """
    all_times = [array("q", bytes(8 * n)) for n in n_calls]
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        n_rounds = max(n_calls, default=0) if cold else ROUNDS
        for r in range(n_rounds):
            if r * ROUNDS % n_rounds < ROUNDS:  # some ten times: what draws is not what is timed
                tell(what, r, n_rounds, still=True)
            for call, times, n in zip(calls, all_times, n_calls, strict=True):
                first, last = r * n // n_rounds, (r + 1) * n // n_rounds
                if cold and first < last:
                    cold()
                _fill(times, first, last, call)
    finally:
        tell("")
        if collects:
            gc.enable()
    return [np.frombuffer(times, np.int64) for times in all_times]


def _fill(times: array[int], first: int, last: int, call: Call | None) -> None:
    clock = time.perf_counter_ns
    if call is None:
        for i in range(first, last):
            before = clock()
            times[i] = clock() - before
        return
    for i in range(first, last):
        before = clock()
        call()
        times[i] = clock() - before


def plot(series: Sequence[Series], path: str | Path, title: str = "") -> Any:
    """Draw how many calls take longer than so many microseconds, a line for each series, both axes logarithmic: where a
    line crosses p99, one call of a hundred takes longer.

    Args:
        path: where to write the picture (.png, .svg, .pdf).

    Returns:
        The matplotlib Figure.

    Raises:
        ImportError: matplotlib is missing.
        UnsupportedError, OSError: as `picture.save`.
    """
    Figure = figure_class()
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(12, 5), layout="constrained")
    ax = figure.subplots()
    whats, whos = ([*dict.fromkeys(getattr(s, key) for s in series)] for key in ("what", "who"))
    for s in series:
        edges, counts = s.histogram()
        longer = 1 - np.concatenate([[0], np.cumsum(counts)]) / len(s.times)
        style = {"color": f"C{whats.index(s.what)}", "linewidth": 1.2 if whos.index(s.who) == 0 else 2.4}
        ax.plot(
            edges,
            np.where(longer > 0.5 / len(s.times), longer, 0.5 / len(s.times)),
            label=f"{s.label}, {s.who}, {s.cache}",
            linestyle="-" if s.cache == "warm" else ":",
            alpha=1.0 if whos.index(s.who) == 0 else 0.5,
            **style,
        )
    ax.set(xscale="log", yscale="log", xlabel="microseconds of a call", ylabel="share of the calls that take longer")
    least = 1 / max(len(s.times) for s in series)
    ranks = [rank for rank in (0.5, 0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6) if rank >= least]
    ax.set_yticks(ranks, [f"{rank:.7g} (p{100 - 100 * rank:.6g})" for rank in ranks], minor=False)
    ax.yaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:,.7g}")
    ax.set_ylim(least / 2, 1.2)
    ax.set_title(shown(title), parse_math=False)
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    save(figure, path)
    return figure
