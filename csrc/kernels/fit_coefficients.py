# SPDX-License-Identifier: MIT
"""Fit the polynomials of math-inl.h: minimax coefficients (Lawson's iteration), rounded to float32 one by one.

    python csrc/kernels/fit_coefficients.py        (needs numpy and mpmath)

Each polynomial p(u) = c0 + c1 u + ... minimises max |w(u) (p(u) - f(u))| over the interval, where w makes the error
that of the function built on p, relative to it. Coefficients are rounded to float32 from the lowest up, the rest being
fitted again after each, so that rounding costs little. The printed bound is that of the rounded polynomial.
"""

import mpmath as mp
import numpy as np

mp.mp.dps = 40
TINY = mp.mpf("1e-12")


def lawson(u, f, w, powers, iterations=400):
    """Minimise max |w (sum c_j u^p_j - f)| over the points u by reweighted least squares."""
    A = u[:, None] ** np.array(powers) * w[:, None]
    b = f * w
    lam = np.ones_like(u) / len(u)
    best, best_error = None, np.inf
    for _ in range(iterations):
        s = np.sqrt(lam)
        c = np.linalg.lstsq(A * s[:, None], b * s, rcond=None)[0]
        error = np.abs(A @ c - b)
        if error.max() < best_error:
            best, best_error = c, error.max()
        lam *= error / error.max()
        lam /= lam.sum()
    return best


def fit(name, f, weight, lo, hi, degree):
    u = (lo + hi) / 2 - (hi - lo) / 2 * np.cos(np.pi * np.arange(2001) / 2000)
    target = np.array([float(f(mp.mpf(x))) for x in u])
    w = np.array([float(weight(mp.mpf(x))) for x in u])
    fixed = []
    while len(fixed) <= degree:
        known = sum((c * u**i for i, c in enumerate(fixed)), np.zeros_like(u))
        c = lawson(u, target - known, w, range(len(fixed), degree + 1))
        fixed.append(float(np.float32(c[0])))
    bound = np.abs(w * (sum(c * u**i for i, c in enumerate(fixed)) - target)).max()
    print(f"{name}: relative error {bound:.2g}")
    for i, c in enumerate(fixed):
        print(f"  c{i} = {np.format_float_scientific(np.float32(c), unique=True)}f")


def exp_q(r):
    return (mp.e**r - 1 - r) / r**2 if abs(r) > TINY else mp.mpf(1) / 2


def tanh_p(u):
    a = mp.sqrt(u)
    return (mp.tanh(a) - a) / a**3 if u > TINY else -mp.mpf(1) / 3


def atanh_p(u):
    z = mp.sqrt(u)
    return (mp.atanh(z) - z) / z**3 if u > TINY else mp.mpf(1) / 3


def sin_p(u):
    r = mp.sqrt(u)
    return (mp.sin(r) - r) / r**3 if u > TINY else -mp.mpf(1) / 6


def cos_q(u):
    return (mp.cos(mp.sqrt(u)) - 1 + u / 2) / u**2 if u > mp.mpf("1e-9") else mp.mpf(1) / 24


def erf_p(u):
    a = mp.sqrt(u)
    return (mp.erf(a) - a) / a if u > TINY else 2 / mp.sqrt(mp.pi) - 1


def log_erfc(a):
    return mp.log(mp.erfc(a)) / a


if __name__ == "__main__":
    half = float(mp.log(2) / 2) * 1.0001
    fit("exp: e^r = 1 + r + r^2 q(r), |r| <= ln(2)/2", exp_q, lambda r: r**2 / mp.e**r, -half, half, 4)
    fit("tanh: a + a^3 p(a^2), a < 0.5625", tanh_p, lambda u: u**1.5 / mp.tanh(mp.sqrt(u)) if u else 0, 0, 0.5625**2, 4)
    fit("atanh: z + z^3 p(z^2), z < 0.34", atanh_p, lambda u: u**1.5 / mp.atanh(mp.sqrt(u)) if u else 0, 0, 0.34**2, 5)
    most = 0.82**2
    fit("sin: r + r^3 p(r^2), |r| < 0.82", sin_p, lambda u: u**1.5 / mp.sin(mp.sqrt(u)) if u else 0, 0, most, 3)
    fit("cos: 1 - u / 2 + u^2 q(u), u = r^2", cos_q, lambda u: u**2 / mp.cos(mp.sqrt(u)), 0, most, 2)
    fit("erf: a + a p(a^2), a < 0.875", erf_p, lambda u: mp.sqrt(u) / mp.erf(mp.sqrt(u)) if u else 0.9, 0, 0.875**2, 5)
    fit("erf: 1 - e^(a p(a)), 0.875 < a < 4", log_erfc, lambda a: a * mp.erfc(a) / mp.erf(a), 0.875, 4, 6)
    half_pi, parts = mp.pi / 2, []
    for _ in range(3):
        parts.append(np.float32(float(half_pi)))
        half_pi -= float(parts[-1])
    print("pi / 2 in parts:", *(np.format_float_scientific(part, unique=True) for part in parts))
