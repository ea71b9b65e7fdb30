# SPDX-License-Identifier: MIT
"""PyTorch modules, live: exported to ONNX by torch itself, and read from there. Needs torch and onnx.

torch has two exporters. The one that is based on TorchScript comes first: it keeps LSTM, GRU and RNN whole and open in
length, and needs nothing besides torch. Where it fails, or a torch has it no more, torch.export's takes its place, if
onnxscript is installed.
"""

from __future__ import annotations

import inspect
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import passes
from .._files import silenced
from .._text import shown
from ..errors import Error, UnsupportedError
from ..ir.graph import Graph
from ..ir.ops import OPS, Cell
from ._torch_check import Check, needed_of, numbers_of
from ._torch_given import Given, copied, first_line, given_of, refuse_lazy
from ._torch_outside import Outside
from ._torch_pairs import Pairs, has_groups, pairs_of, read_with
from ._torch_projected import written_out
from ._torch_states import Remembered, memories, stateless
from ._torch_structure import flat, has_dict, leaf_names, leaves, rebuilt, result_names
from ._torch_words import own_words, without_untried

if TYPE_CHECKING:
    from ..model import Model

#: of ONNX's operators; LSTM, GRU and RNN have not changed since 14. torch.export's exporter writes none below 18
OPSET, EXPORT_OPSET = 17, 18

Exporter = Callable[[Any, "_Call", Path], None]


def from_torch(
    module: Any,
    example: Any = None,
    *,
    time_axis: int | str | Mapping[str, int | None] | None = "auto",
    isa: str | None = None,
    fixed: Mapping[str, Any] | None = None,
    states: Mapping[str, str] | None = None,
) -> Model:
    """A model of a PyTorch module: its forward, in evaluation mode. The module itself stays as it is.

    Buffers, and tensors in attributes, that forward changes are states of the stream: a module that keeps its hidden
    state in itself computes one step, and begins with what they hold now.

    >>> net = torch.nn.GRU(8, 16, batch_first=True)                                   # doctest: +SKIP
    >>> undertow.from_torch(net, torch.zeros(1, 10, 8)).stream()                      # doctest: +SKIP

    Args:
        module: a `torch.nn.Module`, scripted, traced or compiled ones included, or a `torch.export.ExportedProgram`.
        example: what forward takes: a tensor, or a tuple of its positional arguments, each a tensor or a tuple,
            list or dict of tensors, of batch size 1. Values do not matter, shapes and dtypes do. An ExportedProgram has
            its own.
        time_axis: the axis of time in the first argument (and in every further one of the same length there, unless
            it is only the initial state of a cell); a negative one counts from the end of each. Or name of
            an argument -> its axis, None for one without. None when the module
            computes one step, with its states as arguments, results or buffers. "auto": as the recurrent layers of the
            module say (batch_first); a module without one, or that keeps states itself, computes a step. Of an
            ExportedProgram its dynamic shapes say so.
        isa: as in `undertow.load`.
        fixed, states: as in `undertow.load` of an .onnx file. Inputs are named as in the signature of forward, with _0,
            _1 ... behind the name for the parts of a tuple, or _ and the key in a dict; outputs "output", "output_1",
            "output_2" ... Of a model that streams, outputs behind the first that give a recurrent layer's final state
            (h_n, c_n) are left out: read `stream.state`. States that are not given are found as there; a tuple, list
            or dict of several tensors that a step takes, behind its first argument, and returns in one structure and
            with equal shapes, is states too.

    Raises:
        ImportError: torch or onnx is not installed.
        UnsupportedError: something in the module cannot be exported, or is not computed exactly; a branch or loop that
            depends on values counts, since an export would fix it to what it did for `example`. Some modules need
            torch's newer exporter, which needs onnxscript; where that is missing, the message says so.
        ShapeError: shapes that do not fit together.
    """
    from ..model import Model

    return Model.from_graph(graph_of(module, example, time_axis=time_axis, fixed=fixed, states=states), isa)


def graph_of(
    module: Any,
    example: Any,
    *,
    time_axis: int | str | Mapping[str, int | None] | None = "auto",
    fixed: Mapping[str, Any] | None = None,
    states: Mapping[str, str] | None = None,
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
    with Outside(torch, given.module) as outside:
        try:
            return _graph_of(torch, given, outside, time_axis, fixed, states)
        except Error as error:
            error.args = (without_untried(str(error), lambda: _graph_of(torch, given, outside, None, fixed, states)),)
            raise


def _graph_of(
    torch: Any, given: Given, outside: Outside, time_axis: int | str | Mapping[str, int | None] | None,
    fixed: Mapping[str, Any] | None, states: Mapping[str, str] | None,
) -> Graph:  # fmt: skip
    from . import onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about torch
        inner = copied(given.module)
    arguments = given.arguments
    names = list(_input_names(torch, given.module, arguments))
    tensors = list(leaves(arguments))
    for key, tensor in zip(names, tensors, strict=True):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"from_torch: argument {key!r} is a {type(tensor).__name__}, expected tensors")
    if alike := [name for k, name in enumerate(names) if name in names[:k]]:
        raise UnsupportedError(
            f"from_torch: two arguments are called {shown(alike[0])!r}; give one another name or key"
        )
    kept = memories(torch, given, outside)
    axis = None if kept and time_axis == "auto" else time_axis
    axes = {} if given.program is not None else _time_axes(torch, given.module, names, tensors, axis)
    call = _Call(given.name, inner, arguments, names, axes, kept, given.program)
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
    starts = {state.name: state.start.numpy() for state in kept if bool(state.start.any())}

    told_axes = time_axis if isinstance(time_axis, Mapping) else None
    warned: dict[int, list[warnings.WarningMessage]] = {}

    def load(path: Path) -> Graph:
        def read(more: Mapping[str, str]) -> Graph:
            said = {**(states or {}), **more} if more else states
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                graph = onnx.load(path, fixed=fixed, states=said, starts=starts, time_axis=told_axes)
            warned[id(graph)] = caught
            return graph

        if kept and not needed_of(path) & set(names):
            _refuse_other(given.name, "uses none of its arguments; the module", "", kept, outside)
        graph = read_with(read, pairs, names[0])
        if foreign := [name for name in graph.inputs if name not in call.names]:
            elsewhere = outside.changed() or "what no buffer holds (a default argument, a closure, a global)"
            raise UnsupportedError(
                f"what torch exports of {given.name} takes {foreign[0]!r}, which is none of its arguments: it keeps "
                f"{elsewhere}"
            )
        fed = {**(states or {}), **pairs.told}
        if not fixed and (
            output := _differs(Check(torch, given.module, given.arguments, names, axes, graph, fed, numbers_of(path)))
        ):
            _refuse_other(given.name, f"gives another {output} than the module, which", output, kept, outside)
        return graph

    graph = _first_graph(torch, call, load)
    for warning in warned[id(graph)]:
        said = own_words(str(warning.message))
        warnings.warn_explicit(said, warning.category, warning.filename, warning.lineno)
    if not graph.whole_sequence_nodes():
        for output in list(graph.outputs)[1:]:
            if _is_final_state(graph, graph.outputs[output]):
                del graph.outputs[output]
    passes.run(graph)
    first, *others = map(own_words, graph.notes)
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
    raise UnsupportedError(f"what torch exports of {name} {what} {why}")


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


def _input_names(torch: Any, module: Any, arguments: tuple[Any, ...]) -> Iterator[str]:
    for i, argument in enumerate(arguments):
        parameters = _parameters(torch, module)
        yield from leaf_names(parameters[i] if i < len(parameters) else f"input_{i}", argument)


def _parameters(torch: Any, module: Any) -> list[str]:
    """The names of what forward takes."""
    if isinstance(module, torch.jit.ScriptModule):
        if not hasattr(module, "forward"):  # of several signatures, as nn.LSTM has them
            raise UnsupportedError(
                "from_torch: the scripted module has no forward of its own, so it cannot be called; script a module "
                "that holds it, or pass the module as it was before"
            )
        return [argument.name for argument in module.forward.schema.arguments][1:]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in inspect.signature(module.forward).parameters.values() if p.kind in kinds]


def _time_axes(torch: Any, module: Any, names: list[str], tensors: list[Any], axis: Any) -> dict[str, dict[int, str]]:
    """torch's dynamic_axes of the inputs."""
    if axis == "auto":
        kinds = ("RNN", "GRU", "LSTM")  # of scripted layers, which are of no class
        layers = [
            m
            for m in module.modules()
            if isinstance(m, torch.nn.RNNBase)
            or (getattr(m, "original_name", "") in kinds and hasattr(m, "batch_first"))
        ]
        orders = {bool(m.batch_first) for m in layers}
        if len(orders) > 1:
            raise UnsupportedError(
                "from_torch: the module has recurrent layers with batch_first and without; say time_axis"
            )
        batched = tensors[0].ndim >= (3 if tensors[0].is_floating_point() else 2)
        axis = None if not layers else int(orders == {True} and batched)
    if axis is None:
        return {}
    if isinstance(axis, Mapping):
        ranks = {name: tensor.ndim for name, tensor in zip(names, tensors, strict=True)}
        for name, at in axis.items():
            if name not in ranks or not (at is None or -ranks[name] <= at < ranks[name]):
                raise ValueError(f"from_torch: time_axis has {at!r} for {name!r}; numbers of axes: {ranks}")
        return {name: {at % ranks[name]: "time"} for name, at in axis.items() if at is not None}
    first = tensors[0]
    if not isinstance(axis, int) or not -first.ndim <= axis < first.ndim:
        raise ValueError(
            f"from_torch: time_axis is {axis!r}, expected {-first.ndim} to {first.ndim - 1}, None or 'auto'"
        )
    axes = {}
    for name, tensor in zip(names, tensors, strict=True):
        if not -tensor.ndim <= axis < tensor.ndim:
            continue
        at, n_steps = axis % tensor.ndim, tensor.shape[axis]
        # a state has (layers, batch, hidden): the same axis is time only where everything in front of it agrees
        agrees = n_steps == first.shape[axis] and n_steps > 1 and tensor.shape[:at] == first.shape[:at]
        if name == names[0] or agrees:
            axes[name] = {at: "time"}
    return axes


@dataclass
class _Call:
    """A module, what it is called with, the names of the tensors therein, torch's dynamic_axes of those, the states
    that come last among them, and the program that it is of.
    """

    name: str
    module: Any
    arguments: tuple[Any, ...]
    names: list[str]
    axes: dict[str, dict[int, str]]
    states: list[Remembered]
    program: Any = None


def _first_graph(torch: Any, call: _Call, load: Callable[[Path], Graph]) -> Graph:
    """The graph that comes of the first exporter whose file can be read; otherwise the first one's error."""
    can_export = find_spec("onnxscript") is not None and hasattr(torch, "export")
    has_both = "dynamo" in inspect.signature(torch.onnx.export).parameters
    errors: list[Error] = []
    exporters = [_by_torchscript, _by_export] if can_export and has_both else [_by_torchscript]
    if call.program is not None:
        exporters = exporters[::-1]  # which knows its open sizes
    for exporter in exporters:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{call.name}.onnx"
            try:
                _export(torch, call, exporter, path)
                try:
                    return load(path)
                except Error as error:
                    raise type(error)(f"from_torch, {own_words(str(error))}") from error
            except Error as error:
                errors.append(error)
    first, last = errors[0], errors[-1]
    if not _is_export_error(first):
        if len(exporters) == 1 and has_both and "what torch exports of " in str(first):
            first.args = (f"{first}{_OTHER_EXPORTER}",)
        raise first
    if last is not first and not _is_export_error(last):
        raise last
    if last is not first:
        first.args = (f"{first}; torch.export cannot either: {str(last).partition(': torch cannot export ')[2]}",)
    elif has_both:
        first.args = (f"{first}{_OTHER_EXPORTER}",)
    raise first


_OTHER_EXPORTER = "; torch's other exporter may do it: pip install onnxscript"


def _is_export_error(error: Error) -> bool:
    return ": torch cannot export " in str(error)


def _export(torch: Any, call: _Call, exporter: Exporter, path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with torch.no_grad(), silenced():
                exporter(torch, call, path)
        except Exception as error:  # torch raises a dozen kinds, and the module is anybody's code
            raise UnsupportedError(
                f"from_torch: torch cannot export {call.name}: {type(error).__name__}: {first_line(error)}"
            ) from error
    _refuse_fixed_values(torch, caught)


def _output_names(call: _Call) -> list[str]:
    results = list(leaves(call.module(*call.arguments)))
    n = len(results) - len(call.states)
    return [*result_names(n), *(f"{state.name}_next" for state in call.states)]


def _by_torchscript(torch: Any, call: _Call, path: Path) -> None:
    settings: dict[str, Any] = {"input_names": call.names, "output_names": _output_names(call)}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        settings["dynamo"] = False
    settings |= {"dynamic_axes": call.axes, "opset_version": OPSET}
    torch.onnx.export(call.module, call.arguments, str(path), **settings)


def _by_export(torch: Any, call: _Call, path: Path) -> None:
    """torch.export by itself: called by torch.onnx, it falls back to ways that keep the branches of the example."""
    auto = torch.export.Dim.AUTO
    names = _output_names(call)
    program = call.program
    if program is None or call.states:
        shapes = (dict.fromkeys(call.axes.get(name, {}), auto) or None for name in call.names)
        dynamic = rebuilt(call.arguments, shapes) if call.axes else None
        program = torch.export.export(call.module, call.arguments, dynamic_shapes=dynamic, strict=False)
    settings = {"input_names": call.names, "output_names": names, "opset_version": EXPORT_OPSET, "verbose": False}
    torch.onnx.export(program, (), str(path), dynamo=True, **settings)


def _refuse_fixed_values(torch: Any, caught: Iterable[warnings.WarningMessage]) -> None:
    """Branches and conversions in the user's code that the trace has turned into constants."""
    own = os.path.dirname(os.path.abspath(torch.__file__))
    for warning in caught:
        if issubclass(warning.category, torch.jit.TracerWarning) and not warning.filename.startswith(own):
            first = str(warning.message).split(". ")[0]
            raise UnsupportedError(
                f"from_torch: {warning.filename}, line {warning.lineno}: {first}; an export would keep what it did for "
                "the example. Use torch.where, or export the branch that you need"
            )
