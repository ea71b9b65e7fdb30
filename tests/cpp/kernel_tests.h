// SPDX-License-Identifier: MIT
// What the parts of test_kernels share: random numbers in panels with garbage in the padding, comparison to the bit.
#ifndef UNDERTOW_TESTS_KERNEL_TESTS_H_
#define UNDERTOW_TESTS_KERNEL_TESTS_H_

#include <algorithm>
#include <vector>

#include "check.h"
#include "isas.h"
#include "numbers.h"

namespace ut_test {

using namespace undertow;
using Table = KernelTable;
using Floats = std::vector<float>;

// Each runs `n_seeds` cases on every table; `hash` takes what the last one, scalar, gives.
void test_cells(const std::vector<const Table*>& tables, size_t n_seeds, Hash* hash);
void test_tiny_cells(const std::vector<const Table*>& tables, size_t n_seeds);
void test_dense(const std::vector<const Table*>& tables, Precision precision, size_t n_seeds, Hash* hash);
void test_tiny_dense(const std::vector<const Table*>& tables, size_t n_seeds);
void test_frame_ops(const std::vector<const Table*>& tables, size_t n_seeds, Hash* hash);
void test_row_ops(const std::vector<const Table*>& tables, size_t n_seeds, Hash* hash);
void test_convolutions(const std::vector<const Table*>& tables, size_t n_seeds);
void test_depthwise_int16(const std::vector<const Table*>& tables, size_t n_seeds, Hash* hash);
void test_softmax_edges(const Table& table);

// Written behind what a kernel may write.
constexpr float kCanary = 12345.0f;

inline size_t panels(size_t n) { return (n + kPanel - 1) / kPanel; }
inline size_t padded_to_panels(size_t n) { return panels(n) * kPanel; }

enum Garbage { kZeros, kFinite, kNan, kNumGarbage };

// What padding lanes hold.
inline float garbage(Garbage kind, Random& random) {
  switch (kind) {
    case kFinite:
      return random.unit() * 1e30f;
    case kNan:
      return as_float(0x7fc00000u | static_cast<uint32_t>(random.bits() >> 33));
    default:
      return 0.0f;
  }
}

// `n_rows` rows of `n` random numbers, each padded to a panel.
inline Floats rows(size_t n_rows, size_t n, float scale, Random& values, Garbage kind, Random& junk) {
  Floats out(n_rows * padded_to_panels(n));
  for (size_t i = 0; i < out.size(); ++i) {
    const bool real = i % padded_to_panels(n) < n;
    out[i] = real ? values.unit() * scale : garbage(kind, junk);
  }
  return out;
}

// A matrix as FORMAT.md stores it, [panel][k][gate][16 rows]; with K = 1 also a bias.
inline Floats panel_matrix(size_t n_rows, size_t K, size_t gates, float scale, Random& values, Garbage kind, Random& junk) {
  Floats out(panels(n_rows) * K * gates * kPanel);
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t row = i / (K * gates * kPanel) * kPanel + i % kPanel;
    out[i] = row < n_rows ? values.unit() * scale : garbage(kind, junk);
  }
  return out;
}

// A matrix in any dense precision, likewise. Rows of padding hold garbage, columns of padding zeros.
using Bytes = std::vector<uint8_t>;
Bytes matrix_bytes(Precision precision, size_t M, size_t K, size_t G, Random& values, Garbage kind, Random& junk);

// Among the numbers of x, now and then one that is not ordinary.
inline void spice(Floats* x, size_t n, Random& values) {
  static const float kOdd[] = {
      __builtin_nanf(""), __builtin_inff(), -__builtin_inff(), 1e-40f, -1e-40f, 3e38f, -0.0f, 1e-38f};
  const size_t stride = padded_to_panels(n);
  for (size_t t = 0; t < x->size() / stride; ++t)
    if (values.below(8) == 0) (*x)[t * stride + values.below(n)] = kOdd[values.below(sizeof kOdd / sizeof *kOdd)];
}

// The real lanes of rows, one after the other.
inline void collect(Floats* out, const Floats& padded_rows, size_t n) {
  const size_t stride = padded_to_panels(n);
  for (size_t t = 0; t < padded_rows.size() / stride; ++t)
    for (size_t j = 0; j < n; ++j) out->push_back(padded_rows[t * stride + j]);
}

inline void compare(const char* what, uint64_t seed, const char* isa, const char* variant, const Floats& got,
                    const Floats& expected) {
  CHECK_INT(got.size(), expected.size());
  for (size_t i = 0; i < got.size() && i < expected.size(); ++i)
    if (!same(got[i], expected[i])) {
      CHECK(false, "%s seed %llu on %s (%s): element %zu: expected %a, got %a", what,
            static_cast<unsigned long long>(seed), isa, variant, i, static_cast<double>(expected[i]),
            static_cast<double>(got[i]));
      return;
    }
  ++tally().passed;
}

struct Variant {
  Garbage padding;
  bool one_frame_a_call;
  bool two_halves = false;  // of a timestep: the products with R, then the cell update
  bool one_step = false;    // with the input half, a call for each timestep
  TinyKernel tiny = nullptr;  // with the input half too
};

}  // namespace ut_test

#endif  // UNDERTOW_TESTS_KERNEL_TESTS_H_
