# SPDX-License-Identifier: MIT
"""OPERATORS.md, made from the tables that the importers of ONNX, of Keras and of TensorFlow Lite work by.

Write it with `python -m undertow.importers.operators_page > OPERATORS.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from textwrap import fill

from .keras.traits import CLASSES, COMPUTED_LAYERS, MASKED, MODELS, PARTS, UNCHANGED
from .keras.traits import REFUSED as REFUSED_LAYERS
from .onnx.traits import COMPUTED, FOLDED_ONLY, MOVEMENT, REFUSED, RUNTIME, RUNTIME_OPERATORS
from .tflite.traits import ROWS

_OPERATORS = """# ONNX operators

Made by `python -m undertow.importers.operators_page`; tests/test_onnx_backend.py holds it
to the code, and the code to ONNX's own node tests.
Operator sets from 7 on, numbers in float32; booleans and integers where float32 holds them exactly.
An attribute or input that is not computed exactly is refused by name, whatever this page says of the operator.
"""
_LAYERS = """# Keras layers

Of Keras 2 and 3; tests/test_keras_traits.py holds the code to Keras itself.
A setting that is not computed exactly is refused by name, whatever this page says of the layer.
"""
_TFLITE = """# TensorFlow Lite operators

Of models that compute in float32, with weights in float16 and 8 bits, too.
tests/test_import_tflite.py holds the code to TensorFlow Lite's interpreter.
An option that is not computed exactly is refused by name, whatever this page says.
"""


def operators_page() -> str:
    """The text of OPERATORS.md."""
    computed = "Inside a frame; along time where the operator has a meaning there."
    moved = "Resolved while loading into where each element comes from."
    folded = "Computed while loading, from constants and shapes; refused on frames."
    runtime = (
        f"Of the domain {RUNTIME}, as its optimiser and its quantiser write them; computed as operators above. "
        "Others of that domain are refused by name."
    )
    unlike = [name for name in sorted(COMPUTED_LAYERS) if not CLASSES[name].rows]
    along = (
        "Inside a frame; along time where that can be streamed. In models that stride along time, all but "
        f"{', '.join(unlike)}."
    )
    parts = [
        _OPERATORS,
        _section("Computed", computed, COMPUTED - MOVEMENT),
        _section("Moved", moved, MOVEMENT),
        _section("Folded", folded, FOLDED_ONLY),
        _refused(REFUSED),
        _section("Of ONNX Runtime", runtime, (name.rpartition(".")[2] for name in RUNTIME_OPERATORS)),
        _LAYERS,
        _section("Computed", along, COMPUTED_LAYERS),
        _section("Models", "Of these layers, and of models.", MODELS),
        _section("Inside of others", "Parts of models and of recurrent layers.", PARTS),
        _section("Passed over", "They do something in training alone.", UNCHANGED - MASKED),
        _section("With `assume_unmasked=True`", "Where they hide no timestep of the input.", MASKED),
        _refused(REFUSED_LAYERS),
        _TFLITE,
        _section("Computed", "Translated to operators of ONNX, and read as those are.", ROWS),
    ]
    return "\n".join(fill(line, 120) for line in "\n".join(parts).split("\n")) + "\n"


def _section(title: str, text: str, names: Iterable[str]) -> str:
    names = sorted(names)
    return f"## {title} ({len(names)})\n\n{text}\n\n{', '.join(names)}.\n"


def _refused(reasons: Mapping[str, str]) -> str:
    lines = [
        f"{reason}: {', '.join(sorted(name for name, why in reasons.items() if why == reason))}.\n"
        for reason in dict.fromkeys(reasons.values())
    ]
    return "\n".join([f"## Refused ({len(reasons)})\n", *lines])


if __name__ == "__main__":
    print(operators_page(), end="")
