# SPDX-License-Identifier: MIT
"""Captures of amplifiers in C, sample by sample and in the blocks of plugins, against NeuralAmpModelerCore's process(),
through the C++ benchmark in bench/cpp."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import undertow

from . import core
from .report import Goal, Table

#: capture -> its file among the examples of NeuralAmpModelerCore, and which of a container
CAPTURES = {
    "A1 standard": ("wavenet_a1_standard.nam", -1),
    "A2 full": ("A2.nam", 1),
    "A2 lite": ("A2.nam", 0),
    "small container": ("slimmable_container.nam", 2),
    "small container, slim": ("slimmable_container.nam", 1),
}
TARGET = 1.2


def table(seconds: float, isas: tuple[str, ...] = ("avx512", "avx2")) -> Table:
    """seconds: for each capture and instruction set. Needs the environment variable NAM_CORE: a checkout."""
    columns = ["capture", "block", "undertow", "NAM Core", "vs NAM Core", "its fast tanh", "vs that", "differ by"]
    result = Table("Captures in C against NeuralAmpModelerCore (ns a sample, medians)", columns)
    checkout = os.environ.get("NAM_CORE")
    if not checkout:
        result.notes.append("NAM Core is not measured: the environment variable NAM_CORE names no checkout of it")
        return result
    program = core.build("bench_nam", UT_NAM=str(Path(checkout).resolve()))
    runnable = [isa for isa in isas if undertow.isas().get(isa)]
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "capture.tow"
        for name, (file, submodel) in CAPTURES.items():
            source = Path(checkout) / "example_models" / file
            undertow.load(source, **({} if submodel < 0 else {"submodel": submodel})).save(model)
            for isa in runnable:
                command = [str(program), f"{seconds / 4:g}", isa, str(model), str(source), str(submodel)]
                for line in core.output(command).splitlines():
                    samples, ours, its, ratio, fast, fast_ratio, differ = line.split("\t")
                    goal = Goal(float(ratio), TARGET if int(samples) > 1 else 1.0)
                    times = [float(ours), float(its), goal, float(fast), float(fast_ratio)]
                    result.rows.append([f"{name}, {isa}", samples, *times, differ])
            print(f"  nam: {name} done", file=sys.stderr)
    return result
