// SPDX-License-Identifier: MIT
// An audio processor as plugin frameworks ask for one (JUCE, iPlug2, DPF ...), without any of them: memory is taken in
// `prepare`, and `process` works on what it gets, on the audio thread, where nothing may fail, allocate or wait.
//
//     c++ -std=c++17 -Icsrc/include processor.cpp libundertow.a -o processor
//     ./processor amp.tow                                         runs a second of sound in two channels
//
// In a juce::AudioProcessor: prepareToPlay calls prepare(sampleRate, samplesPerBlock, getTotalNumOutputChannels()) and
// setLatencySamples(latency()); processBlock calls process(buffer.getArrayOfWritePointers(), buffer.getNumChannels(),
// buffer.getNumSamples()); reset calls reset().
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <vector>

#include "undertow.hpp"

// A mono model, once for each channel.
class Processor {
 public:
  // `model` must outlive the processor: several instances of a plugin share one.
  explicit Processor(const undertow::Model& model) : model_(model) {
    const ut_info& info = model.info();
    if (info.n_inputs != 1 || info.n_outputs != 1 || model.inputs()[0].size() != 1 || model.outputs()[0].size() != 1)
      throw undertow::Error(UT_E_UNSUPPORTED, "expected a model of one sample in and one sample out for each timestep");
  }

  // Before sound flows, or with other numbers again. Throws undertow::Error where the model wants another rate: numbers that
  // are run at a rate that they were not trained for are another sound, so resample, or choose another model.
  void prepare(double rate, int most_samples, int n_channels) {
    const unsigned wanted = model_.info().sample_rate;
    if (wanted != 0 && std::lround(rate) != static_cast<long>(wanted))
      throw undertow::Error(UT_E_UNSUPPORTED, "the model hears sound of another rate than the host gives");
    streams_.clear();
    for (int c = 0; c < n_channels; ++c) streams_.emplace_back(model_);
    out_.assign(static_cast<std::size_t>(std::max(most_samples, 1)), 0.0f);
  }

  // n_samples of n_channels, in place. Channels that were not prepared for stay as they are.
  void process(float* const* channels, int n_channels, int n_samples) noexcept {
    const std::size_t n = std::min(static_cast<std::size_t>(n_channels), streams_.size());
    for (std::size_t c = 0; c < n; ++c) {
      float* x = channels[c];
      // Hosts are known to send more samples than they said.
      for (std::size_t left = static_cast<std::size_t>(n_samples); left != 0;) {
        const std::size_t now = std::min(left, out_.size());
        const undertow::span<float> y(out_.data(), now);
        if (streams_[c].try_run(undertow::span<const float>(x, now), y)) std::copy(y.begin(), y.end(), x);
        x += now;
        left -= now;
      }
    }
  }

  void reset() noexcept {
    for (undertow::Stream& stream : streams_) stream.reset();
  }

  // In samples: what the host delays everything else by.
  int latency() const noexcept { return static_cast<int>(model_.info().latency); }

 private:
  const undertow::Model& model_;
  std::vector<undertow::Stream> streams_;
  std::vector<float> out_;
};

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::fprintf(stderr, "expected one argument, a .tow file of a mono model: processor amp.tow\n");
    return 2;
  }
  const undertow::Model model(argv[1]);
  const int rate = model.info().sample_rate ? static_cast<int>(model.info().sample_rate) : 48000, block = 100;
  Processor processor(model);
  processor.prepare(rate, 64, 2);

  double sum[2] = {0, 0};
  std::vector<float> left(block), right(block);
  float* channels[] = {left.data(), right.data()};
  for (int t = 0; t < rate; t += block) {
    for (int i = 0; i < block; ++i) {
      const double phase = 2 * 3.14159265358979 * 220 * (t + i) / rate;
      left[static_cast<std::size_t>(i)] = static_cast<float>(0.5 * std::sin(phase));
      right[static_cast<std::size_t>(i)] = 0.0f;
    }
    processor.process(channels, 2, block);
    for (int c = 0; c < 2; ++c)
      for (int i = 0; i < block; ++i) sum[c] += double{channels[c][i]} * double{channels[c][i]};
  }
  std::printf("%s: RMS of a tone %.4f, of silence %.4f, latency %d samples\n", argv[1], std::sqrt(sum[0] / rate),
              std::sqrt(sum[1] / rate), processor.latency());
  return 0;
} catch (const undertow::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
