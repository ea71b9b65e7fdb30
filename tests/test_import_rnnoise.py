# SPDX-License-Identifier: MIT
"""RNNoise's weights in all forms, written here from their description, computed here in float64."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest

import undertow
from tolerances import FLOAT32_MODEL
from undertow import FormatError, ShapeError, UnsupportedError

# -- before 0.2 -----------------------------------------------------------------------------------------------------

#: layer -> inputs, units, activation; small ones, and those of the original
SMALL = {
    "input_dense": (7, 4, "tanh"),
    "vad_gru": (4, 3, "relu"),
    "noise_gru": (14, 5, "relu"),
    "denoise_gru": (15, 6, "tanh"),
    "denoise_output": (6, 8, "sigmoid"),
    "vad_output": (3, 1, "sigmoid"),
}
ORIGINAL = {
    "input_dense": (42, 24, "tanh"),
    "vad_gru": (24, 24, "relu"),
    "noise_gru": (90, 48, "relu"),
    "denoise_gru": (114, 96, "relu"),
    "denoise_output": (96, 22, "sigmoid"),
    "vad_output": (24, 1, "sigmoid"),
}
CODES = {"tanh": 0, "sigmoid": 1, "relu": 2}
FUNCTIONS = {"tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "relu": lambda x: np.maximum(x, 0)}


def integers(rng, sizes, spread=40):
    """Layer -> list of integer arrays, kernel first, bias last."""
    made = {}
    for name, (n_in, units, _) in sizes.items():
        gates = 3 if name.endswith("_gru") else 1
        shapes = [(n_in, gates * units), *([(units, gates * units)] if gates == 3 else []), (gates * units,)]
        made[name] = [np.clip(rng.normal(0, spread, shape).round(), -128, 127).astype(int) for shape in shapes]
    return made


def as_text(sizes, arrays):
    lines = ["rnnoise-nu model file version 1"]
    for name, (n_in, units, act) in sizes.items():
        lines.append(f"{n_in} {units} {CODES[act]}")
        lines += [" ".join(map(str, a.ravel())) for a in arrays[name]]
    return "\n".join(lines) + "\n"


def as_c(sizes, arrays):
    lines = ["/* generated; not { code } */", "#ifdef X", '#include "rnn.h"', "#endif"]
    for name, (n_in, units, act) in sizes.items():
        keys = ["weights", "recurrent_weights", "bias"] if name.endswith("_gru") else ["weights", "bias"]
        for key, a in zip(keys, arrays[name], strict=True):
            body = ",\n   ".join(map(str, a.ravel()))
            lines.append(f"static const rnn_weight {name}_{key}[{a.size}] = {{\n   {body}\n}};\n")
        kind = "GRULayer" if len(keys) == 3 else "DenseLayer"
        order = ", ".join(f"{name}_{key}" for key in (keys[-1], *keys[:-1]))
        lines.append(f"const {kind} {name} = {{\n   {order},\n   {n_in}, {units}, ACTIVATION_{act.upper()}\n}};\n")
    lines.append("const struct RNNModel rnnoise_model_orig = {\n    24,\n    &input_dense\n};")
    return "\n".join(lines)


def first_network(sizes, arrays, X):
    """Float64: gates z r h, reset before the recurrent product, everything in 256ths."""

    def dense(name, x):
        kernel, bias = arrays[name]
        return FUNCTIONS[sizes[name][2]]((x @ kernel + bias) / 256)

    def gru(name, x, h):
        kernel, recurrent, bias = arrays[name]
        n = len(h)
        z, r = (
            FUNCTIONS["sigmoid"]((x @ kernel[:, k] + h @ recurrent[:, k] + bias[k]) / 256)
            for k in (slice(0, n), slice(n, 2 * n))
        )
        k = slice(2 * n, None)
        return z * h + (1 - z) * FUNCTIONS[sizes[name][2]](
            (x @ kernel[:, k] + (r * h) @ recurrent[:, k] + bias[k]) / 256
        )

    vad, noise, denoise = (np.zeros(sizes[name][1]) for name in ("vad_gru", "noise_gru", "denoise_gru"))
    gains, voices = [], []
    for x in X.astype(np.float64):
        first = dense("input_dense", x)
        vad = gru("vad_gru", first, vad)
        noise = gru("noise_gru", np.concatenate([first, vad, x]), noise)
        denoise = gru("denoise_gru", np.concatenate([vad, noise, x]), denoise)
        gains.append(dense("denoise_output", denoise))
        voices.append(dense("vad_output", vad))
    return {"gains": np.array(gains), "vad": np.array(voices)}


def save(tmp_path, content, name="weights.txt"):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def agree(model, X, want):
    whole = model.run(X)
    stream = model.stream()
    rows = [{k: v.copy() for k, v in stream.step(x).items()} for x in X]
    for name, y in want.items():
        np.testing.assert_array_equal(np.stack([row[name] for row in rows]), whole[name])
        np.testing.assert_allclose(whole[name], y, rtol=0, atol=FLOAT32_MODEL)


@pytest.mark.parametrize("sizes", [SMALL, ORIGINAL], ids=["small", "original"])
@pytest.mark.parametrize("form", ["weights.txt", "weights.rnnn", "rnn_data.c"])
def test_the_first_network_equals_float64(tmp_path, sizes, form):
    rng = np.random.default_rng(3)
    arrays = integers(rng, sizes, 40 if sizes is SMALL else 12)
    content = (as_c if form.endswith(".c") else as_text)(sizes, arrays)
    model = undertow.load(save(tmp_path, content, form))
    X = rng.normal(0, 1, (60, sizes["input_dense"][0])).astype(np.float32)
    agree(model, X, first_network(sizes, arrays, X))


def test_sizes_of_a_trainer_that_divides_and_names_of_a_fork(tmp_path):
    """Python 3 writes 9 / 3 as 3.0, and forks put their own prefix before every name."""
    rng = np.random.default_rng(12)
    arrays = integers(rng, SMALL)
    X = rng.normal(0, 1, (20, 7)).astype(np.float32)
    text, source = as_text(SMALL, arrays), as_c(SMALL, arrays)
    for name, (n_in, units, act) in SMALL.items():
        if name.endswith("_gru"):
            text = text.replace(f"\n{n_in} {units} {CODES[act]}\n", f"\n{n_in} {units}.0 {CODES[act]}\n")
            source = source.replace(f"   {n_in}, {units}, ACT", f"   {n_in}, {units}.0, ACT")
    assert text.count(".0 ") == source.count(".0, ") == 3
    fork = re.sub(r"\b((?:rnn_weight|ACTIVATION_|input_|vad_|noise_|denoise_))", r"my_\1", source)
    fork = fork.replace("GRULayer", "MyGRULayer").replace("my_ACTIVATION", "MY_ACTIVATION")
    assert "const my_rnn_weight my_noise_gru_bias[15]" in fork
    commented = ("\ufeff/* \u65e0\u566a */\r\n" + source.replace("\n", "\r\n")).encode()
    in_gbk = "/* \u65e0\u566a */\n".encode("gbk") + source.encode()
    files = {"a.txt": text, "rnn_data.c": source, "fork.c": fork, "bom.c": commented, "gbk.c": in_gbk}
    for name, content in files.items():
        agree(undertow.load(save(tmp_path, content, name)), X, first_network(SMALL, arrays, X))


@pytest.mark.parametrize("form", ["weights.txt", "rnn_data.c"])
def test_weights_come_with_keras_names_and_scaled(tmp_path, form):
    arrays = integers(np.random.default_rng(4), SMALL)
    content = (as_c if form.endswith(".c") else as_text)(SMALL, arrays)
    w = undertow.read_weights(save(tmp_path, content, form))
    expected = ["input_dense/kernel", "input_dense/bias", "vad_gru/kernel", "vad_gru/recurrent_kernel", "vad_gru/bias"]
    assert list(w)[:5] == expected
    np.testing.assert_array_equal(w["noise_gru/recurrent_kernel"], arrays["noise_gru"][1] / 256)
    gru = undertow.GRU.from_keras(w, "vad_gru", activation="relu")
    assert (gru.input_shape, gru.hidden) == ((4,), 3)


def text(change=None, sizes=SMALL):
    words = as_text(sizes, integers(np.random.default_rng(5), sizes))
    return change(words) if change else words


BAD_TEXTS = [
    (text(lambda t: t.replace("version 1", "version 2")), UnsupportedError, "expected version 1"),
    (text(lambda t: t[:-20]), FormatError, "ends within vad_output"),
    (text(lambda t: t + " 7"), FormatError, "1 numbers behind the last layer"),
    (text(lambda t: t.replace("7 4 0\n", "7 4 3\n")), UnsupportedError, "activation code 3"),
    (text(lambda t: t.replace("7 4 0\n", "7 4.5 0\n")), FormatError, "whole numbers"),
    (text(lambda t: t.replace("7 4 0\n", "7 4.0.0 0\n")), FormatError, "whole numbers"),
    (text(lambda t: t.replace("7 4 0\n", "7 4-0 0\n")), FormatError, "whole numbers"),
    (text(lambda t: t.replace("7 4 0\n", "7 0 0\n")), FormatError, "0 units"),
    (text(lambda t: t.replace("7 4 0\n", "7 99999 0\n")), FormatError, "expected 0 to 4096"),
    (text(lambda t: t.replace("7 4 0\n", "7 4 0\n128 ")), FormatError, "expected -128 to 127"),
    (text(lambda t: t.replace("7 4 0\n", "7 4 0\n" + "9" * 5000 + " ")), FormatError, "at most 12 digits"),
    (text(sizes=SMALL | {"noise_gru": (13, 5, "relu")}), ShapeError, "noise_gru takes 13 inputs"),
    ("rnnoise-nu model file version 1\n", FormatError, "ends within input_dense"),
]


@pytest.mark.parametrize(("content", "error", "message"), BAD_TEXTS, ids=range(len(BAD_TEXTS)))
def test_damaged_texts_are_refused(tmp_path, content, error, message):
    with pytest.raises(error, match=message) as found:
        undertow.load(save(tmp_path, content))
    assert "weights.txt" in str(found.value)


def c(change):
    return change(as_c(SMALL, integers(np.random.default_rng(6), SMALL)))


BAD_SOURCES = [
    (c(lambda t: t.replace("const GRULayer noise_gru", "const GRULayer other_gru")), FormatError, "its layers are"),
    (c(lambda t: t.replace("vad_output_bias[1]", "vad_output_bias[2]")), FormatError, "expected 2 plain numbers"),
    (c(lambda t: t.replace("ACTIVATION_TANH", "ACTIVATION_SWISH", 1)), UnsupportedError, "ACTIVATION_SWISH"),
    (c(lambda t: t.replace("7, 4, ACT", "7, 5, ACT")), ShapeError, "input_dense: 'input_dense_bias' has 4 elements"),
    (c(lambda t: t.replace("vad_gru_bias[9]", "some_bias[9]")), FormatError, "'vad_gru_bias' is missing"),
    (c(lambda t: t.replace("7, 4, ACT", "7, ACT")), FormatError, "expected 2 arrays, two sizes .* and an activation"),
    (c(lambda t: t.replace("7, 4, ACT", "7, 4.5, ACT")), FormatError, "expected 2 arrays, two sizes"),
    (c(lambda t: t.replace("rnn_weight", "opus_int16")), UnsupportedError, "scale stands in a header"),
    (
        c(lambda t: re.sub(r"vad_gru_bias\[9\] = \{([^}]*)\}", r"vad_gru_bias[18] = {\1, \1}", t)),
        UnsupportedError,
        "vad_gru: 'vad_gru_bias' has 18 elements, two biases",
    ),
    (c(lambda t: t + "static const rnn_weight vad_output_bias[1] = {1};"), FormatError, "twice"),
    ("int main(void) { return 0; }", FormatError, "without constant arrays"),
    ("/* " * 50_000, FormatError, "without constant arrays"),
    ("static const float a[1] = {nan};", FormatError, "plain numbers"),
    ("static const float a[1] = {1e999};", FormatError, "beyond float32"),
    ("static const float a[1] = {e};", FormatError, "no number"),
    ("\u00e9", FormatError, "neither"),
    (c(lambda t: t.replace("[9] = {\n   ", "[9] = {\n   \u0663, ")), FormatError, "expected 9 plain numbers"),
]


@pytest.mark.parametrize(("content", "error", "message"), BAD_SOURCES, ids=range(len(BAD_SOURCES)))
def test_damaged_sources_are_refused(tmp_path, content, error, message):
    with pytest.raises(error, match=message):
        undertow.load(save(tmp_path, content, "rnn_data.c"))


# -- from 0.2 on ----------------------------------------------------------------------------------------------------

TYPES = {"f4": 0, "i4": 1, "i1": 3}


def as_blob(arrays):
    out = b""
    for name, a in arrays.items():
        raw = a.tobytes()
        block = -(-len(raw) // 64) * 64
        kind = TYPES[a.dtype.str[1:]]
        out += struct.pack("<4siiii44s", b"DNNw", 0, kind, len(raw), block, name.encode()) + raw.ljust(block, b"\0")
    return out


def as_source(arrays):
    lines = ["#include <x.h>"]
    for name, a in arrays.items():
        kind = {"f4": "float", "i4": "int", "i1": "opus_int8"}[a.dtype.str[1:]]
        lines += [
            f"#ifndef USE_WEIGHTS_FILE\n#define WEIGHTS_{name}_DEFINED",
            f"static const {kind} {name}[{a.size}] = {{",
        ]
        lines += [",\n    ".join(repr(v.item()) for v in a), "};\n#endif"]
    lines.append("const WeightArray rnnoise_arrays[] = {\n#ifdef A\n {NULL, 0, 0, NULL}\n#endif\n};")
    return "\n".join(lines)


def store(arrays, stem, W, b, *, int8=False, blocks=None, diagonal=False):
    """Put one layer into `arrays` as the trainer does; gives the matrix (outputs, inputs) that it stands for.

    `blocks` is a mask (outputs / 8, inputs / 4) of the blocks that a sparse layer keeps.
    """
    n_out, n_in = W.shape
    W = W.copy()
    if blocks is not None:
        W *= np.kron(blocks, np.ones((8, 4)))
    diag = None
    if diagonal:
        diag = np.random.default_rng(9).normal(0, 0.3, n_out).astype(np.float32)
        for gate in range(3):
            np.fill_diagonal(W[gate * n_in : (gate + 1) * n_in], 0)
    q, scale = W, None
    if int8:
        scale = (np.abs(W).max(axis=1) / 127 + 1e-9).astype(np.float32)
        q = np.round(W / scale[:, None]).astype(np.int8)
        stored_scale = (scale / np.float32(127)).astype(np.float32)
        W = q * (stored_scale.astype(np.float64) * 127)[:, None]
    else:
        W = W.astype(np.float32)
    values = q if int8 else W
    if blocks is None:
        if int8:
            flat = [values[r : r + 8, k : k + 4].ravel() for r in range(0, n_out, 8) for k in range(0, n_in, 4)]
            arrays[f"{stem}_weights_int8"] = np.concatenate(flat)
        else:
            arrays[f"{stem}_weights_float"] = values.T.ravel().copy()
    else:
        flat, idx = [], []
        for r in range(n_out // 8):
            kept = np.flatnonzero(blocks[r])
            idx += [len(kept), *(4 * kept)]
            for k in kept:
                tile = values[8 * r : 8 * r + 8, 4 * k : 4 * k + 4]
                flat.append((tile if int8 else tile.T).ravel())
        arrays[f"{stem}_weights_{'int8' if int8 else 'float'}"] = np.concatenate(flat)
        arrays[f"{stem}_weights_idx"] = np.array(idx, np.int32)
    if int8:
        arrays[f"{stem}_subias"] = np.zeros(n_out, np.float32)
        arrays[f"{stem}_scale"] = stored_scale
    if diag is not None:
        arrays[f"{stem}_weights_diag"] = diag
        W = W.astype(np.float64)
        for gate in range(3):
            W[gate * n_in : (gate + 1) * n_in] += np.diag(diag[gate * n_in : (gate + 1) * n_in].astype(np.float64))
    arrays[f"{stem}_bias"] = b.astype(np.float32)
    return W.astype(np.float64), arrays[f"{stem}_bias"].astype(np.float64)


def network(seed, int8=False, sparse=True, features=5, conditioning=8, units=16, bands=6):
    rng = np.random.default_rng(seed)
    arrays, layers = {}, {}

    def add(stem, n_out, n_in, int8=int8, sparse=False, diagonal=False):
        mask = (rng.random((n_out // 8, n_in // 4)) < 0.5) if sparse else None
        W, b = rng.normal(0, n_in**-0.5, (n_out, n_in)), rng.normal(0, 0.3, n_out)
        layers[stem] = store(arrays, stem, W, b, int8=int8, blocks=mask, diagonal=diagonal)

    add("conv1", conditioning, 3 * features, int8=False)
    add("conv2", units, 3 * conditioning)
    for k in (1, 2, 3):
        add(f"gru{k}_input", 3 * units, units, sparse=sparse)
        add(f"gru{k}_recurrent", 3 * units, units, sparse=sparse, diagonal=sparse)
    add("dense_out", bands, 4 * units, int8=False)
    add("vad_dense", 1, 4 * units, int8=False)
    return arrays, layers


def second_network(layers, X):
    """Float64; a convolution sees this frame and two before it, zeros before the first."""
    sigmoid = FUNCTIONS["sigmoid"]

    def linear(stem, x):
        W, b = layers[stem]
        return W @ x + b

    units = len(layers["gru1_recurrent"][1]) // 3
    memory = [np.zeros((3, X.shape[1])), np.zeros((3, len(layers["conv1"][1])))]
    h = [np.zeros(units) for _ in range(3)]
    gains, voices = [], []
    for x in X.astype(np.float64):
        for k in (0, 1):
            memory[k] = np.vstack([memory[k][1:], x])
            x = np.tanh(linear(f"conv{k + 1}", memory[k].ravel()))
        seen = [x]
        for k in range(3):
            a, u = linear(f"gru{k + 1}_input", seen[-1]), linear(f"gru{k + 1}_recurrent", h[k])
            z, r = sigmoid(a[:units] + u[:units]), sigmoid(a[units : 2 * units] + u[units : 2 * units])
            h[k] = z * h[k] + (1 - z) * np.tanh(a[2 * units :] + r * u[2 * units :])
            seen.append(h[k])
        joined = np.concatenate(seen)
        gains.append(sigmoid(linear("dense_out", joined)))
        voices.append(sigmoid(linear("vad_dense", joined)))
    return {"gains": np.array(gains), "vad": np.array(voices)}


@pytest.mark.parametrize("form", ["weights_blob.bin", "rnnoise_data.c"])
@pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
@pytest.mark.parametrize("sparse", [False, True], ids=["full", "sparse"])
def test_the_second_network_equals_float64(tmp_path, form, int8, sparse):
    arrays, layers = network(21, int8, sparse)
    path = save(tmp_path, as_source(arrays) if form.endswith(".c") else as_blob(arrays), form)
    X = np.random.default_rng(22).normal(0, 1, (50, 5)).astype(np.float32)
    agree(undertow.load(path), X, second_network(layers, X))
    w = undertow.read_weights(path)
    assert list(w) == list(arrays)
    for name, a in arrays.items():
        np.testing.assert_array_equal(w[name], a)
        assert w[name].dtype == a.dtype


def test_float_weights_win_over_int8(tmp_path):
    arrays, layers = network(23, int8=True, sparse=False)
    W = np.random.default_rng(24).normal(0, 0.2, layers["conv2"][0].shape).astype(np.float32)
    arrays["conv2_weights_float"] = W.T.ravel().copy()
    layers["conv2"] = (W.astype(np.float64), layers["conv2"][1])
    X = np.random.default_rng(25).normal(0, 1, (20, 5)).astype(np.float32)
    agree(undertow.load(save(tmp_path, as_blob(arrays), "b.bin")), X, second_network(layers, X))


def without(name):
    return lambda a: a.pop(name)


def put(name, value):
    return lambda a: a.update({name: value})


def resized(name, n):
    return lambda a: a.update({name: np.resize(a[name], n)})


BAD_NETWORKS = [
    (without("gru2_input_bias"), UnsupportedError, "'gru2_input_bias' is missing"),
    (without("conv2_scale"), FormatError, "conv2: int8 weights need 16 scales"),
    (without("conv2_weights_int8"), FormatError, "conv2 has neither float nor int8"),
    (put("lpc_bias", np.ones(2, np.float32)), UnsupportedError, "'lpc_bias' belongs to no layer"),
    (put("conv1_bias", np.ones(8, np.int32)), FormatError, "elements of int32"),
    (put("conv1_bias", np.full(8, np.nan, np.float32)), FormatError, "NaN or infinity"),
    (resized("conv1_weights_float", 8 * 14), ShapeError, "conv1 takes 14 inputs"),
    (resized("conv1_weights_float", 8 * 15 + 1), ShapeError, "expected a multiple"),
    (resized("dense_out_weights_float", 6 * 60), ShapeError, "expected 64 inputs x 6 outputs"),
    (resized("gru1_recurrent_weights_diag", 24), ShapeError, "a diagonal of 24"),
    (resized("gru1_input_weights_int8", 33), ShapeError, "blocks of 8 x 4"),
    (resized("gru1_input_weights_int8", 32), FormatError, "does not fit 1 blocks"),
    (put("gru1_input_weights_idx", np.array([10**9], np.int32)), FormatError, "does not fit"),
    (put("gru1_input_weights_idx", np.array([1, 14, *[0] * 5], np.int32)), FormatError, "multiples of 4"),
    (put("gru1_input_weights_idx", np.array([1, -4, *[0] * 5], np.int32)), FormatError, "multiples of 4"),
    (put("gru1_input_weights_idx", np.zeros(6, np.int32)), FormatError, "ends at 6 of 6, with 0 of"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD_NETWORKS, ids=range(len(BAD_NETWORKS)))
def test_damaged_networks_are_refused(tmp_path, change, error, message):
    arrays, _ = network(26, int8=True)
    change(arrays)
    with pytest.raises(error, match=message):
        undertow.load(save(tmp_path, as_blob(arrays), "b.bin"))


@pytest.mark.parametrize("field", range(5))
def test_damaged_records_are_refused(tmp_path, field):
    blob = bytearray(as_blob({"conv1_bias": np.ones(8, np.float32)}))
    offset, value = [(0, b"XNNw"), (4, b"\1\0\0\0"), (8, b"\2\0\0\0"), (12, b"\xff\xff\xff\xff"), (16, b"\0\1\0\0")][
        field
    ]
    blob[offset : offset + 4] = value
    with pytest.raises((FormatError, UnsupportedError)):
        undertow.read_weights(save(tmp_path, bytes(blob), "b.rnnn"))


def test_no_truncation_of_a_blob_does_harm(tmp_path):
    blob = as_blob(network(27)[0])
    for n in [*range(0, 200, 7), *range(200, len(blob), 997)]:
        with pytest.raises((FormatError, UnsupportedError, ShapeError)):
            undertow.load(save(tmp_path, blob[:n], "b.rnnn"))
