# SPDX-License-Identifier: MIT
"""Frames that tests feed, cut into calls, and compared bit for bit."""

import numpy as np


def frames(model, *lead, seed=0):
    """Input of `model` with leading axes, as a pool takes it."""
    rng = np.random.default_rng(seed)
    out = {}
    for value in model.inputs.values():
        shape = (*lead, *value.shape)
        if value.dtype == "int32":
            out[value.name] = rng.integers(0, min(value.n_ids, 2**31), shape).astype(np.int32)
        else:
            out[value.name] = rng.normal(size=shape).astype(np.float32)
    return next(iter(out.values())) if len(out) == 1 else out


def vectors(T, n, seed=0):
    """T frames of n numbers."""
    return np.random.default_rng(seed).normal(size=(T, n)).astype(np.float32)


def cut(X, at):
    """X[at] of an array or of every array of a dict, C-contiguous."""
    if isinstance(X, dict):
        return {name: np.ascontiguousarray(x[at]) for name, x in X.items()}
    return np.ascontiguousarray(X[at])


def bits(y):
    return np.ascontiguousarray(y).view(np.uint32)


def assert_same_bits(a, b, what=""):
    a, b = (y if isinstance(y, dict) else {"y": y} for y in (a, b))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(bits(a[name]), bits(b[name]), f"{what} {name}")
