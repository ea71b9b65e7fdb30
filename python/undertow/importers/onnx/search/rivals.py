# SPDX-License-Identifier: MIT
"""Whether a file of fixed sizes has a second axis that may be time, beside the one that was found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ....errors import UnsupportedError
from ....ir.graph import Graph
from ....ir.ops import OPS
from ....ir.ops.cells import Cell
from ..advice import Refusal
from ..frames.context import Reading
from ..simplify.program import Program
from .attempt import Failure, build, proven
from .axis_candidates import Sizes, readings
from .hints import as_time
from .imported import Imported


def check_rivals(program: Program, imported: Imported) -> None:
    """Refuse an axis of time that a recurrence walks, where along another nothing looks ahead, and sums, differences or
    windows look back: the recurrence may go through the bands of each frame. And the other way round. Where it walks
    the last axis, which is that of features in most files, nothing need look back along another; nor where each row of
    the axis before has a state of its own, whatever is done with these rows.

    Raises:
        Refusal: with both axes to choose from.
    """
    reading, walks = imported.reading, imported.proof.walks
    mine = _times(program, reading)
    is_told = program.time_axis is not None or imported.pairs or reading.carried or reading.clip
    if is_told or not reading.fixed or not program.is_recurrent or not (walks or imported.looks_back()):
        return
    for other in _others(program, mine):
        program.effort.check()
        try:
            rival = proven(program, build(program, [], replace(other, inside=True), False, False))
        except Failure:
            continue
        theirs = _times(program, other)
        walk, walked, other_axes = (walks, mine, theirs) if walks else (rival.proof.walks, theirs, mine)
        looks_back = rival.looks_back() and not _looks_ahead(rival.graph)
        if other.n_items == 1 and (looks_back if walks else rival.proof.walks):
            goes = "sums, differences or windows look back, as along time"
        elif walks and _is_last(program, mine) and not rival.looks_back() and not _is_batch(reading, theirs):
            goes = "nothing meets, as along time where each frame is computed by itself"
        else:
            continue
        error = UnsupportedError(
            f"cannot tell which axis is time: {walk[0].where} walks axis {_first(walked)}, and along axis "
            f"{_first(other_axes)} {goes}"
        )
        raise Refusal(error, [[as_time(axes) for axes in (mine, theirs)]])
    if walks and _is_last(program, mine) and (rows := _rows(program, imported)):
        error = UnsupportedError(
            f"cannot tell which axis is time: {walks[0].where} walks axis {_first(mine)}, each row of axis "
            f"{_first(rows)} by itself: bands of each frame, or timesteps of each band"
        )
        raise Refusal(error, [[as_time(axes) for axes in (mine, rows)]])


def _others(program: Program, times: dict[str, int | None]) -> Iterator[Reading]:
    """Readings that take another axis, longer than 1, for time: of one item, or where time is the last axis."""
    for reading in readings(program, Sizes(None, None), False, False):
        if reading.n_items == 1 or _is_last(program, times):
            axes = [(p, a) for p in program.inputs if (a := reading.axes[p.name][0]) not in (None, times[p.name])]
            if axes and all(a is not None and p.dims[a] != 1 for p, a in axes):
                yield reading


def _times(program: Program, reading: Reading) -> dict[str, int | None]:
    return {port.name: reading.axes[port.name][0] for port in program.inputs}


def _rows(program: Program, imported: Imported) -> dict[str, int | None]:
    """The axis before time of which each row has a state of its own in some cell; empty where none is so."""
    states = imported.graph.states
    several = [
        states[node.states[0]].shape[0]
        for node in imported.graph.nodes
        if isinstance(OPS[node.op], Cell) and node.states and len(states[node.states[0]].shape) > 1
    ]
    axes: dict[str, int | None] = {}
    for port in program.inputs:
        before = (imported.reading.axes[port.name][0] or 0) - 1
        n = port.dims[before] if before >= 0 else 1
        if isinstance(n, int) and n > 1 and any(rows % n == 0 for rows in several):
            axes[port.name] = before
    return axes


def _is_batch(reading: Reading, times: dict[str, int | None]) -> bool:
    """Whether axes that another reading takes for time are the batch here."""
    return any(axis is not None and axis == reading.axes[name][1] for name, axis in times.items())


def _is_last(program: Program, times: dict[str, int | None]) -> bool:
    """Whether time is the last of three axes or more."""
    return any(len(port.dims) > 2 and times[port.name] == len(port.dims) - 1 for port in program.inputs)


def _first(times: dict[str, int | None]) -> int | None:
    return next((axis for axis in times.values() if axis is not None), None)


def _looks_ahead(graph: Graph) -> bool:
    return bool(graph.whole_sequence_nodes()) or any(max(OPS[node.op].taps(node)) > 0 for node in graph.nodes)


__all__ = ["check_rivals"]
