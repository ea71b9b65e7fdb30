# SPDX-License-Identifier: MIT
"""Caches that grow: inputs of a step's file that come back with the rows of this step behind them, along an open axis.

With a capacity N, such a cache is a state of N - 1 rows, of which the oldest is left out in each step; rows that were
not yet written are zeros, and get no weight where a softmax goes along them. A register counts how many there are, and
makes NaN of more than N. All of this is said in ONNX, so that what is read is a step like any other; and it is held
against the file itself, whose caches grow, in onnx's evaluator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import Error, ShapeError, UnsupportedError
from ...ir.graph import Graph
from ...ir.most import counting
from ...reference import evaluate
from .dependence import Unclear
from .file.read import check_model, require_onnx
from .search.calls import evaluated
from .simplify.program import Program

#: rows that caches are tried with, to see which axes grow with them
_TRIED = (3, 5)
#: steps of the file that are looked at, and how far float32 may take apart what is computed in another order
_STEPS, _AGREES = 4, 1e-3
#: what a row that was not written has added to its score
_NOT_THERE = 1e30
_PREFIX = "undertow.seen/"


@dataclass(frozen=True)
class Cache:
    """An input that grows along an axis, and the output that returns it."""

    input: str
    output: str
    axis: int


def growing(model: Any, states: Mapping[str, str] | None) -> list[Cache]:
    """The caches of a checked model: float32 inputs with an axis of open size, and the outputs that hold their elements
    and one row more, of which `states` says some.
    """
    onnx = require_onnx()
    floats = {
        v.name: v for v in model.graph.input if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }  # fmt: skip
    opened = {
        name: [a for a, d in enumerate(value.type.tensor_type.shape.dim) if not d.HasField("dim_value")]
        for name, value in floats.items()
    }
    if not any(opened.values()):
        return []
    producer = {output: node for node in model.graph.node for output in node.output}
    caches = []
    for output in (value.name for value in model.graph.output):
        node = producer.get(output)
        while node is not None and node.op_type == "Identity":
            node = producer.get(node.input[0])
        if node is None or node.op_type != "Concat" or len(node.input) != 2:
            continue
        source = _behind_identities(node.input[0], producer)
        axis = next(a.i for a in node.attribute if a.name == "axis")
        if source not in opened or (states is not None and states.get(source, output) != output):
            continue
        axis += len(floats[source].type.tensor_type.shape.dim) if axis < 0 else 0
        if axis in opened[source]:
            caches.append(Cache(source, output, axis))
    return caches


def _behind_identities(name: str, producer: Mapping[str, Any]) -> str:
    while (node := producer.get(name)) is not None and node.op_type == "Identity":
        name = node.input[0]
    return name


def with_rings(model: Any, program: Program, caches: list[Cache], capacity: int) -> tuple[Any, dict[str, str]]:
    """The model with caches of a fixed number of rows, and all states that this makes: input -> output. program: what
    was made of the model.

    Raises:
        UnsupportedError: something else than a softmax goes along a cache, as far as shapes tell.
    """
    onnx = require_onnx()
    softmaxes = _along(program, caches)
    ringed = type(model)()
    ringed.CopyFrom(model)
    graph = ringed.graph
    for value in graph.input:
        for cache in (c for c in caches if c.input == value.name):
            value.type.tensor_type.shape.dim[cache.axis].dim_value = capacity - 1
    del graph.value_info[:]
    for value in graph.output:
        for cache in (c for c in caches if c.output == value.name):
            value.type.tensor_type.shape.dim[cache.axis].dim_value = capacity - 1
    _rename(graph, {cache.output: f"{_PREFIX}{cache.output}" for cache in caches})
    for cache in caches:
        ends = [("first", [1]), ("end", [np.iinfo(np.int64).max]), ("axis", [cache.axis])]
        names = [f"{_PREFIX}{cache.output}.{what}" for what, _ in ends]
        for name, (_, numbers) in zip(names, ends, strict=True):
            graph.initializer.append(onnx.numpy_helper.from_array(np.array(numbers, np.int64), name))
        graph.node.append(onnx.helper.make_node("Slice", [f"{_PREFIX}{cache.output}", *names], [cache.output]))
    counter = _count(onnx, graph, capacity)
    for node in [n for n in graph.node if n.output[0] in softmaxes]:
        masked = f"{_PREFIX}{node.output[0]}"
        add = onnx.helper.make_node("Add", [node.input[0], f"{_PREFIX}bias"], [masked], name=masked)
        node.input[0] = masked
        graph.node.insert(list(graph.node).index(node), add)
    return check_model(ringed), {cache.input: cache.output for cache in caches} | counter


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def _count(onnx: Any, graph: Any, capacity: int) -> dict[str, str]:
    """A register that counts the steps, and what it makes of the rows of a cache: `bias`, low of those that are not
    there. It is NaN behind the last step that there is room for.
    """
    name = counting(capacity)
    numbers = {
        "one": np.float32(1),
        "most": np.float32(capacity),
        "ages": np.arange(capacity, dtype=np.float32)[::-1].copy(),
        "there": np.float32(0),
        "not": np.float32(-_NOT_THERE),
    }
    for key, array in numbers.items():
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), f"{_PREFIX}{key}"))
    back = f"{name}.next"
    steps = [
        ("Add", [name, "one"], back),
        ("Sub", ["most", back], "left"),
        ("Sqrt", ["left"], "root"),
        ("Sub", ["root", "root"], "nothing"),
        ("GreaterOrEqual", [name, "ages"], "seen"),
        ("Where", ["seen", "there", "not"], "low"),
        ("Add", ["low", "nothing"], "bias"),
    ]
    own = lambda key: key if key in (name, back) else f"{_PREFIX}{key}"  # noqa: E731
    nodes = [onnx.helper.make_node(op, [own(k) for k in given], [own(to)], name=own(to)) for op, given, to in steps]
    for place, node in enumerate(nodes):
        graph.node.insert(place, node)
    for values, key in ((graph.input, name), (graph.output, back)):
        values.append(onnx.helper.make_tensor_value_info(key, onnx.TensorProto.FLOAT, [1]))
    return {name: back}


def _along(program: Program, caches: list[Cache]) -> set[str]:
    """What softmaxes along the rows of caches give.

    Raises:
        UnsupportedError: there is none, or one goes along another axis of what has the rows.
    """
    nodes = [node for node in program.nodes if node.op == "Softmax"]
    values = [_run(program, caches, {}, rows) for rows in _TRIED]
    softmaxes = set()
    for node in nodes:
        here, there = (of[node.inputs[0]].shape for of in values)
        grown = [a for a, (n, m) in enumerate(zip(here, there, strict=True)) if n != m]
        axis = int(node.attrs.get("axis", -1 if node.opset >= 13 else 1))
        if grown == [axis % len(here)] and grown == [len(here) - 1]:
            softmaxes.add(node.outputs[0])
        elif grown:
            raise UnsupportedError(
                f"{node.where}: has the rows of a cache along axes {grown} of {here}, expected them along its last one"
            )
    if not softmaxes:
        raise UnsupportedError(
            f"cache {caches[0].input!r} grows along axis {caches[0].axis}, and no softmax goes along it: what else is "
            "made of all rows cannot tell those that are not there"
        )
    return softmaxes


def _run(program: Program, caches: list[Cache], feed: Mapping[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """The values of one step; inputs that are not given are zeros, and caches have `rows` rows.

    Raises:
        UnsupportedError: the model cannot be run so.
    """
    sizes = {cache.input: cache.axis for cache in caches}
    given: dict[str, np.ndarray] = {}
    for port in (*program.inputs, *program.state_inputs):
        dims = [1 if isinstance(n, str) else n for n in port.dims]
        if port.name in sizes:
            dims[sizes[port.name]] = rows
        given[port.name] = np.asarray(feed[port.name] if port.name in feed else np.zeros(dims), port.dtype)
    try:
        return evaluated(program, given)
    except (Error, Unclear, ValueError, IndexError, KeyError) as error:
        raise UnsupportedError(f"with caches of {rows} rows it cannot be run: {error}") from None


def check_steps(program: Program, caches: list[Cache], capacity: int, graph: Graph, states: Mapping[str, str]) -> None:
    """Hold the first steps of a graph that has rings against those of the file, whose caches grow from no rows on.

    Raises:
        UnsupportedError: an output is another one; or the model cannot be run.
    """
    rng = np.random.default_rng(0)
    own = {name: output for name, output in states.items() if name != counting(capacity)}
    dims = {p.name: [1 if isinstance(n, str) else n for n in p.dims] for p in (*program.inputs, *program.state_inputs)}
    frames: dict[str, list[np.ndarray]] = {name: [] for name in graph.inputs}
    rows: dict[str, list[np.ndarray]] = {name: [] for name in graph.outputs}
    carried: dict[str, np.ndarray] = {}
    for step in range(min(capacity, _STEPS)):
        for name in graph.inputs:
            value = graph.values[name]
            ids = value.dtype == "int32"
            x = rng.integers(0, 2, value.shape) if ids else rng.standard_normal(value.shape)
            frames[name].append(x.astype(value.dtype))
        feed = {name: frames[name][-1].reshape(dims[name]) for name in frames}
        values = _run(program, caches, {**carried, **feed}, step)
        carried = {name: values[output] for name, output in own.items()}
        for name in rows:
            rows[name].append(values[name].reshape(-1))
    X = {name: np.stack(each) for name, each in frames.items()}
    computed = evaluate(graph, X).outputs
    for name, expected in rows.items():
        here = computed[name].reshape(len(expected), -1)
        if not np.allclose(here, np.stack(expected), _AGREES, _AGREES):
            raise UnsupportedError(
                f"output {name!r} is made of all rows of a cache, and not by a softmax along them alone: with rows "
                "that are not there it is another one"
            )


def check_capacity(capacity: int) -> None:
    """Refuse a ring of a single row, which remembers nothing."""
    if capacity < 2:
        raise ShapeError(f"capacity={capacity}: a cache of one row is that of this step, which remembers nothing")


__all__ = ["Cache", "check_capacity", "check_steps", "growing", "with_rings"]
