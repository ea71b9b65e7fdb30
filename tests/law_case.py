# SPDX-License-Identifier: MIT
"""A random model under test, and what the laws of tests/laws.py share: ways to run it, comparisons that say enough."""

from collections import Counter
from collections.abc import Callable
from functools import cached_property

import numpy as np

import random_models
import undertow
from undertow import tow
from undertow.compile import compile_graph
from undertow.ir.graph import Graph, Node
from undertow.model import Model

ISAS = [name for name, runs in undertow.isas().items() if runs]
Arrays = dict[str, np.ndarray]
#: before the state in a snapshot: magic, model hash, size (csrc/FORMAT.md)
SNAPSHOT_HEADER = 32


class Broken(AssertionError):
    """A law that a model broke; str() says which, where, and how to see it again."""


class Case:
    """One random model, and the sequence that laws run through it.

    Attributes:
        model: on the best instruction set; `models` on each.
        X: (T, *frame) by input name.
        notes: what laws found worth adding up: numbers judged, and not.
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.law, self.notes = seed, "", Counter()
        self.made = random_models.make(seed)
        self.blob = compile_graph(self.made.graph)
        self.models = {isa: Model(self.blob, isa) for isa in ISAS}
        self.model = self.models[ISAS[0]]
        self.T, self.latency = self.made.n_frames, self.model.latency
        self.X = self.frames(np.random.default_rng([seed, 2]), self.T)

    @cached_property
    def lowered(self) -> Graph:
        """What the engine runs."""
        return tow.read(self.blob)

    def rng(self, law: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, 3, *law.encode()])

    def some_model(self, rng: np.random.Generator) -> Model:
        return self.models[ISAS[int(rng.integers(len(ISAS)))]]

    # -- frames -------------------------------------------------------------------------------------------------------

    def frames(self, rng: np.random.Generator, *lead: int) -> Arrays:
        return random_models.frames(self.made.graph, rng, *lead)

    def hard_frames(self, rng: np.random.Generator, *lead: int) -> Arrays:
        """Frames of which some hold what is no number, or hardly one."""
        X = self.frames(rng, *lead)
        odd = np.float32([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e30, 1e-30, 1e-40, -1e-45, -0.0, 0.0, 2.0**-126, 1e6])
        for x in X.values():
            if x.dtype == np.float32:
                worst = rng.choice([3, len(odd)])  # a NaN soon takes all there is: half of the time without
                sick = rng.random(lead) < 0.3
                where = (rng.random(x.shape) < 0.3) & sick.reshape(*lead, *[1] * (x.ndim - len(lead)))
                x[where] = rng.choice(odd[0 if worst > 3 else 3 :], int(where.sum()))
        return X

    def cut(self, X: Arrays, at) -> Arrays:
        """A copy of X[at]."""
        return {name: np.array(x[at], order="C") for name, x in X.items()}

    def one(self, X: Arrays):
        """As a model takes it."""
        return next(iter(X.values())) if len(X) == 1 else X

    def named(self, Y) -> Arrays:
        return Y if isinstance(Y, dict) else {next(iter(self.model.outputs)): Y}

    def empty(self, *lead: int) -> Arrays:
        """Arrays to write outputs to, full of what nobody computes."""
        return {
            name: np.full((*lead, *v.shape), 77 if v.dtype == "int32" else np.nan, v.dtype)
            for name, v in self.model.outputs.items()
        }

    # -- running ------------------------------------------------------------------------------------------------------

    def stream_rows(self, X: Arrays, model: Model | None = None) -> tuple[Arrays, bytes]:
        """What a stream gives for X, flush included, and its state before the flush."""
        stream = (model or self.model).stream()
        rows = self.named(stream.run(self.one(X)))
        snapshot = stream.snapshot()
        return self.joined([rows, self.named(stream.flush())]), snapshot

    @cached_property
    def rows(self) -> tuple[Arrays, bytes]:
        return self.stream_rows(self.X)

    def joined(self, parts: list[Arrays]) -> Arrays:
        return {name: np.concatenate([part[name] for part in parts]) for name in self.model.outputs}

    def cuts(self, rng: np.random.Generator, T: int):
        """(start, stop) of random pieces, empty ones among them."""
        at, most = 0, int(rng.choice([1, 3, 20, 60]))
        while at < T:
            n = min(int(rng.integers(0, most + 1)), T - at)
            yield at, at + n
            at += n

    # -- comparing ----------------------------------------------------------------------------------------------------

    def broken(self, message: str) -> Broken:
        return Broken(
            f"seed {self.seed} breaks {self.law!r}: {message}\n"
            f"  {self.made.theme}, {self.made.precision}, {self.T} frames, latency {self.latency}, built in: {ISAS}\n"
            f"{self.made.graph!r}\n"
            f"again: python tests/laws.py --seed {self.seed}"
        )

    def same(self, got: Arrays, want: Arrays, what: str) -> None:
        """To the bit, but for the bits of a NaN."""
        if got.keys() != want.keys():
            raise self.broken(f"{what}: got {sorted(got)}, expected {sorted(want)}")
        for name, y in want.items():
            if got[name].shape != y.shape or got[name].dtype != y.dtype:
                raise self.broken(
                    f"{what}: {name} is {got[name].dtype} {got[name].shape}, expected {y.dtype} {y.shape}"
                )
            differ = bits(got[name]) != bits(y)
            if differ.any():
                with np.errstate(all="ignore"):
                    gap = np.abs(got[name].astype(np.float64) - y)
                gap = np.where(differ, np.where(np.isnan(gap), np.inf, gap), -1.0)
                at = tuple(int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape))
                raise self.broken(
                    f"{what}: {name}{list(at)} expected {y[at]!r}, got {got[name][at]!r} "
                    f"({int(differ.sum())} of {differ.size} differ, first at {np.argwhere(differ)[0].tolist()})"
                )

    def same_state(self, got: bytes, want: bytes, what: str) -> None:
        if got[:SNAPSHOT_HEADER] != want[:SNAPSHOT_HEADER] or len(got) != len(want):
            raise self.broken(f"{what}: the snapshots differ in their headers")
        numbers = [{"state": np.frombuffer(s, np.float32, offset=SNAPSHOT_HEADER)} for s in (got, want)]
        if got != want:
            self.same(*numbers, f"{what}, snapshot")

    def worst(self, what: str, gap: np.ndarray) -> None:
        """Note the largest share of a limit that was taken."""
        found = float(gap[np.isfinite(gap)].max(initial=0.0))
        self.notes[f"worst {what}"] = max(self.notes[f"worst {what}"], found)

    def holds(self, truth: bool, what: str) -> None:
        if not truth:
            raise self.broken(what)


def rebuilt(graph: Graph, add: Callable[[Graph, Node, list[str]], tuple[str, ...]], start=lambda init: init) -> Graph:
    """A graph whose nodes `add` makes anew: of the new graph, an old node and its new inputs it makes new outputs."""
    other = graph.blank()
    found = {name: other.input(name, graph.shape(name), graph.values[name].dtype) for name in graph.inputs}
    for state in graph.states.values():
        other.state(state.name, state.shape, None if state.init is None else start(state.init))
    for node in graph.nodes:
        found.update(zip(node.outputs, add(other, node, [found[v] for v in node.inputs]), strict=True))
    for name, value in graph.outputs.items():
        other.output(name, found[value])
    return other


def again(graph: Graph, node: Node, inputs: list[str], **changes) -> tuple[str, ...]:
    """A node like another one, for `rebuilt`."""
    same = {key: getattr(node, key) for key in ("attrs", "weights", "states", "precisions", "smoothing")}
    made = graph.add(node.op, inputs, name=node.name, **(same | changes))
    return made if isinstance(made, tuple) else () if made is None else (made,)


def bits(y: np.ndarray) -> np.ndarray:
    """The bits of each number; one pattern for every NaN."""
    y = np.ascontiguousarray(y)
    found = y.view(np.uint32).copy()
    if y.dtype == np.float32:
        found[np.isnan(y)] = 0x7FC00000
    return found
