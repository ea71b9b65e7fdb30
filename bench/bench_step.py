# SPDX-License-Identifier: MIT
"""One step from Python on every instruction set of this CPU: pytest bench --benchmark-only"""

from __future__ import annotations

import numpy as np
import pytest

import undertow

from .models import CELLS, GATES, Weights

pytest.importorskip("pytest_benchmark", reason="needs pytest-benchmark: pip install pytest-benchmark")

SIZES = (16, 40, 64, 128, 256, 512, 1024)
ISAS = [isa for isa, runnable in undertow.isas().items() if runnable]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", SIZES, ids="h{}".format)
@pytest.mark.parametrize("cell", CELLS)
def test_step(benchmark, cell: str, size: int, isa: str) -> None:
    model = Weights.random(cell, size, size).undertow(isa)
    assert model.isa == isa
    stream = model.stream()
    x = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    out = np.empty(size, np.float32)
    benchmark.group = f"{cell}-h{size}"
    benchmark.extra_info["weight_bytes"] = 4 * GATES[cell] * size * 2 * size
    benchmark(stream.step, x, out=out)
    assert np.abs(out).max() <= 1.0
