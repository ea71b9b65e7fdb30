// SPDX-License-Identifier: MIT
// Checks of matrices and tables: their sizes, the lists of sparse ones, and what kernels assume of integers.

#include "op.h"

namespace undertow {

namespace {

// The precision that a tensor's dtype stands for; kNumPrecisions for int32.
uint32_t precision_of(uint32_t dtype) {
  return dtype == kTensorFloat32 ? kFloat32 : dtype == kTensorInt32 ? kNumPrecisions : dtype - kTensorFloat16 + kFloat16;
}

// Sums of four neighbouring int8 each, and whether one of them was -128, over `n` rows of `width` 32-bit words.
class QuadSums {
 public:
  static constexpr size_t kMost = 4 * kPanel;  // words of a row

  explicit QuadSums(size_t width) : width_(width) {
    memset(sums_, 0, sizeof sums_);
    memset(some_, 0, sizeof some_);
  }

  // Bytes are taken as q + 128, in 16-bit halves of words: two of them, 128 times, fit one.
  void add(const uint8_t* row) {
    for (size_t i = 0; i < width_; ++i) {
      uint32_t word;
      memcpy(&word, row + 4 * i, sizeof word);
      word ^= 0x80808080u;
      lowest_ |= (word - 0x01010101u) & ~word & 0x80808080u;  // not 0: some byte was
      some_[i] += (word & 0x00ff00ffu) + (word >> 8 & 0x00ff00ffu);
    }
    if (++n_ % 128 == 0) flush();
  }

  bool lowest() const { return lowest_ != 0; }
  bool equal(const int32_t* stored) {
    flush();
    for (size_t i = 0; i < width_; ++i) {
      int32_t sum;
      memcpy(&sum, stored + i, sizeof sum);
      if (int64_t{sums_[i]} - int64_t{512} * static_cast<int64_t>(n_) != sum) return false;
    }
    return true;
  }

 private:
  void flush() {
    for (size_t i = 0; i < width_; ++i) {
      sums_[i] += (some_[i] & 0xffffu) + (some_[i] >> 16);
      some_[i] = 0;
    }
  }

  size_t width_, n_ = 0;
  uint32_t sums_[kMost], some_[kMost], lowest_ = 0;
};

}  // namespace

void Check::matrix(uint32_t i, size_t M, size_t K, size_t G, bool optional) {
  if (!has_weight(i)) {
    require(optional, "a weight is missing");
    return;
  }
  const TensorView t = file_.tensor(node_.tensors[i]);
  const uint32_t precision = precision_of(t.dtype);
  require(precision < kNumPrecisions, "a matrix has the wrong dtype");
  require(precision != kFixed8 || plan_->type->cell, "a matrix that belongs to no recurrent layer is fixed8");
  const bool bounded = is_integer(precision) || is_sparse(precision);
  require(!bounded || K <= kMaxIntegerColumns, "a matrix of integers, or a sparse one, has more than 131072 columns");
  if (status_ != UT_OK) return;
  plan_->weights[i] = t.data;
  plan_->precisions[i] = static_cast<uint8_t>(precision);
  plan_->scaling[i] = {nullptr, static_cast<float>(integer_limit(precision, K)), 0.0f, false};
  plan_->matrix_bytes += t.n * element_bytes(t.dtype);
  plan_->read_bytes += t.n * element_bytes(t.dtype);
  if (is_sparse(precision)) {
    plan_->whole_matrices = true;
    plan_->weights[i] = sparse(t, precision, M, K, G);
    return;
  }
  plan_->multiply_adds += uint64_t{M} * K * G;
  const size_t n_panels = padded(M) / kPanel, before = t.flags & kTensorSmoothed ? factors_bytes(K) : 0;
  const uint64_t expected = elements_in(before + uint64_t{n_panels} * panel_bytes(precision, K, G), t.dtype);
  if (t.n != expected) return fail("a weight has the wrong number of elements", ": ", t.n, expected);
  const uint8_t* bytes = static_cast<const uint8_t*>(t.data);
  plan_->weights[i] = bytes + before;
  if (before) plan_->scaling[i].factors = static_cast<const float*>(t.data);
  if (keep_) return;
  if (before) factors(node_.tensors[i], static_cast<const float*>(t.data), K);
  if (precision == kInt8 || precision == kInt16 || precision == kFixed8) integers(bytes + before, precision, n_panels, K, G);
}

void Check::alike(uint32_t i, uint32_t j, size_t K, const char* names) {
  if (status_ != UT_OK) return;
  const float *one = plan_->scaling[i].factors, *other = plan_->scaling[j].factors;
  if (plan_->precisions[i] != plan_->precisions[j])
    status_ = refusal() << names << " differ in precision";
  else if (!one != !other || (one && !keep_ && memcmp(one, other, K * sizeof(float)) != 0))
    status_ = refusal() << names << " differ in their factors";
}

void Check::filters(uint32_t i, size_t n_taps, size_t n_channels) {
  if (!has_weight(i) || file_.tensor(node_.tensors[i]).dtype != kTensorInt16) {
    weight(i, uint64_t{n_taps} * padded(n_channels));
    return;
  }
  require(file_.tensor(node_.tensors[i]).flags == 0, "filters of a depthwise layer are smoothed");
  matrix(i, n_channels, n_taps, 1);
  plan_->matrix_bytes = 0;  // a team's workers do not share them
}

// Every number that a kernel uses to find its way: starts, columns, and the size that follows from them. Each is read once,
// for the file may change meanwhile.
const void* Check::sparse(const TensorView& t, uint32_t precision, uint64_t M, uint64_t K, uint64_t G) {
  const uint64_t n_lists = (M + kPanel - 1) / kPanel * G, n_columns = (K + kSparseBlock - 1) / kSparseBlock;
  const uint64_t starts_bytes = sparse_starts_bytes(n_lists);
  if (t.n < starts_bytes) {
    fail("a sparse weight is too short for its lists", ": ", t.n, starts_bytes);
    return nullptr;
  }
  const uint8_t* lists = static_cast<const uint8_t*>(list(t.data, static_cast<size_t>(starts_bytes)));
  const uint32_t* words = reinterpret_cast<const uint32_t*>(lists);
  const uint32_t flags = words[0], *starts = words + 1;
  const uint64_t n_blocks = starts[n_lists];
  require((flags & ~kSparseDiagonal) == 0, "a sparse weight has unknown flags");
  require(flags == 0 || M == K, "a sparse weight that is not square has a diagonal");
  require(starts[0] == 0, "the first list of a sparse weight does not start at 0");
  const SparseLayout layout = sparse_layout(precision, n_lists, n_blocks, flags);
  if (status_ == UT_OK && t.n != layout.bytes) fail("a sparse weight has the wrong number of bytes", ": ", t.n, layout.bytes);
  if (status_ != UT_OK) return nullptr;
  const size_t columns_bytes = static_cast<size_t>(layout.diagonal - layout.columns);
  const uint16_t* columns =
      static_cast<const uint16_t*>(list(static_cast<const uint8_t*>(t.data) + layout.columns, columns_bytes));
  uint64_t begin = 0;
  for (uint64_t i = 0; i < n_lists && status_ == UT_OK; ++i) {
    const uint64_t end = starts[i + 1];
    require(begin <= end && end <= n_blocks && end - begin <= n_columns,
            "a list of a sparse weight is longer than a row, or its lists are out of order");
    for (uint64_t half = 0; half < 2 && status_ == UT_OK; ++half) {
      uint64_t least = 0;
      for (uint64_t b = begin; b < end; ++b) {
        const uint64_t column = columns[2 * b + half];
        require(column < n_columns && column >= least, "columns of a sparse weight are out of order, or beyond its last");
        least = column + 1;
      }
    }
    begin = end;
  }
  plan_->multiply_adds += n_blocks * kPanel * kSparseBlock;
  plan_->view_bytes += round_up(sizeof(SparseMatrix), UT_ALIGN);
  if (status_ != UT_OK) return nullptr;
  if (!keep_) {
    const SparseMatrix matrix = sparse_matrix(precision, lists, t.data, n_lists);
    if (precision == kSparseInt8) sparse_integers(matrix, static_cast<size_t>(n_lists), static_cast<size_t>(n_blocks));
    return t.data;
  }
  if (static_cast<size_t>(keep_->end - keep_->at) < sizeof(SparseMatrix)) {
    fail("the file changes while it is loaded");
    return nullptr;
  }
  SparseMatrix* matrix = new (keep_->at) SparseMatrix(sparse_matrix(precision, lists, t.data, n_lists));
  keep_->at += round_up(sizeof(SparseMatrix), UT_ALIGN);
  return matrix;
}

size_t Check::table(uint32_t i, size_t width) {
  if (!has_weight(i)) {
    fail("a weight is missing");
    return 1;
  }
  const TensorView t = file_.tensor(node_.tensors[i]);
  const uint32_t precision = precision_of(t.dtype);
  require(precision < kNumPrecisions && !is_sparse(precision) && precision != kFixed8 && t.flags == 0,
          "a table has the wrong dtype, or flags");
  if (status_ != UT_OK) return 1;
  const size_t bytes = static_cast<size_t>(t.n * element_bytes(t.dtype)), row = table_row_bytes(precision, width);
  require(bytes != 0 && bytes % row == 0 && bytes / row <= kMaxFrame, "a table is not a whole number of rows, or has too many");
  plan_->weights[i] = t.data;
  plan_->precisions[i] = static_cast<uint8_t>(precision);
  return static_cast<size_t>(bytes / row);
}

// Powers of two, so that weights times factors are what float32 ones were; none above 1, so that no frame overflows. Behind
// them zeros: vectors that are wider than what is left of a frame are multiplied by these too.
void Check::factors(uint32_t tensor, const float* factors, size_t K) {
  for (size_t k = 0; k < padded(K) && status_ == UT_OK; ++k) {
    uint32_t bits;
    memcpy(&bits, factors + k, sizeof bits);
    const bool is_power = (bits & 0x807fffffu) == 0 && bits <= 127u << 23 && bits >= (127u - kMostSmoothed) << 23;
    if (k < K ? is_power : bits == 0) continue;
    status_ = refusal() << "tensor " << tensor << " has a factor for column " << uint64_t{k}
                        << (k < K ? " that is no power of two from 2^-40 to 1" : " that is not 0, and no such column");
  }
}

// Of int8, kernels negate weights, which -128 has no room for; and those of unsigned bytes are out by 128 times the sum. Of
// int16 and fixed8, products must fit their sum; a scale of fixed8 must be 15 bits times a power of two.
void Check::integers(const uint8_t* p, uint32_t precision, size_t n_panels, size_t K, size_t G) {
  if (precision == kInt16) {
    const int limit = integer_limit(kInt16, K);
    const size_t n = round_up(K, 2) * G * kPanel;
    for (size_t panel = 0; panel < n_panels; ++panel, p += panel_bytes(kInt16, K, G)) {
      const int16_t* q = reinterpret_cast<const int16_t*>(p);
      int least = 0, most = 0;
      for (size_t i = 0; i < n; ++i) {
        least = q[i] < least ? q[i] : least;
        most = q[i] > most ? q[i] : most;
      }
      require(most <= limit && least >= -limit, "an int16 weight is larger than its number of columns allows");
    }
    return;
  }
  if (precision == kFixed8) {
    const size_t n = K * G * kPanel;
    for (size_t panel = 0; panel < n_panels; ++panel, p += panel_bytes(kFixed8, K, G)) {
      bool lowest = false, all_scales = true;
      for (size_t i = 0; i < n; ++i) lowest |= p[i] == 0x80;
      for (size_t i = 0; i < G * kPanel; ++i) {
        uint32_t bits;
        memcpy(&bits, p + n + 4 * i, sizeof bits);
        all_scales &= bits == 0 || ((bits & 0x800001ffu) == 0 && bits >= 0x00800000u && bits < 0x7f800000u);
      }
      require(!lowest, "a fixed8 weight is -128, below -127");
      require(all_scales, "a scale of fixed8 is not 0, nor a normal positive number of 15 bits");
    }
    return;
  }
  const size_t n_quads = (K + 3) / 4, row = 4 * G * kPanel;
  for (size_t panel = 0; panel < n_panels; ++panel, p += panel_bytes(kInt8, K, G)) {
    QuadSums sums(G * kPanel);
    for (size_t k = 0; k < n_quads; ++k) sums.add(p + k * row);
    require(!sums.lowest(), "an int8 weight is -128, below -127");
    require(sums.equal(reinterpret_cast<const int32_t*>(p + (n_quads + 1) * row)), "the sum of a row of int8 weights is not the one stored");
  }
}

// Lists were checked, but are read again.
void Check::sparse_integers(const SparseMatrix& lists, size_t n_lists, size_t n_blocks) {
  size_t b = 0;
  for (size_t i = 0; i < n_lists && status_ == UT_OK; ++i) {
    QuadSums sums(kPanel);
    for (const size_t end = lists.starts[i + 1]; b < end && b < n_blocks; ++b)
      sums.add(lists.blocks + b * sparse_block_bytes(kSparseInt8));
    require(!sums.lowest(), "an int8 weight is -128, below -127");
    require(sums.equal(lists.sums + i * kPanel), "the sum of a row of int8 weights is not the one stored");
  }
}

}  // namespace undertow
