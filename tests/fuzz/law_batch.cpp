// SPDX-License-Identifier: MIT
// A stream gives the same bits alone, in a batch of any size, in workspaces of any size, and as a whole sequence.
// Snapshots are taken whole, or not at all.
#include <algorithm>

#include "laws.h"
#include "tow_weights.h"

namespace ut_fuzz {

namespace {

// Many streams, each of which plays one of the feeds; frames of all of them stand one behind the other.
class Crowd {
 public:
  Crowd(const Subject& s, const std::vector<Feed>& feeds, size_t n_streams) : s_(s), feeds_(feeds) {
    for (size_t i = 0; i < n_streams; ++i) {
      const Feed& feed = feeds[i % feeds.size()];
      blocks_.emplace_back(s.info.state_bytes);
      states_.push_back(blocks_[i].as<float>());
      ut_state_reset(s.model, states_[i]);
      if (feed.start.size() != 0)
        CHECK_INT(ut_state_load(s.model, states_[i], feed.start.data(), feed.start.size(), nullptr), UT_OK);
      records_.emplace_back(s, feed);
    }
  }

  // n frames of each from frame t on; frames of a flush if n is 0.
  void run(ut_batch* batch, size_t t, size_t n, Random* nulls) {
    const size_t n_rows = n != 0 ? n : s_.info.latency, row = n != 0 ? feeds_[0].row(t) : feeds_[0].row(t - 1) + 1;
    std::vector<std::vector<uint32_t>> x(s_.info.n_inputs), y(s_.info.n_outputs);
    std::vector<const void*> from;
    std::vector<void*> to;
    for (size_t i = 0; i < x.size(); ++i) {
      for (size_t k = 0; k < states_.size(); ++k) {
        const Feed& feed = feeds_[k % feeds_.size()];
        const uint32_t* frames = feed.x[i].data() + t * feed.widths[i];
        x[i].insert(x[i].end(), frames, frames + n * feed.widths[i]);
      }
      from.push_back(x[i].data());
    }
    for (size_t i = 0; i < y.size(); ++i) {
      y[i].resize(states_.size() * n_rows * ut_output(s_.model, i).size);
      to.push_back(nulls && one_in(nulls, 3) ? nullptr : y[i].data());
    }
    const auto part = [&](size_t first, size_t count) {
      ut_batch_run_part(batch, states_.size(), states_.data(), n_rows, first, count, n != 0 ? from.data() : nullptr, to.data());
    };
    if (t % 2 != 0)
      part(0, t % n_rows), part(t % n_rows, n_rows - t % n_rows);
    else if (n == 0)
      ut_batch_flush(batch, states_.size(), states_.data(), to.data());
    else
      ut_batch_run(batch, states_.size(), states_.data(), n, from.data(), to.data());
    for (size_t k = 0; k < states_.size(); ++k) {
      const std::vector<void*> rows = records_[k].pointers(row, n_rows);
      for (size_t i = 0; i < y.size(); ++i) {
        const size_t floats = n_rows * ut_output(s_.model, i).size;
        if (to[i]) memcpy(rows[i], y[i].data() + k * floats, 4 * floats);
        if (!to[i]) std::fill_n(records_[k].unwanted[i].begin() + static_cast<ptrdiff_t>(row), n_rows, true);
      }
    }
  }

  void check(const std::vector<Record>& expected) {
    for (size_t k = 0; k < records_.size(); ++k) {
      ut_state_save(s_.model, states_[k], records_[k].end.data());
      check_same(expected[k % feeds_.size()], records_[k], "in a batch", s_);
    }
  }

 private:
  const Subject& s_;
  const std::vector<Feed>& feeds_;
  std::vector<Bytes> blocks_;
  std::vector<float*> states_;
  std::vector<Record> records_;
};

std::vector<Bytes> fields(const Subject& s, const Bytes& snapshot) {
  Bytes block(s.info.state_bytes);
  std::vector<Bytes> all;
  ut_state_reset(s.model, block.as<float>());
  if (snapshot.size() != 0)
    CHECK_INT(ut_state_load(s.model, block.as<float>(), snapshot.data(), snapshot.size(), nullptr), UT_OK);
  for (size_t i = 0; i < s.info.n_states; ++i)
    all.emplace_back(ut_state_field(s.model, block.as<float>(), i), 4 * ut_state(s.model, i).size);
  return all;
}

template <class T>
std::vector<T*> pointers_of(const std::vector<Bytes>& all) {
  std::vector<T*> to;
  for (const Bytes& b : all) to.push_back(b.as<T>());
  return to;
}

// What a whole sequence gives: of each output its frames, then the fields of the state.
using Whole = std::vector<Bytes>;

Whole run_whole(const Subject& s, const Feed& feed, size_t length, bool null_states) {
  Whole whole;
  for (size_t i = 0; i < s.info.n_outputs; ++i) {
    const ut_tensor t = ut_output(s.model, i);
    whole.emplace_back(4 * t.size * (t.once ? 1 : feed.n_frames));
  }
  const std::vector<Bytes> start = fields(s, feed.start), finals = fields(s, Bytes());
  const std::vector<const float*> states = pointers_of<const float>(start);
  Bytes memory(ut_sequence_bytes(s.model, feed.n_frames));
  const ut_status status = ut_sequence_run(memory.data(), memory.size(), s.model, feed.n_frames, length,
                                           null_states ? nullptr : states.data(), pointers(feed, 0).data(),
                                           pointers_of<void>(whole).data(), pointers_of<float>(finals).data());
  CHECK(status == UT_OK || (status == UT_E_ARGUMENT && length != feed.n_frames),
        "a whole sequence of %zu frames, %zu valid, on %s: status %d", feed.n_frames, length, s.info.isa,
        static_cast<int>(status));
  if (status != UT_OK) return {};
  CHECK_INT(ut_sequence_run(memory.data(), memory.size() - 1, s.model, feed.n_frames, length, nullptr,
                            pointers(feed, 0).data(), pointers_of<void>(whole).data(), nullptr),
            UT_E_MEMORY);
  // Some of all outputs, and the state all the same.
  std::vector<Bytes> again = fields(s, Bytes());
  std::vector<void*> some = pointers_of<void>(whole);
  for (size_t i = feed.n_frames % 2; i < some.size(); i += 2) some[i] = nullptr;
  const auto run_until = [&](int n_calls) {
    const auto stop = [](void* left) -> int { return (*static_cast<int*>(left))-- <= 0; };
    return ut_sequence_run_until(memory.data(), memory.size(), s.model, feed.n_frames, length,
                                 null_states ? nullptr : states.data(), pointers(feed, 0).data(), some.data(),
                                 pointers_of<float>(again).data(), stop, &n_calls);
  };
  const ut_status stopped = run_until(static_cast<int>(feed.n_frames));
  CHECK(stopped == UT_OK || stopped == UT_E_STOPPED, "a sequence that was ended: status %d", static_cast<int>(stopped));
  CHECK_INT(run_until(1 << 30), UT_OK);
  for (size_t i = 0; i < again.size(); ++i)
    CHECK(ut_test::same(again[i].data(), finals[i].data(), again[i].size() / 4),
          "state %zu on %s depends on what is asked for", i, s.info.isa);
  whole.insert(whole.end(), finals.begin(), finals.end());
  return whole;
}

}  // namespace

void check_batch(const Subject& s, const std::vector<Feed>& feeds, const std::vector<Record>& expected,
                 size_t most_streams, Random* random) {
  static const size_t kStreams[] = {1, 2, 3, 5, 12, 13, 14, 25, 30};
  const size_t n_streams = std::min(kStreams[random->below(9)], std::max<size_t>(most_streams, 2));
  size_t rows = one_in(random, 2) ? 1 + random->below(4) : n_streams;
  while (rows > 1 && ut_batch_bytes(s.model, rows) > kMostBytes) --rows;
  Bytes memory(ut_batch_bytes(s.model, rows));
  ut_batch* batch = nullptr;
  CHECK_INT(ut_batch_init(memory.data(), memory.size(), s.model, &batch), UT_OK);
  Crowd crowd(s, feeds, n_streams);
  const Feed& feed = feeds[0];
  for (size_t t = 0; t < feed.n_frames;) {
    const size_t end = t < feed.gap && feed.latency != 0 ? std::min(feed.gap, feed.n_frames) : feed.n_frames;
    const size_t n = one_in(random, 3) ? end - t : 1 + random->below(std::min<size_t>(end - t, 3));
    crowd.run(batch, t, n, one_in(random, 3) ? random : nullptr);
    t += n;
    if (feed.latency != 0 && (t == feed.n_frames || t == feed.gap))
      crowd.run(batch, t, 0, one_in(random, 3) ? random : nullptr);
  }
  crowd.check(expected);
}

void check_sequence(const Subject& s, const Feed& feed, const Record& expected, Random* random) {
  if (feed.gap < feed.n_frames && feed.latency != 0) return;  // a sequence has one end
  const Whole whole = run_whole(s, feed, feed.n_frames, feed.start.size() == 0 && one_in(random, 2));
  if (whole.empty()) return;
  for (size_t i = 0; i < s.info.n_outputs; ++i) {
    const size_t width = ut_output(s.model, i).size;
    CHECK(ut_test::same(whole[i].data(), expected.y[i].data() + feed.latency * width, feed.n_frames * width),
          "a whole sequence on %s: output %zu is another than step by step", s.info.isa, i);
  }
  const std::vector<Bytes> finals = fields(s, expected.end);
  for (size_t i = 0; i < finals.size(); ++i)
    CHECK(ut_test::same(finals[i].data(), whole[s.info.n_outputs + i].data(), finals[i].size() / 4),
          "a whole sequence on %s: state %zu is another than step by step", s.info.isa, i);
}

void check_whole(const std::vector<Subject>& all, size_t n_frames, Random* random) {
  const Subject& first = all[0];
  ut_stream* stream = nullptr;
  ut_batch* batch = nullptr;
  Bytes memory(std::max(first.info.stream_bytes, ut_batch_bytes(first.model, 1)));
  CHECK_INT(ut_stream_init(memory.data(), memory.size(), first.model, &stream), UT_E_WHOLE);
  CHECK_INT(ut_batch_init(memory.data(), memory.size(), first.model, &batch), UT_E_WHOLE);
  for (const size_t n : {n_frames, size_t{1}, size_t{0}}) {
    Feed feed = make_feed(first, n, n, random);
    if (one_in(random, 2)) feed.start = make_snapshot(first, any_mood(random), random);
    for (const size_t length : {n, random->below(n + 1)}) {
      const Whole expected = run_whole(first, feed, length, false);
      for (size_t k = 1; k < all.size(); ++k) {
        const Whole got = run_whole(all[k], feed, length, false);
        CHECK(got.size() == expected.size(), "%s takes what %s does not", all[k].info.isa, first.info.isa);
        for (size_t i = 0; i < std::min(got.size(), expected.size()); ++i)
          CHECK(ut_test::same(got[i].data(), expected[i].data(), got[i].size() / 4),
                "%zu frames, %zu valid: output or state %zu on %s differs from %s", n, length, i, all[k].info.isa,
                first.info.isa);
      }
    }
  }
}

void check_snapshots(const Subject& s, Random* random) {
  Stream stream(s, 1);
  const Bytes good = make_snapshot(s, any_mood(random), random);
  Bytes now(s.info.snapshot_bytes), block(s.info.state_bytes);
  CHECK_INT(ut_snapshot_load(*stream, good.data(), good.size(), nullptr), UT_OK);
  CHECK_INT(ut_state_load(s.model, block.as<float>(), good.data(), good.size(), nullptr), UT_OK);
  const auto unchanged = [&] {
    ut_snapshot_save(*stream, now.data());
    if (memcmp(now.data(), good.data(), good.size()) != 0) return false;
    ut_state_save(s.model, block.as<float>(), now.data());
    return memcmp(now.data(), good.data(), good.size()) == 0;
  };
  CHECK(unchanged(), "%s", "a snapshot that was loaded is saved as another");
  const auto refused = [&](const Bytes& bytes, const char* what) {
    ut_error err = {};
    CHECK(ut_snapshot_load(*stream, bytes.data(), bytes.size(), &err) == UT_E_STATE && err.status == UT_E_STATE &&
              err.detail[0] != 0 &&
              ut_state_load(s.model, block.as<float>(), bytes.data(), bytes.size(), nullptr) == UT_E_STATE &&
              unchanged(),
          "a snapshot was taken %s", what);
  };
  Bytes flipped = good;
  uint8_t& byte = flipped.data()[random->below(32)];
  byte = static_cast<uint8_t>(byte ^ 1u << random->below(8));
  refused(flipped, "with another header");
  refused(Bytes(good.data(), random->below(good.size())), "that is too short");
  Bytes longer(good.size() + 1 + random->below(64));
  memcpy(longer.data(), good.data(), good.size());
  refused(longer, "that is too long");
  CHECK_INT(ut_snapshot_load(*stream, nullptr, good.size(), nullptr), UT_E_ARGUMENT);
}

}  // namespace ut_fuzz
