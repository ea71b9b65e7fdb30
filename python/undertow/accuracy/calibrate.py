# SPDX-License-Identifier: MIT
"""What weight precisions cost and save on somebody's own data, and the fastest that stay within a tolerance.

The measure is the largest |output - float32 output| over all frames and all numbers of all outputs, or what another
judge makes of them (`undertow.accuracy.judge`), both models streaming the same frames from a fresh state. It says
nothing about data unlike the data it was measured on. What is fastest is computed (`undertow.accuracy.step_cost`), so
that the same model and data give the same file.

The data is one stream, arrays (T, *frame), or N sequences, (N, T, *frame), each of which starts afresh. It also decides
how weights of integers are rounded (`undertow.accuracy.trials`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._inputs import by_name as by_name_of
from .._inputs import coerce
from .._text import quoted, shown
from ..errors import ShapeError, ToleranceError
from ..ir import superframes
from ..ir.graph import Graph, Value
from ..ir.ops import OPS
from ..model import Model
from ..passes.precisions import Precisions, with_weights
from .calibration import Calibration
from .choice import Choice, Picked, by_layer
from .drift import Arrays
from .judge import Judge
from .trials import Trials


def measure(
    graph: Graph,
    weights: Precisions,
    X: Arrays,
    tolerance: float | None = None,
    isa: str | None = None,
    judge: Judge | None = None,
) -> Calibration:
    """Give what `weights` (see `with_weights`) cost on X: input name -> (T, *frame), or sequences (N, T, *frame).

    Args:
        tolerance: in the measure of the judge.
        judge: the largest error where none is given.

    Raises:
        ToleranceError: the tolerance is missed, on the data or when one stream of it is repeated to 10,000 steps.
        ShapeError, TypeError: X does not fit, is empty or silent, or gives outputs that are no numbers.
        UnsupportedError: as `with_weights`, `Judge.of` and `Judge.checked`.
    """
    trials, chosen = _settled(graph, weights, X, isa, judge, tolerance)
    calibration = trials.report(chosen, tolerance)
    if tolerance is not None and not trials.judge.passes(calibration.total.judged, tolerance):
        raise _missed(calibration, tolerance)
    return calibration


def _missed(calibration: Calibration, tolerance: float) -> ToleranceError:
    judge = calibration.judge
    return ToleranceError(
        f"{quoted(calibration.graph.name)}: these weights {judge.said_of_change(calibration.total.judged)}, "
        f"tolerance {judge.said_of_tolerance(tolerance)}; "
        "weights='auto' keeps the layers that cost most in a larger precision",
        *str(calibration).split("\n"),
    )


def reduced(
    graph: Graph,
    weights: Precisions,
    X: Arrays,
    tolerance: float | None = None,
    isa: str | None = None,
    judge: Judge | None = None,
) -> tuple[Graph, list[str]]:
    """The graph that `measure` ends with, or, of "auto", `search`, and its notes; nothing is timed layer by layer.

    Raises: as these.
    """
    if weights == "auto" and tolerance is not None:
        trials, _, picked = _searched(graph, X, tolerance, isa, judge)
        return trials.reduced(by_layer(picked)), trials.notes
    trials, given = _settled(graph, weights, X, isa, judge, tolerance)
    if tolerance is not None and not trials.holds(given, tolerance):
        raise _missed(trials.report(given, tolerance), tolerance)
    return trials.reduced(given), trials.notes


def search(
    graph: Graph, X: Arrays, tolerance: float, isa: str | None = None, judge: Judge | None = None
) -> Calibration:
    """Choose for each weight the fastest precision that keeps the tolerance on the frames X.

    Fastest in a step, as `step_cost` has it, and of equally fast ones the smallest; one that is neither faster nor
    smaller than a more exact one is passed over. Greedy, layers that save most time first, the matrices of a recurrent
    layer together: each takes the first of its options with which, beside what the layers before it took, the output
    keeps the tolerance on X. This is done again without the coarsest, and the fastest result counts: int4 in one layer
    may use up what int8 in all of them would not. Then each takes the smallest option that is hardly slower than its
    own (`choice.SLACK`), if that keeps the tolerance too. Where X is one stream, the result must then hold over 10,000
    steps; while it does not, the layer that costs most by itself takes an option that costs less. What has none better
    than float32 stays float32.

    Args:
        tolerance: in the measure of the judge.
        judge: the largest error where none is given.

    Raises:
        ToleranceError: there are faster precisions than float32, and none keeps the tolerance.
        ShapeError, TypeError: X does not fit, is empty or silent, or gives outputs that are no numbers.
        UnsupportedError: as `Judge.of` and `Judge.checked`.
    """
    trials, choice, picked = _searched(graph, X, tolerance, isa, judge)
    calibration = trials.report(by_layer(picked), tolerance)
    calibration.refused = choice.stays(picked)
    if not choice.parts:
        calibration.notes.append("the model has no weights with a precision to choose, and stays as it is")
    return calibration


def _searched(
    graph: Graph, X: Arrays, tolerance: float, isa: str | None, judge: Judge | None
) -> tuple[Trials, Choice, Picked]:
    trials = Trials(with_weights(graph, "float32"), X, isa, judge, tolerance)
    choice = Choice(trials, tolerance)
    picked = choice.picked()
    if not picked and choice.has_faster():
        kept = "" if trials.judge.more_is_better else "the output within "
        plain = choice.plain_that_keeps()
        instead = f"weights='{plain}' keeps it, smaller but not faster; or " if plain else ""
        raise ToleranceError(
            f"{quoted(graph.name)}: none of the faster precisions keeps {kept}"
            f"{trials.judge.said_of_tolerance(tolerance)} ({choice.tried_in_words()}); {instead}allow more, or keep "
            "float32"
        )
    return trials, choice, picked


def as_arrays(model: Model, X: Any) -> Arrays:
    """Frames for `search` and its like, from an array or a dict of them: (T, *frame), or sequences (N, T, *frame), or a
    list of these that are of one length; of a model that strides along time, (N, T, *timestep) too.

    Raises:
        TypeError, ShapeError, KeyError: they do not fit; as `Model.run`.
    """
    arrays: Arrays = {}
    for value, given in zip(model.inputs.values(), by_name_of(X, list(model.inputs), "calibrate"), strict=True):
        x = superframes.as_sequences(_stacked(given, value, model.frames_in), value, model.frames_in)
        several = isinstance(x, np.ndarray) and x.ndim == 2 + len(value.shape)
        if several and len(x) == 0:
            raise ShapeError(f"{shown(value.name)} has shape {x.shape}: no sequences; at least one is needed")
        arrays[value.name] = np.stack([coerce(item, value, 1) for item in x]) if several else coerce(x, value, 1)
    return arrays


def _stacked(x: Any, value: Value, frames_in: int) -> Any:
    """A list of sequences as one array; anything else as it is."""
    least = len(value.shape) + (frames_in == 1)
    if not isinstance(x, list | tuple) or not x:
        return x
    if not all(isinstance(item, np.ndarray) and item.ndim >= least for item in x):
        return x
    lengths = {len(item) for item in x}
    if len(lengths) > 1:
        raise ShapeError(
            f"{shown(value.name)} has sequences of {min(lengths)} to {max(lengths)} frames; calibrate takes those of "
            "one length, as (N, T, *frame): cut them to the shortest, or give one stream, np.concatenate(x)"
        )
    return np.stack(x) if len({item.shape for item in x}) == 1 else x


def fit(graph: Graph, weights: Precisions, X: Arrays, isa: str | None = None) -> Graph:
    """As `with_weights`, with weights of integers rounded and smoothed for the frames X; nothing else is measured.

    Raises:
        ShapeError, TypeError: X does not fit, is empty or silent, or gives outputs that are no numbers.
        UnsupportedError: as `with_weights`.
    """
    trials, chosen = _settled(graph, weights, X, isa)
    return trials.reduced(chosen)


def _settled(
    graph: Graph,
    weights: Precisions,
    X: Arrays,
    isa: str | None,
    judge: Judge | None = None,
    tolerance: float | None = None,
) -> tuple[Trials, dict[str, dict[str, str]]]:
    """The trials of given precisions, their rounding for the data given up where all of it together does not help."""
    nodes = with_weights(graph, weights).nodes
    chosen = {node.name: dict(node.precisions) for node in nodes if OPS[node.op].reducible}
    trials = Trials(with_weights(graph, "float32"), X, isa, judge, tolerance)
    trials.settle(chosen)
    return trials, chosen


__all__ = ["as_arrays", "fit", "measure", "reduced", "search"]
