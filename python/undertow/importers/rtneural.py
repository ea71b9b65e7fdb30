# SPDX-License-Identifier: MIT
"""RTNeural JSON: the three dialects that trainers of audio models write.

* ``{"in_shape": ..., "layers": [...]}``: a chain of layers with Keras weights (RTNeural's own format, and what
  amp-modelling plugins read: `in_skip` adds the input to the output, `in_gain` and `out_gain` are decibels). As in
  RTNeural, a convolution along time sees the present and the past, whatever padding it was trained with;
* ``{"model_data": {...}, "state_dict": {...}}``: one PyTorch recurrent module, a linear layer, an optional skip;
* a bare PyTorch state_dict: recurrent modules in file order and at most one linear layer after them.

A frame holds one sample of every channel.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import Error, FormatError, ShapeError, UnsupportedError
from ..ir.activations import RELU, SIGMOID, TANH, Activation
from ..ir.graph import Graph
from ..layers import Conv1D
from ..weights.in_memory import as_path
from . import _blocks as blocks
from . import nam
from ._rates import whole_rate
from .state_dict_groups import Group, Weights, find_groups
from .state_dict_lines import say_as_wired
from .state_dict_modules import Module, find_modules

#: limits for hostile files
MAX_FILE_BYTES = 256 << 20
#: beyond it a gain is no float32
MAX_DECIBELS = 770.0
MAX_LAYERS = 1000

ACTIVATIONS = {"tanh": TANH, "relu": RELU, "sigmoid": SIGMOID, "elu": Activation("elu")}
LAYERS = ("dense", "time-distributed-dense", "conv1d", "lstm", "gru", "activation", "prelu", "batchnorm")
#: keys that a type has beside those of all
_OWN_KEYS = {"batchnorm": {"epsilon"}, "conv1d": {"kernel_size", "dilation", "groups"}}
#: keys that carry no arithmetic; the batches are a recording of the trainer's own output
HARMLESS = {"samplerate", "author", "esr", "metadata", "name", "input_batch", "output_batch"}


def load(path: str | os.PathLike[str], *, assume_as_wired: bool = False) -> Graph:
    """Read an RTNeural JSON file.

    Args:
        path: the file.
        assume_as_wired: of a bare state_dict, promise that the model computes nothing but its layers.

    Warns:
        ModelWarning: a bare state_dict of several layers does not say what is applied between and behind them.

    Returns:
        A graph with input "input" of shape (channels,) and output "output" of shape (outputs,).

    Raises:
        FormatError: not JSON, not one of the three dialects, or weights that are ragged or not numbers.
        UnsupportedError: a layer, activation or key that undertow does not compute; the message names it.
        ShapeError: weights that do not fit the shapes the file states.
    """
    path = as_path(path)
    root = blocks.parse_json(blocks.read_limited(path, MAX_FILE_BYTES), str(path))
    if not isinstance(root, dict):
        raise FormatError(
            f"{path}: the JSON is a {type(root).__name__}, expected an object with 'layers' or a state_dict"
        )
    graph = Graph(path.stem)
    try:
        if {"architecture", "config", "weights"} <= root.keys():
            return nam.from_json(root, path.stem)
        if "layers" in root:
            _layer_list(graph, root)
            graph.note("RTNeural JSON")
        elif "model_data" in root or "state_dict" in root:
            _recurrent_with_skip(graph, root)
            graph.note("RTNeural JSON (model_data and state_dict)")
        else:
            row, arrays = _state_dict(graph, root)
            graph.note("RTNeural JSON (state_dict)")
            say_as_wired(graph, row, path, arrays, assume_as_wired)
    except Error as error:
        raise type(error)(f"{path}: {error}") from None
    return graph


# -- the layers dialect ---------------------------------------------------------------------------------------------


def _layer_list(graph: Graph, root: Mapping[str, Any]) -> None:
    skip = _number(root, "in_skip", 0)
    if skip not in (0, 1):
        raise UnsupportedError(f"in_skip is {skip}; expected 0 or 1 (the first input channel is added to the output)")
    gains = {key: _number(root, key, 0.0) for key in ("in_gain", "out_gain")}
    for key, gain in gains.items():
        if not gain <= MAX_DECIBELS:
            raise FormatError(f"{key} = {_brief(root[key])} dB, expected at most {MAX_DECIBELS}")
    _refuse_others("the file", root, {"in_shape", "layers", "in_skip", "in_gain", "out_gain"} | HARMLESS)
    layers = root["layers"]
    if not isinstance(layers, list) or not 0 < len(layers) <= MAX_LAYERS:
        raise FormatError(f"'layers' must be a list of 1 to {MAX_LAYERS} layers, got {_brief(layers)}")
    if len(layers) > 1 and _is_keras_input(layers[0], root.get("in_shape")):
        layers = layers[1:]
    for position, layer in enumerate(layers):
        if not isinstance(layer, dict) or not isinstance(layer.get("type"), str):
            raise FormatError(f"layer {position} must be an object with a 'type', got {_brief(layer)}")
        if layer["type"] not in LAYERS:
            raise UnsupportedError(
                f"layer {position}: layer type {_brief(layer['type'])} is not supported; supported: {', '.join(LAYERS)}"
            )
    width = _width("in_shape", root.get("in_shape"))

    x = graph.input("input", (width,))
    if gains["in_gain"]:
        scale = np.ones(width)
        scale[0] = _decibels(gains["in_gain"])  # further channels are knobs, not audio
        x = blocks.scale_shift(graph, x, "in_gain", scale, 0.0)
    y = x
    for position, layer in enumerate(layers):
        graph.origin.take(layer["type"])
        y = _layer(graph, y, layer, f"layer {position} ({layer['type']})")
    graph.origin.leave()
    graph.origin.contents = graph.origin.taken.copy()
    graph.sample_rate = _sample_rate(root)
    if (skip or gains["out_gain"]) and graph.shape(y) != (1,):
        raise UnsupportedError(f"in_skip and out_gain of a model with {graph.shape(y)[0]} outputs; expected 1 output")
    if skip:
        first = blocks.rearrange(graph, x, np.zeros(1, np.int32), "in_channel")
        y = graph.add("add", [first, y], name="in_skip")
    if gains["out_gain"]:
        y = blocks.scale_shift(graph, y, "out_gain", _decibels(gains["out_gain"]), 0.0)
    graph.output("output", y)


def _sample_rate(*places: Mapping[str, Any]) -> int | None:
    """Hz, as trainers write it: in the file, in its `metadata` or, before both, in what a dialect has beside."""
    told = [place.get("metadata") for place in places]
    stated = (place.get("samplerate") for place in (*places, *told) if isinstance(place, dict))
    return next((rate for rate in map(whole_rate, stated) if rate), None)


def _is_keras_input(layer: Any, shape: Any) -> bool:
    """Whether the exporter met Keras's InputLayer: a type that it does not know, and alone the list of one shape."""
    return isinstance(layer, dict) and layer == {"type": "unknown", "activation": "", "shape": [shape], "weights": []}


def _layer(graph: Graph, x: str, layer: dict[str, Any], where: str) -> str:
    kind = layer["type"]
    (n_in,) = graph.shape(x)
    units = _width(f"{where}: 'shape'", layer.get("shape"))
    weights = layer.get("weights")
    if not isinstance(weights, list):
        raise FormatError(f"{where}: 'weights' must be a list of arrays, got {_brief(weights)}")
    _refuse_others(
        where,
        layer,
        {"type", "shape", "weights", "activation", "name"} | _OWN_KEYS.get(kind, set()),
    )
    arrays = [_array(f"{where}: weights[{i}]", w) for i, w in enumerate(weights)]
    name = str(layer.get("name") or kind.replace("-", "_"))

    def shapes(*choices: list[tuple[int, ...]]) -> None:
        actual = [a.shape for a in arrays]
        if actual not in choices:
            raise ShapeError(f"{where}: weights have shapes {actual}, expected {' or '.join(str(c) for c in choices)}")

    if kind in ("dense", "time-distributed-dense"):
        shapes([(n_in, units), (units,)], [(n_in, units)])
        named = {"W": arrays[0].T, **({"b": arrays[1]} if len(arrays) == 2 else {})}
        return _activate(graph, graph.add("dense", [x], name=name, weights=named), layer, where, name)
    if kind == "conv1d":
        size, dilation = (_count(where, layer, key) for key in ("kernel_size", "dilation"))
        groups = _count(where, layer, "groups", 1)
        if n_in % groups or units % groups:
            raise ShapeError(f"{where}: groups = {groups} divides not both {n_in} inputs and {units} outputs")
        shapes([(size, n_in // groups, units), (units,)], [(size, n_in // groups, units)])
        conv = Conv1D(*arrays, dilation=dilation, groups=groups, name=name)
        return _activate(graph, conv.add_to(graph, x), layer, where, name)
    if kind in ("lstm", "gru"):
        # RTNeural's cells are tanh and sigmoid whatever this key says; a file that says otherwise was trained so
        if layer.get("activation", "") not in ("", "tanh"):
            raise UnsupportedError(
                f"{where}: activation {layer['activation']!r} is not supported in an RTNeural cell; expected 'tanh'"
            )
        gates = {"lstm": 4, "gru": 3}[kind] * units
        shapes([(n_in, gates), (units, gates), (2, gates) if kind == "gru" else (gates,)])
        attrs = {"reset_after": True} if kind == "gru" else {}
        named = blocks.gated_weights(kind, arrays[0], arrays[1], arrays[2], reset_after=kind == "gru")
        return blocks.add_cell(graph, kind, x, name=name, weights=named, attrs=attrs)[0]
    if units != n_in:
        raise ShapeError(f"{where}: 'shape' ends in {units}, expected {n_in} as in the layer before")
    if kind == "activation":
        shapes([])
        return _activate(graph, x, layer, where, name)
    if layer.get("activation", "") != "":
        raise UnsupportedError(f"{where}: activation {layer['activation']!r} after this layer is not supported")
    if kind == "prelu":
        shapes([(1, n_in)], [(1, 1)])
        return blocks.prelu(graph, x, arrays[0][0], name)
    shapes([(n_in,)] * 4, [(n_in,)] * 2)
    *affine, mean, variance = arrays
    if "epsilon" not in layer:
        raise FormatError(f"{where}: 'epsilon' is missing")
    return blocks.batch_norm(graph, x, name, mean, variance, _number(layer, "epsilon", 0.0), *affine)


def _activate(graph: Graph, x: str, layer: Mapping[str, Any], where: str, name: str) -> str:
    kind = layer.get("activation", "")
    if kind == "":
        return x
    if kind == "softmax":
        return str(graph.add("softmax", [x], name=f"{name}_softmax"))
    if not isinstance(kind, str) or kind not in ACTIVATIONS:
        raise UnsupportedError(
            f"{where}: activation {_brief(kind)} is not supported; supported: softmax, {', '.join(ACTIVATIONS)}"
        )
    return str(graph.add("activation", [x], name=f"{name}_{kind}", attrs={"activation": ACTIVATIONS[kind]}))


# -- the PyTorch dialects -------------------------------------------------------------------------------------------


def _recurrent_with_skip(graph: Graph, root: Mapping[str, Any]) -> None:
    data, tensors = root.get("model_data"), root.get("state_dict")
    if not isinstance(data, dict) or not isinstance(tensors, dict):
        raise FormatError("expected two objects, 'model_data' and 'state_dict'")
    _refuse_others("the file", root, {"model_data", "state_dict"} | HARMLESS)
    known = {"model", "input_size", "output_size", "skip", "unit_type", "num_layers", "hidden_size", "bias_fl"}
    _refuse_others("model_data", data, known | HARMLESS)
    if data.get("model", "SimpleRNN") != "SimpleRNN":
        raise UnsupportedError(f"model_data: model {_brief(data['model'])} is not supported; expected 'SimpleRNN'")
    sizes = {key: _count("model_data", data, key) for key in ("input_size", "output_size", "hidden_size", "num_layers")}
    skip = _number(data, "skip", 0)
    op = str(data.get("unit_type")).lower()
    if op not in ("lstm", "gru", "rnn"):
        raise UnsupportedError(
            f"model_data: unit_type {_brief(data.get('unit_type'))} is not supported; expected LSTM, GRU or RNN"
        )
    modules = find_modules({key: _array(key, w) for key, w in tensors.items()})
    if [(m.name, m.op) for m in modules] != [("rec", op), ("lin", "linear")]:
        chain = [(m.name, m.op) for m in modules]
        raise FormatError(f"state_dict holds {chain}, expected [('rec', '{op}'), ('lin', 'linear')] as model_data says")
    rec, lin = modules
    actual = {"input_size": rec.n_in, "hidden_size": rec.n_out, "num_layers": len(rec.layers), "output_size": lin.n_out}
    for key, value in actual.items():
        if value != sizes[key]:
            raise ShapeError(f"model_data says {key} {sizes[key]}, but the weights have {value}")

    graph.sample_rate = _sample_rate(data, root)
    x = graph.input("input", (rec.n_in,))
    y = _chain(graph, x, modules)
    if skip:
        # the trainer computes lin(rec(x)) + x[..., :skip]
        if skip not in (1, lin.n_out) or skip > rec.n_in:
            raise UnsupportedError(
                f"model_data: skip is {skip} with {rec.n_in} inputs and {lin.n_out} outputs; "
                f"expected 0, 1 or {lin.n_out}"
            )
        channels = np.zeros(lin.n_out, np.int32) if skip == 1 else np.arange(lin.n_out, dtype=np.int32)
        y = graph.add("add", [y, blocks.rearrange(graph, x, channels, "skip_channels")], name="skip")
    graph.output("output", y)


def _state_dict(graph: Graph, root: Mapping[str, Any]) -> tuple[list[Group], Weights]:
    """Add what a bare state_dict holds; gives the layers as they were wired, and their arrays."""
    if not root or not all(isinstance(w, list) for w in root.values()):
        raise FormatError(
            "expected 'layers', 'model_data' and 'state_dict', or a state_dict of weight arrays; "
            + (f"it holds {_several(root)}" if root else "it is empty")
        )
    arrays = {key: _array(key, w) for key, w in root.items()}
    modules = find_modules(arrays)
    chain = ", ".join(f"{m.name} ({m.op} {m.n_in} -> {m.n_out})" for m in modules)
    kinds = [m.op for m in modules]
    if kinds.count("linear") > 1 or "linear" in kinds[:-1] or kinds == ["linear"]:
        raise UnsupportedError(
            f"the file holds weights without a wiring, and what lies between them cannot be known: {chain}; "
            "read the arrays with undertow.read_weights and wire them with undertow.Sequential"
        )
    if "rnn" in kinds:
        raise UnsupportedError(
            f"a state_dict does not say whether an RNN uses tanh or relu: {chain}; wire it with undertow.RNN"
        )
    for before, after in pairwise(modules):
        if before.n_out != after.n_in:
            raise ShapeError(
                f"{after.name!r} takes {after.n_in} inputs, but {before.name!r} gives {before.n_out}: {chain}"
            )
    graph.output("output", _chain(graph, graph.input("input", (modules[0].n_in,)), modules))
    row = find_groups(arrays)
    row[-1].lines = [line for line in row[-1].lines if not line.takes_ids]  # a Linear without bias is no Embedding here
    return row, arrays


def _several(root: Mapping[str, Any]) -> str:
    keys = ", ".join(_brief(key) for key in list(root)[:8]) + (" ..." if len(root) > 8 else "")
    if all(isinstance(child, dict) and "layers" in child for child in root.values()):
        return f"{len(root)} networks ({keys}): save each of them to a file of its own"
    return f"{keys}: another program's file"


def _chain(graph: Graph, x: str, modules: list[Module]) -> str:
    for module in modules:
        for i, weights in enumerate(module.layers):
            if module.op == "linear":
                x = graph.add("dense", [x], name=module.name, weights=weights)
            else:
                name = module.name if len(module.layers) == 1 else f"{module.name}_l{i}"
                attrs = {"reset_after": True} if module.op == "gru" else {}
                x = blocks.add_cell(graph, module.op, x, name=name, weights=weights, attrs=attrs)[0]
    return x


# -- checked reading ------------------------------------------------------------------------------------------------


def _array(where: str, value: Any) -> np.ndarray:
    """A JSON list as a float64 array; every row must be as long as its neighbours and hold numbers only."""

    def check(item: Any, at: str, depth: int) -> None:
        if not isinstance(item, list) or not item or depth > 8:
            raise FormatError(f"{where}{at}: expected a list of numbers, got {_brief(item)}")
        if isinstance(item[0], list):
            for i, row in enumerate(item):
                check(row, f"{at}[{i}]", depth + 1)
        elif bad := [v for v in item if type(v) not in (float, int)]:
            raise FormatError(f"{where}{at}: expected numbers, got {_brief(bad[0])}")

    check(value, "", 1)
    try:
        array = np.asarray(value, np.float64)
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{where}: the rows differ in length, or a number is too large: {error}") from None
    with np.errstate(over="ignore"):
        if not np.array_equal(np.isinf(array), np.isinf(array.astype(np.float32))):
            raise FormatError(f"{where}: a finite number does not fit in float32")
    return array


def _number(table: Mapping[str, Any], key: str, default: float) -> float:
    value = table.get(key, default)
    if value is None:
        return default
    if type(value) not in (float, int) or not abs(value) < 1e9:
        raise FormatError(f"{key!r} must be a number, got {_brief(value)}")
    return float(value)


def _count(where: str, table: Mapping[str, Any], key: str, default: Any = None) -> int:
    """A whole number above 0, or a list that ends in one."""
    value = table.get(key, default)
    number = value[-1] if isinstance(value, list) and value else value
    if type(number) is not int or number < 1:
        raise FormatError(f"{where}: {key!r} must be a whole number above 0, got {_brief(value)}")
    return number


def _width(where: str, shape: Any) -> int:
    if not isinstance(shape, list) or not shape or type(shape[-1]) is not int or shape[-1] < 1:
        raise FormatError(f"{where} must be a list that ends in the number of channels, got {_brief(shape)}")
    if len(shape) > 3:
        raise UnsupportedError(
            f"{where} is {_brief(shape)}: two-dimensional frames are not supported in RTNeural files"
        )
    blocks.check_frame(where, shape[-1])
    return shape[-1]


def _refuse_others(where: str, table: Mapping[str, Any], known: set[str]) -> None:
    for key in table:
        if key not in known:
            raise UnsupportedError(
                f"{where}: key {_brief(key)} = {_brief(table[key])} is not known; known: {', '.join(sorted(known))}"
            )


def _decibels(gain: float) -> float:
    return 10.0 ** (gain / 20.0) if gain > -90.0 else 0.0


def _brief(value: Any) -> str:
    text = repr(value) if not isinstance(value, (list, dict)) else f"a {type(value).__name__} of {len(value)}"
    return text if len(text) <= 60 else text[:57] + "..."
