// SPDX-License-Identifier: MIT
// Products of floats where subnormals become zero in software: frames that make none, and nothing that a double cannot hold as a
// float would (plan.cpp, find_least), and chains of those and of others. Compiled once per ISA that says UT_ISA_FLUSHES.

namespace {

// Whether all numbers of a frame are 0, or from `least` to below 2^60.
inline bool frame_is_ordinary(const float* x, size_t K, float least) {
  if (least == 0.0f) return false;
  Bits low = same_bits(0x7fffffff), high = same_bits(0);
  for (size_t k = 0; k < K; k += kLanes) {
    const V some = load_some(x + k, K - k);
    low = smaller(low, smallness(some));
    high = larger_magnitude(high, some);
  }
  uint32_t bits;
  UT_COPY(&bits, &least, sizeof bits);
  return !any_below(low, bits - 1) && all_below(high, (127u + 60) << 23);
}

// acc[i] += the sum over k of x[k] w[k * width + i * kLanes], of N vectors, of a frame that is ordinary.
#if UT_ISA_FUSES
constexpr int kMostChains = 8;
template <int N, class Element>
inline void some_chains(V* acc, const float* x, const Element* w, size_t width, size_t K) {
  V a[N];
  each<N>([&](auto i) UT_INLINE { a[i] = acc[i]; });
  for (size_t k = 0; k < K; ++k) {
    const V xk = set1(x[k]);
    each<N>([&](auto i) UT_INLINE { a[i] = product_add(xk, load_weights(w + k * width + i * kLanes), a[i]); });
  }
  each<N>([&](auto i) UT_INLINE { acc[i] = a[i]; });
}
#else
// Two lanes of sums stand in the lower half of a vector, as conversions from and to doubles have them; and one look at all
// sums of a column tells whether one lies halfway between two floats.
constexpr int kMostChains = 4;
struct Weights2 {
  V low, high;  // two each
};
inline Weights2 load_in_halves(const float* p) { return {wasm_v128_load64_zero(p), wasm_v128_load64_zero(p + 2)}; }
template <class Element>
inline Weights2 load_in_halves(const Element* p) {
  const V all = load_weights(p);
  return {all, upper(all)};
}
// The columns before the eight in which such a sum is first; how many. A sum stays a double: adding half of what a float's last bit
// is worth and clearing the 29 bits behind that one rounds to the nearest float, but where two are equally near: these bits then
// are 0 already. They are cleared when the next column is added, so that one register holds what is looked at and what is kept.
constexpr size_t kColumnsAtOnce = 8;
template <int N, class Element>
inline size_t quick_chains(V* acc, const float* x, const Element* w, size_t width, size_t K) {
  V sums[2 * N];
  each<N>([&](auto i) UT_INLINE {
    sums[2 * i] = wide(acc[i]);
    sums[2 * i + 1] = wide(upper(acc[i]));
  });
  const V half = wasm_i64x2_const_splat(0x10000000), kept = wasm_i64x2_const_splat(~INT64_C(0x1fffffff));
  const auto add_column = [&](V& sum, V xk, V weights) UT_INLINE {
    sum = wasm_i64x2_add(wasm_f64x2_add(wasm_f64x2_mul(xk, wide(weights)), wasm_v128_and(sum, kept)), half);
  };
  size_t done = 0;
  for (; done + kColumnsAtOnce <= K; done += kColumnsAtOnce) {
    V before[2 * N], least = wasm_i32x4_const_splat(-1);
    each<2 * N>([&](auto i) UT_INLINE { before[i] = sums[i]; });
    double frame[kColumnsAtOnce];  // so that each is doubled once, and repeated by its load
    each<kColumnsAtOnce / 2>([&](auto i) UT_INLINE { wasm_v128_store(frame + 2 * i, wide(wasm_v128_load64_zero(x + done + 2 * i))); });
    for (size_t k = 0; k < kColumnsAtOnce; ++k) {
      const V xk = wasm_v128_load64_splat(frame + k);
      const Element* column = w + (done + k) * width;
      each<N>([&](auto i) UT_INLINE {
        const Weights2 weights = load_in_halves(column + i * kLanes);
        add_column(sums[2 * i], xk, weights.low);
        add_column(sums[2 * i + 1], xk, weights.high);
        least = wasm_u32x4_min(least, wasm_i32x4_shl(wasm_i32x4_shuffle(sums[2 * i], sums[2 * i + 1], 0, 2, 4, 6), 3));
      });
    }
    if (UT_UNLIKELY(!wasm_i32x4_all_true(least))) {
      each<2 * N>([&](auto i) UT_INLINE { sums[i] = before[i]; });
      break;
    }
  }
  each<N>([&](auto i) UT_INLINE { acc[i] = narrow({wasm_v128_and(sums[2 * i], kept), wasm_v128_and(sums[2 * i + 1], kept)}); });
  return done;
}

template <int N, class Element>
inline void some_chains(V* acc, const float* x, const Element* w, size_t width, size_t K) {
  size_t k = quick_chains<N>(acc, x, w, width, K);
  V a[2 * N];
  each<N>([&](auto i) UT_INLINE {
    a[2 * i] = acc[i];
    a[2 * i + 1] = upper(acc[i]);
  });
  for (; k < K; ++k) {
    const V xk = wasm_f64x2_splat(static_cast<double>(x[k]));
    V sums[2 * N], rare = zero_int();
    each<N>([&](auto i) UT_INLINE {
      const Weights2 weights = load_in_halves(w + k * width + i * kLanes);
      sums[2 * i] = wasm_f64x2_add(wasm_f64x2_mul(xk, wide(weights.low)), wide(a[2 * i]));
      sums[2 * i + 1] = wasm_f64x2_add(wasm_f64x2_mul(xk, wide(weights.high)), wide(a[2 * i + 1]));
      rare = wasm_v128_or(rare, halfway({sums[2 * i], sums[2 * i + 1]}));
    });
    if (UT_UNLIKELY(wasm_v128_any_true(rare)))
      for (size_t i = 0; i < 2 * N; ++i) {
        const Weights2 weights = load_in_halves(w + k * width + i / 2 * kLanes);
        sums[i] = away_from_halfway(set1(x[k]), i % 2 ? weights.high : weights.low, a[i], sums[i]);
      }
    each<2 * N>([&](auto i) UT_INLINE { a[i] = wasm_f32x4_demote_f64x2_zero(sums[i]); });
  }
  each<N>([&](auto i) UT_INLINE { acc[i] = wasm_i32x4_shuffle(a[2 * i], a[2 * i + 1], 0, 1, 4, 5); });
}
#endif

// Of vectors v to n_vectors - 1, N at a time, then half as many, down to those of one gate.
template <int N, class Element>
inline void chains_by(V* acc, int v, int n_vectors, const float* x, const Element* w, size_t width, size_t K) {
  for (; v + N <= n_vectors; v += N) some_chains<N>(acc + v, x, w + v * kLanes, width, K);
  if constexpr (N > static_cast<int>(kPanel) / kLanes) chains_by<N / 2>(acc, v, n_vectors, x, w, width, K);
}

// The chains of a panel of n_vectors; `fast`: of a frame that is ordinary.
template <class Element>
UT_NOINLINE void panel_chains(V* acc, int n_vectors, const float* x, const Element* w, size_t K, bool fast) {
  const size_t width = static_cast<size_t>(n_vectors) * kLanes;
  if (fast) return chains_by<kMostChains>(acc, 0, n_vectors, x, w, width, K);
  for (int v = 0; v < n_vectors; ++v)
    for (size_t k = 0; k < K; ++k) acc[v] = mul_add(set1(x[k]), load_weights(w + k * width + v * kLanes), acc[v]);
}

inline void flushing_chains(V* acc, int n_panels, int n_vectors, const float* x, const float* w, size_t K, float least) {
  const bool fast = frame_is_ordinary(x, K, least);
  for (int p = 0; p < n_panels; ++p)
    panel_chains(acc + p * n_vectors, n_vectors, x, w + static_cast<size_t>(p * n_vectors * kLanes) * K, K, fast);
}

// A dense layer, of any number of gates: n_vectors in a panel.
template <class Element>
UT_NOINLINE void flushing_dense(const DenseArgs& d, int n_vectors, size_t T) {
  const size_t width = static_cast<size_t>(n_vectors) * kLanes;
  for (size_t t = 0; t < T; ++t) {
    const float* x = d.x + t * d.x_stride;
    const bool fast = frame_is_ordinary(x, d.K, d.scaling.least);
    for (size_t p = d.first; p < d.n_panels; ++p) {
      V acc[16];
      for (int v = 0; v < n_vectors; ++v) acc[v] = bias_at(d, p * width + v * kLanes);
      panel_chains(acc, n_vectors, x, static_cast<const Element*>(d.W) + p * d.K * width, d.K, fast);
      for (int v = 0; v < n_vectors; ++v) store(d.y + t * d.y_stride + p * width + v * kLanes, acc[v]);
    }
  }
}

}  // namespace
