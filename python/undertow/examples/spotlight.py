# SPDX-License-Identifier: MIT
r"""The spotlight: attention over everything that was remembered
============================================================

However slowly a memory fades (see the first lesson), a hidden state has the same few numbers after a thousand steps as
after one. *Attention* keeps the states of all steps instead, and weighs them: the present state asks a question, every
past state has a key, and where the two match falls the light, a softmax over the past.

The price is that memory grows with time, which a stream of constant size rules out. So undertow has no attention over
all of a stream's past; it runs the recurrent part, here a trained GRU of 32 units, and this script keeps its states and
moves the light over them with NumPy.
"""

import numpy as np

import undertow

# %%
# A cloakroom
# -----------
#
# Twelve visitors, A to L, hang coats on eight hooks, or ask where theirs is. Who comes a second time has a new hook,
# and only the last one counts. A frame has a 1 for the visitor, a 1 for the hook, and a 1 if it is a question.

n_visitors, n_hooks, n_steps = 12, 8, 30


def evening(rng):
    """Frames (visitor, hook, asks), and for each step where the coat of the one who asks is: (step, hook), or None."""
    frames, truth, coats = np.zeros((n_steps, n_visitors + n_hooks + 1), np.float32), [], dict[int, tuple[int, int]]()
    for t in range(n_steps):
        asks = bool(coats) and rng.random() < 0.5
        visitor = rng.choice(list(coats)) if asks else rng.integers(n_visitors)
        if not asks:
            coats[visitor] = (t, rng.integers(n_hooks))
            frames[t, n_visitors + coats[visitor][1]] = 1
        frames[t, visitor], frames[t, -1] = 1, asks
        truth.append(coats[visitor] if asks else None)
    return frames, truth


# %%
# Moving the light
# ----------------
#
# At every step the stream gives its new state, which joins those of the past. The light is the softmax of how well the
# question of the new state matches the keys of all; the answer is read from the states in that light. ``query``,
# ``key`` and ``answer`` were trained together with the GRU.

with np.load(undertow.example("spotlight").with_suffix(".npz")) as file:
    query, key, answer, bias = (file[name] for name in ("query", "key", "answer", "answer_bias"))


def look_back(stream, frames):
    """The light on the past at every step (T, T), and the hooks that are named."""
    light, hooks, past = np.zeros((len(frames), len(frames))), [], np.empty((0, key.shape[1]))
    for t, frame in enumerate(frames):
        past = np.vstack([past, stream.step(frame)])
        match = past @ key.T @ (query @ past[-1]) / np.sqrt(len(key))
        light[t, : t + 1] = np.exp(match - match.max()) / np.exp(match - match.max()).sum()
        hooks.append(int(np.argmax(answer @ (light[t, : t + 1] @ past) + bias)))
    return light, hooks


# %%
# Does it help?
# -------------
#
# A second GRU of the same size was trained on as many evenings, and answers from its last state alone: all coats must
# fit into 32 numbers.

spotlight, alone = (undertow.load(undertow.example(name)) for name in ("spotlight", "spotlight_alone"))
rng, right = np.random.default_rng(1), []
for _ in range(150):
    frames, truth = evening(rng)
    light, hooks = look_back(spotlight.stream(), frames)
    others = alone.run(frames).argmax(1)
    right += [(hooks[t] == at[1], others[t] == at[1], light[t, at[0]]) for t, at in enumerate(truth) if at]
with_light, without, on_the_coat = np.mean(right, axis=0)
print(f"the right hook: {with_light:.1%} with the spotlight, {without:.1%} from the last state alone, 12.5% by chance")
print(f"of the light, {on_the_coat:.0%} falls on the step at which the coat was hung")

# %%
# One evening
# -----------
#
# The first questions of an evening, the step on which most of the light falls then, and the hook that is read there.

frames, truth = evening(np.random.default_rng(6))
light, hooks = look_back(spotlight.stream(), frames)
asked = [t for t in range(n_steps) if truth[t]]
who = ["ABCDEFGHIJKL"[frame[:n_visitors].argmax()] for frame in frames]
what = [f"{who[t]}?" if truth[t] else f"{who[t]}\u2192{frames[t, n_visitors:-1].argmax() + 1}" for t in range(n_steps)]
print()
for t in asked[:8]:
    step = light[t].argmax()
    print(
        f"step {t:2}  {what[t]}  {light[t, step]:4.0%} of the light on step {step:2}, {what[step]}: says {hooks[t] + 1}"
    )

# %%
# The light, seen
# ---------------
#
# The evening from left to right. Every row is a question, and its colours say how much light falls on each step of the
# past; a ring marks where the coat that is asked for was hung.

import matplotlib.pyplot as plt

plt.rcParams["figure.constrained_layout.use"] = True
figure, axes = plt.subplots(figsize=(11, 5.2))
image = axes.imshow(light[asked], cmap="magma", vmin=0, vmax=1, aspect="auto")
for row, t in enumerate(asked):
    axes.plot(
        truth[t][0], row, "o", markersize=15, markerfacecolor="none", markeredgecolor="#5ec8f2", markeredgewidth=2
    )
    axes.axvspan(t + 0.5, n_steps, 1 - (row + 1) / len(asked), 1 - row / len(asked), color="#e8e8e8")
axes.set_xticks(range(n_steps), what, fontsize=8)
axes.set_yticks(range(len(asked)), [f"{who[t]}?  says {hooks[t] + 1}" for t in asked])
axes.set(xlim=(-0.5, n_steps - 0.5), xlabel="steps: who hangs a coat on which hook, and who asks")
axes.set_title("Where the light falls when somebody asks for a coat")
figure.colorbar(image, label="light", pad=0.01)
plt.show()
