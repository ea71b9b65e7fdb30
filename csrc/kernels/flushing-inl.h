// SPDX-License-Identifier: MIT
// Products of floats where subnormals become zero in software: which frames make none (plan.cpp, find_least), and chains of
// those and of others. Compiled once per ISA that says UT_ISA_FLUSHES.

namespace {

inline bool makes_no_subnormals(const float* x, size_t K, float least) {
  if (least == 0.0f) return false;
  V low = smallness(load_some(x, K)), other = low;
  size_t k = 0;
  for (; k + 2 * kLanes <= K; k += 2 * kLanes) {
    low = smaller(low, smallness(load(x + k)));
    other = smaller(other, smallness(load(x + k + kLanes)));
  }
  for (; k < K; k += kLanes) low = smaller(low, smallness(load_some(x + k, K - k)));
  uint32_t bits;
  UT_COPY(&bits, &least, sizeof bits);
  return !any_below(smaller(low, other), static_cast<int32_t>(bits - 1));
}

inline bool makes_no_subnormals(const DenseArgs& d, size_t T) {
  bool none = true;
  for (size_t t = 0; t < T && none; ++t) none = makes_no_subnormals(d.x + t * d.x_stride, d.K, d.scaling.least);
  return none;
}

// acc[i] += the sum over k of x[k] w[k * width + i * kLanes], of N vectors.
template <int N>
inline void some_chains(V* acc, const float* x, const float* w, size_t width, size_t K) {
  V a[N];
  for (int i = 0; i < N; ++i) a[i] = acc[i];
  for (size_t k = 0; k < K; ++k) {
    const V xk = set1(x[k]);
    for (int i = 0; i < N; ++i) a[i] = product_add(xk, load(w + k * width + i * kLanes), a[i]);
  }
  for (int i = 0; i < N; ++i) acc[i] = a[i];
}

// The chains of n_panels panels of n_vectors each, a multiple of 4.
UT_NOINLINE void flushing_chains(V* acc, int n_panels, int n_vectors, const float* x, const float* w, size_t K, float least) {
  const size_t width = static_cast<size_t>(n_vectors) * kLanes;
  const bool fast = makes_no_subnormals(x, K, least);
  for (int p = 0; p < n_panels; ++p, acc += n_vectors, w += K * width) {
    int v = 0;
    for (; fast && v + 8 <= n_vectors; v += 8) some_chains<8>(acc + v, x, w + v * kLanes, width, K);
    for (; fast && v < n_vectors; v += 4) some_chains<4>(acc + v, x, w + v * kLanes, width, K);
    for (; v < n_vectors; ++v)
      for (size_t k = 0; k < K; ++k) acc[v] = mul_add(set1(x[k]), load(w + k * width + v * kLanes), acc[v]);
  }
}

}  // namespace
