# SPDX-License-Identifier: MIT
"""One call of a layer: looked at, and given to the function of its row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

from ...errors import FormatError, UnsupportedError
from .. import _blocks as blocks
from .builder import Builder, Output, Tensor
from .tables import MAX_CALLS, Layer
from .traits import ALIKE, ALWAYS, CLASSES, why_refused
from .weights import LegacyWeights, Weights

#: (builder, layer, its configuration, what it takes, its arrays) -> what it gives; initial= for those that own states
Converter = Callable[..., Tensor | list[Output]]


def _function(converter: str) -> Converter:
    module, _, name = converter.partition(".")
    function: Converter = getattr(import_module(f".{module}", __package__), name)
    return function


#: class of a layer -> the function that adds it to a graph
CONVERTERS: dict[str, Converter] = {row.name: _function(row.converter) for row in CLASSES.values() if row.converter}


class KerasModel(Builder):
    """Fills a graph from a model's configuration and arrays; see `Builder` for the arguments."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._n_calls = 0

    def call(self, layer: Layer, inputs: list[Tensor], initial: list[Tensor], weights: Weights) -> list[Output]:
        """Add one call of a layer to the graph."""
        self._n_calls += 1  # a shared model is written out at every call
        if self._n_calls > MAX_CALLS:
            raise FormatError(f"{layer.where}: beyond {MAX_CALLS} calls of layers")
        self.graph.origin.take(layer.cls)
        row = layer.row
        self.check_operation(layer)
        if not row.converter and not row.unchanged:
            raise UnsupportedError(f"{layer.where}: this layer is not supported{why_refused(layer.cls)}")
        if initial and not row.states:
            raise UnsupportedError(f"{layer.where}: initial_state is not supported here")
        for t in inputs:
            if t.state_shape is not None:
                raise UnsupportedError(f"{layer.where}: takes an input that is also an initial state; expected one use")
            if t.padded != (0, 0) and not row.padded:
                raise UnsupportedError(
                    f"{layer.where}: takes frames of padding in time {t.padded}; expected a convolution behind a "
                    "ZeroPadding along time"
                )
        static = all(t.static for t in inputs)
        outputs = [
            replace(output, static=static and output.static) if isinstance(output, Tensor) else output
            for output in self._converted(layer, inputs, initial, weights)
        ]
        if isinstance(weights, LegacyWeights) and weights.left_over and not row.unchanged:
            raise FormatError(f"{layer.where}: arrays {weights.left_over[:4]} belong to nothing in its configuration")
        for output in outputs:
            if isinstance(output, Tensor):
                blocks.check_frame(layer.where, self.graph.values[output.value].size)
        return outputs

    def _converted(self, layer: Layer, inputs: list[Tensor], initial: list[Tensor], weights: Weights) -> list[Output]:
        row = layer.row
        if row.inputs:
            self.exactly(layer, inputs, row.inputs)
        several = max((t.rows for t in inputs), default=0)
        if several and not row.rows:
            raise UnsupportedError(
                f"{layer.where}: not supported in a model that strides along time ({several} timesteps are in a "
                f"frame here); supported there: {', '.join(sorted(ALIKE))}; or give the clip's size: shapes="
            )
        config = self.config(layer)
        if row.masks == ALWAYS:
            self.promised(f"{layer.where}: it hides timesteps from the layers behind it, which")
        elif row.masks and config.flag(row.masks):
            self.promised(f"{layer.where}: {row.masks} = True")
        if row.unchanged:
            config.finish()
            return [*inputs]
        # whoever treats them alike sees a frame with one axis more
        alike = several > 0 and layer.cls in ALIKE
        given = [replace(t, time=False) for t in inputs] if alike else inputs
        states = {"initial": initial} if row.states else {}
        outputs = CONVERTERS[layer.cls](self, layer, config, given[0] if row.inputs == 1 else given, weights, **states)
        config.finish()
        if alike and isinstance(outputs, Tensor):
            return [replace(outputs, time=inputs[0].time)]
        return outputs if isinstance(outputs, list) else [outputs]
