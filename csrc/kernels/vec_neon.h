// SPDX-License-Identifier: MIT
// The SIMD vocabulary on AArch64 NEON: 4 float lanes. Same names and meaning in every vec_*.h.
// Used only by isa_neon.cpp; internal linkage throughout: nothing here may escape that object file.
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

namespace {

using V = float32x4_t;
constexpr int kLanes = 4;
constexpr int kRegisters = 32;

inline V load(const float* p) { return vld1q_f32(p); }
inline void store(float* p, V a) { vst1q_f32(p, a); }
inline V set1(float a) { return vdupq_n_f32(a); }

inline V add(V a, V b) { return vaddq_f32(a, b); }
inline V sub(V a, V b) { return vsubq_f32(a, b); }
inline V mul(V a, V b) { return vmulq_f32(a, b); }
inline V div(V a, V b) { return vdivq_f32(a, b); }
inline V square_root(V a) { return vsqrtq_f32(a); }
inline V mul_add(V a, V b, V c) { return vfmaq_f32(c, a, b); }  // a * b + c, one rounding

// FMAX and FMIN treat NaN otherwise than x86: compare and select keeps one meaning everywhere.
inline V max(V a, V b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }  // a > b ? a : b, so b where either is NaN
inline V min(V a, V b) { return vbslq_f32(vcltq_f32(a, b), a, b); }  // a < b ? a : b, so b where either is NaN
inline V abs(V a) { return vabsq_f32(a); }
inline V copy_sign(V magnitude, V sign) { return vbslq_f32(vdupq_n_u32(0x80000000u), sign, magnitude); }
inline V select_lt(V a, V b, V yes, V no) {  // a < b ? yes : no, so no where either is NaN
  return vbslq_f32(vcltq_f32(a, b), yes, no);
}

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

}  // namespace
