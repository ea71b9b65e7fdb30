# SPDX-License-Identifier: MIT
"""Train the two models of the example "text" and write the files beside this one. Needs torch and rdata.

    python train_text.py [--books FOLDER] [--folder FOLDER] [--steps N]

The books are those of the R package janeaustenr: in Debian `apt install r-cran-janeaustenr`, elsewhere unpack that
package and name the folder janeaustenr in it. All six novels are in the public domain; the package's code is under the
MIT licence. Five of them are learned from. Of the sixth, Persuasion, nothing is; 11,700 characters of it ship as the
text that the example measures on.

Two models: "text" gives, after every character, the scores of the next one (LSTM); "text_marks" reads words without
capitals and marks, in both directions, and says for each which of the two belong there (GRUs). They learn for 5,400 and
2,400 steps, some five minutes of one core. Versions and losses of the files that ship stand in README.md.
"""

from __future__ import annotations

import argparse
import platform
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rdata
import torch

import undertow
from undertow import _files

SEED = 13
WRITER_STEPS, TAGGER_STEPS = 5400, 2400
LEARNED = ("emma", "mansfieldpark", "northangerabbey", "prideprejudice", "sensesensibility")
HELD_OUT = "persuasion"

#: What a text is made of once it is cleaned; \n ends a paragraph.
ALPHABET = "\n !'(),-.:;?“”" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "abcdefghijklmnopqrstuvwxyz"
#: What the tagger reads: so many words, and of the others their endings.
WORDS, ENDINGS = 3000, ("ing", "ed", "ly", "ness", "ion", "'s", "s", "")
#: What it may put behind a word.
MARKS = ("", ",", ".", ";", "?", "!")

#: Characters of the held-out book that ship, and where they begin: a paragraph, and people talking.
PASSAGE, FROM = 12_000, 110_101


def books(folder: Path) -> dict[str, str]:
    """The novels: R keeps each as a compressed list of lines, and their places in an index."""
    index = rdata.conversion.convert(rdata.parser.parse_data((folder / "data/Rdata.rdx").read_bytes()))
    content = (folder / "data/Rdata.rdb").read_bytes()
    texts = {}
    for name, (start, size) in index["variables"].items():
        packed = content[start : start + size]
        lines = rdata.parser.parse_data(zlib.decompress(packed[4:], bufsize=struct.unpack(">I", packed[:4])[0]))
        texts[str(name)] = clean("\n".join(map(str, rdata.conversion.convert(lines))))
    return texts


def clean(text: str) -> str:
    """Paragraphs on a line each, without headings, emphasis, digits and rare characters."""
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text):
        line = " ".join(paragraph.replace("_", "").replace("&", "and").split())
        # The books have one sign for both ends of a quotation. Two of them are nicer.
        line = "".join(("“", "”")[i % 2] + part if i >= 0 else part for i, part in enumerate(line.split('"'), -1))
        if len(line) > 20 and not line.isupper() and not re.match(r"(chapter|volume|finis)\b", line, re.I):
            paragraphs.append("".join(c for c in line if c in ALPHABET))
    return "\n".join(paragraphs) + "\n"


def spoken(text: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The words of a text as one hears them, and for each: has it a capital, and which mark stands behind it."""
    words, capitals, marks = [], [], []
    for word, between in re.findall(r"([A-Za-z][A-Za-z']*)([^A-Za-z]*)", text):
        mark = next((c for c in between if c in (*MARKS[1:], ":")), "")
        words.append(word.lower())
        capitals.append(word[0].isupper())
        marks.append(MARKS.index(";" if mark == ":" else mark))
    return words, np.array(capitals, np.uint8), np.array(marks, np.uint8)


def vocabulary(text: str) -> list[str]:
    return [word for word, _ in Counter(spoken(text)[0]).most_common(WORDS)]


def encoded(words: list[str], known: list[str]) -> np.ndarray:
    """Numbers of words: their place in the vocabulary, and behind it that of their ending."""
    number = {word: i for i, word in enumerate(known)}
    rare = ((word, next(i for i, end in enumerate(ENDINGS) if word.endswith(end))) for word in words)
    return np.array([number.get(word, len(known) + ending) for word, ending in rare], np.int64)


def numbered(text: str, alphabet: str) -> np.ndarray:
    return np.array([alphabet.index(c) for c in text], np.int64)


class Writer(torch.nn.Module):
    def __init__(self, hidden: int = 192) -> None:
        super().__init__()
        self.letters = torch.nn.Embedding(len(ALPHABET), 24)
        self.memory = torch.nn.LSTM(24, hidden, batch_first=True)
        self.next = torch.nn.Linear(hidden, len(ALPHABET))
        # Forget gates that begin open learn to remember sooner.
        dict(self.memory.named_parameters())["bias_hh_l0"].data[hidden : 2 * hidden] = 2.0

    def forward(self, ids: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor] | None = None):
        """ids: (N, T) -> scores of what follows (N, T, letters), and the state behind them."""
        h, state = self.memory(self.letters(ids), state)
        return self.next(h), state


class Tagger(torch.nn.Module):
    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(WORDS + len(ENDINGS), 16)
        self.both = torch.nn.GRU(16, hidden, batch_first=True, bidirectional=True)
        self.labels = torch.nn.Linear(2 * hidden, 1 + len(MARKS))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """ids: (N, T) -> (N, T, 7): the score of a capital, then of each mark."""
        return self.labels(self.both(self.words(ids))[0])


class Schedule:
    """Learning rates by the steps that are made, down a half cosine."""

    def __init__(self, optimizer: torch.optim.Optimizer, n_steps: int, rate: float) -> None:
        self.optimizer, self.n_steps, self.rate, self.steps = optimizer, n_steps, rate, 0

    def step(self, net: torch.nn.Module, loss: torch.Tensor) -> bool:
        """One step of the optimizer; False when it was the last."""
        part = self.steps / self.n_steps
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * part)))
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        self.optimizer.step()
        self.steps += 1
        if self.steps % 500 == 0:
            print(f"  {part:4.0%}  step {self.steps}  loss {loss.item():.3f}", flush=True)
        return self.steps < self.n_steps


def train_writer(text: str, n_steps: int, batch: int = 20, steps: int = 128) -> Writer:
    """Every row of a batch walks through a part of the text of its own and keeps its state."""
    ids = torch.from_numpy(numbered(text, ALPHABET))
    rows = ids[: len(ids) // batch * batch].view(batch, -1)
    net = Writer()
    schedule = Schedule(torch.optim.Adam(net.parameters()), n_steps, 5e-3)
    while True:
        state = None
        for t in range(0, rows.shape[1] - steps - 1, steps):
            scores, state = net(rows[:, t : t + steps], state)
            state = (state[0].detach(), state[1].detach())
            loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), rows[:, t + 1 : t + steps + 1].flatten())
            if not schedule.step(net, loss):
                return net.eval()


def tagger_loss(scores: torch.Tensor, capitals: torch.Tensor, marks: torch.Tensor) -> torch.Tensor:
    capital = torch.nn.functional.binary_cross_entropy_with_logits(scores[..., 0], capitals)
    return capital + torch.nn.functional.cross_entropy(scores[..., 1:].flatten(0, -2), marks.flatten())


def train_tagger(text: str, known: list[str], n_steps: int, batch: int = 32, steps: int = 60) -> Tagger:
    words, capitals, marks = spoken(text)
    ids = torch.from_numpy(encoded(words, known))
    is_capital, mark = torch.from_numpy(capitals).float(), torch.from_numpy(marks).long()
    net = Tagger()
    schedule = Schedule(torch.optim.Adam(net.parameters()), n_steps, 8e-3)
    generator = torch.Generator().manual_seed(SEED)
    while True:
        at = torch.randint(0, len(ids) - steps, (batch, 1), generator=generator) + torch.arange(steps)
        if not schedule.step(net, tagger_loss(net(ids[at]), is_capital[at], mark[at])):
            return net.eval()


def by_word(text: str) -> dict[str, np.ndarray]:
    """What a dictionary knows: of every word of the books, how it is most often written, and what stands behind it.

    As arrays of the words that occur five times and are not simply small letters without a mark behind them.
    """
    capital: dict[str, Counter[int]] = {}
    mark: dict[str, Counter[int]] = {}
    for word, up, behind in zip(*spoken(text), strict=True):
        capital.setdefault(word, Counter())[int(up)] += 1
        mark.setdefault(word, Counter())[int(behind)] += 1
    usual = {w: (capital[w].most_common(1)[0][0], mark[w].most_common(1)[0][0]) for w in capital}
    words = sorted(w for w, how in usual.items() if how != (0, 0) and capital[w].total() >= 5)
    return {"words": np.array(words), "usual": np.array([usual[w] for w in words], np.uint8)}


def convert(
    state: dict[str, torch.Tensor], name: str, layers: Callable[[Any], list[Any]], path: Path
) -> undertow.Model:
    """A net as one of undertow's models, with weights of int8, written to `path`."""
    model = undertow.Sequential(layers({key: tensor.numpy() for key, tensor in state.items()}), name=name)
    model.with_weights("int8").save(path)
    return undertow.load(path)


def writer_layers(w: Any) -> list[Any]:
    """The wiring of `Writer.forward`, said once more."""
    return [
        undertow.Embedding.from_torch(w, "letters"),
        undertow.LSTM.from_torch(w, "memory", name="memory"),
        undertow.Dense.from_torch(w, "next"),
    ]


def tagger_layers(w: Any) -> list[Any]:
    """The wiring of `Tagger.forward`, said once more."""
    return [
        undertow.Embedding.from_torch(w, "words"),
        undertow.GRU.from_torch(w, "both"),
        undertow.Dense.from_torch(w, "labels"),
    ]


def make_writer(learned: str, passage: str, n_steps: int, folder: Path) -> None:
    torch.manual_seed(SEED)
    net = train_writer(learned, n_steps)
    model = convert(net.state_dict(), "text", writer_layers, folder / "text.tow")
    ids = numbered(passage, ALPHABET)
    with torch.no_grad():
        scores = net(torch.from_numpy(ids)[None])[0][0]
        loss = torch.nn.functional.cross_entropy(scores[:-1], torch.from_numpy(ids[1:])).item()
    ours = model.run(ids.astype(np.int32))
    small = np.mean(np.log(np.exp(ours[:-1]).sum(1)) - ours[np.arange(len(ids) - 1), ids[1:]])
    print(f"writer: {loss:.3f} nats a character of the passage, {small:.3f} with int8")


def make_tagger(learned: str, passage: str, n_steps: int, folder: Path) -> None:
    known = vocabulary(learned)
    torch.manual_seed(SEED)
    net = train_tagger(learned, known, n_steps)
    model = convert(net.state_dict(), "text_marks", tagger_layers, folder / "text_marks.tow")
    words, capitals, marks = spoken(passage)
    ids = encoded(words, known)
    truth = torch.from_numpy(capitals)[None].float(), torch.from_numpy(marks)[None].long()
    with torch.no_grad():
        loss = tagger_loss(net(torch.from_numpy(ids)[None]), *truth).item()
    small = tagger_loss(torch.from_numpy(model.run(ids.astype(np.int32)))[None], *truth).item()
    print(f"tagger: {loss:.4f} nats a word of the passage, {small:.4f} with int8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the models of the example text.")
    parser.add_argument("--books", type=Path, default=Path("/usr/lib/R/site-library/janeaustenr"))
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where the models are written")
    parser.add_argument("--steps", type=int, help="for each model (default: as above)")
    parser.add_argument("--only", choices=("data", "writer", "tagger"), help="make a part of them")
    args = parser.parse_args()
    torch.set_num_threads(1)

    novels = books(args.books)
    learned = "".join(novels[name] for name in LEARNED)
    passage = novels[HELD_OUT][FROM : FROM + PASSAGE]
    passage = passage[: passage.rindex("\n") + 1]
    print(f"{len(learned):,} characters to learn from; Python {platform.python_version()}, torch {torch.__version__}, "
          f"numpy {np.__version__}, rdata {rdata.__version__}", flush=True)  # fmt: skip
    if args.only in (None, "data"):
        usual = by_word(learned)
        heard, capitals, marks = spoken(passage)
        with _files.opened(args.folder / "text.npz") as file:
            np.savez_compressed(
                file,
                alphabet=np.array(ALPHABET),
                vocabulary=np.array(" ".join(vocabulary(learned))),
                endings=np.array(ENDINGS),
                marks=np.array(MARKS),
                passage=np.array(passage),
                heard=np.array(" ".join(heard)),
                heard_capitals=capitals,
                heard_marks=marks,
                words=np.array(" ".join(usual["words"])),
                usual=usual["usual"],
            )
    if args.only in (None, "writer"):
        make_writer(learned, passage, args.steps or WRITER_STEPS, args.folder)
    if args.only in (None, "tagger"):
        make_tagger(learned, passage, args.steps or TAGGER_STEPS, args.folder)


if __name__ == "__main__":
    main()
