// SPDX-License-Identifier: MIT
// The SIMD vocabulary in portable C++: 1 float lane. Same names and meaning in every vec_*.h.
// Used only by isa_scalar.cpp; internal linkage throughout: nothing here may escape that object file.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace {

using V = float;
constexpr int kLanes = 1;
constexpr int kRegisters = 16;

inline uint32_t bits_of(float a) {
  uint32_t u;
  memcpy(&u, &a, sizeof u);
  return u;
}
inline float float_of(uint32_t u) {
  float a;
  memcpy(&a, &u, sizeof a);
  return a;
}

inline V load(const float* p) { return *p; }
inline void store(float* p, V a) { *p = a; }
inline V set1(float a) { return a; }
inline V load_some(const float* p, size_t) { return *p; }  // the first n lanes, n > 0; the others are 0
inline void store_some(float* p, V a, size_t) { *p = a; }  // the first n lanes, and nothing behind them

inline V add(V a, V b) { return a + b; }
inline V sub(V a, V b) { return a - b; }
inline V mul(V a, V b) { return a * b; }
inline V div(V a, V b) { return a / b; }
inline V square_root(V a) { return __builtin_sqrtf(a); }

#if defined(__FP_FAST_FMAF)
inline V mul_add(V a, V b, V c) { return __builtin_fmaf(a, b, c); }  // a * b + c, one rounding
#else
// Without a fused multiply-add: a * b is exact in double, so only the sum rounds before the last rounding to float.
// Rounding twice differs from rounding once only if the first result sits halfway between two floats; there the lost
// part of the sum decides (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
inline V mul_add(V a, V b, V c) {
  const double p = static_cast<double>(a) * static_cast<double>(b);
  const double q = static_cast<double>(c);
  double s = p + q;
  uint64_t u;
  memcpy(&u, &s, sizeof u);
  if ((u & 0x1fffffffu) == 0x10000000u) {
    const double v = s - p;
    const double lost = (p - (s - v)) + (q - v);
    if (lost != 0.0) {
      u = ((lost > 0.0) == (s > 0.0)) ? u + 1 : u - 1;
      memcpy(&s, &u, sizeof s);
    }
  }
  return static_cast<float>(s);
}
#endif

inline V max(V a, V b) { return a > b ? a : b; }  // a > b ? a : b, so b where either is NaN
inline V min(V a, V b) { return a < b ? a : b; }  // a < b ? a : b, so b where either is NaN
inline V abs(V a) { return float_of(bits_of(a) & 0x7fffffffu); }
inline V copy_sign(V magnitude, V sign) {
  return float_of((bits_of(magnitude) & 0x7fffffffu) | (bits_of(sign) & 0x80000000u));
}
inline V select_lt(V a, V b, V yes, V no) { return a < b ? yes : no; }  // no where either is NaN
inline bool all_lt(V a, V b) { return a < b; }  // false where any is NaN
inline V first_lane(V a) { return a; }  // in all lanes
inline V magnitude_or_nan(V a, V b) { return bits_of(a) > bits_of(b) ? a : b; }  // the larger of two that are not negative, or NaN
inline float max_lane(V a) { return a; }  // of lanes that are not NaN

inline V pow2(V n) {  // 2^n for a whole n in [-126, 127]; 0 for n = -127
  // A NaN must not reach the conversion to int, which C++ leaves undefined; any power will do, the product is NaN.
  const int32_t i = n >= -127.0f && n <= 127.0f ? static_cast<int32_t>(n) : 0;
  return float_of(static_cast<uint32_t>(i + 127) << 23);
}
inline V exponent(V a) {  // e of a = m * 2^e with m in [1, 2); a normal and positive
  return static_cast<float>(static_cast<int32_t>(bits_of(a) >> 23) - 127);
}
inline V mantissa(V a) { return float_of((bits_of(a) & 0x7fffffu) | 0x3f800000u); }  // m of the same
inline V power_within(V a) { return float_of(bits_of(a) & 0x7f800000u); }           // 2^e of the same
inline V inverse_of_power(V a) { return float_of(0x7f000000u - bits_of(a)); }       // 1 / a of a power from 2^-126 to 2^126

// What vector v of a panel meets: *low in lanes of rows 0 to 7, *high in lanes of rows 8 to 15.
inline V broadcast_halves(const float* low, const float* high, int v) { return set1(*(v < 8 ? low : high)); }

// --- 16-bit numbers, widened exactly ---------------------------------------------------------------------------------

inline V load_half(const uint16_t* p) {
  const uint32_t sign = (*p & 0x8000u) << 16, magnitude = *p & 0x7fffu;
  if (magnitude >= 0x7c00u) return float_of(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  if (magnitude < 0x400u) return float_of(sign | bits_of(static_cast<float>(magnitude) * 0x1p-24f));
  return float_of(sign | ((magnitude << 13) + 0x38000000u));
}
inline V load_bfloat(const uint16_t* p) { return float_of(static_cast<uint32_t>(*p) << 16); }

// --- integers --------------------------------------------------------------------------------------------------------

using VI = int32_t;
inline VI zero_int() { return 0; }
inline VI load_int(const int32_t* p) { return *p; }
inline VI set1_int(int32_t a) { return a; }
inline VI add_int(VI a, VI b) { return a + b; }
inline VI sub_int(VI a, VI b) { return a - b; }
inline V to_float(VI a) { return static_cast<float>(a); }
inline VI round_to_int(V a) {  // ties to even; |a| < 2^22
  const float shift = 12582912.0f;  // 1.5 * 2^23
  return static_cast<int32_t>(bits_of(a + shift) - bits_of(shift));
}
inline void store_int8(int8_t* p, VI a) { *p = static_cast<int8_t>(a); }
inline void store_int16(int16_t* p, VI a) { *p = static_cast<int16_t>(a); }

// Four neighbours in k of a quantised frame, ready to meet four weights of every row.
struct Quad {
  int8_t x[4];
};
inline Quad quad(const int8_t* x) {
  Quad q;
  memcpy(q.x, x, 4);
  return q;
}
// For vector v of a panel: x at `low` for lanes of rows 0 to 7, at `high` for those of rows 8 to 15.
inline Quad quad_halves(const int8_t* low, const int8_t* high, int v) { return quad(v < 8 ? low : high); }
inline VI dot_start(const int32_t*) { return 0; }
inline VI dot(VI acc, const int8_t* w, const Quad& q) {  // w: 4 weights of each row
  for (int i = 0; i < 4; ++i) acc += w[i] * q.x[i];
  return acc;
}

// Two neighbours in k of a quantised frame, and two weights of each row.
struct Pair {
  int32_t x[2];
};
inline Pair pair(const int16_t* x) { return {{x[0], x[1]}}; }
inline VI dot(VI acc, const int16_t* w, const Pair& q) {  // wraps round, as all do, where a file has changed
  return static_cast<int32_t>(static_cast<uint32_t>(acc) + static_cast<uint32_t>(w[0] * q.x[0]) + static_cast<uint32_t>(w[1] * q.x[1]));
}

// Two weights of each row, and what each row meets: integers of 16 bits.
inline VI dot_each(VI acc, const int16_t* w, VI first, VI second) {
  const auto product = [](int16_t a, VI b) { return static_cast<uint32_t>(a) * static_cast<uint32_t>(b); };
  return static_cast<int32_t>(static_cast<uint32_t>(acc) + product(w[0], first) + product(w[1], second));
}

// A group of int4: the sum of (q_w + 8) q_x over its 32 columns. w: [4][16][4] bytes.
struct Group {
  int8_t x[32];
};
inline Group group(const int8_t* x) {
  Group g;
  memcpy(g.x, x, 32);
  return g;
}
inline VI dot_group(const uint8_t* w, const Group& g) {
  VI acc = 0;
  for (int v = 0; v < 4; ++v)
    for (int i = 0; i < 4; ++i) {
      const uint8_t byte = w[64 * v + i];
      acc += (byte & 15) * g.x[8 * v + i] + (byte >> 4) * g.x[8 * v + 4 + i];
    }
  return acc;
}

}  // namespace
