# SPDX-License-Identifier: MIT
"""Laws of models: files and graphs that come back, whole sequences, and frames of several timesteps."""

import tempfile
from pathlib import Path

import numpy as np

import random_models
import undertow
from law_case import ISAS, Case, again, rebuilt
from random_cells import CELLS
from undertow import tow
from undertow.compile import compile_graph
from undertow.ir.graph import Graph, Node
from undertow.ir.precision import stored
from undertow.model import Model
from undertow.passes.unused import prune


def files(case: Case, rng) -> None:
    """A file gives the model again, and its graph the file."""
    case.holds(compile_graph(case.made.graph.copy()) == case.blob, "a copy of the graph makes another file")
    case.holds(compile_graph(case.lowered) == case.blob, "the graph of a file makes another file")
    case.holds(Model.from_graph(case.model.graph).hash == case.model.hash, "Model.graph makes another hash")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tow"
        case.model.save(path)
        again = undertow.load(path)
        case.holds(path.read_bytes() == case.blob, "save writes other bytes than compile_graph gives")
        case.holds(again.hash == case.model.hash and again.mapped, "load gives another hash, or copies the file")
        Y, state = again.run_with_state(case.one(case.X))
        first, reached = case.model.run_with_state(case.one(case.X))
        case.same(case.named(Y), case.named(first), "after save and load")
        case.same(state, reached, "state after save and load")
        del again


def sets(case: Case, rng) -> None:
    """A whole sequence has the same bits on every instruction set, and in the C interface."""
    Y, state = case.model.run_with_state(case.one(case.X))
    for isa in ISAS:
        model = case.models[isa]
        ys, finals = model._core.run_sequence(list(case.X.values()), case.T, case.T, [None] * len(model.states))
        case.same(dict(zip(model.outputs, ys, strict=True)), case.named(Y), isa)
        case.same(dict(zip(model.states, finals, strict=True)), state, f"states on {isa}")


def turned(case: Case, rng) -> None:
    """A cell that runs backwards is one that runs forwards between two flips."""
    graph = rebuilt(case.made.graph, _turned)
    Y, state = case.model.run_with_state(case.one(case.X))
    got, reached = Model.from_graph(graph, case.some_model(rng).isa).run_with_state(case.one(case.X))
    case.same(case.named(got), case.named(Y), "with flips")
    case.same(reached, {name: state[name] for name in reached}, "states with flips")


def _turned(graph: Graph, node: Node, inputs: list[str]) -> tuple[str, ...]:
    attrs = node.attrs
    if node.op not in CELLS or not attrs["reverse"] or attrs["steps"] or attrs["masked"]:
        return again(graph, node, inputs)
    x = graph.add("flip", inputs)
    return tuple(graph.add("flip", [y]) for y in again(graph, node, [x], attrs=attrs | {"reverse": False}))


def numbers_alone(case: Case, rng) -> None:
    """16-bit weights are as good as float32 ones of their numbers, and integers in blocks as those without."""
    graph = case.made.graph.copy()
    for node in graph.nodes:
        for key, name in list(node.precisions.items()):
            if name in ("float16", "bfloat16"):
                node.weights[key] = stored(node.weights[key], name)
                del node.precisions[key]
            elif name == "sparse int8":
                node.precisions[key] = "int8"
    model = Model.from_graph(graph, case.some_model(rng).isa)
    if model.hash == case.model.hash:
        return
    case.notes["as other numbers"] += 1
    Y, state = model.run_with_state(case.one(case.X))
    want, end = case.model.run_with_state(case.one(case.X))
    case.same(case.named(Y), case.named(want), f"other precisions, {model.isa}")
    case.same(state, end, f"states, other precisions, {model.isa}")


def knows_lengths(case: Case) -> bool:
    """Models that look ahead, that have state registers, or no masked layer, take whole sequences alone."""
    nodes = case.lowered.nodes
    masked = any(node.attrs.get("masked") for node in nodes)
    return masked and not case.latency and not any(node.op.startswith("state_") for node in nodes)


def padded(case: Case, rng) -> None:
    """Where only masked ops see time, frames behind the length of a sequence change nothing."""
    if case.T < 2 or not knows_lengths(case):
        return
    n = int(rng.integers(1, case.T))
    Y, state = case.model.run_with_state(case.one(case.X), length=n)
    for isa in ISAS[1:]:
        got, reached = case.models[isa].run_with_state(case.one(case.X), length=n)
        case.same(case.named(got), case.named(Y), f"length {n} on {isa}")
        case.same(reached, state, f"states, length {n} on {isa}")
    if not all(_sees_no_padding(node) for node in case.lowered.nodes):
        return
    case.notes["padded"] += 1
    short, end = case.model.run_with_state(case.one(case.cut(case.X, slice(0, n))))
    once = {name for name, v in case.model.outputs.items() if v.once}
    got = {name: y if name in once else y[:n] for name, y in case.named(Y).items()}
    case.same(got, case.named(short), f"length {n} of {case.T}")
    case.same(state, end, f"states, length {n} of {case.T}")


def _sees_no_padding(node) -> bool:
    if node.op in CELLS and node.states:
        return node.attrs["masked"]
    if node.op == "window":
        return not node.states and node.attrs["taps"][-1] <= 0
    return node.op != "flip" and (node.op != "last" or node.attrs["masked"])


def timesteps(case: Case, rng) -> None:
    """A sequence of timesteps is a sequence of frames of several."""
    model = case.model
    if model.frames_in == 1:
        return
    flat = {
        name: x.reshape(-1, *x.shape[2:]) if x.ndim > 1 and x.shape[1] == model.frames_in else x
        for name, x in case.X.items()
    }
    want = {
        name: y if v.once or model.frames_out == 1 else y.reshape(-1, *v.shape[1:])
        for (name, y), v in zip(case.named(model.run(case.one(case.X))).items(), model.outputs.values(), strict=True)
    }
    case.same(case.named(model.run(case.one(flat))), want, "timesteps, not frames")


def opened(case: Case, rng) -> dict[str, np.ndarray]:
    """Inner values may be outputs, and nothing changes. Gives all of them, each as late as a stream computes it."""
    graph = case.lowered.copy()
    inner = {
        name: f"inner {name}" for name, v in graph.values.items() if v.dtype == "float32" and name not in graph.inputs
    }
    for name, output in inner.items():
        graph.output(output, name)
    model, d = Model.from_graph(graph, case.model.isa), case.latency
    if d:
        stream = model.stream()
        rows, tail = stream.run(case.one(case.X)), stream.flush()
        found = {name: np.concatenate([rows[name], tail[name]]) for name in rows}
        case.same({name: found[name] for name in case.model.outputs}, case.rows[0], "with inner values as outputs")
    else:
        made = model.run(case.one(case.X))
        found = made if isinstance(made, dict) else {next(iter(model.outputs)): made}
        want = case.named(case.model.run(case.one(case.X)))
        case.same({name: found[name] for name in want}, want, "with inner values as outputs")
    values = {name: found[output] for name, output in inner.items()}
    values |= {n: np.concatenate([x, np.zeros((d, *x.shape[1:]), x.dtype)]) for n, x in case.X.items()}
    for node in graph.nodes:  # ids on their way to an embedding
        if node.op == "reshape" and graph.values[node.outputs[0]].dtype == "int32":
            x = values[node.inputs[0]]
            values[node.outputs[0]] = x.reshape(len(x), *node.attrs["shape"])
    return values


def ids(case: Case, rng) -> None:
    """An id that no table has is refused, however it reaches the table."""
    for name, n in random_models.table_sizes(prune(case.made.graph)).items():
        if n == 1 << 30:  # of no table
            continue
        got = case.model.inputs[name].n_ids
        case.holds(got == n, f"input {name!r} says that it has {got} ids, expected {n}, the rows of its smallest table")
        X = case.cut(case.X, slice(None))
        X[name].reshape(-1)[-1] = n
        try:
            case.model.run(case.one(X))
        except ValueError as refused:
            case.holds(f"{n}" in str(refused), f"an id of {n} is refused with {refused}")
        else:
            raise case.broken(f"input {name!r} takes an id of {n}, and has {n} of them")


def tow_is_stable(case: Case, rng) -> None:
    """Reading and writing a file any number of times gives the file."""
    blob = case.blob
    for _ in range(2):
        blob = tow.write(tow.read(blob))
        case.holds(blob == case.blob, "write(read(file)) is another file")
