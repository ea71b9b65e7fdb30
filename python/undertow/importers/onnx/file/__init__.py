# SPDX-License-Identifier: MIT
"""An .onnx file, read without trust."""
