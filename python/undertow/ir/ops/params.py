# SPDX-License-Identifier: MIT
"""Parameters of a node as the 32-bit words of a .tow file (csrc/FORMAT.md), and back."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from ..activations import BY_CODE, Activation

#: flags of a cell and of `last`; VARIANT is input_forget of an lstm, reset_after of a gru
REVERSE, VARIANT, MASKED, STEPS = 1, 2, 4, 8
#: words of an activation
ACTIVATION = 3


def f32(x: float) -> int:
    return int(struct.unpack("<I", struct.pack("<f", x))[0])


def from_f32(word: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", word))[0])


def from_activations(*activations: Activation) -> list[int]:
    return [word for a in activations for word in (a.code, f32(a.alpha), f32(a.beta))]


def activation_at(params: Sequence[int], number: int = 0) -> Activation:
    """The activation that begins `number` activations behind the start."""
    code, alpha, beta = params[ACTIVATION * number : ACTIVATION * (number + 1)]
    return Activation(BY_CODE[code], from_f32(alpha), from_f32(beta))
