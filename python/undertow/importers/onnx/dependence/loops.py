# SPDX-License-Identifier: MIT
"""Operators that go on from one round to the next: recurrent nodes, Loop and Scan; and If, which holds graphs too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..file import limits
from ..file.nodes import OnnxNode
from ..simplify.scan import scan_layout
from .reach import Context, Operand, Reach, Unclear, broadcast, reach, stack


def recurrent(context: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    """RNN, GRU and LSTM: each step on all before it, each item of the batch alone."""
    given = [*operands, *[None] * (7 - len(operands))]
    x, R = reach(given[0]), reach(given[2])
    layout = int(node.attrs.get("layout", 0))
    x = x.transpose([1, 0, 2]) if layout else x
    n_steps, n_items, _ = x.shape
    n_directions, _, n_hidden = R.shape
    frames = np.bitwise_or.reduce(x.along([0]), axis=2)  # (T, N)
    starts = np.zeros((n_directions, 1), np.uint64)
    for operand in given[5:7]:
        if operand is not None:
            first = reach(operand)
            first = first.transpose([1, 0, 2]) if layout else first
            starts = starts | np.bitwise_or.reduce(first.along([0]), axis=2)  # (D, N)
    for operand in [*given[1:5], *given[7:]]:  # weights and lengths
        if isinstance(operand, Reach):
            starts = starts | operand.everything
    direction = node.attrs.get("direction", "forward")
    directions = {"reverse": [True], "bidirectional": [False, True]}.get(direction, [False])
    context.note_walk(node, [np.uint64(np.bitwise_or.reduce(row)) for row in frames])
    rows, ends = [], []
    for backwards, start in zip(directions, starts, strict=True):
        order = frames[::-1] if backwards else frames
        so_far = np.bitwise_or.accumulate(order | start)
        ends.append(so_far[-1])
        rows.append(so_far[::-1] if backwards else so_far)
    y = Reach.of((n_steps, n_directions, n_items, n_hidden), np.stack(rows, 1)[..., None])
    end = Reach.of((n_directions, n_items, n_hidden), np.stack(ends)[..., None])
    if layout:
        y, end = y.transpose([2, 0, 1, 3]), end.transpose([1, 0, 2])
    results: list[Operand] = [y, end, end]
    return results[: len(node.outputs)]


def if_(context: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    condition = operands[0]
    if isinstance(condition, np.ndarray) and condition.size == 1:
        return context.run_body(node.bodies["then_branch" if condition.reshape(()) else "else_branch"], [])
    branches = [context.run_body(node.bodies[key], []) for key in ("then_branch", "else_branch")]
    picked = reach(condition).everything
    joined = [broadcast(pair) for pair in zip(*branches, strict=True)]
    return [Reach(one.shape, one.bits | picked) for one in joined]


def loop(context: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    body = node.bodies["body"]
    trips, going, *carried = [*operands, None][: max(len(operands), 2)]
    if isinstance(trips, Reach) or isinstance(going, Reach):
        raise Unclear("how often it runs is computed at run time")
    limit = limits.MAX_TRIPS if trips is None else int(trips.reshape(()))
    alive, number = going is None or bool(going.reshape(())), 0
    collected: list[list[Operand]] = [[] for _ in body.outputs[1 + len(carried) :]]
    gained = []
    while alive and number < limit:
        if number >= limits.MAX_TRIPS:
            raise Unclear(f"it runs more than {limits.MAX_TRIPS} times")
        before = _together(carried)
        flag, *results = context.run_body(body, [np.array(number, np.int64), np.array(True), *carried])
        if not isinstance(flag, np.ndarray):
            raise Unclear("whether it goes on is computed at run time")
        carried, rows = results[: len(carried)], results[len(carried) :]
        gained.append(_together([*carried, *rows]) & ~before)
        for kept, row in zip(collected, rows, strict=True):
            kept.append(row)
        alive, number = bool(flag.reshape(())), number + 1
    context.note_walk(node, gained)
    return [*carried, *(_collect(rows, 0) for rows in collected)]


def scan(context: Context, node: OnnxNode, operands: list[Operand]) -> list[Operand]:
    body = node.bodies["body"]
    layout = scan_layout(node, len(body.outputs), [len(reach(o).shape) for o in operands])
    carried, scanned = operands[: layout.n_carried], operands[layout.n_carried :]
    sizes = {reach(o).shape[axis] for o, axis in zip(scanned, layout.input_axes, strict=True)}
    if len(sizes) != 1:
        raise Unclear("what it scans has different lengths")
    (n_rounds,) = sizes
    collected: list[list[Operand]] = [[] for _ in layout.output_axes]
    gained = []
    for number in range(n_rounds):
        given = [
            _row(o, axis, n_rounds - 1 - number if back else number)
            for o, axis, back in zip(scanned, layout.input_axes, layout.input_backwards, strict=True)
        ]
        gained.append(_together(given))
        results = context.run_body(body, [*carried, *given])
        carried = results[: layout.n_carried]
        for kept, row in zip(collected, results[layout.n_carried :], strict=True):
            kept.append(row)
    context.note_walk(node, gained)
    out = zip(collected, layout.output_axes, layout.output_backwards, strict=True)
    return [*carried, *(_collect(rows[::-1] if back else rows, axis) for rows, axis, back in out)]


def _row(operand: Operand, axis: int, at: int) -> Operand:
    if isinstance(operand, np.ndarray):
        return operand.take(at, axis)
    return reach(operand).take(axis, np.array(at))


def _together(operands: Sequence[Operand]) -> np.uint64:
    bits = np.uint64(0)
    for operand in operands:
        if isinstance(operand, Reach):
            bits |= operand.everything
    return bits


def _collect(rows: list[Operand], axis: int) -> Operand:
    """What all rounds gave, along a new axis."""
    if not rows:
        raise Unclear("it runs 0 times")
    rank = len(reach(rows[0]).shape) + 1
    arrays = [row for row in rows if isinstance(row, np.ndarray)]
    if len(arrays) == len(rows):
        return np.stack(arrays, axis % rank)
    return stack([reach(row) for row in rows], axis % rank)
