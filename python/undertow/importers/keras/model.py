# SPDX-License-Identifier: MIT
"""Sequential and Functional models: which layer sees what, and which axis is time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias

import numpy as np

from ...errors import FormatError, ShapeError, UnsupportedError
from ...graph import Graph
from .. import _blocks as blocks
from . import layers as frame_layers
from .config import MAX_WIDTH, Config, brief
from .grids import CONVOLUTIONS, STRIDING
from .recurrent import CELLS, bidirectional, recurrent
from .tables import (
    FUNCTIONAL,
    NOTHING_TO_DO,
    SEQUENTIAL,
    Layer,
    check_keys,
    check_layer_list,
    dtype_name,
    input_shape,
    wants_ids,
)
from .weights import LegacyWeights, Weights

#: limits for hostile files
MAX_CALLS = 10_000
MAX_DEPTH = 16

#: where Keras's own classes live; anything else is somebody's own class, whatever its name
MODULES = ("keras.layers", "keras.models", "keras.src.layers", "keras.src.models", "keras.src.engine", "keras.engine")


@dataclass(frozen=True)
class Tensor:
    """A Keras tensor: a frame of the graph, with a time axis before it or without one.

    Attributes:
        value: name of the graph value.
        time: the tensor is (batch, time, *frame); otherwise (batch, *frame).
        length: the fixed number of timesteps, where the model has one.
        padded: frames of zeros before and behind it that a ZeroPadding has added in time, and no layer has used.
        late: the first so many frames are none of it: a convolution without padding gives fewer frames than it takes,
            and frame t is here the one that ends with timestep t.
        rows: in a model that strides along time, how many timesteps of it are in a frame of the graph: its first axis.
        state_shape: set for a model input that is the initial state of a cell and nothing else; it has no value.
    """

    value: str
    time: bool
    length: int | None = None
    state_shape: tuple[int, ...] | None = None
    padded: tuple[int, int] = (0, 0)
    late: int = 0
    rows: int = 0

    def like(self, value: str) -> Tensor:
        """Another frame over the same axes."""
        return replace(self, value=value)


#: an output of a layer, or how to make it when somebody asks
Output: TypeAlias = Tensor | Callable[[], Tensor]


class Builder:
    """Fills a graph from a model's configuration and arrays.

    Args:
        graph: an empty graph.
        version: the Keras version that wrote the file; None when unknown.
        assume_unmasked: the caller promises that masks never hide a timestep.
        shapes: inputs that are one clip each, a frame without a time axis: name -> shape with batch 1 in front.
        steps: timesteps of the inputs in a frame of the graph, for a model that strides along time; None: the frame is
            the timestep.
    """

    def __init__(
        self,
        graph: Graph,
        version: tuple[int, ...] | None,
        assume_unmasked: bool,
        shapes: dict[str, tuple[int, ...]] | None = None,
        steps: int | None = None,
    ) -> None:
        self.graph = graph
        self.steps = steps
        self.shapes = dict(shapes or {})
        self.version = version
        self.assume_unmasked = assume_unmasked
        self.time_major = False
        self.notes: list[str] = []
        #: input -> shape with batch 1, of those whose sizes the model fixes: what could be read as one clip
        self.fixed: dict[str, tuple[int, ...]] = {}
        self._gates: dict[int, str] = {}
        self._depth = self._n_calls = 0

    # -- for layers -----------------------------------------------------------------------------------------------

    def config(self, layer: Layer) -> Config:
        config = Config(layer.where, layer.config, self.version)
        config.skip("batch_input_shape", "batch_shape", "input_shape", "autocast")
        return config

    def layer(self, table: Any, inside: Layer | None = None) -> Layer:
        """Parse the description of a layer; classes that are not Keras's own are refused."""
        place = f" in {inside.where}" if inside else ""
        if not isinstance(table, dict) or not isinstance(table.get("class_name"), str):
            raise FormatError(f"a layer{place} must be an object with a class_name, got {brief(table)}")
        cls, config, module = table["class_name"], table.get("config"), table.get("module")
        if isinstance(config, list) and cls in SEQUENTIAL:  # Keras before 2.2.3
            config = {"layers": config}
        if not isinstance(config, dict):
            raise FormatError(f"{cls}{place}: config must be an object, got {brief(config)}")
        name = config.get("name", table.get("name", cls.lower()))
        if not isinstance(name, str) or not name:
            raise FormatError(f"{cls}{place}: name must be text, got {brief(name)}")
        layer = Layer(cls, name, config, table)
        registered = table.get("registered_name")
        own_module = module in (None, "keras") or (
            isinstance(module, str) and module.startswith((*MODULES, "keras.src.ops."))
        )
        if not own_module or registered not in (None, cls) or ">" in cls:
            raise UnsupportedError(
                f"{layer.where}: {brief(registered or f'{module}.{cls}')} is not one of Keras's own layers"
            )
        if module is not None and module.startswith("keras.src.ops.") and cls not in frame_layers.MERGES:
            raise UnsupportedError(f"{layer.where}: the operation {module}.{cls} is not supported")
        return layer

    def resolve(self, output: Output) -> Tensor:
        return output if isinstance(output, Tensor) else output()

    def gate(self, layer: Layer, x: Tensor) -> list[str]:
        """The gate of what must not see the frames that `x` has not: a value (1,), or nothing where it has them all."""
        if not x.late:
            return []
        if x.late not in self._gates:
            one = self.graph.add("constant", [], weights={"value": np.ones(1, np.float32)})
            window = self.graph.add("window", [one], name=f"{layer.name}_since", attrs={"taps": (-x.late,)})
            self._gates[x.late] = self.graph.add("reshape", [window], attrs={"shape": (1,)})
        return [self._gates[x.late]]

    def frame_width(self, layer: Layer, x: Tensor) -> int:
        """Width of a frame that must have one axis."""
        shape = self.graph.shape(x.value)
        if len(shape) != 1:
            raise UnsupportedError(
                f"{layer.where}: a frame of shape {shape} is not supported here; expected one axis of features"
            )
        return shape[0]

    def check_time_major(self, layer: Layer, time_major: bool) -> None:
        if time_major != self.time_major:
            raise UnsupportedError(
                f"{layer.where}: time_major = {time_major} beside layers with time_major = {self.time_major}"
            )

    # -- layers and models ------------------------------------------------------------------------------------------

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

    def exactly(self, layer: Layer, inputs: list[Tensor], n: int) -> list[Tensor]:
        if len(inputs) != n:
            raise FormatError(f"{layer.where}: takes {n} input{'s' * (n > 1)}, got {len(inputs)}")
        return inputs

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
        from .wiring import functional

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

    def check_input_layer(self, layer: Layer) -> None:
        """Refuse sparse, ragged and optional inputs, and whatever else an InputLayer may come to say."""
        numbers = {k: v for k, v in layer.config.items() if k != "dtype"}  # ids may be integers: make_input looks
        self.config(replace(layer, config=numbers)).finish()

    def make_input(self, name: str, shape: Any, dtype: Any, ids: list[bool]) -> Tensor:
        """Add an input of the model.

        Args:
            shape: Keras shape, batch first.
            dtype: as the file says it.
            ids: for each layer that takes it, whether it takes ids.
        """
        where = f"input {name!r}"
        if not isinstance(shape, (list, tuple)) or not 0 < len(shape) <= 8:
            raise FormatError(
                f"{where}: its shape must be a list of axes, got {brief(shape)}; build the model before saving it"
            )
        if any(ids) and not all(ids):
            raise UnsupportedError(f"{where}: taken both as ids by an Embedding and as numbers by another layer")
        takes_ids = any(ids)
        clip = self.shapes.pop(name, None)
        if all(type(n) is int and n > 0 for n in shape[1:]):
            self.fixed[name] = (1, *shape[1:])
        if clip is not None:
            known = list(zip(shape[1:], clip[1:], strict=False))
            if len(clip) != len(shape) or clip[0] != 1 or not all(n in (None, given) for n, given in known):
                raise ShapeError(f"{where}: shapes= says {clip}, but the model {brief(shape)}; expected a batch of 1")
            shape = clip
        time = clip is None and len(shape) >= (2 if takes_ids else 3)
        frame = tuple(shape[2:] if time else shape[1:])
        if not all(type(n) is int and 0 < n <= MAX_WIDTH for n in frame):
            raise UnsupportedError(
                f"{where}: shape {brief(shape)} leaves the size of a frame open; expected numbers after batch and time"
            )
        blocks.check_frame(where, prod(frame))
        if not takes_ids and dtype_name(dtype) not in (None, "float32"):
            raise UnsupportedError(
                f"{where}: dtype {brief(dtype_name(dtype))} is not supported; expected float32, or ids for an Embedding"
            )
        length = shape[1] if time and type(shape[1]) is int and not self.time_major else None
        rows = self.steps if time and self.steps is not None else 0
        blocks.check_frame(where, max(1, rows) * prod(frame))
        value = self.graph.input(name, (rows, *frame) if rows > 1 else frame, "int32" if takes_ids else "float32")
        if rows == 1:  # a single timestep has no axis of its own for who runs the model
            value = self.graph.add("reshape", [value], name=f"{name}_timestep", attrs={"shape": (1, *frame)})
        return Tensor(value, time, length, rows=rows)
