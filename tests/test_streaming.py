# SPDX-License-Identifier: MIT
"""Laws 1, 2 and 6: however a sequence is cut, on whatever instruction set, the same bits; state is bytes."""

import numpy as np
import pytest

import undertow
from frames import assert_same_bits
from networks import counter, single, zoo, zoo_input
from undertow import reference
from undertow.model import Model

ISAS = [name for name, runs in undertow.isas().items() if runs]


def cut(X, start, stop):
    return {name: x[start:stop] for name, x in X.items()}


@pytest.mark.parametrize("T", [1, 2, 47, 48, 49, 150])
def test_run_equals_steps_equals_chunks(T, isa):
    model = Model.from_graph(zoo(), isa)
    X = zoo_input(T)
    whole = model.run(X)
    stream = model.stream()
    steps = [stream.step({name: x[t] for name, x in X.items()}) for t in range(T)]
    assert_same_bits({name: np.stack([s[name] for s in steps]) for name in whole}, whole, "step by step")
    rng = np.random.default_rng(T)
    for _ in range(5):
        stream, parts, t = model.stream(), [], 0
        while t < T:
            n = int(rng.integers(0, 60))
            parts.append(stream.run(cut(X, t, t + n)))
            t += n
        assert_same_bits({name: np.concatenate([p[name] for p in parts]) for name in whole}, whole, "in chunks")


def test_same_bits_on_every_isa():
    X = zoo_input(200)
    outputs = {name: Model.from_graph(zoo(), name).run(X) for name in ISAS}
    for name in ISAS[1:]:
        assert_same_bits(outputs[name], outputs[ISAS[0]], f"between {name} and {ISAS[0]}")


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("op", ["rnn", "gru", "lstm"])
def test_whole_sequences_of_tiny_layers(op, reverse, isa):
    """Sequences are taken 48 frames at a time; what is left may be a single one."""
    graph = single(np.random.default_rng(5), op, 2, 3, reverse=reverse)
    model = Model.from_graph(graph, isa)
    x = np.random.default_rng(6).normal(size=(98, 2)).astype(np.float32)
    for T in (48, 49, 50, 97, 98):
        got, state = model.run_with_state(x[:T])
        expected, end = reference.run(graph, x[:T], return_state=True)
        for y, wanted in ((got, expected), (state, end)):
            y, wanted = (a if isinstance(a, dict) else {"y": a} for a in (y, wanted))
            for name, value in wanted.items():
                np.testing.assert_allclose(y[name], value, rtol=0, atol=2e-6, err_msg=f"{name}, {T} frames on {isa}")


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("op", ["rnn", "gru", "lstm"])
def test_same_bits_of_odd_sizes_on_every_isa(op, reverse):
    rng = np.random.default_rng(5)
    for hidden in (1, 16, 31, 48, 65, 130):
        graph = single(rng, op, 13, hidden, reverse=reverse)
        X = rng.normal(size=(70, 13)).astype(np.float32)
        outputs = [Model.from_graph(graph, isa).run(X) for isa in ISAS]
        outputs = [o if isinstance(o, dict) else {"y": o} for o in outputs]
        for other in outputs[1:]:
            assert_same_bits(other, outputs[0], f"{op} {hidden}")


def test_against_reference(isa):
    X = zoo_input(60)
    got, expected = Model.from_graph(zoo(), isa).run(X), reference.run(zoo(), X)
    for name, y in expected.items():
        np.testing.assert_allclose(got[name], y, atol=2e-5, rtol=2e-5)


def test_registers(isa):
    model = Model.from_graph(counter(), isa)
    X = np.arange(30, dtype=np.float32).reshape(10, 3)
    y, expected = np.ones(3, np.float32), []
    for x in X:
        y = 0.5 * y + x
        expected.append(y)
    assert np.array_equal(model.run(X), expected)
    stream = model.stream()
    assert np.array_equal(np.concatenate([stream.run(X[:3]), stream.run(X[3:])]), expected)
    assert np.array_equal(stream.state["sum"], expected[-1])


def test_snapshot_restore_fork_reset(isa):
    model = Model.from_graph(zoo(), isa)
    X = zoo_input(40)
    stream = model.stream()
    stream.run(cut(X, 0, 17))
    snapshot = stream.snapshot()
    twin = stream.fork()
    tail = stream.run(cut(X, 17, 40))
    assert_same_bits(twin.run(cut(X, 17, 40)), tail, "after fork")
    assert_same_bits(model.stream(snapshot).run(cut(X, 17, 40)), tail, "from a snapshot")
    stream.restore(snapshot)
    assert_same_bits(stream.run(cut(X, 17, 40)), tail, "after restore")
    stream.reset()
    assert_same_bits(stream.run(X), model.run(X), "after reset")
    stream.reset(to=snapshot)
    assert stream.snapshot() == snapshot


def test_snapshot_is_the_same_on_every_isa():
    X = zoo_input(33)
    snapshots = set()
    for isa in ISAS:
        stream = Model.from_graph(zoo(), isa).stream()
        stream.run(X)
        snapshots.add(stream.snapshot())
    assert len(snapshots) == 1


def test_foreign_and_damaged_snapshots_change_nothing():
    model = Model.from_graph(zoo())
    stream = model.stream()
    stream.run(zoo_input(3))
    before = stream.snapshot()
    foreign = Model.from_graph(zoo(seed=1)).stream().snapshot()
    with pytest.raises(undertow.StateError, match="another model"):
        stream.restore(foreign)
    for damaged in (b"", b"nonsense", before[:-1], before + b"\0", before[:31]):
        with pytest.raises(undertow.StateError):
            stream.restore(damaged)
        with pytest.raises(undertow.StateError):
            model.stream(damaged)
    assert stream.snapshot() == before


def test_interleaved_streams_equal_lone_ones():
    model = Model.from_graph(zoo())
    streams = [model.stream() for _ in range(5)]
    inputs = [zoo_input(20, seed) for seed in range(5)]
    got = [[] for _ in streams]
    for t in range(20):
        for k, stream in enumerate(streams):
            got[k].append(stream.step({name: x[t] for name, x in inputs[k].items()}))
    for k in range(5):
        together = {name: np.stack([frame[name] for frame in got[k]]) for name in got[k][0]}
        assert_same_bits(together, model.run(inputs[k]), f"stream {k}")


def test_settle_finds_the_state_at_rest():
    graph = single(np.random.default_rng(0), "gru", 4, 20, reset_after=True)
    stream = Model.from_graph(graph).stream()
    x = np.full(4, 0.3, np.float32)
    assert stream.settle(x, 500) <= 500
    rest = stream.state["cell"]
    y = stream.step(x)
    np.testing.assert_allclose(y, rest, atol=1e-6)
    stream.run(np.ones((9, 4), np.float32))
    stream.reset(to="settled")
    assert np.array_equal(stream.state["cell"], rest)
    halving = Model.from_graph(counter()).stream()
    assert 20 < halving.settle(np.ones(3, np.float32), 5000) < 30, "stops once nothing changes any more"
    assert halving.state["sum"].tolist() == [2, 2, 2]
    fresh = Model.from_graph(graph).stream()
    with pytest.raises(undertow.StateError, match="settle"):
        fresh.reset(to="settled")
    with pytest.raises(ValueError, match="at least 1"):
        stream.settle(x, 0)


def test_no_frames_give_no_frames():
    model = Model.from_graph(zoo())
    stream = model.stream()
    before = stream.snapshot()
    out = stream.run(zoo_input(0))
    assert out["soft"].shape == (0, 2, 3)
    assert stream.snapshot() == before
    assert model.run(zoo_input(0))["log"].shape == (0, 6)
    reverse = Model.from_graph(single(np.random.default_rng(0), "rnn", 3, 4, reverse=True))
    assert reverse.run(np.zeros((0, 3), np.float32)).shape == (0, 4)


def test_length_stops_masked_layers():
    graph = single(np.random.default_rng(2), "lstm", 3, 5, masked=True)
    model = Model.from_graph(graph)
    X = np.random.default_rng(1).normal(size=(9, 3)).astype(np.float32)
    with pytest.raises(TypeError, match="integer"):
        model.run_with_state(X, length=3.5)
    short, (h, c) = model.run(X[:4]), None or model.run_with_state(X, length=4)[1].values()
    padded = model.run(X, length=4)
    assert np.array_equal(padded["y"][:4], short["y"])
    assert not padded["y"][4:].any()
    assert np.array_equal(h, short["y"][-1])
    assert np.array_equal(c, short["c"][-1])
    with pytest.raises(undertow.ShapeError, match="length is 10"):
        model.run(X, length=10)


def test_whole_sequence_models_refuse_to_stream():
    model = Model.from_graph(single(np.random.default_rng(0), "lstm", 3, 4, reverse=True, name="backwards"))
    assert not model.streamable
    with pytest.raises(undertow.UnsupportedError, match=r"'backwards'.*backwards in time.*model\.run"):
        model.stream()
    with pytest.raises(undertow.UnsupportedError, match="'backwards'"):
        undertow.Stream(model)


def test_nan_stays_in_its_stream():
    model = Model.from_graph(single(np.random.default_rng(0), "gru", 3, 20))
    sick, well = model.stream(), model.stream()
    X = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    expected = model.run(X)
    sick.step(np.full(3, np.nan, np.float32))
    assert np.isnan(sick.step(X[0])).all()
    assert np.array_equal(well.run(X), expected)


def test_last_means_so_far_in_a_stream(isa):
    graph = single(np.random.default_rng(0), "gru", 3, 20)
    graph.output("so_far", graph.add("last", ["cell.h"]))
    graph.output("after", graph.add("activation", ["last.out"]))
    model = Model.from_graph(graph, isa)
    out = model.run(np.random.default_rng(1).normal(size=(100, 3)).astype(np.float32))
    assert np.array_equal(out["so_far"], out["y"]) and np.array_equal(out["after"], out["y"])


def test_last_of_a_whole_sequence(isa):
    rng = np.random.default_rng(0)
    graph = single(rng, "gru", 3, 20, reverse=True)
    graph.output("first", graph.add("last", ["cell.h"], attrs={"reverse": True}))
    graph.output("last", graph.add("last", ["cell.h"]))
    graph.output("flipped", graph.add("flip", ["cell.h"]))
    graph.output("sum", graph.add("add", ["cell.h", "last.out"]))
    model = Model.from_graph(graph, isa)
    out = model.run(rng.normal(size=(100, 3)).astype(np.float32))
    assert out["first"].shape == (20,)
    assert np.array_equal(out["first"], out["y"][0]) and np.array_equal(out["last"], out["y"][-1])
    assert np.array_equal(out["flipped"], out["y"][::-1])
    sums = [n.name for n in graph.nodes if n.op == "last"]
    assert sums and np.array_equal(out["sum"], out["y"] + out["first"])
    with pytest.raises(undertow.ShapeError, match="at least one is needed"):
        model.run(np.zeros((0, 3), np.float32))


@pytest.mark.parametrize("block", [1, 2, 7, 24])
def test_a_smaller_block_gives_the_same_bits(block, isa):
    model = Model.from_graph(zoo(), isa)
    X = zoo_input(100)
    whole = model.run(X)
    stream = model.stream(block=block)
    assert_same_bits(stream.run(X), whole, f"in blocks of {block}")
    stream.reset()
    stream.run(cut(X, 0, 33))
    assert_same_bits(stream.fork().run(cut(X, 33, 100)), cut(whole, 33, 100), f"forked, in blocks of {block}")
    for wrong in (0, model.block + 1):
        with pytest.raises(ValueError, match=f"block is {wrong}, expected 1 to {model.block}"):
            model.stream(block=wrong)


def test_the_first_timestep_is_not_the_last_so_far():
    graph = single(np.random.default_rng(0), "gru", 3, 4)
    graph.output("first", graph.add("last", ["cell.h"], attrs={"reverse": True}))
    model = Model.from_graph(graph)
    out = model.run(np.ones((5, 3), np.float32))
    assert np.array_equal(out["first"], out["y"][0])
    with pytest.raises(undertow.UnsupportedError, match="first timestep"):
        model.stream()


def test_a_state_belongs_to_one_layer():
    graph = single(np.random.default_rng(0), "gru", 4, 4)
    node = graph.nodes[0]
    with pytest.raises(undertow.ShapeError, match=r"'cell.h' belongs to another node"):
        graph.add("gru", ["cell.h"], weights=node.weights, attrs=node.attrs, states=["cell.h"])
    with pytest.raises(undertow.ShapeError, match=r"'cell.h' belongs to another node"):
        graph.add("state_write", ["cell.h"], states=["cell.h"])


def test_a_register_read_after_its_write_gives_the_value_before():
    graph = counter()
    graph.output("before", graph.add("state_read", states=["sum.value"]))
    out = Model.from_graph(graph).run(np.arange(12, dtype=np.float32).reshape(4, 3))
    assert np.array_equal(out["before"], np.concatenate([np.ones((1, 3)), out["y"][:-1]]))


def test_a_state_without_axes_is_given_back():
    g = undertow.Graph("sum")
    x, state = g.input("x", ()), g.state("sum.value", ())
    y = g.add("add", [x, g.add("state_read", states=[state])])
    g.add("state_write", [y], states=[state])
    g.output("y", y)
    model, X = undertow.Model.from_graph(g), np.arange(6, dtype=np.float32)
    Y, ends = model.run_with_state(X[:3])
    rest = model.run(X[3:], state=ends)
    assert np.concatenate([Y, rest]).tobytes() == model.run(X).tobytes()
    assert model.stream(state={"sum": np.float32(5)}).step(X[1]) == 6
