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
from .columns import Columns

#: Up to so many numbers a frame are drawn as lines; more of them as a heat map.
MAX_LINES = 4
#: A spectrogram shows so many dB below its loudest.
_DECIBELS = 80.0
#: Inches that panels may fill together, titles aside.
_TALLEST = 24.0


@dataclass
class Panel:
    """Numbers over time.

    Attributes:
        title: stands above it.
        columns: the numbers; they cover the time of the whole picture.
        what: one of them, for the label of the axis: "unit".
        top: of a spectrogram, whose numbers are magnitudes from 0 Hz upwards: the frequency of the last one, in kHz.
        loudest: the magnitude at 0 dB of a spectrogram; its own largest where it is None.
        marks: (from, to) of times to be marked.
    """

    title: str
    columns: Columns
    what: str = "unit"
    top: float | None = None
    loudest: float | None = None
    marks: Sequence[tuple[float, float]] = ()


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
    if not panels or any(len(p.columns) == 0 for p in panels):
        n_frames = min((p.columns.n_frames for p in panels), default=0)
        raise ShapeError(f"nothing to draw: {len(panels)} panels, {n_frames} rows")
    # A row per unit, but no panel so small that it cannot be seen and none that fills a wall.
    heights = [1.3 if _as_lines(p) else 1.8 if p.top else min(max(p.columns.size / 24, 1.0), 4.0) for p in panels]
    if sum(heights) > _TALLEST:  # of many states
        heights = [max(0.6, h * _TALLEST / sum(heights)) for h in heights]
    figure = Figure(figsize=(10, sum(heights) + 0.7 * len(heights) + 0.4), layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for ax, panel in zip(axes, panels, strict=True):
        (_spectrogram if panel.top else _lines if _as_lines(panel) else _heat_map)(figure, ax, panel, end)
        for start, stop in panel.marks:
            ax.axvspan(start, stop, color="C2", alpha=0.25, linewidth=0)
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
    return panel.top is None and panel.columns.size <= MAX_LINES


def _reach(panel: Panel, end: float) -> float:
    """Where the last column ends: beyond the end, where it is not full."""
    columns = panel.columns
    return end * len(columns) * columns.every / columns.n_frames


def _heat_map(figure: Any, ax: Any, panel: Panel, end: float) -> None:
    rows = panel.columns.peak.T
    finite = np.abs(rows[np.isfinite(rows)])
    limit = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    image = ax.imshow(
        rows, aspect="auto", interpolation="nearest", cmap="RdBu_r", vmin=-limit, vmax=limit,
        extent=(0, _reach(panel, end), panel.columns.size, 0),
    )  # fmt: skip
    ax.set_ylabel(panel.what)
    figure.colorbar(image, ax=ax, pad=0.01)


def _spectrogram(figure: Any, ax: Any, panel: Panel, end: float) -> None:
    rows = panel.columns.high.T
    finite = rows[np.isfinite(rows)]
    loudest = panel.loudest or float(finite.max(initial=0.0)) or 1.0
    decibels = 20 * np.log10(np.maximum(rows / loudest, 10 ** (-_DECIBELS / 20)))
    image = ax.imshow(
        decibels, aspect="auto", interpolation="nearest", cmap="magma", vmin=-_DECIBELS, vmax=0, origin="lower",
        extent=(0, _reach(panel, end), 0, panel.top),
    )  # fmt: skip
    ax.set_ylabel("kHz")
    figure.colorbar(image, ax=ax, pad=0.01, label="dB")


def _lines(figure: Any, ax: Any, panel: Panel, end: float) -> None:
    columns, n_lines = panel.columns, panel.columns.size
    times = (np.arange(len(columns)) + 0.5) * (_reach(panel, end) / len(columns))
    times[-1] = min(times[-1], end)
    for i in range(n_lines):
        low, high = columns.low[:, i], columns.high[:, i]
        style = {"color": f"C{i}", "alpha": 0.9 if n_lines == 1 else 0.7}
        label = f"{panel.what} {i}"
        if columns.every > 1 and np.fmax.reduce(high - low, initial=0.0) > 0:
            # more frames than columns: what lies between their least and largest
            ax.fill_between(times, low, high, linewidth=0.6, label=label, **style)
        else:
            ax.plot(times, high, linewidth=0.8, label=label, **style)
    if n_lines > 1:
        # beside the panel, in the room that a heat map's scale takes: over lines it would hide some
        ax.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1.0, 1.05), borderaxespad=0.3)
    ax.grid(alpha=0.3)
