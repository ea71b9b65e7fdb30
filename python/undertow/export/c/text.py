# SPDX-License-Identifier: MIT
"""Numbers and names as C writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

#: of C and C++
_RESERVED_WORDS = """
alignas alignof and asm auto bool break case catch char class const continue default delete do double else enum
explicit export extern false float for friend goto if inline int long mutable namespace new not nullptr operator or
private protected public register restrict return short signed sizeof static struct switch template this throw true
try typedef typeid typename typeof union unsigned using virtual void volatile wchar_t while xor main
"""
_KEYWORDS = frozenset(_RESERVED_WORDS.split())
_WIDTH = 116


def identifier(name: str, taken: Iterable[str] = (), fallback: str = "value") -> str:
    """A name as an identifier of C and C++, unlike those that are taken.

    >>> identifier("lstm_1.h"), identifier("0/x"), identifier("float"), identifier("a b", taken=["a_b"])
    ('lstm_1_h', 'v0_x', 'float_', 'a_b_2')
    """
    base = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or fallback
    if base[0].isdigit():
        base = f"v{base}"
    if base in _KEYWORDS:
        base += "_"
    taken, candidate, n = set(taken), base, 2
    while candidate in taken:
        candidate, n = f"{base}_{n}", n + 1
    return candidate


def parameter_name(name: str, taken: Iterable[str], fallback: str) -> str:
    """The same for the header, before which others may have defined macros: those are in capitals, but for two.

    >>> parameter_name("INPUT", [], "x"), parameter_name("linux", [], "x"), parameter_name("X", [], "x")
    ('INPUT_', 'linux_', 'X_')
    """
    base = identifier(name, fallback=fallback)
    if base in ("linux", "unix") or not any(c.islower() for c in base):
        base += "_"
    candidate, n = base, 2
    while candidate in {*taken}:
        candidate, n = f"{base}_{n}", n + 1
    return candidate


def comment(text: str) -> str:
    """Text of a file within a comment: one line of ASCII that ends no comment and joins no lines."""
    plain = text.encode("ascii", "backslashreplace").decode()
    plain = "".join(c if c.isprintable() else " " for c in plain)
    return plain.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?").rstrip("\\")


def literal(number: float) -> str:
    """A float32 number.

    >>> literal(0.1), literal(1), literal(float("-inf"))
    ('0.1f', '1.0f', '-UT_INFINITY')
    """
    x = np.float32(number)
    if np.isnan(x):
        return "UT_NAN"
    if np.isinf(x):
        return "UT_INFINITY" if x > 0 else "-UT_INFINITY"
    return f"{x!s}f"


def literals(array: np.ndarray) -> Iterable[str]:
    """The numbers of an array, in its order: float32 in decimals, integers without a sign in hexadecimal."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype == np.float32:
        if not np.isfinite(flat).all():
            return map(literal, flat)
        return (f"{number}f" for number in flat.astype("U32").tolist())  # the shortest that are read back
    if flat.dtype.kind == "u":
        digits = 2 * flat.dtype.itemsize
        return (f"0x{number:0{digits}x}{'u' if digits == 8 else ''}" for number in flat.tolist())
    return map(str, flat.tolist())


C_TYPES = {
    np.dtype(np.float32): "float",
    np.dtype(np.uint32): "uint32_t",
    np.dtype(np.uint16): "uint16_t",
    np.dtype(np.uint8): "uint8_t",
    np.dtype(np.int8): "int8_t",
    np.dtype(np.int16): "int16_t",
    np.dtype(np.int32): "int32_t",
}


def array(name: str, values: np.ndarray, note: str = "", macro: str = "") -> str:
    """The definition of a constant array, each number of which a macro is given, if there is one."""
    lines = [f"/* {note} */"] if note else []
    aligned = "UT_ALIGN_4 " if values.dtype == np.uint16 else ""
    lines.append(f"static const {C_TYPES[values.dtype]} {aligned}{name}[{values.size}] = {{")
    line = " "
    for number in literals(values):
        number = f"{macro}({number})" if macro else number
        if len(line) + len(number) + 2 > _WIDTH:
            lines.append(line)
            line = " "
        line += f" {number},"
    return "\n".join([*lines, line, "};", ""])
