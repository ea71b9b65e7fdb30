# SPDX-License-Identifier: MIT
"""Train the model of the example "ci" and write ci.tow beside this file.

    pip install torch
    python train_ci.py [--folder FOLDER]

Data: 96 runs of three weeks of the made pipeline in `_pipeline.py`, seed 1, all of them healthy: the network never sees
a leak. As a build begins, it reads what is known of it and what became of the one before, and says what its five
metrics will be: means, and logarithms of standard deviations.

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
from undertow.examples._pipeline import CONTEXT, METRICS, builds, inputs

SEED = 1
HIDDEN = 40
RUNS, HELD_OUT, BUILDS = 104, 8, 1100
PART = 275  # builds between two steps of the optimizer; the state goes on
EPOCHS, BATCH = 40, 16


class Normal(torch.nn.Module):
    """What is normal: means and logarithms of standard deviations."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.nn.GRU(CONTEXT + len(METRICS), HIDDEN, batch_first=True)
        self.metrics = torch.nn.Linear(HIDDEN, 2 * len(METRICS))

    def forward(self, x: torch.Tensor, h: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        y, h = self.memory(x, h)
        return self.metrics(y), h


def surprise(y: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
    """Mean negative log likelihood of a metric, in nats, without its constant."""
    mean, log_sd = predicted.chunk(2, -1)
    return (log_sd + 0.5 * ((y - mean) * torch.exp(-log_sd)) ** 2).mean()


def train(X: torch.Tensor, Y: torch.Tensor) -> Normal:
    torch.manual_seed(SEED)
    net, n = Normal(), len(X) - HELD_OUT
    steps = EPOCHS * (n // BATCH) * (BUILDS // PART)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for epoch in range(EPOCHS):
        for batch in torch.randperm(n).split(BATCH):
            h = None
            for start in range(0, BUILDS, PART):
                predicted, h = net(X[batch, start : start + PART], h)
                h = h.detach()
                loss = surprise(Y[batch, start : start + PART], predicted)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimizer.step()
                schedule.step()
        if epoch % 5 == 4:
            with torch.no_grad():
                held = surprise(Y[n:], net(X[n:])[0])
            print(f"epoch {epoch + 1}: loss {loss.item():.4f}, held out {held:.4f}")
    return net.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the model of the example ci.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where the model is written")
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    runs = builds(RUNS, BUILDS, SEED)
    X, Y = torch.from_numpy(inputs(runs)), torch.from_numpy(runs.metrics.astype(np.float32))
    net = train(X, Y)
    w = net.state_dict()
    layers = [undertow.GRU.from_torch(w, "memory"), undertow.Dense.from_torch(w, "metrics")]
    undertow.Sequential(layers, name="pipeline").with_weights("float16").save(folder / "ci.tow")

    with torch.no_grad():
        theirs = net(X[:1])[0][0].numpy()
    ours = undertow.load(folder / "ci.tow").run(X[0].numpy())
    print(f"undertow with float16 weights differs from torch by {np.abs(ours - theirs).max():.1e}")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}")


if __name__ == "__main__":
    main()
