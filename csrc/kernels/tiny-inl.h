// SPDX-License-Identifier: MIT
// Timesteps of a small plain recurrent layer with float32 weights, both halves of each. Such a layer waits for one
// chain of latencies and for nothing else: h, its products, two activations, h. So only vectors that have a unit are
// computed, bounds of activations are branches, and the first product takes h from a register; and a CPU must see the next
// chain while it waits for this one, so whatever stands between them is short. The x-chains run meanwhile.
// Compiled once per ISA. Where vectors are so wide that 8 units leave half of each empty, a narrower instruction set's
// kernels take these (UT_ISA_NARROW).

namespace {

// acc += w x over columns k to K - 1: NV vectors of each of G gates, kSub of a panel, and panels `panel` floats apart.
template <int NV, int G>
inline void tiny_column(V (&acc)[NV][G], V xk, const float* w, size_t panel) {
  for (size_t g = 0; g < G; ++g)
    for (size_t v = 0; v < NV; ++v)
      acc[v][g] = mul_add(xk, load(w + v / kSub * panel + g * kPanel + v % kSub * kLanes), acc[v][g]);
}
template <int NV, int G>
inline void tiny_columns(V (&acc)[NV][G], const float* x, const float* w, size_t k, size_t K) {
  constexpr size_t width = G * kPanel;
  for (; k + 4 <= K; k += 4)
    for (size_t i = 0; i < 4; ++i) tiny_column(acc, set1(x[k + i]), w + (k + i) * width, K * width);
  for (; k < K; ++k) tiny_column(acc, set1(x[k]), w + k * width, K * width);
}
template <int NV, int G>
inline void tiny_start(V (&acc)[NV][G], const float* start) {
  for (size_t g = 0; g < G; ++g)
    for (size_t v = 0; v < NV; ++v)
      acc[v][g] = start ? load(start + (v / kSub * G + g) * kPanel + v % kSub * kLanes) : set1(0.0f);
}

// Of a pass in NV vectors of units.
template <class Pass, int NV>
inline void tiny_steps(const Cell& c, const TinySteps& s, size_t T) {
  constexpr int G = Pass::kGates;
  const float* x = s.x;
  CellRow row = {0, c.n_panels, nullptr, nullptr, s.h, s.y, s.c, nullptr};
  V first = set1(*s.h);
  for (size_t t = 0; t < T; ++t, x += s.x_stride, row.h = row.y, row.y += s.y_stride) {
    V a[NV][G], q[NV][G];
    tiny_start(a, c.b);
    tiny_columns(a, x, c.W, 0, c.n_inputs);
    tiny_start(q, Pass::start(c));
    tiny_column(q, first, c.R, c.n_hidden * G * kPanel);
    tiny_columns(q, row.h, c.R, 1, c.n_hidden);
    for (size_t v = 0; v < NV; ++v) Pass::template unit<kWaiting>(c, row, {v / kSub, v % kSub * kLanes}, a[v], q[v]);
    first = first_lane(load(row.y));
  }
  for (size_t v = 0; v < NV; ++v) store(s.h + v * kLanes, load(row.h + v * kLanes));
}

// Chains of as many vectors as the registers of both halves hold: two panels of the widest, one of others.
constexpr int kTinyVectors = kSub == 1 ? 2 : kSub;
constexpr size_t kTinyUnits = kTinyVectors * kLanes;

template <class Pass, int NV = kTinyVectors>
void tiny(const Cell& c, const TinySteps& s, size_t T) {
  if constexpr (NV > 1)
    if (c.n_hidden <= (NV - 1) * kLanes) return tiny<Pass, NV - 1>(c, s, T);
  tiny_steps<Pass, NV>(c, s, T);
}

template <class Pass>
constexpr TinyKernel tiny_of() {
  if constexpr (kLanes > 1 && !UT_ISA_FLUSHES)
    return tiny<Pass>;
  else
    return nullptr;  // one kernel for each number of units; or looks at each operand, which take longer than what is gained
}

template <int NV>
inline void tiny_dense_in_vectors(float* y, const float* x, const float* W, const float* b, size_t K) {
  V acc[NV][1];
  tiny_start(acc, b);
  tiny_columns(acc, x, W, 0, K);
  for (size_t v = 0; v < NV; ++v) store(y + v * kLanes, acc[v][0]);
}
inline void tiny_dense(float* y, const float* x, const float* W, const float* b, size_t K, size_t M) {
  if constexpr (kLanes == 1) return chains_of_rows(y, b, x, W, K, kPanel, M);
  constexpr int few = kSub > 1 ? kSub / 2 : 1;
  M <= few * kLanes ? tiny_dense_in_vectors<few>(y, x, W, b, K) : tiny_dense_in_vectors<kSub>(y, x, W, b, K);
}

}  // namespace
