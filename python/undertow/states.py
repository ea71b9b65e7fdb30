# SPDX-License-Identifier: MIT
"""Hidden states by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol
from zlib import crc32

import numpy as np

from ._text import listed, quoted, shown
from .errors import ShapeError, StateError


class Stateful(Protocol):
    """A stream, or one of a pool."""

    @property
    def model(self) -> Any: ...
    def _get_state(self, number: int) -> np.ndarray: ...
    def _set_states(self, numbers: list[int], arrays: list[np.ndarray]) -> None: ...


class LSTMState(NamedTuple):
    """Hidden state h and cell state c of an LSTM.

    Args:
        h: (units,) float32, or (projection,) where there is one: what the layer gave last.
        c: (units,) float32.

    >>> model = undertow.Sequential([undertow.LSTM(np.ones((8, 3)), np.ones((8, 2)), name="memory")])
    >>> h, c = model.stream().state["memory"]
    >>> h.shape, c.shape
    ((2,), (2,))
    """

    h: np.ndarray
    c: np.ndarray


class StateArray(np.ndarray):
    """A copy of a state field. What is written there would be lost, so an attempt says what to write instead.

    What is computed from it is an ordinary array.
    """

    _of: str = ""

    @classmethod
    def copy_of(cls, array: np.ndarray, of: str) -> StateArray:
        """`array` itself, read-only; `of`: what gives it, as errors call it."""
        state = array.view(cls)
        state._of = of
        state.flags.writeable = False
        return state

    def __array_finalize__(self, of: Any) -> None:
        self._of = getattr(of, "_of", "")

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain

    def copy(self, order: Any = "C") -> Any:
        """A plain array, which may be written to."""
        return np.array(self, order=order, subok=False)

    def __reduce__(self) -> Any:
        return np.asarray(self).__reduce__()

    def __repr__(self) -> str:
        return repr(np.asarray(self))

    def __setitem__(self, key: Any, value: Any) -> None:
        self._refuse_writes()
        super().__setitem__(key, value)

    def _refuse_writes(self) -> None:
        if not self.flags.writeable:
            raise StateError(
                f"{self._of} is a read-only copy, and writing to it would change no stream: "
                f"take h = {self._of}.copy(), write to h, and set {self._of} = h"
            )


def _in_place(name: str) -> Callable[[StateArray, Any], Any]:
    plain = getattr(np.ndarray, name)

    def operator(self: StateArray, other: Any) -> Any:
        self._refuse_writes()
        return plain(self, other)

    return operator


for _name in ("__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__", "__imod__", "__ipow__"):
    setattr(StateArray, _name, _in_place(_name))


class StateView(Mapping[str, Any]):
    """The state of a stream: `stream.state["lstm_1.h"]`, or `stream.state["lstm_1"]` for all of a layer.

    Of a stream in a pool, `pool.state(id)["lstm_1.h"]`.

    Reading gives copies that cannot be written to: an array for one field (RNN and GRU layers have just h), an
    `LSTMState(h, c)` for an LSTM, a dict for anything else with several fields. Setting takes the same; shapes must
    match, and any float dtype is converted to float32. It is a mapping: `dict(stream.state)` has all fields.

    Raises:
        KeyError: the model has no such state. ShapeError: it has another shape.
        StateError: a copy is written to, which would change nothing; or a proposal is pending.

    >>> stream = undertow.load(undertow.example("digits")).stream()
    >>> stream.state["memory"] = 0.5 * stream.state["memory"]
    >>> h = stream.state["memory"].copy()           # (48,)
    >>> h[3] = 1
    >>> stream.state["memory"] = h
    >>> stream.state["memory"][2:5]
    array([0., 1., 0.], dtype=float32)
    """

    def __init__(self, stream: Stateful) -> None:
        self._stream = stream
        self._index = {name: i for i, name in enumerate(stream.model.states)}

    def _fields(self, key: str) -> list[str]:
        if key in self._index:
            return [key]
        fields = [name for name in self._index if name.rpartition(".")[0] == key]
        if not fields:
            raise KeyError(f"no state {quoted(key)}; there are: {listed(self._index) or 'none'}")
        return fields

    def __getitem__(self, key: str) -> Any:
        fields = self._fields(key)
        arrays = [self._stream._get_state(self._index[f]) for f in fields]
        where = "pool.state(id)" if hasattr(self._stream, "_id") else "stream.state"
        arrays = [StateArray.copy_of(a, f"{where}[{quoted(f)}]") for a, f in zip(arrays, fields, strict=True)]
        if len(arrays) == 1:
            return arrays[0]
        letters = [f.rpartition(".")[2] for f in fields]
        return LSTMState(*arrays) if letters == ["h", "c"] else dict(zip(letters, arrays, strict=True))

    def __setitem__(self, key: str, value: Any) -> None:
        fields = self._fields(key)
        if len(fields) == 1:
            values = [value]
        elif isinstance(value, Mapping):
            values = [value[f.rpartition(".")[2]] for f in fields]
        else:
            values = list(value)
        if len(values) != len(fields):
            raise StateError(f"state {key!r} has the fields {', '.join(fields)}, got {len(values)} values")
        arrays = [as_field(self._stream.model, f, v) for f, v in zip(fields, values, strict=True)]
        self._stream._set_states([self._index[f] for f in fields], arrays)

    def __delitem__(self, key: str) -> None:
        """A state belongs to its layer, so this raises StateError."""
        self._fields(key)
        raise StateError(
            f"state {quoted(key)} belongs to a layer and cannot be deleted: set it to zeros, or begin anew with reset()"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def __repr__(self) -> str:
        states = self._stream.model.states
        return "<state " + ", ".join(f"{shown(name)} {states[name].shape}" for name in self._index) + ">"


def checksum(parts: Iterable[Any]) -> int:
    """A sum by which damage of numbers, ids and bytes is found; snapshots have none of their own."""
    total = 0
    for part in parts:
        if isinstance(part, np.ndarray):
            part = part.astype("<i8").tobytes()
        total = crc32(part if isinstance(part, bytes) else repr(part).encode(), total)
    return total


def checked(what: str, parts: tuple[Any, ...], total: int) -> None:
    """Compare the sum of what a pickle holds with that of what was written.

    Raises:
        StateError: it is damaged.
    """
    if checksum(parts) != total:
        raise StateError(f"the {what} in the pickle is damaged: it is not the one that was written")


def as_field(model: Any, field: str, value: Any) -> np.ndarray:
    """`value` as a float32 array of the field's shape."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"state {quoted(field)} must be numbers, got {array.dtype}")
    shape = model.states[field].shape
    if array.shape != shape:
        raise ShapeError(f"state {field!r} has shape {shape}, got {array.shape}")
    return np.asarray(array, np.float32, order="C")  # which leaves a state without axes without


def expand(model: Any, state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A dict by layer or field name as one by field name."""
    fields: dict[str, np.ndarray] = {}
    for key, value in state.items():
        names = [key] if key in model.states else [n for n in model.states if n.rpartition(".")[0] == key]
        if not names:
            raise KeyError(f"no state {quoted(key)}; there are: {listed(model.states) or 'none'}")
        if len(names) == 1:
            values = [value]
        else:
            values = [value[n.rpartition(".")[2]] for n in names] if isinstance(value, Mapping) else list(value)
        if len(values) != len(names):
            raise StateError(f"state {key!r} has the fields {', '.join(names)}, got {len(values)} values")
        fields.update({n: as_field(model, n, v) for n, v in zip(names, values, strict=True)})
    return fields


def flat_fields(model: Any, state: Mapping[str, Any] | None) -> tuple[list[int], list[np.ndarray]]:
    """As `expand`, by the numbers of the fields: what a stream takes in one piece."""
    fields = expand(model, state or {})
    numbers = {name: i for i, name in enumerate(model.states)}
    return [numbers[name] for name in fields], list(fields.values())
