// SPDX-License-Identifier: MIT
// Hashes of output bits that must never change by themselves, one "name hash" per line, made by the scalar kernels on
// x86-64. UNDERTOW_GOLDEN_WRITE=1 appends instead of comparing: only after a deliberate change of the numerics
// contract.
#ifndef UNDERTOW_TESTS_GOLDEN_H_
#define UNDERTOW_TESTS_GOLDEN_H_

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

namespace ut_test {

inline void check_golden(const char* path, const char* name, uint64_t hash) {
  if (getenv("UNDERTOW_GOLDEN_WRITE")) {
    FILE* out = fopen(path, "a");
    CHECK(out != nullptr, "cannot write %s", path);
    if (out) {
      fprintf(out, "%s %016" PRIx64 "\n", name, hash);
      fclose(out);
    }
    return;
  }
  FILE* in = fopen(path, "r");
  CHECK(in != nullptr, "cannot read %s", path);
  if (!in) return;
  char key[128];
  uint64_t expected;
  bool found = false;
  while (fscanf(in, "%127s %" SCNx64, key, &expected) == 2)
    if (strcmp(key, name) == 0) {
      found = true;
      CHECK(hash == expected, "%s: expected hash %016" PRIx64 ", got %016" PRIx64, name, expected, hash);
    }
  CHECK(found, "%s: no hash in %s (got %016" PRIx64 ")", name, path, hash);
  fclose(in);
}

}  // namespace ut_test

#endif  // UNDERTOW_TESTS_GOLDEN_H_
