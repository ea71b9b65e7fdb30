// SPDX-License-Identifier: MIT
// bench_core SECONDS ISA,ISA,... FILE.tow ...
// Nanoseconds of ut_step without Python, and of the roofline over the very bytes of weights that the step reads, in
// turns. One line for each file and instruction set: file, isa, bytes of weights, ns a step, ns of the roofline, step /
// roofline, ns a timestep of ut_run over 100 frames (medians; the ratio is that of neighbours in time).
#include "harness.h"
#include "roofline.h"

namespace {

constexpr size_t kFrames = 100;

void bench(const char* path, const char* isa, double seconds) {
  const Streamed ours(path, isa);
  ut_stream* const stream = ours.stream;
  const std::vector<float> x = noise(kFrames * ours.n_inputs());
  std::vector<float> y(kFrames * ours.n_outputs());

  const Turn step([&](size_t n) {
    for (size_t i = 0; i < n; ++i) ut_step(stream, x.data(), y.data());
  });
  const void* const xs[] = {x.data()};
  void* const ys[] = {y.data()};
  const Turn run([&](size_t n) {
    for (size_t i = 0; i < n; ++i) ut_run(stream, kFrames, xs, ys);
  });
  const Roofline stream_weights = roofline(isa);
  const float* w = ours.file.weights();
  const size_t n_weights = ours.file.n_weights();
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
  std::printf("%s\t%s\t%zu\t%.1f\t%.1f\t%.3f\t%.1f\n", path, ours.info.isa, n_weights * sizeof(float),
              median(steps) * 1e9, stream_weights ? median(roofs) * 1e9 : 0.0, stream_weights ? median(ratios) : 0.0,
              median(runs) * 1e9);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) fail("usage: bench_core SECONDS ISA,ISA,... FILE.tow ...");
  flush_subnormals();
  const double seconds = std::atof(argv[1]);
  for (int i = 3; i < argc; ++i) {
    std::string isas = argv[2];
    for (char* isa = std::strtok(isas.data(), ","); isa; isa = std::strtok(nullptr, ",")) bench(argv[i], isa, seconds);
  }
}
