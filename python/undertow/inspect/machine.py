# SPDX-License-Identifier: MIT
"""What is here to run models with: the CPU, packages and programs that parts of undertow use, and their versions."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
from dataclasses import dataclass
from typing import Any

from .. import _core

#: features that kernels ask for, as Linux spells them
_FEATURES = (
    "sse4_1", "avx", "fma", "avx2", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx_vnni", "f16c",
    "asimd", "asimddp",
)  # fmt: skip

#: environment variables that undertow heeds -> what they do
ENVIRONMENT = {
    "UT_ISA": "forces the instruction set of models that are loaded without isa=",
    "UNDERTOW_MODELS": "where the tests find real models",
}


@dataclass(frozen=True)
class Package:
    """A package that some part of undertow uses, or is compared with.

    Attributes:
        name: of its distribution.
        module: what is imported.
        use: what it is for.
        least: first version that is good enough; "" for any.
        extra: of undertow, which installs it; "" for none.
        peer: undertow never imports it by itself for what it computes: it is compared with, or handed objects of it.
        library: of the system, without which it does not import: a key of `SYSTEM`; "" for none.
    """

    name: str
    module: str
    use: str
    least: str = ""
    extra: str = ""
    peer: bool = False
    library: str = ""

    @property
    def install(self) -> str:
        """The line that installs it."""
        return f'pip install "undertow[{self.extra}]"' if self.extra else f"pip install {self.name}"


PACKAGES = (
    Package("numpy", "numpy", "arrays", "1.25"),
    Package("onnx", "onnx", ".onnx and .tflite files", "1.16", "onnx"),
    Package("soundfile", "soundfile", "sound other than .wav", "0.12", "audio", library="libsndfile"),
    Package("soxr", "soxr", "other sample rates", "0.3", "audio"),
    Package("sounddevice", "sounddevice", "run --live, with PortAudio", "0.4", "live", library="portaudio"),
    Package("matplotlib", "matplotlib", "pictures (--plot)", "3.7", "plot"),
    Package("graphviz", "graphviz", "pictures of graphs (info --graph)", "0.20", "graph"),
    Package("tqdm", "tqdm", "progress bars", "4.60", "progress"),
    Package("shtab", "shtab", "shell completion", "1.6", "completion"),
    Package("onnxruntime", "onnxruntime", "a second opinion (verify, bench, certify)", "1.18", peer=True),
    Package("torch", "torch", "live modules (undertow.from_torch)", peer=True),
    Package("keras", "keras", "writes .keras files, which are read without it", peer=True),
    Package("tensorflow", "tensorflow", "writes .tflite and .h5 files, which are read without it", peer=True),
    Package("h5py", "h5py", "writes .h5 files, which are read without it", peer=True),
)

#: what a package manager calls what comes from the system -> what it is called in each of `_MANAGERS`, in their order
SYSTEM = {
    "portaudio": ("libportaudio2", "portaudio", "portaudio", "portaudio", "portaudio", "portaudio"),
    "libsndfile": ("libsndfile1", "libsndfile", "libsndfile1", "libsndfile", "libsndfile", "libsndfile"),
    "graphviz": ("graphviz",) * 6,
}
#: command of a package manager -> what systems that have it call themselves in /etc/os-release
_MANAGERS = {
    "apt install": {"debian", "ubuntu"},
    "dnf install": {"fedora", "rhel", "centos"},
    "zypper install": {"suse", "opensuse"},
    "apk add": {"alpine"},
    "pacman -S": {"arch"},
    "brew install": {"macos"},
}

#: program -> (what for, the package of the system that brings it)
PROGRAMS = {"dot": ("pictures of graphs (info --graph)", "graphviz")}


def install_line(name: str) -> str:
    """The line that installs a package of `SYSTEM` here; Debian's, as an example, where this system is not known."""
    systems = {"macos"} if platform.system() == "Darwin" else set()
    if platform.system() == "Linux":
        try:
            release = platform.freedesktop_os_release()
        except OSError:
            release = {}
        systems = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    names = dict(zip(_MANAGERS, SYSTEM[name], strict=True))
    for manager, theirs in _MANAGERS.items():
        if systems & theirs:
            return f"{manager} {names[manager]}"
    return f"the system's package {name}, as apt install {names['apt install']}"


def cpu_name() -> str:
    """What the CPU calls itself."""
    named = _cpuinfo(("model name", "Model"))
    return named or platform.processor() or platform.machine() or "unknown"


def cpu_features() -> list[str]:
    """Of the features that kernels ask for, those that the operating system reports."""
    has = set(_cpuinfo(("flags", "Features")).split())
    return [feature for feature in _FEATURES if feature in has]


def _cpuinfo(starts: tuple[str, ...]) -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith(starts):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return ""


def usable_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions(undertow: str) -> dict[str, str]:
    """What wrote a number: versions of undertow (given), Python, NumPy and the compiler, the system and its CPU."""
    import numpy as np

    return {
        "undertow": undertow,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "compiler": getattr(_core, "compiler", "unknown"),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": cpu_name(),
    }


def packages() -> list[dict[str, Any]]:
    """For each of `PACKAGES`: version (None: not installed), and `problem`, "" where nothing is wrong with it.

    What undertow imports by itself is imported, so that what is installed and broken shows. A package whose library is
    missing in the system is as good as not there: `lacks` says so, and `install` what brings the library.
    """
    rows = []
    for package in PACKAGES:
        version, problem, lacks, install = _version(package.name), "", "", package.install
        if version is not None and package.least and _numbers(version) < _numbers(package.least):
            problem = f"{version} is older than {package.least}"
        elif version is not None and not package.peer:
            try:
                importlib.import_module(package.module)
            except Exception as error:  # whatever a broken installation raises
                said = " ".join(str(error).split())
                if package.library and isinstance(error, OSError):
                    lacks, install = f"lacks {package.library} of the system ({said})", install_line(package.library)
                else:
                    problem = f"does not import: {type(error).__name__}: {said}"
        rows.append(
            {
                "name": package.name,
                "version": version,
                "for": package.use,
                "peer": package.peer,
                "problem": problem,
                "lacks": lacks,
                "install": install,
            }
        )
    return rows


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(word) for word in re.findall(r"\d+", version.partition("+")[0])[:3])


def programs() -> list[dict[str, Any]]:
    """For each of `PROGRAMS`: where it is, or None."""
    return [
        {"name": name, "path": shutil.which(name), "for": use, "install": install_line(package)}
        for name, (use, package) in PROGRAMS.items()
    ]


def isas(tested_on: dict[str, str]) -> list[dict[str, Any]]:
    """Instruction sets that are built in, best first: whether each runs here, was tested and where, and is picked."""
    built = dict(_core.isas())
    picked = os.environ.get("UT_ISA") or next((name for name, runs in built.items() if runs), None)
    return [
        {"name": name, "runs": runs, "tested_on": tested_on[name], "picked": name == picked}
        for name, runs in built.items()
    ]


__all__ = [
    "ENVIRONMENT", "PACKAGES", "PROGRAMS", "SYSTEM", "Package", "cpu_features", "cpu_name", "install_line", "isas",
    "packages", "programs", "usable_cpus", "versions",
]  # fmt: skip
