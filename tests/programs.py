# SPDX-License-Identifier: MIT
"""Programs of expressions: random ones, the same as separate ops, and what they may give."""

from math import prod

import numpy as np

from bounds import Ball, activation, add, div, exact, mul, mul_add, normal, rounded, total
from undertow.ir.activations import KINDS, Activation
from undertow.ir.graph import Graph
from undertow.ir.ops.programs import INPUT, LAST, OUTPUT, ROWS, STATE, Instruction, Operand, Program, dense_strides

BINARY = ("add", "sub", "mul", "div", "max", "min", "greater", "less", "equal", "greater_equal", "less_equal")
PRODUCTS = ("mul_plus", "mul_minus", "minus_mul", "mul_plus_mul", "mul_minus_mul", "mul_add")
N_ARGUMENTS = {**dict.fromkeys(BINARY, 2), "where": 3, "copy": 1, "activation": 1, **dict.fromkeys(PRODUCTS, 3)}
N_ARGUMENTS |= {"mul_plus_mul": 4, "mul_minus_mul": 4}
REDUCTIONS = {
    **dict.fromkeys(("last_sum", "last_max", "last_min", "last_prod"), 1),
    "last_sum_mul": 2,
    "last_sum_mul_plus_mul": 4,
    "last_sum_mul_minus_mul": 4,
    **dict.fromkeys(("rows_sum", "rows_max", "rows_min", "rows_prod"), 1),
    "rows_sum_mul": 2,
    "rows_dot": 2,
}
#: activations that keep a state near 1
TAME = ("tanh", "sigmoid", "softsign", "sin")


def offsets(operand: Operand, sizes: tuple[int, ...]) -> np.ndarray:
    """(sizes), which element of its frame belongs to each of the space."""
    at = np.full(sizes, operand.offset)
    for axis, stride in enumerate(operand.strides):
        at = at + stride * np.arange(sizes[axis]).reshape([-1 if a == axis else 1 for a in range(4)])
    return at


# -- random -----------------------------------------------------------------------------------------------------------


def random_operand(rng: np.random.Generator, kind: int, index: int, size: int, sizes: tuple[int, ...]) -> Operand:
    """Elements of a frame of `size`, as far as they reach."""
    strides = [0, 0, 0, 0]
    left = size - 1
    for axis in rng.permutation(4):
        most = left // (sizes[axis] - 1) if sizes[axis] > 1 else 0
        wanted = (0, 1) if axis == LAST else (0, 1, sizes[3], sizes[3] * sizes[2], int(rng.integers(0, 9)))
        strides[axis] = int(rng.choice([s for s in wanted if s <= most]))
        left -= (sizes[axis] - 1) * strides[axis]
    return Operand(kind, index, int(rng.integers(left + 1)), tuple(strides))


def random_program(
    rng: np.random.Generator, inputs: list[int], n_states: int, *, smooth: bool = False, most: int = 300
) -> tuple[Program, list[int], list[tuple[int, ...]]]:
    """A program, the elements of its states, and the shapes of its outputs."""
    while True:
        sizes = tuple(int(n) for n in rng.choice((1, 1, 2, 3, 5, 8, 15, 16, 17, 33, 64), 4))
        if prod(sizes) <= most:
            break
    n, space = prod(sizes), dense_strides(sizes)
    operands = [random_operand(rng, INPUT, i, size, sizes) for i, size in enumerate(inputs)]
    operands += [random_operand(rng, INPUT, i, size, sizes) for i, size in enumerate(inputs) if rng.random() < 0.5]
    slices = [int(rng.integers(1, 3)) for _ in range(n_states)]
    states = len(operands)
    operands += [Operand(STATE, i, k * n, space) for i, count in enumerate(slices) for k in range(count)]
    first_output = len(operands)
    known = list(range(first_output))  # what may be read
    reductions = [r for r in REDUCTIONS if not smooth or "prod" not in r]
    n_outputs = int(rng.integers(1, 4))
    wanted = [rng.choice(["whole", "reduced"]) for _ in range(n_outputs)]
    plan, shapes = [], []
    for i, form in enumerate(wanted):
        code = str(rng.choice(reductions)) if form == "reduced" else ""
        axis = None if not code else LAST if code.startswith("last") else ROWS
        operands.append(Operand(OUTPUT, i, 0, dense_strides(sizes, axis)))
        shapes.append(
            tuple(s for a, s in enumerate(sizes) if a != axis)
            if rng.random() < 0.5
            else (n // (sizes[axis] if axis else 1),)
        )
        plan.append(code)
    n_slots = int(rng.integers(1, 5))
    first_slot = len(operands)
    instructions: list[Instruction] = []

    def arguments(count: int) -> tuple[int, ...]:
        return tuple(int(k) for k in rng.choice(known, count))

    def write(y: int, tame: bool = False) -> None:
        code = "activation" if tame else str(rng.choice(list(N_ARGUMENTS)))
        if smooth and code in ("div", "where", *BINARY[6:]):
            code = "mul_plus_mul"
        act = None
        if code == "activation":
            kinds = TAME if tame or smooth else tuple(KINDS)
            act = Activation(str(rng.choice(kinds)))
        instructions.append(Instruction(code, y, arguments(N_ARGUMENTS[code]), act))
        if y not in known:
            known.append(y)

    for slot in range(n_slots):
        write(first_slot + slot)
    for _ in range(int(rng.integers(0, 5))):
        write(first_slot + int(rng.integers(n_slots)))
    for i, code in enumerate(plan):
        if code:
            instructions.append(Instruction(code, first_output + i, arguments(REDUCTIONS[code])))
        else:
            write(first_output + i)
    for k in range(states, first_output):
        if rng.random() < 0.9:
            write(k, tame=True)
    used = {k for s in instructions for k in (s.y, *s.x)}
    missing = [k for k in range(first_output) if k not in used]
    for k in missing:  # whatever has an operand is read somewhere
        instructions.append(Instruction("copy", first_slot, (k,)))
    return Program(sizes, n_slots, tuple(operands), tuple(instructions)), [n * c for c in slices], shapes


# -- as separate ops --------------------------------------------------------------------------------------------------


def apart(graph: Graph, program: Program, inputs: list[str], states: list[str]) -> list[str]:
    """Nodes that compute what an expression does, of registers where it has states; gives the outputs, flat."""
    n = prod(program.sizes)
    held = {s: graph.add("state_read", states=[s]) for s in states}
    memory = {}

    def take(value: str, indices: np.ndarray) -> str:
        return graph.add("select", [value], weights={"indices": indices.reshape(-1)})

    for k, o in enumerate(program.operands):
        if o.kind != OUTPUT:
            memory[k] = take(inputs[o.index] if o.kind == INPUT else held[states[o.index]], offsets(o, program.sizes))
    outputs = {}
    for s in program.instructions:
        made = _nodes(graph, program, s, [memory[k] for k in s.x])
        same = [s.y]
        if s.y < len(program.operands) and program.operands[s.y].kind != OUTPUT:
            same = [k for k, o in enumerate(program.operands) if o == program.operands[s.y]]
        memory.update(dict.fromkeys(same, made))
        if s.y < len(program.operands) and program.operands[s.y].kind == OUTPUT:
            outputs[program.operands[s.y].index] = made
    for i, state in enumerate(states):
        parts = sorted({(o.offset, k) for k, o in enumerate(program.operands) if (o.kind, o.index) == (STATE, i)})
        written = graph.add("concat", [memory[k] for _, k in parts])
        graph.add("state_write", [graph.add("reshape", [written], attrs={"shape": (n * len(parts),)})], states=[state])
    return [outputs[i] for i in range(len(outputs))]


def _nodes(graph: Graph, program: Program, s: Instruction, x: list[str]) -> str:
    n = prod(program.sizes)

    def add_node(op: str, *values: str, **more) -> str:
        return graph.add(op, values, **more)

    code = s.code
    if s.activation is not None:
        return add_node("activation", *x, attrs={"activation": s.activation})
    if code == "copy":
        return add_node("reshape", *x, attrs={"shape": (n,)})
    if code == "mul_add":  # a chain of two steps, of which the first adds c to 0
        a, b, c = (add_node("reshape", v, attrs={"shape": (n, 1, 1)}) for v in x)
        one = add_node("reshape", graph.add("constant", weights={"value": np.ones(n)}), attrs={"shape": (n, 1, 1)})
        rows = add_node("select", c, a, weights={"indices": np.arange(2 * n).reshape(2, n).T.reshape(n, 1, 2)})
        columns = add_node("select", one, b, weights={"indices": np.arange(2 * n).reshape(2, n).T.reshape(n, 2, 1)})
        return add_node("reshape", add_node("matmul", rows, columns), attrs={"shape": (n,)})
    if code in (*BINARY, "where"):
        return add_node(code, *x)
    if code.startswith(("last_", "rows_")):
        return _reduced(graph, program, code, x)
    product = add_node("mul", x[0], x[1])
    if code == "minus_mul":
        return add_node("sub", x[2], product)
    other = add_node("mul", x[2], x[3]) if code.endswith(("mul_plus_mul", "mul_minus_mul")) else x[2]
    return add_node("add" if "plus" in code else "sub", product, other)


def _reduced(graph: Graph, program: Program, code: str, x: list[str]) -> str:
    a, b, c, d = program.sizes
    kind = code.split("_", 1)[1]
    if kind == "dot":
        left = graph.add("reshape", [x[0]], attrs={"shape": (a * b, c, d)})
        right = graph.add("reshape", [x[1]], attrs={"shape": (a * b, c, d)})
        columns = [  # one product for each column
            np.arange(a * b * c * d).reshape(a * b, c, d).transpose(0, 2, 1).reshape(a * b * d, *shape)
            for shape in ((1, c), (c, 1))
        ]
        rows = [graph.add("select", [v], weights={"indices": i}) for v, i in zip((left, right), columns, strict=True)]
        return str(graph.add("reshape", [graph.add("matmul", rows)], attrs={"shape": (a * b * d,)}))
    value = x[0]
    if kind.startswith("sum_mul"):
        value = graph.add("mul", x[:2])
    if kind in ("sum_mul_plus_mul", "sum_mul_minus_mul"):
        value = graph.add("add" if "plus" in kind else "sub", [value, graph.add("mul", x[2:])])
    last = code.startswith("last_")
    shape = (a * b * c, d, 1) if last else (a * b, c, d)
    if not last and d == 1:  # another order of the sum, where a frame has one column: in pairs with a second one
        doubled = graph.add("select", [value], weights={"indices": np.repeat(np.arange(a * b * c), 2)})
        value = graph.add("reshape", [doubled], attrs={"shape": (a * b, c, 2)})
        y = graph.add("reduce", [value], attrs={"kind": kind.split("_")[0]})
        return str(graph.add("select", [y], weights={"indices": 2 * np.arange(a * b)}))
    value = graph.add("reshape", [value], attrs={"shape": shape})
    y = graph.add("reduce", [value], attrs={"kind": kind.split("_")[0]})
    return str(graph.add("reshape", [y], attrs={"shape": (a * b * c * d // (d if last else c),)}))


# -- what they may give -----------------------------------------------------------------------------------------------

TINY_PRODUCT = 2.0**-120


def balls(
    program: Program, inputs: list[Ball], states: list[Ball], outputs: list[int]
) -> tuple[list[Ball], list[Ball]]:
    """Outputs and states of one timestep of n frames; all (n, elements)."""
    n, at = len((inputs or states)[0].v), [offsets(o, program.sizes) for o in program.operands]
    after = [Ball(s.v.copy(), s.e.copy()) for s in states]
    given = [Ball(np.zeros((n, size)), np.zeros((n, size))) for size in outputs]
    memory = (inputs, after, given)
    slots: dict[int, Ball] = {}

    def read(k: int) -> Ball:
        if k in slots:
            return slots[k]
        o = program.operands[k]
        b = memory[o.kind][o.index]
        b = Ball(normal(b.v), b.e)
        return b[:, at[k]]

    for s in program.instructions:
        y = _ball(s, [read(k) for k in s.x])
        if s.y >= len(program.operands):
            slots[s.y] = y
            continue
        o = program.operands[s.y]
        axis = LAST if s.code.startswith("last_") else ROWS if s.code.startswith("rows_") else None
        if axis is not None:
            y = _joined(s.code.split("_")[1], y, axis + 1)
            given[o.index].v[:], given[o.index].e[:] = y.v.reshape(n, -1), y.e.reshape(n, -1)
        else:
            memory[o.kind][o.index].v[:, at[s.y].reshape(-1)] = y.v.reshape(n, -1)
            memory[o.kind][o.index].e[:, at[s.y].reshape(-1)] = y.e.reshape(n, -1)
    return given, after


def _ball(s: Instruction, x: list[Ball]) -> Ball:
    code = s.code.removeprefix("last_").removeprefix("rows_")
    if s.activation is not None:
        return activation(s.activation, x[0])
    if len(x) == 1:
        return x[0]
    a, b = x[:2]
    if code == "where":
        unsure = (np.abs(a.v) <= a.e) & (a.e > 0)
        y = Ball(np.where(a.v == 0, x[2].v, b.v), np.where(a.v == 0, x[2].e, b.e))
        return Ball(y.v, np.where(unsure, np.inf, y.e))
    if code in ("max", "min"):
        return Ball((np.maximum if code == "max" else np.minimum)(a.v, b.v), np.maximum(a.e, b.e))
    if code in COMPARISONS:
        unsure = (np.abs(a.v - b.v) <= a.e + b.e) & (a.e + b.e > 0)
        return Ball(COMPARISONS[code](a.v, b.v).astype(float), np.where(unsure, np.inf, 0.0))
    if code in ("add", "sub"):
        return add(a, b, 1.0 if code == "add" else -1.0)
    if code == "div":
        return div(a, b)
    if code in ("mul", "sum_mul", "dot"):
        return mul(a, b)
    if code == "mul_add":
        return mul_add(a, b, x[2])
    if code == "minus_mul":
        return add(x[2], mul(a, b), -1.0)
    other = mul(x[2], x[3]) if len(x) == 4 else x[2]
    return add(mul(a, b), other, 1.0 if "plus" in code else -1.0)


COMPARISONS = {
    "greater": np.greater,
    "less": np.less,
    "equal": np.equal,
    "greater_equal": np.greater_equal,
    "less_equal": np.less_equal,
}


def _joined(kind: str, x: Ball, axis: int) -> Ball:
    if kind in ("sum", "dot"):
        return total(x, axis)
    if kind == "prod":
        largest = np.multiply.accumulate(np.maximum(np.abs(x.v) + x.e, 1.0), axis=axis).max(axis=axis)
        y = rounded(x.v.prod(axis=axis), 0.0, n=1.01 * x.v.shape[axis])
        e = np.where((x.e == 0).all(axis=axis) & (largest < 1e17), y.e + TINY_PRODUCT * largest, np.inf)
        return Ball(y.v, e)
    return Ball((x.v.max if kind == "max" else x.v.min)(axis=axis), x.e.max(axis=axis))


__all__ = ["apart", "balls", "exact", "random_program"]
