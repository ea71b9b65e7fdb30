# SPDX-License-Identifier: MIT
"""Helpers of the Keras and RTNeural tests: files written in Keras's layouts, and graphs run in every way there is."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import undertow
from undertow import reference
from undertow.ir.graph import Graph

GOLDEN = Path(__file__).parent / "data" / "keras"


def layer(cls: str, name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": cls, "config": {"name": name, **config}}


def with_swapped_types(source: Path, target: Path, chosen: Callable[[list[Any]], list[Any]] = list) -> Iterator[Path]:
    """An archive again and again at `target`, each time one value of its configuration replaced by one of another type.

    chosen: of all places in the configuration, those that are tried.
    """

    def places(value: Any, path: tuple[Any, ...] = ()) -> list[Any]:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [p for k, v in inner for p in [(*path, k), *places(v, (*path, k))]]

    with zipfile.ZipFile(source) as archive:
        text, arrays = archive.read("config.json").decode(), archive.read("model.weights.h5")
    for place in chosen(places(json.loads(text))):
        for value in (None, -1, 2.5, "x", [], {}, [[[]]], True):
            changed = json.loads(text)
            inside = changed
            for step in place[:-1]:
                inside = inside[step]
            inside[place[-1]] = value
            with zipfile.ZipFile(target, "w") as archive:
                archive.writestr("config.json", json.dumps(changed))
                archive.writestr("model.weights.h5", arrays)
            yield target


def sequential(*layers: dict[str, Any], name: str = "sequential") -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}


def keras2_model(
    layers: list[tuple[dict[str, Any], list[Any]]], inputs: list[Any], outputs: list[Any]
) -> dict[str, Any]:
    tables = [{**table, "name": table["config"]["name"], "inbound_nodes": nodes} for table, nodes in layers]
    return {
        "class_name": "Model",
        "config": {"name": "model", "layers": tables, "input_layers": inputs, "output_layers": outputs},
    }


def keras2_input(name: str, *shape: int | None) -> tuple[dict[str, Any], list[Any]]:
    table = layer("InputLayer", name, batch_input_shape=[None, *shape], dtype="float32", sparse=False, ragged=False)
    return table, []


def write_h5(
    path: Path, config: Any, weights: dict[str, list[tuple[str, np.ndarray]]], version: str | None = "2.5.0"
) -> Path:
    """A whole model as Keras 2 saves it: `weights` are (weight name, array) by top-level layer."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = config if isinstance(config, (str, bytes)) else json.dumps(config)
        if version is not None:
            file.attrs["keras_version"] = version
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [n.encode() for n in weights]
        for name, arrays in weights.items():
            inner = group.create_group(name)
            inner.attrs["weight_names"] = [n.encode() for n, _ in arrays]
            for weight, array in arrays:
                inner.create_dataset(weight, data=array)
    return path


def write_keras(path: Path, config: Any, weights: dict[str, np.ndarray], version: str | None = "3.4.1") -> Path:
    """A `.keras` archive: `weights` are arrays by HDF5 path, such as "layers/dense/vars/0"."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in weights.items():
            file.create_dataset(name, data=array)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config if isinstance(config, (str, bytes)) else json.dumps(config))
        if version is not None:
            archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("model.weights.h5", buffer.getvalue())
    return path


def every_way(
    graph: Graph, X: dict[str, np.ndarray], state: dict[str, np.ndarray] | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """Outputs by how they were computed: by the float64 reference, and by the engine whole, stepwise and in chunks."""
    found = {"reference": reference.evaluate(graph, X, state).outputs}
    if not hasattr(undertow, "Model"):
        return found  # a source tree without the compiled engine
    model = undertow.Model.from_graph(graph)
    steps = len(next(iter(X.values())))

    def give(start: int, stop: int) -> Any:
        part = {
            k: np.ascontiguousarray(v[start:stop], np.int32 if graph.values[k].dtype == "int32" else np.float32)
            for k, v in X.items()
        }
        return part if len(part) > 1 else next(iter(part.values()))

    def named(Y: Any) -> dict[str, np.ndarray]:
        return (
            {k: np.asarray(v) for k, v in Y.items()}
            if isinstance(Y, dict)
            else {next(iter(graph.outputs)): np.asarray(Y)}
        )

    found["whole"] = named(model.run(give(0, steps), state=state))
    if not model.streamable:
        return found
    stream = model.stream(state=state)
    rows = []
    for t in range(steps):
        frame = give(t, t + 1)
        frame = {k: v[0] for k, v in frame.items()} if isinstance(frame, dict) else frame[0]
        rows.append({k: v.copy() for k, v in named(stream.step(frame)).items()})
    found["steps"] = {k: np.stack([row[k] for row in rows]) for k in rows[0]}
    stream.reset()
    if state:
        stream = model.stream(state=state)
    rng, cuts = np.random.default_rng(0), [0]
    while cuts[-1] < steps:
        cuts.append(min(steps, cuts[-1] + int(rng.integers(1, 5))))
    parts = [named(stream.run(give(a, b))) for a, b in pairwise(cuts)]
    found["chunks"] = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
    return found


def largest_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference; of a value that the peer gives once and a stream with every frame, the last one counts."""
    found, expected = np.asarray(found), np.asarray(expected)
    if found.ndim == expected.ndim + 1:
        found = found[-1]
    assert found.shape == expected.shape, f"shape {found.shape}, expected {expected.shape}"
    return float(np.max(np.abs(found - expected), initial=0.0))


def check(
    graph: Graph,
    X: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    limit: float,
    state: Any = None,
    label: str = "",
) -> float:
    """Compare every way of computing with `expected`; print and give the largest error."""
    worst = 0.0
    for how, outputs in every_way(graph, X, state).items():
        assert set(outputs) == set(expected), f"{label}: outputs {sorted(outputs)}, expected {sorted(expected)}"
        for name, y in expected.items():
            error = largest_error(outputs[name], y)
            assert error <= limit, f"{label}: output {name!r}, {how}: off by {error:.3g}, limit {limit:.3g}"
            worst = max(worst, error)
    print(f"{label}: largest error {worst:.2e}")
    return worst


def streamed(model: undertow.Model, X: np.ndarray) -> np.ndarray:
    """(timesteps out, ...), as a program that hears them one frame after another gets them."""
    stream, n = model.stream(), model.frames_in
    frames = [stream.step(X[t] if n == 1 else X[t : t + n]).copy() for t in range(0, len(X), n)]
    if model.latency:
        frames += list(stream.flush())
    Y = np.stack(frames[model.latency :])
    return Y if model.frames_out == 1 else Y.reshape(-1, *Y.shape[2:])
