# SPDX-License-Identifier: MIT
"""What a configuration says of activations: a name, a serialised function, or an activation layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import UnsupportedError
from ...ir.activations import RELU, SIGMOID, TANH, Activation
from .config import Config, brief
from .traits import traits

SELU = Activation("elu", 1.6732632423543772, 1.0507009873554805)
#: Keras name -> activation, where all versions of Keras agree
ACTIVATIONS = {
    "linear": Activation("identity"),
    "relu": RELU,
    "relu6": Activation("clip", 0.0, 6.0),
    "tanh": TANH,
    "sigmoid": SIGMOID,
    "elu": Activation("elu"),
    "celu": Activation("elu"),
    "selu": SELU,
    "softplus": Activation("softplus"),
    "softsign": Activation("softsign"),
    "exponential": Activation("exp"),
    "silu": Activation("silu"),
    "swish": Activation("silu"),
    "hard_tanh": Activation("clip", -1.0, 1.0),
    "leaky_relu": Activation("leaky_relu", 0.2),
}

#: over the last axis of a frame: Keras name and op
SOFTMAXES = ("softmax", "log_softmax")
#: name -> functions one after another, and the op that takes x and what they give; "": they are all
COMPOSED: dict[str, tuple[tuple[Activation, ...], str]] = {
    "gelu": ((Activation("affine", 0.5**0.5), Activation("erf"), Activation("affine", 0.5, 0.5)), "mul"),
    "mish": ((Activation("softplus"), TANH), "mul"),
    "hard_silu": ((Activation("hard_sigmoid", 1.0 / 6.0, 0.5),), "mul"),
    "hard_swish": ((Activation("hard_sigmoid", 1.0 / 6.0, 0.5),), "mul"),
    "log_sigmoid": ((Activation("affine", -1.0), Activation("softplus"), Activation("affine", -1.0)), ""),
    "tanh_shrink": ((TANH,), "sub"),
}


def activation(config: Config, key: str = "activation") -> Activation | str:
    """The activation under a key; those of several ops come as text: `SOFTMAXES` and `COMPOSED`."""
    return _activation(f"{config.where}: {key}", config.get(key, "linear"), config.version)


def cell_activation(config: Config, key: str) -> Activation:
    """The activation of a cell, which must be said.

    Raises:
        UnsupportedError: one that is no function of each element alone.
    """
    config.required(key)
    function = activation(config, key)
    if not isinstance(function, Activation):
        raise UnsupportedError(f"{config.where}: {key} = {function!r} is not supported inside a cell")
    return function


def _activation(where: str, value: Any, version: tuple[int, ...] | None) -> Activation | str:
    if value is None:
        return ACTIVATIONS["linear"]
    if isinstance(value, dict):
        return _activation_object(where, value, version)
    if value == "hard_sigmoid":
        if version is None:
            raise UnsupportedError(
                f"{where} = 'hard_sigmoid' differs between Keras 2 and 3, and the file does not say which wrote it; "
                "pass keras_version='2' or '3'"
            )
        return Activation("hard_sigmoid", 1.0 / 6.0 if version[0] >= 3 else 0.2, 0.5)
    if isinstance(value, str) and (value in SOFTMAXES or value in COMPOSED):
        return value
    if not isinstance(value, str) or value not in ACTIVATIONS:
        supported = ", ".join(sorted([*ACTIVATIONS, "hard_sigmoid", *SOFTMAXES, *COMPOSED]))
        raise UnsupportedError(f"{where} = {brief(value)} is not supported; supported: {supported}")
    return ACTIVATIONS[value]


def _activation_object(where: str, value: dict[str, Any], version: tuple[int, ...] | None) -> Activation | str:
    cls, config, registered = value.get("class_name"), value.get("config"), value.get("registered_name")
    ours = value.get("module") in (None, "keras.activations", "keras.layers", "keras.src.activations.activations")
    if ours and cls == "function" and isinstance(config, str) and registered in (None, config, "function"):
        return _activation(where, config, version)
    row = traits(cls) if isinstance(cls, str) else traits("")
    if ours and isinstance(config, dict) and registered in (None, cls) and row.of in LAYERS:
        settings = Config(f"{where} = {cls}", config, row, version)
        function = LAYERS[row.of](settings)
        settings.finish()
        return function
    raise UnsupportedError(f"{where} = {brief(registered or cls)} is not supported: not an activation of Keras's own")


def _given(config: Config) -> Activation | str:
    config.required("activation")
    return activation(config)


def _leaky_relu(config: Config) -> Activation:
    # Keras 2 says alpha, Keras 3 negative_slope; its default was 0.3 throughout
    return Activation("leaky_relu", config.number("negative_slope" if "negative_slope" in config else "alpha", 0.3))


def _elu(config: Config) -> Activation:
    return Activation("elu", config.number("alpha", 1.0))


def _thresholded_relu(config: Config) -> Activation:
    return _above(config.number("theta", 1.0))


def _relu(config: Config) -> Activation:
    slope, threshold = config.number("negative_slope", 0.0), config.number("threshold", 0.0)
    ceiling = config.get("max_value")
    if ceiling is None and threshold == 0:
        return Activation("leaky_relu", slope) if slope else RELU
    if ceiling is None and slope == 0:
        return _above(threshold)
    if slope == 0 and threshold == 0:
        return Activation("clip", 0.0, config.number("max_value"))
    raise UnsupportedError(
        f"{config.where}: max_value = {brief(ceiling)}, negative_slope = {slope} and threshold = {threshold} "
        "are not supported together"
    )


def _above(threshold: float) -> Activation:
    # Keras wants x > threshold, ours is x >= alpha: the next float32 is the same boundary
    return Activation("thresholded_relu", float(np.nextafter(np.float32(threshold), np.float32(np.inf))))


#: what a layer is an activation of -> how its configuration says which
LAYERS: dict[str, Callable[[Config], Activation | str]] = {
    "given": _given,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "thresholded_relu": _thresholded_relu,
    "softmax": lambda config: "softmax",  # the caller looks at the axis
}
