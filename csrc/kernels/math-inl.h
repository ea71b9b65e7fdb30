// SPDX-License-Identifier: MIT
// exp, log, sigmoid, tanh and every activation, from one sequence of IEEE operations on every target.
// Compiled once per ISA; what is not behind __cplusplus is C99 too, for exported models hold it. Coefficients and their
// errors: fit_coefficients.py. Bounds below are against float64 over all floats, held by tests/cpp/test_math.cpp. NaN in, NaN
// out. Results below 2^-126 are flushed to zero.

#if defined(__cplusplus)
namespace {
#endif

// e^(kx) = 2^n (1 + s): n = round(kx / ln 2), s = e^r - 1 with |r| <= ln(2)/2. kx must lie in [-87.33, 88.37], where 2^n
// is a normal float. k is a small power of two with a sign, so kx is exact.
typedef struct {
  V pow2n;
  V s;
} ExpParts;

// e^r - 1: pairs of terms side by side, for the length of this chain is what a cell waits for.
static UT_INLINE_FN V exp_reduced(V r) {
  const V r2 = mul(r, r);
  const V low = mul_add(set1(1.6666521e-01f), r, set1(4.9999994e-01f));
  const V high = mul_add(set1(8.368663e-03f), r, set1(4.1668255e-02f));
  const V q = mul_add(mul_add(set1(1.3821468e-03f), r2, high), r2, low);
  return mul_add(r2, q, r);
}

static UT_INLINE_FN ExpParts exp_parts(V x, float k) {
  const V shift = set1(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number, ties to even
  const V n = sub(mul_add(x, set1(k * 1.44269504f), shift), shift);
  V r = mul_add(n, set1(-0.693359375f), mul(x, set1(k)));  // ln 2 in two parts, the first with 9 bits: n times it is exact
  r = mul_add(n, set1(2.12194440e-4f), r);
  const ExpParts parts = {pow2(n), exp_reduced(r)};
  return parts;
}

// 1 + e^(kx) for the denominators below.
static UT_INLINE_FN V one_plus_exp(V x, float k) {
  const ExpParts e = exp_parts(x, k);
  return mul_add(e.pow2n, e.s, add(e.pow2n, set1(1.0f)));
}

// exp: error < 1.1 ulp, monotone; 0 below -86.65 (results under 2^-125), inf above 88.72. The power is applied in two
// halves: 2^128 is no float.
static inline V vexp(V x) {
  x = min(set1(89.0f), max(set1(-87.33f), x));
  const V shift = set1(12582912.0f);
  const V n = sub(mul_add(x, set1(1.44269504f), shift), shift);
  V r = mul_add(n, set1(-0.693359375f), x);
  r = mul_add(n, set1(2.12194440e-4f), r);
  const V p = pow2(sub(n, set1(1.0f)));
  const V half = mul_add(p, exp_reduced(r), p);
  return add(half, half);
}

// exp(x) - 1 for x <= 0: error < 1 ulp.
static inline V vexpm1_negative(V x) {
  const ExpParts e = exp_parts(max(set1(-87.33f), x), 1.0f);
  return mul_add(e.pow2n, e.s, sub(e.pow2n, set1(1.0f)));
}

// sigmoid: error < 2.5 ulp, monotone, in [0, 1].
static UT_INLINE_FN V sigmoid_bounded(V x) { return div(set1(1.0f), one_plus_exp(x, -1.0f)); }
static UT_INLINE_FN V sigmoid_bounds(V x) { return min(set1(87.33f), max(set1(-88.37f), x)); }
static inline V vsigmoid(V x) { return sigmoid_bounded(sigmoid_bounds(x)); }

// tanh: error < 1.4 ulp, odd, monotone, in [-1, 1]. A polynomial where 1 - 2 / (e^2a + 1) would cancel; a = |x|.
static const float kTanhSmall = 0.5625f, kTanhBound = 44.0f;
static UT_INLINE_FN V tanh_small(V a) {
  const V u = mul(a, a);
  V p = set1(-6.169614e-03f);
  p = mul_add(p, u, set1(2.1000376e-02f));
  p = mul_add(p, u, set1(-5.3835757e-02f));
  p = mul_add(p, u, set1(1.3332437e-01f));
  p = mul_add(p, u, set1(-3.3333313e-01f));
  return mul_add(mul(u, a), p, a);
}
static UT_INLINE_FN V tanh_large(V a) { return sub(set1(1.0f), div(set1(2.0f), one_plus_exp(a, 2.0f))); }
static inline V vtanh(V x) {
  const V a = vabs(x);
#if defined(UT_ONE_LANE)
  return copy_sign(is_less(a, kTanhSmall) ? tanh_small(a) : tanh_large(min(kTanhBound, a)), x);
#else
  return copy_sign(select_lt(a, set1(kTanhSmall), tanh_small(a), tanh_large(min(set1(kTanhBound), a))), x);
#endif
}

// The same bits, of inputs within the bounds of both, for those who wait: bounds add to the length of the chain, a branch
// that nobody takes does not; and where all lanes are small, the polynomial is all that counts.
static inline V tanh_bounds(V x) { return copy_sign(min(set1(kTanhBound), vabs(x)), x); }
static inline V tanh_bounded(V x) {
  const V a = vabs(x);
  if (all_lt(a, set1(kTanhSmall))) return copy_sign(tanh_small(a), x);
  return copy_sign(select_lt(a, set1(kTanhSmall), tanh_small(a), tanh_large(a)), x);
}
#if defined(__cplusplus)
inline bool all_near(V x) { return all_lt(vabs(x), set1(kTanhBound)); }
template <class... Vs>
inline bool all_near(V x, Vs... others) {  // `max` may lose a NaN, to which bounds do nothing
  V most = vabs(x);
  ((most = max(vabs(others), most)), ...);
  return all_lt(most, set1(kTanhBound));
}
#endif

// atanh(z) for |z| < 0.34.
static inline V vatanh_small(V z) {
  const V u = mul(z, z);
  V p = set1(8.8838786e-02f);
  p = mul_add(p, u, set1(9.271707e-02f));
  p = mul_add(p, u, set1(1.1060594e-01f));
  p = mul_add(p, u, set1(1.4289498e-01f));
  p = mul_add(p, u, set1(1.999989e-01f));
  p = mul_add(p, u, set1(3.3333334e-01f));
  return mul_add(mul(u, z), p, z);
}

// log of a normal positive float or NaN: error < 2 ulp. +inf gives 88.7.
static inline V vlog(V x) {
  const V one = set1(1.0f);
  V m = mantissa(x), e = exponent(x);
  const V root2 = set1(1.41421354f);
  e = select_lt(root2, m, add(e, one), e);
  m = select_lt(root2, m, mul(m, set1(0.5f)), m);
  const V w = vatanh_small(div(sub(m, one), add(m, one)));
  const V y = mul_add(e, set1(0.693359375f), mul_add(e, set1(-2.12194440e-4f), add(w, w)));
  return select_lt(set1(0.0f), x, y, x);  // `mantissa` has lost a NaN
}

// log(1 + exp(x)): error < 2.9 ulp. The second term is log1p(v) = 2 atanh(v / (2 + v)) with v in [0, 1].
static inline V vsoftplus(V x) {
  const V v = vexp(sub(set1(0.0f), vabs(x)));
  const V w = vatanh_small(div(v, add(set1(2.0f), v)));
  return add(max(set1(0.0f), x), add(w, w));
}

// A comparison hands its operand on as it is, or as zero if that is subnormal: which of the two depends on the
// instruction set. This is zero on all.
static inline V flushed(V x) { return select_lt(vabs(x), set1(1.17549435e-38f), copy_sign(set1(0.0f), x), x); }

// log: error < 2 ulp. -inf at 0 (and of what is subnormal), NaN below.
static inline V vlog_any(V x) {
  V y = select_lt(x, set1(UT_INFINITY), vlog(x), x);
  y = select_lt(x, set1(1.17549435e-38f), set1(-UT_INFINITY), y);
  return select_lt(x, set1(0.0f), set1(UT_NAN), y);
}

// The nearest integer, halves to even: from 2^23 on every float is one. NaN and the sign of zero stay.
static inline V vround(V x) {
  const V a = vabs(x), shift = set1(8388608.0f);
  return copy_sign(select_lt(a, shift, sub(add(a, shift), shift), a), x);
}
static inline V vfloor(V x) {
  const V n = vround(x);
  return select_lt(x, n, sub(n, set1(1.0f)), n);
}
static inline V vceil(V x) {
  const V n = vround(x);
  return copy_sign(select_lt(n, x, add(n, set1(1.0f)), n), x);
}

// erf: error < 2 ulp, odd, in [-1, 1].
static inline V verf(V x) {
  const V a = vabs(x);
  const V u = mul(a, a);
  V p = set1(-6.1791774e-04f);
  p = mul_add(p, u, set1(5.0271493e-03f));
  p = mul_add(p, u, set1(-2.6787648e-02f));
  p = mul_add(p, u, set1(1.1282329e-01f));
  p = mul_add(p, u, set1(-3.7612534e-01f));
  p = mul_add(p, u, set1(1.2837915e-01f));
  const V small = mul_add(p, a, a);
  const V far = min(set1(4.0f), a);  // 1 - erf(4) is less than half of the last place
  V q = set1(-9.36472e-06f);
  q = mul_add(q, far, set1(3.0433064e-04f));
  q = mul_add(q, far, set1(-3.568256e-03f));
  q = mul_add(q, far, set1(2.3607165e-02f));
  q = mul_add(q, far, set1(-1.0605955e-01f));
  q = mul_add(q, far, set1(-6.3525695e-01f));
  q = mul_add(q, far, set1(-1.1286229f));
  const V large = sub(set1(1.0f), vexp(mul(q, far)));
  return copy_sign(select_lt(a, set1(0.875f), small, large), x);
}

// sin(x + quarter pi / 2): error < 2 ulp up to 2^20 in magnitude, NaN beyond. x less n quarters of a turn is exact but for
// its last rounding: n has 20 bits, so x - n c with the first part c of pi / 2 is a float.
static inline V vsin_of(V x, float quarter) {
  const V shift = set1(12582912.0f);
  V n = sub(mul_add(x, set1(6.36619772e-01f), shift), shift);
  V r = mul_add(n, set1(-1.5707964f), x);
  r = mul_add(n, set1(4.371139e-08f), r);
  r = mul_add(n, set1(1.7151245e-15f), r);
  const V u = mul(r, r);
  V p = set1(2.8037236e-06f);
  p = mul_add(p, u, set1(-1.985064e-04f));
  p = mul_add(p, u, set1(8.333375e-03f));
  p = mul_add(p, u, set1(-1.6666667e-01f));
  const V sine = mul_add(mul(u, r), p, r);
  V q = set1(2.439365e-05f);
  q = mul_add(q, u, set1(-1.3886959e-03f));
  q = mul_add(q, u, set1(4.1666638e-02f));
  const V cosine = mul_add(mul(u, u), q, mul_add(u, set1(-0.5f), set1(1.0f)));
  n = add(n, set1(quarter));
  const V odd = sub(n, mul(set1(2.0f), vfloor(mul(n, set1(0.5f)))));
  const V turn = sub(n, mul(set1(4.0f), vfloor(mul(n, set1(0.25f)))));
  const V y = select_lt(set1(0.5f), odd, cosine, sine);
  const V limit = set1(1048576.0f);
  return select_lt(limit, vabs(x), set1(UT_NAN), select_lt(set1(1.5f), turn, sub(set1(0.0f), y), y));
}

// Formulas: python/undertow/ir/activations.py and csrc/FORMAT.md.
static inline V activation_of(uint32_t kind, float a, float b, V x) {
  const V zero = set1(0.0f), one = set1(1.0f), alpha = set1(a), beta = set1(b);
  switch (kind) {
    case kActRelu: return flushed(max(zero, x));
    case kActTanh: return vtanh(x);
    case kActSigmoid: return vsigmoid(x);
    case kActAffine: return mul_add(alpha, x, beta);
    case kActLeakyRelu: return flushed(select_lt(x, zero, mul(alpha, x), x));
    case kActThresholdedRelu: return flushed(select_lt(x, alpha, zero, x));
    case kActScaledTanh: return mul(alpha, vtanh(mul(beta, x)));
    case kActHardSigmoid: return min(one, max(zero, mul_add(alpha, x, beta)));
    case kActElu: return mul(beta, select_lt(x, zero, mul(alpha, vexpm1_negative(min(zero, x))), x));
    case kActSoftsign: return div(x, add(one, vabs(x)));
    case kActSoftplus: return vsoftplus(x);
    case kActClip: return flushed(min(beta, max(alpha, x)));
    case kActExp: return vexp(x);
    case kActSilu: return div(x, add(one, vexp(sub(zero, x))));
    case kActSqrt: return square_root(x);
    case kActLog: return vlog_any(x);
    case kActAbs: return flushed(vabs(x));
    case kActRound: return vround(x);
    case kActFloor: return vfloor(x);
    case kActCeil: return vceil(x);
    case kActSign: return flushed(select_lt(x, zero, set1(-1.0f), select_lt(zero, x, one, x)));
    case kActReciprocal: return div(one, x);
    case kActErf: return verf(x);
    case kActSin: return select_lt(vabs(x), set1(1.17549435e-38f), copy_sign(zero, x), vsin_of(x, 0.0f));
    case kActCos: return vsin_of(x, 1.0f);
    default: return x;
  }
}

#if defined(__cplusplus)
inline V activate(const Act& act, V x) { return activation_of(act.kind, act.alpha, act.beta, x); }

// Of a kind that is known while compiling.
template <uint32_t kKind>
UT_INLINE_FN V activate_as(const Act& act, V x) {
  return activation_of(kKind, act.alpha, act.beta, x);
}
#endif

#if defined(__cplusplus)
}  // namespace
#endif
