# SPDX-License-Identifier: MIT
"""A layer's configuration, read key by key: what is not understood is refused by name."""

from __future__ import annotations

from typing import Any

from ...errors import FormatError, UnsupportedError
from .traits import IGNORED, IGNORED_ENDINGS, ONLY, LayerClass

#: limit for hostile files: no axis of a layer is wider
MAX_WIDTH = 1 << 24


class Config:
    """The configuration of one layer.

    Args:
        where: "LSTM 'lstm_1'", for messages.
        table: the layer's "config".
        row: what is true of its class.
        version: the Keras version that wrote the file; None when unknown.

    Raises:
        UnsupportedError: a key says what no layer of this class may.
    """

    def __init__(self, where: str, table: dict[str, Any], row: LayerClass, version: tuple[int, ...] | None) -> None:
        self.where = where
        self.version = version
        self._table = table
        known = {*IGNORED, *row.ignored, "dtype"}
        self._left = {k for k in table if k not in known and not k.endswith(IGNORED_ENDINGS)}
        for key, values in {**ONLY, **row.only}.items():
            self.expect(key, *values)
        dtype = None if "dtype" in row.ignored else dtype_name(table.get("dtype"))
        if dtype not in (None, "float32"):
            raise UnsupportedError(f"{where}: dtype {brief(dtype)} is not supported; expected float32")

    def __contains__(self, key: str) -> bool:
        return key in self._table

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, which is understood from now on."""
        self._left.discard(key)
        return self._table.get(key, default)

    def expect(self, key: str, *values: Any) -> Any:
        """The value of a key that must be missing or one of `values`; the first of them when missing."""
        value = self.get(key, values[0])
        if not any(type(value) is type(v) and value == v for v in values):
            raise UnsupportedError(
                f"{self.where}: {key} = {brief(value)} is not supported; expected {' or '.join(map(repr, values))}"
            )
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise FormatError(f"{self.where}: {key} must be true or false, got {brief(value)}")
        return value

    def required(self, key: str) -> Any:
        if key not in self._table:
            raise FormatError(f"{self.where}: {key} is missing")
        return self.get(key)

    def count(self, key: str) -> int:
        value = self.required(key)
        if type(value) is not int or not 0 < value <= MAX_WIDTH:
            raise FormatError(f"{self.where}: {key} must be a whole number from 1 to {MAX_WIDTH}, got {brief(value)}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self.get(key, default)
        if isinstance(value, dict):  # a NumPy number: {"type": "ndarray", "value": 0.3}, or a "config" around the value
            inner = value.get("config")
            value = value.get("value", inner.get("value") if isinstance(inner, dict) else None)
        if type(value) not in (int, float) or not abs(value) < 1e38:
            raise FormatError(f"{self.where}: {key} must be a number, got {brief(value)}")
        return float(value)

    def finish(self) -> None:
        """Refuse the first key that nobody asked for."""
        if self._left:
            key = sorted(self._left)[0]
            raise UnsupportedError(f"{self.where}: {key} = {brief(self._table[key])} is not known to undertow")


def dtype_name(dtype: Any) -> Any:
    """The name of a dtype or of a policy; what has none, as it is."""
    inner = dtype.get("config") if isinstance(dtype, dict) else None
    return inner.get("name", dtype) if isinstance(inner, dict) else dtype


def brief(value: Any) -> str:
    """A value, short enough for a message."""
    text = (
        repr(value)
        if not isinstance(value, (list, dict)) or len(value) <= 4
        else f"a {type(value).__name__} of {len(value)}"
    )
    return text if len(text) <= 80 else text[:77] + "..."
