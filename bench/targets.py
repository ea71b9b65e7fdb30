# SPDX-License-Identifier: MIT
"""Instructions per step on small targets, counted by QEMU: the difference of a run of 32 steps and one of 16.

    python tests/targets/embedded.py build/targets/embedded
    python bench/targets.py [TARGET ...] [--models build/targets/embedded] [--names lstm_32 ...] [--optimize=-Os]

Instructions, not cycles: a Cortex-M4 takes one for most of these, two or more for loads, and 14 for a division. Beside
each model its size in flash, the code that was linked with it (a loader of any .tow), and what a program holds in RAM.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/targets"))
import run as targets  # noqa: E402

NAMES = [f"{name}{p}" for name in ("lstm_32", "gru_64", "gru_10_dense") for p in ("", "_float16", "_int16", "_int8")]


def plugin(folder: Path) -> Path:
    """The compiled plugin."""
    out = folder / "qemu_instructions.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", ROOT / "bench/qemu_instructions.c", "-o", out], check=True)
    return out


def instructions(target: targets.Target, program: Path, counter: Path, steps: int) -> int:
    """How many instructions a program executes."""
    words = target.run.split()
    if target.start == "start_hosted.c":
        command = [words[0], "-plugin", str(counter), str(program), str(steps)]
    else:
        command = [words[0], "-plugin", str(counter), "-icount", "shift=0", *words[1:], str(program)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True, timeout=600)
    found = re.search(r"instructions (\d+)", done.stdout)
    if not found:
        raise SystemExit(f"{target.name}: QEMU printed no count:\n{done.stdout[-2000:]}")
    return int(found.group(1))


def measure(target: targets.Target, folder: Path, objects: list[Path], name: str, models: Path, counter: Path) -> str:
    """One row of the table."""
    targets.write_models(target, folder, [name], models)
    counts = {}
    for steps in (16, 32):
        program = targets.link(target, folder, objects, steps)
        counts[steps] = instructions(target, program, counter, steps)
    size = subprocess.run([size_command(target), program], capture_output=True, text=True, check=True).stdout
    text = int(size.splitlines()[1].split()[0])
    flash = (models / f"{name}.tow").stat().st_size
    return f"| {target.name} | {name} | {(counts[32] - counts[16]) / 16:,.0f} | {flash:,} | {text - flash:,} |"


def size_command(target: targets.Target) -> str:
    """The `size` of its compiler."""
    words = target.cc.split()[0]
    return words.replace("-gcc", "-size") if words.endswith("-gcc") else "size"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=["cortex-m4f", "cortex-m0plus"])
    parser.add_argument("--models", type=Path, default=ROOT / "build/targets/embedded")
    parser.add_argument("--names", nargs="+", default=NAMES)
    parser.add_argument("--optimize", default="-Os", help="-Os, or another for what CMake calls Release")
    parser.add_argument("--build", type=Path, default=ROOT / "build/targets/bench")
    options = parser.parse_args()
    options.build.mkdir(parents=True, exist_ok=True)
    counter = plugin(options.build)
    known = {t.name: t for t in targets.TARGETS}
    print("| target | model | instructions per step | model, bytes | code, bytes |\n|---|---|---|---|---|")
    for name in options.targets:
        target = dataclasses.replace(known[name])
        folder = options.build / name
        folder.mkdir(exist_ok=True)
        objects = targets.build_library(target, folder, options.optimize)
        for model in options.names:
            print(measure(target, folder, objects, model, options.models, counter), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
