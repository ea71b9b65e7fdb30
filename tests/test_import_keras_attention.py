# SPDX-License-Identifier: MIT
"""Attention between the timesteps of clips, and softmax along them, against Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from keras_files import keras2_input, keras2_model, layer, sequential, write_h5
from keras_live import T, compared, saved
from undertow.errors import Error, FormatError, ShapeError, UnsupportedError

pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # Keras's own


@pytest.fixture(scope="module")
def keras() -> Any:
    return pytest.importorskip("keras", reason="needs Keras and a backend: pip install keras torch")


def seen(keras: Any) -> tuple[Any, Any]:
    return keras.Input((6, 4), name="query"), keras.Input((5, 4), name="memory")


@pytest.mark.parametrize("said", [{"use_causal_mask": True}, {"return_attention_scores": True}, {"training": False}])
@pytest.mark.parametrize("cls", ["Attention", "AdditiveAttention", "MultiHeadAttention", "GroupQueryAttention"])
def test_attention_does_what_its_call_says(keras: Any, cls: str, said: dict[str, bool], tmp_path: Path) -> None:
    k, (query, memory) = keras.layers, seen(keras)
    made = {
        "MultiHeadAttention": lambda: k.MultiHeadAttention(2, 3),
        "GroupQueryAttention": lambda: k.GroupQueryAttention(4, 2, 1),
    }
    attention = made.get(cls, getattr(k, cls))()
    y = attention(query, memory, **said) if cls in made else attention([query, memory], **said)
    compared(keras.Model([query, memory], y), tmp_path)


def test_heads_take_their_inputs_by_name(keras: Any, tmp_path: Path) -> None:
    k, (query, memory) = keras.layers, seen(keras)
    key = k.Dense(3)(memory)
    y = k.MultiHeadAttention(2, 3)(query, key=key, value=memory)
    compared(keras.Model([query, memory], y), tmp_path)


def test_attention_behind_a_cell(keras: Any, tmp_path: Path) -> None:
    """A clip where the model says how long it is; otherwise it is refused in words of time."""
    k = keras.layers
    for build in (
        lambda h: k.Attention()([h, h]),
        lambda h: k.AdditiveAttention()([h, h]),
        lambda h: k.MultiHeadAttention(2, 3)(h, h, use_causal_mask=True),
        lambda h: k.Softmax(axis=1)(h),
        lambda h: k.Dot(axes=[1, 1])([k.Softmax(axis=1)(k.Dense(1, activation="tanh")(h)), h]),
    ):
        for n in (T, None):
            x = keras.Input((n, 5))
            model = keras.Model(x, k.Dense(2)(build(k.GRU(4, return_sequences=True)(x))))
            if n is None:
                for path in saved(model, tmp_path):
                    says = r"(Attention|Softmax) '.*looks at the whole sequence, which a stream has not.*shapes="
                    with pytest.raises(UnsupportedError, match=says):
                        undertow.load(path)
                path = tmp_path / "m.keras"
                name = model.inputs[0]._keras_history.operation.name
                assert undertow.load(path, shapes={name: (1, 7, 5)}).run(np.zeros((2, 7, 5), np.float32)).ndim > 1
            else:
                compared(model, tmp_path)


@pytest.mark.parametrize("length", [None, 12])
def test_a_refusal_tells_the_clip_that_it_asks_for(length: int | None, tmp_path: Path) -> None:
    """Axis 1 of an open input; of one that is streamed by `shapes=` none, for the user has said that it is no clip."""
    one = layer("Softmax", "s", axis=1, batch_input_shape=[None, length, 3])
    path = write_h5(tmp_path / "m.h5", sequential(one), {"s": []})
    (name,) = undertow.load(path, shapes={"input": (1, 12, 3)}).inputs
    assert name == "input"
    if length is None:
        with pytest.raises(UnsupportedError, match="give the clip's size: shapes=") as told:
            undertow.load(path)
        assert str(told.value).endswith(" shapes={'input': [1, T, 3]}, with your number for T")
    with pytest.raises(UnsupportedError, match=r"give the clip's size: shapes=$"):
        undertow.load(path, shapes={"input": (1, None, 3)})
    with pytest.raises(ShapeError, match=r"shapes= names 'x', but the inputs are \['input'\]"):
        undertow.load(path, shapes={"x": (1, 12, 3)})


def test_masks_of_attention_need_a_promise(keras: Any, tmp_path: Path) -> None:
    k = keras.layers
    ids = keras.Input((T,), dtype="int32")
    h = k.LSTM(4, return_sequences=True)(k.Embedding(7, 4, mask_zero=True)(ids))
    there = keras.ops.not_equal(ids, 0)
    model = keras.Model(
        ids, [k.Attention()([h, h], mask=[there, there]), k.MultiHeadAttention(2, 3)(h, h, key_mask=there)]
    )
    for path in saved(model, tmp_path):
        with pytest.raises(UnsupportedError, match="pass assume_unmasked=True"):
            undertow.load(path)
    compared(model, tmp_path, assume_unmasked=True)


def test_masks_of_pairs_are_refused(keras: Any, tmp_path: Path) -> None:
    x, pairs = keras.Input((6, 4)), keras.Input((6, 6), dtype="bool")
    model = keras.Model([x, pairs], keras.layers.MultiHeadAttention(2, 3, name="mix")(x, x, attention_mask=pairs))
    for path in saved(model, tmp_path):
        with pytest.raises(UnsupportedError, match="MultiHeadAttention 'mix': called with attention_mask = "):
            undertow.load(path, assume_unmasked=True)


def heads(**more: Any) -> dict[str, Any]:
    return layer("MultiHeadAttention", "it", num_heads=2, key_dim=3, **more)


@pytest.mark.parametrize(
    ("table", "shape", "error", "says"),
    [
        (heads(use_gate=True), (5, 4), UnsupportedError, "use_gate"),
        (heads(attention_axes=[1, 2]), (5, 4), UnsupportedError, "axes"),
        (heads(output_shape=[2, 2]), (5, 4), UnsupportedError, "one axis"),
        (heads(), (5, 4, 3), FormatError, "do not fit together"),
        (
            layer("GroupedQueryAttention", "it", num_query_heads=3, num_key_value_heads=2, head_dim=3),
            (5, 4), FormatError, "3 heads of queries for 2 of keys",
        ),
        (layer("Attention", "it", score_mode="sum"), (5, 4), UnsupportedError, "score_mode = 'sum'"),
        (layer("Attention", "it"), (5,), FormatError, "do not fit together"),
        (layer("Dot", "it", axes=[1, 2]), (5, 4), FormatError, "have different sizes"),
        (layer("Dot", "it", axes=0), (5, 4), FormatError, "the batch is axis 0 and stays"),
        (layer("Dot", "it", axes=[1]), (5, 4), FormatError, "axes must be one number or two"),
        (layer("Dot", "it", axes=3), (5, 4), FormatError, r"of frames \[\(5, 4\), \(5, 4\)\]"),
    ],
)  # fmt: skip
def test_attention_that_is_not_computed(
    table: dict[str, Any], shape: tuple[int, ...], error: type[Error], says: str, tmp_path: Path
) -> None:
    nodes = [[["x", 0, 0, {}], ["y", 0, 0, {}]]]
    inputs = [keras2_input("x", *shape), keras2_input("y", *shape)]
    config = keras2_model([*inputs, (table, nodes)], [["x", 0, 0], ["y", 0, 0]], [["it", 0, 0]])
    with pytest.raises(error, match=f"{table['class_name']} 'it': .*{says}"):
        undertow.load(write_h5(tmp_path / "m.h5", config, {"it": []}))
