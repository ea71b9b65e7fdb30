// SPDX-License-Identifier: MIT
// Fuzz target: the first byte picks a model of tests/data/tow, the others are a snapshot, as they are and with header
// and size made to fit. Whatever state was loaded, the laws hold from there on.
#include <algorithm>
#include <filesystem>
#include <memory>

#include "laws.h"
#include "target.h"
#include "tow_weights.h"

namespace ut_fuzz {

namespace {

constexpr size_t kHeader = 32;

struct Fixed {
  std::string path;
  Bytes blob;
  std::vector<Subject> all;
  uint64_t work = 0;
};

const std::vector<Fixed>& models() {
  static const std::vector<Fixed> kModels = [] {
    std::vector<Fixed> found;
    for (const auto& entry : std::filesystem::directory_iterator(UT_TOW_FOLDER)) {
      Fixed m{entry.path().string(), ut_test::read_file(entry.path().string()), {}, 0};
      m.all = subjects(m.blob);
      m.work = check_file(m.blob);
      if (m.work != 0 && m.all[0].info.streamable && m.all[0].info.state_bytes != 0) found.push_back(std::move(m));
    }
    std::sort(found.begin(), found.end(), [](const Fixed& a, const Fixed& b) { return a.path < b.path; });
    return found;
  }();
  return kModels;
}

const Fixed& model_of(const Data& input) { return models()[input.empty() ? 0 : input[0] % models().size()]; }

// The snapshot of an input with the header of its model, cut or filled with zeros to its size.
Bytes fitted(const Data& input) {
  const Subject& s = model_of(input).all[0];
  Bytes snapshot(s.info.snapshot_bytes), state(s.info.state_bytes);
  ut_state_reset(s.model, state.as<float>());
  ut_state_save(s.model, state.as<float>(), snapshot.data());
  if (input.size() <= 1 + kHeader) return snapshot;
  const size_t n = std::min(input.size() - 1 - kHeader, s.info.state_bytes);
  memset(snapshot.data() + kHeader, 0, s.info.state_bytes);
  memcpy(snapshot.data() + kHeader, input.data() + 1 + kHeader, n);
  return snapshot;
}

void attempt(const Fixed& m, const Bytes& snapshot) {
  Random random(ut_test::crc32(0, snapshot.data(), snapshot.size()));
  const Subject& s = m.all[random.below(m.all.size())];
  Stream stream(s, 1);
  Bytes before(s.info.snapshot_bytes), after(s.info.snapshot_bytes), block(s.info.state_bytes);
  ut_snapshot_save(*stream, before.data());
  ut_error err = {};
  const ut_status status = ut_snapshot_load(*stream, snapshot.data(), snapshot.size(), &err);
  ut_state_reset(s.model, block.as<float>());
  CHECK_INT(ut_state_load(s.model, block.as<float>(), snapshot.data(), snapshot.size(), nullptr), status);
  ut_snapshot_save(*stream, after.data());
  if (status != UT_OK) {
    CHECK(status == UT_E_STATE && err.detail[0] != 0, "a snapshot of %zu bytes: status %d", snapshot.size(),
          static_cast<int>(status));
    CHECK(memcmp(before.data(), after.data(), before.size()) == 0, "%s",
          "a snapshot that was refused has changed a stream");
    return;
  }
  const size_t n = static_cast<size_t>(std::min<uint64_t>(2 + random.below(10), 2 + kMostSequenceWork / m.work)),
               latency = s.info.latency;
  std::vector<Feed> feeds = {make_feed(s, n, latency ? 1 + random.below(n) : n, &random)};
  feeds[0].start = snapshot;
  const std::vector<Record> expected = {steps(s, feeds[0])};
  for (const Subject& other : m.all)
    if (&other != &s) check_same(expected[0], steps(other, feeds[0]), "steps", other);
  check_streams(s, feeds, expected, &random);
  check_batch(s, feeds, expected, 3, &random);
  check_sequence(s, feeds[0], expected[0], &random);
  if (one_in(&random, 4)) check_team(s, feeds[0], expected[0], &random);
}

Data input_of(size_t model, const Bytes& snapshot) {
  Data input(1 + snapshot.size());
  input[0] = static_cast<uint8_t>(model);
  memcpy(input.data() + 1, snapshot.data(), snapshot.size());
  return input;
}

}  // namespace

void run_target(const Data& input) {
  const Fixed& m = model_of(input);
  if (!input.empty()) attempt(m, Bytes(input.data() + 1, input.size() - 1));
  attempt(m, fitted(input));
}

Data mutate_input(const Data& input, size_t max_bytes, uint64_t seed) {
  Random random(seed);
  Data other = input;
  if (other.empty() || one_in(&random, 8)) other.assign(1, static_cast<uint8_t>(random.below(models().size())));
  other = input_of(other[0] % models().size(), fitted(other));
  const size_t n_words = (other.size() - 1) / 4, header = kHeader / 4;
  for (size_t k = 1 + random.below(8); k != 0; --k) {
    const float x = one_in(&random, 3) ? random.unit() * 4 : odd_number(&random);
    const size_t first = one_in(&random, 16) ? random.below(header) : header + random.below(n_words - header);
    const size_t n = one_in(&random, 4) ? 1 + random.below(n_words - first) : 1;
    for (size_t i = first; i < first + n; ++i) memcpy(other.data() + 1 + 4 * i, &x, 4);
  }
  if (one_in(&random, 16)) other.resize(random.below(other.size() + 64));
  return other.size() <= max_bytes ? other : Data();
}

// The state of a, of which some words are those of b.
Data join_inputs(const Data& a, const Data& b, size_t max_bytes, uint64_t seed) {
  Random random(seed);
  Data joined = a;
  for (size_t i = 1 + kHeader; i + 4 <= std::min(a.size(), b.size()); i += 4)
    if (one_in(&random, 2))
      std::copy_n(b.begin() + static_cast<ptrdiff_t>(i), 4, joined.begin() + static_cast<ptrdiff_t>(i));
  return joined.size() <= max_bytes ? joined : Data();
}

}  // namespace ut_fuzz
