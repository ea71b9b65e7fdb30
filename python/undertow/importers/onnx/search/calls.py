# SPDX-License-Identifier: MIT
"""Whether a model of one step, whose axis of time is open, gives the same in calls of one timestep as in one of
several: by both, in onnx's evaluator. No table and no set tells a state that changes once in a call from one that
changes in each timestep.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ....errors import Error, UnsupportedError
from ..advice import Refusal
from ..dependence import Unclear
from ..simplify.fold import Evaluator
from ..simplify.ports import Port
from ..simplify.program import ID_TYPES, RECURRENT, Program
from ..traits import traits
from .hints import timesteps_of_a_call
from .imported import Imported

#: timesteps of the longer call: even, for what is toggled in each
_STEPS = 4
#: how far float32 may take apart what is computed in another order
_AGREES = 1e-3

Arrays = dict[str, np.ndarray]


def check_calls(program: Program, imported: Imported) -> None:
    """Hold one call of several timesteps against as many calls of one.

    Raises:
        Refusal: an output or a state is another one; with how to say how many timesteps a call has.
    """
    reading = imported.reading
    axes = {port.name: reading.axes[port.name][0] for port in program.inputs}
    times = {p.name: axis for p in program.inputs if (axis := axes[p.name]) in p.dynamic and axis is not None}
    if not reading.carried or not times or reading.frames > 1:
        return
    states = {pair.input: pair.output for pair in imported.pairs if pair.output}
    if not (differing := _differing(program, times, states)):
        return
    where = ", ".join(f"axis {axis} of {name!r}" for name, axis in times.items())
    error = UnsupportedError(
        f"{where} is open, and output {differing!r} of one call of {_STEPS} timesteps is another one than that of "
        f"{_STEPS} calls of one"
    )
    raise Refusal(error, timesteps_of_a_call(program, times))


def _differing(program: Program, times: dict[str, int], states: dict[str, str]) -> str:
    """An output that depends on how the timesteps are spread over calls; "" where none does, or it cannot be told."""
    rng = np.random.default_rng(0)
    feed = {port.name: _random(port, rng, times.get(port.name)) for port in [*program.inputs, *program.state_inputs]}
    try:
        many = _call(program, feed)
        rows = []
        for t in range(_STEPS):
            one = {name: feed[name].take([t], axis) for name, axis in times.items()}
            rows.append(_call(program, {**feed, **one}))
            feed |= {name: rows[-1][output].astype(feed[name].dtype) for name, output in states.items()}
    except (Error, Unclear):
        return ""
    for output in program.outputs:
        a, parts = many[output], [row[output] for row in rows]
        longer = [axis for axis, (n, m) in enumerate(zip(a.shape, parts[0].shape, strict=False)) if n == _STEPS * m]
        b = parts[-1] if a.shape == parts[-1].shape else np.concatenate(parts, longer[0]) if longer else None
        if b is None or a.shape != b.shape or not np.allclose(a, b, _AGREES, _AGREES, equal_nan=True):
            return output
    return ""


def _call(program: Program, feed: Arrays) -> Arrays:
    values = evaluated(program, feed)
    return {name: np.asarray(values[name], np.float64) for name in program.outputs}


def evaluated(program: Program, feed: Mapping[str, np.ndarray]) -> Arrays:
    """Every value of a program for what its inputs are.

    Raises:
        Unclear: it has what is not evaluated, as a loop. Error: it does not take this.
    """
    values: Arrays = {**program.constants, **feed}
    evaluator = Evaluator()
    if program.length_inputs:
        raise Unclear(f"the length {program.length_inputs[0]!r} is an input")
    for node in program.nodes:
        arrays = [values[name] if name else None for name in node.inputs]
        if traits(node.op).pure:
            results = evaluator.run(node, arrays)
        elif node.op in RECURRENT:
            results = evaluator.evaluate(node, arrays)
        else:
            raise Unclear(f"{node.where} is not evaluated")
        values.update((name, array) for name, array in zip(node.outputs, results, strict=False) if name)
    return values


def _random(port: Port, rng: np.random.Generator, time: int | None) -> np.ndarray:
    shape = [_STEPS if axis == time else 1 if isinstance(n, str) else n for axis, n in enumerate(port.dims)]
    if port.dtype in ID_TYPES or port.dtype == "bool":
        return rng.integers(0, 2, shape).astype(port.dtype)
    return rng.standard_normal(shape).astype(port.dtype)


__all__ = ["check_calls", "evaluated"]
