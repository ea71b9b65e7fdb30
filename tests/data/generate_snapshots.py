# SPDX-License-Identifier: MIT
"""Makes tests/data/snapshots.npz: states of streams as this version saves them, and what it computes from there.

    python tests/data/generate_snapshots.py          (needs the installed package)

Seed 20261129; made with undertow 0.1.0, NumPy 2.4.6. What is in the file is never made anew: later versions are held
to it by tests/test_compatibility.py, and the script adds what is not there, for models of tests/data/tow that are new.

NAME/snapshot is the state after TAKEN frames, NAME/state/FIELD what the stream says of it, NAME/in/INPUT the next
frames and NAME/out/OUTPUT what they gave, for each streamable tests/data/tow/NAME.tow.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import undertow

SEED = 20261129
HERE = Path(__file__).parent
OUT = HERE / "snapshots.npz"
TAKEN, NEXT = 5, 3


def frames(model: undertow.Model, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        name: rng.integers(0, value.n_ids, (n, *value.shape)).astype(np.int32)
        if value.dtype == "int32"
        else rng.normal(size=(n, *value.shape)).astype(np.float32)
        for name, value in model.inputs.items()
    }


def sample(path: Path) -> dict[str, np.ndarray]:
    """What is kept of one model; nothing of one that needs whole sequences."""
    model, rng = undertow.load(path), np.random.default_rng(SEED)
    if not model.streamable:
        return {}
    stream = model.stream()
    stream.run(frames(model, TAKEN, rng))
    kept = {"snapshot": np.frombuffer(stream.snapshot(), np.uint8)}
    kept |= {f"state/{name}": np.asarray(stream.state[name]) for name in model.states}
    X = frames(model, NEXT, rng)
    Y = stream.run(X)
    outputs = Y if isinstance(Y, dict) else dict.fromkeys(model.outputs, Y)
    return kept | {f"in/{name}": x for name, x in X.items()} | {f"out/{name}": y for name, y in outputs.items()}


def main() -> None:
    kept = dict(np.load(OUT)) if OUT.exists() else {}
    for path in sorted((HERE / "tow").glob("*.tow")):
        if f"{path.stem}/snapshot" not in kept:
            kept |= {f"{path.stem}/{name}": array for name, array in sample(path).items()}
    np.savez_compressed(OUT, **kept)


if __name__ == "__main__":
    main()
