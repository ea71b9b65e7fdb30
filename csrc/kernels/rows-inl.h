// SPDX-License-Identifier: MIT
// Frame ops over frames of several axes, whose rows are not padded. Compiled once per ISA.
// Lanes run over outputs and each output is one chain in ascending order, whatever the tile; only a reduction whose outputs
// are not neighbours (B = 1) goes to 16 partial results, element n to number n mod 16, joined pairwise.

namespace {

// The first `n` of kLanes numbers, or all where there are more.
inline void store_up_to(float* p, V a, size_t n) { n >= kLanes ? store(p, a) : store_some(p, a, n); }

#if UT_SMALL
#define UT_JOINED UT_NOINLINE
#else
#define UT_JOINED UT_INLINE_FN
#endif
UT_JOINED V joined(uint32_t kind, V u, V v) {
  switch (kind) {
    case kReduceSum: return add(u, v);
    case kReduceMax: return max_or_nan(u, v);
    case kReduceMin: return min_or_nan(u, v);
    default: return mul(u, v);
  }
}

UT_INLINE_FN float neutral(uint32_t kind) {
  constexpr float kNeutral[] = {0.0f, -UT_INFINITY, UT_INFINITY, 1.0f};
  return kNeutral[kind];
}

// A row of N neighbours.
template <class Kind>
inline float reduce_row(Kind kind, const float* x, size_t N) {
  V parts[kChunkVectors];
  for (V& part : parts) part = set1(neutral(kind));
  visit(x, N, neutral(kind), [&](size_t, int i, V v) { parts[i] = joined(kind, parts[i], v); });
  float s[2 * kPanel] = {};
  for (int i = 0; i < kChunkVectors; ++i) store(s + i * kLanes, parts[i]);
  for (size_t width = kPanel / 2; width != 0; width /= 2)
    for (size_t i = 0; i < width; i += kLanes) store(s + i, joined(kind, load(s + i), load(s + i + width)));
  return s[0];
}

// Outputs j to j + NV * kLanes - 1 of those that are neighbours.
template <class Kind, int NV, bool kWhole>
inline void reduce_tile(Kind kind, float* y, const float* x, size_t N, size_t B, size_t j) {
  V acc[NV];
  for (V& a : acc) a = set1(neutral(kind));
  for (size_t n = 0; n < N; ++n)
    for (int v = 0; v < NV; ++v) {
      const float* at = x + n * B + j + v * kLanes;
      acc[v] = joined(kind, acc[v], kWhole ? load(at) : load_some(at, B - j));
    }
  for (int v = 0; v < NV; ++v) kWhole ? store(y + j + v * kLanes, acc[v]) : store_some(y + j, acc[v], B - j);
}

template <class Kind>
UT_NOINLINE void reduce_any(Kind kind, float* y, const float* x, size_t A, size_t N, size_t B) {
  for (size_t a = 0; a < A; ++a, x += N * B, y += B) {
    if (B == 1) {
      *y = reduce_row(kind, x, N);
      continue;
    }
    size_t j = 0;
    for (; !UT_SMALLEST && !kCompact && j + 2 * kLanes <= B; j += 2 * kLanes) reduce_tile<Kind, 2, true>(kind, y, x, N, B, j);
    for (; j + kLanes <= B; j += kLanes) reduce_tile<Kind, 1, true>(kind, y, x, N, B, j);
    if (kLanes > 1 && j < B) reduce_tile<Kind, 1, false>(kind, y, x, N, B, j);
  }
}
template <uint32_t kKind>
void reduce(float* y, const float* x, size_t A, size_t N, size_t B) {
  if constexpr (UT_SMALL)
    reduce_any(uint32_t{kKind}, y, x, A, N, B);
  else
    reduce_any(KnownKind<kKind>(), y, x, A, N, B);
}

// Channels j to j + kLanes - 1 of NT rows: independent chains hide the latency of a multiply-add.
template <int NT, bool kWhole>
inline void depthwise_tile(const DepthwiseArgs& d, size_t row, size_t j) {
  const size_t C = d.n_channels, padded = round_up(C, kPanel), some = C - j;
  const float *x = d.x + row * d.n_taps * C + j, *W = static_cast<const float*>(d.W) + j;
  V acc[NT];
  for (V& a : acc) a = d.b ? load(d.b + j) : set1(0.0f);
  for (size_t k = 0; k < d.n_taps; ++k) {
    const V w = load(W + k * padded);
    for (int t = 0; t < NT; ++t) {
      const float* at = x + (static_cast<size_t>(t) * d.n_taps + k) * C;
      acc[t] = mul_add(kWhole ? load(at) : load_some(at, some), w, acc[t]);
    }
  }
  for (int t = 0; t < NT; ++t) {
    float* to = d.y + (row + static_cast<size_t>(t)) * C + j;
    kWhole ? store(to, acc[t]) : store_some(to, acc[t], some);
  }
}

template <int NT>
inline void depthwise_rows(const DepthwiseArgs& d, size_t row) {
  for (; row + NT <= d.n_rows; row += NT) {
    size_t j = 0;
    for (; j + kLanes <= d.n_channels; j += kLanes) depthwise_tile<NT, true>(d, row, j);
    if (kLanes > 1 && j < d.n_channels) depthwise_tile<NT, false>(d, row, j);
  }
  if constexpr (NT > 1) depthwise_rows<NT / 2>(d, row);
}

void depthwise(const DepthwiseArgs& d) { depthwise_rows<kCompact || UT_SMALLEST ? 1 : 8>(d, 0); }

// The same with weights of int16 (FORMAT.md, "What is computed"), one row at a time. Each channel of a row has a step of its
// own, a power of two: no lane asks another for the largest number, nothing is divided, and no product is rounded but to an
// integer.
template <bool kWhole>
inline void depthwise_int16_tile(const DepthwiseArgs& d, size_t row, size_t j, V largest) {
  const size_t C = d.n_channels, K = d.n_taps, some = C - j, lane = j % kPanel;
  const int16_t* panel = static_cast<const int16_t*>(d.W) + j / kPanel * (panel_bytes(kInt16, K, 1) / sizeof(int16_t));
  const int16_t* w = panel + 2 * lane;
  const V weight_scale = load(reinterpret_cast<const float*>(panel + round_up(K, 2) * kPanel) + lane);
  const float* x = d.x + row * K * C + j;
  const auto at = [&](size_t k) UT_INLINE { return kWhole ? load(x + k * C) : load_some(x + k * C, some); };
  const V silence = set1(0x1p-100f), infinity = set1(UT_INFINITY), zero = set1(0.0f), nan = set1(UT_NAN);
  V top = zero;  // of what is no number, NaN or infinity: integers are anything then, their scale NaN
  for (size_t k = 0; k < K; ++k) top = magnitude_or_nan(top, vabs(at(k)));
  const V step = mul(power_within(top), largest);
  const V inverse = select_lt(top, silence, zero, inverse_of_power(step));
  const V scale = select_lt(top, silence, zero, select_lt(top, infinity, step, nan));
  const auto integers = [&](size_t k) UT_INLINE { return round_to_int(mul(at(k), inverse)); };
  V sum = zero;
  for (size_t k = 0; k < K;) {
    const size_t end = K - k > kStretch ? k + kStretch : K;
    VI acc = zero_int();
    // The second weight may be another row's, or the first scale: it meets 0.
    for (; UT_SMALLEST && k < end; ++k) acc = dot_each(acc, w + k / 2 * 2 * kPanel + k % 2, integers(k), zero_int());
    for (; !UT_SMALLEST && k + 2 <= end; k += 2) acc = dot_each(acc, w + k * kPanel, integers(k), integers(k + 1));
    if (!UT_SMALLEST && k < end) {
      acc = dot_each(acc, w + k * kPanel, integers(k), zero_int());
      ++k;
    }
    sum = add(sum, to_float(acc));
  }
  const V y = mul_add(mul(sum, weight_scale), scale, d.b ? load(d.b + j) : zero);
  float* to = d.y + row * C + j;
  kWhole ? store(to, y) : store_some(to, y, some);
}

void depthwise_int16(const DepthwiseArgs& d) {
  const V largest = set1(2.0f / static_cast<float>(1 << integer_bits(d.n_taps)));
  for (size_t row = 0; row < d.n_rows; ++row) {
    size_t j = 0;
    for (; !kCompact && j + kLanes <= d.n_channels; j += kLanes) depthwise_int16_tile<true>(d, row, j, largest);
    for (; (kLanes > 1 || kCompact) && j < d.n_channels; j += kLanes) depthwise_int16_tile<false>(d, row, j, largest);
  }
}

struct Product {
  float* y;
  const float *a, *b;
  size_t I, K, J;
};

template <int NT, bool kWhole>
inline void matmul_tile(const Product& p, size_t i, size_t j) {
  const size_t some = p.J - j;
  const float* a = p.a + i * p.K;
  V acc[NT];
  for (V& v : acc) v = set1(0.0f);
  for (size_t k = 0; k < p.K; ++k) {
    const float* from = p.b + k * p.J + j;
    const V b = kWhole ? load(from) : load_some(from, some);
    for (int t = 0; t < NT; ++t) acc[t] = mul_add(set1(a[static_cast<size_t>(t) * p.K + k]), b, acc[t]);
  }
  for (int t = 0; t < NT; ++t) {
    float* to = p.y + (i + static_cast<size_t>(t)) * p.J + j;
    kWhole ? store(to, acc[t]) : store_some(to, acc[t], some);
  }
}

template <int NT>
inline void matmul_rows(const Product& p, size_t i) {
  for (; i + NT <= p.I; i += NT) {
    size_t j = 0;
    for (; !kCompact && j + kLanes <= p.J; j += kLanes) matmul_tile<NT, true>(p, i, j);
    for (; (kLanes > 1 || kCompact) && j < p.J; j += kLanes) matmul_tile<NT, false>(p, i, j);
  }
  if constexpr (NT > 1) matmul_rows<NT / 2>(p, i);
}

void matmul(float* y, const float* a, const float* b, size_t I, size_t K, size_t J) {
  matmul_rows<kCompact || UT_SMALLEST ? 1 : 8>({y, a, b, I, K, J}, 0);
}

}  // namespace
