# SPDX-License-Identifier: MIT
"""TensorFlow 1's cells: one kernel for [input, state] side by side; LSTM gates i j f o, GRU gates r u."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..ir.activations import SIGMOID
from .base import numbers
from .feedforward import Dense
from .from_keras import keras_activation, matrix
from .recurrent import GRU, LSTM, RNN


def _find(
    weights: Any, prefix: str | None, names: dict[str, tuple[str, ...]], who: str, optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The arrays that `names` (argument -> paths it may have) call for, from a list in that order or from a dict."""
    if isinstance(weights, (list, tuple)):
        required = [name for name in names if name not in optional]
        if not len(required) <= len(weights) <= len(names):
            raise ShapeError(f"{who}: {len(weights)} arrays, expected {', '.join(names)}")
        return dict(zip(names, weights, strict=False))
    if not isinstance(weights, Mapping):
        raise TypeError(f"{who}: weights is a {type(weights).__name__}, expected a list of arrays or name -> array")
    arrays = {}
    plain = {key.removesuffix(":0"): key for key in weights}
    for argument, paths in names.items():
        full = [f"{prefix.rstrip('/')}/{path}" if prefix else path for path in paths]
        hits = [plain[path] for path in full if path in plain]
        if len(hits) > 1:
            raise ShapeError(f"{who}: both {hits[0]!r} and {hits[1]!r} are there, expected one")
        if hits:
            arrays[argument] = weights[hits[0]]
        elif argument not in optional:
            raise ShapeError(f"{who}: no array {full[0]!r}; the names are {', '.join(list(weights)[:8])}")
    return arrays


def _split(kernel: Any, n_gates: int, fed_back: int | None, who: str) -> tuple[np.ndarray, np.ndarray]:
    """(W, R) of a kernel [inputs + state, n_gates * hidden], with gates in rows."""
    kernel = matrix(kernel, f"{who}: kernel")
    hidden, rest = divmod(kernel.shape[1], n_gates)
    n_in = kernel.shape[0] - (fed_back or hidden)
    if rest or n_in < 1:
        raise ShapeError(f"{who}: kernel has shape {kernel.shape}, expected (inputs + hidden, {n_gates} * hidden)")
    return kernel[:n_in].T, kernel[n_in:].T


_KERNEL, _BIAS = ("kernel", "weights"), ("bias", "biases")


def lstm(
    cls: type[LSTM], weights: Any, prefix: str | None, forget_bias: float, activation: Any, options: dict[str, Any]
) -> LSTM:
    who = "LSTM.from_tf"
    names = {
        "kernel": _KERNEL, "bias": _BIAS,
        "w_i_diag": ("w_i_diag",), "w_f_diag": ("w_f_diag",), "w_o_diag": ("w_o_diag",),
        "projection": tuple(f"projection/{name}" for name in _KERNEL),
    }  # fmt: skip
    arrays = _find(weights, prefix, names, who, tuple(names)[2:])
    if (
        prefix is not None
        and isinstance(weights, Mapping)
        and any(key.startswith(f"{prefix}/projection/bias") for key in weights)
    ):
        raise ShapeError(f"{who}: {prefix}/projection/bias: a projection with a bias is not an LSTMCell's")
    projection = matrix(arrays["projection"], f"{who}: projection/kernel").T if "projection" in arrays else None
    W, R = _split(arrays["kernel"], 4, None if projection is None else projection.shape[0], who)
    bias = numbers(arrays["bias"], f"{who}: bias")
    hidden = W.shape[0] // 4
    if bias.shape != (4 * hidden,):
        raise ShapeError(f"{who}: bias has shape {bias.shape}, expected ({4 * hidden},)")
    bias[2 * hidden : 3 * hidden] += float(forget_bias)
    peepholes = [key for key in ("w_i_diag", "w_f_diag", "w_o_diag") if key in arrays]
    if peepholes and len(peepholes) < 3:
        raise ShapeError(
            f"{who}: peepholes {', '.join(peepholes)} without the others; expected w_i_diag, w_f_diag, w_o_diag"
        )
    peephole = np.stack([numbers(arrays[key], f"{who}: {key}") for key in peepholes]) if peepholes else None
    g = keras_activation(activation, who)
    return cls(
        W, R, bias, gate_order="ijfo", peephole=peephole, projection=projection, activations=(SIGMOID, g, g), **options
    )


def gru(cls: type[GRU], weights: Any, prefix: str | None, activation: Any, options: dict[str, Any]) -> GRU:
    who = "GRU.from_tf"
    names = {
        f"{part}/{short[0]}": tuple(f"{part}/{name}" for name in short)
        for part in ("gates", "candidate")
        for short in (_KERNEL, _BIAS)
    }
    arrays = _find(weights, prefix, names, who)
    w_ru, r_ru = _split(arrays["gates/kernel"], 2, None, who)
    w_c, r_c = _split(arrays["candidate/kernel"], 1, None, who)
    if r_ru.shape[1] != r_c.shape[1] or w_ru.shape[1] != w_c.shape[1]:
        raise ShapeError(
            f"{who}: gates/kernel {np.shape(arrays['gates/kernel'])} and "
            f"candidate/kernel {np.shape(arrays['candidate/kernel'])} do not fit together"
        )
    W, R = np.concatenate([w_ru, w_c]), np.concatenate([r_ru, r_c])
    bias = np.concatenate([numbers(arrays[key], f"{who}: {key}").ravel() for key in ("gates/bias", "candidate/bias")])
    activations = (SIGMOID, keras_activation(activation, who))
    return cls(W, R, bias, gate_order="ruc", reset_after=False, activations=activations, **options)


def rnn(cls: type[RNN], weights: Any, prefix: str | None, activation: Any, options: dict[str, Any]) -> RNN:
    who = "RNN.from_tf"
    arrays = _find(weights, prefix, {"kernel": _KERNEL, "bias": _BIAS}, who)
    W, R = _split(arrays["kernel"], 1, None, who)
    return cls(W, R, arrays["bias"], activation=keras_activation(activation, who), **options)


def dense(cls: type[Dense], weights: Any, prefix: str | None, activation: Any, name: str | None) -> Dense:
    who = "Dense.from_tf"
    arrays = _find(weights, prefix, {"kernel": _KERNEL, "bias": _BIAS}, who, ("bias",))
    return cls(
        matrix(arrays["kernel"], f"{who}: kernel").T,
        arrays.get("bias"),
        activation=keras_activation(activation, who),
        name=name,
    )
