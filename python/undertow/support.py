# SPDX-License-Identifier: MIT
"""Where things are and what this machine can do."""

from __future__ import annotations

from pathlib import Path

from . import _core

_HERE = Path(__file__).parent


#: instruction set -> where the project's tests have run its kernels; "never" means compiled and never executed
TESTED_ON = {
    "scalar": "hardware",
    "avx2": "hardware",
    "avxvnni": "never",
    "avx512": "hardware",
    "avx512vnni": "hardware",
    "neon": "emulator",
    "neondot": "emulator",
}


def isas() -> dict[str, bool]:
    """Instruction sets that are built in, best first, and whether this CPU can run each."""
    return dict(_core.isas())


def get_include() -> str:
    """Folder of undertow.h, for C programs that link the library."""
    return str(_HERE / "include")


def example(name: str) -> Path:
    """Path of a model that ships with the package: "digits", or that of an example (`undertow demo --list`)."""
    path = _HERE / "examples" / f"{name}.tow"
    if not path.exists():
        raise FileNotFoundError(
            f"no example {name!r}; there are: {', '.join(sorted(p.stem for p in path.parent.glob('*.tow')))}"
        )
    return path
