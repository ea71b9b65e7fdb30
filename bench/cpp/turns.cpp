// SPDX-License-Identifier: MIT
// bench_turns SECONDS ISA FILE.tow ...
// ut_step of several models in turns, each beside the roofline of its own bytes: one network in several precisions,
// say. One line each: file, bytes of weights, ns a step, step of the first file / step of this one, ns of the roofline,
// step / roofline (medians; the ratios are those of neighbours in time). The roofline takes the bytes for floats,
// whatever they are: that costs what it costs to get them into registers and do something to them there.
#include "harness.h"
#include "roofline.h"

namespace {

struct Contender {
  Contender(const char* path, const char* isa, Roofline stream_weights)
      : path(path),
        model(path, isa),
        x(noise(model.n_inputs())),
        y(model.n_outputs()),
        step([this](size_t n) {
          for (size_t i = 0; i < n; ++i) ut_step(model.stream, x.data(), y.data());
        }),
        roof([this, stream_weights](size_t n) {
          for (size_t i = 0; stream_weights && i < n; ++i)
            sink = sink + stream_weights(model.file.weights(), model.file.n_weights());
        }) {}

  const char* path;
  const Streamed model;
  std::vector<float> x, y;
  volatile float sink = 0.0f;
  Turn step, roof;
  std::vector<double> steps, roofs, gains, distances;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) fail("usage: bench_turns SECONDS ISA FILE.tow ...");
  flush_subnormals();
  const double seconds = std::atof(argv[1]);
  const char* isa = argv[2];
  const Roofline stream_weights = roofline(isa);
  std::vector<std::unique_ptr<Contender>> contenders;
  for (int i = 3; i < argc; ++i) contenders.push_back(std::make_unique<Contender>(argv[i], isa, stream_weights));

  for (const double end = now() + seconds; now() < end || contenders[0]->steps.size() < 7;)
    for (const auto& c : contenders) {
      c->steps.push_back(c->step.take());
      c->gains.push_back(contenders[0]->steps.back() / c->steps.back());
      if (!stream_weights) continue;
      c->roofs.push_back(c->roof.take());
      c->distances.push_back(c->steps.back() / c->roofs.back());
    }
  for (const auto& c : contenders)
    std::printf("%s\t%zu\t%.1f\t%.4f\t%.1f\t%.3f\n", c->path, c->model.file.n_weights() * sizeof(float),
                median(c->steps) * 1e9, median(c->gains), stream_weights ? median(c->roofs) * 1e9 : 0.0,
                stream_weights ? median(c->distances) : 0.0);
}
