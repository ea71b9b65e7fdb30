// SPDX-License-Identifier: MIT
// What heads of attention read and write in one frame (FORMAT.md, "Attention"), as kernels have it.
#ifndef UNDERTOW_ATTENTION_H_
#define UNDERTOW_ATTENTION_H_

#include <stddef.h>

namespace undertow {

// Rows of keys or values that stand one behind the other, `stride` floats apart.
struct HeadRows {
  const float* x;
  size_t n, stride;
};
// Those of a ring begin behind its end.
constexpr size_t kHeadPieces = 2;

// One head: y[d] = the sum over rows of softmax(scores) V[row][d].
struct AttendArgs {
  const float* q;     // key_width
  float* y;           // value_width
  const float* bias;  // n, or null
  HeadRows keys[kHeadPieces], values[kHeadPieces];  // of n rows in all; pieces may be empty
  size_t n, key_width, value_width;
  float scale, cap;  // cap: 0 for none
  float* scores;     // n, up to whole panels
};

}  // namespace undertow

#endif  // UNDERTOW_ATTENTION_H_
