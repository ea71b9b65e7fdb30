# SPDX-License-Identifier: MIT
"""--plot of `undertow run`: input, outputs and states below each other, thinned out while they come."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..inspect.columns import MAX_COLUMNS, Columns
from ..inspect.picture import Panel, draw, figure_class
from ._common import UsageError
from ._hearing import Hearing, Joined
from ._outputs import Arrays, Segments, Sink


def check(path: str) -> None:
    """Refuse a picture that cannot be drawn before the work."""
    figure_class()
    if Path(path).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"--plot {path}: expected a name that ends in .png, .svg or .pdf")
    if not Path(path).parent.is_dir():
        raise UsageError(f"--plot {path}: there is no folder {Path(path).parent}")


class Picture(Sink):
    """Sound is drawn as it is heard, spectra as loudness, numbers of a frame as lines or a heat map."""

    def __init__(self, path: str, model: Any, hearing: Hearing | None) -> None:
        self._path, self._model, self._hearing = path, model, hearing
        self._inputs: dict[str, Columns] = {}
        self._outputs: dict[str, Columns] = {}
        self._joined: dict[str, Joined] = {}
        self._states = {name: Columns(prod(state.shape)) for name, state in model.states.items() if prod(state.shape)}
        self._n_frames = 0
        if hearing is not None and not hearing.spectrum:
            columns = self._inputs[hearing.name] = Columns(hearing.channels)
            hearing.listeners.append(columns.push)
        for name, value in model.outputs.items():
            if hearing is not None and not hearing.spectrum and hearing.hop == value.size and hearing.channels == 1:
                self._joined[name] = hearing.joined(value.size)

    @property
    def chunk(self) -> int:  # type: ignore[override]
        """The state is looked at once for a column: where there are more columns than can be seen, less often."""
        return min((columns.every for columns in self._states.values()), default=1 << 30)

    def hear(self, X: Arrays, stream: Any) -> None:
        """The frames that go in, and the stream that has taken them."""
        n = len(next(iter(X.values())))
        if n == 0:
            return
        self._n_frames += n
        for name, x in X.items():
            if self._hearing is None or self._hearing.spectrum:
                self._push(self._inputs, name, x.reshape(n, -1))
        if stream is not None:
            for name, columns in self._states.items():
                columns.push(np.asarray(stream.state[name]).reshape(1, -1), n)

    def take(self, Y: Arrays) -> None:
        for name, y in Y.items():
            value = self._model.outputs[name]
            if y.ndim == len(value.shape):
                continue  # given once: no line over time
            if name in self._joined:
                self._push(self._outputs, name, self._joined[name].push(y))
            else:
                self._push(self._outputs, name, y.reshape(len(y), value.size))

    def _push(self, kept: dict[str, Columns], name: str, rows: np.ndarray) -> None:
        hearing = self._hearing
        if hearing is not None and hearing.spectrum and rows.shape[1] == hearing.spectrum + 2:
            parts = rows.reshape(len(rows), -1, 2)
            rows = np.hypot(parts[..., 0], parts[..., 1])
        if name not in kept:
            kept[name] = Columns(rows.shape[1])
        kept[name].push(rows)

    def draw(self, segments: Segments | None) -> None:
        """Write it.

        Raises:
            ShapeError: there were no frames.
        """
        if self._n_frames == 0:
            raise ShapeError(f"--plot {self._path}: nothing to draw, the input has no frames")
        hearing = self._hearing
        loudest = None
        panels = []
        for kind, kept in (("input", self._inputs), ("output", self._outputs)):
            for name, columns in kept.items():
                if not len(columns):
                    continue
                title = name if name == kind else f"{kind} {name}"
                if hearing is not None and hearing.spectrum and columns.size == hearing.spectrum // 2 + 1:
                    own = float(np.fmax.reduce(columns.high, axis=None, initial=0.0))
                    loudest = own if loudest is None else loudest  # one scale for what goes in and what comes out
                    panels.append(Panel(title, columns, top=hearing.rate / 2000, loudest=loudest or None))
                    continue
                what = "channel" if hearing is not None and kind == "input" else "element"
                panels.append(Panel(title, columns, what))
                if segments is not None and kind == "output":
                    panels[-1].marks = [(s.start_s, s.end_s) for s in segments.segments]
        panels += [Panel(name, columns) for name, columns in self._states.items() if len(columns)]
        end, label = (float(self._n_frames), "frame") if hearing is None else (hearing.seconds, "seconds")
        draw(panels, end, label, self._path)


__all__ = ["MAX_COLUMNS", "Picture", "check"]
