# SPDX-License-Identifier: MIT
"""Keras's layout: kernels are (inputs, gates * hidden); LSTM gates i f c o, GRU gates z r h."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ..ir.activations import as_activation
from .base import numbers
from .feedforward import Dense
from .recurrent import GRU, LSTM, RNN

_RENAMED = {"linear": "identity", "swish": "silu", "exponential": "exp"}
# Keras changed the numbers of these between versions, or differs from the defaults here.
_AMBIGUOUS = {
    "hard_sigmoid": "Activation('hard_sigmoid', 0.2) for Keras 1 and 2, Activation('hard_sigmoid', 1 / 6) for Keras 3",
    "leaky_relu": "Activation('leaky_relu', slope) with the slope of your version (0.2 in Keras 3)",
}


def keras_activation(activation: Any, who: str) -> Any:
    """An Activation for a name as Keras writes it; names that mean several functions are refused."""
    if isinstance(activation, str):
        if activation in _AMBIGUOUS:
            raise UnsupportedError(
                f"{who}: activation {activation!r} is not one function; write {_AMBIGUOUS[activation]}"
            )
        activation = _RENAMED.get(activation, activation)
        if activation in ("softmax", "log_softmax"):
            return activation
    return as_activation(activation)


def named(weights: Any, prefix: str | None, names: Sequence[str], who: str, n_required: int | None = None) -> list[Any]:
    """The arrays called `names`, from a list in that order or from a dict; None for optional ones that are missing.

    In a dict a name is the last part of a path, without ":0"; Keras 3 numbers them (vars/0, vars/1 ...) instead.
    """
    n_required = len(names) if n_required is None else n_required
    if isinstance(weights, (list, tuple)):
        if not n_required <= len(weights) <= len(names):
            raise ShapeError(f"{who}: {len(weights)} arrays, expected {', '.join(names)}")
        return [*weights, *[None] * (len(names) - len(weights))]
    if not isinstance(weights, Mapping):
        raise TypeError(f"{who}: weights is a {type(weights).__name__}, expected a list of arrays or name -> array")
    keys_of: dict[str, list[str]] = {}
    for key in weights:
        if prefix is not None and not key.startswith(prefix.rstrip("/") + "/"):
            continue
        last = key.rsplit("/", 1)[-1].removesuffix(":0")
        if last.isdigit() and int(last) < len(names):
            last = names[int(last)]
        keys_of.setdefault(last, []).append(key)
    arrays = []
    for i, name in enumerate(names):
        keys = keys_of.get(name, [])
        if len(keys) > 1:
            raise ShapeError(f"{who}: {name!r} is in several places: {', '.join(keys[:4])}; give the prefix of one")
        if not keys and i < n_required:
            where = f" under {prefix!r}" if prefix else ""
            raise ShapeError(f"{who}: no array {name!r}{where}; the names are {', '.join(list(weights)[:8])}")
        arrays.append(weights[keys[0]] if keys else None)
    return arrays


def matrix(value: Any, what: str) -> np.ndarray:
    array = numbers(value, what)
    if array.ndim != 2:
        raise ShapeError(f"{what} has shape {array.shape}, expected 2 axes")
    return array


def _kernels(
    weights: Any, prefix: str | None, n_gates: int, who: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    kernel, recurrent, bias = named(weights, prefix, ("kernel", "recurrent_kernel", "bias"), who, 2)
    kernel, recurrent = matrix(kernel, f"{who}: kernel"), matrix(recurrent, f"{who}: recurrent_kernel")
    hidden = recurrent.shape[0]
    if recurrent.shape[1] != n_gates * hidden or kernel.shape[1] != n_gates * hidden:
        ratio = recurrent.shape[1] / hidden if hidden else 0
        looks = {1.0: "SimpleRNN", 3.0: "GRU", 4.0: "LSTM"}.get(ratio)
        raise ShapeError(
            f"{who}: kernel has shape {kernel.shape} and recurrent_kernel {recurrent.shape}, expected "
            f"(inputs, {n_gates} * hidden) and (hidden, {n_gates} * hidden)" + (f"; {looks} has these" if looks else "")
        )
    return kernel, recurrent, None if bias is None else numbers(bias, f"{who}: bias")


def cudnn_kernels(kernel: np.ndarray, recurrent: np.ndarray, n_gates: int) -> tuple[np.ndarray, np.ndarray]:
    """Kernels of a CuDNNLSTM or CuDNNGRU in the layout of an LSTM or GRU.

    cuDNN's own order: each gate's input kernel is transposed as memory (the file's (inputs, hidden) is really (hidden,
    inputs)), each gate's recurrent kernel as a matrix.
    """
    n_in, hidden = kernel.shape[0], recurrent.shape[0]
    return (
        np.hstack([k.reshape(hidden, n_in).T for k in np.hsplit(kernel, n_gates)]),
        np.hstack([k.T for k in np.hsplit(recurrent, n_gates)]),
    )


def lstm(
    cls: type[LSTM],
    weights: Any,
    prefix: str | None,
    activation: Any,
    recurrent_activation: Any,
    options: dict[str, Any],
) -> LSTM:
    who = "LSTM.from_keras"
    kernel, recurrent, bias = _kernels(weights, prefix, 4, who)
    recurrent_bias = None
    if bias is not None and bias.shape == (2 * kernel.shape[1],):  # a CuDNNLSTM: two biases, to be added
        _only_cudnn(who, activation, recurrent_activation)
        kernel, recurrent = cudnn_kernels(kernel, recurrent, 4)
        bias, recurrent_bias = bias.reshape(2, -1)
    f, g = keras_activation(recurrent_activation, who), keras_activation(activation, who)
    return cls(
        kernel.T,
        recurrent.T,
        bias,
        recurrent_bias=recurrent_bias,
        gate_order="ifco",
        activations=(f, g, g),
        **options,
    )


def _only_cudnn(who: str, activation: Any, recurrent_activation: Any) -> None:
    for given, only in ((activation, "tanh"), (recurrent_activation, "sigmoid")):
        if as_activation(keras_activation(given, who)) != as_activation(only):
            raise UnsupportedError(f"{who}: a CuDNN layer has {only} here, got {given!r}")


def gru(cls: type[GRU], weights: Any, prefix: str | None, reset_after: bool | None, options: dict[str, Any]) -> GRU:
    who = "GRU.from_keras"
    g, f = options.pop("activation", "tanh"), options.pop("recurrent_activation", "sigmoid")
    kernel, recurrent, bias = _kernels(weights, prefix, 3, who)
    n = kernel.shape[1]
    recurrent_bias = None
    if bias is None:
        if reset_after is None:
            raise ShapeError(
                f"{who}: there is no bias to show reset_after; give reset_after=True (Keras's default) or False"
            )
    elif bias.shape == (2 * n,) and reset_after is not False:  # a CuDNNGRU
        _only_cudnn(who, g, f)
        kernel, recurrent = cudnn_kernels(kernel, recurrent, 3)
        reset_after, (bias, recurrent_bias) = True, bias.reshape(2, n)
    elif bias.shape == (2, n) and reset_after is not False:
        reset_after, (bias, recurrent_bias) = True, bias
    elif bias.shape == (n,) and not reset_after:
        reset_after = False
    else:
        raise ShapeError(
            f"{who}: bias has shape {bias.shape}, expected (2, {n}) with reset_after, ({n},) without, "
            f"({2 * n},) of a CuDNNGRU (got reset_after={reset_after})"
        )
    return cls(
        kernel.T,
        recurrent.T,
        bias,
        recurrent_bias=recurrent_bias,
        gate_order="zrh",
        reset_after=bool(reset_after),
        activations=(keras_activation(f, who), keras_activation(g, who)),
        **options,
    )


def rnn(cls: type[RNN], weights: Any, prefix: str | None, activation: Any, options: dict[str, Any]) -> RNN:
    who = "RNN.from_keras"
    kernel, recurrent, bias = _kernels(weights, prefix, 1, who)
    return cls(kernel.T, recurrent.T, bias, activation=keras_activation(activation, who), **options)


def dense(cls: type[Dense], weights: Any, prefix: str | None, activation: Any, name: str | None) -> Dense:
    who = "Dense.from_keras"
    kernel, bias = named(weights, prefix, ("kernel", "bias"), who, 1)
    return cls(matrix(kernel, f"{who}: kernel").T, bias, activation=keras_activation(activation, who), name=name)
