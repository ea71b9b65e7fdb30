# SPDX-License-Identifier: MIT
"""If, Loop and Scan during the walk, when all sizes are known.

A Loop or Scan whose rounds are the timesteps is walked once: inside of its body there is no time, what it carries are
state registers, what it scans or picks by the number of the round are frames, what it collects gets the time axis
back. Any other is written out, round after round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ....ir.ops import OPS
from ..file import limits
from ..file.nodes import Body, OnnxNode
from ..frames import provenance
from ..frames.boundary import choose
from ..frames.context import Binding, Forgets, Iteration, Length, Walk
from ..frames.loop_index import take_step, turned
from ..frames.provenance import Mixed, Tensor
from ..frames.settle import settle
from ..retry import OtherRounds
from ..simplify.scan import ScanLayout, scan_layout
from .logic import where

# -- If -------------------------------------------------------------------------------------------------------------


def if_(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    condition = operands[0]
    if isinstance(condition, Tensor):
        return _either(walk, node, condition)
    if not isinstance(condition, np.ndarray) or condition.size != 1:
        node.unsupported("its condition is the length of a sequence, or has not one element")
    body = node.bodies["then_branch" if condition.reshape(()) else "else_branch"]
    _walk_body(walk, body)
    return [walk.values[name] for name in body.outputs]


def _either(walk: Walk, node: OnnxNode, condition: Tensor) -> list[Any]:
    """Of a condition that frames decide: both branches, of whose results one is chosen."""
    if condition.codes.size != 1:
        node.shape_error(f"its condition has shape {condition.shape}, expected one element")
    if (condition.steps >= 0).any() or (walk.builder.n_items > 1 and (condition.items >= 0).any()):
        node.unsupported("its condition is of one timestep, or of one item of the batch, and decides for others too")
    nodes = walk.builder.graph.nodes
    n_nodes = len(nodes)
    branches = [_walk_body(walk, node.bodies[key]) for key in ("then_branch", "else_branch")]
    counters = walk.counters.states  # which count in every round
    inner = [one for one in nodes[n_nodes:] if not counters.issuperset(one.states)]
    if any(not OPS[one.op].reads_register for one in inner):
        node.unsupported("its condition is computed from frames at run time, and a branch of it remembers something")
    chosen = []
    for one, other in zip(*branches, strict=True):
        shapes = [getattr(value, "shape", None) for value in (one, other)]
        if isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and np.array_equal(one, other):
            chosen.append(one)
        elif None in shapes or shapes[0] != shapes[1]:
            node.unsupported(
                f"its branches, of which frames choose one, give values of shapes {shapes[0]} and {shapes[1]}"
            )
        else:
            picks = Tensor(condition.codes.reshape(()), (), condition.dtype)
            chosen += where(walk, node, [picks, one, other])
    return chosen


def _walk_body(walk: Walk, body: Body) -> list[Any]:
    for node in body.nodes:
        walk.walk_node(node)
    return [walk.values[name] for name in body.outputs]


# -- Loop -----------------------------------------------------------------------------------------------------------


def loop(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    node.allow()
    body = node.bodies["body"]
    trips, going, *carried = [*operands, None][: max(len(operands), 2)]
    n_carried = len(carried)
    if len(body.inputs) != 2 + n_carried or len(body.outputs) < 1 + n_carried:
        node.format_error(
            f"carries {n_carried} values; its body has {len(body.inputs)} inputs, {len(body.outputs)} outputs"
        )
    if any(not isinstance(o, np.ndarray | None) for o in (trips, going)):
        node.unsupported("how often it runs is computed from frames at run time, which is not supported")
    if going is not None and not going.reshape(()):
        trips = np.zeros((), np.int64)
    late = None if trips is None else _late(walk, node, int(trips.reshape(())))
    if late is not None:
        given: list[Any] = [Iteration(late=late), np.array(True)]
        over_time = _over_time(walk, node, body, carried, given, 1, late)
        if not isinstance(over_time.flags[0], np.ndarray) or not over_time.flags[0].all():
            node.unsupported("its condition changes while it runs, so it may end before the sequence does")
        return [*over_time.finals, *(_collect(walk, row, 0, late) for row in over_time.rows)]
    if node.inputs[0] and node.inputs[0] not in walk.program.constants and not walk.reading.fixed:
        raise OtherRounds(
            f"{node.where}: runs as often as an open size says, and its rounds are not the timesteps of the model as "
            "it is read here"
        )
    return _written_out(walk, node, body, trips, carried)


def _late(walk: Walk, node: OnnxNode, trips: int) -> int | None:
    """Where the rounds of a Loop are the timesteps, how many of the first ones are none: those that convolutions
    without padding left out. As many, and not by a number that stands in the file; None where they are no timesteps.
    """
    late = walk.builder.n_steps - trips
    if not walk.builder.sequence or not 0 <= late <= walk.left_out or not trips:
        return None
    return late if node.inputs[0] not in walk.program.constants or walk.reading.fixed_time else None


def _written_out(walk: Walk, node: OnnxNode, body: Body, trips: Any, carried: list[Any]) -> list[Any]:
    limit = limits.MAX_TRIPS if trips is None else int(trips.reshape(()))
    if limit >= 2**31 - 1:  # no number of rounds, but what exporters write for none
        node.unsupported(
            "runs until its condition says otherwise, which is not that a counter (from a known number, by 1 a round) "
            "is below the length of the sequence"
        )
    if limit > limits.MAX_TRIPS:
        node.unsupported(f"runs {limit} times; at most {limits.MAX_TRIPS} rounds that are no timesteps are supported")
    walk.check_nodes(node, _written_nodes(walk, node))
    rows: list[list[Any]] = [[] for _ in body.outputs[1 + len(carried) :]]
    alive, n = True, 0
    while alive and n < limit:
        walk.count_node(node)
        walk.values.update(zip(body.inputs, [np.array(n, np.int64), np.array(True), *carried], strict=True))
        flag, *results = _walk_body(walk, body)
        if not isinstance(flag, np.ndarray):
            node.unsupported("its condition is computed from frames at run time, which is not supported")
        alive, carried, n = bool(flag.reshape(())), results[: len(carried)], n + 1
        for kept, row in zip(rows, results[len(carried) :], strict=True):
            kept.append(row)
    if alive and trips is None:
        node.unsupported(f"did not end after {limits.MAX_TRIPS} rounds")
    if rows and not n:
        node.unsupported("runs 0 times; what it collects would be empty")
    return [*carried, *(_stack(walk, node, kept, 0) for kept in rows)]


def _written_nodes(walk: Walk, node: OnnxNode) -> int:
    """How many nodes are walked at least for the rounds of a node: of a loop that is sure to be written out."""
    trips = walk.program.constants.get(node.inputs[0]) if node.op == "Loop" else None
    if trips is None or trips.size != 1 or (walk.builder.sequence and int(trips.reshape(())) == walk.builder.n_steps):
        return 0
    body = node.bodies["body"]
    producer = {name: inner for inner in body.nodes for name in inner.outputs}
    goes_on = body.outputs[0]
    while goes_on in producer and producer[goes_on].op == "Identity":
        goes_on = producer[goes_on].inputs[0]
    if goes_on != body.inputs[1]:
        return 0  # it may end before
    each = sum(_counted(inner) + _written_nodes(walk, inner) for inner in body.nodes)
    return int(trips.reshape(())) * (_counted(node) + each)


def _counted(node: OnnxNode) -> int:
    return limits.nodes_of(len(node.inputs) + len(node.outputs))


def _stack(walk: Walk, node: OnnxNode, rows: list[Any], axis: int) -> Any:
    """The rows of all rounds along a new axis."""
    if all(isinstance(row, np.ndarray) for row in rows):
        walk.evaluator.charge(node, len(rows) * rows[0].size)
        return np.stack(rows, axis)
    tensors = [_tensor(walk, node, row) for row in rows]
    if len({t.shape for t in tensors}) > 1:
        node.unsupported(f"collects rows of different shapes {[t.shape for t in tensors]}")
    walk.count(node, (len(tensors), *tensors[0].shape))
    labels = list(tensors[0].labels)
    labels.insert(axis, "")
    return settle(walk.builder, Tensor(np.stack([t.codes for t in tensors], axis), tuple(labels), tensors[0].dtype))


def _tensor(walk: Walk, node: OnnxNode, value: Any) -> Tensor:
    """A constant as a tensor; a tensor as it is."""
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, np.ndarray):
        node.unsupported("carries or collects a sequence length, or the number of the round, which is not supported")
    dtype = "float32" if value.dtype == np.float32 else str(value.dtype)
    return Tensor(walk.builder.constant(value), ("",) * value.ndim, dtype)


# -- Scan -----------------------------------------------------------------------------------------------------------


def scan(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    body = node.bodies["body"]
    if node.opset < 9:
        node.unsupported(
            "is of operator set 8, where a Scan has a batch and lengths of its own, and is supported with a batch of 1 "
            "and no lengths; convert the model to 9 or newer"
        )
    for operand in operands:
        if operand is None or isinstance(operand, Length | Iteration):
            node.unsupported("an input is missing, or a sequence length")
    layout = scan_layout(node, len(body.outputs), [len(o.shape) for o in operands])
    if len(body.inputs) != len(operands):
        node.format_error(f"has {len(operands)} inputs, its body {len(body.inputs)}")
    carried, scanned = operands[: layout.n_carried], operands[layout.n_carried :]
    trips = {o.shape[axis] for o, axis in zip(scanned, layout.input_axes, strict=True)}
    if len(trips) != 1:
        node.shape_error(f"its scan inputs have shapes {[o.shape for o in scanned]}, of different lengths")
    (n_trips,) = trips
    late = max(walk.builder.n_steps - n_trips, 0) if walk.builder.sequence else 0
    late = late if late <= walk.left_out else 0
    frames = _frames(walk, node, scanned, layout, late)
    if frames is None:
        return _scan_written_out(walk, node, body, carried, scanned, layout, n_trips)
    over_time = _over_time(walk, node, body, carried, frames, 0, late)
    collected = []
    for row, axis, back in zip(over_time.rows, layout.output_axes, layout.output_backwards, strict=True):
        axis %= len(_shape(row)) + 1
        rows = _collect(walk, row, axis, late)
        collected.append(turned(walk, rows, axis) if back else rows)
    return [*over_time.finals, *collected]


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape)


def _frames(walk: Walk, node: OnnxNode, scanned: list[Any], layout: ScanLayout, late: int) -> list[Tensor] | None:
    """What is scanned without its time axis, when that is the time of the model; None when it is none. late: how many
    of the first frames it lacks."""
    builder, of_time = walk.builder, []
    for operand, axis in zip(scanned, layout.input_axes, strict=True):
        if not isinstance(operand, Tensor):
            continue
        if builder.sequence:
            of_time.append(bool((operand.steps != operand.steps.take([0], axis)).any()))
        else:
            of_time.append(operand.labels[axis] == "T" and not walk.reading.carried)
        if operand.labels[axis] == "N" or (operand.items != operand.items.take([0], axis)).any():
            raise Mixed(f"it scans axis {axis} of shape {operand.shape}, which is the batch")
    if not any(of_time):
        return None
    if len(of_time) < len(scanned) or not all(of_time):
        node.unsupported("scans over time and over something else at once")
    if late and any((*layout.input_backwards, *layout.output_backwards)):
        node.unsupported("scans backwards in time what a convolution without padding has cut frames off")
    # A step is a sequence of one frame, which is the same backwards.
    operands = zip(scanned, layout.input_axes, layout.input_backwards, strict=True)
    return [take_step(walk, turned(walk, o, axis) if back else o, axis, late) for o, axis, back in operands]


def _scan_written_out(
    walk: Walk, node: OnnxNode, body: Body, carried: list[Any], scanned: list[Any], layout: ScanLayout, n_trips: int
) -> list[Any]:
    if not 0 < n_trips <= limits.MAX_TRIPS:
        node.unsupported(f"runs {n_trips} times; 1 to {limits.MAX_TRIPS} rounds that are no timesteps are supported")
    _refuse_forgetting(walk, node, carried, scanned, layout)
    if n_trips == 1:
        walk.ends_of_a_round.update(node.outputs[: layout.n_carried])
    rows: list[list[Any]] = [[] for _ in layout.output_axes]
    for n in range(n_trips):
        walk.count_node(node)
        given = []
        for operand, axis, back in zip(scanned, layout.input_axes, layout.input_backwards, strict=True):
            at = n_trips - 1 - n if back else n
            if isinstance(operand, np.ndarray):
                given.append(operand.take(at, axis))
            else:
                labels = tuple(label for a, label in enumerate(operand.labels) if a != axis)
                given.append(Tensor(operand.codes.take(at, axis), labels, operand.dtype))
        walk.values.update(zip(body.inputs, [*carried, *given], strict=True))
        results = _walk_body(walk, body)
        carried = results[: layout.n_carried]
        for kept, row in zip(rows, results[layout.n_carried :], strict=True):
            kept.append(row)
    collected = []
    for kept, axis, back in zip(rows, layout.output_axes, layout.output_backwards, strict=True):
        stacked = _stack(walk, node, kept[::-1] if back else kept, axis % (len(_shape(kept[0])) + 1))
        if isinstance(stacked, Tensor) and any(
            isinstance(o, Tensor) and o.labels[a] == "T" for o, a in zip(scanned, layout.input_axes, strict=True)
        ):
            place = axis % len(stacked.shape)
            stacked.labels = tuple("T" if a == place else label for a, label in enumerate(stacked.labels))
        collected.append(stacked)
    return [*carried, *collected]


def _refuse_forgetting(walk: Walk, node: OnnxNode, carried: list[Any], scanned: list[Any], layout: ScanLayout) -> None:
    """In a model of one step, what starts from a constant at every step would forget."""
    over_time = any(
        isinstance(o, Tensor) and o.labels[a] == "T" for o, a in zip(scanned, layout.input_axes, strict=True)
    )
    if walk.reading.carried and over_time and any(isinstance(o, np.ndarray) for o in carried):
        raise Forgets(
            f"{node.where}: starts from a constant, while other states are inputs of the model: in a "
            "model of one step it would forget at every step, which is not supported; export its state as input and "
            "output as well"
        )


# -- over time ------------------------------------------------------------------------------------------------------


@dataclass
class _Walked:
    """What a body gives that was walked once."""

    flags: list[Any]  # what the body gives before the carried values
    finals: list[Any]  # carried values at the end of the sequence
    rows: list[Any]  # one timestep of what is collected


@dataclass
class _Register:
    state: str
    tensor: Tensor  # as the body reads it
    start: np.ndarray | None  # elements of a state input that it starts from


def _over_time(
    walk: Walk, node: OnnxNode, body: Body, carried: list[Any], given: list[Any], n_flags: int, late: int
) -> _Walked:
    """Walk the body once, carried values in registers. `given`: a Loop's round and condition, or a Scan's frames; late:
    how many of the first frames are no rounds, in which registers stay as they are."""
    builder = walk.builder
    for name in body.captures:
        value = walk.values.get(name)
        if isinstance(value, Tensor) and builder.is_final(value.elements) and not builder.is_constant(value.elements):
            node.unsupported(f"its body uses {name!r}, which is known at the end of the sequence only")
    base = builder.name(node.op.lower())
    sequence, builder.sequence = builder.sequence, False
    try:
        registers = [_register(walk, node, f"{base}.{i + 1}", operand) for i, operand in enumerate(carried)]
        read = [register.tensor for register in registers]
        walk.values.update(zip(body.inputs, [*given, *read] if n_flags else [*read, *given], strict=True))
        outputs = _walk_body(walk, body)
        flags, results, rows = (
            outputs[:n_flags],
            outputs[n_flags : n_flags + len(carried)],
            outputs[n_flags + len(carried) :],
        )
        used = set().union(*(inner.uses for inner in body.nodes))
        names = body.inputs[len(body.inputs) - len(carried) :] if n_flags else body.inputs[: len(carried)]
        written = [
            _write(walk, node, register, value, late if name in used else 0)
            for register, value, name in zip(registers, results, names, strict=True)
        ]
    finally:
        builder.sequence = sequence
    for row in rows:
        if isinstance(row, Tensor) and (row.steps >= 0).any():
            raise Mixed("a round of the loop looks at timesteps other than its own")
    finals: list[Any] = []
    for register, tensor in zip(registers, written, strict=True):
        final = builder.derive("last", tensor.elements) if sequence else tensor.elements
        if register.start is not None:
            end = Tensor(provenance.encode(-1, tensor.items, final), tensor.labels)
            walk.bindings.append(Binding(register.state, register.start, _first_item(end).ravel(), node))
        finals.append(Tensor(provenance.encode(-1, tensor.items, final), tensor.labels, tensor.dtype))
    return _Walked(flags, finals, [_tensor(walk, node, row) for row in rows])


def _first_item(tensor: Tensor) -> np.ndarray:
    """The elements of the frame that every item of the batch has."""
    return Tensor(provenance.encode(-1, tensor.items, tensor.elements), tensor.labels).split()[1]


def _register(walk: Walk, node: OnnxNode, name: str, operand: Any) -> _Register:
    """A state register for a carried value; what it starts from is a constant or a state input."""
    builder = walk.builder
    n_items = builder.n_items
    start: np.ndarray | None = None
    init: np.ndarray | None = None
    labels: tuple[str, ...] = ("",) * len(operand.shape)
    dtype = "float32"
    if isinstance(operand, np.ndarray):
        dtype = "float32" if operand.dtype == np.float32 else str(operand.dtype)
        batch = next((a for a, n in enumerate(operand.shape) if n == n_items), None) if n_items > 1 else None
        if batch is not None and (operand != operand.take([0], batch)).any():
            node.unsupported("a carried value starts from a constant that differs between items of the batch")
        init = operand if batch is None else operand.take(0, batch)
        shape = operand.shape
    elif isinstance(operand, Tensor):
        if not all(s.is_state for s in builder.sources_of(operand.elements)):
            node.unsupported("a carried value starts from a computed one; expected a constant or an input of the model")
        layout, start = operand.split()
        if (operand.steps >= 0).any() or len(layout.outer) > 1:
            node.unsupported("a carried value starts from something with a time axis")
        batch, shape, labels = (layout.outer or (None,))[0], operand.shape, operand.labels
    else:
        node.unsupported("a carried value starts from a sequence length")
    frame = tuple(n for a, n in enumerate(shape) if a != batch)
    if 0 in frame:
        node.unsupported(f"a carried value has shape {shape}, which is empty")
    size = provenance.n_elements(frame)
    state = walk.builder.graph.state(
        name, (size,), None if init is None or not init.any() else init.astype(np.float32).ravel()
    )
    value = builder.graph.add("state_read", [], name=builder.name("read"), states=[state])
    elements = builder.elements(value).reshape(frame)
    items: Any = -1
    if batch is not None:
        elements = np.expand_dims(elements, batch)
        items = np.arange(n_items).reshape([-1 if a == batch else 1 for a in range(len(shape))])
    table = np.broadcast_to(provenance.encode(-1, items, elements), shape)
    return _Register(state, Tensor(table, labels, dtype), None if start is None else start.ravel())


def _write(walk: Walk, node: OnnxNode, register: _Register, value: Any, late: int) -> Tensor:
    """Write a carried value's next one into its register, but in the first `late` frames; gives it as a tensor."""
    tensor = _tensor(walk, node, value)
    if tensor.shape != register.tensor.shape:
        node.shape_error(f"a carried value has shape {register.tensor.shape}, and {tensor.shape} after a round")
    if tensor.dtype != register.tensor.dtype:
        node.unsupported(f"a carried value is {register.tensor.dtype}, and {tensor.dtype} after a round")
    if (tensor.steps >= 0).any():
        raise Mixed("a round of the loop looks at timesteps other than its own")
    if isinstance(value, np.ndarray):
        tensor = Tensor(provenance.encode(-1, register.tensor.items, tensor.elements), tensor.labels, tensor.dtype)
    if (tensor.items != register.tensor.items).any():
        raise Mixed("a carried value's axes change places from round to round, or it mixes items of the batch")
    if late:
        kept = choose(walk.builder, -late, tensor.elements, register.tensor.elements)
        tensor = Tensor(provenance.encode(-1, tensor.items, kept), tensor.labels, tensor.dtype)
    graph = walk.builder.graph
    frame = graph.states[register.state].shape
    written = walk.builder.value(_first_item(tensor), frame)
    graph.add("state_write", [written], name=walk.builder.name("write"), states=[register.state])
    return Tensor(
        tensor.codes, tuple(a or b for a, b in zip(tensor.labels, register.tensor.labels, strict=True)), tensor.dtype
    )


def _collect(walk: Walk, row: Tensor, axis: int, late: int) -> Tensor:
    """One timestep's row as the sequence that it belongs to, without so many of its first frames."""
    n_steps = walk.builder.n_steps
    steps = np.arange(late, n_steps) if walk.builder.sequence else np.full(1, -1)
    shape = [1] * (len(row.shape) + 1)
    shape[axis] = n_steps - late
    table = provenance.encode(steps.reshape(shape), np.expand_dims(row.items, axis), np.expand_dims(row.elements, axis))
    labels = list(row.labels)
    labels.insert(axis, "" if walk.builder.sequence else "T")
    return Tensor(table, tuple(labels), row.dtype)
