// SPDX-License-Identifier: MIT
// Whole models through the public header: 300 timesteps of every fixture give the same output and state bits on every
// instruction set, however the sequence is cut into calls, and the bits that scalar gave on x86-64 (golden.txt).
//     test_models FOLDER [--golden FILE]
#include "golden.h"
#include "streams.h"

namespace {

using namespace ut_test;

constexpr size_t kFrames = 300;
const char* const kStreamed[] = {"rnn",  "gru_reset_after", "gru_reset_before", "lstm", "lstm_options",
                                 "text", "every_op", "float16", "bfloat16", "int8", "int4", "int16", "smoothed_int16", "smoothed_int8", "fixed8", "sparse", "rows", "framed", "ahead",
                                 "strides", "strides_1", "expressions", "attention"};

// Frames per call; 0: uneven.
uint64_t run_stream(const Model& m, const char* name, size_t per_call) {
  Stream stream(m);
  Traffic traffic(m, kFrames, 11);
  Random cuts(per_call);
  for (size_t t = 0; t < kFrames;) {
    size_t n = per_call ? per_call : 1 + cuts.below(70);
    if (n > kFrames - t) n = kFrames - t;
    traffic.run(stream.stream, t, n);
    t += n;
  }
  Hash hash;
  for (const auto& y : traffic.out) {
    for (const float v : y)
      if (is_nan(v) || is_subnormal(v)) CHECK(false, "%s: an output is %a", name, static_cast<double>(v));
    hash.add(y.data(), y.size());
  }
  for (size_t i = 0; i < m.info.n_states; ++i) hash.add(ut_stream_state(stream.stream, i), ut_state(m.model, i).size);
  return hash.value();
}

uint64_t run_sequence(const Model& m, size_t length) {
  Traffic traffic(m, kFrames, 11);
  Bytes memory(ut_sequence_bytes(m.model, kFrames));
  const void* x[] = {traffic.in[0].data()};
  void* y[8];
  for (size_t i = 0; i < traffic.out.size(); ++i) y[i] = traffic.out[i].data();
  CHECK_INT(ut_sequence_run(memory.data(), memory.size(), m.model, kFrames, length, nullptr, x, y, nullptr), UT_OK);
  Hash hash;
  for (const auto& out : traffic.out) hash.add(out.data(), out.size());
  return hash.value();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  const char* golden = argc > 3 && strcmp(argv[2], "--golden") == 0 ? argv[3] : nullptr;
  std::vector<const char*> isas;
  int runnable = 0;
  for (size_t i = 0; const char* isa = ut_isa(i, &runnable); ++i)
    if (runnable)
      isas.push_back(isa);
    else
      printf("%s: not on this CPU, not tested\n", isa);
#if defined(UT_N_ISAS)  // a table that was compiled and is not listed would not be missed
  size_t n_listed = 0;
  while (ut_isa(n_listed, nullptr)) ++n_listed;
  CHECK_INT(n_listed, UT_N_ISAS);
#endif
  for (const char* name : kStreamed) {
    const std::string path = folder + "/" + name + ".tow";
    const uint64_t expected = run_stream(Model(path, "scalar"), name, 1);
    for (const char* isa : isas) {
      const Model m(path, isa);
      CHECK_TEXT(m.info.isa, isa);
      for (const size_t per_call : {size_t{1}, size_t{7}, kFrames, size_t{0}}) {
        const uint64_t got = run_stream(m, name, per_call);
        CHECK(got == expected,
              "%s on %s, %zu frames a call: expected %016" PRIx64 " as scalar step by step, got %016" PRIx64, name, isa,
              per_call, expected, got);
      }
    }
    if (golden) check_golden(golden, name, expected);
  }
  const Model strides(folder + "/strides.tow", "scalar"), old(folder + "/strides_1.tow", "scalar");
  CHECK(strides.info.version == 2 && strides.info.frames_in == 4 && strides.info.frames_out == 2, "%s",
        "frames of four timesteps, two out, are others");
  CHECK(old.info.version == 1 && old.info.frames_in == 1 && old.info.frames_out == 1, "%s", "version 1 says of no frames");
  CHECK(memcmp(strides.info.hash, old.info.hash, sizeof old.info.hash) == 0, "%s", "another hash than in version 1");
  const Model rated(folder + "/rated.tow", "scalar");
  CHECK(rated.info.version == 3 && rated.info.frames_in == 1 && rated.info.sample_rate == 16000, "%s", "not sound of 16 kHz");
  for (const char* name : {"int16", "smoothed_int16", "smoothed_int8"}) {
    const Model m(folder + "/" + name + ".tow", "scalar");
    CHECK(m.info.version == 4 && m.info.frames_in == 1 && m.info.sample_rate == 0, "%s is not of version 4", name);
  }
  CHECK_INT(Model(folder + "/fixed8.tow", "scalar").info.version, 5);
  CHECK_INT(Model(folder + "/expressions.tow", "scalar").info.version, 6);
  CHECK_INT(strides.info.sample_rate, 0);
  const std::string whole = folder + "/whole.tow";
  for (const size_t length : {kFrames, kFrames / 3, size_t{0}}) {
    const uint64_t expected = run_sequence(Model(whole, "scalar"), length);
    for (const char* isa : isas) {
      const uint64_t got = run_sequence(Model(whole, isa), length);
      CHECK(got == expected, "whole on %s, %zu of %zu frames: expected %016" PRIx64 " as scalar, got %016" PRIx64, isa,
            length, kFrames, expected, got);
    }
    if (golden) check_golden(golden, ("whole_" + std::to_string(length)).c_str(), expected);
  }
  return report("test_models");
}
