# SPDX-License-Identifier: MIT
"""Models that take a whole clip at once and give one answer: read as one frame, when all sizes are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .program import Port, Program
from .walk import Reading


def as_clip(program: Program) -> Program | None:
    """The program with every input as (part of) one frame; None where a size is open that only the caller can know.

    An open first axis is the batch, of size 1, where it is the only one.
    """
    ports = [*program.inputs, *program.state_inputs]
    if program.length_inputs or not ports:
        return None
    bound = []
    for port in ports:
        dims = [1 if isinstance(n, str) and a == 0 and port.dynamic == [0] else n for a, n in enumerate(port.dims)]
        bound.append(replace(port, dims=dims))
    if any(port.dynamic for port in bound):
        return None
    return replace(program, inputs=bound, state_inputs=[])


def clip_readings(program: Program) -> Iterator[Reading]:
    """One clip of a batch where all inputs begin with an axis of size 1, else all axes as they are."""
    ports = program.inputs
    if all(port.dims and port.dims[0] == 1 for port in ports):
        yield Reading(1, 1, {port.name: (None, 0) for port in ports}, inside=True, clip=True)
    yield Reading(1, 1, {port.name: (None, None) for port in ports}, inside=True, clip=True)


def clip_hint(program: Program) -> str:
    """How to fix the sizes of a model that takes whole clips; empty where none is open."""
    shown = {port.name: _template(port) for port in program.inputs if port.dynamic}
    if not shown:
        return ""
    given = ", ".join(f"{name!r}: [{', '.join(sizes)}]" for name, sizes in shown.items())
    return f"if it takes whole clips rather than a stream, fix their size with shapes={{{given}}}"


def _template(port: Port) -> list[str]:
    return [
        str(n) if not isinstance(n, str) else "1" if axis == 0 and len(port.dims) > 1 else (n or "...")
        for axis, n in enumerate(port.dims)
    ]
