# SPDX-License-Identifier: MIT
"""PyTorch modules, live: exported to ONNX by torch itself, and read from there. Needs torch and onnx.

torch's TorchScript-based exporter is used, because it keeps LSTM, GRU and RNN whole.
"""

from __future__ import annotations

import inspect
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Error, UnsupportedError
from ..graph import Graph

if TYPE_CHECKING:
    from ..model import Model

#: of ONNX's operators; LSTM, GRU and RNN have not changed since 14
OPSET = 17


def from_torch(
    module: Any,
    example: Any,
    *,
    time_axis: int | str | None = "auto",
    isa: str | None = None,
    fixed: Mapping[str, Any] | None = None,
    states: Mapping[str, str] | None = None,
) -> Model:
    """A model of a PyTorch module: its forward, in evaluation mode.

    >>> net = torch.nn.GRU(8, 16, batch_first=True)                                   # doctest: +SKIP
    >>> undertow.from_torch(net, torch.zeros(1, 10, 8)).stream()                      # doctest: +SKIP

    Args:
        module: a `torch.nn.Module`.
        example: what forward takes: a tensor, or a tuple of its positional arguments, each a tensor or a tuple of
            tensors, of batch size 1. Values do not matter, shapes and dtypes do.
        time_axis: the axis of time in the first argument (and in every further one of the same length there, unless
            it is only the initial state of a cell). None when the module computes one step, with its states as
            arguments and results. "auto": as the recurrent layers of the module say (batch_first); a module without
            one computes a step.
        isa: as in `undertow.load`.
        fixed, states: as in `undertow.load` of an .onnx file. Inputs are named as in the signature of forward, with _0,
            _1 ... behind the name for the parts of a tuple; outputs "output", "output_1" ... Of a model that streams,
            outputs behind the first that give a recurrent layer's final state (h_n, c_n) are left out: read
            `stream.state`.

    Raises:
        ImportError: torch or onnx is not installed.
        UnsupportedError: something in the module cannot be exported, or is not computed exactly; a branch or loop that
            depends on values counts, since an export would fix it to what it did for `example`.
        ShapeError: shapes that do not fit together.
    """
    from ..model import Model

    return Model.from_graph(graph_of(module, example, time_axis=time_axis, fixed=fixed, states=states), isa)


def graph_of(
    module: Any,
    example: Any,
    *,
    time_axis: int | str | None = "auto",
    fixed: Mapping[str, Any] | None = None,
    states: Mapping[str, str] | None = None,
) -> Graph:
    """As `from_torch`, but the graph that it is made from."""
    try:
        import torch
    except ImportError as error:
        raise ImportError("undertow.from_torch needs torch, which is not installed") from error
    from . import onnx

    name = type(module).__name__
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"from_torch: the module is a {name}, expected a torch.nn.Module")
    arguments = example if isinstance(example, tuple) else (example,)
    names = list(_input_names(module, arguments))
    tensors = list(_leaves(arguments))
    for key, tensor in zip(names, tensors, strict=True):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"from_torch: argument {key!r} is a {type(tensor).__name__}, expected tensors")
    axes = _time_axes(torch, module, names, tensors, time_axis)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        _export(torch, module, arguments, names, axes, path)
        try:
            graph = onnx.load(path, fixed=fixed, states=states)
        except Error as error:
            raise type(error)(f"from_torch, {error}") from error
    if not graph.whole_sequence_nodes():
        for output in list(graph.outputs)[1:]:
            if _is_final_state(graph, graph.outputs[output]):
                del graph.outputs[output]
    graph.source = f"torch.nn.Module {name}; {graph.source}"
    return graph


def _is_final_state(graph: Graph, value: str) -> bool:
    """Whether a value only moves what recurrent layers hold at the end of a sequence."""
    producers = {v: node for node in graph.nodes for v in node.outputs}
    todo, last = [value], False
    while todo:
        node = producers.get(todo.pop())
        if node is None or node.op not in ("last", "reshape", "select", "concat", "rnn", "gru", "lstm"):
            return False
        last |= node.op == "last"
        todo += node.inputs if not node.states else ()
    return last


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _input_names(module: Any, arguments: tuple[Any, ...]) -> Iterator[str]:
    parameters = [
        p.name
        for p in inspect.signature(module.forward).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    for i, argument in enumerate(arguments):
        name = parameters[i] if i < len(parameters) else f"input_{i}"
        leaves = list(_leaves(argument))
        yield from [name] if not isinstance(argument, (tuple, list)) else [f"{name}_{k}" for k in range(len(leaves))]


def _time_axes(torch: Any, module: Any, names: list[str], tensors: list[Any], axis: Any) -> dict[str, dict[int, str]]:
    """torch's dynamic_axes of the inputs."""
    if axis == "auto":
        layers = [m for m in module.modules() if isinstance(m, torch.nn.RNNBase)]
        first = {bool(m.batch_first) for m in layers}
        if len(first) > 1:
            raise UnsupportedError(
                "from_torch: the module has recurrent layers with batch_first and without; say time_axis"
            )
        batched = tensors[0].ndim >= (3 if tensors[0].is_floating_point() else 2)
        axis = None if not layers else int(first == {True} and batched)
    if axis is None:
        return {}
    if not isinstance(axis, int) or not 0 <= axis < tensors[0].ndim:
        raise ValueError(f"from_torch: time_axis is {axis!r}, expected 0 to {tensors[0].ndim - 1}, None or 'auto'")
    found = {names[0]: {axis: "time"}}
    for name, tensor in zip(names[1:], tensors[1:], strict=True):
        # a state has (layers, batch, hidden): the same axis is time only where everything in front of features agrees
        if tensor.shape[: axis + 1] == tensors[0].shape[: axis + 1] and tensor.ndim > axis and tensor.shape[axis] > 1:
            found[name] = {axis: "time"}
    return found


def _export(
    torch: Any, module: Any, arguments: tuple[Any, ...], names: list[str], axes: dict[str, Any], path: Path
) -> None:
    training = module.training
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            module.eval()
            with torch.no_grad():
                results = list(_leaves(module(*arguments)))
            outputs = ["output", *(f"output_{i}" for i in range(1, len(results)))]
            settings = {"input_names": names, "output_names": outputs, "dynamic_axes": axes, "opset_version": OPSET}
            if "dynamo" in inspect.signature(torch.onnx.export).parameters:
                settings["dynamo"] = False
            torch.onnx.export(module, arguments, str(path), **settings)
        except Exception as error:  # torch raises a dozen kinds, and the module is anybody's code
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise UnsupportedError(
                f"from_torch: torch cannot export {type(module).__name__}: {type(error).__name__}: "
                f"{lines[0] if lines else ''}"
            ) from error
        finally:
            module.train(training)
    _refuse_fixed_values(torch, caught)


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
