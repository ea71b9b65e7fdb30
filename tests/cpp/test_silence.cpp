// SPDX-License-Identifier: MIT
// Silence after sound: a decaying state goes through normal numbers to exactly zero and never holds a subnormal. And the
// floating-point mode of the caller: without influence on any number, and bit for bit his again after every call.
//     test_silence FOLDER [--quick]     --quick: fewer models; for emulators and sanitizers
// How long a silent step takes is measured by `python -m bench latency`.
#include <fenv.h>

#include "streams.h"
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace {

using namespace ut_test;

// --- the caller's mode -----------------------------------------------------------------------------------------------

// The control register less its sticky flags: rounding, flush-to-zero, denormals-are-zero, exception masks.
#if defined(__x86_64__)
uint64_t mode() { return _mm_getcsr() & ~0x3fu; }
void set_mode(uint64_t m) { _mm_setcsr(static_cast<unsigned>(m)); }
// Intel SDM volume 1, MXCSR: 13-14 rounding, 15 FTZ, 6 DAZ, 7-12 masks (1: does not trap).
std::vector<uint64_t> modes() {
  std::vector<uint64_t> found;
  for (const uint64_t masks : {uint64_t{0x3f} << 7, uint64_t{0}, uint64_t{1} << 11 /* all but underflow trap */})
    for (uint64_t rounding = 0; rounding < 4; ++rounding)
      for (const uint64_t flush : {0x0000u, 0x8000u, 0x0040u, 0x8040u}) found.push_back(rounding << 13 | flush | masks);
  return found;
}
#elif defined(__aarch64__)
uint64_t mode() {
  uint64_t m;
  __asm__ volatile("mrs %0, fpcr" : "=r"(m));
  return m;
}
void set_mode(uint64_t m) { __asm__ volatile("msr fpcr, %0" : : "r"(m)); }
// Arm ARM, FPCR: 22-23 rounding, 24 FZ, 25 DN, 8-12 and 15 traps (ignored by CPUs that have none).
std::vector<uint64_t> modes() {
  std::vector<uint64_t> found;
  for (const uint64_t traps : {uint64_t{0}, uint64_t{0x9f00}})
    for (uint64_t rounding = 0; rounding < 4; ++rounding)
      for (uint64_t flush = 0; flush < 4; ++flush) found.push_back(traps | rounding << 22 | flush << 24);
  return found;
}
#else
uint64_t mode() { return static_cast<uint64_t>(fegetround()); }
void set_mode(uint64_t m) { fesetround(static_cast<int>(m)); }
std::vector<uint64_t> modes() { return {FE_TONEAREST}; }
#endif

constexpr size_t kFrames = 60;

// Numbers from 2^-149 to 1e30: each exception has its cause. Ids stay as they are.
void make_extreme(const Model& m, Traffic* traffic) {
  if (ut_input(m.model, 0).dtype != UT_FLOAT32) return;
  auto& x = traffic->in[0];
  for (size_t i = 0; i < x.size(); ++i) {
    if (i % 7 == 0) x[i] = 1e30f;
    if (i % 7 == 1) x[i] = 1e-30f;
    if (i % 7 == 2) x[i] = as_float(static_cast<uint32_t>(i));
  }
}

struct Outcome {
  uint64_t hash;
  bool kept;
  uint64_t got;
};

// Every call that computes, with `wanted` as the mode around it; the mode is looked at after each of them.
Outcome run_in_mode(const Model& m, uint64_t wanted) {
  Stream stream(m);
  Traffic traffic(m, kFrames, 5), whole(m, kFrames, 5);
  make_extreme(m, &traffic);
  make_extreme(m, &whole);
  Bytes memory(ut_sequence_bytes(m.model, kFrames));
  std::vector<const void*> x;
  std::vector<void*> y;
  for (auto& in : whole.in) x.push_back(in.data());
  for (auto& out : whole.out) y.push_back(out.data());
  const bool single = x.size() == 1 && y.size() == 1;
  const uint64_t saved = mode();
  uint64_t seen[4];
  set_mode(wanted);
  const uint64_t before = mode();
  for (size_t i = 0; i < 20; ++i) traffic.run(stream.stream, i, 1);
  seen[0] = mode();
  traffic.run(stream.stream, 20, kFrames - 20);
  seen[1] = mode();
  const ut_status status = ut_sequence_run(memory.data(), memory.size(), m.model, kFrames, kFrames, nullptr, x.data(), y.data(), nullptr);
  seen[2] = mode();
  if (single) ut_step(stream.stream, x[0], y[0]);
  seen[3] = mode();
  set_mode(saved);
  CHECK_INT(status, UT_OK);
  Outcome outcome = {0, true, before};
  for (const uint64_t after : seen)
    if (after != before) outcome.kept = false, outcome.got = after;
  Hash hash;
  for (const auto& out : traffic.out) hash.add(out.data(), out.size());
  for (const auto& out : whole.out) hash.add(out.data(), out.size());
  outcome.hash = hash.value();
  return outcome;
}

void test_floating_point_mode(const Model& m, const char* what) {
  const uint64_t expected = run_in_mode(m, mode()).hash;
  for (const uint64_t wanted : modes()) {
    const Outcome got = run_in_mode(m, wanted);
    CHECK(got.kept, "%s on %s: the mode was %04" PRIx64 " before a call and %04" PRIx64 " after it", what, m.info.isa, wanted,
          got.got);
    CHECK(got.hash == expected, "%s on %s in mode %04" PRIx64 ": expected %016" PRIx64 ", got %016" PRIx64, what, m.info.isa,
          wanted, expected, got.hash);
  }
}

// --- silence ---------------------------------------------------------------------------------------------------------

bool states_are_normal(const Model& m, ut_stream* stream, const char* what, size_t step) {
  for (size_t i = 0; i < m.info.n_states; ++i)
    for (size_t k = 0; k < ut_state(m.model, i).size; ++k) {
      const float v = ut_stream_state(stream, i)[k];
      if (!is_subnormal(v)) continue;
      CHECK(false, "%s on %s: silent step %zu leaves the subnormal %a in state %zu[%zu]", what, m.info.isa, step,
            static_cast<double>(v), i, k);
      return false;
    }
  return true;
}

// If the caller himself writes numbers that small, they are gone after a step.
void test_written_subnormals(const Model& m, const char* what) {
  Stream stream(m);
  Traffic silence(m, 1, 5, 0.0f);
  for (size_t i = 0; i < m.info.n_states; ++i)
    for (size_t k = 0; k < ut_state(m.model, i).size; ++k)
      ut_stream_state(stream.stream, i)[k] = 1e-40f * static_cast<float>(k + 1);
  CHECK(m.info.n_states == 0 || is_subnormal(ut_stream_state(stream.stream, 0)[0]), "%s: the test writes no subnormal", what);
  silence.run(stream.stream, 0, 1);
  CHECK(states_are_normal(m, stream.stream, what, 0), "%s on %s: a written subnormal is still there", what, m.info.isa);
}

// 10^5 silent steps: every state is there for a while as a number below 2^-100, none is ever subnormal, all end at zero.
void test_decay(const Model& m, size_t per_call) {
  constexpr size_t kSteps = 100000;
  Stream stream(m);
  Traffic sound(m, 100, 5), silence(m, per_call, 5, 0.0f);
  sound.run(stream.stream, 0, 100);
  std::vector<size_t> last_tiny(m.info.n_states, 0);
  size_t done = 0, first_silent = 0;
  for (; done < kSteps; done += per_call) {
    silence.run(stream.stream, 0, per_call);
    if (!states_are_normal(m, stream.stream, "decay", done)) return;
    bool any = false;
    for (size_t i = 0; i < m.info.n_states; ++i)
      for (size_t k = 0; k < ut_state(m.model, i).size; ++k) {
        const float v = ut_stream_state(stream.stream, i)[k];
        any = any || v != 0.0f;
        if (v != 0.0f && v < 0x1p-100f && v > -0x1p-100f) last_tiny[i] = done;
      }
    for (const auto& y : silence.out)
      for (const float v : y)
        if (is_subnormal(v)) {
          CHECK(false, "decay on %s: silent step %zu gives the subnormal %a", m.info.isa, done, static_cast<double>(v));
          return;
        }
    if (any) first_silent = done + per_call;
  }
  for (size_t i = 0; i < m.info.n_states; ++i) {
    CHECK(last_tiny[i] > 1000, "decay on %s: state %zu was below 2^-100 at step %zu last: it tests nothing", m.info.isa, i,
          last_tiny[i]);
    for (size_t k = 0; k < ut_state(m.model, i).size; ++k) {
      const float v = ut_stream_state(stream.stream, i)[k];
      CHECK(v == 0.0f, "decay on %s, %zu steps a call: after %zu silent steps state %zu[%zu] is %a", m.info.isa, per_call, done, i, k,
            static_cast<double>(v));
    }
  }
  printf("  %-7s %2zu a call: last other than zero after silent step %zu\n", m.info.isa, per_call, first_silent);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  const bool quick = argc > 2 && strcmp(argv[2], "--quick") == 0;
  int runnable = 0;
  for (size_t i = 0; const char* isa = ut_isa(i, &runnable); ++i) {
    if (!runnable) {
      printf("%s: not on this CPU, not tested\n", isa);
      continue;
    }
    for (const char* name : {"every_op", "precisions", "decay", "gru_reset_before", "lstm_options", "text", "framed"}) {
      if (quick && strcmp(name, "every_op") != 0 && strcmp(name, "precisions") != 0) continue;
      test_floating_point_mode(Model(folder + "/" + name + ".tow", isa), name);
    }
    for (const char* name : {"rnn", "gru_reset_after", "gru_reset_before", "lstm", "lstm_options", "decay", "precisions", "framed"})
      test_written_subnormals(Model(folder + "/" + name + ".tow", isa), name);
    const Model decay(folder + "/decay.tow", isa);
    test_decay(decay, 1);
    if (!quick) test_decay(decay, 25);
  }
  return report("test_silence");
}
