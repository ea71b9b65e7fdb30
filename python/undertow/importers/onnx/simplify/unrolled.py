# SPDX-License-Identifier: MIT
"""Loops over time that an exporter has written out, step after step, rolled up into a Scan again.

A trace knows no loop: `for t in range(T): h = cell(x[:, t], h)` leaves T copies of the cell, and torch.export leaves
them of every `nn.RNN`. They are found from the Concat of what they give, or from the last of what they compute, and
compared (`unrolled_match`). What the file has computed of the first copy in advance is computed again, and compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ....errors import Error
from ..file.nodes import Body, OnnxNode
from ..file.protos import identity
from ..traits import traits
from .unrolled_given import MIN_TRIPS, Given, NoLoop, alike
from .unrolled_match import Column, Copies, Names

#: operators with weights of their own that are told apart
_MANY_KINDS = 1024
#: parts that attention, or the gates of a cell, are cut into at most
_FEW = 4


@dataclass
class _Loop:
    """A loop with the Concats of what it gives; without any, only what the last copy computed is used."""

    copies: Copies
    joins: list[OnnxNode]
    seeds: list[Names]


def rolled_up(given: Given) -> tuple[list[OnnxNode], OnnxNode | None]:
    """The nodes with loops that were found as a Scan, and a node of one that could not be replaced. What a Scan starts
    from joins the constants.
    """
    left = None
    replaced = True
    while replaced:  # of what the last timestep of one gave, another may begin
        replaced = False
        for loop in _loops(given):
            nodes = _rolled(loop, given)
            if nodes is not None:
                given, replaced = given.of(nodes), True
            elif loop.copies.carried:
                left = next(iter(loop.copies.nodes.values()))
    return given.nodes, left


def _rolled(loop: _Loop, given: Given) -> list[OnnxNode] | None:
    """The nodes with a loop as a Scan, None where that cannot be."""
    for late in (True, False):
        is_gone = loop.copies.nodes.keys() - map(id, given.nodes)  # into another loop
        anew = given.of(given.nodes)
        try:
            if loop.copies.late != late or is_gone:
                loop.copies = Copies(anew, loop.copies.n, late)
                loop.copies.match(loop.seeds)
            return _replace(anew, loop)
        except (NoLoop, Error, RecursionError):
            continue
    return None


def written_out(given: Given) -> OnnxNode | None:
    """A node of which nearly each timestep has a copy, with the same weights, that is computed from the one before. Few
    places are timesteps where an input has as many: others are parts of a product, of which each layer has copies.
    """
    sizes = {n for name in given.inputs for n in given.sizes(name) or ()}
    for n in _lengths(given):
        if n <= _FEW and n not in sizes:
            continue
        levels = given.levels(n)
        kinds: dict[tuple[Any, ...], int] = {}
        first: list[OnnxNode] = []
        places: list[set[int]] = []
        reach: dict[str, int] = {}
        for node in given.nodes:
            weights = [given.constants[name] for name in node.inputs if name in given.constants]
            before = 0
            for name in node.uses:
                before |= reach.get(name, 0)
            level = max((levels.get(name, -1) for name in node.inputs), default=-1)
            if level >= 0 and any(array.dtype.kind == "f" for array in weights) and len(kinds) < _MANY_KINDS:
                kind = kinds.setdefault((node.op, *map(_same_key, weights)), len(kinds))
                if kind == len(first):
                    first.append(node)
                    places.append({level})
                elif before >> kind & 1 and max(places[kind]) < level:
                    places[kind].add(level)
                    if len(places[kind]) >= max(2, n - (2 if n > 4 else 1)):  # a tree over few has fewer
                        return first[kind]
                before |= 1 << kind
            reach.update(dict.fromkeys(node.outputs, before))
    return None


def _same_key(array: np.ndarray) -> tuple[Any, ...] | int:
    """The same for one array, and for single numbers that are equal."""
    return (array.dtype.str, array.item()) if array.size == 1 else id(array)


# -- where loops may be ------------------------------------------------------------------------------------------------


def _loops(given: Given) -> list[_Loop]:
    """Concats of copies, then what ends with its last copy."""
    loops: list[_Loop] = []
    for join in given.nodes:
        if join.op == "Concat" and MIN_TRIPS <= len(join.inputs) == len(set(join.inputs)):
            n = len(join.inputs)
            loops = _with(loops, given, n, dict(enumerate(join.inputs)), [join])
    for n in _lengths(given):
        for seed in _last_values(given, n):
            if not any(loop.copies.at(seed[n - 1], n - 1) for loop in loops if loop.copies.n == n):
                loops = _with(loops, given, n, seed, [])
            if given.looks < 0:
                return loops
    return loops


def _with(loops: list[_Loop], given: Given, n: int, seed: Names, joins: list[OnnxNode]) -> list[_Loop]:
    """The loops with what a seed grows to; those that share copies with it are one."""
    copies = _try(given, n, [seed])
    if copies is None or ((n == MIN_TRIPS or not joins) and not copies.carried):
        return loops
    shared = [loop for loop in loops if loop.copies.n == n and loop.copies.nodes.keys() & copies.nodes.keys()]
    seeds = [*(s for loop in shared for s in loop.seeds), seed]
    together = _try(given, n, seeds) if shared else copies
    if together is None:
        return loops
    joins = [*(join for loop in shared for join in loop.joins), *joins]
    return [loop for loop in loops if loop not in shared] + [_Loop(together, joins, seeds)]


def _try(given: Given, n: int, seeds: Sequence[Names]) -> Copies | None:
    for late in (True, False) if n > MIN_TRIPS else (True,):
        copies = Copies(given, n, late)
        try:
            copies.match(seeds)
        except NoLoop:
            continue
        return copies if copies.picked else None
    return None


def _lengths(given: Given) -> list[int]:
    """Sizes of axes of which every place is picked."""
    sizes = [(given.size(*place), len(indices)) for place, indices in given.places.items()]
    return sorted({n for n, picked in sizes if n is not None and n == picked >= MIN_TRIPS})


def _last_values(given: Given, n: int) -> Iterator[Names]:
    """Values of the last copy with one of the copy before that may be theirs, the last ones first."""
    levels = given.levels(n)
    before: dict[str, list[OnnxNode]] = {}
    last: list[OnnxNode] = []
    for node in given.nodes:
        level = levels.get(node.outputs[0], -1)
        if level == n - 2:
            before.setdefault(node.op, []).append(node)
        elif level == n - 1:
            last.append(node)
    for node in reversed(last):
        for other in reversed(before.get(node.op, ())):
            given.looks -= 1
            if given.looks < 0:
                return
            if alike(node, other) and given.same_constants(node, other, n == MIN_TRIPS):
                yield {n - 2: other.outputs[0], n - 1: node.outputs[0]}


# -- in their place ----------------------------------------------------------------------------------------------------


def _replace(given: Given, loop: _Loop) -> list[OnnxNode]:
    """The nodes with a Scan in place of the copies."""
    copies, joins = loop.copies, loop.joins
    gone = {**copies.nodes, **{id(join): join for join in joins}}
    kept = [node for node in given.nodes if id(node) not in gone]
    ends = _ends(given, loop, gone.values(), kept)
    carried = copies.carried
    starts = {column.name: _start(given, column) for column in carried}
    if any(name in starts.values() for node in gone.values() for name in node.outputs):
        raise NoLoop  # it starts from what its first copy computes
    _check_folded(copies, given, starts)
    axes = [given.join_axis(join) for join in joins]
    rows = [copies.at(join.inputs[1], 1) for join in joins] + [column for column in ends if column.after is None]

    first = joins[0] if joins else given.producer[copies.columns[0].names[copies.n - 1]]
    opset, base = first.opset, first.outputs[0]
    picks = [(column, column.pick) for column in copies.picked if column.pick is not None]
    finals = [f"{base}.end{i}" for i in range(len(carried))]
    collected = [f"{base}.row{i}" for i in range(len(rows))]
    attrs = {
        "num_scan_inputs": len(picks),
        "scan_input_axes": [pick.axis for _, pick in picks],
        "scan_output_axes": axes + [0] * (len(rows) - len(axes)),
    }
    inputs = [*starts.values(), *(pick.source for _, pick in picks)]
    body = _body(given, copies, [column.before for column in carried] + rows, base, opset)
    name = f"{first.name} and its {copies.n} copies"
    added = [OnnxNode(None, "Scan", name, inputs, [*finals, *collected], attrs, opset, {"body": body})]
    for join, axis, row in zip(joins, axes, collected, strict=False):
        added.append(given.moved("Squeeze", row, join.outputs[0], axis + 1, opset))
    for column in ends:
        end = column.names[copies.n - 1]
        if column.after is not None:
            added.append(identity(given.evaluator.onnx, finals[carried.index(column.after)], end, opset))
        else:
            added.append(given.last(collected[rows.index(column)], end, copies.n, opset))
    return _in_order([*kept, *added])


def _ends(given: Given, loop: _Loop, gone: Collection[OnnxNode], kept: list[OnnxNode]) -> list[Column]:
    """The values of the last copy that others need. Raises `NoLoop` where they need one of another copy."""
    copies, last = loop.copies, loop.copies.n - 1
    used = set(given.outputs).union(*(node.uses for node in kept))
    copies.name_outputs(used)
    lost = {name for node in gone for name in node.outputs} & used - {join.outputs[0] for join in loop.joins}
    # Of two copies, all is the first or the last: what only the one before has may be of another row of a result.
    told = copies.columns if last > 1 else [column for column in copies.columns if column.before is None]
    ends = [column for column in told if column.names.get(last) in lost]
    if lost - {column.names[last] for column in ends}:
        raise NoLoop
    return ends


def _body(given: Given, copies: Copies, gives: Sequence[Column | None], base: str, opset: int) -> Body:
    """What one copy computes of its state and timesteps, and gives."""
    nodes: dict[int, OnnxNode] = {}
    body = Body([column.name for column in copies.carried], [], [])
    for column in copies.picked:
        assert column.pick is not None
        body.inputs.append(f"{column.name}.step" if column.pick.keeps else column.name)
        if column.pick.keeps:
            body.nodes.append(given.moved("Unsqueeze", body.inputs[-1], column.name, column.pick.axis, opset))
    for column in copies.columns:
        if column.model is not None:
            inputs = [use if isinstance(use, str) else use.name for use in column.uses]
            node = nodes.setdefault(id(column.model), replace(column.model, inputs=inputs))
            if node.inputs != inputs:
                raise NoLoop
    for i, column in enumerate(filter(None, gives)):
        body.outputs.append(f"{base}.gives{i}")
        body.nodes.append(identity(given.evaluator.onnx, column.name, body.outputs[-1], opset))
    named = [column.name for column in copies.columns]
    is_new = given.producer.keys().isdisjoint([*body.outputs, *(column.name for column in copies.carried)])
    if len(set(named)) < len(named) or not is_new:
        raise NoLoop
    body.nodes = _in_order([*nodes.values(), *body.nodes])
    return body


def _start(given: Given, column: Column) -> str:
    """What a column is before the first copy; where everything was computed in advance, zeros are tried."""
    assert column.before is not None
    name, second = column.names.get(0), column.before.names.get(1) or column.names[1]
    sizes = given.sizes(second)
    if sizes is None or None in sizes:
        if name is None or name in given.constants:
            raise NoLoop
        return name
    if name is None:
        name = given.fresh(f"{second}.start")
        given.constants[name] = np.zeros([n for n in sizes if n is not None], np.float32)
    if list((given.sizes(name) if name not in given.constants else given.constants[name].shape) or ()) != sizes:
        raise NoLoop
    return name


def _check_folded(copies: Copies, given: Given, starts: Mapping[str, str]) -> None:
    """Compute again what the file has computed in advance."""
    known: dict[tuple[Column, int], np.ndarray] = {}
    checked: set[Column] = set()

    def value(use: Column | str, t: int) -> np.ndarray | None:
        name = use if isinstance(use, str) else use.names.get(t)
        if not name and isinstance(use, str):
            return None
        if name in given.constants:
            return given.constants[name]
        if isinstance(use, str) or use.pick is not None:
            raise NoLoop
        if use.before is None:
            return computed(use, t)
        if t:
            return value(use.before, t - 1)
        checked.add(use)
        return value(starts[use.name], 0)

    def computed(column: Column, t: int) -> np.ndarray:
        if (column, t) not in known:
            node = column.model
            if node is None or not traits(node.op).pure:
                raise NoLoop
            known[column, t] = given.evaluator.run(node, [value(use, t) for use in column.uses])[column.slot]
        return known[column, t]

    for column, t in copies.folded:
        array, again = given.constants[column.names[t]], computed(column, t)
        if array.shape != again.shape or not np.allclose(array, again, rtol=1e-6, atol=1e-7):
            raise NoLoop
    if any(np.any(value(column, 0)) for column in copies.left_out):
        raise NoLoop
    if any(0 not in column.names and column not in checked for column in copies.carried):
        raise NoLoop  # nothing says that it starts with zeros


def _in_order(nodes: list[OnnxNode]) -> list[OnnxNode]:
    """Nodes behind what they use."""
    producer = {name: i for i, node in enumerate(nodes) for name in node.outputs if name}
    if len(producer) < sum(len([name for name in node.outputs if name]) for node in nodes):
        raise NoLoop  # a name of the file's is one that was given here
    ordered: list[int] = []
    state = [0] * len(nodes)  # 1: begun, 2: done
    todo = list(range(len(nodes)))[::-1]
    while todo:
        i = todo[-1]
        before = [] if state[i] else [producer[name] for name in sorted(nodes[i].uses) if name in producer]
        if state[i] == 0:
            state[i] = 1
            if any(state[j] == 1 for j in before):
                raise NoLoop
            todo += [j for j in before if state[j] == 0]
            continue
        todo.pop()
        if state[i] == 1:
            state[i] = 2
            ordered.append(i)
    return [nodes[i] for i in ordered]


__all__ = ["rolled_up", "written_out"]
