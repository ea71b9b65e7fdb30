# SPDX-License-Identifier: MIT
"""The innermost loops, as text: products of a few rows of a matrix with a frame, for each precision and number of rows.

Rows come in groups whose weights lie column by column, so that an element of the frame is read once for all rows of a
group, and the weights one after another. Every sum is that of the numerics contract (csrc/FORMAT.md, "What is
computed"): one chain of fused multiply-adds for each row, exact sums of integers in stretches.
"""

from __future__ import annotations

from collections.abc import Callable

from .program import Program

#: rows of a group: accumulators of float32, which stay in registers with their weights, and of integers
ROWS, INTEGER_ROWS = 8, 4
#: rows of integers that a call takes at once, so that calls cost little
CALLED_ROWS = 16
#: columns of int16 that an int32 can sum
STRETCH = 256

_FPU_OF_M = (
    "defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M' && UT_FMA == UT_FMA_INSTRUCTION && "
    "defined(__thumb2__) && defined(__OPTIMIZE__)"
)
DSP = "defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__OPTIMIZE__) && !defined(__ARM_BIG_ENDIAN)"


def _asm(lines: list[str], outputs: str, inputs: str, clobbers: list[str]) -> list[str]:
    text = ["  __asm__ volatile("]
    text += [f'      "{line}\\n\\t"' for line in lines]
    listed = ", ".join(f'"{clobber}"' for clobber in clobbers)
    return [*text, f"      : {outputs}", f"      : {inputs}", f"      : {listed});"]


def floats(program: Program, rows: int) -> str:
    """y[i] = start[i], then fma(w[k][i], x[k], y[i]) for k from 0 to n - 1; float32. Gives the name."""
    name = f"chains_f32_{rows}"
    each = range(rows)
    # Two columns of x and as many of weights at a time, each by one instruction.
    x, first = rows, rows + 2
    w = [f"s{i}" for i in range(first, first + rows)]
    column = [
        [f"vldmia %[w]!, {{{w[0]}-{w[-1]}}}" if rows > 1 else f"vldmia %[w]!, {{{w[0]}}}"]
        + [f"vfma.f32 s{i}, {w[i]}, s{x + c}" for i in each]
        for c in range(2)
    ]
    acc = f"s0-s{rows - 1}" if rows > 1 else "s0"
    lines = [
        f"vldmia %[start], {{{acc}}}",
        "subs %[n], #2",
        "blo 2f",
        f"1: vldmia %[x]!, {{s{x}-s{x + 1}}}",
        *column[0],
        *column[1],
        "subs %[n], #2",
        "bhs 1b",
        "2: adds %[n], #2",
        "beq 3f",
        f"vldmia %[x]!, {{s{x}}}",
        *column[0],
        f"3: vstmia %[y], {{{acc}}}",
    ]
    clobbers = [*[f"s{i}" for i in range(first + rows)], "cc", "memory"]
    operands = '[w] "+r"(w), [x] "+r"(x), [n] "+r"(n)'
    text = [
        f"/* {rows} chains of fused multiply-adds: y = start + w x, n columns. */",
        f"static UT_NOINLINE void {name}(float* y, const float* start, const float* w, const float* x, size_t n) {{",
        f"#if {_FPU_OF_M}",
        *_asm(lines, operands, '[y] "r"(y), [start] "r"(start)', clobbers),
        "#else",
        *_chains(rows, lambda i: f"w[{i}]"),
        "#endif",
        "}",
        "",
    ]
    return program.function(name, "\n".join(text), ["mul_add"])


def _chains(rows: int, weight: Callable[[int], str]) -> list[str]:
    each = range(rows)
    return [
        "  float " + ", ".join(f"y{i} = start[{i}]" for i in each) + ";",
        "  do {",
        "    const float v = *x++;",
        *[f"    y{i} = mul_add({weight(i)}, v, y{i});" for i in each],
        f"    w += {rows};",
        "  } while (--n);",
        *[f"  y[{i}] = y{i};" for i in each],
    ]


def halves(program: Program, rows: int, precision: str) -> str:
    """As `floats`, of weights in 16 bits."""
    short, load = {"float16": ("f16", "load_half"), "bfloat16": ("bf16", "load_bfloat")}[precision]
    name = f"chains_{short}_{rows}"
    plain = _chains(rows, lambda i: f"{load}(w + {i})")
    if precision == "float16" and rows % 2 == 0:
        plain = [f"#if {_FPU_OF_M}", *_halves_asm(rows), "#else", *plain, "#endif"]
    text = [
        f"/* The same of weights in {precision}. */",
        f"static UT_NOINLINE void {name}(float* y, const float* start, const uint16_t* w, const float* x, size_t n) {{",
        *plain,
        "}",
        "",
    ]
    return program.function(name, "\n".join(text), ["mul_add", load])


def _halves_asm(rows: int) -> list[str]:
    n_words, x = rows // 2, rows
    words = [f"s{rows + 1 + i}" for i in range(n_words)]
    low, high = f"s{rows + 1 + n_words}", f"s{rows + 2 + n_words}"
    acc = f"s0-s{rows - 1}"
    lines = [f"vldmia %[start], {{{acc}}}", f"1: vldmia %[x]!, {{s{x}}}"]
    lines.append(f"vldmia %[w]!, {{{words[0]}-{words[-1]}}}" if n_words > 1 else f"vldmia %[w]!, {{{words[0]}}}")
    for i, word in enumerate(words):
        lines += [f"vcvtb.f32.f16 {low}, {word}", f"vcvtt.f32.f16 {high}, {word}"]
        lines += [f"vfma.f32 s{2 * i}, {low}, s{x}", f"vfma.f32 s{2 * i + 1}, {high}, s{x}"]
    lines += ["subs %[n], #1", "bne 1b", f"vstmia %[y], {{{acc}}}"]
    clobbers = [f"s{i}" for i in range(rows + 3 + n_words)]
    operands = '[w] "+r"(w), [x] "+r"(x), [n] "+r"(n)'
    return _asm(lines, operands, '[y] "r"(y), [start] "r"(start)', [*clobbers, "cc", "memory"])


def integers(program: Program, rows: int, precision: str, columns: int) -> str:
    """Products of weights in integers, a word of which holds 2, 4 or 8 neighbours of a row. Gives the name."""
    make = {"int16": _int16, "int8": _int8, "int4": _int4}[precision]
    return make(program, rows, columns)


def _function(program: Program, name: str, rows: int, note: str, scale: str, body: list[str], needs: list[str]) -> str:
    """A kernel of m groups of rows, each with the same frame."""
    text = [
        f"/* m times {rows} rows of {note} */",
        f"static UT_NOINLINE void {name}(float* y, const float* start, const uint32_t* w, const {scale}* scale,",
        "                               const int16_t* frame, float s, size_t columns, size_t m) {",
        "  do {",
        "    const int16_t* x = frame;",
        "    size_t n = columns;",
        *[line if line.startswith("#") else f"  {line}" for line in body],
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
static inline int32_t two_products(uint32_t a, uint32_t b, int32_t c) {{
  int32_t sum;
  __asm__("smlad %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(c));
  return sum;
}}
static inline uint32_t pair_at(const int16_t* x) {{
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
    span = lambda first: f"{{s{first}-s{first + rows - 1}}}" if rows > 1 else f"{{s{first}}}"  # noqa: E731
    scale, start, sums = 0, rows, 2 * rows
    lines = [f"vldmia %[scale]!, {span(scale)}", f"vldmia %[start]!, {span(start)}"]
    lines += [f"vmov s{sums + i}, s{sums + i + 1}, %[a{i}], %[a{i + 1}]" for i in range(0, rows - 1, 2)]
    lines += [f"vmov s{sums + rows - 1}, %[a{rows - 1}]"] if rows % 2 else []
    lines += [f"vcvt.f32.s32 s{sums + i}, s{sums + i}" for i in range(rows)]
    lines += [f"vmul.f32 s{sums + i}, s{sums + i}, s{scale + i}" for i in range(rows)]
    lines += [f"vfma.f32 s{start + i}, s{sums + i}, %[s]" for i in range(rows)]
    lines += [f"vstmia %[y]!, {span(start)}"]
    pointers = '[y] "+r"(y), [start] "+r"(start), [scale] "+r"(scale)'
    operands = '[s] "t"(s)' + "".join(f', [a{i}] "r"(a{i})' for i in range(rows))
    asm = _asm(lines, pointers, operands, [*[f"s{i}" for i in range(3 * rows)], "memory"])
    return [f"#if {_FPU_OF_M}", *asm, "#else", *_scaled(rows, lambda i: f"(float)a{i}"), "#endif"]


#: registers that hold words of weights: in ascending order, without those that some systems keep for themselves
_WORDS = ("r4", "r5", "r6", "r8")


def _int16_asm(rows: int, count: str) -> list[str]:
    words = _WORDS[:rows]
    load = f"ldmia %[w]!, {{{', '.join(words)}}}" if rows > 1 else f"ldr {words[0]}, [%[w]], #4"
    column = ["ldr %[u], [%[x]], #4", load] + [f"smlad %[a{i}], {words[i]}, %[u], %[a{i}]" for i in range(rows)]
    lines = [
        f"subs %[{count}], #8",
        "blo 2f",
        f"1: {column[0]}",
        *column[1:],
        *(column * 7),
        f"subs %[{count}], #8",
        "bhs 1b",
        f"2: adds %[{count}], #8",
        "beq 4f",
        f"3: {column[0]}",
        *column[1:],
        f"subs %[{count}], #1",
        "bne 3b",
        "4:",
    ]
    sums = ", ".join(f'[a{i}] "+r"(a{i})' for i in range(rows))
    operands = f'{sums}, [w] "+r"(w), [x] "+r"(x), [{count}] "+r"({count}), [u] "=&r"(u)'
    return ["  uint32_t u;", *_asm(lines, operands, "", [*words, "cc", "memory"])]


def _int16(program: Program, rows: int, columns: int) -> str:
    each, long = range(rows), columns > STRETCH
    name = f"products_i16_{rows}{'_long' if long else ''}"
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
        *_int16_asm(rows, count),
        "  }",
        "#else",
        "  do {",
        "    const int32_t u = x[0], v = x[1];",
        *[f"    a{i} += (int16_t)(w[{i}] & 0xffffu) * u + (int16_t)(w[{i}] >> 16) * v;" for i in each],
        f"    w += {rows};",
        "    x += 2;",
        f"  }} while (--{count});",
        "#endif",
        *([*sums, "  }"] if long else []),
        *(_scaled(rows, lambda i: f"d{i}") if long else _scaled_sums(rows)),
    ]
    note = "int16, n pairs of columns: y = start + (sum scale) s. Integers, so any order is exact"
    note += f";\n * those of {STRETCH} columns fit 32 bits." if long else "."
    return _function(program, name, rows, note, "float", body, ["mul_add", "mul", "add"])


def _int8_asm(rows: int) -> list[str]:
    sums = ", ".join(f'[a{i}] "+r"(a{i})' for i in range(rows))
    lines = ["1: ldrd %[u], %[v], [%[x]], #8"]
    for i in range(0, rows, 2):
        some = range(i, min(i + 2, rows))
        lines.append("ldmia %[w]!, {r4, r5}" if len(some) == 2 else "ldr r4, [%[w]], #4")
        for j, word in zip(some, ("r4", "r5"), strict=False):
            lines += [
                f"sxtb16 r6, {word}",
                f"sxtb16 {word}, {word}, ror #8",
                f"smlad %[a{j}], r6, %[u], %[a{j}]",
                f"smlad %[a{j}], {word}, %[v], %[a{j}]",
            ]
    lines += ["subs %[n], #1", "bne 1b"]
    operands = f'{sums}, [w] "+r"(w), [x] "+r"(x), [n] "+r"(n), [u] "=&r"(u), [v] "=&r"(v)'
    return ["  uint32_t u, v;", *_asm(lines, operands, "", ["r4", "r5", "r6", "cc", "memory"])]


def _int8(program: Program, rows: int, columns: int) -> str:
    each, name = range(rows), f"products_i8_{rows}"
    body = [
        _sums(rows),
        f"#if {DSP}",
        "  {",
        *_int8_asm(rows),
        "  }",
        "#else",
        "  do {",
        "    const int32_t x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];",
        *[
            f"    a{i} += (int8_t)(w[{i}] & 0xffu) * x0 + (int8_t)(w[{i}] >> 16 & 0xffu) * x1 +\n"
            f"            (int8_t)(w[{i}] >> 8 & 0xffu) * x2 + (int8_t)(w[{i}] >> 24) * x3;"
            for i in each
        ],
        f"    w += {rows};",
        "    x += 4;",
        "  } while (--n);",
        "#endif",
        *_scaled_sums(rows),
    ]
    note = "int8, n words of 4 columns in the order 0 2 1 3: y = start + (sum scale) s."
    return _function(program, name, rows, note, "float", body, ["mul_add", "mul"])


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
    return _function(program, name, rows, note, "uint16_t", body, ["mul_add", "load_half"])


def quantise(program: Program, smoothed: bool) -> str:
    """A frame as integers, for weights that are. Gives the name."""
    name = "quantise_smoothed" if smoothed else "quantise"
    factor = ", const float* factors" if smoothed else ""
    number = "mul(x[k], factors[k])" if smoothed else "x[k]"
    text = f"""\
/* n numbers{" times factors" if smoothed else ""} as integers up to `most`, zeros up to `padded`, and what 1 of them is
 * worth: 0 for silence, NaN where a number is none. */
static UT_NOINLINE float {name}(int16_t* q, const float* x, size_t n, size_t padded, float most{factor}) {{
  uint32_t top = 0;
  float scale = 0.0f;
  size_t k;
  for (k = 0; k < n; ++k) {{
    const uint32_t u = bits_of({number}) << 1; /* without the sign */
    if (u > top) top = u;
  }}
  top >>= 1;
  if (top < 0x7f800000u && top >= 0x0d800000u) {{ /* 2^-100 */
    const float inverse = div(most, float_of(top));
    scale = div(float_of(top), most);
    for (k = 0; k < n; ++k) q[k] = (int16_t)(bits_of(mul({number}, inverse) + 12582912.0f) & 0xffffu);
  }} else {{
    if (top >= 0x7f800000u) scale = UT_NAN;
    memset(q, 0, n * sizeof *q);
  }}
  for (k = n; k < padded; ++k) q[k] = 0;
  return scale;
}}
"""
    return program.function(name, text, ["bits_of", "float_of", "div", "mul"])
