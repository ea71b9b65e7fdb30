# SPDX-License-Identifier: MIT
"""Models as they run on small boards, and the hash of what each gives, in a folder for run.py and bench/targets.py.

    python tests/targets/embedded.py FOLDER

Networks of random weights, in float32 and with reduced weights; and where UNDERTOW_EMBEDDED names a folder of ONNX
files of such networks, those, of which hashes are known: they were taken on AVX-512 VNNI.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

import undertow
from undertow.layers import GRU, LSTM, Dense, Sequential

PRECISIONS = ("float16", "int16", "int8", "int4", "fixed8")

#: of 16 steps, and of 160 after an impulse: (file, precision) -> hash
KNOWN = {
    ("lstm32", None): "3ad3398c",
    ("lstm32", "int8"): "6283e809",
    ("gru64", None): "231df0a2",
    ("gru64", "int8"): "c0544af8",
    ("lstm32", "fixed8"): "071bd60b",
    ("gru64", "fixed8"): "a7a12d92",
    ("amp", None): "741e2890",
    ("digits", None): "9c97b07a",
    ("digits", "int4"): "f6726e9b",
    ("digits", "float16"): "ea95e430",
    ("decay", None): "5650b875",
}


def step_hash(model: undertow.Model, n_steps: int = 16, impulse: bool = False) -> str:
    """FNV-1a over the bytes of the outputs of single steps, as program.cpp has it."""
    (given,) = model.inputs.values()
    stream = model.stream()
    state, value = 12345, 2166136261
    for t in range(n_steps):
        x = np.empty(int(np.prod(given.shape)), np.float32)
        for i in range(x.size):
            state = (state * 1664525 + 1013904223) % 2**32
            x[i] = (t == 0) if impulse else np.float32(state >> 16) * np.float32(1 / 32768) - np.float32(1)
        out = stream.step(x.reshape(given.shape))
        for byte in np.ascontiguousarray(out).tobytes():
            value = (value ^ byte) * 16777619 % 2**32
    return f"{value:08x}"


def networks() -> dict[str, undertow.Model]:
    """Those of bench/targets.py: random weights, as they are told from nothing else."""
    rng = np.random.default_rng(1)

    def weights(*shape: int) -> np.ndarray:
        return rng.uniform(-0.3, 0.3, shape).astype(np.float32)

    def lstm(n_in: int, n: int) -> undertow.Layer:
        return LSTM(weights(4 * n, n_in), weights(4 * n, n), weights(4 * n))

    def gru(n_in: int, n: int) -> undertow.Layer:
        return GRU(
            weights(3 * n, n_in), weights(3 * n, n), weights(3 * n), recurrent_bias=weights(3 * n), reset_after=True
        )

    stacks = {
        "lstm_32": [lstm(32, 32)],
        "gru_64": [gru(64, 64)],
        "gru_10_dense": [gru(1, 10), Dense(weights(1, 10), weights(1))],
        "lstm_32_dense": [lstm(1, 32), Dense(weights(1, 32), weights(1))],
    }
    return {name: Sequential(layers) for name, layers in stacks.items()}


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    lines = []

    def add(name: str, model: undertow.Model, known: str | None) -> None:
        model.save(folder / f"{name}.tow")
        got = step_hash(model, 160 if name == "decay" else 16, name == "decay")
        if known and got != known:
            raise SystemExit(f"{name}: this machine gives {got}, expected {known}")
        lines.append(f"{name} {got}")

    models = {"digits": undertow.load(undertow.example("digits"))} | networks()
    given = os.environ.get("UNDERTOW_EMBEDDED")
    for path in sorted(Path(given).glob("*")) if given else ():
        if path.suffix in (".onnx", ".tow"):
            models[path.stem] = undertow.load(path)
    if not given:
        print("UNDERTOW_EMBEDDED is not set: models of known hashes are left out, but for the package's own")
    for name, model in models.items():
        add(name, model, KNOWN.get((name, None)))
        for precision in PRECISIONS if name != "decay" else ():
            add(f"{name}_{precision}", model.with_weights(precision), KNOWN.get((name, precision)))
    (folder / "hashes.txt").write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} models in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
