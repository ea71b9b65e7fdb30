# SPDX-License-Identifier: MIT
"""Damaged files of every format, some hundred of each with fixed seeds; and every file that was a finding once.

`python tests/fuzz/readers.py --help` says how to try more of them. UNDERTOW_FUZZ_CASES=5000 does so here.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from importlib import import_module
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("forked children under a limit of memory are Linux's", allow_module_level=True)
pytest.importorskip("onnx", reason="needs ONNX: pip install onnx")
pytest.importorskip("h5py", reason="needs h5py: pip install h5py")

from fuzz import children, pickle_damage, seeds, targets
from fuzz.cases import Case, Link, Pipe, Reader
from fuzz.readers import fuzz, said
from fuzz.targets import READERS
from fuzz.tow_damage import Tow, fitted
from undertow import read_weights

#: cases of each reader; the slower ones have half of it
N = int(os.environ.get("UNDERTOW_FUZZ_CASES", "240"))
SLOWER = {"onnx", "onnx outside", "keras", "keras h5", "hdf5", "torch", "rnnoise", "frames", "names"}
CORPUS = Path(__file__).parent / "fuzz" / "corpus_readers"
CORPUS_OF_THE_ENGINE = {p.name for p in seeds.CORPUS.iterdir()}
MANIFEST = json.loads((CORPUS / "manifest.json").read_text())


def read(reader: Reader, *cases: Case) -> list[children.Outcome]:
    """What comes of files as they are."""
    found = list(children.run(reader, ((i, lambda case=case: case) for i, case in enumerate(cases))))
    assert len(found) == len(cases)
    return found


@pytest.mark.parametrize("name", READERS)
def test_damaged_files(name: str) -> None:
    tally = fuzz([name], 0, None, N // 2 if name in SLOWER else N, None)[name]
    found = [said(name, first) for _, first in tally.findings.values()]
    assert not found, "\n".join(f"python tests/fuzz/readers.py {line}" for line in found)
    assert tally.refused > 10 and tally.cases - tally.refused > 5, f"too few were read, or refused: {tally.ends}"


@pytest.mark.parametrize("name", sorted(MANIFEST))
def test_past_findings(name: str) -> None:
    entry = MANIFEST[name]
    (outcome,) = read(READERS[entry["reader"]], Case({name: (CORPUS / name).read_bytes()}, name))
    assert not outcome.found, f"{outcome.end}: {outcome.message}"
    assert outcome.end == entry["right"] and entry.get("says", "") in outcome.message, outcome.message


def test_the_manifest_names_every_file() -> None:
    assert {p.name for p in CORPUS.iterdir()} == {*MANIFEST, "manifest.json"}
    assert all(entry["reader"] in READERS and entry["why"] for entry in MANIFEST.values())


def test_the_corpus_of_the_engine() -> None:
    """The files that the C fuzz target starts from and has failed with, as they are and made to fit, as it does."""
    found = [*sorted(seeds.CORPUS.iterdir()), *sorted((seeds.DATA / "tow").glob("*.tow"))]
    files = {f"{p.stem}.tow": p.read_bytes() for p in found}
    assert len(files) == len(found) > 100
    cases = [Case({name: blob}, name) for name, blob in files.items()]
    cases += [Case({name: fitted(blob)}, f"{name}, fitted") for name, blob in files.items() if len(blob) >= 64]
    for outcome in read(READERS["tow"], *cases):
        assert not outcome.found, f"{outcome.how}: {outcome.end}: {outcome.message}"
        if (seeds.DATA / "tow" / outcome.how).exists():
            assert outcome.end == "loaded", f"{outcome.how}: {outcome.message}"


@pytest.mark.parametrize("name", [n for n in READERS if READERS[n].seeds()])
def test_right_files_are_read(name: str) -> None:
    """What the damage starts from: a reader that refuses everything would pass every other test."""
    files = READERS[name].seeds()
    if name == "snapshot":
        cases = [Case({"s.bin": targets.snapshot_of(blob), "s.tow": blob}, n) for n, blob in files.items()]
    else:
        cases = [Case({n: blob}, n) for n, blob in files.items() if n not in CORPUS_OF_THE_ENGINE]
    outcomes = read(READERS[name], *cases)
    assert not [o for o in outcomes if o.found or (o.refused and not o.how.startswith("test_"))]
    assert sum(o.refused for o in outcomes) < len(outcomes) / 2  # of ONNX's node tests


@pytest.mark.parametrize("content", [Pipe(), Link("/dev/zero")], ids=["pipe", "device"])
@pytest.mark.parametrize("importer", ["weights", "onnx", "keras", "rtneural", "nam", "rnnoise", "state_dict"])
def test_what_is_no_file(importer: str, content: Pipe | Link) -> None:
    """Opening a pipe would wait for who writes to it, reading a device for its end."""
    reads = read_weights if importer == "weights" else import_module(f"undertow.importers.{importer}").load
    (outcome,) = read(Reader(dict, lambda files, rng: Case({}, ""), reads), Case({"model.bin": content}, ""))
    assert (outcome.end, outcome.found) == ("FormatError", False) and "expected a file" in outcome.message, outcome


# -- the oracle itself ------------------------------------------------------------------------------------------------


def crash(path: Path) -> str:
    os.abort()


def hang(path: Path) -> str:
    while True:
        pass


def wait(path: Path) -> str:
    return path.read_text()


def eat(path: Path) -> str:
    return str(len([bytes(1 << 28) for _ in range(1 + (children.MEMORY_BYTES >> 28))]))


def execute(path: Path) -> str:
    return str(pickle.loads(path.read_bytes()))


def look_around(path: Path) -> str:
    return Path("/etc/hostname").read_text()[:1]


def index(path: Path) -> str:
    return str([][0])


@pytest.mark.parametrize(
    ("reader", "end"),
    [
        *[(crash, "crash"), (hang, "hang"), (wait, "hang"), (eat, "MemoryError")],
        *[(execute, "escaped"), (look_around, "escaped"), (index, "IndexError")],
    ],
)
def test_a_bad_reader_is_found(reader, end, monkeypatch) -> None:
    """And the case behind it is judged all the same."""
    monkeypatch.setattr(children, "CPU_SECONDS", 1)
    monkeypatch.setattr(children, "WALL_SECONDS", 3)
    content = Pipe() if reader is wait else pickle_damage.CALLS[0] + b"."
    bad = Reader(dict, lambda files, rng: Case({}, ""), lambda path: reader(path) if path.name == "bad" else "read")
    first, second = read(bad, Case({"bad": content}, ""), Case({"good": b""}, ""))
    assert (first.end, first.found, second.end, second.found) == (end, True, "read", False), first


def test_a_seed_always_gives_the_same_case() -> None:
    for name, reader in READERS.items():
        twice = [[make().files for _, make in children.made(name, reader, range(20))] for _ in range(2)]
        for a, b in zip(*twice, strict=True):
            assert [(k, v if not isinstance(v, Pipe) else "") for k, v in a.items()] == [
                (k, v if not isinstance(v, Pipe) else "") for k, v in b.items()
            ], name


def test_taken_apart_and_put_together() -> None:
    """A .tow file is the same again; so are the opcodes of a pickle."""
    for name, blob in seeds.streamable().items():
        assert Tow.parse(blob).pack() == blob, name
    for name, data in seeds.pickles().items():
        parts, rest = pickle_damage.split(data)
        assert b"".join(parts) + rest == data and len(parts) > 10, name
