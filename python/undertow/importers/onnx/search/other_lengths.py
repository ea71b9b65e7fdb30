# SPDX-License-Identifier: MIT
"""Whether what follows from the length of a sequence is the same for other lengths than the walk had."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..dependence import Trace, Unclear, same, trace
from ..file.nodes import OnnxNode, flat
from ..frames.context import Reading
from ..simplify.program import Program
from ..traits import traits
from .proof import Proof, Refuted, Sizes, inputs_of

#: lengths that are looked at: short ones, of which a number could be a factor, then fewer and fewer
LENGTHS = (
    *(1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 13, 15, 16, 20, 24, 25, 29, 30, 31, 32, 36, 40, 48, 50, 59, 60, 61, 63, 64, 65),
    *(72, 80, 96, 99, 100, 101, 120, 127, 128, 129, 144, 150, 151, 160, 192, 199, 200, 201, 240, 250, 255, 256, 257),
    *(300, 301, 320, 360, 400, 480, 500, 501, 512, 600, 640, 720, 768, 800, 900, 960, 1000, 1001, 1024, 1100),
)


#: rows of a table that are looked at
_LONGEST = 2**14
#: rounds of a loop that are traced at most
_ROUNDS = 40
#: what takes one size of several
_PICKS = ("Gather", "GatherElements", "GatherND", "Slice", "Split")


#: what takes numbers of items for where they stand
_BY_NUMBER = ("GatherElements", "GatherND", "ScatterElements", "ScatterND")

Met = dict[tuple[int, int], tuple[OnnxNode, str, Any]]


def check_lengths(program: Program, reading: Reading, proof: Proof) -> None:
    """Hold what meets the data, and what sizes decide, against other lengths, and a batch of one, which a stream is.

    Raises:
        Refuted: a factor, a mask, a bound or a decision is another one there.
    """
    if not proof.knows_sizes:
        return
    base = Sizes(reading.n_steps, reading.n_items, reading.frames)
    mine = _trace(program, reading, base)
    if mine is None:
        return
    if mine.numbers.decisions and base.n_items > 1:
        _compare(mine, {}, _trace(program, reading, replace(base, n_items=1)), "a batch of 1", f"one of {base.n_items}")
    _check_batches(program, reading, base)
    other = _trace(program, reading, replace(base, n_steps=base.n_steps + 4))
    if other is None or reading.fixed_time or reading.n_steps == 1:
        return
    of_time = _following(program, mine, other)
    met = {at: meeting for at, meeting in mine.met.items() if meeting[1] in of_time and meeting[2] is not None}
    if not met and not any(set(node.inputs) & of_time for node, _ in mine.numbers.decisions):
        return
    lines = {at: line for at in met if (line := _line(met[at][2], other.met.get(at), base.n_steps)) is not None}
    loops = any(node.op in ("Loop", "Scan") for node in flat(program.nodes))  # of which every round is traced
    near = {n + i for n in proof.numbers.thresholds for i in (-1, 0, 1) if 1 <= n + i <= LENGTHS[-1]}
    for n in sorted({*LENGTHS, *near, *_tables(program, of_time)}):
        if n <= _ROUNDS or not loops:
            there = _trace(program, reading, replace(base, n_steps=n))
            left = {at: meeting for at, meeting in met.items() if not _goes_on(lines.get(at), there, at, n)}
            _compare(mine, left, there, f"{n} timesteps", f"{base.n_steps}")


#: slope and offset of a number that grows with the length
_Line = tuple[np.ndarray, np.ndarray]


def _line(here: Any, meeting: tuple[OnnxNode, str, Any] | None, n_steps: int) -> _Line | None:
    """How a number grows with the length, by what it is for four timesteps more. The walk has counted them, or the
    graph would be another one.
    """
    there = None if meeting is None else meeting[2]
    if not isinstance(here, np.ndarray) or not isinstance(there, np.ndarray) or here.shape != there.shape:
        return None
    if here.dtype != np.float32 or np.array_equal(here, there):
        return None
    slope = (there.astype(np.float64) - here) / 4
    return slope, here - slope * n_steps


def _goes_on(line: _Line | None, there: Trace | None, at: tuple[int, int], n_steps: int) -> bool:
    """Whether a number is on its line for another length, too."""
    if line is None or there is None or at not in there.met:
        return False
    number, (slope, offset) = there.met[at][2], line
    return isinstance(number, np.ndarray) and np.array_equal(number, (slope * n_steps + offset).astype(np.float32))


def _check_batches(program: Program, reading: Reading, base: Sizes) -> None:
    """What follows from the size of an open batch is to be the same for every size of it that goes through."""
    ports = [*program.inputs, *program.state_inputs]
    if not any(reading.axes[p.name][1] in p.dynamic for p in ports):
        return
    base = replace(base, n_items=max(base.n_items, 2))
    mine, other = (_trace(program, reading, replace(base, n_items=n)) for n in (base.n_items, base.n_items + 3))
    if mine is None or other is None:
        return
    of_batch = _following(program, mine, other)
    met = {at: meeting for at, meeting in mine.met.items() if meeting[1] in of_batch and meeting[2] is not None}
    if not met and not any(set(node.inputs) & of_batch for node, _ in mine.numbers.decisions):
        return
    for node, name, _ in met.values():
        if node.op in _BY_NUMBER or name not in mine.known:
            continue
        if _differs_in_items(mine.known[name], other.known[name]):
            raise Refuted(f"{node.where} depends on which item of the batch it is: {name!r} has another row for each")
    near = {n + i for n in mine.numbers.thresholds for i in (-1, 0, 1) if 1 <= n + i <= LENGTHS[-1]}
    for n in sorted({*LENGTHS[::3], *near}):
        _compare(mine, met, _trace(program, reading, replace(base, n_items=n)), f"a batch of {n}", f"{base.n_items}")


def _differs_in_items(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether an array that grows with the batch along one axis has different rows there."""
    grown = [axis for axis, (n, m) in enumerate(zip(a.shape, b.shape, strict=False)) if n < m]
    return a.ndim == b.ndim and len(grown) == 1 and bool((a != a.take([0], grown[0])).any())


def _compare(mine: Trace, met: Met, there: Trace | None, sizes: str, walked: str) -> None:
    """Refuse what is another one at other sizes; None where they do not fit, as a window that is longer."""
    if there is None:
        return
    for at, (node, name, here) in met.items():
        if at in there.met and not same(here, there.met[at][2]):
            raise Refuted(_message(node, f"{name!r}, which follows from sizes, is another one", sizes, walked))
    for (node, decision), (peer, then) in zip(mine.numbers.decisions, there.numbers.decisions, strict=False):
        if node is peer and decision != then:
            raise Refuted(_message(node, "it decides otherwise", sizes, walked))


def _message(node: OnnxNode, what: str, sizes: str, walked: str) -> str:
    return f"{node.where} depends on a size that is open: for {sizes} {what} than for {walked}"


def _tables(program: Program, of_time: set[str]) -> set[int]:
    """How long the tables are of which the length picks: what stands in their last rows shows there alone."""
    lengths: set[int] = set()
    for node in program.nodes:
        table = program.constants.get(node.inputs[0]) if node.op in _PICKS else None
        if table is not None and of_time & set(node.outputs):
            lengths |= {n for n in table.shape if LENGTHS[-1] < n <= _LONGEST}
    return lengths


def _trace(program: Program, reading: Reading, sizes: Sizes) -> Trace | None:
    try:
        return trace(program, inputs_of(program, reading, sizes))
    except Unclear:
        return None


def _following(program: Program, mine: Trace, other: Trace) -> set[str]:
    """Values that follow from a size in which two traces differ: what is picked of sizes is told by its value, any
    other by its operands.
    """
    following: set[str] = set()
    for node in program.nodes:
        by = set(node.inputs[1:] if node.op in _PICKS else () if traits(node.op).asks_shape else node.inputs)
        for name in node.outputs:
            if name in mine.known and name in other.known:
                a, b = mine.known[name], other.known[name]
                differs = a.shape != b.shape or not np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
                if differs or following & by:
                    following.add(name)
    return following


__all__ = ["check_lengths"]
