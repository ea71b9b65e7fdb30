# SPDX-License-Identifier: MIT
"""Instructions per step on small targets, counted by QEMU: the difference of a run of 32 steps and one of 16.

    python tests/targets/embedded.py build/targets/embedded
    python bench/targets.py [TARGET ...] [--exported] [--models build/targets/embedded] [--names lstm_32 ...]
                            [--optimize=-Os]

Instructions, not cycles: a Cortex-M4 takes one for most of these, two or more for loads, and 14 for a division. Beside
each model its size in flash and the code that was linked with it (a loader of any .tow, and the program of the tests).
--exported: of the model as C (`undertow export`), whose hash must be that of the engine; weights, code, RAM of a stream
and stack of a step, in bytes.
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


def measure_exported(
    target: targets.Target, folder: Path, name: str, models: Path, counter: Path, optimize: str
) -> str:
    """The same of a model as C."""
    import undertow
    import undertow.export

    path = models / f"{name}.tow"
    model = undertow.load(path)
    source = undertow.export.source(model, "m")
    given, taken = ((p,) for p in (source.facts.inputs[0], source.facts.outputs[0]))
    sizes = f"#define M_X_SIZE {given[0].size}\n#define M_Y_SIZE {taken[0].size}\n"
    (folder / "m.h").write_text(source.header + sizes)
    (folder / "m.c").write_text(source.code)
    flags = [*target.cc.split(), *target.flags.split(), optimize, "-ffunction-sections", "-fdata-sections"]
    objects = [folder / "m.o", folder / "exported.o"]
    for file, out in zip((folder / "m.c", ROOT / "tests/targets/exported.c"), objects, strict=True):
        includes = [f"-I{folder}", f"-I{ROOT / 'tests/targets'}"]
        targets.sh([*flags, *includes, "-c", str(file), "-o", str(out)], folder / "exported.log")
    counts, said = {}, ""
    for steps in (0, 16, 32):
        program = targets.link(target, folder, objects, steps, with_engine=False)
        counts[steps] = instructions(target, program, counter, steps)
        said += targets.run(target, program)
    facts = dict(re.findall(r"(stack)=(\d+)", said))
    hashes = re.findall(r"hash=([0-9a-f]{8})", said)
    expected = dict(line.split() for line in (models / "hashes.txt").read_text().splitlines())[name]
    if hashes[1] != expected:
        raise SystemExit(f"{target.name}, {name}: the exported model gives {hashes[1]}, expected {expected}")
    size = subprocess.run([size_command(target), objects[0]], capture_output=True, text=True, check=True).stdout
    text, weights = int(size.splitlines()[1].split()[0]), source.facts.weight_bytes
    per_step = (counts[32] - counts[16]) / 16
    sizes_row = f"{weights:,} | {text - weights:,} | {source.facts.state_bytes:,} | {facts['stack']}"
    return f"| {target.name} | {name} | {per_step:,.0f} | {sizes_row} |"


def size_command(target: targets.Target) -> str:
    """The `size` of its compiler."""
    words = target.cc.split()[0]
    return words.replace("-gcc", "-size") if words.endswith("-gcc") else "size"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=["cortex-m4f", "cortex-m0plus"])
    parser.add_argument("--models", type=Path, default=ROOT / "build/targets/embedded")
    parser.add_argument("--names", nargs="+", default=NAMES)
    parser.add_argument("--exported", action="store_true", help="of models as C, compiled with --optimize, or -O2")
    parser.add_argument("--optimize", help="-Os (default), or another for what CMake calls Release")
    parser.add_argument("--build", type=Path, default=ROOT / "build/targets/bench")
    options = parser.parse_args()
    options.build.mkdir(parents=True, exist_ok=True)
    counter = plugin(options.build)
    known = {t.name: t for t in targets.TARGETS}
    rest = "weights | code | state | stack |\n|---|---|---|---|---|---|---|"
    rest = rest if options.exported else "model, bytes | code, bytes |\n|---|---|---|---|---|"
    print(f"| target | model | instructions per step | {rest}")
    for name in options.targets:
        target = dataclasses.replace(known[name])
        folder = options.build / name
        folder.mkdir(exist_ok=True)
        if options.exported:
            optimize = options.optimize or "-O2"
            for model in options.names:
                print(measure_exported(target, folder, model, options.models, counter, optimize), flush=True)
            continue
        objects = targets.build_library(target, folder, options.optimize or "-Os")
        for model in options.names:
            print(measure(target, folder, objects, model, options.models, counter), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
