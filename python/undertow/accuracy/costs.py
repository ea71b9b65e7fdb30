# SPDX-License-Identifier: MIT
"""What each precision costs and saves of a model: bytes, time of a step, errors. `undertow info` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ..inspect.describe import human_bytes, table
from ..ir.graph import Graph, Node
from ..ir.ops import OPS
from ..ir.precision import BESIDE_FIXED, CODES, FIXED
from ..model import Model
from ..passes.sparsify import in_blocks
from ..tow.sizes import weight_bytes
from . import timing
from .drift import Distance, n_of_numbers, said_of_frames
from .judge import Judge, Tally
from .verify import by_name, one_or_all

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class PrecisionCost:
    """A model with all of its weights in one precision. What was not measured is None.

    Attributes:
        bytes: of the weights in a file.
        step_us: median microseconds of a step from Python; of a run of all frames, where it cannot be streamed.
        ratio: of the same in float32 to that, median over turns: above 1 where this is faster.
        max: largest error. relative: RMS of the errors as a share of the output's. judged: what the judge found.
        refused: why it cannot hold these weights; "" where it can.
    """

    precision: str
    bytes: int
    step_us: float | None = None
    ratio: float | None = None
    max: float | None = None
    relative: float | None = None
    judged: float | None = None
    refused: str = ""


def sizes(graph: Graph) -> list[PrecisionCost]:
    """Bytes of the weights in each precision, in blocks where `Model.with_weights` stores them so; in fixed8 where
    there is a cell that has it.

    Empty where no weight has a precision to choose.
    """
    if not any(key in node.weights for node in graph.nodes for key in OPS[node.op].reducible):
        return []
    return [
        PrecisionCost(precision, sum(weight_bytes(node, _all_in(node, precision)) for node in graph.nodes))
        for precision in (*CODES, *([FIXED] if any(_has(node, FIXED) for node in graph.nodes) else []))
    ]


def _has(node: Node, precision: str) -> bool:
    return any(weight.key in node.weights and precision in weight.precisions for weight in OPS[node.op].weights)


def _all_in(node: Node, precision: str) -> dict[str, str]:
    name = BESIDE_FIXED if precision == FIXED and not _has(node, FIXED) else precision
    weights = (weight for weight in OPS[node.op].weights if weight.key in node.weights)
    return in_blocks(node, {weight.key: name for weight in weights if name in weight.precisions})


def measured(model: Model, X: Arrays, judge: Judge | None = None, seconds: float = 0.2) -> list[PrecisionCost]:
    """As `sizes`, with times, which are taken in turns, and errors on X: input name -> (T, *frame), T at least 1.

    Errors are those from the model's own weights in float32.

    Args:
        judge: what else to ask of the outputs.
        seconds: about, to spend on the steps of each precision.

    Raises:
        UnsupportedError, ShapeError: as `Judge.of`.
        ShapeError: X has no frames, or none whose outputs are numbers.
    """
    n_frames = len(next(iter(X.values())))
    if n_frames == 0:
        raise ShapeError("there are no frames to measure on; at least one is needed")
    judge = None if judge is None else judge.of(model.outputs)
    costs = {cost.precision: cost for cost in sizes(model.graph)}
    models: dict[str, Model] = {}
    refused: dict[str, str] = {}
    for precision in costs:
        try:
            models[precision] = model.with_weights(precision)
        except UnsupportedError as error:
            refused[precision] = str(error)
    if not models:
        return []
    times = _times(list(models.values()), X, seconds)
    float32 = np.median(times[0].reshape(timing.ROUNDS, -1), axis=1)
    exact = by_name(models["float32"].run(one_or_all(dict(X))), model.outputs)
    said_of_frames(n_of_numbers(exact, model.outputs, n_frames), n_frames)
    lines = []
    for (precision, reduced), series in zip(models.items(), times, strict=True):
        distance = Distance(1, n_frames, tally=None if judge is None else Tally(judge))
        distance.add(by_name(reduced.run(one_or_all(dict(X))), model.outputs), exact)
        turns = np.maximum(np.median(series.reshape(timing.ROUNDS, -1), axis=1), 1)
        lines.append(
            PrecisionCost(
                precision,
                sum(weight_bytes(node) for node in reduced.graph.nodes),
                float(np.median(series)) / 1e3,
                float(np.median(float32 / turns)),
                distance.max,
                distance.relative,
                None if distance.tally is None else distance.tally.measured,
            )
        )
    lines += [PrecisionCost(precision, costs[precision].bytes, refused=why) for precision, why in refused.items()]
    return sorted(lines, key=lambda cost: [*CODES, FIXED].index(cost.precision))


def counted(model: Model, X: Arrays) -> str:
    """How many of the frames of X errors are counted on, in words: those whose outputs are numbers."""
    n_frames = len(next(iter(X.values())))
    exact = model.with_weights("float32")
    Y = by_name(exact.run(one_or_all(dict(X))), exact.outputs)
    return said_of_frames(n_of_numbers(Y, exact.outputs, n_frames), n_frames)


def _times(models: list[Model], X: Arrays, seconds: float) -> list[np.ndarray]:
    """Nanoseconds of calls of each, in turns; whole rounds."""
    if models[0].streamable:
        frame = one_or_all({name: np.array(x[0, ...]) for name, x in X.items()})
        calls = [partial(model.stream().step, frame) for model in models]
    else:
        calls = [partial(model.run, one_or_all(dict(X))) for model in models]
    n = [max(timing.calls_in(call, seconds) // timing.ROUNDS, 1) * timing.ROUNDS for call in calls]
    return timing.record(calls, n)


def as_table(costs: list[PrecisionCost], judge: Judge | None = None) -> str:
    """Costs in lines, those that were not measured without their columns."""
    timed = any(cost.step_us is not None for cost in costs)
    if judge and judge.kind == "rms":
        judge = None  # whose column is there in any case
    rows = [["weights in", "bytes", "of float32"]]
    if timed:
        rows[0] += ["a step", "times faster", "RMS %", *([judge.heading] if judge else [])]
    for cost in costs:
        row = [cost.precision, human_bytes(cost.bytes), f"{cost.bytes / costs[0].bytes:.0%}"]
        if cost.step_us is not None and cost.ratio is not None and cost.relative is not None:
            row += [f"{cost.step_us:.2f} us", f"{cost.ratio:.2f}", f"{100 * cost.relative:.2g}"]
        if judge and cost.judged is not None:
            row.append(judge.said(cost.judged))
        rows.append(row + ["-"] * (len(rows[0]) - len(row)))
    return "\n".join([table(rows), *(f"  not in {cost.precision}: {cost.refused}" for cost in costs if cost.refused)])


def facts(costs: list[PrecisionCost]) -> list[dict[str, Any]]:
    """All of it for JSON."""
    return [asdict(cost) for cost in costs]


__all__ = ["PrecisionCost", "as_table", "counted", "facts", "measured", "sizes"]
