# SPDX-License-Identifier: MIT
"""Train the model of the example "clicks" and write clicks.tow and clicks.npz beside this file.

    pip install torch
    python train_clicks.py [--folder FOLDER]

Data: 40,000 sessions of the made shop in `_click_sessions.py`, seed 1; the example judges on other ones. The network
reads a click (page, seconds on the one before, failure) and says how likely the visitor is to leave at once, and within
the next three clicks. The baseline is a logistic regression on the last three clicks and on counts over the session.

A minute and a half on one core. Versions: Python 3.11.7, torch 2.13.0, numpy 2.4.6; with these it gives the same
bytes again.
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import numpy as np
import torch

import undertow
from undertow import _files
from undertow.examples._click_sessions import PAGES, Sessions, last_clicks, sessions, what_is_seen

SEED = 1
HIDDEN = 32
N, HELD_OUT = 40_000, 2_000
EPOCHS, BATCH = 12, 128
SOON = 3  # clicks


class Leaving(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.nn.GRU(len(PAGES) + 2, HIDDEN, batch_first=True)
        self.leaves = torch.nn.Linear(HIDDEN, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.leaves(self.memory(x)[0])


def padded(visits: Sessions) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs (n, T, features), whether the visitor leaves at once and soon (n, T, 2), and which clicks there are."""
    n_clicks = np.bincount(visits.session)
    place = np.arange(len(visits.session)) - np.repeat(np.cumsum(n_clicks) - n_clicks, n_clicks)
    X = np.zeros((len(n_clicks), n_clicks.max(), len(PAGES) + 2), np.float32)
    Y, there = np.zeros((*X.shape[:2], 2), np.float32), np.zeros(X.shape[:2], bool)
    X[visits.session, place] = what_is_seen(visits.page, visits.dwell, visits.failed)
    Y[visits.session, place] = np.stack([visits.left == 0, visits.left < SOON], -1)
    there[visits.session, place] = True
    return torch.from_numpy(X), torch.from_numpy(Y), torch.from_numpy(there)


def train(X: torch.Tensor, Y: torch.Tensor, there: torch.Tensor) -> Leaving:
    torch.manual_seed(SEED)
    net, n = Leaving(), len(X) - HELD_OUT
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=EPOCHS * -(-n // BATCH))
    for epoch in range(EPOCHS):
        for batch in torch.randperm(n).split(BATCH):
            longest = int(there[batch].sum(1).max())
            here = there[batch, :longest]
            logits = net(X[batch, :longest])[here]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, Y[batch, :longest][here])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            logits = net(X[n:])[there[n:]]
            held = torch.nn.functional.binary_cross_entropy_with_logits(logits, Y[n:][there[n:]])
        print(f"epoch {epoch + 1}: loss {loss.item():.4f}, held out {held:.4f}")
    return net.eval()


def logistic(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights of a logistic regression, the last one its bias, by Newton's method with a ridge of 1."""
    X = np.concatenate([X, np.ones((len(X), 1))], 1).astype(float)
    w = np.zeros(X.shape[1])
    for _ in range(8):
        p = 1 / (1 + np.exp(-X @ w))
        hessian = (X * (p * (1 - p))[:, None]).T @ X + np.eye(len(w))
        w -= np.linalg.solve(hessian, X.T @ (p - y) + w)
    return w


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the model of the example clicks.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where the files are written")
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    visits = sessions(N, SEED)
    X, Y, there = padded(visits)
    net = train(X, Y, there)
    w = net.state_dict()
    layers = [undertow.GRU.from_torch(w, "memory"), undertow.Dense.from_torch(w, "leaves", activation="sigmoid")]
    undertow.Sequential(layers, name="clicks").with_weights("float16").save(folder / "clicks.tow")

    weights = logistic(last_clicks(visits), visits.left < SOON)
    with _files.opened(folder / "clicks.npz") as file:
        np.savez_compressed(file, last_clicks=weights.astype(np.float32))
    with torch.no_grad():
        theirs = net(X[0]).sigmoid().numpy()
    ours = undertow.load(folder / "clicks.tow").run(X[0].numpy())
    print(f"undertow with float16 weights differs from torch by {np.abs(ours - theirs).max():.1e}")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}")


if __name__ == "__main__":
    main()
