// SPDX-License-Identifier: MIT
// Matrix products in every precision, dense and in blocks. See test_kernels.cpp.
#include "kernel_tests.h"

namespace ut_test {

namespace {

template <class Number>
void put(uint8_t* to, Number number) {
  memcpy(to, &number, sizeof number);
}

}  // namespace

Bytes matrix_bytes(Precision precision, size_t M, size_t K, size_t G, Random& values, Garbage kind, Random& junk) {
  Bytes out(panels(M) * panel_bytes(precision, K, G));
  const size_t width = G * kPanel;
  const int limit = integer_limit(kInt16, K);
  for (size_t p = 0; p < panels(M); ++p) {
    uint8_t* panel = out.data() + p * panel_bytes(precision, K, G);
    for (size_t j = 0; j < width; ++j) {
      const bool real = p * kPanel + j % kPanel < M;
      const size_t gate = j / kPanel, lane = j % kPanel;
      const auto number = [&] { return real ? values.unit() : garbage(kind, junk); };
      const auto half_bits = [&] {  // subnormal ones and both signs among them
        const uint16_t bits = static_cast<uint16_t>(values.below(0x4000) | values.below(2) << 15);
        return real || kind == kZeros ? bits : static_cast<uint16_t>(junk.bits());
      };
      int32_t sum = 0;
      for (size_t k = 0; k < K; ++k) {
        const int q8 = static_cast<int>(values.below(255)) - 127, q4 = static_cast<int>(values.below(15)) - 7;
        const auto q16 = [&] { return static_cast<int>(values.below(2 * static_cast<size_t>(limit) + 1)) - limit; };
        switch (precision) {
          case kFloat32: put(panel + 4 * (k * width + j), number()); break;
          case kFloat16: put(panel + 2 * (k * width + j), half_bits()); break;
          case kBfloat16: put(panel + 2 * (k * width + j), static_cast<uint16_t>(as_bits(number()) >> 16)); break;
          case kInt16: put(panel + (k / 2 * width + j) * 4 + k % 2 * 2, static_cast<int16_t>(q16())); break;
          case kInt8: put(panel + (k / 4 * width + j) * 4 + k % 4, static_cast<int8_t>(q8)); break;
          default: {
            const size_t g = k / kGroup, in = k % kGroup;
            uint8_t& byte = panel[(((g * G + gate) * 4 + in / 8) * kPanel + lane) * 4 + in % 4];
            byte = static_cast<uint8_t>(byte | (q4 + 8) << (in % 8 >= 4 ? 4 : 0));
          }
        }
        sum += q8;
      }
      if (precision == kInt8) {
        uint8_t* behind = panel + round_up(K, 4) * width;
        put(behind + 4 * j, real ? 0.001f * (1.0f + values.unit()) : garbage(kind, junk));
        put(behind + 4 * (width + j), sum);
      }
      if (precision == kInt16)
        put(panel + round_up(K, 2) * 2 * width + 4 * j, real ? 0.001f * (1.0f + values.unit()) : garbage(kind, junk));
      if (precision == kInt4) {
        const size_t n_groups = round_up(K, kGroup) / kGroup;
        for (size_t k = K; k < n_groups * kGroup; ++k) {  // q = 0
          const size_t g = k / kGroup, in = k % kGroup;
          uint8_t& byte = panel[(((g * G + gate) * 4 + in / 8) * kPanel + lane) * 4 + in % 4];
          byte = static_cast<uint8_t>(byte | 8 << (in % 8 >= 4 ? 4 : 0));
        }
        for (size_t g = 0; g < n_groups; ++g) put(panel + n_groups * G * 256 + 2 * (g * width + j), half_bits());
      }
    }
  }
  return out;
}

namespace {

// Half of the columns of 8 rows, ascending, of `n`.
std::vector<uint16_t> some_columns(size_t n, size_t n_columns, Random& values) {
  std::vector<uint16_t> out;
  for (size_t column = 0; out.size() < n; ++column)
    if (values.below(n_columns - column) < n - out.size()) out.push_back(static_cast<uint16_t>(column));
  return out;
}

// Lists of any length, from none to every block; zeros where a block reaches beyond K, as in a file.
Bytes sparse_bytes(Precision precision, size_t M, size_t K, size_t G, Random& values, Garbage kind, Random& junk) {
  const bool integers = precision == kSparseInt8;
  const size_t n_lists = panels(M) * G, n_columns = (K + 3) / 4;
  const uint32_t flags = M == K ? static_cast<uint32_t>(values.below(2)) : 0;
  std::vector<uint32_t> head = {flags, 0};
  for (size_t i = 0; i < n_lists; ++i) {
    const size_t most = values.below(4);
    head.push_back(head.back() + static_cast<uint32_t>(most == 0 ? 0 : most == 1 ? n_columns : values.below(n_columns + 1)));
  }
  const SparseLayout at = sparse_layout(precision, n_lists, head.back(), flags);
  Bytes out(at.bytes);
  memcpy(out.data(), head.data(), 4 * head.size());
  for (size_t list = 0; list < n_lists; ++list) {
    const size_t n = head[list + 2] - head[list + 1];
    const std::vector<uint16_t> columns[] = {some_columns(n, n_columns, values), some_columns(n, n_columns, values)};
    int32_t sums[kPanel] = {};
    for (size_t b = 0; b < n; ++b)
      for (size_t half = 0; half < 2; ++half) {
        put(&out[at.columns + 4 * (head[list + 1] + b) + 2 * half], columns[half][b]);
        uint8_t* block = &out[at.blocks + (head[list + 1] + b) * sparse_block_bytes(precision)];
        for (size_t lane = 8 * half; lane < 8 * half + 8; ++lane)
          for (size_t i = 0; i < 4; ++i) {
            if (4 * columns[half][b] + i >= K) continue;
            const bool real = list / G * kPanel + lane < M;
            const int8_t q = static_cast<int8_t>(static_cast<int>(values.below(255)) - 127);
            const float w = real ? values.unit() : garbage(kind, junk);
            sums[lane] += q;
            if (integers)
              put(block + 4 * lane + i, q);
            else
              put(block + 4 * (i * kPanel + lane), w);
          }
      }
    for (size_t lane = 0; lane < kPanel; ++lane) {
      const bool real = list / G * kPanel + lane < M;
      const int8_t q = static_cast<int8_t>(static_cast<int>(values.below(255)) - 127);
      const float d = real ? values.unit() : garbage(kind, junk);
      const size_t j = list * kPanel + lane;
      if (flags && integers) put(&out[at.diagonal + j], q);
      if (flags && !integers) put(&out[at.diagonal + 4 * j], d);
      if (!integers) continue;
      put(&out[at.scales + 4 * j], real ? 0.001f * (1.0f + values.unit()) : garbage(kind, junk));
      put(&out[at.scales + 4 * (n_lists * kPanel + j)], sums[lane]);
    }
  }
  return out;
}

size_t list_bytes(Precision precision, const Bytes& W, size_t M, size_t G) {
  const size_t n_lists = panels(M) * G;
  uint32_t flags, n_blocks;
  memcpy(&flags, W.data(), 4);
  memcpy(&n_blocks, W.data() + 4 * (1 + n_lists), 4);
  return sparse_layout(precision, n_lists, n_blocks, flags).diagonal;
}

Floats run_dense(const Table& table, Precision precision, size_t G, size_t M, size_t K, size_t T, uint64_t seed,
                 Variant variant) {
  Random values(seed), junk(seed + 1);
  Floats x = rows(T, K, 2, values, variant.padding, junk);
  if (seed % 4 == 0) spice(&x, K, values);
  if (seed % 7 == 0) std::fill(x.begin(), x.begin() + static_cast<ptrdiff_t>(padded_to_panels(K)), 0.0f);  // silence
  const auto make = is_sparse(precision) ? sparse_bytes : matrix_bytes;
  const Bytes W = make(precision, M, K, G, values, variant.padding, junk);
  const bool in_blocks = is_sparse(precision);
  // Lists apart from the rest, as a model has them of a file that may change.
  const Bytes lists(W.begin(), W.begin() + static_cast<ptrdiff_t>(in_blocks ? list_bytes(precision, W, M, G) : 0));
  const SparseMatrix matrix = in_blocks ? sparse_matrix(precision, lists.data(), W.data(), panels(M) * G) : SparseMatrix{};
  const Floats b = panel_matrix(M, 1, G, 1, values, variant.padding, junk);
  Floats factors(padded_to_panels(K));
  for (float& factor : factors) factor = 1.0f / static_cast<float>(1u << values.below(9));
  const bool is_smoothed = may_be_smoothed(precision) && seed % 2 == 0 && seed >= (precision == kInt8 ? 20 : 0);  // goldens are older
  const Scaling scaling = {is_smoothed ? factors.data() : nullptr, static_cast<float>(integer_limit(precision, K)), 0.0f,
                           false};
  Floats quantized(T * quantized_floats(precision, K) + kPanel, kCanary);
  const size_t width = G * padded_to_panels(M), stride = width + kPanel;
  Floats y(T * stride, kCanary);
  const FloatMode mode;
  const size_t block = variant.one_frame_a_call ? 1 : T;
  for (size_t t = 0; t < T; t += block)
    table.products[precision]->dense[G]({y.data() + t * stride, stride, x.data() + t * padded_to_panels(K), padded_to_panels(K),
                               in_blocks ? static_cast<const void*>(&matrix) : W.data(), seed % 3 ? b.data() : nullptr, panels(M), K,
                               quantized.data() + t * quantized_floats(precision, K), 0, scaling},
                              block);
  for (size_t i = quantized.size() - kPanel; i < quantized.size(); ++i)
    CHECK(quantized[i] == kCanary, "dense<%zu> seed %llu on %s wrote behind its quantised frames", G,
          static_cast<unsigned long long>(seed), table.name);
  Floats out;
  for (size_t t = 0; t < T; ++t)
    for (size_t j = 0; j < stride; ++j) {
      const size_t row = j / (G * kPanel) * kPanel + j % kPanel;
      if (j >= width)
        CHECK(y[t * stride + j] == kCanary, "dense<%zu> seed %llu on %s wrote behind its row", G,
              static_cast<unsigned long long>(seed), table.name);
      else if (row < M)
        out.push_back(y[t * stride + j]);
    }
  return out;
}

}  // namespace

void test_dense(const std::vector<const Table*>& tables, Precision precision, size_t n_seeds, Hash* hash) {
  static const char* const kNames[] = {"dense float32", "dense float16", "dense bfloat16", "dense int8", "dense int4",
                                       "sparse float32", "sparse int8", "dense int16"};
  for (size_t G = 1; G <= 4; ++G)
    for (uint64_t seed = 0; seed < n_seeds; ++seed) {
      Random random(seed * 4 + G);
      const size_t most_columns = precision == kInt16 && seed % 5 == 4 ? 900 : 90;
      const size_t M = 1 + random.below(180), some = 1 + random.below(most_columns), T = 1 + random.below(60);
      const bool square = is_sparse(precision) && seed % 3 == 0;  // only then may there be a diagonal
      const size_t K = square ? M : some;
      const Floats expected = run_dense(*tables.back(), precision, G, M, K, T, seed, {kZeros, false});
      hash->add(expected.data(), expected.size());
      for (const Table* table : tables)
        for (int g = 0; g < kNumGarbage; ++g) {
          compare(kNames[precision], seed, table->name, "a block",
                  run_dense(*table, precision, G, M, K, T, seed, {static_cast<Garbage>(g), false}), expected);
          compare(kNames[precision], seed, table->name, "one frame a call",
                  run_dense(*table, precision, G, M, K, T, seed, {static_cast<Garbage>(g), true}), expected);
        }
    }
}

void test_tiny_dense(const std::vector<const Table*>& tables, size_t n_seeds) {
  for (uint64_t seed = 0; seed < n_seeds; ++seed)
    for (size_t M = 1; M <= kPanel; ++M) {
      Random values(seed * kPanel + M), junk(seed);
      const size_t K = 1 + values.below(40);
      const Floats W = panel_matrix(M, K, 1, 1, values, kNan, junk), b = panel_matrix(M, 1, 1, 1, values, kNan, junk);
      Floats x = rows(1, K, 1, values, kNan, junk), expected(kPanel);
      spice(&x, K, values);
      const FloatMode mode;
      const float* bias = seed % 2 ? b.data() : nullptr;
      tables.back()->products[kFloat32]->dense[1]({expected.data(), kPanel, x.data(), 0, W.data(), bias, 1, K, nullptr}, 1);
      expected.resize(M);
      for (const Table* table : tables)
        for (const TinyKernels* kernels : table->tiny) {
          if (!kernels->dense) continue;  // in small code
          Floats y(kPanel + 1, kCanary);
          kernels->dense(y.data(), x.data(), W.data(), bias, K, M);
          CHECK(y[kPanel] == kCanary, "%s: a tiny dense layer writes behind its panel", table->name);
          y.resize(M);
          compare("dense float32", seed, table->name, "tiny", y, expected);
        }
    }
}

}  // namespace ut_test
