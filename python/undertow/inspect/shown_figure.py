# SPDX-License-Identifier: MIT
"""A matplotlib Figure that a notebook shows. Imported when something is drawn: matplotlib is an extra."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A Figure that a notebook shows as a picture, whether or not `%matplotlib inline` was said."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=100)
        return file.getvalue()


__all__ = ["ShownFigure"]
