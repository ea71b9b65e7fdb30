# SPDX-License-Identifier: MIT
"""`undertow doctor`: what is installed, what is missing for what, and whether this build computes right here."""

from __future__ import annotations

import argparse
import os
from typing import Any

from ..accuracy.self_check import self_check
from ..inspect import machine
from ..inspect.describe import table
from ..loading import IMPORTERS
from ..support import TESTED_ON, example
from ._common import add_command, tell
from .info import version

_DESCRIPTION = """\
Look at the CPU, the instruction sets that are built in, the packages that parts of undertow use, and what is missing
for what, with the line that installs it. Then let the example model run on every instruction set that runs here: each
must give the bits that it gives on every other machine.

Paste all of it into a report of a fault. Exits with 1 if a package that is installed is broken or too old, or an
instruction set computes something else. What is not there, a library of the system too, is no fault: a note says what
brings it."""

_KEYS = """\
  ok             nothing is broken; what is merely not installed is no fault
  problems       what is, a sentence each
  notes          what is installed but waits for a library of the system, a sentence each
  versions       undertow, python, numpy, compiler, system, machine, cpu
  cpu_features   those that kernels ask for
  usable_cpus    that this process may use
  isas           best first: name, runs, tested_on, picked, ok (null: does not run here), hash, error
  packages       name, version (null: not installed), for, peer, problem, lacks, install
  programs       name, path (null: not there), for, install
  formats        suffix, reads, needs (what to install, or null)
  environment    variables that are set and count
"""

#: suffixes that a package is needed for -> its name
_NEED = {".onnx": "onnx", ".tflite": "onnx"}


def add(subparsers: Any) -> None:
    add_command(
        subparsers,
        "doctor",
        doctor,
        "say what is installed, what is missing, and whether all is well",
        _DESCRIPTION,
        "  undertow doctor\n  undertow doctor --json | jq .problems\n",
        _KEYS,
    )


def doctor(args: argparse.Namespace) -> int:
    facts = examine()
    tell(args, facts, _text(facts))
    return 0 if facts["ok"] else 1


def examine() -> dict[str, Any]:
    """All that there is to say, as plain data."""
    isas, problems = machine.isas(TESTED_ON), []
    checked = {row.isa: row for row in self_check(example("digits"))}
    for row in isas:
        result = checked.get(row["name"])
        row |= {key: getattr(result, key, None) for key in ("ok", "hash", "error")}
        if result is not None and not result.ok:
            problems.append(
                f"{result.isa} gives other numbers for the example model than it must (error {result.error:.3g}): "
                "set UT_ISA=scalar in the environment to go on without it, and report this"
            )
    forced = os.environ.get("UT_ISA")
    if forced and not any(row["name"] == forced and row["runs"] for row in isas):
        problems.append(f"UT_ISA is {forced!r} in the environment, which does not run here: unset UT_ISA")
    packages = machine.packages()
    problems += [f"{p['name']} {p['problem']}: {p['install']}" for p in packages if p["problem"]]
    notes = [f"{p['name']} {p['lacks']}: {p['install']}" for p in packages if p["lacks"]]
    usable = {p["name"]: not p["problem"] and not p["lacks"] and p["version"] is not None for p in packages}
    install = {p["name"]: p["install"] for p in packages}
    formats = [
        {"suffix": suffix, "reads": need is None or usable[need], "needs": None if need is None else install[need]}
        for suffix, need in ((suffix, _NEED.get(suffix)) for suffix in (".tow", *IMPORTERS))
    ]
    return {
        "ok": not problems,
        "problems": problems,
        "notes": notes,
        "versions": machine.versions(version()),
        "cpu_features": machine.cpu_features(),
        "usable_cpus": machine.usable_cpus(),
        "isas": isas,
        "packages": packages,
        "programs": machine.programs(),
        "formats": formats,
        "environment": {name: os.environ[name] for name in machine.ENVIRONMENT if name in os.environ},
    }


def _text(facts: dict[str, Any]) -> str:
    versions = facts["versions"]
    lines = [
        f"undertow {versions['undertow']}",
        "",
        table(
            [
                ["python", f"{versions['python']}, NumPy {versions['numpy']}"],
                ["compiler", versions["compiler"]],
                ["system", f"{versions['system']}, {versions['machine']}"],
                ["cpu", f"{versions['cpu']}, {facts['usable_cpus']} usable"],
                ["has", " ".join(facts["cpu_features"]) or "unknown"],
            ]
        ),
        "",
    ]
    rows = [["isa", "runs here", "tested on", "computes", ""]]
    for row in facts["isas"]:
        right = {None: "", True: "the right bits", False: "OTHER BITS"}[row["ok"]]
        rows.append(
            [row["name"], "yes" if row["runs"] else "no", row["tested_on"], right, "<-- picked" * row["picked"]]
        )
    lines += [table(rows), ""]
    rows = [["package", "version", "for", ""]]
    for p in facts["packages"]:
        wrong = p["problem"] or p["lacks"]
        rows.append([p["name"], p["version"] or "-", p["for"], wrong or ("" if p["version"] else p["install"])])
    for p in facts["programs"]:
        rows.append([p["name"], "there" if p["path"] else "-", p["for"], "" if p["path"] else p["install"]])
    lines += [table(rows), ""]
    reads = " ".join(f["suffix"] for f in facts["formats"] if f["reads"])
    lines.append(f"  reads {reads}")
    missing: dict[str, list[str]] = {}
    for f in facts["formats"]:
        if not f["reads"]:
            missing.setdefault(f["needs"], []).append(f["suffix"])
    lines += [f"  does not read {' '.join(suffixes)}: {needs}" for needs, suffixes in missing.items()]
    for name, value in facts["environment"].items():
        lines.append(f"  {name}={value} in the environment {machine.ENVIRONMENT[name]}")
    lines.append("")
    lines += [f"  note: {note}" for note in facts["notes"]]
    lines += [f"  problem: {problem}" for problem in facts["problems"]] or ["all is well"]
    return "\n".join(lines)


__all__ = ["add", "doctor", "examine"]
