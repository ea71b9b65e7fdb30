# SPDX-License-Identifier: MIT
# ruff: noqa: E402 (imports follow the check that an optional package is there)
"""Calls of any sizes: to the bit what each item gives alone, whatever the axes, the dtypes and the threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from onnx_files import bytes_of, cell, helper, model_of, node, onnxruntime, random
from tolerances import FLOAT32_PEER

peer = onnxruntime()
import undertow.compat.onnxruntime as ours

H, X = 6, 5
INT64, FLOAT16 = helper.TensorProto.INT64, helper.TensorProto.FLOAT16


def carried():
    """A batch of sequences whose states are given, layers before items."""
    weights = cell(np.random.default_rng(3), "LSTM", X, H, bias=True)
    nodes = [helper.make_node("LSTM", ["x", "W", "R", "B", "", "h", "c"], ["Y", "hn", "cn"], hidden_size=H)]
    inputs = {"x": ["T", "N", X], "h": [1, "N", H], "c": [1, "N", H]}
    outputs = {"Y": ["T", 1, "N", H], "hn": [1, "N", H], "cn": [1, "N", H]}
    return model_of(nodes, inputs, outputs, weights)


def halves():
    """Ids and float16 come in, integers and float16 go out."""
    rng = np.random.default_rng(7)
    weights = {name: (w / 2).astype(np.float16) for name, w in cell(rng, "GRU", X, H).items()}
    weights["table"] = random(rng, 9, X).astype(np.float16)
    nodes = [
        node("Gather", "table id", "e"),
        node("Add", "e x", "s"),
        node("Transpose", "s", "st", perm=[1, 0, 2]),
        helper.make_node("GRU", ["st", "W", "R"], ["Y", "hn"], hidden_size=H),
        node("Squeeze", "Y axis1", "q"),
        node("Transpose", "q", "y", perm=[1, 0, 2]),
        node("ArgMax", "y", "best", axis=2, keepdims=0),
    ]
    weights["axis1"] = np.array([1], np.int64)
    inputs = {"id": (["N", "T"], INT64), "x": (["N", "T", X], FLOAT16)}
    outputs = {"y": (["N", "T", H], FLOAT16), "best": (["N", "T"], INT64), "hn": ([1, "N", H], FLOAT16)}
    return model_of(nodes, inputs, outputs, weights)


def windows():
    """Channels before timesteps, two of them ahead, and the last and the second timestep as outputs of their own."""
    nodes = [
        node("Conv", "x K", "y", pads=[2, 2]),
        node("Gather", "y last", "end", axis=2),
        node("Transpose", "y", "turned", perm=[2, 0, 1]),
    ]
    weights = {"K": random(np.random.default_rng(4), 3, X, 5), "last": np.array(-1, np.int64)}
    outputs = {"y": ["N", 3, "T"], "end": ["N", 3], "turned": ["T", "N", 3]}
    return model_of(nodes, {"x": ["N", X, "T"]}, outputs, weights)


def both_ways():
    weights = cell(np.random.default_rng(5), "GRU", X, H, directions=2)
    nodes = [
        node("Transpose", "x", "xt", perm=[1, 0, 2]),
        helper.make_node("GRU", ["xt", "W", "R", "", "", "h"], ["Y", "hn"], hidden_size=H, direction="bidirectional"),
        node("Transpose", "Y", "y", perm=[2, 0, 1, 3]),
    ]
    inputs = {"x": ["N", "T", X], "h": [2, "N", H]}
    return model_of(nodes, inputs, {"y": ["N", "T", 2, H], "hn": [2, "N", H]}, weights)


def alone():
    weights = cell(np.random.default_rng(6), "RNN", X, H, directions=2)
    nodes = [node("RNN", "x W R", "Y", hidden_size=H, direction="bidirectional")]
    return model_of(nodes, {"x": ["T", "N", X]}, {"Y": ["T", 2, "N", H]}, weights)


SIZES = [(1, 1), (9, 1), (1, 5), (4, 3), (2, 60), (7, 1)]
MAKERS = [carried, windows, both_ways, alone, halves]


def feeds(rng, session, **sizes):
    feed = {}
    for port in session.get_inputs():
        shape = [sizes.get(n, n) for n in port.shape]
        feed[port.name] = rng.integers(0, 9, shape) if port.type == "tensor(int64)" else random(rng, *shape)
    return {n: a.astype(np.float16) if "float16" in types(session)[n] else a for n, a in feed.items()}


def types(session):
    return {port.name: port.type for port in session.get_inputs()}


@pytest.mark.parametrize("make", MAKERS)
def test_one_call_takes_any_sizes(make, rng):
    """To the bit what the long way gives, which goes from item to item."""
    mine = ours.InferenceSession(bytes_of(make()))
    for T, N in SIZES:
        feed = feeds(rng, mine, T=T, N=N)
        short, again = mine.run(None, feed), mine._call(feed)
        long = mine._file.plan(mine._checked(feed))._run(feed, T, N)
        for a, b, c in zip(short, again, long.values(), strict=True):
            assert (a.shape, a.tobytes()) == (b.shape, b.tobytes()) == (c.shape, c.astype(a.dtype).tobytes())
            assert not any(np.shares_memory(a, other) for other in [*feed.values(), b])
        asked = [port.name for port in mine.get_outputs()][::-1]
        assert [a.tobytes() for a in mine._call(feed, asked)] == [a.tobytes() for a in short[::-1]]


@pytest.mark.parametrize("make", [carried, windows, both_ways, alone])
def test_sizes_in_turn_give_the_peers_numbers(make, rng):
    mine, theirs = ours.InferenceSession(bytes_of(make())), peer.InferenceSession(bytes_of(make()))
    for T, N in SIZES:
        feed = feeds(rng, mine, T=T, N=N)
        for a, b in zip(mine.run(None, feed), theirs.run(None, feed), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=0, atol=FLOAT32_PEER)


def test_what_a_call_does_not_take_it_leaves_to_others(rng):
    mine = ours.InferenceSession(bytes_of(carried()))
    feed = feeds(rng, mine, T=4, N=3)
    mine.run(None, feed)
    assert mine._call(feed) is not None
    for wrong in (
        {"x": feed["x"][:, :2]},
        {"x": feed["x"][:0]},
        {"x": feed["x"].astype(np.float64)},
        {"x": feed["x"][::2]},
        {"h": feed["h"][0]},
        {"c": None},
    ):
        assert mine._call({**feed, **wrong}) is None
    assert mine._call(feed, ["none"]) is None and mine._call(feed, "Y") is None


@pytest.mark.parametrize("make", [carried, both_ways, alone])
def test_threads_call_with_sizes_of_their_own(make, rng):
    mine = ours.InferenceSession(bytes_of(make()))
    of_threads = [feeds(rng, mine, T=T, N=N) for T, N in SIZES]
    expected = [[a.tobytes() for a in mine.run(None, feed)] for feed in of_threads]

    def work(number):
        return all([a.tobytes() for a in mine.run(None, of_threads[number])] == expected[number] for _ in range(60))

    with ThreadPoolExecutor(len(SIZES)) as threads:
        assert all(threads.map(work, range(len(SIZES))))


# -- layers that start from what is computed ------------------------------------------------------------------------


def started(op="LSTM", n_layers=2, directions=1):
    """Layers of which each starts from parts of a product with an input of its own."""
    rng, states = np.random.default_rng(8), ["h", "c"] if op == "LSTM" else ["h"]
    width = directions * H
    direction = "bidirectional" if directions == 2 else "forward"
    weights = {"axis": np.array([2], np.int64), "shape": np.array([0, 0, -1], np.int64)}
    nodes, x, n_inputs = [node("Transpose", "x", "x0", perm=[1, 0, 2])], "x0", X
    for layer in range(n_layers):
        names = [f"{name}{layer}" for name in states]
        for name in names:
            weights[f"D{name}"] = random(rng, 3, directions * H)
            weights["split"] = np.array([-1, directions, H], np.int64)
            nodes += [
                node("MatMul", f"z D{name}", f"p{name}"),
                node("Reshape", f"p{name} split", f"s{name}"),
                node("Transpose", f"s{name}", name, perm=[1, 0, 2]),
            ]
        weights |= {f"{n}{layer}": w for n, w in cell(rng, op, n_inputs, H, directions=directions).items()}
        inputs = [x, f"W{layer}", f"R{layer}", "", "", *names]
        nodes += [
            helper.make_node(op, inputs, [f"Y{layer}"], hidden_size=H, direction=direction),
            node("Transpose", f"Y{layer}", f"t{layer}", perm=[0, 2, 1, 3]),
            node("Reshape", f"t{layer} shape", f"x{layer + 1}"),
        ]
        x, n_inputs = f"x{layer + 1}", width
    nodes.append(node("Transpose", x, "y", perm=[1, 0, 2]))
    return model_of(nodes, {"x": ["N", "T", X], "z": ["N", 3]}, {"y": ["N", "T", width]}, weights)


def translator():
    """A layer that starts from where another one ended, and walks an input of another length."""
    rng = np.random.default_rng(9)
    weights = {f"{n}{k}": w for k, size in enumerate((X, 3)) for n, w in cell(rng, "GRU", size, H).items()}
    nodes = [
        helper.make_node("GRU", ["x", "W0", "R0"], ["", "h"], hidden_size=H),
        node("Tanh", "h", "start"),
        helper.make_node("GRU", ["z", "W1", "R1", "", "", "start"], ["Y", "hn"], hidden_size=H),
    ]
    inputs = {"x": ["S", "N", X], "z": ["T", "N", 3]}
    return model_of(nodes, inputs, {"Y": ["T", 1, "N", H], "hn": [1, "N", H]}, weights)


@pytest.mark.parametrize(
    "make",
    [started, lambda: started("GRU", 1), lambda: started("RNN", 1, 2), translator],
    ids=["LSTM of two layers", "GRU", "RNN both ways", "encoder and decoder"],
)
def test_layers_that_start_from_what_is_computed_have_one_plan_for_all_lengths(make, rng):
    mine, theirs = ours.InferenceSession(bytes_of(make())), peer.InferenceSession(bytes_of(make()))
    for T, N in ((2, 1), (9, 1), (5, 3), (1, 1), (7, 2)):
        feed = feeds(rng, mine, T=T, N=N, S=4)
        short, again = mine.run(None, feed), mine._call(feed)
        for a, b, expected in zip(short, again, theirs.run(None, feed), strict=True):
            assert (a.shape, a.dtype, a.tobytes()) == (expected.shape, expected.dtype, b.tobytes())
            np.testing.assert_allclose(a, expected, rtol=0, atol=FLOAT32_PEER)
            assert not np.shares_memory(a, b)
    assert len(mine._file._plans) == 1
    assert mine._call({**feed, "x": feed["x"][:0]}) is None and mine._call([]) is None


# -- lengths of sequences --------------------------------------------------------------------------------------------


def padded(op, direction="forward"):
    directions = 2 if direction == "bidirectional" else 1
    weights = cell(np.random.default_rng(10), op, X, H, directions=directions, bias=True)
    nodes = [
        helper.make_node(op, ["x", "W", "R", "B", "n"], ["Y", "hn"], hidden_size=H, direction=direction),
        node("Tanh", "hn", "end"),
    ]
    inputs = {"x": ["T", "N", X], "n": (["N"], helper.TensorProto.INT32)}
    outputs = {"Y": ["T", directions, "N", H], "hn": [directions, "N", H], "end": [directions, "N", H]}
    return model_of(nodes, inputs, outputs, weights)


@pytest.mark.parametrize("op", ["LSTM", "GRU"])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_lengths_in_batches_of_any_size(op, direction, rng):
    mine, theirs = (each.InferenceSession(bytes_of(padded(op, direction))) for each in (ours, peer))
    for T, lengths in ((5, [5, 2, 3]), (9, [9]), (9, [4]), (9, [9, 9]), (3, [1, 3, 2, 3, 1]), (5, [2, 5, 1])):
        feed = {"x": random(rng, T, len(lengths), X), "n": np.array(lengths, np.int32)}
        short, again = mine.run(None, feed), mine._call(feed)
        long = mine._file.plan(feed)._run(feed, T, len(lengths))
        for a, b, c, expected in zip(short, again, long.values(), theirs.run(None, feed), strict=True):
            assert (a.shape, a.tobytes()) == (b.shape, b.tobytes()) == (c.shape, c.tobytes())
            np.testing.assert_allclose(a, expected, rtol=0, atol=FLOAT32_PEER)
    assert len(mine._file._plans) == 1
    for wrong in ([2, 6, 1], [2, -1, 1], [2, 5]):
        assert mine._call({**feed, "n": np.array(wrong, np.int32)}) is None
    with pytest.raises(ours.InvalidArgument, match="gives length 6, expected 0 to 5"):
        mine.run(None, {**feed, "n": np.array([2, 6, 1], np.int32)})


def test_lengths_that_mask_are_heeded(rng):
    """Of a file whose lengths are no sequence_lens: masks and divisors are made of them."""
    weights = {**cell(rng, "GRU", X, H), "zero": np.array(0), "one": np.array(1), "at": np.array([1])}
    weights["axis2"] = np.array([2])
    nodes = [
        node("Transpose", "x", "xt", perm=[1, 0, 2]),
        helper.make_node("GRU", ["xt", "W", "R"], ["Y"], hidden_size=H),
        node("Squeeze", "Y at", "q"),
        node("Transpose", "q", "h", perm=[1, 0, 2]),
        node("Shape", "x", "shape"),
        node("Gather", "shape one", "steps", axis=0),
        node("Range", "zero steps one", "numbers"),
        node("Unsqueeze", "n at", "column"),
        node("Less", "numbers column", "mask"),
        node("Unsqueeze", "mask axis2", "deep"),
        node("Cast", "deep", "factors", to=1),
        node("Mul", "h factors", "masked"),
        node("ReduceSum", "masked at", "total", keepdims=0),
        node("Cast", "column", "divisor", to=1),
        node("Div", "total divisor", "y"),
    ]
    source = model_of(nodes, {"x": ["N", "T", X], "n": (["N"], INT64)}, {"y": ["N", H]}, weights)
    mine, theirs = ours.InferenceSession(bytes_of(source)), peer.InferenceSession(bytes_of(source))
    for T, lengths in ((6, [6, 6]), (4, [4]), (6, [6, 2]), (5, [3]), (5, [5, 5, 5]), (6, [1, 6])):
        feed = {"x": random(rng, len(lengths), T, X), "n": np.array(lengths)}
        for _ in range(2):
            (got,), (expected,) = mine.run(None, feed), theirs.run(None, feed)
            np.testing.assert_allclose(got, expected, rtol=0, atol=FLOAT32_PEER)
