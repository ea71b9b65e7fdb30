# SPDX-License-Identifier: MIT
"""What calls of layers say beside their input in functional models of Keras: masks and slices, against Keras."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from keras_files import keras2_input, keras2_model, layer, write_h5
from keras_live import T, compared, saved
from undertow.errors import Error, FormatError, UnsupportedError
from undertow.importers.keras.traits import CLASSES, MASKS, PARTS, SETTINGS, TENSORS

pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # Keras's own

PROMISE = "in a stream every frame counts; pass assume_unmasked=True"


@pytest.fixture(scope="module")
def keras() -> Any:
    return pytest.importorskip("keras", reason="needs Keras and a backend: pip install keras torch")


def test_rows_say_what_calls_take(keras: Any) -> None:
    """In the order in which Keras does; what hides timesteps is called so."""
    for cls, row in CLASSES.items():
        theirs = getattr(keras.layers, cls, None)
        if theirs is None or row.refused or row.rows == "layers" or row.name in PARTS:
            continue
        names = [name for name in inspect.signature(theirs.call).parameters if name not in ("self", "kwargs")][1:]
        if row.call:
            assert list(row.call) == names[: len(row.call)], cls
        assert set(names) - {"training"} <= {*row.call} or cls == "Softmax", cls  # whose mask is none of timesteps
    assert {name for row in CLASSES.values() for name in row.call} >= SETTINGS | MASKS | TENSORS


# -- masks ------------------------------------------------------------------------------------------------------------


def tokens(keras: Any) -> tuple[Any, Any, Any]:
    ids, table = keras.Input((None,), dtype="int32", name="ids"), keras.layers.Embedding(7, 4, mask_zero=True)
    return ids, table, table(ids)


def masking(keras: Any) -> Any:
    k, x = keras.layers, keras.Input((None, 4))
    return keras.Model(x, k.LSTM(3)(k.Masking(-1.0)(x)))


def behind_masking(keras: Any) -> Any:
    k, x = keras.layers, keras.Input((None, 4))
    y = k.Bidirectional(k.GRU(3, return_sequences=True))(k.Dropout(0.5)(k.Masking()(x)))
    return keras.Model(x, k.GlobalAveragePooling1D()(y))


def embedded(keras: Any) -> Any:
    ids, _, y = tokens(keras)
    return keras.Model(ids, keras.layers.Dense(2)(keras.layers.LSTM(3)(y)))


def computed(keras: Any) -> Any:
    k, (ids, table, y) = keras.layers, tokens(keras)
    return keras.Model(ids, k.SimpleRNN(3, return_sequences=True)(y, mask=table.compute_mask(ids)))


def joined(keras: Any) -> Any:
    k, (ids, _, y) = keras.layers, tokens(keras)
    other = k.Embedding(7, 2, mask_zero=True)(ids)
    return keras.Model(ids, k.LSTM(3)(k.Concatenate()([y, other])))


def added(keras: Any) -> Any:
    k, (ids, _, y) = keras.layers, tokens(keras)
    return keras.Model(ids, k.LSTM(3)(k.Add()([y, k.Embedding(7, 4, mask_zero=True)(ids)])))


def row_by_row(keras: Any) -> Any:
    ids, _, y = tokens(keras)
    return keras.Model(ids, keras.layers.TimeDistributed(keras.layers.Dense(3))(y))


def of_operations(keras: Any) -> Any:
    k, (ids, _, y) = keras.layers, tokens(keras)
    mask = keras.ops.logical_and(ids > 0, keras.ops.cast(keras.ops.not_equal(ids, 9), "bool"))
    return keras.Model(ids, k.GRU(3)(y, mask=mask))


@pytest.mark.parametrize(
    "build", [masking, behind_masking, embedded, computed, joined, added, row_by_row, of_operations]
)
def test_masks_of_functional_models_need_a_promise(keras: Any, build: Callable[[Any], Any], tmp_path: Path) -> None:
    """Operations that compute them are of no other use, and stand in no graph then."""
    model = build(keras)
    for path in saved(model, tmp_path):
        with pytest.raises(UnsupportedError, match=f"(Masking 'm|Embedding 'e).*{PROMISE}"):
            undertow.load(path)
    for ours in compared(model, tmp_path, assume_unmasked=True):
        assert not {"greater", "not_equal", "less"} & {node.op for node in ours.graph.nodes}


def test_an_input_that_is_a_mask_is_left_out(keras: Any, tmp_path: Path) -> None:
    k, x, mask = keras.layers, keras.Input((None, 4), name="x"), keras.Input((None,), dtype="bool", name="there")
    model = keras.Model([x, mask], k.LSTM(3, name="cell")(x, mask=mask))
    for path in saved(model, tmp_path):
        with pytest.raises(UnsupportedError, match=f"LSTM 'cell': its mask, of InputLayer 'there', .*{PROMISE}"):
            undertow.load(path)
    for ours in compared(model, tmp_path, assume_unmasked=True):
        assert list(ours.inputs) == ["x"]
        assert "input 'there' only hides timesteps, and is left out" in ours.source


def test_a_mask_that_is_data_too_is_no_mask_alone(keras: Any, tmp_path: Path) -> None:
    k, x = keras.layers, keras.Input((None, 4))
    mask = k.Masking().compute_mask(x)
    model = keras.Model(x, [k.LSTM(3)(x, mask=mask), keras.ops.cast(mask, "float32")])
    for path in saved(model, tmp_path):
        with pytest.raises(UnsupportedError, match=r"NotEqual '.*not supported"):
            undertow.load(path, assume_unmasked=True)


def test_masks_that_keep_pairs_apart_are_no_promise(keras: Any, tmp_path: Path) -> None:
    """The mask of a Softmax says which scores count, which has nothing to do with padding."""
    k, x, mask = keras.layers, keras.Input((5, 4), name="x"), keras.Input((5, 4), dtype="bool", name="there")
    for path in saved(keras.Model([x, mask], k.Softmax(name="shares")(x, mask)), tmp_path):
        with pytest.raises(UnsupportedError, match="Softmax 'shares': positional argument 1 of its call is not supp"):
            undertow.load(path, assume_unmasked=True)


def test_masks_of_keras_2(tmp_path: Path) -> None:
    arrays = [("r/kernel:0", np.ones((3, 2), np.float32)), ("r/recurrent_kernel:0", np.eye(2, dtype=np.float32))]
    cell = layer("SimpleRNN", "r", units=2, activation="tanh", use_bias=False)
    nodes = [[["x", 0, 0, {"mask": ["there", 0, 0]}]]]
    inputs = [keras2_input("x", None, 3), keras2_input("there", None)]
    config = keras2_model([*inputs, (cell, nodes)], [["x", 0, 0], ["there", 0, 0]], [["r", 0, 0]])
    path = write_h5(tmp_path / "m.h5", config, {"r": arrays})
    with pytest.raises(UnsupportedError, match=f"SimpleRNN 'r': its mask, of InputLayer 'there', .*{PROMISE}"):
        undertow.load(path)
    assert list(undertow.load(path, assume_unmasked=True).inputs) == ["x"]
    nodes[0][0][3] = {"mask": [["there", 0, 0], 3]}
    with pytest.raises(UnsupportedError, match="SimpleRNN 'r': called with mask = "):
        undertow.load(write_h5(tmp_path / "m.h5", config, {"r": arrays}), assume_unmasked=True)


def test_masks_that_operations_of_keras_2_compute(tmp_path: Path) -> None:
    """They hold code; where nothing but a mask reads them, nobody needs them."""
    arrays = [("r/kernel:0", np.ones((2, 2), np.float32)), ("r/recurrent_kernel:0", np.eye(2, dtype=np.float32))]
    table = [("e/embeddings:0", np.ones((7, 2), np.float32))]
    ids = layer("InputLayer", "x", batch_input_shape=[None, None], dtype="int32", sparse=False, ragged=False)
    operation = layer("TFOpLambda", "tf.math.not_equal", function="math.not_equal")
    operation["module"] = "tf_keras.src.layers.core.tf_op_layer"
    cell = layer("SimpleRNN", "r", units=2, activation="tanh", use_bias=False)
    layers: list[Any] = [
        (ids, []),
        (layer("Embedding", "e", input_dim=7, output_dim=2, mask_zero=True), [[["x", 0, 0, {}]]]),
        (operation, [["x", 0, 0, {"y": 0}]]),
        (cell, [[["e", 0, 0, {"mask": ["tf.math.not_equal", 0, 0]}]]]),
    ]
    for outputs in ([["r", 0, 0]], [["r", 0, 0], ["tf.math.not_equal", 0, 0]]):
        path = write_h5(tmp_path / "m.h5", keras2_model(layers, [["x", 0, 0]], outputs), {"e": table, "r": arrays})
        if len(outputs) > 1:
            with pytest.raises(UnsupportedError, match=r"TFOpLambda 'tf\.math\.not_equal': .*it holds code"):
                undertow.load(path, assume_unmasked=True)
        else:
            assert list(undertow.load(path, assume_unmasked=True).outputs) == ["r"]


# -- numbers ----------------------------------------------------------------------------------------------------------

NUMBERS: dict[str, Callable[[Any, Any], Any]] = {
    "scaled and shifted": lambda ops, x: x * 2.0 + 1,
    "from a number": lambda ops, x: 1.0 - x,
    "less a number": lambda ops, x: x - 0.5,
    "number first": lambda ops, x: 0.25 * x,
    "at least": lambda ops, x: ops.maximum(x, 0.1),
    "at most": lambda ops, x: ops.minimum(0.3, x),
    "complement": lambda ops, x: x * x + (1 - x) * 0.5,
}


@pytest.mark.parametrize("name", NUMBERS)
def test_operations_with_numbers(keras: Any, name: str, tmp_path: Path) -> None:
    x = keras.Input((None, 4))
    gate = keras.layers.Dense(3, activation="sigmoid")(keras.layers.GRU(3, return_sequences=True)(x))
    model = keras.Model(x, keras.layers.SimpleRNN(2, return_sequences=True)(NUMBERS[name](keras.ops, gate)))
    assert all(ours.streamable for ours in compared(model, tmp_path))


def test_numbers_beside_what_comes_once(keras: Any, tmp_path: Path) -> None:
    k, x, vector = keras.layers, keras.Input((None, 4)), keras.Input((3,))
    start = k.Dense(2)(vector * 0.5 + 1.0)
    compared(keras.Model([x, vector], k.GRU(2, return_sequences=True)(x, initial_state=start)), tmp_path)


@pytest.mark.parametrize(
    ("cls", "args", "says"),
    [
        ("Multiply", [2.0, 3.0], "called with numbers alone"),
        ("Multiply", [1e39, "x"], r"called with 1e\+39; only tensors"),
        ("Multiply", [True, "x"], "called with True; only tensors"),
        ("Multiply", [["x", 2.0]], "called with 2.0; only tensors"),
        ("Concatenate", ["x", 2.0], "called with 2.0; only tensors"),
        ("Subtract", ["x", 2.0, 1.0], "takes 2 inputs, got 3"),
    ],
)
def test_numbers_that_are_none_of_an_operation(cls: str, args: list[Any], says: str, tmp_path: Path) -> None:
    tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 0, 0]}}
    given = [[tensor if a == "x" else a for a in arg] if isinstance(arg, list) else arg for arg in args]
    nodes = [{"args": [tensor if arg == "x" else arg for arg in given], "kwargs": {}}]
    table = {**layer(cls, "it", **({"axis": -1} if cls == "Concatenate" else {})), "module": "keras.src.ops.numpy"}
    config = keras2_model([keras2_input("x", None, 4), (table, nodes)], [["x", 0, 0]], [["it", 0, 0]])
    with pytest.raises(Error, match=f"{cls} 'it': {says}"):
        undertow.load(write_h5(tmp_path / "m.h5", config, {}))


# -- slices -----------------------------------------------------------------------------------------------------------

STREAMS: dict[str, Callable[[Any], Any]] = {
    "[:, -1]": lambda x: x[:, -1],
    "[:, -1, :]": lambda x: x[:, -1, :],
    "[..., -1, :]": lambda x: x[..., -1, :],
    "[:, -1, 1:3]": lambda x: x[:, -1, 1:3],
    "[:, -1:]": lambda x: x[:, -1:],
    "[:, 0]": lambda x: x[:, 0],
    "[..., :2]": lambda x: x[..., :2],
    "[:, :, 3]": lambda x: x[:, :, 3],
    "[:, :, 1:-1]": lambda x: x[:, :, 1:-1],
    "[:, :, ::2]": lambda x: x[:, :, ::2],
    "[:, :, None, 1:]": lambda x: x[:, :, None, 1:],
    "[:, 2:]": lambda x: x[:, 2:],
    "[:]": lambda x: x[:, :],
}


@pytest.mark.parametrize("text", STREAMS)
def test_slices_stream(keras: Any, text: str, tmp_path: Path) -> None:
    x = keras.Input((None, 5))
    y = STREAMS[text](keras.layers.LSTM(4, return_sequences=True)(x))
    assert all(ours.streamable for ours in compared(keras.Model(x, y), tmp_path))


def test_the_last_timestep_is_that_of_a_layer_without_sequences(keras: Any, tmp_path: Path) -> None:
    k, x = keras.layers, keras.Input((None, 5))
    sliced, own = k.GRU(4, return_sequences=True), k.GRU(4)
    model = keras.Model(x, [sliced(x)[:, -1], own(x)])
    own.set_weights(sliced.get_weights())
    model.save(tmp_path / "m.keras")
    ours = undertow.load(tmp_path / "m.keras")
    a, b = ours.run(np.random.default_rng(6).normal(size=(T, 5)).astype(np.float32)).values()
    np.testing.assert_array_equal(a, b)


def test_slices_behind_other_layers(keras: Any, tmp_path: Path) -> None:
    """Behind what runs backwards, begins late, strides, or stands in models of two sizes of frames."""
    k, x = keras.layers, keras.Input((None, 5))
    both = k.Bidirectional(k.LSTM(3, return_sequences=True))(x)
    compared(keras.Model(x, [both[:, 0], both[:, -1]]), tmp_path)
    late = k.Conv1D(4, 3)(x)
    compared(keras.Model(x, [late[:, 0], late[:, -1], late[:, 1:], late[:, :, 1]]), tmp_path)


def test_slices_of_frames_of_several_timesteps(keras: Any, tmp_path: Path) -> None:
    k, x = keras.layers, keras.Input((None, 4))
    twice = k.UpSampling1D(2)(x)
    for y in (k.GRU(3, return_sequences=True)(twice)[:, -1], twice[:, -1, 1:], twice[:, :, 1:3]):
        compared(keras.Model(x, y), tmp_path)
    for cut in (lambda t: t[:, 2:], lambda t: t[:, 0]):
        for path in saved(keras.Model(x, cut(twice)), tmp_path):
            with pytest.raises(UnsupportedError, match=r"GetItem '.*takes timesteps that a stream cannot tell"):
                undertow.load(path)


CLIPS: dict[str, Callable[[Any], Any]] = {
    "[:, 2:-1]": lambda x: x[:, 2:-1],
    "[:, ::2]": lambda x: x[:, ::2],
    "[:, ::2, :]": lambda x: x[:, ::2],
    "[:, -3:]": lambda x: x[:, -3:],
    "[:, 3]": lambda x: x[:, 3],
    "[:, -2]": lambda x: x[:, -2],
}


@pytest.mark.parametrize("text", CLIPS)
def test_slices_that_need_the_end_are_clips(keras: Any, text: str, tmp_path: Path) -> None:
    """Where the model says how long they are; in a stream they are refused by name."""
    for ours in compared(keras.Model(x := keras.Input((T, 5)), keras.layers.ReLU()(CLIPS[text](x))), tmp_path):
        assert "the whole clip is one frame" in ours.source
    x = keras.Input((None, 5))
    for path in saved(keras.Model(x, CLIPS[text](x)), tmp_path):
        words = text.removesuffix("]").removesuffix(", :")
        with pytest.raises(UnsupportedError) as info:
            undertow.load(path)
        assert f"{words}, :] takes timesteps that a stream cannot tell" in str(info.value)


def test_the_last_timestep_by_its_number(keras: Any, tmp_path: Path) -> None:
    """And slices to where the sequence ends: these stream."""
    x = keras.Input((T, 5))
    y = keras.layers.SimpleRNN(3, return_sequences=True)(x)
    for ours in compared(keras.Model(x, [y[:, T - 1], y[:, -T], y[:, 1:T]]), tmp_path):
        assert ours.graph.shape(ours.graph.inputs[0]) == (5,)


def test_slices_that_are_no_slices_of_frames(keras: Any, tmp_path: Path) -> None:
    x = keras.Input((None, 5))
    for y, says in (
        (x[0], r"\[0, :, :\] takes some of the batch"),
        (x[:, None], r"\[:, None, :, :\] puts an axis before time"),
        (x[:1, ...], r"\[:1, :, :\] takes some of the batch"),
    ):
        for path in saved(keras.Model(x, y), tmp_path):
            with pytest.raises(UnsupportedError, match=f"GetItem '.*': {says}"):
                undertow.load(path)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ([None, {"class_name": "__slice__", "config": {}}], UnsupportedError, "takes some of the batch"),
        (["x"], UnsupportedError, "item holds 'x', which is not supported"),
        ([{"class_name": "__slice__", "config": {"step": 0}}], UnsupportedError, "item holds"),
        ([{"class_name": "__ellipsis__"}] * 2, FormatError, "item has 2 ellipses"),
        ([{"class_name": "__slice__", "config": {}}] * 4, FormatError, "item has 4 axes, but .* has 3"),
        ([{"class_name": "__ellipsis__"}, 9], FormatError, "index 9 is out of bounds"),
        ([{"class_name": "__ellipsis__"}, {"start": 3, "stop": 1}], FormatError, "leaves nothing"),
        ({"class_name": "__tuple__", "items": 3}, FormatError, "item must be a list"),
    ],
)  # fmt: skip
def test_slices_that_nobody_can_take(given: Any, error: type[Error], says: str, tmp_path: Path) -> None:
    node = layer("GetItem", "cut", item=given)
    config = keras2_model([keras2_input("x", None, 5), (node, [[["x", 0, 0, {}]]])], [["x", 0, 0]], [["cut", 0, 0]])
    with pytest.raises(error, match=f"GetItem 'cut': .*{says}"):
        undertow.load(write_h5(tmp_path / "m.h5", config, {}))
