# SPDX-License-Identifier: MIT
"""Exported models on small targets: every model in a folder of embedded.py as C, with the hashes of its hashes.txt.

    python tests/targets/exported_models.py FOLDER [TARGET ...] [--few] [--build FOLDER]

Without names, a target without an FPU, one with the DSP extension and an FPU, and one with Helium. --few: an LSTM, a
GRU and decaying states alone, in all precisions.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import run as targets

import undertow
import undertow.export

TARGETS = ("cortex-m0plus", "cortex-m4f", "cortex-m55")
FEW = ("lstm12", "gru_10_dense", "decay")


def objects_of(target: targets.Target, folder: Path, source: undertow.export.Source, optimize: str) -> list[Path]:
    """A model called m as C and its program, compiled in a folder."""
    facts = source.facts

    def each(name: str, of: list) -> str:
        return f"#define M_{name}(F) {' '.join(f'F({p.c_type}, {p.c_name}, {p.size})' for p in of)}\n"

    folder.mkdir(parents=True, exist_ok=True)
    macros = each("INPUTS", facts.inputs) + each("OUTPUTS", facts.outputs)
    (folder / "m.h").write_text(f"{source.header}{macros}#define M_ARGUMENTS {facts.arguments('in_', 'out_')}\n")
    (folder / "m.c").write_text(source.code)
    flags = [*target.cc.split(), *target.flags.split(), *optimize.split(), "-ffunction-sections", "-fdata-sections"]
    objects = [folder / "m.o", folder / "exported.o"]
    for file, out in zip((folder / "m.c", targets.HERE / "exported.c"), objects, strict=True):
        includes = [f"-I{folder}", f"-I{targets.HERE}"]
        targets.sh([*flags, *includes, "-c", str(file), "-o", str(out)], folder / "exported.log")
    return objects


def check(target: targets.Target, folder: Path, path: Path, expected: str) -> str:
    """What is wrong with a model, or ""."""
    steps, flags = (160, "-O2 -DM_IMPULSE") if path.stem.startswith("decay") else (16, "-O2")
    objects = objects_of(target, folder, undertow.export.source(undertow.load(path), "m"), flags)
    said = targets.run(target, targets.link(target, folder, objects, steps, with_engine=False))
    got = re.findall(r"hash=([0-9a-f]{8})", said)
    return "" if got == [expected] else f"{path.stem}: expected {expected}, got {' '.join(got) or said[-200:]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("targets", nargs="*", default=TARGETS)
    parser.add_argument("--few", action="store_true")
    parser.add_argument("--build", type=Path, default=targets.ROOT / "build/targets/exported")
    options = parser.parse_args()
    known = {t.name: t for t in targets.TARGETS}
    hashes = dict(line.split() for line in (options.models / "hashes.txt").read_text().splitlines())
    hashes = {name: h for name, h in hashes.items() if not options.few or name.startswith(FEW)}
    failures = 0
    for name in options.targets:
        begin, target = time.monotonic(), known[name]
        with ThreadPoolExecutor(2) as pool:
            jobs = [
                pool.submit(check, target, options.build / name / m, options.models / f"{m}.tow", expected)
                for m, expected in hashes.items()
            ]
            wrong = [line for job in jobs if (line := job.result())]
        failures += len(wrong)
        for line in wrong:
            print(f"!!! {name}, exported: {line}", flush=True)
        if not wrong:
            print(f"{name}: {len(hashes)} models as C, the same bits  [{time.monotonic() - begin:.0f} s]", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
