# SPDX-License-Identifier: MIT
"""Variables: what a model keeps between calls, by name; those that it never changes are constants."""

from __future__ import annotations

import numpy as np

from ..._text import quoted
from .file import Operator
from .scope import Scope, State


def handle(scope: Scope, operator: Operator, _: str) -> list[str]:
    name = operator.options.get("shared_name", "")
    scope.handles[operator.outputs[0]] = f"{operator.options.get('container', '')}{name}" or "variable"
    return []


def _name(scope: Scope, i: int) -> str:
    if i not in scope.handles:
        scope.unsupported(f"{scope.tensor(i).where} is given as a variable, but no VAR_HANDLE of this graph makes it")
    return scope.handles[i]


def read(scope: Scope, operator: Operator, _: str) -> list[str]:
    name = _name(scope, operator.inputs[0])
    if name not in scope.program.variables:
        scope.unsupported(
            f"variable {quoted(name)} holds nothing: no CALL_ONCE gives it a value; convert the model with the "
            "variables in it (TFLiteConverter.from_keras_model, or from_saved_model)"
        )
    return [scope.program.variables[name]]


def assign(scope: Scope, operator: Operator, _: str) -> list[str]:
    name, program = _name(scope, operator.inputs[0]), scope.program
    if scope.depth > 1:
        scope.unsupported(f"variable {quoted(name)} is assigned inside of a loop or branch, which is not supported")
    if name not in program.inits:
        scope.unsupported(f"variable {quoted(name)} has no value before the first call: no CALL_ONCE gives it one")
    program.variables[name] = scope.float_value(operator.inputs[1])
    for state in program.states:
        if state.name == name:
            state.output = program.variables[name]
    return []


def call_once(scope: Scope, operator: Operator, _: str) -> list[str]:
    """Take what variables begin with. Those that the model assigns are states, the others constants."""
    program, inner = scope.program, scope.inner(operator.options.get("init_subgraph_index", 0))
    if scope.depth > 1:
        scope.unsupported("it stands inside of a loop or branch, which is not supported")
    own = [o for o in scope.graph.operators if o.op == "VAR_HANDLE"]
    named = {o.outputs[0]: o.options.get("container", "") + o.options.get("shared_name", "") for o in own if o.outputs}
    changed = {named.get(o.inputs[0]) for o in scope.graph.operators if o.op == "ASSIGN_VARIABLE" and o.inputs}
    for step in inner.graph.operators:
        inner.operator = step
        if step.op == "VAR_HANDLE" and step.outputs:
            handle(inner, step, "")
        elif step.op == "ASSIGN_VARIABLE" and len(step.inputs) == 2:
            name, array = _name(inner, step.inputs[0]), inner.array(step.inputs[1], "first value")
            if name in program.inits:
                inner.unsupported(f"variable {quoted(name)} is given a first value twice")
            program.inits[name] = array
            if name in changed:
                if array.dtype != np.float32:
                    inner.unsupported(f"variable {quoted(name)} is {array.dtype}, expected float32")
                program.states.append(State(name, list(array.shape), start=array if array.any() else None))
                program.variables[name] = program.states[-1].value = program.new(name)
            else:
                program.variables[name] = inner.constant(array, name)
        else:
            inner.unsupported("it prepares variables, which only VAR_HANDLE and ASSIGN_VARIABLE of constants may")
    return []
