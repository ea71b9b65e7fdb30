# SPDX-License-Identifier: MIT
"""Tables of a FlatBuffer whose every byte may be hostile: https://flatbuffers.dev/internals.

An offset to a table or vector leads forwards and never to the field that holds it, so nothing goes in circles; but many
may lead to one, so whoever walks a vector counts what is made of it.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

import numpy as np

from ...errors import FormatError, UnsupportedError
from .limits import MAX_FIELDS
from .schema import TABLES

_U2, _U4, _I4 = Struct("<H"), Struct("<I"), Struct("<i")


class Flat:
    """The bytes, and where they come from."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where = data, where

    def root(self, name: str) -> Table:
        """The table that the file begins with."""
        return Table(self, self.follow(0, name), name)

    def check(self, at: int, n_bytes: int, what: str) -> int:
        """That so many bytes are there.

        Raises:
            FormatError: they are not.
        """
        if at < 0 or n_bytes < 0 or at + n_bytes > len(self.data):
            raise FormatError(
                f"{self.where}: damaged: {what} lies at byte {at} and takes {n_bytes}, of {len(self.data)} bytes"
            )
        return at

    def follow(self, at: int, what: str) -> int:
        """Where the offset at a byte leads to."""
        return at + int(_U4.unpack_from(self.data, self.check(at, 4, what))[0])

    def length(self, at: int, n_bytes: int, what: str) -> int:
        """How many elements the vector at a byte has, all of which are there."""
        n = int(_U4.unpack_from(self.data, self.check(at, 4, what))[0])
        self.check(at + 4, n * n_bytes, what)
        return n


class Table:
    """A table of the schema; `table["field"]` is what a field holds, its default where it is not there.

    Raises:
        FormatError: it does not lie in the file.
        UnsupportedError: it has a field that the schema does not know.
    """

    def __init__(self, flat: Flat, at: int, name: str) -> None:
        self.flat, self.name = flat, name
        flat.check(at, 4, name)
        layout = flat.check(at - int(_I4.unpack_from(flat.data, at)[0]), 4, f"the layout of {name}")
        n_bytes = int(_U2.unpack_from(flat.data, layout)[0])
        flat.check(layout, max(n_bytes, 4), f"the layout of {name}")
        self._places: dict[str, int] = {}
        fields, n_slots = TABLES[name], max(n_bytes - 4, 0) // 2
        if n_slots > MAX_FIELDS:
            raise UnsupportedError(f"{flat.where}: {name} has {n_slots} fields, at most {MAX_FIELDS} are read")
        for number in range(n_slots):
            offset = int(_U2.unpack_from(flat.data, layout + 4 + 2 * number)[0])
            if offset and number not in fields:
                raise UnsupportedError(f"{flat.where}: {name} has a field {number}, which is not known")
            if offset:
                self._places[fields[number].name] = at + offset
        self._fields = {field.name: field for field in fields.values()}

    def __contains__(self, name: str) -> bool:
        """Whether a field is there."""
        return name in self._places

    def __getitem__(self, name: str) -> Any:
        field, at = self._fields[name], self._places.get(name)
        kind, what = field.kind, f"{self.name}.{name}"
        if kind[0] == "[":
            inner = kind[1:-1]
            if inner in TABLES:
                return [] if at is None else self._tables(at, inner, what)
            dtype = np.dtype(f"<{inner}")
            return np.zeros(0, dtype) if at is None else self._numbers(at, dtype, what)
        if kind in TABLES:
            return None if at is None else Table(self.flat, self.flat.follow(at, what), kind)
        if kind == "text":
            return "" if at is None else self._text(at, what)
        if kind == "bytes":
            return np.zeros(0, np.uint8) if at is None else self._numbers(at, np.dtype(np.uint8), what)
        dtype = np.dtype(kind if kind == "?" else f"<{kind}")
        if at is None:
            return dtype.type(field.default).item()
        self.flat.check(at, dtype.itemsize, what)
        number = np.frombuffer(self.flat.data, dtype if kind != "?" else np.uint8, 1, at)[0]
        return bool(number) if kind == "?" else number.item()

    def union(self, name: str, of: str) -> Table | None:
        """The table that a field of any kind holds."""
        at = self._places.get(name)
        return None if at is None else Table(self.flat, self.flat.follow(at, f"{self.name}.{name}"), of)

    def values(self) -> dict[str, Any]:
        """Field -> what it holds, of those that are looked at."""
        return {name: self[name] for name, field in self._fields.items() if field.kind}

    def _numbers(self, at: int, dtype: np.dtype[Any], what: str) -> np.ndarray:
        start = self.flat.follow(at, what)
        n = self.flat.length(start, dtype.itemsize, what)
        return np.frombuffer(self.flat.data, dtype, n, start + 4)

    def _text(self, at: int, what: str) -> str:
        try:
            return self._numbers(at, np.dtype(np.uint8), what).tobytes().decode()
        except UnicodeDecodeError:
            raise FormatError(f"{self.flat.where}: damaged: {what} is not UTF-8") from None

    def _tables(self, at: int, inner: str, what: str) -> Tables:
        start = self.flat.follow(at, what)
        return Tables(self.flat, start + 4, self.flat.length(start, 4, what), inner)


class Tables:
    """A vector of tables, each looked up when it is asked for."""

    def __init__(self, flat: Flat, at: int, n: int, name: str) -> None:
        self.flat, self.at, self.n, self.name = flat, at, n, name

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Table:
        if not 0 <= i < self.n:
            raise IndexError(i)
        return Table(self.flat, self.flat.follow(self.at + 4 * i, self.name), self.name)


__all__ = ["Flat", "Table", "Tables"]
