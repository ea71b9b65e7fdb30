# SPDX-License-Identifier: MIT
"""Sound files, a detector on them written out in NumPy, and what the command line said."""

from __future__ import annotations

import wave

import numpy as np

import undertow
from undertow.ir.graph import Graph

RNG = np.random.default_rng(31)


def written_out(samples, frame, context, hop, pad):
    """The rule of `frames`, sample by sample: at(i) is 0 before the sound and behind it."""
    found, k = [], 0
    while k * hop < len(samples):
        whole = k * hop + frame <= len(samples)
        # A frame that is filled up is the last: another one would hold nothing new.
        if whole or (pad and not (k and hop <= frame and (k - 1) * hop + frame >= len(samples))):
            places = range(k * hop - context, k * hop + frame)
            found.append([samples[i] if 0 <= i < len(samples) else 0.0 for i in places])
        k += 1
    return np.array(found, np.float32).reshape(-1, context + frame)


def noise(*shape):
    return RNG.normal(size=shape, scale=0.2).astype(np.float32)


def save(path, samples, rate=8000):
    """A 16-bit WAV; gives the samples as they lie in it."""
    samples = np.asarray(samples, np.float64)
    samples = samples[:, None] if samples.ndim == 1 else samples
    whole = np.rint(samples * 32768).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(whole.tobytes())
    return (whole / 32768).astype(np.float32)


def failed(result, code, *words):
    got, _, err = result
    assert got == code, err
    assert len(err.strip().splitlines()) == 1, err
    for word in words:
        assert word in err, err


W, R, HEAD = noise(5, 12), noise(5, 5), noise(8, 5)


def detector(folder, n_out=8, rate=8000):
    """Twelve samples a frame to an RNN and `n_out` numbers."""
    g = Graph("detector")
    g.sample_rate = rate
    x, h = g.input("sound", (12,)), g.state("rnn.h", (5,))
    y = g.add("rnn", [x], name="rnn", weights={"W": W[None], "R": R[None]}, states=[h])
    g.output("y", g.add("dense", [y], name="head", weights={"W": HEAD[:n_out]}))
    undertow.Model.from_graph(g).save(folder / "detector.tow")
    return folder / "detector.tow"


def detect(X, n_out=8):
    h, rows, states = np.zeros(5), [], []
    for x in X.astype(np.float64):
        h = np.tanh(W @ x + R @ h)
        states.append(h)
        rows.append(HEAD[:n_out] @ h)
    return np.array(rows), np.array(states)
