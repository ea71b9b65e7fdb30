// SPDX-License-Identifier: MIT
// Frames as integers, for weights that are. Compiled once per ISA. FORMAT.md, "What is computed".

namespace {

inline void store_integers(int8_t* p, VI a) { store_int8(p, a); }
inline void store_integers(int16_t* p, VI a) { store_int16(p, a); }

// x[0, K), times factors, as K integers, zeros up to a multiple of 64 bytes, and a scale; where these stand: quantized_*_at
// (kernels.h).
template <uint32_t kPrecision, bool kSmoothed, class Integer>
inline void quantize(Integer* out, const float* x, size_t K, const Scaling& scaling) {
  const V infinity = set1(__builtin_inff());
  const auto smoothed = [&](size_t j, size_t i, V v) { return kSmoothed ? mul(v, load(scaling.factors + j + i)) : v; };
  V top = set1(0.0f), poison = set1(0.0f);  // poison: NaN once a number was not finite
  visit(x, K, 0.0f, [&](size_t j, int i, V v) {
    v = smoothed(j, static_cast<size_t>(i) * kLanes, v);
    top = max(abs(v), top);
    poison = mul_add(v, set1(0.0f), poison);
  });
  const float most = max_lane(select_lt(add(top, poison), infinity, top, infinity));

  const size_t bytes = quantized_scale_at(kPrecision, K);
  float scale = 0.0f;
  const bool finite = most < __builtin_inff();
  if (finite && most >= 0x1p-100f) {
    scale = most / scaling.limit;
    const V inverse = set1(scaling.limit / most);
    const auto round = [&](size_t j, const float* from) {
      for (size_t i = 0; i < kPanel; i += kLanes)
        store_integers(out + j + i, round_to_int(mul(smoothed(j, i, load(from + i)), inverse)));
    };
    size_t j = 0;
    for (; j + kPanel <= K; j += kPanel) round(j, x + j);
    if (j < K) {
      round(j, chunk(x, j, K, 0.0f).v);
      j += kPanel;
    }
    memset(out + j, 0, bytes - j * sizeof(Integer));
  } else {
    if (!finite) scale = __builtin_nanf("");
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
