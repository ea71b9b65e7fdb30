# SPDX-License-Identifier: MIT
"""The public Cython API, used as others use it: a package of its own (cython_consumer/), built here and now."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import numpy as np
import pytest

import undertow
from frames import bits, vectors
from networks import single, zoo
from undertow.ir.graph import Graph
from undertow.model import Model

CONSUMER = Path(__file__).parent / "cython_consumer"


def compiler():
    for command in (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang"):
        if command and shutil.which(command.split()[0]):
            return command
    return None


def build(folder, site):
    """Build a copy of the consumer in `folder` against the undertow that lies in `site`."""
    shutil.copytree(CONSUMER, folder)
    env = {name: value for name, value in os.environ.items() if name not in ("CPATH", "C_INCLUDE_PATH")}
    env |= {"PYTHONPATH": str(site), "CC": compiler(), "CFLAGS": "-O1 -g0"}
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder in which the consumer was built against the undertow that these tests import."""
    if not compiler():
        pytest.skip("needs a C compiler: apt install gcc")
    folder = tmp_path_factory.mktemp("consumer") / "package"
    build(folder, Path(undertow.__file__).parents[1])
    return folder


@pytest.fixture(scope="module")
def consumer(built):
    (path,) = [p for p in built.iterdir() if p.name.startswith("consumer.") and p.suffix in (".so", ".pyd")]
    spec = importlib.util.spec_from_file_location("consumer", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("way", ["step_all", "run_all"])
@pytest.mark.parametrize("op", ["rnn", "gru", "lstm"])
def test_same_bits_as_run(consumer, way, op, isa):
    graph = single(np.random.default_rng(1), op, 5, 21)
    if op == "lstm":
        del graph.outputs["c"]
    model = Model.from_graph(graph, isa)
    X = vectors(200, 5)
    expected = model.run(X)
    Y = np.full_like(expected, np.nan)
    stream = model.stream()
    getattr(consumer, way)(stream, X, Y)
    np.testing.assert_array_equal(bits(Y), bits(expected))
    # The state went along: the stream continues from Python where compiled code left it.
    reference = model.stream()
    reference.run(X)
    assert stream.snapshot() == reference.snapshot()


@pytest.mark.parametrize("way", ["step_all", "run_all"])
def test_timesteps_are_kept(consumer, way):
    model = Model.from_graph(single(np.random.default_rng(2), "gru", 5, 21))
    X = vectors(9, 5)
    expected = model.run(X)
    stream, twin = model.stream(rewind=4), model.stream()
    for part, kept in ((X[:2], 2), (X[2:], 4)):
        Y = np.empty((len(part), 21), np.float32)
        getattr(consumer, way)(stream, part, Y)
        assert stream.kept == kept
    np.testing.assert_array_equal(bits(Y), bits(expected[2:]))
    twin.run(X[:5])
    stream.rewind(4)
    assert stream.snapshot() == twin.snapshot()


def test_example_model(consumer):
    model = undertow.load(undertow.example("digits"))
    X = vectors(50, 8)
    Y = np.empty((50, 10), np.float32)
    consumer.step_all(model.stream(), X, Y)
    np.testing.assert_array_equal(bits(Y), bits(model.run(X)))


def test_ids_go_through_the_same_pointers(consumer):
    rng = np.random.default_rng(3)
    graph = Graph("ids")
    ids = graph.input("ids", (), "int32")
    graph.output("y", graph.add("embedding", [ids], weights={"table": rng.normal(size=(9, 4))}))
    model = Model.from_graph(graph)
    x = rng.integers(0, 9, 40).astype(np.int32)
    Y = np.empty((40, 4), np.float32)
    consumer.step_ids(model.stream(), x, Y)
    np.testing.assert_array_equal(bits(Y), bits(model.run(x)))


def test_input_and_output_may_be_one_array(consumer):
    model = Model.from_graph(single(np.random.default_rng(4), "gru", 6, 6))
    x = vectors(1, 6)[0]
    y, stream = x, model.stream()
    for _ in range(30):
        y = stream.step(y)
    consumer.feed_back(model.stream(), x, 30)
    np.testing.assert_array_equal(bits(x), bits(y))


def test_compiled_loops_run_side_by_side(consumer):
    model = Model.from_graph(single(np.random.default_rng(5), "gru", 4, 32))
    X = [vectors(3000, 4, seed) for seed in range(4)]
    Y = [np.empty((3000, 32), np.float32) for _ in X]
    threads = [
        threading.Thread(target=consumer.step_all, args=(model.stream(), x, y)) for x, y in zip(X, Y, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for x, y in zip(X, Y, strict=True):
        np.testing.assert_array_equal(bits(y), bits(model.run(x)))


def test_no_frames(consumer):
    model = Model.from_graph(single(np.random.default_rng(5), "gru", 4, 8))
    stream = model.stream()
    before = stream.snapshot()
    for way in (consumer.step_all, consumer.run_all):
        way(stream, np.empty((0, 4), np.float32), np.empty((0, 8), np.float32))
    assert stream.snapshot() == before


def test_sizes_are_there_to_check(consumer):
    model = Model.from_graph(single(np.random.default_rng(5), "gru", 4, 8))
    stream = model.stream()
    assert (stream.n_inputs, stream.n_outputs) == (4, 8)
    with pytest.raises(ValueError, match=r"expected X \(T, 4\) and Y \(T, 8\)"):
        consumer.step_all(stream, np.empty((3, 5), np.float32), np.empty((3, 8), np.float32))
    with pytest.raises(ValueError, match="one input and one output"):
        consumer.step_all(Model.from_graph(zoo()).stream(), np.empty((3, 7), np.float32), np.empty((3, 6), np.float32))
    with pytest.raises(TypeError):
        consumer.step_all(None, np.empty((3, 4), np.float32), np.empty((3, 8), np.float32))


def test_needs_no_headers_but_python_s(built):
    """Neither NumPy's nor undertow's: whoever can cimport can build."""
    source = (built / "consumer.c").read_text(encoding="utf-8")
    includes = {line for line in source.splitlines() if line.lstrip().startswith("#include")}
    assert includes
    assert not [line for line in includes if "undertow" in line or "numpy" in line]
