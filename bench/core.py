# SPDX-License-Identifier: MIT
"""The core step in C against the roofline, through the C++ benchmark in bench/cpp."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import undertow

from .models import CELLS, Weights
from .report import Goal, Table

ROOT = Path(__file__).resolve().parents[1]
SIZES = (16, 40, 64, 128, 256, 512, 1024)
LIMIT = 1.35
#: The target holds from this size on: below it the cell's own arithmetic is not small beside the weights.
FROM_SIZE = 64


@dataclass
class Row:
    """One line of bench_core: nanoseconds, and the bytes of weights that a step reads."""

    file: str
    isa: str
    weight_bytes: int
    step_ns: float
    #: 0 where the instruction set has no fused multiply-add to build a roofline from
    roof_ns: float
    #: median of step / roofline of neighbours in time
    ratio: float
    #: a timestep of a run of 100
    run_ns: float


def cache_level(n_bytes: int) -> str:
    """The smallest cache of this CPU that holds so many bytes, where the system tells."""
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, level, size = ((folder / name).read_text().strip() for name in ("type", "level", "size"))
        if kind != "Instruction" and size.endswith("K") and n_bytes <= int(size[:-1]) * 1024:
            return f"L{level}"
    return "memory"


def build(target: str = "bench_core", **options: str) -> Path:
    """Compile a program of bench/cpp (once; afterwards only what changed) and give it.

    options: of CMake, without their -D.
    """
    folder = Path(os.environ.get("UT_BENCH_BUILD", ROOT / "build" / "bench"))
    cmake = shutil.which("cmake")
    if not cmake:
        raise SystemExit("the C++ benchmark needs CMake and a C++17 compiler: pip install cmake")
    options = {"UT_BENCH": "ON", "UT_PYTHON": "OFF", "CMAKE_BUILD_TYPE": "Release"} | options
    configure = [cmake, "-S", str(ROOT), "-B", str(folder), *(f"-D{name}={value}" for name, value in options.items())]
    for command in (configure, [cmake, "--build", str(folder), "--target", target]):
        output(command)
    return folder / "bench" / "cpp" / target


def output(command: Sequence[str]) -> str:
    """What a program prints; SystemExit with its errors if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def run(program: Path, files: Sequence[Path], isas: Sequence[str], seconds: float) -> list[Row]:
    """Time every file on every instruction set, `seconds` each."""
    rows = []
    for line in output([str(program), f"{seconds:g}", ",".join(isas), *map(str, files)]).splitlines():
        file, isa, weights, *times = line.split("\t")
        rows.append(Row(Path(file).stem, isa, int(weights), *map(float, times)))
    return rows


def table(seconds: float, sizes: Sequence[int] = SIZES, isas: Sequence[str] | None = None) -> Table:
    """seconds: for each cell, size and instruction set."""
    if isas is None:
        forced = os.environ.get("UT_ISA")
        isas = [isa for isa, runnable in undertow.isas().items() if runnable and forced in (None, isa)]
    columns = [
        "model",
        "weights KiB",
        "from",
        "ns a step",
        "GB/s",
        "roofline ns",
        "step / roofline",
        "ns in a run of 100",
    ]
    result = Table("The core step in C (medians)", columns)
    program = build()
    with tempfile.TemporaryDirectory() as folder:
        for cell in CELLS:
            for size in sizes:
                path = Path(folder) / f"{cell}-h{size}.tow"
                Weights.random(cell, size, size).undertow().save(path)
                for row in run(program, [path], isas, seconds):
                    ratio = Goal(row.ratio, LIMIT, at_most=True) if size >= FROM_SIZE else row.ratio
                    result.rows.append(
                        [
                            f"{row.file}-{row.isa}",
                            f"{row.weight_bytes / 1024:,.0f}",
                            cache_level(row.weight_bytes),
                            row.step_ns,
                            row.weight_bytes / row.step_ns,
                            row.roof_ns or None,
                            ratio if row.roof_ns else None,
                            row.run_ns,
                        ]
                    )
                path.unlink()
                print(f"  core: {cell} {size} done", file=sys.stderr)
    return result
