// SPDX-License-Identifier: MIT
// Other .tow files from one, or from two: most are such that the library takes them, for what is refused teaches a
// fuzzer little. The same seed gives the same bytes.
#ifndef UNDERTOW_TESTS_FUZZ_TOW_MUTATOR_H_
#define UNDERTOW_TESTS_FUZZ_TOW_MUTATOR_H_

#include "tow_file.h"

namespace ut_fuzz {

// Gives a file the header that its size asks for. False where it is shorter than one.
bool mend_header(Data* file);

// Empty where `file` holds no tables, or where nothing of at most max_bytes came out.
Data mutate(const Data& file, size_t max_bytes, uint64_t seed);

// The nodes of b behind those of a, on values of a or on inputs of their own.
Data splice(const Data& a, const Data& b, size_t max_bytes, uint64_t seed);

}  // namespace ut_fuzz

#endif  // UNDERTOW_TESTS_FUZZ_TOW_MUTATOR_H_
