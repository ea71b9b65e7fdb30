# SPDX-License-Identifier: MIT
"""Fixtures that all tests share. Kernel-touching tests take `isa` and run on every instruction set of this CPU."""

import gc
import os
import signal
from pathlib import Path

import numpy as np
import pytest

import undertow
from undertow import passes
from undertow.ir.check import check

ISAS = undertow.isas()

# Tests of signals want those of a terminal. Where pytest was started in the background, or by nohup, some are ignored.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

_broken = []


def _after_pass(graph, name):
    """An error here might be taken for one of the file."""
    try:
        check(graph)
    except undertow.InternalError as error:
        _broken.append(f"after {name}: {error}")


passes.watchers.append(_after_pass)


@pytest.fixture(autouse=True)
def every_pass_leaves_a_graph():
    yield
    broken = _broken.copy()
    _broken.clear()
    assert not broken, "\n".join(broken)


def pytest_report_header():
    found = ", ".join(f"{name}{'' if runs else ' (not on this CPU)'}" for name, runs in ISAS.items())
    return f"undertow {undertow.__version__}: {found}; UNDERTOW_MODELS={os.environ.get('UNDERTOW_MODELS', 'unset')}"


def pytest_collection_finish():
    """Twenty thousand tests are millions of objects, which every collection of garbage would walk over."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=list(ISAS))
def isa(request):
    if not ISAS[request.param]:
        pytest.skip(f"{request.param} cannot run on this CPU")
    return request.param


@pytest.fixture(scope="session")
def models_dir():
    """The folder of real models that the project does not own."""
    folder = os.environ.get("UNDERTOW_MODELS")
    if not folder:
        pytest.skip("needs real models: set UNDERTOW_MODELS to their folder")
    return Path(folder)


@pytest.fixture
def cli(capsys):
    """The command line with these arguments: its exit code, what it printed, and its errors."""
    from undertow.cli import main

    def run(*argv):
        code = main([str(a) for a in argv])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def bytes_decide(monkeypatch):
    """As if only float32 took time in a step: of others the smallest counts as fastest, however small a layer is."""
    monkeypatch.setattr(
        "undertow.accuracy.choice.layer_ps",
        lambda graph, node, precisions, n_bytes: float([*precisions.values()].count("float32")),
    )


@pytest.fixture
def quick_times(monkeypatch):
    """Times in tables of calibrations are there, and no good."""
    monkeypatch.setattr("undertow.accuracy.trials.SECONDS", 1e-3)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


_largest = []


def pytest_runtest_logreport(report):
    """Tests of real models print their largest error; the summary shows it, passed or not."""
    if report.when == "call":
        _largest.extend(line for line in report.capstdout.splitlines() if "largest error" in line)


def pytest_terminal_summary(terminalreporter):
    if _largest:
        terminalreporter.section("real models")
        for line in _largest:
            terminalreporter.write_line(line)
