# SPDX-License-Identifier: MIT
"""What was checked stays what it is: buffers that change, mapped files that are overwritten or cut short."""

import mmap
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import undertow
from networks import single, zoo, zoo_input
from tow_words import Words
from undertow import FormatError
from undertow.compile import compile_graph
from undertow.model import Model
from undertow.passes.sparsify import with_blocks

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="a mapped file cannot be changed there")


def aligned(blob):
    """The bytes in an array that starts at a multiple of 64, as a mapped file does, and may be written to."""
    room = np.zeros(len(blob) + 64, np.uint8)
    array = room[-room.ctypes.data % 64 :][: len(blob)]
    array[:] = np.frombuffer(blob, np.uint8)
    return array


@pytest.fixture
def blob():
    return compile_graph(zoo())


def run(model):
    return model.run(zoo_input(50))


def assert_same(got, expected):
    assert all(np.array_equal(got[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "make", [bytearray, aligned, lambda b: memoryview(bytearray(b))], ids=["bytearray", "array", "view"]
)
def test_what_may_be_written_to_is_copied(blob, make):
    expected, buffer = run(Model(blob)), make(blob)
    model = Model(buffer)
    assert not model.mapped
    stream = model.stream()
    memoryview(buffer).cast("B")[:] = bytes(len(blob))
    assert_same(run(model), expected)
    assert_same(stream.run(zoo_input(50)), expected)
    assert model.graph.nodes and model.name == "zoo"


def test_a_read_only_buffer_is_used_where_it_lies(blob):
    array = aligned(blob)
    array.flags.writeable = False
    assert Model(array).mapped and not Model(array, mapped=False).mapped
    assert_same(run(Model(array)), run(Model(blob)))


def test_buffers_with_gaps_are_refused(blob):
    """A view may have its bytes anywhere around the address that it names."""
    twice = np.zeros(2 * len(blob), np.uint8)
    twice[::2] = np.frombuffer(blob, np.uint8)
    behind = np.zeros(3 * len(blob), np.uint8)
    behind[len(blob) - 1 : 2 * len(blob) - 1] = np.frombuffer(blob, np.uint8)
    views = [twice[::2], behind[: len(blob)][::-1], np.broadcast_to(np.uint8(1), (1 << 20,)), memoryview(blob)[::-1]]
    for view in views:
        with pytest.raises(BufferError, match="one after the other"):
            Model(view)
    for nonsense in (None, 5, "text", [1, 2]):
        with pytest.raises(TypeError):
            Model(nonsense)


def test_rows_of_bytes_are_bytes(blob):
    padded = np.frombuffer(blob, np.uint8)
    assert len(padded) % 64 == 0
    assert_same(run(Model(padded.reshape(-1, 64))), run(Model(blob)))


def test_instruction_sets_are_names(blob):
    for name in ("avx9", "scalar\0x", "é", "\ud800", "x" * 1000, 5):
        with pytest.raises(undertow.ISAError, match="isa"):
            Model(blob, name)


def sparse_blob():
    rng = np.random.default_rng(3)
    graph = single(rng, "gru", 64, 64)
    for key in ("W", "R"):
        w = graph.nodes[0].weights[key].reshape(3, 4, 16, 16, 4)
        w[rng.random((3, 4, 1, 16, 1)).repeat(16, 2).repeat(4, 4) < 0.7] = 0
    return compile_graph(with_blocks(graph, True))


@on_posix
@pytest.mark.parametrize("which", ["zoo", "sparse"])
def test_a_mapped_file_that_is_overwritten_harms_nobody(tmp_path, blob, which):
    """Numbers may be wrong; nothing is read but weights, and the model's own text and shapes stay."""
    blob = blob if which == "zoo" else sparse_blob()
    path = tmp_path / "model.tow"
    path.write_bytes(blob)
    model = undertow.load(path)
    assert model.mapped
    x = zoo_input(50) if which == "zoo" else np.ones((50, 64), np.float32)
    stream, pool, shapes = model.stream(), model.pool(3), repr((model.inputs, model.outputs, model.states))
    with path.open("r+b") as file:
        for fill in (b"\0", b"\xff", b"\x7f"):
            file.seek(0)
            file.write(fill * len(blob))
            file.flush()
            os.fsync(file.fileno())
            stream.run(x)
            ids = pool.open(1)
            pool.run(ids, {k: v[None] for k, v in x.items()} if which == "zoo" else x[None])
            pool.close(ids)
            stream.restore(stream.snapshot())
            stream.reset()
            with pytest.raises(FormatError):
                undertow.load(path)
            with pytest.raises(FormatError):
                _ = model.graph
            with pytest.raises(FormatError):
                model.save(tmp_path / "copy.tow")
    assert shapes == repr((model.inputs, model.outputs, model.states)) and model.name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.tow"]


@on_posix
def test_a_file_that_became_another_model_is_noticed(tmp_path, blob):
    path = tmp_path / "model.tow"
    path.write_bytes(blob)
    model = undertow.load(path)
    other = Words(blob)
    with path.open("r+b") as file:
        file.write(other.sealed()[:32] + bytes(16) + other.sealed()[48:])  # another hash: the checksum fits no more
    with pytest.raises(FormatError, match="damaged"):
        _ = model.graph
    other.blob[-64:] = b"\x3f" * 64
    with path.open("r+b") as file:
        file.write(other.sealed(hashed=True))
    with pytest.raises(FormatError, match="has changed since it was loaded"):
        _ = model.graph


@on_posix
def test_a_file_that_is_cut_short(tmp_path):
    """Mapped, the system ends the program, as is documented; copied, nothing happens."""
    path = tmp_path / "model.tow"
    rng = np.random.default_rng(0)
    Model.from_graph(single(rng, "lstm", 64, 128)).save(path)
    program = textwrap.dedent("""
        import os, sys
        import numpy as np, undertow
        model = undertow.load(sys.argv[1], mapped=sys.argv[2] == "mapped")
        x = np.ones(64, np.float32)
        expected = model.stream().step(x)["y"]
        os.truncate(sys.argv[1], 4096)
        assert np.array_equal(model.stream().step(x)["y"], expected)
        print("went on")
    """)
    codes = {}
    for how in ("mapped", "copied"):
        copy = tmp_path / f"{how}.tow"
        shutil.copy(path, copy)
        done = subprocess.run([sys.executable, "-c", program, str(copy), how], capture_output=True, text=True)
        codes[how] = done.returncode
        assert ("went on" in done.stdout) == (how == "copied"), done.stderr
    assert codes == {"mapped": -signal.SIGBUS, "copied": 0}


@on_posix
def test_shared_memory_that_another_process_writes(blob):
    """Memory that may be written to is copied; of a read-only view of it, what steps find their way by is."""
    shared = mmap.mmap(-1, len(blob))
    shared[:] = blob
    assert not Model(shared).mapped
    model = Model(memoryview(shared).toreadonly())
    assert model.mapped
    expected = run(model)
    metadata = 64 + int.from_bytes(blob[24:28], "little")
    shared[:metadata] = b"\xff" * metadata
    assert_same(run(model), expected)
