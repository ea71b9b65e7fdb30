// SPDX-License-Identifier: MIT
// The recurrent layers. Compiled once per ISA.
// `a` holds the finished x-chains b + W x of every frame; the h-chains start at zero and one add joins the two (DESIGN:
// numerics contract), so a block of frames and a single step give the same bits. Formulas: ONNX operator specification,
// RNN, GRU and LSTM. A panel's cell update follows its h-chains while the gates are still in registers.

namespace {

constexpr int kSub = static_cast<int>(kPanel) / kLanes;  // vectors per gate of a panel

// How a pass computes activations: of any cell, of one that is plain, of a plain one whose units wait for them, or of one that
// says while it runs whether it is plain.
enum Way { kAny, kPlain, kWaiting, kEither };

template <Way kWay>
UT_INLINE_FN bool is_any(const Cell& c) {
  return kWay == kAny || (kWay == kEither && UT_UNLIKELY(!c.plain));
}

UT_OF_ANY_KIND V apply_any(const Cell& c, int which, V x) {
  if (c.clip != 0.0f) x = min(set1(c.clip), max(set1(-c.clip), x));
  return activate(c.acts[which], x);
}
template <Way kWay>
UT_INLINE_FN V apply(const Cell& c, int which, uint32_t plain_kind, V x) {
  if (kWay == kWaiting) return plain_kind == kActTanh ? tanh_bounded(x) : sigmoid_bounded(x);
  if (is_any<kWay>(c)) return apply_any(c, which, x);
  return plain_kind == kActTanh ? vtanh(x) : vsigmoid(x);
}

// What those who wait do to inputs of sigmoids, and to one of tanh besides, before `apply`.
template <Way kWay, class... Vs>
UT_INLINE_FN void bound_sigmoids(Vs&... x) {
  if (kWay == kWaiting && UT_UNLIKELY(!all_near(x...))) ((x = sigmoid_bounds(x)), ...);
}
template <Way kWay, class... Vs>
UT_INLINE_FN void bound(V& of_tanh, Vs&... of_sigmoids) {
  if (kWay != kWaiting || UT_LIKELY(all_near(of_tanh, of_sigmoids...))) return;
  of_tanh = tanh_bounds(of_tanh);
  ((of_sigmoids = sigmoid_bounds(of_sigmoids)), ...);
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
template <int G, Way kWay, class Body>
inline void for_panels_of_step(const Cell& c, size_t t, const Body& body) {
  constexpr int vectors = G * kSub, most = panels_in_flight(vectors), few = most * vectors >= 8 && most > 1 ? most / 2 : most;
  if constexpr (kWay == kAny) {
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

// --- the cells -------------------------------------------------------------------------------------------------------
// A cell is one pass over its units, or two. A pass is a product, of kChains chains for each unit, and what `unit` makes
// of these, `q`, and of the x-chains of all kGates gates, `a`, for one vector of units; or `fixed`, of one unit of fixed8.

struct Unit {
  size_t panel, lane;  // in panels, in floats
  size_t j() const { return panel * kPanel + lane; }
  size_t gate(int n_gates, int g) const { return (panel * n_gates + g) * kPanel + lane; }
};

// Most passes take R h, all gates of it.
template <int G, int Chains = G>
struct Recurrent {
  static constexpr int kGates = G, kChains = Chains;
  static constexpr bool kHasC = false;  // a cell state, and with it perhaps a projection
  static const float* matrix(const Cell& c) { return c.R; }
  static size_t n_columns(const Cell& c) { return c.n_fed_back; }
  static const float* start(const Cell&) { return nullptr; }
};

// RNN: h = f(a + R h).
struct Rnn : Recurrent<1> {
  template <Way kWay>
  UT_INLINE static inline void unit(const Cell& c, const CellRow& row, const Unit& u, const V (&a)[1], const V (&q)[1]) {
    V h = add(a[0], q[0]);
    bound<kWay>(h);
    store(row.y + u.j(), apply<kWay>(c, 0, kActTanh, h));
  }
  static inline void fixed(const CellRow& row, size_t j, const int32_t* a, const int32_t* q) {
    fixed_put_h(row.y + j, fixed_tanh(a[0] + q[0]));
  }
};

// GRU: z, r = f(a + R h); h = n + z (h - n). Reset after: n = g(a_n + r (rb_n + R_n h)).
struct GruAfter : Recurrent<3> {
  static const float* start(const Cell& c) { return c.rb; }

  template <Way kWay>
  UT_INLINE static inline void unit(const Cell& c, const CellRow& row, const Unit& u, const V (&a)[3], const V (&q)[3]) {
    V z = add(a[0], q[0]), r = add(a[1], q[1]);
    bound_sigmoids<kWay>(r, z);
    r = apply<kWay>(c, 0, kActSigmoid, r);
    V n = mul_add(r, q[2], a[2]);
    bound<kWay>(n);
    n = apply<kWay>(c, 1, kActTanh, n);
    z = apply<kWay>(c, 0, kActSigmoid, z);
    store(row.y + u.j(), mul_add(z, sub(load(row.h + u.j()), n), n));
  }
  static inline void fixed(const CellRow& row, size_t j, const int32_t* a, const int32_t* q) {
    const int32_t n = a[2] + fixed_multiply(q[2], fixed_sigmoid(a[1] + q[1]));
    fixed_put_h(row.y + j, fixed_gru(a[0] + q[0], n, fixed_h(row.h + j)));
  }
};

// Reset before, first pass: z and r * h, for the candidate needs every unit's r * h.
struct GruBeforeGates : Recurrent<3, 2> {
  template <Way kWay>
  UT_INLINE static inline void unit(const Cell& c, const CellRow& row, const Unit& u, const V (&a)[3], const V (&q)[2]) {
    store(row.z + u.j(), apply<kWay>(c, 0, kActSigmoid, add(a[0], q[0])));
    const V r = apply<kWay>(c, 0, kActSigmoid, add(a[1], q[1]));
    store(row.y + u.j(), mul(r, load(row.h + u.j())));
  }
  static inline void fixed(const CellRow& row, size_t j, const int32_t* a, const int32_t* q) {
    fixed_put(row.z + j, static_cast<uint32_t>(a[0] + q[0]));
    fixed_put_h(row.y + j, fixed_multiply(fixed_h(row.h + j), fixed_sigmoid(a[1] + q[1])));
  }
};

// Reset before, second pass: n = g(a_n + R_n (r * h)).
struct GruBeforeCandidate : Recurrent<3, 1> {
  static const float* matrix(const Cell& c) { return c.R_n; }

  template <Way kWay>
  UT_INLINE static inline void unit(const Cell& c, const CellRow& row, const Unit& u, const V (&a)[3], const V (&q)[1]) {
    const V n = apply<kWay>(c, 1, kActTanh, add(a[2], q[0]));
    store(row.y + u.j(), mul_add(load(row.z + u.j()), sub(load(row.h + u.j()), n), n));
  }
  static inline void fixed(const CellRow& row, size_t j, const int32_t* a, const int32_t* q) {
    fixed_put_h(row.y + j, fixed_gru(static_cast<int32_t>(fixed_word(row.z + j)), a[2] + q[0], fixed_h(row.h + j)));
  }
};

// LSTM: c = f c + i g; h = o act(c).
struct Lstm : Recurrent<4> {
  static constexpr bool kHasC = true;

  template <Way kWay>
  UT_INLINE static inline void unit(const Cell& c, const CellRow& row, const Unit& u, const V (&a)[4], const V (&q)[4]) {
    const size_t j = u.j();
    V in = add(a[0], q[0]);
    V forget = add(a[1], q[1]);
    V cell = add(a[2], q[2]);
    V out = add(a[3], q[3]);
    const V before = load(row.c + j);
    if (is_any<kWay>(c) && c.peephole) {
      in = mul_add(load(c.peephole + j), before, in);
      forget = mul_add(load(c.peephole + c.n_panels * kPanel + j), before, forget);
    }
    bound<kWay>(cell, in, forget, out);
    cell = apply<kWay>(c, 1, kActTanh, cell);
    in = apply<kWay>(c, 0, kActSigmoid, in);
    forget = is_any<kWay>(c) && c.input_forget ? sub(set1(1.0f), in) : apply<kWay>(c, 0, kActSigmoid, forget);
    const V after = mul_add(forget, before, mul(in, cell));
    if (is_any<kWay>(c) && c.peephole) out = mul_add(load(c.peephole + 2 * c.n_panels * kPanel + j), after, out);
    out = apply<kWay>(c, 0, kActSigmoid, out);
    store(row.c + j, after);
    // The memory on its way out is never clipped, whatever the specification's "input of activations" may include:
    // neither ONNX Runtime nor OpenVINO does.
    V on_its_way = after;
    bound<kWay>(on_its_way);
    store(row.y + j, mul(out, is_any<kWay>(c) ? activate(c.acts[2], after) : apply<kWay>(c, 2, kActTanh, on_its_way)));
  }
  static inline void fixed(const CellRow& row, size_t j, const int32_t* a, const int32_t* q) {
    int32_t cell = fixed_count(fixed_word(row.c + j), FIXED_OF_Z, FIXED_MOST_C);
    fixed_put_h(row.y + j, fixed_lstm(a[0] + q[0], a[1] + q[1], a[2] + q[2], a[3] + q[3], &cell));
    fixed_put(row.c + j, fixed_number(cell, 16));
  }
};

// Units of a panel.
inline size_t units_from(const Cell& c, size_t panel) {
  const size_t left = c.n_hidden - panel * kPanel;
  return left < kPanel ? left : kPanel;
}

template <int G>
UT_INLINE_FN void load_gates(V (&v)[G], const float* from, const Unit& u) {
  for (int g = 0; g < G; ++g) v[g] = load(from + u.gate(G, g));
}

// --- one row whose products are done ---------------------------------------------------------------------------------

template <class Pass, Way kWay>
inline void update_units(const Cell& c, const CellRow& row) {
  for (size_t p = row.first; p < row.end; ++p)
    for (size_t lane = 0; lane < kPanel && p * kPanel + lane < c.n_hidden; lane += kLanes) {
      const Unit u = {p, lane};
      V a[Pass::kGates], q[Pass::kChains];
      load_gates(a, row.a, u);
      load_gates(q, row.q, u);
      Pass::template unit<kWay>(c, row, u, a, q);
    }
}
// The same of fixed8, whose a and q are bits of integers. A unit of which something is NaN or infinite is NaN.
using FixedUnit = void (*)(const CellRow& row, size_t j, const int32_t* a, const int32_t* q);
UT_OF_ANY_KIND void fixed_units_of(const CellRow& row, size_t n_hidden, int n_gates, int n_chains, bool has_c, FixedUnit fixed) {
  for (size_t j = row.first * kPanel; j < row.end * kPanel && j < n_hidden; ++j) {
    const Unit u = {j / kPanel, j % kPanel};
    int32_t a[4], q[4];
    bool known = !(has_c && fixed_is_none(row.c + j));
    for (int g = 0; g < n_gates; ++g) known &= (a[g] = static_cast<int32_t>(fixed_word(row.a + u.gate(n_gates, g)))) != FIXED_NONE;
    for (int g = 0; g < n_chains; ++g) known &= (q[g] = static_cast<int32_t>(fixed_word(row.q + u.gate(n_chains, g)))) != FIXED_NONE;
    if (known) {
      fixed(row, j, a, q);
      continue;
    }
    if (has_c) row.c[j] = UT_NAN;
    row.y[j] = UT_NAN;
  }
}
template <class Pass>
UT_NOINLINE void fixed_units(const CellRow& row, size_t n_hidden) {
  fixed_units_of(row, n_hidden, Pass::kGates, Pass::kChains, Pass::kHasC, Pass::fixed);
}
template <class Pass>
void update(const Cell& c, const CellRow& row) {
  if (c.fixed) return fixed_units<Pass>(row, c.n_hidden);
  c.plain ? update_units<Pass, kPlain>(c, row) : update_units<Pass, kAny>(c, row);
}

// --- float32: the chains of NP panels, and their update while the gates are still in registers -----------------------

// Chains start at zero, or where `start` is given, [n_panels][G][kPanel], there.
template <int NP, int NV>
inline void start_chains(V (&acc)[NP][NV], const float* start, size_t p) {
  for (int i = 0; i < NP; ++i)
    for (int v = 0; v < NV; ++v)
      acc[i][v] = start ? load(start + ((p + static_cast<size_t>(i)) * NV + static_cast<size_t>(v)) * kLanes) : set1(0.0f);
}

// The product of a pass with `in`, and its update, for every vector of NP panels from p on that has a unit.
template <class Pass, Way kWay>
struct Panels {
  const Cell& c;
  const CellRow& row;
  const float* in;

  template <int NP>
  UT_NOINLINE void run(size_t p) const {
    constexpr int G = Pass::kChains, NV = G * kSub;
    const size_t K = Pass::n_columns(c);
    V q[NP][NV];
    const float* matrix = Pass::matrix(c) + p * K * G * kPanel;
    if constexpr (kLanes == 1) {
      chains_of_rows(q[0], Pass::start(c) ? Pass::start(c) + p * NV : nullptr, in, matrix, K, NV, units_from(c, p), c.least_h);
    } else {
      start_chains(q, Pass::start(c), p);
      chains<NP, NV>(q, in, matrix, K, c.least_h);
    }
    for (int i = 0; i < NP; ++i)
      for (int s = 0; s < kSub; ++s) {
        const Unit u = {p + static_cast<size_t>(i), static_cast<size_t>(s) * kLanes};
        if (u.j() >= c.n_hidden) continue;
        V of_x[Pass::kGates], of_in[G];
        load_gates(of_x, row.a, u);
        for (int g = 0; g < G; ++g) of_in[g] = q[i][g * kSub + s];
        Pass::template unit<kWay>(c, row, u, of_x, of_in);
      }
  }
};

// --- the loop over time ----------------------------------------------------------------------------------------------

template <Way kWay, class First, class... Second>
void walk_steps(const Cell& c, const Steps& s, size_t T) {
  CellRow row = {0, c.n_panels, s.a, nullptr, s.h0, s.y, s.c, s.scratch + c.n_panels * kPanel};
  float *y = s.y, *c_row = s.c_rows;
  const bool projects = First::kHasC && kWay == kAny && c.projection;
  for (size_t t = 0; t < T; ++t, row.h = y, y += s.y_stride, row.a += s.a_step) {
    row.y = projects || sizeof...(Second) != 0 ? s.scratch : y;
    for_panels_of_step<First::kChains, kWay>(c, t, Panels<First, kWay>{c, row, row.h});
    row.y = y;
    (for_panels_of_step<Second::kChains, kWay>(c, t, Panels<Second, kWay>{c, row, s.scratch}), ...);
    if (projects)
      dense<Floats<float>, 1>({y, 0, s.scratch, 0, c.projection, nullptr, c.n_projection_panels, c.n_hidden, nullptr}, 1);
    if (First::kHasC && c_row) {
      for (size_t j = 0; j < c.n_panels * kPanel; j += kLanes) store(c_row + j, load(s.c + j));
      c_row += s.c_stride;
    }
  }
}

template <class... Passes>
void walk(const Cell& c, const Steps& s, size_t T) {
  c.plain ? walk_steps<kPlain, Passes...>(c, s, T) : walk_steps<kAny, Passes...>(c, s, T);
}

}  // namespace
