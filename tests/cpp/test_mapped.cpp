// SPDX-License-Identifier: MIT
// ut_model_init_mapped: whatever happens to the blob afterwards, steps find their way by the model's own memory. Run under
// AddressSanitizer, a step that followed a number of the blob would be a report.
//     test_mapped FOLDER
#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "blob.h"
#include "check.h"
#include "numbers.h"

namespace {

using namespace ut_test;

constexpr size_t kFrames = 60;

struct Loaded {
  Bytes memory;
  ut_info info;
  const ut_model* model = nullptr;

  Loaded(const Bytes& blob, const char* isa, bool mapped) {
    ut_error err;
    CHECK_INT(ut_probe(blob.data(), blob.size(), isa, &info, &err), UT_OK);
    memory = Bytes(mapped ? info.mapped_bytes : info.model_bytes);
    const auto init = mapped ? ut_model_init_mapped : ut_model_init;
    CHECK_INT(init(memory.data(), memory.size() - 1, blob.data(), blob.size(), isa, &model, &err), UT_E_MEMORY);
    CHECK(model == nullptr, "a model in %zu bytes, one too few", memory.size() - 1);
    CHECK_INT(init(memory.data(), memory.size(), blob.data(), blob.size(), isa, &model, &err), UT_OK);
  }

  // Everything that the model says and gives: names, outputs of a whole sequence and of a stream, its snapshot.
  std::vector<uint8_t> run() const {
    std::vector<uint8_t> out;
    const auto keep = [&](const void* from, size_t n) {
      out.insert(out.end(), static_cast<const uint8_t*>(from), static_cast<const uint8_t*>(from) + n);
    };
    std::vector<std::vector<float>> frames;
    std::vector<const void*> x;
    std::vector<void*> y;
    Random random(7);
    for (size_t i = 0; i < info.n_inputs; ++i) {
      const ut_tensor t = ut_input(model, i);
      keep(t.name.data, t.name.size);
      frames.emplace_back(kFrames * t.size);
      for (float& v : frames.back()) {
        const int32_t id = static_cast<int32_t>(random.below(t.n_ids ? t.n_ids : 1));
        v = random.unit();
        if (t.dtype == UT_INT32) memcpy(&v, &id, sizeof v);
      }
    }
    for (const auto& f : frames) x.push_back(f.data());
    std::vector<std::vector<float>> results;
    for (size_t i = 0; i < info.n_outputs; ++i) {
      const ut_tensor t = ut_output(model, i);
      keep(t.name.data, t.name.size);
      results.emplace_back(kFrames * t.size);
    }
    for (auto& r : results) y.push_back(r.data());
    for (size_t i = 0; i < info.n_states; ++i) keep(ut_state(model, i).name.data, ut_state(model, i).name.size);
    keep(ut_model_name(model).data, ut_model_name(model).size);
    keep(ut_model_source(model).data, ut_model_source(model).size);
    const auto collect = [&] {
      for (const auto& r : results) keep(r.data(), 4 * r.size());
    };
    if (const size_t bytes = ut_sequence_bytes(model, kFrames)) {
      const Bytes arena(bytes);
      CHECK_INT(ut_sequence_run(arena.data(), bytes, model, kFrames, kFrames, nullptr, x.data(), y.data(), nullptr), UT_OK);
      collect();
    }
    if (!info.streamable) return out;
    const Bytes arena(info.stream_bytes), snapshot(info.snapshot_bytes);
    ut_stream* stream = nullptr;
    CHECK_INT(ut_stream_init(arena.data(), arena.size(), model, &stream), UT_OK);
    ut_run(stream, kFrames - 1, x.data(), y.data());
    ut_run(stream, 1, x.data(), y.data());
    collect();
    ut_snapshot_save(stream, snapshot.data());
    keep(snapshot.data(), snapshot.size());
    return out;
  }
};

// Overwrites what a blob says of itself, and its indices: all but weights. Lists of sparse weights stay, for where they end
// is a matter of their layer.
void forget(const Bytes& blob) {
  const uint32_t metadata = u32_at(blob, 24), n_tensors = u32_at(blob, 64);
  std::vector<std::pair<size_t, size_t>> indices;
  for (uint32_t i = 0; i < n_tensors; ++i) {
    const size_t record = 64 + 4 * (12 + 6 * i);
    if (u32_at(blob, record) == UT_INT32) indices.emplace_back(u32_at(blob, record + 8), 4 * u32_at(blob, record + 16));
  }
  for (const auto& part : indices) memset(blob.data() + part.first, 0xff, part.second);
  memset(blob.data(), 0xff, 64 + metadata);
}

std::vector<std::string> files_in(const char* folder) {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) out.push_back(entry.path().string());
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  for (const std::string& path : files_in(argc > 1 ? argv[1] : "."))
    for (size_t i = 0; const char* isa = ut_isa(i, nullptr); ++i) {
      int runnable = 0;
      ut_isa(i, &runnable);
      if (!runnable) continue;
      const Bytes whole = read_file(path);
      const std::vector<uint8_t> expected = Loaded(whole, isa, false).run();
      Bytes blob(whole);
      const Loaded mapped(blob, isa, true);
      CHECK(mapped.run() == expected, "%s on %s: mapped, it gives other bits", path.c_str(), isa);
      forget(blob);
      CHECK(mapped.run() == expected, "%s on %s: it reads metadata or indices of its blob", path.c_str(), isa);
      Random random(3);
      for (const int byte : {0x00, 0x7f, 0x80, 0xff}) {
        memset(blob.data(), byte, blob.size());
        CHECK(mapped.run().size() == expected.size(), "%s on %s: all bytes %d", path.c_str(), isa, byte);
      }
      for (size_t i = 0; i < blob.size(); ++i) blob.data()[i] = static_cast<uint8_t>(random.below(256));
      CHECK(mapped.run().size() == expected.size(), "%s on %s: noise", path.c_str(), isa);
    }
  return report("test_mapped");
}
