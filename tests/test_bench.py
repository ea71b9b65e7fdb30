# SPDX-License-Identifier: MIT
"""What the tables of `python -m bench` rest on: that everybody computes the same, and that ratios are what they say."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import undertow

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / "bench").exists(), reason="needs the source tree")
SIZE, N_STEPS, N_STREAMS = 24, 9, 5


@pytest.fixture(autouse=True)
def bench_is_found(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture(params=["rnn", "gru", "lstm"])
def layer(request):
    from bench.models import Weights

    return Weights.random(request.param, SIZE, SIZE)


@pytest.fixture
def X():
    return np.random.default_rng(0).standard_normal((N_STEPS, N_STREAMS, SIZE)).astype(np.float32)


def contender(name, seconds=0.0, answer=None, error=(0.0, 1e-5)):
    from bench.clock import Statement
    from bench.models import Contender

    def run():
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    return Contender(name, Statement("run()", {"run": run}), answer or (lambda X: X), error)


def times(*microseconds):
    from bench.clock import Times

    return Times(np.array(microseconds, float))


def differences(contenders, X, expected):
    """Of every contender, the largest from what ONNX Runtime gave."""
    return [float(np.abs(c.answer(X) - expected).max()) for c in contenders]


def by_onnx_runtime(layer, X):
    """(T, batch, I) -> (T, batch, H)"""
    pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    from bench.models import ort_session

    session = ort_session(layer.onnx(len(X), ("Y",), X.shape[1]))
    return session.run(None, {"x": X})[0].reshape(*X.shape[:2], SIZE)


def test_our_own_ways_compute_what_onnx_runtime_does(layer, X):
    from bench import fewer, pool, weights

    expected = by_onnx_runtime(layer, X)
    for precision in ("float32", *fewer.PRECISIONS):
        least, most = weights.ERRORS.get(precision, (0.0, 1e-5))
        ours = [
            (weights.undertow_run(layer, X[:, 0], precision), X[:, 0], expected[:, 0]),
            (pool.undertow_pool(layer, X[0], precision=precision), X, expected),
        ]
        for one, frames, right in ours:
            (difference,) = differences([one], frames, right)
            assert least <= difference <= most, (one.name, difference)


@pytest.mark.parametrize("peer", ["openvino", "tract", "MNN"])
def test_every_way_of_a_peer_computes_what_onnx_runtime_does(layer, X, peer):
    pytest.importorskip(peer, reason=f"pip install {peer}")
    from bench import mnn_peer, openvino_peer, tract_peer

    module = {"openvino": openvino_peer, "tract": tract_peer, "MNN": mnn_peer}[peer]
    expected = by_onnx_runtime(layer, X)
    ways = [
        (module.runs(layer, X[:, 0]), X[:, 0], expected[:, 0]),
        (module.steps(layer, X[0, 0].copy()), X[:, 0], expected[:, 0]),
        (module.steps(layer, X[0]), X, expected),
    ]
    for contenders, frames, right in ways:
        for _ in range(2):  # the second time from a zero state again
            assert max(differences(contenders, frames, right)) <= 1e-5


def test_openvino_on_its_defaults_is_held_to_the_precision_that_it_took(layer, X):
    pytest.importorskip("openvino", reason="pip install openvino")
    from bench import openvino_peer

    (one,) = openvino_peer.steps(layer, X[0], default=True)
    assert one.error == openvino_peer.ERRORS[openvino_peer.default_precision()]
    (difference,) = differences([one], X, by_onnx_runtime(layer, X))
    assert one.error[0] <= difference <= one.error[1]


def test_who_does_not_round_or_rounds_too_much_is_refused(X):
    from bench import models

    first = contender("undertow")
    models.check([first, contender("fine", answer=lambda X: X + np.float32(1e-3), error=(1e-5, 1e-2))], X)
    with pytest.raises(SystemExit, match=r"exact and undertow differ by 0, expected 1e-05 to 0\.01"):
        models.check([first, contender("exact", error=(1e-5, 1e-2))], X)
    with pytest.raises(SystemExit, match=r"coarse and undertow differ by 0\.1, expected 1e-05 to 0\.01"):
        models.check([first, contender("coarse", answer=lambda X: X + np.float32(0.1), error=(1e-5, 1e-2))], X)


def test_decoders_give_the_texts_of_loops_over_onnx_runtime(monkeypatch):
    pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    from bench import decoding

    monkeypatch.setattr(decoding, "N_IDS", 40)
    monkeypatch.setattr(decoding, "N_FRAMES", 12)
    for name, _, _, ways in decoding.contests():
        decoding.check(name, ways)
        with pytest.raises(SystemExit, match=f"{name}: not the same text"):
            decoding.check(name, [lambda: [1], *ways] if "beam" not in name else [lambda: ([1], 0.0), *ways])


def test_slow_ways_of_a_peer_are_left_out_and_slow_peers_are_not():
    from bench import models

    ways = [contender("a"), contender("b", 2e-3), contender("b", 2e-2), contender("c", 2e-2)]
    assert models.fastest_ways(ways) == [ways[0], ways[1], ways[3]]
    best = models.best_ways(ways, [times(1), times(5, 5, 5), times(4, 4, 9), times(7)])
    assert {name: t.median for name, t in best.items()} == {"a": 1, "b": 4, "c": 7}


def test_rows_beside_openvino(monkeypatch):
    from bench import fewer
    from bench.report import Goal

    monkeypatch.setattr(fewer, "PRECISIONS", ("int16", "int8"))
    monkeypatch.delenv("UT_ISA", raising=False)
    columns = list(fewer.table("t", "layer").columns)
    measured = {"undertow": times(10, 20), "undertow int16": times(5, 5), "undertow int8": times(2, 4)}
    measured |= {"OpenVINO": times(30, 30), "OpenVINO default": times(4, 5)}
    targets = fewer.Targets(float32=1.75, default=1, openvino=2)
    cells = dict(zip(columns, fewer.row("lstm 64", measured, targets), strict=True))
    assert cells["int16 vs float32"] == Goal(3.0, 1.75)  # the median of 10 / 5 and 20 / 5
    assert cells["int16 vs OpenVINO default"] == Goal(0.9, 1)
    assert not cells["int16 vs OpenVINO default"].met
    assert cells["int16 vs OpenVINO float32"] == Goal(6.0, 2)
    assert (cells["int8 vs float32"], cells["float32 vs OpenVINO default"]) == (5.0, pytest.approx(0.325))
    assert (cells["OpenVINO float32"], cells["OpenVINO default"]) == (30, 4.5)

    monkeypatch.setenv("UT_ISA", "avx2")  # no target against a peer that takes more than that
    cells = dict(zip(columns, fewer.row("lstm 64", measured, targets), strict=True))
    assert (cells["int16 vs OpenVINO default"], cells["int16 vs OpenVINO float32"]) == (0.9, 6.0)
    assert cells["int16 vs float32"] == Goal(3.0, 1.75)
    alone = {name: t for name, t in measured.items() if name.startswith("undertow")}
    cells = dict(zip(columns, fewer.row("lstm 64", alone, targets), strict=True))
    assert cells["OpenVINO default"] is None and cells["int16 vs OpenVINO float32"] is None
    assert cells["int16 vs float32"] == Goal(3.0, 1.75)


@pytest.mark.parametrize(
    ("isa", "size", "target"),
    [("avx512vnni", 512, 1.8), ("avx512", 1024, 2.8), ("avxvnni", 64, 2), ("avx2", 1024, 3), ("scalar", 64, None)],
)
def test_targets_of_int16_depend_on_the_vectors(isa, size, target):
    from bench import weights

    assert weights.core_target("int16", size, isa) == target
    assert isa in undertow.isas()


def test_limits_of_errors():
    from bench import accuracy
    from bench.report import Goal, Table

    assert accuracy.limit("nsnet2-plc", "int16") == 0.8
    assert accuracy.limit("nsnet2-plc", accuracy.MIXED) == 4.0  # a third of 22.6 would be more
    assert accuracy.limit("g2p-en decoder", accuracy.MIXED) == pytest.approx(0.4)
    assert accuracy.limit("anydrive", accuracy.MIXED) == 1.0
    assert accuracy.limit("anydrive", "int8") is None
    assert accuracy.limit("anydrive", "int4") is None
    assert set(accuracy.INT8_BEFORE) == set(accuracy.CASES) and len(accuracy.CASES) == 11

    goals = [Goal(share, 0.8, at_most=True) for share in (0.1, 0.29, 0.3, 0.5)]
    table = Table("t", ["model", "%", "% fitted"], [["m", goal, goals[0]] for goal in goals])
    assert accuracy._close(table) == ["models below 0.3 %", Goal(2, 9), Goal(4, 9)]


def test_what_libraries_print_is_not_in_the_tables():
    code = "import os; from bench.report import tables_alone; tables_alone(); os.write(1, b'noise'); print('table')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("table\n", "noise")
