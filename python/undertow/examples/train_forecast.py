# SPDX-License-Identifier: MIT
"""Train the model of the example "forecast" and write forecast.tow and forecast.npz beside this file.

    pip install torch statsmodels bokeh_sampledata
    python train_forecast.py [--folder FOLDER]

Data: 200 days of one person's blood glucose, a value every five minutes, as `bokeh_sampledata.glucose` ships them; it
says that they are in the public domain, given by an acquaintance of a maintainer. The first 70 % train the network and
fit the baselines, the next 10 % choose how long it trains, the last 20 % go into forecast.npz for the test.

The network takes a reading and says how likely each change to the next one is: a softmax over 41 changes, -20 to 20
mg/dl in five minutes. The Kalman filter is an ARIMA model in state space form, fitted by statsmodels to the same data.

Less than a minute on one core. Versions: Python 3.11.7, torch 2.13.0, numpy 2.4.6, statsmodels 0.15.0,
bokeh_sampledata 2026.1; with these it gives the same bytes again.
"""

from __future__ import annotations

import argparse
import platform
import warnings
from pathlib import Path

import numpy as np
import torch

import undertow
from undertow import _files

SEED = 4
HIDDEN = 40
LARGEST = 20  # mg/dl in five minutes: 99.9 % of all changes are smaller
WINDOW = 288  # readings of a training sequence: a day
EPOCHS = 24
STEP = np.timedelta64(300, "s")
MAX_GAP = np.timedelta64(900, "s")  # shorter ones are bridged by a straight line


def readings() -> tuple[np.ndarray, np.ndarray]:
    """Glucose in mg/dl, a value every five minutes, 0 where there is none, and the day's minute of the first."""
    from bokeh_sampledata.glucose import data

    data = data[~data.index.duplicated()].sort_index()
    times, values = data.index.to_numpy().astype("datetime64[s]"), data["glucose"].to_numpy(float)
    grid = np.arange(times[0], times[-1], STEP)
    after = np.searchsorted(times, grid, side="right")
    gap = times[np.minimum(after, len(times) - 1)] - times[after - 1]
    even = np.interp(grid.astype(float), times.astype(float), values)
    minute = (grid - grid.astype("datetime64[D]")).astype("timedelta64[m]").astype(int)
    return np.where(gap <= MAX_GAP, np.rint(even), 0).astype(np.uint16), minute


def stretches(glucose: np.ndarray) -> list[tuple[int, int]]:
    """Where readings follow each other without a gap: (start, end), of two hours at least."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], glucose > 0, [0]]).astype(int)))
    return [(a, b) for a, b in edges.reshape(-1, 2) if b - a >= 24]


def inputs(glucose: np.ndarray, before: np.ndarray, minute: np.ndarray) -> np.ndarray:
    """What the network sees of a reading: level, change since the one before, time of day."""
    glucose, before = np.float32(glucose), np.float32(before)
    angle = np.float32(2 * np.pi / 1440) * np.float32(minute)
    return np.stack([(glucose - 140) / 50, (glucose - before) / 5, np.sin(angle), np.cos(angle)], -1)


class Glucose(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.nn.GRU(4, HIDDEN, batch_first=True)
        self.change = torch.nn.Linear(HIDDEN, 2 * LARGEST + 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.change(self.memory(x)[0])


def sequences(glucose: np.ndarray, minute: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Days that overlap by half, and the class of each next change; -100 where the day is shorter."""
    X, Y = [], []
    for start, end in stretches(glucose):
        g = glucose[start:end].astype(np.float32)
        x = inputs(g[1:-1], g[:-2], minute[start + 1 : end - 1])
        y = np.clip(np.diff(g)[1:], -LARGEST, LARGEST).astype(np.int64) + LARGEST
        for a in range(0, max(1, len(y) - WINDOW // 2), WINDOW // 2):
            n = min(WINDOW, len(y) - a)
            X.append(np.pad(x[a : a + n], ((0, WINDOW - n), (0, 0))))
            Y.append(np.pad(y[a : a + n], (0, WINDOW - n), constant_values=-100))
    return torch.from_numpy(np.stack(X)), torch.from_numpy(np.stack(Y))


def train(trained: tuple[torch.Tensor, torch.Tensor], chosen: tuple[torch.Tensor, torch.Tensor]) -> Glucose:
    torch.manual_seed(SEED)
    net, (X, Y) = Glucose(), trained
    batches = -(-len(X) // 16)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=EPOCHS * batches)
    best, kept = np.inf, net.state_dict()
    for epoch in range(EPOCHS):
        for batch in torch.randperm(len(X)).split(16):
            loss = torch.nn.functional.cross_entropy(net(X[batch]).transpose(1, 2), Y[batch])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            held = torch.nn.functional.cross_entropy(net(chosen[0]).transpose(1, 2), chosen[1]).item()
        if held < best:
            best, kept = held, {name: value.clone() for name, value in net.state_dict().items()}
        print(f"epoch {epoch + 1}: loss {loss.item():.4f}, held out {held:.4f}")
    net.load_state_dict(kept)
    return net.eval()


def fit_kalman(glucose: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An ARIMA model in state space form, fitted by statsmodels; the order of the best AIC.

    Returns: transition matrix of the states, what a reading is made of, covariance of what moves the states.
    """
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    series = np.where(glucose > 0, glucose.astype(float), np.nan)
    fits = []
    for order in ((1, 1, 0), (2, 1, 1), (3, 1, 1), (3, 1, 2)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fits.append(SARIMAX(series, order=order, loglikelihood_burn=12).fit(disp=False))
        print(f"ARIMA {order}: AIC {fits[-1].aic:.0f}")
    ssm = min(fits, key=lambda fit: fit.aic).model.ssm
    spread = ssm["selection"] @ ssm["state_cov"] @ ssm["selection"].T
    return ssm["transition"], ssm["design"][0], spread


def moved(series: np.ndarray, steps: int) -> np.ndarray:
    """Changes over so many readings, wherever there is one at both ends."""
    there = (series[steps:] > 0) & (series[:-steps] > 0)
    return (series[steps:] - series[:-steps])[there]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the model of the example forecast.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where the files are written")
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    glucose, minute = readings()
    to_train, to_choose = int(0.7 * len(glucose)), int(0.8 * len(glucose))
    parts = [slice(to_train), slice(to_train, to_choose), slice(to_choose, None)]
    net = train(*(sequences(glucose[part], minute[part]) for part in parts[:2]))
    w = net.state_dict()
    layers = [undertow.GRU.from_torch(w, "memory"), undertow.Dense.from_torch(w, "change"), undertow.Softmax()]
    model = undertow.Sequential(layers, name="glucose")
    model.with_weights("float16").save(folder / "forecast.tow")

    # the spread of naive forecasts: how far the value has gone after 1 to 12 readings, and after a day
    past, levels = glucose[parts[0]].astype(float), np.linspace(0.05, 0.95, 19)
    moves = np.stack([np.quantile(moved(past, steps), levels) for steps in range(1, 13)]).astype(np.float32)
    daily = np.quantile(moved(past, 288), levels).astype(np.float32)
    kalman = fit_kalman(glucose[parts[0]])
    with _files.opened(folder / "forecast.npz") as file:
        np.savez_compressed(
            file,
            glucose=glucose[parts[2]],
            minute=minute[parts[2]][0],
            moves=moves,
            daily=daily,
            transition=kalman[0],
            design=kalman[1],
            spread=kalman[2],
        )
    X, Y = sequences(glucose[parts[2]], minute[parts[2]])
    with torch.no_grad():
        theirs = net(X[0]).softmax(-1).numpy()
        held = torch.nn.functional.cross_entropy(net(X).transpose(1, 2), Y).item()
    print(f"test: {held:.4f} nats a reading")
    ours = undertow.load(folder / "forecast.tow").run(X[0].numpy())
    print(f"undertow with float16 weights differs from torch by {np.abs(ours - theirs).max():.1e}")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}")


if __name__ == "__main__":
    main()
