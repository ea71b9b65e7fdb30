# SPDX-License-Identifier: MIT
"""Weight precisions without the engine: numbers, layouts against slow loops over FORMAT.md, files, errors."""

import struct
from contextlib import nullcontext

import numpy as np
import pytest

import undertow
from networks import framed, round_trip_graphs, single, zoo
from oracle_precision import bfloat16, half, int4_numbers, int8_numbers, int16_numbers, stored_row
from test_tow import assert_equal_graphs
from tow_words import Words
from undertow import tow
from undertow.compile import compile_graph
from undertow.ir import precision
from undertow.ir.graph import Graph
from undertow.ir.ops import OPS, Layout
from undertow.model import Model
from undertow.passes.precisions import with_weights
from undertow.tow import container, packing

REDUCED = ["float16", "bfloat16", "int16", "int8", "int4"]


def matrix(G=3, rows=19, K=37, seed=0):
    """Weights of all magnitudes, a row and a group of zeros among them."""
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(G, rows, K)) * 10.0 ** rng.integers(-3, 3, (G, rows, 1))
    W[0, 5] = 0
    W[-1, 3, :32] = 0
    return W.astype(np.float32)


# -- layouts, byte by byte from csrc/FORMAT.md ----------------------------------------------------------------------


def int8_matrix(W):
    """For each panel int8 [ceil(K/4)][G][16][4], float32 scale [G][16], int32 sum [G][16]."""
    G, rows, K = W.shape
    out = bytearray()
    for panel in range((rows + 15) // 16):
        scale = np.zeros((G, 16), np.float32)
        total = np.zeros((G, 16), np.int64)
        q = {}
        for g in range(G):
            for i in range(16):
                row = 16 * panel + i
                if row < rows:
                    numbers, scale[g, i] = int8_numbers(W[g, row])
                    total[g, i] = sum(numbers)
                    q.update({(g, i, k): n for k, n in enumerate(numbers)})
        for four in range((K + 3) // 4):
            for g in range(G):
                for i in range(16):
                    for j in range(4):
                        out += struct.pack("<b", q.get((g, i, 4 * four + j), 0))
        out += struct.pack(f"<{G * 16}f", *scale.ravel()) + struct.pack(f"<{G * 16}i", *total.ravel())
    return bytes(out)


def int16_matrix(W):
    """For each panel int16 [ceil(K/2)][G][16][2], float32 scale [G][16]."""
    G, rows, K = W.shape
    out = bytearray()
    for panel in range((rows + 15) // 16):
        lines = {
            (g, i): int16_numbers(W[g, 16 * panel + i]) for g in range(G) for i in range(min(16, rows - 16 * panel))
        }
        for two in range((K + 1) // 2):
            for g in range(G):
                for i in range(16):
                    q, _ = lines.get((g, i), ([0] * K, 0))
                    out += struct.pack("<2h", q[2 * two], q[2 * two + 1] if 2 * two + 1 < K else 0)
        for g in range(G):
            for i in range(16):
                out += struct.pack("<f", lines.get((g, i), (0, 0.0))[1])
    return bytes(out)


def smoothed_matrix(W, smoothing, of_precision):
    """float32 factor [P(K)][16], zeros from K on; then the matrix whose columns are so much larger."""
    K = W.shape[-1]
    factors = [2.0**-n for n in smoothing.tolist()] + [0.0] * (-K % 16)
    return struct.pack(f"<{len(factors)}f", *factors) + of_precision((W * 2.0**smoothing).astype(np.float32))


def int4_matrix(W):
    """For each panel [ceil(K/32)][G][4][16][4] bytes, float16 scale [ceil(K/32)][G][16], zeros up to 64 bytes."""
    G, rows, K = W.shape
    groups = (K + 31) // 32
    out = bytearray()
    for panel in range((rows + 15) // 16):
        found = {
            (g, i): int4_numbers(W[g, 16 * panel + i]) if 16 * panel + i < rows else ([0] * 32 * groups, [0] * groups)
            for g in range(G)
            for i in range(16)
        }
        for group in range(groups):
            for g in range(G):
                for v in range(4):
                    for i in range(16):
                        q = found[g, i][0]
                        for byte in range(4):
                            k = 32 * group + 8 * v + byte
                            out.append(q[k] + 8 | q[k + 4] + 8 << 4)
        for group in range(groups):
            for g in range(G):
                for i in range(16):
                    out += struct.pack("<e", found[g, i][1][group])
        out += bytes(-len(out) % 64)
    return bytes(out)


def halves_matrix(W, bits):
    """16-bit numbers where float32 ones would stand: [panel][k][gate][16 rows]."""
    G, rows, K = W.shape
    out = bytearray()
    for panel in range((rows + 15) // 16):
        for k in range(K):
            for g in range(G):
                for i in range(16):
                    row = 16 * panel + i
                    out += struct.pack("<H", bits(W[g, row, k]) if row < rows else 0)
    return bytes(out)


def test_matrix_layouts():
    for G, rows, K in [(3, 19, 37), (1, 16, 32), (4, 1, 1), (2, 33, 4), (1, 17, 65)]:
        W = matrix(G, max(rows, 6), max(K, 1), seed=rows)[:, :rows, :K]
        assert packing.pack(W, "int8").tobytes() == int8_matrix(W), (G, rows, K)
        assert packing.pack(W, "int16").tobytes() == int16_matrix(W), (G, rows, K)
        smoothing = 3 * np.arange(K) % 41
        for name, of_precision in (("int8", int8_matrix), ("int16", int16_matrix)) if W.size < 2000 else ():
            flat = packing.pack(W, name, smoothing=smoothing)
            assert flat.tobytes() == smoothed_matrix(W, smoothing, of_precision), (G, rows, K)
            assert np.array_equal(packing.smoothing_of(flat, K), smoothing) and packing.precision_of(flat) == name
        assert packing.pack(W, "int4").tobytes() == int4_matrix(W), (G, rows, K)
        assert packing.pack(W, "float16").tobytes() == halves_matrix(W, half), (G, rows, K)
        assert packing.pack(W, "bfloat16").tobytes() == halves_matrix(W, bfloat16), (G, rows, K)


def test_table_layouts():
    for V, D in [(5, 37), (3, 32), (2, 1), (4, 4)]:
        table = matrix(1, max(V, 6), D, seed=D)[0, :V]
        int8, int4 = bytearray(), bytearray()
        for row in table:
            q, scale = int8_numbers(row)
            int8 += struct.pack(f"<{D}b", *q)
            int8 += bytes(-len(int8) % 4) + struct.pack("<f", scale)
            q, scales = int4_numbers(row)
            for i in range(0, len(q), 2):
                int4.append(q[i] + 8 | q[i + 1] + 8 << 4)
            int4 += struct.pack(f"<{len(scales)}e", *scales)
            int4 += bytes(-len(int4) % 4)
        assert packing.pack_table(table, "int8").tobytes() == int8
        assert packing.pack_table(table, "int4").tobytes() == int4
        assert packing.pack_table(table, "float16").tobytes() == b"".join(struct.pack("<e", w) for w in table.flat)
        assert packing.pack_table(table, "bfloat16").tobytes() == b"".join(
            struct.pack("<H", bfloat16(w)) for w in table.flat
        )


@pytest.mark.parametrize("name", ["float32", *REDUCED])
@pytest.mark.parametrize("shape", [(3, 19, 37), (1, 16, 32), (4, 6, 1), (2, 33, 100)])
def test_what_is_packed_comes_back(name, shape):
    W = matrix(*shape)
    expected = precision.stored(W, name)
    flat = packing.pack(W, name)
    assert packing.precision_of(flat) == name
    assert flat.nbytes == packing.matrix_bytes(*shape, name)
    assert np.array_equal(packing.unpack(flat, *shape), expected)
    table = packing.pack_table(W[0], name)
    assert table.nbytes == packing.table_bytes(*shape[1:], name)
    assert np.array_equal(packing.unpack_table(table, shape[2]), precision.stored(W[0], name))


def test_numbers_against_the_oracle():
    for name in ("float32", *REDUCED):
        W = matrix(2, 20, 45, seed=4)
        assert np.array_equal(precision.stored(W, name), [[stored_row(row, name) for row in gate] for gate in W]), name


# -- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REDUCED)
def test_what_is_stored_is_stored_again(name):
    """Dequantised weights quantise to themselves, whatever their magnitude: a file that is read and written stays."""
    rng = np.random.default_rng(1)
    # Below 2^-149 x 127 (int8) and 2^-24 x 7 (int4) scales vanish; just above they are subnormal.
    low, high = {
        "int16": (-100, 127),
        "int8": (-149, 127),
        "int4": (-30, 18),
        "float16": (-30, 15),
        "bfloat16": (-149, 127),
    }[name]
    exponents = rng.uniform(low, high, (20000, 1))
    W = (rng.uniform(-1, 1, (20000, 33)) * 2.0**exponents).astype(np.float32)
    once = precision.stored(W, name)
    assert np.array_equal(precision.stored(once, name), once)
    assert np.isfinite(once).all()


def test_errors_of_the_precisions_are_bounded():
    W = matrix(2, 40, 70)
    top = np.abs(W).max(axis=-1, keepdims=True)
    assert np.abs(precision.stored(W, "int8") - W).max(where=top > 0, initial=0) <= (top / 127).max() / 2 * 1.0001
    assert (np.abs(precision.stored(W, "int8") - W) <= top / 127 * 0.5001).all()
    steps = top / precision.limit(70) * (1 + 2.0**-8)  # a scale of 9 bits is rounded up
    assert (np.abs(precision.stored(W, "int16") - W) <= steps * 0.5001).all()
    assert (np.abs(precision.stored(W, "int4") - W) <= top / 7 * 0.505).all()  # a float16 scale is off by up to 2^-11
    assert (np.abs(precision.stored(W, "float16") - W) <= np.abs(W) * 2.0**-11 + 2.0**-25).all()
    assert (np.abs(precision.stored(W, "bfloat16") - W) <= np.abs(W) * 2.0**-8).all()


def test_zeros_and_weights_too_small_for_a_scale():
    for tiny in (0.0, 1e-45, 1e-39, 127 * 2.0**-127):
        W = np.full((1, 3, 40), tiny, np.float32)
        w = precision.quantise(W, "int8")
        assert not w.q.any() and not w.scale.any()
        assert not precision.quantise(W, "int4").q.any()
    w = precision.quantise(np.full((1, 1, 4), 127 * 2.0**-126, np.float32), "int8")
    assert (w.q == 127).all() and w.scale == np.float32(2.0**-126)
    assert not precision.stored(np.full((1, 1, 40), 2e-7, np.float32), "int4").any()
    assert np.array_equal(
        precision.stored(np.full((1, 1, 40), 2.0**-24 * 7, np.float32), "int4"), np.full((1, 1, 40), 2.0**-24 * 7)
    )


def test_products_of_int16_fit_their_sum():
    for K in [*range(1, 300), 1000, 131072]:
        most, n = precision.limit(K), min(K, precision.STRETCH)
        assert most * most * n < 2**31
        assert most == 32767 or (most + 1) ** 2 * n >= 2**31


def test_the_largest_weights():
    top = np.finfo(np.float32).max
    w = precision.quantise(np.array([[top, -top, top / 4]], np.float32), "int8")
    assert w.q.tolist() == [[127, -127, 32]] and np.isfinite(w.values()).all()
    assert np.isfinite(precision.stored(np.array([[65519.0, -65519.0]], np.float32), "float16")).all()
    assert np.isfinite(precision.stored(np.array([[7 * 65504.0]], np.float32), "int4")).all()


@pytest.mark.parametrize("name", REDUCED)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(name, bad):
    g = single(np.random.default_rng(0), "lstm", 3, 4)
    g.nodes[0].weights["R"][2, 1, 3] = bad
    with pytest.raises(
        undertow.UnsupportedError, match=rf"lstm 'cell': R\[2, 1, 3\] is {bad}; {name} takes finite weights"
    ):
        compile_graph(with_weights(g, name))


def test_weights_beyond_the_range():
    for name, value in (("float16", 65520.0), ("int4", 5e5), ("bfloat16", 3.4e38)):
        with pytest.raises(
            undertow.UnsupportedError,
            match=rf"R\[0, 1, 2\] is {np.float32(value):.9g}.*store it as float32".replace("+", r"\+"),
        ):
            W = np.ones((1, 2, 3), np.float32)
            W[0, 1, 2] = value
            packing.pack(W, name, "R")
    candidate = single(np.random.default_rng(0), "gru", 3, 4)
    candidate.nodes[0].weights["R"][2, 0, 0] = 1e9
    with pytest.raises(undertow.UnsupportedError, match=r"gru 'cell': R_n\[0, 0, 0\] is 1e\+09"):
        compile_graph(with_weights(candidate, "float16"))


def test_too_many_columns():
    W = np.ones((1, 1, 131073), np.float32)
    for name in precision.INTEGERS:
        with pytest.raises(undertow.UnsupportedError, match=f"R has 131073 columns; {name} takes at most 131072"):
            precision.quantise(W, name, "R")
        precision.quantise(W[..., 1:], name)
    precision.stored(W, "float16")


# -- graphs and files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REDUCED)
@pytest.mark.parametrize("graph", [zoo(), framed(), *round_trip_graphs()], ids=lambda g: g.name)
def test_files(graph, name):
    reduced = with_weights(graph, name)
    blob = compile_graph(reduced)
    again = tow.read(blob)
    for node in reduced.nodes:
        for key, chosen in node.precisions.items():
            assert chosen == name
            node.weights[key] = OPS[node.op].as_stored(node, key)
    assert_equal_graphs(reduced, again)
    assert [n.precisions for n in again.nodes] == [n.precisions for n in reduced.nodes]
    assert compile_graph(again) == blob
    assert len(blob) < len(compile_graph(graph))
    assert not any(node.precisions for node in graph.nodes), "with_weights must leave its graph alone"
    assert compile_graph(with_weights(reduced, "float32")) == compile_graph(with_weights(again, "float32"))


def smooth(graph, seed=0):
    """A copy whose matrices are smoothed, but none of a table."""
    rng, graph = np.random.default_rng(seed), graph.copy()
    for node in graph.nodes:
        for key in [weight.key for weight in OPS[node.op].weights if weight.layout is Layout.MATRIX]:
            if key not in node.weights:
                continue
            node.smoothing[key] = rng.integers(0, 41, node.weights[key].shape[-1])
    return graph


@pytest.mark.parametrize("name", precision.SMOOTHED)
@pytest.mark.parametrize("graph", [zoo(), framed(), *round_trip_graphs()], ids=lambda g: g.name)
def test_smoothed_files(graph, name):
    reduced = with_weights(smooth(graph), name)
    blob = compile_graph(reduced)
    again = tow.read(blob)
    assert compile_graph(again) == blob and compile_graph(with_weights(again, name)) == blob
    assert undertow.Model(blob).file_bytes == len(blob)
    for node, read in zip(reduced.nodes, again.nodes, strict=True):
        assert {key: a.tolist() for key, a in node.smoothing.items()} == {
            k: a.tolist() for k, a in read.smoothing.items()
        }
        for key, chosen in node.precisions.items():
            assert np.array_equal(read.weights[key], OPS[node.op].as_stored(node, key))
            assert chosen == read.precisions[key]
    if any(node.smoothing for node in reduced.nodes):
        assert int.from_bytes(blob[8:12], "little") == 4
        assert not any(node.smoothing for node in with_weights(reduced, "float32").nodes)
        for other in ("float32", "float16", "int4"):
            assert compile_graph(with_weights(smooth(graph), other)) == compile_graph(with_weights(graph, other))


@pytest.mark.parametrize("name", precision.SMOOTHED)
def test_what_is_stored_smoothed_is_stored_again(name):
    """Of any magnitude and as smooth as may be; rows so small that they would come back as others become zeros."""
    rng = np.random.default_rng(1)
    W = (rng.uniform(-1, 1, (20000, 33)) * 2.0 ** rng.uniform(-149, 86, (20000, 1))).astype(np.float32)
    smoothing = rng.integers(0, 41, 33)
    once = precision.stored(W, name, smoothing=smoothing)
    assert np.array_equal(precision.stored(once, name, smoothing=smoothing), once)
    large = np.abs(W * 2.0**smoothing).max(axis=1) > 2.0**-72
    assert once[large].any(axis=1).all() and not once[~large].all(axis=1).any() and large.any() and not large.all()


@pytest.mark.parametrize(
    ("smoothing", "message"),
    [
        (np.zeros(4, int), r"dense 'head': W: a smoothing of shape \(4,\) and dtype int64; expected 3 integers"),
        (np.zeros((1, 3), int), r"shape \(1, 3\)"),
        (np.zeros(3), "dtype float64; expected 3 integers"),
        (np.array([0, 1, -1]), "W: a smoothing from -1 to 1; expected 0 to 40"),
        (np.array([0, 41, 1]), "W: a smoothing from 0 to 41; expected 0 to 40"),
        (np.array([0, 300, 1]), "from 0 to 300"),
        (["a", "b", "c"], "expected 3 integers"),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", precision.SMOOTHED)
def test_a_smoothing_that_is_none(smoothing, message, name):
    g = Graph("g")
    more = {"weights": {"W": np.ones((2, 3))}, "precisions": {"W": name}, "smoothing": {"W": smoothing}}
    with pytest.raises(undertow.ShapeError, match=message):
        g.add("dense", [g.input("x", 3)], name="head", **more)
    h = Graph("h")
    h.output("y", h.add("dense", [h.input("x", 3)], name="head", weights={"W": np.ones((2, 3))}))
    h.nodes[0].smoothing["W"] = smoothing
    compile_graph(h)  # beside float32 weights nothing is smoothed
    h.nodes[0].smoothing["W"], h.nodes[0].precisions["W"] = smoothing, name
    with pytest.raises(undertow.ShapeError, match=message):
        compile_graph(h)


def test_a_table_is_not_smoothed():
    g = Graph("g")
    more = {"weights": {"table": np.ones((4, 3))}, "precisions": {"table": "int16"}}
    with pytest.raises(
        undertow.UnsupportedError, match="table: a table multiplies no frames, so it cannot be smoothed"
    ):
        g.add("embedding", [g.input("i", (), "int32")], smoothing={"table": np.ones(3, int)}, **more)


@pytest.mark.parametrize("name", precision.SMOOTHED)
def test_weights_that_smoothing_makes_too_large(name):
    g = smooth(single(np.random.default_rng(0), "lstm", 3, 4))
    g.nodes[0].smoothing["R"] = np.array([0, 0, 0, 40])
    g.nodes[0].weights["R"][2, 1, 3] = 3.5e26
    with pytest.raises(
        undertow.UnsupportedError,
        match=r"R\[2, 1, 3\] is 3\.5e\+26, and its column is smoothed by 2\^40: .*; smooth it less",
    ):
        compile_graph(with_weights(g, name))
    g.nodes[0].weights["R"][2, 1, 3] = 3e26  # which an integer does hold, but no sum of its products
    with pytest.raises(undertow.UnsupportedError, match=rf"R\[2, 1, 3\] is 3\.29.*e\+38; {name} takes weights up to"):
        with_weights(g, name)
    g.nodes[0].weights["R"][2, 1, 3] = 3e21
    compile_graph(with_weights(g, name))
    for bad in (np.nan, np.inf, -np.inf):
        g.nodes[0].weights["R"][2, 1, 3] = bad
        with pytest.raises(undertow.UnsupportedError, match=rf"R\[2, 1, 3\] is {bad}; {name} takes finite weights"):
            compile_graph(with_weights(g, name))


@pytest.mark.parametrize("name", precision.SMOOTHED)
def test_a_gru_whose_parts_are_smoothed_unlike_each_other(name):
    """R and R_n are parts of one weight, which has one smoothing: where a file says otherwise, it is refused."""
    g = smooth(single(np.random.default_rng(0), "gru", 3, 4, reset_after=False))
    blob = bytearray(compile_graph(with_weights(g, name)))
    record = 64 + 4 * 12 + 3 * 24  # of R_n
    at = int.from_bytes(blob[record + 8 : record + 16], "little")
    for factor in (2.0**-7, 2.0**-9):
        blob[at : at + 4] = struct.pack("<f", factor)
        with pytest.raises(undertow.FormatError, match='gru "cell": R and R_n differ in their factors'):
            undertow.Model(bytes(blob))
        with pytest.raises(
            undertow.FormatError, match="a gru smooths R_n unlike another part of R; expected one smoothing"
        ):
            tow.read(blob)


def test_precisions_of_single_layers_and_weights():
    g = with_weights(zoo(), {"lstm_1": "int8", "gru_1": {"R": "int4"}, "dense": "float16", "embedding": "bfloat16"})
    found = {n.name: n.precisions for n in tow.read(compile_graph(g)).nodes if n.precisions}
    assert found == {
        "embedding": {"table": "bfloat16"},
        "lstm_1": {"W": "int8", "R": "int8"},
        "gru_1": {"R": "int4"},
        "dense": {"W": "float16"},
    }
    assert "lstm_1  lstm" in repr(g) and "W int8  R int8" in repr(g)
    g = with_weights(g, "float32", layers=["lstm_1", "dense"])
    assert {n.name for n in g.nodes if n.precisions} == {"gru_1", "embedding"}
    projected = single(np.random.default_rng(0), "lstm", 3, 9, projection=4)
    assert with_weights(projected, "int8").nodes[0].precisions == dict.fromkeys(("W", "R", "projection"), "int8")


def filters():
    rng = np.random.default_rng(0)
    g = Graph("filters")
    x = g.input("x", (3, 5, 19))
    y = g.add("depthwise", [x], name="dw", weights={"W": rng.normal(size=(5, 19))})
    g.output("y", g.add("dense", [y], name="head", weights={"W": np.eye(4, 19)}))
    return g


def test_filters_in_a_file():
    reduced = with_weights(filters(), "int16", layers=["dw"])
    blob = compile_graph(reduced)
    at = blob.index(int16_matrix(reduced.nodes[0].weights["W"].T[None]))
    for value, message in ((precision.limit(5) + 1, "int16 weight is larger"), (-precision.limit(5), "")):
        damaged = bytearray(blob)
        damaged[at + 4 : at + 6] = struct.pack("<h", value)
        with pytest.raises(undertow.FormatError, match=message) if message else nullcontext():
            undertow.Model(damaged)
    damaged = bytearray(blob)  # its record: dtype, flags, offset ...
    damaged[blob.index(struct.pack("<3I", 8, 0, at)) + 4] = 1
    container.checksum(damaged)
    with pytest.raises(undertow.FormatError, match=r'"dw": filters of a depthwise layer are smoothed'):
        undertow.Model(damaged)


def test_filters_have_int16_alone():
    g = filters()
    W = g.nodes[0].weights["W"]
    chosen = {name: {n.name: n.precisions for n in with_weights(g, name).nodes} for name in REDUCED}
    assert chosen["int16"] == {"dw": {"W": "int16"}, "head": {"W": "int16"}}
    assert all(chosen[name] == {"dw": {}, "head": {"W": name}} for name in REDUCED if name != "int16")
    reduced = with_weights(g, "int16", layers=["dw"])
    assert not with_weights(reduced, "float32").nodes[0].precisions
    assert with_weights(reduced, "int8").nodes[0].precisions == {"W": "int16"}
    # Rounded so that the sum of a filter, what it makes of a level, errs by half of its step at most.
    rounded, steps = reduced.nodes[0].weights["W"], np.abs(W).max(axis=0) / precision.limit(5)
    assert (np.abs((rounded - W).sum(axis=0)) <= steps * 0.51).all() and (np.abs(rounded - W) <= steps * 1.01).all()
    for wrong in ("int8", "float16", "sparse int8"):
        for how in ({"precisions": {"dw": wrong}}, {"precisions": wrong, "layers": ["dw"]}):
            message = f"'dw': a filter for each channel cannot be stored as '{wrong}'; expected float32, int16"
            with pytest.raises(undertow.UnsupportedError, match=message):
                with_weights(g, **how)
    with pytest.raises(undertow.UnsupportedError, match="depthwise 'a': W is no matrix, so it cannot be smoothed"):
        stored = {"precisions": {"W": "int16"}, "smoothing": {"W": np.zeros(19, np.int8)}}
        g.add("depthwise", ["x"], name="a", weights={"W": W}, **stored)
    g.nodes[0].weights["W"][4, 18] = np.nan
    with pytest.raises(undertow.UnsupportedError, match=r"depthwise 'dw': W.T\[18, 4\] is nan; int16 takes finite"):
        with_weights(g, "int16")


@pytest.mark.parametrize(
    ("precisions", "message"),
    [
        (
            "int7",
            r"graph 'zoo': precision 'int7' does not exist; precisions: float32, float16, int16, bfloat16, int8, int4",
        ),
        ({"lstm_1": "half"}, r"lstm 'lstm_1': W: precision 'half' does not exist"),
        ({"lstm_1": {"b": "int8"}}, r"lstm 'lstm_1': 'b' cannot be stored as 'int8'; precisions are for W, R$"),
        ({"lstm_1": {"projection": "int8"}}, r"'projection' cannot be stored as 'int8'"),
        ({"lstm_9": "int8"}, r"layer 'lstm_9' has no weights with a precision; layers that have: embedding, lstm_1"),
        ({"affine": "int8"}, r"layer 'affine' has no weights"),
    ],
)
def test_unknown_precisions(precisions, message):
    with pytest.raises(undertow.UnsupportedError, match=message):
        with_weights(zoo(), precisions)


def test_precisions_are_checked_where_a_graph_is_built_and_compiled():
    g = Graph("g")
    x = g.input("x", 3)
    with pytest.raises(undertow.UnsupportedError, match=r"dense 'head': W: precision 8 does not exist"):
        g.add("dense", [x], name="head", weights={"W": np.ones((2, 3))}, precisions={"W": 8})
    with pytest.raises(undertow.UnsupportedError, match=r"softmax 'soft': 'W' .* it has no weight with a precision"):
        g.add("softmax", [x], name="soft", precisions={"W": "int8"})
    g.output("y", g.add("dense", [x], name="ok", weights={"W": np.ones((2, 3))}, precisions={"W": "float32"}))
    assert g.nodes[0].precisions == {}
    g.nodes[0].precisions["b"] = "int8"
    with pytest.raises(undertow.UnsupportedError, match="'b' cannot be stored"):
        compile_graph(g)
    with pytest.raises(TypeError, match="layers= goes with one precision"):
        with_weights(zoo(), {"lstm_1": "int8"}, layers=["lstm_1"])


def test_copies_of_graphs_are_apart():
    g = zoo()
    before = compile_graph(g)
    twin = g.copy()
    assert compile_graph(twin) == before
    twin.nodes[1].attrs["shape"] = (10, 1)
    twin.nodes[3].weights.pop("b")
    twin.states["lstm_1.h"].init = None
    twin.input("another", 3)
    twin.output("more", "another")
    assert compile_graph(g) == before and "another" not in g.values


def test_gru_that_a_graph_cannot_hold():
    """R and R_n of different precisions, which the engine refuses too, and a recurrent bias of z, which it adds."""
    g = single(np.random.default_rng(0), "gru", 3, 4)
    blob = bytearray(compile_graph(with_weights(g, {"cell": {"R": "float16"}})))
    table = 64 + 4 * 12
    assert blob[table + 2 * 24] == 2 and blob[table + 3 * 24] == 2
    blob[table + 3 * 24] = 3
    with pytest.raises(undertow.FormatError, match="R in float16 and R_n in bfloat16"):
        tow.read(blob)
    with pytest.raises(undertow.FormatError, match='gru "cell": R and R_n differ in precision'):
        undertow.Model(Words(blob).sealed())
    blob = bytearray(compile_graph(single(np.random.default_rng(0), "gru", 3, 4, reset_after=True)))
    at = int.from_bytes(blob[table + 3 * 24 + 8 : table + 3 * 24 + 16], "little")
    blob[at : at + 4] = struct.pack("<f", 1.0)
    with pytest.raises(undertow.FormatError, match="recurrent bias for gates z and r"):
        tow.read(blob)


@pytest.mark.parametrize("name", ["int16", "int8"])
@pytest.mark.parametrize("K", [8, 300])
def test_sums_of_large_weights_do_not_overflow(name, K, isa):
    """The largest weight that is taken gives finite outputs where float32 does; one beyond it is refused by name."""
    most = precision.most_summed(K, name)
    g = Graph("large")
    x = g.input("x", K)
    W = np.full((16, K), 0.999 * most, np.float32)
    g.output("y", g.add("dense", [x], name="only", weights={"W": W}))
    X = np.ones((3, K), np.float32) * np.float32([[1], [1e-3], [-1]])
    got, exact = (Model.from_graph(other, isa).run(X) for other in (with_weights(g, name), g))
    assert np.isfinite(exact).all() and np.abs(got / exact - 1).max() < 0.01
    g.nodes[0].weights["W"][3, 5] = 1.01 * most
    with pytest.raises(
        undertow.UnsupportedError, match=rf"'only': W\[3, 5\] is .*; {name} takes weights up to .* in {K}"
    ):
        with_weights(g, name)
    assert precision.most_summed(K, "int4") == precision.most_summed(K, "float32") == np.inf
    assert with_weights(g, "auto").nodes[0].precisions in ({}, {"W": "int16"})


def test_weights_that_are_too_small_are_said_to_be_lost():
    W = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    W[2], W[3], W[4] = 1e-30, 0, 1e-39
    g = Graph("small")
    g.output("y", g.add("dense", [g.input("x", 8)], name="only", weights={"W": W}))
    model = Model.from_graph(g)
    for name, n in (("int16", 2), ("int8", 1), ("int4", 2), ("float16", 2)):
        with pytest.warns(
            undertow.ModelWarning, match=f"'only': {n} of 8 rows of W are 0 in {name}: .* store it as float32"
        ):
            small = model.with_weights(name)
        assert sum(not row.any() for row in small.graph.nodes[0].weights["W"]) == n + 1
    assert model.with_weights("bfloat16").graph.nodes[0].weights["W"][2].all()
