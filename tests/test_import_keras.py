# SPDX-License-Identifier: MIT
"""The Keras importer: files made by Keras itself, cells against the oracle, the wirings of Keras 2 and 3."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracle
from keras_files import GOLDEN, check, keras2_input, keras2_model, layer, sequential, write_h5, write_keras
from tolerances import FLOAT32_MODEL, FLOAT32_PEER
from undertow import reference
from undertow.compile import compile_graph
from undertow.errors import UnsupportedError
from undertow.importers import keras
from undertow.ir.activations import Activation

h5py = pytest.importorskip("h5py", reason="needs h5py: pip install h5py")

MODELS = ["cells", "bidirectional", "text", "wiring", "decoder", "dense"]
rng = np.random.default_rng(7)


def weights(*shape: int) -> np.ndarray:
    return (rng.normal(size=shape) * 0.5).astype(np.float32)


def golden_file(name: str, kind: str, folder: Path) -> Path:
    if kind == "keras":
        return GOLDEN / f"{name}.keras"
    path = folder / f"{name}.h5"
    path.write_bytes(gzip.decompress((GOLDEN / f"{name}.h5.gz").read_bytes()))
    return path


def golden_arrays(name: str, way: str) -> dict[str, np.ndarray]:
    prefix = f"{name}/{way}/"
    with np.load(GOLDEN / "expected.npz") as arrays:
        return {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}


# -- files that Keras made ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["keras", "h5"])
@pytest.mark.parametrize("name", MODELS)
def test_agrees_with_keras(name: str, kind: str, tmp_path: Path) -> None:
    graph = keras.load(golden_file(name, kind, tmp_path))
    X, expected, state = golden_arrays(name, "in"), golden_arrays(name, "out"), None
    if name == "decoder":
        state = {"lstm.h": X.pop("h"), "lstm.c": X.pop("c")}
        assert "is the state of a cell" in graph.source
    if list(expected) == ["y"]:  # the golden file has one nameless output
        expected = {next(iter(graph.outputs)): expected["y"]}
    if kind == "h5" and set(graph.outputs) != set(expected):
        pytest.fail(f"outputs {sorted(graph.outputs)}, expected {sorted(expected)}")
    check(graph, X, expected, FLOAT32_MODEL, state, f"{name}.{kind}")
    exact = reference.evaluate(graph, X, state).outputs
    for key, y in expected.items():  # Keras in float32 against the float64 reference
        found = exact[key][-1] if exact[key].ndim > y.ndim else exact[key]
        assert np.max(np.abs(found - y)) < FLOAT32_PEER, key


def test_both_formats_give_the_same_graph(tmp_path: Path) -> None:
    for name in MODELS:
        a, b = (keras.load(golden_file(name, kind, tmp_path)) for kind in ("keras", "h5"))
        assert [n.op for n in a.nodes] == [n.op for n in b.nodes]
        for node, other in zip(a.nodes, b.nodes, strict=True):
            for key, w in node.weights.items():
                np.testing.assert_array_equal(w, other.weights[key])


def test_keras_and_h5py_are_not_needed() -> None:
    program = (
        "import sys; sys.modules['h5py'] = None; from undertow.importers import keras; "
        f"print(keras.load({str(GOLDEN / 'text.keras')!r})); "
        "assert not {'keras', 'tensorflow', 'torch'} & set(sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    assert "embedding" in out.stdout


# -- cells, against the oracle ---------------------------------------------------------------------------------------


def keras_cell(cls: str, units: int, n_in: int, bias: str = "plain") -> list[tuple[str, np.ndarray]]:
    gates = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}[cls] * units
    arrays = [("cell/kernel:0", weights(n_in, gates)), ("cell/recurrent_kernel:0", weights(units, gates))]
    shape = {"plain": (gates,), "twice": (2, gates)}.get(bias)
    return arrays if shape is None else [*arrays, ("cell/bias:0", weights(*shape))]


@pytest.mark.parametrize(("version", "alpha"), [("2.2.4", 0.2), ("2.2.4-tf", 0.2), ("2.15.0", 0.2), ("3.0.0", 1 / 6)])
def test_hard_sigmoid_is_that_of_the_version(version: str, alpha: float, tmp_path: Path) -> None:
    arrays = keras_cell("LSTM", 3, 2)
    settings = {"units": 3, "activation": "tanh", "recurrent_activation": "hard_sigmoid", "return_sequences": True}
    model = sequential(layer("LSTM", "cell", **settings, batch_input_shape=[None, None, 2]))
    graph = keras.load(write_h5(tmp_path / "m.h5", model, {"cell": arrays}, version))
    K, R, b = (a for _, a in arrays)
    order = [0, 3, 1, 2]  # Keras i f c o -> ONNX i o f c

    def onnx(w: np.ndarray) -> np.ndarray:
        return np.concatenate([np.split(w, 4)[k] for k in order])

    X = rng.normal(size=(9, 2)).astype(np.float32)
    B = np.concatenate([onnx(b), np.zeros(12, np.float32)])[None]
    acts = [("HardSigmoid", alpha, 0.5), "Tanh", "Tanh"]
    Y, *_ = oracle.lstm(X[:, None], onnx(K.T)[None], onnx(R.T)[None], B, activations=acts)
    check(graph, {graph.inputs[0]: X}, {"cell": Y[:, 0, 0]}, FLOAT32_MODEL, label=version)


def test_hard_sigmoid_of_an_unknown_version_is_refused(tmp_path: Path) -> None:
    settings = {"units": 3, "activation": "tanh", "recurrent_activation": "hard_sigmoid"}
    model = sequential(layer("LSTM", "cell", **settings, batch_input_shape=[None, None, 2]))
    path = write_h5(tmp_path / "m.h5", model, {"cell": keras_cell("LSTM", 3, 2)}, version=None)
    with pytest.raises(UnsupportedError, match=r"does not say which wrote it.*keras_version"):
        keras.load(path)
    for version, alpha in (("2", 0.2), ("3.1", 1 / 6)):
        (node,) = (n for n in keras.load(path, keras_version=version).nodes if n.op == "lstm")
        assert node.attrs["activations"][0] == Activation("hard_sigmoid", alpha, 0.5)
    with pytest.raises(ValueError, match="keras_version"):
        keras.load(path, keras_version="new")


@pytest.mark.parametrize(
    ("bias", "settings"), [("plain", {}), ("plain", {"reset_after": False}), ("twice", {"reset_after": True})]
)
def test_gru_reset_before_and_after(bias: str, settings: dict[str, Any], tmp_path: Path) -> None:
    arrays = keras_cell("GRU", 4, 3, bias)
    config = {"units": 4, "activation": "tanh", "recurrent_activation": "sigmoid", "return_sequences": True, **settings}
    model = sequential(layer("GRU", "cell", **config, batch_input_shape=[None, None, 3]))
    graph = keras.load(write_h5(tmp_path / "m.h5", model, {"cell": arrays}))
    K, R, b = (a for _, a in arrays)
    X = rng.normal(size=(7, 3)).astype(np.float32)
    B = b.reshape(1, -1) if bias == "twice" else np.concatenate([b, 0 * b])[None]
    Y, _ = oracle.gru(X[:, None], K.T[None], R.T[None], B, linear_before_reset=int(bias == "twice"))
    check(graph, {graph.inputs[0]: X}, {"cell": Y[:, 0, 0]}, FLOAT32_MODEL, label=f"gru {settings}")


@pytest.mark.parametrize("cls", ["LSTM", "GRU"])
def test_cudnn_layers_are_their_plain_counterparts(cls: str, tmp_path: Path) -> None:
    units, n_in = 3, 5
    plain = keras_cell(cls, units, n_in, "twice" if cls == "GRU" else "plain")
    K, R, b = (a for _, a in plain)
    n_gates = K.shape[1] // units
    # every input gate transposed in memory but shaped as before, every recurrent gate transposed, two bias vectors
    kernel = np.hstack([k.T.reshape(k.shape) for k in np.hsplit(K, n_gates)])
    recurrent = np.hstack([r.T for r in np.hsplit(R, n_gates)])
    half = weights(*b.shape) if cls == "LSTM" else None
    bias = np.concatenate([half, b - half]) if half is not None else b.ravel()
    settings = {"units": units, "return_sequences": True, "batch_input_shape": [None, None, n_in]}
    acts = {"activation": "tanh", "recurrent_activation": "sigmoid", **({"reset_after": True} if cls == "GRU" else {})}
    X = rng.normal(size=(6, n_in)).astype(np.float32)
    model = sequential(layer(cls, "cell", **settings, **acts))
    expected = reference.run(keras.load(write_h5(tmp_path / "a.h5", model, {"cell": plain})), X)
    names = [f"cell/{role}:0" for role in ("kernel", "recurrent_kernel", "bias")]
    arrays = list(zip(names, (kernel, recurrent, bias), strict=True))
    graph = keras.load(
        write_h5(tmp_path / "b.h5", sequential(layer(f"CuDNN{cls}", "cell", **settings)), {"cell": arrays})
    )
    check(graph, {graph.inputs[0]: X}, {"cell": expected}, FLOAT32_MODEL, label=f"CuDNN{cls}")


def test_cells_keep_their_state_names(tmp_path: Path) -> None:
    graph = keras.load(golden_file("text", "h5", tmp_path))
    cells = [node for node in graph.nodes if node.states]
    assert [node.states for node in cells] == [
        (f"{cells[0].name}.h", f"{cells[0].name}.c"),
        (f"{cells[1].name}.h",),
    ]
    assert list(graph.inputs) == ["ids"]
    assert graph.values["ids"].dtype == "int32"
    assert graph.values["ids"].n_ids == 11


# -- wiring in the words of Keras 2 -----------------------------------------------------------------------------------


def test_keras2_functional_model_with_shared_and_nested_layers(tmp_path: Path) -> None:
    W, b, V = weights(3, 3), weights(3), weights(3, 2)
    inner = sequential(layer("Dense", "in_dense", units=2, activation="tanh", use_bias=False), name="inner")
    config = keras2_model(
        [
            keras2_input("a", None, 3),
            keras2_input("b", None, 3),
            (layer("Dense", "shared", units=3, activation="linear"), [[["a", 0, 0, {}]], [["b", 0, 0, {}]]]),
            (layer("Add", "sum"), [[["shared", 0, 0, {}], ["shared", 1, 0, {}]]]),
            (inner, [[["sum", 0, 0, {"training": False}]]]),
        ],
        [["a", 0, 0], ["b", 0, 0]],
        [["inner", 1, 0], ["sum", 0, 0]],  # Keras 2 counts the making of a nested model as its call 0
    )
    arrays = {"shared": [("shared/kernel:0", W), ("shared/bias:0", b)], "inner": [("in_dense/kernel:0", V)]}
    graph = keras.load(write_h5(tmp_path / "m.h5", config, arrays))
    X = {k: rng.normal(size=(5, 3)).astype(np.float32) for k in "ab"}
    total = X["a"] @ W + X["b"] @ W + 2 * b
    check(graph, X, {"inner": np.tanh(total @ V), "sum": total}, FLOAT32_MODEL, label="keras 2 wiring")


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
def test_ids_beside_numbers(dtype: str, tmp_path: Path) -> None:
    table, W = weights(7, 3), weights(3, 3)
    ids, node = keras2_input("ids", None)
    ids["config"]["dtype"] = dtype
    config = keras2_model(
        [
            (ids, node),
            keras2_input("x", None, 3),
            (layer("Embedding", "e", input_dim=7, output_dim=3, mask_zero=False), [[["ids", 0, 0, {}]]]),
            (layer("Dense", "d", units=3, activation="linear", use_bias=False), [[["x", 0, 0, {}]]]),
            (layer("Multiply", "m"), [[["e", 0, 0, {}], ["d", 0, 0, {}]]]),
        ],
        [["ids", 0, 0], ["x", 0, 0]],
        [["m", 0, 0]],
    )
    path = write_h5(tmp_path / "m.h5", config, {"e": [("e/embeddings:0", table)], "d": [("d/kernel:0", W)]})
    X = {"ids": np.array([0, 6, 2]), "x": rng.normal(size=(3, 3)).astype(np.float32)}
    check(keras.load(path), X, {"m": table[X["ids"]] * (X["x"] @ W)}, FLOAT32_MODEL, label=f"ids {dtype}")


@pytest.mark.parametrize("in_kwargs", [False, True])
def test_keras2_initial_state_inputs_become_the_state(in_kwargs: bool, tmp_path: Path) -> None:
    settings = {
        "units": 4,
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
        "return_sequences": True,
        "return_state": True,
    }
    states = [["h0", 0, 0], ["c0", 0, 0]]
    call = [["x", 0, 0, {"initial_state": states}]] if in_kwargs else [["x", 0, 0, {}], *[[*s, {}] for s in states]]
    config = keras2_model(
        [
            keras2_input("x", None, 2),
            keras2_input("h0", 4),
            keras2_input("c0", 4),
            (layer("LSTM", "cell", **settings), [call]),
        ],
        [["x", 0, 0], *states],
        [["cell", 0, 0], ["cell", 0, 1], ["cell", 0, 2]],
    )
    graph = keras.load(write_h5(tmp_path / "m.h5", config, {"cell": keras_cell("LSTM", 4, 2)}))
    assert graph.inputs == ["x"]
    assert list(graph.states) == ["cell.h", "cell.c"]
    assert list(graph.outputs) == ["cell", "cell_2", "cell_3"]


def test_nested_model_with_frozen_and_normalised_layers(tmp_path: Path) -> None:
    # Legacy files keep a nested model's trainable arrays before the others; names say whose they are.
    W, gamma, beta, mean, variance, V = (
        weights(3, 3),
        weights(3),
        weights(3),
        weights(3),
        abs(weights(3)) + 0.5,
        weights(3, 2),
    )
    norm = layer("BatchNormalization", "bn", axis=[2], epsilon=0.001, center=True, scale=True, momentum=0.99)
    inner = sequential(
        layer("Dense", "d1", units=3, activation="linear", use_bias=False, trainable=False),
        norm,
        layer("Dense", "d2", units=2, activation="linear", use_bias=False),
        name="inner",
    )
    model = sequential(layer("InputLayer", "x", batch_input_shape=[None, None, 3]), inner)
    pairs = [("bn/gamma:0", gamma), ("bn/beta:0", beta), ("d2/kernel:0", V), ("d1/kernel:0", W)]
    pairs += [("bn/moving_mean:0", mean), ("bn/moving_variance:0", variance)]
    graph = keras.load(write_h5(tmp_path / "m.h5", model, {"inner": pairs}))
    X = rng.normal(size=(4, 3)).astype(np.float32)
    expected = ((X @ W - mean) / np.sqrt(variance + 0.001) * gamma + beta) @ V
    check(graph, {"x": X}, {"inner": expected}, FLOAT32_MODEL, label="nested")


def test_archives_of_keras_2_with_gaps_in_their_numbers(tmp_path: Path) -> None:
    W, V = weights(3, 4), weights(4, 2)
    dense = {"activation": "linear", "use_bias": False}
    model = sequential(
        layer("InputLayer", "x", batch_input_shape=[None, None, 3]),
        layer("Dense", "one", units=4, **dense),
        layer("Dense", "two", units=2, **dense),
    )
    root = "_layer_checkpoint_dependencies"
    path = write_keras(tmp_path / "m.keras", model, {f"{root}/dense/vars/0": W, f"{root}/dense_2/vars/0": V}, "2.13.1")
    graph = keras.load(path)
    X = rng.normal(size=(4, 3)).astype(np.float32)
    check(graph, {"x": X}, {"two": X @ W @ V}, FLOAT32_MODEL, label="gaps")


def test_sequential_of_keras_before_2_2_3_and_split_weight_names(tmp_path: Path) -> None:
    W = weights(3, 2)
    config = {
        "class_name": "Sequential",
        "config": [layer("Dense", "d", units=2, activation="relu", batch_input_shape=[None, None, 3])],
    }
    path = write_h5(
        tmp_path / "m.h5", config, {"d": [("d/kernel:0", W), ("d/bias:0", np.zeros(2, np.float32))]}, "2.1.6"
    )
    with h5py.File(path, "r+") as file:
        group = file["model_weights/d"]
        del group.attrs["weight_names"]
        group.attrs["weight_names0"], group.attrs["weight_names1"] = [b"d/kernel:0"], [b"d/bias:0"]
    X = rng.normal(size=(4, 3)).astype(np.float32)
    check(keras.load(path), {"input": X}, {"d": np.maximum(X @ W, 0)}, FLOAT32_MODEL, label="list config")


def test_big_endian_and_half_precision_arrays(tmp_path: Path) -> None:
    W = weights(3, 2).astype(np.float16)
    model = sequential(layer("Dense", "d", units=2, use_bias=False, batch_input_shape=[None, None, 3]))
    X = rng.normal(size=(4, 3)).astype(np.float32)
    for dtype in ("<f2", ">f4"):
        graph = keras.load(write_h5(tmp_path / "m.h5", model, {"d": [("d/kernel:0", W.astype(dtype))]}))
        check(graph, {"input": X}, {"d": X @ W.astype(np.float32)}, FLOAT32_MODEL, label=dtype)


def test_time_major_models(tmp_path: Path) -> None:
    settings = {"units": 3, "activation": "tanh", "return_sequences": True}
    first = layer("SimpleRNN", "cell", **settings, time_major=True, batch_input_shape=[None, None, 2])
    arrays = {"cell": keras_cell("SimpleRNN", 3, 2)}
    assert keras.load(write_h5(tmp_path / "m.h5", sequential(first), arrays)).shape("input") == (2,)
    second = layer("SimpleRNN", "other", **settings, time_major=False)
    with pytest.raises(UnsupportedError, match="time_major"):
        keras.load(
            write_h5(tmp_path / "m.h5", sequential(first, second), {**arrays, "other": keras_cell("SimpleRNN", 3, 3)})
        )


def test_masks_need_a_promise(tmp_path: Path) -> None:
    table = weights(5, 3)
    settings = {"input_dim": 5, "output_dim": 3, "mask_zero": True, "batch_input_shape": [None, None]}
    path = write_h5(
        tmp_path / "m.h5", sequential(layer("Embedding", "e", **settings)), {"e": [("e/embeddings:0", table)]}
    )
    with pytest.raises(UnsupportedError, match=r"Embedding 'e': mask_zero = True.*assume_unmasked"):
        keras.load(path)
    check(
        keras.load(path, assume_unmasked=True),
        {"input": np.array([3, 1, 4])},
        {"e": table[[3, 1, 4]]},
        0.0,
        label="mask",
    )


@pytest.mark.parametrize("name", MODELS)
def test_archives_written_on_windows(name: str, tmp_path: Path) -> None:
    """Their groups are called by whole paths, with backslashes."""
    path = golden_file(name, "keras", tmp_path)
    with zipfile.ZipFile(path) as archive:
        files = {entry: archive.read(entry) for entry in archive.namelist()}
    arrays: dict[str, np.ndarray] = {}
    attributes: dict[str, dict[str, object]] = {}

    def look(at: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[at] = item[()]
        elif at.endswith("vars"):
            attributes[at] = dict(item.attrs)

    with h5py.File(io.BytesIO(files["model.weights.h5"])) as file:
        file.visititems(look)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for at, array in arrays.items():
            owner, _, inner = at.rpartition("/vars/")
            file.create_dataset(f"{owner.replace('/', chr(92))}/vars/{inner}", data=array)
        for at, values in attributes.items():
            owner = at.removesuffix("/vars")
            group = file.require_group(f"{owner.replace('/', chr(92))}/vars")
            group.attrs.update(values)
    files["model.weights.h5"] = buffer.getvalue()
    windows = tmp_path / "windows.keras"
    with zipfile.ZipFile(windows, "w") as archive:
        for entry, data in files.items():
            archive.writestr(entry, data)
    assert compile_graph(keras.load(windows)) == compile_graph(keras.load(path))
