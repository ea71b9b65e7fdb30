# SPDX-License-Identifier: MIT
"""Makes tests/data/keras_matrix.tar.xz: the networks of tests/keras_nets.py, saved by Keras itself in both of its
formats, and expected.npz, what Keras computes for them.

    KERAS_BACKEND=torch python tests/data/generate_keras_matrix.py
    python tests/data/generate_keras_matrix.py tf_keras

The second line makes keras2_matrix.tar.xz: the same by Keras 2, as tf_keras goes on with it. Seed 20240608. Made with
keras 3.15.1, torch 2.13.0, h5py 3.16.0, NumPy 2.4.6; tf_keras 2.21.0, tensorflow 2.21.0. One archive, for its files are
alike: alone they would take ten times as much. Nothing in them is changed.
"""

from __future__ import annotations

import importlib
import io
import lzma
import os
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")
sys.path.insert(0, str(Path(__file__).parent.parent))

SEED = 20240608
OUT = {"keras": "keras_matrix.tar.xz", "tf_keras": "keras2_matrix.tar.xz"}
#: timesteps where a network leaves their number open
T = 8
#: ids of words; 0 is padding, and hides timesteps
IDS = (1, 12)


def main(package: str) -> None:
    keras = sys.modules["keras"] = importlib.import_module(package)
    nets = importlib.import_module("keras_nets").NETS
    rng = np.random.default_rng(SEED)
    arrays: dict[str, np.ndarray] = {}
    files: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, build in nets.items():
            keras.utils.set_random_seed(SEED)
            keras.backend.clear_session()
            model = build()
            for w in model.weights:
                path = getattr(w, "path", w.name)
                if "seed" not in path and "state" not in path and w.dtype == "float32":
                    value = rng.normal(size=w.shape) * 0.5
                    # few digits, for files are compressed
                    w.assign(np.round(abs(value) + 0.5 if "variance" in path else value, 2).astype(np.float32))
            for suffix in ("keras", "h5"):
                path = Path(folder) / f"{name}.{suffix}"
                try:
                    model.save(path)
                except TypeError as error:  # Keras 2 cannot write `...`
                    print(f"{path.name} is not saved: {error}")
                else:
                    files[path.name] = path.read_bytes()
            given = {}
            for x in model.inputs:
                shape = [n or T for n in x.shape[1:]]
                whole = rng.integers(*IDS, size=shape).astype(np.int32)
                given[x.name] = whole if x.dtype == "int32" else np.round(rng.normal(size=shape), 2).astype(np.float32)
            batched = [x[None] for x in given.values()]
            results = model.predict(batched if len(batched) > 1 else batched[0], verbose=0)
            results = results if isinstance(results, dict) else {"y": results}
            arrays |= {f"{name}/in/{k}": v for k, v in given.items()}
            arrays |= {f"{name}/out/{k}": v[0].astype(np.float32) for k, v in results.items()}
    expected = io.BytesIO()
    np.savez(expected, **arrays)
    files["expected.npz"] = expected.getvalue()
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        # alike beside alike
        for name in sorted(files, key=lambda name: name.partition(".")[::-1]):
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            archive.addfile(info, io.BytesIO(files[name]))
    (Path(__file__).parent / OUT[package]).write_bytes(lzma.compress(plain.getvalue(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main(*sys.argv[1:] or ["keras"])
