# SPDX-License-Identifier: MIT
r"""The first lesson: what a recurrent network remembers
====================================================

A recurrent network reads a sequence one step at a time. What it has read is gone, but for a
few numbers that it carries from step to step: its *hidden state*, written :math:`h`. Here the
smallest such networks are built by hand: a memory that adds, one with limits, one that
squashes, one with doors, and how each forgets. The example "spotlight" goes on from there.
"""

import numpy as np

import undertow


def show(name, numbers, form="7.2f"):
    print(f"  {name:10}", "".join(f"{number:{form}}" for number in numbers))


# %%
# A memory that adds
# ------------------
# One number :math:`x` comes in at every step and one is remembered:
# :math:`h \leftarrow h + x`. That is a recurrent layer of one unit, whose weights ``W`` of
# the input and ``R`` of the old state are both 1, without an activation. A *stream* of the
# model holds the state; ``step`` takes one input, changes the state, and gives what comes
# out: here, :math:`h` itself.
adds = undertow.RNN(W=[[1.0]], R=[[1.0]], activation="identity")
stream = undertow.Sequential([adds]).stream()
sums = [stream.step(np.array([x], np.float32)).item() for x in (1, 2, 3, 4)]
print("1. A memory that adds. At every step, from left to right: h becomes h + x.")
show("x comes in", (1, 2, 3, 4))
show("h is then", sums)

# %%
# A memory with limits
# --------------------
# Sums grow without end. This memory keeps half of what it held and is clamped to
# :math:`\pm 2`: :math:`h \leftarrow \mathrm{clip}(0.5\,h + x, -2, 2)`. From 0.8 it would go
# to 0.4 + 1.8 = 2.2, and stops at 2. By how much a limit was exceeded, it cannot tell: what
# is clamped is lost.
clamps = undertow.RNN(W=[[1.0]], R=[[0.5]], activation=undertow.Activation("clip", -2, 2))
come_in = np.array([[0.8], [1.8], [1.2]], np.float32)
clamped = undertow.Sequential([clamps]).run(come_in)[:, 0]
print("\n2. A memory with limits: h becomes 0.5 h + x, but never more than 2.")
show("x comes in", (0.8, 1.8, 1.2))
show("h is then", clamped)
print("  0.4 + 1.8 would be 2.2, 1.0 + 1.2 as well: both times it stops at the limit.")

# %%
# A memory that squashes
# ----------------------
# The usual limit is softer: :math:`h \leftarrow \tanh(W x + R h)` is close to the sum while
# that is small, and bends towards :math:`\pm 1`.
squashes = undertow.RNN(W=[[1.0]], R=[[1.0]])
squashed = undertow.Sequential([squashes]).run(np.full((3, 1), 0.5, np.float32))[:, 0]
print("\n3. A memory that squashes: h becomes tanh(h + x), always between -1 and 1.")
show("x comes in", [0.5] * 3, "8.4f")
show("h is then", squashed, "8.4f")
print("  tanh(0.5) = 0.4621 is near 0.5; tanh(0.5 + 0.4621) = 0.7452, far from 0.9621.")

# %%
# A memory with doors
# -------------------
# An LSTM has a cell :math:`c` and three *gates*, numbers between 0 (shut) and 1 (open) that
# it works out anew at every step: the input gate lets a new value in, the forget gate lets
# the old one stay, the output gate shows it: :math:`c \leftarrow f c + i \tanh(x)`,
# :math:`h = o \tanh(c)`. Usually training finds when to open them. Here, three inputs beside
# the value are commands, and large weights let each move one door.
W = [[0, 24, 0, 0], [0, 0, -24, 0], [1, 0, 0, 0], [0, 0, 0, 24]]  # i, f, the new value, o
b = np.array([-12, 12, 0, -12])
orders = ["pass", "write", "pass", "pass", "read", "pass"]
orders += ["erase", "read", "write", "pass", "read", "pass"]
values = [0.5, 0.9, -0.7, 0.3, 0.0, -0.4, 0.0, 0.0, -0.8, 0.6, 0.0, 0.2]
commands = [[order == door for door in ("write", "erase", "read")] for order in orders]
X = np.column_stack([values, commands]).astype(np.float32)
lstm = undertow.Sequential([undertow.LSTM(W, np.zeros((4, 1)), b, name="lstm")])
trace = lstm.stream().trace(X)  # the state after every step
cell, shown = trace["lstm.c"][:, 0], trace["lstm.h"][:, 0]
# by the LSTM's own formula: a stream shows states, not gates
gates = 1 / (1 + np.exp(-(X @ np.transpose(W) + b)))[:, [0, 1, 3]]
print("\n4. A memory with doors: an LSTM, told to write, read or erase. A row is a step.")
print("  told to  value    doors: in   stay  out    cell c    shows h")
for order, x, (i, f, o), c, h in zip(orders, values, gates, cell, shown, strict=True):
    doors = "  ".join("open" if gate > 0.5 else "shut" for gate in (i, f, o))
    print(f"  {order:7} {x:6.1f}    {doors:>21} {c:9.3f} {round(h, 2) + 0:9.2f}")
print("  What is written, tanh(0.9) = 0.716, stays in c whatever comes in, until it")
print("  is erased; h shows it, as tanh(c), only when told to read.")

# %%
# How memories fade
# -----------------
# A small number comes in once, and zeros follow. tanh leaves small numbers as they are, so
# every step of the simple network multiplies by ``R``. Gradients shrink by the same factors
# on their way back, and nothing can be learnt from long ago: the *vanishing gradient*. A gate
# that is almost open lets a memory fade slowly: 0.993 leaves half after a hundred.
zeros = np.zeros((4, 1))
stay = np.log([0.98 / 0.02, 0.993 / 0.007])  # what a gate's sigmoid turns into 0.98 and 0.993
gru = undertow.GRU([[-800], [0], [1]], zeros[:3], [stay[0], 0, 0], reset_after=True)
keeps: dict[str, undertow.Layer] = {
    "RNN, R = 0.5": undertow.RNN([[1.0]], [[0.5]]),
    "RNN, R = 0.9": undertow.RNN([[1.0]], [[0.9]]),
    "GRU, gate 0.98": gru,
    "LSTM, gate 0.993": undertow.LSTM([[1200], [0], [1], [0]], zeros, [-6, stay[1], 0, 6]),
}
impulse = 0.01 * np.eye(101, 1, dtype=np.float32)
left = {}
print("\n5. How memories fade: 0.01 comes in once, then zeros. The part that is left:")
print("  after steps         " + "".join(f"{t:10}" for t in (1, 10, 50, 100)))
for name, layer in keeps.items():
    h = undertow.Sequential([layer]).run(impulse)[:, 0]
    left[name] = h / h[0]
    print(f"  {name:18}", "".join(f"{left[name][t]:#10.2g}" for t in (1, 10, 50, 100)))
print("  It is the factor to the power of the steps: 0.9^10 = 0.35, 0.993^100 = 0.50.")

# %%
# The doors, seen
# ---------------
# Each column is a step of the table above.
import matplotlib.pyplot as plt

plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
plt.rcParams["figure.constrained_layout.use"] = True
steps = range(len(orders))
figure, (top, middle, bottom) = plt.subplots(3, figsize=(9, 6), sharex=True)
top.bar(steps, values, color=["C1" if order == "write" else "0.8" for order in orders])
top.set(ylabel="comes in", title="An LSTM writes down what it is told to, and keeps it")
middle.imshow(gates.T, cmap="YlGn", vmin=0, vmax=1, aspect="auto")
middle.set_yticks(range(3), ["in", "stay", "out"])
for (step, gate), opening in np.ndenumerate(gates):
    word, color = ("open", "white") if opening > 0.5 else ("shut", "#888888")
    middle.text(step, gate, word, ha="center", va="center", fontsize=8, color=color)
bottom.bar(steps, cell, color="#9db8d9", label="the cell c")
bottom.bar(steps, shown, width=0.4, color="#1f4e8c", label="what it shows, h")
bottom.set_xticks(steps, orders)
bottom.set(ylabel="remembers", ylim=(-1, 1))
bottom.legend(frameon=False, ncols=2)
plt.show()

# %%
# Fading, seen
# ------------
# On a logarithmic axis, what loses the same part at every step is a straight line.
figure, axes = plt.subplots(figsize=(9, 4))
for (name, h), color in zip(left.items(), ("0.65", "0.4", "C1", "C0"), strict=True):
    axes.semilogy(h, color=color, linewidth=2.5)
    last = np.flatnonzero(h > 1e-3)[-1]
    axes.text(last + 1, h[last], name, color=color, weight="bold", va="bottom")
axes.set(xlabel="steps since it came in", ylabel="part that is left", ylim=(1e-4, 1.5))
axes.set(title="What is left of a number that came in once", xlim=(0, 130))
axes.grid(alpha=0.3)
plt.show()
