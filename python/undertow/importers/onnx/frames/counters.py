# SPDX-License-Identifier: MIT
"""The number of the timestep, as frames: registers that count."""

from __future__ import annotations

import numpy as np

from ....ir.most import counting
from . import emit
from .builder import Builder

#: a timestep's number is held in two parts, each exact in float32, and rounded when they are added: so it is exact up
#: to 2^24 timesteps, and the float32 next to it up to 2^36
_PART = 4096


class Counters:
    """Counts the frames of a Graph under construction."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        #: its registers
        self.states: set[str] = set()
        self._count: tuple[np.ndarray, np.ndarray] | None = None
        self._bounded: tuple[np.ndarray, np.ndarray] | None = None
        self._remainders: dict[tuple[int, int], np.ndarray] = {}

    def counted(self, slopes: np.ndarray, offsets: np.ndarray) -> np.ndarray | None:
        """Elements of slope * (number of this frame, from 0) + offset, all whole; None where a part is not exact."""
        if (np.abs(slopes) * _PART + np.abs(offsets) >= 2**24).any():
            return None
        builder = self.builder
        high, low = self._parts()
        pairs, inverse = np.unique(np.stack([slopes.ravel(), offsets.ravel()]), axis=1, return_inverse=True)
        highs, lows = (np.broadcast_to(part, pairs.shape[1:]) for part in (high, low))
        much = emit.affine(builder, highs, pairs[0] * _PART, 0.0)
        elements = emit.elementwise(builder, "add", [much, emit.affine(builder, lows, *pairs)])
        return elements[inverse.reshape(-1)].reshape(slopes.shape)

    def remainder(self, by: int, start: int) -> np.ndarray:
        """The element that holds (number of this frame, from 0, + start) mod by, of a register that counts to `by`."""
        if (by, start) not in self._remainders:
            builder = self.builder
            state = f"{builder.name('timestep')}.mod"
            self.states.add(state)
            init = np.full(1, start, np.float32) if start else None
            number = _read(builder, state, init)
            more = emit.affine(builder, number, 1.0, 1.0)
            full = emit.elementwise(builder, "greater_equal", [more, builder.constant(np.full(1, by))])
            _write(builder, state, emit.elementwise(builder, "add", [more, emit.affine(builder, full, -by, 0)]))
            self._remainders[by, start] = number
        return self._remainders[by, start]

    def bounded(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        """The element that holds the number of this frame, from 0, and one that is 0: NaN behind `most` frames."""
        if self._bounded is None:
            builder = self.builder
            self.states.add(counting(most))
            number = _read(builder, counting(most))
            more = emit.affine(builder, number, 1.0, 1.0)
            _write(builder, counting(most), more)
            root = emit.activation(builder, emit.affine(builder, more, -1.0, float(most)), "sqrt")
            self._bounded = number, emit.elementwise(builder, "sub", [root, root])
        return self._bounded

    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """The number of this frame, from 0, divided by _PART, and the remainder."""
        if self._count is None:
            builder = self.builder
            name = builder.name("timestep")
            self.states |= {f"{name}.high", f"{name}.low"}
            high, low = (_read(builder, f"{name}.{part}") for part in ("high", "low"))
            more = emit.affine(builder, low, 1.0, 1.0)
            full = emit.elementwise(builder, "greater_equal", [more, builder.constant(np.full(1, _PART))])
            _write(
                builder, f"{name}.low", emit.elementwise(builder, "add", [more, emit.affine(builder, full, -_PART, 0)])
            )
            _write(builder, f"{name}.high", emit.elementwise(builder, "add", [high, full]))
            self._count = high, low
        return self._count


def _read(builder: Builder, state: str, init: np.ndarray | None = None) -> np.ndarray:
    builder.graph.state(state, (1,), init)
    return builder.elements(builder.graph.add("state_read", [], name=builder.name("read"), states=[state]))


def _write(builder: Builder, state: str, elements: np.ndarray) -> None:
    builder.graph.add("state_write", [builder.value(elements)], name=builder.name("write"), states=[state])


__all__ = ["Counters"]
