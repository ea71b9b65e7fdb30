# SPDX-License-Identifier: MIT
"""Neural Amp Modeler (`.nam`): JSON with a flat list of weights. LSTM and WaveNet captures (`nam_wavenet`).

The list of an LSTM holds, layer by layer: the matrix [W R] row by row, its 4 * hidden rows in the order i, f, g, o; one
bias of 4 * hidden; the hidden state and the cell at which the capture starts (both learned, neither zero). After the
layers: the head's matrix (outputs, hidden) and its bias. A frame is one audio sample of every channel.

NAM's own players feed half a second of silence through an LSTM before the first sample ("prewarm"), so that it starts
from rest and not from where it was trained to start. A stream here starts at the file's state, which is what the
trainer computes. To start as a player does: ``stream.run(np.zeros((rate // 2, 1), np.float32))``. A WaveNet has silence
before its start in both, and here. The levels in the metadata (loudness, gain, dBu) are not applied: in NAM they are
advice to the program around the capture.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import Error, FormatError, ShapeError, UnsupportedError
from ..ir.graph import Graph
from ..layers import LSTM, Dense
from ..weights.in_memory import as_path
from . import _blocks as blocks
from . import nam_wavenet
from ._rates import whole_rate

#: limits for hostile files; captures have some thousand weights
MAX_FILE_BYTES = 64 << 20
MAX_LAYERS = 100
MAX_WIDTH = 1 << 16

#: versions of the file whose networks are those described: from the first release to the last one known
VERSIONS = ((0, 5), (0, 7))
_KEYS = {"version", "architecture", "config", "weights", "metadata", "sample_rate"}
_CONFIG_KEYS = {"input_size", "hidden_size", "num_layers", "in_channels", "out_channels"}


def load(path: str | os.PathLike[str], *, submodel: int | None = None) -> Graph:
    """Read a NAM file.

    Args:
        path: the file.
        submodel: which capture of a container to take, counted from 0; the last one, which is the full size and what
            players start with, unless given.

    Returns:
        A graph with input "input" of shape (channels,) and output "output" of shape (channels,); `Graph.notes` say
        the sampling rate for which the capture was made, where the file does.

    Raises:
        FormatError: not JSON, or a key is missing or damaged.
        ShapeError: the list of weights is not as long as the sizes say.
        UnsupportedError: another architecture or version, or a key that is not known; the message names it.
    """
    path = as_path(path)
    root = blocks.parse_json(blocks.read_limited(path, MAX_FILE_BYTES), str(path))
    try:
        return from_json(root, path.stem, submodel)
    except Error as error:
        raise type(error)(f"{path}: {error}") from None


def from_json(root: Any, name: str, submodel: int | None = None) -> Graph:
    """As `load`, but the file's JSON."""
    _check_keys(root)
    within = ""
    if root["architecture"] == "SlimmableContainer":
        root, within = _contained(root, submodel)
    elif submodel is not None:
        raise ValueError(
            f"submodel is {submodel}, but the file is no container: its architecture is {_brief(root['architecture'])}"
        )
    version, architecture, config = _version(root["version"]), root["architecture"], root["config"]
    if architecture not in ("LSTM", "WaveNet"):
        raise UnsupportedError(f"architecture {_brief(architecture)} is not supported; expected 'LSTM' or 'WaveNet'")
    _refuse_others("the file", root, _KEYS)
    rate = _sample_rate(root)
    if not isinstance(config, dict):
        raise FormatError(f"config must be an object, got {_brief(config)}")
    graph = Graph(name)
    (_lstm if architecture == "LSTM" else _wavenet)(graph, config, root["weights"])
    graph.sample_rate = whole_rate(rate)
    rated = f"{rate:g} Hz" if rate else "sampling rate not stated"
    graph.note(f"Neural Amp Modeler {version}, {architecture}{within}, {rated}")
    return graph


def _check_keys(root: Any) -> None:
    if not isinstance(root, dict):
        raise FormatError(f"the JSON is a {type(root).__name__}, expected an object with architecture and weights")
    for key in ("version", "architecture", "config", "weights"):
        if key not in root:
            raise FormatError(f"{key!r} is missing: not a Neural Amp Modeler file")


def _contained(root: Mapping[str, Any], wanted: int | None) -> tuple[Mapping[str, Any], str]:
    """The file's object of one capture in a container, and words for which of them it is."""
    _version(root["version"])
    _refuse_others("the file", root, _KEYS)
    config = root["config"]
    models = config.get("submodels") if isinstance(config, dict) else None
    if not isinstance(models, list) or not models or root["weights"] != []:
        raise FormatError("a SlimmableContainer must have a list config.submodels and no weights of its own")
    _refuse_others("config", config, {"submodels"})
    index = len(models) - 1 if wanted is None else wanted
    if type(index) is not int or not 0 <= index < len(models):
        raise ValueError(f"submodel is {index!r}, but the file holds {len(models)}; expected 0 to {len(models) - 1}")
    entry = models[index]
    if not isinstance(entry, dict):
        raise FormatError(f"config.submodels[{index}] must be an object, got {_brief(entry)}")
    _refuse_others(f"config.submodels[{index}]", entry, {"max_value", "model"})
    _check_keys(entry.get("model"))
    return entry["model"], f" (capture {index + 1} of {len(models)})"


def _lstm(graph: Graph, config: Mapping[str, Any], values: Any) -> None:
    _refuse_others("config", config, _CONFIG_KEYS)
    n_in, hidden = _count(config, "input_size", MAX_WIDTH), _count(config, "hidden_size", MAX_WIDTH)
    n_layers, n_out = _count(config, "num_layers", MAX_LAYERS), _count(config, "out_channels", MAX_WIDTH, 1)
    if "in_channels" in config and _count(config, "in_channels", MAX_WIDTH) != n_in:
        raise UnsupportedError(
            f"config: in_channels = {config['in_channels']} with input_size = {n_in} is not supported; "
            "expected the same number"
        )
    sizes = [(n_in if k == 0 else hidden, hidden) for k in range(n_layers)]
    take = _taker(_numbers(values, sum(4 * h * (i + h) + 6 * h for i, h in sizes) + n_out * (hidden + 1)))
    y = graph.input("input", (n_in,))
    for k, (i, h) in enumerate(sizes):
        both, bias = take(4 * h, i + h), take(4 * h)
        layer = LSTM(both[:, :i], both[:, i:], bias, gate_order="ifgo", h0=take(h), c0=take(h), name=f"lstm_{k + 1}")
        y = layer.add_to(graph, y)
    graph.output("output", Dense(take(n_out, hidden), take(n_out), name="head").add_to(graph, y))


def _wavenet(graph: Graph, config: Mapping[str, Any], values: Any) -> None:
    stacks = nam_wavenet.stacks_of(config)
    take = _taker(_numbers(values, sum(stack.n_weights for stack in stacks) + 1))
    y = nam_wavenet.add(graph, graph.input("input", (1,)), stacks, take)
    graph.output("output", blocks.scale_shift(graph, y, "head_scale", take(1), 0.0))


def _taker(weights: np.ndarray) -> Callable[..., np.ndarray]:
    at = 0

    def take(*shape: int) -> np.ndarray:
        nonlocal at
        at += math.prod(shape)
        return weights[at - math.prod(shape) : at].reshape(shape)

    return take


def _version(value: Any) -> str:
    match = re.fullmatch(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})", value) if isinstance(value, str) else None
    if match is None:
        raise FormatError(f"version must look like '0.5.4', got {_brief(value)}")
    first, last = VERSIONS
    if not first <= (int(match[1]), int(match[2])) <= last:
        raise UnsupportedError(
            f"version {match[0]!r} of the file format is not known; "
            f"expected {first[0]}.{first[1]} to {last[0]}.{last[1]}"
        )
    return match[0]


def _sample_rate(root: Mapping[str, Any]) -> float | None:
    """Hz; None where the file does not say it (NAM writes null or -1 too)."""
    rate = root.get("sample_rate")
    if rate is None or (type(rate) in (int, float) and rate == -1):
        return None
    if type(rate) not in (int, float) or not 0 < rate < 1e9:
        raise FormatError(f"sample_rate must be a number of Hz, got {_brief(rate)}")
    return float(rate)


def _count(config: Mapping[str, Any], key: str, limit: int, default: int | None = None) -> int:
    value = config.get(key, default)
    if type(value) is not int or not 0 < value <= limit:
        raise FormatError(f"config: {key} must be a whole number from 1 to {limit}, got {_brief(value)}")
    return value


def _numbers(values: Any, expected: int) -> np.ndarray:
    if not isinstance(values, list) or len(values) != expected:
        size = f"{len(values)}" if isinstance(values, list) else _brief(values)
        raise ShapeError(f"weights: the sizes in config need {expected} numbers, got {size}")
    for i, value in enumerate(values):
        # JSON's own NaN and Infinity are refused too: no capture sounds with them
        if type(value) not in (int, float) or not abs(value) <= 3.4028234663852886e38:
            raise FormatError(f"weights[{i}] must be a number that fits float32, got {_brief(value)}")
    return np.array(values, np.float64)


def _refuse_others(where: str, table: Mapping[str, Any], known: set[str]) -> None:
    for key in table:
        if key not in known:
            raise UnsupportedError(f"{where}: {_brief(key)} = {_brief(table[key])} is not known to undertow")


def _brief(value: Any) -> str:
    text = f"a {type(value).__name__} of {len(value)}" if isinstance(value, (list, dict)) else repr(value)[:80]
    return text
