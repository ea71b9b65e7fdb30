# SPDX-License-Identifier: MIT
"""The search of `--weights auto`: for each weight the fastest precision with which the output keeps a tolerance.

What is fastest is computed (`undertow.accuracy.step_cost`). Weights that share a kernel are chosen together: an option
of a recurrent layer is a precision for each of its matrices; of any other weight, one precision. The options of a part
are tried from the fastest on. Then parts take what is smaller, the largest of them first, as long as the whole step
takes at most `SLACK` longer for it, and each saves a larger share of the bytes than it costs of the time: where less is
not faster, it is still less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product

from .._progress import tell
from ..ir.ops import OPS, Cell
from ..ir.ops import Weight as Described
from ..passes.precisions import holds
from .calibration import LONG
from .step_cost import STEP, WORK, layer_ps
from .trials import Trials, Weight

#: What is tried, from the coarsest to the most exact; each has its row in `step_cost.WORK`.
LADDER = ("int4", "int8", "bfloat16", "int16", "float16")
_EXACTNESS = (*LADDER, "float32")
#: Of the time of a step: by how much longer it may take in less bytes, and count as equally fast.
SLACK = 0.05

#: of the options of a part that were tried in vain, how many are shown at most
_SHOWN = 5

#: a layer, and those weight keys of it that are chosen together
Part = tuple[str, tuple[str, ...]]
#: a precision for each of these keys
Option = tuple[str, ...]
Picked = dict[Part, Option]
Tried = tuple[float, str]

#: why a weight stays float32 for which nothing was tried
NONE_BETTER = "no precision that can hold it is faster, or as fast and smaller"


class Choice:
    """The parts of a model, their options, and which of them keep a tolerance.

    Attributes:
        parts: largest first.
        tried: part -> option that did not keep the tolerance -> how bad it was, and what it gave in words.
    """

    def __init__(self, trials: Trials, tolerance: float) -> None:
        self.trials, self.tolerance = trials, tolerance
        weights = [
            (name, weight.key)
            for name, node in trials.nodes.items()
            for weight in OPS[node.op].weights
            if weight.key in node.weights and not set(LADDER).isdisjoint(weight.precisions)
        ]
        self._n_bytes: dict[tuple[str, str, str], int] = {}
        self.model_bytes = {precision: self._bytes_in(precision) for precision in WORK}
        self.parts = sorted(self._parts(weights), key=lambda part: -self.price(part, self.float32(part))[1])
        self.tried: dict[Part, dict[Option, Tried]] = {part: {} for part in self.parts}
        self._prices: dict[tuple[Part, Option], tuple[float, int]] = {}
        self._ladders: dict[Part, list[Option]] = {}
        #: picoseconds by which less bytes may make the step of a model in float32 longer
        self._slack = SLACK * (STEP + sum(self.price(part, self.float32(part))[0] for part in self.parts))
        self._badness: dict[tuple[Part, Option], tuple[float, float]] = {}

    def _bytes_in(self, precision: str) -> int:
        """Of the weights of the whole model in one precision, those that have none such as they are."""
        n_bytes = 0
        for name, node in self.trials.nodes.items():
            able = [w.key for w in OPS[node.op].weights if w.key in node.weights and precision in w.precisions]
            n_bytes += self._size(name, dict.fromkeys(able, precision))
        return n_bytes

    def _size(self, layer: str, precisions: Mapping[str, str]) -> int:
        """Bytes of a layer in a file; of each weight looked up once, for blocks of zeros are counted in all of it."""
        n_bytes = {}
        for key, precision in {"": "", **precisions}.items():
            if (at := (layer, key, precision)) not in self._n_bytes:
                self._n_bytes[at] = self.trials.in_file(layer, {key: precision} if key else {})
            n_bytes[key] = self._n_bytes[at]
        plain = n_bytes.pop("")
        return plain + sum(n - plain for n in n_bytes.values())

    def _parts(self, weights: Iterable[Weight]) -> list[Part]:
        parts: dict[Weight, Part] = {}
        for layer, key in weights:
            together = isinstance(OPS[self.trials.nodes[layer].op], Cell)
            name = (layer, "" if together else key)
            parts[name] = (layer, (*parts.get(name, (layer, ()))[1], key))
        return list(parts.values())

    @staticmethod
    def float32(part: Part) -> Option:
        return ("float32",) * len(part[1])

    def price(self, part: Part, option: Option) -> tuple[float, int]:
        """Picoseconds that a part takes of a step, and bytes of a file: what is less is better."""
        layer, keys = part
        precisions = dict(zip(keys, option, strict=True))
        node = self.trials.nodes[layer]
        ps = layer_ps(self.trials.graph, node, precisions, self.model_bytes)
        return ps, self._size(layer, precisions)

    def _options(self, part: Part) -> dict[Option, tuple[float, int]]:
        """All that can hold the weights of a part, and their prices."""
        layer, keys = part
        node = self.trials.nodes[layer]
        able = []
        for key in keys:
            weight = _described(node.op, key)
            rows = weight.as_rows(node.weights[key])
            able.append([p for p in _EXACTNESS if p == "float32" or (p in weight.precisions and holds(rows, p))])
        return {option: self.price(part, option) for option in product(*able)}

    def ladder(self, part: Part) -> list[Option]:
        """The options that are faster than float32, as fast and smaller, or smaller and hardly slower; fastest first.

        One that is no better than a more exact one, neither in time nor in bytes, is left out: int4 where its sums take
        longer than int8's and its groups of 32 are mostly padding.
        """
        if part not in self._ladders:
            prices = self._options(part)
            (ps, n_bytes) = prices[self.float32(part)]
            kept = {
                option: price
                for option, price in prices.items()
                if price[0] < ps or (price[0] <= ps + self._slack and price[1] < n_bytes)
            }
            better = [option for option in kept if not any(_instead(option, other, prices) for other in prices)]
            self._ladders[part] = sorted(better, key=prices.__getitem__)
            self._prices.update({(part, option): price for option, price in prices.items()})
        return self._ladders[part]

    def fast(self, part: Part) -> list[Option]:
        """Those of the ladder that are faster than every more exact one, or as fast and smaller."""
        self.ladder(part)
        prices = {o: self._prices[part, o] for o in self._ladders[part]} | {
            self.float32(part): self._prices[part, self.float32(part)]
        }
        return [
            option
            for option in self._ladders[part]
            if not any(_more_exact(other, option) and prices[other] <= prices[option] for other in prices)
        ]

    def has_faster(self) -> bool:
        """Whether some option is faster than float32."""
        return any(
            self._prices[part, option][0] < self._prices[part, self.float32(part)][0]
            for part in self.parts
            for option in self.ladder(part)
        )

    # -- the search -----------------------------------------------------------------------------------------------

    def picked(self) -> Picked:
        """The best option of each part that keeps the tolerance; parts that stay float32 are not named."""
        picked = self._smaller(self._fastest())
        while picked and not self.trials.holds(by_layer(picked), self.tolerance):
            costly = max(picked, key=lambda part: self._badness_of(part, picked[part]))
            worst = self._badness_of(costly, picked[costly])
            ladder = self.ladder(costly)
            rest = ladder[ladder.index(picked[costly]) + 1 :]
            milder = next((option for option in rest if self._badness_of(costly, option) < worst), None)
            why = f"with {_named(costly, picked[costly])} the error grows beyond the tolerance within {LONG:,} steps"
            self.tried[costly][picked.pop(costly)] = worst[0], why
            if milder is not None:
                picked[costly] = milder
        return picked

    def _fastest(self) -> Picked:
        """The best of some greedy choices, on the data alone: with all options, and without those of the coarsest."""
        ladders = {part: self.fast(part) for part in self.parts}
        order = sorted(ladders, key=lambda part: self._saved(part, ladders[part]), reverse=True)
        choices: list[tuple[Picked, dict[Part, dict[Option, Tried]]]] = []
        looked_at: list[dict[Part, list[Option]]] = []
        for first in range(len(LADDER)):
            allowed = {part: [o for o in ladders[part] if {*o} <= {*_EXACTNESS[first:]}] for part in order}
            if allowed in looked_at:
                continue
            looked_at.append(allowed)
            choices.append(self._greedy(allowed))
            if all(choices[-1][0].get(part) == allowed[part][0] for part in order if allowed[part]):
                break  # no choice from fewer options is faster
        picked, self.tried = min(choices, key=lambda choice: self._total_price(choice[0]))
        return picked

    def _saved(self, part: Part, ladder: list[Option]) -> tuple[float, int]:
        before = self._prices[part, self.float32(part)]
        after = self._prices[part, ladder[0]] if ladder else before
        return before[0] - after[0], before[1] - after[1]

    def _total_price(self, picked: Picked) -> tuple[float, int]:
        prices = [self._prices[part, picked.get(part, self.float32(part))] for part in self.parts]
        return sum(ps for ps, _ in prices), sum(n_bytes for _, n_bytes in prices)

    def _greedy(self, ladders: Mapping[Part, list[Option]]) -> tuple[Picked, dict[Part, dict[Option, Tried]]]:
        """The first option of each ladder that keeps the tolerance beside those before it; and what the others gave."""
        picked: Picked = {}
        tried: dict[Part, dict[Option, Tried]] = {}
        for i, (part, ladder) in enumerate(ladders.items()):
            tell("choosing precisions", i, len(ladders))
            option, tried[part] = self._first_that_keeps(part, ladder, picked)
            if option is not None:
                picked[part] = option
        return picked, tried

    def _first_that_keeps(
        self, part: Part, options: Iterable[Option], picked: Picked
    ) -> tuple[Option | None, dict[Option, Tried]]:
        tried: dict[Option, Tried] = {}
        for option in options:
            distance = self.trials.on_data(self.trials.model(by_layer({**picked, part: option})))
            if self.trials.keeps(distance, self.tolerance):
                return option, tried
            judge, measured = self.trials.judge, self.trials.judged(distance)
            tried[option] = judge.badness(measured), f"{_named(part, option)} gives {judge.said(measured)}"
        return None, tried

    def _smaller(self, picked: Picked) -> Picked:
        """With smaller options in place of equally fast ones, where those too keep the tolerance."""
        picked = dict(picked)
        total_ps, total_bytes = self._total_price(picked)
        left, bytes_a_ps = SLACK * (STEP + total_ps), total_bytes / (STEP + total_ps)
        for i, part in enumerate(self.parts):
            tell("choosing smaller precisions", i, len(self.parts))
            ps, n_bytes = self._prices[part, picked.get(part, self.float32(part))]
            prices = {option: self._prices[part, option] for option in self.ladder(part)}
            longer = {option: price[0] - ps for option, price in prices.items()}
            saved = {option: n_bytes - price[1] for option, price in prices.items()}
            equally_fast = [
                o for o in prices if saved[o] > 0 and longer[o] <= left and saved[o] > longer[o] * bytes_a_ps
            ]
            smallest_first = sorted(equally_fast, key=lambda o: prices[o][::-1])
            untried = [option for option in smallest_first if option not in self.tried[part]]
            option, tried = self._first_that_keeps(part, untried, picked)
            self.tried[part].update(tried)
            if option is not None:
                picked[part] = option
                left -= longer[option]
        return picked

    def _badness_of(self, part: Part, option: Option) -> tuple[float, float]:
        """What one part does alone; RMS decides where the judge sees no difference."""
        if (part, option) not in self._badness:
            distance = self.trials.on_data(self.trials.model(by_layer({part: option})))
            badness = self.trials.judge.badness(self.trials.judged(distance))
            self._badness[part, option] = (badness, distance.rms)
        return self._badness[part, option]

    # -- in words -------------------------------------------------------------------------------------------------

    def stays(self, picked: Picked) -> dict[str, str]:
        """What stays float32, a layer or one weight of it -> why."""
        said = {}
        for part in self.parts:
            layer, keys = part
            option = picked.get(part, self.float32(part))
            plain = [key for key, precision in zip(keys, option, strict=True) if precision == "float32"]
            n_choosable = sum(len(of) for name, of in self.parts if name == layer)
            why = self._in_vain(part) or NONE_BETTER
            said.update({layer if len(plain) == n_choosable else f"{layer} {key}": why for key in plain})
        return said

    def tried_in_words(self) -> str:
        """All that was tried in vain, by part."""
        return "; ".join(f"{part[0]}: {self._in_vain(part)}" for part in self.parts if self.tried[part])

    def _in_vain(self, part: Part) -> str:
        """What the options that were tried gave, or those of many that came nearest."""
        tried = list(self.tried[part].values())
        if len(tried) <= _SHOWN:
            return ", ".join(words for _, words in tried)
        nearest = sorted(tried)[: _SHOWN - 1]
        return ", ".join(words for _, words in nearest) + f", and {len(tried) - len(nearest)} others more"

    def plain_that_keeps(self) -> str | None:
        """One of the larger precisions that keeps the tolerance where all weights that have it are in it."""
        for precision in ("float16", "int16"):
            able = {part: self._in_one_precision(part, precision) for part in self.parts}
            chosen = by_layer({part: option for part, option in able.items() if option in self._options(part)})
            self.trials.settle(chosen)
            if len(chosen) == len(by_layer(able)) and self.trials.holds(chosen, self.tolerance):
                return precision
        return None

    def _in_one_precision(self, part: Part, precision: str) -> Option:
        op = self.trials.nodes[part[0]].op
        return tuple(precision if precision in _described(op, key).precisions else "float32" for key in part[1])


def _named(part: Part, option: Option) -> str:
    """ "int8", or "W float32, R int8", as `undertow.inspect.describe.precision_of`."""
    if len({*option}) == 1:
        return option[0]
    return ", ".join(f"{key} {precision}" for key, precision in zip(part[1], option, strict=True))


def _described(op: str, key: str) -> Described:
    return next(weight for weight in OPS[op].weights if weight.key == key)


def _more_exact(other: Option, option: Option) -> bool:
    """Whether each precision of one option is at least as exact as that of the other, and one is more so."""
    pairs = list(zip(other, option, strict=True))
    return other != option and all(_EXACTNESS.index(a) >= _EXACTNESS.index(b) for a, b in pairs)


def _instead(option: Option, other: Option, prices: Mapping[Option, tuple[float, int]]) -> bool:
    """Whether another option is more exact, and costs no more time and no more bytes."""
    return _more_exact(other, option) and all(a <= b for a, b in zip(prices[other], prices[option], strict=True))


def by_layer(picked: Picked) -> dict[str, dict[str, str]]:
    """Options as `with_weights` takes them: layer -> weight key -> precision; those that are float32 not named."""
    layers: dict[str, dict[str, str]] = {}
    for (layer, keys), option in picked.items():
        chosen = {key: p for key, p in zip(keys, option, strict=True) if p != "float32"}
        layers.setdefault(layer, {}).update(chosen)
    return layers


__all__ = ["LADDER", "NONE_BETTER", "SLACK", "Choice", "by_layer"]
