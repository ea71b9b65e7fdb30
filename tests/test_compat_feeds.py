# SPDX-License-Identifier: MIT
# ruff: noqa: E402 (imports follow the check that an optional package is there)
"""What a call is fed with beside frames and states: weights, ids from the end, single numbers, names of any kind."""

from __future__ import annotations

import numpy as np
import pytest

import undertow
from onnx_files import (
    FLOAT,
    INT64,
    bytes_of,
    cell,
    graph_of,
    helper,
    info,
    model_of,
    node,
    numpy_helper,
    onnxruntime,
    peer,
    random,
)

onnxruntime()
import undertow.compat.onnxruntime as ours
from sessions import H, X, both, feeds, recurrent, same


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


# -- weights -------------------------------------------------------------------------------------------------------


def alike(sessions, feed, **limits):
    same(*(session.run(None, feed) for session in sessions), **limits)


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_weights_that_every_call_brings(op, rng):
    source = recurrent(op, "T", "N")
    shapes = {tensor.name: list(tensor.dims) for tensor in source.graph.initializer}
    del source.graph.initializer[:]
    source.graph.input.extend(helper.make_tensor_value_info(n, FLOAT, s) for n, s in shapes.items())
    sessions = both(source)
    weights = {n: random(rng, *s) for n, s in shapes.items()}
    for T, N in ((3, 2), (1, 1), (1, 1)):
        frames = feeds(rng, sessions[1], T=T, N=N)
        alike(sessions, {**frames, **weights})
        alike(sessions, frames)  # which has weights of its own
    assert len(sessions[0]._file._plans) == 4


def test_weights_of_the_file_in_place_of_which_others_are_fed(rng):
    weights = {**cell(rng, "GRU", X, H), "K": random(rng, H, X, 2), "shift": random(rng, X)}
    nodes = [
        node("Add", "x shift", "shifted"),
        node("GRU", "shifted W R", "Y", hidden_size=H),
        node("Transpose", "x", "lines", perm=[1, 2, 0]),
        node("Conv", "lines K", "z"),
    ]
    source = model_of(nodes, {"x": ["T", "N", X]}, {"Y": ["T", 1, "N", H], "z": ["N", H, "S"]}, weights)
    source.graph.input.extend(
        helper.make_tensor_value_info(name, FLOAT, weights[name].shape) for name in ("R", "K", "shift")
    )
    mine, theirs = sessions = both(source)
    assert [(n.name, n.type, n.shape) for n in mine.get_overridable_initializers()] == [
        (n.name, n.type, n.shape) for n in theirs.get_overridable_initializers()
    ]
    for names in ([], ["R"], ["K", "shift"], ["shift"], ["R", "K", "shift"], []):
        alike(sessions, {**feeds(rng, theirs, T=4, N=2), **{n: random(rng, *weights[n].shape) for n in names}})
    with pytest.raises(ours.InvalidArgument, match="Got invalid dimensions for input: 'shift'"):
        mine.run(None, {"x": random(rng, 4, 1, X), "shift": random(rng, 1)})
    with pytest.raises(ours.InvalidArgument, match="Invalid input name: 'W'"):  # which is none of its inputs
        mine.run(None, {"x": random(rng, 4, 1, X), "W": weights["W"]})


# -- ids and single numbers ----------------------------------------------------------------------------------------


def test_ids_below_0_count_from_the_end(rng):
    nodes = [node("Gather", "table ids", "x"), node("Gather", "other ids", "z"), node("Tanh", "x", "y")]
    weights = {"table": random(rng, 9, X), "other": random(rng, 9)}
    source = model_of(nodes, {"ids": (["T"], INT64)}, {"y": ["T", X], "z": ["T"]}, weights)
    mine, theirs = sessions = both(source)
    for ids in ([0, 8], [-1, 3], [-9, -8], [-1], [4]):
        alike(sessions, {"ids": np.array(ids)})
    for ids in ([-10, 0], [9]):
        for session, error in ((mine, ours.InvalidArgument), (theirs, Exception)):
            with pytest.raises(error, match=r"ids|indices"):
                session.run(None, {"ids": np.array(ids)})


def test_ids_of_tables_of_other_sizes_do_not_count_from_the_end(rng):
    nodes = [node("Gather", "table ids", "x"), node("Gather", "other ids", "z"), node("Add", "x z", "y")]
    weights = {"table": random(rng, 9, X), "other": random(rng, 12, X)}
    mine, theirs = both(model_of(nodes, {"ids": (["T"], INT64)}, {"y": ["T", X]}, weights))
    alike((mine, theirs), {"ids": np.array([8, 0])})
    with pytest.raises(ours.InvalidArgument, match="holds ids of 0 to 8, got -1"):
        mine.run(None, {"ids": np.array([-1])})


@pytest.mark.parametrize("N", [1, "N"])
def test_single_numbers_with_axes(N, rng):
    sessions = both(model_of([node("Mul", "x gain", "y")], {"x": [N, X], "gain": []}, {"y": [N, X]}))
    for shape in ((), (1,), (1, 1), (1, 1, 1), ()):
        alike(sessions, {"x": random(rng, 1 if N == 1 else 3, X), "gain": np.full(shape, 2, np.float32)})


@pytest.mark.parametrize("directions", [[0], [1], None])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_scan_of_operator_set_8(batch, directions, rng):
    """Which has a batch, and a place for lengths: supported as a loop over one item."""
    body = graph_of(
        [node("Add", "sum x", "total"), node("Mul", "total x", "row")], [info("sum", [X]), info("x", [X])],
        [info("total", [X]), info("row", [X])],
    )  # fmt: skip
    settings = {} if directions is None else {"directions": directions}
    scan = helper.make_node("Scan", ["", "start", "xs"], ["end", "rows"], body=body, num_scan_inputs=1, **settings)
    source = model_of(
        [scan], {"start": [batch, X], "xs": [batch, "T", X]}, {"end": [batch, X], "rows": [batch, "T", X]}
    )
    source.opset_import[0].version, source.ir_version = 8, 3
    mine, theirs = sessions = both(source)
    feed = {"start": random(rng, batch, X), "xs": random(rng, batch, 5, X)}
    if batch == 1:
        alike(sessions, feed)
        return
    theirs.run(None, feed)
    with pytest.raises(undertow.UnsupportedError, match=r"operator set 8.*with a batch of 1 and no lengths"):
        mine.run(None, feed)


# -- sizes that do not go together ---------------------------------------------------------------------------------


def test_batches_that_differ(rng):
    """Of a node that takes no such states they are refused; a product of tensors broadcasts them, which is said."""
    mine, theirs = both(recurrent("GRU", "T", "N"))
    for session, error in ((mine, undertow.ShapeError), (theirs, Exception)):
        with pytest.raises(error, match="initial_h"):
            session.run(None, {"x": random(rng, 2, 3, X), "h": random(rng, 1, 1, H)})
    sessions = both(model_of([node("Mul", "x h", "y")], {"x": ["N", X], "h": ["N", X]}, {"y": ["N", X]}))
    with pytest.warns(undertow.ModelWarning, match=r"'N' is 3 in input 'x' and 1 in 'h'"):
        alike(sessions, {"x": random(rng, 3, X), "h": random(rng, 1, X)})


def test_what_is_added_to_a_product_may_not_widen_it(rng):
    source = model_of(
        [node("Gemm", "x W c", "y")], {"x": [1, X], "c": [2, H]}, {"y": ["N", H]}, {"W": random(rng, X, H)}
    )
    feed = {"x": random(rng, 1, X), "c": random(rng, 2, H)}
    with pytest.raises(Exception, match="Gemm"):
        peer(source, feed)
    with pytest.raises(undertow.ShapeError, match=r"C has shape \(2, 6\), expected \(1, 6\), or 1 along an axis"):
        ours.InferenceSession(bytes_of(source)).run(None, feed)
