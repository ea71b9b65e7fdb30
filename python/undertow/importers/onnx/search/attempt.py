# SPDX-License-Identifier: MIT
"""One reading of a program, tried: walked with two lengths and batches, proven, and looked at beyond the numbers of the
file; what is found, or why it is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from .... import passes
from ....budget import TooMuch
from ....errors import Error, ShapeError, UnsupportedError
from ....ir.compare import difference
from ..._memory import cells_in_frames, remembers
from ..advice import Advice
from ..driver import Driver
from ..frames.context import Known, Reading, Walk
from ..frames.superframes import MAX_FRAMES, NeedsRate
from ..retry import Retry, TooLarge
from ..simplify.ports import Port
from ..simplify.program import Program
from . import names, states
from .axis_candidates import ITEMS, STEPS
from .hints import as_time
from .imported import Imported
from .other_lengths import check_lengths
from .outputs import output
from .pairing import Pair
from .possible import sizes
from .proof import Claim, Refuted, longest, prove
from .roles import note

#: timesteps that are tried at most because a number of the file meets the length of a sequence
MAX_LONGER = 1100


class Failure(Exception):
    """A reading does not work. Carries how far the walk got, whether it could end otherwise with `inside`, what number
    of timesteps in a frame may work, which walk it was, and whether more timesteps could do.
    """

    def __init__(
        self,
        position: int,
        error: Error | Retry,
        wants_inside: bool = False,
        frames: int = 0,
        walk: tuple[Program, Reading] | None = None,
        longer: bool = False,
    ) -> None:
        self.position, self.error, self.wants_inside, self.frames = position, error, wants_inside, frames
        self.walk, self.longer = walk, longer

    def kept(self) -> Failure:
        """Without the frames that were left, which hold every table of the walk."""
        for error in (self, self.error):
            error.__traceback__ = error.__context__ = error.__cause__ = None
        return self


def attempt(
    program: Program,
    pairs: list[Pair],
    reading: Reading,
    exact: bool,
    keep_states: bool,
    chosen: Imported | None = None,
) -> Imported:
    """What a program is under one reading: the same for two lengths and batches, proven, and looked at beyond.

    chosen: what was found, and is to be chosen where this reading gives the same Graph; then it is what comes out.

    Raises:
        Failure: it is none.
    """
    try:
        result = build(program, pairs, reading, exact, keep_states)
    except Failure as failure:
        if not isinstance(failure.error, NeedsRate) or exact or reading.fixed_time or reading.n_steps == 1:
            raise
        frames = reading.frames * failure.error.factor
        if frames > MAX_FRAMES:
            message = f"strides along time multiply to {frames} timesteps and more, at most {MAX_FRAMES} make a frame"
            raise Failure(failure.position, UnsupportedError(f"{failure.error}; {message}")) from None
        return attempt(program, pairs, replace(reading, frames=frames), exact, keep_states, chosen)
    if chosen is not None and not difference(chosen.graph, result.graph):
        return chosen
    if exact:
        note(program, result)
        return result
    n_items = ITEMS[1] if reading.open_batch else reading.n_items
    n_steps = _hold_against(program, pairs, result, STEPS.get(reading.n_steps, reading.n_steps), n_items, keep_states)
    result = proven(program, result)
    _check_told(program, result)
    _try_longer(program, pairs, result, keep_states)
    if reading.fixed_time and n_steps == reading.n_steps > 1:
        result.graph.note(f"the file is of {n_steps} timesteps alone; a stream goes on behind them")
    return result


def _hold_against(
    program: Program, pairs: list[Pair], result: Imported, n_steps: int, n_items: int, keep_states: bool
) -> int:
    """Walk with another number of timesteps, or where the nodes hold the one that the file declares, with that; and of
    batch items. Gives the number of timesteps.

    Raises:
        Failure: no walk ends, or the Graph differs.
    """
    reading = result.reading
    if (n_steps, n_items) == (reading.n_steps, reading.n_items):
        return n_steps
    try:
        again = build(program, pairs, replace(reading, n_steps=n_steps, n_items=n_items), False, keep_states)
    except Failure as failure:
        times = [(port, reading.axes[port.name][0]) for port in program.inputs]
        declared = {port.dims[axis] for port, axis in times if axis is not None}
        if n_steps != reading.n_steps and declared == {reading.n_steps}:
            return _hold_against(program, pairs, result, reading.n_steps, n_items, keep_states)
        tried = f"{n_steps} timesteps and a batch of {n_items}; with {reading.n_steps} and {reading.n_items} it works"
        failure.error.args = (f"{failure.error} (with {tried})",)
        raise
    if where := difference(result.graph, again.graph):
        what = "number of timesteps" if n_steps != reading.n_steps else "size of the batch"
        message = f"the result depends on the {what}: {where} differs between two of them"
        raise Failure(len(program.nodes), UnsupportedError(message))
    return n_steps


def _check_told(program: Program, imported: Imported) -> None:
    """Refuse time that windows alone go along, or sums, where its size or its name says that it is an axis of a frame,
    or the batch.
    """
    graph, reading = imported.graph, imported.reading
    if reading.carried or program.time_axis is not None or imported.proof.walks:
        return
    pools = bool(imported.pooled & graph.states.keys())
    for port in program.inputs if reading.frames > 1 or remembers(graph) else []:
        time = reading.axes[port.name][0]
        if time is None:
            continue
        told, size = f"axis {time} of {port.name!r}", port.dims[time]
        if isinstance(size, str) and size and names.is_no_time(size):
            told += f" is called {size!r}, and what goes along it may be a window over a frame, or the batch"
        elif not isinstance(size, str) and graph.states.keys() <= imported.pooled:
            goes = "windows and pools go" if pools else "windows goes"
            told += f" has size {size}, and nothing but {goes} along it: it may be an axis of a frame"
        elif pools and not imported.looks_back() and not names.is_time(size):
            told += " is pooled over, and nothing else goes along it: it may be an axis of a frame, or a set"
        else:
            continue
        advice = [as_time({port.name: time})]
        batch = reading.axes[port.name][1]
        if batch in port.dynamic and not isinstance(size, str) and cells_in_frames(graph):  # which walk an axis
            one = {port.name: [1 if a == batch else None if isinstance(n, str) else n for a, n in enumerate(port.dims)]}
            others = [axis for axis in range(len(port.dims)) if axis not in (time, batch)]
            advice[:0] = [
                Advice(
                    f"where axis {batch} is a batch and axis {axis} is time, load",
                    shapes=one,
                    time_axis={port.name: axis},
                )
                for axis in reversed(others)
            ]
        if isinstance(size, str):
            shape: list[int | str | None] = [None if isinstance(n, str) else n for n in port.dims]
            shape[time] = "N"
            advice.append(Advice("where it is one of a frame, give its size", shapes={port.name: shape}))
        raise Failure(len(program.nodes), Retry(told, [advice]))


def _try_longer(program: Program, pairs: list[Pair], imported: Imported, keep_states: bool) -> None:
    """Look beyond the numbers that the length of a sequence meets: a delay, a position from which on all is else."""
    reading = imported.reading
    try:
        check_lengths(program, reading, imported.proof)
    except Refuted as error:
        raise Failure(len(program.nodes), error) from None
    n_steps = longest(imported.proof, reading)
    if n_steps is None or reading.fixed_time or reading.n_steps == 1:
        return
    if n_steps > MAX_LONGER:
        number = max(imported.proof.numbers.lengths)
        message = f"the number {number} meets the length of a sequence, which is more than {MAX_LONGER} can show"
        raise Failure(len(program.nodes), UnsupportedError(message), longer=True)
    try:
        again = build(program, pairs, replace(reading, n_steps=n_steps), False, keep_states)
        proven(program, again)
    except Failure as failure:
        failure.longer = True
        raise
    if where := difference(imported.graph, again.graph):
        lengths = f"{reading.n_steps} and {n_steps}"
        message = f"the result depends on the number of timesteps: {where} differs between {lengths}"
        raise Failure(len(program.nodes), UnsupportedError(message), longer=True)


def proven(program: Program, imported: Imported) -> Imported:
    """What was found, held against the file's own nodes."""
    states = {pair.input: pair.output for pair in imported.pairs if pair.output}
    try:
        imported.proof = prove(
            program, Claim(imported.reading, imported.graph, imported.outputs, imported.rates, states)
        )
    except Refuted as error:
        raise Failure(len(program.nodes), error) from None
    note(program, imported)
    return imported


def build(program: Program, pairs: list[Pair], reading: Reading, exact: bool, keep_states: bool) -> Imported:
    """What one walk gives.

    Raises:
        Failure: it did not come to its end.
    """
    walk = Driver(program, reading)

    def again() -> Driver:
        program.effort.add(walk.n_elements, walk.n_nodes)
        walk.release()
        second = Driver(program, reading, Known(walk.bindings))
        second.run()
        return second

    try:
        walk.run()
        if states.needs_second_walk(walk):
            walk = again()
        result = _finished(walk, pairs, exact, keep_states)
        if states.needs_second_walk(walk):  # for what is given back, or written into another state
            walk = again()
            result = _finished(walk, pairs, exact, keep_states)
    except (Error, Retry, TooMuch) as raised:
        error = TooLarge(walk.say_too_much(raised)) if isinstance(raised, TooMuch) else raised
        program.effort.add(walk.n_elements, walk.n_nodes, error, walk.position)
        frames = reading.frames * walk.factor
        frames = frames if reading.frames < frames <= MAX_FRAMES else 0
        raise Failure(walk.position, error, walk.wants_inside, frames, walk=(program, reading)) from None
    finally:
        walk.release()
    program.effort.add(walk.n_elements, walk.n_nodes)
    return result


def _finished(walk: Driver, pairs: list[Pair], exact: bool, keep_states: bool) -> Imported:
    walk.position = len(walk.program.nodes)
    with walk.held:
        return _finish(walk, pairs, exact, keep_states)


def _finish(walk: Walk, pairs: list[Pair], exact: bool, keep_states: bool) -> Imported:
    program, builder = walk.program, walk.builder
    named = {pair.input for pair in pairs}
    all_pairs = list(pairs)
    for port in program.state_inputs:
        if port.name not in named:
            final = states.find_output(walk, port.name)
            states.check_names(walk, port.name, final)
            if final is None and not program.is_call and _starts_anew(walk):
                raise Retry(
                    f"input {port.name!r} starts a recurrent node in every call, for the file has one timestep, and no "
                    "output returns it",
                    _bind(walk, port),
                )
            why = "a recurrent node starts from the one and ends with the other"
            all_pairs.append(Pair(port.name, final, why))
    if walk.reading.carried and not any(pair.output for pair in all_pairs):
        raise UnsupportedError(
            f"inputs {[p.input for p in all_pairs]} start recurrent nodes, but no output returns what they end with"
        )
    returned = [pair.output for pair in all_pairs if pair.output]
    left = [name for name in program.outputs if keep_states or name not in returned] or program.outputs
    rest = states.connect(walk, all_pairs)
    outputs = {name: output(walk, name) for name in left}
    states.connect(walk, rest)  # of which an output may have read some
    walk.keep_before()
    for name in program.starts:
        _start(walk, name, {pair.input for pair in all_pairs})
    graph = builder.graph
    report = passes.run(graph, passes.ESSENTIAL[:1] if exact else passes.ESSENTIAL)
    program.effort.used += report.work
    graph.check_registers()  # here, so that a clip may be tried
    places = {p.name: walk.inputs[p.name] for p in program.inputs}
    if walk.has_rates:
        _check_rates(walk)
    result = Imported(
        graph,
        walk.reading,
        places,
        outputs,
        all_pairs,
        program.length_inputs,
        walk.rates,
        walk.missing,
        builder.sequence,
        walk.has_rates,
        pooled=builder.pooled,
        unrounded=builder.unrounded,
        full_lengths={name: (full.of, full.axis) for name, full in program.full_lengths.items()},
    )
    for port in program.state_inputs:
        _describe_state(walk, port.name, result, report.moved)
    result.notes = report.notes
    if walk.has_rates:
        graph.frames_in, graph.frames_out = walk.reading.frames, int(next(iter(walk.rates.values()), 1))
    return result


def _bind(walk: Walk, start: Port) -> list[list[Advice]]:
    """To bind what a recurrent node starts from, for one item of the batch."""
    fixed = {start.name: sizes(start.dims)}
    batches = {port.name: walk.reading.axes[port.name][1] for port in walk.program.inputs}
    shapes: dict[str, list[int | str | None]] = {
        port.name: [
            1 if a == batches[port.name] else None if isinstance(n, str) else n for a, n in enumerate(port.dims)
        ]
        for port in walk.program.inputs
        if batches[port.name] in port.dynamic
    }
    return [[Advice("where it stays the same, bind it", fixed=fixed, shapes=shapes or None)]]


def _starts_anew(walk: Walk) -> bool:
    """Whether a call of the file is one timestep, so that the caller gives every state each time."""
    times = [(p, walk.reading.axes[p.name][0]) for p in walk.program.inputs]
    return walk.reading.fixed_time and all(axis is None or p.dims[axis] == 1 for p, axis in times)


def _start(walk: Walk, name: str, states_found: Iterable[str]) -> None:
    """Let the states of an input start with what the caller gives."""
    if name not in states_found:
        raise ShapeError(f"starts: input {name!r} was not found to be a state; say so with states={{input: output}}")
    start, batch = walk.state_tensors[name], walk.reading.axes[name][1]
    given = np.asarray(walk.program.starts[name], np.float32)
    shape = tuple(1 if axis == batch else n for axis, n in enumerate(start.shape))
    if given.shape != shape:
        raise ShapeError(f"starts: {name!r} was given shape {given.shape}, expected {shape}")
    elements = start.elements if batch is None else start.elements.take([0], batch)
    places, values, graph = states.Places(elements.ravel()), given.ravel(), walk.builder.graph
    starting = {f"{name}.value": np.arange(values.size)}
    for binding in walk.bindings:
        where = places.of(binding.elements.ravel())
        if where[0] >= 0:
            starting |= {binding.state: where, f"{binding.state}.before": where}
    for state, where in starting.items():
        if state in graph.states:
            graph.states[state] = replace(graph.states[state], init=values[where].reshape(graph.states[state].shape))


def _check_rates(walk: Walk) -> None:
    if len(set(walk.rates.values())) > 1:
        raise UnsupportedError(
            f"outputs {walk.rates} have different numbers of timesteps in a frame of {walk.reading.frames} timesteps "
            "of the inputs (strides along time); expected the same of all"
        )


def _describe_state(walk: Walk, name: str, result: Imported, moved: passes.Moved) -> None:
    start = walk.state_tensors[name]
    batch = walk.reading.axes[name][1]
    flat = start.elements.take(0, batch).ravel() if batch is not None else start.elements.ravel()
    places = states.Places(flat)
    parts = []
    for binding in walk.bindings:
        where = places.of(binding.elements.ravel())
        if where[0] >= 0:
            if (where < 0).any():
                raise ValueError(f"state {binding.state!r} starts from elements of more than input {name!r}")
            parts += [(state, where) for state in (binding.state, f"{binding.state}.before")]
    parts.append((f"{name}.value", np.arange(len(flat))))
    for state, where in parts:  # which grows
        parts += [(new, where[taken]) for new, taken in moved.get(state, ())]
    result.state_inputs[name] = [(state, where) for state, where in parts if state in result.graph.states]
    result.state_layouts[name] = (start.shape, batch)


__all__ = ["Failure", "attempt", "build", "proven"]
