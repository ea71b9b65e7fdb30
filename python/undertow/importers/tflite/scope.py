# SPDX-License-Identifier: MIT
"""What a handler sees of the file and of the ONNX graph that it becomes: tensors by number, nodes to add.

A `Scope` is one graph of the file, once for each place where it is run. All scopes of a file share a `Program`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NoReturn

import numpy as np

from ..._text import quoted
from ...budget import watch
from ...errors import FormatError, UnsupportedError
from . import limits
from .file import File, Operator, Subgraph, Tensor
from .schema import ACTIVATIONS, QUANTISED

#: type of a tensor -> type of ONNX, of tensors that are computed
COMPUTED = {"FLOAT32": 1, "INT32": 6, "INT64": 7, "BOOL": 9}
_FLOAT, _INT32, _INT64 = 1, 6, 7


@dataclass(eq=False)
class Program:
    """What all scopes share: the ONNX program in the making.

    values: every name that is taken. where: name of a node -> the operator that it was made of, and whether it gives
    what that one does.
    variables: name of a variable -> what holds it now. inits: name -> its value before the first call.
    """

    onnx: Any
    file: File
    translate: Callable[[Scope, Operator], None]
    initializers: list[Any] = field(default_factory=list)
    values: set[str] = field(default_factory=set)
    where: dict[str, tuple[Operator, bool]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    inits: dict[str, np.ndarray] = field(default_factory=dict)
    states: list[State] = field(default_factory=list)
    notes: dict[str, set[Any]] = field(default_factory=dict)
    n_translated: int = 0
    constants: dict[Any, str] = field(default_factory=dict)
    n_constant_bytes: int = 0

    def __post_init__(self) -> None:
        watch(self)

    @property
    def n_bytes(self) -> int:
        """What its constants take in memory, and its names about."""
        return self.n_constant_bytes + limits.PORT_BYTES * len(self.values)

    def new(self, name: str) -> str:
        """A name that nothing has."""
        number, taken = 0, name
        while taken in self.values or not taken:
            number += 1
            taken = f"{name}/{number}"
        self.values.add(taken)
        return taken

    def note(self, kind: str, of: Any) -> None:
        """Count something of which something is to be said."""
        self.notes.setdefault(kind, set()).add(of)


@dataclass
class State:
    """What an operator keeps between calls of the model: an input and an output of the ONNX program.

    value: the input. output: the value that it has at the end of a call. start: what it begins with, if no zeros.
    inside: it is an operator's own, no variable of the model.
    """

    name: str
    shape: list[int]
    value: str = ""
    output: str = ""
    start: np.ndarray | None = None
    inside: bool = False


@dataclass(eq=False)
class Scope:
    """A graph of the file as it becomes nodes.

    names: tensor -> value of the ONNX graph. handles: tensor -> name of the variable that it stands for. same: tensor
    -> the constant that it is, in another type. bounds: tensor -> the value, low and high that it is
    within. operator, about: what is at work, and what nodes are named by.
    """

    program: Program
    graph: Subgraph
    depth: int = 1
    nodes: list[Any] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    handles: dict[int, str] = field(default_factory=dict)
    operator: Operator | None = None
    same: dict[int, int] = field(default_factory=dict)
    bounds: dict[int, tuple[str, float, float]] = field(default_factory=dict)
    about: str = ""

    # -- tensors --------------------------------------------------------------------------------------------------

    def tensor(self, i: int) -> Tensor:
        return self.graph.tensors[i]

    def is_constant(self, i: int) -> bool:
        """Whether a tensor is known from the file alone."""
        tensor = self.tensor(i)
        return i in self.same or (i not in self.names and (tensor.data is not None or 0 in tensor.shape))

    def array(self, i: int, what: str) -> np.ndarray:
        """A tensor that must be a constant.

        Raises:
            UnsupportedError: it is computed.
        """
        if not self.is_constant(i):
            self.unsupported(f"its {what}, {self.tensor(i).where}, is computed; expected a constant")
        tensor = self.tensor(self.same.get(i, i))
        if tensor.data is None:
            return np.zeros([n or 0 for n in tensor.shape], np.float32 if tensor.kind == "FLOAT32" else np.int32)
        if tensor.is_quantised:
            self.program.note(tensor.kind.lower(), id(tensor))
        elif tensor.kind == "FLOAT16":
            self.program.note("float16", id(tensor))
        return tensor.array()

    def integers(self, i: int, what: str) -> list[int]:
        """A constant of integers, flat."""
        if prod(n or 1 for n in self.tensor(i).shape) > limits.MAX_PORTS:
            self.unsupported(f"its {what}, {self.tensor(i).where}, has shape {self.tensor(i).shape}: too many numbers")
        array = self.array(i, what)
        if array.dtype.kind not in "iu":
            self.format_error(f"its {what}, {self.tensor(i).where}, holds {array.dtype}, expected integers")
        return [int(n) for n in array.reshape(-1)]

    def value(self, i: int) -> str:
        """The value of the ONNX graph that a tensor is.

        Raises:
            FormatError: nothing computes it before it is used.
        """
        if i in self.names:
            return self.names[i]
        tensor = self.tensor(i)
        if i in self.handles:
            self.unsupported(f"{tensor.where} is a variable itself, not what it holds: not supported")
        if not self.is_constant(i):
            raise FormatError(f"{self.graph.name}: {tensor.where} is used, but nothing computes it before")
        if tensor.kind in QUANTISED and not tensor.is_quantised:
            self.unsupported(f"{tensor.where} is {tensor.kind} without a scale: not supported")
        key = (id(self.graph), i)
        if key not in self.program.constants:
            self.program.constants[key] = self.constant(self.array(i, "input"), tensor.name)
        return self.program.constants[key]

    def float_value(self, i: int) -> str:
        """`value` of what must be a float32."""
        kind = self.tensor(i).kind
        if kind not in ("FLOAT32", "FLOAT16") and not (self.is_constant(i) and self.tensor(i).is_quantised):
            self.unsupported(f"{self.tensor(i).where} is {kind}, expected FLOAT32")
        return self.value(i)

    def shared(self, i: int, what: str, change: Callable[[np.ndarray], np.ndarray], how: str) -> str:
        """A constant changed while loading, once for all operators that ask for the same of it."""
        key = (id(self.graph), self.same.get(i, i), how)
        if key not in self.program.constants:
            array = change(self.array(i, what))
            self.program.constants[key] = self.constant(np.ascontiguousarray(array), f"{self.tensor(i).name}/{how}")
        return self.program.constants[key]

    # -- nodes ----------------------------------------------------------------------------------------------------

    def constant(self, array: Any, name: str = "") -> str:
        """An initializer; small ones of no name are shared."""
        array = np.asarray(array)
        key = None if name else (array.dtype.str, array.shape, array.tobytes())
        if key is not None and key in self.program.constants:
            return self.program.constants[key]
        taken = self.program.new(name or f"constant {array.reshape(-1)[:4].tolist()}")
        self.program.n_constant_bytes += array.nbytes
        self.program.initializers.append(self.program.onnx.numpy_helper.from_array(array, taken))
        if key is not None:
            self.program.constants[key] = taken
        return taken

    def int64(self, numbers: Any) -> str:
        return self.constant(np.asarray(numbers, np.int64))

    def node(self, op: str, inputs: Sequence[str], n_outputs: int = 0, **attrs: Any) -> Any:
        """Add a node; gives its output, or a list of so many."""
        outputs = [self.program.new(f"{self.about}/{op.lower()}") for _ in range(max(n_outputs, 1))]
        self.nodes.append(self.program.onnx.helper.make_node(op, list(inputs), outputs, name=outputs[0], **attrs))
        return outputs if n_outputs else outputs[0]

    def as_int64(self, i: int, what: str) -> str:
        """A tensor of integers as ONNX takes shapes, axes and indices."""
        if self.is_constant(i):
            return self.int64(self.integers(i, what))
        if self.tensor(i).kind == "INT64":
            return self.value(i)
        return str(self.node("Cast", [self.value(i)], to=_INT64))

    def activated(self, value: str, number: int) -> str:
        """A value behind the activation that is fused into its operator.

        Raises:
            UnsupportedError: one that is not known.
        """
        kind = ACTIVATIONS[number] if 0 <= number < len(ACTIVATIONS) else str(number)
        if kind == "NONE":
            return value
        if kind in ("RELU", "TANH"):
            return str(self.node(kind.capitalize(), [value]))
        bounds = {"RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}.get(kind)
        if bounds is None:
            self.unsupported(f"fused_activation_function={kind} is not supported")
        return self.clipped(value, *bounds)

    def clipped(self, value: str, low: float, high: float) -> str:
        return str(self.node("Clip", [value, self.constant(np.float32(low)), self.constant(np.float32(high))]))

    def inner(self, number: int) -> Scope:
        """Another graph of the file, which is run inside of this one.

        Raises:
            FormatError: there is none of that number.
            UnsupportedError: it is inside of too many others, as one that runs itself is.
        """
        graphs = self.program.file.subgraphs
        if not 0 < number < len(graphs):
            self.format_error(f"it runs graph {number}, expected one from 1 to {len(graphs) - 1}")
        if self.depth >= limits.MAX_NESTING:
            self.unsupported(f"graphs inside of graphs, more than {limits.MAX_NESTING} deep, are not supported")
        return Scope(self.program, graphs[number], self.depth + 1, operator=self.operator, about=self.about)

    def inlined(self, number: int, inputs: Sequence[str]) -> list[str]:
        """The outputs of another graph whose nodes are added to this one's."""
        inner = self.inner(number)
        inner.nodes = self.nodes
        return inner.run(inputs)

    def run(self, inputs: Sequence[str]) -> list[str]:
        """Translate all operators; gives the values of the outputs."""
        if len(inputs) != len(self.graph.inputs):
            self.format_error(f"it gives {len(inputs)} inputs to {self.graph.name}, which has {len(self.graph.inputs)}")
        self.names.update(zip(self.graph.inputs, inputs, strict=True))
        outside = self.operator, self.about
        for operator in self.graph.operators:
            self.operator = operator
            self.about = self.tensor(operator.outputs[0]).name.partition(";")[0] if operator.outputs else operator.op
            self.program.n_translated += 1
            if self.program.n_translated > limits.MAX_TRANSLATED:
                operator.unsupported(f"more than {limits.MAX_TRANSLATED} operators, each where it runs, are not read")
            self.program.translate(self, operator)
        self.operator, self.about = outside
        return [self.value(i) for i in self.graph.outputs]

    # -- errors ---------------------------------------------------------------------------------------------------

    def unsupported(self, message: str) -> NoReturn:
        raise UnsupportedError(f"{self.where}: {message}")

    def format_error(self, message: str) -> NoReturn:
        raise FormatError(f"{self.where}: {message}")

    @property
    def where(self) -> str:
        return self.operator.where if self.operator else f"graph {quoted(self.graph.name)}"


__all__ = ["COMPUTED", "Program", "Scope", "State"]
