# SPDX-License-Identifier: MIT
"""Helium (MVE, of Cortex-M55 and M85): the innermost loops as text, and loops over numbers 4 at a time.

Weights lie as for every other target. Of integers that is in words of a row, those of 4 rows beside each other, of
which instructions that load every fourth word make a register for each row. Sums of integers are exact, and 4 lanes
take the operations that one would, so the bits are those of all others (csrc/kernels/float32x4.h).
"""

from __future__ import annotations

import re

from .program import Lines, Program

MVE = "defined(UT_MVE)"
#: fewer rows of float32 that the FPU takes sooner
_LEAST = 3


# -- chains ----------------------------------------------------------------------------------------------------


def chains(rows: int, precision: str) -> list[str]:
    """The body of a kernel of chains; nothing where rows are too few. An assembler's, for compilers keep count of
    several pointers where one would do.
    """
    if rows < _LEAST:
        return []
    n, left = -(-rows // 4), rows % 4
    load, wide = ("vldrw{t}.32", 4) if precision == "float32" else ("vldrh{t}.u32", 2)

    def move(instruction: str, q: int, rest: str, i: int) -> list[str]:
        if i + 1 == n and left:
            return ["vpst", f"{instruction.format(t='t')} q{q}, {rest}"]
        return [f"{instruction.format(t='')} q{q}, {rest}"]

    taken = [move(load, n + i, f"[%[w]], #{wide * min(4, rows - 4 * i)}", i) for i in range(n)]
    widened = {
        "float32": lambda q: [],
        # vcvtb.f32.f16, of which GNU as 2.40 writes the wrong registers
        "float16": lambda q: [f".inst.w 0x{0xFE3F0E01 | q << 13 | q << 1:08x}"],
        "bfloat16": lambda q: [f"vshl.i32 q{q}, q{q}, #16"],
    }[precision]
    column = list(taken[0])
    for i in range(n):
        column += taken[i + 1] if i + 1 < n else []
        column += [*widened(n + i), f"vfma.f32 q{i}, q{n + i}, %[v]"]
    ends = lambda pointer, i: f"[%[{pointer}], #{16 * i}]"  # noqa: E731
    lines = [
        *(["vctp.32 %[v]"] if left else []),
        *(line for i in range(n) for line in move("vldrw{t}.32", i, ends("start", i), i)),
        "dls lr, %[n]",
        "1: ldr %[v], [%[x]], #4",
        *column,
        "le lr, 1b",
        *(line for i in range(n) for line in move("vstrw{t}.32", i, ends("y", i), i)),
    ]
    clobbers = [*(f"q{i}" for i in range(2 * n)), "lr", "cc", "memory"]
    operands = '[w] "+r"(w), [x] "+r"(x), [v] "+&r"(v)'
    return [
        f"  uint32_t v = {left}; /* rows of the last lanes, then a number of x */",
        *asm(lines, operands, '[y] "r"(y), [start] "r"(start), [n] "r"(n)', clobbers, " UT_P0" if left else ""),
    ]


def asm(lines: list[str], outputs: str, inputs: str, clobbers: list[str], more: str = "") -> list[str]:
    """A statement of an assembler's lines; more: a macro of further clobbers."""
    text = ["  __asm__ volatile("]
    text += [f'      "{line}\\n\\t"' for line in lines]
    listed = ", ".join(f'"{clobber}"' for clobber in clobbers)
    return [*text, f"      : {outputs}", f"      : {inputs}", f"      : {listed}{more});"]


# -- integers ----------------------------------------------------------------------------------------------------


def _words(rows: int, count: str, word: list[str], first: list[str] | None = None) -> list[str]:
    """Four words of each row at a time: `word` are lines of rows r0, r1 ... and of v, bytes of the frame; `first` are
    those of the first four, which give sums a0, a1 ... a value.

    The words that are left are loaded one by one, each lane of its own, for nothing may be read behind them.
    """
    four = [
        "    const uint32x4x4_t r = vld4q_u32(w);",
        *(f"    const uint32x4_t r{i} = r.val[{i}];" for i in range(rows)),
        "    const int8x16_t v = vreinterpretq_s8_u8(vldrbq_u8(t));",
    ]
    on = [f"    w += {4 * rows};", "    t += 16;"]
    words = [f"    {line}" for line in word]
    whole = ["  UT_ROLLED", f"  for (; {count} >= 4; {count} -= 4) {{", *four, *words, *on, "  }"]
    if first:
        begin = [
            f"  if ({count} >= 4) {{",
            *four,
            *(f"    {line}" for line in first),
            *on,
            f"    {count} -= 4;",
            "  } else {",
        ]
        whole = [*begin, "    " + " = ".join(f"a{i}" for i in range(rows)) + " = 0;", "  }", *whole]
    left = [
        "  UT_ROLLED",
        f"  while ({count} != 0) {{",
        f"    const uint32_t some = {count} < 4 ? (uint32_t){count} : 4;",
        "    const mve_pred16_t p = vctp32q(some);",
        f"    const uint32x4_t at = vmulq_n_u32(vidupq_n_u32(0, 1), {rows});",
        *(f"    const uint32x4_t r{i} = vldrwq_gather_shifted_offset_z_u32(w + {i}, at, p);" for i in range(rows)),
        "    const int8x16_t v = vreinterpretq_s8_u8(vldrbq_z_u8(t, p));",
        *(f"    {line}" for line in word),
        f"    w += {rows} * some;",
        "    t += 16;",
        f"    {count} -= some;",
        "  }",
    ]
    return [*(whole if rows == 4 else []), *left]


def _scaled(program: Program, rows: int, sums: str) -> list[str]:
    """y = start + (sum scale) s, of `sums`, lanes or with {} for a row, in float32."""
    if rows == 4:
        program.need_lanes("load", "store", "mul", "mul_add", "set1")
        lines = [f"  store_4(y, mul_add_4(mul_4({sums}, load_4(scale)), set1_4(s), load_4(start)));"]
    else:
        lines = [f"  y[{i}] = mul_add(mul({sums.format(i)}, scale[{i}]), s, start[{i}]);" for i in range(rows)]
    return [*lines, *(f"  {pointer} += {rows};" for pointer in ("y", "start", "scale"))]


def products(program: Program, rows: int, bits: int, stretch: int = 0) -> list[str]:
    """The body of a kernel of int16 or int8; stretch: words of which an int32 holds the sum, where there are more."""
    of = f"s{bits}"
    if stretch:
        program.need_lanes("add", "set1")
    frame = "v" if bits == 8 else "vreinterpretq_s16_s8(v)"
    word = [f"a{i} = vmladavaq_{of}(a{i}, vreinterpretq_{of}_u32(r{i}), {frame});" for i in range(rows)]
    start = ["  const uint8_t* t = (const uint8_t*)x;"]
    sums = "  int32_t " + ", ".join(f"a{i} = 0" for i in range(rows)) + ";"
    lanes = "of_ints_4(a0, a1, a2, a3)"
    if rows == 4:
        program.need_lanes("of_ints")
    if not stretch and rows == 4:
        first = [line.replace("vmladavaq", "vmladavq").replace(f"(a{i}, ", "(", 1) for i, line in enumerate(word)]
        return [*start, "  int32_t a0, a1, a2, a3;", *_words(rows, "n", word, first), *_scaled(program, rows, lanes)]
    if not stretch:
        return [*start, sums, *_words(rows, "n", word), *_scaled(program, rows, "(float)a{}")]
    if rows == 4:
        d, total = "  V_4 d = set1_4(0.0f);", [f"    d = add_4(d, {lanes});"]
    else:
        d = "  float " + ", ".join(f"d{i} = 0.0f" for i in range(rows)) + ";"
        total = [f"    d{i} = add(d{i}, (float)a{i});" for i in range(rows)]
    return [
        *start,
        d,
        "  while (n != 0) {",
        f"    size_t k = n < {stretch} ? n : {stretch};",
        f"  {sums}",
        "    n -= k;",
        *(f"  {line}" for line in _words(rows, "k", word)),
        *total,
        "  }",
        *_scaled(program, rows, "d" if rows == 4 else "d{}"),
    ]


def nibbles(program: Program, rows: int) -> list[str]:
    """The body of a kernel of int4: 4 words at a time, a group of 32 columns, whose nibbles count 16 times."""
    halves = [
        f"a{i} = vmladavaq_s8(vmladavq_s8(vreinterpretq_s8_u32(vandq_u32(r{i}, top)), high),"
        f" vreinterpretq_s8_u8(vshlq_n_u8(vreinterpretq_u8_u32(r{i}), 4)), low);"
        for i in range(rows)
    ]
    if rows == 4:
        program.need_lanes("set1", "mul", "mul_add", "of_ints", "load_half", "load", "store")
        start = "  V_4 d = set1_4(0.0f);"
        total = ["    d = mul_add_4(mul_4(of_ints_4(a0, a1, a2, a3), set1_4(0.0625f)), load_half_4(scale), d);"]
        done = ["  store_4(y, mul_add_4(d, set1_4(s), load_4(start)));"]
    else:
        start = "  float " + ", ".join(f"d{i} = 0.0f" for i in range(rows)) + ";"
        total = [f"    d{i} = mul_add((float)(a{i} / 16), load_half(scale + {i}), d{i});" for i in range(rows)]
        done = [f"  y[{i}] = mul_add(d{i}, s, start[{i}]);" for i in range(rows)]
    load = [f"r{i} = vldrwq_gather_shifted_offset_z_u32(w + {i}, at, p);" for i in range(rows)]
    if rows == 4:
        load = [
            "if (some == 4) {",
            "  const uint32x4x4_t r = vld4q_u32(w);",
            *(f"  r{i} = r.val[{i}];" for i in range(4)),
            "} else {",
            *(f"  {line}" for line in load),
            "}",
        ]
    return [
        "  const uint8_t* t = (const uint8_t*)x;",
        "  const uint32x4_t top = vdupq_n_u32(0xf0f0f0f0u);",
        f"  const uint32x4_t at = vmulq_n_u32(vidupq_n_u32(0, 1), {rows});",
        start,
        "  UT_ROLLED",
        "  while (n != 0) {",
        "    const uint32_t some = n < 4 ? (uint32_t)n : 4;",
        "    const mve_pred16_t p = vctp32q(some);",
        "    const int8x16_t high = vreinterpretq_s8_u8(vldrbq_z_u8(t, p));",
        "    const int8x16_t low = vreinterpretq_s8_u8(vldrbq_z_u8(t + 4 * some, p));",
        "    int32_t " + ", ".join(f"a{i}" for i in range(rows)) + ";",
        "    uint32x4_t " + ", ".join(f"r{i}" for i in range(rows)) + ";",
        *(f"    {line}" for line in [*load, *halves]),
        *total,
        f"    w += {rows} * some;",
        "    t += 8 * some;",
        f"    scale += {rows};",
        "    n -= some;",
        "  }",
        *done,
        *(f"  {pointer} += {rows};" for pointer in ("y", "start")),
    ]


def narrow(program: Program, bits: int) -> str:
    """What makes a frame one of bytes, in the order of int8 or of int4. Gives the name."""
    if bits == 8:
        text = f"""\
/* A frame of n words of 4 integers as bytes in the order of weights, 0 2 1 3; elsewhere it stays as it is. */
UT_UNUSED static void as_bytes(int16_t* q, size_t n) {{
#if {MVE}
  static const uint16_t order[8] = {{0, 2, 1, 3, 4, 6, 5, 7}};
  const uint16x8_t at = vldrhq_u16(order);
  int8_t* to = (int8_t*)q;
  for (; n >= 2; q += 8, to += 8, n -= 2) vstrbq_s16(to, vldrhq_gather_shifted_offset_s16(q, at));
  if (n != 0) {{
    const mve_pred16_t p = vctp16q(4);
    vstrbq_p_s16(to, vldrhq_gather_shifted_offset_z_s16(q, at, p), p);
  }}
#else
  (void)q;
  (void)n;
#endif
}}
"""
        return program.function("as_bytes", text)
    text = f"""\
/* A frame of n words of 8 integers as bytes: of 4 words those that meet upper halves of bytes, then the others;
 * elsewhere it stays as it is. */
static void as_halves(int16_t* q, size_t n) {{
#if {MVE}
  static const uint16_t order[16] = {{4, 0, 5, 1, 12, 8, 13, 9, 6, 2, 7, 3, 14, 10, 15, 11}};
  const uint16x8_t upper = vldrhq_u16(order), lower = vldrhq_u16(order + 8);
  int8_t* to = (int8_t*)q;
  while (n != 0) {{
    const uint32_t some = n < 4 ? (uint32_t)n : 4, more = some > 2 ? some - 2 : 0;
    const mve_pred16_t p = vctp16q(4 * some), r = vctp16q(4 * more);
    const int16x8_t a = vldrhq_gather_shifted_offset_z_s16(q, upper, p);
    const int16x8_t b = vldrhq_gather_shifted_offset_z_s16(q + 16, upper, r);
    const int16x8_t c = vldrhq_gather_shifted_offset_z_s16(q, lower, p);
    const int16x8_t d = vldrhq_gather_shifted_offset_z_s16(q + 16, lower, r);
    vstrbq_p_s16(to, a, p);
    vstrbq_p_s16(to + 8, b, r);
    to += 4 * some;
    vstrbq_p_s16(to, c, p);
    vstrbq_p_s16(to + 8, d, r);
    to += 4 * some;
    q += 8 * some;
    n -= some;
  }}
#else
  (void)q;
  (void)n;
#endif
}}
"""
    return program.function("as_halves", text)


def quantise(program: Program, smoothed: bool) -> tuple[list[str], list[str]]:
    """Of a frame the bits of its largest number, times 2; and its integers."""
    program.need_lanes("load", "load_some", "mul", "mul_by", "add_to")
    whole, some = "load_4({} + k)", "load_some_4({} + k, n - k)"
    ways = [f"mul_4({w.format('x')}, {w.format('factors')})" if smoothed else w.format("x") for w in (whole, some)]
    larger = [f"most_yet = vmaxq_u32(most_yet, vshlq_n_u32(vreinterpretq_u32_f32({way}), 1));" for way in ways]
    shifted = [f"vreinterpretq_u32_f32(add_to_4(mul_by_4({way}, inverse), 12582912.0f))" for way in ways]
    seen = [
        "  {",
        "    uint32x4_t most_yet = vdupq_n_u32(0);",
        f"    for (k = 0; k + 4 <= n; k += 4) {larger[0]}",
        f"    if (k < n) {larger[1]}",
        "    top = vmaxvq_u32(0, most_yet);",
        "  }",
    ]
    rounded = [
        f"    for (k = 0; k + 4 <= n; k += 4) vstrhq_u32((uint16_t*)(q + k), {shifted[0]});",
        f"    if (k < n) vstrhq_p_u32((uint16_t*)(q + k), {shifted[1]}, vctp32q((uint32_t)(n - k)));",
    ]
    return seen, rounded


# -- loops over numbers ------------------------------------------------------------------------------------------

_NUMBER = re.compile(r"(?<![\w.])-?(?:\d[\d.]*(?:e[+-]?\d+)?f|UT_INFINITY|UT_NAN)\b")
_ELEMENT = re.compile(r"\b(\w+)\[([^][]+)\]")
_CALL = re.compile(r"\b([A-Za-z]\w*)\(")
_APART = re.compile(r"(\d+) \* (.+)")


def loop(
    program: Program, lines: Lines, index: str, n: int | str, before: list[str], each: list[str], whole: bool
) -> None:
    """A loop over n numbers of which `each` are the lines, `const float v = ..;` and `p[k] = ..;`, and 4 at a time
    where these are functions of the vocabulary alone.

    before: what every round begins with.
    whole: whether n is a multiple of 4.
    """
    one = [f"for ({index} = 0; {index} < {n}; ++{index}) {{", *before, *each, "}"]
    vectors = None if isinstance(n, int) and n < 2 else _in_lanes(program, each, whole)
    if vectors is None:
        lines(*one)
        return
    lanes = [] if whole else [f"const size_t lanes = {n} - {index};"]
    lines(f"#if {MVE}", f"for ({index} = 0; {index} < {n}; {index} += 4) {{", *before, *lanes, *vectors, "}")
    lines("#else", *one, "#endif")


def _in_lanes(program: Program, each: list[str], whole: bool) -> list[str] | None:
    """Lines of one number as lines of 4; None where there is no way."""
    taken: set[str] = set()
    given = "" if whole else ", lanes"
    load, store = ("load", "store") if whole else ("load_some", "store_some")
    apart: set[str] = set()

    def element(indexed: re.Match[str]) -> str:
        array, at = indexed.groups()
        if times := _APART.fullmatch(at):
            apart.add(times[1])
            taken.add(f"{load}_apart")
            return f"{load}_apart_4({array} + {at}, apart{given})"
        taken.add(load)
        return f"{load}_4({array} + {at}{given})"

    def expression(text: str) -> str:
        taken.update(_CALL.findall(text))
        text = _CALL.sub(r"\1_4(", text)
        text, n_numbers = _NUMBER.subn(lambda number: f"set1_4({number[0]})", text)
        if n_numbers:
            taken.add("set1")
        return _ELEMENT.sub(element, text)

    four = []
    for line in each:
        if "?" in line:
            return None
        if named := re.fullmatch(r"const float (\w+) = (.*);", line):
            four.append(f"const V_4 {named[1]} = {expression(named[2])};")
        elif stored := re.fullmatch(r"(\w+)\[(.+?)\] = (.*);", line):
            taken.add(store)
            four.append(f"{store}_4({stored[1]} + {stored[2]}, {expression(stored[3])}{given});")
        else:
            return None
    if len(apart) > 1 or not program.has_lanes(taken):
        return None
    program.need_lanes(*taken)
    return [f"const uint32x4_t apart = vmulq_n_u32(vidupq_n_u32(0, 1), {n});" for n in apart] + four
