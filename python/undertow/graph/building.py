# SPDX-License-Identifier: MIT
"""`undertow.Graph`: a graph of which people write the values, with operators, and which is checked before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

import numpy as np

from .._text import quoted
from ..errors import ShapeError
from ..ir import graph as ir
from ..ir.ops import OPS
from .arithmetic import checked
from .operands import Named, operand, said, shape_of, spread, together
from .symbols import Register, Symbol


class Graph(ir.Graph):
    """A recurrent network as nodes over frames, for models that are no chain and for cells of your own.

    Build it with `input`, `state`, operators and functions on the values that they give (`undertow.graph`), a layer's
    `add_to(graph, value)` or `add`, and `output`; then run it through `Model.from_graph`. For a cell alone,
    `undertow.scan` does all but the formulas.

    Args:
        name: of the model that it becomes.

    Attributes:
        inputs: names of the values that are given from outside.
        outputs: name that the user sees -> value.
        values, states: name -> `Value`, `State`.
        nodes: in an order in which they can run.

    >>> g = undertow.Graph("differences")
    >>> x = g.input("x", 2)
    >>> before = g.state("before", 2)
    >>> before.next = x
    >>> g.output("y", x - before)
    >>> undertow.Model.from_graph(g).run(np.float32([[1, 1], [4, 3]]))
    array([[1., 1.],
           [3., 2.]], dtype=float32)
    """

    def __init__(self, name: str = "model") -> None:
        super().__init__(name)
        self._token = uuid4().hex
        #: token of a graph that this is a copy of -> the values and states that it had then
        self._of: dict[str, frozenset[str]] = {}
        self._reads: dict[str, str] = {}  # state -> the value that reads it
        self._nexts: dict[str, str] = {}  # state -> the value that is written to it
        self._constants: dict[Any, str] = {}  # numbers -> the value that holds them
        self._staying: set[str] = set()  # states that nothing need write

    def input(self, name: str, shape: int | Iterable[int], dtype: str = "float32") -> Symbol:
        """Add an input frame, and give its value, a `Symbol`.

        Args:
            name: by which frames are given to the model.
            shape: of one timestep, without batch and time.
            dtype: "float32", or "int32" for the ids of an embedding.

        Raises:
            UnsupportedError: another dtype. ShapeError: an axis is empty, or the name is taken.

        >>> undertow.Graph("g").input("audio", (64,)).shape
        (64,)
        """
        return Symbol(super().input(str(name), shape, dtype), self)

    def state(
        self, name: str, shape: int | Iterable[int], init: np.ndarray | None = None, *, constant: bool = False
    ) -> Register:
        """Add a state, and give it as a value: what it holds before this timestep. Its `next` is written once.

        Args:
            name: by which `stream.state` knows it.
            shape: of it.
            init: of the same shape: where a fresh stream starts; zeros unless given.
            constant: nothing in the graph writes it: it stays what it is until `stream.state` changes it.

        Raises:
            ShapeError: the name is taken, or `init` has another shape.

        >>> g = undertow.Graph("decay")
        >>> level = g.state("level", (2,), init=np.ones(2))
        >>> level.next = 0.5 * level + g.input("x", 2)
        """
        given = Register(super().state(str(name), shape, init), self)
        if constant:
            self._staying.add(str(name))
        return given

    def constant(self, numbers: Any) -> Symbol:
        """Numbers as a value, the same at every timestep. Operators make them by themselves.

        Args:
            numbers: an array of any shape, a list, or a number.

        Raises:
            TypeError, ValueError: they are no numbers, or beyond float32.

        >>> undertow.Graph("g").constant([1, 2, 3]).shape
        (3,)
        """
        array = operand(numbers, "constant")
        if isinstance(array, Named):
            raise TypeError(f"constant: {said(array)} is a value already, expected numbers")
        array = np.array(checked(array, "constant"), np.float32)
        key = array.shape, array.tobytes()
        if key not in self._constants:
            self._constants[key] = str(self.add("constant", weights={"value": array}))
        return Symbol(self._constants[key], self)

    def add(
        self,
        op: str,
        inputs: Iterable[str] = (),
        *,
        name: str | None = None,
        attrs: Mapping[str, Any] | None = None,
        weights: Mapping[str, np.ndarray | None] | None = None,
        states: Iterable[str] = (),
        precisions: Mapping[str, str] | None = None,
        smoothing: Mapping[str, np.ndarray] | None = None,
    ) -> Any:
        """Add a node, and give its output, a `Symbol` (a tuple of them where an op has several, None for none). Inputs
        of an op that goes element by element are broadcast by NumPy's rules.

        Args:
            op: its kind; `sorted(undertow.ir.ops.OPS)` lists them, and csrc/FORMAT.md says what each computes.
            inputs: values, states (which are read) or names of values, in the op's order.
            name: of the node; made of the op's unless given, and made unique.
            attrs: settings of the op, by name; an activation by its kind's name, too.
            weights: arrays by name, floats stored as float32; one that is None is left out.
            states: states that it owns, or a register that it reads or writes, or their names.
            precisions, smoothing: how a file stores a weight, by its name; see `Node`.

        Raises:
            ShapeError: an input, weight or attribute does not fit; the message names the node.
            UnsupportedError: the op, one of its settings or a precision does not exist.
            TypeError: an input is no value.

        >>> g = undertow.Graph("g")
        >>> x = g.input("x", 2)
        >>> half = g.add("affine", [x], name="half", weights={"scale": [0.5, 0.5], "shift": [0, 0]})
        >>> half, g.shape(half)
        ('half.out', (2,))
        """
        values = [self._named(v, op) for v in ((inputs,) if isinstance(inputs, str) else inputs)]
        owned = [str(s) for s in ((states,) if isinstance(states, str) else states)]
        if op in OPS and OPS[op].elementwise and len(values) > 1 and all(v in self.values for v in values):
            operands = [Symbol(v, self) for v in values]
            shape = together(f"{op} {quoted(self.unique_name(name or op))}", operands)
            values = [str(spread(x, shape)) for x in operands]
        outputs = super().add(
            op,
            values,
            name=None if name is None else str(name),
            attrs=attrs,
            weights=weights,
            states=owned,
            precisions=precisions,
            smoothing=smoothing,
        )
        if owned and OPS[op].reads_register:
            self._reads.setdefault(owned[0], str(outputs))
        if owned and OPS[op].writes_register:
            self._nexts.setdefault(owned[0], values[0])
        if isinstance(outputs, str):
            return Symbol(outputs, self)
        return tuple(Symbol(o, self) for o in outputs) if outputs else None

    def output(self, name: str, value: str) -> None:
        """Make a value an output of the model.

        Args:
            name: by which users see it.
            value: a value, a state (which gives what it holds before this timestep), or the name of a value.

        Raises:
            ShapeError: no such value, or the name is taken.

        >>> g.output("half", 0.5 * x)
        >>> list(g.outputs)
        ['y', 'half']
        """
        super().output(str(name), self._named(value, f"output {quoted(name)}"))

    def shape(self, value: str) -> tuple[int, ...]:
        """The shape of the frame that is named `value`, or of a state that `state` gave: a tuple, () of one number.

        Raises:
            KeyError: there is no such value.

        >>> g.shape(x)
        (2,)
        """
        return self.states[str(value)].shape if isinstance(value, Register) else super().shape(str(value))

    def copy(self) -> Graph:
        """A graph that can be changed without changing this one, and that takes the values which this one has now; the
        arrays of weights are shared.

        >>> twin = g.copy()
        >>> twin.output("more", x)
        >>> len(twin.outputs), len(g.outputs)
        (2, 1)
        """
        twin = self._copy_into(Graph(self.name))
        twin._token = uuid4().hex
        twin._of[self._token] = frozenset({*self.values, *self.states})
        return twin

    # -- what values ask ------------------------------------------------------------------------------------------

    def _takes(self, value: Named) -> bool:
        """Whether a value is of this graph, or was there when it was copied."""
        return value.graph is self or str(value) in self._of.get(getattr(value.graph, "_token", ""), ())

    def _write(self, state: Register, value: Any) -> None:
        """`state.next = value`."""
        name, shape = str(state), self.shape(state)
        what = f"state {quoted(name)}: next"
        given = operand(value, what)
        if isinstance(given, Named):
            self._named(given, what)
        elif given.shape == ():
            given = np.full(shape, given)
        if shape_of(given) != shape:
            raise ShapeError(f"{what} is {said(given)}, expected {shape}, the state's shape")
        if name in self._nexts:
            raise ShapeError(
                f"{what} is {quoted(self._nexts[name])} already; a state is written once in a timestep. What is needed "
                "within the timestep is no state: give it a name in Python"
            )
        given = given if isinstance(given, Named) else self.constant(given)
        self.add("state_write", [given], name=f"{name}.next", states=[name])

    def _next_of(self, state: Register) -> Symbol:
        """`state.next`."""
        if str(state) not in self._nexts:
            raise AttributeError(f"state {quoted(state)} has no next value yet; {state}.next = value sets it")
        return Symbol(self._nexts[str(state)], self)

    def _before(self, state: Register) -> Symbol:
        """`state.before`."""
        name = str(state)
        if name not in self._reads:
            self.add("state_read", name=f"{name}.read", states=[name])
        return Symbol(self._reads[name], self)

    def _named(self, value: Any, what: str) -> str:
        """The name of a value that is given to a node; a state is read for it."""
        if not isinstance(value, Named):
            if isinstance(value, str):
                return value
            raise TypeError(
                f"{what}: got {value!r:.60}, expected a value; operators take numbers and arrays as they are, "
                "graph.constant(array) makes a value of them"
            )
        if not self._takes(value):
            raise ShapeError(
                f"{what}: {quoted(value)} is a value of another graph, {quoted(value.graph.name)}, not of this one, "
                f"{quoted(self.name)}; a model is made of the values of one"
            )
        return str(self._before(value) if isinstance(value, Register) else value)

    # -- what becomes of it ---------------------------------------------------------------------------------------

    def plain(self) -> ir.Graph:
        """A copy of which each value is a name and no more, as passes and files have it.

        Raises:
            ShapeError: a state is read and never written, so that it would stay as it starts.

        >>> undertow.Graph("g").plain().nodes
        []
        """
        for state in self.states:
            if state in self._read and state not in self._written | self._staying:
                shape = self.states[state].shape
                raise ShapeError(
                    f"state {quoted(state)} is read and never written, so it would stay as it starts. Say what it is "
                    f"after each timestep: h.next = value, of shape {shape}, h being what graph.state gave; or, if it "
                    f"is to stay, graph.state({quoted(state)}, {shape}, constant=True)"
                )
        return self._copy_into(ir.Graph(self.name))


__all__ = ["Graph"]
