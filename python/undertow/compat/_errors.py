# SPDX-License-Identifier: MIT
"""What ONNX Runtime raises, as errors of undertow's under the same names."""

from __future__ import annotations

from ..errors import Error, FormatError, ShapeError, UnsupportedError


class InvalidArgument(ShapeError):
    """An input or output that the file does not have, or an array of another dtype or shape than it has there."""


class NoSuchFile(Error, FileNotFoundError):
    """There is no such file."""


class Fail(Error):
    """Something went wrong in a call."""


class Unfit(Fail, ShapeError):
    """The shapes of a call do not fit together, in a node of the file."""


class InvalidProtobuf(FormatError):
    """It is no .onnx file, or a damaged one."""


class InvalidGraph(Fail, InvalidArgument, FormatError):
    """A file has no graph, or none by the rules of ONNX; ONNX Runtime tells that in any of these kinds."""


class RuntimeException(Error):
    """What ONNX Runtime raises of its own faults; it is not raised here."""


class IgnoredOption(UserWarning):
    """An option that code gives to ONNX Runtime changes nothing here."""


#: a file is not computed exactly
NotImplemented = UnsupportedError

__all__ = [
    "Fail",
    "IgnoredOption",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "NoSuchFile",
    "NotImplemented",
    "RuntimeException",
    "Unfit",
]
