// SPDX-License-Identifier: MIT
#include "crew.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <new>

#include "system.h"

namespace {

// A thread is worth waking for about this many bytes of weights: some ten microseconds of work.
constexpr size_t kWorthSharing = 1 << 20;

// How long a thread looks for work, or for the end of it, before it sleeps: a few calls of a busy caller come that soon.
constexpr auto kPatience = std::chrono::microseconds(50);

constexpr size_t kRowsAtOnce = 4;  // chunks are whole multiples of it: kernels take several rows at once

// Whether `done` came true within kPatience.
template <class Done>
bool soon(const Done& done) {
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() < give_up);
  return done();
}

}  // namespace

struct Crew::Member {
  Memory memory;
  ut_batch* batch = nullptr;
  std::vector<const void*> x;
  std::vector<void*> y;
};

Crew::Crew(const ut_model* model, size_t n_threads, size_t frame_bytes)
    : frame_bytes_(frame_bytes), members_(n_threads), forks_(forks_so_far()) {
  ut_info info;
  ut_model_info(model, &info);
  rows_ = info.batch_rows;
  for (size_t i = 0; i < info.n_inputs; ++i) x_bytes_.push_back(4 * ut_input(model, i).size);
  for (size_t i = 0; i < info.n_outputs; ++i) y_bytes_.push_back(4 * ut_output(model, i).size);
  const size_t bytes = ut_batch_bytes(model, rows_);
  for (Member& m : members_) {
    m.memory.reset(aligned_memory(UT_ALIGN, bytes));
    if (!m.memory || ut_batch_init(m.memory.get(), bytes, model, &m.batch) != UT_OK) throw std::bad_alloc();
    m.x.resize(info.n_inputs);
    m.y.resize(info.n_outputs);
  }
  threads_.reserve(n_threads - 1);
  try {
    for (size_t i = 1; i < n_threads; ++i) threads_.emplace_back([this, i] { work(members_[i]); });
  } catch (...) {
    stop();
    throw;
  }
}

Crew::~Crew() { stop(); }

void Crew::stop() noexcept {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  posted_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void Crew::dismiss(Crew* crew) noexcept {
  if (crew && crew->forks_ == forks) delete crew;
}

void Crew::run(size_t n_streams, float* const* states, size_t n_frames, size_t first, size_t count, const void* const* x,
               void* const* y) noexcept {
  const size_t n_threads = members_.size();
  n_streams_ = n_streams;
  n_frames_ = n_frames;
  first_ = first;
  count_ = count;
  states_ = states;
  x_ = x;
  y_ = y;
  if (n_threads == 1 || n_streams < 2 || n_streams * count < kWorthSharing / frame_bytes_)
    return batch(members_[0], n_streams, states, x, y);
  // As many chunks for each thread, of at most a workspace's rows; the threads take them as they come.
  const size_t rounds = (n_streams + n_threads * rows_ - 1) / (n_threads * rows_);
  const size_t even = (n_streams + n_threads * rounds - 1) / (n_threads * rounds);
  chunk_ = even > kRowsAtOnce ? (even + kRowsAtOnce - 1) / kRowsAtOnce * kRowsAtOnce : even;
  if (chunk_ > rows_) chunk_ = rows_;
  n_chunks_ = (n_streams + chunk_ - 1) / chunk_;
  unfinished_ = n_chunks_;
  left_ = n_chunks_;
  // In a process that fork made there is nobody to wake, and the mutex may be locked for ever.
  if (asleep_ != 0 && forks_ == forks) {
    { const std::lock_guard<std::mutex> lock(mutex_); }
    posted_.notify_all();
  }
  while (claim_and_run(members_[0])) {
  }
  const auto finished = [this] { return unfinished_ == 0; };
  if (soon(finished)) return;
  std::unique_lock<std::mutex> lock(mutex_);
  waiting_ = true;
  finished_.wait(lock, finished);
  waiting_ = false;
}

void Crew::batch(Member& me, size_t n_streams, float* const* states, const void* const* x, void* const* y) noexcept {
  ut_batch_run_part(me.batch, n_streams, states, n_frames_, first_, count_, x_ ? x : nullptr, y);
}

bool Crew::claim_and_run(Member& me) noexcept {
  size_t left = left_;
  do {
    if (left == 0) return false;
  } while (!left_.compare_exchange_weak(left, left - 1));
  const size_t first = (n_chunks_ - left) * chunk_;
  const size_t n = n_streams_ - first < chunk_ ? n_streams_ - first : chunk_;
  for (size_t i = 0; x_ && i < me.x.size(); ++i)
    me.x[i] = static_cast<const uint8_t*>(x_[i]) + first * n_frames_ * x_bytes_[i];
  for (size_t i = 0; i < me.y.size(); ++i) me.y[i] = static_cast<uint8_t*>(y_[i]) + first * n_frames_ * y_bytes_[i];
  batch(me, n, states_ + first, me.x.data(), me.y.data());
  if (unfinished_.fetch_sub(1) == 1 && waiting_) {
    { const std::lock_guard<std::mutex> lock(mutex_); }
    finished_.notify_one();
  }
  return true;
}

void Crew::work(Member& me) noexcept {
  const auto called = [this] { return left_ != 0 || stop_; };
  while (!stop_) {
    while (claim_and_run(me)) {
    }
    if (soon(called)) continue;
    std::unique_lock<std::mutex> lock(mutex_);
    ++asleep_;
    posted_.wait(lock, called);
    --asleep_;
  }
}
