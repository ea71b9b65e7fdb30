# SPDX-License-Identifier: MIT
"""Write the mono models of tests/data/sound, for tests of the examples in C++: amp.tow is that of
csrc/examples/make_amp.py, late.tow looks five samples ahead.

    python tests/data/generate_sound.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from undertow.compile import compile_graph
from undertow.ir.graph import Graph

FOLDER = Path(__file__).parent / "sound"
sys.path.insert(0, str(Path(__file__).parents[2] / "csrc" / "examples"))


def amp() -> bytes:
    import make_amp

    return compile_graph(make_amp.amp().graph)


def late() -> bytes:
    """The sum of the sample before and of half of the one that comes five later."""
    g = Graph("late")
    window = g.add("window", [g.input("x", 1)], attrs={"taps": (-1, 5)})
    weights = {"W": np.float32([[1, 0.5]]), "b": np.zeros(1, np.float32)}
    g.output("y", g.add("dense", [g.add("reshape", [window], attrs={"shape": (2,)})], weights=weights))
    return compile_graph(g)


MODELS = {"amp": amp, "late": late}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, make in MODELS.items():
        (FOLDER / f"{name}.tow").write_bytes(make())
