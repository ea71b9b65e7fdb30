# SPDX-License-Identifier: MIT
"""ONNX Runtime's face: `import undertow.compat.onnxruntime as ort` in place of `import onnxruntime as ort`.

A session takes arrays by the names, shapes and dtypes that the .onnx file declares and gives such arrays back, states
included: nothing is kept between calls, so that code which carries `h` and `c` from call to call, sets them to zero or
goes on with several sequences in turn does what it did. What undertow does not compute exactly it refuses, as
`undertow.load` does; there is no other backend behind it.

>>> import undertow.compat.onnxruntime as ort                                            # doctest: +SKIP
>>> session = ort.InferenceSession("silero_vad.onnx", providers=["CPUExecutionProvider"])  # doctest: +SKIP
>>> p, state = session.run(None, {"input": x, "state": state, "sr": np.array(16000)})    # doctest: +SKIP
"""

from __future__ import annotations

from types import SimpleNamespace

from .. import __version__ as _version
from ._errors import (
    Fail,
    IgnoredOption,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoSuchFile,
    NotImplemented,
    RuntimeException,
)
from ._options import ExecutionMode, ExecutionOrder, GraphOptimizationLevel, RunOptions, SessionOptions
from ._session import PROVIDERS, InferenceSession, ModelMetadata, NodeArg
from ._values import IOBinding, OrtValue

#: the version of ONNX Runtime whose interface this is
__version__ = "1.32.0"

#: where code that catches ONNX Runtime's errors finds them
capi = SimpleNamespace(
    onnxruntime_pybind11_state=SimpleNamespace(
        Fail=Fail,
        InvalidArgument=InvalidArgument,
        InvalidGraph=InvalidGraph,
        InvalidProtobuf=InvalidProtobuf,
        NoSuchFile=NoSuchFile,
        NotImplemented=NotImplemented,
        RuntimeException=RuntimeException,
    )
)


def get_available_providers() -> list[str]:
    """What computes: the CPU.

    >>> get_available_providers()
    ['CPUExecutionProvider']
    """
    return list(PROVIDERS)


def get_all_providers() -> list[str]:
    """As `get_available_providers`."""
    return list(PROVIDERS)


def get_device() -> str:
    """Of which kind the device is that computes."""
    return "CPU"


def get_version_string() -> str:
    """The version of ONNX Runtime whose interface this is."""
    return __version__


def get_build_info() -> str:
    """What computes, and how it was built."""
    return f"undertow {_version}, with the interface of ONNX Runtime {__version__}"


def set_default_logger_severity(severity: int) -> None:
    """Nothing is logged."""


def set_default_logger_verbosity(verbosity: int) -> None:
    """Nothing is logged."""


def set_seed(seed: int) -> None:
    """Nothing that is computed is random."""


def disable_telemetry_events() -> None:
    """Nothing is sent."""


def enable_telemetry_events() -> None:
    """Nothing is sent."""


__all__ = [
    "ExecutionMode",
    "ExecutionOrder",
    "Fail",
    "GraphOptimizationLevel",
    "IOBinding",
    "IgnoredOption",
    "InferenceSession",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "ModelMetadata",
    "NoSuchFile",
    "NodeArg",
    "NotImplemented",
    "OrtValue",
    "RunOptions",
    "RuntimeException",
    "SessionOptions",
    "disable_telemetry_events",
    "enable_telemetry_events",
    "get_all_providers",
    "get_available_providers",
    "get_build_info",
    "get_device",
    "get_version_string",
    "set_default_logger_severity",
    "set_default_logger_verbosity",
    "set_seed",
]
