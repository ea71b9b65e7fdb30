# SPDX-License-Identifier: MIT
"""Progress: work says where it is to whoever listens; the command draws that on a terminal, and nowhere else."""

import io
import sys
import threading
import time

import numpy as np
import pytest

import undertow
from networks import single
from undertow import _progress, reference
from undertow.accuracy import calibrate, timing
from undertow.cli import _progress_bar
from undertow.cli._common import Progress, say
from undertow.cli._progress_bar import Bar
from undertow.model import Model

needs_tqdm = pytest.mark.skipif(_progress_bar._tqdm() is None, reason="needs tqdm: pip install tqdm")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def impatient(monkeypatch):
    """Bars that are drawn at once."""
    monkeypatch.setattr(_progress_bar, "_PATIENCE", 0.0)
    monkeypatch.setattr(_progress_bar, "_EVERY", 0.001)
    monkeypatch.setenv("COLUMNS", "100")


def wait_for(stream, words):
    """Until the thread has drawn them; a minute at the most."""
    end = time.monotonic() + 60
    while words not in stream.getvalue():
        assert time.monotonic() < end, stream.getvalue()
        time.sleep(0.001)


def told(work):
    calls = []
    with _progress.listening(lambda what, done, total, still=False: calls.append((what, done, total))):
        work()
    return calls


def gru():
    return Model.from_graph(single(np.random.default_rng(1), "gru", 4, 16))


# -- what is told -----------------------------------------------------------------------------------------------------


def test_nobody_is_told_unless_asked(capsys, tmp_path):
    gru().save(tmp_path / "m.tow")
    undertow.load(tmp_path / "m.tow")
    assert capsys.readouterr() == ("", "")


def test_a_load_says_what_it_does_to_whom_it_is_told(tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs onnx: pip install onnx")
    from onnx_files import model_of, node, random

    rng = np.random.default_rng(4)
    weights = {"W": random(rng, 1, 20, 4), "R": random(rng, 1, 20, 5), "one": np.array([1])}
    nodes = [node("LSTM", "x W R", "Y", hidden_size=5), node("Squeeze", "Y one", "y")]
    path = tmp_path / "lstm.onnx"
    onnx.save(model_of(nodes, {"x": ["T", "N", 4]}, {"y": ["T", "N", 5]}, weights), path)
    calls = []
    undertow.load(path, progress=lambda *call: calls.append(call))
    said = [what for what, _, _ in calls]
    assert said[0] == "reading lstm.onnx" and said[-1] == ""
    assert any(what.startswith("finding time") for what in said) and "rewriting the graph: fuse" in said
    with pytest.raises(undertow.Error):
        undertow.load(b"nonsense", progress=lambda *call: calls.append(call))
    assert calls[-1] == ("", 0, 0)


def test_a_function_that_is_told_may_end_the_work(tmp_path):
    gru().save(tmp_path / "m.tow")

    def enough(*_):
        raise InterruptedError("enough")

    with pytest.raises(InterruptedError):
        undertow.load(tmp_path / "m.tow", progress=enough)
    undertow.load(tmp_path / "m.tow")  # nobody listens any more


@pytest.mark.parametrize("work", ["reference", "calibrate", "timing", "verify"])
def test_long_work_counts_up_to_its_end(work):
    model = gru()
    X = np.random.default_rng(2).normal(size=(30, 4)).astype(np.float32)
    from undertow.accuracy.verify import verify

    calls = told(
        {
            "reference": lambda: reference.run(model.graph, X),
            "calibrate": lambda: calibrate.search(model.graph, {next(iter(model.inputs)): X}, 1.0),
            "timing": lambda: timing.record([lambda: None], [100]),
            "verify": lambda: verify(model, frames=20),
        }[work]
    )
    assert calls[-1] == ("", 0, 0)
    counted = [(done, total) for what, done, total in calls if what and total]
    assert counted and all(0 <= done <= total for done, total in counted)


def test_time_is_measured_while_nothing_is_drawn():
    still = []
    with _progress.listening(lambda what, done, total, still_=False: still.append((what, still_))):
        timing.record([lambda: None], [1000])
    assert len(still) == timing.ROUNDS + 1 and all(kept for what, kept in still if what)


# -- what is drawn ----------------------------------------------------------------------------------------------------


@needs_tqdm
def test_a_terminal_shows_it_and_is_left_clean(impatient):
    stream = Terminal()
    with Bar(stream) as bar, _progress.listening(bar):
        _progress.tell("sorting", 30, 60)
        wait_for(stream, "sorting:  50%")
        _progress.tell("thinking")
        wait_for(stream, "thinking 00:0")
        _progress.tell("")
        assert stream.getvalue().rpartition("\r")[2] == ""  # at once: what is printed next starts a line
    assert threading.active_count() == 1 or not any("_watch" in t.name for t in threading.enumerate())


def test_nothing_is_drawn_elsewhere(impatient):
    stream = io.StringIO()
    with Bar(stream) as bar, _progress.listening(bar):
        _progress.tell("sorting", 30, 60, still=True)
        time.sleep(0.01)
        assert bar._thread is None
    assert stream.getvalue() == ""


@needs_tqdm
def test_short_work_shows_nothing():
    stream = Terminal()
    with Bar(stream) as bar, _progress.listening(bar):
        _progress.tell("sorting", 30, 60, still=True)
    assert stream.getvalue() == ""


def test_without_tqdm_a_terminal_stays_empty(impatient, monkeypatch):
    monkeypatch.setattr(_progress_bar, "_tqdm", lambda: None)
    stream = Terminal()
    with Bar(stream) as bar, _progress.listening(bar):
        _progress.tell("sorting", 30, 60, still=True)
        time.sleep(0.01)
    assert stream.getvalue() == ""


@needs_tqdm
def test_lines_are_not_printed_into_a_bar(impatient):
    stream = Terminal()
    with Bar(stream) as bar:
        bar("sorting", 30, 60)
        wait_for(stream, "sorting")
        bar._still = True
        with bar._lock:
            pass  # the thread has drawn
        say("a line", file=stream)
        before = stream.getvalue().partition("a line")[0]
        assert before.endswith("\r") and not before.rstrip("\r ").endswith("|")


@needs_tqdm
def test_names_of_files_are_shown_and_not_obeyed(impatient):
    stream = Terminal()
    with Bar(stream) as bar:
        bar("reading \x1b[2J\n.onnx", 1, 2, still=True)
        assert r"reading \x1b[2J\n.onnx" in stream.getvalue() and "\x1b[2J" not in stream.getvalue()


@needs_tqdm
def test_progress_of_a_run_shows_on_a_terminal_only(impatient):
    stream = Terminal()
    with Progress(100, stream=stream, seconds=5.0) as progress:
        progress.advance(50)
        wait_for(stream, "50%")
        wait_for(stream, "x real time")
        progress.advance(50)
    assert stream.getvalue().endswith("x real time\n") and "100 frames, 5.0 s of sound" in stream.getvalue()
    stream = io.StringIO()
    with Progress(100, stream=stream, seconds=5.0) as progress:
        progress.advance(100)
    assert stream.getvalue() == ""


@needs_tqdm
def test_a_command_draws_on_standard_error_alone(cli, impatient, monkeypatch, tmp_path):
    gru().save(tmp_path / "m.tow")
    plain = cli("verify", tmp_path / "m.tow")[1]
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    code, out, _ = cli("verify", tmp_path / "m.tow")
    assert (code, out) == (0, plain)
    assert stream.getvalue().rpartition("\r")[2] == ""
