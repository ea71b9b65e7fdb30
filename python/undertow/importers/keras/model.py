# SPDX-License-Identifier: MIT
"""Sequential and Functional models: which layer sees what, and which axis is time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...errors import FormatError, UnsupportedError
from .. import _blocks as blocks
from . import layers as frame_layers
from .builder import Builder, Output, Tensor
from .grids import CONVOLUTIONS, STRIDING
from .recurrent import CELLS, bidirectional, recurrent
from .tables import (
    FUNCTIONAL,
    MAX_CALLS,
    NOTHING_TO_DO,
    SEQUENTIAL,
    Layer,
    check_keys,
    check_layer_list,
    input_shape,
    wants_ids,
)
from .weights import LegacyWeights, Weights
from .wiring import functional

#: models in models, at most
MAX_DEPTH = 16


class KerasModel(Builder):
    """Fills a graph from a model's configuration and arrays; see `Builder` for the arguments."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._depth = self._n_calls = 0

    def call(self, layer: Layer, inputs: list[Tensor], initial: list[Tensor], weights: Weights) -> list[Output]:
        """Add one call of a layer to the graph."""
        self._n_calls += 1  # a shared model is written out at every call
        if self._n_calls > MAX_CALLS:
            raise FormatError(f"{layer.where}: beyond {MAX_CALLS} calls of layers")
        for t in inputs:
            if t.state_shape is not None:
                raise UnsupportedError(f"{layer.where}: takes an input that is also an initial state; expected one use")
            if t.padded != (0, 0) and layer.cls not in CONVOLUTIONS:
                raise UnsupportedError(
                    f"{layer.where}: takes frames of padding in time {t.padded}; expected a convolution behind a "
                    "ZeroPadding along time"
                )
        outputs: list[Output]
        self.graph.origin.take(layer.cls)
        if layer.cls in SEQUENTIAL or layer.cls in FUNCTIONAL:
            outputs = [t for _, t in self.model(layer, weights, inputs)]
        elif layer.cls in CELLS or layer.cls in ("RNN", "Bidirectional"):
            (x,) = self.exactly(layer, inputs, 1)
            outputs = (bidirectional if layer.cls == "Bidirectional" else recurrent)(self, layer, x, initial, weights)
        elif layer.cls == "TimeDistributed":
            outputs = self._time_distributed(layer, inputs, weights)
        elif any(t.rows for t in inputs) and layer.cls not in STRIDING:
            outputs = [self._timesteps_alike(layer, inputs, weights)]
        else:
            outputs = [frame_layers.convert(self, layer, inputs, weights)]
        if isinstance(weights, LegacyWeights) and weights.left_over and layer.cls not in NOTHING_TO_DO:
            raise FormatError(f"{layer.where}: arrays {weights.left_over[:4]} belong to nothing in its configuration")
        if initial and layer.cls not in CELLS and layer.cls not in ("RNN", "Bidirectional"):
            raise UnsupportedError(f"{layer.where}: initial_state is not supported here")
        for output in outputs:
            if isinstance(output, Tensor):
                blocks.check_frame(layer.where, self.graph.values[output.value].size)
        return outputs

    def _timesteps_alike(self, layer: Layer, inputs: list[Tensor], weights: Weights) -> Tensor:
        """A layer that treats all timesteps alike, over frames of several of them."""
        if layer.cls not in frame_layers.TIMESTEPS_ALIKE:
            raise UnsupportedError(
                f"{layer.where}: not supported in a model that strides along time ({inputs[0].rows} timesteps are in a "
                f"frame here); supported there: {', '.join(sorted(frame_layers.TIMESTEPS_ALIKE))}; or give the clip's "
                "size: shapes="
            )
        made = frame_layers.convert(self, layer, [replace(t, time=False) for t in inputs], weights)
        return replace(made, time=inputs[0].time)

    def _time_distributed(self, layer: Layer, inputs: list[Tensor], weights: Weights) -> list[Output]:
        (x,) = self.exactly(layer, inputs, 1)
        config = self.config(layer)
        inner = self.layer(config.required("layer"), layer)
        config.finish()
        if x.rows and inner.cls == "Flatten":
            of_rows = self.config(inner)
            of_rows.expect("data_format", "channels_last", None)
            of_rows.finish()
            shape = self.graph.shape(x.value)
            order = blocks.positions(shape).reshape(shape[0], -1)
            return [x.like(blocks.rearrange(self.graph, x.value, order, layer.name))]
        if (x.rows or not x.time) and (inner.cls not in frame_layers.ROW_BY_ROW or len(self.graph.shape(x.value)) < 2):
            has = "has several timesteps in a frame" if x.rows else "has no time axis"
            raise UnsupportedError(
                f"{layer.where}: its input {has}, and a {inner.cls} inside of one frame is not supported; "
                f"supported there: {', '.join(sorted(frame_layers.ROW_BY_ROW))}"
            )
        self._depth += 1
        self._check_depth(layer)
        # the inner layer sees (batch * time, *frame): a frame without a time axis
        outputs = self.call(inner, [replace(x, time=False, rows=0)], [], weights.part("layer"))
        self._depth -= 1
        return [replace(self.resolve(o), time=x.time, length=x.length, rows=x.rows) for o in outputs]

    def model(self, layer: Layer, weights: Weights, inputs: list[Tensor] | None = None) -> list[tuple[str, Tensor]]:
        """Add a Sequential or Functional model; without `inputs` it is the outermost one and makes its own."""
        self._depth += 1
        self._check_depth(layer)
        if layer.cls in SEQUENTIAL:
            found = self._sequential(layer, weights, inputs)
        elif layer.cls in FUNCTIONAL:
            found = functional(self, layer, weights, inputs)
        else:
            raise UnsupportedError(
                f"{layer.where}: a model of this class is not supported; expected Sequential or Functional"
            )
        self._depth -= 1
        return found

    def _check_depth(self, layer: Layer) -> None:
        if self._depth > MAX_DEPTH:
            raise FormatError(f"{layer.where}: models are nested more than {MAX_DEPTH} deep")

    def _sequential(self, model: Layer, weights: Weights, inputs: list[Tensor] | None) -> list[tuple[str, Tensor]]:
        tables = model.config.get("layers")
        check_keys(model, {"layers", "build_input_shape"})
        layers = [self.layer(t, model) for t in check_layer_list(model, tables)]
        first = layers[0]
        shown = layers[1:] if first.cls == "InputLayer" else layers
        if first.cls == "InputLayer":
            self.check_input_layer(first)
        if inputs is not None:
            (x,) = self.exactly(model, inputs, 1)
        else:
            name = first.name if first.cls == "InputLayer" else "input"
            shape = input_shape(first.config) or model.config.get("build_input_shape")
            x = self.make_input(
                name, shape, first.config.get("dtype"), [t for t in map(wants_ids, shown) if t is not None][:1]
            )
        for layer, part in zip(shown, weights.members("layers", [(l.cls, l.name) for l in shown]), strict=True):
            outputs = self.call(layer, [x], [], part.copy())
            if len(outputs) != 1:
                raise UnsupportedError(f"{layer.where}: several outputs in a Sequential model are not supported")
            x = self.resolve(outputs[0])
        return [(layers[-1].name, x)]
