// SPDX-License-Identifier: MIT
// What the benchmark programs share: the clock, turns, medians, and a stream over a file.
#ifndef UNDERTOW_BENCH_HARNESS_H_
#define UNDERTOW_BENCH_HARNESS_H_

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "files.h"
#include "undertow.h"

using ut_bench::aligned;
using ut_bench::fail;
using ut_bench::Mapped;
using ut_bench::Memory;

constexpr double kTurn = 1e-3;  // seconds before the next one has its turn

// Processor time: leaves out the turns of other programs on a shared machine.
inline double now() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

inline double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

// One of those that take turns: a call, and how many of them last about kTurn.
class Turn {
 public:
  explicit Turn(std::function<void(size_t)> repeat) : repeat_(std::move(repeat)) {
    for (double spent = 0; spent < 10 * kTurn;) {
      const double seconds = take();
      spent += seconds * static_cast<double>(n_);
      n_ = std::max<size_t>(1, std::min(static_cast<size_t>(kTurn / std::max(seconds, 1e-10)), 10 * n_));
    }
  }
  double take() const {  // seconds of one call
    repeat_(1);          // pays for the caches that the others have used
    const double start = now();
    repeat_(n_);
    return (now() - start) / static_cast<double>(n_);
  }

 private:
  std::function<void(size_t)> repeat_;
  size_t n_ = 1;
};

// A mapped model with one stream, for a model of one input and one output.
struct Streamed {
  Streamed(const char* path, const char* isa) : file(path) {
    ut_error err;
    if (ut_probe(file.data, file.n, isa, &info, &err) != UT_OK) fail(std::string(path) + ": " + err.detail);
    model_memory = aligned(info.model_bytes);
    stream_memory = aligned(info.stream_bytes);
    ut_model_init(model_memory.get(), info.model_bytes, file.data, file.n, isa, &model, &err);
    if (ut_stream_init(stream_memory.get(), info.stream_bytes, model, &stream) != UT_OK)
      fail(std::string(path) + ": cannot be streamed");
  }
  size_t n_inputs() const { return ut_input(model, 0).size; }
  size_t n_outputs() const { return ut_output(model, 0).size; }

  const Mapped file;
  ut_info info;
  Memory model_memory, stream_memory;
  const ut_model* model = nullptr;
  ut_stream* stream = nullptr;
};

// For the peers and rooflines, as undertow does inside its calls: random bits and decaying states hold subnormals.
inline void flush_subnormals() {
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040);  // flush to zero, and take subnormal inputs for zero
#endif
}

// Frames between -1 and 1.
inline std::vector<float> noise(size_t n) {
  std::vector<float> x(n);
  std::minstd_rand random(1);
  for (float& v : x) v = std::uniform_real_distribution<float>(-1.0f, 1.0f)(random);
  return x;
}

#endif  // UNDERTOW_BENCH_HARNESS_H_
