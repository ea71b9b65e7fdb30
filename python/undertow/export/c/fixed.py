# SPDX-License-Identifier: MIT
"""Cells in fixed8: integers from the frame to the state, with the functions of csrc/kernels/fixed.h.

Rows come in groups of four, whose bytes of a pair of columns are two words: the frame is read once for four rows, and
of two bytes only the upper one is taken apart. Sums are taken modulo 2^32, in which both can be told apart at the end.
"""

from __future__ import annotations

import numpy as np

from ...ir import fixed
from ...ir.nodes import Node
from ...ir.precision import FIXED, quantise
from . import kernels
from .products import behind
from .program import Lines, Program

#: rows of a group, as many as a word has bytes
ROWS = 4
#: columns that are taken at once
COLUMNS = 4

_THUMB_1 = "defined(__thumb__) && !defined(__thumb2__) && defined(__OPTIMIZE__) && !defined(__ARM_BIG_ENDIAN)"


def is_fixed(node: Node) -> bool:
    return node.precisions.get("W") == FIXED


def stretches(columns: int) -> list[slice]:
    return [slice(k, min(k + fixed.STRETCH, columns)) for k in range(0, columns, fixed.STRETCH)]


class Matrix:
    """Rows (units, gates, K) of a matrix for so many units at once, with zeros behind the last.

    Attributes:
        frame_size: 16-bit integers of a frame that it multiplies, and of what stands behind those of each stretch.
    """

    def __init__(self, program: Program, rows: np.ndarray, units: int, name: str, what: str) -> None:
        self.program = program
        H, self.n_gates, self.columns = rows.shape
        stored = quantise(rows, FIXED, what)
        n = -(-H // units) * units
        q, scale = (np.pad(v, [(0, n - H), *[(0, 0)] * (v.ndim - 1)]) for v in (stored.q, stored.scale))
        flat = q.reshape(-1, ROWS, self.columns)
        note = f"{H} units, {self.n_gates} rows each, of {self.columns} columns, {FIXED}"
        self.n_words = [-(-(s.stop - s.start) // COLUMNS) * COLUMNS for s in stretches(self.columns)]
        words = [_words(flat[..., s]).reshape(-1) for s in stretches(self.columns)]
        self._weights = program.constant(name, np.concatenate(words), note)
        self._groups = len(flat)
        multiplier, exponent = fixed.multipliers(scale)
        factors = (multiplier << 8 | exponent).astype(np.uint32)
        self._scale = program.constant(f"{name}_scale", factors, "15 bits and an exponent for each row")

    @property
    def frame_size(self) -> int:
        return sum(self.n_words) + 2 * len(self.n_words)

    def prepare(self, x: str, frame: int, base: str) -> list[str]:
        """Make integers of the frame x, from integer `frame` on."""
        lines = []
        for s, n in zip(stretches(self.columns), self.n_words, strict=True):
            at, of_x = behind("s->frame", frame), behind(x, s.start)
            lines.append(f"{_frame(self.program)}({at}, {of_x}, {s.stop - s.start}, {base});")
            frame += n + 2
        return lines

    def gates(self, z: str, start: str, unit: str, units: int, frame: int, base: str) -> list[str]:
        """Sums z of so many units from one on, which begin at numbers of `start`, or at zeros."""
        groups, lines, before = units * self.n_gates // ROWS, [], 0
        for n in self.n_words:
            first = f"{self.n_gates} * {unit}" if self.n_gates > 1 else unit
            w = f"{behind(self._weights, before)} + {n} * ({first} / {ROWS})"
            begin = z if before else f"{start} + {first}" if start else self._zeros(units * self.n_gates)
            call = f"{z}, {begin}, {w}, {self._scale} + {first}, {behind('s->frame', frame)}, {n}, {groups}, {base}"
            lines.append(f"{_gates(self.program)}({call});")
            before += n * self._groups
            frame += n + 2
        return lines

    def _zeros(self, n: int) -> str:
        return self.program.constant(f"zeros_{n}", np.zeros(n, np.int32))


def _words(q: np.ndarray) -> np.ndarray:
    """Bytes (groups, 4, K) as words (groups, columns / 2, 2): each has two columns, lower and upper half, of two rows,
    lower and upper byte, the lower one 128 too large.
    """
    groups, _, K = q.shape
    padded = np.zeros((groups, 2, 2, K + -K % COLUMNS), np.int64)
    padded[..., :K] = q.reshape(groups, 2, 2, K)
    halves = (padded[:, :, 0] + 128 | (padded[:, :, 1] & 0xFF) << 8).reshape(groups, 2, -1, 2)
    words = halves[..., 0] | halves[..., 1] << 16
    return words.transpose(0, 2, 1).astype(np.uint32)


def _frame(program: Program) -> str:
    text = """\
/* n numbers as integers, zeros up to a multiple of 4, and behind them 128 times their sum: by that much bytes that are
 * 128 too large make a sum too large. */
static UT_NOINLINE void fixed_frame(int16_t* q, const float* x, size_t n, int32_t base) {
  uint32_t sum = 0;
  size_t k;
  for (k = 0; k < n; ++k) {
    const int32_t v = fixed_count(fixed_word(x + k), base, FIXED_MOST_COUNT);
    q[k] = (int16_t)v;
    sum += (uint32_t)v;
    UT_APART(sum);
  }
  while (n & 3u) q[n++] = 0;
  sum <<= 7;
  q[n] = (int16_t)(sum & 0xffffu);
  q[n + 1] = (int16_t)(sum >> 16);
}
"""
    return program.function("fixed_frame", text, ["fixed_count", "fixed_word", "FIXED_MOST_COUNT"])


def _word(first: str, second: str) -> list[str]:
    """Four products of Thumb-1, of a word with x0 in v and x1 in u; the registers of sums are those that few reach."""
    both = [
        "muls %[t], {x}, %[t]",
        f"add {first}, %[t]",
        "muls %[{b}], {x}, %[{b}]",
        f"add {second}, %[{{b}}]",
    ]
    lines = ["ldmia %[w]!, {%[a]}", "sxth %[t], %[a]", "asrs %[b], %[t], #8"]
    lines += [line.format(x="%[v]", b="b") for line in both]
    return [*lines, "asrs %[t], %[a], #16", "asrs %[a], %[a], #24", *(line.format(x="%[u]", b="a") for line in both)]


def _gates(program: Program) -> str:
    # GCC does not save r8 to r11 where it optimises for size.
    sums, kept = ("r8", "r10", "r11", "r12"), ("r8", "r10", "r11")
    pair = ["ldmia %[x]!, {%[u]}", "sxth %[v], %[u]", "asrs %[u], %[u], #16", *_word(*sums[:2]), *_word(*sums[2:])]
    lines = [".syntax unified", "mov lr, %[t]"]
    lines += [line for r in kept for line in (f"mov %[t], {r}", "push {%[t]}")]
    lines += ["movs %[t], #0", *(f"mov {r}, %[t]" for r in sums), "1:", *pair, *pair, "cmp %[x], lr", "bne 1b"]
    lines += [f"mov %[{name}], {r}" for name, r in zip("abuv", sums, strict=True)]
    lines += [line for r in reversed(kept) for line in ("pop {%[t]}", f"mov {r}, %[t]")]
    asm = "\n".join(f'        "{line}\\n\\t"' for line in lines)
    kernels.smlad(program)
    text = f"""\
/* z = start and scale times the sums of m groups of four rows, n columns. Half a word is a column of two rows; the
 * lower one counts 128 more, and the sum of the upper one tells it from that of both, modulo 2^32. */
static UT_NOINLINE void fixed_gates(int32_t* z, const int32_t* start, const uint32_t* w, const uint32_t* scale,
                                    const int16_t* frame, size_t n, size_t m, int32_t base) {{
  const int16_t* const end = frame + n;
  const uint32_t excess = (uint32_t)(uint16_t)end[0] | (uint32_t)(uint16_t)end[1] << 16;
  do {{
    const int16_t* x = frame;
    uint32_t sums[4];
    int i;
#if {_THUMB_1}
    uint32_t a, b, u, v, t = (uint32_t)(uintptr_t)end;
    __asm__ volatile(
{asm}
        : [w] "+l"(w), [x] "+l"(x), [a] "=&l"(a), [b] "=&l"(b), [u] "=&l"(u), [v] "=&l"(v), [t] "+l"(t)
        :
        : "r12", "lr", "cc", "memory");
#elif {kernels.DSP}
    int32_t a = 0, b = 0, u = 0, v = 0;
    do {{
      const uint32_t x0 = pair_at(x), x1 = pair_at(x + 2);
      a = two_products(w[0], x0, a);
      b = two_products(odd_bytes(w[0]), x0, b);
      u = two_products(w[1], x0, u);
      v = two_products(odd_bytes(w[1]), x0, v);
      a = two_products(w[2], x1, a);
      b = two_products(odd_bytes(w[2]), x1, b);
      u = two_products(w[3], x1, u);
      v = two_products(odd_bytes(w[3]), x1, v);
      w += 4;
      x += 4;
    }} while (x != end);
#else
    uint32_t a = 0, b = 0, u = 0, v = 0;
    do {{
      const uint32_t x0 = (uint32_t)x[0], x1 = (uint32_t)x[1];
      const int32_t w0 = (int16_t)(w[0] & 0xffffu), w1 = (int32_t)w[0] >> 16;
      const int32_t w2 = (int16_t)(w[1] & 0xffffu), w3 = (int32_t)w[1] >> 16;
      a += (uint32_t)w0 * x0 + (uint32_t)w1 * x1;
      b += (uint32_t)(w0 >> 8) * x0 + (uint32_t)(w1 >> 8) * x1;
      u += (uint32_t)w2 * x0 + (uint32_t)w3 * x1;
      v += (uint32_t)(w2 >> 8) * x0 + (uint32_t)(w3 >> 8) * x1;
      UT_APART(a);
      w += 2;
      x += 2;
    }} while (x != end);
#endif
    sums[0] = (uint32_t)a - ((uint32_t)b << 8) - excess;
    sums[1] = (uint32_t)b;
    sums[2] = (uint32_t)u - ((uint32_t)v << 8) - excess;
    sums[3] = (uint32_t)v;
    for (i = 0; i < 4; ++i, ++scale, ++start, ++z) {{
      const int32_t shift = base - (int32_t)(*scale & 255u);
      *z = fixed_saturated(*start + fixed_scaled((int32_t)sums[i], (int32_t)(*scale >> 8), shift));
    }}
  }} while (--m);
}}
"""
    return program.function("fixed_gates", text, ["fixed_scaled", "fixed_saturated"])


class Pass:
    """One walk over the units: sums of gates from x and from a recurrent vector, and what `update` makes of them.

    gates: numbers of those whose units it makes.
    """

    def __init__(self, program: Program, node: Node, name: str, gates: slice, start: np.ndarray | None) -> None:
        w = node.weights
        self.program, self.node = program, node
        self.n_gates, self.units = w["W"][gates].shape[:2]
        self.at_once = max(1, ROWS // self.n_gates) if ROWS % self.n_gates == 0 else ROWS
        self.products = {
            key: Matrix(
                program,
                w[key][gates].transpose(1, 0, 2),
                self.at_once,
                f"{name}_{key}",
                f"{node.op} {node.name!r}: {key}",
            )
            for key in "WR"
        }
        self.b = self._vector(f"{name}_b", w["b"][gates] if "b" in w else None)
        self.start = self._vector(f"{name}_rb", start)

    def _vector(self, name: str, rows: np.ndarray | None) -> str:
        """What is added to sums (gates, units), as integers; "" where that is nothing."""
        if rows is None:
            return ""
        padded = np.pad(fixed.biases(rows).T, [(0, -self.units % self.at_once), (0, 0)])
        return self.program.constant(name, padded.astype(np.int32))

    def buffer_sizes(self) -> dict[str, int]:
        return {}

    def walk(self, lines: Lines, recurrent: str, update: list[str]) -> None:
        """Lines of it; `update` takes a(g) and q(g) of unit j, written {A0} {Q0} and so on. The frame of x is made."""
        G, n, H = self.n_gates, self.at_once, self.units
        of_x, of_h = self.products["W"], self.products["R"]
        frame = of_x.frame_size
        lines("{", "size_t u;", *of_h.prepare(recurrent, frame, "FIXED_OF_H"))
        lines(f"for (u = 0; u < {H}; u += {n}) {{", f"int32_t a[{n * G}], q[{n * G}];")
        lines("size_t i;" if n > 1 else "const size_t j = u;")
        lines(*of_x.gates("a", self.b, "u", n, 0, "base_x"))
        lines(*of_h.gates("q", self.start, "u", n, frame, "250 - FIXED_H"))
        at = "" if n == 1 else "i" if G == 1 else f"{G} * i"
        index = lambda g: f"{at} + {g}" if at and g else at or str(g)  # noqa: E731
        if n > 1:
            end = f"{n}"
            if H % n:
                end = "some"
                lines(f"const size_t some = u + {n} <= {H} ? {n} : {H % n};")
            lines(f"for (i = 0; i < {end}; ++i) {{", "const size_t j = u + i;")
        for line in update:
            for g in range(G):
                line = line.replace(f"{{A{g}}}", f"a[{index(g)}]").replace(f"{{Q{g}}}", f"q[{index(g)}]")
            lines(line)
        lines(*["}"] * (3 if n > 1 else 2))
        self.program.need("FIXED_H", "FIXED_OF_H")


def begin(program: Program, matrix: Matrix, columns: int, hidden: int, vectors: str) -> list[str]:
    """Lines that make every number of `vectors` NaN where x or h has one that is none, and else go on to an open brace,
    with x as integers.
    """
    program.need("fixed_exponent", "fixed_put")
    return [
        f"const int32_t exponent = fixed_exponent(x, {columns});",
        f"if (exponent == 255 || fixed_exponent(h, {hidden}) == 255) {{",
        "size_t j;",
        f"for (j = 0; j < {hidden}; ++j) {{",
        *[f"fixed_put({vector} + j, 0x7fc00000u);" for vector in vectors],
        "}",
        "} else {",
        "const int32_t base_x = 250 - exponent;",
        *matrix.prepare("x", 0, "9 + exponent"),
    ]
