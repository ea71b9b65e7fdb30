# SPDX-License-Identifier: MIT
"""`undertow info`: what is in a model, or what this machine can run."""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path
from typing import Any

from ..accuracy import costs
from ..inspect import drawing, machine
from ..inspect.describe import describe, table, text
from ..support import TESTED_ON
from . import _sound, _targets
from ._common import UsageError, add_command, add_judge, add_model, load_model, positive_float, tell, warn
from .compare import add_data, frames_of

_KEYS = """\
  name, source, notes     of the model; the notes say where it came from, and why each axis and state was taken for one
  inputs, outputs         name, shape, dtype, ids (of an embedding)
  layers                  name, op, inputs, outputs, parameters, bytes, precision, density, variant
  state                   name, shape, starts
  parameters, dtype, weight_bytes, state_bytes, scratch_bytes, step_bytes, multiply_adds, bytes_per_step, isa,
  streamable, latency, frames_in, frames_out, sample_rate, proof_frames, not_streamable, warnings
  costs                   of all weights in one precision: precision, bytes; with --costs step_us, ratio (how many times
                          faster than float32), max, relative (RMS, as a share of the output's), judged, refused
  graph                   with --graph: before, after
  with --target: target, weight_bytes, code_bytes, ram_bytes (of a stream), array_bytes (of its inputs and outputs),
  stack_bytes, instructions, cycles (null where unknown), errors (of instructions: half of the models that were measured
  were nearer than the first, 9 of 10 than the second), budgets (of each that is given limit, needed, fits), fits
  without MODEL: version, machine, cpu, cpu_features, isas, tested_on, picked, forced_by_UT_ISA
"""


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "info",
        info,
        "describe a model, or this machine",
        "Describe a model: layers, shapes, parameters, bytes and precision of their weights, state and scratch bytes,\n"
        "instruction set, and the exact variant of every recurrent layer. Of models with many layers, runs of small\n"
        "ones share a line. Without MODEL: the instruction sets that are built in, run here, and get picked.\n\n"
        "The last table is of the model with its weights in each precision: bytes in a file, and with --costs the\n"
        "time of a step, which is measured in turns, and the error, on frames of --data or else on random ones.\n\n"
        "--graph tells what the file held, how much of it was known while loading, and what the rest became.\n\n"
        "--target tells what the model takes on a board; with budgets the exit code is 1 where it takes more.",
        "  undertow info model.onnx\n"
        "  undertow info model.onnx --graph model.svg\n"
        "  undertow info model.tow --isa scalar\n"
        "  undertow info model.onnx --costs --data features.npy --judge argmax\n"
        "  undertow info model.onnx --target cortex-m4f --weights int8 --flash 64k --ram 8k --cycles 100000\n"
        "  undertow info model.onnx --json | jq .state\n"
        "  undertow info\n",
        _KEYS,
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
    parser.add_argument(
        "--costs", action="store_true", help="measure what each precision of the weights costs and saves"
    )
    add_data(parser)
    add_judge(parser, "; it is asked of --costs")
    parser.add_argument("--seconds", type=positive_float, help="to spend on the steps of each precision (default: 0.2)")
    _sound.add_options(parser)
    _targets.add_options(parser)


def info(args: argparse.Namespace) -> int:
    if args.model is None and args.graph and Path(args.graph).suffix.lower() not in drawing.SUFFIXES:
        args.model, args.graph = args.graph, ""  # `info --graph MODEL`
    _targets.check_options(args)
    if args.model is None:
        if args.graph is not None:
            raise UsageError("--graph shows a MODEL; none is given")
        if args.costs:
            raise UsageError("--costs measures a MODEL; none is given")
        if any((args.isa, args.weights, args.option, args.fixed, args.shape, args.states)):
            raise UsageError("--isa, --weights, --option and their like say how to load a MODEL; none is given")
        facts = _machine()
        tell(args, facts, _show_machine(facts))
        return 0
    if args.graph and Path(args.graph).suffix.lower() not in drawing.SUFFIXES:
        raise UsageError(f"--graph {args.graph}: expected a name that ends in {', '.join(drawing.SUFFIXES)}")
    if args.graph and not Path(args.graph).parent.is_dir():
        raise UsageError(f"--graph {args.graph}: there is no folder {Path(args.graph).parent}")
    if args.costs and args.weights is not None:
        raise UsageError("--costs tries all precisions, from the model's own weights on; leave --weights out")
    if not args.costs and (given := [*_costs_given(args), *_sound.options_given(args)]):
        raise UsageError(f"{given[0]} says how --costs measures, which is missing")
    if args.target:
        taken = _targets.facts_of(load_model(args), args)
        tell(args, taken, _targets.as_text(Path(args.model).name, taken))
        return 0 if taken["fits"] else 1
    model = _sound.load_model(args) if args.costs else load_model(args)
    lines, said = costs.sizes(model.graph), ""
    if args.costs and lines:
        X, data_from = frames_of(args, model)
        lines = costs.measured(model, X, args.judge, args.seconds or 0.2)
        said = f"\n  errors on {costs.counted(model, X)}: {data_from}"
    facts = {**describe(model), "costs": costs.facts(lines)}
    if args.graph is not None:
        facts["graph"] = drawing.census(model)
    if args.graph:
        drawing.write(model, args.graph)  # first: what cannot be drawn is all that is said
    shown_costs = f"\n\n{costs.as_table(lines, args.judge)}{said}" if lines else ""
    tell(args, facts, text(facts, args.all) + shown_costs if args.graph is None else drawing.tables(model))
    for problem in facts["warnings"]:
        warn(problem)
    return 0


def _costs_given(args: argparse.Namespace) -> list[str]:
    """The options of --costs that stand on the command line."""
    return [f"--{name}" for name in ("data", "frames", "judge", "seconds") if getattr(args, name) is not None]


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
        "cpu": machine.cpu_name(),
        "cpu_features": machine.cpu_features(),
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
