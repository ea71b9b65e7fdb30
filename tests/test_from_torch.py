# SPDX-License-Identifier: MIT
"""Live PyTorch modules: what torch computes in float64, streamed."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import undertow
from tolerances import FLOAT32_CELL, FLOAT32_MODEL
from undertow import UnsupportedError
from undertow.importers import torch_module

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
pytest.importorskip("onnx", reason="needs ONNX: pip install onnx")

T = 23


def in_float64(module, *arguments):
    with torch.no_grad():
        return copy.deepcopy(module).double().eval()(*arguments)


def streamed(model, X):
    whole = model.run(X)
    stream = model.stream()
    np.testing.assert_array_equal(np.stack([stream.step(x) for x in X]), whole)
    return whole


class Head(torch.nn.Module):
    """A dense layer, a recurrent layer with dropout that evaluation ignores, a head."""

    def __init__(self, cell="GRU", batch_first=True, **options):
        super().__init__()
        self.front = torch.nn.Linear(4, 6)
        self.cell = getattr(torch.nn, cell)(6, 8, num_layers=2, dropout=0.5, batch_first=batch_first, **options)
        self.norm = torch.nn.LayerNorm(8)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, frames):
        y, _ = self.cell(torch.relu(self.front(frames)))
        return torch.sigmoid(self.head(self.norm(y)))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("cell", "op"), [("LSTM", "lstm"), ("GRU", "gru"), ("RNN", "rnn")])
def test_modules_stream(cell, op, batch_first):
    torch.manual_seed(5)
    module = Head(cell, batch_first)
    X = torch.randn(1, T, 4) if batch_first else torch.randn(T, 1, 4)
    model = undertow.from_torch(module, X[:, :3] if batch_first else X[:3])
    want = in_float64(module, X.double()).numpy().reshape(T, 3)
    np.testing.assert_allclose(streamed(model, X.numpy().reshape(T, 4)), want, rtol=0, atol=FLOAT32_MODEL)
    assert [line.split()[1] for line in str(model).splitlines() if f" {op} " in line] == [op, op]  # kept whole
    assert module.training


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_a_bare_layer(cell):
    torch.manual_seed(6)
    module = getattr(torch.nn, cell)(3, 5, batch_first=True)
    X = torch.randn(1, T, 3)
    model = undertow.from_torch(module, X)
    want = in_float64(module, X.double())[0].numpy()[0]
    got = streamed(model, X.numpy()[0])
    np.testing.assert_allclose(got, want, rtol=0, atol=FLOAT32_CELL)


def test_the_instruction_set_can_be_forced(isa):
    torch.manual_seed(7)
    module = torch.nn.GRU(3, 5, batch_first=True)
    model = undertow.from_torch(module, torch.zeros(1, 4, 3), isa=isa)
    assert model.isa == isa
    X = torch.randn(1, T, 3)
    want = in_float64(module, X.double())[0].numpy()[0]
    np.testing.assert_allclose(streamed(model, X.numpy()[0]), want, rtol=0, atol=FLOAT32_CELL)


class Step(torch.nn.Module):
    """One timestep of its own making: the states are arguments and results."""

    def __init__(self):
        super().__init__()
        self.x, self.h, self.head = torch.nn.Linear(3, 6), torch.nn.Linear(6, 6, bias=False), torch.nn.Linear(6, 2)

    def forward(self, frame, memory):
        memory = 0.9 * memory + 0.1 * torch.tanh(self.x(frame) + self.h(memory))
        return self.head(memory), memory


def test_a_step_with_states():
    torch.manual_seed(8)
    module = Step()
    model = undertow.from_torch(module, (torch.zeros(1, 3), torch.zeros(1, 6)))
    X = torch.randn(T, 1, 3)
    memory, want = torch.zeros(1, 6, dtype=torch.float64), []
    for x in X.double():
        y, memory = in_float64(module, x, memory)
        want.append(y.numpy()[0])
    np.testing.assert_allclose(streamed(model, X.numpy()[:, 0]), np.array(want), rtol=0, atol=FLOAT32_CELL)


def test_ids():
    torch.manual_seed(9)
    module = torch.nn.Sequential(torch.nn.Embedding(11, 4), torch.nn.RNN(4, 5, batch_first=True))
    ids = torch.randint(0, 11, (1, T))
    want = in_float64(module, ids)[0].numpy()[0]
    model = undertow.from_torch(module, ids)
    np.testing.assert_allclose(streamed(model, ids.numpy()[0].astype(np.int32)), want, rtol=0, atol=FLOAT32_CELL)


class Branch(torch.nn.Module):
    def forward(self, frame):
        if frame.sum() > 0:
            return frame
        return -frame


class Broken(torch.nn.Module):
    def forward(self, frame):
        raise KeyError("nothing works")


def test_what_cannot_be_kept_is_refused():
    with pytest.raises(UnsupportedError, match=r"test_from_torch.py, line \d+: Converting a tensor"):
        undertow.from_torch(Branch(), torch.ones(1, 3))
    with pytest.raises(UnsupportedError, match="torch cannot export Broken: KeyError: 'nothing works'"):
        undertow.from_torch(Broken(), torch.ones(1, 3))
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module"):
        undertow.from_torch(lambda x: x, torch.ones(1, 3))
    with pytest.raises(TypeError, match="argument 'frame' is a float"):
        undertow.from_torch(Branch(), 1.0)
    with pytest.raises(ValueError, match="time_axis is 2"):
        undertow.from_torch(Branch(), torch.ones(1, 3), time_axis=2)


class CumulativeLayerNorm(torch.nn.Module):
    """Conv-TasNet's, behind what a frame adds to the one before, and a convolution that repeats the first frame."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.linspace(0.5, 2, 6).reshape(1, 6, 1))
        self.mix = torch.nn.Conv1d(3, 6, 3)

    def forward(self, x):
        x = torch.cat([x[..., :1], x[..., 1:] - x[..., :-1]], -1)
        x = self.mix(torch.nn.functional.pad(x, (2, 0), mode="replicate"))
        count = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype) * x.shape[1]
        mean = torch.cumsum(x.sum(1, keepdim=True), -1) / count
        power = torch.cumsum((x * x).sum(1, keepdim=True), -1) / count
        return (x - mean) / torch.sqrt(power - mean * mean + 1e-2) * self.scale


def test_a_cumulative_layer_norm():
    torch.manual_seed(12)
    module = CumulativeLayerNorm()
    X = torch.randn(1, 3, T)
    model = undertow.from_torch(module, X, time_axis=2)
    want = in_float64(module, X.double())[0].T
    got = streamed(model, np.ascontiguousarray(X.numpy()[0].T))
    np.testing.assert_allclose(got, want, rtol=0, atol=FLOAT32_MODEL)


# -- which of torch's exporters -------------------------------------------------------------------------------------


def removed(torch, call, path):
    raise RuntimeError("TorchScript-based export has been removed")


def test_without_torchscript_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(torch_module, "_by_torchscript", removed)
    monkeypatch.setattr(torch_module, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"export has been removed.*pip install onnxscript"):
        undertow.from_torch(torch.nn.GRU(3, 5), torch.zeros(4, 1, 3))


def test_the_other_exporter_takes_its_place(monkeypatch):
    monkeypatch.setattr(torch_module, "_by_export", torch_module._by_torchscript)
    monkeypatch.setattr(torch_module, "_by_torchscript", removed)
    monkeypatch.setattr(torch_module, "find_spec", lambda name: name)
    model = undertow.from_torch(torch.nn.GRU(3, 5), torch.zeros(4, 1, 3))
    assert [node.op for node in model.graph.nodes] == ["gru"]
    with pytest.raises(UnsupportedError, match=r"removed; torch.export cannot either: Broken: KeyError"):
        undertow.from_torch(Broken(), torch.ones(1, 3))


def test_torch_export(monkeypatch):
    """The newer exporter alone: nn.RNN written out step by step, a loop in Python, a branch on values."""
    pytest.importorskip("onnxscript", reason="needs onnxscript: pip install onnxscript")
    monkeypatch.setattr(torch_module, "_by_torchscript", removed)
    torch.manual_seed(13)
    module = torch.nn.RNN(3, 5, batch_first=True)
    X = torch.randn(1, T, 3)
    model = undertow.from_torch(module, X[:, :4])
    want = in_float64(module, X.double())[0].numpy()[0]
    np.testing.assert_allclose(streamed(model, X.numpy()[0]), want, rtol=0, atol=FLOAT32_CELL)
    with pytest.raises(UnsupportedError, match=r"torch\.export cannot either"):
        undertow.from_torch(Branch(), torch.ones(1, 3))
