// SPDX-License-Identifier: MIT
#include "tow_file.h"

#include <string.h>

#include "blob.h"

namespace ut_fuzz {

namespace {

constexpr size_t kHeader = 64, kAlign = 64, kMaxDims = 8;
constexpr uint8_t kStart[8] = {0x89, 'T', 'O', 'W', '\r', '\n', 0x1a, '\n'};

constexpr uint64_t aligned(uint64_t n) { return (n + kAlign - 1) / kAlign * kAlign; }

// Takes the words of the metadata one after the other; behind the last one everything is 0 and `bad` is set.
class Words {
 public:
  Words(const uint8_t* at, size_t n_words) : at_(at), left_(n_words) {}
  uint32_t next() {
    if (left_ == 0) {
      bad = true;
      return 0;
    }
    uint32_t word;
    memcpy(&word, at_, 4);
    at_ += 4;
    --left_;
    return word;
  }
  uint64_t next64() {
    const uint64_t low = next();
    return low | uint64_t{next()} << 32;
  }
  std::vector<uint32_t> next_n(size_t n) {
    std::vector<uint32_t> words;
    bad = bad || n > left_;
    for (size_t i = 0; i < n && !bad; ++i) words.push_back(next());
    return words;
  }
  size_t left() const { return left_; }
  const uint8_t* at() const { return at_; }
  bool bad = false;

 private:
  const uint8_t* at_;
  size_t left_;
};

// A text is read before the pool is found, so it waits as (offset, size).
struct Text {
  uint32_t at, size;
};

struct Reader {
  Words words;
  const uint8_t* pool = nullptr;
  uint32_t pool_bytes = 0;

  Text text() {
    const uint32_t at = words.next();
    return {at, words.next()};
  }
  Shape shape() {
    const uint32_t n_dims = words.next();
    words.bad = words.bad || n_dims > kMaxDims;
    Shape s;
    for (uint32_t i = 0; i < kMaxDims; ++i) {
      const uint32_t dim = words.next();
      if (i < n_dims) s.push_back(dim);
    }
    return s;
  }
  std::string string(const Text& t) {
    if (uint64_t{t.at} + t.size > pool_bytes) words.bad = true;
    return words.bad ? std::string() : std::string(reinterpret_cast<const char*>(pool) + t.at, t.size);
  }
};

bool all_below(const std::vector<uint32_t>& numbers, size_t end, bool or_none = false) {
  for (const uint32_t i : numbers)
    if (i >= end && !(or_none && i == kNone)) return false;
  return true;
}

void find_overlap(std::vector<Tensor>* tensors, const std::vector<uint64_t>& offsets) {
  Tensor& last = tensors->back();
  const uint64_t from = offsets.back();
  for (size_t i = 0; i + 1 < tensors->size() && last.inside == kNone; ++i) {
    const Tensor& other = (*tensors)[i];
    if (last.bytes.empty() || from < offsets[i] || from + last.bytes.size() > offsets[i] + other.bytes.size()) continue;
    last.inside = static_cast<uint32_t>(i);
    last.at = from - offsets[i];
  }
}

}  // namespace

uint64_t size_of(const Shape& shape) {
  uint64_t n = 1;
  for (const uint32_t dim : shape) {
    n *= dim;
    if (dim == 0 || n > kMaxFrame) return kMaxFrame + 1;
  }
  return n;
}

uint64_t element_bytes(uint32_t dtype) { return dtype == kInt16 ? 2 : dtype >= kInt8 ? 1 : dtype >= kFloat16 ? 2 : 4; }

uint32_t version_of(const Tensor& t) { return t.dtype == kFixed8 ? 5 : t.dtype == kInt16 || t.flags != 0 ? 4 : 1; }

uint32_t File::first_output(size_t node) const {
  uint32_t first = n_inputs;
  for (size_t i = 0; i < node; ++i) first += nodes[i].n_outputs;
  return first;
}

bool read(const uint8_t* bytes, size_t n, File* out) {
  uint64_t n_bytes;
  uint32_t metadata;
  if (n < kHeader || memcmp(bytes, kStart, sizeof kStart) != 0) return false;
  memcpy(&n_bytes, bytes + 16, 8);
  memcpy(&metadata, bytes + 24, 4);
  if (n_bytes != n || metadata % 4 != 0 || metadata > n - kHeader) return false;
  *out = File();
  memcpy(&out->version, bytes + 8, 4);
  memcpy(&out->frames_in, bytes + 48, 4);
  memcpy(&out->frames_out, bytes + 52, 4);
  memcpy(&out->sample_rate, bytes + 56, 4);
  if (out->version < 1 || out->version > kLastVersion) return false;
  memcpy(out->hash, bytes + 32, 16);
  Reader r{Words(bytes + kHeader, metadata / 4)};
  Words& w = r.words;
  const std::vector<uint32_t> counts = w.next_n(8);
  if (w.bad || counts[7] % 4 != 0) return false;
  // No table may be longer than the words that are there.
  for (size_t i = 0; i < 6; ++i)
    if (counts[i] > metadata / 4) return false;
  const Text title = r.text(), source = r.text();
  std::vector<uint64_t> offsets;
  for (uint32_t i = 0; i < counts[0] && !w.bad; ++i) {
    Tensor t;
    t.dtype = w.next();
    t.flags = w.next();
    const uint32_t least = version_of(t);
    const uint64_t offset = w.next64(), elements = w.next64();
    if (t.dtype >= kEndOfDtypes || out->version < least ||
        t.flags > (may_be_smoothed(t.dtype) ? 1 : 0) || offset > n || offset % kAlign != 0 ||
        elements > (n - offset) / element_bytes(t.dtype))
      return false;
    const uint64_t size = elements * element_bytes(t.dtype);
    t.bytes.assign(bytes + offset, bytes + offset + size);
    out->tensors.push_back(t);
    offsets.push_back(offset);
    find_overlap(&out->tensors, offsets);
  }
  std::vector<Text> texts;
  for (uint32_t i = 0; i < counts[1] && !w.bad; ++i) {
    texts.push_back(r.text());
    Value v;
    v.dtype = w.next();
    v.n_ids = w.next();
    v.shape = r.shape();
    out->values.push_back(v);
  }
  for (uint32_t i = 0; i < counts[2] && !w.bad; ++i) {
    texts.push_back(r.text());
    State s;
    s.init = w.next();
    s.shape = r.shape();
    out->states.push_back(s);
  }
  for (uint32_t i = 0; i < counts[4] && !w.bad; ++i) {
    texts.push_back(r.text());
    Output o;
    o.value = w.next();
    out->outputs.push_back(o);
  }
  std::vector<std::vector<uint32_t>> records;
  for (uint32_t i = 0; i < counts[5] && !w.bad; ++i) records.push_back(w.next_n(9));
  for (const std::vector<uint32_t>& record : records) {
    if (w.bad) return false;
    Node node;
    node.kind = record[0];
    texts.push_back({record[1], record[2]});
    node.n_outputs = record[4];
    node.inputs = w.next_n(record[3]);
    node.states = w.next_n(record[5]);
    node.tensors = w.next_n(record[6]);
    node.params = w.next_n(record[7]);
    out->nodes.push_back(node);
  }
  if (w.bad || w.left() != counts[7] / 4) return false;
  r.pool = w.at();
  r.pool_bytes = counts[7];
  out->n_inputs = counts[3];
  out->name = r.string(title);
  out->source = r.string(source);
  size_t t = 0;
  for (Value& v : out->values) v.name = r.string(texts[t++]);
  for (State& s : out->states) s.name = r.string(texts[t++]);
  for (Output& o : out->outputs) o.name = r.string(texts[t++]);
  for (Node& node : out->nodes) node.name = r.string(texts[t++]);
  uint64_t n_values = counts[3];
  for (const Node& node : out->nodes) {
    n_values += node.n_outputs;
    if (!all_below(node.inputs, counts[1]) || !all_below(node.states, counts[2]) ||
        !all_below(node.tensors, counts[0], true))
      return false;
  }
  for (const Output& o : out->outputs) w.bad = w.bad || o.value >= counts[1];
  for (const State& s : out->states) w.bad = w.bad || (s.init >= counts[0] && s.init != kNone);
  return !w.bad && n_values == counts[1];
}

Data write(const File& file, std::vector<uint64_t>* where) {
  std::string pool;
  std::vector<uint32_t> words, records;
  const auto text = [&](const std::string& s) {
    words.push_back(static_cast<uint32_t>(pool.size()));
    words.push_back(static_cast<uint32_t>(s.size()));
    pool += s;
  };
  const auto shape = [&](const Shape& s) {
    words.push_back(static_cast<uint32_t>(s.size()));
    for (size_t i = 0; i < kMaxDims; ++i) words.push_back(i < s.size() ? s[i] : 0);
  };
  words.resize(8);
  text(file.name);
  text(file.source);
  const size_t table = words.size();
  words.resize(table + 6 * file.tensors.size());
  for (const Value& v : file.values) {
    text(v.name);
    words.push_back(v.dtype);
    words.push_back(v.n_ids);
    shape(v.shape);
  }
  for (const State& s : file.states) {
    text(s.name);
    words.push_back(s.init);
    shape(s.shape);
  }
  for (const Output& o : file.outputs) {
    text(o.name);
    words.push_back(o.value);
  }
  std::vector<uint32_t> of_nodes;
  for (const Node& node : file.nodes) {
    const auto size = [](const std::vector<uint32_t>& v) { return static_cast<uint32_t>(v.size()); };
    words.push_back(node.kind);
    text(node.name);
    for (const uint32_t n :
         {size(node.inputs), node.n_outputs, size(node.states), size(node.tensors), size(node.params), size(of_nodes)})
      words.push_back(n);
    for (const auto* list : {&node.inputs, &node.states, &node.tensors, &node.params})
      of_nodes.insert(of_nodes.end(), list->begin(), list->end());
  }
  words.insert(words.end(), of_nodes.begin(), of_nodes.end());
  pool.resize((pool.size() + 3) / 4 * 4);
  const size_t counts[8] = {file.tensors.size(), file.values.size(), file.states.size(), file.n_inputs,
                            file.outputs.size(), file.nodes.size(),  of_nodes.size(),    pool.size()};
  for (size_t i = 0; i < 8; ++i) words[i] = static_cast<uint32_t>(counts[i]);

  const uint64_t metadata = 4 * words.size() + pool.size();
  uint64_t end = aligned(kHeader + metadata);
  std::vector<uint64_t> offsets;
  for (size_t i = 0; i < file.tensors.size(); ++i) {
    const Tensor& t = file.tensors[i];
    const bool apart =
        t.inside >= i || t.at % kAlign != 0 || t.at + t.bytes.size() > file.tensors[t.inside].bytes.size();
    offsets.push_back(apart ? end : offsets[t.inside] + t.at);
    if (apart) end = aligned(end + t.bytes.size());
    const uint64_t n = t.n(), offset = offsets[i];
    const uint32_t record[6] = {t.dtype,
                                t.flags,
                                static_cast<uint32_t>(offset),
                                static_cast<uint32_t>(offset >> 32),
                                static_cast<uint32_t>(n),
                                static_cast<uint32_t>(n >> 32)};
    memcpy(&words[table + 6 * i], record, sizeof record);
  }
  Data out(end);
  memcpy(out.data(), kStart, sizeof kStart);
  memcpy(out.data() + 8, &file.version, 4);
  memcpy(out.data() + 48, &file.frames_in, 4);
  memcpy(out.data() + 52, &file.frames_out, 4);
  memcpy(out.data() + 56, &file.sample_rate, 4);
  const uint32_t metadata_bytes = static_cast<uint32_t>(metadata);
  memcpy(out.data() + 16, &end, 8);
  memcpy(out.data() + 24, &metadata_bytes, 4);
  memcpy(out.data() + 32, file.hash, 16);
  memcpy(out.data() + kHeader, words.data(), 4 * words.size());
  memcpy(out.data() + kHeader + 4 * words.size(), pool.data(), pool.size());
  for (size_t i = file.tensors.size(); i-- > 0;)  // the first of two that share a piece has the last word
    if (!file.tensors[i].bytes.empty())
      memcpy(out.data() + offsets[i], file.tensors[i].bytes.data(), file.tensors[i].bytes.size());
  seal(&out);
  if (where) *where = offsets;
  return out;
}

void seal(Data* file) {
  if (file->size() < kHeader) return;
  uint32_t metadata;
  memcpy(&metadata, file->data() + 24, 4);
  if (metadata > file->size() - kHeader) return;
  const uint32_t crc = ut_test::crc32(ut_test::crc32(0, file->data(), 28), file->data() + 32, 32 + size_t{metadata});
  memcpy(file->data() + 28, &crc, 4);
}

}  // namespace ut_fuzz
