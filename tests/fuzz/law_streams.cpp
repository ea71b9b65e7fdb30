// SPDX-License-Identifier: MIT
// A sequence gives the same bits however it is cut, whatever else was tried in between, and on any number of threads.
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "laws.h"
#include "tow_weights.h"

namespace ut_fuzz {

namespace {

// A proposed frame is undone, or was the next one and is kept.
size_t propose(ut_stream* stream, const Feed& feed, Record* record, size_t t, Random* random) {
  const bool keep = one_in(random, 3);
  Record scrap = *record;
  const size_t wrong = random->below(feed.n_frames);
  if (!keep || one_in(random, 2)) {
    ut_propose(stream, pointers(feed, wrong).data(), scrap.pointers(feed.row(wrong), 1, random).data());
    if (one_in(random, 3))
      ut_run(stream, feed.n_frames - wrong, pointers(feed, wrong).data(), scrap.pointers(0, 1).data());
    if (one_in(random, 4)) ut_stream_reset(stream);
    ut_rollback(stream);
  }
  if (!keep) return 0;
  ut_propose(stream, pointers(feed, t).data(), record->pointers(feed.row(t), 1, random).data());
  ut_commit(stream);
  if (one_in(random, 2)) ut_rollback(stream);
  return 1;
}

// Plays a feed in chunks; `between` is called before each of them and says how many frames it has played itself.
Record play(const Subject& s, ut_stream* stream, const Feed& feed,
            const std::function<size_t(Record*, size_t t)>& between, Random* random) {
  Record record(s, feed);
  const auto flush = [&](size_t t) {
    if (feed.latency == 0 || (t != feed.n_frames && t != feed.gap)) return;
    const size_t row = feed.row(t - 1) + 1, first = random->below(feed.latency + 1);
    const auto to = [&](size_t i, size_t n) { return record.pointers(row + i, n, one_in(random, 3) ? random : nullptr); };
    if (one_in(random, 2)) return ut_flush(stream, to(0, feed.latency).data());
    ut_run(stream, first, nullptr, to(0, first).data());
    ut_run(stream, feed.latency - first, nullptr, to(first, feed.latency - first).data());
  };
  for (size_t t = 0; t < feed.n_frames;) {
    if (const size_t n = between(&record, t)) {
      flush(t += n);
      continue;
    }
    const size_t end = t < feed.gap && feed.latency != 0 ? std::min(feed.gap, feed.n_frames) : feed.n_frames;
    const size_t n = one_in(random, 3) ? end - t : random->below(std::min<size_t>(end - t, 5) + 1);
    ut_run(stream, n, pointers(feed, t).data(),
           record.pointers(feed.row(t), n, one_in(random, 3) ? random : nullptr).data());
    if (n != 0) flush(t += n);
  }
  ut_snapshot_save(stream, record.end.data());
  return record;
}

// A team of threads that spin; a call that they do not come back from ends the process.
class Team {
 public:
  Team(const Subject& s, ut_stream* stream, size_t n_workers, size_t least)
      : memory_(ut_team_bytes(stream, n_workers)) {
    CHECK_INT(ut_team_init(memory_.data(), memory_.size(), stream, n_workers, least, pause, this, &team_), UT_OK);
    isa_ = s.info.isa;
    for (size_t w = 1; team_ && w < n_workers; ++w)
      threads_.emplace_back([this, w] {
        while (!stop_)
          if (ut_team_called(team_, w))
            ut_team_help(team_, w);
          else
            sched_yield();
      });
  }
  ~Team() {
    stop_ = true;
    for (std::thread& t : threads_) t.join();
    if (team_) ut_team_use(team_, 0);
  }
  void call() { begun_ = std::chrono::steady_clock::now().time_since_epoch().count(); }
  void use(bool together) {
    if (team_) ut_team_use(team_, together);
  }

 private:
  static void pause(void* context, size_t worker) {
    const Team& t = *static_cast<Team*>(context);
    sched_yield();
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    if (now - std::chrono::steady_clock::duration(t.begun_) < std::chrono::seconds(20)) return;
    fprintf(stderr, "a team on %s: worker %zu has waited for 20 s\n", t.isa_, worker);
    abort();
  }

  Bytes memory_;
  ut_team* team_ = nullptr;
  const char* isa_;
  std::atomic<int64_t> begun_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

// One input frame becomes the output frame where it stands.
void check_in_place(const Subject& s, const Feed& feed, const Record& expected) {
  if (s.info.n_inputs != 1 || s.info.n_outputs != 1) return;
  const size_t n_in = feed.widths[0], n_out = ut_output(s.model, 0).size;
  Stream stream(s, 1);
  stream.start(s, feed);
  Bytes frame(4 * std::max(n_in, n_out));
  for (size_t t = 0; t < std::min(feed.n_frames, feed.gap); ++t) {
    memcpy(frame.data(), pointers(feed, t)[0], 4 * n_in);
    ut_step(*stream, frame.data(), frame.data());
    CHECK(ut_test::same(frame.data(), expected.y[0].data() + t * n_out, n_out), "a step in place on %s: frame %zu",
          s.info.isa, t);
  }
}

}  // namespace

void check_streams(const Subject& s, const std::vector<Feed>& feeds, const std::vector<Record>& expected,
                   Random* random) {
  for (size_t i = 0; i < feeds.size(); ++i) {
    check_in_place(s, feeds[i], expected[i]);
    const size_t block = one_in(random, 2) ? s.info.block : 1 + random->below(s.info.block);
    Stream stream(s, block), other(s, 1);
    stream.start(s, feeds[i]);
    check_same(expected[i],
               play(
                   s, *stream, feeds[i], [](Record*, size_t) { return size_t{0}; }, random),
               "in chunks", s);
    stream.start(s, feeds[i]);
    ut_stream* now = *stream;
    const auto between = [&](Record* record, size_t t) -> size_t {
      if (one_in(random, 2)) return 0;
      return propose(now, feeds[i], record, t, random);
    };
    check_same(expected[i], play(s, now, feeds[i], between, random), "with proposals", s);
    // What it remembers goes to a stream with another block, field by field or at once.
    stream.start(s, feeds[i]);
    if (one_in(random, 2)) {
      CHECK_INT(ut_stream_copy(*other, *stream), UT_OK);
    } else {
      for (size_t k = 0; k < s.info.n_states; ++k)
        memcpy(ut_stream_state(*other, k), ut_stream_state(*stream, k), 4 * ut_state(s.model, k).size);
    }
    check_same(expected[i],
               play(
                   s, *other, feeds[i], [](Record*, size_t) { return size_t{0}; }, random),
               "after a copy", s);
  }
  CHECK(ut_stream_copy(nullptr, nullptr) == UT_E_ARGUMENT && !ut_stream_state(*Stream(s, 1), s.info.n_states), "%s",
        "a state that is not there");
}

void check_team(const Subject& s, const Feed& feed, const Record& expected, Random* random) {
  const size_t shared = ut_shared_bytes(s.model, 0), least = one_in(random, 3) ? 1 + random->below(shared + 1) : 0;
  Stream stream(s, one_in(random, 2) ? s.info.block : 1 + random->below(s.info.block));
  stream.start(s, feed);
  if (ut_shared_bytes(s.model, least) == 0) {
    Bytes memory(ut_team_bytes(*stream, 2));
    ut_team* team = nullptr;
    CHECK_INT(ut_team_init(memory.data(), memory.size(), *stream, 2, least, nullptr, nullptr, &team), UT_E_ARGUMENT);
    return;
  }
  Team team(s, *stream, 2 + one_in(random, 4), least);
  const auto between = [&](Record* record, size_t t) -> size_t {
    team.use(!one_in(random, 6));
    team.call();
    return one_in(random, 4) ? propose(*stream, feed, record, t, random) : 0;
  };
  check_same(expected, play(s, *stream, feed, between, random), "a team", s);
}

}  // namespace ut_fuzz
