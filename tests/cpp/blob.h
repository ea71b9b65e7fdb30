// SPDX-License-Identifier: MIT
// Bytes aligned to UT_ALIGN in a heap block that ends where they end, so that AddressSanitizer sees the first byte read
// behind them; and .tow files in such bytes.
#ifndef UNDERTOW_TESTS_BLOB_H_
#define UNDERTOW_TESTS_BLOB_H_

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>
#include <utility>

#include "undertow.h"

namespace ut_test {

class Bytes {
 public:
  Bytes() = default;
  explicit Bytes(size_t n) : n_(n) {
    if (posix_memalign(&data_, UT_ALIGN, n ? n : 1) != 0) abort();
    memset(data_, 0xa5, n);
  }
  Bytes(const void* from, size_t n) : Bytes(n) {
    if (n) memcpy(data_, from, n);
  }
  Bytes(const Bytes& other) : Bytes(other.data_, other.n_) {}
  Bytes(Bytes&& other) noexcept { swap(other); }
  Bytes& operator=(Bytes other) noexcept {
    swap(other);
    return *this;
  }
  ~Bytes() { free(data_); }
  void swap(Bytes& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(n_, other.n_);
  }

  uint8_t* data() const { return static_cast<uint8_t*>(data_); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t size() const { return n_; }

 private:
  void* data_ = nullptr;
  size_t n_ = 0;
};

inline Bytes read_file(const std::string& path) {
  FILE* f = fopen(path.c_str(), "rb");
  if (!f) {
    fprintf(stderr, "cannot read %s\n", path.c_str());
    exit(2);
  }
  std::string all;
  char part[4096];
  for (size_t n; (n = fread(part, 1, sizeof part, f)) != 0;) all.append(part, n);
  fclose(f);
  return Bytes(all.data(), all.size());
}

inline uint32_t u32_at(const Bytes& b, size_t at) {
  uint32_t v;
  memcpy(&v, b.data() + at, 4);
  return v;
}
inline void set_u32(const Bytes& b, size_t at, uint32_t v) { memcpy(b.data() + at, &v, 4); }

inline uint32_t crc32(uint32_t crc, const uint8_t* p, size_t n) {
  static uint32_t table[256];
  if (!table[1])
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int k = 0; k < 8; ++k) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
      table[i] = c;
    }
  crc = ~crc;
  for (size_t i = 0; i < n; ++i) crc = table[(crc ^ p[i]) & 0xff] ^ (crc >> 8);
  return ~crc;
}

// Makes the checksum fit the bytes, so that a change gets past it to the validators. Files whose metadata does not fit
// them stay as they are.
inline void reseal(const Bytes& b) {
  if (b.size() < 64) return;
  const uint64_t metadata = u32_at(b, 24);
  if (metadata > b.size() - 64) return;
  set_u32(b, 28, crc32(crc32(0, b.data(), 28), b.data() + 32, static_cast<size_t>(32 + metadata)));
}

}  // namespace ut_test

#endif  // UNDERTOW_TESTS_BLOB_H_
