# SPDX-License-Identifier: MIT
"""What converters of layers work with: Keras's tensors, and the graph under construction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias

import numpy as np

from ..._text import shown
from ...errors import FormatError, ShapeError, UnsupportedError
from ...ir.activations import IDENTITY, Activation
from ...ir.graph import Graph
from .. import _blocks as blocks
from .activations import COMPOSED
from .config import MAX_WIDTH, Config, brief, dtype_name
from .tables import Layer
from .traits import ALIASES, traits
from .weights import Weights


class NeedsClip(UnsupportedError):
    """A layer that looks at other timesteps than its own, as it may where all of them are in one frame."""

    @classmethod
    def of(cls, what: str) -> NeedsClip:
        return cls(f"{what}: it looks at the whole sequence, which a stream has not; give the clip's size: shapes=")


#: models in models, at most
MAX_DEPTH = 16
#: where Keras's own classes live; anything else is somebody's own class, whatever its name
MODULES = (
    *("keras.layers", "keras.models", "keras.src.layers", "keras.src.models", "keras.src.engine", "keras.engine"),
    *("tf_keras.layers", "tf_keras.src.layers", "tf_keras.src.models", "tf_keras.src.engine"),
)


@dataclass(frozen=True)
class Tensor:
    """A Keras tensor: a frame of the graph, with a time axis before it or without one.

    Attributes:
        value: name of the graph value.
        time: the tensor is (batch, time, *frame); otherwise (batch, *frame).
        length: the fixed number of timesteps, where the model has one and does not stride along time.
        padded: frames of zeros before and behind it that a ZeroPadding has added in time, and no layer has used.
        late: the first so many frames are none of it: a convolution without padding gives fewer frames than it takes,
            and frame t is here the one that ends with timestep t.
        rows: in a model that strides along time, how many timesteps of it are in a frame of the graph: its first axis.
        outer: inside of a TimeDistributed, how many axes before a frame are none of the layer's own.
        static: the same at every timestep of a sequence, though it has no time axis: it depends on such inputs alone.
        number: what an operation is called with in place of a tensor; it has no value.
        state_shape: set for a model input that is the initial state of a cell and nothing else; it has no value.
    """

    value: str
    time: bool
    length: int | None = None
    state_shape: tuple[int, ...] | None = None
    padded: tuple[int, int] = (0, 0)
    late: int = 0
    rows: int = 0
    outer: int = 0
    static: bool = False
    number: float | None = None

    def like(self, value: str) -> Tensor:
        """Another frame over the same axes."""
        return replace(self, value=value)


#: input -> shape with batch 1 in front; None where an axis is open
Shapes: TypeAlias = dict[str, tuple[int | None, ...]]
#: an output of a layer, or how to make it when somebody asks
Output: TypeAlias = Tensor | Callable[[], Tensor]


class Builder(ABC):
    """What converters of layers are given: the graph, and the model's configuration and arrays.

    Args:
        graph: an empty graph.
        version: the Keras version that wrote the file; None when unknown.
        assume_unmasked: the caller promises that masks never hide a timestep.
        shapes: inputs that are one clip each, a frame without a time axis: name -> shape with batch 1 in front; with
            None for axis 1 those that have time there, of any length.
        steps: timesteps of the inputs in a frame of the graph, for a model that strides along time; None: the frame is
            the timestep.
    """

    def __init__(
        self,
        graph: Graph,
        version: tuple[int, ...] | None,
        assume_unmasked: bool,
        shapes: Shapes | None = None,
        steps: int | None = None,
    ) -> None:
        self.graph = graph
        self.steps = steps
        self.shapes = dict(shapes or {})
        self.is_clip = any(None not in shape for shape in self.shapes.values())
        self.version = version
        self.assume_unmasked = assume_unmasked
        self.time_major = False
        self.notes: list[str] = []
        #: input -> shape with batch 1, of those whose sizes the model fixes: what could be read as one clip
        self.fixed: dict[str, tuple[int, ...]] = {}
        #: input with time -> its shape with batch 1, None for an open number of timesteps: as a clip's would be given
        self.streamed: dict[str, tuple[int | None, ...]] = {}
        self._gates: dict[int, str] = {}
        self._depth = 0

    # -- for layers -----------------------------------------------------------------------------------------------

    def config(self, layer: Layer) -> Config:
        """Its configuration, of which keys that must say something have been looked at."""
        return Config(layer.where, layer.config, layer.row, self.version)

    def layer(self, table: Any, inside: Layer | None = None, any_operation: bool = False) -> Layer:
        """Parse the description of a layer; classes that are not Keras's own are refused, and operations that are
        none of layers too, unless the caller looks at them later: one that only masks read may be any."""
        place = f" in {inside.where}" if inside else ""
        if not isinstance(table, dict) or not isinstance(table.get("class_name"), str):
            raise FormatError(f"a layer{place} must be an object with a class_name, got {brief(table)}")
        called, config, module = str(table["class_name"]), table.get("config"), table.get("module")
        cls = ALIASES.get(called, called)
        if isinstance(config, list) and traits(cls).of == "sequential":  # Keras before 2.2.3
            config = {"layers": config}
        if not isinstance(config, dict):
            raise FormatError(f"{cls}{place}: config must be an object, got {brief(config)}")
        name = config.get("name", table.get("name", cls.lower()))
        if not isinstance(name, str) or not name:
            raise FormatError(f"{cls}{place}: name must be text, got {brief(name)}")
        layer = Layer(cls, name, config, table, in_shared=inside is not None and inside.shared)
        registered = table.get("registered_name")
        own_module = module in (None, "keras") or (
            isinstance(module, str) and module.startswith((*MODULES, "keras.src.ops."))
        )
        if not own_module or registered not in (None, cls) or ">" in cls:
            raise UnsupportedError(
                f"{layer.where}: {brief(registered or f'{module}.{cls}')} is not one of Keras's own layers"
            )
        if not any_operation:
            self.check_operation(layer)
        return layer

    def check_operation(self, layer: Layer) -> None:
        """Refuse an operation of keras.ops that is not computed."""
        if layer.is_operation and not layer.row.as_op:
            module = layer.table.get("module")
            raise UnsupportedError(f"{layer.where}: the operation {module}.{shown(layer.cls)} is not supported")

    def promised(self, what: str) -> None:
        """Refuse what hides timesteps, unless the caller has promised that it hides none."""
        if not self.assume_unmasked:
            raise UnsupportedError(
                f"{what} is not supported: in a stream every frame counts; "
                "pass assume_unmasked=True if your input never holds padding, then it changes nothing"
            )

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

    def exactly(self, layer: Layer, inputs: list[Tensor], n: int) -> list[Tensor]:
        if len(inputs) != n:
            raise FormatError(f"{layer.where}: takes {n} input{'s' * (n > 1)}, got {len(inputs)}")
        return inputs

    def check_input_layer(self, layer: Layer) -> None:
        """Refuse sparse, ragged and optional inputs, and whatever else an InputLayer may come to say."""
        self.config(layer).finish()

    def make_input(self, name: str, shape: Any, dtype: Any, ids: list[bool], single: bool = False) -> Tensor:
        """Add an input of the model.

        Args:
            shape: Keras shape, batch first.
            dtype: as the file says it.
            ids: for each layer that takes it, whether it takes ids.
            single: axis 1 is none of time.
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
            is_open = len(clip) == len(shape) > (1 if takes_ids else 2) and clip[1] is None and None not in clip[2:]
            fits = all(n in (None, given) for n, given in known[is_open:])
            if len(clip) != len(shape) or clip[0] != 1 or not fits or (None in clip and not is_open):
                raise ShapeError(
                    f"{where}: shapes= says {clip}, but the model {brief(shape)}; expected a batch of 1, and None for "
                    "a time axis alone"
                )
            shape = clip
            clip = None if is_open else clip
        time = clip is None and not single and len(shape) >= (2 if takes_ids else 3)
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
        if time:
            self.streamed[name] = (1, shape[1] if type(shape[1]) is int else None, *frame)
        rows = self.steps if time and self.steps is not None else 0
        length = shape[1] if time and type(shape[1]) is int and not self.time_major and not rows else None
        blocks.check_frame(where, max(1, rows) * prod(frame))
        value = self.graph.input(name, (rows, *frame) if rows > 1 else frame, "int32" if takes_ids else "float32")
        if rows == 1:  # a single timestep has no axis of its own for who runs the model
            value = self.graph.add("reshape", [value], name=f"{name}_timestep", attrs={"shape": (1, *frame)})
        return Tensor(value, time, length, rows=rows)

    @contextmanager
    def nested(self, layer: Layer) -> Iterator[None]:
        """While layers of a layer are added.

        Raises:
            FormatError: layers in layers in layers.
        """
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FormatError(f"{layer.where}: models are nested more than {MAX_DEPTH} deep")
        yield
        self._depth -= 1

    # -- given by the driver, which knows every layer ------------------------------------------------------------------

    @abstractmethod
    def call(self, layer: Layer, inputs: list[Tensor], initial: list[Tensor], weights: Weights) -> list[Output]:
        """Add one call of a layer to the graph."""


def activate(b: Builder, layer: Layer, x: Tensor, act: Activation | str | None) -> Tensor:
    """Apply an activation; of those that are text, a softmax over the last axis of a frame, or one of several ops."""
    if isinstance(act, str) and act in COMPOSED:
        functions, joint = COMPOSED[act]
        name = f"{layer.name}_{act}"
        y = x.value
        for i, function in enumerate(functions):
            alone = not joint and i == len(functions) - 1
            part = name if alone else f"{name}_{i}"
            y = b.graph.add("activation", [y], name=part, attrs={"activation": function})
        return x.like(b.graph.add(joint, [x.value, y], name=name) if joint else y)
    if isinstance(act, str):
        if not b.graph.shape(x.value):
            raise UnsupportedError(f"{layer.where}: {act} over time is not supported")
        return x.like(b.graph.add(act, [x.value], name=f"{layer.name}_{act}"))
    if act in (None, IDENTITY):
        return x
    return x.like(b.graph.add("activation", [x.value], name=layer.name, attrs={"activation": act}))
