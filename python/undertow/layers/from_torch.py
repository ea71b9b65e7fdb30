# SPDX-License-Identifier: MIT
"""PyTorch's names and shapes: weight_ih_l{k}, weight_hh_l{k}, bias_*, weight_hr_l{k}, _reverse; Linear, norms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ..ir.activations import Activation
from .base import Layer, Stack, numbers
from .bidirectional import Bidirectional
from .feedforward import Dense
from .recurrent import GRU, LSTM, RNN

_N_GATES: dict[type, int] = {RNN: 1, GRU: 3, LSTM: 4}
_ARTICLES = {1: "an RNN", 3: "a GRU", 4: "an LSTM"}
_NAME = re.compile(r"(weight|bias)_(ih|hh|hr)(_l(\d{1,4})(_reverse)?)?")
_OPTIONS = {"h0", "c0", "return_sequences", "name", "reverse"}


def join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _mapping(weights: Any, who: str) -> Mapping[str, Any]:
    if hasattr(weights, "state_dict"):
        weights = weights.state_dict()
    if not isinstance(weights, Mapping):
        raise TypeError(
            f"{who}.from_torch: weights is a {type(weights).__name__}, expected name -> array (undertow.read_weights)"
        )
    return weights


def tensor(weights: Any, prefix: str, name: str, n_axes: int | None, who: str) -> np.ndarray:
    """The tensor `prefix.name`; ShapeError naming it when it is missing or has other than `n_axes` axes."""
    weights = _mapping(weights, who)
    full = join(prefix, name)
    if full not in weights:
        near = [key for key in weights if key.endswith(f".{name}") or key == name]
        beside = [key for key in weights if key.startswith(f"{prefix}.")] if prefix else []
        names = near or beside or list(weights)
        raise ShapeError(
            f"{who}.from_torch: no tensor {full!r}; {'such names in the file' if near else 'in the file'}: "
            f"{', '.join(map(repr, names[:8]))}{' ...' if len(names) > 8 else ''}"
        )
    array = numbers(weights[full], repr(full))
    if n_axes is not None and array.ndim != n_axes:
        raise ShapeError(f"{who}.from_torch: {full!r} has shape {array.shape}, expected {n_axes} axes")
    return array


class Reader:
    """Tensors of one module by name, of any axes; None where one lacks and the name ends with "?"."""

    def __init__(self, weights: Any, prefix: str, who: str) -> None:
        self.weights, self.prefix, self.who = _mapping(weights, who), prefix, who
        self.read: set[str] = set()

    def __call__(self, name: str) -> np.ndarray | None:
        full = name.removesuffix("?")
        self.read.add(join(self.prefix, full))
        if full != name and join(self.prefix, full) not in self.weights:
            return None
        return tensor(self.weights, self.prefix, full, None, self.who)

    def refuse_rest(self) -> None:
        """Refuse a module with tensors that nobody has asked for."""
        start = join(self.prefix, "") if self.prefix else ""
        if rest := [key for key in self.weights if key.startswith(start) and key not in self.read]:
            names = f"{', '.join(map(repr, rest[:8]))}{' ...' if len(rest) > 8 else ''}"
            raise UnsupportedError(
                f"{self.who}.from_torch: {names} would change what the layer computes, and it has no place for that; "
                "if it is another module's, give the prefix of this one, or leave it out of the weights"
            )


def optional(weights: Any, prefix: str, name: str) -> Any:
    return _mapping(weights, "Layer").get(join(prefix, name))


def dense(cls: type[Dense], weights: Any, prefix: str, activation: Activation | str | None, name: str | None) -> Dense:
    if activation in ("hard_sigmoid", "hardsigmoid"):
        raise UnsupportedError(
            f"Dense.from_torch {prefix!r}: torch's hardsigmoid has the slope 1/6; "
            "write activation=Activation('hard_sigmoid', 1 / 6)"
        )
    W = tensor(weights, prefix, "weight", 2, "Dense")
    return cls(W, optional(weights, prefix, "bias"), activation=activation, name=name or prefix or None)


def batch_norm(weights: Any, prefix: str, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """(scale, shift) that do what the trained norm does."""
    who = "ScaleShift"
    mean = tensor(weights, prefix, "running_mean", 1, who)
    var = tensor(weights, prefix, "running_var", 1, who)
    if mean.shape != var.shape:
        raise ShapeError(f"{who}: {join(prefix, 'running_mean')!r} has shape {mean.shape}, running_var {var.shape}")
    scale = 1 / np.sqrt(var + eps)
    shift = -mean * scale
    if optional(weights, prefix, "weight") is not None or optional(weights, prefix, "bias") is not None:
        gamma, beta = tensor(weights, prefix, "weight", 1, who), tensor(weights, prefix, "bias", 1, who)
        if gamma.shape != mean.shape or beta.shape != mean.shape:
            raise ShapeError(
                f"{who}: {prefix!r}: weight {gamma.shape} and bias {beta.shape} must have shape {mean.shape}"
            )
        scale, shift = scale * gamma, shift * gamma + beta
    return scale, shift


def recurrent(cls: type, weights: Any, prefix: str, options: dict[str, Any], **cell_options: Any) -> Layer:
    """Every layer and direction of a torch.nn.LSTM, GRU or RNN, or one cell, as `cls`."""
    who = cls.__name__
    weights = _mapping(weights, who)
    unknown = sorted(set(options) - _OPTIONS)
    if unknown or ("c0" in options and cls is not LSTM):
        raise TypeError(
            f"{who}.from_torch: {(unknown or ['c0'])[0]!r} is not an option; options: {', '.join(sorted(_OPTIONS))}"
        )
    cells = _cells(weights, prefix, who)
    n_dirs = 2 if any(reverse for _, reverse in cells) else 1
    name = options.get("name") or prefix or None
    single = len(cells) == 1

    layers: list[Any] = []
    width: int | None = None
    widths: list[tuple[int, int]] = []  # (fed back, hidden) of each cell made so far
    for i, ((k, reverse), suffix) in enumerate(sorted(cells.items())):
        arrays = _arrays(cls, weights, prefix, suffix, width if k else None)
        if reverse and options.get("reverse"):
            raise ValueError(
                f"{who}.from_torch {prefix!r}: the weights are bidirectional, so reverse=True means nothing"
            )
        top = k == max(layer for layer, _ in cells)
        layers.append(
            cls(
                **arrays,
                **cell_options,
                **{
                    key: _row(options[key], i, len(cells), f"{who}.from_torch: {key}")
                    for key in ("h0", "c0")
                    if options.get(key) is not None
                },
                reverse=reverse or options.get("reverse", False),
                return_sequences=options.get("return_sequences", True) if top else True,
                name=name if single or not name else f"{name}{suffix}",
            )
        )
        widths.append((layers[-1].fed_back, layers[-1].hidden))
        if widths[-1] != widths[0]:
            raise ShapeError(
                f"{who}.from_torch: {join(prefix, 'weight_hh' + suffix)!r} has {layers[-1].hidden} hidden units, "
                f"the first layer {layers[0].hidden}"
            )
        width = layers[-1].fed_back * n_dirs
    if n_dirs == 2:
        layers = [
            Bidirectional(f, b, name=f"{name}_l{i}" if name else None)
            for i, (f, b) in enumerate(zip(layers[::2], layers[1::2], strict=True))
        ]
    return layers[0] if len(layers) == 1 else Stack(layers, name=name)


def _cells(weights: Mapping[str, Any], prefix: str, who: str) -> dict[tuple[int, bool], str]:
    """(layer, reverse) -> suffix of the names, for everything recurrent under `prefix`; complete, or ShapeError."""
    suffixes: dict[str, tuple[int, bool]] = {}
    for key in weights:
        if prefix and not key.startswith(f"{prefix}."):
            continue
        match = _NAME.fullmatch(key[len(prefix) + 1 :] if prefix else key)
        if match:
            suffixes[match[3] or ""] = (int(match[4] or 0), bool(match[5]))
    if not suffixes:
        tensor(weights, prefix, "weight_ih_l0", 2, who)  # raises, and says what there is
    if "" in suffixes and len(suffixes) > 1:
        raise ShapeError(
            f"{who}.from_torch: {prefix!r} has the names of a cell (weight_ih) and of layers (weight_ih_l0); rename one"
        )
    n_layers = 1 + max(k for k, _ in suffixes.values())
    directions = sorted({reverse for _, reverse in suffixes.values()})
    expected = {
        (k, reverse) for k in range(n_layers) for reverse in ([False] if directions == [False] else [False, True])
    }
    missing = sorted(expected - set(suffixes.values()))
    if missing:
        k, reverse = missing[0]
        name = join(prefix, f"weight_ih_l{k}{'_reverse' if reverse else ''}")
        raise ShapeError(f"{who}.from_torch: no tensor {name!r}, although the file has {', '.join(sorted(suffixes))}")
    return {place: suffix for suffix, place in suffixes.items()}


def _arrays(cls: type, weights: Mapping[str, Any], prefix: str, suffix: str, n_in: int | None) -> dict[str, Any]:
    """The constructor's arrays for one layer and direction, their shapes checked under their own names."""
    who, n_gates = cls.__name__, _N_GATES[cls]
    W = tensor(weights, prefix, f"weight_ih{suffix}", 2, who)
    R = tensor(weights, prefix, f"weight_hh{suffix}", 2, who)
    w_name, r_name = join(prefix, f"weight_ih{suffix}"), join(prefix, f"weight_hh{suffix}")
    arrays: dict[str, Any] = {"W": W, "R": R}

    hidden = R.shape[1]
    if join(prefix, f"weight_hr{suffix}") in weights:
        projection = tensor(weights, prefix, f"weight_hr{suffix}", 2, who)
        if cls is not LSTM:
            raise ShapeError(
                f"{who}.from_torch: {join(prefix, 'weight_hr' + suffix)!r} is a projection, which only an LSTM has"
            )
        if projection.shape[0] != R.shape[1]:
            raise ShapeError(
                f"{who}.from_torch: {join(prefix, 'weight_hr' + suffix)!r} has shape {projection.shape}, but "
                f"{r_name!r} {R.shape}: expected ({R.shape[1]}, hidden)"
            )
        hidden = projection.shape[1]
        arrays["projection"] = projection
    if R.shape[0] != n_gates * hidden:
        ratio, rest = divmod(R.shape[0], hidden) if hidden else (0, 1)
        looks = f"; {ratio} x {hidden} rows looks like {_ARTICLES[ratio]}" if not rest and ratio in _ARTICLES else ""
        advice = {1: "undertow.RNN", 3: "undertow.GRU", 4: "undertow.LSTM"}.get(ratio if not rest else 0)
        raise ShapeError(
            f"{who}.from_torch: {r_name!r} has shape {R.shape}, expected ({n_gates * hidden}, {R.shape[1]}) for "
            f"{_ARTICLES[n_gates]}{looks}" + (f": use {advice}.from_torch" if looks else "")
        )
    if W.shape[0] != R.shape[0] or (n_in is not None and W.shape[1] != n_in):
        columns = "inputs" if n_in is None else n_in
        raise ShapeError(f"{who}.from_torch: {w_name!r} has shape {W.shape}, expected ({R.shape[0]}, {columns})")

    biases = {key: join(prefix, f"{key}{suffix}") for key in ("bias_ih", "bias_hh")}
    present = [name for name in biases.values() if name in weights]
    if len(present) == 1:
        raise ShapeError(
            f"{who}.from_torch: {present[0]!r} is there without its partner; PyTorch has both biases or none"
        )
    if present:
        for key, argument in (("bias_ih", "b"), ("bias_hh", "recurrent_bias")):
            bias = tensor(weights, prefix, f"{key}{suffix}", 1, who)
            if bias.shape != (n_gates * hidden,):
                raise ShapeError(
                    f"{who}.from_torch: {biases[key]!r} has shape {bias.shape}, expected ({n_gates * hidden},)"
                )
            arrays[argument] = bias
    if cls is GRU:
        arrays |= {"gate_order": "rzn", "reset_after": True}
    return arrays


def _row(value: Any, i: int, n: int, what: str) -> np.ndarray:
    """Row i of an initial state given as (n, width), torch's (n, 1, width), or for one cell (width,)."""
    array = numbers(value, what)
    if array.ndim == 3 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 1 and n == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[0] != n:
        raise ShapeError(f"{what} has shape {np.shape(value)}, expected ({n}, width): one row per layer and direction")
    return array[i]
