# SPDX-License-Identifier: MIT
"""What weight precisions cost and save on somebody's own data, and the smallest that stay within a tolerance.

The measure is the largest |output - float32 output| over all frames and all numbers of all outputs, both models
streaming the same frames from a fresh state. It says nothing about data unlike the data it was measured on.

The data is one stream, arrays (T, *frame), or N sequences, (N, T, *frame), each of which starts afresh.

The data also decides how int8 and int4 weights are rounded (`undertow.accuracy.fitting`): for the first two thirds of
its frames (of its sequences, where there are several), and only in layers where that makes the output err less on the
last third, which the rounding has not seen.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._progress import tell
from .._text import quoted, shown
from ..errors import ShapeError, ToleranceError, UnsupportedError
from ..inspect.describe import human_bytes, precision_of, table
from ..ir.graph import Graph, Node
from ..ir.ops import OPS
from ..ir.ops import Weight as Described
from ..ir.precision import stored
from ..model import Model
from ..passes.precisions import Precisions, with_weights
from ..passes.sparsify import with_blocks
from ..tow.sizes import weight_bytes
from .drift import Arrays, Distance, distances, repeated
from .fitting import fitted
from .layerwise import inner_values_of_each
from .verify import by_name, one_or_all

#: (layer, weight key)
Weight = tuple[str, str]

#: Timesteps over which a choice must hold; the data is repeated to reach them.
LONG = 10_000
#: The last of them, whose error is shown apart: what is left of a drift.
LATE = 1_000
#: Frames that rounding looks at, at most: every value of the graph is held for them.
FIT = 10_000
#: Tried in this order, first to last the larger. bfloat16 is as large as float16 and coarser: it stands in where a
#: weight is too large for float16.
LADDER = ("int4", "int8", "float16", "bfloat16")


@dataclass
class Cost:
    """What a set of precisions does to the output, and to the time of a step.

    Attributes:
        data: distance from float32 over the data, once.
        late: the same over the last 1,000 of 10,000 timesteps; None where the model cannot be streamed, or the data is
            several sequences.
        longest: largest error in all of them.
        step_us: median microseconds of one step from Python; of a run, by frames, where it cannot be streamed.
    """

    data: Distance
    late: Distance | None
    longest: float
    step_us: float

    def facts(self) -> dict[str, Any]:
        """All of it for JSON; `late` is the largest error there."""
        return {
            "max": self.data.max,
            "rms": self.data.rms,
            "late": None if self.late is None else self.late.max,
            "longest": self.longest,
            "step_us": self.step_us,
        }


@dataclass
class Layer:
    """One layer with weights that have a precision. `alone`: when this is the only layer that is not float32."""

    name: str
    precision: str
    bytes_before: int
    bytes_after: int
    alone: Cost | None


@dataclass
class Calibration:
    """What was chosen, and what it costs. `str` of it is a table.

    Attributes:
        graph: the graph with `Node.precisions` set.
        layers: in the order of the graph.
        total: all layers together.
        step_us: of float32.
        n_frames, n_sequences: of the data; frames of all sequences together.
        refused: what stays float32 (a layer, or one weight of it) -> what smaller precisions would have cost.
    """

    graph: Graph
    layers: list[Layer]
    total: Cost
    step_us: float
    n_frames: int
    tolerance: float | None = None
    refused: dict[str, str] = field(default_factory=dict)
    n_sequences: int = 1

    def facts(self) -> dict[str, Any]:
        """All but the graph for JSON."""
        return {
            "frames": self.n_frames,
            "sequences": self.n_sequences,
            "tolerance": self.tolerance,
            "layers": [
                {
                    "name": layer.name,
                    "precision": layer.precision,
                    "bytes_before": layer.bytes_before,
                    "bytes_after": layer.bytes_after,
                    "alone": None if layer.alone is None else layer.alone.facts(),
                }
                for layer in self.layers
            ],
            "all": self.total.facts(),
            "float32_step_us": self.step_us,
            "refused": self.refused,
        }

    def __str__(self) -> str:
        head = ["layer", "precision", "before", "after", "max error", "RMS", f"after {LONG:,} steps", "us a step"]
        rows = [head]
        for layer in self.layers:
            sizes = [human_bytes(layer.bytes_before), human_bytes(layer.bytes_after)]
            rows.append([shown(layer.name), layer.precision, *sizes, *_errors(layer.alone)])
        before, after = (sum(getattr(layer, key) for layer in self.layers) for key in ("bytes_before", "bytes_after"))
        rows.append(["all together", "", human_bytes(before), human_bytes(after), *_errors(self.total)])
        rows.append(["float32", "", human_bytes(before), human_bytes(before), "0", "0", "0", f"{self.step_us:.2f}"])
        several = f" in {self.n_sequences:,} sequences" if self.n_sequences > 1 else ""
        if several:  # which are never that long
            rows = [[*row[:-2], row[-1]] for row in rows]
        limit = "" if self.tolerance is None else f"; tolerance {self.tolerance:g}"
        after = (
            f" After: largest error in the last {LATE:,} of {LONG:,} steps, the data repeated." if not several else ""
        )
        lines = [
            f"errors are |output - float32 output| on {self.n_frames:,} frames{several} of calibration data{limit}",
            table(rows),
            f"  a layer's row: only that layer is reduced.{after}",
        ]
        return "\n".join([*lines, *(f"  {shown(name)} stays float32: {why}" for name, why in self.refused.items())])


def _errors(cost: Cost | None) -> list[str]:
    if cost is None:
        return ["0", "0", "0", ""]
    late = "-" if cost.late is None else f"{cost.late.max:.2g}"
    return [f"{cost.data.max:.2g}", f"{cost.data.rms:.2g}", late, f"{cost.step_us:.2f}"]


def measure(
    graph: Graph, weights: Precisions, X: Arrays, tolerance: float | None = None, isa: str | None = None
) -> Calibration:
    """Give what `weights` (see `with_weights`) cost on X: input name -> (T, *frame), or sequences (N, T, *frame).

    Raises:
        ToleranceError: the error exceeds `tolerance`, on the data or when one stream of it is repeated to 10,000 steps.
        ShapeError, TypeError: X does not fit, is empty, or gives outputs that are no numbers.
        UnsupportedError: as `with_weights`.
    """
    bench, chosen = _settled(graph, weights, X, isa)
    calibration = bench.report(chosen, tolerance)
    if tolerance is not None and not _worst(calibration.total) <= tolerance:
        raise ToleranceError(
            f"{quoted(graph.name)}: these weights change the output by up to {_worst(calibration.total):.3g}, "
            f"tolerance {tolerance:g}; weights='auto' keeps the layers that cost most in a larger precision",
            *str(calibration).split("\n"),
        )
    return calibration


def search(graph: Graph, X: Arrays, tolerance: float, isa: str | None = None) -> Calibration:
    """Choose for each weight the smallest precision that keeps the output within `tolerance` on the frames X.

    Greedy, weights of most bytes first, those for inputs and those for the hidden state of a layer apart: each takes
    the first of int4, int8 and float16 with which, beside what the weights before it took, the output stays within the
    tolerance on X. A precision that saves no bytes is passed over. This is done a second time without int4, and the
    smaller result is kept: int4 in one layer may use up what int8 in all of them would not. Where X is one stream, the
    result must then hold over 10,000 steps; while it does not, the weight that costs most by itself takes the next
    larger precision.

    Raises:
        ToleranceError: no weight can be anything but float32.
        ShapeError, TypeError: X does not fit, is empty, or gives outputs that are no numbers.
    """
    graph = with_weights(graph, "float32")
    bench = _Bench(graph, X, isa)
    tried = [bench.greedy(LADDER[first:], tolerance) for first in (0, 1)]
    chosen, refused = min(tried, key=lambda result: bench.size(result[0]))
    while chosen and not bench.holds(chosen, tolerance):
        costly = max(chosen, key=lambda weight: bench.error({weight: chosen[weight]}))
        at = LADDER.index(chosen[costly])
        larger = next((p for p in bench.ladder(costly) if LADDER.index(p) > at), None)
        if larger is None:
            del chosen[costly]
            refused[costly] = f"the error grows beyond the tolerance within {LONG:,} steps"
        else:
            chosen[costly] = larger
    said = {bench.title(weight): why for weight, why in refused.items()}
    if not chosen:
        why = "; ".join(f"{name}: {reason}" for name, reason in said.items()) or "it has no weights with a precision"
        raise ToleranceError(
            f"{quoted(graph.name)}: no precision smaller than float32 keeps the output within {tolerance:g} ({why}); "
            "allow more, or keep float32"
        )
    calibration = bench.report(_by_layer(chosen), tolerance)
    calibration.refused = said
    return calibration


def fit(graph: Graph, weights: Precisions, X: Arrays, isa: str | None = None) -> Graph:
    """As `with_weights`, with int8 and int4 weights rounded for the frames X; nothing else is measured.

    Raises:
        ShapeError, TypeError: X does not fit, is empty, or gives outputs that are no numbers.
        UnsupportedError: as `with_weights`.
    """
    bench, chosen = _settled(graph, weights, X, isa)
    return bench.reduced(chosen)


def _settled(graph: Graph, weights: Precisions, X: Arrays, isa: str | None) -> tuple[_Bench, dict[str, dict[str, str]]]:
    """The bench of given precisions, its rounding for the data given up where all of it together does not help."""
    chosen = {node.name: dict(node.precisions) for node in _layers(with_weights(graph, weights))}
    bench = _Bench(with_weights(graph, "float32"), X, isa)
    bench.settle(chosen)
    return bench, chosen


def step_us(model: Model, X: Arrays, seconds: float = 0.1) -> float:
    """Median microseconds of one step from Python over the frames of X; of a run, by frames, where it must be whole."""
    n = len(next(iter(X.values())))
    clock = time.perf_counter_ns
    times: list[float] = []
    end = clock() + int(seconds * 1e9)
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


def _worst(cost: Cost) -> float:
    return max(cost.data.max, cost.longest)


class _Bench:
    """A float32 graph and its outputs on some frames, against which choices (weight -> precision) are held."""

    def __init__(self, graph: Graph, X: Arrays, isa: str | None) -> None:
        self.graph, self.X, self.isa = graph, X, isa
        self.exact = Model.from_graph(with_blocks(graph), isa)
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
        self._fitted: dict[tuple[Weight, str], np.ndarray | None] = {}

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
        graph = with_weights(self.graph, chosen)
        for node in _layers(graph):
            tell(f"rounding for the data: {node.name}")
            for key, precision in node.precisions.items():
                rounded = self._rounded_for_data((node.name, key), precision)
                if rounded is not None:
                    node.weights[key] = rounded
        return graph

    def _rounded_for_data(self, weight: Weight, precision: str) -> np.ndarray | None:
        """In place of the nearest integers; None where the output errs less, on frames not seen, with those."""
        if (weight, precision) not in self._fitted:
            layer, key = weight
            rounded = None
            if self.values:
                rounded = fitted(self.nodes[layer], {key: precision}, self.graph, self.values).get(key)
            if rounded is not None:
                nearest = with_weights(self.graph, {layer: {key: precision}})
                other = nearest.copy()
                next(node for node in other.nodes if node.name == layer).weights[key] = rounded
                a, b = (self.on_data(Model.from_graph(g, self.isa), self.n_fit).rms for g in (nearest, other))
                rounded = rounded if b < a else None
            self._fitted[weight, precision] = rounded
        return self._fitted[weight, precision]

    def settle(self, chosen: Mapping[str, Mapping[str, str]]) -> None:
        """Round everything to the nearest where that errs less, on frames not seen, than all rounding for the data."""
        graphs = with_weights(self.graph, chosen), self.reduced(chosen)
        nearest, rounded = (self.on_data(Model.from_graph(g, self.isa), self.n_fit).rms for g in graphs)
        if nearest <= rounded:
            self._fitted = dict.fromkeys(self._fitted)

    def model(self, chosen: Mapping[Weight, str]) -> Model:
        return Model.from_graph(with_blocks(self.reduced(_by_layer(chosen))), self.isa)

    def on_data(self, model: Model, first: int = 0) -> Distance:
        """Distance over the data, or from frame or sequence `first` on; what a stream gives once counts in any case."""
        distance = Distance(first * self.n_frames // self.n_parts + 1, self.n_frames)
        outputs = by_name(model.run(one_or_all(self.X)), model.outputs)
        in_time = {name: y.ndim > len(model.outputs[name].shape) for name, y in self.Y.items()}
        distance.add(*({name: Y[name][first:] if in_time[name] else Y[name] for name in Y} for Y in (outputs, self.Y)))
        return distance

    def error(self, chosen: Mapping[Weight, str]) -> float:
        return self.on_data(self.model(chosen)).max

    def ladder(self, weight: Weight) -> list[str]:
        """The precisions that can hold a weight and save bytes, smallest first.

        One that is no smaller than a more exact one is left out: groups of 32 are mostly padding where K is small.
        """
        layer, key = weight
        node = self.nodes[layer]
        described = _described(node, key)

        def holds(precision: str) -> bool:
            try:
                stored(described.as_rows(node.weights[key]), precision)
            except UnsupportedError:
                return False
            return precision in described.precisions

        fitting = [precision for precision in LADDER if holds(precision)]
        saving: list[str] = []
        least = self.size({})
        for precision in reversed(fitting):
            if precision == "bfloat16" and "float16" in fitting:
                continue
            size = self.size({weight: precision})
            if size < least:
                least = size
                saving.insert(0, precision)
        return saving

    def long(self, model: Model) -> list[Distance]:
        """Before and within the last steps of a long stream; nothing where there are no streams, or all are short."""
        if self.several or not model.streamable:
            return []
        return distances(model, self.exact, repeated(self.X), (LONG - LATE, LONG))

    def holds(self, chosen: Mapping[Weight, str], tolerance: float) -> bool:
        """Whether the output stays within the tolerance, on all of the data and over a long stream."""
        model = self.model(chosen)
        return all(distance.max <= tolerance for distance in (self.on_data(model), *self.long(model)))

    def greedy(self, allowed: tuple[str, ...], tolerance: float) -> tuple[dict[Weight, str], dict[Weight, str]]:
        """Weight -> precision, and for the others why not."""
        chosen: dict[Weight, str] = {}
        refused: dict[Weight, str] = {}
        weights = self.weights()
        for i, weight in enumerate(weights):
            tell(f"choosing precisions from {allowed[0]} on", i, len(weights))
            why = []
            for precision in self.ladder(weight):
                if precision not in allowed:
                    continue
                error = self.error({**chosen, weight: precision})
                if error <= tolerance:
                    chosen[weight] = precision
                    break
                why.append(f"{precision} gives {error:.2g}")
            else:
                refused[weight] = ", ".join(why) or "no precision that can hold its weights is smaller"
        return chosen, refused

    def cost(self, chosen: Mapping[str, Mapping[str, str]]) -> Cost:
        model = Model.from_graph(self.reduced(chosen), self.isa)
        data, long = self.on_data(model), self.long(model)
        longest = max((distance.max for distance in long), default=data.max)
        return Cost(data, long[-1] if long else None, longest, step_us(model, self.timed))

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
        return Calibration(graph, layers, total, plain, self.n_frames, tolerance, n_sequences=self.n_sequences)
