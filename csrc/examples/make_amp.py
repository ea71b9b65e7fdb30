# SPDX-License-Identifier: MIT
"""Writes a model of the shape that captures of amplifiers have, for the examples of sound: mono, 48 kHz, one LSTM of 16
units and a dense layer. Its weights come from formulas: it bends and smooths what it hears, and is no real amplifier.

    python csrc/examples/make_amp.py amp.tow      (needs the package undertow; `undertow convert` makes one of a .nam)
"""

from __future__ import annotations

import sys

import numpy as np

import undertow

UNITS = 16
RATE = 48000  # Hz


def mixed(*shape: int, scale: float, step: int) -> np.ndarray:
    """Numbers within `scale` that look like none in particular, and are the same wherever they are computed."""
    k = np.arange(1, np.prod(shape) + 1)
    return (np.float32(scale) * ((step * k * k) % 127 - 63).astype(np.float32) / np.float32(63)).reshape(shape)


def amp() -> undertow.Model:
    model = undertow.Sequential(
        [
            undertow.LSTM(
                mixed(4, UNITS, 1, scale=1.5, step=17),
                mixed(4, UNITS, UNITS, scale=0.25, step=29),
                np.zeros((4, UNITS), np.float32),  # so that silence stays silence
                name="memory",
            ),
            undertow.Dense(mixed(1, UNITS, scale=0.5, step=41), np.zeros(1, np.float32), name="out"),
        ]
    )
    model.graph.sample_rate = RATE
    return undertow.Model.from_graph(model.graph)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    amp().save(sys.argv[1])
