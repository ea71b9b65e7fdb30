// SPDX-License-Identifier: MIT
// One timestep of a plain recurrent layer with float32 weights: the products with x and with h side by side, in one call.
// A small layer waits for the latency of a chain and for calls, not for its weights. Compiled once per ISA.

namespace {

// As for_units, with x-chains too: f(unit, x-chains, h-chains).
template <int G, int NP, class F>
inline void for_units_of_step(const Cell& c, const OneStep& s, size_t p, const float* start, const F& f) {
  constexpr int NV = G * kSub;
  constexpr size_t width = G * kPanel;
  V a[NP][NV], q[NP][NV];
  start_chains(a, c.b, p);
  start_chains(q, start, p);
  chains_of_two(a, s.x, c.W + p * c.n_inputs * width, c.n_inputs, q, s.h, c.R + p * c.n_fed_back * width, c.n_fed_back);
  for (int i = 0; i < NP; ++i)
    for (int sub = 0; sub < kSub; ++sub) {
      V of_x[G], of_h[G];
      for (int g = 0; g < G; ++g) {
        of_x[g] = a[i][g * kSub + sub];
        of_h[g] = q[i][g * kSub + sub];
      }
      const Unit u = {p + static_cast<size_t>(i), static_cast<size_t>(sub) * kLanes};
      if (u.j() < c.n_hidden) f(u, of_x, of_h);
    }
}

struct RnnStep {
  const Cell& c;
  const OneStep& s;
  static constexpr int kGates = 1;

  template <int NP>
  inline void run(size_t p) const {
    for_units_of_step<1, NP>(c, s, p, nullptr,
                             [&](const Unit& u, const V(&a)[1], const V(&q)[1]) { rnn_unit<true>(c, u, a[0], q[0], s.y); });
  }
};

struct GruStep {
  const Cell& c;
  const OneStep& s;
  static constexpr int kGates = 3;

  template <int NP>
  inline void run(size_t p) const {
    for_units_of_step<3, NP>(c, s, p, c.rb,
                             [&](const Unit& u, const V(&a)[3], const V(&q)[3]) { gru_after_unit<true>(c, u, a, q, s.h, s.y); });
  }
};

struct LstmStep {
  const Cell& c;
  const OneStep& s;
  static constexpr int kGates = 4;

  template <int NP>
  inline void run(size_t p) const {
    for_units_of_step<4, NP>(c, s, p, nullptr,
                             [&](const Unit& u, const V(&a)[4], const V(&q)[4]) { lstm_unit<true>(c, u, a, q, s.c, s.y); });
  }
};

// As few panels as have the chains that hide the latency of a multiply-add: the way back then finds more of the last ones
// in the cache. (LSTM on AVX2 has more chains than registers; keeping some in memory costs less than passes over half.)
constexpr int panels_of_step(int vectors) {
  int n = 1;
  while (2 * n * vectors < 6) n *= 2;
  return n;
}

template <class Step>
void one_step(const Cell& c, const OneStep& s) {
  constexpr int NP = panels_of_step(Step::kGates * kSub);
  s.back ? for_panels_backwards<NP>(c.n_panels, Step{c, s}) : for_panels<NP>(c.n_panels, Step{c, s});
  for (size_t j = 0; j < c.n_hidden; j += kLanes) store_up_to(s.h + j, load(s.y + j), c.n_hidden - j);
}

}  // namespace
