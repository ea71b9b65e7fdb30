# SPDX-License-Identifier: MIT
"""Programs over the elements of a space: what an `expression` computes (csrc/FORMAT.md, "Expressions").

A space has four axes. An operand says which element of an input, a state or an output belongs to each element of the
space; instructions follow each other for every element by itself, so that the order of elements does not matter. What
they keep for each other stands in slots. A reduction gives an output that lacks an axis.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ..activations import BY_CODE, Activation, activate
from .elementwise import BINARY
from .frames import REDUCTIONS

AXES = 4
INPUT, STATE, OUTPUT = range(3)
MAX_OPERANDS, MAX_SLOTS, MAX_INSTRUCTIONS = 64, 32, 256
#: the axes over which a reduction goes
LAST, ROWS = 3, 2

#: name -> (code in a file, number of arguments)
CODES: dict[str, tuple[int, int]] = {
    **{name: (code, 2) for code, name in enumerate(BINARY)},
    "mul_add": (11, 3),
    "where": (12, 3),
    "mul_plus": (13, 3),
    "mul_minus": (14, 3),
    "minus_mul": (15, 3),
    "mul_plus_mul": (16, 4),
    "mul_minus_mul": (17, 4),
    "copy": (18, 1),
    "activation": (32, 1),
    **{f"last_{name}": (64 + i, 1) for i, name in enumerate(REDUCTIONS)},
    "last_sum_mul": (68, 2),
    "last_sum_mul_plus_mul": (69, 4),
    "last_sum_mul_minus_mul": (70, 4),
    **{f"rows_{name}": (72 + i, 1) for i, name in enumerate(REDUCTIONS)},
    "rows_sum_mul": (76, 2),
    "rows_dot": (77, 2),
}
_NAMES = {code: name for name, (code, _) in CODES.items()}
_LAST_ACTIVATION = 63


def reduced_axis(code: str) -> int | None:
    """The axis that an instruction reduces; None for one of elements."""
    return LAST if code.startswith("last_") else ROWS if code.startswith("rows_") else None


@dataclass(frozen=True)
class Operand:
    """Element (i, j, k, l) of the space is element `offset` + i strides[0] + ... of a frame, counted row by row.

    kind: `INPUT`, `STATE` or `OUTPUT`, `index`: which of them. Strides are 0 or more, the last one 0 or 1. Those of a
    state, and of an output that no reduction gives, are those of an array of the space's shape.
    """

    kind: int
    index: int
    offset: int
    strides: tuple[int, int, int, int]


@dataclass(frozen=True)
class Instruction:
    """y = code(x ...): numbers below that of the operands are operands, those from there on slots."""

    code: str
    y: int
    x: tuple[int, ...]
    activation: Activation | None = None


@dataclass(frozen=True)
class Program:
    """See the module."""

    sizes: tuple[int, int, int, int]
    n_slots: int
    operands: tuple[Operand, ...]
    instructions: tuple[Instruction, ...]

    def count(self, kind: int) -> int:
        """How many inputs, states or outputs it has."""
        return 1 + max((o.index for o in self.operands if o.kind == kind), default=-1)

    @property
    def n_elements(self) -> int:
        return prod(self.sizes)

    @property
    def has_room(self) -> bool:
        """Whether a file may have so many operands, slots and instructions."""
        few = len(self.operands) <= MAX_OPERANDS and len(self.instructions) <= MAX_INSTRUCTIONS
        return few and self.n_slots <= MAX_SLOTS

    def wrong(self, inputs: Sequence[int], states: Sequence[int], outputs: Sequence[int]) -> str:
        """What no reader would take, given the elements of each input, state and output; "" if there is nothing."""
        return _Check(self, inputs, states, outputs).wrong()

    def pack(self, n_inputs: int, n_states: int) -> list[int]:
        """Words of a file. n_inputs: with a gate."""
        first = (0, n_inputs, n_inputs + n_states)
        words = [*self.sizes, self.n_slots, len(self.operands), len(self.instructions)]
        for o in self.operands:
            words += [first[o.kind] + o.index, o.offset, *o.strides]
        for s in self.instructions:
            x = [*s.x, 0, 0, 0, 0][:4]
            code = CODES[s.code][0]
            if s.activation is not None:
                code += s.activation.code
                x[2:] = struct.unpack("<2I", struct.pack("<2f", s.activation.alpha, s.activation.beta))
            words += [code, s.y, *x]
        return words

    @staticmethod
    def unpack(words: Sequence[int], n_inputs: int, n_states: int) -> Program:
        """Inverse of `pack`, of words that the engine has checked."""
        sizes = (words[0], words[1], words[2], words[3])
        n_slots, n_operands, n_instructions = words[4:7]
        rows = [tuple(words[i : i + 6]) for i in range(7, 7 + 6 * (n_operands + n_instructions), 6)]
        operands = []
        for base, offset, *strides in rows[:n_operands]:
            kind = INPUT if base < n_inputs else STATE if base < n_inputs + n_states else OUTPUT
            index = base - (0, n_inputs, n_inputs + n_states)[kind]
            operands.append(Operand(kind, index, offset, (strides[0], strides[1], strides[2], strides[3])))
        instructions = []
        for code, y, *x in rows[n_operands:]:
            act = None
            if CODES["activation"][0] <= code <= _LAST_ACTIVATION:
                act = Activation(BY_CODE[code - 32], *struct.unpack("<2f", struct.pack("<2I", *x[2:])))
                code = 32
            name = _NAMES[code]
            instructions.append(Instruction(name, y, tuple(x[: CODES[name][1]]), act))
        return Program(sizes, n_slots, tuple(operands), tuple(instructions))

    def evaluate(
        self, inputs: Sequence[np.ndarray], states: Sequence[np.ndarray], outputs: Sequence[int]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Outputs (n, elements) and states after it, in float64, of n frames (n, elements) that know nothing of each
        other.
        """
        n = len((*inputs, *states)[0])
        after = [np.array(s, np.float64) for s in states]
        given = [np.zeros((n, size)) for size in outputs]
        memory = ([np.ascontiguousarray(x, np.float64) for x in inputs], after, given)
        places = [_view(memory[o.kind][o.index], o, self.sizes) for o in self.operands]
        slots: dict[int, np.ndarray] = {}
        for s in self.instructions:
            x = [places[k] if k < len(places) else slots[k] for k in s.x]
            y = _result(s, x)
            if s.y >= len(places):
                slots[s.y] = np.array(np.broadcast_to(y, (n, *self.sizes)))  # a copy: what it shows may be written
            elif (axis := reduced_axis(s.code)) is not None:
                memory[OUTPUT][self.operands[s.y].index][:] = _reduced(
                    s.code, np.broadcast_to(y, (n, *self.sizes)), axis
                )
            else:
                places[s.y][...] = y
        return given, after


def _view(frames: np.ndarray, o: Operand, sizes: tuple[int, ...]) -> np.ndarray:
    strides = (frames.strides[0], *(s * frames.itemsize for s in o.strides))
    return np.lib.stride_tricks.as_strided(frames[:, o.offset :], (len(frames), *sizes), strides)


def _result(s: Instruction, x: list[np.ndarray]) -> np.ndarray:
    code = s.code.removeprefix("last_").removeprefix("rows_")
    if s.activation is not None:
        return activate(s.activation, x[0])
    if code == "where":
        return np.where(x[0] == 0, x[2], x[1])
    if code == "copy" or (reduced_axis(s.code) is not None and code in REDUCTIONS):
        return x[0]
    a, b = x[0], x[1]
    if code in BINARY:
        return np.asarray(BINARY[code](a, b), np.float64)
    if code in ("sum_mul", "dot"):
        return a * b
    if code in ("mul_add", "mul_plus"):
        return a * b + x[2]
    if code == "mul_minus":
        return a * b - x[2]
    if code == "minus_mul":
        return x[2] - a * b
    other = x[2] * x[3]
    return a * b + other if code.endswith("mul_plus_mul") else a * b - other


def _reduced(code: str, y: np.ndarray, axis: int) -> np.ndarray:
    kind = code.split("_")[1]
    return REDUCTIONS.get(kind, np.sum)(y, axis=1 + axis).reshape(len(y), prod(y.shape[1:]) // y.shape[1 + axis])


def dense_strides(sizes: Sequence[int], without: int | None = None) -> tuple[int, int, int, int]:
    """Strides of an array of the space's shape, or of that without an axis; 0 along axes of size 1 but the last."""
    strides, stride = [0] * AXES, 1
    for axis in reversed(range(AXES)):
        if axis == without:
            continue
        strides[axis] = stride if sizes[axis] != 1 or (axis == AXES - 1 and without is None) else 0
        stride *= sizes[axis]
    return strides[0], strides[1], strides[2], strides[3]


class _Check:
    def __init__(self, program: Program, inputs: Sequence[int], states: Sequence[int], outputs: Sequence[int]) -> None:
        self.p, self.frames = program, (inputs, states, outputs)
        self.n_elements = prod(program.sizes)

    def wrong(self) -> str:
        p = self.p
        if len(p.sizes) != AXES or min(p.sizes) < 1 or self.n_elements > 1 << 24:
            return f"its space is {p.sizes}, expected {AXES} sizes of at least 1, and at most {1 << 24} elements"
        if not (1 <= len(p.operands) <= MAX_OPERANDS and 1 <= len(p.instructions) <= MAX_INSTRUCTIONS):
            counts = f"{len(p.operands)} operands and {len(p.instructions)} instructions"
            return f"has {counts}, expected 1 to {MAX_OPERANDS} and 1 to {MAX_INSTRUCTIONS}"
        if not 0 <= p.n_slots <= MAX_SLOTS:
            return f"has {p.n_slots} slots, expected 0 to {MAX_SLOTS}"
        for kind in (INPUT, STATE, OUTPUT):
            if {o.index for o in p.operands if o.kind == kind} != set(range(len(self.frames[kind]))):
                return (
                    f"has {len(self.frames[kind])} {('inputs', 'states', 'outputs')[kind]}, but not an operand for each"
                )
        return next((said for o in p.operands if (said := self._operand(o))), "") or self._instructions()

    def _operand(self, o: Operand) -> str:
        size = self.frames[o.kind][o.index]
        last = o.offset + sum((n - 1) * s for n, s in zip(self.p.sizes, o.strides, strict=True))
        if min(o.offset, *o.strides) < 0 or o.strides[3] > 1 or last >= size:
            return f"{o} leaves its frame of {size} elements, or its last stride is neither 0 nor 1"
        if o.kind == STATE:
            near = (q for q in self.p.operands if q.kind == STATE and q.index == o.index and q.offset != o.offset)
            if not self._is_dense(o, None) or any(abs(q.offset - o.offset) < self.n_elements for q in near):
                return f"{o} is not of the space's shape, or overlaps another one of its state"
        if o.kind == OUTPUT:
            axes = [a for a in (None, LAST, ROWS) if self._is_dense(o, a)]
            sizes = [self.n_elements // (1 if a is None else self.p.sizes[a]) for a in axes]
            if (
                o.offset
                or size not in sizes
                or sum(q.kind == OUTPUT and q.index == o.index for q in self.p.operands) > 1
            ):
                return f"{o} is not all of its output, or not the only one of it"
        return ""

    def _is_dense(self, o: Operand, without: int | None) -> bool:
        wanted = dense_strides(self.p.sizes, without)
        return all(
            s == w or (n == 1 and a != without)
            for a, (s, w, n) in enumerate(zip(o.strides, wanted, self.p.sizes, strict=True))
        )

    def _instructions(self) -> str:
        p, n = self.p, len(self.p.operands)
        written: set[int] = set()
        for s in p.instructions:
            if (
                s.code not in CODES
                or len(s.x) != CODES[s.code][1]
                or (s.code == "activation") != (s.activation is not None)
            ):
                return f"{s} is no instruction"
            if not all(0 <= k < n + p.n_slots for k in (s.y, *s.x)):
                return f"{s} names what there is not"
            for k in s.x:
                is_output = k < n and p.operands[k].kind == OUTPUT
                if (k >= n or is_output) and k not in written:
                    return f"{s} reads what was not written"
                if is_output and not self._is_dense(p.operands[k], None):
                    return f"{s} reads what a reduction gives"
            axis = reduced_axis(s.code)
            if s.y < n:
                o = p.operands[s.y]
                if (
                    o.kind == INPUT
                    or not self._is_dense(o, axis)
                    or (axis is not None and (o.kind == STATE or s.y in written))
                ):
                    return f"{s} writes to what is not of its shape"
            elif axis is not None:
                return f"{s} is a reduction, and writes to a slot"
            written.add(s.y)
        missing = [o for k, o in enumerate(p.operands) if o.kind == OUTPUT and k not in written]
        return f"{missing[0]} is not written" if missing else ""
