/* digits: made by undertow 0.1.0, from the model 4cecd3a2071c155a8a01d0c729db8a63.
 * digits.h says how to call it. The text below up to the weights is undertow's, of the MIT License:
 * SPDX-License-Identifier: MIT */
#include "digits.h"

#include <float.h>
#include <stdbool.h>
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
#define UT_FMAF fmaf
#define UT_SQRTF sqrtf
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
#define UT_FMAF __builtin_fmaf
#define UT_SQRTF __builtin_sqrtf
/* A few bytes whose number is known: never a call, which memcpy is under -ffreestanding. */
#define UT_COPY __builtin_memcpy
#endif

/* Bits do not depend on flags: no product and sum of two become one operation. Nor is a library of mathematics needed,
 * which square roots would without -fno-math-errno, and with clang fused multiply-adds. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif
#if defined(__GNUC__)
#if defined(__arm__) && defined(__ARM_FP) && (__ARM_FP & 4)
#define UT_UNFUSED(product) __asm__("" : "+t"(product))
#define UT_ROOT(root) __asm__("vsqrt.f32 %0, %0" : "+t"(root))
#elif defined(__aarch64__)
#define UT_UNFUSED(product) __asm__("" : "+w"(product))
#define UT_ROOT(root) __asm__("fsqrt %s0, %s0" : "+w"(root))
#elif defined(__x86_64__)
#define UT_UNFUSED(product) __asm__("" : "+x"(product))
#define UT_ROOT(root) __asm__("sqrtss %0, %0" : "+x"(root))
#elif defined(__riscv) && defined(__riscv_flen)
#define UT_UNFUSED(product) __asm__("" : "+f"(product))
#define UT_ROOT(root) __asm__("fsqrt.s %0, %0" : "+f"(root))
#elif defined(__XTENSA__)
#define UT_UNFUSED(product) __asm__("" : "+f"(product))
#define UT_SQRT_INTEGERS
#endif
#if defined(UT_ROOT)
UT_UNUSED static inline float root_of(float a) {
  UT_ROOT(a);
  return a;
}
#undef UT_SQRTF
#define UT_SQRTF root_of
#endif
/* Where instructions load several numbers at once. */
#define UT_ALIGN_4 __attribute__((aligned(4)))
#else
#define UT_ALIGN_4
#endif
#if defined(__clang__)
#if defined(__arm__) && defined(__ARM_FEATURE_FMA)
#define UT_FUSE(c, a, b) __asm__("vfma.f32 %0, %1, %2" : "+t"(c) : "t"(a), "t"(b))
#elif defined(__aarch64__)
#define UT_FUSE(c, a, b) __asm__("fmadd %s0, %s1, %s2, %s0" : "+w"(c) : "w"(a), "w"(b))
#elif defined(__x86_64__) && defined(__FMA__)
#define UT_FUSE(c, a, b) __asm__("vfmadd231ss %2, %1, %0" : "+x"(c) : "x"(a), "x"(b))
#elif defined(__riscv) && defined(__riscv_flen)
#define UT_FUSE(c, a, b) __asm__("fmadd.s %0, %1, %2, %0" : "+f"(c) : "f"(a), "f"(b))
#endif
#if defined(UT_FUSE)
UT_UNUSED static inline float fused(float a, float b, float c) {
  UT_FUSE(c, a, b);
  return c;
}
#undef UT_FMAF
#define UT_FMAF fused
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
/* Of two ways to a result one lane takes the one that it needs. */
#define UT_ONE_LANE 1
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
  uint32_t top = (uint32_t)(m >> 32), rest = (uint32_t)m;
  if (top == 0) {
    top = rest;
    rest = 0;
    x -= 32;
  }
  while (!(top >> 31)) {
    top = top << 1 | rest >> 31;
    rest <<= 1;
    --x;
  }
  {
    const uint32_t below = top & 0xffu;
    uint32_t mantissa = top >> 8;
    int32_t e = x + 63 + 127;
    if (below > 0x80u || (below == 0x80u && (rest != 0 || (mantissa & 1u) != 0))) ++mantissa;
    if (mantissa >> 24) {
      mantissa >>= 1;
      ++e;
    }
    if (e <= 0) return float_of(sign);
    if (e >= 255) return float_of(sign | 0x7f800000u);
    return float_of(sign | (uint32_t)e << 23 | (mantissa & 0x7fffffu));
  }
}
/* m >> n, of which the last bit stays set where one was lost; m > 0. In words of 32 bits: shifts of 64 are calls there. */
UT_UNUSED static inline uint64_t shift_sticky(uint64_t m, int32_t n) {
  uint32_t high = (uint32_t)(m >> 32), low = (uint32_t)m, lost = 0;
  if (n >= 64) return 1u;
  if (n >= 32) {
    lost = low;
    low = high;
    high = 0;
    n -= 32;
  }
  if (n != 0) {
    lost |= low << (32 - n);
    low = low >> n | high << (32 - n);
    high >>= n;
  }
  return (uint64_t)high << 32 | low | (lost != 0);
}
/* a * b of numbers of 24 bits. */
UT_UNUSED static inline uint64_t product_of(uint32_t a, uint32_t b) {
#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__) /* which multiply into 32 bits alone */
  const uint32_t a_high = a >> 12, a_low = a & 0xfffu, b_high = b >> 12, b_low = b & 0xfffu;
  const uint32_t middle = a_high * b_low + a_low * b_high, low = a_low * b_low + (middle << 12 & 0xffffffu);
  return ((uint64_t)(a_high * b_high + (middle >> 12)) << 24) + low;
#else
  return (uint64_t)a * b;
#endif
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
  product = product_of((ua & 0x7fffffu) | 0x800000u, (ub & 0x7fffffu) | 0x800000u) << 15; /* from 2^61 to 2^63 */
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
  const float r = UT_FMAF(flush(a), flush(b), flush(c));
  const uint32_t magnitude = bits_of(r) & 0x7fffffffu;
  return UT_UNLIKELY(magnitude - 1u < 0x00800000u) ? fused_in_integers(a, b, c) : r;
#elif UT_FMA == UT_FMA_INSTRUCTION
  return UT_FMAF(a, b, c);
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
UT_UNUSED static inline V select_lt(V a, V b, V yes, V no) { return is_less(a, b) ? yes : no; } /* no where either is NaN */
UT_UNUSED static inline V pow2(V n) { /* 2^n for a whole n in [-126, 127]; 0 for n = -127 */
  /* The sum holds n in its last bits. Of a NaN any power will do: what it is multiplied by is NaN too. */
  return float_of((bits_of(n + 12582912.0f) << 23) + (127u << 23)); /* 1.5 * 2^23 */
}
UT_UNUSED static inline V mantissa(V a) { return float_of((bits_of(a) & 0x7fffffu) | 0x3f800000u); } /* m of the same */
// e^(kx) = 2^n (1 + s): n = round(kx / ln 2), s = e^r - 1 with |r| <= ln(2)/2. kx must lie in [-87.33, 88.37], where 2^n
// is a normal float. k is a small power of two with a sign, so kx is exact.
typedef struct {
  V pow2n;
  V s;
} ExpParts;
// e^r - 1: pairs of terms side by side, for the length of this chain is what a cell waits for.
UT_UNUSED static UT_INLINE_FN V exp_reduced(V r) {
  const V r2 = mul(r, r);
  const V low = mul_add(set1(1.6666521e-01f), r, set1(4.9999994e-01f));
  const V high = mul_add(set1(8.368663e-03f), r, set1(4.1668255e-02f));
  const V q = mul_add(mul_add(set1(1.3821468e-03f), r2, high), r2, low);
  return mul_add(r2, q, r);
}
UT_UNUSED static UT_INLINE_FN ExpParts exp_parts(V x, float k) {
  const V shift = set1(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number, ties to even
  const V n = sub(mul_add(x, set1(k * 1.44269504f), shift), shift);
  V r = mul_add(n, set1(-0.693359375f), mul(x, set1(k)));  // ln 2 in two parts, the first with 9 bits: n times it is exact
  r = mul_add(n, set1(2.12194440e-4f), r);
  const ExpParts parts = {pow2(n), exp_reduced(r)};
  return parts;
}
// 1 + e^(kx) for the denominators below.
UT_UNUSED static UT_INLINE_FN V one_plus_exp(V x, float k) {
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
UT_UNUSED static UT_INLINE_FN V sigmoid_bounded(V x) { return div(set1(1.0f), one_plus_exp(x, -1.0f)); }
UT_UNUSED static UT_INLINE_FN V sigmoid_bounds(V x) { return min(set1(87.33f), max(set1(-88.37f), x)); }
UT_UNUSED static inline V vsigmoid(V x) {
  if (UT_UNLIKELY(!is_less(vabs(x), set1(87.33f)))) x = sigmoid_bounds(x);
  return sigmoid_bounded(x);
}
// tanh: error < 1.4 ulp, odd, monotone, in [-1, 1]. A polynomial where 1 - 2 / (e^2a + 1) would cancel; a = |x|.
static const float kTanhSmall = 0.5625f, kTanhBound = 44.0f;
UT_UNUSED static UT_INLINE_FN V tanh_small(V a) {
  const V u = mul(a, a);
  V p = set1(-6.169614e-03f);
  p = mul_add(p, u, set1(2.1000376e-02f));
  p = mul_add(p, u, set1(-5.3835757e-02f));
  p = mul_add(p, u, set1(1.3332437e-01f));
  p = mul_add(p, u, set1(-3.3333313e-01f));
  return mul_add(mul(u, a), p, a);
}
UT_UNUSED static UT_INLINE_FN V tanh_large(V a) { return sub(set1(1.0f), div(set1(2.0f), one_plus_exp(a, 2.0f))); }
UT_UNUSED static inline V vtanh(V x) {
  const V a = vabs(x);
#if defined(UT_ONE_LANE)
  return copy_sign(is_less(a, kTanhSmall) ? tanh_small(a) : tanh_large(min(kTanhBound, a)), x);
#else
  return copy_sign(select_lt(a, set1(kTanhSmall), tanh_small(a), tanh_large(min(set1(kTanhBound), a))), x);
#endif
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
#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M' && UT_FMA == UT_FMA_INSTRUCTION && defined(__thumb2__) && defined(__OPTIMIZE__) && defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__OPTIMIZE__) && !defined(__ARM_BIG_ENDIAN)
  const float* from = x;
  k = n;
  __asm__ volatile(
      "subs %[k], #4\n\t"
      "blo 2f\n\t"
      "1: ldmia %[from]!, {r4, r5, r6, r8}\n\t"
      "cmp %[top], r4, lsl #1\n\t"
      "it lo\n\t"
      "lsllo %[top], r4, #1\n\t"
      "cmp %[top], r5, lsl #1\n\t"
      "it lo\n\t"
      "lsllo %[top], r5, #1\n\t"
      "cmp %[top], r6, lsl #1\n\t"
      "it lo\n\t"
      "lsllo %[top], r6, #1\n\t"
      "cmp %[top], r8, lsl #1\n\t"
      "it lo\n\t"
      "lsllo %[top], r8, #1\n\t"
      "subs %[k], #4\n\t"
      "bhs 1b\n\t"
      "2: adds %[k], #4\n\t"
      "beq 4f\n\t"
      "3: ldr r4, [%[from]], #4\n\t"
      "cmp %[top], r4, lsl #1\n\t"
      "it lo\n\t"
      "lsllo %[top], r4, #1\n\t"
      "subs %[k], #1\n\t"
      "bne 3b\n\t"
      "4:\n\t"
      : [top] "+r"(top), [from] "+r"(from), [k] "+r"(k)
      : 
      : "r4", "r5", "r6", "r8", "cc", "memory");
#else
  for (k = 0; k < n; ++k) {
    const uint32_t u = bits_of(x[k]) << 1; /* without the sign */
    if (u > top) top = u;
  }
#endif
  top >>= 1;
  if (top < 0x7f800000u && top >= 0x0d800000u) { /* 2^-100 */
    const float inverse = div(most, float_of(top));
    scale = div(float_of(top), most);
    /* 1.5 * 2^23 leaves the integer in the last bits, rounded to even */
#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M' && UT_FMA == UT_FMA_INSTRUCTION && defined(__thumb2__) && defined(__OPTIMIZE__) && defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__OPTIMIZE__) && !defined(__ARM_BIG_ENDIAN)
    int16_t* to = q;
    k = n;
    __asm__ volatile(
        "subs %[k], #4\n\t"
        "blo 2f\n\t"
        "1: vldmia %[x]!, {s0-s3}\n\t"
        "vmul.f32 s0, s0, %[inverse]\n\t"
        "vmul.f32 s1, s1, %[inverse]\n\t"
        "vmul.f32 s2, s2, %[inverse]\n\t"
        "vmul.f32 s3, s3, %[inverse]\n\t"
        "vadd.f32 s0, s0, %[shift]\n\t"
        "vadd.f32 s1, s1, %[shift]\n\t"
        "vadd.f32 s2, s2, %[shift]\n\t"
        "vadd.f32 s3, s3, %[shift]\n\t"
        "vmov r4, r5, s0, s1\n\t"
        "pkhbt r4, r4, r5, lsl #16\n\t"
        "vmov r5, r6, s2, s3\n\t"
        "pkhbt r5, r5, r6, lsl #16\n\t"
        "str r4, [%[to]], #4\n\t"
        "str r5, [%[to]], #4\n\t"
        "subs %[k], #4\n\t"
        "bhs 1b\n\t"
        "2: adds %[k], #4\n\t"
        "beq 4f\n\t"
        "3: vldmia %[x]!, {s0}\n\t"
        "vmul.f32 s0, s0, %[inverse]\n\t"
        "vadd.f32 s0, s0, %[shift]\n\t"
        "vmov r4, s0\n\t"
        "strh r4, [%[to]], #2\n\t"
        "subs %[k], #1\n\t"
        "bne 3b\n\t"
        "4:\n\t"
        : [k] "+r"(k), [x] "+r"(x), [to] "+r"(to)
        : [inverse] "t"(inverse), [shift] "t"(12582912.0f)
        : "s0", "s1", "s2", "s3", "r4", "r5", "r6", "cc", "memory");
#else
    for (k = 0; k < n; ++k) q[k] = (int16_t)(bits_of(mul(x[k], inverse) + 12582912.0f) & 0xffffu);
#endif
  } else {
    if (top >= 0x7f800000u) scale = UT_NAN;
    memset(q, 0, n * sizeof *q);
  }
  for (k = n; k < padded; ++k) q[k] = 0;
  return scale;
}

/* A frame of n words of 4 integers for bytes that meet it in pairs: of x0 to x3 x2, x3, 256 x0 - x2 and 256 x1 - x3, so
 * that w2 and w3, as the upper bytes of 16 bits, need no unpacking: what w0 and w1 below add is taken back with their
 * products. Behind them 2^15 times the sum of x0 and x1, by which bytes that are 128 too large make a sum too large. */
static void pair_up(int16_t* q, size_t n) {
#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__OPTIMIZE__) && !defined(__ARM_BIG_ENDIAN)
  uint32_t excess = 0;
  for (; n != 0; --n, q += 4) {
    const int32_t x0 = q[0], x1 = q[1], x2 = q[2], x3 = q[3];
    excess -= (uint32_t)(x0 + x1) << 15;
    q[0] = (int16_t)x2;
    q[1] = (int16_t)x3;
    q[2] = (int16_t)(256 * x0 - x2);
    q[3] = (int16_t)(256 * x1 - x3);
  }
  UT_COPY(q, &excess, sizeof excess);
#else
  (void)q;
  (void)n;
#endif
}

/* m times 4 rows of int8, n words of 4 columns in the order 0 2 1 3: y = start + (sum scale) s. Columns 0 and 1
 * are stored 128 too large; see pair_up. */
static UT_NOINLINE void products_i8_4(float* y, const float* start, const uint32_t* w, const float* scale,
                               const int16_t* frame, float s, size_t columns, size_t m) {
  do {
    const int16_t* x = frame;
    size_t n = columns;
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__OPTIMIZE__) && !defined(__ARM_BIG_ENDIAN)
    UT_COPY(&a0, x + 4 * n, sizeof a0);
    a1 = a0;
    a2 = a0;
    a3 = a0;
#endif
#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__OPTIMIZE__) && !defined(__ARM_BIG_ENDIAN)
    {
    uint32_t u, v;
    __asm__ volatile(
        "subs %[n], #2\n\t"
        "blo 2f\n\t"
        "1: ldrd %[u], %[v], [%[x]], #8\n\t"
        "ldmia %[w]!, {r4, r5}\n\t"
        "smlad %[a0], r4, %[u], %[a0]\n\t"
        "uxtb16 r4, r4\n\t"
        "smlad %[a0], r4, %[v], %[a0]\n\t"
        "smlad %[a1], r5, %[u], %[a1]\n\t"
        "uxtb16 r5, r5\n\t"
        "smlad %[a1], r5, %[v], %[a1]\n\t"
        "ldmia %[w]!, {r4, r5}\n\t"
        "smlad %[a2], r4, %[u], %[a2]\n\t"
        "uxtb16 r4, r4\n\t"
        "smlad %[a2], r4, %[v], %[a2]\n\t"
        "smlad %[a3], r5, %[u], %[a3]\n\t"
        "uxtb16 r5, r5\n\t"
        "smlad %[a3], r5, %[v], %[a3]\n\t"
        "ldrd %[u], %[v], [%[x]], #8\n\t"
        "ldmia %[w]!, {r4, r5}\n\t"
        "smlad %[a0], r4, %[u], %[a0]\n\t"
        "uxtb16 r4, r4\n\t"
        "smlad %[a0], r4, %[v], %[a0]\n\t"
        "smlad %[a1], r5, %[u], %[a1]\n\t"
        "uxtb16 r5, r5\n\t"
        "smlad %[a1], r5, %[v], %[a1]\n\t"
        "ldmia %[w]!, {r4, r5}\n\t"
        "smlad %[a2], r4, %[u], %[a2]\n\t"
        "uxtb16 r4, r4\n\t"
        "smlad %[a2], r4, %[v], %[a2]\n\t"
        "smlad %[a3], r5, %[u], %[a3]\n\t"
        "uxtb16 r5, r5\n\t"
        "smlad %[a3], r5, %[v], %[a3]\n\t"
        "subs %[n], #2\n\t"
        "bhs 1b\n\t"
        "2: adds %[n], #2\n\t"
        "beq 3f\n\t"
        "ldrd %[u], %[v], [%[x]], #8\n\t"
        "ldmia %[w]!, {r4, r5}\n\t"
        "smlad %[a0], r4, %[u], %[a0]\n\t"
        "uxtb16 r4, r4\n\t"
        "smlad %[a0], r4, %[v], %[a0]\n\t"
        "smlad %[a1], r5, %[u], %[a1]\n\t"
        "uxtb16 r5, r5\n\t"
        "smlad %[a1], r5, %[v], %[a1]\n\t"
        "ldmia %[w]!, {r4, r5}\n\t"
        "smlad %[a2], r4, %[u], %[a2]\n\t"
        "uxtb16 r4, r4\n\t"
        "smlad %[a2], r4, %[v], %[a2]\n\t"
        "smlad %[a3], r5, %[u], %[a3]\n\t"
        "uxtb16 r5, r5\n\t"
        "smlad %[a3], r5, %[v], %[a3]\n\t"
        "3:\n\t"
        : [a0] "+r"(a0), [a1] "+r"(a1), [a2] "+r"(a2), [a3] "+r"(a3), [w] "+r"(w), [x] "+r"(x), [n] "+r"(n), [u] "=&r"(u), [v] "=&r"(v)
        : 
        : "r4", "r5", "cc", "memory");
    }
    a0 >>= 8;
    a1 >>= 8;
    a2 >>= 8;
    a3 >>= 8;
#else
    do {
      const int32_t x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
      a0 += (int8_t)((w[0] ^ 0x80u) & 0xffu) * x0 + (int8_t)((w[0] >> 16 ^ 0x80u) & 0xffu) * x1 +
            (int8_t)(w[0] >> 8 & 0xffu) * x2 + (int8_t)(w[0] >> 24) * x3;
      a1 += (int8_t)((w[1] ^ 0x80u) & 0xffu) * x0 + (int8_t)((w[1] >> 16 ^ 0x80u) & 0xffu) * x1 +
            (int8_t)(w[1] >> 8 & 0xffu) * x2 + (int8_t)(w[1] >> 24) * x3;
      a2 += (int8_t)((w[2] ^ 0x80u) & 0xffu) * x0 + (int8_t)((w[2] >> 16 ^ 0x80u) & 0xffu) * x1 +
            (int8_t)(w[2] >> 8 & 0xffu) * x2 + (int8_t)(w[2] >> 24) * x3;
      a3 += (int8_t)((w[3] ^ 0x80u) & 0xffu) * x0 + (int8_t)((w[3] >> 16 ^ 0x80u) & 0xffu) * x1 +
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

/* m times 2 rows of int8, n words of 4 columns in the order 0 2 1 3: y = start + (sum scale) s. Columns 0 and 1
 * are stored 128 too large; see pair_up. */
static UT_NOINLINE void products_i8_2(float* y, const float* start, const uint32_t* w, const float* scale,
                               const int16_t* frame, float s, size_t columns, size_t m) {
  do {
    const int16_t* x = frame;
    size_t n = columns;
    int32_t a0 = 0, a1 = 0;
#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__OPTIMIZE__) && !defined(__ARM_BIG_ENDIAN)
    UT_COPY(&a0, x + 4 * n, sizeof a0);
    a1 = a0;
#endif
#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__OPTIMIZE__) && !defined(__ARM_BIG_ENDIAN)
    {
    uint32_t u, v;
    __asm__ volatile(
        "subs %[n], #2\n\t"
        "blo 2f\n\t"
        "1: ldrd %[u], %[v], [%[x]], #8\n\t"
        "ldmia %[w]!, {r4, r5}\n\t"
        "smlad %[a0], r4, %[u], %[a0]\n\t"
        "uxtb16 r4, r4\n\t"
        "smlad %[a0], r4, %[v], %[a0]\n\t"
        "smlad %[a1], r5, %[u], %[a1]\n\t"
        "uxtb16 r5, r5\n\t"
        "smlad %[a1], r5, %[v], %[a1]\n\t"
        "ldrd %[u], %[v], [%[x]], #8\n\t"
        "ldmia %[w]!, {r4, r5}\n\t"
        "smlad %[a0], r4, %[u], %[a0]\n\t"
        "uxtb16 r4, r4\n\t"
        "smlad %[a0], r4, %[v], %[a0]\n\t"
        "smlad %[a1], r5, %[u], %[a1]\n\t"
        "uxtb16 r5, r5\n\t"
        "smlad %[a1], r5, %[v], %[a1]\n\t"
        "subs %[n], #2\n\t"
        "bhs 1b\n\t"
        "2: adds %[n], #2\n\t"
        "beq 3f\n\t"
        "ldrd %[u], %[v], [%[x]], #8\n\t"
        "ldmia %[w]!, {r4, r5}\n\t"
        "smlad %[a0], r4, %[u], %[a0]\n\t"
        "uxtb16 r4, r4\n\t"
        "smlad %[a0], r4, %[v], %[a0]\n\t"
        "smlad %[a1], r5, %[u], %[a1]\n\t"
        "uxtb16 r5, r5\n\t"
        "smlad %[a1], r5, %[v], %[a1]\n\t"
        "3:\n\t"
        : [a0] "+r"(a0), [a1] "+r"(a1), [w] "+r"(w), [x] "+r"(x), [n] "+r"(n), [u] "=&r"(u), [v] "=&r"(v)
        : 
        : "r4", "r5", "cc", "memory");
    }
    a0 >>= 8;
    a1 >>= 8;
#else
    do {
      const int32_t x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
      a0 += (int8_t)((w[0] ^ 0x80u) & 0xffu) * x0 + (int8_t)((w[0] >> 16 ^ 0x80u) & 0xffu) * x1 +
            (int8_t)(w[0] >> 8 & 0xffu) * x2 + (int8_t)(w[0] >> 24) * x3;
      a1 += (int8_t)((w[1] ^ 0x80u) & 0xffu) * x0 + (int8_t)((w[1] >> 16 ^ 0x80u) & 0xffu) * x1 +
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
  0x825081d5u, 0xe6bdddffu, 0x1bed43ffu, 0xd34fe03au, 0xe48efa30u, 0x0296de90u, 0xde84c59bu, 0x7f532048u,
  0xce631f06u, 0x05a9f9cbu, 0xfc6fe5b5u, 0xd4ac1488u, 0x81fc49b0u, 0xdf6c81a1u, 0xefff45c3u, 0x78d17f7eu,
  0x39683d60u, 0x59333501u, 0x1b47d654u, 0x0646db61u, 0xc801944bu, 0x4bbc78aau, 0x8152cc7eu, 0x81b81e97u,
  0xf401bc10u, 0x0e7de9eeu, 0x81b7aca0u, 0x04a53f01u, 0xed5cf277u, 0x8199a2dau, 0xc76ae184u, 0x1ba7f2c8u,
  0xbd7cea34u, 0x817e867eu, 0x0201c55du, 0x416dd779u, 0x5d352001u, 0x1c74f654u, 0x90188640u, 0x7fb36bdcu,
  0x38847f46u, 0x0c893b97u, 0x1d9ccf8bu, 0x665c1568u, 0x1281413eu, 0xf201b349u, 0xf7b3fcffu, 0xab2b81bcu,
  0xc776f5abu, 0x1246d063u, 0x6c01e053u, 0xacc945c8u, 0x9601a711u, 0x63ff5fe2u, 0x4d7a348fu, 0xf1f37101u,
  0x1e2d8a8eu, 0xc9b8efe1u, 0xfad6f3ffu, 0x1b56006au, 0x441aa6ffu, 0x81d5c9b2u, 0x01acff97u, 0x813f877fu,
  0xcf50d150u, 0xd868f589u, 0xeff9f8b8u, 0xbba53146u, 0x810a9133u, 0x81b6dc8cu, 0x9141819fu, 0x04ff1ba0u,
  0x7f799c81u, 0x587f7fa4u, 0xb39cf501u, 0x4b56b864u, 0xfd425749u, 0xde52c560u, 0x4381b39fu, 0xeeaaf1ffu,
  0xab813845u, 0x34bf7caeu, 0x81368e1au, 0x4b59425au, 0x57c27f09u, 0xf001c612u, 0xdadef9aau, 0x73017e11u,
  0xe68d047cu, 0x7f732a76u, 0xa0a41c34u, 0x0d3a241au, 0x59cc7f87u, 0xd348db58u, 0xe8ff2770u, 0x75656501u,
  0x63c07f89u, 0x03df20d2u, 0x7f8c2a8eu, 0x72d41dffu, 0xbe57c9d5u, 0x0701ee0du, 0x247635f4u, 0xcd74fdc7u,
  0x81e30ddau, 0xb72d9a01u, 0xcdefcc92u, 0x12522739u, 0xdbaf2c04u, 0x01901a9du, 0x8187d3c6u, 0x5c3d5b01u,
  0x7f82129fu, 0xc84dea01u, 0x03c623ffu, 0x0894ffadu, 0xd92bb874u, 0xe1991678u, 0x6296537cu, 0x816cc8a8u,
  0x51ff58c5u, 0xa7018c46u, 0x58ff58bau, 0xde37cb01u, 0x095bd68bu, 0x0863f836u, 0xde9415c7u, 0x33c841a6u,
  0xf89e16a1u, 0x6b7b2c8du, 0xaf228162u, 0x57777f38u, 0x5c7e7f66u, 0xd31a81d8u, 0x034cd174u, 0x56571762u,
  0x8141c353u, 0x81ba57aeu, 0x0182c36au, 0xa19efc9bu, 0x2e8d1344u, 0x9da0ee13u, 0x496fcaffu, 0xb5ff04c5u,
  0x8963b457u, 0x3bff31ecu, 0x8170b946u, 0x5dd96effu, 0x813dc526u, 0xcb55a67cu, 0xad4dd070u, 0xbb67e6b9u,
  0xdf01c42au, 0x7f9e49f1u, 0xf1c6e9ffu, 0x0f14c001u, 0x548a0f58u, 0x15322126u, 0x046ff073u, 0x0cac27adu,
  0x2201b56bu, 0x9846cb01u, 0xf4e37f53u, 0xd3c3f1ffu, 0x5a9c26a5u, 0x2e2ff00au, 0xc2b1035du, 0xa1489d85u,
  0x225b2062u, 0xce24815au, 0xe52ae901u, 0x81d60e8bu, 0x7f8f13b1u, 0xe794ee74u, 0x33bd525cu, 0x16b96368u,
  0xef74c2a8u, 0x23b532b7u, 0xf660b081u, 0xd848d952u, 0xe2ffd4c3u, 0xa14b8199u, 0xcc6081b6u, 0x810cac2du,
  0x2594167cu, 0xe065d25fu, 0xfb3fee72u, 0x9eee1dffu, 0x63ff6ae5u, 0xe9ff1faeu, 0x7f5c095cu, 0x2a35a744u,
  0x9642bf01u, 0x1bd00dffu, 0x0c6efd8eu, 0x0b1b1201u, 0xd7159e43u, 0xe1dff8c7u, 0x8174c97eu, 0x5c58195du,
  0xceb3e2ffu, 0x17ab1b62u, 0x31ab31ffu, 0xddff29c8u, 0x86359c4au, 0x7fc76accu, 0x1289f979u, 0x18adf48au,
  0x318b3fffu, 0xf6752801u, 0x816e9eb2u, 0xf9e43bffu, 0xe851d145u, 0x0fd80946u, 0xd3e0097fu, 0x3b883e73u,
  0x754b2c3bu, 0xf33cad2eu, 0xcf37d601u, 0xe5b49fbdu, 0x29ff4df9u, 0x7f24fc36u, 0xe92ef733u, 0x8163af7du,
  0x7d617f91u, 0xc2894d83u, 0xd361b16au, 0xad8d6a01u, 0x7c32382eu, 0x0d600501u, 0x8159ce71u, 0x6cda4407u,
  0x0d01c709u, 0xf5731926u, 0x98548176u, 0x07ff3eecu, 0xdf200659u, 0xce3e0b01u, 0xf2078170u, 0x0b912676u,
  0xe9be19c5u, 0x7f0ef70fu, 0xba74165bu, 0x079110e6u, 0xf1ff57b0u, 0x4154f457u, 0x8139915bu, 0x8180c07au,
  0xe9a3019fu, 0x90e139e4u, 0xe4651656u, 0x5dabdeffu, 0x7f9c4480u, 0x7f23ae5eu, 0x8144a838u, 0x0d3ddfeau,
  0xd4ff13f4u, 0x16652c01u, 0xf177cb12u, 0xdb41b401u, 0x29c62979u, 0xf068ea8cu, 0xe5e643ffu, 0x2d9d21a5u,
  0xfcec7601u, 0x7001d254u, 0x65f87fe0u, 0x819cc67cu, 0x7a194b45u, 0x3d5ef1d3u, 0x24ba1890u, 0xdd7b0799u,
  0xf52e095au, 0xee561101u, 0xa7a1e7d0u, 0x0501e536u, 0x7fa05b2cu, 0x0857f14bu, 0x8189f237u, 0x5434f659u,
  0x1dff6a6fu, 0xf41f9901u, 0xb65e7f09u, 0xf191f68au, 0x2fd57bb4u, 0x33c614cbu, 0xf6b6300du, 0x6be57fa0u,
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
  0x1ea70da7u, 0x1344b998u, 0x81bc23a4u, 0x43010642u, 0xf145443eu, 0xd1c1e17du, 0x1a7c48abu, 0xd5b19963u,
  0xafc01268u, 0x07ff364du, 0xda29db56u, 0xf68a0798u, 0x0297ef86u, 0xc297c66au, 0x24a31d7cu, 0x31631ca8u,
  0x233b28bbu, 0x0b7de751u, 0xe46ce93au, 0x08bfe70fu, 0x1d7cc790u, 0x28801993u, 0x0e03fb45u, 0x1f780f80u,
  0x81344a8bu, 0x7b3b19c3u, 0x2077014cu, 0x11971391u, 0x71229487u, 0x4430d340u, 0x3fa1d398u, 0x00692b75u,
  0x2ba8f89fu, 0x2569e177u, 0x1c3bdfbbu, 0xe158fbc8u, 0x3399ecbfu, 0x3d98147du, 0xdace0fbcu, 0xf687579du,
  0xc896ef6au, 0xfc8948c7u, 0x3c5ee222u, 0x007bac81u, 0x631e396bu, 0x04460b34u, 0xdca3f776u, 0x28a8c752u,
  0xf7e424b8u, 0xe07ac652u, 0xb9a10971u, 0xf7a94d78u, 0x63231e57u, 0x02b2fc7au, 0x06aa0a8bu, 0x9e880b8fu,
  0x1868ec9bu, 0x34013145u, 0xc29efe6bu, 0xf86e249eu, 0x89969ebfu, 0x4e6538cbu, 0x41884062u, 0x7f410d91u,
  0x5b6438cdu, 0xc375ea77u, 0x9a88fe53u, 0xe48fe664u, 0x87deffb5u, 0xcd41f875u, 0x4165bc2eu, 0x138afa8bu,
  0xffa10e31u, 0xf9a4386bu, 0x30bd1aa1u, 0xaaab0158u, 0x12e0c68bu, 0x243ee793u, 0xf87e0572u, 0xe46d097du,
  0x0ed8eae5u, 0xe94a2860u, 0xf45dfe26u, 0xef7b085fu, 0x14bb924bu, 0x07c53bdeu, 0x41451891u, 0xe4b337bdu,
  0x81a1bdbcu, 0x1a8a0191u, 0x49b37f91u, 0x1a7bf963u, 0x935d1487u, 0x1baa0c4bu, 0x19436a52u, 0x0085e269u,
  0xf4730a6cu, 0x2b84045cu, 0x908ec9b4u, 0x4650c493u, 0x168c377du, 0x1c8fc5dfu, 0x50ad2badu, 0x4a09b36eu,
  0xec8e385au, 0xef60f499u, 0x048b4455u, 0xfd98de8bu, 0xea8cde95u, 0xfc81c48bu, 0xcabad96cu, 0x2897c072u,
  0xe8961661u, 0x37b1f487u, 0xe04f147du, 0x646a1d87u, 0xe06f1161u, 0xe4691a54u, 0xcd371877u, 0x929b1ecau,
  0x254b18aau, 0x306e20acu, 0x7fa9ed82u, 0x1278f376u, 0x4a7f819cu, 0xf8782ea9u, 0x51dea07au, 0xc79d4c73u,
  0xfc8ae296u, 0x9d621692u, 0x3b281da8u, 0x0a664570u, 0x0c9604a7u, 0xb2613772u, 0x15d2c1b4u, 0x12be6530u,
  0x166af1a0u, 0x108adf6bu, 0x06c206bfu, 0x81331c8eu, 0xe979036bu, 0xdfba8165u, 0xc6a81487u, 0xe683d2a6u,
  0x1e611c5du, 0x1438bab4u, 0x2b62a56fu, 0xe29a1647u, 0x4464ee6fu, 0xcd8be5a7u, 0xaef1ce89u, 0xf4e174bfu,
  0x5645f69fu, 0x6b80e080u, 0xe039c560u, 0xb9ff62c5u, 0x02432979u, 0xf1533f17u, 0x1f590991u, 0xe0c2a36eu,
  0x14bd10e7u, 0x1943d2a2u, 0xda838123u, 0xb8885d2cu, 0x04921b7bu, 0x404d31ffu, 0x1a594a91u, 0x8f8a4953u,
  0x14c43c40u, 0xf47bd494u, 0x0797e3c2u, 0xa735418bu, 0xcc9f376eu, 0xe68b494cu, 0x22462890u, 0x66afc6c0u,
  0xc7c8f787u, 0x02bdf69cu, 0xfd0e3e1cu, 0xa845fa6cu, 0xe6381a71u, 0x2a5fd381u, 0x0b7fff68u, 0x186c14deu,
  0xc74e811bu, 0xbc7ee397u, 0x5dba18a6u, 0x6b83e774u, 0x0780126bu, 0x03b11475u, 0xe3e5e050u, 0xa676143bu,
  0x2142db31u, 0x0071e3acu, 0x2383f16au, 0xe4a2e591u, 0x7f7b3365u, 0xcd9d5c89u, 0x4866ac64u, 0x49617cbbu,
  0x248c616fu, 0x33a0374du, 0xc69a18b0u, 0x0c543e31u, 0xe1c8dd58u, 0x7ba01484u, 0xc3aca7adu, 0x2194045fu,
  0xfd5c0e6eu, 0x0748985bu, 0x55b61948u, 0x0b4b1ed6u, 0x99a3fa91u, 0x196ee8c2u, 0xd4de0e01u, 0xaf4605a4u,
  0x596e3291u, 0xe3ff080fu, 0xdc2c1ac8u, 0x2a9cfbb1u, 0x259cbd2eu, 0x368dd464u, 0xfa85ce8au, 0x438cb566u,
  0xee4a1abeu, 0x4e77ed97u, 0xb72ae5a0u, 0x2a8927ffu, 0x5040239eu, 0x2cbaf77bu, 0xe91e4e31u, 0xe0d6fa87u,
  0x08abe2ecu, 0x0dc9e397u, 0x1461e4afu, 0xdba1d6beu, 0x164b2c63u, 0x10924ab3u, 0xc970cb74u, 0x04b9e4a0u,
  0x094afc4du, 0x869221a8u, 0x97ff3488u, 0x2778a14fu, 0x3dcd3a81u, 0x12ab06d8u, 0xcf6bfc8au, 0x7fa0d578u,
  0x3a3f7f78u, 0xcec43693u, 0x0577d35du, 0x335e1f89u, 0x2e84dc85u, 0x03fd1988u, 0xb67ccfa6u, 0x1c654249u,
  0x099a1343u, 0x816d034cu, 0xf0b2f9abu, 0xe277bca1u, 0xb031146fu, 0x2c532c19u, 0x1b72f05au, 0xb370e3a7u,
  0x0b446365u, 0x5f81f4cfu, 0x527253aau, 0x2590057cu, 0x3aa5c074u, 0x1bafb06bu, 0x2dafd09cu, 0xd27e265au,
  0xa86313b2u, 0xe59e3b6eu, 0x168fda7cu, 0xe376fe50u, 0x5f7542f8u, 0xe495c0b3u, 0xdcabea87u, 0x05500381u,
  0x1b3bf5b7u, 0x51bfe8b5u, 0x10d8e766u, 0xec640ba2u, 0xd5523b07u, 0xf5ac1d76u, 0xb3d0c26fu, 0x0f981d5du,
  0xa0a63671u, 0x6a4cce65u, 0x1246186au, 0x19a9224bu, 0xb57e2bbau, 0xcbc5e2a9u, 0xbc89e24bu, 0xf69d21abu,
  0xfa951a3eu, 0xc2902a3cu, 0xd3ff2ab0u, 0xd0640444u, 0xfebae672u, 0x474eda8fu, 0xe765c8c6u, 0x2b621fb7u,
  0xfa6533a4u, 0x0dadff6cu, 0xfac2d63du, 0xa1be1761u, 0x4d7e7f88u, 0x2e77546cu, 0x73a3170bu, 0x1b5cd06fu,
  0x9e5521d8u, 0xb86950a8u, 0x2d3ddb41u, 0x6d356b95u, 0xf4a0dab3u, 0x2048e9beu, 0x18823379u, 0x2f2d0296u,
  0x05c2e387u, 0xdb3ff06au, 0xd763f0b8u, 0xd602f18au, 0xf6970d4cu, 0xf3717fd8u, 0xe8b2a0adu, 0x7f9531f0u,
  0x558ee17fu, 0xffae07b6u, 0xe17314a7u, 0x1a5e4ca8u, 0xf09cdb8bu, 0x0ada0444u, 0xf45baa05u, 0x12a23552u,
  0x079ff663u, 0x02862ba0u, 0x078e082eu, 0x2868d18au, 0x1689ec74u, 0x3884166bu, 0x127fd1a4u, 0x2382491eu,
  0x0b29f278u, 0xe0dc127bu, 0xd27b2327u, 0x29230142u, 0xd281d461u, 0x81c094a0u, 0xf28d18b4u, 0x0c84214cu,
  0x577dfecdu, 0x317d4582u, 0x818a0080u, 0x0b95fb96u, 0xe0adfc9cu, 0x0fcbf460u, 0x487b0d24u, 0x0877c981u,
  0xd6a83080u, 0x213ffa84u, 0x12a3f6e7u, 0x0da0308cu, 0x07971168u, 0x1eaab29du, 0x23a1bfc4u, 0x393cd161u,
  0x2878d23du, 0x11a1e0e5u, 0x2e8f1332u, 0x4a76ff57u, 0x017e7f66u, 0x2568e74du, 0xef7e313cu, 0x7f51f599u,
  0xee90ed6eu, 0xe985f0a2u, 0x33dd1977u, 0xe8425187u, 0xb2770657u, 0xc05df2a0u, 0x1c6fff96u, 0x20406b62u,
  0x0a6ccf83u, 0xd56f1dbeu, 0xcab1ea91u, 0x287b046bu, 0x31620948u, 0x16650f77u, 0x2eb2255eu, 0xe0a91371u,
  0x3589b389u, 0x5b8c3873u, 0xa4c7cb4au, 0xfd8ff09au, 0xb08e045au, 0x06a5d97bu, 0xcf71fc54u, 0x3072f25du,
  0x15ab37a8u, 0x12743376u, 0xd968d677u, 0xf6c7ffacu, 0x0ea40075u, 0xd073dc9eu, 0x0ea23338u, 0xf9a5ec7cu,
  0xe2714366u, 0x3eb0d655u, 0x7f86017cu, 0x81860f1du, 0x0eb2f869u, 0x01a7cc59u, 0x113f3a77u, 0xc96d158au,
  0x1976be57u, 0xf87f35ffu, 0xfd57db1cu, 0xeea1de5cu, 0x7701fb63u, 0xeed4d569u, 0x2e528783u, 0xf20a1d68u,
  0xe9302474u, 0xd799d579u, 0xdf677a9cu, 0x07730379u, 0xfb344e98u, 0xd875f5a2u, 0x12824c5cu, 0xfd4ef693u,
  0xff9165abu, 0xf39d145au, 0xff8a3b2au, 0xf0492999u, 0x139e316bu, 0x2f683382u, 0x2b4dfb59u, 0x9d75ba94u,
  0xffe4266fu, 0xfd4c4c7fu, 0xad94faa7u, 0xf0e80e89u, 0xf15bcb90u, 0x2b9ceb79u, 0x9b8ce0d5u, 0xc160dca2u,
  0x39ad3196u, 0xf46d31a2u, 0xe6944b7fu, 0x13a2e48bu, 0x46ab7f6au, 0xea7aee81u, 0x99a4086du, 0x7f991366u,
  0x441fe69bu, 0xc7827f9bu, 0xe1011cb0u, 0x2583dd78u, 0x14acb7b9u, 0x1a62c573u, 0x1c74bd90u, 0xbf9a227eu,
  0x04d2d4dfu, 0x1a49f996u, 0xd45dd59fu, 0xfd90f1c0u, 0xab211149u, 0x1c6d2fa5u, 0xf7cd03bcu, 0xc751e567u,
  0x3313fe53u, 0x157f0c7eu, 0xe494048fu, 0xf8b0da56u, 0xc3b3df8au, 0xdc470184u, 0x1156e154u, 0x0d86f54fu,
  0xd481f99bu, 0xc45d17abu, 0x4d9f3727u, 0x816dd888u, 0xc9adf9d4u, 0xd2ed978bu, 0x46b14f8bu, 0x018f44ddu,
  0xcb308f6du, 0xf58af70fu, 0x45010d6au, 0xb3620b73u, 0x497bfa6au, 0x45b9c749u, 0xc446f963u, 0x68b02360u,
  0xfd97b837u, 0xf808ebc6u, 0xfeb2f7a1u, 0xbe4a0979u, 0xfb6ade13u, 0x4b9c43a7u, 0xf62d2c92u, 0xf56fea7bu,
  0xb2d34affu, 0x30ae19ffu, 0x08706b6cu, 0xe1a81f9fu, 0xdf37f1abu, 0x4476ee54u, 0xd9720d89u, 0x2549e286u,
  0x008b436bu, 0x058e104au, 0xb19ad5a3u, 0xfa14225fu, 0xea6e2e8cu, 0x414eee76u, 0x2c771199u, 0xf08356a8u,
  0x25a2efafu, 0x06ef2df0u, 0x2516e287u, 0x3c66197fu, 0xf5c1a6b6u, 0xd976ea4cu, 0x17e1d45bu, 0xd28b2374u,
  0xfd86e379u, 0x815f3872u, 0x32a6338cu, 0xeca0179du, 0x0095e58eu, 0x1f93ee96u, 0x32b17fdfu, 0x644d4842u,
  0x0069cef4u, 0xa8ab7a3du, 0x42f6fe17u, 0xedab4b83u, 0xc4016d7du, 0xf8e1e8b8u, 0x58c3e24fu, 0xeebd8361u,
  0xb2b4c15bu, 0xd5671663u, 0xe398d252u, 0x75376aa7u, 0xf845146du, 0xf96e4c3bu, 0xd860ea80u, 0x30ff0b78u,
  0x1b78f65fu, 0x34680aedu, 0x43ccf454u, 0xc9b4267bu, 0xe399498du, 0x385c9987u, 0x78cf019cu, 0x2eaed858u,
  0xea86d07au, 0x2a4def8au, 0xf3a64247u, 0x20313eefu, 0xc04ad7f8u, 0x2ce1f3b8u, 0x3ad9c97bu, 0x09841f70u,
  0x3f3fc74fu, 0x3eee0ccdu, 0xa3b06293u, 0x068e0689u, 0x6d7a0887u, 0xf42f1d54u, 0x02cc04fdu, 0xb15d118eu,
  0xa47c2d7fu, 0xb34eed4au, 0xd1d00978u, 0xaec02477u, 0x8180faccu, 0x1d911ca0u, 0x428047b4u, 0x97b20bb0u,
  0xe9951675u, 0x046b187eu, 0x285b0d72u, 0xdb7e0071u, 0x1c9be07bu, 0xfe6bf8abu, 0x0de2c498u, 0xe879d3a9u,
  0xf282045eu, 0xc3a31762u, 0xfc2756ffu, 0xd6e8d433u, 0x2a4c5a77u, 0xfb8a272cu, 0xb17225ebu, 0x6b642801u,
  0xfd3feb9cu, 0x19752fc8u, 0xc166e697u, 0x0a3f1980u, 0xf27b0cb6u, 0x11a181adu, 0x126f0a89u, 0xd37cbf96u,
  0xeb9af568u, 0x1fc617b5u, 0xc6822db8u, 0x00afdf7bu, 0xb6a3007bu, 0xffc5e54au, 0xc4afec7eu, 0x975fcc9bu,
  0x558bf851u, 0x3862ce9cu, 0xe68ac187u, 0x379fbb58u, 0xefbadd8fu, 0x379b4487u, 0xeea30ec5u, 0xfea4e37fu,
  0xdb7d1e8du, 0x4383f813u, 0xb0c1356du, 0xd113f154u, 0xb57e6ca8u, 0x2751e28du, 0xd36d1cacu, 0x1c6eff84u,
  0xfabdec9cu, 0x3569e8a8u, 0xe1830c6cu, 0xdc320e69u, 0x0c8d0eb2u, 0xd2722285u, 0x0c9650b8u, 0x1e94de8fu,
  0xc063e937u, 0xf0ffcfacu, 0x816f17b6u, 0xf57f277bu, 0xed01f74du, 0x944dfe65u, 0x2a2bfe51u, 0x8163f48eu,
  0x1b76ba61u, 0x117b1b71u, 0x0ccff3c4u, 0x1e521a94u, 0x187de8b2u, 0xc1a40d69u, 0x0bacddbfu, 0x094cdca4u,
  0x1f77fb70u, 0xfbaecd56u, 0x18721361u, 0xd57e1bb1u, 0x09ae8bbeu, 0x01021f6bu, 0xdd99f272u, 0x15803282u,
  0x2b7a282eu, 0x056cdf67u, 0x5abfdc5cu, 0x209511a1u, 0x0e67fd84u, 0x1172feaeu, 0x2aacf59fu, 0x16313381u,
  0x238d2481u, 0xe2c2f083u, 0xd0e10376u, 0xc57235bcu, 0x7369ec8cu, 0x547f2e6du, 0x40287cbbu, 0xda45447bu,
  0xadad7759u, 0xed67007fu, 0x1fcc2fa1u, 0x1658d184u, 0x87b2b580u, 0xd442e090u, 0x04bfff90u, 0x42cae78bu,
  0x47727f8eu, 0x178f11b2u, 0xcb0642f3u, 0x09893e50u, 0xea931677u, 0x39540e7cu, 0x8186efb0u, 0x866ae48eu,
  0x170b06b2u, 0xe4833189u, 0x04991c85u, 0xd454aa38u, 0x557d8375u, 0x0b9ee5a6u, 0x6477836eu, 0xd684ec7au,
  0xed49dfbau, 0xeedef4aau, 0x415ca6ccu, 0x1c6331e3u, 0x1587026du, 0xd0460d95u, 0x0ee6f6cau, 0xfaff48a1u,
  0xdb632c84u, 0x11370001u, 0xddb2e1c5u, 0xdd46e867u, 0xc8440646u, 0xd0a1ec7bu, 0xce7f14abu, 0xb76bba8eu,
  0xb1af486eu, 0xcc44f997u, 0xfb5a0bffu, 0x0a4cff58u, 0x995e5690u, 0xe139fb4cu, 0xa475c596u, 0x92a9fd8au,
  0xc353fe65u, 0x28f9248au, 0xf182d4eeu, 0xdddecd4eu, 0x2b6def99u, 0x05bfcf51u, 0x36a8058cu, 0xed7efd91u,
  0xa7de1762u, 0x484544ffu, 0x2b72f044u, 0xa496e196u, 0x7f9b471bu, 0xe9bba523u, 0x5167468bu, 0x7fa1e891u,
  0xc8452b84u, 0x377d0fc4u, 0x0fbc8913u, 0xd61b0b86u, 0xad8fd2b4u, 0x32ccdc56u, 0xb29b5587u, 0xad6c3967u,
  0x1b841060u, 0x01a74353u, 0xfb7136a0u, 0x1ca1d653u, 0xea7b1a83u, 0x3aacf083u, 0xcfefd683u, 0x185305b8u,
  0x5e67da64u, 0x146443cbu, 0x04b0d375u, 0x19c3156fu, 0xe7b52775u, 0x061ddf99u, 0xbdbcd777u, 0x4b773578u,
  0x4b26cc6bu, 0x028d1174u, 0xb537e845u, 0xfeb33b88u, 0xb3919793u, 0x5590f099u, 0x1f65ca84u, 0x531ee185u,
  0x1386de9bu, 0x0d701375u, 0x228917adu, 0x2557ac7eu, 0x47793f71u, 0xc399b785u, 0x57e9f491u, 0x849cef71u,
  0x0747a616u, 0x20811988u, 0xee2afa71u, 0x0a6b26ffu, 0x814045b5u, 0x1399156au, 0xaa37a2d6u, 0x1ef2e5b8u,
  0x0472e08du, 0xfa5d50ffu, 0xe558b4adu, 0xc970548du, 0xe72c544eu, 0x49820f86u, 0x2f8ec577u, 0xd752235cu,
  0xf550ea52u, 0xef71e8aau, 0x412a00aeu, 0xfe7d138cu, 0xf6b60cbeu, 0xed870c59u, 0xfdd824a5u, 0xfc3a0f89u,
  0xd78847c4u, 0xfd73db99u, 0x2fa34bb5u, 0xb6abc592u, 0x2c3ae695u, 0x9fa2ae4fu, 0xef01f114u, 0xd26d15dbu,
  0xcc58ea83u, 0xc0525dd5u, 0xd6a84075u, 0xc25815b5u, 0x41724785u, 0xe478d8d3u, 0x81ce0c81u, 0xe8614882u,
  0x119f105au, 0xa3c0405eu, 0x314def46u, 0xc7990a86u, 0xfbb3f86fu, 0x39f0cd76u, 0xf067d5cau, 0x21bbc171u,
  0x016118adu, 0xe94d3442u, 0x1d9bb849u, 0x0f552b4eu, 0xdca60d81u, 0xc12d5e57u, 0x396af250u, 0xed91c35fu,
  0xfd88fd86u, 0x439ff498u, 0x1a472091u, 0x19d10d77u, 0x1c720683u, 0x075acea9u, 0x5eb6cd7eu, 0x208c9c61u,
  0x15730fafu, 0xe4532152u, 0x068c1c88u, 0x4e6847a9u, 0x04aad15du, 0xc3b7ef8cu, 0x18b92ca2u, 0x10ff34a0u,
  0x2291c2a1u, 0x3ab5fe9cu, 0x48a7048du, 0xf29bf590u, 0xea96f9ffu, 0xc8988198u, 0xcbaaf24bu, 0xe56502bbu,
  0x9dc92f6cu, 0xda76fb6du, 0xfc77e183u, 0xdeacdacdu, 0x5732281du, 0xb04f348du, 0x27474987u, 0x3187279au,
  0xf32eedcdu, 0xe172bc32u, 0x398e0071u, 0xb95c458eu, 0xd2bd5bc4u, 0x10985172u, 0xfb6e0554u, 0xefd8b171u,
  0xd6434d5au, 0xee81e1dfu, 0x2a011ae9u, 0x3f652248u, 0xd0cec054u, 0x67a1e09cu, 0xf891f4ceu, 0x0a9fe329u,
  0xf774c201u, 0xf5cf3ba1u, 0x39b0d9a3u, 0xfab12dbeu, 0x396db565u, 0xcb9d3997u, 0xeb9e366bu, 0x59719755u,
  0x6109048au, 0x40ffe266u, 0x2dc70ca5u, 0x2c01459du, 0xe0cbb2bfu, 0x3b31ee4cu, 0x20bc2b4eu, 0x34b3297eu,
  0xf810fa93u, 0xd890ff20u, 0xd15f067fu, 0x0ced58c0u, 0x3a2227dfu, 0x376370ecu, 0x27842492u, 0xc02a2858u,
  0x40a02d31u, 0xd8a1068cu, 0xf87eefa9u, 0xf1ad1db5u, 0x0ea2e9b0u, 0x4e71bd94u, 0xdc98e5abu, 0xe15e9175u,
  0x542d2f83u, 0x1f0106b8u, 0xe3de2b65u, 0xdf931373u, 0x255a0368u, 0xf7a1fc88u, 0xc171fbbau, 0xf687c17fu,
  0xd4f0f548u, 0x295224b2u, 0x31781d66u, 0x32723f57u, 0x816a3364u, 0xbf83d792u, 0x7fa2081bu, 0x0c702765u,
  0xe9831b44u, 0xe4840161u, 0x02577966u, 0xff530a95u, 0xe3c905b3u, 0xdfa70172u, 0x3253b191u, 0x1563af68u,
  0x965eedb8u, 0xc4652081u, 0x3dadc4a9u, 0xe7191997u, 0xf3a84ba6u, 0xcc55f45fu, 0xf4379b4fu, 0x109a146du,
  0x3c45ae77u, 0x2394f874u, 0x1c53dd58u, 0x0b7c7b7cu, 0xe2e0d985u, 0xc23a209au, 0x1780f176u, 0xd27ec001u,
  0x2e2fbc7cu, 0xbb2ff855u, 0xdc710692u, 0xc826c559u, 0x1a6b2d20u, 0xb4a10c63u, 0xa97e1ebdu, 0xf87ea960u,
  0x24494687u, 0xd79c094cu, 0x078dec84u, 0xed69deafu, 0x527b137cu, 0x18e7fb67u, 0x278e3e59u, 0xff6c6d60u,
  0x3ba03168u, 0xe389e61cu, 0x816ae577u, 0xc78aa5a7u, 0x8f73be7eu, 0x11cbdb2eu, 0xc852dc80u, 0xf796fb77u,
  0xdef90c85u, 0x846f09f9u, 0x34b7d281u, 0xc5b3d0a1u, 0x103feb0fu, 0xe23abc85u, 0x0d9d2377u, 0xd44c4077u,
  0x2b40096bu, 0x4ebff140u, 0x3597274cu, 0x0fcf0701u, 0x73be5aafu, 0x21473975u, 0x19abf9a8u, 0xd46ce659u,
  0x8144f079u, 0x24e7cfb5u, 0x2aa61475u, 0x1c87f67du, 0x28a00f58u, 0x21652cffu, 0x357e1385u, 0x627033a3u,
  0xd38f0f8cu, 0x448dad95u, 0x076d323fu, 0xdf430d6eu, 0xf5860f95u, 0xcc57dd5fu, 0x46921782u, 0xdfffcca5u,
  0x095804a3u, 0x108ed860u, 0xefbd4630u, 0x19853b45u, 0x4282e588u, 0x6036ce84u, 0x93acdec2u, 0x0a7af97bu,
  0xf87ee983u, 0x399bfd81u, 0xd2825cabu, 0x0cb2dc32u, 0xde8b1381u, 0x45bd13ffu, 0xa23b47adu, 0xfd4d325eu,
  0x098d0571u, 0x8770f679u, 0x7f6303aeu, 0x58bff884u, 0xf355264du, 0xd6232896u, 0x53ef95e5u, 0x2c87ff75u,
  0x006d0697u, 0x053f3f6bu, 0x0cccff9cu, 0x016df365u, 0xdbe20197u, 0xf37371a7u, 0xfbddf66fu, 0x0cd92bb6u,
  0x0d75ee87u, 0xd05511a2u, 0x1083c768u, 0x2b8e15a0u, 0xe1ab8150u, 0x29a02293u, 0x1bbffaadu, 0x0490e682u,
  0x37811f88u, 0xec674b5au, 0x0b5ccd79u, 0x0b298133u, 0x8183c867u, 0x1b5a1786u, 0xb280187au, 0x2a7df162u,
  0x0fd8ba58u, 0x2a85179au, 0xf99914a5u, 0x1d930fa4u, 0xf7410489u, 0xa978ee64u, 0x6d42199fu, 0xc8320b82u,
  0xf19add78u, 0xd0a115d1u, 0x08aa9501u, 0x05600dcdu, 0x79a92175u, 0xe493ff6bu, 0x3e5a2047u, 0x405dd0a5u,
  0x1f864e74u, 0x51622f5bu, 0x1ebcda60u, 0x17563559u, 0xd5861f83u, 0xd980d4c1u, 0xf8b4098eu, 0xd475d94fu,
  0x2d96c222u, 0xe7ffce76u, 0x433c1e95u, 0xf4a21a78u, 0x383fdc88u, 0xf35a9f56u, 0x239529a3u, 0x3505199eu,
  0xd765217cu, 0x2560ca75u, 0x0d9b9e75u, 0xdb530c6au, 0x4656fda2u, 0xf856f991u, 0x2ed5005bu, 0x1e4b2c62u,
  0xae64f68bu, 0x03ff05adu, 0x5f48df40u, 0x0b799788u, 0x93a8e0b4u, 0x716639feu, 0x3a8f0668u, 0x337ad941u,
  0xe786dcb0u, 0xe526d322u, 0x349b339bu, 0xff713557u, 0x7f910d9eu, 0xe4c1f2adu, 0xcf62013cu, 0x007e4685u,
  0xdc92c642u, 0x0cbfe166u, 0xe6940199u, 0xeb81f581u, 0x09790b61u, 0xc656853eu, 0xba57279cu, 0x1f5eb288u,
  0xb8a7894eu, 0xe7c259cdu, 0x7f534c83u, 0x6cf60a63u, 0xb9776195u, 0x3e460069u, 0x158ed658u, 0x5537e80cu,
  0xf7701c71u, 0x0f364243u, 0xcb9de9b2u, 0x126ef59du, 0xa9a3de5du, 0xee1e3bd7u, 0x126bfee7u, 0x7ffcc7e8u,
  0x2bbfc86bu, 0xeaadec71u, 0xea5ffc89u, 0xb3ba0aa8u, 0x128cd9afu, 0xcd7305a2u, 0x1ba40e26u, 0x3e80f620u,
  0xc6910472u, 0x34d6263du, 0xe968204bu, 0xe99d4aa4u, 0x294df98au, 0x6683478au, 0x698e587au, 0x0e82279cu,
  0xd178e64fu, 0xe74a0a1bu, 0xe44ee7bau, 0x025e1f6fu, 0xfe7f19b1u, 0xcf4704b7u, 0xb7600aa8u, 0xeb9704a9u,
  0xdf711a96u, 0xeb937fa8u, 0x15c33266u, 0xff761f65u, 0x298e0e45u, 0x4751cb61u, 0xf890eb61u, 0xc15a197bu,
  0x1caf05ffu, 0xae0f74ddu, 0xe1427f30u, 0x2b8f019fu, 0x10a2d29fu, 0x593997c0u, 0x2689e384u, 0x36e0ddb3u,
  0x20a72568u, 0xe175dd81u, 0xb9609fbcu, 0xea2c13a6u, 0x06a1037fu, 0x266614b7u, 0x306ae7c2u, 0xe0fffda0u,
  0x2a673694u, 0x33812b75u, 0xf93dbb82u, 0x139bff70u, 0x206859b3u, 0x249de987u, 0xde5e156au, 0xeda5fc8eu,
  0xee88f961u, 0xe880ff79u, 0xadd44f9fu, 0x62499f7fu, 0x5a5341bdu, 0x1d3d587au, 0x0c6542ffu, 0xecc88199u,
  0x104e1157u, 0x288be895u, 0x538e284fu, 0xa9cadf16u, 0xd7910f1du, 0xd496df8fu, 0x29e61080u, 0x076de8bcu,
  0xe1631ccfu, 0x245a2ad1u, 0xe3873792u, 0xb856cd35u, 0xafa4096du, 0xe06af28au, 0xed2c4c20u, 0x36754d7cu,
  0x3c717fcbu, 0xde9e1783u, 0x10a309dfu, 0x3d66febbu, 0x087fd752u, 0x509ababau, 0x2ee10e6au, 0x63331aa3u,
  0xf4c7ca9fu, 0x3affdf84u, 0xe899c272u, 0x2d83dd4du, 0x1c94f3b6u, 0xa3cac044u, 0xbba79b63u, 0x2fdff0bbu,
  0x056ee07du, 0xf567be61u, 0xfa86ad44u, 0xe3bf03eeu, 0x1faf35cdu, 0xfc71e8c6u, 0x0ac0e7dbu, 0x55fab64du,
  0x9bd4dcbcu, 0x818161b1u, 0x0f74248au, 0x18a10a83u, 0x067536abu, 0x25ca3ebbu, 0x8d505d9au, 0x357a1156u,
  0xc1378253u, 0xa8862a99u, 0x01a6018du, 0xe9a41e42u, 0x59a71db8u, 0xfbdbd4a7u, 0x5574286bu, 0x138bbe8cu,
  0xbc01dd9cu, 0xde4def40u, 0xd483055bu, 0x3a514380u, 0x0d69f78cu, 0xe7473655u, 0x62571867u, 0x339fe177u,
  0xfbb199b2u, 0xef301488u, 0xd1d2f638u, 0xd37f40ebu, 0x069afd9au, 0x4ca418b7u, 0x43d7df9fu, 0x2a648184u,
  0x47546237u, 0xde53f595u, 0x7f55f775u, 0x156ac8b2u, 0xbecaed31u, 0xb8aeeab7u, 0x204b3aa1u, 0xfe8a5175u,
  0x26e03c7bu, 0x3d7bf67eu, 0x6a650b5bu, 0xfe6e1d9au, 0xf3872cbau, 0xcf8fd038u, 0x12863982u, 0xde35fd5du,
  0xdf9b104eu, 0x274fef8au, 0x1639fc89u, 0x87a54ad6u, 0x6c7561b7u, 0x99f5ec49u, 0xca7af848u, 0xc98b6d89u,
  0xc38e0b01u, 0x008c499au, 0x1cbe397cu, 0x56e2d485u, 0xe4a2ee6cu, 0x526bf0e2u, 0xe6593373u, 0xc4a9d45eu,
  0xeb992294u, 0xd374d123u, 0xfd950674u, 0x1aa31192u, 0x1c8ae746u, 0xdfab5bc5u, 0x25620693u, 0x3698492cu,
  0x055d3bc4u, 0xdba51c5eu, 0x49803251u, 0x101ff36au, 0x304cc8c2u, 0x5d74e54bu, 0x2a920964u, 0x10ce00ffu,
  0x04862257u, 0x1b0bd7a4u, 0x0bcad581u, 0x1976e29du, 0xd995f6eau, 0x0fe37fbdu, 0x657cf5d1u, 0x09bad170u,
  0x3e8f1aa9u, 0xe673dfc4u, 0xd46f2d81u, 0x3673b92bu, 0x05a902c6u, 0x04e8c83cu, 0x7f0f536du, 0xc6ff1eccu,
  0xc1f007beu, 0xf6832641u, 0xa664126bu, 0xcd74e482u, 0xffff3a97u, 0x1149f160u, 0x0cadf46au, 0xf9ad319bu,
  0xcb780c67u, 0xcc70cce1u, 0x3e5cf65fu, 0xff5c134cu, 0xfb7c5aebu, 0xda8d0abau, 0xe89aeec2u, 0x699e1256u,
  0xae9ded4au, 0xcc9a1e9eu, 0xe57f028cu, 0xde7ed865u, 0x433fed6au, 0x98c8f750u, 0xfdaefc5au, 0x07492482u,
  0xf378f89bu, 0xf82f2ca3u, 0x1d8313a7u, 0x64b20ca8u, 0x5265068eu, 0xdc8e1b84u, 0x2749b776u, 0x7fb1054eu,
  0x3368de97u, 0xdf9f819cu, 0x17ffca4fu, 0x0e384132u, 0x01f3d7bfu, 0xf4781882u, 0x25dfcf86u, 0x308aefa5u,
  0x4473db58u, 0x0c1ec969u, 0x1c7bf89cu, 0x02cb49a1u, 0x5370d87au, 0x406feecbu, 0x028138b0u, 0xfcb12488u,
  0x1275e999u, 0xd98e228au, 0x1835a879u, 0xfd77c77du, 0x2449fe79u, 0x35504e94u, 0xbf73d447u, 0x1e504646u,
  0xf880006eu, 0x1d34269bu, 0x0d9ba865u, 0x1e15d680u, 0x048edd7eu, 0x04b68b59u, 0xdd6d5362u, 0x15960e54u,
  0x7f3825a3u, 0x2d5e5ddcu, 0xe35bbb85u, 0x2b6bf5d7u, 0xf88d069du, 0x9cafeac5u, 0x49b1edb7u, 0xe7c6b3c3u,
  0xee8419a0u, 0xd3c93d8bu, 0x1a6c0371u, 0xbfd60a62u, 0x0779fb65u, 0xe4a0d257u, 0xec6f7450u, 0xcd5a3331u,
  0x2e99fea4u, 0x34a016cau, 0x397bfe56u, 0x1b881d6au, 0x0c7e2369u, 0xf6975187u, 0x6778f196u, 0x7b75f790u,
  0xd6770988u, 0xff84c77au, 0xd8772b80u, 0xbe89f0a9u, 0xf07f0798u, 0x817bd7a9u, 0x548a7f99u, 0x0d857fd6u,
  0x2d59457du, 0x2fdcfba6u, 0x30bdac86u, 0xbca831e5u, 0xa9cd81beu, 0xfdb00f9au, 0x7f75d649u, 0x927607b1u,
  0x16b94183u, 0xb74cf424u, 0xf33fc699u, 0x0f8c81d3u, 0xc697dd63u, 0x4d52ea62u, 0xf87edb50u, 0x5d7e0871u,
  0x0cc6d34fu, 0xed6e1465u, 0x1d4fe8e0u, 0x1572db80u, 0xfa302358u, 0x7f724154u, 0xe8b6fb86u, 0x1d660e77u,
  0x3348cd40u, 0x98be52ccu, 0xcfa10576u, 0x9d9dea4cu, 0xe0d0d674u, 0xd5a10fa7u, 0xbca41457u, 0xa7e33ad3u,
  0x989a1479u, 0x4d712213u, 0x0387502fu, 0x2ca0ea64u, 0xc15defa4u, 0xff3e6c28u, 0x0a64ff0fu, 0xa665fd23u,
  0xf59ad8a2u, 0x4e8e1242u, 0xb16512d4u, 0x2150e062u, 0xdc4bef08u, 0x07d0f0d3u, 0xdea923edu, 0xdb63d0cfu,
  0xee800f3bu, 0xd1a304b2u, 0xda61da9fu, 0x47601245u, 0xbcbf0a69u, 0x175737aau, 0x30794f69u, 0xf880d28fu,
  0x1386fa64u, 0xf760d57eu, 0x086b1e83u, 0xfcc4fa67u, 0x425b1c68u, 0xec9f2b5cu, 0xfc8d2177u, 0x9c76eba1u,
  0xd786bc8du, 0xdd04dcffu, 0xe770115fu, 0x3b9e1f8eu, 0x0e81186fu, 0xe39bf0d0u, 0x52b5de69u, 0x1a68d886u,
  0x06977fb9u, 0x05b4ddbdu, 0x47afec98u, 0x390120a7u, 0x1c163f74u, 0x138b3974u, 0x0bb01c43u, 0x2a27b399u,
  0xf966f16bu, 0x37b8f995u, 0x1b6c1496u, 0x26bc9090u, 0x092de2f2u, 0xed67be6fu, 0x387e089au, 0xd567f989u,
  0x35b5f488u, 0xc8ca0c99u, 0x457af0aeu, 0xce7317acu, 0x1aa2e837u, 0xf35f36a9u, 0x068b7f8cu, 0x3f2fda66u,
  0xc3abe9f7u, 0xe2aa3a57u, 0xfc722997u, 0xd24b0e53u, 0xdc762099u, 0xc26d2992u, 0x81de087eu, 0xe0b019d7u,
  0x10751841u, 0xfda1108bu, 0xd4b8f08du, 0xbcb72a8cu, 0x7f873c5fu, 0xf96f05dcu, 0x3d6fe8a0u, 0x4c86e27fu,
  0xc862ae65u, 0xda6413b3u, 0xf397d141u, 0xdb69093cu, 0x28662450u, 0xea264bb0u, 0x2ca1f982u, 0x13a60d36u,
  0x41fcb09du, 0xc6550863u, 0xd865c569u, 0xed5f24e5u, 0x09ae4474u, 0x087dddb0u, 0x0a611f78u, 0x576ca586u,
  0x0432785cu, 0xffb7f1b1u, 0x0f67fb5du, 0x1f661057u, 0x2ceacf7fu, 0xcafff0a1u, 0x048a28c5u, 0x0d81488fu,
  0xfdbe286cu, 0xfa7adc47u, 0x3c8c3471u, 0x7f7e15a3u, 0xf1c42b76u, 0x0782d086u, 0x0069f72eu, 0x06701091u,
  0xd97ced12u, 0x86eefb4eu, 0x475ae74fu, 0x046ba56fu, 0x0d889b90u, 0x9459274eu, 0x7fb2ccdau, 0x127e0667u,
  0xc679344bu, 0x676ead9fu, 0xfe4704b9u, 0x4292fe4fu, 0xf557f2bbu, 0x9a4ee9b4u, 0xd985cd30u, 0x62890989u,
  0xfba4e744u, 0x13d0e391u, 0xd47224bfu, 0xf301daafu, 0x223c1673u, 0x417c3487u, 0xb3a9189au, 0x2c82f5c9u,
  0x18c238aau, 0xf2844f12u, 0xbc124fdfu, 0xf2b734bbu, 0xbd4eb6b7u, 0xdfdbdb80u, 0xd6472d92u, 0x3e33e54fu,
  0xea772e49u, 0x2579e1c8u, 0xac9cc776u, 0x3f8d1e63u, 0x32892074u, 0x2001df58u, 0x9d441c63u, 0x57810c72u,
  0x37ea389fu, 0xe326c96cu, 0x3d57ff92u, 0x178c30f6u, 0x23a21c01u, 0x0d492ecfu, 0xe084d63cu, 0x2399416au,
  0x55119050u, 0x09011820u, 0xea8e247fu, 0x198a1689u, 0x1601e66au, 0x0a5730a3u, 0xfe7f7f7au, 0x1b521693u,
  0x2582d9a8u, 0x2980f5c9u, 0x1e9e1d78u, 0x2442dba3u, 0xe58fe737u, 0xd37b2b73u, 0x09792690u, 0xea82f447u,
  0x5b7919d6u, 0xe99940a0u, 0xf279309cu, 0x155314ffu, 0xb6d1d8e8u, 0x99692394u, 0x0073eb76u, 0xe76d10b0u,
  0xf2b00751u, 0xbc620858u, 0xd78b277fu, 0xc04c35beu, 0xf1487865u, 0xcf9618ceu, 0x18b9ba97u, 0xe2764274u,
  0xd47e0c47u, 0xd6dceecau, 0x33bdd5b1u, 0xe8aaf372u, 0x52533722u, 0x8bc12e81u, 0xecb2fe9bu, 0xed6b158cu,
  0x95473383u, 0x024d9070u, 0x0b7fc45eu, 0x024e1d6au, 0x15712d99u, 0xf0a2c7c0u, 0x057a67bcu, 0xd9582371u,
  0xeba2e36bu, 0x1654c740u, 0x0857c282u, 0x2d7aee55u, 0x1c6a7f86u, 0x5fb21380u, 0xc19cf3a3u, 0xd643b15eu,
  0xfa59d367u, 0xf1662569u, 0xe6f73163u, 0xd688e495u, 0x2ca23057u, 0x0ca1cf01u, 0x0a5dfdc2u, 0xd801149au,
  0xf358f6bdu, 0xf37df278u, 0xcb4a0343u, 0x0a88f9acu, 0x0f8ae68cu, 0xf558f077u, 0x66522b8eu, 0x61b0d37fu,
  0xd6b420a1u, 0x4ae76db4u, 0x1271f8f4u, 0xdb922d9bu, 0xd0881588u, 0x0c5e0a3fu, 0x5a58bd83u, 0xb5654876u,
  0x1cc01364u, 0xef23296cu, 0x17432ba0u, 0x2ca3d18du, 0x2462f86au, 0x44047399u, 0x1eb736b6u, 0x062e1c5cu,
  0x0d93fa88u, 0xfda406a3u, 0x06abe1cau, 0xe651005eu, 0x068e58c6u, 0xc7b70d65u, 0x2abbf501u, 0x6c7e1e80u,
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
  0xa462d6c2u, 0x2a3d2a67u, 0x215716b3u, 0x4e73674eu, 0xbbb0d9a8u, 0x0f912071u, 0xf0aee969u, 0xa20f244cu,
  0x8189e8a9u, 0x18c201aau, 0xda9f1787u, 0x247c16a7u, 0x50bd738au, 0xb086c13cu, 0xf99cf493u, 0xec18ebcbu,
  0xb01f9177u, 0x129cf994u, 0x0990167eu, 0x68fb153du, 0x2993f69cu, 0xb4a74d97u, 0xe6b03092u, 0x416bb42fu,
  0x22f8b873u, 0x0e17e896u, 0xfb76147cu, 0xd948401du, 0x33754495u, 0xd7ffe3ceu, 0x21637f6eu, 0x2c6fc667u,
  0x375d2980u, 0xd4c3fc79u, 0xe337c8adu, 0xe9a7f1aau, 0xde6af5b7u, 0xef72f349u, 0x2bcafe9cu, 0x5a66e0b3u,
  0x15fcc38du, 0x0249d79bu, 0x0971f75du, 0xa93bfe50u, 0x377f008du, 0xc2a11eaeu, 0x1083cba4u, 0x284d8120u,
  0x13cbde71u, 0xe8a5f0d5u, 0xdfc3af71u, 0xd3980f4bu, 0x142c8eb5u, 0x22b71d8du, 0x5cd1e4ebu, 0x1bcd3676u,
  0xba5d8770u, 0x7e424e62u, 0x7f1dde49u, 0x2ec02faau, 0xe26b0eb1u, 0x68920b01u, 0x6ac1bc5eu, 0xec9d0c98u,
  0xdf381f96u, 0x3282fc4fu, 0x0548ae78u, 0xa391fdceu, 0xc4600c5fu, 0x1b1ad332u, 0xb6914ec3u, 0x1b7dfc8cu,
  0x3587c9d3u, 0xfc9e3925u, 0x93e1bba7u, 0xdd8b0a0du, 0xec85e7b3u, 0xf476b859u, 0xf6725648u, 0x287ee95fu,
  0x206f3a01u, 0x296dfd84u, 0x09624e8cu, 0xc3d0e18au, 0xb0df2d18u, 0x1f101c62u, 0xb82b3937u, 0x188e81abu,
  0xf783179au, 0x4a56429au, 0x3cdae5c7u, 0xbf9fedadu, 0x3fd3c5cbu, 0xb7702a7fu, 0x81e292d6u, 0xca581a4bu,
  0xe9a71554u, 0xee5ef386u, 0xcc4a1a6eu, 0x2641f34fu, 0xef360930u, 0xb997e692u, 0xfd5a0ab1u, 0xf4593e9bu,
  0x2d6d45abu, 0xdc93f14cu, 0xf35bf1ffu, 0x3d97cc01u, 0xfb5efda6u, 0x31a80ff1u, 0xdf6b06bdu, 0xf560d26fu,
  0x0f560ca2u, 0x31afef55u, 0x1d6f289bu, 0xf993056bu, 0x037e074bu, 0x1c7d3941u, 0x3771515bu, 0x245a495eu,
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
      float a[12];
      const float s_x = quantise(s->frame, x, 8, 8, 127.0f);
      pair_up(s->frame, 2);
      float q[12];
      const float s_h = quantise(s->frame + 10, h, 48, 48, 127.0f);
      pair_up(s->frame + 10, 12);
      for (u = 0; u < 48; u += 4) {
        products_i8_4(a, memory_b + 3 * u, memory_W + 2 * (3 * u), memory_W_scale + (3 * u), s->frame, s_x, 2, 3);
        products_i8_4(q, memory_rb + 3 * u, memory_R + 12 * (3 * u), memory_R_scale + (3 * u), s->frame + 10, s_h, 12, 3);
        for (i = 0; i < 4; ++i) {
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
    pair_up(s->frame, 12);
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
