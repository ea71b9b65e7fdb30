# SPDX-License-Identifier: MIT
"""Cells that convolve: an LSTM whose products are convolutions over the axes of a frame (ConvLSTM1D and 2D)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import ShapeError, UnsupportedError
from ...ir.activations import Activation
from ...ir.grids import Axis, convolve, gather
from .. import _blocks as blocks
from .activations import cell_activation
from .builder import Builder, Tensor
from .config import Config
from .registers import carried, write
from .sizes import sizes
from .tables import Layer
from .weights import Weights


@dataclass
class ConvolvedCell:
    """One such cell; `frame` is the shape of its outputs and states."""

    axes: list[Axis]
    inner: list[Axis]
    frame: tuple[int, ...]
    activations: tuple[Activation, Activation]
    kernel: np.ndarray
    recurrent: np.ndarray
    bias: np.ndarray | None

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of its states, h and c."""
        return [self.frame, self.frame]

    def add(
        self, b: Builder, layer: Layer, x: Tensor, name: str, reverse: bool, steps: bool, starts: list[str]
    ) -> tuple[str, ...]:
        """Its states at every timestep, in the order of the input. What runs backwards runs forwards in the sequence
        turned around."""
        graph = b.graph
        gates = convolve(graph, x.value, self.kernel, self.bias, self.axes, name=f"{name}_input")
        if reverse:
            gates = graph.add("flip", [gates], name=f"{name}_turned")
        name = graph.unique_name(name)
        states, (h, c) = carried(b, layer, x, name, self.shapes, starts)
        fed_back = convolve(graph, h, self.recurrent, None, self.inner, name=f"{name}_recurrent")
        total = graph.add("add", [gates, fed_back], name=f"{name}_gates")
        places = np.split(blocks.positions((*self.frame[:-1], 4 * self.frame[-1])), 4, axis=-1)
        i, f, g, o = (
            graph.add(
                "activation",
                [gather(graph, total, place, f"{name}_{gate}_input")],
                name=f"{name}_{gate}",
                attrs={"activation": self.activations[gate == "g"]},
            )
            for gate, place in zip("ifgo", places, strict=True)
        )
        kept = graph.add("mul", [f, c], name=f"{name}_kept")
        c = graph.add("add", [kept, graph.add("mul", [i, g], name=f"{name}_new")], name=f"{name}_c")
        shown = graph.add("activation", [c], name=f"{name}_shown", attrs={"activation": self.activations[1]})
        h = graph.add("mul", [o, shown], name=f"{name}_h")
        write(b, layer, x, states, [h, c])
        return tuple(graph.add("flip", [v], name=f"{v}_back") for v in (h, c)) if reverse else (h, c)


def convolved_cell(b: Builder, layer: Layer, config: Config, x: Tensor, weights: Weights) -> ConvolvedCell:
    """Read a cell's settings, then its arrays; the caller has read the keys of the layer around it."""
    rank, shape = layer.row.rank, b.graph.shape(x.value)
    if x.rows or not x.time:
        raise UnsupportedError(
            f"{layer.where}: a sequence inside of a frame is not supported; expected a model that streams, in which "
            "axis 1 is time"
        )
    if len(shape) != rank + 1:
        raise UnsupportedError(
            f"{layer.where}: frames of shape {shape} are not supported here; expected {rank} ax{'ei'[rank == 1]}s and "
            "channels"
        )
    filters = config.count("filters")
    kernel = sizes(config, "kernel_size", rank)
    strides, dilations = sizes(config, "strides", rank, 1), sizes(config, "dilation_rate", rank, 1)
    padding = config.expect("padding", "valid", "same")
    gate, act = cell_activation(config, "recurrent_activation"), cell_activation(config, "activation")
    use_bias = config.flag("use_bias", True)
    config.finish()
    axes = [Axis(k, s, d) for k, s, d in zip(kernel, strides, dilations, strict=True)]
    if padding == "same":
        axes = [axis.same(n) for axis, n in zip(axes, shape, strict=False)]
    grid = tuple(axis.n_out(n) for axis, n in zip(axes, shape, strict=False))
    if min(grid) < 1:
        raise ShapeError(f"{layer.where}: a window of {kernel} does not fit frames of shape {shape}")
    blocks.check_frame(layer.where, int(np.prod(grid)) * filters * 4)
    spec = layer.row.spec(
        kernel=(*kernel, shape[-1], 4 * filters),
        recurrent_kernel=(*kernel, filters, 4 * filters),
        bias=(4 * filters,) if use_bias else None,
    )
    arrays = weights.take(config.where, spec)
    inner = [Axis(k).same(n) for k, n in zip(kernel, grid, strict=True)]
    return ConvolvedCell(
        axes, inner, (*grid, filters), (gate, act), arrays[0], arrays[1], arrays[2] if use_bias else None
    )
