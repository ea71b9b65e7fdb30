# SPDX-License-Identifier: MIT
"""What ONNX's operators compute, as ops of the Graph: one module for each family."""
