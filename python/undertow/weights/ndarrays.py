# SPDX-License-Identifier: MIT
"""NumPy arrays inside pickles (checkpoints that mix them with tensors, plain ``pickle.dump`` of a dict of arrays)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import FormatError, UnsupportedError
from .limits import Budget, check_shape

_NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"}


class Dtype:
    """numpy.dtype as pickled: its description, then a state whose second field is the byte order."""

    def __init__(self, descr: Any, *_: Any) -> None:
        self.descr, self.order = descr, ""

    def set_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise ValueError("a damaged numpy dtype")
        self.order = "" if state[1] == "|" else state[1]

    def dtype(self) -> np.dtype | None:
        """None when the elements are not numbers."""
        if not isinstance(self.descr, str) or self.descr not in _NUMBERS:
            return None
        return np.dtype(self.order + self.descr)


class Array:
    """numpy.ndarray as pickled: empty, then a state (version, shape, dtype, column-major?, bytes)."""

    def __init__(self, *state: Any) -> None:
        self.state: Any = state or None

    def set_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("a damaged numpy array")
        self.state = state[1:]

    def read(self, budget: Budget, name: str) -> np.ndarray:
        """The array, checked and copied."""
        what = f"array {name!r}"
        if self.state is None:
            raise FormatError(f"{budget.path}: {what} has no content")
        shape, kind, fortran, data = self.state
        if isinstance(data, str) and data.isascii():
            data = data.encode("ascii")  # Python 2's str, whose bytes happen to be text, such as zeros
        dtype = kind.dtype() if isinstance(kind, Dtype) else None
        if dtype is None or not isinstance(data, bytes):
            raise UnsupportedError(f"{budget.path}: {what} holds Python objects or text, expected numbers")
        if not isinstance(shape, tuple):
            raise FormatError(f"{budget.path}: {what} has no shape")
        n_bytes = check_shape(budget.path, what, shape) * dtype.itemsize
        if n_bytes != len(data):
            raise FormatError(f"{budget.path}: {what} of shape {shape} needs {n_bytes} bytes, got {len(data)}")
        budget.take(n_bytes, what)
        array = np.frombuffer(data, dtype) if data else np.zeros(0, dtype)
        return np.array(array.reshape(shape, order="F" if fortran else "C"), dtype.newbyteorder("="), order="C")


def rebuilders(budget: Budget) -> dict[tuple[str, str], Callable[..., Any]]:
    """The names that NumPy's pickles call, and what stands in for them."""

    def encode(text: Any, codec: Any = "latin1") -> bytes:  # how bytes travel in protocol 2
        if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
            raise ValueError("text in another codec than latin1")
        budget.take(len(text), "bytes in the pickle")
        return text.encode("latin1")

    def no_bytes() -> bytes:  # how empty ones do
        return b""

    def from_buffer(data: Any, kind: Any, shape: Any, order: Any) -> Array:
        return Array(shape, kind, order == "F", data)

    return {
        ("_codecs", "encode"): encode,
        **{(module, "bytes"): no_bytes for module in ("__builtin__", "builtins")},
        ("numpy", "dtype"): Dtype,
        **{(f"numpy.{core}.multiarray", "_reconstruct"): lambda *_: Array() for core in ("core", "_core")},
        **{(f"numpy.{core}.numeric", "_frombuffer"): from_buffer for core in ("core", "_core")},
    }
