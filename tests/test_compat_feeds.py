# SPDX-License-Identifier: MIT
# ruff: noqa: E402 (imports follow the check that an optional package is there)
"""What a call is fed with beside frames and states: weights, ids from the end, single numbers, names of any kind."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_files import FLOAT, helper, node, numpy_helper, onnxruntime

peer = onnxruntime()
from sessions import H, both, feeds, recurrent, same


@pytest.mark.parametrize("T", [1, "T"])
def test_names_of_states_say_nothing_of_a_call(T, rng):
    """Outputs that are called like what returns a state, and return another one, or a changed one."""
    changed = recurrent("LSTM", T, 1)
    changed.graph.node[0].output[1] = "end"
    changed.graph.node.append(node("Mul", "end end", "hn"))
    crosswise = recurrent("LSTM", T, 1)
    crosswise.graph.node[0].output[1:] = ["cn", "hn"]
    beside = recurrent("LSTM", T, 1)
    beside.graph.node[0].output[1] = "end"
    beside.graph.node.append(node("Mul", "end h", "hn"))
    for source in (changed, crosswise, beside):
        mine, theirs = both(source)
        feed = feeds(rng, theirs, T=1 if T == 1 else 4)
        same(mine.run(None, feed), theirs.run(None, feed))


def test_a_batch_that_is_folded_into_rows(rng):
    """As by an exporter that wrote down two timesteps where it was called with two."""
    source = recurrent("GRU", "T", "N")
    source.graph.node.append(node("Reshape", "Y rows", "y"))
    source.graph.initializer.append(numpy_helper.from_array(np.array([2, -1, H]), "rows"))
    source.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, [2, "R", H]))
    mine, theirs = both(source)
    for T, N in ((2, 3), (4, 3), (6, 2), (1, 2)):
        feed = feeds(rng, theirs, T=T, N=N)
        same(mine.run(None, feed), theirs.run(None, feed))
