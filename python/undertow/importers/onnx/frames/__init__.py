# SPDX-License-Identifier: MIT
"""From tensors to frames: where each element of a tensor comes from, and what of it one frame is."""
