# SPDX-License-Identifier: MIT
"""If you run only one file: the package imports, loads its example, streams it, and says the same whole."""

import numpy as np

import undertow


def test_it_works():
    model = undertow.load(undertow.example("digits"))
    X = np.random.default_rng(0).random((8, *next(iter(model.inputs.values())).shape), np.float32)
    stream = model.stream()
    steps = np.stack([stream.step(x) for x in X])
    assert np.array_equal(steps, model.run(X))
    assert np.allclose(steps.sum(axis=1), 1)


def test_doctests():
    import doctest

    import undertow.compile
    import undertow.ir.activations
    import undertow.loading

    for module in (undertow, undertow.ir.activations, undertow.compile, undertow.loading):
        assert doctest.testmod(module, extraglobs={"np": np, "undertow": undertow}).failed == 0, module.__name__
