# SPDX-License-Identifier: MIT
"""Files with an example of tests/keras_examples.py among other layers, and what they must give."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import undertow
from keras_examples import EXAMPLES, Example
from keras_files import keras2_input, keras2_model, streamed, write_h5
from keras_formulas import compute
from tolerances import FLOAT32_MODEL

#: timesteps of a sequence
T = 12
#: layers, each with its arrays by name; the example is called "it"
Chain = list[tuple[dict[str, Any], list[tuple[str, np.ndarray]]]]


def first(cls: str) -> Example:
    return EXAMPLES[cls][0]


def along_time(cls: str) -> Iterator[Example]:
    """Examples of one input with an axis of time."""
    return (e for e in EXAMPLES[cls] if e.n_inputs == 1 and e.shape[0] is None and not e.ids)


def named(example: Example, name: str = "it") -> list[tuple[str, np.ndarray]]:
    return [(f"{name}/{k}:0", a) for k, a in zip(example.arrays, example.values(), strict=True)]


def chain_of(example: Example, before: Chain | None = None, behind: Chain | None = None) -> Chain:
    return [*(before or []), (example.table, named(example)), *(behind or [])]


def model_config(chain: Chain, shape: tuple[int | None, ...], n_inputs: int = 1, n_outputs: int = 1) -> dict[str, Any]:
    """A functional model: what is before "it" is called on each input."""
    inputs = [f"x{i}" for i in range(n_inputs)]
    tables = [keras2_input(name, *shape) for name in inputs]
    refs = [[name, 0, 0, {}] for name in inputs]
    for table, _ in chain:
        name = table["config"]["name"]
        calls = [refs] if name == "it" else [[ref] for ref in refs]
        tables.append((table, calls))
        refs = [[name, i, 0, {}] for i in range(len(calls))]
    outputs = [[refs[0][0], 0, i] for i in range(n_outputs)]
    return keras2_model(tables, [[name, 0, 0] for name in inputs], outputs)


def write(
    folder: Path, chain: Chain, shape: tuple[int | None, ...], n_inputs: int = 1, n_outputs: int = 1, dtype: str = ""
) -> Path:
    config = model_config(chain, shape, n_inputs, n_outputs)
    if dtype:
        config["config"]["layers"][0]["config"]["dtype"] = dtype
    weights = {table["config"]["name"]: arrays for table, arrays in chain}
    return write_h5(folder / "m.h5", config, weights, "3.4.1")


def formula(chain: Chain, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """What the chain gives, with a batch."""
    values: list[np.ndarray] = [x.astype(np.float64) for x in inputs]
    for table, arrays in chain:
        cls, settings, name = table["class_name"], table["config"], table["config"]["name"]
        found = [
            compute(cls, settings, iter([a.astype(np.float64) for _, a in arrays]), *taken)
            for taken in ([values] if name == "it" else [[value] for value in values])
        ]
        values = found[0] if isinstance(found[0], list) else found
    return values


def numbers(example: Example, batch: int, steps: int = T) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    shape = (batch, *(steps if n is None else n for n in example.shape))
    if example.ids:
        return [rng.integers(0, 5, shape).astype(np.int32)]
    return [rng.normal(size=shape).astype(np.float32) for _ in range(example.n_inputs)]


def check(model: undertow.Model, inputs: list[np.ndarray], want: list[np.ndarray], label: str) -> None:
    """Of a stream or of clips, against (batch, ...): what a stream has not at first is missing in `want`."""
    clips = len(inputs[0].shape) > 1 and model.graph.shape(model.graph.inputs[0]) == inputs[0].shape[1:]
    inputs, want = (inputs, want) if clips else ([x[0] for x in inputs], [y[0] for y in want])
    found = model.run(dict(zip(model.graph.inputs, inputs, strict=True)) if len(inputs) > 1 else inputs[0])
    rows = list(found.values()) if isinstance(found, dict) else [found]
    assert len(rows) == len(want), label
    for y, expected in zip(rows, want, strict=True):
        if not clips and model.frames_in == 1 < model.frames_out:
            y = y.reshape(-1, *y.shape[2:])
        if not clips and y.ndim > expected.ndim:  # once per sequence: what it would say if the sequence ended here
            y = y[-1]
        missing = 0 if clips else len(y) - len(expected)
        assert (f"gives none for the first {missing} " in model.source) == (missing > 0), label
        np.testing.assert_allclose(y[missing:], expected, rtol=FLOAT32_MODEL, atol=FLOAT32_MODEL, err_msg=label)
    if not clips and model.streamable and len(inputs) == len(rows) == 1:
        np.testing.assert_array_equal(streamed(model, inputs[0]).ravel(), rows[0].ravel(), label)


def load(path: Path, **options: Any) -> undertow.Model:
    return undertow.load(path, assume_unmasked=True, **options)


def compared(folder: Path, example: Example, label: str, **around: Chain) -> undertow.Model:
    """A chain around the example, loaded and compared with its formulas."""
    chain = chain_of(example, **around)
    inputs = numbers(example, 1 if None in example.shape else 3)
    want = formula(chain, inputs)
    model = load(write(folder, chain, example.shape, example.n_inputs, len(want)))
    check(model, inputs, want, label)
    return model


def altered(table: Any, cls: str, **changes: Any) -> Any:
    """A copy, in which the first layer of a class says something else."""
    table = copy.deepcopy(table)

    def visit(value: Any) -> bool:
        if isinstance(value, dict):
            if value.get("class_name") == cls:
                value["config"].update(changes)
                return True
            return any(map(visit, value.values()))
        return isinstance(value, list) and any(map(visit, value))

    assert visit(table), cls
    return table


def file_of(folder: Path, cls: str, **changes: Any) -> Path:
    """The first example of a class, where that says something else."""
    example = first(cls)
    chain = [(altered(example.table, cls, **changes), named(example))]
    return write(folder, chain, example.shape, example.n_inputs)


def bytes_of(path: Path) -> bytes:
    graph = load(path).graph
    graph.source = ""
    return bytes(undertow.Model.from_graph(graph)._file())
