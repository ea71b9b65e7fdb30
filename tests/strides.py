# SPDX-License-Identifier: MIT
"""Chains of nodes along time, streamed and compared with what ONNX Runtime gives; and links that several tests use."""

import re

import numpy as np

import undertow
from onnx_files import FLOAT, Chain, save, session_of
from undertow import reference

#: the end of a slice that takes all that is there
END = 2**31 - 1


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
    said = re.search(r"the model gives none for the first (\d+)", model.graph.source)
    assert (int(said[1]) if said else 0) == missing
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


def check_timesteps(chain, tmp_path, latency=0, missing=0, **options):
    """As check, where a frame is one timestep."""
    model = check(chain, tmp_path, 1, 1, missing, **options)
    assert model.latency == latency
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


def cumsum(c, axis, **attrs):
    return c.add("CumSum", c.constant(np.array(axis, np.int64)), **attrs)


def length(c, of, axis, op="Gather"):
    """The size of an axis, as exporters write it."""
    shape = c.add("Shape", of=[of])
    if op == "Slice":
        c.add("Slice", *(c.constant(np.array([n], np.int64)) for n in (axis, axis + 1)), of=[shape])
        return c.add("Squeeze", c.constant(np.array([0], np.int64)))
    return c.add("Gather", c.constant(np.array(axis, np.int64)), of=[shape], axis=0)


def arange(c, of, axis, start=1, step=1, op="Gather"):
    """torch.arange(start, start + step * T, step) as float32, for T timesteps of a tensor."""
    first, by = c.constant(np.array(start, np.int64)), c.constant(np.array(step, np.int64))
    n = c.add("Mul", by, of=[length(c, of, axis, op)])
    limit = c.add("Add", first, of=[n])
    c.add("Range", limit, by, of=[first])
    return c.add("Cast", to=FLOAT)


def cut(c, start, end, of=None, axis=2):
    return c.add("Slice", *(c.constant(np.array([n], np.int64)) for n in (start, end, axis)), of=of)


def difference(c, of="x"):
    """x[1:] - x[:-1]"""
    now, before = cut(c, 1, END, [of]), cut(c, 0, -1, [of])
    return c.add("Sub", before, of=[now])
