// SPDX-License-Identifier: MIT
#include "roofline.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

namespace {

// 16 accumulators hide the latency of two multiply-adds a cycle four cycles long, twice over.
__attribute__((target("avx512f"))) float stream_avx512(const float* w, size_t n) {
  __m512 acc[16];
  for (__m512& a : acc) a = _mm512_setzero_ps();
  const __m512 x = _mm512_set1_ps(0.5f);
  size_t k = 0;
  for (; k + 256 <= n; k += 256)
#pragma GCC unroll 16
    for (size_t i = 0; i < 16; ++i) acc[i] = _mm512_fmadd_ps(_mm512_loadu_ps(w + k + 16 * i), x, acc[i]);
  for (; k + 16 <= n; k += 16) acc[0] = _mm512_fmadd_ps(_mm512_loadu_ps(w + k), x, acc[0]);
#pragma GCC unroll 15
  for (int i = 1; i < 16; ++i) acc[0] = _mm512_add_ps(acc[0], acc[i]);
  return _mm512_reduce_add_ps(acc[0]);
}

__attribute__((target("avx2,fma"))) float stream_avx2(const float* w, size_t n) {
  __m256 acc[12];
  for (__m256& a : acc) a = _mm256_setzero_ps();
  const __m256 x = _mm256_set1_ps(0.5f);
  size_t k = 0;
  for (; k + 96 <= n; k += 96)
#pragma GCC unroll 12
    for (size_t i = 0; i < 12; ++i) acc[i] = _mm256_fmadd_ps(_mm256_loadu_ps(w + k + 8 * i), x, acc[i]);
  for (; k + 8 <= n; k += 8) acc[0] = _mm256_fmadd_ps(_mm256_loadu_ps(w + k), x, acc[0]);
#pragma GCC unroll 11
  for (int i = 1; i < 12; ++i) acc[0] = _mm256_add_ps(acc[0], acc[i]);
  float sum[8];
  _mm256_storeu_ps(sum, acc[0]);
  return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

// The same 16 (12) chains without the loads. The chains converge, so that no operand ever grows or gets subnormal.
__attribute__((target("avx512f"))) float peak_avx512(size_t n_rounds) {
  __m512 acc[16];
  for (size_t i = 0; i < 16; ++i) acc[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 x = _mm512_set1_ps(0.5f);
  for (size_t round = 0; round < n_rounds; ++round)
#pragma GCC unroll 16
    for (size_t i = 0; i < 16; ++i) acc[i] = _mm512_fmadd_ps(acc[i], x, x);
#pragma GCC unroll 15
  for (int i = 1; i < 16; ++i) acc[0] = _mm512_add_ps(acc[0], acc[i]);
  return _mm512_reduce_add_ps(acc[0]);
}

__attribute__((target("avx2,fma"))) float peak_avx2(size_t n_rounds) {
  __m256 acc[12];
  for (size_t i = 0; i < 12; ++i) acc[i] = _mm256_set1_ps(static_cast<float>(i));
  const __m256 x = _mm256_set1_ps(0.5f);
  for (size_t round = 0; round < n_rounds; ++round)
#pragma GCC unroll 12
    for (size_t i = 0; i < 12; ++i) acc[i] = _mm256_fmadd_ps(acc[i], x, x);
#pragma GCC unroll 11
  for (int i = 1; i < 12; ++i) acc[0] = _mm256_add_ps(acc[0], acc[i]);
  return _mm256_cvtss_f32(acc[0]);
}

}  // namespace

Roofline roofline(const char* isa) {
  if (strncmp(isa, "avx512", 6) == 0) return stream_avx512;
  if (strcmp(isa, "avx2") == 0 || strcmp(isa, "avxvnni") == 0) return stream_avx2;
  return nullptr;
}

Peak fma_peak(const char* isa) {
  if (strncmp(isa, "avx512", 6) == 0) return {peak_avx512, 16 * 16 * 2};
  if (strcmp(isa, "avx2") == 0 || strcmp(isa, "avxvnni") == 0) return {peak_avx2, 12 * 8 * 2};
  return {nullptr, 0};
}

#elif defined(__aarch64__)
#include <arm_neon.h>

namespace {

float stream_neon(const float* w, size_t n) {
  float32x4_t acc[16];
  for (float32x4_t& a : acc) a = vdupq_n_f32(0.0f);
  const float32x4_t x = vdupq_n_f32(0.5f);
  size_t k = 0;
  for (; k + 64 <= n; k += 64)
#pragma GCC unroll 16
    for (size_t i = 0; i < 16; ++i) acc[i] = vfmaq_f32(acc[i], vld1q_f32(w + k + 4 * i), x);
  for (; k + 4 <= n; k += 4) acc[0] = vfmaq_f32(acc[0], vld1q_f32(w + k), x);
#pragma GCC unroll 15
  for (int i = 1; i < 16; ++i) acc[0] = vaddq_f32(acc[0], acc[i]);
  return vaddvq_f32(acc[0]);
}

float peak_neon(size_t n_rounds) {
  float32x4_t acc[16];
  for (size_t i = 0; i < 16; ++i) acc[i] = vdupq_n_f32(static_cast<float>(i));
  const float32x4_t x = vdupq_n_f32(0.5f);
  for (size_t round = 0; round < n_rounds; ++round)
#pragma GCC unroll 16
    for (size_t i = 0; i < 16; ++i) acc[i] = vfmaq_f32(x, acc[i], x);
#pragma GCC unroll 15
  for (int i = 1; i < 16; ++i) acc[0] = vaddq_f32(acc[0], acc[i]);
  return vaddvq_f32(acc[0]);
}

}  // namespace

Roofline roofline(const char* isa) { return strncmp(isa, "neon", 4) == 0 ? stream_neon : nullptr; }

Peak fma_peak(const char* isa) {
  if (strncmp(isa, "neon", 4) == 0) return {peak_neon, 16 * 4 * 2};
  return {nullptr, 0};
}

#else

Roofline roofline(const char*) { return nullptr; }
Peak fma_peak(const char*) { return {nullptr, 0}; }

#endif
