# SPDX-License-Identifier: MIT
"""Real networks in formats of their own, and networks whose wiring is written by hand.

The files belong to other projects and lie outside the repository: UNDERTOW_MODELS names their folder.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

import undertow
from tolerances import FLOAT32_MODEL


def check(model, X, want):
    """Whole, step by step and in uneven chunks: equal bits, and close to `want`."""
    whole = model.run(X)
    stream = model.stream()
    np.testing.assert_array_equal(np.stack([stream.step(x) for x in X]), whole)
    stream.reset()
    cuts = [0, 1, 18, len(X) // 2, len(X)]
    parts = [stream.run(X[a:b]) for a, b in pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    error = np.abs(whole.reshape(want.shape) - want).max()
    print(f"\n{model.isa}: largest error {error:.3g}, outputs up to {np.abs(want).max():.3g}")
    assert error <= FLOAT32_MODEL


def test_an_amplifier_starts_where_its_file_says(models_dir, isa):
    folder = models_dir / "stage2" / "nam-lstm"
    model = undertow.load(folder / "lstm.nam", isa=isa)
    assert model.isa == isa
    with np.load(folder / "lstm_expected_numpy64.npz") as data:
        check(model, data["input"], data["output"])
