# SPDX-License-Identifier: MIT
"""Which bits a model gives on each instruction set of this CPU: the same ones, or a kernel is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _core
from .._inputs import by_name as entries
from .._progress import tell
from ..tow.proof import canonical
from .verify import by_name, one_or_all

Arrays = Mapping[str, np.ndarray]


def runnable() -> list[str]:
    """Instruction sets that are built in and run on this CPU, best first."""
    return [name for name, runs in _core.isas() if runs]


def on(model: Any, isa: str) -> Any:
    """The same model on another instruction set."""
    return model if model.isa == isa else type(model)(model._file(), isa)


def fingerprint(arrays: Arrays) -> str:
    """32 hexadecimal digits of BLAKE2b over the names, shapes and bits of arrays, in order; NaNs count as equal."""
    state = hashlib.blake2b(digest_size=16)
    for name, array in arrays.items():
        array = np.asarray(array)
        state.update(f"{name}\0{array.dtype.str[1:]}{array.shape}\0".encode())
        state.update(canonical(array))
    return state.hexdigest()


def results(model: Any, X: Arrays) -> dict[str, np.ndarray]:
    """Outputs for X from a fresh start, and the states in the end, as output/NAME and state/NAME."""
    named = dict(zip(model.inputs, entries(one_or_all(dict(X)), list(model.inputs), "X"), strict=True))
    ys, states = model.run_with_state(one_or_all(named))
    rows = {f"output/{name}": y for name, y in by_name(ys, model.outputs).items()}
    return {**rows, **{f"state/{name}": s for name, s in states.items()}}


def on_every_isa(model: Any, X: Arrays) -> dict[str, str]:
    """Instruction set -> `fingerprint` of what the model gives there for X."""
    hashes, isas = {}, runnable()
    for i, isa in enumerate(isas):
        tell(f"bits on {isa}", i, len(isas))
        hashes[isa] = fingerprint(results(on(model, isa), X))
    tell("")
    return hashes


__all__ = ["fingerprint", "on", "on_every_isa", "results", "runnable"]
