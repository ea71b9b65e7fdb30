# SPDX-License-Identifier: MIT
"""Make recurrences.npz, golden outputs of recurrences. Run by hand: python tests/data/generate_recurrences.py

Each function below is one reference package's forward over a whole sequence in plain PyTorch, written from knowledge
of it, with its names of tensors, and where it has one in its parallel form: so that what a step at a time gives is
compared with something else than itself. `CASE/w/NAME` are float32 weights, `CASE/x` inputs, `CASE/y` float64 outputs.
`made_by` records seed and versions. Tests need neither PyTorch nor this script.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

SEED, T = 20261201, 9
HERE = Path(__file__).parent
CASES = {}


def case(shapes, x=(6,), scale=0.5, **special):
    """Weights of `shapes` (name -> shape), normal numbers times `scale`, or what `special` says of a number of them."""

    def take(function):
        CASES[function.__name__] = (function, shapes, x, scale, special)
        return function

    return take


def uniform(low, high):
    return lambda n: torch.rand(n, dtype=torch.float64) * (high - low) + low


def g(x):
    return torch.where(x >= 0, x + 0.5, x.sigmoid())


def scan(a, u):
    """h_t = a_t h_(t-1) + u_t, from products of a: sums over all earlier frames."""
    rows = [
        sum((a[s + 1 : t + 1].prod(0) if s < t else torch.ones_like(a[0])) * u[s] for s in range(t + 1))
        for t in range(len(u))
    ]
    return torch.stack(rows)


def causal_conv(x, weight, bias=None):
    """(T, C) through a depthwise convolution of torch.nn.Conv1d's weight (C, 1, K)."""
    padded = F.pad(x.T[None], (weight.shape[-1] - 1, 0))
    return F.conv1d(padded, weight, bias, groups=len(weight))[0].T


@case({"to_hidden_and_gate.weight": (10, 6), "to_out.weight": (6, 5)}, scale=1.0)
def min_gru(w, x):
    hidden, gate = (x @ w["to_hidden_and_gate.weight"].T).chunk(2, -1)
    z = gate.sigmoid()
    return scan(1 - z, z * g(hidden)) @ w["to_out.weight"].T


@case({"to_hidden_and_gate.weight": (15, 6)}, scale=1.0)
def min_lstm(w, x):
    hidden, f, i = (x @ w["to_hidden_and_gate.weight"].T).chunk(3, -1)
    diff = F.softplus(-f) - F.softplus(-i)  # the paper's form in logarithms
    return scan(torch.exp(-F.softplus(diff)), torch.exp(-F.softplus(-diff)) * g(hidden))


@case({"weight": (6, 20), "weight_c": (10,), "bias": (10,)}, scale=1.0)
def sru(w, x):
    u = (x @ w["weight"]).view(len(x), 5, 4)
    (vf, vr), (bf, br) = w["weight_c"].view(2, 5), w["bias"].view(2, 5)
    c, y = torch.zeros(5, dtype=x.dtype), []
    for t in range(len(x)):
        f = torch.sigmoid(u[t, :, 1] + c * vf + bf)
        r = torch.sigmoid(u[t, :, 2] + c * vr + br)
        c = u[t, :, 0] + (c - u[t, :, 0]) * f
        y.append((c - u[t, :, 3]) * r + u[t, :, 3])
    return torch.stack(y)


@case({"linear.weight": (15, 12), "linear.bias": (15,)})
def qrnn(w, x):
    before = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
    z, f, o = F.linear(torch.cat([x, before], -1), w["linear.weight"], w["linear.bias"]).chunk(3, -1)
    f = torch.sigmoid(f)
    return torch.sigmoid(o) * scan(1 - f, f * torch.tanh(z))


@case({"weight_ih": (5, 6), "weight_hh": (5,), "bias_ih": (5,)})
def ind_rnn(w, x):
    h, y = torch.zeros(5, dtype=x.dtype), []
    for frame in x:
        h = torch.relu(F.linear(frame, w["weight_ih"], w["bias_ih"]) + w["weight_hh"] * h)
        y.append(h)
    return torch.stack(y)


@case(
    {name: (5, 6) for name in ("B_re", "B_im")}
    | {name: (4, 5) for name in ("C_re", "C_im")}
    | {"nu_log": (5,), "theta_log": (5,), "gamma_log": (5,)},
    nu_log=uniform(-3, 0),
)
def lru(w, x):
    a = torch.exp(torch.complex(-torch.exp(w["nu_log"]), torch.exp(w["theta_log"])))
    B = torch.complex(w["B_re"], w["B_im"]) * torch.exp(w["gamma_log"])[:, None]
    u = x.to(B.dtype) @ B.T
    s = torch.stack([sum(a ** (t - k) * u[k] for k in range(t + 1)) for t in range(len(x))])
    return (s @ torch.complex(w["C_re"], w["C_im"]).T).real


@case(
    {
        "D": (6,),
        "kernel.log_dt": (6,),
        "kernel.C": (6, 4, 2),
        "kernel.log_A_real": (6, 4),
        "kernel.A_imag": (6, 4),
        "output_linear.0.weight": (12, 6, 1),
        "output_linear.0.bias": (12,),
    },
    **{"kernel.log_dt": uniform(-3, 0)},
)
def s4d(w, x):
    dt, C = torch.exp(w["kernel.log_dt"]), torch.view_as_complex(w["kernel.C"].contiguous())
    A = torch.complex(-torch.exp(w["kernel.log_A_real"]), w["kernel.A_imag"])
    dtA = A * dt[:, None]
    C = C * (torch.exp(dtA) - 1) / A
    kernel = 2 * torch.einsum("hn,hnl->hl", C, torch.exp(dtA[..., None] * torch.arange(len(x)))).real
    y = torch.stack([(kernel[:, : t + 1].flip(-1) * x[: t + 1].T).sum(-1) for t in range(len(x))]) + x * w["D"]
    return F.glu(F.linear(F.gelu(y), w["output_linear.0.weight"][..., 0], w["output_linear.0.bias"]), -1)


@case(
    {"Lambda_re": (5,), "Lambda_im": (5,), "B": (5, 6, 2), "C": (6, 5, 2), "D": (6,), "log_step": (5,)},
    Lambda_re=uniform(-2, -0.1),
    log_step=uniform(-3, 0),
)
def s5(w, x):
    rate, step = torch.complex(w["Lambda_re"], w["Lambda_im"]), torch.exp(w["log_step"])
    a = torch.exp(rate * step)
    B, C = (torch.view_as_complex(w[k].contiguous()) for k in "BC")
    u = x.to(B.dtype) @ (((a - 1) / rate)[:, None] * B).T
    s = torch.stack([sum(a ** (t - k) * u[k] for k in range(t + 1)) for t in range(len(x))])
    return 2 * (s @ C.T).real + x * w["D"]


@case({"a_param": (6,), "input_gate.w": (2, 3, 3), "input_gate.b": (2, 3), "a_gate.w": (2, 3, 3), "a_gate.b": (2, 3)})
def rg_lru(w, x):
    heads = x.view(len(x), 2, 3)
    gates = {
        k: torch.sigmoid(torch.einsum("thi,hij->thj", heads, w[f"{k}_gate.w"]) + w[f"{k}_gate.b"]).reshape(x.shape)
        for k in ("input", "a")
    }
    log_a = -8.0 * gates["a"] * F.softplus(w["a_param"])
    multiplier = torch.sqrt(1 - torch.exp(2 * log_a))
    multiplier[0] = 1.0
    return scan(torch.exp(log_a), gates["input"] * x * multiplier)


@case(
    {
        "in_proj.weight": (16, 6),
        "conv1d.weight": (8, 1, 4),
        "conv1d.bias": (8,),
        "x_proj.weight": (2 + 2 * 4, 8),
        "dt_proj.weight": (8, 2),
        "dt_proj.bias": (8,),
        "A_log": (8, 4),
        "D": (8,),
        "out_proj.weight": (6, 8),
    }
)
def mamba(w, x):
    u, z = (x @ w["in_proj.weight"].T).chunk(2, -1)
    u = F.silu(causal_conv(u, w["conv1d.weight"], w["conv1d.bias"]))
    dt, B, C = torch.split(u @ w["x_proj.weight"].T, [2, 4, 4], -1)
    dt = F.softplus(F.linear(dt, w["dt_proj.weight"], w["dt_proj.bias"]))
    A = -torch.exp(w["A_log"])
    s = scan(torch.exp(torch.einsum("td,dn->tdn", dt, A)), torch.einsum("td,tn,td->tdn", dt, B, u))
    y = torch.einsum("tdn,tn->td", s, C) + u * w["D"]
    return (y * F.silu(z)) @ w["out_proj.weight"].T


@case(
    {
        "in_proj.weight": (8 + 8 + 2 * 2 * 3 + 4, 6),
        "conv1d.weight": (20, 1, 4),
        "conv1d.bias": (20,),
        "dt_bias": (4,),
        "A_log": (4,),
        "D": (4,),
        "norm.weight": (8,),
        "out_proj.weight": (6, 8),
    }
)
def mamba2(w, x):
    z, u, dt = torch.split(x @ w["in_proj.weight"].T, [8, 20, 4], -1)
    u = F.silu(causal_conv(u, w["conv1d.weight"], w["conv1d.bias"]))
    v, B, C = torch.split(u, [8, 6, 6], -1)
    v, B, C = v.view(-1, 4, 2), B.view(-1, 2, 3).repeat_interleave(2, 1), C.view(-1, 2, 3).repeat_interleave(2, 1)
    dt = F.softplus(dt + w["dt_bias"])
    decay = torch.exp(-dt * torch.exp(w["A_log"]))
    # the dual form: a matrix of weights between frames, as attention has one
    cumulative = torch.cumsum(torch.log(decay), 0)
    L = torch.exp(cumulative[:, None] - cumulative[None]) * torch.ones(len(x), len(x)).tril()[..., None]
    y = torch.einsum("thn,shn,tsh,sh,shp->thp", C, B, L, dt, v) + v * w["D"][:, None]
    y = (y.reshape(-1, 8) * F.silu(z)).view(-1, 2, 4)
    y = y * torch.rsqrt((y * y).mean(-1, keepdim=True) + 1e-5)
    return (y.reshape(-1, 8) * w["norm.weight"]) @ w["out_proj.weight"].T


QKV = {f"{k}_proj.weight": (8, 6) for k in "qkv"} | {"o_proj.weight": (6, 8)}


def heads_of(x, n=2):
    return x.view(len(x), n, -1)


def rms(x, weight, eps=1e-5):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight


@case(QKV | {"g_proj.weight": (8, 6), "g_norm_swish_gate.weight": (4,)})
def ret_net(w, x):
    q, k, v = (heads_of(x @ w[f"{p}_proj.weight"].T) for p in "qkv")
    # the parallel form, with rotary positions
    angles = torch.arange(len(x)).double()[:, None] * 10000.0 ** (-torch.arange(0, 4, 2).double() / 4)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]

    def turn(a):
        a1, a2 = a.chunk(2, -1)
        return torch.cat([a1 * cos - a2 * sin, a2 * cos + a1 * sin], -1)

    distance = torch.arange(len(x))[:, None] - torch.arange(len(x))[None]
    decay = (1 - 2.0 ** (-5 - torch.arange(2).double()))[:, None, None] ** distance.clamp(min=0) * (distance >= 0)
    scores = torch.einsum("thd,shd->hts", turn(q), turn(k)) / 2 * decay
    y = rms(torch.einsum("hts,shd->thd", scores, v), w["g_norm_swish_gate.weight"]).reshape(-1, 8)
    return (y * F.silu(x @ w["g_proj.weight"].T)) @ w["o_proj.weight"].T


@case(
    QKV
    | {"g_proj.weight": (8, 6), "g_norm_swish_gate.weight": (4,)}
    | {"gk_proj.0.weight": (3, 6), "gk_proj.1.weight": (8, 3), "gk_proj.1.bias": (8,)}
)
def gla(w, x):
    q, k, v = (heads_of(x @ w[f"{p}_proj.weight"].T) for p in "qkv")
    gk = F.linear(x @ w["gk_proj.0.weight"].T, w["gk_proj.1.weight"], w["gk_proj.1.bias"])
    gk = torch.cumsum(heads_of(F.logsigmoid(gk) / 16), 0)
    # the parallel form: keys and queries hold the decays
    scores = torch.einsum("thd,shd->hts", q / 2 * torch.exp(gk), k * torch.exp(-gk)).tril()
    y = rms(torch.einsum("hts,shd->thd", scores, v), w["g_norm_swish_gate.weight"]).reshape(-1, 8)
    return (y * F.silu(x @ w["g_proj.weight"].T)) @ w["o_proj.weight"].T


def l2(x):
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6)


def delta(w, x, decay):
    q, k, v = (heads_of(F.silu(causal_conv(x @ w[f"{p}_proj.weight"].T, w[f"{p}_conv1d.weight"]))) for p in "qkv")
    q, k, beta = l2(q), l2(k), torch.sigmoid(x @ w["b_proj.weight"].T)
    S, y = torch.zeros(2, 4, 4, dtype=x.dtype), []
    for t in range(len(x)):
        S = S * decay[t][:, None, None]
        new = (v[t] - torch.einsum("hkv,hk->hv", S, k[t])) * beta[t][:, None]
        S = S + torch.einsum("hk,hv->hkv", k[t], new)
        y.append(torch.einsum("hkv,hk->hv", S, q[t] * 4**-0.5))
    return rms(torch.stack(y), w["o_norm.weight"]).reshape(-1, 8)


CONVS = {f"{k}_conv1d.weight": (8, 1, 4) for k in "qkv"} | {"b_proj.weight": (2, 6), "o_norm.weight": (4,)}


@case(QKV | CONVS)
def delta_net(w, x):
    return delta(w, x, torch.ones(len(x), 2)) @ w["o_proj.weight"].T


@case(QKV | CONVS | {"a_proj.weight": (2, 6), "A_log": (2,), "dt_bias": (2,), "g_proj.weight": (8, 6)})
def gated_delta_net(w, x):
    g = -torch.exp(w["A_log"]) * F.softplus(x @ w["a_proj.weight"].T + w["dt_bias"])
    return (delta(w, x, torch.exp(g)) * F.silu(x @ w["g_proj.weight"].T)) @ w["o_proj.weight"].T


RWKV = {f"{k}.weight": (6, 6) for k in ("key", "value", "receptance", "output")}
HEAD_NORM = {"ln_x.weight": (6,), "ln_x.bias": (6,)}


def shifted(x):
    return torch.cat([torch.zeros_like(x[:1]), x[:-1]])


@case(
    RWKV | {"time_decay": (6,), "time_first": (6,)} | {f"time_mix_{k}": (1, 1, 6) for k in "kvr"},
)
def rwkv4(w, x):
    def mixed(p, name):
        m = w[f"time_mix_{p}"].view(-1)
        return (x * m + shifted(x) * (1 - m)) @ w[f"{name}.weight"].T

    k, v, r = mixed("k", "key"), mixed("v", "value"), mixed("r", "receptance")
    rows = []
    for t in range(len(x)):  # all weights at once
        age = torch.arange(t - 1, -1, -1).double()[:, None]
        logs = torch.cat([k[:t] - torch.exp(w["time_decay"]) * age, (k[t] + w["time_first"])[None]])
        rows.append((torch.softmax(logs, 0) * v[: t + 1]).sum(0))
    return (torch.sigmoid(r) * torch.stack(rows)) @ w["output.weight"].T


@case(
    RWKV
    | HEAD_NORM
    | {"gate.weight": (6, 6), "time_decay": (1, 1, 6), "time_faaaa": (2, 3), "time_maa_x": (1, 1, 6)}
    | {f"time_maa_{k}": (1, 1, 6) for k in "wkvrg"}
    | {"time_maa_w1": (6, 10), "time_maa_w2": (5, 2, 6), "time_decay_w1": (6, 4), "time_decay_w2": (4, 6)}
)
def rwkv6(w, x):
    dx = shifted(x) - x
    low = torch.tanh((x + dx * w["time_maa_x"].view(-1)) @ w["time_maa_w1"]).view(-1, 5, 2).transpose(0, 1)
    m = torch.bmm(low, w["time_maa_w2"])
    xw, xk, xv, xr, xg = (x + dx * (w[f"time_maa_{k}"].view(-1) + m[i]) for i, k in enumerate("wkvrg"))
    r, k, v = (heads_of(a @ w[f"{n}.weight"].T) for a, n in ((xr, "receptance"), (xk, "key"), (xv, "value")))
    g = F.silu(xg @ w["gate.weight"].T)
    decay = w["time_decay"].view(-1) + torch.tanh(xw @ w["time_decay_w1"]) @ w["time_decay_w2"]
    decay = heads_of(torch.exp(-torch.exp(decay)))
    S = scan(decay[..., None].expand(-1, -1, -1, 3), torch.einsum("thk,thv->thkv", k, v))
    S = torch.cat([torch.zeros_like(S[:1]), S[:-1]])
    y = torch.einsum("thk,thkv->thv", r, S + torch.einsum("hk,thk,thv->thkv", w["time_faaaa"], k, v))
    y = F.group_norm(y.reshape(-1, 6), 2, w["ln_x.weight"], w["ln_x.bias"], 64e-5)
    return (y * g) @ w["output.weight"].T


@case(
    RWKV
    | HEAD_NORM
    | {f"x_{k}": (1, 1, 6) for k in "rwkvag"}
    | {"w0": (1, 1, 6), "w1": (6, 4), "w2": (4, 6), "a0": (1, 1, 6), "a1": (6, 3), "a2": (3, 6)}
    | {"g1": (6, 5), "g2": (5, 6), "k_k": (1, 1, 6), "k_a": (1, 1, 6), "r_k": (2, 3)}
)
def rwkv7(w, x):
    w = {k: a.view(-1) if a.shape[:2] == (1, 1) else a for k, a in w.items()}
    xr, xw, xk, xv, xa, xg = (x + (shifted(x) - x) * w[f"x_{k}"] for k in "rwkvag")
    r, k, v = xr @ w["receptance.weight"].T, xk @ w["key.weight"].T, xv @ w["value.weight"].T
    log_w = -F.softplus(-(w["w0"] + torch.tanh(xw @ w["w1"]) @ w["w2"])) - 0.5
    a, g = torch.sigmoid(w["a0"] + xa @ w["a1"] @ w["a2"]), torch.sigmoid(xg @ w["g1"]) @ w["g2"]
    kk = F.normalize(heads_of(k * w["k_k"]), dim=-1)
    k = k * (1 + (a - 1) * w["k_a"])
    r, decay, k, v, a = (heads_of(t) for t in (r, torch.exp(-torch.exp(log_w)), k, v, a))
    S, y = torch.zeros(2, 3, 3, dtype=x.dtype), []  # (head, value, key)
    for t in range(len(x)):
        S = S * decay[t][:, None] + (S @ -kk[t][..., None]) @ (kk[t] * a[t])[:, None] + v[t][..., None] @ k[t][:, None]
        y.append((S @ r[t][..., None])[..., 0])
    y = F.group_norm(torch.stack(y).reshape(-1, 6), 2, w["ln_x.weight"], w["ln_x.bias"], 64e-5)
    y = y + ((r * k * w["r_k"]).sum(-1, keepdim=True) * v).reshape(-1, 6)
    return (y * g) @ w["output.weight"].T


@case({"W": (32, 6), "R": (4, 2, 4, 4), "b": (32,)})
def s_lstm(w, x):
    h, c, n = (torch.zeros(8, dtype=x.dtype) for _ in range(3))
    m, y = torch.full((8,), -torch.inf, dtype=x.dtype), []
    for frame in x:
        back = torch.einsum("ghoi,hi->gho", w["R"], h.view(2, 4)).reshape(-1)
        i, f, z, o = (F.linear(frame, w["W"], w["b"]) + back).view(4, 8)
        logfm = m + F.logsigmoid(f)
        m = torch.maximum(i, logfm)
        i, f = torch.exp(i - m), torch.exp(logfm - m)
        c, n = f * c + i * torch.tanh(z), f * n + i
        h = torch.sigmoid(o) * c / n
        y.append(h)
    return torch.stack(y)


@case(
    {
        "q.weight": (4, 6),
        "k.weight": (4, 6),
        "v.weight": (8, 6),
        "ogate_preact.weight": (8, 6),
        "out_proj.weight": (6, 8),
    }
    | {f"{k}gate_preact.weight": (2, 6) for k in "if"}
    | {f"{k}gate_preact.bias": (2,) for k in "if"}
    | {"multihead_norm.weight": (8,)},
    scale=1.0,
)
def m_lstm(w, x):
    q, k, v = (heads_of(x @ w[f"{p}.weight"].T) for p in "qkv")
    i, f = (15 * torch.tanh(F.linear(x, w[f"{p}gate_preact.weight"], w[f"{p}gate_preact.bias"]) / 15) for p in "if")
    # the parallel form: a matrix of gates between frames, its rows divided by their largest element
    log_f = torch.cumsum(F.logsigmoid(f), 0)
    D = (log_f[:, None] - log_f[None] + i[None]).masked_fill(
        ~torch.ones(len(x), len(x)).bool().tril()[..., None], -torch.inf
    )
    top = D.max(1, keepdim=True).values
    C = torch.einsum("thd,shd->tsh", q, k) * 2**-0.5 * torch.exp(D - top)
    y = torch.einsum("tsh,shd->thd", C, v) / (torch.maximum(C.sum(1).abs(), torch.exp(-top[:, 0])) + 1e-6)[..., None]
    y = F.layer_norm(y, (4,), eps=1e-6).reshape(-1, 8) * w["multihead_norm.weight"]
    return (torch.sigmoid(x @ w["ogate_preact.weight"].T) * y) @ w["out_proj.weight"].T


def linear(x, w, name):
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


@case(
    {"backbone.0.weight": (7, 11), "backbone.0.bias": (7,)}
    | {f"{k}.weight": (5, 7) for k in ("ff1", "ff2", "time_a", "time_b")}
    | {f"{k}.bias": (5,) for k in ("ff1", "ff2", "time_a", "time_b")}
)
def cfc(w, x):
    h, y = torch.zeros(5, dtype=x.dtype), []
    for frame in x:
        z = 1.7159 * torch.tanh(0.666 * linear(torch.cat([frame, h]), w, "backbone.0"))
        one, two = torch.tanh(linear(z, w, "ff1")), torch.tanh(linear(z, w, "ff2"))
        t = torch.sigmoid(linear(z, w, "time_a") * 1.0 + linear(z, w, "time_b"))
        h = one * (1.0 - t) + t * two
        y.append(h)
    return torch.stack(y)


@case(
    {k: (5,) for k in ("gleak", "vleak", "cm")}
    | {k: (5, 5) for k in ("sigma", "mu", "w", "erev", "sparsity_mask")}
    | {f"sensory_{k}": (6, 5) for k in ("sigma", "mu", "w", "erev", "sparsity_mask")}
    | {"input_w": (6,), "input_b": (6,), "output_w": (3,), "output_b": (3,)},
    scale=1.0,
    sparsity_mask=lambda n: (torch.rand(n) > 0.5).double(),
    sensory_sparsity_mask=lambda n: (torch.rand(n) > 0.5).double(),
)
def ltc(w, x):
    def sigmoid(v, mu, sigma):
        return torch.sigmoid(sigma * (v.unsqueeze(-1) - mu))

    x, v, y = x * w["input_w"] + w["input_b"], torch.zeros(5, dtype=x.dtype), []
    strength, gleak = F.softplus(w["w"]), F.softplus(w["gleak"])
    for frame in x:
        sensory = F.softplus(w["sensory_w"]) * sigmoid(frame, w["sensory_mu"], w["sensory_sigma"])
        sensory = sensory * w["sensory_sparsity_mask"]
        cm_t = F.softplus(w["cm"]) / (1.0 / 6)
        for _ in range(6):
            active = strength * sigmoid(v, w["mu"], w["sigma"]) * w["sparsity_mask"]
            numerator = (active * w["erev"]).sum(0) + (sensory * w["sensory_erev"]).sum(0)
            numerator = cm_t * v + gleak * w["vleak"] + numerator
            v = numerator / (cm_t + gleak + active.sum(0) + sensory.sum(0) + 1e-8)
        y.append(v[:3] * w["output_w"] + w["output_b"])
    return torch.stack(y)


@case(
    {"e_x": (1, 6), "e_h": (1, 5), "e_m": (1, 4), "W_x": (5, 6), "W_h": (5, 5), "W_m": (5, 4), "A": (4, 4), "B": (4, 1)}
)
def lmu(w, x):
    h, m, y = torch.zeros(5, dtype=x.dtype), torch.zeros(4, dtype=x.dtype), []
    for frame in x:
        u = F.linear(frame, w["e_x"]) + F.linear(h, w["e_h"]) + F.linear(m, w["e_m"])
        m = F.linear(m, w["A"]) + F.linear(u, w["B"])
        h = torch.tanh(F.linear(frame, w["W_x"]) + F.linear(h, w["W_h"]) + F.linear(m, w["W_m"]))
        y.append(h)
    return torch.stack(y)


@case({"W": (8, 8), "Win": (8, 6), "bias": (8,), "Wout": (3, 8), "b_out": (3,)})
def esn(w, x):
    h, y = torch.zeros(8, dtype=x.dtype), []
    for frame in x:
        h = (1 - 0.3) * h + 0.3 * torch.tanh(w["W"] @ h + w["Win"] @ frame + w["bias"])
        y.append(w["Wout"] @ h + w["b_out"])
    return torch.stack(y)


@case({"beta": (), "threshold": ()}, beta=uniform(0.8, 0.9), threshold=uniform(0.5, 0.6))
def lif(w, x):
    mem, y = torch.zeros(6, dtype=x.dtype), []
    for frame in x:
        reset = (mem - w["threshold"] > 0).double()
        mem = w["beta"].clamp(0, 1) * mem + frame - reset * w["threshold"]
        y.append((mem - w["threshold"] > 0).double())
    return torch.stack(y)


@case({"conv.weight": (12, 5, 3, 3), "conv.bias": (12,)}, x=(2, 4, 5))
def conv_lstm(w, x):
    h, c, y = torch.zeros(1, 3, 4, 5, dtype=x.dtype), torch.zeros(1, 3, 4, 5, dtype=x.dtype), []
    for frame in x:
        gates = F.conv2d(torch.cat([frame[None], h], 1), w["conv.weight"], w["conv.bias"], padding=1)
        i, f, o, g = torch.split(gates, 3, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        y.append(h[0])
    return torch.stack(y)


@case(
    {
        "conv_gates.weight": (6, 5, 3, 3),
        "conv_gates.bias": (6,),
        "conv_can.weight": (3, 5, 3, 3),
        "conv_can.bias": (3,),
    },
    x=(2, 4, 5),
)
def conv_gru(w, x):
    h, y = torch.zeros(1, 3, 4, 5, dtype=x.dtype), []
    for frame in x:
        gates = F.conv2d(torch.cat([frame[None], h], 1), w["conv_gates.weight"], w["conv_gates.bias"], padding=1)
        reset, update = torch.sigmoid(gates).split(3, 1)
        both = torch.cat([frame[None], reset * h], 1)
        new = torch.tanh(F.conv2d(both, w["conv_can.weight"], w["conv_can.bias"], padding=1))
        h = (1 - update) * h + update * new
        y.append(h[0])
    return torch.stack(y)


@case(
    {"weight_ih": (20, 6), "weight_hh": (20, 5)}
    | {f"layernorm_{k}.{p}": (20,) for k in "ih" for p in ("weight", "bias")}
    | {f"layernorm_c.{p}": (5,) for p in ("weight", "bias")},
    scale=1.0,
)
def layer_norm_lstm(w, x):
    def norm(a, k):
        return F.layer_norm(a, a.shape, w[f"layernorm_{k}.weight"], w[f"layernorm_{k}.bias"])

    h, c, y = torch.zeros(5, dtype=x.dtype), torch.zeros(5, dtype=x.dtype), []
    for frame in x:
        i, f, g, o = (norm(w["weight_ih"] @ frame, "i") + norm(w["weight_hh"] @ h, "h")).chunk(4)
        c = norm(torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g), "c")
        h = torch.sigmoid(o) * torch.tanh(c)
        y.append(h)
    return torch.stack(y)


@case(
    {
        "weight_ih_l0": (20, 6),
        "weight_hh_l0": (20, 3),
        "bias_ih_l0": (20,),
        "bias_hh_l0": (20,),
        "weight_hr_l0": (3, 5),
    },
    scale=1.0,
)
def bounded_lstm(w, x):
    h, c, y = torch.zeros(3, dtype=x.dtype), torch.zeros(5, dtype=x.dtype), []
    for frame in x:
        gates = w["weight_ih_l0"] @ frame + w["bias_ih_l0"] + w["weight_hh_l0"] @ h + w["bias_hh_l0"]
        i, f, g, o = gates.chunk(4)
        c = (torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)).clamp(-0.5, 0.5)
        h = (w["weight_hr_l0"] @ (torch.sigmoid(o) * torch.tanh(c))).clamp(-0.4, 0.4)
        y.append(h)
    return torch.stack(y)


MHA = {"in_proj_weight": (18, 6), "in_proj_bias": (18,), "out_proj.weight": (6, 6), "out_proj.bias": (6,)}


def module_attention(w, x, heads, window, at=""):
    n = len(x)
    module = torch.nn.MultiheadAttention(6, heads, dtype=torch.float64)
    module.load_state_dict({k[len(at) :]: a for k, a in w.items() if k.startswith(at)})
    age = torch.arange(n)[:, None] - torch.arange(n)[None]
    return module(x, x, x, attn_mask=(age < 0) | (age >= window), need_weights=False)[0]


@case(MHA, scale=1.0)
def attention(w, x):
    return module_attention(w, x, 2, 4)


@case({"W_q": (4, 6), "W_k": (4, 6), "W_v": (5, 6), "additive": (4,)}, scale=1.0)
def additive_attention(w, x):
    q, k, v = (x @ w[f"W_{p}"].T for p in "qkv")
    scores = torch.tanh(q[:, None] + k[None]) @ w["additive"]
    age = torch.arange(len(x))[:, None] - torch.arange(len(x))[None]
    return torch.softmax(scores.masked_fill((age < 0) | (age >= 4), -torch.inf), -1) @ v


def block(w, x, **settings):
    module = torch.nn.TransformerEncoderLayer(6, 2, 12, dropout=0.0, dtype=torch.float64, **settings)
    module.load_state_dict(w)
    age = torch.arange(len(x))[:, None] - torch.arange(len(x))[None]
    return module.train()(x, src_mask=(age < 0) | (age >= 4))


BLOCK = {f"self_attn.{k}": shape for k, shape in MHA.items()}
BLOCK |= {"linear1.weight": (12, 6), "linear1.bias": (12,), "linear2.weight": (6, 12), "linear2.bias": (6,)}
BLOCK |= {f"norm{i}.{k}": (6,) for i in (1, 2) for k in ("weight", "bias")}


@case(BLOCK)
def transformer_block(w, x):
    return block(w, x)


@case(BLOCK)
def transformer_block_norm_first(w, x):
    return block(w, x, norm_first=True, activation="gelu")


def main() -> None:
    torch.manual_seed(SEED)
    arrays = {"made_by": np.array(json.dumps({"seed": SEED, "torch": torch.__version__, "numpy": np.__version__}))}
    for name, (function, shapes, frame, scale, special) in CASES.items():
        weights = {}
        for tensor, shape in shapes.items():
            n = math.prod(shape)
            drawn = special[tensor](n) if tensor in special else torch.randn(n, dtype=torch.float64) * scale
            weights[tensor] = drawn.float().double().view(shape)
        x = torch.randn(T, *frame).double()
        with torch.no_grad():
            y = function(weights, x)
        assert y.dtype == torch.float64 and bool(torch.isfinite(y).all()) and y.abs().max() > 0.01, name
        arrays |= {f"{name}/w/{tensor}": a.float().numpy() for tensor, a in weights.items()}
        arrays |= {f"{name}/x": x.float().numpy(), f"{name}/y": y.numpy()}
    np.savez_compressed(HERE / "recurrences.npz", **arrays)


if __name__ == "__main__":
    main()
