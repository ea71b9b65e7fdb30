# SPDX-License-Identifier: MIT
"""A graph and its outputs in float32 on somebody's frames, against which precisions of its weights are held.

The data also decides how weights of integers are rounded (`undertow.accuracy.fitting`), and how their columns are
smoothed before (`undertow.passes.smoothing`): for the first two thirds of its frames (of its sequences, where there are
several), and only where that makes the output err less on the last third, which neither has seen, and on all of it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .._progress import tell
from ..errors import ShapeError
from ..inspect.describe import precision_of
from ..ir.graph import Graph
from ..ir.ops import OPS
from ..ir.precision import INTEGERS, SMOOTHED
from ..model import Model
from ..passes.precisions import with_weights
from ..passes.smoothing import ALONE, without_data
from ..passes.sparsify import in_blocks, with_blocks
from ..tow.sizes import weight_bytes
from .calibration import LATE, LONG, Calibration, Cost, Layer
from .drift import Arrays, Distance, distances, repeated
from .fitting import fitted, smoothed_for
from .judge import Judge, Tally
from .layerwise import inner_values_of_each
from .verify import by_name, one_or_all

#: (layer, weight key)
Weight = tuple[str, str]
#: layer -> weight key -> precision
Chosen = Mapping[str, Mapping[str, str]]

#: Frames that rounding looks at, at most: every value of the graph is held for them.
FIT = 10_000
#: to spend on the steps of each row of the table
SECONDS = 0.05


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
    frames = [
        one_or_all({name: x[t, ...] for name, x in X.items()}) for t in range(min(n, model.max_frames or n, 1000))
    ]
    while not times or clock() < end:
        stream.reset()
        for x in frames:
            before = clock()
            stream.step(x)
            times.append(clock() - before)
    return float(np.median(times)) / 1e3


@dataclass(frozen=True)
class Form:
    """How a weight becomes integers: float32 numbers that stand on them already, None for the nearest; and exponents by
    which its columns are smoothed, None for none."""

    rounded: np.ndarray | None = None
    smoothing: np.ndarray | None = None


class Trials:
    """What precisions do to the outputs of a float32 graph on some frames.

    Attributes:
        graph, exact: in float32. X, Y: the frames, and its outputs.
        several: whether each array has an axis of sequences in front of that of time.
        n_frames, n_sequences: of the data; frames of all sequences together.
        n_parts: frames, or sequences where there are several; n_fit: those that rounding looks at, the first.
        nodes: layers that have weights with a precision, by name.
        notes: what the data cannot tell, for people. gained_nothing: whether `settle` has given up all rounding for it.
    """

    def __init__(
        self, graph: Graph, X: Arrays, isa: str | None, judge: Judge | None = None, tolerance: float | None = None
    ) -> None:
        self.graph, self.X, self.isa = graph, X, isa
        self.exact = Model.from_graph(with_blocks(graph), isa)
        self.judge = (judge or Judge()).of(self.exact.outputs)
        if tolerance is not None:
            self.judge.checked(tolerance)
        self.several = all(x.ndim == 2 + len(graph.shape(name)) for name, x in X.items())
        self.n_parts = len(next(iter(X.values())))
        self.n_sequences = self.n_parts if self.several else 1
        self.n_frames = self.n_parts * (next(iter(X.values())).shape[1] if self.several else 1)
        if self.n_frames == 0:
            raise ShapeError("the calibration data has no frames; at least one is needed")
        self.Y = by_name(self.exact.run(one_or_all(X)), self.exact.outputs)
        _refuse_silence(X)
        for name, y in self.Y.items():
            if not np.isfinite(y).all():
                raise ShapeError(
                    f"output {name!r} is NaN or infinite on the calibration data: no error can be measured"
                )
        self.nodes = {node.name: node for node in graph.nodes if OPS[node.op].reducible}
        self.n_fit = 2 * self.n_parts // 3
        most = max(1, FIT * self.n_parts // self.n_frames)
        seen = {name: x[: min(self.n_fit, most)] for name, x in X.items()}
        each = (
            [{name: x[i] for name, x in seen.items()} for i in range(min(self.n_fit, most))] if self.several else [seen]
        )
        self.values = [values for values, _ in inner_values_of_each(self.exact, graph, each if self.n_fit else [])]
        self.notes = self._notes()
        #: one of the sequences, to take the time of
        self.timed = {name: x[0] for name, x in X.items()} if self.several else X
        self._forms: dict[tuple[Weight, str], Form] = {}
        self.gained_nothing = False

    def _notes(self) -> list[str]:
        """What people should know of their data before they trust what it says."""
        notes = []
        part = "sequence" if self.several else "frame"
        if not self.n_fit:
            notes.append(f"one {part} is too little to round for: weights are rounded to the nearest; give two or more")
        frames = [x.reshape(self.n_frames, -1) for x in self.X.values()]
        if n_broken := int((~np.logical_and.reduce([np.isfinite(x).all(axis=1) for x in frames])).sum()):
            notes.append(f"{n_broken:,} of {self.n_frames:,} frames hold NaN or infinity; rounding looks at the others")
        if (said := self.judge.undecided(self.Y)) is not None:
            notes.append(f"{said} on these frames: judge {self.judge} can hardly fail on them")
        return notes

    def in_file(self, layer: str, precisions: Mapping[str, str]) -> int:
        """Bytes of the weights of a layer in a file, with some of its weight keys in these precisions."""
        node = self.nodes[layer]
        return weight_bytes(node, in_blocks(node, precisions))

    def reduced(self, chosen: Chosen) -> Graph:
        """The graph with these precisions, rounded for the data where that helps."""
        forms: dict[Weight, Form] = {}
        for layer, precisions in chosen.items():
            tell(f"rounding for the data: {layer}")
            forms.update({(layer, key): self._form_for_data((layer, key), p) for key, p in precisions.items()})
        return self._formed(chosen, forms)

    def _formed(self, chosen: Chosen, forms: Mapping[Weight, Form]) -> Graph:
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

    def _form_for_data(self, weight: Weight, precision: str) -> Form:
        """Of the nearest integers, those for the data, and those of smoothed columns for the data: what errs least on
        frames that were not seen, and no more on all than what is taken without data."""
        if (weight, precision) not in self._forms:
            layer, key = weight
            node, keys = self.nodes[layer], [key] if precision in SMOOTHED else []
            forms = [self._form_alone(weight, precision)]
            if self.values:
                if forms[0].smoothing is not None:
                    forms.append(Form())
                rounded = fitted(node, {key: precision}, self.graph, self.values).get(key)
                if rounded is not None:
                    forms.append(Form(rounded))
                if smoothing := smoothed_for(node, keys, self.graph, self.values):
                    smoothed = fitted(node, {key: precision}, self.graph, self.values, smoothing).get(key)
                    forms.append(Form(smoothed, smoothing[key]))
            if len(forms) > 1:
                errors = [self._errors(self._formed({layer: {key: precision}}, {weight: form})) for form in forms]
                kept = [i for i, (_, on_all) in enumerate(errors) if on_all <= errors[0][1]]
                forms = [forms[min(kept, key=lambda i: errors[i][0])]]
            self._forms[weight, precision] = forms[0]
        return self._forms[weight, precision]

    def _form_alone(self, weight: Weight, precision: str) -> Form:
        """As without data."""
        layer, key = weight
        keys = [key] if precision in ALONE else []
        return Form(smoothing=without_data(self.nodes[layer], keys).get(key))

    def _errors(self, graph: Graph) -> tuple[float, float]:
        """RMS of the errors on what rounding has not seen, and on all of the data."""
        model = Model.from_graph(graph, self.isa)
        return self.on_data(model, self.n_fit).rms, self.on_data(model).rms

    def settle(self, chosen: Chosen) -> None:
        """Round everything as without data unless all rounding for it together errs less, on frames not seen, and
        no more on all."""
        alone = with_weights(self.graph, chosen, smooth=True)
        nearest, rounded = (self._errors(g) for g in (alone, self.reduced(chosen)))
        if nearest[0] <= rounded[0] or nearest[1] < rounded[1]:
            self._forms = {form: self._form_alone(*form) for form in self._forms}
            if self.n_fit and any(p in INTEGERS for keys in chosen.values() for p in keys.values()):
                self.gained_nothing = True

    def model(self, chosen: Chosen) -> Model:
        return Model.from_graph(with_blocks(self.reduced(chosen)), self.isa)

    def on_data(self, model: Model, first: int = 0) -> Distance:
        """Distance over the data, or from frame or sequence `first` on; what a stream gives once counts in any case."""
        start = first * self.n_frames // self.n_parts
        distance = Distance(start + 1, self.n_frames, tally=Tally(self.judge))
        outputs = by_name(model.run(one_or_all(self.X)), model.outputs)
        in_time = {name: y.ndim > len(model.outputs[name].shape) for name, y in self.Y.items()}
        distance.add(*({name: Y[name][first:] if in_time[name] else Y[name] for name in Y} for Y in (outputs, self.Y)))
        return distance

    def long(self, model: Model) -> list[Distance]:
        """Before and within the last steps of a long stream; nothing where there are no streams, or all are short."""
        if self.several or not model.streamable:
            return []
        return distances(model, self.exact, repeated(self.X), (LONG - LATE, LONG), self.judge)

    def judged(self, distance: Distance) -> float:
        assert distance.tally is not None
        return distance.tally.measured

    def keeps(self, distance: Distance, tolerance: float) -> bool:
        return self.judge.passes(self.judged(distance), tolerance)

    def holds(self, chosen: Chosen, tolerance: float) -> bool:
        """Whether the output keeps the tolerance, on all of the data and over a long stream."""
        model = self.model(chosen)
        return self.keeps(self.on_data(model), tolerance) and all(self.keeps(d, tolerance) for d in self.long(model))

    def cost(self, chosen: Chosen) -> Cost:
        model = self.model(chosen)
        data, long = self.on_data(model), self.long(model)
        longest = max((distance.max for distance in long), default=data.max)
        judged = self.judge.worst(*(self.judged(distance) for distance in (data, *long)))
        return Cost(data, long[-1] if long else None, longest, judged, step_us(model, self.timed))

    def report(self, chosen: Chosen, tolerance: float | None) -> Calibration:
        """What these precisions cost, layer by layer and all together."""
        layers = []
        graph = self.reduced(chosen)
        nodes = [node for node in graph.nodes if node.name in self.nodes]
        for i, node in enumerate(nodes):
            tell("measuring layer by layer", i, len(nodes))
            alone = self.cost({node.name: chosen.get(node.name, {})}) if node.precisions else None
            before, after = self.in_file(node.name, {}), weight_bytes(node, in_blocks(node, node.precisions))
            layers.append(Layer(node.name, precision_of(node), before, after, alone))
        total, plain = self.cost(chosen), step_us(self.exact, self.timed)
        tell("")
        notes = list(self.notes)
        if self.gained_nothing:
            notes.append("weights are rounded to the nearest: rounding for these frames gains nothing on them")
        return Calibration(
            graph, layers, total, plain, self.n_frames, tolerance, n_sequences=self.n_sequences, judge=self.judge,
            notes=notes,
        )  # fmt: skip


def _refuse_silence(X: Arrays) -> None:
    """Frames of which all numbers are 0 tell nothing; ids of 0 do."""
    numbers = [x for x in X.values() if x.dtype.kind == "f"]
    if len(numbers) == len(X) and not any(x.any() for x in numbers):
        raise ShapeError(
            "the calibration data is silent: every number of every frame is 0, and weights multiply nothing; "
            "give frames as the model will meet them"
        )


__all__ = ["Chosen", "Form", "Trials", "Weight", "step_us"]
