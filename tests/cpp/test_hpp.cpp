// SPDX-License-Identifier: MIT
// undertow.hpp against undertow.h: the same bits, sizes that do not fit are refused by name, memory that is not there or not
// aligned, damaged files. Compiled twice: with exceptions, and without them.
//     test_hpp FOLDER
#include <algorithm>
#include <array>
#include <limits>

#include "undertow.hpp"

#include "blob.h"
#include "check.h"
#include "numbers.h"

static size_t most_bytes = std::numeric_limits<size_t>::max();  // that an allocation may take
static long n_allocations = 0;

void* operator new(size_t n, std::align_val_t align, const std::nothrow_t&) noexcept {
  ++n_allocations;
  void* p = nullptr;
  return n > most_bytes || posix_memalign(&p, static_cast<size_t>(align), n) != 0 ? nullptr : p;
}
void operator delete(void* p, std::align_val_t) noexcept { free(p); }

namespace {

using namespace ut_test;
using undertow::Error;
using undertow::Input;
using undertow::Model;
using undertow::Output;
using undertow::Stream;

constexpr size_t kFrames = 20;

#define CHECK_REFUSED(result, expected, words)                                                                   \
  do {                                                                                                           \
    const auto& result_ = (result);                                                                              \
    const Error& error_ = result_.error();                                                                       \
    CHECK(!result_, "%s: expected an error", #result);                                                           \
    CHECK(error_.status() == expected, "%s: expected %s, got %s", #result, #expected, Error::name(error_.status())); \
    CHECK(strstr(error_.what(), words) && strstr(error_.what(), #expected), "%s: expected \"%s\" and %s in \"%s\"", \
          #result, words, #expected, error_.what());                                                             \
  } while (0)
#define CHECK_OK(result)                                                             \
  do {                                                                               \
    const auto& result_ = (result);                                                  \
    CHECK(static_cast<bool>(result_), "%s: %s", #result, result_.error().what());     \
  } while (0)

// What undertow.h gives for the same frames.
std::vector<float> expected(const Model& m, const std::vector<float>& x, std::vector<float>* flushed) {
  Bytes memory(m.info().stream_bytes);
  ut_stream* stream = nullptr;
  CHECK_INT(ut_stream_init(memory.data(), memory.size(), m.get(), &stream), UT_OK);
  std::vector<float> y(kFrames * m.outputs()[0].size());
  const void* in[] = {x.data()};
  void* out[] = {y.data()};
  ut_run(stream, kFrames, in, out);
  flushed->resize(m.info().latency * m.outputs()[0].size());
  out[0] = flushed->data();
  ut_flush(stream, out);
  return y;
}

void check_stream(const std::string& path) {
  auto loaded = Model::try_load(path);
  CHECK_OK(loaded);
  Model model = std::move(*loaded);
  const size_t n_in = model.inputs()[0].size(), n_out = model.outputs()[0].size();
  std::vector<float> x(kFrames * n_in), flushed, y(kFrames * n_out), y2(y);
  Random random(5);
  for (float& v : x) v = random.unit();
  const std::vector<float> want = expected(model, x, &flushed);

  const auto again = Model::try_load(path);
  CHECK((*again).info().n_inputs == 1 && again->info().n_states == model.info().n_states, "%s", "a const Result is another model");
  auto made = model.try_stream();
  CHECK_OK(made);
  Stream stream = std::move(*made);
  const Model moved = std::move(model);  // its streams go on
  const long before = n_allocations;
  CHECK_OK(stream.try_run(x, y));
  CHECK(same(y.data(), want.data(), y.size()), "%s: run differs from ut_run", path.c_str());
  std::vector<float> last(flushed.size());
  if (!last.empty()) {
    CHECK_OK(stream.try_flush(last));
    CHECK(same(last.data(), flushed.data(), last.size()), "%s: flush differs from ut_flush", path.c_str());
  }

  stream.reset();
  for (size_t t = 0; t < kFrames / 2; ++t)
    CHECK_OK(stream.try_step({&x[t * n_in], n_in}, {&y2[t * n_out], n_out}));
  CHECK(same(y2.data(), want.data(), kFrames / 2 * n_out), "%s: step differs from ut_run", path.c_str());
  CHECK_INT(n_allocations, before);

  // Half way: a fork, a snapshot in another stream, and a proposal that is undone all go on alike.
  auto forked = stream.try_fork();
  CHECK_OK(forked);
  std::vector<unsigned char> bytes(moved.info().snapshot_bytes);
  CHECK_OK(stream.try_save(bytes));
  auto other = moved.try_stream(1);
  CHECK_OK(other);
  CHECK_OK(other->try_load(bytes));
  const std::vector<float> first(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(n_in));
  std::vector<float> frame(n_out);
  CHECK_OK(stream.try_propose(first, frame));
  stream.rollback();
  const undertow::span<const float> rest(&x[kFrames / 2 * n_in], kFrames / 2 * n_in);
  for (Stream* s : {&stream, &*forked, &*other}) {
    std::vector<float> out(kFrames / 2 * n_out);
    CHECK_OK(s->try_run(rest, out));
    CHECK(same(out.data(), &want[kFrames / 2 * n_out], out.size()), "%s: its second half differs", path.c_str());
  }

  // A proposal that is kept is a step; a copy of states is all that a stream remembers.
  stream.reset();
  CHECK_OK(stream.try_propose(first, frame));
  stream.commit();
  CHECK(same(frame.data(), want.data(), n_out), "%s: propose differs from a step", path.c_str());
  other->reset();
  for (size_t i = 0; i < moved.states().size(); ++i) {
    std::vector<float> state(moved.states()[i].size());
    CHECK_OK(stream.try_get_state(i, state));
    CHECK_OK(other->try_set_state(i, state));
  }
  std::vector<float> y1(kFrames / 2 * n_out), y3(y1);
  CHECK_OK(stream.try_run(rest, y1));
  CHECK_OK(other->try_run(rest, y3));
  CHECK(same(y1.data(), y3.data(), y1.size()), "%s: another stream, given its states, differs", path.c_str());
  CHECK_OK(other->try_copy_from(*forked));
}

// Several inputs and outputs, one of them ids.
void check_several(const std::string& folder) {
  auto loaded = Model::try_load(folder + "/every_op.tow");
  CHECK_OK(loaded);
  CHECK_INT(loaded->inputs().size(), 2);
  CHECK_INT(loaded->inputs()[1].dtype(), UT_INT32);
  auto stream = loaded->try_stream(), other = loaded->try_stream();
  CHECK_OK(stream);
  const std::array<float, 6> x = {0.5f, -0.25f, 1.0f, 0.0f, 0.125f, -1.0f};
  const std::int32_t ids[] = {1, 0};
  std::array<float, 8> y;
  float last[10], last2[10];
  CHECK_OK(stream->try_run(2, {x, ids}, {y, last}));
  CHECK_OK(other->try_run(2, {x, ids}, {Output(), last2}));
  CHECK(same(last, last2, 10), "%s", "an output that is not wanted changes another");
  CHECK_REFUSED(stream->try_run(x, y), UT_E_ARGUMENT, "2 inputs and 2 outputs");
  CHECK_REFUSED(stream->try_run(2, {x}, {y, last}), UT_E_ARGUMENT, "expected 2 inputs, got 1");
  CHECK_REFUSED(stream->try_run(2, {x, ids}, {y}), UT_E_ARGUMENT, "expected 2 outputs, got 1");
  CHECK_REFUSED(stream->try_run(2, {x, {1.0f, 0.0f}}, {y, last}), UT_E_ARGUMENT, "'id': expected int32 ids, got float32");
  CHECK_REFUSED(stream->try_run(3, {x, ids}, {y, last}), UT_E_ARGUMENT, "'x': expected 9 elements, got 6: 3 times a frame of 3");
}

void check_refused(const std::string& folder) {
  const std::string path = folder + "/rnn.tow";
  const Bytes blob = read_file(path);
  CHECK_REFUSED(Model::try_load(folder + "/none.tow"), UT_E_ARGUMENT, "none.tow: cannot open the file");
  CHECK_REFUSED(Model::try_load(folder), UT_E_ARGUMENT, "cannot read the file");
  CHECK_REFUSED(Model::try_load(path, "abacus"), UT_E_ISA, "abacus");
  CHECK_REFUSED(Model::try_copy({blob.data(), size_t{0}}), UT_E_FORMAT, "not a .tow file");
  CHECK_REFUSED(Model::try_copy({blob.data(), blob.size() - 1}), UT_E_FORMAT, "its header says");
  CHECK_REFUSED(Model::try_copy({blob.data(), size_t{30}}), UT_E_FORMAT, "truncated: it ends within its header");
  const Bytes damaged(blob);
  damaged.data()[100] ^= 1;
  CHECK_REFUSED(Model::try_copy({damaged.data(), damaged.size()}), UT_E_FORMAT, "damaged (CRC-32)");
  CHECK_REFUSED(Model::try_copy({damaged.data(), damaged.size()}), UT_E_FORMAT, "byte 28");
  Bytes weight(blob);
  weight.data()[blob.size() - 70] ^= 1;
  auto other_weight = Model::try_copy({weight.data(), weight.size()}), sound = Model::try_load(path);
  CHECK_OK(other_weight);
  CHECK_REFUSED(other_weight->try_check(), UT_E_FORMAT, "byte 32");
  CHECK_OK(sound);
  const Model moved = std::move(*sound);
  CHECK_OK(moved.try_check());
  const Bytes newer(blob);
  newer.data()[8] = 99;
  CHECK_REFUSED(Model::try_copy({newer.data(), newer.size()}), UT_E_VERSION, "format version 99");
  const Bytes shifted(blob.size() + 1);
  memcpy(shifted.data() + 1, blob.data(), blob.size());
  CHECK_REFUSED(Model::try_view({shifted.data() + 1, blob.size()}), UT_E_ALIGN, "not aligned");
  CHECK_OK(Model::try_copy({shifted.data() + 1, blob.size()}));
  auto whole = Model::try_load(folder + "/whole.tow");
  CHECK_OK(whole);
  CHECK_REFUSED(whole->try_stream(), UT_E_WHOLE, "ut_sequence_run");

  auto model = Model::try_view({blob.data(), blob.size()}), lstm = Model::try_load(folder + "/lstm.tow");
  CHECK_OK(model);
  CHECK_OK(lstm);
  auto stream = model->try_stream(), of_another = lstm->try_stream();
  CHECK_OK(stream);
  float x[2] = {0.5f, -0.25f}, y[3], before[3], after[3], states[4] = {};
  CHECK_OK(stream->try_step(x, y));
  CHECK_OK(stream->try_get_state(0, before));
  CHECK_REFUSED(stream->try_step({0.5f}, y), UT_E_ARGUMENT, "input 'x': expected 2 elements, got 1");
  CHECK_REFUSED(stream->try_step(x, x), UT_E_ARGUMENT, "output 'y': expected 3 elements, got 2");
  CHECK_REFUSED(stream->try_run({1.0f, 2.0f, 3.0f}, y), UT_E_ARGUMENT, "input 'x': expected 2 elements, got 3");
  CHECK_REFUSED(stream->try_propose({1.0f}, y), UT_E_ARGUMENT, "expected 2 elements");
  CHECK_REFUSED(stream->try_flush(y), UT_E_ARGUMENT, "expected 0 elements, got 3");
  const float* none = nullptr;
  CHECK_REFUSED(stream->try_run({none, 4}, y), UT_E_ARGUMENT, "input 'x': expected a pointer to 4 elements, got nullptr");
  CHECK_REFUSED(stream->try_step({none, 2}, y), UT_E_ARGUMENT, "got nullptr");
  CHECK_REFUSED(stream->try_step(x, undertow::span<float>(nullptr, 3)), UT_E_ARGUMENT, "output 'y': expected a pointer to 3");
  CHECK_REFUSED(stream->try_get_state(0, undertow::span<float>(nullptr, 3)), UT_E_ARGUMENT, "expected a pointer to 3");
  const size_t wraps = std::numeric_limits<size_t>::max() / 2 + 1;  // times 2 it is 0
  CHECK_REFUSED(stream->try_run(wraps, {Input(x, 0)}, {Output()}), UT_E_ARGUMENT, "input 'x'");
  CHECK_OK(stream->try_run({none, 0}, undertow::span<float>()));
  CHECK_REFUSED(stream->try_get_state(9, states), UT_E_ARGUMENT, "no state 9");
  CHECK_REFUSED(stream->try_set_state(0, states), UT_E_ARGUMENT, "expected 3 elements, got 4");
  std::vector<unsigned char> bytes(model->info().snapshot_bytes);
  CHECK_REFUSED(stream->try_save(undertow::span<unsigned char>(bytes.data(), bytes.size() - 1)), UT_E_ARGUMENT, "a snapshot");
  CHECK_REFUSED(stream->try_save(undertow::span<unsigned char>(nullptr, bytes.size())), UT_E_ARGUMENT, "got nullptr");
  CHECK_OK(stream->try_save(bytes));
  CHECK_REFUSED(of_another->try_load(bytes), UT_E_STATE, "another model");
  CHECK_REFUSED(of_another->try_copy_from(*stream), UT_E_STATE, "not of the same model");
  bytes.pop_back();
  CHECK_REFUSED(stream->try_load(bytes), UT_E_STATE, "bytes");
  CHECK_OK(stream->try_get_state(0, after));
  CHECK(same(before, after, 3), "%s", "a call that was refused changed the stream");

  most_bytes = 0;
  CHECK_REFUSED(Model::try_load(path), UT_E_MEMORY, "rnn.tow");
  CHECK_REFUSED(Model::try_copy({blob.data(), blob.size()}), UT_E_MEMORY, "cannot allocate 832 bytes");
  CHECK_REFUSED(Model::try_view({blob.data(), blob.size()}), UT_E_MEMORY, "for the model");
  CHECK_REFUSED(model->try_stream(), UT_E_MEMORY, "for a stream");
  CHECK_REFUSED(stream->try_fork(), UT_E_MEMORY, "for a stream");
  most_bytes = std::numeric_limits<size_t>::max();
  CHECK_TEXT(Error::name(static_cast<ut_status>(-12)), "unknown");
}

#if UNDERTOW_THROWS
template <class F>
void check_throws(ut_status expected, const char* words, const F& f) {
  try {
    f();
    CHECK(false, "expected %s to be thrown", Error::name(expected));
  } catch (const std::exception& error) {
    const Error* ours = dynamic_cast<const Error*>(&error);
    CHECK(ours && ours->status() == expected && strstr(error.what(), words), "expected %s and \"%s\" in \"%s\"",
          Error::name(expected), words, error.what());
  }
}

void check_throwing(const std::string& folder) {
  const std::string path = folder + "/rnn.tow";
  const Bytes blob = read_file(path);
  const Model model(path), scalar(path.c_str(), "scalar"), copied = Model::copy({blob.data(), blob.size()});
  CHECK_TEXT(scalar.info().isa, "scalar");
  const Model viewed = Model::view({blob.data(), blob.size()});
  Stream stream(model), small(viewed, 1);
  model.check();
  const std::vector<float> x = {0.5f, -0.25f, 1.0f, 2.0f};
  std::vector<float> y(6), y2(6);
  stream.run(x, y);
  const std::vector<unsigned char> bytes = stream.save();
  Stream other = copied.stream(), forked = stream.fork();
  other.load(bytes);
  for (Stream* s : {&stream, &forked, &other}) {
    s->step({1.0f, 0.0f}, undertow::span<float>(y2.data(), 3));
    if (s == &stream) std::copy(y2.begin(), y2.begin() + 3, y.begin());
    CHECK(same(y.data(), y2.data(), 3), "%s", "a stream that remembers the same differs");
  }
  check_throws(UT_E_ARGUMENT, "cannot open", [] { Model("none.tow"); });
  check_throws(UT_E_ALIGN, "not aligned", [&] { Model::view({blob.data() + 1, size_t{8}}); });
  check_throws(UT_E_FORMAT, "signature", [&] { Model::copy({blob.data() + 1, size_t{100}}); });
  check_throws(UT_E_ARGUMENT, "expected 2 elements", [&] { stream.step(y, y2); });
  check_throws(UT_E_ARGUMENT, "expected 2 elements", [&] { stream.propose({1.0f}, y2); });
  check_throws(UT_E_STATE, "snapshot", [&] { stream.load({bytes.data(), size_t{3}}); });
  const Model whole(folder + "/whole.tow");
  check_throws(UT_E_WHOLE, "whole sequences", [&] { whole.stream(); });
  const Bytes damaged(blob);
  damaged.data()[blob.size() - 70] ^= 1;
  const Model other_weight = Model::view({damaged.data(), damaged.size()});
  check_throws(UT_E_FORMAT, "damaged", [&] { other_weight.check(); });
  most_bytes = 0;
  check_throws(UT_E_MEMORY, "allocate", [&] { Stream{model}; });
  most_bytes = std::numeric_limits<size_t>::max();
}
#endif

// What would point into a model that is gone does not compile.
#define UT_TEST_LASTS(name, call)                                                                              \
  template <class M, class = void>                                                                             \
  constexpr bool name = false;                                                                                 \
  template <class M>                                                                                           \
  constexpr bool name<M, std::void_t<decltype(std::declval<M>() call)>> = true
UT_TEST_LASTS(gives_try_stream, .try_stream());
UT_TEST_LASTS(gives_inputs, .inputs());
UT_TEST_LASTS(gives_outputs, .outputs());
UT_TEST_LASTS(gives_states, .states());
UT_TEST_LASTS(gives_name, .name());
UT_TEST_LASTS(gives_source, .source());
UT_TEST_LASTS(gives_get, .get());
UT_TEST_LASTS(gives_arrow, ->info());
static_assert(gives_try_stream<Model&> && !gives_try_stream<Model> && !gives_try_stream<const Model>);
static_assert(gives_inputs<Model&> && !gives_inputs<Model> && gives_outputs<Model&> && !gives_outputs<Model>);
static_assert(gives_states<Model&> && !gives_states<Model> && gives_get<Model&> && !gives_get<Model>);
static_assert(gives_name<Model&> && !gives_name<Model> && gives_source<Model&> && !gives_source<Model>);
static_assert(gives_get<Stream&> && !gives_get<Stream>);
static_assert(gives_arrow<const undertow::Result<Model>&> && !gives_arrow<undertow::Result<Model>>);
static_assert(!std::is_reference_v<decltype(std::declval<Model>().info())>);
#if UNDERTOW_THROWS
UT_TEST_LASTS(gives_stream, .stream());
static_assert(gives_stream<Model&> && gives_stream<const Model&> && !gives_stream<Model> && !gives_stream<const Model>);
static_assert(std::is_constructible_v<Stream, Model&> && std::is_constructible_v<Stream, const Model&>);
static_assert(!std::is_constructible_v<Stream, Model> && !std::is_constructible_v<Stream, const Model, size_t>);
static_assert(std::is_constructible_v<Model, const char (&)[3]> && std::is_constructible_v<Model, std::string>);
static_assert(!std::is_constructible_v<Model, int> && !std::is_convertible_v<std::string, Model>);
#endif
static_assert(!std::is_copy_constructible_v<Model> && std::is_nothrow_move_constructible_v<Model>);
static_assert(!std::is_copy_constructible_v<Stream> && std::is_nothrow_move_assignable_v<Stream>);
static_assert(std::is_convertible_v<std::vector<float>&, undertow::span<float>>);
static_assert(std::is_convertible_v<const std::array<float, 3>&, undertow::span<const float>>);
static_assert(std::is_convertible_v<undertow::span<float>, undertow::span<const float>>);
static_assert(!std::is_convertible_v<std::vector<float>, undertow::span<float>>, "of a temporary that dies");
static_assert(!std::is_convertible_v<const std::vector<float>&, undertow::span<float>>);
static_assert(!std::is_convertible_v<std::vector<double>&, undertow::span<const float>>);
static_assert(!std::is_convertible_v<std::vector<double>&, Input> && !std::is_convertible_v<const float (&)[2], Output>);

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  for (const char* name : {"rnn", "gru_reset_after", "ahead", "strides", "rated", "sparse"})
    check_stream(folder + "/" + name + ".tow");
  check_several(folder);
  check_refused(folder);
#if UNDERTOW_THROWS
  check_throwing(folder);
  return report("test_hpp");
#else
  return report("test_hpp without exceptions");
#endif
}
