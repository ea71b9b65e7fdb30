# SPDX-License-Identifier: MIT
"""What csrc/FORMAT.md, "What is computed", says of float32 operations, activations and cells: in NumPy, to the bit.

Shares no code with the package, nor with the kernels: constants and formulas are those of the page. An operation is
computed in float64, rounded to odd there, which keeps what the one rounding to float32 needs (Boldo and Melquiond,
"Emulation of FMA and correctly rounded sums", 2008), and flushed as x86 does. NumPy warns of NaN and infinity where
it is told to.
"""

import math
from fractions import Fraction

import numpy as np

F32, F64 = np.float32, np.float64
SMALLEST = 2.0**-126
A, B, L, T = F32(0.693359375), F32(2.12194440e-4), F32(1.44269504), F32(12582912)


# -- operations -----------------------------------------------------------------------------------------------------


def flushed(x):
    """Float32 numbers as operands: those that are subnormal are zeros of their sign."""
    x = np.asarray(x, F32)
    return np.where(np.abs(x) < F32(SMALLEST), np.copysign(F32(0), x), x)


def _wide(*xs):
    return [flushed(x).astype(F64) for x in xs]


def _rounded(x):
    """Float64 numbers that are exact, or rounded to odd, as results."""
    y = x.astype(F32)
    small = np.abs(x) < SMALLEST
    below = np.abs(x) < SMALLEST * (
        1 - 2.0**-25
    )  # of two floats without a least exponent it is nearer to the lower one
    return np.where(small, np.copysign(np.where(below, F32(0), F32(SMALLEST)), x.astype(F64)), y).astype(F32)


def _sum(a, b):
    """a + b of float64 numbers, rounded to odd."""
    s = np.asarray(a + b)
    v = s - a
    lost = (a - (s - v)) + (b - v)
    odd = s.view(np.int64) & 1 == 1
    away = (lost > 0) == (s > 0)
    moved = (s.view(np.int64) + np.where(away, 1, -1)).view(F64)
    return np.where(np.isfinite(s) & np.isfinite(lost) & (lost != 0) & ~odd, moved, s)


def fma(a, b, c):
    a, b, c = np.broadcast_arrays(*_wide(a, b, c))
    return _rounded(_sum(a * b, c))


def add(a, b):
    return _rounded(_sum(*np.broadcast_arrays(*_wide(a, b))))


def sub(a, b):
    return add(a, -np.asarray(b, F32))


def mul(a, b):
    a, b = _wide(a, b)
    return _rounded(np.asarray(a * b))


def div(a, b):
    a, b = _wide(a, b)
    return _rounded(np.asarray(a / b))  # 53 bits are more than twice 24 and 2: two roundings are one


def root(x):
    return _rounded(np.sqrt(*_wide(x)))


def most(a, b):
    """max(a, b)"""
    a, b = np.broadcast_arrays(flushed(a), flushed(b))
    return np.where(a > b, a, b)


def least(a, b):
    """min(a, b)"""
    a, b = np.broadcast_arrays(flushed(a), flushed(b))
    return np.where(a < b, a, b)


def chain(W, x, start):
    """start, then fma(W[..., k], x[k], d) for ascending k."""
    d = np.asarray(start, F32)
    for k in range(len(x)):
        d = fma(W[..., k], x[k], d)
    return d


def total(v, op=add, start=0.0):
    """S(v) over the last axis."""
    s = np.full((*v.shape[:-1], 16), start, F32)
    for j in range(v.shape[-1]):
        s[..., j % 16] = op(s[..., j % 16], v[..., j])
    for n in (8, 4, 2, 1):
        s = op(s[..., :n], s[..., n : 2 * n])
    return s[..., 0]


# -- activations ----------------------------------------------------------------------------------------------------


def poly(u, first, *others):
    v = F32(first)
    for c in others:
        v = fma(v, u, F32(c))
    return v


def split(x, k):
    """(n, r)"""
    n = sub(fma(x, F32(k) * L, T), T)
    return n, fma(n, B, fma(n, -A, mul(x, k)))


def power(n):
    """2^n"""
    return np.where(np.isnan(n), 0, np.ldexp(F32(1), np.nan_to_num(n).astype(int))).astype(F32)


def E(r):
    t = mul(r, r)
    high, low = fma(F32(8.368663e-3), r, F32(4.1668255e-2)), fma(F32(0.16666521), r, F32(0.49999994))
    return fma(t, fma(fma(F32(1.3821468e-3), t, high), t, low), r)


def D(x, k):
    n, r = split(x, k)
    return fma(power(n), E(r), add(power(n), 1))


def M(x):
    n, r = split(most(-87.33, x), 1)
    return fma(power(n), E(r), sub(power(n), 1))


def H(z):
    u = mul(z, z)
    p = poly(u, 0.088838786, 0.09271707, 0.11060594, 0.14289498, 0.1999989, 0.33333334)
    return fma(mul(u, z), p, z)


def exp(x):
    n, r = split(least(89, most(-87.33, x)), 1)
    e = np.where(n == -126, F32(0), power(n - 1))
    v = fma(e, E(r), e)
    return add(v, v)


def sigmoid(x):
    return div(1, D(least(87.33, most(-88.37, x)), -1))


def tanh(x):
    a = np.abs(x)
    u = mul(a, a)
    small = fma(mul(u, a), poly(u, -6.169614e-3, 2.1000376e-2, -5.3835757e-2, 0.13332437, -0.33333313), a)
    return np.copysign(np.where(a < F32(0.5625), small, sub(1, div(2, D(least(44, a), 2)))), x)


def log(x):
    x = flushed(x)
    positive = (x > 0) & np.isfinite(x)
    m, e = np.frexp(np.where(positive, x, 1))
    m, e = F32(2) * m, e.astype(F32) - 1
    above = m > F32(1.41421354)
    m, e = np.where(above, F32(0.5) * m, m), np.where(above, e + 1, e).astype(F32)
    w = H(div(sub(m, 1), add(m, 1)))
    y = fma(e, A, fma(e, -B, add(w, w)))
    return np.where(positive, y, np.where(x == 0, -np.inf, np.where(x < 0, np.nan, x))).astype(F32)


def softplus(x):
    v = exp(sub(0, np.abs(x)))
    w = H(div(v, add(2, v)))
    return add(most(0, x), add(w, w))


def erf(x):
    a = np.abs(x)
    p = poly(mul(a, a), -6.1791774e-4, 5.0271493e-3, -2.6787648e-2, 0.11282329, -0.37612534, 0.12837915)
    b = least(4, a)
    q = poly(b, -9.36472e-6, 3.0433064e-4, -3.568256e-3, 2.3607165e-2, -0.10605955, -0.63525695, -1.1286229)
    return np.copysign(np.where(a < F32(0.875), fma(p, a, a), sub(1, exp(mul(b, q)))), x)


def wave(x, quarter):
    """sin, cos"""
    near = np.where(np.abs(x) <= 2.0**20, x, 0).astype(F32)
    n = sub(fma(near, F32(0.636619772), T), T)
    r = near
    for c in (-1.5707964, 4.371139e-8, 1.7151245e-15):
        r = fma(n, F32(c), r)
    u = mul(r, r)
    even = fma(mul(u, r), poly(u, 2.8037236e-6, -1.985064e-4, 8.333375e-3, -0.16666667), r)
    odd = fma(mul(u, u), poly(u, 2.439365e-5, -1.3886959e-3, 4.1666638e-2), fma(u, F32(-0.5), 1))
    n = n.astype(int) + quarter
    v = np.where(n % 2 == 1, odd, even)
    v = np.where(n % 4 >= 2, sub(0, v), v)
    v = np.where((flushed(x) == 0) & (quarter == 0), flushed(x), v)
    return np.where(np.abs(x) <= 2.0**20, v, F32(np.nan))


def zero_of(y, x):
    """y, with the sign of x where it is 0"""
    return np.where(y == 0, np.copysign(F32(0), x), y)


ACTIVATIONS = {
    "identity": lambda x, a, b: x,
    "relu": lambda x, a, b: most(0, x),
    "tanh": lambda x, a, b: tanh(x),
    "sigmoid": lambda x, a, b: sigmoid(x),
    "affine": lambda x, a, b: fma(a, x, b),
    "leaky_relu": lambda x, a, b: np.where(flushed(x) < 0, mul(a, x), flushed(x)),
    "thresholded_relu": lambda x, a, b: np.where(flushed(x) < a, F32(0), flushed(x)),
    "scaled_tanh": lambda x, a, b: mul(a, tanh(mul(b, x))),
    "hard_sigmoid": lambda x, a, b: least(1, most(0, fma(a, x, b))),
    "elu": lambda x, a, b: mul(b, np.where(flushed(x) < 0, mul(a, M(x)), x)),
    "softsign": lambda x, a, b: div(x, add(1, np.abs(x))),
    "softplus": lambda x, a, b: softplus(x),
    "clip": lambda x, a, b: least(b, most(a, x)),
    "exp": lambda x, a, b: exp(x),
    "silu": lambda x, a, b: div(x, add(1, exp(sub(0, x)))),
    "sqrt": lambda x, a, b: root(x),
    "log": lambda x, a, b: log(x),
    "abs": lambda x, a, b: np.abs(flushed(x)),
    "round": lambda x, a, b: zero_of(np.rint(flushed(x)), x),
    "floor": lambda x, a, b: zero_of(np.floor(flushed(x)), x),
    "ceil": lambda x, a, b: zero_of(np.ceil(flushed(x)), x),
    "sign": lambda x, a, b: zero_of(np.sign(flushed(x)), x),
    "reciprocal": lambda x, a, b: div(1, x),
    "erf": lambda x, a, b: erf(x),
    "sin": lambda x, a, b: wave(x, 0),
    "cos": lambda x, a, b: wave(x, 1),
}


def activation(kind, alpha=0.0, beta=0.0, clip=None):
    """The function of float32 arrays, behind the clip of a cell."""
    bound = (lambda x: x) if clip is None else (lambda x: least(clip, most(-F32(clip), x)))
    return lambda x: ACTIVATIONS[kind](bound(np.asarray(x, F32)), F32(alpha), F32(beta))


# -- cells: one timestep ----------------------------------------------------------------------------------------------


def rnn(w, acts, x, h):
    (f,) = acts
    return (f(add(chain(w["W"], x, w["b"]), chain(w["R"], h, np.zeros_like(w["b"])))[0]),)


def gru(w, acts, x, h, reset_after):
    f, g = acts
    a = chain(w["W"], x, w["b"])
    zeros = np.zeros_like(w["b"])
    if reset_after:
        rb = zeros.copy()
        rb[2] = w["rb_n"]
        q = chain(w["R"], h, rb)
        z, r = f(add(a[0], q[0])), f(add(a[1], q[1]))
        n = g(fma(r, q[2], a[2]))
    else:
        q = chain(w["R"][:2], h, zeros[:2])
        z, r = f(add(a[0], q[0])), f(add(a[1], q[1]))
        n = g(add(a[2], chain(w["R"][2], mul(r, h), zeros[2])))
    return (fma(z, sub(h, n), n),)


def lstm(w, acts, x, h, c, input_forget):
    f1, f2, f3 = acts
    v = add(chain(w["W"], x, w["b"]), chain(w["R"], h, np.zeros_like(w["b"])))
    seen = (lambda p, c, v: fma(w["peephole"][p], c, v)) if "peephole" in w else (lambda p, c, v: v)
    i, g = f1(seen(0, c, v[0])), f2(v[2])
    f = sub(1, i) if input_forget else f1(seen(1, c, v[1]))
    c = fma(f, c, mul(i, g))
    h = mul(f1(seen(2, c, v[3])), f3(c))
    if "projection" in w:
        h = chain(w["projection"], h, np.zeros(len(w["projection"]), F32))
    return h, c


# -- fixed8: integers, one unit at a time ----------------------------------------------------------------------------

Z_MOST, COUNT_MOST, C_MOST = 2**30 - 1, 2**15 - 1, 2**24 - 1


def fixed_count(x, unit, largest):
    """A number in units of 2^unit, halves away from zero."""
    if abs(float(x)) < SMALLEST:
        return 0
    n = min(int(Fraction(abs(float(x))) / Fraction(2) ** unit + Fraction(1, 2)), largest)
    return -n if x < 0 else n


def fixed_row(row):
    """q and the scale (15 bits, exponent) of a row of weights."""
    top = max(abs(F32(w)) for w in row) / F32(127)
    if top < F32(2.0**-86):
        return [0] * len(row), 0, 0
    mantissa, exponent = math.frexp(float(top))
    m = math.ceil(mantissa * 2**15)
    m, exponent = (m, exponent) if m < 2**15 else (2**14, exponent + 1)
    scale = F32(math.ldexp(m, exponent - 15))
    return [max(-127, min(127, int(np.rint(F32(w) / scale)))) for w in row], m, exponent - 15


def fixed_round(v, s):
    """floor(v s / 2^16 + 1/2)"""
    return (v * s + 2**15) // 2**16


def fixed_z(rows, x, b, hidden=False):
    """W x + b in units of 2^-16; None where that is no number."""
    if not np.isfinite(x).all():
        return [None] * len(rows)
    top = max(abs(F32(v)) for v in x)
    unit = -15 if hidden else math.frexp(float(top))[1] - 15 if top >= F32(SMALLEST) else -141
    qx, sums = [fixed_count(v, unit, COUNT_MOST) for v in x], []
    for row, start in zip(rows, b, strict=True):
        q, m, exponent = fixed_row(row)
        z = fixed_count(start, -16, Z_MOST) if np.isfinite(start) else None
        for k in range(0, len(q), 512):
            if z is None:
                break
            total = sum(v * w for v, w in zip(q[k : k + 512], qx[k : k + 512], strict=True))
            assert abs(total) < 2**31
            p, shift = fixed_round(total, m), -(exponent + unit + 32)
            p = (p + 2 ** (shift - 1)) // 2**shift if shift > 0 else p * 2**-shift
            z = max(-Z_MOST, min(Z_MOST, z + max(-Z_MOST, min(Z_MOST, p))))
        sums.append(z)
    return sums


def fixed_line(z, step):
    """tanh in units of 2^-15, straight between multiples of 2^-6; z in units of 2^(-6 - step)."""
    t = [math.tanh(i / 64) for i in (abs(z) >> step, (abs(z) >> step) + 1)]
    low, high = (min(COUNT_MOST, round(32768 * v + v * (1 - v * v))) for v in t)
    y = low + ((high - low) * (abs(z) % 2**step) + 2 ** (step - 1)) // 2**step if abs(z) >> step < 384 else COUNT_MOST
    return y if z >= 0 else -y


def fixed_tanh(z):
    return fixed_line(z, 10)


def fixed_sigmoid(z):
    return 32768 + fixed_line(z, 11)


def fixed_cell(op, w, x, h, c=None, reset_after=True):
    """One timestep of a cell in fixed8: (h,) or (h, c), float32."""
    G, H = w["b"].shape
    at = lambda v, g, j: v[g * H + j]  # noqa: E731
    flat = lambda m: m.reshape(-1, m.shape[-1])  # noqa: E731
    a = fixed_z(flat(w["W"]), x, w["b"].reshape(-1))
    gates = G if op != "gru" or reset_after else 2
    rb = np.zeros((gates, H), F32)
    if "rb_n" in w:
        rb[2] = w["rb_n"]
    q = fixed_z(flat(w["R"][:gates]), h, rb.reshape(-1), hidden=True)
    number = lambda n, k: F32(np.nan) if n is None else F32(math.ldexp(n, -k))  # noqa: E731
    of_h = [fixed_count(v, -15, COUNT_MOST) if np.isfinite(v) else None for v in h]
    reset = None
    if op == "gru" and not reset_after:
        reset = []
        for j in range(H):
            v = [at(a, g, j) for g in range(3)] + [at(q, g, j) for g in range(2)]
            n = None if None in v else fixed_round(of_h[j], fixed_sigmoid(v[1] + v[4]))
            reset.append(number(n, 15))
        inner = fixed_z(w["R"][2], reset, [0.0] * H, hidden=True)
    hs, cs = [], []
    for j in range(H):
        v = [at(a, g, j) for g in range(G)] + [at(q, g, j) for g in range(gates)] + [None] * (G - gates)
        known = None not in v[: G + gates] and (reset is None or inner[j] is not None)
        if not known or (c is not None and not np.isfinite(c[j])):
            hs.append(None)
            cs.append(None)
            continue
        if op == "rnn":
            hs.append(fixed_tanh(v[0] + v[1]))
        elif op == "gru":
            r = fixed_sigmoid(v[1] + v[4])
            n = fixed_tanh(v[2] + (inner[j] if reset is not None else fixed_round(v[5], r)))
            hs.append(n + fixed_round(of_h[j] - n, fixed_sigmoid(v[0] + v[3])))
        else:
            i, f, g, o = (v[k] + v[4 + k] for k in range(4))
            kept = fixed_round(fixed_count(c[j], -16, C_MOST), fixed_sigmoid(f))
            added = (fixed_sigmoid(i) * fixed_tanh(g) + 2**14) // 2**15
            cs.append(max(-C_MOST, min(C_MOST, kept + added)))
            hs.append((fixed_tanh(cs[j]) * fixed_sigmoid(o) + 2**15) // 2**16)
    states = [[number(n, 15) for n in hs]] + ([[number(n, 16) for n in cs]] if c is not None else [])
    return tuple(np.array(s, F32) for s in states)
