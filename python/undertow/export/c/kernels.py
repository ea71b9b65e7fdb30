# SPDX-License-Identifier: MIT
"""The innermost loops, as text: products of a few rows of a matrix with a frame, for each precision and number of rows.

Rows come in groups whose weights lie column by column, so that an element of the frame is read once for all rows of a
group, and the weights one after another. Every sum is that of the numerics contract (csrc/FORMAT.md, "What is
computed"): one chain of fused multiply-adds for each row, exact sums of integers in stretches.
"""

from __future__ import annotations

from .program import Program

#: rows of a group: accumulators of float32, which stay in registers with their weights, and of integers
ROWS, INTEGER_ROWS = 8, 4
#: columns of int16 that an int32 can sum
STRETCH = 256

_FPU_OF_M = (
    "defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M' && UT_FMA == UT_FMA_INSTRUCTION && "
    "defined(__thumb2__) && defined(__OPTIMIZE__)"
)
DSP = "defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && !defined(__ARM_BIG_ENDIAN)"


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


def _chains(rows: int, weight) -> list[str]:
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
    text = [
        f"/* The same of weights in {precision}. */",
        f"static UT_NOINLINE void {name}(float* y, const float* start, const uint16_t* w, const float* x, size_t n) {{",
        *_chains(rows, lambda i: f"{load}(w + {i})"),
        "}",
        "",
    ]
    return program.function(name, "\n".join(text), ["mul_add", load])


def integers(program: Program, rows: int, precision: str, columns: int) -> str:
    """Products of weights in integers, a word of which holds 2, 4 or 8 neighbours of a row. Gives the name."""
    make = {"int16": _int16, "int8": _int8, "int4": _int4}[precision]
    return make(program, rows, columns)


def _signature(name: str, scale: str) -> str:
    return (
        f"static UT_NOINLINE void {name}(float* y, const float* start, const uint32_t* w, const {scale}* scale,\n"
        f"                               const int16_t* x, float s, size_t n) {{"
    )


def _smlad(program: Program) -> None:
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


def _scaled(rows: int, sum_of) -> list[str]:
    return [f"  y[{i}] = mul_add(mul({sum_of(i)}, scale[{i}]), s, start[{i}]);" for i in range(rows)]


def _int16(program: Program, rows: int, columns: int) -> str:
    each, long = range(rows), columns > STRETCH
    name = f"products_i16_{rows}{'_long' if long else ''}"
    _smlad(program)
    start = ["  float " + ", ".join(f"d{i} = 0.0f" for i in each) + ";"] if long else []
    open_loop = [
        "  while (n != 0) {",
        f"  size_t m = n < {STRETCH // 2} ? n : {STRETCH // 2};",
        "  n -= m;",
    ]
    count = "m" if long else "n"
    sums = [f"  d{i} = add(d{i}, (float)a{i});" for i in each]
    text = [
        f"/* {rows} rows of int16, n pairs of columns: y = start + (sum scale) s. Integers, so any order is exact"
        + (f";\n * those of {STRETCH} columns fit 32 bits. */" if long else ". */"),
        _signature(name, "float"),
        *start,
        *(open_loop if long else []),
        _sums(rows),
        "  do {",
        f"#if {DSP}",
        "    const uint32_t v = pair_at(x);",
        *[f"    a{i} = two_products(w[{i}], v, a{i});" for i in each],
        "#else",
        "    const int32_t u = x[0], v = x[1];",
        *[f"    a{i} += (int16_t)(w[{i}] & 0xffffu) * u + (int16_t)(w[{i}] >> 16) * v;" for i in each],
        "#endif",
        f"    w += {rows};",
        "    x += 2;",
        f"  }} while (--{count});",
        *([*sums, "  }"] if long else []),
        *_scaled(rows, lambda i: f"d{i}" if long else f"(float)a{i}"),
        "}",
        "",
    ]
    return program.function(name, "\n".join(text), ["mul_add", "mul", "add"])


def _int8(program: Program, rows: int, columns: int) -> str:
    each, name = range(rows), f"products_i8_{rows}"
    _smlad(program)
    text = [
        f"/* {rows} rows of int8, n words of 4 columns, in the order 0 2 1 3: y = start + (sum scale) s. */",
        _signature(name, "float"),
        _sums(rows),
        "  do {",
        f"#if {DSP}",
        "    const uint32_t u = pair_at(x), v = pair_at(x + 2);",
        *[f"    a{i} = two_products(even_bytes(w[{i}]), u, two_products(odd_bytes(w[{i}]), v, a{i}));" for i in each],
        "#else",
        "    const int32_t x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];",
        *[
            f"    a{i} += (int8_t)(w[{i}] & 0xffu) * x0 + (int8_t)(w[{i}] >> 16 & 0xffu) * x1 +\n"
            f"          (int8_t)(w[{i}] >> 8 & 0xffu) * x2 + (int8_t)(w[{i}] >> 24) * x3;"
            for i in each
        ],
        "#endif",
        f"    w += {rows};",
        "    x += 4;",
        "  } while (--n);",
        *_scaled(rows, lambda i: f"(float)a{i}"),
        "}",
        "",
    ]
    return program.function(name, "\n".join(text), ["mul_add", "mul"])


def _int4(program: Program, rows: int, columns: int) -> str:
    each, name = range(rows), f"products_i4_{rows}"
    _smlad(program)
    fours = [
        f"      a{i} = two_products(w[{i}] & m, x0, two_products(w[{i}] << 4 & m, x1,\n"
        f"           two_products(w[{i}] << 8 & m, x2, two_products(w[{i}] << 12 & m, x3, a{i}))));"
        for i in each
    ]
    text = [
        f"/* {rows} rows of int4, n columns in groups of 32 with a scale each: y = start + d s, where d = fma(sum, scale, d)",
        " * over the groups. Nibbles 3 2 1 0 of each half of a word stand 4096 times as high: columns 0 2 4 6, and 1 3 5 7. */",
        _signature(name, "uint16_t"),
        "  float " + ", ".join(f"d{i} = 0.0f" for i in each) + ";",
        "  while (n != 0) {",
        "    size_t m8 = n < 4 ? n : 4;",
        "  " + _sums(rows),
        "    n -= m8;",
        "    do {",
        f"#if {DSP}",
        "      const uint32_t m = 0xf000f000u;",
        "      const uint32_t x0 = pair_at(x), x1 = pair_at(x + 2), x2 = pair_at(x + 4), x3 = pair_at(x + 6);",
        *fours,
        "#else",
        "      int j;",
        "      for (j = 0; j < 4; ++j) {",
        "        const int32_t u = x[2 * j], v = x[2 * j + 1];",
        *[
            f"        a{i} += (int16_t)(w[{i}] << 4 * j & 0xf000u) * u + (int16_t)(w[{i}] >> 16 << 4 * j & 0xf000u) * v;"
            for i in each
        ],
        "      }",
        "#endif",
        f"      w += {rows};",
        "      x += 8;",
        "    } while (--m8);",
        *[f"    d{i} = mul_add((float)(a{i} / 4096), load_half(scale + {i}), d{i});" for i in each],
        f"    scale += {rows};",
        "  }",
        *[f"  y[{i}] = mul_add(d{i}, s, start[{i}]);" for i in each],
        "}",
        "",
    ]
    return program.function(name, "\n".join(text), ["mul_add", "load_half"])


def quantise(program: Program, smoothed: bool) -> str:
    """A frame as integers, for weights that are. Gives the name."""
    name = "quantise_smoothed" if smoothed else "quantise"
    factor = ", const float* factors" if smoothed else ""
    number = "mul(x[k], factors[k])" if smoothed else "x[k]"
    text = f"""\
/* n numbers{" times factors" if smoothed else ""} as integers up to `most`, zeros up to `padded`, and what 1 of them is worth: 0 for silence, NaN where a
 * number is none. */
static UT_NOINLINE float {name}(int16_t* q, const float* x, size_t n, size_t padded, float most{factor}) {{
  uint32_t top = 0;
  float scale = 0.0f;
  size_t k;
  for (k = 0; k < n; ++k) {{
    const uint32_t u = bits_of({number}) & 0x7fffffffu;
    if (u > top) top = u;
  }}
  if (top < 0x7f800000u && top >= 0x0d800000u) {{ /* 2^-100 */
    const float inverse = div(most, float_of(top));
    scale = div(float_of(top), most);
    for (k = 0; k < n; ++k) q[k] = (int16_t)round_to_int(mul({number}, inverse));
  }} else {{
    if (top >= 0x7f800000u) scale = UT_NAN;
    memset(q, 0, n * sizeof *q);
  }}
  for (k = n; k < padded; ++k) q[k] = 0;
  return scale;
}}
"""
    return program.function(name, text, ["bits_of", "float_of", "div", "mul", "round_to_int"])
