// SPDX-License-Identifier: MIT
// bench_nam SECONDS ISA MODEL.tow FILE.nam SUBMODEL
// Nanoseconds a sample of ut_step and ut_run and of NeuralAmpModelerCore's process(), in turns, in blocks of 1 sample and as
// hosts of plugins give them; and of the same with its fast tanh. SUBMODEL: of a container, counted from 0, or -1. Outputs of
// the two must first agree. One line for each size of a block: samples, ns of undertow, ns of NAM, NAM / undertow, ns of
// NAM's fast tanh, that / undertow (medians; ratios are those of neighbours in time), and the largest difference.
#include <cmath>
#include <stdexcept>

#include "harness.h"
#include "nam_peer.h"

namespace {

constexpr double kAgree = 1e-5;
constexpr size_t kChecked = 24000;  // samples: more than captures look back
constexpr size_t kBlocks[] = {1, 64, 128, 512};

// From rest, in blocks of n.
double difference(NamPeer& peer, const Streamed& ours, const std::vector<float>& x, size_t n) {
  const std::vector<double> wide(x.begin(), x.end());
  std::vector<float> y(n);
  std::vector<double> other(n);
  ut_stream_reset(ours.stream);
  peer.reset(n);
  double most = 0.0;
  for (size_t t = 0; t + n <= x.size(); t += n) {
    const void* in = x.data() + t;
    void* out = y.data();
    ut_run(ours.stream, n, &in, &out);
    peer.process(wide.data() + t, other.data(), n);
    for (size_t i = 0; i < n; ++i) {
      const double d = std::fabs(other[i] - static_cast<double>(y[i]));
      most = d <= most ? most : d;  // NaN stays
    }
  }
  return most;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 6) fail("usage: bench_nam SECONDS ISA MODEL.tow FILE.nam SUBMODEL");
  flush_subnormals();
  const double seconds = std::atof(argv[1]);
  const Streamed ours(argv[3], argv[2]);
  const int submodel = std::atoi(argv[5]);
  const std::unique_ptr<NamPeer> peer = play(argv[4], submodel, false), fast = play(argv[4], submodel, true);
  const std::vector<float> x = noise(kChecked);
  const std::vector<double> wide(x.begin(), x.end());
  for (const size_t n : kBlocks) {
    const double differ = difference(*peer, ours, x, n);
    if (!(differ <= kAgree)) fail(std::string(argv[4]) + ": outputs differ by " + std::to_string(differ));
    fast->reset(n);
    std::vector<float> y(n);
    std::vector<double> z(n);
    size_t at[3] = {};  // each goes on through the same sound
    const auto next = [&](size_t who) {
      const size_t t = at[who];
      at[who] = t + 2 * n <= x.size() ? t + n : 0;
      return t;
    };
    const Turn ours_in_turn([&](size_t times) {
      for (size_t i = 0; i < times; ++i) {
        const void* in = x.data() + next(0);
        void* out = y.data();
        n == 1 ? ut_step(ours.stream, in, out) : ut_run(ours.stream, n, &in, &out);
      }
    });
    const Turn its([&](size_t times) {
      for (size_t i = 0; i < times; ++i) peer->process(wide.data() + next(1), z.data(), n);
    });
    const Turn its_fast([&](size_t times) {
      for (size_t i = 0; i < times; ++i) fast->process(wide.data() + next(2), z.data(), n);
    });
    std::vector<double> times[3], ratios[3];
    for (const double end = now() + seconds; now() < end || times[0].size() < 7;) {
      const Turn* turns[] = {&ours_in_turn, &its, &its_fast};
      for (size_t i = 0; i < 3; ++i) {
        times[i].push_back(turns[i]->take() / static_cast<double>(n));
        ratios[i].push_back(times[i].back() / times[0].back());
      }
    }
    std::printf("%zu\t%.1f\t%.1f\t%.4f\t%.1f\t%.4f\t%.2e\n", n, median(times[0]) * 1e9, median(times[1]) * 1e9, median(ratios[1]),
                median(times[2]) * 1e9, median(ratios[2]), differ);
  }
} catch (const std::exception& error) {
  fail(error.what());
}
