# SPDX-License-Identifier: MIT
r"""The spotlight: attention over everything that was remembered
============================================================

However slowly a memory fades (see the first lesson), a hidden state has the same few numbers
after a thousand steps as after one. *Attention* keeps the states of all steps instead, and
weighs them: the present state asks a question, every past state has a key, and where the two
match falls the light, a softmax over the past.

The price is that memory grows with time, which a stream of constant size rules out. So
undertow has no attention over all of a stream's past; it runs the recurrent part, here a
trained GRU of 32 units, and this script keeps its states and moves the light over them with
NumPy.
"""

import numpy as np

import undertow

# %%
# A cloakroom
# -----------
# Twelve visitors, A to L, hang coats on eight hooks, or ask where theirs is. Who comes a
# second time has a new hook, and only the last one counts. A frame has a 1 for the visitor, a
# 1 for the hook, and a 1 if it is a question.
n_visitors, n_hooks, n_steps = 12, 8, 30


def evening(rng):
    """Frames (visitor, hook, asks); of each question, where the coat is: (step, hook)."""
    frames = np.zeros((n_steps, n_visitors + n_hooks + 1), np.float32)
    truth, coats = [], dict[int, tuple[int, int]]()
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
# At every step the stream gives its new state, which joins those of the past. The light is
# the softmax of how well the question of the new state matches the keys of all; the answer is
# read from the states in that light. ``query``, ``key`` and ``answer`` were trained together
# with the GRU.
names = "query", "key", "answer", "answer_bias"
with np.load(undertow.example("spotlight").with_suffix(".npz")) as file:
    query, key, answer, bias = (file[name] for name in names)


def look_back(stream, frames):
    """The light on the past at every step (T, T), and the hooks that are named."""
    light, hooks = np.zeros((len(frames), len(frames))), list[int]()
    past = np.empty((0, key.shape[1]))
    for t, frame in enumerate(frames):
        past = np.vstack([past, stream.step(frame)])
        match = past @ key.T @ (query @ past[-1]) / np.sqrt(len(key))
        light[t, : t + 1] = np.exp(match - match.max()) / np.exp(match - match.max()).sum()
        hooks.append(int(np.argmax(answer @ (light[t, : t + 1] @ past) + bias)))
    return light, hooks


# %%
# Does it help?
# -------------
# A second GRU of the same size was trained on as many evenings, and answers from its last
# state alone: all coats must fit into 32 numbers.
spotlight = undertow.load(undertow.example("spotlight"))
alone = undertow.load(undertow.example("spotlight_alone"))
rng, right = np.random.default_rng(1), []
for _ in range(150):
    frames, truth = evening(rng)
    light, hooks = look_back(spotlight.stream(), frames)
    others = alone.run(frames).argmax(1)
    for t, at in enumerate(truth):
        if at:
            right.append((hooks[t] == at[1], others[t] == at[1], light[t, at[0]]))
with_light, without, on_the_coat = np.mean(right, axis=0)
print("Twelve visitors, A to L, hang coats on eight hooks, and ask where theirs is.")
print(f"Of {len(right):,} questions in 150 evenings are answered with the right hook")
print(f"  {with_light:6.1%}  with the spotlight, which sees the states of all past steps")
print(f"  {without:6.1%}  from the last hidden state alone, 32 numbers for all the coats")
print("   12.5%  by chance")
print(f"{on_the_coat:.0%} of the light falls on the step at which the coat was hung.")

# %%
# One evening
# -----------
# The first questions of an evening, the step on which most of the light falls then, and the
# hook that is read there.
frames, truth = evening(np.random.default_rng(6))
light, hooks = look_back(spotlight.stream(), frames)
asked = [t for t in range(n_steps) if truth[t]]
who = ["ABCDEFGHIJKL"[frame[:n_visitors].argmax()] for frame in frames]
hung = 1 + frames[:, n_visitors:-1].argmax(1)
what = [f"{who[t]}?" if truth[t] else f"{who[t]}->{hung[t]}" for t in range(n_steps)]
print("\nOne evening. J->3: J hangs a coat on hook 3. J?: J asks for it.")
for t in asked[:8]:
    step = light[t].argmax()
    seen = f"{light[t, step]:4.0%} of the light on step {step:2}, {what[step]}"
    print(f"  step {t:2}  {what[t]}  {seen}: it says hook {hooks[t] + 1}")
print("At step 13 J hangs up another coat, on hook 1: J's light moves to that step.")

# %%
# The light, seen
# ---------------
# The evening from left to right. Every row is a question, and its colours say how much light
# falls on each step of the past; a ring marks where the coat that is asked for was hung.
import matplotlib.pyplot as plt

plt.rcParams["figure.constrained_layout.use"] = True
figure, axes = plt.subplots(figsize=(11, 5.2))
image = axes.imshow(light[asked], cmap="magma", vmin=0, vmax=1, aspect="auto")
where = [truth[t][0] for t in asked]
axes.scatter(where, range(len(asked)), s=200, facecolors="none", edgecolors="#5ec8f2", lw=2)
for row, t in enumerate(asked):
    bottom, top = 1 - (row + 1) / len(asked), 1 - row / len(asked)
    axes.axvspan(t + 0.5, n_steps, bottom, top, color="#e8e8e8")
axes.set_xticks(range(n_steps), [at.replace("->", "\u2192") for at in what], fontsize=8)
axes.set_yticks(range(len(asked)), [f"{who[t]}?  says {hooks[t] + 1}" for t in asked])
axes.set_xlabel("steps: who hangs a coat on which hook, and who asks")
axes.set_xlim(-0.5, n_steps - 0.5)
axes.set_title("Where the light falls when somebody asks for a coat")
figure.colorbar(image, label="light", pad=0.01)
plt.show()
