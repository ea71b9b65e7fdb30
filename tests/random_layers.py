# SPDX-License-Identifier: MIT
"""Random chains of `undertow.layers` for `random_models`, and models that stride along time."""

import numpy as np

import undertow as ut
from random_nodes import SMOOTH, TAME, Builder
from undertow.ir.graph import Graph
from undertow.layers import Layer, build_sequential


def _matrix(b: Builder, *shape: int) -> np.ndarray:
    return b.rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))


def _cell(b: Builder, n: int, *, reverse: bool = False, **more) -> tuple[Layer, int]:
    kind = b.one_of(("rnn", "gru", "lstm"))
    H, G = b.size(65), {"rnn": 1, "gru": 3, "lstm": 4}[kind]
    W, R = b.matrix(G, H, n) * 0.7, b.matrix(G, H, H) * 0.7
    bias = b.vector(G, H) if b.chance(0.8) else None
    more |= {"reverse": reverse, "h0": np.tanh(b.vector(H)) if b.chance(0.3) else None}
    if kind == "rnn":
        return ut.RNN(W[0], R[0], None if bias is None else bias[0], activation=b.activation(TAME), **more), H
    if kind == "gru":
        recurrent = b.vector(G, H) if b.chance(0.5) else None
        return ut.GRU(W, R, bias, recurrent_bias=recurrent, reset_after=b.chance(0.5), **more), H
    return ut.LSTM(W, R, bias, gate_order=b.one_of(("ifgo", "iofg")), **more), H


def _conv(b: Builder, n: int, padding: int | str, stride: int = 1, steps: int = 1) -> tuple[Layer, int]:
    groups = b.one_of([g for g in (1, 2, 4) if n % g == 0])
    n_out, window = groups * int(b.rng.integers(1, 13)), int(b.rng.integers(1, 6))
    W, bias = _matrix(b, window, n // groups, n_out), b.vector(n_out) if b.chance(0.7) else None
    more = {"stride": stride, "steps": steps, "dilation": int(b.rng.integers(1, 4)), "groups": groups}
    return ut.Conv1D(W, bias, padding=padding, activation=b.activation(SMOOTH), **more), n_out


def _over_axes(b: Builder, n: int) -> tuple[list[Layer], int]:
    """A picture of each frame: convolution, pooling and batch norm over its axes."""
    rows = 3 + n % 5
    layers: list[Layer] = [ut.Dense(b.matrix(rows * 4, n)), ut.Reshape((rows, 4))]
    channels = int(b.rng.integers(1, 9))
    layers.append(ut.FrameConv1D(_matrix(b, 3, 4, channels), b.vector(channels), padding="same"))
    if b.chance(0.5):
        spread = np.abs(b.vector(channels)) + 0.5
        layers.append(ut.BatchNorm(b.vector(channels), spread, b.vector(channels), b.vector(channels)))
    layers.append(b.one_of((ut.FrameMaxPool, ut.FrameAveragePool))(2, stride=1))
    if b.chance(0.5):
        layers.append(ut.Permute((1, 0)))
    return [*layers, ut.Flatten()], (rows - 1) * channels


def _layer(b: Builder, n: int) -> tuple[list[Layer], int]:
    kind = b.one_of(("cell", "cell", "dense", "conv", "norm", "scale", "residual", "activate", "axes", "average"))
    if kind == "cell":
        if b.whole:
            merge = b.one_of(("concat", "sum", "mul", "ave"))
            forward, H = _cell(b, n)
            backward, _ = _cell(b, n, reverse=True)
            merge = merge if backward.output_size == H else "concat"
            both = ut.Bidirectional(forward, backward, merge)
            return [both], both.output_size
        made, H = _cell(b, n)
        return [made], H
    if kind == "dense":
        n_out = b.size(130)
        return [ut.Dense(b.matrix(n_out, n), b.vector(n_out), activation=b.activation(SMOOTH))], n_out
    if kind == "conv":
        made, n_out = _conv(b, n, b.one_of(("causal", "same") if b.ahead or b.whole else ("causal",)))
        return [made], n_out
    if kind == "average":
        kinds = (ut.Average, ut.LargestSoFar, lambda **k: ut.AttentionAverage(b.matrix(1, n)[0], epsilon=1e-6, **k))
        return [b.one_of(kinds)(return_sequences=True)], n
    if kind == "axes":
        return _over_axes(b, n)
    simple: dict[str, Layer] = {
        "norm": ut.LayerNorm(b.vector(n), b.vector(n)),
        "scale": ut.ScaleShift(b.vector(n), b.vector(n)),
        "residual": ut.Residual(ut.Dense(b.matrix(n, n), activation="tanh")),
    }
    return [simple.get(kind, ut.Activate(b.activation(TAME)))], n


def _graph(layers: list[Layer], b: Builder) -> Graph:
    """A graph that `Model.from_graph` takes as it stands, for tests of what passes do to it."""
    return build_sequential(layers, f"random_{b.seed}").plain()


def chain(b: Builder) -> Graph:
    """One layer after the other, through `build_sequential`."""
    if b.chance(0.2):
        n = b.size(33)
        layers: list[Layer] = [ut.Embedding(b.matrix(int(b.rng.integers(2, 40)), n))]
    else:
        n = b.size(65)
        layers = [ut.Dense(b.matrix(n, n), b.vector(n))]
    for _ in range(int(b.rng.integers(2, 6))):
        more, n = _layer(b, n)
        layers += more
    if b.chance(0.3):
        layers.append(b.one_of((ut.Softmax, ut.LogSoftmax))())
    return _graph(layers, b)


def strided(b: Builder, *, one_out: bool) -> Graph:
    """Convolutions that stride along time: frames of several timesteps in, and of one out, or of several too."""
    if not one_out:
        made, _ = _conv(b, b.size(17), "causal", int(b.rng.integers(1, 4)), int(b.rng.integers(2, 4)))
        return _graph([made, ut.Activate("tanh")], b)
    n, strides = b.size(17), [int(b.rng.integers(2, 4)) for _ in range(int(b.rng.integers(1, 3)))]
    layers: list[Layer] = []
    for i, stride in enumerate(strides):
        padding = b.one_of(("causal", "same") if b.ahead else ("causal",))
        made, n = _conv(b, n, padding, stride, int(np.prod(strides[i + 1 :])))
        layers += [made, ut.Activate("tanh")]
    made, n = _cell(b, n)
    layers.append(made)
    if b.chance(0.5):
        layers += _layer(b, n)[0]
    return _graph(layers, b)
