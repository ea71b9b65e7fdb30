# SPDX-License-Identifier: MIT
"""Train the example model "digits" and write the files beside this one. Needs torch, scikit-learn and safetensors.

    python train_digits.py [--folder FOLDER] [--golden FILE.npz]

The network reads a handwritten digit row by row, from the top, and after every row says how likely each of the ten
digits is. The loss counts every row, later ones more, so its belief sharpens as the digit comes in.
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import sklearn
import torch
from sklearn.datasets import load_digits

import undertow
from undertow import _files

SEED = 20
HIDDEN = 48
EPOCHS = 120
BATCH = 64
TEST_PART = 0.2
HELD_OUT = 60  # test images that ship with the package

#: How much the loss after each row counts. The first rows say little; the last one is the answer.
ROW_WEIGHTS = np.array([1, 2, 3, 4, 6, 8, 10, 30], np.float32)


class Digits(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.nn.GRU(8, HIDDEN, batch_first=True)
        self.head = torch.nn.Linear(HIDDEN, 10)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """rows: (N, 8, 8), 0 to 1 -> logits (N, 8, 10), after every row."""
        h, _ = self.memory(rows)
        return self.head(h)


def split(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training part and of the test part."""
    order = np.random.default_rng(SEED).permutation(n)
    n_test = round(n * TEST_PART)
    return order[n_test:], order[:n_test]


def shifted(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Every image moved by up to one pixel up, down, left or right: handwriting is not centred."""
    padded = torch.nn.functional.pad(rows, (1, 1, 1, 1))
    down, right = torch.randint(0, 3, (2, len(rows)), generator=generator)
    grid = torch.arange(8)
    return padded[
        torch.arange(len(rows))[:, None, None], (down[:, None] + grid)[:, :, None], (right[:, None] + grid)[:, None, :]
    ]


def train(rows: torch.Tensor, labels: torch.Tensor) -> Digits:
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    net = Digits()
    n_batches = -(-len(rows) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=EPOCHS * n_batches)
    weights = torch.from_numpy(ROW_WEIGHTS / ROW_WEIGHTS.sum())
    for epoch in range(EPOCHS):
        total = 0.0
        for batch in torch.randperm(len(rows), generator=generator).split(BATCH):
            logits = net(shifted(rows[batch], generator))
            target = labels[batch, None].expand(-1, 8)
            losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), target, reduction="none")
            loss = (losses.mean(0) * weights).sum()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        if epoch % 20 == 19:
            print(f"epoch {epoch + 1}: loss {total / len(rows):.4f}")
    return net.eval()


def convert(weights_file: Path) -> undertow.Model:
    """The trained weights as an undertow model: the wiring of `Digits.forward`, said once more."""
    w = undertow.read_weights(weights_file)
    return undertow.Sequential(
        [undertow.GRU.from_torch(w, "memory"), undertow.Dense.from_torch(w, "head"), undertow.Softmax()], name="digits"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the example model.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where the model is written")
    parser.add_argument("--golden", type=Path, help="also write PyTorch's beliefs about the held-out images here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    data = load_digits()
    images, labels = data.images.astype(np.uint8), data.target.astype(np.uint8)
    train_part, test_part = split(len(images))
    rows, target = torch.from_numpy(images / np.float32(16)), torch.from_numpy(labels.astype(np.int64))
    net = train(rows[train_part], target[train_part])
    with torch.no_grad():
        beliefs = net(rows[test_part]).softmax(-1).numpy()
    right = (beliefs.argmax(-1) == labels[test_part, None]).mean(0)

    weights_file = args.folder / "digits.safetensors"
    _files.write(weights_file, safetensors.torch.save(net.state_dict()))
    model = convert(weights_file)
    model.save(args.folder / "digits.tow")
    held_out = test_part[:HELD_OUT]
    with _files.opened(args.folder / "digits.npz") as file:
        np.savez_compressed(file, images=images[held_out], labels=labels[held_out])
    made_by = (
        f"seed {SEED}, Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}, "
        f"scikit-learn {sklearn.__version__}, safetensors {safetensors.__version__}"
    )
    if args.golden:
        with _files.opened(args.golden) as file:
            np.savez_compressed(file, beliefs=beliefs[:HELD_OUT], made_by=made_by)

    ours = np.stack([model.run(image) for image in rows[test_part].numpy()])
    print(f"test images right after each row, of {len(test_part)}: {' '.join(f'{r:.1%}' for r in right)}")
    print(f"undertow differs from torch by at most {np.abs(ours - beliefs).max():.1e}")
    print(made_by)


if __name__ == "__main__":
    main()
