# SPDX-License-Identifier: MIT
"""Text: one network writes, one restores capitals and marks
=========================================================

Two small networks have read five of Jane Austen's six novels. The first (an LSTM) goes from
letter to letter and says how likely each other one comes next: it can write, and its state
shows what it keeps in mind. The second (GRUs in both directions) reads words without capitals
and marks, as one hears them, and puts them back. Both are measured on a passage from the
sixth novel, Persuasion, of which they have read nothing.
"""

import textwrap

import numpy as np

import undertow

with np.load(undertow.example("text").with_suffix(".npz")) as file:
    data = {name: file[name] for name in file}
alphabet, passage = str(data["alphabet"]), str(data["passage"])
writer = undertow.load(undertow.example("text"))


def show(text):
    plain = text.replace("\u201c", '"').replace("\u201d", '"')
    print(textwrap.fill(plain, 78, initial_indent="  ", subsequent_indent="  "))


# %%
# Writing
# -------
# One character goes in, scores of the next come out; one is drawn and goes in again. A low
# temperature, which divides the scores, takes what is likely and repeats itself; a high one
# misspells.
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


print("The writer goes on from the words: My dear. Each letter is drawn by its chance.")
for temperature, means in {0.4: "careful", 0.8: "as it learned", 1.2: "bold"}.items():
    print(f"\ntemperature {temperature}, {means}:")
    show(write("\u201cMy dear ", 240, temperature, np.random.default_rng(5)))

# %%
# What it keeps in mind
# ---------------------
# ``trace`` keeps the state after every character. What does a single number of it know? The
# number and the limit that answer a question best are looked for in the first half of the
# passage, and judged on the second. Nobody asked the network for any of this, and two of the
# answers need a memory: of the last letters, and of the last fifty.
ids = np.array([alphabet.index(c) for c in passage], np.int32)
trace = writer.stream().trace(ids)
scores, hidden = trace.outputs["output"][:-1], trace["memory.h"]
nats = np.log(np.exp(scores).sum(1)) - scores[np.arange(len(scores)), ids[1:]]
by_letter = -np.log2(np.bincount(ids)[ids] / len(ids)).mean()
bits = nats.mean() / np.log(2)
print(f"\nA character of a novel it has not read costs {bits:.2f} bits (fewer are better),")
print(f"and {by_letter:.2f} if one knows only how often each character occurs.")
letter, at = np.array([c.isalpha() for c in passage]), np.arange(len(ids))
third = letter & np.roll(letter, 1) & np.roll(letter, 2)
began = np.maximum.accumulate([t if c in ".?!" else 0 for t, c in enumerate(passage)])
questions = {
    "is this a vowel?": np.array([c in "aeiouAEIOU" for c in passage]),
    "is it the third letter of its word, or later?": third,
    "did the sentence begin within 50 characters?": at - began < 50,
}
half, state = len(ids) // 2, np.hstack([hidden, trace["memory.c"]])
numbers, hits, always = {}, {}, {}
print("\nWhat single numbers of its state know (in brackets: always the same answer):")
for what, truth in questions.items():
    values = state[:half] - state[:half].mean(0)
    alike = values.T @ truth[:half] / (np.linalg.norm(values, axis=0) + 1)
    best = numbers[what] = int(np.abs(alike).argmax())
    answers = state[:, best] * np.sign(alike[best])
    some = np.quantile(answers[:half], np.linspace(0.02, 0.98, 97))
    limit = max(some, key=lambda x: np.mean((answers[:half] > x) == truth[:half]))
    hits[what] = np.mean((answers[half:] > limit) == truth[half:])
    always[what] = max(truth[half:].mean(), 1 - truth[half:].mean())
    name = f"{'hidden' if best < 192 else 'cell'} {best % 192}"
    print(f"  {what:46} {name:10} {hits[what]:.0%} right ({always[what]:.0%})")

# %%
# Capitals and marks
# ------------------
# Whether a word ends a sentence shows in what follows, so the second network reads in both
# directions, and runs over a whole text. It knows 3,000 words, and of others their endings.
# For every word it gives a score of a capital, and one of each mark that may follow. A
# dictionary is the baseline: each word as it most often stands.
marks, heard = data["marks"], str(data["heard"]).split(" ")
number = {word: i for i, word in enumerate(str(data["vocabulary"]).split(" "))}
ends = {word: [word.endswith(end) for end in data["endings"]].index(True) for word in heard}
read = np.array([number.get(word, len(number) + ends[word]) for word in heard], np.int32)
labels = undertow.load(undertow.example("text_marks")).run(read)
capital, mark = (labels[:, 0] > 0).astype(int), labels[:, 1:].argmax(1)
usual = dict(zip(str(data["words"]).split(" "), data["usual"], strict=True))
usual_capital, usual_mark = np.array([usual.get(word, (0, 0)) for word in heard]).T


def f1(said, truth):
    """2 hits / (said + true): a hit is one that is found, and of the right kind."""
    return 2 * np.sum((said == truth) & (truth > 0)) / (np.sum(said > 0) + np.sum(truth > 0))


def spelled(capital, mark):
    pairs = zip(heard, capital, mark, strict=True)
    return " ".join((w[0].upper() + w[1:] if up else w) + marks[m] for w, up, m in pairs)


print("\nThe tagger reads words as one hears them:")
show(" ".join(heard[:70]))
print("and puts capitals and marks back:")
show(" ".join(spelled(capital, mark).split()[:70]))
pairs = {"capitals": (capital, usual_capital), "marks": (mark, usual_mark)}
right = {}
print("\nThe score (F1) is 1 if all are found and no others, and 0 if none:")
for what, both in pairs.items():
    ours, dictionary = right[what] = [f1(said, data[f"heard_{what}"]) for said in both]
    print(f"  {what:8}  {ours:.2f}, with a dictionary {dictionary:.2f}")

# %%
# The state, seen
# ---------------
# A page of the passage, on the colours of the cell that knows of sentences. Below, hidden
# units over its first line: some stay for words, some change with every letter.
import matplotlib.pyplot as plt

plt.rcParams["figure.constrained_layout.use"] = True
first, width, height = passage.index("\u201c", half) - 30, 92, 12
figure, (top, bottom) = plt.subplots(2, figsize=(13, 8))
page, line = slice(first, first + width * height), slice(first, first + width)
letters = passage[page].replace("\n", "\u00b6")
font = {"family": "monospace", "fontsize": 9}
shades = state[page, best].reshape(height, width)  # of the last question
top.imshow(shades, cmap="Purples", aspect="auto", alpha=0.7)
for i, c in enumerate(letters):
    top.text(i % width, i // width, c, ha="center", va="center", **font)
top.set(title="A cell: light where a sentence begins, then darker", xticks=[], yticks=[])
moving = np.flatnonzero(hidden[line].std(0) > 0.2)
pace = np.abs(np.diff(hidden[:, moving], axis=0)).mean(0) / hidden[:, moving].std(0)
some = moving[np.argsort(pace)[np.linspace(0, len(moving) - 1, 24).astype(int)]]
bottom.imshow(hidden[line, some].T, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
bottom.set_xticks(range(width), letters[:width], **font)
bottom.set(title="24 hidden units over the first line, from slow to fast", yticks=[])
plt.show()
