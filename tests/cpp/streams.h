// SPDX-License-Identifier: MIT
// A model and its streams with their memory, for tests that run them; and inputs that are the same on every machine.
#ifndef UNDERTOW_TESTS_STREAMS_H_
#define UNDERTOW_TESTS_STREAMS_H_

#include <vector>

#include "blob.h"
#include "check.h"
#include "numbers.h"

namespace ut_test {

struct Model {
  Bytes blob, memory;
  const ut_model* model = nullptr;
  ut_info info;

  Model(const std::string& path, const char* isa) : blob(read_file(path)) {
    ut_error err;
    const ut_status probed = ut_probe(blob.data(), blob.size(), isa, &info, &err);
    if (probed == UT_OK) {
      memory = Bytes(info.model_bytes);
      ut_model_init(memory.data(), memory.size(), blob.data(), blob.size(), isa, &model, &err);
    }
    if (!model) {
      fprintf(stderr, "%s: %s\n", path.c_str(), err.detail);
      exit(2);
    }
  }
};

struct Stream {
  Bytes memory;
  ut_stream* stream = nullptr;
  explicit Stream(const Model& m) : memory(m.info.stream_bytes) {
    CHECK_INT(ut_stream_init(memory.data(), memory.size(), m.model, &stream), UT_OK);
  }
};

// Frames of every input and of every output: n_frames each, in 4-byte elements.
struct Traffic {
  static constexpr size_t kMost = 8;
  std::vector<std::vector<float>> in, out;
  std::vector<size_t> in_width, out_width;

  Traffic(const Model& m, size_t n_frames, uint64_t seed, float scale = 2.0f) {
    CHECK(m.info.n_inputs <= kMost && m.info.n_outputs <= kMost, "a model of %zu inputs and outputs; make room",
          static_cast<size_t>(m.info.n_inputs + m.info.n_outputs));
    Random random(seed);
    for (size_t i = 0; i < m.info.n_inputs; ++i) {
      const ut_tensor t = ut_input(m.model, i);
      in_width.push_back(t.size);
      in.emplace_back(n_frames * t.size);
      for (float& x : in.back()) {
        const int32_t id = static_cast<int32_t>(random.below(t.n_ids ? t.n_ids : 1));
        x = random.unit() * scale;
        if (t.dtype == UT_INT32) memcpy(&x, &id, sizeof x);
      }
    }
    for (size_t i = 0; i < m.info.n_outputs; ++i) {
      out_width.push_back(ut_output(m.model, i).size);
      out.emplace_back(n_frames * out_width.back());
    }
  }

  // `n` timesteps from frame `first` on, without a heap: at most kMost inputs and outputs.
  void run(ut_stream* stream, size_t first, size_t n) {
    const void* x[kMost];
    void* y[kMost];
    for (size_t i = 0; i < in.size(); ++i) x[i] = in[i].data() + first * in_width[i];
    for (size_t i = 0; i < out.size(); ++i) y[i] = out[i].data() + first * out_width[i];
    ut_run(stream, n, x, y);
  }
};

}  // namespace ut_test

#endif  // UNDERTOW_TESTS_STREAMS_H_
