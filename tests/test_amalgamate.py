# SPDX-License-Identifier: MIT
"""csrc/amalgamate.py on sources that are made to collide, and the models of tests/data/sound.

That the real amalgamation compiles and gives the library's bits: tests/cpp/check_packages.sh.
"""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "csrc" / "amalgamate.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="needs the source tree")
COMPILER = shutil.which("g++") or shutil.which("clang++")

HEADER = """\
#define UT_VERSION_MAJOR 0
#define UT_VERSION_MINOR 3
#define UT_VERSION_PATCH 1
int ut_a();
int ut_b();
"""
SOURCES = {
    "include/undertow.h": HEADER,
    "attributes.h": "#ifndef A_H_\n#define A_H_\n#define UT_TWICE(x) (2 * (x))\nint shared_name(int);\n#endif\n",
    "late.h": '#pragma once\n#include "attributes.h"\nstruct Pair { int first, other; };\n',
    "kernels/isa_scalar.cpp": '#define UT_ISA scalar\n#include "inner-inl.h"\nint kernel() { return ::limit; }\n',
    "kernels/inner-inl.h": '#include "../attributes.h"\nnamespace {\nconstexpr int limit = 100, extra[] = {1, 2};\n}\n',
    # every kind of declaration that b.cpp has too
    "a.cpp": """\
#include <string.h>
#include "include/undertow.h"
#include "late.h"
#define LOCAL 1
namespace {
constexpr int limit = 1, unused_list[] = {1, 2}, other = 2;
enum { kRed, kBlue = kRed + 10 };
struct Thing { int limit() const { return kBlue; } };
template <class T = int> T twice(T x, T y = T()) { return x + x + y; }
using Number = int;
static int counted(const Pair& p) { return p.first + p.other; }
}  // namespace
int shared_name(int x) {
#if defined(DOUBLE)
  return 2 * x; }
#else
  return x; }
#endif
int ut_a() {
  const char* text = "limit // kRed";  // limit
  return LOCAL + limit + other + kBlue + Thing().limit() + twice<Number>(3) + counted({limit, 5}) + int(strlen(text));
}
""",
    "ops/b.cpp": """\
#include "../include/undertow.h"
#include "../late.h"
#define LOCAL 1000
namespace undertow {
namespace {
constexpr int limit = 10, other(20);
enum { kRed, kBlue = 7 };
struct Thing { int limit() const { return kBlue; } };
template <class T> T twice(T x) { return UT_TWICE(x); }
using Number = long;
int counted(const Pair& p) { return p.first * p.other; }
constexpr int shared_name = 3;
}  // namespace
int b() {
  return LOCAL + limit + undertow::other + kBlue + Thing().limit() + int(twice<Number>(3)) + counted({limit, 5}) +
         shared_name;
}
}  // namespace undertow
int ut_b() { return undertow::b(); }
""",
}
MAIN = '#include <stdio.h>\n#include "undertow.h"\nint main() { printf("%d %d", ut_a(), ut_b()); }\n'
A = 1 + 1 + 2 + 10 + 10 + 6 + (1 + 5) + 13
B = 1000 + 10 + 20 + 7 + 7 + 6 + 10 * 5 + 3


def amalgamate(folder: Path, sources: dict[str, str]) -> subprocess.CompletedProcess[str]:
    csrc = folder / "csrc"
    for name, text in sources.items():
        (csrc / name).parent.mkdir(parents=True, exist_ok=True)
        (csrc / name).write_text(text)
    shutil.copy(SCRIPT, csrc)
    command = [sys.executable, str(csrc / "amalgamate.py"), str(folder / "out")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_what_has_a_name_in_several_sources_keeps_to_its_own(tmp_path):
    done = amalgamate(tmp_path, SOURCES)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["undertow.cpp", "undertow.h"]
    text = (out / "undertow.cpp").read_text()
    assert "undertow 0.3.1" in text and (out / "undertow.h").read_text() == HEADER
    assert '"limit // kRed";  // ' in text, "what a text says is no name"
    assert text.count("struct Pair") == 1 and "#undef LOCAL" in text and "#undef UT_TWICE" not in text
    if COMPILER is None:
        pytest.skip("needs a C++ compiler: apt install g++")
    (out / "main.cpp").write_text(MAIN)
    command = [COMPILER, "-std=c++17", "-Wall", "-Wno-unused", "-Werror", "main.cpp", "undertow.cpp", "-o", "main"]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert subprocess.run([str(out / "main")], capture_output=True, text=True).stdout == f"{A} {B}"


def test_an_instruction_set_is_a_file_of_its_own_and_brings_those_it_needs(tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, str(SCRIPT), str(out), "--isa", "avx512vnni", "--isa", "neon"]
    subprocess.run(command, check=True, timeout=60)
    isas = {"avx2", "avx512", "avx512vnni", "neon"}
    assert {path.name for path in out.iterdir()} == {"undertow.cpp", "undertow.h"} | {f"undertow_{i}.cpp" for i in isas}
    whole = (out / "undertow.cpp").read_text()
    assert set(re.findall(r"^#define UT_HAVE_(\w+) 1", whole, re.M)) == isas
    assert "with -mavx2 -mfma -mf16c," in (out / "undertow_avx2.cpp").read_text()
    done = subprocess.run([*command, "--isa", "mmx"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "mmx" in done.stderr


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "late.h",
            "struct Pair { int first, other; };\n",
            "late.h is included by several sources and has no include guard",
        ),
        ("a.cpp", '#include "none.h"\n', 'a.cpp includes "none.h", and there is no such file'),
        ("a.cpp", "#define H <x.h>\n#include H\n", "a.cpp: cannot read '#include H'"),
        ("a.cpp", '#if X\n#include "late.h"\n#endif\n', "`#pragma once` and is included under a condition"),
        ("a.cpp", "namespace {\nint f() {\n}\n", "cannot tell what a.cpp declares: no bracket"),
        ("a.cpp", "#if X\n", "cannot tell what a.cpp declares: an #if without its #endif"),
        (
            "a.cpp",
            '#include "late.h"\nnamespace {\nint other;\nstruct X { int other; };\n}\n',
            "what does x.other mean in a.cpp?",
        ),
    ],
)
def test_what_cannot_be_joined_is_named(tmp_path, name, text, words):
    done = amalgamate(tmp_path, SOURCES | {name: text})
    assert done.returncode == 1 and words in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


def test_models_of_the_examples_are_what_the_script_writes():
    script = runpy.run_path(str(ROOT / "tests" / "data" / "generate_sound.py"))
    for name, make in script["MODELS"].items():
        path = script["FOLDER"] / f"{name}.tow"
        assert path.read_bytes() == make(), "run python tests/data/generate_sound.py"
