# SPDX-License-Identifier: MIT
"""What the C of a model is collected in: functions, constants, where each frame lies, and the lines of one step."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from ...ir.activations import Activation
from ...ir.graph import Graph
from ...ir.nodes import Node
from ...ir.ops import OPS
from . import numerics
from .text import C_TYPES, array, comment, identifier

_WIDTH = 118
#: names that the C of every model has already
_RESERVED = ("fused", "root_of", "s", "work", "frame", "step", "frames_of_zeros", "V", "B")


@dataclass
class Buffer:
    """Numbers that live from one node to another in the scratch of the state: float32."""

    size: int
    first: int
    last: int
    offset: int = -1


@dataclass(frozen=True)
class Place:
    """Where a frame lies: so many numbers behind what an expression points to, or behind the start of a buffer."""

    base: str
    offset: int = 0
    buffer: Buffer | None = None

    def at(self, offset: int) -> Place:
        return Place(self.base, self.offset + offset, self.buffer)

    @property
    def text(self) -> str:
        """The pointer, as an expression."""
        start = self.offset if self.buffer is None else self.offset + self.buffer.offset
        return f"{self.base} + {start}" if start else self.base

    @property
    def operand(self) -> str:
        """The same where something is added to it or indexed."""
        return f"({self.text})" if "+" in self.text else self.text


class Lines:
    """Lines of C with their indentation."""

    def __init__(self, depth: int = 1) -> None:
        self.lines: list[str] = []
        self.depth = depth
        self._alone = 0
        self._closing: list[int] = []

    def __call__(self, *lines: str) -> None:
        """Add lines; one that begins with a closing brace stands one step further out, what follows an open one in.
        So does the one line behind a condition or a loop without braces.
        """
        for line in lines:
            if line.startswith("#"):
                self.lines.append(line)
                continue
            if line.startswith("}"):
                self.depth -= 1
            self.lines += wrapped(line, "  " * (self.depth + self._alone))
            if line.endswith("{"):
                self.depth += 1 + self._alone
                self._closing.append(self._alone)
                self._alone = 0
            elif line.startswith(("for (", "if (", "else")) and not line.endswith(";"):
                self._alone += 1
            else:
                self._alone = 0
            if line.startswith("}") and self._closing:
                self.depth -= self._closing.pop()

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def wrapped(line: str, indent: str = "") -> list[str]:
    """A line of C, broken behind commas where it is long."""
    lines = []
    while len(indent) + len(line) > _WIDTH and (at := line.rfind(", ", 0, _WIDTH - len(indent))) > 0:
        lines.append(f"{indent}{line[: at + 1]}")
        if len(lines) == 1:
            indent += "    "
        line = line[at + 2 :]
    return [*lines, indent + line]


@dataclass
class Program:
    """The C of one graph, as far as it is known.

    Attributes:
        places: of values, by name.
        fields: of the state: C name -> (C type, numbers, what it is).
        starts: what a reset puts into a field, where that is not zeros: C name -> constant array.
        frame_size: 16-bit integers of the frames that meet weights of integers, at most.
        n_zeros: zeros that chains without a bias begin at, at most.
        now: the number of the node that is placed or written.
        own: of each node, what it keeps from one round to the other.
        last_use: of values, the number of the last node that reads them; of outputs of the model, one behind all.
        flushes: whether a call may be one behind the end of the sequence.
        window_fields: states of windows -> (field, where in it the past begins, the field that says where a ring does).
        direct: values that are written where the caller wants an output -> that pointer.
        constants: name -> the text of an array, and its bytes.
        turns: arguments of calls -> how often loops turn there, where no number among them says so; for `costs`.
    """

    graph: Graph
    name: str
    places: dict[str, Place] = field(default_factory=dict)
    fields: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    starts: dict[str, str] = field(default_factory=dict)
    buffers: list[Buffer] = field(default_factory=list)
    constants: dict[str, tuple[str, int]] = field(default_factory=dict)
    frame_size: int = 0
    n_zeros: int = 0
    now: int = 0
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    last_use: dict[str, int] = field(default_factory=dict)
    flushes: bool = False
    window_fields: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    direct: dict[str, str] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    step: Lines = field(default_factory=Lines)
    _needed: set[str] = field(default_factory=set)
    _lanes: set[str] = field(default_factory=set)
    _functions: dict[str, str] = field(default_factory=dict)
    _names: set[str] = field(default_factory=lambda: {*_RESERVED})
    _arrays: dict[tuple[bytes, str], str] = field(default_factory=dict)
    _states: dict[str, str] = field(default_factory=dict)
    _activations: dict[Activation, str] = field(default_factory=dict)

    # -- functions and constants --------------------------------------------------------------------------------------

    def need(self, *names: str) -> None:
        """Take functions out of the engine's headers."""
        self._needed |= {*names}

    def has_lanes(self, names: Iterable[str]) -> bool:
        """Whether there are functions of 4 lanes for all of these, activations of this file among them."""
        return {*names} <= numerics.lane_names() | {*self._activations.values()}

    def need_lanes(self, *names: str) -> None:
        """Take functions of 4 lanes out of the headers, or make those of activations; they are called name_4."""
        for act, name in self._activations.items():
            if name in names:
                text, needs = numerics.activation(act, name, lanes=True)
                self.function(f"{name}_4", text)
                self._lanes |= needs
        self._lanes |= {*names} - {*self._activations.values()}

    def function(self, name: str, text: str, needs: Iterable[str] = ()) -> str:
        """A function of this file, once; gives its name."""
        self.need(*needs)
        self._functions.setdefault(name, text)
        self._names.add(name)
        return name

    def activation(self, act: Activation) -> str:
        """The name of a function that computes an activation; "" of the identity."""
        if act.kind == "identity":
            return ""
        if act not in self._activations:
            name = identifier(f"act_{act.kind}", self._names)
            text, needs = numerics.activation(act, name)
            self._activations[act] = self.function(name, text, needs)
        return self._activations[act]

    def unique(self, name: str) -> str:
        """An identifier of this file that nothing else has."""
        name = identifier(name, self._names)
        self._names.add(name)
        return name

    def constant(self, name: str, values: np.ndarray, note: str = "", macro: str = "") -> str:
        """A constant array, once for equal numbers; gives its name. macro: what each number is given to."""
        if values.dtype not in C_TYPES:
            values = values.astype(np.float32)
        values = np.ascontiguousarray(values)
        key = (values.tobytes(), C_TYPES[values.dtype] + macro)
        if key not in self._arrays:
            self._arrays[key] = self.unique(name)
            self.constants[self._arrays[key]] = array(self._arrays[key], values, note, macro), values.nbytes
        return self._arrays[key]

    @property
    def weight_bytes(self) -> int:
        return sum(size for _, size in self.constants.values())

    def forget_unread(self) -> None:
        """Leave out constants that nothing reads, as numbers that stand in an expression: compilers warn of them."""
        read = set(re.findall(r"\w+", f"{self.step.text} {self.functions} {self.starts.values()}"))
        self.constants = {name: array for name, array in self.constants.items() if name in read}

    @property
    def functions(self) -> str:
        """Functions of the headers, then of this file."""
        of_headers = numerics.functions(sorted(self._needed)) + numerics.lanes(sorted(self._lanes))
        return of_headers + "\n" + "\n".join(self._functions.values())

    # -- where numbers lie ---------------------------------------------------------------------------------------------

    def size(self, value: str) -> int:
        return self.graph.values[value].size

    def at(self, value: str, offset: int = 0) -> Place:
        return self.places[value].at(offset)

    def buffer(self, size: int, last: int | None = None) -> Place:
        """Scratch from this node on, to its end or the end of another."""
        buffer = Buffer(size, self.now, self.now if last is None else last)
        self.buffers.append(buffer)
        return Place("s->work", 0, buffer)

    def may_be_constant(self, value: str) -> bool:
        """Whether a compiler may know numbers of a value: a constant, or what holds some of one."""
        if self.graph.values[value].once:
            return True
        maker = next((node for node in self.graph.nodes if value in node.outputs), None)
        return maker is not None and OPS[maker.op].moves and any(map(self.may_be_constant, maker.inputs))

    def is_used(self, value: str) -> bool:
        return value in self.last_use

    def is_direct(self, value: str) -> bool:
        """Whether a value is written where the caller wants it."""
        return value in self.direct

    def new(self, value: str) -> Place:
        """A place for a value that a node computes: in scratch, or where the caller wants it."""
        if value in self.direct:
            self.places[value] = Place(self.direct[value])
        else:
            self.places[value] = self.buffer(self.size(value), self.last_use.get(value, self.now))
        return self.places[value]

    def show(self, value: str, other: str, offset: int = 0) -> None:
        """A value that lies within another one."""
        place = self.places[value] = self.at(other, offset)
        if place.buffer is not None:
            place.buffer.last = max(place.buffer.last, self.last_use.get(value, self.now))

    def ends(self, value: str) -> bool:
        """Whether nothing reads the buffer of a value behind this node, so that a result may lie there."""
        place = self.places[value]
        return place.buffer is not None and place.buffer.last == self.now and place.buffer.first < self.now

    def frame(self, size: int) -> None:
        """Ask for so many 16-bit integers."""
        self.frame_size = max(self.frame_size, size)

    def field_of(self, state: str) -> str:
        """The C name of the field that a state lies in."""
        if state not in self._states:
            self._states[state] = self.add_field(state, self.graph.states[state].init, self.graph.states[state].shape)
        return self._states[state]

    def add_field(self, name: str, init: np.ndarray | None, shape: tuple[int, ...], c_type: str = "float") -> str:
        """A field of the state."""
        c_name = identifier(name, {*self.fields, "work", "frame"})
        self.fields[c_name] = (c_type, prod(shape), f"{comment(name)} {shape}")
        if init is not None and (init != 0).any() | np.signbit(init).any():
            self.starts[c_name] = self.constant(f"{c_name}_start", np.asarray(init, np.float32))
        return c_name

    def state_fields(self) -> dict[str, tuple[str, int, str]]:
        """Where states lie: name -> (field, numbers before the first, the field of a ring's start or "")."""
        return {name: self.window_fields.get(name, (c_name, 0, "")) for name, c_name in self._states.items()} | (
            self.window_fields
        )

    def allot(self) -> int:
        """Give every buffer its offset in the scratch, those that live at the same time apart; gives the size."""
        placed: list[Buffer] = []
        for buffer in sorted(self.buffers, key=lambda b: (-b.size, b.first)):
            beside = sorted(
                (b for b in placed if b.first <= buffer.last and buffer.first <= b.last), key=lambda b: b.offset
            )
            at = 0
            for other in beside:
                if at + buffer.size <= other.offset:
                    break
                at = max(at, other.offset + other.size)
            buffer.offset = at
            placed.append(buffer)
        return max((b.offset + b.size for b in placed), default=0)


def title(node: Node, graph: Graph) -> str:
    """One line about a node: its name, op and shapes."""
    shapes = [str(graph.shape(v)) for v in node.inputs]
    given = ", ".join(str(graph.shape(v)) for v in node.outputs)
    precisions = " ".join(f"{key} {precision}" for key, precision in node.precisions.items())
    text = f"{comment(node.name)}: {node.op} {', '.join(shapes)} -> {given}"
    return f"/* {text}{'; ' + precisions if precisions else ''} */"
