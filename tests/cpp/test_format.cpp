// SPDX-License-Identifier: MIT
// Damaged and hostile .tow files: every truncation, every flipped bit and many replaced bytes of small files, as they
// are and with the checksum made to fit; damaged snapshots; misaligned and missing memory. Meant for sanitizer builds.
//     test_format FOLDER             rnn.tow: every byte to every value; the others: single bits, 00 and ff
//     test_format FOLDER --all       every file: every byte to every value
//     test_format FOLDER --brief     rnn.tow only
//     test_format FOLDER --but NAME ..., --only NAME ...     all files but these, or these alone
#include <algorithm>

#include "exercise.h"

namespace {

using namespace ut_test;

constexpr size_t kMaxBytes = size_t{64} << 20;
const char* const kFiles[] = {"rnn",  "gru_reset_after", "gru_reset_before", "lstm", "lstm_options",
                              "text", "float16",         "bfloat16",         "int8", "int4", "smoothed_int16",
                              "sparse", "rows", "framed", "ahead", "strides", "strides_1", "whole", "every_op"};

long g_loaded = 0, g_refused = 0;

ut_status attempt(const Bytes& blob) {
  const ut_status s = exercise(blob, kMaxBytes);
  ++(s == UT_OK ? g_loaded : g_refused);
  return s;
}

void test_truncations(const char* name, const Bytes& whole) {
  for (size_t n = 0; n < whole.size(); ++n) {
    const Bytes cut(whole.data(), n);
    CHECK(attempt(cut) == UT_E_FORMAT, "%s cut to %zu bytes: expected UT_E_FORMAT", name, n);
    if (n < 64) {
      ut_info info;
      ut_error err;
      ut_probe(cut.data(), n, nullptr, &info, &err);
      CHECK(strstr(err.detail, n < 8 ? "no .tow signature" : "truncated"), "%s cut to %zu bytes: \"%s\"", name, n, err.detail);
      continue;
    }
    set_u32(cut, 16, static_cast<uint32_t>(n));  // a header that agrees with the cut
    reseal(cut);
    attempt(cut);
    const uint32_t metadata = static_cast<uint32_t>((n - 64) / 4 * 4);
    if (metadata >= u32_at(whole, 24)) continue;
    set_u32(cut, 24, metadata);
    reseal(cut);
    attempt(cut);
  }
}

void test_changed_bytes(const char* name, const Bytes& whole, bool every_value) {
  const size_t metadata_end = 64 + u32_at(whole, 24);
  for (size_t at = 0; at < whole.size(); ++at) {
    const uint8_t original = whole.data()[at];
    for (int k = 1; k < 256; ++k) {
      const uint8_t changed = static_cast<uint8_t>(original ^ k);
      const bool one_bit = (k & (k - 1)) == 0;
      // Weights are any floats (and indices, every one of them checked alike): there a few changes say all.
      const bool few = at >= metadata_end && strcmp(name, "sparse") != 0;  // there, weights hold starts and columns
      if (few ? k != 0x80 && (k != 0x40 || at % 4 != 3) : !every_value && !one_bit && changed != 0 && changed != 0xff)
        continue;
      Bytes blob = whole;
      blob.data()[at] = changed;
      const ut_status s = attempt(blob);
      if (at < metadata_end)
        CHECK(s != UT_OK, "%s: byte %zu changed from %02x to %02x and nobody noticed", name, at, original, changed);
      if (at >= metadata_end) continue;
      reseal(blob);
      attempt(blob);
    }
  }
}

// Words that mean sizes, offsets and indices, replaced by the values that break arithmetic: metadata, and the lists of
// sparse matrices.
void test_changed_words(const Bytes& whole, bool weights_too) {
  static const uint32_t kValues[] = {0,          1,          2,          3,          15,         16,        17,
                                     64,         0xffff,     0x10000,    0x10001,    0xffffff,   0x1000000, 0x3fffffff,
                                     0x40000000, 0x7fffffff, 0x80000000, 0xfffffff0, 0xfffffffe, 0xffffffff};
  const size_t end = weights_too ? whole.size() : 64 + u32_at(whole, 24);
  for (size_t at = 8; at < end; at += 4)
    for (const uint32_t value : kValues) {
      Bytes blob = whole;
      set_u32(blob, at, value);
      reseal(blob);
      attempt(blob);
    }
  // Two records swapped for one another: consistent by themselves, wrong in their place.
  Random random(3);
  const size_t n_words = u32_at(whole, 24) / 4;
  for (int i = 0; i < 4000; ++i) {
    Bytes blob = whole;
    for (size_t k = 1 + random.below(3); k != 0; --k) {
      const size_t from = 64 + 4 * random.below(n_words), to = 64 + 4 * random.below(n_words);
      set_u32(blob, to, u32_at(whole, from));
    }
    reseal(blob);
    attempt(blob);
  }
}

void test_snapshots(const Bytes& blob) {
  ut_info info;
  ut_error err;
  CHECK_INT(ut_probe(blob.data(), blob.size(), nullptr, &info, &err), UT_OK);
  Bytes memory(info.model_bytes), stream_memory(info.stream_bytes), good(info.snapshot_bytes), now(info.snapshot_bytes);
  const ut_model* model = nullptr;
  ut_stream* stream = nullptr;
  CHECK_INT(ut_model_init(memory.data(), memory.size(), blob.data(), blob.size(), nullptr, &model, &err), UT_OK);
  CHECK_INT(ut_stream_init(stream_memory.data(), stream_memory.size(), model, &stream), UT_OK);
  ut_snapshot_save(stream, good.data());
  const auto unchanged = [&] {
    ut_snapshot_save(stream, now.data());
    return memcmp(good.data(), now.data(), good.size()) == 0;
  };
  for (size_t n = 0; n <= good.size() + 64; ++n) {
    if (n == good.size()) continue;
    Bytes other(n);
    memcpy(other.data(), good.data(), std::min(n, good.size()));
    CHECK(ut_snapshot_load(stream, other.data(), n, &err) == UT_E_STATE && unchanged(),
          "a snapshot of %zu bytes instead of %zu was taken", n, good.size());
  }
  for (size_t at = 0; at < 32; ++at)
    for (int bit = 0; bit < 8; ++bit) {
      Bytes other = good;
      other.data()[at] = static_cast<uint8_t>(other.data()[at] ^ (1 << bit));
      CHECK(ut_snapshot_load(stream, other.data(), other.size(), &err) == UT_E_STATE && unchanged(),
            "a snapshot with bit %d of byte %zu flipped was taken", bit, at);
    }
  CHECK_INT(ut_snapshot_load(stream, nullptr, 0, &err), UT_E_ARGUMENT);
  CHECK_INT(ut_snapshot_load(stream, good.data(), good.size(), nullptr), UT_OK);
}

void test_arguments(const Bytes& blob) {
  ut_info info;
  ut_error err;
  Bytes shifted(blob.size() + UT_ALIGN);
  memcpy(shifted.data() + 4, blob.data(), blob.size());
  CHECK_INT(ut_probe(shifted.data() + 4, blob.size(), nullptr, &info, &err), UT_E_ALIGN);
  CHECK_INT(ut_probe(nullptr, 0, nullptr, &info, &err), UT_E_ARGUMENT);
  CHECK_INT(ut_probe(blob.data(), blob.size(), nullptr, nullptr, &err), UT_E_ARGUMENT);
  CHECK_INT(ut_probe(blob.data(), blob.size(), "avx1024", &info, &err), UT_E_ISA);
  CHECK(strstr(err.detail, "scalar") != nullptr, "expected the runnable instruction sets, got \"%s\"", err.detail);
  CHECK_INT(ut_probe(blob.data(), blob.size(), "", &info, nullptr), UT_E_ISA);
  CHECK_INT(ut_probe(blob.data(), blob.size(), "scalar", &info, nullptr), UT_OK);
  CHECK_TEXT(info.isa, "scalar");
  Bytes memory(info.model_bytes + UT_ALIGN), stream_memory(info.stream_bytes + UT_ALIGN);
  const ut_model* model = nullptr;
  ut_stream* stream = nullptr;
  CHECK_INT(ut_model_init(nullptr, 0, blob.data(), blob.size(), nullptr, &model, &err), UT_E_ARGUMENT);
  CHECK_INT(ut_model_init(memory.data() + 8, info.model_bytes, blob.data(), blob.size(), nullptr, &model, &err),
            UT_E_ALIGN);
  CHECK_INT(ut_model_init(memory.data(), info.model_bytes, blob.data(), blob.size(), nullptr, nullptr, &err),
            UT_E_ARGUMENT);
  CHECK_INT(ut_model_init(memory.data(), info.model_bytes, blob.data(), blob.size(), nullptr, &model, &err), UT_OK);
  CHECK_INT(ut_stream_init(nullptr, 0, model, &stream), UT_E_ARGUMENT);
  CHECK_INT(ut_stream_init(stream_memory.data() + 8, info.stream_bytes, model, &stream), UT_E_ALIGN);
  const size_t least = ut_stream_bytes(model, 1);
  CHECK((info.block == 1 ? least == info.stream_bytes : least < info.stream_bytes) && ut_stream_bytes(model, SIZE_MAX) == info.stream_bytes, "least is %zu", least);
  CHECK_INT(ut_stream_init(stream_memory.data(), least - 1, model, &stream), UT_E_MEMORY);
  CHECK(stream == nullptr, "a stream came out of a failure");
  CHECK(ut_input(model, info.n_inputs).name.data == nullptr, "an input past the last has a name");
  CHECK(ut_output(model, info.n_outputs).name.data == nullptr, "an output past the last has a name");
  CHECK(ut_state(model, info.n_states).name.data == nullptr, "a state past the last has a name");
  CHECK_INT(ut_stream_copy(nullptr, nullptr), UT_E_ARGUMENT);
  CHECK(ut_sequence_bytes(model, SIZE_MAX / 8) == 0, "memory for 2^61 frames fits a size_t");
  for (int s = 1; s >= -16; --s) {  // what a ut_status can be
    const char* text = ut_status_text(static_cast<ut_status>(s));
    CHECK((s <= 0 && s >= UT_E_STOPPED) == (strcmp(text, "unknown status") != 0), "status %d: \"%s\"", s, text);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  const auto asked = [&](const char* option) { return argc > 2 && strcmp(argv[2], option) == 0; };
  const bool all = asked("--all"), brief = asked("--brief"), but = asked("--but"), only = asked("--only");
  for (const char* name : kFiles) {
    const bool named = std::any_of(argv + std::min(argc, 3), argv + argc, [&](const char* n) { return strcmp(n, name) == 0; });
    if ((but && named) || (only && !named)) continue;
    const Bytes whole = read_file(folder + "/" + name + ".tow");
    CHECK(attempt(whole) == UT_OK, "%s.tow is not accepted", name);
    if (strcmp(name, "lstm") == 0) test_arguments(whole);
    if (brief && strcmp(name, "rnn") != 0) continue;
    test_truncations(name, whole);
    test_changed_bytes(name, whole, all || (!brief && strcmp(name, "rnn") == 0));
    test_changed_words(whole, strcmp(name, "sparse") == 0);
    if (strcmp(name, "whole") != 0) test_snapshots(whole);
    printf("%s: so far %ld files refused, %ld loaded and run\n", name, g_refused, g_loaded);
  }
  return report("test_format");
}
