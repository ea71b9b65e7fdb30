// SPDX-License-Identifier: MIT
// How a long run is cut into calls of the library, so that somebody may look at signals between them. Bits do not depend on it.
#ifndef UNDERTOW_SRC_SLICES_H_
#define UNDERTOW_SRC_SLICES_H_

#include <chrono>
#include <cstddef>
#include <cstdint>

class Slices {
 public:
  // Before the first call. multiply_adds: of one frame. block: frames that the library works on at a time; whole blocks cost
  // least.
  void begin(uint64_t multiply_adds, size_t block) {
    multiply_adds_ = multiply_adds;
    block_ = block;
  }

  // Frames of the next call, of `left`.
  size_t next(size_t left) {
    if (left <= 1) return left;  // as of every step: not worth a division
    if (n_ == 0) n_ = static_cast<size_t>(kFirst / (multiply_adds_ + 1));
    if (n_ < 1) n_ = 1;
    if (n_ >= left) return left;
    if (!timed_) start_ = looked_ = Clock::now(), timed_ = true;
    return n_ > block_ ? n_ / block_ * block_ : n_;
  }

  // After a call behind which there is another: whether it is time to look at signals.
  bool look() {
    const Clock::time_point now = Clock::now();
    const double seconds = std::chrono::duration<double>(now - start_).count();
    start_ = now;
    if (seconds < kShort) n_ *= 2;
    if (seconds > kLong && n_ > 1) n_ /= 4;
    if (n_ < 1) n_ = 1;
    if (std::chrono::duration<double>(now - looked_).count() < kLong) return false;
    looked_ = now;
    return true;
  }

 private:
  using Clock = std::chrono::steady_clock;
  // Multiply-adds of the first call, about: 0.2 s where each takes 10 ns, 1 ms on an ordinary CPU. Seconds of those that follow.
  static constexpr uint64_t kFirst = uint64_t{1} << 24;
  static constexpr double kShort = 5e-3, kLong = 40e-3;

  uint64_t multiply_adds_ = 0;
  size_t block_ = 1, n_ = 0;  // 0: before the first call
  bool timed_ = false;
  Clock::time_point start_, looked_;
};

// When a long call of the library that asks often whether to go on looks at signals.
class Glances {
 public:
  void begin() { looked_ = Clock::now(); }

  bool due() {
    const Clock::time_point now = Clock::now();
    if (now - looked_ < std::chrono::milliseconds(40)) return false;
    looked_ = now;
    return true;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point looked_;
};

#endif  // UNDERTOW_SRC_SLICES_H_
