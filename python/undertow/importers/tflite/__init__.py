# SPDX-License-Identifier: MIT
"""Import TensorFlow Lite models: what they compute as a program of ONNX, which is read as every other one.

The way of a file: `file.read` (bytes to tables that are checked, by `flat`, under the numbers of `schema`),
`translate` (operator by operator, each by the handler that `traits` names, in a `scope`), and the importer of ONNX,
which tells which axis is time and what is a state. Errors speak of the file's operators (`_reworded`).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np

from ..._text import quoted, shown
from ...errors import Error, ModelWarning
from ...ir.graph import Graph
from ...ir.origin import Origin
from ...weights.in_memory import as_path
from .. import onnx as onnx_importer
from .._memory import remembers
from ..onnx.advice import Caller
from ..onnx.file.read import check_model, require_onnx
from .file import read
from .scope import Program
from .translate import translated

__all__ = ["load"]

#: how a message of the ONNX importer names a node
_NODE = re.compile(r"""[\w.]+ node ('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
_NOTES = {
    "int8": "{n} tensors of weights are int8; they are widened to float32, and frames stay float32: TensorFlow Lite "
    "rounds these to 8 bits before it multiplies",
    "float16": "{n} tensors of weights are float16; they are computed in float32, as they are",
    "both ways": "{n} layers that run both ways start each sequence anew, as after reset_all_variables",
}
_NOTES |= {kind: _NOTES["int8"].replace("int8", kind) for kind in ("uint8", "int16")}


def load(
    path: str | os.PathLike[str],
    *,
    fixed: Mapping[str, Any] | None = None,
    shapes: Mapping[str, Iterable[int | None]] | None = None,
    states: Mapping[str, str] | None = None,
    starts: Mapping[str, Any] | None = None,
    time_axis: int | Mapping[str, int | None] | None = None,
    max_frames: int | None = None,
) -> Graph:
    """Read a .tflite file as a Graph of frames.

    Inputs and outputs have the names of the file's signature, where it has one, or those of their tensors. Variables,
    and what LSTM, RNN and SVDF operators keep between calls, are states. Weights in float16, and in int8 of operators
    that compute in float32, are widened; models that compute with integers are refused.

    Args:
        path: the file.
        fixed, shapes, states, starts, time_axis, max_frames: as of .onnx files; see `undertow.load`.

    Warns:
        ModelWarning: as of .onnx files.

    Raises:
        FormatError: the file is damaged.
        UnsupportedError: something is not computed exactly; the message names operator, tensor and value.
        ShapeError: shapes that do not fit together, in the model or in an argument.
        ImportError: the onnx package is missing.

    >>> from undertow.importers import tflite
    >>> graph = tflite.load("wake_word.tflite")  # doctest: +SKIP
    """
    onnx = require_onnx("tflite")
    path = as_path(path)
    file = read(path)
    said: dict[str, Any] = {"fixed": fixed, "shapes": shapes, "time_axis": time_axis, "max_frames": max_frames}
    program: Program | None = None
    try:
        model, program = translated(onnx, file)
        said["caller"] = _Caller(program)
        graph = _read(check_model(model, path), program, states, dict(starts or {}), said)
    except Error as error:
        text = _reworded(str(error), _names(program))
        error.args = (text if text.startswith(shown(path.name)) else f"{shown(path.name)}: {text}",)
        raise
    names = _names(program)
    notes = [_reworded(note, names) for note in graph.notes if not note.startswith("ONNX opset ")]
    graph.notes = ("TensorFlow Lite", *notes)
    for kind, of in program.notes.items():
        graph.note(_NOTES[kind].format(n=len(of)))
    graph.origin.contents = Counter(operator.op for inner in file.subgraphs for operator in inner.operators)
    if not graph.name.strip() or graph.name == "main":
        graph.name = path.stem
    return graph


def _read(
    model: Any, program: Program, states: Mapping[str, str] | None, starts: dict[str, Any], said: dict[str, Any]
) -> Graph:
    """The graph of a program. Its variables are states of which both ends are known; but first it is looked for an axis
    of time that recurrences walk: they may start from variables and end with them, and those that operators keep to
    themselves are zeros before the first call, and in a stream go on by themselves.
    """
    for state in program.states:
        if state.start is not None:
            starts.setdefault(state.value, state.start)
    if not program.states or states is not None:
        return onnx_importer.import_model(model, states=_given(program, states), starts=starts, **said)
    asked = [state for state in program.states if not state.inside]
    with suppress(Error, ModelWarning), catch_warnings():
        simplefilter("error", ModelWarning)
        graph = onnx_importer.import_model(_without_inner_states(model, program), starts=starts, **said)
        told = [f"state: input {quoted(state.value)}, output {quoted(state.output)}, " for state in asked]
        if remembers(graph) and all(any(note.startswith(text) for note in graph.notes) for text in told):
            return graph
    return onnx_importer.import_model(model, states=_given(program, None), starts=starts, **said)


def _without_inner_states(model: Any, program: Program) -> Any:
    """The program with zeros for what operators keep to themselves."""
    inner = {state.value: state for state in program.states if state.inside}
    ends = {state.output for state in inner.values()}
    copy = type(model)()
    copy.CopyFrom(model)
    for ports, gone in ((copy.graph.input, inner.keys()), (copy.graph.output, ends)):
        kept = [port for port in ports if port.name not in gone]
        del ports[:]
        ports.extend(kept)
    kept = [node for node in copy.graph.node if not ends & {*node.output}]
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    zeros = (
        program.onnx.numpy_helper.from_array(np.zeros(state.shape, np.float32), name) for name, state in inner.items()
    )
    copy.graph.initializer.extend(zeros)
    return copy


def _given(program: Program, states: Mapping[str, str] | None) -> dict[str, str] | None:
    """`states=` with the variables of the file."""
    if not program.states and states is None:
        return None
    return {state.value: state.output for state in program.states} | dict(states or {})


class _Caller(Caller):
    """A caller of `undertow.load` with a TensorFlow Lite file."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program, self.names = program, _names(program)
        self.evidence = {state.value: "a variable of the file" for state in program.states}

    def words(self, text: str) -> str:
        return _reworded(text, self.names)

    def take(self, origin: Origin, op: str, name: str) -> None:
        operator, gives = self.program.where.get(name) or (None, False)
        if operator is not None and gives:
            origin.take(operator.op)
        else:
            origin.current = operator.op if operator else ""

    def streamed(self) -> str:
        return "convert with an open time axis (keras.Input(batch_shape=(1, None, features))), or load the .keras file"

    def remembering(self) -> str:
        return (
            "Convert it with several timesteps, an open time axis (keras.Input(batch_shape=(1, None, features))), or "
            "as one step whose states are inputs and outputs. Or load the .keras file"
        )


def _names(program: Program | None) -> dict[str, str]:
    """Name of a node, as messages quote it -> the operator that it was made of."""
    return {quoted(name): operator.where for name, (operator, _) in program.where.items()} if program else {}


def _reworded(text: str, names: Mapping[str, str]) -> str:
    """A message in which nodes are the operators of the file that they were made of."""
    return _NODE.sub(lambda match: names.get(match[1], match[0]), text)
