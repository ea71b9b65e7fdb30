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
    "rvv": "emulator",
    "wasm": "hardware",
    "wasmrelaxed": "hardware",
}


def isas() -> dict[str, bool]:
    """Instruction sets that are built in, best first, and whether this CPU can run each.

    >>> undertow.isas()["scalar"]            # portable C++: everywhere
    True
    """
    return dict(_core.isas())


def get_include() -> str:
    """Folder of undertow.h, for C programs that link the library.

    >>> undertow.get_include()
    '...include'
    """
    return str(_HERE / "include")


def example(name: str) -> Path:
    """Path of an example model that ships with the package.

    Args:
        name: "digits", which reads a handwritten digit row by row: frames of 8 values from 0 to 1, and after each of
            them how likely each of ten digits is; or an example that `undertow demo --list` names.

    Raises:
        FileNotFoundError: there is no such example; the message names those there are.

    >>> undertow.load(undertow.example("digits")).run(np.zeros((8, 8), np.float32)).shape
    (8, 10)
    """
    path = _HERE / "examples" / f"{name}.tow"
    if not path.exists():
        raise FileNotFoundError(
            f"no example {name!r}; there are: {', '.join(sorted(p.stem for p in path.parent.glob('*.tow')))}"
        )
    return path
