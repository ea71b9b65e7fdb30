// SPDX-License-Identifier: MIT
// Floats as bits, random numbers from integer arithmetic (the same on every machine), and a hash of float bits in which
// all NaNs count as one: their payload is the one thing that instruction sets do not agree on.
#ifndef UNDERTOW_TESTS_NUMBERS_H_
#define UNDERTOW_TESTS_NUMBERS_H_

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace ut_test {

inline uint32_t as_bits(float x) {
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  return u;
}
inline float as_float(uint32_t u) {
  float x;
  memcpy(&x, &u, sizeof x);
  return x;
}
inline bool is_nan(uint32_t bits) { return (bits & 0x7fffffffu) > 0x7f800000u; }
inline bool is_nan(float x) { return is_nan(as_bits(x)); }
inline bool is_subnormal(float x) {
  const uint32_t magnitude = as_bits(x) & 0x7fffffffu;
  return magnitude != 0 && magnitude < 0x00800000u;
}
inline bool same(float a, float b) { return as_bits(a) == as_bits(b) || (is_nan(a) && is_nan(b)); }
// n floats at any address; the sign and payload of a NaN are not part of any law.
inline bool same(const void* a, const void* b, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    float x, y;
    memcpy(&x, static_cast<const char*>(a) + 4 * i, 4);
    memcpy(&y, static_cast<const char*>(b) + 4 * i, 4);
    if (!same(x, y)) return false;
  }
  return true;
}

// Floats in their order as consecutive integers: -inf ... -0, +0 ... +inf (the two zeros are one).
inline int64_t rank(float x) {
  const uint32_t u = as_bits(x);
  return u & 0x80000000u ? -static_cast<int64_t>(u & 0x7fffffffu) : static_cast<int64_t>(u);
}
inline float at_rank(int64_t r) {
  return as_float(r < 0 ? 0x80000000u | static_cast<uint32_t>(-r) : static_cast<uint32_t>(r));
}

// splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  size_t below(size_t n) { return static_cast<size_t>(bits() % n); }
  // In [-1, 1), a multiple of 2^-20: no rounding, so no dependence on the machine.
  float unit() { return static_cast<float>(static_cast<int32_t>(bits() >> 43) - (1 << 20)) * (1.0f / (1 << 20)); }

 private:
  uint64_t state_;
};

// FNV-1a over 32-bit words.
class Hash {
 public:
  void add(uint32_t word) { value_ = (value_ ^ word) * 0x100000001b3u; }
  void add(const float* x, size_t n) {
    for (size_t i = 0; i < n; ++i) add(is_nan(x[i]) ? 0x7fc00000u : as_bits(x[i]));
  }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0xcbf29ce484222325u;
};

}  // namespace ut_test

#endif  // UNDERTOW_TESTS_NUMBERS_H_
