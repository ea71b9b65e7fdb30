# SPDX-License-Identifier: MIT
"""Initial states that layers compute, and inputs that come once per sequence, against Keras."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from keras_live import T, compared, saved
from undertow.errors import ShapeError, UnsupportedError

pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # Keras's own


@pytest.fixture(scope="module")
def keras() -> Any:
    return pytest.importorskip("keras", reason="needs Keras and a backend: pip install keras torch")


def inputs(keras: Any) -> tuple[Any, Any]:
    return keras.Input((None, 5), name="x"), keras.Input((3,), name="once")


#: what of a model: (layers of Keras, the sequence, the vector, what layers make of the vector) -> outputs
FROM_A_VECTOR: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "LSTM": lambda k, x, v, of: k.LSTM(4, return_sequences=True)(x, initial_state=[of(v), of(v)]),
    "GRU": lambda k, x, v, of: k.GRU(4, return_sequences=True)(x, initial_state=of(v)),
    "GRU, reset before": lambda k, x, v, of: k.GRU(4, reset_after=False)(x, initial_state=of(v)),
    "SimpleRNN": lambda k, x, v, of: k.Dense(2)(k.SimpleRNN(4)(x, initial_state=of(v))),
    "states": lambda k, x, v, of: list(k.LSTM(4, return_state=True)(x, initial_state=[of(v), of(v)])),
    "cell": lambda k, x, v, of: k.RNN(k.GRUCell(4), return_sequences=True)(x, initial_state=of(v)),
    "behind a convolution": lambda k, x, v, of: k.GRU(4)(k.Conv1D(3, 3)(x), initial_state=of(v)),
    "looking ahead": lambda k, x, v, of: k.GRU(4)(k.Conv1D(3, 3, padding="same")(x), initial_state=of(v)),
    "striding": lambda k, x, v, of: k.GRU(4)(k.MaxPooling1D(2)(x), initial_state=of(v)),
    "backwards": lambda k, x, v, of: k.GRU(4, go_backwards=True, return_sequences=True)(x, initial_state=of(v)),
    "both ways": lambda k, x, v, of: k.Bidirectional(k.LSTM(4))(x, initial_state=[of(v) for _ in range(4)]),
    "two cells from one": lambda k, x, v, of: [k.GRU(3)(x, initial_state=v), k.SimpleRNN(3)(x, initial_state=v)],
}


@pytest.mark.parametrize("name", FROM_A_VECTOR)
def test_states_that_a_vector_makes(keras: Any, name: str, tmp_path: Path) -> None:
    """The first frame of a sequence has it; a vector that comes once stays the same in every frame."""
    k, (x, vector) = keras.layers, inputs(keras)
    model = keras.Model([x, vector], FROM_A_VECTOR[name](k, x, vector, k.Dense(4, activation="tanh")))
    for ours in compared(model, tmp_path):
        assert "input 'once' comes once per sequence: give the same with every frame" in ours.source
        assert ours.streamable == (name not in ("backwards", "both ways"))


def test_only_the_first_vector_makes_a_state(keras: Any, tmp_path: Path) -> None:
    k, (x, vector) = keras.layers, inputs(keras)
    model = keras.Model([x, vector], k.GRU(4, return_sequences=True)(x, initial_state=k.Dense(4)(vector)))
    ours = undertow.load(saved(model, tmp_path)[0])
    rng = np.random.default_rng(0)
    X, V = rng.normal(size=(T, 5)).astype(np.float32), rng.normal(size=(T, 3)).astype(np.float32)
    first = np.tile(V[:1], (T, 1))
    np.testing.assert_array_equal(ours.run({"x": X, "once": V}), ours.run({"x": X, "once": first}))
    assert np.abs(ours.run({"x": X, "once": first + 1}) - ours.run({"x": X, "once": first})).max() > 1e-3


def encoder(keras: Any, cls: str, x: Any) -> Any:
    _, *states = getattr(keras.layers, cls)(4, return_state=True)(x)
    return states


@pytest.mark.parametrize("cls", ["LSTM", "GRU", "SimpleRNN"])
def test_an_encoder_and_a_decoder_are_clips(keras: Any, cls: str, tmp_path: Path) -> None:
    """Each as long as the model says; in a stream the decoder cannot begin before the encoder has ended."""
    k = keras.layers
    for n, m in ((6, 4), (None, None)):
        x, y = keras.Input((n, 5), name="x"), keras.Input((m, 3), name="y")
        decoder = getattr(k, cls)(4, return_sequences=True, name="decoder")
        model = keras.Model([x, y], k.Dense(2)(decoder(y, initial_state=encoder(keras, cls, x))))
        if n is not None:
            compared(model, tmp_path)
            continue
        for path in saved(model, tmp_path):
            with pytest.raises(UnsupportedError, match=f"{cls} 'decoder': its initial_state is known when another"):
                undertow.load(path)
            ours = undertow.load(path, shapes={"x": (1, 7, 5), "y": (1, 3, 3)})
            assert ours.run({"x": np.zeros((2, 7, 5), "f4"), "y": np.zeros((2, 3, 3), "f4")}).shape == (2, 3, 2)


def test_a_state_of_the_same_sequence_is_a_clip(keras: Any, tmp_path: Path) -> None:
    k, x = keras.layers, keras.Input((T, 4))
    compared(keras.Model(x, k.GRU(4)(x, initial_state=k.GlobalAveragePooling1D()(x))), tmp_path)


@pytest.mark.parametrize("n", [6, None])
def test_forecasts_stream(keras: Any, n: int | None, tmp_path: Path) -> None:
    """What a decoder makes of all frames so far, its own steps being inside of a frame."""
    k, x = keras.layers, keras.Input((n, 5))
    out, *states = k.LSTM(4, return_state=True)(x)
    rows = k.LSTM(4, return_sequences=True)(k.RepeatVector(3)(out), initial_state=states)
    for ours in compared(keras.Model(x, k.TimeDistributed(k.Dense(2))(rows)), tmp_path):
        assert ours.streamable
        assert ours.graph.shape(ours.graph.inputs[0]) == (5,)


def test_an_encoder_both_ways_with_attention(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    x, y = keras.Input((6,), dtype="int32", name="x"), keras.Input((4,), dtype="int32", name="y")
    memory, fh, fc, bh, bc = k.Bidirectional(k.LSTM(2, return_sequences=True, return_state=True))(k.Embedding(7, 3)(x))
    start = [k.Concatenate()([fh, bh]), k.Concatenate()([fc, bc])]
    rows = k.LSTM(4, return_sequences=True)(k.Embedding(7, 3)(y), initial_state=start)
    mixed = k.Concatenate()([rows, k.AdditiveAttention()([rows, memory])])
    compared(keras.Model([x, y], k.Dense(7, activation="softmax")(mixed)), tmp_path)


def test_states_given_to_clips_are_inputs(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    x, h, c = keras.Input((T, 5), name="x"), keras.Input((4,), name="h"), keras.Input((4,), name="c")
    model = keras.Model([x, h, c], k.Flatten()(k.LSTM(4, return_sequences=True)(x, initial_state=[h, c])))
    assert all(list(ours.inputs) == ["x", "h", "c"] for ours in compared(model, tmp_path))


def test_states_that_are_not_computed(keras: Any, tmp_path: Path) -> None:
    k, (x, vector) = keras.layers, inputs(keras)
    h, c = keras.Input((4,), name="h"), k.Dense(4)(vector)
    model = keras.Model([x, vector, h], k.LSTM(4, name="cell")(x, initial_state=[h, c]))
    for path in saved(model, tmp_path):
        with pytest.raises(UnsupportedError, match="LSTM 'cell': initial_state is in part an input of the model"):
            undertow.load(path)
    own = k.GRU(3)(k.Reshape((-1, 5))(x))
    for path in saved(keras.Model(x, k.GRU(3, name="next")(x, initial_state=own)), tmp_path):
        with pytest.raises(UnsupportedError, match="GRU 'next': its initial_state is known when another sequence has"):
            undertow.load(path)


# -- inputs that come once --------------------------------------------------------------------------------------------

WITH_A_VECTOR: dict[str, Callable[[Any, Any, Any], Any]] = {
    "joined": lambda k, x, v: k.Dense(2)(k.Concatenate()([k.LSTM(4)(x), k.Dense(3)(v)])),
    "joined, both ways": lambda k, x, v: k.Concatenate()([k.Bidirectional(k.GRU(2))(x), k.Dense(3)(v)]),
    "joined, ahead": lambda k, x, v: k.Concatenate()([k.GRU(4)(k.Conv1D(3, 3, padding="same")(x)), v]),
    "joined, striding": lambda k, x, v: k.Concatenate()([k.GRU(4)(k.MaxPooling1D(2)(x)), v]),
    "beside": lambda k, x, v: [k.SimpleRNN(4, return_sequences=True)(x), k.Dense(3)(v)],
    "scaled and shifted": lambda k, x, v: k.GRU(3)(k.Add()([k.Multiply()([x, k.Dense(5)(v)]), k.Dense(5)(v)])),
    "scaled, late": lambda k, x, v: k.GRU(3)(k.Multiply()([k.Dense(4)(v), k.Conv1D(4, 3)(x)])),
    "gated": lambda k, x, v: k.Multiply()([k.Bidirectional(k.GRU(2, return_sequences=True))(x), k.Dense(4)(v)]),
    "pooled": lambda k, x, v: k.Average()([k.GlobalAveragePooling1D()(x), k.GlobalMaxPooling1D()(x), k.Dense(5)(v)]),
}


@pytest.mark.parametrize("name", WITH_A_VECTOR)
def test_inputs_that_come_once(keras: Any, name: str, tmp_path: Path) -> None:
    k, (x, vector) = keras.layers, inputs(keras)
    for ours in compared(keras.Model([x, vector], WITH_A_VECTOR[name](k, x, vector)), tmp_path):
        assert "input 'once' comes once per sequence" in ours.source


@pytest.mark.parametrize("words", [False, True])
def test_an_id_beside_a_sequence(keras: Any, words: bool, tmp_path: Path) -> None:
    """Who it is about, as one id: (batch, 1) is no sequence of a single timestep then; alone it is."""
    k, who = keras.layers, keras.Input((1,), dtype="int32", name="who")
    x = keras.Input((None,), dtype="int32", name="x") if words else keras.Input((None, 4), name="x")
    series = k.LSTM(3)(k.Embedding(7, 4)(x) if words else x)
    person = k.Flatten()(k.Embedding(7, 3)(who))
    for ours in compared(keras.Model([x, who], k.Dense(2)(k.Concatenate()([series, person]))), tmp_path):
        assert ours.streamable
        assert "input 'who' comes once per sequence" in ours.source
    for path in saved(keras.Model(who, k.GRU(3)(k.Embedding(7, 3)(who))), tmp_path):
        assert undertow.load(path).graph.shape("who") == ()


def test_layers_put_axes_before_what_lacks_them(keras: Any, tmp_path: Path) -> None:
    """Where operations, as NumPy does, would take the batch for time."""
    k = keras.layers
    x, vector = keras.Input((None, 2, 4), name="x"), keras.Input((4,), name="once")
    compared(keras.Model([x, vector], k.TimeDistributed(k.Flatten())(k.Multiply()([x, vector]))), tmp_path)
    x = keras.Input((T, 4), name="x")
    compared(keras.Model([x, vector], k.Flatten()(k.Subtract()([vector, x]))), tmp_path)
    x = keras.Input((None, 4), name="x")
    for path in saved(keras.Model([x, vector], keras.ops.multiply(x, vector)), tmp_path)[:1]:
        with pytest.raises(UnsupportedError, match=r"Multiply '.*': its inputs differ in their axes"):
            undertow.load(path)


def test_what_a_sequence_gives_at_its_end_is_not_the_same_throughout(keras: Any, tmp_path: Path) -> None:
    k, x = keras.layers, keras.Input((None, 4))
    for path in saved(keras.Model(x, k.Multiply()([k.GRU(4, return_sequences=True)(x), k.GRU(4)(x)])), tmp_path):
        with pytest.raises(UnsupportedError, match=r"Multiply '.*': its inputs differ in their axes"):
            undertow.load(path)


def test_widths_of_states_are_checked(tmp_path: Path) -> None:
    from keras_files import keras2_input, keras2_model, layer, write_h5

    cell = layer("SimpleRNN", "r", units=2, activation="tanh", use_bias=False)
    arrays = {"r": [("r/kernel:0", np.ones((3, 2), "f4")), ("r/recurrent_kernel:0", np.eye(2, dtype="f4"))]}
    for shape, said in (((3,), r"\[\(3,\)\]"), ((None, 2), r"\[\(2,\)\] with an axis of time")):
        dense = (layer("ReLU", "start"), [[["s", 0, 0, {}]]])
        nodes = [[["x", 0, 0, {"initial_state": [["start", 0, 0]]}]]]
        layers = [keras2_input("x", None, 3), keras2_input("s", *shape), dense, (cell, nodes)]
        config = keras2_model(layers, [["x", 0, 0], ["s", 0, 0]], [["r", 0, 0]])
        with pytest.raises(ShapeError, match=rf"SimpleRNN 'r': initial_state has shapes {said}, expected \[\(2,\)\]"):
            undertow.load(write_h5(tmp_path / "m.h5", config, arrays))


# -- cells that convolve ----------------------------------------------------------------------------------------------

CONVOLVED: dict[str, Callable[[Any, Any], Any]] = {
    "in a row": lambda k, x: k.ConvLSTM2D(1, 2, padding="same")(k.ConvLSTM2D(2, 3, return_sequences=True)(x)),
    "striding": lambda k, x: k.ConvLSTM2D(2, 3, strides=2, padding="same", return_sequences=True)(x),
    "dilated": lambda k, x: k.ConvLSTM2D(2, (2, 1), dilation_rate=2, return_sequences=True)(x),
    "backwards": lambda k, x: k.ConvLSTM2D(2, 3, go_backwards=True, return_sequences=True)(x),
    "both ways": lambda k, x: k.Bidirectional(k.ConvLSTM2D(2, 3, return_sequences=True), merge_mode="sum")(x),
    "both ways, joined": lambda k, x: k.Bidirectional(k.ConvLSTM2D(2, 3, return_sequences=True))(x),
    "states": lambda k, x: list(k.ConvLSTM2D(2, 3, return_state=True)(x)),
    "rows": lambda k, x: k.ConvLSTM1D(2, 3, padding="same")(k.Reshape((-1, 5, 4))(x)),
    "classified": lambda k, x: k.Dense(3)(k.Flatten()(k.BatchNormalization()(k.ConvLSTM2D(2, 3)(x)))),
}


@pytest.mark.parametrize("name", CONVOLVED)
def test_cells_that_convolve(keras: Any, name: str, tmp_path: Path) -> None:
    x = keras.Input((None, 5, 4, 1))
    for ours in compared(keras.Model(x, CONVOLVED[name](keras.layers, x)), tmp_path):
        assert ours.streamable == (name not in ("backwards", "both ways", "both ways, joined"))


def test_cells_that_convolve_start_where_a_vector_says(keras: Any, tmp_path: Path) -> None:
    k, x, vector = keras.layers, keras.Input((None, 4, 3, 1)), keras.Input((3,))
    start = [k.Reshape((4, 3, 2))(k.Dense(24)(vector)) for _ in range(2)]
    cell = k.ConvLSTM2D(2, 3, padding="same", return_sequences=True)
    compared(keras.Model([x, vector], cell(x, initial_state=start)), tmp_path)


def test_cells_that_convolve_behind_what_is_missing(keras: Any, tmp_path: Path) -> None:
    k, x = keras.layers, keras.Input((None, 4, 2))
    h = k.Conv2D(2, (3, 1))(x)
    compared(keras.Model(x, k.ConvLSTM1D(2, 3, padding="same", return_sequences=True)(h)), tmp_path)


def test_cells_that_convolve_need_time(keras: Any, tmp_path: Path) -> None:
    k, x = keras.layers, keras.Input((T, 5, 4, 1), name="frames")
    h = k.ConvLSTM2D(2, 3, return_sequences=True, name="cell")(x)
    for path in saved(keras.Model(x, k.Dense(2)(k.Flatten(name="all")(h))), tmp_path):
        with pytest.raises(UnsupportedError, match="Flatten 'all': it joins all timesteps"):
            undertow.load(path)
        with pytest.raises(UnsupportedError, match="ConvLSTM2D 'cell': a sequence inside of a frame is not supported"):
            undertow.load(path, shapes={"frames": (1, T, 5, 4, 1)})
    x = keras.Input((None, 4, 3, 1))
    first = k.ConvLSTM2D(2, 3, data_format="channels_first")(k.Permute((1, 4, 2, 3))(x))
    for path in saved(keras.Model(x, first), tmp_path):
        with pytest.raises(UnsupportedError, match=r"ConvLSTM2D '.*data_format = 'channels_first' is not supported"):
            undertow.load(path)
