# SPDX-License-Identifier: MIT
"""Models that take a whole clip at once and give one answer: read as one frame, when all sizes are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..frames.context import Reading
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
