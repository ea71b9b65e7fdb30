# SPDX-License-Identifier: MIT
"""Which open axes the nodes of a file walk, before anybody has said which is time."""

from __future__ import annotations

import numpy as np

from ..dependence import Reach, Unclear, trace
from ..simplify.budget import Exhausted
from ..simplify.ports import Port
from ..simplify.program import Program

_SIZE = 3


def walked_axes(program: Program) -> dict[str, set[int]]:
    """Input -> its open axes along which a recurrent node, a Loop or a Scan goes; empty where that cannot be told."""
    ports = [*program.inputs, *program.state_inputs]
    axes: dict[str, set[int]] = {}
    for port in program.inputs:
        for axis in port.dynamic:
            inputs = {p.name: _reach(p, axis if p is port else None) for p in ports}
            inputs |= {name: Reach.none((_SIZE,)) for name in program.length_inputs}
            try:
                walked = trace(program, inputs).walked
            except (Unclear, Exhausted):
                return {}
            if any(len({gained for gained in walk.gained if gained}) > 1 for walk in walked):
                axes.setdefault(port.name, set()).add(axis)
    return axes


def _reach(port: Port, axis: int | None) -> Reach:
    """A tensor of that shape, of which the rows along one axis are told apart."""
    shape = [_SIZE if isinstance(n, str) else n for n in port.dims]
    if axis is None:
        return Reach.none(shape)
    bits = np.uint64(1) << np.arange(_SIZE, dtype=np.uint64)
    return Reach.of(shape, bits.reshape([-1 if a == axis else 1 for a in range(len(shape))]))


__all__ = ["walked_axes"]
