# SPDX-License-Identifier: MIT
"""What a configuration says of its layers, before anything is made of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..._text import quoted, shown
from ...errors import FormatError
from .config import brief
from .traits import LayerClass, traits

#: limits for hostile files
MAX_LAYERS = 2000
MAX_CALLS = 10_000


@dataclass
class Layer:
    """A layer as the file describes it."""

    cls: str
    name: str
    config: dict[str, Any]
    table: dict[str, Any]
    n_calls: int = 1
    in_shared: bool = False

    @property
    def row(self) -> LayerClass:
        """What is true of its class."""
        return traits(self.cls)

    @property
    def shared(self) -> bool:
        """Whether it, or a layer that it is in, is called several times."""
        return self.in_shared or self.n_calls > 1

    @property
    def is_input(self) -> bool:
        return self.cls == "InputLayer"

    @property
    def is_operation(self) -> bool:
        """Whether it is one of keras.ops, which have classes of the same names as layers."""
        module = self.table.get("module")
        return isinstance(module, str) and module.startswith("keras.src.ops.")

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


def input_shape(config: dict[str, Any]) -> Any:
    return config.get("batch_shape") or config.get("batch_input_shape")


def wants_ids(layer: Layer) -> bool | None:
    """Whether a layer takes ids; None when it passes its input on."""
    row = layer.row
    if row.unchanged or layer.is_input:
        return None
    inner = layer.config.get(row.inner) if row.inner else None
    # of a nested model: what the layers right behind its InputLayer say
    for table in inner if isinstance(inner, list) else [inner]:
        if (
            isinstance(table, dict)
            and isinstance(table.get("class_name"), str)
            and isinstance(table.get("config"), dict)
        ):
            ids = wants_ids(Layer(table["class_name"], "", table["config"], table))
            if ids is not None:
                return ids
    return row.ids


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


def leaves(nested: Any) -> Iterator[Any]:
    """The leaves of lists within lists."""
    stack = [nested]
    while stack:
        item = stack.pop()
        if isinstance(item, (list, tuple)):
            stack.extend(reversed(item))
        else:
            yield item
