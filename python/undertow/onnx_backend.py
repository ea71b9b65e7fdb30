# SPDX-License-Identifier: MIT
"""ONNX's standard backend interface, so that ONNX's own test runner can judge undertow.

>>> import onnx, undertow.onnx_backend as backend              # doctest: +SKIP
>>> Y, Y_h = backend.prepare(onnx.load("gru.onnx")).run([X])    # doctest: +SKIP

Tensors have the shapes of the ONNX model. Weights that are graph inputs are bound as constants when `run` is called,
the items of a batch run one after another, each from its own initial state and to its own length. For streaming use
`undertow.load`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .errors import ShapeError, UnsupportedError
from .importers.onnx.file.definitions import in_onnx
from .importers.onnx.file.floats import in_float32
from .importers.onnx.file.functions import expanded
from .importers.onnx.file.old_scans import newer_scans
from .importers.onnx.file.read import check_model, require_onnx
from .importers.onnx.search import Imported, import_program
from .importers.onnx.simplify.program import RECURRENT, Program, make_program
from .importers.onnx.tensors import Tensors
from .importers.onnx.traits import FOLDED_ONLY, OPERATORS
from .ir.graph import Graph

require_onnx()

from onnx import ModelProto, NodeProto, defs, helper  # noqa: E402
from onnx.backend.base import Backend, BackendRep  # noqa: E402

#: what is computed in float32, and given back as it came
_OTHER_FLOATS = ("float16", "bfloat16", "float64")
Runner = Callable[..., Any]
#: inputs of RNN, GRU and LSTM that are weights: W, R, B, P
_WEIGHT_SLOTS = (1, 2, 3, 7)
#: compiled graphs that one prepared model keeps, one for each set of sizes and weights
_KEPT = 8


class UndertowBackend(Backend):
    """See the module."""

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device.split(":")[0] == "CPU"

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        known = {op.name for op in OPERATORS.values() if not op.refused}
        return cls.supports_device(device) and all(
            node.op_type in known and not node.domain for node in model.graph.node
        )

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> PreparedModel:
        """Check a model. Raises FormatError; what is not supported is found when `run` knows the sizes.

        kwargs: `isa` forces an instruction set as in `undertow.load`; "reference" is the float64 evaluator.
        """
        if not cls.supports_device(device):
            raise UnsupportedError(f"device {device!r} is not supported, expected CPU")
        return PreparedModel(check_model(model), kwargs.get("isa"))

    @classmethod
    def run_node(
        cls, node: NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[Any, ...]:
        """Run one node on arrays, given in the order of its inputs (those with a name)."""
        names = [name for name in node.input if name]
        arrays = [np.asarray(array) for array in (inputs.values() if isinstance(inputs, Mapping) else inputs)]
        if len(arrays) != len(names):
            raise ShapeError(
                f"{node.op_type} node {node.name!r} has {len(names)} inputs, {len(arrays)} arrays were given"
            )
        graph = helper.make_graph(
            [node],
            node.op_type,
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
                for name, array in zip(names, arrays, strict=True)
            ],
            [helper.make_empty_tensor_value_info(name) for name in node.output if name],
        )
        opset = helper.make_opsetid(node.domain, kwargs.get("opset_version", defs.onnx_opset_version()))
        return PreparedModel(helper.make_model(graph, opset_imports=[opset]), kwargs.get("isa")).run(arrays)


class PreparedModel(BackendRep):
    """A checked model; `run` imports and compiles it for the sizes and weights that it is given."""

    def __init__(self, model: ModelProto, isa: str | None = None) -> None:
        self._dtypes = {v.name: _dtype(v) for v in model.graph.output}
        self.model = ModelProto()
        self.model.CopyFrom(model)
        in_float32(self.model)
        self.model = expanded(in_onnx(newer_scans(self.model)))
        self.isa = isa
        held = {t.name for t in model.graph.initializer}
        self.input_names = [v.name for v in model.graph.input if v.name not in held]
        self._branches = any(node.op_type in ("If", "Loop") for node in model.graph.node)
        self._compiled: list[tuple[dict[str, np.ndarray], dict[str, tuple[int, ...]], Imported, Runner]] = []

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Run on arrays in the order of the graph's inputs, or a dict of them; gives a tuple in order of its outputs.

        Raises:
            UnsupportedError: what `undertow.load` refuses, too.
            ShapeError: arrays that do not fit the model.
        """
        arrays = self._by_name(inputs)
        known = self._folded(arrays)
        if known is not None:
            return known
        imported, run, fixed = self._compile(arrays)
        outputs = _run(imported, run, {name: array for name, array in arrays.items() if name not in fixed})
        return tuple(outputs[v.name].astype(self._dtypes[v.name]) for v in self.model.graph.output)

    def _folded(self, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, ...] | None:
        """The outputs of a model without operators that have anything to do at run time; None of any other model."""
        if not all(node.op_type in (*FOLDED_ONLY, "If", "Loop") for node in self.model.graph.node):
            return None
        program = make_program(self.model, arrays)
        if any(name not in program.constants for name in program.outputs):
            return None
        return tuple(program.constants[name].astype(self._dtypes[name]) for name in program.outputs)

    def _by_name(self, inputs: Any) -> dict[str, np.ndarray]:
        if isinstance(inputs, Mapping):
            arrays = {name: np.asarray(array) for name, array in inputs.items()}
        else:
            inputs = list(inputs) if isinstance(inputs, Sequence) else [inputs]
            arrays = dict(zip(self.input_names, map(np.asarray, inputs), strict=False))
            if len(inputs) != len(self.input_names):
                raise ShapeError(f"{len(inputs)} arrays were given, the model has inputs {self.input_names}")
        if set(arrays) != set(self.input_names):
            raise ShapeError(f"arrays were given for {sorted(arrays)}, the model has inputs {self.input_names}")
        return {name: a.astype(np.float32) if str(a.dtype) in _OTHER_FLOATS else a for name, a in arrays.items()}

    def _compile(self, arrays: dict[str, np.ndarray]) -> tuple[Imported, Runner, set[str]]:
        shapes = {name: array.shape for name, array in arrays.items()}
        for fixed, sizes, imported, run in self._compiled:
            if sizes == shapes and all(_same(arrays[name], array) for name, array in fixed.items()):
                return imported, run, set(fixed)
        fixed, imported = self._import(arrays, shapes)
        run = _runner(imported.graph, self.isa)
        self._compiled = [
            *self._compiled[1 - _KEPT :],
            ({n: a.copy() for n, a in fixed.items()}, shapes, imported, run),
        ]
        return imported, run, set(fixed)

    def _import(
        self, arrays: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]
    ) -> tuple[dict[str, np.ndarray], Imported]:
        """Bind weights, and from the last on what else must be constant; give (bound inputs, import)."""
        sizes = {name: shape for name, shape in shapes.items() if all(shape)}
        weights = _weight_inputs(make_program(self.model, shapes=sizes))
        fixed = {name: array for name, array in arrays.items() if name in weights or name not in sizes}
        free = [name for name in self.input_names if name not in fixed]
        first: UnsupportedError | None = None
        while True:
            left = {name: shape for name, shape in sizes.items() if name not in fixed}
            try:
                return fixed, import_program(make_program(self.model, fixed, left), exact=True, keep_states=True)
            except UnsupportedError as error:
                first = first or error
            if len(free) < 2 and (not free or not self._branches):
                raise first
            name = free.pop()
            fixed[name] = arrays[name]


def _weight_inputs(program: Program) -> set[str]:
    """Inputs that serve as weights of recurrent nodes, directly or moved, and as nothing else."""
    weights: set[str] = set()
    other: set[str] = set()
    for node in reversed(program.nodes):
        slots = dict(enumerate(node.inputs))
        if node.op in RECURRENT:
            weights |= {name for i, name in slots.items() if i in _WEIGHT_SLOTS and name}
            other |= {name for i, name in slots.items() if i not in _WEIGHT_SLOTS and name}
        elif set(node.outputs) & weights:
            weights |= set(node.inputs) - {""}
        else:
            other |= set(node.inputs)
    return {port.name for port in program.inputs} & (weights - other)


def _dtype(value: Any) -> np.dtype:
    """The dtype of a graph output; float32 where the file says nothing."""
    element = value.type.tensor_type.elem_type
    return np.dtype(helper.tensor_dtype_to_np_dtype(element) if element else np.float32)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _runner(graph: Graph, isa: str | None) -> Runner:
    """`run(X, state=, length=)` of the engine; of the float64 reference if told so, or where no engine is built."""
    try:
        from .model import Model
    except ImportError:
        isa = "reference"
    if isa == "reference" or not graph.inputs:  # all that is left without an input are constants
        from .reference import run

        return lambda X, state, length: run(graph, X, state, length)
    return Model.from_graph(graph, isa=isa).run


def _run(imported: Imported, run: Runner, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of the file: the items of a batch run one after another."""
    tensors, n_steps, n_items = Tensors(imported), imported.reading.n_steps, imported.reading.n_items
    frames, states = tensors.frames(arrays, n_steps, n_items), tensors.states(arrays, n_items)
    lengths = tensors.lengths(arrays, n_steps, n_items)
    results: dict[str, list[np.ndarray]] = {name: [] for name in imported.outputs}
    for item in range(n_items):
        X = {name: _as_fed(x[item], imported.inputs[name].dtype) for name, x in frames.items()}
        state = {field: rows[item] for field, rows in states.items()} or None
        length = None if lengths is None else lengths[item]
        Y = run(next(iter(X.values())) if len(X) == 1 else X, state=state, length=length)
        for name, y in (Y if isinstance(Y, Mapping) else {next(iter(results)): Y}).items():
            results[name].append(np.asarray(y))
    return tensors.outputs({name: np.stack(ys) for name, ys in results.items()}, n_steps, n_items, lengths)


def _as_fed(x: np.ndarray, dtype: str) -> np.ndarray:
    return np.ascontiguousarray(x, np.float32 if dtype == "float32" else None)  # ids are looked at by `run`


prepare = UndertowBackend.prepare
run_node = UndertowBackend.run_node
run_model = UndertowBackend.run_model
supports_device = UndertowBackend.supports_device
is_compatible = UndertowBackend.is_compatible
