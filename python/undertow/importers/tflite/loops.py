# SPDX-License-Identifier: MIT
"""WHILE and IF: graphs of the file that become graphs inside of nodes.

WHILE asks its condition before each round, a Loop behind each for the next: so the condition is computed once before
the loop and once at the end of each round. A list of results is a tensor that the loop carries, of which round i
writes row i; as results of a Loop that are stacked up, what follows knows them as the timesteps that they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import limits
from .file import Operator, Subgraph
from .scope import COMPUTED, Scope

_END = 2**31 - 1


def while_(scope: Scope, operator: Operator, _: str) -> list[str]:
    n = len(operator.inputs)
    if len(operator.outputs) != n:
        scope.format_error(f"{n} inputs and {len(operator.outputs)} outputs, expected as many")
    onnx, program = scope.program.onnx, scope.program
    condition, body = (operator.options.get(f"{key}_subgraph_index", 0) for key in ("cond", "body"))
    before = [scope.value(i) for i in operator.inputs]
    goes_on = _single(scope, condition, scope.inlined(condition, before))
    inner = scope.inner(body)
    for graph, n_outputs in ((inner.graph, n), (scope.inner(condition).graph, 1)):
        sizes = len(graph.inputs), len(graph.outputs)
        if sizes != (n, n_outputs):
            scope.format_error(
                f"{graph.name} has {sizes[0]} inputs and {sizes[1]} outputs, expected {n} and {n_outputs}"
            )
    carried = [program.new(f"{inner.graph.tensors[i].name}/in") for i in inner.graph.inputs]
    counters = _counters(scope, operator, inner)
    lists = {k: row for k in range(n) if (row := _row_written(inner.graph, k, counters)) is not None}
    after = inner.run(carried)
    more = _single(inner, condition, inner.inlined(condition, after))
    rows = []
    for row in lists.values():
        taken = inner.value(row)
        rows.append(inner.node("Squeeze", [taken, scope.int64([0])]))
    kept = [k for k in range(n) if k not in lists]
    wanted = {more, *(after[k] for k in kept), *rows}
    inner.nodes[:] = _without(inner.nodes, {carried[k] for k in lists}, wanted)
    results = []
    for value in (more, *(after[k] for k in kept), *rows):  # a Loop gives each of its own
        results.append(inner.node("Identity", [value]))
    round_, going = program.new(f"{inner.graph.name}/round"), program.new(f"{inner.graph.name}/going")
    kinds = [COMPUTED[inner.tensor(inner.graph.inputs[k]).kind] for k in kept]
    helper = onnx.helper
    inputs = [helper.make_tensor_value_info(round_, 7, []), helper.make_tensor_value_info(going, 9, [])]
    inputs += [helper.make_tensor_value_info(carried[k], kind, None) for k, kind in zip(kept, kinds, strict=True)]
    outputs = [helper.make_tensor_value_info(results[0], 9, None)]
    outputs += [helper.make_tensor_value_info(r, kind, None) for r, kind in zip(results[1:], kinds, strict=False)]
    outputs += [helper.make_tensor_value_info(r, 1, None) for r in results[1 + len(kept) :]]
    _own(inner, operator)
    round_graph = helper.make_graph(inner.nodes, inner.graph.name, inputs, outputs)
    given = scope.node("Loop", ["", goes_on, *(before[k] for k in kept)], len(kept) + len(rows), body=round_graph)
    values = dict(zip([*kept, *lists], given, strict=True))
    rounds = _rounds(scope, operator, inner.graph, scope.inner(condition).graph, counters)
    for k in lists:
        if rounds is None or rounds != _length(scope, operator.inputs[k]):
            values[k] = _list(scope, before[k], values[k])
    return [values[k] for k in range(n)]


def if_(scope: Scope, operator: Operator, _: str) -> list[str]:
    helper, branches = scope.program.onnx.helper, []
    chooses, *given = [scope.value(i) for i in operator.inputs]
    for key in ("then", "else"):
        inner = scope.inner(operator.options.get(f"{key}_subgraph_index", 0))
        results = [inner.node("Identity", [value]) for value in inner.run(given)]
        if len(results) != len(operator.outputs):
            scope.format_error(f"{inner.graph.name} has {len(results)} outputs, expected {len(operator.outputs)}")
        kinds = [COMPUTED.get(scope.tensor(i).kind, 1) for i in operator.outputs]
        outputs = [helper.make_tensor_value_info(r, kind, None) for r, kind in zip(results, kinds, strict=True)]
        _own(inner, operator)
        branches.append(helper.make_graph(inner.nodes, inner.graph.name, [], outputs))
    attrs = {"then_branch": branches[0], "else_branch": branches[1]}
    return list(scope.node("If", [chooses], len(operator.outputs), **attrs))


def _own(inner: Scope, operator: Operator) -> None:
    """Say of which operator the nodes of a graph are that none of its own has made."""
    for node in inner.nodes:
        inner.program.where.setdefault(node.name, (operator, False))


def _single(scope: Scope, condition: int, outputs: list[str]) -> str:
    if len(outputs) != 1:
        scope.format_error(f"its condition has {len(outputs)} outputs, expected 1")
    return str(scope.node("Reshape", [outputs[0], scope.int64(np.zeros(0))]))


def _without(nodes: list[Any], gone: set[str], wanted: set[str]) -> list[Any]:
    """Nodes without those that read values, what lists were before, or what is computed from these, as far as nothing
    wanted comes of them."""
    kept = []
    for node in nodes:
        if gone & {*node.input} and not wanted & {*node.output}:
            gone |= {*node.output}
        else:
            kept.append(node)
    return kept


def _list(scope: Scope, before: str, rows: str) -> str:
    """A list behind a loop: the rows that were written, and what stood behind them."""
    sizes = scope.node("Shape", [rows])
    n = scope.node("Slice", [sizes, *(scope.int64([k]) for k in (0, 1, 0))])
    left = scope.node("Slice", [before, n, scope.int64([_END]), scope.int64([0])])
    return str(scope.node("Concat", [rows, left], axis=0))


# -- how many rounds, and rows of a list ------------------------------------------------------------------------------

#: so many; or as many as a tensor says
_Number = tuple[str, int]


def _rounds(
    scope: Scope, operator: Operator, body: Subgraph, condition: Subgraph, counters: set[int]
) -> _Number | None:
    """How often a loop runs whose condition is that counters are less than one and the same number."""
    numbers: set[_Number] = set()
    waiting = [condition.outputs[0]]
    for _ in range(limits.MAX_FOLLOWED):
        if not waiting:
            break
        maker = _maker(condition, waiting.pop())
        if maker is None or len(maker.inputs) != 2 or min(maker.inputs) < 0:
            return None
        a, b = maker.inputs
        if maker.op == "LOGICAL_AND":
            waiting += [a, b]
            continue
        count = _count(condition, a, counters)
        if maker.op != "LESS" or count is None or count.more:
            return None
        known = _known(condition, b)
        if known is not None:
            numbers.add(("", known[0] if len(known) == 1 else -1))
        elif b in condition.inputs and body.outputs[(k := condition.inputs.index(b))] == body.inputs[k]:
            numbers.add(_number(scope, operator.inputs[k]))
        else:
            return None
    return numbers.pop() if len(numbers) == 1 and not waiting else None


def _number(scope: Scope, i: int) -> _Number:
    """What a tensor of one element holds, or which one it is, in another shape."""
    for _ in range(limits.MAX_FOLLOWED):
        maker = _maker(scope.graph, i)
        if maker is None or maker.op not in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS") or maker.inputs[0] < 0:
            break
        i = maker.inputs[0]
    known = _known(scope.graph, i)
    return ("", known[0]) if known is not None and len(known) == 1 else ("tensor", i)


def _length(scope: Scope, i: int) -> _Number | None:
    """How many rows a list begins with."""
    sizes, maker = scope.tensor(i).shape, _maker(scope.graph, i)
    if maker is not None and maker.op == "FILL" and len(maker.inputs) == 2:
        joined = _maker(scope.graph, maker.inputs[0])
        if joined is not None and joined.op in ("CONCATENATION", "PACK") and joined.inputs and joined.inputs[0] >= 0:
            return _number(scope, joined.inputs[0])
    return ("", sizes[0]) if scope.is_constant(i) and sizes and sizes[0] is not None else None


# -- rows that rounds write -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Count:
    """A number: the i-th input of the body and so many more."""

    counter: int
    more: int


def _counters(scope: Scope, operator: Operator, inner: Scope) -> set[int]:
    """The inputs of a loop's body that count its rounds from 0 on."""
    counters = set()
    for k, i in enumerate(operator.inputs):
        if scope.tensor(i).kind not in ("INT32", "INT64") or not scope.is_constant(i):
            continue
        starts_at_0 = scope.integers(i, "counter")[:2] == [0]
        if starts_at_0 and _count(inner.graph, inner.graph.outputs[k], {k}) == _Count(k, 1):
            counters.add(k)
    return counters


def _maker(graph: Subgraph, i: int) -> Operator | None:
    return graph.makers.get(i)


def _known(graph: Subgraph, i: int) -> list[int] | None:
    tensor = graph.tensors[i]
    if tensor.data is None or tensor.kind not in ("INT32", "INT64") or _maker(graph, i) is not None:
        return None
    return [int(n) for n in tensor.array().reshape(-1)[:16]]


def _count(graph: Subgraph, i: int, counters: set[int]) -> _Count | None:
    """A counter, with what is added to it, in any shape of one element."""
    more = 0
    for _ in range(limits.MAX_FOLLOWED):
        if (k := graph.places.get(i)) is not None:
            return _Count(k, more) if k in counters else None
        maker = _maker(graph, i)
        if maker is None or not maker.inputs or min(maker.inputs) < 0:
            return None
        if maker.op in ("RESHAPE", "EXPAND_DIMS", "SQUEEZE"):
            i = maker.inputs[0]
        elif maker.op == "ADD" and len(maker.inputs) == 2:
            a, b = maker.inputs
            step = _known(graph, b)
            i, step = (a, step) if step is not None else (b, _known(graph, a))
            if step is None or len(step) != 1:
                return None
            more += step[0]
        else:
            return None
    return None


def _place(graph: Subgraph, i: int, rest: int, counters: set[int]) -> _Count | None:
    """The first of some numbers, where it is a count, and all others are the same known one."""
    maker = _maker(graph, i)
    if maker is None or maker.op not in ("CONCATENATION", "PACK") or len(maker.inputs) < 2 or min(maker.inputs) < 0:
        return _count(graph, i, counters) if graph.tensors[i].shape in ([1], []) else None
    first, *others = maker.inputs
    for other in others:
        known = _known(graph, other)
        if known is None or {*known} != {rest}:
            return None
    return _count(graph, first, counters)


def _row_written(graph: Subgraph, k: int, counters: set[int]) -> int | None:
    """The tensor, of one row, that a round of a loop writes into what it carries, at the place that its number says:
    between the rows before and those behind. None where it does anything else.
    """
    carried, maker = graph.inputs[k], _maker(graph, graph.outputs[k])
    kind = graph.tensors[carried].kind
    if maker is not None and maker.op == "CAST" and graph.tensors[maker.inputs[0]].kind == kind:
        maker = _maker(graph, maker.inputs[0])  # which changes nothing
    reads = graph.readers.get(carried, [])
    if maker is None or graph.outputs.count(carried) or graph.outputs.count(graph.outputs[k]) > 1:
        return None
    if maker.op != "CONCATENATION" or len(maker.inputs) != 3 or maker.options.get("axis", 0) != 0:
        return None
    if maker.options.get("fused_activation_function", 0):
        return None
    before, row, behind = maker.inputs
    slices = [_maker(graph, before), _maker(graph, behind)]
    parts = [part for part in slices if part is not None and part.op == "SLICE" and len(part.inputs) == 3]
    if len(parts) != 2 or any(part not in parts for part in reads) or any(p.inputs[0] != carried for p in parts):
        return None
    (_, from_0, up_to), (_, from_next, to_end) = (part.inputs for part in parts)
    end, start = _place(graph, up_to, -1, counters), _place(graph, from_next, 0, counters)
    starts, rest = _known(graph, from_0), _known(graph, to_end)
    if starts is None or rest is None or {*starts} != {0} or {*rest} != {-1}:
        return None
    if end is None or end.more != 0 or start != _Count(end.counter, 1) or graph.tensors[row].shape[:1] != [1]:
        return None
    return row
