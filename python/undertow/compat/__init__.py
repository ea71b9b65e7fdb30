# SPDX-License-Identifier: MIT
"""Faces that people's code already calls, over undertow's models. `import undertow` does not load them.

==========================================  ==========================================================================
`undertow.compat.onnxruntime`               `import undertow.compat.onnxruntime as ort`: sessions, states in and out
`undertow.compat.silero_vad`                silero-vad's model object: `model(chunk, sr)`, `reset_states()`
`undertow.compat.torch`                     a `torch.nn.Module` whose forward goes on with the stream
`undertow.compat.sb3`                       sb3-contrib's RecurrentPPO: `predict(obs, state, episode_start)`
==========================================  ==========================================================================

`InferenceSession`, `StreamingModule` and `RecurrentPolicy` can be taken from here, too.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

#: name -> module that has it
_HOMES = {
    "InferenceSession": "onnxruntime",
    "RecurrentPolicy": "sb3",
    "StreamingModule": "torch",
    "silero_vad": "_silero",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_HOMES)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
