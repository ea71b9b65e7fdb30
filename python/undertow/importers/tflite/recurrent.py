# SPDX-License-Identifier: MIT
"""Recurrent layers that are one operator: LSTM and RNN over a sequence or one step, both ways, and SVDF.

Variables of an operator are states: TensorFlow Lite keeps them between calls, until `reset_all_variables`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .file import Operator
from .schema import ACTIVATIONS
from .scope import Scope, State

#: where ONNX's gates i, o, f, c stand among those of TensorFlow Lite, i, f, c, o; the same of peepholes i, o, f
_GATES, _PEEPHOLES = (0, 3, 1, 2), (0, 2, 1)
_TANH = ACTIVATIONS.index("TANH")


def lstm(scope: Scope, operator: Operator, of: str) -> list[str]:
    inputs = [*operator.inputs, *[-1] * (24 - len(operator.inputs))]
    _refuse_given(scope, inputs, dict.fromkeys(range(20, 24), "layer normalisation"))
    fed_back = (scope.tensor(inputs[16]).shape or [None])[0] if inputs[16] >= 0 else None
    W, R, b, P = _lstm_weights(scope, inputs[1:9], inputs[9:12], inputs[12:16], fed_back)
    units = len(b) // 8
    _check_projection(scope, inputs[16], inputs[17], R.shape[1], units)
    h = _state(scope, inputs[18], "hidden state", R.shape[1])
    c = _state(scope, inputs[19], "cell state", units)
    bounds = [operator.options.get(key, 0.0) for key in ("cell_clip", "proj_clip")]
    x = _sequence(scope, operator, inputs[0], of)
    if inputs[16] >= 0 or inputs[17] >= 0 or bounds != [0, 0]:
        return [_written_out(scope, operator, of, x, (W, R, b, P), (h, c), inputs[16:18], bounds)]
    attrs = {"hidden_size": units, "activations": _lstm_activations(scope, operator)}
    weights = [_weights(scope, array[None], name) for array, name in ((W, "W"), (R, "R"), (b, "b"))]
    peepholes = [] if P is None else [_weights(scope, P[None], "P")]
    first = [_unsqueezed(scope, state.value) for state in (h, c)]
    y, y_h, y_c = scope.node("LSTM", [x, *weights, "", *first, *peepholes], 3, **attrs)
    for state, last in ((h, y_h), (c, y_c)):
        state.output = scope.node("Squeeze", [last, scope.int64([0])])
    return [_from_sequence(scope, operator, y, of, h.output)]


def _written_out(
    scope: Scope,
    operator: Operator,
    of: str,
    x: str,
    weights: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None],
    states: tuple[State, State],
    projection: list[int],
    bounds: list[float],
) -> str:
    """An LSTM whose cell state has bounds, as of Keras 2, or whose hidden state is projected: what ONNX's has not,
    as a Scan over its formula. The pass that looks for cells finds those without bounds again.
    """
    W, R, b, P = weights
    if min(bounds) < 0 or not np.isfinite(bounds).all():
        scope.unsupported(f"cell_clip={bounds[0]}, proj_clip={bounds[1]}: expected numbers above 0, or 0 for none")
    kind = _activation(scope, operator)
    names = [_weights(scope, array, name) for array, name in ((W.T, "W"), (R.T, "R"), (b[: len(b) // 2], "b"))]
    peepholes = [_weights(scope, part, "P") for part in np.split(P, 3)] if P is not None else []
    projected = [scope.shared(i, "projection", np.transpose, "transposed") if i >= 0 else "" for i in projection]
    round_ = Scope(scope.program, scope.graph, scope.depth + 1, operator=operator, about=scope.about)
    h, c, frame = (scope.program.new(f"{scope.about}/{what}") for what in ("h", "c", "x"))
    node = round_.node
    z = node("Add", [node("Add", [node("MatMul", [frame, names[0]]), names[2]]), node("MatMul", [h, names[1]])])
    z_i, z_o, z_f, z_g = node("Split", [z], 4, axis=-1, num_outputs=4)
    if peepholes:
        z_i, z_f = (node("Add", [z, node("Mul", [c, p])]) for z, p in zip((z_i, z_f), peepholes[::2], strict=True))
    kept = node("Mul", [node("Sigmoid", [z_f]), c])
    after = node("Add", [kept, node("Mul", [node("Sigmoid", [z_i]), node(kind, [z_g])])])
    if bounds[0]:
        after = round_.clipped(after, -bounds[0], bounds[0])
    if peepholes:
        z_o = node("Add", [z_o, node("Mul", [after, peepholes[1]])])
    y = node("Mul", [node("Sigmoid", [z_o]), node(kind, [after])])
    if projected[0]:
        y = node("MatMul", [y, projected[0]])
        y = node("Add", [y, projected[1]]) if projected[1] else y
        y = round_.clipped(y, -bounds[1], bounds[1]) if bounds[1] else y
    results = [node("Identity", [value]) for value in (y, after, y)]
    info = scope.program.onnx.helper.make_tensor_value_info
    ports = [[info(name, 1, None) for name in side] for side in ((h, c, frame), results)]
    body = scope.program.onnx.helper.make_graph(round_.nodes, scope.about, *ports)
    for inner in round_.nodes:
        scope.program.where.setdefault(inner.name, (operator, False))
    starts = [state.value for state in states]
    *ends, rows = scope.node("Scan", [*starts, x], 3, num_scan_inputs=1, body=body)
    for state, end in zip(states, ends, strict=True):
        state.output = end
    return _from_sequence(scope, operator, scope.node("Unsqueeze", [rows, scope.int64([1])]), of, ends[0])


def rnn(scope: Scope, operator: Operator, of: str) -> list[str]:
    x, weights, recurrent, bias, hidden = operator.inputs
    W, R, b = _rnn_weights(scope, weights, recurrent, bias)
    state = _state(scope, hidden, "hidden state", len(R))
    attrs = {"hidden_size": len(R), "activations": [_rnn_activation(scope, operator)]}
    inputs = [_weights(scope, array[None], name) for array, name in ((W, "W"), (R, "R"), (b, "b"))]
    first = _unsqueezed(scope, state.value)
    y, y_h = scope.node("RNN", [_sequence(scope, operator, x, of), *inputs, "", first], 2, **attrs)
    state.output = scope.node("Squeeze", [y_h, scope.int64([0])])
    return [_from_sequence(scope, operator, y, of, state.output)]


def bidirectional_lstm(scope: Scope, operator: Operator, _: str) -> list[str]:
    inputs = [*operator.inputs, *[-1] * (48 - len(operator.inputs))]
    projections = (16, 17, 33, 34)
    _refuse_given(scope, inputs, dict.fromkeys(projections, "a projection"))
    _refuse_given(scope, inputs, dict.fromkeys(range(39, 48), "an auxiliary input"))
    ways = [
        _lstm_weights(scope, inputs[at : at + 8], inputs[at + 8 : at + 11], inputs[at + 11 : at + 15]) for at in (1, 18)
    ]
    activations = _lstm_activations(scope, operator) * 2
    return _both_ways(scope, operator, "LSTM", ways, activations)


def bidirectional_rnn(scope: Scope, operator: Operator, _: str) -> list[str]:
    inputs = [*operator.inputs, *[-1] * (12 - len(operator.inputs))]
    _refuse_given(scope, inputs, dict.fromkeys(range(9, 12), "an auxiliary input"))
    ways = [(*_rnn_weights(scope, *inputs[at : at + 3]), None) for at in (1, 5)]
    return _both_ways(scope, operator, "RNN", ways, [_rnn_activation(scope, operator)] * 2)


def _both_ways(
    scope: Scope, operator: Operator, op: str, ways: Sequence[Sequence[np.ndarray | None]], activations: list[str]
) -> list[str]:
    """Forwards and backwards over a whole sequence, each call of which starts anew."""
    merged = operator.options.get("merge_outputs", False)
    if len(operator.outputs) != (1 if merged else 2):
        scope.format_error(f"merge_outputs={merged} with {len(operator.outputs)} outputs")
    stacked = []
    for name, *arrays in zip(("W", "R", "b", "P"), *ways, strict=True):
        known = [array for array in arrays if array is not None]
        if len(known) == 1 or len({array.shape for array in known[:1] + known[1:] if name != "W"}) > 1:
            scope.unsupported(f"its directions differ in {name}, which is not supported")
        stacked.append(_weights(scope, np.stack(known), name) if known else "")
    scope.program.note("both ways", id(operator))
    recurrent = ways[0][1]
    assert recurrent is not None
    units = recurrent.shape[1]
    rest = ["", "", "", stacked[3]] if stacked[3] else []
    x = _sequence(scope, operator, operator.inputs[0], "sequence")
    attrs = {"hidden_size": units, "activations": activations, "direction": "bidirectional"}
    y = scope.node(op, [x, *stacked[:3], *rest], 1, **attrs)[0]  # (time, 2, batch, units)
    parts = []
    for part in scope.node("Split", [y], 2, axis=1, num_outputs=2):
        plain = scope.node("Squeeze", [part, scope.int64([1])])
        parts.append(plain if _time_major(operator) else scope.node("Transpose", [plain], perm=[1, 0, 2]))
    return [scope.node("Concat", parts, axis=2)] if merged else parts


def svdf(scope: Scope, operator: Operator, _: str) -> list[str]:
    """Each unit's products with the inputs go through a memory of their last values, which a filter along time weighs:
    Nakkiran et al., "Compressing Deep Neural Networks using a Rank-Constrained Topology", 2015.
    """
    x, features, times, bias, *kept = operator.inputs
    if not kept:
        scope.format_error("it has 4 inputs, expected input, weights, weights along time, bias or -1, state")
    along, across = scope.array(times, "weights along time"), scope.tensor(features).shape
    rank = operator.options.get("rank", 0)
    if along.ndim != 2 or len(across) != 2 or along.shape[0] != across[0] or rank < 1 or along.shape[0] % rank:
        scope.format_error(f"weights of shape {across}, along time {list(along.shape)}, with rank {rank}")
    filters, memory = along.shape
    state = _kept(scope, kept[0], "state", [1, filters * memory])
    weights = scope.shared(features, "weights", lambda w: w.T, "transposed")
    new = scope.node("MatMul", [scope.float_value(x), weights])
    new = scope.node("Reshape", [new, scope.int64([-1, filters, 1])])
    before = scope.node("Reshape", [state.value, scope.int64([-1, filters, memory])])
    bounds = [scope.int64([n]) for n in (1, memory, 2)]
    held = scope.node("Concat", [scope.node("Slice", [before, *bounds]), new], axis=2) if memory > 1 else new
    state.output = scope.node("Reshape", [held, scope.int64([-1, filters * memory])])
    weighed = scope.node("Mul", [held, scope.shared(times, "weights along time", lambda w: w, "along time")])
    y = scope.node("ReduceSum", [weighed, scope.int64([2])], keepdims=0)
    if rank > 1:
        y = scope.node("Reshape", [y, scope.int64([-1, filters // rank, rank])])
        y = scope.node("ReduceSum", [y, scope.int64([2])], keepdims=0)
    if bias >= 0:
        y = scope.node("Add", [y, scope.float_value(bias)])
    return [scope.activated(y, operator.options.get("fused_activation_function", 0))]


# -- weights ----------------------------------------------------------------------------------------------------------


def _lstm_weights(
    scope: Scope, gates: list[int], peepholes: list[int], biases: list[int], fed_back: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """W, R, b and P of one direction. Without an input gate it is one minus the forget gate: that one, negated.

    fed_back: the size of a projected hidden state.
    """
    forget = scope.array(gates[1], "forget gate's weights") if gates[1] >= 0 else None
    if forget is None or forget.ndim != 2:
        scope.format_error("its forget gate has no weights of shape (units, inputs)")
    units, n_in = forget.shape

    def gate(i: int, shape: tuple[int, ...], what: str) -> np.ndarray:
        if i < 0:
            scope.format_error(f"{what} are missing")
        array = scope.array(i, what)
        if array.shape != shape or array.dtype != np.float32:
            scope.format_error(
                f"{what}, {scope.tensor(i).where}, have shape {list(array.shape)}, expected {list(shape)}"
            )
        return array

    coupled = gates[0] < 0
    if coupled != (gates[4] < 0) or (coupled and (biases[0] >= 0 or peepholes[0] >= 0)):
        scope.format_error("some weights of the input gate are given and some are not")
    kinds = []
    for numbers, shape, what in (
        (gates[:4], (units, n_in), "weights of the inputs"),
        (gates[4:], (units, fed_back or units), "recurrent weights"),
        (biases, (units,), "biases"),
    ):
        four = [gate(i, shape, what) for i in numbers[1:]]
        kinds.append([-four[0] if coupled else gate(numbers[0], shape, what), *four])
    W, R, b = (np.concatenate([four[g] for g in _GATES]) for four in kinds)
    P = None
    if any(i >= 0 for i in peepholes):
        two = [gate(i, (units,), "peephole weights") for i in peepholes[1:]]
        three = [-two[0] if coupled else gate(peepholes[0], (units,), "peephole weights"), *two]
        P = np.concatenate([three[g] for g in _PEEPHOLES])
    return W, R, np.concatenate([b, np.zeros_like(b)]), P


def _check_projection(scope: Scope, weights: int, bias: int, n_out: int, units: int) -> None:
    for i, shape in ((weights, [n_out, units]), (bias, [n_out])):
        if i >= 0 and scope.array(i, "projection").shape != (*shape,):
            where = scope.tensor(i).where
            scope.format_error(f"its projection, {where}, has shape {scope.tensor(i).shape}, expected {shape}")
    if weights < 0 <= bias:
        scope.format_error("it has a projection bias and no projection")


def _rnn_weights(scope: Scope, weights: int, recurrent: int, bias: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    W, R, b = (
        scope.array(i, what) for i, what in ((weights, "weights"), (recurrent, "recurrent weights"), (bias, "bias"))
    )
    units = len(W)
    if W.ndim != 2 or R.shape != (units, units) or b.shape != (units,) or {a.dtype.char for a in (W, R, b)} != {"f"}:
        scope.format_error(f"weights {list(W.shape)}, recurrent weights {list(R.shape)} and bias {list(b.shape)}")
    return W, R, np.concatenate([b, np.zeros_like(b)])


def _weights(scope: Scope, array: np.ndarray, name: str) -> str:
    return scope.constant(np.ascontiguousarray(array, np.float32), f"{scope.about}/{name}")


def _lstm_activations(scope: Scope, operator: Operator) -> list[str]:
    kind = _activation(scope, operator)
    return ["Sigmoid", kind, kind]


def _rnn_activation(scope: Scope, operator: Operator) -> str:
    return _activation(scope, operator)


def _activation(scope: Scope, operator: Operator) -> str:
    number = operator.options.get("fused_activation_function", 0)
    kind = ACTIVATIONS[number] if 0 <= number < len(ACTIVATIONS) else str(number)
    if kind not in ("TANH", "RELU"):
        scope.unsupported(f"fused_activation_function={kind} is not supported here; expected TANH or RELU")
    return kind.capitalize()


def _refuse_given(scope: Scope, inputs: list[int], what: dict[int, str]) -> None:
    for i, name in what.items():
        if inputs[i] >= 0:
            scope.unsupported(f"input {i}, {scope.tensor(inputs[i]).where}, is {name}, which is not supported")


# -- states and sequences ---------------------------------------------------------------------------------------------


def _state(scope: Scope, i: int, what: str, units: int) -> State:
    return _kept(scope, i, what, [1, units])


def _kept(scope: Scope, i: int, what: str, shape: list[int]) -> State:
    """A variable of an operator as an input and an output of the model."""
    if i < 0 or not scope.tensor(i).is_variable:
        scope.unsupported(f"its {what} is no variable, which is not supported")
    tensor = scope.tensor(i)
    if tensor.rank != len(shape) or any(n not in (m, None) for n, m in zip(tensor.shape[1:], shape[1:], strict=True)):
        scope.format_error(f"its {what}, {tensor.where}, has shape {tensor.shape}, expected (batch, {shape[1]})")
    if scope.depth > 1:
        scope.unsupported(f"its {what} is kept inside of a loop or branch, which is not supported")
    state = State(tensor.name, [tensor.shape[0] or 1, *shape[1:]], inside=True)
    state.value = scope.program.new(tensor.name)
    scope.program.states.append(state)
    return state


def _unsqueezed(scope: Scope, value: str) -> str:
    return str(scope.node("Unsqueeze", [value, scope.int64([0])]))


def _time_major(operator: Operator) -> bool:
    default = operator.op == "BIDIRECTIONAL_SEQUENCE_LSTM"
    return bool(operator.options.get("time_major", default))


def _sequence(scope: Scope, operator: Operator, x: int, of: str) -> str:
    """The input as ONNX has it, (time, batch, inputs)."""
    rank, value = scope.tensor(x).rank, scope.float_value(x)
    expected = 2 if of == "step" else 3
    if rank != expected:
        scope.format_error(f"{scope.tensor(x).where} has {rank} axes, expected {expected}")
    if of == "step":
        return _unsqueezed(scope, value)
    return value if _time_major(operator) else str(scope.node("Transpose", [value], perm=[1, 0, 2]))


def _from_sequence(scope: Scope, operator: Operator, y: str, of: str, last: str) -> str:
    """What the operator gives, of (time, 1, batch, units); of one step, its last hidden state."""
    if of == "step":
        return last
    plain = str(scope.node("Squeeze", [y, scope.int64([1])]))
    return plain if _time_major(operator) else str(scope.node("Transpose", [plain], perm=[1, 0, 2]))
