// SPDX-License-Identifier: MIT
// Every kernel of every instruction set against scalar, to the bit, at random sizes and options:
//   - garbage (finite, then NaN) in every padding lane of inputs, weights, states and scratch reaches no real lane;
//   - T frames in one call equal T calls with one frame; time runs both ways;
//   - NaN, infinities, subnormals and huge numbers among the inputs.
//     test_kernels [--quick] [--golden FILE]
#include <stdlib.h>

#include <algorithm>
#include <vector>

#include "check.h"
#include "golden.h"
#include "isas.h"
#include "numbers.h"

namespace {

using namespace undertow;
using namespace ut_test;
using Table = KernelTable;
using Floats = std::vector<float>;

size_t panels(size_t n) { return (n + kPanel - 1) / kPanel; }
size_t padded_to_panels(size_t n) { return panels(n) * kPanel; }

enum Garbage { kZeros, kFinite, kNan, kNumGarbage };

// What padding lanes hold.
float garbage(Garbage kind, Random& random) {
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
Floats rows(size_t n_rows, size_t n, float scale, Random& values, Garbage kind, Random& junk) {
  Floats out(n_rows * padded_to_panels(n));
  for (size_t i = 0; i < out.size(); ++i) {
    const bool real = i % padded_to_panels(n) < n;
    out[i] = real ? values.unit() * scale : garbage(kind, junk);
  }
  return out;
}

// A matrix as FORMAT.md stores it, [panel][k][gate][16 rows]; with K = 1 also a bias.
Floats panel_matrix(size_t n_rows, size_t K, size_t gates, float scale, Random& values, Garbage kind, Random& junk) {
  Floats out(panels(n_rows) * K * gates * kPanel);
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t row = i / (K * gates * kPanel) * kPanel + i % kPanel;
    out[i] = row < n_rows ? values.unit() * scale : garbage(kind, junk);
  }
  return out;
}

// Among the numbers of x, now and then one that is not ordinary.
void spice(Floats* x, size_t n, Random& values) {
  static const float kOdd[] = {
      __builtin_nanf(""), __builtin_inff(), -__builtin_inff(), 1e-40f, -1e-40f, 3e38f, -0.0f, 1e-38f};
  const size_t stride = padded_to_panels(n);
  for (size_t t = 0; t < x->size() / stride; ++t)
    if (values.below(8) == 0) (*x)[t * stride + values.below(n)] = kOdd[values.below(sizeof kOdd / sizeof *kOdd)];
}

// The real lanes of rows, one after the other.
void collect(Floats* out, const Floats& padded_rows, size_t n) {
  const size_t stride = padded_to_panels(n);
  for (size_t t = 0; t < padded_rows.size() / stride; ++t)
    for (size_t j = 0; j < n; ++j) out->push_back(padded_rows[t * stride + j]);
}

void compare(const char* what, uint64_t seed, const char* isa, const char* variant, const Floats& got,
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
  bool one_step = false;  // with the input half, a call for each timestep
};

// --- recurrent layers, with their input half
// ---------------------------------------------------------------------------

enum Layer { kRnn, kGruAfter, kGruBefore, kLstm, kNumCells };
constexpr float kCanary = 12345.0f;

const char* const kCellNames[] = {"rnn", "gru_reset_after", "gru_reset_before", "lstm"};
constexpr size_t kGates[] = {1, 3, 3, 4};

struct Sizes {
  size_t I, H, F, T;
};

struct CellOptions {
  bool plain, bias, peephole, projection, input_forget, c_rows, reverse, odd_inputs;
  Act acts[3];
  float clip;
};

CellOptions random_options(Layer cell, Random& random) {
  CellOptions o = {};
  const auto coin = [&] { return random.below(2) == 1; };
  o.plain = random.below(3) == 0;
  o.bias = coin();
  o.reverse = coin();
  o.odd_inputs = random.below(4) == 0;
  o.c_rows = cell == kLstm && coin();
  const uint32_t gate = cell == kRnn ? kActTanh : kActSigmoid;
  o.acts[0] = {gate, 0, 0};
  o.acts[1] = o.acts[2] = {kActTanh, 0, 0};
  if (o.plain) return o;
  o.peephole = cell == kLstm && coin();
  o.projection = cell == kLstm && coin();
  o.input_forget = cell == kLstm && coin();
  if (coin()) o.clip = 0.25f + static_cast<float>(random.below(8)) * 0.25f;
  if (coin())
    for (Act& act : o.acts) act = {static_cast<uint32_t>(random.below(kNumActs)), random.unit(), random.unit() + 1.0f};
  return o;
}

// The same timesteps as table.rnn ... table.lstm, through dense and the update kernels.
void walk_in_halves(const Table& table, Layer layer, const Cell& cell, const Steps& steps, size_t T) {
  const size_t Hp = cell.n_panels * kPanel;
  const int G = layer == kGruBefore ? 2 : static_cast<int>(kGates[layer]);
  Floats q(4 * Hp), z(Hp), rh(Hp), unprojected(Hp);
  const float *a = steps.a, *h = steps.h0;
  float *y = steps.y, *c_row = steps.c_rows;
  for (size_t t = 0; t < T; ++t, h = y, y += steps.y_stride, a += steps.a_step) {
    table.dense[kFloat32][G]({q.data(), 0, h, 0, cell.R, layer == kGruAfter ? cell.rb : nullptr, cell.n_panels,
                              cell.n_fed_back, nullptr},
                             1);
    const CellRow row = {0, cell.n_panels, a, q.data(), h, cell.projection ? unprojected.data() : y, steps.c, z.data(), rh.data()};
    switch (layer) {
      case kRnn: table.rnn_update(cell, row); break;
      case kGruAfter: table.gru_after_update(cell, row); break;
      case kGruBefore:
        table.gru_before_gates(cell, row);
        table.dense[kFloat32][1]({q.data(), 0, rh.data(), 0, cell.R_n, nullptr, cell.n_panels, cell.n_hidden, nullptr}, 1);
        table.gru_before_candidate(cell, row);
        break;
      default: table.lstm_update(cell, row); break;
    }
    if (cell.projection)
      table.dense[kFloat32][1]({y, 0, unprojected.data(), 0, cell.projection, nullptr, cell.n_projection_panels,
                                cell.n_hidden, nullptr},
                               1);
    if (!c_row) continue;
    std::copy(steps.c, steps.c + Hp, c_row);
    c_row += steps.c_stride;
  }
}

// The same timestep through the kernels that take the input half too.
void one_step(const Table& table, Layer layer, const Cell& cell, const float* x, const Steps& steps) {
  Floats h(steps.h0, steps.h0 + cell.n_hidden);
  h.resize(cell.n_panels * kPanel, kCanary);
  (layer == kRnn        ? table.rnn_step
   : layer == kGruAfter ? table.gru_step
                        : table.lstm_step)(cell, {x, h.data(), steps.y, steps.c});
  CHECK(memcmp(h.data(), steps.y, cell.n_hidden * sizeof(float)) == 0, "%s: the state is not the output", kCellNames[layer]);
  for (size_t j = cell.n_hidden; j < h.size(); ++j)
    CHECK(h[j] == kCanary, "%s: padding of the state is touched", kCellNames[layer]);
}

Floats run_cell(const Table& table, Layer layer, const Sizes& s, const CellOptions& o, uint64_t seed, Variant variant) {
  Random values(seed), junk(seed + 1);
  const size_t G = kGates[layer], Hp = padded_to_panels(s.H), Fp = padded_to_panels(s.F), Ip = padded_to_panels(s.I);
  const Garbage g = variant.padding;
  const float scale = 1.5f / static_cast<float>(s.H < 4 ? 1 : s.H / 4);
  Floats x = rows(s.T, s.I, 2, values, g, junk);
  if (o.odd_inputs) spice(&x, s.I, values);
  const Floats W = panel_matrix(s.H, s.I, G, 0.5f, values, g, junk), b = panel_matrix(s.H, 1, G, 1, values, g, junk);
  const Floats R = panel_matrix(s.H, s.F, layer == kGruBefore ? 2 : G, scale, values, g, junk);
  const Floats R_n = panel_matrix(s.H, s.H, 1, scale, values, g, junk);
  Floats rb = panel_matrix(s.H, 1, 3, 1, values, g, junk);  // zero for z and r
  for (size_t i = 0; i < rb.size(); ++i)
    if (i / kPanel % 3 != 2) rb[i] = 0.0f;
  const Floats peephole = rows(3, s.H, 1, values, g, junk);
  const Floats projection = panel_matrix(s.F, s.H, 1, scale, values, g, junk);
  const Floats h0 = rows(1, s.F, 1, values, g, junk);
  Floats c = rows(1, s.H, 1, values, g, junk);
  Floats y(s.T * Fp), c_rows(s.T * Hp), scratch(2 * Hp), a(s.T * G * Hp);
  for (Floats* buffer : {&y, &c_rows, &scratch, &a})
    for (float& v : *buffer) v = garbage(g, junk);

  Cell cell{};
  Steps steps{};
  cell.W = W.data();
  cell.b = o.bias ? b.data() : nullptr;
  cell.R = R.data();
  cell.R_n = layer == kGruBefore ? R_n.data() : nullptr;
  cell.rb = layer == kGruAfter ? rb.data() : nullptr;
  cell.peephole = o.peephole ? peephole.data() : nullptr;
  cell.projection = o.projection ? projection.data() : nullptr;
  cell.n_projection_panels = panels(s.F);
  cell.n_panels = panels(s.H);
  cell.n_inputs = s.I;
  cell.n_fed_back = s.F;
  cell.n_hidden = s.H;
  steps.scratch = scratch.data();
  std::copy(o.acts, o.acts + 3, cell.acts);
  cell.clip = o.clip;
  cell.input_forget = o.input_forget;
  cell.plain = o.plain;
  steps.c = c.data();
  steps.h0 = h0.data();
  const ptrdiff_t way = o.reverse ? -1 : 1;
  steps.a_step = way * static_cast<ptrdiff_t>(G * Hp);
  steps.y_stride = way * static_cast<ptrdiff_t>(Fp);
  steps.c_stride = way * static_cast<ptrdiff_t>(Hp);
  const auto kernel = layer == kRnn         ? table.rnn
                      : layer == kGruAfter  ? table.gru_reset_after
                      : layer == kGruBefore ? table.gru_reset_before
                                           : table.lstm;

  const FloatMode mode;
  const size_t block = variant.one_frame_a_call ? 1 : s.T;
  for (size_t done = 0; done < s.T; done += block) {
    const size_t first = o.reverse ? s.T - done - block : done, start = o.reverse ? first + block - 1 : first;
    table.dense[kFloat32][G]({a.data() + first * G * Hp, G * Hp, x.data() + first * Ip, Ip, W.data(),
                              o.bias ? b.data() : nullptr, panels(s.H), s.I, nullptr},
                             block);
    steps.a = a.data() + start * G * Hp;
    steps.y = y.data() + start * Fp;
    steps.c_rows = o.c_rows ? c_rows.data() + start * Hp : nullptr;
    if (variant.one_step)
      one_step(table, layer, cell, x.data() + first * Ip, steps);
    else if (variant.two_halves)
      walk_in_halves(table, layer, cell, steps, block);
    else
      kernel(cell, steps, block);
    steps.h0 = y.data() + (o.reverse ? first : first + block - 1) * Fp;
  }
  Floats out;
  collect(&out, y, s.F);
  if (layer == kLstm) collect(&out, c, s.H);
  if (o.c_rows) collect(&out, c_rows, s.H);
  return out;
}

void test_cells(const std::vector<const Table*>& tables, size_t n_seeds, Hash* hash) {
  static const size_t kSizes[] = {1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 48, 63, 80, 100, 130};
  constexpr size_t n_sizes = sizeof kSizes / sizeof *kSizes;
  for (int kind = 0; kind < kNumCells; ++kind)
    for (uint64_t seed = 0; seed < n_seeds; ++seed) {
      const Layer cell = static_cast<Layer>(kind);
      Random random(seed * kNumCells + static_cast<uint64_t>(kind));
      const CellOptions o = random_options(cell, random);
      Sizes s = {kSizes[random.below(n_sizes)], kSizes[random.below(n_sizes)], 0, 1 + random.below(30)};
      s.F = o.projection ? kSizes[random.below(n_sizes)] : s.H;
      const Floats expected = run_cell(*tables.back(), cell, s, o, seed, {kZeros, false});
      hash->add(expected.data(), expected.size());
      for (const Table* table : tables) {
        compare(kCellNames[cell], seed, table->name, "zeros in padding",
                run_cell(*table, cell, s, o, seed, {kZeros, false}), expected);
        compare(kCellNames[cell], seed, table->name, "finite garbage",
                run_cell(*table, cell, s, o, seed, {kFinite, false}), expected);
        compare(kCellNames[cell], seed, table->name, "NaN garbage", run_cell(*table, cell, s, o, seed, {kNan, false}),
                expected);
        compare(kCellNames[cell], seed, table->name, "in two halves",
                run_cell(*table, cell, s, o, seed, {kNan, false, true}), expected);
        compare(kCellNames[cell], seed, table->name, "one frame a call",
                run_cell(*table, cell, s, o, seed, {kNan, true}), expected);
        if (o.plain && cell != kGruBefore && !o.c_rows)
          compare(kCellNames[cell], seed, table->name, "both halves in one step",
                  run_cell(*table, cell, s, o, seed, {kNan, true, false, true}), expected);
      }
    }
}

// --- dense -----------------------------------------------------------------------------------------------------------

// A matrix in any precision, [panel]... as FORMAT.md stores it. Rows of padding hold garbage, columns of padding zeros.
using Bytes = std::vector<uint8_t>;
template <class Number>
void put(uint8_t* to, Number number) {
  memcpy(to, &number, sizeof number);
}
Bytes matrix(Precision precision, size_t M, size_t K, size_t G, Random& values, Garbage kind, Random& junk) {
  Bytes out(panels(M) * panel_bytes(precision, K, G));
  const size_t width = G * kPanel;
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
        switch (precision) {
          case kFloat32: put(panel + 4 * (k * width + j), number()); break;
          case kFloat16: put(panel + 2 * (k * width + j), half_bits()); break;
          case kBfloat16: put(panel + 2 * (k * width + j), static_cast<uint16_t>(as_bits(number()) >> 16)); break;
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

// Half of the columns of 8 rows, ascending, of `n`.
std::vector<uint16_t> some_columns(size_t n, size_t n_columns, Random& values) {
  std::vector<uint16_t> out;
  for (size_t column = 0; out.size() < n; ++column)
    if (values.below(n_columns - column) < n - out.size()) out.push_back(static_cast<uint16_t>(column));
  return out;
}

// Lists of any length, from none to every block; zeros where a block reaches beyond K, as in a file.
Bytes sparse_matrix(Precision precision, size_t M, size_t K, size_t G, Random& values, Garbage kind, Random& junk) {
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

Floats run_dense(const Table& table, Precision precision, size_t G, size_t M, size_t K, size_t T, uint64_t seed,
                 Variant variant) {
  Random values(seed), junk(seed + 1);
  Floats x = rows(T, K, 2, values, variant.padding, junk);
  if (seed % 4 == 0) spice(&x, K, values);
  if (seed % 7 == 0) std::fill(x.begin(), x.begin() + static_cast<ptrdiff_t>(padded_to_panels(K)), 0.0f);  // silence
  const auto make = precision >= kNumTablePrecisions ? sparse_matrix : matrix;
  const Bytes W = make(precision, M, K, G, values, variant.padding, junk);
  const Floats b = panel_matrix(M, 1, G, 1, values, variant.padding, junk);
  Floats quantized(T * quantized_floats(precision, K) + kPanel, kCanary);
  const size_t width = G * padded_to_panels(M), stride = width + kPanel;
  Floats y(T * stride, kCanary);
  const FloatMode mode;
  const size_t block = variant.one_frame_a_call ? 1 : T;
  for (size_t t = 0; t < T; t += block)
    table.dense[precision][G]({y.data() + t * stride, stride, x.data() + t * padded_to_panels(K), padded_to_panels(K),
                               W.data(), seed % 3 ? b.data() : nullptr, panels(M), K,
                               quantized.data() + t * quantized_floats(precision, K)},
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

void test_dense(const std::vector<const Table*>& tables, Precision precision, size_t n_seeds, Hash* hash) {
  static const char* const kNames[] = {"dense float32", "dense float16", "dense bfloat16", "dense int8", "dense int4",
                                       "sparse float32", "sparse int8"};
  for (size_t G = 1; G <= 4; ++G)
    for (uint64_t seed = 0; seed < n_seeds; ++seed) {
      Random random(seed * 4 + G);
      const size_t M = 1 + random.below(180), some = 1 + random.below(90), T = 1 + random.below(60);
      const bool square = precision >= kNumTablePrecisions && seed % 3 == 0;  // only then may there be a diagonal
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

// --- frame ops -------------------------------------------------------------------------------------------------------

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
      table.activation(y.data(), x.data(), padded,
                       {static_cast<uint32_t>(seed) % kNumActs, values.unit(), values.unit() + 1});
      break;
    case kBinaryOp:
      table.binary[seed % kNumBinaries](y.data(), x.data(), u.data(), padded);
      break;
    case kAffineOp:
      table.affine(y.data(), x.data(), u.data(), v.data(), padded);
      break;
    case kSoftmaxOp:
      table.softmax(y.data(), x.data(), n, false);
      break;
    case kLogSoftmaxOp:
      table.softmax(y.data(), x.data(), n, true);
      break;
    default:
      table.layer_norm(y.data(), x.data(), seed % 2 ? u.data() : nullptr, seed % 4 < 2 ? v.data() : nullptr, n, 1e-5f);
      break;
  }
  for (size_t i = exact ? n : padded; i < y.size(); ++i)
    CHECK(y[i] == kCanary, "%s seed %llu on %s wrote element %zu of %zu", kFrameOpNames[op],
          static_cast<unsigned long long>(seed), table.name, i, n);
  y.resize(n);
  return y;
}

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

// --- frames of several axes: rows without padding, and nothing touched beside them ----------------------------------

enum RowOp { kReduceOp, kDepthwiseOp, kMatmulOp, kWhereOp, kNumRowOps };
const char* const kRowOpNames[] = {"reduce", "depthwise", "matmul", "where"};

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
  const size_t A = size(), N = size(), B = size();
  const FloatMode mode;
  size_t n = A * B;
  Floats y(n + kPanel, kCanary);
  const Floats x = some_numbers(A * N * B, seed, values);
  switch (op) {
    case kReduceOp:
      for (size_t a = 0; a < (apart ? A : 1); ++a)
        table.reduce[seed % kNumReduces](y.data() + a * B, x.data() + a * N * B, apart ? 1 : A, N, B);
      break;
    case kDepthwiseOp: {
      const Floats W = rows(N, B, 1, values, g, junk), b = rows(1, B, 1, values, g, junk);
      for (size_t a = 0; a < (apart ? A : 1); ++a)
        table.depthwise({y.data() + a * B, x.data() + a * N * B, W.data(), seed % 2 ? b.data() : nullptr, apart ? 1 : A, N, B});
      break;
    }
    case kMatmulOp: {
      const Floats a = some_numbers(A * N, seed, values), b = some_numbers(N * B, seed + 1, values);
      for (size_t i = 0; i < (apart ? A : 1); ++i)
        table.matmul(y.data() + i * B, a.data() + i * N, b.data(), apart ? 1 : A, N, B);
      break;
    }
    default: {
      n = x.size();
      const Floats c = rows(1, n, 2, values, g, junk), d = rows(1, n, 2, values, g, junk);
      Floats cond = rows(1, n, 1, values, g, junk);
      std::copy(x.begin(), x.end(), cond.begin());
      for (size_t i = 0; i < n; i += 3) cond[i] = i % 2 ? 0.0f : -0.0f;
      y.assign(padded_to_panels(n), 0);
      table.where(y.data(), cond.data(), c.data(), d.data(), padded_to_panels(n));
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

void test_row_ops(const std::vector<const Table*>& tables, size_t n_seeds, Hash* hash) {
  for (int kind = 0; kind < kNumRowOps; ++kind)
    for (uint64_t seed = 0; seed < n_seeds; ++seed) {
      const RowOp op = static_cast<RowOp>(kind);
      const Floats expected = run_row_op(*tables.back(), op, seed, kZeros, false);
      hash->add(expected.data(), expected.size());
      for (const Table* table : tables)
        for (int g = 0; g < kNumGarbage; ++g)
          for (const bool apart : {false, true})
            compare(kRowOpNames[op], seed, table->name, apart ? "row by row" : "at once",
                    run_row_op(*table, op, seed, static_cast<Garbage>(g), apart), expected);
    }
}

// A mask value such as the lowest float in every place must give equal shares, whatever fills the last chunk.
void test_softmax_edges(const Table& table) {
  const FloatMode mode;
  for (const float x : {-3.4028235e38f, -1e38f, 0.0f, 3.4028235e38f}) {
    Floats in(5, x), out(5);
    table.softmax(out.data(), in.data(), in.size(), false);
    for (const float share : out)
      CHECK(share == 0.2f, "softmax of five times %g on %s: expected 0.2, got %a", static_cast<double>(x), table.name,
            static_cast<double>(share));
    table.softmax(out.data(), in.data(), in.size(), true);
    for (const float share : out)
      CHECK(share < -1.6094f && share > -1.6095f, "log_softmax of five times %g on %s: expected -1.60944, got %a",
            static_cast<double>(x), table.name, static_cast<double>(share));
  }
  for (const bool log : {false, true})
    for (size_t at = 0; at < 3; ++at) {
      Floats in = {1, 2, 3}, out(3);
      in[at] = __builtin_nanf("");
      table.softmax(out.data(), in.data(), in.size(), log);
      for (const float share : out)
        CHECK(is_nan(share), "%s of a frame with NaN at %zu on %s: expected NaN, got %a",
              log ? "log_softmax" : "softmax", at, table.name, static_cast<double>(share));
    }
}

}  // namespace

int main(int argc, char** argv) {
  bool quick = false;
  const char* golden = nullptr;
  for (int i = 1; i < argc; ++i) {
    if (!strcmp(argv[i], "--quick")) quick = true;
    if (!strcmp(argv[i], "--golden") && i + 1 < argc) golden = argv[++i];
  }
  const std::vector<const Table*> tables = runnable_tables();
  Hash hash, sparse, by_row, ignored;
  test_cells(tables, 40, &hash);
  for (uint32_t p = 0; p < kNumTablePrecisions; ++p) test_dense(tables, static_cast<Precision>(p), 20, &hash);
  for (uint32_t p = kNumTablePrecisions; p < kNumPrecisions; ++p) test_dense(tables, static_cast<Precision>(p), 20, &sparse);
  test_frame_ops(tables, 60, &hash);
  test_row_ops(tables, 60, &by_row);
  if (!quick) {
    test_cells(tables, 300, &ignored);
    for (uint32_t p = 0; p < kNumPrecisions; ++p) test_dense(tables, static_cast<Precision>(p), 100, &ignored);
    test_frame_ops(tables, 1000, &ignored);
    test_row_ops(tables, 1000, &ignored);
  }
  for (const Table* table : tables) test_softmax_edges(*table);
  if (golden) {
    check_golden(golden, "test_kernels", hash.value());
    check_golden(golden, "test_kernels_sparse", sparse.value());
    check_golden(golden, "test_kernels_rows", by_row.value());
  }
  return report("test_kernels");
}
