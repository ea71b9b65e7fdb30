# SPDX-License-Identifier: MIT
"""What a release says of itself in several files, and what a build says that cannot be."""

import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / "src").exists(), reason="needs the source tree")


@pytest.fixture(scope="module")
def project():
    if sys.version_info < (3, 11):
        pytest.skip("needs Python 3.11, which reads pyproject.toml")
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_versions_agree(project):
    (citation,) = re.findall(r"^version: (\S+)$", read("CITATION.cff"), re.M)
    (recipe,) = re.findall(r'^  version: "(\S+)"$', read(".conda/recipe.yaml"), re.M)
    assert {citation, recipe} == {project["project"]["version"]}


def test_the_recipe_asks_for_what_the_project_asks_for(project):
    sections = re.split(r"^  (build|host|run):\n", read(".conda/recipe.yaml").split("\nrequirements:\n")[1], flags=re.M)
    needs = {
        name: set(re.findall(r"^ +- ([\w-]+ >=[\d.]+)$", text.split("\ntests:")[0], re.M))
        for name, text in zip(sections[1::2], sections[2::2], strict=True)
    }
    assert needs["host"] == {text.replace(">=", " >=") for text in project["build-system"]["requires"]}
    assert needs["run"] == {text.replace(">=", " >=") for text in project["project"]["dependencies"]}
    assert needs["build"] <= needs["host"] | {"cmake >=3.22"}


def test_a_wheel_is_built_for_every_python_that_is_named(project):
    named = re.findall(r"Python :: 3\.(\d+)$", "\n".join(project["project"]["classifiers"]), re.M)
    built = project["tool"]["cibuildwheel"]["build"]
    assert [name for name in built if not name.endswith("t-*")] == [f"cp3{minor}-*" for minor in named]
    assert project["project"]["requires-python"] == f">=3.{named[0]}"


def test_changes_and_wheels_are_tested_by_the_same_files(project):
    wheels = set(re.findall(r"tests/\w+\.py", project["tool"]["cibuildwheel"]["test-command"]))
    assert wheels == set(re.findall(r"tests/\w+\.py", read(".github/workflows/ci.yml")))
    assert all((ROOT / name).exists() for name in wheels)


def test_forms_that_report_something_ask_for_doctor():
    for form in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        if form.name != "config.yml":
            assert "What `undertow doctor` prints" in form.read_text(encoding="utf-8"), form.name


# -- CMake without what the modules need -------------------------------------------------------------------------------


def find_python(*options):
    """src/find_python.cmake alone: (whether it is content, what it says in one line)."""
    if not shutil.which("cmake"):
        pytest.skip("needs cmake: pip install cmake")
    command = [
        "cmake",
        f"-DPython_EXECUTABLE={sys.executable}",
        *options,
        "-P",
        str(ROOT / "src" / "find_python.cmake"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode == 0, " ".join(done.stderr.split())


def test_a_missing_header_names_the_package(tmp_path):
    content, said = find_python(f"-DPython_INCLUDE_DIR={tmp_path}")
    assert not content
    assert f"has no header {tmp_path}/Python.h" in said.replace("/ ", "/")
    for advice in (
        "apt install python3-dev",
        "dnf install python3-devel",
        "apk add python3-dev",
        "brew install python",
    ):
        assert advice in said
    assert "-DUT_PYTHON=OFF" in said


def test_a_missing_tool_is_named_with_the_line_to_type(tmp_path):
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        pytest.skip("needs Python's headers: apt install python3-dev")
    missing = [name for name in ("numpy", "pybind11", "Cython") if not find_spec(name)]
    content, said = find_python()
    assert content == (not missing), said
    assert content or (f"cannot import {missing[0]}" in said and "-m pip install" in said)
