# SPDX-License-Identifier: MIT
"""Memory: the resident set over ten million timesteps, and what a stream holds against what it says it holds."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from pathlib import Path

import numpy as np

from .models import CELLS, Weights
from .report import Goal, Table

#: Timesteps after which the resident set is looked at; half of each stretch by `step`, half by `run`.
MARKS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
CHUNK = 500
#: A page or two may come and go with Python's own small objects.
SLACK_KIB = 64
N_STREAMS = 2_000
#: Bytes of a stream beyond `Model.stream_bytes`: the Python object, its tables, the allocator's rounding.
STREAM_SLACK = 1_024


def _status_kib(field: str) -> int:
    """A line of /proc/self/status; 0 where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(field + ":")), 0)


def anonymous_kib() -> int:
    """Resident memory that is not backed by a file: a mapped model does not count."""
    return _status_kib("RssAnon")


def trim() -> None:
    """Give free memory back, so that what is allocated next shows. Only glibc can."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def flat(n_steps: int) -> Table:
    result = Table("Resident set", ["model", *(f"after {mark:,}" for mark in MARKS if mark <= n_steps), "growth KiB"])
    for cell in CELLS:
        model = Weights.random(cell, 16, 16).undertow()
        stream = model.stream()
        rng = np.random.default_rng(0)
        X = rng.standard_normal((CHUNK, 16)).astype(np.float32)
        out = np.empty_like(X)
        x, seen, done = X[0].copy(), [], 0
        for mark in (m for m in MARKS if m <= n_steps):
            while done < mark:
                for _ in range(CHUNK):
                    y = stream.step(x)
                stream.run(X, out=out)
                done += 2 * CHUNK
            assert np.isfinite(y).all()
            gc.collect()
            seen.append(_status_kib("VmRSS"))
        growth = Goal(float(seen[-1] - seen[0]), SLACK_KIB, at_most=True)
        result.rows.append([f"{cell} 16", *(f"{kib:,}" for kib in seen), growth])
    result.notes.append("KiB; half of the timesteps by step(x), half by run(X, out=) of 500")
    return result


def streams() -> Table:
    result = Table("What a stream holds", ["model", "state", "state and scratch", "measured", "beyond what it says"])
    for cell in CELLS:
        for size in (16, 128):
            model = Weights.random(cell, size, size).undertow()
            keep = [model.stream() for _ in range(16)]
            gc.collect()
            trim()
            before = anonymous_kib()
            keep += [model.stream() for _ in range(N_STREAMS)]
            each = (anonymous_kib() - before) * 1024 / N_STREAMS
            keep.clear()
            says = model.state_bytes + model.scratch_bytes
            result.rows.append(
                [
                    f"{cell} {size}",
                    f"{model.state_bytes:,}",
                    f"{says:,}",
                    f"{each:,.0f}",
                    Goal(each - says, STREAM_SLACK, at_most=True),
                ]
            )
    result.notes.append(f"bytes; {N_STREAMS:,} streams of one model")
    return result


def tables(n_steps: int = MARKS[-1]) -> list[Table]:
    return [flat(n_steps), streams()] if anonymous_kib() else []
