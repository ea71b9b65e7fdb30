// SPDX-License-Identifier: MIT
// One timestep of one sequence of a plain recurrent layer whose W and R are of one precision of integers: the cell update of
// some panels follows their products at once. Compiled once per ISA.

namespace {

// One copy of it for all precisions.
template <class Pass>
UT_NOINLINE void waiting_unit(const Cell& c, const CellRow& row, const Unit& u, const V (&x)[Pass::kGates], const V (&h)[Pass::kGates]) {
  Pass::template unit<kWaiting>(c, row, u, x, h);
}

// As PanelsOfStep, with tiles in place of chains.
template <class Weights, class Pass>
struct ReducedPanels {
  const Cell& c;
  const ReducedStep& s;
  const CellRow& row;

  template <int NP>
  inline void run(size_t p) const {
    constexpr int G = Pass::kGates;
    constexpr size_t width = G * kPanel;
    alignas(64) float a[NP * width], q[NP * width];
    const auto product = [&](const DenseArgs& d, float* y) UT_INLINE {
      if constexpr (kLanes == 1)
        Weights::rows_of_panel(d, G, p, 0, y, units_from(c, p));
      else
        rows_of_panels<Weights, G, NP>(d, p, y);
    };
    // On the way back what was read last comes first, as with panels.
    if (s.of_x.W && !s.back) product(s.of_x, a);
    product(s.of_h, q);
    if (s.of_x.W && s.back) product(s.of_x, a);
    const float* of_x = s.of_x.W ? a : row.a + p * width;
    for (size_t i = 0; i < NP; ++i)
      for (size_t lane = 0; lane < kPanel; lane += kLanes) {
        const Unit u = {p + i, lane}, here = {i, lane};
        if (u.j() >= c.n_hidden) continue;
        V x[G], h[G];
        load_gates(x, of_x, here);
        load_gates(h, q, here);
        if constexpr (kCompact)
          waiting_unit<Pass>(c, row, u, x, h);
        else
          Pass::template unit<kLanes == 1 ? kPlain : kWaiting>(c, row, u, x, h);
      }
  }
};

template <class Weights, class Pass>
void reduced_step(const Cell& c, const ReducedStep& s) {
  static_assert(Pass::kGates == Pass::kChains, "a second pass has a matrix of its own");
  if (s.of_x.W) Weights::prepare(s.of_x, 1);
  Weights::prepare(s.of_h, 1);
  const CellRow row = {0, c.n_panels, s.a, nullptr, s.of_h.x, s.y, s.c, nullptr};
  const ReducedPanels<Weights, Pass> panels = {c, s, row};
  constexpr int NP = panels_in_flight(kVectors<Pass::kGates>);
  s.back ? for_panels_backwards<NP>(c.n_panels, panels) : for_panels<NP>(c.n_panels, panels);
}

}  // namespace
