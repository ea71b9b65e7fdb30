// SPDX-License-Identifier: MIT
// The SIMD vocabulary on AVX2 and FMA: 8 float lanes. Same names and meaning in every vec_*.h.
// Used only by isa_avx2.cpp; internal linkage throughout: nothing here may escape that object file.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "../compiler.h"

namespace {

using V = __m256;
constexpr int kLanes = 8;
constexpr int kRegisters = 16;

inline V load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, V a) { _mm256_storeu_ps(p, a); }
inline V set1(float a) { return _mm256_set1_ps(a); }
inline __m256i first_lanes(size_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n < 8 ? n : 8)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline V load_some(const float* p, size_t n) { return _mm256_maskload_ps(p, first_lanes(n)); }
inline void store_some(float* p, V a, size_t n) { _mm256_maskstore_ps(p, first_lanes(n), a); }

inline V add(V a, V b) { return _mm256_add_ps(a, b); }
inline V sub(V a, V b) { return _mm256_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm256_mul_ps(a, b); }
inline V div(V a, V b) { return _mm256_div_ps(a, b); }
inline V square_root(V a) { return _mm256_sqrt_ps(a); }
inline V mul_add(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }  // a * b + c, one rounding

inline V max(V a, V b) { return _mm256_max_ps(a, b); }  // a > b ? a : b, so b where either is NaN
inline V min(V a, V b) { return _mm256_min_ps(a, b); }  // a < b ? a : b, so b where either is NaN
inline V vabs(V a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
inline V copy_sign(V magnitude, V sign) {
  const V bit = _mm256_set1_ps(-0.0f);
  return _mm256_or_ps(_mm256_andnot_ps(bit, magnitude), _mm256_and_ps(bit, sign));
}
inline V select_lt(V a, V b, V yes, V no) {  // a < b ? yes : no, so no where either is NaN
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
inline bool all_lt(V a, V b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ)) == 0xff; }  // false where any is NaN
inline V first_lane(V a) { return _mm256_broadcastss_ps(_mm256_castps256_ps128(a)); }  // in all lanes
template <int kWidth>
inline V low_halves(V a, V b) {  // of groups of kWidth lanes, a's before b's in each group
  if constexpr (kWidth == 8) return _mm256_permute2f128_ps(a, b, 0x20);
  if constexpr (kWidth == 4) return _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
  return _mm256_blend_ps(a, _mm256_moveldup_ps(b), 0xaa);
}
template <int kWidth>
inline V high_halves(V a, V b) {
  if constexpr (kWidth == 8) return _mm256_permute2f128_ps(a, b, 0x31);
  if constexpr (kWidth == 4) return _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
  return _mm256_blend_ps(_mm256_movehdup_ps(a), b, 0xaa);
}
inline V magnitude_or_nan(V a, V b) {  // the larger of two that are not negative, or NaN
  return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)));
}
inline float max_lane(V a) {  // of lanes that are not NaN
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
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
inline V power_within(V a) {  // 2^e of the same
  return _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(0x7f800000)));
}
inline V inverse_of_power(V a) {  // 1 / a of a power from 2^-126 to 2^126
  return _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_set1_epi32(0x7f000000), _mm256_castps_si256(a)));
}

inline V load_half(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline V load_bfloat(const uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

inline V broadcast_halves(const float* low, const float* high, int v) { return set1(*(v < 1 ? low : high)); }

// --- integers: names and meaning in vec_scalar.h ----------------------------------------------------------------------

// Not __m256i: see vec_avx512.h.
#if defined(_MSC_VER) && !defined(__clang__)
using VI = __m256i;
inline __m256i bits_int(VI a) { return a; }
inline VI int_of(__m256i a) { return a; }
#else
using VI = int32_t __attribute__((vector_size(32)));
inline __m256i bits_int(VI a) { return reinterpret_cast<__m256i>(a); }
inline VI int_of(__m256i a) { return reinterpret_cast<VI>(a); }
#endif
inline __m256i load_bytes(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline __m256i broadcast4(const void* p) {
  int32_t bytes;
  memcpy(&bytes, p, 4);
  return _mm256_set1_epi32(bytes);
}
inline VI zero_int() { return VI{}; }
inline VI load_int(const int32_t* p) { return int_of(load_bytes(p)); }
inline VI set1_int(int32_t a) { return int_of(_mm256_set1_epi32(a)); }
inline VI add_int(VI a, VI b) { return int_of(_mm256_add_epi32(bits_int(a), bits_int(b))); }
inline VI sub_int(VI a, VI b) { return int_of(_mm256_sub_epi32(bits_int(a), bits_int(b))); }
inline V to_float(VI a) { return _mm256_cvtepi32_ps(bits_int(a)); }
inline VI round_to_int(V a) { return int_of(_mm256_cvtps_epi32(a)); }
inline void store_int8(int8_t* p, VI a) {
  const __m256i words = _mm256_packs_epi32(bits_int(a), bits_int(a));
  const __m256i bytes = _mm256_packs_epi16(words, words);
  const int32_t low = _mm256_extract_epi32(bytes, 0), high = _mm256_extract_epi32(bytes, 4);
  memcpy(p, &low, 4);
  memcpy(p + 4, &high, 4);
}
inline void store_int16(int16_t* p, VI a) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(bits_int(a), bits_int(a)), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(words));
}

#if defined(__AVXVNNI__)  // unsigned times signed, four products a lane, never saturating: x + 128 is what is multiplied
struct Quad {
  __m256i x;
};
inline Quad quad(const int8_t* x) { return {_mm256_xor_si256(broadcast4(x), _mm256_set1_epi8(-128))}; }
inline VI dot_start(const int32_t* sums) { return sub_int(zero_int(), int_of(_mm256_slli_epi32(load_bytes(sums), 7))); }
inline VI dot(VI acc, const int8_t* w, const Quad& q) { return int_of(_mm256_dpbusd_avx_epi32(bits_int(acc), q.x, load_bytes(w))); }
#else  // x's sign moves into the weights: a pair of products is at most 2 * 127 * 127, which no instruction saturates
struct Quad {
  __m256i magnitude, x;
};
inline Quad quad(const int8_t* x) {
  const __m256i all = broadcast4(x);
  return {_mm256_abs_epi8(all), all};
}
inline VI dot_start(const int32_t*) { return zero_int(); }
inline VI dot(VI acc, const int8_t* w, const Quad& q) {
  const __m256i pairs = _mm256_maddubs_epi16(q.magnitude, _mm256_sign_epi8(load_bytes(w), q.x));
  return int_of(_mm256_add_epi32(bits_int(acc), _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))));
}
#endif
inline Quad quad_halves(const int8_t* low, const int8_t* high, int v) { return quad(v < 1 ? low : high); }

struct Pair {
  __m256i x;
};
inline Pair pair(const int16_t* x) { return {broadcast4(x)}; }
inline VI dot(VI acc, const int16_t* w, const Pair& q) {
#if defined(__AVXVNNI__)
  return int_of(_mm256_dpwssd_avx_epi32(bits_int(acc), q.x, load_bytes(w)));
#else
  return int_of(_mm256_add_epi32(bits_int(acc), _mm256_madd_epi16(q.x, load_bytes(w))));
#endif
}

inline VI dot_each(VI acc, const int16_t* w, VI first, VI second) {
  const __m256i both = _mm256_blend_epi16(bits_int(first), _mm256_slli_epi32(bits_int(second), 16), 0xaa);
  return dot(acc, w, Pair{both});
}

struct Group {
  __m256i low[4], high[4];
};
inline Group group(const int8_t* x) {
  Group g;
  for (int v = 0; v < 4; ++v) {
    g.low[v] = broadcast4(x + 8 * v);
    g.high[v] = broadcast4(x + 8 * v + 4);
  }
  return g;
}
inline VI dot_group(const uint8_t* w, const Group& g) {  // at most 15 * 127 * 16 in 16 bits
  const __m256i half = _mm256_set1_epi8(15);
  __m256i pairs = _mm256_setzero_si256();
  for (int v = 0; v < 4; ++v) {
    const __m256i both = load_bytes(w + 64 * v);
    pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(_mm256_and_si256(both, half), g.low[v]));
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(both, 4), half);
    pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(high, g.high[v]));
  }
  return int_of(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

}  // namespace
