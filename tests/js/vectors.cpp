// SPDX-License-Identifier: MIT
// The float half of kernels/vec_wasm.h against this machine's arithmetic, bit for bit, by hashes: compiled for WebAssembly it
// computes four lanes at a time, compiled for the machine it lets it compute in the engine's floating-point mode. Both print
// (for node: give back) a hash for each kind of operands and operation (tests/test_js.py compares them).
#if defined(__wasm__)
#include "kernels/vec_wasm.h"
#else
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu.h"
#endif
#include "operands.h"

namespace {

using ut_test::Hash;
using ut_test::Operands;
using ut_test::Random;

constexpr int kKinds = 9, kOperations = 10;
constexpr size_t kBatch = 1024;
uint64_t hashes[kKinds][kOperations];

#if defined(__wasm__)
struct Mode {};
constexpr size_t kAtOnce = 4;
void compute(float (*out)[kAtOnce], const Operands* o) {
  float x[4], y[4], z[4];
  for (int i = 0; i < 4; ++i) x[i] = o[i].a, y[i] = o[i].b, z[i] = o[i].c;
  const V a = load(x), b = load(y), c = load(z), one = set1(1.0f), none = set1(0.0f);
  const V results[kOperations] = {mul_add(a, b, c), add(a, c), sub(a, c), mul(a, b), div(a, b), square_root(a),
                                  select_lt(a, b, one, none), max(a, b), min(a, b), copy_sign(vabs(a), b)};
  for (int i = 0; i < kOperations; ++i) store(out[i], results[i]);
}
#else
using Mode = undertow::FloatMode;
constexpr size_t kAtOnce = 1;
__attribute__((noinline)) void compute(float (*out)[kAtOnce], const Operands* o) {
  const float a = o->a, b = o->b, c = o->c;
  const float results[kOperations] = {fmaf(a, b, c), a + c,     a - c,     a * b, a / b, sqrtf(a), a < b ? 1.0f : 0.0f,
                                      a > b ? a : b, a < b ? a : b, copysignf(fabsf(a), b)};
  for (int i = 0; i < kOperations; ++i) out[i][0] = results[i];
}
#endif

void run(long n) {
  Random random(7);
  int kind = 0;
  for_each_kind(random, [&](const char*, const auto& make) {
    Hash sums[kOperations];
    static Operands operands[kBatch];
    for (long done = 0; done < n; done += kBatch) {
      for (Operands& o : operands) o = make();
      const Mode mode;
      (void)mode;
      for (size_t i = 0; i < kBatch; i += kAtOnce) {
        float out[kOperations][kAtOnce];
        compute(out, operands + i);
        for (int k = 0; k < kOperations; ++k)
          for (float& result : out[k]) {  // max and min may hand on what is subnormal: which do depends on the instruction set
            const uint32_t bits = ut_test::as_bits(result);
            if (k == 7 || k == 8) result = ut_test::as_float(bits & 0x7f800000u ? bits : bits & 0x80000000u);
            sums[k].add(&result, 1);
          }
      }
    }
    for (int k = 0; k < kOperations; ++k) hashes[kind][k] = sums[k].value();
    ++kind;
  });
}

}  // namespace

#if defined(__wasm__)
extern "C" {
void* memcpy(void* to, const void* from, size_t n) {
  unsigned char* t = static_cast<unsigned char*>(to);
  for (const unsigned char* f = static_cast<const unsigned char*>(from); n; --n) *t++ = *f++;
  return to;
}
__attribute__((export_name("run"))) const void* run_kinds(int thousands) {
  run(thousands * 1000L);
  return hashes;
}
}
#else
int main(int argc, char** argv) {
  run((argc > 1 ? atol(argv[1]) : 100) * 1000);
  for (const auto& kind : hashes)
    for (const uint64_t hash : kind) printf("%016llx\n", static_cast<unsigned long long>(hash));
  return 0;
}
#endif
