# SPDX-License-Identifier: MIT
"""What a vector of a Graph is, as a formula of other vectors: movement looked through, sums and products expanded.

A **vector** is some elements of one value, in an order. `Formulas` follows it back through reshape, select and concat
to the elements that they came from, and expands elementwise arithmetic into a **polynomial** of atoms (what an
activation gives, what a state holds) or into a **linear form** of elements (what dense layers and sums make of them).
Coefficients are float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .activations import IDENTITY, Activation
from .graph import Graph, Node

#: most terms of a polynomial: a cell has three
MAX_TERMS = 8
#: deepest nesting of sums and products that is followed
MAX_DEPTH = 24
#: elements of one matrix of a linear form: as many as the weights of the graph have, times this, but not below a floor.
#: Elementwise sums of a large frame have the square of its size, and are not worth that.
WEIGHT_RATIO = 4
LEAST_ELEMENTS = 2**22


class NoFormula(Exception):
    """A vector is no such formula."""


@dataclass(frozen=True)
class Vector:
    """Elements `index` of the flattened value `source`, which no movement made."""

    source: str
    index: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.index)


#: product of vectors, sorted by name -> its coefficient
Polynomial = dict[tuple[Vector, ...], float]


@dataclass
class Linear:
    """bias + matrix @ (elements `ids`); an id is (value, index)."""

    bias: np.ndarray
    matrix: np.ndarray
    ids: list[tuple[str, int]]

    def columns(self, ids: list[tuple[str, int]]) -> np.ndarray:
        """The columns that multiply `ids`, zero where there is none."""
        place = {key: i for i, key in enumerate(self.ids)}
        found = np.zeros((len(self.bias), len(ids)))
        for i, key in enumerate(ids):
            if key in place:
                found[:, i] = self.matrix[:, place[key]]
        return found


class Formulas:
    """Asks a graph what its vectors are."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.producer: dict[str, Node] = {value: node for node in graph.nodes for value in node.outputs}
        n_weights = sum(w.size for node in graph.nodes for w in node.weights.values())
        self._most_elements = max(WEIGHT_RATIO * n_weights, LEAST_ELEMENTS)
        #: state -> the value that stands for it wherever it is read
        self.reads: dict[str, str] = {}
        for node in graph.nodes:
            if node.op == "state_read":
                self.reads.setdefault(node.states[0], node.outputs[0])

    # -- movement -------------------------------------------------------------------------------------------------

    def origins(self, value: str, index: np.ndarray) -> list[tuple[str, int]]:
        """Where elements of a value come from, movement looked through."""
        node = self.producer.get(value)
        if node is not None and node.op == "state_read":
            value = self.reads[node.states[0]]
        if node is None or node.op not in ("reshape", "select", "concat"):
            return [(value, int(i)) for i in index]
        if node.op == "reshape":
            return self.origins(node.inputs[0], index)
        if node.op == "select":
            index = node.weights["indices"].reshape(-1)[index]
        starts = np.cumsum([0, *(self.graph.values[v].size for v in node.inputs)])
        part = np.searchsorted(starts, index, side="right") - 1
        found: list[tuple[str, int]] = [("", 0)] * len(index)
        for k in np.unique(part):
            mine = np.flatnonzero(part == k)
            for at, origin in zip(mine, self.origins(node.inputs[k], index[mine] - starts[k]), strict=True):
                found[at] = origin
        return found

    def vector(self, value: str, index: np.ndarray | None = None) -> Vector:
        """Elements of a value as a vector.

        Raises:
            NoFormula: they come from several values.
        """
        found = self.origins(value, np.arange(self.graph.values[value].size) if index is None else index)
        sources = {source for source, _ in found}
        if len(sources) != 1:
            raise NoFormula("elements of several values")
        return Vector(sources.pop(), tuple(i for _, i in found))

    def _child(self, vector: Vector, slot: int) -> Vector:
        return self.vector(self.producer[vector.source].inputs[slot], np.array(vector.index))

    def constant(self, vector: Vector) -> np.ndarray | None:
        """The numbers of a constant vector."""
        node = self.producer.get(vector.source)
        if node is None or node.op != "constant":
            return None
        return node.weights["value"].reshape(-1)[list(vector.index)].astype(np.float64)

    # -- activations and products ---------------------------------------------------------------------------------

    def activation(self, vector: Vector) -> tuple[Activation, Vector] | None:
        """(function, the vector itself before it): of an activation, or of a dense layer with one."""
        node = self.producer.get(vector.source)
        if node is not None and node.op == "activation":
            return node.attrs["activation"], self._child(vector, 0)
        if node is not None and node.op == "dense" and node.attrs["activation"] != IDENTITY:
            return node.attrs["activation"], vector
        return None

    def polynomial(self, vector: Vector, depth: int = 0) -> Polynomial:
        """The vector as sums of products of atoms, with one coefficient for all its elements.

        Raises:
            NoFormula: it has too many terms, or coefficients that differ between elements.
        """
        node = self.producer.get(vector.source)
        op = node.op if node is not None else ""
        if depth > MAX_DEPTH:
            raise NoFormula("nested too deep")
        if op in ("add", "sub"):
            a, b = (self.polynomial(self._child(vector, slot), depth + 1) for slot in (0, 1))
            return _sum(a, b, 1.0 if op == "add" else -1.0)
        if op == "mul":
            a, b = (self.polynomial(self._child(vector, slot), depth + 1) for slot in (0, 1))
            if len(a) * len(b) > MAX_TERMS:
                raise NoFormula("too many terms")
            total: Polynomial = {}
            for x, p in a.items():
                for y, q in b.items():
                    total = _sum(total, {_product(x, y): p * q})
            return total
        if op == "affine" and node is not None:
            index = list(vector.index)
            scale = _one(node.weights["scale"].reshape(-1)[index])
            shift = _one(node.weights["shift"].reshape(-1)[index])
            child = self.polynomial(self._child(vector, 0), depth + 1)
            return _sum({key: scale * c for key, c in child.items() if scale}, {(): shift} if shift else {})
        known = self.constant(vector)
        if known is not None:
            value = _one(known)
            return {(): value} if value else {}
        return {(vector,): 1.0}

    # -- linear forms ---------------------------------------------------------------------------------------------

    def linear(self, vector: Vector, before_activation: bool = False, stop: frozenset[Vector] = frozenset()) -> Linear:
        """The vector as bias + matrix @ elements: sums, scales and one dense layer are expanded, the rest are elements.

        before_activation: of a dense layer with an activation, what goes into that. stop: vectors that stay elements.

        Raises:
            NoFormula: its matrix would be much larger than all weights of the graph.
        """
        bias, parts = self._terms(vector, before_activation, stop, 0)
        ids: dict[tuple[str, int], int] = {}
        for _, keys in parts:
            for key in keys:
                ids.setdefault(key, len(ids))
        self._afford(vector.size, len(ids))
        matrix = np.zeros((vector.size, len(ids)))
        for part, keys in parts:
            for column, key in zip(part.T, keys, strict=True):
                matrix[:, ids[key]] += column
        return Linear(bias, matrix, list(ids))

    def _terms(
        self, vector: Vector, before_activation: bool, stop: frozenset[Vector], depth: int
    ) -> tuple[np.ndarray, list[tuple[np.ndarray, list[tuple[str, int]]]]]:
        node, n = self.producer.get(vector.source), vector.size
        op = node.op if node is not None and vector not in stop and depth <= MAX_DEPTH else ""
        index = list(vector.index)
        try:
            if node is None or not op:
                pass
            elif op in ("add", "sub"):
                a, b = (self._terms(self._child(vector, slot), False, stop, depth + 1) for slot in (0, 1))
                sign = 1.0 if op == "add" else -1.0
                return a[0] + sign * b[0], a[1] + [(sign * part, keys) for part, keys in b[1]]
            elif op == "affine":
                scale = node.weights["scale"].reshape(-1)[index].astype(np.float64)
                shift = node.weights["shift"].reshape(-1)[index].astype(np.float64)
                bias, parts = self._terms(self._child(vector, 0), False, stop, depth + 1)
                return scale * bias + shift, [(scale[:, None] * part, keys) for part, keys in parts]
            elif op == "dense" and (before_activation or node.attrs["activation"] == IDENTITY):
                return self._dense(node, np.array(index))
        except NoFormula:
            pass
        known = self.constant(vector)
        if known is not None:
            return known, []
        self._afford(n, n)
        return np.zeros(n), [(np.eye(n), [(vector.source, i) for i in index])]

    def _afford(self, rows: int, columns: int) -> None:
        if rows * columns > self._most_elements:
            raise NoFormula(f"a matrix of {rows} x {columns}")

    def _dense(
        self, node: Node, index: np.ndarray
    ) -> tuple[np.ndarray, list[tuple[np.ndarray, list[tuple[str, int]]]]]:
        W = node.weights["W"].astype(np.float64)
        if self.graph.values[node.outputs[0]].size != len(W):
            raise NoFormula("a dense layer on several rows")
        bias = node.weights["b"].astype(np.float64) if "b" in node.weights else np.zeros(len(W))
        keys = self.origins(node.inputs[0], np.arange(W.shape[1]))
        known = np.array([self._constant_element(key) for key in keys])
        free = np.isnan(known)
        bias = bias + W[:, ~free] @ known[~free]
        return bias[index], [
            (W[np.ix_(index, free)], [key for key, is_free in zip(keys, free, strict=True) if is_free])
        ]

    def _constant_element(self, key: tuple[str, int]) -> float:
        value = self.constant(Vector(key[0], (key[1],)))
        return float("nan") if value is None else float(value[0])


def _product(a: tuple[Vector, ...], b: tuple[Vector, ...]) -> tuple[Vector, ...]:
    return tuple(sorted((*a, *b), key=lambda v: (v.source, v.index)))


def _sum(a: Polynomial, b: Polynomial, sign: float = 1.0) -> Polynomial:
    total = dict(a)
    for key, coefficient in b.items():
        total[key] = total.get(key, 0.0) + sign * coefficient
    total = {key: c for key, c in total.items() if c}
    if len(total) > MAX_TERMS:
        raise NoFormula("too many terms")
    return total


def _one(numbers: np.ndarray) -> float:
    if numbers.size == 0 or (numbers != numbers[0]).any():
        raise NoFormula("coefficients differ between elements")
    return float(numbers[0])


__all__ = ["Formulas", "Linear", "NoFormula", "Polynomial", "Vector"]
