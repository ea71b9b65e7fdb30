# SPDX-License-Identifier: MIT
"""How many timesteps are in a frame is a field of a Graph and of a file: no text says it, and none forges it.

That strided models compute what they should: test_strides.py, test_import_keras_strides.py.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from evil import in_json, in_proto
from keras_files import layer, sequential, write_keras
from onnx_files import bytes_of, cell, helper, model_of, node, random
from test_import_rtneural import entry, layers, weights
from undertow import tow
from undertow.compile import compile_graph
from undertow.importers import onnx
from undertow.ir.compare import difference
from undertow.ir.graph import Graph

FILES = Path(__file__).parent / "data" / "tow"
LINE = "strides along time: 7 timesteps in a frame, 3 out"


def strided(frames_in: Any = 4, frames_out: Any = 2, source: str = "") -> Graph:
    graph = Graph("strided")
    x = graph.add("reshape", [graph.input("x", (4, 2))], attrs={"shape": (2, 4)})
    graph.output("y", graph.add("dense", [x], weights={"W": np.arange(12.0).reshape(3, 4)}))
    graph.frames_in, graph.frames_out, graph.source = frames_in, frames_out, source
    return graph


def sealed(blob: bytes, version: int, frames_in: int, frames_out: int) -> bytes:
    """A file with another header."""
    made = bytearray(blob)
    struct.pack_into("<I", made, 8, version)
    struct.pack_into("<II", made, 48, frames_in, frames_out)
    end = 64 + struct.unpack_from("<I", made, 24)[0]
    struct.pack_into("<I", made, 28, zlib.crc32(made[32:end], zlib.crc32(made[:28])))
    return bytes(made)


def frames(model: undertow.Model | Graph) -> tuple[int, int]:
    return model.frames_in, model.frames_out


# -- the file ---------------------------------------------------------------------------------------------------------


def test_the_header_says_it_and_the_rest_is_as_before() -> None:
    """strides_1.tow was written before version 2 existed, of the graph that strides.tow is written of."""
    new, old = ((FILES / f"strides{end}.tow").read_bytes() for end in ("", "_1"))
    assert (new[8:12], old[8:12]) == (b"\2\0\0\0", b"\1\0\0\0")
    assert (new[48:56], old[48:56]) == (struct.pack("<II", 4, 2), bytes(8))
    changed = {i for i in range(len(old)) if new[i] != old[i]}
    assert changed <= {*range(8, 12), *range(28, 32), *range(48, 56)}


def test_a_file_of_before_loads_as_ever() -> None:
    new, old = (undertow.load(FILES / f"strides{end}.tow", check=True) for end in ("", "_1"))
    assert frames(old) == frames(new) == frames(old.graph) == frames(new.graph) == (4, 2)
    assert difference(old.graph, new.graph) == "" and old.graph.notes == new.graph.notes
    x = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
    np.testing.assert_array_equal(old.run(x), new.run(x))
    assert old.run(x).shape == (6, 3)
    new.stream().restore(old.stream().snapshot())
    assert compile_graph(old.graph) == (FILES / "strides.tow").read_bytes()


@pytest.mark.parametrize("said", [(4, 2), (4, 1), (1, 2), (1 << 24, 1 << 24)])
def test_what_a_graph_says_comes_back(said: tuple[int, int], tmp_path: Path) -> None:
    model = undertow.Model.from_graph(strided(*said, source="here\nand there"))
    model.save(tmp_path / "m.tow")
    loaded = undertow.load(tmp_path / "m.tow")
    assert frames(loaded) == frames(model) == frames(model.graph) == said
    assert loaded.graph.notes == ("here", "and there") and loaded.source == "here\nand there"
    assert frames(loaded.with_weights("int8")) == said
    assert compile_graph(loaded.graph) == (tmp_path / "m.tow").read_bytes()


def test_the_first_version_that_can_say_it_is_written() -> None:
    blob = compile_graph(strided(1, 1))
    assert blob[8] == 1 and blob[48:64] == bytes(16)
    assert compile_graph(strided(1, 2))[8] == compile_graph(strided(2, 1))[8] == 2


def test_a_source_that_an_old_file_would_be_misread_by() -> None:
    blob = compile_graph(strided(1, 1, f"a\n{LINE}\nb"))
    assert blob[8] == 2
    model = undertow.Model(blob)
    assert frames(model) == frames(tow.read(blob)) == (1, 1)
    assert model.source == f"a\n{LINE}\nb" and compile_graph(model.graph) == blob
    # Where the source is cut, half a line may become a whole one.
    cut = "n" * (4096 - len(f"\n{LINE}")) + f"\n{LINE} of its box"
    assert frames(undertow.Model.from_graph(strided(1, 1, cut))) == (1, 1)


@pytest.mark.parametrize(
    "line", [f"a {LINE}", f"{LINE} b", f" {LINE}", LINE.replace("7", "0"), LINE.replace("7", "7" * 7), LINE.title()]
)
def test_other_lines_of_an_old_file_say_nothing(line: str) -> None:
    blob = compile_graph(strided(1, 1, f"a\n{line}"))
    assert blob[8] == 1 and frames(undertow.Model(blob)) == frames(tow.read(blob)) == (1, 1)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ((2, 0, 1), "frames of 0 timesteps, 1 out, expected 1 to 2"),
        ((2, 1, 0), "frames of 1 timesteps, 0 out, expected 1 to 2"),
        ((2, (1 << 24) + 1, 1), "frames of 16777217 timesteps"),
        ((2, 1, (1 << 32) - 1), "4294967295 out"),
        ((1, 2, 0), "reserved header fields are not zero"),
        ((1, 0, 1), "reserved header fields are not zero"),
        ((7, 1, 1), "format version 7, this library reads versions 1 to 6"),
    ],
)
def test_headers_that_are_refused(header: tuple[int, int, int], says: str) -> None:
    with pytest.raises(undertow.FormatError, match=says):
        undertow.Model(sealed(compile_graph(strided()), *header))


def test_an_output_that_has_no_such_timesteps() -> None:
    model = undertow.Model(sealed(compile_graph(strided()), 2, 4, 3))
    with pytest.raises(undertow.ShapeError, match=r"y has frames of shape \(2, 3\), not of 3 timesteps"):
        model.run(np.zeros((8, 2), np.float32))
    assert model.run(np.zeros((2, 4, 2), np.float32)).shape == (2, 2, 3)


# -- the graph --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, -1, (1 << 24) + 1])
def test_a_graph_that_no_file_can_hold(n: int) -> None:
    for said in ((n, 1), (1, n)):
        with pytest.raises(undertow.ShapeError, match=f"frames_(in|out) is {n}, expected 1 to 16,777,216"):
            undertow.Model.from_graph(strided(*said))
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        undertow.Model.from_graph(strided(2.5))


def test_graphs_differ_by_it() -> None:
    assert difference(strided(), strided()) == ""
    for other in (strided(2), strided(4, 1)):
        assert difference(strided(), other) == "how many timesteps are in a frame"


def test_what_is_made_of_a_graph_says_the_same() -> None:
    """Of one that looks ahead, too, whose file is of another graph than it."""
    graph = strided(source="here")
    y = graph.add("window", [graph.nodes[-1].outputs[0]], attrs={"taps": (0, 1)})
    graph.output("z", y)
    assert frames(graph.copy()) == (4, 2) and graph.copy().notes == ("here",)
    model = undertow.Model.from_graph(graph)
    assert model.latency == 1 and frames(model) == frames(model.graph) == (4, 2)
    assert model.graph.notes == ("here",)


def test_layers_say_it() -> None:
    model = undertow.Sequential([undertow.Conv1D(random(np.random.default_rng(0), 3, 4, 3), stride=3)])
    assert frames(model) == frames(model.graph) == (3, 1)


def test_a_note_is_one_line() -> None:
    graph = strided()
    graph.note("made of\nlines", "a\x1bb")
    assert graph.notes == (r"made of\nlines", r"a\x1bb") and graph.source == "made of\\nlines\na\\x1bb"
    graph.source = ""
    assert graph.notes == ()


# -- what comes from files --------------------------------------------------------------------------------------------

FORGED = f"\n{LINE}\nframes_in: 7\nframes_out: 3\nwarning: forged\n{LINE}"


def onnx_files(_: Path) -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    gru = helper.make_node("GRU", ["x", "W", "R", "", "", "h0"], ["y", "h"], hidden_size=3, name="gru")
    inputs, outputs = {"x": ["T", 1, 2], "h0": [1, 1, 3]}, {"y": None, "h": None}
    model = model_of([gru], inputs, outputs, cell(rng, "GRU", 2, 3))
    model.producer_name, model.producer_version, model.domain, model.doc_string = "pytorch", "2", "org", "a model"
    helper.set_model_props(model, {"key": "value"})
    for part in (model.graph, *model.graph.node):
        part.doc_string = "what it is for"
    yield bytes_of(model)
    yield from map(bytes_of, in_proto(model, FORGED))


def keras_files(folder: Path) -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    config = sequential(
        layer("InputLayer", "input", batch_shape=[None, None, 2], dtype="float32"),
        layer("Conv1D", "conv", filters=3, kernel_size=[2], strides=[1], padding="valid", activation="relu"),
        layer("Dense", "dense", units=2, activation="linear", use_bias=False),
    )
    arrays = {
        "layers/conv1d/vars/0": random(rng, 2, 2, 3),
        "layers/conv1d/vars/1": random(rng, 3),
        "layers/dense/vars/0": random(rng, 3, 2),
    }
    path = folder / "made.keras"
    for tree in (config, *in_json(config, FORGED)):
        yield write_keras(path, tree, arrays).read_bytes()
    for version in in_json({"version": "3.4.1"}, FORGED):
        write_keras(path, config, arrays, version.get("version"))
        yield path.read_bytes()


def rtneural_files(_: Path) -> Iterator[bytes]:
    dense = entry("dense", 2, weights(1, 2), weights(2), activation="tanh")
    recurrent = entry("lstm", 3, weights(2, 12), weights(3, 12), weights(12))
    tree = {**layers(dense, recurrent), "metadata": {"producer": "a tool", "frames_in": "1"}}
    for one in (tree, *in_json(tree, FORGED)):
        yield json.dumps(one).encode()


FILES_OF: dict[str, Callable[[Path], Iterator[bytes]]] = {
    "onnx": onnx_files,
    "keras": keras_files,
    "json": rtneural_files,
}


@pytest.mark.parametrize("suffix", FILES_OF)
def test_no_text_of_a_file_says_it(suffix: str, tmp_path: Path) -> None:
    if suffix == "keras":
        pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    path, expected, n_loaded = tmp_path / f"m.{suffix}", None, 0
    for data in FILES_OF[suffix](tmp_path):
        path.write_bytes(data)
        try:
            model = undertow.load(path)
        except undertow.Error:
            assert expected is not None, "the first file is as it should be"
            continue
        n_loaded += 1
        notes = [note.partition(" ")[0] for note in model.graph.notes]
        expected = expected or notes
        assert frames(model) == frames(model.graph) == (1, 1) and notes == expected
        assert bytes(memoryview(model._core))[8] == 1
    assert n_loaded > 5


def test_what_a_producer_writes_changes_no_stride(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = [node("Conv", "x W", "c", strides=[2], kernel_shape=[2]), node("Identity", "c", "y")]
    model = model_of(nodes, {"x": [1, 3, "T"]}, {"y": None}, {"W": random(rng, 4, 3, 2)})
    model.producer_name = FORGED
    (tmp_path / "m.onnx").write_bytes(bytes_of(model))
    graph = onnx.load(tmp_path / "m.onnx")
    assert frames(graph) == frames(undertow.Model.from_graph(graph)) == (2, 1)
    assert [note.partition(":")[0] for note in graph.notes if "forged" not in note] == ["strides along time", "time"]


def test_hundreds_of_notes_hide_nothing(tmp_path: Path) -> None:
    """A file keeps 4,096 characters of them."""
    rng = np.random.default_rng(0)
    nodes = [node("Conv", "x W", "c", strides=[2], kernel_shape=[2])]
    for i in range(100):
        nodes.append(node("CumSum", "c axis", f"s{i}", name=f"a_running_sum_with_a_long_name_{i}"))
    nodes.append(node("Sum", " ".join(f"s{i}" for i in range(100)), "y"))
    model = model_of(nodes, {"x": [1, 3, "T"]}, {"y": None}, {"W": random(rng, 4, 3, 2), "axis": np.array(2)})
    model.producer_name = "p" * 199
    (tmp_path / "m.onnx").write_bytes(bytes_of(model))
    assert frames(undertow.load(tmp_path / "m.onnx")) == (2, 1)
