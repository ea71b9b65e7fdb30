# SPDX-License-Identifier: MIT
"""TensorFlow Lite files that tests build or find in tests/data, with what the interpreter computes for them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

_DATA = Path(__file__).parent / "data" / "tflite.npz"


@cache
def golden() -> dict[str, np.ndarray]:
    """Name -> bytes of a file, or numbers of its calls; see tests/data/generate_tflite.py."""
    with np.load(_DATA) as stored:
        index = json.loads(stored["index"].tobytes())
        flat = {"files": stored["files"], "numbers": stored["numbers"]}
    arrays = {}
    for name, (start, shape) in index.items():
        array = flat["numbers" if "/" in name else "files"]
        arrays[name] = array[start : start + int(np.prod(shape))].reshape(shape)
    return arrays


def files() -> dict[str, bytes]:
    """Name -> the bytes of a file."""
    return {name: array.tobytes() for name, array in golden().items() if "/" not in name}


def calls(name: str, kind: str, of: str = "") -> list[dict[str, np.ndarray]]:
    """What went into ("in") the calls of a file one by one, or came out ("out"); of="plain/": with widened weights."""
    given: list[dict[str, Any]] = []
    for key, array in golden().items():
        prefix = f"{name}/{of}{len(given)}/{kind}/"
        if not key.startswith(prefix) and given:
            prefix = f"{name}/{of}{len(given) - 1}/{kind}/"
        if key.startswith(prefix):
            if int(key[len(f"{name}/{of}") :].partition("/")[0]) == len(given):
                given.append({})
            given[-1][key[len(prefix) :]] = array
    return given
