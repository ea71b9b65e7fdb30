// SPDX-License-Identifier: MIT
// Products of fixed8: frames of 16 bits, sums in stretches, sums of gates as integers in place of numbers. Compiled once per
// ISA; its arithmetic is that of fixed.h, of exported models too. FORMAT.md, "Cells in fixed8".
#include "fixed.h"

namespace {

// Scratch of a frame: its integers, then its biased exponent where other precisions have a scale.
inline void fixed_frame(uint8_t* frame, const float* x, size_t K, bool hidden) {
  int32_t exponent = fixed_exponent(x, K);
  if (hidden && exponent != 255) exponent = FIXED_H;
  memcpy(frame + quantized_scale_at(kFixed8, K), &exponent, sizeof exponent);
  for (size_t k = 0; k < K && exponent != 255; ++k) {
    const int16_t q = static_cast<int16_t>(fixed_count(fixed_word(x + k), 9 + exponent, FIXED_MOST_COUNT));
    memcpy(frame + 2 * k, &q, sizeof q);
  }
}

// Of one gate of a panel: what the products of columns `k` to `end` - 1 sum up to.
[[maybe_unused]] UT_NOINLINE void fixed_sums(int32_t* to, const int8_t* w, const uint8_t* frame, size_t k, size_t end, size_t width) {
  int32_t sums[kPanel] = {};  // bytes may lie anywhere, in `to` too
  for (; k < end; ++k) {
    int16_t q;
    memcpy(&q, frame + 2 * k, sizeof q);
    for (size_t i = 0; i < kPanel; ++i) sums[i] += w[k * width + i] * q;
  }
  memcpy(to, sums, sizeof sums);
}

inline int32_t fixed_bias(const float* b) {
  const uint32_t bits = fixed_word(b);
  return (bits & 0x7f800000u) == 0x7f800000u ? static_cast<int32_t>(FIXED_NONE) : fixed_count(bits, FIXED_OF_Z, FIXED_MOST);
}

// Adds scaled sums to z. In a loop, for written out sixteen times this is most of the code of an instruction set.
[[maybe_unused]] UT_NOINLINE void fixed_add_scaled(int32_t* z, const int32_t* sums, const float* scales, int32_t exponent) {
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 1
#endif
  for (size_t i = 0; i < kPanel; ++i) {
    const uint32_t scale = fixed_word(scales + i);  // a normal number of 15 bits, or 0
    if (scale == 0 || z[i] == FIXED_NONE) continue;
    const int32_t multiplier = static_cast<int32_t>(((scale & 0x7fffffu) | 0x800000u) >> 9);
    z[i] = fixed_saturated(z[i] + fixed_scaled(sums[i], multiplier, 250 - exponent - static_cast<int32_t>(scale >> 23)));
  }
}

// z of one gate of a panel, for one frame, to 16 floats that hold the bits of integers.
inline void fixed_gate(float* y, const DenseArgs& d, const uint8_t* frame, const int8_t* w, const float* scales, const float* b, size_t width) {
  int32_t exponent, z[kPanel], sums[kPanel];
  memcpy(&exponent, frame + quantized_scale_at(kFixed8, d.K), sizeof exponent);
  for (size_t i = 0; i < kPanel; ++i) z[i] = exponent == 255 ? static_cast<int32_t>(FIXED_NONE) : b ? fixed_bias(b + i) : 0;
  for (size_t k = 0, end; k < d.K && exponent != 255; k = end) {
    end = d.K - k < FIXED_STRETCH ? d.K : k + FIXED_STRETCH;
    fixed_sums(sums, w, frame, k, end, width);
    fixed_add_scaled(z, sums, scales, exponent);
  }
  memcpy(y, z, sizeof z);
}

// One of it for all numbers of gates: its inner loops are of one.
[[maybe_unused]] UT_NOINLINE void fixed_dense_of_gates(uint32_t gates, const DenseArgs& d, size_t T) {
  const size_t width = gates * kPanel;
  for (size_t t = 0; t < T; ++t) {
    uint8_t* frame = reinterpret_cast<uint8_t*>(d.quantized) + t * quantized_bytes(kFixed8, d.K);
    fixed_frame(frame, d.x + t * d.x_stride, d.K, d.scaling.hidden);
    for (size_t p = d.first; p < d.n_panels; ++p) {
      const int8_t* w = static_cast<const int8_t*>(d.W) + p * panel_bytes(kFixed8, d.K, gates);
      const float* scales = reinterpret_cast<const float*>(w + d.K * width);
      for (size_t j = 0; j < width; j += kPanel)
        fixed_gate(d.y + t * d.y_stride + p * width + j, d, frame, w + j, scales + j, d.b ? d.b + p * width + j : nullptr, width);
    }
  }
}
template <uint32_t kGates>
void fixed_dense(const DenseArgs& d, size_t T) {
  fixed_dense_of_gates(kGates, d, T);
}

// --- what cells make of it -------------------------------------------------------------------------------------------

inline int32_t fixed_h(const float* h) { return fixed_count(fixed_word(h), FIXED_OF_H, FIXED_MOST_COUNT); }
inline void fixed_put_h(float* h, int32_t n) { fixed_put(h, fixed_number(n, 15)); }
inline bool fixed_is_none(const float* x) { return (fixed_word(x) & 0x7f800000u) == 0x7f800000u; }

}  // namespace
