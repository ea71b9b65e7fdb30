// SPDX-License-Identifier: MIT
// The SIMD vocabulary in portable C++: 1 float lane. Same names and meaning in every vec_*.h.
// Used only by isa_scalar.cpp; internal linkage throughout: nothing here may escape that object file.
#include "float32.h"

namespace {

constexpr int kLanes = 1;
constexpr int kRegisters = 16;

inline V load_some(const float* p, size_t) { return *p; }  // the first n lanes, n > 0; the others are 0
inline void store_some(float* p, V a, size_t) { *p = a; }  // the first n lanes, and nothing behind them
inline V first_lane(V a) { return a; }  // in all lanes
inline V magnitude_or_nan(V a, V b) { return bits_of(a) > bits_of(b) ? a : b; }  // the larger of two that are not negative, or NaN
inline float max_lane(V a) { return a; }  // of lanes that are not NaN

// What vector v of a panel meets: *low in lanes of rows 0 to 7, *high in lanes of rows 8 to 15.
inline V broadcast_halves(const float* low, const float* high, int v) { return set1(*(v < 8 ? low : high)); }

// --- integers --------------------------------------------------------------------------------------------------------

using VI = int32_t;
inline VI zero_int() { return 0; }
inline VI load_int(const int32_t* p) { return *p; }
inline VI set1_int(int32_t a) { return a; }
inline VI add_int(VI a, VI b) { return a + b; }
inline VI sub_int(VI a, VI b) { return a - b; }
inline V to_float(VI a) { return static_cast<float>(a); }
inline void store_int8(int8_t* p, VI a) { *p = static_cast<int8_t>(a); }
inline void store_int16(int16_t* p, VI a) { *p = static_cast<int16_t>(a); }

// Four neighbours in k of a quantised frame, ready to meet four weights of every row.
struct Quad {
  int8_t x[4];
};
inline Quad quad(const int8_t* x) {
  Quad q;
  UT_COPY(q.x, x, 4);
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
  UT_COPY(g.x, x, 32);
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
