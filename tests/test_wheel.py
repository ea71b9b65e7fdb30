# SPDX-License-Identifier: MIT
"""The sdist and the wheel that is built from it: what is in them, how large they are, and that the wheel works by
itself. UNDERTOW_TEST_WHEEL=1 builds them.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import test_cython

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ.get("UNDERTOW_TEST_WHEEL") != "1", reason="builds a wheel: set UNDERTOW_TEST_WHEEL=1"
    ),
]


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, **options)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


#: whether to build with what is installed here: without a network there is nothing else
HERE = all(find_spec(name) for name in ("scikit_build_core", "pybind11", "Cython", "numpy"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    pytest.importorskip("build", reason='needs the package build: pip install "undertow[test]"')
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", *(["--no-isolation"] if HERE else []), "-o", str(folder), str(ROOT))
    (path,) = folder.glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps"]
    isolation = ["--no-build-isolation"] if HERE else []
    run(*pip, *isolation, "--config-settings", f"build-dir={folder / 'build'}", "-w", str(folder), str(sdist))
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-index"]
    run(*pip, "--target", str(site), str(wheel))
    return site


@pytest.fixture(scope="module")
def names(wheel):
    return zipfile.ZipFile(wheel).namelist()


def test_size(wheel):
    """The kernels of five instruction sets, once (1.2 MB), streams and decoders (0.1 MB), the package's text (1.3 MB),
    examples with their models.
    """
    with zipfile.ZipFile(wheel) as archive:
        size = {entry.filename: entry.compress_size for entry in archive.infolist()}
    compiled = sum(size[name] for name in binaries(size))
    examples = sum(n for name, n in size.items() if name.startswith("undertow/examples/"))
    assert compiled < 1_320_000
    assert examples < 1_000_000
    assert wheel.stat().st_size - compiled - examples < 1_400_000


@pytest.mark.parametrize(
    "name",
    [
        "include/undertow.h",
        "stream.pxd",
        "export/numerics/compiler.h",
        "export/numerics/float32.h",
        "export/numerics/float32x4.h",
        "export/numerics/math-inl.h",
        "export/numerics/fixed.h",
        "_core.pyi",
        "py.typed",
        "examples/digits.tow",
        "examples/digits.npz",
        "_core.py",
        f"stream{sysconfig.get_config_var('EXT_SUFFIX')}",
    ],
)
def test_holds(names, name):
    assert f"undertow/{name}" in names


def test_holds_every_module(names):
    package = ROOT / "python" / "undertow"
    modules = {f"undertow/{p.relative_to(package).as_posix()}" for p in package.rglob("*.py")}
    assert modules <= set(names)


def test_holds_nothing_else(names):
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"undertow"}
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".o", ".a", ".pyx", ".cpp"))]
    assert len(binaries(names)) == 1
    assert not [name for name in names if "test" in name.split("/")[-1]]


def binaries(names):
    return [name for name in names if name.endswith((".so", ".pyd", ".dylib", ".dll"))]


def test_holds_the_engine_once(wheel, names):
    """A sentence of the library's own stands there once, and each of its instruction sets."""
    with zipfile.ZipFile(wheel) as archive:
        held = b"".join(archive.read(name) for name in binaries(names))
    assert held.count(b"not a snapshot of version 1") == 1


def test_shows_nothing_but_its_two_modules(installed, names):
    if not shutil.which("nm"):
        pytest.skip("needs nm: apt install binutils")
    (name,) = binaries(names)
    flags = ["-gU"] if sys.platform == "darwin" else ["-D", "--defined-only"]
    symbols = [line.split()[-1] for line in run("nm", *flags, str(installed / name)).splitlines()]
    assert sorted(re.sub("^_", "", symbol) for symbol in symbols) == ["PyInit__core", "PyInit_stream"]


def test_sdist_has_what_builds_a_wheel_and_one_test(sdist):
    with tarfile.open(sdist) as archive:
        files = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {name for name in files if name.startswith("tests/")} == {"tests/test_minimal.py"}
    assert not [
        name for name in files if re.match(r"(\.ci|\.conda|\.github|bench|docs|build)/|.*\.(so|pyd|pyc)$", name)
    ]
    assert {"LICENSE", "README.md", "csrc/include/undertow.h", "python/undertow/examples/digits.tow"} <= files
    assert sdist.stat().st_size < 2_200_000


def test_the_sdist_s_test_passes(sdist, installed, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    out = run(sys.executable, "-m", "pytest", "-q", cwd=folder, env={**os.environ, "PYTHONPATH": str(installed)})
    assert "2 passed" in out


def test_holds_the_licence(names):
    assert [name for name in names if ".dist-info/" in name and name.endswith("LICENSE")]


def test_does_not_tell_where_it_was_built(wheel):
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if str(ROOT).encode() in archive.read(name)]


def test_runs_by_itself(installed, tmp_path):
    code = (
        "import pathlib, undertow; from undertow.cli import main; main(['demo', '--digits', '1']); "
        "print(undertow.__file__); print(sorted(p.name for p in pathlib.Path(undertow.get_include()).iterdir()))"
    )
    env = {**os.environ, "PYTHONPATH": str(installed), "PYTHONIOENCODING": "utf-8"}
    out = run(sys.executable, "-c", code, cwd=tmp_path, env=env).splitlines()
    assert "1 of 1 right" in "\n".join(out)
    assert out[-2].startswith(str(installed)) and out[-1] == "['undertow.h']"


@pytest.mark.skipif(not test_cython.compiler(), reason="needs a C compiler: apt install gcc")
def test_other_packages_build_against_it(installed, tmp_path):
    test_cython.build(tmp_path / "package", installed)
    code = (
        "import numpy as np, undertow, consumer; m = undertow.load(undertow.example('digits')); "
        "X, Y = np.ones((9, 8), np.float32), np.empty((9, 10), np.float32); "
        "consumer.step_all(m.stream(), X, Y); assert np.array_equal(Y, m.run(X)); print(consumer.__file__)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), str(tmp_path / "package")])}
    assert str(tmp_path) in run(sys.executable, "-c", code, cwd=tmp_path, env=env)
