// SPDX-License-Identifier: MIT
#include "subject.h"

#include <algorithm>

#include "tow_weights.h"

namespace ut_fuzz {

Subject::Subject(const Bytes& blob, const char* isa) { open(blob, isa, false); }

Subject::Subject(const Bytes& blob, const char* isa, const Parts& copied) : blob_(blob) {
  open(blob_, isa, true);
  for (const Part& part : copied) memset(blob_.data() + part.at, 0xdb, part.size);
}

void Subject::change_weights(Random* random) {
  for (size_t i = 0; i < blob_.size(); ++i) blob_.data()[i] = static_cast<uint8_t>(random->bits());
}

void Subject::open(const Bytes& blob, const char* isa, bool mapped) {
  ut_error err;
  CHECK_INT(ut_probe(blob.data(), blob.size(), isa, &info, &err), UT_OK);
  memory_ = Bytes(mapped ? info.mapped_bytes : info.model_bytes);
  const auto init = mapped ? ut_model_init_mapped : ut_model_init;
  CHECK_INT(init(memory_.data(), memory_.size() - 1, blob.data(), blob.size(), isa, &model, &err), UT_E_MEMORY);
  CHECK(model == nullptr, "%s", "a model came out of too little memory");
  CHECK_INT(init(memory_.data(), memory_.size(), blob.data(), blob.size(), isa, &model, &err), UT_OK);
  before_ = memory_;
  ut_info again;
  ut_model_info(model, &again);
  CHECK(memcmp(&info, &again, sizeof info) == 0, "%s", "a model says something else of itself than its file");
}

std::vector<Subject> subjects(const Bytes& blob) {
  std::vector<Subject> all;
  int runnable = 0;
  for (size_t i = 0; const char* isa = ut_isa(i, &runnable); ++i) {
    if (runnable) {
      all.emplace_back(blob, isa);
      continue;
    }
    ut_info info;
    CHECK_INT(ut_probe(blob.data(), blob.size(), isa, &info, nullptr), UT_E_ISA);
  }
  return all;
}

Mood any_mood(Random* random) {
  static constexpr Mood kMoods[] = {Mood::kCalm,    Mood::kCalm, Mood::kCalm,  Mood::kSomeOdd,
                                    Mood::kSomeOdd, Mood::kOdd,  Mood::kSilent};
  return kMoods[random->below(7)];
}

void fill(uint32_t* words, size_t n, const ut_tensor& of, Mood mood, Random* random) {
  for (size_t i = 0; i < n; ++i) {
    if (of.dtype == UT_INT32) {
      static const uint32_t kOdd[] = {0xffffffff, 0x80000000, 0x7fffffff, of.n_ids, of.n_ids - 1, of.n_ids + 1};
      const uint32_t most = of.n_ids == 0 ? 1 : std::min(of.n_ids, 1000u);
      words[i] = mood == Mood::kOdd || (mood == Mood::kSomeOdd && one_in(random, 8))
                     ? kOdd[random->below(6)]
                     : static_cast<uint32_t>(random->below(most));
      continue;
    }
    float x = one_in(random, 4) ? 0.0f : random->unit() * 4;
    if (mood == Mood::kSilent) x = 0;
    if (mood == Mood::kOdd || (mood == Mood::kSomeOdd && one_in(random, 8))) x = odd_number(random);
    words[i] = ut_test::as_bits(x);
  }
}

Feed make_feed(const Subject& s, size_t n_frames, size_t gap, Random* random) {
  Feed feed;
  feed.n_frames = n_frames;
  feed.gap = gap;
  feed.latency = s.info.latency;
  const Mood mood = any_mood(random);
  for (size_t i = 0; i < s.info.n_inputs; ++i) {
    const ut_tensor t = ut_input(s.model, i);
    feed.widths.push_back(t.size);
    feed.x.emplace_back(n_frames * t.size);
    fill(feed.x.back().data(), feed.x.back().size(), t, mood, random);
  }
  return feed;
}

Bytes make_snapshot(const Subject& s, Mood mood, Random* random) {
  Bytes state(s.info.state_bytes), snapshot(s.info.snapshot_bytes);
  ut_state_reset(s.model, state.as<float>());
  for (size_t i = 0; i < s.info.n_states; ++i) {
    std::vector<uint32_t> words(ut_state(s.model, i).size);
    fill(words.data(), words.size(), ut_state(s.model, i), mood, random);
    memcpy(ut_state_field(s.model, state.as<float>(), i), words.data(), 4 * words.size());
  }
  ut_state_save(s.model, state.as<float>(), snapshot.data());
  return snapshot;
}

Record::Record(const Subject& s, const Feed& feed) : end(s.info.snapshot_bytes) {
  for (size_t i = 0; i < s.info.n_outputs; ++i) {
    widths_.push_back(ut_output(s.model, i).size);
    // What nobody writes differs from record to record.
    static uint32_t marks = 0;
    y.emplace_back(feed.n_rows() * widths_[i], 0x40000000u + ++marks % 0x100000u);
    unwanted.emplace_back(feed.n_rows());
  }
}

std::vector<void*> Record::pointers(size_t row, size_t n, Random* nulls) {
  std::vector<void*> to;
  for (size_t i = 0; i < y.size(); ++i) {
    to.push_back(y[i].data() + row * widths_[i]);
    if (!nulls || !one_in(nulls, 4)) continue;
    to.back() = nullptr;
    std::fill_n(unwanted[i].begin() + static_cast<ptrdiff_t>(row), n, true);
  }
  return to;
}

void check_same(const Record& expected, const Record& got, const char* how, const Subject& s) {
  for (size_t i = 0; i < expected.y.size(); ++i) {
    const size_t n_rows = got.unwanted[i].size(), width = ut_output(s.model, i).size;
    for (size_t r = 0; r < n_rows; ++r)
      CHECK(got.unwanted[i][r] || ut_test::same(expected.y[i].data() + r * width, got.y[i].data() + r * width, width),
            "%s on %s: row %zu of output %zu is another than step by step", how, s.info.isa, r, i);
  }
  CHECK(memcmp(expected.end.data(), got.end.data(), 32) == 0 &&
            ut_test::same(expected.end.data() + 32, got.end.data() + 32, (expected.end.size() - 32) / 4),
        "%s on %s: another state than step by step", how, s.info.isa);
}

Stream::Stream(const Subject& s, size_t block) : memory_(ut_stream_bytes(s.model, block)) {
  CHECK_INT(ut_stream_init(memory_.data(), memory_.size(), s.model, &stream_), UT_OK);
}

void Stream::start(const Subject&, const Feed& feed) {
  ut_stream_reset(stream_);
  if (feed.start.size() != 0)
    CHECK_INT(ut_snapshot_load(stream_, feed.start.data(), feed.start.size(), nullptr), UT_OK);
}

std::vector<const void*> pointers(const Feed& feed, size_t frame) {
  std::vector<const void*> x;
  for (size_t i = 0; i < feed.x.size(); ++i) x.push_back(feed.x[i].data() + frame * feed.widths[i]);
  return x;
}

Record steps(const Subject& s, const Feed& feed) {
  Record record(s, feed);
  Stream stream(s, 1);
  stream.start(s, feed);
  std::vector<Bytes> in, out;
  std::vector<const void*> x;
  std::vector<void*> y;
  for (const size_t width : feed.widths) {
    in.emplace_back(4 * width);
    x.push_back(in.back().data());
  }
  for (size_t i = 0; i < s.info.n_outputs; ++i) {
    out.emplace_back(4 * ut_output(s.model, i).size);
    y.push_back(out.back().data());
  }
  for (size_t t = 0; t < feed.n_frames; ++t) {
    const std::vector<const void*> from = pointers(feed, t);
    for (size_t i = 0; i < in.size(); ++i) memcpy(in[i].data(), from[i], in[i].size());
    if (x.size() == 1 && y.size() == 1)
      ut_step(*stream, x[0], y[0]);
    else
      ut_run(*stream, 1, x.data(), y.data());
    const std::vector<void*> to = record.pointers(feed.row(t), 1);
    for (size_t i = 0; i < out.size(); ++i) memcpy(to[i], out[i].data(), out[i].size());
    if (feed.latency && (t + 1 == feed.n_frames || t + 1 == feed.gap))
      ut_flush(*stream, record.pointers(feed.row(t) + 1, feed.latency).data());
  }
  ut_snapshot_save(*stream, record.end.data());
  return record;
}

}  // namespace ut_fuzz
