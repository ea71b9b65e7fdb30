// SPDX-License-Identifier: MIT
// What a program may rely on once the library has taken a file.
#include <algorithm>
#include <set>

#include "laws.h"
#include "tow_fit.h"

namespace ut_fuzz {

namespace {

// Well-formed: no overlong forms, no surrogates, at most U+10FFFF.
bool is_utf8(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = [&](size_t k) { return i + k < text.size() ? static_cast<uint8_t>(text[i + k]) : 0u; };
    const unsigned first = byte(0), n = first < 0x80   ? 1
                                        : first < 0xc2 ? 0
                                        : first < 0xe0 ? 2
                                        : first < 0xf0 ? 3
                                        : first < 0xf5 ? 4
                                                       : 0;
    if (n == 0) return false;
    for (unsigned k = 1; k < n; ++k)
      if (byte(k) >> 6 != 2) return false;
    if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f) || (first == 0xf0 && byte(1) < 0x90) ||
        (first == 0xf4 && byte(1) > 0x8f))
      return false;
    i += n;
  }
  return true;
}

template <class Named>
void check_names(const char* what, const Named* first, size_t n) {
  std::set<std::string> seen;
  for (size_t i = 0; i < n; ++i) {
    CHECK(is_utf8(first[i].name), "%s %zu has a name that is no UTF-8", what, i);
    CHECK(seen.insert(first[i].name).second, "%s %zu has the name of another: \"%.40s\"", what, i,
          first[i].name.c_str());
  }
}

// What a file makes others read, copy or show is no more than its own size: each tensor stands for one thing, in order,
// and texts share no bytes.
void check_sizes(const File& file, size_t n_bytes) {
  uint64_t texts = file.name.size() + file.source.size();
  for (const Value& v : file.values) texts += v.name.size();
  for (const State& s : file.states) texts += s.name.size();
  for (const Output& o : file.outputs) texts += o.name.size();
  for (const Node& node : file.nodes) texts += node.name.size();
  CHECK(texts <= n_bytes, "texts of %zu bytes in a file of %zu", static_cast<size_t>(texts), n_bytes);
  for (size_t i = 0; i < file.tensors.size(); ++i)
    CHECK(file.tensors[i].inside == kNone, "tensor %zu lies inside of another", i);
  uint32_t unused = 0;
  const auto use = [&](uint32_t t) {
    if (t == kNone) return;
    CHECK(t >= unused, "tensor %u stands for two, or is out of order", t);
    unused = t + 1;
  };
  for (const State& s : file.states) use(s.init);
  for (const Node& node : file.nodes)
    for (const uint32_t t : node.tensors) use(t);
}

// What a program is told of a frame's timesteps is what the header says.
void check_frames(const File& file, const Bytes& blob) {
  ut_info info = {};
  CHECK_INT(ut_probe(blob.data(), blob.size(), nullptr, &info, nullptr), UT_OK);
  const bool says = file.version > 1;
  CHECK(says || (file.frames_in == 0 && file.frames_out == 0), "%s", "version 1 with timesteps in its header");
  CHECK_INT(info.version, file.version);
  CHECK_INT(info.frames_in, says ? file.frames_in : 1);
  CHECK_INT(info.frames_out, says ? file.frames_out : 1);
  CHECK(file.version > 2 || file.sample_rate == 0, "version %u with a sample rate in its header", file.version);
  CHECK_INT(info.sample_rate, file.sample_rate);
  for (const uint32_t n : {info.frames_in, info.frames_out}) CHECK(n >= 1 && n <= kMaxFrame, "a frame of %u timesteps", n);
}

void check_matrices(const File& file) {
  size_t n_smoothed = 0;
  for (const Tensor& t : file.tensors) n_smoothed += t.flags;
  for (size_t i = 0; i < file.nodes.size(); ++i)
    for (const Matrix& m : matrices(file, i)) {
      const Tensor& t = file.tensors[file.nodes[i].tensors[m.slot]];
      const bool is_one = is_matrix(t, m);
      n_smoothed -= t.flags;
      CHECK(is_one, "node %zu: tensor %u is no matrix of its shape", i, m.slot);
      CHECK(!is_one || !has_integers(t.dtype) || integers_hold(t, m),
            "node %zu: tensor %u has integers out of their range, sums that are not those of its rows, or odd factors", i,
            m.slot);
    }
  CHECK(n_smoothed == 0, "%zu tensors that are no matrix have factors", n_smoothed);
}

// What was taken fits: nothing has to be mended.
void check_expressions(const File& file) {
  Random random(1);
  for (size_t i = 0; i < file.nodes.size(); ++i) {
    if (file.nodes[i].kind != kExpression) continue;
    File mended = file;
    CHECK(file.version >= version_of(file.nodes[i]), "node %zu: an expression in version %u", i, file.version);
    CHECK(file.nodes[i].tensors.empty(), "node %zu: an expression with tensors", i);
    CHECK(fit(&mended, i, &random) && write(mended) == write(file), "node %zu: an expression that is none", i);
  }
}

}  // namespace

uint64_t check_file(const Bytes& blob) {
  File file;
  const bool is_read = read(blob.data(), blob.size(), &file);
  CHECK(is_read, "%s", "a file was taken whose tables cannot be read");
  if (!is_read) return 0;
  check_names("input", file.values.data(), file.n_inputs);
  check_names("state", file.states.data(), file.states.size());
  check_names("output", file.outputs.data(), file.outputs.size());
  for (const std::string* text : {&file.name, &file.source}) CHECK(is_utf8(*text), "%s", "a title that is no UTF-8");
  for (const Node& node : file.nodes) CHECK(is_utf8(node.name), "%s", "a node has a name that is no UTF-8");
  CHECK(file.n_inputs != 0 && !file.outputs.empty(), "%s", "a model without inputs or outputs");
  check_frames(file, blob);
  check_sizes(file, blob.size());
  check_matrices(file);
  check_expressions(file);
  uint64_t latency = 0;
  for (const Node& node : file.nodes)
    if (node.kind == kPresent) latency = node.params[0];
  const uint64_t step = work(file);
  return step <= kMostWork && floats(file) <= kMostWork && latency <= 64 && latency * step <= kMostSequenceWork ? step
                                                                                                                : 0;
}

Bytes apart(const Bytes& blob, Parts* copied) {
  File file;
  std::vector<uint64_t> offsets;
  const bool is_read = read(blob.data(), blob.size(), &file);
  CHECK(is_read, "%s", "a file that was read is not read again");
  for (Tensor& t : file.tensors) t.inside = kNone;
  const Data data = write(file, &offsets);
  const Bytes made(data.data(), data.size());
  *copied = {{0, 64 + ut_test::u32_at(made, 24)}};
  for (size_t i = 0; i < file.tensors.size(); ++i)
    if (file.tensors[i].dtype == kInt32) copied->push_back({static_cast<size_t>(offsets[i]), file.tensors[i].bytes.size()});
  for (size_t i = 0; i < file.nodes.size(); ++i)
    for (const Matrix& m : matrices(file, i)) {
      const uint32_t t = file.nodes[i].tensors[m.slot];
      if (is_sparse(file.tensors[t].dtype))
        copied->push_back({static_cast<size_t>(offsets[t]), static_cast<size_t>(list_bytes(file.tensors[t], m))});
    }
  return made;
}

}  // namespace ut_fuzz
