// SPDX-License-Identifier: MIT
// bench_rtneural SECONDS ISA MODEL.tow WEIGHTS
// Nanoseconds of ut_step, of ut_run in blocks, and of RTNeural's forward() in every backend that was built in, with sizes
// known to the compiler and at run time, in turns; all must first give the same outputs. MODEL and WEIGHTS hold one and
// the same layer; WEIGHTS is 4 int32 (1 for an LSTM, 0 for a GRU that resets after; inputs; units; 1 for a dense layer of
// one output behind it, else 0) and the floats W, R, b, rb, head of `Layer`.
// One line each: name, ns a step, ns / ns of ut_step (medians; the ratio is that of neighbours in time), the same against
// ut_run. ISA: `best`, or the one that we are held to. The last line is the roofline of our weights, where the instruction set has one.
#include <cmath>

#include "harness.h"
#include "roofline.h"
#include "rtneural_peer.h"

#define UT_BACKEND(name) std::unique_ptr<Peer> rtneural_##name(const Layer& layer, bool fixed);
UT_BACKENDS
#undef UT_BACKEND

namespace {

constexpr float kAgree = 1e-4f;  // outputs lie in [-1, 1]; RTNeural's tanh is a rational approximation
constexpr size_t kFrames = 64;

struct Backend {
  const char* name;
  MakePeer make;
};
#define UT_BACKEND(name) {#name, rtneural_##name},
constexpr Backend kBackends[] = {UT_BACKENDS};
#undef UT_BACKEND

Layer read(const char* path) {
  std::FILE* file = std::fopen(path, "rb");
  if (!file) fail(std::string(path) + ": " + std::strerror(errno));
  int32_t head[4];
  if (std::fread(head, sizeof head, 1, file) != 1) fail(std::string(path) + ": truncated");
  Layer layer{head[0] != 0, static_cast<size_t>(head[1]), static_cast<size_t>(head[2]), {}, {}, {}, {}, {}};
  const size_t n_rows = (layer.lstm ? 4 : 3) * layer.n_hidden;
  const std::pair<std::vector<float>*, size_t> parts[] = {{&layer.W, n_rows * layer.n_inputs},
                                                          {&layer.R, n_rows * layer.n_hidden},
                                                          {&layer.b, n_rows},
                                                          {&layer.rb, n_rows},
                                                          {&layer.head, head[3] ? layer.n_hidden + 1 : 0}};
  for (const auto& [values, n] : parts) {
    values->resize(n);
    if (std::fread(values->data(), sizeof(float), n, file) != n) fail(std::string(path) + ": truncated");
  }
  std::fclose(file);
  return layer;
}

// All frames from a zero state: an error in weights, gates or the carried state cannot hide.
void check(const std::string& name, Peer& peer, const Streamed& ours, const Frames& frames) {
  std::vector<float> y(ours.n_outputs()), first(1);
  ut_stream_reset(ours.stream);
  peer.reset();
  float error = 0.0f;
  for (size_t t = 0; t < frames.n; ++t) {
    ut_step(ours.stream, frames.at(t), y.data());
    peer.forward({frames.at(t), frames.stride, 1}, first.data());
    for (size_t i = 0; i < y.size(); ++i) {
      const float d = std::fabs(y[i] - peer.outputs()[i]);
      error = d <= error ? error : d;  // NaN stays
    }
  }
  if (!(error <= kAgree)) fail("RTNeural " + name + " differs by " + std::to_string(error));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) fail("usage: bench_rtneural SECONDS ISA MODEL.tow WEIGHTS");
  flush_subnormals();
  const double seconds = std::atof(argv[1]);
  const Streamed ours(argv[3], std::strcmp(argv[2], "best") == 0 ? nullptr : argv[2]);
  const Layer layer = read(argv[4]);
  if (ours.n_inputs() != layer.n_inputs || ours.n_outputs() != layer.n_outputs())
    fail("the two files hold different layers");
  const size_t n_inputs = layer.n_inputs, stride = (n_inputs + 15) / 16 * 16;
  const Memory memory = aligned(kFrames * stride * sizeof(float));
  float* padded = static_cast<float*>(std::memset(memory.get(), 0, kFrames * stride * sizeof(float)));
  const std::vector<float> sound = noise(kFrames * n_inputs);
  for (size_t t = 0; t < kFrames; ++t) std::copy_n(sound.data() + t * n_inputs, n_inputs, padded + t * stride);
  const Frames frames = {padded, stride, kFrames};
  std::vector<float> y(kFrames * layer.n_outputs());

  std::vector<std::string> names{"undertow", "undertow in blocks"};
  std::vector<std::unique_ptr<Peer>> peers;
  for (const Backend& backend : kBackends)
    for (const bool fixed : {true, false}) {
      std::unique_ptr<Peer> peer = backend.make(layer, fixed);
      if (!peer) continue;
      names.push_back(std::string(backend.name) + (fixed ? "" : " run-time"));
      check(names.back(), *peer, ours, frames);
      peers.push_back(std::move(peer));
    }
  std::vector<Turn> turns;
  turns.emplace_back([&](size_t n) {
    for (size_t i = 0; i < n; ++i)
      for (size_t t = 0; t < kFrames; ++t) ut_step(ours.stream, frames.at(t), y.data() + t * layer.n_outputs());
  });
  turns.emplace_back([&](size_t n) {
    const void* from = sound.data();
    void* to = y.data();
    for (size_t i = 0; i < n; ++i) ut_run(ours.stream, kFrames, &from, &to);
  });
  for (const auto& peer : peers)
    turns.emplace_back([&](size_t n) {
      for (size_t i = 0; i < n; ++i) peer->forward(frames, y.data());
    });
  const Roofline stream_weights = roofline(ours.info.isa);
  volatile float sink = 0.0f;
  if (stream_weights) {
    names.push_back("roofline");
    turns.emplace_back([&](size_t n) {
      for (size_t i = 0; i < n * kFrames; ++i) sink = sink + stream_weights(ours.file.weights(), ours.file.n_weights());
    });
  }

  std::vector<std::vector<double>> times(turns.size()), to_step(turns.size()), to_run(turns.size());
  for (const double end = now() + seconds; now() < end || times[0].size() < 7;)
    for (size_t i = 0; i < turns.size(); ++i) {
      times[i].push_back(turns[i].take() / kFrames);
      if (i == 0) continue;
      to_step[i].push_back(times[i].back() / times[0].back());
      to_run[i].push_back(times[i].back() / times[1].back());
    }
  to_step[0].push_back(1.0);
  to_run[0].push_back(median(times[0]) / median(times[1]));
  for (size_t i = 0; i < turns.size(); ++i)
    std::printf("%s\t%.1f\t%.4f\t%.4f\n", names[i].c_str(), median(times[i]) * 1e9, median(to_step[i]), median(to_run[i]));
}
