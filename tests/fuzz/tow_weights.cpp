// SPDX-License-Identifier: MIT
#include "tow_weights.h"

#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <functional>

namespace ut_fuzz {

namespace {

constexpr uint64_t kPanel = 16, kBlock = 4;  // rows of a panel, columns of a sparse block

constexpr uint64_t round_up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }
uint64_t panels(const Matrix& m) { return round_up(m.M, kPanel) / kPanel; }

template <class T>
T at(const Data& bytes, uint64_t offset) {
  T t;
  memcpy(&t, bytes.data() + offset, sizeof t);
  return t;
}
template <class T>
void put(Data* bytes, uint64_t offset, T t) {
  memcpy(bytes->data() + offset, &t, sizeof t);
}
template <class T>
void add(Data* bytes, T t) {
  bytes->resize(bytes->size() + sizeof t);
  put(bytes, bytes->size() - sizeof t, t);
}

uint16_t bfloat16(float x) { return static_cast<uint16_t>(ut_test::as_bits(x) >> 16); }
uint8_t int8(Random* random) { return static_cast<uint8_t>(random->below(255) - 127); }
int32_t most_int16(uint64_t K) {  // products of 256 columns, or of K, fit an int32
  const uint64_t n = std::min<uint64_t>(K, 256);
  uint64_t most = 1;
  while (most < 32767 && (most + 1) * (most + 1) * n < uint64_t{1} << 31) ++most;
  return static_cast<int32_t>(most);
}
int16_t int16(int32_t most, Random* random) {
  return static_cast<int16_t>(static_cast<int32_t>(random->below(2 * static_cast<size_t>(most) + 1)) - most);
}
float factor(Random* random) { return ut_test::as_float(static_cast<uint32_t>(127 - random->below(41)) << 23); }
bool is_factor(float x) {
  const uint32_t bits = ut_test::as_bits(x);
  return bits % (1u << 23) == 0 && bits >= 87u << 23 && bits <= 127u << 23;
}
uint8_t two_int4(Random* random) { return static_cast<uint8_t>((1 + random->below(15)) * 16 + 1 + random->below(15)); }
// Normal halves from 2^-5 to nearly 1.
uint16_t half(Random* random) {
  return static_cast<uint16_t>(random->below(2) << 15 | (10 + random->below(5)) << 10 | random->below(1024));
}

// What stands before a matrix: the factors of a smoothed one.
uint64_t before(uint32_t flags, const Matrix& m) { return flags == 0 ? 0 : round_up(m.K, 16) * 4; }

bool has_factors(const Tensor& t) { return may_be_smoothed(t.dtype) && t.flags != 0; }

// Of a dense matrix, factors aside.
uint64_t matrix_bytes(uint32_t dtype, const Matrix& m) {
  const uint64_t width = m.G * kPanel;
  uint64_t panel = m.K * width * element_bytes(dtype);
  if (dtype == kInt8) panel = (round_up(m.K, 4) + 8) * width;
  if (dtype == kInt16) panel = (round_up(m.K, 2) * 2 + 4) * width;
  if (dtype == kFixed8) panel = (m.K + 4) * width;
  if (dtype == kInt4) panel = round_up(m.K, 32) / 2 * width + round_up(round_up(m.K, 32) / 32 * width * 2, 64);
  return panels(m) * panel;
}

struct SparseParts {
  uint64_t n_lists, n_columns, columns, diagonal, scales, blocks, bytes;
};

SparseParts sparse_parts(uint32_t dtype, const Matrix& m, uint64_t n_blocks, bool has_diagonal) {
  const bool integers = dtype == kSparseInt8;
  SparseParts p;
  p.n_lists = panels(m) * m.G;
  p.n_columns = round_up(m.K, kBlock) / kBlock;
  p.columns = round_up(4 * (p.n_lists + 2), 64);
  p.diagonal = p.columns + round_up(4 * n_blocks, 64);
  p.scales = p.diagonal + (has_diagonal ? round_up(p.n_lists * kPanel * (integers ? 1 : 4), 64) : 0);
  p.blocks = p.scales + (integers ? p.n_lists * 128 : 0);
  p.bytes = p.blocks + n_blocks * kPanel * kBlock * (integers ? 1 : 4);
  return p;
}

SparseParts parts_of(const Tensor& t, const Matrix& m) {
  const uint64_t n_lists = panels(m) * m.G;
  return sparse_parts(t.dtype, m, at<uint32_t>(t.bytes, 4 + 4 * n_lists), at<uint32_t>(t.bytes, 0) != 0);
}

bool is_sparse_matrix(const Tensor& t, const Matrix& m) {
  const uint64_t n_lists = panels(m) * m.G;
  if (t.bytes.size() < round_up(4 * (n_lists + 2), 64)) return false;
  const uint32_t flags = at<uint32_t>(t.bytes, 0);
  if (flags > 1 || (flags == 1 && m.M != m.K) || at<uint32_t>(t.bytes, 4) != 0) return false;
  const auto start = [&](uint64_t i) { return at<uint32_t>(t.bytes, 4 + 4 * i); };
  for (uint64_t i = 0; i < n_lists; ++i)
    if (start(i) > start(i + 1) || start(i + 1) - start(i) > round_up(m.K, kBlock) / kBlock) return false;
  const SparseParts p = parts_of(t, m);
  if (t.bytes.size() != p.bytes) return false;
  for (uint64_t i = 0; i < n_lists; ++i)
    for (uint64_t b = start(i); b < start(i + 1); ++b)
      for (uint64_t half = 0; half < 2; ++half) {
        const uint64_t column = at<uint16_t>(t.bytes, p.columns + 4 * b + 2 * half);
        if (column >= p.n_columns) return false;
        if (b != start(i) && column <= at<uint16_t>(t.bytes, p.columns + 4 * b + 2 * half - 4)) return false;
      }
  return true;
}

// Calls visit(q, sum) for the offset of each int8 (of int16 there are no sums) and the 32-bit word of the sum that it counts in: -1, if in none.
void visit_integers(const Tensor& t, const Matrix& m, const std::function<void(uint64_t q, int64_t sum)>& visit) {
  if (t.dtype == kSparseInt8) {
    const SparseParts p = parts_of(t, m);
    for (uint64_t q = p.diagonal; q < p.scales; ++q) visit(q, -1);
    for (uint64_t list = 0; list < p.n_lists; ++list)
      for (uint64_t b = at<uint32_t>(t.bytes, 4 + 4 * list); b < at<uint32_t>(t.bytes, 8 + 4 * list); ++b)
        for (uint64_t i = 0; i < kPanel * kBlock; ++i)
          visit(p.blocks + b * kPanel * kBlock + i,
                static_cast<int64_t>(p.scales / 4 + (p.n_lists + list) * kPanel + i / kBlock));
    return;
  }
  const uint64_t width = m.G * kPanel, quads = round_up(m.K, 4) / 4, panel = (quads * 4 + 8) * width;
  for (uint64_t p = 0; p < panels(m); ++p) {
    const uint64_t start = before(t.flags, m) + p * panel;
    for (uint64_t i = 0; i < quads * 4 * width; ++i)
      visit(start + i, static_cast<int64_t>((start + quads * 4 * width) / 4 + width + i / 4 % width));
  }
}

// The sums that rows have, by the number of the 32-bit word where the tensor says them.
std::vector<int32_t> sums_of(const Tensor& t, const Matrix& m) {
  std::vector<int32_t> sums(t.bytes.size() / 4);
  visit_integers(t, m, [&](uint64_t q, int64_t sum) {
    if (sum >= 0) sums[static_cast<size_t>(sum)] += at<int8_t>(t.bytes, q);
  });
  return sums;
}

// The words of sums: those that some q counts in, and of lists without blocks.
void visit_sums(const Tensor& t, const Matrix& m, const std::function<void(uint64_t word)>& visit) {
  if (t.dtype == kSparseInt8) {
    const SparseParts p = parts_of(t, m);
    for (uint64_t i = 0; i < p.n_lists * kPanel; ++i) visit(p.scales / 4 + p.n_lists * kPanel + i);
    return;
  }
  const uint64_t width = m.G * kPanel, panel = (round_up(m.K, 4) + 8) * width;
  for (uint64_t p = 0; p < panels(m); ++p)
    for (uint64_t i = 0; i < width; ++i) visit((before(t.flags, m) + (p + 1) * panel) / 4 - width + i);
}

// The offset of each number of an int16 matrix.
void visit_int16(const Matrix& m, uint32_t flags, const std::function<void(uint64_t)>& visit) {
  const uint64_t n = round_up(m.K, 2) * m.G * kPanel, panel = matrix_bytes(kInt16, m) / panels(m);
  for (uint64_t p = 0; p < panels(m); ++p)
    for (uint64_t i = 0; i < n; ++i) visit(before(flags, m) + p * panel + 2 * i);
}

// Of each panel of a fixed8 matrix, the offsets of its weights, then of its scales.
void visit_fixed8(const Matrix& m, const std::function<void(uint64_t)>& weight, const std::function<void(uint64_t)>& scale) {
  const uint64_t width = m.G * kPanel, panel = (m.K + 4) * width;
  for (uint64_t p = 0; p < panels(m) * panel; p += panel) {
    for (uint64_t i = 0; i < m.K * width; ++i) weight(p + i);
    for (uint64_t i = 0; i < width; ++i) scale(p + m.K * width + 4 * i);
  }
}
bool is_fixed8_scale(uint32_t bits) {
  return bits == 0 || ((bits & 0x800001ffu) == 0 && bits >= 0x00800000u && bits < 0x7f800000u);
}

Tensor make_sparse(uint32_t dtype, const Matrix& m, Random* random) {
  const bool integers = dtype == kSparseInt8, diagonal = m.M == m.K && one_in(random, 2);
  const uint64_t n_lists = panels(m) * m.G, n_columns = round_up(m.K, kBlock) / kBlock;
  std::vector<uint32_t> starts = {0};
  std::vector<uint16_t> columns[2];
  for (uint64_t i = 0; i < n_lists; ++i) {
    const uint64_t n = std::min<uint64_t>(random->below(one_in(random, 4) ? n_columns + 1 : 4), n_columns);
    for (auto& half : columns) {  // n of the columns, in order
      uint64_t wanted = n;
      for (uint64_t c = 0; c < n_columns && wanted != 0; ++c)
        if (random->below(n_columns - c) < wanted) half.push_back(static_cast<uint16_t>(c)), --wanted;
    }
    starts.push_back(static_cast<uint32_t>(starts.back() + n));
  }
  const SparseParts p = sparse_parts(dtype, m, starts.back(), diagonal);
  Tensor t;
  t.dtype = dtype;
  add<uint32_t>(&t.bytes, diagonal);
  for (const uint32_t start : starts) add(&t.bytes, start);
  t.bytes.resize(p.columns);
  for (size_t b = 0; b < columns[0].size(); ++b)
    for (const auto& half : columns) add(&t.bytes, half[b]);
  t.bytes.resize(p.diagonal);
  if (!integers) {
    add_numbers(&t.bytes, kFloat32, (p.scales - p.diagonal) / 4, random);
    add_numbers(&t.bytes, kFloat32, (p.bytes - p.blocks) / 4, random);
    return t;
  }
  for (uint64_t i = p.diagonal; i < p.scales; ++i) t.bytes.push_back(int8(random));
  add_numbers(&t.bytes, kFloat32, p.n_lists * kPanel, random);
  t.bytes.resize(p.blocks);
  for (uint64_t i = p.blocks; i < p.bytes; ++i) t.bytes.push_back(int8(random));
  mend_integers(&t, m);
  return t;
}

}  // namespace

bool one_in(Random* random, size_t n) { return random->below(n) == 0; }

float odd_number(Random* random) {
  static const uint32_t kOdd[] = {0x00000000, 0x80000000, 0x7fc00000, 0xffc00001, 0x7f800000, 0xff800000, 0x00000001,
                                  0x807fffff, 0x00800000, 0x7f7fffff, 0xff7fffff, 0x3f800000, 0x4b800000, 0x0d800000,
                                  0x33800000, 0x42b17218, 0xc2cff1b5, 0x49800001, 0x4f000000, 0xcf000000};
  const size_t n = sizeof kOdd / sizeof *kOdd, which = random->below(n + 4);
  return ut_test::as_float(which < n ? kOdd[which] : static_cast<uint32_t>(random->bits()));
}

void add_numbers(Data* to, uint32_t dtype, uint64_t n, Random* random) {
  for (uint64_t i = 0; i < n; ++i) switch (dtype) {
      case kFloat16:
        add(to, half(random));
        break;
      case kBfloat16:
        add(to, bfloat16(random->unit()));
        break;
      default:
        add(to, random->unit());
    }
}

bool is_matrix(const Tensor& t, const Matrix& m) {
  if (t.dtype == kInt32 || t.dtype >= kEndOfDtypes) return false;
  if (is_sparse(t.dtype)) return is_sparse_matrix(t, m);
  return t.bytes.size() == (may_be_smoothed(t.dtype) ? before(t.flags, m) : 0) + matrix_bytes(t.dtype, m);
}

Tensor make_matrix(uint32_t dtype, uint32_t flags, const Matrix& m, Random* random) {
  if (is_sparse(dtype)) return make_sparse(dtype, m, random);
  Tensor t;
  t.dtype = dtype;
  t.flags = may_be_smoothed(dtype) && flags != 0;
  for (uint64_t k = 0; t.flags != 0 && k < m.K; ++k) add(&t.bytes, factor(random));
  t.bytes.resize(before(t.flags, m));
  const uint64_t n_bytes = matrix_bytes(dtype, m), width = m.G * kPanel;
  if (dtype < kInt8) {
    add_numbers(&t.bytes, dtype, n_bytes / element_bytes(dtype), random);
    return t;
  }
  for (uint64_t p = 0; p < panels(m); ++p) {
    const uint64_t panel = t.bytes.size(), groups = round_up(m.K, 32) / 32;
    if (dtype == kInt16) {
      const int32_t most = most_int16(m.K);
      for (uint64_t i = 0; i < round_up(m.K, 2) * width; ++i) add(&t.bytes, int16(most, random));
      for (uint64_t i = 0; i < width; ++i) add(&t.bytes, random->unit() * 0.0005f);
      continue;
    }
    if (dtype == kFixed8) {
      for (uint64_t i = 0; i < m.K * width; ++i) t.bytes.push_back(int8(random));
      for (uint64_t i = 0; i < width; ++i) {
        const float scale = (random->unit() + 1) * 0.03125f;
        add(&t.bytes, scale < 0x1p-100f ? 0.0f : ut_test::as_float(ut_test::as_bits(scale) & 0xfffffe00u));
      }
      continue;
    }
    const uint64_t weights = dtype == kInt8 ? round_up(m.K, 4) * width : groups * 16 * width;
    for (uint64_t i = 0; i < weights; ++i) t.bytes.push_back(dtype == kInt8 ? int8(random) : two_int4(random));
    if (dtype == kInt8) {
      for (uint64_t i = 0; i < width; ++i) add(&t.bytes, random->unit() * 0.0625f);
    } else {
      add_numbers(&t.bytes, kFloat16, groups * width, random);
    }
    t.bytes.resize(panel + n_bytes / panels(m));
  }
  if (dtype == kInt8) mend_integers(&t, m);
  return t;
}

uint64_t table_row_bytes(uint32_t dtype, uint64_t width) {
  if (dtype == kInt8) return round_up(width, 4) + 4;
  if (dtype == kInt4) return round_up(round_up(width, 32) / 32 * 18, 4);
  if (dtype == kInt16) return round_up(2 * width, 4) + 4;
  return width * element_bytes(dtype);
}

Tensor make_table(uint32_t dtype, uint64_t rows, uint64_t width, Random* random) {
  Tensor t;
  t.dtype = dtype;
  for (uint64_t r = 0; r < rows; ++r) {
    if (dtype < kInt8) {
      add_numbers(&t.bytes, dtype, width, random);
      continue;
    }
    if (dtype == kInt16) {
      for (uint64_t i = 0; i < round_up(width, 2); ++i) add(&t.bytes, int16(32767, random));
      add(&t.bytes, random->unit() * 0.0005f);
      continue;
    }
    const uint64_t end = t.bytes.size() + table_row_bytes(dtype, width),
                   n = dtype == kInt8 ? width : round_up(width, 32) / 2;
    for (uint64_t i = 0; i < n; ++i) t.bytes.push_back(dtype == kInt8 ? int8(random) : two_int4(random));
    if (dtype == kInt8) {
      t.bytes.resize(end - 4);
      add(&t.bytes, random->unit() * 0.0625f);
    } else {
      add_numbers(&t.bytes, kFloat16, round_up(width, 32) / 32, random);
      t.bytes.resize(end);
    }
  }
  return t;
}

uint64_t list_bytes(const Tensor& t, const Matrix& m) { return parts_of(t, m).diagonal; }

bool integers_hold(const Tensor& t, const Matrix& m) {
  bool hold = true;
  for (uint64_t k = 0; has_factors(t) && k < padded(m.K); ++k)
    hold = hold && (k < m.K ? is_factor(at<float>(t.bytes, 4 * k)) : at<uint32_t>(t.bytes, 4 * k) == 0);
  if (t.dtype == kInt16) {
    const int32_t most = most_int16(m.K);
    visit_int16(m, t.flags, [&](uint64_t q) { hold = hold && std::abs(at<int16_t>(t.bytes, q)) <= most; });
    return hold;
  }
  if (t.dtype == kFixed8) {
    visit_fixed8(m, [&](uint64_t q) { hold = hold && at<int8_t>(t.bytes, q) != -128; },
                 [&](uint64_t s) { hold = hold && is_fixed8_scale(at<uint32_t>(t.bytes, s)); });
    return hold;
  }
  visit_integers(t, m, [&](uint64_t q, int64_t sum) { hold = hold && (sum < 0 || at<int8_t>(t.bytes, q) != -128); });
  const std::vector<int32_t> sums = sums_of(t, m);
  visit_sums(t, m, [&](uint64_t word) { hold = hold && at<int32_t>(t.bytes, 4 * word) == sums[word]; });
  return hold;
}

void mend_integers(Tensor* t, const Matrix& m) {
  for (uint64_t k = 0; has_factors(*t) && k < padded(m.K); ++k)
    if (k >= m.K || !is_factor(at<float>(t->bytes, 4 * k))) put(&t->bytes, 4 * k, k < m.K ? 0.5f : 0.0f);
  if (t->dtype == kInt16) {
    const int32_t most = most_int16(m.K);
    visit_int16(m, t->flags, [&](uint64_t q) {
      const int32_t n = at<int16_t>(t->bytes, q);
      put(&t->bytes, q, static_cast<int16_t>(std::max(-most, std::min(most, n))));
    });
    return;
  }
  if (t->dtype == kFixed8) {
    const auto weight = [&](uint64_t q) {
      if (at<int8_t>(t->bytes, q) == -128) put<int8_t>(&t->bytes, q, -127);
    };
    visit_fixed8(m, weight, [&](uint64_t s) {
      if (!is_fixed8_scale(at<uint32_t>(t->bytes, s))) put(&t->bytes, s, 0.03125f);
    });
    return;
  }
  visit_integers(*t, m, [&](uint64_t q, int64_t) {
    if (at<int8_t>(t->bytes, q) == -128) put<int8_t>(&t->bytes, q, -127);
  });
  const std::vector<int32_t> sums = sums_of(*t, m);
  visit_sums(*t, m, [&](uint64_t word) { put(&t->bytes, 4 * word, sums[word]); });
}

}  // namespace ut_fuzz
