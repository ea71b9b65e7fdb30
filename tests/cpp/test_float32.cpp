// SPDX-License-Identifier: MIT
// Arithmetic of kernels/float32.h against this machine's, in the engine's floating-point mode, bit for bit: as targets without
// a fused multiply-add, without an FPU, or without a switch for subnormals compute it. Compiled once for each (CMakeLists.txt:
// UT_FMA, UT_FLUSH).
//     test_float32 [MILLIONS]     operands of each kind, default 2
#include "kernels/float32.h"

#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "cpu.h"
#include "operands.h"

namespace {

using namespace ut_test;

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
  for_each_kind(random, [&](const char* kind, const auto& make) { try_kind(kind, n, make); });
  return report("test_float32");
}
