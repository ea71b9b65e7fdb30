# SPDX-License-Identifier: MIT
"""A model file loaded in a process of its own, whose memory is measured from the moment that everything is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STATUS = Path("/proc/self/status")
#: bytes that a load may take beside its file, and for each byte of that
FREE, EACH = 64 << 20, 8

CHILD = """
import json, sys
import numpy, onnx, onnx.reference, undertow, undertow.importers.keras, undertow.importers.onnx
def peak():
    with open("/proc/self/status") as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
path, options = sys.argv[1], json.loads(sys.argv[2])
before = peak()
try:
    graph = undertow.load(path, **options).graph
    made = sorted(node.op for node in graph.nodes)
except undertow.Error as error:
    made = str(error)
print(json.dumps([made, peak() - before]))
"""


def load_apart(path: Path, **options: Any) -> Any:
    """(ops of the model or the error, bytes that the load took at its highest)."""
    command = [sys.executable, "-c", CHILD, str(path), json.dumps(options)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return json.loads(done.stdout)


measured = pytest.mark.skipif(not STATUS.exists(), reason="peak memory is read from /proc")
