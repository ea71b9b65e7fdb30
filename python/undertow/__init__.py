# SPDX-License-Identifier: MIT
"""undertow: streaming inference for recurrent networks.

>>> import numpy as np, undertow
>>> lesson = undertow.Sequential([undertow.RNN(np.eye(2), np.zeros((2, 2)))])
>>> lesson.stream().step(np.array([0.5, -0.5], np.float32)).round(4)
array([ 0.4621, -0.4621], dtype=float32)
"""

from . import audio, decode
from .errors import (
    DecodeError,
    Error,
    FormatError,
    InternalError,
    ISAError,
    LimitError,
    ModelWarning,
    PoolError,
    ShapeError,
    StateError,
    ToleranceError,
    UnsupportedError,
)
from .export import export_c
from .graph import Graph
from .importers.torch import from_torch
from .ir.activations import Activation
from .layers import *  # noqa: F403
from .layers import __all__ as _layers
from .loading import load
from .model import Model
from .stream import Pool, Stream
from .support import example, get_include, isas
from .weights import read_weights

__version__ = "0.1.0"

__all__ = [
    "Activation",
    "DecodeError",
    "Error",
    "FormatError",
    "Graph",
    "ISAError",
    "InternalError",
    "LimitError",
    "Model",
    "Pool",
    "PoolError",
    "ShapeError",
    "StateError",
    "Stream",
    "ModelWarning",
    "ToleranceError",
    "UnsupportedError",
    "audio",
    "decode",
    "example",
    "export_c",
    "from_torch",
    "get_include",
    "isas",
    "load",
    "read_weights",
    *_layers,
]
