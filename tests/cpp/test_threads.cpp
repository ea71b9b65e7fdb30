// SPDX-License-Identifier: MIT
// One model, four threads, several streams in each: every stream gives the bits that it gives alone. The crews of pools,
// of one to five threads, give the bits of one thread, call after call. Also built with ThreadSanitizer, which sees any
// write to the shared model, and any of the crew's that is not in order.
//     test_threads FOLDER
#include <chrono>
#include <memory>
#include <thread>

#include "crew.h"
#include "streams.h"

namespace {

using namespace ut_test;

constexpr size_t kThreads = 4, kStreams = 3, kFrames = 400;

uint64_t hash_of(const Traffic& traffic) {
  Hash hash;
  for (const auto& y : traffic.out) hash.add(y.data(), y.size());
  return hash.value();
}

// `kStreams` streams side by side, some stepped, some run in blocks, one forked half way.
void work(const Model& m, size_t thread, uint64_t* hashes) {
  std::vector<Bytes> memory;
  std::vector<ut_stream*> streams(kStreams);
  std::vector<Traffic> traffic;
  for (size_t s = 0; s < kStreams; ++s) {
    memory.emplace_back(m.info.stream_bytes);
    ut_stream_init(memory[s].data(), memory[s].size(), m.model, &streams[s]);
    traffic.emplace_back(m, kFrames, thread * kStreams + s);
  }
  for (size_t t = 0; t < kFrames; t += 10)
    for (size_t s = 0; s < kStreams; ++s) {
      if (s == 0)
        for (size_t i = 0; i < 10; ++i) traffic[s].run(streams[s], t + i, 1);
      else
        traffic[s].run(streams[s], t, 10);
      if (s == 2 && t == kFrames / 2) ut_stream_copy(streams[2], streams[1]);
    }
  for (size_t s = 0; s < kStreams; ++s) hashes[s] = hash_of(traffic[s]);
}

void test(const std::string& path) {
  const Model m(path, nullptr);
  uint64_t alone[kThreads][kStreams], together[kThreads][kStreams];
  for (size_t i = 0; i < kThreads; ++i) work(m, i, alone[i]);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kThreads; ++i) threads.emplace_back([&, i] { work(m, i, together[i]); });
  for (std::thread& t : threads) t.join();
  for (size_t i = 0; i < kThreads; ++i)
    for (size_t s = 0; s < kStreams; ++s)
      CHECK(together[i][s] == alone[i][s], "%s: thread %zu stream %zu: expected %016" PRIx64 ", got %016" PRIx64,
            path.c_str(), i, s, alone[i][s], together[i][s]);
  CHECK(alone[0][0] != alone[1][0], "%s: different inputs give one hash %016" PRIx64, path.c_str(), alone[0][0]);
}

// kCalls calls of different numbers of streams and frames, the next at once or (as a caller with other work) a while after.
uint64_t work_in_crew(const Model& m, size_t n_threads, size_t frame_bytes) {
  constexpr size_t kMost = 100, kCalls = 120;
  struct Dismiss {
    void operator()(Crew* crew) const { Crew::dismiss(crew); }
  };
  const std::unique_ptr<Crew, Dismiss> crew(new Crew(m.model, n_threads, frame_bytes));
  Traffic traffic(m, 3 * kMost, 9);
  std::vector<Bytes> blocks;
  std::vector<float*> states;
  for (size_t i = 0; i < kMost; ++i) {
    blocks.emplace_back(m.info.state_bytes);
    ut_state_reset(m.model, blocks[i].as<float>());
    states.push_back(blocks[i].as<float>());
  }
  const void* x[8];
  void* y[8];
  for (size_t i = 0; i < traffic.in.size(); ++i) x[i] = traffic.in[i].data();
  for (size_t i = 0; i < traffic.out.size(); ++i) y[i] = traffic.out[i].data();
  Random random(3);
  Hash hash;
  for (size_t call = 0; call < kCalls; ++call) {
    const size_t n = random.below(kMost + 1), n_frames = random.below(4);
    const size_t cut = random.below(n_frames + 1);  // a call may be taken in parts
    if (cut != 0) crew->run(n, states.data(), n_frames, 0, cut, x, y);
    crew->run(n, states.data(), n_frames, cut, n_frames - cut, x, y);
    for (size_t i = 0; i < traffic.out.size(); ++i) hash.add(traffic.out[i].data(), n * n_frames * traffic.out_width[i]);
    if (call % 40 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // until all of them sleep
  }
  for (float* state : states) hash.add(ut_state_field(m.model, state, 0), ut_state(m.model, 0).size);
  return hash.value();
}

void test_crews(const std::string& path) {
  const Model m(path, nullptr);
  constexpr size_t kAlwaysShare = size_t{1} << 30;
  const uint64_t expected = work_in_crew(m, 1, 1);
  for (size_t n_threads = 1; n_threads <= 5; ++n_threads)
    for (const size_t frame_bytes : {kAlwaysShare, size_t{1} << 14}) {
      const uint64_t got = work_in_crew(m, n_threads, frame_bytes);
      CHECK(got == expected, "%s: crew of %zu: expected %016" PRIx64 " as one thread, got %016" PRIx64, path.c_str(),
            n_threads, expected, got);
    }
  std::vector<std::thread> callers;  // several crews over one model
  uint64_t together[3];
  for (size_t i = 0; i < 3; ++i) callers.emplace_back([&, i] { together[i] = work_in_crew(m, 2, kAlwaysShare); });
  for (std::thread& t : callers) t.join();
  for (const uint64_t got : together)
    CHECK(got == expected, "%s: crews side by side: expected %016" PRIx64 ", got %016" PRIx64, path.c_str(), expected, got);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  for (const char* name : {"rnn", "gru_reset_before", "lstm", "every_op", "sparse", "framed"}) {
    test(folder + "/" + name + ".tow");
    test_crews(folder + "/" + name + ".tow");
  }
  return report("test_threads");
}
