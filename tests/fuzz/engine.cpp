// SPDX-License-Identifier: MIT
// A target as libFuzzer calls it.
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "target.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

// 0 where there is nothing to give.
size_t give(const ut_fuzz::Data& from, uint8_t* to, size_t max_size) {
  if (from.empty() || from.size() > max_size) return 0;
  memcpy(to, from.data(), from.size());
  return from.size();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t n) {
  ut_fuzz::run_target(ut_fuzz::Data(data, data + n));
  if (tally().failed) abort();
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  if (seed % 16 != 0)
    if (const size_t n = give(ut_fuzz::mutate_input(ut_fuzz::Data(data, data + size), max_size, seed), data, max_size))
      return n;
  return LLVMFuzzerMutate(data, size, max_size);
}

extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t* a, size_t n_a, const uint8_t* b, size_t n_b, uint8_t* out,
                                            size_t max_size, unsigned seed) {
  return give(ut_fuzz::join_inputs(ut_fuzz::Data(a, a + n_a), ut_fuzz::Data(b, b + n_b), max_size, seed), out,
              max_size);
}
