# SPDX-License-Identifier: MIT
"""Matrices pruned in blocks: the layout against slow loops over FORMAT.md, the engine's bits, and what is found."""

import json
import struct
from itertools import pairwise

import numpy as np
import pytest

import undertow
from networks import single, zoo
from test_tow import assert_equal_graphs
from undertow import tow
from undertow.cli import main
from undertow.compile import compile_graph
from undertow.ir.graph import Graph
from undertow.passes.precisions import with_weights
from undertow.passes.sparsify import with_blocks
from undertow.tow import packing, sparse
from undertow.tow.sizes import weight_bytes

NAMES = ["sparse float32", "sparse int8"]


def prune(W, keep, seed=0, rows=8, diagonal=True):
    """A copy of W (gates, rows, columns) without all but a share of its blocks of `rows` by 4, its diagonal spared."""
    rng = np.random.default_rng(seed)
    W, whole = W.copy(), W
    for gate in W:
        for r in range(0, gate.shape[0], rows):
            for k in range(0, gate.shape[1], 4):
                if rng.random() >= keep:
                    gate[r : r + rows, k : k + 4] = 0
    if diagonal and W.shape[1] == W.shape[2]:
        at = np.arange(W.shape[2])
        W[:, at, at] = whole[:, at, at]
    return W


def matrix(G, rows, K, seed=0):
    return np.random.default_rng(seed).normal(size=(G, rows, K)).astype(np.float32)


def pruned_cell(op, n_in, hidden, keep=0.3, **options):
    g = single(np.random.default_rng(3), op, n_in, hidden, **options)
    w = g.nodes[0].weights
    for seed, key in enumerate(("W", "R", "projection")):
        if key in w:
            w[key] = prune(w[key].reshape(-1, *w[key].shape[-2:]), keep, seed).reshape(w[key].shape)
    return g


CELLS = [
    ("rnn", {}),
    ("gru", {}),
    ("gru", {"reset_after": True}),
    ("lstm", {}),
    ("lstm", {"projection": 35}),
]
IDS = ["rnn", "gru", "gru_after", "lstm", "projected"]


# -- layout, byte by byte from csrc/FORMAT.md -----------------------------------------------------------------------


def slow_pack(W, name):
    integers = name == "sparse int8"
    G, rows, K = W.shape
    n_panels, n_columns = (rows + 15) // 16, (K + 3) // 4
    top = np.abs(W).max(axis=2)
    scale = top / np.float32(127)
    numbers = np.zeros((G, 16 * n_panels, 4 * n_columns), W.dtype)
    for g in range(G):
        for r in range(rows):
            for k in range(K):
                w = W[g, r, k]
                numbers[g, r, k] = round(float(w) / float(scale[g, r])) if integers and w else w

    def lists(spared):
        found = []
        for p in range(n_panels):
            for g in range(G):
                halves = []
                for half in (0, 8):
                    needed = []
                    for c in range(n_columns):
                        cells = [
                            numbers[g, r, k]
                            for r in range(16 * p + half, 16 * p + half + 8)
                            for k in range(4 * c, 4 * c + 4)
                            if not (spared and r == k)
                        ]
                        if any(cells):
                            needed.append(c)
                    halves.append(needed)
                n = max(map(len, halves))
                for needed in halves:
                    free = [c for c in range(n_columns) if c not in needed]
                    needed += free[: n - len(needed)]
                    needed.sort()
                found.append(list(zip(*halves, strict=True)))
        return found

    blocks = lists(False)
    spared = rows == K and sum(map(len, lists(True))) < sum(map(len, blocks))
    if spared:
        blocks = lists(True)
    out = bytearray()

    def aligned(data):
        out.extend(data + bytes(-len(data) % 64))

    starts = [sum(map(len, blocks[:i])) for i in range(len(blocks) + 1)]
    aligned(struct.pack(f"<{2 + len(blocks)}I", int(spared), *starts))
    aligned(b"".join(struct.pack("<HH", *pair) for found in blocks for pair in found))
    padded = [(p, g, i) for p in range(n_panels) for g in range(G) for i in range(16)]
    if spared:
        number = "<b" if integers else "<f"
        values = [numbers[g, 16 * p + i, 16 * p + i] if 16 * p + i < K else 0 for p, g, i in padded]
        aligned(b"".join(struct.pack(number, int(v) if integers else v) for v in values))
    weights, sums = bytearray(), []
    for i, found in enumerate(blocks):
        p, g = divmod(i, G)
        total = [0] * 16
        for pair in found:
            block = {}
            for lane in range(16):
                for j in range(4):
                    r, k = 16 * p + lane, 4 * pair[lane // 8] + j
                    block[lane, j] = 0 if spared and r == k else numbers[g, r, k]
                    total[lane] += block[lane, j]
            if integers:
                weights += b"".join(struct.pack("<b", int(block[lane, j])) for lane in range(16) for j in range(4))
            else:
                weights += b"".join(struct.pack("<f", block[lane, j]) for j in range(4) for lane in range(16))
        sums += total
    if integers:
        aligned(b"".join(struct.pack("<f", scale[g, 16 * p + i] if 16 * p + i < rows else 0) for p, g, i in padded))
        aligned(b"".join(struct.pack("<i", int(s)) for s in sums))
    return bytes(out + weights)


SHAPES = [(3, 19, 37), (1, 16, 32), (4, 1, 1), (2, 33, 4), (1, 17, 65), (3, 24, 24), (2, 21, 21)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("keep", [0, 0.05, 0.4, 1])
def test_layout(name, keep):
    for shape in SHAPES:
        W = prune(matrix(*shape), keep, seed=shape[1])
        flat = packing.pack(W, name)
        assert flat.tobytes() == slow_pack(W, name), shape
        assert packing.precision_of(flat) == name
        assert flat.nbytes == sparse.tensor_bytes(W, name)
        stored = packing.unpack(flat, *shape)
        expected = W if name == "sparse float32" else packing.unpack(packing.pack(W, "int8"), *shape)
        assert np.array_equal(stored, expected)
        assert packing.pack(stored, name).tobytes() == flat.tobytes()


def test_blocks_of_8_rows_cost_what_they_keep():
    W = matrix(1, 64, 64)
    for rows, expected in ((16, 0.3), (8, 0.34)):
        found = sparse.split(prune(W, 0.3, seed=7, rows=rows, diagonal=False)).density
        assert abs(found - expected) < 0.06, (rows, found)
    W = np.zeros((1, 32, 32), np.float32)
    W[:, range(32), range(32)] = 1
    assert sparse.split(W).density == 0 and sparse.split(W[:, :, :31]).density > 0
    assert sparse.split(matrix(2, 32, 32)).density == 1


# -- the engine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("op", "options"), CELLS, ids=IDS)
@pytest.mark.parametrize("hidden", [19, 50, 64])
def test_same_numbers_as_dense(op, options, hidden, isa):
    """int8: the same bits. float32: another order of sums. Both: the same bits in any chunks, on any ISA."""
    if options and hidden == 19:
        options = {key: 11 if key == "projection" else value for key, value in options.items()}
    X = np.random.default_rng(4).normal(size=(70, 23)).astype(np.float32)
    g = pruned_cell(op, 23, hidden, **options)
    g.outputs = {"y": next(iter(g.outputs.values()))}
    for name in NAMES:
        dense = undertow.Model.from_graph(with_weights(g, name.removeprefix("sparse ")), isa).run(X)
        model = undertow.Model.from_graph(with_weights(g, name), isa)
        got = model.run(X)
        assert model.isa == isa
        if name == "sparse int8":
            assert np.array_equal(got, dense)
        else:
            assert np.abs(got - dense).max() <= 1e-6
        stream = model.stream()
        assert np.array_equal(np.array([stream.step(x) for x in X]), got)
        stream.reset()
        cuts = [0, 1, 4, 33, 70]
        assert np.array_equal(np.concatenate([stream.run(X[a:b]) for a, b in pairwise(cuts)]), got)
        assert np.array_equal(undertow.Model.from_graph(with_weights(g, name), "scalar").run(X), got)


@pytest.mark.parametrize("shape", [(5, 9), (40, 40), (64, 130), (33, 2)])
def test_dense_layers(shape, isa):
    g = Graph("dense")
    W = prune(matrix(1, *shape), 0.4)[0]
    x = g.input("x", shape[1])
    g.output("y", g.add("dense", [x], name="head", weights={"W": W, "b": np.ones(shape[0])}))
    X = np.random.default_rng(5).normal(size=(31, shape[1])).astype(np.float32)
    X[3] = 0
    X[4] *= 1e30
    X[5] *= 1e-35
    run = lambda name: undertow.Model.from_graph(with_weights(g, name), isa).run(X)  # noqa: E731
    assert np.array_equal(run("sparse int8"), run("int8"))
    got, expected = run("sparse float32"), run("float32")
    # Each is a sum in float32, off by at most K + 1 roundings of the sum of magnitudes (Higham, "Accuracy and
    # stability of numerical algorithms", 3.1).
    bound = 2 * (shape[1] + 2) * 2.0**-24 * (np.abs(X.astype(np.float64)) @ np.abs(W.T.astype(np.float64)) + 1)
    assert (np.abs(got.astype(np.float64) - expected) <= bound).all()
    X[6:, 1] = [np.nan, np.inf, -np.inf, 3e38, *X[10:, 1]]
    assert np.array_equal(run("sparse int8"), run("int8"), equal_nan=True)


def test_a_column_that_is_not_stored_is_not_read(isa):
    W = np.ones((1, 32, 12), np.float32)
    W[0, :8, 4:8] = 0  # the other half of the panel has it
    W[0, 8:16, :4] = 0
    W[0, 16:, 4:8] = 0
    g = Graph("dense")
    g.output("y", g.add("dense", [g.input("x", 12)], weights={"W": W[0]}))
    x = np.ones((1, 12), np.float32)
    x[0, 5] = np.nan
    y = undertow.Model.from_graph(with_weights(g, "sparse float32"), isa).run(x)[0]
    assert np.array_equal(np.isnan(y), np.arange(32) // 8 == 1)
    assert np.isnan(undertow.Model.from_graph(with_weights(g, "sparse int8"), isa).run(x)).all()


def test_matrices_of_nothing(isa):
    g = single(np.random.default_rng(0), "lstm", 6, 20)
    g.outputs = {"y": next(iter(g.outputs.values()))}
    for key in ("W", "R"):
        g.nodes[0].weights[key][:] = 0
    X = np.ones((9, 6), np.float32)
    expected = undertow.Model.from_graph(g, isa).run(X)
    for name in NAMES:
        assert np.array_equal(undertow.Model.from_graph(with_weights(g, name), isa).run(X), expected)


# -- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("op", "options"), CELLS, ids=IDS)
def test_files(op, options, name):
    reduced = with_weights(pruned_cell(op, 23, 50, **options), name)
    blob = compile_graph(reduced)
    again = tow.read(blob)
    assert [n.precisions for n in again.nodes] == [n.precisions for n in reduced.nodes]
    assert set(again.nodes[0].precisions.values()) == {name}
    assert compile_graph(again) == blob
    if name == "sparse float32":
        assert_equal_graphs(reduced, again)
    plain = name.removeprefix("sparse ")
    assert compile_graph(with_weights(again, plain)) == compile_graph(with_weights(reduced, plain))
    node = reduced.nodes[0]
    tensors = sum(weight_bytes(n) for n in reduced.nodes)
    assert 0 <= len(blob) - tensors < 2048
    assert all(0.2 < share < 0.6 for share in sparse.densities(node).values())


def test_the_sign_of_zeros_on_a_diagonal_is_kept():
    W = np.zeros((1, 32, 32), np.float32)
    W[0, np.arange(32), np.arange(32)] = np.where(np.arange(32) % 3, 1.5, -0.0)
    flat = packing.pack(W, "sparse float32")
    stored = packing.unpack(flat, *W.shape)
    assert np.array_equal(stored.view(np.uint32), W.view(np.uint32))
    assert packing.pack(stored, "sparse float32").tobytes() == flat.tobytes()


def test_what_cannot_be_sparse():
    with pytest.raises(undertow.UnsupportedError, match=r"embedding 'embedding': a table cannot be stored as 'sparse"):
        with_weights(zoo(), {"embedding": {"table": "sparse int8"}})
    wide = np.ones((1, 1, 131073), np.float32)
    for name, instead in (("sparse float32", "as float32$"), ("sparse int8", "as int8, float16 or float32$")):
        with pytest.raises(
            undertow.UnsupportedError, match=rf"R has 131073 columns; {name} takes .* 131072.*{instead}"
        ):
            packing.pack(wide, name, "R")
        assert packing.pack(wide[..., 1:], name).nbytes > 131072
    g = single(np.random.default_rng(0), "rnn", 6, 20)
    g.nodes[0].weights["R"][0, 1, 2] = np.nan
    with pytest.raises(undertow.UnsupportedError, match=r"R\[0, 1, 2\] is nan; int8 takes finite weights"):
        compile_graph(with_weights(g, "sparse int8"))
    again = tow.read(compile_graph(with_weights(g, "sparse float32")))
    assert np.array_equal(again.nodes[0].weights["R"], g.nodes[0].weights["R"], equal_nan=True)


# -- what is found --------------------------------------------------------------------------------------------------


def found(graph, mode="auto"):
    return {n.name: n.precisions for n in with_blocks(graph, mode).nodes if n.precisions}


def test_pruned_matrices_are_found():
    g = pruned_cell("gru", 130, 128, keep=0.3)
    assert found(g) == {"cell": {"W": "sparse float32", "R": "sparse float32"}}
    assert found(with_weights(g, "int8")) == {"cell": {"W": "sparse int8", "R": "sparse int8"}}
    assert not g.nodes[0].precisions, "with_blocks must leave its graph alone"
    assert found(with_weights(g, "float16")) == {"cell": {"W": "float16", "R": "float16"}}
    assert found(with_blocks(g, True), False) == {}
    assert found(with_blocks(with_weights(g, "int8"), True), False) == {"cell": {"W": "int8", "R": "int8"}}
    assert found(with_blocks(g), "auto") == found(g)
    assert found(pruned_cell("gru", 130, 128, keep=0.8)) == {}
    assert found(single(np.random.default_rng(0), "gru", 130, 128)) == {}
    assert found(single(np.random.default_rng(0), "gru", 5, 6), True) == {
        "cell": {"W": "sparse float32", "R": "sparse float32"}
    }
    only = single(np.random.default_rng(0), "lstm", 40, 128)
    only.nodes[0].weights["R"] = prune(only.nodes[0].weights["R"], 0.3)
    only.nodes[0].weights["W"][:] = 0
    assert found(only) == {"cell": {"R": "sparse float32"}}, "W has too few columns to gain"
    with pytest.raises(ValueError, match="sparse is 'yes', expected 'auto', True or False"):
        with_blocks(g, "yes")


def test_load_convert_and_info(tmp_path, capsys):
    g = pruned_cell("gru", 128, 128, keep=0.3)
    dense, out = tmp_path / "dense.tow", tmp_path / "out.tow"
    undertow.Model.from_graph(g).save(dense)
    X = np.random.default_rng(6).normal(size=(50, 128)).astype(np.float32)
    plain = undertow.load(dense)
    assert plain.mapped and not plain.graph.nodes[0].precisions
    for name, weights in (("sparse float32", None), ("sparse int8", "int8")):
        assert main(["convert", str(dense), "-o", str(out), *(["--weights", weights] if weights else [])]) == 0
        model = undertow.load(out)
        assert model.mapped and set(model.graph.nodes[0].precisions.values()) == {name}
        assert out.stat().st_size < 0.5 * undertow.load(dense, weights=weights, sparse=False).file_bytes
        if weights is None:
            assert np.abs(model.run(X) - plain.run(X)).max() <= 1e-6
        else:
            assert np.array_equal(model.run(X), undertow.load(dense, weights="int8", sparse=False).run(X))
        assert model.hash == plain.with_weights(weights or {}).hash
        assert model.with_weights({}, sparse=False).hash == undertow.load(out, sparse=False).hash
        capsys.readouterr()
        assert main(["info", str(out)]) == 0
        W, R = sparse.densities(model.graph.nodes[0]).values()
        assert f"{name} (W {W:.0%}, R {R:.0%} left)" in capsys.readouterr().out
        assert main(["info", str(out), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["layers"][0]["density"] == {"W": W, "R": R}
    assert main(["convert", str(dense), "-o", str(out), "--dense"]) == 0
    assert out.read_bytes() == dense.read_bytes()
    assert main(["verify", str(dense), "--weights", '{"cell": "sparse int8"}']) == 0


def test_the_reference_knows_them():
    """A sparse model is verified like its dense twin: float32 against float64, int8 with its rounding of frames."""
    from undertow.accuracy.verify import verify

    g = pruned_cell("gru", 70, 64, keep=0.3)
    for name in NAMES:
        report = verify(undertow.Model.from_graph(with_weights(g, name)))
        assert report.ok, str(report)
