// SPDX-License-Identifier: MIT
// Walks over vectors of any length, 16 elements at a time. Compiled once per ISA.

namespace {

// 16 elements at x + j, with `fill` in place of those at or behind n.
struct Chunk {
  float v[kPanel];
};
inline Chunk chunk(const float* x, size_t j, size_t n, float fill) {
  Chunk c;
  for (size_t i = 0; i < kPanel; ++i) c.v[i] = j + i < n ? x[j + i] : fill;
  return c;
}

constexpr int kChunkVectors = static_cast<int>(kPanel) / kLanes;

// Applies f(i, vector) -> vector to every vector of x[0, n) and writes the n results to y.
template <class F>
inline void map(float* y, const float* x, size_t n, float fill, const F& f) {
  if constexpr (UT_SMALLEST) {  // each element is a vector; `fill` changes no result
    for (size_t j = 0; j < n; ++j) y[j] = f(j - j % kPanel, static_cast<int>(j % kPanel), x[j]);
    return;
  }
  for (size_t j = 0; j < n; j += kPanel) {
    const bool whole = j + kPanel <= n;
    Chunk c;
    if (!whole) c = chunk(x, j, n, fill);
    const float* from = whole ? x + j : c.v;
    float* to = whole ? y + j : c.v;
    for (int i = 0; i < kChunkVectors; ++i) store(to + i * kLanes, f(j, i, load(from + i * kLanes)));
    if (!whole)
      for (size_t i = 0; j + i < n; ++i) y[j + i] = c.v[i];
  }
}

// The same without results.
template <class F>
inline void visit(const float* x, size_t n, float fill, const F& f) {
  if constexpr (UT_SMALLEST) {
    for (size_t j = 0; j < n; ++j) f(j - j % kPanel, static_cast<int>(j % kPanel), x[j]);
    return;
  }
  for (size_t j = 0; j < n; j += kPanel) {
    const bool whole = j + kPanel <= n;
    Chunk c;
    if (!whole) c = chunk(x, j, n, fill);
    for (int i = 0; i < kChunkVectors; ++i) f(j, i, load((whole ? x + j : c.v) + i * kLanes));
  }
}

}  // namespace
