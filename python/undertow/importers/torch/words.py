# SPDX-License-Identifier: MIT
"""What the importer of ONNX files says, as a caller of `from_torch` can follow it: no option of `undertow.load` that
`from_torch` lacks, and no advice that was not tried.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

from ...errors import Error

_ONE_FRAME = "; an example with time_axis=None is read as one frame, or one step, of its size"
_SHAPES = r"shapes=(?:\{[^{}]*\})?"
#: sizes are those of the example, and an open axis is one that it is said of
_INSTEAD = [
    (rf"; it loads with {_SHAPES}, which is what its outputs are declared for", _ONE_FRAME),
    (r"; if it takes frames or clips of one size.*", _ONE_FRAME),
    (
        rf"export with an open time axis \(dynamic_axes= [^()]*\); if a frame is a whole clip, say so with {_SHAPES}",
        "say which axis they are along with time_axis=",
    ),
    (
        r"Export it with an open time axis \(dynamic_axes= [^()]*\), with several timesteps, or as (one step whose "
        r"states are inputs and outputs)\. Of Keras, load the \.keras file",
        r"Give an example of several timesteps and say time_axis=, or export \1",
    ),
    (rf"(?:fix sizes with |with |)\b{_SHAPES}(?:, with your numbers? for [^;]*)?", "by an example of that size"),
]


def own_words(text: str) -> str:
    """A message of the importer as `from_torch` says it."""
    for theirs, mine in _INSTEAD:
        text = re.sub(theirs, mine, text)
    return text


def without_untried(text: str, one_frame: Callable[[], object]) -> str:
    """A message in `own_words` without advice that does not help. one_frame: reads the example as one frame."""
    if _ONE_FRAME not in text:
        return text
    said = text.replace(_ONE_FRAME, "")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one_frame()
    except Error:
        return said
    return said + _ONE_FRAME


__all__ = ["own_words", "without_untried"]
