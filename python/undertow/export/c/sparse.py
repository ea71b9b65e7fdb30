# SPDX-License-Identifier: MIT
"""Matrices that were pruned in blocks (csrc/FORMAT.md, "Sparse"): four rows at a time, with the blocks of their half.

float32 keeps blocks of zeros that a file holds to fill a half up, for what they multiply may be infinite; exact sums of
int8 need none of them.
"""

from __future__ import annotations

import numpy as np

from ...ir.precision import quantise
from ...tow import sparse
from . import kernels
from .program import Program

_ROWS = 4


class Sparse:
    """All rows (G, R, K) of a matrix in blocks. `whole` is a line of C that multiplies them."""

    is_sparse = True

    def __init__(self, program: Program, rows: np.ndarray, precision: str, name: str) -> None:
        self.program, self.name = program, name
        self.gates, self.n_rows, self.columns = rows.reshape(-1, *rows.shape[-2:]).shape
        self.integers = precision == "sparse int8"
        W = rows.reshape(self.gates, self.n_rows, self.columns)
        add = program.constant
        if self.integers:
            quantised = quantise(W, "int8", name)
            self._scale = add(f"{name}_scale", quantised.scale, "what 1 is worth, of each row")
            W = quantised.q
        blocks = sparse.split(W)
        counts, columns, weights, diagonal = _quads(blocks, self.gates, self.n_rows, self.integers)
        self._counts = add(f"{name}_counts", counts, "blocks of each four rows")
        self._columns = add(f"{name}_columns", columns, "column 4 times this is the first of a block")
        program.turns[self._columns] = int(counts.sum())
        self._weights = add(name, weights, f"blocks of 4 rows and 4 columns, {precision}")
        self._diagonal = "NULL" if diagonal is None else add(f"{name}_diagonal", diagonal, "weight r of row r")

    @property
    def padded_columns(self) -> int:
        return -(-self.columns // 4) * 4

    @property
    def frame_size(self) -> int:
        """16-bit integers of a frame that it multiplies."""
        return self.padded_columns if self.integers else 0

    @property
    def copy_size(self) -> int:
        """Numbers of a copy of the frame, where blocks reach beyond its end."""
        return 0 if self.integers or self.padded_columns == self.columns else self.padded_columns

    def prepare(self, x: str, frame: int, scale: str, copy: str = "") -> tuple[list[str], str]:
        """Lines that make x ready, and what `whole` takes in place of it."""
        at = f"s->frame + {frame}" if frame else "s->frame"
        if self.integers:
            call = f"{kernels.quantise(self.program, False)}({at}, {x}, {self.columns}, {self.padded_columns}, 127.0f)"
            return [f"const float {scale} = {call};"], at
        if not self.copy_size:
            return [], x
        end = f"{copy} + {self.columns}" if "+" not in copy else f"({copy}) + {self.columns}"
        n_more = self.padded_columns - self.columns
        lines = [
            f"memcpy({copy}, {x}, {self.columns} * sizeof(float));",
            f"memset({end}, 0, {n_more} * sizeof(float));",
        ]
        return lines, copy

    def whole(self, y: str, start: str, x: str, scale: str) -> str:
        """y[gate][row]; `start`: where they begin, in the same order, or NULL."""
        lists = f"{self._counts}, {self._columns}, {self._weights}, {self._diagonal}"
        sizes = f"{self.gates}, {self.n_rows}"
        if self.integers:
            return f"{_int8(self.program)}({y}, {start}, {lists}, {self._scale}, {x}, {scale}, {sizes});"
        return f"{_floats(self.program)}({y}, {start}, {lists}, {x}, {sizes});"


def _quads(
    blocks: sparse.Blocks, gates: int, rows: int, drop: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Lists for each four rows of each gate: numbers of blocks, their columns, and weights [block][4 columns][4 rows],
    or words of four columns [block][4 rows]; and the diagonal [gate][row].

    drop: leave out blocks of zeros.
    """
    counts, columns, weights = [], [], []
    for gate in range(gates):
        for row in range(0, rows, _ROWS):
            panel, inside = divmod(row, sparse.PANEL)
            at = panel * gates + gate
            for b in range(blocks.starts[at], blocks.starts[at + 1]):
                block = blocks.weights[b, inside : inside + _ROWS]
                if drop and not block.any():
                    continue
                columns.append(blocks.columns[b, inside // sparse.HALF])
                weights.append(block)
            counts.append(len(weights))
    stacked = np.array(weights or np.zeros((1, _ROWS, sparse.COLUMNS)))
    if drop:
        parts = stacked.astype(np.int64).astype(np.uint32) & 0xFF
        flat = parts[..., 0] | parts[..., 2] << 8 | parts[..., 1] << 16 | parts[..., 3] << 24
    else:
        flat = stacked.astype(np.float32).transpose(0, 2, 1)
    diagonal = None
    if blocks.diagonal is not None:
        of_gates = blocks.diagonal.reshape(-1, gates, sparse.PANEL).transpose(1, 0, 2).reshape(gates, -1)[:, :rows]
        diagonal = np.ascontiguousarray(of_gates.astype(np.int8 if drop else np.float32))
    return (
        np.diff(counts, prepend=0).astype(np.uint16),
        np.array(columns or [0], np.uint16),
        np.ascontiguousarray(flat),
        diagonal,
    )


_HEAD = "size_t gates, size_t rows) {\n  size_t g, r, k;\n  int i;\n  for (g = 0; g < gates; ++g)\n"


def _floats(program: Program) -> str:
    text = f"""\
/* A matrix in blocks: chain k of four over column k of each block, y = (0 + 1) + (2 + 3). */
static UT_NOINLINE void sparse_f32(float* y, const float* start, const uint16_t* counts, const uint16_t* columns,
                                   const float* w, const float* diagonal, const float* x, {_HEAD}\
    for (r = 0; r < rows; r += 4) {{
      const int m = rows - r < 4 ? (int)(rows - r) : 4;
      float d[4][4] = {{{{0.0f}}}};
      for (i = 0; i < m; ++i) {{
        d[0][i] = start ? start[g * rows + r + (size_t)i] : 0.0f;
        if (diagonal) d[0][i] = mul_add(diagonal[g * rows + r + (size_t)i], x[r + (size_t)i], d[0][i]);
      }}
      for (k = *counts++; k != 0; --k, w += 16) {{
        const float* v = x + 4 * *columns++;
        for (i = 0; i < 4; ++i) {{
          d[0][i] = mul_add(w[i], v[0], d[0][i]);
          d[1][i] = mul_add(w[4 + i], v[1], d[1][i]);
          d[2][i] = mul_add(w[8 + i], v[2], d[2][i]);
          d[3][i] = mul_add(w[12 + i], v[3], d[3][i]);
        }}
      }}
      for (i = 0; i < m; ++i) *y++ = add(add(d[0][i], d[1][i]), add(d[2][i], d[3][i]));
    }}
}}
"""
    return program.function("sparse_f32", text, ["mul_add", "add"])


def _int8(program: Program) -> str:
    kernels.smlad(program)
    text = f"""\
/* The same of int8, words of 4 columns in the order 0 2 1 3: y = start + (sum scale) s. */
static UT_NOINLINE void sparse_i8(float* y, const float* start, const uint16_t* counts, const uint16_t* columns,
                                  const uint32_t* w, const int8_t* diagonal, const float* scale, const int16_t* x,
                                  float s, {_HEAD}\
    for (r = 0; r < rows; r += 4) {{
      const int m = rows - r < 4 ? (int)(rows - r) : 4;
      int32_t a[4] = {{0}};
      for (i = 0; diagonal && i < m; ++i) a[i] = diagonal[g * rows + r + (size_t)i] * x[r + (size_t)i];
      for (k = *counts++; k != 0; --k, w += 4) {{
        const int16_t* v = x + 4 * *columns++;
        for (i = 0; i < 4; ++i) {{
#if {kernels.DSP}
          a[i] = two_products(even_bytes(w[i]), pair_at(v), two_products(odd_bytes(w[i]), pair_at(v + 2), a[i]));
#else
          a[i] += (int8_t)(w[i] & 0xffu) * v[0] + (int8_t)(w[i] >> 16 & 0xffu) * v[1] +
                  (int8_t)(w[i] >> 8 & 0xffu) * v[2] + (int8_t)(w[i] >> 24) * v[3];
          UT_APART(a[i]);
#endif
        }}
      }}
      for (i = 0; i < m; ++i, ++scale)
        *y++ = mul_add(mul((float)a[i], *scale), s, start ? start[g * rows + r + (size_t)i] : 0.0f);
    }}
}}
"""
    return program.function("sparse_i8", text, ["mul_add", "mul"])
