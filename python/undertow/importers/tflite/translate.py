# SPDX-License-Identifier: MIT
"""From the graphs of a TensorFlow Lite file to an ONNX program of the same numbers."""

from __future__ import annotations

from typing import Any

from ...errors import FormatError, UnsupportedError
from . import elements, layers, loops, moves, recurrent, variables
from .file import File, Operator
from .schema import QUANTISED, TABLES
from .scope import COMPUTED, Program, Scope
from .traits import ROWS, why_refused

#: operator set of what is made, and the oldest version of the format that has it
_OPSET, _IR_VERSION = 20, 9
_HANDLERS = {"elements": elements, "layers": layers, "loops": loops, "moves": moves, "recurrent": recurrent,
             "variables": variables}  # fmt: skip


def translated(onnx: Any, file: File) -> tuple[Any, Program]:
    """The ModelProto of a file, and what it was made of.

    Raises:
        UnsupportedError: an operator, option or type that is not computed; names it.
        FormatError: the graphs do not fit together.
    """
    program, graph, helper = Program(onnx, file, _translate), file.subgraphs[0], onnx.helper
    scope = Scope(program, graph)
    # names of inputs and outputs are taken before those of anything between
    inputs, outputs = (
        {i: program.new(names.get(i) or scope.tensor(i).name) for i in dict.fromkeys(tensors)}
        for tensors, names in ((graph.inputs, file.input_names), (graph.outputs, file.output_names))
    )
    ports = []
    for i, name in inputs.items():
        tensor = scope.tensor(i)
        if tensor.kind not in COMPUTED:
            raise UnsupportedError(f"input {name!r} is {tensor.kind}{_instead(tensor.kind)}")
        ports.append(helper.make_tensor_value_info(name, COMPUTED[tensor.kind], tensor.shape))
    values = scope.run([inputs[i] for i in graph.inputs])
    results = []
    for i, value in dict(zip(graph.outputs, values, strict=True)).items():
        scope.nodes.append(helper.make_node("Identity", [value], [outputs[i]], name=outputs[i]))
        kind = COMPUTED.get(scope.tensor(i).kind, 1)
        results.append(helper.make_tensor_value_info(outputs[i], kind, scope.tensor(i).shape))
    for state in program.states:
        if not state.output:
            raise FormatError(f"variable {state.name!r} is assigned by nothing that is run")
        value, state.output = state.output, program.new(f"{state.name}/next")
        ports.append(helper.make_tensor_value_info(state.value, 1, state.shape))
        scope.nodes.append(helper.make_node("Identity", [value], [state.output], name=state.output))
        results.append(helper.make_tensor_value_info(state.output, 1, state.shape))
    whole = helper.make_graph(scope.nodes, graph.name, ports, results, program.initializers)
    opset = helper.make_opsetid("", _OPSET)
    return helper.make_model(whole, opset_imports=[opset], ir_version=_IR_VERSION), program


def _translate(scope: Scope, operator: Operator) -> None:
    """Add the nodes of one operator, what it gives named as in the file."""
    row = ROWS.get(operator.op)
    if row is None:
        operator.unsupported(f"operator {operator.op} is not supported{why_refused(operator.op)}")
    for i in (*operator.inputs, *operator.outputs):
        if i >= 0 and scope.tensor(i).kind not in (*COMPUTED, "RESOURCE") and not scope.is_constant(i):
            kind = scope.tensor(i).kind
            operator.unsupported(f"{scope.tensor(i).where} is {kind}, and computed{_instead(kind)}")
    least, most = row.inputs
    if len(operator.inputs) < least or (most is not None and len(operator.inputs) > most):
        expected = f"{least} to {most}" if most is not None else f"{least} or more"
        operator.format_error(f"it has {len(operator.inputs)} inputs, expected {expected}")
    if any(i < 0 for i in operator.inputs[: row.needs]):
        operator.format_error(f"its inputs are tensors {operator.inputs[: row.needs]}, of which none may be missing")
    of = operator.options.get("", "")
    if of and row.options and of != row.options:
        operator.unsupported(f"its options are {of}, expected {row.options}")
    defaults = {field.name: field.default for field in TABLES.get(of, {}).values()}
    for key, value in operator.options.items():
        if key and key not in row.reads and (not isinstance(value, (int, float)) or value != defaults[key]):
            operator.unsupported(f"{key}={value!r} is not supported")
    start, n_states = len(scope.nodes), len(scope.program.states)
    module, _, name = row.handler.partition(".")
    values = getattr(_HANDLERS[module], name)(scope, operator, row.of)
    if values and len(values) != len(operator.outputs):
        operator.format_error(f"it has {len(operator.outputs)} outputs, expected {len(values)}")
    _bind(scope, operator, values, start, n_states)


def _bind(scope: Scope, operator: Operator, values: list[str], start: int, n_states: int) -> None:
    """Give what an operator has computed the names that the file has for it."""
    fresh = {value: node for node in scope.nodes[start:] for value in node.output}
    renamed: dict[str, str] = {}
    for i, value in zip(operator.outputs, values, strict=False):
        if i in scope.names:
            operator.format_error(f"{scope.tensor(i).where} is computed twice")
        if value in fresh and value not in renamed:
            renamed[value] = scope.program.new(scope.tensor(i).name.partition(";")[0])
        scope.names[i] = renamed.get(value, value)
    for node in scope.nodes[start:]:
        node.input[:] = [renamed.get(value, value) for value in node.input]
        node.output[:] = [renamed.get(value, value) for value in node.output]
        node.name = renamed.get(node.name, node.name)
        gives = bool({*node.output} & {*renamed.values()})
        scope.program.where.setdefault(node.name, (operator, gives))
    for state in scope.program.states[n_states:]:
        state.output = renamed.get(state.output, state.output)


def _instead(kind: str) -> str:
    """What to say of a type that is not computed."""
    if kind in (*QUANTISED, "UINT16", "INT4"):
        return (
            ": models that compute with integers are not supported; convert with weights alone quantised "
            "(Optimize.DEFAULT without a representative dataset), or as float16"
        )
    return f": not supported; expected one of {', '.join(COMPUTED)}"


__all__ = ["translated"]
