// SPDX-License-Identifier: MIT
// The SIMD vocabulary on AVX2 and FMA: 8 float lanes. Same names and meaning in every vec_*.h.
// Used only by isa_avx2.cpp; internal linkage throughout: nothing here may escape that object file.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

namespace {

using V = __m256;
constexpr int kLanes = 8;
constexpr int kRegisters = 16;

inline V load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, V a) { _mm256_storeu_ps(p, a); }
inline V set1(float a) { return _mm256_set1_ps(a); }

inline V add(V a, V b) { return _mm256_add_ps(a, b); }
inline V sub(V a, V b) { return _mm256_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm256_mul_ps(a, b); }
inline V div(V a, V b) { return _mm256_div_ps(a, b); }
inline V square_root(V a) { return _mm256_sqrt_ps(a); }
inline V mul_add(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }  // a * b + c, one rounding

inline V max(V a, V b) { return _mm256_max_ps(a, b); }  // a > b ? a : b, so b where either is NaN
inline V min(V a, V b) { return _mm256_min_ps(a, b); }  // a < b ? a : b, so b where either is NaN
inline V abs(V a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
inline V copy_sign(V magnitude, V sign) {
  const V bit = _mm256_set1_ps(-0.0f);
  return _mm256_or_ps(_mm256_andnot_ps(bit, magnitude), _mm256_and_ps(bit, sign));
}
inline V select_lt(V a, V b, V yes, V no) {  // a < b ? yes : no, so no where either is NaN
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

inline V pow2(V n) {  // 2^n for a whole n in [-126, 127]; 0 for n = -127
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
inline V exponent(V a) {  // e of a = m * 2^e with m in [1, 2); a normal and positive
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_srli_epi32(_mm256_castps_si256(a), 23), _mm256_set1_epi32(127)));
}
inline V mantissa(V a) {  // m of the same
  return _mm256_castsi256_ps(_mm256_or_si256(_mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(0x7fffff)),
                                             _mm256_set1_epi32(0x3f800000)));
}

}  // namespace
