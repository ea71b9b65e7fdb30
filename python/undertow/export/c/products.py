# SPDX-License-Identifier: MIT
"""Matrices: how their weights lie in the flash, without padding of rows, and how a step multiplies them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir.nodes import Node
from ...ir.precision import GROUP, SPARSE_CODES, limit, narrow, quantise, smoothed
from . import kernels, sparse
from .program import Program

#: columns of a row in one word
_IN_WORD = {"int16": 2, "int8": 4, "int4": 8}
_SHORT = {"float32": "float", "float16": "uint16_t", "bfloat16": "uint16_t"}


def product(program: Program, node: Node, key: str, rows: np.ndarray, name: str) -> Product | sparse.Sparse:
    """The product with rows (R, K) of a node's weight `key`, in the order in which groups take them.

    Of a matrix in blocks rows are (G, R, K), and all are multiplied at once.
    """
    precision = node.precisions.get(key, "float32")
    if precision in SPARSE_CODES:
        return sparse.Sparse(program, rows, precision, name)
    return Product(program, rows.reshape(-1, rows.shape[-1]), precision, node.smoothing.get(key), name)


class Product:
    """Rows of a matrix in groups of `width`, those that are left in one of less.

    `prepare` and `group` give lines of C.
    """

    is_sparse = False

    def __init__(
        self, program: Program, rows: np.ndarray, precision: str, smoothing: np.ndarray | None, name: str
    ) -> None:
        self.program, self.precision, self.name = program, precision, name
        self.n_rows, self.columns = rows.shape
        self._rows, self._smoothing = rows, smoothing
        self.integers = precision in _IN_WORD
        self.paired = precision == "int8" and self.columns <= kernels.WIDEST_PAIRED

    @property
    def frame_size(self) -> int:
        """16-bit integers of a frame that it multiplies."""
        return self.n_words * _IN_WORD[self.precision] + 2 * self.paired if self.integers else 0

    @property
    def n_words(self) -> int:
        """Words of a row of integers."""
        return -(-self.columns // _IN_WORD[self.precision])

    def store(self, width: int) -> None:
        """Write the weights for groups of so many rows; those of integers lie in smaller ones, as kernels take them."""
        what, add = self.name, self.program.constant
        groups = [slice(r, min(r + width, self.n_rows)) for r in range(0, self.n_rows, width)]
        if self.integers:
            few = kernels.INTEGER_ROWS
            groups = [slice(r, min(r + few, g.stop)) for g in groups for r in range(g.start, g.stop, few)]
        if not self.integers:
            numbers = self._rows if self.precision == "float32" else narrow(self._rows, self.precision, what)
            if self.precision == "float16":
                numbers = numbers.view(np.uint16)
            flat = np.concatenate([numbers[group].T.reshape(-1) for group in groups])
            self._weights = add(self.name, flat, f"{self.n_rows} rows of {self.columns} columns, {self.precision}")
            return
        rows = self._rows if self._smoothing is None else smoothed(self._rows, self._smoothing, what)
        stored = quantise(rows, self.precision, what)
        words = _WORDS[self.precision](stored.q)  # (R, words)
        flat = np.concatenate([words[group].T.reshape(-1) for group in groups])
        note = f"{self.n_rows} rows of {self.columns} columns, {self.precision}"
        self._weights = add(self.name, flat, note, "B" if self.paired else "")
        scale = stored.scale
        if self.precision == "int4":
            scale = np.concatenate([scale.view(np.uint16)[group].T.reshape(-1) for group in groups])
        self._scale = add(f"{self.name}_scale", scale, "what 1 is worth, of each row")
        if self._smoothing is not None:
            factors = np.ldexp(np.float32(1), -self._smoothing.astype(np.int32)).astype(np.float32)
            self._factors = add(f"{self.name}_factors", factors, "what a frame is multiplied by before it is integers")

    def prepare(self, x: str, frame: int, scale: str) -> list[str]:
        """Make integers of the frame x, from integer `frame` on; `scale` is the variable that says what 1 is worth."""
        if not self.integers:
            return []
        most = f"{limit(self.columns) if self.precision == 'int16' else 127}.0f"
        at = f"s->frame + {frame}" if frame else "s->frame"
        sizes = f"{self.columns}, {self.n_words * _IN_WORD[self.precision]}, {most}"
        if self._smoothing is None:
            call = f"{kernels.quantise(self.program, False)}({at}, {x}, {sizes})"
        else:
            call = f"{kernels.quantise(self.program, True)}({at}, {x}, {sizes}, {self._factors})"
        lines = [f"const float {scale} = {call};"]
        ready = kernels.ready(self.program, self.precision, self.columns)
        return [*lines, f"{ready}({at}, {self.n_words});"] if ready else lines

    def group(self, y: str, start: str, row: str | int, width: int, x: str, frame: int, scale: str) -> list[str]:
        """Lines that multiply `width` rows from `row` on; `start` is where they begin, `width` numbers."""
        if not self.integers:
            if self.precision == "float32":
                kernel = kernels.floats(self.program, width)
            else:
                kernel = kernels.halves(self.program, width, self.precision)
            return [f"{kernel}({y}, {start}, {offset(self._weights, row, self.columns)}, {x}, {self.columns});"]
        n_words = self.n_words
        per_row = -(-self.columns // GROUP) if self.precision == "int4" else 1
        at = f"s->frame + {frame}" if frame else "s->frame"
        lines, done = [], 0
        for rows, n in ((kernels.INTEGER_ROWS, width // kernels.INTEGER_ROWS), (width % kernels.INTEGER_ROWS, 1)):
            if rows and n:
                kernel = kernels.integers(self.program, rows, self.precision, self.columns)
                weights, scales = (
                    behind(offset(base, row, times), done * times)
                    for base, times in ((self._weights, n_words), (self._scale, per_row))
                )
                y_at, start_at = behind(y, done), behind(start, done)
                lines.append(f"{kernel}({y_at}, {start_at}, {weights}, {scales}, {at}, {scale}, {n_words}, {n});")
                done += rows * n
        return lines


def behind(pointer: str, n: int) -> str:
    """A pointer so many numbers further on."""
    return f"{pointer} + {n}" if n else pointer


def offset(base: str, index: str | int, times: int) -> str:
    """base + index * times, as C writes it."""
    if isinstance(index, int):
        return f"{base} + {index * times}" if index * times else base
    return f"{base} + {index}" if times == 1 else f"{base} + {times} * {index}"


def _pairs(q: np.ndarray) -> np.ndarray:
    low, high = _columns(q, 2)
    return low & 0xFFFF | high << 16


def _bytes(q: np.ndarray) -> np.ndarray:
    a, b, c, d = (part & 0xFF for part in _columns(q, 4))
    return a | c << 8 | b << 16 | d << 24


def _nibbles(q: np.ndarray) -> np.ndarray:
    parts = [part & 15 for part in _columns(q, 8)]
    word = np.zeros_like(parts[0])
    for j in range(4):
        word |= parts[2 * j] << 4 * (3 - j) | parts[2 * j + 1] << 4 * (7 - j)
    return word


def _columns(q: np.ndarray, n: int) -> Sequence[np.ndarray]:
    """The columns (R, words) that stand first, second ... in a word of n."""
    padded = np.pad(q.astype(np.int64), [(0, 0), (0, -q.shape[1] % n)]).astype(np.uint32)
    return [padded[:, i::n] for i in range(n)]


_WORDS = {"int16": _pairs, "int8": _bytes, "int4": _nibbles}
