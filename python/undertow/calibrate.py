# SPDX-License-Identifier: MIT
"""What weight precisions cost and save on somebody's own data, and the smallest that stay within a tolerance.

The measure is the largest |output - float32 output| over all frames and all numbers of all outputs, both models
streaming the same frames from a fresh state. It says nothing about data unlike the data it was measured on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .compile import Precisions, weight_bytes, with_weights
from .describe import human_bytes, precision_of, table
from .drift import Arrays, Distance, distances, repeated
from .errors import ShapeError, ToleranceError, UnsupportedError
from .graph import Graph, Node
from .model import Model
from .ops import CATALOGUE
from .precision import stored
from .verify import by_name, one_or_all

#: Timesteps over which a choice must hold; the data is repeated to reach them.
LONG = 10_000
#: The last of them, whose error is shown apart: what is left of a drift.
LATE = 1_000
#: Tried in this order, first to last the larger. bfloat16 is as large as float16 and coarser: it stands in where a
#: weight is too large for float16.
LADDER = ("int4", "int8", "float16", "bfloat16")


@dataclass
class Cost:
    """What a set of precisions does to the output, and to the time of a step.

    Attributes:
        data: distance from float32 over the data, once.
        late: the same over the last 1,000 of 10,000 timesteps; None where the model cannot be streamed.
        longest: largest error in all of them.
        step_us: median microseconds of one step from Python; of a run, by frames, where it cannot be streamed.
    """

    data: Distance
    late: Distance | None
    longest: float
    step_us: float


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
        refused: layer -> why each smaller precision was not taken, where `search` tried them.
    """

    graph: Graph
    layers: list[Layer]
    total: Cost
    step_us: float
    n_frames: int
    tolerance: float | None = None
    refused: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        head = ["layer", "precision", "before", "after", "max error", "RMS", f"after {LONG:,} steps", "us a step"]
        rows = [head]
        for layer in self.layers:
            sizes = [human_bytes(layer.bytes_before), human_bytes(layer.bytes_after)]
            rows.append([layer.name, layer.precision, *sizes, *_errors(layer.alone)])
        before, after = (sum(getattr(layer, key) for layer in self.layers) for key in ("bytes_before", "bytes_after"))
        rows.append(["all together", "", human_bytes(before), human_bytes(after), *_errors(self.total)])
        rows.append(["float32", "", human_bytes(before), human_bytes(before), "0", "0", "0", f"{self.step_us:.2f}"])
        limit = "" if self.tolerance is None else f"; tolerance {self.tolerance:g}"
        lines = [
            f"errors are |output - float32 output| on {self.n_frames:,} frames of calibration data{limit}",
            table(rows),
            "  a layer's row: only that layer is reduced. After: largest error in the last "
            f"{LATE:,} of {LONG:,} steps, the data repeated.",
        ]
        return "\n".join([*lines, *(f"  {name} stays float32: {why}" for name, why in self.refused.items())])


def _errors(cost: Cost | None) -> list[str]:
    if cost is None:
        return ["0", "0", "0", ""]
    late = "-" if cost.late is None else f"{cost.late.max:.2g}"
    return [f"{cost.data.max:.2g}", f"{cost.data.rms:.2g}", late, f"{cost.step_us:.2f}"]


def measure(
    graph: Graph, weights: Precisions, X: Arrays, tolerance: float | None = None, isa: str | None = None
) -> Calibration:
    """Give what `weights` (see `with_weights`) cost on the frames X (input name -> (T, *frame)).

    Raises:
        ToleranceError: the error exceeds `tolerance`, on the data or when it is repeated to 10,000 steps.
        ShapeError, TypeError: X does not fit, is empty, or gives outputs that are no numbers.
        UnsupportedError: as `with_weights`.
    """
    bench = _Bench(with_weights(graph, "float32"), X, isa)
    chosen = with_weights(graph, weights)
    found = bench.report({node.name: dict(node.precisions) for node in _layers(chosen)}, tolerance)
    if tolerance is not None and not _worst(found.total) <= tolerance:
        raise ToleranceError(
            f"{graph.name!r}: these weights change the output by up to {_worst(found.total):.3g}, tolerance "
            f"{tolerance:g}; weights='auto' keeps the layers that cost most in a larger precision\n{found}"
        )
    return found


def search(graph: Graph, X: Arrays, tolerance: float, isa: str | None = None) -> Calibration:
    """Choose for each layer the smallest precision that keeps the output within `tolerance` on the frames X.

    Greedy, layers of most bytes first: each takes the first of int4, int8 and float16 with which, beside what the
    layers before it took, the output stays within the tolerance on X. A precision that saves a layer no bytes is passed
    over. This is done a second time without int4, and the smaller result is kept: int4 in one layer may use up what
    int8 in all of them would not. The result must then hold over 10,000 steps; while it does not, the layer that costs
    most by itself takes the next larger precision.

    Raises:
        ToleranceError: no layer can be anything but float32.
        ShapeError, TypeError: X does not fit, is empty, or gives outputs that are no numbers.
    """
    graph = with_weights(graph, "float32")
    bench = _Bench(graph, X, isa)
    tried = [bench.greedy(LADDER[first:], tolerance) for first in (0, 1)]
    chosen, refused = min(tried, key=lambda result: bench.size(result[0]))
    while chosen and not bench.holds_long(chosen, tolerance):
        costly = max(chosen, key=lambda name: bench.error({name: chosen[name]}))
        at = LADDER.index(chosen[costly])
        larger = next((p for p in bench.ladder(costly) if LADDER.index(p) > at), None)
        if larger is None:
            del chosen[costly]
            refused[costly] = f"the error grows beyond the tolerance within {LONG:,} steps"
        else:
            chosen[costly] = larger
    if not chosen:
        why = "; ".join(f"{name}: {reason}" for name, reason in refused.items()) or "it has no weights with a precision"
        raise ToleranceError(
            f"{graph.name!r}: no precision smaller than float32 keeps the output within {tolerance:g} ({why}); "
            "allow more, or keep float32"
        )
    found = bench.report({name: bench.keys(name, p) for name, p in chosen.items()}, tolerance)
    found.refused = {name: why for name, why in refused.items() if name not in chosen}
    return found


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
    return [node for node in graph.nodes if CATALOGUE[node.op].reducible]


def _worst(cost: Cost) -> float:
    return max(cost.data.max, cost.longest)


class _Bench:
    """A float32 graph and its outputs on some frames, against which choices (layer -> precision) are held."""

    def __init__(self, graph: Graph, X: Arrays, isa: str | None) -> None:
        self.graph, self.X, self.isa = graph, X, isa
        self.exact = Model.from_graph(graph, isa)
        self.n_frames = len(next(iter(X.values())))
        if self.n_frames == 0:
            raise ShapeError("the calibration data has no frames; at least one is needed")
        self.Y = by_name(self.exact.run(one_or_all(X)), self.exact.outputs)
        for name, y in self.Y.items():
            if not np.isfinite(y).all():
                raise ShapeError(
                    f"output {name!r} is NaN or infinite on the calibration data: no error can be measured"
                )
        self.nodes = {node.name: node for node in _layers(graph)}

    def keys(self, layer: str, precision: str) -> dict[str, str]:
        node = self.nodes[layer]
        return {key: precision for key in CATALOGUE[node.op].reducible if key in node.weights}

    def size(self, chosen: Mapping[str, str]) -> int:
        return sum(
            weight_bytes(node, self.keys(name, chosen.get(name, "float32"))) for name, node in self.nodes.items()
        )

    def model(self, chosen: Mapping[str, Any]) -> Model:
        return Model.from_graph(with_weights(self.graph, chosen), self.isa)

    def on_data(self, model: Model) -> Distance:
        distance = Distance(1, self.n_frames)
        distance.add(by_name(model.run(one_or_all(self.X)), model.outputs), self.Y)
        return distance

    def error(self, chosen: Mapping[str, Any]) -> float:
        return self.on_data(self.model(chosen)).max

    def ladder(self, layer: str) -> list[str]:
        """The precisions that can hold a layer's weights and save bytes, smallest first.

        One that is no smaller than a more exact one is left out: groups of 32 are mostly padding where K is small.
        """
        node = self.nodes[layer]

        def holds(precision: str) -> bool:
            try:
                for key in self.keys(layer, precision):
                    stored(node.weights[key], precision)
            except UnsupportedError:
                return False
            return True

        fitting = [precision for precision in LADDER if holds(precision)]
        found: list[str] = []
        least = self.size({})
        for precision in reversed(fitting):
            if precision == "bfloat16" and "float16" in fitting:
                continue
            size = self.size({layer: precision})
            if size < least:
                least = size
                found.insert(0, precision)
        return found

    def long(self, model: Model) -> list[Distance]:
        """Before and within the last steps of a long stream; nothing where there are no streams."""
        return distances(model, self.exact, repeated(self.X), (LONG - LATE, LONG)) if model.streamable else []

    def holds_long(self, chosen: Mapping[str, str], tolerance: float) -> bool:
        return all(distance.max <= tolerance for distance in self.long(self.model(chosen)))

    def greedy(self, allowed: tuple[str, ...], tolerance: float) -> tuple[dict[str, str], dict[str, str]]:
        """Layer -> precision, and for the other layers why not."""
        chosen: dict[str, str] = {}
        refused: dict[str, str] = {}
        by_size = sorted(self.nodes, key=lambda name: -weight_bytes(self.nodes[name], self.keys(name, "float32")))
        for name in by_size:
            why = []
            for precision in self.ladder(name):
                if precision not in allowed:
                    continue
                error = self.error({**chosen, name: precision})
                if error <= tolerance:
                    chosen[name] = precision
                    break
                why.append(f"{precision} gives {error:.2g}")
            else:
                refused[name] = ", ".join(why) or "no precision that can hold its weights is smaller"
        return chosen, refused

    def cost(self, chosen: Mapping[str, Any]) -> Cost:
        model = self.model(chosen)
        data, long = self.on_data(model), self.long(model)
        longest = max((distance.max for distance in long), default=data.max)
        return Cost(data, long[-1] if long else None, longest, step_us(model, self.X))

    def report(self, chosen: Mapping[str, dict[str, str]], tolerance: float | None) -> Calibration:
        layers = []
        graph = with_weights(self.graph, chosen)
        for node in _layers(graph):
            keys = chosen.get(node.name, {})
            alone = self.cost({node.name: keys}) if node.precisions else None
            before = weight_bytes(node, self.keys(node.name, "float32"))
            layers.append(Layer(node.name, precision_of(node), before, weight_bytes(node, node.precisions), alone))
        total, plain = self.cost(chosen), step_us(self.exact, self.X)
        return Calibration(graph, layers, total, plain, self.n_frames, tolerance)
