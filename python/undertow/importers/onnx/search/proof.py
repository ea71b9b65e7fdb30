# SPDX-License-Identifier: MIT
"""Whether a reading can be right, by what the file's own nodes say of which timesteps and batch items meet.

The walk tells time from the batch by tables; an axis that it was given in one size alone could mislead it. So what it
found is held against `dependence`, which is given every open axis in a size above 1. A timestep's outputs may depend on
it, on earlier ones as far back as the Graph remembers, and on later ones only as far as the Graph looks ahead; an
item's outputs on that item alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from ....budget import room
from ....ir.graph import Graph
from ....ir.ops import OPS
from ..advice import Advice
from ..dependence import MAX_CELLS, Numbers, Operand, Reach, Unclear, Walked, trace
from ..file.nodes import OnnxNode
from ..frames.context import Place, Reading
from ..frames.provenance import Layout
from ..retry import Retry
from ..simplify.ports import Port
from ..simplify.program import RECURRENT, Program

#: sizes that a file may have meant with an open axis: how many are tried, and the largest
_MAX_SIZES, _MAX_SIZE = 24, 4096
#: sizes of open axes that the walk was given as 1
_MANY_STEPS, _MANY_ITEMS = 3, 2


@dataclass(frozen=True)
class Sizes:
    """How many timesteps (each of `frames` rows) and batch items the nodes are given."""

    n_steps: int
    n_items: int
    frames: int


class Cells:
    """Timesteps of batch items as bits; of many timesteps some, spread over all. -1 is what is no timestep's."""

    def __init__(self, sizes: Sizes) -> None:
        self.items = list(range(min(sizes.n_items, _MANY_ITEMS)))
        n = MAX_CELLS // len(self.items) - 1
        steps = np.unique(np.linspace(0, sizes.n_steps - 1, min(n, sizes.n_steps)).round().astype(int)).tolist()
        self.steps = [-1, *steps]
        self.number = {(t, i): n for n, (t, i) in enumerate((t, i) for i in self.items for t in self.steps)}

    def bit(self, step: int, item: int) -> np.uint64:
        """The cell's bit; 0 of one that is not told apart."""
        n = self.number.get((step, item))
        return np.uint64(0) if n is None else np.uint64(1) << np.uint64(n)

    def of(self, bits: np.uint64) -> list[tuple[int, int]]:
        """(timestep, item) of each cell."""
        return [cell for cell, n in self.number.items() if int(bits) >> n & 1]

    def of_item(self, item: int) -> np.uint64:
        """All cells of an item."""
        bits = np.uint64(0)
        for t, i in self.number:
            bits |= self.bit(t, i) if i == item else np.uint64(0)
        return bits


@dataclass
class Proof:
    """What was learned on the way.

    walks: nodes that go along time. lost: one of a recurrence that ends with its first step, if there is one.
    may_be_lost: one that may be of such a recurrence, if nothing else is remembered. numbers: what the length of a
    sequence has met. knows_sizes: whether the nodes ask for sizes.
    """

    walks: list[OnnxNode] = field(default_factory=list)
    lost: OnnxNode | None = None
    may_be_lost: OnnxNode | None = None
    numbers: Numbers = field(default_factory=Numbers)
    knows_sizes: bool = False


@dataclass(frozen=True)
class Claim:
    """What is to be proven: the graph that was made under a reading, how its outputs lie in the file's, how many rows
    of them a frame has, and which outputs return which states.
    """

    reading: Reading
    graph: Graph
    outputs: Mapping[str, Place]
    rates: Mapping[str, int]
    states: Mapping[str, str]


def prove(program: Program, claim: Claim) -> Proof:
    """Hold a claim against the nodes.

    Raises:
        Refuted: they say otherwise, or do not tell.
    """
    reading = claim.reading
    base = Sizes(reading.n_steps, reading.n_items, reading.frames)
    wide = _widened(program, reading, base)
    if wide != base:
        try:
            proof = _Check(program, claim, wide, base).run()
            _check_shared(program, claim, wide, base)
            return proof
        except Unclear:
            _refuse_other_sizes(program, claim, wide, base)  # else the file has fixed it, though it calls it open
    try:
        return _Check(program, claim, base, base).run()
    except Unclear as error:
        if reading.clip:
            return Proof()
        raise Refuted(f"cannot prove which axis is time and which the batch: {error}") from None


def _check_shared(program: Program, claim: Claim, wide: Sizes, base: Sizes) -> None:
    """Look at one item alone as well, where an input has time and no batch: beside several items its rows are nobody's.

    Raises:
        Refuted: its time is none.
    """
    axes = [claim.reading.axes[port.name] for port in program.inputs]
    if wide.n_items > 1 and any(time is not None and batch is None for time, batch in axes):
        with suppress(Unclear):
            _Check(program, claim, replace(wide, n_items=1), replace(base, n_items=1)).run()


def _refuse_other_sizes(program: Program, claim: Claim, wide: Sizes, base: Sizes) -> None:
    """Refuse open axes that go with size 1 and with one of the file's own: of size 1 they are broadcast.

    Raises:
        Refuted: they do.
    """
    ports = [*program.inputs, *program.state_inputs]
    shapes = [*(p.dims for p in ports), *(array.shape for array in program.constants.values())]
    fixed_sizes = {n for dims in shapes for n in dims if isinstance(n, int) and 1 < n <= _MAX_SIZE}
    kind = 0 if wide.n_steps > base.n_steps else 1
    for n in sorted(fixed_sizes)[:_MAX_SIZES]:
        sizes = replace(wide, **{"n_items" if kind else "n_steps": n})
        try:
            trace(program, inputs_of(program, claim.reading, sizes))
        except Unclear:
            continue
        check = _Check(program, claim, wide, base)
        raise Refuted(
            f"{check.axes(kind)} is open and goes with size {n} or 1, not with any, so it is neither time nor batch",
            check.advice("give its size", kind),
        )


def lengths_met(program: Program, reading: Reading) -> set[int]:
    """Numbers of the file that the length of a sequence meets; none where that cannot be told."""
    try:
        sizes = Sizes(reading.n_steps, reading.n_items, reading.frames)
        return trace(program, inputs_of(program, reading, sizes)).numbers.lengths
    except Unclear:
        return set()


def longest(proof: Proof, reading: Reading) -> int | None:
    """A number of frames that reaches beyond all that the length has met, where that is more than the walk had."""
    needed = -(-(max(proof.numbers.lengths, default=0) + 2) // reading.frames) + 1
    return needed if needed > reading.n_steps else None


def _widened(program: Program, reading: Reading, base: Sizes) -> Sizes:
    """The sizes with those of open axes above 1."""
    ports = [*program.inputs, *program.state_inputs]
    is_open = [
        any(reading.axes[p.name][kind] in p.dynamic for p in ports if reading.axes[p.name][kind] is not None)
        for kind in (0, 1)
    ]
    return Sizes(
        _MANY_STEPS if is_open[0] and base.n_steps == 1 else base.n_steps,
        _MANY_ITEMS if is_open[1] and base.n_items == 1 else base.n_items,
        base.frames,
    )


def inputs_of(program: Program, reading: Reading, sizes: Sizes) -> dict[str, Reach]:
    """All inputs, whose rows and items are cells."""
    cells = Cells(sizes)
    ports = [*program.inputs, *program.state_inputs]
    lengths = {name: Reach.none((sizes.n_items,)) for name in program.length_inputs}
    return {port.name: _input(port, reading, sizes, cells) for port in ports} | lengths


def _input(port: Port, reading: Reading, sizes: Sizes, cells: Cells) -> Reach:
    """An input whose rows and items are cells."""
    time, batch = reading.axes[port.name]
    frames = sizes.frames
    full = {time: sizes.n_steps * frames, batch: sizes.n_items}
    shape = [full.get(axis, n) for axis, n in enumerate(port.dims)]
    if any(isinstance(n, str) for n in shape):
        raise Unclear(f"an axis of input {port.name!r} has no size")
    n_rows, n_items = 1 if time is None else sizes.n_steps * frames, 1 if batch is None else sizes.n_items
    room(n_rows * n_items, 24)
    bits = np.zeros((n_rows, n_items), np.uint64)
    for (t, i), _ in cells.number.items():
        if i < n_items and (t < 0) == (time is None):
            bits[slice(None) if t < 0 else slice(t * frames, (t + 1) * frames), i] = cells.bit(t, i)
    if batch is None and sizes.n_items > 1:
        bits = bits & np.uint64(0)  # shared by all items, so it is of none
    if time is not None and batch is not None and batch < time:
        bits = bits.T
    places = [n_rows if a == time else n_items if a == batch else 1 for a in range(len(shape))]
    return Reach.of([int(n) for n in shape], bits.reshape(places))


class Refuted(Retry):
    """The nodes say otherwise, or do not tell."""


class _Check:
    def __init__(self, program: Program, claim: Claim, sizes: Sizes, walked: Sizes) -> None:
        self.program, self.claim, self.sizes = program, claim, sizes
        self.longer, self.more = sizes.n_steps > walked.n_steps, sizes.n_items > walked.n_items
        self.cells = Cells(sizes)

    def run(self) -> Proof:
        traced = trace(self.program, inputs_of(self.program, self.claim.reading, self.sizes))
        outputs = traced.outputs
        walks = [walk.node for walk in traced.walked if self._walks_time(walk)]
        nodes = list({id(node): node for node in walks}.values())
        proof = Proof(nodes, traced.lost, traced.may_be_lost, traced.numbers, traced.knows_sizes)
        if self.claim.reading.clip:
            proof.lost = proof.lost or self._single_step()
            return proof
        self._all_items_count(outputs)
        horizons = _horizons(self.claim.graph)
        of_time = []
        for name, place in self.claim.outputs.items():
            reach = outputs[name]
            if isinstance(reach, Reach):
                rows = self._output(name, reach, place.layout, horizons[self.claim.graph.outputs[name]], bool(walks))
                of_time.append(rows)
        if self.longer and self.claim.reading.carried and of_time and not (walks or any(of_time)):
            raise self._not_time(next(iter(self.claim.outputs)), "has no row for each of its timesteps")
        for name, output in self.claim.states.items():
            reach = outputs[output]
            batch = self.claim.reading.axes[name][1]
            if isinstance(reach, Reach) and batch is not None and self.sizes.n_items > 1 and batch < len(reach.shape):
                self._items(output, reach, batch)
        return proof

    def _single_step(self) -> OnnxNode | None:
        """A recurrent node that starts anew in every frame, where all of them take one timestep in each."""
        graph = self.claim.graph
        steps = {graph.shape(node.inputs[0])[0] for node in graph.nodes if node.attrs.get("steps")}
        if steps != {1}:
            return None
        known = self.program.constants.keys() | {""}
        nodes = [node for node in self.program.nodes if node.op in RECURRENT]
        return next((node for node in nodes if known.issuperset(node.inputs[5:6])), None)

    def _walks_time(self, walk: Walked) -> bool:
        """Whether different rounds bring different timesteps."""
        times = [{t for t, _ in self.cells.of(gained) if t >= 0} for gained in walk.gained]
        times = [t for t in times if t]
        return len(times) > 1 and any(a != times[0] for a in times)

    def _output(self, name: str, reach: Reach, layout: Layout, horizon: tuple[float, float], is_walked: bool) -> bool:
        """Check what each timestep and item of an output depends on. Gives whether it has a row of each timestep."""
        steps, items, outer = self._places(name, reach, layout)
        bits = reach.over([a for a in range(len(reach.shape)) if a not in outer]).along(outer)
        bits = bits.reshape([reach.shape[a] for a in outer])
        flat, step, item = (np.broadcast_to(table, bits.shape).reshape(-1) for table in (bits, steps, items))
        back, ahead = horizon
        if (step < 0).all():
            self._no_rows(name, reach)
        timeless = np.uint64(np.bitwise_or.reduce(flat[step < 0], initial=0))
        for (t, i), number in self.cells.number.items():
            has = (flat >> np.uint64(number) & np.uint64(1)).astype(bool)
            if len(self.cells.items) > 1 and (has & (item != i) & (item < len(self.cells.items))).any():
                raise self._mixed(name)
            if t >= 0:
                late = has & (step >= 0) & ((t < step - back) | (t > step + ahead))
                if late.any():
                    raise Refuted(self._forgets(name, int(step[late][0]), t))
        if self.longer and not is_walked and len({t for t, _ in self.cells.of(timeless) if t >= 0}) > 1:
            raise self._not_time(name)
        return bool((step >= 0).any())

    def _no_rows(self, name: str, reach: Reach) -> None:
        """Refuse an output of one frame, where the file is of a fixed length, that has a row of each timestep: which
        depends on that one and on earlier ones.
        """
        n = self.sizes.n_steps
        if not self.claim.reading.fixed_time or self.claim.reading.carried or n < 2:
            return
        known = [t for t in self.cells.steps if t >= 0]
        latest = [max((t for t in known if t <= row), default=-1) for row in range(n)]
        for axis in [a for a, size in enumerate(reach.shape) if size == n]:
            bits = reach.over([a for a in range(len(reach.shape)) if a != axis]).along([axis]).ravel()
            if [max((t for t, _ in self.cells.of(row)), default=-1) for row in bits] == latest:
                raise Refuted(
                    f"output {name!r} has a row of each timestep of the file along axis {axis}, and they are not "
                    "computed alike"
                )

    def _all_items_count(self, outputs: Mapping[str, Operand]) -> None:
        """Check that each item of the batch reaches something, if one does."""
        bits = np.uint64(0)
        for reach in outputs.values():
            bits |= reach.everything if isinstance(reach, Reach) else np.uint64(0)
        used = {i for _, i in self.cells.of(bits)}
        if used and used != set(self.cells.items):
            raise Refuted(
                f"{self.axes(1)} is not the batch: of several items only number {min(used)} is used, as in a file of "
                f"one timestep whose loop was written out. {self.program.caller.remembering()}",
                self.advice("if the size of that axis is 1, give it", 1, 1),
            )

    def _items(self, name: str, reach: Reach, batch: int) -> None:
        """Check that an output's items, along an axis, depend on themselves."""
        bits = reach.over([a for a in range(len(reach.shape)) if a != batch]).along([batch]).ravel()
        for i, reached in enumerate(bits[: len(self.cells.items)]):
            if len(bits) > 1 and reached & ~self.cells.of_item(i):
                raise self._mixed(name)

    def _places(self, name: str, reach: Reach, layout: Layout) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """(timesteps, items) over the axes of an output that are time or batch, and which these are; -1: of none."""
        steps, items = layout.steps, layout.items
        outer = list(layout.outer)
        rate = self.claim.rates.get(name, 1)
        for axis, (n, walked) in enumerate(zip(reach.shape, layout.shape, strict=True)):
            if n == walked:
                continue
            if axis in outer and rate > 1:  # several rows of a frame; those that lack are of the first
                frame = walked - 1 - (n - 1 - np.arange(n)) // rate
                steps, items = (table.take(np.maximum(frame, 0), outer.index(axis)) for table in (steps, items))
            elif walked == 1 and (kind := self._stretched(n, layout.labels[axis])):
                at = sum(a < axis for a in outer)
                outer.insert(at, axis)
                numbers = np.arange(n).reshape([-1 if a == at else 1 for a in range(len(outer))])
                steps, items = (np.expand_dims(table, at) for table in (steps, items))
                steps, items = (numbers + 0 * steps, items) if kind == "T" else (steps, numbers + 0 * items)
            elif self.longer or self.more:
                raise self._not_time(name)
            else:
                raise Unclear(f"output {name!r} has shape {reach.shape}, where the walk has {layout.shape}")
        return steps, items, outer

    def _stretched(self, n: int, label: str) -> str:
        """What an axis of an output may be that is longer at these sizes: "T" time, "N" the batch, or nothing."""
        if self.longer and label != "N" and n == self.sizes.n_steps * self.sizes.frames:
            return "T"
        return "N" if self.more and label != "T" and n == self.sizes.n_items else ""

    # -- messages -------------------------------------------------------------------------------------------------

    def axes(self, kind: int) -> str:
        ports = [*self.program.inputs, *self.program.state_inputs]
        axis_of = {p.name: self.claim.reading.axes[p.name][kind] for p in ports}
        return ", ".join(
            f"axis {axis} of {name!r}" + (f" ({dims[axis]})" if isinstance(dims[axis], str) and dims[axis] else "")
            for (name, axis), dims in zip(axis_of.items(), (p.dims for p in ports), strict=True)
            if axis is not None
        )

    def _mixed(self, output: str) -> Refuted:
        return Refuted(
            f"{self.axes(1)} cannot be the batch: along it output {output!r} of one item depends on other items",
            self.advice("where it is neither time nor batch, give its size", 1),
        )

    def _not_time(self, output: str, why: str = "depends on all of it at once") -> Refuted:
        kind = 0 if self.longer else 1
        return Refuted(
            f"{self.axes(kind)} is neither time nor batch: output {output!r} {why}",
            self.advice("give its size", kind),
        )

    def advice(self, before: str, kind: int, size: int | None = None) -> list[list[Advice]]:
        """To give a size to the axes that were read as time (kind 0) or as the batch (1), the others open."""
        shapes: dict[str, list[int | str | None]] = {}
        for port in [*self.program.inputs, *self.program.state_inputs]:
            axis = self.claim.reading.axes[port.name][kind]
            if axis in port.dynamic:
                shapes[port.name] = [None if isinstance(n, str) else n for n in port.dims]
                shapes[port.name][axis] = size or "N"
        return [[Advice(before, shapes=shapes)]] if shapes else []

    def _forgets(self, output: str, step: int, other: int) -> str:
        what = "later" if other > step else "earlier"
        return (
            f"{self.axes(0)} is not time as it was read: output {output!r} at timestep {step} depends on timestep "
            f"{other}, which is {what} than what is known there"
        )


def _horizons(graph: Graph) -> dict[str, tuple[float, float]]:
    """How many frames back and ahead of its own each value depends on."""
    whole = {node.name for node, _ in graph.whole_sequence_nodes()}
    known: dict[str, tuple[float, float]] = dict.fromkeys(graph.inputs, (0, 0))
    for node in graph.nodes:
        back = max((known[v][0] for v in node.inputs), default=0)
        ahead = max((known[v][1] for v in node.inputs), default=0)
        if node.name in whole:
            back, ahead = inf, inf
        elif node.states:
            back = inf
        else:
            taps = OPS[node.op].taps(node)
            back, ahead = back + max(0, -taps[0]), ahead + max(0, taps[-1])
        known.update(dict.fromkeys(node.outputs, (back, ahead)))
    return known


__all__ = ["Claim", "Proof", "Refuted", "Sizes", "inputs_of", "lengths_met", "longest", "prove"]
