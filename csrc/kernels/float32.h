/* SPDX-License-Identifier: MIT
 * The float half of the SIMD vocabulary for one lane: one float32 at a time as the numerics contract has it (FORMAT.md,
 * "What is computed"), on targets with a fused multiply-add and without, with an FPU and without, with a switch that makes
 * subnormals zero and without. C99 and C++17, for exported models hold it too; internal linkage throughout. */
#include "../compiler.h"

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

/* 0: FloatMode (cpu.h) has a switch for subnormals; 1: every operation makes them zero itself. */
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

static inline uint32_t bits_of(float a) {
  uint32_t u;
  UT_COPY(&u, &a, sizeof u);
  return u;
}
static inline float float_of(uint32_t u) {
  float a;
  UT_COPY(&a, &u, sizeof a);
  return a;
}

/* What counts in place of `a`: its zero where it is subnormal. */
static UT_INLINE_FN V flush(V a) {
#if UT_FLUSH && defined(__riscv_flen)
  int kind;
  __asm__("fclass.s %0, %1" : "=r"(kind) : "f"(a));
  return UT_UNLIKELY((kind & 0x24) != 0) ? float_of(bits_of(a) & 0x80000000u) : a; /* subnormal, of either sign */
#elif UT_FLUSH
  const uint32_t u = bits_of(a);
  return (u & 0x7f800000u) != 0 ? a : float_of(u & 0x80000000u);
#else
  return a;
#endif
}

/* Whether a gate is open: it is not zero, nor subnormal, which counts as that. */
static inline bool is_open(V a) { return (bits_of(a) & 0x7f800000u) != 0; }

static inline V load(const float* p) { return *p; }
static inline void store(float* p, V a) { *p = a; }
static inline V set1(float a) { return a; }

/* Sums that are subnormal are exact: rounding has made none of them normal. */
static inline V add(V a, V b) { return flush(flush(a) + flush(b)); }
static inline V sub(V a, V b) { return flush(flush(a) - flush(b)); }

#if UT_FMA == UT_FMA_INTEGERS || UT_FLUSH
/* m * 2^x with the sign bit of `sign`, m > 0, rounded once to nearest even. Zero where it is below 2^-126 once rounded, with
 * exponents without end: so x86 has it. */
static inline float round_scaled(uint32_t sign, uint64_t m, int32_t x) {
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
static inline uint64_t shift_sticky(uint64_t m, int32_t n) {
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
static inline uint64_t product_of(uint32_t a, uint32_t b) {
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
static inline V mul_add(V a, V b, V c) {
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

/* Exported models are compiled with flags of others: there it keeps GCC from making one operation of a product and a sum,
 * which it does without -ffp-contract=off. */
#if !defined(UT_UNFUSED)
#define UT_UNFUSED(product)
#endif

static inline V mul(V a, V b) {
  float r = flush(a) * flush(b);
  UT_UNFUSED(r);
#if UT_FLUSH
  const uint32_t u = bits_of(r);
  if (UT_UNLIKELY((u & 0x7fffffffu) - 1u < 0x00800000u)) /* rounding may have made it 2^-126 */
    return fused_in_integers(a, b, float_of((bits_of(a) ^ bits_of(b)) & 0x80000000u));
#endif
  return r;
}

static inline V div(V a, V b) {
  const float r = flush(a) / flush(b);
#if UT_FLUSH
  const uint32_t u = bits_of(r), magnitude = u & 0x7fffffffu;
  if (UT_UNLIKELY(magnitude - 1u < 0x00800000u)) {
    /* 2^-126 that is the result of rounding: the quotient is 2^-126 (1 - 2^-24), and |b| 2^-126 is a float */
    const float quotient_above = float_of(bits_of(flush(b)) & 0x7fffffffu) * 1.17549435e-38f;
    if (magnitude < 0x00800000u || float_of(bits_of(a) & 0x7fffffffu) < quotient_above) return float_of(u & 0x80000000u);
  }
#endif
  return r;
}

static inline V square_root(V a) {
#if UT_FMA == UT_FMA_INTEGERS || defined(UT_SQRT_INTEGERS)
  const uint32_t u = bits_of(flush(a));
  int32_t k = (int32_t)(u >> 23) - 127;
  uint64_t m = (uint64_t)((u & 0x7fffffu) | 0x800000u) << 25, root = 0, bit;
  if ((u << 1) == 0 || u == 0x7f800000u || (u & 0x7fffffffu) > 0x7f800000u) return a == a ? float_of(u) : a; /* 0, inf, NaN */
  if (u >> 31) return UT_NAN;
  if (k & 1) { /* an even exponent */
    m <<= 1;
    --k;
  }
  for (bit = (uint64_t)1 << 48; bit != 0; bit >>= 2) {
    if (m >= root + bit) {
      m -= root + bit;
      root = (root >> 1) + bit;
    } else {
      root >>= 1;
    }
  }
  /* 25 bits of which the last one rounds: no root lies halfway */
  return float_of(((uint32_t)(k / 2 + 127) << 23) + (((uint32_t)root + 1u) >> 1) - 0x800000u);
#else
  return UT_SQRTF(flush(a));
#endif
}

/* a < b; false where either is NaN. */
static inline bool is_less(V a, V b) {
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
static inline V max(V a, V b) { return is_less(b, a) ? a : b; } /* a > b ? a : b, so b where either is NaN */
static inline V min(V a, V b) { return is_less(a, b) ? a : b; } /* a < b ? a : b, so b where either is NaN */
static inline V vabs(V a) {
#if defined(__GNUC__)
  return __builtin_fabsf(a);
#else
  return float_of(bits_of(a) & 0x7fffffffu);
#endif
}
static inline V copy_sign(V magnitude, V sign) {
  return float_of((bits_of(magnitude) & 0x7fffffffu) | (bits_of(sign) & 0x80000000u));
}
static inline V select_lt(V a, V b, V yes, V no) { return is_less(a, b) ? yes : no; } /* no where either is NaN */
static inline bool all_lt(V a, V b) { return is_less(a, b); } /* false where any is NaN */

static inline V pow2(V n) { /* 2^n for a whole n in [-126, 127]; 0 for n = -127 */
  /* The sum holds n in its last bits. Of a NaN any power will do: what it is multiplied by is NaN too. */
  return float_of((bits_of(n + 12582912.0f) << 23) + (127u << 23)); /* 1.5 * 2^23 */
}
static inline V exponent(V a) { /* e of a = m * 2^e with m in [1, 2); a normal and positive */
  return (float)((int32_t)(bits_of(a) >> 23) - 127);
}
static inline V mantissa(V a) { return float_of((bits_of(a) & 0x7fffffu) | 0x3f800000u); } /* m of the same */
static inline V power_within(V a) { return float_of(bits_of(a) & 0x7f800000u); }           /* 2^e of the same */
static inline V inverse_of_power(V a) { return float_of(0x7f000000u - bits_of(a)); } /* 1 / a of a power from 2^-126 to 2^126 */

static inline int32_t round_to_int(V a) { /* ties to even; |a| < 2^22 */
  const float shift = 12582912.0f;        /* 1.5 * 2^23 */
  return (int32_t)(bits_of(a + shift) - bits_of(shift));
}

/* 16-bit numbers, widened exactly. */
static UT_INLINE_FN V load_half(const uint16_t* p) {
#if defined(__arm__) && defined(__ARM_FEATURE_FMA) /* which comes with conversions of halves */
  float half = float_of(*p);
  __asm__("vcvtb.f32.f16 %0, %0" : "+t"(half));
  return half;
#else
  const uint32_t sign = (*p & 0x8000u) << 16, magnitude = *p & 0x7fffu;
  if (magnitude >= 0x7c00u) return float_of(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  if (magnitude < 0x400u) return float_of(sign | bits_of((float)(int32_t)magnitude * 5.9604644775390625e-8f));
  return float_of(sign | ((magnitude << 13) + 0x38000000u));
#endif
}
static inline V load_bfloat(const uint16_t* p) { return float_of((uint32_t)*p << 16); }
