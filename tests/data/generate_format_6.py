# SPDX-License-Identifier: MIT
"""Writes tests/data/format_6: a file of format version 6, and what it gives by the oracle of bits.

    python tests/data/generate_format_6.py          (needs the installed package)

Numbers follow a formula, as every machine has them. The file is kept: whatever writes it later, that of today is read
for ever. expected.npz is csrc/FORMAT.md, "Expressions", in the operations of tests/oracle_bits.py: every instruction
and activation, with states, and a gate. Only what is not there is written.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent / "format_6"
sys.path.insert(0, str(HERE.parents[1]))

import oracle_bits as bits  # noqa: E402
from data.generate_format_4 import numbers  # noqa: E402
from undertow.compile import compile_graph  # noqa: E402
from undertow.ir.activations import KINDS, Activation  # noqa: E402
from undertow.ir.graph import Graph  # noqa: E402
from undertow.ir.ops.programs import (  # noqa: E402
    CODES,
    INPUT,
    LAST,
    OUTPUT,
    STATE,
    Instruction,
    Operand,
    Program,
    dense_strides,
    reduced_axis,
)

#: of the space: a row is a panel and one more
SIZES = (2, 1, 3, 17)
N = 2 * 3 * 17
REDUCTIONS = [name for name in CODES if reduced_axis(name) is not None]
#: alpha and beta where they say something
OPTIONS = {"clip": (-0.75, 0.5), "leaky_relu": (0.125, 0.0)}


def program() -> Program:
    """Slots: t, u, v, w. Whatever one instruction gives goes into u, which the state takes."""
    whole = dense_strides(SIZES)
    operands = [
        Operand(INPUT, 0, 0, whole),
        Operand(INPUT, 1, 0, (3, 0, 1, 0)),  # a number for each row
        Operand(INPUT, 2, 1, (0, 0, 0, 1)),  # one for each column
        Operand(STATE, 0, 0, whole),
        Operand(STATE, 0, N, whole),
        Operand(OUTPUT, 0, 0, whole),
    ]
    operands += [
        Operand(OUTPUT, 1 + i, 0, dense_strides(SIZES, reduced_axis(name))) for i, name in enumerate(REDUCTIONS)
    ]
    t, u, v, w = range(len(operands), len(operands) + 4)
    steps = [Instruction("activation", t, (0,), Activation("tanh")), Instruction("mul", u, (1, 2))]
    tamed = (  # t in place of NaN
        Instruction("equal", w, (v, v)),
        Instruction("where", v, (w, v, t)),
        Instruction("activation", v, (v,), Activation("tanh")),
    )
    arguments = (t, 1, 2, 0, 4)
    for i, (name, (_, n)) in enumerate(CODES.items()):
        if name not in REDUCTIONS and name != "activation":
            steps.append(Instruction(name, v, tuple(arguments[(i + k) % 5] for k in range(n))))
            steps += [*tamed, Instruction("mul_add", u, (1, v, u))]
    for i, name in enumerate(KINDS):
        steps.append(
            Instruction("activation", v, (arguments[i % 5],), Activation(name, *OPTIONS.get(name, (0.5, 0.25))))
        )
        steps += [*tamed, Instruction("mul_plus", u, (2, v, u))]
    steps += [
        Instruction("activation", u, (u,), Activation("tanh")),
        Instruction("mul_plus_mul", 3, (1, 3, u, 0)),
        Instruction("activation", 4, (3,), Activation("sigmoid")),
        Instruction("activation", 3, (3,), Activation("softsign")),
        Instruction("minus_mul", 5, (4, 3, u)),
    ]
    factors = (u, 3, 1, 4)
    steps += [Instruction(name, 6 + i, factors[: CODES[name][1]]) for i, name in enumerate(REDUCTIONS)]
    return Program(SIZES, 4, tuple(operands), tuple(steps))


def held() -> Program:
    """A sum of the frames that its gate lets in."""
    column = (0, 0, 0, 1)
    operands = (Operand(INPUT, 0, 0, column), Operand(STATE, 0, 0, column), Operand(OUTPUT, 0, 0, column))
    return Program((1, 1, 1, 6), 0, operands, (Instruction("add", 1, (0, 1)), Instruction("copy", 2, (1,))))


def start() -> np.ndarray:
    return numbers(2 * N, seed=5)


def sizes_of_outputs() -> list[int]:
    return [N, *(N // SIZES[reduced_axis(name) or 0] for name in REDUCTIONS)]


def graph() -> Graph:
    g = Graph("expressions")
    x, y, z = g.input("x", N), g.input("y", 6), g.input("z", 18)
    attrs = {"program": program(), "shapes": [(n,) for n in sizes_of_outputs()]}
    values = g.add("expression", [x, y, z], name="every", attrs=attrs, states=[g.state("every.s", (2 * N,), start())])
    for name, value in zip(["whole", *REDUCTIONS], values, strict=True):
        g.output(name, value)
    gate = g.add("select", [z], weights={"indices": np.array([0])})
    attrs = {"program": held(), "shapes": [(6,)]}
    g.output("held", g.add("expression", [y, gate], name="held", attrs=attrs, states=[g.state("held.s", 6)]))
    return g


def frames() -> dict[str, np.ndarray]:
    """Ordinary ones, silence, numbers near the ends of float32, subnormal ones; the gate is shut in some."""
    X = {"x": numbers(8, N, seed=7), "y": numbers(8, 6, seed=8), "z": numbers(8, 18, seed=9)}
    X["x"][1], X["x"][2] = 0, X["x"][2] * np.float32(2.0**120)
    X["x"][3] *= np.float32(2.0**-125)
    X["z"][:, 0] = [1, 0, -2, 0, 1e-40, 1, -0.0, 3]
    return X


# -- what they give, of float32 operations -----------------------------------------------------------------------------


def _most(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(a), a, bits.most(a, b))


def _least(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(a), a, bits.least(a, b))


_BINARY = {
    "add": bits.add,
    "sub": bits.sub,
    "mul": bits.mul,
    "div": bits.div,
    "max": _most,
    "min": _least,
    **{
        name: lambda a, b, f=f: f(bits.flushed(a), bits.flushed(b)).astype(np.float32)
        for name, f in {
            "greater": np.greater,
            "less": np.less,
            "equal": np.equal,
            "greater_equal": np.greater_equal,
            "less_equal": np.less_equal,
        }.items()
    },
}
_MORE = {
    "mul_add": bits.fma,
    "where": lambda a, b, c: bits.flushed(np.where(bits.flushed(a) != 0, b, c)),
    "mul_plus": lambda a, b, c: bits.add(bits.mul(a, b), c),
    "mul_minus": lambda a, b, c: bits.sub(bits.mul(a, b), c),
    "minus_mul": lambda a, b, c: bits.sub(c, bits.mul(a, b)),
    "mul_plus_mul": lambda a, b, c, d: bits.add(bits.mul(a, b), bits.mul(c, d)),
    "mul_minus_mul": lambda a, b, c, d: bits.sub(bits.mul(a, b), bits.mul(c, d)),
    "copy": lambda a: a,
}
_JOINED = {"sum": (bits.add, 0.0), "max": (_most, -np.inf), "min": (_least, np.inf), "prod": (bits.mul, 1.0)}


def _joined(name: str, x: Sequence[np.ndarray]) -> np.ndarray:
    kind, _, product = name.split("_", 1)[1].partition("_")
    if kind == "dot":
        y = np.zeros((2, 1, 17), np.float32)
        for k in range(SIZES[2]):
            y = bits.fma(x[0][:, :, k], x[1][:, :, k], y)
        return y
    v = _MORE[f"mul_{product.split('_')[1]}_mul"](*x) if product.count("_") else bits.mul(*x) if product else x[0]
    op, first = _JOINED[kind]
    if reduced_axis(name) == LAST:
        return bits.total(v, op, first)
    y = np.full((2, 1, 17), first, np.float32)
    for k in range(SIZES[2]):
        y = op(y, v[:, :, k])
    return y


def _step(
    p: Program, inputs: Sequence[np.ndarray], states: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
) -> None:
    memory = {INPUT: inputs, STATE: states, OUTPUT: outputs}
    places = []
    for o in p.operands:
        at = o.offset + sum(s * i for s, i in zip(o.strides, np.indices(p.sizes), strict=True))
        places.append((memory[o.kind][o.index], at))
    slots: dict[int, np.ndarray] = {}
    for s in p.instructions:
        x = [slots[k] if k >= len(places) else places[k][0][places[k][1]] for k in s.x]
        if s.activation is not None:
            y = bits.activation(s.activation.kind, s.activation.alpha, s.activation.beta)(x[0])
        elif (axis := reduced_axis(s.code)) is not None:
            frame, at = places[s.y]
            frame[np.take(at, 0, axis)] = _joined(s.code, x)
            continue
        else:
            y = (_BINARY | _MORE)[s.code](*x)
        if s.y >= len(places):
            slots[s.y] = np.asarray(y, np.float32)
        else:
            frame, at = places[s.y]
            frame[at] = y


def expected() -> dict[str, np.ndarray]:
    X, every, gated = frames(), program(), held()
    state, total = start(), np.zeros(6, np.float32)
    rows: dict[str, list] = {name: [] for name in ("whole", *REDUCTIONS, "held")}
    with np.errstate(all="ignore"):
        for x, y, z in zip(X["x"], X["y"], X["z"], strict=True):
            outputs = [np.zeros(n, np.float32) for n in sizes_of_outputs()]
            _step(every, (x, y, z), (state,), outputs)
            for name, row in zip(("whole", *REDUCTIONS), outputs, strict=True):
                rows[name].append(row)
            row = np.zeros(6, np.float32)
            if bits.flushed(z[0]) != 0:
                _step(gated, (y,), (total,), (row,))
            rows["held"].append(row)
    return {name: np.array(row, np.float32) for name, row in rows.items()}


def main() -> None:
    HERE.mkdir(exist_ok=True)
    path, data = HERE / "expressions.tow", compile_graph(graph())
    if path.exists():
        print(f"{path.name}: {'the same bytes' if path.read_bytes() == data else 'OTHER BYTES than those kept'}")
    else:
        path.write_bytes(data)
    if not (HERE / "expected.npz").exists():
        np.savez_compressed(HERE / "expected.npz", **expected())


if __name__ == "__main__":
    main()
