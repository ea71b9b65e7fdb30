# SPDX-License-Identifier: MIT
"""`undertow info`: what is in a model, or what this machine can run."""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

from ..inspect import drawing
from ..inspect.describe import describe, table, text
from ..support import TESTED_ON
from ._common import UsageError, add_command, add_model, load_model, say, warn


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "info",
        info,
        "describe a model, or this machine",
        "Describe a model: layers, shapes, parameters, bytes and precision of their weights, state and scratch bytes,\n"
        "instruction set, and the exact variant of every recurrent layer. Of models with many layers, runs of small\n"
        "ones share a line. Without MODEL: the instruction sets that are built in, run here, and get picked.\n\n"
        "--graph tells what the file held, how much of it was known while loading, and what the rest became.",
        "  undertow info model.onnx\n"
        "  undertow info model.onnx --graph model.svg\n"
        "  undertow info model.tow --isa scalar\n"
        "  undertow info model.onnx --json | jq .state\n"
        "  undertow info\n",
    )
    add_model(parser, nargs="?")
    parser.add_argument("--all", action="store_true", help="a line for every node")
    parser.add_argument(
        "--graph",
        nargs="?",
        const="",
        metavar="OUT",
        help="what became of the file, as tables; and as a picture if OUT is given: .svg, .png, .pdf (needs graphviz) "
        "or .dot",
    )
    parser.add_argument("--json", action="store_true", help="the same facts as one JSON object")


def info(args: argparse.Namespace) -> int:
    if args.model is None and args.graph and Path(args.graph).suffix.lower() not in drawing.SUFFIXES:
        args.model, args.graph = args.graph, ""  # `info --graph MODEL`
    if args.model is None:
        if args.graph is not None:
            raise UsageError("--graph shows a MODEL; none is given")
        if any((args.isa, args.weights, args.option, args.fixed, args.shape, args.states)):
            raise UsageError("--isa, --weights, --option and their like say how to load a MODEL; none is given")
        facts = _machine()
        say(json.dumps(facts, indent=2) if args.json else _show_machine(facts))
        return 0
    if args.graph and Path(args.graph).suffix.lower() not in drawing.SUFFIXES:
        raise UsageError(f"--graph {args.graph}: expected a name that ends in {', '.join(drawing.SUFFIXES)}")
    if args.graph and not Path(args.graph).parent.is_dir():
        raise UsageError(f"--graph {args.graph}: there is no folder {Path(args.graph).parent}")
    model = load_model(args)
    facts = describe(model)
    if args.graph is not None:
        facts["graph"] = drawing.census(model)
    if args.json:
        say(json.dumps(facts, indent=2))
    else:
        say(text(facts, args.all) if args.graph is None else drawing.tables(model))
    if args.graph:
        drawing.write(model, args.graph)
    for problem in facts["warnings"]:
        warn(problem)
    return 0


def version() -> str:
    import undertow

    return str(getattr(undertow, "__version__", "unknown"))


# -- a machine --------------------------------------------------------------------------------------------------------


def _machine() -> dict[str, Any]:
    import undertow

    isas = undertow.isas()  # best first
    forced = os.environ.get("UT_ISA")
    picked = forced or next((name for name, runnable in isas.items() if runnable), None)
    return {
        "version": version(),
        "machine": platform.machine(),
        "cpu": _cpu_name(),
        "cpu_features": _cpu_features(),
        "isas": isas,
        "tested_on": {name: TESTED_ON[name] for name in isas},
        "picked": picked,
        "forced_by_UT_ISA": bool(forced),
    }


def _show_machine(facts: dict[str, Any]) -> str:
    rows = [["isa", "runs here", "tested on", ""]]
    for name, runnable in facts["isas"].items():
        mark = "" if name != facts["picked"] else "<-- picked" + " (UT_ISA)" * facts["forced_by_UT_ISA"]
        rows.append([name, "yes" if runnable else "no", facts["tested_on"][name], mark])
    lines = [f"undertow {facts['version']}", "", f"  cpu  {facts['cpu']} ({facts['machine']})"]
    if facts["cpu_features"]:
        lines.append(f"  has  {' '.join(facts['cpu_features'])}")
    return "\n".join([*lines, "", table(rows)])


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith(("model name", "Model")):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _cpu_features() -> list[str]:
    """Of the features that kernels ask for, those that the operating system reports."""
    wanted = (
        "sse4_1",
        "avx",
        "fma",
        "avx2",
        "avx512f",
        "avx512bw",
        "avx512dq",
        "avx512vl",
        "avx512_vnni",
        "avx_vnni",
        "f16c",
        "asimd",
        "asimddp",
    )
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith(("flags", "Features")):
                    has = set(line.split(":", 1)[1].split())
                    return [feature for feature in wanted if feature in has]
    except OSError:
        pass
    return []
