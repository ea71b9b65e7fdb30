# SPDX-License-Identifier: MIT
"""A pickle reader that builds data and nothing else.

It knows the opcodes of every protocol that make numbers, text, lists, dicts and tuples. A class or function named by
the pickle becomes a `Global` (its name), and "calling" one gives an inert `Record` of name and arguments; a caller may
pass `rebuild`, a table of plain functions for the few names that it wants to understand. Nothing is ever imported.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import FormatError, UnsupportedError
from .limits import MAX_NUMBER_BYTES, MAX_OPCODES, short

Rebuild = Mapping[tuple[str, str], Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function that the pickle names. Only its name: it is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, repr=False, slots=True)
class Record:
    """What would be an object: the callable's name, its arguments, and what was stored into it afterwards."""

    maker: Any
    args: Any = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)

    def __str__(self) -> str:
        return str(self.maker) if isinstance(self.maker, Global) else "an object"


class _Mark:
    """The type of the marker on the stack."""


_MARK = _Mark()


class Machine:
    """Runs one pickle out of `data`.

    Args:
        path: the file, for messages.
        data: bytes that hold the pickle, perhaps followed by others.
        rebuild: (module, name) -> function called with the pickle's arguments instead of making a Record.
        persistent: gives the value of a persistent id.
    """

    def __init__(
        self, path: Path, data: bytes, rebuild: Rebuild | None = None, persistent: Callable[[Any], Any] | None = None
    ) -> None:
        self.path, self.data, self.rebuild, self.persistent = path, data, rebuild or {}, persistent
        self.left = MAX_OPCODES

    def load(self, at: int = 0) -> tuple[Any, int]:
        """Run the pickle that starts at byte `at`; gives its value and the position behind it."""
        self.at = at
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        while True:
            start = self.at
            code = self._take(1)[0]
            self.left -= 1
            if self.left < 0:
                raise FormatError(f"{self.path}: pickle has more than {MAX_OPCODES} opcodes")
            if code == 0x2E:  # STOP
                if len(self.stack) != 1 or self.stack[0] is _MARK:
                    raise FormatError(
                        f"{self.path}: pickle ends with {len(self.stack)} values, expected one (at byte {start})"
                    )
                return self.stack.pop(), self.at
            step = _OPCODES.get(code)
            if step is None:
                raise FormatError(
                    f"{self.path}: pickle opcode 0x{code:02x} is not one that makes data (at byte {start})"
                )
            try:
                step(self)
            except (ValueError, TypeError, IndexError, KeyError, UnicodeError, OverflowError, struct.error) as error:
                if isinstance(error, FormatError):
                    raise
                raise FormatError(
                    f"{self.path}: damaged pickle (at byte {start}): {type(error).__name__}: {error}"
                ) from error

    # -- bytes and stack --------------------------------------------------------------------------------------

    def _take(self, n: int) -> bytes:
        if n > len(self.data) - self.at:
            raise FormatError(f"{self.path}: pickle is cut off at byte {len(self.data)}")
        chunk = self.data[self.at : self.at + n]
        self.at += n
        return chunk

    def _raw_line(self, limit: int) -> bytes:
        end = self.data.find(b"\n", self.at, self.at + limit)
        if end < 0:
            raise FormatError(f"{self.path}: pickle has a line without an end (at byte {self.at})")
        line = self.data[self.at : end]
        self.at = end + 1
        return line

    def _line(self) -> str:
        return self._raw_line(MAX_NUMBER_BYTES).decode("utf-8")

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _pop(self) -> Any:
        if not self.stack:
            raise ValueError("the stack is empty")
        return self.stack.pop()

    def _pop_value(self) -> Any:
        value = self._pop()
        if value is _MARK:
            raise ValueError("a marker stands where a value belongs")
        return value

    def _pop_mark(self) -> list[Any]:
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                values = self.stack[i + 1 :]
                del self.stack[i:]
                return values
        raise ValueError("no marker on the stack")

    def _top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise ValueError("no value on the stack")
        return self.stack[-1]

    # -- objects ----------------------------------------------------------------------------------------------

    def _call(self, maker: Any, args: Any) -> Any:
        if isinstance(maker, Global) and isinstance(args, tuple):
            function = self.rebuild.get((maker.module, maker.name))
            if function is not None:
                return function(*args)
        return Record(maker, args)

    def _append(self, target: Any, values: list[Any]) -> None:
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, Record):
            target.elements.extend(values)
        else:
            raise ValueError(f"cannot append to a {type(target).__name__}")

    def _set_items(self, target: Any, flat: list[Any]) -> None:
        if len(flat) % 2:
            raise ValueError("a key without a value")
        items = target.items if isinstance(target, Record) else target
        if not isinstance(items, dict):
            raise ValueError(f"cannot set items of a {type(target).__name__}")
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            # Hashing a tuple nested a million deep would overflow C's stack, so only plain scalars stay keys.
            items[key if isinstance(key, (str, bytes, int, float, type(None))) else Record(key)] = value

    def _build(self) -> None:
        state = self._pop_value()
        target = self._top()
        if isinstance(target, Record):
            if isinstance(target.state, dict) and isinstance(state, dict):
                self.left -= len(target.state) + len(state)  # a shared dict may be merged again and again
                target.state = {**target.state, **state}
            else:
                target.state = state
        elif hasattr(target, "set_state"):
            target.set_state(state)
        elif not isinstance(target, (dict, list)):  # attributes of an OrderedDict (its _metadata) hold no weights
            raise ValueError(f"cannot set the state of a {type(target).__name__}")

    # -- opcodes with a body ----------------------------------------------------------------------------------

    def _protocol(self) -> None:
        version = self._number("<B")
        if version > 5:
            raise UnsupportedError(f"{self.path}: pickle protocol {version} is newer than the newest known, 5")

    def _int_line(self) -> None:
        line = self._line()
        self.stack.append({"00": False, "01": True}.get(line) if line in ("00", "01") else int(line))

    def _long_line(self) -> None:
        self.stack.append(int(self._line().removesuffix("L")))

    def _long(self, form: str) -> None:
        n = self._number(form)
        if not 0 <= n <= MAX_NUMBER_BYTES:
            raise ValueError(f"an integer of {n} bytes")
        self.stack.append(int.from_bytes(self._take(n), "little", signed=True))

    def _sized(self, form: str, text: bool) -> None:
        n = self._number(form)
        if n < 0:
            raise ValueError(f"a length of {n}")
        raw = self._take(n)
        self.stack.append(raw.decode("utf-8", "surrogatepass") if text else raw)

    def _quoted(self) -> None:
        """Python 2's str as it prints itself, escapes and all; a large array's bytes are one long line."""
        line = self._raw_line(len(self.data))
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise ValueError("text without quotes")
        self.stack.append(_text_or_bytes(codecs.escape_decode(line[1:-1])[0]))

    def _old_string(self, form: str) -> None:
        self._sized(form, text=False)
        self.stack[-1] = _text_or_bytes(self.stack[-1])

    def _unicode_line(self) -> None:
        self.stack.append(self._raw_line(len(self.data)).decode("raw-unicode-escape"))

    def _global(self) -> None:
        module = self._line()
        self.stack.append(Global(module, self._line()))

    def _stack_global(self) -> None:
        name, module = self._pop_value(), self._pop_value()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a class name that is not text")
        self.stack.append(Global(module, name))

    def _reduce(self) -> None:
        args, maker = self._pop_value(), self._pop_value()
        self.stack.append(self._call(maker, args))

    def _new_ex(self) -> None:
        kwargs, args, maker = self._pop_value(), self._pop_value(), self._pop_value()
        self.stack.append(Record(maker, (args, kwargs)))

    def _inst(self) -> None:
        self._global()
        maker = self.stack.pop()
        self.stack.append(Record(maker, tuple(self._pop_mark())))

    def _obj(self) -> None:
        maker, *args = self._pop_mark()
        self.stack.append(Record(maker, tuple(args)))

    def _persistent(self, key: Any) -> None:
        if self.persistent is None:
            raise ValueError("a persistent id, which only torch.save files have")
        self.stack.append(self.persistent(key))

    def _dict(self) -> None:
        flat = self._pop_mark()
        self.stack.append({})
        self._set_items(self.stack[-1], flat)

    def _set_many(self) -> None:
        flat = self._pop_mark()
        self._set_items(self._top(), flat)

    def _set_one(self) -> None:
        value, key = self._pop_value(), self._pop_value()
        self._set_items(self._top(), [key, value])

    def _append_many(self) -> None:
        values = self._pop_mark()
        self._append(self._top(), values)

    def _append_one(self) -> None:
        value = self._pop_value()
        self._append(self._top(), [value])

    def _tuple(self, n: int) -> None:
        values = [self._pop_value() for _ in range(n)]
        self.stack.append(tuple(reversed(values)))

    def _get(self, key: int) -> None:
        if key not in self.memo:
            raise ValueError(f"memo {short(key)} is empty")
        self.stack.append(self.memo[key])

    def _put(self, key: int) -> None:
        self.memo[key] = self._top()


def _text_or_bytes(raw: bytes) -> str | bytes:
    """Python 2's str was both: text here when it is ASCII (`ndarrays` takes that for bytes where bytes belong)."""
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError:
        return raw


def _push(make: Callable[[], Any]) -> Callable[[Machine], None]:
    return lambda m: m.stack.append(make())


_OPCODES: dict[int, Callable[[Machine], Any]] = {
    # frames and protocol: nothing to build
    0x80: Machine._protocol,
    0x95: lambda m: m._number("<Q"),
    # constants
    ord("N"): _push(lambda: None), 0x88: _push(lambda: True), 0x89: _push(lambda: False),
    ord("]"): _push(list), ord("}"): _push(dict), ord(")"): _push(tuple), 0x8F: _push(lambda: Record("set")),
    # numbers
    ord("I"): Machine._int_line, ord("L"): Machine._long_line,
    ord("F"): lambda m: m.stack.append(float(m._line())),
    ord("J"): lambda m: m.stack.append(m._number("<i")),
    ord("K"): lambda m: m.stack.append(m._number("<B")),
    ord("M"): lambda m: m.stack.append(m._number("<H")),
    ord("G"): lambda m: m.stack.append(m._number(">d")),
    0x8A: lambda m: m._long("<B"), 0x8B: lambda m: m._long("<i"),
    # text and bytes
    ord("S"): Machine._quoted, ord("V"): Machine._unicode_line,
    ord("X"): lambda m: m._sized("<I", True),
    0x8C: lambda m: m._sized("<B", True), 0x8D: lambda m: m._sized("<Q", True),
    ord("B"): lambda m: m._sized("<I", False), ord("C"): lambda m: m._sized("<B", False),
    0x8E: lambda m: m._sized("<Q", False), 0x96: lambda m: m._sized("<Q", False),
    ord("T"): lambda m: m._old_string("<i"), ord("U"): lambda m: m._old_string("<B"),
    # containers
    ord("("): lambda m: m.stack.append(_MARK),
    ord("0"): Machine._pop, ord("1"): Machine._pop_mark, ord("2"): lambda m: m.stack.append(m._top()),
    ord("a"): Machine._append_one, ord("e"): Machine._append_many,
    ord("s"): Machine._set_one, ord("u"): Machine._set_many, ord("d"): Machine._dict, 0x90: Machine._append_many,
    ord("l"): lambda m: m.stack.append(m._pop_mark()),
    ord("t"): lambda m: m.stack.append(tuple(m._pop_mark())),
    0x85: lambda m: m._tuple(1), 0x86: lambda m: m._tuple(2), 0x87: lambda m: m._tuple(3),
    0x91: lambda m: m.stack.append(Record("frozenset", tuple(m._pop_mark()))),
    # what would be objects
    ord("c"): Machine._global, 0x93: Machine._stack_global,
    ord("R"): Machine._reduce, 0x81: Machine._reduce, 0x92: Machine._new_ex,
    ord("i"): Machine._inst, ord("o"): Machine._obj, ord("b"): Machine._build,
    ord("P"): lambda m: m._persistent(m._line()), ord("Q"): lambda m: m._persistent(m._pop_value()),
    # memo
    ord("g"): lambda m: m._get(int(m._line())), ord("h"): lambda m: m._get(m._number("<B")),
    ord("j"): lambda m: m._get(m._number("<I")),
    ord("p"): lambda m: m._put(int(m._line())), ord("q"): lambda m: m._put(m._number("<B")),
    ord("r"): lambda m: m._put(m._number("<I")), 0x94: lambda m: m._put(len(m.memo)),
}  # fmt: skip
