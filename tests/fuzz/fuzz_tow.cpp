// SPDX-License-Identifier: MIT
// Fuzz target: any bytes as a .tow file, as they are and with size and checksum made to fit. Built with clang and
// -fsanitize=fuzzer (preset fuzz), or with driver.cpp into an ordinary test.
//     build/cpp-fuzz/tests/cpp/fuzz_tow -max_len=4096 NEW_CORPUS tests/fuzz/corpus tests/data/tow
#include "exercise.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t n) {
  constexpr size_t kMaxBytes = size_t{1} << 22;
  using namespace ut_test;
  const Bytes blob(data, n);
  exercise(blob, kMaxBytes);
  if (n >= 64) {
    static const uint8_t kStart[12] = {0x89, 'T', 'O', 'W', '\r', '\n', 0x1a, '\n', 1, 0, 0, 0};
    memcpy(blob.data(), kStart, sizeof kStart);
    set_u32(blob, 12, 0);
    set_u32(blob, 16, static_cast<uint32_t>(n));
    set_u32(blob, 20, 0);
    memset(blob.data() + 48, 0, 16);
    reseal(blob);
    exercise(blob, kMaxBytes);
  }
  if (tally().failed) abort();
  return 0;
}
