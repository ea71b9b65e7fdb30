# SPDX-License-Identifier: MIT
"""Sound: files, frames with overlap, sampling rates, spectra, segments of speech; whole, or as it comes.

A WAV needs no other package; other formats go through soundfile, resampling through soxr, both of `undertow[audio]`.

>>> import numpy as np
>>> from undertow import audio
>>> samples = np.arange(1, 6, dtype=np.float32)
>>> audio.frames(samples, frame=2, context=1)
array([[0., 1., 2.],
       [2., 3., 4.],
       [4., 5., 0.]], dtype=float32)
"""

from .framing import Framer, OverlapAdd, frames, overlap_add
from .labels import write_segments
from .resampling import Resampler, resample
from .segmentation import Segment, Segmenter, segments
from .signal import load, read, to_mono, write
from .spectrum import Spectra, istft, stft, window

__all__ = [
    "Framer",
    "OverlapAdd",
    "Resampler",
    "Segment",
    "Segmenter",
    "Spectra",
    "frames",
    "istft",
    "load",
    "overlap_add",
    "read",
    "resample",
    "segments",
    "stft",
    "to_mono",
    "window",
    "write",
    "write_segments",
]
