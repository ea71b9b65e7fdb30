# SPDX-License-Identifier: MIT
"""Real networks whose files hold weights and no wiring, through the public API: whole, step by step, in chunks.

The files belong to other projects and lie outside the repository: UNDERTOW_MODELS names their folder.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import undertow
from tolerances import FLOAT32_MODEL
from undertow import GRU, LSTM, Dense, Embedding, ScaleShift, Sequential, Softmax, reference


def unitree_g1(folder):
    """A walking policy: the state buffers of the archive are the stream's state here."""
    w = undertow.read_weights(folder / "g1_motion.pt")
    layers = [
        LSTM.from_torch(w, "memory"),
        Dense.from_torch(w, "actor.0", activation="elu"),
        Dense.from_torch(w, "actor.2"),
    ]
    return Sequential(layers, name="g1"), "g1_expected_numpy64.npz", "memory"


def anydrive(folder):
    """An actuator: scales are buffers beside the layers."""
    w = undertow.read_weights(folder / "anydrive_v3_lstm.pt")
    layers = [
        ScaleShift(w["in_scale"].ravel()),
        LSTM.from_torch(w, "lstm"),
        Dense.from_torch(w, "linear"),
        ScaleShift(w["out_scale"]),
    ]
    return Sequential(layers, name="anydrive"), "expected_numpy64.npz", None


def noaa_sugar_creek(folder):
    """River flow: one LSTM and one head, which sizes wire, and nothing else, which we say."""
    model = undertow.load(folder / "sugar_creek_trained.pt", assume_as_wired=True)
    return model, "sugar_creek_trained_expected_numpy64.npz", "lstm"


FOLDERS = {"unitree-g1": unitree_g1, "anydrive": anydrive, "noaa-sugar-creek": noaa_sugar_creek}

# anydrive has the least room: its last layers multiply an error of h by up to 6.7 * 20, so a single rounding of h
# (1.2e-7 near 1) can become 1.6e-5. PyTorch's own float32 misses the expected values by 1.25e-5.


def in_chunks(stream, X, seed):
    """The outputs of X given in pieces of random length, 1 and 0 among them."""
    rng = np.random.default_rng(seed)
    done, parts = 0, []
    while done < len(X):
        n = int(rng.choice([0, 1, 2, 3, 17, 64, 129]))
        parts.append(stream.run(X[done : done + n]))
        done += n
    return np.concatenate(parts)


def three_ways(model, X, want, what):
    """Whole, step by step and in chunks: equal bits, close to `want`; prints the largest error, gives the stream."""
    whole = model.run(X)
    stream = model.stream()
    np.testing.assert_array_equal(np.stack([stream.step(x) for x in X]), whole)
    np.testing.assert_array_equal(in_chunks(model.stream(), X, seed=len(X)), whole)
    error = np.abs(whole.reshape(want.shape) - want)
    at = tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape))
    print(f"\n{what} [{model.isa}]: largest error {error.max():.3g} at {at}, outputs up to {np.abs(want).max():.3g}")
    assert error.max() <= FLOAT32_MODEL
    return stream


@pytest.mark.parametrize("folder", FOLDERS)
def test_stage1_model(folder, models_dir, isa, monkeypatch):
    monkeypatch.setenv("UT_ISA", isa)
    model, expected, cell = FOLDERS[folder](models_dir / "stage1" / folder)
    assert model.isa == isa
    with np.load(models_dir / "stage1" / folder / expected) as data:
        stream = three_ways(model, data["input"], data["output"], folder)
        if cell:
            h, c = stream.state[cell]
            np.testing.assert_allclose(h, data["h_last"], rtol=0, atol=FLOAT32_MODEL)
            np.testing.assert_allclose(c, data["c_last"], rtol=1e-6, atol=FLOAT32_MODEL)


@pytest.mark.parametrize("folder", ["unitree-g1", "anydrive"])
def test_ambiguous_files_are_not_guessed(folder, models_dir):
    (path,) = (models_dir / "stage1" / folder).glob("*.pt")
    with pytest.raises(undertow.UnsupportedError, match=r"undertow\.LSTM\.from_torch\(w, '(memory|lstm)'\)"):
        undertow.load(path)


# -- letters to phonemes: a decoder that eats its own output ----------------------------------------------------------

PHONEMES = [
    "<pad>",
    "<unk>",
    "<s>",
    "</s>",
    "AA0",
    "AA1",
    "AA2",
    "AE0",
    "AE1",
    "AE2",
    "AH0",
    "AH1",
    "AH2",
    "AO0",
    "AO1",
    "AO2",
    "AW0",
    "AW1",
    "AW2",
    "AY0",
    "AY1",
    "AY2",
    "B",
    "CH",
    "D",
    "DH",
    "EH0",
    "EH1",
    "EH2",
    "ER0",
    "ER1",
    "ER2",
    "EY0",
    "EY1",
    "EY2",
    "F",
    "G",
    "HH",
    "IH0",
    "IH1",
    "IH2",
    "IY0",
    "IY1",
    "IY2",
    "JH",
    "K",
    "L",
    "M",
    "N",
    "NG",
    "OW0",
    "OW1",
    "OW2",
    "OY0",
    "OY1",
    "OY2",
    "P",
    "R",
    "S",
    "SH",
    "T",
    "TH",
    "UH0",
    "UH1",
    "UH2",
    "UW",
    "UW0",
    "UW1",
    "UW2",
    "V",
    "W",
    "Y",
    "Z",
    "ZH",
]
LETTERS = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]


def test_g2p_en(models_dir, isa, monkeypatch):
    monkeypatch.setenv("UT_ISA", isa)
    folder = models_dir / "stage1" / "g2p-en"
    w = undertow.read_weights(folder / "checkpoint20.npz")
    cells = {
        side: GRU(
            w[f"{side}_w_ih"], w[f"{side}_w_hh"], w[f"{side}_b_ih"], recurrent_bias=w[f"{side}_b_hh"],
            gate_order="rzn", reset_after=True, name=side,
        )
        for side in ("enc", "dec")
    }  # fmt: skip
    encoder = Sequential([Embedding(w["enc_emb"]), cells["enc"]])
    decoder = Sequential([Embedding(w["dec_emb"]), cells["dec"], Dense(w["fc_w"], w["fc_b"])])
    wanted = json.loads((folder / "expected_numpy64.json").read_text())
    assert len(wanted) == 7
    for word, phonemes in wanted.items():
        reader = encoder.stream()
        reader.run(np.array([LETTERS.index(letter) for letter in [*word, "</s>"]], np.int32))
        speaker = decoder.stream(state={"dec": reader.state["enc"]})
        spoken, last = [], PHONEMES.index("<s>")
        for _ in range(20):
            last = int(speaker.step(np.int32(last)).argmax())
            if PHONEMES[last] == "</s>":
                break
            spoken.append(PHONEMES[last])
        assert " ".join(spoken) == phonemes
    print(f"\ng2p-en [{isa}]: {len(wanted)} words, every phoneme right")


# -- characters of a play: TensorFlow's cells from raw files ----------------------------------------------------------

PASSAGE = """First Citizen:
Before we proceed any further, hear me speak.

All:
Speak, speak.

First Citizen:
You are all resolved rather to die than to famish?

All:
Resolved. resolved.

First Citizen:
First, you know Caius Marcius is chief enemy to the people.
"""
COMMON = set(
    [
        "a",
        "all",
        "and",
        "are",
        "as",
        "be",
        "but",
        "by",
        "come",
        "do",
        "for",
        "from",
        "good",
        "have",
        "he",
        "her",
        "him",
        "his",
        "i",
        "in",
        "is",
        "it",
        "king",
        "know",
        "lord",
        "love",
        "man",
        "me",
        "more",
        "my",
        "no",
        "not",
        "now",
        "of",
        "on",
        "or",
        "our",
        "shall",
        "she",
        "sir",
        "so",
        "than",
        "that",
        "the",
        "thee",
        "their",
        "them",
        "then",
        "they",
        "this",
        "thou",
        "thy",
        "to",
        "us",
        "was",
        "we",
        "well",
        "what",
        "which",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)


def charrnn(folder, forget_bias=1.0):
    manifest = json.loads((folder / "manifest.json").read_text())
    w = {
        key: np.fromfile(folder / e["filename"], "<f4").reshape(e["shape"]) for key, e in manifest.items() if e["shape"]
    }
    cells = [
        LSTM.from_tf(w, f"rnnlm/multi_rnn_cell/cell_{k}/basic_lstm_cell", forget_bias=forget_bias) for k in range(2)
    ]
    layers = [Embedding(w["embedding"]), *cells, Dense.from_tf([w["rnnlm/softmax_w"], w["rnnlm/softmax_b"]]), Softmax()]
    vocabulary = json.loads((folder / "vocab.json").read_text())
    # Ids go by frequency. The file has lost two letters: "  " stands where u must, between d and m, and "" for U.
    renamed = {"  ": "u", "": "U"}
    return Sequential(layers, name="shakespeare"), {renamed.get(c, c): k for c, k in vocabulary.items()}


def test_ml5_charrnn(models_dir, isa, monkeypatch):
    monkeypatch.setenv("UT_ISA", isa)
    model, vocabulary = charrnn(models_dir / "stage1" / "ml5-charrnn")
    ids = np.array([vocabulary[c] for c in PASSAGE], np.int32)
    P = model.run(ids)
    three_ways(model, ids, reference.run(model.graph, ids), "ml5-charrnn")
    np.testing.assert_allclose(P.sum(1), 1, atol=1e-5)

    def nats(forget_bias):
        """Surprise at each character of the training text."""
        P = charrnn(models_dir / "stage1" / "ml5-charrnn", forget_bias)[0].run(ids)
        return float(-np.log(P[np.arange(len(ids) - 1), ids[1:]]).mean())

    # The file does not hold the forget bias; the right one explains the text best. Wrong gate orders give 5 to 7.
    found = {bias: nats(bias) for bias in (0.0, 1.0, 2.0)}
    print(f"nats a character by forget bias: {found} (chance: {math.log(len(P[0])):.2f})")
    assert found[1.0] < 1.3 and min(found, key=found.get) == 1.0


def test_ml5_charrnn_writes_english(models_dir):
    """Sampled text is made of the words that its training text is made of."""
    model, vocabulary = charrnn(models_dir / "stage1" / "ml5-charrnn")
    letters = {k: c for c, k in vocabulary.items()}
    rng = np.random.default_rng(0)
    stream = model.stream()
    text = "The "
    for c in text:
        p = stream.step(np.int32(vocabulary[c]))
    for _ in range(600):
        q = p.astype(np.float64) ** 2  # temperature 1/2
        last = int(rng.choice(len(q), p=q / q.sum()))
        text += letters[last]
        p = stream.step(np.int32(last))
    print(f"\n{text}")
    words = "".join(c if c.isalpha() else " " for c in text.lower()).split()
    assert len(words) > 60 and sum(word in COMMON for word in words) > 0.4 * len(words)


# -- PyTorch's own reference cases ------------------------------------------------------------------------------------


def tensor(entry):
    shape, data = entry
    return np.array(data, np.float32).reshape(shape)


@pytest.mark.parametrize(
    "case", [f"{kind}_{what}" for kind in ("lstm", "gru") for what in ("forwards", "bidirectional", "initial")]
)
def test_pytorch_case(case, models_dir, isa, monkeypatch):
    monkeypatch.setenv("UT_ISA", isa)
    data = json.loads((models_dir / "vectors" / "pytorch-cases" / "rnn.json").read_text())[case]
    weights = {name: tensor(entry) for name, entry in data["params"].items()}
    start = {k: tensor(data[name]) for k, name in (("h0", "initial_hidden"), ("c0", "initial_cell")) if name in data}
    model = Sequential([{"lstm": LSTM, "gru": GRU}[case[:-1].split("_")[0]].from_torch(weights, "", **start)])
    X, want = tensor(data["input"]), tensor(data["output"])
    if case.endswith("bidirectional"):
        error = np.abs(model.run(X) - want).max()
        print(f"\npytorch-cases {case} [{isa}]: largest error {error:.3g}")
        assert error <= FLOAT32_MODEL
    else:
        three_ways(model, X, want, f"pytorch-cases {case}")
