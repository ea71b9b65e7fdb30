# SPDX-License-Identifier: MIT
"""fixed8: cells in integers alone. Bits against tests/oracle_bits.py, which shares no code with the package."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import laws
import networks
import oracle_bits
import random_models
import undertow
from undertow import export, reference
from undertow.cli import main
from undertow.errors import FormatError, UnsupportedError
from undertow.ir import fixed, precision
from undertow.ir.activations import SIGMOID, TANH, Activation
from undertow.ir.graph import Graph
from undertow.ir.ops import OPS
from undertow.ir.ops.cells import Cell
from undertow.model import Model
from undertow.passes.precisions import with_weights
from undertow.tow import codec
from undertow.tow.container import checksum

ROOT = Path(__file__).parents[1]
ISAS = [name for name, runs in undertow.isas().items() if runs]
KINDS = ("lstm", "gru after", "gru before", "rnn")
SIZES = [(1, 1), (7, 5), (3, 17), (32, 16), (1100, 3)]


def cell(g, kind, x, H, rng, scale=0.5, **attrs):
    """A plain cell on a value of g; its h."""
    op, *form = kind.split()
    G = {"rnn": 1, "gru": 3, "lstm": 4}[op]
    u = lambda *shape: rng.uniform(-scale, scale, shape).astype(np.float32)  # noqa: E731
    shape = g.shape(x)
    w = {"W": u(G, H, shape[-1]), "R": u(G, H, H), "b": u(G, H)}
    if op == "gru":
        attrs |= {"reset_after": form == ["after"]}
        if form == ["after"]:
            w["rb_n"] = u(H)
    rows = shape[int(attrs.get("steps", False)) : -1]
    states = [g.state(f"{g.name}{len(g.states)}{letter}", (*rows, H)) for letter in ("hc" if op == "lstm" else "h")]
    y = g.add(op, [x], states=states, weights=w, attrs=attrs)
    return y if isinstance(y, str) else y[0]


def single(kind, n_in, H, seed=0, scale=0.5, **attrs):
    rng = np.random.default_rng(seed)
    g = Graph("one")
    y = cell(g, kind, g.input("x", n_in), H, rng, scale, **attrs)
    g.output("y", y)
    return with_weights(g, "fixed8")


def frames(rng, K):
    """Ordinary, silent, huge, tiny, lopsided and subnormal frames, then no numbers."""
    x = rng.normal(size=(14, K)).astype(np.float32)
    x[1] = 0
    x[2] *= np.float32(1e-30)
    x[3] = x[3] / np.abs(x[3]).max() * np.float32(3e38)
    x[4, 0] = 1e4
    x[5] = np.float32(1e-40)
    x[6] = np.finfo(np.float32).max
    x[7] = -0.0
    x[8] = np.float32(2.0**-126)
    x[9] = np.where(np.arange(K) % 2, 1, -1) * (1 + (np.arange(K) % 5) * 2.0**-15)  # ties
    x[10] = 300
    x[11, K // 2] = np.nan
    x[12, -1] = np.inf
    x[13, 0] = -np.inf
    return x


def assert_bits(a, b):
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    same = (a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))
    assert same.all(), (np.argwhere(~same)[:3], a[~same][:3], b[~same][:3])


def starts(rng, names, H):
    """States that a user may set: small, beyond what the cell makes, and what no number is."""
    wild = np.array([0.3, -5, 1e-39, 700, -2e5, 3e38, 2.0**-17, -0.0], np.float32)
    yield {name: np.zeros(H, np.float32) for name in names}
    yield {name: rng.choice(wild, H) for name in names}
    yield {name: rng.normal(size=H).astype(np.float32) for name in names}
    for bad in (np.nan, np.inf):
        for name in names:
            values = {other: np.full(H, 0.25, np.float32) for other in names}
            values[name][H // 2] = bad
            yield values


@pytest.mark.parametrize("scale", [0.5, 60.0, 1e-3, 2e-30])
@pytest.mark.parametrize("kind", KINDS)
def test_bits_are_those_of_the_oracle(kind, scale):
    op, *form = kind.split()
    for seed, (n_in, H) in enumerate(SIZES if scale == 0.5 else SIZES[1:3]):
        g = single(kind, n_in, H, seed, scale)
        (node,) = g.nodes
        rng, models = np.random.default_rng(seed), [Model.from_graph(g, isa=isa) for isa in ISAS]
        for start in starts(rng, node.states, H):
            for x in frames(rng, n_in) if n_in < 1000 else frames(rng, n_in)[[0, 4, 11]]:
                before = tuple(start[name] for name in node.states)
                with np.errstate(all="ignore"):
                    expected = oracle_bits.fixed_cell(op, node.weights, x, *before, reset_after=form == ["after"])
                for model in models:
                    stream = model.stream()
                    for name, value in start.items():
                        stream.state[name] = value
                    assert_bits(stream.step(x), expected[0])
                    for name, after in zip(node.states, expected, strict=True):
                        assert_bits(stream.state[name], after)
                start = dict(zip(node.states, expected, strict=True)) if np.isfinite(expected[0]).all() else start


@pytest.mark.parametrize("kind", KINDS)
def test_every_way_to_run_it_gives_the_same_bits(kind):
    g = single(kind, 5, 40, 3, 0.8)
    model, rng = Model.from_graph(g), np.random.default_rng(4)
    X = rng.normal(size=(40, 5)).astype(np.float32) * 3
    X[25] = np.nan
    Y = model.run(X)
    assert np.isfinite(Y[:25]).all() and np.isnan(Y[25:]).all()
    assert_bits(Y, reference.run(g, X, rounding=True))
    stream = model.stream()
    assert_bits([stream.step(x) for x in X], Y)
    stream = model.stream()
    assert_bits(np.concatenate([stream.run(X[:7]), stream.run(X[7:24]), stream.run(X[24:])]), Y)
    team = undertow.Stream(model, 0, 2, measure=False, least=0)
    assert team.threads == 2
    assert_bits(team.run(X), Y)
    for isa in ISAS:
        assert_bits(Model.from_graph(g, isa=isa).run(X), Y)
    pool = model.pool(3)
    ids = pool.open(3)
    for x, y in zip(X, Y, strict=True):
        assert_bits(pool.step(ids, np.stack([x] * 3)), np.stack([y] * 3))
    snapshot = (stream := model.stream()).run(X[:9]) is not None and stream.snapshot()
    assert_bits(model.stream(snapshot).run(X[9:]), Y[9:])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_steps_and_walking_back(kind):
    rng = np.random.default_rng(5)
    for shape, attrs in (((3, 4), {}), ((2, 3, 4), {"steps": True}), ((2, 4), {"steps": True, "reverse": True})):
        g = single(kind, shape, 6, 6, **attrs)
        X = rng.normal(size=(7, *shape)).astype(np.float32)
        model = Model.from_graph(g)
        Y = model.run(X)
        assert_bits(Y, reference.run(g, X, rounding=True))
        stream = model.stream()
        assert_bits([stream.step(x) for x in X], Y)
    g = single(kind, 4, 6, 7, reverse=True, masked=True)
    X = rng.normal(size=(9, 4)).astype(np.float32)
    for length in (9, 5):
        assert_bits(Model.from_graph(g).run(X, length=length), reference.run(g, X, length=length, rounding=True))


@pytest.fixture(scope="module")
def fixed_in():
    return Counter()


@pytest.mark.parametrize("seed", range(40))
def test_random_models_keep_the_laws_with_their_cells_in_fixed8(seed, monkeypatch, fixed_in):
    """All but those of float64, which the reference answers to the bit."""
    made = random_models.make(seed)
    for node in made.graph.nodes:
        op = OPS[node.op]
        if (
            isinstance(op, Cell)
            and not op.why_not_fixed(node)
            and all(np.isfinite(node.weights[key]).all() for key in "WR")
        ):
            node.smoothing.clear()
            node.precisions |= {"W": "fixed8", "R": "fixed8"}
            fixed_in[node.op] += 1
    monkeypatch.setattr(random_models, "make", lambda _: made)
    _, broken = laws.check(seed, [law for law in laws.LAWS if law not in ("nodes", "whole", "lowered")])
    assert not broken, "\n".join(broken)


def test_these_have_cells_of_all_kinds(fixed_in):
    if sum(fixed_in.values()) > 20:  # all of them ran
        assert {*fixed_in} == {"rnn", "gru", "lstm"}


def test_weights_that_are_stored_are_found_again():
    rng = np.random.default_rng(8)
    for scale in (0.3, 1e-20, 1e-26, 1e-27, 1e30, 3e38):
        W = rng.uniform(-scale, scale, (4, 9, 7)).astype(np.float32)
        W[0, 0], W[1, 1, 0] = 0, np.float32(3.4e38 if scale > 1e38 else scale)
        once = precision.stored(W, "fixed8")
        assert np.isfinite(once).all()
        assert np.array_equal(precision.stored(once, "fixed8"), once)
        q = precision.quantise(W, "fixed8")
        assert (np.abs(q.q) <= 127).all() and ((q.scale.view(np.uint32) & 0x1FF) == 0).all()
    g = single("lstm", 7, 5)
    again = codec.read(codec.write(g))
    assert codec.write(again) == codec.write(g) and again.nodes[0].precisions == {"W": "fixed8", "R": "fixed8"}


def test_error_of_weights_is_all_that_is_seen():
    """Integers of activations err by far less than the 8 bits of weights."""
    rng = np.random.default_rng(9)
    for kind in KINDS:
        g = single(kind, 16, 24, 10)
        X = rng.normal(size=(200, 16)).astype(np.float32)
        Y, exact = Model.from_graph(g).run(X), reference.run(g, X)
        rms = np.sqrt(np.mean((Y - exact) ** 2) / np.mean(exact**2))
        in_int8 = Model.from_graph(with_weights(g, "int8"))
        assert rms < 1e-4 < np.sqrt(np.mean((in_int8.run(X) - exact) ** 2) / np.mean(exact**2)), kind


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_sums_long_rows_in_the_same_stretches(kind):
    g = single(kind, 1100, 5, 11, scale=0.1)
    X = np.random.default_rng(11).normal(size=(12, 1100)).astype(np.float32)
    assert_bits(Model.from_graph(g).run(X), reference.run(g, X, rounding=True))


def test_the_table_is_its_formula():
    text = (ROOT / "csrc/kernels/fixed.h").read_text()
    (table,) = re.findall(r"fixed_tanh_table\[385\] = \{(.*?)\}", text, re.S)
    assert [int(n) for n in table.split(",")] == fixed._TABLE.tolist()
    z = np.arange(-14 * 2**16, 14 * 2**16, 37)
    assert np.abs(fixed.tanh(z) / 2**15 - np.tanh(z / 2**16)).max() < 4.2e-5
    assert np.abs(fixed.sigmoid(z) / 2**16 - 1 / (1 + np.exp(-z / 2**16))).max() < 2.1e-5
    assert (np.diff(fixed.tanh(z)) >= 0).all() and fixed.sigmoid(z).min() == 1 and fixed.sigmoid(z).max() == 65535


# -- what it is not for -----------------------------------------------------------------------------------------------


def mixed_graph(**attrs):
    g = Graph("mixed")
    ids = g.input("ids", 1, "int32")
    table = np.random.default_rng(11).normal(size=(5, 4)).astype(np.float32)
    e = g.add("reshape", [g.add("embedding", [ids], name="table", weights={"table": table})], attrs={"shape": (4,)})
    y = cell(g, "rnn", e, 6, np.random.default_rng(12), **attrs)
    W = np.random.default_rng(13).normal(size=(2, 6)).astype(np.float32)
    g.output("y", g.add("dense", [y], name="head", weights={"W": W}))
    return g


def test_everything_else_is_int8():
    chosen = {node.op: node.precisions for node in with_weights(mixed_graph(), "fixed8").nodes}
    assert chosen["rnn"] == {"W": "fixed8", "R": "fixed8"}
    assert chosen["dense"] == {"W": "int8"} and chosen["embedding"] == {"table": "int8"}
    relu = with_weights(mixed_graph(activations=(Activation("relu"),)), "fixed8")
    assert {node.op: node.precisions for node in relu.nodes}["rnn"] == {"W": "int8", "R": "int8"}
    assert "fixed8" not in str(with_weights(mixed_graph(), "auto").nodes)


def test_what_it_cannot_hold_is_refused():
    g = mixed_graph(activations=(Activation("relu"),))
    (name,) = (node.name for node in g.nodes if node.op == "rnn")
    with pytest.raises(UnsupportedError, match=r"has activations relu, and fixed8 is for cells with tanh"):
        with_weights(g, {name: "fixed8"})
    with pytest.raises(UnsupportedError, match=r"has a clip, and fixed8"):
        with_weights(mixed_graph(clip=2.0), {name: "fixed8"})
    rng = np.random.default_rng(4)
    for options, what in (({"projection": 3}, "a projection"), ({"peephole": True}, "a peephole")):
        with pytest.raises(
            UnsupportedError, match=f"'cell' has {what}, and fixed8 is for cells with .*store it as int8"
        ):
            with_weights(networks.single(rng, "lstm", 4, 6, **options), {"cell": "fixed8"})
    with pytest.raises(UnsupportedError, match="W is fixed8 and R is float32; fixed8 is for both or for neither"):
        with_weights(mixed_graph(), {name: {"W": "fixed8"}})
    with pytest.raises(UnsupportedError, match="a matrix that is neither W nor R of a recurrent cell cannot be stored"):
        with_weights(mixed_graph(), {"head": "fixed8"})
    with pytest.raises(UnsupportedError, match="a table cannot be stored as 'fixed8'"):
        with_weights(mixed_graph(), {"table": "fixed8"})
    bad = mixed_graph()
    bad.nodes[2].weights["W"][0, 1, 2] = np.nan
    with pytest.raises(UnsupportedError, match=r"W\[0, 1, 2\] is nan; fixed8 takes finite weights"):
        Model.from_graph(with_weights(bad, "fixed8"))
    assert OPS["lstm"].usual == (SIGMOID, TANH, TANH)


def test_a_bias_that_is_no_number_is_not_exported():
    g = single("lstm", 3, 2)
    g.nodes[0].weights["b"][2, 1] = np.inf
    model = Model.from_graph(g)
    assert np.isnan(model.run(np.ones((1, 3), np.float32))[0, 1]) and np.isfinite(
        model.stream().step(np.ones(3, np.float32))[0]
    )
    with pytest.raises(UnsupportedError, match="a bias that meets integers is no number"):
        export.source(model)


def damaged(change):
    """The file of a cell with something in it changed, its sums right: words(offset of the first tensor's record)."""
    blob = bytearray(codec.write(single("gru before", 3, 2, 14)))
    change(blob)
    checksum(blob)
    return bytes(blob)


def test_old_readers_refuse_it_and_damage_is_named(tmp_path):
    def load(change):
        path = tmp_path / "m.tow"
        path.write_bytes(damaged(change))
        return undertow.load(path)

    blob = codec.write(single("gru before", 3, 2, 14))
    assert blob[8] == 5
    record = next(at for at in range(64, len(blob), 4) if blob[at : at + 8] == bytes([9, 0, 0, 0, 0, 0, 0, 0]))
    W = int.from_bytes(blob[record + 8 : record + 16], "little")
    load(lambda b: None)

    def put(at, *values):
        def change(b):
            b[at : at + len(values)] = bytes(values)

        return change

    with pytest.raises(FormatError, match="tensor 0: unknown dtype 9"):
        load(put(8, 4))
    with pytest.raises(FormatError, match="unknown dtype 9, or flags 1"):
        load(put(record + 4, 1))
    with pytest.raises(FormatError, match="unknown dtype 10"):
        load(put(record, 10))
    with pytest.raises(FormatError, match="a fixed8 weight is -128"):
        load(put(W, 0x80))
    scale = W + 3 * 3 * 16
    for bits in (0x3C000001, 0x80000000, 0xBC000000, 0x7F800000, 0x7FC00000, 0x00400000):
        with pytest.raises(FormatError, match="a scale of fixed8 is not 0, nor a normal positive number of 15 bits"):
            load(put(scale, *bits.to_bytes(4, "little")))
    load(put(scale, *(0x7F7FFE00).to_bytes(4, "little")))


@pytest.mark.parametrize("command", ["export", "convert", "calibrate", "info"])
def test_cells_that_stay_int8_are_said_with_why(tmp_path, capsys, command):
    rng = np.random.default_rng(4)
    g = Graph("several")
    x = g.input("x", 4)
    odd = {
        "peep": ("lstm", {"peephole": True}),
        "small": ("lstm", {"projection": 3}),
        "steep": ("rnn", {"activations": (Activation("relu"),)}),
        "bound": ("rnn", {"clip": 2.0}),
        "plain": ("gru", {}),
    }
    for name, (op, options) in odd.items():
        (x, *_) = networks.cell(g, rng, op, x, 6, name, **options)
    g.output("y", x)
    path = tmp_path / "several.tow"
    Model.from_graph(g).save(path)
    np.save(tmp_path / "frames.npy", rng.normal(size=(20, 4)).astype(np.float32))
    out = ["-o", str(tmp_path / ("c" if command == "export" else "small.tow"))] if command != "info" else []
    if command == "calibrate":
        command, out = "convert", [*out, "--calibrate", str(tmp_path / "frames.npy")]
    assert main([command, str(path), "--weights", "fixed8", *out]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "fixed8" in line]
    assert line.endswith(
        "lstm 'peep' has a peephole; lstm 'small' has a projection; rnn 'steep' has activations relu; "
        "rnn 'bound' has a clip: int8 in place of fixed8"
    )
    assert main([command, str(path), "--weights", "int8", *out]) == 0
    assert "fixed8" not in capsys.readouterr().err
