# SPDX-License-Identifier: MIT
"""Constant rows that were joined to a sequence, on their way through operators that compute each element alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import undertow
from onnx_files import Chain, onnxruntime, random, save, session_of
from tolerances import FLOAT32_PEER

onnxruntime()
K = 4
#: what stands between the padding and a convolution
BETWEEN: dict[str, list[tuple[str, list[Any], dict[str, Any]]]] = {
    "of zero": [("Relu", [], {})],
    "of another number": [("Sigmoid", [], {})],
    "with numbers for each channel": [("Mul", [np.arange(1, K + 1, dtype=np.float32).reshape(1, K, 1)], {})],
    "several": [("Exp", [], {}), ("Add", [np.float32(0.5)], {}), ("Clip", [np.float32(0), np.float32(2)], {})],
    "rounded": [
        ("QuantizeLinear", [np.float32(0.02), np.uint8(120)], {}),
        ("DequantizeLinear", [np.float32(0.02), np.uint8(120)], {}),
    ],
}


def chain(case: str, pads: tuple[int, int], value: float | None) -> Chain:
    c = Chain(1, K, "T")
    c.pad(0, 0, pads[0], 0, 0, pads[1], value=value)
    for op, more, attrs in BETWEEN[case]:
        c.add(op, *map(c.constant, more), **attrs)
    c.conv(3, K, 3)
    return c


@pytest.mark.parametrize("value", [None, 0.25])
@pytest.mark.parametrize("case", BETWEEN)
def test_they_are_computed_once(case, value, tmp_path, rng) -> None:
    source = chain(case, (2, 0), value)
    model, session = undertow.load(save(source, tmp_path)), session_of(source)
    for n in (1, 2, 13):
        X = random(rng, n, K)
        (expected,) = session.run(None, {"x": X.T[None]})
        np.testing.assert_allclose(model.run(X), expected[0].T, rtol=0, atol=FLOAT32_PEER)


def test_behind_the_end_they_are_waited_for(tmp_path, rng) -> None:
    source = chain("of zero", (1, 1), None)
    model, X = undertow.load(save(source, tmp_path)), random(rng, 13, K)
    (expected,) = session_of(source).run(None, {"x": X.T[None]})
    assert model.latency == 1
    np.testing.assert_allclose(model.run(X), expected[0].T, rtol=0, atol=FLOAT32_PEER)
