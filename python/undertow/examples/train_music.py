# SPDX-License-Identifier: MIT
"""Train the model of the example "music" and write the files beside this one. Needs torch and music21.

    python train_music.py [--folder FOLDER] [--epochs N]

The tunes are the reels of Ryan's Mammoth Collection (Boston 1883, in the public domain), of which music21 ships 1,059
tunes in ABC notation. Those in a major key are moved to D, and every note becomes one token: its pitch and how long it
lasts. The network (a GRU) is given a token and the place in the bar, and says how likely every other comes next. Every
tenth tune is held out. Seeded; two minutes on one core. What ships beside the model are statistics of the tunes, not
they.
"""

from __future__ import annotations

import argparse
import platform
import re
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import music21
import numpy as np
import torch

import undertow
from undertow import _files

SEED = 3
HIDDEN = 96
TONIC = 62  # D4, as MIDI counts
BAR = 96  # ticks
PLACES, BARS = (
    16,
    8,
)  # how finely the place in a bar is told, and how far bars are counted: the parts of a reel have eight
RARE = 5  # tokens that stand in the tunes less often are left out, with their tune
LENGTHS = (6, 8, 12, 18, 24, 36, 48, 72, 96)  # from a sixteenth of a bar to all of it; 8 is a triplet's
Note = tuple[int, int]


def reels() -> list[list[Note]]:
    """Reels in a major key, moved to D: lists of (pitch, ticks), from the first whole bar on."""
    tunes = []
    for path in sorted(music21.corpus.getComposer("ryansMammoth")):
        head = dict(re.findall(r"^([RMK]):\s*(.*?)\s*$", Path(path).read_text(errors="replace"), re.M))
        if head.get("R", "").lower() != "reel" or not re.fullmatch(r"[A-G][b#]?", head.get("K", "")):
            continue
        score: Any = music21.converter.parse(path, format="abc", forceSource=True)
        part = score.parts[0]
        bars = list(part.getElementsByClass("Measure"))
        signature = part.recurse().getElementsByClass("TimeSignature").first()
        if not bars or signature is None:
            continue
        ticks = BAR / Fraction(signature.barDuration.quarterLength)
        if bars[0].duration.quarterLength < signature.barDuration.quarterLength:
            bars = bars[1:]  # the notes before the first whole bar
        up = (TONIC - music21.pitch.Pitch(head["K"].replace("b", "-")).midi + 6) % 12 - 6
        notes = [note for bar in bars for note in bar.recurse().notesAndRests if not note.duration.isGrace]
        tune = [
            (
                0 if note.isRest else note.pitches[-1].midi + up,
                round(Fraction(note.quarterLength).limit_denominator(48) * ticks),
            )
            for note in notes
        ]
        if len(tune) > 40 and all(length in LENGTHS for _, length in tune) and all(pitch for pitch, _ in tune):
            tunes.append(tune)
    return tunes


def vocabulary(tunes: list[list[Note]]) -> list[Note]:
    counts = Counter(note for tune in tunes for note in tune)
    return sorted(note for note, n in counts.items() if n >= RARE)


class Player(torch.nn.Module):
    """Token 0 begins and ends a tune; the others are the notes of the vocabulary."""

    def __init__(self, n_tokens: int) -> None:
        super().__init__()
        self.n_tokens = n_tokens
        self.inputs = torch.nn.Linear(n_tokens + PLACES + BARS, 32, bias=False)
        torch.nn.init.normal_(self.inputs.weight)  # as of a table: only three inputs are 1
        self.memory = torch.nn.GRU(32, HIDDEN, batch_first=True)
        self.next = torch.nn.Linear(HIDDEN, n_tokens)
        self.drop = torch.nn.Dropout(0.3)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """frames: (N, T, inputs) -> scores of what follows each (N, T, n_tokens)."""
        return self.next(self.drop(self.memory(self.drop(self.inputs(frames)))[0]))


def framed(tune: list[int], lengths: tuple[int, ...]) -> np.ndarray:
    """What the network is given before each note and the end: the note before it, the place in the bar, the bar."""
    tokens = np.array([0, *tune])
    time = np.cumsum([0, *(lengths[n - 1] for n in tune)])
    frames = np.zeros((len(tokens), len(lengths) + 1 + PLACES + BARS), np.float32)
    rows = np.arange(len(tokens))
    frames[rows, tokens] = 1
    frames[rows, len(lengths) + 1 + time % BAR * PLACES // BAR] = 1
    frames[rows, len(lengths) + 1 + PLACES + time // BAR % BARS] = 1
    return frames


def loss_of(net: Player, tunes: list[list[int]], lengths: tuple[int, ...]) -> torch.Tensor:
    longest = max(map(len, tunes)) + 1
    frames = torch.zeros(len(tunes), longest, net.inputs.in_features)
    wanted = torch.full((len(tunes), longest), -1)  # behind the end of a tune: counts for nothing
    for i, tune in enumerate(tunes):
        frames[i, : len(tune) + 1] = torch.from_numpy(framed(tune, lengths))
        wanted[i, : len(tune) + 1] = torch.tensor([*tune, 0])
    return torch.nn.functional.cross_entropy(net(frames).flatten(0, 1), wanted.flatten(), ignore_index=-1)


def train(
    tunes: list[list[int]], held_out: list[list[int]], lengths: tuple[int, ...], epochs: int, batch: int = 12
) -> Player:
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    net = Player(len(lengths) + 1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=6e-3, weight_decay=0.02)
    n_batches = -(-len(tunes) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=epochs * n_batches)
    for epoch in range(epochs):
        for some in np.array_split(rng.permutation(len(tunes)), n_batches):
            loss = loss_of(net.train(), [tunes[i] for i in some], lengths)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        if epoch % 5 == 4:
            with torch.no_grad():
                unseen = loss_of(net.eval(), held_out, lengths).item()
            print(f"  epoch {epoch + 1}: {loss.item():.3f}, held out {unseen:.3f}", flush=True)
    return net.eval()


def by_count(tunes: list[list[int]], held_out: list[list[int]], n_tokens: int, order: int) -> float:
    """Nats a note of a table that counts what follows the last `order - 1` notes, each count with 1/n_tokens more."""
    counts: dict[tuple[int, ...], Counter[int]] = {}
    for tune in tunes:
        for *before, token in zip(*([0, *tune, 0][i:] for i in range(order)), strict=False):
            counts.setdefault(tuple(before), Counter())[token] += 1
    nats = []
    for tune in held_out:
        for *before, token in zip(*([0, *tune, 0][i:] for i in range(order)), strict=False):
            seen = counts.get(tuple(before), Counter())
            nats.append(-np.log((seen[token] + 1 / n_tokens) / (seen.total() + 1)))
    return float(np.mean(nats))


def longest_copy(tune: list[int], tunes: list[list[int]]) -> int:
    """How many notes in a row also stand in one of `tunes`."""
    lines = [" ".join(map(str, [0, *other, 0])) for other in tunes]
    best = 0
    for start in range(len(tune)):
        while start + best < len(tune):
            run = f" {' '.join(map(str, tune[start : start + best + 1]))} "
            if not any(run in line for line in lines):
                break
            best += 1
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the model of the example music.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where the model is written")
    parser.add_argument("--epochs", type=int, default=32)
    args = parser.parse_args()
    torch.set_num_threads(1)

    every = reels()
    notes = vocabulary(every)
    tunes = [[notes.index(note) + 1 for note in tune] for tune in every if all(note in notes for note in tune)]
    held_out, learned = tunes[::10], [tune for i, tune in enumerate(tunes) if i % 10]
    print(f"Python {platform.python_version()}, torch {torch.__version__}, music21 {music21.__version__}")
    print(f"{len(learned)} tunes, {sum(map(len, learned)):,} notes of {len(notes)} kinds", flush=True)
    pitches, lengths = zip(*notes, strict=True)
    net = train(learned, held_out, lengths, args.epochs)

    w = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    layers = [
        undertow.Dense.from_torch(w, "inputs"),
        undertow.GRU.from_torch(w, "memory", name="memory"),
        undertow.Dense.from_torch(w, "next"),
    ]
    model = undertow.Sequential(layers, name="music").with_weights("int8")
    model.save(args.folder / "music.tow")
    flat = np.concatenate(learned) - 1
    starts = np.concatenate([np.cumsum([0, *(lengths[n - 1] for n in tune[:-1])]) % BAR for tune in learned])
    leaps = np.concatenate([np.abs(np.diff([pitches[n - 1] for n in tune])) for tune in learned])
    with _files.opened(args.folder / "music.npz") as file:
        np.savez_compressed(
            file,
            pitch=np.array(pitches, np.uint8),
            length=np.array(lengths, np.uint8),
            # of the tunes: how often each note stands there, what part of them begins on a beat, what part lasts over
            # a bar line, and how many semitones it is from one to the next
            counts=np.bincount(flat, minlength=len(notes)).astype(np.int32),
            on_a_beat=np.mean(starts % (BAR // 4) == 0),
            over_the_bar=np.mean(starts + np.array(lengths)[flat] > BAR),
            leap=np.mean(leaps),
        )

    small, changed = [], 0.0
    for tune in held_out:
        scores = model.run(framed(tune, lengths))
        small += [np.log(np.exp(y).sum()) - y[n] for y, n in zip(scores, [*tune, 0], strict=True)]
        with torch.no_grad():
            theirs = net(torch.from_numpy(framed(tune, lengths))[None])[0].numpy()
        changed = max(changed, float(np.abs(scores - theirs).max()))
    counted = [f"{by_count(learned, held_out, len(notes) + 1, order):.3f}" for order in (1, 2, 3)]
    print(f"held out: {np.mean(small):.3f} nats a note; counts of one, two, three notes: {', '.join(counted)}")
    print(f"int8 changes a score by at most {changed:.2f}")

    rng, copies = np.random.default_rng(SEED), []
    for _ in range(20):
        stream, tune = model.stream(), list[int]()
        while len(tune) < 150:
            scores = stream.step(framed(tune, lengths)[-1]).astype(np.float64) / 0.7
            chances = np.exp(scores - scores.max())
            token = int(rng.choice(len(chances), p=chances / chances.sum()))
            if token == 0:
                break
            tune.append(token)
        copies.append(longest_copy(tune, learned))
    others = [longest_copy(tune, learned) for tune in held_out[:20]]
    print(f"notes in a row that stand in a tune that was learned: {np.median(copies):.0f} in 20 that it plays, "
          f"{np.median(others):.0f} in 20 held out (medians)")  # fmt: skip


if __name__ == "__main__":
    main()
