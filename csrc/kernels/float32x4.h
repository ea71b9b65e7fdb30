/* SPDX-License-Identifier: MIT
 * The float half of the SIMD vocabulary on Helium (MVE, of Cortex-M55 and M85): 4 lanes. Names and meaning are those of
 * float32.h. C99 and C++17, for exported models hold it too; internal linkage throughout.
 * Helium rounds to nearest, makes operands and results that are subnormal zero as the FPU does with FZ, and every NaN the
 * default one, whose bits the contract leaves open (Arm ARM DDI 0553, "Standard FPSCR value"). It has no divisions and no
 * roots: the FPU takes them from the same registers, lane by lane. */
#include <arm_mve.h>

#include "../compiler.h"

typedef float32x4_t V;

static inline V set1(float a) { return vdupq_n_f32(a); }
static inline V load(const float* p) { return vldrwq_f32(p); }
static inline void store(float* p, V a) { vstrwq_f32(p, a); }
/* The first n lanes, n > 0; the others are 0, and nothing behind them is written. */
static inline V load_some(const float* p, size_t n) { return vldrwq_z_f32(p, vctp32q((uint32_t)n)); }
static inline void store_some(float* p, V a, size_t n) { vstrwq_p_f32(p, a, vctp32q((uint32_t)n)); }

/* Lane i from p[apart[i]]. */
static inline V load_apart(const float* p, uint32x4_t apart) { return vldrwq_gather_shifted_offset_f32(p, apart); }
static inline V load_some_apart(const float* p, uint32x4_t apart, size_t n) {
  return vldrwq_gather_shifted_offset_z_f32(p, apart, vctp32q((uint32_t)n));
}

static inline V add(V a, V b) { return vaddq_f32(a, b); }
static inline V sub(V a, V b) { return vsubq_f32(a, b); }
static inline V mul_add(V a, V b, V c) { return vfmaq_f32(c, a, b); }
static inline V mul(V a, V b) {
  V r = vmulq_f32(a, b);
  __asm__("" : "+w"(r)); /* no part of a fused operation, whatever -ffp-contract says */
  return r;
}
/* The same where one operand is a number, which a core register holds. */
static inline V mul_add_by(V a, float b, V c) { return vfmaq_n_f32(c, a, b); }
static inline V mul_add_to(V a, V b, float c) { return vfmasq_n_f32(a, b, c); }
static inline V add_to(V a, float b) { return vaddq_n_f32(a, b); }
static inline V mul_by(V a, float b) {
  V r = vmulq_n_f32(a, b);
  __asm__("" : "+w"(r));
  return r;
}
static inline V div(V a, V b) {
  register V x __asm__("q0") = a;
  register V y __asm__("q1") = b;
  __asm__("vdiv.f32 s0, s0, s4\n\tvdiv.f32 s1, s1, s5\n\tvdiv.f32 s2, s2, s6\n\tvdiv.f32 s3, s3, s7" : "+w"(x) : "w"(y));
  return x;
}
static inline V square_root(V a) {
  register V x __asm__("q0") = a;
  __asm__("vsqrt.f32 s0, s0\n\tvsqrt.f32 s1, s1\n\tvsqrt.f32 s2, s2\n\tvsqrt.f32 s3, s3" : "+w"(x));
  return x;
}

/* By b > a: the "lt" of Helium is what is not greater or equal, so true of NaN. */
static inline V select_lt(V a, V b, V yes, V no) {
#if defined(__clang__)
  __asm__("" : "+w"(a), "+w"(b)); /* clang 14 takes "lt" for it where one of them is the same in all lanes */
  return vpselq_f32(yes, no, vcmpgtq_f32(b, a));
#else /* GCC 12 takes the predicate through a core register */
  V r;
  __asm__("vcmp.f32 gt, %q2, %q1\n\tvpsel %q0, %q3, %q4" : "=w"(r) : "w"(a), "w"(b), "w"(yes), "w"(no) : "p0");
  return r;
#endif
}
static inline V max(V a, V b) { return select_lt(b, a, a, b); }
static inline V min(V a, V b) { return select_lt(a, b, a, b); }
static inline V vabs(V a) { return vabsq_f32(a); }
static inline V copy_sign(V magnitude, V sign) {
  const uint32x4_t bit = vandq_u32(vreinterpretq_u32_f32(sign), vdupq_n_u32(0x80000000u));
  return vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(vabsq_f32(magnitude)), bit));
}

static inline V pow2(V n) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23));
}
static inline V exponent(V a) {
  return vcvtq_f32_s32(vsubq_s32(vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_f32(a), 23)), vdupq_n_s32(127)));
}
static inline V mantissa(V a) {
  const uint32x4_t within = vandq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(0x7fffffu));
  return vreinterpretq_f32_u32(vorrq_u32(within, vdupq_n_u32(0x3f800000u)));
}

static inline V of_ints(int32_t a, int32_t b, int32_t c, int32_t d) {
  const int32x4_t all = {a, b, c, d};
  V r = vcvtq_f32_s32(all);
  __asm__("" : "+w"(r)); /* clang 14 makes a wrong conversion to fixed point of it and a product with a power of two */
  return r;
}
/* 16-bit numbers, widened exactly. */
static inline V of_halves(uint32x4_t a) {
#if defined(__clang__)
  return vcvtbq_f32_f16(vreinterpretq_f16_u32(a));
#else /* of other registers GNU as 2.40 writes the wrong numbers */
  register uint32x4_t x __asm__("q0") = a;
  __asm__("vcvtb.f32.f16 q0, q0" : "+w"(x));
  return vreinterpretq_f32_u32(x);
#endif
}
static inline V of_bfloats(uint32x4_t a) { return vreinterpretq_f32_u32(vshlq_n_u32(a, 16)); }
static inline V load_half(const uint16_t* p) { return of_halves(vldrhq_u32(p)); }
static inline V load_bfloat(const uint16_t* p) { return of_bfloats(vldrhq_u32(p)); }
