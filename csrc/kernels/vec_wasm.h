// SPDX-License-Identifier: MIT
// The SIMD vocabulary on WebAssembly: 4 float lanes. Same names and meaning in every vec_*.h.
// Used only by isa_wasm.cpp and isa_wasmrelaxed.cpp; internal linkage throughout: nothing here may escape their object files.
//
// A fused multiply-add is the instruction of relaxed SIMD, on CPUs that round it once (cpu.cpp asks); else two double operations,
// and float32.h where rounding twice could show. Subnormals: flushing_lanes.h.
#include <wasm_simd128.h>

#include "../compiler.h"

#define UT_ISA_FLUSHES 1
#if defined(__wasm_relaxed_simd__)
#define UT_ISA_FUSES 1
#else
#define UT_ISA_FUSES 0
#endif

namespace {

using V = v128_t;
constexpr int kLanes = 4;
constexpr int kRegisters = 16;

inline V load(const float* p) { return wasm_v128_load(p); }
inline void store(float* p, V a) { wasm_v128_store(p, a); }
inline V set1(float a) { return wasm_f32x4_splat(a); }
inline V load_some(const float* p, size_t n) {
  if (n >= 4) return wasm_v128_load(p);
  if (n == 1) return wasm_v128_load32_zero(p);
  const V two = wasm_v128_load64_zero(p);
  return n == 2 ? two : wasm_v128_load32_lane(p + 2, two, 2);
}
inline void store_some(float* p, V a, size_t n) {
  if (n >= 4) return wasm_v128_store(p, a);
  if (n == 1) return wasm_v128_store32_lane(p, a, 0);
  wasm_v128_store64_lane(p, a, 0);
  if (n == 3) wasm_v128_store32_lane(p + 2, a, 2);
}

// As flushing_lanes.h wants them: subnormals are what the machine makes of them. Masks have all bits of a lane, or none.
using Bits = v128_t;
inline Bits bits_of(V a) { return a; }
inline V of_bits(Bits a) { return a; }
inline Bits same_bits(uint32_t bits) { return wasm_u32x4_splat(bits); }
inline Bits and_bits(Bits a, Bits b) { return wasm_v128_and(a, b); }
inline Bits or_bits(Bits a, Bits b) { return wasm_v128_or(a, b); }
inline Bits minus_bits(Bits a, Bits b) { return wasm_i32x4_sub(a, b); }
inline Bits smaller(Bits a, Bits b) { return wasm_u32x4_min(a, b); }
inline Bits larger(Bits a, Bits b) { return wasm_u32x4_max(a, b); }
inline Bits below(Bits a, Bits b) { return wasm_u32x4_lt(a, b); }
inline bool any(Bits mask) { return wasm_v128_any_true(mask); }
inline bool all(Bits mask) { return wasm_i32x4_all_true(mask); }
inline V choose(Bits mask, V yes, V no) { return wasm_v128_bitselect(yes, no, mask); }
inline Bits plain_less(V a, V b) { return wasm_f32x4_lt(a, b); }
inline V plain_add(V a, V b) { return wasm_f32x4_add(a, b); }
inline V plain_sub(V a, V b) { return wasm_f32x4_sub(a, b); }
inline V plain_mul(V a, V b) { return wasm_f32x4_mul(a, b); }
inline V plain_div(V a, V b) { return wasm_f32x4_div(a, b); }
inline V negate(V a) { return wasm_f32x4_neg(a); }
inline V plain_root(V a) { return wasm_f32x4_sqrt(a); }

#if defined(__wasm_relaxed_simd__)
inline V product_add(V a, V b, V c) { return wasm_f32x4_relaxed_madd(a, b, c); }
#else
// a * b + c in doubles, of which a * b is exact, and whether the sum lies halfway between two floats, where the bits that it
// has lost decide (float32.h): its last 29 bits are then 2^28.
struct Halves {
  V low, high;  // sums of lanes 0 and 1, 2 and 3
};
inline V upper(V a) { return wasm_i32x4_shuffle(a, a, 2, 3, 2, 3); }
inline V wide(V a) { return wasm_f64x2_promote_low_f32x4(a); }
inline Halves sums_of(V a, V b, V c) {
  return {wasm_f64x2_add(wasm_f64x2_mul(wide(a), wide(b)), wide(c)),
          wasm_f64x2_add(wasm_f64x2_mul(wide(upper(a)), wide(upper(b))), wide(upper(c)))};
}
inline V halfway(const Halves& s) {
  return wasm_i32x4_eq(wasm_i32x4_shl(wasm_i32x4_shuffle(s.low, s.high, 0, 2, 4, 6), 3), wasm_i32x4_const_splat(INT32_MIN));
}
inline V narrow(const Halves& s) {
  return wasm_i32x4_shuffle(wasm_f32x4_demote_f64x2_zero(s.low), wasm_f32x4_demote_f64x2_zero(s.high), 0, 1, 4, 5);
}
// Two of the sums, one step further from the middle where they lie there and have lost something: in its direction.
inline V away_from_halfway(V a, V b, V c, V s) {
  const V p = wasm_f64x2_mul(wide(a), wide(b)), q = wide(c), v = wasm_f64x2_sub(s, p);
  const V lost = wasm_f64x2_add(wasm_f64x2_sub(p, wasm_f64x2_sub(s, v)), wasm_f64x2_sub(q, v));
  const V is_halfway = wasm_i64x2_eq(wasm_v128_and(s, wasm_i64x2_const_splat(0x1fffffff)), wasm_i64x2_const_splat(0x10000000));
  const V direction = wasm_v128_or(wasm_i64x2_shr(wasm_v128_xor(lost, s), 63), wasm_i64x2_const_splat(1));
  const V moves = wasm_v128_and(is_halfway, wasm_f64x2_ne(lost, wasm_f64x2_const_splat(0.0)));
  return wasm_i64x2_add(s, wasm_v128_and(direction, moves));
}
UT_NOINLINE V product_add_at_halfway(V a, V b, V c) {
  const Halves s = sums_of(a, b, c);
  return narrow({away_from_halfway(a, b, c, s.low), away_from_halfway(upper(a), upper(b), upper(c), s.high)});
}
inline V product_add(V a, V b, V c) {
  const Halves s = sums_of(a, b, c);
  return UT_UNLIKELY(wasm_v128_any_true(halfway(s))) ? product_add_at_halfway(a, b, c) : narrow(s);
}
#endif

}  // namespace

#include "flushing_lanes.h"

namespace {

inline V vabs(V a) { return wasm_f32x4_abs(a); }
inline V copy_sign(V magnitude, V sign) { return wasm_v128_bitselect(sign, magnitude, wasm_i32x4_const_splat(INT32_MIN)); }
inline V first_lane(V a) { return wasm_i32x4_shuffle(a, a, 0, 0, 0, 0); }  // in all lanes
template <int kWidth>
inline V low_halves(V a, V b) {  // of groups of kWidth lanes, a's before b's in each group
  if constexpr (kWidth == 4) return wasm_i32x4_shuffle(a, b, 0, 1, 4, 5);
  return wasm_i32x4_shuffle(a, b, 0, 4, 2, 6);
}
template <int kWidth>
inline V high_halves(V a, V b) {
  if constexpr (kWidth == 4) return wasm_i32x4_shuffle(a, b, 2, 3, 6, 7);
  return wasm_i32x4_shuffle(a, b, 1, 5, 3, 7);
}
inline V magnitude_or_nan(V a, V b) { return wasm_i32x4_max(a, b); }  // the larger of two that are not negative, or NaN
inline float max_lane(V a) {  // of lanes that are not NaN
  const V pairs = wasm_f32x4_pmax(a, wasm_i32x4_shuffle(a, a, 2, 3, 0, 1));
  return wasm_f32x4_extract_lane(wasm_f32x4_pmax(pairs, wasm_i32x4_shuffle(pairs, pairs, 1, 0, 3, 2)), 0);
}

inline V pow2(V n) {  // 2^n for a whole n in [-126, 127]; 0 for n = -127
  return wasm_i32x4_shl(wasm_i32x4_add(wasm_i32x4_trunc_sat_f32x4(n), wasm_i32x4_const_splat(127)), 23);
}
inline V exponent(V a) {  // e of a = m * 2^e with m in [1, 2); a normal and positive
  return wasm_f32x4_convert_i32x4(wasm_i32x4_sub(wasm_u32x4_shr(a, 23), wasm_i32x4_const_splat(127)));
}
inline V mantissa(V a) {  // m of the same
  return wasm_v128_or(wasm_v128_and(a, wasm_i32x4_const_splat(0x7fffff)), wasm_i32x4_const_splat(0x3f800000));
}
inline V power_within(V a) { return wasm_v128_and(a, wasm_i32x4_const_splat(0x7f800000)); }          // 2^e of the same
inline V inverse_of_power(V a) { return wasm_i32x4_sub(wasm_i32x4_const_splat(0x7f000000), a); }  // 1 / a of a power from 2^-126 to 2^126

inline V load_half(const uint16_t* p) {
  const V bits = wasm_u32x4_load16x4(p), magnitude = wasm_v128_and(bits, wasm_i32x4_const_splat(0x7fff));
  const V scaled = wasm_f32x4_mul(wasm_i32x4_shl(magnitude, 13), wasm_f32x4_const_splat(0x1p112f));
  const V special = wasm_v128_and(wasm_i32x4_ge(magnitude, wasm_i32x4_const_splat(0x7c00)), wasm_i32x4_const_splat(0x7f800000));
  return wasm_v128_or(wasm_v128_or(scaled, special), wasm_i32x4_shl(wasm_v128_xor(bits, magnitude), 16));
}
inline V load_bfloat(const uint16_t* p) { return wasm_i32x4_shl(wasm_u32x4_load16x4(p), 16); }

inline V broadcast_halves(const float* low, const float* high, int v) { return wasm_v128_load32_splat(v < 2 ? low : high); }

// --- integers: names and meaning in vec_scalar.h ----------------------------------------------------------------------

using VI = v128_t;
inline VI zero_int() { return wasm_i32x4_const_splat(0); }
inline VI load_int(const int32_t* p) { return wasm_v128_load(p); }
inline VI set1_int(int32_t a) { return wasm_i32x4_splat(a); }
inline VI add_int(VI a, VI b) { return wasm_i32x4_add(a, b); }
inline VI sub_int(VI a, VI b) { return wasm_i32x4_sub(a, b); }
inline V to_float(VI a) { return wasm_f32x4_convert_i32x4(a); }
inline VI round_to_int(V a) { return wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest(a)); }
inline void store_int8(int8_t* p, VI a) {
  wasm_v128_store32_lane(p, wasm_i8x16_shuffle(a, a, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12), 0);
}
inline void store_int16(int16_t* p, VI a) { wasm_v128_store64_lane(p, wasm_i16x8_shuffle(a, a, 0, 2, 4, 6, 0, 2, 4, 6), 0); }

struct Quad {
  V x;  // four numbers of 16 bits, twice
};
inline Quad quad_of(V x) { return {wasm_i16x8_extend_low_i8x16(x)}; }
inline VI dot4(VI acc, V w, const Quad& q) {
  const V low = wasm_i32x4_dot_i16x8(wasm_i16x8_extend_low_i8x16(w), q.x);
  const V high = wasm_i32x4_dot_i16x8(wasm_i16x8_extend_high_i8x16(w), q.x);
  return wasm_i32x4_add(acc, wasm_i32x4_add(wasm_i32x4_shuffle(low, high, 0, 2, 4, 6), wasm_i32x4_shuffle(low, high, 1, 3, 5, 7)));
}
inline Quad quad(const int8_t* x) { return quad_of(wasm_v128_load32_splat(x)); }
inline Quad quad_halves(const int8_t* low, const int8_t* high, int v) { return quad(v < 2 ? low : high); }
inline VI dot_start(const int32_t*) { return zero_int(); }
inline VI dot(VI acc, const int8_t* w, const Quad& q) { return dot4(acc, wasm_v128_load(w), q); }

struct Pair {
  V x;  // both, four times
};
inline Pair pair(const int16_t* x) { return {wasm_v128_load32_splat(x)}; }
inline VI dot(VI acc, const int16_t* w, const Pair& q) { return wasm_i32x4_add(acc, wasm_i32x4_dot_i16x8(wasm_v128_load(w), q.x)); }

inline VI dot_each(VI acc, const int16_t* w, VI first, VI second) {
  const V both = wasm_v128_or(wasm_v128_and(first, wasm_i32x4_const_splat(0xffff)), wasm_i32x4_shl(second, 16));
  return wasm_i32x4_add(acc, wasm_i32x4_dot_i16x8(wasm_v128_load(w), both));
}

struct Group {
  Quad low[4], high[4];
};
inline Group group(const int8_t* x) {
  Group g;
  for (int v = 0; v < 4; ++v) {
    g.low[v] = quad(x + 8 * v);
    g.high[v] = quad(x + 8 * v + 4);
  }
  return g;
}
inline VI dot_group(const uint8_t* w, const Group& g) {
  VI acc = zero_int();
  for (int v = 0; v < 4; ++v) {
    const V both = wasm_v128_load(w + 64 * v);
    acc = dot4(acc, wasm_v128_and(both, wasm_i8x16_const_splat(15)), g.low[v]);
    acc = dot4(acc, wasm_u8x16_shr(both, 4), g.high[v]);
  }
  return acc;
}

}  // namespace
