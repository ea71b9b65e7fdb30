# SPDX-License-Identifier: MIT
"""What the rows of importers/keras/traits.py say of layers is so, row by row."""

from __future__ import annotations

import contextlib
import copy
import inspect
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from keras_chains import (
    Chain,
    T,
    along_time,
    altered,
    bytes_of,
    chain_of,
    check,
    compared,
    file_of,
    first,
    formula,
    load,
    model_config,
    named,
    numbers,
    write,
)
from keras_examples import EXAMPLES, FRAMES, GRID, Example
from keras_files import keras2_input, keras2_model, layer, sequential, write_h5, write_keras
from tolerances import FLOAT32_MODEL
from undertow.errors import Error, FormatError, ShapeError, UnsupportedError
from undertow.importers.keras import config as configs
from undertow.importers.keras import driver, traits
from undertow.importers.keras.traits import (
    ALIASES,
    ALL,
    ALWAYS,
    CLASSES,
    COMPUTED,
    EACH,
    IGNORED,
    LAYERS,
    MANY,
    ONLY,
    PARTS,
    REFUSED,
    STEPS,
    STRIDES,
    SUPPORTED,
    TIMESTEPS,
    names,
)

pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # Keras's own

KNOWN = sorted(SUPPORTED | PARTS)


# -- the table --------------------------------------------------------------------------------------------------------


def test_every_converter_is_there() -> None:
    assert driver.CONVERTERS.keys() == COMPUTED
    for cls, function in driver.CONVERTERS.items():
        takes = inspect.signature(function).parameters
        assert ("initial" in takes) == CLASSES[cls].states, cls
        assert ("inputs" in takes) == (CLASSES[cls].inputs != 1), cls


def test_every_class_has_one_row() -> None:
    assert len(CLASSES) == len(traits._ROWS) + sum(map(len, traits._REFUSED.values()))


def test_rows_do_not_contradict_themselves() -> None:
    for row in CLASSES.values():
        assert not (row.refused and (row.converter or row.unchanged or row.inside)), row
        assert bool(row.refused) + bool(row.converter) + row.unchanged + (row.name in PARTS) == 1, row
        assert not set(row.ignored) & ({*row.only, *ONLY} | IGNORED), row
        assert row.rows in ("", EACH, TIMESTEPS, STRIDES, ALL, STEPS, LAYERS), row


def test_every_layer_has_an_example() -> None:
    assert sorted(EXAMPLES) == KNOWN
    for cls, examples in EXAMPLES.items():
        assert examples, f"{cls}: no example"
        for example in examples:
            altered(example.table, cls)
        if CLASSES[cls].inputs == MANY and CLASSES[cls].rows != LAYERS:
            assert any(example.n_inputs > 2 for example in examples), f"{cls}: no example of many inputs"


@pytest.fixture(scope="module")
def keras() -> Any:
    return pytest.importorskip("keras", reason="needs Keras and a backend: pip install keras torch")


def test_every_layer_of_keras_has_a_row(keras: Any) -> None:
    found = [getattr(keras.layers, name) for name in dir(keras.layers)]
    classes = {c.__name__ for c in found if inspect.isclass(c) and issubclass(c, keras.layers.Layer)}
    assert not classes - CLASSES.keys()
    naming = keras.src.utils.naming.to_snake_case
    for row in CLASSES.values():
        assert row.group in ("", naming(row.name))


# -- computed ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", KNOWN)
def test_layers_are_computed(cls: str, tmp_path: Path) -> None:
    for i, example in enumerate(EXAMPLES[cls]):
        compared(tmp_path, example, f"{cls}, example {i}")


@pytest.mark.parametrize("cls", KNOWN)
def test_layers_are_computed_on_whole_clips(cls: str, tmp_path: Path) -> None:
    """One axis more in the frame, and two clips."""
    for i, example in enumerate(EXAMPLES[cls]):
        if example.clip and None in example.shape:
            chain, inputs = chain_of(example), numbers(example, 2)
            want = formula(chain, inputs)
            path = write(tmp_path, chain, example.shape, example.n_inputs, len(want))
            shapes = {f"x{k}": (1, *x.shape[1:]) for k, x in enumerate(inputs)}
            check(load(path, shapes=shapes), inputs, want, f"{cls}, example {i}")


@pytest.mark.parametrize("cls", KNOWN)
def test_keys_that_are_left_out_mean_what_they_mean_to_keras(cls: str, tmp_path: Path) -> None:
    """Or are asked for; so says the formula, too."""
    for i, example in enumerate(EXAMPLES[cls]):
        for key in example.config:
            less = replace(example, config={k: v for k, v in example.config.items() if k != key})
            inputs = numbers(less, 1 if None in less.shape else 3)
            try:
                want = formula(chain_of(less), inputs)
                model = load(write(tmp_path, chain_of(less), less.shape, less.n_inputs, len(want)))
            except (KeyError, StopIteration, ValueError):  # of the formula
                with pytest.raises(Error):
                    load(write(tmp_path, chain_of(less), less.shape, less.n_inputs))
            except Error as error:
                assert re.search(f"{key} |holds arrays|belong to nothing", str(error)), error
            else:
                check(model, inputs, want, f"{cls}, example {i} without {key}")


@pytest.mark.parametrize("cls", [cls for cls in KNOWN if any(e.clip for e in along_time(cls))])
def test_layers_are_computed_inside_a_frame(cls: str, tmp_path: Path) -> None:
    """Each timestep is what the layer takes for a sequence."""
    example = next(e for e in along_time(cls) if e.clip)
    inner = layer(example.cls, "inner", **example.config)
    compared(tmp_path, Example("TimeDistributed", {"layer": inner}, (None, 6, *example.shape[1:]), example.arrays), cls)


def for_keras(value: Any) -> Any:
    """Tables of layers as Keras 3 reads them."""
    if isinstance(value, dict):
        more = {"module": "keras.layers", "registered_name": None} if "class_name" in value else {}
        return {**{key: for_keras(v) for key, v in value.items()}, **more}
    return [for_keras(v) for v in value] if isinstance(value, list) else value


def theirs(keras: Any, cls: str) -> Any:
    known_as = {ours: other for other, ours in ALIASES.items()}
    return getattr(keras.layers, known_as.get(cls, cls), keras.Sequential)


def in_keras(keras: Any, example: Example, config: dict[str, Any]) -> Any:
    """A model of the example's layer, with the example's arrays."""
    dtype = "int32" if example.ids else None
    inputs = [keras.Input(example.shape, name=f"x{k}", dtype=dtype) for k in range(example.n_inputs)]
    layer = theirs(keras, example.cls).from_config(copy.deepcopy(config))
    apart = len(inputs) == 1 or "value" in CLASSES[example.cls].call
    model = keras.Model(inputs, layer(*inputs) if apart else layer(inputs))
    model.set_weights(example.values())
    return model


def given_by(model: Any, inputs: list[np.ndarray]) -> list[np.ndarray]:
    found = model(inputs if len(inputs) > 1 else inputs[0])
    return [np.asarray(y.detach()) for y in (found if isinstance(found, (list, tuple)) else [found])]


OF_KERAS = [cls for cls in KNOWN if any(e.keras for e in EXAMPLES[cls])]


@pytest.mark.parametrize("cls", OF_KERAS)
def test_layers_compute_what_keras_computes(keras: Any, cls: str, tmp_path: Path) -> None:
    """The formulas do, and both files that Keras writes are read."""
    for i, example in enumerate(EXAMPLES[cls]):
        if not example.keras:
            continue
        model = in_keras(keras, example, for_keras(example.table["config"]))
        X = numbers(example, 1 if None in example.shape else 3)
        want = given_by(model, X)
        for ours, y in zip(formula(chain_of(example), X), want, strict=True):
            np.testing.assert_allclose(ours, y, rtol=FLOAT32_MODEL, atol=FLOAT32_MODEL, err_msg=f"{cls}, example {i}")
        for suffix in ("keras", "h5"):
            model.save(tmp_path / f"m.{suffix}")
            check(load(tmp_path / f"m.{suffix}"), X, want, f"{cls}, example {i}, .{suffix}")


#: what keys that are ignored may say, beside what they say in the examples
OTHERS: dict[str, Any] = {
    **dict.fromkeys(
        ("rate", "stddev", "l1", "l2", "dropout", "recurrent_dropout", "momentum", "renorm_momentum"), 0.25
    ),
    **dict.fromkeys(("unit_forget_bias", "trainable"), False),
    "zero_output_for_mask": True,
    "mask_value": 9.0,
    "noise_shape": [None, 1, 4],
}
#: of another backend, or of layers that are refused for it where it matters
NOT_TRIED = {"synchronized", "unroll", "data_format", "dtype", "build_input_shape"}


@pytest.mark.parametrize("cls", OF_KERAS)
def test_keys_that_are_ignored_change_nothing_in_keras(keras: Any, cls: str) -> None:
    example = next(e for e in EXAMPLES[cls] if e.keras)
    made = theirs(keras, example.cls)
    settings = made.from_config(for_keras(example.table["config"])).get_config()
    row = CLASSES[example.cls]
    others = {key: OTHERS[key] for key in (*row.ignored, *IGNORED) if key in OTHERS and key in settings}
    assert {key for key in row.ignored if key in settings} <= others.keys() | NOT_TRIED, "say in OTHERS what it may say"
    X = numbers(example, 1 if None in example.shape else 3)
    results = [given_by(in_keras(keras, example, {**settings, **more}), X) for more in ({}, others)]
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=FLOAT32_MODEL, atol=FLOAT32_MODEL)


#: keys whose other values are tried elsewhere (test_import_keras.py), or that hold other layers
ELSEWHERE = {"time_major", "layer", "layers", "cell", "backward_layer", "input_layers", "output_layers"}


def test_examples_change_every_key_that_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or its value might be ignored."""
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    get = configs.Config.get

    def spy(self: configs.Config, key: str, default: Any = None) -> Any:
        value = get(self, key, default)
        seen[self.where.split(" ")[0], key].add(repr(value))
        return value

    monkeypatch.setattr(configs.Config, "get", spy)
    for cls in KNOWN:
        for example in EXAMPLES[cls]:
            chain = chain_of(example)
            n_outputs = len(formula(chain, numbers(example, 1)))
            load(write(tmp_path, chain, example.shape, example.n_inputs, n_outputs))
    alike = [
        f"{cls}: {key} = {values}"
        for (cls, key), values in seen.items()
        if len(values) < 2 and cls in CLASSES and key not in {*CLASSES[cls].only, *ONLY} | ELSEWHERE
    ]
    assert not alike


@pytest.mark.parametrize("cls", KNOWN)
def test_any_value_of_any_key_ends_in_a_model_or_a_typed_error(cls: str, tmp_path: Path) -> None:
    tried: set[str] = set()
    for example in EXAMPLES[cls]:
        for key in example.config.keys() - tried:
            for value in (None, -1, 2.5, "x", [], {}, [0, None], True):
                table = {**example.table, "config": {**example.table["config"], key: value}}
                with contextlib.suppress(Error):
                    load(write(tmp_path, [(table, named(example))], example.shape, example.n_inputs))
        tried |= example.config.keys()


@pytest.mark.parametrize("cls", [cls for cls in sorted(SUPPORTED) if not CLASSES[cls].states])
def test_other_numbers_of_inputs_are_refused(cls: str, tmp_path: Path) -> None:
    """Of recurrent layers others are initial states."""
    row, example = CLASSES[cls], first(cls)
    n = 2 if row.rows == LAYERS else {1: 2, 2: 3, MANY: 1}[row.inputs]
    with pytest.raises(FormatError, match=f"{cls} 'it': takes .* inputs?, got {n}"):
        load(write(tmp_path, chain_of(example), example.shape, n))


@pytest.mark.parametrize("cls", [cls for cls in KNOWN if CLASSES[cls].rank])
def test_frames_of_other_axes_are_refused(cls: str, tmp_path: Path) -> None:
    shape = (None, 3, 4, 2) if CLASSES[cls].rank == 1 else (None, 4)
    with pytest.raises(UnsupportedError, match=rf"{cls} 'it': frames of shape .*expected {CLASSES[cls].rank} ax"):
        load(write(tmp_path, chain_of(first(cls)), shape))


# -- configurations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", KNOWN)
def test_keys_that_are_ignored_change_nothing(cls: str, tmp_path: Path) -> None:
    keys = [*CLASSES[cls].ignored, *(IGNORED - {"name"}), "some_initializer", "some_regularizer", "some_constraint"]
    others = file_of(tmp_path, cls, **dict.fromkeys(keys, "surprise"))
    assert bytes_of(others) == bytes_of(file_of(tmp_path, cls))


@pytest.mark.parametrize("cls", KNOWN)
def test_keys_that_must_say_something_are_held_to_it(cls: str, tmp_path: Path) -> None:
    plain = bytes_of(file_of(tmp_path, cls))
    for key, values in {**ONLY, **CLASSES[cls].only}.items():
        for value in values:
            assert bytes_of(file_of(tmp_path, cls, **{key: value})) == plain, (key, value)
        with pytest.raises(UnsupportedError, match=f"{cls} .*{key} = 'surprise' is not supported"):
            load(file_of(tmp_path, cls, **{key: "surprise"}))


@pytest.mark.parametrize("cls", KNOWN)
def test_what_is_not_known_is_refused_by_name(cls: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=f"{cls} .*surprise = 1 is not known"):
        load(file_of(tmp_path, cls, surprise=1))
    if "dtype" not in CLASSES[cls].ignored:
        for dtype in ("float16", {"class_name": "DTypePolicyMap", "config": {"default_policy": "float32"}}):
            with pytest.raises(UnsupportedError, match=f"{cls} .*dtype .*; expected float32"):
                load(file_of(tmp_path, cls, dtype=dtype))


@pytest.mark.parametrize("cls", KNOWN)
def test_layers_that_hide_timesteps_need_a_promise(cls: str, tmp_path: Path) -> None:
    masks = CLASSES[cls].masks
    if masks:
        path = file_of(tmp_path, cls, **({} if masks == ALWAYS else {masks: True}))
        with pytest.raises(UnsupportedError, match=f"{cls} 'it'.*pass assume_unmasked=True"):
            undertow.load(path)
        hiding = bytes_of(path)
        assert hiding == bytes_of(file_of(tmp_path, cls))
    else:
        undertow.load(file_of(tmp_path, cls))


# -- arrays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [cls for cls in KNOWN if CLASSES[cls].arrays])
def test_arrays_stand_in_their_order(cls: str, tmp_path: Path) -> None:
    example = first(cls)
    arrays, table = named(example), example.table
    roles = [name.removeprefix("it/").removesuffix(":0") for name, _ in arrays]
    assert [role for role in CLASSES[cls].arrays if role in roles] == roles
    with pytest.raises(ShapeError, match="the file holds arrays of shapes"):
        load(write(tmp_path, [(table, arrays[: len(arrays) // 2])], example.shape, example.n_inputs))
    with pytest.raises(FormatError, match="belong to nothing"):
        load(write(tmp_path, [(table, [*arrays, ("it/more:0", arrays[0][1])])], example.shape, example.n_inputs))
    other = "kernel" if cls == "Embedding" else "embeddings"
    for i, (_, array) in enumerate(arrays):
        wrong = [*arrays[:i], (f"it/{other}:0", array), *arrays[i + 1 :]]
        with pytest.raises(FormatError, match=f"'it/{other}:0' stands where '.*{roles[i].rpartition('_')[2]}'"):
            load(write(tmp_path, [(table, wrong)], example.shape, example.n_inputs))


@pytest.mark.parametrize("cls", [cls for cls in sorted(SUPPORTED) if CLASSES[cls].arrays])
def test_archives_name_their_groups(cls: str, tmp_path: Path) -> None:
    example, row = first(cls), CLASSES[cls]
    inner = "cell/" if row.states else ""
    weights = {f"layers/{row.group}/{inner}vars/{i}": a for i, a in enumerate(example.values())}
    path = write_keras(tmp_path / "m.keras", model_config(chain_of(example), example.shape, example.n_inputs), weights)
    inputs = numbers(example, 1)
    check(load(path), inputs, formula(chain_of(example), inputs), cls)


# -- time -------------------------------------------------------------------------------------------------------------

CELL = layer("SimpleRNN", "behind", units=2, activation="tanh", use_bias=False, return_sequences=True)


def cell_behind(width: int) -> Chain:
    kernel = np.linspace(-1, 1, 2 * width, dtype=np.float32).reshape(-1, 2)
    return [(CELL, [("behind/kernel:0", kernel), ("behind/recurrent_kernel:0", np.eye(2, dtype=np.float32))])]


def forwards(cls: str) -> Example:
    """An example along time that gives its outputs as they come, and whose frames a window may lie over."""
    for example in EXAMPLES[cls]:
        if example.ids or (example.shape in (FRAMES, GRID, (None, 3, 4)) and not example.config.get("go_backwards")):
            return example
    return Example(cls, first(cls).config, FRAMES, {})


@pytest.mark.parametrize("cls", sorted(SUPPORTED))
def test_layers_of_frames_of_several_timesteps(cls: str, tmp_path: Path) -> None:
    row, example = CLASSES[cls], forwards(cls)
    halved: Chain = [(layer("MaxPooling1D", "halved", pool_size=2), [])]
    if not row.rows:
        with pytest.raises(UnsupportedError, match=f"{cls} 'it': .* in a model that strides along time.*shapes="):
            load(write(tmp_path, [*halved, (first(cls).table, named(first(cls)))], FRAMES, first(cls).n_inputs))
    elif row.ids:
        assert compared(tmp_path, example, cls, behind=halved).frames_in == 2
    else:
        rank = len(example.shape) - 1
        twice: Chain = [(layer(f"UpSampling{rank}D", "before", size=[2, 1][:rank]), [])]
        model = compared(tmp_path, example, cls, before=twice)
        assert model.frames_out == 2 or row.rows in (STRIDES, ALL)


@pytest.mark.parametrize("cls", [cls for cls in KNOWN if CLASSES[cls].rows == STRIDES])
def test_strides_show(cls: str, tmp_path: Path) -> None:
    models = [load(write(tmp_path, chain_of(example), example.shape)) for example in EXAMPLES[cls]]
    assert {(model.frames_in, model.frames_out) for model in models} - {(1, 1)}


@pytest.mark.parametrize("cls", [cls for cls in sorted(SUPPORTED) if CLASSES[cls].rows == EACH])
def test_rows_of_a_frame_are_treated_alike(cls: str, tmp_path: Path) -> None:
    """A TimeDistributed over an axis that is none of time: each row of the frame by itself."""
    example = forwards(cls)
    rows = layer("TimeDistributed", "inner", layer=layer(cls, "rows", **example.config))
    compared(tmp_path, Example("TimeDistributed", {"layer": rows}, (None, 3, 5, 4), example.arrays), cls)


@pytest.mark.parametrize("cls", [cls for cls in sorted(SUPPORTED) if CLASSES[cls].rows != EACH])
def test_other_layers_are_not_taken_row_by_row(cls: str, tmp_path: Path) -> None:
    if CLASSES[cls].inputs == 1 and cls != "TimeDistributed":
        table = layer("TimeDistributed", "it", layer=layer("TimeDistributed", "inner", layer=first(cls).table))
        with pytest.raises(UnsupportedError, match=f"a {cls} inside of one frame is not supported"):
            load(write(tmp_path, [(table, named(first(cls)))], (None, 3, 5, 4)))


@pytest.mark.parametrize("cls", [cls for cls in sorted(SUPPORTED) if not CLASSES[cls].ids])
def test_frames_that_are_missing_stay_missing(cls: str, tmp_path: Path) -> None:
    """Behind what begins late, and before a cell, which begins where its sequence does."""
    for example in EXAMPLES[cls]:
        rank = len(example.shape) - 1
        if example.shape[0] is not None or rank > 2:
            continue
        shorter: Chain = [(layer("Cropping2D", "before", cropping=[[2, 0], [0, 0]]), [])]
        if rank == 1:
            conv = layer("Conv1D", "before", filters=4, kernel_size=3, padding="valid", use_bias=False)
            shorter = [(conv, [("before/kernel:0", np.linspace(-1, 1, 48, dtype=np.float32).reshape(3, 4, 4))])]
        chain, inputs = chain_of(example, before=shorter), numbers(example, 1)
        (y, *more) = formula(chain, inputs)
        if y.ndim == 3 and not more:
            chain += cell_behind(y.shape[-1])
        path = write(tmp_path, chain, example.shape, example.n_inputs, 1 + len(more))
        try:
            model = load(path)
        except UnsupportedError as error:  # what runs backwards, or is a mean of all; strides
            refused = "first 2 frames are missing|outputs fewer, where|Cropping2D 'before': not supported in a model"
            assert re.search(refused, str(error)), error
        else:
            check(model, inputs, formula(chain, inputs), cls)


@pytest.mark.parametrize("cls", [cls for cls in sorted(SUPPORTED) if not CLASSES[cls].ids])
def test_only_convolutions_use_what_a_padding_has_added(cls: str, tmp_path: Path) -> None:
    examples = [e for e in EXAMPLES[cls] if e.shape in (FRAMES, GRID)]
    if CLASSES[cls].padded:
        example = next(e for e in examples if e.config["padding"] == "valid")
        rank = len(example.shape) - 1
        padding: Any = [2, 0] if rank == 1 else [[2, 0], [0, 0]]
        compared(tmp_path, example, cls, before=[(layer(f"ZeroPadding{rank}D", "before", padding=padding), [])])
        return
    example = examples[0] if examples else first(cls)
    rank = 2 if example.shape == GRID else 1
    table = layer(f"ZeroPadding{rank}D", "before", padding=[2, 0] if rank == 1 else [[2, 0], [0, 0]])
    with pytest.raises(UnsupportedError, match=f"{cls} 'it': takes frames of padding in time"):
        load(write(tmp_path, chain_of(example, before=[(table, [])]), (FRAMES, GRID)[rank - 1], example.n_inputs))


# -- states, and layers in layers -------------------------------------------------------------------------------------


def with_states(example: Example, table: dict[str, Any], shapes: list[tuple[int, ...]]) -> dict[str, Any]:
    """A model whose further inputs are a layer's initial state."""
    names = [f"s{i}" for i in range(len(shapes))]
    call = [["x", 0, 0, {"initial_state": [[name, 0, 0] for name in names]}]]
    states = [keras2_input(name, *shape) for name, shape in zip(names, shapes, strict=True)]
    inputs = [[name, 0, 0] for name in ("x", *names)]
    return keras2_model([keras2_input("x", *example.shape), *states, (table, [call])], inputs, [["it", 0, 0]])


@pytest.mark.parametrize("cls", sorted(SUPPORTED))
def test_layers_that_own_states_take_them(cls: str, tmp_path: Path) -> None:
    example = first(cls)
    states = load(write(tmp_path, chain_of(example), example.shape, example.n_inputs)).graph.states.values()
    config = with_states(example, example.table, [s.shape for s in states] if CLASSES[cls].states else [(3,)])
    path = write_h5(tmp_path / "m.h5", config, {"it": named(example)}, "3.4.1")
    if CLASSES[cls].states:
        graph = load(path).graph
        assert graph.inputs == ["x"]
        assert len(graph.states) == len(states) > 0
    else:
        with pytest.raises(UnsupportedError, match=f"{cls} 'it': initial_state is not supported here"):
            load(path)


@pytest.mark.parametrize("cls", KNOWN)
@pytest.mark.parametrize("wrapper", ["Bidirectional", "RNN", "StackedRNNCells"])
def test_wrappers_take_their_layers_alone(cls: str, wrapper: str, tmp_path: Path) -> None:
    inner = layer(cls, "inner", **first(cls).config)
    if wrapper in CLASSES[cls].inside:
        assert any(wrapper in repr(e.table) or wrapper == "Bidirectional" for e in EXAMPLES[cls]) or cls
        if wrapper == "Bidirectional":
            arrays = {f"{half}/{name}": shape for half in ("a", "b") for name, shape in first(cls).arrays.items()}
            compared(tmp_path, Example(wrapper, {"layer": inner}, first(cls).shape, arrays), cls)
        return
    table = {
        "Bidirectional": layer("Bidirectional", "it", layer=inner),
        "RNN": layer("RNN", "it", cell=inner),
        "StackedRNNCells": layer("RNN", "it", cell=layer("StackedRNNCells", "stack", cells=[inner])),
    }[wrapper]
    with pytest.raises(UnsupportedError, match=f"{cls}.* is not supported"):
        load(write(tmp_path, [(table, named(first(cls)))], FRAMES))


@pytest.mark.parametrize("cls", sorted(SUPPORTED))
def test_only_tables_take_ids(cls: str, tmp_path: Path) -> None:
    example = first(cls)
    path = write(tmp_path, chain_of(example), example.shape, example.n_inputs, dtype="int32")
    if CLASSES[cls].ids:
        assert load(path).graph.values["x0"].dtype == "int32"
    else:
        with pytest.raises(UnsupportedError, match="input 'x0': dtype 'int32' is not supported"):
            load(path)


@pytest.mark.parametrize("cls", [cls for cls in KNOWN if CLASSES[cls].rows == LAYERS])
def test_ids_go_to_the_layers_inside(cls: str, tmp_path: Path) -> None:
    example, inner = first(cls), CLASSES[cls].inner
    places = copy.deepcopy(example.config[inner])
    (dense,) = (t for t in (places if isinstance(places, list) else [places]) if t["class_name"] == "Dense")
    dense.update(class_name="Embedding", config={"name": dense["config"]["name"], "input_dim": 5, "output_dim": 3})
    name = dense["config"]["name"] if isinstance(places, list) else "it"
    table, arrays = layer(cls, "it", **{**example.config, inner: places}), np.ones((5, 3), np.float32)
    chain: Chain = [(table, [(f"{name}/embeddings:0", arrays)])]
    path = write(tmp_path, chain, (None, 3) if cls == "TimeDistributed" else (None,), dtype="int32")
    assert load(path).graph.values["x0"].dtype == "int32"


def test_operations_compute_what_layers_do(keras: Any, tmp_path: Path) -> None:
    for cls in sorted(names(lambda row: row.as_op and not row.call)):
        x, operation = keras.Input((None, 4)), getattr(keras.ops, cls.lower())
        y = keras.ops.multiply(x, x)
        model = keras.Model(x, operation([x, y], axis=-1) if cls == "Concatenate" else operation(x, y))
        model.save(tmp_path / "m.keras")
        X = np.random.default_rng(3).normal(size=(T, 4)).astype(np.float32)
        want = np.asarray(model(X[None]).detach())[0]
        np.testing.assert_allclose(load(tmp_path / "m.keras").run(X), want, rtol=FLOAT32_MODEL, atol=FLOAT32_MODEL)


@pytest.mark.parametrize("cls", sorted(SUPPORTED))
def test_only_some_are_operations(cls: str, tmp_path: Path) -> None:
    """`keras.ops.add(x, y)` stands in a file as a layer of class Add, from another module."""
    example = first(cls)
    table = {**example.table, "module": "keras.src.ops.numpy"}
    path = write(tmp_path, [(table, named(example))], example.shape, example.n_inputs)
    if not CLASSES[cls].as_op:
        with pytest.raises(UnsupportedError, match=rf"{cls} 'it': the operation .*\.{cls} is not supported"):
            load(path)
    elif cls == "Concatenate":  # joins batches where nothing is said
        with pytest.raises(FormatError, match="axis is missing"):
            load(path)
    else:
        plain = write(tmp_path / "..", chain_of(example), example.shape, example.n_inputs)
        assert bytes_of(path) == bytes_of(plain)


# -- refused ----------------------------------------------------------------------------------------------------------


def refuse(table: dict[str, Any], match: str, folder: Path, n_inputs: int = 1) -> None:
    with pytest.raises(UnsupportedError, match=match):
        load(write(folder, [(table, [])], FRAMES, n_inputs))


@pytest.mark.parametrize("cls", sorted(REFUSED))
def test_refused_layers_are_refused_by_name(cls: str, tmp_path: Path) -> None:
    reason = REFUSED[cls][0].lower() + REFUSED[cls][1:]
    for n_inputs in (1, 2):
        refuse(layer(cls, "it", some=1), f"{cls} 'it': this layer is not supported: {reason}", tmp_path, n_inputs)
    inner = layer(cls, "inner", some=1)
    refuse(layer("TimeDistributed", "it", layer=inner), f"{cls} 'inner': .*: {reason}", tmp_path)
    for outer in (layer("Bidirectional", "it", layer=inner), layer("RNN", "it", cell=inner)):
        refuse(outer, f"{cls}.* is not supported: {reason}", tmp_path)


def test_layers_that_nobody_knows_are_refused_by_name(tmp_path: Path) -> None:
    supported = ", ".join(sorted(SUPPORTED))
    refuse(layer("Surprise", "it"), f"Surprise 'it': this layer is not supported; supported: {supported}", tmp_path)
    bidirectional = layer("Bidirectional", "it", layer=layer("Surprise", "inner"))
    refuse(
        bidirectional,
        "'Surprise' in it is not supported; supported: ConvLSTM1D, ConvLSTM2D, CuDNNGRU, CuDNNLSTM, GRU",
        tmp_path,
    )
    rnn = layer("RNN", "it", cell=layer("Surprise", "inner"))
    refuse(rnn, "Surprise 'inner': .* not supported; supported: GRUCell, LSTMCell, SimpleRNNCell, Stack", tmp_path)


@pytest.mark.parametrize("cls", sorted(PARTS))
def test_parts_of_layers_are_no_layers(cls: str, tmp_path: Path) -> None:
    tables = [layer("InputLayer", "x", batch_input_shape=[None, None, 4]), layer("ReLU", "relu"), layer(cls, "it")]
    with pytest.raises(UnsupportedError, match=f"{cls} 'it': this layer is not supported: expected inside of "):
        load(write_h5(tmp_path / "m.h5", sequential(*tables), {}))
