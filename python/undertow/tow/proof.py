# SPDX-License-Identifier: MIT
"""A proof inside of a .tow file: a few frames, and digests of what they give (csrc/FORMAT.md, "Proof").

It stands behind the weights, where the engine has nothing to read, and the model hash does not cover it: a file with a
proof is the same model as one without, down to its snapshots.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import FormatError
from .container import HASH_AT, HEADER, SIZE_AT, Reader, align, checksum
from .packing import DTYPES

MAGIC = b"\x89TOWPF\r\n"
VERSION = 1
#: bytes before the frames
_HEAD = 64
#: where the digest of the section stands, and its size
_DIGEST_AT, _DIGEST = 32, 16
#: bytes of the digest of one field after one frame
FIELD = 8
#: Of a few frames nobody has to wait for the proof of a stranger's file.
MAX_FRAMES = 256


@dataclass(frozen=True)
class Proof:
    """Frames and what they give.

    Attributes:
        frames: of each input, in order: (T, size) float32 or int32.
        digests: (T, n_outputs + n_states, FIELD) uint8, of each output and then each state after each frame; zeros
            where there is nothing to compare, as of what a model of whole sequences gives once, before the last frame.
    """

    frames: Sequence[np.ndarray]
    digests: np.ndarray

    @property
    def n_frames(self) -> int:
        return len(self.digests)


def canonical(array: np.ndarray) -> bytes:
    """The bits of numbers as every CPU has them: payload and sign of a NaN are its own."""
    array = np.asarray(array)
    bits = np.array(array, array.dtype.newbyteorder("<"), order="C").reshape(-1)
    if bits.dtype.kind == "f":
        bits.view("<u4")[np.isnan(bits)] = 0x7FC00000
    return bits.tobytes()


def field_digest(array: np.ndarray) -> np.ndarray:
    """FIELD bytes for one output or state after one frame."""
    return np.frombuffer(hashlib.blake2b(canonical(array), digest_size=FIELD).digest(), np.uint8)


def end_of_weights(blob: bytes | bytearray | memoryview) -> int:
    """Where the last tensor of a file that undertow has accepted ends, its padding included."""
    r = Reader(blob)
    n_tensors = r.counts[0]
    r.take(4)
    end = HEADER + 4 * len(r.words)
    for _ in range(n_tensors):
        dtype, _, low, high, n_low, n_high = r.take(6)
        end = (low | high << 32) + (n_low | n_high << 32) * DTYPES[dtype].itemsize
    return align(end)


def end_of_model(blob: bytes | bytearray | memoryview) -> int:
    """Where the model ends and its proof begins: the size of the file where it has none."""
    at, view = end_of_weights(blob), memoryview(blob)
    return at if bytes(view[at : at + len(MAGIC)]) == MAGIC else view.nbytes


def without(blob: bytes | bytearray | memoryview) -> bytes | bytearray | memoryview:
    """A file's bytes, those of its proof left out; its header still counts these."""
    end = end_of_model(blob)
    return blob if end == memoryview(blob).nbytes else memoryview(blob)[:end]


def section(proof: Proof, model_hash: bytes) -> bytes:
    """The bytes of a proof, for a file whose model has this hash."""
    body = b"".join(_padded(np.ascontiguousarray(x, x.dtype.newbyteorder("<")).tobytes()) for x in proof.frames)
    body += _padded(np.ascontiguousarray(proof.digests, np.uint8).tobytes())
    n_bytes = _HEAD + len(body)
    head = struct.pack("<8sIIQII", MAGIC, VERSION, proof.n_frames, n_bytes, len(proof.frames), proof.digests.shape[1])
    return head + _digest(head, body, model_hash) + bytes(_HEAD - _DIGEST_AT - _DIGEST) + body


def read(blob: bytes | memoryview, inputs: Sequence[tuple[int, str]], n_fields: int) -> Proof | None:
    """The proof in a file that undertow has accepted, or None.

    Args:
        inputs: elements and dtype of a frame of each input of its model.
        n_fields: its outputs and states.

    Raises:
        FormatError: the proof is damaged, of another model, or of a later version.
    """
    view = memoryview(blob)
    at = end_of_model(blob)
    if at == view.nbytes:
        return None
    n_bytes = view.nbytes - at
    if n_bytes < _HEAD:
        raise FormatError(f"its proof is cut short: {n_bytes} bytes, expected at least {_HEAD}")
    _, version, n_frames, said, n_inputs, n_digests = struct.unpack_from("<8sIIQII", view, at)
    if version != VERSION:
        raise FormatError(
            f"its proof is of version {version}, this undertow reads version {VERSION}: update undertow, or load the "
            "file without a check"
        )
    sizes = [align(4 * n_frames * size) for size, _ in inputs]
    expected = _HEAD + sum(sizes) + align(FIELD * n_frames * n_fields)
    if (said, n_inputs, n_digests) != (n_bytes, len(inputs), n_fields) or expected != n_bytes:
        raise FormatError(
            f"its proof says {n_frames} frames of {n_inputs} inputs, {n_digests} fields and {said} bytes; the model "
            f"has {len(inputs)} inputs and {n_fields} fields, and {n_bytes} bytes are there, of {expected}"
        )
    head, body = bytes(view[at : at + _DIGEST_AT]), view[at + _HEAD :]
    stored = bytes(view[at + _DIGEST_AT : at + _DIGEST_AT + _DIGEST])
    rest = bytes(view[at + _DIGEST_AT + _DIGEST : at + _HEAD])
    if not 1 <= n_frames <= MAX_FRAMES or any(rest):
        raise FormatError(f"its proof is damaged: {n_frames} frames, expected 1 to {MAX_FRAMES}, and zeros behind")
    if stored != _digest(head, body, bytes(view[HASH_AT : HASH_AT + 16])):
        raise FormatError("its proof is damaged, or of another model: fetch or convert the file again")
    frames, start = [], 0
    for (size, dtype), n in zip(inputs, sizes, strict=True):
        numbers = np.frombuffer(body, "<i4" if dtype == "int32" else "<f4", n_frames * size, start)
        frames.append(numbers.reshape(n_frames, size))
        start += n
    digests = np.frombuffer(body, np.uint8, n_frames * n_fields * FIELD, start)
    return Proof(frames, digests.reshape(n_frames, n_fields, FIELD))


def attach(blob: bytes | bytearray | memoryview, proof: Proof) -> bytes:
    """A file's bytes with this proof in place of any that was there.

    Raises:
        FormatError: bytes stand behind the last tensor that are no proof.
    """
    file = bytearray(without(blob))
    if len(file) != end_of_weights(blob):
        raise FormatError(
            f"{len(file) - end_of_weights(blob)} bytes stand behind the last tensor and are no proof: write the model "
            "anew, Model.from_graph(model.graph), and prove that"
        )
    file += section(proof, bytes(file[HASH_AT : HASH_AT + 16]))
    struct.pack_into("<Q", file, SIZE_AT, len(file))
    checksum(file)
    return bytes(file)


def _digest(head: bytes, body: bytes | memoryview, model_hash: bytes) -> bytes:
    state = hashlib.blake2b(model_hash, digest_size=_DIGEST)
    state.update(head)
    state.update(body)
    return state.digest()


def _padded(data: bytes) -> bytes:
    return data + bytes(align(len(data)) - len(data))


__all__ = [
    "FIELD", "MAX_FRAMES", "Proof", "attach", "canonical", "end_of_model", "end_of_weights", "field_digest", "read",
    "section", "without",
]  # fmt: skip
