# SPDX-License-Identifier: MIT
"""`undertow demo NAME`: examples that come as scripts are listed, run, copied, and written as notebooks."""

import ast
import errno
import json
import os
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import undertow
from example_runs import ran
from undertow.cli import _examples, main

SCRIPTS = _examples.names()

NO_PICTURES = 'the pictures need matplotlib: pip install "undertow[plot]"\n'
SMALL = '''# SPDX-License-Identifier: MIT
"""A title
=======

An introduction with ``code``::

    indented = 1
"""

import undertow

number = 1 + 1
# a comment of the code
print("two:", number)

# %%
# A section
# ---------
#
# The square :math:`x^2`, and `a place <https://example.org>`_:
#
# .. math::
#
#    h_t = x^2
#
# Done.

square = number**2
# %%
print("four:", square)

# %%
# The picture.

import matplotlib.pyplot as plt

plt.plot([1, 2])
plt.figure()
plt.show()
'''


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder of examples with one of them, named small; the current folder is an empty one beside it."""
    folder, here = tmp_path / "examples", tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    (folder / "small.py").write_text(SMALL)
    (folder / "train_small.py").write_text('"""Not one of them."""\n')
    monkeypatch.setattr(_examples, "FOLDER", folder)
    monkeypatch.chdir(here)
    return here


def in_words(name):
    return f"in words: undertow demo {name} --source, --notebook FILE, or the gallery\n"


def run(capsys, *argv, code=0):
    assert main(["demo", *argv]) == code
    said = capsys.readouterr()
    return said.err if code else said.out


# -- the list ---------------------------------------------------------------------------------------------------------


def test_list_has_a_line_for_each(capsys):
    lines = run(capsys, "--list").splitlines()
    assert [line.split()[0] for line in lines] == SCRIPTS == list(_examples.ORDER)
    assert all(len(line) < 80 and len(line.split()) > 3 for line in lines)


def test_list_knows_what_is_no_example(capsys, small):
    assert run(capsys, "--list") == "small  A title\n"
    _examples.script("small").with_name("lesson.py").write_text('"""The first\n=========\n"""\n')
    assert run(capsys, "--list") == "lesson  The first\nsmall   A title\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["smal"], "no example 'smal'; there are: small"),
        (["../small"], "no example '../small'"),
        (["train_small"], "no example 'train_small'"),
        (["small", "--digits", "3"], "--digits is for the digits: undertow demo --digits 3"),
        (["small", "--seed", "0"], "--seed is for the digits"),
        (["--seed", "0", "-o", "x"], "--seed is for digits as they come in, --output for a script"),
        (["digits", "--digits", "1", "--source"], "--digits is for digits as they come in, --source for a script"),
        (["small", "--source", "--notebook", "x.ipynb"], "give one of them"),
        (["small", "--notebook", "x.json"], "ends in .ipynb"),
    ],
)
def test_refuses(capsys, small, argv, message):
    assert message in run(capsys, *argv, code=2)
    assert not list(small.iterdir())


# -- running ----------------------------------------------------------------------------------------------------------


def test_saves_pictures_where_there_is_no_screen(capsys, small, monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot", reason="needs matplotlib: pip install matplotlib")
    monkeypatch.setattr(plt, "show", lambda: pytest.fail("shown, where nobody sees it"))
    plt.switch_backend("agg")
    assert run(capsys, "small") == "two: 2\nfour: 4\n\npictures: small_1.png, small_2.png\n" + in_words("small")
    assert sorted(path.name for path in small.iterdir()) == ["small_1.png", "small_2.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in small.iterdir())
    assert not plt.get_fignums()


def test_shows_pictures_where_there_is_a_screen(capsys, small, monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot", reason="needs matplotlib: pip install matplotlib")
    plt.switch_backend("agg")
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.get_fignums()))
    monkeypatch.setattr("matplotlib.backends.backend_agg.FigureCanvasAgg.required_interactive_framework", "tk")
    assert run(capsys, "small") == "two: 2\nfour: 4\n\n" + in_words("small")
    plt.close("all")
    assert shown == [[1, 2]] and not list(small.iterdir())


def test_a_named_folder_gets_what_is_made(capsys, small, monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot", reason="needs matplotlib: pip install matplotlib")
    monkeypatch.setattr("matplotlib.backends.backend_agg.FigureCanvasAgg.required_interactive_framework", "tk")
    monkeypatch.setattr(plt, "show", lambda: pytest.fail("shown, though a folder was named"))
    script = _examples.script("small")
    script.write_text(script.read_text() + "open('notes.txt', 'w').close()\n")
    out = run(capsys, "small", "-o", "a/b")
    assert out.endswith(f"pictures: {Path('a/b/small_1.png')}, {Path('a/b/small_2.png')}\n{in_words('small')}")
    assert sorted(path.name for path in (small / "a/b").iterdir()) == ["notes.txt", "small_1.png", "small_2.png"]
    assert Path.cwd() == small


def test_without_matplotlib_all_but_the_pictures(capsys, small, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    out = run(capsys, "small")
    assert out == f"two: 2\nfour: 4\n\n{NO_PICTURES}{in_words('small')}"


def test_what_takes_the_place_of_other_files_is_said(capsys, small, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    script = _examples.script("small")
    script.write_text(
        script.read_text().replace(
            "import undertow\n", "from pathlib import Path\n\nPath('notes.txt').write_text('new')\n"
        )
    )
    assert "replaced" not in run(capsys, "small")
    assert "replaced" not in run(capsys, "small"), "the same bytes"
    (small / "notes.txt").write_text("somebody's")
    assert "\nfiles of these names were replaced: notes.txt\n" in run(capsys, "small")
    assert (small / "notes.txt").read_text() == "new"
    script.write_text(script.read_text().replace("square = ", "raise KeyboardInterrupt\nsquare = "))
    (small / "notes.txt").write_text("somebody's")
    run(capsys, "small", code=130)
    assert (small / "notes.txt").read_text() == "somebody's" and len(list(small.iterdir())) == 1


def test_where_nothing_can_be_written_is_said_before_the_work(capsys, small, monkeypatch):
    (small / "file").touch()
    assert "-o file: a file is in the way" in run(capsys, "small", "-o", "file", code=2)
    assert "-o file/a: a file is in the way" in run(capsys, "small", "-o", "file/a", code=2)

    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(_examples._files.tempfile, "mkdtemp", read_only)
    monkeypatch.setattr(_examples.runpy, "run_path", None)
    assert ".: Read-only file system; -o FOLDER says where" in run(capsys, "small", code=3)


def test_answers_of_json(cli, small, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    script = _examples.script("small")
    script.write_text(
        script.read_text().replace(
            "import undertow\n", "from pathlib import Path\n\nPath('notes.txt').write_text('new')\n"
        )
    )
    for argv in (("--json", "demo", "small"), ("demo", "small", "-o", "a", "--json")):
        code, out, err = cli(*argv)
        facts = json.loads(out)
        assert (code, err, facts["name"], facts["lines"][:2]) == (0, "", "small", ["two: 2", "four: 4"])
        assert facts["files"] == [str(Path("a", "notes.txt")) if "a" in argv else "notes.txt"]
    assert json.loads(cli("demo", "--list", "--json")[1])["examples"]["small"] == "A title"
    assert json.loads(cli("demo", "small", "--source", "s.py", "--json")[1])["files"] == ["s.py"]
    assert json.loads(cli("demo", "--digits", "1", "--json")[1])["lines"][-1] == "more examples: undertow demo --list"
    code, out, _ = cli("demo", "smal", "--json")
    assert code == 2 and "no example 'smal'" in json.loads(out)["error"]["message"]


def test_another_missing_module_is_an_error(capsys, small, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    script = _examples.script("small")
    script.write_text(script.read_text().replace("import undertow", "import undertow_nowhere"))
    assert "No module named 'undertow_nowhere'" in run(capsys, "small", code=3)


def test_prints_to_a_pipe_that_knows_few_letters(small):
    _examples.script("small").write_text('"""A title\n=======\n"""\n\nprint("F→5 “é” │ €")\n')
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    words = in_words("small").encode() if find_spec("matplotlib") else (NO_PICTURES + in_words("small")).encode()
    code = (
        "import sys; from pathlib import Path; from undertow.cli import _examples, main;"
        f"_examples.FOLDER = Path({str(_examples.FOLDER)!r}); sys.exit(main(['demo', 'small']))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b'F->5 "e" | \\u20ac\n\n' + words), done.stderr.decode()


# -- scripts and notebooks --------------------------------------------------------------------------------------------


def test_source_is_printed_or_copied(capsys, small):
    assert run(capsys, "small", "--source") == SMALL
    assert run(capsys, "small", "--source", "mine.py") == "wrote mine.py\n"
    assert (small / "mine.py").read_text() == SMALL
    (small / "mine.py").write_text("changed")
    assert "there is such a file" in run(capsys, "small", "--source", "mine.py", code=2)
    assert (small / "mine.py").read_text() == "changed"
    (small / "scripts").mkdir()
    run(capsys, "small", "--source", "scripts")
    assert (small / "scripts" / "small.py").read_text() == SMALL


def test_notebook_has_the_cells_of_the_script(capsys, small):
    assert run(capsys, "small", "--notebook", "small.ipynb") == "wrote small.ipynb\n"
    notebook = json.loads((small / "small.ipynb").read_text())
    assert [(cell["cell_type"], cell["source"]) for cell in notebook["cells"]] == [
        ("markdown", "# A title\n\nAn introduction with `code`:\n\n    indented = 1"),
        ("code", 'import undertow\n\nnumber = 1 + 1\n# a comment of the code\nprint("two:", number)'),
        (
            "markdown",
            "## A section\n\nThe square $x^2$, and [a place](https://example.org):\n\n$$\nh_t = x^2\n$$\n\nDone.",
        ),
        ("code", "square = number**2"),
        ("code", 'print("four:", square)'),
        ("markdown", "The picture."),
        ("code", "import matplotlib.pyplot as plt\n\nplt.plot([1, 2])\nplt.figure()\nplt.show()"),
    ]
    assert "there is such a file" in run(capsys, "small", "--notebook", "small.ipynb", code=2)


@pytest.mark.parametrize("text", [".. note:: this", "see :func:`load`", "an `anchor`_", "``never closed"])
def test_what_a_notebook_cannot_show_is_refused(text):
    with pytest.raises(ValueError, match="has no counterpart in a notebook"):
        _examples.markdown(f"Before.\n\n{text}\n\nAfter.")


def test_a_script_without_a_title_is_refused():
    with pytest.raises(ValueError, match="begins with a docstring"):
        _examples.cells("import undertow\n")


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_what_sphinx_gallery_reads(name):
    """Their cells are those that it finds."""
    parser = pytest.importorskip(
        "sphinx_gallery.py_source_parser", reason="needs its parser: pip install sphinx-gallery"
    )
    blocks = parser.split_code_and_text_blocks(str(_examples.script(name)))[1]
    theirs = [(kind, text.strip("\n")) for kind, text, _ in blocks if text.strip()]
    assert _examples.cells(_examples.script(name).read_text(encoding="utf-8")) == theirs


def test_the_gallery_runs_copies_in_their_order(tmp_path):
    """An example writes where its script lies, and the package is no place for that."""
    extension = Path(__file__).parent.parent / "docs" / "_ext" / "gallery.py"
    gallery = runpy.run_path(str(extension))
    (tmp_path / "reel.mid").touch()
    folder = Path(gallery["copied"](tmp_path))
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["GALLERY_HEADER.txt", *(f"{name}.py" for name in SCRIPTS)]
    )
    assert all((folder / f"{name}.py").read_bytes() == _examples.script(name).read_bytes() for name in SCRIPTS)
    files = sorted([*(f"{name}.py" for name in SCRIPTS), "another.py"], key=gallery["ForLearners"](str(folder)))
    assert files == [*(f"{name}.py" for name in _examples.ORDER), "another.py"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_short_and_like_each_other(name):
    text = _examples.script(name).read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 94  # what a page of the gallery shows without scrolling
    code = "\n".join(cell for kind, cell in _examples.cells(text) if kind == "code").splitlines()
    assert sum(bool(line) and not line.startswith("#") for line in code) <= 105
    assert "__main__" not in text and "__file__" not in text  # a notebook has no file
    heading = text.split('"""')[1].splitlines()
    assert heading[1] == "=" * len(heading[0])
    assert "plt.show()" in text.splitlines()[-1]


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_need_numpy_alone_until_they_draw(name):
    """With what a run of them lacks (`example_runs`): without matplotlib, all that is printed has been."""
    body = ast.parse(_examples.script(name).read_text(encoding="utf-8")).body
    imported = {i: ast.unparse(node) for i, node in enumerate(body) if isinstance(node, ast.Import | ast.ImportFrom)}
    drawing = next(i for i, statement in imported.items() if statement == "import matplotlib.pyplot as plt")
    assert not [statement for i, statement in imported.items() if "matplotlib" in statement and i != drawing]
    inside = [node for node in ast.walk(ast.Module(body, [])) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert len(inside) == len(imported)
    assert "print(" in ast.unparse(ast.Module(body[:drawing], [])) and "print(" not in ast.unparse(
        ast.Module(body[drawing:], [])
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_is_printed_fits_any_terminal(name):
    printed = ran(name).printed
    assert printed.isascii() and "-0.00" not in printed and len(printed) > 500
    assert not [line for line in printed.splitlines() if len(line) > 79]


@pytest.mark.parametrize("name", SCRIPTS)
def test_notebooks_run(name, tmp_path):
    """Each cell of each notebook, in a kernel of its own, in an empty folder."""
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat: pip install nbformat")
    pytest.importorskip("nbclient", reason="needs nbclient: pip install nbclient")
    pytest.importorskip("ipykernel", reason="needs a kernel: pip install ipykernel")
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")
    assert main(["demo", name, "--notebook", str(tmp_path / "it.ipynb")]) == 0
    nbformat.validate(nbformat.read(tmp_path / "it.ipynb", as_version=4))
    # in a process of its own: what Jupyter's packages warn of is not about undertow
    code = (
        "import nbformat, nbclient; it = nbformat.read('it.ipynb', as_version=4);"
        "nbclient.NotebookClient(it, timeout=120, kernel_name='python3').execute(); nbformat.write(it, 'it.ipynb')"
    )
    package = Path(undertow.__file__).parent.parent
    path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, "MPLBACKEND": ""}
    env = {key: value for key, value in env.items() if value}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    ran = nbformat.read(tmp_path / "it.ipynb", as_version=4).cells
    outputs = [output for cell in ran for output in cell.get("outputs", ())]
    assert any(output.output_type == "stream" and output.name == "stdout" for output in outputs)
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.get("name") == "stderr"]
