# SPDX-License-Identifier: MIT
"""Gated layers beside those of ops: layer norms and bounds in an LSTM, and cells over pictures.

Letters: I inputs, H hidden units; of pictures C channels, H hidden channels, K rows and L columns of a window.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..errors import ShapeError
from .frames import FrameConv2D
from .recurrence import Get, Making, Recurrence, Term, layer_norm, sigmoid, tanh
from .recurrent import LSTM


def bounded_lstm(layer: LSTM, making: Making, x: Term) -> Term:
    """An LSTM of small ops, whose cell and projection are bounded."""
    w, H, P = layer.weights, layer.hidden, layer.fed_back
    h, c = making.state("h", (P,), layer.initial["h"]), making.state("c", (H,), layer.initial["c"])
    gate, candidate, output = layer.attrs["activations"]
    fed = making.dense(x, w["W"].reshape(4 * H, -1), None if w.get("b") is None else w["b"].ravel())
    back = making.dense(h, w["R"].reshape(4 * H, -1))
    i, f, g, o = (fed[k * H : (k + 1) * H] + back[k * H : (k + 1) * H] for k in range(4))
    peephole = w.get("peephole")
    if peephole is not None:
        i, f = i + c * peephole[0], f + c * peephole[1]

    def bounded(value: Term, most: float | None) -> Term:
        return value if most is None else value.clip(most)

    clip = layer.attrs["clip"]
    i = bounded(i, clip).apply(gate)
    f = 1.0 - i if layer.attrs["input_forget"] else bounded(f, clip).apply(gate)
    c = making.write("c", bounded(f * c + i * bounded(g, clip).apply(candidate), layer.cell_clip))
    o = bounded(o if peephole is None else o + c * peephole[2], clip).apply(gate)
    h = o * c.apply(output)
    if w.get("projection") is not None:
        h = making.dense(h, w["projection"])
    return making.write("h", bounded(h, layer.proj_clip))


class LayerNormLSTM(Recurrence):
    """A long short-term memory with layer norms of what comes in, of what comes back and of the cell.

    Equation::

        i, f, g, o = norm_i(W x) + norm_h(R h) + b
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(norm_c(c))

    State: h, c (H).
    Source: Ba et al., Layer Normalization, arXiv:1607.06450; names of custom_lstms.py in PyTorch's benchmarks:
    weight_ih, weight_hh, layernorm_i, layernorm_h, layernorm_c (each .weight and .bias). There norm_c(c) is the cell
    from then on.

    Args:
        W, R: (4 * H, I) and (4 * H, H), gates i, f, g, o.
        b: (4 * H,), or None.
        norm_i, norm_h: (scale, shift), each (4 * H,) or None.
        norm_c: (scale, shift), each (H,) or None.
        keep_normed: the cell is kept as norm_c makes it; `from_torch` takes True, else False.
        eps: of the norms.
        name: as for `MinGRU`; so is the ShapeError.

    >>> undertow.LayerNormLSTM(np.ones((8, 3)), np.ones((8, 2)))
    LayerNormLSTM(3 -> 2)
    """

    tensors: ClassVar[Mapping[str, str]] = {"W": "weight_ih", "R": "weight_hh"}

    def __init__(
        self,
        W: Any,
        R: Any,
        b: Any = None,
        *,
        norm_i: tuple[Any, Any] = (None, None),
        norm_h: tuple[Any, Any] = (None, None),
        norm_c: tuple[Any, Any] = (None, None),
        keep_normed: bool = False,
        eps: float = 1e-5,
        name: str | None = None,
    ) -> None:
        norms: dict[str, tuple[Any, str]] = {}
        for key, pair, axes in (("norm_i", norm_i, "4H?"), ("norm_h", norm_h, "4H?"), ("norm_c", norm_c, "H?")):
            norms |= {f"{key} scale": (pair[0], axes), f"{key} shift": (pair[1], axes)}
        self._take(name, W=(W, "4H I"), R=(R, "4H H"), b=(b, "4H?"), **norms)
        self.keep_normed, self.eps = bool(keep_normed), float(eps)

    def _step(self, making: Making, x: Term) -> Term:
        w, H = self.w, self.n["H"]
        h, c = making.state("h", (H,)), making.state("c", (H,))

        def norm(y: Term, key: str) -> Term:
            return layer_norm(y, w.get(f"{key} scale"), w.get(f"{key} shift"), self.eps)

        fed, back = norm(making.dense(x, w["W"]), "norm_i"), norm(making.dense(h, w["R"]), "norm_h")
        fed = fed + w["b"] if "b" in w else fed
        i, f, g, o = (fed[k * H : (k + 1) * H] + back[k * H : (k + 1) * H] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        normed = norm(c, "norm_c")
        making.write("c", normed if self.keep_normed else c)
        return making.write("h", sigmoid(o) * tanh(normed))

    @classmethod
    def from_torch(cls, weights: Any, prefix: str = "", *, name: str | None = None, **settings: Any) -> LayerNormLSTM:
        """The LayerNormLSTMCell of PyTorch's custom_lstms.py.

        Arguments and errors as of `Mamba.from_torch`: `weights`, `prefix`, `name`, `settings`.

        >>> w = {"weight_ih": np.ones((8, 3)), "weight_hh": np.ones((8, 2))}
        >>> undertow.LayerNormLSTM.from_torch(w).keep_normed
        True
        """
        return super().from_torch(weights, prefix, name=name, **{"keep_normed": True, **settings})

    @classmethod
    def _arrays(cls, get: Get) -> dict[str, Any]:
        norms = {f"norm_{k}": (get(f"layernorm_{k}.weight?"), get(f"layernorm_{k}.bias?")) for k in "ihc"}
        return super()._arrays(get) | norms


class _OverPictures(Recurrence):
    """What cells over frames (channels, rows, columns) share: W of a convolution over the input and the state."""

    def _take_pictures(self, size: tuple[int, int], hidden: int, channels: int) -> None:
        rows, columns = (int(n) for n in size)
        K, L = self.n["K"], self.n["L"]
        if rows < 1 or columns < 1:
            raise ValueError(f"{self._what}: size is {size}, expected rows and columns of at least 1")
        if K % 2 == 0 or L % 2 == 0:
            raise ShapeError(f"{self._what}: W has a window of {K} x {L}, expected odd numbers, which keep the size")
        if channels <= hidden:
            raise ShapeError(
                f"{self._what}: W takes {channels} channels, expected those of a frame and {hidden} hidden ones"
            )
        self.hidden, self.size = hidden, (rows, columns)
        self.input_shape = (channels - hidden, rows, columns)

    def _filtered(self, m: Making, x: Term, h: Term, W: np.ndarray, b: np.ndarray | None) -> Term:
        """Both (rows, columns, channels): the convolution of the two, one after the other."""
        n, W = x.shape[-1], np.moveaxis(W, (0, 1), (-1, -2))
        of_x = m.layer(FrameConv2D(W[:, :, :n], b, padding="same", name=f"{m.name}_of_input"), x)
        return of_x + m.layer(FrameConv2D(W[:, :, n:], padding="same", name=f"{m.name}_of_state"), h)

    def _last(self, x: Term) -> Term:
        """(channels, rows, columns) with its channels last."""
        return x.take(np.moveaxis(np.arange(np.prod(x.shape)).reshape(x.shape), 0, -1))

    def _first(self, y: Term) -> Term:
        return y.take(np.moveaxis(np.arange(np.prod(y.shape)).reshape(y.shape), -1, 0))


class ConvLSTM(_OverPictures):
    """A long short-term memory over pictures, whose products are convolutions; without peepholes.

    Equation::

        i, f, o, g = W * [x, h] + b
        c = sigmoid(f) c + sigmoid(i) tanh(g),  h = sigmoid(o) tanh(c)

    State: h, c (rows, columns, H).
    Source: Shi et al., Convolutional LSTM Network, arXiv:1506.04214; names of ndrplz/ConvLSTM_pytorch, written from
    knowledge of it: conv.weight (4 * H, C + H, K, L), conv.bias; gates i, f, o, g.

    Args:
        W: (4 * H, C + H, K, L), K and L odd; the input's channels first.
        b: (4 * H,), or None.
        size: (rows, columns) of a frame (C, rows, columns).
        name: as for `MinGRU`; so is the ShapeError.

    >>> undertow.ConvLSTM(np.ones((8, 3, 3, 3)), size=(4, 5))
    ConvLSTM(1 x 4 x 5 -> 40)
    """

    tensors: ClassVar[Mapping[str, str]] = {"W": "conv.weight", "b": "conv.bias?"}

    def __init__(self, W: Any, b: Any = None, *, size: tuple[int, int], name: str | None = None) -> None:
        self._take(name, W=(W, "4H X K L"), b=(b, "4H?"))
        self._take_pictures(size, self.n["H"], self.n["X"])

    def _step(self, making: Making, x: Term) -> Term:
        H, shape = self.hidden, (*self.size, self.hidden)
        h, c = making.state("h", shape), making.state("c", shape)
        gates = self._filtered(making, self._last(x), h, self.w["W"], self.w.get("b"))
        i, f, o, g = (gates[:, :, k * H : (k + 1) * H] for k in range(4))
        c = making.write("c", sigmoid(f) * c + sigmoid(i) * tanh(g))
        return self._first(making.write("h", sigmoid(o) * tanh(c)))


class ConvGRU(_OverPictures):
    """A gated recurrent unit over pictures, whose products are convolutions.

    Equation::

        r, z = sigmoid(W * [x, h] + b)
        n = tanh(W_n * [x, r h] + b_n),  h = (1 - z) h + z n

    State: h (rows, columns, H).
    Source: Ballas et al., Delving Deeper into Convolutional Networks, arXiv:1511.06432; names of
    happyjin/ConvGRU-pytorch: conv_gates.weight (2 * H, C + H, K, L), conv_can.weight (H, C + H, K, L), each .bias.

    Args:
        W: (2 * H, C + H, K, L), K and L odd; the input's channels first; gates r, z.
        W_n: (H, C + H, K, L).
        b, b_n: (2 * H,) and (H,), or None.
        size, name: as for `ConvLSTM`; so is the ShapeError.

    >>> undertow.ConvGRU(np.ones((4, 3, 3, 3)), np.ones((2, 3, 3, 3)), size=(4, 5))
    ConvGRU(1 x 4 x 5 -> 40)
    """

    tensors: ClassVar[Mapping[str, str]] = {
        "W": "conv_gates.weight",
        "W_n": "conv_can.weight",
        "b": "conv_gates.bias?",
        "b_n": "conv_can.bias?",
    }

    def __init__(
        self, W: Any, W_n: Any, b: Any = None, b_n: Any = None, *, size: tuple[int, int], name: str | None = None
    ) -> None:
        self._take(name, W=(W, "2H X K L"), W_n=(W_n, "H X K L"), b=(b, "2H?"), b_n=(b_n, "H?"))
        self._take_pictures(size, self.n["H"], self.n["X"])

    def _step(self, making: Making, x: Term) -> Term:
        w, H, x = self.w, self.hidden, self._last(x)
        h = making.state("h", (*self.size, H))
        gates = sigmoid(self._filtered(making, x, h, w["W"], w.get("b")))
        r, z = gates[:, :, :H], gates[:, :, H:]
        n = tanh(self._filtered(making, x, r * h, w["W_n"], w.get("b_n")))
        return self._first(making.write("h", (1.0 - z) * h + z * n))
