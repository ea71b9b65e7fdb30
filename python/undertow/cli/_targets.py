# SPDX-License-Identifier: MIT
"""`undertow info --target`: what a model takes on a board, and whether it fits a budget."""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict
from typing import Any

from .._text import escaped
from ..export import costs, source
from ..inspect.describe import human_bytes, table
from ..model import Model
from ._common import UsageError

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20}
_BUDGETS = ("flash", "ram", "stack", "instructions", "cycles")


def _size(text: str) -> int:
    """argparse type: bytes, as 65536, 64k or 64KiB."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([km]?)(?:i?b)?", text.lower())
    if not match or not (n := int(float(match[1]) * _UNITS[match[2]])):
        raise argparse.ArgumentTypeError(f"{text!r}, expected bytes above 0, such as 65536, 64k or 1M")
    return n


def _count(text: str) -> int:
    """argparse type: a whole number above 0, as 10000, 10,000, 10k or 1.5M, of thousands."""
    match = re.fullmatch(r"([\d,]+(?:\.\d+)?)([km]?)", text.lower())
    if not match or not (n := round(float(match[1].replace(",", "")) * {"": 1, "k": 1000, "m": 10**6}[match[2]])):
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number above 0, such as 10000 or 10k")
    return n


def add_options(parser: argparse.ArgumentParser) -> None:
    """--target and the budgets that are held against it."""
    parser.add_argument(
        "--target",
        choices=costs.targets(),
        help="what the model takes there, written as C by `undertow export` and compiled with -O2: flash, RAM, stack, "
        "instructions of a step, cycles where the CPU's manual tells them. Weights and RAM are exact, the rest is "
        "estimated from models that were measured",
    )
    for name, what in (("flash", "weights and code"), ("ram", "a stream, its inputs and outputs, and the stack")):
        parser.add_argument(f"--{name}", type=_size, metavar="BYTES", help=f"a budget for {what}, such as 64k")
    parser.add_argument("--stack", type=_size, metavar="BYTES", help="a budget for the stack alone")
    for name in ("instructions", "cycles"):
        of_step = f"a budget for the {name} of a step; beyond any budget the exit code is 1"
        parser.add_argument(f"--{name}", type=_count, metavar="N", help=of_step)


def budgets(args: argparse.Namespace) -> dict[str, int]:
    """Those that are given."""
    return {name: value for name in _BUDGETS if (value := getattr(args, name)) is not None}


def check_options(args: argparse.Namespace) -> None:
    """Raises UsageError where options do not go together."""
    if not args.target:
        if given := budgets(args):
            raise UsageError(f"--{next(iter(given))} is a budget on a --target, which is missing")
        return
    if args.model is None:
        raise UsageError("--target says what a MODEL takes; none is given")
    for name in ("graph", "costs", "all"):
        if getattr(args, name) not in (None, False):
            raise UsageError(f"--{name} and --target answer different questions; leave one of them out")
    if args.cycles is not None and args.target not in costs.timed():
        raise UsageError(
            f"--cycles: nobody says how long instructions take on {args.target}; give --instructions, or a --target "
            f"whose cycles are known: {', '.join(costs.timed())}"
        )


def facts_of(model: Model, args: argparse.Namespace) -> dict[str, Any]:
    """What --json says of a target: `Costs`, and for each budget its limit and whether it is kept."""
    text = source(model)
    needed = costs.estimate(text, args.target)
    arrays = sum(4 * p.size for p in (*text.facts.inputs, *text.facts.outputs))
    needs = {
        "flash": needed.flash_bytes,
        "ram": needed.ram_bytes + arrays + needed.stack_bytes,
        "stack": needed.stack_bytes,
        "instructions": needed.instructions,
        "cycles": needed.cycles,
    }
    held = {
        name: {"limit": limit, "needed": needs[name], "fits": (needs[name] or 0) <= limit}
        for name, limit in budgets(args).items()
    }
    return {**asdict(needed), "array_bytes": arrays, "budgets": held, "fits": all(b["fits"] for b in held.values())}


def as_text(name: str, facts: dict[str, Any]) -> str:
    """The same for people."""
    held, cycles = facts["budgets"], facts["cycles"]
    flash, stack = facts["weight_bytes"] + facts["code_bytes"], facts["stack_bytes"]
    ram, arrays = facts["ram_bytes"], facts["array_bytes"]
    of = {
        "flash": (human_bytes(flash), f"{facts['weight_bytes']:,} of weights, about {facts['code_bytes']:,} of code"),
        "ram": (
            human_bytes(ram + arrays + stack),
            f"{ram:,} of a stream, {arrays:,} of its inputs and outputs, about {stack:,} of stack",
        ),
        "instructions": (f"{facts['instructions']:,}", "a step, about"),
    }
    if cycles:
        of["cycles"] = (f"{cycles:,}", "a step, about, from memory without wait states")
    if "stack" in held:
        of["stack"] = (human_bytes(stack), "about")
    rows = [["", "needs", "", "budget"] if held else ["", "needs", ""]]
    for key, (needs, what) in of.items():
        rows.append([key if key != "ram" else "RAM", needs, what, *([_verdict(key, held.get(key))] if held else [])])
    title = f"{escaped(name)} on {facts['target']}, as C (undertow export), compiled with -O2"
    half, most = (f"{100 * error:.0f} %" for error in facts["errors"])
    errors = f"of models like it that were measured, half were within {half}, 9 of 10 within {most}"
    return f"{title}\n\n{table(rows)}\n\n  {errors}"


def _verdict(key: str, held: dict[str, Any] | None) -> str:
    if held is None:
        return ""
    limit = f"{held['limit']:,}" if key in ("instructions", "cycles") else human_bytes(held["limit"])
    return f"{limit}: " + ("fits" if held["fits"] else f"{held['needed'] / held['limit']:.2f} times too much")
