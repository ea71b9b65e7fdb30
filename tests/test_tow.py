# SPDX-License-Identifier: MIT
"""The .tow file: what is written comes back; what is damaged is refused; a mapped file is used in place."""

import zlib

import numpy as np
import pytest

import undertow
from networks import cached, counter, framed, round_trip_graphs, single, zoo, zoo_input
from undertow import reference, tow
from undertow.compile import compile_graph
from undertow.ir import loops
from undertow.ir.graph import Graph
from undertow.ir.ops import OPS
from undertow.model import Model
from undertow.passes.precisions import with_weights


def assert_equal_graphs(a, b):
    assert repr(a) == repr(b)
    for p, q in zip(a.nodes, b.nodes, strict=True):
        assert p.attrs == q.attrs
        assert set(p.weights) == set(q.weights)
        for key, w in p.weights.items():
            assert np.array_equal(w, q.weights[key]), f"{p.name} {key}"
    for s, t in zip(a.states.values(), b.states.values(), strict=True):
        assert (s.init is None) == (t.init is None)
        assert s.init is None or np.array_equal(s.init, t.init)


@pytest.mark.parametrize("graph", [zoo(), counter(), framed(), cached(), *round_trip_graphs()], ids=lambda g: g.name)
def test_round_trip(graph):
    blob = compile_graph(graph)
    again = tow.read(blob)
    assert_equal_graphs(graph, again)
    assert compile_graph(again) == blob


def test_save_and_load(tmp_path):
    model = Model.from_graph(zoo())
    path = tmp_path / "zoo.tow"
    model.save(path)
    loaded = undertow.load(path)
    assert loaded.mapped
    assert loaded.hash == model.hash and loaded.name == "zoo"
    X = zoo_input(20)
    for name, y in model.run(X).items():
        assert np.array_equal(loaded.run(X)[name], y)
    loaded.stream().restore(model.stream().snapshot())
    with pytest.raises(TypeError, match="no importer options"):
        undertow.load(path, states={})
    assert list(tmp_path.iterdir()) == [path]


def test_dead_nodes_are_dropped():
    g = Graph("dead")
    x = g.input("x", 3)
    g.add("dense", [x], name="unused", weights={"W": np.ones((4, 3))})
    g.output("y", g.add("activation", [x], name="used"))
    assert [n.name for n in tow.read(compile_graph(g)).nodes] == ["used"]


def test_files_that_are_not_tow(tmp_path):
    path = tmp_path / "model.tow"
    for content in (b"", b"hello", b"\x89TOW", tow.MAGIC, tow.MAGIC + bytes(8), bytes(200)):
        path.write_bytes(content)
        with pytest.raises(undertow.FormatError, match=r"model\.tow"):
            undertow.load(path)
    with pytest.raises(FileNotFoundError):
        undertow.load(tmp_path / "absent.tow")
    (tmp_path / "model.xyz").write_bytes(b"x")
    with pytest.raises(undertow.UnsupportedError, match=r"suffix '\.xyz' is not known"):
        undertow.load(tmp_path / "model.xyz")


def small(precision="float32"):
    return compile_graph(with_weights(single(np.random.default_rng(0), "gru", 2, 3), precision))


every_precision = pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "int16", "int8", "int4"])


@every_precision
def test_every_truncation_is_refused(precision):
    blob = small(precision)
    for n in range(len(blob)):
        with pytest.raises(undertow.FormatError, match="no .tow signature" if n < 8 else "truncated"):
            Model(blob[:n])
        if n < 64:
            with pytest.raises(undertow.FormatError, match="no .tow signature" if n < 8 else "truncated"):
                tow.read(blob[:n])
    with pytest.raises(undertow.FormatError, match="header says"):
        Model(blob + b"\0")


@every_precision
def test_every_flipped_byte_is_refused_or_harmless(precision):
    """Metadata is under a checksum; weights and gaps may hold anything but wrong sums of int8, and int16 too large."""
    blob = small(precision)
    weights_start = 64 + int.from_bytes(blob[24:28], "little")
    X = np.ones((3, 2), np.float32)
    for i in range(len(blob)):
        flipped = bytearray(blob)
        flipped[i] ^= 0xFF
        if i < weights_start:
            with pytest.raises(undertow.Error):
                Model(flipped)
            continue
        try:
            model = Model(flipped)
        except undertow.FormatError as error:
            assert precision in ("int16", "int8") and f"{precision} weight" in str(error)
        else:
            assert model.run(X).shape == (3, 3)


@every_precision
def test_flips_behind_a_right_checksum_are_refused_or_harmless(precision):
    blob = small(precision)
    n_metadata = int.from_bytes(blob[24:28], "little")
    X = np.ones((3, 2), np.float32)
    loaded = 0
    for i in range(64, 64 + n_metadata):
        flipped = bytearray(blob)
        flipped[i] ^= 1 << (i % 8)
        crc = zlib.crc32(flipped[64 : 64 + n_metadata], zlib.crc32(flipped[32:64], zlib.crc32(flipped[:28])))
        flipped[28:32] = crc.to_bytes(4, "little")
        try:
            model = Model(flipped)
        except undertow.Error:
            continue
        loaded += 1
        if next(iter(model.inputs.values())).shape == (2,):
            model.run(X)
    assert loaded < n_metadata / 2


def test_newer_version_is_refused():
    blob = bytearray(small())
    blob[8] = 7
    with pytest.raises(undertow.FormatError, match="format version 7, this library reads versions 1 to 6"):
        Model(blob)


def backwards(g, x):
    """A layer that needs the whole sequence, and gives (3,)."""
    back = single(np.random.default_rng(0), "rnn", 3, 3, reverse=True).nodes[0]
    g.state("back.h", (3,))
    return g.add("rnn", [x], name="back", weights=back.weights, attrs=back.attrs, states=["back.h"])


def test_a_register_beside_a_layer_that_needs_the_whole_sequence():
    g = counter()
    g.output("z", backwards(g, g.outputs["y"]))
    blob = compile_graph(g)
    assert compile_graph(tow.read(blob)) == blob
    X = np.random.default_rng(1).normal(size=(9, 3)).astype(np.float32)
    got, want = Model(blob).run(X), reference.run(g, X)
    for name in ("y", "z"):
        np.testing.assert_allclose(got[name], want[name], atol=1e-6)


@pytest.mark.parametrize("op", ["backwards", "last", "window"])
def test_a_loop_of_registers_looks_at_no_other_frames(op):
    g = Graph()
    x, state = g.input("x", (3,)), g.state("sum.value", (3,))
    total = g.add("add", [x, g.add("state_read", states=[state])])
    y = backwards(g, total if op == "backwards" else x)
    if op == "last":
        y = g.add("last", [total])
    if op == "window":
        y = g.add("reshape", [g.add("window", [total], attrs={"taps": (-1,)})], attrs={"shape": (3,)})
    if op != "backwards":
        backwards_too = g.add("flip", [x])
        g.output("z", backwards_too)
    g.add("state_write", [y], states=[state])
    g.output("y", y)
    with pytest.raises(
        undertow.UnsupportedError, match=r"needs the whole sequence \(.*'sum\.value' is carried through it"
    ):
        compile_graph(g)


def test_a_register_that_nothing_writes_beside_a_layer_that_needs_the_whole_sequence():
    g = Graph()
    x, state = g.input("x", (3,)), g.state("start.value", (3,), np.ones(3))
    g.output("y", g.add("add", [backwards(g, x), g.add("state_read", states=[state])]))
    with pytest.raises(undertow.UnsupportedError, match=r"'start\.value' is read and never written"):
        compile_graph(g)


def test_a_file_in_which_a_loop_asks_for_other_frames_is_refused(monkeypatch):
    """As no graph is written: the backward layer stands between what reads a register and what writes it."""
    g = counter()
    g.output("z", backwards(g, "x"))
    monkeypatch.setattr(loops, "in_order", lambda nodes: sorted(nodes, key=lambda node: OPS[node.op].turn))
    with pytest.raises(
        undertow.UnsupportedError, match='rnn "back": a register\'s next value is made by it frame by frame'
    ):
        Model(compile_graph(g))


def test_the_state_of_a_cell_is_its_own():
    """Also where nobody takes the cell's output, and it could be dropped before the file is written."""
    g = Graph()
    x, h = g.input("x", (2,)), g.state("rnn.h", (2,))
    g.add("rnn", [x], name="rnn", weights={"W": np.eye(2)[None], "R": np.eye(2)[None]}, states=[h])
    g.output("y", g.add("add", [x, g.add("state_read", states=[h])]))
    with pytest.raises(undertow.FormatError, match="belongs to another layer"):
        undertow.Model.from_graph(g)


def test_no_inputs_or_outputs():
    g = Graph("empty")
    with pytest.raises(undertow.ShapeError, match="0 inputs and 0 outputs"):
        compile_graph(g)
