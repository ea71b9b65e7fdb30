# SPDX-License-Identifier: MIT
"""ONNX models that stride along time, streamed and compared with what ONNX Runtime gives; for test_strides*.py."""

import numpy as np

import undertow
from onnx_files import Chain, save, session_of
from undertow import reference


def load(chain, tmp_path, **options):
    return undertow.load(save(chain, tmp_path), **options)


def whole(rows, model):
    """(frames, *frame) as timesteps of the output."""
    return rows.reshape(len(rows) * model.frames_out, *rows.shape[1 + (model.frames_out > 1) :])


def streamed(model, X, rng):
    """In chunks of any size, some of them proposed and undone first, one after a snapshot."""
    stream, parts, at = model.stream(), [], 0
    while at < len(X):
        n = int(rng.integers(1, 4))
        if n == 1:
            stream.propose(X[at])
            stream.rollback()
            parts.append(stream.propose(X[at])[None])
            stream.commit()
        else:
            parts.append(stream.run(X[at : at + n]))
        if rng.random() < 0.3:
            stream = model.stream(stream.snapshot())
        at += n
    return np.concatenate([*parts, stream.flush()])[model.latency :]


def check(chain, tmp_path, frames_in, frames_out, missing=0, n=(1, 2, 3, 5, 40), **options):
    """n: frames of `frames_in` timesteps; missing: timesteps at the start for which the model gives nothing."""
    model = load(chain, tmp_path, **options)
    assert (model.frames_in, model.frames_out) == (frames_in, frames_out)
    session = session_of(chain)
    time = chain.shape.index("T")
    for frames in n:
        if frames * frames_out <= missing:
            continue
        shape = [frames * frames_in if s == "T" else s for s in chain.shape]
        rng = np.random.default_rng(frames)
        x = rng.normal(size=shape).astype(np.float32)
        expected = np.moveaxis(session.run(None, {"x": x})[0][0], time - 1, 0)
        timesteps = np.ascontiguousarray(np.moveaxis(x[0], time - 1, 0))
        X = timesteps.reshape(frames, *next(iter(model.inputs.values())).shape)
        Y = model.run(X)
        assert whole(Y, model)[missing:].shape == expected.shape
        np.testing.assert_allclose(whole(Y, model)[missing:], expected, atol=1e-5, rtol=1e-5)
        exact = reference.run(model.graph, X)[-frames:]
        np.testing.assert_allclose(whole(exact, model)[missing:], expected, atol=1e-5, rtol=1e-5)

        stream = model.stream()
        steps = np.concatenate([*(stream.step(frame)[None] for frame in X), stream.flush()])
        assert steps[model.latency :].tobytes() == Y.tobytes()
        assert streamed(model, X, rng).tobytes() == Y.tobytes()
        assert model.run(timesteps).tobytes() == Y.tobytes()
    return model


def up(c, n_in, n_out, kernel, stride, cut=None, **attrs):
    W = (c.rng.normal(size=(n_in, n_out // attrs.get("group", 1), kernel)) / n_in).astype(np.float32)
    c.add(
        "ConvTranspose",
        c.constant(W),
        c.constant(c.rng.normal(size=n_out).astype(np.float32)),
        strides=[stride],
        **attrs,
    )
    if cut is not None:
        end = 2**31 - 1 if cut[1] == 0 else -cut[1]
        c.add("Slice", *(c.constant(np.array([n], np.int64)) for n in (cut[0], end, 2)))
    return c.last


def encoder():
    c = Chain(1, 2, "T")
    c.conv(4, 2, 4, strides=[2], pads=[1, 1])
    c.gru(4, 3)
    return c
