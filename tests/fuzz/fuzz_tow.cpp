// SPDX-License-Identifier: MIT
// Fuzz target: any bytes as a .tow file, as they are and with a header made to fit. What the library takes is a model
// that every call of undertow.h meets, and whose laws hold.
#include "exercise.h"
#include "laws.h"
#include "target.h"
#include "tow_mutator.h"

namespace ut_fuzz {

namespace {

void attempt(const Data& bytes) {
  const Bytes blob(bytes.data(), bytes.size());
  ut_info info;
  const uint64_t work = ut_probe(blob.data(), blob.size(), nullptr, &info, nullptr) == UT_OK ? check_file(blob) : 0;
  ut_test::exercise(blob, work != 0 ? kMostBytes / 4 : 0);
  if (work != 0) check_laws(blob, work, ut_test::crc32(0, blob.data(), blob.size()));
}

}  // namespace

void run_target(const Data& bytes) {
  Data mended = bytes;
  attempt(bytes);
  if (mend_header(&mended) && mended != bytes) attempt(mended);
}

Data mutate_input(const Data& input, size_t max_bytes, uint64_t seed) { return mutate(input, max_bytes, seed); }
Data join_inputs(const Data& a, const Data& b, size_t max_bytes, uint64_t seed) {
  return splice(a, b, max_bytes, seed);
}

}  // namespace ut_fuzz
