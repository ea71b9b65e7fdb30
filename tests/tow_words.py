# SPDX-License-Identifier: MIT
"""The metadata of a .tow file as words, to change one and seal the file again: for tests that lie."""

import struct
import zlib

from undertow import tow


class Words:
    """The words of a file's tables (csrc/FORMAT.md). `sealed()` gives the file with what was changed."""

    def __init__(self, blob):
        self.blob = bytearray(blob)
        (self.n_metadata,) = struct.unpack_from("<I", self.blob, 24)
        self.words = list(struct.unpack_from(f"<{self.n_metadata // 4}I", self.blob, 64))
        n_tensors, n_values, n_states, _, n_outputs, n_nodes, _, self.n_text = self.words[:8]
        self.at = {"tensor": 12}
        self.at["value"] = 12 + 6 * n_tensors
        self.at["state"] = self.at["value"] + 13 * n_values
        self.at["output"] = self.at["state"] + 12 * n_states
        self.at["node"] = self.at["output"] + 3 * n_outputs
        self.at["word"] = self.at["node"] + 9 * n_nodes
        self.width = {"tensor": 6, "value": 13, "state": 12, "output": 3, "node": 9, "word": 1}

    def place(self, table, i, k=0):
        """Where word k of record i stands in `words`."""
        return self.at[table] + self.width[table] * i + k

    def weights(self, i):
        """The bytes of tensor i of one-byte elements, as a slice of the file."""
        at = self.place("tensor", i)
        offset, n = self.words[at + 2], self.words[at + 4]
        return slice(offset, offset + n)

    def sealed(self, *, hashed=False):
        """The file with a checksum that fits, and where `hashed` a hash that does."""
        struct.pack_into(f"<{len(self.words)}I", self.blob, 64, *self.words)
        if hashed:
            self.blob[32:48] = tow.digest(self.blob)
        crc = zlib.crc32(self.blob[64 : 64 + self.n_metadata], zlib.crc32(self.blob[32:64], zlib.crc32(self.blob[:28])))
        struct.pack_into("<I", self.blob, 28, crc)
        return bytes(self.blob)
