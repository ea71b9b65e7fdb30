# SPDX-License-Identifier: MIT
"""Make the golden files that come from PyTorch, safetensors and h5py. Run by hand: python tests/data/generate_torch.py

    torch_cells.npz         recurrent modules: weights, one input sequence, PyTorch's float64 output
    formats/*               files in every container and dtype that read_weights knows, and what they hold

`made_by` inside each .npz records seed and versions. Tests need neither PyTorch nor this script.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import OrderedDict
from pathlib import Path

import h5py
import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import nn

SEED = 20240611
HERE = Path(__file__).parent
MADE_BY = json.dumps(
    {
        "seed": SEED,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
        "h5py": h5py.__version__,
    }
)
N_IN, H, T = 3, 4, 6


def sequence_modules() -> dict[str, nn.Module]:
    return {
        "lstm": nn.LSTM(N_IN, H),
        "lstm_2_layers": nn.LSTM(N_IN, H, num_layers=2),
        "lstm_bidirectional_2_layers": nn.LSTM(N_IN, H, num_layers=2, bidirectional=True),
        "lstm_projection": nn.LSTM(N_IN, H, proj_size=2),
        "lstm_projection_bidirectional_2_layers": nn.LSTM(N_IN, H, num_layers=2, proj_size=2, bidirectional=True),
        "lstm_no_bias": nn.LSTM(N_IN, H, bias=False),
        "gru": nn.GRU(N_IN, H),
        "gru_2_layers": nn.GRU(N_IN, H, num_layers=2),
        "gru_bidirectional": nn.GRU(N_IN, H, bidirectional=True),
        "gru_no_bias": nn.GRU(N_IN, H, bias=False),
        "rnn_tanh": nn.RNN(N_IN, H),
        "rnn_relu_2_layers": nn.RNN(N_IN, H, num_layers=2, nonlinearity="relu"),
        "rnn_bidirectional": nn.RNN(N_IN, H, bidirectional=True),
    }


def cell_modules() -> dict[str, nn.Module]:
    return {
        "lstm_cell": nn.LSTMCell(N_IN, H),
        "gru_cell": nn.GRUCell(N_IN, H),
        "rnn_cell_relu": nn.RNNCell(N_IN, H, nonlinearity="relu"),
    }


def make_cells() -> None:
    arrays: dict[str, np.ndarray] = {"made_by": np.array(MADE_BY)}
    x = torch.randn(T, N_IN)
    arrays["input"] = x.numpy()

    def keep(case: str, module: nn.Module, output: torch.Tensor, **more: torch.Tensor) -> None:
        arrays[f"{case}/output"] = output.detach().numpy()
        for name, tensor in {**dict(module.named_parameters(prefix="w")), **more}.items():
            key = name.removeprefix("w.")
            arrays[f"{case}/{'weights' if name.startswith('w.') else 'state'}/{key}"] = tensor.detach().float().numpy()

    with torch.no_grad():
        for case, module in sequence_modules().items():
            module = module.double()
            for parameter in module.parameters():
                parameter.copy_(parameter.float().double() * 2)
            # Whole numbers of units: states of their own for every layer and direction.
            rows = module.num_layers * (2 if module.bidirectional else 1)
            h0 = (torch.randn(rows, getattr(module, "proj_size", 0) or H) / 2).float().double()
            c0 = (torch.randn(rows, H) / 2).float().double()
            start = (h0, c0) if isinstance(module, nn.LSTM) else h0
            output, last = module(x.double(), start)
            more = {"h0": h0, "c0": c0} if isinstance(module, nn.LSTM) else {"h0": h0}
            h_n = last[0] if isinstance(module, nn.LSTM) else last
            keep(case, module, output, **more)
            arrays[f"{case}/h_n"] = h_n.numpy()
        for case, module in cell_modules().items():
            module = module.double()
            for parameter in module.parameters():
                parameter.copy_(parameter.float().double() * 2)
            state, rows = None, []
            for frame in x.double():
                state = module(frame, state)
                rows.append(state[0] if isinstance(state, tuple) else state)
            keep(case, module, torch.stack(rows))
    np.savez_compressed(HERE / "torch_cells.npz", **arrays)


class Memory(nn.Module):
    """The tensors of a torch.nn.LSTM without its code, which a TorchScript archive would carry along."""

    def __init__(self) -> None:
        super().__init__()
        for name, shape in (
            ("weight_ih_l0", (12, 2)),
            ("weight_hh_l0", (12, 3)),
            ("bias_ih_l0", (12,)),
            ("bias_hh_l0", (12,)),
        ):
            self.register_parameter(name, nn.Parameter(torch.randn(shape)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight_ih_l0.T + self.bias_ih_l0 + self.bias_hh_l0 + self.weight_hh_l0.sum(1)


class Policy(nn.Module):
    """Scripted: state buffers inside, two linear layers, lists of tensors, plain attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory()
        self.actor = nn.Sequential(nn.Linear(12, 2), nn.ELU(), nn.Linear(2, 1))
        self.register_buffer("hidden_state", torch.zeros(1, 1, 3))
        self.names: list[str] = ["a", "b"]
        self.gain = 2.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.actor(self.memory(x)) * self.gain


def make_formats() -> None:
    folder = HERE / "formats"
    folder.mkdir(exist_ok=True)
    expected: dict[str, np.ndarray] = {"made_by": np.array(MADE_BY)}

    def keep(file: str, tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            tensor = tensor.detach().clone()
            expected[f"{file}/{name}"] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()

    model = nn.Sequential(OrderedDict(rnn=nn.GRU(2, 3), head=nn.Linear(3, 4)))
    state = model.state_dict()
    torch.save(state, folder / "state_dict.pt")
    keep("state_dict.pt", state)
    torch.save(state, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    keep("legacy.pt", state)
    torch.save(state, folder / "protocol4.pt", pickle_protocol=4)
    keep("protocol4.pt", state)

    optimizer = torch.optim.Adam(model.parameters())
    model.rnn(torch.randn(4, 2))[0].sum().backward()
    optimizer.step()
    torch.save(
        {"state_dict": state, "epoch": 3, "best": 0.5, "optimizer": optimizer.state_dict()}, folder / "checkpoint.pt"
    )
    keep("checkpoint.pt", {f"state_dict.{k}": v for k, v in state.items()})

    torch.save(model, folder / "module.pt")
    keep("module.pt", state)

    policy = Policy()
    torch.jit.script(policy).save(folder / "scripted.pt")
    keep("scripted.pt", policy.state_dict())
    traced = torch.jit.trace(nn.Sequential(nn.Linear(2, 2)), torch.randn(1, 2))
    torch.jit.save(traced, folder / "traced.pt")
    keep("traced.pt", traced.state_dict())

    base = torch.randn(4, 6)
    tied = torch.randn(2, 2)
    tensors = {
        **{
            str(d).removeprefix("torch."): (torch.randn(2, 3) * 50).to(d)
            for d in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
        },
        **{
            str(d).removeprefix("torch."): torch.randint(-9, 9, (3,), dtype=d)
            for d in (torch.int64, torch.int32, torch.int16, torch.int8)
        },
        **{
            str(d).removeprefix("torch."): torch.arange(5).to(d)
            for d in (torch.uint8, torch.uint16, torch.uint32, torch.uint64)
        },
        "bool": torch.tensor([True, False, True]),
        "complex64": torch.randn(2, dtype=torch.complex64),
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 3),
        "bfloat16_edges": torch.tensor([0.0, -0.0, 1e-40, float("inf"), 3e38]).to(torch.bfloat16),
    }
    views = {
        "transposed": base.T,
        "offset": base[1:, 2:5],
        "stepped": base[::2, ::3],
        "expanded": torch.arange(3.0).expand(4, 3),
        "parameter": nn.Parameter(base[0]),
        "tied_a": tied,
        "tied_b": tied,
    }
    torch.save({**tensors, **views}, folder / "dtypes.pt")
    keep("dtypes.pt", {**tensors, **views})
    old = {k: v for k, v in {**tensors, **views}.items() if not k.startswith("uint") or k == "uint8"}
    torch.save(old, folder / "dtypes_legacy.pt", _use_new_zipfile_serialization=False)
    keep("dtypes_legacy.pt", old)
    torch.save([torch.ones(2), {"a": torch.zeros(1)}], folder / "list.pt")
    keep("list.pt", {"0": torch.ones(2), "1.a": torch.zeros(1)})
    torch.save({"w": torch.ones(2), "array": np.arange(6.0).reshape(2, 3)}, folder / "numpy_inside.pt")
    keep("numpy_inside.pt", {"w": torch.ones(2), "array": torch.arange(6.0, dtype=torch.float64).reshape(2, 3)})

    safetensors.torch.save_file(
        {k: v.contiguous() for k, v in tensors.items()}, folder / "dtypes.safetensors", metadata={"format": "pt"}
    )
    (folder / "dtypes.safetensors").chmod(0o644)
    keep("dtypes.safetensors", tensors)

    arrays = {
        "a": base.numpy(),
        "b": np.asfortranarray(base.numpy()),
        "c": base.numpy().astype(">f8"),
        "n": np.arange(3),
    }
    np.savez(folder / "arrays.npz", **arrays)
    keep(
        "arrays.npz",
        {k: torch.from_numpy(np.ascontiguousarray(v).astype(v.dtype.newbyteorder("="))) for k, v in arrays.items()},
    )

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["layer/cell/kernel:0"] = base.numpy()
        file.create_dataset("layer/cell/bias:0", data=base[0].numpy(), compression="gzip")
        file["half"] = base.numpy().astype("f2")
    (folder / "weights.h5").write_bytes(buffer.getvalue())
    keep("weights.h5", {"half": base.half(), "layer/cell/bias:0": base[0], "layer/cell/kernel:0": base})
    with zipfile.ZipFile(folder / "inside.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", buffer.getvalue())
    keep("inside.keras", {"half": base.half(), "layer/cell/bias:0": base[0], "layer/cell/kernel:0": base})

    np.savez_compressed(HERE / "formats_expected.npz", **expected)


if __name__ == "__main__":
    torch.manual_seed(SEED)
    make_cells()
    make_formats()
