# SPDX-License-Identifier: MIT
"""What a vector of a Graph is, as a formula of other vectors: movement looked through, sums and products expanded.

A **vector** is some elements of one value, in an order. `Formulas` follows it back through reshape, select and concat
to the elements that they came from, and expands elementwise arithmetic into a **polynomial** of atoms (what an
activation gives, what a state holds) or into a **linear form** of elements (what dense layers and sums make of them).
Coefficients are float64.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..budget import Budget
from ..ir.activations import IDENTITY, Activation
from ..ir.graph import Graph, Node
from ..ir.ops import OPS
from .linear import Linear, Term
from .vectors import Index, Vector, compose, index_of, pick, shifted, table

#: most terms of a polynomial: a cell has three
MAX_TERMS = 8
#: most factors of a term: a cell has two
MAX_FACTORS = 8
#: deepest nesting of sums and products that is followed
MAX_DEPTH = 24
#: most terms of a linear form: v + v has twice those of v
MAX_SUMMANDS = 2**10


class NoFormula(Exception):
    """A vector is no such formula."""


#: product of vectors, sorted by name -> its coefficient
Polynomial = dict[tuple[Vector, ...], float]


class Formulas:
    """Asks a graph what its vectors are. Whatever it does is work of the budget."""

    def __init__(self, graph: Graph, budget: Budget) -> None:
        self.graph, self.budget = graph, budget
        self.producer: dict[str, Node] = {value: node for node in graph.nodes for value in node.outputs}
        self._polynomials: dict[tuple[Vector, int], Polynomial | None] = {}
        #: state -> the value that stands for it wherever it is read
        self.reads: dict[str, str] = {}
        for node in graph.nodes:
            if OPS[node.op].reads_register:
                self.reads.setdefault(node.states[0], node.outputs[0])

    # -- movement -------------------------------------------------------------------------------------------------

    def origins(self, value: str, index: Index) -> list[tuple[Vector, Index]]:
        """Where elements of a value come from, movement looked through: vectors of different values and the places
        that they fill, ascending; ordered by their first place.
        """
        pieces_of: dict[str, list[tuple[Index, Index]]] = {}
        todo: list[tuple[str, Index, Index]] = [(value, index, range(len(index)))]
        while todo:
            value, index, places = todo.pop()
            self.budget.spend(len(index))
            node = self.producer.get(value)
            if node is not None and OPS[node.op].reads_register:
                value = self.reads[node.states[0]]
            if node is None or not OPS[node.op].moves:
                pieces_of.setdefault(value, []).append((places, index))
                continue
            taken = OPS[node.op].taken(node)
            if taken is not None:
                index = compose(taken.reshape(-1), index)
            if len(node.inputs) == 1:
                todo.append((node.inputs[0], index, places))
                continue
            starts = np.cumsum([0, *(self.graph.values[v].size for v in node.inputs)]).tolist()
            for k, mine in _parts(starts, index):
                inside = shifted(compose(index, mine), -starts[k])
                todo.append((node.inputs[k], inside, compose(places, mine)))
        vectors = [(Vector(source, inner), places) for source, (places, inner) in _sorted(pieces_of).items()]
        return sorted(vectors, key=lambda part: part[1][0] if len(part[1]) else 0)

    def vector(self, value: str, index: Index | None = None) -> Vector:
        """Elements of a value as a vector.

        Raises:
            NoFormula: they come from several values.
        """
        parts = self.origins(value, range(self.graph.values[value].size) if index is None else index)
        if len(parts) != 1:
            raise NoFormula("elements of several values")
        return parts[0][0]

    def child(self, vector: Vector, slot: int) -> Vector:
        """The vector that an elementwise op takes for this one."""
        return self.vector(self.producer[vector.source].inputs[slot], vector.index)

    def constant(self, vector: Vector) -> np.ndarray | None:
        """The numbers of a constant vector."""
        node = self.producer.get(vector.source)
        if node is None or node.op != "constant":
            return None
        return pick(node.weights["value"].reshape(-1), vector.index)

    # -- activations and products ---------------------------------------------------------------------------------

    def activation(self, vector: Vector) -> tuple[Activation, Vector] | None:
        """(function, the vector itself before it): of an activation, or of a dense layer with one."""
        node = self.producer.get(vector.source)
        if node is not None and node.op == "activation":
            return node.attrs["activation"], self.child(vector, 0)
        if node is not None and node.op == "dense" and node.attrs["activation"] != IDENTITY:
            return node.attrs["activation"], vector
        return None

    def polynomial(self, vector: Vector, depth: int = 0) -> Polynomial:
        """The vector as sums of products of atoms, with one coefficient for all its elements.

        Raises:
            NoFormula: it has too many terms, or coefficients that differ between elements.
        """
        if depth > MAX_DEPTH:
            raise NoFormula("nested too deep")
        key = vector, depth
        if key not in self._polynomials:
            self._polynomials[key] = None
            self._polynomials[key] = self._expanded(vector, depth)
        polynomial = self._polynomials[key]
        if polynomial is None:
            raise NoFormula("no polynomial, as was found before")
        return polynomial

    def _expanded(self, vector: Vector, depth: int) -> Polynomial:
        self.budget.spend(vector.size)
        node = self.producer.get(vector.source)
        op = node.op if node is not None else ""
        if op in ("add", "sub"):
            a, b = (self.polynomial(self.child(vector, slot), depth + 1) for slot in (0, 1))
            return _sum(a, b, 1.0 if op == "add" else -1.0)
        if op == "mul":
            a, b = (self.polynomial(self.child(vector, slot), depth + 1) for slot in (0, 1))
            if len(a) * len(b) > MAX_TERMS:
                raise NoFormula("too many terms")
            total: Polynomial = {}
            for x, p in a.items():
                for y, q in b.items():
                    total = _sum(total, {_product(x, y): p * q})
            return total
        if op == "affine" and node is not None:
            scale, shift = (_one(pick(node.weights[key].reshape(-1), vector.index)) for key in ("scale", "shift"))
            child = self.polynomial(self.child(vector, 0), depth + 1)
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
            Spent: the budget's work is done.
        """
        return Linear(vector.size, *_Expansion(self, stop).terms(vector, before_activation), self.budget)

    def dense(self, node: Node, index: Index) -> tuple[np.ndarray, list[Term]]:
        """(bias, terms) of rows of a dense layer, before its activation.

        Raises:
            NoFormula: it works on each row of a matrix.
        """
        W = node.weights["W"]
        if self.graph.values[node.outputs[0]].size != len(W):
            raise NoFormula("a dense layer on several rows")
        bias = node.weights["b"].astype(np.float64) if "b" in node.weights else np.zeros(len(W))
        known, pieces = np.full(W.shape[1], np.nan), []
        for vector, columns in self.origins(node.inputs[0], range(W.shape[1])):
            numbers = self.constant(vector)
            if numbers is not None:
                known[table(columns)] = numbers
                rest = index_of(np.flatnonzero(np.isnan(numbers)))
                vector, columns = Vector(vector.source, compose(vector.index, rest)), compose(columns, rest)
            if vector.size:
                pieces.append((vector, columns))
        fixed = ~np.isnan(known)
        bias = bias + W[:, fixed].astype(np.float64) @ known[fixed]
        return pick(bias, index), [Term(tuple(pieces), W=W, rows=index)]


class _Expansion:
    """Expands one linear form, each vector of it once."""

    def __init__(self, formulas: Formulas, stop: frozenset[Vector]) -> None:
        self.formulas, self.stop = formulas, stop
        self._known: dict[tuple[Vector, int], tuple[np.ndarray, list[Term]]] = {}

    def terms(self, vector: Vector, before_activation: bool = False, depth: int = 0) -> tuple[np.ndarray, list[Term]]:
        """(bias, what is added to it)"""
        key = vector, depth
        if key not in self._known:
            self._known[key] = self._terms(vector, before_activation, depth)
        return self._known[key]

    def _terms(self, vector: Vector, before_activation: bool, depth: int) -> tuple[np.ndarray, list[Term]]:
        formulas = self.formulas
        formulas.budget.spend(vector.size)
        node = formulas.producer.get(vector.source)
        op = node.op if node is not None and vector not in self.stop and depth <= MAX_DEPTH else ""
        try:
            if node is None or not op:
                pass
            elif op in ("add", "sub"):
                a, b = (self.terms(formulas.child(vector, slot), depth=depth + 1) for slot in (0, 1))
                if len(a[1]) + len(b[1]) > MAX_SUMMANDS:
                    raise NoFormula("too many terms")
                if op == "add":
                    return a[0] + b[0], a[1] + b[1]
                return a[0] - b[0], a[1] + [term.scaled(np.array(-1.0)) for term in b[1]]
            elif op == "affine":
                scale, shift = (
                    _numbers(pick(node.weights[key].reshape(-1), vector.index)) for key in ("scale", "shift")
                )
                bias, terms = self.terms(formulas.child(vector, 0), depth=depth + 1)
                return scale * bias + shift, [term.scaled(scale) for term in terms]
            elif op == "dense" and (before_activation or node.attrs["activation"] == IDENTITY):
                return formulas.dense(node, vector.index)
        except NoFormula:
            pass
        known = formulas.constant(vector)
        if known is not None:
            return _numbers(known), []
        return np.zeros(()), [Term(((vector, range(vector.size)),))]


def _parts(starts: list[int], index: Index) -> list[tuple[int, Index]]:
    """Places of the elements that lie between starts[k] and starts[k + 1], for each k that has some."""
    if isinstance(index, range):
        ends = [(max(a, index.start), min(b, index.stop)) for a, b in pairwise(starts)]
        return [(k, range(a - index.start, b - index.start)) for k, (a, b) in enumerate(ends) if a < b]
    owner = np.searchsorted(starts, index, side="right") - 1
    return [(int(k), index_of(np.flatnonzero(owner == k))) for k in np.unique(owner)]


def _sorted(pieces_of: dict[str, list[tuple[Index, Index]]]) -> dict[str, tuple[Index, Index]]:
    """Of each value (places, elements), from pieces of both; places ascend."""
    joined = {}
    for source, pieces in pieces_of.items():
        if len(pieces) == 1:
            joined[source] = pieces[0]
            continue
        places, inner = (np.concatenate([table(piece[i]) for piece in pieces]) for i in (0, 1))
        order = np.argsort(places, kind="stable")
        joined[source] = index_of(places[order]), index_of(inner[order])
    return joined


def _product(a: tuple[Vector, ...], b: tuple[Vector, ...]) -> tuple[Vector, ...]:
    if len(a) + len(b) > MAX_FACTORS:
        raise NoFormula("too many factors")
    return tuple(sorted((*a, *b)))


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


def _numbers(array: np.ndarray) -> np.ndarray:
    """In float64: one number where all are equal."""
    return (array[:1].reshape(()) if (array == array[0]).all() else array).astype(np.float64)


__all__ = ["Formulas", "Linear", "NoFormula", "Polynomial", "Vector"]
