// SPDX-License-Identifier: MIT
// A capture as NeuralAmpModelerCore plays it.
#ifndef UNDERTOW_BENCH_NAM_PEER_H_
#define UNDERTOW_BENCH_NAM_PEER_H_

#include <cstddef>
#include <memory>

class NamPeer {
 public:
  virtual ~NamPeer() = default;
  // From rest, as a player does before the first sample.
  virtual void reset(size_t block) = 0;
  // n samples, at most `block` of the reset.
  virtual void process(const double* x, double* y, size_t n) = 0;
};

// submodel: of a container, counted from 0; below 0: what players start with. fast_tanh: a rational function in place of tanh.
std::unique_ptr<NamPeer> play(const char* path, int submodel, bool fast_tanh);

#endif  // UNDERTOW_BENCH_NAM_PEER_H_
