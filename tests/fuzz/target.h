// SPDX-License-Identifier: MIT
// What a fuzz target is: one function that runs an input, and two that make others of it. libFuzzer calls them
// (engine.cpp), or a program that replays files (driver.cpp).
#ifndef UNDERTOW_TESTS_FUZZ_TARGET_H_
#define UNDERTOW_TESTS_FUZZ_TARGET_H_

#include "tow_file.h"

namespace ut_fuzz {

// A check that fails is a finding.
void run_target(const Data& input);

// Empty where nothing came out. The same seed gives the same bytes.
Data mutate_input(const Data& input, size_t max_bytes, uint64_t seed);
Data join_inputs(const Data& a, const Data& b, size_t max_bytes, uint64_t seed);

}  // namespace ut_fuzz

#endif  // UNDERTOW_TESTS_FUZZ_TARGET_H_
