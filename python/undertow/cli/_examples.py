# SPDX-License-Identifier: MIT
"""The scripts in `undertow/examples`: which there are, each as a script and as a notebook, and running one.

A script is what sphinx-gallery reads: a docstring, whose first line is the title, and cells that begin with `# %%` and
a comment, both in reStructuredText. A notebook is made of it here, because nobody should need Sphinx to get one.
"""

from __future__ import annotations

import ast
import codecs
import contextlib
import json
import os
import re
import runpy
import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import _files
from .._text import listed
from ._common import UsageError

FOLDER = Path(__file__).parent.parent / "examples"

#: The order for who learns: first what the others build on.
ORDER = ("lesson", "spotlight", "digits", "text", "music", "speech", "forecast", "clicks", "ci")

#: Dots per inch of a picture: twice what a screen shows, for screens that show more.
_DPI = 150

#: letter -> what stands for it where there is only ASCII
_IN_ASCII = {
    "→": "->", "←": "<-", "↑": "^", "↓": "v", "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "–": "-", "—": "--",
    "…": "...", "−": "-", "×": "x", "÷": "/", "·": ".", "•": "*", "±": "+-", "≈": "~", "≤": "<=", "≥": ">=", "≠": "!=",
    "µ": "u", "μ": "u", "°": " deg", "│": "|", "─": "-", "█": "#", "▓": "+", "▒": ":", "░": ".",
}  # fmt: skip


def _nearest(error: UnicodeError) -> tuple[str, int]:
    """What cannot be encoded in ASCII: accents are left out, and what is unlike any letter is escaped."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    texts = []
    for letter in error.object[error.start : error.end]:
        plain = _IN_ASCII.get(letter) or unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
        texts.append(plain or letter.encode("ascii", "backslashreplace").decode())
    return "".join(texts), error.end


_NEAREST = "undertow.nearest"
codecs.register_error(_NEAREST, _nearest)

#: reStructuredText inside of a line -> Markdown
_INLINE = (
    (re.compile(r":math:`([^`]+)`"), r"$\1$"),
    (re.compile(r"``([^`]+)``"), r"`\1`"),
    (re.compile(r"`([^`<]+) <([^>]+)>`_+"), r"[\1](\2)"),
)
#: what of it is left then would be shown as it is
_UNKNOWN = re.compile(r"^\s*\.\. .*|:[\w:-]+:`.*|``.*|`_\b.*", re.M)


def names() -> list[str]:
    """Names of the examples, in ORDER; one that it does not name stands at the end."""
    there = [path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith(("_", "train_"))]
    return sorted(there, key=place)


def place(name: str) -> tuple[int, str]:
    """Sort key: where an example stands among the others."""
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def script(name: str) -> Path:
    """Path of an example.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in names():
        raise UsageError(f"no example {name!r}; there are: {listed(names())}")
    return FOLDER / f"{name}.py"


def title(name: str) -> str:
    """The first line of an example's docstring."""
    return cells(script(name).read_text(encoding="utf-8"))[0][1].partition("\n")[0]


def cells(text: str) -> list[tuple[str, str]]:
    """A script as ("text", reStructuredText) and ("code", Python), in their order; the first is its docstring."""
    module = ast.parse(text)
    head = ast.get_docstring(module)
    if not head:
        raise ValueError("an example begins with a docstring: its title, underlined, and an introduction")
    parts: list[tuple[str, str]] = [("text", head)]
    rest = "\n".join(text.splitlines()[module.body[0].end_lineno or 0 :])
    first, *others = re.split(r"^# %%\n", rest + "\n", flags=re.M)
    parts.append(("code", first.strip("\n")))
    for cell in others:
        comment = re.match(r"(?:#.*\n)*", cell)
        said = comment[0] if comment else ""
        parts.append(("text", re.sub(r"^# ?", "", said, flags=re.M).strip("\n")))
        parts.append(("code", cell[len(said) :].strip("\n")))
    return [part for part in parts if part[1]]


def markdown(text: str) -> str:
    """reStructuredText of an example as Markdown: headings, emphasis, lists, code, links and formulas.

    Raises:
        ValueError: there is something else in it.

    >>> markdown("Title\\n=====\\n\\nWith ``code``, :math:`x^2` and `a link <https://example.org>`_.")
    '# Title\\n\\nWith `code`, $x^2$ and [a link](https://example.org).'
    """
    text = re.sub(
        r"^(\S.*)\n(=|-|~)\2{2,}$", lambda match: f"{'#' * ('=-~'.index(match[2]) + 1)} {match[1]}", text, flags=re.M
    )
    text = re.sub(r"^\.\. math::\n\n?((?:(?: {3,}.*)?\n)+)", _formula, text + "\n", flags=re.M).rstrip("\n")
    text = re.sub(r"::$", ":", text, flags=re.M)
    for pattern, form in _INLINE:
        text = pattern.sub(form, text)
    if unknown := _UNKNOWN.search(text):
        raise ValueError(f"{unknown[0].strip()!r} has no counterpart in a notebook")
    return text


def _formula(match: re.Match[str]) -> str:
    return f"$$\n{match[1].strip()}\n$$\n\n"


def notebook(name: str) -> dict[str, Any]:
    """An example as a Jupyter notebook (nbformat 4.5), not run yet."""
    content: list[dict[str, Any]] = []
    for kind, text in cells(script(name).read_text(encoding="utf-8")):
        cell: dict[str, Any] = {"id": f"{name}-{len(content)}", "metadata": {}}
        if kind == "text":
            cell |= {"cell_type": "markdown", "source": markdown(text)}
        else:
            cell |= {"cell_type": "code", "source": text, "execution_count": None, "outputs": []}
        content.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": content, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def write_notebook(name: str, path: str) -> str:
    """Write an example as a notebook, where there is no file yet. Returns: its path.

    Raises:
        UsageError: the file is there, or its name says that it is something else.
    """
    if Path(path).suffix != ".ipynb":
        raise UsageError(f"--notebook {path}: expected a name that ends in .ipynb")
    return _write_new(path, "--notebook", (json.dumps(notebook(name), indent=1, ensure_ascii=False) + "\n").encode())


def write_source(name: str, path: str) -> str:
    """Copy an example's script to where there is no file yet; to a folder under its own name. Returns: its path.

    Raises:
        UsageError: the file is there.
    """
    target = Path(path) / f"{name}.py" if Path(path).is_dir() else Path(path)
    return _write_new(str(target), "--source", script(name).read_bytes())


def _write_new(path: str, option: str, content: bytes) -> str:
    if Path(path).exists():  # it may hold what somebody has changed
        raise UsageError(f"{option} {path}: there is such a file; remove it, or give another name")
    _files.write(path, content)
    return path


@dataclass(frozen=True)
class Outcome:
    """What an example left.

    Attributes:
        files: what it wrote. replaced: those of them that took the place of files with other bytes.
        draws: there is something to draw with.
        show: shows its pictures, where they were not saved, and waits until they are closed.
    """

    files: list[Path]
    replaced: list[Path]
    draws: bool
    show: Callable[[], object]


def run(name: str, folder: str | None = None, on_screen: bool = True) -> Outcome:
    """Run an example; what it writes goes to `folder` (made if need be; the current one if None) once it is done.

    Its pictures are for the screen where there is one and no folder was named; elsewhere they are saved there as
    NAME_1.png and so on. Without matplotlib, all but the pictures is done.

    Raises:
        UsageError: `folder` is a file. OSError: it cannot be written to, which is said before the work.
    """
    path, target = script(name), Path(folder or ".")
    with _workshop(target) as workshop:
        plt = _pyplot(on_screen=on_screen and folder is None)
        with _within(workshop), _encodable(sys.stdout), _kept_open(plt):
            try:
                runpy.run_path(str(path), run_name="__main__")
            except ModuleNotFoundError as error:
                if plt is not None or (error.name or "").partition(".")[0] != "matplotlib":
                    raise
        shows = plt is not None and _save_unless_shown(plt, name, workshop, on_screen and folder is None)
        files, replaced = _files.move_all(workshop, target)
    return Outcome(files, replaced, plt is not None, plt.show if shows else lambda: None)


@contextlib.contextmanager
def _workshop(target: Path) -> Iterator[Path]:
    """A folder for what an example writes, before it goes to `target`; refused with the shell's words."""
    try:
        workshop = _files.workshop(target)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"-o {target}: a file is in the way, expected the name of a folder") from None
    except OSError as error:
        why = f"{error.strerror}; -o FOLDER says where pictures and other files go"
        raise OSError(error.errno, why, str(target)) from None
    try:
        yield workshop
    finally:
        _files.remove_folder(workshop)


def _pyplot(on_screen: bool) -> Any:
    """matplotlib.pyplot, or None where it is missing."""
    try:
        import matplotlib

        if not on_screen:
            matplotlib.use("agg")
        import matplotlib.pyplot as plt
    except ModuleNotFoundError:
        return None
    return plt


def _save_unless_shown(plt: Any, name: str, folder: Path, on_screen: bool) -> bool:
    """Save the pictures, or say that there is a screen for them."""
    figures = [plt.figure(number) for number in plt.get_fignums()]
    if on_screen and figures and figures[0].canvas.required_interactive_framework is not None:
        return True
    for i, figure in enumerate(figures, start=1):
        with _files.opened(folder / f"{name}_{i}.png") as file:
            figure.savefig(file, format="png", dpi=_DPI)
    plt.close("all")
    return False


@contextlib.contextmanager
def _within(folder: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _encodable(stream: Any) -> Iterator[None]:
    """What the stream cannot encode is written with letters that it can; scripts print as everybody's do."""
    if not hasattr(stream, "reconfigure"):
        yield
        return
    before = stream.errors
    stream.reconfigure(errors=_NEAREST)
    try:
        yield
    finally:
        stream.reconfigure(errors=before)


@contextlib.contextmanager
def _kept_open(plt: Any) -> Iterator[None]:
    """`plt.show` at the end of a script waits until this program knows whether to save instead."""
    if plt is None:
        yield
        return
    before = plt.show
    plt.show = lambda *_, **__: None
    try:
        yield
    finally:
        plt.show = before


__all__ = ["FOLDER", "ORDER", "Outcome", "cells", "markdown", "names", "notebook", "place", "run", "script", "title"]
