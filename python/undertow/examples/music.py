# SPDX-License-Identifier: MIT
"""Music: a network that plays reels, one note at a time
=====================================================

A small network (a GRU) has heard two hundred reels of a fiddler's book from 1883, all of them
moved to D major. It is given a note and the place in the bar, and says how likely every other
note comes next; one is drawn, and goes in at the next step. What was played before the last
note, the turn that a melody has taken or a figure that could come again, it has to remember:
in its hidden state, 96 numbers.

The tune is written to ``reel.mid``, for any notation program, and to ``reel.wav``, to be
heard.
"""

import struct

import numpy as np

import undertow

model = undertow.load(undertow.example("music"))
with np.load(undertow.example("music").with_suffix(".npz")) as file:
    pitch, length = file["pitch"].astype(int), file["length"].astype(int)  # as in MIDI; ticks
    book = {name: file[name] for name in ("counts", "on_a_beat", "over_the_bar", "leap")}
n_tokens, bar = len(pitch) + 1, 96  # ticks

# %%
# A tune
# ------
# Token 0 stands for the beginning and the end of a tune; token n is note n - 1. A frame has a
# 1 for the last token, a 1 for the sixteenth of the bar that has come, and a 1 for the bar,
# counted to eight. A temperature below 1 prefers the likely notes; above 1 the network grows
# bold, and loses the beat.


def frame(token, time):
    x = np.zeros(n_tokens + 16 + 8, np.float32)
    x[[token, n_tokens + time % bar // 6, n_tokens + 16 + time // bar % 8]] = 1
    return x


def play(rng, temperature=0.7, keep=None):
    """One tune, as numbers of notes; `keep` gets the chances and the state of every step."""
    stream, token, time, notes = model.stream(), 0, 0, list[int]()
    while len(notes) < 400:
        scores = stream.step(frame(token, time)) / temperature
        chances = np.exp(scores - scores.max(), dtype=np.float64)
        chances /= chances.sum()
        token = int(rng.choice(len(chances), p=chances))
        if keep:
            keep(chances, stream.state["memory.h"])
        if token == 0:
            break
        notes.append(token - 1)
        time += length[token - 1]
    return np.array(notes, int)


steps: list[tuple] = []
tune = play(np.random.default_rng(4), keep=lambda *step: steps.append(step))
names = np.array(["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"])
bars = (np.cumsum(length[tune]) - length[tune]) // bar
print(f"A tune that the network made up: {len(tune)} notes in {bars[-1] + 1} bars.")
for n in range(bars[-1] + 1):
    print(" ".join(names[pitch[tune[bars == n]] % 12]), end="\n" if n % 4 == 3 else " | ")

# %%
# Is it a reel?
# -------------
# Four things that are true of the tunes in the book: nearly all notes are of the scale, none
# lasts over a bar line, half of them begin on a beat, and a melody goes in small leaps. For
# comparison, notes are thrown as dice: each as often as it stands in the book, and all alike.
# Such dice know the scale as well; the beat and the leaps tell the network from them.
in_major = np.isin((pitch - 62) % 12, [0, 2, 4, 5, 7, 9, 11])


def describe(tunes):
    """Parts of the notes that are in D major, over a bar line, on a beat; the mean leap."""
    notes = np.concatenate(tunes)
    begin = np.concatenate([np.cumsum(length[t]) - length[t] for t in tunes]) % bar
    leap = np.mean(np.concatenate([np.abs(np.diff(pitch[t])) for t in tunes]))
    over, on_a_beat = begin + length[notes] > bar, begin % (bar // 4) == 0
    return in_major[notes].mean(), over.mean(), on_a_beat.mean(), leap


rng = np.random.default_rng(12)
played = [play(rng) for _ in range(40)]
often = book["counts"] / book["counts"].sum()
weighted = [rng.choice(len(pitch), 120, p=often) for _ in range(40)]
of_book = book["over_the_bar"], book["on_a_beat"], book["leap"]
compared = {
    "the book": (often[in_major].sum(), *of_book),
    "the network": describe(played),
    "dice as the book": describe(weighted),
    "fair dice": describe([rng.integers(len(pitch), size=120) for _ in range(40)]),
}
print("\nIs it a reel? The part of all notes that belong to the scale, that last")
print("over a bar's end, that begin on a beat; the leaps of the melody, in semitones.")
print("                     in D major   over the bar   on a beat   mean leap")
for name, (major, over, beat, leap) in compared.items():
    print(f"  {name:18} {major:9.1%} {over:14.1%} {beat:11.1%} {leap:11.1f}")
print("Dice that fall as in the book know its scale, but no bars, beats or melodies.")

# %%
# As MIDI and as sound
# --------------------
# A MIDI file is a header and a track of events, each behind the ticks since the one before
# it: one byte, for no note is longer than 127 of them. A note goes on at once, with a force
# of 90, and off n ticks later. For the sound, every note is a plucked string: overtones that
# fade, the higher the sooner.
notes = b""
for p, n in zip(pitch[tune], length[tune], strict=True):
    notes += bytes([0, 0x90, p, 90, n, 0x80, p, 0])
tempo = b"\x00\xff\x51\x03" + (436_364).to_bytes(3, "big")  # microseconds a quarter note
track = tempo + notes + b"\x00\xff\x2f\x00"
with open("reel.mid", "wb") as midi:
    head = struct.pack(">4sIHHH4sI", b"MThd", 6, 0, 1, 24, b"MTrk", len(track))
    midi.write(head + track)

rate, seconds = 22050, length[tune] / 55
sound = np.zeros(int(rate * (seconds.sum() + 1.5)))
time, k = np.arange(int(1.2 * rate)) / rate, np.arange(1, 7)[:, None]
for p, start in zip(pitch[tune], np.cumsum(seconds) - seconds, strict=True):
    hertz = 440 * 2 ** ((p - 69) / 12)
    string = np.sin(2 * np.pi * k * hertz * time) * np.exp(-(2 + 2 * k) * time) / k
    plucked = 0.18 * string.sum(0) * np.minimum(time / 0.004, 1)
    sound[int(start * rate) :][: len(time)] += plucked
undertow.audio.write("reel.wav", sound / max(1, np.abs(sound).max()), rate)
n_seconds = round(len(sound) / rate)
print(f"\nwrote reel.wav, {n_seconds} s to be heard, and reel.mid, to be read as notes")

# %%
# What it expects, and what it remembers
# --------------------------------------
# Above, the chances of every pitch before each note; below, units of the hidden state, some
# of which last for bars.
import matplotlib.pyplot as plt

plt.rcParams["figure.constrained_layout.use"] = True
shown = bars < 8  # of sixteen
edges = np.append(0, np.cumsum(length[tune]))[: shown.sum() + 1]
chances, memory = (np.stack(part)[: shown.sum()] for part in zip(*steps, strict=True))
rows = np.arange(pitch.min(), pitch.max() + 1)
by_pitch = np.stack([chances[:, 1:][:, pitch == row].sum(1) for row in rows])
lines = np.arange(0, edges[-1] + 1, bar)
pace = np.argsort(np.abs(np.diff(memory, axis=0)).mean(0) / memory.std(0))
some = pace[np.linspace(0, len(pace) - 1, 20).astype(int)]
figure, (top, bottom) = plt.subplots(2, figsize=(12, 7), sharex=True, height_ratios=(3, 2))
around = np.append(rows, rows[-1] + 1) - 0.5
image = top.pcolormesh(edges, around, by_pitch, cmap="YlOrBr", vmin=0, vmax=1)
top.hlines(pitch[tune][shown], edges[:-1] + 1, edges[1:] - 1, color="#1f4e8c", linewidth=5)
scale = [row for row in rows if names[row % 12] in ("D", "A")]
top.set_yticks(scale, [f"{names[row % 12]}{row // 12 - 1}" for row in scale])
top.set(ylabel="pitch", ylim=(pitch[tune].min() - 3, pitch[tune].max() + 4))
top.set_title("Chances of the next pitch (shades), and the notes that were drawn (blue)")
figure.colorbar(image, ax=top, label="chance", pad=0.01)
units = memory.T[some[::-1]]
image = bottom.pcolormesh(edges, np.arange(21), units, cmap="RdBu_r", vmin=-1, vmax=1)
bottom.set(xlabel="bar", title="Twenty hidden units, from slow to fast", yticks=[])
bottom.set_xticks(lines, lines // bar + 1)
figure.colorbar(image, ax=bottom, label="value", pad=0.01)
for axes in (top, bottom):
    axes.vlines(lines, *axes.get_ylim(), color="black", linewidth=0.6)
plt.show()
