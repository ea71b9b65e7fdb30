# SPDX-License-Identifier: MIT
"""Loading a .tow file of 10 MB: how long, and that its weights are used where the file lies."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import undertow

from . import models
from .memory import anonymous_kib, trim
from .models import Weights
from .report import Goal, Table

LIMIT_MS = 5
#: An LSTM of this many inputs and units has 10.0 MB of weights.
SIZE = 559


def _milliseconds(call: Callable[[], Any], before: Callable[[], Any], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        before()
        gc.collect()
        start = time.perf_counter()
        kept = call()
        times.append((time.perf_counter() - start) * 1e3)
        del kept
    return float(np.median(times))


def _forget(path: Path) -> None:
    """Ask the kernel to drop the file from its cache. It may refuse (a file in memory, not on a disk)."""
    if not hasattr(os, "posix_fadvise"):
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def table(seconds: float) -> Table:
    w = Weights.random("lstm", SIZE, SIZE)
    x = np.zeros(SIZE, np.float32)
    rounds = max(5, round(seconds * 20))
    nothing = lambda: None  # noqa: E731
    result = Table("Loading", ["what", "ms (median)", "own memory that stays, KiB"])
    missing: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lstm.tow"
        w.undertow().save(path)
        megabytes = path.stat().st_size / 1e6

        def load_and_step() -> undertow.Model:
            model = undertow.load(path)
            model.stream().step(x)
            return model

        load_and_step()  # imports, first use of every code path
        if not undertow.load(path).mapped:
            raise SystemExit(f"{path} was copied, not mapped")
        trim()
        before = anonymous_kib()
        model = load_and_step()
        trim()
        kept = anonymous_kib() - before
        del model
        cached = Goal(_milliseconds(lambda: undertow.load(path), nothing, rounds), LIMIT_MS, at_most=True)
        result.rows.append([f"load, a .tow of {megabytes:.1f} MB", cached, float(kept) if before else None])
        result.rows.append(["load and first step", _milliseconds(load_and_step, nothing, rounds), None])
        result.rows.append(
            ["the same, file not in the page cache", _milliseconds(load_and_step, lambda: _forget(path), 5), None]
        )
        with models.optional("ONNX Runtime", missing):
            other = Path(folder) / "lstm.onnx"
            other.write_bytes(w.onnx(1, ("Y_h", "Y_c")))
            models.ort_session(str(other))
            trim()
            before = anonymous_kib()
            session = models.ort_session(str(other))
            trim()
            kept = anonymous_kib() - before
            del session
            took = _milliseconds(lambda: models.ort_session(str(other)), nothing, min(rounds, 10))
            result.rows.append(["ONNX Runtime, a session of the same layer", took, float(kept) if before else None])
    result.notes += missing
    return result
