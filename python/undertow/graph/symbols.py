# SPDX-License-Identifier: MIT
"""Values that mathematics is written with: their operators, and what Python may not ask of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from .._text import quoted
from . import functions as f
from .arithmetic import binary, conditions, power, product
from .moves import item, reshape, transpose
from .operands import Named, said, shape_of

#: of NumPy, what values can be given to: a cell may call these in place of undertow's own
UFUNCS: dict[Any, Callable[..., Any]] = {
    np.add: lambda a, b: binary("add", a, b),
    np.subtract: lambda a, b: binary("sub", a, b),
    np.multiply: lambda a, b: binary("mul", a, b),
    np.divide: lambda a, b: binary("div", a, b),
    np.greater: lambda a, b: binary("greater", a, b),
    np.less: lambda a, b: binary("less", a, b),
    np.greater_equal: lambda a, b: binary("greater_equal", a, b),
    np.less_equal: lambda a, b: binary("less_equal", a, b),
    np.equal: f.equal,
    np.not_equal: lambda a, b: conditions("~", f.equal(a, b)),
    np.maximum: f.maximum,
    np.minimum: f.minimum,
    np.matmul: product,
    np.power: power,
    np.square: f.square,
    np.negative: lambda x: binary("mul", -1.0, x),
    np.positive: lambda x: x,
    np.absolute: f.abs,
    np.exp: f.exp,
    np.log: f.log,
    np.sqrt: f.sqrt,
    np.tanh: f.tanh,
    np.sin: f.sin,
    np.cos: f.cos,
    np.floor: f.floor,
    np.ceil: f.ceil,
    np.rint: f.round,
    np.sign: f.sign,
    np.reciprocal: f.reciprocal,
    np.bitwise_and: lambda a, b: conditions("&", a, b),
    np.bitwise_or: lambda a, b: conditions("|", a, b),
    np.logical_and: lambda a, b: conditions("&", a, b),
    np.logical_or: lambda a, b: conditions("|", a, b),
    np.invert: lambda x: conditions("~", x),
    np.logical_not: lambda x: conditions("~", x),
}
FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.shape: shape_of,
    np.ndim: lambda x: len(shape_of(x)),
    np.where: f.where,
    np.dot: product,
    np.concatenate: lambda values, axis=0: f.concat(values, axis),
    np.stack: f.stack,
    np.sum: f.sum,
    np.prod: f.prod,
    np.mean: f.mean,
    np.max: f.max,
    np.min: f.min,
    np.clip: f.clip,
    np.reshape: f.reshape,
    np.transpose: f.transpose,
    np.broadcast_to: f.broadcast_to,
}


class Symbol(Named):
    """A value of a graph, with the operators of mathematics. `Graph.input`, `Graph.state` and `Graph.add` give it.

    ``+ - * / ** @``, ``< > <= >=``, ``& | ~`` between conditions, ``abs`` and ``[...]`` make ops of the graph, by
    NumPy's rules for shapes, with values, numbers and arrays on the other side; so do the functions of
    `undertow.graph`, and NumPy's of the same names. Each op rounds once, to float32. A comparison gives 1.0 where it
    holds, else 0.0; ``==`` tells whether two values are one and the same, `undertow.graph.equal` compares their
    numbers. What Python wants to know at once (``if``, ``and``, ``float``, a loop over elements) is a TypeError:
    numbers come when the model runs.

    It is a text too, the value's name, for whoever takes names.

    >>> g = undertow.Graph("demo")
    >>> x = g.input("x", (2, 3))
    >>> y = np.float32([1, 2, 3]) * x[:, ::-1] + 1
    >>> y.shape, (x > 0).shape, (x @ np.ones((3, 5))).shape
    ((2, 3), (2, 3), (2, 5))
    >>> x[0] + x[:, 0]
    Traceback (most recent call last):
    undertow.errors.ShapeError: +: 'select_2.out' (3,) and 'select_3.out' (2,) do not go together: ...
    """

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one timestep; () of one number.

        >>> x.shape
        (2, 3)
        """
        return shape_of(self)

    @property
    def ndim(self) -> int:
        """The number of axes.

        >>> x.ndim
        2
        """
        return len(self.shape)

    @property
    def T(self) -> Symbol:
        """With its axes in reverse order.

        >>> x.T.shape
        (3, 2)
        """
        return transpose(self)

    def reshape(self, *shape: Any) -> Symbol:
        """The same elements in another shape, row by row.

        Args:
            shape: sizes, or a tuple of them; one may be -1, which takes what is left.

        Raises:
            ShapeError: it has another number of elements.

        >>> x.reshape(3, -1).shape
        (3, 2)
        """
        return reshape(self, *shape)

    def sum(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Symbol:
        """The sum over an axis, several, or all.

        Args:
            axis: a number, counted from the last one where it is negative; several; or None for all.
            keepdims: leave axes of size 1 in their place.

        Raises:
            ShapeError: there is no such axis.

        >>> x.sum(-1).shape, x.mean(0, keepdims=True).shape
        ((2,), (1, 3))
        """
        return f.sum(self, axis, keepdims)

    def mean(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Symbol:
        """The mean over axes; Arguments and errors as of `sum`: `axis`, `keepdims`.

        >>> x.mean(0).shape
        (3,)
        """
        return f.mean(self, axis, keepdims)

    def max(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Symbol:
        """The largest element over axes; Arguments and errors as of `sum`: `axis`, `keepdims`.

        >>> x.max(0).shape
        (3,)
        """
        return f.max(self, axis, keepdims)

    def min(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Symbol:
        """The smallest element over axes; Arguments and errors as of `sum`: `axis`, `keepdims`.

        >>> x.min(0).shape
        (3,)
        """
        return f.min(self, axis, keepdims)

    # -- operators ------------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Any:
        return str(self) + other if _is_text(other) else binary("add", self, other)

    def __radd__(self, other: Any) -> Any:
        return other + str(self) if _is_text(other) else binary("add", other, self)

    def __sub__(self, other: Any) -> Any:
        return binary("sub", self, other)

    def __rsub__(self, other: Any) -> Any:
        return binary("sub", other, self)

    def __mul__(self, other: Any) -> Any:
        return binary("mul", self, other)

    def __rmul__(self, other: Any) -> Any:
        return binary("mul", other, self)

    def __truediv__(self, other: Any) -> Any:
        return binary("div", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return binary("div", other, self)

    def __pow__(self, other: Any) -> Any:
        return power(self, other)

    def __rpow__(self, other: Any) -> Any:
        return power(other, self)

    def __matmul__(self, other: Any) -> Any:
        return product(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return product(other, self)

    def __neg__(self) -> Any:
        return binary("mul", -1.0, self)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return f.abs(self)

    def __getitem__(self, key: Any) -> Any:
        return item(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._refuse("its elements do not change; where(mask, new, x), concat and stack make values of what is new")

    def __lt__(self, other: Any) -> Any:
        return str(self) < other if _is_text(other) else binary("less", self, other)

    def __gt__(self, other: Any) -> Any:
        return str(self) > other if _is_text(other) else binary("greater", self, other)

    def __le__(self, other: Any) -> Any:
        return str(self) <= other if _is_text(other) else binary("less_equal", self, other)

    def __ge__(self, other: Any) -> Any:
        return str(self) >= other if _is_text(other) else binary("greater_equal", self, other)

    def __and__(self, other: Any) -> Any:
        return conditions("&", self, other)

    def __rand__(self, other: Any) -> Any:
        return conditions("&", other, self)

    def __or__(self, other: Any) -> Any:
        return conditions("|", self, other)

    def __ror__(self, other: Any) -> Any:
        return conditions("|", other, self)

    def __invert__(self) -> Any:
        return conditions("~", self)

    # -- what stays as texts have it, and what cannot be --------------------------------------------------------------

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (int, float, list, tuple, np.ndarray, np.number)):
            raise TypeError(
                f"==: {said(self)} is a value, whose numbers come when the model runs; equal(a, b) is the condition "
                "that compares them"
            )
        return str.__eq__(self, other) is True

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __mod__(self, other: Any) -> Any:
        self._refuse("% is not supported; write x - floor(x / y) * y")

    def __floordiv__(self, other: Any) -> Any:
        self._refuse("// is not supported; write floor(x / y)")

    def __rfloordiv__(self, other: Any) -> Any:
        self._refuse("// is not supported; write floor(x / y)")

    def __bool__(self) -> bool:
        self._refuse(
            "it has no numbers while the graph is built, so `if`, `while`, `and`, `or` and `not` cannot look at it; "
            "write where(condition, a, b), and & | ~ between conditions, each in brackets"
        )

    def __iter__(self) -> Iterator[str]:
        first = "split(x, 2)" if self.shape else "x itself"
        self._refuse(f"Python cannot go through its elements; take parts by x[0], x[1:], or a, b = {first}")

    def __contains__(self, other: object) -> bool:
        if _is_text(other):
            return str(other) in str(self)
        self._refuse("`in` cannot look for numbers that come when the model runs")

    def __len__(self) -> int:
        if not self.shape:
            self._refuse("it is one number and has no length")
        return self.shape[0]

    def __reversed__(self) -> Iterator[str]:
        return iter(self)

    def __float__(self) -> float:
        self._refuse(
            "float() and the functions of `math` want its numbers, which come when the model runs; undertow.graph has "
            "exp, log, sqrt, tanh, sin ... of values"
        )

    def __int__(self) -> int:
        self._refuse(
            "int() wants its number, which comes when the model runs; undertow.graph has floor, ceil and round"
        )

    def __index__(self) -> int:
        self._refuse(
            "it is no index or count, for its numbers come when the model runs; where(condition, a, b) chooses by a "
            "value, and embedding(ids, table) takes rows"
        )

    def __round__(self, n: Any = None) -> Any:
        self._refuse("Python's round wants its number; undertow.graph.round is the op")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if "out" in kwargs:
            self._refuse("an array cannot take it in place; write a = a + x for a += x")
        if method != "__call__" or kwargs or ufunc not in UFUNCS:
            how = "" if method == "__call__" else f".{method}"
            using = f" with {', '.join(kwargs)}" if kwargs else ""
            self._refuse(
                f"numpy.{ufunc.__name__}{how}{using} is not known for values; undertow.graph has what there is, "
                f"and of NumPy's there are {', '.join(sorted(u.__name__ for u in UFUNCS))}"
            )
        return UFUNCS[ufunc](*inputs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func not in FUNCTIONS:
            self._refuse(
                f"numpy.{func.__name__} is not known for values; undertow.graph has what there is, and of NumPy's "
                f"there are {', '.join(sorted(u.__name__ for u in FUNCTIONS))}"
            )
        return FUNCTIONS[func](*args, **kwargs)

    def _refuse(self, why: str) -> NoReturn:
        raise TypeError(f"{said(self)} is a value of graph {quoted(self.graph.name)}: {why}")


class Register(Symbol):
    """A state of a graph: as a value, what it holds before this timestep. `Graph.state` gives it.

    It is a text too, the state's name, for `states=` of `Graph.add`.

    >>> g = undertow.Graph("counter")
    >>> n = g.state("n", ())
    >>> n.next = n + 1
    >>> g.output("before", n + 0 * g.input("x", ()))
    >>> undertow.Model.from_graph(g).run(np.zeros(3, np.float32))
    array([0., 1., 2.], dtype=float32)
    """

    __slots__ = ()

    @property
    def before(self) -> Symbol:
        """What it holds before this timestep, as a value that is no state.

        >>> n.before
        'n.read.out'
        """
        return self.graph._before(self)

    @property
    def next(self) -> Symbol:
        """What it holds after this timestep, a value of its shape. Set it once: to a value, an array or a number.

        Raises:
            AttributeError: it was not set. ShapeError: it was set already, or the value has another shape.

        >>> n.next.shape
        ()
        """
        return self.graph._next_of(self)

    @next.setter
    def next(self, value: Any) -> None:
        self.graph._write(self, value)


def _is_text(x: Any) -> bool:
    return isinstance(x, str) and not isinstance(x, Named)


__all__ = ["Register", "Symbol"]
