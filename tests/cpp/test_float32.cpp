// SPDX-License-Identifier: MIT
// Arithmetic of kernels/float32.h against this machine's, in the engine's floating-point mode, bit for bit: as targets without
// a fused multiply-add, without an FPU, or without a switch for subnormals compute it. Compiled once for each (CMakeLists.txt:
// UT_FMA, UT_FLUSH). Random operands, and operands built so that the exact sum lies on or beside the middle between two floats,
// where rounding twice goes wrong.
//     test_float32 [MILLIONS]     operands of each kind, default 2
#include "kernels/float32.h"

#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "cpu.h"
#include "numbers.h"

namespace {

using namespace ut_test;

// A float with an exponent near 2^e and a mantissa of few or many ones.
float number(Random& random, int e, int spread) {
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

struct Results {
  float fused, sum, difference, product, quotient, root;
  bool less;
};

UT_NOINLINE Results of_float32_h(const Operands& o) {
  return {mul_add(o.a, o.b, o.c), add(o.a, o.c), sub(o.a, o.c), mul(o.a, o.b), div(o.a, o.b), square_root(o.a), is_less(o.a, o.b)};
}

// fmaf of libm uses the instruction, or emulates it from integers.
UT_NOINLINE Results of_this_machine(const Operands& o) {
  return {fmaf(o.a, o.b, o.c), o.a + o.c, o.a - o.c, o.a * o.b, o.a / o.b, sqrtf(o.a), o.a < o.b};
}

void compare(const char* kind, const char* operation, const Operands& o, float got, float expected) {
  // -0 and +0 from flushed results: the sign is part of the contract.
  if (!same(got, expected))
    CHECK(false, "%s: %s of %a, %a, %a: expected %a, got %a", kind, operation, static_cast<double>(o.a), static_cast<double>(o.b),
          static_cast<double>(o.c), static_cast<double>(expected), static_cast<double>(got));
}

constexpr size_t kBatch = 1024;

// `make` gives operands. The mode changes once for all of a batch.
template <class Make>
void try_kind(const char* kind, long n, const Make& make) {
  static Operands operands[kBatch];
  static Results expected[kBatch];
  for (long done = 0; done < n; done += kBatch) {
    for (Operands& o : operands) o = make();
    {
      const undertow::FloatMode mode;
      for (size_t i = 0; i < kBatch; ++i) expected[i] = of_this_machine(operands[i]);
#if !UT_FLUSH
      for (size_t i = 0; i < kBatch; ++i) {
        const Results got = of_float32_h(operands[i]);
        compare(kind, "a * b + c", operands[i], got.fused, expected[i].fused);
      }
#endif
    }
#if UT_FLUSH
    for (size_t i = 0; i < kBatch; ++i) {
      const Results got = of_float32_h(operands[i]), &e = expected[i];
      compare(kind, "a * b + c", operands[i], got.fused, e.fused);
      compare(kind, "a + c", operands[i], got.sum, e.sum);
      compare(kind, "a - c", operands[i], got.difference, e.difference);
      compare(kind, "a * b", operands[i], got.product, e.product);
      compare(kind, "a / b", operands[i], got.quotient, e.quotient);
      compare(kind, "square root of a", operands[i], got.root, e.root);
      if (got.less != e.less)
        CHECK(false, "%s: %a < %a: expected %d", kind, static_cast<double>(operands[i].a), static_cast<double>(operands[i].b), e.less);
    }
#endif
  }
  CHECK(n > 0, "%s: nothing was tried", kind);
}

}  // namespace

int main(int argc, char** argv) {
  const long n = (argc > 1 ? atol(argv[1]) : 2) * 1000000L;
  Random random(7);
  try_kind("any bits", n, [&]() -> Operands {
    const uint64_t u = random.bits(), v = random.bits();
    return {as_float(static_cast<uint32_t>(u)), as_float(static_cast<uint32_t>(u >> 32)), as_float(static_cast<uint32_t>(v))};
  });
  try_kind("near", n, [&]() -> Operands { return {number(random, 0, 3), number(random, 0, 3), number(random, 0, 30)}; });
  // The product is half a place of c, give or take its own last places.
  try_kind("halfway", n, [&]() -> Operands {
    const float c = number(random, static_cast<int>(random.below(150)) - 75, 0), a = number(random, 0, 1);
    const float half = as_float((as_bits(c) & 0x7f800000u) - (24u << 23));
    const float b = as_float(as_bits(half / a) + static_cast<uint32_t>(random.below(5)) - 2u);
    return {a, random.below(2) ? b : -b, c};
  });
  // The sum cancels down to a few bits.
  try_kind("cancel", n, [&]() -> Operands {
    const float a = number(random, 0, 20), b = number(random, 0, 20);
    return {a, b, at_rank(rank(-(a * b)) + static_cast<int64_t>(random.below(5)) - 2)};
  });
  // Results around the smallest normal and the largest float, and operands that are subnormal.
  try_kind("smallest", n, [&]() -> Operands { return {number(random, -63, 2), number(random, -63, 2), number(random, -126, 2)}; });
  try_kind("tiny", n, [&]() -> Operands { return {number(random, -126, 2), number(random, 0, 2), number(random, -126, 3)}; });
  try_kind("tiny quotient", n, [&]() -> Operands { return {number(random, -96, 2), number(random, 30, 2), number(random, -126, 3)}; });
  // Of mantissas that round up to the next power of two, or nearly.
  try_kind("rounded up", n, [&]() -> Operands {
    const float a = at_rank(rank(as_float(64u << 23)) - static_cast<int64_t>(random.below(6)));
    const float b = at_rank(rank(as_float(64u << 23)) + static_cast<int64_t>(random.below(6)) - 3);
    return {a, b, number(random, -149, 24)};
  });
  try_kind("largest", n, [&]() -> Operands { return {number(random, 63, 1), number(random, 63, 1), number(random, 126, 2)}; });
  return report("test_float32");
}
