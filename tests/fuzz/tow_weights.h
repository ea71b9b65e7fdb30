// SPDX-License-Identifier: MIT
// Weights as csrc/FORMAT.md stores them ("Weights", "Precisions", "Sparse"): sizes, numbers of every precision, and
// whether integers are what the format says they are.
#ifndef UNDERTOW_TESTS_FUZZ_TOW_WEIGHTS_H_
#define UNDERTOW_TESTS_FUZZ_TOW_WEIGHTS_H_

#include "numbers.h"
#include "tow_file.h"

namespace ut_fuzz {

using ut_test::Random;

// M rows, K columns, G gates; `slot`: which of the node's tensors.
struct Matrix {
  uint32_t slot;
  uint64_t M, K, G;
};

bool one_in(Random* random, size_t n);

// NaN, infinity, zeros, subnormals, the largest and smallest numbers, or some bits.
float odd_number(Random* random);

// n numbers of one of the four precisions that hold them one by one, in [-1, 1).
void add_numbers(Data* to, uint32_t dtype, uint64_t n, Random* random);

// Whether a tensor has the size of that matrix, and, where it is sparse, lists that can be walked.
bool is_matrix(const Tensor& t, const Matrix& m);
Tensor make_matrix(uint32_t dtype, uint32_t flags, const Matrix& m, Random* random);

// Bytes at the start of a sparse matrix that say where its blocks are.
uint64_t list_bytes(const Tensor& t, const Matrix& m);

uint64_t table_row_bytes(uint32_t dtype, uint64_t width);
Tensor make_table(uint32_t dtype, uint64_t rows, uint64_t width, Random* random);

// Of a tensor that is_matrix, and has_integers: whether q of rows is in the range of its dtype, each sum that of its row,
// and each factor a power of two from 2^-40 to 1, with zeros behind them; and to make it so, of a diagonal too.
bool integers_hold(const Tensor& t, const Matrix& m);
void mend_integers(Tensor* t, const Matrix& m);

}  // namespace ut_fuzz

#endif  // UNDERTOW_TESTS_FUZZ_TOW_WEIGHTS_H_
