# SPDX-License-Identifier: MIT
"""`undertow info --target`: what a model takes on a board, and whether it fits a budget."""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict
from math import ceil
from typing import Any

from .._text import escaped
from ..export import costs, source
from ..inspect.describe import describe, human_bytes, table
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
        "estimated from models that were measured; a budget is held against the estimate",
    )
    of_flash, of_ram = "weights, code and the compiler's library", "a stream, its inputs and outputs, and the stack"
    for name, what in (("flash", of_flash), ("ram", of_ram)):
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
    """What --json says of a target: the model, `Costs`, and for each budget its limit, whether it is kept, and what
    9 of 10 such models need `at_most`.
    """
    text = source(model)
    needed = costs.estimate(text, args.target)
    arrays = sum(4 * p.size for p in (*text.facts.inputs, *text.facts.outputs))
    code = needed.code_bytes + needed.library_bytes
    estimated = {
        "flash": (needed.weight_bytes, code, "code"),
        "ram": (needed.ram_bytes + arrays, needed.stack_bytes, "stack"),
        "stack": (0, needed.stack_bytes, "stack"),
        "instructions": (0, needed.instructions, "instructions"),
        "cycles": (0, needed.cycles or 0, "cycles"),
    }
    held = {}
    for name, limit in budgets(args).items():
        exact, about, of = estimated[name]
        at_most = exact + ceil(about * (1 + needed.errors[of][1]))
        held[name] = {"limit": limit, "needed": exact + about, "at_most": at_most, "fits": exact + about <= limit}
    dtype = describe(model)["dtype"]
    facts = {"model": model.name, "hash": model.hash.hex(), "dtype": dtype, "flash_bytes": needed.flash_bytes}
    return {
        **facts,
        **asdict(needed),
        "array_bytes": arrays,
        "budgets": held,
        "fits": all(b["fits"] for b in held.values()),
    }


def as_text(name: str, facts: dict[str, Any]) -> str:
    """The same for people."""
    held, cycles, stack = facts["budgets"], facts["cycles"], facts["stack_bytes"]
    ram, arrays = facts["ram_bytes"], facts["array_bytes"]
    of = {
        "flash": (
            human_bytes(facts["flash_bytes"]),
            f"{facts['weight_bytes']:,} of weights, about {facts['code_bytes']:,} of code, "
            f"{facts['library_bytes']:,} of the compiler's library",
        ),
        "ram": (
            human_bytes(ram + arrays + stack),
            f"{ram:,} of a stream, {arrays:,} of its inputs and outputs, about {stack:,} of stack",
        ),
        "instructions": (f"{facts['instructions']:,}", "a step, about"),
    }
    if "stack" in held:
        of = {"flash": of["flash"], "ram": of["ram"], "stack": (human_bytes(stack), "about"), **of}
    if cycles:
        of["cycles"] = (f"{cycles:,}", "a step, about, from memory without wait states")
    rows = [["", "needs", "", "budget"] if held else ["", "needs", ""]]
    for key, (needs, what) in of.items():
        rows.append([key if key != "ram" else "RAM", needs, what, *([_verdict(key, held.get(key))] if held else [])])
    title = f"{escaped(name)} in {facts['dtype']} on {facts['target']}, as C (undertow export), compiled with -O2"
    ranges = [
        f"{'code and library' if of == 'code' else of} {100 * half:.0f} and {100 * most:.0f} %"
        for of, (half, most) in facts["errors"].items()
    ]
    errors = (
        "off by, of models like it that were measured, half of them within the first and 9 of 10 within the second:\n"
        f"  {'; '.join(ranges)}"
    )
    return f"{title}\n\n{table(rows)}\n\n  {errors}"


def _verdict(key: str, held: dict[str, Any] | None) -> str:
    if held is None:
        return ""

    def said(n: int) -> str:
        return f"{n:,}" if key in ("instructions", "cycles") else human_bytes(n)

    if not held["fits"]:
        return f"{said(held['limit'])}: {held['needed'] / held['limit']:.2f} times too much"
    known = held["at_most"] <= held["limit"]
    return f"{said(held['limit'])}: fits" + ("" if known else f", but may need {said(held['at_most'])}")
