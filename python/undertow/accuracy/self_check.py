# SPDX-License-Identifier: MIT
"""Does this build compute here what it computes elsewhere? The example model, on every instruction set that runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import reference
from ..model import Model
from .bits import fingerprint, results, runnable

#: of what examples/digits.tow gives for `frames`, on every CPU
EXPECTED = "aac73046fda08c7054a24ea185af56d4"
#: far above what float32 loses there, far below what a wrong kernel does
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Row:
    """What one instruction set gives.

    Attributes:
        isa: its name.
        hash: of outputs and states.
        error: largest |output - float64 reference|.
        ok: whether both are what they must be.
    """

    isa: str
    hash: str
    error: float
    ok: bool


def frames(n_elements: int = 8, n_frames: int = 64) -> dict[str, np.ndarray]:
    """Frames that every machine has alike: pixels of 0 to 16, by a formula in integers."""
    pixels = np.arange(n_elements * n_frames, dtype=np.int64) ** 2 % 17
    return {"input": pixels.reshape(n_frames, n_elements).astype(np.float32)}


def self_check(path: Path) -> list[Row]:
    """Run the example model at `path` on each instruction set that is built in and runs here."""
    blob, X = path.read_bytes(), frames()
    expected = reference.run(Model(blob, "scalar").graph, X["input"])
    rows = []
    for isa in runnable():
        given = results(Model(blob, isa, check=True), X)
        error = float(np.abs(given["output/output"] - expected).max())
        digest = fingerprint(given)
        rows.append(Row(isa, digest, error, digest == EXPECTED and error <= TOLERANCE))
    return rows


__all__ = ["EXPECTED", "TOLERANCE", "Row", "frames", "self_check"]
