# SPDX-License-Identifier: MIT
"""Convolution, pooling and friends inside a frame: float64 by loops, and PyTorch where it is installed."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import undertow
from tolerances import FLOAT32_CELL, FLOAT64_AGREE
from undertow import (
    BatchNorm,
    Flatten,
    FrameAveragePool,
    FrameConv1D,
    FrameConv2D,
    FrameMaxPool,
    Permute,
    Reshape,
    ShapeError,
    build_sequential,
    reference,
)

T = 5


def check(layers, X, want, limit=FLOAT64_AGREE):
    graph = build_sequential(layers, input_shape=X.shape[1:])
    got = reference.run(graph, X)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=limit)
    model = undertow.Model.from_graph(graph)
    x = X.astype(np.float32)
    whole = model.run(x)
    rounding = FLOAT32_CELL * max(1.0, float(np.abs(want).max()))
    np.testing.assert_allclose(whole, want, rtol=0, atol=limit + rounding)
    stream = model.stream()
    np.testing.assert_array_equal(np.stack([stream.step(frame) for frame in x]), whole)
    return graph


def float32s(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def by_loops(x, W, b, strides, dilations, pads, groups):
    """x (*axes, channels), W (*window, channels / groups, outputs): the definition, one product at a time."""
    *kernel, taken, n_out = W.shape
    padded = np.pad(x.astype(np.float64), [*[(p, p) for p in pads], (0, 0)])
    sizes = [
        (n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(padded.shape, kernel, dilations, strides, strict=False)
    ]
    y = np.zeros((*sizes, n_out))
    for at in product(*map(range, sizes)):
        for m in range(n_out):
            first = m // (n_out // groups) * taken
            for tap in product(*map(range, kernel)):
                place = tuple(i * s + k * d for i, s, k, d in zip(at, strides, tap, dilations, strict=True))
                for c in range(taken):
                    y[(*at, m)] += W[(*tap, c, m)] * padded[(*place, first + c)]
    return y + b


CONVOLUTIONS = [
    # grid, channels, outputs, window, stride, dilation, padding, groups
    ((9,), 2, 3, (3,), (1,), (1,), (0,), 1),
    ((9,), 1, 2, (4,), (2,), (2,), (3,), 1),
    ((8,), 4, 6, (3,), (1,), (1,), (1,), 2),
    ((8,), 3, 3, (3,), (1,), (1,), (1,), 3),
    ((8,), 3, 6, (2,), (3,), (1,), (0,), 3),
    ((5, 6), 2, 3, (1, 1), (1, 1), (1, 1), (0, 0), 1),
    ((5, 6), 2, 3, (3, 2), (2, 1), (1, 3), (1, 0), 1),
    ((5, 6), 4, 4, (3, 3), (1, 2), (1, 1), (1, 1), 4),
    ((5, 6), 4, 2, (3, 3), (1, 1), (1, 1), (1, 1), 2),
]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolutions(case):
    grid, channels, n_out, window, stride, dilation, padding, groups = case
    rng = np.random.default_rng(len(str(case)))
    X = float32s(rng, T, *grid, channels)
    W, b = float32s(rng, *window, channels // groups, n_out), float32s(rng, n_out)
    want = np.stack([by_loops(x, W, b, stride, dilation, padding, groups) for x in X])
    layer = FrameConv1D if len(grid) == 1 else FrameConv2D
    settings = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
    check([layer(W, b, **settings)], X, want)
    check([layer(W, b, activation="relu", **settings)], X, np.maximum(want, 0))
    first = layer(W, b, channels_first=True, **settings)
    check([first], np.moveaxis(X, -1, 1), np.moveaxis(want, -1, 1))
    keras = {"m/kernel:0": W, "m/bias:0": b}
    check([layer.from_keras(keras, "m", **settings)], X, want)


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolutions_are_pytorchs(case):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    grid, channels, n_out, window, stride, dilation, padding, groups = case
    torch.manual_seed(1)
    kind = torch.nn.Conv1d if len(grid) == 1 else torch.nn.Conv2d
    module = kind(channels, n_out, window, stride, padding, dilation, groups)
    X = torch.randn(T, channels, *grid)
    layer = FrameConv1D if len(grid) == 1 else FrameConv2D
    made = layer.from_torch(module, stride=stride, dilation=dilation, padding=padding, groups=groups)
    check([made], X.numpy(), module.double()(X.double()).detach().numpy())


POOLS = [
    # grid, size, stride, padding, dilation
    ((9,), 2, None, 0, 1),
    ((9,), 3, 2, 1, 1),
    ((9,), 3, 1, 1, 2),
    ((6, 7), (2, 3), None, 0, 1),
    ((6, 7), (3, 2), (1, 2), (1, 1), 1),
]


@pytest.mark.parametrize("case", POOLS, ids=str)
def test_pools_are_pytorchs(case):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    grid, size, stride, padding, dilation = case
    X = torch.randn(T, 2, *grid, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ours = {"stride": stride, "padding": padding, "channels_first": True}
    functional = torch.nn.functional
    maximum = functional.max_pool1d if len(grid) == 1 else functional.max_pool2d
    want = maximum(X, size, stride, padding, dilation).numpy()
    check([FrameMaxPool(size, dilation=dilation, **ours)], X.numpy(), want)
    if dilation != 1:
        return
    average = functional.avg_pool1d if len(grid) == 1 else functional.avg_pool2d
    for count in (True, False):
        want = average(X, size, stride, padding, count_include_pad=count).numpy()
        # 1 / n is one float32 rounding
        check([FrameAveragePool(size, count_padding=count, **ours)], X.numpy(), want, FLOAT32_CELL)


def test_same_is_kerass():
    """ceil(n / stride) outputs, the odd zero behind; an average does not count it."""
    x = np.arange(1.0, 7.0, dtype=np.float32).reshape(1, 6, 1)
    ones = np.ones((3, 1, 1))
    check([FrameConv1D(ones, padding="same", stride=2)], x, np.array([[[6.0], [12], [11]]]))
    check([FrameConv1D(ones[:2], padding="same")], x, np.array([[[3.0], [5], [7], [9], [11], [6]]]))
    check([FrameAveragePool(4, stride=4, padding="same")], x, np.array([[[2.0], [5.0]]]), FLOAT32_CELL)
    check([FrameMaxPool(4, stride=4, padding="same")], -x, np.array([[[-1.0], [-4]]]))


def test_moving_axes():
    X = float32s(np.random.default_rng(3), T, 2, 3, 4)
    check([Permute((2, 0, 1))], X, X.transpose(0, 3, 1, 2))
    check([Flatten()], X, X.reshape(T, 24))
    check([Reshape((4, -1))], X, X.reshape(T, 4, 6))
    want = X.transpose(0, 2, 3, 1).astype(np.float64).sum(-1, keepdims=True)
    graph = check([Permute((2, 1, 0)), Permute((1, 0, 2)), FrameConv2D(np.ones((1, 1, 2, 1)))], X, want)
    # moves are taken together: the windows come from the input itself
    assert next(node for node in graph.nodes if node.name.endswith("windows")).inputs == ("input",)


def test_batch_norm():
    rng = np.random.default_rng(4)
    X = float32s(rng, T, 3, 4)
    for n, first in ((3, True), (4, False)):
        mean, scale, shift = (float32s(rng, n) for _ in range(3))
        variance = rng.uniform(0.5, 2, n).astype(np.float32)
        along = (lambda a: a[:, None]) if first else (lambda a: a)
        eps = 1e-5 if first else 1e-3
        want = (X - along(mean)) / np.sqrt(along(variance) + eps) * along(scale) + along(shift)
        if first:
            keys = ("running_mean", "running_var", "weight", "bias")
            w = {f"bn.{k}": a for k, a in zip(keys, (mean, variance, scale, shift), strict=True)}
            layer = BatchNorm.from_torch(w, "bn")
        else:
            layer = BatchNorm.from_keras([scale, shift, mean, variance])
        check([layer], X, want, FLOAT32_CELL)
        with pytest.raises(ShapeError, match=f"expected {n} channels"):
            build_sequential([layer], input_shape=(5, 5))


def test_what_does_not_fit_is_refused():
    conv = FrameConv1D(np.ones((4, 2, 3)))
    for shape, message in [((3, 2), "does not fit an axis of 3"), ((9,), "2 axes"), ((9, 3), "a kernel of shape")]:
        with pytest.raises(ShapeError, match=message):
            build_sequential([conv], input_shape=shape)
    with pytest.raises(ShapeError, match="expected 1 axes, then channels, outputs"):
        FrameConv1D(np.ones((2, 2)))
    with pytest.raises(ValueError, match="padding is 'full'"):
        FrameConv1D(np.ones((2, 2, 2)), padding="full")
    with pytest.raises(ValueError, match="stride is 0"):
        FrameConv1D(np.ones((2, 2, 2)), stride=0)
    with pytest.raises(ShapeError, match="padding alone"):
        build_sequential([FrameMaxPool(1, padding=1)], input_shape=(3, 1))
    with pytest.raises(ShapeError, match="24 elements"):
        build_sequential([Reshape((5, -1))], input_shape=(24,))
    with pytest.raises(ShapeError, match="too many"):
        build_sequential([FrameConv2D(np.ones((64, 64, 1, 1)), padding="same")], input_shape=(1000, 1000, 1))
    with pytest.raises(ValueError, match="each of 0 to 1 once"):
        Permute((0, 2))
