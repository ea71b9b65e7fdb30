// SPDX-License-Identifier: MIT
// Ops on frames: elementwise ones, softmax, norms, and those of several axes. See test_kernels.cpp.
#include "kernel_tests.h"

namespace ut_test {

namespace {

enum FrameOp { kActivate, kBinaryOp, kAffineOp, kSoftmaxOp, kLogSoftmaxOp, kLayerNormOp, kNumFrameOps };
const char* const kFrameOpNames[] = {"activation", "binary", "affine", "softmax", "log_softmax", "layer_norm"};

Floats run_frame_op(const Table& table, FrameOp op, size_t n, uint64_t seed, Garbage g) {
  Random values(seed), junk(seed + 1);
  Floats x = rows(1, n, 6, values, g, junk), u = rows(1, n, 2, values, g, junk);
  const Floats v = rows(1, n, 2, values, g, junk);
  if (seed % 3 == 0) spice(&x, n, values);
  if (seed % 5 == 0) spice(&u, n, values);
  Floats y(padded_to_panels(n) + kPanel, kCanary);
  const bool exact = op >= kSoftmaxOp;  // touches n floats and no more
  const FloatMode mode;
  const size_t padded = padded_to_panels(n);
  switch (op) {
    case kActivate:
      table.frames->activation(y.data(), x.data(), padded,
                       {static_cast<uint32_t>(seed) % kNumActs, values.unit(), values.unit() + 1});
      break;
    case kBinaryOp:
      table.frames->binary[seed % kNumBinaries](y.data(), x.data(), u.data(), padded);
      break;
    case kAffineOp:
      table.frames->affine(y.data(), x.data(), u.data(), v.data(), padded);
      break;
    case kSoftmaxOp:
      table.frames->softmax(y.data(), x.data(), n, false);
      break;
    case kLogSoftmaxOp:
      table.frames->softmax(y.data(), x.data(), n, true);
      break;
    default:
      table.frames->layer_norm(y.data(), x.data(), seed % 2 ? u.data() : nullptr, seed % 4 < 2 ? v.data() : nullptr, n, 1e-5f);
      break;
  }
  for (size_t i = exact ? n : padded; i < y.size(); ++i)
    CHECK(y[i] == kCanary, "%s seed %llu on %s wrote element %zu of %zu", kFrameOpNames[op],
          static_cast<unsigned long long>(seed), table.name, i, n);
  y.resize(n);
  return y;
}

}  // namespace

void test_frame_ops(const std::vector<const Table*>& tables, size_t n_seeds, Hash* hash) {
  for (int kind = 0; kind < kNumFrameOps; ++kind)
    for (uint64_t seed = 0; seed < n_seeds; ++seed) {
      const FrameOp op = static_cast<FrameOp>(kind);
      const size_t n = 1 + Random(seed + 99).below(seed % 2 ? 20 : 200);
      const Floats expected = run_frame_op(*tables.back(), op, n, seed, kZeros);
      hash->add(expected.data(), expected.size());
      for (const Table* table : tables)
        for (int g = 0; g < kNumGarbage; ++g)
          compare(kFrameOpNames[op], seed, table->name, "garbage in padding",
                  run_frame_op(*table, op, n, seed, static_cast<Garbage>(g)), expected);
    }
}

namespace {

// Frames of several axes: rows without padding, and nothing touched beside them.

enum RowOp { kReduceOp, kDepthwiseOp, kMatmulOp, kWhereOp, kNumRowOps, kDepthwiseInt16Op = kNumRowOps };
const char* const kRowOpNames[] = {"reduce", "depthwise", "matmul", "where", "depthwise in int16"};

Floats some_numbers(size_t n, uint64_t seed, Random& values) {
  Floats out(n);
  for (float& v : out) v = values.unit() * 2;
  for (size_t i = 0; seed % 3 == 0 && i < 1 + n / 16; ++i) {
    static const float kOdd[] = {__builtin_nanf(""), __builtin_inff(), -__builtin_inff(), 1e-40f, 0.0f, -0.0f, 3e38f};
    out[values.below(n)] = kOdd[values.below(sizeof kOdd / sizeof *kOdd)];
  }
  return out;
}

// `apart`: one row a call, which must give the same bits.
Floats run_row_op(const Table& table, RowOp op, uint64_t seed, Garbage g, bool apart) {
  Random values(seed), junk(seed + 1);
  static const size_t kSizes[] = {1, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64};
  const auto size = [&] { return kSizes[values.below(sizeof kSizes / sizeof *kSizes)]; };
  const size_t A = size(), few = size(), B = size();
  const size_t N = op == kDepthwiseInt16Op && seed % 9 == 8 ? kStretch * (1 + seed % 2) + few % 3 : few;
  const FloatMode mode;
  size_t n = A * B;
  Floats y(n + kPanel, kCanary);
  const Floats x = some_numbers(A * N * B, seed, values);
  switch (op) {
    case kReduceOp:
      for (size_t a = 0; a < (apart ? A : 1); ++a)
        table.frames->reduce[seed % kNumReduces](y.data() + a * B, x.data() + a * N * B, apart ? 1 : A, N, B);
      break;
    case kDepthwiseOp: {
      const Floats W = rows(N, B, 1, values, g, junk), b = rows(1, B, 1, values, g, junk);
      for (size_t a = 0; a < (apart ? A : 1); ++a)
        table.frames->depthwise({y.data() + a * B, x.data() + a * N * B, W.data(), seed % 2 ? b.data() : nullptr, apart ? 1 : A, N, B});
      break;
    }
    case kDepthwiseInt16Op: {
      const Bytes W = matrix_bytes(kInt16, B, N, 1, values, g, junk);
      const Floats b = rows(1, B, 1, values, g, junk);
      for (size_t a = 0; a < (apart ? A : 1); ++a)
        table.frames->depthwise_int16({y.data() + a * B, x.data() + a * N * B, W.data(), seed % 2 ? b.data() : nullptr, apart ? 1 : A, N, B});
      break;
    }
    case kMatmulOp: {
      const Floats a = some_numbers(A * N, seed, values), b = some_numbers(N * B, seed + 1, values);
      for (size_t i = 0; i < (apart ? A : 1); ++i)
        table.frames->matmul(y.data() + i * B, a.data() + i * N, b.data(), apart ? 1 : A, N, B);
      break;
    }
    default: {
      n = x.size();
      const Floats c = rows(1, n, 2, values, g, junk), d = rows(1, n, 2, values, g, junk);
      Floats cond = rows(1, n, 1, values, g, junk);
      std::copy(x.begin(), x.end(), cond.begin());
      for (size_t i = 0; i < n; i += 3) cond[i] = i % 2 ? 0.0f : -0.0f;
      y.assign(padded_to_panels(n), 0);
      table.frames->where(y.data(), cond.data(), c.data(), d.data(), padded_to_panels(n));
      y.resize(n);
      return y;
    }
  }
  for (size_t i = n; i < y.size(); ++i)
    CHECK(y[i] == kCanary, "%s seed %llu on %s wrote element %zu of %zu", kRowOpNames[op],
          static_cast<unsigned long long>(seed), table.name, i, n);
  y.resize(n);
  return y;
}

void test_row_op(const std::vector<const Table*>& tables, RowOp op, size_t n_seeds, Hash* hash) {
  for (uint64_t seed = 0; seed < n_seeds; ++seed) {
    const Floats expected = run_row_op(*tables.back(), op, seed, kZeros, false);
    hash->add(expected.data(), expected.size());
    for (const Table* table : tables)
      for (int g = 0; g < kNumGarbage; ++g)
        for (const bool apart : {false, true})
          compare(kRowOpNames[op], seed, table->name, apart ? "row by row" : "at once",
                  run_row_op(*table, op, seed, static_cast<Garbage>(g), apart), expected);
  }
}

}  // namespace

void test_row_ops(const std::vector<const Table*>& tables, size_t n_seeds, Hash* hash) {
  for (int op = 0; op < kNumRowOps; ++op) test_row_op(tables, static_cast<RowOp>(op), n_seeds, hash);
}

void test_depthwise_int16(const std::vector<const Table*>& tables, size_t n_seeds, Hash* hash) {
  test_row_op(tables, kDepthwiseInt16Op, n_seeds, hash);
}

// A mask value such as the lowest float in every place must give equal shares, whatever fills the last chunk.
void test_softmax_edges(const Table& table) {
  const FloatMode mode;
  for (const float x : {-3.4028235e38f, -1e38f, 0.0f, 3.4028235e38f}) {
    Floats in(5, x), out(5);
    table.frames->softmax(out.data(), in.data(), in.size(), false);
    for (const float share : out)
      CHECK(share == 0.2f, "softmax of five times %g on %s: expected 0.2, got %a", static_cast<double>(x), table.name,
            static_cast<double>(share));
    table.frames->softmax(out.data(), in.data(), in.size(), true);
    for (const float share : out)
      CHECK(share < -1.6094f && share > -1.6095f, "log_softmax of five times %g on %s: expected -1.60944, got %a",
            static_cast<double>(x), table.name, static_cast<double>(share));
  }
  for (const bool log : {false, true})
    for (size_t at = 0; at < 3; ++at) {
      Floats in = {1, 2, 3}, out(3);
      in[at] = __builtin_nanf("");
      table.frames->softmax(out.data(), in.data(), in.size(), log);
      for (const float share : out)
        CHECK(is_nan(share), "%s of a frame with NaN at %zu on %s: expected NaN, got %a",
              log ? "log_softmax" : "softmax", at, table.name, static_cast<double>(share));
    }
}

}  // namespace ut_test
