// SPDX-License-Identifier: MIT
// The promises of a step: no allocation, no system call for memory, the caller's floating-point mode restored and
// without influence on the result, no subnormal state and so no slowness in silence.
//     test_noalloc FOLDER [--quick]     --quick: for emulators
#include <dlfcn.h>
#include <fenv.h>
#include <sys/mman.h>
#include <time.h>

#include "streams.h"
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

// While armed, every request for memory counts; it is served all the same.
static bool g_armed = false;
static long g_trapped = 0;

template <class F>
static F real(const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

extern "C" {
void* __libc_malloc(size_t n);
void* __libc_calloc(size_t n, size_t size);
void* __libc_realloc(void* p, size_t n);
void* __libc_memalign(size_t align, size_t n);
void __libc_free(void* p);

void* malloc(size_t n) { return g_trapped += g_armed, __libc_malloc(n); }
void* calloc(size_t n, size_t size) { return g_trapped += g_armed, __libc_calloc(n, size); }
void* realloc(void* p, size_t n) { return g_trapped += g_armed, __libc_realloc(p, n); }
void free(void* p) {
  g_trapped += g_armed;
  __libc_free(p);
}
int posix_memalign(void** p, size_t align, size_t n) {
  g_trapped += g_armed;
  *p = __libc_memalign(align, n);
  return *p ? 0 : 12;
}
void* mmap(void* at, size_t n, int protection, int flags, int fd, off_t offset) {
  g_trapped += g_armed;
  return real<void* (*)(void*, size_t, int, int, int, off_t)>("mmap")(at, n, protection, flags, fd, offset);
}
}

namespace {

using namespace ut_test;

void test_the_trap() {
  g_armed = true;
  void* volatile p = malloc(10);
  p = realloc(p, 20);
  free(p);
  p = calloc(1, 1);
  free(p);
  void* q = nullptr;
  const int status = posix_memalign(&q, 64, 64);
  free(q);
  delete new int(1);
  void* const page = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  g_armed = false;
  munmap(page, 4096);
  CHECK_INT(status, 0);
  CHECK(g_trapped >= 8, "the trap saw %ld of at least 8 requests for memory", g_trapped);
  g_trapped = 0;
}

void test_no_allocation(const Model& m, const char* what, size_t n_steps) {
  constexpr size_t kFrames = 1000;
  Stream stream(m), other(m);
  Traffic traffic(m, kFrames, 5);
  Bytes snapshot(m.info.snapshot_bytes);
  ut_error err;
  ut_status status = UT_OK;
  g_armed = true;
  for (size_t i = 0; i < n_steps; ++i) traffic.run(stream.stream, i % kFrames, 1);
  for (size_t i = 0; i < n_steps / kFrames; ++i) {
    traffic.run(stream.stream, 0, kFrames);
    ut_snapshot_save(stream.stream, snapshot.data());
    status = ut_snapshot_load(other.stream, snapshot.data(), snapshot.size(), &err);
    ut_stream_copy(other.stream, stream.stream);
    ut_stream_reset(stream.stream);
    status = ut_snapshot_load(stream.stream, snapshot.data(), 7, &err);  // a failure allocates nothing either
  }
  g_armed = false;
  CHECK(g_trapped == 0, "%s on %s: %ld requests for memory in %zu steps", what, m.info.isa, g_trapped, n_steps);
  CHECK_INT(status, UT_E_STATE);
  g_trapped = 0;
}

void test_opening(const std::string& path) {
  const Bytes blob = read_file(path);
  ut_info info;
  Bytes memory(1 << 16), sequence(1 << 20);
  const ut_model* model = nullptr;
  float x[64] = {}, y0[64], y1[64], y2[64];
  const void* xs[] = {x};
  void* ys[] = {y0, y1, y2};
  g_armed = true;
  const ut_status a = ut_probe(blob.data(), blob.size(), nullptr, &info, nullptr);
  const ut_status b = ut_model_init(memory.data(), memory.size(), blob.data(), blob.size(), nullptr, &model, nullptr);
  const ut_status c = ut_sequence_run(sequence.data(), sequence.size(), model, 20, 13, nullptr, xs, ys, nullptr);
  g_armed = false;
  CHECK_INT(a, UT_OK);
  CHECK_INT(b, UT_OK);
  CHECK_INT(c, UT_OK);
  CHECK(g_trapped == 0, "opening and running %s: %ld requests for memory", path.c_str(), g_trapped);
  g_trapped = 0;
}

uint64_t run_in_mode(const Model& m) {
  Stream stream(m);
  Traffic traffic(m, 50, 5);
  for (size_t i = 0; i < 20; ++i) traffic.run(stream.stream, i, 1);
  traffic.run(stream.stream, 20, 30);
  Hash hash;
  for (const auto& y : traffic.out) hash.add(y.data(), y.size());
  return hash.value();
}

// Whatever mode the caller left on, numbers are the same, nothing traps, and the mode is his again.
void test_floating_point_mode(const Model& m) {
  const uint64_t expected = run_in_mode(m);
  for (const int rounding : {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
    fesetround(rounding);
    const uint64_t got = run_in_mode(m);
    const int after = fegetround();
    fesetround(FE_TONEAREST);
    CHECK(got == expected, "%s, rounding mode %d: expected %016" PRIx64 ", got %016" PRIx64, m.info.isa, rounding,
          expected, got);
    CHECK_INT(after, rounding);
  }
#if defined(__x86_64__)
  constexpr unsigned kFlags = 0x3f;  // sticky, not a mode
  for (const unsigned mode : {0x1f80u, 0x9f80u, 0x1fc0u, 0x9fc0u, 0x0000u /* every exception traps */}) {
    Stream stream(m);
    Traffic traffic(m, 60, 5, 1e30f);
    const unsigned saved = _mm_getcsr();
    _mm_setcsr(mode);
    traffic.run(stream.stream, 0, 1);
    traffic.run(stream.stream, 1, 59);
    const unsigned after = _mm_getcsr();
    _mm_setcsr(saved);
    CHECK((after & ~kFlags) == mode, "MXCSR: expected %04x, got %04x", mode, after);
  }
#endif
}

double seconds() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

bool states_are_normal(const Model& m, ut_stream* stream, const char* what, size_t step) {
  for (size_t i = 0; i < m.info.n_states; ++i)
    for (size_t k = 0; k < ut_state(m.model, i).size; ++k) {
      const float v = ut_stream_state(stream, i)[k];
      CHECK(!is_subnormal(v), "%s on %s: silent step %zu leaves the subnormal %a in state %zu[%zu]", what, m.info.isa,
            step, static_cast<double>(v), i, k);
      if (is_subnormal(v)) return false;
    }
  return true;
}

// Silence after sound: the state decays, through normal numbers to zero, at full speed.
void test_silence(const Model& m, const char* what) {
  Stream stream(m);
  Traffic sound(m, 100, 5), silence(m, 2000, 5, 0.0f);
  const auto time_of = [&](Traffic& traffic) {
    double best = 1e9;
    for (int repeat = 0; repeat < 20; ++repeat) {
      const double start = seconds();
      for (size_t i = 0; i < 100; ++i) traffic.run(stream.stream, i, 1);
      const double took = (seconds() - start) / 100;
      if (took < best) best = took;
    }
    return best;
  };
  const double loud = time_of(sound);
  for (size_t i = 0; i < 2000; ++i) {
    silence.run(stream.stream, i, 1);
    if (!states_are_normal(m, stream.stream, what, i)) break;
  }
  for (size_t i = 0; i < m.info.n_states; ++i) {  // and if the caller himself writes numbers that small
    float* state = ut_stream_state(stream.stream, i);
    for (size_t k = 0; k < ut_state(m.model, i).size; ++k) state[k] = 1e-40f * static_cast<float>(k + 1);
  }
  silence.run(stream.stream, 0, 1);
  states_are_normal(m, stream.stream, what, 0);
  const double quiet = time_of(silence);
  printf("  %-16s %-7s %.3f us a step with sound, %.3f in silence\n", what, m.info.isa, loud * 1e6, quiet * 1e6);
  CHECK(quiet < 3 * loud + 1e-6, "%s on %s: a step takes %.3f us in silence, %.3f with sound", what, m.info.isa,
        quiet * 1e6, loud * 1e6);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  const bool quick = argc > 2 && strcmp(argv[2], "--quick") == 0;
  test_the_trap();
  int runnable = 0;
  for (size_t i = 0; const char* isa = ut_isa(i, &runnable); ++i) {
    if (!runnable) continue;
    const Model every(folder + "/every_op.tow", isa);
    test_no_allocation(every, "every_op", quick ? 5000 : 100000);
    test_no_allocation(Model(folder + "/sparse.tow", isa), "sparse", quick ? 5000 : 100000);
    test_floating_point_mode(every);
    for (const char* name : {"rnn", "gru_reset_before", "lstm"})
      test_silence(Model(folder + "/" + name + ".tow", isa), name);
  }
  test_opening(folder + "/whole.tow");
  return report("test_noalloc");
}
