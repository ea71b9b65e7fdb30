/* SPDX-License-Identifier: MIT
 *
 * undertow.hpp - undertow.h for C++17: objects that own their memory, and sizes that are checked. Needs libundertow.
 *
 *     undertow::Model model("model.tow");                 reads, checks and owns the file's bytes
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
 * Teams, batches and whole sequences have no classes here: Model::get and Stream::get give what undertow.h asks for. */
#ifndef UNDERTOW_HPP_
#define UNDERTOW_HPP_

#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <new>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "undertow.h"

#if defined(UNDERTOW_NO_EXCEPTIONS) || !(defined(__cpp_exceptions) || defined(_CPPUNWIND))
#define UNDERTOW_THROWS 0
#else
#define UNDERTOW_THROWS 1
#endif

namespace undertow {

/* span - elements that somebody else owns, one after the other: what C++20 calls std::span. Made of a pointer and a number of
 * elements, a C array, or whatever has data() and size(): std::vector, std::array, std::span; of temporaries, and of lists
 * in braces, only if T is const, and then for one call.
 *
 *     void show(undertow::span<const float> frame) { for (float x : frame) std::printf("%f ", double(x)); } */
template <class T>
class span {
  template <class C>  // a temporary is asked as if it were const, unless it is a view itself
  using element_of = std::remove_pointer_t<
      decltype(std::declval<std::conditional_t<std::is_lvalue_reference_v<C>, C, const C&>>().data())>;

 public:
  using value_type = std::remove_cv_t<T>;

  constexpr span() noexcept = default;
  constexpr span(T* data, std::size_t size) noexcept : data_(data), size_(size) {}
  template <std::size_t N>
  constexpr span(T (&array)[N]) noexcept : data_(array), size_(N) {}
  template <class C, class = std::enable_if_t<std::is_convertible_v<element_of<C> (*)[], T (*)[]>>,
            class = decltype(std::declval<C&>().size())>
  constexpr span(C&& c) noexcept : data_(c.data()), size_(static_cast<std::size_t>(c.size())) {}
  template <class U = T, class = std::enable_if_t<std::is_const_v<U>>>
  constexpr span(std::initializer_list<value_type> list) noexcept : size_(list.size()) {
    data_ = list.begin();  // not above: GCC would warn of what is said above, that the list lasts for one call
  }

  constexpr T* data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr bool empty() const noexcept { return size_ == 0; }
  constexpr T& operator[](std::size_t i) const noexcept { return data_[i]; }
  constexpr T* begin() const noexcept { return data_; }
  constexpr T* end() const noexcept { return data_ + size_; }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

/* Error - what went wrong and where. A copy of it allocates nothing.
 *     status  of undertow.h; UT_E_ARGUMENT for a size that is not the model's, and for a file that cannot be read
 *     offset  the byte of the .tow file, or 0
 *     what    a sentence with all of that: "model.tow: metadata is damaged (CRC-32) [UT_E_FORMAT, byte 28]" */
class Error : public std::exception {
 public:
  Error() noexcept { what_[0] = '\0'; }
  Error(ut_status status, const char* text, const char* where = nullptr, std::uint32_t offset = 0) noexcept
      : status_(status), offset_(offset) {
    char byte[24] = "";
    if (offset) std::snprintf(byte, sizeof byte, ", byte %lu", static_cast<unsigned long>(offset));
    std::snprintf(what_, sizeof what_, "%.160s%s%.300s [%s%s]", where ? where : "", where ? ": " : "", text, name(status), byte);
  }
  explicit Error(const ut_error& err, const char* where = nullptr) noexcept
      : Error(err.status, err.detail, where, err.offset) {}

  ut_status status() const noexcept { return status_; }
  std::uint32_t offset() const noexcept { return offset_; }
  const char* what() const noexcept override { return what_; }

  /* name - "UT_E_FORMAT" for UT_E_FORMAT; "unknown" for a number that is no status. */
  static const char* name(ut_status status) noexcept {
    constexpr const char* kNames[] = {"UT_OK", "UT_E_ARGUMENT", "UT_E_ALIGN", "UT_E_MEMORY", "UT_E_FORMAT", "UT_E_VERSION",
                                      "UT_E_UNSUPPORTED", "UT_E_ISA", "UT_E_STATE", "UT_E_WHOLE", "UT_E_STOPPED"};
    const int i = -static_cast<int>(status);
    return i >= 0 && i < static_cast<int>(sizeof kNames / sizeof *kNames) ? kNames[i] : "unknown";
  }

 private:
  ut_status status_ = UT_OK;
  std::uint32_t offset_ = 0;
  char what_[528];
};

/* Result - a T, or the Error in place of it.
 *     bool       whether there is a T
 *     *, ->      the T; ask first
 *     error()    what went wrong; its status is UT_OK if there is a T
 *     value()    the T, or throws the Error; not without exceptions */
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T&& value) noexcept : value_(std::move(value)) {}
  Result(const Error& error) noexcept : error_(error) {}

  explicit operator bool() const noexcept { return value_.has_value(); }
  T& operator*() & noexcept { return *value_; }
  T&& operator*() && noexcept { return *std::move(value_); }
  T* operator->() noexcept { return &*value_; }
  const Error& error() const noexcept { return error_; }
#if UNDERTOW_THROWS
  T&& value() && {
    if (!value_) throw error_;
    return *std::move(value_);
  }
#endif

 private:
  std::optional<T> value_;
  Error error_;
};

/* Result<void> - done, or the Error for which it was not. */
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() noexcept = default;
  Result(const Error& error) noexcept : error_(error) {}

  explicit operator bool() const noexcept { return error_.status() == UT_OK; }
  const Error& error() const noexcept { return error_; }
#if UNDERTOW_THROWS
  void value() const {
    if (!*this) throw error_;
  }
#endif

 private:
  Error error_;
};

/* Input, Output - frames for a stream: float32, or int32 ids, from anything that a span is made of, Inputs also from a list in
 * braces. `Output()` is an output that is not wanted. */
template <class Void, class Float, class Id>
class Frames {
 public:
  Frames() noexcept = default;
  Frames(span<Float> frames) noexcept : data_(frames.data()), size_(frames.size()), wanted_(true) {}
  Frames(span<Id> ids) noexcept : data_(ids.data()), size_(ids.size()), dtype_(UT_INT32), wanted_(true) {}
  template <class C, class = std::enable_if_t<std::is_convertible_v<C&&, span<Float>>>, class = void>
  Frames(C&& frames) noexcept : Frames(span<Float>(frames)) {}
  template <class C, class = std::enable_if_t<std::is_convertible_v<C&&, span<Id>>>>
  Frames(C&& ids) noexcept : Frames(span<Id>(ids)) {}
  template <class F = Float, class = std::enable_if_t<std::is_const_v<F>>>
  Frames(std::initializer_list<float> frames) noexcept : Frames(span<Float>(frames)) {}

  Void* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  ut_dtype dtype() const noexcept { return dtype_; }
  bool wanted() const noexcept { return wanted_; }

 private:
  Void* data_ = nullptr;
  std::size_t size_ = 0;
  ut_dtype dtype_ = UT_FLOAT32;
  bool wanted_ = false;
};
using Input = Frames<const void, const float, const std::int32_t>;
using Output = Frames<void, float, std::int32_t>;

/* Bytes - bytes that are read: of std::byte, unsigned char or char. */
class Bytes {
 public:
  Bytes(const void* data, std::size_t size) noexcept : data_(data), size_(size) {}
  template <class C, class E = std::remove_pointer_t<decltype(std::declval<const C&>().data())>,
            class = std::enable_if_t<sizeof(E) == 1>>
  Bytes(const C& c) noexcept : data_(c.data()), size_(static_cast<std::size_t>(c.size())) {}
  template <class E, std::size_t N, class = std::enable_if_t<sizeof(E) == 1>>
  Bytes(const E (&array)[N]) noexcept : data_(array), size_(N) {}

  const void* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
 private:
  const void* data_;
  std::size_t size_;
};

/* Tensor - one input, output or state: ut_tensor with containers' ways.
 *     name()   UTF-8, as long as the model's bytes last
 *     shape()  of the frame of one timestep; points into this Tensor
 *     size()   its elements */
class Tensor {
 public:
  explicit Tensor(const ut_tensor& tensor) noexcept : tensor_(tensor) {}
  std::string_view name() const noexcept { return {tensor_.name.data, tensor_.name.size}; }
  span<const std::uint32_t> shape() const& noexcept { return {tensor_.dims, tensor_.n_dims}; }
  span<const std::uint32_t> shape() const&& = delete;
  std::size_t size() const noexcept { return tensor_.size; }
  ut_dtype dtype() const noexcept { return tensor_.dtype; }
  std::uint32_t n_ids() const noexcept { return tensor_.n_ids; }
  const ut_tensor& get() const noexcept { return tensor_; }

 private:
  ut_tensor tensor_;
};

/* Tensors - all inputs, outputs or states of a model. [i] needs i < size().
 *
 *     for (undertow::Tensor input : model.inputs()) std::printf("%zu elements\n", input.size()); */
class Tensors {
 public:
  using Ask = ut_tensor (*)(const ut_model*, std::size_t);
  Tensors(const ut_model* model, Ask ask, std::size_t size) noexcept : model_(model), ask_(ask), size_(size) {}
  std::size_t size() const noexcept { return size_; }
  Tensor operator[](std::size_t i) const noexcept { return Tensor(ask_(model_, i)); }

  struct iterator {
    const Tensors* all;
    std::size_t i;
    Tensor operator*() const noexcept { return (*all)[i]; }
    iterator& operator++() noexcept { ++i; return *this; }
    bool operator!=(const iterator& other) const noexcept { return i != other.i; }
  };
  iterator begin() const noexcept { return {this, 0}; }
  iterator end() const noexcept { return {this, size_}; }

 private:
  const ut_model* model_;
  Ask ask_;
  std::size_t size_;
};

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

#if defined(__GNUC__)
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
  /* try_load - of a .tow file. `path` is what fopen takes; anything with c_str() will do as well.
   *     isa  nullptr for the best instruction set that this CPU has, or a name such as "scalar"
   *     errors  those of ut_model_init; UT_E_ARGUMENT where the file cannot be read; UT_E_MEMORY */
  static Result<Model> try_load(const char* path, const char* isa = nullptr) noexcept {
    std::FILE* file = nullptr;
#if defined(_MSC_VER)
    if (fopen_s(&file, path, "rb") != 0) file = nullptr;
#else
    file = std::fopen(path, "rb");
#endif
    if (!file) return Error(UT_E_ARGUMENT, "cannot open the file: is it there, and may it be read?", path);
    Result<Model> model = read(file, path, isa);
    std::fclose(file);
    return model;
  }
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
  explicit Model(const char* path, const char* isa = nullptr) : Model(try_load(path, isa).value()) {}
  template <class Path, class = decltype(std::declval<const Path&>().c_str())>
  explicit Model(const Path& path, const char* isa = nullptr) : Model(path.c_str(), isa) {}
  static Model copy(Bytes bytes, const char* isa = nullptr) { return try_copy(bytes, isa).value(); }
  static Model view(Bytes bytes, const char* isa = nullptr) { return try_view(bytes, isa).value(); }
#endif

  /* info - sizes, instruction set, latency ...: see ut_info. */
  const ut_info& info() const noexcept { return info_; }
  std::string_view name() const noexcept { return text(ut_model_name(model_)); }
  std::string_view source() const noexcept { return text(ut_model_source(model_)); }
  Tensors inputs() const noexcept { return {model_, ut_input, info_.n_inputs}; }
  Tensors outputs() const noexcept { return {model_, ut_output, info_.n_outputs}; }
  Tensors states() const noexcept { return {model_, ut_state, info_.n_states}; }
  const ut_model* get() const noexcept { return model_; }

  /* try_stream, stream - a Stream of this model; see Stream. */
  Result<Stream> try_stream(std::size_t block = 0) const noexcept;
#if UNDERTOW_THROWS
  Stream stream(std::size_t block = 0) const;
#endif

 private:
  Model() noexcept = default;
  static std::string_view text(ut_string s) noexcept { return {s.data, s.size}; }

  static Result<Model> read(std::FILE* file, const char* path, const char* isa) noexcept {
    const Error unreadable(UT_E_ARGUMENT, "cannot read the file to its end", path);
    std::fgetc(file);  // a folder can be opened, and has a size
    if (std::ferror(file) || std::fseek(file, 0, SEEK_END) != 0) return unreadable;
    const long end = std::ftell(file);
    if (end < 0 || std::fseek(file, 0, SEEK_SET) != 0) return unreadable;
    const std::size_t size = static_cast<std::size_t>(end);
    detail::Memory blob;
    if (!blob.allocate(size)) return detail::no_memory(path, size);
    if (std::fread(blob.data(), 1, size, file) != size) return unreadable;
    return make(std::move(blob), {nullptr, size}, path, isa);
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
    model.blob_ = std::move(blob);
    return model;
  }

  detail::Memory blob_, memory_;
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
#endif

  /* step - one timestep of a model with one input and one output: x one frame, y one frame; they may overlap. */
  Result<void> try_step(Input x, Output y) noexcept {
    if (info_.n_inputs != 1 || info_.n_outputs != 1) return several();
    if (Result<void> fits = check(1, {&x, 1}, {&y, 1}); !fits) return fits;
    ut_run(stream_, 1, pointers({&x, 1}), pointers({&y, 1}));
    return {};
  }

  /* run - the frames of x, any number of them, one after the other, of a model with one input and one output; y has room for
   * as many. The other form is for models of several inputs and outputs: n_frames of each, in the model's order.
   *
   *     stream.run(64, {audio, conditions}, {left, undertow::Output()}); */
  Result<void> try_run(Input x, Output y) noexcept {
    if (info_.n_inputs != 1 || info_.n_outputs != 1) return several();
    return try_run(x.size() / in_size_, {&x, 1}, {&y, 1});
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
    Result<void> fits = check_state(i, to.size());
    if (fits) ut_stream_get(stream_, i, to.data());
    return fits;
  }
  Result<void> try_set_state(std::size_t i, span<const float> from) noexcept {
    Result<void> fits = check_state(i, from.size());
    if (fits) ut_stream_set(stream_, i, from.data());
    return fits;
  }

  /* save, load - all that the stream remembers, as info().snapshot_bytes bytes, the same on every machine.
   *     errors of load  UT_E_STATE where they are damaged or of another model; the stream is unchanged then */
  Result<void> try_save(span<unsigned char> to) const noexcept {
    if (to.size() != info_.snapshot_bytes)
      return detail::wrong("a snapshot: expected memory of %zu bytes, got %zu", info_.snapshot_bytes, to.size());
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
  ut_stream* get() const noexcept { return stream_; }

 private:
  friend class Model;
  Stream() noexcept = default;
  static Result<Stream> make(const ut_model* model, std::size_t block) noexcept {
    Stream s;
    ut_model_info(model, &s.info_);
    const ut_info& info = s.info_;
    s.model_ = model;
    s.block_ = block == 0 || block > info.block ? info.block : block;
    s.in_size_ = info.n_inputs ? ut_input(model, 0).size : 1;
    if (!info.streamable) return Error(UT_E_WHOLE, "the model needs whole sequences and cannot be streamed: use ut_sequence_run");
    const std::size_t bytes = ut_stream_bytes(model, s.block_), padded = (bytes + UT_ALIGN - 1) / UT_ALIGN * UT_ALIGN;
    const std::size_t all = padded + (info.n_inputs + info.n_outputs) * sizeof(void*);
    if (!s.memory_.allocate(all)) return detail::no_memory("a stream", all);
    const ut_status status = ut_stream_init(s.memory_.data(), bytes, model, &s.stream_);
    if (status != UT_OK) return Error(status, ut_status_text(status));
    void* behind = static_cast<unsigned char*>(s.memory_.data()) + padded;
    s.x_ = ::new (behind) const void*[info.n_inputs];
    s.y_ = ::new (static_cast<void*>(s.x_ + info.n_inputs)) void*[info.n_outputs];
    return s;
  }

  Error several() const noexcept {
    return detail::wrong("the model has %zu inputs and %zu outputs, not one of each: call run(n_frames, {x, ...}, {y, ...})",
                         std::size_t{info_.n_inputs}, std::size_t{info_.n_outputs});
  }
  template <class F>
  static Result<void> check_one(const char* what, const ut_tensor& t, std::size_t n_frames, const F& frames) noexcept {
    const int width = t.name.size < 80 ? static_cast<int>(t.name.size) : 80;
    if (frames.size() != n_frames * t.size)
      return detail::wrong("%s '%.*s': expected %zu elements, got %zu: %zu times a frame of %zu", what, width,
                           t.name.data, n_frames * t.size, frames.size(), n_frames, t.size);
    if (frames.dtype() != t.dtype)
      return detail::wrong("%s '%.*s': expected %s", what, width, t.name.data,
                           t.dtype == UT_INT32 ? "int32 ids, got float32" : "float32, got int32");
    return {};
  }
  Result<void> check_outputs(std::size_t n_frames, span<const Output> y) const noexcept {
    const std::size_t expected = info_.n_outputs;
    if (y.size() != expected) return detail::wrong("expected %zu outputs, got %zu", expected, y.size());
    for (std::size_t i = 0; i < y.size(); ++i)
      if (Result<void> fits = check_one("output", ut_output(model_, i), n_frames, y[i]); y[i].wanted() && !fits) return fits;
    return {};
  }
  Result<void> check(std::size_t n_frames, span<const Input> x, span<const Output> y) const noexcept {
    const std::size_t expected = info_.n_inputs;
    if (x.size() != expected) return detail::wrong("expected %zu inputs, got %zu", expected, x.size());
    for (std::size_t i = 0; i < x.size(); ++i)
      if (Result<void> fits = check_one("input", ut_input(model_, i), n_frames, x[i]); !fits) return fits;
    return check_outputs(n_frames, y);
  }
  Result<void> check_state(std::size_t i, std::size_t size) const noexcept {
    const std::size_t n = info_.n_states, expected = i < n ? ut_state(model_, i).size : 0;
    if (i >= n) return detail::wrong("there is no state %zu: the model has %zu, counted from 0", i, n);
    if (size != expected) return detail::wrong("state %zu: expected %zu elements, got %zu", i, expected, size);
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
  std::size_t block_ = 0, in_size_ = 1;
  ut_info info_{};
};

inline Result<Stream> Model::try_stream(std::size_t block) const noexcept { return Stream::make(model_, block); }
#if UNDERTOW_THROWS
inline Stream Model::stream(std::size_t block) const { return try_stream(block).value(); }
#endif
}  // namespace undertow

#endif /* UNDERTOW_HPP_ */
