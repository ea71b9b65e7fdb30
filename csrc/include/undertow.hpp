/* SPDX-License-Identifier: MIT
 *
 * undertow.hpp - undertow.h for C++17: objects that own their memory, and sizes that are checked. Needs libundertow, and
 * undertow_values.hpp beside it.
 *
 *     undertow::Model model("model.tow");                 reads the file, checks what steps rely on, and owns its bytes
 *     model.check();                                      finds any other damage; where files travel
 *     undertow::Stream stream(model);                     one sequence in flight
 *     std::vector<float> x(model.inputs()[0].size()), y(model.outputs()[0].size());
 *     stream.step(x, y);                                  as often as you like
 *
 * Memory   A Model and a Stream take one block each, aligned to UT_ALIGN, when they are made, and nothing after that. Both
 *          can be moved, not copied. A model must outlive its streams, and may be moved while it has some. A program that
 *          has no heap uses undertow.h.
 * Errors   Each call that can fail has two names. `f` throws undertow::Error. `try_f` throws nothing, gives a Result, and
 *          is the same with and without exceptions; a step that is refused changes neither stream nor outputs:
 *
 *              auto model = undertow::Model::try_load("model.tow");
 *              if (!model) return fail(model.error().what());
 *              auto stream = model->try_stream();
 *
 *          Where exceptions are off (-fno-exceptions), or UNDERTOW_NO_EXCEPTIONS is defined, there is no `f`. Files that are
 *          compiled with and without may be linked together.
 * Threads  As in undertow.h: share models, give each stream to one thread at a time.
 * Time     step, run, flush, reset, propose, commit, rollback, get and set of a stream allocate nothing, take no lock and make no
 *          system call, as long as what they are given has the right size.
 * Numbers  Those of undertow.h, to the bit.
 *
 * Teams, histories, batches and whole sequences have no classes here: Model::get and Stream::get give what undertow.h asks for. */
#ifndef UNDERTOW_HPP_
#define UNDERTOW_HPP_

#if (defined(_MSVC_LANG) ? _MSVC_LANG : __cplusplus) < 201703L
#error "undertow.hpp needs C++17: compile with -std=c++17 (/std:c++17), or use undertow.h"
#else
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "undertow.h"
#include "undertow_values.hpp"

namespace undertow {
namespace detail {
/* A block of the heap at a multiple of UT_ALIGN. */
class Memory {
 public:
  Memory() noexcept = default;
  Memory(Memory&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  Memory& operator=(Memory&& other) noexcept { std::swap(data_, other.data_); return *this; }
  ~Memory() { ::operator delete(data_, std::align_val_t{UT_ALIGN}); }

  bool allocate(std::size_t bytes) noexcept {
    data_ = ::operator new(bytes ? bytes : 1, std::align_val_t{UT_ALIGN}, std::nothrow);
    return data_ != nullptr;
  }
  void* data() const noexcept { return data_; }

 private:
  void* data_ = nullptr;
};

#if defined(__MINGW_PRINTF_FORMAT)
__attribute__((format(__MINGW_PRINTF_FORMAT, 1, 2)))
#elif defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
inline Error wrong(const char* format, ...) noexcept {
  char text[300];
  std::va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return {UT_E_ARGUMENT, text};
}
inline Error no_memory(const char* what, std::size_t bytes) noexcept {
  char text[256];
  std::snprintf(text, sizeof text, "cannot allocate %zu bytes for %.200s", bytes, what);
  return {UT_E_MEMORY, text};
}
}  // namespace detail

class Stream;

/* Model - weights and plan, read-only; any number of streams and threads share one. */
class Model {
 public:
  /* try_load - of a .tow file. `path` is what fopen takes; anything with c_str() will do as well: std::filesystem::path, on Windows
   * in Unicode.
   *     isa  nullptr for the best instruction set that this CPU has, or a name such as "scalar"
   *     errors  those of ut_model_init; UT_E_ARGUMENT where the file cannot be read; UT_E_MEMORY */
  static Result<Model> try_load(const char* path, const char* isa = nullptr) noexcept {
    std::FILE* file = nullptr;
#if defined(_MSC_VER)
    if (fopen_s(&file, path, "rb") != 0) file = nullptr;
#else
    file = std::fopen(path, "rb");
#endif
    return read(file, path, isa);
  }
#if defined(_WIN32)
  static Result<Model> try_load(const wchar_t* path, const char* isa = nullptr) noexcept {
    std::FILE* file = nullptr;
    if (_wfopen_s(&file, path, L"rb") != 0) file = nullptr;
    char shown[160] = "";
    for (std::size_t i = 0; path[i] && i + 1 < sizeof shown; ++i) shown[i] = path[i] < 0x7f ? static_cast<char>(path[i]) : '?';
    return read(file, shown, isa);
  }
#endif
  template <class Path, class = decltype(std::declval<const Path&>().c_str())>
  static Result<Model> try_load(const Path& path, const char* isa = nullptr) noexcept {
    return try_load(path.c_str(), isa);
  }

  /* try_copy - of the bytes of a .tow file, which are copied: they need no alignment, and may go afterwards. */
  static Result<Model> try_copy(Bytes bytes, const char* isa = nullptr) noexcept {
    detail::Memory blob;
    if (!blob.allocate(bytes.size())) return detail::no_memory("the model's bytes", bytes.size());
    if (bytes.size()) std::memcpy(blob.data(), bytes.data(), bytes.size());
    return make(std::move(blob), {nullptr, bytes.size()}, nullptr, isa);
  }

  /* try_view - of the bytes of a .tow file where they lie: aligned to UT_ALIGN (UT_E_ALIGN else), unchanged, and there as long
   * as the model is.
   *
   *     alignas(UT_ALIGN) static const unsigned char bytes[] = {
   *     #include "model.inc"
   *     };
   *     auto model = undertow::Model::try_view(bytes); */
  static Result<Model> try_view(Bytes bytes, const char* isa = nullptr) noexcept { return make({}, bytes, nullptr, isa); }

#if UNDERTOW_THROWS
  template <class Path, class = decltype(try_load(std::declval<const Path&>()))>
  explicit Model(const Path& path, const char* isa = nullptr) : Model(try_load(path, isa).value()) {}
  static Model copy(Bytes bytes, const char* isa = nullptr) { return try_copy(bytes, isa).value(); }
  static Model view(Bytes bytes, const char* isa = nullptr) { return try_view(bytes, isa).value(); }
#endif

  /* check - whether the model's bytes are what was written, to the last bit: see ut_check. Making a model looks at all that steps
   * rely on, which any number that a weight may be passes. */
  Result<void> try_check() const noexcept {
    ut_error err;
    if (ut_check(bytes_.data(), bytes_.size(), &err) != UT_OK) return Error(err);
    return {};
  }
#if UNDERTOW_THROWS
  void check() const { try_check().value(); }
#endif

  /* info - sizes, instruction set, latency ...: see ut_info. What points into a model, as all below does, is not for one that is
   * gone at the semicolon. */
  const ut_info& info() const& noexcept { return info_; }
  ut_info info() const&& noexcept { return info_; }
  std::string_view name() const& noexcept { return text(ut_model_name(model_)); }
  std::string_view name() const&& = delete;
  std::string_view source() const& noexcept { return text(ut_model_source(model_)); }
  std::string_view source() const&& = delete;
  Tensors inputs() const& noexcept { return {model_, ut_input, info_.n_inputs}; }
  Tensors inputs() const&& = delete;
  Tensors outputs() const& noexcept { return {model_, ut_output, info_.n_outputs}; }
  Tensors outputs() const&& = delete;
  Tensors states() const& noexcept { return {model_, ut_state, info_.n_states}; }
  Tensors states() const&& = delete;
  const ut_model* get() const& noexcept { return model_; }
  const ut_model* get() const&& = delete;

  /* try_stream, stream - a Stream of this model; see Stream. */
  Result<Stream> try_stream(std::size_t block = 0) const& noexcept;
  Result<Stream> try_stream(std::size_t block = 0) const&& = delete;
#if UNDERTOW_THROWS
  Stream stream(std::size_t block = 0) const&;
  Stream stream(std::size_t block = 0) const&& = delete;
#endif

 private:
  Model() noexcept = default;
  static std::string_view text(ut_string s) noexcept { return {s.data, s.size}; }

  static Result<Model> read(std::FILE* file, const char* path, const char* isa) noexcept {
    if (!file) return Error(UT_E_ARGUMENT, "cannot open the file: is it there, and may it be read?", path);
    detail::Memory blob;
    long size = -1;
    std::fgetc(file);  // a folder can be opened, and has a size
    if (!std::ferror(file) && std::fseek(file, 0, SEEK_END) == 0) size = std::ftell(file);
    const std::size_t n = size < 0 ? 0 : static_cast<std::size_t>(size);
    const bool has_room = size < 0 || blob.allocate(n);
    const bool is_read = size >= 0 && has_room && std::fseek(file, 0, SEEK_SET) == 0 && std::fread(blob.data(), 1, n, file) == n;
    std::fclose(file);
    if (!has_room) return detail::no_memory(path, n);
    if (!is_read) return Error(UT_E_ARGUMENT, "cannot read the file to its end", path);
    return make(std::move(blob), {nullptr, n}, path, isa);
  }

  static Result<Model> make(detail::Memory blob, Bytes bytes, const char* where, const char* isa) noexcept {
    const void* data = blob.data() ? blob.data() : bytes.data();
    Model model;
    ut_error err;
    if (ut_probe(data, bytes.size(), isa, &model.info_, &err) != UT_OK) return Error(err, where);
    const std::size_t size = model.info_.model_bytes;
    if (!model.memory_.allocate(size)) return detail::no_memory("the model", size);
    if (ut_model_init(model.memory_.data(), size, data, bytes.size(), isa, &model.model_, &err) != UT_OK)
      return Error(err, where);
    model.bytes_ = {data, bytes.size()};
    model.blob_ = std::move(blob);
    return model;
  }

  detail::Memory blob_, memory_;
  Bytes bytes_{nullptr, 0};
  const ut_model* model_ = nullptr;
  ut_info info_{};
};

/* Stream - one sequence in flight. `block` is how many frames `run` works on at a time, as for ut_stream_bytes: 1 takes the least
 * memory, 0 is the model's own, ut_info.block. Bits never depend on it.
 *     errors of try_stream  UT_E_WHOLE, UT_E_MEMORY
 * Sizes are counted in elements; where they do not fit, the error is UT_E_ARGUMENT and says which were expected. */
class Stream {
 public:
#if UNDERTOW_THROWS
  explicit Stream(const Model& model, std::size_t block = 0) : Stream(model.try_stream(block).value()) {}
  explicit Stream(const Model&& model, std::size_t block = 0) = delete;
#endif

  /* step - one timestep of a model with one input and one output: x one frame, y one frame; they may overlap. */
  Result<void> try_step(Input x, Output y) noexcept {
    if (info_.n_inputs != 1 || info_.n_outputs != 1) return several();
    if (!y.wanted() || !inputs_[0].takes(1, x) || !outputs_[0].takes(1, y)) return try_run(1, {&x, 1}, {&y, 1});
    ut_step(stream_, x.data(), y.data());
    return {};
  }

  /* run - the frames of x, any number of them, one after the other, of a model with one input and one output; y has room for
   * as many. The other form is for models of several inputs and outputs: n_frames of each, in the model's order.
   *
   *     stream.run(64, {audio, conditions}, {left, undertow::Output()}); */
  Result<void> try_run(Input x, Output y) noexcept {
    if (info_.n_inputs != 1 || info_.n_outputs != 1) return several();
    return try_run(x.size() / inputs_[0].size, {&x, 1}, {&y, 1});
  }
  Result<void> try_run(std::size_t n_frames, span<const Input> x, span<const Output> y) noexcept {
    if (Result<void> fits = check(n_frames, x, y); !fits) return fits;
    ut_run(stream_, n_frames, pointers(x), pointers(y));
    return {};
  }

  /* flush - the end of a sequence: the last ut_info.latency frames of each output; see ut_flush. */
  Result<void> try_flush(Output y) noexcept { return try_flush(span<const Output>(&y, 1)); }
  Result<void> try_flush(span<const Output> y) noexcept {
    if (Result<void> fits = check_outputs(info_.latency, y); !fits) return fits;
    ut_flush(stream_, pointers(y));
    return {};
  }

  /* propose - one timestep that may be undone: commit keeps it, rollback makes the stream what it was, to the bit. */
  Result<void> try_propose(Input x, Output y) noexcept {
    return try_propose(span<const Input>(&x, 1), span<const Output>(&y, 1));
  }
  Result<void> try_propose(span<const Input> x, span<const Output> y) noexcept {
    if (Result<void> fits = check(1, x, y); !fits) return fits;
    ut_propose(stream_, pointers(x), pointers(y));
    return {};
  }
  void commit() noexcept { ut_commit(stream_); }
  void rollback() noexcept { ut_rollback(stream_); }

  /* reset - back to the model's initial state. */
  void reset() noexcept { ut_stream_reset(stream_); }

  /* get_state, set_state - copy the i-th state field, model.states()[i].size() floats, out of the stream or into it. */
  Result<void> try_get_state(std::size_t i, span<float> to) const noexcept {
    Result<void> fits = check_state(i, to);
    if (fits) ut_stream_get(stream_, i, to.data());
    return fits;
  }
  Result<void> try_set_state(std::size_t i, span<const float> from) noexcept {
    Result<void> fits = check_state(i, from);
    if (fits) ut_stream_set(stream_, i, from.data());
    return fits;
  }

  /* save, load - all that the stream remembers, as info().snapshot_bytes bytes, the same on every machine.
   *     errors of load  UT_E_STATE where they are no snapshot, cut short or of another model; the stream is unchanged then.
   *                     Numbers of the state are taken as they are: a checksum of what may be damaged is the program's */
  Result<void> try_save(span<unsigned char> to) const noexcept {
    if (to.size() != info_.snapshot_bytes)
      return detail::wrong("a snapshot: expected memory of %zu bytes, got %zu", info_.snapshot_bytes, to.size());
    if (!to.data()) return detail::wrong("a snapshot: expected a pointer to %zu bytes, got nullptr", to.size());
    ut_snapshot_save(stream_, to.data());
    return {};
  }
  Result<void> try_load(Bytes bytes) noexcept {
    ut_error err;
    if (ut_snapshot_load(stream_, bytes.data(), bytes.size(), &err) != UT_OK) return Error(err);
    return {};
  }

  /* fork - another stream that remembers what this one does, and goes its own way from there. copy_from makes this one
   * remember what another one of the same model does (else UT_E_STATE), without taking memory. */
  Result<Stream> try_fork() const noexcept {
    Result<Stream> other = make(model_, block_);
    if (other) ut_stream_copy(other->stream_, stream_);  // of one model, so it cannot fail
    return other;
  }
  Result<void> try_copy_from(const Stream& other) noexcept {
    if (ut_stream_copy(stream_, other.stream_) == UT_OK) return {};
    return Error(UT_E_STATE, "the other stream is not of the same model: make both from one Model");
  }

#if UNDERTOW_THROWS
  void step(Input x, Output y) { try_step(x, y).value(); }
  void run(Input x, Output y) { try_run(x, y).value(); }
  void run(std::size_t n_frames, span<const Input> x, span<const Output> y) { try_run(n_frames, x, y).value(); }
  void flush(Output y) { try_flush(y).value(); }
  void flush(span<const Output> y) { try_flush(y).value(); }
  void propose(Input x, Output y) { try_propose(x, y).value(); }
  void propose(span<const Input> x, span<const Output> y) { try_propose(x, y).value(); }
  void get_state(std::size_t i, span<float> to) const { try_get_state(i, to).value(); }
  void set_state(std::size_t i, span<const float> from) { try_set_state(i, from).value(); }
  void save(span<unsigned char> to) const { try_save(to).value(); }
  std::vector<unsigned char> save() const {
    std::vector<unsigned char> bytes(info_.snapshot_bytes);
    ut_snapshot_save(stream_, bytes.data());
    return bytes;
  }
  void load(Bytes bytes) { try_load(bytes).value(); }
  Stream fork() const { return try_fork().value(); }
  void copy_from(const Stream& other) { try_copy_from(other).value(); }
#endif
  ut_stream* get() const& noexcept { return stream_; }
  ut_stream* get() const&& = delete;

 private:
  friend class Model;
  // What a frame of an input or an output is, and whether frames are so many of it.
  struct Field {
    std::size_t size;
    ut_dtype dtype;
    template <class F>
    bool takes(std::size_t n_frames, const F& frames) const noexcept {
      const bool fits = n_frames == 1 ? frames.size() == size : frames.size() / size == n_frames && frames.size() % size == 0;
      return fits && frames.dtype() == dtype && (frames.data() || frames.size() == 0);
    }
  };
  Stream() noexcept = default;
  static Result<Stream> make(const ut_model* model, std::size_t block) noexcept {
    Stream s;
    ut_model_info(model, &s.info_);
    const ut_info& info = s.info_;
    s.model_ = model;
    s.block_ = block == 0 || block > info.block ? info.block : block;
    if (!info.streamable) return Error(UT_E_WHOLE, "the model needs whole sequences and cannot be streamed: use ut_sequence_run");
    const std::size_t bytes = ut_stream_bytes(model, s.block_), padded = (bytes + UT_ALIGN - 1) / UT_ALIGN * UT_ALIGN;
    const std::size_t n = info.n_inputs + info.n_outputs, all = padded + n * (sizeof(Field) + sizeof(void*));
    if (!s.memory_.allocate(all)) return detail::no_memory("a stream", all);
    const ut_status status = ut_stream_init(s.memory_.data(), bytes, model, &s.stream_);
    if (status != UT_OK) return Error(status, ut_status_text(status));
    void* behind = static_cast<unsigned char*>(s.memory_.data()) + padded;
    Field* fields = ::new (behind) Field[n];
    for (std::size_t i = 0; i < n; ++i) {
      const ut_tensor t = i < info.n_inputs ? ut_input(model, i) : ut_output(model, i - info.n_inputs);
      fields[i] = {t.size, t.dtype};
    }
    s.inputs_ = fields;
    s.outputs_ = fields + info.n_inputs;
    s.x_ = ::new (static_cast<void*>(fields + n)) const void*[info.n_inputs];
    s.y_ = ::new (static_cast<void*>(s.x_ + info.n_inputs)) void*[info.n_outputs];
    return s;
  }

  Error several() const noexcept {
    return detail::wrong("the model has %zu inputs and %zu outputs, not one of each: call run(n_frames, {x, ...}, {y, ...})",
                         std::size_t{info_.n_inputs}, std::size_t{info_.n_outputs});
  }
  template <class F>
  static Error refusal(const char* what, const ut_tensor& t, std::size_t n_frames, const F& frames) noexcept {
    const int width = t.name.size < 80 ? static_cast<int>(t.name.size) : 80;
    if (frames.size() / t.size != n_frames || frames.size() % t.size != 0)
      return detail::wrong("%s '%.*s': expected %zu elements, got %zu: %zu times a frame of %zu", what, width,
                           t.name.data, n_frames * t.size, frames.size(), n_frames, t.size);
    if (frames.dtype() != t.dtype)
      return detail::wrong("%s '%.*s': expected %s", what, width, t.name.data,
                           t.dtype == UT_INT32 ? "int32 ids, got float32" : "float32, got int32");
    return detail::wrong("%s '%.*s': expected a pointer to %zu elements, got nullptr", what, width, t.name.data, frames.size());
  }
  Result<void> check_outputs(std::size_t n_frames, span<const Output> y) const noexcept {
    const std::size_t expected = info_.n_outputs;
    if (y.size() != expected) return detail::wrong("expected %zu outputs, got %zu", expected, y.size());
    for (std::size_t i = 0; i < y.size(); ++i)
      if (y[i].wanted() && !outputs_[i].takes(n_frames, y[i])) return refusal("output", ut_output(model_, i), n_frames, y[i]);
    return {};
  }
  Result<void> check(std::size_t n_frames, span<const Input> x, span<const Output> y) const noexcept {
    const std::size_t expected = info_.n_inputs;
    if (x.size() != expected) return detail::wrong("expected %zu inputs, got %zu", expected, x.size());
    for (std::size_t i = 0; i < x.size(); ++i)
      if (!inputs_[i].takes(n_frames, x[i])) return refusal("input", ut_input(model_, i), n_frames, x[i]);
    return check_outputs(n_frames, y);
  }
  Result<void> check_state(std::size_t i, span<const float> field) const noexcept {
    const std::size_t n = info_.n_states, expected = i < n ? ut_state(model_, i).size : 0;
    if (i >= n) return detail::wrong("there is no state %zu: the model has %zu, counted from 0", i, n);
    if (field.size() != expected) return detail::wrong("state %zu: expected %zu elements, got %zu", i, expected, field.size());
    if (!field.data()) return detail::wrong("state %zu: expected a pointer to %zu elements, got nullptr", i, expected);
    return {};
  }

  /* The pointers of a call stand in the stream's own memory, for a call must not allocate. */
  const void* const* pointers(span<const Input> x) noexcept {
    for (std::size_t i = 0; i < x.size(); ++i) x_[i] = x[i].data();
    return x_;
  }
  void* const* pointers(span<const Output> y) noexcept {
    for (std::size_t i = 0; i < y.size(); ++i) y_[i] = y[i].data();
    return y_;
  }

  detail::Memory memory_;
  ut_stream* stream_ = nullptr;
  const ut_model* model_ = nullptr;
  const void** x_ = nullptr;
  void** y_ = nullptr;
  const Field *inputs_ = nullptr, *outputs_ = nullptr;
  std::size_t block_ = 0;
  ut_info info_{};
};

inline Result<Stream> Model::try_stream(std::size_t block) const& noexcept { return Stream::make(model_, block); }
#if UNDERTOW_THROWS
inline Stream Model::stream(std::size_t block) const& { return try_stream(block).value(); }
#endif
}  // namespace undertow

#endif /* C++17 */
#endif /* UNDERTOW_HPP_ */
