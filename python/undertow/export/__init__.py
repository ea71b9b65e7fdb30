# SPDX-License-Identifier: MIT
"""Models as source code for what has no Python: `export_c`."""

from __future__ import annotations

import os
from pathlib import Path

from ..model import Model
from .c.emit import Source, export


def source(model: Model, name: str) -> Source:
    return export(model.graph, name, model.hash)


def export_c(model: Model, directory: str | os.PathLike[str], name: str = "model") -> list[Path]:
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    made_of = source(model, name)
    paths = [folder / f"{name}.h", folder / f"{name}.c"]
    for path, text in zip(paths, (made_of.header, made_of.code), strict=True):
        path.write_text(text, encoding="ascii")
    return paths
