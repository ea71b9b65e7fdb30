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


class IgnoredOption(UserWarning):
    """An option that code gives to ONNX Runtime changes nothing here."""


#: what a file is that is damaged, and one that is not computed exactly
InvalidProtobuf, NotImplemented = FormatError, UnsupportedError

__all__ = ["Fail", "IgnoredOption", "InvalidArgument", "InvalidProtobuf", "NoSuchFile", "NotImplemented"]
