# SPDX-License-Identifier: MIT
"""What a configuration says of its layers, before anything is made of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..._text import quoted, shown
from ...errors import FormatError, UnsupportedError
from .config import brief

#: limits for hostile files
MAX_LAYERS = 2000
MAX_CALLS = 10_000

SEQUENTIAL = ("Sequential",)
FUNCTIONAL = ("Functional", "Model")
#: merging layer -> op
MERGES = {
    "Add": "add",
    "Subtract": "sub",
    "Multiply": "mul",
    "Average": "add",
    "Maximum": "max",
    "Minimum": "min",
    "Concatenate": "concat",
}
#: layers that do nothing at inference
NOTHING_TO_DO = {
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
    "ActivityRegularization",
    "Identity",
}


@dataclass
class Layer:
    """A layer as the file describes it."""

    cls: str
    name: str
    config: dict[str, Any]
    table: dict[str, Any]
    n_calls: int = 1

    @property
    def where(self) -> str:
        return f"{shown(self.cls)} {quoted(self.name)}"

    def renamed(self, name: str) -> Layer:
        return replace(self, name=name)

    def turned(self) -> Layer:
        """The same layer in the other direction."""
        return replace(self, config={**self.config, "go_backwards": not self.config.get("go_backwards", False)})


def check_layer_list(model: Layer, tables: Any) -> list[Any]:
    if not isinstance(tables, list) or not 0 < len(tables) <= MAX_LAYERS:
        raise FormatError(f"{model.where}: layers must be a list of 1 to {MAX_LAYERS} layers, got {brief(tables)}")
    return tables


def check_keys(model: Layer, known: set[str]) -> None:
    for key in model.config:
        if key not in known | {"name", "trainable", "dtype", "batch_input_shape"}:
            raise UnsupportedError(f"{model.where}: {key} = {brief(model.config[key])} is not known to undertow")


def input_shape(config: dict[str, Any]) -> Any:
    return config.get("batch_shape") or config.get("batch_input_shape")


def dtype_name(dtype: Any) -> Any:
    if isinstance(dtype, dict):
        inner = dtype.get("config")
        return inner.get("name") if isinstance(inner, dict) else None
    return dtype


def wants_ids(layer: Layer) -> bool | None:
    """Whether a layer takes ids; None when it passes its input on."""
    if layer.cls == "Embedding":
        return True
    if layer.cls in NOTHING_TO_DO or layer.cls == "InputLayer":
        return None
    inner: list[Any] = []
    if layer.cls == "TimeDistributed":
        inner = [layer.config.get("layer")]
    elif layer.cls in SEQUENTIAL:
        inner = _list(layer.config.get("layers"))
    elif layer.cls in FUNCTIONAL:
        # a nested model with one input: what the layers right behind its InputLayer say
        inner = [
            t for t in _list(layer.config.get("layers")) if isinstance(t, dict) and t.get("class_name") != "InputLayer"
        ]
    for table in inner:
        if (
            isinstance(table, dict)
            and isinstance(table.get("class_name"), str)
            and isinstance(table.get("config"), dict)
        ):
            found = wants_ids(Layer(table["class_name"], "", table["config"], table))
            if found is not None:
                return found
    return False


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def uses_time_major(table: Any) -> bool:
    """Whether any layer in a configuration has time_major set."""
    queue = deque([table])
    while queue:
        item = queue.popleft()
        if isinstance(item, dict):
            if item.get("time_major") is True:
                return True
            queue.extend(item.values())
        elif isinstance(item, list):
            queue.extend(item)
    return False


def flatten(nested: Any) -> Iterator[Any]:
    """The leaves of lists within lists."""
    stack = [nested]
    while stack:
        item = stack.pop()
        if isinstance(item, (list, tuple)):
            stack.extend(reversed(item))
        else:
            yield item
