# SPDX-License-Identifier: MIT
"""`undertow bench`, and the times behind it: all calls recorded, percentiles that mean what they say."""

import builtins
import gc
import json
import time

import numpy as np
import pytest

import undertow
from networks import single, zoo
from undertow.accuracy import timing
from undertow.accuracy.timing import Cold, Series
from undertow.model import Model

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

QUICK = ("--seconds", "0.002", "--frames", "10", "--cold-calls", "3", "--pause", "0.1", "--sweep", "0.125")


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.tow"
    Model.from_graph(single(np.random.default_rng(1), "gru", 4, 16)).save(path)
    return path


def series(times, **more):
    return Series("step", "undertow", "warm", np.array(times, np.int64), **more)


def found(path):
    """(what, library, caches) -> data of every series in a --json file."""
    data = json.loads(path.read_text())
    return data, {(s["what"], s["who"].split()[0], s["cache"]): s for s in data["series"]}


# -- times ------------------------------------------------------------------------------------------------------------


def test_percentiles_are_times_that_so_many_calls_did_not_exceed():
    times = np.random.default_rng(0).permutation(np.arange(1, 100_001)) * 1000  # 1 to 100,000 us
    s = series(times)
    assert [s.percentile(q) for q in (50, 90, 99, 99.9)] == [50_000, 90_000, 99_000, 99_900]
    assert s.max == 100_000
    assert series(np.arange(1, 1001) * 1000).percentile(99.9) == 999


def test_too_few_calls_have_no_percentile():
    assert series(range(999)).percentile(99.9) is None
    assert series(range(1000)).percentile(99.9) is not None
    assert series(range(9)).percentile(90) is None
    assert series([5000, 7000]).percentile(50) == 5


def test_histogram_holds_every_call():
    rng = np.random.default_rng(0)
    for times in (10 ** rng.uniform(0, 9, 5000), [1], [0, 0], [1000] * 7, [999, 1000, 1001], [10**6, 10**9]):
        s = series(times)
        edges, counts = s.histogram()
        assert counts.sum() == len(s.times)
        assert len(edges) == len(counts) + 1
        assert (np.diff(edges) > 0).all()
        assert s.data()["histogram"]["n_calls"] == counts.tolist()


def test_every_call_is_recorded_and_in_turn():
    order = []
    calls = [lambda: order.append("a"), lambda: order.append("b")]
    a, b = timing.record(calls, [100, 50])
    assert (len(a), len(b)) == (100, 50)
    assert (order.count("a"), order.count("b")) == (100, 50)
    assert order[:15] == ["a"] * 10 + ["b"] * 5
    assert (a > 0).all()
    assert (b > 0).all()


def test_cold_calls_each_have_their_pause():
    order = []

    class Watched(Cold):
        def __call__(self):
            order.append("cold")

    a, b = timing.record([lambda: order.append("a"), lambda: order.append("b")], [3, 2], Watched(0, 0))
    assert (len(a), len(b)) == (3, 2)
    assert order.count("cold") == 5
    assert order[::2] == ["cold"] * 5


def test_what_a_cold_call_costs_is_counted(monkeypatch):
    """On a clock of our own, where a pause takes 20 ms and a call 5."""
    now = [0]
    monkeypatch.setattr(time, "perf_counter_ns", lambda: now[0])

    def passes(ms):
        now[0] += ms * 1_000_000

    class Slow(Cold):
        def __call__(self):
            passes(20)

    assert timing.calls_in(lambda: passes(5), 0.5, Slow(0, 0)) == 20
    assert timing.calls_in(lambda: passes(5), 0.5) == 100
    assert timing.calls_in(lambda: passes(900), 0.5, Slow(0, 0)) == 1


def test_a_pause_sleeps_and_sweeps(monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    cold = Cold(2.5, 1 << 20)
    cold()
    assert slept == [0.0025]
    assert cold._buffer.nbytes == 1 << 20
    assert Cold().sweep_bytes == 4 * timing.private_cache_bytes() >= 1 << 20
    Cold(0, 0)()  # nothing to do
    assert slept == [0.0025]


def test_a_known_time_is_found():
    """The test of the test: a call that takes 3 ms is recorded as that, and the clock's own cost is far below it."""
    (times,) = timing.record([lambda: time.sleep(3e-3)], [5])
    assert (times >= 3e6).all()
    assert 0 < timing.timer_cost(1000) < 1e6
    assert timing.calls_in(lambda: time.sleep(3e-3), 0.03) <= 10


def test_the_garbage_collector_rests_and_comes_back():
    seen = []
    timing.record([lambda: seen.append(gc.isenabled())], [3])
    assert seen == [False] * 3
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        timing.record([lambda: 1 // 0], [1])
    assert gc.isenabled()


# -- the command ------------------------------------------------------------------------------------------------------


def test_table(cli, model):
    code, out, err = cli("bench", model, *QUICK)
    assert (code, err) == (0, "")
    for words in ("p50", "p90", "p99", "p99.9", "max", "step", "chunk of 10", "warm", "cold", "ns of every number"):
        assert words in out
    assert "a pause of 0.1 ms and a walk through 0.125 MiB" in out
    assert "pool of 64" in out


def test_json_and_plot(cli, model, tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")
    code, _, err = cli(
        "bench", model, *QUICK, "--steps", 5000, "--json", tmp_path / "x.json", "--plot", tmp_path / "x.svg"
    )
    assert (code, err) == (0, "")
    data, by_name = found(tmp_path / "x.json")
    step = by_name["step", "undertow", "warm"]
    assert step["n_calls"] == 5000
    assert step["us"]["min"] <= step["us"]["p50"] <= step["us"]["p90"] <= step["us"]["p99"] <= step["us"]["p99.9"]
    assert step["us"]["p99.9"] <= step["us"]["max"]
    assert sum(step["histogram"]["n_calls"]) == 5000
    assert by_name["step", "undertow", "cold"]["n_calls"] == 3
    assert by_name["step", "undertow", "cold"]["us"]["p99"] is None
    assert by_name["chunk", "undertow", "warm"]["n_frames"] == 10
    assert data["timer_ns"] > 0
    assert data["cold"] == {"pause_ms": 0.1, "sweep_bytes": 131072}
    picture = (tmp_path / "x.svg").read_text()
    assert picture.startswith("<?xml")


def test_a_line_for_each_series(tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")
    several = [
        Series(what, "undertow", cache, np.arange(1, 99)) for what in ("step", "pool") for cache in ("warm", "cold")
    ]
    figure = timing.plot(several, tmp_path / "x.png", "title")
    (ax,) = figure.axes
    assert len(ax.lines) == 4
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 4
    assert ax.get_xscale() == "log"
    x, y = ax.lines[0].get_data()
    longer = [(np.arange(1, 99) > 1000 * edge).mean() for edge in x]
    assert np.abs(y[:-1] - longer[:-1]).max() < 1.5 / 98 and y[-1] < 1 / 98, "but for calls on the border of a bin"


def test_warm_only(cli, model):
    code, out, _ = cli("bench", model, *QUICK, "--cold-calls", 0)
    assert code == 0
    assert "cold" not in out


def test_several_inputs_and_whole_sequences(cli, tmp_path):
    Model.from_graph(zoo()).save(tmp_path / "zoo.tow")
    assert cli("bench", tmp_path / "zoo.tow", *QUICK)[0] == 0
    Model.from_graph(single(np.random.default_rng(1), "gru", 4, 16, reverse=True)).save(tmp_path / "whole.tow")
    code, out, _ = cli("bench", tmp_path / "whole.tow", *QUICK)
    assert code == 0
    assert "chunk of 10" in out
    assert "step" not in out
    assert "pool" not in out


def test_pool(cli, model, tmp_path):
    """Beside that, there are as many cold calls as there is time for, where nobody says how many."""
    given = (*QUICK[:4], "--pause", 4, "--sweep", 0.125, "--streams", 5)
    assert cli("bench", model, *given, "--json", tmp_path / "x.json")[0] == 0
    series = found(tmp_path / "x.json")[1]
    pool = series["pool", "undertow", "warm"]
    assert (pool["n_streams"], pool["n_frames"]) == (5, 1)
    assert [series[what, "undertow", "cold"]["n_calls"] for what in ("step", "chunk", "pool")] == [1, 1, 1]


def test_usage(cli, model, tmp_path):
    def refused(code, *argv):
        got, _, err = cli("bench", *argv)
        assert got == code
        return err.splitlines()

    (line,) = refused(2, model, "--json", tmp_path / "no" / "x.json")
    assert "there is no folder" in line
    (line,) = refused(2, model, "--json", tmp_path)
    assert "is a folder" in line
    (line,) = refused(2, model, "--plot", "x.doc")
    assert ".png, .svg or .pdf" in line
    (line,) = refused(2, model, "--pause", 0, "--sweep", 0)
    assert "--cold-calls 0" in line
    (line,) = refused(3, tmp_path / "none.onnx")
    assert "no such file" in line
    for bad in (
        "--pause=-1",
        "--pause=nan",
        "--sweep=inf",
        "--cold-calls=-1",
        "--steps=0",
        "--streams=0",
        "--frames=x",
    ):
        assert f"argument {bad.partition('=')[0]}" in refused(2, model, bad)[-1]


def test_plot_without_matplotlib_is_refused_before_the_work(cli, model, tmp_path, monkeypatch):
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(timing, "record", None)
    code, out, err = cli("bench", model, "--plot", tmp_path / "x.png")
    assert (code, out) == (3, "")
    assert 'pip install "undertow[plot]"' in err


# -- beside ONNX Runtime ----------------------------------------------------------------------------------------------


def exported(path, batch):
    """An LSTM of which the caller carries the state: x (1, batch, 3), h and c (1, batch, 4)."""
    from onnx_files import cell, helper, model_of, onnx, onnxruntime

    onnxruntime()
    shapes = {"x": [1, batch, 3], "h": [1, batch, 4], "c": [1, batch, 4]}
    node = helper.make_node("LSTM", ["x", "W", "R", "B", "", "h", "c"], ["", "hn", "cn"], hidden_size=4)
    weights = cell(np.random.default_rng(0), "LSTM", 3, 4, bias=True)
    onnx.save(model_of([node], shapes, {"hn": shapes["h"], "cn": shapes["c"]}, weights, opset=14), path)
    return path


def test_beside_onnxruntime(cli, tmp_path):
    path = exported(tmp_path / "lstm.onnx", "batch")
    code, out, _ = cli("bench", path, *QUICK, "--streams", 3, "--json", tmp_path / "x.json")
    assert code == 0
    assert "x the time of undertow" in out
    assert "10 frames are 10 calls" in out
    series = found(tmp_path / "x.json")[1]
    for what in ("step", "chunk", "pool"):
        for cache in ("warm", "cold"):
            assert (what, "onnxruntime", cache) in series


def test_batches_of_onnxruntime_are_streams_side_by_side(tmp_path):
    from undertow.accuracy.peer import CannotFeed, OnnxRuntime

    path = exported(tmp_path / "lstm.onnx", "batch")
    model = undertow.load(path)
    peer = OnnxRuntime(path, model)
    X = {"x": np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)}
    one, several = peer.stepper(X), peer.batch_stepper(X, 3)  # which has made one step
    one()
    for _ in range(4):
        alone, together = one(), several()
        for a, b in zip(alone, together, strict=True):
            assert b.shape[1] == 3
            np.testing.assert_allclose(b, np.repeat(a, 3, axis=1), atol=1e-6)
    path = exported(tmp_path / "fixed.onnx", 1)
    with pytest.raises(CannotFeed, match="free axis for 3 streams"):
        OnnxRuntime(path, undertow.load(path)).batch_stepper(X, 3)
