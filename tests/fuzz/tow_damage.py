# SPDX-License-Identifier: MIT
"""Damage of .tow files (csrc/FORMAT.md) behind a right checksum: words of the metadata, records, names, weights."""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import dataclass

from fuzz.damage import NUMBERS, flip

#: records of the metadata in their order, and words in one of each; each but the title is counted
RECORDS = {"title": 4, "tensors": 6, "values": 13, "states": 12, "outputs": 3, "nodes": 9, "words": 1}
#: where a record holds a name (offset and length in the text)
_NAME_AT = {"title": 0, "values": 0, "states": 0, "outputs": 0, "nodes": 1}
HEADER, ALIGN, NONE = 64, 64, 0xFFFFFFFF


@dataclass
class Tow:
    """A file taken apart; `n_inputs` of the values are inputs."""

    version: int
    n_inputs: int
    records: dict[str, list[list[int]]]
    text: bytes
    weights: bytes
    digest: bytes
    frames: tuple[int, int]
    sample_rate: int

    @classmethod
    def parse(cls, blob: bytes) -> Tow:
        version, _, _, n_metadata = struct.unpack_from("<IIQI", blob, 8)
        words = list(struct.unpack_from(f"<{n_metadata // 4}I", blob, HEADER))
        n_tensors, n_values, n_states, n_inputs, n_outputs, n_nodes, n_words, n_text = words[:8]
        counts = dict(zip(RECORDS, (1, n_tensors, n_values, n_states, n_outputs, n_nodes, n_words), strict=True))
        at, records = 8, {}
        for kind, width in RECORDS.items():
            records[kind] = [words[at + i * width : at + (i + 1) * width] for i in range(counts[kind])]
            at += counts[kind] * width
        end = HEADER + n_metadata
        text, weights = blob[end - n_text : end], blob[_aligned(end) :]
        *frames, rate = struct.unpack_from("<III", blob, 48)
        return cls(version, n_inputs, records, text, weights, blob[32:48], tuple(frames), rate)

    def pack(self) -> bytes:
        """The file, its checksum right and its weights where the tensors say that they are, if they did before."""
        counts = [len(self.records[k]) for k in RECORDS if k != "title"]
        head = [*counts[:3], self.n_inputs, *counts[3:], len(self.text)]
        body = [word % 2**32 for kind in RECORDS for record in self.records[kind] for word in record]
        metadata = struct.pack(f"<{8 + len(body)}I", *(n % 2**32 for n in head), *body) + self.text
        start = _aligned(HEADER + len(metadata))
        blob = bytearray(start) + self.weights
        blob[HEADER : HEADER + len(metadata)] = metadata
        start = (b"\x89TOW\r\n\x1a\n", self.version, 0, len(blob), len(metadata), 0, self.digest)
        blob[:HEADER] = struct.pack("<8sIIQII16sIII4x", *start, *self.frames, self.sample_rate)
        return seal(blob)


def _aligned(n: int) -> int:
    return -(-n // ALIGN) * ALIGN


def seal(blob: bytearray) -> bytes:
    """With the checksum of what the metadata is now."""
    n_metadata = int.from_bytes(blob[24:28], "little")
    crc = zlib.crc32(blob[HEADER : HEADER + n_metadata], zlib.crc32(blob[32:64], zlib.crc32(blob[:28])))
    blob[28:32] = struct.pack("<I", crc)
    return bytes(blob)


def fitted(blob: bytes) -> bytes:
    """With a beginning that fits what follows: signature, version, size, checksum."""
    made = bytearray(blob)
    made[:24] = struct.pack("<8sIIQ", b"\x89TOW\r\n\x1a\n", 1, 0, len(made))
    made[48:64] = bytes(16)
    return seal(made)


def change_tow(data: bytes, rng: random.Random) -> bytes:
    """One to four records; or bytes of the whole file, with the checksum mended or not."""
    dice = rng.random()
    if dice < 0.1:
        return flip(data, rng)
    if dice < 0.25:
        made = bytearray(flip(data, rng))
        return seal(made) if len(made) >= HEADER else bytes(made)
    tow = Tow.parse(data)
    start = _aligned(HEADER + int.from_bytes(data[24:28], "little"))
    for _ in range(rng.choice([1, 1, 2, 4])):
        _change_record(tow, rng)
    if rng.random() < 0.1:
        tow.weights = flip(tow.weights, rng)
    if rng.random() < 0.05:
        tow.version = rng.choice([1, 2, 3, 4, 5, 6])
        tow.frames = tuple(rng.choice([0, 1, 2, 3, 1 << 24, NONE]) for _ in range(2)) if tow.version > 1 else (0, 0)
        tow.sample_rate = rng.choice([0, 1, 16000, NONE]) if tow.version > 2 else 0
    packed = tow.pack()
    moved = _aligned(HEADER + int.from_bytes(packed[24:28], "little")) - start
    if moved and rng.random() < 0.9:
        for tensor in tow.records["tensors"]:
            offset = (tensor[2] | tensor[3] << 32) + moved
            tensor[2:4] = offset & 0xFFFFFFFF, offset >> 32 & 0xFFFFFFFF
        packed = tow.pack()
    return packed


def _change_record(tow: Tow, rng: random.Random) -> None:
    kind = rng.choice([k for k in RECORDS if tow.records[k]])
    records = tow.records[kind]
    at, dice = rng.randrange(len(records)), rng.random()
    record = records[at]
    if dice < 0.5:
        i = rng.randrange(len(record))
        near = [record[i] + 1, record[i] - 1, 2 * record[i], record[i] ^ 1, *range(20), NONE]
        record[i] = rng.choice([*NUMBERS, *near, *near])
    elif dice < 0.6:
        i = rng.randrange(len(record))
        record[i] = rng.choice(records)[i]
    elif dice < 0.7 and kind in _NAME_AT:
        other = rng.choice([k for k in _NAME_AT if tow.records[k]])
        name, of = _NAME_AT[kind], _NAME_AT[other]
        record[name : name + 2] = rng.choice(tow.records[other])[of : of + 2]
    elif dice < 0.75:
        other = rng.randrange(len(records))
        records[at], records[other] = records[other], record
    elif dice < 0.82 and kind != "title":
        records.insert(rng.randrange(len(records) + 1), list(record))
    elif dice < 0.87 and kind != "title":
        del records[at]
    elif dice < 0.93:
        tow.text = flip(tow.text, rng)
    else:
        tow.n_inputs += rng.choice([-1, 1])
    tow.text += b"\0" * (-len(tow.text) % 4)
