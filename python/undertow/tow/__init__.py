# SPDX-License-Identifier: MIT
"""The .tow file (csrc/FORMAT.md): its only writer, and a reader."""

from .codec import MAGIC, check_hash, digest, read, write
from .proof import attach
from .versions import frames

__all__ = ["MAGIC", "attach", "check_hash", "digest", "frames", "read", "write"]
