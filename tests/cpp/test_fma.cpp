// SPDX-License-Identifier: MIT
// The scalar kernels' emulated fused multiply-add against the machine's (fmaf of libm, which uses it), in the engine's
// floating-point mode: random operands, and operands built so that the exact sum lies on or beside the middle between
// two floats, where rounding twice goes wrong.
//     test_fma [MILLIONS]     operands of each kind, default 8
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "cpu.h"
#include "numbers.h"

#undef __FP_FAST_FMAF  // the emulation, also where the compiler would fuse
#include "kernels/vec_scalar.h"

namespace {

using namespace ut_test;

void compare(const char* kind, float a, float b, float c) {
  const float got = mul_add(a, b, c), expected = fmaf(a, b, c);
  // -0 and +0 from flushed results: the sign is part of the contract.
  if (!same(got, expected))
    CHECK(false, "%s: %a * %a + %a: expected %a, got %a", kind, static_cast<double>(a), static_cast<double>(b),
          static_cast<double>(c), static_cast<double>(expected), static_cast<double>(got));
}

// A float with an exponent near 2^e and a mantissa of few or many ones.
float operand(Random& random, int e, int spread) {
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
  const int exponent = e + static_cast<int>(random.below(static_cast<size_t>(2 * spread + 1))) - spread;
  const uint32_t biased = static_cast<uint32_t>(exponent < -126 ? 1 : exponent > 127 ? 254 : exponent + 127);
  return as_float((static_cast<uint32_t>(random.bits()) & 0x80000000u) | biased << 23 | mantissa);
}

}  // namespace

int main(int argc, char** argv) {
  const long n = (argc > 1 ? atol(argv[1]) : 8) * 1000000L;
  const undertow::FloatMode mode;
  Random random(7);
  for (long i = 0; i < n; ++i) {
    const uint64_t u = random.bits(), v = random.bits();
    compare("any bits", as_float(static_cast<uint32_t>(u)), as_float(static_cast<uint32_t>(u >> 32)),
            as_float(static_cast<uint32_t>(v)));
  }
  for (long i = 0; i < n; ++i) {
    const float a = operand(random, 0, 3), b = operand(random, 0, 3);
    compare("near", a, b, operand(random, 0, 30));
  }
  // The product is half a place of c, give or take its own last places.
  for (long i = 0; i < n; ++i) {
    const float c = operand(random, static_cast<int>(random.below(150)) - 75, 0), a = operand(random, 0, 1);
    const float half = as_float((as_bits(c) & 0x7f800000u) - (24u << 23));
    const float b = as_float(as_bits(half / a) + static_cast<uint32_t>(random.below(5)) - 2u);
    compare("halfway", a, random.below(2) ? b : -b, c);
  }
  // The sum cancels down to a few bits.
  for (long i = 0; i < n; ++i) {
    const float a = operand(random, 0, 20), b = operand(random, 0, 20);
    compare("cancel", a, b, at_rank(rank(-(a * b)) + static_cast<int64_t>(random.below(5)) - 2));
  }
  // Results around the smallest normal and the largest float.
  for (long i = 0; i < n; ++i) {
    const float a = operand(random, -63, 2), b = operand(random, -63, 2);
    compare("smallest", a, b, operand(random, -126, 2));
    compare("largest", operand(random, 63, 1), operand(random, 63, 1), operand(random, 126, 2));
  }
  CHECK(true, "%s", "");
  return report("test_fma");
}
