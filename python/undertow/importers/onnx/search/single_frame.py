# SPDX-License-Identifier: MIT
"""Models that take a whole clip at once and give one answer: read as one frame, when all sizes are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..frames.context import Reading
from ..simplify.ports import Port
from ..simplify.program import Program
from .walked import walked_axes


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
    """How to fix the sizes of a model that takes whole clips, or its batch, which is an open axis beside one that is
    walked; empty where no size is open.
    """
    ports = [port for port in program.inputs if port.dynamic]
    if not ports:
        return ""
    walked = walked_axes(program)
    batches = {port.name: _batch(port, walked.get(port.name, set())) for port in ports}
    shown = {port.name: _template(port, batches[port.name]) for port in ports}
    open_ = list(dict.fromkeys(n for sizes in shown.values() for n in sizes if not n.isdigit()))
    numbers = f", with {'your number' if len(open_) == 1 else 'your numbers'} for {', '.join(open_)}" if open_ else ""
    hints = [f"if it takes frames or clips of one size, fix it with shapes={_given(shown)}{numbers}"]
    kept = {p.name: batches[p.name] for p in ports if batches[p.name] in p.dynamic and len(p.dynamic) > 1}
    if kept:
        axes = ", ".join(f"axis {axis} of {name!r}" for name, axis in kept.items())
        fixed = {p.name: _with_batch(p, kept[p.name]) for p in ports if p.name in kept}
        hints.append(f"{'where' if walked else 'if'} {axes} is a batch, fix it to 1 with shapes={_given(fixed)}")
    return "; ".join(hints)


def _with_batch(port: Port, batch: int | None) -> list[str]:
    return ["1" if a == batch else "None" if isinstance(n, str) else str(n) for a, n in enumerate(port.dims)]


def _batch(port: Port, walked: set[int]) -> int | None:
    """The axis that is the batch: the open one beside that which is walked, or else the first."""
    others = [axis for axis in port.dynamic if axis not in walked]
    if walked:
        return others[0] if others else None
    return 0 if len(port.dims) > 1 else None


def _given(shapes: dict[str, list[str]]) -> str:
    return "{" + ", ".join(f"{name!r}: [{', '.join(sizes)}]" for name, sizes in shapes.items()) + "}"


def _template(port: Port, batch: int | None) -> list[str]:
    return [
        str(n) if not isinstance(n, str) else "1" if axis == batch else (n or "...") for axis, n in enumerate(port.dims)
    ]
