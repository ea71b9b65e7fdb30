# SPDX-License-Identifier: MIT
"""Random models: a Graph from a seed, the same one everywhere, and inputs for it.

What follows from the number of the seed, rather than by chance, is what 200 seeds in a row must cover: the main cell
with its size and the activations of its gates, and one op that is in the graph for certain.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from random_cells import CELLS, PLACES, cell
from random_layers import chain, strided
from random_nodes import BINARY, COMPARISONS, PRECISIONS, SIZES, Builder
from undertow.ir.activations import KINDS
from undertow.ir.graph import Graph, Node
from undertow.ir.loops import loops
from undertow.ir.ops import OPS, Layout
from undertow.ir.precision import SMOOTHED
from undertow.passes.unused import prune

#: what a model is made as; those that look ahead or stride may be chains of layers too
THEMES = ("plain", "plain", "ahead", "whole", "registers", "chain", "ahead", "strides", "plain", "whole")
ONE_IS_ADDED: dict[str, Callable[[Builder], None]] = {
    **{
        name: getattr(Builder, f"op_{name}")
        for name in (
            *("dense", "depthwise", "matmul", "activation", "where", "reduce", "affine", "softmax", "log_softmax"),
            *("layer_norm", "concat", "select", "reshape", "constant", "embedding", "window", "past", "expression"),
        )
    },
    **{op: lambda b, op=op: b.binary(op) for op in BINARY},
    "attend": Builder.op_attend,
}


@dataclass
class RandomModel:
    """A graph and how long a sequence to run through it.

    Attributes:
        smooth: no op jumps or is near the edge of its domain.
    """

    seed: int
    graph: Graph
    theme: str
    precision: str
    smooth: bool
    n_frames: int


def make(seed: int) -> RandomModel:
    """The model of a seed."""
    rng = np.random.default_rng([seed, 0])
    theme = THEMES[int(rng.integers(len(THEMES)))]
    wild_gates = seed // 3 % 2 == 1
    smooth = not wild_gates and bool(rng.random() < 0.8)
    precision = (*PRECISIONS, "float32", "mixed")[int(rng.integers(len(PRECISIONS) + 2))]
    ahead = theme == "ahead" or (theme in ("chain", "strides") and bool(rng.random() < 0.5))
    whole = theme == "whole" or (theme == "chain" and not ahead and bool(rng.random() < 0.3))
    b = Builder(seed, smooth=smooth, precision=precision, ahead=ahead, whole=whole)
    if theme in ("chain", "strides"):
        graph = chain(b) if theme == "chain" else strided(b, one_out=wild_gates or b.chance(0.7))
        _reduce(b, graph)
        if wild_gates:
            b.graph, b.pool = graph, list(graph.outputs.values())
            _main_cell(b, seed // 6)
            graph.output("wild", b.pool[-1])
    else:
        graph = _graph(b, theme, wild_gates)
    _smooth(b, graph)
    n_frames = int(rng.choice([1, 2, 3, 7, 12, 13, 24, 24, 49, 60, 100]))
    return RandomModel(seed, graph, theme, precision, smooth, n_frames)


def _reduce(b: Builder, graph: Graph) -> None:
    for node in graph.nodes:
        able = {weight.key: weight.precisions for weight in OPS[node.op].weights if weight.reducible}
        chosen = b.precisions([key for key in able if key in node.weights])
        node.precisions.update({key: name for key, name in chosen.items() if name in able[key]})


def _smooth(b: Builder, graph: Graph) -> None:
    for node in graph.nodes:
        matrices = {weight.key for weight in OPS[node.op].weights if weight.layout is Layout.MATRIX}
        for key, name in node.precisions.items():
            if name in SMOOTHED and key in matrices and b.chance(0.5):
                node.smoothing[key] = b.rng.integers(0, 7, node.weights[key].shape[-1]).astype(np.int8)


def _main_cell(b: Builder, cycle: int | None) -> None:
    cell(b, CELLS[b.seed % 3], SIZES[b.seed // 3 % len(SIZES)], cycle=cycle)


def _graph(b: Builder, theme: str, wild_gates: bool) -> Graph:
    g, seed = b.graph, b.seed
    for i in range(int(b.rng.choice([1, 1, 2, 3]))):
        b.keep(g.input(f"x{i}" if i else "x", b.one_of([(b.size(130),)] * 4 + [(3, 4), (2, 3, 2), ()])))
    if b.chance(0.15) and theme != "registers":  # frames of several timesteps, as an importer says it
        rows = int(b.rng.integers(2, 5))
        b.keep(g.input("timesteps", (rows, b.size(17))))
        g.frames_in = rows
    steps = [lambda: _main_cell(b, seed // 6 if wild_gates else None)]
    if wild_gates:
        steps.append(lambda: b.op_activation(tuple(KINDS)[seed // 6 % len(KINDS)]))
    names = list(ONE_IS_ADDED)
    smooth_names = [n for n in names if n not in COMPARISONS] if b.smooth else names
    steps.append(lambda: ONE_IS_ADDED[smooth_names[seed % len(smooth_names)]](b))
    for _ in range(int(b.rng.integers(1, 7))):
        other = smooth_names[int(b.rng.integers(len(smooth_names)))]
        steps.append(lambda other=other: ONE_IS_ADDED[other](b))
    if b.chance(0.4):
        steps.append(lambda: cell(b, b.one_of(CELLS), b.size(65)))
    if b.ahead:
        steps += [b.op_window] * int(b.rng.integers(1, 4))
    if b.whole:
        steps += [b.op_flip, b.op_last] if b.chance(0.5) else [b.op_last]
        steps += [b.op_loop] * int(b.rng.integers(0, 3))
    elif b.chance(0.2):
        steps.append(b.op_last)
    b.rng.shuffle(steps)
    if theme == "registers" or (not b.whole and b.chance(0.2)):
        steps[:0] = [b.op_register] * int(b.rng.integers(1, 3))
    for step in steps:
        step()
    b.write_registers()
    _outputs(b)
    return g


def _outputs(b: Builder) -> None:
    g = b.graph
    g.output("y", b.pool[-1])
    for i in range(int(b.rng.choice([0, 0, 1, 2]))):
        g.output(f"y{i + 2}", b.pick())
    if b.chance(0.2):
        g.output("again", b.pool[-1])
    if b.chance(0.2):
        g.output("given", b.one_of(b.pool[:1] + [i for i in g.inputs if g.values[i].dtype == "float32"]))
    if b.chance(0.15):
        g.output("fixed", b.add("constant", weights={"value": b.vector(b.size(33))}))
    ids = [i for i in g.inputs if g.values[i].dtype == "int32"]
    if ids and not any(n.op == "window" and n.attrs["taps"][-1] > 0 for n in g.nodes) and b.chance(0.3):
        g.output("ids_again", ids[0])
    if b.whole and not prune(g).whole_sequence_nodes():
        b.op_flip()
        g.output("turned", b.pool[-1])


def table_sizes(graph: Graph) -> dict[str, int]:
    """Of each input of ids, how many there are: the rows of the smallest table that they reach."""
    comes_from = {name: name for name in graph.inputs if graph.values[name].dtype == "int32"}
    found = dict.fromkeys(comes_from, 1 << 30)
    for node in graph.nodes:
        if node.inputs and (source := comes_from.get(node.inputs[0])):
            if node.op == "embedding":
                found[source] = min(found[source], len(node.weights["table"]))
            else:
                comes_from[node.outputs[0]] = source
    return found


def frames(graph: Graph, rng: np.random.Generator, *lead: int) -> dict[str, np.ndarray]:
    """Random input by name, with leading axes. Gates are 0 or 1."""
    made, n_ids = {}, table_sizes(graph)
    for name in graph.inputs:
        shape = (*lead, *graph.shape(name))
        if name in n_ids:
            made[name] = rng.integers(0, n_ids[name], shape).astype(np.int32)
        elif name == "gate":
            made[name] = (rng.random(shape) < 0.7).astype(np.float32)
        else:
            made[name] = rng.normal(size=shape).astype(np.float32)
    return made


# -- what is in a model -----------------------------------------------------------------------------------------------


def features(model: RandomModel, lowered: Graph) -> set[str]:
    """Everything that a model covers; `lowered`: what the engine runs."""
    graph = model.graph
    found = {f"theme {model.theme}", f"precision {model.precision}"}
    for node in (*graph.nodes, *lowered.nodes):
        found |= {f"op {node.op}", *(f"{node.op} in {name}" for name in node.precisions.values())}
        found |= {f"{node.op} smoothed in {node.precisions[key]}" for key in node.smoothing}
        if act := node.attrs.get("activation"):
            found.add(f"{node.op} {act.kind}")
    for node in graph.nodes:
        found |= _cell_features(graph, node) if node.op in CELLS else set()
        if node.op in ("window", "state_write", "expression") and OPS[node.op].is_gated(node):
            found.add(f"{node.op} with a gate")
        if node.op == "expression" and node.states:
            found.add("expression with a state")
        if node.op == "window" and node.states:
            starts = graph.states[node.states[0]].init is not None
            found.add("window with a state" + (" that starts" if starts else ""))
    outputs = list(graph.outputs.values())
    made_by = {value: node for node in graph.nodes for value in node.outputs}
    checks = {
        "several inputs": len(graph.inputs) > 1,
        "several outputs": len(outputs) > 1,
        "an input is an output": any(v in graph.inputs for v in outputs),
        "ids are an output": any(graph.values[v].dtype == "int32" for v in outputs),
        "an output is given twice": len(set(outputs)) < len(outputs),
        "a constant is an output": any(v in made_by and made_by[v].op == "constant" for v in outputs),
        "ids": any(graph.values[i].dtype == "int32" for i in graph.inputs),
        "frames without axes": any(graph.values[i].shape == () for i in graph.inputs),
        "frames of several timesteps": graph.frames_in > 1,
        "several timesteps out": graph.frames_out > 1,
        "whole sequences": bool(graph.whole_sequence_nodes()),
        "loops in whole sequences": bool(graph.whole_sequence_nodes() and loops(graph.nodes)),
        "given once": any(graph.values[v].once for v in outputs) and bool(graph.whole_sequence_nodes()),
        "looks ahead": lowered.latency > 0,
        "looks far ahead": lowered.latency > 48,
        "smooth": model.smooth,
        "one frame": model.n_frames == 1,
    }
    return found | {name for name, holds in checks.items() if holds}


def _cell_features(graph: Graph, node: Node) -> set[str]:
    attrs, w = node.attrs, node.weights
    rows = len(graph.shape(node.inputs[0])) - attrs["steps"] > 1
    options = {
        "rows": rows,
        "steps": attrs["steps"],
        "steps backwards": attrs["steps"] and attrs["reverse"],
        "backwards": attrs["reverse"] and not attrs["steps"],
        "masked": attrs["masked"],
        "gate": OPS[node.op].is_gated(node),
        "from zero": not node.states and len(node.inputs) == 1,
        "from inputs": not node.states and len(node.inputs) > 1,
        "a learned start": any(graph.states[s].init is not None for s in node.states),
        "clip": attrs["clip"] is not None,
        "no bias": "b" not in w,
        "reset after": attrs.get("reset_after", False),
        "reset before": not attrs.get("reset_after", True),
        "recurrent bias": "rb_n" in w,
        "input forget": attrs.get("input_forget", False),
        "peephole": "peephole" in w,
        "projection": "projection" in w,
    }
    found = {f"{node.op} {name}" for name, holds in options.items() if holds}
    found.add(f"{node.op} of {w['W'].shape[1]} units")
    places = zip(PLACES[node.op], attrs["activations"], strict=True)
    return found | {f"{node.op} {place} {act.kind}" for place, act in places}


def expected_features() -> set[str]:
    """What any 200 seeds in a row must cover between them."""
    of_cells = (
        *("rows", "steps", "steps backwards", "backwards", "masked", "gate", "from zero", "from inputs"),
        *("a learned start", "clip", "no bias"),
    )
    own = {"rnn": (), "gru": ("reset after", "reset before", "recurrent bias")}
    own["lstm"] = ("input forget", "peephole", "projection")
    found = {f"op {op}" for op in OPS} | {f"theme {t}" for t in THEMES}
    found |= {f"precision {p}" for p in (*PRECISIONS, "mixed")}
    for op in CELLS:
        found |= {f"{op} {option}" for option in (*of_cells, *own[op])}
        found |= {f"{op} of {n} units" for n in SIZES}
        found |= {f"{op} {place} {kind}" for place in PLACES[op] for kind in KINDS}
    for op in (*CELLS, "dense"):
        found |= {f"{op} in {p}" for p in PRECISIONS if p != "float32"}
        found |= {f"{op} smoothed in {p}" for p in SMOOTHED}
    found.add("depthwise in int16")
    found |= {f"embedding in {p}" for p in ("float16", "bfloat16", "int16", "int8", "int4")}
    found |= {f"activation {kind}" for kind in KINDS}
    found |= {"window with a gate", "state_write with a gate", "window with a state", "window with a state that starts"}
    found |= {"expression with a gate", "expression with a state"}
    return found | {
        *("several inputs", "several outputs", "an input is an output", "ids are an output", "ids", "smooth"),
        *("an output is given twice", "a constant is an output", "frames without axes", "frames of several timesteps"),
        *("several timesteps out", "whole sequences", "given once", "looks ahead", "looks far ahead", "one frame"),
        "loops in whole sequences",
    }
