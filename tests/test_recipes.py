# SPDX-License-Identifier: MIT
"""Each entry of ARCHITECTURE.md's "How to add", held against a sample: the files that know the sample are those that
the entry names, and what it names is there.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = [
    path
    for folder in ("csrc", "src", "python/undertow")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".pyx", ".h", ".cpp", ".cmake", ".md")
]
#: entry -> (sample, what knows it, rooms whose share of it the entry leaves open)
SAMPLES = {
    "an op": ("log_softmax", r"\blog_softmax\b|kLogSoftmax", ("importers/", "layers/", "passes/")),
    "an activation": ("softsign", r"(?i)softsign", ("importers/", "layers/", "compat/")),
    "an instruction set": ("neondot", r"\bneondot\b", ()),
    "an ONNX operator": ("LpNormalization", r"\bLpNormalization\b", ()),
    "an operator of ONNX Runtime's": ("QGemm", r"\bQGemm\b", ()),
    "a layer of Keras": ("Cropping1D", r"\bCropping1D\b", ()),
    "an operator of TensorFlow Lite": ("SVDF", r"\bSVDF\b", ()),
    "a recurrence": ("RGLRU", r"\bRGLRU\b", ("layers/",)),
    "an importer": ("rnnoise", r"\brnnoise\b", ("examples/",)),
}


def entries() -> dict[str, str]:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## How to add")[2]
    return {m[1]: m[2] for m in re.finditer(r"^\* \*\*(.+?)\*\*:(.+?)(?=^\* |\n\n)", text, re.M | re.S)}


def code(path: Path) -> str:
    """The text of a file without comments and docstrings, which may speak of anything."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return re.sub(r'(?m)^\s*"""(?:.|\n)*?"""|#[^\n]*', "", text)
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S) if path.suffix in (".h", ".cpp") else text


@pytest.mark.parametrize("entry", SAMPLES)
def test_the_files_that_know_a_sample_are_named(entry: str) -> None:
    sample, known, left_open = SAMPLES[entry]
    recipe = re.sub(r"<\w+>", sample, entries()[entry])
    for path in CODE:
        name = path.relative_to(ROOT).as_posix()
        if not re.search(known, code(path)) or any(room in name for room in left_open):
            continue
        inside = name.removeprefix("python/undertow/")
        rooms = [parent.as_posix() for parent in Path(inside).parents if parent.name]
        whole = [room for room in rooms if re.search(rf"{re.escape(room)}/(?![\w<*])", recipe)]
        assert path.name in recipe or whole, f"{entry}: {name} knows {sample}"


def test_what_the_entries_name_is_there() -> None:
    found = entries()
    assert SAMPLES.keys() <= found.keys() and len(found) == len(SAMPLES) + 4, (
        "an entry without a sample: a cell and an example have tests of their own, a kernel and a page none"
    )
    names = {path.name for path in ROOT.rglob("*") if ".git" not in path.parts}
    for entry, text in found.items():
        sample = SAMPLES.get(entry, ("", "", ()))[0]
        for token in re.findall(r"[\w<>/*.-]+\.(?:py|h|cpp|md|cmake)\b", re.sub(r"<\w+>", sample, text)):
            last = token.rsplit("/", 1)[-1]
            assert "*" in last or f"vec_{sample}" in last or last in names, f"{entry}: there is no {token}"
