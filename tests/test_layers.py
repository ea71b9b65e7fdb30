# SPDX-License-Identifier: MIT
"""The layer classes: arrays in any gate order and layout, chains, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import oracle
import undertow
from tolerances import FLOAT32_CELL, FLOAT64_AGREE
from undertow import (
    GRU,
    LSTM,
    RNN,
    Activate,
    Activation,
    Bidirectional,
    Dense,
    Embedding,
    LayerNorm,
    LogSoftmax,
    Residual,
    ScaleShift,
    Sequential,
    ShapeError,
    Softmax,
    UnsupportedError,
    build_sequential,
    reference,
)

I, H, T = 5, 3, 7
rng = np.random.default_rng(7)
X = rng.standard_normal((T, I)).astype(np.float32)


def arrays(n_gates: int, n_in: int = I, hidden: int = H, fed_back: int | None = None) -> tuple[np.ndarray, ...]:
    """W, R, b, recurrent bias, gates in front, exact in float32."""
    shapes = (n_gates, hidden, n_in), (n_gates, hidden, fed_back or hidden), (n_gates, hidden), (n_gates, hidden)
    return tuple(rng.standard_normal(s).astype(np.float32) for s in shapes)


def permuted(a: np.ndarray, ours: str, theirs: str) -> np.ndarray:
    return a[[ours.index(gate) for gate in theirs]]


def check(layers, want, x=X, limit=FLOAT32_CELL, streamed=True):
    """The reference to float64 accuracy, the engine to float32's: whole, and step by step."""
    graph = build_sequential(layers)
    # Biases are summed in float64 and kept in float32: one rounding that the oracle has not made.
    np.testing.assert_allclose(reference.run(graph, x), want, rtol=0, atol=limit)
    model = Sequential(layers)
    np.testing.assert_allclose(model.run(x), want, rtol=0, atol=limit)
    if streamed:
        stream = model.stream()
        np.testing.assert_allclose([stream.step(frame) for frame in x], want, rtol=0, atol=limit)


# -- recurrent layers against the oracle ----------------------------------------------------------------------------


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("gate_order", ["ifgo", "ifco", "ijfo", "iofc", "gofi"])
def test_lstm_gate_orders(gate_order, flat):
    W, R, b, rb = arrays(4)
    P = rng.standard_normal((3, H)).astype(np.float32)
    ours = "".join({"c": "g", "j": "g"}.get(g, g) for g in gate_order)
    given = [permuted(a, "ifgo", ours) for a in (W, R, b, rb)]
    if flat:
        given = [a.reshape(4 * H, *a.shape[2:]) for a in given]
    layer = LSTM(*given[:3], recurrent_bias=given[3], gate_order=gate_order, peephole=P)
    want = oracle_lstm(W, R, b, rb, P)
    check([layer], want)


def onnx(a: np.ndarray) -> np.ndarray:
    """ifgo -> the oracle's iofc, one direction, flat."""
    return permuted(a, "ifgo", "iofg").reshape(1, 4 * H, *a.shape[2:])


def oracle_lstm(W, R, b, rb, P=None, x=X, **more):
    B = np.concatenate([onnx(b), onnx(rb)], axis=1)
    peephole = None if P is None else permuted(P, "ifo", "iof").reshape(1, 3 * H)
    Y = oracle.lstm(x[:, None], onnx(W), onnx(R), B, peephole=peephole, **more)[0]
    return Y.reshape(len(x), -1)


@pytest.mark.parametrize("gate_order", ["zrn", "rzn", "ruc", "nzr"])
@pytest.mark.parametrize("reset_after", [True, False])
def test_gru_gate_orders(gate_order, reset_after):
    W, R, b, rb = arrays(3)
    ours = "".join({"c": "n", "u": "z"}.get(g, g) for g in gate_order)
    given = [permuted(a, "zrn", ours).reshape(3 * H, *a.shape[2:]) for a in (W, R, b, rb)]
    layer = GRU(*given[:3], recurrent_bias=given[3], gate_order=gate_order, reset_after=reset_after)
    flat = [a.reshape(1, 3 * H, *a.shape[2:]) for a in (W, R, b, rb)]
    B = np.concatenate(flat[2:], axis=1)
    Y = oracle.gru(X[:, None], flat[0], flat[1], B, linear_before_reset=int(reset_after))[0]
    check([layer], Y.reshape(T, H))


def test_initial_state_activations_clip():
    W, R, b, rb = arrays(4)
    h0, c0 = rng.standard_normal((2, H)).astype(np.float32)
    layer = LSTM(
        W, R, b, recurrent_bias=rb, h0=h0, c0=c0[None], clip=0.5, input_forget=True,
        activations=(Activation("hard_sigmoid"), "softsign", "elu"),
    )  # fmt: skip
    B = np.concatenate([onnx(b), onnx(rb)], axis=1)
    Y = oracle.lstm(
        X[:, None], onnx(W), onnx(R), B, h0=h0.reshape(1, 1, H), c0=c0.reshape(1, 1, H), clip=0.5, input_forget=1,
        activations=["HardSigmoid", "Softsign", "Elu"],
    )[0]  # fmt: skip
    check([layer], Y.reshape(T, H))


def test_reverse_and_last():
    W, R, b, rb = arrays(4)
    want = oracle_lstm(W, R, b, rb, direction="reverse")
    layer = LSTM(W, R, b, recurrent_bias=rb, reverse=True)
    check([layer], want, streamed=False)
    with pytest.raises(UnsupportedError, match="lstm_1"):
        Sequential([layer]).stream()
    last = LSTM(W, R, b, recurrent_bias=rb, reverse=True, return_sequences=False)
    np.testing.assert_allclose(Sequential([last]).run(X), want[0], atol=FLOAT32_CELL)
    # Forwards a stream has an output after every frame: the last one so far.
    last = LSTM(W, R, b, recurrent_bias=rb, return_sequences=False)
    np.testing.assert_allclose(Sequential([last]).run(X)[-1], oracle_lstm(W, R, b, rb)[-1], atol=FLOAT32_CELL)


@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave"])
def test_bidirectional_merges(merge, return_sequences):
    one, two = arrays(3), arrays(3)
    pair = [
        GRU(W, R, b, recurrent_bias=rb, reset_after=True, reverse=reverse, return_sequences=return_sequences)
        for (W, R, b, rb), reverse in ((one, False), (two, True))
    ]
    both = [
        np.stack([a.reshape(3 * H, *a.shape[2:]), c.reshape(3 * H, *c.shape[2:])])
        for a, c in zip(one, two, strict=True)
    ]
    B = np.concatenate(both[2:], axis=1)
    Y = oracle.gru(X[:, None], both[0], both[1], B, linear_before_reset=1, direction="bidirectional")[0]
    Y = np.asarray(Y).reshape(T, 2, H)
    f, g = (Y[:, 0], Y[:, 1]) if return_sequences else (Y[-1, 0], Y[0, 1])
    want = {"concat": np.concatenate([f, g], -1), "sum": f + g, "mul": f * g, "ave": (f + g) / 2}[merge]
    check([Bidirectional(*pair, merge=merge)], want, streamed=False)


def test_first_lesson():
    """h = tanh(W_x x + W_h h), and a state that clamps: h = clip(0.5 h + 2 x, -2, 2)."""
    h = Sequential([RNN(np.eye(2), np.zeros((2, 2)))]).stream().step(np.array([0.5, -0.5], np.float32))
    assert [f"{v:.4f}" for v in h] == ["0.4621", "-0.4621"]
    stream = Sequential([RNN([[2.0]], [[0.5]], activation=Activation("clip", -2, 2))]).stream()
    assert [float(stream.step(np.array([x], np.float32))[0]) for x in (0.5, 0.5, 1, 0, 0, -3)] == [
        1,
        1.5,
        2,
        1,
        0.5,
        -2,
    ]


# -- the other layers -----------------------------------------------------------------------------------------------


def test_feedforward_layers():
    W, b = rng.standard_normal((H, I)), rng.standard_normal(H)
    scale, shift = rng.standard_normal((2, I))
    y = X.astype(np.float64) @ W.T + b
    check([Dense(W, b)], y)
    check([Dense(W)], y - b)
    check([Dense(W, b, activation="relu")], np.maximum(y, 0))
    check([Dense(W, b, activation="softmax")], oracle.softmax(y))
    check([Dense(W, b), Softmax()], oracle.softmax(y))
    check([Dense(W, b), LogSoftmax()], oracle.log_softmax(y))
    check([Dense(W, b), Activate(Activation("leaky_relu", 0.25))], np.where(y < 0, y / 4, y))
    check([Dense(W, b), Activate("log_softmax")], oracle.log_softmax(y))
    check([ScaleShift(scale, shift), Dense(W)], (X * scale + shift) @ W.T)
    check([Dense(W), ScaleShift(20.0)], (y - b) * 20, limit=20 * FLOAT32_CELL)
    check(
        [Activate("tanh"), LayerNorm(scale, shift, eps=1e-3), Dense(W)],
        oracle.layer_norm(np.tanh(X), scale, shift, 1e-3) @ W.T,
    )
    check([LayerNorm(), Dense(W)], oracle.layer_norm(X) @ W.T)


def test_residual_and_nesting():
    W, R, b, rb = arrays(3, hidden=I)
    inner = GRU(W, R, b, recurrent_bias=rb, reset_after=False)
    alone = reference.run(build_sequential([inner]), X)
    check([Residual([inner])], X + alone)
    D = rng.standard_normal((I, I))
    check([Residual([Residual(inner), Dense(D)])], X + (X + alone) @ D.T)


def test_embedding_feeds_a_cell():
    table = rng.standard_normal((11, I)).astype(np.float32)
    W, R, b, rb = arrays(4)
    ids = rng.integers(0, 11, T).astype(np.int32)
    model = Sequential([Embedding(table), LSTM(W, R, b, recurrent_bias=rb)])
    assert model.inputs["input"].shape == () and model.inputs["input"].dtype == "int32"
    np.testing.assert_allclose(model.run(ids), oracle_lstm(W, R, b, rb, x=table[ids]), atol=FLOAT32_CELL)


def test_names_and_states():
    W, R, _, _ = arrays(4)
    W2, R2, _, _ = arrays(4, n_in=H)
    graph = build_sequential(
        [LSTM(W, R), LSTM(W2, R2), LSTM(W2, R2, name="top"), LSTM(W2, R2, name="top"), Dense(np.eye(H))], "m"
    )
    assert [node.name for node in graph.nodes] == ["lstm_1", "lstm_2", "top", "top_2", "dense_1"]
    assert list(graph.states) == [f"{n}.{s}" for n in ("lstm_1", "lstm_2", "top", "top_2") for s in "hc"]
    assert graph.name == "m"


def test_layers_can_be_used_twice():
    W, R, b, _ = arrays(1, n_in=H)
    layer = RNN(W, R, b)
    graph = build_sequential([layer, layer])
    assert [node.name for node in graph.nodes] == ["rnn_1", "rnn_2"]


def test_inputs_of_any_number_type():
    W, R, b, _ = arrays(1)
    want = reference.run(build_sequential([RNN(W, R, b)]), X)
    for convert in (lambda a: a.tolist(), lambda a: a.astype(np.float64), lambda a: np.asfortranarray(a)):
        np.testing.assert_array_equal(
            reference.run(build_sequential([RNN(convert(W), convert(R), convert(b))]), X), want
        )
    half = build_sequential([Dense(W[0].astype(np.float16))])
    np.testing.assert_array_equal(half.nodes[0].weights["W"], W[0].astype(np.float16).astype(np.float32))


def test_nan_weights_are_allowed():
    assert np.isnan(Sequential([Dense([[np.nan]])]).run(np.zeros((1, 1), np.float32))).all()


# -- Keras's and TensorFlow's layouts -------------------------------------------------------------------------------


def keras_lists():
    W, R, b, rb = arrays(4)
    lstm = [permuted(a, "ifgo", "ifgo").reshape(4 * H, -1).T for a in (W, R)] + [(b + rb).reshape(-1)]
    gW, gR, gb, grb = arrays(3)
    gru = [a.reshape(3 * H, -1).T for a in (gW, gR)] + [np.stack([gb.reshape(-1), grb.reshape(-1)])]
    return (W, R, b, rb), lstm, (gW, gR, gb, grb), gru


def test_from_keras_list_and_dict():
    (W, R, b, rb), lstm, (gW, gR, gb, grb), gru = keras_lists()
    want = oracle_lstm(W, R, b, rb)
    check([LSTM.from_keras(lstm)], want)
    paths = dict(
        zip(("m/lstm/cell/kernel:0", "m/lstm/cell/recurrent_kernel:0", "m/lstm/cell/bias:0"), lstm, strict=True)
    )
    paths |= {"m/gru/cell/kernel:0": gru[0], "m/gru/cell/recurrent_kernel:0": gru[1], "m/gru/cell/bias:0": gru[2]}
    check([LSTM.from_keras(paths, "m/lstm/cell")], want)
    numbered = dict(
        zip(("layers/lstm/cell/vars/0", "layers/lstm/cell/vars/1", "layers/lstm/cell/vars/2"), lstm, strict=True)
    )
    check([LSTM.from_keras(numbered, "layers/lstm/cell/vars")], want)
    with pytest.raises(ShapeError, match=r"several places.*prefix"):
        LSTM.from_keras(paths)
    with pytest.raises(ShapeError, match="no array 'kernel'"):
        LSTM.from_keras(paths, "m/none")

    same = GRU(gW, gR, gb, recurrent_bias=grb, reset_after=True)
    check(
        [GRU.from_keras(paths, "m/gru/cell")],
        reference.run(build_sequential([same]), X),
        limit=FLOAT64_AGREE + FLOAT32_CELL,
    )
    before = GRU.from_keras([*gru[:2], gru[2][0]])
    assert before.attrs["reset_after"] is False
    with pytest.raises(ShapeError, match="reset_after"):
        GRU.from_keras(gru[:2])
    with pytest.raises(ShapeError, match="reset_after"):
        GRU.from_keras(gru, reset_after=False)
    with pytest.raises(ShapeError, match="GRU has these"):
        LSTM.from_keras(gru)
    with pytest.raises(UnsupportedError, match="Keras 3"):
        LSTM.from_keras(lstm, recurrent_activation="hard_sigmoid")
    check([Dense.from_keras([gru[0][:, :4]], activation="linear")], X @ gru[0][:, :4])
    np.testing.assert_array_equal(Embedding.from_keras({"e/embeddings:0": np.eye(3)}).table, np.eye(3))


@pytest.mark.parametrize("cls", [LSTM, GRU])
def test_cudnn_layouts_are_recognised(cls):
    """Each input gate (I, H) lies in memory as its transpose, each recurrent gate is transposed, biases come twice."""
    n, H, n_in = {LSTM: 4, GRU: 3}[cls], 5, 3
    rng = np.random.default_rng(8)
    kernel, recurrent = rng.normal(size=(n_in, n * H)), rng.normal(size=(H, n * H))
    bias = rng.normal(size=(2, n * H))
    cudnn_kernel, cudnn_recurrent = np.empty_like(kernel), np.empty_like(recurrent)
    for gate in range(n):
        k = slice(gate * H, (gate + 1) * H)
        cudnn_kernel[:, k] = np.frombuffer(kernel[:, k].T.tobytes()).reshape(n_in, H)
        cudnn_recurrent[:, k] = recurrent[:, k].T
    plain = [kernel, recurrent, bias.sum(axis=0) if cls is LSTM else bias]
    want = build_sequential([cls.from_keras(plain)])
    cudnn = {"a/kernel:0": cudnn_kernel, "a/recurrent_kernel:0": cudnn_recurrent, "a/bias:0": bias.ravel()}
    found = build_sequential([cls.from_keras(cudnn, "a")])
    for key, a in want.nodes[0].weights.items():
        np.testing.assert_allclose(found.nodes[0].weights[key], a, rtol=1e-6)
    with pytest.raises(UnsupportedError, match="CuDNN layer has tanh"):
        cls.from_keras(cudnn, "a", activation="relu")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras's own, about NumPy
def test_keras_itself_agrees():
    pytest.importorskip("keras", reason="needs Keras and a backend: pip install keras torch")
    import keras

    x = keras.Input((T, I))
    for layer, read in (
        (keras.layers.LSTM(H, return_sequences=True, recurrent_activation="hard_sigmoid"), lambda w: LSTM.from_keras(
            w, recurrent_activation=Activation("hard_sigmoid", 1 / 6))),
        (keras.layers.GRU(H, return_sequences=True), GRU.from_keras),
        (keras.layers.GRU(H, return_sequences=True, reset_after=False), GRU.from_keras),
        (keras.layers.SimpleRNN(H, return_sequences=True, activation="relu"),
         lambda w: RNN.from_keras(w, activation="relu")),
    ):  # fmt: skip
        keras.Model(x, layer(x))
        weights = [rng.standard_normal(w.shape).astype(np.float32) for w in layer.get_weights()]
        layer.set_weights(weights)
        want = keras.ops.convert_to_numpy(layer(X[None]))[0]
        check([read(layer.get_weights())], want)


def test_from_tf():
    W, R, b, _ = arrays(4)
    theirs = [permuted(a, "ifgo", "igfo").reshape(4 * H, -1) for a in (W, R)]
    kernel = np.concatenate([a.T for a in theirs])
    stored = b.copy()
    stored[1] -= 1  # the forget bias is not in the file
    bias = permuted(stored, "ifgo", "igfo").reshape(-1)
    want = oracle_lstm(W, R, b, np.zeros_like(b))
    check([LSTM.from_tf([kernel, bias])], want)
    check([LSTM.from_tf({"rnn/cell_0/kernel:0": kernel, "rnn/cell_0/bias:0": bias}, "rnn/cell_0")], want)
    check([LSTM.from_tf({"weights": kernel, "biases": bias + 0}, forget_bias=1)], want)

    P = rng.standard_normal((3, H)).astype(np.float32)
    peepholes = dict(zip(("c/w_i_diag", "c/w_f_diag", "c/w_o_diag"), P, strict=True))
    check(
        [LSTM.from_tf({"c/kernel": kernel, "c/bias": bias, **peepholes}, "c")],
        oracle_lstm(W, R, b, np.zeros_like(b), P),
    )
    with pytest.raises(ShapeError, match="w_o_diag"):
        LSTM.from_tf({"kernel": kernel, "bias": bias, "w_i_diag": P[0], "w_f_diag": P[1]})

    gW, gR, gb, _ = arrays(3)
    gates = np.concatenate(
        [permuted(gW, "zrn", "rz").reshape(2 * H, I).T, permuted(gR, "zrn", "rz").reshape(2 * H, H).T]
    )
    candidate = np.concatenate([gW[2].T, gR[2].T])
    same = GRU(gW, gR, gb, reset_after=False)
    layer = GRU.from_tf([gates, gb[[1, 0]].reshape(-1), candidate, gb[2]])
    check([layer], reference.run(build_sequential([same]), X))
    check([RNN.from_tf([candidate, gb[2]])], reference.run(build_sequential([RNN(gW[2], gR[2], gb[2])]), X))
    check([Dense.from_tf({"softmax/weights": candidate[:I], "softmax/biases": gb[2]}, "softmax")], X @ gW[2].T + gb[2])


def test_tf_projection():
    P = 2
    W, R, b, _ = arrays(4, fed_back=P)
    projection = rng.standard_normal((P, H)).astype(np.float32)
    kernel = np.concatenate([permuted(a, "ifgo", "igfo").reshape(4 * H, -1).T for a in (W, R)])
    layer = LSTM.from_tf(
        {"kernel": kernel, "bias": permuted(b, "ifgo", "igfo").reshape(-1), "projection/kernel": projection.T},
        forget_bias=0,
    )
    same = LSTM(W, R, b, projection=projection)
    check([layer], reference.run(build_sequential([same]), X))


# -- refusals ---------------------------------------------------------------------------------------------------------

Z = np.zeros


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LSTM(Z((12, 5)), Z((9, 3))), ShapeError, r"R has shape \(9, 3\)"),
        (lambda: LSTM(Z((12, 5)), Z((8, 2))), ShapeError, r"R must be \(12, 3\), got \(8, 2\).*an LSTM of 2"),
        (lambda: LSTM(Z((13, 5)), Z((12, 3))), ShapeError, r"W has shape \(13, 5\), expected \(4 \* hidden"),
        (lambda: LSTM(Z((12, 5)), Z((12, 3)), Z(9)), ShapeError, r"b has shape \(9,\), expected \(12,\)"),
        (lambda: LSTM(Z((12, 5)), Z((12, 3)), gate_order="ifg"), ValueError, "gate_order is 'ifg'"),
        (lambda: LSTM(Z((12, 5)), Z((12, 3)), gate_order="ifcg"), ValueError, "each of"),
        (lambda: LSTM(Z((12, 5)), Z((12, 3)), clip=0), ValueError, "clip"),
        (lambda: LSTM(Z((12, 5)), Z((12, 3)), clip=float("nan")), ValueError, "clip"),
        (lambda: GRU(Z((9, 5)), Z((9, 3)), reset_after=True, clip=1e-45), ValueError, "clip is 1e-45, .*at least"),
        (lambda: RNN(Z((3, 5)), Z((3, 3)), clip=1e39), ValueError, r"clip is 1e\+39, .*that float32 holds"),
        (lambda: LSTM(Z((12, 5)), Z((12, 3)), peephole=Z((4, 3))), ShapeError, "peephole"),
        (lambda: LSTM(Z((12, 5)), Z((12, 2)), projection=Z((2, 4))), ShapeError, r"projection has shape \(2, 4\)"),
        (lambda: LSTM(Z((12, 5)), Z((12, 3)), h0=Z(4)), ShapeError, "h0"),
        (lambda: LSTM(Z((12, 5)), Z((12, 3)), activations=("tanh",)), ValueError, "expected 3"),
        (lambda: LSTM(Z((12, 5)), Z((12, 3)), activations="tanh"), ValueError, "expected 3"),
        (lambda: LSTM(Z((0, 5)), Z((0, 0))), ShapeError, "W has shape"),
        (lambda: LSTM([["a"]], Z((4, 1))), TypeError, "W has dtype"),
        (lambda: LSTM([[1], [1, 2]], Z((4, 1))), TypeError, "W: not an array"),
        (lambda: GRU(Z((9, 5)), Z((9, 3))), TypeError, "reset_after"),
        (lambda: GRU(Z((9, 5)), Z((9, 3)), reset_after=True, gate_order="ifo"), ValueError, "z/u"),
        (lambda: RNN(Z((3, 5)), Z((3, 3)), activation="gelu"), UnsupportedError, "gelu"),
        (lambda: Dense(Z(3)), ShapeError, "W has shape"),
        (lambda: Dense(Z((2, 3)), Z(3)), ShapeError, "b has shape"),
        (lambda: Dense(Z((2, 3)), activation="swoosh"), UnsupportedError, "swoosh"),
        (lambda: Dense(1j * Z((2, 3))), TypeError, "complex"),
        (lambda: Embedding(Z(3)), ShapeError, "table"),
        (lambda: ScaleShift(Z(3), Z(4)), ShapeError, "scale"),
        (lambda: Bidirectional(Dense(Z((1, 1))), Dense(Z((1, 1)))), TypeError, "RNN, GRU, LSTM"),
        (lambda: Bidirectional(RNN(Z((1, 1)), Z((1, 1))), RNN(Z((1, 1)), Z((1, 1)))), ValueError, "reverse=True"),
        (
            lambda: Bidirectional(RNN(Z((1, 1)), Z((1, 1))), RNN(Z((1, 1)), Z((1, 1)), reverse=True), merge="max"),
            UnsupportedError,
            "max",
        ),
        (
            lambda: Bidirectional(RNN(Z((1, 1)), Z((1, 1))), RNN(Z((2, 1)), Z((2, 2)), reverse=True), merge="sum"),
            ShapeError,
            "equal widths",
        ),
        (lambda: build_sequential([]), ValueError, "at least one"),
        (lambda: build_sequential([Softmax()]), ShapeError, "input_shape"),
        (lambda: build_sequential([Dense(Z((2, 3))), 5]), TypeError, "layer 1 is a builtins.int"),
        (
            lambda: build_sequential([Dense(Z((2, 3))), Dense(Z((2, 3)), name="b")]),
            ShapeError,
            r"layer 1 .*'b'.*\(3,\).*\(2,\)",
        ),
        (lambda: build_sequential([Dense(Z((2, 3)))], input_shape=4), ShapeError, r"layer 0 .*the input has \(4,\)"),
        (lambda: build_sequential([Residual([Dense(Z((2, 3)))])]), ShapeError, "Residual.*equal"),
        (lambda: build_sequential([Dense(Z((2, 3))), ScaleShift(Z(3))]), ShapeError, "ScaleShift"),
        (lambda: build_sequential([LayerNorm(Z(4)), Dense(Z((2, 3)))]), ShapeError, "scale"),
    ],
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_public_names():
    for name in undertow.layers.__all__:
        assert getattr(undertow, name) is getattr(undertow.layers, name)
