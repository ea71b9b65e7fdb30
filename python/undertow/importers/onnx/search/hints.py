# SPDX-License-Identifier: MIT
"""Advice for files that no reading goes through: sizes to give, axes to open."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..advice import SIZES, Advice
from ..simplify.ports import Port
from ..simplify.program import Program
from .names import is_batch, is_frame, is_state, is_time
from .possible import sizes
from .walked import walked_axes

Sizes = list[int | str | None]
#: how open axes are called that have no name, and how many numbers of a file are tried
_LETTERS, _NUMBERS = "NMKLPQRS", 6
#: last axes of an input that are tried as time
_AXES = 3


def sizes_to_fix(program: Program) -> list[list[Advice]]:
    """All sizes of a model that takes whole clips, or its batch, which is an open axis beside one that is walked; else
    the size of an axis that is neither; else what the file's own numbers say. Nothing where no size is open.
    """
    ports = [port for port in program.inputs if port.dynamic]
    if not ports:
        return []
    walked = walked_axes(program)
    names = _names(ports)
    batches = {port.name: _batch(program, port, walked) for port in ports}
    first_axes = {p.name: batches[p.name] or [a for a in p.dynamic[:1] if a == 0 and len(p.dynamic) > 1] for p in ports}
    templates = [
        {p.name: _sized(p, {**names[p.name], **dict.fromkeys(first_axes[p.name], 1)}) for p in ports},
        {p.name: _sized(p, names[p.name]) for p in ports},
    ]
    first = [
        Advice(f"where {axes} is neither time nor batch, give its size", shapes={p.name: _sized(p, names[p.name])})
        for p in ports
        if (axes := _axes_alone(program, p, walked))
    ]
    first += [Advice("if it takes frames or clips of one size, fix it", shapes=shapes) for shapes in templates]
    kept = [p for p in ports if set(batches[p.name]) & set(p.dynamic) and len(p.dynamic) > 1]
    if kept:
        axes = ", ".join(f"axis {axis} of {p.name!r}" for p in kept for axis in batches[p.name])
        fixed = {p.name: _sized(p, dict.fromkeys(batches[p.name], 1)) for p in kept}
        words = f"{'where' if walked else 'if'} {axes} is a batch, fix it to 1"
        first.append(Advice(words, shapes=fixed, walks=20))  # what helps so is found at once
    numbers = _numbers(program)
    others = [
        Advice(f"give the size of axis {axis} of {port.name!r}", shapes=shapes, sizes=(*SIZES, *numbers))
        for port in ports
        for axis, shapes in _of_frame(port, walked.get(port.name, set()), names[port.name])
    ]
    return [first, others, [Advice("it loads", shapes=shapes, sizes=numbers) for shapes in templates]]


def time_to_open(program: Program) -> list[list[Advice]]:
    """An axis of size 1, of an input of a single step, that may be left open as time."""
    axes = [(port, a) for port in program.inputs for a, n in enumerate(port.dims) if n == 1 and len(port.dims) > 2]
    return [[Advice("or open the time axis", shapes={port.name: _sized(port, {}, axis)}) for port, axis in axes]]


def time_to_stream(program: Program) -> list[list[Advice]]:
    """A fixed axis of the first input that may be left open as time, in all inputs that have it."""
    if not program.inputs:
        return []
    first = program.inputs[0]
    axes = [axis for axis, n in enumerate(first.dims) if isinstance(n, int) and len(first.dims) > 1]
    opened = [
        {p.name: _sized(p, {}, axis) for p in program.inputs if p.dims[axis : axis + 1] == [first.dims[axis]]}
        for axis in axes[-_AXES:]
    ]
    return [[Advice("to stream it, load", shapes=shapes, walks=10)] for shapes in reversed(opened)]


def timesteps_of_a_call(
    program: Program, times: Mapping[str, int], time_axis: Mapping[str, None] | None = None
) -> list[list[Advice]]:
    """To say how many timesteps a call of the file has. times: input -> axis. time_axis: to be said with several."""
    shapes = [
        {p.name: _sized(p, {times[p.name]: n}) for p in program.inputs if times.get(p.name) in p.dynamic}
        for n in ("N", 1)
    ]
    one = Advice("if a call has one timestep, load", shapes=shapes[1])
    return [[one, Advice("if a call has several, say how many", shapes=shapes[0], time_axis=time_axis)]]


def to_bind(program: Program, walked: Program, position: int) -> list[Advice]:
    """To bind an input that may be a setting: one that alone some operand of the node at which a walk ended is made
    of, or of integers, or of one number. walked: the program, or as its loops were rolled up.
    """
    names = walked.nodes[position].inputs if position < len(walked.nodes) else []
    inputs = [port.name for port in [*program.inputs, *program.state_inputs]]
    sources = [[port for port in inputs if walked.depends(name, port)] for name in names if name]
    taken = {source[0] for source in sources if len(source) == 1}
    settings = [
        port
        for port in [*program.inputs, *program.state_inputs]
        if not port.dynamic
        and not (is_state(port.name) or is_frame(port.name))
        and (port.name in taken or port.dtype != "float32" or all(n == 1 for n in port.dims))
    ]
    fixed = {port.name: sizes(port.dims) for port in settings}
    alone = [
        Advice(f"where {name!r} stays the same, bind it", fixed={name: shape}, walks=20)
        for name, shape in list(fixed.items())[:_AXES]
    ]
    return [*alone, Advice("where they stay the same, bind them", fixed=fixed)] if len(fixed) > 1 else alone


def sizes_of_step(program: Program) -> dict[str, Sizes] | None:
    """Shapes of one item, with a number of the user's for each open axis behind the batch, which is the first; None
    without such.
    """
    ports = [port for port in program.inputs if set(port.dynamic) - {0}]
    names = _names(ports)
    return {p.name: _sized(p, {**names[p.name], 0: 1}) for p in ports} or None


def as_time(axes: dict[str, int | None]) -> Advice:
    """To say which axes are time, None where an input has none."""
    what = ", ".join(f"axis {axis} of {name!r}" for name, axis in axes.items() if axis is not None) or "none"
    return Advice(f"where {what} is time, load", time_axis=axes)


def _of_frame(port: Port, walked: set[int], names: dict[int, str]) -> list[tuple[int, dict[str, Sizes]]]:
    """(open axis that is neither walked nor the batch, shapes that name its size); a batch beside it is 1."""
    others = [axis for axis in port.dynamic if axis not in walked] if walked else []
    if len(others) > 2:
        return []
    return [
        (axis, {port.name: _sized(port, {**dict.fromkeys(set(others) - {axis}, 1), axis: names[axis]})})
        for axis in others
    ]


def _names(ports: list[Port]) -> dict[str, dict[int, str]]:
    """Input -> open axis -> how it is called in a line to paste: as in the file, or by a letter."""
    taken = {n for port in ports for n in port.dims}
    letters = (letter for letter in _LETTERS if letter not in taken)
    names: dict[str, dict[int, str]] = {port.name: {} for port in ports}
    for port in ports:
        for axis in port.dynamic:
            called = str(port.dims[axis])
            names[port.name][axis] = called if re.fullmatch(r"[A-Za-z_]\w*", called) else next(letters, "N")
    return names


def _axes_alone(program: Program, port: Port, walked: Mapping[str, set[int]]) -> str:
    """The open axes of an input, where nothing walks them and no other input has one of that name; "" else."""
    others = [p for p in [*program.inputs, *program.state_inputs] if p is not port]
    shared = {n for p in others for n in p.dims}
    if not others or port.name in walked or any(port.dims[axis] in shared for axis in port.dynamic):
        return ""
    return ", ".join(f"axis {axis} of {port.name!r}" for axis in port.dynamic)


def _batch(program: Program, port: Port, walked: Mapping[str, set[int]]) -> list[int]:
    """The axis that is the batch: the open one beside that which is walked, or else the first where all inputs have it;
    none where none is.
    """
    if port.name in walked:
        return [axis for axis in port.dynamic if axis not in walked[port.name]][:1]
    batches = {p.dims[axis] for p in program.inputs if p.name in walked for axis in _batch(program, p, walked)}
    if walked:
        return [axis for axis in port.dynamic if port.dims[axis] in batches][:1]
    if called := [axis for axis in port.dynamic if is_batch(port.dims[axis])]:
        return called[:1]
    firsts = {p.dims[0] if p.dims else 1 for p in program.inputs}
    return [0] if len(port.dims) > 1 and len(firsts) == 1 and not is_time(port.dims[0]) else []


def _sized(port: Port, given: Mapping[int, int | str], opened: int | None = None) -> Sizes:
    """A shape of an input: open axes as given, or else left open, and one axis that is opened."""
    return [
        None if axis == opened else n if isinstance(n, int) else given.get(axis) for axis, n in enumerate(port.dims)
    ]


def _numbers(program: Program) -> tuple[int, ...]:
    """Sizes that the file's nodes name: of shapes, and then of the axes of weights."""
    numbers: dict[int, None] = {}
    axes: dict[int, None] = {}
    for node in program.nodes:
        for name in node.inputs:
            constant = program.constants.get(name)
            if constant is None:
                continue
            if constant.dtype.kind == "i" and constant.ndim == 1 and constant.size <= 8:
                numbers |= dict.fromkeys(int(n) for n in constant if 1 < n < 2**16)
            elif constant.dtype.kind == "f" and constant.ndim > 1:
                axes |= dict.fromkeys(n for n in constant.shape if n > 1)
    return tuple(n for n in numbers | axes if n not in SIZES)[:_NUMBERS]


__all__ = [
    "as_time",
    "sizes_of_step",
    "sizes_to_fix",
    "time_to_open",
    "time_to_stream",
    "timesteps_of_a_call",
    "to_bind",
]
