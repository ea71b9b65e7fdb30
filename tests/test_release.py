# SPDX-License-Identifier: MIT
"""What a release says of itself in several files."""

import re
import sys
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
