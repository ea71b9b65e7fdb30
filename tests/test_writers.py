# SPDX-License-Identifier: MIT
"""What the package writes to disk goes through `undertow._files`; each writer gives its file whole or not at all."""

import ast
import errno
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import undertow
from networks import single
from undertow import Model, audio
from undertow.accuracy import timing
from undertow.accuracy.timing import Series
from undertow.cli import main
from undertow.inspect import drawing, picture
from undertow.inspect.columns import columns_of

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

PACKAGE = Path(undertow.__file__).parent

# -- no module writes by other means ----------------------------------------------------------------------------------

#: Functions and methods that write to a path, whatever they are called on.
WRITE = {
    "write_bytes", "write_text", "tofile", "savez", "savez_compressed", "savetxt", "savefig", "save_file", "imsave",
    "open_memmap", "memmap", "dump", "touch", "mkdir", "makedirs", "mkfifo", "mknod", "symlink", "symlink_to",
    "hardlink_to", "rename", "renames", "unlink", "rmtree", "chmod", "to_csv", "copyfile", "copytree", "urlretrieve",
}  # fmt: skip
#: Those that are common as methods of other things: only as functions of these modules.
WRITE_OF = {
    "os": {"replace", "remove", "link", "truncate", "ftruncate"},
    **{module: {"save"} for module in ("np", "numpy", "torch", "onnx", "keras")},
}
#: What takes a mode.
OPEN = {"open", "fdopen", "FileIO", "ZipFile", "TarFile", "GzipFile", "h5py.File"}
#: Modules whose purpose is to write.
WRITING_MODULES = {"tempfile", "shutil", "sqlite3", "dbm", "shelve"}
#: module -> what it may do all the same
MAY_WRITE = {
    "importers/torch/exporters.py": "import tempfile",  # torch exports to a path: in a folder that nobody else sees
    "cli/__init__.py": "os.open(os.devnull, os.O_WRONLY)",
    "inspect/machine.py": "import shutil",  # for `which`
    "inspect/shown_figure.py": "self.savefig(file, format='png', dpi=100)",  # into memory
}


def _only_reads(call):
    """Whether something like `open` is told in plain words that it reads, or nothing, which means the same."""
    method = isinstance(call.func, ast.Attribute)
    modes = [k.value for k in call.keywords if k.arg in ("mode", "flags", None)] + call.args[1:2]
    if method and len(call.args) == 1 and re.fullmatch(r"'[rwaxbt+]+'", ast.unparse(call.args[0])):
        modes += call.args  # path.open("w")
    if ast.unparse(call.func) == "os.open":
        return "O_RDONLY" in ast.unparse(call) and not re.search(
            "O_(WRONLY|RDWR|CREAT|APPEND|TRUNC)", ast.unparse(call)
        )
    return all(re.fullmatch(r"'[rbt]+'", ast.unparse(mode)) for mode in modes)


def writers(source):
    """The calls in a source that write to disk, but not into a file of `_files.opened`: "line: code"."""
    tree = ast.parse(source)
    opened = {
        ast.unparse(item.optional_vars)
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        for item in node.items
        if item.optional_vars is not None and ast.unparse(item.context_expr).startswith("_files.opened(")
    }
    return [f"{node.lineno}: {ast.unparse(node)}" for node in ast.walk(tree) if _writes(node, opened)]


def _writes(node, opened):
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] in WRITING_MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.level == 0 and node.module.split(".")[0] in WRITING_MODULES
    if not isinstance(node, ast.Call):
        return False
    if any(ast.unparse(arg) in opened for arg in node.args):
        return False
    function = ast.unparse(node.func)
    owner, _, name = function.rpartition(".")
    if owner == "_files":
        return False
    return name in WRITE or name in WRITE_OF.get(owner, ()) or (bool({name, function} & OPEN) and not _only_reads(node))


#: what examples write they write as their readers would
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name != "examples"]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_writes_by_other_means(path):
    name = path.relative_to(PACKAGE).as_posix()
    found = writers(path.read_text(encoding="utf-8"))
    if name == "_files.py":
        assert any("os.replace" in call for call in found)
        return
    found = [call for call in found if call.split(": ", 1)[1] != MAY_WRITE.get(name)]
    assert not found, f"{name} writes files itself; use undertow._files, line {'; '.join(found)}"


@pytest.mark.parametrize(
    "code",
    [
        'open(path, "w")',
        'open(path, "wb")',
        'open(path, mode="a", encoding="utf-8")',
        'open(path, "r+b")',
        'open(path, "x")',
        "open(path, mode)",
        "open(path, **options)",
        'io.open(path, "w")',
        'path.open("w")',
        'Path(path).open(mode="wb")',
        "path.open(mode=how)",
        'wave.open(os.fspath(path), "wb")',
        'gzip.open(path, "wt")',
        'os.fdopen(descriptor, "wb")',
        "os.open(path, os.O_WRONLY | os.O_CREAT)",
        "os.open(path, flags=os.O_RDWR)",
        "os.open(path, flags)",
        "path.write_bytes(data)",
        "Path(path).with_suffix('.x').write_text(text)",
        "array.tofile(path)",
        "np.save(path, y)",
        "numpy.save(path, y)",
        "np.savez(path, y=y)",
        "np.savez_compressed(file, y=y)",
        "np.savetxt(path, y)",
        "np.memmap(path, mode='w+')",
        "np.lib.format.open_memmap(path)",
        "figure.savefig(path, dpi=120)",
        "figure.savefig(os.fspath(path))",
        "json.dump(found, handle)",
        "torch.save(tensors, path)",
        "onnx.save(model, path)",
        "safetensors.torch.save_file(tensors, path)",
        'zipfile.ZipFile(path, "w")',
        'h5py.File(path, "w")',
        "os.replace(a, b)",
        "os.rename(a, b)",
        "path.rename(other)",
        "path.touch()",
        "import tempfile",
        "from tempfile import mkstemp",
        "import shutil",
        'with open(path, "wb") as file:\n    np.save(file, y)',
        "with opened(path) as file:\n    file.write(b'')\n    path.write_bytes(b'')",
    ],
)
def test_a_planted_writer_is_found(code):
    assert writers(f"def f():\n    {code.replace(chr(10), chr(10) + '    ')}\n"), code


@pytest.mark.parametrize(
    "code",
    [
        "open(path)",
        'open(path, "rb")',
        'open("/proc/cpuinfo", encoding="utf-8", errors="replace")',
        'path.open("rb")',
        'archive.open("weights.bin")',
        "archive.open(info)",
        "pool.open(args.streams)",
        'pool.open(3, state="x")',
        "os.open(path, os.O_RDONLY | os.O_CLOEXEC)",
        'os.fdopen(descriptor, "rb")',
        "zipfile.ZipFile(path)",
        'text.replace("a", "b")',
        "model.save(path)",
        "json.dumps(found)",
        "_files.write(path, data)",
        "with _files.opened(path) as file:\n    np.savez(file, y=y)",
        'with _files.opened(path) as file, wave.open(file, "wb") as sound:\n    sound.writeframes(data)',
    ],
)
def test_what_reads_is_not_taken_for_a_writer(code):
    assert writers(code) == []


# -- every writer -----------------------------------------------------------------------------------------------------

X = np.random.default_rng(3).normal(size=(20, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a model and its input, a model of sound and a sound."""
    folder = tmp_path_factory.mktemp("files")
    Model.from_graph(single(np.random.default_rng(1), "gru", 4, 8)).save(folder / "model.tow")
    np.save(folder / "x.npy", X)
    g = undertow.ir.graph.Graph("quieter")
    g.output("y", g.add("affine", [g.input("x", (1,))], weights={"scale": np.full(1, 0.5), "shift": np.zeros(1)}))
    Model.from_graph(g).save(folder / "sound.tow")
    audio.write(folder / "x.wav", X[:, 0] / 8, 8000)
    return folder


def needs_matplotlib():
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")


def _trace(files):
    return undertow.load(files / "model.tow").stream().trace(X)


def _cli(*argv):
    """A command that ends well, or with the error that it was stopped by: as `main` catches it."""
    errors, message = [], undertow.cli._message
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(undertow.cli, "_message", lambda error: errors.append(error) or message(error))
        code = main([*map(str, argv)])
    if errors:
        raise errors[0]
    assert code == 0


def _plot(files, path):
    needs_matplotlib()
    _trace(files).plot(path)


def _histogram(files, path):
    needs_matplotlib()
    timing.plot([Series("step", "undertow", "warm", np.arange(1, 99))], path)


def _bench(files, path, option):
    if option == "--plot":
        needs_matplotlib()
    quick = ("--seconds", 0.001, "--frames", 2, "--streams", 2, "--cold-calls", 0)
    _cli("bench", files / "model.tow", *quick, option, path)


def _drawn(files, path):
    """A picture as the program `dot` gives it, which need not be there."""
    source = types.SimpleNamespace(pipe=lambda format: f"<{format}>".encode() * 1000)
    module = types.SimpleNamespace(Source=lambda text: source, ExecutableNotFound=RuntimeError)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "graphviz", module)
        drawing.write(undertow.load(files / "model.tow"), path)


def _run(files, path):
    _cli("run", files / "model.tow", files / "x.npy", "-o", path)


def _shown(files, path, command):
    needs_matplotlib()
    more = ("-o", files / "shown.npz") if command == "trace" else ("-o", files / "shown.csv")
    _cli(command, files / "model.tow", files / "x.npy", *more, "--plot", path)


def _npz(path):
    with np.load(path, allow_pickle=False) as data:
        return dict(data)


def _is_output(files, path):
    want = undertow.load(files / "model.tow").run(X)
    if path.suffix == ".npz":
        (got,) = _npz(path).values()
    else:
        got = np.load(path) if path.suffix == ".npy" else np.loadtxt(path, delimiter=",", dtype=np.float32)
    assert np.array_equal(got, want)


def _is_trace(files, path):
    got, want = _npz(path), _trace(files)
    assert {f"state/{name}" for name in want} | {f"output/{name}" for name in want.outputs} == set(got)
    for name, state in want.items():
        assert np.array_equal(got[f"state/{name}"], state)


def _is_model(files, path):
    assert np.array_equal(undertow.load(path).run(X), undertow.load(files / "model.tow").run(X))


def _is_picture(files, path):
    starts = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}
    ends = {".png": b"IEND\xaeB`\x82", ".pdf": b"%%EOF", ".svg": b"</svg>"}
    data = path.read_bytes()
    assert data.startswith(starts[path.suffix])
    assert data.rstrip().endswith(ends[path.suffix])


def _is_sound(factor):
    def check(files, path):
        samples, rate = audio.read(path)
        assert rate == 8000
        assert np.array_equal(samples[:, 0], np.rint(audio.read(files / "x.wav")[0][:, 0] * 32768 * factor) / 32768)

    return check


def _is(data):
    def check(files, path):
        assert path.read_bytes() == data

    return check


#: name -> (name of the file, what writes it, what reads it back); both get the folder of models and the path.
WRITERS = {
    "Model.save": ("m.tow", lambda files, path: undertow.load(files / "model.tow").save(path), _is_model),
    "convert": ("m.tow", lambda files, path: _cli("convert", files / "model.tow", "-o", path), _is_model),
    "Trace.save": ("t.npz", lambda files, path: _trace(files).save(path), _is_trace),
    "trace -o": (
        "t.npz",
        lambda files, path: _cli("trace", files / "model.tow", files / "x.npy", "-o", path),
        _is_trace,
    ),
    "audio.write": ("a.wav", lambda files, path: audio.write(path, audio.read(files / "x.wav")[0], 8000), _is_sound(1)),
    "run -o .wav": (
        "a.wav",
        lambda files, path: _cli("run", files / "sound.tow", files / "x.wav", "-o", path),
        _is_sound(0.5),
    ),
    **{f"run -o {s}": (f"y{s}", _run, _is_output) for s in (".npy", ".npz", ".csv", ".tsv", ".txt")},
    **{f"Trace.plot {s}": (f"p{s}", _plot, _is_picture) for s in (".png", ".svg", ".pdf")},
    "latency.plot": ("p.svg", _histogram, _is_picture),
    "run --plot": ("p.png", lambda files, path: _shown(files, path, "run"), _is_picture),
    "trace --plot": ("p.png", lambda files, path: _shown(files, path, "trace"), _is_picture),
    "bench --plot": ("p.png", lambda files, path: _bench(files, path, "--plot"), _is_picture),
    "bench --json": (
        "b.json",
        lambda files, path: _bench(files, path, "--json"),
        lambda files, path: json.loads(path.read_text())["series"][0]["n_calls"],
    ),
    "info --graph .dot": (
        "g.dot",
        lambda files, path: _cli("info", files / "model.tow", "--graph", path),
        lambda files, path: _is(drawing.dot(undertow.load(files / "model.tow")).encode())(files, path),
    ),
    "drawing.write .svg": ("g.svg", _drawn, _is(b"<svg>" * 1000)),
}
EACH = pytest.mark.parametrize(("name", "write", "check"), WRITERS.values(), ids=WRITERS)
#: Without the commands that draw: it takes a second, and all pictures are written by one function.
FEW = {key: writer for key, writer in WRITERS.items() if not key.endswith("--plot")}
EACH_BUT_SLOW = pytest.mark.parametrize(("name", "write", "check"), FEW.values(), ids=FEW)
OLD = b"what was there before"


@EACH
def test_it_writes_what_it_should(files, tmp_path, name, write, check):
    path = tmp_path / name
    for old in (None, OLD):
        if old:
            path.write_bytes(old)
            path.chmod(0o604)
        write(files, path)
        check(files, path)
        assert os.listdir(tmp_path) == [name]
    assert path.stat().st_mode & 0o777 == 0o604


@EACH_BUT_SLOW
def test_it_shows_nothing_before_it_is_whole(files, tmp_path, monkeypatch, name, write, check):
    path, real, seen = tmp_path / name, os.write, []
    path.write_bytes(OLD)

    def watched(descriptor, data):
        seen.append(path.read_bytes())
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", watched)
    write(files, path)
    monkeypatch.undo()
    assert seen and set(seen) == {OLD}
    check(files, path)


@EACH_BUT_SLOW
def test_a_full_disk_leaves_what_was_there(files, tmp_path, monkeypatch, name, write, check):
    path, real = tmp_path / name, os.write
    write(files, path)
    n_bytes = path.stat().st_size
    path.write_bytes(OLD)
    for room in (0, n_bytes // 2):
        left = [room]

        def full(descriptor, data, left=left):
            left[0] -= len(data)
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(descriptor, data)

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(OSError, match="No space left") as caught:
                write(files, path)
        assert caught.value.filename == str(path)
        assert path.read_bytes() == OLD
        assert os.listdir(tmp_path) == [name]


@EACH
def test_a_link_is_not_followed_and_a_folder_not_touched(files, tmp_path, capsys, name, write, check):
    path, victim = tmp_path / name, tmp_path / "victim"
    victim.write_bytes(OLD)
    path.symlink_to(victim)
    write(files, path)
    assert not path.is_symlink()
    check(files, path)
    assert victim.read_bytes() == OLD
    path.unlink()
    path.mkdir()
    with pytest.raises((OSError, undertow.cli.UsageError), match=r"(?i)is a (folder|directory)") as caught:
        write(files, path)
    assert str(path) in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == sorted(["victim", name])
    assert os.listdir(path) == []


_LIMITED = """
import os, resource, sys
from contextlib import ExitStack
import numpy as np
from undertow.cli import _outputs

class Model:
    outputs = {"y": np.zeros(3, np.float32)}

def write(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        with ExitStack() as stack:
            is_text = path.endswith(".csv")
            sink = _outputs.TextFile(path, Model, stack) if is_text else _outputs.ArrayFile(path, Model)
            for part in np.split(np.arange(3000, dtype=np.float32).reshape(1000, 3), 4):
                sink.take({"y": part})
            sink.end()
    except OSError as error:
        return error.errno, error.filename == path
    return "written"

path = sys.argv[1]
print(write(10**6), n_bytes := os.path.getsize(path))
os.truncate(path, 5)
for limit in (n_bytes - 1, n_bytes - 4000, 0, n_bytes):
    print(write(limit), os.path.getsize(path), len(os.listdir(os.path.dirname(path))))
"""


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_not_one_byte_may_be_missing(tmp_path, suffix):
    """NumPy writes the end of an array where it cannot tell of a failure, if it is given a file of the system."""
    command = [sys.executable, "-c", _LIMITED, str(tmp_path / f"y{suffix}")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    first, *failed, last = done.stdout.splitlines()
    n_bytes = int(first.removeprefix("written "))
    assert n_bytes > 12_000
    assert failed == [f"({errno.EFBIG}, True) 5 1"] * 3
    assert last == f"written {n_bytes} 1"


def test_errors_of_a_command_name_the_file(files, tmp_path, capsys):
    (tmp_path / "y.npy").mkdir()
    assert main(["run", str(files / "model.tow"), str(files / "x.npy"), "-o", str(tmp_path / "y.npy")]) == 3
    assert capsys.readouterr().err == f"undertow: error: {tmp_path / 'y.npy'}: Is a directory\n"


@pytest.mark.parametrize("name", ["picture", "picture.doc", "picture."])
def test_a_picture_needs_a_suffix_that_says_its_format(files, tmp_path, name):
    needs_matplotlib()
    with pytest.raises(undertow.UnsupportedError, match=r"expected a name that ends in \.png, \.svg or \.pdf"):
        _plot(files, tmp_path / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("suffix", "start"), [("SVG", b"<?xml"), ("svgz", b"\x1f\x8b"), ("eps", b"%!PS")])
def test_pictures_of_other_formats(tmp_path, suffix, start):
    needs_matplotlib()
    picture.draw([picture.Panel("x", columns_of(X))], 20, path=tmp_path / f"p.{suffix}")
    assert (tmp_path / f"p.{suffix}").read_bytes().startswith(start)
