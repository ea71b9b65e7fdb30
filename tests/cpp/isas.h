// SPDX-License-Identifier: MIT
// The kernel tables that this CPU can run, best first; the last is scalar, the reference of all others.
#ifndef UNDERTOW_TESTS_ISAS_H_
#define UNDERTOW_TESTS_ISAS_H_

#include <vector>

#include "cpu.h"
#include "dispatch.h"

namespace ut_test {

inline std::vector<const undertow::KernelTable*> runnable_tables() {
  std::vector<const undertow::KernelTable*> found;
  for (size_t i = 0; const undertow::KernelTable* t = undertow::built_table(i); ++i) {
    if (undertow::runnable(*t, undertow::cpu_features()))
      found.push_back(t);
    else
      printf("%s: not on this CPU, not tested\n", t->name);
  }
  return found;
}

}  // namespace ut_test

#endif  // UNDERTOW_TESTS_ISAS_H_
