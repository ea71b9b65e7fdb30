# SPDX-License-Identifier: MIT
"""OPERATORS.md, made from the tables that the importer works by.

Write it with `python -m undertow.importers.onnx.operators_page > OPERATORS.md`.
"""

from __future__ import annotations

from textwrap import fill

from .traits import COMPUTED, FOLDED_ONLY, MOVEMENT, REFUSED

_HEAD = """# ONNX operators

Made by `python -m undertow.importers.onnx.operators_page`; tests/test_onnx_backend.py holds it
to the code, and the code to ONNX's own node tests.
Operator sets from 7 on, numbers in float32; booleans and integers where float32 holds them exactly.
An attribute or input that is not computed exactly is refused by name, whatever this page says of the operator.
"""


def operators_page() -> str:
    """The text of OPERATORS.md."""
    parts = [_HEAD]
    sections = (
        ("Computed", "Inside a frame; along time where the operator has a meaning there.", COMPUTED - MOVEMENT),
        ("Moved", "Resolved while loading into where each element comes from.", MOVEMENT),
        ("Folded", "Computed while loading, from constants and shapes; refused on frames.", FOLDED_ONLY),
    )
    for title, text, ops in sections:
        parts.append(f"## {title} ({len(ops)})\n\n{text}\n\n{_list(ops)}.\n")
    parts.append(f"## Refused ({len(REFUSED)})\n")
    for reason in dict.fromkeys(REFUSED.values()):
        parts.append(f"{reason}: {_list([op for op, why in REFUSED.items() if why == reason])}.\n")
    return "\n".join(fill(line, 120) for line in "\n".join(parts).split("\n")) + "\n"


def _list(ops: frozenset[str] | list[str]) -> str:
    return ", ".join(sorted(ops))


if __name__ == "__main__":
    print(operators_page(), end="")
