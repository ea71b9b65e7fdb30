# SPDX-License-Identifier: MIT
"""What weight precisions cost and save on somebody's own data, and the fastest that stay within a tolerance.

The measure is the largest |output - float32 output| over all frames and all numbers of all outputs, or what another
judge makes of them (`undertow.accuracy.judge`), both models streaming the same frames from a fresh state. It says
nothing about data unlike the data it was measured on. What is fastest is computed (`undertow.accuracy.step_cost`), so
that the same model and data give the same file.

The data is one stream, arrays (T, *frame), or N sequences, (N, T, *frame), each of which starts afresh.

The data also decides how weights of integers are rounded (`undertow.accuracy.fitting`), and how their columns are
smoothed before (`undertow.passes.smoothing`): for the first two thirds of its frames (of its sequences, where there are
several), and only in layers where that makes the output err less on the last third, which neither has seen.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._inputs import by_name as by_name_of
from .._inputs import coerce
from .._progress import tell
from .._text import quoted
from ..errors import ShapeError, ToleranceError
from ..inspect.describe import precision_of
from ..ir import superframes
from ..ir.graph import Graph, Node
from ..ir.ops import OPS
from ..ir.ops import Weight as Described
from ..ir.precision import SMOOTHED
from ..model import Model
from ..passes.precisions import Precisions, holds, with_weights
from ..passes.sparsify import with_blocks
from ..tow.sizes import weight_bytes
from .calibration import LATE, LONG, Calibration, Cost, Layer
from .drift import Arrays, Distance, distances, repeated
from .fitting import fitted, smoothed_for
from .judge import Judge, Tally
from .layerwise import inner_values_of_each
from .step_cost import WORK, step_ps
from .verify import by_name, one_or_all

#: (layer, weight key)
Weight = tuple[str, str]

#: Frames that rounding looks at, at most: every value of the graph is held for them.
FIT = 10_000
#: to spend on the steps of each row of the table
SECONDS = 0.05
#: What is tried, from the coarsest to the most exact; each has its row in `step_cost.WORK`.
LADDER = ("int4", "int8", "bfloat16", "int16", "float16")


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
        ShapeError, TypeError: X does not fit, is empty, or gives outputs that are no numbers.
        UnsupportedError: as `with_weights`, `Judge.of` and `Judge.checked`.
    """
    bench, chosen = _settled(graph, weights, X, isa, judge, tolerance)
    calibration = bench.report(chosen, tolerance)
    if tolerance is not None and not bench.judge.passes(calibration.total.judged, tolerance):
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
) -> Graph:
    """The graph that `measure` ends with, or, of "auto", `search`; what each layer costs is not measured.

    Raises: as these.
    """
    if weights == "auto" and tolerance is not None:
        bench, chosen, _ = _searched(graph, X, tolerance, isa, judge)
        return bench.reduced(_by_layer(chosen))
    bench, given = _settled(graph, weights, X, isa, judge, tolerance)
    if tolerance is not None and not bench.holds(given, tolerance):
        raise _missed(bench.report(given, tolerance), tolerance)
    return bench.reduced(given)


def search(
    graph: Graph, X: Arrays, tolerance: float, isa: str | None = None, judge: Judge | None = None
) -> Calibration:
    """Choose for each weight the fastest precision that keeps the tolerance on the frames X.

    Fastest in a step, as `step_cost` has it, and of equally fast ones the smallest; one that is neither faster nor
    smaller than a more exact one is passed over. Greedy, weights that save most time first, those for inputs and those
    for the hidden state of a layer apart: each takes the first precision with which, beside what the weights before it
    took, the output keeps the tolerance on X. This is done again without the coarsest, and the fastest result counts:
    int4 in one layer may use up what int8 in all of them would not. Where X is one stream, the result must then hold
    over 10,000 steps; while it does not, the weight that costs most by itself takes the next more exact precision.
    Where no precision is faster than float32 for any weight, as in tiny models, all of them stay float32.

    Args:
        tolerance: in the measure of the judge.
        judge: the largest error where none is given.

    Raises:
        ToleranceError: there are faster precisions than float32, and none keeps the tolerance.
        ShapeError, TypeError: X does not fit, is empty, or gives outputs that are no numbers.
        UnsupportedError: as `Judge.of` and `Judge.checked`.
    """
    bench, chosen, refused = _searched(graph, X, tolerance, isa, judge)
    calibration = bench.report(_by_layer(chosen), tolerance)
    calibration.refused = refused
    return calibration


def _searched(
    graph: Graph, X: Arrays, tolerance: float, isa: str | None, judge: Judge | None
) -> tuple[_Bench, dict[Weight, str], dict[str, str]]:
    """Weight -> precision, and what to call the others -> why they stay float32."""
    graph = with_weights(graph, "float32")
    bench = _Bench(graph, X, isa, judge, tolerance)
    judge = bench.judge
    chosen, refused = bench.fastest(tolerance)
    while chosen and not bench.holds(_by_layer(chosen), tolerance):
        costly = max(chosen, key=lambda weight: bench.badness_of(weight, chosen[weight]))
        at = LADDER.index(chosen[costly])
        more_exact = [precision for precision in bench.ladder(costly) if LADDER.index(precision) > at]
        if more_exact:
            chosen[costly] = min(more_exact, key=LADDER.index)
        else:
            del chosen[costly]
            refused[costly] = f"the error grows beyond the tolerance within {LONG:,} steps"
    said = {bench.title(weight): why for weight, why in refused.items()}
    if not chosen and (not said or bench.has_faster()):
        tried = (f"{name}: {reason}" for name, reason in said.items() if reason != bench.NONE_FASTER)
        why = "; ".join(tried) or "it has no weights with a precision"
        kept = "" if judge.more_is_better else "the output within "
        raise ToleranceError(
            f"{quoted(graph.name)}: no precision smaller than float32 keeps {kept}{judge.said_of_tolerance(tolerance)} "
            f"({why}); allow more, or keep float32"
        )
    return bench, chosen, said


def as_arrays(model: Model, X: Any) -> Arrays:
    """Frames for `search` and its like, from an array or a dict of them: (T, *frame), or sequences (N, T, *frame).

    Raises:
        TypeError, ShapeError, KeyError: they do not fit; as `Model.run`.
    """
    arrays: Arrays = {}
    for value, given in zip(model.inputs.values(), by_name_of(X, list(model.inputs), "calibrate"), strict=True):
        x = superframes.as_frames(given, value, model.frames_in)
        several = isinstance(x, np.ndarray) and x.ndim == 2 + len(value.shape) and len(x) > 0
        arrays[value.name] = np.stack([coerce(item, value, 1) for item in x]) if several else coerce(x, value, 1)
    return arrays


def fit(graph: Graph, weights: Precisions, X: Arrays, isa: str | None = None) -> Graph:
    """As `with_weights`, with weights of integers rounded and smoothed for the frames X; nothing else is measured.

    Raises:
        ShapeError, TypeError: X does not fit, is empty, or gives outputs that are no numbers.
        UnsupportedError: as `with_weights`.
    """
    bench, chosen = _settled(graph, weights, X, isa)
    return bench.reduced(chosen)


def _settled(
    graph: Graph,
    weights: Precisions,
    X: Arrays,
    isa: str | None,
    judge: Judge | None = None,
    tolerance: float | None = None,
) -> tuple[_Bench, dict[str, dict[str, str]]]:
    """The bench of given precisions, its rounding for the data given up where all of it together does not help."""
    chosen = {node.name: dict(node.precisions) for node in _layers(with_weights(graph, weights))}
    bench = _Bench(with_weights(graph, "float32"), X, isa, judge, tolerance)
    bench.settle(chosen)
    return bench, chosen


def step_us(model: Model, X: Arrays) -> float:
    """Median microseconds of one step from Python over the frames of X; of a run, by frames, where it must be whole."""
    n = len(next(iter(X.values())))
    clock = time.perf_counter_ns
    times: list[float] = []
    end = clock() + int(SECONDS * 1e9)
    if not model.streamable:
        while not times or clock() < end:
            before = clock()
            model.run(one_or_all(X))
            times.append((clock() - before) / n)
        return float(np.median(times)) / 1e3
    stream = model.stream()
    frames = [one_or_all({name: x[t, ...] for name, x in X.items()}) for t in range(min(n, 1000))]
    while not times or clock() < end:
        for x in frames:
            before = clock()
            stream.step(x)
            times.append(clock() - before)
    return float(np.median(times)) / 1e3


def _layers(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if OPS[node.op].reducible]


def _described(node: Node, key: str) -> Described:
    return next(weight for weight in OPS[node.op].weights if weight.key == key)


def _by_layer(chosen: Mapping[Weight, str]) -> dict[str, dict[str, str]]:
    by_layer: dict[str, dict[str, str]] = {}
    for (layer, key), precision in chosen.items():
        by_layer.setdefault(layer, {})[key] = precision
    return by_layer


@dataclass(frozen=True)
class _Form:
    """How a weight becomes integers: float32 numbers that stand on them already, None for the nearest; and exponents by
    which its columns are smoothed, None for none."""

    rounded: np.ndarray | None = None
    smoothing: np.ndarray | None = None


class _Bench:
    """A float32 graph and its outputs on some frames, against which choices (weight -> precision) are held."""

    #: why a weight stays float32 for which nothing was tried
    NONE_FASTER = "no precision that can hold its weights is faster"

    def __init__(
        self, graph: Graph, X: Arrays, isa: str | None, judge: Judge | None = None, tolerance: float | None = None
    ) -> None:
        self.graph, self.X, self.isa = graph, X, isa
        self.exact = Model.from_graph(with_blocks(graph), isa)
        self.judge = (judge or Judge()).of(self.exact.outputs)
        if tolerance is not None:
            self.judge.checked(tolerance)
        #: whether each array has an axis of sequences in front of that of time
        self.several = all(x.ndim == 2 + len(graph.shape(name)) for name, x in X.items())
        self.n_parts = len(next(iter(X.values())))
        self.n_sequences = self.n_parts if self.several else 1
        self.n_frames = self.n_parts * (next(iter(X.values())).shape[1] if self.several else 1)
        if self.n_frames == 0:
            raise ShapeError("the calibration data has no frames; at least one is needed")
        self.Y = by_name(self.exact.run(one_or_all(X)), self.exact.outputs)
        for name, y in self.Y.items():
            if not np.isfinite(y).all():
                raise ShapeError(
                    f"output {name!r} is NaN or infinite on the calibration data: no error can be measured"
                )
        self.nodes = {node.name: node for node in _layers(graph)}
        #: the frames, or the sequences, that rounding looks at; the others judge it
        self.n_fit = 2 * self.n_parts // 3
        most = max(1, FIT * self.n_parts // self.n_frames)
        seen = {name: x[: min(self.n_fit, most)] for name, x in X.items()}
        each = (
            [{name: x[i] for name, x in seen.items()} for i in range(min(self.n_fit, most))] if self.several else [seen]
        )
        self.values = [values for values, _ in inner_values_of_each(self.exact, graph, each if self.n_fit else [])]
        #: one of the sequences, to take the time of
        self.timed = {name: x[0] for name, x in X.items()} if self.several else X
        self._forms: dict[tuple[Weight, str], _Form] = {}
        self._badness: dict[tuple[Weight, str], tuple[float, float]] = {}
        #: bytes of the weights of the whole model in one precision
        self.model_bytes = {precision: self.size(self.all_in(precision)) for precision in WORK}

    def all_in(self, precision: str) -> dict[Weight, str]:
        """Every weight in one precision, but those that have none such."""
        return {
            (layer, key): precision
            for layer, key in self.weights()
            if precision in _described(self.nodes[layer], key).precisions
        }

    def weights(self) -> list[Weight]:
        """All that have a precision to choose, largest first."""
        weights = [
            (name, key)
            for name, node in self.nodes.items()
            for key in node.weights
            if not set(LADDER).isdisjoint(_described(node, key).precisions)
        ]
        return sorted(weights, key=lambda weight: -self.nodes[weight[0]].weights[weight[1]].size)

    def title(self, weight: Weight) -> str:
        """The layer, and which weight of it where it has several."""
        layer, key = weight
        several = sum(other == layer for other, _ in self.weights()) > 1
        return f"{layer} {key}" if several else layer

    def size(self, chosen: Mapping[Weight, str]) -> int:
        precisions = _by_layer(chosen)
        return sum(weight_bytes(node, precisions.get(name, {})) for name, node in self.nodes.items())

    def reduced(self, chosen: Mapping[str, Mapping[str, str]]) -> Graph:
        """The graph with these precisions (layer -> weight key -> precision), rounded for the data where that helps."""
        forms: dict[Weight, _Form] = {}
        for layer, precisions in chosen.items():
            tell(f"rounding for the data: {layer}")
            forms.update({(layer, key): self._form_for_data((layer, key), p) for key, p in precisions.items()})
        return self._formed(chosen, forms)

    def _formed(self, chosen: Mapping[str, Mapping[str, str]], forms: Mapping[Weight, _Form]) -> Graph:
        """The graph with these precisions, weights that are not named in `forms` rounded to the nearest."""
        graph = self.graph.copy()
        for node in graph.nodes:  # smoothing first: what it makes of a weight is rounded
            node.smoothing = {
                key: form.smoothing
                for (layer, key), form in forms.items()
                if layer == node.name and form.smoothing is not None
            }
        graph = with_weights(graph, chosen)
        for node in graph.nodes:
            for (layer, key), form in forms.items():
                if layer == node.name and form.rounded is not None:
                    node.weights[key] = form.rounded
        return graph

    def _form_for_data(self, weight: Weight, precision: str) -> _Form:
        """Of the nearest integers, those for the data, and those of smoothed columns for the data: what errs least on
        frames that were not seen."""
        if (weight, precision) not in self._forms:
            layer, key = weight
            node, forms = self.nodes[layer], [_Form()]
            if self.values:
                rounded = fitted(node, {key: precision}, self.graph, self.values).get(key)
                if rounded is not None:
                    forms.append(_Form(rounded))
                keys = [key] if precision in SMOOTHED else []
                if smoothing := smoothed_for(node, keys, self.graph, self.values):
                    smoothed = fitted(node, {key: precision}, self.graph, self.values, smoothing).get(key)
                    forms.append(_Form(smoothed, smoothing[key]))
            if len(forms) > 1:
                graphs = (self._formed({layer: {key: precision}}, {weight: form}) for form in forms)
                errors = [self.on_data(Model.from_graph(graph, self.isa), self.n_fit).rms for graph in graphs]
                forms = [forms[int(np.argmin(errors))]]
            self._forms[weight, precision] = forms[0]
        return self._forms[weight, precision]

    def settle(self, chosen: Mapping[str, Mapping[str, str]]) -> None:
        """Round everything to the nearest where that errs less, on frames not seen, than all rounding for the data."""
        graphs = with_weights(self.graph, chosen), self.reduced(chosen)
        nearest, rounded = (self.on_data(Model.from_graph(g, self.isa), self.n_fit).rms for g in graphs)
        if nearest <= rounded:
            self._forms = dict.fromkeys(self._forms, _Form())

    def model(self, chosen: Mapping[str, Mapping[str, str]]) -> Model:
        return Model.from_graph(with_blocks(self.reduced(chosen)), self.isa)

    def on_data(self, model: Model, first: int = 0) -> Distance:
        """Distance over the data, or from frame or sequence `first` on; what a stream gives once counts in any case."""
        start = first * self.n_frames // self.n_parts
        distance = Distance(start + 1, self.n_frames, tally=Tally(self.judge))
        outputs = by_name(model.run(one_or_all(self.X)), model.outputs)
        in_time = {name: y.ndim > len(model.outputs[name].shape) for name, y in self.Y.items()}
        distance.add(*({name: Y[name][first:] if in_time[name] else Y[name] for name in Y} for Y in (outputs, self.Y)))
        return distance

    def judged(self, distance: Distance) -> float:
        assert distance.tally is not None
        return distance.tally.measured

    def badness_of(self, weight: Weight, precision: str) -> tuple[float, float]:
        """What one weight does alone; RMS decides where the judge sees no difference."""
        if (weight, precision) not in self._badness:
            distance = self.on_data(self.model(_by_layer({weight: precision})))
            self._badness[weight, precision] = (self.judge.badness(self.judged(distance)), distance.rms)
        return self._badness[weight, precision]

    def price(self, weight: Weight, precision: str) -> tuple[float, int]:
        """Time that a weight takes of a step, and bytes of the file: what is less is better."""
        layer, key = weight
        ps = step_ps(self.graph, self.nodes[layer], key, precision, self.model_bytes[precision])
        return ps, self.size({weight: precision})

    def ladder(self, weight: Weight) -> list[str]:
        """The precisions that can hold a weight and are faster than float32, or as fast and smaller; fastest first.

        One that is no better in this than a more exact one is left out: int4 where its sums take longer than int8's,
        or where its groups of 32 are mostly padding.
        """
        node = self.nodes[weight[0]]
        described = _described(node, weight[1])
        rows = described.as_rows(node.weights[weight[1]])
        better: list[str] = []
        least = self.price(weight, "float32")
        for precision in reversed(LADDER):
            if precision not in described.precisions:
                continue
            price = self.price(weight, precision)
            if price < least and holds(rows, precision):
                least = price
                better.insert(0, precision)
        return better

    def long(self, model: Model) -> list[Distance]:
        """Before and within the last steps of a long stream; nothing where there are no streams, or all are short."""
        if self.several or not model.streamable:
            return []
        return distances(model, self.exact, repeated(self.X), (LONG - LATE, LONG), self.judge)

    def holds(self, chosen: Mapping[str, Mapping[str, str]], tolerance: float) -> bool:
        """Whether the output keeps the tolerance, on all of the data and over a long stream."""
        model = self.model(chosen)
        return all(self.keeps(distance, tolerance) for distance in (self.on_data(model), *self.long(model)))

    def keeps(self, distance: Distance, tolerance: float) -> bool:
        return self.judge.passes(self.judged(distance), tolerance)

    def fastest(self, tolerance: float) -> tuple[dict[Weight, str], dict[Weight, str]]:
        """Weight -> precision, and for the others why not: the best of some greedy choices, on the data alone."""
        ladders = {weight: self.ladder(weight) for weight in self.weights()}
        before = {weight: self.price(weight, "float32") for weight in ladders}

        def saved(weight: Weight) -> tuple[float, int]:
            ps, size = self.price(weight, ladders[weight][0]) if ladders[weight] else before[weight]
            return before[weight][0] - ps, before[weight][1] - size

        order = sorted(ladders, key=saved, reverse=True)
        choices: list[tuple[dict[Weight, str], dict[Weight, str]]] = []
        tried: list[dict[Weight, list[str]]] = []
        for first in range(len(LADDER)):
            allowed = {weight: [p for p in ladders[weight] if p in LADDER[first:]] for weight in order}
            if allowed in tried:
                continue
            tried.append(allowed)
            choices.append(self.greedy(allowed, tolerance))
            if all(choices[-1][0].get(weight) == allowed[weight][0] for weight in order if allowed[weight]):
                break  # no choice from fewer precisions is faster
        return min(choices, key=lambda choice: self.total_price(choice[0]))

    def has_faster(self) -> bool:
        """Whether some precision is faster than float32 for some weight."""
        return any(self.ladder(weight) for weight in self.weights())

    def total_price(self, chosen: Mapping[Weight, str]) -> tuple[float, int]:
        ps = sum(self.price(weight, chosen.get(weight, "float32"))[0] for weight in self.weights())
        return ps, self.size(chosen)

    def greedy(
        self, ladders: Mapping[Weight, list[str]], tolerance: float
    ) -> tuple[dict[Weight, str], dict[Weight, str]]:
        """Weight -> the first precision of its ladder that keeps the tolerance; for the others why not."""
        chosen: dict[Weight, str] = {}
        refused: dict[Weight, str] = {}
        for i, (weight, ladder) in enumerate(ladders.items()):
            tell("choosing precisions", i, len(ladders))
            why = []
            for precision in ladder:
                distance = self.on_data(self.model(_by_layer({**chosen, weight: precision})))
                if self.keeps(distance, tolerance):
                    chosen[weight] = precision
                    break
                why.append(f"{precision} gives {self.judge.said(self.judged(distance))}")
            else:
                refused[weight] = ", ".join(why) or self.NONE_FASTER
        return chosen, refused

    def cost(self, chosen: Mapping[str, Mapping[str, str]]) -> Cost:
        model = Model.from_graph(self.reduced(chosen), self.isa)
        data, long = self.on_data(model), self.long(model)
        longest = max((distance.max for distance in long), default=data.max)
        judged = self.judge.worst(*(self.judged(distance) for distance in (data, *long)))
        return Cost(data, long[-1] if long else None, longest, judged, step_us(model, self.timed))

    def report(self, chosen: Mapping[str, dict[str, str]], tolerance: float | None) -> Calibration:
        layers = []
        graph = self.reduced(chosen)
        nodes = _layers(graph)
        for i, node in enumerate(nodes):
            tell("measuring layer by layer", i, len(nodes))
            keys = chosen.get(node.name, {})
            alone = self.cost({node.name: keys}) if node.precisions else None
            before = weight_bytes(node, {})
            layers.append(Layer(node.name, precision_of(node), before, weight_bytes(node, node.precisions), alone))
        total, plain = self.cost(chosen), step_us(self.exact, self.timed)
        tell("")
        return Calibration(
            graph, layers, total, plain, self.n_frames, tolerance, n_sequences=self.n_sequences, judge=self.judge
        )
