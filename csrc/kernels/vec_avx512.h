// SPDX-License-Identifier: MIT
// The SIMD vocabulary on AVX-512 (F, BW, DQ, VL): 16 float lanes. Same names and meaning in every vec_*.h.
// Used only by isa_avx512.cpp; internal linkage throughout: nothing here may escape that object file.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

namespace {

using V = __m512;
constexpr int kLanes = 16;
constexpr int kRegisters = 32;

inline V load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, V a) { _mm512_storeu_ps(p, a); }
inline V set1(float a) { return _mm512_set1_ps(a); }

inline V add(V a, V b) { return _mm512_add_ps(a, b); }
inline V sub(V a, V b) { return _mm512_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm512_mul_ps(a, b); }
inline V div(V a, V b) { return _mm512_div_ps(a, b); }
inline V square_root(V a) { return _mm512_sqrt_ps(a); }
inline V mul_add(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }  // a * b + c, one rounding

inline V max(V a, V b) { return _mm512_max_ps(a, b); }  // a > b ? a : b, so b where either is NaN
inline V min(V a, V b) { return _mm512_min_ps(a, b); }  // a < b ? a : b, so b where either is NaN
inline V abs(V a) { return _mm512_abs_ps(a); }
inline V copy_sign(V magnitude, V sign) {
  return _mm512_or_ps(_mm512_abs_ps(magnitude), _mm512_and_ps(sign, _mm512_set1_ps(-0.0f)));
}
inline V select_lt(V a, V b, V yes, V no) {  // a < b ? yes : no, so no where either is NaN
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}

inline V pow2(V n) {  // 2^n for a whole n in [-126, 127]; 0 for n = -127
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}
inline V exponent(V a) {  // e of a = m * 2^e with m in [1, 2); a normal and positive
  return _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_srli_epi32(_mm512_castps_si512(a), 23), _mm512_set1_epi32(127)));
}
inline V mantissa(V a) {  // m of the same
  return _mm512_castsi512_ps(_mm512_or_epi32(_mm512_and_epi32(_mm512_castps_si512(a), _mm512_set1_epi32(0x7fffff)),
                                             _mm512_set1_epi32(0x3f800000)));
}

}  // namespace
