# SPDX-License-Identifier: MIT
"""The scripts in `undertow/examples`: which there are, each as a script and as a notebook, and running one.

A script is what sphinx-gallery reads: a docstring, whose first line is the title, and cells that begin with `# %%` and
a comment, both in reStructuredText. A notebook is made of it here, because nobody should need Sphinx to get one.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import _files
from .._text import listed
from ._common import UsageError, say

FOLDER = Path(__file__).parent.parent / "examples"

#: The order for who learns: first what the others build on.
ORDER = ("lesson", "spotlight", "digits", "text", "music", "speech", "forecast", "clicks", "ci")

#: Dots per inch of a picture: twice what a screen shows, for screens that show more.
_DPI = 150

_NO_PICTURES = 'the pictures need matplotlib: pip install "undertow[plot]"'

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


def write_notebook(name: str, path: str) -> None:
    """Write an example as a notebook, where there is no file yet.

    Raises:
        UsageError: the file is there, or its name says that it is something else.
    """
    if Path(path).suffix != ".ipynb":
        raise UsageError(f"--notebook {path}: expected a name that ends in .ipynb")
    _write_new(path, "--notebook", (json.dumps(notebook(name), indent=1, ensure_ascii=False) + "\n").encode())


def write_source(name: str, path: str) -> None:
    """Copy an example's script to where there is no file yet; to a folder under its own name.

    Raises:
        UsageError: the file is there.
    """
    target = Path(path) / f"{name}.py" if Path(path).is_dir() else Path(path)
    _write_new(str(target), "--source", script(name).read_bytes())


def _write_new(path: str, option: str, content: bytes) -> None:
    if Path(path).exists():  # it may hold what somebody has changed
        raise UsageError(f"{option} {path}: there is such a file; remove it, or give another name")
    _files.write(path, content)
    say(f"wrote {path}")


def run(name: str, folder: str | None = None) -> None:
    """Run an example in `folder` (made if need be; the current one if None), which gets what it writes.

    Its pictures are shown where there is a screen and no folder was named; elsewhere they are saved there as NAME_1.png
    and so on. Without matplotlib, all but the pictures is done. The last line says where to read on.
    """
    path = script(name)
    target = Path(folder or ".")
    target.mkdir(parents=True, exist_ok=True)
    plt = _pyplot(on_screen=folder is None)
    with _within(target), _encodable(sys.stdout), _kept_open(plt):
        try:
            runpy.run_path(str(path), run_name="__main__")
        except ModuleNotFoundError as error:
            if plt is not None or (error.name or "").partition(".")[0] != "matplotlib":
                raise
            say("", _NO_PICTURES)
    if plt is not None:
        _show_or_save(plt, name, target, on_screen=folder is None)
    say("", f"explained in its script: undertow demo {name} --source, or --notebook FILE")


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


def _show_or_save(plt: Any, name: str, folder: Path, on_screen: bool) -> None:
    figures = [plt.figure(number) for number in plt.get_fignums()]
    if not figures:
        return
    if on_screen and figures[0].canvas.required_interactive_framework is not None:
        plt.show()
        return
    saved = []
    for i, figure in enumerate(figures, start=1):
        saved.append(folder / f"{name}_{i}.png")
        with _files.opened(saved[-1]) as file:
            figure.savefig(file, format="png", dpi=_DPI)
    plt.close("all")
    say("", f"pictures: {listed(saved)}")


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
    """What the stream cannot encode is escaped, as `say` does; scripts print as everybody's do."""
    if not hasattr(stream, "reconfigure"):
        yield
        return
    before = stream.errors
    stream.reconfigure(errors="backslashreplace")
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


__all__ = ["FOLDER", "ORDER", "cells", "markdown", "names", "notebook", "place", "run", "script", "title"]
