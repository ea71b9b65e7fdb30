// SPDX-License-Identifier: MIT
#include "format.h"

namespace undertow {

namespace {

constexpr uint8_t kMagic[8] = {0x89, 'T', 'O', 'W', '\r', '\n', 0x1a, '\n'};
constexpr uint32_t kFormatVersions = 6;  // 1 to this
constexpr uint32_t kFirstWithInt16 = 4;   // and with flags of tensors
constexpr uint32_t kFirstWithFixed8 = 5;
constexpr size_t kHeaderBytes = 64;
constexpr size_t kMetadataOffset = 24, kCrcOffset = 28, kFramesOffset = 48, kRateOffset = 56;

// Words per record.
constexpr size_t kCountWords = 8, kTitleWords = 4, kTensorWords = 6, kValueWords = 13, kStateWords = 12,
                 kNodeWords = 9;

uint32_t u32_at(const uint8_t* p) {
  uint32_t v;
  UT_COPY(&v, p, sizeof v);
  return v;
}
uint64_t u64_at(const void* p) {
  uint64_t v;
  UT_COPY(&v, p, sizeof v);
  return v;
}

bool little_endian() {
  const uint32_t one = 1;
  uint8_t first;
  UT_COPY(&first, &one, 1);
  return first == 1;
}

// Bit by bit: metadata is a few kilobytes, a table would be longer than the work.
uint32_t crc32(uint32_t crc, const uint8_t* p, size_t n) {
  crc = ~crc;
  for (size_t i = 0; i < n; ++i) {
    crc ^= p[i];
    for (int b = 0; b < 8; ++b) crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1u)));
  }
  return ~crc;
}

uint64_t elements(const uint32_t* dims, uint32_t n_dims) {
  uint64_t n = 1;
  for (uint32_t i = 0; i < n_dims; ++i) {
    if (dims[i] == 0 || dims[i] > kMaxFrame) return kMaxFrame + 1;
    n *= dims[i];
    if (n > kMaxFrame) return n;
  }
  return n;
}

// Shorter first: an order that is cheap to find, not that of an alphabet.
int compare(ut_string a, ut_string b) {
  if (a.size != b.size) return a.size < b.size ? -1 : 1;
  return memcmp(a.data, b.data, a.size);
}

// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(ut_string text) {
  const uint8_t *p = reinterpret_cast<const uint8_t*>(text.data), *end = p + text.size;
  while (p < end) {
    const uint8_t lead = *p++;
    if (lead < 0x80) continue;
    const int more = lead < 0xc2 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : lead < 0xf5 ? 3 : 0;
    if (more == 0 || end - p < more) return false;
    const uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80, high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (*p < low || *p > high) return false;
    for (int i = 1; i < more; ++i)
      if ((p[i] & 0xc0) != 0x80) return false;
    p += more;
  }
  return true;
}

}  // namespace

Message::Message(ut_error* err, ut_status status, size_t offset, [[maybe_unused]] unsigned line) : err_(err), status_(status) {
  if (!err_) return;
  err_->status = status;
  err_->offset = static_cast<uint32_t>(offset);
  err_->detail[0] = '\0';
#if !UT_TEXTS
  word("line ").digits(line);
#endif
}

void Message::put(char c) {
  if (!err_ || n_ + 1 >= sizeof err_->detail) return;
  err_->detail[n_++] = c;
  err_->detail[n_] = '\0';
}

Message& Message::word(const char* text) {
  while (*text) put(*text++);
  return *this;
}

// Names come from the file: control characters and broken UTF-8 must not reach a terminal.
Message& Message::operator<<(ut_string text) {
  if (!UT_TEXTS) put(' ');
  put('"');
  for (size_t i = 0; i < text.size && i < 48; ++i) put(text.data[i] >= 0x20 && text.data[i] < 0x7f ? text.data[i] : '?');
  put('"');
  return *this;
}

Message& Message::of_node(const char* op, ut_string node) {
  if (!UT_TEXTS) word(": ");
  word(op);
  if (UT_TEXTS) put(' ');
  return *this << node;
}

#if UT_TEXTS
Message& Message::digits(unsigned long long number) {
#else
Message& Message::digits(unsigned number) {
#endif
  char digits[20];
  int n = 0;
  do digits[n++] = static_cast<char>('0' + number % 10);
  while ((number /= 10) != 0);
  while (n > 0) put(digits[--n]);
  return *this;
}

// --- views -----------------------------------------------------------------------------------------------------------

ut_string File::text(const uint32_t* record) const { return {text_ + record[0], record[1]}; }

size_t File::offset_of(const uint32_t* record) const {
  return static_cast<size_t>(reinterpret_cast<const uint8_t*>(record) - bytes);
}

TensorView File::tensor(uint32_t i) const {
  const uint32_t* r = tensors_ + i * kTensorWords;
  return {r[0], r[1], blob + u64_at(r + 2), u64_at(r + 4)};
}

ValueView File::value(uint32_t i) const {
  const uint32_t* r = values_ + i * kValueWords;
  return {text(r), r[2], r[3], r[4], r + 5, static_cast<size_t>(elements(r + 5, r[4]))};
}

StateView File::state(uint32_t i) const {
  const uint32_t* r = states_ + i * kStateWords;
  return {text(r), r[2], r[3], r + 4, static_cast<size_t>(elements(r + 4, r[3]))};
}

OutputView File::output(uint32_t i) const {
  const uint32_t* r = outputs_ + i * kOutputWords;
  return {text(r), output_value(i)};
}

NodeView File::node(uint32_t i, uint32_t first_output) const {
  const uint32_t* r = nodes_ + i * kNodeWords;
  NodeView n = {r[0], text(r + 1), r[3], r[4], r[5], r[6], r[7], nullptr, nullptr, nullptr, nullptr, first_output};
  n.inputs = words_ + r[8];
  n.states = n.inputs + n.n_inputs;
  n.tensors = n.states + n.n_states;
  n.params = n.tensors + n.n_tensors;
  return n;
}

// --- validation ------------------------------------------------------------------------------------------------------

ut_status File::metadata_size(const void* blob, size_t n, size_t* out, ut_error* err) {
  if (!blob) return Message(err, UT_E_ARGUMENT) << "blob is NULL";
  if (reinterpret_cast<uintptr_t>(blob) % UT_ALIGN != 0)
    return Message(err, UT_E_ALIGN) << "blob is not aligned to " << uint64_t{UT_ALIGN} << " bytes";
  const uint8_t* bytes = static_cast<const uint8_t*>(blob);
  const bool is_tow = n >= sizeof kMagic && memcmp(bytes, kMagic, sizeof kMagic) == 0;
  if (!is_tow || n < kHeaderBytes)
    return Message(err, UT_E_FORMAT) << (is_tow ? "file is truncated: it ends within its header of 64 bytes"
                                                : "not a .tow file (no .tow signature in its first bytes)");
  const uint64_t size = kHeaderBytes + uint64_t{u32_at(bytes + kMetadataOffset)};
  *out = static_cast<size_t>(size < n ? size : n);
  return UT_OK;
}

ut_status File::open(const void* metadata, const void* blob, size_t n, File* out, ut_error* err) {
  File f;
  f.bytes = static_cast<const uint8_t*>(metadata);
  f.blob = static_cast<const uint8_t*>(blob);
  ut_status status = f.check_header(n, err);
  if (status == UT_OK) status = f.check_tables(err);
  if (status == UT_OK) status = f.check_texts(err);
  if (status == UT_OK) status = f.check_records(err);
  if (status == UT_OK) status = f.check_nodes(err);
  if (status == UT_OK) *out = f;
  return status;
}

ut_status File::check_header(size_t n, ut_error* err) {
  if (!little_endian()) return Message(err, UT_E_UNSUPPORTED) << ".tow files need a little-endian CPU";
  version = u32_at(bytes + 8);
  if (version == 0 || version > kFormatVersions)
    return Message(err, UT_E_VERSION, 8) << "format version " << version << ", this library reads versions 1 to "
                                         << kFormatVersions;
  n_bytes = u64_at(bytes + 16);
  if (n_bytes != n)
    return Message(err, UT_E_FORMAT, 16) << "file is " << n << " bytes, its header says " << n_bytes
                                         << (n < n_bytes ? ": truncated" : "");
  const uint64_t metadata_bytes = u32_at(bytes + kMetadataOffset);
  metadata_end_ = static_cast<size_t>(kHeaderBytes + metadata_bytes);
  if (metadata_bytes % 4 != 0 || kHeaderBytes + metadata_bytes > n_bytes)
    return Message(err, UT_E_FORMAT, kMetadataOffset) << "metadata of " << metadata_bytes << " bytes does not fit the file";
  uint32_t crc = crc32(0, bytes, kCrcOffset);
  crc = crc32(crc, bytes + kCrcOffset + 4, metadata_end_ - kCrcOffset - 4);
  if (crc != u32_at(bytes + kCrcOffset)) return Message(err, UT_E_FORMAT, kCrcOffset) << "metadata is damaged (CRC-32)";
  if (u32_at(bytes + 12) != 0 || (version == 1 && u64_at(bytes + kFramesOffset) != 0) ||
      (version < 3 && u32_at(bytes + kRateOffset) != 0) || u32_at(bytes + kRateOffset + 4) != 0)
    return Message(err, UT_E_FORMAT, 12) << "reserved header fields are not zero";
  if (version > 1) {
    frames_in = u32_at(bytes + kFramesOffset), frames_out = u32_at(bytes + kFramesOffset + 4);
    const auto is_wrong = [](uint32_t timesteps) { return timesteps == 0 || timesteps > kMaxTimesteps; };
    if (is_wrong(frames_in) || is_wrong(frames_out))
      return Message(err, UT_E_FORMAT, kFramesOffset) << "frames of " << frames_in << " timesteps, " << frames_out
                                                      << " out, expected 1 to 2^24 of each";
  }
  sample_rate = u32_at(bytes + kRateOffset);
  hash = bytes + 32;
  return UT_OK;
}

ut_status File::check_tables(ut_error* err) {
  const uint32_t* words = reinterpret_cast<const uint32_t*>(bytes + kHeaderBytes);
  const size_t n_metadata = (metadata_end_ - kHeaderBytes) / 4;
  if (n_metadata < kCountWords + kTitleWords) return Message(err, UT_E_FORMAT, kHeaderBytes) << "metadata is too short";
  for (size_t i = 0; i < 6; ++i)
    if (words[i] > kMaxCount)
      return Message(err, UT_E_FORMAT, kHeaderBytes + 4 * i) << "a table of " << words[i] << " records, at most " << kMaxCount;
  n_tensors = words[0], n_values = words[1], n_states = words[2], n_inputs = words[3], n_outputs = words[4],
  n_nodes = words[5], n_words_ = words[6], text_bytes_ = words[7];
  if (text_bytes_ % 4 != 0) return Message(err, UT_E_FORMAT, kHeaderBytes + 28) << "text pool is not whole words";
  const uint64_t total = uint64_t{kCountWords} + kTitleWords + uint64_t{n_tensors} * kTensorWords +
                         uint64_t{n_values} * kValueWords + uint64_t{n_states} * kStateWords +
                         uint64_t{n_outputs} * kOutputWords + uint64_t{n_nodes} * kNodeWords + n_words_ + text_bytes_ / 4;
  if (total != n_metadata)
    return Message(err, UT_E_FORMAT, kHeaderBytes) << "tables take " << total << " words, metadata has " << n_metadata;
  const uint32_t* title = words + kCountWords;
  tensors_ = title + kTitleWords;
  values_ = tensors_ + n_tensors * kTensorWords;
  states_ = values_ + n_values * kValueWords;
  outputs_ = states_ + n_states * kStateWords;
  nodes_ = outputs_ + n_outputs * kOutputWords;
  words_ = nodes_ + n_nodes * kNodeWords;
  text_ = reinterpret_cast<const char*>(words_ + n_words_);
  return UT_OK;
}

ut_status File::check_texts(ut_error* err) {
  const uint32_t* title = tensors_ - kTitleWords;
  const Table all[] = {{"title", title, 2, 2, 0},
                       {"value", values_, n_values, kValueWords, 0},
                       {"state", states_, n_states, kStateWords, 0},
                       {"output", outputs_, n_outputs, kOutputWords, 0},
                       {"node", nodes_, n_nodes, kNodeWords, 1}};
  uint64_t end = 0;  // of the text before
  for (const Table& table : all)
    for (uint32_t i = 0; i < table.n; ++i) {
      const uint32_t* r = table.first + i * table.stride + table.at;
      if (uint64_t{r[0]} + r[1] > text_bytes_)
        return Message(err, UT_E_FORMAT, offset_of(r)) << table.what << " " << i << ": its text lies outside the text pool";
      // What follows looks at every byte of every text: texts that shared them would be work without a bound.
      if (r[0] < end)
        return Message(err, UT_E_FORMAT, offset_of(r)) << table.what << " " << i << ": its text begins before the end of the one before";
      end = uint64_t{r[0]} + r[1];
      if (!is_utf8(text(r))) return Message(err, UT_E_FORMAT, offset_of(r)) << table.what << " " << i << ": its text is not UTF-8";
    }
  name = text(title);
  source = text(title + 2);
  const Table named[] = {{"input", values_, n_inputs < n_values ? n_inputs : n_values, kValueWords, 0}, all[2], all[3]};
  for (const Table& table : named)
    if (const ut_status s = check_names(table, err)) return s;
  return UT_OK;
}

// Names are compared with those of a group of kGroup, which is sorted by insertion, and then with those of the next:
// n^2 log(kGroup) / (2 kGroup) comparisons at most, whatever the names are, with no memory but the stack.
ut_status File::check_names(const Table& table, ut_error* err) const {
  constexpr uint32_t kGroup = 512;
  uint16_t sorted[kGroup];  // numbers within the group
  const auto name_of = [&](uint32_t i) { return text(table.first + i * table.stride + table.at); };
  for (uint32_t first = 0; first < table.n; first += kGroup) {
    uint32_t n = 0;
    for (uint32_t i = first; i < table.n; ++i) {
      const ut_string name_i = name_of(i);
      uint32_t low = 0, high = n;
      while (low < high) {
        const uint32_t middle = (low + high) / 2;
        const int order = compare(name_i, name_of(first + sorted[middle]));
        if (order == 0)
          return Message(err, UT_E_FORMAT, offset_of(table.first + i * table.stride))
                 << table.what << "s " << first + sorted[middle] << " and " << i << " are both named " << name_i;
        if (order < 0)
          high = middle;
        else
          low = middle + 1;
      }
      if (n == kGroup) continue;
      for (uint32_t k = n; k > low; --k) sorted[k] = sorted[k - 1];
      sorted[low] = static_cast<uint16_t>(i - first);
      ++n;
    }
  }
  return UT_OK;
}

ut_status File::check_shape(const char* what, uint32_t i, const uint32_t* dims, uint32_t n_dims, ut_error* err) const {
  if (n_dims > UT_MAX_DIMS || elements(dims, n_dims) > kMaxFrame)
    return Message(err, UT_E_FORMAT, offset_of(dims)) << what << " " << i << ": its shape is empty, or has more than "
                                                      << uint64_t{UT_MAX_DIMS} << " axes or " << kMaxFrame << " elements";
  for (uint32_t k = n_dims; k < UT_MAX_DIMS; ++k)
    if (dims[k] != 0)
      return Message(err, UT_E_FORMAT, offset_of(dims + k)) << what << " " << i << ": its shape has " << n_dims << " axes and the size "
                                                            << dims[k] << " behind them, expected 0";
  return UT_OK;
}

ut_status File::check_records(ut_error* err) const {
  uint64_t end = metadata_end_;  // of the tensor before
  for (uint32_t i = 0; i < n_tensors; ++i) {
    const uint32_t* r = tensors_ + i * kTensorWords;
    const uint64_t offset = u64_at(r + 2), n = u64_at(r + 4);
    const uint32_t n_types = version < kFirstWithInt16 ? kTensorInt16 : version < kFirstWithFixed8 ? kTensorFixed8 : kNumTensorTypes;
    const bool has_flags = version >= kFirstWithInt16 && (r[0] == kTensorInt8 || r[0] == kTensorInt16);
    if (r[0] >= n_types || r[1] > (has_flags ? kTensorSmoothed : 0))
      return Message(err, UT_E_FORMAT, offset_of(r)) << "tensor " << i << ": unknown dtype " << r[0] << ", or flags " << r[1];
    if (offset % UT_ALIGN != 0 || offset < metadata_end_ || offset > n_bytes || n > elements_in(n_bytes - offset, r[0]))
      return Message(err, UT_E_FORMAT, offset_of(r)) << "tensor " << i << ": " << n << " elements at byte " << offset
                                                     << " do not lie in the file's " << n_bytes << " bytes";
    if (offset < end) return Message(err, UT_E_FORMAT, offset_of(r)) << "tensor " << i << ": begins before the end of the one before";
    end = offset + n * element_bytes(r[0]);
  }
  for (uint32_t i = 0; i < n_values; ++i) {
    const uint32_t* r = values_ + i * kValueWords;
    if (r[2] > UT_INT32 || (r[2] == UT_FLOAT32 && r[3] != 0))
      return Message(err, UT_E_FORMAT, offset_of(r)) << "value " << i << ": unknown dtype, or ids that are float32";
    if (const ut_status s = check_shape("value", i, r + 5, r[4], err)) return s;
  }
  uint32_t unused = 0;  // tensors before it stand for something already
  for (uint32_t i = 0; i < n_states; ++i) {
    const uint32_t* r = states_ + i * kStateWords;
    if (const ut_status s = check_shape("state", i, r + 4, r[3], err)) return s;
    if (r[2] == kNone) continue;
    if (r[2] < unused) return Message(err, UT_E_FORMAT, offset_of(r)) << "state " << i << ": tensor " << r[2] << " is another's";
    unused = r[2] + 1;
    const size_t padded = (state(i).size + 15) / 16 * 16;
    if (r[2] >= n_tensors || tensor(r[2]).dtype != kTensorFloat32 || tensor(r[2]).n != padded)
      return Message(err, UT_E_FORMAT, offset_of(r)) << "state " << i << ": initial value is not a float32 tensor of "
                                                     << padded << " elements";
  }
  for (uint32_t i = 0; i < n_outputs; ++i)
    if (output(i).value >= n_values)
      return Message(err, UT_E_FORMAT, offset_of(outputs_ + i * kOutputWords)) << "output " << i << ": no value " << output(i).value;
  return UT_OK;
}

ut_status File::check_nodes(ut_error* err) const {
  if (n_inputs == 0 || n_outputs == 0)
    return Message(err, UT_E_FORMAT, kHeaderBytes + 12) << "the model has no " << (n_inputs == 0 ? "inputs" : "outputs");
  if (n_inputs > n_values) return Message(err, UT_E_FORMAT, kHeaderBytes + 12) << n_inputs << " inputs, but " << n_values << " values";
  uint64_t word = 0;
  uint32_t next_value = n_inputs, unused = 0;
  for (uint32_t i = 0; i < n_states; ++i)
    if (state(i).init != kNone) unused = state(i).init + 1;
  for (uint32_t i = 0; i < n_nodes; ++i) {
    const uint32_t* r = nodes_ + i * kNodeWords;
    const uint64_t n = uint64_t{r[3]} + r[5] + r[6] + r[7];
    if (r[8] != word || word + n > n_words_ || r[4] > n_values - next_value)
      return Message(err, UT_E_FORMAT, offset_of(r)) << "node " << i << ": its words or outputs do not fit the tables";
    word += n;
    const NodeView node = this->node(i, next_value);
    for (uint32_t k = 0; k < node.n_inputs; ++k)
      if (node.inputs[k] >= next_value)
        return Message(err, UT_E_FORMAT, offset_of(node.inputs + k)) << "node " << i << ": reads value " << node.inputs[k] << " before it exists";
    for (uint32_t k = 0; k < node.n_states; ++k)
      if (node.states[k] >= n_states) return Message(err, UT_E_FORMAT, offset_of(node.states + k)) << "node " << i << ": no state " << node.states[k];
    for (uint32_t k = 0; k < node.n_tensors; ++k)
      if (node.tensors[k] != kNone && node.tensors[k] >= n_tensors)
        return Message(err, UT_E_FORMAT, offset_of(node.tensors + k)) << "node " << i << ": no tensor " << node.tensors[k];
    for (uint32_t k = 0; k < node.n_tensors; ++k) {
      if (node.tensors[k] == kNone) continue;
      // Checks look at every byte of a tensor, once for each that it stands for.
      if (node.tensors[k] < unused)
        return Message(err, UT_E_FORMAT, offset_of(node.tensors + k)) << "node " << i << ": tensor " << node.tensors[k] << " is another's";
      unused = node.tensors[k] + 1;
    }
    next_value += node.n_outputs;
  }
  if (word != n_words_ || next_value != n_values)
    return Message(err, UT_E_FORMAT, kHeaderBytes) << "nodes use " << word << " words and " << next_value << " values, not all";
  return UT_OK;
}

}  // namespace undertow
