# SPDX-License-Identifier: MIT
"""An ONNX graph made ready to be walked: nodes in order, constants folded, inputs and outputs described."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from heapq import heappop, heappush
from typing import Any

import numpy as np

from ...._text import shown
from ....errors import ShapeError, UnsupportedError
from ..advice import Caller
from ..file import limits
from ..file.nodes import OnnxNode, flat, needed
from ..file.protos import identity
from ..file.read import file_bytes, require_onnx
from ..traits import MOVEMENT, OPERATORS, RUNTIME, traits, why_refused
from .attention import Attention, attention_in
from .budget import Effort
from .fold import Evaluator
from .ids import Ids
from .lengths import FullLength, FullLengths
from .ports import ID_TYPES, Port, dims_of, dtype_of, override, port_of
from .positions import Positions
from .required_inputs import check_bound
from .resolve import Resolver
from .starts import computed_from, folded_products, of_one_place
from .unrolled import rolled_up, written_out
from .unrolled_given import Given
from .unrolled_sums import with_sums

RECURRENT = ("RNN", "GRU", "LSTM")
#: types of ids, as attributes have them
_INT32, _INT64 = 6, 7
#: numbers that a float32 frame holds exactly
NUMBER_TYPES = ("float32", "bool", "int8", "uint8", "int16", "uint16")


@dataclass
class Program:
    """What a walk needs to know.

    inputs: frames (each timestep brings one); state_inputs: by use, the initial state of a recurrent node;
    length_inputs: the sequence_lens of recurrent nodes.
    """

    name: str
    opset: int
    nodes: list[OnnxNode]
    constants: dict[str, np.ndarray]
    inputs: list[Port]
    outputs: list[str]
    output_dims: dict[str, list[int | str]]
    origin: str = ""
    state_inputs: list[Port] = field(default_factory=list)
    length_inputs: list[str] = field(default_factory=list)
    #: inputs that say how long a sequence is, and follow from the size of another
    full_lengths: dict[str, FullLength] = field(default_factory=dict)
    effort: Effort = field(default_factory=Effort)
    #: output -> its shape as the file declares it, where it does
    declared: dict[str, list[int | str]] = field(default_factory=dict)
    #: outputs that hold booleans, and those that hold ids
    booleans: set[str] = field(default_factory=set)
    integers: set[str] = field(default_factory=set)
    #: positions that count in float32 -> the output that returns each
    counted: dict[str, str] = field(default_factory=dict)
    #: states of operators that have one -> the output that is each after it
    carried_on: Mapping[str, str] = field(default_factory=dict)
    #: positions that the caller brings -> the output that is left out, which would be the next one
    brought: dict[str, str] = field(default_factory=dict)
    #: input -> its axis of time, None where it has none; or the one that every input has which has any
    time_axis: int | Mapping[str, int | None] | None = None
    #: frames of a sequence, at most, where the caller says so
    max_frames: int | None = None
    #: state input -> what a sequence starts with, where that is no zeros
    starts: dict[str, np.ndarray] = field(default_factory=dict)
    #: who is told what may help
    caller: Caller = field(default_factory=Caller)
    #: constants that the caller has bound, and what was computed from them
    bound: set[str] = field(default_factory=set)
    #: what is computed from one place along an axis, as a loop over time takes timesteps
    picked: set[str] = field(default_factory=set)
    #: whether the caller has said that no output returns a state
    no_states: bool = False
    #: whether it is one call, behind which nothing goes on, so that it says nothing what states are called
    is_call: bool = False
    #: matrix products with what a recurrence may start from, which were computed while loading, and what they multiply
    folded_products: list[tuple[OnnxNode, list[np.ndarray]]] = field(default_factory=list)
    #: inputs that change nothing
    unused: list[Port] = field(default_factory=list)
    #: finds a node of a loop that was written out, if there is one
    written_out: Callable[[], OnnxNode | None] = lambda: None
    #: the same with its written out loops rolled up, where there are such
    rolled: Program | None = None

    @cached_property
    def is_recurrent(self) -> bool:
        return any(node.op in RECURRENT or is_loop(node, self.constants) for node in flat(self.nodes))

    @cached_property
    def open_names(self) -> set[str]:
        """How open axes of the inputs are called."""
        return {n for p in [*self.inputs, *self.state_inputs] for n in p.dims if isinstance(n, str)} - {""}

    def may_be_time(self, port: Port, axis: int | None) -> bool:
        """Whether the caller leaves it open that an axis of an input is time, None: that it has none."""
        if self.time_axis is None:
            return True
        if isinstance(self.time_axis, int):
            return axis is None or axis == self.time_axis % max(len(port.dims), 1)
        given = self.time_axis.get(port.name, axis)
        return axis == (None if given is None else given % max(len(port.dims), 1))

    @cached_property
    def producer(self) -> dict[str, OnnxNode]:
        """Value -> the node of the graph that computes it."""
        return {result: node for node in self.nodes for result in node.outputs if result}

    @cached_property
    def readers(self) -> dict[str, list[tuple[int, OnnxNode]]]:
        """Value -> (place, node) of those that read it, in order, both branches in place of every If."""
        readers: dict[str, list[tuple[int, OnnxNode]]] = {}
        for place, node in enumerate(flat(self.nodes)):
            for name in node.uses:
                readers.setdefault(name, []).append((place, node))
        return readers

    @cached_property
    def attention(self) -> Attention:
        """Where attention is computed."""
        return attention_in(self.nodes, self.constants)

    def depends(self, value: str, name: str) -> bool:
        """Whether a value is computed from an input."""
        bit = self._reach.get(name, 0)
        return value == name or bool(self._reach.get(value, 0) & bit)

    @cached_property
    def _reach(self) -> dict[str, int]:
        """The inputs of the graph that each value is computed from, as bits of a number."""
        ports = [port.name for port in (*self.inputs, *self.state_inputs)]
        reach = {name: 1 << i for i, name in enumerate([*ports, *self.length_inputs])}
        for node in self.nodes:
            mine = 0
            for name in node.uses:
                mine |= reach.get(name, 0)
            reach.update(dict.fromkeys(node.outputs, mine))
        return reach


def carries(node: OnnxNode, constants: Mapping[str, np.ndarray]) -> bool:
    """Whether a node only moves elements: a choice does, when the condition is known."""
    return (node.op in MOVEMENT or traits(node.op).carries) and (node.op != "Where" or node.inputs[0] in constants)


def is_loop(node: OnnxNode, constants: Mapping[str, np.ndarray]) -> bool:
    """Whether a node could walk over time: a Scan, or a Loop whose body sees more of the frames than it carries."""
    return node.op == "Scan" or (node.op == "Loop" and not node.bodies["body"].captures <= constants.keys())


def _is_one_round(node: OnnxNode, constants: Mapping[str, np.ndarray]) -> bool:
    """Whether a Loop is sure to run once: that of a layer of one timestep, whose caller has its state."""
    trips = constants.get(node.inputs[0]) if node.op == "Loop" else None
    return trips is not None and trips.size == 1 and int(trips.reshape(())) == 1


def make_program(
    model: Any,
    fixed: Mapping[str, Any] | None = None,
    shapes: Mapping[str, Iterable[int | None]] | None = None,
    effort: Effort | None = None,
    *,
    counts: bool = False,
    states: Mapping[str, str] | None = None,
) -> Program:
    """Read a checked ModelProto.

    fixed: input name -> array, bound as a constant. shapes: input name -> shape, replacing the declared one (None:
    open). effort: of the load, where it has begun already. counts: whether positions may become states that count in
    float32; states: those that the caller says, as for `load`.

    Raises:
        UnsupportedError: operator set, dtype or operator that is not supported, by name.
        FormatError, ShapeError: the model, or an argument, does not fit.
    """
    onnx = require_onnx()
    graph = model.graph
    effort = Effort(file_bytes(model)) if effort is None else effort
    evaluator = Evaluator()
    opset = _opset(model)
    constants = {t.name: evaluator.to_array(t, t.name) for t in graph.initializer}
    ports = _ports(onnx, graph, constants, fixed or {}, shapes or {})
    resolver = Resolver(evaluator, opset, constants)
    for port in ports:
        resolver.set_type(port.name, port.dtype, [n if isinstance(n, int) else None for n in port.dims])
    held = effort.held(lambda: sum(array.nbytes for array in constants.values()))
    with held:
        nodes = resolver.run(graph)
    full = FullLengths(onnx, opset, nodes, ports, constants, resolver.sizes)
    nodes = [*full.nodes, *nodes]
    constants |= full.constants
    ports = [p for p in ports if p.name not in full.names]
    outputs = _output_names(resolver, nodes, graph)
    dims = {name: _output_dims(resolver, v) for name, v in zip(outputs, graph.output, strict=True)}
    origin = " ".join(shown(w) for w in ("ONNX opset", opset, model.producer_name, model.producer_version) if w)

    def finish(nodes: list[OnnxNode], constants: dict[str, np.ndarray]) -> Program:
        nodes = needed(nodes, outputs)
        used = {name for node in nodes for name in node.uses} | {*outputs}
        inputs = [replace(p) for p in ports if p.name in used]
        kept = {name: array for name, array in constants.items() if name in used}
        program = Program(graph.name or "model", opset, nodes, kept, inputs, outputs, dims, origin)
        program.full_lengths = full.names
        program.unused = [port for port in ports if port.name not in used]
        program.declared = {v.name: dims_of(v) for v in graph.output if v.type.tensor_type.HasField("shape")}
        dtypes = {v.name: dtype_of(onnx, v) for v in graph.output}
        program.booleans = {name for name, dtype in dtypes.items() if dtype == "bool"}
        program.integers = {name for name, dtype in dtypes.items() if dtype in ID_TYPES} - {*positions.pairs.values()}
        program.counted, program.brought = positions.pairs, positions.brought
        program.written_out = lambda: written_out(Given(nodes, constants, resolver.sizes, outputs, evaluator, {}))
        check_bound(nodes, program.inputs, constants)
        _sort_inputs(program)
        return program

    nodes = needed(nodes, outputs)
    _refuse_operators(nodes)
    _refuse_projected(nodes, lambda name: constants[name].shape if name in constants else resolver.sizes(name))
    ids = {port.name: port.dtype for port in ports if port.dtype in ID_TYPES}
    nodes = needed(Ids(nodes, constants, ids, evaluator).plain(), outputs)
    positions = Positions(nodes, constants, outputs, evaluator, resolver.sizes, opset)
    if counts:
        positions.count(ports, states)
        nodes = positions.nodes
    program = finish(nodes, constants)
    program.effort = effort
    program.bound = computed_from(resolver, set(fixed or {}))
    program.picked = of_one_place(nodes, constants)
    program.folded_products = folded_products(resolver, nodes, program.bound, program.picked)
    written = Given(nodes, dict(constants), resolver.sizes, outputs, evaluator, resolver.origins)
    with held:
        new_nodes, left = _rolled(written)
    if left is not None:
        program.written_out = lambda: left
    if new_nodes is not nodes:
        program.rolled = finish(new_nodes, written.constants)
        program.rolled.effort = Effort(effort.n_bytes)
        for name in ("folded_products", "bound", "picked"):
            setattr(program.rolled, name, getattr(program, name))
    effort.used += evaluator.n_made
    return program


def _ports(
    onnx: Any,
    graph: Any,
    constants: dict[str, np.ndarray],
    fixed: Mapping[str, Any],
    shapes: Mapping[str, Iterable[int | None]],
) -> list[Port]:
    """The inputs that the caller does not bind; those that are bound become constants."""
    ports = [port_of(onnx, v, {*fixed, *shapes}) for v in graph.input if v.name not in constants]
    known = {p.name for p in ports} | set(constants)
    for option, given in (("fixed", fixed), ("shapes", shapes)):
        for name in given:
            if name not in known:
                raise ShapeError(f"{option}: the model has no input {name!r}; inputs: {[p.name for p in ports]}")
    named: dict[str, int] = {}
    for port in ports:
        if port.name in shapes:
            declared, port.dims = port.dims, override(port, list(shapes[port.name]))
            pairs = zip(declared, port.dims, strict=False)
            named.update({a: b for a, b in pairs if isinstance(a, str) and a and isinstance(b, int)})
    for port in ports:  # an axis of the same name is of the same size; of an input that was given itself, it says so
        if port.name not in shapes:
            port.dims = [named.get(n, n) if isinstance(n, str) else n for n in port.dims]
    for name, array in fixed.items():
        constants[name] = _bind(name, array, ports, constants)
    return [p for p in ports if p.name not in constants]


def _rolled(written: Given) -> tuple[list[OnnxNode], OnnxNode | None]:
    """The nodes with written out loops rolled up, Gemms taken apart where that helps; a node of one that is left."""
    nodes, left = rolled_up(written)
    if left is not None or (nodes is written.nodes and written_out(written) is not None):
        apart = with_sums(written)
        others, rest = rolled_up(apart) if apart is not written else (written.nodes, left)
        if rest is None and others is not apart.nodes:
            return others, rest
    return nodes, left


def _opset(model: Any) -> int:
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    if opset is None:
        opsets = [(o.domain, o.version) for o in model.opset_import]
        raise UnsupportedError(f"the model uses none of ONNX's own operator sets, found {opsets}")
    if opset < limits.MIN_OPSET:
        raise UnsupportedError(
            f"operator set {opset} is not supported; convert the model to {limits.MIN_OPSET} or newer"
        )
    return int(opset)


def _bind(name: str, array: Any, ports: list[Port], constants: Mapping[str, np.ndarray]) -> np.ndarray:
    port = next((p for p in ports if p.name == name), None)
    dtype = port.dtype if port else str(constants[name].dtype)
    given = np.asarray(array)
    if given.dtype.kind not in "biuf":
        raise UnsupportedError(f"fixed: {name!r} is {array!r:.60}, expected numbers")
    with np.errstate(invalid="ignore"):
        result = given.astype(dtype)
    if result.dtype.kind in "biu" and not np.array_equal(result, given):
        raise UnsupportedError(
            f"fixed: {name!r} is {array!r:.60}, and the model takes {dtype}, which does not hold that"
        )
    if port and port.shaped and result.ndim != len(port.dims):
        raise ShapeError(f"fixed: {name!r} was given shape {result.shape}, the model declares {port.dims}")
    return result


def _output_dims(resolver: Resolver, value: Any) -> list[int | str]:
    """An output's shape: as it is computed where that can be told, since what files declare is often wrong."""
    declared, sizes = dims_of(value), resolver.sizes(value.name)
    if sizes is None:
        return declared
    names = [d if isinstance(d, str) else "" for d in declared] if len(declared) == len(sizes) else [""] * len(sizes)
    return [names[a] if n is None else n for a, n in enumerate(sizes)]


def _refuse_operators(nodes: list[OnnxNode]) -> None:
    """Refuse what no reading of the axes can help: operators of other domains, and those that are refused.

    What stands in a branch that is still open may never be taken, so it is left to the walk.
    """
    for node in flat(nodes):
        domain, _, op = node.op.rpartition(".")
        if domain.startswith(RUNTIME):
            node.unsupported(f"operators of this domain are ONNX Runtime's own, {_runtime_advice(domain, op)}")
        if domain:
            node.unsupported(f"this operator is not supported (it is none of ONNX's own, but of the domain {domain!r})")
    for node in nodes:
        if traits(node.op).refused or node.op not in OPERATORS:
            node.unsupported(f"this operator is not supported{why_refused(node.op)}")


def _refuse_projected(nodes: list[OnnxNode], sizes: Callable[[str], Sequence[int | None] | None]) -> None:
    """Refuse LSTMs whose memory is wider than their hidden state, for which ONNX has no operator."""
    for node in flat(nodes):
        names = [*node.inputs, *[""] * 7][5:7]
        h, c = (sizes(name) if name else None for name in names)
        if node.op == "LSTM" and h and c and h[-1] and c[-1] and h[-1] != c[-1]:
            node.format_error(
                f"its memory has {c[-1]} numbers and its hidden state {h[-1]}, which no LSTM of ONNX has: of "
                "nn.LSTM(proj_size=) torch.onnx.export writes an invalid file, which ONNX Runtime does not run either; "
                "undertow.from_torch(module, example) takes the module itself"
            )


def _runtime_advice(domain: str, op: str) -> str:
    if domain == f"{RUNTIME}.nchwc":
        return (
            "for the processor on which the file was optimised; load the file that this one was made from, or optimise "
            "it at level ORT_ENABLE_EXTENDED"
        )
    quantised = "; undertow.load(path, weights='int8') quantises it" if "Quant" in op or "Integer" in op else ""
    return (
        "of files that it has optimised or quantised, and this one is not computed; load the file that this one was "
        f"made from{quantised}"
    )


def _output_names(resolver: Resolver, nodes: list[OnnxNode], graph: Any) -> list[str]:
    """The outputs; what stands there twice, as an output and a state say, is copied under a name of its own."""
    names: list[str] = []
    for value in graph.output:
        name, n = value.name, 1
        while name in names or (n > 1 and (name in resolver.types or name in resolver.constants)):
            n += 1
            name = f"{value.name}_{n}"
        if n > 1:
            nodes.append(identity(resolver.onnx, value.name, name, resolver.opset))
            if value.name in resolver.constants:
                resolver.constants[name] = resolver.constants[value.name]
        names.append(name)
    return names


def _sort_inputs(program: Program) -> None:
    """Tell frames, initial states and sequence lengths apart by what they are used for."""
    starts: set[str] = set()
    lengths: set[str] = set()
    other: set[str] = set(program.outputs)
    for node in reversed(list(flat(program.nodes))):
        slots = node.inputs
        if node.op in RECURRENT:
            starts |= {name for name in slots[5:7] if name}
            lengths |= {name for name in slots[4:5] if name}
            other |= {name for name in [*slots[:4], *slots[7:]] if name}
            continue
        if is_loop(node, program.constants) and not _is_one_round(node, program.constants):
            carried = node.inputs[2:] if node.op == "Loop" else node.inputs[: -int(node.attrs["num_scan_inputs"])]
            starts |= set(carried) - {""}
            other |= node.uses - set(carried)
            continue
        results = set(node.outputs)
        moves = carries(node, program.constants)
        for group in (starts, lengths):
            if results & group and moves:
                group |= set(slots) - {""}
        if results & other or not moves:
            other |= node.uses
    for port in program.inputs:
        if port.dtype in NUMBER_TYPES and port.dtype != "bool" and _only_picks(program, port.name):
            port.dtype = "int64"
        if port.name in lengths and port.name not in other | starts and port.dtype in ID_TYPES:
            program.length_inputs.append(port.name)
        elif port.name in starts and port.dtype == "float32":
            program.state_inputs.append(port)
        elif port.dtype not in (*NUMBER_TYPES, *ID_TYPES):
            raise UnsupportedError(
                f"input {port.name!r} has dtype {port.dtype}, expected float32 (bool, integers "
                "of at most 16 bits in float32 frames; int64, int32 for ids); "
                f"convert the model to float32, or bind the input with fixed={_half(port.dtype)}"
            )
    taken = set(program.length_inputs) | {p.name for p in program.state_inputs}
    program.inputs = [p for p in program.inputs if p.name not in taken]


def _half(dtype: str) -> str:
    half = "; undertow.load(path, weights='float16') stores the weights of the float32 model so"
    return half if dtype in ("float16", "bfloat16") else ""


def _only_picks(program: Program, name: str) -> bool:
    """Whether an input holds ids, though as bytes or float32 numbers: made integers, all it does is to pick rows."""
    return bool(_picked_from(program, name))


def from_the_end(program: Program) -> dict[str, int]:
    """Inputs whose ids below 0 count from the end, as ONNX has it -> the number of rows that all of what they pick from
    has.
    """
    rows = {p.name: _picked_from(program, p.name) for p in program.inputs if p.dtype in ID_TYPES}
    return {name: next(iter(counts)) for name, counts in rows.items() if len(counts) == 1}


def _picked_from(program: Program, name: str) -> set[int]:
    """How many rows the tables have from which an input picks; none where it does anything else."""
    same, rows = {name}, set()
    waiting = list(program.readers.get(name, ()))  # a heap: in order of their places
    seen = -1
    while waiting:
        place, node = heappop(waiting)
        if place == seen:
            continue
        seen = place
        slots = [i for i, used in enumerate(node.inputs) if used in same]
        if node.op == "Gather" and slots == [1] and node.inputs[0] in program.constants:
            rows.add(program.constants[node.inputs[0]].shape[int(node.attrs.get("axis", 0))])
        elif (node.op == "Cast" and node.attrs.get("to") in (_INT32, _INT64)) or (node.op in MOVEMENT and slots == [0]):
            same |= set(node.outputs)
            for reader in (reader for result in node.outputs for reader in program.readers.get(result, ())):
                heappush(waiting, reader)
        elif not traits(node.op).asks_shape:
            return set()
    return set() if same & set(program.outputs) else rows
