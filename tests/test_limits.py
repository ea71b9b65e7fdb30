# SPDX-License-Identifier: MIT
"""A small file may ask for much: what a model costs is said before it runs, and refused where that is too much."""

import os
import socket
import sys

import numpy as np
import pytest

import undertow
from networks import single, zoo
from undertow import FormatError, LimitError, UnsupportedError, audio
from undertow.compile import compile_graph
from undertow.ir.graph import Graph
from undertow.model import LIMITS, Model
from undertow.passes.precisions import with_weights


def dense(rows, columns, *batch):
    g = Graph("dense")
    x = g.input("x", (*batch, columns))
    g.output("y", g.add("dense", [x], weights={"W": np.ones((rows, columns))}))
    return Model.from_graph(g)


def test_multiply_adds_are_those_of_the_products():
    assert dense(30, 20).multiply_adds == 30 * 20
    assert dense(30, 20, 7).multiply_adds == 7 * 30 * 20
    for op, gates in (("rnn", 1), ("gru", 3), ("lstm", 4)):
        model = Model.from_graph(single(np.random.default_rng(0), op, 20, 33))
        assert model.multiply_adds == gates * 33 * (20 + 33)
    projected = Model.from_graph(single(np.random.default_rng(0), "lstm", 20, 33, projection=10))
    assert projected.multiply_adds == 4 * 33 * (20 + 10) + 33 * 10
    g = Graph("product")
    a, b = g.input("a", (5, 6, 7)), g.input("b", (5, 7, 8))
    g.output("y", g.add("matmul", [a, b]))
    assert Model.from_graph(g).multiply_adds == 5 * 6 * 7 * 8
    assert "about 210 multiply-adds and 1.1 KiB a step" in str(dense(30, 7))
    g = Graph("elements")
    g.output("y", g.add("add", [g.input("a", 100), g.input("b", 100)]))
    assert Model.from_graph(g).multiply_adds == 100


def test_bytes_of_a_step_are_its_weights_frames_and_states():
    model = Model.from_graph(single(np.random.default_rng(0), "gru", 32, 64))
    weights = 4 * (3 * 64 * (32 + 64) + 3 * 64)
    frames = 4 * (32 + 64 + 64)
    assert weights + frames <= model.bytes_per_step <= weights + frames + 4 * 3 * 64
    eighth = Model.from_graph(with_weights(single(np.random.default_rng(0), "gru", 32, 64), "int8"))
    assert eighth.bytes_per_step < 0.35 * model.bytes_per_step
    g = Graph("table")  # of which a step reads two rows
    ids = g.input("ids", (2,), "int32")
    g.output("y", g.add("embedding", [ids], weights={"table": np.ones((1000, 16))}))
    assert Model.from_graph(g).bytes_per_step < 1000


def greedy():
    """A register of 2^20 numbers, and a product of a frame with itself: a kilobyte that asks for seconds."""
    g = Graph("greedy")
    x = g.input("x", 1)
    big = g.add("select", [x], weights={"indices": np.zeros((1024, 1024), np.int64)})
    g.output("y", g.add("matmul", [big, big]))
    s = g.state("s", (1024, 1024))
    g.add("state_write", [big], states=[s])
    return g


def test_limits_refuse_by_name(tmp_path):
    path = tmp_path / "greedy.tow"
    Model.from_graph(greedy()).save(path)
    model = undertow.load(path)
    assert path.stat().st_size < 1000
    assert model.multiply_adds >= 1 << 30 and model.stream_bytes > 16 << 20
    for name in LIMITS:
        asked = getattr(model, name)
        undertow.load(path, limits={name: asked})
        with pytest.raises(
            LimitError, match=rf"greedy\.tow.* asks for {name} = {asked:,}, limits allow {asked - 1:,}; if you"
        ):
            undertow.load(path, limits={name: asked - 1})
    assert issubclass(LimitError, UnsupportedError)
    undertow.load(path, limits=dict.fromkeys(LIMITS, 1 << 40))
    with pytest.raises(TypeError, match="'stream' is not a limit; there are: file_bytes"):
        undertow.load(path, limits={"stream": 5})
    for what in ("100", None, float("nan")):
        with pytest.raises(TypeError, match=r"limits: stream_bytes is .*, expected a number"):
            undertow.load(path, limits={"stream_bytes": what})
    undertow.load(path, limits={"stream_bytes": 1e12})


def gemm(onnx):
    W = onnx.numpy_helper.from_array(np.ones((30, 20), np.float32), "W")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gemm", ["x", "W"], ["y"], transB=1)], "g", [value("x", 1, [1, 20])],
        [value("y", 1, [1, 30])], [W],
    )  # fmt: skip
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])


def test_limits_hold_for_other_formats(tmp_path):
    onnx = pytest.importorskip("onnx", reason='pip install "undertow[onnx]"')
    path = tmp_path / "dense.onnx"
    onnx.save(gemm(onnx), path)
    assert undertow.load(path, limits={"multiply_adds": 600}).multiply_adds == 600
    with pytest.raises(LimitError, match=r"dense\.onnx"):
        undertow.load(path, limits={"multiply_adds": 599})
    with pytest.raises(LimitError):
        Model(compile_graph(zoo()), limits={"state_bytes": 100})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no named pipes")
@pytest.mark.parametrize(
    "suffix", [".tow", ".onnx", ".keras", ".pt", ".json", ".nam", ".safetensors", ".npz", ".rnnn", ""]
)
def test_pipes_are_no_files(tmp_path, suffix):
    """Nobody writes to it, so whoever reads it waits for ever."""
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    for read in (undertow.load, undertow.read_weights, audio.read):
        with pytest.raises(FormatError, match="a pipe, expected a file"):
            read(pipe)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such devices")
def test_devices_sockets_and_folders_are_no_files(tmp_path):
    for device in ("/dev/zero", "/dev/null"):
        with pytest.raises(FormatError, match="a device, expected a file"):
            undertow.load(device)
    (tmp_path / "link.tow").symlink_to("/dev/zero")
    with pytest.raises(FormatError, match="a device"):
        undertow.load(tmp_path / "link.tow")
    with pytest.raises(IsADirectoryError):
        undertow.load(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises((OSError, FormatError)):
            undertow.load(tmp_path / "s")
