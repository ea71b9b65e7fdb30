# SPDX-License-Identifier: MIT
"""Models that are fed what they said: greedy decoding, sampling and beam search over ids, and transducers.

The loops run in compiled code on what the engine wrote, so no array is made for an id. They choose the ids that a loop
in Python over `Stream.step` and NumPy would choose, as the functions say to the bit, and the same ones on every
platform and instruction set.
"""

from .text import Hypothesis, batch, beam, greedy, sample, tokens
from .transducer import Transducer

__all__ = ["Hypothesis", "Transducer", "batch", "beam", "greedy", "sample", "tokens"]
