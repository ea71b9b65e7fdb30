// SPDX-License-Identifier: MIT
// bench_core SECONDS ISA,ISA,... FILE.tow ...
// Nanoseconds of ut_step without Python, and of the roofline over the very bytes of weights that the step reads, in turns.
// One line for each file and instruction set: file, isa, bytes of weights, ns a step, ns of the roofline, step / roofline,
// ns a timestep of ut_run over 100 frames (medians; the ratio is that of neighbours in time).
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "files.h"
#include "roofline.h"
#include "undertow.h"

namespace {

using ut_bench::Mapped;
using ut_bench::Memory;
using ut_bench::aligned;
using ut_bench::fail;

constexpr size_t kFrames = 100;
constexpr double kTurn = 1e-3;  // seconds before the other one has its turn

// Processor time: leaves out the turns of other programs on a shared machine.
double now() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

// One of the two that take turns: a call, and how many of them last about kTurn.
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
    const double start = now();
    repeat_(n_);
    return (now() - start) / static_cast<double>(n_);
  }

 private:
  std::function<void(size_t)> repeat_;
  size_t n_ = 1;
};

void bench(const char* path, const Mapped& file, const char* isa, double seconds) {
  ut_info info;
  ut_error err;
  const ut_model* model;
  ut_stream* stream;
  if (ut_probe(file.data, file.n, isa, &info, &err) != UT_OK) fail(std::string(path) + ": " + err.detail);
  const Memory model_memory = aligned(info.model_bytes), stream_memory = aligned(info.stream_bytes);
  ut_model_init(model_memory.get(), info.model_bytes, file.data, file.n, isa, &model, &err);
  if (ut_stream_init(stream_memory.get(), info.stream_bytes, model, &stream) != UT_OK) fail(std::string(path) + ": cannot be streamed");
  std::vector<float> x(kFrames * ut_input(model, 0).size), y(kFrames * ut_output(model, 0).size);
  std::minstd_rand random(1);
  for (float& v : x) v = std::uniform_real_distribution<float>(-1.0f, 1.0f)(random);

  const Turn step([&](size_t n) {
    for (size_t i = 0; i < n; ++i) ut_step(stream, x.data(), y.data());
  });
  const void* const xs[] = {x.data()};
  void* const ys[] = {y.data()};
  const Turn run([&](size_t n) {
    for (size_t i = 0; i < n; ++i) ut_run(stream, kFrames, xs, ys);
  });
  const Roofline stream_weights = roofline(isa);
  const float* w = file.weights();
  const size_t n_weights = file.n_weights();
  volatile float sink = 0.0f;
  const Turn roof([&](size_t n) {
    for (size_t i = 0; stream_weights && i < n; ++i) sink = sink + stream_weights(w, n_weights);
  });

  std::vector<double> steps, runs, roofs, ratios;
  for (const double end = now() + seconds; now() < end || steps.size() < 7;) {
    runs.push_back(run.take() / kFrames);
    steps.push_back(step.take());
    if (!stream_weights) continue;
    roofs.push_back(roof.take());
    ratios.push_back(steps.back() / roofs.back());
  }
  std::printf("%s\t%s\t%zu\t%.1f\t%.1f\t%.3f\t%.1f\n", path, info.isa, n_weights * sizeof(float), median(steps) * 1e9,
              stream_weights ? median(roofs) * 1e9 : 0.0, stream_weights ? median(ratios) : 0.0, median(runs) * 1e9);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) fail("usage: bench_core SECONDS ISA,ISA,... FILE.tow ...");
  const double seconds = std::atof(argv[1]);
  for (int i = 3; i < argc; ++i) {
    const Mapped file(argv[i]);
    std::string isas = argv[2];
    for (char* isa = std::strtok(isas.data(), ","); isa; isa = std::strtok(nullptr, ",")) bench(argv[i], file, isa, seconds);
  }
}
