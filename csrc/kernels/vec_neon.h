// SPDX-License-Identifier: MIT
// The SIMD vocabulary on AArch64 NEON: 4 float lanes. Same names and meaning in every vec_*.h.
// Used only by isa_neon.cpp; internal linkage throughout: nothing here may escape that object file.
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "../compiler.h"

namespace {

using V = float32x4_t;
constexpr int kLanes = 4;
constexpr int kRegisters = 32;

inline V load(const float* p) { return vld1q_f32(p); }
inline void store(float* p, V a) { vst1q_f32(p, a); }
inline V set1(float a) { return vdupq_n_f32(a); }
inline V load_some(const float* p, size_t n) {
  if (n >= 4) return vld1q_f32(p);
  float some[4] = {};
  memcpy(some, p, n * sizeof(float));
  return vld1q_f32(some);
}
inline void store_some(float* p, V a, size_t n) {
  if (n >= 4) return vst1q_f32(p, a);
  float some[4];
  vst1q_f32(some, a);
  memcpy(p, some, n * sizeof(float));
}

inline V add(V a, V b) { return vaddq_f32(a, b); }
inline V sub(V a, V b) { return vsubq_f32(a, b); }
inline V mul(V a, V b) { return vmulq_f32(a, b); }
inline V div(V a, V b) { return vdivq_f32(a, b); }
inline V square_root(V a) { return vsqrtq_f32(a); }
inline V mul_add(V a, V b, V c) { return vfmaq_f32(c, a, b); }  // a * b + c, one rounding

// FMAX and FMIN treat NaN otherwise than x86: compare and select keeps one meaning everywhere.
inline V max(V a, V b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }  // a > b ? a : b, so b where either is NaN
inline V min(V a, V b) { return vbslq_f32(vcltq_f32(a, b), a, b); }  // a < b ? a : b, so b where either is NaN
inline V vabs(V a) { return vabsq_f32(a); }
inline V copy_sign(V magnitude, V sign) { return vbslq_f32(vdupq_n_u32(0x80000000u), sign, magnitude); }
inline V select_lt(V a, V b, V yes, V no) {  // a < b ? yes : no, so no where either is NaN
  return vbslq_f32(vcltq_f32(a, b), yes, no);
}
inline bool all_lt(V a, V b) { return vminvq_u32(vcltq_f32(a, b)) != 0; }  // false where any is NaN
inline V first_lane(V a) { return vdupq_laneq_f32(a, 0); }  // in all lanes
template <int kWidth>
inline V low_halves(V a, V b) {  // of groups of kWidth lanes, a's before b's in each group
  return kWidth == 4 ? vcombine_f32(vget_low_f32(a), vget_low_f32(b)) : vtrn1q_f32(a, b);
}
template <int kWidth>
inline V high_halves(V a, V b) {
  return kWidth == 4 ? vcombine_f32(vget_high_f32(a), vget_high_f32(b)) : vtrn2q_f32(a, b);
}
inline V magnitude_or_nan(V a, V b) {  // the larger of two that are not negative, or NaN
  return vreinterpretq_f32_s32(vmaxq_s32(vreinterpretq_s32_f32(a), vreinterpretq_s32_f32(b)));
}
inline float max_lane(V a) { return vmaxvq_f32(a); }  // of lanes that are not NaN

inline V pow2(V n) {  // 2^n for a whole n in [-126, 127]; 0 for n = -127
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23));
}
inline V exponent(V a) {  // e of a = m * 2^e with m in [1, 2); a normal and positive
  return vcvtq_f32_s32(vsubq_s32(vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_f32(a), 23)), vdupq_n_s32(127)));
}
inline V mantissa(V a) {  // m of the same
  return vreinterpretq_f32_u32(
      vorrq_u32(vandq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(0x7fffff)), vdupq_n_u32(0x3f800000)));
}
inline V power_within(V a) {  // 2^e of the same
  return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(0x7f800000)));
}
inline V inverse_of_power(V a) {  // 1 / a of a power from 2^-126 to 2^126
  return vreinterpretq_f32_u32(vsubq_u32(vdupq_n_u32(0x7f000000), vreinterpretq_u32_f32(a)));
}

inline V load_half(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
inline V load_bfloat(const uint16_t* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }

inline V broadcast_halves(const float* low, const float* high, int v) { return set1(*(v < 2 ? low : high)); }

// --- integers: names and meaning in vec_scalar.h ----------------------------------------------------------------------

using VI = int32x4_t;
inline int8x16_t broadcast4(const int8_t* p) {
  int32_t bytes;
  memcpy(&bytes, p, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(bytes));
}
inline VI zero_int() { return vdupq_n_s32(0); }
inline VI load_int(const int32_t* p) { return vld1q_s32(p); }
inline VI set1_int(int32_t a) { return vdupq_n_s32(a); }
inline VI add_int(VI a, VI b) { return vaddq_s32(a, b); }
inline VI sub_int(VI a, VI b) { return vsubq_s32(a, b); }
inline V to_float(VI a) { return vcvtq_f32_s32(a); }
inline VI round_to_int(V a) { return vcvtnq_s32_f32(a); }
inline void store_int8(int8_t* p, VI a) {
  const int16x4_t words = vmovn_s32(a);
  const int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
  memcpy(p, &bytes, 4);
}
inline void store_int16(int16_t* p, VI a) { vst1_s16(p, vmovn_s32(a)); }

struct Quad {
  int8x16_t x;
};
inline Quad quad(const int8_t* x) { return {broadcast4(x)}; }
inline Quad quad_halves(const int8_t* low, const int8_t* high, int v) { return quad(v < 2 ? low : high); }
inline VI dot_start(const int32_t*) { return zero_int(); }
inline VI dot4(VI acc, int8x16_t w, int8x16_t x) {
#if defined(__ARM_FEATURE_DOTPROD)
  return vdotq_s32(acc, w, x);
#else
  const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(x)), high = vmull_high_s8(w, x);
  return vaddq_s32(acc, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
#endif
}
inline VI dot(VI acc, const int8_t* w, const Quad& q) { return dot4(acc, vld1q_s8(w), q.x); }

struct Pair {
  int16x4_t x;  // both, twice
};
inline Pair pair(const int16_t* x) {
  int32_t both;
  memcpy(&both, x, 4);
  return {vreinterpret_s16_s32(vdup_n_s32(both))};
}
inline VI dot(VI acc, const int16_t* w, const Pair& q) {
  const int16x8_t rows = vld1q_s16(w);
  return vaddq_s32(acc, vpaddq_s32(vmull_s16(vget_low_s16(rows), q.x), vmull_s16(vget_high_s16(rows), q.x)));
}

inline VI dot_each(VI acc, const int16_t* w, VI first, VI second) {
  const int16x4x2_t rows = vld2_s16(w);
  return vmlal_s16(vmlal_s16(acc, rows.val[0], vmovn_s32(first)), rows.val[1], vmovn_s32(second));
}

struct Group {
  int8x16_t low[4], high[4];
};
inline Group group(const int8_t* x) {
  Group g;
  for (int v = 0; v < 4; ++v) {
    g.low[v] = broadcast4(x + 8 * v);
    g.high[v] = broadcast4(x + 8 * v + 4);
  }
  return g;
}
inline VI dot_group(const uint8_t* w, const Group& g) {
  VI acc = zero_int();
  for (int v = 0; v < 4; ++v) {
    const uint8x16_t both = vld1q_u8(w + 64 * v);
    acc = dot4(acc, vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15))), g.low[v]);
    acc = dot4(acc, vreinterpretq_s8_u8(vshrq_n_u8(both, 4)), g.high[v]);
  }
  return acc;
}

}  // namespace
