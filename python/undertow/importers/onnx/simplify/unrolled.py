# SPDX-License-Identifier: MIT
"""Loops over time that an exporter has written out, step after step, rolled up into a Scan again.

A trace knows no loop: `for t in range(T): h = cell(x[:, t], h)` leaves T copies of the cell, and torch.export leaves
them of every `nn.RNN`. They are found from the Concat of what they give, or from what they carry (`chains`), and
compared (`copies`). What the file has computed of the first copy in advance is computed again, and compared as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from ....errors import Error
from ..file.nodes import Body, OnnxNode
from ..file.protos import identity
from ..traits import traits
from .fold import Evaluator
from .unrolled_chains import carried_values
from .unrolled_match import MIN_TRIPS, Copies, Given, Names, NoLoop, Sizes


@dataclass
class _Loop:
    """A loop with the Concats of what it gives; without any, `copies` began with a value that is carried."""

    copies: Copies
    joins: list[OnnxNode]


def rolled_up(
    nodes: list[OnnxNode],
    constants: dict[str, np.ndarray],
    sizes: Sizes,
    outputs: Collection[str],
    evaluator: Evaluator,
    origins: Mapping[str, OnnxNode],
) -> tuple[list[OnnxNode], dict[str, np.ndarray]] | None:
    """The nodes with every loop that was found as a Scan, and the constants with what they start from; None without.

    sizes: the shape of a value, as far as it is known; outputs: of the model;
    origins: the nodes that constants were computed by.
    """
    constants, replaced = dict(constants), False
    for loop in _loops(Given(nodes, constants, sizes, outputs, evaluator, origins)):
        try:
            nodes, replaced = _replace(Given(nodes, constants, sizes, outputs, evaluator, origins), loop), True
        except (NoLoop, Error):
            continue
    return (nodes, constants) if replaced else None


def _loops(given: Given) -> list[_Loop]:
    """Concats of copies, those of the same copies together."""
    loops: list[_Loop] = []
    for join in given.nodes:
        if join.op != "Concat" or len(join.inputs) < MIN_TRIPS or len(set(join.inputs)) < len(join.inputs):
            continue
        copies = _try(given, [join])
        if copies is None or not copies.picked:
            continue
        shared = [loop for loop in loops if loop.copies.nodes.keys() & copies.nodes.keys()]
        joins = [*(j for loop in shared for j in loop.joins), join]
        together = _try(given, joins) if shared else copies
        if together is not None:
            loops = [loop for loop in loops if loop not in shared] + [_Loop(together, joins)]
    for value in carried_values(given):
        copies = Copies(given, len(value))
        try:
            copies.match(value)
        except NoLoop:
            continue
        own = not any(loop.copies.nodes.keys() & copies.nodes.keys() for loop in loops)
        if own and copies.picked and value in copies.carried:
            loops.append(_Loop(copies, []))
    return loops


def _try(given: Given, joins: list[OnnxNode]) -> Copies | None:
    copies = Copies(given, len(joins[0].inputs))
    try:
        for join in joins:
            copies.match(tuple(join.inputs))
    except NoLoop:
        return None
    return copies if all(tuple(join.inputs) in copies.values for join in joins) else None


def _replace(given: Given, loop: _Loop) -> list[OnnxNode]:
    """The nodes with a Scan in place of the copies. The third copy is its body, names and all."""
    copies, joins = loop.copies, loop.joins
    gone = {**copies.nodes, **{id(join): join for join in joins}}
    gone |= {id(node): node for value in copies.picked for node in given.makers(value)}
    kept = [node for node in given.nodes if id(node) not in gone]
    used = set(given.outputs).union(*(node.uses for node in kept))
    lost = {name for node in gone.values() for name in node.outputs} & used
    ends = [value for value in copies.values if value[-1] in lost]  # which somebody needs of the last copy
    if lost - {_name(value, -1) for value in ends} - {join.outputs[0] for join in joins}:
        raise NoLoop
    starts = {value: _start(given, value, name) for value, name in copies.carried.items()}
    _check_folded(copies, starts)

    first = joins[0] if joins else given.producer[_name(copies.values[0], -1)]
    opset, base, picks = first.opset, first.outputs[0], copies.picked
    body = Body([_name(value, 1) for value in starts], [], [])
    for value, pick in picks.items():
        step = f"{_name(value, 2)}.step" if pick.keeps else _name(value, 2)
        body.inputs.append(step)
        if pick.keeps:
            body.nodes.append(given.moved("Unsqueeze", step, _name(value, 2), pick.axis, opset))
    copy = {id(given.producer[_name(value, 2)]) for value in copies.values if value not in picks}
    body.nodes += [node for node in given.nodes if id(node) in copy]
    joined = [tuple(join.inputs) for join in joins]
    axes = [given.join_axis(join) for join in joins]
    rows = [*joined, *(value for value in ends if value not in starts)]
    body.outputs = [_name(value, 2) for value in (*starts, *rows)]
    finals = [f"{base}.end{i}" for i in range(len(starts))]
    collected = [f"{base}.row{i}" for i in range(len(rows))]
    attrs = {
        "num_scan_inputs": len(picks),
        "scan_input_axes": [pick.axis for pick in picks.values()],
        "scan_output_axes": axes + [0] * (len(rows) - len(axes)),
    }
    sources = [pick.source for pick in picks.values()]
    name = f"{first.name} and its {copies.n} copies"
    inputs = [*starts.values(), *sources]
    added = [OnnxNode(None, "Scan", name, inputs, [*finals, *collected], attrs, opset, {"body": body})]
    for join, axis, row in zip(joins, axes, collected, strict=False):
        added.append(given.moved("Squeeze", row, join.outputs[0], axis + 1, opset))
    for value in ends:
        if value in starts:
            added.append(identity(given.evaluator.onnx, finals[list(starts).index(value)], _name(value, -1), opset))
        else:
            added.append(given.last(collected[rows.index(value)], _name(value, -1), copies.n, opset))
    return _in_order([*kept, *added])


def _name(value: Names, t: int) -> str:
    """What a value is called at a timestep at which it has a name."""
    name = value[t]
    assert name is not None
    return name


def _start(given: Given, value: Names, name: str | None) -> str:
    """What a carried value is before the first copy; where everything was computed in advance, zeros are tried."""
    sizes = given.sizes(_name(value, 1))
    if sizes is None or None in sizes:
        if name is None or name in given.constants:
            raise NoLoop
        return name
    if name is None:
        name = f"{value[1]}.start"
        given.constants[name] = np.zeros([n for n in sizes if n is not None], np.float32)
    if list((given.sizes(name) if name not in given.constants else given.constants[name].shape) or ()) != sizes:
        raise NoLoop
    return name


def _check_folded(copies: Copies, starts: Mapping[Names, str]) -> None:
    """Compute again what the file has computed of the first copy."""
    given = copies.given
    known = {_name(value, 1): given.constants.get(name) for value, name in starts.items()}

    def compute(name: str) -> np.ndarray:
        if name not in known:
            node = given.producer.get(name)
            if name in given.constants or node is None:
                known[name] = given.constants.get(name)
            else:
                if not traits(node.op).pure:
                    raise NoLoop
                arrays = [compute(used) if used else None for used in node.inputs]
                known.update(zip(node.outputs, given.evaluator.run(node, arrays), strict=False))
        array = known[name]
        if array is None:
            raise NoLoop
        return array

    for value in copies.folded:
        folded, computed = given.constants[_name(value, 0)], compute(_name(value, 2))
        if folded.shape != computed.shape or not np.allclose(folded, computed, rtol=1e-6, atol=1e-7):
            raise NoLoop


def _in_order(nodes: list[OnnxNode]) -> list[OnnxNode]:
    """Nodes behind what they use."""
    producer = {name: i for i, node in enumerate(nodes) for name in node.outputs if name}
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


__all__ = ["rolled_up"]
