// SPDX-License-Identifier: MIT
// Weight panels times frames. Compiled once per ISA. Tile shapes change speed, never bits (weights-inl.h).

namespace {

// One lane: one frame.
template <class Weights>
void one_lane(const DenseArgs& d, size_t gates, size_t t) {
  for (size_t p = d.first; p < d.n_panels; ++p)
    Weights::rows_of_panel(d, gates, p, t, d.y + t * d.y_stride + p * gates * kPanel, kPanel);
}

// Panels walked side by side, so that enough independent chains hide the latency of a multiply-add (4 cycles, up to two
// a cycle) within the registers that there are.
constexpr int panels_in_flight(int vectors) {
  int n = 1;
  while (2 * n * vectors <= (kRegisters >= 32 ? 8 : kRegisters / 2) && n < 8) n *= 2;
  return n;
}

template <int G>
inline Place place(const DenseArgs& d, size_t t, size_t p, size_t column) {
  return {t, p, column, d.y + t * d.y_stride + p * G * kPanel + column};
}

// Vectors of a row that a tile of one frame takes: all of them where their accumulators fit the registers, else half.
template <int G>
constexpr int kRowVectors = kRegisters >= 32 || kLanes == 1 || kVectors<G> <= kRegisters / 2 ? kVectors<G> : kVectors<G> / 2;

// Rows of NP panels, of one frame, to y.
template <class Weights, int G, int NP>
inline void rows_of_panels(const DenseArgs& d, size_t p, float* y) {
  for (size_t v = 0; v < kVectors<G>; v += kRowVectors<G>)
    Weights::template tile<G, NP, kRowVectors<G>, 1>(d, {0, p, v * kLanes, y + v * kLanes});
}

// One frame: whole rows of NP panels at a time, then of half as many, so every weight is read once, in order.
template <class Weights, int G, int NP>
inline void one_frame(const DenseArgs& d, size_t p) {
  for (; p + NP <= d.n_panels; p += NP) rows_of_panels<Weights, G, NP>(d, p, d.y + p * G * kPanel);
  if constexpr (NP > 1) one_frame<Weights, G, NP / 2>(d, p);
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

// Panels of one such tile: two where one panel leaves half of the registers idle, so that an x is loaded once for both.
template <int G>
constexpr int tile_panels() {
  return 2 * tile_columns<G>() * tile_frames<G>() <= (kRegisters >= 32 ? 24 : 12) ? 2 : 1;
}

// Frames t to T of NP panels, NT at a time, then fewer (64 frames are ten times 6 and 4); NC vectors at a time: a column of
// a panel stays in cache while the frames pass.
template <class Weights, int G, int NT, int NP>
inline void frames(const DenseArgs& d, size_t p, size_t t, size_t T) {
  constexpr int NC = tile_columns<G>();
  for (; t + NT <= T; t += NT)
    for (int v = 0; v < kVectors<G>; v += NC)
      Weights::template tile<G, NP, NC, NT>(d, place<G>(d, t, p, static_cast<size_t>(v) * kLanes));
  if constexpr (NT > 1) frames<Weights, G, NT == 6 ? 4 : NT / 2, NP>(d, p, t, T);
}

// Bytes of x that stay in the second-level cache while all panels pass.
constexpr size_t kFramesInCache = size_t{1} << 18;

// NT frames, fewer than a tile takes: panels side by side make up for the chains that are missing.
template <class Weights, int G, int NT, int NP>
inline void few_frames(const DenseArgs& d, size_t p) {
  for (; p + NP <= d.n_panels; p += NP) Weights::template tile<G, NP, kVectors<G>, NT>(d, place<G>(d, 0, p, 0));
  if constexpr (NP > 1) few_frames<Weights, G, NT, NP / 2>(d, p);
}

// T frames.
template <class Weights, int G>
inline void block_of_frames(const DenseArgs& d, size_t T) {
  constexpr int most = panels_in_flight(kVectors<G>);
  if (T == 1) return one_frame<Weights, G, most>(d, d.first);
  if constexpr (most >= 8) {
    if (T == 2) return few_frames<Weights, G, 2, most / 2>(d, d.first);
    if (T == 3) return few_frames<Weights, G, 3, most / 4>(d, d.first);
    if (T == 4) return few_frames<Weights, G, 4, most / 4>(d, d.first);
  }
  // Panels outside, frames inside: the panel is read from memory once and then from the cache, as are frames, in blocks.
  constexpr int NT = tile_frames<G>(), NP = tile_panels<G>();
  const size_t n = kFramesInCache / sizeof(float) / (d.K + 1) / NT * NT, block = n < 4 * NT ? 4 * NT : n;
  for (size_t t = 0; t < T; t += block) {
    const size_t end = T - t < block ? T : t + block;
    size_t p = d.first;
    for (; p + NP <= d.n_panels; p += NP) frames<Weights, G, NT, NP>(d, p, t, end);
    if constexpr (NP > 1)
      for (; p < d.n_panels; ++p) frames<Weights, G, NT, 1>(d, p, t, end);
  }
}

template <class Weights, int G>
void dense(const DenseArgs& d, size_t T) {
  Weights::prepare(d, T);
#if UT_ISA_FLUSHES
  if constexpr (Weights::kFlushes) {
    if (kCompact) return flushing_dense<typename Weights::Number>(d, kVectors<G>, T);
    for (size_t t = 0; t < T; ++t)
      if (!frame_is_ordinary(d.x + t * d.x_stride, d.K, d.scaling.least))
        return flushing_dense<typename Weights::Number>(d, kVectors<G>, T);
  }
#endif
  if constexpr (kLanes == 1)
    if (T == 1 || UT_SMALL) {
      for (size_t t = 0; t < T; ++t) one_lane<Weights>(d, G, t);
      return;
    }
  if constexpr (kCompact && !Weights::kFlushes) {
    constexpr int most = panels_in_flight(kVectors<G>);
    DenseArgs one = d;
    for (size_t t = 0; t < T; ++t, one.x += d.x_stride, one.y += d.y_stride, one.quantized += Weights::frame_floats(d.K))
      one_frame<Weights, G, most>(one, d.first);
  } else if constexpr (!kCompact) {
    block_of_frames<Weights, G>(d, T);
  }
}

// The chains of NP panels: acc = acc + w x, of one column and of columns k to K - 1. `w` is that of column 0.
template <int NP, int NV>
inline void chains_of_column(V (&acc)[NP][NV], const float* x, const float* w, size_t K, size_t k) {
  constexpr size_t width = static_cast<size_t>(NV) * kLanes;
  const V xk = set1(x[k]);
  for (int p = 0; p < NP; ++p)
    for (int v = 0; v < NV; ++v)
      acc[p][v] = mul_add(xk, load(w + (static_cast<size_t>(p) * K + k) * width + v * kLanes), acc[p][v]);
}

template <int NP, int NV>
inline void chains_inline(V (&acc)[NP][NV], const float* x, const float* w, size_t K, size_t k = 0) {
  for (; k < K; ++k) chains_of_column(acc, x, w, K, k);
}

template <int NP, int NV>
UT_NOINLINE void chains_called(V (&acc)[NP][NV], const float* x, const float* w, size_t K) {
  chains_inline(acc, x, w, K);
}

// With few registers the loop must stand apart from the cell update: the compiler would keep the constants of exp in
// registers and the accumulators in memory (GRU 128 on AVX2: 6.2 instead of 4.5 us).
template <int NP, int NV>
inline void chains(V (&acc)[NP][NV], const float* x, const float* w, size_t K, [[maybe_unused]] float least) {
#if UT_ISA_FLUSHES
  return flushing_chains(&acc[0][0], NP, NV, x, w, K, least);
#endif
  if (kRegisters >= 32)
    chains_inline(acc, x, w, K);
  else
    chains_called(acc, x, w, K);
}

// Two sets side by side as far as both go: each hides the latency of the other.
template <int NP, int NV>
inline void chains_of_two(V (&a)[NP][NV], const float* x, const float* W, size_t I, V (&q)[NP][NV], const float* h,
                          const float* R, size_t K) {
  size_t k = 0;
  for (; k < I && k < K; ++k) {
    chains_of_column(a, x, W, I, k);
    chains_of_column(q, h, R, K, k);
  }
  chains_inline(a, x, W, I, k);
  chains_inline(q, h, R, K, k);
}

}  // namespace
