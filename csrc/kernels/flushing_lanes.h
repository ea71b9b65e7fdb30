// SPDX-License-Identifier: MIT
// Part of the SIMD vocabulary (vec_*.h) of machines that have no switch which makes subnormals zero: WebAssembly, RISC-V.
// Internal linkage throughout.
//
// Operations look for subnormals: where a lane has one, or a result that may be one, which is rare, all lanes are computed one
// by one (float32.h). Products go without these looks where plan.cpp has found that their operands cannot make a subnormal:
// `product_add`. What includes this has V, kLanes, load, store, the functions named `plain_` and those of `Bits`, 32 of a lane.

// One float at a time, under names of its own.
namespace {
namespace float32 {
#include "float32.h"
}
#undef UT_ONE_LANE
}  // namespace

namespace {

// Of each lane a number that is below 2^23 if it is subnormal, 2^23 - 1 being the smallest normal float, and larger of any
// other, zero too.
inline Bits smallness(V a) { return and_bits(minus_bits(bits_of(a), same_bits(1)), same_bits(0x7fffffff)); }
inline bool any_below(Bits smallness, uint32_t bound) { return any(below(smallness, same_bits(bound))); }
// The larger of `most` and the magnitude of another, lane by lane; NaN is above all numbers.
inline Bits larger_magnitude(Bits most, V a) { return larger(most, and_bits(bits_of(a), same_bits(0x7fffffff))); }
inline bool all_below(Bits magnitude, uint32_t bound) { return all(below(magnitude, same_bits(bound))); }
constexpr uint32_t kSubnormal = 0x00800000;  // of a result, which rounding may have made 2^-126

template <class F>
UT_INLINE_FN V lane_by_lane(V a, V b, V c, const F& f) {
  float x[kLanes], y[kLanes], z[kLanes];
  store(x, a);
  store(y, b);
  store(z, c);
  for (int i = 0; i < kLanes; ++i) x[i] = f(x[i], y[i], z[i]);
  return load(x);
}
UT_NOINLINE V fused_of_lanes(V a, V b, V c) { return lane_by_lane(a, b, c, float32::mul_add); }
UT_NOINLINE V sum_of_lanes(V a, V b) {
  return lane_by_lane(a, b, a, [](float x, float y, float) { return float32::add(x, y); });
}
UT_NOINLINE V product_of_lanes(V a, V b) {
  return lane_by_lane(a, b, a, [](float x, float y, float) { return float32::mul(x, y); });
}
UT_NOINLINE V quotient_of_lanes(V a, V b) {
  return lane_by_lane(a, b, a, [](float x, float y, float) { return float32::div(x, y); });
}

// A sum of at least 2^-100 has nothing of a subnormal operand: half of the space between floats there is 2^-125. One of 0 is
// that of equal operands.
inline V add(V a, V b) {
  const V r = plain_add(a, b);
  return UT_UNLIKELY(any_below(smallness(r), 27 << 23)) ? sum_of_lanes(a, b) : r;
}
inline V sub(V a, V b) {
  const V r = plain_sub(a, b);
  return UT_UNLIKELY(any_below(smallness(r), 27 << 23)) ? sum_of_lanes(a, negate(b)) : r;
}
inline V mul(V a, V b) {
  const V r = plain_mul(a, b);
  return UT_UNLIKELY(any_below(smaller(smaller(smallness(a), smallness(b)), smallness(r)), kSubnormal)) ? product_of_lanes(a, b) : r;
}
inline V div(V a, V b) {
  const V r = plain_div(a, b);
  return UT_UNLIKELY(any_below(smaller(smaller(smallness(a), smallness(b)), smallness(r)), kSubnormal)) ? quotient_of_lanes(a, b) : r;
}
inline V square_root(V a) {
  const Bits normal = below(same_bits(0), and_bits(bits_of(a), same_bits(0x7f800000)));
  return plain_root(of_bits(and_bits(bits_of(a), or_bits(normal, same_bits(0x80000000)))));
}

// a * b + c, one rounding.
#if UT_ISA_FUSES
inline
#else
UT_NOINLINE  // so long that a call is little of it
#endif
V mul_add(V a, V b, V c) {
  const V r = product_add(a, b, c);
  const Bits least = smaller(smaller(smallness(a), smallness(b)), smaller(smallness(c), smallness(r)));
  return UT_UNLIKELY(any_below(least, kSubnormal)) ? fused_of_lanes(a, b, c) : r;
}

// Of two that are both subnormal or zero neither is less.
inline Bits is_less(V a, V b) {
  const Bits exponents = and_bits(or_bits(bits_of(a), bits_of(b)), same_bits(0x7f800000));
  return and_bits(plain_less(a, b), below(same_bits(0), exponents));
}
inline V max(V a, V b) { return choose(is_less(b, a), a, b); }  // a > b ? a : b, so b where either is NaN
inline V min(V a, V b) { return choose(is_less(a, b), a, b); }  // a < b ? a : b, so b where either is NaN
inline V select_lt(V a, V b, V yes, V no) { return choose(is_less(a, b), yes, no); }  // a < b ? yes : no, so no where either is NaN
inline bool all_lt(V a, V b) { return all(is_less(a, b)); }  // false where any is NaN

}  // namespace
