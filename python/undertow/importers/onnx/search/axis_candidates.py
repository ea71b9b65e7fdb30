# SPDX-License-Identifier: MIT
"""The readings that are worth a try: which axis of each input could be time, which batch, and of what size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from ..frames.context import Reading
from ..simplify.ports import Port
from ..simplify.program import Program

#: numbers of timesteps that are tried where the file leaves them open -> the number that is tried then, to see that
#: nothing depends on it; the next pair where a window does not fit into the one before
STEPS = {7: 11, 61: 67, 509: 521}
MORE_STEPS = list(STEPS)[1:]
#: numbers of batch items, likewise
ITEMS = (2, 3)

Axes = tuple[int | None, int | None]


@dataclass(frozen=True)
class Sizes:
    """n_steps None: as the file says, fixed. n_items None: likewise."""

    n_steps: int | None
    n_items: int | None


def sizes_to_try(program: Program, carried: bool, exact: bool) -> list[Sizes]:
    if exact:
        return [Sizes(None, None)]
    steps: list[int | None] = [*STEPS, None]
    if carried:
        steps = [1]
    elif _runs_as_often_as_an_axis_is_long(program):
        steps = [None, *STEPS]
    dynamic = any(p.dynamic for p in [*program.inputs, *program.state_inputs])
    # A batch of 1 is tried after others: some files fix it inside. Without a recurrent node that could be time misread.
    items: list[int | None] = [None]
    if dynamic:
        items = [ITEMS[0], 1, None] if program.is_recurrent or carried else [ITEMS[0], None]
    return [Sizes(t, n) for t in steps for n in items]


def _runs_as_often_as_an_axis_is_long(program: Program) -> bool:
    """Whether a Loop's constant number of rounds is the fixed size of an input's axis, so that it walks no other."""
    rounds = [program.constants.get(node.inputs[0]) for node in program.nodes if node.op == "Loop"]
    sizes = {n for port in program.inputs for n in port.dims if isinstance(n, int) and n > 1}
    return any(n is not None and n.size == 1 and int(n.reshape(())) in sizes for n in rounds)


def readings(program: Program, sizes: Sizes, carried: bool, exact: bool) -> Iterator[Reading]:
    ports = program.inputs
    if exact and not program.is_recurrent:
        none: dict[str, Axes] = {p.name: (None, None) for p in [*ports, *program.state_inputs]}
        yield Reading(1, 1, none, fixed=True)
        return
    options = [list(_options(p, program, carried, exact)) for p in ports]
    for choice in product(*options):
        program.effort.add_option(len(ports))
        axes = dict(zip([p.name for p in ports], choice, strict=True))
        times = [p.dims[a] for p, (a, _) in zip(ports, choice, strict=True) if a is not None]
        if isinstance(program.time_axis, int) and not times:
            continue
        if len({isinstance(n, str) for n in times}) > 1:
            continue  # time is open in all inputs that have it, or in none
        items = [p.dims[a] for p, (_, a) in zip(ports, choice, strict=True) if a is not None]
        many = [isinstance(n, int) and n > 1 for n in items]
        if program.is_recurrent and not (carried or exact) and times and set(times) == {1} and any(many):
            continue  # cells that forget at every step, and nobody carries their states: it is no sequence
        n_steps = _common(ports, [a for a, _ in choice], sizes.n_steps)
        n_items = _common([*ports], [a for _, a in choice], sizes.n_items)
        if n_steps is None or n_items is None or not _names_agree(ports, choice):
            continue
        if n_steps == 1 and times and program.is_recurrent and not (carried or exact):
            continue  # that a state may be carried on shows with several timesteps, or not at all
        if n_steps == 1 and sizes.n_items == 1 and program.is_recurrent and not (carried or exact):
            continue  # neither of several timesteps nor of several items: nothing tells such an open axis from time
        shrunk = n_items == 1 and any(a is not None and a in p.dynamic for p, (_, a) in zip(ports, choice, strict=True))
        if shrunk and not carried and not any(a in p.dynamic for p, (a, _) in zip(ports, choice, strict=True)):
            continue  # of what is done along an axis of size 1 nothing shows, and the open one may be time
        for batch in product(*(_batch_axes(p, n_items) for p in program.state_inputs)):
            program.effort.add_option(len(program.state_inputs))
            rest: dict[str, Axes] = {p.name: (None, a) for p, a in zip(program.state_inputs, batch, strict=True)}
            open_batch = n_items == sizes.n_items == ITEMS[0]
            every = [*ports, *program.state_inputs]
            yield Reading(
                n_steps,
                n_items,
                axes | rest,
                carried,
                open_batch,
                fixed=not any(p.dynamic for p in every),
                fixed_time=not any(isinstance(n, str) for n in times),
            )


def _options(port: Port, program: Program, carried: bool, exact: bool) -> Iterator[Axes]:
    """(time, batch) axes that an input may have; every axis without a size must be one of them."""
    rank = len(port.dims)
    # the last axis of numbers is features, unless its size is open
    is_numbers = port.dtype == "float32" and rank > 1 and not isinstance(port.dims[rank - 1], str)
    features = {rank - 1} if is_numbers else set()
    has_time = not (carried or exact or not rank) and not _may_be_timeless(port, program)
    for time in (*range(rank), None):
        for batch in (*range(rank), None):
            if (batch is not None and batch == time) or not program.may_be_time(port, time):
                continue
            if (
                time in port.dynamic
                and port.dims[time]
                and any(port.dims[time] in p.dims for p in program.state_inputs)
            ):
                continue  # a state has no time, so of that name is its batch
            if not set(port.dynamic) <= {time, batch}:
                continue
            if time is None and has_time:
                continue
            if batch in features or (time in features and not _may_be_last(port, program, carried or exact)):
                continue
            if carried and _is_size(port, time):
                continue
            fixed_time = time is not None and port.dynamic and time not in port.dynamic
            fixed_time = fixed_time and not (carried and port.dims[time] == 1)
            if not program.is_recurrent and (_is_size(port, batch) or fixed_time):
                continue  # without a recurrent node nothing tells such an axis from one of the frame
            yield time, batch


def _may_be_timeless(port: Port, program: Program) -> bool:
    """Whether an input could be the same for a whole sequence: another has an open axis more; or, of a sequence of
    fixed length, an axis more, or a size where this one has 1.
    """
    if any(p.dynamic for p in program.inputs) or not program.is_recurrent:
        return any(len(p.dynamic) > len(port.dynamic) for p in program.inputs)
    sizes = [p.dims for p in program.inputs]
    return any(
        len(dims) > len(port.dims)
        or (len(dims) == len(port.dims) and any(a != 1 and b == 1 for a, b in zip(dims, port.dims, strict=True)))
        for dims in sizes
    )


def _may_be_last(port: Port, program: Program, alone: bool) -> bool:
    """Whether a last axis of a fixed size may be time: the caller says so, or channels may lie before it; not
    of one step, or of a file that is to be read as it stands (alone).
    """
    if program.time_axis is not None:
        return isinstance(program.time_axis, int) or port.name in program.time_axis
    return program.is_recurrent and not alone and len(port.dims) > 2


def _is_size(port: Port, axis: int | None) -> bool:
    """Whether an axis has a fixed size above 1."""
    return axis is not None and port.dims[axis] != 1 and not isinstance(port.dims[axis], str)


def _common(ports: list[Port], axes: list[int | None], size: int | None) -> int | None:
    """The size of time (or batch) in all inputs; None when they disagree."""
    fixed = {p.dims[a] for p, a in zip(ports, axes, strict=True) if a is not None and isinstance(p.dims[a], int)}
    if len(fixed) > 1:
        return None
    open_ = any(a is not None and isinstance(p.dims[a], str) for p, a in zip(ports, axes, strict=True))
    if size is not None and size > 1 and all(a is None for a in axes):
        return None
    if size is not None and (open_ or size in STEPS):
        return size
    if open_:
        return None
    return int(next(iter(fixed), 1))


def _names_agree(ports: list[Port], choice: tuple[Axes, ...]) -> bool:
    """Axes of one name have one meaning."""
    meaning: dict[str, int] = {}
    for port, axes in zip(ports, choice, strict=True):
        for kind, axis in enumerate(axes):
            name = port.dims[axis] if axis is not None else 0
            if isinstance(name, str) and name and meaning.setdefault(name, kind) != kind:
                return False
    return True


def _batch_axes(port: Port, n_items: int) -> list[int | None]:
    """Where a state input may have its batch."""
    if len(port.dynamic) == 1:
        return [port.dynamic[0]]
    if len(port.dynamic) > 1:
        return list(port.dynamic)
    if n_items > 1:
        return [a for a, n in enumerate(port.dims) if n == n_items]
    return [None]
