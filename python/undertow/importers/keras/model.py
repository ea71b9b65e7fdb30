# SPDX-License-Identifier: MIT
"""Sequential and Functional models: which layer sees what, and which axis is time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias

import numpy as np

from ...errors import FormatError, ShapeError, UnsupportedError
from ...graph import Graph
from .. import _blocks as blocks
from . import layers as frame_layers
from .config import MAX_WIDTH, Config, brief
from .grids import CONVOLUTIONS
from .recurrent import CELLS, bidirectional, recurrent
from .weights import LegacyWeights, Weights

#: limits for hostile files
MAX_LAYERS = 2000
MAX_CALLS = 10_000
MAX_DEPTH = 16

SEQUENTIAL = ("Sequential",)
FUNCTIONAL = ("Functional", "Model")
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
        state_shape: set for a model input that is the initial state of a cell and nothing else; it has no value.
    """

    value: str
    time: bool
    length: int | None = None
    state_shape: tuple[int, ...] | None = None
    padded: tuple[int, int] = (0, 0)
    late: int = 0

    def like(self, value: str) -> Tensor:
        """Another frame over the same axes."""
        return replace(self, value=value)


#: an output of a layer, or how to make it when somebody asks
Output: TypeAlias = Tensor | Callable[[], Tensor]


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
        return f"{self.cls} {self.name!r}"

    def renamed(self, name: str) -> Layer:
        return replace(self, name=name)

    def turned(self) -> Layer:
        """The same layer in the other direction."""
        return replace(self, config={**self.config, "go_backwards": not self.config.get("go_backwards", False)})


class Builder:
    """Fills a graph from a model's configuration and arrays.

    Args:
        graph: an empty graph.
        version: the Keras version that wrote the file; None when unknown.
        assume_unmasked: the caller promises that masks never hide a timestep.
        shapes: inputs that are one clip each, a frame without a time axis: name -> shape with batch 1 in front.
    """

    def __init__(
        self,
        graph: Graph,
        version: tuple[int, ...] | None,
        assume_unmasked: bool,
        shapes: dict[str, tuple[int, ...]] | None = None,
    ) -> None:
        self.graph = graph
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
        else:
            outputs = [frame_layers.convert(self, layer, inputs, weights)]
        if isinstance(weights, LegacyWeights) and weights.left_over and layer.cls not in frame_layers.NOTHING_TO_DO:
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

    def _time_distributed(self, layer: Layer, inputs: list[Tensor], weights: Weights) -> list[Output]:
        (x,) = self.exactly(layer, inputs, 1)
        config = self.config(layer)
        inner = self.layer(config.required("layer"), layer)
        config.finish()
        if not x.time and (inner.cls not in frame_layers.ROW_BY_ROW or len(self.graph.shape(x.value)) < 2):
            raise UnsupportedError(
                f"{layer.where}: its input has no time axis, and a {inner.cls} inside of one frame is not supported; "
                f"supported there: {', '.join(sorted(frame_layers.ROW_BY_ROW))}"
            )
        self._depth += 1
        self._check_depth(layer)
        # the inner layer sees (batch * time, *frame): a frame without a time axis
        outputs = self.call(inner, [replace(x, time=False)], [], weights.part("layer"))
        self._depth -= 1
        return [replace(self.resolve(o), time=x.time, length=x.length) for o in outputs]

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
        value = self.graph.input(name, frame, "int32" if takes_ids else "float32")
        length = shape[1] if time and type(shape[1]) is int and not self.time_major else None
        return Tensor(value, time, length)


# -- shared with the functional wiring ------------------------------------------------------------------------------


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
    if layer.cls in frame_layers.NOTHING_TO_DO or layer.cls == "InputLayer":
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
