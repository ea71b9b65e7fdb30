# SPDX-License-Identifier: MIT
"""Handwritten digits, read row by row
===================================

A small network (a GRU of 48 units) reads a picture of a handwritten digit, eight rows of
eight pixels, as a sequence: one row at a time, from the top. After every row it says how
likely each of the ten digits is. So one can watch it make up its mind, and see what a state
is for: the network never sees more than one row, all others it has to remember.

The pictures, 60 of them, were kept from its training. ``undertow demo`` shows more of them.
"""

import numpy as np

import undertow

model = undertow.load(undertow.example("digits"))
with np.load(undertow.example("digits").with_suffix(".npz")) as file:
    images, labels = file["images"], file["labels"]  # (60, 8, 8), 0 to 16
frames = images / np.float32(16)

# %%
# One digit
# ---------
# A frame is a row, and a *stream* keeps the hidden state from one row to the next.
one = 24  # of the sixty
stream, beliefs = model.stream(), np.empty((8, 10), np.float32)
print("A network reads a digit row by row, and says after each which digit it may be.")
print("  the row            the three likeliest digits")
for t, row in enumerate(frames[one]):
    beliefs[t] = stream.step(row)
    drawn = "".join(2 * " .:+#"[round(4 * pixel)] for pixel in row.tolist())
    best = np.argsort(-beliefs[t])[:3]
    likely = (f"{digit}: {beliefs[t, digit]:4.0%}" for digit in best)
    print(f"  {drawn}  ", "   ".join(likely))
print(f"It says {beliefs[-1].argmax()}, and the digit is {labels[one]}.")

# %%
# When does it know, and what for is the state?
# ---------------------------------------------
# ``run`` takes whole sequences, here all pictures as a batch of 60, and gives what a stream
# gives step by step. For comparison the stream is reset before every row: it forgets what it
# has read, and has to guess from one row alone.
answers = model.run(frames).argmax(-1)  # (60, 8), after each row
forgetful = np.empty_like(answers)
for i, t in np.ndindex(answers.shape):
    stream.reset()
    forgetful[i, t] = stream.step(frames[i, t]).argmax()
right = np.mean(answers == labels[:, None], axis=0)
right_of_one_row = np.mean(forgetful == labels[:, None], axis=0)
print(f"\nOf {len(labels)} digits that it has not learned from, it is right about")
print("  after row         ", "".join(f"{t:6}" for t in range(1, 9)))
print("  with its memory   ", "".join(f"{part:6.0%}" for part in right))
print("  reset at every row", "".join(f"{part:6.0%}" for part in right_of_one_row))
print("A row alone says little: what it knows of the others is in its hidden state.")

# %%
# The mind made up, seen
# ----------------------
# Left the digit, and what is believed after each of its rows; right how often that is right.
import matplotlib.pyplot as plt

plt.rcParams["figure.constrained_layout.use"] = True
figure, axes = plt.subplots(1, 3, figsize=(11, 4), width_ratios=(4, 5, 6))
axes[0].imshow(images[one], cmap="gray_r", aspect="auto")
axes[0].set(title="eight rows of pixels", xticks=[], ylabel="row")
axes[0].set_yticks(range(8), range(1, 9))
image = axes[1].imshow(beliefs, cmap="YlGnBu", vmin=0, vmax=1, aspect="auto")
axes[1].set(title="what it believes after each", xlabel="digit", yticks=[])
axes[1].set_xticks(range(10))
figure.colorbar(image, ax=axes[1], label="how likely")
axes[2].plot(range(1, 9), right, "o-", label="with its memory")
axes[2].plot(range(1, 9), right_of_one_row, "s--", label="reset at every row")
axes[2].axhline(0.1, color="0.6", lw=0.8)
axes[2].text(8, 0.09, "chance", ha="right", va="top", color="0.4")
axes[2].set(title="part of 60 digits that is right", xlabel="rows seen", ylim=(0, 1.02))
axes[2].legend(loc="center right")
plt.show()
