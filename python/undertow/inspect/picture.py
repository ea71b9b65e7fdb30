# SPDX-License-Identifier: MIT
"""Pictures of what happens over time: panels below each other that share one time axis. Needs matplotlib."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import _files
from .._text import shown
from ..errors import ShapeError, UnsupportedError

#: Up to so many numbers a frame are drawn as lines; more of them as a heat map.
MAX_LINES = 4
#: What a picture can show from left to right.
MAX_COLUMNS = 4000


@dataclass
class Panel:
    """Numbers over time.

    Attributes:
        title: stands above it.
        rows: (T, n) floats; row t covers the time from t / T to (t + 1) / T of the whole.
        what: one of the n, for the label of the axis: "unit".
        lines: draw them as lines; None: up to MAX_LINES of them.
    """

    title: str
    rows: np.ndarray
    what: str = "unit"
    lines: bool | None = None


def figure_class() -> Any:
    """matplotlib's Figure, which a notebook shows.

    Raises:
        ImportError: matplotlib is missing.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise ImportError('plot needs matplotlib: pip install "undertow[plot]"') from None
    from .shown_figure import ShownFigure

    return ShownFigure


def draw(panels: Sequence[Panel], end: float, xlabel: str = "frame", path: str | os.PathLike[str] | None = None) -> Any:
    """Draw panels below each other, time from 0 to `end` to the right. In heat maps, units go down, white is zero.

    Args:
        path: where to write the picture (.png, .svg, .pdf); nothing is written when omitted.

    Returns:
        The matplotlib Figure.

    Raises:
        ImportError: matplotlib is missing.
        ShapeError: there is nothing to draw.
        UnsupportedError, OSError: as `save`.
    """
    Figure = figure_class()
    if not panels or any(len(p.rows) == 0 for p in panels):
        raise ShapeError(f"nothing to draw: {len(panels)} panels, {min((len(p.rows) for p in panels), default=0)} rows")
    # A row per unit, but no panel so small that it cannot be seen and none that fills a wall.
    heights = [1.3 if _as_lines(p) else min(max(p.rows.shape[1] / 24, 1.0), 4.0) for p in panels]
    figure = Figure(figsize=(10, sum(heights) + 0.7 * len(heights) + 0.4), layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for ax, panel in zip(axes, panels, strict=True):
        (_lines if _as_lines(panel) else _heat_map)(figure, ax, panel, end)
        ax.set_title(shown(panel.title), loc="left", fontsize="medium", parse_math=False)
    axes[-1].set_xlabel(xlabel)
    axes[-1].set_xlim(0, end)
    if path is not None:
        save(figure, path)
    return figure


def save(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a matplotlib Figure.

    Args:
        path: its suffix says the format: .png, .svg, .pdf, or another that matplotlib writes.

    Raises:
        UnsupportedError: matplotlib does not write such files.
        OSError: it cannot be written; what was there before stays as it is.
    """
    suffix = Path(os.fsdecode(path)).suffix.lower()
    if suffix[1:] not in figure.canvas.get_supported_filetypes():
        raise UnsupportedError(f"{os.fsdecode(path)}: expected a name that ends in .png, .svg or .pdf")
    with _files.opened(path) as file:
        figure.savefig(file, format=suffix[1:], dpi=120)


def _as_lines(panel: Panel) -> bool:
    return panel.rows.shape[1] <= MAX_LINES if panel.lines is None else panel.lines


def _heat_map(figure: Any, ax: Any, panel: Panel, end: float) -> None:
    rows = panel.rows.T
    finite = np.abs(rows[np.isfinite(rows)])
    limit = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    image = ax.imshow(
        rows, aspect="auto", interpolation="nearest", cmap="RdBu_r", vmin=-limit, vmax=limit,
        extent=(0, end, len(rows), 0),
    )  # fmt: skip
    ax.set_ylabel(panel.what)
    figure.colorbar(image, ax=ax, pad=0.01)


def _lines(_: Any, ax: Any, panel: Panel, end: float) -> None:
    n_rows, n_lines = panel.rows.shape
    times = (np.arange(n_rows) + 0.5) * (end / n_rows)
    many = n_rows > 2 * MAX_COLUMNS
    for i in range(n_lines):
        y = panel.rows[:, i]
        if many:  # more samples than the picture has columns: what lies between their least and largest
            starts = np.linspace(0, n_rows, MAX_COLUMNS, endpoint=False).astype(int)
            low, high = np.fmin.reduceat(y, starts), np.fmax.reduceat(y, starts)
            ax.fill_between(times[starts], low, high, linewidth=0.4, color=f"C{i}", alpha=0.9 if n_lines == 1 else 0.6)
        else:
            ax.plot(times, y, linewidth=0.8, color=f"C{i}", label=f"{panel.what} {i}")
    if n_lines > 1 and not many:
        ax.legend(fontsize="x-small", loc="upper right")
    ax.grid(alpha=0.3)
