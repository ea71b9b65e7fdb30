# SPDX-License-Identifier: MIT
"""A function of values as a recurrent layer, or as a model: one timestep, written as mathematics."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from .._text import nearest
from ..errors import ShapeError
from ..graph import Graph, Register, Symbol, Value
from ..graph.operands import Named, operand, said
from ..model import Model
from .base import Layer, node_name

#: what `scan` takes beside shapes
_RESERVED = frozenset({"name", "isa", "limits"})
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Cell(Layer):
    """One timestep of a recurrent layer, as a function: (x, *states) -> (y, *new states).

    The function is called once, when the layer is added to a graph, with values (`undertow.graph.Symbol`) in place of
    numbers; what it does to them becomes the layer. So its formulas may use operators and the functions of
    `undertow.graph`, and Python for what does not depend on numbers of a frame: loops over layers, arrays as weights.

    Args:
        cell: the function. Its first parameter is the input, every other one a state; what has a default need not be
            named here, and is then no state. It returns y, or with states the tuple (y, new state ...), in the order of
            its parameters.
        name: of the layer; its states are name.parameter. Numbered by its kind unless given.
        shapes: by parameter. Of the input: a shape, or a `Value` for int32. Of a state: a shape, for one that starts
            with zeros, or an array, from which it starts.

    Raises:
        TypeError: a parameter has no shape, or a shape no parameter; or the function returns what is no value.
        ShapeError: when it is added: it returns another number of states, or one of another shape.

    >>> def leaky(x, level):
    ...     level = 0.9 * level + 0.1 * x
    ...     return level, level
    >>> model = undertow.Sequential([undertow.Cell(leaky, x=2, level=2, name="leaky"), undertow.Activate("tanh")])
    >>> model.run(np.ones((2, 2), np.float32)).round(4)
    array([[0.0997, 0.0997],
           [0.1877, 0.1877]], dtype=float32)
    >>> list(model.states)
    ['leaky.level']
    """

    def __init__(self, cell: Callable[..., Any], /, *, name: str | None = None, **shapes: Any) -> None:
        self.cell, self.name = cell, name
        self.called = _name_of(cell)
        self._parameters = _parameters(cell, self.called, shapes)
        first, *others = self._parameters
        self.given = shapes[first]
        self.input_name = first
        if not isinstance(self.given, Mapping):
            self.input_shape, self.input_dtype = _input(self.given, f"{self.called}: input {first!r}")
        self.starts = {other: _start(shapes[other], f"{self.called}: state {other!r}") for other in others}

    def add_to(self, graph: Graph, x: str) -> str:
        if not isinstance(graph, Graph):
            raise TypeError(f"{self!r} needs an undertow.Graph, whose values have operators, got a {type(graph)!r}")
        if self.input_shape is None:
            raise TypeError(
                f"{self!r} takes inputs by name; a layer takes one value. undertow.scan makes a model of it"
            )
        name, n = node_name(graph, self.name, self.called), 1
        while any(f"{name}.{state}" in graph.states for state in self.starts):  # of a cell whose nodes have other names
            n += 1
            name = graph.unique_name(f"{self.name or self.called}_{n}")
        value = x if isinstance(x, Named) else Symbol(x, graph)
        if graph.shape(value) != self.input_shape:
            raise ShapeError(f"{self!r} takes frames of shape {self.input_shape}, got {said(value)}")
        y = self.trace(graph, value, f"{name}.")
        if isinstance(y, dict):
            raise TypeError(
                f"{self!r} gives outputs by name; a layer gives one value. undertow.scan makes a model of it"
            )
        return y

    def trace(self, graph: Graph, x: Any, prefix: str = "") -> Any:
        """Call the function with values of a graph, and let its states hold what it gives for them.

        Args:
            graph: an `undertow.Graph`; it is changed.
            x: the input, a value; or a dict of them by name.
            prefix: of the names of states.

        Returns: its output, a value of any shape; or a dict of outputs by name.

        Raises:
            TypeError: it returns what is no value. ShapeError: another number of states, or one of another shape.

        >>> graph = undertow.Graph("g")
        >>> undertow.Cell(lambda x, h: (x + h, x), x=2, h=2).trace(graph, graph.input("x", 2))
        'add.out'
        """
        registers = {n: graph.state(f"{prefix}{n}", shape, init) for n, (shape, init) in self.starts.items()}
        args, by_name = self._arguments(x, registers)
        given = self.cell(*args, **by_name)
        y, after = self._taken_apart(given)
        for register, value in zip(registers.values(), after, strict=True):
            register.next = value
        if isinstance(y, Mapping):
            return {str(key): self._output(value, f"output {str(key)!r}") for key, value in y.items()}
        return self._output(y, "the output")

    def _arguments(self, x: Any, registers: Mapping[str, Register]) -> tuple[list[Any], dict[str, Any]]:
        values = {self.input_name: x, **registers}
        parameters = inspect.signature(self.cell).parameters
        args: list[Any] = []
        by_name: dict[str, Any] = {}
        for name, parameter in parameters.items():
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                args += [v for n, v in values.items() if n not in parameters]
            elif name in values:
                if parameter.kind in _POSITIONAL and not by_name and len(args) == list(parameters).index(name):
                    args.append(values[name])
                else:
                    by_name[name] = values[name]
        return args, by_name

    def _taken_apart(self, given: Any) -> tuple[Any, list[Any]]:
        """y, and what each state holds after the timestep."""
        states = list(self.starts)
        how = f"return {', '.join(['y', *states])}"
        if given is None:
            raise TypeError(f"{self.called} returns nothing; it gives its output and what each state holds next: {how}")
        if not states:
            return (given[0] if isinstance(given, tuple) and len(given) == 1 else given), []
        values = list(given) if isinstance(given, (tuple, list)) else [given]
        if len(values) != 1 + len(states):
            raise ShapeError(
                f"{self.called} returns {len(values)} value{'s' if len(values) != 1 else ''}, expected "
                f"{1 + len(states)}: its output, then what each state holds after the timestep, in the order of its "
                f"parameters: {how}"
            )
        return values[0], values[1:]

    def _output(self, value: Any, what: str) -> Any:
        if isinstance(value, (tuple, list)):
            raise TypeError(
                f"{self.called}: {what} is a {type(value).__name__}; several outputs are a dict, "
                f"{{'name': value, ...}}, and stack or concat makes one value of several"
            )
        if not isinstance(operand(value, f"{self.called}: {what}"), Named):
            raise TypeError(f"{self.called}: {what} is {value!r:.60}, the same at every timestep; expected a value")
        return value.before if isinstance(value, Register) else value

    def __repr__(self) -> str:
        return f"Cell({self.called}, {', '.join(self._parameters)})"


def scan(
    cell: Callable[..., Any],
    /,
    *,
    name: str | None = None,
    isa: str | None = None,
    limits: Mapping[str, int] | None = None,
    **shapes: Any,
) -> Model:
    """A streaming model of a function that computes one timestep: (x, *states) -> (y, *new states).

    Args:
        cell: as of `Cell`. Several inputs are one dict of values by name, as its first parameter; several outputs are a
            dict of values, in place of y.
        name: of the model; the function's unless given.
        isa, limits: as of `undertow.load`.
        shapes: by parameter. Of the input: a shape, a `Value` for int32, or a dict of these by name. Of a state: a
            shape, for one that starts with zeros, or an array, from which it starts.

    Returns: a `Model`. Its input is called like the parameter, its output "y", its states like theirs.

    Raises:
        TypeError: a parameter has no shape, or a shape no parameter; or the function asks a value for its numbers.
        ShapeError: shapes do not fit together, or another number of states comes back than went in.

    >>> from undertow.graph import dense, sigmoid
    >>> Wz, Wh = np.ones((2, 3)), np.ones((2, 3))
    >>> def min_gru(x, h):
    ...     z = sigmoid(dense(x, Wz))
    ...     h = (1 - z) * h + z * dense(x, Wh)
    ...     return h, h
    >>> model = undertow.scan(min_gru, x=3, h=2)
    >>> model.run(np.zeros((4, 3), np.float32)).shape, model.states["h"].shape
    ((4, 2), (2,))
    """
    layer = Cell(cell, name=name, **shapes)
    graph = Graph(name or layer.called)
    if isinstance(layer.given, Mapping):
        what = f"{layer.called}: input"
        x: Any = {str(key): graph.input(str(key), *_input(of, f"{what} {key!r}")) for key, of in layer.given.items()}
        if not x:
            raise TypeError(f"{what} {layer.input_name!r} is an empty dict, expected shapes by name")
    else:
        assert layer.input_shape is not None
        x = graph.input(layer.input_name, layer.input_shape, layer.input_dtype)
    y = layer.trace(graph, x)
    for key, value in (y if isinstance(y, dict) else {"y": y}).items():
        graph.output(key, value)
    return Model.from_graph(graph, isa, limits=limits)


def _name_of(cell: Any) -> str:
    if not callable(cell):
        raise TypeError(f"a cell is a function (x, *states) -> (y, *new states), got {cell!r:.60}")
    while isinstance(cell, partial):
        cell = cell.func
    name = str(getattr(cell, "__name__", type(cell).__name__))
    return name if name.isidentifier() else "cell"


def _parameters(cell: Any, called: str, shapes: Mapping[str, Any]) -> list[str]:
    """The input and the states among a function's parameters, in its order."""
    try:
        parameters = inspect.signature(cell).parameters
    except (TypeError, ValueError):
        raise TypeError(f"{called}: Python cannot tell its parameters; wrap it in a def") from None
    names = []
    for name, parameter in parameters.items():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            names += [given for given in shapes if given not in parameters]
        elif parameter.kind is not inspect.Parameter.VAR_KEYWORD and (
            name in shapes or parameter.default is inspect.Parameter.empty
        ):
            names.append(name)
    if taken := _RESERVED.intersection(names):
        raise TypeError(f"{called}: a parameter cannot be called {min(taken)!r}, which scan takes itself; rename it")
    if not names:
        raise TypeError(f"{called} has no parameters; the first one of a cell is its input")
    if missing := [name for name in names if name not in shapes]:
        kind = "input" if missing[0] == names[0] else "state"
        raise TypeError(f"{called}: {kind} {missing[0]!r} has no shape; give it as {missing[0]}=(size,)")
    if unknown := [name for name in shapes if name not in names]:
        raise TypeError(
            f"{called} has no parameter {unknown[0]!r}{nearest(unknown[0], names) or ';'} "
            f"its parameters: {', '.join(parameters)}"
        )
    return names


def _shape(given: Any, what: str) -> tuple[int, ...]:
    sizes = (given,) if isinstance(given, (int, np.integer)) else given
    if not isinstance(sizes, (tuple, list)) or not all(isinstance(n, (int, np.integer)) for n in sizes):
        raise TypeError(f"{what}: got {given!r:.60}, expected a shape such as (64,)")
    if any(n < 1 for n in sizes):
        raise ShapeError(f"{what}: shape {tuple(sizes)} is empty; every axis must be at least 1")
    return tuple(int(n) for n in sizes)


def _input(given: Any, what: str) -> tuple[tuple[int, ...], str]:
    return (given.shape, given.dtype) if isinstance(given, Value) else (_shape(given, what), "float32")


def _start(given: Any, what: str) -> tuple[tuple[int, ...], np.ndarray | None]:
    """Shape and first value of a state."""
    if not (isinstance(given, np.ndarray) or hasattr(given, "detach")):
        return _shape(given, f"{what} (an array gives what it starts from)"), None
    array = np.asarray(operand(given, what))
    return array.shape, np.asarray(array, np.float32)


__all__ = ["Cell", "scan"]
