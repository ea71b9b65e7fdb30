# SPDX-License-Identifier: MIT
"""Random chains of what works along time in ONNX models: each is refused by name, or gives what ONNX Runtime gives."""

import numpy as np
import pytest

from onnx_files import Chain, session_of
from strides import arange, cumsum, cut, difference, load, whole
from undertow.errors import UnsupportedError


def mean(c, rng):
    sums, x = cumsum(c, 2), c.last
    c.add("Div", arange(c, x, 2), of=[sums])


def position(c, rng):
    x = c.last
    arange(c, x, 2, start=0)
    c.add("Sin")
    c.add("Add", c.last, of=[x])


def prepended(c, rng):
    x = c.last
    d, first = difference(c, x), cut(c, 0, 1, [x])
    c.add("Concat", d, of=[first], axis=2)


def zero_first(c, rng):
    difference(c, c.last)
    c.pad(0, 0, 1, 0, 0, 0)


def before(c, rng):
    x, k = c.last, int(rng.integers(1, 3))
    c.pad(0, 0, k, 0, 0, 0, mode=str(rng.choice(["edge", "constant"])))
    cut(c, 0, -k)
    c.add("Sub", c.last, of=[x])


def padded(c, rng):
    a, b, mode = int(rng.integers(0, 4)), int(rng.integers(0, 3)), str(rng.choice(["edge", "constant"]))
    c.pad(0, 0, a, 0, 0, b, mode=mode, value=0.3 if mode == "constant" else None)
    c.conv(3, 3, a + b + 1)


def same(c, rng):
    a, b = (int(n) for n in rng.integers(0, 3, 2))
    c.conv(3, 3, a + b + 1, pads=[a, b])


LINKS = {
    "sum": lambda c, rng: (cumsum(c, 2, exclusive=int(rng.integers(2))), c.add("Tanh")),
    "mean": mean,
    "position": position,
    "difference": lambda c, rng: difference(c, c.last),
    "zero first": zero_first,
    "frame first": prepended,
    "before": before,
    "padded": padded,
    "same": same,
    "valid": lambda c, rng: c.conv(3, 3, int(rng.integers(2, 4))),
    "pool": lambda c, rng: c.add("MaxPool", kernel_shape=[3], pads=[1, 1]),
    "cell": lambda c, rng: c.gru(3, 3),
    "stride": lambda c, rng: c.conv(3, 3, 4, strides=[2], pads=[1, 1]),
}


def agrees(seed, tmp_path):
    """Whether the model is taken; raises where it gives something else."""
    rng = np.random.default_rng(seed)
    c = Chain(1, 3, "T")
    c.rng = rng
    links = [str(name) for name in rng.choice(list(LINKS), int(rng.integers(2, 6)))]
    for name in links:
        LINKS[name](c, rng)
    try:
        model = load(c, tmp_path)
    except UnsupportedError:
        return False
    session = session_of(c, optimise=False)
    for n in (16, 33):
        timesteps = np.random.default_rng(n).normal(size=(n * model.frames_in, 3)).astype(np.float32)
        X = timesteps.reshape(n, *next(iter(model.inputs.values())).shape)
        expected = session.run(None, {"x": np.ascontiguousarray(timesteps.T[None])})[0][0].T
        Y = model.run(X)
        np.testing.assert_allclose(whole(Y, model)[-len(expected) :], expected, atol=2e-5, err_msg=str(links))
        stream = model.stream()
        rows = np.concatenate([*(stream.step(frame)[None] for frame in X), stream.flush()])[model.latency :]
        assert rows.tobytes() == Y.tobytes(), links
    return True


@pytest.mark.parametrize("block", range(4))
def test_chains(block, tmp_path):
    taken = [agrees(seed, tmp_path) for seed in range(40 * block, 40 * (block + 1))]
    assert sum(taken) > 24
