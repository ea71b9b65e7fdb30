# SPDX-License-Identifier: MIT
"""What an exported model costs on a target: flash, RAM, stack, instructions of a step; cycles where they are known.

Weights and RAM are those of the C. The rest is an estimate from `costs.json`, which `bench/costs.py` measures: what a
step executes is counted in the text of its C, loop by loop, and each kind of thing counted has a price on each target.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from math import ceil, prod
from pathlib import Path
from statistics import median
from typing import Any

from ..errors import InternalError
from .c.emit import Source
from .c.program import Program

#: targets whose C takes Helium, and its conditional
WITH_VECTORS = ("cortex-m55",)
HELIUM = "#if defined(UT_MVE)"

_TABLE = Path(__file__).resolve().parent / "costs.json"


@cache
def _table() -> dict[str, Any]:
    return json.loads(_TABLE.read_text(encoding="utf-8"))


def targets() -> tuple[str, ...]:
    """Names of the targets whose prices are known."""
    return tuple(_table()["targets"])


def timed() -> tuple[str, ...]:
    """Those of which cycles are known."""
    return tuple(name for name, prices in _table()["targets"].items() if prices["cycles"])


@dataclass(frozen=True)
class Costs:
    """What a model costs on a target.

    Attributes:
        weight_bytes: constants, in flash; exact.
        code_bytes: of the model's functions, in flash.
        library_bytes: of the compiler's routines that these call, in flash: floats without an FPU, memcpy. A firmware
            that has them for other reasons has them once.
        ram_bytes: of a stream; exact.
        stack_bytes: of the call of a step.
        instructions: of a step.
        cycles: of a step, from memory without wait states; None of targets whose maker gives no timings.
        errors: of "instructions", "cycles", "code" (with the library) and "stack", how far off those of models were
            that the prices were not made from, as shares of what was measured: half of them were nearer than the
            first, 9 of 10 than the second. Of models made of what many measured ones have, or else of all.
    """

    target: str
    weight_bytes: int
    code_bytes: int
    library_bytes: int
    ram_bytes: int
    stack_bytes: int
    instructions: int
    cycles: int | None
    errors: Mapping[str, tuple[float, float]]

    @property
    def flash_bytes(self) -> int:
        return self.weight_bytes + self.code_bytes + self.library_bytes


def estimate(source: Source, target: str) -> Costs:
    """What a model, as it is exported, costs on one of `targets`, compiled with -O2."""
    return priced(source, target, _table()["targets"][target])


def priced(source: Source, target: str, prices: Mapping[str, Any]) -> Costs:
    """`estimate` by a row of the table."""
    program, vectors = source.program, target in WITH_VECTORS
    executed, written = (counts(program, text, vectors) for text in (False, True))

    def sum_of(which: Mapping[str, float], of: Mapping[str, float]) -> int:
        return round(sum(_price(which, key) * n for key, n in of.items())) if which else 0

    has = {*(key.split()[0] for key in executed), *functions(program)}
    usual = {*executed} <= {*prices["usual"]}
    return Costs(
        target,
        source.facts.weight_bytes,
        sum_of(prices["code"]["step"], written) + code_of_functions(program, prices["code"], vectors),
        sum(n for n, because in prices["library"].values() if not has.isdisjoint(because)),
        source.facts.state_bytes,
        sum_of(prices["stack"], stack_counts(program)) + stack(program, prices["code"]["functions"], vectors),
        sum_of(prices["instructions"], executed),
        sum_of(prices["cycles"], executed) or None,
        {of: tuple(ranges[not usual]) for of, ranges in prices["errors"].items()},
    )


def _price(prices: Mapping[str, float], key: str) -> float:
    """Of what no measured model had, that of what is like it: of calls at one place or several, calls at the other; the
    median of activations, or of loops of functions.
    """
    if key in prices:
        return prices[key]
    name, _, kind = key.partition(" ")
    if kind == "once" and name in prices:
        return prices[name]
    alike = [price for k, price in prices.items() if (k.endswith(f" {kind}") if kind else k.startswith("act_"))]
    return median(alike) if alike else 0.0


def functions(program: Program) -> dict[str, str]:
    """The functions that stand in the file of a model besides the step: name -> text."""
    texts: dict[str, str] = {}
    name = ""
    for line in program.functions.splitlines(keepends=True):
        if not name and (match := re.match(r"(?:UT_\w+ )*static [^;=]*?(\w+)\(", line)):
            name, texts[match[1]] = match[1], ""
        if name:
            texts[name] += line
            if "}" in line and texts[name].count("{") == texts[name].count("}"):
                name = ""
    return texts


def places(program: Program, vectors: bool) -> dict[str, int]:
    """At how many places each of the `functions` is called: one that is called once becomes part of its caller."""
    texts = functions(program)
    calls = Counter(re.findall(r"\b(\w+)\(", " ".join([*_compiled(program.step.lines, vectors), *texts.values()])))
    return {name: calls[name] + calls[name.removesuffix("_4") + "_x4"] - 1 for name in texts}


def row_of(name: str, n: int) -> str:
    """The row of `functions` in the table for one that is called at n places."""
    return name if n > 1 else f"{name} once"


def code_of_functions(program: Program, prices: Mapping[str, Any], vectors: bool) -> int:
    """Bytes of what compilers leave of the `functions` beside the step."""
    at, known, total = places(program, vectors), prices["functions"], 0.0
    for name, text in functions(program).items():
        row = known.get(row_of(name, at[name])) or known.get(row_of(name, 3 - min(2, max(1, at[name]))))
        total += row[0] if row else prices["per character"] * len(text)
    return round(total)


_ARRAYS = re.compile(r"^\s*(?:const )?(?:float|u?int32_t)\*? (?=[^;(]*\[)([^;(]*);", re.MULTILINE)


def _bytes_of_arrays(text: str) -> int:
    """Of those that are declared."""
    return sum(4 * int(n) for declared in _ARRAYS.findall(text) for n in re.findall(r"\w\[(\d+)\]", declared))


def stack(program: Program, frames: Mapping[str, list[float]], vectors: bool) -> int:
    """Bytes of the arrays that a step has on the stack at the same time, at most, and of the deepest chain of calls."""
    depth, sizes, most = 0, Counter[int](), 0
    for line in program.step.lines:
        sizes[depth] += _bytes_of_arrays(line)
        most = max(most, sum(sizes.values()))
        depth += line.count("{") - line.count("}")
        for deeper in [d for d in sizes if d > depth]:
            del sizes[deeper]
    texts, at, deep = functions(program), places(program, vectors), dict[str, float]()

    def below(text: str, own: str = "") -> float:
        return max((of(name) for name in {*re.findall(r"\b(\w+)\(", text)} - {own} if name in texts), default=0.0)

    def of(name: str) -> float:
        if name not in deep:
            frame = frames.get(row_of(name, at[name]), (0, 0))[1]
            deep[name] = max(frame, _bytes_of_arrays(texts[name])) + below(texts[name], name)
        return deep[name]

    return round(most + below("\n".join(program.step.lines)))


def stack_counts(program: Program) -> dict[str, float]:
    """What else has a price on the stack: what a step keeps there across calls, of loops that stand in each
    other and of lines, of which the first ones count.
    """
    lines = program.step.lines
    deep = max(accumulate((line.count("{") - line.count("}") for line in lines), initial=0))
    n = float(len(lines))
    further = max(0.0, min(60.0, n) - 15.0)
    return {"step": 1.0, "level": max(0.0, deep - 2.0), "line": min(15.0, n), "further line": further}


# -- counting ----------------------------------------------------------------------------------------------------------


def counts(program: Program, text: bool = False, vectors: bool = False) -> dict[str, float]:
    """How often a step does each kind of thing that has a price, or with `text`, how often its text says so.

    vectors: of what Helium does four times at once, in place of what others do.

    Keys: "step" (1), "statement", "turn" (of a loop); of functions "NAME" (calls), "NAME turn" (of its loop, by the
    arguments that say how many), "NAME element" (what a table says), and where names end in a number of rows, "NAME
    row" and "NAME turn row"; with `text` "NAME once" of what is called at one place. A gate counts as open.
    """
    total = defaultdict[str, float](float, step=1.0)
    tokens = _Tokens(re.sub(r"/\*.*?\*/", "", " ".join(_compiled(program.step.lines, vectors))))
    parameters = {name: _parameters(text) for name, text in functions(program).items()}
    once = {name for name, n in places(program, vectors).items() if n < 2} if text else set[str]()
    walk = _Text(program, parameters, total, once) if text else _Walk(program, parameters, total)
    while tokens:
        walk.statement(tokens, 1.0)
    return dict(total)


def _compiled(lines: list[str], vectors: bool) -> Iterator[str]:
    """What the preprocessor leaves. NAME_4, of four lanes, becomes NAME_x4, for NAME_4 may be the fourth NAME."""
    of_vectors: list[bool] = []  # of each conditional that is open
    for line in lines:
        if line.startswith("#if"):
            of_vectors.append(line == HELIUM)
        elif line.startswith("#else"):
            of_vectors[-1] = not of_vectors[-1]
        elif line.startswith("#endif"):
            of_vectors.pop()
        elif not of_vectors:
            yield line.strip()
        elif vectors == of_vectors[-1]:
            yield re.sub(r"\b([A-Za-z]\w*)_4\(", r"\1_x4(", line.strip()) if vectors else line.strip()


def _parameters(text: str) -> list[str]:
    start = text.index("(") + 1
    return [word.split()[-1].lstrip("*") for word in text[start : text.index(")", start)].split(",") if word.strip()]


class _Tokens:
    """Statements of C, read one after another."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self._skip()

    def __bool__(self) -> bool:
        return self.at < len(self.text)

    def _skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at] == " ":
            self.at += 1

    def take(self, word: str) -> bool:
        """Whether this comes next; then it is read."""
        is_next = self.text.startswith(word, self.at)
        if is_next:
            self.at += len(word)
            self._skip()
        return is_next

    def until(self, end: str) -> str:
        """What stands before the next `end`, which is read too."""
        stop = self.text.index(end, self.at)
        taken, self.at = self.text[self.at : stop], stop + len(end)
        self._skip()
        return taken

    def parentheses(self) -> str:
        """What stands in the parentheses that have just been opened."""
        depth, start = 1, self.at
        while depth:
            depth += {"(": 1, ")": -1}.get(self.text[self.at], 0)
            self.at += 1
        taken = self.text[start : self.at - 1]
        self._skip()
        return taken


#: how conditions begin that hold of numbers that are none, of no row of a table, and of a gate that is shut
_RARE = ("exponent == 255", "(before & 0x7f800000u) == 0x7f800000u", "ids[i] < 0", "!is_open")


class _Walk:
    """Adds up what statements do that are executed `times` times."""

    def __init__(self, program: Program, parameters: Mapping[str, list[str]], total: dict[str, float]) -> None:
        self.program, self.parameters, self.total = program, parameters, total
        self.some = 0.0  # units of a group, on average
        self.whole = 1.0  # the share of groups that are whole

    def statement(self, tokens: _Tokens, times: float) -> None:
        if tokens.take("{"):
            while not tokens.take("}"):
                self.statement(tokens, times)
        elif tokens.take("for ("):
            header = tokens.parentheses()
            n = self._turns(header) * times
            self.total["turn"] += n
            self.statement(tokens, n)
        elif tokens.take("if ("):
            condition = tokens.parentheses()
            self._calls(condition, times)
            first = self._share(condition)
            self.statement(tokens, times * first)
            if tokens.take("else "):
                self.statement(tokens, times * (1 - first))
        else:
            text = tokens.until(";")
            if declared := re.fullmatch(r"const size_t some = u \+ (\d+) <= (\d+) \? \d+ : \d+", text):
                n, units = map(int, declared.groups())
                self.some, self.whole = units / ceil(units / n), units // n / ceil(units / n)
            if not re.fullmatch(r"(size_t|float) [\w, \[\]]+", text):
                self.total["statement"] += times
            self._calls(text, times)

    def _turns(self, header: str) -> float:
        begin, condition, step = (part.strip() for part in header.split(";"))
        variable, _, first = begin.partition(" = ")
        if condition == f"{variable}-- != 0":
            return int(first)
        match = re.fullmatch(rf"{variable}(?: \+ (\d+))? (<=?) (\d+|some)", condition)
        by = re.match(rf"\+\+{variable}\b|{variable} \+= (\d+)", step)
        if not match or not by or not first.isdigit():
            raise InternalError(f"a loop of an exported step whose turns nobody can count: for ({header})")
        width, stride = int(match[1] or 0), int(by[1] or 1)
        left = (self.some if match[3] == "some" else int(match[3])) - width - int(first)
        return max(0, left // stride + 1 if match[2] == "<=" else left if stride == 1 else ceil(left / stride))

    def _share(self, condition: str) -> float:
        """How often a condition holds."""
        if condition.startswith("some =="):
            return self.whole
        return 0.0 if condition.startswith(_RARE) else 1.0

    def _calls(self, text: str, times: float) -> None:
        for name, arguments in _calls(text):
            family, rows = _family(name)
            known = dict(zip(self.parameters.get(name, []), arguments, strict=False))
            repeats = int(known.get("m", "1"))
            n = self._turns_of_call(name, arguments, known)
            self.total[family] += times
            elements = sum(self._elements(argument) for argument in arguments)
            for key, number in (("row", rows), ("turn", n), ("turn row", n * rows), ("element", elements)):
                if number:
                    self.total[f"{family} {key}"] += times * repeats * number

    def _turns_of_call(self, name: str, arguments: list[str], known: dict[str, str]) -> int:
        """Turns of the loop in a function, as its arguments say: n of that name, or columns."""
        if name in ("memcpy", "memmove", "memset"):
            return prod(int(n) for n in re.findall(r"(\d+) \*", arguments[2])) or 1
        numbers = (known.get(key, "") for key in ("n", "columns"))
        return next((int(number) for number in numbers if number.isdigit()), 0)

    def _elements(self, argument: str) -> int:
        return self.program.turns.get(argument, 0)


class _Text(_Walk):
    """Adds up what stands there, however often it is executed; calls of what is called `once` apart."""

    def __init__(
        self, program: Program, parameters: Mapping[str, list[str]], total: dict[str, float], once: set[str]
    ) -> None:
        super().__init__(program, parameters, total)
        self.once = once

    def _calls(self, text: str, times: float) -> None:
        for name, _ in _calls(text):
            family, rows = _family(name)
            key = f"{family} once" if name in self.once else family
            self.total[key] += times
            if rows:
                self.total[f"{family} row"] += times * rows

    def _turns(self, header: str) -> float:
        return 1.0

    def _share(self, condition: str) -> float:
        return 0.5


def _family(name: str) -> tuple[str, int]:
    """The name of a function without its number of rows, and that; of activations without a number that tells two of
    one kind apart.
    """
    if name.startswith("act_"):
        return re.sub(r"_\d+$", "", name), 0
    match = re.fullmatch(r"((?:chains|products)_\w+?)_(\d+)(_\w+)?", name)
    return (match[1] + (match[3] or ""), int(match[2])) if match else (name, 0)


def _calls(text: str) -> Iterator[tuple[str, list[str]]]:
    """The calls in an expression, inner ones too: name and arguments."""
    for match in re.finditer(r"\b([A-Za-z_]\w*)\(", text):
        if match[1] in ("sizeof", "size_t", "float", "int", "UT_APART"):
            continue
        depth, at, start, arguments = 1, match.end(), match.end(), []
        while depth:
            c = text[at]
            depth += {"(": 1, ")": -1}.get(c, 0)
            if depth == 0 or (c == "," and depth == 1):
                arguments.append(text[start:at].strip())
                start = at + 1
            at += 1
        yield match[1], arguments
