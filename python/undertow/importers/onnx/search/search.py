# SPDX-License-Identifier: MIT
"""Find out which axis of an input is time and which is batch: try readings, keep the one under which the graph works.

Names and declared sizes are not trusted further than that an axis without a fixed size must be time or batch. Where
the file allows, a walk is repeated with another number of timesteps: a Graph that differs would depend on the length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from ...._progress import tell
from ....errors import Error, FormatError, ShapeError, UnsupportedError
from ....ir.compare import difference
from ..advice import Advice, Refusal
from ..driver import Driver
from ..file import limits
from ..frames.context import Forgets, Reading
from ..frames.provenance import Mixed
from ..frames.windows import TooShort
from ..retry import OtherRounds, Retry, TooLarge, TooManyNodes
from ..simplify.budget import Exhausted
from ..simplify.ports import Port
from ..simplify.program import Program
from . import pairing, states
from .attempt import Failure, attempt, build, proven
from .axis_candidates import MORE_STEPS, readings, sizes_to_try
from .hints import as_time, sizes_to_fix, time_to_open, to_bind
from .imported import Imported
from .names import is_batch, is_time
from .pairing import Pair
from .possible import are_returned
from .proof import lengths_met
from .rivals import check_rivals
from .single_frame import as_clip, clip_readings

#: open axes that an error names
_AXES = 6


class _Failures(list[Failure]):
    """What was tried in vain. settled: (program, reading) that fail alike with `inside`, and need no second walk."""

    def __init__(self) -> None:
        super().__init__()
        self.settled: list[tuple[Program, Reading]] = []

    def is_settled(self, program: Program, reading: Reading) -> bool:
        return any(program is p and reading == r for p, r in self.settled)

    def were_too_many(self, program: Program) -> bool:
        """Whether a reading of a program took too many nodes, as any of more timesteps would."""
        return any(isinstance(f.error, TooManyNodes) and f.walk is not None and f.walk[0] is program for f in self)

    def was_too_much(self, program: Program, reading: Reading) -> bool:
        """Whether fewer timesteps along the same axes made too large tables already."""
        walks = [failure.walk for failure in self if isinstance(failure.error, TooLarge) and failure.walk]
        return any(program is p and reading.axes == r.axes and reading.n_steps > r.n_steps for p, r in walks)


def import_program(
    program: Program, given: Mapping[str, str] | None = None, *, exact: bool = False, keep_states: bool = False
) -> Imported:
    """Find the reading and build the Graph.

    given: state input -> output, as the user says; empty: none besides those of recurrent nodes; None: find them.
    exact: all sizes are fixed, and stay as they are (for running one ONNX
    test). keep_states: outputs that return states remain outputs.

    Raises:
        UnsupportedError: no reading works (the error of the one that got furthest), or several do.
        Refusal: the same, with advice to be tried.
    """
    try:
        return _imported(program, given, exact, keep_states)
    except Exhausted as exhausted:
        error = exhausted.error()
        axes = [f"axis {axis} of {p.name!r}" for p in program.inputs for axis in p.dynamic]
        if axes:
            error.args = (f"{error}; open are {', '.join(axes[:_AXES])}" + (" ..." if len(axes) > _AXES else ""),)
        raise error from None  # without advice, whose tries would be as long


def _imported(program: Program, given: Mapping[str, str] | None, exact: bool, keep_states: bool) -> Imported:
    if given:
        pairing.check_given(program, dict(given))
        program = pairing.with_states(program, list(given))
    program = replace(program, no_states=given is not None and not given)
    failures = _Failures()
    variants = list(_variants(program, given, exact))
    for inside in (False, True):
        for carried, variant, pairs in variants:
            try:
                imported = _search(variant, pairs, carried, inside, exact, keep_states, failures)
            except Refusal:
                if given is None and not (exact or variant.is_recurrent or program.time_axis is not None):
                    pairing.check_memoryless(program)  # which asks for more than which axis is time
                raise
            forgets = next((f.error for f in failures if isinstance(f.error, Forgets)), None)
            if imported is None and carried and forgets is not None and are_returned(program):
                # Read as a sequence it would remember, which is something else than the file's steps do.
                imported = None if inside else _search(variant, pairs, carried, True, exact, keep_states, failures)
                if imported is None:
                    raise Refusal(forgets.error(), time_to_open(program))
            if imported is not None:
                if not (inside or exact) and _is_wide(program, imported.reading):
                    wide = _search(variant, pairs, carried, True, exact, keep_states, failures)
                    imported = imported if wide is None or _is_wide(program, wide.reading) else wide
                _check_called(program, imported, failures)
                _check_full(program, imported)
                if given is None and not exact:
                    _check_remembers(program, imported)
                    _check_same(program, imported)
                    check_rivals(program, imported)
                    if whole := _as_clip_instead(program, imported, keep_states):
                        pairing.check_starts(program)
                        _check_full(program, whole)
                        return whole
                return imported
    if contradicted := next((f.error for f in failures if isinstance(f.error, states.NotReturned)), None):
        raise Refusal(contradicted.error(), contradicted.advice)
    no_clip = exact or given or program.time_axis is not None or are_returned(program)
    clip = None if no_clip else as_clip(program)
    if clip is not None:
        for reading in clip_readings(clip):
            program.effort.check()
            try:
                read = proven(clip, build(clip, [], reading, True, keep_states))
            except Failure as failure:
                failures.append(failure.kept())
            else:
                if given is None:
                    pairing.check_starts(program)
                    _check_memoryless(program, failures)
                _check_full(program, read)
                return read
    if not failures:
        raise Refusal(UnsupportedError(_no_time(program)), [] if exact else sizes_to_fix(program))
    # Of those that got equally far the first; where all sizes are known, the clip, which was tried last.
    furthest = max(reversed(failures) if clip is not None else failures, key=_worth)
    error = _public(furthest.error)
    if program.time_axis is not None and isinstance(error, ShapeError) and all(map(_of_features, failures)):
        error = UnsupportedError(f"{_no_time(program)}: {error}")
    if isinstance(error, FormatError) and furthest.walk is not None:
        Driver(*furthest.walk).run()  # once more, for what it was raised from: a bug keeps its traceback
    if exact:
        raise error
    advice = [list(stage) for stage in furthest.error.advice] if isinstance(furthest.error, Retry) else []
    if isinstance(furthest.error, Forgets):
        advice += time_to_open(program)
    binds = to_bind(program, furthest.walk[0], furthest.position) if furthest.walk is not None else []
    if clip is None:
        first, *rest = sizes_to_fix(program) or [[]]
        advice += [binds + first, *rest]
    else:
        advice.append(binds)
    raise Refusal(error, advice) if advice else error


def _called_time(program: Program, reading: Reading) -> list[tuple[Port, int, int]]:
    """(input, axis of time, batch) where the file calls the batch time and not the other axis."""
    axes = [(port, *reading.axes[port.name]) for port in program.inputs]
    return [
        (port, time, batch)
        for port, time, batch in axes
        if time is not None and batch is not None and is_time(port.dims[batch]) and not is_time(port.dims[time])
    ]


def _as_clip_instead(program: Program, imported: Imported, keep_states: bool) -> Imported | None:
    """A file with a recurrence as a clip, where it was read along an axis of a fixed size that nothing goes along: what
    the recurrence walks may be time, and that may be features.
    """
    reading = imported.reading
    if program.time_axis is not None or reading.carried or reading.clip or not program.is_recurrent:
        return None
    times = [(port, reading.axes[port.name][0]) for port in program.inputs]
    if any(time is not None and not isinstance(port.dims[time], int) for port, time in times):
        return None
    clip = as_clip(program)
    if imported.proof.walks or imported.looks_back() or clip is None:
        return None
    for one in clip_readings(clip):
        program.effort.check()
        with suppress(Failure):
            return proven(clip, build(clip, [], one, True, keep_states))
    return None


def _check_called(program: Program, imported: Imported, failures: list[Failure]) -> None:
    """Refuse a batch that the file calls time, beside an axis that is walked, which may be one inside of a frame; and
    time that it calls a batch. Where nothing is walked, with what is wrong with the axes as they are called.
    """
    if program.time_axis is not None or imported.reading.carried:
        return
    if not imported.proof.walks:
        for port, _, time in _called_time(program, imported.reading):
            named = [f for f in failures if f.walk is not None and f.walk[1].axes.get(port.name, (None,))[0] == time]
            if named:
                raise Refusal(_public(max(named, key=_worth).error), sizes_to_fix(program))
        return
    for port, time, batch in _called_time(program, imported.reading):
        error = UnsupportedError(
            f"axis {batch} of {port.name!r} is called {port.dims[batch]!r}, and axis {time} is what the model walks"
        )
        raise Refusal(error, [[as_time({port.name: axis}) for axis in (batch, time)]])
    for port in program.inputs:
        walked = imported.reading.axes[port.name][0]
        if walked is not None and is_batch(port.dims[walked]):
            error = UnsupportedError(
                f"axis {walked} of {port.name!r} is called {port.dims[walked]!r}, and {imported.proof.walks[0].where} "
                "walks it, as a layer does that was not told where the batch is (of torch, batch_first)"
            )
            raise Refusal(error, [[as_time({port.name: walked})]])


def _check_full(program: Program, imported: Imported) -> None:
    """Refuse lengths of sequences, which a stream knows, along an axis that is not time as the file was read."""
    for name, length in program.full_lengths.items():
        time, _ = imported.reading.axes.get(length.of, (None, None))
        if imported.reading.clip or time != length.axis:
            error = UnsupportedError(
                f"input {name!r} says how long sequences along axis {length.axis} of {length.of!r} are, which is not "
                "time as the file was read"
            )
            raise Refusal(error, [[Advice("where it stays the same, bind it", fixed={name: length.shape})]])


def _check_same(program: Program, imported: Imported) -> None:
    """Refuse an input that is the same at all timesteps, and may be a state beside others."""
    returned = {pair.input: pair.output for pair in imported.pairs if pair.output}
    if imported.reading.carried or imported.reading.clip or not returned:
        return
    axes = imported.reading.axes
    same = [p.name for p in program.inputs if p.name not in returned and axes.get(p.name, (0,))[0] is None]
    if same:
        pairing.check_same(program, same, returned, imported.timeless())


def _check_remembers(program: Program, imported: Imported) -> None:
    """Refuse what remembers nothing, where a state may have been taken for a frame, or a frame for a state."""
    if imported.pairs and not imported.graph.inputs:
        raise UnsupportedError(
            f"no frame comes in: {[pair.input for pair in imported.pairs]} are states as they were read, and nothing "
            "else changes what comes out; a stream takes a frame in each step"
        )
    returned = {pair.input: pair.output for pair in imported.pairs if pair.output}
    if returned and not imported.looks_back() and pairing.are_all_named(program):
        error = UnsupportedError(f"as names pair the states, {returned}, what else comes out needs none of them")
        raise Refusal(error, [pairing.alone({name: [output] for name, output in returned.items()})])
    told = imported.pairs or imported.proof.walks
    if not (told or imported.looks_back() or imported.graph.whole_sequence_nodes()):
        pairing.check_memoryless(program)


def _check_memoryless(program: Program, failures: list[Failure]) -> None:
    """As `pairing.check_memoryless`; of a step whose states were told, what was refused of it is said."""
    try:
        pairing.check_memoryless(program)
    except Refusal as refusal:
        steps = [f for f in failures if f.walk is not None and f.walk[1].carried]
        if steps:
            refusal.error = _public(max(steps, key=_worth).error)
        raise


def _is_wide(program: Program, reading: Reading) -> bool:
    """Whether several items are the batch although an axis before it, of size 1, may be that: they may be rows of a
    frame.
    """
    for port in program.inputs:
        time, batch = reading.axes[port.name]
        several = batch is not None and port.dims[batch] != 1 and batch not in port.dynamic
        if several and any(n == 1 and axis != time for axis, n in enumerate(port.dims[:batch])):
            return True
    return False


def _times(reading: Reading) -> dict[str, int | None]:
    return {name: time for name, (time, _) in reading.axes.items()}


def _public(error: Error | Retry) -> Error:
    """The error that a user is told."""
    return error.error() if isinstance(error, Retry) else error


def _of_features(failure: Failure) -> bool:
    """Whether time was the last axis of an input, which is of a fixed size."""
    if failure.walk is None:
        return False
    program, reading = failure.walk
    return any(
        reading.axes[p.name][0] == len(p.dims) - 1 and isinstance(p.dims[-1], int)
        for p in program.inputs
        if len(p.dims) > 2
    )


def _worth(failure: Failure) -> tuple[bool, bool, int, bool]:
    """How much it tells: not of features that were read as time, not that rounds of a loop are no timesteps, how far
    the walk got, and whether by more than axes that were read wrongly.
    """
    error = failure.error
    told = isinstance(error, UnsupportedError) or (isinstance(error, Retry) and error.public is UnsupportedError)
    is_told = told and not isinstance(error, Mixed)
    return not _of_features(failure), not isinstance(error, OtherRounds), failure.position, is_told


def _no_time(program: Program) -> str:
    dims = {p.name: p.dims for p in [*program.inputs, *program.state_inputs]}
    if program.time_axis is not None:
        return f"time_axis={program.time_axis} does not go with the inputs; their shapes are {dims}"
    return f"no axis of the inputs can be time and batch; their shapes are {dims}"


def _variants(
    program: Program, given: Mapping[str, str] | None, exact: bool
) -> Iterator[tuple[bool, Program, list[Pair]]]:
    """(is one step with carried states, program, pairs known beforehand), likely ones first."""
    evidence = program.caller.evidence
    pairs = [Pair(name, output, evidence.get(name, "as the caller says")) for name, output in (given or {}).items()]
    if exact:
        yield False, program, pairs
        return
    # Where no axis is open except a batch, states that come and go mean that the model is one step.
    one_step = all(len(p.dynamic) <= 1 and _could_be_step(p) for p in program.inputs)
    if program.is_recurrent:  # cells walk an open axis that is called time
        one_step = one_step and not any(is_time(n) for p in program.inputs for n in p.dims)
    if program.state_inputs:  # which share the batch with the inputs, and have no time
        shared = {p.dims[a] for p in program.state_inputs for a in p.dynamic}
        mine = {p.dims[a] for p in program.inputs for a in p.dynamic}
        one_step = one_step and (mine <= shared or "" in shared)
    if one_step and given:
        yield True, program, pairs
    elif one_step and given is None:
        candidates = pairing.candidates(program)
        if candidates:
            yield True, pairing.with_states(program, [p.input for p in candidates]), candidates
            return  # as a sequence it would take a state for something else
        elif program.state_inputs:
            yield True, program, pairs
    elif one_step and program.state_inputs:
        yield True, program, pairs
    told = pairing.in_sequences(program) if given is None and not one_step else []
    if told:
        program = pairing.with_states(program, [p.input for p in told])
        yield False, program, told
        yield True, program, told
        return
    yield False, program, pairs
    if not one_step and (given or program.state_inputs):
        yield True, program, pairs


def _could_be_step(port: Port) -> bool:
    return len(port.dims) < 3 or any(n == 1 or isinstance(n, str) for n in port.dims)


def _search(
    program: Program,
    pairs: list[Pair],
    carried: bool,
    inside: bool,
    exact: bool,
    keep_states: bool,
    failures: _Failures,
) -> Imported | None:
    n_tried = 0
    tried: dict[int, Reading] = {}  # one of each number of timesteps
    met: dict[int, bool] = {}  # number of timesteps -> whether numbers of the file are as large
    n_failed = len(failures)
    vain: list[Imported] = []  # under which a recurrence goes along nothing, until another walks it
    for sizes in sizes_to_try(program, carried, exact):
        short = any(f.longer or isinstance(f.error, TooShort) for f in failures[n_failed:])
        if sizes.n_steps in MORE_STEPS and failures.were_too_many(program):
            continue
        if sizes.n_steps in MORE_STEPS and not short:
            most = max(tried, default=0)
            if most not in met:
                met[most] = _meet_numbers(program, tried)
            if not met[most]:
                continue
        by_rank: dict[int, list[Reading]] = {}
        for reading in readings(program, sizes, carried, exact):
            named = sum(a is not None for p in program.inputs for a in reading.axes[p.name])
            by_rank.setdefault(named, []).append(reading)
        for rank in sorted(by_rank, reverse=True):
            fitting: list[Imported] = []
            stretched: list[Reading] = []
            failed: list[tuple[int, Failure]] = []
            worth = [r for r in by_rank[rank] if not inside or _may_be_inside(program, r, carried, exact)]
            tried.update({reading.n_steps: reading for reading in worth})
            ends_early = any(_is_one_step(program, reading) for reading in worth)
            if n_tried + len(worth) > limits.MAX_READINGS and not ends_early:
                if vain:
                    return _only(program, vain)
                raise _too_many(program, exact)
            # Where several fit, names choose: what they say comes first, and others are held against that.
            for number, reading in sorted(enumerate(worth), key=lambda one: bool(_called_time(program, one[1]))):
                n_tried += 1
                if n_tried > limits.MAX_READINGS:
                    raise _too_many(program, exact)
                if (inside and failures.is_settled(program, reading)) or failures.was_too_much(program, reading):
                    continue
                program.effort.check()
                tell(f"finding time, batch and states: reading {n_tried}")
                chosen = fitting[0] if fitting and not _called_time(program, fitting[0].reading) else None
                try:
                    fitting.append(attempt(program, pairs, replace(reading, inside=inside), exact, keep_states, chosen))
                    if _is_one_step(program, reading):
                        return fitting[0]  # whatever its axes of size 1 are called
                except Failure as failure:
                    failed.append((number, failure.kept()))
                    if failure.wants_inside and not inside and _is_one_step(program, reading):
                        failures.extend(failure for _, failure in failed)
                        return None
                    if not (inside or failure.wants_inside or failure.frames):
                        failures.settled.append((program, reading))
                    if failure.frames and not exact:
                        stretched.append(replace(reading, inside=inside, frames=failure.frames))
            failures.extend(failure for _, failure in sorted(failed, key=lambda one: one[0]))
            for reading in [] if fitting else stretched:
                program.effort.check()
                try:
                    fitting.append(attempt(program, pairs, reading, exact, keep_states))
                except Failure as failure:
                    if failure.frames > reading.frames:
                        stretched.append(replace(reading, frames=failure.frames))
            if fitting and not (carried or exact) and _is_vain(program, fitting):
                vain = vain or fitting
            elif fitting:
                return _only(program, fitting)
    return _only(program, vain) if vain else None


def _is_vain(program: Program, fitting: list[Imported]) -> bool:
    """Whether there is a recurrence, and nothing walks it or remembers anything, and nobody has said what is time."""
    told = program.time_axis is not None or not program.is_recurrent
    return not told and not any(f.proof.walks or f.looks_back() for f in fitting)


def _may_be_inside(program: Program, reading: Reading, carried: bool, exact: bool) -> bool:
    """Whether a reading is worth a try under which recurrent nodes walk axes of a frame."""
    if reading.fixed and reading.n_steps == 1 and not (carried or exact):
        return False  # all of it is one frame: a clip, which is read as such
    alone = reading.n_items == 1 and _has_open_batch(program, reading)
    return not alone or (reading.n_steps == 1 and carried)  # nothing tells an axis that a cell walks from a batch of 1


def _too_many(program: Program, exact: bool) -> UnsupportedError | Refusal:
    names = [port.name for port in program.inputs]
    error = UnsupportedError(f"more than {limits.MAX_READINGS} ways to read the axes of {names}")
    return error if exact else Refusal(error, sizes_to_fix(program))


def _meet_numbers(program: Program, tried: Mapping[int, Reading]) -> bool:
    """Whether a number of the file is as large as the most timesteps that were tried: a delay would not fit in."""
    if not tried:
        return False
    n_steps = max(tried)
    return max(lengths_met(program, tried[n_steps]), default=0) >= n_steps - 1


def _is_one_step(program: Program, reading: Reading) -> bool:
    """Whether all sizes are fixed, those of time and batch to 1, and states are carried: no other reading says more."""
    axes = [(p, axis) for p in [*program.inputs, *program.state_inputs] for axis in reading.axes[p.name]]
    return reading.carried and reading.fixed and all(axis is None or p.dims[axis] == 1 for p, axis in axes)


def _has_open_batch(program: Program, reading: Reading) -> bool:
    return any(reading.axes[p.name][1] in p.dynamic for p in program.inputs)


def _only(program: Program, fitting: list[Imported]) -> Imported:
    streaming = [f for f in fitting if not f.graph.whole_sequence_nodes()]
    if streaming and fitting[0].reading.fixed:
        fitting = streaming  # all sizes are the file's, so all compute the same; some go on behind the last timestep
    if program.time_axis is None:  # a recurrence that goes along another axis is inside of a frame, or gone
        fitting = [f for f in fitting if f.proof.walks] or fitting
    narrow = [_times(f.reading) for f in fitting if not _is_wide(program, f.reading)]
    fitting = [f for f in fitting if not (_is_wide(program, f.reading) and _times(f.reading) in narrow)]
    fitting = sorted(fitting, key=lambda f: bool(_called_time(program, f.reading)))  # where all fit, names choose
    for other in fitting[1:]:
        if program.is_recurrent and _differ_in_one(program, fitting[0].reading, other.reading):
            continue
        if difference(fitting[0].graph, other.graph):
            first, second = ({n: a for n, a in f.reading.axes.items() if n in f.inputs} for f in (fitting[0], other))
            times = [{name: time for name, (time, _) in axes.items()} for axes in (first, second)]
            error = UnsupportedError(f"cannot tell time from batch: (time, batch) axes {first} and {second} both fit")
            advice = [[as_time(axes) for axes in times]] if times[0] != times[1] else sizes_to_fix(program)
            raise Refusal(error, advice)
    return fitting[0]


def _differ_in_one(program: Program, a: Reading, b: Reading) -> bool:
    """Whether they differ in which axis of size 1 is the batch, or in a step time, and in nothing else: both are what
    the file says.
    """
    return all(
        mine == theirs
        or ((kind == 1 or a.carried) and all(axis is None or p.dims[axis] == 1 for axis in (mine, theirs)))
        for p in program.inputs
        for kind, (mine, theirs) in enumerate(zip(a.axes[p.name], b.axes[p.name], strict=True))
    )


__all__ = ["Imported", "import_program"]
