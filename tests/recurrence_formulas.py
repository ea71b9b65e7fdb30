# SPDX-License-Identifier: MIT
"""What recurrences compute, a frame at a time in float64, from the equations of their papers.

Each function has the name of a case of data/recurrences.npz, takes its weights and frames, and shares no code with the
package.
"""

import math

import numpy as np


def sig(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sig(x)


def softplus(x):
    return np.log1p(np.exp(x))


def frames(step, x):
    return np.array([step(frame) for frame in x])


def past(width, n):
    """A function that takes a frame and gives the last n, (n, width)."""
    held = np.zeros((n, width))

    def push(frame):
        held[:-1] = held[1:]
        held[-1] = frame
        return held

    return push


def min_gru(w, x):
    W_h, W_z = np.split(w["to_hidden_and_gate.weight"], 2)
    h = np.zeros(len(W_h))

    def step(frame):
        nonlocal h
        z, new = sig(W_z @ frame), W_h @ frame
        h = (1 - z) * h + z * np.where(new >= 0, new + 0.5, sig(new))
        return w["to_out.weight"] @ h

    return frames(step, x)


def min_lstm(w, x):
    W_h, W_f, W_i = np.split(w["to_hidden_and_gate.weight"], 3)
    h = np.zeros(len(W_h))

    def step(frame):
        nonlocal h
        f, i, new = sig(W_f @ frame), sig(W_i @ frame), W_h @ frame
        h = f / (f + i) * h + i / (f + i) * np.where(new >= 0, new + 0.5, sig(new))
        return h

    return frames(step, x)


def sru(w, x):
    W, W_f, W_r, W_x = (w["weight"][:, k::4].T for k in range(4))
    (v_f, v_r), (b_f, b_r) = np.split(w["weight_c"], 2), np.split(w["bias"], 2)
    c = np.zeros(len(W))

    def step(frame):
        nonlocal c
        f, r = sig(W_f @ frame + v_f * c + b_f), sig(W_r @ frame + v_r * c + b_r)
        c = f * c + (1 - f) * (W @ frame)
        return r * c + (1 - r) * (W_x @ frame)

    return frames(step, x)


def qrnn(w, x):
    c, last = np.zeros(5), past(6, 2)

    def step(frame):
        nonlocal c
        held = last(frame)
        z, f, o = np.split(w["linear.weight"] @ np.concatenate([held[1], held[0]]) + w["linear.bias"], 3)
        c = sig(f) * np.tanh(z) + (1 - sig(f)) * c
        return sig(o) * c

    return frames(step, x)


def ind_rnn(w, x):
    h = np.zeros(5)

    def step(frame):
        nonlocal h
        h = np.maximum(w["weight_ih"] @ frame + w["weight_hh"] * h + w["bias_ih"], 0)
        return h

    return frames(step, x)


def complex_system(a, B, C, x):
    s = np.zeros(len(a), complex)

    def step(frame):
        nonlocal s
        s = a * s + B @ frame
        return (C @ s).real

    return frames(step, x)


def lru(w, x):
    a = np.exp(-np.exp(w["nu_log"]) + 1j * np.exp(w["theta_log"]))
    B = np.exp(w["gamma_log"])[:, None] * (w["B_re"] + 1j * w["B_im"])
    return complex_system(a, B, w["C_re"] + 1j * w["C_im"], x)


def s5(w, x):
    rate = w["Lambda_re"] + 1j * w["Lambda_im"]
    a = np.exp(rate * np.exp(w["log_step"]))
    B, C = (w[k][..., 0] + 1j * w[k][..., 1] for k in "BC")
    return 2 * complex_system(a, (1 / rate * (a - 1))[:, None] * B, C, x) + w["D"] * x


def s4d(w, x):
    A = -np.exp(w["kernel.log_A_real"]) + 1j * w["kernel.A_imag"]
    a = np.exp(A * np.exp(w["kernel.log_dt"])[:, None])
    B, C = (a - 1) / A, w["kernel.C"][..., 0] + 1j * w["kernel.C"][..., 1]
    s = np.zeros(A.shape, complex)

    def step(frame):
        nonlocal s
        s = a * s + B * frame[:, None]
        y = 2 * (C * s).sum(-1).real + w["D"] * frame
        y = y * np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in y])
        value, gate = np.split(w["output_linear.0.weight"][..., 0] @ y + w["output_linear.0.bias"], 2)
        return value * sig(gate)

    return frames(step, x)


def rg_lru(w, x):
    h, first = np.zeros(6), True

    def step(frame):
        nonlocal h, first
        i, r = (
            sig(
                np.concatenate([p @ W for p, W in zip(frame.reshape(2, 3), w[f"{k}_gate.w"], strict=True)])
                + w[f"{k}_gate.b"].ravel()
            )
            for k in ("input", "a")
        )
        a = np.exp(-8 * softplus(w["a_param"]) * r)
        h = a * h + (1 if first else np.sqrt(1 - a**2)) * i * frame
        first = False
        return h

    return frames(step, x)


def mamba(w, x):
    last, s, A = past(8, 4), np.zeros((8, 4)), -np.exp(w["A_log"])

    def step(frame):
        nonlocal s
        u, z = np.split(w["in_proj.weight"] @ frame, 2)
        u = silu((last(u).T * w["conv1d.weight"][:, 0]).sum(-1) + w["conv1d.bias"])
        dt, B, C = np.split(w["x_proj.weight"] @ u, [2, 6])
        dt = softplus(w["dt_proj.weight"] @ dt + w["dt_proj.bias"])
        s = np.exp(dt[:, None] * A) * s + np.outer(dt * u, B)
        return w["out_proj.weight"] @ ((s @ C + w["D"] * u) * silu(z))

    return frames(step, x)


def mamba2(w, x):
    last, S = past(20, 4), np.zeros((4, 2, 3))

    def step(frame):
        z, u, dt = np.split(w["in_proj.weight"] @ frame, [8, 28])
        u = silu((last(u).T * w["conv1d.weight"][:, 0]).sum(-1) + w["conv1d.bias"])
        v, B, C = u[:8].reshape(4, 2), u[8:14].reshape(2, 3), u[14:].reshape(2, 3)
        dt, y = softplus(dt + w["dt_bias"]), np.zeros((4, 2))
        for m in range(4):
            S[m] = np.exp(-dt[m] * np.exp(w["A_log"][m])) * S[m] + dt[m] * np.outer(v[m], B[m // 2])
            y[m] = S[m] @ C[m // 2] + w["D"][m] * v[m]
        y = (y.ravel() * silu(z)).reshape(2, 4)
        y = y / np.sqrt((y**2).mean(-1, keepdims=True) + 1e-5)
        return w["out_proj.weight"] @ (y.ravel() * w["norm.weight"])

    return frames(step, x)


def of_heads(x, n=2):
    return x.reshape(n, -1)


def rms(x, weight, eps=1e-5):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight


def head_norm(x, weight, bias, eps):
    """Of each row by itself; weight and bias hold those of all."""
    centred = x - x.mean(-1, keepdims=True)
    return (centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)).ravel() * weight + bias


def linear_attention(w, x, update, gated=True, norm="g_norm_swish_gate.weight", filtered=False):
    """Two heads of four keys and values; update(S, head, frame, k, v) gives the head's next S (keys, values)."""
    S, held = np.zeros((2, 4, 4)), {p: past(8, 4) for p in "qkv"}

    def step(frame):
        parts = {p: w[f"{p}_proj.weight"] @ frame for p in "qkv"}
        if filtered:
            parts = {p: silu((held[p](a).T * w[f"{p}_conv1d.weight"][:, 0]).sum(-1)) for p, a in parts.items()}
        q, k, v = (of_heads(parts[p]) for p in "qkv")
        if filtered:
            q, k = (a / np.sqrt((a**2).sum(-1, keepdims=True) + 1e-6) for a in (q, k))
        y = np.zeros((2, 4))
        for n in range(2):
            S[n] = update(S[n], n, frame, k[n], v[n])
            y[n] = S[n].T @ q[n] / 2
        y = rms(y, w[norm]).ravel()
        return w["o_proj.weight"] @ (y * silu(w["g_proj.weight"] @ frame) if gated else y)

    return frames(step, x)


def ret_net(w, x):
    def update(S, n, frame, k, v):
        turned = np.empty_like(S)
        for pair in range(2):
            angle = 10000 ** (-2 * pair / 4)
            c, s = math.cos(angle), math.sin(angle)
            turned[pair] = c * S[pair] + s * S[pair + 2]
            turned[pair + 2] = c * S[pair + 2] - s * S[pair]
        return (1 - 2.0 ** (-5 - n)) * turned + np.outer(k, v)

    return linear_attention(w, x, update)


def gla(w, x):
    def update(S, n, frame, k, v):
        gate = w["gk_proj.1.weight"] @ (w["gk_proj.0.weight"] @ frame) + w["gk_proj.1.bias"]
        return of_heads(sig(gate) ** (1 / 16))[n][:, None] * S + np.outer(k, v)

    return linear_attention(w, x, update)


def delta_rule(w, S, n, frame, k, v):
    beta = sig(w["b_proj.weight"][n] @ frame)
    return (np.eye(4) - beta * np.outer(k, k)) @ S + beta * np.outer(k, v)


def delta_net(w, x):
    def update(S, n, frame, k, v):
        return delta_rule(w, S, n, frame, k, v)

    return linear_attention(w, x, update, gated=False, norm="o_norm.weight", filtered=True)


def gated_delta_net(w, x):
    def update(S, n, frame, k, v):
        a = np.exp(-np.exp(w["A_log"][n]) * softplus(w["a_proj.weight"][n] @ frame + w["dt_bias"][n]))
        return delta_rule(w, a * S, n, frame, k, v)

    return linear_attention(w, x, update, norm="o_norm.weight", filtered=True)


def rwkv4(w, x):
    A, B, before = np.zeros(6), np.zeros(6), np.zeros(6)

    def step(frame):
        nonlocal A, B, before
        k, v, r = (
            w[f"{name}.weight"] @ (frame * w[f"time_mix_{p}"].ravel() + before * (1 - w[f"time_mix_{p}"].ravel()))
            for p, name in (("k", "key"), ("v", "value"), ("r", "receptance"))
        )
        wkv = (A + np.exp(w["time_first"] + k) * v) / (B + np.exp(w["time_first"] + k))
        decay = np.exp(-np.exp(w["time_decay"]))
        A, B, before = decay * A + np.exp(k) * v, decay * B + np.exp(k), frame
        return w["output.weight"] @ (sig(r) * wkv)

    return frames(step, x)


def rwkv6(w, x):
    S, before = np.zeros((2, 3, 3)), np.zeros(6)

    def step(frame):
        nonlocal before
        dx = before - frame
        low = np.tanh((frame + dx * w["time_maa_x"].ravel()) @ w["time_maa_w1"]).reshape(5, 2)
        at = {
            p: frame + dx * (w[f"time_maa_{p}"].ravel() + low[i] @ w["time_maa_w2"][i]) for i, p in enumerate("wkvrg")
        }
        decay = np.exp(-np.exp(w["time_decay"].ravel() + np.tanh(at["w"] @ w["time_decay_w1"]) @ w["time_decay_w2"]))
        k, v, r = (of_heads(w[f"{n}.weight"] @ at[p]) for p, n in (("k", "key"), ("v", "value"), ("r", "receptance")))
        y = np.zeros((2, 3))
        for n in range(2):
            y[n] = (S[n] + w["time_faaaa"][n][:, None] * np.outer(k[n], v[n])).T @ r[n]
            S[n] = of_heads(decay)[n][:, None] * S[n] + np.outer(k[n], v[n])
        before = frame
        y = head_norm(y, w["ln_x.weight"], w["ln_x.bias"], 64e-5)
        return w["output.weight"] @ (y * silu(w["gate.weight"] @ at["g"]))

    return frames(step, x)


def rwkv7(w, x, values_of=lambda v: None, mixed=lambda v, at: v):
    S, before = np.zeros((2, 3, 3)), np.zeros(6)
    w = {k: a.ravel() if a.shape[:2] == (1, 1) else a for k, a in w.items()}

    def step(frame):
        nonlocal before
        at = {p: frame + (before - frame) * w[f"x_{p}"] for p in "rwkvag"}
        before = frame
        r, k, v = (w[f"{n}.weight"] @ at[p] for p, n in (("r", "receptance"), ("k", "key"), ("v", "value")))
        decay = np.exp(-math.exp(-0.5) * sig(w["w0"] + np.tanh(at["w"] @ w["w1"]) @ w["w2"]))
        a, g = sig(w["a0"] + at["a"] @ w["a1"] @ w["a2"]), sig(at["g"] @ w["g1"]) @ w["g2"]
        v = mixed(v, at["v"])
        values_of(v)
        c, k = of_heads(k * w["k_k"]), k * (1 + (a - 1) * w["k_a"])
        c = c / np.sqrt((c**2).sum(-1, keepdims=True))
        r, decay, k, v, a = (of_heads(t) for t in (r, decay, k, v, a))
        y, bonus = np.zeros((2, 3)), np.zeros((2, 3))
        for n in range(2):
            S[n] = (np.diag(decay[n]) - np.outer(a[n] * c[n], c[n])) @ S[n] + np.outer(k[n], v[n])
            y[n], bonus[n] = S[n].T @ r[n], (r[n] * k[n] * w["r_k"][n]).sum() * v[n]
        y = head_norm(y, w["ln_x.weight"], w["ln_x.bias"], 64e-5) + bonus.ravel()
        return w["output.weight"] @ (y * g)

    return frames(step, x)


def s_lstm(w, x):
    """Without a stabiliser, which changes nothing but what overflows."""
    h, c, n = np.zeros((3, 8))

    def step(frame):
        nonlocal h, c, n
        back = np.concatenate([w["R"][gate, head] @ h.reshape(2, 4)[head] for gate in range(4) for head in range(2)])
        i, f, z, o = np.split(w["W"] @ frame + back + w["b"], 4)
        c, n = sig(f) * c + np.exp(i) * np.tanh(z), sig(f) * n + np.exp(i)
        h = sig(o) * c / n
        return h

    return frames(step, x)


def m_lstm(w, x):
    """Without a stabiliser, but for what it makes of the 1e-6 in the divisor."""
    C, n, m = np.zeros((2, 2, 4)), np.zeros((2, 2)), np.full(2, -np.inf)

    def step(frame):
        q, k, v, o = (w[f"{p}.weight"] @ frame for p in ("q", "k", "v", "ogate_preact"))
        i, f = (15 * np.tanh((w[f"{p}gate_preact.weight"] @ frame + w[f"{p}gate_preact.bias"]) / 15) for p in "if")
        y = np.zeros((2, 4))
        for head in range(2):
            C[head] = sig(f[head]) * C[head] + np.exp(i[head]) * np.outer(of_heads(k)[head], of_heads(v)[head])
            n[head] = sig(f[head]) * n[head] + np.exp(i[head]) * of_heads(k)[head]
            m[head] = max(m[head] + np.log(sig(f[head])), i[head])
            query = of_heads(q)[head] / math.sqrt(2)
            y[head] = C[head].T @ query / (max(abs(n[head] @ query), 1) + 1e-6 * np.exp(m[head]))
        y = head_norm(y, w["multihead_norm.weight"], 0, 1e-6)
        return w["out_proj.weight"] @ (sig(o) * y)

    return frames(step, x)


def cfc(w, x):
    h = np.zeros(5)

    def step(frame):
        nonlocal h
        z = 1.7159 * np.tanh(0.666 * (w["backbone.0.weight"] @ np.append(frame, h) + w["backbone.0.bias"]))
        one, two, a, b = (w[f"{k}.weight"] @ z + w[f"{k}.bias"] for k in ("ff1", "ff2", "time_a", "time_b"))
        h = np.tanh(one) * sig(-a - b) + np.tanh(two) * sig(a + b)
        return h

    return frames(step, x)


def ltc(w, x):
    v = np.zeros(5)

    def step(frame):
        frame = frame * w["input_w"] + w["input_b"]
        for _ in range(6):
            next_v = np.zeros(5)
            for n in range(5):
                top = 6 * softplus(w["cm"][n]) * v[n] + softplus(w["gleak"][n]) * w["vleak"][n]
                below = 6 * softplus(w["cm"][n]) + softplus(w["gleak"][n]) + 1e-8
                for kind, pre in (("", v), ("sensory_", frame)):
                    for m in range(len(pre)):
                        open_ = sig(w[f"{kind}sigma"][m, n] * (pre[m] - w[f"{kind}mu"][m, n]))
                        open_ *= softplus(w[f"{kind}w"][m, n]) * w[f"{kind}sparsity_mask"][m, n]
                        top, below = top + open_ * w[f"{kind}erev"][m, n], below + open_
                next_v[n] = top / below
            v[:] = next_v
        return v[:3] * w["output_w"] + w["output_b"]

    return frames(step, x)


def lmu(w, x):
    h, m = np.zeros(5), np.zeros(4)

    def step(frame):
        nonlocal h, m
        u = w["e_x"][0] @ frame + w["e_h"][0] @ h + w["e_m"][0] @ m
        m = w["A"] @ m + w["B"][:, 0] * u
        h = np.tanh(w["W_x"] @ frame + w["W_h"] @ h + w["W_m"] @ m)
        return h

    return frames(step, x)


def esn(w, x):
    h = np.zeros(8)

    def step(frame):
        nonlocal h
        h = 0.7 * h + 0.3 * np.tanh(w["W"] @ h + w["Win"] @ frame + w["bias"])
        return w["Wout"] @ h + w["b_out"]

    return frames(step, x)


def lif(w, x):
    v = np.zeros(6)

    def step(frame):
        nonlocal v
        v = w["beta"] * v + frame - np.where(v > w["threshold"], w["threshold"], 0)
        return np.where(v > w["threshold"], 1.0, 0.0)

    return frames(step, x)


def picture(W, b, x):
    """A convolution (outputs, channels, 3, 3) with zeros around, by its definition."""
    rows, columns = x.shape[1:]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    y = np.zeros((len(W), rows, columns))
    for i in range(rows):
        for j in range(columns):
            y[:, i, j] = np.einsum("ockl,ckl->o", W, padded[:, i : i + 3, j : j + 3]) + b
    return y


def conv_lstm(w, x):
    h, c = np.zeros((2, 3, 4, 5))

    def step(frame):
        nonlocal h, c
        i, f, o, g = np.split(picture(w["conv.weight"], w["conv.bias"], np.concatenate([frame, h])), 4)
        c = sig(f) * c + sig(i) * np.tanh(g)
        h = sig(o) * np.tanh(c)
        return h

    return frames(step, x)


def conv_gru(w, x):
    h = np.zeros((3, 4, 5))

    def step(frame):
        nonlocal h
        gates = picture(w["conv_gates.weight"], w["conv_gates.bias"], np.concatenate([frame, h]))
        r, z = np.split(sig(gates), 2)
        n = np.tanh(picture(w["conv_can.weight"], w["conv_can.bias"], np.concatenate([frame, r * h])))
        h = (1 - z) * h + z * n
        return h

    return frames(step, x)


def layer_norm_lstm(w, x):
    h, c = np.zeros((2, 5))

    def norm(a, k):
        return head_norm(a, w[f"layernorm_{k}.weight"], w[f"layernorm_{k}.bias"], 1e-5)

    def step(frame):
        nonlocal h, c
        i, f, g, o = np.split(norm(w["weight_ih"] @ frame, "i") + norm(w["weight_hh"] @ h, "h"), 4)
        c = norm(sig(f) * c + sig(i) * np.tanh(g), "c")
        h = sig(o) * np.tanh(c)
        return h

    return frames(step, x)


def bounded_lstm(w, x):
    h, c = np.zeros(3), np.zeros(5)

    def step(frame):
        nonlocal h, c
        gates = w["weight_ih_l0"] @ frame + w["weight_hh_l0"] @ h + w["bias_ih_l0"] + w["bias_hh_l0"]
        i, f, g, o = np.split(gates, 4)
        c = np.clip(sig(f) * c + sig(i) * np.tanh(g), -0.5, 0.5)
        h = np.clip(w["weight_hr_l0"] @ (sig(o) * np.tanh(c)), -0.4, 0.4)
        return h

    return frames(step, x)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def window_attention(w, x, at=""):
    """Two heads over the last four frames."""
    q, k, v = np.split(x @ w[f"{at}in_proj_weight"].T + w[f"{at}in_proj_bias"], 3, axis=1)
    y = np.zeros_like(x)
    for t in range(len(x)):
        for rows in (slice(0, 3), slice(3, 6)):
            seen = slice(max(0, t - 3), t + 1)
            y[t, rows] = softmax(k[seen, rows] @ q[t, rows] / math.sqrt(3)) @ v[seen, rows]
    return y @ w[f"{at}out_proj.weight"].T + w[f"{at}out_proj.bias"]


def attention(w, x):
    return window_attention(w, x)


def additive_attention(w, x):
    q, k, v = (x @ w[f"W_{p}"].T for p in "qkv")
    rows = []
    for t in range(len(x)):
        seen = slice(max(0, t - 3), t + 1)
        rows.append(softmax(np.array([w["additive"] @ np.tanh(q[t] + key) for key in k[seen]])) @ v[seen])
    return np.array(rows)


def block_norm(w, x, i):
    return np.array([head_norm(row, w[f"norm{i}.weight"], w[f"norm{i}.bias"], 1e-5) for row in x])


def inner(w, x, g):
    return g(x @ w["linear1.weight"].T + w["linear1.bias"]) @ w["linear2.weight"].T + w["linear2.bias"]


def transformer_block(w, x):
    y = block_norm(w, x + window_attention(w, x, "self_attn."), 1)
    return block_norm(w, y + inner(w, y, lambda a: np.maximum(a, 0)), 2)


def transformer_block_norm_first(w, x):
    y = x + window_attention(w, block_norm(w, x, 1), "self_attn.")
    return y + inner(w, block_norm(w, y, 2), lambda a: a * 0.5 * (1 + np.vectorize(math.erf)(a / math.sqrt(2))))
