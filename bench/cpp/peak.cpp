// SPDX-License-Identifier: MIT
// bench_peak SECONDS ISA
// GFLOP/s that one core reaches in fused multiply-adds on registers: the end of what a matrix product can reach. Prints
// one number, the median over turns; 0 for an instruction set without fused multiply-add, or of another CPU family.
#include "harness.h"
#include "roofline.h"

int main(int argc, char** argv) {
  if (argc != 3) fail("usage: bench_peak SECONDS ISA");
  const Peak peak = fma_peak(argv[2]);
  if (!peak.run) {
    std::puts("0");
    return 0;
  }
  volatile float sink = 0.0f;
  constexpr size_t kRounds = 1000;
  const Turn turn([&](size_t n) {
    for (size_t i = 0; i < n; ++i) sink = sink + peak.run(kRounds);
  });
  std::vector<double> rates;
  for (const double end = now() + std::atof(argv[1]); now() < end || rates.size() < 7;)
    rates.push_back(static_cast<double>(peak.flops * kRounds) / turn.take());
  std::printf("%.2f\n", median(rates) * 1e-9);
}
