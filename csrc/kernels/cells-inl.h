// SPDX-License-Identifier: MIT
// The recurrent layers. Compiled once per ISA.
// `a` holds the finished x-chains b + W x of every frame; the h-chains start at zero and one add joins the two (DESIGN:
// numerics contract), so a block of frames and a single step give the same bits. Formulas: ONNX operator specification,
// RNN, GRU and LSTM. A panel's cell update follows its h-chains while the gates are still in registers.

namespace {

constexpr int kSub = static_cast<int>(kPanel) / kLanes;  // vectors per gate of a panel

template <bool kPlain>
inline V apply(const Cell& c, int which, uint32_t plain_kind, V x) {
  if (kPlain) return plain_kind == kActTanh ? vtanh(x) : vsigmoid(x);
  if (c.clip != 0.0f) x = min(set1(c.clip), max(set1(-c.clip), x));
  return activate(c.acts[which], x);
}

// Walks the panels NP at a time, then half as many, down to one: body.template run<NP>(p).
template <int NP, class Body>
inline void for_panels(size_t n_panels, const Body& body, size_t p = 0) {
  for (; p + NP <= n_panels; p += NP) body.template run<NP>(p);
  if constexpr (NP > 1) for_panels<NP / 2>(n_panels, body, p);
}
template <int NP, class Body>
inline void for_panels_backwards(size_t n_panels, const Body& body) {
  size_t p = n_panels;
  for (; p >= NP; p -= NP) body.template run<NP>(p - NP);
  if constexpr (NP > 1) for_panels_backwards<NP / 2>(p, body);
}

// Recurrent weights that do not fit the first-level cache beside everything else are walked to and fro: a timestep starts
// with the panels that the one before left there, of which narrow passes find more. Smaller ones gain nothing. Cells that
// are not plain take narrow passes, one way: they wait for their activations, and every other pass is more code.
constexpr size_t kToAndFroBytes = 24 * 1024;
template <int G, bool kPlain, class Body>
inline void for_panels_of_step(const Cell& c, size_t t, const Body& body) {
  constexpr int vectors = G * kSub, most = panels_in_flight(vectors), few = most * vectors >= 8 && most > 1 ? most / 2 : most;
  if constexpr (!kPlain) {
    for_panels<few>(c.n_panels, body);
  } else {
    const bool large = G * c.n_panels * kPanel * c.n_fed_back * sizeof(float) > kToAndFroBytes;
    if constexpr (few < most)
      if (!large) return for_panels<most>(c.n_panels, body);
    if (large && (t & 1) != 0)
      for_panels_backwards<few>(c.n_panels, body);
    else
      for_panels<few>(c.n_panels, body);
  }
}

// --- the cell updates ------------------------------------------------------------------------------------------------
// One vector of units each: the x-chains `a` and the h-chains `q` of its gates; j is its place in the layer.

struct Unit {
  size_t panel, lane;  // in panels, in floats
  size_t j() const { return panel * kPanel + lane; }
  size_t gate(int n_gates, int g) const { return (panel * n_gates + g) * kPanel + lane; }
};

template <int G>
inline void load_gates(V (&v)[G], const float* from, const Unit& u) {
  for (int g = 0; g < G; ++g) v[g] = load(from + u.gate(G, g));
}

// RNN: h = f(a + R h).
template <bool kPlain>
inline void rnn_unit(const Cell& c, const Unit& u, V a, V q, float* y) {
  store(y + u.j(), apply<kPlain>(c, 0, kActTanh, add(a, q)));
}

// GRU: z, r = f(a + R h); h = n + z (h - n). Reset after: n = g(a_n + r (rb_n + R_n h)).
template <bool kPlain>
inline void gru_after_unit(const Cell& c, const Unit& u, const V (&a)[3], const V (&q)[3], const float* h, float* y) {
  const V z = apply<kPlain>(c, 0, kActSigmoid, add(a[0], q[0]));
  const V r = apply<kPlain>(c, 0, kActSigmoid, add(a[1], q[1]));
  const V n = apply<kPlain>(c, 1, kActTanh, mul_add(r, q[2], a[2]));
  store(y + u.j(), mul_add(z, sub(load(h + u.j()), n), n));
}

// Reset before, first half: z and r * h, for the candidate needs every unit's r * h.
template <bool kPlain>
inline void gru_before_gates_unit(const Cell& c, const Unit& u, const float* a, const V (&q)[2], const float* h,
                                  float* z, float* rh) {
  store(z + u.j(), apply<kPlain>(c, 0, kActSigmoid, add(load(a + u.gate(3, 0)), q[0])));
  const V r = apply<kPlain>(c, 0, kActSigmoid, add(load(a + u.gate(3, 1)), q[1]));
  store(rh + u.j(), mul(r, load(h + u.j())));
}

// Reset before, second half: n = g(a_n + R_n (r * h)).
template <bool kPlain>
inline void gru_before_candidate_unit(const Cell& c, const Unit& u, const float* a, V q, const float* h,
                                      const float* z, float* y) {
  const V n = apply<kPlain>(c, 1, kActTanh, add(load(a + u.gate(3, 2)), q));
  store(y + u.j(), mul_add(load(z + u.j()), sub(load(h + u.j()), n), n));
}

// LSTM: c = f c + i g; h = o act(c). y: the hidden state, or what the projection takes.
template <bool kPlain>
inline void lstm_unit(const Cell& c, const Unit& u, const V (&a)[4], const V (&q)[4], float* cell_state, float* y) {
  const size_t j = u.j();
  V in = add(a[0], q[0]);
  V forget = add(a[1], q[1]);
  const V cell = add(a[2], q[2]);
  V out = add(a[3], q[3]);
  const V before = load(cell_state + j);
  if (!kPlain && c.peephole) {
    in = mul_add(load(c.peephole + j), before, in);
    forget = mul_add(load(c.peephole + c.n_panels * kPanel + j), before, forget);
  }
  in = apply<kPlain>(c, 0, kActSigmoid, in);
  forget = !kPlain && c.input_forget ? sub(set1(1.0f), in) : apply<kPlain>(c, 0, kActSigmoid, forget);
  const V after = mul_add(forget, before, mul(in, apply<kPlain>(c, 1, kActTanh, cell)));
  if (!kPlain && c.peephole) out = mul_add(load(c.peephole + 2 * c.n_panels * kPanel + j), after, out);
  out = apply<kPlain>(c, 0, kActSigmoid, out);
  store(cell_state + j, after);
  // The memory on its way out is never clipped, whatever the specification's "input of activations" may include:
  // neither ONNX Runtime nor OpenVINO does.
  store(y + j, mul(out, kPlain ? vtanh(after) : activate(c.acts[2], after)));
}

// --- one row whose products with R are done --------------------------------------------------------------------------

struct RnnRow {
  template <bool kPlain>
  static inline void unit(const Cell& c, const CellRow& r, const Unit& u) {
    rnn_unit<kPlain>(c, u, load(r.a + u.j()), load(r.q + u.j()), r.y);
  }
};
struct GruAfterRow {
  template <bool kPlain>
  static inline void unit(const Cell& c, const CellRow& r, const Unit& u) {
    V a[3], q[3];
    load_gates(a, r.a, u);
    load_gates(q, r.q, u);
    gru_after_unit<kPlain>(c, u, a, q, r.h, r.y);
  }
};
struct GruBeforeGatesRow {
  template <bool kPlain>
  static inline void unit(const Cell& c, const CellRow& r, const Unit& u) {
    V q[2];
    load_gates(q, r.q, u);
    gru_before_gates_unit<kPlain>(c, u, r.a, q, r.h, r.z, r.rh);
  }
};
struct GruBeforeCandidateRow {
  template <bool kPlain>
  static inline void unit(const Cell& c, const CellRow& r, const Unit& u) {
    gru_before_candidate_unit<kPlain>(c, u, r.a, load(r.q + u.j()), r.h, r.z, r.y);
  }
};
struct LstmRow {
  template <bool kPlain>
  static inline void unit(const Cell& c, const CellRow& r, const Unit& u) {
    V a[4], q[4];
    load_gates(a, r.a, u);
    load_gates(q, r.q, u);
    lstm_unit<kPlain>(c, u, a, q, r.c, r.y);
  }
};

template <class Row, bool kPlain>
inline void update_units(const Cell& c, const CellRow& row) {
  for (size_t p = row.first; p < row.end; ++p)
    for (size_t lane = 0; lane < kPanel && p * kPanel + lane < c.n_hidden; lane += kLanes)
      Row::template unit<kPlain>(c, row, {p, lane});
}
template <class Row>
void update(const Cell& c, const CellRow& row) {
  c.plain ? update_units<Row, true>(c, row) : update_units<Row, false>(c, row);
}

// --- float32: the chains of NP panels, and their update while the gates are still in registers -----------------------

// Chains start at zero, or where `start` is given, [n_panels][G][kPanel], there.
template <int NP, int NV>
inline void start_chains(V (&acc)[NP][NV], const float* start, size_t p) {
  for (int i = 0; i < NP; ++i)
    for (int v = 0; v < NV; ++v)
      acc[i][v] = start ? load(start + ((p + static_cast<size_t>(i)) * NV + static_cast<size_t>(v)) * kLanes) : set1(0.0f);
}

// Calls f(unit, chains of its G gates) for every vector of NP panels from p on that has a unit.
template <int G, int NP, class F>
__attribute__((noinline)) void for_units(const Cell& c, size_t p, const float* h, const float* R, size_t K, const float* start, const F& f) {
  constexpr int NV = G * kSub;
  V q[NP][NV];
  start_chains(q, start, p);
  chains<NP, NV>(q, h, R + p * K * G * kPanel, K);
  for (int i = 0; i < NP; ++i)
    for (int s = 0; s < kSub; ++s) {
      V gates[G];
      for (int g = 0; g < G; ++g) gates[g] = q[i][g * kSub + s];
      const Unit u = {p + static_cast<size_t>(i), static_cast<size_t>(s) * kLanes};
      if (u.j() < c.n_hidden) f(u, gates);
    }
}

template <bool kPlain>
struct RnnPanels {
  const Cell& c;
  const float *a, *h;
  float* y;

  template <int NP>
  inline void run(size_t p) const {
    for_units<1, NP>(c, p, h, c.R, c.n_fed_back, nullptr,
                     [&](const Unit& u, const V(&q)[1]) { rnn_unit<kPlain>(c, u, load(a + u.j()), q[0], y); });
  }
};

template <bool kPlain>
struct GruAfterPanels {
  const Cell& c;
  const float *a, *h;
  float* y;

  template <int NP>
  inline void run(size_t p) const {
    for_units<3, NP>(c, p, h, c.R, c.n_fed_back, c.rb, [&](const Unit& u, const V(&q)[3]) {
      V of_x[3];
      load_gates(of_x, a, u);
      gru_after_unit<kPlain>(c, u, of_x, q, h, y);
    });
  }
};

template <bool kPlain>
struct GruBeforeGates {
  const Cell& c;
  const float *a, *h;
  float *z, *rh;

  template <int NP>
  inline void run(size_t p) const {
    for_units<2, NP>(c, p, h, c.R, c.n_fed_back, nullptr,
                     [&](const Unit& u, const V(&q)[2]) { gru_before_gates_unit<kPlain>(c, u, a, q, h, z, rh); });
  }
};

template <bool kPlain>
struct GruBeforeCandidate {
  const Cell& c;
  const float *a, *h, *z, *rh;
  float* y;

  template <int NP>
  inline void run(size_t p) const {
    for_units<1, NP>(c, p, rh, c.R_n, c.n_hidden, nullptr,
                     [&](const Unit& u, const V(&q)[1]) { gru_before_candidate_unit<kPlain>(c, u, a, q[0], h, z, y); });
  }
};

template <bool kPlain>
struct LstmPanels {
  const Cell& c;
  const float *a, *h;
  float *cell_state, *y;

  template <int NP>
  inline void run(size_t p) const {
    for_units<4, NP>(c, p, h, c.R, c.n_fed_back, nullptr, [&](const Unit& u, const V(&q)[4]) {
      V of_x[4];
      load_gates(of_x, a, u);
      lstm_unit<kPlain>(c, u, of_x, q, cell_state, y);
    });
  }
};

// --- the loops over time ---------------------------------------------------------------------------------------------

template <bool kPlain>
void rnn_steps(const Cell& c, const Steps& s, size_t T) {
  const float *a = s.a, *h = s.h0;
  float* y = s.y;
  for (size_t t = 0; t < T; ++t, h = y, y += s.y_stride, a += s.a_step)
    for_panels_of_step<1, kPlain>(c, t, RnnPanels<kPlain>{c, a, h, y});
}

template <bool kPlain>
void gru_after_steps(const Cell& c, const Steps& s, size_t T) {
  const float *a = s.a, *h = s.h0;
  float* y = s.y;
  for (size_t t = 0; t < T; ++t, h = y, y += s.y_stride, a += s.a_step)
    for_panels_of_step<3, kPlain>(c, t, GruAfterPanels<kPlain>{c, a, h, y});
}

template <bool kPlain>
void gru_before_steps(const Cell& c, const Steps& s, size_t T) {
  const float *a = s.a, *h = s.h0;
  float *y = s.y, *z = s.scratch, *rh = s.scratch + c.n_panels * kPanel;
  for (size_t t = 0; t < T; ++t, h = y, y += s.y_stride, a += s.a_step) {
    for_panels_of_step<2, kPlain>(c, t, GruBeforeGates<kPlain>{c, a, h, z, rh});
    for_panels_of_step<1, kPlain>(c, t, GruBeforeCandidate<kPlain>{c, a, h, z, rh, y});
  }
}

template <bool kPlain>
void lstm_steps(const Cell& c, const Steps& s, size_t T) {
  const float *a = s.a, *h = s.h0;
  float *y = s.y, *c_row = s.c_rows;
  for (size_t t = 0; t < T; ++t, h = y, y += s.y_stride, a += s.a_step) {
    const bool projects = !kPlain && c.projection;
    for_panels_of_step<4, kPlain>(c, t, LstmPanels<kPlain>{c, a, h, s.c, projects ? s.scratch : y});
    if (projects)
      dense<Floats<float>, 1>({y, 0, s.scratch, 0, c.projection, nullptr, c.n_projection_panels, c.n_hidden, nullptr}, 1);
    if (c_row) {
      for (size_t j = 0; j < c.n_panels * kPanel; j += kLanes) store(c_row + j, load(s.c + j));
      c_row += s.c_stride;
    }
  }
}

void rnn(const Cell& c, const Steps& s, size_t T) { c.plain ? rnn_steps<true>(c, s, T) : rnn_steps<false>(c, s, T); }
void gru_reset_after(const Cell& c, const Steps& s, size_t T) {
  c.plain ? gru_after_steps<true>(c, s, T) : gru_after_steps<false>(c, s, T);
}
void gru_reset_before(const Cell& c, const Steps& s, size_t T) {
  c.plain ? gru_before_steps<true>(c, s, T) : gru_before_steps<false>(c, s, T);
}
void lstm(const Cell& c, const Steps& s, size_t T) { c.plain ? lstm_steps<true>(c, s, T) : lstm_steps<false>(c, s, T); }

}  // namespace
