// SPDX-License-Identifier: MIT
// The threads that help one stream (undertow.h, "several threads for one stream"). No Python, no arithmetic.
#ifndef UNDERTOW_SRC_HELPERS_H_
#define UNDERTOW_SRC_HELPERS_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "system.h"
#include "undertow.h"

class Helpers {
 public:
  // Starts n_workers - 1 threads for `stream`, whose team shares the layers with at least `least` bytes of weights; there
  // must be some. gain: seconds that a timestep is shorter with them, as found by an earlier measurement, or infinity.
  // Throws std::bad_alloc or std::system_error.
  Helpers(const ut_model* model, ut_stream* stream, size_t n_workers, size_t least, double gain);
  Helpers(const Helpers&) = delete;
  Helpers& operator=(const Helpers&) = delete;

  // Compares one worker with all of them on frames of zeros, for some milliseconds, and resets the stream. Gives the time
  // of a timestep of all as a share of that of one. Throws std::bad_alloc.
  double measure();
  double gain() const { return gain_; }

  // Before every ut_step, ut_run and ut_propose of the stream: sees to it that helpers come, or that none are needed.
  // They look for work for a while after a call and sleep then. If they sleep, the call waits for them only where they
  // save more than it takes to wake them; else it is made alone. So are calls for twenty times as long as the last call
  // lost because a helper had no core (unless the gain is infinite): others use the machine too. No allocation; a lock
  // and a system call if they sleep.
  void prepare(size_t n_frames) noexcept;

  // Ends the threads and deletes the helpers; the stream is alone again. In a process that fork made there are no
  // threads: there the helpers are left as they are.
  static void dismiss(Helpers* helpers) noexcept;

 private:
  ~Helpers();
  static void pause(void* helpers, size_t worker) noexcept;
  bool may_wait() noexcept;
  void work(size_t worker) noexcept;
  void wake() noexcept;
  void stop() noexcept;

  const ut_model* const model_;
  ut_stream* const stream_;
  Memory memory_;
  ut_team* team_ = nullptr;
  std::vector<std::thread> threads_;
  const uint32_t forks_;  // that the process had seen when the threads were started
  double gain_;

  // Calls without helpers, because they slept, until they are woken for calls to come; more each time that was in vain.
  unsigned skip_ = 0, next_skip_ = 0;

  std::vector<std::chrono::steady_clock::duration> lost_;  // by each worker, in long waits of its last call
  std::chrono::steady_clock::time_point alone_until_{};     // when the caller may wait for helpers again

  std::atomic<uint64_t> calls_{0};  // that need helpers; one who has not helped in all of them must not sleep
  std::atomic<size_t> asleep_{0};
  std::atomic<bool> stop_{false};
  uint64_t wakes_ = 0;  // under the mutex
  std::mutex mutex_;
  std::condition_variable awake_;
};

#endif  // UNDERTOW_SRC_HELPERS_H_
