# SPDX-License-Identifier: MIT
"""Linear forms of elements, as sums of diagonals and of rows of matrices that a graph holds already.

A form between two frames of n elements has n * n coefficients, of which a file may hold none: they are made, in
float64, only where somebody asks for all of them, and only as many as a `Budget` allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..budget import Budget
from .vectors import Index, Vector, compose, index_of, pick, table

#: coefficients that are made at a time
_AT_ONCE = 2**18


class NotDiagonal(Exception):
    """A form has coefficients off its diagonal."""


@dataclass(frozen=True)
class Term:
    """Elements, each times a number; or rows of a matrix times elements.

    pieces: vectors, with the columns of W that multiply them. scales: factors of the result, one for all its elements
    or one for each, in the order in which they are multiplied. rows: of W, one for each element of the result.
    """

    pieces: tuple[tuple[Vector, Index], ...]
    scales: tuple[np.ndarray, ...] = ()
    W: np.ndarray | None = None
    rows: Index = range(0)

    def scaled(self, scale: np.ndarray) -> Term:
        return Term(self.pieces, (*self.scales, scale), self.W, self.rows)

    def diagonal(self, rows: Index) -> np.ndarray:
        """The numbers of some elements of the result, float64; one for all where they are equal."""
        numbers = np.ones(())
        for scale in self.scales:
            numbers = (pick(scale, rows) if scale.ndim else scale) * numbers
        return numbers

    def block(self, rows: Index, columns: Index) -> np.ndarray:
        """The coefficients of some elements of the result in some columns of W, float64."""
        assert self.W is not None
        coefficients = pick(self.W, compose(self.rows, rows))
        coefficients = (
            coefficients[:, columns.start : columns.stop] if isinstance(columns, range) else coefficients[:, columns]
        ).astype(float)
        for scale in self.scales:
            coefficients = (pick(scale, rows)[:, None] if scale.ndim else scale) * coefficients
        return coefficients


@dataclass
class Linear:
    """`size` elements: shift + the sum of `terms`, element by element; its coefficients times -1 where `negative`.

    shift: one number for all elements, or one for each.
    """

    size: int
    shift: np.ndarray
    terms: list[Term]
    budget: Budget
    negative: bool = False
    _zero: dict[Vector, bool] = field(default_factory=dict)

    @property
    def bias(self) -> np.ndarray:
        return np.broadcast_to(self.shift, self.size)

    def negated(self) -> Linear:
        return Linear(self.size, -self.shift, self.terms, self.budget, not self.negative)

    def pieces(self) -> list[Vector]:
        """What the form reads."""
        return [vector for term in self.terms for vector, _ in term.pieces]

    def inputs(self, own: Sequence[Vector]) -> list[Vector]:
        """The elements that the form reads and `own` has not, in the order in which it first reads of a value."""
        vectors = []
        for term in self.terms:
            left = [(vector, columns, vector.without(own)) for vector, columns in term.pieces]
            firsts = [(compose(columns, rest)[0], vector, rest) for vector, columns, rest in left if len(rest)]
            vectors += [Vector(v.source, compose(v.index, rest)) for _, v, rest in sorted(firsts, key=lambda f: f[0])]
        return vectors

    def reads_only(self, of: Vector) -> bool:
        """Whether nothing but elements of `of` enters."""
        return all(len(vector.without([of])) == 0 for vector in self.pieces())

    # -- coefficients ---------------------------------------------------------------------------------------------

    def matrix(self, of: Sequence[Vector]) -> np.ndarray:
        """The coefficients of elements (size, elements of all `of`), zero where the form does not read one.

        Raises:
            TooMuch: they are more than the budget allows.
        """
        width = sum(vector.size for vector in of)
        self.budget.take(8 * self.size * width)
        matrix, present = np.zeros((self.size, width)), np.zeros(width, bool)
        start = 0
        for vector in of:
            for term in self.terms:
                for piece, columns in term.pieces:
                    there, here = vector.places(piece)
                    at = table(here) + start
                    present[at] = True
                    if term.W is None:
                        matrix[table(there), at] += term.diagonal(there)
                    else:
                        _add(matrix, term, compose(columns, there), at)
            start += vector.size
        if self.negative:
            matrix[:, present] *= -1.0
        return matrix

    def is_zero(self, of: Vector) -> bool:
        """Whether no element of `of` has a coefficient."""
        if of not in self._zero:
            entries = self._entries(of)
            self._zero[of] = not (self.matrix([of]).any() if entries is None else entries.numbers.any())
        return self._zero[of]

    def diagonal(self, of: Vector) -> np.ndarray:
        """The coefficient of element i of `of` in element i of the form.

        Raises:
            NotDiagonal: others are not zero.
        """
        entries = self._entries(of)
        if entries is None:
            matrix = self.matrix([of])
            diagonal = np.diag(matrix)
            if matrix.shape != (len(diagonal), len(diagonal)) or (matrix != np.diag(diagonal)).any():
                raise NotDiagonal
            return diagonal
        diagonal = np.zeros(self.size)
        rows, columns = entries.rows, entries.columns
        if isinstance(rows, range) and isinstance(columns, range) and rows == columns and self.size == of.size:
            diagonal[rows.start : rows.stop] = entries.numbers
            return diagonal
        mine = table(rows) == table(columns)
        numbers = np.broadcast_to(entries.numbers, mine.shape)
        if self.size != of.size or numbers[~mine].any():
            raise NotDiagonal
        diagonal[table(rows)[mine]] = numbers[mine]
        return diagonal

    def is_diagonal(self, of: Vector) -> bool:
        """Whether element i of the form reads at most element i of `of`."""
        try:
            self.diagonal(of)
        except NotDiagonal:
            return False
        return True

    def is_identity(self, of: Vector) -> bool:
        """Whether element i of the form reads element i of `of` once, and no other."""
        return self.is_diagonal(of) and bool((self.diagonal(of) == 1).all())

    def _entries(self, of: Vector) -> _Entries | None:
        """The coefficients of elements of `of`, where no matrix multiplies them; else None."""
        parts = []
        for term in self.terms:
            for piece, _ in term.pieces:
                there, here = of.places(piece)
                if len(there) and term.W is not None:
                    return None
                if len(there):
                    self.budget.spend(len(there))
                    parts.append(_Entries(there, here, term.diagonal(there)))
        sign = -1.0 if self.negative else 1.0
        if not parts:
            return _Entries(range(0), range(0), np.zeros(()))
        first = parts[0]
        if all(_same(e.rows, first.rows) and _same(e.columns, first.columns) for e in parts):
            numbers = np.zeros(())
            for entries in parts:  # in the order of the terms, as `matrix` adds them
                numbers = numbers + entries.numbers
            return _Entries(first.rows, first.columns, sign * numbers)
        self.budget.take(8 * 6 * sum(len(e.rows) for e in parts))
        keys = np.concatenate([table(e.rows).astype(np.int64) * of.size + table(e.columns) for e in parts])
        every = np.concatenate([np.broadcast_to(e.numbers, len(e.rows)) for e in parts])
        places, inverse = np.unique(keys, return_inverse=True)
        sums = np.zeros(len(places))
        np.add.at(sums, inverse, every)
        return _Entries(places // of.size, places % of.size, sign * sums)


@dataclass(frozen=True)
class _Entries:
    """Coefficients at (rows, columns), each place once; one number where all are equal."""

    rows: Index
    columns: Index
    numbers: np.ndarray


def _same(a: Index, b: Index) -> bool:
    if isinstance(a, range) or isinstance(b, range):
        return isinstance(a, range) and isinstance(b, range) and a == b
    return np.array_equal(a, b)


def _add(matrix: np.ndarray, term: Term, columns: Index, at: np.ndarray) -> None:
    """Add the columns of a term's matrix to columns `at`, in which one may stand several times."""
    if not len(at):
        return
    once = len(np.unique(at)) == len(at)
    where: Index = index_of(at) if once else at
    target = slice(where.start, where.stop) if isinstance(where, range) else where
    n_rows = max(1, _AT_ONCE // len(at))
    for first in range(0, len(matrix), n_rows):
        rows = range(first, min(first + n_rows, len(matrix)))
        block = term.block(rows, columns)
        if once:
            matrix[rows.start : rows.stop, target] += block
        else:
            for column, place in zip(block.T, at, strict=True):
                matrix[rows.start : rows.stop, place] += column


__all__ = ["Linear", "NotDiagonal", "Term"]
