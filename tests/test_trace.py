# SPDX-License-Identifier: MIT
"""Hidden states over time: the numbers, the file and the picture."""

import numpy as np
import pytest

import undertow
from tolerances import FLOAT32_MODEL
from undertow import reference
from undertow.cli import main
from undertow.inspect.trace import trace
from undertow.ir.graph import Graph

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

RNG = np.random.default_rng(9)


def stack(n_in=3):
    """An LSTM with a learned start, and an explicit state beside it."""
    g = Graph("stack")
    x = g.input("x", (n_in,))
    states = [g.state("lstm.h", (4,), RNG.normal(size=4)), g.state("lstm.c", (4,), RNG.normal(size=4))]
    weights = {"W": RNG.normal(size=(4, 4, n_in)), "R": RNG.normal(size=(4, 4, 4)), "b": RNG.normal(size=(4, 4))}
    h, _ = g.add("lstm", [x], name="lstm", weights=weights, states=states)
    delay = g.state("delay.x", (n_in,))
    g.output("delayed", g.add("state_read", states=[delay]))
    g.add("state_write", [x], states=[delay])
    g.output("h", h)
    return g


@pytest.fixture
def model():
    return undertow.Model.from_graph(stack())


def test_states_are_those_of_the_reference(model):
    X = RNG.normal(size=(20, 3)).astype(np.float32)
    found = trace(model.stream(), X)
    expected = reference.evaluate(model.graph, X)
    assert set(found) == {"lstm.h", "lstm.c", "delay.x"}
    assert found.n_steps == 20
    for name, s in found.items():
        assert s.shape == expected.states[name].shape
        assert np.abs(s - expected.states[name]).max() < FLOAT32_MODEL, name
    for name, y in found.outputs.items():
        assert np.abs(y - expected.outputs[name]).max() < FLOAT32_MODEL, name
    assert np.array_equal(found["lstm.h"], found.outputs["h"])
    assert np.array_equal(found.initial["lstm.c"], model.graph.states["lstm.c"].init)


def test_a_stream_is_traced_from_where_it_is(model):
    X = RNG.normal(size=(20, 3)).astype(np.float32)
    whole = trace(model.stream(), X)
    stream = model.stream()
    stream.run(X[:8])
    rest = trace(stream, X[8:])
    for name in whole:
        assert np.array_equal(rest[name], whole[name][8:])
        assert np.array_equal(rest.initial[name], whole[name][7])
        assert np.array_equal(stream.state[name], whole[name][-1]), "the stream stands after the last frame"


def test_stream_trace_is_this(model):
    X = RNG.normal(size=(5, 3)).astype(np.float32)
    assert np.array_equal(model.stream().trace(X)["lstm.c"], trace(model.stream(), X)["lstm.c"])


def test_several_inputs():
    g = Graph()
    a, i = g.input("a", (2,)), g.input("i", (), "int32")
    e = g.add("embedding", [i], weights={"table": np.eye(2)})
    x, h = g.add("add", [a, e]), g.state("rnn.h", (2,))
    g.output("y", g.add("rnn", [x], name="rnn", weights={"W": np.eye(2)[None], "R": np.eye(2)[None]}, states=[h]))
    X = {"a": np.ones((4, 2), np.float32), "i": np.array([0, 1, 1, 0], np.int32)}
    found = trace(undertow.Model.from_graph(g).stream(), X)
    assert np.abs(found["rnn.h"] - reference.run(g, X)).max() < FLOAT32_MODEL
    with pytest.raises(undertow.ShapeError, match="different numbers of frames"):
        trace(undertow.Model.from_graph(g).stream(), {"a": X["a"], "i": X["i"][:2]})


def test_no_frames(model):
    found = trace(model.stream(), np.zeros((0, 3), np.float32))
    assert found["lstm.h"].shape == (0, 4)
    assert "0 frames" in repr(found)
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")
    with pytest.raises(undertow.ShapeError, match="nothing to draw"):
        found.plot()


def test_save(tmp_path, model):
    X = RNG.normal(size=(5, 3)).astype(np.float32)
    found = trace(model.stream(), X)
    found.save(tmp_path / "trace.npz")
    with np.load(tmp_path / "trace.npz") as loaded:
        assert np.array_equal(loaded["state/lstm.c"], found["lstm.c"])
        assert np.array_equal(loaded["output/delayed"], found.outputs["delayed"])


def test_plot(tmp_path, model):
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")
    X = RNG.normal(size=(30, 3)).astype(np.float32)
    X[3] = np.nan  # a picture of something that went wrong is wanted most
    figure = trace(model.stream(), X).plot(tmp_path / "memory.png")
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert [t for t in titles if t] == ["lstm.h", "lstm.c", "delay.x"]


def test_command(tmp_path, capsys, model):
    model.save(tmp_path / "model.tow")
    X = RNG.normal(size=(6, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", X)
    out = str(tmp_path / "trace.npz")
    assert main(["trace", str(tmp_path / "model.tow"), str(tmp_path / "x.npy"), "-o", out]) == 0
    assert "lstm.c" in capsys.readouterr().out
    with np.load(out) as loaded:
        assert np.array_equal(loaded["state/lstm.h"], trace(model.stream(), X)["lstm.h"])
    assert main(["trace", str(tmp_path / "model.tow"), str(tmp_path / "x.npy"), "-o", "x.csv"]) == 2


def test_an_outline_says_and_draws_what_a_trace_does(tmp_path, model, monkeypatch):
    from undertow.inspect import picture
    from undertow.inspect.trace import Outline

    X = np.random.default_rng(3).normal(size=(50, *next(iter(model.inputs.values())).shape)).astype(np.float32)
    whole, outline = trace(model.stream(), X), Outline(model.stream())
    for piece in np.split(X, [1, 7, 7, 30]):
        outline.push(piece)
    assert repr(outline) == repr(whole) and outline.n_steps == 50
    drawn = {}
    monkeypatch.setattr(picture, "figure_class", lambda: None)
    monkeypatch.setattr(picture, "draw", lambda panels, *_, **__: drawn.update({p.title: p.columns for p in panels}))
    outline.plot(tmp_path / "x.png")
    for name, s in whole.items():
        rows = s.reshape(50, -1)
        assert np.array_equal(drawn[name].low, rows) and np.array_equal(drawn[name].high, rows)
    with pytest.raises(undertow.ShapeError, match="nothing to draw"):
        Outline(model.stream()).plot(tmp_path / "x.png")
