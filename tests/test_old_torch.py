# SPDX-License-Identifier: MIT
"""Parameters as PyTorch wrote them until 0.4: their class called with a tensor."""

from __future__ import annotations

import io
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

import undertow


class Stored:
    """A tensor in a storage of its own."""

    def __init__(self, array, key):
        self.array, self.key = array, key


class Saved:
    """Something that is pickled as a call, with a state behind it."""

    def __init__(self, function, args, state=None):
        self.call = function, args, *([] if state is None else [state])

    def __reduce__(self):
        return self.call


def stand_in(monkeypatch, module, name):
    """A class that pickle finds under a name of PyTorch's."""
    known = sys.modules.get(module)
    if known is None or not isinstance(known, types.SimpleNamespace):
        known = types.SimpleNamespace()
        monkeypatch.setitem(sys.modules, module, known)
    kind = type(name, (), {"__module__": module, "__qualname__": name})
    setattr(known, name, kind)
    return kind


def saved(path, tensors, wrap, monkeypatch):
    """A torch.save archive of a dict of wrapped tensors."""
    storage, rebuild = (
        stand_in(monkeypatch, "torch", "FloatStorage"),
        stand_in(monkeypatch, "torch._utils", "_rebuild_tensor"),
    )

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return ("storage", storage, obj.key, "cpu", obj.array.size) if isinstance(obj, Stored) else None

    strides = {name: tuple(s // 4 for s in array.strides) for name, array in tensors.items()}
    values = {
        name: wrap(Saved(rebuild, (Stored(array, str(i)), 0, array.shape, strides[name])))
        for i, (name, array) in enumerate(tensors.items())
    }
    data = io.BytesIO()
    Pickler(data, 2).dump(values)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", data.getvalue())
        for i, array in enumerate(tensors.values()):
            archive.writestr(f"m/data/{i}", array.tobytes())
    return path


@pytest.mark.parametrize("how", ["called", "with a state", "a Variable"])
def test_a_parameter_is_its_tensor(how, tmp_path, monkeypatch, rng):
    tensors = {
        "weight_ih_l0": rng.standard_normal((12, 2)).astype(np.float32),
        "weight_hh_l0": rng.standard_normal((12, 3)).astype(np.float32),
        "bias_ih_l0": rng.standard_normal(12).astype(np.float32),
        "bias_hh_l0": rng.standard_normal(12).astype(np.float32),
    }
    name = ("torch.autograd.variable", "Variable") if how == "a Variable" else ("torch.nn.parameter", "Parameter")
    kind = stand_in(monkeypatch, *name)

    def wrap(tensor):
        if how == "called":
            return Saved(kind, (tensor, True))
        return Saved(kind, (tensor,), (True, False, {}))

    path = saved(tmp_path / "old.pt", tensors, wrap, monkeypatch)
    monkeypatch.undo()
    weights = undertow.read_weights(path)
    assert set(weights) == set(tensors)
    for key, array in tensors.items():
        np.testing.assert_array_equal(weights[key], array)
    model = undertow.load(path)
    assert [node.op for node in model.graph.nodes] == ["lstm"]
