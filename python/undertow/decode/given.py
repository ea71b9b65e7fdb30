# SPDX-License-Identifier: MIT
"""What decoders are given, checked: which input takes ids, which output holds logits, and what all the others take."""

from __future__ import annotations

from collections.abc import Mapping
from operator import index
from typing import Any, NamedTuple

import numpy as np

from .. import _inputs
from .._text import listed, quoted, shown
from ..ir.graph import Graph, Value
from ..model import Model
from ..stream import Pool, Stream

#: hypotheses
_WIDEST = 1024


#: a generator, temperature, top_k (0: all) and top_p
Sampling = tuple[np.random.Generator, float, int, float]


class Fed(NamedTuple):
    """A model as a decoder sees it: the numbers of the input that takes ids and of the output of logits, and a frame
    for each other input."""

    model: Model
    ids: Value
    ids_input: int
    logits: Value
    output: int
    fixed: list[np.ndarray | None]


def model_of(source: Any) -> Model:
    if isinstance(source, Stream):
        return source.model
    if isinstance(source, Model):
        return source
    hint = "; batch(model, starts) decodes several prompts together" if isinstance(source, Pool) else ""
    raise TypeError(f"expected an undertow.Model or a Stream of one, got {type(source).__name__}{hint}")


def fed_of(
    model: Model,
    input: str | None,
    output: str | None,
    inputs: Mapping[str, Any] | None,
    said: str = "output",
    n: int | None = None,
) -> Fed:
    """`n`: of inputs that stay the same there may be one for each of so many texts."""
    if model.latency:
        raise ValueError(
            f"model {quoted(model.name)} looks {model.latency} frames ahead: it cannot be fed what it says"
        )
    inputs = dict(inputs or {})
    ids = _ids_input(model, input, inputs)
    chosen = output_of(model, output, said)
    fixed = fixed_frames(model, inputs, {ids: "the ids"}, n)
    names = list(model.inputs)
    number = list(model.outputs).index(chosen)
    return Fed(model, model.inputs[ids], names.index(ids), model.outputs[chosen], number, fixed)


def _ids_input(model: Model, name: str | None, inputs: Mapping[str, Any]) -> str:
    """The input that takes one id at each step."""
    if name is not None:
        if name not in model.inputs:
            raise KeyError(f"input: expected one of {listed(model.inputs)}, got {shown(name)}")
        value = model.inputs[name]
        if value.dtype == "int32" and value.size != 1:
            raise ValueError(
                f"input {shown(name)} takes {value.dtype} {value.shape}; expected one id, int32 of one element, or "
                "float32 with a place for each id"
            )
        return name
    names = [n for n, v in model.inputs.items() if v.dtype == "int32" and v.size == 1 and n not in inputs]
    if len(names) == 1:
        return names[0]
    if names:
        raise ValueError(f"{listed(names)} take ids: say which is fed what the model says, as input={names[0]!r}")
    taken = ", ".join(f"{shown(n)} takes {v.dtype} {v.shape}" for n, v in model.inputs.items())
    raise ValueError(
        f"model {quoted(model.name)} has no input of one id, int32 of one element: {taken}; "
        "input= names one of float32 that takes 1 at the place of an id and 0 elsewhere"
    )


def output_of(model: Model, name: str | None, said: str) -> str:
    if name is None and len(model.outputs) > 1:
        raise ValueError(f"model {quoted(model.name)} has the outputs {listed(model.outputs)}: say which, as {said}=")
    if name is not None and name not in model.outputs:
        raise KeyError(f"{said}: expected one of {listed(model.outputs)}, got {shown(name)}")
    name = next(iter(model.outputs)) if name is None else name
    value = model.outputs[name]
    if value.dtype != "float32":
        raise ValueError(
            f"output {shown(name)} gives {value.dtype} {value.shape}, expected float32: logits to choose from"
        )
    return name


def fixed_frames(
    model: Model, inputs: Mapping[str, Any], others: Mapping[str, str], n: int | None = None
) -> list[np.ndarray | None]:
    """A frame for each input but `others`, name -> what that takes; or, for n texts, as many."""
    expected = [name for name in model.inputs if name not in others]
    if set(inputs) != set(expected):
        told = ", ".join(f"{shown(name)} takes {what}" for name, what in others.items())
        raise KeyError(f"inputs: expected {listed(expected) or 'none'}, got {listed(inputs) or 'none'}; {told}")
    return [None if name in others else _frame(inputs[name], value, n) for name, value in model.inputs.items()]


def _frame(x: Any, value: Value, n: int | None) -> np.ndarray:
    of_each = n is not None and np.ndim(x) == len(value.shape) + 1
    frame = _inputs.coerce(x, value, 1, n) if of_each else _inputs.coerce(x, value, 0)
    if value.dtype == "int32" and frame.size and not (frame.min() >= 0 and frame.max() < (value.n_ids or 0)):
        _inputs.refuse_ids(frame, value)
    return frame.copy()


def n_ids_of(ids: Value) -> int:
    """Ids that an input takes, as whole numbers or as places of a 1."""
    return (ids.n_ids or 0) if ids.dtype == "int32" else ids.size


def takes(ids: Value) -> str:
    return f"input {shown(ids.name)} takes"


def checked_id(id: Any, what: str, n: int, whose: str) -> int:
    number = index(id)
    if isinstance(id, bool) or not 0 <= number < n:
        raise ValueError(f"{what} is {id}, expected one of 0 to {n - 1}, the ids of {whose}")
    return number


def prompt_of(start: Any, ids: Value) -> np.ndarray:
    """int32 (n,)"""
    array = np.asarray(start)
    if array.size == 0:
        raise ValueError("start is empty: expected at least one id to feed first")
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise TypeError(f"start must be an id or a sequence of them, whole numbers, got {array.dtype} {array.shape}")
    n = n_ids_of(ids)
    if not (array.min() >= 0 and array.max() < n):
        wrong = array.min() if array.min() < 0 else array.max()
        raise ValueError(f"start has the id {wrong}: {takes(ids)} 0 to {n - 1}")
    return np.ascontiguousarray(array, np.int32).reshape(-1)


def prompts_of(starts: Any, ids: Value) -> list[np.ndarray]:
    """int32 (n,) for each"""
    if isinstance(starts, str | bytes) or not hasattr(starts, "__len__"):
        raise TypeError(f"starts must be a sequence of ids or of prompts, got {type(starts).__name__}")
    if not len(starts):
        raise ValueError("starts is empty: expected at least one prompt")
    prompts = []
    for i, start in enumerate(starts):
        try:
            prompts.append(prompt_of(start, ids))
        except (TypeError, ValueError) as error:
            raise type(error)(f"starts[{i}]: {error}") from None
    return prompts


def end_of(end: int | None, logits: Value) -> int:
    return -1 if end is None else checked_id(end, "end", logits.size, f"output {shown(logits.name)}")


def checked_steps(steps: int) -> int:
    if (n := index(steps)) < 0:
        raise ValueError(f"steps is {n}, expected at least 0")
    return min(n, 2**62)


def checked_width(width: int) -> int:
    if not 1 <= (n := index(width)) <= _WIDEST:
        raise ValueError(f"width is {n}, expected 1 to {_WIDEST} hypotheses")
    return n


def sampling_of(temperature: float, top_k: int | None, top_p: float | None, seed: Any) -> Sampling:
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature is {temperature}, expected above 0; greedy() takes the largest logit")
    if top_k is not None and index(top_k) < 1:
        raise ValueError(f"top_k is {top_k}, expected at least 1, or None for all")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}, expected above 0 and at most 1, or None for all")
    generator = np.random.default_rng(seed)
    return generator, float(temperature), min(index(top_k or 0), 2**31), 1.0 if top_p is None else float(top_p)


def are_probabilities(fed: Fed, said: bool | None) -> bool:
    """Whether an output holds probabilities, as its user says, or else its Graph."""
    return bool(said) if said is not None else _is_softmax(fed.model.graph, fed.logits.name)


def _is_softmax(graph: Graph, output: str) -> bool:
    makers = {value: node for node in graph.nodes for value in node.outputs}
    node = makers.get(graph.outputs[output])
    while node is not None and node.op == "reshape":
        node = makers.get(node.inputs[0])
    return node is not None and node.op == "softmax"
