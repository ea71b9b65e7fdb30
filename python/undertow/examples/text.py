# SPDX-License-Identifier: MIT
"""Text: a network that writes, and one that restores capitals and marks
=====================================================================

Two small networks have read five of Jane Austen's six novels. The first (an LSTM) goes from letter to letter and says
how likely each other one comes next: it can write, and its hidden state shows what it keeps in mind. The second (GRUs
in both directions) reads words without capitals and marks, as one hears them, and puts them back.

Both are measured on a passage from the sixth novel, Persuasion, of which they have read nothing.
"""

import numpy as np

import undertow

with np.load(undertow.example("text").with_suffix(".npz")) as file:
    data = {name: file[name] for name in file}
alphabet, passage = str(data["alphabet"]), str(data["passage"])
writer = undertow.load(undertow.example("text"))

# %%
# Writing
# -------
#
# One character goes in, scores of the next come out; one is drawn and goes in again. The temperature divides the
# scores: a low one takes what is likely and repeats itself, a high one is bold and misspells.


def write(prompt, n, temperature, rng):
    """`n` characters after a prompt, drawn one at a time."""
    stream, text = writer.stream(), prompt
    for c in prompt[:-1]:
        stream.step(np.int32(alphabet.index(c)))
    while len(text) < len(prompt) + n:
        scores = stream.step(np.int32(alphabet.index(text[-1]))) / temperature
        chances = np.exp(scores - scores.max(), dtype=np.float64)
        text += alphabet[rng.choice(len(chances), p=chances / chances.sum())]
    return text


for temperature in (0.4, 0.8, 1.2):
    text = write("“My dear ", 240, temperature, np.random.default_rng(5))
    print(f"temperature {temperature}:\n{text}\n")

# %%
# What it keeps in mind
# ---------------------
#
# ``trace`` keeps the state after every character. What does a single unit of it know? For each of three questions, the
# unit and the limit that answer best are looked for in the first half of the passage, and judged on the second. Nobody
# asked the network for any of this, and after a few minutes of training it knows about words and letters, but not yet
# whether somebody is speaking.

ids = np.array([alphabet.index(c) for c in passage], np.int32)
trace = writer.stream().trace(ids)
scores, hidden = trace.outputs["output"][:-1], trace["memory.h"]
nats = np.log(np.exp(scores).sum(1)) - scores[np.arange(len(scores)), ids[1:]]
frequencies = np.bincount(ids) / len(ids)
by_letter = -np.log2(frequencies[ids]).mean()
bits = nats.mean() / np.log(2)
print(f"bits a character: {bits:.2f} for the network, {by_letter:.2f} by how often each occurs")

questions = {
    "in a word": np.array([c.isalpha() for c in passage]),
    "a vowel": np.array([c in "aeiouAEIOU" for c in passage]),
    "in a speech": np.cumsum([(c == "“") - (c == "”") for c in passage]) > 0,
}
half, units, hits, always = len(ids) // 2, {}, {}, {}
for what, truth in questions.items():
    values = hidden[:half] - hidden[:half].mean(0)
    correlation = values.T @ (truth[:half] - truth[:half].mean()) / (np.linalg.norm(values, axis=0) + 1)
    unit = units[what] = int(np.abs(correlation).argmax())
    answers = hidden[:, unit] * np.sign(correlation[unit])
    some = np.quantile(answers[:half], np.linspace(0.02, 0.98, 97))
    limit = max(some, key=lambda x: np.mean((answers[:half] > x) == truth[:half]))
    hits[what] = np.mean((answers[half:] > limit) == truth[half:])
    always[what] = max(truth[half:].mean(), 1 - truth[half:].mean())
    print(f"unit {unit} alone: {what}? {hits[what]:.0%} right (always the same answer: {always[what]:.0%})")

# %%
# Capitals and marks
# ------------------
#
# Whether a word ends a sentence shows in what follows, so the second network reads in both directions, and runs over a
# whole text rather than in a stream. It knows 3,000 words, and of others their endings. For every word it gives a score
# of a capital, and one of each mark that may follow. A dictionary is the baseline: each word as it most often stands.

known, endings, marks = str(data["vocabulary"]).split(" "), data["endings"], data["marks"]
heard = str(data["heard"]).split(" ")
number = {word: i for i, word in enumerate(known)}
ending = [next(i for i, end in enumerate(endings) if word.endswith(end)) for word in heard]
numbers = [number.get(word, len(known) + end) for word, end in zip(heard, ending, strict=True)]
labels = undertow.load(undertow.example("text_marks")).run(np.array(numbers, np.int32))
capital, mark = (labels[:, 0] > 0).astype(int), labels[:, 1:].argmax(1)
usual = dict(zip(str(data["words"]).split(" "), data["usual"], strict=True))
usual_capital, usual_mark = np.array([usual.get(word, (0, 0)) for word in heard]).T


def f1(said, truth):
    """2 hits / (said + true): 1 if all capitals or marks are found, each of the right kind, and no others."""
    return 2 * np.sum((said == truth) & (truth > 0)) / (np.sum(said > 0) + np.sum(truth > 0))


def spelled(capital, mark):
    pairs = zip(heard, capital, mark, strict=True)
    return " ".join((word[0].upper() + word[1:] if up else word) + marks[m] for word, up, m in pairs)


right = {"capitals": (f1(capital, data["heard_capitals"]), f1(usual_capital, data["heard_capitals"]))}
right["marks"] = f1(mark, data["heard_marks"]), f1(usual_mark, data["heard_marks"])
print(f"\nheard:    {' '.join(heard[:70])}\n\nrestored: {spelled(capital, mark)[:410]}\n")
for what, (ours, dictionary) in right.items():
    print(f"{what}: F1 {ours:.2f}, with a dictionary {dictionary:.2f}")

# %%
# The state, seen
# ---------------
#
# A page of the passage, every character on the colour of the unit that knows of words; below, for its first line, other
# units, from some that stay for words to some that change with every letter.

import matplotlib.pyplot as plt

plt.rcParams["figure.constrained_layout.use"] = True
first, width, height = passage.index("“", half) - 30, 92, 9
figure, (top, bottom) = plt.subplots(2, figsize=(13, 7), height_ratios=(height, 10))
page = slice(first, first + width * height)
shades = hidden[page, units["in a word"]].reshape(height, width)
top.imshow(shades, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto", alpha=0.6)
for (row, column), c in np.ndenumerate(np.array(list(passage[page])).reshape(height, width)):
    top.text(column, row, c.replace("\n", "\u00b6"), ha="center", va="center", family="monospace", fontsize=9)
top.set(title=f"Unit {units['in a word']}, over the text", xticks=[], yticks=[])
line = slice(first, first + width)
moving = np.flatnonzero(hidden[line].std(0) > 0.2)
pace = np.abs(np.diff(hidden[:, moving], axis=0)).mean(0) / hidden[:, moving].std(0)
some = moving[np.argsort(pace)[np.linspace(0, len(moving) - 1, 24).astype(int)]]
bottom.imshow(hidden[line, some].T, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
bottom.set_xticks(range(width), passage[line].replace("\n", "\u00b6"), family="monospace", fontsize=9)
bottom.set(title="24 units over the first line, from slow to fast", ylabel="units", yticks=[])
plt.show()
