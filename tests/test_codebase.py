# SPDX-License-Identifier: MIT
"""The shape of the code: who may include or import whom, lengths, characters, facts that stand in several places."""

import ast
import re
from pathlib import Path

import pytest

import undertow
from undertow import _core, activations, support, tow

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / "csrc").exists(), reason="needs the source tree")

C_FILES = sorted(
    p
    for folder in ("csrc", "src")
    for p in (ROOT / folder).rglob("*")
    if p.suffix in {".h", ".cpp", ".c", ".pyx", ".pxi", ".pxd"}
)
PY_FILES = sorted((ROOT / "python").rglob("*.py"))
ALL = [*C_FILES, *PY_FILES]
KERNELS = {
    f"{name}-inl.h"
    for name in (
        "kernels",
        "chunks",
        "math",
        "frames",
        "rows",
        "quantize",
        "weights",
        "matvec",
        "sparse",
        "cells",
        "step",
    )
}

#: file (or folder) of csrc -> own headers it may include; the system headers of C++ are free outside kernels/
MAY_INCLUDE = {
    "include/": set(),
    "format": {"format.h", "undertow.h"},
    "kernels.h": set(),
    "cpu": {"cpu.h"},
    "dispatch": {"dispatch.h", "kernels.h"},
    "plan": {"plan.h", "format.h", "kernels.h", "op.h"},
    "ops/": {"op.h", "plan.h", "recurrent.h", "team.h"},
    "run": {"run.h", "op.h", "cpu.h"},
    "team": set(),
    "api": {"undertow.h", "cpu.h", "dispatch.h", "plan.h", "run.h", "team.h"},
    "kernels/": {*KERNELS, "cpu.h", "kernels.h", "vec_scalar.h", "vec_avx2.h", "vec_avx512.h", "vec_neon.h"},
    "examples/": {"undertow.h", "model.inc"},
}


def includes(path):
    return re.findall(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', path.read_text(), re.M)


@pytest.mark.parametrize("path", [p for p in C_FILES if "csrc" in p.parts], ids=lambda p: p.name)
def test_no_include_points_upward(path):
    relative = str(path.relative_to(ROOT / "csrc"))
    allowed = next((names for prefix, names in MAY_INCLUDE.items() if relative.startswith(prefix)), None)
    assert allowed is not None, f"{relative}: say in MAY_INCLUDE what it may know"
    own = {Path(name).name for quote, name in includes(path) if quote == '"'}
    assert own <= allowed | {path.name}, f"{relative} includes {own - allowed}"
    if relative.startswith("kernels/"):
        system = {name for quote, name in includes(path) if quote == "<"}
        assert system <= {"stddef.h", "stdint.h", "string.h", "immintrin.h", "arm_neon.h"}, (
            f"{relative}: a C++ header would emit code"
        )


def test_bindings_use_the_public_header_only():
    for path in (ROOT / "src").iterdir():
        if path.suffix in {".cpp", ".h"}:
            own = {name for quote, name in includes(path) if quote == '"'}
            assert own <= {"undertow.h", "errors.h", "crew.h", "helpers.h"}, path.name


#: module of the package -> what of the package it may not import: arrows point from API to graph, never back
FORBIDDEN = {
    "graph": {"model", "stream", "_core", "tow", "compile", "importers", "layers", "weights", "cli"},
    "ops": {"model", "stream", "_core", "tow", "compile", "importers", "layers", "weights", "cli"},
    "tow": {"model", "stream", "_core", "importers", "layers", "weights", "cli"},
    "compile": {"model", "stream", "_core", "importers", "layers", "weights", "cli"},
    "importers": {"stream", "_core", "tow", "compile", "cli"},
    "hdf5": {"graph", "model", "stream", "_core", "tow", "compile", "importers", "layers", "weights", "cli"},
    "weights": {"graph", "model", "stream", "_core", "tow", "compile", "importers", "layers", "cli"},
    "reference": {"model", "stream", "_core", "tow", "importers", "layers", "weights", "cli"},
    "precision": {"graph", "ops", "model", "stream", "_core", "tow", "compile", "cli"},
    "container": {"graph", "ops", "model", "stream", "_core", "tow", "compile", "cli"},
    "packing": {"graph", "ops", "model", "stream", "_core", "tow", "compile", "cli"},
    "formulas": {"model", "stream", "_core", "tow", "packing", "compile", "cli"},
    "products": {"model", "stream", "_core", "tow", "packing", "compile", "cli"},
}


@pytest.mark.parametrize("path", PY_FILES, ids=lambda p: str(p.relative_to(ROOT / "python" / "undertow")))
def test_imports(path):
    package = path.relative_to(ROOT / "python" / "undertow")
    forbidden = FORBIDDEN.get(package.parts[0].removesuffix(".py"), set())
    level_of_package = len(package.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == level_of_package:
            top = (node.module or "").split(".")[0]
            names = {top} if top else {alias.name for alias in node.names}
            assert not names & forbidden, f"{package} imports {names & forbidden} (line {node.lineno})"


@pytest.mark.parametrize("path", ALL, ids=lambda p: str(p.relative_to(ROOT)))
def test_length_licence_and_characters(path):
    text = path.read_text()
    assert text.count("\n") <= 600, "a file must fit in a head: 600 lines at the most"
    assert not text.strip() or "SPDX-License-Identifier: MIT" in "\n".join(text.splitlines()[:2])
    assert "\t" not in text
    if path in C_FILES:
        assert text.isascii()


def test_versions_agree():
    project = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]
    header = (ROOT / "csrc/include/undertow.h").read_text()
    numbers = [re.search(rf"UT_VERSION_{part} (\d+)", header)[1] for part in ("MAJOR", "MINOR", "PATCH")]
    cmake = re.search(r"project\(undertow VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())[1]
    assert {project, ".".join(numbers), cmake, undertow.__version__, _core.version, _core.package_version} == {project}


def test_format_document_agrees_with_the_code():
    text = (ROOT / "csrc/FORMAT.md").read_text()
    for kind, (code, *_) in activations.KINDS.items():
        assert f"| {code} | {kind} |" in text
    for op, kind in tow.KIND.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| {kind} |") and op in line)
        assert op in row
    kernels = (ROOT / "csrc/kernels.h").read_text()
    enum = re.findall(r"^  kAct(\w+),$", kernels, re.M)
    assert [re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in enum] == list(activations.KINDS)


def test_every_instruction_set_says_where_it_was_run():
    built = {path.stem.removeprefix("isa_") for path in (ROOT / "csrc/kernels").glob("isa_*.cpp")}
    assert built == set(support.TESTED_ON)
    assert set(undertow.isas()) <= built


def test_only_isa_cmake_sets_machine_flags():
    for path in [*ROOT.rglob("CMakeLists.txt"), *(ROOT / "csrc").rglob("*.cmake")]:
        if (
            "build" not in path.parts
            and ".venv" not in path.parts
            and path.name != "isa.cmake"
            and "bench" not in path.parts
        ):
            assert not re.search(r"-m(avx|fma|sse|arch|tune)", path.read_text()), path


def test_what_skips_says_what_to_install():
    for path in [*(ROOT / "tests").glob("*.py"), *(ROOT / "bench").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "importorskip":
                reasons = [ast.unparse(k.value) for k in node.keywords if k.arg == "reason"]
                assert reasons and "pip install" in reasons[0], f"{path.name}, line {node.lineno}"


def test_no_fast_math():
    for path in [
        *ROOT.glob("CMakeLists.txt"),
        *(ROOT / "csrc").rglob("*.cmake"),
        *(ROOT / "csrc").rglob("CMakeLists.txt"),
    ]:
        assert "fast-math" not in path.read_text()


def test_the_engine_has_nothing_to_wait_for():
    """undertow.h, "Time": no lock, and nothing that one could be built of. Heap and system calls: test_noalloc.cpp.

    Only a team waits (team.h), and a block of frames has one only if its stream was given one.
    """
    waits = re.compile(r"\b(\w*atomic\w*|\w*mutex\w*|pthread\w*|volatile|futex|spin\w*|yield|_mm_pause|__sync\w*)\b")
    for path in C_FILES:
        if "csrc" in path.parts and path.name != "team.h":
            code = re.sub(r"__asm__ volatile|//[^\n]*|/\*.*?\*/", "", path.read_text(), flags=re.S)
            assert not (found := waits.search(code)), f"{path.name}: {found[0]}"
