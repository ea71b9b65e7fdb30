# SPDX-License-Identifier: MIT
"""Runs the code blocks of a Markdown page, one after the other, in an empty folder: docs/README.md has the rules.

python tests/doc_blocks.py README.md docs/audio.md      # prints what differs, and ends with 1 if anything does
"""

from __future__ import annotations

import argparse
import contextlib
import doctest
import importlib.util
import io
import json
import linecache
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent

#: languages whose blocks are run (or written to a file, or marked), by the name that the fence gives
RUN = {
    "python": "python",
    "pycon": "python",
    "console": "console",
    "sh": "shell",
    "bash": "shell",
    "shell": "shell",
    "c": "c",
}
#: those that are only looked at
SHOWN = {"text", "json", "toml", "yaml", "ini", "csv"}
#: directives of Sphinx and MyST that hold no code
CONTAINERS = re.compile(r"\{(?!code-block|code|literalinclude)[\w:-]+\}")

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,}) *(?P<info>[^`]*)$")
COMMENT = re.compile(
    r"^ *<!-- *(?P<word>not run|needs|page needs|setup|file|output|numbers vary|exits|raises)\b:?(?P<rest>.*)"
)
OF_A_LIST = re.compile(r" |[-*+:] |\d+[.)] ")
SECONDS = 900  # for one command: beside other work, minutes where it needs seconds

C_FLAGS = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-variable", "-Wno-unused-but-set-variable"]
CXX_FLAGS = ["-std=c++17", "-O1", "-fno-exceptions", "-fno-rtti", "-ffp-contract=off"]


@dataclass
class Block:
    """One fenced block, or one hidden in a comment, with what the comments before it say."""

    line: int  # of its first line of code, from 1
    language: str
    text: str
    hidden: bool = False
    marks: dict[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


class Wrong(Exception):
    """The page is not written as the rules say."""


# -- reading ----------------------------------------------------------------------------------------------------------


def read_blocks(text: str) -> list[Block]:
    """All blocks of a page, in order."""
    lines = text.split("\n")
    blocks: list[Block] = []
    marks: dict[str, str] = {}
    section: tuple[str, ...] = ()
    page: tuple[str, ...] = ()
    last = ""  # line that is not blank
    i = 0
    while i < len(lines):
        comment, fence = COMMENT.match(lines[i]), FENCE.match(lines[i])
        if comment:
            start, word, rest = i, comment["word"], comment["rest"]
            while "-->" not in lines[i]:
                i += 1
                if i == len(lines):
                    raise Wrong(f"line {start + 1}: a comment without an end")
                rest += "\n" + lines[i]
            rest = rest.partition("-->")[0]
            names = tuple(name.strip() for name in rest.split(",") if name.strip())
            if word == "needs":
                section = names
            elif word == "page needs":
                page += names
            elif word == "setup":
                language, _, code = rest.strip("\n").partition("\n")
                kind = RUN.get(language.strip())
                if kind is None:
                    raise Wrong(f"line {start + 1}: setup: {language.strip()!r} is not python, sh or c")
                blocks.append(Block(start + 2, kind, code + "\n", True, {}, page + section))
            else:
                marks[word] = rest.strip()
        elif fence:
            indent, info = len(fence["indent"]), fence["info"].strip()
            start = i = i + 1
            ends = re.compile(rf"^ *{fence['fence'][0]}{{{len(fence['fence'])},}} *$")
            while i < len(lines) and not ends.match(lines[i]):
                i += 1
            if i == len(lines):
                raise Wrong(f"line {start}: a fence without an end")
            body = [line[min(indent, len(line) - len(line.lstrip())) :] for line in lines[start:i]]
            if CONTAINERS.match(info):
                marks = {}
            else:
                language = re.sub(r"^\{code(-block)?\}", "", info).strip().split(" ")[0]
                while info.startswith("{") and body and re.match(r":[\w-]+:", body[0]):
                    body, start = body[1:], start + 1
                blocks.append(Block(start + 1, language, "\n".join(body) + "\n", False, marks, page + section))
                marks = {}
        elif re.match(r"#{1,6} ", lines[i]):
            section, marks = (), {}
        elif lines[i].strip() and marks:
            raise Wrong(f"line {i + 1}: {', '.join(marks)} must stand right before a block")
        elif lines[i].startswith("    ") and not lines[i - 1].strip() and not OF_A_LIST.match(last):
            raise Wrong(f"line {i + 1}: indented code has no language, so it would not be run: write a fence")
        last = lines[i] if lines[i].strip() else last
        i += 1
    for block in blocks:
        known = block.language in RUN or block.language in SHOWN
        if not known and not block.hidden and not {"not run", "file"} & block.marks.keys():
            raise Wrong(
                f"line {block.line}: a block of {block.language or 'no language'} is neither run nor marked; "
                f"run are {', '.join(RUN)}, shown without a mark {', '.join(sorted(SHOWN))}"
            )
    return blocks


def lacks(need: str) -> str:
    """What is missing of a need, and how to get it; empty if nothing is."""
    kind, _, name = need.rpartition(" ")
    if kind == "program":
        return "" if shutil.which(name) else f"needs the program {name}"
    if kind == "file":
        models = os.environ.get("UNDERTOW_MODELS")
        there = models and next(Path(models).rglob(name), None)
        return "" if there else f"needs {name} from UNDERTOW_MODELS"
    if need == "source":
        return "" if (ROOT / "csrc").exists() else "needs the source tree"
    return "" if importlib.util.find_spec(need) else f"needs {need}: pip install {need}"


# -- comparing --------------------------------------------------------------------------------------------------------

NUMBER = re.compile(r"[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?")


def same(want: str, got: str, numbers_vary: bool = False) -> bool:
    """Whether an output is what the page says: `...` is anything; with `numbers_vary` so is a number for a number."""
    want, got = ("\n".join(line.rstrip() for line in text.strip("\n").split("\n")) + "\n" for text in (want, got))
    if numbers_vary:
        want, got = (re.sub(r"\s+", " ", NUMBER.sub("0", text)) for text in (want, got))
    return doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS)


def difference(want: str, got: str) -> str:
    def indented(text):
        return "".join(f"    {line}\n" for line in text.strip("\n").split("\n"))

    return f"expected\n{indented(want)}got\n{indented(got)}"


# -- running ----------------------------------------------------------------------------------------------------------


class Page:
    """A page while its blocks are run in `folder`."""

    def __init__(self, path: Path, folder: Path, tools: Path) -> None:
        self.path, self.folder, self.tools = path, folder, tools
        self.blocks = read_blocks(path.read_text(encoding="utf-8"))
        self.problems: list[str] = []
        self.skipped: list[tuple[int, str]] = []
        self.ran = 0
        self.output: str | None = None
        self.frame = "@block@"
        self.cwd = folder
        self.module = ModuleType("__main__")
        self.space = self.module.__dict__

    def problem(self, line: int, text: str) -> None:
        self.problems.append(f"{self.path}:{line}: {text}")

    def run(self, strict: bool) -> None:
        """All blocks. `strict`: a package or program that is missing is a problem, not a reason to skip."""
        sys.modules["__main__"] = self.module
        with contextlib.chdir(self.folder) if sys.version_info >= (3, 11) else moved(self.folder):
            for block in self.blocks:
                if "not run" in block.marks:
                    self.output = None
                    continue
                missing = [words for need in block.needs if (words := lacks(need))]
                if missing:
                    self.skipped.append((block.line, "; ".join(missing)))
                    hard = [words for words in missing if "UNDERTOW_MODELS" not in words]
                    if strict and hard:
                        self.problem(block.line, "; ".join(hard))
                    self.output = None
                    continue
                for need in block.needs:
                    self.link(need)
                if not self.run_block(block):
                    break  # what follows builds on it

    def link(self, need: str) -> None:
        kind, _, name = need.rpartition(" ")
        if kind == "file" and not (self.folder / name).exists():
            (self.folder / name).symlink_to(next(Path(os.environ["UNDERTOW_MODELS"]).rglob(name)).resolve())

    def run_block(self, block: Block) -> bool:
        """Whether it did what the page says."""
        before = len(self.problems)
        if "output" in block.marks:
            if self.output is None:
                self.problem(block.line, "output: the block before this one was not run")
            elif not same(block.text, self.output, "numbers vary" in block.marks):
                self.problem(block.line, f"another output: {difference(block.text, self.output)}")
        elif "file" in block.marks:
            path = self.folder / block.marks["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language in RUN:
            self.output = None
            getattr(self, f"run_{RUN[block.language]}")(block)
            self.ran += not block.hidden
        return len(self.problems) == before

    def run_python(self, block: Block) -> None:
        shown = io.StringIO()
        raises = block.marks.get("raises")
        with contextlib.redirect_stdout(shown):
            if ">>> " in block.text:
                self.run_doctest(block)
            else:
                name = f"<{self.path.name}>"
                code = "\n" * (block.line - 1) + block.text
                # Classes of earlier blocks are still asked for their source.
                before = linecache.getlines(name)[: block.line - 1]
                lines = [*before, *["\n"] * (block.line - 1 - len(before)), *block.text.splitlines(keepends=True)]
                linecache.cache[name] = (len(lines), None, lines, name)
                try:
                    exec(compile(code, name, "exec"), self.space)
                except BaseException as error:
                    if raises != type(error).__name__:
                        self.problem(block.line, f"the block raised\n{traceback.format_exc()}")
                    print(f"{type(error).__name__}: {error}")
                else:
                    if raises is not None:
                        self.problem(block.line, f"the block should have raised {raises}")
        self.output = shown.getvalue()

    def run_doctest(self, block: Block) -> None:
        test = doctest.DocTestParser().get_doctest(
            block.text, self.space, self.path.name, str(self.path), block.line - 1
        )
        test.globs = self.space  # the parser takes a copy
        said: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
        if runner.run(test, out=said.append, clear_globs=False).failed:
            self.problem(block.line, "".join(said))

    def run_console(self, block: Block) -> None:
        """`$ command` lines, each with its expected output behind it, or nothing where that does not matter."""
        commands: list[tuple[str, list[str]]] = []
        lines = iter(block.text.rstrip("\n").split("\n"))
        for line in lines:
            if line.startswith("$ "):
                command = line[2:]
                while command.endswith("\\"):
                    command += "\n" + re.sub(r"^> ", "", next(lines))
                commands.append((command, []))
            elif commands:
                commands[-1][1].append(line)
            else:
                self.problem(block.line, "a console block begins with `$ ` and a command")
                return
        status = int(block.marks.get("exits", "0"))
        shown = []
        for i, (command, expected) in enumerate(commands):
            code, got = self.bash(command)
            shown.append(got)
            if code != (status if i == len(commands) - 1 else 0):
                self.problem(block.line, f"`{command}` ended with {code}:\n{got}")
                return
            if any(expected) and not same("\n".join(expected), got, "numbers vary" in block.marks):
                self.problem(block.line, f"`{command}` gives something else: {difference(chr(10).join(expected), got)}")
        self.output = "".join(shown)

    def run_shell(self, block: Block) -> None:
        if re.search(r"^\$ ", block.text, re.M):
            return self.run_console(block)
        code, self.output = self.bash("set -e\n" + block.text)
        if code != int(block.marks.get("exits", "0")):
            self.problem(block.line, f"the commands ended with {code}:\n{self.output}")

    def bash(self, command: str) -> tuple[int, str]:
        """(exit status, stdout and stderr together); `cd` and exported variables hold for the commands that follow."""
        kept = self.tools / "environment"
        before = f". {kept}; " if kept.exists() else ""
        script = f"trap 'export -p >{kept}; pwd >{self.tools}/folder' EXIT\n{before}\n{command}\n"
        env = {
            **os.environ,
            "PATH": f"{self.tools}{os.pathsep}{os.environ['PATH']}",
            "UNDERTOW_SOURCE": str(ROOT),
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "TERM": "dumb",
        }
        try:
            done = subprocess.run(
                ["bash", "-c", script],
                cwd=self.cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            return 124, f"{(error.output or b'').decode(errors='replace')}\nstill at work after {SECONDS} s"
        if (self.tools / "folder").exists():
            self.cwd = Path((self.tools / "folder").read_text().rstrip("\n"))
        return done.returncode, done.stdout.decode("utf-8", "replace").replace("\r", "\n")

    def run_c(self, block: Block) -> None:
        """A program, or what stands where the frame of `setup: c` says @block@; compiled, linked and run."""
        if block.hidden:
            self.frame = block.text
            return
        text = block.text if re.search(r"\bmain\s*\(", block.text) else self.frame.replace("@block@", block.text)
        name = self.folder / f"block_{block.line}.c"
        name.write_text(text, encoding="utf-8")
        library, include = c_library(self.tools.parent / "library"), ROOT / "csrc" / "include"
        program = name.with_suffix("")
        runs = re.search(r"\bmain\s*\(", text)
        what = (
            ["-o", str(program), str(name), str(library), "-lm", "-lpthread"] if runs else ["-fsyntax-only", str(name)]
        )
        command = [os.environ.get("CC", "cc"), *C_FLAGS, f"-I{include}", *what]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        if done.returncode:
            self.problem(block.line, f"it does not compile:\n{done.stderr}")
        elif runs:
            code, self.output = self.bash(str(program))
            if code != int(block.marks.get("exits", "0")):
                self.problem(block.line, f"the program ended with {code}:\n{self.output}")


@contextlib.contextmanager
def moved(folder):
    """contextlib.chdir, which Python 3.10 has not."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def c_library(folder: Path) -> Path:
    """libundertow.a with portable kernels, built once from csrc/."""
    library = folder / "libundertow.a"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        csrc = ROOT / "csrc"
        sources = [*csrc.glob("*.cpp"), *csrc.glob("ops/*.cpp"), csrc / "kernels" / "isa_scalar.cpp"]
        command = [os.environ.get("CXX", "c++"), *CXX_FLAGS, f"-I{csrc}", f"-I{csrc / 'include'}", "-c"]
        subprocess.run([*command, *map(str, sources)], cwd=folder, check=True, timeout=SECONDS)
        subprocess.run(["ar", "rcs", library.name, *(p.name for p in folder.glob("*.o"))], cwd=folder, check=True)
    return library


def make_tools(folder: Path) -> Path:
    """A folder with the commands `python`, `python3` and `undertow` of this interpreter."""
    folder.mkdir(parents=True)
    for name, command in (("python", ""), ("python3", ""), ("undertow", "-m undertow ")):
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {command}"$@"\n')
        path.chmod(0o755)
    return folder


def check(path: Path, work: Path, strict: bool = False) -> Page:
    """Run a page in a new folder of `work`."""
    name = path.stem.lower()
    folder = work / name
    folder.mkdir(parents=True)
    page = Page(path, folder, make_tools(work / f".{name}"))
    page.run(strict)
    return page


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--strict", action="store_true", help="a package or program that is missing is an error")
    parser.add_argument("--report", type=Path, help="write what was run and skipped to this file, as JSON")
    parser.add_argument("--work", type=Path, help="an existing folder to work in, kept afterwards")
    args = parser.parse_args()
    os.environ.setdefault("MPLBACKEND", "Agg")
    sys.argv = ["page"]
    bad, report = False, {}
    with tempfile.TemporaryDirectory() as fresh:
        for given in args.pages:
            try:
                page = check(given.resolve(), args.work or Path(fresh), args.strict)
            except Wrong as error:
                print(f"{given}: {error}")
                bad = True
                continue
            bad |= bool(page.problems)
            print(*page.problems, *(f"{given}:{line}: skipped, {why}" for line, why in page.skipped), sep="\n")
            print(f"{given}: {page.ran} blocks ran, {len(page.problems)} problems, {len(page.skipped)} skipped")
            report[str(given)] = {"ran": page.ran, "problems": page.problems, "skipped": page.skipped}
    if args.report:
        args.report.write_text(json.dumps(report))
    return bad


if __name__ == "__main__":
    sys.exit(main())
