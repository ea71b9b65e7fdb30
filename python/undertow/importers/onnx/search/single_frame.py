# SPDX-License-Identifier: MIT
"""Models that take a whole clip at once and give one answer: read as one frame, when all sizes are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..frames.context import Reading
from ..simplify.ports import Port
from ..simplify.program import Program


def as_clip(program: Program) -> Program | None:
    """The program with every input as (part of) one frame; None where a size is open."""
    ports = [*program.inputs, *program.state_inputs]
    if program.length_inputs or not ports or any(port.dynamic for port in ports):
        return None
    return replace(program, inputs=ports, state_inputs=[])


def clip_readings(program: Program) -> Iterator[Reading]:
    """One clip of a batch where all inputs begin with an axis of size 1, else all axes as they are."""
    ports = program.inputs
    if all(port.dims and port.dims[0] == 1 for port in ports):
        yield Reading(1, 1, {port.name: (None, 0) for port in ports}, inside=True, clip=True, fixed=True)
    yield Reading(1, 1, {port.name: (None, None) for port in ports}, inside=True, clip=True, fixed=True)


def clip_hint(program: Program) -> str:
    """How to fix the sizes of a model that takes whole clips, or its batch; empty where no size is open."""
    shown = {port.name: _template(port) for port in program.inputs if port.dynamic}
    if not shown:
        return ""
    open_ = list(dict.fromkeys(n for sizes in shown.values() for n in sizes if not n.isdigit()))
    numbers = f", with {'your number' if len(open_) == 1 else 'your numbers'} for {', '.join(open_)}" if open_ else ""
    hints = [f"if it takes frames or clips of one size, fix it with shapes={_given(shown)}{numbers}"]
    batched = [port for port in program.inputs if len(port.dynamic) > 1 and 0 in port.dynamic and len(port.dims) > 2]
    if batched:
        kept = {p.name: ["1", *("None" if isinstance(n, str) else str(n) for n in p.dims[1:])] for p in batched}
        hints.append(f"if the first axis is a batch, fix it to 1 with shapes={_given(kept)}")
    return "; ".join(hints)


def _given(shapes: dict[str, list[str]]) -> str:
    return "{" + ", ".join(f"{name!r}: [{', '.join(sizes)}]" for name, sizes in shapes.items()) + "}"


def _template(port: Port) -> list[str]:
    return [
        str(n) if not isinstance(n, str) else "1" if axis == 0 and len(port.dims) > 1 else (n or "...")
        for axis, n in enumerate(port.dims)
    ]
