# SPDX-License-Identifier: MIT
"""Random Loops over time, against ONNX Runtime (`python tests/random_loops.py 0 1000` tries more)."""

from __future__ import annotations

import pytest

from random_loops import CELLS, ENDS, PICKS, RESULTS, I, RandomLoop

SEEDS = range(64, 136)
#: nodes of the Graph at most, rounds of the inner loop written out: a loop walks time, and is none of copies
MOST = 48


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_loop_walks_time(seed: int) -> None:
    loop = RandomLoop(seed)
    model = loop.check()
    assert model.inputs["x"].shape == (I,)
    assert len(model.graph.nodes) <= MOST
    assert model.n_parameters <= sum(array.size for array in loop.weights.values() if array.dtype.kind == "f") + MOST


def test_all_forms_are_tried() -> None:
    kinds = [RandomLoop(seed).kind for seed in SEEDS]
    for what, forms in (("pick", PICKS), ("cell", CELLS), ("end", ENDS), ("result", RESULTS)):
        assert {kind[what] for kind in kinds} == set(forms)
