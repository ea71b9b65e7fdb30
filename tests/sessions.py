# SPDX-License-Identifier: MIT
# ruff: noqa: E402 (imports follow the check that an optional package is there)
"""Sessions of `undertow.compat.onnxruntime` and of ONNX Runtime, side by side, of files with recurrent nodes."""

from __future__ import annotations

import numpy as np

from onnx_files import TensorProto, bytes_of, cell, helper, model_of, onnxruntime, random
from tolerances import FLOAT32_PEER

peer = onnxruntime()
import undertow.compat.onnxruntime as ours

H, X = 6, 5


def recurrent(op, T, N, H=H, X=X, lengths=False):
    """x [T, N, X], h (and c) [1, N, H] -> Y [T, 1, N, H] and the last states."""
    rng = np.random.default_rng(3)
    states = ["h", "c"] if op == "LSTM" else ["h"]
    ends = [f"{name}n" for name in states]
    inputs = {"x": [T, N, X], **{name: [1, N, H] for name in states}}
    if lengths:
        inputs["n"] = ([N], TensorProto.INT32)
    nodes = [helper.make_node(op, ["x", "W", "R", "B", "n" if lengths else "", *states], ["Y", *ends], hidden_size=H)]
    outputs = {"Y": [T, 1, N, H], **{name: [1, N, H] for name in ends}}
    return model_of(nodes, inputs, outputs, cell(rng, op, X, H, bias=True))


def both(source, **options):
    """A session of each package."""
    data = bytes_of(source)
    settings = peer.SessionOptions()
    settings.log_severity_level = 4
    return ours.InferenceSession(data, **options), peer.InferenceSession(data, settings)


def same(mine, theirs, atol=FLOAT32_PEER):
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a.astype(np.float64), b.astype(np.float64), rtol=0, atol=atol)


def shapes_of(session, **sizes):
    return {i.name: [sizes.get(n, n) for n in i.shape] for i in session.get_inputs()}


def feeds(rng, session, **sizes):
    return {name: random(rng, *shape) for name, shape in shapes_of(session, **sizes).items()}


def told(session):
    """What a session says of its inputs and outputs."""
    return [(n.name, n.type, n.shape) for n in [*session.get_inputs(), *session.get_outputs()]]
