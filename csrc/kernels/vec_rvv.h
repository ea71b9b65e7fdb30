// SPDX-License-Identifier: MIT
// The SIMD vocabulary on RISC-V with its vector extension: 8 float lanes. Same names and meaning in every vec_*.h.
// Used only by isa_rvv.cpp; internal linkage throughout: nothing here may escape that object file.
//
// Vectors whose length is told by the CPU have no size, so no array can hold them, and kernels are made of such arrays. Clang
// has vectors of a fixed length for this extension: 8 floats are two registers of 128 bits, the fewest there are, or a part of
// longer ones, so that the code runs on all. Subnormals: flushing_lanes.h.
#include <stddef.h>
#include <stdint.h>

#include "../compiler.h"

#define UT_ISA_FLUSHES 1
#define UT_ISA_FUSES 1

namespace {

constexpr int kLanes = 8;
constexpr int kRegisters = 16;
template <class T>
using Of = T __attribute__((ext_vector_type(8)));
using V = Of<float>;
using VI = Of<int32_t>;
using Bits = Of<uint32_t>;

// In memory, where one number lies as it must, and the first at no multiple of their bytes.
template <class T>
using InMemory = T __attribute__((ext_vector_type(8), aligned(sizeof(T)), may_alias));
template <class T>
UT_INLINE_FN Of<T> load_of(const void* p) {
  return *static_cast<const InMemory<T>*>(p);
}
template <class T>
UT_INLINE_FN void store_of(void* p, Of<T> a) {
  *static_cast<InMemory<T>*>(p) = a;
}
inline V load(const float* p) { return load_of<float>(p); }
inline void store(float* p, V a) { store_of<float>(p, a); }
inline V set1(float a) { return V(a); }
inline V load_some(const float* p, size_t n) {
  float some[kLanes] = {};
  memcpy(some, p, (n < kLanes ? n : kLanes) * sizeof(float));
  return load(some);
}
inline void store_some(float* p, V a, size_t n) {
  float some[kLanes];
  store(some, a);
  memcpy(p, some, (n < kLanes ? n : kLanes) * sizeof(float));
}

// As flushing_lanes.h wants them: subnormals are what the machine makes of them. Masks have all bits of a lane, or none.
inline Bits bits_of(V a) { return __builtin_bit_cast(Bits, a); }
inline Bits bits_of(VI a) { return __builtin_bit_cast(Bits, a); }
inline V of_bits(Bits a) { return __builtin_bit_cast(V, a); }
inline VI int_of_bits(Bits a) { return __builtin_bit_cast(VI, a); }
inline Bits same_bits(uint32_t bits) { return Bits(bits); }
inline Bits and_bits(Bits a, Bits b) { return a & b; }
inline Bits or_bits(Bits a, Bits b) { return a | b; }
inline Bits minus_bits(Bits a, Bits b) { return a - b; }
inline Bits smaller(Bits a, Bits b) { return __builtin_elementwise_min(a, b); }
inline Bits larger(Bits a, Bits b) { return __builtin_elementwise_max(a, b); }
inline Bits below(Bits a, Bits b) { return bits_of(VI(a < b)); }
inline bool any(Bits mask) { return __builtin_reduce_or(mask) != 0; }
inline bool all(Bits mask) { return __builtin_reduce_and(mask) != 0; }
inline V choose(Bits mask, V yes, V no) { return int_of_bits(mask) ? yes : no; }
inline Bits plain_less(V a, V b) { return bits_of(VI(a < b)); }
inline V plain_add(V a, V b) { return a + b; }
inline V plain_sub(V a, V b) { return a - b; }
inline V plain_mul(V a, V b) { return a * b; }
inline V plain_div(V a, V b) { return a / b; }
inline V negate(V a) { return -a; }
inline V plain_root(V a) { return __builtin_elementwise_sqrt(a); }
inline V product_add(V a, V b, V c) { return __builtin_elementwise_fma(a, b, c); }

}  // namespace

#include "flushing_lanes.h"

namespace {

inline V vabs(V a) { return __builtin_elementwise_abs(a); }
inline V copy_sign(V magnitude, V sign) {
  return of_bits((bits_of(magnitude) & same_bits(0x7fffffff)) | (bits_of(sign) & same_bits(0x80000000)));
}
inline V first_lane(V a) { return V(a[0]); }  // in all lanes
template <int kWidth>
inline V low_halves(V a, V b) {  // of groups of kWidth lanes, a's before b's in each group
  if constexpr (kWidth == 8) return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
  if constexpr (kWidth == 4) return __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
  return __builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14);
}
template <int kWidth>
inline V high_halves(V a, V b) {
  if constexpr (kWidth == 8) return __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
  if constexpr (kWidth == 4) return __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
  return __builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
}
inline V magnitude_or_nan(V a, V b) { return of_bits(larger(bits_of(a), bits_of(b))); }  // the larger of two that are not negative, or NaN
inline float max_lane(V a) {  // of lanes that are not NaN
  float lanes[kLanes], most;
  store(lanes, a);
  most = lanes[0];
  for (int i = 1; i < kLanes; ++i) most = lanes[i] > most ? lanes[i] : most;
  return most;
}

inline V to_float(VI a) { return __builtin_convertvector(a, V); }
inline VI round_to_int(V a) { return __builtin_convertvector(__builtin_elementwise_rint(a), VI); }  // |a| < 2^22, ties to even
inline V pow2(V n) {  // 2^n for a whole n in [-126, 127]; 0 for n = -127
  return of_bits((bits_of(round_to_int(n)) + same_bits(127)) << same_bits(23));
}
inline V exponent(V a) {  // e of a = m * 2^e with m in [1, 2); a normal and positive
  return to_float(int_of_bits((bits_of(a) >> same_bits(23)) - same_bits(127)));
}
inline V mantissa(V a) { return of_bits((bits_of(a) & same_bits(0x7fffff)) | same_bits(0x3f800000)); }  // m of the same
inline V power_within(V a) { return of_bits(bits_of(a) & same_bits(0x7f800000)); }                      // 2^e of the same
inline V inverse_of_power(V a) { return of_bits(same_bits(0x7f000000) - bits_of(a)); }  // 1 / a of a power from 2^-126 to 2^126

inline Bits load_words(const uint16_t* p) { return __builtin_convertvector(load_of<uint16_t>(p), Bits); }
inline V load_half(const uint16_t* p) {
  const Bits bits = load_words(p), magnitude = bits & same_bits(0x7fff);
  const V scaled = of_bits(magnitude << same_bits(13)) * V(0x1p112f);
  const Bits special = bits_of(VI(magnitude >= same_bits(0x7c00))) & same_bits(0x7f800000);
  return of_bits(bits_of(scaled) | special | ((bits ^ magnitude) << same_bits(16)));
}
inline V load_bfloat(const uint16_t* p) { return of_bits(load_words(p) << same_bits(16)); }

inline V broadcast_halves(const float* low, const float* high, int v) { return set1(*(v < 1 ? low : high)); }

// --- integers: names and meaning in vec_scalar.h ----------------------------------------------------------------------

inline VI zero_int() { return VI(0); }
inline VI load_int(const int32_t* p) { return load_of<int32_t>(p); }
inline VI set1_int(int32_t a) { return VI(a); }
inline VI add_int(VI a, VI b) { return int_of_bits(bits_of(a) + bits_of(b)); }
inline VI sub_int(VI a, VI b) { return int_of_bits(bits_of(a) - bits_of(b)); }
inline VI times_int(VI a, VI b) { return int_of_bits(bits_of(a) * bits_of(b)); }
inline void store_int8(int8_t* p, VI a) { store_of<int8_t>(p, __builtin_convertvector(a, Of<int8_t>)); }
inline void store_int16(int16_t* p, VI a) { store_of<int16_t>(p, __builtin_convertvector(a, Of<int16_t>)); }

// The signed number of `bits` bits that begins at bit `from` of each lane.
inline VI field(Bits a, uint32_t from, uint32_t bits) { return int_of_bits(a << same_bits(32 - bits - from)) >> VI(static_cast<int32_t>(32 - bits)); }

struct Quad {
  int8_t x[4];
};
inline Quad quad(const int8_t* x) { return {{x[0], x[1], x[2], x[3]}}; }
inline Quad quad_halves(const int8_t* low, const int8_t* high, int v) { return quad(v < 1 ? low : high); }
inline VI dot_start(const int32_t*) { return zero_int(); }
inline VI dot(VI acc, const int8_t* w, const Quad& q) {
  const Bits four = load_of<uint32_t>(w);
  for (uint32_t i = 0; i < 4; ++i) acc = add_int(acc, times_int(field(four, 8 * i, 8), VI(q.x[i])));
  return acc;
}

struct Pair {
  int16_t x[2];
};
inline Pair pair(const int16_t* x) { return {{x[0], x[1]}}; }
inline VI dot_each(VI acc, const int16_t* w, VI first, VI second) {
  const Bits both = load_of<uint32_t>(w);
  return add_int(add_int(acc, times_int(field(both, 0, 16), first)), times_int(field(both, 16, 16), second));
}
inline VI dot(VI acc, const int16_t* w, const Pair& q) { return dot_each(acc, w, VI(q.x[0]), VI(q.x[1])); }

struct Group {
  int8_t x[32];
};
inline Group group(const int8_t* x) {
  Group g;
  memcpy(g.x, x, sizeof g.x);
  return g;
}
inline VI dot_group(const uint8_t* w, const Group& g) {
  VI acc = zero_int();
  for (int v = 0; v < 4; ++v) {
    const Bits both = load_of<uint32_t>(w + 64 * v);
    for (int i = 0; i < 4; ++i) {
      const VI low = int_of_bits(both >> same_bits(static_cast<uint32_t>(8 * i)) & same_bits(15));
      const VI high = int_of_bits(both >> same_bits(static_cast<uint32_t>(8 * i + 4)) & same_bits(15));
      acc = add_int(acc, times_int(low, VI(g.x[8 * v + i])));
      acc = add_int(acc, times_int(high, VI(g.x[8 * v + 4 + i])));
    }
  }
  return acc;
}

}  // namespace
