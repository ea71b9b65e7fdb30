# SPDX-License-Identifier: MIT
"""docs/compatibility.md: files and snapshots of every version so far are read, and go on to the bit."""

from pathlib import Path

import numpy as np
import pytest

import undertow
from data import generate_format_5, generate_format_6
from data.generate_format_4 import frames
from frames import assert_same_bits
from undertow import reference
from undertow.compile import compile_graph

DATA = Path(__file__).parent / "data"
FORMAT_4 = sorted((DATA / "format_4").glob("*.tow"))
PAGE = Path(__file__).parents[1] / "docs" / "compatibility.md"
MAGIC = b"UTSNAP\0\1"
#: versions of .tow that this library writes, with a kept file of each
VERSIONS = {1: "lstm", 2: "strides", 3: "rated", 4: "smoothed_int16", 5: "fixed8", 6: "expressions"}


@pytest.fixture(scope="module")
def kept():
    with np.load(DATA / "snapshots.npz") as file:
        return dict(file)


NAMES = sorted(path.stem for path in (DATA / "tow").glob("*.tow") if undertow.load(path).streamable)


def of(kept, name, part):
    return {key.removeprefix(f"{name}/{part}/"): a for key, a in kept.items() if key.startswith(f"{name}/{part}/")}


def test_every_streamable_model_has_a_kept_snapshot(kept):
    assert {key.split("/")[0] for key in kept} == set(NAMES), "run python tests/data/generate_snapshots.py"


@pytest.mark.parametrize("name", NAMES)
def test_a_kept_snapshot_goes_on_to_the_bit(kept, name, isa):
    model = undertow.load(DATA / "tow" / f"{name}.tow", isa=isa)
    stream = model.stream(kept[f"{name}/snapshot"].tobytes())
    states = of(kept, name, "state")
    assert states.keys() == model.states.keys()
    assert_same_bits({field: np.asarray(stream.state[field]) for field in states}, states)
    Y, expected = stream.run(of(kept, name, "in")), of(kept, name, "out")
    assert_same_bits(Y if isinstance(Y, dict) else dict.fromkeys(expected, Y), expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_kept_snapshot_goes_on_in_a_pool(kept, name):
    model = undertow.load(DATA / "tow" / f"{name}.tow")
    pool = model.pool(2)
    ids = pool.open(2, snapshot=kept[f"{name}/snapshot"].tobytes())
    X = {field: np.stack([x, x]) for field, x in of(kept, name, "in").items()}
    Y, expected = pool.run(ids, X), {field: np.stack([y, y]) for field, y in of(kept, name, "out").items()}
    assert_same_bits(Y if isinstance(Y, dict) else dict.fromkeys(expected, Y), expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_snapshot_is_what_the_format_says(kept, name):
    """Read by hand, from csrc/FORMAT.md alone."""
    data, model = kept[f"{name}/snapshot"].tobytes(), undertow.load(DATA / "tow" / f"{name}.tow")
    assert (data[:8], data[8:24], int.from_bytes(data[24:32], "little")) == (MAGIC, model.hash, len(data) - 32)
    at = 32
    for field, values in of(kept, name, "state").items():
        size = -(-values.size // 16) * 64
        block = np.frombuffer(data[at : at + size], "<f4")
        np.testing.assert_array_equal(block[: values.size], values.ravel(), field)
        assert not block[values.size :].any()
        at += size
    assert at == len(data)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_of_every_version_is_kept_and_read(version):
    path = DATA / "tow" / f"{VERSIONS[version]}.tow"
    assert int.from_bytes(path.read_bytes()[8:12], "little") == version
    assert undertow.load(path, check=True).hash == path.read_bytes()[32:48]


@pytest.mark.parametrize("path", FORMAT_4, ids=lambda path: path.stem)
def test_a_kept_file_of_version_4_gives_what_the_oracle_gave(path, isa):
    """tests/data/generate_format_4.py: frames, and what rational numbers make of them."""
    expected = np.load(path.parent / "expected.npz")
    model = undertow.load(path, isa=isa, check=True)
    Y = model.run(frames())
    assert_same_bits(Y, {name: expected[f"{path.stem}/{name}"] for name in Y})
    rounded = reference.run(model.graph, frames(), rounding=True)
    for name, y in Y.items():
        np.testing.assert_allclose(rounded[name], y, rtol=2.0**-22)  # it rounds a multiply-add twice
    assert compile_graph(model.graph) == path.read_bytes()


def test_a_kept_file_of_version_5_gives_what_the_oracle_gave(isa):
    """tests/data/generate_format_5.py: frames, and what the integers of the oracle make of them."""
    path, X = DATA / "format_5" / "fixed8.tow", generate_format_5.frames()["x"]
    expected, model = np.load(path.parent / "expected.npz"), undertow.load(path, isa=isa, check=True)
    assert_same_bits(model.run(X), {name: expected[name] for name in expected})
    rounded = reference.run(model.graph, X, rounding=True)
    assert_same_bits(
        {name: y.astype(np.float32) for name, y in rounded.items()}, {name: expected[name] for name in rounded}
    )
    assert compile_graph(model.graph) == path.read_bytes()


def test_a_kept_file_of_version_6_gives_what_the_oracle_gave(isa):
    """tests/data/generate_format_6.py: frames, and what float32 operations of the oracle make of them."""
    path, X = DATA / "format_6" / "expressions.tow", generate_format_6.frames()
    expected, model = np.load(path.parent / "expected.npz"), undertow.load(path, isa=isa, check=True)
    kept = {name: expected[name] for name in expected}
    assert_same_bits(model.run(X), kept)
    stream = model.stream()
    steps = [stream.step({name: x[t] for name, x in X.items()}) for t in range(len(X["x"]))]
    assert_same_bits({name: np.stack([step[name] for step in steps]) for name in kept}, kept)
    assert compile_graph(model.graph) == path.read_bytes()


@pytest.mark.parametrize("version", [0, max(VERSIONS) + 1, 2**31])
def test_a_version_that_is_not_known_is_refused_and_named(version):
    data = bytearray((DATA / "tow" / "lstm.tow").read_bytes())
    data[8:12] = version.to_bytes(4, "little")
    with pytest.raises(undertow.FormatError, match=f"format version {version}, .* versions 1 to {max(VERSIONS)}"):
        undertow.load(bytes(data))


def test_a_snapshot_of_another_version_is_refused_and_named(kept):
    data = bytearray(kept["lstm/snapshot"].tobytes())
    data[7] = 2
    stream = undertow.load(DATA / "tow" / "lstm.tow").stream()
    before = stream.snapshot()
    with pytest.raises(undertow.StateError, match="version 1"):
        stream.restore(bytes(data))
    assert stream.snapshot() == before


def rows(table):
    """The first cells of the rows of the page's table that has this heading."""
    text = PAGE.read_text(encoding="utf-8").split(f"## {table}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    return lines[2:]


@pytest.mark.skipif(not PAGE.exists(), reason="needs the source tree")
def test_the_page_has_every_version():
    assert rows("Files") == [str(version) for version in VERSIONS]
    assert rows("Snapshots") == [str(MAGIC[-1])]
