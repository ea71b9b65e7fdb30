# SPDX-License-Identifier: MIT
"""What it costs to import an ONNX file: CPU seconds and peak memory, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .report import Goal, Table

#: CPU seconds of a load; bytes beside the file, and for each byte of it
SECONDS, FREE, EACH = 1.0, 64 << 20, 8
#: files of others that are tried
SMALLEST, LARGEST = 4 << 10, 4 << 20

CHILD = """
import json, sys, time
import numpy, onnx, onnx.reference, onnx.shape_inference, undertow, undertow.importers.onnx
def peak():
    with open("/proc/self/status") as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
path, options = sys.argv[1], json.loads(sys.argv[2])
undertow.load(sys.argv[3])  # what is imported and made once
before, start = peak(), time.process_time()
try:
    undertow.load(path, **options)
    outcome = "loads"
except undertow.Error:
    outcome = "refused"
print(json.dumps([outcome, time.process_time() - start, peak() - before]))
"""


def _save(folder: Path, name: str, nodes: list[Any], inputs: Any, outputs: Any, weights: dict[str, Any]) -> Path:
    from onnx import TensorProto, helper, numpy_helper

    values = [
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in side.items()]
        for side in (inputs, outputs)
    ]
    tensors = [numpy_helper.from_array(np.asarray(a), n) for n, a in weights.items()]
    graph = helper.make_graph(nodes, name, *values, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / f"{name}.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def _node(op: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def _heads(folder: Path, n_heads: int, size: int) -> Path:
    """A step of linear attention, as RetNet's and RWKV's: S' = 0.9 S + k v^T, y = q S'."""
    width = n_heads * size
    rng = np.random.default_rng(0)
    nodes = [
        _node("MatMul", "x W", "qkv"),
        _node("Split", "qkv", "q k v", axis=1),
        *(_node("Reshape", f"{n} {n}_shape", f"{n}_h") for n in "qkv"),
        _node("Mul", "S decay", "kept"),
        _node("MatMul", "k_h v_h", "added"),
        _node("Add", "kept added", "S_out"),
        _node("MatMul", "q_h S_out", "y_h"),
        _node("Reshape", "y_h flat", "y"),
    ]
    row, column = np.array([1, n_heads, 1, size]), np.array([1, n_heads, size, 1])
    weights = {"W": rng.normal(size=(64, 3 * width)).astype(np.float32), "decay": np.float32(0.9), "q_shape": row}
    weights |= {"k_shape": column, "v_shape": row, "flat": np.array([1, width])}
    state = [1, n_heads, size, size]
    name = f"linear attention, {n_heads} heads of {size} x {size}"
    return _save(folder, name, nodes, {"x": [1, 64], "S": state}, {"y": [1, width], "S_out": state}, weights)


def _mamba(folder: Path, width: int, n_states: int) -> Path:
    """A step of a selective scan: h' = exp(d A) h + (d x) B, y = h' C."""
    rng = np.random.default_rng(0)
    nodes = [
        _node("MatMul", "x D", "d_raw"),
        _node("Softplus", "d_raw", "d_row"),
        _node("Reshape", "d_row column", "d"),
        _node("Mul", "d A", "dA"),
        _node("Exp", "dA", "decay"),
        _node("Mul", "decay h", "kept"),
        _node("MatMul", "x Bw", "B"),
        _node("Reshape", "x column", "x_column"),
        _node("Mul", "d x_column", "dx"),
        _node("Mul", "dx B", "added"),
        _node("Add", "kept added", "h_out"),
        _node("MatMul", "x Cw", "C_row"),
        _node("Reshape", "C_row states", "C"),
        _node("MatMul", "h_out C", "y_column"),
        _node("Reshape", "y_column row", "y"),
    ]
    weights = {
        "D": rng.normal(size=(width, width)).astype(np.float32) / width,
        "A": -rng.uniform(1, 16, (width, n_states)).astype(np.float32),
        "Bw": rng.normal(size=(width, n_states)).astype(np.float32) / width,
        "Cw": rng.normal(size=(width, n_states)).astype(np.float32) / width,
        "column": np.array([width, 1]),
        "row": np.array([1, width]),
        "states": np.array([n_states, 1]),
    }
    h, x = [width, n_states], [1, width]
    name = f"selective scan, {width} x {n_states} states"
    return _save(folder, name, nodes, {"x": x, "h": h}, {"y": x, "h_out": h}, weights)


def _chain(folder: Path, n_nodes: int) -> Path:
    nodes = [_node("Tanh", f"v{i}" if i else "x", f"v{i + 1}") for i in range(n_nodes)]
    name = f"{n_nodes:,} nodes in a chain"
    return _save(folder, name, nodes, {"x": ["T", 4]}, {f"v{n_nodes}": ["T", 4]}, {})


def _pairs(folder: Path, n_pairs: int) -> Path:
    from onnx import numpy_helper

    nodes = []
    for i in range(n_pairs):
        nodes.append(_node("Constant", "", f"c{i}", value=numpy_helper.from_array(np.float32(1 + i))))
        nodes.append(_node("Mul", f"{f'v{i}' if i else 'x'} c{i}", f"v{i + 1}"))
    name = f"{n_pairs:,} pairs of Constant and Mul"
    return _save(folder, name, nodes, {"x": ["T", 4]}, {f"v{n_pairs}": ["T", 4]}, {})


def _files(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    yield _heads(folder, 4, 64), {}
    yield _heads(folder, 32, 64), {}
    yield _mamba(folder, 256, 16), {}
    yield _mamba(folder, 768, 16), {}
    yield _chain(folder, 10_000), {}
    yield _pairs(folder, 4_000), {}
    models = os.environ.get("UNDERTOW_MODELS", "")
    for path in sorted(Path(models).rglob("*.onnx")) if models else ():
        if SMALLEST <= path.stat().st_size <= LARGEST:
            yield path, _options(path)


def _options(path: Path) -> dict[str, Any]:
    """What a file of a voice activity detector leaves open: its rate, and the samples of a frame."""
    import onnx

    names = {value.name for value in onnx.load(path, load_external_data=False).graph.input}
    options = {"fixed": {"sr": 16000}, "shapes": {"input": [1, 576]}}
    return options if "sr" in names else {}


def table() -> Table:
    result = Table("Importing ONNX files", ["file", "KiB", "", "CPU s", "peak MiB beside what was there"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = _chain(folder, 3)
        for path, options in _files(folder):
            command = [sys.executable, "-W", "ignore", "-c", CHILD, str(path), json.dumps(options), str(first)]
            done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            if done.returncode:
                result.notes.append(f"{path.stem}: {done.stderr.strip().splitlines()[-1]}")
                continue
            outcome, seconds, peak = json.loads(done.stdout)
            size = path.stat().st_size
            memory = Goal(peak / 2**20, (FREE + EACH * size) / 2**20, at_most=True)
            own = path.parent == folder
            title = path.stem if own else f"{path.parent.name}/{path.name}"
            result.rows.append([title, size / 1024, outcome, Goal(seconds, SECONDS, at_most=True), memory])
    return result


__all__ = ["table"]
