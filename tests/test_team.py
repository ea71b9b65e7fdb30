# SPDX-License-Identifier: MIT
"""Several threads for one stream give the bits of one, on every instruction set and in every way to advance it."""

import gc
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from frames import assert_same_bits, cut, frames
from networks import cached, counter, framed, round_trip_graphs, single, zoo
from test_pool import CELLS, cell
from undertow.ir.graph import Graph
from undertow.model import Model
from undertow.passes.sparsify import with_blocks
from undertow.stream import Stream

TASKS = Path("/proc/self/task")
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

GRAPHS = {
    **{name: lambda name=name: cell(name, hidden=50) for name in CELLS},
    "zoo": zoo,
    "counter": counter,
    "framed": framed,
    "cached": cached,
    **{f"round_trip_{i}": lambda i=i: round_trip_graphs()[i] for i in (1, 2, 3, 4)},
}
MATRICES = ("W", "R", "projection")


def in_precision(graph: Graph, precision: str) -> Graph:
    """The graph with every matrix stored in `precision`."""
    for node in graph.nodes:
        if node.op in ("dense", "rnn", "gru", "lstm") and precision != "float32":
            node.precisions.update({key: precision for key in MATRICES if key in node.weights})
    return graph


def together(model: Model, threads: int, block: int = 0) -> Stream:
    """A stream whose threads share every layer with weights, however small."""
    stream = Stream(model, block, threads, measure=False, least=0)
    assert stream.threads == threads
    return stream


def large(hidden: int = 160, op: str = "lstm", precision: str = "float32", isa: str | None = None) -> Model:
    return Model.from_graph(in_precision(single(np.random.default_rng(0), op, 40, hidden), precision), isa)


def n_tasks() -> int:
    return len(list(TASKS.iterdir()))


# -- the same bits ----------------------------------------------------------------------------------------------------


def test_sparse_layers_are_not_shared(isa):
    """Their lists of blocks cannot be cut into panels; a layer beside them is shared all the same."""
    graph = zoo()
    sparse = next(node for node in graph.nodes if node.op == "lstm")
    sparse.precisions.update({key: "sparse float32" for key in MATRICES if key in sparse.weights})
    model = Model.from_graph(graph, isa)
    X = frames(model, 24)
    assert_same_bits(together(model, 2).run(X), model.stream().run(X), "run")

    everywhere = with_blocks(single(np.random.default_rng(0), "gru", 40, 64), True)
    assert Stream(Model.from_graph(everywhere, isa), 0, 2, measure=False, least=0).threads == 1


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", [name for name in GRAPHS if name != "counter"])
def test_every_network(name, precision, threads, isa):
    model = Model.from_graph(in_precision(GRAPHS[name](), precision), isa)
    T = 24
    X = frames(model, T)
    alone = model.stream()
    expected = alone.run(X)

    stream = together(model, threads)
    assert_same_bits(stream.run(X), expected, "run")
    assert stream.snapshot() == alone.snapshot()

    stream.reset()
    for t in range(T // 2):
        assert_same_bits(stream.step(cut(X, t)), cut(expected, t), f"step {t}")
    fork = stream.fork()
    assert fork.threads == threads
    rest = np.s_[T // 2 :]
    stream.propose(cut(X, 0))
    stream.rollback()
    assert_same_bits(stream.propose(cut(X, T // 2)), cut(expected, T // 2), "propose")
    stream.commit()
    assert_same_bits(stream.run(cut(X, np.s_[T // 2 + 1 :])), cut(expected, np.s_[T // 2 + 1 :]), "rest")
    assert_same_bits(fork.run(cut(X, rest)), cut(expected, rest), "fork")
    assert stream.snapshot() == fork.snapshot() == alone.snapshot()


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "int4"])
def test_other_precisions(precision, isa):
    model = Model.from_graph(in_precision(zoo(), precision), isa)
    X = frames(model, 60)
    assert_same_bits(together(model, 3).run(X), model.stream().run(X))


@pytest.mark.parametrize("hidden", [1, 16, 17, 40])
def test_fewer_panels_than_threads(hidden):
    model = Model.from_graph(single(np.random.default_rng(1), "lstm", 3, hidden, peephole=True))
    X = frames(model, 30)
    for threads in (2, 5):
        assert_same_bits(together(model, threads).run(X), model.stream().run(X), f"{threads} threads")


@pytest.mark.parametrize("block", [1, 7, 0])
def test_chunks_blocks_and_snapshots(block):
    model = Model.from_graph(zoo())
    X = frames(model, 130)
    expected = model.stream().run(X)
    rng = np.random.default_rng(block)
    stream, t = together(model, 2, block), 0
    while t < 130:
        n = min(int(rng.integers(0, 60)), 130 - t)
        assert_same_bits(stream.run(cut(X, np.s_[t : t + n])), cut(expected, np.s_[t : t + n]), f"from {t}")
        t += n
        other = together(model, 3, block)
        other.restore(stream.snapshot())
        stream = other


def test_a_network_without_weights_to_share():
    stream = Stream(Model.from_graph(counter()), 0, 2, measure=False, least=0)
    assert stream.threads == 1
    assert stream.step(np.ones(3, np.float32)).tolist() == [1.5] * 3


def test_settle_and_state():
    model = large()
    one, two = model.stream(), Stream(model, 0, 2, measure=False)
    assert two.threads == 2
    x = frames(model)
    assert one.settle(x, 30) == two.settle(x, 30)
    assert one.snapshot() == two.snapshot()
    two.state["cell.h"] = one.state["cell.h"] * 0.5
    one.state["cell.h"] = one.state["cell.h"] * 0.5
    assert_same_bits(two.step(x), one.step(x))


def test_many_teams_at_once():
    model = large(96, "gru")
    X = frames(model, 20)
    expected = model.stream().run(X)
    found = [None] * 4

    def work(i):
        stream = together(model, 2)
        found[i] = np.stack([stream.step(x) for x in X])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for y in found:
        assert_same_bits(y, expected)


def test_helpers_that_fell_asleep():
    model = large()
    X = frames(model, 6)
    expected, stream = model.stream().run(X), together(model, 2)
    for x, y in zip(X, cut(expected, np.s_[:])["y"] if isinstance(expected, dict) else expected, strict=True):
        time.sleep(0.005)
        got = stream.step(x)
        assert_same_bits(got["y"] if isinstance(got, dict) else got, y)


# -- how many threads -------------------------------------------------------------------------------------------------


def test_the_measurement_leaves_a_fresh_stream():
    model = large()
    X = frames(model, 5)
    for _ in range(3):
        stream = Stream(model, 0, 2, measure=True)
        assert stream.threads in (1, 2)
        assert_same_bits(stream.run(X), model.stream().run(X))


def test_small_models_keep_to_one_thread(monkeypatch):
    monkeypatch.setattr("undertow._threads.usable_cpus", lambda: 8)
    before = n_tasks() if TASKS.exists() else 0
    for measure in (True, False):
        stream = large(20).stream(threads=8, measure=measure)
        assert stream.threads == 1
    assert not TASKS.exists() or n_tasks() == before


def test_model_stream_takes_threads(monkeypatch):
    monkeypatch.setattr("undertow._threads.usable_cpus", lambda: 2)
    model = large()
    assert model.stream().threads == 1
    assert model.stream(threads=2, measure=False).threads == 2
    continued = model.stream(model.stream().snapshot(), threads=2, measure=False)
    assert continued.threads == 2
    assert "2 threads" in repr(continued)


@pytest.mark.parametrize("threads", [0, -1, CPUS + 1, 1000])
def test_bad_numbers_of_threads(threads):
    with pytest.raises(ValueError, match=f"threads is {threads}, expected 1 to {CPUS}, the CPUs"):
        large().stream(threads=threads)


def test_threads_must_be_an_integer():
    with pytest.raises(TypeError):
        large().stream(threads=1.5)


def test_a_stream_has_at_most_64_threads():
    with pytest.raises(ValueError, match="threads is 65, expected 1 to 64"):
        Stream(large(), 0, 65)


# -- threads end ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not TASKS.exists(), reason="counts the threads of a process in /proc")
def test_threads_end_with_their_stream():
    model = large()
    x = frames(model)
    before = n_tasks()
    for _ in range(20):
        stream = together(model, 3)
        assert n_tasks() == before + 2
        stream.step(x)
        fork = stream.fork()
        assert n_tasks() == before + 4
        del stream, fork
        gc.collect()
        assert n_tasks() == before


def _in_a_child(model, stream, X, expected, answer):
    answer.put(bool(np.array_equal(stream.run(X), expected)) and len(list(TASKS.iterdir())) < 4)


@pytest.mark.skipif(not hasattr(os, "fork") or not TASKS.exists(), reason="needs fork and /proc")
@pytest.mark.parametrize("asleep", [False, True])
def test_a_forked_process_goes_on_alone(asleep):
    model = Model.from_graph(single(np.random.default_rng(0), "gru", 40, 160))
    X = frames(model, 20)
    stream = together(model, 2)
    expected = model.stream().run(X)
    stream.run(X)
    stream.reset()
    if asleep:
        time.sleep(0.05)
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    child = context.Process(target=_in_a_child, args=(model, stream, X, expected, answer))
    child.start()
    assert answer.get(timeout=60)
    child.join(60)
    assert child.exitcode == 0
    assert_same_bits(stream.run(X), expected)


def test_an_interpreter_ends_with_streams_alive():
    import subprocess

    program = (
        "import numpy as np, undertow\n"
        "from networks import single\n"
        "from undertow.stream import Stream\n"
        "model = undertow.model.Model.from_graph(single(np.random.default_rng(0), 'gru', 8, 32))\n"
        "streams = [Stream(model, 0, 3, measure=False, least=0) for _ in range(3)]\n"
        "for s in streams: s.step(np.zeros(8, np.float32))\n"
        "print(sum(s.threads for s in streams))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )
    assert (done.returncode, done.stdout) == (0, "9\n"), done.stderr
