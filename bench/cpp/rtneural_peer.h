// SPDX-License-Identifier: MIT
// One recurrent layer, and perhaps a dense one of one output behind it, as RTNeural runs them. rtneural_peer.cpp is compiled once for each backend, in a namespace of its
// own, so that one program holds them all and they take turns.
#ifndef UNDERTOW_BENCH_RTNEURAL_PEER_H_
#define UNDERTOW_BENCH_RTNEURAL_PEER_H_

#include <memory>
#include <vector>

// Weights in PyTorch's order of gates (lstm i f g o, gru r z n), row by row. W: (G H, I), R: (G H, H), b, rb: (G H).
// head: the weights of the dense layer and its bias, H + 1; empty: there is none.
struct Layer {
  bool lstm;
  size_t n_inputs, n_hidden;
  std::vector<float> W, R, b, rb, head;

  size_t n_outputs() const { return head.empty() ? n_hidden : 1; }
};

// What all contenders hear: each frame is aligned to 64 bytes, and RTNeural reads whole vectors of it.
struct Frames {
  const float* x;
  size_t stride, n;

  const float* at(size_t t) const { return x + t * stride; }
};

class Peer {
 public:
  virtual ~Peer() = default;
  virtual void reset() = 0;
  // All frames, one by one; y: what forward() returned for each, the first output.
  virtual void forward(const Frames& frames, float* y) = 0;
  virtual const float* outputs() const = 0;
};

// fixed: sizes known to the compiler (ModelT), else the run-time API (Model). nullptr: no such size was compiled in.
using MakePeer = std::unique_ptr<Peer> (*)(const Layer& layer, bool fixed);

#endif  // UNDERTOW_BENCH_RTNEURAL_PEER_H_
