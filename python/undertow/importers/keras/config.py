# SPDX-License-Identifier: MIT
"""A layer's configuration, read key by key: what is not understood is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import FormatError, UnsupportedError
from ...ir.activations import RELU, SIGMOID, TANH, Activation

#: limit for hostile files: no axis of a layer is wider
MAX_WIDTH = 1 << 24

#: keys of any layer that change nothing at inference
HARMLESS = {"name", "trainable", "activity_regularizer", "seed", "batch_size", "lora_alpha"}
HARMLESS_ENDINGS = ("_initializer", "_regularizer", "_constraint")
#: keys that are harmless with these values only
HARMLESS_WITH = {"quantization_config": None, "lora_rank": None, "sparse": False, "ragged": False, "optional": False}

SELU = Activation("elu", 1.6732632423543772, 1.0507009873554805)
#: Keras name -> activation, where all versions of Keras agree
ACTIVATIONS = {
    "linear": Activation("identity"),
    "relu": RELU,
    "relu6": Activation("clip", 0.0, 6.0),
    "tanh": TANH,
    "sigmoid": SIGMOID,
    "elu": Activation("elu"),
    "selu": SELU,
    "softplus": Activation("softplus"),
    "softsign": Activation("softsign"),
    "exponential": Activation("exp"),
    "silu": Activation("silu"),
    "swish": Activation("silu"),
    "hard_tanh": Activation("clip", -1.0, 1.0),
    "leaky_relu": Activation("leaky_relu", 0.2),
}


class Config:
    """The configuration of one layer.

    Args:
        where: "LSTM 'lstm_1'", for messages.
        table: the layer's "config".
        version: the Keras version that wrote the file; None when unknown.
    """

    def __init__(self, where: str, table: dict[str, Any], version: tuple[int, ...] | None) -> None:
        self.where = where
        self.version = version
        self._table = table
        self._left = {k for k in table if k not in HARMLESS and not k.endswith(HARMLESS_ENDINGS)}
        for key in sorted(self._left & set(HARMLESS_WITH)):
            self.expect(key, HARMLESS_WITH[key])
        if "dtype" in table:
            self._left.discard("dtype")
            self._check_dtype(table["dtype"])

    def __contains__(self, key: str) -> bool:
        return key in self._table

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, which is understood from now on."""
        self._left.discard(key)
        return self._table.get(key, default)

    def skip(self, *keys: str) -> None:
        """Declare keys harmless for this layer."""
        self._left -= set(keys)

    def expect(self, key: str, *values: Any) -> Any:
        """The value of a key that must be missing or one of `values`; the first of them when missing."""
        got = self.get(key, values[0])
        if not any(type(got) is type(v) and got == v for v in values):
            raise UnsupportedError(
                f"{self.where}: {key} = {brief(got)} is not supported; expected {' or '.join(map(repr, values))}"
            )
        return got

    def flag(self, key: str, default: bool = False) -> bool:
        got = self.get(key, default)
        if not isinstance(got, bool):
            raise FormatError(f"{self.where}: {key} must be true or false, got {brief(got)}")
        return got

    def required(self, key: str) -> Any:
        if key not in self._table:
            raise FormatError(f"{self.where}: {key} is missing")
        return self.get(key)

    def count(self, key: str) -> int:
        got = self.required(key)
        if type(got) is not int or not 0 < got <= MAX_WIDTH:
            raise FormatError(f"{self.where}: {key} must be a whole number from 1 to {MAX_WIDTH}, got {brief(got)}")
        return got

    def number(self, key: str, default: float | None = None) -> float:
        got = self.get(key, default)
        if isinstance(got, dict):  # a NumPy number: {"type": "ndarray", "value": 0.3}, or a "config" around the value
            inner = got.get("config")
            got = got.get("value", inner.get("value") if isinstance(inner, dict) else None)
        if type(got) not in (int, float) or not abs(got) < 1e38:
            raise FormatError(f"{self.where}: {key} must be a number, got {brief(got)}")
        return float(got)

    def activation(self, key: str = "activation", default: str | None = "linear") -> Activation | str:
        """The activation under a key; "softmax" and "log_softmax" come as text."""
        return activation(f"{self.where}: {key}", self.get(key, default), self.version)

    def finish(self) -> None:
        """Refuse the first key that nobody asked for."""
        if self._left:
            key = sorted(self._left)[0]
            raise UnsupportedError(f"{self.where}: {key} = {brief(self._table[key])} is not known to undertow")

    def _check_dtype(self, dtype: Any) -> None:
        name = dtype
        if isinstance(dtype, dict):
            inner = dtype.get("config")
            name = inner.get("name") if isinstance(inner, dict) else None
        if name not in (None, "float32"):
            raise UnsupportedError(
                f"{self.where}: dtype {brief(name if isinstance(name, str) else dtype)} is not supported; "
                "expected float32"
            )


def activation(where: str, value: Any, version: tuple[int, ...] | None) -> Activation | str:
    """An `Activation` for what a Keras file says: a name, a serialised function, or an activation layer."""
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
    if value in ("softmax", "log_softmax"):
        return str(value)
    if not isinstance(value, str) or value not in ACTIVATIONS:
        supported = ", ".join(sorted([*ACTIVATIONS, "hard_sigmoid", "softmax", "log_softmax"]))
        raise UnsupportedError(f"{where} = {brief(value)} is not supported; supported: {supported}")
    return ACTIVATIONS[value]


def _activation_object(where: str, value: dict[str, Any], version: tuple[int, ...] | None) -> Activation | str:
    cls, config, registered = value.get("class_name"), value.get("config"), value.get("registered_name")
    ours = value.get("module") in (None, "keras.activations", "keras.layers", "keras.src.activations.activations")
    if ours and cls == "function" and isinstance(config, str) and registered in (None, config, "function"):
        return activation(where, config, version)
    if ours and isinstance(config, dict) and registered in (None, cls):
        settings = Config(f"{where} = {cls}", config, version)
        found = activation_layer(cls, settings)
        if found is not None:
            settings.finish()
            return found
    raise UnsupportedError(f"{where} = {brief(registered or cls)} is not supported: not an activation of Keras's own")


def activation_layer(cls: Any, config: Config) -> Activation | str | None:
    """The activation that a layer of class `cls` applies, or None when it is no such layer."""
    if cls == "Activation":
        return config.activation("activation", None)
    if cls == "ReLU":
        return _relu(config)
    if cls == "LeakyReLU":  # Keras 2 says alpha, Keras 3 negative_slope; its default was 0.3 throughout
        return Activation("leaky_relu", config.number("negative_slope" if "negative_slope" in config else "alpha", 0.3))
    if cls == "ELU":
        return Activation("elu", config.number("alpha", 1.0))
    if cls == "ThresholdedReLU":
        return _above(config.number("theta", 1.0))
    if cls == "Softmax":
        return "softmax"  # the caller looks at the axis
    return None


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


def brief(value: Any) -> str:
    """A value, short enough for a message."""
    text = (
        repr(value)
        if not isinstance(value, (list, dict)) or len(value) <= 4
        else f"a {type(value).__name__} of {len(value)}"
    )
    return text if len(text) <= 80 else text[:77] + "..."
