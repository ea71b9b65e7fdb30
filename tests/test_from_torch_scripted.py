# SPDX-License-Identifier: MIT
"""Modules of torch.jit.script that keep something: no exporter sees it, so the error says to pass the module itself."""

from __future__ import annotations

import pytest

import undertow
from undertow import UnsupportedError

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
pytest.importorskip("onnx", reason="needs ONNX: pip install onnx")


class Cached(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv1d(3, 4, 3)
        self.register_buffer("cache", torch.zeros(1, 3, 2))

    def forward(self, x):
        both = torch.cat([self.cache, x], 2)
        self.cache = both[:, :, -2:]
        return self.conv(both)


class Attribute(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = torch.nn.Linear(5, 2)
        self.h = torch.zeros(1, 2)

    def forward(self, x):
        self.h = torch.tanh(self.dense(torch.cat([x, self.h], 1)))
        return self.h


@pytest.mark.parametrize(
    ("module", "example", "message"),
    [
        (Cached, (1, 3, 1), r"changes its 'cache', which no exporter sees in a module of torch\.jit\.script"),
        (Attribute, (1, 3), r"what it keeps is hidden in a module of torch\.jit\.script"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # of torch about torch
def test_states_of_a_scripted_module(module, example, message):
    with pytest.raises(UnsupportedError, match=f"{message}; pass it as it was before"):
        undertow.from_torch(torch.jit.script(module()), torch.zeros(example))
    assert undertow.from_torch(module(), torch.zeros(example)).states
