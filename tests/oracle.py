# SPDX-License-Identifier: MIT
"""The slow truth of the tests: cells and layers in NumPy float64, written again from the specifications.

Shares no code with the package, so that one misreading cannot hide on both sides. Recurrent functions take and give
what the ONNX operators RNN, GRU and LSTM do at layout 0, gate orders included: GRU z r h, LSTM i o f c. Letters:
T timesteps, B batch, D directions, I inputs, H hidden units, P width of the projected hidden state (P = H without).
An activation is a name of the ONNX specification, or a tuple (name, alpha) or (name, alpha, beta).
"""

import math

import numpy as np


def activation(spec):
    """The function for a name or a tuple (name, alpha, beta), on a float64 array."""
    name, alpha, beta = (*((spec,) if isinstance(spec, str) else spec), None, None)[:3]

    def or_default(value, default):
        return float(np.float32(default if value is None else value))  # attributes of ONNX are float32

    def elementwise(f):
        return lambda x: np.array([f(v) for v in np.ravel(x)], np.float64).reshape(np.shape(x))

    name = name.lower().replace("_", "")
    if name in ("identity", "linear"):
        return lambda x: x
    if name == "relu":
        return elementwise(lambda v: v if v > 0 else 0.0)
    if name == "tanh":
        return np.tanh
    if name == "sigmoid":
        return elementwise(_sigmoid)
    if name == "affine":
        a, b = or_default(alpha, 1.0), or_default(beta, 0.0)
        return lambda x: a * x + b
    if name == "leakyrelu":
        a = or_default(alpha, 0.01)
        return elementwise(lambda v: v if v >= 0 else a * v)
    if name == "thresholdedrelu":
        a = or_default(alpha, 1.0)
        return elementwise(lambda v: v if v >= a else 0.0)
    if name == "scaledtanh":
        a, b = or_default(alpha, 1.0), or_default(beta, 1.0)
        return lambda x: a * np.tanh(b * x)
    if name == "hardsigmoid":
        a, b = or_default(alpha, 0.2), or_default(beta, 0.5)
        return elementwise(lambda v: max(0.0, min(1.0, a * v + b)))
    if name == "elu":
        a = or_default(alpha, 1.0)
        return elementwise(lambda v: v if v >= 0 else a * (np.exp(v) - 1))
    if name == "selu":
        a, b = or_default(alpha, 1.67326319217681884765625), or_default(beta, 1.05070102214813232421875)
        return elementwise(lambda v: b * v if v >= 0 else b * a * (np.exp(v) - 1))
    if name == "softsign":
        return elementwise(lambda v: v / (1 + abs(v)))
    if name == "softplus":
        return elementwise(lambda v: v + np.log(1 + np.exp(-v)) if v > 0 else np.log(1 + np.exp(v)))
    if name == "clip":
        a, b = or_default(alpha, -1.0), or_default(beta, 1.0)
        return elementwise(lambda v: max(a, min(b, v)))
    if name == "exp":
        return np.exp
    if name in ("silu", "swish"):
        return elementwise(lambda v: v * _sigmoid(v))
    if name in ("sqrt", "log"):
        f = getattr(math, name)
        return elementwise(lambda v: f(v) if v > 0 else np.nan if v < 0 else {"sqrt": v, "log": -np.inf}[name])
    if name in ("abs", "erf", "sin", "cos", "floor", "ceil"):
        return elementwise(abs if name == "abs" else getattr(math, name))
    if name == "round":
        return elementwise(round)
    if name == "sign":
        return elementwise(lambda v: float(v > 0) - float(v < 0))
    if name == "reciprocal":
        return elementwise(lambda v: 1 / v if v else math.copysign(np.inf, v))
    raise ValueError(f"the oracle does not know the activation {name!r}")


def _sigmoid(v):
    return 1 / (1 + np.exp(-v)) if v >= 0 else np.exp(v) / (1 + np.exp(v))


# -- recurrent layers, one sequence in one direction at a time ------------------------------------------------------


def rnn(X, W, R, B=None, lengths=None, h0=None, *, direction="forward", activations=None, clip=None):
    """ONNX RNN. X (T, B, I), W (D, H, I), R (D, H, H), B (D, 2H) -> Y (T, D, B, H), Y_h (D, B, H)."""

    def cell(d, x, h, c):
        H = R.shape[2]
        bound, (f,) = _bounded(clip), _per_direction(activations, ["Tanh"], d)
        Wb, Rb = (B[d, :H], B[d, H:]) if B is not None else (np.zeros(H), np.zeros(H))
        return f(bound(W[d] @ x + R[d] @ h + Wb + Rb)), c

    X, W, R, B = _f64(X, W, R, B)
    return _walk(cell, X, R.shape[2], R.shape[2], lengths, h0, None, direction)[:2]


def gru(
    X, W, R, B=None, lengths=None, h0=None, *, direction="forward", activations=None, clip=None, linear_before_reset=0
):
    """ONNX GRU, gates z r h. X (T, B, I), W (D, 3H, I), R (D, 3H, H), B (D, 6H) -> Y (T, D, B, H), Y_h (D, B, H)."""

    def cell(d, x, h, c):
        H = R.shape[2]
        bound, (f, g) = _bounded(clip), _per_direction(activations, ["Sigmoid", "Tanh"], d)
        Wz, Wr, Wh = W[d, :H], W[d, H : 2 * H], W[d, 2 * H :]
        Rz, Rr, Rh = R[d, :H], R[d, H : 2 * H], R[d, 2 * H :]
        b = B[d] if B is not None else np.zeros(6 * H)
        Wbz, Wbr, Wbh, Rbz, Rbr, Rbh = (b[k * H : (k + 1) * H] for k in range(6))
        z = f(bound(Wz @ x + Rz @ h + Wbz + Rbz))
        r = f(bound(Wr @ x + Rr @ h + Wbr + Rbr))
        if linear_before_reset:
            n = g(bound(Wh @ x + r * (Rh @ h + Rbh) + Wbh))
        else:
            n = g(bound(Wh @ x + Rh @ (r * h) + Rbh + Wbh))
        return (1 - z) * n + z * h, c

    X, W, R, B = _f64(X, W, R, B)
    return _walk(cell, X, R.shape[2], R.shape[2], lengths, h0, None, direction)[:2]


def lstm(
    X,
    W,
    R,
    B=None,
    lengths=None,
    h0=None,
    c0=None,
    peephole=None,
    *,
    direction="forward",
    activations=None,
    clip=None,
    input_forget=0,
    projection=None,
):
    """ONNX LSTM, gates i o f c, peephole (D, 3H) i o f; and PyTorch's proj_size: projection (D, P, H).

    X (T, B, I), W (D, 4H, I), R (D, 4H, P), B (D, 8H) -> Y (T, D, B, P), Y_h (D, B, P), Y_c (D, B, H).
    """

    def cell(d, x, h, c):
        bound, (f, g, out) = _bounded(clip), _per_direction(activations, ["Sigmoid", "Tanh", "Tanh"], d)
        p = peephole[d] if peephole is not None else np.zeros(3 * H)
        b = B[d] if B is not None else np.zeros(8 * H)
        rows = {gate: slice(k * H, (k + 1) * H) for k, gate in enumerate("iofc")}

        def gate(name, memory=0.0):
            both_biases = b[: 4 * H][rows[name]] + b[4 * H :][rows[name]]
            return bound(W[d][rows[name]] @ x + R[d][rows[name]] @ h + memory + both_biases)

        i = f(gate("i", p[:H] * c))
        forget = 1 - i if input_forget else f(gate("f", p[2 * H :] * c))
        c = forget * c + i * g(gate("c"))
        o = f(gate("o", p[H : 2 * H] * c))
        h = o * out(c)  # not clipped: see test_clip_leaves_the_memory_alone
        return (h if projection is None else projection[d] @ h), c

    X, W, R, B, peephole, projection = _f64(X, W, R, B, peephole, projection)
    H = W.shape[1] // 4
    return _walk(cell, X, R.shape[2], H, lengths, h0, c0, direction)


def _walk(cell, X, n_h, n_c, lengths, h0, c0, direction):
    T, n_batch, _ = X.shape
    directions = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    Y = np.zeros((T, len(directions), n_batch, n_h))
    Y_h = np.zeros((len(directions), n_batch, n_h))
    Y_c = np.zeros((len(directions), n_batch, n_c))
    for d, backwards in enumerate(directions):
        for b in range(n_batch):
            length = T if lengths is None else int(lengths[b])
            h = np.zeros(n_h) if h0 is None else np.array(h0[d][b], np.float64)
            c = np.zeros(n_c) if c0 is None else np.array(c0[d][b], np.float64)
            if length == 0:  # nothing was seen: ONNX Runtime gives zeros, not the initial state
                continue
            for t in reversed(range(length)) if backwards else range(length):
                h, c = cell(d, X[t, b], h, c)
                Y[t, d, b] = h
            Y_h[d, b], Y_c[d, b] = h, c
    return Y, Y_h, Y_c


def _per_direction(specs, defaults, d):
    """The functions of direction d; a list for one direction serves both."""
    specs = list(specs or defaults)
    n = len(defaults)
    return [activation(spec) for spec in (specs[d * n : (d + 1) * n] if len(specs) > n else specs)]


def _bounded(clip):
    return (lambda a: a) if not clip else (lambda a: np.minimum(np.maximum(a, -clip), clip))


def _f64(*arrays):
    return [None if a is None else np.asarray(a, np.float64) for a in arrays]


# -- layers beside them, on (..., n) --------------------------------------------------------------------------------


def dense(x, W, b=None, act="identity"):
    """W (M, K), b (M): (..., K) -> (..., M)."""
    x, W, b = _f64(x, W, b)
    y = np.zeros((*x.shape[:-1], len(W)))
    for m in range(len(W)):
        y[..., m] = (x * W[m]).sum(axis=-1) + (0 if b is None else b[m])
    return activation(act)(y)


def softmax(x):
    """Over the last axis."""
    (x,) = _f64(x)
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def log_softmax(x):
    """Over the last axis."""
    (x,) = _f64(x)
    top = np.max(x, axis=-1, keepdims=True)
    return x - top - np.log(np.sum(np.exp(x - top), axis=-1, keepdims=True))


def layer_norm(x, scale=None, shift=None, eps=1e-5):
    """Over the last axis."""
    (x,) = _f64(x)
    mean = np.sum(x, axis=-1, keepdims=True) / x.shape[-1]
    variance = np.sum((x - mean) ** 2, axis=-1, keepdims=True) / x.shape[-1]
    y = (x - mean) / np.sqrt(variance + float(np.float32(eps)))
    y = y if scale is None else y * np.asarray(scale, np.float64)
    return y if shift is None else y + np.asarray(shift, np.float64)


def embedding(ids, table):
    """(...) ids -> (..., width)."""
    return np.array([np.asarray(table, np.float64)[int(i)] for i in np.ravel(ids)]).reshape(*np.shape(ids), -1)
