# SPDX-License-Identifier: MIT
"""Averages over time that a stream can keep: of the frames so far, plain or weighted by attention.

At the end of a sequence they are what Keras's and PyTorch's layers give for the whole of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir.activations import Activation, as_activation
from ..ir.graph import Graph
from ..ir.sums import compensated
from .base import Layer, node_name, numbers, vector

#: below every score that a float32 network gives; exp(of it - a score) is 0
NO_SCORE = -1e30
EXP = Activation("exp")


class _Sums(Layer):
    """What layers over all frames so far share."""

    def __init__(self, return_sequences: bool, name: str | None) -> None:
        self.return_sequences, self.name = bool(return_sequences), name

    def _finish(self, graph: Graph, y: str, name: str) -> str:
        if self.return_sequences:
            return y
        last: str = graph.add("last", [y], name=f"{name}_last")
        return last


def _register(graph: Graph, name: str, shape: tuple[int, ...], init: float = 0.0) -> tuple[str, str]:
    """(state, the value it had before this timestep)."""
    state = graph.state(name, shape, np.full(shape, init, np.float32) if init else None)
    return state, graph.add("state_read", [], name=f"{name}_before", states=[state])


def _sum_so_far(graph: Graph, x: str, name: str, decay: str | None = None) -> str:
    """x_1 + ... + x_t at each timestep t, compensated. decay: of the shape of x, what the sum so far is multiplied with
    in each timestep.
    """
    shape = graph.shape(x)
    total, before = _register(graph, name, shape)
    excess, excess_before = _register(graph, f"{name}_excess", shape)
    if decay is not None:
        before = graph.add("mul", [before, decay], name=f"{name}_kept")
        excess_before = graph.add("mul", [excess_before, decay], name=f"{name}_excess_kept")
    zero = graph.add("constant", [], name=f"{name}_zero", weights={"value": np.zeros(shape, np.float32)})
    after, error = compensated(
        lambda op, values, what: graph.add(op, list(values), name=f"{name}_{what}"), before, excess_before, x, zero
    )
    for state, value in ((total, after), (excess, error)):
        graph.add("state_write", [value], name=f"{state}_next", states=[state])
    return after


def _like(graph: Graph, one: str, shape: tuple[int, ...], name: str) -> str:
    """A frame of one number, repeated into `shape`."""
    value: str = graph.add("select", [one], name=name, weights={"indices": np.zeros(shape, np.int32)})
    return value


class Average(_Sums):
    """The mean of all frames so far, elementwise (a stream's GlobalAveragePooling1D).

    Args:
        return_sequences: True gives the mean at every timestep; False (the default) once per sequence, and in a stream
            the mean so far.
        name: of the layer; its node and states are named after it. Numbered by its kind unless given.

    Sum and count are compensated, so that the mean of 10^8 frames is as exact as that of ten.

    >>> undertow.Sequential([undertow.Average(return_sequences=True)], input_shape=1).run(np.float32([[1], [2], [6]]))
    array([[1. ],
           [1.5],
           [3. ]], dtype=float32)
    """

    def __init__(self, *, return_sequences: bool = False, name: str | None = None) -> None:
        super().__init__(return_sequences, name)

    def add_to(self, graph: Graph, x: str) -> str:
        name, shape = node_name(graph, self.name, "average"), graph.shape(x)
        one = graph.add("constant", [], name=f"{name}_one", weights={"value": np.ones(1, np.float32)})
        sums, frames = _sum_so_far(graph, x, f"{name}.sum"), _sum_so_far(graph, one, f"{name}.count")
        y = graph.add("div", [sums, _like(graph, frames, shape, f"{name}_counts")], name=name)
        return self._finish(graph, y, name)


class AttentionAverage(_Sums):
    """The mean of all frames so far, each weighted by exp(score): a softmax over time.

    score_t = f(w . x_t + b), and at timestep t, with m the largest score so far::

        y_t = sum_{s <= t} exp(score_s - m) x_s / (sum_{s <= t} exp(score_s - m) + epsilon)

    The two sums, which are compensated, and m are the layer's state, rescaled whenever m grows, so nothing overflows.

    Args:
        w: (width,), one weight per feature of a frame.
        b: the score's bias; cancels out when `activation` is the identity.
        activation: f.
        epsilon: 1e-7 in AttentionWeightedAverage of DeepMoji and textgenrnn; 0 for a plain softmax.
        return_sequences, name: as for `Average`.

    >>> pay_heed = undertow.AttentionAverage(w=[100.0], return_sequences=True)         # to the largest so far
    >>> undertow.Sequential([pay_heed]).run(np.float32([[1], [3], [2]]))
    array([[1.],
           [3.],
           [3.]], dtype=float32)
    """

    def __init__(
        self,
        w: Any,
        b: Any = 0.0,
        *,
        activation: Activation | str | None = None,
        epsilon: float = 0.0,
        return_sequences: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(return_sequences, name)
        w = numbers(w, "AttentionAverage: w")
        self.w = vector(w, "AttentionAverage: w", w.size)
        if not w.size:
            raise ShapeError("AttentionAverage: w is empty, expected (width,)")
        self.b = vector(b, "AttentionAverage: b", 1)
        self.activation = as_activation(activation)
        if not 0 <= float(epsilon) < 1:
            raise ValueError(f"AttentionAverage: epsilon is {epsilon}, expected 0 or a small positive number")
        self.epsilon = float(epsilon)
        self.input_shape = self.w.shape

    @classmethod
    def from_keras(
        cls, weights: Any, prefix: str | None = None, *, return_sequences: bool = False, name: str | None = None
    ) -> AttentionAverage:
        """AttentionWeightedAverage of DeepMoji and textgenrnn: one array (width, 1), whose name ends in ``_W``.

        Args:
            weights: a list of that one array, or name -> array as from `read_weights`.
            prefix: in a dict, the path in front of the name, where several match.
            return_sequences, name: as for `Average`.

        Raises:
            ShapeError: there is no such array, several, or one of another shape.

        >>> undertow.AttentionAverage.from_keras([np.ones((6, 1))]).input_shape
        (6,)
        """
        who = "AttentionAverage.from_keras"
        if isinstance(weights, (list, tuple)):
            matches = dict(enumerate(weights))
        else:
            start = "" if prefix is None else prefix.rstrip("/") + "/"
            matches = {k: a for k, a in weights.items() if k.startswith(start) and k.removesuffix(":0").endswith("_W")}
        if len(matches) != 1:
            raise ShapeError(f"{who}: {len(matches)} arrays ({', '.join(map(str, matches))}), expected one named ..._W")
        (array,) = matches.values()
        w = numbers(array, f"{who}: W")
        if w.ndim != 2 or w.shape[1] != 1:
            raise ShapeError(f"{who}: W has shape {w.shape}, expected (width, 1)")
        return cls(w[:, 0], epsilon=1e-7, return_sequences=return_sequences, name=name)

    def add_to(self, graph: Graph, x: str) -> str:
        name, shape = node_name(graph, self.name, "attention"), graph.shape(x)
        score = graph.add(
            "dense",
            [x],
            name=f"{name}_score",
            attrs={"activation": self.activation},
            weights={"W": self.w[None], "b": self.b},
        )
        top, top_before = _register(graph, f"{name}.top", (1,), NO_SCORE)

        def exp(of: str, what: str) -> str:
            lower = graph.add("sub", [of, highest], name=f"{name}_{what}_score")
            value: str = graph.add(
                "activation", [lower], name=f"{name}_{what}", attrs={"activation": Activation("exp")}
            )
            return value

        highest = graph.add("max", [top_before, score], name=f"{name}_top")
        decay, weight = exp(top_before, "decay"), exp(score, "weight")
        all_weights = _sum_so_far(graph, weight, f"{name}.weights", decay)
        added = graph.add("mul", [x, _like(graph, weight, shape, f"{name}_shares")], name=f"{name}_added")
        sums = _sum_so_far(graph, added, f"{name}.sum", _like(graph, decay, shape, f"{name}_decays"))
        graph.add("state_write", [highest], name=f"{top}_next", states=[top])
        if self.epsilon:
            nudge = Activation("affine", 1.0, self.epsilon)
            all_weights = graph.add("activation", [all_weights], name=f"{name}_above_zero", attrs={"activation": nudge})
        y = graph.add("div", [sums, _like(graph, all_weights, shape, f"{name}_divisors")], name=name)
        return self._finish(graph, y, name)

    def __repr__(self) -> str:
        return f"AttentionAverage{f' {self.name!r}' if self.name else ''}({self.w.size})"


class LargestSoFar(_Sums):
    """The maximum of all frames so far, elementwise (a stream's GlobalMaxPooling1D).

    Args:
        return_sequences, name: as for `Average`.

    >>> largest = undertow.Sequential([undertow.LargestSoFar(return_sequences=True)], input_shape=1)
    >>> largest.run(np.float32([[1], [3], [2]]))
    array([[1.],
           [3.],
           [3.]], dtype=float32)
    """

    def __init__(self, *, return_sequences: bool = False, name: str | None = None) -> None:
        super().__init__(return_sequences, name)

    def add_to(self, graph: Graph, x: str) -> str:
        name = node_name(graph, self.name, "largest")
        state, before = _register(graph, f"{name}.largest", graph.shape(x), float(np.finfo(np.float32).min))
        y = graph.add("max", [before, x], name=name)
        graph.add("state_write", [y], name=f"{name}.next", states=[state])
        return self._finish(graph, y, name)
