// SPDX-License-Identifier: MIT
// Where a stream keeps what a window saw: the state of the window says it in the order of time, and would move as a whole
// with every frame; in a ring of so many frames and a block more nothing moves. Behind the end of the ring its first block
// stands once more, so that as many frames as a block has lie one behind the other wherever they begin. Narrow frames stand
// in planes, one for each element, which kernels read as vectors of timesteps. A stream changes from state to ring where it
// runs, and back where somebody looks (api.cpp); whoever has no rings (batches, teams, whole sequences) works on states.
#ifndef UNDERTOW_OPS_RING_H_
#define UNDERTOW_OPS_RING_H_

#include "op.h"

namespace undertow {

// Sizes of a window's plan: taps, frames of its state, elements of a frame.
enum WindowSize { kTaps, kSpan, kWidth };

// Which frame a window shows as its i-th, counted from the one of now.
inline int32_t tap_at(const void* taps, size_t i) {
  int32_t tap;
  memcpy(&tap, static_cast<const uint32_t*>(taps) + i, sizeof tap);
  return tap;
}

class Ring {
 public:
  // What a ring takes, and takes more for each frame of a stream's block.
  static size_t floats(const OpPlan& window) {
    return kPanel + window.sizes[kSpan] * window.sizes[kWidth] + (is_planar(window) ? kFramesBehind : 0);
  }
  static size_t floats_per_frame(const OpPlan& window) { return 2 * window.sizes[kWidth]; }
  static bool is_planar(const OpPlan& window) { return !UT_SMALLEST && window.sizes[kWidth] <= kNarrow; }

  static RingPlan plan(const OpPlan& window) {
    return {window.ring, window.ring_per_frame, window.sizes[kSpan], window.sizes[kWidth], is_planar(window)};
  }

  // rings: of a stream whose blocks have at most `block` frames.
  Ring(const OpPlan& window, float* rings, size_t block)
      : next_(rings + window.ring + window.ring_per_frame * block),
        rows_(next_ + kPanel),
        width_(window.sizes[kWidth]),
        span_(window.sizes[kSpan]),
        block_(block),
        n_(span_ + block),
        stride_(is_planar(window) ? 1 : width_),
        step_(is_planar(window) ? n_ + block : 1) {
    uint32_t next;
    memcpy(&next, next_, sizeof next);
    at_ = next;
  }

  // The frame that comes `ahead` frames after the next one, or before it, and those of a block behind it, as far as they are
  // there.
  Piece frames(ptrdiff_t ahead) const { return {rows_ + place(ahead) * stride_, stride_, UT_SMALLEST ? 1 : step_, width_}; }

  // How many frames stand one behind the other from that one on, before the end of the ring.
  size_t ahead_of_end(ptrdiff_t ahead) const { return n_ - place(ahead); }

  // n frames as the next ones.
  void put(Piece x, size_t n) const {
    const size_t left = n_ - at_;
    put_at(at_, x, n < left ? n : left);
    if (n <= left) return;
    x.x += left * x.stride;
    put_at(0, x, n - left);
  }
  // Makes the next n frames the last ones.
  void advance(size_t n) {
    at_ = place(static_cast<ptrdiff_t>(n));
    const uint32_t next = static_cast<uint32_t>(at_);
    memcpy(next_, &next, sizeof next);
  }

  // Undoes `advance`, of any number of frames. What the ring had n frames ago is there but for the oldest of it, which the
  // later ones may have written over: put_oldest has the i-th of these, for as many as were dropped since.
  void go_back(size_t n) {
    n %= n_;
    at_ = at_ < n ? at_ + n_ - n : at_ - n;
    const uint32_t next = static_cast<uint32_t>(at_);
    memcpy(next_, &next, sizeof next);
  }
  void put_oldest(size_t i, const float* frame) const {
    put_at(place(static_cast<ptrdiff_t>(i) - static_cast<ptrdiff_t>(span_)), {frame, width_, 1, width_}, 1);
  }

  // From a window's state, and into it.
  void load(const float* state) {
    at_ = 0;
    put_at(0, {state, width_, 1, width_}, span_);
    advance(span_);
  }
  void save(void* state) const {
    uint8_t* to = static_cast<uint8_t*>(state);
    for (size_t t = 0; t < span_; ++t, to += width_ * sizeof(float)) {
      const float* from = frames(static_cast<ptrdiff_t>(t) - static_cast<ptrdiff_t>(span_)).x;
      if (UT_SMALLEST || step_ == 1) memcpy(to, from, width_ * sizeof(float));
      for (size_t k = 0; !UT_SMALLEST && step_ != 1 && k < width_; ++k) memcpy(to + k * sizeof(float), from + k * step_, sizeof(float));
    }
  }

 private:
  static constexpr size_t kFramesBehind = 2 * kPanel;  // that a kernel may read to no purpose

  size_t place(ptrdiff_t ahead) const {
    const ptrdiff_t n = static_cast<ptrdiff_t>(n_), at = static_cast<ptrdiff_t>(at_) + ahead;
    return static_cast<size_t>(at < 0 ? at + n : at < n ? at : at - n);
  }
  void put_at(size_t at, const Piece& x, size_t n) const {
    copy(at, x, n);
    if (at < block_) copy(n_ + at, x, n < block_ - at ? n : block_ - at);
  }
  void copy(size_t at, const Piece& x, size_t n) const {
    float* to = rows_ + at * stride_;
    if (UT_SMALLEST || (step_ == 1 && x.step == 1))
      for (size_t i = 0; i < n; ++i) copy_floats(to + i * width_, x.x + i * x.stride, width_);
    else if (stride_ == 1 && x.stride == 1)
      for (size_t k = 0; k < width_; ++k) copy_floats(to + k * step_, x.x + k * x.step, n);
    else
      for (size_t k = 0; k < width_; ++k)
        for (size_t i = 0; i < n; ++i) to[i * stride_ + k * step_] = x.x[i * x.stride + k * x.step];
  }

  float *next_, *rows_;
  size_t width_, span_, block_, n_;
  size_t stride_, step_;  // floats between frames, and between elements of a frame
  size_t at_;
};

}  // namespace undertow

#endif  // UNDERTOW_OPS_RING_H_
