// SPDX-License-Identifier: MIT
#include "laws.h"

#include <fenv.h>

#include <algorithm>

#include "tow_weights.h"

namespace ut_fuzz {

namespace {

// Few frames mostly; now and then more than a block.
size_t any_length(const ut_info& info, uint64_t work, Random* random) {
  const uint64_t most = std::max<uint64_t>(kMostSequenceWork / std::max<uint64_t>(work, 1), 3);
  const uint64_t n = one_in(random, 6) ? info.block + 1 + random->below(3) : 2 + random->below(12);
  return static_cast<size_t>(std::min(n, most));
}

// A stream takes what another one remembers only if they are of one model.
void check_strangers(const Subject& a, const Subject& b) {
  CHECK_INT(ut_stream_copy(*Stream(a, 1), *Stream(b, 1)), UT_E_STATE);
}

void check_streamed(const std::vector<Subject>& all, uint64_t work, Random* random) {
  const auto any = [&]() -> const Subject& { return all[random->below(all.size())]; };
  const size_t n = any_length(all[0].info, work, random);
  if (all[0].info.stream_bytes > kMostBytes) return;
  const size_t gap = one_in(random, 3) ? 1 + random->below(n) : n;
  std::vector<Feed> feeds;
  std::vector<Record> expected;
  const Subject& reference = any();
  for (size_t i = 0; i < 3; ++i) {
    feeds.push_back(make_feed(reference, n, gap, random));
    if (i == 1) feeds[i].start = make_snapshot(reference, any_mood(random), random);
    if (i == 2) feeds[i].start = expected[1].end;
    expected.push_back(steps(reference, feeds[i]));
  }
  static constexpr int kRounding[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
  for (const Subject& s : all)
    for (size_t i = 0; &s != &reference && i < feeds.size(); ++i) {
      const int rounding = kRounding[random->below(4)];
      fesetround(rounding);  // the caller's affair
      const Record got = steps(s, feeds[i]);
      CHECK_INT(fegetround(), rounding);
      fesetround(FE_TONEAREST);
      check_same(expected[i], got, "steps", s);
    }
  check_strangers(all.front(), all.back());
  check_streams(any(), feeds, expected, random);
  check_batch(any(), feeds, expected, static_cast<size_t>(4 * kMostSequenceWork / (n * work + 1)), random);
  const size_t which = random->below(feeds.size());
  check_sequence(any(), feeds[which], expected[which], random);
  check_snapshots(any(), random);
  // Threads that wait for each other take as long as all the rest.
  if (one_in(random, 2)) check_team(any(), feeds[which], expected[which], random);
}

}  // namespace

void check_laws(const Bytes& blob, uint64_t work, uint64_t seed) {
  const Bytes before = blob;
  Random random(seed);
  std::vector<Subject> all = subjects(blob);
  Parts copied;
  const Bytes again = apart(blob, &copied);
  all.emplace_back(again, all[random.below(all.size())].info.isa, copied);
  if (all[0].info.streamable)
    check_streamed(all, work, &random);
  else
    check_whole(all, any_length(all[0].info, work, &random), &random);
  all.back().change_weights(&random);
  if (all[0].info.streamable && all[0].info.stream_bytes <= kMostBytes)
    steps(all.back(), make_feed(all[0], 3, 3, &random));
  for (const Subject& s : all) CHECK(s.is_intact(), "a model on %s has changed", s.info.isa);
  CHECK(memcmp(before.data(), blob.data(), blob.size()) == 0, "%s", "the bytes of a file have changed");
}

}  // namespace ut_fuzz
