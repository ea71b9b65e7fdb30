# SPDX-License-Identifier: MIT
"""What CMake says where the system lacks what the build needs: the packages to install, by distribution."""

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CMAKE = shutil.which("cmake")
NINJA = shutil.which("make") or shutil.which("ninja")  # of pyenv that is a script of bash, not on the path below
pytestmark = [
    pytest.mark.skipif(not (ROOT / "csrc").exists(), reason="needs the source tree"),
    pytest.mark.skipif(not CMAKE or not NINJA, reason="needs cmake, and ninja or make: pip install cmake ninja"),
]


def configure(folder, *options, **env):
    generator = "Ninja" if Path(NINJA).name == "ninja" else "Unix Makefiles"
    command = [CMAKE, "-S", str(ROOT), "-B", str(folder), "-G", generator, f"-DCMAKE_MAKE_PROGRAM={NINJA}", *options]
    without = {name: value for name, value in os.environ.items() if name not in ("CC", "CXX")}
    done = subprocess.run(command, env={**without, **env}, capture_output=True, text=True, timeout=300)
    assert done.returncode, "it should have been refused"
    return " ".join((done.stdout + done.stderr).split())  # CMake breaks lines where it likes


def test_missing_compiler_names_the_packages(tmp_path):
    said = configure(tmp_path / "build", "-DUT_PYTHON=ON", PATH=str(tmp_path))
    assert "no C++ compiler was found" in said
    for line in (
        "apt install g++ python3-dev",
        "dnf install gcc-c++ python3-devel",
        "apk add build-base python3-dev",
        "xcode-select --install",
    ):
        assert line in said, said


def test_missing_compiler_of_a_program_in_c_asks_for_no_python(tmp_path):
    said = configure(tmp_path / "build", PATH=str(tmp_path))
    assert "apt install g++ Fedora" in said


def test_missing_headers_name_the_packages(tmp_path):
    if not shutil.which("c++") and not shutil.which("g++"):
        pytest.skip("needs a C++ compiler: apt install g++")
    (tmp_path / "include").mkdir()  # an installation whose headers are not there
    said = configure(tmp_path / "build", "-DUT_PYTHON=ON", f"-DPython_INCLUDE_DIR={tmp_path}/include")
    assert f"has no header {tmp_path}/include/Python.h" in said.replace("/ ", "/")
    for line in ("apt install python3-dev", "dnf install python3-devel", "apk add python3-dev", "brew install python"):
        assert line in said, said


def test_a_missing_tool_is_named_with_the_line_to_type():
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        pytest.skip("needs Python's headers: apt install python3-dev")
    missing = [name for name in ("numpy", "pybind11", "Cython") if not find_spec(name)]
    command = [CMAKE, f"-DPython_EXECUTABLE={sys.executable}", "-P", str(ROOT / "src" / "find_python.cmake")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    said = " ".join(done.stderr.split())
    assert (done.returncode == 0) == (not missing), said
    assert not missing or (f"cannot import {missing[0]}" in said and "-m pip install" in said)
