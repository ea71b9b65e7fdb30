# SPDX-License-Identifier: MIT
"""Writes tests/data/format_4: files of format version 4, and what they give by the oracle of precisions.

    python tests/data/generate_format_4.py          (needs the installed package)

Numbers follow a formula, as every machine has them. The files are kept: whatever writes them later, those of today are
read for ever. expected.npz is tests/oracle_precision.py's, in rational numbers, right to the bit: an embedding, a dense
layer of more columns than int16 sums at once, an rnn whose activation does nothing. Only what is not there is written.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent / "format_4"
sys.path.insert(0, str(HERE.parents[1]))

from oracle_precision import Matrix, stored_row  # noqa: E402
from undertow.compile import compile_graph  # noqa: E402
from undertow.ir.activations import Activation  # noqa: E402
from undertow.ir.graph import Graph, Value  # noqa: E402

#: file -> precision, smoothed
SAMPLES = {"int16": ("int16", False), "smoothed_int16": ("int16", True), "smoothed_int8": ("int8", True)}
K, H, IDS = 259, 3, 4


def numbers(*shape: int, seed: int) -> np.ndarray:
    """Multiples of 1/64 between -1 and 1."""
    n = np.arange(int(np.prod(shape)), dtype=np.int64) + seed
    return ((n * n * 7 + n * 3) % 129 - 64).reshape(shape).astype(np.float32) / 64


def weights() -> dict[str, np.ndarray]:
    """By letter: a table (IDS, 3), dense D (H, K) with b, W (H, H + 3) and R (H, H); in each matrix, one column is as
    small as it may be smoothed."""
    w = {
        "table": numbers(IDS, 3, seed=1),
        "D": numbers(H, K, seed=2) * np.float32(0.125),
        "b": numbers(H, seed=3),
        "W": numbers(H, H + 3, seed=4),
        "R": numbers(H, H, seed=5) * np.float32(0.5),
    }
    for key in "DWR":
        w[key][:, w[key].shape[1] // 2] *= np.float32(2.0**-36)
    return w


def exponents(n: int, is_smoothed: bool) -> np.ndarray | None:
    """From 0 to 9, and for one column as many as there may be."""
    if not is_smoothed:
        return None
    smoothing = 3 * np.arange(n) % 10
    smoothing[n // 2] = 40
    return smoothing


def graph(name: str) -> Graph:
    precision, is_smoothed = SAMPLES[name]
    w, g = weights(), Graph(name)

    def stored(**of: int) -> dict:
        smoothing = {key: exponents(n, is_smoothed) for key, n in of.items()} if is_smoothed else {}
        return {"precisions": dict.fromkeys(of, precision), "smoothing": smoothing}

    x, ids = g.input("x", K), g.input("ids", (), "int32")
    g.values[ids] = Value(ids, (), "int32", False, IDS)
    e = g.add("embedding", [ids], name="table", weights={"table": w["table"]}, precisions={"table": precision})
    d = g.add("dense", [x], name="dense", weights={"W": w["D"], "b": w["b"]}, **stored(W=K))
    both = g.add("concat", [d, e])
    h = g.add(
        "rnn",
        [both],
        name="rnn",
        attrs={"activations": (Activation("identity"),)},
        weights={"W": w["W"][None], "R": w["R"][None]},
        states=[g.state("rnn.h", (H,))],
        **stored(W=H + 3, R=H),
    )
    g.output("d", d)
    g.output("h", h)
    return g


def frames() -> dict[str, np.ndarray]:
    """Ordinary ones, silence, loud columns, tiny and huge numbers, ties."""
    x = numbers(9, K, seed=7)
    x[1] = 0
    x[2] *= np.float32(2.0**-90)
    x[3, 5] = 1000
    x[4] *= np.float32(1e30)
    x[5, 129] = 3e38  # the column that is smoothed most
    x[6] = np.arange(K) % 127 + 0.5
    x[7] = np.float32(2.0**-101)
    return {"x": x, "ids": (np.arange(9) % IDS).astype(np.int32)}


def expected(name: str) -> dict[str, np.ndarray]:
    precision, is_smoothed = SAMPLES[name]
    w, X = weights(), frames()
    dense, W, R = (Matrix(w[key], precision, exponents(w[key].shape[1], is_smoothed)) for key in "DWR")
    table = [stored_row(row, precision) for row in w["table"]]
    h, found = np.zeros(H, np.float32), {"d": [], "h": []}
    for x, i in zip(X["x"], X["ids"], strict=True):
        d = dense.times(x, w["b"])
        h = (W.times(np.concatenate([d, table[i]])) + R.times(h)).astype(np.float32)
        found["d"].append(d)
        found["h"].append(h)
    return {key: np.array(y, np.float32) for key, y in found.items()}


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for name in SAMPLES:
        path = HERE / f"{name}.tow"
        data = compile_graph(graph(name))
        if path.exists():
            print(f"{path.name}: {'the same bytes' if path.read_bytes() == data else 'OTHER BYTES than those kept'}")
        else:
            path.write_bytes(data)
    if not (HERE / "expected.npz").exists():
        of_all = {f"{name}/{key}": y for name in SAMPLES for key, y in expected(name).items()}
        np.savez_compressed(HERE / "expected.npz", **of_all)


if __name__ == "__main__":
    main()
