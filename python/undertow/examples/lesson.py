# SPDX-License-Identifier: MIT
r"""The first lesson: what a recurrent network remembers
====================================================

A recurrent network reads a sequence one piece at a time. What it has read is gone, but for a few numbers that it
carries from step to step: its *hidden state*, written :math:`h`. This lesson builds the smallest networks that there
are, by hand, and looks at their state: a memory that adds, one that has limits, one with doors, one that fades.
"""

import numpy as np

import undertow

# %%
# A memory that adds
# ------------------
#
# One number comes in at every step, and one is remembered: :math:`h \leftarrow h + x`. In the terms of the field this
# is a recurrent layer with one unit, the input weight ``W`` = 1, the recurrent weight ``R`` = 1, and no activation.

total = undertow.Sequential([undertow.RNN(W=[[1.0]], R=[[1.0]], activation="identity")])
stream = total.stream()
sums = [stream.step(np.array([x], np.float32)).item() for x in (1, 2, 3, 4)]
print("1, 2, 3, 4 come in; the memory holds", *sums)

# %%
# Pictures

import matplotlib.pyplot as plt

plt.plot(sums)
plt.show()
