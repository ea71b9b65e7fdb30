// SPDX-License-Identifier: MIT
// Recurrent layers with their input half. See test_kernels.cpp.
#include "kernel_tests.h"

namespace ut_test {

namespace {

const char* const kCellNames[] = {"rnn", "gru_reset_after", "gru_reset_before", "lstm"};  // as CellKind
constexpr size_t kGates[] = {1, 3, 3, 4}, kGatesOfR[] = {1, 3, 2, 4};
static_assert(sizeof kGates / sizeof *kGates == kNumCells, "every cell is tried");

struct Sizes {
  size_t I, H, F, T;
  float scale = 1;  // of x, W and R: large ones leave the bounds of activations, small ones tanh's polynomial is for
};

struct CellOptions {
  bool plain, bias, peephole, projection, input_forget, c_rows, reverse, odd_inputs;
  Act acts[3];
  float clip;
};

CellOptions random_options(CellKind cell, Random& random) {
  CellOptions o = {};
  const auto coin = [&] { return random.below(2) == 1; };
  o.plain = random.below(3) == 0;
  o.bias = coin();
  o.reverse = coin();
  o.odd_inputs = random.below(4) == 0;
  o.c_rows = cell == kCellLstm && coin();
  const uint32_t gate = cell == kCellRnn ? kActTanh : kActSigmoid;
  o.acts[0] = {gate, 0, 0};
  o.acts[1] = o.acts[2] = {kActTanh, 0, 0};
  if (o.plain) return o;
  o.peephole = cell == kCellLstm && coin();
  o.projection = cell == kCellLstm && coin();
  o.input_forget = cell == kCellLstm && coin();
  if (coin()) o.clip = 0.25f + static_cast<float>(random.below(8)) * 0.25f;
  if (coin())
    for (Act& act : o.acts) act = {static_cast<uint32_t>(random.below(kNumActs)), random.unit(), random.unit() + 1.0f};
  return o;
}

// The same timesteps as `walk`, through dense and the kernels that update.
void walk_in_halves(const Table& table, CellKind layer, const Cell& cell, const Steps& steps, size_t T) {
  const CellKernels& kernels = table.cells[layer];
  const auto& dense = table.products[kFloat32]->dense;
  const size_t Hp = cell.n_panels * kPanel;
  Floats q(4 * Hp), z(Hp), units(Hp);
  const float *a = steps.a, *h = steps.h0;
  float *y = steps.y, *c_row = steps.c_rows;
  for (size_t t = 0; t < T; ++t, h = y, y += steps.y_stride, a += steps.a_step) {
    dense[kGatesOfR[layer]]({q.data(), 0, h, 0, cell.R, cell.rb, cell.n_panels, cell.n_fed_back, nullptr}, 1);
    CellRow row = {0, cell.n_panels, a, q.data(), h, y, steps.c, z.data()};
    if (cell.projection || kernels.finish) row.y = units.data();
    kernels.update(cell, row);
    row.y = y;
    if (kernels.finish) {
      dense[1]({q.data(), 0, units.data(), 0, cell.R_n, nullptr, cell.n_panels, cell.n_hidden, nullptr}, 1);
      kernels.finish(cell, row);
    }
    if (cell.projection)
      dense[1]({y, 0, units.data(), 0, cell.projection, nullptr, cell.n_projection_panels, cell.n_hidden, nullptr}, 1);
    if (!c_row) continue;
    std::copy(steps.c, steps.c + Hp, c_row);
    c_row += steps.c_stride;
  }
}

// A state that kernels update in place, with its padding and a canary behind it; and what must have become of it.
Floats state_of(const Cell& cell, const float* h0) {
  Floats h(h0, h0 + cell.n_hidden);
  h.resize(cell.n_panels * kPanel, __builtin_nanf(""));
  h.push_back(kCanary);
  return h;
}
void check_state(CellKind layer, const Cell& cell, const Floats& h, const float* y) {
  CHECK(memcmp(h.data(), y, cell.n_hidden * sizeof(float)) == 0, "%s: the state is not the output", kCellNames[layer]);
  CHECK(h.back() == kCanary, "%s: what stands behind the state is touched", kCellNames[layer]);
}

// The same timestep through the kernels that take the input half too.
void one_step(const Table& table, CellKind layer, const Cell& cell, const float* x, const Steps& steps, bool back) {
  Floats h = state_of(cell, steps.h0);
  if (const auto step = table.cells[layer].step) {
    step(cell, {x, h.data(), steps.y, steps.c, back});
  } else {  // in small code, where one kernel is for all precisions
    const DenseArgs of_x = {nullptr, 0, x, 0, cell.W, cell.b, cell.n_panels, cell.n_inputs, nullptr};
    const DenseArgs of_h = {nullptr, 0, h.data(), 0, cell.R, cell.rb, cell.n_panels, cell.n_fed_back, nullptr};
    table.products[kFloat32]->step[layer](cell, {of_x, of_h, nullptr, steps.y, steps.c, back});
    std::copy(steps.y, steps.y + cell.n_hidden, h.begin());
  }
  check_state(layer, cell, h, steps.y);
}

// The same timesteps through a kernel for tiny layers. x: of the first one; last: the row that the last one writes.
void tiny_steps(TinyKernel kernel, CellKind layer, const Cell& cell, const float* x, ptrdiff_t x_stride, const Steps& steps,
                const float* last, size_t T) {
  Floats h = state_of(cell, steps.h0);
  kernel(cell, {x, x_stride, h.data(), steps.y, steps.y_stride, steps.c}, T);
  check_state(layer, cell, h, last);
}

Floats run_cell(const Table& table, CellKind layer, const Sizes& s, const CellOptions& o, uint64_t seed,
                Variant variant) {
  Random values(seed), junk(seed + 1);
  const size_t G = kGates[layer], Hp = padded_to_panels(s.H), Fp = padded_to_panels(s.F), Ip = padded_to_panels(s.I);
  const Garbage g = variant.padding;
  const float scale = s.scale * 1.5f / static_cast<float>(s.H < 4 ? 1 : s.H / 4);
  Floats x = rows(s.T, s.I, s.scale * 2, values, g, junk);
  if (o.odd_inputs) spice(&x, s.I, values);
  const Floats W = panel_matrix(s.H, s.I, G, s.scale * 0.5f, values, g, junk), b = panel_matrix(s.H, 1, G, 1, values, g, junk);
  const Floats R = panel_matrix(s.H, s.F, kGatesOfR[layer], scale, values, g, junk);
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
  cell.R_n = layer == kCellGruBefore ? R_n.data() : nullptr;
  cell.rb = layer == kCellGruAfter ? rb.data() : nullptr;
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

  const FloatMode mode;
  const size_t block = variant.one_frame_a_call ? 1 : s.T;
  for (size_t done = 0; done < s.T; done += block) {
    const size_t first = o.reverse ? s.T - done - block : done, start = o.reverse ? first + block - 1 : first;
    table.products[kFloat32]->dense[G]({a.data() + first * G * Hp, G * Hp, x.data() + first * Ip, Ip, W.data(),
                                        o.bias ? b.data() : nullptr, panels(s.H), s.I, nullptr},
                                       block);
    steps.a = a.data() + start * G * Hp;
    steps.y = y.data() + start * Fp;
    steps.c_rows = o.c_rows ? c_rows.data() + start * Hp : nullptr;
    if (variant.one_step)
      one_step(table, layer, cell, x.data() + first * Ip, steps, (done & 1) != 0);
    else if (variant.tiny)
      tiny_steps(variant.tiny, layer, cell, x.data() + start * Ip, way * static_cast<ptrdiff_t>(Ip), steps,
                 y.data() + (o.reverse ? first : first + block - 1) * Fp, block);
    else if (variant.two_halves || !table.cells[layer].walk)
      walk_in_halves(table, layer, cell, steps, block);
    else
      table.cells[layer].walk(cell, steps, block);
    steps.h0 = y.data() + (o.reverse ? first : first + block - 1) * Fp;
  }
  Floats out;
  collect(&out, y, s.F);
  if (layer == kCellLstm) collect(&out, c, s.H);
  if (o.c_rows) collect(&out, c_rows, s.H);
  return out;
}

}  // namespace

void test_cells(const std::vector<const Table*>& tables, size_t n_seeds, Hash* hash) {
  static const size_t kSizes[] = {1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 48, 63, 80, 100, 130};
  constexpr size_t n_sizes = sizeof kSizes / sizeof *kSizes;
  for (uint32_t kind = 0; kind < kNumCells; ++kind)
    for (uint64_t seed = 0; seed < n_seeds; ++seed) {
      const CellKind cell = static_cast<CellKind>(kind);
      Random random(seed * kNumCells + kind);
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
        if (o.plain && cell != kCellGruBefore && !o.c_rows)
          compare(kCellNames[cell], seed, table->name, "both halves in one step",
                  run_cell(*table, cell, s, o, seed, {kNan, true, false, true}), expected);
      }
    }
}

void test_tiny_cells(const std::vector<const Table*>& tables, size_t n_seeds) {
  static const float kScales[] = {0.05f, 1, 1, 8, 40};
  for (uint32_t kind = 0; kind < kNumCells; ++kind)
    for (uint64_t seed = 0; seed < n_seeds; ++seed)
      for (size_t H = 1; H <= 2 * kPanel; ++H) {
        const CellKind cell = static_cast<CellKind>(kind);
        Random random((seed * kNumCells + kind) * 2 * kPanel + H);
        CellOptions o = random_options(cell, random);
        while (!o.plain) o = random_options(cell, random);
        o.c_rows = false;
        const Sizes s = {1 + random.below(9), H, H, 1 + random.below(9), kScales[random.below(5)]};
        const Floats expected = run_cell(*tables.back(), cell, s, o, seed, {kZeros, false});
        for (const Table* table : tables)
          for (const TinyKernels* kernels : table->tiny) {
            if (!kernels->cells[cell] || H > kernels->most_units) continue;
            compare(kCellNames[cell], seed, table->name, "tiny",
                    run_cell(*table, cell, s, o, seed, {kNan, false, false, false, kernels->cells[cell]}), expected);
            compare(kCellNames[cell], seed, table->name, "tiny, one frame a call",
                    run_cell(*table, cell, s, o, seed, {kZeros, true, false, false, kernels->cells[cell]}), expected);
          }
      }
}

}  // namespace ut_test
