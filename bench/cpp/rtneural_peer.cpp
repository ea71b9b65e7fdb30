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
  void forward(const float* x, size_t n) override {
    for (size_t i = 0; i < n; ++i) model.forward(x);
  }
  const float* outputs() const override { return model.getOutputs(); }

  Model model;
};

template <bool Lstm, int N>
std::unique_ptr<Peer> fixed_size(const Layer& layer) {
  using Cell = std::conditional_t<Lstm, rtneural::LSTMLayerT<float, N, N>, rtneural::GRULayerT<float, N, N>>;
  auto peer = std::make_unique<Running<rtneural::ModelT<float, N, N, Cell>>>();
  fill<Lstm>(peer->model.template get<0>(), layer);
  return peer;
}

template <bool Lstm>
std::unique_ptr<Peer> make(const Layer& layer, bool fixed) {
  if (fixed) {
    if (layer.n_inputs != layer.n_hidden) return nullptr;
    switch (layer.n_hidden) {
      case 16:
        return fixed_size<Lstm, 16>(layer);
      case 40:
        return fixed_size<Lstm, 40>(layer);
      case 64:
        return fixed_size<Lstm, 64>(layer);
      case 128:
        return fixed_size<Lstm, 128>(layer);
      case 256:
        return fixed_size<Lstm, 256>(layer);
      default:
        return nullptr;
    }
  }
  const int n_inputs = static_cast<int>(layer.n_inputs), n_hidden = static_cast<int>(layer.n_hidden);
  auto peer = std::make_unique<Running<rtneural::Model<float>>>(n_inputs);
  using Cell = std::conditional_t<Lstm, rtneural::LSTMLayer<float>, rtneural::GRULayer<float>>;
  auto* cell = new Cell(n_inputs, n_hidden);
  peer->model.addLayer(cell);  // which owns it
  fill<Lstm>(*cell, layer);
  return peer;
}

}  // namespace

std::unique_ptr<Peer> UT_PEER(const Layer& layer, bool fixed) {
  return layer.lstm ? make<true>(layer, fixed) : make<false>(layer, fixed);
}
