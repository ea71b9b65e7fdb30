// SPDX-License-Identifier: MIT
// Operands for tests of arithmetic: random ones, and some built so that an exact sum lies on or beside the middle between two
// floats, where rounding twice goes wrong, or that something is subnormal, or nearly. The same on every machine that computes
// in IEEE float32, with subnormals.
#ifndef UNDERTOW_TESTS_OPERANDS_H_
#define UNDERTOW_TESTS_OPERANDS_H_

#include "numbers.h"

namespace ut_test {

// A float with an exponent near 2^e and a mantissa of few or many ones.
inline float number(Random& random, int e, int spread) {
  uint32_t mantissa = static_cast<uint32_t>(random.bits()) & 0x7fffffu;
  switch (random.below(4)) {
    case 0:
      mantissa = static_cast<uint32_t>(random.below(4));
      break;
    case 1:
      mantissa = 0x7fffffu - static_cast<uint32_t>(random.below(4));
      break;
    case 2:
      mantissa &= 0x7ff000u;
      break;
    default:
      break;
  }
  const int exponent_of = e + static_cast<int>(random.below(static_cast<size_t>(2 * spread + 1))) - spread;
  const uint32_t biased = static_cast<uint32_t>(exponent_of < -127 ? 0 : exponent_of > 127 ? 254 : exponent_of + 127);
  return as_float((static_cast<uint32_t>(random.bits()) & 0x80000000u) | biased << 23 | mantissa);
}

struct Operands {
  float a, b, c;
};

// f(name of the kind, function that makes operands of it).
template <class F>
void for_each_kind(Random& random, const F& f) {
  f("any bits", [&]() -> Operands {
    const uint64_t u = random.bits(), v = random.bits();
    return {as_float(static_cast<uint32_t>(u)), as_float(static_cast<uint32_t>(u >> 32)), as_float(static_cast<uint32_t>(v))};
  });
  f("near", [&]() -> Operands { return {number(random, 0, 3), number(random, 0, 3), number(random, 0, 30)}; });
  // The product is half a place of c, give or take its own last places.
  f("halfway", [&]() -> Operands {
    const float c = number(random, static_cast<int>(random.below(150)) - 75, 0), a = number(random, 0, 1);
    const float half = as_float((as_bits(c) & 0x7f800000u) - (24u << 23));
    const float b = as_float(as_bits(half / a) + static_cast<uint32_t>(random.below(5)) - 2u);
    return {a, random.below(2) ? b : -b, c};
  });
  // The sum cancels down to a few bits.
  f("cancel", [&]() -> Operands {
    const float a = number(random, 0, 20), b = number(random, 0, 20);
    return {a, b, at_rank(rank(-(a * b)) + static_cast<int64_t>(random.below(5)) - 2)};
  });
  // Results around the smallest normal and the largest float, and operands that are subnormal.
  f("smallest", [&]() -> Operands { return {number(random, -63, 2), number(random, -63, 2), number(random, -126, 2)}; });
  f("tiny", [&]() -> Operands { return {number(random, -126, 2), number(random, 0, 2), number(random, -126, 3)}; });
  f("tiny quotient", [&]() -> Operands { return {number(random, -96, 2), number(random, 30, 2), number(random, -126, 3)}; });
  // Of mantissas that round up to the next power of two, or nearly.
  f("rounded up", [&]() -> Operands {
    const float a = at_rank(rank(as_float(64u << 23)) - static_cast<int64_t>(random.below(6)));
    const float b = at_rank(rank(as_float(64u << 23)) + static_cast<int64_t>(random.below(6)) - 3);
    return {a, b, number(random, -149, 24)};
  });
  f("largest", [&]() -> Operands { return {number(random, 63, 1), number(random, 63, 1), number(random, 126, 2)}; });
}

}  // namespace ut_test

#endif  // UNDERTOW_TESTS_OPERANDS_H_
