# SPDX-License-Identifier: MIT
"""Every code block of README.md and docs/ does what the page says. The rules stand in docs/README.md."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import doc_blocks

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="needs the source tree")

PAGES = [ROOT / "README.md", *sorted({*DOCS.glob("*.md"), *DOCS.glob("boards/*.md")} - {DOCS / "README.md"})]

#: what a reason not to run a block begins with
REASONS = (
    "installs",  # what the test's own environment was made by
    "needs a microphone",
    "needs a network",
    "needs another platform",
    "needs a board",
    "needs a browser",
    "needs a sound server",
    "runs until it is stopped",
    "a part of",  # of a file that is not whole here; says of which
)
#: blocks that are not run, at most, of all that would be
NOT_RUN_AT_MOST = 0.15


#: pages are run once, where they are built: with PyTorch and Keras, and no block left out for want of a package
BUILT = bool(os.environ.get("UNDERTOW_TEST_DOCS"))


@pytest.mark.parametrize("page", PAGES if BUILT else PAGES[:1], ids=lambda p: p.name)
def test_blocks_do_what_the_page_says(page, tmp_path):
    report = tmp_path / "report.json"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, doc_blocks.__file__, str(page), "--report", str(report), "--work", str(tmp_path)]
    strict = ["--strict"] if BUILT else []
    done = subprocess.run([*command, *strict], env=env, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
    ((said),) = json.loads(report.read_text()).values()
    if said["skipped"]:
        reasons = sorted({why for _, why in said["skipped"]})
        pytest.skip(f"{len(said['skipped'])} blocks: {'; '.join(reasons)} ({said['ran']} others ran)")


def test_few_blocks_are_not_run_and_say_why():
    blocks = [(page.name, b) for page in PAGES for b in doc_blocks.read_blocks(page.read_text(encoding="utf-8"))]
    live = [(page, b) for page, b in blocks if not b.hidden and b.language not in doc_blocks.SHOWN]
    not_run = [(page, b) for page, b in live if "not run" in b.marks]
    for page, b in not_run:
        assert b.marks["not run"].startswith(REASONS), (
            f"{page}:{b.line}: {b.marks['not run']!r} is no reason of REASONS"
        )
    assert len(not_run) <= NOT_RUN_AT_MOST * len(live), [(page, b.line) for page, b in not_run]


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")), ids=lambda p: p.name)
def test_links_of_the_repository_lead_somewhere(path):
    """Those of the pages are looked at when they are built."""
    text = path.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^()\s]+)\)", text) if not re.match(r"\w+:", link)]
    assert links or path.name not in ("README.md", "CHANGELOG.md")
    for link in links:
        target, _, anchor = link.partition("#")
        other = path.parent / target if target else path
        assert other.exists(), f"{path.name} links to {target}"
        headings = (
            [re.sub(r"[^\w -]", "", line.lstrip("# ").lower()) for line in heading_lines(other)] if anchor else []
        )
        assert not anchor or anchor in [heading.replace(" ", "-") for heading in headings], f"{path.name}: {link}"


def heading_lines(path):
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line.startswith("#")]


def test_readme_is_short_and_has_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") < 238
    lines = text.split("\n")
    assert "pip install . && undertow demo" in lines and 'pip install ".[test]" && pytest' in lines


def test_the_page_of_installing_has_every_extra():
    if sys.version_info < (3, 11):
        pytest.skip("needs Python 3.11, which reads pyproject.toml")
    import tomllib

    text = (DOCS / "install.md").read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    missing = [name for name in extras if f"`undertow[{name}]`" not in text and f"`[{name}]`" not in text]
    assert not missing, f"docs/install.md says nothing of {missing}"


# -- the runner -------------------------------------------------------------------------------------------------------


def problems(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    modules = sys.modules["__main__"]
    try:
        return doc_blocks.check(page, tmp_path / "work").problems
    finally:
        sys.modules["__main__"] = modules


def block(language, *lines, marks=()):
    comments = "".join(f"<!-- {mark} -->\n" for mark in marks)
    return comments + "\n".join([f"```{language}", *lines, "```"]) + "\n\n"


GOOD = {
    "one namespace": block("python", "x = 2") + block("python", "assert x == 2"),
    "doctest": block("python", ">>> print('a b')", "a b", ">>> list(range(99))", "[0, 1, ...]"),
    "output": block("python", "print('a', 3)") + block("text", "a 3", marks=["output"]),
    "numbers": block("python", "print('a  3.5 us')") + block("text", "a 41 us", marks=["output", "numbers vary"]),
    "raises": block("python", "{}['a']", marks=["raises: KeyError"]) + block("text", "KeyError: 'a'", marks=["output"]),
    "commands": block(
        "console", "$ echo a \\", "> b", "a b", "$ mkdir d; cd d; export X=1", "$ basename $PWD-$X", "d-1"
    ),
    "status": block("console", "$ true", "$ exit 3", marks=["exits: 3"]),
    "script": block("sh", "x=$(echo 5)", "echo $x >f")
    + block("python", "import pathlib", "assert pathlib.Path('f').read_text() == '5\\n'"),
    "file": block("python", "print(7)", marks=["file: seven.py"]) + block("console", "$ python seven.py", "7"),
    "setup": "<!-- setup: python\nx = 1\n-->\n" + block("python", "assert x == 1"),
    "needs": "# A\n<!-- needs: no_such_module -->\n" + block("python", "1 / 0") + "# B\n" + block("python", "y = 1"),
    "not run": block("python", "1 / 0", marks=["not run: needs a microphone"]),
    "in a list": "1. So:\n\n   ```python\n   if True:\n       x = 1\n   ```\n\n" + block("python", "assert x"),
    "code-block": "```{code-block} python\n:caption: a\n\nx = 1\n```\n" + block("python", "assert x"),
    "command": block("console", "$ undertow --help"),
    "sources": block("python", "def f():", "    return 1")
    + block("python", "import inspect", "assert inspect.getsource(f).endswith('return 1\\n')"),
}
BAD = {
    "error": (block("python", "", "1 / 0"), "page.md:2: the block raised"),
    "stops": (block("python", "1 / 0") + block("python", "nothing"), "ZeroDivisionError"),
    "doctest": (block("python", ">>> 1 + 1", "3"), "Expected:\n    3\nGot:\n    2"),
    "output": (block("python", "print(4)") + block("text", "5", marks=["output"]), "expected\n    5\ngot\n    4"),
    "words": (
        block("python", "print('a 1')") + block("text", "b 1", marks=["output", "numbers vary"]),
        "another output",
    ),
    "no raise": (block("python", "1", marks=["raises: KeyError"]), "should have raised KeyError"),
    "other raise": (block("python", "1 / 0", marks=["raises: KeyError"]), "ZeroDivisionError"),
    "status": (block("console", "$ false"), "`false` ended with 1"),
    "early status": (block("console", "$ false", "$ true"), "`false` ended with 1"),
    "wrong status": (block("console", "$ true", marks=["exits: 2"]), "`true` ended with 0"),
    "console output": (block("console", "$ echo a", "b"), "`echo a` gives something else"),
    "script": (block("sh", "false", "true"), "ended with 1"),
}
REFUSED = {
    "unknown language": block("rust", "fn main() {}"),
    "no language": block("", "x"),
    "mark without block": "<!-- output -->\nText\n",
    "indented code": "So:\n\n    x = 1\n",
    "open fence": "```python\nx = 1\n",
    "open comment": "<!-- setup: python\n",
    "unknown setup": "<!-- setup: rust\nx\n-->\n",
}


@pytest.mark.parametrize("case", GOOD)
def test_runner_accepts(case, tmp_path):
    assert problems(tmp_path, GOOD[case]) == []


@pytest.mark.parametrize("case", BAD)
def test_runner_sees(case, tmp_path):
    text, words = BAD[case]
    (said,) = problems(tmp_path, text)
    assert words in said


@pytest.mark.parametrize("case", REFUSED)
def test_runner_refuses(case, tmp_path):
    with pytest.raises(doc_blocks.Wrong):
        problems(tmp_path, REFUSED[case])


def test_runner_compiles_c(tmp_path):
    if not doc_blocks.shutil.which("cc") or not doc_blocks.shutil.which("c++"):
        pytest.skip("needs a C and a C++ compiler: apt install g++")
    (tmp_path / "again").mkdir()
    frame = '<!-- setup: c\n#include <stdio.h>\n#include "undertow.h"\nint main(void) {\n@block@\nreturn 0; }\n-->\n'
    good = block("c", 'puts(ut_status_text(UT_OK) ? "ok" : "");') + block("text", "ok", marks=["output"])
    assert problems(tmp_path, frame + good) == []
    (said,) = problems(tmp_path / "again", frame + block("c", "int x = nothing;"))
    assert "does not compile" in said and "nothing" in said
