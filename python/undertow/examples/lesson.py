# SPDX-License-Identifier: MIT
r"""The first lesson: what a recurrent network remembers
====================================================

A recurrent network reads a sequence one step at a time. What it has read is gone, but for a few numbers that it
carries from step to step: its *hidden state*, written :math:`h`. This lesson builds the smallest such networks by hand
and looks at their states: a memory that adds, one with limits, one that squashes, one with doors, and how each of them
forgets. It goes on with the spotlight of attention, in the example of that name.
"""

import numpy as np

import undertow

# %%
# A memory that adds
# ------------------
#
# One number :math:`x` comes in at every step and one is remembered: :math:`h \leftarrow h + x`. That is a recurrent
# layer of one unit, whose weights ``W`` of the input and ``R`` of the old state are both 1, without an activation. A
# *stream* of the model holds the state; ``step`` takes one input, changes the state, and gives what comes out: here,
# :math:`h` itself.

adder = undertow.Sequential([undertow.RNN(W=[[1.0]], R=[[1.0]], activation="identity")]).stream()
sums = [adder.step(np.array([x], np.float32)).item() for x in (1, 2, 3, 4)]
print("adds:    1, 2, 3, 4 come in, it remembers", sums)

# %%
# A memory with limits
# --------------------
#
# Sums grow without end. This memory keeps half of what it held and is clamped to :math:`\pm 2`:
# :math:`h \leftarrow \mathrm{clip}(0.5\,h + x, -2, 2)`. From 0.8 it would go to 0.4 + 1.8 = 2.2, and stops at 2. At the
# limit it cannot tell any more by how much it was exceeded: what is clamped is lost.

clamp = undertow.RNN(W=[[1.0]], R=[[0.5]], activation=undertow.Activation("clip", -2, 2))
clamped = undertow.Sequential([clamp]).run(np.array([[0.8], [1.8], [1.2]], np.float32))[:, 0]
print("clamps:  0.8, 1.8, 1.2 come in, it remembers", ", ".join(f"{h:.2f}" for h in clamped))

# %%
# A memory that squashes
# ----------------------
#
# The usual limit is softer: :math:`h \leftarrow \tanh(W x + R h)` is close to the sum while that is small, and bends
# towards :math:`\pm 1`. The first step, from an empty state, is the hyperbolic tangent of the input alone.

squashed = undertow.Sequential([undertow.RNN(W=[[1.0]], R=[[1.0]])]).run(np.full((3, 1), 0.5, np.float32))[:, 0]
print("squashes: 0.5, 0.5, 0.5 come in, it remembers", ", ".join(f"{h:.4f}" for h in squashed))

# %%
# A memory with doors
# -------------------
#
# An LSTM has a cell :math:`c` and three *gates*, numbers between 0 (shut) and 1 (open) that it works out anew at every
# step: the input gate lets a new value in, the forget gate lets the old one stay, the output gate shows it. In
# symbols, :math:`c \leftarrow f c + i \tanh(x)` and :math:`h = o \tanh(c)`. Usually training finds when to open them.
# Here, three inputs beside the value are commands, and large weights let each move one door.

W = np.array([[0, 12, 0, 0], [0, 0, -12, 0], [1, 0, 0, 0], [0, 0, 0, 12]])  # rows: i, f, g (the new value), o
b = np.array([-6, 6, 0, -6])
orders = ["pass", "write", "pass", "pass", "read", "pass", "erase", "read", "write", "pass", "read", "pass"]
values = [0.5, 0.9, -0.7, 0.3, 0.0, -0.4, 0.0, 0.0, -0.8, 0.6, 0.0, 0.2]
X = np.array([[v, o == "write", o == "erase", o == "read"] for v, o in zip(values, orders, strict=True)], np.float32)

lstm = undertow.Sequential([undertow.LSTM(W, np.zeros((4, 1)), b, name="lstm")])
trace = lstm.stream().trace(X)  # the state after every step
cell, shown = trace["lstm.c"][:, 0], trace["lstm.h"][:, 0]
gates = 1 / (1 + np.exp(-(X @ W.T + b)))[:, [0, 1, 3]]  # by the LSTM's own formula: a stream shows states, not gates
for order, value, (i, f, o), c, h in zip(orders, values, gates, cell, shown, strict=True):
    print(f"  {order:5} {value:4.1f}   in {i:.2f}  stay {f:.2f}  out {o:.2f}   cell {c:5.2f}  shows {h:5.2f}")

# %%
# How memories fade
# -----------------
#
# A 1 comes in once, and zeros follow. In the simple network every step multiplies what is left by ``R``, and tanh takes
# a little more from what is large. So it is gone after a few dozen steps, and so is what training could learn from it,
# for gradients shrink by the same factors on their way back: the *vanishing gradient*. Gates that are almost open let a
# memory fade slowly: of an LSTM's cell, 0.993 at every step leaves half after a hundred, and what it shows is the tanh
# of that.

keeps = {
    "RNN, R = 0.5": undertow.RNN([[1.0]], [[0.5]]),
    "RNN, R = 0.9": undertow.RNN([[1.0]], [[0.9]]),
    "GRU, gate 0.982": undertow.GRU([[-8.0], [0], [2]], np.zeros((3, 1)), [4.0, 0, 0], reset_after=True),
    "LSTM, gate 0.993": undertow.LSTM([[12.0], [0], [1], [0]], np.zeros((4, 1)), [-6.0, 5, 0, 6]),
}
impulse = np.zeros((101, 1), np.float32)
impulse[0] = 1
left = {}
for name, layer in keeps.items():
    h = undertow.Sequential([layer]).run(impulse)[:, 0]
    left[name] = h / h[0]
    print(f"{name:17}", "  ".join(f"after {t:3}: {left[name][t]:8.2g}" for t in (1, 10, 50, 100)))

# %%
# The doors, seen
# ---------------
#
# Each column is a step of the table above. The cell keeps its value, however loud it is outside, until a door opens.

import matplotlib.pyplot as plt

plt.rcParams.update({"figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False})
steps = np.arange(len(orders))
figure, (top, middle, bottom) = plt.subplots(3, figsize=(9, 6), sharex=True, height_ratios=(2, 1.6, 2))
top.bar(steps, values, width=0.85, color=["#d9622b" if order == "write" else "#d0d0d0" for order in orders])
top.set(ylabel="comes in", title="An LSTM writes down what it is told to, and keeps it")
middle.imshow(gates.T, cmap="YlGn", vmin=0, vmax=1, aspect="auto")
middle.set_yticks(range(3), ["in", "stay", "out"])
for (step, gate), opening in np.ndenumerate(gates):
    middle.text(step, gate, "open" if opening > 0.5 else "shut", ha="center", va="center", fontsize=8,
                color="white" if opening > 0.5 else "#888888")  # fmt: skip
bottom.bar(steps, cell, width=0.85, color="#9db8d9", label="the cell c")
bottom.bar(steps, shown, width=0.4, color="#1f4e8c", label="what it shows, h")
bottom.set_xticks(steps, orders)
bottom.set(ylabel="remembers", ylim=(-1, 1))
bottom.legend(frameon=False, ncols=2)

# %%
# Fading, seen
# ------------
#
# On a logarithmic axis a memory that loses the same part at every step is a straight line; tanh bends its beginning.

figure, axes = plt.subplots(figsize=(9, 4))
for (name, h), color in zip(left.items(), ("#bdbdbd", "#737373", "#d9622b", "#1f4e8c"), strict=True):
    axes.semilogy(h, color=color, linewidth=2.5)
    last = np.flatnonzero(h > 1e-3)[-1]
    axes.annotate(name, (last, h[last]), (6, 0), textcoords="offset points", color=color, va="center", weight="bold")
axes.set(xlabel="steps since the 1 came in", ylabel="what is left of it", ylim=(1e-4, 1.5), xlim=(0, 128))
axes.set_title("What is left of a 1, step by step")
axes.grid(alpha=0.3)
plt.show()
