// SPDX-License-Identifier: MIT
// Frames as integers, for weights that are. Compiled once per ISA. FORMAT.md, "What is computed".

namespace {

inline void store_integers(int8_t* p, VI a) { store_int8(p, a); }
inline void store_integers(int16_t* p, VI a) { store_int16(p, a); }

// f(j, vector) of every vector of x[0, K), times factors; the last one ends in zeros.
template <bool kSmoothed, class F>
inline void visit_smoothed(const float* x, size_t K, const float* factors, const F& f) {
  const auto smoothed = [&](size_t j, V v) { return kSmoothed ? mul(v, load(factors + j)) : v; };
  size_t j = 0;
  for (; j + kLanes <= K; j += kLanes) f(j, smoothed(j, load(x + j)));
  if (j < K) f(j, smoothed(j, load_some(x + j, K - j)));
}

// x[0, K), times factors, as K integers, zeros up to a multiple of 64 bytes, and a scale; where these stand: quantized_*_at
// (kernels.h).
template <uint32_t kPrecision, bool kSmoothed, class Integer>
inline void quantize(Integer* out, const float* x, size_t K, const Scaling& scaling) {
  V top = set1(0.0f);  // NaN once a number was
  visit_smoothed<kSmoothed>(x, K, scaling.factors, [&](size_t, V v) UT_INLINE { top = magnitude_or_nan(vabs(v), top); });
  const float most = max_lane(select_lt(top, set1(UT_INFINITY), top, set1(UT_INFINITY)));

  const size_t bytes = quantized_scale_at(kPrecision, K), written = round_up(K, kLanes);
  float scale = 0.0f;
  const bool finite = most < UT_INFINITY;
  if (finite && most >= 0x1p-100f) {
    scale = most / scaling.limit;
    const V inverse = set1(scaling.limit / most);
    visit_smoothed<kSmoothed>(x, K, scaling.factors,
                              [&](size_t at, V v) UT_INLINE { store_integers(out + at, round_to_int(mul(v, inverse))); });
    if (written * sizeof(Integer) < bytes) memset(out + written, 0, bytes - written * sizeof(Integer));
  } else {
    if (!finite) scale = UT_NAN;
    memset(out, 0, bytes);
  }
  memcpy(reinterpret_cast<uint8_t*>(out) + bytes, &scale, sizeof scale);
  if (kPrecision != kInt4) return;
  int32_t* sums = reinterpret_cast<int32_t*>(reinterpret_cast<uint8_t*>(out) + quantized_sums_at(kPrecision, K));
  for (size_t g = 0; g < round_up(K, kGroup) / kGroup; ++g) {
    int32_t sum = 0;
    for (size_t i = 0; i < kGroup; ++i) sum += out[g * kGroup + i];
    sums[g] = sum;
  }
}

}  // namespace
