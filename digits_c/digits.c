/* digits: made by undertow 0.1.0, from the model 4cecd3a2071c155a8a01d0c729db8a63.
 * digits.h says how to call it. The text below up to the weights is undertow's, of the MIT License:
 * SPDX-License-Identifier: MIT */
#include "digits.h"

#include <stdbool.h>
#include <float.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>

/* The numerics contract (FORMAT.md, "What is computed") is of operations that round to float32 each. -1 is clang's for a
 * type without hardware, 16 that of targets with _Float16. */
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error "undertow: this target computes float32 in wider registers (x87). Compile for SSE2: -msse2 -mfpmath=sse"
#endif
#if defined(__FAST_MATH__)
#error "undertow: -ffast-math changes results. Compile without it"
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#include <math.h>
#define UT_INLINE
#define UT_INLINE_FN __forceinline
#define UT_NOINLINE __declspec(noinline)
#define UT_UNUSED
#define UT_LIKELY(truth) (truth)
#define UT_UNLIKELY(truth) (truth)
#define UT_INFINITY INFINITY
#define UT_NAN NAN
#define UT_COPY memcpy
#else
#define UT_INLINE __attribute__((always_inline))
#define UT_INLINE_FN UT_INLINE inline
#define UT_NOINLINE __attribute__((noinline))
#define UT_UNUSED __attribute__((unused))
#define UT_LIKELY(truth) __builtin_expect(!!(truth), 1)
#define UT_UNLIKELY(truth) __builtin_expect(!!(truth), 0)
#define UT_INFINITY __builtin_inff()
#define UT_NAN __builtin_nanf("")
/* A few bytes whose number is known: never a call, which memcpy is under -ffreestanding. */
#define UT_COPY __builtin_memcpy
#endif

/* Bits do not depend on flags: no product and sum of two become one operation. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif
/* Nor do they need a library of mathematics, which square roots would without -fno-math-errno. */
#if defined(__GNUC__)
#if defined(__arm__) && defined(__ARM_FP) && (__ARM_FP & 4)
#define UT_UNFUSED(product) __asm__("" : "+t"(product))
#define UT_SQRT(root, a) __asm__("vsqrt.f32 %0, %1" : "=t"(root) : "t"(a))
#elif defined(__aarch64__)
#define UT_UNFUSED(product) __asm__("" : "+w"(product))
#define UT_SQRT(root, a) __asm__("fsqrt %s0, %s1" : "=w"(root) : "w"(a))
#elif defined(__x86_64__)
#define UT_UNFUSED(product) __asm__("" : "+x"(product))
#define UT_SQRT(root, a) __asm__("sqrtss %1, %0" : "=x"(root) : "x"(a))
#elif defined(__riscv) && defined(__riscv_flen)
#define UT_UNFUSED(product) __asm__("" : "+f"(product))
#define UT_SQRT(root, a) __asm__("fsqrt.s %0, %1" : "=f"(root) : "f"(a))
#elif defined(__XTENSA__)
#define UT_UNFUSED(product) __asm__("" : "+f"(product))
#define UT_SQRT_INTEGERS
#endif
#endif

/* The floating-point mode of a step: subnormal numbers are zero, round to nearest, no traps. Then the caller's again.
 * Where there is no such switch operations do it themselves. */
#if defined(_MSC_VER) && !defined(__clang__) && defined(_M_X64)
#include <xmmintrin.h>
typedef unsigned int FloatMode;
static FloatMode float_mode(void) {
  const FloatMode before = _mm_getcsr();
  _mm_setcsr(0x9fc0u);
  return before;
}
static void set_float_mode(FloatMode mode) { _mm_setcsr(mode); }
#elif defined(__x86_64__) || defined(__i386__)
typedef uint32_t FloatMode;
static void set_float_mode(FloatMode mode) { __asm__ volatile("ldmxcsr %0" : : "m"(mode) : "memory"); }
static FloatMode float_mode(void) {
  FloatMode before;
  __asm__ volatile("stmxcsr %0" : "=m"(before) : : "memory");
  set_float_mode(0x9fc0u);
  return before;
}
#elif defined(__aarch64__)
typedef uint64_t FloatMode;
static void set_float_mode(FloatMode mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode) : "memory"); }
static FloatMode float_mode(void) {
  FloatMode before;
  __asm__ volatile("mrs %0, fpcr" : "=r"(before) : : "memory");
  set_float_mode((FloatMode)1 << 24);
  return before;
}
#elif defined(__arm__) && defined(__ARM_FP)
typedef uint32_t FloatMode;
static void set_float_mode(FloatMode mode) { __asm__ volatile("vmsr fpscr, %0" : : "r"(mode) : "memory"); }
static FloatMode float_mode(void) {
  FloatMode before;
  __asm__ volatile("vmrs %0, fpscr" : "=r"(before) : : "memory");
  set_float_mode((FloatMode)1 << 24);
  return before;
}
#else
typedef int FloatMode;
static FloatMode float_mode(void) { return 0; }
static void set_float_mode(FloatMode mode) { (void)mode; }
#endif

/* How a * b + c is rounded once: by an instruction, whether or not the compiler calls it fast; from double arithmetic; or,
 * where there is no FPU, from integers. */
#define UT_FMA_INSTRUCTION 1
#define UT_FMA_DOUBLES 2
#define UT_FMA_INTEGERS 3
#if !defined(UT_FMA)
#if (defined(__arm__) && !(defined(__ARM_FP) && (__ARM_FP & 4))) || (defined(__riscv) && !defined(__riscv_flen))
#define UT_FMA UT_FMA_INTEGERS
#elif defined(__FP_FAST_FMAF) || defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__aarch64__) || \
    defined(__riscv_flen) || defined(_M_ARM64)
#define UT_FMA UT_FMA_INSTRUCTION
#else
#define UT_FMA UT_FMA_DOUBLES
#endif
#endif
#if !defined(UT_FLUSH)
#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64) || defined(_M_IX86) || defined(__aarch64__) || \
    defined(_M_ARM64) || (defined(__arm__) && defined(__ARM_FP) && (__ARM_FP & 4))
#define UT_FLUSH 0
#else
#define UT_FLUSH 1
#endif
#endif
typedef float V;
UT_UNUSED static inline uint32_t bits_of(float a) {
  uint32_t u;
  UT_COPY(&u, &a, sizeof u);
  return u;
}
UT_UNUSED static inline float float_of(uint32_t u) {
  float a;
  UT_COPY(&a, &u, sizeof a);
  return a;
}
/* What counts in place of `a`: its zero where it is subnormal. */
UT_UNUSED static inline V flush(V a) {
#if UT_FLUSH
  const uint32_t u = bits_of(a);
  return (u & 0x7f800000u) != 0 ? a : float_of(u & 0x80000000u);
#else
  return a;
#endif
}
UT_UNUSED static inline V set1(float a) { return a; }
/* Sums that are subnormal are exact: rounding has made none of them normal. */
UT_UNUSED static inline V add(V a, V b) { return flush(flush(a) + flush(b)); }
UT_UNUSED static inline V sub(V a, V b) { return flush(flush(a) - flush(b)); }
#if UT_FMA == UT_FMA_INTEGERS || UT_FLUSH
/* m * 2^x with the sign bit of `sign`, m > 0, rounded once to nearest even. Zero where it is below 2^-126 once rounded, with
 * exponents without end: so x86 has it. */
UT_UNUSED static inline float round_scaled(uint32_t sign, uint64_t m, int32_t x) {
  while (!(m >> 63)) {
    m <<= 1;
    --x;
  }
  {
    const uint32_t top = (uint32_t)(m >> 32), below = top & 0xffu;
    uint32_t mantissa = top >> 8;
    int32_t e = x + 63 + 127;
    if (below > 0x80u || (below == 0x80u && ((uint32_t)m != 0 || (mantissa & 1u) != 0))) ++mantissa;
    if (mantissa >> 24) {
      mantissa >>= 1;
      ++e;
    }
    if (e <= 0) return float_of(sign);
    if (e >= 255) return float_of(sign | 0x7f800000u);
    return float_of(sign | (uint32_t)e << 23 | (mantissa & 0x7fffffu));
  }
}
/* m >> n, of which the last bit stays set where one was lost. */
UT_UNUSED static inline uint64_t shift_sticky(uint64_t m, int32_t n) {
  if (n == 0) return m;
  return n < 64 ? m >> n | ((m << (64 - n)) != 0) : 1u;
}
/* a * b + c in integers: a product of 48 bits and a number of 24, side by side in 64. Where the smaller one loses bits, the
 * larger one is far above it, and one bit that says so decides as all of them would. */
UT_UNUSED static UT_NOINLINE float fused_in_integers(float a, float b, float c) {
  const uint32_t ua = bits_of(a), ub = bits_of(b), uc = bits_of(c), sign = (ua ^ ub) & 0x80000000u, sign_c = uc & 0x80000000u;
  const int32_t ea = (int32_t)(ua >> 23 & 255u), eb = (int32_t)(ub >> 23 & 255u), ec = (int32_t)(uc >> 23 & 255u);
  uint64_t product, other;
  int32_t x, x_other;
  if (ea == 255 || eb == 255) return flush(a) * flush(b) + c;
  if (ec == 255) return c + c;
  if (ea == 0 || eb == 0) return ec != 0 ? c : float_of(sign & sign_c);
  product = (uint64_t)((ua & 0x7fffffu) | 0x800000u) * ((ub & 0x7fffffu) | 0x800000u) << 15; /* from 2^61 to 2^63 */
  x = ea + eb - 315;
  if (ec == 0) return round_scaled(sign, product, x);
  other = (uint64_t)((uc & 0x7fffffu) | 0x800000u) << 39; /* from 2^62 to 2^63 */
  x_other = ec - 189;
  if (x >= x_other) {
    other = shift_sticky(other, x - x_other);
  } else {
    product = shift_sticky(product, x_other - x);
    x = x_other;
  }
  if (sign == sign_c) return round_scaled(sign, product + other, x);
  if (product == other) return 0.0f;
  return product > other ? round_scaled(sign, product - other, x) : round_scaled(sign_c, other - product, x);
}
#endif
/* a * b + c, one rounding. */
UT_UNUSED static inline V mul_add(V a, V b, V c) {
#if UT_FMA == UT_FMA_INTEGERS
  return fused_in_integers(a, b, c);
#elif UT_FMA == UT_FMA_INSTRUCTION && UT_FLUSH
  const float r = __builtin_fmaf(flush(a), flush(b), flush(c));
  const uint32_t magnitude = bits_of(r) & 0x7fffffffu;
  return UT_UNLIKELY(magnitude - 1u < 0x00800000u) ? fused_in_integers(a, b, c) : r;
#elif UT_FMA == UT_FMA_INSTRUCTION
#if defined(_MSC_VER) && !defined(__clang__)
  return fmaf(a, b, c);
#else
  return __builtin_fmaf(a, b, c);
#endif
#else
  /* a * b is exact in double, so only the sum rounds before the last rounding to float. Rounding twice differs from rounding
   * once only if the first result sits halfway between two floats; there the lost part of the sum decides (Boldo and
   * Melquiond, "Emulation of FMA and correctly rounded sums", 2008). */
  const double p = (double)flush(a) * (double)flush(b), q = (double)flush(c);
  double s = p + q;
  uint64_t u;
  UT_COPY(&u, &s, sizeof u);
  if (UT_UNLIKELY((u & 0x1fffffffu) == 0x10000000u)) {
    const double v = s - p, lost = (p - (s - v)) + (q - v);
    if (lost != 0.0) {
      u = ((lost > 0.0) == (s > 0.0)) ? u + 1 : u - 1;
      UT_COPY(&s, &u, sizeof s);
    }
  }
#if UT_FLUSH
  if (UT_UNLIKELY((u & 0x7fffffffffffffffu) < 0x380ffffff0000000u)) /* below 2^-126 - 2^-151 */
    return float_of((uint32_t)(u >> 32) & 0x80000000u);
#endif
  return (float)s;
#endif
}
#if !defined(UT_UNFUSED)
#define UT_UNFUSED(product)
#endif
UT_UNUSED static inline V mul(V a, V b) {
  float r = flush(a) * flush(b);
  UT_UNFUSED(r);
#if UT_FLUSH
  const uint32_t u = bits_of(r);
  if (UT_UNLIKELY((u & 0x7fffffffu) - 1u < 0x00800000u)) /* rounding may have made it 2^-126 */
    return fused_in_integers(a, b, float_of((bits_of(a) ^ bits_of(b)) & 0x80000000u));
#endif
  return r;
}
UT_UNUSED static inline V div(V a, V b) {
  const float r = flush(a) / flush(b);
#if UT_FLUSH
  const uint32_t u = bits_of(r), magnitude = u & 0x7fffffffu;
  if (UT_UNLIKELY(magnitude - 1u < 0x00800000u)) {
    /* 2^-126 that is the result of rounding: the quotient is 2^-126 (1 - 2^-24), and |b| 2^-126 is a float */
    const float quotient_above = float_of(bits_of(flush(b)) & 0x7fffffffu) * 0x1p-126f;
    if (magnitude < 0x00800000u || float_of(bits_of(a) & 0x7fffffffu) < quotient_above) return float_of(u & 0x80000000u);
  }
#endif
  return r;
}
/* a < b; false where either is NaN. */
UT_UNUSED static inline bool is_less(V a, V b) {
#if UT_FMA == UT_FMA_INTEGERS
  uint32_t ua = bits_of(flush(a)), ub = bits_of(flush(b));
  if ((ua << 1) > 0xff000000u || (ub << 1) > 0xff000000u) return false;
  ua = ua >> 31 ? 0x80000000u - (ua & 0x7fffffffu) : 0x80000000u + ua; /* in the order of numbers */
  ub = ub >> 31 ? 0x80000000u - (ub & 0x7fffffffu) : 0x80000000u + ub;
  return ua < ub;
#else
  return flush(a) < flush(b);
#endif
}
UT_UNUSED static inline V max(V a, V b) { return is_less(b, a) ? a : b; } /* a > b ? a : b, so b where either is NaN */
UT_UNUSED static inline V min(V a, V b) { return is_less(a, b) ? a : b; } /* a < b ? a : b, so b where either is NaN */
UT_UNUSED static inline V vabs(V a) {
#if defined(__GNUC__)
  return __builtin_fabsf(a);
#else
  return float_of(bits_of(a) & 0x7fffffffu);
#endif
}
UT_UNUSED static inline V copy_sign(V magnitude, V sign) {
  return float_of((bits_of(magnitude) & 0x7fffffffu) | (bits_of(sign) & 0x80000000u));
}
UT_UNUSED static inline V pow2(V n) { /* 2^n for a whole n in [-126, 127]; 0 for n = -127; any power for NaN */
  return float_of((bits_of(n + 12582912.0f) << 23) + 0x3f800000u); /* 1.5 * 2^23, whose last bits are then n */
}
UT_UNUSED static inline V mantissa(V a) { return float_of((bits_of(a) & 0x7fffffu) | 0x3f800000u); } /* m of the same */
// e^(kx) = 2^n (1 + s): n = round(kx / ln 2), s = e^r - 1 with |r| <= ln(2)/2. kx must lie in [-87.33, 88.37], where 2^n
// is a normal float. k is a small power of two with a sign, so kx is exact.
typedef struct {
  V pow2n;
  V s;
} ExpParts;
// e^r - 1: pairs of terms side by side, for the length of this chain is what a cell waits for.
UT_UNUSED static inline V exp_reduced(V r) {
  const V r2 = mul(r, r);
  const V low = mul_add(set1(1.6666521e-01f), r, set1(4.9999994e-01f));
  const V high = mul_add(set1(8.368663e-03f), r, set1(4.1668255e-02f));
  const V q = mul_add(mul_add(set1(1.3821468e-03f), r2, high), r2, low);
  return mul_add(r2, q, r);
}
UT_UNUSED static inline ExpParts exp_parts(V x, float k) {
  const V shift = set1(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number, ties to even
  const V n = sub(mul_add(x, set1(k * 1.44269504f), shift), shift);
  V r = mul_add(n, set1(-0.693359375f), mul(x, set1(k)));  // ln 2 in two parts, the first with 9 bits: n times it is exact
  r = mul_add(n, set1(2.12194440e-4f), r);
  const ExpParts parts = {pow2(n), exp_reduced(r)};
  return parts;
}
// 1 + e^(kx) for the denominators below.
UT_UNUSED static inline V one_plus_exp(V x, float k) {
  const ExpParts e = exp_parts(x, k);
  return mul_add(e.pow2n, e.s, add(e.pow2n, set1(1.0f)));
}
// exp: error < 1.1 ulp, monotone; 0 below -86.65 (results under 2^-125), inf above 88.72. The power is applied in two
// halves: 2^128 is no float.
UT_UNUSED static inline V vexp(V x) {
  x = min(set1(89.0f), max(set1(-87.33f), x));
  const V shift = set1(12582912.0f);
  const V n = sub(mul_add(x, set1(1.44269504f), shift), shift);
  V r = mul_add(n, set1(-0.693359375f), x);
  r = mul_add(n, set1(2.12194440e-4f), r);
  const V p = pow2(sub(n, set1(1.0f)));
  const V half = mul_add(p, exp_reduced(r), p);
  return add(half, half);
}
// sigmoid: error < 2.5 ulp, monotone, in [0, 1].
UT_UNUSED static inline V sigmoid_bounded(V x) { return div(set1(1.0f), one_plus_exp(x, -1.0f)); }
UT_UNUSED static inline V sigmoid_bounds(V x) { return min(set1(87.33f), max(set1(-88.37f), x)); }
UT_UNUSED static inline V vsigmoid(V x) {
  if (UT_UNLIKELY(!is_less(vabs(x), set1(87.33f)))) x = sigmoid_bounds(x);
  return sigmoid_bounded(x);
}
// tanh: error < 1.4 ulp, odd, monotone, in [-1, 1]. A polynomial where 1 - 2 / (e^2a + 1) would cancel; a = |x|.
static const float kTanhSmall = 0.5625f, kTanhBound = 44.0f;
UT_UNUSED static inline V tanh_small(V a) {
  const V u = mul(a, a);
  V p = set1(-6.169614e-03f);
  p = mul_add(p, u, set1(2.1000376e-02f));
  p = mul_add(p, u, set1(-5.3835757e-02f));
  p = mul_add(p, u, set1(1.3332437e-01f));
  p = mul_add(p, u, set1(-3.3333313e-01f));
  return mul_add(mul(u, a), p, a);
}
UT_UNUSED static inline V tanh_large(V a) { return sub(set1(1.0f), div(set1(2.0f), one_plus_exp(a, 2.0f))); }
UT_UNUSED static inline V vtanh(V x) {
  const V a = vabs(x);
  if (is_less(a, set1(kTanhSmall))) return copy_sign(tanh_small(a), x);
  return copy_sign(tanh_large(min(set1(kTanhBound), a)), x);
}

/* 1 / (1 + exp(-x)) */
static float act_sigmoid(float x) { return vsigmoid(x); }

/* tanh(x) */
static float act_tanh(float x) { return vtanh(x); }

/* n numbers as integers up to `most`, zeros up to `padded`, and what 1 of them is
 * worth: 0 for silence, NaN where a number is none. */
static UT_NOINLINE float quantise(int16_t* q, const float* x, size_t n, size_t padded, float most) {
  uint32_t top = 0;
  float scale = 0.0f;
  size_t k;
  for (k = 0; k < n; ++k) {
    const uint32_t u = bits_of(x[k]) << 1; /* without the sign */
    if (u > top) top = u;
  }
  top >>= 1;
  if (top < 0x7f800000u && top >= 0x0d800000u) { /* 2^-100 */
    const float inverse = div(most, float_of(top));
    scale = div(float_of(top), most);
    for (k = 0; k < n; ++k) q[k] = (int16_t)(bits_of(mul(x[k], inverse) + 12582912.0f) & 0xffffu);
  } else {
    if (top >= 0x7f800000u) scale = UT_NAN;
    memset(q, 0, n * sizeof *q);
  }
  for (k = n; k < padded; ++k) q[k] = 0;
  return scale;
}

/* m times 4 rows of int8, n words of 4 columns in the order 0 2 1 3: y = start + (sum scale) s. */
static UT_NOINLINE void products_i8_4(float* y, const float* start, const uint32_t* w, const float* scale,
                               const int16_t* frame, float s, size_t columns, size_t m) {
  do {
    const int16_t* x = frame;
    size_t n = columns;
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__OPTIMIZE__) && !defined(__ARM_BIG_ENDIAN)
    {
    uint32_t u, v;
    __asm__ volatile(
        "1: ldrd %[u], %[v], [%[x]], #8\n\t"
        "ldmia %[w]!, {r4, r5}\n\t"
        "sxtb16 r6, r4\n\t"
        "sxtb16 r4, r4, ror #8\n\t"
        "smlad %[a0], r6, %[u], %[a0]\n\t"
        "smlad %[a0], r4, %[v], %[a0]\n\t"
        "sxtb16 r6, r5\n\t"
        "sxtb16 r5, r5, ror #8\n\t"
        "smlad %[a1], r6, %[u], %[a1]\n\t"
        "smlad %[a1], r5, %[v], %[a1]\n\t"
        "ldmia %[w]!, {r4, r5}\n\t"
        "sxtb16 r6, r4\n\t"
        "sxtb16 r4, r4, ror #8\n\t"
        "smlad %[a2], r6, %[u], %[a2]\n\t"
        "smlad %[a2], r4, %[v], %[a2]\n\t"
        "sxtb16 r6, r5\n\t"
        "sxtb16 r5, r5, ror #8\n\t"
        "smlad %[a3], r6, %[u], %[a3]\n\t"
        "smlad %[a3], r5, %[v], %[a3]\n\t"
        "subs %[n], #1\n\t"
        "bne 1b\n\t"
        : [a0] "+r"(a0), [a1] "+r"(a1), [a2] "+r"(a2), [a3] "+r"(a3), [w] "+r"(w), [x] "+r"(x), [n] "+r"(n), [u] "=&r"(u), [v] "=&r"(v)
        : 
        : "r4", "r5", "r6", "cc", "memory");
    }
#else
    do {
      const int32_t x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
      a0 += (int8_t)(w[0] & 0xffu) * x0 + (int8_t)(w[0] >> 16 & 0xffu) * x1 +
            (int8_t)(w[0] >> 8 & 0xffu) * x2 + (int8_t)(w[0] >> 24) * x3;
      a1 += (int8_t)(w[1] & 0xffu) * x0 + (int8_t)(w[1] >> 16 & 0xffu) * x1 +
            (int8_t)(w[1] >> 8 & 0xffu) * x2 + (int8_t)(w[1] >> 24) * x3;
      a2 += (int8_t)(w[2] & 0xffu) * x0 + (int8_t)(w[2] >> 16 & 0xffu) * x1 +
            (int8_t)(w[2] >> 8 & 0xffu) * x2 + (int8_t)(w[2] >> 24) * x3;
      a3 += (int8_t)(w[3] & 0xffu) * x0 + (int8_t)(w[3] >> 16 & 0xffu) * x1 +
            (int8_t)(w[3] >> 8 & 0xffu) * x2 + (int8_t)(w[3] >> 24) * x3;
      w += 4;
      x += 4;
    } while (--n);
#endif
#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M' && UT_FMA == UT_FMA_INSTRUCTION && defined(__thumb2__) && defined(__OPTIMIZE__)
    __asm__ volatile(
        "vldmia %[scale]!, {s0-s3}\n\t"
        "vldmia %[start]!, {s4-s7}\n\t"
        "vmov s8, s9, %[a0], %[a1]\n\t"
        "vmov s10, s11, %[a2], %[a3]\n\t"
        "vcvt.f32.s32 s8, s8\n\t"
        "vcvt.f32.s32 s9, s9\n\t"
        "vcvt.f32.s32 s10, s10\n\t"
        "vcvt.f32.s32 s11, s11\n\t"
        "vmul.f32 s8, s8, s0\n\t"
        "vmul.f32 s9, s9, s1\n\t"
        "vmul.f32 s10, s10, s2\n\t"
        "vmul.f32 s11, s11, s3\n\t"
        "vfma.f32 s4, s8, %[s]\n\t"
        "vfma.f32 s5, s9, %[s]\n\t"
        "vfma.f32 s6, s10, %[s]\n\t"
        "vfma.f32 s7, s11, %[s]\n\t"
        "vstmia %[y]!, {s4-s7}\n\t"
        : [y] "+r"(y), [start] "+r"(start), [scale] "+r"(scale)
        : [s] "t"(s), [a0] "r"(a0), [a1] "r"(a1), [a2] "r"(a2), [a3] "r"(a3)
        : "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "memory");
#else
    y[0] = mul_add(mul((float)a0, scale[0]), s, start[0]);
    y[1] = mul_add(mul((float)a1, scale[1]), s, start[1]);
    y[2] = mul_add(mul((float)a2, scale[2]), s, start[2]);
    y[3] = mul_add(mul((float)a3, scale[3]), s, start[3]);
    y += 4;
    start += 4;
    scale += 4;
#endif
  } while (--m);
}

/* m times 3 rows of int8, n words of 4 columns in the order 0 2 1 3: y = start + (sum scale) s. */
static UT_NOINLINE void products_i8_3(float* y, const float* start, const uint32_t* w, const float* scale,
                               const int16_t* frame, float s, size_t columns, size_t m) {
  do {
    const int16_t* x = frame;
    size_t n = columns;
    int32_t a0 = 0, a1 = 0, a2 = 0;
#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__OPTIMIZE__) && !defined(__ARM_BIG_ENDIAN)
    {
    uint32_t u, v;
    __asm__ volatile(
        "1: ldrd %[u], %[v], [%[x]], #8\n\t"
        "ldmia %[w]!, {r4, r5}\n\t"
        "sxtb16 r6, r4\n\t"
        "sxtb16 r4, r4, ror #8\n\t"
        "smlad %[a0], r6, %[u], %[a0]\n\t"
        "smlad %[a0], r4, %[v], %[a0]\n\t"
        "sxtb16 r6, r5\n\t"
        "sxtb16 r5, r5, ror #8\n\t"
        "smlad %[a1], r6, %[u], %[a1]\n\t"
        "smlad %[a1], r5, %[v], %[a1]\n\t"
        "ldr r4, [%[w]], #4\n\t"
        "sxtb16 r6, r4\n\t"
        "sxtb16 r4, r4, ror #8\n\t"
        "smlad %[a2], r6, %[u], %[a2]\n\t"
        "smlad %[a2], r4, %[v], %[a2]\n\t"
        "subs %[n], #1\n\t"
        "bne 1b\n\t"
        : [a0] "+r"(a0), [a1] "+r"(a1), [a2] "+r"(a2), [w] "+r"(w), [x] "+r"(x), [n] "+r"(n), [u] "=&r"(u), [v] "=&r"(v)
        : 
        : "r4", "r5", "r6", "cc", "memory");
    }
#else
    do {
      const int32_t x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
      a0 += (int8_t)(w[0] & 0xffu) * x0 + (int8_t)(w[0] >> 16 & 0xffu) * x1 +
            (int8_t)(w[0] >> 8 & 0xffu) * x2 + (int8_t)(w[0] >> 24) * x3;
      a1 += (int8_t)(w[1] & 0xffu) * x0 + (int8_t)(w[1] >> 16 & 0xffu) * x1 +
            (int8_t)(w[1] >> 8 & 0xffu) * x2 + (int8_t)(w[1] >> 24) * x3;
      a2 += (int8_t)(w[2] & 0xffu) * x0 + (int8_t)(w[2] >> 16 & 0xffu) * x1 +
            (int8_t)(w[2] >> 8 & 0xffu) * x2 + (int8_t)(w[2] >> 24) * x3;
      w += 3;
      x += 4;
    } while (--n);
#endif
#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M' && UT_FMA == UT_FMA_INSTRUCTION && defined(__thumb2__) && defined(__OPTIMIZE__)
    __asm__ volatile(
        "vldmia %[scale]!, {s0-s2}\n\t"
        "vldmia %[start]!, {s3-s5}\n\t"
        "vmov s6, s7, %[a0], %[a1]\n\t"
        "vmov s8, %[a2]\n\t"
        "vcvt.f32.s32 s6, s6\n\t"
        "vcvt.f32.s32 s7, s7\n\t"
        "vcvt.f32.s32 s8, s8\n\t"
        "vmul.f32 s6, s6, s0\n\t"
        "vmul.f32 s7, s7, s1\n\t"
        "vmul.f32 s8, s8, s2\n\t"
        "vfma.f32 s3, s6, %[s]\n\t"
        "vfma.f32 s4, s7, %[s]\n\t"
        "vfma.f32 s5, s8, %[s]\n\t"
        "vstmia %[y]!, {s3-s5}\n\t"
        : [y] "+r"(y), [start] "+r"(start), [scale] "+r"(scale)
        : [s] "t"(s), [a0] "r"(a0), [a1] "r"(a1), [a2] "r"(a2)
        : "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "memory");
#else
    y[0] = mul_add(mul((float)a0, scale[0]), s, start[0]);
    y[1] = mul_add(mul((float)a1, scale[1]), s, start[1]);
    y[2] = mul_add(mul((float)a2, scale[2]), s, start[2]);
    y += 3;
    start += 3;
    scale += 3;
#endif
  } while (--m);
}

/* m times 1 rows of int8, n words of 4 columns in the order 0 2 1 3: y = start + (sum scale) s. */
static UT_NOINLINE void products_i8_1(float* y, const float* start, const uint32_t* w, const float* scale,
                               const int16_t* frame, float s, size_t columns, size_t m) {
  do {
    const int16_t* x = frame;
    size_t n = columns;
    int32_t a0 = 0;
#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__OPTIMIZE__) && !defined(__ARM_BIG_ENDIAN)
    {
    uint32_t u, v;
    __asm__ volatile(
        "1: ldrd %[u], %[v], [%[x]], #8\n\t"
        "ldr r4, [%[w]], #4\n\t"
        "sxtb16 r6, r4\n\t"
        "sxtb16 r4, r4, ror #8\n\t"
        "smlad %[a0], r6, %[u], %[a0]\n\t"
        "smlad %[a0], r4, %[v], %[a0]\n\t"
        "subs %[n], #1\n\t"
        "bne 1b\n\t"
        : [a0] "+r"(a0), [w] "+r"(w), [x] "+r"(x), [n] "+r"(n), [u] "=&r"(u), [v] "=&r"(v)
        : 
        : "r4", "r5", "r6", "cc", "memory");
    }
#else
    do {
      const int32_t x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
      a0 += (int8_t)(w[0] & 0xffu) * x0 + (int8_t)(w[0] >> 16 & 0xffu) * x1 +
            (int8_t)(w[0] >> 8 & 0xffu) * x2 + (int8_t)(w[0] >> 24) * x3;
      w += 1;
      x += 4;
    } while (--n);
#endif
#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M' && UT_FMA == UT_FMA_INSTRUCTION && defined(__thumb2__) && defined(__OPTIMIZE__)
    __asm__ volatile(
        "vldmia %[scale]!, {s0}\n\t"
        "vldmia %[start]!, {s1}\n\t"
        "vmov s2, %[a0]\n\t"
        "vcvt.f32.s32 s2, s2\n\t"
        "vmul.f32 s2, s2, s0\n\t"
        "vfma.f32 s1, s2, %[s]\n\t"
        "vstmia %[y]!, {s1}\n\t"
        : [y] "+r"(y), [start] "+r"(start), [scale] "+r"(scale)
        : [s] "t"(s), [a0] "r"(a0)
        : "s0", "s1", "s2", "memory");
#else
    y[0] = mul_add(mul((float)a0, scale[0]), s, start[0]);
    y += 1;
    start += 1;
    scale += 1;
#endif
  } while (--m);
}

/* m times 2 rows of int8, n words of 4 columns in the order 0 2 1 3: y = start + (sum scale) s. */
static UT_NOINLINE void products_i8_2(float* y, const float* start, const uint32_t* w, const float* scale,
                               const int16_t* frame, float s, size_t columns, size_t m) {
  do {
    const int16_t* x = frame;
    size_t n = columns;
    int32_t a0 = 0, a1 = 0;
#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__OPTIMIZE__) && !defined(__ARM_BIG_ENDIAN)
    {
    uint32_t u, v;
    __asm__ volatile(
        "1: ldrd %[u], %[v], [%[x]], #8\n\t"
        "ldmia %[w]!, {r4, r5}\n\t"
        "sxtb16 r6, r4\n\t"
        "sxtb16 r4, r4, ror #8\n\t"
        "smlad %[a0], r6, %[u], %[a0]\n\t"
        "smlad %[a0], r4, %[v], %[a0]\n\t"
        "sxtb16 r6, r5\n\t"
        "sxtb16 r5, r5, ror #8\n\t"
        "smlad %[a1], r6, %[u], %[a1]\n\t"
        "smlad %[a1], r5, %[v], %[a1]\n\t"
        "subs %[n], #1\n\t"
        "bne 1b\n\t"
        : [a0] "+r"(a0), [a1] "+r"(a1), [w] "+r"(w), [x] "+r"(x), [n] "+r"(n), [u] "=&r"(u), [v] "=&r"(v)
        : 
        : "r4", "r5", "r6", "cc", "memory");
    }
#else
    do {
      const int32_t x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
      a0 += (int8_t)(w[0] & 0xffu) * x0 + (int8_t)(w[0] >> 16 & 0xffu) * x1 +
            (int8_t)(w[0] >> 8 & 0xffu) * x2 + (int8_t)(w[0] >> 24) * x3;
      a1 += (int8_t)(w[1] & 0xffu) * x0 + (int8_t)(w[1] >> 16 & 0xffu) * x1 +
            (int8_t)(w[1] >> 8 & 0xffu) * x2 + (int8_t)(w[1] >> 24) * x3;
      w += 2;
      x += 4;
    } while (--n);
#endif
#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M' && UT_FMA == UT_FMA_INSTRUCTION && defined(__thumb2__) && defined(__OPTIMIZE__)
    __asm__ volatile(
        "vldmia %[scale]!, {s0-s1}\n\t"
        "vldmia %[start]!, {s2-s3}\n\t"
        "vmov s4, s5, %[a0], %[a1]\n\t"
        "vcvt.f32.s32 s4, s4\n\t"
        "vcvt.f32.s32 s5, s5\n\t"
        "vmul.f32 s4, s4, s0\n\t"
        "vmul.f32 s5, s5, s1\n\t"
        "vfma.f32 s2, s4, %[s]\n\t"
        "vfma.f32 s3, s5, %[s]\n\t"
        "vstmia %[y]!, {s2-s3}\n\t"
        : [y] "+r"(y), [start] "+r"(start), [scale] "+r"(scale)
        : [s] "t"(s), [a0] "r"(a0), [a1] "r"(a1)
        : "s0", "s1", "s2", "s3", "s4", "s5", "memory");
#else
    y[0] = mul_add(mul((float)a0, scale[0]), s, start[0]);
    y[1] = mul_add(mul((float)a1, scale[1]), s, start[1]);
    y += 2;
    start += 2;
    scale += 2;
#endif
  } while (--m);
}

/* 16 partial results as one: the second half to the first, and again. */
static float joined_by_add(float* part) {
  int n, i;
  for (n = 8; n != 0; n /= 2)
    for (i = 0; i < n; ++i) part[i] = add(part[i], part[i + n]);
  return part[0];
}

/* e^x of each as a share of their sum of n numbers. */
static void softmax(float* y, const float* x, size_t n) {
  float part[16] = {0.0f}, top = x[0], total;
  size_t k;
  for (k = 1; k < n; ++k)
    if (is_less(top, x[k])) top = x[k];
  for (k = 0; k < n; ++k) {
    const float e = vexp(sub(x[k], top));
    part[k % 16] = add(part[k % 16], e);
    y[k] = e;
  }
  total = joined_by_add(part);
  for (k = 0; k < n; ++k) y[k] = div(y[k], total);
}

/* -- weights ------------------------------------------------------------------------------------------------------ */

static const float memory_b[144] = {
  -0.05171912f, -0.3184153f, -0.0015265561f, 0.12715727f, -0.4662222f, 0.2794788f, -0.26725268f, 0.8457574f,
  0.053215586f, 0.2535349f, 0.22337674f, -3.781284e-05f, 0.5329824f, -0.7117137f, -0.0005325392f, -0.4991669f,
  0.19355392f, 0.13111924f, 0.12830219f, -0.3880568f, -0.13496853f, 1.4696234f, -0.66342044f, -0.037088435f,
  -1.6286731f, -0.57710516f, 0.081238955f, 0.19461855f, 0.21079686f, -0.1420934f, -1.3341391f, 0.98895097f,
  0.03331617f, -0.037003823f, 0.4801421f, -0.24608973f, 0.4697355f, 0.032853678f, 0.19083452f, -0.355994f,
  -0.16514632f, -0.017166045f, 0.03394469f, -0.2768311f, -0.09371373f, 0.9892525f, -0.60674286f, 0.31344244f,
  0.3297773f, -0.20984767f, -0.4359902f, 0.15291074f, 0.013482593f, 0.03562036f, 0.045257982f, -0.483125f,
  -0.17823929f, 0.5879241f, -0.1195159f, 0.096845f, 0.10145587f, 0.4476531f, 0.1779111f, -0.29330364f, 0.5838744f,
  -0.11339024f, 0.5801384f, -0.3633005f, 0.27703467f, -0.32207716f, 0.1058475f, -0.23143405f, 1.9787884f,
  -1.2017615f, 0.29196948f, -0.3018504f, 0.061339613f, 0.044088643f, -0.16841564f, 0.53375036f, -0.3306989f,
  0.63613904f, -0.60062206f, 0.038909037f, -0.096514404f, 0.05386858f, 0.01637522f, 1.0683072f, 0.34499404f,
  -0.10078564f, 0.60226357f, 0.4866997f, -0.18734542f, -1.0244257f, 0.26631904f, -0.09856998f, 0.16337621f,
  -0.79039085f, 0.15930545f, 1.0168178f, 0.14893004f, -0.4702732f, -0.9931488f, 0.038242627f, 0.07205064f,
  -0.43892133f, -0.4174808f, -0.01126093f, -0.7053208f, 1.0607821f, 0.19870402f, 0.8139436f, -0.06592158f,
  0.2865627f, 1.5505166f, -0.22331151f, 0.32056805f, -0.87050974f, 0.51551366f, -0.36395344f, -0.30538782f,
  0.047951628f, 0.18174148f, 0.6205396f, -0.6789821f, -0.06515634f, 0.96079177f, -0.35623413f, 0.12000994f,
  0.29534274f, 0.6691513f, 0.087658636f, -0.72306556f, 0.64132845f, -0.20704786f, 0.41067994f, 1.3071494f,
  0.09649566f, 0.695107f, -0.44701344f, -0.46061242f, -0.023743479f, -0.30103627f, -0.11319834f,
};
static const float memory_rb[144] = {
  0.0f, 0.0f, -0.08954887f, 0.0f, 0.0f, 0.052724026f, 0.0f, 0.0f, -0.028305536f, 0.0f, 0.0f, -0.051618893f, 0.0f,
  0.0f, -0.050198086f, 0.0f, 0.0f, 0.32535037f, 0.0f, 0.0f, -0.01703579f, 0.0f, 0.0f, -0.16198878f, 0.0f, 0.0f,
  0.19704355f, 0.0f, 0.0f, -0.065092176f, 0.0f, 0.0f, 0.2638106f, 0.0f, 0.0f, -0.27060202f, 0.0f, 0.0f, 0.16921063f,
  0.0f, 0.0f, -0.06426843f, 0.0f, 0.0f, 0.06322042f, 0.0f, 0.0f, 0.0037250519f, 0.0f, 0.0f, -0.18540236f, 0.0f,
  0.0f, -0.011299507f, 0.0f, 0.0f, -0.046977628f, 0.0f, 0.0f, 0.06896053f, 0.0f, 0.0f, -0.14155823f, 0.0f, 0.0f,
  0.016479217f, 0.0f, 0.0f, 0.031452347f, 0.0f, 0.0f, 0.021729782f, 0.0f, 0.0f, -0.19315597f, 0.0f, 0.0f,
  -0.1788994f, 0.0f, 0.0f, -0.34670848f, 0.0f, 0.0f, -0.116608046f, 0.0f, 0.0f, 0.015254292f, 0.0f, 0.0f,
  -0.18730219f, 0.0f, 0.0f, -0.3165283f, 0.0f, 0.0f, 0.12146478f, 0.0f, 0.0f, 0.063103f, 0.0f, 0.0f, -0.36109018f,
  0.0f, 0.0f, -0.06337302f, 0.0f, 0.0f, -0.13691524f, 0.0f, 0.0f, -0.038584825f, 0.0f, 0.0f, 0.059629764f, 0.0f,
  0.0f, 0.08039219f, 0.0f, 0.0f, -0.11447169f, 0.0f, 0.0f, -0.006397445f, 0.0f, 0.0f, -0.10161493f, 0.0f, 0.0f,
  -0.09008861f, 0.0f, 0.0f, 0.15615375f, 0.0f, 0.0f, -0.3096721f, 0.0f, 0.0f, 0.25929934f, 0.0f, 0.0f, -0.22176541f,
  0.0f, 0.0f, -0.14249454f,
};
/* 144 rows of 8 columns, int8 */
static const uint32_t memory_W[288] = {
  0x82d08155u, 0xe63ddd7fu, 0x1b6d437fu, 0xd3cfe0bau, 0xe40efab0u, 0x0216de10u, 0xde04c51bu, 0x7fd320c8u,
  0xcee31f86u, 0x0529f94bu, 0xfcefe535u, 0xd42c1408u, 0x817c4930u, 0xdfec8121u, 0xef7f4543u, 0x78517ffeu,
  0x39e83de0u, 0x59b33581u, 0x1bc7d6d4u, 0x06c6dbe1u, 0xc88194cbu, 0x4b3c782au, 0x81d2ccfeu, 0x81381e17u,
  0xf481bc90u, 0x0efde96eu, 0x8137ac20u, 0xeddcf2f7u, 0x8119a25au, 0xc7eae104u, 0x04253f81u, 0xbdfceab4u,
  0x81fe86feu, 0x0281c5ddu, 0x1b27f248u, 0x5db52081u, 0x1cf4f6d4u, 0x909886c0u, 0x41edd7f9u, 0x38047fc6u,
  0x0c093b17u, 0x1d1ccf0bu, 0x7f336b5cu, 0x120141beu, 0xf281b3c9u, 0xf733fc7fu, 0x66dc15e8u, 0xc7f6f52bu,
  0x12c6d0e3u, 0x6c81e0d3u, 0xabab813cu, 0x9681a791u, 0x637f5f62u, 0x4dfa340fu, 0xac494548u, 0x1ead8a0eu,
  0xc938ef61u, 0xf1737181u, 0x449aa67fu, 0x8155c932u, 0xfa56f37fu, 0x1bd600eau, 0xcfd0d1d0u, 0xd8e8f509u,
  0x012cff17u, 0x81bf87ffu, 0x818a91b3u, 0x8136dc0cu, 0xef79f838u, 0xbb2531c6u, 0x7ff99c01u, 0x58ff7f24u,
  0x91c1811fu, 0x047f1b20u, 0xfdc257c9u, 0xded2c5e0u, 0xb31cf581u, 0x4bd6b8e4u, 0xab0138c5u, 0x343f7c2eu,
  0x4301b31fu, 0xee2af17fu, 0x57427f89u, 0xf081c692u, 0x81b68e9au, 0x4bd942dau, 0xe60d04fcu, 0xda5ef92au,
  0x73817e91u, 0x594c7f07u, 0x7ff32af6u, 0xa0241cb4u, 0x0dba249au, 0x63407f09u, 0xd3c8dbd8u, 0xe87f27f0u,
  0x75e56581u, 0xbed7c955u, 0x035f2052u, 0x7f0c2a0eu, 0x72541d7fu, 0x81630d5au, 0x0781ee8du, 0x24f63574u,
  0xcdf4fd47u, 0xdb2f2c84u, 0xb7ad9a81u, 0xcd6fcc12u, 0x12d227b9u, 0x7f02121fu, 0x01101a1du, 0x8107d346u,
  0x5cbd5b81u, 0xd9abb8f4u, 0xc8cdea81u, 0x0346237fu, 0x0814ff2du, 0xe11916f8u, 0x621653fcu, 0x81ecc828u,
  0x517f5845u, 0xa7818cc6u, 0x587f583au, 0xdeb7cb81u, 0x09dbd60bu, 0x08e3f8b6u, 0xde141547u, 0x33484126u,
  0xf81e1621u, 0x6bfb2c0du, 0xafa281e2u, 0x57f77fb8u, 0x5cfe7fe6u, 0xd39a8158u, 0x03ccd1f4u, 0x56d717e2u,
  0x81c1c3d3u, 0x813a572eu, 0x0102c3eau, 0xa11efc1bu, 0x2e0d13c4u, 0x9d20ee93u, 0x49efca7fu, 0xb57f0445u,
  0x89e3b4d7u, 0x3b7f316cu, 0x81f0b9c6u, 0x81bdc5a6u, 0xcbd5a6fcu, 0xadcdd0f0u, 0x5d596e7fu, 0xdf81c4aau,
  0x7f1e4971u, 0xf146e97fu, 0xbbe7e639u, 0x540a0fd8u, 0x15b221a6u, 0x04eff0f3u, 0x0f94c081u, 0x2281b5ebu,
  0x98c6cb81u, 0xf4637fd3u, 0x0c2c272du, 0x5a1c2625u, 0x2eaff08au, 0xc23103ddu, 0xd343f17fu, 0x22db20e2u,
  0xcea481dau, 0xe5aae981u, 0xa1c89d05u, 0x7f0f1331u, 0xe714eef4u, 0x333d52dcu, 0x81560e0bu, 0xeff4c228u,
  0x23353237u, 0x163963e8u, 0xe27fd443u, 0xa1cb8119u, 0xf6e0b001u, 0xd8c8d9d2u, 0x251416fcu, 0xe0e5d2dfu,
  0xcce08136u, 0x818cacadu, 0x637f6a65u, 0xe97f1f2eu, 0xfbbfeef2u, 0x9e6e1d7fu, 0x96c2bf81u, 0x1b500d7fu,
  0x7fdc09dcu, 0x2ab5a7c4u, 0xd7959ec3u, 0xe15ff847u, 0x0ceefd0eu, 0x0b9b1281u, 0xce33e27fu, 0x172b1be2u,
  0x81f4c9feu, 0x5cd819ddu, 0x86b59ccau, 0x7f476a4cu, 0x312b317fu, 0xdd7f2948u, 0x310b3f7fu, 0x1209f9f9u,
  0x182df40au, 0xe8d1d1c5u, 0xf6f52881u, 0x81ee9e32u, 0xf9643b7fu, 0x75cb2cbbu, 0x0f5809c6u, 0xd36009ffu,
  0x3b083ef3u, 0x297f4d79u, 0xf3bcadaeu, 0xcfb7d681u, 0xe5349f3du, 0x7de17f11u, 0x7fa4fcb6u, 0xe9aef7b3u,
  0x81e3affdu, 0x7cb238aeu, 0xc2094d03u, 0xd3e1b1eau, 0xad0d6a81u, 0x0d81c789u, 0x0de00581u, 0x81d9cef1u,
  0x6c5a4487u, 0xdfa006d9u, 0xf5f319a6u, 0x98d481f6u, 0x077f3e6cu, 0xcebe0b81u, 0xf28781f0u, 0x0b1126f6u,
  0xe93e1945u, 0x7f8ef78fu, 0xbaf416dbu, 0x07111066u, 0xf17f5730u, 0x41d4f4d7u, 0x81b991dbu, 0x8100c0fau,
  0xe923011fu, 0x90613964u, 0xe4e516d6u, 0x5d2bde7fu, 0x7f1c4400u, 0x7fa3aedeu, 0x81c4a8b8u, 0x0dbddf6au,
  0xd47f1374u, 0x16e52c81u, 0xf1f7cb92u, 0xdbc1b481u, 0x294629f9u, 0xf0e8ea0cu, 0xe566437fu, 0x2d1d2125u,
  0xfc6c7681u, 0x7081d2d4u, 0x65787f60u, 0x7a994bc5u, 0x3ddef153u, 0x243a1810u, 0x811cc6fcu, 0xf5ae09dau,
  0xeed61181u, 0xa721e750u, 0xddfb0719u, 0x7f205bacu, 0x08d7f1cbu, 0x8109f2b7u, 0x0581e5b6u, 0x1d7f6aefu,
  0xf49f9981u, 0xb6de7f89u, 0x54b4f6d9u, 0x2f557b34u, 0x3346144bu, 0xf636308du, 0xf111f60au, 0x6b657f20u,
};
/* what 1 is worth, of each row */
static const float memory_W_scale[144] = {
  0.015320836f, 0.0076606385f, 0.0060064895f, 0.017694907f, 0.010149941f, 0.006581006f, 0.007246304f, 0.015202842f,
  0.004188157f, 0.009354875f, 0.01623403f, 0.0062271687f, 0.021119213f, 0.009699437f, 0.0077042067f, 0.014791539f,
  0.012709512f, 0.0065428773f, 0.013415134f, 0.012076953f, 0.0056302613f, 0.011370788f, 0.015742142f, 0.0046435785f,
  0.012344412f, 0.0154308425f, 0.0049553625f, 0.009491393f, 0.0107599525f, 0.006567805f, 0.009244482f, 0.006760814f,
  0.007791834f, 0.023820912f, 0.01853164f, 0.005134597f, 0.007915901f, 0.013189864f, 0.005168816f, 0.008636018f,
  0.015137418f, 0.0034109587f, 0.00889328f, 0.012216459f, 0.0091030225f, 0.012292849f, 0.01597173f, 0.00500164f,
  0.005091475f, 0.010722502f, 0.0041574435f, 0.010035965f, 0.009826286f, 0.00808594f, 0.0050934027f, 0.016899066f,
  0.003628442f, 0.013496682f, 0.015769446f, 0.010529879f, 0.007694699f, 0.020985274f, 0.011818718f, 0.015143214f,
  0.016860282f, 0.005270703f, 0.017321939f, 0.01192166f, 0.0052325013f, 0.01565151f, 0.019300904f, 0.0046695382f,
  0.013860579f, 0.011143206f, 0.0063915933f, 0.008281501f, 0.013187974f, 0.0046063964f, 0.03151618f, 0.015427063f,
  0.0062015043f, 0.01108818f, 0.014974945f, 0.007952845f, 0.010636187f, 0.0085632885f, 0.006542745f, 0.0076494147f,
  0.013230188f, 0.005530707f, 0.01575249f, 0.012203938f, 0.00585449f, 0.007188189f, 0.0069630034f, 0.0039677466f,
  0.011265226f, 0.013414289f, 0.01188023f, 0.007768587f, 0.013064429f, 0.0058602896f, 0.018160895f, 0.0169335f,
  0.0063690986f, 0.00529599f, 0.016271643f, 0.008418434f, 0.008760505f, 0.007965462f, 0.004463663f, 0.0147710005f,
  0.008960952f, 0.00714136f, 0.023416404f, 0.005761542f, 0.00484548f, 0.0073563596f, 0.008310856f, 0.010904035f,
  0.0069444287f, 0.0045763208f, 0.004841056f, 0.011777706f, 0.02027766f, 0.0031703394f, 0.02106847f, 0.008603814f,
  0.0054397327f, 0.025002964f, 0.009934993f, 0.008362061f, 0.008087939f, 0.00786347f, 0.005645712f, 0.0136390915f,
  0.013765463f, 0.010688868f, 0.012286534f, 0.0167407f, 0.005913227f, 0.016058957f, 0.009525974f, 0.008486857f,
};
/* 144 rows of 48 columns, int8 */
static const uint32_t memory_R[1728] = {
  0x1e270d27u, 0x13c4b918u, 0x813c2324u, 0x438106c2u, 0xf1c544beu, 0xd141e1fdu, 0x1afc482bu, 0xd53199e3u,
  0xaf4012e8u, 0x077f36cdu, 0xdaa9dbd6u, 0xf60a0718u, 0x0217ef06u, 0xc217c6eau, 0x24231dfcu, 0x31e31c28u,
  0x23bb283bu, 0x0bfde7d1u, 0xe4ece9bau, 0x083fe78fu, 0x1dfcc710u, 0x28001913u, 0x0e83fbc5u, 0x1ff80f00u,
  0x81b44a0bu, 0x7bbb1943u, 0x20f701ccu, 0x11171311u, 0x71a29407u, 0x44b0d3c0u, 0x3f21d318u, 0x00e92bf5u,
  0x2b28f81fu, 0x25e9e1f7u, 0x1cbbdf3bu, 0xe1d8fb48u, 0x3319ec3fu, 0x3d1814fdu, 0xda4e0f3cu, 0xf607571du,
  0xc816efeau, 0xfc094847u, 0x3cdee2a2u, 0x00fbac01u, 0x639e39ebu, 0x04c60bb4u, 0xdc23f7f6u, 0x2828c7d2u,
  0xf7642438u, 0xe0fac6d2u, 0xb92109f1u, 0xf7294df8u, 0x63a31ed7u, 0x0232fcfau, 0x062a0a0bu, 0x9e080b0fu,
  0x18e8ec1bu, 0x348131c5u, 0xc21efeebu, 0xf8ee241eu, 0x89169e3fu, 0x4ee5384bu, 0x410840e2u, 0x7fc10d11u,
  0x5be4384du, 0xc3f5eaf7u, 0x9a08fed3u, 0xe40fe6e4u, 0x875eff35u, 0xcdc1f8f5u, 0x41e5bcaeu, 0x130afa0bu,
  0xff210eb1u, 0xf92438ebu, 0x303d1a21u, 0xaa2b01d8u, 0x1260c60bu, 0x24bee713u, 0xf8fe05f2u, 0xe4ed09fdu,
  0x0e58ea65u, 0xe9ca28e0u, 0xf4ddfea6u, 0xeffb08dfu, 0x143b92cbu, 0x07453b5eu, 0x41c51811u, 0xe433373du,
  0x8121bd3cu, 0x1a0a0111u, 0x49337f11u, 0x1afbf9e3u, 0x93dd1407u, 0x1b2a0ccbu, 0x19c36ad2u, 0x0005e2e9u,
  0xf4f30aecu, 0x2b0404dcu, 0x900ec934u, 0x46d0c413u, 0x160c37fdu, 0x1c0fc55fu, 0x502d2b2du, 0x4a89b3eeu,
  0xec0e38dau, 0xefe0f419u, 0x040b44d5u, 0xfd18de0bu, 0xea0cde15u, 0xfc01c40bu, 0xca3ad9ecu, 0x2817c0f2u,
  0xe81616e1u, 0x3731f407u, 0xe0cf14fdu, 0x64ea1d07u, 0xe0ef11e1u, 0xe4e91ad4u, 0xcdb718f7u, 0x921b1e4au,
  0x25cb182au, 0x30ee202cu, 0x7f29ed02u, 0x12f8f3f6u, 0x4aff811cu, 0xf8f82e29u, 0x515ea0fau, 0xc71d4cf3u,
  0xfc0ae216u, 0x9de21612u, 0x3ba81d28u, 0x0ae645f0u, 0x0c160427u, 0xb2e137f2u, 0x1552c134u, 0x123e65b0u,
  0x16eaf120u, 0x100adfebu, 0x0642063fu, 0x81b31c0eu, 0xe9f903ebu, 0xdf3a81e5u, 0xc6281407u, 0xe603d226u,
  0x1ee11cddu, 0x14b8ba34u, 0x2be2a5efu, 0x44e4eeefu, 0xcd0be527u, 0xae71ce09u, 0x56c5f61fu, 0x6b00e000u,
  0xe0b9c5e0u, 0x02c329f9u, 0xf1d33f97u, 0x1fd90911u, 0x143d1067u, 0x19c3d222u, 0xda0381a3u, 0x04121bfbu,
  0x40cd317fu, 0x1ad94a11u, 0x14443cc0u, 0xf4fbd414u, 0x0717e342u, 0xcc1f37eeu, 0xe60b49ccu, 0x22c62810u,
  0xc748f707u, 0x023df61cu, 0xfd8e3e9cu, 0xe6b81af1u, 0x2adfd301u, 0x0bffffe8u, 0xc7ce819bu, 0xbcfee317u,
  0x5d3a1826u, 0x070012ebu, 0x033114f5u, 0xe365e0d0u, 0xe21a16c7u, 0x21c2dbb1u, 0x00f1e32cu, 0x2303f1eau,
  0xf461743fu, 0x7ffb33e5u, 0xcd1d5c09u, 0x48e6ace4u, 0xb97f6245u, 0x240c61efu, 0x332037cdu, 0xc61a1830u,
  0xe042a3eeu, 0xe148ddd8u, 0x7b201404u, 0xc32ca72du, 0xb8085dacu, 0xfddc0eeeu, 0x07c898dbu, 0x553619c8u,
  0x8f0a49d3u, 0x9923fa11u, 0x19eee842u, 0xd45e0e81u, 0xa7b5410bu, 0x59ee3211u, 0xe37f088fu, 0xdcac1a48u,
  0x662fc640u, 0x251cbdaeu, 0x360dd4e4u, 0xfa05ce0au, 0xa8c5faecu, 0xeeca1a3eu, 0x4ef7ed17u, 0xb7aae520u,
  0x18ec145eu, 0x50c0231eu, 0x2c3af7fbu, 0xe99e4eb1u, 0x6b03e7f4u, 0x082be26cu, 0x0d49e317u, 0x14e1e42fu,
  0xa6f614bbu, 0x16cb2ce3u, 0x10124a33u, 0xc9f0cbf4u, 0xe422e511u, 0x09cafccdu, 0x86122128u, 0x977f3408u,
  0x49e17c3bu, 0x3d4d3a01u, 0x122b0658u, 0xcfebfc0au, 0x0cd43eb1u, 0x3abf7ff8u, 0xce443613u, 0x05f7d3ddu,
  0x211404dfu, 0x2e04dc05u, 0x037d1908u, 0xb6fccf26u, 0x0bcb1e56u, 0x091a13c3u, 0x81ed03ccu, 0xf032f92bu,
  0xafc60524u, 0xb0b114efu, 0x2cd32c99u, 0x1bf2f0dau, 0x2a1cfb31u, 0x0bc463e5u, 0x5f01f44fu, 0x52f2532au,
  0x430cb5e6u, 0x3a25c0f4u, 0x1b2fb0ebu, 0x2d2fd01cu, 0x2a09277fu, 0xa8e31332u, 0xe51e3beeu, 0x160fdafcu,
  0xe056fa07u, 0x5ff54278u, 0xe415c033u, 0xdc2bea07u, 0xdb21d63eu, 0x1bbbf537u, 0x513fe835u, 0x1058e7e6u,
  0x0439e420u, 0xd5d23b87u, 0xf52c1df6u, 0xb350c2efu, 0x27f8a1cfu, 0xa02636f1u, 0x6acccee5u, 0x12c618eau,
  0x7f20d5f8u, 0xb5fe2b3au, 0xcb45e229u, 0xbc09e2cbu, 0x33de1f09u, 0xfa151abeu, 0xc2102abcu, 0xd37f2a30u,
  0x1ce542c9u, 0xfe3ae6f2u, 0x47ceda0fu, 0xe7e5c846u, 0xe2f7bc21u, 0xfae53324u, 0x0d2dffecu, 0xfa42d6bdu,
  0xb3f0e327u, 0x4dfe7f08u, 0x2ef754ecu, 0x7323178bu, 0x251005fcu, 0x9ed52158u, 0xb8e95028u, 0x2dbddbc1u,
  0xd2fe26dau, 0xf420da33u, 0x20c8e93eu, 0x180233f9u, 0xe3f6fed0u, 0x0542e307u, 0xdbbff0eau, 0xd7e3f038u,
  0x05d00301u, 0xf6170dccu, 0xf3f17f58u, 0xe832a02du, 0xece40b22u, 0x550ee1ffu, 0xff2e0736u, 0xe1f31427u,
  0x0f181dddu, 0xf01cdb0bu, 0x0a5a04c4u, 0xf4dbaa85u, 0x192922cbu, 0x071ff6e3u, 0x02062b20u, 0xf61d212bu,
  0x1609ecf4u, 0x380416ebu, 0xd0e404c4u, 0x0ba9f2f8u, 0xe05c12fbu, 0x2be21f37u, 0xd201d4e1u, 0x81409420u,
  0xa13e17e1u, 0x57fdfe4du, 0x31fd4502u, 0x1bdcd0efu, 0xe02dfc1cu, 0x0f4bf4e0u, 0x6db56b15u, 0xd6283000u,
  0x21bffa04u, 0x2fad0216u, 0x071711e8u, 0x1e2ab21du, 0xd682f10au, 0x28f8d2bdu, 0x1121e065u, 0x7f153170u,
  0x01fe7fe6u, 0x25e8e7cdu, 0x1ade4c28u, 0xee10edeeu, 0xe905f022u, 0x122235d2u, 0xb2f706d7u, 0xc0ddf220u,
  0x070e08aeu, 0x28e8d10au, 0x0aeccf03u, 0xd5ef1d3eu, 0x12ffd124u, 0x2302499eu, 0x31e209c8u, 0x16e50ff7u,
  0xd2fb23a7u, 0x29a301c2u, 0x3509b309u, 0x5b0c38f3u, 0xf20d1834u, 0x0c0421ccu, 0xb00e04dau, 0x0625d9fbu,
  0x810a0000u, 0x0b15fb16u, 0x152b3728u, 0x12f433f6u, 0x48fb0da4u, 0x08f7c901u, 0x0e2400f5u, 0xd0f3dc1eu,
  0x1223f667u, 0x0d20300cu, 0xe2f143e6u, 0x3e30d6d5u, 0x2321bf44u, 0x39bcd1e1u, 0x0e32f8e9u, 0x0127ccd9u,
  0x2e0f13b2u, 0x4af6ffd7u, 0x19f6bed7u, 0xf8ff357fu, 0xeffe31bcu, 0x7fd1f519u, 0x7781fbe3u, 0xee54d5e9u,
  0x335d19f7u, 0xe8c25107u, 0xe9b024f4u, 0xd719d5f9u, 0x1cefff16u, 0x20c06be2u, 0xfbb44e18u, 0xd8f5f522u,
  0xca31ea11u, 0x28fb04ebu, 0xff11652bu, 0xf31d14dau, 0x2e3225deu, 0xe02913f1u, 0x131e31ebu, 0x2fe83302u,
  0xa447cbcau, 0xfd0ff01au, 0xff6426efu, 0xfdcc4cffu, 0xcff1fcd4u, 0x30f2f2ddu, 0xf1dbcb10u, 0x2b1cebf9u,
  0xd9e8d6f7u, 0xf647ff2cu, 0x392d3116u, 0xf4ed3122u, 0x0e2233b8u, 0xf925ecfcu, 0x462b7feau, 0xeafaee01u,
  0x7f0601fcu, 0x81060f9du, 0x449fe61bu, 0xc7027f1bu, 0x11bf3af7u, 0xc9ed150au, 0x142cb739u, 0x1ae2c5f3u,
  0xfdd7db9cu, 0xee21dedcu, 0x0452d45fu, 0x1ac9f916u, 0x2ed28703u, 0xf28a1de8u, 0xaba111c9u, 0x1ced2f25u,
  0xdfe77a1cu, 0x07f303f9u, 0x3393fed3u, 0x15ff0cfeu, 0x12024cdcu, 0xfdcef613u, 0xc333df0au, 0xdcc70104u,
  0xff0a3baau, 0xf0c92919u, 0xd401f91bu, 0xc4dd172bu, 0x2bcdfbd9u, 0x9df5ba14u, 0xc92df954u, 0xd26d970bu,
  0xad14fa27u, 0xf0680e09u, 0xcbb08fedu, 0xf50af78fu, 0x9b0ce055u, 0xc1e0dc22u, 0x49fbfaeau, 0x4539c7c9u,
  0xe6144bffu, 0x1322e40bu, 0xfd17b8b7u, 0xf888eb46u, 0x992408edu, 0x7f1913e6u, 0xfbeade93u, 0x4b1c4327u,
  0xe1811c30u, 0x2503ddf8u, 0xb2534a7fu, 0x302e197fu, 0x1cf4bd10u, 0xbf1a22feu, 0xdfb7f12bu, 0x44f6eed4u,
  0xd4ddd51fu, 0xfd10f140u, 0x000b43ebu, 0x050e10cau, 0xf74d033cu, 0xc7d1e5e7u, 0xeaee2e0cu, 0x41ceeef6u,
  0xe414040fu, 0xf830dad6u, 0x2522ef2fu, 0x066f2d70u, 0x11d6e1d4u, 0x0d06f5cfu, 0xf541a636u, 0xd9f6eaccu,
  0x4d1f37a7u, 0x81edd808u, 0xfd06e3f9u, 0x46314f0bu, 0x010f445du, 0x0015e50eu, 0x45810deau, 0xb3e20bf3u,
  0x00e9ce74u, 0xc4c6f9e3u, 0x683023e0u, 0xc4816dfdu, 0xfe32f721u, 0xbeca09f9u, 0xb234c1dbu, 0xf6ad2c12u,
  0xf5efeafbu, 0xf8c514edu, 0x08f06becu, 0xe1281f1fu, 0x1bf8f6dfu, 0xd9f20d09u, 0x25c9e206u, 0xe319490du,
  0xb11ad523u, 0xfa9422dfu, 0xea06d0fau, 0x2cf71119u, 0xf0035628u, 0xc0cad778u, 0x2596e207u, 0x3ce619ffu,
  0x3fbfc7cfu, 0x1761d4dbu, 0xd20b23f4u, 0x6dfa0807u, 0x81df38f2u, 0x3226330cu, 0xec20171du, 0xa4fc2dffu,
  0x1f13ee16u, 0x32317f5fu, 0x64cd48c2u, 0x8100fa4cu, 0xa82b7abdu, 0x4276fe97u, 0xed2b4b03u, 0xe91516f5u,
  0xf861e838u, 0x5843e2cfu, 0xee3d83e1u, 0x1c1be0fbu, 0xd5e716e3u, 0xe318d2d2u, 0x75b76a27u, 0xf20204deu,
  0xf9ee4cbbu, 0xd8e0ea00u, 0x307f0bf8u, 0x2acc5af7u, 0x34e80a6du, 0x434cf4d4u, 0xc93426fbu, 0xfdbfeb1cu,
  0x38dc9907u, 0x784f011cu, 0x2e2ed8d8u, 0xf2fb0c36u, 0x2acdef0au, 0xf32642c7u, 0x20b13e6fu, 0xeb1af5e8u,
  0x2c61f338u, 0x3a59c9fbu, 0x09041ff0u, 0xb62300fbu, 0x3e6e0c4du, 0xa3306213u, 0x060e0609u, 0x550bf8d1u,
  0xf4af1dd4u, 0x024c047du, 0xb1dd110eu, 0xef3add0fu, 0xb3ceedcau, 0xd15009f8u, 0xae4024f7u, 0xdbfd1e0du,
  0x1d111c20u, 0x42004734u, 0x97320b30u, 0xb5fe6c28u, 0x04eb18feu, 0x28db0df2u, 0xdbfe00f1u, 0xfa3dec1cu,
  0xfeebf82bu, 0x0d62c418u, 0xe8f9d329u, 0x0c0d0e32u, 0xc32317e2u, 0xfca7567fu, 0xd668d4b3u, 0xc0e3e9b7u,
  0xfb0a27acu, 0xb1f2256bu, 0x6be42881u, 0xed81f7cdu, 0x19f52f48u, 0xc1e6e617u, 0x0abf1900u, 0x1bf6bae1u,
  0x1121812du, 0x12ef0a09u, 0xd3fcbf16u, 0x18fde832u, 0x1f461735u, 0xc6022d38u, 0x002fdffbu, 0x1ff7fbf0u,
  0xff45e5cau, 0xc42fecfeu, 0x97dfcc1bu, 0x092e8b3eu, 0x38e2ce1cu, 0xe60ac107u, 0x371fbbd8u, 0x2bfa28aeu,
  0x371b4407u, 0xee230e45u, 0xfe24e3ffu, 0x0ee7fd04u, 0x4303f893u, 0xb04135edu, 0xd193f1d4u, 0x230d2401u,
  0x27d1e20du, 0xd3ed1c2cu, 0x1ceeff04u, 0x73e9ec0cu, 0x35e9e828u, 0xe1030cecu, 0xdcb20ee9u, 0xad2d77d9u,
  0xd2f22205u, 0x0c165038u, 0x1e14de0fu, 0x8732b500u, 0xf07fcf2cu, 0x81ef1736u, 0xf5ff27fbu, 0x47f27f0eu,
  0x94cdfee5u, 0x2aabfed1u, 0x81e3f40eu, 0xea1316f7u, 0x11fb1bf1u, 0x0c4ff344u, 0x1ed21a14u, 0x178b0632u,
  0xc1240de9u, 0x0b2cdd3fu, 0x09ccdc24u, 0x55fd83f5u, 0xfb2ecdd6u, 0x18f213e1u, 0xd5fe1b31u, 0xedc9df3au,
  0x01821febu, 0xdd19f2f2u, 0x15003202u, 0x150702edu, 0x05ecdfe7u, 0x5a3fdcdcu, 0x20151121u, 0xdbe32c04u,
  0x11f2fe2eu, 0x2a2cf51fu, 0x16b13301u, 0xc8c406c6u, 0xe242f003u, 0xd06103f6u, 0xc5f2353cu, 0x54ff2eedu,
  0x40a87c3bu, 0xdac544fbu, 0xede700ffu, 0x1f4c2f21u, 0x16d8d104u, 0xd4c2e010u, 0x043fff10u, 0x424ae70bu,
  0x170f1132u, 0xcb864273u, 0x09093ed0u, 0x39d40efcu, 0x8106ef30u, 0x86eae40eu, 0xe4033109u, 0x04191c05u,
  0xd4d4aab8u, 0x0b1ee526u, 0x64f783eeu, 0xd604ecfau, 0xee5ef42au, 0x41dca64cu, 0x1ce33163u, 0xd0c60d15u,
  0x0e66f64au, 0xfa7f4821u, 0x11b70081u, 0xdd32e145u, 0xddc6e8e7u, 0xd021ecfbu, 0xceff142bu, 0xb7ebba0eu,
  0xb12f48eeu, 0xccc4f917u, 0xfbda0b7fu, 0x0accffd8u, 0x99de5610u, 0xe1b9fbccu, 0xa4f5c516u, 0x9229fd0au,
  0xc3d3fee5u, 0x2879240au, 0xf102d46eu, 0xdd5ecdceu, 0x2bedef19u, 0x053fcfd1u, 0x3628050cu, 0xedfefd11u,
  0xa75e17e2u, 0x48c5447fu, 0x2bf2f0c4u, 0xa416e116u, 0x7f1b479bu, 0xe93ba5a3u, 0x51e7460bu, 0x7f21e811u,
  0xc8c52b04u, 0x37fd0f44u, 0x0f3c8993u, 0xd69b0b06u, 0xad0fd234u, 0x324cdcd6u, 0xb21b5507u, 0xadec39e7u,
  0x1b0410e0u, 0x012743d3u, 0xfbf13620u, 0x1c21d6d3u, 0xeafb1a03u, 0x3a2cf003u, 0xcf6fd603u, 0x18d30538u,
  0x5ee7dae4u, 0x14e4434bu, 0x0430d3f5u, 0x194315efu, 0xe73527f5u, 0x069ddf19u, 0xbd3cd7f7u, 0x4bf735f8u,
  0x4ba6ccebu, 0x020d11f4u, 0xb5b7e8c5u, 0xfe333b08u, 0xb3119713u, 0x5510f019u, 0x1fe5ca04u, 0x539ee105u,
  0x1306de1bu, 0x0df013f5u, 0x2209172du, 0x25d7acfeu, 0x47f93ff1u, 0xc319b705u, 0x5769f411u, 0x841ceff1u,
  0x07c7a696u, 0x20011908u, 0xeeaafaf1u, 0x0aeb267fu, 0x81c04535u, 0x131915eau, 0xaab7a256u, 0x1e72e538u,
  0x04f2e00du, 0xfadd507fu, 0xe5d8b42du, 0xc9f0540du, 0xe7ac54ceu, 0x49020f06u, 0x2f0ec5f7u, 0xd7d223dcu,
  0xf5d0ead2u, 0xeff1e82au, 0x41aa002eu, 0xfefd130cu, 0xf6360c3eu, 0xed070cd9u, 0xfd582425u, 0xfcba0f09u,
  0xd7084744u, 0xfdf3db19u, 0x2f234b35u, 0xb62bc512u, 0x2cbae615u, 0x9f22aecfu, 0xef81f194u, 0xd2ed155bu,
  0xccd8ea03u, 0xc0d25d55u, 0xd62840f5u, 0xc2d81535u, 0x41f24705u, 0xe4f8d853u, 0x814e0c01u, 0xe8e14802u,
  0x111f10dau, 0xa34040deu, 0x31cdefc6u, 0xc7190a06u, 0xfb33f8efu, 0x3970cdf6u, 0xf0e7d54au, 0x213bc1f1u,
  0x01e1182du, 0xe9cd34c2u, 0x1d1bb8c9u, 0x0fd52bceu, 0xdc260d01u, 0xc1ad5ed7u, 0x39eaf2d0u, 0xed11c3dfu,
  0xfd08fd06u, 0x431ff418u, 0x1ac72011u, 0x19510df7u, 0x1cf20603u, 0x07dace29u, 0x5e36cdfeu, 0x200c9ce1u,
  0x15f30f2fu, 0xe4d321d2u, 0x060c1c08u, 0x4ee84729u, 0x042ad1ddu, 0xc337ef0cu, 0x18392c22u, 0x107f3420u,
  0x2211c221u, 0x3a35fe1cu, 0x4827040du, 0xf21bf510u, 0xea16f97fu, 0xc8188118u, 0xcb2af2cbu, 0xe5e5023bu,
  0x9d492fecu, 0xdaf6fbedu, 0xfcf7e103u, 0x57b2289du, 0xb0cf340du, 0x27c74907u, 0xf3aeed4du, 0xe1f2bcb2u,
  0x390e00f1u, 0xd23d5b44u, 0x101851f2u, 0xfbee05d4u, 0xd6c34ddau, 0xee01e15fu, 0x2a811a69u, 0xd04ec0d4u,
  0x6721e01cu, 0xf811f44eu, 0xf7f4c281u, 0xf54f3b21u, 0x3930d923u, 0x39edb5e5u, 0xcb1d3917u, 0xeb1e36ebu,
  0x6189040au, 0x407fe2e6u, 0x2d470c25u, 0xe04bb23fu, 0x3bb1eeccu, 0x203c2bceu, 0xf890fa13u, 0xd810ffa0u,
  0xd1df06ffu, 0x3aa2275fu, 0x37e3706cu, 0x27042412u, 0xde2cda4du, 0x40202db1u, 0xd821060cu, 0xf8feef29u,
  0x3107271au, 0x0e22e930u, 0x4ef1bd14u, 0xdc18e52bu, 0xb9dc450eu, 0x54ad2f03u, 0x1f810638u, 0xe35e2be5u,
  0xef58b1f1u, 0x25da03e8u, 0xf721fc08u, 0xc1f1fb3au, 0x3fe522c8u, 0xd470f5c8u, 0x29d22432u, 0x31f81de6u,
  0x0a1fe3a9u, 0x81ea33e4u, 0xbf03d712u, 0x7f22089bu, 0xfa312d3eu, 0xe9031bc4u, 0xe40401e1u, 0x02d779e6u,
  0x59f197d5u, 0xe3490533u, 0xdf2701f2u, 0x32d3b111u, 0x2c81451du, 0x96deed38u, 0xc4e52001u, 0x3d2dc429u,
  0x343329feu, 0xf3284b26u, 0xccd5f4dfu, 0xf4b79bcfu, 0x0c6d5840u, 0x3cc5aef7u, 0x2314f8f4u, 0x1cd3ddd8u,
  0xc0aa28d8u, 0xe260d905u, 0xc2ba201au, 0x1700f1f6u, 0xf12d1d35u, 0x2eafbcfcu, 0xbbaff8d5u, 0xdcf10612u,
  0xe1de91f5u, 0x1aeb2da0u, 0xb4210ce3u, 0xa9fe1e3du, 0xdf1313f3u, 0x24c94607u, 0xd71c09ccu, 0x070dec04u,
  0xf607c1ffu, 0x52fb13fcu, 0x1867fbe7u, 0x270e3ed9u, 0x32f23fd7u, 0x3b2031e8u, 0xe309e69cu, 0x81eae5f7u,
  0x0cf027e5u, 0x8ff3befeu, 0x114bdbaeu, 0xc8d2dc00u, 0xffd30a15u, 0xde790c05u, 0x84ef0979u, 0x3437d201u,
  0x15e3afe8u, 0x10bfeb8fu, 0xe2babc05u, 0x0d1d23f7u, 0xe7991917u, 0x2bc009ebu, 0x4e3ff1c0u, 0x351727ccu,
  0x101a14edu, 0x733e5a2fu, 0x21c739f5u, 0x192bf928u, 0x0bfc7bfcu, 0x81c4f0f9u, 0x2467cf35u, 0x2a2614f5u,
  0xd2fec081u, 0x28200fd8u, 0x21e52c7fu, 0x35fe1305u, 0xc8a6c5d9u, 0xd30f0f0cu, 0x440dad15u, 0x07ed32bfu,
  0xf8fea9e0u, 0xf5060f15u, 0xccd7dddfu, 0x46121702u, 0xede9de2fu, 0x09d80423u, 0x100ed8e0u, 0xef3d46b0u,
  0xffec6de0u, 0x4202e508u, 0x60b6ce04u, 0x932cde42u, 0xc70aa527u, 0xf8fee903u, 0x391bfd01u, 0xd2025c2bu,
  0xf716fbf7u, 0xde0b1301u, 0x453d137fu, 0xa2bb472du, 0xc533d021u, 0x090d05f1u, 0x87f0f6f9u, 0x7fe3032eu,
  0xd4cc40f7u, 0xf3d526cdu, 0xd6a32816u, 0x536f9565u, 0x0f4f0781u, 0x00ed0617u, 0x05bf3febu, 0x0c4cff1cu,
  0xd4ece6d9u, 0xdb620117u, 0xf3f37127u, 0xfb5df6efu, 0x1c07f6fdu, 0x0df5ee07u, 0xd0d51122u, 0x1003c7e8u,
  0x62f03323u, 0xe12b81d0u, 0x29202213u, 0x1b3ffa2du, 0xdfc30deeu, 0x37011f08u, 0xece74bdau, 0xdf7fcc25u,
  0x8103c8e7u, 0x1bda1706u, 0x19053bc5u, 0x0f58bad8u, 0x2a05171au, 0x0afaf9fbu, 0xf7c10409u, 0xa9f8eee4u,
  0x0c32dcb2u, 0xf11addf8u, 0xd0211551u, 0xfdcd32deu, 0x792921f5u, 0xe413ffebu, 0x583ff804u, 0x1f064ef4u,
  0x51e22fdbu, 0x2c07fff5u, 0xd5061f03u, 0xd900d441u, 0x01edf3e5u, 0x2d16c2a2u, 0xe77fcef6u, 0x0c592b36u,
  0x38bfdc08u, 0xf3da9fd6u, 0x2b0e1520u, 0xd7e521fcu, 0x25e0caf5u, 0x0410e602u, 0x46d6fd22u, 0xf8d6f911u,
  0x0bdccdf9u, 0x0ba981b3u, 0xaee4f60bu, 0x037f052du, 0xb20018fau, 0x2afdf1e2u, 0x9328e034u, 0x71e6397eu,
  0xf9191425u, 0x1d130f24u, 0xe706dc30u, 0xe5a6d3a2u, 0x6dc2191fu, 0xc8b20b02u, 0x7f110d1eu, 0xe441f22du,
  0x082a9581u, 0x05e00d4du, 0xdc12c6c2u, 0x0c3fe1e6u, 0x3eda20c7u, 0x40ddd025u, 0x09f90be1u, 0xc6d685beu,
  0x1e3cdae0u, 0x17d635d9u, 0xb82789ceu, 0xe742594du, 0xf834090eu, 0xd4f5d9cfu, 0xb9f76115u, 0x3ec600e9u,
  0x43bc1e15u, 0xf4221af8u, 0xf7f01cf1u, 0x0fb642c3u, 0x23152923u, 0x3585191eu, 0xa923deddu, 0xee9e3b57u,
  0x0d1b9ef5u, 0xdbd30ceau, 0x2b3fc8ebu, 0xea2decf1u, 0x2e5500dbu, 0x1ecb2ce2u, 0x120cd92fu, 0xcdf30522u,
  0x5fc8dfc0u, 0x0bf99708u, 0xc61104f2u, 0x345626bdu, 0x3a0f06e8u, 0x33fad9c1u, 0x29cdf90au, 0x6603470au,
  0x341b331bu, 0xfff135d7u, 0xd1f8e6cfu, 0xe7ca0a9bu, 0xcfe201bcu, 0x00fe4605u, 0xfeff1931u, 0xcfc70437u,
  0xe6140119u, 0xeb01f501u, 0xdff11a16u, 0xeb137f28u, 0xbad7271cu, 0x1fdeb208u, 0x290e0ec5u, 0x47d1cbe1u,
  0x7fd34c03u, 0x6c760ae3u, 0x1c2f057fu, 0xae8f745du, 0x150ed6d8u, 0x55b7e88cu, 0x1022d21fu, 0x59b99740u,
  0xcb1de932u, 0x12eef51du, 0x202725e8u, 0xe1f5dd01u, 0x12ebfe67u, 0x7f7cc768u, 0x062103ffu, 0x26e61437u,
  0xeadffc09u, 0xb33a0a28u, 0x2ae73614u, 0x33012bf5u, 0x1b240ea6u, 0x3e00f6a0u, 0x20e85933u, 0x241de907u,
  0xe9e820cbu, 0xe91d4a24u, 0xee08f9e1u, 0xe800fff9u, 0x690e58fau, 0x0e02271cu, 0x5ad3413du, 0x1dbd58fau,
  0xe4cee73au, 0x02de1fefu, 0x10ce11d7u, 0x280be815u, 0xb7e00a28u, 0xeb170429u, 0xd7110f9du, 0xd416df0fu,
  0x154332e6u, 0xfff61fe5u, 0xe1e31c4fu, 0x24da2a51u, 0xf810ebe1u, 0xc1da19fbu, 0xaf2409edu, 0xe0eaf20au,
  0xe1c27fb0u, 0x2b0f011fu, 0x3cf17f4bu, 0xde1e1703u, 0x2609e304u, 0x3660dd33u, 0x08ffd7d2u, 0x501aba3au,
  0xb9e09f3cu, 0xeaac1326u, 0xf447ca1fu, 0x3a7fdf04u, 0x30eae742u, 0xe07ffd20u, 0x1c14f336u, 0xa34ac0c4u,
  0xf9bdbb02u, 0x131bfff0u, 0x05eee0fdu, 0xf5e7bee1u, 0xdede15eau, 0xed25fc0eu, 0x1f2f354du, 0xfcf1e846u,
  0xad544f1fu, 0x62c99fffu, 0x9b54dc3cu, 0x0ce5427fu, 0xec488119u, 0x06f5362bu, 0x530e28cfu, 0xa94adf96u,
  0xc1b782d3u, 0x29661000u, 0x07ede83cu, 0x59271d38u, 0xe3073712u, 0xb8d6cdb5u, 0xbc81dd1cu, 0xedac4ca0u,
  0x36f54dfcu, 0x0de9f70cu, 0x1023095fu, 0x3de6fe3bu, 0xfb319932u, 0x2e610eeau, 0x63b31a23u, 0x061afd1au,
  0xe819c2f2u, 0x2d03ddcdu, 0x47d462b7u, 0xbb279be3u, 0x2f5ff03bu, 0xbe4aedb1u, 0xfa06adc4u, 0xe33f036eu,
  0x26603cfbu, 0x0a40e75bu, 0x557ab6cdu, 0xf3072c3au, 0x81016131u, 0x0ff4240au, 0x18210a03u, 0xdf1b10ceu,
  0x254a3e3bu, 0x8dd05d1au, 0x35fa11d6u, 0x6cf56137u, 0xa8062a19u, 0x0126010du, 0xe9241ec2u, 0xc30e0b81u,
  0xfb5bd427u, 0x55f428ebu, 0x130bbe0cu, 0xe422eeecu, 0xdecdefc0u, 0xd40305dbu, 0x3ad14300u, 0xeb192214u,
  0xe7c736d5u, 0x62d718e7u, 0x331fe1f7u, 0x1c0ae7c6u, 0xefb01408u, 0xd152f6b8u, 0xd3ff406bu, 0x05dd3b44u,
  0x4c241837u, 0x4357df1fu, 0x2ae48104u, 0x30ccc842u, 0xded3f515u, 0x7fd5f7f5u, 0x15eac832u, 0x040622d7u,
  0xb82eea37u, 0x20cb3a21u, 0xfe0a51f5u, 0xd915f66au, 0x3dfbf6feu, 0x6ae50bdbu, 0xfeee1d1au, 0x3e0f1a29u,
  0xcf0fd0b8u, 0x12063902u, 0xdeb5fdddu, 0x05290246u, 0x27cfef0au, 0x16b9fc09u, 0x87254a56u, 0xc170073eu,
  0x9975ecc9u, 0xcafaf8c8u, 0xc90b6d09u, 0xff7f3a17u, 0x000c491au, 0x1c3e39fcu, 0x5662d405u, 0xcbf80ce7u,
  0x52ebf062u, 0xe6d933f3u, 0xc429d4deu, 0xfbfc5a6bu, 0xd3f4d1a3u, 0xfd1506f4u, 0x1a231112u, 0xae1dedcau,
  0xdf2b5b45u, 0x25e20613u, 0x361849acu, 0x43bfedeau, 0xdb251cdeu, 0x490032d1u, 0x109ff3eau, 0xf3f8f81bu,
  0x5df4e5cbu, 0x2a1209e4u, 0x104e007fu, 0x52e5060eu, 0x1b8bd724u, 0x0b4ad501u, 0x19f6e21du, 0x33e8de17u,
  0x0f637f3du, 0x65fcf551u, 0x093ad1f0u, 0x0173d73fu, 0xe6f3df44u, 0xd4ef2d01u, 0x36f3b9abu, 0x44f3dbd8u,
  0x0468c8bcu, 0x7f8f53edu, 0xc67f1e4cu, 0x53f0d8fau, 0xf60326c1u, 0xa6e412ebu, 0xcdf4e402u, 0x12f5e919u,
  0x11c9f1e0u, 0x0c2df4eau, 0xf92d311bu, 0x24c9fef9u, 0xccf0cc61u, 0x3edcf6dfu, 0xffdc13ccu, 0xf80000eeu,
  0xda0d0a3au, 0xe81aee42u, 0x691e12d6u, 0x040eddfeu, 0xcc1a1e1eu, 0xe5ff020cu, 0xdefed8e5u, 0x7fb82523u,
  0x9848f7d0u, 0xfd2efcdau, 0x07c92402u, 0xf80d061du, 0xf8af2c23u, 0x1d031327u, 0x64320c28u, 0xee041920u,
  0xdc0e1b04u, 0x27c9b7f6u, 0x7f3105ceu, 0x07f9fbe5u, 0xdf1f811cu, 0x177fcacfu, 0x0eb841b2u, 0x2e19fe24u,
  0xf4f81802u, 0x255fcf06u, 0x300aef25u, 0x0cfe23e9u, 0x0c9ec9e9u, 0x1cfbf81cu, 0x024b4921u, 0xd6f70908u,
  0x40efee4bu, 0x02013830u, 0xfc312408u, 0xf0ff0718u, 0xd90e220au, 0x18b5a8f9u, 0xfdf7c7fdu, 0x35d04e14u,
  0xbff3d4c7u, 0x1ed046c6u, 0x1db4261bu, 0x0d1ba8e5u, 0x1e95d600u, 0x04368bd9u, 0xdded53e2u, 0x15160ed4u,
  0x2dde5d5cu, 0xe3dbbb05u, 0x2bebf557u, 0x9c2fea45u, 0x4931ed37u, 0xe746b343u, 0xd3493d0bu, 0x1aec03f1u,
  0xbf560ae2u, 0xe420d2d7u, 0xecef74d0u, 0xcdda33b1u, 0x3420164au, 0x39fbfed6u, 0x1b081deau, 0xf6175107u,
  0x67f8f116u, 0x7bf5f710u, 0xff04c7fau, 0xd8f72b00u, 0xbe09f029u, 0x81fbd729u, 0x540a7f19u, 0x0d057f56u,
  0x2dd945fdu, 0x2f5cfb26u, 0x303dac06u, 0xbc283165u, 0xa94d813eu, 0xfd300f1au, 0x7ff5d6c9u, 0x92f60731u,
  0x16394103u, 0xb7ccf4a4u, 0xf3bfc619u, 0x0f0c8153u, 0xc617dde3u, 0x4dd2eae2u, 0xf8fedbd0u, 0x5dfe08f1u,
  0x0c46d3cfu, 0xedee14e5u, 0x1dcfe860u, 0x15f2db00u, 0xfab023d8u, 0x7ff241d4u, 0xe836fb06u, 0x1de60ef7u,
  0x33c8cdc0u, 0x983e524cu, 0xcf2105f6u, 0x9d1deaccu, 0xe050d6f4u, 0xd5210f27u, 0xbc2414d7u, 0xa7633a53u,
  0x981a14f9u, 0x4df12293u, 0x030750afu, 0x2c20eae4u, 0xc1ddef24u, 0xffbe6ca8u, 0x0ae4ff8fu, 0xa6e5fda3u,
  0xf51ad822u, 0x4e0e12c2u, 0xb1e51254u, 0x21d0e0e2u, 0xdccbef88u, 0x0750f053u, 0xde29236du, 0xdbe3d04fu,
  0xee000fbbu, 0xd1230432u, 0xdae1da1fu, 0x47e012c5u, 0xbc3f0ae9u, 0x17d7372au, 0x30f94fe9u, 0xf800d20fu,
  0x1306fae4u, 0xf7e0d5feu, 0x08eb1e03u, 0xfc44fae7u, 0x42db1ce8u, 0xec1f2bdcu, 0xfc0d21f7u, 0x9cf6eb21u,
  0xd706bc0du, 0xdd84dc7fu, 0xe7f011dfu, 0x3b1e1f0eu, 0x0e0118efu, 0xe31bf050u, 0x5235dee9u, 0x1ae8d806u,
  0x06177f39u, 0x0534dd3du, 0x472fec18u, 0x39812027u, 0x1c963ff4u, 0x130b39f4u, 0x0b301cc3u, 0x2aa7b319u,
  0xf9e6f1ebu, 0x3738f915u, 0x1bec1416u, 0x263c9010u, 0x09ade272u, 0xede7beefu, 0x38fe081au, 0xd5e7f909u,
  0x3535f408u, 0xc84a0c19u, 0x45faf02eu, 0xcef3172cu, 0x1a22e8b7u, 0xf3df3629u, 0x060b7f0cu, 0x3fafdae6u,
  0xc32be977u, 0xe22a3ad7u, 0xfcf22917u, 0xd2cb0ed3u, 0xdcf62019u, 0xc2ed2912u, 0x815e08feu, 0xe0301957u,
  0x10f518c1u, 0xfd21100bu, 0xd438f00du, 0xbc372a0cu, 0x7f073cdfu, 0xf9ef055cu, 0x3defe820u, 0x4c06e2ffu,
  0xc8e2aee5u, 0xdae41333u, 0xf317d1c1u, 0xdbe909bcu, 0x28e624d0u, 0xeaa64b30u, 0x2c21f902u, 0x13260db6u,
  0x417cb01du, 0xc6d508e3u, 0xd8e5c5e9u, 0xeddf2465u, 0x092e44f4u, 0x08fddd30u, 0x0ae11ff8u, 0x57eca506u,
  0x04b278dcu, 0xff37f131u, 0x0fe7fbddu, 0x1fe610d7u, 0x2c6acfffu, 0xca7ff021u, 0x040a2845u, 0x0d01480fu,
  0xfd3e28ecu, 0xfafadcc7u, 0x3c0c34f1u, 0x7ffe1523u, 0xf1442bf6u, 0x0702d006u, 0x00e9f7aeu, 0x06f01011u,
  0xd9fced92u, 0x866efbceu, 0x47dae7cfu, 0x0d089b10u, 0x94d927ceu, 0x7f32cc5au, 0xc6f934cbu, 0x67eead1fu,
  0xfec70439u, 0xf5d7f23bu, 0x9acee934u, 0xd905cdb0u, 0xfb24e7c4u, 0x1350e311u, 0xd4f2243fu, 0x22bc16f3u,
  0x41fc3407u, 0xb329181au, 0x1842382au, 0xf2044f92u, 0xbc924f5fu, 0xbdceb637u, 0xdf5bdb00u, 0xd6c72d12u,
  0xeaf72ec9u, 0x25f9e148u, 0xac1cc7f6u, 0x320920f4u, 0x2081dfd8u, 0x9dc41ce3u, 0x376a381fu, 0xe3a6c9ecu,
  0x3dd7ff12u, 0x23221c81u, 0x0dc92e4fu, 0xe004d6bcu, 0x04eba5efu, 0x559190d0u, 0x098118a0u, 0xea0e24ffu,
  0x12fe06e7u, 0x1681e6eau, 0x0ad73023u, 0xfeff7ffau, 0x4212fecfu, 0x2502d928u, 0x2900f549u, 0x1e1e1df8u,
  0x62090909u, 0xe50fe7b7u, 0xd3fb2bf3u, 0x09f92610u, 0xf381da2fu, 0x5bf91956u, 0xe9194020u, 0xf2f9301cu,
  0x2c02f549u, 0xb651d868u, 0x99e92314u, 0x00f3ebf6u, 0xf237343bu, 0xf23007d1u, 0xbce208d8u, 0xd70b27ffu,
  0x3eb3e5cfu, 0xf1c878e5u, 0xcf16184eu, 0x1839ba17u, 0x3f0d1ee3u, 0xd4fe0cc7u, 0xd65cee4au, 0x333dd531u,
  0x57010cf2u, 0x52d337a2u, 0x8b412e01u, 0xec32fe1bu, 0x170c3076u, 0x95c73303u, 0x02cd90f0u, 0x0bffc4deu,
  0x231941eau, 0x15f12d19u, 0xf022c740u, 0x05fa673cu, 0x190a1609u, 0xeb22e3ebu, 0x16d4c7c0u, 0x08d7c202u,
  0x1bd21613u, 0x1cea7f06u, 0x5f321300u, 0xc11cf323u, 0x24c2db23u, 0xfad9d3e7u, 0xf1e625e9u, 0xe67731e3u,
  0xea02f4c7u, 0x2c2230d7u, 0x0c21cf81u, 0x0addfd42u, 0x15d3147fu, 0xf3d8f63du, 0xf3fdf2f8u, 0xcbca03c3u,
  0xe7ed1030u, 0x0f0ae60cu, 0xf5d8f0f7u, 0x66d22b0eu, 0xc0cc353eu, 0xd6342021u, 0x4a676d34u, 0x12f1f874u,
  0xe2f642f4u, 0xd0081508u, 0x0cde0abfu, 0x5ad8bd03u, 0xe82af3f2u, 0x1c4013e4u, 0xefa329ecu, 0x17c32b20u,
  0xedeb150cu, 0x24e2f8eau, 0x44847319u, 0x1e373636u, 0x02ce1deau, 0x0d13fa08u, 0xfd240623u, 0x062be14au,
  0xd9d823f1u, 0x060e5846u, 0xc7370de5u, 0x2a3bf581u, 0x2dfaeed5u, 0xd6c3b1deu, 0xd608e415u, 0xd881141au,
  0x0a08f92cu, 0x6130d3ffu, 0xdb122d1bu, 0xb5e548f6u, 0x2c23d10du, 0x06ae1cdcu, 0xe6d100deu, 0x6cfe1e00u,
};
/* what 1 is worth, of each row */
static const float memory_R_scale[144] = {
  0.007178019f, 0.008763721f, 0.005657034f, 0.011806388f, 0.0070590023f, 0.007879444f, 0.01075819f, 0.012133361f,
  0.011349393f, 0.014049323f, 0.009005248f, 0.006558592f, 0.009683081f, 0.009848327f, 0.005910803f, 0.008723336f,
  0.010342171f, 0.0059377393f, 0.009096575f, 0.009540147f, 0.005726116f, 0.010600961f, 0.0059985495f, 0.006781598f,
  0.009574655f, 0.0087405685f, 0.0059969085f, 0.0074059735f, 0.008629731f, 0.0078089684f, 0.011762693f,
  0.0059663816f, 0.0058037266f, 0.015971148f, 0.007714031f, 0.011123239f, 0.0111690825f, 0.017001158f, 0.009455152f,
  0.016624914f, 0.005819105f, 0.005234302f, 0.009228267f, 0.0064587314f, 0.005736658f, 0.011282074f, 0.0039836257f,
  0.00545928f, 0.015175416f, 0.008360568f, 0.0055348026f, 0.010739776f, 0.0064713554f, 0.0062755872f, 0.010883717f,
  0.009415074f, 0.0055244835f, 0.01588961f, 0.0068042246f, 0.006501488f, 0.012206367f, 0.004633458f, 0.007963235f,
  0.010871286f, 0.009839876f, 0.007660073f, 0.0051145656f, 0.009551432f, 0.009903868f, 0.009196087f, 0.007578352f,
  0.008876915f, 0.007024296f, 0.010381373f, 0.008943661f, 0.008618758f, 0.006878638f, 0.0061450647f, 0.010214382f,
  0.008824375f, 0.0068169627f, 0.008895181f, 0.009223638f, 0.0070156255f, 0.017781936f, 0.010669085f, 0.0067193857f,
  0.01665061f, 0.009931281f, 0.0073546264f, 0.014311457f, 0.007839937f, 0.007551543f, 0.005682416f, 0.010279849f,
  0.004851621f, 0.012155516f, 0.006974721f, 0.0053653554f, 0.0163109f, 0.008969213f, 0.0063318587f, 0.0092842635f,
  0.006744746f, 0.004367728f, 0.012083574f, 0.005344293f, 0.0060691396f, 0.009460568f, 0.006595059f, 0.0077327425f,
  0.010605813f, 0.005846736f, 0.005840329f, 0.013397836f, 0.012349014f, 0.010657718f, 0.007753247f, 0.010417142f,
  0.0078276f, 0.0091205025f, 0.007716553f, 0.005757507f, 0.010349066f, 0.008761405f, 0.0060235346f, 0.012767889f,
  0.009567204f, 0.0056497683f, 0.012196259f, 0.012390876f, 0.008104238f, 0.010608809f, 0.006553692f, 0.0047663213f,
  0.010655078f, 0.009558442f, 0.006003525f, 0.016548734f, 0.017156579f, 0.010657404f, 0.008554392f, 0.008160309f,
  0.0071543506f,
};
static const float head_b[10] = {
  -0.2798245f, 0.4543436f, -0.01044526f, -0.24159783f, 0.097137034f, -0.08836856f, 0.19086292f, -0.052942585f,
  -0.19055147f, 0.28935513f,
};
/* 10 rows of 48 columns, int8 */
static const uint32_t head_W[120] = {
  0xa4e2d642u, 0x2abd2ae7u, 0x21d71633u, 0x4ef367ceu, 0xbb30d928u, 0x0f1120f1u, 0xf02ee9e9u, 0xa28f24ccu,
  0x8109e829u, 0x1842012au, 0xda1f1707u, 0x24fc1627u, 0x503d730au, 0xb006c1bcu, 0xf91cf413u, 0xec98eb4bu,
  0xb09f91f7u, 0x121cf914u, 0x091016feu, 0x687b15bdu, 0x2913f61cu, 0xb4274d17u, 0xe6303012u, 0x41ebb4afu,
  0x2278b8f3u, 0x0e97e816u, 0xfbf614fcu, 0xd9c8409du, 0x33f54415u, 0xd77fe34eu, 0x21e37feeu, 0x2cefc6e7u,
  0x37dd2900u, 0xd443fcf9u, 0xe3b7c82du, 0xe927f12au, 0xdeeaf537u, 0xeff2f3c9u, 0x2b4afe1cu, 0x5ae6e033u,
  0x157cc30du, 0x02c9d71bu, 0x09f1f7ddu, 0xa9bbfed0u, 0x37ff000du, 0xc2211e2eu, 0x1003cb24u, 0x28cd81a0u,
  0x134bdef1u, 0xe825f055u, 0xdf43aff1u, 0xd3180fcbu, 0x14ac8e35u, 0x22371d0du, 0x5c51e46bu, 0x1b4d36f6u,
  0xbadd87f0u, 0x7ec24ee2u, 0x7f9ddec9u, 0x2e402f2au, 0xe2eb0e31u, 0x68120b81u, 0x6a41bcdeu, 0xec1d0c18u,
  0xdfb81f16u, 0x3202fccfu, 0x05c8aef8u, 0xa311fd4eu, 0xc4e00cdfu, 0x1b9ad3b2u, 0xb6114e43u, 0x1bfdfc0cu,
  0x3507c953u, 0xfc1e39a5u, 0x9361bb27u, 0xdd0b0a8du, 0xec05e733u, 0xf4f6b8d9u, 0xf6f256c8u, 0x28fee9dfu,
  0x20ef3a81u, 0x29edfd04u, 0x09e24e0cu, 0xc350e10au, 0xb05f2d98u, 0x1f901ce2u, 0xb8ab39b7u, 0x180e812bu,
  0xf703171au, 0x4ad6421au, 0x3c5ae547u, 0xbf1fed2du, 0x3f53c54bu, 0xb7f02affu, 0x81629256u, 0xcad81acbu,
  0xe92715d4u, 0xeedef306u, 0xccca1aeeu, 0x26c1f3cfu, 0xefb609b0u, 0xb917e612u, 0xfdda0a31u, 0xf4d93e1bu,
  0x2ded452bu, 0xdc13f1ccu, 0xf3dbf17fu, 0x3d17cc81u, 0xfbdefd26u, 0x31280f71u, 0xdfeb063du, 0xf5e0d2efu,
  0x0fd60c22u, 0x312fefd5u, 0x1def281bu, 0xf91305ebu, 0x03fe07cbu, 0x1cfd39c1u, 0x37f151dbu, 0x24da49deu,
};
/* what 1 is worth, of each row */
static const float head_W_scale[10] = {
  0.012504063f, 0.01614725f, 0.019534217f, 0.010447636f, 0.014917022f, 0.013245857f, 0.0108292615f, 0.016145084f,
  0.013594571f, 0.015019018f,
};

/* -- the model ---------------------------------------------------------------------------------------------------- */

typedef char digits_state_has_the_size_that_the_header_says[sizeof(digits_state) == DIGITS_STATE_BYTES ? 1 : -1];

static UT_NOINLINE void step(digits_state* s, const float* in_input, float* out_output) {
  /* memory: gru (8,) -> (48,); W int8 R int8 */
  {
    const float* x = in_input;
    float* h = s->memory_h;
    float* y = s->work;
    {
      size_t u, i;
      float a[15];
      const float s_x = quantise(s->frame, x, 8, 8, 127.0f);
      float q[15];
      const float s_h = quantise(s->frame + 8, h, 48, 48, 127.0f);
      for (u = 0; u < 48; u += 5) {
        const size_t some = u + 5 <= 48 ? 5 : 3;
        if (some == 5) {
          products_i8_4(a, memory_b + 3 * u, memory_W + 2 * (3 * u), memory_W_scale + (3 * u), s->frame, s_x, 2, 3);
          products_i8_3(a + 12, memory_b + 3 * u + 12, memory_W + 2 * (3 * u) + 24, memory_W_scale + (3 * u) + 12, s->frame, s_x, 2, 1);
          products_i8_4(q, memory_rb + 3 * u, memory_R + 12 * (3 * u), memory_R_scale + (3 * u), s->frame + 8, s_h, 12, 3);
          products_i8_3(q + 12, memory_rb + 3 * u + 12, memory_R + 12 * (3 * u) + 144, memory_R_scale + (3 * u) + 12, s->frame + 8, s_h, 12, 1);
        } else {
          products_i8_4(a, memory_b + 3 * u, memory_W + 2 * (3 * u), memory_W_scale + (3 * u), s->frame, s_x, 2, 2);
          products_i8_1(a + 8, memory_b + 3 * u + 8, memory_W + 2 * (3 * u) + 16, memory_W_scale + (3 * u) + 8, s->frame, s_x, 2, 1);
          products_i8_4(q, memory_rb + 3 * u, memory_R + 12 * (3 * u), memory_R_scale + (3 * u), s->frame + 8, s_h, 12, 2);
          products_i8_1(q + 8, memory_rb + 3 * u + 8, memory_R + 12 * (3 * u) + 96, memory_R_scale + (3 * u) + 8, s->frame + 8, s_h, 12, 1);
        }
        for (i = 0; i < some; ++i) {
          const size_t j = u + i;
          const float keep = act_sigmoid(add(a[3 * i], q[3 * i]));
          const float reset = act_sigmoid(add(a[3 * i + 1], q[3 * i + 1]));
          const float next = act_tanh(mul_add(reset, q[3 * i + 2], a[3 * i + 2]));
          y[j] = mul_add(keep, sub(h[j], next), next);
        }
      }
    }
    memcpy(h, y, 48 * sizeof(float));
  }
  /* head: dense (48,) -> (10,); W int8 */
  {
    const float* x = s->memory_h;
    float* y = s->work;
    const float s_x = quantise(s->frame, x, 48, 48, 127.0f);
    products_i8_4(y, head_b, head_W, head_W_scale, s->frame, s_x, 12, 2);
    products_i8_2(y + 8, head_b + 8, head_W + 96, head_W_scale + 8, s->frame, s_x, 12, 1);
  }
  /* softmax_1: softmax (10,) -> (10,) */
  {
    const float* x = s->work;
    float* y = out_output;
    softmax(y, x, 10);
  }
}

void digits_reset(digits_state* s) {
  memset(s, 0, sizeof *s);
}

void digits_step(digits_state* s, const float* in_input, float* out_output) {
  const FloatMode mode = float_mode();
  step(s, in_input, out_output);
  set_float_mode(mode);
}
