// SPDX-License-Identifier: MIT
// Frames as integers, for weights that are. Compiled once per ISA. FORMAT.md, "What is computed".

namespace {

inline void store_integer(uint32_t precision, int8_t* frame, size_t j, VI a) {
  if (precision == kInt16)
    store_int16(reinterpret_cast<int16_t*>(frame) + j, a);
  else
    store_int8(frame + j, a);
}

// f(j, vector) of every vector of x[0, K), times factors; the last one ends in zeros.
template <class Kind, class F>
inline void visit_smoothed(Kind smoothed, const float* x, size_t K, const float* factors, const F& f) {
  const auto number = [&](size_t j, V v) { return smoothed != 0 ? mul(v, load(factors + j)) : v; };
  size_t j = 0;
  if (UT_SMALLEST && smoothed == 0) {
    for (; j < K; ++j) f(j, load(x + j));
    return;
  }
  for (; j + kLanes <= K; j += kLanes) f(j, number(j, load(x + j)));
  if (kLanes > 1 && j < K) f(j, number(j, load_some(x + j, K - j)));
}

// x[0, K), times factors, as K integers, zeros up to a multiple of 64 bytes, and a scale; where these stand: quantized_*_at
// (kernels.h). Both kinds: KnownKind, or uint32_t; smoothed: 1 with factors, else 0.
template <class Precision, class Smoothed>
inline void quantize(Precision precision, Smoothed smoothed, int8_t* out, const float* x, size_t K, const Scaling& scaling) {
  V top = set1(0.0f);  // NaN once a number was
  visit_smoothed(smoothed, x, K, scaling.factors, [&](size_t, V v) UT_INLINE { top = magnitude_or_nan(vabs(v), top); });
  const float most = max_lane(select_lt(top, set1(UT_INFINITY), top, set1(UT_INFINITY)));

  const size_t bytes = quantized_scale_at(precision, K), written = round_up(K, kLanes) * (precision == kInt16 ? 2 : 1);
  float scale = 0.0f;
  const bool finite = most < UT_INFINITY;
  if (finite && most >= 0x1p-100f) {
    scale = most / scaling.limit;
    const V inverse = set1(scaling.limit / most);
    visit_smoothed(smoothed, x, K, scaling.factors,
                   [&](size_t at, V v) UT_INLINE { store_integer(precision, out, at, round_to_int(mul(v, inverse))); });
    if (written < bytes) memset(out + written, 0, bytes - written);
  } else {
    if (!finite) scale = UT_NAN;
    memset(out, 0, bytes);
  }
  UT_COPY(out + bytes, &scale, sizeof scale);
  if (precision != kInt4) return;
  int32_t* sums = reinterpret_cast<int32_t*>(out + quantized_sums_at(precision, K));
  for (size_t g = 0; g < round_up(K, kGroup) / kGroup; ++g) {
    int32_t sum = 0;
    for (size_t i = 0; i < kGroup; ++i) sum += out[g * kGroup + i];
    sums[g] = sum;
  }
}

}  // namespace
