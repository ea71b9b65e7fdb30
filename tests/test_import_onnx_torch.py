# SPDX-License-Identifier: MIT
"""Recurrent layers as PyTorch exports them to ONNX, against PyTorch."""

from __future__ import annotations

import warnings

import pytest

from onnx_files import agree
from undertow.importers.onnx import load


def _torch_model(torch, cell, layers, bidirectional, batch_first, norm, last, states, ids):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(11, 5) if ids else None
            self.cell = getattr(torch.nn, cell)(5, 8, layers, bidirectional=bidirectional, batch_first=batch_first)
            width = 16 if bidirectional else 8
            self.norm = torch.nn.LayerNorm(width) if norm else torch.nn.Identity()
            self.head = torch.nn.Sequential(torch.nn.Linear(width, 6), torch.nn.ELU(), torch.nn.Linear(6, 3))

        def forward(self, x, *state):
            x = self.embedding(x) if ids else x
            y, end = self.cell(x, (state if len(state) > 1 else state[0]) if state else None)
            if last:
                y = y[:, -1] if batch_first else y[-1]
            y = self.head(self.norm(y))
            return (y, *(end if isinstance(end, tuple) else (end,))) if states else y

    return Net().eval()


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize(
    "settings",
    [
        {"cell": "LSTM", "layers": 2},
        {"cell": "GRU", "layers": 2, "batch_first": False},
        {"cell": "RNN", "layers": 1, "bidirectional": True},
        {"cell": "LSTM", "layers": 2, "bidirectional": True, "norm": True},
        {"cell": "GRU", "layers": 1, "norm": True, "dynamic": False},
        {"cell": "GRU", "layers": 1, "ids": True},
        {"cell": "LSTM", "layers": 1, "last": True},
        {"cell": "LSTM", "layers": 2, "states": True},
        {"cell": "GRU", "layers": 3, "states": True, "batch_first": False},
        {"cell": "LSTM", "layers": 1, "states": True, "dynamic": False},
    ],
    ids=lambda s: "-".join(f"{k}={v}" for k, v in s.items()),
)
def test_pytorch_exports(settings, opset, tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    options = {"bidirectional": False, "batch_first": True, "norm": False, "last": False, "states": False, "ids": False}
    dynamic, settings = settings.get("dynamic", True), options | {k: v for k, v in settings.items() if k != "dynamic"}
    torch.manual_seed(3)
    model = _torch_model(torch, **settings)
    T, N = 9, 2 if dynamic else 1
    x = torch.randint(0, 11, (N, T)) if settings["ids"] else torch.randn(N, T, 5)
    x = x if settings["batch_first"] else x.transpose(0, 1).contiguous()
    n_states = (2 if settings["cell"] == "LSTM" else 1) if settings["states"] else 0
    rows = settings["layers"] * (2 if settings["bidirectional"] else 1)
    states = tuple(torch.randn(rows, N, 8) for _ in range(n_states))
    time, batch = (1, 0) if settings["batch_first"] else (0, 1)
    names = ["x", *(f"s{i}" for i in range(n_states))]
    axes = {"x": {time: "a", batch: "b"}, **{n: {1: "b"} for n in names[1:]}} if dynamic else None
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (x, *states),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=names,
            output_names=["y", *(f"e{i}" for i in range(n_states))],
            dynamic_axes=axes,
        )
    graph = load(path)
    assert graph.inputs == ["x"] and list(graph.outputs) == ["y"]
    assert len(graph.states) == rows * (2 if settings["cell"] == "LSTM" else 1)

    one = x.select(batch, 0)
    start = {}
    for i, state in enumerate(states):
        cells = sorted({name.rsplit(".", 1)[0] for name in graph.states})
        start |= {f"{name}.{'hc'[i]}": state[k, 0].numpy() for k, name in enumerate(cells)}
    with torch.no_grad():
        made = model(x, *states)
    y = (made[0] if settings["states"] else made).numpy()
    expected = y[0] if settings["batch_first"] or settings["last"] else y[:, 0]
    agree(graph, one.numpy(), {"y": expected}, once=("y",) if settings["last"] else (), state=start)
