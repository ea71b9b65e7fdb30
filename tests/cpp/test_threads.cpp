// SPDX-License-Identifier: MIT
// One model, four threads, several streams in each: every stream gives the bits that it gives alone. Also built with
// ThreadSanitizer, which sees any write to the shared model.
//     test_threads FOLDER
#include <thread>

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

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  for (const char* name : {"rnn", "gru_reset_before", "lstm", "every_op", "sparse"}) test(folder + "/" + name + ".tow");
  return report("test_threads");
}
