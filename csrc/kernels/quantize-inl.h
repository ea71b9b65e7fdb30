// SPDX-License-Identifier: MIT
// Frames as int8, for weights of int8 and int4. Compiled once per ISA. FORMAT.md, "What is computed".

namespace {

// x[0, K) as K int8, zeros up to a multiple of 64, and a scale; `out` is laid out by quantized_*_at (kernels.h).
template <bool kSums>
inline void quantize(int8_t* out, const float* x, size_t K) {
  const V infinity = set1(__builtin_inff());
  V top = set1(0.0f), poison = set1(0.0f);  // poison: NaN once a number was not finite
  visit(x, K, 0.0f, [&](size_t, int, V v) {
    top = max(abs(v), top);
    poison = mul_add(v, set1(0.0f), poison);
  });
  const float most = max_lane(select_lt(add(top, poison), infinity, top, infinity));

  float scale = 0.0f;
  const bool finite = most < __builtin_inff();
  if (finite && most >= 0x1p-100f) {
    scale = most / 127.0f;
    const V inverse = set1(127.0f / most);
    size_t j = 0;
    for (; j + kPanel <= K; j += kPanel)
      for (size_t i = 0; i < kPanel; i += kLanes) store_int8(out + j + i, round_to_int(mul(load(x + j + i), inverse)));
    if (j < K) {
      const Chunk c = chunk(x, j, K, 0.0f);
      for (size_t i = 0; i < kPanel; i += kLanes) store_int8(out + j + i, round_to_int(mul(load(c.v + i), inverse)));
      j += kPanel;
    }
    memset(out + j, 0, round_up(K, 64) - j);
  } else {
    if (!finite) scale = __builtin_nanf("");
    memset(out, 0, round_up(K, 64));
  }
  memcpy(out + quantized_scale_at(K), &scale, sizeof scale);
  if (!kSums) return;
  int32_t* sums = reinterpret_cast<int32_t*>(out + quantized_sums_at(K));
  for (size_t g = 0; g < round_up(K, kGroup) / kGroup; ++g) {
    int32_t sum = 0;
    for (size_t i = 0; i < kGroup; ++i) sum += out[g * kGroup + i];
    sums[g] = sum;
  }
}

}  // namespace
