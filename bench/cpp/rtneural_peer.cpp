// SPDX-License-Identifier: MIT
// UT_PEER names the function to define: a MakePeer of the backend that RTNEURAL_USE_* selects.
#include "rtneural_peer.h"

#include <RTNeural.h>

#include <algorithm>

namespace {

namespace rtneural = RTNEURAL_NAMESPACE;
using Rows = std::vector<std::vector<float>>;

// (G H, K) row by row -> [K][G H], as RTNeural takes kernels. Its GRU has the gates z r n.
Rows columns(const Layer& layer, const std::vector<float>& w, size_t n_columns) {
  const size_t n_rows = layer.b.size();
  Rows out(n_columns, std::vector<float>(n_rows));
  for (size_t row = 0; row < n_rows; ++row)
    for (size_t k = 0; k < n_columns; ++k) out[k][row] = w[row * n_columns + k];
  if (!layer.lstm)
    for (std::vector<float>& v : out)
      std::swap_ranges(v.begin(), v.begin() + static_cast<ptrdiff_t>(layer.n_hidden),
                       v.begin() + static_cast<ptrdiff_t>(layer.n_hidden));
  return out;
}

template <bool Lstm, typename Target>
void fill(Target& target, const Layer& layer) {
  target.setWVals(columns(layer, layer.W, layer.n_inputs));
  target.setUVals(columns(layer, layer.R, layer.n_hidden));
  if constexpr (Lstm) {
    std::vector<float> b = layer.b;
    for (size_t i = 0; i < b.size(); ++i) b[i] += layer.rb[i];
    target.setBVals(b);
  } else {
    target.setBVals(Rows{columns(layer, layer.b, 1)[0], columns(layer, layer.rb, 1)[0]});
  }
}

template <typename Model>
class Running : public Peer {
 public:
  template <typename... Sizes>
  explicit Running(Sizes... sizes) : model(sizes...) {}
  void reset() override { model.reset(); }
  void forward(const Frames& frames, float* y) override {
    for (size_t t = 0; t < frames.n; ++t) y[t] = model.forward(frames.at(t));
  }
  const float* outputs() const override { return model.getOutputs(); }

  Model model;
};

template <typename Target>
void fill_head(Target& target, const Layer& layer) {
  target.setWeights(Rows{std::vector<float>(layer.head.begin(), layer.head.end() - 1)});
  target.setBias(&layer.head.back());
}

template <bool Lstm, int I, int H>
using Cell = std::conditional_t<Lstm, rtneural::LSTMLayerT<float, I, H>, rtneural::GRULayerT<float, I, H>>;

// What one size made of `layer`, where that has it.
template <bool Lstm, int N>
std::unique_ptr<Peer> square(const Layer& layer) {
  if (layer.n_inputs != N || layer.n_hidden != N || !layer.head.empty()) return nullptr;
  auto peer = std::make_unique<Running<rtneural::ModelT<float, N, N, Cell<Lstm, N, N>>>>();
  fill<Lstm>(peer->model.template get<0>(), layer);
  return peer;
}
template <bool Lstm, int H>
std::unique_ptr<Peer> with_head(const Layer& layer) {
  if (layer.n_inputs != 1 || layer.n_hidden != H || layer.head.empty()) return nullptr;
  using Model = rtneural::ModelT<float, 1, 1, Cell<Lstm, 1, H>, rtneural::DenseT<float, H, 1>>;
  auto peer = std::make_unique<Running<Model>>();
  fill<Lstm>(peer->model.template get<0>(), layer);
  fill_head(peer->model.template get<1>(), layer);
  return peer;
}

template <bool Lstm, int... Sizes>
std::unique_ptr<Peer> one_of_square(const Layer& layer) {
  std::unique_ptr<Peer> peer;
  ((peer = square<Lstm, Sizes>(layer)) || ...);
  return peer;
}
template <bool Lstm, int... Sizes>
std::unique_ptr<Peer> one_with_head(const Layer& layer) {
  std::unique_ptr<Peer> peer;
  ((peer = with_head<Lstm, Sizes>(layer)) || ...);
  return peer;
}

template <bool Lstm>
std::unique_ptr<Peer> make(const Layer& layer, bool fixed) {
  if (fixed)
    return layer.head.empty() ? one_of_square<Lstm, 8, 12, 16, 40, 64, 128, 256>(layer)
                              : one_with_head<Lstm, 8, 12, 16, 20, 24, 32, 40>(layer);
  const int n_inputs = static_cast<int>(layer.n_inputs), n_hidden = static_cast<int>(layer.n_hidden);
  auto peer = std::make_unique<Running<rtneural::Model<float>>>(n_inputs);
  using Recurrent = std::conditional_t<Lstm, rtneural::LSTMLayer<float>, rtneural::GRULayer<float>>;
  auto* cell = new Recurrent(n_inputs, n_hidden);
  peer->model.addLayer(cell);  // which owns it
  fill<Lstm>(*cell, layer);
  if (!layer.head.empty()) {
    auto* head = new rtneural::Dense<float>(n_hidden, 1);
    peer->model.addLayer(head);
    fill_head(*head, layer);
  }
  return peer;
}

}  // namespace

std::unique_ptr<Peer> UT_PEER(const Layer& layer, bool fixed) {
  return layer.lstm ? make<true>(layer, fixed) : make<false>(layer, fixed);
}
