// SPDX-License-Identifier: MIT
// Weight panels times frames. Compiled once per ISA.
// The numerics contract lives here: every output is one chain of fused multiply-adds in ascending k that starts at the
// bias, whatever the vector width, the number of frames or of panels in flight. Tile shapes change speed, never bits.

namespace {

// Vectors in a panel of G gates.
template <int G>
constexpr int kVectors = G * static_cast<int>(kPanel) / kLanes;

// Panels walked side by side, so that enough independent chains hide the latency of a multiply-add (4 cycles, up to two
// a cycle) within the registers that there are.
constexpr int panels_in_flight(int vectors) {
  int n = 1;
  while (2 * n * vectors <= (kRegisters >= 32 ? 8 : kRegisters / 2) && n < 8) n *= 2;
  return n;
}

// NP panels x NV vectors x NT frames: acc starts where `init` points (or at zero) and ends in y.
template <int NP, int NV, int NT>
inline void tile(float* y, size_t y_stride, size_t y_panel, const float* x, size_t x_stride, const float* w,
                 size_t w_row, size_t w_panel, const float* init, size_t K) {
  V acc[NT][NP][NV];
  for (int t = 0; t < NT; ++t)
    for (int p = 0; p < NP; ++p)
      for (int v = 0; v < NV; ++v)
        acc[t][p][v] = init ? load(init + static_cast<size_t>(p) * y_panel + v * kLanes) : set1(0.0f);
  for (size_t k = 0; k < K; ++k) {
    V weight[NP][NV];
    for (int p = 0; p < NP; ++p)
      for (int v = 0; v < NV; ++v) weight[p][v] = load(w + k * w_row + static_cast<size_t>(p) * w_panel + v * kLanes);
    for (int t = 0; t < NT; ++t) {
      const V xk = set1(x[static_cast<size_t>(t) * x_stride + k]);
      for (int p = 0; p < NP; ++p)
        for (int v = 0; v < NV; ++v) acc[t][p][v] = mul_add(xk, weight[p][v], acc[t][p][v]);
    }
  }
  for (int t = 0; t < NT; ++t)
    for (int p = 0; p < NP; ++p)
      for (int v = 0; v < NV; ++v)
        store(y + static_cast<size_t>(t) * y_stride + static_cast<size_t>(p) * y_panel + v * kLanes, acc[t][p][v]);
}

// One frame: whole rows of NP panels at a time, then of half as many, so every weight is read once, in order.
template <int G, int NP>
inline void one_frame(const DenseArgs& d, const float* x, float* y, size_t p = 0) {
  constexpr size_t width = G * kPanel;
  for (; p + NP <= d.n_panels; p += NP)
    tile<NP, kVectors<G>, 1>(y + p * width, 0, width, x, 0, d.W + p * d.K * width, width, d.K * width,
                             d.b ? d.b + p * width : nullptr, d.K);
  if constexpr (NP > 1) one_frame<G, NP / 2>(d, x, y, p);
}

// NT frames over all panels, NC vectors at a time: a column of a panel stays in cache while the frames pass.
template <int G, int NC, int NT>
inline void frames(const DenseArgs& d, size_t t, size_t p) {
  constexpr size_t width = G * kPanel;
  for (int v = 0; v < kVectors<G>; v += NC) {
    const size_t column = p * width + static_cast<size_t>(v) * kLanes;
    tile<1, NC, NT>(d.y + t * d.y_stride + column, d.y_stride, 0, d.x + t * d.x_stride, d.x_stride,
                    d.W + p * d.K * width + static_cast<size_t>(v) * kLanes, width, 0, d.b ? d.b + column : nullptr, d.K);
  }
}

// Vectors and frames of a tile over many frames: as many accumulators as the registers hold beside a weight and an x.
template <int G>
constexpr int tile_columns() {
  constexpr int most = kRegisters >= 32 ? 4 : 2;
  return kVectors<G> % most == 0 ? most : (kVectors<G> % 3 == 0 ? 3 : 1);
}
template <int G>
constexpr int tile_frames() {
  constexpr int most = (kRegisters >= 32 ? 24 : 12) / tile_columns<G>();
  return most > 12 ? 12 : most;
}

template <int G>
void dense(const DenseArgs& d, size_t T) {
  constexpr int NP = panels_in_flight(kVectors<G>);
  constexpr int NT = tile_frames<G>();
  size_t t = 0;
  // Panels outside, frames inside: the panel is read from memory once and then from the cache.
  const size_t whole = T / NT * NT;
  if (whole != 0)
    for (size_t p = 0; p < d.n_panels; ++p)
      for (t = 0; t < whole; t += NT) frames<G, tile_columns<G>(), NT>(d, t, p);
  if (T - whole >= NT / 2 && NT >= 4) {
    for (size_t p = 0; p < d.n_panels; ++p) frames<G, tile_columns<G>(), NT / 2>(d, whole, p);
    t = whole + NT / 2;
  } else {
    t = whole;
  }
  for (; t < T; ++t) one_frame<G, NP>(d, d.x + t * d.x_stride, d.y + t * d.y_stride);
}

// The h-chains of NP panels: acc = acc + R h.
template <int NP, int NV>
inline void chains_inline(V (&acc)[NP][NV], const float* h, const float* w, size_t K) {
  constexpr size_t width = static_cast<size_t>(NV) * kLanes;
  for (size_t k = 0; k < K; ++k) {
    const V hk = set1(h[k]);
    const float* row = w + k * width;
    for (int p = 0; p < NP; ++p)
      for (int v = 0; v < NV; ++v)
        acc[p][v] = mul_add(hk, load(row + static_cast<size_t>(p) * K * width + v * kLanes), acc[p][v]);
  }
}

template <int NP, int NV>
__attribute__((noinline)) void chains_called(V (&acc)[NP][NV], const float* h, const float* w, size_t K) {
  chains_inline(acc, h, w, K);
}

// With few registers the loop must stand apart from the cell update: the compiler would keep the constants of exp in
// registers and the accumulators in memory (GRU 128 on AVX2: 6.2 instead of 4.5 us).
template <int NP, int NV>
inline void chains(V (&acc)[NP][NV], const float* h, const float* w, size_t K) {
  if (kRegisters >= 32)
    chains_inline(acc, h, w, K);
  else
    chains_called(acc, h, w, K);
}

}  // namespace
