// SPDX-License-Identifier: MIT
// Compiled with the flags that NeuralAmpModelerCore gives its own benchmarks.
#include "nam_peer.h"

#include <fstream>
#include <stdexcept>

#include "NAM/activations.h"
#include "NAM/dsp.h"
#include "NAM/get_dsp.h"

namespace {

class Playing : public NamPeer {
 public:
  explicit Playing(std::unique_ptr<nam::DSP> model) : model_(std::move(model)) {}
  void reset(size_t block) override { model_->ResetAndPrewarm(48000.0, static_cast<int>(block)); }
  void process(const double* x, double* y, size_t n) override {
    double *in = const_cast<double*>(x), *out = y;
    model_->process(&in, &out, static_cast<int>(n));
  }

 private:
  std::unique_ptr<nam::DSP> model_;
};

}  // namespace

std::unique_ptr<NamPeer> play(const char* path, int submodel, bool fast_tanh) {
  using nam::activations::Activation;
  fast_tanh ? Activation::enable_fast_tanh() : Activation::disable_fast_tanh();
  nlohmann::json file = nlohmann::json::parse(std::ifstream(path));
  if (submodel >= 0) file = nlohmann::json(file.at("config").at("submodels").at(static_cast<size_t>(submodel)).at("model"));
  std::unique_ptr<nam::DSP> model = nam::get_dsp(file);
  if (!model || model->NumInputChannels() != 1 || model->NumOutputChannels() != 1)
    throw std::runtime_error("not a capture of one channel");
  return std::make_unique<Playing>(std::move(model));
}
