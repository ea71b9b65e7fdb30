# SPDX-License-Identifier: MIT
"""Models: layers in a row, or a graph of their calls in the words of Keras 2 (lists) and of Keras 3 (args, kwargs)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ..._text import quoted
from ...errors import FormatError, UnsupportedError
from .builder import Builder, Output, Tensor
from .config import Config, brief
from .tables import MAX_CALLS, Layer, check_layer_list, input_shape, leaves, wants_ids
from .traits import FUNCTIONAL, MASKS, MODELS, SETTINGS, TENSORS
from .weights import Weights

#: limits for hostile files
MAX_INPUTS = 1000
#: of float32, nearly
MAX_NUMBER = 1e38

#: a tensor of the model: layer, which call of it, which of its outputs
Ref = tuple[str, int, int]


@dataclass
class Call:
    """One call of a layer."""

    layer: str
    index: int
    inputs: list[Ref] = field(default_factory=list)
    initial: list[Ref] = field(default_factory=list)
    masks: list[Ref] = field(default_factory=list)
    named: dict[str, list[Ref]] = field(default_factory=dict)
    numbers: dict[Ref, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, int]:
        return self.layer, self.index

    @property
    def data(self) -> list[Ref]:
        """What it computes with."""
        return [*self.inputs, *self.initial]


def read(
    b: Builder, model: Layer, config: Config, weights: Weights, inputs: list[Tensor] | None = None
) -> list[tuple[str, Tensor]]:
    """Add a Sequential or Functional model; without `inputs` it is the outermost one and makes its own."""
    if model.cls not in MODELS:
        raise UnsupportedError(
            f"{model.where}: a model of this class is not supported; expected Sequential or Functional"
        )
    add = _functional if model.cls in FUNCTIONAL else _sequential
    with b.nested(model):
        return add(b, model, config, weights, inputs)


def nested(b: Builder, layer: Layer, config: Config, inputs: list[Tensor], weights: Weights) -> list[Output]:
    """A model that is a layer of another one."""
    return [t for _, t in read(b, layer, config, weights, inputs)]


def _functional(
    b: Builder, model: Layer, config: Config, weights: Weights, inputs: list[Tensor] | None
) -> list[tuple[str, Tensor]]:
    tables, heads, tails = (config.get(key) for key in ("layers", "input_layers", "output_layers"))
    config.finish()
    tables = check_layer_list(model, tables)
    layers: dict[str, Layer] = {}
    calls: list[Call] = []
    for table in tables:
        layer = b.layer(table, model, any_operation=True)
        layer.name = table["name"] if isinstance(table.get("name"), str) else layer.name  # what the wiring calls it
        if layer.name in layers:
            raise FormatError(f"{model.where}: two layers are called {layer.name!r}")
        layers[layer.name] = layer
        own_calls = _calls(layer, table.get("inbound_nodes", []))
        layer.n_calls = len(own_calls)
        calls += own_calls
    if len(calls) > MAX_CALLS:
        raise FormatError(f"{model.where}: {len(calls)} calls of layers, expected at most {MAX_CALLS}")
    keras3 = any(isinstance(node, dict) for table in tables for node in table.get("inbound_nodes", []))
    entries = [ref for _, ref in _ports(model, "input_layers", heads)]
    names, refs = zip(*_ports(model, "output_layers", tails), strict=True)
    exits = _from_zero(layers, list(refs), FUNCTIONAL if keras3 else MODELS)
    starts_at_one = frozenset() if keras3 else MODELS
    inner = iter(_from_zero(layers, [r for c in calls for r in (*c.data, *c.masks)], starts_at_one))
    for call in calls:
        call.inputs = [next(inner) for _ in call.inputs]
        call.initial = [next(inner) for _ in call.initial]
        call.masks = [next(inner) for _ in call.masks]
    hiding = _of_masks_alone(calls, exits)
    calls = [call for call in calls if call.key not in hiding]

    for ref in entries:
        entry = layers.get(ref[0])
        if entry is None or not entry.is_input or ref[1:] != (0, 0) or entries.count(ref) > 1:
            raise FormatError(f"{model.where}: its input {brief(list(ref))} is not an InputLayer of its own")
        b.check_input_layer(entry)
    values: dict[Ref, Output] = {}
    if inputs is None:
        _make_inputs(b, model, layers, calls, [ref for ref in entries if ref[:2] not in hiding], values)
        for name in (layers[ref[0]].name for ref in entries if ref[:2] in hiding):
            b.notes.append(f"input {quoted(name)} only hides timesteps, and is left out")
    else:
        b.exactly(model, inputs, len(entries))
        values.update(zip(entries, inputs, strict=True))
    for ref, number in [pair for call in calls for pair in call.numbers.items()]:
        values[ref] = Tensor("", time=False, static=True, number=number)
    stores = weights.members("layers", [(layer.cls, layer.name) for layer in layers.values()])
    parts = dict(zip(layers, stores, strict=True))

    def tensor(ref: Ref) -> Tensor:
        if ref not in values:
            raise FormatError(f"{model.where}: {brief(list(ref))} is not an output of any layer")
        values[ref] = resolved = b.resolve(values[ref])
        return resolved

    for call in _in_order(model, layers, calls, values):
        layer = layers[call.layer]
        if call.masks:
            b.promised(f"{layer.where}: its mask, of {layers[call.masks[0][0]].where},")
        if call.settings:
            layer = replace(layer, config={**layer.config, **call.settings})
        results = b.call(
            layer, [tensor(r) for r in call.inputs], [tensor(r) for r in call.initial], parts[call.layer].copy()
        )
        values.update({(call.layer, call.index, i): output for i, output in enumerate(results)})
    outputs = []
    for name, ref in zip(names, exits, strict=True):
        outputs.append((name, tensor(ref)))
    return outputs


def _sequential(
    b: Builder, model: Layer, config: Config, weights: Weights, inputs: list[Tensor] | None
) -> list[tuple[str, Tensor]]:
    tables = config.get("layers")
    config.finish()
    layers = [b.layer(table, model) for table in check_layer_list(model, tables)]
    first = layers[0]
    shown = layers[1:] if first.is_input else layers
    if first.is_input:
        b.check_input_layer(first)
    if inputs is not None:
        (x,) = b.exactly(model, inputs, 1)
    else:
        name = first.name if first.is_input else "input"
        shape = input_shape(first.config) or model.config.get("build_input_shape")
        takers = [t for t in map(wants_ids, shown) if t is not None]
        x = b.make_input(name, shape, first.config.get("dtype"), takers[:1])
    for layer, part in zip(shown, weights.members("layers", [(l.cls, l.name) for l in shown]), strict=True):
        outputs = b.call(layer, [x], [], part.copy())
        if len(outputs) != 1:
            raise UnsupportedError(f"{layer.where}: several outputs in a Sequential model are not supported")
        x = b.resolve(outputs[0])
    return [(layers[-1].name, x)]


# -- reading the wiring ---------------------------------------------------------------------------------------------


def _calls(layer: Layer, nodes: Any) -> list[Call]:
    if not isinstance(nodes, list):
        raise FormatError(f"{layer.where}: inbound_nodes must be a list, got {brief(nodes)}")
    calls = []
    for i, node in enumerate(nodes):
        call = (_call_keras3 if isinstance(node, dict) else _call_keras2)(layer, i, node)
        for name in layer.row.call:  # further inputs, in the order of the call, however they were given
            call.inputs += call.named.get(name, [])
        calls.append(call)
    return calls


def _call_keras3(layer: Layer, index: int, node: dict[str, Any]) -> Call:
    call = Call(layer.name, index)
    args, kwargs = node.get("args", []), node.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise FormatError(f"{layer.where}: a call must have a list of args and an object of kwargs")
    row = layer.row
    if not _is_computed(layer):
        tensors = map(_keras3_ref, leaves([_plain(value) for value in (*args, *kwargs.values())]))
        call.inputs += [ref for ref in tensors if ref]
        return call
    names = row.call
    for i, arg in enumerate(args):
        if arg is None and i:
            continue
        if i == 0 or (row.as_op and not names):
            for leaf in leaves(_plain(arg)):
                ref = _keras3_ref(leaf)
                if row.as_op and row.of and leaf is arg and type(leaf) in (int, float) and abs(leaf) < MAX_NUMBER:
                    ref = (f"{layer.name}\0{index}", i, 0)  # of no layer
                    call.numbers[ref] = float(leaf)
                if ref is None:
                    raise UnsupportedError(
                        f"{layer.where}: called with {brief(leaf)}; only tensors of the model are supported"
                    )
                call.inputs.append(ref)
        elif i <= len(names):
            _argument(layer, call, names[i - 1], arg, _keras3_refs)
        else:
            raise UnsupportedError(f"{layer.where}: positional argument {i} of its call is not supported")
    for key, value in kwargs.items():
        if key in ("inputs", "sequences", "input", "query") and not call.inputs:
            call.inputs += [r for r in _keras3_refs(value) if r]
        else:
            _argument(layer, call, key, value, _keras3_refs)
    return call


def _call_keras2(layer: Layer, index: int, node: Any) -> Call:
    call = Call(layer.name, index)
    if isinstance(node, list) and node and isinstance(node[0], str):
        node = [node]  # a single input without its list
    if not isinstance(node, list):
        raise FormatError(f"{layer.where}: a call must be a list, got {brief(node)}")
    refs = []
    for item in node:
        ref = _ref(item[:3]) if isinstance(item, list) and len(item) in (3, 4) else None
        if ref is None:
            raise UnsupportedError(f"{layer.where}: called with {brief(item)}; only tensors of the model are supported")
        refs.append(ref)
        said = item[3] if len(item) == 4 and isinstance(item[3], dict) else {}
        if not _is_computed(layer):
            refs += [ref for value in said.values() if (ref := _ref(value))]
            continue
        for key, value in said.items():
            _argument(layer, call, key, value, _keras2_refs)
    if layer.row.states:  # Keras 2 puts an initial state behind the input
        refs, call.initial = refs[:1], [*call.initial, *refs[1:]]
    call.inputs = refs
    return call


def _is_computed(layer: Layer) -> bool:
    """Or it is refused where it is called; where masks alone need it, nothing matters but what it reads."""
    row = layer.row
    return bool(row.converter or row.unchanged) and (not layer.is_operation or row.as_op)


def _argument(layer: Layer, call: Call, key: str, value: Any, refs_of: Callable[[Any], list[Ref | None]]) -> None:
    """What a call says beside its first input; what its class does not know is refused where it says something."""
    if value is None or (key == "training" and (value is False or value == 0)):
        return
    known = key in layer.row.call or key == "initial_state"  # of which the driver says whether it is taken
    if known and key in SETTINGS:
        call.settings[key] = value
        return
    refs = refs_of(value) if known and key in {*MASKS, *TENSORS, "initial_state"} else []
    if not refs or not all(refs):
        raise UnsupportedError(f"{layer.where}: called with {key} = {brief(value)}, which is not supported")
    target = call.masks if key in MASKS else call.initial if key == "initial_state" else call.named.setdefault(key, [])
    target += [ref for ref in refs if ref]


def _plain(value: Any) -> Any:
    """Tuples and dicts of tensors as lists."""
    if isinstance(value, dict) and value.get("class_name") == "__tuple__":
        return value.get("items")
    return value


def _keras3_refs(value: Any) -> list[Ref | None]:
    """The tensors that an argument names, of which some may be None; None for what is no tensor."""
    return [_keras3_ref(leaf) for leaf in leaves(_plain(value)) if leaf is not None]


def _keras2_refs(value: Any) -> list[Ref | None]:
    if _ref(value):
        return [_ref(value)]
    return [_ref(item) for item in value if item is not None] if isinstance(value, list) else [None]


def _keras3_ref(value: Any) -> Ref | None:
    if (
        not isinstance(value, dict)
        or value.get("class_name") != "__keras_tensor__"
        or not isinstance(value.get("config"), dict)
    ):
        return None
    return _ref(value["config"].get("keras_history"))


def _ref(value: Any) -> Ref | None:
    if isinstance(value, (list, tuple)) and len(value) == 3 and isinstance(value[0], str):
        name, call, output = value
        if type(call) is int and type(output) is int and call >= 0 and output >= 0:
            return name, call, output
    return None


def _ports(model: Layer, key: str, ports: Any) -> list[tuple[str, Ref]]:
    """The inputs or outputs of a model with the names that users see."""
    named: list[tuple[str, Any]]
    if isinstance(ports, dict):
        named = list(ports.items())
    else:
        single = _ref(ports)
        named = [("", single)] if single else [("", item) for item in ports] if isinstance(ports, list) else []
    refs = []
    for name, item in named:
        ref = _ref(item)
        if ref is None:
            raise UnsupportedError(
                f"{model.where}: {key} = {brief(ports)} is not supported; expected a list of [layer, call, output]"
            )
        refs.append((name or ref[0], ref))
    if not 0 < len(refs) <= MAX_INPUTS:
        raise FormatError(f"{model.where}: {key} must name 1 to {MAX_INPUTS} tensors, got {brief(ports)}")
    return refs


def _from_zero(layers: dict[str, Layer], refs: list[Ref], starts_at_one: frozenset[str]) -> list[Ref]:
    """The same references with every layer's calls counted from 0.

    Keras counts the making of a nested model as its call 0 in some places: everywhere in Keras 2, among the outputs of
    a model in Keras 3 (for Functional ones). Where that does not fit the number of calls, the other way is taken.
    """
    used: dict[str, set[int]] = {}
    for name, index, _ in refs:
        used.setdefault(name, set()).add(index)
    starts: dict[str, int] = {}
    for name, indices in used.items():
        layer = layers.get(name)
        if layer is None or layer.cls not in MODELS:
            continue
        guess = int(layer.cls in starts_at_one)
        fits = [start for start in (guess, 1 - guess) if {i - start for i in indices} <= set(range(layer.n_calls))]
        starts[name] = fits[0] if fits else guess
    return [(name, index - starts.get(name, 0), output) for name, index, output in refs]


# -- masks, inputs and order ----------------------------------------------------------------------------------------


def _of_masks_alone(calls: list[Call], exits: list[Ref]) -> set[tuple[str, int]]:
    """The calls that nothing reads but masks: under the promise that these hide nothing, nobody needs them."""
    by_key = {call.key: call for call in calls}

    def behind(refs: list[Ref]) -> set[tuple[str, int]]:
        keys: set[tuple[str, int]] = set()
        todo = [ref[:2] for ref in refs]
        while todo:
            key = todo.pop()
            if key not in keys:
                keys.add(key)
                todo += [ref[:2] for ref in by_key[key].data] if key in by_key else []
        return keys

    return behind([ref for call in calls for ref in call.masks]) - behind(exits)


def _make_inputs(
    b: Builder, model: Layer, layers: dict[str, Layer], calls: list[Call], entries: list[Ref], values: dict[Ref, Output]
) -> None:
    as_data = Counter(ref for call in calls for ref in call.inputs)
    as_state = Counter(ref for call in calls for ref in call.initial)
    takers: dict[Ref, list[bool]] = {}
    for call in sorted(calls, key=lambda call: not _is_computed(layers[call.layer])):
        for ref in call.inputs:
            if _is_computed(layers[call.layer]) or ref not in takers:  # what is refused must not be in the way
                takers.setdefault(ref, []).append(bool(wants_ids(layers[call.layer])))
    shapes = {ref: input_shape(layers[ref[0]].config) for ref in entries}
    sequences = [ref for ref in entries if _is_sequence(shapes[ref], takers.get(ref, []))]
    for ref, shape in shapes.items():
        layer = layers[ref[0]]
        if as_state[ref] == 1 and not as_data[ref] and not b.is_clip:
            if not isinstance(shape, list) or not all(type(n) is int for n in shape[1:]):
                raise FormatError(f"{layer.where}: its shape must be a list of axes, got {brief(shape)}")
            values[ref] = Tensor("", time=False, state_shape=tuple(shape[1:]))
            b.notes.append(f"input {quoted(layer.name)} is the state of a cell")
        else:
            # one id beside a sequence, as of who it is about: no sequence of a single timestep
            single = bool(sequences) and any(takers.get(ref, [])) and isinstance(shape, list) and shape[1:] == [1]
            values[ref] = b.make_input(layer.name, shape, layer.config.get("dtype"), takers.get(ref, [False]), single)
    alone = [ref for ref in entries if not b.resolve(values[ref]).time and b.resolve(values[ref]).state_shape is None]
    if any(b.resolve(values[ref]).time for ref in entries):
        for ref in alone:
            x = b.resolve(values[ref])
            if b.graph.values[x.value].dtype == "float32":
                x = x.like(b.graph.add("last", [x.value], name=f"{ref[0]}_kept"))
            values[ref] = replace(x, static=True)
            b.notes.append(f"input {quoted(ref[0])} comes once per sequence: give the same with every frame")


def _is_sequence(shape: Any, ids: list[bool]) -> bool:
    """Whether it has an axis of time, of more than one timestep."""
    return isinstance(shape, list) and len(shape) > 2 - any(ids) and shape[1] != 1


def _in_order(model: Layer, layers: dict[str, Layer], calls: list[Call], given: dict[Ref, Output]) -> list[Call]:
    """The calls in an order in which they can run."""
    known = {(ref[0], ref[1]) for ref in given}
    todo = [c for c in calls if (c.layer, c.index) not in known and not layers[c.layer].is_input]
    by_key = {(c.layer, c.index): c for c in todo}
    waiting: dict[tuple[str, int], set[tuple[str, int]]] = {}
    followers: dict[tuple[str, int], list[tuple[str, int]]] = {}
    for key, call in by_key.items():
        needs = {(r[0], r[1]) for r in call.data} - known
        for need in needs:
            if need not in by_key:
                raise FormatError(
                    f"{layers[call.layer].where}: takes {list(need)}, which is neither an input nor a call of a layer"
                )
            followers.setdefault(need, []).append(key)
        waiting[key] = needs
    ready = deque(key for key, needs in waiting.items() if not needs)
    order = []
    while ready:
        key = ready.popleft()
        order.append(by_key[key])
        for follower in followers.get(key, []):
            waiting[follower].discard(key)
            if not waiting[follower]:
                ready.append(follower)
    if len(order) != len(by_key):
        raise FormatError(f"{model.where}: its layers feed each other in a circle")
    return order
