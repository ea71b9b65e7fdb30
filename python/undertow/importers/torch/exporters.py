# SPDX-License-Identifier: MIT
"""torch's two exporters to ONNX. The one that is based on TorchScript comes first: it keeps LSTM, GRU and RNN whole and
open in length, and needs nothing besides torch. Where it fails, or a torch has it no more, torch.export's takes its
place, if onnxscript is installed.
"""

from __future__ import annotations

import inspect
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..._files import silenced
from ..._text import shown
from ...errors import Error, UnsupportedError
from ...ir.graph import Graph
from .given import first_line
from .kept_states import Remembered
from .structure import leaves, rebuilt, result_names

#: of ONNX's operators; LSTM, GRU and RNN have not changed since 14. torch.export's exporter writes none below 18
OPSET, EXPORT_OPSET = 17, 18


@dataclass
class Call:
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


class NotTheModule(Exception):
    """What was exported is another than the module. It is no `undertow.Error`, and never reaches a user."""


class NotExported(Exception):
    """Why torch exports nothing."""


def first_graph(torch: Any, call: Call, load: Callable[[Path], Graph]) -> Graph:
    """The graph that comes of the first exporter whose file can be read; otherwise the first one's error.

    load: of a file; raises Error or NotTheModule.
    """
    can_export = find_spec("onnxscript") is not None and hasattr(torch, "export")
    has_both = "dynamo" in inspect.signature(torch.onnx.export).parameters
    if call.states and _is_scripted(torch, call):
        raise UnsupportedError(
            f"from_torch: a call of {call.name} changes its {shown(call.states[0].path)!r}, which no exporter sees in "
            "a module of torch.jit.script; pass it as it was before torch.jit.script"
        )
    exporters = [_by_torchscript, _by_export] if can_export and has_both else [_by_torchscript]
    if call.program is not None:
        exporters = exporters[::-1]  # which knows its open sizes
    other = "; torch's other exporter may do it: pip install onnxscript" if has_both and len(exporters) == 1 else ""
    unread: list[Error] = []
    unexported: list[NotExported] = []
    for exporter in exporters:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{call.name}.onnx"
            try:
                _export(torch, call, exporter, path)
                try:
                    return load(path)
                except Error as error:
                    raise type(error)(f"from_torch, {error}") from error
                except NotTheModule as error:
                    raise UnsupportedError(f"from_torch, {error}{other}") from error
            except Error as error:
                unread.append(error)
            except NotExported as error:
                unexported.append(error)
    if unread:
        raise unread[0]
    either = "".join(f"; torch.export cannot either: {call.name}: {error}" for error in unexported[1:])
    scripted = " (its scripted parts; pass it as it was before torch.jit.script)" if _is_scripted(torch, call) else ""
    raise UnsupportedError(
        f"from_torch: torch cannot export {call.name}{scripted}: {unexported[0]}{either}{other}"
    ) from unexported[0].__cause__


def _is_scripted(torch: Any, call: Call) -> bool:
    return any(isinstance(part, torch.jit.ScriptModule) for part in call.module.modules())


def _export(torch: Any, call: Call, exporter: Callable[[Any, Call, Path], None], path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with torch.no_grad(), silenced():
                exporter(torch, call, path)
        except Exception as error:  # torch raises a dozen kinds, and the module is anybody's code
            raise NotExported(f"{type(error).__name__}: {first_line(error)}") from error
    _refuse_fixed_values(torch, caught)


def _output_names(call: Call) -> list[str]:
    results = list(leaves(call.module(*call.arguments)))
    n = len(results) - len(call.states)
    return [*result_names(n), *(f"{state.name}_next" for state in call.states)]


def _by_torchscript(torch: Any, call: Call, path: Path) -> None:
    settings: dict[str, Any] = {"input_names": call.names, "output_names": _output_names(call)}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        settings["dynamo"] = False
    settings |= {"dynamic_axes": call.axes, "opset_version": OPSET}
    module = call.module
    if _is_scripted(torch, call):  # the exporter's trace takes none
        module = torch.jit.trace(module, call.arguments, strict=False, check_trace=False)
    torch.onnx.export(module, call.arguments, str(path), **settings)


def _by_export(torch: Any, call: Call, path: Path) -> None:
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


__all__ = ["Call", "NotTheModule", "first_graph"]
