# SPDX-License-Identifier: MIT
"""ONNX models that tests build, and ONNX Runtime, which judges what is made of them. Skips where onnx is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tolerances import FLOAT32_PEER
from undertow import reference

onnx = pytest.importorskip("onnx", reason="needs ONNX: pip install onnx")
helper, numpy_helper, TensorProto = onnx.helper, onnx.numpy_helper, onnx.TensorProto
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def onnxruntime() -> Any:
    """The package, without which the test is skipped."""
    return pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install onnxruntime")


# -- models ---------------------------------------------------------------------------------------------------------


def node(op: str, inputs: str, outputs: str, **attrs: Any) -> Any:
    """A node; names are separated by spaces, so none is empty."""
    return helper.make_node(op, inputs.split(), outputs.split(), **attrs)


def reading_memory(result: str, x: str = "x") -> list[Any]:
    """result [1, H] = softmax(x memory^T) memory, of x [1, H] and memory [1, n, H]; takes a constant axis = [1]."""
    return [
        node("Unsqueeze", f"{x} axis", "query"),
        node("Transpose", "memory", "keys", perm=[0, 2, 1]),
        node("MatMul", "query keys", "scores"),
        node("Softmax", "scores", "shares", axis=-1),
        node("MatMul", "shares memory", "context"),
        node("Squeeze", "context axis", result),
    ]


def lstm_step(h: str, c: str, h_out: str, c_out: str, recurrent: str = "R b") -> list[Any]:
    """One step of an LSTM taken apart: gates ifgo of the sum of a and a Gemm of h; takes a constant parts = [H] * 4."""
    return [
        node("Gemm", f"{h} {recurrent}", "q", transB=1),
        node("Add", "a q", "s"),
        node("Split", "s parts", "s_i s_f s_g s_o", axis=1),
        *[node("Tanh" if k == "g" else "Sigmoid", f"s_{k}", k) for k in "ifgo"],
        node("Mul", f"f {c}", "fc"),
        node("Mul", "i g", "ig"),
        node("Add", "fc ig", c_out),
        node("Tanh", c_out, "t"),
        node("Mul", "o t", h_out),
    ]


def info(name: str, shape: Any = None, kind: int = FLOAT) -> Any:
    """What a graph says of an input or output; shape: sizes, names of open ones, or None for not said."""
    return helper.make_tensor_value_info(name, kind, shape)


def _infos(side: Mapping[str, Any] | Iterable[Any]) -> list[Any]:
    if isinstance(side, Mapping):
        return [info(n, *s) if isinstance(s, tuple) else info(n, s) for n, s in side.items()]
    return [info(v) if isinstance(v, str) else v for v in side]


def tensors(arrays: Mapping[str, Any] | None) -> list[Any]:
    return [numpy_helper.from_array(np.asarray(a), name) for name, a in (arrays or {}).items()]


def graph_of(nodes: list[Any], inputs: Any, outputs: Any, weights: Mapping[str, Any] | None = None, name="g") -> Any:
    """A graph. inputs, outputs: name -> shape, or (shape, type); or a list of infos, and of names without a shape."""
    return helper.make_graph(nodes, name, _infos(inputs), _infos(outputs), tensors(weights))


def model_of(nodes: list[Any], inputs: Any, outputs: Any, weights: Mapping[str, Any] | None = None, opset=17) -> Any:
    """A model of one graph, see graph_of."""
    return _model(graph_of(nodes, inputs, outputs, weights), opset)


def _model(graph: Any, opset: int = 17) -> Any:
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=max(8, helper.find_min_ir_version_for(opsets)))


def bytes_of(source: Any) -> bytes:
    """The file of a model, a graph (of operator set 17), a Chain, or at a path."""
    if isinstance(source, Path):
        return source.read_bytes()
    if isinstance(source, Chain):
        source = _model(source.graph(), source.opset)
    return (_model(source) if isinstance(source, onnx.GraphProto) else source).SerializeToString()


def save(source: Any, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(bytes_of(source))
    return path


class Chain:
    """A model of nodes in a row, on input x of `shape` ("T" is time)."""

    def __init__(self, *shape):
        self.shape, self.nodes, self.weights, self.last, self.n = shape, [], [], "x", 0
        self.rng = np.random.default_rng(0)
        self.opset = 17

    def constant(self, array):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, op, *more, of=None, **attrs):
        self.n += 1
        of = [self.last] if of is None else of
        self.last = f"v{self.n}"
        self.nodes.append(helper.make_node(op, [*of, *more], [self.last], name=f"{op}_{self.n}", **attrs))
        return self.last

    def conv(self, n_out, n_in, *kernel, **attrs):
        groups = attrs.get("group", 1)
        W = self.rng.normal(size=(n_out, n_in // groups, *kernel)) / np.sqrt(n_in * np.prod(kernel))
        W = W.astype(np.float32)
        b = self.rng.normal(size=n_out).astype(np.float32)
        return self.add("Conv", self.constant(W), self.constant(b), **attrs)

    def pad(self, *pads, mode="constant", value=None):
        more = [self.constant(np.array(pads, np.int64))]
        if value is not None:
            more.append(self.constant(np.float32(value)))
        return self.add("Pad", *more, mode=mode)

    def gru(self, n_in, hidden):
        """[1, n_in, T] -> [1, hidden, T]"""
        self.add("Transpose", perm=[2, 0, 1])
        W, R = (self.rng.normal(size=(1, 3 * hidden, n)).astype(np.float32) * np.float32(0.4) for n in (n_in, hidden))
        b = self.rng.normal(size=(1, 6 * hidden)).astype(np.float32)
        self.add("GRU", *map(self.constant, (W, R, b)), hidden_size=hidden, linear_before_reset=1)
        self.add("Squeeze", self.constant(np.array([1], np.int64)))
        return self.add("Transpose", perm=[1, 2, 0])

    def graph(self):
        return helper.make_graph(self.nodes, "g", [info("x", self.shape)], [info(self.last)], self.weights)


# -- numbers --------------------------------------------------------------------------------------------------------


def random(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def cell(rng, op, n_in, n_hidden, directions=1, bias=False):
    """W, R (and B) of a recurrent node."""
    rows = GATES[op] * n_hidden
    shapes = {"W": (rows, n_in), "R": (rows, n_hidden), **({"B": (2 * rows,)} if bias else {})}
    return {name: random(rng, directions, *shape) / 2 for name, shape in shapes.items()}


# -- ONNX Runtime ---------------------------------------------------------------------------------------------------


def session_of(source, optimise=True):
    """optimise=False: without what rewrites the graph, some of which changes numbers."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(bytes_of(source), options, providers=["CPUExecutionProvider"])


def peer(source, feeds, optimise=True):
    """The outputs of a model, by name."""
    session = session_of(source, optimise)
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


def stepped(source, feeds, states, fixed=None):
    """A model of one step, called for every frame: {output: (T, *its shape)}, but for states.

    feeds: input -> (T, *its shape); states: input -> (the output that returns it, its shape), which starts at zero and
    is carried; fixed: input -> what it is in every step.
    """
    session = session_of(source)
    names = [o.name for o in session.get_outputs()]
    bools = {i.name for i in session.get_inputs() if i.type == "tensor(bool)"}
    carried = {n: np.zeros(shape, bool if n in bools else np.float32) for n, (_, shape) in states.items()}
    returned = {output for output, _ in states.values()}
    rows = {name: [] for name in names if name not in returned}
    for frame in zip(*feeds.values(), strict=True):
        given = dict(zip(feeds, frame, strict=True))
        made = dict(zip(names, session.run(None, {**(fixed or {}), **given, **carried}), strict=True))
        carried = {name: made[output] for name, (output, _) in states.items()}
        for name, row in rows.items():
            row.append(made[name])
    return {name: np.stack(row) for name, row in rows.items()}


# -- what is made of them -------------------------------------------------------------------------------------------


def last_row(graph, name, y):
    """An output that is given once, also where a stream gives it with every frame."""
    return y[-1] if y.ndim > len(graph.values[graph.outputs[name]].shape) else y


def agree(graph, X, expected, once=(), atol=FLOAT32_PEER, **kwargs):
    """Outputs of the Graph, in float64, against (T, *frame) arrays."""
    made = reference.evaluate(graph, X, **kwargs).outputs
    assert set(made) == set(expected)
    for name, e in expected.items():
        y = last_row(graph, name, made[name]) if name in once else made[name]
        np.testing.assert_allclose(y, e, rtol=0, atol=atol, err_msg=name)
