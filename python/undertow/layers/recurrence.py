# SPDX-License-Identifier: MIT
"""What recurrences without an op of their own share: arrays whose axes have letters, and small ops with operators.

A layer says its step as `h = a * h + b * x` over `Term`s, which broadcast as arrays of NumPy do; passes make one
`expression` of what stands between its dense layers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, ClassVar, TypeVar

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ..ir.activations import Activation
from ..ir.graph import Graph
from .base import Layer, node_name, numbers

#: below every exponent that a float32 network gives: where the largest one so far begins
LEAST = -1e30
_Self = TypeVar("_Self", bound="Recurrence")


class Making:
    """A layer's nodes in the making, named after it."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name
        self._first = True

    def add(self, op: str, inputs: list[str], **more: Any) -> Term:
        # The first node has the layer's own name, so that no other layer takes it.
        name, self._first = (self.name if self._first else f"{self.name}_{op}"), False
        return Term(self, self.graph.add(op, inputs, name=name, **more))

    def state(self, letter: str, shape: tuple[int, ...], init: Any = None) -> Term:
        """What the state was before this timestep; `init`, a number or an array, at the start, or zeros."""
        start = None if init is None else np.broadcast_to(init, shape)
        state = self.graph.state(f"{self.name}.{letter}", shape, start)
        return Term(self, self.graph.add("state_read", [], name=f"{self.name}_{letter}_before", states=[state]))

    def write(self, letter: str, value: Term) -> Term:
        """Give a state its next value, which is given back."""
        state = f"{self.name}.{letter}"
        self.graph.add("state_write", [value.value], name=f"{self.name}_{letter}_next", states=[state])
        return value

    def dense(self, x: Term, W: np.ndarray, b: np.ndarray | None = None) -> Term:
        return self.add("dense", [x.value], weights={"W": W, "b": b})

    def constant(self, value: np.ndarray) -> Term:
        return self.add("constant", [], weights={"value": value})

    def window(self, x: Term, n: int) -> Term:
        """(n, *x): the last n frames, this one last; zeros before the first."""
        return self.add("window", [x.value], attrs={"taps": tuple(range(1 - n, 1))})

    def join(self, *terms: Term) -> Term:
        return self.add("concat", [t.value for t in terms])

    def layer(self, layer: Layer, x: Term) -> Term:
        """What another layer gives."""
        return Term(self, layer.add_to(self.graph, x.value))

    def where(self, condition: Term, there: Term, otherwise: Term) -> Term:
        return self.add("where", [condition.value, there.value, otherwise.value])


class Term:
    """A value of a graph, with operators."""

    __array_ufunc__ = None  # array * term is a term

    def __init__(self, making: Making, value: str) -> None:
        self.making, self.value = making, value

    @property
    def shape(self) -> tuple[int, ...]:
        return self.making.graph.shape(self.value)

    def act(self, kind: str, alpha: float | None = None, beta: float | None = None) -> Term:
        return self.making.add("activation", [self.value], attrs={"activation": Activation(kind, alpha, beta)})

    def apply(self, activation: Activation) -> Term:
        return self.act(activation.kind, activation.alpha, activation.beta)

    def clip(self, most: float) -> Term:
        return self.act("clip", -most, most)

    def affine(self, scale: Any, shift: Any) -> Term:
        """self * scale + shift, which are numbers or arrays."""
        if np.ndim(scale) == 0 and np.ndim(shift) == 0:
            return self if (scale, shift) == (1.0, 0.0) else self.act("affine", float(scale), float(shift))
        shape = np.broadcast_shapes(self.shape, np.shape(scale), np.shape(shift))
        weights = {"scale": np.broadcast_to(scale, shape), "shift": np.broadcast_to(shift, shape)}
        return self.making.add("affine", [self.repeat(shape).value], weights=weights)

    def repeat(self, shape: tuple[int, ...]) -> Term:
        """Broadcast to `shape`."""
        places = np.arange(prod(self.shape)).reshape(self.shape)
        return self.take(np.broadcast_to(places, shape))

    def take(self, places: np.ndarray) -> Term:
        """Elements by their number in the frame."""
        if places.size == prod(self.shape) and (places.ravel() == np.arange(places.size)).all():
            return self.reshape(*places.shape)
        return self.making.add("select", [self.value], weights={"indices": places.astype(np.int32)})

    def reshape(self, *shape: int) -> Term:
        return self if shape == self.shape else self.making.add("reshape", [self.value], attrs={"shape": shape})

    def __getitem__(self, key: Any) -> Term:
        return self.take(np.arange(prod(self.shape)).reshape(self.shape)[key])

    def sum(self, axis: int = -1) -> Term:
        """Over one axis, which stays as one of length 1."""
        shape, axis = self.shape, axis % len(self.shape)
        flat = self.reshape(prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]))
        total = self.making.add("reduce", [flat.value], attrs={"kind": "sum"})
        return total.reshape(*shape[:axis], 1, *shape[axis + 1 :])

    def _with(self, op: str, other: Term) -> Term:
        shape = np.broadcast_shapes(self.shape, other.shape)
        return self.making.add(op, [self.repeat(shape).value, other.repeat(shape).value])

    def __add__(self, other: Any) -> Term:
        return self._with("add", other) if isinstance(other, Term) else self.affine(1.0, other)

    def __sub__(self, other: Any) -> Term:
        return self._with("sub", other) if isinstance(other, Term) else self.affine(1.0, np.negative(other))

    def __mul__(self, other: Any) -> Term:
        return self._with("mul", other) if isinstance(other, Term) else self.affine(other, 0.0)

    def __truediv__(self, other: Any) -> Term:
        return self._with("div", other) if isinstance(other, Term) else self.affine(np.divide(1.0, other), 0.0)

    def __rsub__(self, other: Any) -> Term:
        return self.affine(-1.0, other)

    def __neg__(self) -> Term:
        return self.affine(-1.0, 0.0)

    __radd__, __rmul__ = __add__, __mul__

    def __gt__(self, other: Any) -> Term:
        return self._with("greater", other)

    def max(self, other: Term) -> Term:
        return self._with("max", other)


def sigmoid(x: Term) -> Term:
    return x.act("sigmoid")


def tanh(x: Term) -> Term:
    return x.act("tanh")


def silu(x: Term) -> Term:
    return x.act("silu")


def softplus(x: Term) -> Term:
    return x.act("softplus")


def exp(x: Term) -> Term:
    return x.act("exp")


def log_sigmoid(x: Term) -> Term:
    return -softplus(-x)


def gelu(x: Term) -> Term:
    """x times the share of a normal distribution below it."""
    return 0.5 * x * (1.0 + (x * np.sqrt(0.5)).act("erf"))


def rms_norm(x: Term, weight: np.ndarray | None, eps: float) -> Term:
    """x / sqrt(mean of x^2 + eps) over the last axis, times weight."""
    y = x / ((x * x).sum() / x.shape[-1] + eps).act("sqrt")
    return y if weight is None else y * weight


def unit(x: Term, eps: float) -> Term:
    """x / sqrt(sum of x^2 + eps) over the last axis."""
    return x / ((x * x).sum() + eps).act("sqrt")


def layer_norm(x: Term, weight: np.ndarray | None, bias: np.ndarray | None, eps: float) -> Term:
    """Over the last axis; weight and bias are of x's shape, or of its last axis."""
    y = x.making.add("layer_norm", [x.value], attrs={"eps": eps})
    return (
        y
        if weight is None and bias is None
        else y.affine(1.0 if weight is None else weight, 0.0 if bias is None else bias)
    )


def causal_filter(making: Making, x: Term, W: np.ndarray, b: np.ndarray | None) -> Term:
    """A convolution along time of each channel by itself: W (channels, taps), whose last tap is this frame's."""
    taps = making.window(x, W.shape[1]).reshape(1, W.shape[1], W.shape[0])
    return making.add("depthwise", [taps.value], weights={"W": W.T, "b": b}).reshape(W.shape[0])


def one_channel_each(W: Any) -> Any:
    """A filter as torch.nn.Conv1d has it, (channels, 1, taps), as (channels, taps)."""
    return np.asarray(W)[:, 0] if np.ndim(W) == 3 and np.shape(W)[1] == 1 else W


Get = Callable[[str], Any]


class Recurrence(Layer):
    """A layer of small ops. `_step` says what it does in a timestep; `w` are its arrays, by the constructor's names."""

    #: the constructor's arrays -> their tensors in the reference package, with "?" where one may be missing
    tensors: ClassVar[Mapping[str, str]] = {}
    w: dict[str, np.ndarray]
    n: dict[str, int]

    def _take(self, name: str | None, **arrays: tuple[Any, str]) -> None:
        """Check arrays against their axes ("4H I": 4 times H rows, I columns; "H?": it may be None) into `w`, and what
        the letters mean into `n`. I is the width of the input.
        """
        self.name, self.w, self.n = name, {}, {}
        for key, (value, axes) in arrays.items():
            if value is None and axes.endswith("?"):
                continue
            array = numbers(value, f"{self._what}: {key}")
            terms = [(int(a or 1), b) for a, b in re.findall(r"(\d*)(\w)", axes)]
            if len(terms) == 1 and array.squeeze().ndim <= 1:
                array = array.reshape(-1)
            sizes = dict(self.n)
            fits = array.ndim == len(terms) and array.size > 0
            for (times, letter), size in zip(terms, array.shape, strict=False):
                if letter in "123456789":
                    fits = fits and size == int(letter)
                else:
                    fits = fits and size == times * sizes.setdefault(letter, size // times)
            if not fits:
                want = ", ".join(self._axis(times, letter) for times, letter in terms)
                raise ShapeError(
                    f"{self._what}: {key} has shape {np.shape(value)}, expected ({want}{',' * (len(terms) == 1)})"
                )
            self.n, self.w[key] = sizes, array
        if "I" in self.n:
            self.input_shape = (self.n["I"],)

    def _axis(self, times: int, letter: str) -> str:
        if letter in self.n:
            return str(times * self.n[letter])
        return letter if times == 1 else f"{times} * {letter}"

    def _divide(self, letter: str, parts: int, what: str) -> int:
        """How wide each of `parts` heads or groups is of what the letter counts."""
        if parts < 1 or self.n[letter] % parts:
            raise ShapeError(f"{self._what}: {what} is {parts}, expected a divisor of {self.n[letter]}")
        return self.n[letter] // parts

    @property
    def _what(self) -> str:
        return f"{type(self).__name__} {self.name!r}" if self.name else type(self).__name__

    def _step(self, making: Making, x: Term) -> Term:
        """What the layer gives at a timestep in which it is fed `x`, as nodes of `making`."""
        raise NotImplementedError

    def add_to(self, graph: Graph, x: str) -> str:
        if self.input_shape not in (None, graph.shape(x)):
            raise ShapeError(f"{self!r}: takes frames of shape {self.input_shape}, but {x!r} has {graph.shape(x)}")
        making = Making(graph, node_name(graph, self.name, type(self).__name__.lower()))
        return self._step(making, Term(making, x)).value

    @classmethod
    def _arrays(cls, get: Get) -> dict[str, Any]:
        """The constructor's arrays; `get` gives a tensor by its name; None if that ends with "?" and it lacks."""
        return {key: get(name) for key, name in cls.tensors.items()}

    @classmethod
    def from_torch(
        cls: type[_Self], weights: Any, prefix: str = "", *, name: str | None = None, **settings: Any
    ) -> _Self:
        """The layer from tensors with the names of its reference package, which the class names.

        Args:
            weights: name -> array: from `read_weights`, or a state_dict.
            prefix: the module's name in it; "" when the names stand alone.
            name: of the layer; the prefix unless given.
            settings: further arguments of the class that are no arrays.

        Raises:
            ShapeError: a tensor is missing, or its shape does not fit; the message names it.
            UnsupportedError: there is a tensor that the class has no place for, or no package has names for its arrays.

        >>> w = {"mix.to_hidden_and_gate.weight": np.ones((4, 3))}
        >>> undertow.MinGRU.from_torch(w, "mix")
        MinGRU 'mix'(3 -> 2)
        """
        from .from_torch import Reader

        if not cls.tensors and cls._arrays.__func__ is Recurrence._arrays.__func__:  # type: ignore[attr-defined]
            raise UnsupportedError(f"{cls.__name__}.from_torch: no package has names for it; give its arrays by name")

        get = Reader(weights, prefix, cls.__name__)
        arrays = cls._arrays(get)
        get.refuse_rest()
        return cls(**arrays | settings, name=name or prefix or None)  # type: ignore[call-arg]

    @property
    def output_size(self) -> int:
        """Elements of the frames that this layer gives; ShapeError where frames of any shape are taken.

        >>> undertow.IndRNN(np.ones((3, 2)), np.zeros(3)).output_size
        3
        """
        if self.input_shape is None:
            raise ShapeError(f"{self!r}: its frames may have any shape, so it has no size of its own")
        graph = Graph()
        return graph.values[self.add_to(graph, graph.input("x", self.input_shape))].size

    def __repr__(self) -> str:
        if not hasattr(self, "n") or self.input_shape is None:
            return self._what
        return f"{self._what}({' x '.join(map(str, self.input_shape))} -> {self.output_size})"
