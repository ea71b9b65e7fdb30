// SPDX-License-Identifier: MIT
// bench_latency STEPS ISA FILE.tow ...
// Every single ut_step timed by itself, on the wall. Two lines for each file, one for the step and one for a loop of about
// the same length that uses registers alone, which shows what the machine and its system do to any program. Each line: file,
// isa or "loop", then nanoseconds: what the clock adds to each time, p50, p90, p99, p99.9, the maximum; and how often the
// system gave the core to another program meanwhile. Both take turns.
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <random>
#include <vector>

#include "files.h"

namespace {

using ut_bench::fail;

int64_t now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t{t.tv_sec} * 1000000000 + t.tv_nsec;
}

long preemptions() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nivcsw;
}

// The time that a share q of all calls did not exceed.
int64_t quantile(const std::vector<int64_t>& sorted, double q) {
  const double rank = q * static_cast<double>(sorted.size());
  size_t i = static_cast<size_t>(rank);
  if (static_cast<double>(i) < rank - 1e-6) ++i;
  return sorted[i ? i - 1 : 0];
}

int64_t timer_cost(std::vector<int64_t>* times) {
  for (int64_t& t : *times) {
    const int64_t before = now();
    t = now() - before;
  }
  std::sort(times->begin(), times->end());
  return quantile(*times, 0.5);
}

template <class Call>
void take(std::vector<int64_t>* times, size_t first, size_t last, const Call& call) {
  for (size_t i = first; i < last; ++i) {
    const int64_t before = now();
    call(i);
    (*times)[i] = now() - before;
  }
}

// A chain of dependent multiplications and shifts (xorshift*): one after the other, in registers.
uint64_t spin(size_t n_turns) {
  uint64_t z = n_turns | 1;
  for (size_t i = 0; i < n_turns; ++i) z = (z ^ (z >> 12)) * 0x2545f4914f6cdd1du;
  return z;
}

// The fastest of many short tries: the others were interrupted.
size_t turns_of(double nanoseconds) {
  constexpr size_t kTurns = 10000;
  int64_t best = INT64_MAX;
  for (int i = 0; i < 200; ++i) {
    const int64_t before = now();
    volatile uint64_t sink = spin(kTurns);
    (void)sink;
    best = std::min(best, now() - before);
  }
  return static_cast<size_t>(nanoseconds * static_cast<double>(kTurns) / static_cast<double>(best));
}

void print(const char* path, const char* what, int64_t timer, std::vector<int64_t>* times, long lost) {
  std::sort(times->begin(), times->end());
  std::printf("%s\t%s\t%lld", path, what, static_cast<long long>(timer));
  for (const double q : {0.5, 0.9, 0.99, 0.999, 1.0}) std::printf("\t%lld", static_cast<long long>(quantile(*times, q)));
  std::printf("\t%ld\n", lost);
}

void bench(const char* path, const char* isa, size_t n_steps) {
  const ut_bench::Mapped file(path);
  ut_info info;
  ut_error err;
  const ut_model* model;
  ut_stream* stream;
  if (ut_probe(file.data, file.n, isa, &info, &err) != UT_OK) fail(std::string(path) + ": " + err.detail);
  const ut_bench::Memory model_memory = ut_bench::aligned(info.model_bytes), stream_memory = ut_bench::aligned(info.stream_bytes);
  ut_model_init(model_memory.get(), info.model_bytes, file.data, file.n, isa, &model, &err);
  if (ut_stream_init(stream_memory.get(), info.stream_bytes, model, &stream) != UT_OK) fail(std::string(path) + ": cannot be streamed");
  constexpr size_t kFrames = 64;
  const size_t width = ut_input(model, 0).size;
  std::vector<float> x(kFrames * width), y(ut_output(model, 0).size);
  std::minstd_rand random(1);
  for (float& v : x) v = std::uniform_real_distribution<float>(-1.0f, 1.0f)(random);

  std::vector<int64_t> times(n_steps, 1), loop_times(n_steps, 1);
  const int64_t timer = timer_cost(&times);
  const auto step = [&](size_t i) { ut_step(stream, x.data() + i % kFrames * width, y.data()); };
  for (size_t i = 0; i < 2000; ++i) step(i);
  take(&times, 0, std::min<size_t>(n_steps, 1000), step);
  std::nth_element(times.begin(), times.begin() + 500, times.begin() + 1000);
  const size_t n_turns = turns_of(static_cast<double>(times[500] - timer));
  volatile uint64_t sink = 0;
  const auto loop = [&](size_t) { sink = spin(n_turns); };

  constexpr size_t kRounds = 20;
  long lost = 0, loop_lost = 0;
  for (size_t r = 0; r < kRounds; ++r) {
    const size_t first = r * n_steps / kRounds, last = (r + 1) * n_steps / kRounds;
    const long before = preemptions();
    take(&times, first, last, step);
    const long between = preemptions();
    take(&loop_times, first, last, loop);
    lost += between - before;
    loop_lost += preemptions() - between;
  }
  print(path, info.isa, timer, &times, lost);
  print(path, "loop", timer, &loop_times, loop_lost);
}

}  // namespace

int main(int argc, char** argv) {
  const size_t n_steps = argc < 4 ? 0 : static_cast<size_t>(std::strtoull(argv[1], nullptr, 10));
  if (n_steps < 1000) fail("usage: bench_latency STEPS ISA FILE.tow ...   (at least 1000 steps)");
  for (int i = 3; i < argc; ++i) bench(argv[i], argv[2], n_steps);
}
