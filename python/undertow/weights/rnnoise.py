# SPDX-License-Identifier: MIT
"""RNNoise's weights, in the three forms in which they travel. Nothing is compiled or executed.

* The text of RNNoise before 0.2 (``rnnoise-nu model file version 1``; also FFmpeg's arnndn): per layer its inputs, its
  units, a code of its activation, then whole numbers, each 256 times the weight.
* The binary blob of RNNoise from 0.2 on (``DNNw``): records of 64 bytes, each followed by one array.
* The C sources that its trainers write, before and after 0.2 (``rnn_data.c``, ``rnnoise_data.c``).

The arrays of the first form, and of C sources like it, come with Keras's names and shapes and already divided by 256:
``vad_gru/kernel`` (inputs, 3 * units), gates z r h. Those of the second come as they are stored: flat, by name.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import FormatError, ShapeError, UnsupportedError
from .contents import bytes_of, open_file
from .limits import MAX_ENTRIES, Budget

TEXT_MAGIC = b"rnnoise-nu model file version"
BLOB_MAGIC = b"DNNw"
#: limits for hostile files; RNNoise itself reads no layer wider than 128 in its text form
MAX_FILE_BYTES = 256 << 20
MAX_UNITS = 4096

SCALE = 256.0
ACTIVATIONS = {0: "tanh", 1: "sigmoid", 2: "relu"}
#: the layers of a text file, in its order
LAYERS = ("input_dense", "vad_gru", "noise_gru", "denoise_gru", "denoise_output", "vad_output")
#: record type -> dtype and bytes of an element
_BLOB_TYPES = {0: ("<f4", 4), 1: ("<i4", 4), 3: ("i1", 1)}
_RECORD = struct.Struct("<4siiii44s")
#: forks put a prefix of their own before the names of types, arrays and activations
_C_TYPE = re.compile(r"(?:\w*_)?(rnn_weight|opus_int8|opus_int16|float|int)")
_C_TYPES = {"rnn_weight": np.int8, "opus_int8": np.int8, "float": np.float32, "int": np.int32}
_C_ARRAY = re.compile(r"\bconst\s+(\w+)\s+(\w+)\s*\[\s*(\d{1,9})\s*\]\s*=\s*\{([^{}]*)\}\s*;")
_C_LAYER = re.compile(r"\bconst\s+\w*?(DenseLayer|GRULayer)\s+(\w+)\s*=\s*\{([^{}]*)\}\s*;")
_C_NUMBERS = re.compile(r"[-+.0-9eE,\s]*")
#: a size; trainers under Python 3 divide and write 24.0, which C takes for 24
_SIZE = re.compile(r"([1-9]\d{0,3})(?:\.0{0,9})?")
_C_SKIPPED = re.compile(r"/\*.*?(?:\*/|\Z)|//[^\n]*|^[ \t]*#[^\n]*$", re.DOTALL | re.MULTILINE)


@dataclass
class Layer:
    """A layer of RNNoise before 0.2; arrays as in Keras: kernel (inputs, gates * units), then bias last."""

    activation: str
    arrays: dict[str, np.ndarray]


def read_rnnoise(path: Path, budget: Budget) -> dict[str, np.ndarray]:
    """Every array of an RNNoise file by name; see the module."""
    layers, arrays = parse(path, budget)
    named = {f"{name}/{key}": a for name, layer in layers.items() for key, a in layer.arrays.items()}
    return named | arrays


def parse(path: Path, budget: Budget) -> tuple[dict[str, Layer], dict[str, np.ndarray]]:
    """(layers of a file from before 0.2, arrays of one from 0.2 on); one of the two is empty."""
    with open_file(path) as file:
        data = file.read(min(MAX_FILE_BYTES, bytes_of(file)) + 1)
    if len(data) > MAX_FILE_BYTES:
        raise FormatError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB, expected a smaller file")
    budget.take(2 * len(data), "the parsed file")
    if data.startswith(BLOB_MAGIC):
        return {}, _blob(path, data)
    if data.startswith(TEXT_MAGIC):
        return _text(path, data), {}
    return _c_source(path, data)


# -- before 0.2: text -----------------------------------------------------------------------------------------------


def _text(path: Path, data: bytes) -> dict[str, Layer]:
    first, _, rest = data.partition(b"\n")
    if first.rstrip() != TEXT_MAGIC + b" 1":
        raise UnsupportedError(f"{path}: {first[:60]!r} is not supported; expected version 1")
    if not re.fullmatch(rb"(?:\s*-?\d+(?:\.0{0,9})?(?=\s|\Z))*\s*", rest):  # 24.0: a trainer under Python 3
        raise FormatError(f"{path}: something else than whole numbers behind the first line")
    words = [word.partition(b".")[0] for word in rest.split()]
    at = 0

    def take(n: int, what: str, low: int, high: int) -> np.ndarray:
        nonlocal at
        if len(words) - at < n:
            raise FormatError(f"{path}: ends within {what}: {n} numbers expected, {len(words) - at} left")
        at += n
        return _integers(path, what, words[at - n : at], low, high)

    layers = {}
    for name in LAYERS:
        n_in, units, code = (int(n) for n in take(3, f"{name}: inputs, units, activation", 0, MAX_UNITS))
        if not n_in or not units:
            raise FormatError(f"{path}: {name} has {n_in} inputs and {units} units, expected at least 1")
        if code not in ACTIVATIONS:
            raise UnsupportedError(
                f"{path}: {name} has activation code {code}; expected 0 (tanh), 1 (sigmoid) or 2 (relu)"
            )
        shapes = _shapes(name.endswith("_gru"), n_in, units)
        arrays = {
            key: take(int(np.prod(shape)), f"{name}: {key}", -128, 127).reshape(shape) / SCALE
            for key, shape in shapes.items()
        }
        layers[name] = Layer(ACTIVATIONS[code], {key: a.astype(np.float32) for key, a in arrays.items()})
    if at < len(words):
        raise FormatError(f"{path}: {len(words) - at} numbers behind the last layer")
    return layers


def _shapes(recurrent: bool, n_in: int, units: int) -> dict[str, tuple[int, ...]]:
    if recurrent:
        return {"kernel": (n_in, 3 * units), "recurrent_kernel": (units, 3 * units), "bias": (3 * units,)}
    return {"kernel": (n_in, units), "bias": (units,)}


def _integers(path: Path, what: str, words: list[bytes], low: int, high: int) -> np.ndarray:
    try:
        if any(len(word) > 12 for word in words):
            raise ValueError
        values = np.array([int(word) for word in words], np.int64)
    except ValueError:
        raise FormatError(f"{path}: {what}: not whole numbers of at most 12 digits") from None
    if values.size and (values.min() < low or values.max() > high):
        raise FormatError(f"{path}: {what}: numbers from {values.min()} to {values.max()}, expected {low} to {high}")
    return values


# -- from 0.2 on: records -------------------------------------------------------------------------------------------


def _blob(path: Path, data: bytes) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    at = 0
    while at < len(data):
        where = f"{path}: record at byte {at}"
        if len(data) - at < _RECORD.size:
            raise FormatError(f"{where}: {len(data) - at} bytes, expected {_RECORD.size}")
        head, version, kind, size, block, raw = _RECORD.unpack_from(data, at)
        name = raw.split(b"\0")[0]
        if head != BLOB_MAGIC or raw[-1] or not re.fullmatch(rb"\w+", name):
            raise FormatError(f"{where}: expected {BLOB_MAGIC!r} and a name, got {head!r} and {name[:44]!r}")
        where = f"{path}: array {name.decode()!r}"
        if version != 0:
            raise UnsupportedError(f"{where}: version {version} of the format is not supported; expected 0")
        if kind not in _BLOB_TYPES:
            raise UnsupportedError(f"{where}: type {kind} is not supported; expected float (0), int (1) or int8 (3)")
        dtype, width = _BLOB_TYPES[kind]
        at += _RECORD.size
        if not 0 < size <= block <= len(data) - at or size % width:
            raise FormatError(f"{where}: {size} bytes in a block of {block}, and {len(data) - at} are left")
        _add(path, arrays, name.decode(), np.frombuffer(data, dtype, size // width, at).astype(dtype.strip("<")))
        at += block
    return arrays


def _add(path: Path, arrays: dict[str, np.ndarray], name: str, array: np.ndarray) -> None:
    if name in arrays:
        raise FormatError(f"{path}: array {name!r} is there twice")
    if len(arrays) >= MAX_ENTRIES:
        raise FormatError(f"{path}: more than {MAX_ENTRIES} arrays")
    arrays[name] = array


# -- C sources ------------------------------------------------------------------------------------------------------


def _c_source(path: Path, data: bytes) -> tuple[dict[str, Layer], dict[str, np.ndarray]]:
    # Comments are in any language and encoding; what is read of the rest is ASCII.
    text = _C_SKIPPED.sub(" ", data.removeprefix(b"\xef\xbb\xbf").decode("latin-1"))
    arrays: dict[str, np.ndarray] = {}
    for c_type, name, size, body in _C_ARRAY.findall(text):
        match = _C_TYPE.fullmatch(c_type)
        if match is None:
            continue  # tables of pointers to the arrays
        words = [word.strip() for word in body.split(",")]
        kind, what = match[1], f"array {name!r}"
        if kind == "opus_int16":
            raise UnsupportedError(
                f"{path}: {what} has elements of {c_type}, whose scale stands in a header (rnn.h) and not here; "
                "expected rnn_weight, in steps of 1/256"
            )
        if len(words) != int(size) or not _C_NUMBERS.fullmatch(body) or max(map(len, words)) > 40:
            raise FormatError(f"{path}: {what}: expected {size} plain numbers, got {len(words)} items")
        dtype = np.dtype(_C_TYPES[kind])
        if dtype.kind == "f":
            try:
                values = np.array(list(map(float, words)))
            except ValueError:
                raise FormatError(f"{path}: {what} holds something that is no number") from None
            if np.abs(values).max() > np.finfo(np.float32).max:
                raise FormatError(f"{path}: {what} holds a number beyond float32")
        else:
            bound = 1 << (8 * dtype.itemsize - 1)
            values = _integers(path, what, [word.encode() for word in words], -bound, bound - 1)
        _add(path, arrays, name, values.astype(dtype))
    if not arrays:
        raise FormatError(
            f"{path}: neither RNNoise's text nor its binary blob, and as C source without constant arrays as its "
            "trainer writes them"
        )
    layers = {name: _c_layer(path, kind, name, body, arrays) for kind, name, body in _C_LAYER.findall(text)}
    prefix = next((name.removesuffix(LAYERS[0]) for name in layers if name.endswith(f"_{LAYERS[0]}")), "")
    layers = {name.removeprefix(prefix): layer for name, layer in layers.items()}
    return layers, {} if layers else arrays


def _c_layer(path: Path, kind: str, name: str, body: str, arrays: dict[str, np.ndarray]) -> Layer:
    """A layer from its initialiser: bias, weights, (recurrent weights,) inputs, units, activation."""
    words = [word.strip() for word in body.split(",")]
    keys = ["bias", "kernel", "recurrent_kernel"] if kind == "GRULayer" else ["bias", "kernel"]
    sizes, act = [_SIZE.fullmatch(word) for word in words[len(keys) : -1]], words[-1].lower()
    act = act.rpartition("activation_")[2]
    numbers = [int(size[1]) for size in sizes if size]
    if len(words) != len(keys) + 3 or len(numbers) != 2 or max(numbers) > MAX_UNITS:
        text = " ".join(body.split())
        raise FormatError(
            f"{path}: {kind} {name!r} is {{{text[:160]}}}; expected {len(keys)} arrays, two sizes from 1 to "
            f"{MAX_UNITS}, and an activation"
        )
    if act not in ACTIVATIONS.values():
        raise UnsupportedError(f"{path}: {name} has activation {words[-1]!r}; expected tanh, sigmoid or relu")
    shapes = _shapes(kind == "GRULayer", *numbers)
    weights = {}
    for key, word in zip(keys, words, strict=False):
        array = arrays.get(word)
        if array is None:
            raise FormatError(f"{path}: {name}: array {word!r} is missing")
        if key == "bias" and kind == "GRULayer" and array.size == 2 * np.prod(shapes[key]):
            raise UnsupportedError(
                f"{path}: {name}: {word!r} has {array.size} elements, two biases, as Keras writes a GRU with "
                "reset_after; RNNoise before 0.2 has one, and its program computes something else with this file"
            )
        if array.size != np.prod(shapes[key]):
            raise ShapeError(f"{path}: {name}: {word!r} has {array.size} elements, expected {shapes[key]}")
        weights[key] = (array.reshape(shapes[key]) / SCALE).astype(np.float32)
    return Layer(act, {key: weights[key] for key in shapes})
