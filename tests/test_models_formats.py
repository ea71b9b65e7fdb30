# SPDX-License-Identifier: MIT
"""Real networks in formats of their own, and networks whose wiring is written by hand.

The files belong to other projects and lie outside the repository: UNDERTOW_MODELS names their folder.
"""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

import undertow
from tolerances import FLOAT32_MODEL
from undertow import LSTM, AttentionAverage, Dense, Embedding, Graph, Model


def check(model, X, want):
    """Whole, step by step and in uneven chunks: equal bits, and close to `want`."""
    whole = model.run(X)
    stream = model.stream()
    np.testing.assert_array_equal(np.stack([stream.step(x) for x in X]), whole)
    stream.reset()
    cuts = [0, 1, 18, len(X) // 2, len(X)]
    parts = [stream.run(X[a:b]) for a, b in pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    error = np.abs(whole.reshape(want.shape) - want).max()
    print(f"\n{model.isa}: largest error {error:.3g}, outputs up to {np.abs(want).max():.3g}")
    assert error <= FLOAT32_MODEL


def test_an_amplifier_starts_where_its_file_says(models_dir, isa):
    folder = models_dir / "stage2" / "nam-lstm"
    model = undertow.load(folder / "lstm.nam", isa=isa)
    assert model.isa == isa
    with np.load(folder / "lstm_expected_numpy64.npz") as data:
        check(model, data["input"], data["output"])


# -- a text generator saved by CuDNN layers ---------------------------------------------------------------------------

TEXTS = [
    "I have been thinking about this for a long time, and the more I look at it, the less I understand why.",
    "What is the best way to learn how to play the guitar as an adult?",
]
#: what textgenrnn reads to propose the next character, padded in front with id 0
WINDOW = 40


def text_generator(w, isa=None, every=False):
    """log p of the next character, after a whole window or after every character of it."""
    graph = Graph("textgenrnn")
    embedded = Embedding.from_keras(w, "embedding").add_to(graph, graph.input("ids", (), "int32"))
    first = LSTM.from_keras(w, "rnn_1", name="rnn_1").add_to(graph, embedded)
    second = LSTM.from_keras(w, "rnn_2", name="rnn_2").add_to(graph, first)
    joined = graph.add("concat", [embedded, first, second], name="skip")
    mean = AttentionAverage.from_keras(w, "attention", return_sequences=every).add_to(graph, joined)
    graph.output("log_p", Dense.from_keras(w, "output", activation="log_softmax").add_to(graph, mean))
    return Model.from_graph(graph, isa=isa)


def windows(text, vocabulary):
    """(the ids before each character, its id)."""
    ids = np.array([vocabulary[c] for c in text], np.int32)
    padded = np.concatenate([np.zeros(WINDOW, np.int32), ids])
    return [(padded[i : i + WINDOW], ids[i]) for i in range(1, len(ids))]


def in_float64(w, ids):
    """The network from textgenrnn's source, gates as cuDNN stores them; log p after each of `ids`."""
    w = {k.split("/")[0] + "/" + k.split("/")[-1].removesuffix(":0"): a.astype(np.float64) for k, a in w.items()}

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def lstm(name, X):
        kernel, recurrent, bias = (w[f"{name}/{key}"] for key in ("kernel", "recurrent_kernel", "bias"))
        n = recurrent.shape[0]
        h, c, rows = np.zeros(n), np.zeros(n), []
        for x in X:
            gates = []
            for k in range(4):
                part = slice(k * n, (k + 1) * n)
                W = kernel[:, part].reshape(n, len(x))
                gates.append(W @ x + recurrent[:, part] @ h + bias[part] + bias[4 * n :][part])
            i, f, g, o = gates
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            rows.append(h)
        return np.array(rows)

    E = w["embedding/embeddings"][ids]
    first = lstm("rnn_1", E)
    X = np.hstack([E, first, lstm("rnn_2", first)])
    score = np.exp(X @ w["attention/attention_W"])
    means = np.cumsum(score * X, axis=0) / np.cumsum(score, axis=0)
    logits = means @ w["output/kernel"] + w["output/bias"]
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.fixture(scope="module")
def generator_files(models_dir):
    folder = models_dir / "stage2" / "textgenrnn"
    vocabulary = json.loads((folder / "textgenrnn_vocab.json").read_text())
    return undertow.read_weights(folder / "textgenrnn_weights.hdf5"), vocabulary


def test_a_text_generator_knows_english(generator_files):
    """The folder's note: about 0.92 nats a character; 44.7 when cuDNN's layout is ignored, 5.9 when misread."""
    w, vocabulary = generator_files
    model = text_generator(w)
    surprise = [-model.run(ids)[-1, target] for text in TEXTS for ids, target in windows(text, vocabulary)]
    print(f"\n{np.mean(surprise):.3f} nats a character")
    assert np.mean(surprise) < 1.05


def test_a_text_generator_equals_float64(generator_files, isa):
    w, vocabulary = generator_files
    model = text_generator(w, isa, every=True)
    for ids, _ in windows(TEXTS[1], vocabulary)[::16]:
        whole = model.run(ids)
        # log p reaches -40: an absolute limit for what is near 0, a relative one for the rest
        np.testing.assert_allclose(whole, in_float64(w, ids), rtol=FLOAT32_MODEL, atol=FLOAT32_MODEL)
        stream = model.stream()
        np.testing.assert_array_equal(np.stack([stream.step(i) for i in ids]), whole)
        np.testing.assert_array_equal(text_generator(w, isa).run(ids)[-1], whole[-1])
