// SPDX-License-Identifier: MIT
// One recurrent layer as RTNeural runs it. rtneural_peer.cpp is compiled once for each backend, in a namespace of its
// own, so that one program holds them all and they take turns.
#ifndef UNDERTOW_BENCH_RTNEURAL_PEER_H_
#define UNDERTOW_BENCH_RTNEURAL_PEER_H_

#include <memory>
#include <vector>

// Weights in PyTorch's order of gates (lstm i f g o, gru r z n), row by row. W: (G H, I), R: (G H, H), b, rb: (G H).
struct Layer {
  bool lstm;
  size_t n_inputs, n_hidden;
  std::vector<float> W, R, b, rb;
};

class Peer {
 public:
  virtual ~Peer() = default;
  virtual void reset() = 0;
  // n times the frame x, which is aligned to 64 bytes and has kFramePadding floats to read behind it.
  virtual void forward(const float* x, size_t n) = 0;
  virtual const float* outputs() const = 0;
};

constexpr size_t kFramePadding = 16;  // RTNeural reads whole vectors

// fixed: sizes known to the compiler (ModelT), else the run-time API (Model). nullptr: no such size was compiled in.
using MakePeer = std::unique_ptr<Peer> (*)(const Layer& layer, bool fixed);

#endif  // UNDERTOW_BENCH_RTNEURAL_PEER_H_
