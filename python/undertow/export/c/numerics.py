# SPDX-License-Identifier: MIT
"""float32 as the numerics contract has it, taken out of the engine's own headers: exported models hold their text, so
that exp, tanh and every other function has one source for all targets (csrc/compiler.h, csrc/kernels/float32.h,
csrc/kernels/math-inl.h, csrc/kernels/fixed.h), and for the 4 lanes of Helium too (csrc/kernels/float32x4.h). Only the
functions that a model needs are taken, by the names that their text mentions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ...errors import InternalError
from ...ir.activations import KINDS, Activation
from .text import literal

_ROOM = Path(__file__).resolve().parent.parent
#: the headers, in a wheel and in a checkout
_PLACES = (_ROOM / "numerics", _ROOM.parents[2] / "csrc", _ROOM.parents[2] / "csrc" / "kernels")
_FUNCTION = re.compile(r"^(?:UT_UNUSED )?(?:static|inline)\b[^;={]*?(\w+)\(")
_WORD = re.compile(r"\b[A-Za-z_]\w*\b")

#: in which functions are found
HEADERS = ("float32.h", "math-inl.h", "fixed.h")
#: the conditional of 4 lanes, which one more header and math-inl.h give
_LANES = "#if defined(UT_MVE)\n"

#: where one lane may branch, functions with the same results that compute one side only
_BRANCHING = {
    "vsigmoid": """\
static inline V vsigmoid(V x) {
  if (UT_UNLIKELY(!is_less(vabs(x), set1(87.33f)))) x = sigmoid_bounds(x);
  return sigmoid_bounded(x);
}
""",
}


@dataclass
class Chunk:
    """One definition of a header, with the conditional of the preprocessor that it stands in.

    names: that it defines; empty of what every model needs.
    """

    text: str
    names: tuple[str, ...] = ()
    condition: str = ""
    words: set[str] = field(default_factory=set)


def _header(name: str) -> str:
    for folder in _PLACES:
        if (path := folder / name).is_file():
            return path.read_text(encoding="utf-8")
    raise InternalError(f"{name} is missing: neither in {_PLACES[0]} nor in {_PLACES[1]}; install undertow again")


#: how comments of compiler.h begin that speak of what exported models have none of
_OF_THE_ENGINE = ("/* wasm32", "/* Workers", "/* Code for flash", "/* Off: errors", "/* Whether kernels")


@cache
def compiler_text() -> str:
    """What compilers and targets call by different names: the macros of csrc/compiler.h, and its refusals."""
    text = _header("compiler.h")
    kept: list[str] = []
    for block in _blocks(text[text.index("#include <float.h>") :].splitlines()):
        body = "\n".join(block)
        if (
            "<new>" in body
            or "hreads" in body
            or "UT_THREADS" in body
            or "UT_SMALL" in body
            or "UT_TEXTS" in body
            or "UNDERTOW_COMPILER_H_" in body
        ):
            continue
        if body.startswith(_OF_THE_ENGINE) or (not body and kept[-1:] == [""]):
            continue
        kept.append("#include <string.h>" if "__has_include" in body else body)
    return "\n".join(kept).rstrip() + "\n"


def _blocks(lines: list[str]) -> list[list[str]]:
    """Lines in pieces: a whole conditional of the preprocessor, or a single line."""
    blocks: list[list[str]] = []
    depth = 0
    for line in lines:
        if depth == 0:
            blocks.append([])
        blocks[-1].append(line)
        depth += line.startswith(("#if",)) - line.startswith("#endif")
    return blocks


@cache
def _chunks(lanes: bool = False) -> tuple[Chunk, ...]:
    if lanes:
        return (*_split(_header("float32x4.h")), *_split(_by_numbers(_header("math-inl.h"))))
    return tuple(chunk for name in HEADERS for chunk in _split(_header(name)))


#: operations of which one operand is the same number in all lanes, and what takes it as a number
_NUMBER = r"set1\(([^()]+)\)"
_BY_NUMBERS = (
    (rf"\bmul_add\(({_NUMBER}|\w+), (\w+), {_NUMBER}\)", r"mul_add_to(\1, \3, \4)"),
    (rf"\bmul_add\(([\w.]+), {_NUMBER}, ", r"mul_add_by(\1, \2, "),
    (rf"\badd\(([\w.]+), {_NUMBER}\)", r"add_to(\1, \2)"),
    (rf"\bmul\(([\w.]+), {_NUMBER}\)", r"mul_by(\1, \2)"),
)


def _by_numbers(text: str) -> str:
    for pattern, taken in _BY_NUMBERS:
        text = re.sub(pattern, taken, text)
    return text


def _split(text: str) -> list[Chunk]:
    """The definitions of a header in their order, without what is for C++ alone."""
    lines, chunks, at = text.splitlines(), list[Chunk](), 0
    condition, pending, depth = "", "", 0
    while at < len(lines):
        line = lines[at]
        if depth == 0 and line.startswith("#if"):
            end = at + len(_blocks(lines[at:])[0])
            block = "\n".join(lines[at:end]) + "\n"
            if "__cplusplus" in line:
                at = end
                continue
            if not re.search(r"^(UT_UNUSED )?static", block, re.M):
                chunks.append(Chunk(block))
                at, pending = end, ""
                continue
            condition = line  # of functions of some targets
        elif depth == 0 and line.startswith("#endif"):
            condition = ""
        elif depth == 0 and line.startswith("#"):
            if line.startswith("#define"):
                chunks.append(Chunk(pending + line + "\n"))
                pending = ""
        elif line or pending:
            pending += line + "\n"
            code = _code(pending)
            depth = 0 if line.startswith("#") and depth == 0 else code.count("{") - code.count("}")
            if not line and depth == 0:
                pending = ""  # a comment that stands alone
            elif code.strip() and depth == 0 and code.rstrip().endswith((";", "}")):
                chunks.append(Chunk(pending, _names(code), condition, set(_WORD.findall(code))))
                pending = ""
        at += 1
    return chunks


def _code(text: str) -> str:
    """Text without comments, an open one included."""
    return re.sub(r"//[^\n]*|/\*.*?(\*/|\Z)", "", text, flags=re.S)


def _names(code: str) -> tuple[str, ...]:
    code = code.strip()
    if function := _FUNCTION.match(code):
        return (function[1],)
    if code.startswith("typedef"):
        return (_WORD.findall(code.rpartition("}")[2] or code)[-1],)
    return tuple(re.findall(r"(\w+)(?:\[\d+\])? =", code))


def functions(wanted: Iterable[str]) -> str:
    """The text of these functions and of all that they mention, in the order of the headers.

    Raises:
        InternalError: the headers have no such function.
    """
    chunks, parts = _chunks(), list[str]()
    needed = _closure(chunks, wanted, _BRANCHING)
    for chunk in chunks:
        if chunk.names and not needed & {*chunk.names}:
            continue
        text = chunk.text
        if (replaced := needed & _BRANCHING.keys() & {*chunk.names}) and chunk.names:
            text = _BRANCHING[replaced.pop()]
        text = re.sub(r"^static (inline|UT_INLINE_FN)", r"UT_UNUSED static \1", text, flags=re.M)
        if chunk.condition:
            text = f"{chunk.condition}\n{text}#endif\n"
            if parts and parts[-1].startswith(f"{chunk.condition}\n"):
                text = parts.pop().removesuffix("#endif\n") + text.removeprefix(f"{chunk.condition}\n")
        parts.append(text)
    return "".join(parts)


def _closure(chunks: tuple[Chunk, ...], wanted: Iterable[str], replaced: Mapping[str, str]) -> set[str]:
    """These names and all that their definitions mention."""
    needed, asked = set[str](), list(wanted)
    of = {name: chunk for chunk in chunks for name in chunk.names}
    while asked:
        name = asked.pop()
        if name in needed:
            continue
        if name not in of:
            raise InternalError(f"the headers of undertow define no {name!r}")
        needed.add(name)
        words = set(_WORD.findall(replaced[name])) if name in replaced else of[name].words
        asked += [word for word in words if word in of]
    return needed


@cache
def lane_names() -> frozenset[str]:
    """The functions that there are of 4 lanes too, by the names of one."""
    return frozenset(name for chunk in _chunks(lanes=True) for name in chunk.names) - _constants()


@cache
def _constants() -> frozenset[str]:
    return frozenset(
        n for chunk in _chunks() for n in chunk.names if _code(chunk.text).lstrip().startswith("static const")
    )


def lanes(wanted: Iterable[str]) -> str:
    """As `functions`, of 4 lanes: the same text, in which names end with _4. Constants are those of one lane."""
    chunks = _chunks(lanes=True)
    needed = _closure(chunks, wanted, {}) - _constants()
    if not needed:
        return ""
    text = "".join(chunk.text for chunk in chunks if needed & {*chunk.names})
    text = re.sub(r"#if defined\(UT_ONE_LANE\)\n.*?#else\n(.*?)#endif\n", r"\1", text, flags=re.S)
    text = re.sub(r"^static (inline|UT_INLINE_FN)", r"UT_UNUSED static \1", text, flags=re.M)
    return f"{_LANES}/* The same of 4 lanes. */\n{in_lanes(text)}#endif\n"


def in_lanes(text: str) -> str:
    """Text in which what there is of 4 lanes is called by those names."""
    return _WORD.sub(lambda word: f"{word[0]}_4" if word[0] in lane_names() else word[0], text)


@cache
def _formulas() -> dict[str, str]:
    """kind -> the expression of `activation_of` in x, alpha, beta, zero and one."""
    of_case = dict(re.findall(r"case kAct(\w+): return (.+);", _header("math-inl.h")))
    return {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): formula for name, formula in of_case.items()}


def activation(act: Activation, name: str, lanes: bool = False) -> tuple[str, set[str]]:
    """The text of a function `name` that computes an activation, and the functions of the headers that it needs.

    lanes: of the function of 4 lanes, called name_4.
    """
    formula = _formulas()[act.kind]
    if formula.startswith("mul("):
        formula = f"flushed({formula})"  # a compiler multiplies by 1 by doing nothing
    constants = {"zero": "0.0f", "one": "1.0f", "alpha": literal(act.alpha), "beta": literal(act.beta)}
    value = "set1({})" if lanes else "{}"
    formula = re.sub(r"\b(zero|one|alpha|beta)\b", lambda word: value.format(constants[word[0]]), formula)
    formula = _by_numbers(formula) if lanes else formula
    words = set(_WORD.findall(formula))
    if lanes:
        text = f"{_LANES}static UT_NOINLINE V_4 {name}_4(V_4 x) {{ return {in_lanes(formula)}; }}\n#endif\n"
        return text, words & lane_names()
    known = {n for chunk in _chunks() for n in chunk.names}
    formula_text = KINDS[act.kind].formula
    text = f"/* {formula_text} */\nUT_UNUSED static float {name}(float x) {{ return {formula}; }}\n"
    return text, words & known
