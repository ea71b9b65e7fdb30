# SPDX-License-Identifier: MIT
"""Train the two networks of the example "spotlight" and write the files beside this one. Needs torch.

    python train_spotlight.py [--folder FOLDER] [--steps N]

The task is made here: a cloakroom. At every step a visitor (one of 12) either hangs a coat on a hook (one of 8), or
comes back and asks where it is; who comes a second time with a coat has a new hook. Both networks read this with a GRU
of the same size. "spotlight" answers from all states of the past, which it weighs by attention; "spotlight_alone" from
the last state, as recurrent networks do. Seeded; some minutes on one core. Versions and results stand in README.md.
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import numpy as np
import torch

import undertow
from undertow import _files

SEED = 7
VISITORS, HOOKS = 12, 8
HIDDEN, WIDTH = 32, 16
STEPS = 30  # of an evening
BATCH = 64


def evenings(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Made-up evenings: frames (n, STEPS, 21), visitor, hook, "I ask"; answers (n, STEPS), -1 where nobody asks."""
    frames = np.zeros((n, STEPS, VISITORS + HOOKS + 1), np.float32)
    answers = np.full((n, STEPS), -1, np.int64)
    for i in range(n):
        hooks: dict[int, int] = {}
        for t in range(STEPS):
            if hooks and rng.random() < 0.5:
                visitor = int(rng.choice(list(hooks)))
                frames[i, t, -1] = 1
                answers[i, t] = hooks[visitor]
            else:
                visitor = int(rng.integers(VISITORS))
                hooks[visitor] = int(rng.integers(HOOKS))
                frames[i, t, VISITORS + hooks[visitor]] = 1
            frames[i, t, visitor] = 1
    return frames, answers


class Cloakroom(torch.nn.Module):
    def __init__(self, spotlight: bool) -> None:
        super().__init__()
        self.memory = torch.nn.GRU(VISITORS + HOOKS + 1, HIDDEN, batch_first=True)
        self.answer = torch.nn.Linear(HIDDEN, HOOKS)
        if spotlight:
            self.query = torch.nn.Linear(HIDDEN, WIDTH, bias=False)
            self.key = torch.nn.Linear(HIDDEN, WIDTH, bias=False)
        self.spotlight = spotlight

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """frames: (N, T, 21) -> scores of the hooks (N, T, 8)."""
        h, _ = self.memory(frames)
        if self.spotlight:
            scores = self.query(h) @ self.key(h).transpose(1, 2) / WIDTH**0.5
            future = torch.ones(h.shape[1], h.shape[1], dtype=torch.bool).triu(1)
            h = scores.masked_fill(future, -torch.inf).softmax(-1) @ h
        return self.answer(h)


def train(spotlight: bool, n_steps: int) -> Cloakroom:
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    net = Cloakroom(spotlight)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=n_steps)
    for step in range(n_steps):
        frames, answers = map(torch.from_numpy, evenings(BATCH, rng))
        loss = torch.nn.functional.cross_entropy(net(frames).flatten(0, 1), answers.flatten(), ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 250 == 249:
            print(f"  step {step + 1}  loss {loss.item():.3f}", flush=True)
    return net.eval()


def right(net: Cloakroom, frames: np.ndarray, answers: np.ndarray) -> float:
    with torch.no_grad():
        said = net(torch.from_numpy(frames)).argmax(-1).numpy()
    return float((said == answers)[answers >= 0].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the networks of the example spotlight.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where the models are written")
    parser.add_argument("--steps", type=int, default=2500, help="of training, for each")
    args = parser.parse_args()
    torch.set_num_threads(1)

    print(f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}", flush=True)
    frames, answers = evenings(400, np.random.default_rng(SEED + 1))
    for name, spotlight in (("spotlight", True), ("spotlight_alone", False)):
        net = train(spotlight, args.steps)
        w = {key: tensor.numpy() for key, tensor in net.state_dict().items()}
        layers = [undertow.GRU.from_torch(w, "memory", name="memory")]
        if not spotlight:
            layers.append(undertow.Dense.from_torch(w, "answer"))
        undertow.Sequential(layers, name=name).with_weights("float16").save(args.folder / f"{name}.tow")
        if spotlight:
            weights = {key.replace(".weight", "").replace(".", "_"): array for key, array in w.items() if
                       not key.startswith("memory")}  # fmt: skip
            with _files.opened(args.folder / "spotlight.npz") as file:
                np.savez_compressed(file, **weights)
        print(
            f"{name}: {right(net, frames, answers):.1%} of the answers right, on evenings it has not seen", flush=True
        )


if __name__ == "__main__":
    main()
