# SPDX-License-Identifier: MIT
"""Import ONNX models: sequence models, and single steps that carry their states as inputs and outputs.

The way of a file: `read` (bytes to a checked model, within `limits`), `program` (constants folded, inputs sorted by
use), `search` (which axis is time), `walk` (node by node: movement ops on `codes`, the others by `operators`),
`states`, `tidy`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from ..._text import cause, shown
from ...errors import Error, FormatError, ShapeError, UnsupportedError
from ...ir.graph import Graph
from ...ir.most import bound_of
from ...ir.ops import OPS
from ...ir.ops.cells import Cell
from ...weights.in_memory import as_path
from .._memory import remembers, warn
from .._rates import bound_rate, stated_rate
from .advice import SIZES, Advice, Caller, Refusal, helpful
from .caches import Cache, check_capacity, check_steps, growing, with_rings
from .file.definitions import in_onnx
from .file.floats import in_float32
from .file.functions import expanded
from .file.old_scans import newer_scans
from .file.read import carried_on, node_types, read_model, require_onnx
from .search import Imported, import_program
from .search.attempt import Failure, proven
from .search.baked_sizes import keeps_time, longer, of_some_timesteps, wired_shapes
from .search.calls import check_calls
from .search.possible import Possible
from .search.roles import brought, forgets, unread
from .simplify.budget import Effort
from .simplify.ports import ID_TYPES, dims_of, dtype_of
from .simplify.program import Program, from_the_end, make_program

__all__ = ["import_call", "import_model", "load", "prepared"]


#: other states that are tried, the walks of each, and the sigmoids of files that are worth it
_OTHERS, _WALKS, _MOST_GATES = 6, 4, 64
#: what part of the work of a load may go into advice, by what it is divided
_ADVICE_SHARE = 4


@dataclass(frozen=True)
class _Said:
    """What the caller says of inputs; see `load`."""

    states: Mapping[str, str] | None
    starts: dict[str, Any]
    time_axis: int | Mapping[str, int | None] | None
    caller: Caller
    max_frames: int | None = None


def load(
    path: str | os.PathLike[str],
    caller: Caller | None = None,
    *,
    fixed: Mapping[str, Any] | None = None,
    shapes: Mapping[str, Iterable[int | None]] | None = None,
    states: Mapping[str, str] | None = None,
    starts: Mapping[str, Any] | None = None,
    time_axis: int | Mapping[str, int | None] | None = None,
    max_frames: int | None = None,
    capacity: int | None = None,
) -> Graph:
    """Read an .onnx file as a Graph of frames.

    Time is found by following the axes of every tensor through the graph. The batch is 1: items of a batch never meet.
    Inputs that are the initial state of an RNN, GRU or LSTM become states; an output that returns such a state's
    final value is left out (read it from the stream's state), unless the model has no other output. In a model of one
    step, an input and an output of equal shape, of which the second depends on the first, become a state as well where
    their names say so (h_in and h_out, past.0 and present.0, state and stateN ..., or an input called hidden or cache
    of which one output alone has the shape), or elements are moved from the one to the other.
    An input that is only used as sequence_lens is left out too: the length is given when the model is run. So is one of
    which a file makes masks, means or the last row of sequences: it is the number of timesteps (those so far).
    `graph.notes` list what was found.

    An input without a time axis, beside others that have one (a knob, a speaker), is a frame of every timestep, so that
    it may change in a stream; `fixed` binds it for good.

    Booleans and integers of 8 or 16 bits, as inputs and outputs, are float32 frames that hold these numbers. Ids that
    pick rows of a table are 0 and above: one below 0, which in ONNX counts from the end, is refused when it comes.

    Args:
        path: the file; external data may lie beside it or below.
        caller: who is told what may help; one of `undertow.load` where not given.
        fixed: input name -> array: bind inputs as constants.
        shapes: input name -> shape: replace the declared shape, to fix sizes that the file leaves open; None for
            time, or what else stays open.
        states: input name -> output name: pairs of tensors that carry a state, where they are not recognised. An
            empty dict says that there are none.
        starts: state input -> array of its shape, for one stream: what a sequence starts with; zeros where not given.

        time_axis: the axis of time of every input that has one; or input name -> axis, None for an input without.
            Where it is not told by what walks it.
        max_frames: frames of a sequence, at most, where the model remembers all of them.
        capacity: rows of caches that grow by one in each step, at most.

    Warns:
        ModelWarning: the file holds a recurrence that an exporter cut off behind its first step, that starts anew in
            each frame, or that starts anew in each call while other states go on; or it rounds to 8 bits by the range
            of a whole sequence, which is not done.

    Raises:
        FormatError: the file is damaged, or its external data lies where it must not.
        UnsupportedError: something is not computed exactly; the message names node, attribute and value.
        ShapeError: shapes that do not fit together, in the model or in an argument.
        ImportError: the onnx package is missing.
    """
    model = read_model(path)
    try:
        graph = import_model(
            model,
            caller,
            fixed=fixed,
            shapes=shapes,
            states=states,
            starts=starts,
            time_axis=time_axis,
            max_frames=max_frames,
            capacity=capacity,
        )
    except Error as error:
        error.args = (f"{shown(as_path(path).name)}: {error}",)
        raise
    if not graph.name.strip() or graph.name in ("main_graph", "torch_jit", "torch-jit-export"):
        graph.name = as_path(path).stem
    return graph


def import_model(
    model: Any,
    caller: Caller | None = None,
    *,
    fixed: Mapping[str, Any] | None = None,
    shapes: Mapping[str, Iterable[int | None]] | None = None,
    states: Mapping[str, str] | None = None,
    starts: Mapping[str, Any] | None = None,
    time_axis: int | Mapping[str, int | None] | None = None,
    max_frames: int | None = None,
    capacity: int | None = None,
) -> Graph:
    """A checked `onnx.ModelProto`, of whatever file, as a Graph of frames; arguments and errors are those of `load`."""
    said = _Said(states, dict(starts or {}), time_axis, caller or Caller(), max_frames)
    try:
        rate, widened = _sample_rate(model, fixed or {}), in_float32(model)
        held, carried = node_types(model), carried_on(model)
        model = expanded(in_onnx(newer_scans(model)))
        caches, given = growing(model, states), (fixed or {}, shapes or {}, said, carried)
        graph = _Load(model, *given, caches).graph() if capacity is None else _ringed(model, caches, capacity, *given)
    except Error:
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        # The checker lets odd things pass, and a damaged file must not end in an error that means something else.
        raise FormatError(f"damaged, or malformed: {error}") from cause(error)
    if max_frames is not None and bound_of(graph.states)[0] < 0:
        raise UnsupportedError(f"max_frames={max_frames}: nothing in the file grows with the frames of a sequence")
    graph.origin.contents = held
    graph.sample_rate = rate
    if widened:
        graph.note(widened)
    return graph


def prepared(model: Any) -> Any:
    """A copy of a checked `onnx.ModelProto` as it is read, in float32 and ONNX's own operators."""
    copied = type(model)()
    copied.CopyFrom(model)
    in_float32(copied)
    return expanded(in_onnx(newer_scans(copied)))


def import_call(
    model: Any,
    fixed: Mapping[str, Any] | None = None,
    shapes: Mapping[str, Iterable[int | None]] | None = None,
    *,
    exact: bool = False,
) -> Imported:
    """What one call of a `prepared` model computes, all of its outputs from all of its inputs: those that return states
    stay outputs. The Graph has not been through its passes.

    Args:
        fixed, shapes: as `load`.
        exact: the sizes of all inputs are given, and what holds for these alone will do.

    Raises:
        as `load`.
    """
    try:
        program = make_program(model, fixed, shapes)
        for one in (program, program.rolled):
            if one is not None:
                one.is_call = True
        if exact:
            imported = proven(program, import_program(program, exact=True, keep_states=True))
        else:
            imported = _import(program, _Said(None, {}, None, Caller()), keep_states=True)
        imported.from_the_end = from_the_end(program)
        return imported
    except Refusal as refusal:
        raise refusal.error from None
    except Failure as failure:
        raise UnsupportedError(f"{failure.error}") from None
    except Error:
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise FormatError(f"damaged, or malformed: {error}") from cause(error)


def _sample_rate(model: Any, fixed: Mapping[str, Any]) -> int | None:
    """Samples per second of the sound that a model hears: what an input of that name is bound to, or else a note."""
    bound = {rate for name, value in fixed.items() if (rate := bound_rate(name, value)) is not None}
    if bound:
        return bound.pop() if len(bound) == 1 else None
    return stated_rate((entry.key, entry.value) for entry in model.metadata_props)


class _Load:
    """A checked model, what the caller says of it, and what it is with more options."""

    def __init__(
        self,
        model: Any,
        fixed: Mapping[str, Any],
        shapes: Mapping[str, Iterable[int | None]],
        said: _Said,
        carried: Mapping[str, str],
        caches: Sequence[Cache] = (),
    ) -> None:
        self.model, self.fixed, self.shapes, self.said = model, fixed, shapes, said
        self.carried, self.caches = carried, list(caches)
        #: input -> output of the states of what was imported
        self.pairs: dict[str, str] = {}
        #: whether the file sorts its batch by lengths, of which one item is taken
        self.sorts = False
        try:
            self.program = self._program(fixed, shapes)
        except UnsupportedError as error:
            one = self._of_one_item()
            if one is None:
                raise
            if not self._sorts_lengths():
                error.args = (f"{error}; {said.caller.told(one, SIZES[0])}",)
                raise
            self.sorts, self.shapes = True, one.options(SIZES[0])["shapes"]
            self.program = self._program(fixed, self.shapes)
        _check_axes(self.program, said.time_axis)
        _check_starts(self.program, said.starts)

    def _program(
        self,
        fixed: Mapping[str, Any],
        shapes: Mapping[str, Iterable[int | None]],
        effort: Effort | None = None,
        said: _Said | None = None,
    ) -> Program:
        states = (said or self.said).states
        program = make_program(self.model, fixed, shapes, effort, counts=True, states=states)
        for one in (program, program.rolled):
            if one is not None:
                one.carried_on = self.carried
        return program

    def _of_one_item(self) -> Advice | None:
        """Sizes with which a file loads that sorts the items of its batch: of one there is nothing to sort."""
        inputs = {value.name: dims_of(value) for value in self.model.graph.input}
        if self.shapes or not any(node.op_type == "TopK" for node in self.model.graph.node):
            return None
        sized = {n: [1, *(d if isinstance(d, int) else None for d in dims[1:])] for n, dims in inputs.items() if dims}
        try:
            _Load(self.model, self.fixed, sized, self.said, self.carried).graph()
        except (Error, Refusal):
            return None
        return Advice("of one item at a time it loads", shapes=sized)

    def _sorts_lengths(self) -> bool:
        """Whether all that the file sorts is an input of integers, as pack_padded_sequence does with lengths."""
        nodes = self.model.graph.node
        integers = {v.name for v in self.model.graph.input if dtype_of(require_onnx(), v) in ID_TYPES}
        for node in nodes:  # in order
            if node.op_type in ("Cast", "Identity") and node.input[0] in integers:
                integers.update(node.output)
        return all(node.input[0] in integers for node in nodes if node.op_type == "TopK")

    def graph(self) -> Graph:
        """What the model is; with sizes that it has fixed though it calls them open, where it is nothing without.

        Raises:
            Error: with the advice that helps.
        """
        try:
            return self._warned(_import(self.program, self.said))
        except (Error, Refusal) as error:
            refusal = error
        wired = self._wired()
        if isinstance(wired, Imported):
            return self._warned(wired)
        told = refusal.error if isinstance(refusal, Refusal) else refusal
        lines: list[str] = []
        helps: list[Advice] = []
        if wired is not None:
            lines, helps = [self.said.caller.told(wired, SIZES[0])], [wired]
        elif isinstance(refusal, Refusal):
            lines, helps = self._helping(self._as_cells_say(refusal.advice), self._effort(), lambda _: True)
        words = str(told)
        if warned := unread(self.program, None):  # whose other messages only follow from it
            words = f"{warned.text}; as the file is, {words}"
        told.options = [advice.options() for advice in helps]
        if self.caches and (advised := self._with_capacity()):
            lines, told.options = [advised], [{"capacity": "N"}]
        told.args = ("; ".join([words, *filter(None, lines)]),)
        raise told

    def _with_capacity(self) -> str:
        """What to say of caches that grow, where a capacity helps."""
        with suppress(Error, Refusal):
            _ringed(self.model, self.caches, SIZES[0], self.fixed, self.shapes, self.said, self.carried)
            name = self.caches[0].input
            return f"{name!r} is a cache that grows: load with capacity=N, with your number of steps for N"
        return ""

    def _warned(self, imported: Imported) -> Graph:
        """The graph of what was imported, held against what cells say; warns of what it does not remember, with what
        helps.
        """
        self.pairs = {pair.input: pair.output for pair in imported.pairs if pair.output}
        if self.said.states is None:
            self._check_cells(imported)
        meant = bool(self.shapes) or self.said.time_axis is not None
        warned = forgets(self.program, imported, meant)
        if warned is None and self.said.states is None:
            warned = brought(self.program, imported)
        if warned is not None:
            effort = self._effort()
            effort.used = self._used()  # a model that loads need not wait long for what is said of it
            clip = [] if warned.clip is None else [[warned.clip]]
            lines = self._helping(clip, effort, lambda other: other.is_clip(self.program))[0]
            lines += self._helping(warned.advice, effort, self._remembers)[0]
            lines += self._helping([] if warned.meant is None else [[warned.meant]], effort, lambda _: True)[0]
            warn(imported.graph, self.said.caller.words("; ".join([warned.text, *lines])))
        if self.sorts:
            imported.graph.note(
                "batch: one item; the file sorts the items of a batch by their lengths, of which one is sorted"
            )
        if imported.unrounded:
            warn(imported.graph, _unrounded(imported.unrounded))
        return imported.graph

    def _check_cells(self, imported: Imported) -> None:
        """Hold states that names tell, or that there are none, against the cells that other ones make of the file.

        Raises:
            UnsupportedError: others make LSTMs or GRUs of it, and these do not; with the line for either.
        """
        told = {pair.input: pair.output for pair in imported.pairs if pair.output}
        gates = sum(node.op == "Sigmoid" for node in self.program.nodes)
        if not gates or gates > _MOST_GATES or (told and not imported.reading.carried):
            return
        n_cells, effort = _gated(imported), self._effort()
        for way in _other_ways(self.program, imported, told):
            effort.max_walks = effort.n_walks + _WALKS
            with suppress(Error, Refusal):
                if _gated(self._again({"states": way}, effort)) > n_cells:
                    break
        else:
            return
        names = f"names say that the states are {told}" if told else "names say that there are none"
        error = UnsupportedError(
            f"cannot tell which inputs are states: {names}, and with others the file has LSTMs or GRUs"
        )
        asked = [
            Advice("say it", " as its cells say", states=way),
            Advice("say it", " as the names do" if told else " if there are none", states=told),
        ]
        lines = [self.said.caller.told(one, SIZES[0]) for one in asked]
        error.args = ("; ".join([str(error), *lines]),)
        raise error

    def _remembers(self, imported: Imported) -> bool:
        return remembers(imported.graph) and not forgets(self.program, imported, False)

    def _wired(self) -> Imported | Advice | None:
        """What the model is with sizes that its outputs are declared for; or these, where the axis is not time."""
        declared: Advice | None = None
        effort = Effort(self.program.effort.n_bytes)
        for shapes in wired_shapes(self.program):
            try:
                imported = self._again({"shapes": shapes}, effort)
            except (Error, Refusal):
                continue
            is_time, more = keeps_time(imported, self.program, shapes), longer(self.program, shapes)
            with suppress(Error, Refusal):
                other = self._again({"shapes": more}, effort)
                if not is_time or keeps_time(other, self.program, more):
                    continue  # so the size is free, and an output has it by chance, or only by what torch declares
            if is_time:
                imported.graph.note(of_some_timesteps(imported, self.program, shapes))
                return imported
            declared = declared or Advice("it loads", ", which is what its outputs are declared for", shapes=shapes)
        return declared

    def _again(self, options: dict[str, Any], effort: Effort) -> Imported:
        """What the model is with more options."""
        fixed, shapes = {**self.fixed, **options.pop("fixed", {})}, options.pop("shapes", {})
        said = replace(self.said, **options)
        program = self._program(fixed, {**self.shapes, **shapes}, effort, said)
        imported = _import(program, said)
        if not imported.graph.inputs:
            raise UnsupportedError("no frame comes in")
        return imported

    def _as_cells_say(self, advice: Sequence[Sequence[Advice]]) -> list[list[Advice]]:
        """Advice on states in an order in which those come first under which more of the file is a cell."""
        stages, effort = [list(stage) for stage in advice], self._effort()
        for stage in stages[:1]:
            able = [one for one in stage if one.states and not one.names]
            cells: dict[int, int] = {}
            gated: dict[int, int] = {}
            for one in able if len({str(one.given) for one in able}) > 1 else []:
                effort.max_walks = effort.n_walks + one.walks
                with suppress(Error, Refusal):
                    imported = self._again(one.options(SIZES[0]), effort)
                    nodes = imported.graph.nodes
                    cells[id(one)] = sum(isinstance(OPS[node.op], Cell) and bool(node.states) for node in nodes)
                    gated[id(one)] = _gated(imported)
            most = max(cells.values(), default=0)
            if most > min(cells.values(), default=0):
                flags = {port.name for port in self.program.inputs if port.dtype == "bool"}
                stage.sort(key=lambda one: (-cells.get(id(one), 0), -len(flags & (one.states or {}).keys())))
                best = (stage[0].states or {}).keys()  # others of the same inputs cross what the cells hold
                stage[1:] = [one for one in stage[1:] if not one.states or one.states.keys() != best]
                if gated.get(id(stage[0]), 0) > min(gated.values()):  # any sum under a tanh may be taken for an RNN
                    stage[0] = replace(stage[0], after=f"{stage[0].after}, as its cells say")
        return stages

    def _effort(self) -> Effort:
        """What may go into advice."""
        return Effort(self.program.effort.n_bytes, _ADVICE_SHARE)

    def _used(self) -> int:
        """The work that it took to load the model."""
        return sum(one.effort.used for one in (self.program, self.program.rolled) if one is not None)

    def _helping(
        self, advice: Sequence[Sequence[Advice]], effort: Effort, helps: Callable[[Imported], bool]
    ) -> tuple[list[str], list[Advice]]:
        """The advice with which a load ends in what helps, in the caller's words, and itself."""

        def load(options: dict[str, Any], walks: int) -> None:
            if effort.used > effort.work:
                raise UnsupportedError("advice has taken more work than it may")
            effort.max_walks = effort.n_walks + walks
            if not helps(self._again(options, effort)):
                raise UnsupportedError("this does not help")

        return helpful(advice, load, self.said.caller)


def _ringed(
    model: Any,
    caches: list[Cache],
    capacity: int,
    fixed: Mapping[str, Any],
    shapes: Mapping[str, Iterable[int | None]],
    said: _Said,
    carried: Mapping[str, str],
) -> Graph:
    """The graph of a model whose caches grow, as rings of `capacity` rows."""
    if not caches:
        raise UnsupportedError(f"capacity={capacity}: no input of the file is a cache that grows")
    check_capacity(capacity)
    program = make_program(model, fixed, shapes)
    ringed, own = with_rings(model, program, caches, capacity)
    ways = [said] if said.states is None else [replace(said, states={**said.states, **own})]
    known = {tensor.name for tensor in model.graph.initializer} | own.keys() | fixed.keys()
    if said.states is None and sum(value.name not in known for value in model.graph.input) == 1:
        ways.append(replace(said, states=own))  # for what is left must be the frames
    refused: Error | None = None
    for way in ways:
        try:
            load = _Load(ringed, fixed, shapes, way, carried)
            graph = load.graph()
        except Error as error:
            refused = refused or error
            continue
        if own.items() <= load.pairs.items():
            check_steps(program, caches, capacity, graph, load.pairs)
            return graph
    raise refused or UnsupportedError(f"inputs {list(own)} were not found to be states")


def _gated(imported: Imported) -> int:
    """How many LSTMs and GRUs go on from frame to frame."""
    return sum(node.op in ("gru", "lstm") and bool(node.states) for node in imported.graph.nodes)


def _other_ways(program: Program, imported: Imported, told: dict[str, str]) -> list[dict[str, str]]:
    """Other states than those that are told: two of one shape, of which neither became a cell's, the other way round,
    or an input of that shape in place of one; where there are none, each that an output could return.
    """
    if not told:
        no_state = not (remembers(imported.graph) or program.state_inputs)
        fits = Possible(program).fits if no_state else {}
        return [{name: output} for name, outputs in fits.items() for output in outputs][:_OTHERS]
    dims = {port.name: port.dims for port in program.inputs if f"{port.name}.value" in imported.graph.states}
    pairs = [(a, b) for a, b in combinations(told, 2) if a in dims and b in dims and dims[a] == dims[b]]
    ways = [{**told, a: told[b], b: told[a]} for a, b in pairs]
    frames = [(port.name, port.dims) for port in program.inputs if port.name not in told and port.dtype == "float32"]
    for a in dims:
        ways += [
            {**{n: o for n, o in told.items() if n != a}, b: told[a]}
            for b, shape in frames
            if a in told and shape == dims[a]
        ]
    return ways[:_OTHERS]


def _check_axes(program: Program, given: int | Mapping[str, int | None] | None) -> None:
    """Refuse `time_axis=` that names what the model does not have."""
    ranks = {port.name: len(port.dims) for port in [*program.inputs, *program.state_inputs]}
    if isinstance(given, int):
        if not any(-rank <= given < rank for rank in ranks.values()):
            raise ShapeError(f"time_axis is {given}, but no input has that axis; numbers of axes: {ranks}")
        return
    for name, axis in (given or {}).items():
        if name not in ranks:
            raise ShapeError(f"time_axis: the model has no input {name!r}; inputs: {sorted(ranks)}")
        if axis is not None and not -ranks[name] <= axis < ranks[name]:
            raise ShapeError(f"time_axis: input {name!r} has {ranks[name]} axes, expected one of them, got {axis}")


def _check_starts(program: Program, given: Mapping[str, Any]) -> None:
    """Refuse `starts=` that does not fit the inputs; what is open is one stream's."""
    dims = {port.name: port.dims for port in [*program.inputs, *program.state_inputs]}
    for name, start in given.items():
        if name not in dims:
            raise ShapeError(f"starts: the model has no input {name!r}; inputs: {sorted(dims)}")
        shape = np.shape(start)
        if len(shape) != len(dims[name]) or any(
            n != m for n, m in zip(dims[name], shape, strict=True) if isinstance(n, int)
        ):
            raise ShapeError(f"starts: {name!r} was given shape {shape}, expected {tuple(dims[name])}")


def _import(program: Program, said: _Said, keep_states: bool = False) -> Imported:
    """What a program gives frame by frame, its loops rolled up; otherwise as it stands in the file.

    Of a file of fixed sizes, the loop walks one axis: where another was read as time, that leaves two.
    """
    for one in (program, program.rolled):
        if one is not None:
            one.starts, one.time_axis, one.caller = said.starts, said.time_axis, said.caller
            one.max_frames = said.max_frames
    refused: Error | Refusal | None = None
    if program.rolled is not None:
        try:
            imported = import_program(program.rolled, said.states, keep_states=keep_states)
        except (Error, Refusal) as error:
            refused = error
        else:
            if _has_time(imported) and not (_of_fixed_sizes(imported, said) and program.rolled.written_out()):
                return imported
    imported = import_program(program, said.states, keep_states=keep_states)
    if refused is not None and _has_time(imported) and _of_fixed_sizes(imported, said):
        raise refused
    check_calls(program, imported)
    return imported


def _unrounded(nodes: list[str]) -> str:
    more = f" and {len(nodes) - 2} more" if len(nodes) > 2 else ""
    return (
        f"{', '.join(nodes[:2])}{more}: in the file what goes into products of integers is rounded to 8 bits, by the "
        "largest number of the whole sequence, which a stream knows too late; here it is not rounded, so numbers "
        "differ from the file's by that rounding (its weights are as they are)"
    )


def _has_time(imported: Imported) -> bool:
    return any(time is not None for time, _ in imported.reading.axes.values())


def _of_fixed_sizes(imported: Imported, said: _Said) -> bool:
    """Whether nothing but what is done along it tells that an axis is time."""
    return imported.reading.fixed and said.time_axis is None and not imported.reading.carried
