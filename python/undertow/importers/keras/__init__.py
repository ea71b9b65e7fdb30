# SPDX-License-Identifier: MIT
"""Keras models: `.keras` archives and legacy `.h5` files. Neither Keras nor h5py is needed.

Sequential and Functional models of LSTM, GRU, SimpleRNN, RNN over their cells, Bidirectional, TimeDistributed, Dense,
Embedding, convolution and pooling, activations, normalisation and merging layers. What the file asks for and undertow
does not compute is refused by name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ..._text import quoted, shown
from ...errors import Error, FormatError, ShapeError, UnsupportedError
from ...ir.graph import Graph
from ...weights.in_memory import as_path
from .. import state_dict
from .._memory import cells_in_frames, goes_through_rows, remembers, warn
from . import strides, wiring
from .builder import NeedsClip, Shapes, Tensor
from .config import brief
from .driver import KerasModel
from .files import KerasFile, WeightsOnlyError, parse_version, read
from .strides import NeedsSteps
from .tables import Layer, uses_time_major

__all__ = ["load"]

#: timesteps of a clip that stand for a number of the user's while it is tried: even, for strides
_SIZES = (16, 64)
#: the end of a message that asks for them
_ASKS = re.compile(r"shapes=(?=\)?$)")


def load(
    path: str | os.PathLike[str],
    *,
    keras_version: str | None = None,
    assume_unmasked: bool = False,
    shapes: Mapping[str, Iterable[int | None]] | None = None,
) -> Graph:
    """Read a Keras model.

    A layer's `stateful` makes no difference: a stream always carries its state on. Inputs that a model uses only as the
    initial state of a cell become that state. Inputs without an axis of time, beside others that have one, are given
    with every frame, and stay the same over a sequence.

    Args:
        path: a `.keras` archive or an `.h5` file of a whole model.
        keras_version: the version that wrote the file, such as "2" or "3.4", for files that do not say it; it decides
            what `hard_sigmoid` means.
        assume_unmasked: promise that masks (`Masking`, `mask_zero`, `mask=` of a call) never hide a timestep of your
            input.
        shapes: input name -> shape, batch 1 in front: such an input is a whole clip, and one frame. For models that mix
            time (strided convolutions, pools, Flatten over time) and cannot be streamed. Where the model fixes all
            sizes itself and works no other way, that happens without. With None for axis 1 the input is streamed along
            it, though the model fixes how many timesteps there are: `{"x": (1, None, 40)}`.

    Returns:
        A graph whose inputs and outputs are named as in the model.

    Warns:
        ModelWarning: a cell goes through the rows of each frame, and nothing else remembers anything.

    Raises:
        FormatError: the file is damaged or not a Keras model.
        UnsupportedError: a layer or setting that undertow does not compute exactly; the message names it.
        ShapeError: arrays that do not fit the model's configuration.
    """
    path = as_path(path)
    stated = parse_version(keras_version if keras_version is None or "." in keras_version else f"{keras_version}.0")
    if keras_version is not None and stated is None:
        raise ValueError(f"keras_version must look like '2' or '3.4', got {keras_version!r}")
    try:
        sizes = {name: tuple(None if n is None else int(n) for n in s) for name, s in (shapes or {}).items()}
        return _graph(path, stated, assume_unmasked, sizes)
    except WeightsOnlyError:
        return state_dict.load(path, False)  # wires what is unambiguous, or says what to write
    except Error as error:
        public = next(kind for kind in type(error).__mro__ if kind.__module__ == Error.__module__)
        raise public(f"{path}: {error}") from error.__cause__


def _read(builder: KerasModel, file: KerasFile) -> tuple[Layer, list[tuple[str, Tensor]]]:
    try:
        model = builder.layer(file.config)
        builder.time_major = uses_time_major(file.config)
        outputs = wiring.read(builder, model, builder.config(model), file.weights)
    except RecursionError:
        raise FormatError("the configuration is nested too deeply") from None
    for name, tensor in outputs:
        if tensor.state_shape is not None:
            raise UnsupportedError(f"output {brief(name)} is an initial state")
        if tensor.padded != (0, 0):
            raise UnsupportedError(f"output {brief(name)} ends in padding along time {tensor.padded}")
    return model, outputs


def _built(
    path: Path, stated: tuple[int, ...] | None, assume_unmasked: bool, shapes: Shapes
) -> tuple[KerasModel, Layer, list[tuple[str, Tensor]]]:
    """The model frame by frame; else, where it fixes its sizes, as one clip; else with several timesteps in a frame."""

    def build(sizes: Shapes, steps: int | None) -> tuple[KerasModel, Layer, list[tuple[str, Tensor]]]:
        file = read(path)
        builder = KerasModel(Graph(path.stem), file.version or stated, assume_unmasked, sizes, steps)
        try:
            return builder, *_read(builder, file)
        except UnsupportedError as error:
            _check_names(builder)
            streamed.update(builder.streamed)
            whole = not sizes and builder.fixed and set(builder.fixed) == set(builder.graph.inputs)
            if whole and steps is None:
                try:
                    clip = build({**builder.fixed}, None)
                except Error as of_clip:
                    raise of_clip if isinstance(error, NeedsClip) else UnsupportedError(str(error)) from None
                clip[0].notes.append(f"the whole clip is one frame, for {str(error).partition(';')[0]}")
                return clip
            if not isinstance(error, NeedsSteps) or error.steps <= (steps or 0):
                raise
            return build(sizes, error.steps)

    streamed: dict[str, tuple[int | None, ...]] = {}
    try:
        return build(shapes, None)
    except UnsupportedError as error:
        if not shapes and (asked := _ASKS.search(str(error))):
            line = _clip(streamed, lambda sizes: build(sizes, None))
            error.args = (f"{str(error)[: asked.end()]}{line}{str(error)[asked.end() :]}",)
        raise


def _clip(streamed: Mapping[str, tuple[int | None, ...]], build: Callable[[Shapes], object]) -> str:
    """The sizes of a clip as a user writes them, where the model can be built with such; "" else."""
    for size in _SIZES:
        with suppress(Error):
            build({name: tuple(size if n is None else n for n in shape) for name, shape in streamed.items()})
            clip = {name: ", ".join("T" if n is None else str(n) for n in s) for name, s in streamed.items()}
            sizes = ", ".join(f"{quoted(name)}: [{shape}]" for name, shape in clip.items())
            is_open = any(None in shape for shape in streamed.values())
            return f"{{{sizes}}}{', with your number for T' if is_open else ''}" if clip else ""
    return ""


def _check_names(builder: KerasModel) -> None:
    """Refuse names of `shapes=` that no input of the model has taken up."""
    if builder.shapes and builder.graph.inputs:
        raise ShapeError(
            f"shapes= names {brief(next(iter(builder.shapes)))}, but the inputs are {builder.graph.inputs}"
        )


def _graph(path: Path, stated: tuple[int, ...] | None, assume_unmasked: bool, shapes: Shapes) -> Graph:
    builder, model, outputs = _built(path, stated, assume_unmasked, dict(shapes))
    graph = builder.graph
    _check_names(builder)
    graph.origin.leave()
    graph.origin.contents = graph.origin.taken.copy()
    graph.name = model.name
    rates: set[int] = set()
    for name, tensor in outputs:
        unique, n = name, 2
        while unique in graph.outputs:
            unique, n = f"{name}_{n}", n + 1
        value, rate = strides.output(builder, tensor)
        rates.add(rate)
        graph.output(unique, value)
        if tensor.time and tensor.late:
            what = "frames" if builder.steps is None else "timesteps"
            builder.notes.append(
                f"output {quoted(unique)}: the model gives none for the first {tensor.late * rate} {what}"
            )
    version = ".".join(map(str, builder.version)) if builder.version else "of unknown version"
    strides.say(builder, rates)
    graph.note("; ".join([f"Keras {version}", *builder.notes]))
    if not (shapes or remembers(graph)) and (cells := cells_in_frames(graph)):
        said = goes_through_rows(f"{cells[0].op} {quoted(cells[0].name)}")
        clip: Shapes = {name: (1, *graph.shape(name)) for name in graph.inputs}
        walked = [name for name in graph.inputs if len(graph.shape(name)) > (graph.values[name].dtype == "float32")]
        along: Shapes = {name: (1, None, *graph.shape(name)[1:]) for name in walked}
        streams = "let axis 1 of the model's input be open (None)"
        with suppress(Error):
            _built(path, stated, assume_unmasked, dict(along))
            streams = f"say so with shapes={_line(along)}"
        text = f"{said}. If these are timesteps to be streamed, {streams}"
        with suppress(Error):
            _built(path, stated, assume_unmasked, dict(clip))
            text += f"; if a frame is a whole clip, say so with shapes={_line(clip)}"
        warn(graph, text)
    return graph


def _line(shapes: Shapes) -> str:
    """As a user writes it."""
    return shown({name: list(shape) for name, shape in shapes.items()})
