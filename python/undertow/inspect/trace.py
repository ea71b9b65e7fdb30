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


class Trace(Mapping[str, np.ndarray]):
    """State over time: state name -> array (T, *shape), row t being the state after frame t.

    Attributes:
        outputs: output name -> (T, *frame).
        initial: state name -> the state before the first frame.
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
        """Number of frames."""
        return len(next(iter({**self.outputs, **self._states}.values()), ()))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write states and outputs to a .npz, under `state/NAME` and `output/NAME`.

        Raises:
            OSError: it cannot be written; what was there before stays as it is.
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
        """
        picture.figure_class()
        if not self._states or self.n_steps == 0:
            raise ShapeError(f"nothing to draw: {len(self._states)} states over {self.n_steps} frames")
        panels = [picture.Panel(name, s.reshape(self.n_steps, -1), lines=False) for name, s in self.items()]
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

    >>> memory = stream.trace(X)["lstm_1.h"]     # (T, 64)  # doctest: +SKIP
    """
    given = dict(zip(stream.model.inputs, by_name(X, list(stream.model.inputs), "X"), strict=True))
    inputs = {name: np.asarray(x) for name, x in given.items()}
    lengths = {name: len(x) if x.ndim else 0 for name, x in inputs.items()}
    if len(set(lengths.values())) != 1:
        raise ShapeError(f"inputs have different numbers of frames: {lengths}")
    n_steps = next(iter(lengths.values()))
    names = list(stream.model.states)
    values = stream.model.outputs
    initial = {name: np.array(stream.state[name]) for name in names}
    states = {name: np.empty((n_steps, *s.shape), s.dtype) for name, s in initial.items()}
    outputs = {name: np.empty((n_steps, *value.shape), value.dtype) for name, value in values.items()}
    for t in range(n_steps):
        frame = {name: x[t, ...] for name, x in inputs.items()}
        y = stream.step(frame)
        for name in outputs:
            outputs[name][t] = y[name] if isinstance(y, Mapping) else y
        for name in names:
            states[name][t] = stream.state[name]
    return Trace(states, outputs, initial)
