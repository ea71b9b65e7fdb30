// SPDX-License-Identifier: MIT
// One timestep of a plain recurrent layer with float32 weights: the products with x and with h side by side, in one call.
// A small layer waits for the latency of a chain and for calls, not for its weights. Compiled once per ISA.

namespace {

// As Panels, with x-chains too.
template <class Pass>
struct PanelsOfStep {
  const Cell& c;
  const CellRow& row;
  const float* x;

  template <int NP>
  inline void run(size_t p) const {
    constexpr int G = Pass::kGates, NV = G * kSub;
    constexpr size_t width = G * kPanel;
    V a[NP][NV], q[NP][NV];
    const float *W = c.W + p * c.n_inputs * width, *R = c.R + p * c.n_fed_back * width, *start = Pass::start(c);
    if constexpr (kLanes == 1) {
      chains_of_rows(a[0], c.b ? c.b + p * width : nullptr, x, W, c.n_inputs, width, units_from(c, p), c.least_x);
      chains_of_rows(q[0], start ? start + p * width : nullptr, row.h, R, c.n_fed_back, width, units_from(c, p), c.least_h);
    } else if constexpr (UT_ISA_FLUSHES) {
      start_chains(a, c.b, p);
      start_chains(q, start, p);
      chains(a, x, W, c.n_inputs, c.least_x);
      chains(q, row.h, R, c.n_fed_back, c.least_h);
    } else {
      start_chains(a, c.b, p);
      start_chains(q, start, p);
      chains_of_two(a, x, W, c.n_inputs, q, row.h, R, c.n_fed_back);
    }
    for (int i = 0; i < NP; ++i)
      for (int sub = 0; sub < kSub; ++sub) {
        const Unit u = {p + static_cast<size_t>(i), static_cast<size_t>(sub) * kLanes};
        if (u.j() >= c.n_hidden) continue;
        V of_x[G], of_h[G];
        for (int g = 0; g < G; ++g) {
          of_x[g] = a[i][g * kSub + sub];
          of_h[g] = q[i][g * kSub + sub];
        }
        Pass::template unit<kPlain>(c, row, u, of_x, of_h);
      }
  }
};

// As few panels as have the chains that hide the latency of a multiply-add: the way back then finds more of the last ones
// in the cache. (LSTM on AVX2 has more chains than registers; keeping some in memory costs less than passes over half.)
constexpr int panels_of_step(int vectors) {
  int n = 1;
  while (2 * n * vectors < 6) n *= 2;
  return n;
}

// Of cells of one pass.
template <class Pass>
void one_step(const Cell& c, const OneStep& s) {
  constexpr int NP = panels_of_step(Pass::kGates * kSub);
  const CellRow row = {0, c.n_panels, nullptr, nullptr, s.h, s.y, s.c, nullptr};
  const PanelsOfStep<Pass> panels = {c, row, s.x};
  s.back ? for_panels_backwards<NP>(c.n_panels, panels) : for_panels<NP>(c.n_panels, panels);
  // Whole vectors: what a masked store leaves reaches the loads of the next timestep 15 cycles later.
  for (size_t j = 0; j < c.n_hidden; j += kLanes) store(s.h + j, load(s.y + j));
}

}  // namespace
