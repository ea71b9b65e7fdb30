# SPDX-License-Identifier: MIT
"""One step of the LSTM of ONNX Runtime's quantiser, of ops of the Graph: DynamicQuantizeLSTM of one timestep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....ir.activations import Activation
from ..frames import emit
from ..frames.builder import Builder
from .cumulative import read, write
from .quantized import rounded_to_bytes


@dataclass(frozen=True)
class RoundedCell:
    """Weights of an LSTM of H units, its gates in the order i f g o; W (4, H, I) and R (4, H, H) are their scales times
    integers.
    """

    W: np.ndarray
    R: np.ndarray
    W_scale: np.ndarray
    R_scale: np.ndarray
    b: np.ndarray
    peephole: np.ndarray | None
    activations: tuple[Activation, ...]
    clip: float | None
    input_forget: bool

    def step(self, builder: Builder, x: np.ndarray, states: list[str]) -> list[np.ndarray]:
        """Elements of h and c after one step with x (I,); `states` hold them."""
        h, c = (read(builder, state) for state in states)
        n_hidden = self.R.shape[-1]
        from_x = _product(builder, x, self.W, self.W_scale)
        from_x = emit.affine(builder, from_x, 1.0, self.b.ravel())
        sums = emit.elementwise(builder, "add", [from_x, _product(builder, h, self.R, self.R_scale)])
        i, f, g, o = (sums[k * n_hidden : (k + 1) * n_hidden] for k in range(4))
        inner, candidate, outer = self.activations
        i, f = (self._gate(builder, gate, k, c, inner) for k, gate in ((0, i), (1, f)))
        if self.input_forget:
            f = emit.affine(builder, i, -1.0, 1.0)
        kept = emit.elementwise(builder, "mul", [f, c])
        new = emit.elementwise(builder, "mul", [i, emit.activation(builder, self._clipped(builder, g), candidate)])
        c = emit.elementwise(builder, "add", [kept, new])
        o = self._gate(builder, o, 2, c, inner)
        h = emit.elementwise(builder, "mul", [o, emit.activation(builder, c, outer)])
        for state, elements in zip(states, (h, c), strict=True):
            write(builder, state, elements)
        return [h, c]

    def _gate(self, builder: Builder, gate: np.ndarray, k: int, c: np.ndarray, kind: Activation) -> np.ndarray:
        if self.peephole is not None:
            gate = emit.elementwise(builder, "add", [gate, emit.affine(builder, c, self.peephole[k], 0.0)])
        return emit.activation(builder, self._clipped(builder, gate), kind)

    def _clipped(self, builder: Builder, gate: np.ndarray) -> np.ndarray:
        return gate if self.clip is None else emit.activation(builder, gate, "clip", -self.clip, self.clip)


def _product(builder: Builder, x: np.ndarray, W: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """scale W' x', where integers stand for both: W' those that W is of `scale`, x' bytes in the range of x."""
    y, x_scale, point = rounded_to_bytes(builder, x)
    centred = emit.elementwise(builder, "sub", [y, np.broadcast_to(point, y.shape)])
    whole = np.rint(W.reshape(-1, W.shape[-1]) / scale.reshape(-1, 1))
    sums = emit.dense(builder, centred, whole.astype(np.float32))
    factor = emit.affine(builder, np.broadcast_to(x_scale, sums.shape), scale.ravel(), 0.0)
    return emit.elementwise(builder, "mul", [sums, factor])
