# SPDX-License-Identifier: MIT
"""One recurrent layer from one set of random weights, for undertow and for everybody it is measured against.

Every peer gets the leanest model that gives the same numbers and runs on one thread. A peer that is not installed is
left out; one that gives other numbers stops the benchmark.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

import undertow
from undertow.ir import precision

from .clock import Statement, Times

CELLS = ("rnn", "gru", "lstm")
GATES = {"rnn": 1, "gru": 3, "lstm": 4}

#: Largest difference between two outputs in [-1, 1] that is still the same network in float32.
AGREE = 1e-5

Arrays = dict[str, np.ndarray]


@dataclass
class Weights:
    """One layer: PyTorch's gate order (lstm i f g o, gru r z n) and its two biases.

    W: (G * H, I), R: (G * H, H), b and rb: (G * H,)
    """

    cell: str
    n_inputs: int
    n_hidden: int
    W: np.ndarray
    R: np.ndarray
    b: np.ndarray
    rb: np.ndarray

    @classmethod
    def random(cls, cell: str, n_inputs: int, n_hidden: int, seed: int = 0) -> Weights:
        rng = np.random.default_rng(seed)
        rows, bound = GATES[cell] * n_hidden, n_hidden**-0.5

        def draw(*shape: int) -> np.ndarray:
            return rng.uniform(-bound, bound, shape).astype(np.float32)

        return cls(cell, n_inputs, n_hidden, draw(rows, n_inputs), draw(rows, n_hidden), draw(rows), draw(rows))

    @property
    def states(self) -> tuple[str, ...]:
        return ("h", "c") if self.cell == "lstm" else ("h",)

    def undertow(self, isa: str | None = None, then: Sequence[undertow.layers.base.Layer] = ()) -> undertow.Model:
        """The layer, and those behind it."""
        name = f"{self.cell}-h{self.n_hidden}"
        if self.cell == "rnn":
            layer: Any = undertow.RNN(self.W, self.R, self.b, recurrent_bias=self.rb)
        elif self.cell == "gru":
            layer = undertow.GRU(self.W, self.R, self.b, recurrent_bias=self.rb, gate_order="rzn", reset_after=True)
        else:
            layer = undertow.LSTM(self.W, self.R, self.b, recurrent_bias=self.rb, gate_order="ifgo")
        return undertow.Sequential([layer, *then], name=name, isa=isa)

    def onnx(self, n_steps: int, outputs: tuple[str, ...], batch: int = 1) -> bytes:
        """An ONNX file of one node: x (n_steps, batch, I), and states (1, batch, H) as inputs if any Y_* is an output.

        outputs: some of "Y", "Y_h", "Y_c".
        """
        states = self.states if outputs != ("Y",) else ()
        places = ["Y", "Y_h", "Y_c"][: 1 + len(self.states)]
        node = self._node("x", states, [name if name in outputs else "" for name in places])
        shapes = {name: [1, batch, self.n_hidden] for name in ("Y_h", "Y_c", *states)}
        shapes |= {"x": [n_steps, batch, self.n_inputs], "Y": [n_steps, 1, batch, self.n_hidden]}
        return self._file([node], ("x", *states), outputs, shapes)

    def onnx_exported(self) -> bytes:
        """The ONNX file that torch.onnx.export writes for a batch-first module called with x and its state, one
        timestep: inputs x (1, 1, I), h and c, outputs y (1, 1, H), hn and cn, and transpositions around the node."""
        from onnx import helper, numpy_helper

        news = [f"{state}n" for state in self.states]
        nodes = [
            helper.make_node("Transpose", ["x"], ["x_t"], perm=[1, 0, 2]),
            self._node("x_t", self.states, ["y_d", *news]),
            helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.array([1]))),
            helper.make_node("Squeeze", ["y_d", "one"], ["y_t"]),
            helper.make_node("Transpose", ["y_t"], ["y"], perm=[1, 0, 2]),
        ]
        shapes = {name: [1, 1, self.n_hidden] for name in ("y", *self.states, *news)}
        return self._file(nodes, ("x", *self.states), ("y", *news), shapes | {"x": [1, 1, self.n_inputs]})

    def _node(self, x: str, states: tuple[str, ...], outputs: list[str]) -> Any:
        from onnx import helper

        reset = {"linear_before_reset": 1} if self.cell == "gru" else {}
        inputs = [x, "W", "R", "B", "", *states]
        return helper.make_node(self.cell.upper(), inputs, outputs, hidden_size=self.n_hidden, **reset)

    def _file(
        self, nodes: list[Any], inputs: Sequence[str], outputs: Sequence[str], shapes: dict[str, list[int]]
    ) -> bytes:
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        order = {"rnn": [0], "gru": [1, 0, 2], "lstm": [0, 3, 1, 2]}[self.cell]  # ONNX: gru z r h, lstm i o f c

        def gates(a: np.ndarray) -> np.ndarray:
            return a.reshape(len(order), self.n_hidden, -1)[order].reshape(1, -1, a.shape[-1] if a.ndim == 2 else 1)

        bias = np.concatenate([gates(self.b)[..., 0], gates(self.rb)[..., 0]], axis=1)
        weights = {"W": gates(self.W), "R": gates(self.R), "B": bias}
        graph = helper.make_graph(
            nodes,
            "bench",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in inputs],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
            [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        return model.SerializeToString()

    def torch(self) -> Any:
        import torch

        kind = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[self.cell]
        module = kind(self.n_inputs, self.n_hidden).eval()
        with torch.no_grad():
            for name, a in zip(
                ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), self._tensors(), strict=True
            ):
                getattr(module, name).copy_(torch.from_numpy(a))
        return module

    def _tensors(self) -> tuple[np.ndarray, ...]:
        return self.W, self.R, self.b, self.rb


@dataclass
class Contender:
    """One way to run the layer.

    Attributes:
        statement: the code to time.
        answer: (T, I) inputs -> (T, H) outputs from a zero state, by the same calls as the statement's. With a batch:
            (T, batch, I) -> (T, batch, H).
        error: least and largest difference from the outputs of the first. The least is above 0 where weights are
            rounded: who does not differ at all did not round, whatever it was asked for.
    """

    name: str
    statement: Statement
    answer: Callable[[np.ndarray], np.ndarray]
    error: tuple[float, float] = (0.0, AGREE)


def check(contenders: list[Contender], X: np.ndarray) -> None:
    """Raise SystemExit unless all give the first one's outputs, within their `error`."""
    expected = contenders[0].answer(X)
    for other in contenders[1:]:
        least, most = other.error
        error = float(np.abs(other.answer(X) - expected).max())
        if not least <= error <= most:
            raise SystemExit(
                f"{other.name} and {contenders[0].name} differ by {error:.2g}, expected {least:g} to {most:g}"
            )


#: How much longer than the best of its peer's ways one may take in a first look, to be timed at all.
WAY_SLACK = 1.5


def fastest_ways(contenders: list[Contender]) -> list[Contender]:
    """Without those ways of a peer that are clearly not its best, which would only take time: of two calls of each."""
    names = [contender.name for contender in contenders]
    once: dict[int, float] = {}
    for i, contender in enumerate(contenders):
        if names.count(contender.name) > 1:
            timer = contender.statement.timer(time.process_time)
            timer.timeit(1)
            once[i] = min(timer.repeat(2, 1)) / contender.statement.per
    best = {names[i]: min(once[k] for k in once if names[k] == names[i]) for i in once}
    return [c for i, c in enumerate(contenders) if i not in once or once[i] <= WAY_SLACK * best[c.name]]


def best_ways(contenders: Sequence[Contender], times: Sequence[Times]) -> dict[str, Times]:
    """name -> times of the fastest contender of that name."""
    best: dict[str, Times] = {}
    for contender, t in zip(contenders, times, strict=True):
        if contender.name not in best or t.median < best[contender.name].median:
            best[contender.name] = t
    return best


def isa() -> str:
    """The instruction set that undertow takes here."""
    return Weights.random("rnn", 1, 1).undertow().isa


def ours(precision: str) -> str:
    """The name of undertow among contenders."""
    return "undertow" if precision == "float32" else f"undertow {precision}"


def known(*precisions: str) -> tuple[str, ...]:
    """Those of these precisions that this undertow has."""
    return tuple(name for name in precisions if name in precision.CODES)


@contextmanager
def optional(what: str, missing: list[str]) -> Iterator[None]:
    """Lets a peer that is not installed be absent, and notes that it was."""
    try:
        yield
    except ImportError as error:
        missing.append(f"{what} is not measured: {error}")


def inference_mode() -> Any:
    """PyTorch's mode without gradients, where there is PyTorch."""
    try:
        import torch
    except ImportError:
        return nullcontext()
    return torch.inference_mode()


def single_thread() -> None:
    """Before any peer is imported: one thread for every library that would take more."""
    import os

    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"


def ort_session(model: bytes) -> Any:
    """A session as an expert sets it up for one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
