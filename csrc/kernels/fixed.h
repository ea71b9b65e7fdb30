/* SPDX-License-Identifier: MIT
 * fixed8, in integers alone (FORMAT.md, "Cells in fixed8"): what a number becomes, a sum of products on its way to a gate, the
 * activations, and the cells. C99 and C++17, for exported models hold it too; internal linkage throughout.
 *
 * Units: h and frames 2^-15 of a power of two; gates before their activation and c 2^-16; tanh 2^-15, sigmoid 2^-16. Shifts
 * of negative numbers to the right round down, as all compilers have it. Every multiplication fits 32 bits: a Cortex-M0+
 * has no other. */
#include "../compiler.h"

enum {
  FIXED_MOST = 0x3fffffff,       /* of the input of a gate, and of what is added to one */
  FIXED_NONE = -0x7fffffff - 1,  /* in place of such a sum: NaN or infinity came in */
  FIXED_MOST_COUNT = 32767,      /* of h and of a frame */
  FIXED_MOST_C = 0xffffff,
  FIXED_STRETCH = 512,           /* columns whose products an int32 can sum: 127 * 32767 * 512 < 2^31 */
  FIXED_H = 126,                 /* the exponent of h: that of a frame of numbers below 1 */
  FIXED_OF_H = 9 + FIXED_H,      /* `fixed_count` of h; of a frame with exponent e it is 9 + e */
  FIXED_OF_Z = 134               /* `fixed_count` of c and of a bias */
};

/* tanh of i / 64 in units of 2^-15, 32768 t + t (1 - t^2): between two of them a straight line then errs as much as at them */
static const int16_t fixed_tanh_table[385] = {
    0, 512, 1024, 1535, 2045, 2555, 3063, 3570, 4075, 4578, 5079, 5577, 6073, 6566, 7056, 7543, 8026, 8505, 8981, 9452,
    9919, 10382, 10841, 11294, 11743, 12187, 12625, 13059, 13487, 13909, 14326, 14737, 15143, 15543, 15937, 16325,
    16706, 17082, 17452, 17816, 18174, 18525, 18870, 19209, 19542, 19869, 20190, 20504, 20813, 21115, 21412, 21702,
    21987, 22265, 22538, 22805, 23066, 23321, 23571, 23816, 24054, 24288, 24516, 24739, 24956, 25169, 25376, 25579,
    25776, 25969, 26157, 26341, 26519, 26694, 26864, 27030, 27191, 27349, 27502, 27651, 27797, 27938, 28076, 28211,
    28341, 28469, 28593, 28713, 28830, 28944, 29055, 29163, 29268, 29370, 29470, 29566, 29660, 29751, 29840, 29926,
    30010, 30091, 30170, 30247, 30322, 30394, 30465, 30533, 30600, 30664, 30727, 30788, 30847, 30905, 30960, 31014,
    31067, 31118, 31167, 31216, 31262, 31308, 31351, 31394, 31436, 31476, 31515, 31553, 31589, 31625, 31660, 31693,
    31726, 31757, 31788, 31818, 31846, 31874, 31901, 31928, 31953, 31978, 32002, 32025, 32048, 32070, 32091, 32112,
    32132, 32151, 32170, 32188, 32206, 32223, 32240, 32256, 32271, 32287, 32301, 32316, 32329, 32343, 32356, 32368,
    32381, 32392, 32404, 32415, 32426, 32436, 32447, 32456, 32466, 32475, 32484, 32493, 32501, 32509, 32517, 32525,
    32533, 32540, 32547, 32554, 32560, 32566, 32573, 32579, 32584, 32590, 32596, 32601, 32606, 32611, 32616, 32620,
    32625, 32629, 32634, 32638, 32642, 32646, 32649, 32653, 32657, 32660, 32663, 32667, 32670, 32673, 32676, 32678,
    32681, 32684, 32686, 32689, 32691, 32694, 32696, 32698, 32700, 32702, 32704, 32706, 32708, 32710, 32712, 32714,
    32715, 32717, 32718, 32720, 32721, 32723, 32724, 32726, 32727, 32728, 32729, 32731, 32732, 32733, 32734, 32735,
    32736, 32737, 32738, 32739, 32740, 32741, 32741, 32742, 32743, 32744, 32745, 32745, 32746, 32747, 32747, 32748,
    32749, 32749, 32750, 32750, 32751, 32751, 32752, 32752, 32753, 32753, 32754, 32754, 32755, 32755, 32755, 32756,
    32756, 32757, 32757, 32757, 32758, 32758, 32758, 32759, 32759, 32759, 32759, 32760, 32760, 32760, 32760, 32761,
    32761, 32761, 32761, 32762, 32762, 32762, 32762, 32762, 32762, 32763, 32763, 32763, 32763, 32763, 32763, 32764,
    32764, 32764, 32764, 32764, 32764, 32764, 32764, 32765, 32765, 32765, 32765, 32765, 32765, 32765, 32765, 32765,
    32765, 32765, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766, 32766,
    32766, 32766, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767,
    32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767,
    32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767
};

/* By way of a float that is known to be aligned: else a copy is a call on some targets. */
static inline uint32_t fixed_word(const float* p) {
  const float a = *p;
  uint32_t u;
  UT_COPY(&u, &a, sizeof u);
  return u;
}
static inline void fixed_put(float* p, uint32_t u) {
  float a;
  UT_COPY(&a, &u, sizeof a);
  *p = a;
}

/* The largest biased exponent of n numbers: 255 where one is infinite or NaN. */
static inline int32_t fixed_exponent(const float* x, size_t n) {
  uint32_t top = 0;
  size_t k;
  for (k = 0; k < n; ++k) {
    const uint32_t u = fixed_word(x + k) << 1;
    top = u > top ? u : top;
  }
  return (int32_t)(top >> 24);
}

/* A finite number with the bits u in units of 2^(base - 150), to nearest, halves away from zero; at most `most`, which is
 * FIXED_MOST or less. Subnormal ones are 0. */
static inline int32_t fixed_count(uint32_t u, int32_t base, int32_t most) {
  const int32_t e = (int32_t)(u >> 23 & 255u), shift = base - e;
  const uint32_t m = (u & 0x7fffffu) | 0x800000u;
  int32_t n = most;
  if (e == 0 || shift > 24) return 0;
  if (shift >= 0)
    n = (int32_t)(((m << 1 >> shift) + 1) >> 1);
  else if (shift > -7)
    n = (int32_t)(m << -shift);
  if (n > most) n = most;
  return u >> 31 ? -n : n;
}

/* The bits of n 2^-k, exactly: |n| < 2^24. */
static inline uint32_t fixed_number(int32_t n, int32_t k) {
  const float a = (float)n;
  const uint32_t u = fixed_word(&a);
  return n != 0 ? u - ((uint32_t)k << 23) : u;
}

/* floor(v s / 2^16 + 1/2), 0 <= s < 2^16 */
static inline int32_t fixed_multiply(int32_t v, int32_t s) {
  return (v >> 16) * s + (int32_t)((((uint32_t)v & 0xffffu) * (uint32_t)s + 0x8000u) >> 16);
}

static inline int32_t fixed_clamp(int32_t v, int32_t most) { return v > most ? most : v < -most ? -most : v; }
static inline int32_t fixed_saturated(int32_t z) { return fixed_clamp(z, FIXED_MOST); }

/* A sum of products in units of 2^-16: fixed_multiply(sum, multiplier) 2^-shift, to nearest, halves up; 0 <= multiplier < 2^15 */
static inline int32_t fixed_scaled(int32_t sum, int32_t multiplier, int32_t shift) {
  const int32_t p = fixed_multiply(sum, multiplier), limit = FIXED_MOST;
  int32_t most;
  if (shift > 0) return ((p >> ((shift > 31 ? 31 : shift) - 1)) + 1) >> 1;
  if (shift < -30) shift = -30;
  most = limit >> -shift;
  return p > most ? limit : p < -most ? -limit : p * ((int32_t)1 << -shift);
}

/* tanh(z 2^(-6 - step)) in units of 2^-15: the table with straight lines between its numbers */
static inline int32_t fixed_line(int32_t z, int32_t step) {
  const uint32_t a = z < 0 ? 0u - (uint32_t)z : (uint32_t)z, i = a >> step;
  int32_t t = FIXED_MOST_COUNT;
  if (i < 384u) {
    const int32_t below = fixed_tanh_table[i], f = (int32_t)(a & (((uint32_t)1 << step) - 1u));
    t = below + (((fixed_tanh_table[i + 1] - below) * f + ((int32_t)1 << (step - 1))) >> step);
  }
  return z < 0 ? -t : t;
}
static inline int32_t fixed_tanh(int32_t z) { return fixed_line(z, 10); }
/* (1 + tanh(z / 2)) / 2, from 1 to 65535 */
static inline int32_t fixed_sigmoid(int32_t z) { return 32768 + fixed_line(z, 11); }

/* h' of an LSTM, and c' in place of c */
static inline int32_t fixed_lstm(int32_t z_i, int32_t z_f, int32_t z_g, int32_t z_o, int32_t* c) {
  const int32_t added = (fixed_sigmoid(z_i) * fixed_tanh(z_g) + 0x4000) >> 15;
  const int32_t after = fixed_clamp(fixed_multiply(*c, fixed_sigmoid(z_f)) + added, FIXED_MOST_C);
  *c = after;
  return (fixed_tanh(after) * fixed_sigmoid(z_o) + 0x8000) >> 16;
}

/* h' of a GRU: n + z (h - n), of z and n before their activations */
static inline int32_t fixed_gru(int32_t z_z, int32_t z_n, int32_t h) {
  const int32_t n = fixed_tanh(z_n);
  return n + fixed_multiply(h - n, fixed_sigmoid(z_z));
}
