// SPDX-License-Identifier: MIT
// Every kernel of every instruction set against scalar, to the bit, at random sizes and options:
//   - garbage (finite, then NaN) in every padding lane of inputs, weights, states and scratch reaches no real lane;
//   - T frames in one call equal T calls with one frame; time runs both ways;
//   - NaN, infinities, subnormals and huge numbers among the inputs.
//     test_kernels [--quick] [--golden FILE]
#include <vector>

#include "check.h"
#include "golden.h"
#include "isas.h"
#include "kernel_tests.h"
#include "numbers.h"

using namespace ut_test;

int main(int argc, char** argv) {
  bool quick = false;
  const char* golden = nullptr;
  for (int i = 1; i < argc; ++i) {
    if (!strcmp(argv[i], "--quick")) quick = true;
    if (!strcmp(argv[i], "--golden") && i + 1 < argc) golden = argv[++i];
  }
  const std::vector<const Table*> tables = runnable_tables();
  Hash hash, sparse, by_row, int16, depthwise_int16, ignored;
  test_cells(tables, 40, &hash);
  for (uint32_t p = 0; p < kFixed8; ++p)  // whose products are no numbers: tests/test_fixed.py
    test_dense(tables, static_cast<Precision>(p), 20, p == kInt16 ? &int16 : is_sparse(p) ? &sparse : &hash);
  test_frame_ops(tables, 60, &hash);
  test_row_ops(tables, 60, &by_row);
  test_tiny_cells(tables, quick ? 10 : 100);
  test_tiny_dense(tables, 10);
  test_convolutions(tables, 200);
  test_depthwise_int16(tables, 60, &depthwise_int16);
  if (!quick) {
    test_cells(tables, 300, &ignored);
    for (uint32_t p = 0; p < kFixed8; ++p) test_dense(tables, static_cast<Precision>(p), 100, &ignored);
    test_frame_ops(tables, 1000, &ignored);
    test_row_ops(tables, 1000, &ignored);
    test_convolutions(tables, 1000);
    test_depthwise_int16(tables, 300, &ignored);
  }
  for (const Table* table : tables) test_softmax_edges(*table);
  if (golden) {
    check_golden(golden, "test_kernels", hash.value());
    check_golden(golden, "test_kernels_sparse", sparse.value());
    check_golden(golden, "test_kernels_int16", int16.value());
    check_golden(golden, "test_kernels_rows", by_row.value());
    check_golden(golden, "test_kernels_depthwise_int16", depthwise_int16.value());
  }
  return report("test_kernels");
}
