# SPDX-License-Identifier: MIT
"""What arithmetic takes: values of a graph, and numbers that are known; how their shapes are made equal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from .._text import quoted
from ..errors import ShapeError

Shape = tuple[int, ...]


class Builder(Protocol):
    """What values need of their graph."""

    name: str

    def add(
        self,
        op: str,
        inputs: Iterable[str] = (),
        *,
        name: str | None = None,
        attrs: Mapping[str, Any] | None = None,
        weights: Mapping[str, np.ndarray | None] | None = None,
        states: Iterable[str] = (),
    ) -> Any: ...

    def shape(self, value: str) -> Shape: ...

    def _takes(self, value: Named) -> bool: ...

    def constant(self, numbers: Any) -> Any: ...


class Named(str):
    """The name of a value, which knows its graph: a text like any other for whoever takes names.

    _condition: whether it is 1 where a comparison holds, else 0.
    """

    __slots__ = ("_condition", "_graph")
    _graph: Any
    _condition: bool

    def __new__(cls, name: str, graph: Any, condition: bool = False) -> Named:
        self = super().__new__(cls, name)
        self._graph, self._condition = graph, condition
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self._graph, self._condition)

    @property
    def graph(self) -> Any:
        """The graph that it is a value of.

        >>> undertow.Graph("demo").input("x", 2).graph.name
        'demo'
        """
        return self._graph


#: a value, or numbers in float64 (comparisons of them: bool)
Operand = Named | np.ndarray


def operand(x: Any, what: str) -> Operand:
    """A value as it is, or what is an array of numbers, a number, or a list of them.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(x, Named):
        return x
    if isinstance(x, str):
        raise TypeError(f"{what}: {quoted(x)} is a text, expected a value of a graph, a number or an array")
    if hasattr(x, "detach"):  # a torch tensor, perhaps one that requires a gradient
        x = x.detach().cpu().numpy()
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise TypeError(f"{what}: no array of numbers: {error}") from error
    if array.dtype.kind == "U":
        raise TypeError(
            f"{what}: NumPy makes an array of names out of values; stack(values) or concat(values) makes one value of "
            "several"
        )
    if array.dtype.kind == "c":
        raise TypeError(
            f"{what}: complex numbers are not supported; write the real and the imaginary part by themselves"
        )
    if array.dtype.kind not in "fiub":
        got = x if array.shape == () else array.dtype
        raise TypeError(f"{what}: got {got!r:.60}, expected a value of a graph, a number or an array of numbers")
    return array if array.dtype.kind == "b" else array.astype(np.float64)


def said(x: Operand) -> str:
    """An operand, for a message."""
    if isinstance(x, Named):
        return f"{quoted(x)} {shape_of(x)}"
    return f"{x.item():g}" if x.shape == () else f"an array {x.shape}"


def shape_of(x: Operand) -> Shape:
    return x.graph.shape(x) if isinstance(x, Named) else x.shape


def home(what: str, operands: Sequence[Operand]) -> Builder | None:
    """The graph that all values among operands are of; None of arrays alone.

    Raises:
        ShapeError: they are of several graphs.
    """
    values = [x for x in operands if isinstance(x, Named)]
    if not values:
        return None
    for graph in {id(v.graph): v.graph for v in values}.values():
        if all(graph._takes(v) for v in values):
            return graph
    names = " and ".join(f"{quoted(v)} of graph {quoted(v.graph.name)}" for v in values[:2])
    raise ShapeError(f"{what}: {names} are of different graphs; a model is made of the values of one")


def spread(x: Operand, shape: Shape) -> Operand:
    """An operand with a shape that NumPy would broadcast it to."""
    if isinstance(x, np.ndarray):
        return np.broadcast_to(x, shape)
    own = shape_of(x)
    if own == shape:
        return x
    if int(np.prod(own, dtype=np.int64)) == int(np.prod(shape, dtype=np.int64)):
        return x.graph.add("reshape", [x], attrs={"shape": shape})
    return select([x], np.broadcast_to(places(own), shape))


def places(shape: Shape, first: int = 0) -> np.ndarray:
    """Where each element of a frame lies, counted row by row from `first`."""
    return np.arange(first, first + int(np.prod(shape, dtype=np.int64)), dtype=np.int32).reshape(shape)


def select(values: Sequence[Named], indices: np.ndarray) -> Any:
    """Elements of values that lie behind each other."""
    return values[0].graph.add("select", values, weights={"indices": np.array(indices, np.int32)})


def as_value(graph: Builder, x: Operand) -> Named:
    """An operand as a value of a graph; numbers become a constant."""
    return x if isinstance(x, Named) else graph.constant(x)


def together(what: str, operands: Sequence[Operand]) -> Shape:
    """The shape to which all are broadcast, by NumPy's rules.

    Raises:
        ShapeError: there is none; names two that differ.
    """
    shape: Shape = ()
    for i, x in enumerate(operands):
        own = shape_of(x)
        try:
            shape = np.broadcast_shapes(shape, own)
        except ValueError:
            other = next(y for y in operands[:i] if not _fit(shape_of(y), own))
            raise ShapeError(
                f"{what}: {said(other)} and {said(x)} do not go together: along each axis, counted from the last, both "
                f"need one size, or size 1{_advice(shape_of(other), own)}"
            ) from None
    return shape


def _fit(a: Shape, b: Shape) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(a[::-1], b[::-1], strict=False))


def _advice(a: Shape, b: Shape) -> str:
    """What makes a vector fit rows of a matrix."""
    for vector, other in ((a, b), (b, a)):
        if len(vector) == 1 and len(other) == 2 and vector[0] == other[0]:
            return f"; [:, None] behind the one of shape {vector} makes it a column, {(vector[0], 1)}"
    return ""
