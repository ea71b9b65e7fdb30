# SPDX-License-Identifier: MIT
"""The wheel: what is in it, how large it is, and that it works by itself. UNDERTOW_TEST_WHEEL=1 builds one."""

import os
import subprocess
import sys
import sysconfig
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    here = all(find_spec(name) for name in ("scikit_build_core", "pybind11", "Cython", "numpy"))
    isolation = ["--no-build-isolation"] if here else []
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", *isolation]
    run(*pip, "--config-settings", f"build-dir={folder / 'build'}", "-w", str(folder), str(ROOT))
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
    """Kernels of five instruction sets, in two modules (1.2 MB), the package's text (0.8 MB), the examples (0.9 MB)."""
    assert wheel.stat().st_size < 3_200_000


@pytest.mark.parametrize(
    "name",
    [
        "include/undertow.h",
        "stream.pxd",
        "_core.pyi",
        "py.typed",
        "examples/digits.tow",
        "examples/digits.npz",
        f"_core{sysconfig.get_config_var('EXT_SUFFIX')}",
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
    assert len([name for name in names if name.endswith((".so", ".pyd"))]) == 2


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
