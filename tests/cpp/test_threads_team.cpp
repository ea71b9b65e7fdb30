// SPDX-License-Identifier: MIT
// Teams of several threads give one stream the bits that it has alone: steps, blocks, proposals, with the bare C interface
// and with the threads of the Python bindings (src/helpers.h). Also built with ThreadSanitizer.
//     test_threads_team FOLDER
#include <sched.h>

#include <atomic>
#include <limits>
#include <thread>

#include "helpers.h"
#include "isas.h"
#include "streams.h"

namespace {

using namespace ut_test;

constexpr size_t kFrames = 60;

void yield(void* = nullptr, size_t = 0) { sched_yield(); }

// A team on threads that do nothing but spin.
class Spinning {
 public:
  Spinning(Stream& stream, size_t n_workers) : memory_(ut_team_bytes(stream.stream, n_workers)) {
    CHECK_INT(ut_team_init(memory_.data(), memory_.size(), stream.stream, n_workers, 0, yield, nullptr, &team_), UT_OK);
    for (size_t w = 1; w < n_workers; ++w)
      threads_.emplace_back([this, w] {
        while (!stop_)
          if (ut_team_called(team_, w))
            ut_team_help(team_, w);
          else
            yield();
      });
  }
  ~Spinning() {
    stop_ = true;
    for (std::thread& t : threads_) t.join();
    ut_team_use(team_, 0);
  }
  void use(bool together) { ut_team_use(team_, together); }

 private:
  Bytes memory_;
  ut_team* team_ = nullptr;
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

struct Expected {
  Traffic traffic;
  Bytes snapshot;
  explicit Expected(const Model& m) : traffic(m, kFrames, 5), snapshot(m.info.snapshot_bytes) {
    Stream s(m);
    traffic.run(s.stream, 0, kFrames);
    ut_snapshot_save(s.stream, snapshot.data());
  }
};

void check_same(const Model& m, const Expected& expected, const Traffic& got, const ut_stream* stream, const char* how) {
  Bytes snapshot(m.info.snapshot_bytes);
  ut_snapshot_save(stream, snapshot.data());
  CHECK(memcmp(snapshot.data(), expected.snapshot.data(), snapshot.size()) == 0, "%s on %s: another state", how, m.info.isa);
  for (size_t i = 0; i < got.out.size(); ++i)
    CHECK(memcmp(got.out[i].data(), expected.traffic.out[i].data(), 4 * got.out[i].size()) == 0,
          "%s on %s: output %zu differs from that of one thread", how, m.info.isa, i);
}

void propose(const Traffic& traffic, ut_stream* stream, size_t frame) {
  const void* x[4];
  void* y[4] = {};
  for (size_t i = 0; i < traffic.in.size(); ++i) x[i] = traffic.in[i].data() + frame * traffic.in_width[i];
  ut_propose(stream, x, y);
}

void test_bare(const Model& m, size_t n_workers) {
  const Expected expected(m);
  Traffic traffic(m, kFrames, 5);
  {
    Stream stream(m);
    Spinning team(stream, n_workers);
    for (size_t t = 0; t < kFrames; ++t) traffic.run(stream.stream, t, 1);
    check_same(m, expected, traffic, stream.stream, "steps of a team");
  }
  Stream stream(m);
  Spinning team(stream, n_workers);
  Random random(n_workers);
  for (size_t t = 0; t < kFrames;) {
    team.use(random.below(4) != 0);
    propose(traffic, stream.stream, random.below(kFrames));
    ut_rollback(stream.stream);
    const size_t n = std::min<size_t>(random.below(70), kFrames - t);
    traffic.run(stream.stream, t, n);
    t += n;
  }
  check_same(m, expected, traffic, stream.stream, "blocks of a team");
}

// The helpers of the bindings: calls in a row, calls after they fell asleep, and calls that do without them.
void test_helpers(const Model& m, size_t n_workers, double gain) {
  const Expected expected(m);
  Traffic traffic(m, kFrames, 5);
  Stream stream(m);
  Helpers* helpers = new Helpers(m.model, stream.stream, n_workers, 0, gain);
  if (gain == 0.0) CHECK(helpers->measure() > 0.0, "%s", "a measurement took no time");
  for (size_t t = 0; t < kFrames; ++t) {
    if (t % 20 == 19) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    helpers->prepare(1);
    traffic.run(stream.stream, t, 1);
    helpers->prepare(0);
    traffic.run(stream.stream, t, 0);
  }
  check_same(m, expected, traffic, stream.stream, "steps with helpers");
  Helpers::dismiss(helpers);
  traffic.run(stream.stream, 0, 1);
}

void test_refused(const Model& m) {
  Stream stream(m);
  ut_team* team = nullptr;
  const size_t bytes = ut_team_bytes(stream.stream, 3), all = ut_shared_bytes(m.model, 0);
  Bytes memory(bytes);
  const auto init = [&](uint8_t* mem, size_t n, size_t n_workers, size_t least) {
    return ut_team_init(mem, n, stream.stream, n_workers, least, nullptr, nullptr, &team);
  };
  CHECK_INT(init(nullptr, bytes, 3, 0), UT_E_ARGUMENT);
  CHECK_INT(init(memory.data(), bytes, 1, 0), UT_E_ARGUMENT);
  CHECK_INT(init(memory.data(), bytes, UT_MAX_WORKERS + 1, 0), UT_E_ARGUMENT);
  CHECK_INT(init(memory.data(), bytes, 3, all + 1), UT_E_ARGUMENT);
  CHECK_INT(init(memory.data() + 4, bytes, 3, 0), UT_E_ALIGN);
  CHECK_INT(init(memory.data(), bytes - 1, 3, 0), UT_E_MEMORY);
  CHECK(team == nullptr, "%s", "a refused team was made");
  CHECK(all != 0 && ut_shared_bytes(m.model, all + 1) == 0, "%zu bytes to share", all);
  Traffic traffic(m, 1, 1);
  traffic.run(stream.stream, 0, 1);  // alone: it would wait for ever
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  for (const char* name : {"wide", "every_op"})
    for (const undertow::KernelTable* table : runnable_tables()) {
      const Model m(folder + "/" + name + ".tow", table->name);
      for (const size_t n_workers : {size_t{2}, size_t{3}}) test_bare(m, n_workers);
      for (const double gain : {0.0, 1e-9, std::numeric_limits<double>::infinity()}) test_helpers(m, 3, gain);
      test_refused(m);
    }
  return report("test_threads_team");
}
