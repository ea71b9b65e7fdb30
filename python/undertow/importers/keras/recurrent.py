# SPDX-License-Identifier: MIT
"""Recurrent layers of Keras: LSTM, GRU, SimpleRNN, RNN around cells, Bidirectional.

A layer with go_backwards reads its input from the end and gives its outputs in the order in which it computed them.
Here the cell runs in reverse, its outputs stand in the order of the input, and `flip` turns them around where Keras
wants that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np

from ...errors import FormatError, ShapeError, UnsupportedError
from ...ir.activations import SIGMOID, TANH
from ...ir.grids import gather
from ...layers.from_keras import cudnn_kernels
from .. import _blocks as blocks
from .activations import cell_activation
from .builder import Builder, NeedsClip, Output, Tensor
from .config import Config, brief
from .convolved import ConvolvedCell, convolved_cell
from .registers import carried, write
from .tables import Layer
from .traits import inside, why_refused
from .weights import Weights

#: limit for hostile files
MAX_CELLS = 100


@dataclass
class Cell:
    """One cell of a layer, read from its configuration."""

    op: str
    units: int
    attrs: dict[str, Any]
    weights: dict[str, np.ndarray]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of its states: h, and c of an LSTM."""
        return [(self.units,)] * (2 if self.op == "lstm" else 1)

    def add(
        self, b: Builder, layer: Layer, x: Tensor, name: str, reverse: bool, steps: bool, starts: list[str]
    ) -> tuple[str, ...]:
        """Its states at every timestep, in the order of the input.

        Args:
            steps: the sequence lies inside one frame.
            starts: what its states are at first, or nothing: zero.
        """
        attrs = {**self.attrs, "reverse": reverse, **({"steps": True} if steps or x.rows else {})}
        if x.rows and reverse:  # forwards in the sequence turned around, and so is each frame
            turned = x.like(turned_around(b, x, x.value, f"{name}_turned"))
            outputs = self.add(b, layer, turned, name, False, steps, starts)
            return tuple(turned_around(b, x, value, f"{value}_back") for value in outputs)
        if starts and not steps:
            return self._started(b, layer, x, name, attrs, starts)
        gate = b.gate(layer, x)
        return blocks.add_cell(
            b.graph,
            self.op,
            x.value,
            name=name,
            weights=self.weights,
            attrs=attrs,
            gate=gate,
            forgets=steps,
            starts=starts,
        )

    def _started(
        self, b: Builder, layer: Layer, x: Tensor, name: str, attrs: dict[str, Any], starts: list[str]
    ) -> tuple[str, ...]:
        """Over time, from a state that is computed: registers hold it, and the cell starts from them in each timestep.

        What runs backwards begins at the end: it runs forwards in the sequence turned around.
        """
        graph, reverse = b.graph, attrs["reverse"]
        if reverse:
            x = x.like(turned_around(b, x, x.value, f"{name}_turned"))
        name = graph.unique_name(name)
        states, before = carried(b, layer, x, name, self.shapes, starts)
        attrs = {**attrs, "reverse": False}
        added = graph.add(self.op, [x.value, *before], name=name, attrs=attrs, weights=self.weights)
        outputs = (added,) if isinstance(added, str) else tuple(added)
        after = [_last_step(b, f"{value}_row", False, value).value if x.rows else value for value in outputs]
        write(b, layer, x, states, after)
        return tuple(graph.add("flip", [value], name=f"{value}_back") for value in outputs) if reverse else outputs


def recurrent(
    b: Builder,
    layer: Layer,
    config: Config,
    x: Tensor,
    weights: Weights,
    initial: list[Tensor],
    *,
    flip: bool = True,
) -> list[Output]:
    """LSTM, GRU, SimpleRNN, RNN.

    Args:
        initial: the initial state, or none: model inputs that are that state and nothing else, or what layers compute.
        flip: give the outputs of a layer that goes backwards in its own order, as Keras does.

    Returns:
        The layer's output, then its final states when it has return_state.
    """
    steps = not x.time and not layer.row.rank and len(b.graph.shape(x.value)) == 2  # the sequence lies inside one frame
    if not x.time and not steps and not layer.row.rank:
        raise UnsupportedError(f"{layer.where}: its input has no time axis (batch, time, features)")
    b.check_time_major(layer, config.flag("time_major"))
    if config.flag("stateful") and (layer.shared or steps):
        what = "a sequence inside a frame" if steps else "a layer that is called several times"
        raise UnsupportedError(f"{layer.where}: stateful = True of {what} is not supported")
    sequences, states_too, reverse = (config.flag(k) for k in ("return_sequences", "return_state", "go_backwards"))
    cells: Sequence[Cell | ConvolvedCell]
    if layer.row.rank:
        cells = [convolved_cell(b, layer, config, x, weights.part("cell"))]
    elif layer.row.inner:
        inner = b.layer(config.required(layer.row.inner), layer)
        config.finish()
        cells = _cells_of_rnn(b, inner, _width(b, layer, x), weights.part("cell"))
    else:
        cells = [_cell(layer, config, _width(b, layer, x), weights.part("cell"))]
    if x.late and reverse:
        raise UnsupportedError(
            f"{layer.where}: runs backwards over time of which the first {x.late} frames are missing, for a "
            "convolution before it has no padding; expected padding = 'causal' or 'same' there, or the clip's size: "
            "shapes="
        )
    starts = _starts(b, layer, cells, initial, steps)

    h: str = x.value
    finals: list[str] = []
    for i, (cell, start) in enumerate(zip(cells, starts, strict=True)):
        name = layer.name if len(cells) == 1 else f"{layer.name}_cell{i}"
        outputs = cell.add(b, layer, x.like(h), name, reverse, steps, start)
        h = outputs[0]
        finals += outputs
    if states_too and len(cells) > 1:
        raise UnsupportedError(f"{layer.where}: return_state = True with several cells is not supported")

    last = partial(_last_step if steps else _last, b, f"{layer.name}_last", reverse)
    if x.rows:
        last = partial(_last_of_rows, b, f"{layer.name}_last", reverse)
    first: Output
    if not sequences:
        first = last(h)
    elif reverse and flip:
        first = _flip(b, layer, x.like(h))
    else:
        first = x.like(h)
    # states that nobody asks for cost nothing: they are made on demand
    return [first, *(partial(last, state) for state in finals)] if states_too else [first]


def bidirectional(
    b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights, initial: list[Tensor]
) -> list[Output]:
    """Two recurrent layers, the second one backwards and its outputs flipped back to the order of the input."""
    forward = b.layer(config.required("layer"), layer)
    mode = config.expect("merge_mode", "concat", "sum", "mul", "ave", None)
    given = config.get("backward_layer")
    backward = b.layer(given, layer) if given is not None else forward.turned()
    b.check_time_major(layer, config.flag("time_major", b.time_major))
    config.finish()
    flags = [
        {k: bool(half.config.get(k, False)) for k in ("return_sequences", "return_state")}
        for half in (forward, backward)
    ]
    directions = [bool(half.config.get("go_backwards", False)) for half in (forward, backward)]
    if flags[0] != flags[1] or directions[0] == directions[1]:
        raise UnsupportedError(
            f"{layer.where}: its two layers must differ in go_backwards and agree in everything they return"
        )

    half = len(initial) // 2
    outputs: list[list[Output]] = []
    for part, key, state in ((forward, "forward_layer", initial[:half]), (backward, "backward_layer", initial[half:])):
        if part.cls not in inside(layer.cls):
            raise UnsupportedError(
                f"{layer.where}: a layer of class {brief(part.cls)} in it is not supported"
                f"{why_refused(part.cls, layer.cls)}"
            )
        named = part.renamed(f"{layer.name}_{key.split('_')[0]}")
        outputs.append(recurrent(b, named, b.config(part), x, weights.part(key), state, flip=False))
    ahead, back = (b.resolve(o[0]) for o in outputs)
    if directions[0] and flags[0]["return_sequences"]:
        # the wrapper flips its second output only: with the backward layer first, both come out turned around
        ahead, back = (_flip(b, layer, t) for t in (ahead, back))
    merged: list[Output]
    if mode is None:
        merged = [ahead, back]
    elif mode == "concat":
        merged = [ahead.like(_side_by_side(b, layer, ahead.value, back.value))]
    else:
        if b.graph.shape(ahead.value) != b.graph.shape(back.value):
            raise ShapeError(
                f"{layer.where}: merge_mode {mode!r} of {b.graph.shape(ahead.value)} and {b.graph.shape(back.value)}"
            )
        y = b.graph.add("mul" if mode == "mul" else "add", [ahead.value, back.value], name=layer.name)
        if mode == "ave":
            y = blocks.scale_shift(b.graph, y, f"{layer.name}_ave", 0.5, 0.0)
        merged = [ahead.like(y)]
    return [*merged, *outputs[0][1:], *outputs[1][1:]]


def _last(b: Builder, name: str, reverse: bool, value: str) -> Tensor:
    return Tensor(b.graph.add("last", [value], name=name, attrs={"reverse": reverse}), time=False)


def _last_of_rows(b: Builder, name: str, reverse: bool, value: str) -> Tensor:
    return _last(b, name, reverse, _last_step(b, f"{name}_step", reverse, value).value)


def _last_step(b: Builder, name: str, reverse: bool, value: str) -> Tensor:
    """What a cell inside one frame computes last."""
    steps, width = b.graph.shape(value)
    row = 0 if reverse else steps - 1
    return Tensor(gather(b.graph, value, np.arange(row * width, (row + 1) * width), name), time=False)


def _flip(b: Builder, layer: Layer, x: Tensor) -> Tensor:
    return x.like(turned_around(b, x, x.value, f"{layer.name}_flip"))


def turned_around(b: Builder, x: Tensor, value: str, name: str) -> str:
    """A value over the timesteps of x, the last one first: those inside of a frame, and the frames."""
    if x.rows or not x.time:
        value = gather(b.graph, value, blocks.positions(b.graph.shape(value))[::-1], f"{name}_rows" if x.time else name)
    return b.graph.add("flip", [value], name=name) if x.time else value


def _side_by_side(b: Builder, layer: Layer, first: str, second: str) -> str:
    """Two frames joined on their last axis."""
    shapes = [b.graph.shape(v) for v in (first, second)]
    joined: str = b.graph.add("concat", [first, second], name=layer.name)
    if len(shapes[0]) == 1:
        return joined
    order = [blocks.positions(shapes[0]), prod(shapes[0]) + blocks.positions(shapes[1])]
    return gather(b.graph, joined, np.concatenate(order, axis=-1), f"{layer.name}_order")


def _width(b: Builder, layer: Layer, x: Tensor) -> int:
    if x.rows and len(b.graph.shape(x.value)) != 2:
        raise UnsupportedError(
            f"{layer.where}: timesteps of shape {b.graph.shape(x.value)[1:]} are not supported here; expected one axis"
        )
    return b.frame_width(layer, x) if x.time and not x.rows else b.graph.shape(x.value)[-1]


def _cells_of_rnn(b: Builder, cell: Layer, n_in: int, weights: Weights) -> list[Cell]:
    if cell.cls != "StackedRNNCells":
        return [_inner_cell(b, cell, "RNN", n_in, weights)]
    stack = b.config(cell)
    tables = stack.required(cell.row.inner)
    stack.finish()
    if not isinstance(tables, list) or not 0 < len(tables) <= MAX_CELLS:
        raise FormatError(f"{cell.where}: cells must be a list of 1 to {MAX_CELLS} cells, got {brief(tables)}")
    layers = [b.layer(c, cell) for c in tables]
    cells = []
    for inner, part in zip(layers, weights.members("cells", [(c.cls, c.name) for c in layers]), strict=True):
        cells.append(_inner_cell(b, inner, cell.cls, n_in, part))
        n_in = cells[-1].units
    return cells


def _inner_cell(b: Builder, layer: Layer, wrapper: str, n_in: int, weights: Weights) -> Cell:
    if layer.cls not in inside(wrapper):
        raise UnsupportedError(f"{layer.where}: a cell of this class is not supported{why_refused(layer.cls, wrapper)}")
    return _cell(layer, b.config(layer), n_in, weights)


def _cell(layer: Layer, config: Config, n_in: int, weights: Weights) -> Cell:
    """Read a cell's settings, then its arrays; the caller has read the keys of the layer around it."""
    op, units = layer.row.of, config.count("units")
    n_gates = {"rnn": 1, "gru": 3, "lstm": 4}[op]
    if layer.row.cudnn:
        return _cudnn_cell(layer, config, units, n_in, n_gates, weights)
    act = cell_activation(config, "activation")
    gate = None if op == "rnn" else cell_activation(config, "recurrent_activation")
    use_bias = config.flag("use_bias", True)
    reset_after = op == "gru" and config.flag("reset_after")  # files from before the key existed mean False
    config.finish()

    width = n_gates * units
    arrays = weights.take(
        config.where,
        layer.row.spec(
            kernel=(n_in, width),
            recurrent_kernel=(units, width),
            bias=((2, width) if reset_after else (width,)) if use_bias else None,
        ),
    )
    activations = {"rnn": (act,), "gru": (gate, act), "lstm": (gate, act, act)}[op]
    attrs: dict[str, Any] = {"activations": activations, **({"reset_after": reset_after} if op == "gru" else {})}
    bias = arrays[2] if use_bias else None
    return Cell(op, units, attrs, blocks.gated_weights(op, arrays[0], arrays[1], bias, reset_after))


def _cudnn_cell(layer: Layer, config: Config, units: int, n_in: int, n_gates: int, weights: Weights) -> Cell:
    config.finish()
    op, width = layer.row.of, n_gates * units
    spec = layer.row.spec(kernel=(n_in, width), recurrent_kernel=(units, width), bias=(2 * width,))
    kernel, recurrent_kernel, bias = weights.take(config.where, spec)
    kernel, recurrent_kernel = cudnn_kernels(kernel, recurrent_kernel, n_gates)
    pair = bias.astype(np.float64).reshape(2, width)
    attrs: dict[str, Any] = {"activations": (SIGMOID, TANH) if op == "gru" else (SIGMOID, TANH, TANH)}
    if op == "gru":
        attrs["reset_after"] = True
        return Cell(op, units, attrs, blocks.gated_weights(op, kernel, recurrent_kernel, pair, True))
    with np.errstate(over="ignore"):
        summed = pair.sum(axis=0).astype(np.float32)
    return Cell(op, units, attrs, blocks.gated_weights(op, kernel, recurrent_kernel, summed))


def _starts(
    b: Builder, layer: Layer, cells: Sequence[Cell | ConvolvedCell], initial: list[Tensor], steps: bool
) -> list[list[str]]:
    """What each cell starts from where layers compute it; nothing where that is zero, or the state that a caller gives.

    Raises:
        ShapeError: a state of another width.
        NeedsClip: in a stream, what another sequence gives at its end.
    """
    wanted = [shape for cell in cells for shape in cell.shapes]
    shapes = [b.graph.shape(t.value) if t.state_shape is None else t.state_shape for t in initial]
    if initial and (any(t.time for t in initial) or shapes != wanted):
        times = " with an axis of time" if any(t.time for t in initial) else ""
        raise ShapeError(f"{layer.where}: initial_state has shapes {shapes}{times}, expected {wanted}")
    computed = [t for t in initial if t.state_shape is None]
    if not computed:
        return [[] for _ in cells]
    if len(computed) < len(initial):
        raise UnsupportedError(
            f"{layer.where}: initial_state is in part an input of the model, in part what layers compute; not supported"
        )
    if not steps and not all(t.static for t in computed):
        raise NeedsClip(
            f"{layer.where}: its initial_state is known when another sequence has ended, and its own begins then, "
            "which no stream of both can do; give the clip's size: shapes="
        )
    values = iter(t.value for t in initial)
    return [[next(values) for _ in cell.shapes] for cell in cells]
