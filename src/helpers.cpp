// SPDX-License-Identifier: MIT
#include "helpers.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <new>

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// How long a helper looks for the next call before it sleeps, and what it takes to wake one; of the same order, so that
// waiting never costs much more than the better of the two.
constexpr double kPatience = 100e-6, kWakeUp = 100e-6;

constexpr unsigned kMostSkipped = 31;

// A call that has lost so much has waited for a thread without a core. Alone for so many times as long, the caller loses
// no more than 5 % to those who have the core.
constexpr auto kLate = std::chrono::microseconds(200);
constexpr int kAversion = 20;

// How long a worker waits in a call before it yields. Whoever yields sooner, because another has lost its core for a
// moment, may lose its own to a third, and they hardly ever run at the same time.
constexpr auto kStubborn = std::chrono::microseconds(500);

// A measurement: seconds of a turn of one of the two, turns of each, seconds in all (unless the turns take longer).
constexpr double kTurn = 150e-6, kLongest = 10e-3;
constexpr size_t kFewestTurns = 5, kMostTurns = 25;

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

}  // namespace

Helpers::Helpers(const ut_model* model, ut_stream* stream, size_t n_workers, size_t least, double gain)
    : model_(model), stream_(stream), forks_(forks_so_far()), gain_(gain), lost_(n_workers) {
  const size_t bytes = ut_team_bytes(stream, n_workers);
  memory_.reset(aligned_memory(UT_ALIGN, bytes));
  if (!memory_ || ut_team_init(memory_.get(), bytes, stream, n_workers, least, pause, this, &team_) != UT_OK)
    throw std::bad_alloc();
  ut_team_use(team_, 0);
  threads_.reserve(n_workers - 1);
  try {
    for (size_t i = 1; i < n_workers; ++i) threads_.emplace_back([this, i] { work(i); });
  } catch (...) {
    stop();
    throw;
  }
}

Helpers::~Helpers() {
  ut_team_use(team_, 0);
  stop();
}

void Helpers::stop() noexcept {
  stop_ = true;
  wake();
  for (std::thread& t : threads_) t.join();
}

void Helpers::wake() noexcept {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++wakes_;
  }
  awake_.notify_all();
}

void Helpers::dismiss(Helpers* helpers) noexcept {
  if (helpers && helpers->forks_ == forks) delete helpers;
}

void Helpers::pause(void* helpers, size_t worker) noexcept {
  Clock::duration& lost = static_cast<Helpers*>(helpers)->lost_[worker];
  const Clock::time_point start = Clock::now();
  if (lost > kStubborn)
    std::this_thread::yield();
  else
    for (int i = 0; i < 64; ++i) relax();
  lost += Clock::now() - start;
}

// Whether the caller may wait for helpers again.
bool Helpers::may_wait() noexcept {
  if (lost_[0] > kLate && !std::isinf(gain_)) alone_until_ = Clock::now() + kAversion * lost_[0];
  lost_[0] = {};
  if (alone_until_ == Clock::time_point{}) return true;
  if (Clock::now() < alone_until_) return false;
  alone_until_ = {};
  return true;
}

void Helpers::prepare(size_t n_frames) noexcept {
  if (n_frames == 0 || forks_ != forks.load(std::memory_order_relaxed) || !may_wait()) return ut_team_use(team_, 0);
  // A helper says that it sleeps before it looks at calls_ for the last time: one of the two sees the other.
  calls_.fetch_add(1);
  if (asleep_ == 0) {
    skip_ = next_skip_ = 0;
    return ut_team_use(team_, 1);
  }
  if (static_cast<double>(n_frames) * gain_ > kWakeUp) {
    ut_team_use(team_, 1);
    return wake();
  }
  calls_.fetch_sub(1);
  ut_team_use(team_, 0);
  if (skip_ > 0) {
    --skip_;
    return;
  }
  skip_ = next_skip_;
  next_skip_ = std::min(2 * next_skip_ + 1, kMostSkipped);
  wake();
}

void Helpers::work(size_t worker) noexcept {
  uint64_t helped = 0;
  const auto called = [&] {
    const Clock::time_point start = Clock::now();
    do {
      for (int i = 0; i < 64; ++i) {
        if (ut_team_called(team_, worker)) return true;
        relax();
      }
    } while (!stop_ && seconds_since(start) < kPatience);
    return false;
  };
  while (!stop_) {
    if (called()) {
      lost_[worker] = {};
      ut_team_help(team_, worker);
      ++helped;
      continue;
    }
    std::unique_lock<std::mutex> lock(mutex_);
    const uint64_t wakes = wakes_;
    ++asleep_;
    awake_.wait(lock, [&] { return calls_ != helped || wakes_ != wakes || stop_; });
    --asleep_;
  }
}

double Helpers::measure() {
  ut_info info;
  ut_model_info(model_, &info);
  std::vector<std::vector<float>> frames;
  std::vector<const void*> x;
  std::vector<void*> y;
  for (size_t i = 0; i < info.n_inputs; ++i) frames.emplace_back(ut_input(model_, i).size);
  for (size_t i = 0; i < info.n_outputs; ++i) frames.emplace_back(ut_output(model_, i).size);
  for (size_t i = 0; i < frames.size(); ++i)
    i < info.n_inputs ? x.push_back(frames[i].data()) : y.push_back(frames[i].data());

  const auto step = [&](bool together) {
    if (together) {
      gain_ = std::numeric_limits<double>::infinity();  // wait for them, come what may
      prepare(1);
    } else {
      ut_team_use(team_, 0);
    }
    ut_run(stream_, 1, x.data(), y.data());
  };
  const auto turn = [&](bool together) {
    step(together);  // not counted: caches, and sleeping helpers
    const Clock::time_point start = Clock::now();
    double taken = 0;
    size_t n = 0;
    for (; taken < kTurn; taken = seconds_since(start), ++n) step(together);
    return taken / static_cast<double>(n);
  };
  turn(true);
  std::vector<double> ratios, gains;
  const Clock::time_point start = Clock::now();
  while (ratios.size() < kFewestTurns || (ratios.size() < kMostTurns && seconds_since(start) < kLongest)) {
    const double alone = turn(false), together = turn(true);
    ratios.push_back(together / alone);
    gains.push_back(alone - together);
  }
  ut_stream_reset(stream_);
  lost_[0] = {};
  gain_ = median(gains);
  return median(ratios);
}
