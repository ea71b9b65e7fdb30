# SPDX-License-Identifier: MIT
"""What a stream remembers, frame by frame, and a picture of it. `Stream.trace` is `trace` below."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import _files
from .._inputs import by_name
from .._text import shown
from ..errors import ShapeError
from . import picture
from .columns import Columns, columns_of


class Trace(Mapping[str, np.ndarray]):
    """State over time: state name -> array (T, *shape), row t being the state after frame t.

    Attributes:
        outputs: output name -> (T, *frame).
        initial: state name -> the state before the first frame.

    >>> stream = undertow.load(undertow.example("digits")).stream()
    >>> trace = stream.trace(np.eye(8, dtype=np.float32))
    >>> trace["memory.h"].shape, trace.outputs["output"].shape, trace.initial["memory.h"].shape
    ((8, 48), (8, 10), (48,))
    """

    def __init__(self, states: dict[str, np.ndarray], outputs: dict[str, np.ndarray], initial: dict[str, np.ndarray]):
        self._states = states
        self.outputs = outputs
        self.initial = initial

    def __getitem__(self, name: str) -> np.ndarray:
        return self._states[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)

    def __repr__(self) -> str:
        lines = [f"Trace of {self.n_steps} frames"]
        for name, s in self.items():
            reach = f"{np.nanmin(s):.3g} to {np.nanmax(s):.3g}" if s.size else "empty"
            lines.append(f"  {shown(name)}  {s.shape}  {reach}")
        return "\n".join(lines)

    @property
    def n_steps(self) -> int:
        """Number of frames that were traced.

        >>> trace.n_steps
        8
        """
        return len(next(iter({**self.outputs, **self._states}.values()), ()))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write states and outputs to a .npz, under `state/NAME` and `output/NAME`.

        Args:
            path: where to.

        Raises:
            OSError: it cannot be written; what was there before stays as it is.

        >>> trace.save("memory.npz")                # doctest: +SKIP
        >>> np.load("memory.npz")["state/memory.h"].shape           # doctest: +SKIP
        (8, 48)
        """
        arrays = {f"state/{name}": s for name, s in self.items()}
        arrays |= {f"output/{name}": y for name, y in self.outputs.items()}
        with _files.opened(path) as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw each state as a heat map: time to the right, units downwards, white is zero.

        Args:
            path: where to write the picture (.png, .svg, .pdf); nothing is written when omitted.

        Returns:
            The matplotlib Figure; as the last line of a notebook's cell it is shown.

        Raises:
            ImportError: matplotlib is missing.
            ShapeError: there is nothing to draw.

        >>> figure = trace.plot("memory.png")       # doctest: +SKIP
        """
        picture.figure_class()
        if not self._states or self.n_steps == 0:
            raise ShapeError(f"nothing to draw: {len(self._states)} states over {self.n_steps} frames")
        panels = [picture.Panel(name, columns_of(s.reshape(self.n_steps, -1))) for name, s in self.items()]
        return picture.draw(panels, self.n_steps, path=path)


def trace(stream: Any, X: Any) -> Trace:
    """Step through `X` and keep the state after every frame.

    Args:
        stream: a `Stream`; it is advanced by all frames, as by `Stream.run`.
        X: (T, *frame) float32; a dict of them by input name where the model has several inputs.

    Returns:
        A `Trace`: memory grows with T, unlike anything else in undertow.

    Raises:
        ShapeError, TypeError, KeyError: as `Stream.step`.

    >>> stream = undertow.load(undertow.example("digits")).stream()
    >>> stream.trace(np.eye(8, dtype=np.float32))["memory.h"].shape
    (8, 48)
    """
    inputs, n_steps = _inputs(stream, X)
    names = list(stream.model.states)
    values = stream.model.outputs
    initial = {name: np.array(stream.state[name]) for name in names}
    states = {name: np.empty((n_steps, *s.shape), s.dtype) for name, s in initial.items()}
    outputs = {name: np.empty((n_steps, *value.shape), value.dtype) for name, value in values.items()}
    for t in range(n_steps):
        y = stream.step({name: x[t, ...] for name, x in inputs.items()})
        for name in outputs:
            outputs[name][t] = y[name] if isinstance(y, Mapping) else y
        for name in names:
            states[name][t] = stream.state[name]
    return Trace(states, outputs, initial)


def _inputs(stream: Any, X: Any) -> tuple[dict[str, np.ndarray], int]:
    given = dict(zip(stream.model.inputs, by_name(X, list(stream.model.inputs), "X"), strict=True))
    inputs = {name: np.asarray(x) for name, x in given.items()}
    lengths = {name: len(x) if x.ndim else 0 for name, x in inputs.items()}
    if len(set(lengths.values())) != 1:
        raise ShapeError(f"inputs have different numbers of frames: {lengths}")
    return inputs, next(iter(lengths.values()))


class Outline:
    """What a `Trace` prints and draws, thinned out while a stream is traced: its memory does not grow with time."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._shapes = {name: np.shape(stream.state[name]) for name in stream.model.states}
        self._columns = {name: Columns(int(np.prod(shape))) for name, shape in self._shapes.items()}
        self._reach: dict[str, list[float]] = {name: [np.inf, -np.inf] for name in self._shapes}
        self.n_steps = 0

    def push(self, X: Any) -> None:
        """Step through `X`, as `trace` does."""
        inputs, n_steps = _inputs(self._stream, X)
        states = {name: np.empty((n_steps, c.size), np.float32) for name, c in self._columns.items()}
        for t in range(n_steps):
            self._stream.step({name: x[t, ...] for name, x in inputs.items()})
            for name, rows in states.items():
                rows[t] = np.ravel(self._stream.state[name])
        for name, rows in states.items():
            self._columns[name].push(rows)
            reach = self._reach[name]
            reach[0] = min(reach[0], float(np.fmin.reduce(rows, axis=None, initial=np.inf)))
            reach[1] = max(reach[1], float(np.fmax.reduce(rows, axis=None, initial=-np.inf)))
        self.n_steps += n_steps

    def __repr__(self) -> str:
        lines = [f"Trace of {self.n_steps} frames"]
        for name, (least, most) in self._reach.items():
            reach = f"{least:.3g} to {most:.3g}" if self.n_steps and self._columns[name].size else "empty"
            lines.append(f"  {shown(name)}  {(self.n_steps, *self._shapes[name])}  {reach}")
        return "\n".join(lines)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw each state; errors as of `Trace.plot`."""
        if not self._columns or self.n_steps == 0:
            raise ShapeError(f"nothing to draw: {len(self._columns)} states over {self.n_steps} frames")
        picture.draw([picture.Panel(name, c) for name, c in self._columns.items()], self.n_steps, path=path)
