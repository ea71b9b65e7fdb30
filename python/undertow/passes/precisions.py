# SPDX-License-Identifier: MIT
"""Choose the precisions in which a file stores weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..errors import ModelWarning, UnsupportedError
from ..ir import precision
from ..ir.balance import balanced
from ..ir.graph import Graph, Node
from ..ir.ops import OPS, Layout
from ..ir.ops.cells import Cell
from .mixture import mixed
from .smoothing import ALONE, without_data

#: what "auto" stores weights as, where no data says what they may cost
AUTO = "int16"

#: one precision for every weight; or layer -> precision, or layer -> weight key -> precision
Precisions = str | Mapping[str, str | Mapping[str, str]]


def with_weights(
    graph: Graph, precisions: Precisions, *, layers: Iterable[str] | None = None, smooth: bool = False
) -> Graph:
    """A copy of a graph whose file stores its weights in the given precisions: "float32", "float16", "bfloat16",
    "int16", "int8" or "int4"; for recurrent cells also "fixed8", for matrices "sparse float32" or "sparse int8"
    (`undertow.passes.sparsify` finds those that are worth it). Weights stay float32 in the graph until it is compiled;
    matrices in int16 are rounded here, so that the errors of a row cancel (`undertow.ir.balance`).

    Args:
        graph: stays as it is.
        precisions: one for every matrix and embedding table, or a mapping from the name of a layer to a precision or
            to a mapping of its weight keys ("W", "R", "projection", "table") to precisions. Layers and keys that a
            mapping does not name stay as they are. "int8+int16" is int8, and int16 for tables and the matrices
            that cost least (`undertow.passes.mixture`); so is every other pair. Filters of depthwise layers have int16
            besides float32 alone; one precision for all that they do not have leaves them as they are. "fixed8" for all
            is for the recurrent cells that it can be for, and int8 for everything else.
        layers: where precisions is a string, the layers that it is for; all when omitted.
        smooth: columns of matrices that come to int8 are smoothed by their weights alone, where they are far from equal
            (`undertow.passes.smoothing`).

    Raises:
        UnsupportedError: a precision, layer or key does not exist; or products with a weight in int16 or int8 might be
            infinite where those in float32 are not, as of weights above 1e31.
        TypeError: layers beside a mapping.

    >>> import numpy as np, undertow
    >>> g = undertow.Graph("demo")
    >>> x = g.input("x", 3)
    >>> g.output("y", g.add("dense", [x], name="head", weights={"W": np.ones((2, 3))}))
    >>> with_weights(g, "int8").nodes[0].precisions
    {'W': 'int8'}
    """
    changed = graph.copy()
    able = {node.name: node for node in changed.nodes if OPS[node.op].reducible}
    if precisions == "auto" and layers is None:
        precisions = {name: _auto(node) for name, node in able.items()}
    elif isinstance(precisions, str) and "+" in precisions and layers is None:
        precisions = mixed(changed, *_pair(precisions, f"graph {graph.name!r}"))
    elif not isinstance(precisions, Mapping):
        precision.check(precisions, f"graph {graph.name!r}")
        if layers is None:
            layers = [name for name, node in able.items() if _takes(node, precisions)]
            precisions = {name: _beside(able[name], precisions) for name in layers}
        else:
            precisions = dict.fromkeys(layers, precisions)
    elif layers is not None:
        raise TypeError("layers= goes with one precision for all of them; a mapping names its layers itself")
    for name, chosen in precisions.items():
        if name not in able:
            raise UnsupportedError(
                f"graph {graph.name!r}: layer {name!r} has no weights with a precision; layers that have: "
                f"{', '.join(able) or 'none'}"
            )
        node = able[name]
        if not isinstance(chosen, Mapping):
            chosen = {key: chosen for key in OPS[node.op].reducible if key in node.weights}
        if smooth:  # what is in this precision already stays, to the bit
            new = [k for k, name in chosen.items() if name in ALONE and name != node.precisions.get(k)]
            node.smoothing |= without_data(node, [key for key in new if key not in node.smoothing])
        node.precisions.update(chosen)
        OPS[node.op].check_precisions(node)
        for weight in OPS[node.op].weights:
            key = weight.key
            if weight.layout is Layout.TABLE or key not in chosen or key not in node.precisions:
                continue
            what = f"{node.op} {node.name!r}: {weight.rows_name}"
            rows, smoothing = weight.as_rows(node.weights[key]), node.smoothing.get(key)
            with np.errstate(over="ignore"):
                summed = rows if smoothing is None else np.ldexp(rows, smoothing.astype(np.int32))
            if np.isfinite(summed).all():  # else it is refused when it is stored
                precision.check_sums(summed, node.precisions[key], what)
            if node.precisions[key] == "int16":
                node.weights[key] = np.ascontiguousarray(weight.as_rows(_balanced(rows, smoothing, what)))
    return changed


def lost(before: Graph, after: Graph) -> list[str]:
    """What to say of weights of one graph that are 0 as `with_weights` stores them in the other: they are too small."""
    said = []
    nodes = {node.name: node for node in before.nodes}
    for node in after.nodes:
        for weight in OPS[node.op].weights:
            if weight.key in node.precisions and weight.key in nodes[node.name].weights:
                rows, name = weight.as_rows(nodes[node.name].weights[weight.key]), node.precisions[weight.key]
                if n := precision.n_lost(rows, name):
                    n_rows = rows.size // rows.shape[-1]
                    said.append(
                        f"{node.op} {node.name!r}: {n:,} of {n_rows:,} rows of {weight.key} are 0 in {name}: "
                        "their weights are too small for it; store it as float32"
                    )
    return said


def warn_of_lost(before: Graph, after: Graph) -> None:
    """Warn of what is `lost`."""
    for words in lost(before, after):
        warnings.warn(words, ModelWarning, stacklevel=3)


def beside_fixed(graph: Graph) -> list[str]:
    """The recurrent cells of a graph that "fixed8" for all leaves to int8, each with why."""
    cells = [(node, op) for node in graph.nodes if isinstance(op := OPS[node.op], Cell)]
    return [f"{node.op} {node.name!r} {why}" for node, op in cells if (why := op.why_not_fixed(node))]


def _pair(precisions: str, what: str) -> tuple[str, str]:
    """The coarse and the fine one of a pair such as "int8+int16"."""
    names = precisions.split("+")
    for name in names:
        precision.check(name, what)
    if wrong := wrong_pair(names):
        raise UnsupportedError(f"{what}: {precisions!r} {wrong}")
    return names[0], names[1]


def wrong_pair(names: Sequence[str]) -> str:
    """What is wrong with precisions that exist as a pair, in words that follow on it; "" where nothing is."""
    exactness = list(precision.CODES)
    if len(names) != 2 or not {*names} <= {*exactness}:
        return "is no pair, a coarse precision and a fine one: 'int8+int16'"
    coarse, fine = names
    if "float32" in names or coarse == fine:
        reduced = coarse if coarse != "float32" else fine
        return f"is no pair, two reduced precisions that differ, as 'int8+int16'; one for all weights is {reduced!r}"
    if exactness.index(coarse) < exactness.index(fine):
        return f"names the more exact one first; write '{fine}+{coarse}'"
    return ""


def _auto(node: Node) -> dict[str, str]:
    return {
        weight.key: AUTO
        for weight in OPS[node.op].weights
        if AUTO in weight.precisions and weight.key in node.weights
        if holds(weight.as_rows(node.weights[weight.key]), AUTO)
    }


def holds(w: np.ndarray, name: str) -> bool:
    """Whether a precision can store a weight: finite numbers in its range, in no more columns than it takes."""
    try:
        precision.stored(w, name)
        precision.check_sums(w, name)
    except UnsupportedError:
        return False
    return True


def _takes(node: Node, name: str) -> bool:
    """Whether a precision for all layers is for this one: filters have few."""
    reducible = [weight for weight in OPS[node.op].weights if weight.reducible]
    return any(weight.layout is not Layout.FILTERS or name in weight.precisions for weight in reducible)


def _beside(node: Node, name: str) -> str:
    """What a precision for all layers is for this one."""
    op = OPS[node.op]
    can_be = name != precision.FIXED or (isinstance(op, Cell) and not op.why_not_fixed(node))
    return name if can_be else precision.BESIDE_FIXED


def _balanced(w: np.ndarray, smoothing: np.ndarray | None, what: str) -> np.ndarray:
    """A matrix rounded to int16, the errors of each row against each other; of one that was, itself."""
    if smoothing is not None:
        return precision.unsmoothed(_balanced(precision.smoothed(w, smoothing, what), None, what), smoothing)
    scale = precision.quantise(w, "int16", what).scale[..., None]
    most = precision.limit(w.shape[-1])
    steps = np.divide(w, scale, out=np.zeros_like(w), where=scale > 0).clip(-most, most)
    return (balanced(steps) * scale).astype(np.float32)
