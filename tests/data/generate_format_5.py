# SPDX-License-Identifier: MIT
"""Writes tests/data/format_5: a file of format version 5, and what it gives by the oracle of bits.

    python tests/data/generate_format_5.py          (needs the installed package)

Numbers follow a formula, as every machine has them. The file is kept: whatever writes it later, that of today is read
for ever. expected.npz is the integers of tests/oracle_bits.py. Only what is not there is written.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent / "format_5"
sys.path.insert(0, str(HERE.parents[1]))

from data.generate_format_4 import numbers  # noqa: E402
from oracle_bits import fixed_cell  # noqa: E402
from undertow.compile import compile_graph  # noqa: E402
from undertow.ir.graph import Graph  # noqa: E402

#: more columns than an int32 sums
K, H = 515, 3
CELLS = {
    "lstm": ("lstm", 4, {}),
    "after": ("gru", 3, {"reset_after": True}),
    "before": ("gru", 3, {}),
    "rnn": ("rnn", 1, {}),
}


def weights(name: str) -> dict[str, np.ndarray]:
    _, G, attrs = CELLS[name]
    w = {
        "W": numbers(G, H, K, seed=1) * np.float32(1 / 16),
        "R": numbers(G, H, H, seed=2),
        "b": numbers(G, H, seed=3),
    }
    w["W"][0, 1] = 0
    if attrs:
        w["rb_n"] = numbers(H, seed=4)
    return w


def graph() -> Graph:
    g = Graph("fixed8")
    x = g.input("x", K)
    for name, (op, _, attrs) in CELLS.items():
        states = [g.state(f"{name}.{letter}", (H,)) for letter in ("hc" if op == "lstm" else "h")]
        precisions = {"W": "fixed8", "R": "fixed8"}
        y = g.add(op, [x], name=name, attrs=dict(attrs), weights=weights(name), states=states, precisions=precisions)
        g.output(f"{name} h", y if isinstance(y, str) else y[0])
        if op == "lstm":
            g.output("lstm c", y[1])
    return g


def frames() -> dict[str, np.ndarray]:
    """Ordinary ones, silence, loud columns, tiny and huge numbers, ties."""
    x = numbers(9, K, seed=7)
    x[1] = 0
    x[2] *= np.float32(2.0**-90)
    x[3, 5] = 1000
    x[4] *= np.float32(1e30)
    x[6] = 1 + np.arange(K) % 127 * np.float32(2.0**-15)
    x[7] = np.float32(2.0**-127)
    return {"x": x}


def expected() -> dict[str, np.ndarray]:
    found: dict[str, list] = {f"{name} h": [] for name in CELLS} | {"lstm c": []}
    for name, (op, _, attrs) in CELLS.items():
        states = (np.zeros(H, np.float32),) * (2 if op == "lstm" else 1)
        for x in frames()["x"]:
            states = fixed_cell(op, weights(name), x, *states, reset_after=bool(attrs))
            for letter, state in zip("hc", states, strict=False):
                found[f"{name} {letter}"].append(state)
    return {key: np.array(y, np.float32) for key, y in found.items()}


def main() -> None:
    HERE.mkdir(exist_ok=True)
    path, data = HERE / "fixed8.tow", compile_graph(graph())
    if path.exists():
        print(f"{path.name}: {'the same bytes' if path.read_bytes() == data else 'OTHER BYTES than those kept'}")
    else:
        path.write_bytes(data)
    if not (HERE / "expected.npz").exists():
        np.savez_compressed(HERE / "expected.npz", **expected())


if __name__ == "__main__":
    main()
