# SPDX-License-Identifier: MIT
"""An .onnx file as one who calls it sees it: arrays by the file's names in, arrays out, nothing kept in between.

Every call is a function of its arrays. States that the file takes go into a stream before its one step and come out
with its outputs, so that nothing has to be known of what the caller does with them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from threading import RLock
from typing import Any
from warnings import warn

import numpy as np

from ..errors import Error, ModelWarning, UnsupportedError
from ..importers.onnx import import_call, prepared
from ..importers.onnx.file.read import read_model, require_onnx
from ..importers.onnx.search import Imported
from ..importers.onnx.tensors import Tensors
from ..loading import built, told_of, within
from ..model import Model
from ..stream import Call
from ._errors import InvalidArgument
from ._fed import are_alike, fed_anew, weights_fed
from ._starts import taken_apart

#: plans for sizes and bound values that are kept, and after how many of them it is said that each costs time
_KEPT, _MANY = 16, 16
#: files of others than that have weights among their inputs because they must, not to have them fed
_OVERRIDABLE_FROM = 4
#: axes of an array that a `Call` takes
_AXES = 7
#: an integer input of at most so many elements may be what a branch is chosen by
_FEW = 64


@dataclass(frozen=True)
class Port:
    """An input or output of a file. shape: sizes, names of open ones or None; None if the file does not say any."""

    name: str
    dtype: np.dtype | None
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class ModelMetadata:
    """What a file says of itself."""

    producer_name: str
    graph_name: str
    domain: str
    description: str
    graph_description: str
    version: int
    custom_metadata_map: dict[str, str]


class File:
    """An .onnx file, and the plans by which its calls are computed.

    Attributes:
        inputs, outputs: `Port` by name, in the file's order; weights that a file lists as inputs too are none.
        overridable: `Port` by name of weights that have a value in the file, which a call may give another one.
        metadata: what the file says of itself.
    """

    def __init__(
        self,
        path: Path,
        isa: str | None = None,
        sizes: Mapping[str, int] | None = None,
        proto: Any = None,
        weights: Sequence[str] = (),
    ) -> None:
        """
        Args:
            sizes: name of an open size -> what it always is.
            proto: what the path holds, where it was read before.
            weights: inputs that have a value in the file as it was, in place of which they are fed.
        """
        self.path, self._isa, self._sizes = path, isa, dict(sizes or {})
        onnx = require_onnx()
        with told_of(path), within(path):
            proto = read_model(path) if proto is None else proto
            self._prepared = prepared(proto)
        held = {tensor.name for tensor in proto.graph.initializer}
        values = [value for value in proto.graph.input if value.name not in held]
        listed = [value for value in proto.graph.input if value.name in held and proto.ir_version >= _OVERRIDABLE_FROM]
        self.overridable = {value.name: _port(onnx, value, self._sizes) for value in listed}
        self._weights = weights_fed(proto.graph)
        self._others = [name for name in weights if name not in self._weights]
        self.inputs = {value.name: _port(onnx, value, sizes or {}) for value in values}
        self._declared = {value.name: _port(onnx, value, {}).shape for value in values}
        self.outputs = _outputs(onnx, proto)
        self.metadata = _metadata(proto)
        #: of which `_for` makes others: what is read anyway, unless weights went into other nodes there
        self._proto = self._prepared if are_alike(proto, self._prepared) else proto
        if not self.overridable and all(port.shape != () for port in self.inputs.values()):
            self._proto = None
        self._fed_anew: OrderedDict[Any, File] = OrderedDict()
        self._plans: OrderedDict[Any, Plan | Chain] = OrderedDict()
        self._chain: Chain | None = None
        self._is_whole = False
        self._refused: dict[Any, Error] = {}
        self._n_plans = 0
        self._lock = RLock()

    def check(self) -> None:
        """Refuse a file that no call could be computed of, as far as that is known before one.

        Raises:
            UnsupportedError, FormatError: see `undertow.load`.
        """
        if self._weights:
            return
        try:
            self._open({})
        except Error:
            open_sizes = any(port.shape is None or not _fixed(port.shape) for port in self.inputs.values())
            chosen = any(port.dtype is not None and port.dtype.kind in "iub" for port in self.inputs.values())
            if not open_sizes and not chosen:
                self.plan({p.name: np.zeros(p.shape or (), p.dtype) for p in self.inputs.values()})  # type: ignore

    def plan(self, arrays: Mapping[str, np.ndarray]) -> Plan | Chain:
        """How a call of such arrays is computed: of their shapes, and the values of those that must be bound.

        Raises:
            UnsupportedError: it is not.
        """
        with self._lock:
            return self._for(arrays)._plan(arrays)

    def _for(self, arrays: Mapping[str, np.ndarray]) -> File:
        """The file as it is fed: with weights that have a value in it, or single numbers with axes."""
        weights = tuple(name for name in self.overridable if name in arrays)
        ranks = {name: a.ndim for name, a in arrays.items() if a.ndim and name not in weights
                 and self.inputs[name].shape == ()}  # fmt: skip
        if not (weights or ranks):
            return self
        key = (weights, *ranks.items())
        if key not in self._fed_anew:
            proto = fed_anew(self._proto, weights, ranks)
            self._fed_anew[key] = File(self.path, self._isa, self._sizes, proto, weights)
            while len(self._fed_anew) > _KEPT:
                self._fed_anew.popitem(last=False)
        return self._fed_anew[key]

    def is_open(self, arrays: Mapping[str, np.ndarray]) -> bool:
        """Whether a model of any sizes takes these."""
        with self._lock:
            shapes = {name: array.shape for name, array in arrays.items()}
            try:
                plan: Plan | Chain | None = self._open({})
            except Error:
                plan = self._in_parts()
            return plan is not None and plan.takes(arrays, shapes)

    def _plan(self, arrays: Mapping[str, np.ndarray]) -> Plan | Chain:
        shapes = {name: array.shape for name, array in arrays.items()}
        for key, plan in reversed(self._plans.items()):
            if plan.takes(arrays, shapes):
                self._plans.move_to_end(key)
                return plan
        first: Error | None = None
        for fixed in self._ways_to_bind(arrays):
            try:
                plan = self._planned(arrays, shapes, fixed)
            except Error as error:
                first = first if first is not None and not _asks_to_bind(first) else error
                continue
            if plan.key is None:
                self._warn_of_sizes(shapes)
            return self._keep(plan)
        assert first is not None
        raise first

    def _planned(self, arrays: Mapping[str, np.ndarray], shapes: Mapping[str, Any], fixed: list[str]) -> Plan | Chain:
        bound = {name: arrays[name] for name in fixed}
        try:
            plan = self._open(bound)
            if plan.takes(arrays, shapes):
                return plan
        except Error:  # parts may be of any sizes, or the sizes tell
            if not fixed and (chain := self._in_parts()) is not None and chain.takes(arrays, shapes):
                return chain
        sizes = {name: list(shape) for name, shape in shapes.items() if name not in fixed}
        empty = [name for name, shape in sizes.items() if 0 in shape]
        if empty:
            raise InvalidArgument(f"input {empty[0]!r} has shape {shapes[empty[0]]}, without elements")
        refusal: Error | None = None
        try:
            plan = self._made(bound, sizes, False)
            if plan.takes(arrays, shapes):
                return plan
        except Error as error:
            refusal = error
        try:
            plan = self._made(bound, sizes, True)
            plan.check_lengths(arrays)
        except Error as error:
            raise refusal or error from None
        return plan

    def _warn_of_sizes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Say that sizes differ which the file calls alike, and which the nodes broadcast."""
        first: dict[str, tuple[str, int]] = {}
        for name, shape in shapes.items():
            for called, n in zip(self.inputs[name].shape or (), shape, strict=False):
                other, m = first.setdefault(called, (name, n)) if isinstance(called, str) else (name, n)
                if n != m:
                    warn(
                        f"{self.path.name}: {called!r} is {m} in input {other!r} and {n} in {name!r}; the one is "
                        "repeated for the other, which ONNX Runtime may refuse",
                        ModelWarning,
                        2,
                    )
                    return

    def _in_parts(self) -> Chain | None:
        """The file as what computes the starts of its layers, and what starts from them; None where it is one."""
        if self._chain is None and not self._is_whole:
            parts = taken_apart(require_onnx(), self._prepared)
            self._is_whole = parts is None
            if parts is not None:
                first, second = (File(self.path, self._isa, self._sizes, part) for part in parts[:2])
                self._chain = Chain(first, second, parts[2])
        return self._chain

    def _ways_to_bind(self, arrays: Mapping[str, np.ndarray]) -> Iterator[list[str]]:
        """Inputs whose values may have to be known: weights, or none; such as choose branches; all of integers."""
        whole = [n for n, a in arrays.items() if a.dtype.kind in "iub"]
        ways = [[], [n for n in whole if arrays[n].size <= 1], [n for n in whole if arrays[n].size <= _FEW]]
        weights = [self._weights, [*self._weights, *self._others], []]
        ways = [[*names, *way] for i, names in enumerate(weights) if names not in weights[:i] for way in ways]
        yield from (way for i, way in enumerate(ways) if way not in ways[:i] and len(way) < max(1, len(arrays)))

    def _open(self, bound: dict[str, np.ndarray]) -> Plan | Chain:
        """A plan for whatever sizes the file leaves open."""
        key = ("open", *((name, array.shape, blake2b(array.tobytes()).digest()) for name, array in bound.items()))
        if key in self._refused:
            raise self._refused[key].with_traceback(None)  # or it would hold the frames of every call that it ended
        if key not in self._plans:
            known = {
                port.name: [n if isinstance(n, int) else None for n in port.shape]
                for port in self.inputs.values()
                if port.shape is not None and port.name not in bound and port.shape != self._declared[port.name]
            }
            try:
                plan = self._made(bound, known, False)
            except Error as error:
                if len(self._refused) < _KEPT:
                    self._refused[key] = error
                raise
            plan.key = key
            self._store(plan)
        return self._plans[key]

    def _made(self, bound: dict[str, np.ndarray], shapes: Mapping[str, Any], exact: bool) -> Plan:
        imported: list[Imported] = []

        def graph() -> Any:
            imported.append(import_call(self._prepared, bound, shapes, exact=exact))
            if not imported[0].graph.inputs:
                raise UnsupportedError("no frame comes in: all that it gives is constant")
            return imported[0].graph

        with told_of(self.path):
            model = built(self.path, graph, self._isa)
        if imported[0].unrounded:
            named = ", ".join(imported[0].unrounded[:2])
            warn(f"{named}: rounded to 8 bits in the file, and not here; numbers differ by that", ModelWarning, 2)
        self._n_plans += 1
        if self._n_plans == _MANY:
            values = f" and values of {', '.join(bound)}" if bound else ""
            warn(
                f"{self.path.name}: {_MANY} calls of new sizes{values} have each taken the time of a load; calls of "
                "sizes that come again do not",
                ModelWarning,
                2,
            )
        whole = all(n is not None for shape in shapes.values() for n in shape) and bool(shapes)
        return Plan(imported[0], model, bound, dict(shapes) if whole else None, (self.inputs, self.outputs))

    def _keep(self, plan: Plan | Chain) -> Plan | Chain:
        if plan.key is None:
            plan.key = object()
            self._store(plan)
        return plan

    def _store(self, plan: Plan | Chain) -> None:
        self._plans[plan.key] = plan
        while len(self._plans) > _KEPT:
            self._plans.popitem(last=False)


class Plan:
    """How calls of some sizes, or of any, are computed."""

    def __init__(
        self,
        imported: Imported,
        model: Model,
        bound: Mapping[str, np.ndarray],
        shapes: Mapping[str, Any] | None,
        ports: tuple[Mapping[str, Port], Mapping[str, Port]],
    ) -> None:
        """
        Args:
            shapes: of all inputs but those that are bound, where the plan is for these alone.
            ports: inputs and outputs of the file.
        """
        self.model, self.key = model, None  # type: Model, Any
        self._tensors, self._imported = Tensors(imported), imported
        self._shapes = None if shapes is None else {name: tuple(shape) for name, shape in shapes.items()}
        self._bound = {name: array.copy() for name, array in bound.items()}
        numbers = {name: i for i, name in enumerate(model.states)}
        self._fields = {
            name: [
                (numbers[field], np.ascontiguousarray(where, np.int64)) for field, where in parts if field in numbers
            ]
            for name, parts in imported.state_inputs.items()
        }
        self._inputs, self._outputs = ports
        self._calls: list[Call] = []

    def takes(self, arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether a call of these arrays is one of these sizes, with what is bound."""
        if self._tensors.sizes(shapes) is None:
            return False
        if self._shapes is not None and any(shapes[name] != shape for name, shape in self._shapes.items()):
            return False
        if self._tensors.wrong_length(arrays):
            return False
        given = {name: arrays[name] for name in self._bound}
        return all(given[n].shape == a.shape and given[n].tobytes() == a.tobytes() for n, a in self._bound.items())

    def check_lengths(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Refuse padded sequences of a file that masks them."""
        if why := self._tensors.wrong_length(arrays):
            raise UnsupportedError(f"{why}, which masks some; call it for each sequence alone, without padding")

    def run(self, arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], Call | Links | None]:
        """The outputs of the file by name, and what computes calls like this one, if that can be so.

        Raises:
            ShapeError: ids out of range, or lengths.
        """
        for name, n_rows in self._imported.from_the_end.items():
            if (ids := arrays[name]).min(initial=0) < 0:
                arrays = {**arrays, name: np.where((ids < 0) & (ids >= -n_rows), ids + n_rows, ids)}
        for call in self._calls:  # of which each thread that is at work has its own
            if (results := call(arrays)) is not None:
                return dict(zip(self.model.outputs, results, strict=True)), call
        if max((array.ndim for array in arrays.values()), default=0) <= _AXES:
            call = self._new_call(arrays)
            if (results := call(arrays)) is not None:
                self._calls = [*self._calls[1 - _KEPT :], call]
                return dict(zip(self.model.outputs, results, strict=True)), call
        shapes = {name: array.shape for name, array in arrays.items()}
        n_steps, n_items = self._tensors.sizes(shapes)  # type: ignore[misc]
        return self._run(arrays, n_steps, n_items), None

    def _new_call(self, arrays: Mapping[str, np.ndarray]) -> Call:
        numbers = {name: number for number, name in enumerate(self.model.inputs)}
        fed: list[tuple[str, str, np.dtype, tuple[int, ...], tuple[int, int], Any]] = []
        for name, array in arrays.items():
            dims, port = array.shape, self._inputs[name]
            if self._shapes is None and name not in self._bound:
                read = self._tensors.input_shapes.get(name, (-1,) * array.ndim)
                declared = read if port.shape is None or len(port.shape) != array.ndim else port.shape
                dims = tuple(n if isinstance(n, int) and m < 0 else m for n, m in zip(declared, read, strict=True))
            if name in numbers:
                fed.append((name, "frame", array.dtype, dims, self._tensors.axes(name), numbers[name]))
            elif name in self._fields:
                axes = (-1, self._tensors.state_axis(name))
                fed.append((name, "state", array.dtype, dims, axes, self._fields[name]))
            elif name in self._bound:
                fed.append((name, "bound", array.dtype, dims, (-1, -1), np.array(array, order="C")))
            elif name in self._imported.full_lengths:
                fed.append((name, "full", array.dtype, (-1,) * array.ndim, (-1, -1), None))
            elif name in self._imported.length_inputs:
                fed.append((name, "lengths", array.dtype, (-1,) * array.ndim, (-1, -1), None))
            else:
                fed.append((name, "unused", array.dtype, dims, (-1, -1), None))
        sizes = tuple(-1 if n is None else n for n in (self._tensors.n_steps, self._tensors.n_items))
        return Call(self.model, fed, [self._given(name) for name in self.model.outputs], sizes)

    def _given(self, name: str) -> tuple[Any, ...]:
        """An output, as `Call` is told of it."""
        once = self.model.outputs[name].once and not self.model.streamable
        time, batch = self._tensors.axes(name)
        shape = self._tensors.output_shape(name, self._tensors.n_steps or 1, self._tensors.n_items or 1)
        outer = self._tensors.outer(name)
        open_axes = [a for a, n in ((time, self._tensors.n_steps), (batch, self._tensors.n_items)) if n is None]
        dims = tuple(-1 if axis in open_axes else n for axis, n in enumerate(shape))
        frame = tuple(axis for axis in range(len(dims)) if axis not in outer)
        dtype = self._outputs[name].dtype or np.dtype(self.model.outputs[name].dtype)
        first, rows = self._tensors.first(name), self._tensors.rows(name, once)
        return name, dtype, dims, outer, frame, (time, batch), first, rows

    def _run(self, arrays: Mapping[str, np.ndarray], n_steps: int, n_items: int) -> dict[str, np.ndarray]:
        frames = {
            name: np.asarray(x, np.float32 if self._imported.inputs[name].dtype == "float32" else None, order="C")
            for name, x in self._tensors.frames(arrays, n_steps, n_items).items()
        }
        states = {n: x for n, x in self._tensors.states(arrays, n_items).items() if n in self.model.states}
        lengths = self._tensors.lengths(arrays, n_steps, n_items)
        each = []
        for item in range(n_items):
            X = {name: x[item] for name, x in frames.items()}
            state = {name: x[item] for name, x in states.items()}
            Y = self.model.run(X, state=state, length=None if lengths is None else lengths[item])
            each.append(Y if isinstance(Y, Mapping) else {next(iter(self.model.outputs)): Y})
        results = {name: np.stack([one[name] for one in each]) for name in self.model.outputs}
        return self._tensors.outputs(results, n_steps, n_items, lengths)


class Chain:
    """A file in two parts, of which the first gives what layers of the second start from. As a `Plan`."""

    def __init__(self, first: File, second: File, starts: list[str]) -> None:
        self.key: Any = None
        self._first, self._second, self._starts = first, second, starts

    def _given(self, arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], Call | Links | None]:
        """The arrays that the second part takes, and what computes those that the first gives."""
        taken = {name: arrays[name] for name in self._first.inputs}
        starts, call = self._first.plan(taken).run(taken)
        return {**arrays, **starts}, call

    def takes(self, arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether the second part is of any sizes, these among them."""
        try:
            given, _ = self._given(arrays)
            return self._second.is_open(given)
        except Error:
            return False

    def run(self, arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], Call | Links | None]:
        given, first = self._given(arrays)
        results, second = self._second.plan(given).run(given)
        if first is None or second is None:
            return results, None
        return results, Links(first, second, list(self._first.inputs), self._starts, len(arrays))


class Links:
    """As a `Call`, of two that follow each other."""

    def __init__(
        self, first: Call | Links, second: Call | Links, taken: list[str], starts: list[str], n_arrays: int
    ) -> None:
        """taken: arrays that the first takes, which gives `starts`; the second takes all n_arrays and these."""
        self._first, self._second, self._n_arrays = first, second, n_arrays
        self._taken, self._starts = taken, starts

    def __call__(self, feeds: Any, names: Any = None) -> list[np.ndarray] | None:
        if type(feeds) is not dict or len(feeds) != self._n_arrays:
            return None
        starts = self._first({name: feeds.get(name) for name in self._taken}, self._starts)
        if starts is None:
            return None
        given = {**feeds, **dict(zip(self._starts, starts, strict=True))}
        return self._second(given, names)  # type: ignore[no-any-return]


def _outputs(onnx: Any, proto: Any) -> dict[str, Port]:
    """The outputs, with sizes that follow from the nodes, as ONNX Runtime tells them."""
    declared = {value.name: _port(onnx, value, {}) for value in proto.graph.output}
    try:
        inferred = onnx.shape_inference.infer_shapes(proto)
    except Exception:  # of protobuf or onnx: nothing is computed from these sizes
        return declared
    names = {d.dim_param for v in [*proto.graph.input, *proto.graph.output] for d in v.type.tensor_type.shape.dim}
    ports = [_port(onnx, value, {}) for value in inferred.graph.output]
    return {
        p.name: p
        if p.shape is None
        else replace(p, shape=tuple(n if n in names or isinstance(n, int) else None for n in p.shape))
        for p in ports
    }


def _port(onnx: Any, value: Any, sizes: Mapping[str, int]) -> Port:
    kind = value.type.tensor_type
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    except KeyError:
        dtype = None
    if not kind.HasField("shape"):
        return Port(value.name, dtype, None)
    dims = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else d.dim_param or None for d in kind.shape.dim]
    return Port(value.name, dtype, tuple(sizes.get(n, n) if isinstance(n, str) else n for n in dims))


def _metadata(proto: Any) -> ModelMetadata:
    return ModelMetadata(
        proto.producer_name,
        proto.graph.name,
        proto.domain,
        proto.doc_string,
        proto.graph.doc_string,
        proto.model_version if proto.HasField("model_version") else 2**63 - 1,
        {entry.key: entry.value for entry in proto.metadata_props},
    )


def _fixed(shape: tuple[int | str | None, ...]) -> bool:
    return all(isinstance(n, int) for n in shape)


def _asks_to_bind(error: Error) -> bool:
    return "fixed=" in str(error)


__all__ = ["File", "Plan", "Port"]
