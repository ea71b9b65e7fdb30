# SPDX-License-Identifier: MIT
"""Damage that knows a format: Keras, HDF5, PyTorch's archives, NumPy, safetensors, WAV, and texts of numbers."""

from __future__ import annotations

import contextlib
import random
import struct
from pathlib import Path

from fuzz.damage import NUMBERS, Change, change_json, change_number, flip, in_zip, packed
from fuzz.pickle_damage import change_pickle
from undertow.weights.hdf5 import read_hdf5
from undertow.weights.hdf5_reader import source
from undertow.weights.limits import Budget


def json_of(*words: str) -> Change:
    """`change_json`, and words of the format in place of one another."""

    def change_words(data: bytes, rng: random.Random) -> bytes:
        if words and rng.random() < 0.3:
            found = [w for w in words if f'"{w}"'.encode() in data]
            if found:
                old, new = (f'"{word}"'.encode() for word in (rng.choice(found), rng.choice(words)))
                data = data.replace(old, new, rng.choice([1, -1]))
                if rng.random() < 0.5:
                    return data
        return change_json(data, rng)

    return change_words


KERAS = json_of(
    *("LSTM", "GRU", "SimpleRNN", "RNN", "LSTMCell", "StackedRNNCells", "Bidirectional", "TimeDistributed"),
    *("Dense", "Conv1D", "Conv2D", "DepthwiseConv1D", "SeparableConv1D", "Conv1DTranspose", "Embedding", "PReLU"),
    *("BatchNormalization", "LayerNormalization", "Flatten", "Reshape", "Permute", "RepeatVector", "Masking"),
    *("MaxPooling1D", "AveragePooling1D", "GlobalMaxPooling1D", "UpSampling1D", "ZeroPadding1D", "Cropping1D"),
    *("Add", "Concatenate", "Dot", "Softmax", "Activation", "Sequential", "Functional", "InputLayer"),
    *("tanh", "sigmoid", "relu", "softmax", "linear", "hard_sigmoid", "same", "valid", "causal", "float16"),
)
NAM = json_of(
    *("LSTM", "WaveNet", "SlimmableContainer", "Linear", "ConvNet"),
    *("Tanh", "ReLU", "Sigmoid", "Hardtanh", "Fasttanh", "LeakyReLU"),
)
RTNEURAL = json_of(
    *("dense", "conv1d", "conv2d", "lstm", "gru", "activation", "prelu", "batchnorm"),
    *("tanh", "relu", "sigmoid", "elu", "softmax"),
)


def in_keras(data: bytes, rng: random.Random) -> bytes:
    return in_zip(data, rng, {"config.json": KERAS, "metadata.json": change_json, ".h5": change_hdf5})


def in_keras_h5(data: bytes, rng: random.Random) -> bytes:
    """Another configuration in the place of the file's own, which is as long: what is cut off, is cut off."""
    start = data.find(b'{"class_name"')
    end = next((i for i in range(start, len(data)) if data[i] not in range(0x20, 0x7F)), len(data))
    if start < 0 or rng.random() < 0.2:
        return change_hdf5(data, rng)
    try:
        made = KERAS(data[start:end], rng).replace(b": ", b":").replace(b", ", b",")
    except ValueError:  # a heap may hold it in pieces
        return change_number(data, rng)
    return data[:start] + made[: end - start].ljust(end - start) + data[end:]


def change_hdf5(data: bytes, rng: random.Random) -> bytes:
    """Bytes that are not empty room, since most of a file is; with the checksums of the format mended or not."""
    used = [i for i, byte in enumerate(data) if byte] or [0]
    made = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = (rng.choice(used) + rng.choice([0, 0, 1])) % len(data)
        number = packed(rng.choice([*NUMBERS, made[at] + 1, rng.randrange(256)]), rng.choice([1, 1, 2, 4, 8]))
        made[at : at + len(number)] = number
    made = made[: len(data)]
    return mended(bytes(made)) if rng.random() < 0.7 else bytes(made)


def mended(data: bytes) -> bytes:
    """The checksums of every structure that the reader gets to, made right."""
    made = bytearray(data)
    original = source.Source.sealed

    def sealed(self: source.Source, offset: int, size: int, magic: bytes = b"") -> source.Fields:
        if 4 <= size <= len(made) - offset and offset >= 0 and size < 1 << 16:
            end = offset + size - 4
            made[end : end + 4] = packed(source.lookup3(bytes(made[offset:end])), 4)
        return original(self, offset, size, magic)

    source.Source.sealed = sealed  # type: ignore[method-assign]
    try:
        with contextlib.suppress(Exception):
            read_hdf5(Path("mended"), Budget(Path("mended"), len(made)), made)  # type: ignore[arg-type]
    finally:
        source.Source.sealed = original  # type: ignore[method-assign]
    return bytes(made)


def in_torch(data: bytes, rng: random.Random) -> bytes:
    if not data.startswith(b"PK"):
        return change_pickle(data, rng)
    return in_zip(data, rng, {".pkl": change_pickle, ".pt": in_torch, ".pth": in_torch})


def in_npz(data: bytes, rng: random.Random) -> bytes:
    return in_zip(data, rng, {".npy": change_npy})


def in_frames(data: bytes, rng: random.Random) -> bytes:
    change = {b"P": in_npz, b"\x93": change_npy, b"R": change_wav}.get(data[:1], change_text)
    return change(data, rng)


def change_npy(data: bytes, rng: random.Random) -> bytes:
    """The header of an array: its dtype, order and shape."""
    start = 10 if data[6:7] == b"\1" else 12
    text = data[start : start + int.from_bytes(data[8:start], "little")].decode("latin1")
    others = {
        "<f4": ["|O", ">f4", "<f8", "<U1", "|V4", "<M8[s]", "O", "i", "<f16", "<c8", "|S0", "x", "<i1000000"],
        "(": ["(-1, ", "(2, 0, ", f"({rng.choice(NUMBERS)}, ", "(" + "1, " * 40, "(()", "(1.5, "],
        "False": ["True", "0", "None"],
        "}": ["", "}}", ", 'x': 1}", "} + [0] * 10**9"],
        "descr": ["", "shape", "x" * 20000],
    }
    old = rng.choice(sorted(others))
    new = rng.choice(others[old])
    text = text.replace(old, new, 1)
    n = len(text) if rng.random() < 0.9 else rng.choice([0, 1, 65535])
    head = data[:6] + rng.choice([data[6:8], data[6:8], b"\2\0", b"\3\0", b"\1\1"])
    return head + n.to_bytes(2 if head[6] == 1 else 4, "little") + text.encode("latin1") + data[start + len(text) :]


def change_safetensors(data: bytes, rng: random.Random) -> bytes:
    n = int.from_bytes(data[:8], "little")
    header = change_json(data[8 : 8 + n], rng)
    length = len(header) if rng.random() < 0.9 else rng.choice(NUMBERS) % 2**64
    return struct.pack("<Q", length) + header + data[8 + n :]


_WORDS = [b"", b"nan", b"1e999", b"-", b"0x1", b"9" * 5000, b"1_0", "\u0664".encode(), b"{", b"[99999999]"]


def change_text(data: bytes, rng: random.Random) -> bytes:
    """Lines and words of a text: others, missing and repeated ones, very many or very long ones."""
    lines = data.split(b"\n")
    at, dice = rng.randrange(len(lines)), rng.random()
    words = lines[at].split(b" ")
    if dice < 0.2:
        del lines[at]
    elif dice < 0.4:
        lines[at:at] = [lines[at]] * rng.choice([1, 1, 1000])
    elif dice < 0.9:
        words[rng.randrange(len(words))] = rng.choice(_WORDS)
        lines[at] = b" ".join(words)
    else:
        lines[at] = lines[at] * 50
    return b"\n".join(lines)


def change_wav(data: bytes, rng: random.Random) -> bytes:
    """A field of the header, or a chunk."""
    made = bytearray(data)
    at = rng.choice([4, 16, 20, 22, 24, 28, 32, 34, 36, 40, 44])
    width = rng.choice([2, 4])
    if at + width > len(made) or rng.random() < 0.3:
        return flip(data, rng)
    made[at : at + width] = packed(rng.choice([*NUMBERS, *range(70), 0xFFFE]), width)
    return bytes(made)
