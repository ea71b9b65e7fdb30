# SPDX-License-Identifier: MIT
"""Damage to FlatBuffers: numbers at aligned places, where offsets, sizes and fields of tables stand."""

from __future__ import annotations

import random
import struct

from fuzz.damage import NUMBERS, packed


def change_tables(data: bytes, rng: random.Random) -> bytes:
    """One to four 32-bit or 16-bit numbers changed: to any, to another's, to a place in the file, or by a little."""
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4])):
        width = rng.choice([2, 4, 4])
        at = rng.randrange(len(data) // width) * width
        kind = rng.choice(["number", "other", "place", "step"])
        if kind == "number":
            number = rng.choice(NUMBERS)
        elif kind == "other":
            number = struct.unpack_from("<i", data, rng.randrange(len(data) // 4) * 4)[0]
        elif kind == "place":
            number = rng.randrange(-len(data), len(data))
        else:
            number = int.from_bytes(data[at : at + width], "little") + rng.choice([-4, -1, 1, 4])
        damaged[at : at + width] = packed(number, width)
    return bytes(damaged)
