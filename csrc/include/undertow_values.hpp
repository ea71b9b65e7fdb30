/* SPDX-License-Identifier: MIT
 *
 * undertow_values.hpp - what undertow.hpp, which includes it, takes and gives: spans, frames, bytes, tensors, errors and results. */
#ifndef UNDERTOW_VALUES_HPP_
#define UNDERTOW_VALUES_HPP_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

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
 *     *, ->      the T; ask first (so `->` is not for a Result that nobody keeps)
 *     error()    what went wrong; its status is UT_OK if there is a T
 *     value()    the T, or throws the Error; not without exceptions */
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T&& value) noexcept : value_(std::move(value)) {}
  Result(const Error& error) noexcept : error_(error) {}

  explicit operator bool() const noexcept { return value_.has_value(); }
  T& operator*() & noexcept { return *value_; }
  const T& operator*() const& noexcept { return *value_; }
  T&& operator*() && noexcept { return *std::move(value_); }
  T* operator->() & noexcept { return &*value_; }
  const T* operator->() const& noexcept { return &*value_; }
  const T* operator->() const&& = delete;
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

/* Input, Output - frames for a stream: float32, or int32 ids, from anything that a span is made of, {pointer, elements} too, Inputs
 * also from a list in braces. `Output()` is an output that is not wanted. */
template <class Void, class Float, class Id>
class Frames {
 public:
  Frames() noexcept = default;
  Frames(Float* frames, std::size_t size) noexcept : Frames(span<Float>(frames, size)) {}
  Frames(Id* ids, std::size_t size) noexcept : Frames(span<Id>(ids, size)) {}
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
}  // namespace undertow

#endif /* UNDERTOW_VALUES_HPP_ */
