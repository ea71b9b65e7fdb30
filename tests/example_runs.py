# SPDX-License-Identifier: MIT
"""The examples, each run once for all tests, in a folder of its own, without what they must do without."""

import atexit
import contextlib
import functools
import io
import runpy
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from undertow.cli import _examples

#: An example needs NumPy, and matplotlib where it draws.
MISSING = ("scipy", "sklearn", "pandas", "torch", "onnx", "soundfile", "soxr", "music21")


class Run(NamedTuple):
    names: dict[str, Any]  # what the script leaves in its names
    printed: str
    folder: Path


@functools.cache
def ran(name: str) -> Run:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")
    import matplotlib.pyplot as plt

    temporary = tempfile.TemporaryDirectory(prefix=f"undertow-{name}-")
    atexit.register(temporary.cleanup)
    folder = Path(temporary.name)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.chdir(folder)
        patch.setattr(plt, "show", lambda: None)
        for module in MISSING:
            patch.setitem(sys.modules, module, None)
        plt.switch_backend("agg")
        names = runpy.run_path(str(_examples.script(name)), run_name="__main__")
        assert plt.get_fignums(), "it draws something"
        for number in plt.get_fignums():  # a text without a glyph, or a layout that fails, warns here
            plt.figure(number).canvas.draw()
        plt.close("all")
    return Run(names, printed.getvalue(), folder)
