// SPDX-License-Identifier: MIT
// The threads of a pool: together they advance the streams of a batch. No Python, no arithmetic.
#ifndef UNDERTOW_SRC_CREW_H_
#define UNDERTOW_SRC_CREW_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "undertow.h"

class Crew {
 public:
  // n_threads: with the one that calls run. frame_bytes: weights that a timestep of one stream reads, by which run sees
  // what is worth sharing. Throws std::bad_alloc or std::system_error; the model must be streamable.
  Crew(const ut_model* model, size_t n_threads, size_t frame_bytes);
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  // As ut_batch_run_part, without x too. One caller at a time. Allocates nothing; without further threads it locks nothing
  // either.
  void run(size_t n_streams, float* const* states, size_t n_frames, size_t first, size_t count, const void* const* x,
           void* const* y) noexcept;

  // Ends the threads and deletes the crew. A process that fork made has none of them: there the crew is left as it is.
  static void dismiss(Crew* crew) noexcept;

 private:
  struct Member;  // what a thread needs of its own

  ~Crew();
  void work(Member& me) noexcept;
  void batch(Member& me, size_t n_streams, float* const* states, const void* const* x, void* const* y) noexcept;
  bool claim_and_run(Member& me) noexcept;
  void stop() noexcept;

  const size_t frame_bytes_;
  size_t rows_;  // that a workspace takes at a time
  std::vector<size_t> x_bytes_, y_bytes_;
  std::vector<Member> members_;  // the first is the caller
  std::vector<std::thread> threads_;
  const uint32_t forks_;  // that the process had seen when the threads were started

  // The batch in work: written while nothing is left to claim and nothing unfinished, read after a claim.
  size_t n_streams_ = 0, n_frames_ = 0, first_ = 0, count_ = 0, chunk_ = 0, n_chunks_ = 0;
  float* const* states_ = nullptr;
  const void* const* x_ = nullptr;  // null: a flush
  void* const* y_ = nullptr;

  std::atomic<size_t> left_{0};        // chunks to claim
  std::atomic<size_t> unfinished_{0};  // chunks that somebody has yet to finish
  std::atomic<int> asleep_{0};
  std::atomic<bool> stop_{false}, waiting_{false};
  std::mutex mutex_;
  std::condition_variable posted_, finished_;
};

#endif  // UNDERTOW_SRC_CREW_H_
