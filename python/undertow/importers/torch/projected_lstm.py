# SPDX-License-Identifier: MIT
"""LSTMs with a projection (proj_size), written out: none of torch's exporters to ONNX, which has no such operator, is
right with them. The importer puts the loop and its cell together again.
"""

from __future__ import annotations

from typing import Any


def written_out(torch: Any, module: Any) -> Any:
    """The module with every nn.LSTM(proj_size=...) in it as plain operations. It is changed; a bare LSTM replaced."""
    projected = _class(torch)

    def is_projected(layer: Any) -> bool:
        return isinstance(layer, torch.nn.LSTM) and layer.proj_size > 0

    for owner in list(module.modules()):
        for name, layer in list(owner.named_children()):
            if is_projected(layer):
                setattr(owner, name, projected(layer))
    return projected(module) if is_projected(module) else module


def _class(torch: Any) -> Any:
    linear, sigmoid, tanh = torch.nn.functional.linear, torch.sigmoid, torch.tanh

    class Projected(torch.nn.Module):  # type: ignore[misc, name-defined]
        """i, f, g, o = W x + b + R h; c' = f c + i g; h' = P (o tanh c'), as in torch's documentation of nn.LSTM."""

        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, input: Any, hx: Any = None) -> Any:
            layer = self.layer
            batched = input.dim() == 3
            x = input if batched else input.unsqueeze(0 if layer.batch_first else 1)
            x = x.transpose(0, 1) if layer.batch_first else x
            n_directions = 2 if layer.bidirectional else 1
            if hx is None:
                n = layer.num_layers * n_directions
                h_0 = x.new_zeros(n, x.shape[1], layer.proj_size)
                c_0 = x.new_zeros(n, x.shape[1], layer.hidden_size)
            else:
                h_0, c_0 = hx if batched else (state.unsqueeze(1) for state in hx)
            h_n, c_n = [], []
            for k in range(layer.num_layers):
                directions = []
                for d in range(n_directions):
                    rows, h, c = self._direction(x.flip(0) if d else x, f"_l{k}{'_reverse' if d else ''}",
                                                 h_0[k * n_directions + d], c_0[k * n_directions + d])  # fmt: skip
                    directions.append(rows.flip(0) if d else rows)
                    h_n.append(h)
                    c_n.append(c)
                x = torch.cat(directions, -1) if n_directions > 1 else directions[0]
            states = torch.stack(h_n), torch.stack(c_n)
            y = x.transpose(0, 1) if layer.batch_first else x
            if not batched:
                return y.squeeze(0 if layer.batch_first else 1), tuple(state.squeeze(1) for state in states)
            return y, states

        def _direction(self, x: Any, end: str, h: Any, c: Any) -> tuple[Any, Any, Any]:
            W, R, P = (getattr(self.layer, f"weight_{name}{end}") for name in ("ih", "hh", "hr"))
            b = getattr(self.layer, f"bias_ih{end}") + getattr(self.layer, f"bias_hh{end}") if self.layer.bias else None
            rows = []
            for t in range(x.shape[0]):
                i, f, g, o = (linear(x[t], W, b) + linear(h, R)).chunk(4, -1)
                c = sigmoid(f) * c + sigmoid(i) * tanh(g)
                h = linear(sigmoid(o) * tanh(c), P)
                rows.append(h)
            return torch.stack(rows), h, c

    return Projected


__all__ = ["written_out"]
