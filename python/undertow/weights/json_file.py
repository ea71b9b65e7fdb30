# SPDX-License-Identifier: MIT
"""Arrays written as JSON: RTNeural's files, PyTorch state_dicts as lists, and whatever nests lists of numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError
from .json_text import parse, parsed_bytes
from .limits import MAX_DEPTH, MAX_ENTRIES, Budget, check_shape


def read_json(path: Path, budget: Budget) -> dict[str, np.ndarray]:
    """Every list of numbers, and every list of equally long such lists, under its dotted name, in float64.

    The weights of a Keras layer (an object with `type` and `weights`) stay apart: ``layers.0.weights.1``. Numbers and
    text that stand alone are no arrays.
    """
    text = path.read_bytes()
    budget.take(parsed_bytes(text), "its JSON, once parsed,")
    root = parse(text, str(path))
    arrays: dict[str, np.ndarray] = {}
    _collect(path, root, "", 0, arrays)
    return arrays


def _collect(path: Path, value: Any, name: str, depth: int, arrays: dict[str, np.ndarray]) -> None:
    if depth > MAX_DEPTH:
        raise FormatError(f"{path}: {name[:80]!r}: values nest deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        apart = value.get("weights") if "type" in value else None
        for key, child in value.items():
            joined = f"{name}.{key}" if name else key
            if child is apart and isinstance(child, list):
                for i, array in enumerate(child):
                    _collect(path, array, f"{joined}.{i}", depth + 1, arrays)
            else:
                _collect(path, child, joined, depth + 1, arrays)
    elif isinstance(value, list) and value:
        shape = _shape(value)
        if shape is None:
            for i, child in enumerate(value):
                _collect(path, child, f"{name}.{i}" if name else str(i), depth + 1, arrays)
            return
        if name in arrays or len(arrays) >= MAX_ENTRIES:
            raise FormatError(f"{path}: {name[:80]!r} is there twice, or the arrays are more than {MAX_ENTRIES}")
        check_shape(path, f"array {name[:80]!r}", shape)
        try:
            arrays[name or "array"] = np.array(value, np.float64)
        except OverflowError:
            raise FormatError(f"{path}: {name[:80]!r} holds a number that is too large") from None


def _shape(value: Any, depth: int = 0) -> tuple[int, ...] | None:
    """The shape of nested lists of numbers; None when they are ragged or hold something else."""
    if not isinstance(value, list) or not value or depth > MAX_DEPTH:
        return None
    if isinstance(value[0], list):
        inner = _shape(value[0], depth + 1)
        same = inner is not None and all(_shape(item, depth + 1) == inner for item in value)
        return (len(value), *inner) if same and inner is not None else None
    return (len(value),) if all(type(item) in (int, float) for item in value) else None
