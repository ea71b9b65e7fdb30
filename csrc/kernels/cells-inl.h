// SPDX-License-Identifier: MIT
// The recurrent layers. Compiled once per ISA.
// `a` holds the finished x-chains b + W x of every frame; the h-chains start at zero and one add joins the two (DESIGN:
// numerics contract), so a block of frames and a single step give the same bits. Formulas: ONNX operator specification,
// RNN, GRU and LSTM. A panel's cell update follows its h-chains while the gates are still in registers.

namespace {

constexpr int kSub = static_cast<int>(kPanel) / kLanes;  // vectors per gate of a panel

template <bool kPlain>
inline V apply(const CellArgs& c, int which, uint32_t plain_kind, V x) {
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

// Recurrent weights that do not fit the first-level cache are walked to and fro: a timestep starts with the panels that
// the one before left in the cache. Smaller ones gain nothing.
constexpr size_t kToAndFroBytes = 48 * 1024;
template <int NP, class Body>
inline void for_panels_of_step(const CellArgs& c, size_t n_gates, size_t t, const Body& body) {
  if ((t & 1) != 0 && n_gates * c.n_panels * kPanel * c.n_fed_back * sizeof(float) > kToAndFroBytes)
    for_panels_backwards<NP>(c.n_panels, body);
  else
    for_panels<NP>(c.n_panels, body);
}

// --- RNN: h = f(a + R h) -------------------------------------------------------------------------------------------

template <bool kPlain>
struct RnnPanels {
  const CellArgs& c;
  const float* a;
  const float* h;
  float* y;

  template <int NP>
  inline void run(size_t p) const {
    V q[NP][kSub];
    for (auto& row : q)
      for (V& v : row) v = set1(0.0f);
    chains<NP, kSub>(q, h, c.R + p * c.n_fed_back * kPanel, c.n_fed_back);
    for (int i = 0; i < NP; ++i)
      for (int s = 0; s < kSub; ++s) {
        const size_t j = (p + static_cast<size_t>(i)) * kPanel + static_cast<size_t>(s) * kLanes;
        store(y + j, apply<kPlain>(c, 0, kActTanh, add(load(a + j), q[i][s])));
      }
  }
};

// --- GRU: z, r = f(a + R h); h = n + z (h - n) ------------------------------------------------------------------------

// Reset after: n = g(a_n + r (rb_n + R_n h)).
template <bool kPlain>
struct GruAfterPanels {
  const CellArgs& c;
  const float* a;
  const float* h;
  float* y;

  template <int NP>
  inline void run(size_t p) const {
    constexpr int NV = 3 * kSub;
    V q[NP][NV];
    for (int i = 0; i < NP; ++i)
      for (int s = 0; s < kSub; ++s) {
        q[i][s] = q[i][kSub + s] = set1(0.0f);
        q[i][2 * kSub + s] = load(c.rb_n + (p + static_cast<size_t>(i)) * kPanel + s * kLanes);
      }
    chains<NP, NV>(q, h, c.R + p * c.n_fed_back * 3 * kPanel, c.n_fed_back);
    for (int i = 0; i < NP; ++i)
      for (int s = 0; s < kSub; ++s) {
        const size_t panel = p + static_cast<size_t>(i), lane = static_cast<size_t>(s) * kLanes;
        const float* gates = a + panel * 3 * kPanel + lane;
        const size_t j = panel * kPanel + lane;
        const V z = apply<kPlain>(c, 0, kActSigmoid, add(load(gates), q[i][s]));
        const V r = apply<kPlain>(c, 0, kActSigmoid, add(load(gates + kPanel), q[i][kSub + s]));
        const V n = apply<kPlain>(c, 1, kActTanh, mul_add(r, q[i][2 * kSub + s], load(gates + 2 * kPanel)));
        store(y + j, mul_add(z, sub(load(h + j), n), n));
      }
  }
};

// Reset before, first half: z and r * h go to scratch, for the candidate needs every unit's r * h.
template <bool kPlain>
struct GruBeforeGates {
  const CellArgs& c;
  const float* a;
  const float* h;
  float* z_out;
  float* rh_out;

  template <int NP>
  inline void run(size_t p) const {
    constexpr int NV = 2 * kSub;
    V q[NP][NV];
    for (auto& row : q)
      for (V& v : row) v = set1(0.0f);
    chains<NP, NV>(q, h, c.R + p * c.n_fed_back * 2 * kPanel, c.n_fed_back);
    for (int i = 0; i < NP; ++i)
      for (int s = 0; s < kSub; ++s) {
        const size_t panel = p + static_cast<size_t>(i), lane = static_cast<size_t>(s) * kLanes;
        const float* gates = a + panel * 3 * kPanel + lane;
        const size_t j = panel * kPanel + lane;
        store(z_out + j, apply<kPlain>(c, 0, kActSigmoid, add(load(gates), q[i][s])));
        const V r = apply<kPlain>(c, 0, kActSigmoid, add(load(gates + kPanel), q[i][kSub + s]));
        store(rh_out + j, mul(r, load(h + j)));
      }
  }
};

// Reset before, second half: n = g(a_n + R_n (r * h)).
template <bool kPlain>
struct GruBeforeCandidate {
  const CellArgs& c;
  const float* a;
  const float* h;
  const float* z;
  const float* rh;
  float* y;

  template <int NP>
  inline void run(size_t p) const {
    V q[NP][kSub];
    for (auto& row : q)
      for (V& v : row) v = set1(0.0f);
    chains<NP, kSub>(q, rh, c.R_n + p * c.n_hidden * kPanel, c.n_hidden);
    for (int i = 0; i < NP; ++i)
      for (int s = 0; s < kSub; ++s) {
        const size_t panel = p + static_cast<size_t>(i), lane = static_cast<size_t>(s) * kLanes;
        const size_t j = panel * kPanel + lane;
        const V n = apply<kPlain>(c, 1, kActTanh, add(load(a + panel * 3 * kPanel + 2 * kPanel + lane), q[i][s]));
        store(y + j, mul_add(load(z + j), sub(load(h + j), n), n));
      }
  }
};

// --- LSTM: c = f c + i g; h = o act(c) -------------------------------------------------------------------------------

template <bool kPlain>
struct LstmPanels {
  const CellArgs& c;
  const float* a;
  const float* h;
  float* y;  // o act(c): the hidden state, or what the projection takes

  template <int NP>
  inline void run(size_t p) const {
    constexpr int NV = 4 * kSub;
    V q[NP][NV];
    for (auto& row : q)
      for (V& v : row) v = set1(0.0f);
    chains<NP, NV>(q, h, c.R + p * c.n_fed_back * 4 * kPanel, c.n_fed_back);
    for (int i = 0; i < NP; ++i)
      for (int s = 0; s < kSub; ++s) {
        const size_t panel = p + static_cast<size_t>(i), lane = static_cast<size_t>(s) * kLanes;
        const float* gates = a + panel * 4 * kPanel + lane;
        const size_t j = panel * kPanel + lane;
        V in = add(load(gates), q[i][s]);
        V forget = add(load(gates + kPanel), q[i][kSub + s]);
        const V cell = add(load(gates + 2 * kPanel), q[i][2 * kSub + s]);
        V out = add(load(gates + 3 * kPanel), q[i][3 * kSub + s]);
        const V before = load(c.c + j);
        if (!kPlain && c.peephole) {
          in = mul_add(load(c.peephole + j), before, in);
          forget = mul_add(load(c.peephole + c.n_panels * kPanel + j), before, forget);
        }
        in = apply<kPlain>(c, 0, kActSigmoid, in);
        forget = !kPlain && c.input_forget ? sub(set1(1.0f), in) : apply<kPlain>(c, 0, kActSigmoid, forget);
        const V after = mul_add(forget, before, mul(in, apply<kPlain>(c, 1, kActTanh, cell)));
        if (!kPlain && c.peephole) out = mul_add(load(c.peephole + 2 * c.n_panels * kPanel + j), after, out);
        out = apply<kPlain>(c, 0, kActSigmoid, out);
        store(c.c + j, after);
        // The memory on its way out is never clipped, whatever the specification's "input of activations" may include:
        // neither ONNX Runtime nor OpenVINO does.
        store(y + j, mul(out, kPlain ? vtanh(after) : activate(c.acts[2], after)));
      }
  }
};

// --- the loops over time ---------------------------------------------------------------------------------------------

template <bool kPlain>
void rnn_steps(const CellArgs& c, size_t T) {
  const float *a = c.a, *h = c.h0;
  float* y = c.y;
  for (size_t t = 0; t < T; ++t, h = y, y += c.y_stride, a += c.a_step)
    for_panels_of_step<panels_in_flight(kSub)>(c, 1, t, RnnPanels<kPlain>{c, a, h, y});
}

template <bool kPlain>
void gru_after_steps(const CellArgs& c, size_t T) {
  const float *a = c.a, *h = c.h0;
  float* y = c.y;
  for (size_t t = 0; t < T; ++t, h = y, y += c.y_stride, a += c.a_step)
    for_panels_of_step<panels_in_flight(3 * kSub)>(c, 3, t, GruAfterPanels<kPlain>{c, a, h, y});
}

template <bool kPlain>
void gru_before_steps(const CellArgs& c, size_t T) {
  const float *a = c.a, *h = c.h0;
  float *y = c.y, *z = c.scratch, *rh = c.scratch + c.n_panels * kPanel;
  for (size_t t = 0; t < T; ++t, h = y, y += c.y_stride, a += c.a_step) {
    for_panels_of_step<panels_in_flight(2 * kSub)>(c, 2, t, GruBeforeGates<kPlain>{c, a, h, z, rh});
    for_panels_of_step<panels_in_flight(kSub)>(c, 1, t, GruBeforeCandidate<kPlain>{c, a, h, z, rh, y});
  }
}

template <bool kPlain>
void lstm_steps(const CellArgs& c, size_t T) {
  const float *a = c.a, *h = c.h0;
  float *y = c.y, *c_row = c.c_rows;
  for (size_t t = 0; t < T; ++t, h = y, y += c.y_stride, a += c.a_step) {
    const bool projects = !kPlain && c.projection;
    for_panels_of_step<panels_in_flight(4 * kSub)>(c, 4, t, LstmPanels<kPlain>{c, a, h, projects ? c.scratch : y});
    if (projects) dense<1>({y, 0, c.scratch, 0, c.projection, nullptr, c.n_projection_panels, c.n_hidden}, 1);
    if (c_row) {
      for (size_t j = 0; j < c.n_panels * kPanel; j += kLanes) store(c_row + j, load(c.c + j));
      c_row += c.c_stride;
    }
  }
}

void rnn(const CellArgs& c, size_t T, bool plain) { plain ? rnn_steps<true>(c, T) : rnn_steps<false>(c, T); }
void gru_reset_after(const CellArgs& c, size_t T, bool plain) {
  plain ? gru_after_steps<true>(c, T) : gru_after_steps<false>(c, T);
}
void gru_reset_before(const CellArgs& c, size_t T, bool plain) {
  plain ? gru_before_steps<true>(c, T) : gru_before_steps<false>(c, T);
}
void lstm(const CellArgs& c, size_t T, bool plain) { plain ? lstm_steps<true>(c, T) : lstm_steps<false>(c, T); }

}  // namespace
