# SPDX-License-Identifier: MIT
"""Recurrent and linear modules found among the arrays of a PyTorch state_dict, in file order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import FormatError, ShapeError, UnsupportedError

_RECURRENT = re.compile(r"(?:(?P<module>.+)\.)?(?P<kind>weight_ih|weight_hh|bias_ih|bias_hh)_l(?P<layer>\d{1,3})")
_LINEAR = re.compile(r"(?:(?P<module>.+)\.)?(?P<kind>weight|bias)")


@dataclass
class Module:
    """One module of the state_dict.

    Attributes:
        name: the prefix of its keys; op itself when the keys have none.
        op: "lstm", "gru", "rnn" or "linear".
        layers: weights of each layer, named and ordered as `undertow.ir.ops` wants them.
        n_in, n_out: widths of its input and output frames.
    """

    name: str
    op: str
    layers: list[dict[str, np.ndarray]]
    n_in: int
    n_out: int


def find_modules(tensors: Mapping[str, np.ndarray]) -> list[Module]:
    """Group arrays into modules.

    Raises:
        UnsupportedError: a key of no recurrent or linear module (a convolution, a norm, a reverse direction).
        FormatError: a layer that lacks one of its arrays.
        ShapeError: arrays that do not fit each other.
    """
    groups: dict[str, dict[tuple[int, str], np.ndarray]] = {}
    for key, array in tensors.items():
        match = _RECURRENT.fullmatch(key) or _LINEAR.fullmatch(key)
        if match is None:
            raise UnsupportedError(f"state_dict: {key[:80]!r} belongs to no forward LSTM, GRU, RNN or Linear module")
        layer = int(match["layer"]) if "layer" in match.groupdict() else -1
        groups.setdefault(match["module"] or "", {})[layer, match["kind"]] = array
    return [_module(name, arrays) for name, arrays in groups.items()]


def _module(name: str, arrays: dict[tuple[int, str], np.ndarray]) -> Module:
    if (-1, "weight") in arrays or (-1, "bias") in arrays:
        return _linear(name, arrays)
    layers: list[dict[str, np.ndarray]] = []
    op, n_in, n_out = "", 0, 0
    numbers = sorted({layer for layer, _ in arrays})
    if numbers != list(range(len(numbers))):
        raise FormatError(f"state_dict: module {name!r} has layers {numbers}, expected {list(range(len(numbers)))}")
    for layer in numbers:
        where = f"state_dict: module {name!r}, layer {layer}"
        by_kind = {kind: arrays[layer, kind] for number, kind in arrays if number == layer}
        if not {"weight_ih", "weight_hh"} <= set(by_kind) or ("bias_ih" in by_kind) != ("bias_hh" in by_kind):
            raise FormatError(
                f"{where} has {sorted(by_kind)}, expected weight_ih and weight_hh, with both biases or none"
            )
        w_ih, w_hh = by_kind["weight_ih"], by_kind["weight_hh"]
        rows, units = w_hh.shape if w_hh.ndim == 2 else (0, 1)
        n_gates = rows // units
        if n_gates not in (1, 3, 4) or rows != n_gates * units:
            raise ShapeError(
                f"{where}: weight_hh has shape {w_hh.shape}, expected (gates * units, units) with 1, 3 or 4 gates"
            )
        this = {1: "rnn", 3: "gru", 4: "lstm"}[n_gates]
        if w_ih.ndim != 2 or len(w_ih) != rows or (layer and w_ih.shape[1] != n_out) or (op and this != op):
            width = n_out if layer else "inputs"
            raise ShapeError(
                f"{where}: weight_ih has shape {w_ih.shape}, weight_hh {w_hh.shape}; expected ({rows}, {width})"
            )
        for kind in ("bias_ih", "bias_hh"):
            if kind in by_kind and by_kind[kind].shape != (rows,):
                raise ShapeError(f"{where}: {kind} has shape {by_kind[kind].shape}, expected ({rows},)")
        op, n_out = this, units
        n_in = n_in or w_ih.shape[1]
        layers.append(_gated(op, w_ih, w_hh, by_kind.get("bias_ih"), by_kind.get("bias_hh")))
    return Module(name or op, op, layers, n_in, n_out)


def _gated(
    op: str, w_ih: np.ndarray, w_hh: np.ndarray, b_ih: np.ndarray | None, b_hh: np.ndarray | None
) -> dict[str, np.ndarray]:
    # PyTorch's gates are i f g o, as ours, and r z n, where ours are z r n.
    order = [1, 0, 2] if op == "gru" else list(range(len(w_hh) // w_hh.shape[1]))
    units = w_hh.shape[1]
    weights = {"W": w_ih.reshape(len(order), units, -1)[order], "R": w_hh.reshape(len(order), units, units)[order]}
    if b_ih is not None and b_hh is not None:
        b, rb = (np.asarray(a, np.float64).reshape(len(order), units)[order] for a in (b_ih, b_hh))
        if op == "gru":
            weights["rb_n"] = rb[2]
            rb = np.stack([rb[0], rb[1], np.zeros(units)])
        weights["b"] = b + rb
    return weights


def _linear(name: str, arrays: dict[tuple[int, str], np.ndarray]) -> Module:
    named = {kind: array for (_, kind), array in arrays.items()}
    weight, bias = named.get("weight"), named.get("bias")
    if set(named) - {"weight", "bias"} or weight is None:
        raise FormatError(f"state_dict: module {name!r} has {sorted(named)}, expected weight and bias of a Linear")
    if weight.ndim != 2:
        kind = {3: "a convolution (Conv1d)", 4: "a convolution (Conv2d)"}.get(weight.ndim, "a norm or a table")
        raise UnsupportedError(
            f"state_dict: module {name!r} has a weight of shape {weight.shape}: {kind} is not supported here"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"state_dict: {name}.bias has shape {bias.shape}, expected ({weight.shape[0]},)")
    layer = {"W": weight} if bias is None else {"W": weight, "b": bias}
    return Module(name or "linear", "linear", [layer], weight.shape[1], weight.shape[0])
