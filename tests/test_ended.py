# SPDX-License-Identifier: MIT
"""A command that is told to end: what a pipe gave is kept, all else is dropped, and the exit code names the signal."""

import io
import json
import os
import signal
import sys
import time
import weakref

import numpy as np
import pytest

import undertow
from sounds import noise, save
from test_sound import mirror
from undertow import __main__, audio
from undertow.cli import _signals

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs signals of POSIX")

ENDING = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


class Ended(io.RawIOBase):
    """A pipe that holds some bytes, and in place of more of them a signal comes."""

    def __init__(self, data, number):
        self._data, self._number = data, number

    def readable(self):
        return True

    def readinto(self, buffer):
        n = min(len(self._data), len(buffer), 1000)
        if not n:
            os.kill(os.getpid(), self._number)
            pytest.fail("waited on")
        buffer[:n], self._data = self._data[:n], self._data[n:]
        return n


@pytest.fixture
def handlers():
    before = [signal.getsignal(number) for number, _ in ENDING]
    yield
    assert [signal.getsignal(number) for number, _ in ENDING] == before


@pytest.fixture
def pipe(monkeypatch):
    def lay(data, number):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Ended(data, number))))

    return lay


@pytest.mark.parametrize(("number", "code"), ENDING)
def test_what_a_pipe_gave_is_kept(cli, pipe, handlers, tmp_path, number, code):
    x = save(tmp_path / "x.wav", noise(5000))[:, 0]
    data = (tmp_path / "x.wav").read_bytes()
    name = signal.Signals(number).name
    for sound, *given in (
        (data[44:] + b"\0", "--raw", "s16le,8000"),
        (data[:4] + b"\xff" * 4 + data[8:40] + b"\xff" * 4 + data[44:],),
    ):
        path = tmp_path / f"y{len(given)}.wav"
        pipe(sound, number)
        got, out, err = cli("run", mirror(tmp_path, (1,)), "-", *given, "-o", path)
        assert (got, out) == (code, "") and f"ended by {name}; what came before it is in {path}" in err
        assert np.array_equal(audio.read(path)[0][:, 0], x)
    pipe(b"0.5\n0.25\n0.1", number)
    got, out, _ = cli("run", mirror(tmp_path, (1,)), "-o", tmp_path / "y.csv", "--json")
    assert got == code and json.loads(out)["ended_by"] == name and json.loads(out)["frames"] == 2
    assert (tmp_path / "y.csv").read_text() == "0.5\n0.25\n"


@pytest.mark.parametrize(("number", "code"), ENDING)
def test_where_nothing_is_kept_it_ends_at_once(cli, pipe, handlers, tmp_path, number, code):
    pipe(np.zeros(2000, "<i2").tobytes(), number)
    got, out, _ = cli("run", mirror(tmp_path, (1,)), "-", "--raw", "s16le,8000")
    assert got == code and len(out.splitlines()) == 2000


@pytest.mark.parametrize(("number", "code"), ENDING)
def test_half_a_file_is_dropped(cli, handlers, tmp_path, monkeypatch, number, code):
    """Of a file there is more to come, which the answer would lack."""
    save(tmp_path / "x.wav", noise(5000))
    model, before = mirror(tmp_path, (1,)), sorted(tmp_path.iterdir())
    monkeypatch.setattr(audio.writing.Writer, "write", lambda *_: os.kill(os.getpid(), number))
    got, out, _ = cli("run", model, tmp_path / "x.wav", "-o", tmp_path / "y.wav", "--json")
    assert (got, json.loads(out)["error"]["exit_code"]) == (code, code)
    assert sorted(tmp_path.iterdir()) == before


def test_the_second_signal_ends_the_program(handlers):
    stop = _signals.Stop()
    with pytest.raises(_signals.Terminated, match="SIGTERM"), _signals.raised(), stop.watching():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked and stop.unless(lambda: pytest.fail("waited for"), "nothing") == "nothing"
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, _signals.Terminated)]
)
def test_an_import_ends_first(handlers, tmp_path, monkeypatch, number, raised):
    """Modules that begin in C++ may end the process at an exception."""
    (tmp_path / "begins_slowly.py").write_text(f"import os\nos.kill(os.getpid(), {int(number)})\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "begins_slowly", raising=False)
    with pytest.raises(raised) as told, _signals.raised():
        import begins_slowly  # noqa: F401 (is begun)

        time.sleep(10)
    assert told.type is raised and sys.modules.pop("begins_slowly").whole


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, _signals.Terminated)]
)
def test_a_signal_is_not_lost_where_python_ignores_errors(handlers, number, raised):
    class Thing:
        pass

    thing = Thing()
    watch = weakref.ref(thing, lambda _: os.kill(os.getpid(), number))
    with pytest.raises(raised) as told, _signals.raised():
        del thing
        assert watch() is None
        time.sleep(10)
    assert told.type is raised


def test_what_is_ignored_stays_so(cli, tmp_path, monkeypatch):
    """As of a program that was started with nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        load = undertow.load
        monkeypatch.setattr(undertow, "load", lambda *a, **k: (os.kill(os.getpid(), signal.SIGHUP), load(*a, **k))[1])
        assert cli("info", mirror(tmp_path, (1,)))[0] == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("code", "at_once"), [(0, False), (3, False), (130, True), (143, True)])
def test_the_program_does_not_wait_for_the_interpreter(monkeypatch, code, at_once):
    left = []

    def leave(code):
        left.append(code)
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(undertow.cli, "main", lambda: code)
    with pytest.raises(SystemExit) as ended:
        __main__.program()
    assert ended.value.code == code and left == [code] * at_once
