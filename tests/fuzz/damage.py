# SPDX-License-Identifier: MIT
"""Damage that needs no knowledge of a format: bytes, JSON, numbers in texts, zip archives."""

from __future__ import annotations

import copy
import io
import json
import random
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

#: sizes, counts and offsets that readers get wrong
NUMBERS = [0, 1, -1, 2, 3, 7, 1000, 2**16, 2**24, 2**27, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**31), -(2**63)]
_TEXTS = ["", "x", "LSTM", "Bidirectional", "relu", "\ud800", "a" * 1000, "\x1b[2J", "../x", "None"]
_VALUES = [None, [], {}, "x", 0, -1, 2**40, [1, 2], [[]], {"a": 1}, True, [2**40] * 3, float("nan")]

Change = Callable[[bytes, random.Random], bytes]


def flip(data: bytes, rng: random.Random) -> bytes:
    """Damage at one to sixteen places: bits, bytes, cut and repeated stretches; sometimes a truncated file."""
    if not data:
        return rng.randbytes(rng.randrange(20))
    made = bytearray(data)
    kind = rng.choice(["bit", "bit", "byte", "cut", "repeat", "ones", "zeros", "count"])
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        i = rng.randrange(len(made))
        if kind == "bit":
            made[i] ^= 1 << rng.randrange(8)
        elif kind == "byte":
            made[i] = rng.randrange(256)
        elif kind == "cut" and len(made) > 100:
            del made[i : i + rng.randrange(1, 50)]
        elif kind == "repeat":
            j = rng.randrange(len(made))
            made[i:i] = made[j : j + rng.randrange(1, 200)]
        elif kind in ("ones", "zeros"):
            made[i : i + 4] = (b"\xff" if kind == "ones" else b"\0") * 4
        elif kind == "count":
            number = packed(rng.choice(NUMBERS), rng.choice([1, 2, 4, 8]), rng.random() < 0.5)
            made[i : i + len(number)] = number
    return bytes(made[: rng.randrange(len(made))]) if rng.random() < 0.05 else bytes(made)


def packed(number: int, width: int, big: bool = False) -> bytes:
    """A whole number in so many bytes, whatever of it they can hold."""
    return (number % (1 << 8 * width)).to_bytes(width, "big" if big else "little")


# -- JSON and text ----------------------------------------------------------------------------------------------------


def change_json(data: bytes, rng: random.Random) -> bytes:
    """Other values, types, missing, repeated and moved keys at one to three places."""
    table = json.loads(data)
    for _ in range(rng.choice([1, 1, 2, 3])):
        where, key = rng.choice(list(_places(table)) or [(table, None)])
        if key not in (where if isinstance(where, dict) else range(len(where))):
            continue
        old, dice = where[key], rng.random()
        if dice < 0.1:
            del where[key]
        elif dice < 0.2:
            other, of = rng.choice(list(_places(table)))
            where[key] = copy.deepcopy(other[of])
        elif isinstance(old, bool) or old is None:
            where[key] = copy.deepcopy(rng.choice([True, False, None, *_VALUES]))
        elif isinstance(old, (int, float)) and dice < 0.8:
            where[key] = rng.choice([*NUMBERS, old + 1, -old, 1.5, float("nan"), float("inf"), 10**30, 10**400])
        elif isinstance(old, str) and dice < 0.7:
            where[key] = rng.choice([*_TEXTS, old + "_x", old.upper()])
        elif isinstance(old, list) and old and dice < 0.5:
            rng.choice([old.pop, old.reverse, old.clear, partial(old.append, old[0])])()
        elif isinstance(old, dict) and dice < 0.4:
            old[rng.choice(["x", "name", "units", "shape"])] = copy.deepcopy(rng.choice(_VALUES))
        else:
            where[key] = copy.deepcopy(rng.choice(_VALUES))
    text = json.dumps(table)
    if rng.random() < 0.03:
        text = text.replace("{", '{"a": ' + "[" * 3000 + "]" * 3000 + ", ", 1)
    return text.encode("utf-8", "surrogatepass")


def _places(table: Any) -> Iterator[tuple[Any, Any]]:
    items = table.items() if isinstance(table, dict) else enumerate(table[:300]) if isinstance(table, list) else ()
    for key, value in items:
        yield table, key
        yield from _places(value)


def change_number(data: bytes, rng: random.Random) -> bytes:
    """Another whole number somewhere in a text, or in the JSON inside of a binary file, of the same length there."""
    config = re.search(rb'\{"[\x20-\x7e]{200,}\}', data)
    start, end = config.span() if config else (0, min(len(data), 4000))
    found = list(re.finditer(rb"-?\d+", data[start:end]))
    if not found:
        return flip(data, rng)
    spot = rng.choice(found)
    a, b = start + spot.start(), start + spot.end()
    number = b"9" * (b - a) if config else str(rng.choice(NUMBERS)).encode()
    return data[:a] + number + data[b:]


# -- zip archives -----------------------------------------------------------------------------------------------------


def in_zip(data: bytes, rng: random.Random, changes: dict[str, Change]) -> bytes:
    """The members of an archive, one of them changed by the function whose key its name ends in, and others flipped."""
    members = unzip(data)
    chosen = rng.choice(sorted(members))
    for name in members:
        change = next((c for suffix, c in changes.items() if name.endswith(suffix)), None)
        if change is not None and (name == chosen or rng.random() < 0.5):
            members[name] = change(members[name], rng)
        elif name == chosen or rng.random() < 0.05:
            members[name] = flip(members[name], rng)
    if rng.random() < 0.1:
        del members[chosen]
    return zipped(members, rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))


def unzip(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, member in members.items():
            archive.writestr(zipfile.ZipInfo(name), member, compression)
    return buffer.getvalue()


def change_zip(data: bytes, rng: random.Random) -> bytes:
    """An archive whose directory lies: sizes, offsets, flags, methods, names; or members that unpack to very much."""
    if not data.startswith(b"PK"):
        return flip(data, rng)
    dice = rng.random()
    if dice < 0.15:
        members = unzip(data)
        name = rng.choice(sorted(members))
        members[name] = rng.choice([b"\0", b"[", b"{", b" ", b"(", b"]a"]) * (1 << rng.randrange(16, 25))
        return zipped(members, rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))
    if dice < 0.25:
        members = unzip(data)
        names = sorted(members)
        for _ in range(rng.choice([1, 2])):
            odd = rng.choice(["", "/", "../x", "a/" * 40 + "x", "x\0y", "\xe9", names[0], f"{names[-1]}/"])
            members[odd] = members.pop(rng.choice(names), b"")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return zipped(members)
    made = bytearray(data)
    heads = [m.start() for m in re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06|\x06\x06|\x06\x07)", data)]
    for _ in range(rng.choice([1, 1, 2, 3])):
        at = rng.choice(heads) + rng.randrange(4, 46)
        width = rng.choice([1, 2, 2, 4, 4])
        if at + width <= len(made):
            (old,) = struct.unpack_from({1: "B", 2: "<H", 4: "<I"}[width], made, at)
            new = rng.choice([old + 1, old - 1, old ^ 1, old ^ 8, *NUMBERS])
            made[at : at + width] = packed(new, width)
    return bytes(made)
