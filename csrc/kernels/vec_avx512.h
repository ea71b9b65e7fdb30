// SPDX-License-Identifier: MIT
// The SIMD vocabulary on AVX-512 (F, BW, DQ, VL): 16 float lanes. Same names and meaning in every vec_*.h.
// Used only by isa_avx512.cpp; internal linkage throughout: nothing here may escape that object file.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "../compiler.h"

namespace {

using V = __m512;
constexpr int kLanes = 16;
constexpr int kRegisters = 32;

inline V load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, V a) { _mm512_storeu_ps(p, a); }
inline V set1(float a) { return _mm512_set1_ps(a); }
inline __mmask16 first_lanes(size_t n) { return static_cast<__mmask16>(n < 16 ? (1u << n) - 1 : 0xffffu); }
inline V load_some(const float* p, size_t n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
inline void store_some(float* p, V a, size_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), a); }

inline V add(V a, V b) { return _mm512_add_ps(a, b); }
inline V sub(V a, V b) { return _mm512_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm512_mul_ps(a, b); }
inline V div(V a, V b) { return _mm512_div_ps(a, b); }
inline V square_root(V a) { return _mm512_sqrt_ps(a); }
inline V mul_add(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }  // a * b + c, one rounding

inline V max(V a, V b) { return _mm512_max_ps(a, b); }  // a > b ? a : b, so b where either is NaN
inline V min(V a, V b) { return _mm512_min_ps(a, b); }  // a < b ? a : b, so b where either is NaN
inline V vabs(V a) { return _mm512_abs_ps(a); }
inline V copy_sign(V magnitude, V sign) {
  return _mm512_or_ps(_mm512_abs_ps(magnitude), _mm512_and_ps(sign, _mm512_set1_ps(-0.0f)));
}
inline V select_lt(V a, V b, V yes, V no) {  // a < b ? yes : no, so no where either is NaN
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
inline bool all_lt(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ) == 0xffff; }  // false where any is NaN
inline V first_lane(V a) { return _mm512_broadcastss_ps(_mm512_castps512_ps128(a)); }  // in all lanes
inline V quarters_apart(V a) { return _mm512_shuffle_f32x4(a, a, 0xd8); }  // the two in the middle change places
template <int kWidth>
inline V low_halves(V a, V b) {  // of groups of kWidth lanes, a's before b's in each group
  if constexpr (kWidth == 16) return _mm512_shuffle_f32x4(a, b, 0x44);
  if constexpr (kWidth == 8) return quarters_apart(_mm512_shuffle_f32x4(a, b, 0x88));
  if constexpr (kWidth == 4) return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
  return _mm512_mask_moveldup_ps(a, 0xaaaa, b);
}
template <int kWidth>
inline V high_halves(V a, V b) {
  if constexpr (kWidth == 16) return _mm512_shuffle_f32x4(a, b, 0xee);
  if constexpr (kWidth == 8) return quarters_apart(_mm512_shuffle_f32x4(a, b, 0xdd));
  if constexpr (kWidth == 4) return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
  return _mm512_mask_movehdup_ps(b, 0x5555, a);
}
inline V magnitude_or_nan(V a, V b) {  // the larger of two that are not negative, or NaN
  return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
}
inline float max_lane(V a) { return _mm512_reduce_max_ps(a); }  // of lanes that are not NaN

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
inline V power_within(V a) {  // 2^e of the same
  return _mm512_castsi512_ps(_mm512_and_epi32(_mm512_castps_si512(a), _mm512_set1_epi32(0x7f800000)));
}
inline V inverse_of_power(V a) {  // 1 / a of a power from 2^-126 to 2^126
  return _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_set1_epi32(0x7f000000), _mm512_castps_si512(a)));
}

inline V broadcast_halves(const float* low, const float* high, int) {
  return _mm512_mask_broadcastss_ps(set1(*low), 0xff00, _mm_load_ss(high));
}

inline V load_half(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline V load_bfloat(const uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

// --- integers: names and meaning in vec_scalar.h ----------------------------------------------------------------------

// Not __m512i: GCC 12 keeps arrays of that in memory as soon as an intrinsic takes its elements for int32.
#if defined(_MSC_VER) && !defined(__clang__)
using VI = __m512i;
inline __m512i bits_int(VI a) { return a; }
inline VI int_of(__m512i a) { return a; }
#else
using VI = int32_t __attribute__((vector_size(64)));
inline __m512i bits_int(VI a) { return reinterpret_cast<__m512i>(a); }
inline VI int_of(__m512i a) { return reinterpret_cast<VI>(a); }
#endif
inline __m512i load_bytes(const void* p) { return _mm512_loadu_si512(p); }
inline __m512i broadcast4(const void* p) {
  int32_t bytes;
  memcpy(&bytes, p, 4);
  return _mm512_set1_epi32(bytes);
}
inline VI zero_int() { return VI{}; }
inline VI load_int(const int32_t* p) { return int_of(load_bytes(p)); }
inline VI set1_int(int32_t a) { return int_of(_mm512_set1_epi32(a)); }
inline VI add_int(VI a, VI b) { return int_of(_mm512_add_epi32(bits_int(a), bits_int(b))); }
inline VI sub_int(VI a, VI b) { return int_of(_mm512_sub_epi32(bits_int(a), bits_int(b))); }
inline V to_float(VI a) { return _mm512_cvtepi32_ps(bits_int(a)); }
inline VI round_to_int(V a) { return int_of(_mm512_cvtps_epi32(a)); }
inline void store_int8(int8_t* p, VI a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(bits_int(a))); }
inline void store_int16(int16_t* p, VI a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(bits_int(a))); }

#if defined(__AVX512VNNI__)  // unsigned times signed, four products a lane, never saturating: x + 128 is what is multiplied
struct Quad {
  __m512i x;
};
inline Quad quad_of(__m512i x) { return {_mm512_xor_si512(x, _mm512_set1_epi8(-128))}; }
inline VI dot_start(const int32_t* sums) { return sub_int(zero_int(), int_of(_mm512_slli_epi32(load_bytes(sums), 7))); }
inline VI dot(VI acc, const int8_t* w, const Quad& q) { return int_of(_mm512_dpbusd_epi32(bits_int(acc), q.x, load_bytes(w))); }
#else  // x's sign moves into the weights: a pair of products is at most 2 * 127 * 127, which no instruction saturates
struct Quad {
  __m512i magnitude;
  __mmask64 negative;
};
inline Quad quad_of(__m512i x) { return {_mm512_abs_epi8(x), _mm512_movepi8_mask(x)}; }
inline VI dot_start(const int32_t*) { return zero_int(); }
inline VI dot(VI acc, const int8_t* w, const Quad& q) {
  const __m512i weights = load_bytes(w);
  const __m512i pairs = _mm512_maddubs_epi16(q.magnitude, _mm512_mask_sub_epi8(weights, q.negative, _mm512_setzero_si512(), weights));
  return int_of(_mm512_add_epi32(bits_int(acc), _mm512_madd_epi16(pairs, _mm512_set1_epi16(1))));
}
#endif
inline Quad quad(const int8_t* x) { return quad_of(broadcast4(x)); }
inline Quad quad_halves(const int8_t* low, const int8_t* high, int) {
  return quad_of(_mm512_mask_broadcastd_epi32(broadcast4(low), 0xff00, _mm_loadu_si32(high)));
}

struct Pair {
  __m512i x;
};
inline Pair pair(const int16_t* x) { return {broadcast4(x)}; }
inline VI dot(VI acc, const int16_t* w, const Pair& q) {
#if defined(__AVX512VNNI__)
  return int_of(_mm512_dpwssd_epi32(bits_int(acc), q.x, load_bytes(w)));
#else
  return int_of(_mm512_add_epi32(bits_int(acc), _mm512_madd_epi16(q.x, load_bytes(w))));
#endif
}

inline VI dot_each(VI acc, const int16_t* w, VI first, VI second) {
  const __m512i both = _mm512_mask_blend_epi16(0xaaaaaaaa, bits_int(first), _mm512_slli_epi32(bits_int(second), 16));
  return dot(acc, w, Pair{both});
}

struct Group {
  __m512i low[4], high[4];
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
  const __m512i half = _mm512_set1_epi8(15);
  __m512i pairs = _mm512_setzero_si512();
  for (int v = 0; v < 4; ++v) {
    const __m512i both = load_bytes(w + 64 * v);
    pairs = _mm512_add_epi16(pairs, _mm512_maddubs_epi16(_mm512_and_si512(both, half), g.low[v]));
    const __m512i high = _mm512_and_si512(_mm512_srli_epi16(both, 4), half);
    pairs = _mm512_add_epi16(pairs, _mm512_maddubs_epi16(high, g.high[v]));
  }
  return int_of(_mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

}  // namespace
