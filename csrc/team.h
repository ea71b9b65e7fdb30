// SPDX-License-Identifier: MIT
// Workers that advance one stream together: who computes which panels, and where they wait for each other. No locks, no
// memory of its own, no assumption about how long a wait or a pause takes.
#ifndef UNDERTOW_TEAM_H_
#define UNDERTOW_TEAM_H_

#include "compiler.h"

#if UT_THREADS
#include <atomic>
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#endif
#endif

namespace undertow {

// Panels first to end - 1 of a weight.
struct Panels {
  size_t first, end;
  size_t n() const { return end - first; }
};

#if UT_THREADS

// The number of the last meeting that a worker came to, alone on its cache lines (x86 fetches them in pairs). Numbers
// wrap around.
struct alignas(64) Mark {
  std::atomic<uint32_t> meeting;
  unsigned char apart[128 - sizeof(std::atomic<uint32_t>)];
};
static_assert(sizeof(Mark) == 128 && std::atomic<uint32_t>::is_always_lock_free, "a mark is a word that needs no lock");

// Worker number `worker` of a team during a call. Every worker comes to the same meetings in the same order.
class Team {
 public:
  using Pause = void (*)(void* context, size_t worker);

  Team(Mark* marks, size_t n_workers, size_t worker, size_t least, Pause pause, void* context, float* scratch)
      : marks_(marks), n_workers_(n_workers), worker_(worker), least_(least), pause_(pause), context_(context), scratch_(scratch),
        meeting_(marks[worker].meeting.load(std::memory_order_relaxed)) {}

  bool leads() const { return worker_ == 0; }
  // Worker 0's scratch, for what all of them read.
  float* scratch() const { return scratch_; }
  // Whether a layer with so many bytes of weights is worth a meeting.
  bool shares(uint64_t bytes) const { return bytes >= least_; }
  // The panels of a weight that are this worker's, at every timestep the same.
  Panels mine(size_t n_panels) const {
    return {n_panels * worker_ / n_workers_, n_panels * (worker_ + 1) / n_workers_};
  }

  // Nobody goes on before all have come, and everyone then sees what the others have written.
  void meet() {
    come();
    for (size_t w = 0; w < n_workers_; ++w)
      if (w != worker_) wait_for(w);
  }

  // The others wait for worker 0, which does not wait for them.
  void follow() {
    if (leads()) return come();
    ++meeting_;
    wait_for(0);
  }

 private:
  void come() { marks_[worker_].meeting.store(++meeting_, std::memory_order_release); }

  void wait_for(size_t w) const {
    // Others may be a meeting ahead, never behind what this worker has seen.
    for (uint32_t tries = 0; static_cast<int32_t>(marks_[w].meeting.load(std::memory_order_acquire) - meeting_) < 0; ++tries) {
      if (tries < kEager) continue;
      if (tries >= kPatient && pause_) pause_(context_, worker_);
#if defined(_MSC_VER) && defined(_M_X64) && !defined(__clang__)
      _mm_pause();
#elif defined(_MSC_VER) && defined(_M_ARM64) && !defined(__clang__)
      __yield();
#elif defined(__x86_64__) || defined(__i386__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      __asm__ volatile("yield");
#endif
    }
  }

  // Looks before the core is told that this is a wait, and before the caller's pause is.
  static constexpr uint32_t kEager = 64, kPatient = 1024;

  Mark* marks_;
  size_t n_workers_, worker_;
  uint64_t least_;
  Pause pause_;
  void* context_;
  float* scratch_;
  uint32_t meeting_;
};

#else

// In place of a pointer to a team, where there is none.
struct NoTeam {
  constexpr operator bool() const { return false; }
  constexpr const NoTeam* operator->() const { return this; }
  bool leads() const { return true; }
  float* scratch() const { return nullptr; }
  Panels mine(size_t n_panels) const { return {0, n_panels}; }
  void meet() const {}
};

#endif

}  // namespace undertow

#endif  // UNDERTOW_TEAM_H_
