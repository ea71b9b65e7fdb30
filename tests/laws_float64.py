# SPDX-License-Identifier: MIT
"""Laws of numbers: the engine against float64, one node at a time and as a whole.

One node at a time, from what the engine gave it: every number must lie within the bound that bounds.py derives for that
node, with the weights as the file stores them; the oracle and the reference, on some rows each, must agree with the
middle of the ball.

As a whole, for smooth models whose products are not rounded to integers: how far the outputs move when every weight,
every input and what every node gives is shaken by 2^-20 of itself is the condition of the model, and the engine must be
no further from the reference than CONDITION times that.
"""

import numpy as np

import laws_models
from bounds import Ball
from law_case import Case, again, rebuilt
from random_models import CELLS
from tolerances import CONDITION, FLOAT64_AGREE, ILL_CONDITIONED, LOWERED, SHAKEN
from truths import Rows, Truths, by_oracle, judged_rows
from undertow import reference
from undertow.ir.graph import Graph, Node
from undertow.ir.ops import OPS, Span
from undertow.ir.precision import INTEGERS, numbers
from undertow.passes.latency import latencies
from undertow.passes.unused import prune
from undertow.reference.nodes import outputs, prepare

#: rows of a node that the oracle and the reference compute
ROWS = 3


def nodes(case: Case, rng) -> None:
    """Each node gives what float32 may make of what it is given."""
    values = laws_models.opened(case, rng)
    truths = Truths(case.lowered, values, case.T)
    with np.errstate(all="ignore"):
        for node in case.lowered.nodes:
            if node.op == "state_write" or case.lowered.values[node.outputs[0]].dtype == "int32":
                continue
            balls = truths.expected(node)
            for name, ball in zip(node.outputs, balls, strict=True):
                within(case, ball, values[name], f"{node.op} {name!r}")
            judged = judged_rows(truths, node, balls)
            if not all(truths.in_time(v) for v in node.outputs):
                continue  # given once: like any other
            for row, made in by_oracle(truths, node, judged, rng, ROWS):
                agree(case, truths, node, balls, row, made, "the oracle")
            for row, made in by_formulas(truths, node, judged, rng):
                agree(case, truths, node, balls, row, made, "the reference")


def within(case: Case, ball: Ball, got: np.ndarray, what: str) -> None:
    """Every number of a node is in its ball; where bounds say nothing, nothing is said."""
    got, v, e = got.astype(np.float64), np.broadcast_to(ball.v, got.shape), np.broadcast_to(ball.e, got.shape)
    judged = np.isfinite(e) & np.isfinite(v)
    case.notes["judged"] += int(judged.sum())
    case.notes["not judged"] += int((~judged).sum())
    gap = np.where(judged, np.abs(got - v) / np.maximum(e, 2.0**-149), 0.0)
    gap = np.where(judged & np.isnan(got), np.inf, gap)
    moved = np.isfinite(e) & (e == 0) & ~(v == got) & ~(np.isnan(v) & np.isnan(got))
    gap = np.where(moved, np.inf, gap)
    case.worst("of a node", gap)
    if gap.size and not gap.max() <= 1:
        at = tuple(int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape))
        raise case.broken(f"{what}{list(at)} expected {v[at]:.9g} within {e[at]:.3g}, got {got[at]:.9g}")


def agree(case: Case, truths: Truths, node: Node, balls: list[Ball], row: int, made, who: str) -> None:
    """Another float64 computation of some row, and the middle of its ball."""
    for name, ball, y in zip(node.outputs, balls, made, strict=True):
        width = truths.graph.shape(name)[-1:] if node.op in CELLS else truths.graph.shape(name)
        v, e = (np.broadcast_to(a, truths.values[name].shape).reshape(-1, *width)[row] for a in ball)
        size = np.maximum(1.0, np.abs(v))
        # What float32 is off by, float64 is by 2^-29 of it; where a ball holds a jump, they may land on either side.
        limit = FLOAT64_AGREE * size + np.where(e > 1e-3 * size, e, 2.0**-24 * e)
        gap = np.where(np.isfinite(v) & np.isfinite(e), np.abs(np.asarray(y) - v) / limit, 0.0)
        case.notes["agreed"] += 1
        if not np.nan_to_num(gap, nan=np.inf).max(initial=0) <= 1:
            at = int(gap.argmax())
            raise case.broken(
                f"{node.op} {name!r}, row {row}: {who} gives {np.ravel(y)[at]!r}, bounds.py {np.ravel(v)[at]!r}"
            )


def by_formulas(truths: Truths, node: Node, judged: np.ndarray, rng) -> Rows:
    """As truths.by_oracle, by the formulas of ops: all that `undertow.reference` computes of a node."""
    if node.op in ("window", "present", "last", "flip", "state_read", "constant"):
        return []
    if node.op == "expression" and node.states:  # whose states nobody has said; `whole` goes with it through time
        return []
    w = prepare(node, rounding=True)
    if node.op in CELLS:
        x, before, is_open = truths.walked(node, False)
        rows = rng.permutation(np.flatnonzero(is_open & judged))[:ROWS]
        return [(t, list(OPS[node.op].rows(node, w, x[t], tuple(s[t] for s in before)))) for t in rows]
    rows = rng.permutation(np.flatnonzero(judged))[:ROWS]
    xs = [truths.over_time(v)[rows] for v in node.inputs]
    ys = outputs(node, w, xs, Span(len(rows)))
    return [(t, [y[i] for y in ys]) for i, t in enumerate(rows)]


# -- as a whole -------------------------------------------------------------------------------------------------------


def whole(case: Case, rng) -> None:
    """The engine is as near to the reference as the condition of the model allows, also where a sequence is padded."""
    integers = any(numbers(p) in INTEGERS for node in case.made.graph.nodes for p in node.precisions.values())
    if not case.made.smooth or integers:
        return
    T = min(case.T, 24)
    X, graph = case.cut(case.X, slice(0, T)), plain(case.made.graph)
    lengths = [None]
    if any(node.attrs.get("masked") for node in case.lowered.nodes) and laws_models.knows_lengths(case):
        lengths.append(int(rng.integers(1, T + 1)))
    shaken = [_shaken(graph, X, rng) for _ in range(SHAKEN)]
    for length in lengths:
        exact = _by_name(reference.run(graph, case.one(X), length=length, return_state=True), graph)
        others = [_by_name(reference.run(*pair, length=length, return_state=True), graph) for pair in shaken]
        got = _by_name(case.model.run_with_state(case.one(X), length=length), graph)
        for name in timely(case, exact):
            want, y = exact[name], got[name]
            moved = np.max([np.abs(other[name] - want) for other in others], axis=0)
            in_time = name in graph.outputs and want.ndim > len(graph.shape(graph.outputs[name]))
            _near(case, f"{name}, length {length}", want, y, moved, in_time)


def _near(case: Case, what: str, want: np.ndarray, got: np.ndarray, moved: np.ndarray, in_time: bool) -> None:
    size = np.abs(want)
    if in_time:  # the worst so far
        moved, size = (a.reshape(len(a), -1).max(1, initial=0) for a in (moved, size))
        moved, size = (np.maximum.accumulate(a).reshape(-1, *[1] * (want.ndim - 1)) for a in (moved, size))
    else:
        moved, size = moved.max(initial=0), size.max(initial=0)
    limit = CONDITION * moved + 2.0**-22 * size + 2.0**-100
    known = np.broadcast_to(np.isfinite(limit) & (limit < ILL_CONDITIONED * np.maximum(size, 1)), want.shape)
    case.notes["known as a whole"] += int(known.sum())
    case.notes["ill-conditioned"] += int((~known).sum())
    gap = np.where(known, np.abs(got - want) / limit, 0.0)
    gap = np.where(known & np.isnan(got), np.inf, gap)
    case.worst("as a whole", gap)
    if gap.size and not gap.max() <= 1:
        at = tuple(int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape))
        bound = float(np.broadcast_to(limit, want.shape)[at])
        raise case.broken(f"{what}{list(at)} expected {want[at]:.9g} within {bound:.3g}, got {got[at]:.9g}")


def timely(case: Case, found) -> list[str]:
    """Outputs, and final states that are no later than these; one that is, a flush leaves some frames behind."""
    graph = prune(case.made.graph)
    late = latencies(graph) if case.model.streamable else {}
    owners = {s: n for n in graph.nodes if n.op != "state_read" for s in n.states}
    there = {f"final {s}" for s, n in owners.items() if (late.get((n.outputs or n.inputs)[0]) or 0) <= case.latency}
    return [name for name in found if name in graph.outputs or name in there]


def _by_name(found, graph: Graph) -> dict[str, np.ndarray]:
    """Outputs and final states of `run`."""
    Y, state = found
    Y = Y if isinstance(Y, dict) else {next(iter(graph.outputs)): Y}
    return {**Y, **{f"final {name}": s for name, s in state.items()}}


def plain(graph: Graph) -> Graph:
    """The graph with the numbers that its file stores, in float32."""
    other = graph.copy()
    for node in other.nodes:
        node.weights.update({key: OPS[node.op].as_stored(node, key) for key in node.precisions})
        node.precisions, node.smoothing = {}, {}
    return other


def _shaken(graph: Graph, X, rng) -> tuple[Graph, object]:
    """The graph and its input, every number off by up to 2^-20 of itself."""

    def shake(a: np.ndarray) -> np.ndarray:
        most = np.finfo(np.float32).max
        return np.clip(a * (1 + rng.integers(-8, 9, np.shape(a)) * 2.0**-23), -most, most).astype(np.float32)

    def add(other: Graph, node: Node, inputs: list[str]) -> tuple[str, ...]:
        weights = {key: a if key == "indices" else shake(a) for key, a in node.weights.items()}
        found = []
        for made in again(other, node, inputs, weights=weights):
            shape = other.shape(made)
            if other.values[made].dtype == "float32":
                off = {"scale": shake(np.ones(shape)), "shift": np.zeros(shape)}
                made = other.add("affine", [made], weights=off)
            found.append(made)
        return tuple(found)

    X = {name: shake(x) if x.dtype == np.float32 else x for name, x in X.items()}
    return rebuilt(graph, add, shake), X if len(X) > 1 else next(iter(X.values()))


def lowered(case: Case, rng) -> None:
    """Look-ahead is late and nothing else, in float64 too: the graph in the file means what the graph meant."""
    T = min(case.T, 24)
    X = case.one(case.cut(case.X, slice(0, T)))
    want, got = (_by_name(reference.run(g, X, return_state=True), g) for g in (plain(case.made.graph), case.lowered))
    for name in timely(case, want):
        y = want[name]
        size = np.maximum(1.0, np.nan_to_num(np.abs(y), nan=0.0, posinf=0.0).max(initial=0))
        with np.errstate(all="ignore"):
            gap = np.abs(got[name] - y) / (LOWERED * size)
        equal = (y == got[name]) | (np.isnan(y) & np.isnan(got[name]))
        gap = np.where(equal, 0.0, np.where(np.isnan(gap), np.inf, gap))
        case.worst("of a lowered graph", gap)
        if gap.size and not gap.max() <= 1:
            at = tuple(int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape))
            raise case.broken(f"{name}{list(at)} expected {y[at]!r}, the lowered graph gives {got[name][at]!r}")
