# SPDX-License-Identifier: MIT
"""Writes tests/data/proof.tow: a small model with a proof, of numbers by a formula, as every machine has them.

The file is kept: whatever writes proofs later, those of today are read for ever. Run it to see that it gives the same
bytes; it only writes where there is no file.
"""

import sys
from pathlib import Path

import numpy as np

from undertow.ir.graph import Graph
from undertow.model import Model

PATH = Path(__file__).parent / "proof.tow"


def numbers(*shape: int, seed: int) -> np.ndarray:
    """Multiples of 1/64 between -1 and 1."""
    n = np.arange(int(np.prod(shape)), dtype=np.int64) + seed
    return ((n * n * 7 + n * 3) % 129 - 64).reshape(shape).astype(np.float32) / 64


def graph() -> Graph:
    """Two inputs, one of ids; an LSTM and a GRU; two outputs."""
    g = Graph("proof")
    x, i = g.input("x", (3,)), g.input("i", (), "int32")
    e = g.add("embedding", [i], name="words", weights={"table": numbers(5, 3, seed=1)})
    both = g.add("add", [x, e])
    states = [g.state("lstm.h", (4,)), g.state("lstm.c", (4,), numbers(4, seed=2))]
    weights = {"W": numbers(4, 4, 3, seed=3), "R": numbers(4, 4, 4, seed=4), "b": numbers(4, 4, seed=5)}
    h, _ = g.add("lstm", [both], name="lstm", weights=weights, states=states)
    weights = {"W": numbers(3, 2, 4, seed=6), "R": numbers(3, 2, 2, seed=7)}
    y = g.add("gru", [h], name="gru", weights=weights, states=[g.state("gru.h", (2,))])
    g.output("hidden", h)
    g.output("y", g.add("softmax", [y]))
    return g


def frames(n: int = 12) -> dict[str, np.ndarray]:
    """Frames of the proof, a NaN among them."""
    x = 4 * numbers(n, 3, seed=8)
    x[-1, 1] = np.nan
    return {"x": x, "i": (np.arange(n) ** 2 % 5).astype(np.int32)}


if __name__ == "__main__":
    new = Path(sys.argv[1]) if len(sys.argv) > 1 else PATH
    if new.exists():
        sys.exit(f"{new} is there and stays")
    Model.from_graph(graph()).save(new, proof=frames())
