# SPDX-License-Identifier: MIT
"""From a live PyTorch module to its Graph: what it remembers, the export, the reading of the file, and the check."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import passes
from ..._files import silenced
from ..._text import shown
from ...errors import Error, ShapeError, UnsupportedError
from ...ir.graph import Graph
from ...ir.ops import OPS, Cell
from .. import onnx
from .arguments import input_names, time_axes
from .check import Check, needed_of, numbers_of
from .exporters import Call, NotTheModule, first_graph
from .given import Given, copied, given_of, refuse_lazy
from .kept_states import Remembered, memories, stateless
from .outside import Outside
from .passed_states import IN_ONE_STRUCTURE, Pairs, has_groups, pairs_of, read_with
from .projected_lstm import written_out
from .structure import flat, has_dict, leaves
from .words import ModuleCaller


def graph_of(
    module: Any,
    example: Any,
    *,
    time_axis: int | str | Mapping[str, int | None] | None = "auto",
    fixed: Mapping[str, Any] | None = None,
    states: Mapping[str, str] | None = None,
    max_frames: int | None = None,
) -> Graph:
    """As `from_torch`, but the graph that it is made from."""
    try:
        import torch
    except ImportError as error:
        raise ImportError("undertow.from_torch needs torch, which is not installed") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about torch
        given = given_of(torch, module, example)
    refuse_lazy(torch, given)
    caller = ModuleCaller()
    with Outside(torch, given.module) as outside:
        try:
            return _graph_of(torch, given, outside, time_axis, fixed, states, caller, max_frames)
        except Error as error:
            if isinstance(error, ShapeError):
                caller.doubt_axis()
            if time_axis == "auto":
                caller.doubt_time()
            tried = caller.tried(
                lambda axes: _graph_of(torch, given, outside, axes, fixed, states, ModuleCaller(), max_frames)
            )
            error.args = ("; ".join([str(error), *tried]),)
            raise


def _graph_of(
    torch: Any, given: Given, outside: Outside, time_axis: int | str | Mapping[str, int | None] | None,
    fixed: Mapping[str, Any] | None, states: Mapping[str, str] | None, caller: ModuleCaller,
    max_frames: int | None,
) -> Graph:  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about torch
        inner = copied(given.module)
    arguments = given.arguments
    names = list(input_names(torch, given.module, arguments))
    tensors = list(leaves(arguments))
    for key, tensor in zip(names, tensors, strict=True):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"from_torch: argument {key!r} is a {type(tensor).__name__}, expected tensors")
    if alike := [name for k, name in enumerate(names) if name in names[:k]]:
        raise UnsupportedError(
            f"from_torch: two arguments are called {shown(alike[0])!r}; give one another name or key"
        )
    kept = memories(torch, given, outside)
    program = given.program
    axis = None if (kept or program is not None) and time_axis == "auto" else time_axis
    axes = time_axes(torch, given.module, names, tensors, axis)
    times = {name: next(iter(opened)) for name, opened in axes.items()}
    told_axes: Mapping[str, int | None] | None = time_axis if isinstance(time_axis, Mapping) else None
    if program is None:
        caller.axes = times
        caller.sizes = {name: tuple(tensor.shape) for name, tensor in zip(names, tensors, strict=True)}
    elif time_axis is None and program.range_constraints:
        raise ValueError("from_torch: time_axis is None, but the program was exported with open sizes")
    else:  # what is open it says itself
        axes, told_axes = {}, told_axes or times or None
    call = Call(given.name, inner, arguments, names, axes, kept, program)
    if kept:
        call.module = stateless(torch, call.module, kept)
        call.arguments = (*arguments, *(state.start for state in kept))
        call.names = [*names, *(state.name for state in kept)]
    else:
        call.module = written_out(torch, call.module)
    if has_dict(call.arguments):
        call.module = flat(torch, call.module, call.arguments)
        call.arguments = tuple(leaves(call.arguments))
    pairs = Pairs() if axes or states is not None else _pairs(torch, given, names)
    if kept:
        states = {**{state.name: f"{state.name}_next" for state in kept}, **(states or {})}
    caller.likely, caller.evidence = pairs.likely_states(), dict.fromkeys(pairs.told, IN_ONE_STRUCTURE)
    starts = {state.name: state.start.numpy() for state in kept if bool(state.start.any())}
    warned: dict[int, list[warnings.WarningMessage]] = {}

    def load(path: Path) -> Graph:
        def read(more: Mapping[str, str]) -> Graph:
            said = {**(states or {}), **more} if more else states
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                graph = onnx.load(
                    path, caller, fixed=fixed, states=said, starts=starts, time_axis=told_axes, max_frames=max_frames
                )
            warned[id(graph)] = caught
            return graph

        if kept and not needed_of(path) & set(names):
            _refuse_other(given.name, "uses none of its arguments; the module", "", kept, outside)
        graph = read_with(read, pairs, names[0])
        if foreign := [name for name in graph.inputs if name not in call.names]:
            elsewhere = outside.changed() or "what no buffer holds (a default argument, a closure, a global)"
            raise NotTheModule(
                f"what torch exports of {given.name} takes {foreign[0]!r}, which is none of its arguments: it keeps "
                f"{elsewhere}"
            )
        fed = {**(states or {}), **pairs.told}
        check = Check(torch, given.module, given.arguments, names, axes, graph, fed, bool(kept), numbers_of(path))
        if not fixed and (output := _differs(check)):
            _refuse_other(given.name, f"gives another {output} than the module, which", output, kept, outside)
        return graph

    graph = first_graph(torch, call, load)
    for warning in warned[id(graph)]:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if not graph.whole_sequence_nodes():
        for output in list(graph.outputs)[1:]:
            if _is_final_state(graph, graph.outputs[output]):
                del graph.outputs[output]
    passes.run(graph)
    first, *others = graph.notes
    graph.notes = ()
    graph.note(f"torch.nn.Module {shown(given.name)}; {first}", *others)
    return graph


def _refuse_other(name: str, what: str, output: str, kept: list[Remembered], outside: Outside) -> None:
    """Refuse an export that is not the module. what: it does, and who does why; output: as `_differs` names it."""
    why = "may change tensors through views, or keep what no buffer holds (a closure, a global)"
    if "timesteps" in output:
        why = "may compute with the length of the example in Python, or branch on it"
    elif in_place := [shown(state.path) for state in kept if state.in_place]:
        why = (
            f"changes its {in_place[0]!r} in place; where that is through a view, torch may export no change: "
            f"write self.{in_place[0]} = ... instead"
        )
    elif elsewhere := outside.changed():
        why = f"changes {elsewhere}; export one step that takes it as an argument and returns it instead"
    raise NotTheModule(f"what torch exports of {name} {what} {why}")


def _pairs(torch: Any, given: Given, names: list[str]) -> Pairs:
    """See `pairs_of`."""
    if not has_groups(given.arguments):
        return Pairs()
    with warnings.catch_warnings(), torch.no_grad(), silenced():
        warnings.simplefilter("ignore")
        result = copied(given.module, False)(*given.arguments)
    return pairs_of(given.arguments, names, result)


def _differs(check: Check) -> str:
    """See `Check.difference`; of a copy that shares no weights."""
    with warnings.catch_warnings(), silenced():
        warnings.simplefilter("ignore")
        try:
            check.module = copied(check.module, False)
            return check.difference()
        except Exception:  # random numbers may be none that the module takes
            return ""


def _is_final_state(graph: Graph, value: str) -> bool:
    """Whether a value only moves what recurrent layers hold at the end of a sequence."""
    producers = {v: node for node in graph.nodes for v in node.outputs}
    todo, last = [value], False
    while todo:
        node = producers.get(todo.pop())
        if node is None or not (node.op == "last" or OPS[node.op].moves or isinstance(OPS[node.op], Cell)):
            return False
        last |= node.op == "last"
        todo += node.inputs if not node.states else ()
    return last


__all__ = ["graph_of"]
