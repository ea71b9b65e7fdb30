# SPDX-License-Identifier: MIT
"""The innermost loops, as text: products of a few rows of a matrix with a frame, for each precision and number of rows.

Rows come in groups whose weights lie column by column, so that an element of the frame is read once for all rows of a
group, and the weights one after another. Every sum is that of the numerics contract (csrc/FORMAT.md, "What is
computed"): one chain of fused multiply-adds for each row, exact sums of integers in stretches.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from . import helium
from .helium import MVE, asm
from .program import Program

#: rows that a call takes at once, so that calls cost little; of four gates they are 4 units
ROWS = 16
#: rows of integers whose words lie side by side
INTEGER_ROWS = 4
#: accumulators of float32 that a compiler keeps in registers with their weights
_AT_ONCE = 8
#: columns of int16 that an int32 can sum
STRETCH = 256
#: columns of int8 of which an int32 can hold 256 times the sum
WIDEST_PAIRED = 512

_FPU_OF_M = (
    "defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M' && UT_FMA == UT_FMA_INSTRUCTION && "
    "defined(__thumb2__) && defined(__OPTIMIZE__)"
)
DSP = "defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__OPTIMIZE__) && !defined(__ARM_BIG_ENDIAN)"


def floats(program: Program, rows: int) -> str:
    """y[i] = start[i], then fma(w[k][i], x[k], y[i]) for k from 0 to n - 1; float32. Gives the name."""
    name = f"chains_f32_{rows}"
    # Two columns of x at a time, and a column of weights by one instruction, or by two where registers are few.
    x, first = rows, rows + 2
    some = -(-rows // (1 + (rows > 12)))
    parts = [range(i, min(i + some, rows)) for i in range(0, rows, some)]
    column: list[list[str]] = [[], []]
    for c, part in product(range(2), parts):
        column[c].append(f"vldmia %[w]!, {_span(first, len(part))}")
        column[c] += [f"vfma.f32 s{i}, s{first + i - part[0]}, s{x + c}" for i in part]
    lines = [
        f"vldmia %[start], {_span(0, rows)}",
        "subs %[n], #2",
        "blo 2f",
        f"1: vldmia %[x]!, {_span(x, 2)}",
        *column[0],
        *column[1],
        "subs %[n], #2",
        "bhs 1b",
        "2: adds %[n], #2",
        "beq 3f",
        f"vldmia %[x]!, {_span(x, 1)}",
        *column[0],
        f"3: vstmia %[y], {_span(0, rows)}",
    ]
    clobbers = [*[f"s{i}" for i in range(first + some)], "cc", "memory"]
    operands = '[w] "+r"(w), [x] "+r"(x), [n] "+r"(n)'
    text = [
        f"/* {rows} chains of fused multiply-adds: y = start + w x, n columns. */",
        f"static UT_NOINLINE void {name}(float* y, const float* start, const float* w, const float* x, size_t n) {{",
        *_ways(
            helium.chains(rows, "float32"),
            [f"#if {_FPU_OF_M}", *asm(lines, operands, '[y] "r"(y), [start] "r"(start)', clobbers), "#else"],
            _chains(rows, "float", "{}[{}]"),
        ),
        "}",
        "",
    ]
    return program.function(name, "\n".join(text), ["mul_add"])


def _ways(vectors: list[str], quick: list[str], plain: list[str]) -> list[str]:
    """Lines for Helium, if any; then what an #if of its own chooses, if any; then for all others."""
    text = [f"#if {MVE}", *vectors] if vectors else []
    if quick:
        quick = [f"#el{quick[0][1:]}" if vectors else quick[0], *quick[1:]]
    elif vectors:
        quick = ["#else"]
    return [*text, *quick, *plain, *(["#endif"] if quick else [])]


def _span(first: int, n: int) -> str:
    """So many registers of the FPU, from one on."""
    return f"{{s{first}-s{first + n - 1}}}" if n > 1 else f"{{s{first}}}"


def _chains(rows: int, c_type: str, weight: str) -> list[str]:
    """Chains of any compiler; of many rows in parts, each along all columns. weight: of a pointer and an index."""
    parts = -(-rows // _AT_ONCE)
    if parts == 1:
        return _part(rows, rows, ("w", "x", "n"), weight, "")
    some = -(-rows // parts)
    along = [f"  const {c_type}* u = w + r;", "  const float* t = x;", "  size_t k = n;"]
    lines = ["  size_t r;", f"  for (r = 0; r + {some} <= {rows}; r += {some}) {{", *along]
    lines += [*_part(some, rows, ("u", "t", "k"), weight, "r + "), "  }"]
    if left := rows % some:
        lines += ["  {", *along, *_part(left, rows, ("u", "t", "k"), weight, "r + "), "  }"]
    return lines


def _part(rows: int, apart: int, pointers: tuple[str, str, str], weight: str, first: str) -> list[str]:
    """Rows from `first` on, whose weights of the next column stand `apart` numbers further on."""
    each, (w, x, n) = range(rows), pointers
    return [
        "  float " + ", ".join(f"y{i} = start[{first}{i}]" for i in each) + ";",
        "  do {",
        f"    const float v = *{x}++;",
        *[f"    y{i} = mul_add({weight.format(w, i)}, v, y{i});" for i in each],
        f"    {w} += {apart};",
        f"  }} while (--{n});",
        *[f"  y[{first}{i}] = y{i};" for i in each],
    ]


def halves(program: Program, rows: int, precision: str) -> str:
    """As `floats`, of weights in 16 bits."""
    short, load = {"float16": ("f16", "load_half"), "bfloat16": ("bf16", "load_bfloat")}[precision]
    name = f"chains_{short}_{rows}"
    quick = [f"#if {_FPU_OF_M}", *_halves_asm(rows), "#else"] if precision == "float16" and rows % 2 == 0 else []
    plain = _chains(rows, "uint16_t", f"{load}({{}} + {{}})")
    text = [
        f"/* The same of weights in {precision}. */",
        f"static UT_NOINLINE void {name}(float* y, const float* start, const uint16_t* w, const float* x, size_t n) {{",
        *_ways(helium.chains(rows, precision), quick, plain),
        "}",
        "",
    ]
    return program.function(name, "\n".join(text), ["mul_add", load])


def _halves_asm(rows: int) -> list[str]:
    n_words, x = rows // 2, rows
    words = [f"s{rows + 1 + i}" for i in range(n_words)]
    low, high = f"s{rows + 1 + n_words}", f"s{rows + 2 + n_words}"
    lines = [f"vldmia %[start], {_span(0, rows)}", f"1: vldmia %[x]!, {_span(x, 1)}"]
    lines.append(f"vldmia %[w]!, {_span(rows + 1, n_words)}")
    for i, word in enumerate(words):
        lines += [f"vcvtb.f32.f16 {low}, {word}", f"vcvtt.f32.f16 {high}, {word}"]
        lines += [f"vfma.f32 s{2 * i}, {low}, s{x}", f"vfma.f32 s{2 * i + 1}, {high}, s{x}"]
    lines += ["subs %[n], #1", "bne 1b", f"vstmia %[y], {_span(0, rows)}"]
    clobbers = [f"s{i}" for i in range(rows + 3 + n_words)]
    operands = '[w] "+r"(w), [x] "+r"(x), [n] "+r"(n)'
    return asm(lines, operands, '[y] "r"(y), [start] "r"(start)', [*clobbers, "cc", "memory"])


def integers(program: Program, rows: int, precision: str, columns: int) -> str:
    """Products of weights in integers, a word of which holds 2, 4 or 8 neighbours of a row. Gives the name."""
    make = {"int16": _int16, "int8": _int8, "int4": _int4}[precision]
    return make(program, rows, columns)


def _function(
    program: Program, name: str, rows: int, note: str, scale: str, vectors: list[str], body: list[str], needs: list[str]
) -> str:
    """A kernel of m groups of rows, each with the same frame: its body for Helium, and for all others."""
    text = [
        f"/* m times {rows} rows of {note} */",
        f"static UT_NOINLINE void {name}(float* y, const float* start, const uint32_t* w, const {scale}* scale,",
        "                               const int16_t* frame, float s, size_t columns, size_t m) {",
        "  do {",
        "    const int16_t* x = frame;",
        "    size_t n = columns;",
        *[line if line.startswith("#") else f"  {line}" for line in _ways(vectors, [], body)],
        "  } while (--m);",
        "}",
        "",
    ]
    return program.function(name, "\n".join(text), needs)


def smlad(program: Program) -> None:
    """Two products of 16 bits, and their sum with another, where there is an instruction for it."""
    program.function(
        "two_products",
        f"""\
#if {DSP}
/* The two halves of a times those of b, and c. */
UT_UNUSED static inline int32_t two_products(uint32_t a, uint32_t b, int32_t c) {{
  int32_t sum;
  __asm__("smlad %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(c));
  return sum;
}}
UT_UNUSED static inline uint32_t pair_at(const int16_t* x) {{
  uint32_t pair;
  UT_COPY(&pair, x, sizeof pair);
  return pair;
}}
/* Bytes 0 and 2 of four, widened. */
UT_UNUSED static inline uint32_t even_bytes(uint32_t a) {{
  uint32_t pair;
  __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(a));
  return pair;
}}
UT_UNUSED static inline uint32_t odd_bytes(uint32_t a) {{
  uint32_t pair;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(a));
  return pair;
}}
#endif
""",
    )


def _sums(rows: int) -> str:
    return "  int32_t " + ", ".join(f"a{i} = 0" for i in range(rows)) + ";"


def _scaled(rows: int, sum_of: Callable[[int], str]) -> list[str]:
    lines = [f"  y[{i}] = mul_add(mul({sum_of(i)}, scale[{i}]), s, start[{i}]);" for i in range(rows)]
    return [*lines, *(f"  {pointer} += {rows};" for pointer in ("y", "start", "scale"))]


def _scaled_sums(rows: int) -> list[str]:
    """The same of the sums a0, a1 ...; on Cortex-M all rows by few instructions."""
    scale, start, sums = 0, rows, 2 * rows
    lines = [f"vldmia %[scale]!, {_span(scale, rows)}", f"vldmia %[start]!, {_span(start, rows)}"]
    lines += [f"vmov s{sums + i}, s{sums + i + 1}, %[a{i}], %[a{i + 1}]" for i in range(0, rows - 1, 2)]
    lines += [f"vmov s{sums + rows - 1}, %[a{rows - 1}]"] if rows % 2 else []
    lines += [f"vcvt.f32.s32 s{sums + i}, s{sums + i}" for i in range(rows)]
    lines += [f"vmul.f32 s{sums + i}, s{sums + i}, s{scale + i}" for i in range(rows)]
    lines += [f"vfma.f32 s{start + i}, s{sums + i}, %[s]" for i in range(rows)]
    lines += [f"vstmia %[y]!, {_span(start, rows)}"]
    pointers = '[y] "+r"(y), [start] "+r"(start), [scale] "+r"(scale)'
    operands = '[s] "t"(s)' + "".join(f', [a{i}] "r"(a{i})' for i in range(rows))
    statement = asm(lines, pointers, operands, [*[f"s{i}" for i in range(3 * rows)], "memory"])
    return [f"#if {_FPU_OF_M}", *statement, "#else", *_scaled(rows, lambda i: f"(float)a{i}"), "#endif"]


#: registers that hold words of weights: in ascending order, without those that some systems keep for themselves
_WORDS = ("r4", "r5", "r6", "r8")


_PAIRS_OF_X = f"""\
#if {DSP}
/* Two pairs of a frame at a time; clang keeps a register more for itself, and takes one. */
#if defined(__clang__)
#define UT_X_PAIRS "ldr %[u], [%[x]], #4\\n\\t"
#define UT_X_NEXT UT_X_PAIRS
#define UT_X_SECOND "%[u]"
#define UT_X_OPERANDS [u] "=&r"(u)
#else
#define UT_X_PAIRS "ldrd %[u], %[v], [%[x]], #8\\n\\t"
#define UT_X_NEXT
#define UT_X_SECOND "%[v]"
#define UT_X_OPERANDS [u] "=&r"(u), [v] "=&r"(v)
#endif
#endif
"""


def _int16_asm(rows: int, count: str, turn: int) -> list[str]:
    """turn: pairs of columns that are taken at once, of which there is a multiple; 0 of any number."""
    words = _WORDS[:rows]
    load = f"ldmia %[w]!, {{{', '.join(words)}}}" if rows > 1 else f"ldr {words[0]}, [%[w]], #4"
    line = lambda text: f'      "{text}\\n\\t"'  # noqa: E731
    first = [line(load), *(line(f"smlad %[a{i}], {words[i]}, %[u], %[a{i}]") for i in range(rows))]
    second = [
        line(load),
        *(f'      "smlad %[a{i}], {words[i]}, " UT_X_SECOND ", %[a{i}]\\n\\t"' for i in range(rows)),
    ]
    pairs = ["      UT_X_PAIRS", *first, "      UT_X_NEXT", *second]
    lines = [line("1:"), *(pairs * (turn // 2)), line(f"subs %[{count}], #{turn}"), line("bne 1b")]
    lines = (
        lines
        if turn
        else [
            *map(line, (f"subs %[{count}], #8", "blo 2f", "1:")),
            *(pairs * 4),
            *map(
                line, (f"subs %[{count}], #8", "bhs 1b", f"2: adds %[{count}], #8", "beq 4f", "3: ldr %[u], [%[x]], #4")
            ),
            *first,
            *map(line, (f"subs %[{count}], #1", "bne 3b", "4:")),
        ]
    )
    sums = ", ".join(f'[a{i}] "+r"(a{i})' for i in range(rows))
    clobbers = ", ".join(f'"{clobber}"' for clobber in (*words, "cc", "memory"))
    return [
        "  uint32_t u, v;",
        "  (void)v;",
        "  __asm__ volatile(",
        *lines,
        f'      : {sums}, [w] "+r"(w), [x] "+r"(x), [{count}] "+r"({count}), UT_X_OPERANDS',
        f"      : : {clobbers});",
    ]


def _int16(program: Program, rows: int, columns: int) -> str:
    each, long, n = range(rows), columns > STRETCH, -(-columns // 2)
    turn = next((turn for turn in (16, 8) if n % turn == 0 and rows == INTEGER_ROWS), 0)
    program.function("UT_X_PAIRS", _PAIRS_OF_X)
    name = f"products_i16_{rows}{'_long' if long else ''}{f'_by_{turn}' if turn else ''}"
    start = ["  float " + ", ".join(f"d{i} = 0.0f" for i in each) + ";"] if long else []
    open_loop = [
        "  while (n != 0) {",
        f"  size_t k = n < {STRETCH // 2} ? n : {STRETCH // 2};",
    ]
    count = "k" if long else "n"
    sums = [f"  d{i} = add(d{i}, (float)a{i});" for i in each]
    body = [
        *start,
        *(open_loop if long else []),
        _sums(rows),
        *(["  n -= k;"] if long else []),
        f"#if {DSP}",
        "  {",
        *_int16_asm(rows, count, turn),
        "  }",
        "#else",
        "  do {",
        "    const int32_t u = x[0], v = x[1];",
        *[f"    a{i} += (int16_t)(w[{i}] & 0xffffu) * u + (int16_t)(w[{i}] >> 16) * v;" for i in each],
        "    UT_APART(a0);",
        f"    w += {rows};",
        "    x += 2;",
        f"  }} while (--{count});",
        "#endif",
        *([*sums, "  }"] if long else []),
        *(_scaled(rows, lambda i: f"d{i}") if long else _scaled_sums(rows)),
    ]
    vectors = helium.products(program, rows, 16, STRETCH // 2 if long else 0)
    note = "int16, n pairs of columns: y = start + (sum scale) s. Integers, so any order is exact"
    note += f";\n * those of {STRETCH} columns fit 32 bits." if long else "."
    note += f" n is a multiple of {turn}." if turn else ""
    return _function(program, name, rows, note, "float", vectors, body, ["mul_add", "mul", "add"])


def ready(program: Program, precision: str, columns: int) -> str:
    """What makes a frame ready for its products, where it is not as it is; "" where it is. Gives the name."""
    if precision == "int8":
        return _pair_up(program) if columns <= WIDEST_PAIRED else helium.narrow(program, 8)
    return helium.narrow(program, 4) if precision == "int4" else ""


def _pair_up(program: Program) -> str:
    """For int8 of at most `WIDEST_PAIRED` columns."""
    text = f"""\
/* A frame of n words of 4 integers for bytes that meet it in pairs: of x0 to x3 x2, x3, 256 x0 - x2 and 256 x1 - x3, so
 * that w2 and w3, as the upper bytes of 16 bits, need no unpacking: what w0 and w1 below add is taken back with their
 * products. These are 128 too large (B), so that they are positive; behind the frame stands 2^15 times the sum of x0
 * and x1, which takes that back. */
#if {DSP} && !{MVE}
#define B(word) ((word) ^ 0x00800080u)
#else
#define B(word) (word)
#endif
static void pair_up(int16_t* q, size_t n) {{
#if {DSP} && !{MVE}
  uint32_t excess = 0;
  for (; n != 0; --n, q += 4) {{
    const int32_t x0 = q[0], x1 = q[1], x2 = q[2], x3 = q[3];
    excess -= (uint32_t)(x0 + x1) << 15;
    q[0] = (int16_t)x2;
    q[1] = (int16_t)x3;
    q[2] = (int16_t)(256 * x0 - x2);
    q[3] = (int16_t)(256 * x1 - x3);
  }}
  UT_COPY(q, &excess, sizeof excess);
#else
  {helium.narrow(program, 8)}(q, n);
#endif
}}
"""
    return program.function("pair_up", text)


def _int8_asm(rows: int) -> list[str]:
    sums = ", ".join(f'[a{i}] "+r"(a{i})' for i in range(rows))
    word = ["ldrd %[u], %[v], [%[x]], #8"]
    for i in range(0, rows, 2):
        some = range(i, min(i + 2, rows))
        word.append("ldmia %[w]!, {r4, r5}" if len(some) == 2 else "ldr r4, [%[w]], #4")
        for j, at in zip(some, ("r4", "r5"), strict=False):
            word += [f"smlad %[a{j}], {at}, %[u], %[a{j}]", f"uxtb16 {at}, {at}", f"smlad %[a{j}], {at}, %[v], %[a{j}]"]
    lines = ["subs %[n], #2", "blo 2f", f"1: {word[0]}", *word[1:], *word, "subs %[n], #2", "bhs 1b"]
    lines += ["2: adds %[n], #2", "beq 3f", *word, "3:"]
    operands = f'{sums}, [w] "+r"(w), [x] "+r"(x), [n] "+r"(n), [u] "=&r"(u), [v] "=&r"(v)'
    return ["  uint32_t u, v;", *asm(lines, operands, "", ["r4", "r5", "cc", "memory"])]


def _int8(program: Program, rows: int, columns: int) -> str:
    each, paired = range(rows), columns <= WIDEST_PAIRED
    name = f"products_i8_{rows}{'' if paired else '_wide'}"
    if paired:
        quick = ["  {", *_int8_asm(rows), "  }", *[f"  a{i} >>= 8;" for i in each]]
        start = [f"#if {DSP}", "  UT_COPY(&a0, x + 4 * n, sizeof a0);", *[f"  a{i} = a0;" for i in each[1:]], "#endif"]
    else:
        smlad(program)
        quick = [
            "  do {",
            "    const uint32_t u = pair_at(x), v = pair_at(x + 2);",
            *[
                f"    a{i} = two_products(even_bytes(w[{i}]), u, two_products(odd_bytes(w[{i}]), v, a{i}));"
                for i in each
            ],
            f"    w += {rows};",
            "    x += 4;",
            "  } while (--n);",
        ]
        start = []
    body = [
        _sums(rows),
        *start,
        f"#if {DSP}",
        *quick,
        "#else",
        "  do {",
        "    const int32_t x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];",
        *[
            f"    a{i} += (int8_t)(w[{i}] & 0xffu) * x0 + (int8_t)(w[{i}] >> 16 & 0xffu) * x1 +\n"
            f"            (int8_t)(w[{i}] >> 8 & 0xffu) * x2 + (int8_t)(w[{i}] >> 24) * x3;"
            for i in each
        ],
        "    UT_APART(a0);",
        f"    w += {rows};",
        "    x += 4;",
        "  } while (--n);",
        "#endif",
        *_scaled_sums(rows),
    ]
    note = "int8, n words of 4 columns in the order 0 2 1 3: y = start + (sum scale) s."
    if paired:
        note += " See pair_up."
    vectors = helium.products(program, rows, 8)
    return _function(program, name, rows, note, "float", vectors, body, ["mul_add", "mul"])


def _int4(program: Program, rows: int, columns: int) -> str:
    each, name = range(rows), f"products_i4_{rows}"
    smlad(program)
    fours = [
        f"      a{i} = two_products(w[{i}] & top, x0, two_products(w[{i}] << 4 & top, x1,\n"
        f"             two_products(w[{i}] << 8 & top, x2, two_products(w[{i}] << 12 & top, x3, a{i}))));"
        for i in each
    ]
    body = [
        "  float " + ", ".join(f"d{i} = 0.0f" for i in each) + ";",
        "  while (n != 0) {",
        "    size_t words = n < 4 ? n : 4;",
        "  " + _sums(rows),
        "    n -= words;",
        "    do {",
        f"#if {DSP}",
        "      const uint32_t top = 0xf000f000u;",
        "      const uint32_t x0 = pair_at(x), x1 = pair_at(x + 2), x2 = pair_at(x + 4), x3 = pair_at(x + 6);",
        *fours,
        "#else",
        "      int j;",
        "      for (j = 0; j < 4; ++j) {",
        "        const int32_t u = x[2 * j], v = x[2 * j + 1];",
        *[
            f"        a{i} += (int16_t)(w[{i}] << 4 * j & 0xf000u) * u;\n"
            f"          a{i} += (int16_t)(w[{i}] >> 16 << 4 * j & 0xf000u) * v;"
            for i in each
        ],
        "        UT_APART(a0);",
        "      }",
        "#endif",
        f"      w += {rows};",
        "      x += 8;",
        "    } while (--words);",
        *[f"    d{i} = mul_add((float)(a{i} / 4096), load_half(scale + {i}), d{i});" for i in each],
        f"    scale += {rows};",
        "  }",
        *[f"  y[{i}] = mul_add(d{i}, s, start[{i}]);" for i in each],
        *(f"  {pointer} += {rows};" for pointer in ("y", "start")),
    ]
    note = (
        "int4, n words of 8 columns, 4 of which have a scale: y = start + d s, where d = fma(sum, scale, d).\n"
        " * Nibbles 3 2 1 0 of each half of a word, columns 0 2 4 6 and 1 3 5 7, count 4096 times meanwhile."
    )
    return _function(
        program, name, rows, note, "uint16_t", helium.nibbles(program, rows), body, ["mul_add", "load_half"]
    )


def quantise(program: Program, smoothed: bool) -> str:
    """A frame as integers, for weights that are. Gives the name."""
    name = "quantise_smoothed" if smoothed else "quantise"
    factor = ", const float* factors" if smoothed else ""
    number = "mul(x[k], factors[k])" if smoothed else "x[k]"
    plain = [f"    for (k = 0; k < n; ++k) q[k] = (int16_t)(bits_of(mul({number}, inverse) + 12582912.0f) & 0xffffu);"]
    largest = [
        "  for (k = 0; k < n; ++k) {",
        f"    const uint32_t u = bits_of({number}) << 1; /* without the sign */",
        "    if (u > top) top = u;",
        "  }",
    ]
    quick = ([], []) if smoothed else (_largest_asm(), _rounding_asm())
    of_m = lambda lines: [f"#if {_FPU_OF_M} && {DSP}", *lines, "#else"] if lines else []  # noqa: E731
    seen, rounded = (
        "\n".join(_ways(*ways)) + "\n"
        for ways in zip(helium.quantise(program, smoothed), map(of_m, quick), (largest, plain), strict=True)
    )
    text = f"""\
/* n numbers{" times factors" if smoothed else ""} as integers up to `most`, zeros up to `padded`, and what 1 of them is
 * worth: 0 for silence, NaN where a number is none. */
static UT_NOINLINE float {name}(int16_t* q, const float* x, size_t n, size_t padded, float most{factor}) {{
  uint32_t top = 0;
  float scale = 0.0f;
  size_t k;
{seen}  top >>= 1;
  if (top < 0x7f800000u && top >= 0x0d800000u) {{ /* 2^-100 */
    const float inverse = div(most, float_of(top));
    scale = div(float_of(top), most);
    /* 1.5 * 2^23 leaves the integer in the last bits, rounded to even */
{rounded}  }} else {{
    if (top >= 0x7f800000u) scale = UT_NAN;
    memset(q, 0, n * sizeof *q);
  }}
  for (k = n; k < padded; ++k) q[k] = 0;
  return scale;
}}
"""
    return program.function(name, text, ["bits_of", "float_of", "div", "mul"])


def _largest_asm() -> list[str]:
    """The bits of the largest of n numbers, without the sign, times 2: four at a time, then those that are left."""
    larger = lambda r: [f"cmp %[top], {r}, lsl #1", "it lo", f"lsllo %[top], {r}, #1"]  # noqa: E731
    lines = ["subs %[k], #4", "blo 2f", f"1: ldmia %[from]!, {{{', '.join(_WORDS)}}}"]
    lines += [line for r in _WORDS for line in larger(r)]
    lines += ["subs %[k], #4", "bhs 1b", "2: adds %[k], #4", "beq 4f", "3: ldr r4, [%[from]], #4", *larger("r4")]
    lines += ["subs %[k], #1", "bne 3b", "4:"]
    operands = '[top] "+r"(top), [from] "+r"(from), [k] "+r"(k)'
    statement = asm(lines, operands, "", [*_WORDS, "cc", "memory"])
    return ["  const float* from = x;", "  k = n;", *statement]


def _rounding_asm() -> list[str]:
    """Four numbers at a time as integers, in two words; then those that are left."""
    lines = ["subs %[k], #4", "blo 2f", "1: vldmia %[x]!, {s0-s3}"]
    lines += [f"vmul.f32 s{i}, s{i}, %[inverse]" for i in range(4)]
    lines += [f"vadd.f32 s{i}, s{i}, %[shift]" for i in range(4)]
    lines += ["vmov r4, r5, s0, s1", "pkhbt r4, r4, r5, lsl #16", "vmov r5, r6, s2, s3", "pkhbt r5, r5, r6, lsl #16"]
    lines += ["str r4, [%[to]], #4", "str r5, [%[to]], #4", "subs %[k], #4", "bhs 1b", "2: adds %[k], #4", "beq 4f"]
    lines += ["3: vldmia %[x]!, {s0}", "vmul.f32 s0, s0, %[inverse]", "vadd.f32 s0, s0, %[shift]", "vmov r4, s0"]
    lines += ["strh r4, [%[to]], #2", "subs %[k], #1", "bne 3b", "4:"]
    statement = asm(
        lines,
        '[k] "+r"(k), [x] "+r"(x), [to] "+r"(to)',
        '[inverse] "t"(inverse), [shift] "t"(12582912.0f)',
        ["s0", "s1", "s2", "s3", "r4", "r5", "r6", "cc", "memory"],
    )
    return ["    int16_t* to = q;", "    k = n;", *(f"  {line}" for line in statement)]
